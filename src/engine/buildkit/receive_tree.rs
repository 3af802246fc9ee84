//! A directory that the builder sends: its files, written below one of this machine's.
//!
//! Source: BuildKit's `fsutil`: properties of everything in order, and an empty one at the end; files are asked for by
//! their number in that order and come in pieces, an empty one last; FIN ends it, on both sides.
//!
//! Nothing that is sent is trusted: everything lies in a directory that was sent before it, and what was there under its
//! name and is something else is removed first. Whatever was sent meanwhile, under whatever name this machine's disk
//! takes for the same, nothing is touched before every directory above it is seen to be one: no link leads out.

use super::connection::printable;
use super::filesync::go_mode;
use crate::system::{self, Special};
use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use filetime::FileTime;
use std::collections::{HashMap, HashSet};
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What is told of one entry is kept until the end, so there is a bound to how many.
const MOST_ENTRIES: usize = 5_000_000;

pub(super) struct Tree {
    root: PathBuf,
    /// Of all that has been sent.
    next: u32,
    entries: usize,
    directories: HashSet<String>,
    /// Times and modes that what comes later would change.
    last: Vec<(PathBuf, Stat)>,
    /// Files that have been asked for.
    wanted: HashMap<u32, (PathBuf, Stat)>,
    open: HashMap<u32, File>,
    /// Whether everything has been told of.
    told: bool,
}

/// What is to be said to the builder.
pub(super) enum Say {
    Nothing,
    Packet(Packet),
    /// It is over.
    End,
}

impl Tree {
    pub(super) fn new(root: PathBuf) -> io::Result<Tree> {
        std::fs::create_dir_all(&root)?;
        Ok(Tree {
            root,
            next: 0,
            entries: 0,
            directories: HashSet::from([String::new()]),
            last: Vec::new(),
            wanted: HashMap::new(),
            open: HashMap::new(),
            told: false,
        })
    }

    pub(super) fn take(&mut self, packet: Packet) -> io::Result<Say> {
        match packet.r#type() {
            PacketType::PacketStat => match packet.stat {
                Some(stat) if !stat.path.is_empty() => return self.entry(stat),
                _ => self.told = true,
            },
            PacketType::PacketData => self.data(packet.id, &packet.data)?,
            PacketType::PacketErr => {
                let said = printable(&String::from_utf8_lossy(&packet.data));
                return Err(io::Error::other(format!("the builder stops: {said}")));
            }
            PacketType::PacketFin => return Ok(Say::End),
            PacketType::PacketReq => {}
        }
        if self.told && self.wanted.is_empty() {
            self.told = false;
            self.finish()?;
            return Ok(Say::Packet(Packet { r#type: PacketType::PacketFin as i32, ..Packet::default() }));
        }
        Ok(Say::Nothing)
    }

    fn entry(&mut self, stat: Stat) -> io::Result<Say> {
        let id = self.next;
        self.next += 1;
        self.entries += 1;
        if self.entries > MOST_ENTRIES {
            return Err(io::Error::other("too many files"));
        }
        let path = self.place(&stat.path)?;
        let there = self.look(&path)?;
        let is = |bit: u32| stat.mode & bit != 0;
        if is(go_mode::DIRECTORY) {
            if !there.as_ref().is_some_and(Metadata::is_dir) {
                remove(&path, there.as_ref())?;
                std::fs::create_dir(&path)?;
            }
            self.directories.insert(stat.path.clone());
            self.last.push((path, stat));
            return Ok(Say::Nothing);
        }
        remove(&path, there.as_ref())?;
        if is(go_mode::SYMLINK) {
            // What it leads to may come later, or not at all.
            system::symlink(stat.linkname.as_bytes(), &path, false)?;
        } else if !stat.linkname.is_empty() {
            let first = self.place(&stat.linkname)?;
            self.look(&first)?;
            std::fs::hard_link(first, &path)?;
            return Ok(Say::Nothing);
        } else if is(go_mode::DEVICE | go_mode::PIPE) {
            special(&stat, &path)?;
        } else {
            // It is there before its content comes, for other names of it.
            File::create_new(&path)?;
            self.wanted.insert(id, (path, stat));
            return Ok(Say::Packet(Packet { r#type: PacketType::PacketReq as i32, id, ..Packet::default() }));
        }
        self.dress(&path, &stat)?;
        Ok(Say::Nothing)
    }

    /// Where an entry belongs: in a directory that has been sent.
    fn place(&self, path: &str) -> io::Result<PathBuf> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        // Not every name of a container can be one here.
        let plain = !matches!(name, "" | "." | "..") && system::file_name(name.as_bytes()).is_some();
        match plain && self.directories.contains(parent) {
            true => Ok(self.root.join(path)),
            false => {
                let message =
                    format!("the builder sends {}, which is in no directory that it has sent", printable(path));
                Err(io::Error::new(io::ErrorKind::InvalidData, message))
            }
        }
    }

    fn data(&mut self, id: u32, data: &[u8]) -> io::Result<()> {
        let Some((path, stat)) = self.wanted.get(&id) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the builder sends what was not asked for"));
        };
        let mut file = match self.open.remove(&id) {
            Some(file) => file,
            None => {
                self.still(path, stat)?;
                File::options().write(true).open(path)?
            }
        };
        if data.is_empty() {
            drop(file);
            self.dress(path, stat)?;
            self.wanted.remove(&id);
        } else {
            file.write_all(data)?;
            self.open.insert(id, file);
        }
        Ok(())
    }

    /// Directories get their modes and times when nothing more comes into them.
    fn finish(&mut self) -> io::Result<()> {
        for (path, stat) in std::mem::take(&mut self.last).into_iter().rev() {
            self.dress(&path, &stat)?;
        }
        Ok(())
    }

    /// What is at a path, if anything; the directories above it are no links.
    fn look(&self, path: &Path) -> io::Result<Option<Metadata>> {
        let below = path.strip_prefix(&self.root).map_err(io::Error::other)?;
        let mut at = self.root.clone();
        for name in below.parent().into_iter().flatten() {
            at.push(name);
            if !at.symlink_metadata()?.is_dir() {
                return Err(replaced(&at));
            }
        }
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            metadata => metadata.map(Some),
        }
    }

    /// Fails unless what was sent is still there as it was sent.
    fn still(&self, path: &Path, stat: &Stat) -> io::Result<()> {
        let found = self.look(path)?.map(|it| (it.is_dir(), it.is_symlink()));
        let sent = (stat.mode & go_mode::DIRECTORY != 0, stat.mode & go_mode::SYMLINK != 0);
        if found == Some(sent) { Ok(()) } else { Err(replaced(path)) }
    }

    /// Everything belongs to the caller, as with buildx; extended attributes as far as the caller may set them.
    fn dress(&self, path: &Path, stat: &Stat) -> io::Result<()> {
        self.still(path, stat)?;
        for (name, value) in &stat.xattrs {
            let _ = system::set_extended_attribute(path, name, value);
        }
        if stat.mode & go_mode::SYMLINK == 0 {
            let bits = [(go_mode::SET_UID, 0o4000), (go_mode::SET_GID, 0o2000), (go_mode::STICKY, 0o1000)];
            let special: u32 = bits.iter().filter(|(bit, _)| stat.mode & bit != 0).map(|(_, mode)| mode).sum();
            system::set_exact_mode(path, stat.mode & 0o777 | special)?;
        }
        let (seconds, nanos) = (stat.mod_time.div_euclid(1_000_000_000), stat.mod_time.rem_euclid(1_000_000_000));
        let time = FileTime::from_unix_time(seconds, u32::try_from(nanos).unwrap_or(0));
        filetime::set_symlink_file_times(path, time, time)
    }
}

fn replaced(path: &Path) -> io::Error {
    let message = format!("the builder sends {} twice, as different things", printable(&path.to_string_lossy()));
    io::Error::new(io::ErrorKind::InvalidData, message)
}

fn remove(path: &Path, there: Option<&Metadata>) -> io::Result<()> {
    match there {
        None => Ok(()),
        Some(it) if it.is_dir() => std::fs::remove_dir_all(path),
        Some(_) => std::fs::remove_file(path),
    }
}

/// A device or a pipe.
fn special(stat: &Stat, path: &Path) -> io::Result<()> {
    let number = |it: i64| u32::try_from(it).unwrap_or(0);
    let (major, minor) = (number(stat.devmajor), number(stat.devminor));
    let kind = match stat.mode {
        mode if mode & go_mode::PIPE != 0 => Special::Fifo,
        mode if mode & go_mode::CHARACTER != 0 => Special::CharDevice(major, minor),
        _ => Special::BlockDevice(major, minor),
    };
    let failed = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    system::make_special(path, kind).map_err(failed)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn stat(path: &str, mode: u32, linkname: &str) -> Packet {
        let stat = Stat {
            path: path.to_owned(),
            mode,
            linkname: linkname.to_owned(),
            mod_time: 1_500_000_000_123_456_789,
            ..Stat::default()
        };
        Packet { stat: Some(stat), ..Packet::default() }
    }

    fn data(id: u32, bytes: &[u8]) -> Packet {
        Packet { r#type: PacketType::PacketData as i32, id, data: bytes.to_vec(), ..Packet::default() }
    }

    fn end() -> Packet {
        Packet { stat: Some(Stat::default()), ..Packet::default() }
    }

    /// Sends packets into a directory that has a link `out` to another. `Ok` is what is there afterwards.
    fn check(packets: Vec<Packet>, expected: Result<&[&str], &str>) {
        use std::os::unix::fs::MetadataExt;
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("out")).unwrap();
        let mut tree = Tree::new(dir.path().to_owned()).unwrap();
        let taken = packets.into_iter().try_for_each(|packet| tree.take(packet).map(drop));
        assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0, "nothing is written elsewhere");
        match expected {
            Err(why) => assert!(taken.unwrap_err().to_string().contains(why)),
            Ok(lines) => {
                taken.unwrap();
                let mut open = vec![dir.path().to_owned()];
                let mut found = Vec::new();
                while let Some(at) = open.pop() {
                    for entry in std::fs::read_dir(at).unwrap() {
                        let (path, metadata) = entry.map(|it| (it.path(), it.metadata().unwrap())).unwrap();
                        let name = path.strip_prefix(dir.path()).unwrap().display().to_string();
                        let content = match metadata {
                            ref it if it.is_dir() => "/".to_owned(),
                            ref it if it.is_symlink() => std::fs::read_link(&path).unwrap().display().to_string(),
                            _ => std::fs::read_to_string(&path).unwrap(),
                        };
                        let time = metadata.mtime_nsec();
                        found.push(format!("{name} {:o} {content} {time}", metadata.mode() & 0o7777));
                        if metadata.is_dir() {
                            open.push(path);
                        }
                    }
                }
                found.retain(|line| !line.starts_with("out 777"));
                found.sort();
                assert_eq!(found, lines);
            }
        }
    }

    #[test]
    fn trees() {
        let directory = go_mode::DIRECTORY | go_mode::STICKY | 0o755;
        check(
            vec![
                stat("d", directory, ""),
                stat("d/f", 0o640, ""),
                stat("d/l", go_mode::SYMLINK | 0o777, "f"),
                stat("empty", 0o600, ""),
                stat("hard", 0o640, "d/f"),
                data(1, b"one "),
                data(3, b""),
                data(1, b"two"),
                data(1, b""),
                end(),
            ],
            Ok(&[
                "d 1755 / 123456789",
                "d/f 640 one two 123456789",
                "d/l 777 f 123456789",
                "empty 600  123456789",
                "hard 640 one two 123456789",
            ]),
        );
    }

    #[test]
    fn nothing_leads_out() {
        check(vec![stat("out/x", 0o644, "")], Err("in no directory"));
        check(vec![stat("../x", 0o644, "")], Err("in no directory"));
        check(vec![stat("..", 0o644, "")], Err("in no directory"));
        check(vec![stat("a/../x", 0o644, "")], Err("in no directory"));
        check(vec![stat("h", 0o644, "../../etc/passwd")], Err("in no directory"));
        check(vec![data(0, b"x")], Err("not asked for"));
        let directory = go_mode::DIRECTORY | 0o755;
        let packets = vec![stat("out", directory, ""), stat("out/x", 0o600, ""), data(1, b"x"), data(1, b""), end()];
        check(packets, Ok(&["out 755 / 123456789", "out/x 600 x 123456789"]));
    }

    /// `d` is a directory first, `f` a file, and then the name stands for a link to a directory elsewhere.
    #[test]
    fn nothing_is_what_it_was() {
        let directory = go_mode::DIRECTORY | 0o755;
        let again = |sent: Packet, link: &str, then: Vec<Packet>| {
            let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let secret = elsewhere.path().join("x");
            std::fs::write(&secret, "kept").unwrap();
            let to = elsewhere.path().join(link).display().to_string();
            let name = sent.stat.as_ref().unwrap().path.clone();
            let mut tree = Tree::new(dir.path().to_owned()).unwrap();
            let packets = [sent, stat(&name, go_mode::SYMLINK | 0o777, &to)].into_iter().chain(then);
            let taken = packets.into_iter().try_for_each(|packet| tree.take(packet).map(drop));
            assert!(taken.unwrap_err().to_string().contains("twice, as different things"));
            let names = std::fs::read_dir(elsewhere.path()).unwrap().count();
            assert_eq!((names, std::fs::read_to_string(secret).unwrap().as_str()), (1, "kept"));
            assert!(!dir.path().join("h").exists());
        };
        again(stat("d", directory, ""), "", vec![stat("d/new", 0o644, "")]);
        again(stat("d", directory, ""), "", vec![stat("d/sub", directory, "")]);
        again(stat("d", directory, ""), "", vec![stat("h", 0o644, "d/x")]);
        again(stat("d", directory, ""), "", vec![end()]);
        again(stat("f", 0o644, ""), "x", vec![data(0, b"more")]);
        again(stat("f", 0o644, ""), "x", vec![data(0, b"")]);
    }
}
