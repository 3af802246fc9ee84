//! A directory of the user's, read as a file system, with what every system can tell of it.

use crate::layers::{Entry, Kind, Layer, Meta, path};
use crate::system::{self, Special};
use bstr::{BStr, BString, ByteSlice};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Reads what can be read of it. The directories in which something cannot be read, and why, come beside it; nothing in
/// them is in the layer. Names of one file get the same number, counted from 1.
pub fn scan(root: &Path) -> io::Result<(Layer, Vec<(BString, io::Error)>)> {
    let (mut entries, mut unread) = (Vec::new(), Vec::new());
    let mut numbers: HashMap<(u64, u64), u64> = HashMap::new();
    let mut todo = vec![BString::default()];
    while let Some(dir) = todo.pop() {
        match directory(root, dir.as_bstr(), &mut numbers) {
            Ok(read) => {
                let directories = read.iter().filter(|(_, meta)| meta.kind == Kind::Directory);
                todo.extend(directories.map(|(path, _)| path.clone()));
                entries.extend(read.into_iter().map(|(path, meta)| Entry::Put { path, meta, opaque: false }));
            }
            Err(error) if dir.is_empty() => return Err(error),
            Err(error) => unread.push((dir, error)),
        }
    }
    entries.sort_by(|a, b| a.path().split_str("/").cmp(b.path().split_str("/")));
    Ok((Layer { entries }, unread))
}

fn directory(root: &Path, dir: &BStr, numbers: &mut HashMap<(u64, u64), u64>) -> io::Result<Vec<(BString, Meta)>> {
    let mut read = Vec::new();
    for entry in fs::read_dir(place(root, dir)?)? {
        let entry = entry?;
        let name = BString::from(entry.file_name().into_encoded_bytes());
        let metadata = entry.metadata()?;
        let properties = system::properties(&metadata);
        let (kind, device) = match properties.special {
            _ if metadata.is_dir() => (Kind::Directory, (0, 0)),
            _ if metadata.is_symlink() => (Kind::Symlink, (0, 0)),
            None => (Kind::File, (0, 0)),
            Some(Special::Fifo) => (Kind::Fifo, (0, 0)),
            Some(Special::Socket) => (Kind::Socket, (0, 0)),
            Some(Special::BlockDevice(major, minor)) => (Kind::BlockDevice, (major, minor)),
            Some(Special::CharDevice(major, minor)) => (Kind::CharDevice, (major, minor)),
        };
        let target = match kind {
            Kind::Symlink => BString::from(system::slashed(&fs::read_link(entry.path())?).into_owned()),
            _ => BString::default(),
        };
        let next = numbers.len() as u64 + 1;
        let meta = Meta {
            mode: properties.mode,
            uid: properties.owner.0,
            gid: properties.owner.1,
            size: if kind == Kind::File { metadata.len() } else { 0 },
            mtime: since_1970(metadata.modified()?),
            target,
            hard_link: properties.shared.map_or(0, |inode| *numbers.entry(inode).or_insert(next)),
            device,
            ..Meta::new(kind)
        };
        read.push((path::child(dir, name.as_bstr()), meta));
    }
    Ok(read)
}

/// Seconds and nanoseconds.
fn since_1970(time: SystemTime) -> (i64, u32) {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => (since.as_secs() as i64, since.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            let nanoseconds = (1_000_000_000 - before.subsec_nanos()) % 1_000_000_000;
            (-(before.as_secs() as i64) - i64::from(nanoseconds > 0), nanoseconds)
        }
    }
}

fn place(root: &Path, path: &BStr) -> io::Result<PathBuf> {
    let below = path.to_path().map_err(|error| io::Error::new(io::ErrorKind::InvalidFilename, error))?;
    Ok(if path.is_empty() { root.to_owned() } else { root.join(below) })
}

/// A regular file below it that no symbolic link leads to.
pub fn open_file(root: &Path, canonical: &BStr) -> io::Result<File> {
    let mut at = root.to_owned();
    for name in canonical.split_str("/") {
        let name = system::file_name(name).ok_or(io::ErrorKind::InvalidFilename)?;
        at.push(name);
        if fs::symlink_metadata(&at)?.is_symlink() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a symbolic link"));
        }
    }
    match fs::metadata(&at)?.is_file() {
        true => File::open(&at),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}
