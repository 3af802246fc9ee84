//! What a layer directory says, in the terms of the OCI layer format.
//!
//! The directory is one that overlayfs, mounted with `userxattr`, wrote as its upper or reads as a lower: a
//! character device 0:0 hides a path, `user.overlay.opaque=y` hides what lies below a directory.

use super::rooted::{At, PathError, Root, child, proc_path};
use crate::layers::{Entry, Kind, Layer, Meta};
use bstr::{BStr, BString, ByteSlice};
use rustix::fs::{self, AtFlags, FileType, Stat};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

pub const OPAQUE: &str = "user.overlay.opaque";

/// Reads a layer directory. Names of one inode get the same number, counted from 1 in the order of the entries.
/// The root itself has no entry, but it may be opaque.
pub fn scan(layer: &Path) -> Result<Layer, PathError> {
    let top = BStr::new("");
    let root = Root::open(layer).at("open the layer at", BStr::new(layer.as_os_str().as_encoded_bytes()))?;
    let mut entries = Vec::new();
    let mut inodes = HashMap::new();
    if is_opaque(root.as_fd(), BStr::new(".")).at("read", top)? {
        entries.push(Entry::Opaque { path: BString::default() });
    }
    // Directories still to be read, the next one last. They are opened anew by their paths, so that a deep tree
    // needs no more descriptors than a flat one; a path too long for the kernel is an error.
    let mut todo = vec![BString::default()];
    while let Some(dir) = todo.pop() {
        let fd = root.dir(dir.as_bstr()).at("read", dir.as_bstr())?;
        let mut below = Vec::new();
        for name in names(fd.as_fd()).at("read", dir.as_bstr())? {
            let path = child(dir.as_bstr(), name.as_bstr());
            let stat = fs::statat(&fd, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW).at("read", path.as_bstr())?;
            if is_whiteout(&stat) {
                entries.push(Entry::Whiteout { path });
                continue;
            }
            let meta = read_meta(fd.as_fd(), name.as_bstr(), &stat).at("read", path.as_bstr())?;
            let opaque =
                meta.kind == Kind::Directory && is_opaque(fd.as_fd(), name.as_bstr()).at("read", path.as_bstr())?;
            if meta.kind == Kind::Directory {
                below.push(path.clone());
            } else if stat.st_nlink > 1 {
                inodes.entry((stat.st_dev, stat.st_ino)).or_insert_with(Vec::new).push(path.clone());
            }
            entries.push(Entry::Put { path, meta, opaque });
        }
        todo.extend(below.into_iter().rev());
    }
    entries.sort_by(|a, b| in_tree_order(a.path().as_bstr(), b.path().as_bstr()));
    number_links(&mut entries, inodes);
    Ok(Layer { entries })
}

/// Orders paths so that a directory is followed by everything in it.
pub fn in_tree_order(a: &BStr, b: &BStr) -> std::cmp::Ordering {
    a.split_str("/").cmp(b.split_str("/"))
}

fn number_links<K>(entries: &mut [Entry], inodes: HashMap<K, Vec<BString>>) {
    let mut group_of: HashMap<BString, usize> = HashMap::new();
    for (group, paths) in inodes.into_values().filter(|paths| paths.len() > 1).enumerate() {
        group_of.extend(paths.into_iter().map(|path| (path, group)));
    }
    let mut numbers: HashMap<usize, u64> = HashMap::new();
    for entry in entries {
        if let Entry::Put { path, meta, .. } = entry
            && let Some(group) = group_of.get(path)
        {
            let next = numbers.len() as u64 + 1;
            meta.hard_link = *numbers.entry(*group).or_insert(next);
        }
    }
}

/// Names in a directory, in byte order.
pub fn names(dir: BorrowedFd<'_>) -> io::Result<Vec<BString>> {
    let mut names = Vec::new();
    for entry in fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(BString::from(name));
        }
    }
    names.sort_unstable();
    Ok(names)
}

pub fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

pub fn kind(stat: &Stat) -> Kind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        _ => Kind::File,
    }
}

/// Everything about one name in a directory but `hard_link`.
pub fn read_meta(dir: BorrowedFd<'_>, name: &BStr, stat: &Stat) -> io::Result<Meta> {
    let kind = kind(stat);
    let target = match kind {
        Kind::Symlink => BString::from(fs::readlinkat(dir, name.as_bytes(), Vec::new())?.into_bytes()),
        _ => BString::default(),
    };
    let device = match kind {
        Kind::CharDevice | Kind::BlockDevice => (fs::major(stat.st_rdev), fs::minor(stat.st_rdev)),
        _ => (0, 0),
    };
    Ok(Meta {
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: if kind == Kind::File { stat.st_size as u64 } else { 0 },
        mtime: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
        target,
        hard_link: 0,
        device,
        xattrs: read_xattrs(dir, name)?,
        content: None,
    })
}

/// Extended attributes that belong to the file, not to the machine or to overlayfs.
pub fn read_xattrs(dir: BorrowedFd<'_>, name: &BStr) -> io::Result<BTreeMap<BString, BString>> {
    let path = proc_path(dir, name);
    let mut list = Vec::with_capacity(1024);
    loop {
        match fs::llistxattr(path.as_bytes(), rustix::buffer::spare_capacity(&mut list)) {
            Ok(_) => break,
            Err(Errno::RANGE) if list.capacity() < XATTR_LIMIT => list.reserve(list.capacity() * 2),
            Err(Errno::NOTSUP) => return Ok(BTreeMap::new()),
            Err(error) => return Err(error.into()),
        }
    }
    let mut found = BTreeMap::new();
    for key in list.split(|byte| *byte == 0).filter(|key| is_kept(BStr::new(key))) {
        if let Some(value) = read_xattr(&path, key)? {
            found.insert(BString::from(key), BString::from(value));
        }
    }
    Ok(found)
}

/// Linux allows no larger list and no larger value.
const XATTR_LIMIT: usize = 64 << 10;

fn read_xattr(path: &BString, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut value = Vec::with_capacity(256);
    loop {
        match fs::lgetxattr(path.as_bytes(), key, rustix::buffer::spare_capacity(&mut value)) {
            Ok(_) => return Ok(Some(value)),
            Err(Errno::RANGE) if value.capacity() < XATTR_LIMIT => value.reserve(value.capacity() * 2),
            // Listed, but not for us to read, or gone meanwhile.
            Err(Errno::PERM | Errno::ACCESS | Errno::NODATA | Errno::NOTSUP) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether an attribute takes part in layers and copies. Labels belong to the machine's policy, and overlayfs'
/// own attributes would change what a layer hides.
pub fn is_kept(key: &BStr) -> bool {
    !key.is_empty()
        && !key.starts_with(b"user.overlay.")
        && !key.starts_with(b"trusted.overlay.")
        && key != "security.selinux"
}

fn is_opaque(dir: BorrowedFd<'_>, name: &BStr) -> io::Result<bool> {
    Ok(read_xattr(&proc_path(dir, name), OPAQUE.as_bytes())?.is_some_and(|value| value == b"y"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, Mode, XattrFlags};
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// One line an entry: kind, mode, path, and what else there is.
    pub(crate) fn listing(layer: &Layer) -> Vec<String> {
        let line = |entry: &Entry| match entry {
            Entry::Whiteout { path } => format!("gone {path}"),
            Entry::Opaque { path } => format!("opaque {path}"),
            Entry::Link { path, target } => format!("{path} = {target}"),
            Entry::Put { path, meta, opaque } => {
                let mut line = format!("{:?} {:o} {path}", meta.kind, meta.mode);
                if meta.kind == Kind::File {
                    line += &format!(" {}", meta.size);
                }
                if !meta.target.is_empty() {
                    line += &format!(" -> {}", meta.target);
                }
                if meta.hard_link != 0 {
                    line += &format!(" link {}", meta.hard_link);
                }
                if *opaque {
                    line += " opaque";
                }
                for (key, value) in &meta.xattrs {
                    line += &format!(" {key}={value}");
                }
                line
            }
        };
        layer.entries.iter().map(line).collect()
    }

    #[track_caller]
    fn check(make: impl FnOnce(&Path), expected: &[&str]) {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path());
        assert_eq!(listing(&scan(dir.path()).unwrap()), expected);
    }

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn whiteout(path: &Path) {
        fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    }

    #[test]
    fn files_directories_links() {
        check(
            |dir| {
                std::fs::create_dir_all(dir.join("a/deep")).unwrap();
                std::fs::write(dir.join("a/file"), "12345").unwrap();
                std::fs::write(dir.join("a-b"), "").unwrap();
                symlink("a/file", dir.join("s")).unwrap();
                for (path, bits) in [("a", 0o755), ("a/deep", 0o1777), ("a/file", 0o4711), ("a-b", 0o644)] {
                    mode(&dir.join(path), bits);
                }
            },
            &[
                "Directory 755 a",
                "Directory 1777 a/deep",
                "File 4711 a/file 5",
                "File 644 a-b 0",
                "Symlink 777 s -> a/file",
            ],
        );
    }

    #[test]
    fn whiteouts_and_opaque_directories() {
        check(
            |dir| {
                std::fs::create_dir(dir.join("etc")).unwrap();
                mode(&dir.join("etc"), 0o755);
                fs::setxattr(dir.join("etc"), OPAQUE, b"y", XattrFlags::empty()).unwrap();
                fs::setxattr(dir.join("etc"), "user.overlay.origin", b"x", XattrFlags::empty()).unwrap();
                fs::setxattr(dir.join("etc"), "user.color", b"blue", XattrFlags::empty()).unwrap();
                whiteout(&dir.join("etc/passwd"));
                // Whiteouts share an inode on disk; that makes them no hard links.
                fs::linkat(CWD, dir.join("etc/passwd"), CWD, dir.join("tmp"), AtFlags::empty()).unwrap();
            },
            &["Directory 755 etc opaque user.color=blue", "gone etc/passwd", "gone tmp"],
        );
    }

    #[test]
    fn names_of_one_inode_share_a_number() {
        check(
            |dir| {
                for name in ["x", "b", "alone"] {
                    std::fs::write(dir.join(name), name).unwrap();
                    mode(&dir.join(name), 0o600);
                }
                std::fs::hard_link(dir.join("x"), dir.join("a")).unwrap();
                std::fs::hard_link(dir.join("b"), dir.join("c")).unwrap();
            },
            &[
                "File 600 a 1 link 1",
                "File 600 alone 5",
                "File 600 b 1 link 2",
                "File 600 c 1 link 2",
                "File 600 x 1 link 1",
            ],
        );
    }

    #[test]
    fn names_are_bytes_and_trees_may_be_deep() {
        let dir = tempfile::tempdir().unwrap();
        use std::os::unix::ffi::OsStrExt;
        let odd = std::ffi::OsStr::from_bytes(b"\xff\n\x1b[m");
        std::fs::write(dir.path().join(odd), "").unwrap();
        let deep: std::path::PathBuf = std::iter::repeat_n("d", 1500).collect();
        std::fs::create_dir_all(dir.path().join(&deep)).unwrap();
        let layer = scan(dir.path()).unwrap();
        assert_eq!(layer.entries.len(), 1501);
        assert_eq!(layer.entries[1500].path(), odd.as_bytes());
    }
}
