//! A context that comes as an archive, written below a directory of this machine.
//!
//! Nothing in it is trusted: every path is looked up below that directory, and what the archive may make of disk and
//! memory has a bound. Owners are left out, and so are devices and FIFOs.

use crate::image::tar_reader::{TarEntry, TarError, TarKind, TarReader};
use crate::system;
use bstr::{BStr, ByteSlice};
use filetime::FileTime;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const MOST_ENTRIES: usize = 4_000_000;

/// Bytes of the directories' paths, which are kept until the end.
const MOST_TEXT: usize = 1 << 30;

/// An archive may write this much whatever its size, and beyond it [`MAX_RATIO`] times its size.
const FREE_BYTES: u64 = 4 << 30;
const MAX_RATIO: u64 = 400;

const PIECE: usize = 128 << 10;

/// `stored` is how much of the archive has been read, before it was decompressed.
pub(super) fn unpack(content: impl Read, stored: &Cell<u64>, dir: &Path) -> io::Result<()> {
    let mut tree = Tree { root: system::canonical(dir)?, directories: BTreeMap::new() };
    let mut archive = TarReader::new(content);
    let mut buffer = vec![0; PIECE];
    let (mut entries, mut text, mut written) = (0, 0, 0);
    while let Some(entry) = archive.next_entry().map_err(damaged)? {
        entries += 1;
        let Some(path) = tree.put(&entry)? else { continue };
        text += if entry.kind == TarKind::Directory { path.as_os_str().len() } else { 0 };
        if entries > MOST_ENTRIES || text > MOST_TEXT {
            return Err(io::Error::other("it has too many entries"));
        }
        if entry.kind != TarKind::File {
            continue;
        }
        let mut file = File::create_new(&path)?;
        while let Some((offset, bytes)) = archive.chunk(&mut buffer).map_err(damaged)? {
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(bytes)?;
            written += bytes.len() as u64;
            if written > FREE_BYTES.max(stored.get().saturating_mul(MAX_RATIO)) {
                let message =
                    format!("it unpacks to more than {FREE_BYTES} bytes and more than {MAX_RATIO} times its size");
                return Err(io::Error::other(message));
            }
        }
        file.set_len(entry.size)?;
        drop(file);
        dress(&path, entry.mode, time(&entry))?;
    }
    tree.finish()
}

struct Tree {
    root: PathBuf,
    /// Modes and times that they get when nothing more comes into them.
    directories: BTreeMap<PathBuf, (u32, FileTime)>,
}

impl Tree {
    /// Makes room for an entry, and all of it but a file and its content. Answers with its place, unless it is left out.
    fn put(&mut self, entry: &TarEntry) -> io::Result<Option<PathBuf>> {
        let Some((parent, name)) = parts(entry.path.as_bstr())? else { return Ok(None) };
        let parent = self.directory(&parent)?;
        let path = parent.join(here(name)?);
        let there = path.symlink_metadata().ok();
        if entry.kind == TarKind::Directory {
            if !there.as_ref().is_some_and(fs::Metadata::is_dir) {
                there.map_or(Ok(()), |_| fs::remove_file(&path))?;
                fs::create_dir(&path)?;
            }
            self.directories.insert(path.clone(), (entry.mode, time(entry)));
            return Ok(Some(path));
        }
        let linked = if entry.kind == TarKind::HardLink { Some(self.linked(entry)?) } else { None };
        if linked.as_ref() == Some(&path) {
            return Ok(None);
        }
        match there {
            Some(it) if it.is_dir() => {
                let inside = self.directories.range(path.clone()..).map(|(it, _)| it);
                let inside: Vec<PathBuf> = inside.take_while(|it| it.starts_with(&path)).cloned().collect();
                for path in inside {
                    self.directories.remove(&path);
                }
                fs::remove_dir_all(&path)?;
            }
            Some(_) => fs::remove_file(&path)?,
            None => {}
        }
        match entry.kind {
            TarKind::Symlink => {
                // What it leads to may come later, or not at all.
                system::symlink(&entry.target, &path, false)?;
                filetime::set_symlink_file_times(&path, time(entry), time(entry))?;
            }
            TarKind::HardLink => linked.map_or(Ok(()), |from| fs::hard_link(from, &path))?,
            TarKind::Fifo | TarKind::CharDevice | TarKind::BlockDevice => return Ok(None),
            TarKind::File | TarKind::Directory => {}
        }
        Ok(Some(path))
    }

    /// What a hard link is another name for.
    fn linked(&self, entry: &TarEntry) -> io::Result<PathBuf> {
        let wrong =
            || io::Error::other(format!("{:?} is a hard link to {:?}, which is none", entry.path, entry.target));
        let (parent, name) = parts(entry.target.as_bstr())?.ok_or_else(wrong)?;
        let mut at = self.root.clone();
        for name in parent {
            at = self.enter(&at.join(here(name)?))?.ok_or_else(wrong)?;
        }
        let path = at.join(here(name)?);
        match path.symlink_metadata() {
            Ok(found) if !found.is_dir() => Ok(path),
            _ => Err(wrong()),
        }
    }

    /// A directory below the root; those that are missing are made.
    fn directory(&self, names: &[&BStr]) -> io::Result<PathBuf> {
        let mut at = self.root.clone();
        for name in names {
            let next = at.join(here(name)?);
            at = match self.enter(&next)? {
                Some(found) => found,
                None => {
                    fs::create_dir(&next)?;
                    next
                }
            };
        }
        Ok(at)
    }

    /// A directory that is there, or one inside the root that a link leads to; `None` if nothing is there.
    fn enter(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        match path.symlink_metadata() {
            Ok(found) if found.is_dir() => Ok(Some(path.to_owned())),
            Ok(found) if found.is_symlink() => match system::canonical(path) {
                Ok(to) if to.starts_with(&self.root) && to.is_dir() => Ok(Some(to)),
                _ => Err(io::Error::other(format!("something in it lies behind a link to elsewhere, {path:?}"))),
            },
            Ok(_) => Err(io::Error::other(format!("something in it lies below a file, {path:?}"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn finish(self) -> io::Result<()> {
        self.directories.into_iter().rev().try_for_each(|(path, (mode, time))| dress(&path, mode, time))
    }
}

fn dress(path: &Path, mode: u32, time: FileTime) -> io::Result<()> {
    filetime::set_file_mtime(path, time)?;
    system::set_exact_mode(path, mode)
}

fn time(entry: &TarEntry) -> FileTime {
    FileTime::from_unix_time(entry.mtime.0, entry.mtime.1)
}

/// The names on the way to an entry, and its own; `None` of the root.
fn parts(path: &BStr) -> io::Result<Option<(Vec<&BStr>, &BStr)>> {
    let mut names: Vec<&BStr> =
        path.split_str("/").map(BStr::new).filter(|name| !matches!(name.as_bytes(), b"" | b".")).collect();
    if names.iter().any(|name| *name == "..") {
        return Err(io::Error::other(format!("{path:?} in it leads out of it")));
    }
    Ok(names.pop().map(|name| (names, name)))
}

fn here(name: &BStr) -> io::Result<std::ffi::OsString> {
    system::file_name(name).ok_or_else(|| io::Error::other(format!("{name:?} in it is no name for a file here")))
}

fn damaged(error: TarError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use tar::EntryType;

    /// A header as it is written, with whatever path; content is of files, and the target of links.
    fn entry(kind: EntryType, path: &str, more: &str) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o6751);
        header.set_mtime(7);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        let mut out = Vec::new();
        if kind.is_file() {
            header.set_size(more.len() as u64);
            out.extend(more.as_bytes());
            out.resize(more.len().next_multiple_of(512), 0);
        } else {
            header.as_mut_bytes()[157..157 + more.len()].copy_from_slice(more.as_bytes());
        }
        header.set_cksum();
        [header.as_bytes().as_slice(), &out].concat()
    }

    #[track_caller]
    fn check(entries: &[(EntryType, &str, &str)], expected: Result<&[&str], &str>) {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("context");
        fs::create_dir(&dir).unwrap();
        fs::write(top.path().join("secret"), "kept").unwrap();
        let archive: Vec<u8> = entries.iter().flat_map(|(kind, path, more)| entry(*kind, path, more)).collect();
        let done = unpack(archive.as_slice(), &Cell::new(0), &dir);
        assert_eq!(fs::read_to_string(top.path().join("secret")).unwrap(), "kept");
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 2, "nothing is written elsewhere");
        let expected = match expected {
            Err(why) => return assert!(done.as_ref().unwrap_err().to_string().contains(why), "{done:?}"),
            Ok(expected) => expected,
        };
        done.unwrap();
        let (mut open, mut found) = (vec![dir.clone()], Vec::new());
        while let Some(at) = open.pop() {
            for path in fs::read_dir(at).unwrap().map(|it| it.unwrap().path()) {
                let metadata = path.symlink_metadata().unwrap();
                let (mode, time) = (metadata.mode() & 0o7777, metadata.mtime());
                let name = path.strip_prefix(&dir).unwrap().display();
                found.push(match &metadata {
                    it if it.is_dir() => format!("{name}/ {mode:o} {time}"),
                    it if it.is_symlink() => format!("{name} -> {}", fs::read_link(&path).unwrap().display()),
                    _ => format!("{name} {mode:o} {time} {}", fs::read_to_string(&path).unwrap()),
                });
                if metadata.is_dir() {
                    open.push(path);
                }
            }
        }
        found.sort();
        assert_eq!(found, expected);
    }

    use EntryType::{Directory as D, Fifo, Link as H, Regular as F, Symlink as L};

    #[test]
    fn entries_of_every_kind() {
        check(
            &[(D, "./", ""), (D, "./d/", ""), (F, "d/f", "text"), (L, "l", "d"), (H, "h", "d/f"), (Fifo, "p", "")],
            Ok(&["d/ 6751 7", "d/f 6751 7 text", "h 6751 7 text", "l -> d"]),
        );
        check(&[(D, "d", ""), (L, "l", "d"), (F, "l/f", "x")], Ok(&["d/ 6751 7", "d/f 6751 7 x", "l -> d"]));
        check(&[(F, "/f", "1"), (F, "f", "2"), (H, "f", "f")], Ok(&["f 6751 7 2"]));
        check(&[(D, "d", ""), (D, "d/e", ""), (F, "d", "x")], Ok(&["d 6751 7 x"]));
        check(&[(L, "d", ".."), (D, "d", ""), (F, "d/f", "x")], Ok(&["d/ 6751 7", "d/f 6751 7 x"]));
        check(&[(L, "f", "../secret"), (F, "f", "x")], Ok(&["f 6751 7 x"]));
    }

    #[test]
    fn nothing_leads_out() {
        check(&[(F, "../secret", "x")], Err("leads out"));
        check(&[(L, "l", ".."), (F, "l/secret", "x")], Err("behind a link"));
        check(&[(L, "l", ".."), (D, "l/new", "")], Err("behind a link"));
        check(&[(H, "h", "../secret")], Err("leads out"));
        check(&[(L, "l", ".."), (H, "h", "l/secret")], Err("behind a link"));
        check(&[(H, "h", "none")], Err("which is none"));
        check(&[(F, "f", "x"), (F, "f/g", "x")], Err("below a file"));
    }
}
