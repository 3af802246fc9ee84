//! Copies one file or tree from a source into a file system, as BuildKit's copier does.
//!
//! Facts that look odd and are so on purpose: a directory that was there keeps owner and mode if it is the
//! destination itself, and takes both from the source if it lies below; a file never replaces a directory nor the
//! reverse; `--exclude` never applies to the source itself; a socket becomes an empty file.

use super::chmod::Chmod;
use super::sources::{Found, Source, is_dir};
use super::task::TaskError;
use crate::dockerfile::ignore::{Ignore, Verdict};
use crate::snapshot::rooted::{At, PathError, child, split};
use crate::snapshot::scan::{self, read_xattrs};
use crate::snapshot::tree_writer::{Attributes, Place, TreeWriter, Xattrs, mtime};
use bstr::{BStr, BString, ByteSlice};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How things are copied.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// `--chown`; without it owners are kept, or root where the source is not of this build.
    pub(super) owner: Option<(u32, u32)>,
    pub(super) chmod: Option<Chmod>,
    /// Only what matches, with the directories that lead to it; `!` and `**` reversed, as [`only`] makes it.
    pub(super) only: Option<Ignore>,
    /// All but what matches.
    pub(super) exclude: Option<Ignore>,
    /// A file may take a directory's place, and the reverse.
    pub(super) replace: bool,
}

/// Patterns that ignore everything but what `pattern` matches.
pub(super) fn only(pattern: &str) -> Result<Ignore, TaskError> {
    Ignore::from_patterns(["**", &format!("!{pattern}")])
        .map_err(|error| TaskError::input(format!("the path {pattern:?}: {}", error.problem)))
}

pub(super) struct Copier<'a> {
    source: &'a Source,
    rules: &'a Rules,
    writer: &'a mut TreeWriter,
    /// Where an inode of several names was copied to first.
    inodes: HashMap<(u64, u64), BString>,
    /// The directories from the source's own down to the current one.
    levels: Vec<Level>,
    /// Paths that were copied, the source's own directory not counted.
    pub(super) taken: u64,
    streams: Streams,
}

/// A directory of the source on the way to the current one.
struct Level {
    found: Found,
    /// Canonical path in the destination.
    target: BString,
    wanted: Wanted,
    /// Whether it is in the destination yet. One that is not wanted is made with the first thing in it that is.
    made: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Yes,
    /// The ignore file hides it, but not all that is in it.
    Hidden,
    /// `only` or `exclude` leaves it out, but not all that is in it.
    LeftOut,
}

/// A directory of the source that is still to be read.
struct Job {
    found: Found,
    /// From the source's own directory.
    relative: BString,
    target: BString,
    only: Verdict,
    exclude: Verdict,
    wanted: Wanted,
    /// How many directories lie above it.
    depth: usize,
}

impl<'a> Copier<'a> {
    pub(super) fn new(source: &'a Source, rules: &'a Rules, writer: &'a mut TreeWriter) -> Copier<'a> {
        Copier {
            source,
            rules,
            writer,
            inodes: HashMap::new(),
            levels: Vec::new(),
            taken: 0,
            streams: Streams::default(),
        }
    }

    /// Copies to a canonical path whose parent is there.
    pub(super) fn copy(&mut self, found: &Found, target: &BStr) -> Result<(), TaskError> {
        let (parent, name) = split(target);
        if !found.is_dir() {
            let (dir, source_name) = split(found.path.as_bstr());
            let dir = self.source.root()?.place(dir).at("read", found.path.as_bstr());
            let dir = dir.map_err(|error| self.source.failed(error))?;
            let place = self.writer.place(parent)?;
            return self.entry(dir.as_fd(), source_name, found, &place, name);
        }
        match self.existing(target)? {
            None => {
                let (attributes, xattrs) = self.directory_attributes(found)?;
                let place = self.writer.place(parent)?;
                self.writer.make_dir(&place, name)?;
                self.writer.directory(&place, name, attributes, &xattrs)?;
            }
            Some(stat) if is_dir(&stat) => self.writer.directory_time(target, mtime(&found.stat)),
            Some(_) => return Err(clash(found.path.as_bstr(), target, "a directory", "a file")),
        }
        self.tree(found, target)
    }

    /// Copies what is in a directory, with a list of what is still to be done instead of a recursion: a tree may be
    /// deeper than a stack.
    fn tree(&mut self, found: &Found, target: &BStr) -> Result<(), TaskError> {
        let mut jobs = vec![Job {
            found: found.clone(),
            relative: BString::default(),
            target: target.to_owned(),
            only: Verdict::default(),
            exclude: Verdict::default(),
            wanted: Wanted::Yes,
            depth: 0,
        }];
        while let Some(job) = jobs.pop() {
            self.levels.truncate(job.depth);
            self.levels.push(Level {
                found: job.found.clone(),
                target: job.target.clone(),
                wanted: job.wanted,
                made: job.depth == 0,
            });
            if job.wanted == Wanted::Yes {
                self.make_levels()?;
            }
            let below = self.directory(&job)?;
            jobs.extend(below.into_iter().rev());
        }
        Ok(())
    }

    /// Copies the files of one directory, and answers with the directories in it.
    fn directory(&mut self, job: &Job) -> Result<Vec<Job>, TaskError> {
        let (source, rules) = (self.source, self.rules);
        let path = job.found.path.as_bstr();
        let fail = |error: PathError| source.failed(error);
        let dir = source.root()?.dir(path).at("read", path).map_err(fail)?;
        let mut place: Option<Place> = None;
        let mut below = Vec::new();
        for name in scan::names(dir.as_fd()).at("read", path).map_err(fail)? {
            let path = child(path, name.as_bstr());
            let relative = child(job.relative.as_bstr(), name.as_bstr());
            let (only, only_below) = judge(&rules.only, &job.only, &relative);
            let (exclude, exclude_below) = judge(&rules.exclude, &job.exclude, &relative);
            let verdict = source.entry_verdict(&job.found.verdict, path.as_bstr());
            let wanted = match only.ignored || exclude.ignored {
                true => Wanted::LeftOut,
                false if verdict.ignored => Wanted::Hidden,
                false => Wanted::Yes,
            };
            let below_wanted = only_below && exclude_below && source.descends(&verdict, path.as_bstr());
            // Nothing is asked of a file that is not wanted: it may not even be readable.
            if wanted != Wanted::Yes && !below_wanted {
                continue;
            }
            let stat = match fs::statat(&dir, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
                // Deleted since the directory was read.
                Err(Errno::NOENT) => continue,
                stat => stat.at("read", path.as_bstr()).map_err(fail)?,
            };
            let target = child(job.target.as_bstr(), name.as_bstr());
            let found = Found { path, base: name, stat, verdict };
            if found.is_dir() {
                below.push(Job { found, relative, target, only, exclude, wanted, depth: job.depth + 1 });
                continue;
            }
            if wanted != Wanted::Yes {
                continue;
            }
            let place = match &place {
                Some(place) => place,
                None => {
                    self.make_levels()?;
                    place.insert(self.writer.place(job.target.as_bstr())?)
                }
            };
            self.entry(dir.as_fd(), found.base.as_bstr(), &found, place, found.base.as_bstr())?;
        }
        Ok(below)
    }

    /// Makes the directories of all levels that are not there yet.
    fn make_levels(&mut self) -> Result<(), TaskError> {
        for index in 0..self.levels.len() {
            let level = &self.levels[index];
            if level.made {
                continue;
            }
            let (attributes, xattrs) = self.directory_attributes(&level.found)?;
            let (parent, name) = split(level.target.as_bstr());
            let place = self.writer.place(parent)?;
            match self.existing(level.target.as_bstr())? {
                None => {
                    self.writer.make_dir(&place, name)?;
                    self.writer.directory(&place, name, attributes, &xattrs)?;
                }
                Some(stat) if !is_dir(&stat) && self.rules.replace => {
                    self.writer.remove(&place, name)?;
                    self.writer.make_dir(&place, name)?;
                    self.writer.directory(&place, name, attributes, &xattrs)?;
                }
                Some(stat) if !is_dir(&stat) => {
                    return Err(clash(level.found.path.as_bstr(), level.target.as_bstr(), "a directory", "a file"));
                }
                // One that is only on the way takes the source's mode, and keeps the rest.
                Some(stat) if level.wanted == Wanted::LeftOut => {
                    let mode = level.found.stat.st_mode & 0o7777;
                    let kept = Attributes { mode, uid: stat.st_uid, gid: stat.st_gid, mtime: mtime(&stat) };
                    self.writer.directory(&place, name, kept, &Xattrs::new())?;
                }
                Some(_) => self.writer.directory(&place, name, attributes, &xattrs)?,
            }
            if level.wanted == Wanted::Yes {
                self.taken += 1;
            }
            self.levels[index].made = true;
        }
        Ok(())
    }

    /// Copies one name that is no directory.
    fn entry(
        &mut self,
        dir: BorrowedFd<'_>,
        source_name: &BStr,
        found: &Found,
        place: &Place,
        name: &BStr,
    ) -> Result<(), TaskError> {
        let source = self.source;
        let fail = |error: PathError| source.failed(error);
        let from = found.path.as_bstr();
        let target = child(place.canonical.as_bstr(), name);
        match fs::statat(&place.fd, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            Ok(stat) if is_dir(&stat) && !self.rules.replace => {
                return Err(clash(from, target.as_bstr(), "a file", "a directory"));
            }
            Ok(_) => self.writer.remove(place, name)?,
            Err(error) => return Err(PathError::new("look at", target.as_bstr(), error.into()).into()),
        }
        self.taken += 1;
        let attributes = self.attributes_of(&found.stat);
        let xattrs = read_xattrs(dir, source_name).unwrap_or_default();
        match FileType::from_raw_mode(found.stat.st_mode) {
            FileType::RegularFile => {
                if found.stat.st_nlink > 1 {
                    let inode = (found.stat.st_dev, found.stat.st_ino);
                    if let Some(first) = self.inodes.get(&inode) {
                        let (parent, first_name) = split(first.as_bstr());
                        let parent = self.writer.root.place(parent).at("open", first.as_bstr())?;
                        fs::linkat(&parent, first_name.as_bytes(), &place.fd, name.as_bytes(), AtFlags::empty())
                            .at("make the hard link", target.as_bstr())?;
                        return Ok(self.writer.attributes(place, name, attributes, &xattrs)?);
                    }
                    self.inodes.insert(inode, target.clone());
                }
                let file = open_file(dir, source_name).at("read", from).map_err(fail)?;
                let streams = &mut self.streams;
                self.writer.file(place, name, attributes, &xattrs, |to| -> Result<(), TaskError> {
                    Ok(streams.copy(&file, to).at("copy to", target.as_bstr())?)
                })
            }
            FileType::Symlink => {
                let leads_to =
                    fs::readlinkat(dir, source_name.as_bytes(), Vec::new()).at("read", from).map_err(fail)?;
                let leads_to = BStr::new(leads_to.as_bytes());
                Ok(self.writer.symlink(place, name, leads_to, attributes, &xattrs)?)
            }
            FileType::Socket => self.writer.file(place, name, attributes, &xattrs, |_| Ok(())),
            kind => {
                let device = match kind {
                    FileType::Fifo => (0, 0),
                    _ => (fs::major(found.stat.st_rdev), fs::minor(found.stat.st_rdev)),
                };
                Ok(self.writer.node(place, name, kind, device, attributes, &xattrs)?)
            }
        }
    }

    fn attributes_of(&self, stat: &Stat) -> Attributes {
        let mode = stat.st_mode & 0o7777;
        let kept = if self.source.foreign { (0, 0) } else { (stat.st_uid, stat.st_gid) };
        let (uid, gid) = self.rules.owner.unwrap_or(kept);
        let mode = self.rules.chmod.as_ref().map_or(mode, |chmod| chmod.apply(mode, is_dir(stat)));
        Attributes { mode, uid, gid, mtime: mtime(stat) }
    }

    fn directory_attributes(&self, found: &Found) -> Result<(Attributes, Xattrs), TaskError> {
        let path = found.path.as_bstr();
        let (parent, name) = split(path);
        let parent = self.source.root()?.place(parent).at("read", path).map_err(|error| self.source.failed(error))?;
        let name = if name.is_empty() { BStr::new(".") } else { name };
        let xattrs = read_xattrs(parent.as_fd(), name).unwrap_or_default();
        Ok((self.attributes_of(&found.stat), xattrs))
    }

    fn existing(&self, target: &BStr) -> Result<Option<Stat>, TaskError> {
        match self.writer.root.stat(target) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(PathError::new("look at", target, error).into()),
        }
    }
}

/// What a list of patterns says of an entry, and whether something below it may be wanted.
fn judge(list: &Option<Ignore>, parent: &Verdict, relative: &BString) -> (Verdict, bool) {
    let Some(list) = list else { return (Verdict::default(), true) };
    let path = relative.to_str_lossy();
    let verdict = list.child(parent, &path);
    let below = list.descends(&verdict, &path);
    (verdict, below)
}

fn clash(from: &BStr, target: &BStr, new: &str, old: &str) -> TaskError {
    TaskError::input(format!("/{from} is {new}, and /{target} in this stage is {old} already"))
        .with_help("remove it with RUN first, or copy to another path")
}

/// Opens a file without waiting, whatever has been put in its place meanwhile.
pub(super) fn open_file(dir: BorrowedFd<'_>, name: &BStr) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd: OwnedFd = fs::openat(dir, name.as_bytes(), flags, Mode::empty())?;
    crate::snapshot::rooted::open_regular(fd)
}

/// Copies contents: in the kernel where the two file systems can, which may share the blocks, else through memory.
#[derive(Debug, Default)]
pub(super) struct Streams {
    refused: bool,
    buffer: Vec<u8>,
}

impl Streams {
    pub(super) fn copy(&mut self, mut from: &File, mut to: &File) -> io::Result<()> {
        let mut first = true;
        while !self.refused {
            match fs::copy_file_range(from, None, to, None, 1 << 30) {
                Ok(0) => break,
                Ok(_) => first = false,
                Err(Errno::NOSYS | Errno::XDEV | Errno::OPNOTSUPP | Errno::INVAL | Errno::PERM | Errno::IO)
                    if first =>
                {
                    self.refused = true;
                }
                Err(error) => return Err(error.into()),
            }
        }
        // The rest, which is all of it where the kernel cannot, and nothing where it could.
        if self.buffer.is_empty() {
            self.buffer = vec![0; 256 << 10];
        }
        loop {
            match from.read(&mut self.buffer) {
                Ok(0) => return Ok(()),
                Ok(got) => to.write_all(&self.buffer[..got])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
