//! Deletes directories, whatever is in them: any owner and mode, any depth.

use super::rooted::{At, PathError, Root, child, split};
use super::scan::names;
use bstr::{BStr, BString, ByteSlice};
use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Deletes a directory of the host with everything in it. One that is not there is no error.
pub fn remove(dir: &Path) -> Result<(), PathError> {
    let path = BStr::new(dir.as_os_str().as_bytes());
    let (parent, name) = (dir.parent(), dir.file_name());
    let (Some(parent), Some(name)) = (parent, name) else {
        return Err(PathError::new("delete", path, Errno::BUSY.into()));
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let place = match fs::open(parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        place => place.at("delete", path)?,
    };
    remove_at(place.as_fd(), BStr::new(name.as_bytes())).at("delete", path)
}

/// Deletes a name below a root; `canonical` passes no symbolic link.
pub fn remove_in(root: &Root, canonical: &BStr) -> Result<(), PathError> {
    let (parent, name) = split(canonical);
    let place = root.place(parent).at("delete", canonical)?;
    remove_at(place.as_fd(), name).at("delete", canonical)
}

/// Deletes a name in a directory, with everything below it if it is a directory.
///
/// Directories in it are moved up to its own top under new names before they are emptied. So no path and no list of
/// descriptors grows with the depth, and the deepest tree that a process could make can be deleted.
pub fn remove_at(place: BorrowedFd<'_>, name: &BStr) -> Result<(), Errno> {
    match fs::unlinkat(place, name.as_bytes(), AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(Errno::NOENT) => return Ok(()),
        result => return result,
    }
    if fs::unlinkat(place, name.as_bytes(), AtFlags::REMOVEDIR).is_ok() {
        return Ok(());
    }
    let top = open_writable(place, name)?;
    let mut moved = 0u64;
    let mut todo: Vec<BString> = empty(top.as_fd(), top.as_fd(), &mut moved)?;
    while let Some(dir) = todo.pop() {
        let fd = open_writable(top.as_fd(), dir.as_bstr())?;
        todo.extend(empty(fd.as_fd(), top.as_fd(), &mut moved)?);
        drop(fd);
        fs::unlinkat(&top, dir.as_bytes(), AtFlags::REMOVEDIR)?;
    }
    drop(top);
    fs::unlinkat(place, name.as_bytes(), AtFlags::REMOVEDIR)
}

/// Deletes what is in a directory, but moves directories that are not empty to `top`; answers with their new names.
fn empty(dir: BorrowedFd<'_>, top: BorrowedFd<'_>, moved: &mut u64) -> Result<Vec<BString>, Errno> {
    let mut found = Vec::new();
    let here = names(dir).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    for name in here {
        match fs::unlinkat(dir, name.as_bytes(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error),
        }
        if fs::unlinkat(dir, name.as_bytes(), AtFlags::REMOVEDIR).is_ok() {
            continue;
        }
        // A directory can be moved by somebody who may write to it.
        open_writable(dir, name.as_bstr())?;
        loop {
            let new = BString::from(format!(".{moved}"));
            *moved += 1;
            match fs::renameat_with(dir, name.as_bytes(), top, new.as_bytes(), fs::RenameFlags::NOREPLACE) {
                Ok(()) => {
                    found.push(new);
                    break;
                }
                Err(Errno::EXIST) => {}
                // overlayfs moves no directory that a lower layer has.
                Err(Errno::XDEV) => {
                    remove_by_paths(dir, name.as_bstr())?;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

/// Deletes a tree whose directories cannot be moved, each by its path, the deepest first.
fn remove_by_paths(place: BorrowedFd<'_>, name: &BStr) -> Result<(), Errno> {
    let errno = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let root = Root::of(place).map_err(errno)?;
    let mut todo = vec![(name.to_owned(), false)];
    while let Some((path, emptied)) = todo.pop() {
        let (parent, last) = split(path.as_bstr());
        let parent = root.place(parent).map_err(errno)?;
        if emptied {
            fs::unlinkat(&parent, last.as_bytes(), AtFlags::REMOVEDIR)?;
            continue;
        }
        let dir = open_writable(parent.as_fd(), last)?;
        let here = names(dir.as_fd()).map_err(errno)?;
        todo.push((path.clone(), true));
        for name in here {
            match fs::unlinkat(&dir, name.as_bytes(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR | Errno::PERM) => todo.push((child(path.as_bstr(), name.as_bstr()), false)),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Opens a directory, and gives its owner all rights if that is needed to empty it.
fn open_writable(place: BorrowedFd<'_>, name: &BStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || fs::openat(place, name.as_bytes(), flags, Mode::empty());
    let grant = || fs::chmodat(place, name.as_bytes(), Mode::RWXU, AtFlags::empty());
    let fd = match open() {
        Err(Errno::ACCESS) => {
            grant()?;
            return open();
        }
        fd => fd?,
    };
    if fs::fstat(&fd)?.st_mode & 0o700 != 0o700 {
        fs::fchmod(&fd, Mode::RWXU)?;
    }
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[track_caller]
    fn check(make: impl FnOnce(&Path)) {
        let top = crate::snapshot::fixture::dir();
        let beside = top.path().join("beside");
        std::fs::write(&beside, "stays").unwrap();
        let dir = top.path().join("dir");
        std::fs::create_dir(&dir).unwrap();
        make(&dir);
        remove(&dir).unwrap();
        assert!(!dir.exists());
        assert_eq!(std::fs::read_to_string(beside).unwrap(), "stays");
    }

    #[test]
    fn whatever_the_modes() {
        check(|_| {});
        check(|dir| {
            std::fs::create_dir_all(dir.join("a/b/c")).unwrap();
            std::fs::write(dir.join("a/b/file"), "").unwrap();
            for path in ["a/b/c", "a/b", "a", ""] {
                std::fs::set_permissions(dir.join(path), std::fs::Permissions::from_mode(0o000)).unwrap();
            }
        });
    }

    #[test]
    fn links_are_not_followed() {
        check(|dir| {
            symlink("../beside", dir.join("file")).unwrap();
            symlink("..", dir.join("up")).unwrap();
        });
        let top = crate::snapshot::fixture::dir();
        std::fs::create_dir(top.path().join("real")).unwrap();
        symlink("real", top.path().join("link")).unwrap();
        remove(&top.path().join("link")).unwrap();
        assert!(top.path().join("real").exists());
    }

    #[test]
    fn names_like_our_own_and_many_of_them() {
        check(|dir| {
            for number in 0..40 {
                std::fs::create_dir_all(dir.join(format!(".{number}/.{number}/x"))).unwrap();
            }
        });
    }

    #[test]
    fn trees_deeper_than_any_path() {
        check(|dir| {
            let mut at = fs::open(dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
            for _ in 0..3000 {
                fs::mkdirat(&at, "deeper", Mode::RWXU).unwrap();
                at = fs::openat(&at, "deeper", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
            }
        });
    }

    #[test]
    fn trees_whose_directories_cannot_be_moved() {
        check(|dir| {
            std::fs::create_dir_all(dir.join("a/b/c")).unwrap();
            std::fs::write(dir.join("a/b/file"), "").unwrap();
            symlink("..", dir.join("a/up")).unwrap();
            std::fs::set_permissions(dir.join("a/b"), std::fs::Permissions::from_mode(0o500)).unwrap();
            let place = fs::open(dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
            remove_by_paths(place.as_fd(), BStr::new("a")).unwrap();
            assert!(!dir.join("a").exists());
        });
    }

    #[test]
    fn nothing_there_is_fine() {
        let top = crate::snapshot::fixture::dir();
        remove(&top.path().join("no")).unwrap();
        remove(&top.path().join("no/such")).unwrap();
    }
}
