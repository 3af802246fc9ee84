//! Copies one file or tree from a source into a file system, as BuildKit's copier does.
//!
//! Facts that look odd and are so on purpose: a directory that was there keeps owner and mode if it is the
//! destination itself, and takes both from the source if it lies below; a file never replaces a directory nor the
//! reverse; `--exclude` never applies to the source itself; a socket becomes an empty file.

use super::chmod::Chmod;
use super::selection::{Selection, Visit, Wanted, walk};
use super::sources::{Found, Source, is_dir};
use super::task::TaskError;
use crate::snapshot::rooted::{At, PathError, child, split};
use crate::snapshot::scan::read_xattrs;
use crate::snapshot::tree_writer::{Attributes, Place, TreeWriter, Xattrs, mtime};
use bstr::{BStr, BString, ByteSlice};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// How things are copied.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// `--chown`; without it owners are kept, or root where the source is not of this build.
    pub(super) owner: Option<(u32, u32)>,
    pub(super) chmod: Option<Chmod>,
    /// The time of everything; without it times are kept.
    pub(super) time: Option<(i64, u32)>,
    /// A file may take a directory's place, and the reverse.
    pub(super) replace: bool,
}

pub(super) struct Copier<'a> {
    source: &'a Source,
    rules: &'a Rules,
    writer: &'a mut TreeWriter,
    /// Where the source's own directory goes.
    top: BString,
    /// The directory that was written to last.
    place: Option<Rc<Place>>,
    /// Where an inode of several names was copied to first.
    inodes: HashMap<(u64, u64), BString>,
    /// Paths that were copied, the source's own directory not counted.
    pub(super) taken: u64,
    streams: Streams,
}

impl Visit for Copier<'_> {
    fn directory(&mut self, found: &Found, relative: &BStr, wanted: Wanted) -> Result<(), TaskError> {
        let target = child(self.top.as_bstr(), relative);
        let (parent, name) = split(target.as_bstr());
        let place = self.place(parent)?;
        let (attributes, xattrs) = self.directory_attributes(found)?;
        let existing = self.existing(target.as_bstr())?;
        if let Some(stat) = &existing
            && !is_dir(stat)
        {
            if !self.rules.replace {
                return Err(clash(found.path.as_bstr(), target.as_bstr(), "a directory", "a file"));
            }
            self.writer.remove(&place, name)?;
        }
        match existing.filter(is_dir) {
            // One that is only on the way takes the source's mode, and keeps the rest.
            Some(stat) if wanted == Wanted::LeftOut => {
                let mode = found.stat.st_mode & 0o7777;
                let kept = Attributes { mode, uid: stat.st_uid, gid: stat.st_gid, mtime: mtime(&stat) };
                self.writer.directory(&place, name, kept, &Xattrs::new())?;
            }
            Some(_) => self.writer.directory(&place, name, attributes, &xattrs)?,
            None => {
                self.writer.make_dir(&place, name)?;
                self.writer.directory(&place, name, attributes, &xattrs)?;
            }
        }
        self.taken += u64::from(wanted == Wanted::Yes);
        Ok(())
    }

    fn entry(&mut self, dir: BorrowedFd<'_>, found: &Found, relative: &BStr) -> Result<(), TaskError> {
        let target = child(self.top.as_bstr(), relative);
        let (parent, name) = split(target.as_bstr());
        let place = self.place(parent)?;
        self.copy_entry(dir, found.base.as_bstr(), found, &place, name)
    }
}

impl<'a> Copier<'a> {
    pub(super) fn new(source: &'a Source, rules: &'a Rules, writer: &'a mut TreeWriter) -> Copier<'a> {
        Copier {
            source,
            rules,
            writer,
            top: BString::default(),
            place: None,
            inodes: HashMap::new(),
            taken: 0,
            streams: Streams::default(),
        }
    }

    /// Copies to a canonical path whose parent is there.
    pub(super) fn copy(&mut self, found: &Found, selection: &Selection, target: &BStr) -> Result<(), TaskError> {
        let (parent, name) = split(target);
        if !found.is_dir() {
            let (dir, source_name) = split(found.path.as_bstr());
            let dir = self.source.root()?.place(dir).at("read", found.path.as_bstr());
            let dir = dir.map_err(|error| self.source.failed(error))?;
            let place = self.writer.place(parent)?;
            return self.copy_entry(dir.as_fd(), source_name, found, &place, name);
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
        self.top = target.to_owned();
        walk(self.source, found, selection, self)
    }

    fn place(&mut self, canonical: &BStr) -> Result<Rc<Place>, TaskError> {
        if let Some(place) = self.place.as_ref().filter(|it| it.canonical == canonical) {
            return Ok(place.clone());
        }
        let place = Rc::new(self.writer.place(canonical)?);
        self.place = Some(place.clone());
        Ok(place)
    }

    /// Copies one name that is no directory.
    fn copy_entry(
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
        let xattrs = self.xattrs(dir, source_name);
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
        Attributes { mode, uid, gid, mtime: self.rules.time.unwrap_or(mtime(stat)) }
    }

    /// Attributes that cannot be read are left out, as in BuildKit. File capabilities of the host do not come along:
    /// BuildKit gives the files that it gets to root, and that takes them away.
    fn xattrs(&self, dir: BorrowedFd<'_>, name: &BStr) -> Xattrs {
        let mut xattrs = read_xattrs(dir, name).unwrap_or_default();
        if self.source.foreign {
            xattrs.remove(BStr::new("security.capability"));
        }
        xattrs
    }

    fn directory_attributes(&self, found: &Found) -> Result<(Attributes, Xattrs), TaskError> {
        let path = found.path.as_bstr();
        let (parent, name) = split(path);
        let parent = self.source.root()?.place(parent).at("read", path).map_err(|error| self.source.failed(error))?;
        let name = if name.is_empty() { BStr::new(".") } else { name };
        let xattrs = self.xattrs(parent.as_fd(), name);
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
