//! Writes files, links and directories below a root, from archives and copies alike.
//!
//! Directories get their properties in the end, when nothing more is put into them: one may take the right to write
//! from its owner, and every new name would change its time. What the operating system does not allow (owners where
//! few ids exist, device nodes) is left out, counted and told.

use super::by_path::ByPath;
use super::remove::remove_at;
use super::rooted::{At, PathError, Root, child, proc_path};
use super::scan::is_kept;
use bstr::{BStr, BString, ByteSlice};
use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// An id that leaves an owner as it is: of what is new, who makes it.
pub const UNCHANGED: u32 = u32::MAX;

/// The time of what a step makes by itself: directories on the way, files written in the Dockerfile. The clock's would make
/// every build differ. It is the first day that every archive format can say in every time zone, 2 January 1980; the
/// nanosecond, which no archive holds, tells it from the time of a file that was brought along.
pub const NO_TIME: (i64, u32) = (315_619_200, 1);

const SET_GROUP: u32 = 0o2000;

/// What a new file or directory is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// `0o7777`.
    pub mode: u32,
    /// Or [`UNCHANGED`], as `gid`.
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
}

pub type Xattrs = BTreeMap<BString, BString>;

/// A directory to put names into.
#[derive(Debug)]
pub struct Place {
    pub fd: OwnedFd,
    pub canonical: BString,
}

#[derive(Debug)]
pub struct TreeWriter {
    pub root: Root,
    /// What directories get that nothing is said of: those above something else.
    implied: Attributes,
    /// Whether they get the set-group-id bit of the directory that they are made in, too.
    inherit: bool,
    /// Properties for the end, by canonical path.
    directories: ByPath<Attributes>,
    /// Times for the end, of directories that were there before.
    touched: ByPath<(i64, u32)>,
    refused: Refused,
}

/// What the operating system did not allow: how often, and where first.
#[derive(Debug, Default)]
struct Refused {
    devices: (u64, BString),
    owners: (u64, BString),
    xattrs: (u64, BString),
}

impl TreeWriter {
    pub fn new(root: Root, implied: Attributes) -> TreeWriter {
        TreeWriter {
            root,
            implied,
            inherit: true,
            directories: ByPath::new(),
            touched: ByPath::new(),
            refused: Refused::default(),
        }
    }

    /// No set-group-id bit goes on to directories that nothing is said of.
    pub fn without_inheritance(self) -> TreeWriter {
        TreeWriter { inherit: false, ..self }
    }

    /// What directories get that nothing is said of.
    pub fn implied(&self) -> Attributes {
        self.implied
    }

    /// Finds a directory, and makes it and those above it that are missing. Symbolic links are followed inside the
    /// root. Answers with the canonical path.
    pub fn make_dirs(&mut self, path: &BStr) -> io::Result<BString> {
        self.make_dirs_as(path, self.implied)
    }

    /// As [`TreeWriter::make_dirs`], for directories that get these properties.
    pub fn make_dirs_as(&mut self, path: &BStr, implied: Attributes) -> io::Result<BString> {
        // A new name changes the time of what it is put into, and afterwards it is too late to ask for it.
        let before = self.nearest(path);
        let (root, directories, inherit) = (&self.root, &mut self.directories, self.inherit);
        let canonical = root.make_dirs(path, &mut |made| {
            let inherited = root.stat(made)?.st_mode & SET_GROUP;
            // What is made below it must not get the bit meanwhile.
            if inherited != 0 && !inherit {
                let (parent, name) = super::rooted::split(made);
                fs::chmodat(root.place(parent)?, name.as_bytes(), Mode::RWXU, AtFlags::empty())?;
            }
            let mode = if inherit { implied.mode | inherited } else { implied.mode };
            directories.insert(made.to_owned(), Attributes { mode, ..implied });
            Ok(())
        })?;
        if let Some((path, time)) = before
            && !self.directories.contains(path.as_bstr())
            && !self.touched.contains(path.as_bstr())
        {
            self.touched.insert(path, time);
        }
        Ok(canonical)
    }

    /// The deepest directory on the way that is there already, and its time.
    fn nearest(&self, path: &BStr) -> Option<(BString, (i64, u32))> {
        let found = self.root.resolve(path, true).ok().filter(|found| !found.exists)?;
        let mut at = found.path.as_bstr();
        loop {
            at = super::rooted::split(at).0;
            if let Ok(stat) = self.root.stat(at) {
                return Some((at.to_owned(), mtime(&stat)));
            }
            if at.is_empty() {
                return None;
            }
        }
    }

    /// Opens a directory to put names into it. One that was there before keeps its time.
    pub fn place(&mut self, canonical: &BStr) -> Result<Place, PathError> {
        let fd = self.root.place(canonical).at("open", canonical)?;
        if !self.directories.contains(canonical) && !self.touched.contains(canonical) {
            let stat = fs::fstat(&fd).at("look at", canonical)?;
            self.touched.insert(canonical.to_owned(), mtime(&stat));
        }
        Ok(Place { fd, canonical: canonical.to_owned() })
    }

    /// Makes a directory that [`TreeWriter::directory`] will be called for.
    pub fn make_dir(&mut self, place: &Place, name: &BStr) -> Result<(), PathError> {
        let path = child(place.canonical.as_bstr(), name);
        fs::mkdirat(&place.fd, name.as_bytes(), Mode::RWXU).at("make the directory", path.as_bstr())?;
        self.directories.insert(path, self.implied);
        Ok(())
    }

    /// Sets what a directory will be in the end.
    pub fn directory(
        &mut self,
        place: &Place,
        name: &BStr,
        attributes: Attributes,
        xattrs: &Xattrs,
    ) -> Result<(), PathError> {
        let path = child(place.canonical.as_bstr(), name);
        self.set_xattrs(place.fd.as_fd(), name, path.as_bstr(), xattrs)?;
        self.touched.remove(path.as_bstr());
        self.directories.insert(path, attributes);
        Ok(())
    }

    /// Sets the time that a directory will have in the end, and nothing else of it.
    pub fn directory_time(&mut self, canonical: &BStr, mtime: (i64, u32)) {
        match self.directories.get_mut(canonical) {
            Some(attributes) => attributes.mtime = mtime,
            None => self.touched.insert(canonical.to_owned(), mtime),
        }
    }

    /// Makes a regular file. `fill` writes its content.
    pub fn file<E: From<PathError>>(
        &mut self,
        place: &Place,
        name: &BStr,
        attributes: Attributes,
        xattrs: &Xattrs,
        fill: impl FnOnce(&File) -> Result<(), E>,
    ) -> Result<(), E> {
        let path = child(place.canonical.as_bstr(), name);
        let at = path.as_bstr();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(&place.fd, name.as_bytes(), flags, Mode::RUSR | Mode::WUSR).at("make", at)?;
        let file = File::from(fd);
        fill(&file)?;
        // A new owner takes set-id bits and capabilities away, so the owner comes first.
        let (uid, gid) = owner(attributes);
        self.note_owner(fs::fchown(&file, uid, gid), at)?;
        self.set_xattrs(place.fd.as_fd(), name, at, xattrs)?;
        fs::fchmod(&file, Mode::from_raw_mode(attributes.mode)).at("set the mode of", at)?;
        fs::futimens(&file, &times(attributes.mtime)).at("set the time of", at)?;
        Ok(())
    }

    pub fn symlink(
        &mut self,
        place: &Place,
        name: &BStr,
        target: &BStr,
        attributes: Attributes,
        xattrs: &Xattrs,
    ) -> Result<(), PathError> {
        let path = child(place.canonical.as_bstr(), name);
        fs::symlinkat(target.as_bytes(), &place.fd, name.as_bytes()).at("make the symbolic link", path.as_bstr())?;
        self.attributes(place, name, attributes, xattrs)
    }

    /// Makes a FIFO or a device. Where devices may not be made, it is left out.
    pub fn node(
        &mut self,
        place: &Place,
        name: &BStr,
        kind: FileType,
        (major, minor): (u32, u32),
        attributes: Attributes,
        xattrs: &Xattrs,
    ) -> Result<(), PathError> {
        let path = child(place.canonical.as_bstr(), name);
        match fs::mknodat(&place.fd, name.as_bytes(), kind, Mode::empty(), fs::makedev(major, minor)) {
            Err(Errno::PERM) if kind != FileType::Fifo => {
                count(&mut self.refused.devices, path.as_bstr());
                return Ok(());
            }
            result => result.at("make the special file", path.as_bstr())?,
        }
        self.attributes(place, name, attributes, xattrs)
    }

    /// Sets the properties of something that is there and no directory.
    pub fn attributes(
        &mut self,
        place: &Place,
        name: &BStr,
        attributes: Attributes,
        xattrs: &Xattrs,
    ) -> Result<(), PathError> {
        let path = child(place.canonical.as_bstr(), name);
        let (at, dir, bytes) = (path.as_bstr(), place.fd.as_fd(), name.as_bytes());
        let stat = fs::statat(dir, bytes, AtFlags::SYMLINK_NOFOLLOW).at("look at", at)?;
        let (uid, gid) = owner(attributes);
        self.note_owner(fs::chownat(dir, bytes, uid, gid, AtFlags::SYMLINK_NOFOLLOW), at)?;
        self.set_xattrs(dir, name, at, xattrs)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            fs::chmodat(dir, bytes, Mode::from_raw_mode(attributes.mode), AtFlags::empty())
                .at("set the mode of", at)?;
        }
        fs::utimensat(dir, bytes, &times(attributes.mtime), AtFlags::SYMLINK_NOFOLLOW).at("set the time of", at)?;
        Ok(())
    }

    /// Deletes a name with everything below it.
    pub fn remove(&mut self, place: &Place, name: &BStr) -> Result<(), PathError> {
        let path = child(place.canonical.as_bstr(), name);
        remove_at(place.fd.as_fd(), name).at("replace", path.as_bstr())?;
        // Nothing is to be set there in the end.
        self.directories.remove(path.as_bstr());
        self.directories.remove_below(path.as_bstr());
        self.touched.remove(path.as_bstr());
        self.touched.remove_below(path.as_bstr());
        Ok(())
    }

    /// Bytes of the paths that are kept for the end.
    pub fn kept(&self) -> usize {
        self.directories.bytes() + self.touched.bytes()
    }

    /// Sets what directories are in the end, the deepest first. Answers with what was left out, in sentences.
    pub fn finish(mut self) -> Result<Vec<String>, PathError> {
        let mut paths: Vec<BString> = self.directories.paths().chain(self.touched.paths()).cloned().collect();
        paths.sort_unstable_by(|a, b| b.cmp(a));
        for path in paths {
            let at = path.as_bstr();
            let dir = self.root.dir(at).at("open", at)?;
            let mut time = self.touched.get(at).copied();
            if let Some(attributes) = self.directories.get(at).copied() {
                let (uid, gid) = owner(attributes);
                self.note_owner(fs::fchown(&dir, uid, gid), at)?;
                fs::fchmod(&dir, Mode::from_raw_mode(attributes.mode)).at("set the mode of", at)?;
                time = Some(attributes.mtime);
            }
            if let Some(time) = time {
                fs::futimens(&dir, &times(time)).at("set the time of", at)?;
            }
        }
        Ok(self.refused.sentences())
    }

    /// Where only some ids exist, files of others stay our own.
    fn note_owner(&mut self, result: Result<(), Errno>, path: &BStr) -> Result<(), PathError> {
        match result {
            Err(Errno::PERM | Errno::INVAL) => count(&mut self.refused.owners, path),
            result => result.at("set the owner of", path)?,
        }
        Ok(())
    }

    fn set_xattrs(&mut self, dir: BorrowedFd<'_>, name: &BStr, path: &BStr, xattrs: &Xattrs) -> Result<(), PathError> {
        for (key, value) in xattrs.iter().filter(|(key, _)| is_kept(key.as_bstr())) {
            let at = proc_path(dir, name);
            match fs::lsetxattr(at.as_bytes(), key.as_bytes(), value, XattrFlags::empty()) {
                Err(Errno::PERM | Errno::NOTSUP | Errno::INVAL | Errno::ACCESS) => {
                    count(&mut self.refused.xattrs, path);
                }
                result => result.at("set the attributes of", path)?,
            }
        }
        Ok(())
    }
}

impl Refused {
    fn sentences(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut say = |(times, first): &(u64, BString), what: &str| {
            let more = if *times > 1 { format!(" and {} more", times - 1) } else { String::new() };
            if *times > 0 {
                out.push(format!("{what}: {first:?}{more}"));
            }
        };
        say(&self.devices, "device nodes could not be made here and are left out");
        say(&self.owners, "owners that do not exist here were left as root");
        say(&self.xattrs, "extended attributes could not be set here and are left out");
        out
    }
}

pub fn mtime(stat: &Stat) -> (i64, u32) {
    (stat.st_mtime, stat.st_mtime_nsec as u32)
}

fn count(refused: &mut (u64, BString), path: &BStr) {
    if refused.0 == 0 {
        refused.1 = path.to_owned();
    }
    refused.0 += 1;
}

fn owner(attributes: Attributes) -> (Option<Uid>, Option<Gid>) {
    let given = |id: u32| (id != UNCHANGED).then_some(id);
    (given(attributes.uid).map(Uid::from_raw), given(attributes.gid).map(Gid::from_raw))
}

pub(super) fn times((seconds, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}
