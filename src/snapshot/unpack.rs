//! Layer blobs into layer directories, in the form that overlayfs, mounted with `userxattr`, reads as a lower.
//!
//! Each layer is unpacked for itself, so what it says of lower layers (whiteouts, opaque marks) is written down and
//! not carried out. Rules of the OCI image specification, "Layer Filesystem Changeset"; where it is silent, what
//! containerd does.
//!
//! The blob is untrusted: every path is looked up below the new directory and nowhere else, and nothing that grows
//! without a bound is believed.

use super::remove::{remove, remove_at, remove_in};
use super::rooted::{At, PathError, Root, child, proc_path, split};
use super::scan::{self, OPAQUE, is_kept, is_whiteout, scan};
use crate::image::compression;
use crate::image::digest::Digest;
use crate::image::tar_reader::{TarEntry, TarError, TarKind, TarReader};
use crate::layers::Layer;
use bstr::{BStr, BString, ByteSlice};
use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

/// Entries of a layer. The largest images known have about a million files.
const MAX_ENTRIES: u64 = 4_000_000;

/// Bytes of a path, as Linux has it.
const MAX_PATH: usize = 4096;

/// A layer may write this much whatever its blob's size, and beyond it [`MAX_RATIO`] times its blob. Holes and runs
/// of zeros, which take no room on the disk, are not counted.
const FREE_BYTES: u64 = 4 << 30;
const MAX_RATIO: u64 = 400;

const CHUNK: usize = 128 << 10;

#[derive(Debug)]
pub struct Unpacked {
    pub layer: Layer,
    /// What could not be as the layer wants it, in sentences.
    pub notices: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("the layer is damaged: {0}")]
    Archive(#[from] TarError),
    #[error("the layer's content has the digest {found}, not {expected}: it was damaged or changed on its way")]
    Digest { expected: String, found: Digest },
    #[error("entry {path:?} of the layer {problem}")]
    Entry { path: BString, problem: String },
    #[error("the layer has more than {MAX_ENTRIES} entries")]
    TooMany,
    #[error(
        "the layer's {blob} bytes unpack to more than {FREE_BYTES} and more than {MAX_RATIO} times as many: \
         it is taken for an attack on the disk"
    )]
    Bomb { blob: u64 },
}

/// Unpacks a blob into the new directory `into`. `diff_id` is what its uncompressed bytes must have as their digest.
/// `progress` gets the number of blob bytes read so far. After an error nothing is left at `into`.
pub fn unpack(
    blob: &Path,
    diff_id: Option<&str>,
    into: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<Unpacked, UnpackError> {
    let blob_name = BStr::new(blob.as_os_str().as_bytes());
    let file = File::open(blob).at("read the layer blob", blob_name)?;
    let size = file.metadata().at("read the layer blob", blob_name)?.len();
    std::fs::create_dir(into).at("make the directory", BStr::new(into.as_os_str().as_bytes()))?;
    let result = unpack_file(file, size, diff_id, into, progress);
    if result.is_err() {
        let _ = remove(into);
    }
    result
}

fn unpack_file(
    file: File,
    size: u64,
    diff_id: Option<&str>,
    into: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<Unpacked, UnpackError> {
    let counted = Rc::new(Cell::new(0));
    let input = Counted { input: file, count: counted.clone() };
    let (_, content) = compression::decode(BufReader::with_capacity(CHUNK, input)).map_err(TarError::Io)?;
    let hash = Rc::new(Cell::new(Some(Sha256::new())));
    let mut archive = TarReader::new(BufReader::with_capacity(CHUNK, Hashed { input: content, hash: hash.clone() }));
    let root = Root::open(into).at("open", BStr::new(""))?;
    set_mode(root.dir(BStr::new("")).at("open", BStr::new(""))?.as_fd(), 0o755).at("set the mode of", BStr::new(""))?;

    let mut unpacker = Unpacker::new(root, size);
    let mut reported = 0;
    let mut count = 0;
    while let Some(entry) = archive.next_entry()? {
        count += 1;
        if count > MAX_ENTRIES {
            return Err(UnpackError::TooMany);
        }
        unpacker.put(&entry, &mut archive)?;
        if counted.get() > reported {
            reported = counted.get();
            progress(reported);
        }
    }
    archive.drain().map_err(TarError::Io)?;
    progress(counted.get());
    if let (Some(expected), Some(hash)) = (diff_id, hash.take()) {
        let found = Digest::from_hash(&hash.finalize());
        if found.to_string() != expected {
            return Err(UnpackError::Digest { expected: expected.to_owned(), found });
        }
    }
    let notices = unpacker.finish()?;
    Ok(Unpacked { layer: scan(into)?, notices })
}

struct Unpacker {
    root: Root,
    /// Directories that were looked up, by the names used in the archive.
    places: HashMap<BString, Rc<Place>>,
    /// Properties that directories get in the end, when nothing changes their times any more, by canonical path.
    directories: HashMap<BString, Attributes>,
    /// Canonical paths that a whiteout hides.
    hidden: HashSet<BString>,
    /// Whether there are directories of the old AUFS driver to be removed in the end.
    aufs: bool,
    buffer: Vec<u8>,
    blob: u64,
    written: u64,
    refused: Refused,
}

struct Place {
    fd: OwnedFd,
    canonical: BString,
}

#[derive(Debug, Clone)]
struct Attributes {
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: (i64, u32),
}

/// What the operating system did not allow: how often, and where first.
#[derive(Debug, Default)]
struct Refused {
    devices: (u64, BString),
    owners: (u64, BString),
    xattrs: (u64, BString),
}

impl Unpacker {
    fn new(root: Root, blob: u64) -> Unpacker {
        Unpacker {
            root,
            places: HashMap::new(),
            directories: HashMap::new(),
            hidden: HashSet::new(),
            aufs: false,
            buffer: vec![0; CHUNK],
            blob,
            written: 0,
            refused: Refused::default(),
        }
    }

    fn put(&mut self, entry: &TarEntry, content: &mut TarReader<impl Read>) -> Result<(), UnpackError> {
        if entry.path.len() > MAX_PATH || entry.target.len() > MAX_PATH {
            return Err(problem(&entry.path, "has a longer path than Linux allows"));
        }
        let path = clean(entry.path.as_bstr());
        let (parent, name) = split(path.as_bstr());
        // The root's own properties are not a layer's to set.
        if name.is_empty() {
            return Ok(());
        }
        // AUFS kept its own files at the top under such names; hard links may lead to them.
        let aufs = path.starts_with(b".wh..wh.") && path != ".wh..wh..opq";
        self.aufs |= aufs;
        if !aufs && parent.split_str("/").any(|it| it.starts_with(b".wh.")) {
            return Err(problem(&entry.path, "lies below a whiteout"));
        }
        let place = self.place(parent)?;
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            return match hidden {
                b"" | b"." | b".." => Err(problem(&entry.path, "is a whiteout without a name")),
                b".wh..opq" => self.mark_opaque(&place.canonical),
                _ if aufs && parent.is_empty() && entry.kind == TarKind::Directory => {
                    self.create(entry, &place, name, content)
                }
                _ if hidden.starts_with(b".wh.") => Ok(()),
                _ => self.hide(&place, BStr::new(hidden)),
            };
        }
        self.create(entry, &place, name, content)
    }

    /// A path of lower layers is hidden. What this layer itself has there stays, whatever the order of its entries.
    fn hide(&mut self, place: &Place, name: &BStr) -> Result<(), UnpackError> {
        let path = child(place.canonical.as_bstr(), name);
        match fs::statat(&place.fd, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => self.mark_opaque(&path)?,
            Ok(_) => {}
            Err(Errno::NOENT) => {
                fs::mknodat(&place.fd, name.as_bytes(), FileType::CharacterDevice, Mode::empty(), 0)
                    .at("write the whiteout", path.as_bstr())?;
            }
            Err(error) => return Err(PathError::new("look at", path.as_bstr(), error.into()).into()),
        }
        self.hidden.insert(path);
        Ok(())
    }

    fn mark_opaque(&mut self, canonical: &BString) -> Result<(), UnpackError> {
        let dir = self.root.dir(canonical.as_bstr()).at("open", canonical.as_bstr())?;
        fs::fsetxattr(&dir, OPAQUE, b"y", XattrFlags::empty()).at("mark as opaque", canonical.as_bstr())?;
        Ok(())
    }

    fn create(
        &mut self,
        entry: &TarEntry,
        place: &Rc<Place>,
        name: &BStr,
        content: &mut TarReader<impl Read>,
    ) -> Result<(), UnpackError> {
        let path = child(place.canonical.as_bstr(), name);
        let at = path.as_bstr();
        if entry.kind == TarKind::HardLink {
            return self.link(entry, place, name);
        }
        let exists = self.make_room(place, name, entry.kind == TarKind::Directory)?;
        let dir = place.fd.as_fd();
        let bytes = name.as_bytes();
        match entry.kind {
            TarKind::Directory => {
                if !exists {
                    fs::mkdirat(dir, bytes, Mode::RWXU).at("make the directory", at)?;
                    if self.hidden.contains(&path) {
                        self.mark_opaque(&path)?;
                    }
                }
                self.set_xattrs(entry, dir, name, at)?;
                let attributes = attributes(entry);
                self.directories.insert(path, attributes);
                return Ok(());
            }
            TarKind::File => return self.write_file(entry, dir, name, at, content),
            TarKind::Symlink => {
                if entry.target.is_empty() {
                    return Err(problem(&entry.path, "is a symbolic link to nothing"));
                }
                fs::symlinkat(entry.target.as_bytes(), dir, bytes).at("make the symbolic link", at)?;
            }
            TarKind::Fifo => {
                fs::mknodat(dir, bytes, FileType::Fifo, Mode::empty(), 0).at("make the FIFO", at)?;
            }
            TarKind::CharDevice | TarKind::BlockDevice => {
                let kind = match entry.kind {
                    TarKind::CharDevice => FileType::CharacterDevice,
                    _ => FileType::BlockDevice,
                };
                let (major, minor) = entry.device;
                match fs::mknodat(dir, bytes, kind, Mode::empty(), fs::makedev(major, minor)) {
                    Err(Errno::PERM) => {
                        count(&mut self.refused.devices, at);
                        return Ok(());
                    }
                    result => result.at("make the device", at)?,
                }
            }
            TarKind::HardLink => {}
        }
        self.set_attributes(entry, dir, name, at)
    }

    fn write_file(
        &mut self,
        entry: &TarEntry,
        dir: BorrowedFd<'_>,
        name: &BStr,
        path: &BStr,
        content: &mut TarReader<impl Read>,
    ) -> Result<(), UnpackError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(fs::openat(dir, name.as_bytes(), flags, Mode::RUSR | Mode::WUSR).at("make", path)?);
        while let Some((offset, bytes)) = content.chunk(&mut self.buffer)? {
            // What is all zeros becomes a hole.
            if bytes.iter().all(|byte| *byte == 0) {
                continue;
            }
            file.write_all_at(bytes, offset).at("write", path)?;
            self.written += bytes.len() as u64;
            if is_bomb(self.written, self.blob) {
                return Err(UnpackError::Bomb { blob: self.blob });
            }
        }
        file.set_len(entry.size).at("write", path)?;
        let owner = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
        self.note_owner(fs::fchown(&file, owner.0, owner.1), path)?;
        self.set_xattrs(entry, dir, name, path)?;
        set_mode(file.as_fd(), entry.mode).at("set the mode of", path)?;
        fs::futimens(&file, &times(entry.mtime)).at("set the time of", path)?;
        Ok(())
    }

    /// Further names must be for something that this layer has: lower layers are not at hand.
    fn link(&mut self, entry: &TarEntry, place: &Rc<Place>, name: &BStr) -> Result<(), UnpackError> {
        let path = child(place.canonical.as_bstr(), name);
        let target = clean(entry.target.as_bstr());
        let (parent, target_name) = split(target.as_bstr());
        let missing = || problem(&entry.path, format!("is a hard link to {target:?}, which is not in the same layer"));
        let found = self.root.resolve(parent, true).at("look up", target.as_bstr())?;
        if !found.exists || target_name.is_empty() {
            return Err(missing());
        }
        let from = child(found.path.as_bstr(), target_name);
        if from == path {
            return Ok(());
        }
        let source = self.root.place(found.path.as_bstr()).at("open", found.path.as_bstr())?;
        match fs::statat(&source, target_name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_whiteout(&stat) => return Err(missing()),
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                return Err(problem(&entry.path, format!("is a hard link to the directory {target:?}")));
            }
            Ok(_) => {}
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(missing()),
            Err(error) => return Err(PathError::new("look at", from.as_bstr(), error.into()).into()),
        }
        self.make_room(place, name, false)?;
        fs::linkat(&source, target_name.as_bytes(), &place.fd, name.as_bytes(), AtFlags::empty())
            .at("make the hard link", path.as_bstr())?;
        self.set_attributes(entry, place.fd.as_fd(), name, path.as_bstr())
    }

    /// Takes away what is in the way of a new entry. Answers whether a directory is there and may stay.
    fn make_room(&mut self, place: &Place, name: &BStr, directory: bool) -> Result<bool, UnpackError> {
        let path = child(place.canonical.as_bstr(), name);
        let stat = match fs::statat(&place.fd, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(false),
            stat => stat.at("look at", path.as_bstr())?,
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if directory => return Ok(true),
            FileType::Directory => {
                let mut inside = path.clone();
                inside.push(b'/');
                self.directories.retain(|it, _| *it != path && !it.starts_with(&inside[..]));
                self.hidden.retain(|it| !it.starts_with(&inside[..]));
                self.places.clear();
            }
            // Names that led through the link lead elsewhere now.
            FileType::Symlink => self.places.clear(),
            _ => {}
        }
        remove_at(place.fd.as_fd(), name).at("replace", path.as_bstr())?;
        Ok(false)
    }

    /// The directory that an entry lies in. One without an entry of its own is made with mode 0755 for root.
    fn place(&mut self, parent: &BStr) -> Result<Rc<Place>, UnpackError> {
        if let Some(place) = self.places.get(parent) {
            return Ok(place.clone());
        }
        let canonical = match self.make_dirs(parent) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory && self.reveal(parent)? => {
                self.make_dirs(parent)
            }
            result => result,
        };
        let canonical = canonical.at("make the directory", parent)?;
        let fd = self.root.place(canonical.as_bstr()).at("open", canonical.as_bstr())?;
        let place = Rc::new(Place { fd, canonical });
        if self.places.len() > 256 {
            self.places.clear();
        }
        self.places.insert(parent.to_owned(), place.clone());
        Ok(place)
    }

    fn make_dirs(&mut self, path: &BStr) -> io::Result<BString> {
        let directories = &mut self.directories;
        self.root.make_dirs(path, &mut |made| {
            let implied = Attributes { mode: 0o755, uid: 0, gid: 0, mtime: (0, 0) };
            directories.insert(made.to_owned(), implied);
            Ok(())
        })
    }

    /// Turns whiteouts on the way to a path into opaque directories: the layer hides what was there and puts a
    /// directory in its place. Answers whether there was one.
    fn reveal(&mut self, path: &BStr) -> Result<bool, UnpackError> {
        let mut revealed = false;
        let ends = path.find_iter(b"/").chain([path.len()]);
        for prefix in ends.map(|end| path[..end].as_bstr()) {
            let Ok(found) = self.root.resolve(prefix, true) else { break };
            if !found.exists {
                break;
            }
            let canonical = found.path;
            if !self.hidden.contains(&canonical)
                || !is_whiteout(&self.root.stat(canonical.as_bstr()).at("look at", prefix)?)
            {
                continue;
            }
            remove_in(&self.root, canonical.as_bstr())?;
            self.make_dirs(canonical.as_bstr()).at("make the directory", canonical.as_bstr())?;
            self.mark_opaque(&canonical)?;
            revealed = true;
        }
        Ok(revealed)
    }

    fn set_attributes(
        &mut self,
        entry: &TarEntry,
        dir: BorrowedFd<'_>,
        name: &BStr,
        path: &BStr,
    ) -> Result<(), UnpackError> {
        let stat = fs::statat(dir, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW).at("look at", path)?;
        let owner = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
        self.note_owner(fs::chownat(dir, name.as_bytes(), owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW), path)?;
        self.set_xattrs(entry, dir, name, path)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            fs::chmodat(dir, name.as_bytes(), Mode::from_raw_mode(entry.mode), AtFlags::empty())
                .at("set the mode of", path)?;
        }
        fs::utimensat(dir, name.as_bytes(), &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .at("set the time of", path)?;
        Ok(())
    }

    /// Where only some ids exist, files of others stay our own.
    fn note_owner(&mut self, result: Result<(), Errno>, path: &BStr) -> Result<(), UnpackError> {
        match result {
            Err(Errno::PERM | Errno::INVAL) => count(&mut self.refused.owners, path),
            result => result.at("set the owner of", path)?,
        }
        Ok(())
    }

    fn set_xattrs(
        &mut self,
        entry: &TarEntry,
        dir: BorrowedFd<'_>,
        name: &BStr,
        path: &BStr,
    ) -> Result<(), UnpackError> {
        for (key, value) in entry.xattrs.iter().filter(|(key, _)| is_kept(key.as_bstr())) {
            let at = proc_path(dir, name);
            match fs::lsetxattr(at.as_bytes(), key.as_bytes(), value, XattrFlags::empty()) {
                Err(Errno::PERM | Errno::NOTSUP | Errno::INVAL | Errno::ACCESS) => {
                    count(&mut self.refused.xattrs, path)
                }
                result => result.at("set the attributes of", path)?,
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<String>, UnpackError> {
        if self.aufs {
            let top = self.root.dir(BStr::new("")).at("read", BStr::new(""))?;
            for name in scan::names(top.as_fd()).at("read", BStr::new(""))? {
                if name.starts_with(b".wh..wh.") {
                    remove_at(top.as_fd(), name.as_bstr()).at("delete", name.as_bstr())?;
                    self.directories.retain(|it, _| !it.starts_with(&name[..]));
                }
            }
        }
        // The deepest first: a directory may lose its owner's rights here.
        let mut directories: Vec<_> = std::mem::take(&mut self.directories).into_iter().collect();
        directories.sort_by(|a, b| b.0.cmp(&a.0));
        for (path, attributes) in directories {
            let at = path.as_bstr();
            let dir = self.root.dir(at).at("open", at)?;
            let owner = (Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)));
            self.note_owner(fs::fchown(&dir, owner.0, owner.1), at)?;
            set_mode(dir.as_fd(), attributes.mode).at("set the mode of", at)?;
            fs::futimens(&dir, &times(attributes.mtime)).at("set the time of", at)?;
        }
        Ok(self.refused.sentences())
    }
}

impl Refused {
    fn sentences(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut say = |(times, first): &(u64, BString), one: &str| {
            if *times > 0 {
                out.push(format!(
                    "{one}: {first:?}{}",
                    if *times > 1 { format!(" and {} more", times - 1) } else { String::new() }
                ));
            }
        };
        say(&self.devices, "device nodes of the layer could not be made here and are left out");
        say(&self.owners, "owners that do not exist here were left as root");
        say(&self.xattrs, "extended attributes could not be set here and are left out");
        out
    }
}

fn count(refused: &mut (u64, BString), path: &BStr) {
    if refused.0 == 0 {
        refused.1 = path.to_owned();
    }
    refused.0 += 1;
}

fn problem(path: &BString, problem: impl Into<String>) -> UnpackError {
    UnpackError::Entry { path: path.clone(), problem: problem.into() }
}

fn attributes(entry: &TarEntry) -> Attributes {
    Attributes { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime: entry.mtime }
}

fn set_mode(file: BorrowedFd<'_>, mode: u32) -> Result<(), Errno> {
    fs::fchmod(file, Mode::from_raw_mode(mode))
}

fn times((seconds, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

fn is_bomb(written: u64, blob: u64) -> bool {
    written > FREE_BYTES && written / MAX_RATIO > blob
}

/// A path of an archive without `.`, empty components and slashes at its ends. `..` takes back what is before it and
/// stays at the root.
fn clean(path: &BStr) -> BString {
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split_str("/") {
        match name {
            b"" | b"." => {}
            b".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    bstr::join("/", names).into()
}

struct Counted<R> {
    input: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.input.read(buffer)?;
        self.count.set(self.count.get() + got as u64);
        Ok(got)
    }
}

struct Hashed<R> {
    input: R,
    hash: Rc<Cell<Option<Sha256>>>,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.input.read(buffer)?;
        if let Some(mut hash) = self.hash.take() {
            hash.update(&buffer[..got]);
            self.hash.set(Some(hash));
        }
        Ok(got)
    }
}

#[cfg(test)]
mod tests;
