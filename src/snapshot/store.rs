//! The store: layers, snapshots, step results and images of one user, on disk.
//!
//! ```text
//! ROOT/MODE/                 a mode (root, subuid, single) has files of its own, for their owners differ; closed to others,
//!                            for images have set-user-ID programs, and builds have secrets
//!   layers/ID/fs             an unpacked layer, as overlayfs reads it
//!   layers/ID/entries        the same as a list (postcard of `Layer`), as old as the layer
//!   layers/ID/sums           what an image's layer adds up to
//!   snapshots/ID             the layers it is made of, bottom first, one a line
//!   steps/KEY.json           the result of a step, by its cache key
//!   places/KEY.json          keys of steps that ran at a place, for instance in a stage of a project
//!   digests/KEY.json         the digest of what a step reads from a stage or an address, by the question
//!   images/NAME.json         an image by the hash of its name
//!   blobs/DIFF_ID            layer archives as they came, or as they were packed
//!   caches/ID                directories of RUN --mount=type=cache
//!   NAME.json                other values that are kept from one session to the next
//!   begin, sessions, work, pending  of those who use the store now
//! ```
//!
//! Layers are written through a volatile overlay, so a step's result is recorded only after `syncfs`: what a
//! crash could have damaged has no record, and what has no record is dropped by the next start.

use super::SnapshotId;
pub use super::image_records::{ImageLayer, ImageRecord, LayerId};
use super::image_records::{images, read_json};
use super::records::{Records, write_json, write_whole};
use super::session::{Session, random_hex};
use crate::image::digest::Digest;
use crate::layers::{Entry, Index, Layer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// What a step came to, kept under its cache key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    pub snapshot: SnapshotId,
    pub duration: Duration,
    pub added: u64,
    pub modified: u64,
    pub removed: u64,
    pub bytes: u64,
    pub key: Vec<(String, String)>,
}

/// What a layer adds up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sums {
    /// Paths that it puts there.
    pub paths: u64,
    /// Of their content.
    pub bytes: u64,
}

impl Sums {
    fn of(layer: &Layer) -> Sums {
        let paths = layer.entries.iter().filter(|entry| matches!(entry, Entry::Put { .. })).count();
        Sums { paths: paths as u64, bytes: layer.bytes() }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{action} {path}: {source}")]
pub struct StoreError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl StoreError {
    /// Whether the disk is full, or the user's share of it.
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

pub(super) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError { action, path: path.to_owned(), source }
}

pub struct Store {
    root: PathBuf,
    session: Session,
    state: Mutex<State>,
}

struct State {
    entries: HashMap<LayerId, Arc<Layer>>,
    indexes: HashMap<LayerId, Arc<Index>>,
    snapshots: HashMap<SnapshotId, Arc<[LayerId]>>,
    steps: Records<StepRecord>,
    /// Keys of steps with their numbers, by the place they ran at, the latest first.
    places: Records<Vec<(Digest, u32)>>,
    /// Digests of what does not change, by the question.
    digests: Records<Digest>,
    made: BTreeSet<LayerId>,
}

impl State {
    fn new(root: &Path) -> State {
        State {
            entries: HashMap::new(),
            indexes: HashMap::new(),
            snapshots: HashMap::new(),
            steps: Records::new(root.join("steps")),
            places: Records::new(root.join("places")),
            digests: Records::new(root.join("digests")),
            made: BTreeSet::new(),
        }
    }
}

/// What pruning took out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruned {
    /// Directories and files for the caller to remove.
    pub gone: Vec<PathBuf>,
    /// Content bytes of the layers and archives in them.
    pub bytes: u64,
}

/// A place for a layer that is being made: `fs` becomes the layer, `work` is overlayfs's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    pub dir: PathBuf,
}

impl Draft {
    pub fn fs(&self) -> PathBuf {
        self.dir.join("fs")
    }

    pub fn work(&self) -> PathBuf {
        self.dir.join("work")
    }
}

const DIRECTORIES: [&str; 8] = ["layers", "snapshots", "steps", "places", "digests", "images", "blobs", "caches"];

/// As many keys are kept for a place: those of a few builds.
const KEYS_AT_A_PLACE: usize = 128;

impl Store {
    /// Opens or makes the store below `root` for one mode. The second part of the answer is what dead sessions
    /// left behind: directories for the caller to remove, since only the engine process may be able to.
    pub fn open(root: &Path, mode: &str) -> Result<(Store, Vec<PathBuf>), StoreError> {
        let root = root.join(mode);
        fs::create_dir_all(&root).map_err(failed("cannot make the store's directory", &root))?;
        // What is below is reached by mounts, never by this path, so the ids of a container need no way through it.
        fs::set_permissions(&root, Permissions::from_mode(0o700)).map_err(failed("cannot close to others", &root))?;
        for name in DIRECTORIES {
            let path = root.join(name);
            fs::create_dir_all(&path).map_err(failed("cannot make the store's directory", &path))?;
        }
        let session = Session::begin(&root)?;
        let leftovers = session.clear_dead()?;
        let state = Mutex::new(State::new(&root));
        Ok((Store { root, session, state }, leftovers))
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn layer_dir(&self, id: &LayerId) -> PathBuf {
        self.root.join("layers").join(&id.0).join("fs")
    }

    /// Where the archive of a layer is kept.
    pub fn blob(&self, diff_id: &Digest) -> PathBuf {
        self.root.join("blobs").join(diff_id.hex())
    }

    /// The directory of a cache mount; any text may be its id.
    pub fn cache_dir(&self, id: &str) -> PathBuf {
        self.root.join("caches").join(Digest::of(id.as_bytes()).hex())
    }

    /// A value that was kept under a name, if it is there and can be read.
    pub fn kept<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        read_json(&self.other(&format!("{name}.json")))
    }

    /// Keeps a value under a name; what was kept before goes.
    pub fn keep<T: Serialize>(&self, name: &str, value: &T) -> Result<(), StoreError> {
        write_json(&self.other(&format!("{name}.json")), value)
    }

    /// Files that no layer is made of (a toolbox, prepared mounts): `ROOT/MODE/NAME`.
    pub fn other(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn has_layer(&self, id: &LayerId) -> bool {
        self.state().made.contains(id)
            || (self.root.join("layers").join(&id.0).join("entries").exists() && !self.session.is_pending(id))
    }

    /// A fresh directory of this session for work in progress.
    pub fn scratch(&self) -> Result<PathBuf, StoreError> {
        self.session.scratch()
    }

    pub fn draft(&self) -> Result<Draft, StoreError> {
        let draft = Draft { dir: self.scratch()? };
        for dir in [draft.fs(), draft.work()] {
            fs::create_dir(&dir).map_err(failed("cannot make", &dir))?;
        }
        Ok(draft)
    }

    /// Makes a draft a layer. `id` is `None` for a layer that a step made. What remains of the draft is for the
    /// caller to remove.
    pub fn commit(&self, draft: &Draft, id: Option<LayerId>, layer: Layer) -> Result<LayerId, StoreError> {
        let is_images = id.is_some();
        let id = id.unwrap_or_else(|| LayerId::of_step(&random_hex()));
        let dir = self.root.join("layers").join(&id.0);
        let target = dir.join("fs");
        // Several sessions may unpack an image's layer at once; the first to be ready has it.
        let mut is_there = is_images && target.exists() && dir.join("entries").exists();
        if !is_there || self.session.is_pending(&id) {
            self.session.claim(&id)?;
        }
        if !is_there {
            fs::create_dir_all(&dir).map_err(failed("cannot make", &dir))?;
            let bytes = postcard::to_stdvec(&layer).unwrap_or_default();
            write_whole(&dir.join("entries"), &bytes)?;
            if is_images {
                write_json(&dir.join("sums"), &Sums::of(&layer))?;
            }
            match fs::rename(draft.fs(), &target) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => is_there = is_images,
                other => {
                    other.map_err(failed("cannot put a layer into place at", &target))?;
                    is_there = true;
                }
            }
        }
        if !is_there {
            let taken = io::Error::from(io::ErrorKind::AlreadyExists);
            return Err(failed("cannot put a layer into place at", &target)(taken));
        }
        let mut state = self.state();
        state.made.insert(id.clone());
        state.entries.insert(id.clone(), Arc::new(layer));
        Ok(id)
    }

    pub fn entries(&self, id: &LayerId) -> Result<Arc<Layer>, StoreError> {
        if let Some(layer) = self.state().entries.get(id) {
            return Ok(layer.clone());
        }
        let layer = self.read_entries(id)?;
        Ok(self.state().entries.entry(id.clone()).or_insert_with(|| Arc::new(layer)).clone())
    }

    /// A layer whose list is damaged has none from then on, and with it is not there.
    fn read_entries(&self, id: &LayerId) -> Result<Layer, StoreError> {
        let path = self.root.join("layers").join(&id.0).join("entries");
        let bytes = fs::read(&path).map_err(failed("cannot read", &path))?;
        postcard::from_bytes(&bytes).map_err(|error| {
            let _ = fs::remove_file(&path);
            failed("cannot read", &path)(io::Error::new(io::ErrorKind::InvalidData, error))
        })
    }

    /// When a step made a layer here.
    pub fn made(&self, id: &LayerId) -> Option<SystemTime> {
        let entries = self.root.join("layers").join(&id.0).join("entries");
        fs::metadata(entries).and_then(|it| it.modified()).ok().filter(|_| id.diff_id().is_none())
    }

    /// What a layer adds up to; of one that came with an image, known without reading all of it.
    pub fn sums(&self, id: &LayerId) -> Result<Sums, StoreError> {
        match read_json(&self.root.join("layers").join(&id.0).join("sums")) {
            Some(sums) => Ok(sums),
            None => self.read_entries(id).map(|layer| Sums::of(&layer)),
        }
    }

    /// The same, to find paths in.
    pub fn index(&self, id: &LayerId) -> Result<Arc<Index>, StoreError> {
        if let Some(index) = self.state().indexes.get(id) {
            return Ok(index.clone());
        }
        let index = Arc::new(Index::new(self.entries(id)?));
        Ok(self.state().indexes.entry(id.clone()).or_insert(index).clone())
    }

    /// Names the file system that these layers make.
    pub fn snapshot(&self, layers: &[LayerId]) -> Result<SnapshotId, StoreError> {
        let text: String = layers.iter().map(|id| format!("{}\n", id.0)).collect();
        let id = snapshot_of(&text);
        if self.state().snapshots.contains_key(&id) {
            return Ok(id);
        }
        let path = self.root.join("snapshots").join(&id.0);
        if !fs::read(&path).is_ok_and(|it| it == text.as_bytes()) {
            write_whole(&path, text.as_bytes())?;
        }
        self.state().snapshots.insert(id.clone(), layers.into());
        Ok(id)
    }

    /// The layers of a snapshot, bottom first.
    pub fn layers(&self, id: &SnapshotId) -> Result<Arc<[LayerId]>, StoreError> {
        if let Some(layers) = self.state().snapshots.get(id) {
            return Ok(layers.clone());
        }
        let path = self.root.join("snapshots").join(&id.0);
        let invalid =
            |message: String| failed("cannot read", &path)(io::Error::new(io::ErrorKind::InvalidData, message));
        if id.0.is_empty() || !id.0.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(invalid("that does not name a snapshot".to_owned()));
        }
        let text = fs::read_to_string(&path).map_err(failed("cannot read", &path))?;
        if snapshot_of(&text) != *id {
            return Err(invalid("it is damaged".to_owned()));
        }
        let layers = text.lines().map(|line| LayerId::try_from(line.to_owned()));
        let layers: Arc<[LayerId]> =
            layers.collect::<Result<Vec<_>, _>>().map_err(|error| invalid(error.to_string()))?.into();
        self.state().snapshots.insert(id.clone(), layers.clone());
        Ok(layers)
    }

    /// The kept result of a step, if all its layers are still here.
    pub fn step(&self, key: &Digest) -> Option<StepRecord> {
        let found = self.state().steps.get(key);
        let file = match found {
            Ok(record) => return Some(record),
            Err(file) => file,
        };
        let record: StepRecord = read_json(&file)?;
        let layers = self.layers(&record.snapshot).ok()?;
        layers.iter().all(|id| self.has_layer(id)).then_some(record)
    }

    /// Keeps a step's result: at once for this session, for others after the next [`Store::save`].
    pub fn record(&self, key: Digest, record: StepRecord) {
        self.state().steps.put(key, record);
    }

    /// Keys of the steps that ran at a place, with their numbers there, the latest first. Some may have no result any
    /// more.
    pub fn at(&self, place: &Digest) -> Vec<(Digest, u32)> {
        let found = self.state().places.get(place);
        found.or_else(|file| read_json(&file).ok_or(())).unwrap_or_default()
    }

    /// Keeps the key of a step that ran at a place; of very many, the latest.
    pub fn put_at(&self, place: Digest, key: Digest, number: u32) {
        let mut keys = self.at(&place);
        keys.retain(|(it, _)| *it != key);
        keys.insert(0, (key, number));
        keys.truncate(KEYS_AT_A_PLACE);
        self.state().places.put(place, keys);
    }

    /// The digest of something in a stack of layers, or at an address that says what is there. Layers never change and
    /// their names are never used again, so the answer to the same question stays.
    pub fn digest(&self, question: &Digest) -> Option<Digest> {
        let found = self.state().digests.get(question);
        found.or_else(|file| read_json(&file).ok_or(())).ok()
    }

    /// Keeps such a digest, as [`Store::record`] keeps a step's result.
    pub fn keep_digest(&self, question: Digest, digest: Digest) {
        self.state().digests.put(question, digest);
    }

    /// Brings what this session made to the disk and records it there. Takes as long as the disk does.
    pub fn save(&self) -> Result<(), StoreError> {
        let (steps, places, digests, made) = {
            let state = &mut *self.state();
            let steps = state.steps.take_unsaved();
            (steps, state.places.take_unsaved(), state.digests.take_unsaved(), state.made.clone())
        };
        let pending: Vec<&LayerId> = made.iter().filter(|id| self.session.is_pending(id)).collect();
        if steps.is_empty() && digests.is_empty() && pending.is_empty() {
            return Ok(());
        }
        let dir = File::open(&self.root).map_err(failed("cannot open", &self.root))?;
        rustix::fs::syncfs(&dir).map_err(|error| failed("cannot sync", &self.root)(error.into()))?;
        pending.into_iter().try_for_each(|id| self.session.settle(id))?;
        steps.iter().try_for_each(|(path, record)| write_json(path, record))?;
        places.iter().try_for_each(|(path, keys)| write_json(path, keys))?;
        digests.iter().try_for_each(|(path, digest)| write_json(path, digest))?;
        Ok(())
    }

    /// Forgets what this session made, for `--force-rm`: directories for the caller to remove.
    pub fn forget_made(&self) -> Vec<PathBuf> {
        let mut state = self.state();
        state.steps.remove_known();
        state.digests.remove_known();
        state.places.clear();
        let made: Vec<LayerId> = state.made.iter().filter(|id| id.diff_id().is_none()).cloned().collect();
        let gone = |layers: &Arc<[LayerId]>| layers.iter().any(|id| made.contains(id));
        let snapshots: Vec<SnapshotId> =
            state.snapshots.iter().filter(|(_, layers)| gone(layers)).map(|(id, _)| id.clone()).collect();
        for id in snapshots {
            state.snapshots.remove(&id);
            let _ = fs::remove_file(self.root.join("snapshots").join(&id.0));
        }
        for id in &made {
            state.made.remove(id);
            state.entries.remove(id);
            state.indexes.remove(id);
        }
        drop(state);
        made.iter().filter_map(|id| self.session.set_aside(&self.root.join("layers").join(&id.0))).collect()
    }

    pub fn image(&self, name: &str) -> Option<ImageRecord> {
        let record: ImageRecord = read_json(&self.image_path(name))?;
        let whole = record.layers.iter().all(|it| self.has_layer(&it.layer));
        (record.name == name && whole).then_some(record)
    }

    pub fn put_image(&self, record: &ImageRecord) -> Result<(), StoreError> {
        write_json(&self.image_path(&record.name), record)
    }

    pub fn remove_image(&self, name: &str) -> bool {
        fs::remove_file(self.image_path(name)).is_ok()
    }

    /// All images, by name.
    pub fn images(&self) -> Vec<ImageRecord> {
        images(&self.root)
    }

    /// Drops every step result and, with `all`, every image and cache mount too; then everything that nothing
    /// refers to. `None` where another session lives; one that begins meanwhile waits.
    pub fn prune(&self, all: bool) -> Result<Option<Pruned>, StoreError> {
        let Some(_alone) = self.session.alone()? else { return Ok(None) };
        let mut gone = Vec::new();
        let mut bytes = 0;
        let list =
            |name: &str| fs::read_dir(self.root.join(name)).into_iter().flatten().flatten().map(|file| file.path());
        for path in list("steps").chain(list("places")).chain(list("digests")) {
            fs::remove_file(&path).map_err(failed("cannot remove", &path))?;
        }
        if all {
            for path in list("images") {
                fs::remove_file(&path).map_err(failed("cannot remove", &path))?;
            }
            gone.extend(list("caches").filter_map(|path| self.session.set_aside(&path)));
        }
        let images = self.images();
        let kept = images.iter().flat_map(|image| &image.layers);
        let used: BTreeSet<&str> = kept.flat_map(|it| [it.layer.as_str(), it.diff_id.hex()]).collect();
        for path in list("snapshots") {
            fs::remove_file(&path).map_err(failed("cannot remove", &path))?;
        }
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let unused = list("layers").chain(list("blobs")).chain(list("packed"));
        for path in unused.filter(|path| !used.contains(name(path).as_str())) {
            bytes += match LayerId::try_from(name(&path)) {
                Ok(id) => self.sums(&id).map_or(0, |sums| sums.bytes),
                Err(_) => fs::symlink_metadata(&path).map_or(0, |it| if it.is_file() { it.len() } else { 0 }),
            };
            gone.extend(self.session.set_aside(&path));
        }
        *self.state() = State::new(&self.root);
        Ok(Some(Pruned { gone, bytes }))
    }

    fn image_path(&self, name: &str) -> PathBuf {
        self.root.join("images").join(format!("{}.json", Digest::of(name.as_bytes()).hex()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the file system is called whose layers a text lists.
fn snapshot_of(text: &str) -> SnapshotId {
    SnapshotId(Digest::of(text.as_bytes()).hex()[..32].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    fn record(snapshot: SnapshotId) -> StepRecord {
        StepRecord {
            snapshot,
            duration: Duration::from_millis(5),
            added: 1,
            modified: 0,
            removed: 0,
            bytes: 3,
            key: vec![("argv".to_owned(), "true".to_owned())],
        }
    }

    /// A step that makes one file, recorded under the key `text`, as is the digest of what it read.
    fn make(store: &Store, text: &str) -> LayerId {
        let draft = store.draft().unwrap();
        fs::write(draft.fs().join("file"), text).unwrap();
        let id = store.commit(&draft, None, Layer::default()).unwrap();
        let snapshot = store.snapshot(std::slice::from_ref(&id)).unwrap();
        store.record(digest(text), record(snapshot));
        store.keep_digest(digest(text), digest("content"));
        store.put_at(digest("place"), digest(text), 1);
        id
    }

    fn open(root: &Path) -> Store {
        let (store, leftovers) = Store::open(root, "test").unwrap();
        leftovers.iter().for_each(|path| drop(fs::remove_dir_all(path)));
        store
    }

    /// Makes the steps `saved`, saves, makes `unsaved`, ends (or dies); the next session finds `found`.
    fn check(saved: &[&str], unsaved: &[&str], dies: bool, found: &[&str]) {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path());
        let mut layers: Vec<LayerId> = saved.iter().map(|text| make(&store, text)).collect();
        store.save().unwrap();
        layers.extend(unsaved.iter().map(|text| make(&store, text)));
        for text in saved.iter().chain(unsaved) {
            assert!(store.step(&digest(text)).is_some(), "{text} within the session");
            assert_eq!(store.digest(&digest(text)), Some(digest("content")), "{text} within the session");
        }
        if dies {
            // What a killed process leaves: its lock file, unlocked.
            let name = fs::read_dir(store.root.join("sessions")).unwrap().next().unwrap().unwrap().path();
            drop(store);
            fs::write(name, "").unwrap();
        } else {
            drop(store);
        }
        let next = open(root.path());
        for text in saved.iter().chain(unsaved) {
            assert_eq!(next.step(&digest(text)).is_some(), found.contains(text), "{text} in the next session");
            assert_eq!(next.digest(&digest(text)).is_some(), found.contains(text), "what {text} read");
        }
        let known: Vec<_> = saved.iter().rev().map(|it| (digest(it), 1)).collect();
        assert_eq!(next.at(&digest("place")), known, "the keys of the place");
        for (id, text) in layers.iter().zip(saved.iter().chain(unsaved)) {
            assert_eq!(next.layer_dir(id).exists(), found.contains(text), "the layer of {text}");
        }
    }

    #[test]
    fn only_what_was_saved_outlives_a_session() {
        check(&["a", "b"], &[], false, &["a", "b"]);
        check(&["a"], &["b"], false, &["a"]);
        check(&["a"], &["b", "c"], true, &["a"]);
        check(&[], &["b"], true, &[]);
    }

    #[test]
    fn others_are_kept_out_of_a_new_store_and_of_an_old_one() {
        let root = tempfile::tempdir().unwrap();
        let mode = || fs::metadata(root.path().join("test")).unwrap().permissions().mode() & 0o7777;
        drop(open(root.path()));
        assert_eq!(mode(), 0o700);
        fs::set_permissions(root.path().join("test"), Permissions::from_mode(0o755)).unwrap();
        drop(open(root.path()));
        assert_eq!(mode(), 0o700);
    }

    #[test]
    fn a_living_session_keeps_its_unsaved_layers() {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path());
        let id = make(&store, "a");
        let other = open(root.path());
        assert!(store.layer_dir(&id).exists());
        assert_eq!((store.prune(true).unwrap(), other.prune(true).unwrap()), (None, None));
        assert!(!other.has_layer(&id));
        drop(other);
        assert!(store.prune(true).unwrap().is_some());
    }

    #[test]
    fn two_sessions_may_bring_the_same_layer() {
        let root = tempfile::tempdir().unwrap();
        let (one, other) = (open(root.path()), open(root.path()));
        let id = LayerId::of_image(&digest("layer"));
        let bring = |store: &Store| {
            let draft = store.draft().unwrap();
            fs::write(draft.fs().join("file"), "content").unwrap();
            store.commit(&draft, Some(id.clone()), Layer::default()).unwrap();
            assert!(store.has_layer(&id) && store.layer_dir(&id).join("file").exists());
        };
        bring(&one);
        bring(&other);
        // Whichever of them ends first, the other still has it.
        drop(one);
        drop(open(root.path()));
        assert!(other.layer_dir(&id).exists());
        other.save().unwrap();
        drop(other);
        assert!(open(root.path()).has_layer(&id));
    }

    #[test]
    fn forgetting_takes_what_this_session_made() {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path());
        let id = make(&store, "a");
        store.save().unwrap();
        assert_eq!(store.forget_made().len(), 1);
        assert!(!store.layer_dir(&id).exists());
        assert!(store.step(&digest("a")).is_none());
        assert!(store.digest(&digest("a")).is_none());
        drop(store);
        assert!(open(root.path()).step(&digest("a")).is_none());
    }

    #[test]
    fn damaged_files_are_as_good_as_none() {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path());
        make(&store, "a");
        store.save().unwrap();
        let file = store.state().steps.path(&digest("a"));
        fs::write(file, "{\"snapshot\":").unwrap();
        drop(store);
        assert!(open(root.path()).step(&digest("a")).is_none());
        let store = open(root.path());
        let id = make(&store, "b");
        store.save().unwrap();
        let snapshot = store.snapshot(std::slice::from_ref(&id)).unwrap();
        let list = root.path().join("test/snapshots").join(&snapshot.0);
        drop(store);
        for text in ["", "s-00\n"] {
            fs::write(&list, text).unwrap();
            let store = open(root.path());
            assert!(store.step(&digest("b")).is_none(), "{text:?}");
            // Whoever makes the same file system mends it.
            store.snapshot(std::slice::from_ref(&id)).unwrap();
            drop(store);
            assert!(open(root.path()).step(&digest("b")).is_some());
        }
        fs::write(root.path().join("test/layers").join(id.as_str()).join("entries"), [0xff]).unwrap();
        let store = open(root.path());
        assert!(store.has_layer(&id) && store.entries(&id).is_err());
        assert!(!store.has_layer(&id) && store.step(&digest("b")).is_none());
        assert!(store.layers(&SnapshotId("../../etc".to_owned())).is_err());
    }
}
