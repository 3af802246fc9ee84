//! Mounts and in-root paths by file descriptor: nothing is looked up twice, and no link leads out.

use super::task::TaskError;
use crate::snapshot::rooted::{Resolved, Root, split};
use bstr::{BStr, ByteSlice};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Makes a file system that is mounted nowhere yet. An option without a value is a flag. The mount table names `kind` as
/// the source, unless `source` is among the options.
pub(super) fn file_system(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    if options.iter().all(|(name, _)| *name != "source") {
        fsconfig_set_string(&context, "source", kind)?;
    }
    for (name, value) in options {
        match value.is_empty() {
            true => fsconfig_set_flag(&context, *name)?,
            false => fsconfig_set_string(&context, *name, *value)?,
        }
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// A second mount of the file or directory at `path`, mounted nowhere yet; with all below it if `recursive`.
pub(super) fn bind(at: impl AsFd, path: &Path, recursive: bool, attributes: MountAttrFlags) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let mount = open_tree(at, path, flags)?;
    if !attributes.is_empty() {
        set_attributes(&mount, recursive, attributes)?;
    }
    Ok(mount)
}

/// Puts a mount that is mounted nowhere yet over `target`.
pub(super) fn attach(mount: impl AsFd, target: impl AsFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", target, "", flags)
}

/// Sets attributes of a mount besides those it has.
pub(super) fn set_attributes(mount: impl AsFd, recursive: bool, attributes: MountAttrFlags) -> Result<(), Errno> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let change = libc::mount_attr { attr_set: attributes.bits().into(), attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is a C string, and `change` is a whole `mount_attr` of the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const change,
            size_of::<libc::mount_attr>(),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

/// Opens a path below `root` as a process with that root would: links are followed, and none leads out.
pub(super) fn open_in_root(root: impl AsFd, path: impl AsRef<Path>, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    retry(|| rustix::fs::openat2(&root, path.as_ref(), flags | OFlags::CLOEXEC, Mode::empty(), resolve))
}

/// Opens a path below `root` that must have no link in it and must stay in the same mount.
pub(super) fn open_plain(root: impl AsFd, path: impl AsRef<Path>, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    retry(|| rustix::fs::openat2(&root, path.as_ref(), flags | OFlags::CLOEXEC, Mode::empty(), resolve))
}

/// openat2 answers EAGAIN when something was renamed meanwhile and it cannot tell whether the path is safe.
fn retry(open: impl Fn() -> Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
    let mut result = open();
    for _ in 0..64 {
        if !matches!(result, Err(Errno::AGAIN | Errno::INTR)) {
            break;
        }
        result = open();
    }
    result
}

/// Opens a directory of the host for use as a path (`O_PATH`).
pub(super) fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// What a mount point has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum Point {
    Directory,
    File,
}

/// A place for a mount, found or made.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) descriptor: OwnedFd,
    /// Where it really is, without links, relative to the root.
    pub(super) path: PathBuf,
    /// What had to be made in the root's own mount, parents first, relative to the root.
    pub(super) made: Vec<PathBuf>,
}

/// Finds the place for a mount below `root`, and makes it, with its parents, where it is missing. Links are followed
/// within the root; whoever swaps a directory for a link meanwhile gets an error.
pub(super) fn place(root: impl AsFd, path: &Path, point: Point) -> Result<Place, Errno> {
    Sought::find(root.as_fd(), path)?.take(point)
}

/// Where a path leads, before anything is done there. Between the two anybody who can write below the root may have
/// changed it (CVE-2024-23651).
struct Sought {
    root: Root,
    found: Resolved,
}

impl Sought {
    fn find(root: BorrowedFd<'_>, path: &Path) -> Result<Sought, Errno> {
        let root = Root::of(root).map_err(errno)?;
        let found = root.resolve(BStr::new(path.as_os_str().as_bytes()), true).map_err(errno)?;
        Ok(Sought { root, found })
    }

    /// Makes what is missing, and opens it: an error if there is a link on the way now.
    fn take(self, point: Point) -> Result<Place, Errno> {
        let made = if self.found.exists { Vec::new() } else { self.make(point)? };
        let descriptor = match self.found.path.is_empty() {
            true => rustix::io::fcntl_dupfd_cloexec(self.root.as_fd(), 0)?,
            false => open_strictly(&self.root, self.found.path.as_slice())?,
        };
        let is_directory = FileType::from_raw_mode(rustix::fs::fstat(&descriptor)?.st_mode) == FileType::Directory;
        match (point, is_directory) {
            (Point::Directory, false) => Err(Errno::NOTDIR),
            (Point::File, true) => Err(Errno::ISDIR),
            _ => Ok(Place { descriptor, path: PathBuf::from(OsStr::from_bytes(&self.found.path)), made }),
        }
    }

    /// Answers with what it has made in the root's own mount.
    fn make(&self, point: Point) -> Result<Vec<PathBuf>, Errno> {
        let (root, path) = (&self.root, self.found.path.as_bstr());
        let home = mount_of(root.as_fd())?;
        let (parent, name) = split(path);
        let mut new = Vec::new();
        let mut note = |path: &BStr| {
            // It was made for nobody but root.
            rustix::fs::fchmod(root.dir(path)?, Mode::from(0o755))?;
            new.push(path.to_owned());
            Ok(())
        };
        root.make_dirs(parent, &mut note).map_err(errno)?;
        make(root.place(parent).map_err(errno)?.as_fd(), OsStr::from_bytes(name), point)?;
        new.push(path.to_owned());
        // What lies in another mount, a cache for instance, is no matter of the image.
        let mut made = Vec::new();
        for path in new {
            let (parent, _) = split(path.as_bstr());
            if mount_of(root.place(parent).map_err(errno)?.as_fd())? == home {
                made.push(PathBuf::from(OsStr::from_bytes(&path)));
            }
        }
        Ok(made)
    }
}

fn make(parent: BorrowedFd<'_>, name: &OsStr, kind: Point) -> Result<(), Errno> {
    match kind {
        Point::Directory => rustix::fs::mkdirat(parent, name, Mode::from(0o755)),
        Point::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(parent, name, flags, Mode::from(0o644)).map(drop)
        }
    }
}

/// As [`open_plain`], across mounts.
fn open_strictly(root: impl AsFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    retry(|| rustix::fs::openat2(&root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve))
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// Which mount a descriptor is in.
fn mount_of(descriptor: BorrowedFd<'_>) -> Result<u64, Errno> {
    let status = rustix::fs::statx(descriptor, "", AtFlags::EMPTY_PATH, rustix::fs::StatxFlags::MNT_ID)?;
    Ok(status.stx_mnt_id)
}

pub(super) fn last_errno() -> Errno {
    Errno::from_raw_os_error(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

/// Turns a failed system call into a sentence: `WHAT: REASON`.
pub(super) fn failed(what: impl std::fmt::Display) -> impl Fn(Errno) -> TaskError {
    move |errno| TaskError::engine(format!("{what}: {}", std::io::Error::from(errno)))
}

/// A path for the current directory or an absolute one.
pub(super) fn here() -> BorrowedFd<'static> {
    CWD
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::fixture::{self, build, list};
    use rustix::fs::{RenameFlags, renameat_with};

    /// A path is looked up, then the directory `c/dir` and the link `c/link` to a place outside change places, and then
    /// the mount point is made and opened: `expected` says where, if at all. Outside nothing ever changes.
    #[track_caller]
    fn check(path: &str, point: Point, expected: Option<&str>) {
        let top = fixture::dir();
        build(
            top.path(),
            &["dir 700 victim", "dir 700 victim/there", "file 600 victim/file 1", "dir 755 root", "dir 755 root/c"],
        );
        build(&top.path().join("root/c"), &["dir 755 dir", "dir 755 dir/there", "file 644 dir/file 1"]);
        let outside = list(&top.path().join("victim"), false);
        for (link, target) in [("link", top.path().join("victim")), ("up", "../../victim".into())] {
            std::os::unix::fs::symlink(target, top.path().join("root/c").join(link)).unwrap();
        }
        for link in ["link", "up"] {
            let root = open_directory(&top.path().join("root")).unwrap();
            let exchange = || {
                let c = top.path().join("root/c");
                renameat_with(CWD, c.join("dir"), CWD, c.join(link), RenameFlags::EXCHANGE).unwrap();
            };
            let sought = Sought::find(root.as_fd(), Path::new(path)).unwrap();
            exchange();
            let taken = sought.take(point).ok().map(|it| it.path);
            exchange();
            assert_eq!(taken, expected.map(PathBuf::from), "{path}, with {link}");
            assert_eq!(list(&top.path().join("victim"), false), outside, "{path}, with {link}");
        }
    }

    #[test]
    fn a_link_that_comes_after_the_look_leads_nowhere() {
        for path in ["c/dir", "c/dir/there", "/c/dir/new", "c/dir/new/and/more"] {
            check(path, Point::Directory, None);
        }
        for path in ["c/dir/file", "c/dir/new", "c/dir/new/and/more"] {
            check(path, Point::File, None);
        }
        // What does not go through the link is found as before.
        check("c", Point::Directory, Some("c"));
        check("c/new/there", Point::Directory, Some("c/new/there"));
    }
}
