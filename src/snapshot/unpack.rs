//! Layer blobs into layer directories, in the form that overlayfs, mounted with `userxattr`, reads as a lower.
//!
//! Each layer is unpacked for itself, so what it says of lower layers (whiteouts, opaque marks) is written down and
//! not carried out. Rules of the OCI image specification, "Layer Filesystem Changeset"; where it is silent, what
//! containerd does.
//!
//! The blob is untrusted: every path is looked up below the new directory and nowhere else, and nothing that grows
//! without a bound is believed.

use super::by_path::ByPath;
use super::remove::{remove, remove_in};
use super::rooted::{At, PathError, Root, child, clean, split};
use super::scan::{self, MOST_TEXT, OPAQUE, is_whiteout, scan};
use super::tree_writer::{Attributes, Place, TreeWriter};
use crate::image::compression;
use crate::image::digest::Digest;
use crate::image::tar_reader::{TarEntry, TarError, TarKind, TarReader};
use crate::layers::Layer;
use bstr::{BStr, BString, ByteSlice};
use rustix::fs::{self, AtFlags, FileType, Mode, XattrFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::AsFd;
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
    #[error("the layer has more than {MAX_ENTRIES} entries, or paths of more than {MOST_TEXT} bytes")]
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
    let top = root.dir(BStr::new("")).at("open", BStr::new(""))?;
    fs::fchmod(&top, Mode::from_raw_mode(0o755)).at("set the mode of", BStr::new(""))?;

    let mut unpacker = Unpacker::new(root, size);
    let mut reported = 0;
    let mut count = 0;
    while let Some(entry) = archive.next_entry()? {
        count += 1;
        if count > MAX_ENTRIES {
            return Err(UnpackError::TooMany);
        }
        unpacker.put(&entry, &mut archive)?;
        if unpacker.writer.kept() + unpacker.hidden.bytes() > MOST_TEXT {
            return Err(UnpackError::TooMany);
        }
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
    writer: TreeWriter,
    /// Directories that were looked up, by the names used in the archive.
    places: HashMap<BString, Rc<Place>>,
    /// Canonical paths that a whiteout hides.
    hidden: ByPath<()>,
    /// Whether there are directories of the old AUFS driver to be removed in the end.
    aufs: bool,
    buffer: Vec<u8>,
    blob: u64,
    written: u64,
}

impl Unpacker {
    fn new(root: Root, blob: u64) -> Unpacker {
        let implied = Attributes { mode: 0o755, uid: 0, gid: 0, mtime: (0, 0) };
        Unpacker {
            writer: TreeWriter::new(root, implied),
            places: HashMap::new(),
            hidden: ByPath::new(),
            aufs: false,
            buffer: vec![0; CHUNK],
            blob,
            written: 0,
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
        self.hidden.insert(path, ());
        Ok(())
    }

    fn mark_opaque(&mut self, canonical: &BString) -> Result<(), UnpackError> {
        let dir = self.writer.root.dir(canonical.as_bstr()).at("open", canonical.as_bstr())?;
        fs::fsetxattr(&dir, OPAQUE, b"y", XattrFlags::empty()).at("mark as opaque", canonical.as_bstr())?;
        Ok(())
    }

    fn create(
        &mut self,
        entry: &TarEntry,
        place: &Place,
        name: &BStr,
        content: &mut TarReader<impl Read>,
    ) -> Result<(), UnpackError> {
        if entry.kind == TarKind::HardLink {
            return self.link(entry, place, name);
        }
        let exists = self.make_room(place, name, entry.kind == TarKind::Directory)?;
        let attributes = Attributes { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime: entry.unpacked_time() };
        let xattrs = &entry.xattrs;
        match entry.kind {
            TarKind::Directory => {
                if !exists {
                    self.writer.make_dir(place, name)?;
                    let path = child(place.canonical.as_bstr(), name);
                    if self.hidden.contains(path.as_bstr()) {
                        self.mark_opaque(&path)?;
                    }
                }
                self.writer.directory(place, name, attributes, xattrs)?;
                if entry.is_opaque() {
                    self.mark_opaque(&child(place.canonical.as_bstr(), name))?;
                }
            }
            TarKind::File => {
                let (buffer, written, blob) = (&mut self.buffer, &mut self.written, self.blob);
                let path = child(place.canonical.as_bstr(), name);
                self.writer.file(place, name, attributes, xattrs, |file| {
                    fill(file, entry.size, content, buffer, path.as_bstr(), &mut |bytes| {
                        *written += bytes;
                        if is_bomb(*written, blob) { Err(UnpackError::Bomb { blob }) } else { Ok(()) }
                    })
                })?;
            }
            TarKind::Symlink if entry.target.is_empty() => {
                return Err(problem(&entry.path, "is a symbolic link to nothing"));
            }
            TarKind::Symlink => self.writer.symlink(place, name, entry.target.as_bstr(), attributes, xattrs)?,
            TarKind::Fifo => self.writer.node(place, name, FileType::Fifo, (0, 0), attributes, xattrs)?,
            TarKind::CharDevice => {
                self.writer.node(place, name, FileType::CharacterDevice, entry.device, attributes, xattrs)?;
            }
            TarKind::BlockDevice => {
                self.writer.node(place, name, FileType::BlockDevice, entry.device, attributes, xattrs)?;
            }
            TarKind::HardLink => {}
        }
        Ok(())
    }

    /// Further names must be for something that this layer has: lower layers are not at hand.
    fn link(&mut self, entry: &TarEntry, place: &Place, name: &BStr) -> Result<(), UnpackError> {
        let path = child(place.canonical.as_bstr(), name);
        let target = clean(entry.target.as_bstr());
        let (parent, target_name) = split(target.as_bstr());
        let missing = || problem(&entry.path, format!("is a hard link to {target:?}, which is not in the same layer"));
        let root = &self.writer.root;
        let found = root.resolve(parent, true).at("look up", target.as_bstr())?;
        if !found.exists || target_name.is_empty() {
            return Err(missing());
        }
        let from = child(found.path.as_bstr(), target_name);
        if from == path {
            return Ok(());
        }
        let source = root.place(found.path.as_bstr()).at("open", found.path.as_bstr())?;
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
        let attributes = Attributes { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime: entry.unpacked_time() };
        Ok(self.writer.attributes(place, name, attributes, &entry.xattrs)?)
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
                self.hidden.remove_below(path.as_bstr());
                self.places.clear();
            }
            // Names that led through the link lead elsewhere now.
            FileType::Symlink => self.places.clear(),
            _ => {}
        }
        self.writer.remove(place, name)?;
        Ok(false)
    }

    /// The directory that an entry lies in. One without an entry of its own is made with mode 0755 for root.
    fn place(&mut self, parent: &BStr) -> Result<Rc<Place>, UnpackError> {
        if let Some(place) = self.places.get(parent) {
            return Ok(place.clone());
        }
        let canonical = match self.writer.make_dirs(parent) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory && self.reveal(parent)? => {
                self.writer.make_dirs(parent)
            }
            result => result,
        };
        let canonical = canonical.at("make the directory", parent)?;
        let place = Rc::new(self.writer.place(canonical.as_bstr())?);
        if self.places.len() > 256 {
            self.places.clear();
        }
        self.places.insert(parent.to_owned(), place.clone());
        Ok(place)
    }

    /// Turns whiteouts on the way to a path into opaque directories: the layer hides what was there and puts a
    /// directory in its place. Answers whether there was one.
    fn reveal(&mut self, path: &BStr) -> Result<bool, UnpackError> {
        let mut revealed = false;
        let ends = path.find_iter(b"/").chain([path.len()]);
        for prefix in ends.map(|end| path[..end].as_bstr()) {
            let Ok(found) = self.writer.root.resolve(prefix, true) else { break };
            if !found.exists {
                break;
            }
            let canonical = found.path;
            let stat = self.writer.root.stat(canonical.as_bstr()).at("look at", prefix)?;
            if !self.hidden.contains(canonical.as_bstr()) || !is_whiteout(&stat) {
                continue;
            }
            remove_in(&self.writer.root, canonical.as_bstr())?;
            self.writer.make_dirs(canonical.as_bstr()).at("make the directory", canonical.as_bstr())?;
            self.mark_opaque(&canonical)?;
            revealed = true;
        }
        Ok(revealed)
    }

    fn finish(mut self) -> Result<Vec<String>, UnpackError> {
        if self.aufs {
            let top = self.writer.place(BStr::new(""))?;
            let dir = self.writer.root.dir(BStr::new("")).at("read", BStr::new(""))?;
            for name in scan::names(dir.as_fd()).at("read", BStr::new(""))? {
                if name.starts_with(b".wh..wh.") {
                    self.writer.remove(&top, name.as_bstr())?;
                }
            }
        }
        Ok(self.writer.finish()?)
    }
}

/// Writes a member's content. What is all zeros becomes a hole; `wrote` gets the number of other bytes.
pub(crate) fn fill<E: From<PathError> + From<TarError>>(
    file: &File,
    size: u64,
    content: &mut TarReader<impl Read>,
    buffer: &mut [u8],
    path: &BStr,
    wrote: &mut dyn FnMut(u64) -> Result<(), E>,
) -> Result<(), E> {
    while let Some((offset, bytes)) = content.chunk(buffer)? {
        if bytes.iter().all(|byte| *byte == 0) {
            continue;
        }
        file.write_all_at(bytes, offset).at("write", path)?;
        wrote(bytes.len() as u64)?;
    }
    file.set_len(size).at("write", path)?;
    Ok(())
}

fn problem(path: &BString, problem: impl Into<String>) -> UnpackError {
    UnpackError::Entry { path: path.clone(), problem: problem.into() }
}

fn is_bomb(written: u64, blob: u64) -> bool {
    written > FREE_BYTES && written / MAX_RATIO > blob
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
