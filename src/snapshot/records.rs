//! Small JSON files, each in its place with all its content or not at all, and records that get there later.

use super::store::{StoreError, failed};
use crate::image::digest::Digest;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Records of one kind, a file each: those of this session are known at once, and on the disk when they are saved.
pub(super) struct Records<T> {
    dir: PathBuf,
    /// Of this session.
    known: HashMap<Digest, T>,
    unsaved: BTreeSet<Digest>,
}

impl<T: Clone + Serialize + DeserializeOwned> Records<T> {
    pub(super) fn new(dir: PathBuf) -> Records<T> {
        Records { dir, known: HashMap::new(), unsaved: BTreeSet::new() }
    }

    /// A record of this session, or the file where one of an earlier session would be: for reading without a lock.
    pub(super) fn get(&self, key: &Digest) -> Result<T, PathBuf> {
        self.known.get(key).cloned().ok_or_else(|| self.path(key))
    }

    pub(super) fn put(&mut self, key: Digest, record: T) {
        self.known.insert(key.clone(), record);
        self.unsaved.insert(key);
    }

    /// What has not been saved yet, with the files that it goes to.
    pub(super) fn take_unsaved(&mut self) -> Vec<(PathBuf, T)> {
        let keys = std::mem::take(&mut self.unsaved);
        keys.iter().filter_map(|key| Some((self.path(key), self.known.get(key)?.clone()))).collect()
    }

    /// Forgets what this session knows, saved or not; the files stay.
    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.unsaved.clear();
    }

    /// The same, and the files go.
    pub(super) fn remove_known(&mut self) {
        for key in self.known.keys() {
            let _ = fs::remove_file(self.path(key));
        }
        self.clear();
    }

    pub(super) fn path(&self, key: &Digest) -> PathBuf {
        self.dir.join(format!("{}.json", key.hex()))
    }
}

pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), StoreError> {
    let bytes = serde_json::to_vec(value).map_err(|error| failed("cannot write", path)(error.into()))?;
    write_whole(path, &bytes)
}

/// The file is there with all its content, or not at all.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed("cannot write to", dir))?;
    file.write_all(bytes).map_err(failed("cannot write", path))?;
    file.persist(path).map_err(|error| failed("cannot write", path)(error.error))?;
    Ok(())
}
