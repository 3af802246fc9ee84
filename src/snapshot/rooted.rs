//! Paths that cannot leave a directory, whatever symbolic links there are and whoever swaps them meanwhile.
//!
//! Two ways lead below a root. [`Root::resolve`] and [`Root::make_dirs`] follow symbolic links as if the root
//! were `/`, and answer with a canonical path. All other functions take canonical paths and refuse to pass a
//! symbolic link at all, so that a link put in place after resolving is an error and not a way out.

pub use crate::layers::path::{child, clean, split};
use bstr::{BStr, BString, ByteSlice};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// As many symbolic links as Linux follows in one path.
const MAX_LINKS: usize = 40;

/// A directory that no path leads out of.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

/// What to do on the way to a path.
enum Way<'a> {
    /// Look, and pass only these symbolic links.
    Look(&'a dyn Fn(&BStr) -> bool),
    /// Make the directories that are missing.
    Make(&'a mut dyn FnMut(&BStr) -> io::Result<()>),
}

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Without symbolic links, `.`, `..` and empty components; empty for the root.
    pub path: BString,
    /// Whether something is there. The last components of `path` may not be.
    pub exists: bool,
}

impl Root {
    pub fn open(path: &Path) -> io::Result<Root> {
        let fd = fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Root { fd })
    }

    /// The same directory as an open one.
    pub fn of(fd: BorrowedFd<'_>) -> io::Result<Root> {
        Ok(Root { fd: fd.try_clone_to_owned()? })
    }

    /// Follows symbolic links as a process would whose `/` is this directory; the last component's only if
    /// `follow`. Components that are not there stay as they are written.
    pub fn resolve(&self, path: &BStr, follow: bool) -> io::Result<Resolved> {
        self.walk(path, follow, Way::Look(&|_| true))
    }

    /// As [`Root::resolve`], but a symbolic link whose canonical path is not `visible` is as good as missing.
    pub fn resolve_visible(&self, path: &BStr, visible: &dyn Fn(&BStr) -> bool) -> io::Result<Resolved> {
        self.walk(path, true, Way::Look(visible))
    }

    /// Makes a directory and those above it that are missing, following symbolic links, also ones that dangle
    /// so far. Answers with the canonical path. `made` gets the canonical path of each new directory, which has
    /// mode 0700 until the caller changes it.
    pub fn make_dirs(&self, path: &BStr, made: &mut dyn FnMut(&BStr) -> io::Result<()>) -> io::Result<BString> {
        let found = self.walk(path, true, Way::Make(made))?;
        Ok(found.path)
    }

    /// A directory for reading its entries, or for working on them.
    pub fn dir(&self, canonical: &BStr) -> io::Result<OwnedFd> {
        self.strict(canonical, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// A directory as a place to work in, without the right to list it.
    pub fn place(&self, canonical: &BStr) -> io::Result<OwnedFd> {
        self.strict(canonical, OFlags::PATH | OFlags::DIRECTORY)
    }

    /// A regular file for reading. Never waits, whatever lies there.
    pub fn file(&self, canonical: &BStr) -> io::Result<File> {
        open_regular(self.strict(canonical, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?)
    }

    /// Properties of what lies there itself, not of what a symbolic link leads to.
    pub fn stat(&self, canonical: &BStr) -> io::Result<Stat> {
        if canonical.is_empty() {
            return Ok(fs::fstat(&self.fd)?);
        }
        let (parent, name) = split(canonical);
        Ok(fs::statat(self.place(parent)?, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn strict(&self, canonical: &BStr, flags: OFlags) -> io::Result<OwnedFd> {
        let path: &[u8] = if canonical.is_empty() { b"." } else { canonical };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        // The kernel answers EAGAIN when a rename elsewhere raced with it.
        loop {
            match fs::openat2(&self.fd, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                result => return Ok(result?),
            }
        }
    }

    /// One component at a time: each is opened without following links, and links are expanded here.
    fn walk(&self, path: &BStr, follow: bool, mut way: Way<'_>) -> io::Result<Resolved> {
        let mut todo: Vec<BString> = components_reversed(path);
        let mut names: Vec<BString> = Vec::new();
        // Components at the end of `names` that are not there.
        let mut missing = 0usize;
        let mut links = 0;
        let mut at = self.strict(BStr::new(""), OFlags::PATH | OFlags::DIRECTORY)?;
        while let Some(name) = todo.pop() {
            if name == ".." {
                names.pop();
                if missing > 0 {
                    missing -= 1;
                } else {
                    at = self.place(join(&names).as_bstr())?;
                }
                continue;
            }
            if missing > 0 {
                names.push(name);
                missing += 1;
                continue;
            }
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = match fs::openat(&at, name.as_bytes(), flags, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::NOENT) => {
                    let Way::Make(made) = &mut way else {
                        names.push(name);
                        missing = 1;
                        continue;
                    };
                    match fs::mkdirat(&at, name.as_bytes(), Mode::RWXU) {
                        Ok(()) => {}
                        // Somebody was faster; what they made is looked at again.
                        Err(Errno::EXIST) => {
                            todo.push(name);
                            links += 1;
                            if links > MAX_LINKS {
                                return Err(Errno::LOOP.into());
                            }
                            continue;
                        }
                        Err(error) => return Err(error.into()),
                    }
                    names.push(name.clone());
                    made(join(&names).as_bstr())?;
                    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    at = fs::openat(&at, name.as_bytes(), flags, Mode::empty())?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            match FileType::from_raw_mode(fs::fstat(&fd)?.st_mode) {
                FileType::Directory => {
                    names.push(name);
                    at = fd;
                }
                FileType::Symlink if follow || !todo.is_empty() => {
                    if let Way::Look(visible) = &way {
                        names.push(name);
                        if !visible(join(&names).as_bstr()) {
                            missing = 1;
                            continue;
                        }
                        names.pop();
                    }
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    let target = fs::readlinkat(&fd, "", Vec::new())?;
                    let target = BStr::new(target.as_bytes());
                    if target.starts_with(b"/") {
                        names.clear();
                        at = self.strict(BStr::new(""), OFlags::PATH | OFlags::DIRECTORY)?;
                    }
                    todo.extend(components_reversed(target));
                }
                _ => {
                    if !todo.is_empty() || matches!(way, Way::Make(_)) {
                        return Err(Errno::NOTDIR.into());
                    }
                    names.push(name);
                }
            }
        }
        Ok(Resolved { path: join(&names), exists: missing == 0 })
    }
}

/// What failed, and on which path.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path:?}: {source}")]
pub struct PathError {
    pub action: &'static str,
    /// From the root, with a slash in front.
    pub path: BString,
    pub source: io::Error,
}

impl PathError {
    pub fn new(action: &'static str, canonical: &BStr, source: io::Error) -> PathError {
        let mut path = BString::from("/");
        path.extend_from_slice(canonical.trim_start_with(|it| it == '/').as_bytes());
        PathError { action, path, source }
    }

    /// Whether the file system has no room left.
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// Names the path in an error of the operating system.
pub trait At<T> {
    fn at(self, action: &'static str, canonical: &BStr) -> Result<T, PathError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, action: &'static str, canonical: &BStr) -> Result<T, PathError> {
        self.map_err(|error| PathError::new(action, canonical, error.into()))
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A regular file out of something opened without waiting; anything else is refused.
pub fn open_regular(fd: OwnedFd) -> io::Result<File> {
    if FileType::from_raw_mode(fs::fstat(&fd)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    fs::fcntl_setfl(&fd, fs::fcntl_getfl(&fd)? - OFlags::NONBLOCK)?;
    Ok(File::from(fd))
}

/// A path for the calls that know no directory descriptors (extended attributes).
pub fn proc_path(dir: BorrowedFd<'_>, name: &BStr) -> BString {
    let mut path = BString::from(format!("/proc/self/fd/{}/", dir.as_raw_fd()));
    path.extend_from_slice(name);
    path
}

fn join(names: &[BString]) -> BString {
    bstr::join("/", names).into()
}

/// Components with the first one last, `.` and empty ones left out.
fn components_reversed(path: &BStr) -> Vec<BString> {
    path.rsplit_str("/").filter(|name| !name.is_empty() && *name != b".").map(BString::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// `a/b/file`, links of all kinds, in a directory with something beside it that must not be reached.
    fn tree() -> tempfile::TempDir {
        let top = tempfile::tempdir().unwrap();
        let root = top.path().join("root");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::create_dir(top.path().join("outside")).unwrap();
        std::fs::write(root.join("a/b/file"), "x").unwrap();
        for (target, link) in [
            ("/a/b", "absolute"),
            ("a/b", "relative"),
            ("../../outside", "up"),
            ("/../outside", "absolute-up"),
            ("usr/lib", "lib"),
            ("loop", "loop"),
            ("a/b/file", "file"),
            ("a/../a/b", "dots"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        top
    }

    #[track_caller]
    fn check(path: &str, expected: Result<(&str, bool), Errno>) {
        let top = tree();
        let root = Root::open(&top.path().join("root")).unwrap();
        let found = root.resolve(path.into(), true);
        match expected {
            Ok((path, exists)) => assert_eq!(found.unwrap(), Resolved { path: path.into(), exists }),
            Err(errno) => assert_eq!(found.unwrap_err().raw_os_error(), Some(errno.raw_os_error())),
        }
        assert_eq!(std::fs::read_dir(top.path().join("outside")).unwrap().count(), 0);
    }

    #[test]
    fn links_are_followed_inside() {
        check("", Ok(("", true)));
        check("/", Ok(("", true)));
        check("a/./b//file", Ok(("a/b/file", true)));
        check("absolute/file", Ok(("a/b/file", true)));
        check("relative/../b", Ok(("a/b", true)));
        check("dots/file", Ok(("a/b/file", true)));
        check("file", Ok(("a/b/file", true)));
        check("file/x", Err(Errno::NOTDIR));
        check("loop", Err(Errno::LOOP));
    }

    #[test]
    fn nothing_leads_out() {
        check("../../..", Ok(("", true)));
        check("up/x", Ok(("outside/x", false)));
        check("absolute-up", Ok(("outside", false)));
        check("absolute/../../../../../etc", Ok(("etc", false)));
    }

    #[test]
    fn what_is_missing_stays_as_written() {
        check("lib/x", Ok(("usr/lib/x", false)));
        check("no/../a", Ok(("a", true)));
        check("no/such/path", Ok(("no/such/path", false)));
    }

    #[test]
    fn directories_are_made_behind_links_that_dangle() {
        let top = tree();
        let root = Root::open(&top.path().join("root")).unwrap();
        let mut made = Vec::new();
        let path = root
            .make_dirs("lib/x86".into(), &mut |path| {
                made.push(path.to_owned());
                Ok(())
            })
            .unwrap();
        assert_eq!(path, "usr/lib/x86");
        assert_eq!(made, ["usr", "usr/lib", "usr/lib/x86"]);
        assert_eq!(root.make_dirs("up".into(), &mut |_| Ok(())).unwrap(), "outside");
        assert!(top.path().join("root/outside").is_dir());
        assert_eq!(std::fs::read_dir(top.path().join("outside")).unwrap().count(), 0);
        let file = root.make_dirs("file".into(), &mut |_| Ok(())).unwrap_err();
        assert_eq!(file.raw_os_error(), Some(Errno::NOTDIR.raw_os_error()));
    }

    /// Whoever may write below the root puts a link to a place outside wherever something was just looked at or made.
    #[test]
    fn links_that_are_put_in_place_meanwhile_lead_nowhere() {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        let top = tree();
        let root = Root::open(&top.path().join("root")).unwrap();
        symlink(top.path().join("outside"), top.path().join("root/evil")).unwrap();
        let exchange = |path: &str| {
            let path = top.path().join("root").join(path);
            renameat_with(CWD, path, CWD, top.path().join("root/evil"), RenameFlags::EXCHANGE).unwrap();
        };
        std::fs::write(top.path().join("outside/file"), "outside").unwrap();
        // Between a link and what it leads to.
        let visible = |link: &BStr| {
            if link == "relative" {
                exchange("a/b");
            }
            true
        };
        let found = root.resolve_visible("relative/file".into(), &visible).unwrap();
        assert!(!found.exists, "{found:?}");
        exchange("a/b");
        // Between a path and what is opened by it.
        for path in ["a/b/file", "a/b"] {
            let found = root.resolve(path.into(), true).unwrap();
            exchange(path);
            assert!(root.file(found.path.as_bstr()).is_err(), "{path}");
            assert!(root.dir(found.path.as_bstr()).is_err(), "{path}");
            assert!(root.place(found.path.as_bstr()).is_err(), "{path}");
            exchange(path);
        }
        // Between making a directory and the next one in it.
        let made = root.make_dirs("new/in/it".into(), &mut |path| {
            if path == "new" {
                exchange("new");
                assert!(root.dir(path).is_err());
            }
            Ok(())
        });
        assert!(made.is_err());
        assert_eq!(std::fs::read_dir(top.path().join("outside")).unwrap().count(), 1);
    }

    #[test]
    fn canonical_paths_pass_no_link() {
        let top = tree();
        let root = Root::open(&top.path().join("root")).unwrap();
        assert!(root.file("a/b/file".into()).is_ok());
        for path in ["relative/file", "file", "../outside", "absolute/file"] {
            assert!(root.file(path.into()).is_err(), "{path}");
        }
        assert!(root.file("a/b".into()).is_err());
    }
}
