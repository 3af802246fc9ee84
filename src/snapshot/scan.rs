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

/// Bytes of all paths, link targets and attributes of a layer, which are kept in memory; a file may have 4096 of one,
/// and 65536 of the other.
pub const MOST_TEXT: usize = 1 << 30;

/// Reads a layer directory. Names of one inode get the same number, counted from 1 in the order of the entries.
/// The root itself has no entry, but it may be opaque.
pub fn scan(layer: &Path) -> Result<Layer, PathError> {
    scan_bounded(layer, MOST_TEXT, &mut |_, error| Err(error))
}

/// The same of what can be read. `unread` gets each directory in which something cannot, and why; nothing in it is in
/// the layer.
pub fn scan_readable(layer: &Path, unread: &mut dyn FnMut(BString, PathError)) -> Result<Layer, PathError> {
    scan_bounded(layer, MOST_TEXT, &mut |directory, error| {
        // Without its top, or without the memory for it, there is nothing to be told.
        if directory.is_empty() || error.source.kind() == io::ErrorKind::OutOfMemory {
            return Err(error);
        }
        unread(directory, error);
        Ok(())
    })
}

fn scan_bounded(
    layer: &Path,
    most: usize,
    failed: &mut dyn FnMut(BString, PathError) -> Result<(), PathError>,
) -> Result<Layer, PathError> {
    let top = BStr::new("");
    let root = Root::open(layer).at("open the layer at", BStr::new(layer.as_os_str().as_encoded_bytes()))?;
    let mut scanned = Scanned { entries: Vec::new(), inodes: HashMap::new(), room: most };
    if is_opaque(root.as_fd(), BStr::new(".")).at("read", top)? {
        scanned.entries.push(Entry::Opaque { path: BString::default() });
    }
    // Directories still to be read, the next one last. They are opened anew by their paths, so that a deep tree
    // needs no more descriptors than a flat one; a path too long for the kernel is an error.
    let mut todo = vec![BString::default()];
    while let Some(dir) = todo.pop() {
        let before = scanned.entries.len();
        match scanned.directory(&root, dir.as_bstr()) {
            Ok(below) => todo.extend(below.into_iter().rev()),
            Err(error) => {
                scanned.entries.truncate(before);
                failed(dir, error)?;
            }
        }
    }
    let Scanned { mut entries, inodes, .. } = scanned;
    entries.sort_by(|a, b| in_tree_order(a.path().as_bstr(), b.path().as_bstr()));
    number_links(&mut entries, inodes);
    Ok(Layer { entries })
}

/// What has been read of a layer directory.
struct Scanned {
    entries: Vec<Entry>,
    /// Names of inodes that have more than one.
    inodes: HashMap<(u64, u64), Vec<BString>>,
    /// Bytes of text that may still be kept.
    room: usize,
}

impl Scanned {
    /// Reads one directory, and answers with those in it.
    fn directory(&mut self, root: &Root, dir: &BStr) -> Result<Vec<BString>, PathError> {
        let fd = root.dir(dir).at("read", dir)?;
        let mut below = Vec::new();
        for name in names(fd.as_fd()).at("read", dir)? {
            let path = child(dir, name.as_bstr());
            let stat = fs::statat(&fd, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW).at("read", path.as_bstr())?;
            let mut text = path.len();
            let entry = match is_whiteout(&stat) {
                true => Entry::Whiteout { path },
                false => {
                    let meta = read_meta(fd.as_fd(), name.as_bstr(), &stat).at("read", path.as_bstr())?;
                    let xattrs = meta.xattrs.iter().map(|(key, value)| key.len() + value.len());
                    text += meta.target.len() + xattrs.sum::<usize>();
                    let is_directory = meta.kind == Kind::Directory;
                    let opaque = is_directory && is_opaque(fd.as_fd(), name.as_bstr()).at("read", path.as_bstr())?;
                    if is_directory {
                        below.push(path.clone());
                    } else if stat.st_nlink > 1 {
                        self.inodes.entry((stat.st_dev, stat.st_ino)).or_default().push(path.clone());
                    }
                    Entry::Put { path, meta, opaque }
                }
            };
            self.room = self.room.checked_sub(text).ok_or_else(|| {
                let message = "the paths and attributes of its layer are more than can be kept";
                let error = io::Error::new(io::ErrorKind::OutOfMemory, message);
                PathError::new("keep", entry.path().as_bstr(), error)
            })?;
            self.entries.push(entry);
        }
        Ok(below)
    }
}

/// Orders paths so that a directory is followed by everything in it.
pub fn in_tree_order(a: &BStr, b: &BStr) -> std::cmp::Ordering {
    a.split_str("/").cmp(b.split_str("/"))
}

/// Gives names of one inode a number, where there are several.
pub(super) fn number_links<K>(entries: &mut [Entry], inodes: HashMap<K, Vec<BString>>) {
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
        mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
        target,
        hard_link: 0,
        device,
        xattrs: read_xattrs(dir, name)?,
        content: None,
        holes: 0,
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
    use crate::snapshot::fixture::{self, build};

    #[track_caller]
    fn check(lines: &[&str]) {
        let dir = fixture::dir();
        build(dir.path(), lines);
        assert_eq!(fixture::list(dir.path(), true), lines);
    }

    #[test]
    fn directories_come_before_what_is_in_them() {
        check(&[
            "dir 755 a ~5",
            "dir 1777 a/deep ~6",
            "file 4711 a/file 12345 ~1700000000",
            "file 644 a-b ~-3",
            "fifo 600 p ~0",
            "link 777 s ->a/file ~7",
        ]);
    }

    #[test]
    fn whiteouts_and_opaque_directories() {
        check(&["dir 755 etc +user.color=blue ~0 opaque", "gone 0 etc/passwd", "gone 0 tmp"]);
    }

    #[test]
    fn names_of_one_inode_share_a_number() {
        check(&["file 600 a 1 ~0", "file 600 alone 2 ~0", "file 600 b 3 ~0", "hard 0 c =b", "hard 0 x =a"]);
        let dir = fixture::dir();
        build(dir.path(), &["file 600 b 1", "hard 0 a =b", "file 600 c 1", "hard 0 d =c", "hard 0 e =c"]);
        let layer = scan(dir.path()).unwrap();
        let number = |entry: &Entry| match entry {
            Entry::Put { meta, .. } => meta.hard_link,
            _ => panic!(),
        };
        assert_eq!(layer.entries.iter().map(number).collect::<Vec<_>>(), [1, 1, 2, 2, 2]);
    }

    /// Whiteouts share an inode on disk; that makes them no hard links. What overlayfs notes for itself is no
    /// attribute of the file.
    #[test]
    fn what_is_overlays_own_is_left_out() {
        let dir = fixture::dir();
        build(dir.path(), &["gone 0 a", "dir 755 d ~0"]);
        fs::linkat(fs::CWD, dir.path().join("a"), fs::CWD, dir.path().join("b"), AtFlags::empty()).unwrap();
        fs::setxattr(dir.path().join("d"), "user.overlay.origin", b"x", fs::XattrFlags::empty()).unwrap();
        assert_eq!(fixture::list(dir.path(), false), ["gone 0 a", "gone 0 b", "dir 755 d"]);
    }

    #[test]
    fn an_opaque_root_is_said() {
        let dir = fixture::dir();
        fs::setxattr(dir.path(), OPAQUE, b"y", fs::XattrFlags::empty()).unwrap();
        assert_eq!(scan(dir.path()).unwrap().entries, [Entry::Opaque { path: BString::default() }]);
    }

    #[test]
    fn what_is_kept_of_a_layer_is_bounded() {
        let dir = fixture::dir();
        build(dir.path(), &["dir 755 d", "dir 755 d/e"]);
        std::os::unix::fs::symlink("12345", dir.path().join("l")).unwrap();
        let mut strict = |_, error| Err(error);
        assert!(scan_bounded(dir.path(), 10, &mut strict).is_ok());
        let error = scan_bounded(dir.path(), 9, &mut strict).unwrap_err();
        assert!(error.to_string().contains("more than can be kept"), "{error}");
    }

    #[test]
    fn what_cannot_be_read_is_told_and_the_rest_read() {
        let dir = fixture::dir();
        build(dir.path(), &["file 644 a 1", "file 644 z 1"]);
        // A path that no call takes as a whole.
        let mut at = fs::open(dir.path(), fs::OFlags::DIRECTORY, fs::Mode::empty()).unwrap();
        let name = "d".repeat(250);
        for _ in 0..18 {
            fs::mkdirat(&at, &name, fs::Mode::RWXU).unwrap();
            at = fs::openat(&at, &name, fs::OFlags::DIRECTORY, fs::Mode::empty()).unwrap();
        }
        let mut unread = Vec::new();
        let layer = scan_readable(dir.path(), &mut |dir, error| unread.push((dir, error.source.kind()))).unwrap();
        let deepest = bstr::join("/", vec![&name; 17]);
        assert_eq!(unread, [(BString::from(deepest), io::ErrorKind::InvalidFilename)]);
        assert_eq!(layer.entries.len(), 2 + 17);
        assert!(scan(dir.path()).is_err());
        assert!(scan_readable(&dir.path().join("none"), &mut |_, _| ()).is_err());
    }

    #[test]
    fn names_are_bytes_and_trees_may_be_deep() {
        use std::os::unix::ffi::OsStrExt;
        let dir = fixture::dir();
        let odd = std::ffi::OsStr::from_bytes(b"\xff\n\x1b[m");
        std::fs::write(dir.path().join(odd), "").unwrap();
        let deep: std::path::PathBuf = std::iter::repeat_n("d", 1500).collect();
        std::fs::create_dir_all(dir.path().join(&deep)).unwrap();
        let layer = scan(dir.path()).unwrap();
        assert_eq!(layer.entries.len(), 1501);
        assert_eq!(layer.entries[1500].path(), odd.as_bytes());
    }
}
