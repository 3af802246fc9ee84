//! A file system of the build as a whole: one file of it, all of it as an archive, all of it as a directory.

use super::selection::Selection;
use super::sources::Source;
use super::task::TaskError;
use super::tree_copy::{Copier, Rules};
use crate::image::tar_reader::{TarEntry, TarKind};
use crate::image::tar_writer::{END, header, padding};
use crate::layers::Kind;
use crate::snapshot::rooted::{At, PathError, Root, child};
use crate::snapshot::scan::{names, read_meta};
use crate::snapshot::tree_writer::{Attributes, NO_TIME, TreeWriter};
use bstr::{BStr, BString, ByteSlice};
use rustix::fs::{self, AtFlags, Mode, OFlags};
use std::collections::HashMap;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// At most `limit` bytes of a regular file, from `offset`. Symbolic links are followed inside the root.
pub fn read(root: BorrowedFd<'_>, path: &BStr, offset: u64, limit: usize) -> Result<Vec<u8>, TaskError> {
    let root = own(root)?;
    let shown = || BString::from(path.trim_start_with(|it| it == '/').as_bytes());
    let missing = || TaskError::input(format!("/{} is not there", shown()));
    let found = match root.resolve(path, true) {
        Ok(found) if found.exists => found,
        Ok(_) => return Err(missing()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(missing()),
        Err(error) => return Err(PathError::new("read", path, error).into()),
    };
    let file = root.file(found.path.as_bstr()).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => TaskError::input(format!("/{} is not a regular file", shown())),
        _ => PathError::new("read", path, error).into(),
    })?;
    let mut bytes = Vec::new();
    let mut at = offset;
    let mut buffer = vec![0; limit.min(256 << 10)];
    while bytes.len() < limit {
        let want = buffer.len().min(limit - bytes.len());
        match file.read_at(&mut buffer[..want], at).at("read", path)? {
            0 => break,
            got => {
                bytes.extend_from_slice(&buffer[..got]);
                at += got as u64;
            }
        }
    }
    Ok(bytes)
}

/// Writes everything below the root as one archive, a directory's content right behind it, by name: so the first name
/// of a file in this order is the file, and others are links to it. The same content gives the same bytes. Sockets are
/// left out, as archivers do. `epoch`, if given, is the time of everything, as in BuildKit's exporters.
pub fn tar(root: BorrowedFd<'_>, output: impl Write, epoch: Option<i64>) -> Result<(), TaskError> {
    let root = own(root)?;
    let mut output = BufWriter::with_capacity(256 << 10, output);
    let mut links: HashMap<(u64, u64), BString> = HashMap::new();
    let mut open = vec![Opened::new(&root, BString::default())?];
    while let Some(dir) = open.last_mut() {
        let Some(name) = dir.names.next() else {
            open.pop();
            continue;
        };
        let path = child(dir.path.as_bstr(), name.as_bstr());
        let at = path.as_bstr();
        let fd = dir.descriptor(&root)?;
        let stat = fs::statat(fd, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW).at("read", at)?;
        let meta = read_meta(fd, name.as_bstr(), &stat).at("read", at)?;
        let Some(mut entry) = TarEntry::of(at, &meta) else { continue };
        entry.mtime.0 = epoch.unwrap_or(entry.mtime.0);
        if meta.kind == Kind::File && stat.st_nlink > 1 {
            match links.get(&(stat.st_dev, stat.st_ino)) {
                Some(first) => {
                    entry.kind = TarKind::HardLink;
                    entry.target = first.clone();
                    entry.size = 0;
                }
                None => {
                    links.insert((stat.st_dev, stat.st_ino), path.clone());
                }
            }
        }
        output.write_all(&header(&entry)).map_err(unwritten)?;
        if entry.kind == TarKind::File {
            let file = super::tree_copy::open_file(fd, name.as_bstr()).at("read", at)?;
            write_exactly(file, entry.size, &mut output, at)?;
        }
        if meta.kind == Kind::Directory {
            dir.descriptor = None;
            open.push(Opened::new(&root, path)?);
        }
    }
    output.write_all(&END).and_then(|()| output.flush()).map_err(unwritten)
}

/// A directory that is being read, with the names that are still to come.
struct Opened {
    path: BString,
    names: std::vec::IntoIter<BString>,
    /// Closed while what lies below is read, so that no depth uses up the descriptors.
    descriptor: Option<OwnedFd>,
}

impl Opened {
    fn new(root: &Root, path: BString) -> Result<Opened, TaskError> {
        let descriptor = root.dir(path.as_bstr()).at("read", path.as_bstr())?;
        let names = names(descriptor.as_fd()).at("read", path.as_bstr())?.into_iter();
        Ok(Opened { path, names, descriptor: Some(descriptor) })
    }

    fn descriptor(&mut self, root: &Root) -> Result<BorrowedFd<'_>, TaskError> {
        let open = match self.descriptor.take() {
            Some(open) => open,
            None => root.dir(self.path.as_bstr()).at("read", self.path.as_bstr())?,
        };
        let open: &OwnedFd = self.descriptor.insert(open);
        Ok(open.as_fd())
    }
}

/// As many bytes as the header has promised.
fn write_exactly(file: impl Read, size: u64, output: &mut impl Write, path: &BStr) -> Result<(), TaskError> {
    let copied = io::copy(&mut file.take(size), output).map_err(unwritten)?;
    if copied != size {
        let changed = io::Error::other("it became shorter while it was read");
        return Err(PathError::new("read", path, changed).into());
    }
    output.write_all(&vec![0; padding(size)]).map_err(unwritten)
}

fn unwritten(error: io::Error) -> TaskError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            TaskError::engine(format!("the archive cannot be written: {error}")).with_help("make room on its disk")
        }
        _ => TaskError::engine(format!("the archive cannot be written: {error}")),
    }
}

/// Copies everything below the root to a directory of the host, which is made if need be. Files belong to the user
/// who builds; what is there already and not of the build stays. `epoch` as for [`tar`].
pub fn local(root: BorrowedFd<'_>, into: &Path, epoch: Option<i64>) -> Result<Vec<String>, TaskError> {
    let shown = BStr::new(into.as_os_str().as_bytes());
    std::fs::create_dir_all(into).at("make the directory", shown)?;
    let target = fs::open(into, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).at("open", shown)?;
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let implied = Attributes { mode: 0o755, uid, gid, mtime: NO_TIME };
    let mut writer = TreeWriter::new(own(target.as_fd())?, implied);
    let time = epoch.map(|epoch| (epoch, 0));
    let rules = Rules { owner: Some((uid, gid)), time, replace: true, ..Rules::default() };
    let source = Source::fetched(own(root)?);
    let top = source.find(BStr::new(""))?.ok_or_else(|| TaskError::engine("the file system has no root"))?;
    Copier::new(&source, &rules, &mut writer).copy(&top, &Selection::default(), BStr::new(""))?;
    Ok(writer.finish()?)
}

fn own(root: BorrowedFd<'_>) -> Result<Root, TaskError> {
    Root::of(root).map_err(|error| TaskError::engine(format!("the file system's root: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::fixture::{self, build, list};
    use crate::snapshot::unpack::unpack;

    const TREE: &[&str] = &[
        "dir 755 d ~1",
        "file 644 d/f 0123456789 ~2",
        "hard 0 d/h =d/f",
        "link 777 l ->/d/f ~3",
        "link 777 out ->../../outside ~4",
        "fifo 600 p ~5",
    ];

    fn tree() -> (tempfile::TempDir, Root) {
        let top = fixture::dir();
        std::fs::write(top.path().join("outside"), "outside").unwrap();
        std::fs::create_dir(top.path().join("root")).unwrap();
        build(&top.path().join("root"), TREE);
        let root = Root::open(&top.path().join("root")).unwrap();
        (top, root)
    }

    #[track_caller]
    fn check(path: &str, offset: u64, limit: usize, expected: Result<&str, &str>) {
        let (_top, root) = tree();
        match (read(root.as_fd(), BStr::new(path), offset, limit), expected) {
            (Ok(bytes), Ok(text)) => assert_eq!(bytes.as_bstr(), text),
            (Err(error), Err(part)) => assert!(error.input && error.message.contains(part), "{error}"),
            (found, expected) => panic!("{found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn parts_of_files() {
        check("d/f", 0, 100, Ok("0123456789"));
        check("/l", 3, 4, Ok("3456"));
        check("d/f", 10, 4, Ok(""));
        check("d/f", 0, 0, Ok(""));
        check("d/none", 0, 4, Err("/d/none is not there"));
        check("d/f/x", 0, 4, Err("not there"));
        check("out", 0, 4, Err("not there"));
        check("../outside", 0, 4, Err("not there"));
        check("d", 0, 4, Err("not a regular file"));
        check("p", 0, 4, Err("not a regular file"));
    }

    #[test]
    fn an_archive_of_everything() {
        let (top, root) = tree();
        let mut archive = Vec::new();
        tar(root.as_fd(), &mut archive, None).unwrap();
        let mut again = Vec::new();
        tar(root.as_fd(), &mut again, None).unwrap();
        assert_eq!(archive, again);
        std::fs::write(top.path().join("blob"), &archive).unwrap();
        let into = top.path().join("into");
        unpack(&top.path().join("blob"), None, &into, &mut |_| {}).unwrap();
        assert_eq!(list(&into, true), TREE);
    }

    #[test]
    fn a_directory_of_everything() {
        let (top, root) = tree();
        let into = top.path().join("new/into");
        local(root.as_fd(), &into, None).unwrap();
        assert_eq!(list(&into, true), TREE);
        // Once more over it, and over what is in the way.
        std::fs::remove_file(into.join("l")).unwrap();
        build(&into, &["dir 755 l", "file 644 l/x y", "file 644 mine z"]);
        crate::snapshot::remove::remove(&into.join("d")).unwrap();
        build(&into, &["file 600 d x"]);
        local(root.as_fd(), &into, None).unwrap();
        let mut expected = TREE.to_vec();
        expected.insert(4, "file 644 mine z ~0");
        assert_eq!(list(&into, true), expected);
        assert_eq!(std::fs::read_to_string(top.path().join("outside")).unwrap(), "outside");
    }

    #[test]
    fn one_time_for_everything() {
        let (top, root) = tree();
        let mut archive = Vec::new();
        tar(root.as_fd(), &mut archive, Some(99)).unwrap();
        std::fs::write(top.path().join("blob"), &archive).unwrap();
        unpack(&top.path().join("blob"), None, &top.path().join("unpacked"), &mut |_| {}).unwrap();
        local(root.as_fd(), &top.path().join("copied"), Some(99)).unwrap();
        for dir in ["unpacked", "copied"] {
            let lines = list(&top.path().join(dir), true);
            assert_eq!(lines.len(), TREE.len());
            assert!(lines.iter().all(|line| line.starts_with("hard") || line.ends_with(" ~99")), "{lines:?}");
        }
    }
}
