//! ADD of a local archive: unpacked into the destination, which is the root for every path and link in it.

use super::copy::Destination;
use super::sources::{Found, Source};
use super::task::TaskError;
use super::tree_copy::{Rules, open_file};
use crate::image::compression;
use crate::image::tar_reader::{TarEntry, TarError, TarKind, TarReader};
use crate::snapshot::rooted::{At, PathError, Root, child, clean, split};
use crate::snapshot::tree_writer::{Attributes, Place, TreeWriter, UNCHANGED};
use crate::snapshot::unpack::fill;
use bstr::{BStr, ByteSlice};
use rustix::fs::{self, AtFlags, FileType};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::fd::AsFd;

/// Unpacks a source if it is an archive; answers whether it was one.
pub(super) fn unpack(source: &Source, found: &Found, rules: &Rules, to: &mut Destination) -> Result<bool, TaskError> {
    if FileType::from_raw_mode(found.stat.st_mode) != FileType::RegularFile {
        return Ok(false);
    }
    let path = found.path.as_bstr();
    let (dir, name) = split(path);
    let dir = source.root()?.place(dir).at("read", path).map_err(|error| source.failed(error))?;
    let file = open_file(dir.as_fd(), name).at("read", path).map_err(|error| source.failed(error))?;
    unpack_file(file, rules, to)
}

pub(super) fn unpack_file(mut file: File, rules: &Rules, to: &mut Destination) -> Result<bool, TaskError> {
    if !is_archive(&file) {
        return Ok(false);
    }
    let top = BStr::new("");
    file.seek(SeekFrom::Start(0)).at("read", BStr::new("the archive"))?;
    let directory = to.directory()?;
    let place = to.writer.place(directory.as_bstr())?;
    let root = Root::of(place.fd.as_fd()).at("open", top)?;
    // Directories that the archive has no entry for are root's, whatever --chown says.
    let implied = Attributes { mode: 0o755, uid: UNCHANGED, gid: UNCHANGED, ..to.writer.implied() };
    let writer = TreeWriter::new(root, implied).without_inheritance();
    let mut unpacker = Unpacker { writer, rules, buffer: vec![0; 128 << 10] };
    let (_, content) =
        compression::decode(BufReader::with_capacity(128 << 10, file)).map_err(|error| broken(error.into()))?;
    let mut archive = TarReader::new(BufReader::with_capacity(128 << 10, content)).strict();
    while let Some(entry) = archive.next_entry().map_err(broken)? {
        unpacker.put(&entry, &mut archive)?;
    }
    to.notices.extend(unpacker.writer.finish()?);
    Ok(true)
}

/// Whether there is a first member, under whatever compression. It need not be one that can be unpacked.
fn is_archive(file: &File) -> bool {
    let Ok((_, content)) = compression::decode(BufReader::new(file)) else { return false };
    matches!(TarReader::new(content).strict().next_entry(), Ok(Some(_)) | Err(TarError::Bad { .. }))
}

fn broken(error: TarError) -> TaskError {
    TaskError::input(format!("the archive cannot be unpacked: {error}"))
        .with_help("to copy it as it is, use COPY or ADD --unpack=false")
}

struct Unpacker<'a> {
    writer: TreeWriter,
    rules: &'a Rules,
    buffer: Vec<u8>,
}

/// What can go wrong while a member is written.
enum Failure {
    Path(PathError),
    Archive(TarError),
}

impl From<PathError> for Failure {
    fn from(error: PathError) -> Failure {
        Failure::Path(error)
    }
}

impl From<TarError> for Failure {
    fn from(error: TarError) -> Failure {
        Failure::Archive(error)
    }
}

impl From<Failure> for TaskError {
    fn from(failure: Failure) -> TaskError {
        match failure {
            Failure::Path(error) => error.into(),
            Failure::Archive(error) => broken(error),
        }
    }
}

impl Unpacker<'_> {
    fn put(&mut self, entry: &TarEntry, content: &mut TarReader<impl Read>) -> Result<(), TaskError> {
        if leads_out(entry.path.as_bstr()) {
            return Err(TaskError::input(format!("the archive has the entry {:?}, which leads out of it", entry.path)));
        }
        let path = clean(entry.path.as_bstr());
        let (parent, name) = split(path.as_bstr());
        if name.is_empty() {
            return Ok(());
        }
        let parent = self.writer.make_dirs(parent).map_err(|error| self.unusable(parent, error))?;
        let place = self.writer.place(parent.as_bstr())?;
        let target = child(parent.as_bstr(), name);
        let mut exists = false;
        match fs::statat(&place.fd, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            Err(error) => return Err(PathError::new("look at", target.as_bstr(), error.into()).into()),
            Ok(stat) if super::sources::is_dir(&stat) && entry.kind == TarKind::Directory => exists = true,
            Ok(_) => self.writer.remove(&place, name)?,
        }
        let (uid, gid) = self.rules.owner.unwrap_or((entry.uid, entry.gid));
        let attributes = Attributes { mode: entry.mode, uid, gid, mtime: entry.unpacked_time() };
        let xattrs = &entry.xattrs;
        let writer = &mut self.writer;
        match entry.kind {
            TarKind::Directory => {
                if !exists {
                    writer.make_dir(&place, name)?;
                }
                writer.directory(&place, name, attributes, xattrs)?;
            }
            TarKind::File => {
                let buffer = &mut self.buffer;
                writer.file(&place, name, attributes, xattrs, |file| -> Result<(), Failure> {
                    fill(file, entry.size, content, buffer, target.as_bstr(), &mut |_| Ok(()))
                })?;
            }
            TarKind::Symlink => writer.symlink(&place, name, entry.target.as_bstr(), attributes, xattrs)?,
            TarKind::HardLink => self.link(entry, &place, name, attributes)?,
            TarKind::Fifo => writer.node(&place, name, FileType::Fifo, (0, 0), attributes, xattrs)?,
            TarKind::CharDevice => {
                writer.node(&place, name, FileType::CharacterDevice, entry.device, attributes, xattrs)?;
            }
            TarKind::BlockDevice => {
                writer.node(&place, name, FileType::BlockDevice, entry.device, attributes, xattrs)?;
            }
        }
        Ok(())
    }

    /// A hard link may lead to what the archive has, and to what was in the destination before.
    fn link(&mut self, entry: &TarEntry, place: &Place, name: &BStr, attributes: Attributes) -> Result<(), TaskError> {
        let target = clean(entry.target.as_bstr());
        let (parent, target_name) = split(target.as_bstr());
        let missing = || {
            TaskError::input(format!(
                "the archive's hard link {:?} leads to {target:?}, which is not there",
                entry.path
            ))
        };
        let found = self.writer.root.resolve(parent, true).map_err(|error| self.unusable(parent, error))?;
        if !found.exists || target_name.is_empty() {
            return Err(missing());
        }
        let source = self.writer.root.place(found.path.as_bstr()).at("open", found.path.as_bstr())?;
        match fs::linkat(&source, target_name.as_bytes(), &place.fd, name.as_bytes(), AtFlags::empty()) {
            Err(Errno::NOENT) => return Err(missing()),
            result => result.at("make the hard link", entry.path.as_bstr())?,
        }
        Ok(self.writer.attributes(place, name, attributes, &entry.xattrs)?)
    }

    fn unusable(&self, path: &BStr, error: io::Error) -> TaskError {
        match error.raw_os_error() {
            Some(libc::ENOTDIR | libc::ELOOP) => {
                TaskError::input(format!("the archive has entries below {path:?}, which is no directory"))
            }
            _ => PathError::new("make the directory", path, error).into(),
        }
    }
}

/// Whether a path leaves the place it starts from.
fn leads_out(path: &BStr) -> bool {
    let mut depth = 0usize;
    let rooted = path.starts_with(b"/");
    for name in path.split_str("/") {
        match name {
            b"" | b"." => {}
            b".." if depth == 0 => return !rooted,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}
