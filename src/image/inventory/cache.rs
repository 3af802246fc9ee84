//! Layers that have been read before, on disk: one file for each blob that was held against its digest, and for each
//! diff_id that an image gives it.
//!
//! Only what was checked is kept, so that a blob which is not what it is called cannot speak for the one that is.
//! What is on disk is believed as far as its checksum goes; it is a memory and nothing else, and may be removed.

use super::blob::Index;
use super::walk::Found;
use crate::image::compression::Format;
use crate::image::digest::Digest;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use twox_hash::XxHash3_128;

/// The last character is the format's version.
const MAGIC: &[u8] = b"stagedive index 2";

/// Bytes of all files together; the oldest go first.
const MOST_BYTES: u64 = 512 << 20;

#[derive(Serialize, Deserialize)]
struct Head {
    blob: u64,
    entries: u64,
    unpacked: u64,
    format: Format,
    found: Found,
    records: u64,
}

/// The index of the blob with this digest and size.
pub(super) fn load(dir: &Path, digest: &Digest, diff_id: &Digest, blob: u64) -> Option<Index> {
    let path = file(dir, digest, diff_id);
    let mut bytes = std::fs::read(&path).ok()?;
    let (content, sum) = bytes.split_last_chunk::<16>()?;
    if XxHash3_128::oneshot(content) != u128::from_le_bytes(*sum) {
        return None;
    }
    let rest = content.strip_prefix(MAGIC)?;
    let (head, records): (Head, &[u8]) = postcard::take_from_bytes(rest).ok()?;
    if head.blob != blob || head.records != records.len() as u64 {
        return None;
    }
    // What is used stays longest.
    let now = std::fs::FileTimes::new().set_modified(SystemTime::now());
    let _ = std::fs::File::options().append(true).open(&path).and_then(|file| file.set_times(now));
    let range = content.len() - records.len()..content.len();
    bytes.truncate(range.end);
    bytes.drain(..range.start);
    Some(Index {
        records: bytes,
        entries: head.entries,
        unpacked: head.unpacked,
        stored: blob,
        format: head.format,
        found: head.found,
        checked: true,
        broken: None,
    })
}

/// Keeps an index, if it is whole and checked. Where it cannot be kept, the blob is read again next time.
pub(super) fn store(dir: &Path, digest: &Digest, diff_id: &Digest, blob: u64, index: &Index) {
    if !index.checked || index.broken.is_some() {
        return;
    }
    let head = Head {
        blob,
        entries: index.entries,
        unpacked: index.unpacked,
        format: index.format,
        found: index.found.clone(),
        records: index.records.len() as u64,
    };
    let Ok(head) = postcard::to_stdvec(&head) else { return };
    let mut hasher = XxHash3_128::new();
    let parts = [MAGIC, &head, &index.records];
    parts.iter().for_each(|part| hasher.write(part));
    let sum = hasher.finish_128().to_le_bytes();
    let write = || {
        std::fs::create_dir_all(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        parts.iter().chain([&&sum[..]]).try_for_each(|part| file.write_all(part))?;
        file.persist(self::file(dir, digest, diff_id)).map_err(|error| error.error)
    };
    if write().is_ok() {
        make_room(dir);
    }
}

/// Forgets all indexes. Answers with the bytes that they took.
pub fn forget(dir: &Path) -> std::io::Result<u64> {
    let list = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        list => list?,
    };
    let mut freed = 0;
    for file in list {
        let file = file?;
        let bytes = file.metadata()?.len();
        std::fs::remove_file(file.path())?;
        freed += bytes;
    }
    Ok(freed)
}

fn file(dir: &Path, digest: &Digest, diff_id: &Digest) -> PathBuf {
    dir.join(format!("{}-{}", digest.hex(), diff_id.hex()))
}

fn make_room(dir: &Path) {
    let list = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<(SystemTime, u64, PathBuf)> = list
        .filter_map(|file| {
            let metadata = file.metadata().ok()?;
            Some((metadata.modified().ok()?, metadata.len(), file.path()))
        })
        .collect();
    files.sort();
    let mut bytes: u64 = files.iter().map(|(_, size, _)| size).sum();
    for (_, size, path) in files {
        if bytes <= MOST_BYTES {
            break;
        }
        let _ = std::fs::remove_file(path);
        bytes -= size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(checked: bool, broken: Option<&str>) -> Index {
        let found = Found { notes: vec!["odd".to_owned()], ..Found::default() };
        let broken = broken.map(str::to_owned);
        let format = Format::Gzip;
        Index { records: vec![1, 2, 3], entries: 4, unpacked: 5, stored: 10, format, found, checked, broken }
    }

    /// Stores an index, does something to its file, and loads it for a blob of some size.
    fn check(index: &Index, spoil: impl FnOnce(&mut Vec<u8>), blob: u64, expected: bool) {
        let dir = tempfile::tempdir().unwrap();
        let (digest, diff_id) = (Digest::of(b"layer"), Digest::of(b"archive"));
        store(&dir.path().join("new"), &digest, &diff_id, 10, index);
        let path = dir.path().join("new").join(format!("{}-{}", digest.hex(), diff_id.hex()));
        if let Ok(mut bytes) = std::fs::read(&path) {
            spoil(&mut bytes);
            std::fs::write(&path, bytes).unwrap();
        }
        let loaded = load(&dir.path().join("new"), &digest, &diff_id, blob);
        assert_eq!(loaded.is_some(), expected);
        if let Some(loaded) = loaded {
            assert_eq!((loaded.records, loaded.entries, loaded.found), (index.records.clone(), 4, index.found.clone()));
        }
    }

    #[test]
    fn what_was_checked_is_kept() {
        check(&index(true, None), |_| (), 10, true);
        check(&index(false, None), |_| (), 10, false);
        check(&index(true, Some("cut")), |_| (), 10, false);
        check(&index(true, None), |_| (), 11, false);
    }

    #[test]
    fn damage_is_noticed() {
        for at in 0..40 {
            check(&index(true, None), |bytes| bytes[at] ^= 1, 10, false);
        }
        check(&index(true, None), |bytes| bytes.truncate(20), 10, false);
        check(&index(true, None), Vec::clear, 10, false);
    }
}
