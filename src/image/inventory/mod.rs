//! What is in an image's layers, read straight from its blobs: nothing is unpacked.
//!
//! One thread a layer, the largest first. Compressed blobs are told by their content, and held against their digests
//! as they pass, by threads that have no layer left if there are any. Uncompressed ones are held against theirs up to
//! [`CHECKED_AT_ONCE`] bytes in all, beyond it only if that is asked for: hashing takes ten times as long as everything
//! else. What had to be fetched was checked on its way here.
//!
//! What cannot be read of a layer is said, with the blob and the place in it, and the rest is shown.

mod blob;
mod cache;
#[cfg(test)]
mod cases;
mod content;
mod hashing;
pub mod how_far;
mod record;
#[cfg(test)]
mod tests;
mod walk;

use super::compression::Format;
use super::config::ImageConfig;
use super::digest::Digest;
use super::history::{self, Instruction};
use super::source::{Opened, Place, SourceError, SourceErrorKind};
use crate::layers::packages::Package;
use crate::layers::path::shown;
use crate::layers::{Builder, FileTree, Layer};
use blob::{Common, Index, Job};
use bstr::BString;
pub use cache::forget as forget_indexes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};
pub use walk::Piece;

/// Uncompressed layers up to so many bytes in all are held against their digests.
pub const CHECKED_AT_ONCE: u64 = 256 << 20;

/// Compressed layers up to so many bytes of blobs in all are held against their diff_ids, too, after the digests of
/// their blobs. That takes as long again as a third to all of the decompressing, and tells only of images whose
/// configuration does not fit their manifest.
pub const CHECKED_TWICE: u64 = 16 << 20;

/// Memory that the merged tree may take.
const MAX_TREE: usize = 1 << 30;

/// Paths that may be looked at in order to take paths away: what ends stacks that are made to be slow.
const MAX_SWEPT: u64 = 1 << 30;

/// What can be done at once for a layer: reading it, the digest of its blob, and that of what comes out of it.
const THREADS_A_LAYER: usize = 3;

/// As many layers at once as Docker downloads.
const PARALLEL_DOWNLOADS: usize = 3;

#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where indexes of layers are kept for the next time.
    pub cache: Option<PathBuf>,
    /// Hold every blob against its digest and its diff_id, however long it takes.
    pub verify: bool,
    /// Tell of [`Progress::Tree`] and [`Progress::Alone`], for which trees have to be copied.
    pub trees: bool,
    /// A directory for blobs that have to be fetched; they go with the inventory.
    pub scratch: PathBuf,
}

/// How far the reading is.
#[derive(Debug, Clone)]
pub enum Progress {
    /// Bytes of a layer's blob on their way here, of all; 0 if that is not known.
    Fetched { layer: usize, done: u64, total: u64 },
    /// Bytes of a layer's blob that have been read, of all.
    Read { layer: usize, done: u64, total: u64 },
    /// A layer is read to its end, or to where it cannot be read any further. Its instruction is not among the facts.
    Finished { layer: usize, facts: Box<LayerFacts> },
    /// The tree of the lowest layers, as far as they are there without a gap.
    Tree(FileTree),
    /// What a layer holds by itself, while one below it is still on its way.
    Alone { layer: usize, tree: FileTree },
}

/// An image, and all that is in it.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// As asked for.
    pub name: String,
    /// Where it came from, in words.
    pub origin: String,
    pub manifest: Option<Digest>,
    pub config: ImageConfig,
    /// Of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// Bottom first.
    pub layers: Vec<LayerFacts>,
    pub tree: FileTree,
    blobs: Arc<Mutex<Blobs>>,
}

/// What is known of one layer besides its entries.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LayerFacts {
    pub diff_id: Option<Digest>,
    /// Of the blob.
    pub digest: Option<Digest>,
    /// `None` where the image does not say.
    pub instruction: Option<Instruction>,
    /// Bytes of the blob, 0 if there is none.
    pub compressed: u64,
    /// Bytes of the uncompressed archive, 0 if not known.
    pub unpacked: u64,
    pub format: Option<Format>,
    /// Members of the archive.
    pub entries: u64,
    /// Whether the bytes are known to be those that the digest names.
    pub checked: bool,
    /// Why not all of it is there, in a sentence that names the blob and the place in it.
    pub broken: Option<String>,
    /// What is odd about single entries, in sentences.
    pub notes: Vec<String>,
    /// Packages by the path of their database.
    pub databases: Vec<(BString, Vec<Package>)>,
    /// Files that are private keys.
    pub keys: Vec<BString>,
}

impl LayerFacts {
    /// Why nothing of the layer is known.
    pub fn nothing_because(&self) -> Option<&str> {
        self.broken.as_deref().filter(|_| self.entries == 0)
    }
}

/// Where the blobs are, for looking into files.
#[derive(Debug, Default)]
struct Blobs {
    places: Vec<Option<Place>>,
    /// Holds the files that the places are in, and gets what is not here.
    source: Option<Keeper>,
    fetched: Option<tempfile::TempDir>,
    scratch: PathBuf,
}

#[derive(Clone)]
struct Keeper(Arc<dyn super::source::Blobs>);

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keeper")
    }
}

/// Reads all layers of an image. Fails only if nothing can be done at all; a layer that cannot be read is told by
/// [`LayerFacts::broken`]. To be called within a tokio runtime; dropping the future ends the reading.
pub async fn read(
    opened: &Opened,
    options: &Options,
    progress: impl Fn(Progress) + Send + Sync + 'static,
) -> Result<Inventory, SourceError> {
    let progress = Arc::new(progress);
    let common = Arc::new(Common::default());
    let cancel = CancelOnDrop(common.clone());
    let plain = opened.layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add);
    let job = |index: usize, place: Place, is_fetched: bool| {
        let layer = opened.layers.get(index)?;
        let shown = layer.digest.as_ref().unwrap_or(&layer.diff_id);
        Some(Job {
            what: format!("{}: layer {index}, {shown}", opened.origin),
            place,
            is_checked: is_fetched && layer.digest.is_some(),
            digest: layer.digest.clone(),
            diff_id: layer.diff_id.clone(),
            thorough: options.verify || plain <= CHECKED_AT_ONCE,
            twice: options.verify || plain <= CHECKED_TWICE,
        })
    };
    let mut found: Vec<Option<Result<Place, String>>> = Vec::new();
    for (index, layer) in opened.layers.iter().enumerate() {
        found.push(match opened.blobs.place(index) {
            Ok(place) => place.map(Ok),
            Err(error) => Some(Err(format!("layer {index}, {}: {error}{}", layer.diff_id, layer.elsewhere()))),
        });
    }
    let (sender, jobs) = mpsc::channel();
    let workers = tokio::task::spawn_blocking({
        let (opened, options) = (opened.clone(), options.clone());
        let (progress, common) = (progress.clone(), common.clone());
        move || read_all(&opened, &options, jobs, &common, &*progress)
    });
    let mut ready: Vec<(usize, Place)> = Vec::new();
    let mut missing = Vec::new();
    for (index, place) in found.into_iter().enumerate() {
        match place {
            Some(Ok(place)) => ready.push((index, place)),
            Some(Err(why)) => drop(sender.send((index, Work::Nothing(why)))),
            None => missing.push(index),
        }
    }
    ready.sort_by_key(|(_, place)| std::cmp::Reverse(place.size));
    let mut blobs = Blobs {
        places: vec![None; opened.layers.len()],
        source: Some(Keeper(opened.blobs.clone())),
        fetched: None,
        scratch: options.scratch.clone(),
    };
    let mut hand_out = |index: usize, got: Got| {
        let is_fetched = matches!(got, Got::Fetched(_));
        let work = match got {
            Got::Known(known) => Work::Known(known),
            Got::Nothing(why) => Work::Nothing(why),
            Got::Place(place) | Got::Fetched(place) => {
                blobs.places[index] = Some(place.clone());
                let Some(job) = job(index, place, is_fetched) else { return };
                Work::Read(job)
            }
        };
        let _ = sender.send((index, work));
    };
    ready.into_iter().for_each(|(index, place)| hand_out(index, Got::Place(place)));
    if !missing.is_empty() {
        let dir = scratch(&options.scratch)?;
        fetch(opened, &missing, dir.path(), options, &*progress, &mut hand_out).await;
        blobs.fetched = Some(dir);
    }
    drop(sender);
    let merged = workers.await.map_err(|error| SourceError::new(SourceErrorKind::Io, error.to_string()))?;
    drop(cancel);
    Ok(Inventory {
        name: opened.name.clone(),
        origin: opened.origin.clone(),
        manifest: opened.manifest.clone(),
        annotations: opened.annotations.clone(),
        layers: merged.layers,
        tree: merged.tree,
        config: opened.config.clone(),
        blobs: Arc::new(Mutex::new(blobs)),
    })
}

impl Inventory {
    /// Of layers that are known already, as a build has them.
    pub fn of_layers(name: &str, origin: &str, config: ImageConfig, layers: &[Arc<Layer>]) -> Inventory {
        let mut instructions = history::of_layers(&config);
        instructions.resize(layers.len(), None);
        let facts = layers.iter().zip(instructions).enumerate().map(|(index, (layer, instruction))| LayerFacts {
            diff_id: config.rootfs.diff_ids.get(index).cloned(),
            instruction,
            entries: layer.entries.len() as u64,
            checked: true,
            ..LayerFacts::default()
        });
        Inventory {
            name: name.to_owned(),
            origin: origin.to_owned(),
            manifest: None,
            annotations: BTreeMap::new(),
            layers: facts.collect(),
            tree: FileTree::merge(layers),
            config,
            blobs: Arc::default(),
        }
    }

    /// What could not be read, in sentences.
    pub fn broken(&self) -> impl Iterator<Item = &str> {
        self.layers.iter().filter_map(|layer| layer.broken.as_deref())
    }
}

/// Ends the threads when nobody waits for them any more.
struct CancelOnDrop(Arc<Common>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
    }
}

/// What became of a layer that had to be looked for.
enum Got {
    Place(Place),
    /// Its digest was checked on the way, if it has one.
    Fetched(Place),
    /// It has been read before.
    Known(Box<Index>),
    Nothing(String),
}

/// What a thread gets to do.
enum Work {
    Read(Job),
    Known(Box<Index>),
    Nothing(String),
}

/// A directory for fetched blobs, removed with its value.
fn scratch(dir: &Path) -> Result<tempfile::TempDir, SourceError> {
    let made = tempfile::Builder::new().prefix("layers-").tempdir_in(dir);
    made.map_err(|error| super::fetch::io_error(dir, &error))
}

/// Fetches layers that are not on this machine, the largest first.
async fn fetch(
    opened: &Opened,
    missing: &[usize],
    dir: &Path,
    options: &Options,
    progress: &(impl Fn(Progress) + Sync),
    hand_out: &mut impl FnMut(usize, Got),
) {
    let mut waiting = missing.to_vec();
    waiting.sort_by_key(|index| opened.layers.get(*index).map_or(0, |layer| layer.size));
    let get = |index: usize| async move {
        let layer = opened.layers.get(index);
        let (size, digest) = layer.map_or((0, None), |layer| (layer.size, layer.digest.as_ref()));
        // What has been read before need not be fetched again, unless somebody looks into a file.
        if let (Some(cache), Some(digest)) = (&options.cache, digest)
            && let Some(known) = layer.and_then(|layer| cache::load(cache, digest, &layer.diff_id, size))
        {
            return (index, Got::Known(Box::new(known)));
        }
        let path = dir.join(index.to_string());
        let elsewhere = || layer.map(super::source::LayerBlob::elsewhere).unwrap_or_default();
        let told = |done: u64| progress(Progress::Fetched { layer: index, done, total: size });
        let got = opened.blobs.fetch(index, &path, &told).await;
        let place = got.and_then(|()| {
            let size = path.metadata().map_err(|error| super::fetch::io_error(&path, &error))?.len();
            Ok(Place { path, offset: 0, size })
        });
        let nothing = |error: SourceError| Got::Nothing(format!("layer {index}: {}{}", error.in_a_line(), elsewhere()));
        (index, place.map_or_else(nothing, Got::Fetched))
    };
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < PARALLEL_DOWNLOADS
            && let Some(index) = waiting.pop()
        {
            running.push(get(index));
        }
        let Some((index, got)) = running.next().await else { return };
        hand_out(index, got);
    }
}

struct Merged {
    layers: Vec<LayerFacts>,
    tree: FileTree,
}

/// Reads layers as they come, and merges them from the bottom up.
fn read_all(
    opened: &Opened,
    options: &Options,
    jobs: mpsc::Receiver<(usize, Work)>,
    common: &Common,
    progress: &(dyn Fn(Progress) + Sync),
) -> Merged {
    let cores = std::thread::available_parallelism().map_or(1, |it| it.get());
    let threads = cores.min(opened.layers.len() * THREADS_A_LAYER).max(1);
    let jobs = Mutex::new(jobs);
    let known: Mutex<HashMap<(Digest, Digest), Arc<Index>>> = Mutex::default();
    std::thread::scope(|scope| {
        let (sender, indexes) = mpsc::channel();
        let readings: Vec<_> = (0..threads).map(|_| common.digests.reading()).collect();
        for reading in readings {
            let (sender, jobs, known) = (sender.clone(), &jobs, &known);
            scope.spawn(move || {
                loop {
                    let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((layer, work)) = next else { break };
                    let index = match work {
                        Work::Read(job) => read_one(layer, &job, options, common, known, progress),
                        Work::Known(index) => Arc::new(*index),
                        Work::Nothing(why) => Arc::new(Index::nothing(why)),
                    };
                    progress(Progress::Finished { layer, facts: Box::new(facts(opened, layer, &index)) });
                    if sender.send((layer, index)).is_err() {
                        return;
                    }
                }
                drop((reading, sender));
                common.digests.help();
            });
        }
        drop(sender);
        merge(opened, options.trees, indexes, progress)
    })
}

/// The same blob may be there more than once.
fn read_one(
    layer: usize,
    job: &Job,
    options: &Options,
    common: &Common,
    known: &Mutex<HashMap<(Digest, Digest), Arc<Index>>>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Arc<Index> {
    let lock = || known.lock().unwrap_or_else(PoisonError::into_inner);
    let key = job.digest.as_ref().unwrap_or(&job.diff_id);
    let both = (key.clone(), job.diff_id.clone());
    // What is wrong with one names the layer, and is found again for the other.
    if let Some(index) = lock().get(&both).filter(|index| index.broken.is_none()) {
        return index.clone();
    }
    let total = job.place.size;
    let cached =
        options.cache.as_ref().filter(|_| !options.verify).and_then(|dir| cache::load(dir, key, &job.diff_id, total));
    let index = cached.unwrap_or_else(|| {
        let index = blob::read(job, common, &|done| progress(Progress::Read { layer, done, total }));
        // What lies here and is not compressed is read again as fast.
        if let (Some(dir), true) = (&options.cache, index.format != Format::Plain || job.is_checked) {
            cache::store(dir, key, &job.diff_id, total, &index);
        }
        index
    });
    let index = Arc::new(index);
    lock().insert(both, index.clone());
    index
}

/// A tree for the screen now and then, while layers are on their way.
const SHOWN_EVERY: Duration = Duration::from_millis(300);

/// Bytes of records of all layers that are shown by themselves.
const MAX_ALONE: usize = 32 << 20;

fn merge(
    opened: &Opened,
    trees: bool,
    indexes: mpsc::Receiver<(usize, Arc<Index>)>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Merged {
    let count = opened.layers.len();
    let instructions = history::of_layers(&opened.config);
    let mut waiting: Vec<Option<Arc<Index>>> = vec![None; count];
    let mut builder = Builder::default();
    let mut layers: Vec<LayerFacts> = Vec::new();
    let mut shown = Instant::now();
    let mut alone = Alone { told: vec![false; count], left: MAX_ALONE };
    loop {
        let (layer, index) = match indexes.recv_timeout(SHOWN_EVERY) {
            Ok(next) => next,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                if trees {
                    alone.tell(&waiting, progress);
                }
                continue;
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        };
        if let Some(slot) = waiting.get_mut(layer) {
            *slot = Some(index);
        }
        let merged = layers.len();
        while let Some(index) = waiting.get_mut(layers.len()).and_then(Option::take) {
            let number = layers.len();
            let mut facts = LayerFacts {
                instruction: instructions.get(number).cloned().flatten(),
                ..facts(opened, number, &index)
            };
            put(&mut builder, &index, &mut facts);
            layers.push(facts);
        }
        if trees && layers.len() > merged && layers.len() < count && shown.elapsed() > SHOWN_EVERY {
            progress(Progress::Tree(builder.so_far()));
            shown = Instant::now();
        }
    }
    // Threads end early only if they are cancelled.
    while layers.len() < count {
        let why = Index::nothing("cancelled".to_owned());
        layers.push(facts(opened, layers.len(), &why));
        builder.end_layer();
    }
    Merged { layers, tree: builder.finish() }
}

/// Which layers have been shown by themselves.
struct Alone {
    told: Vec<bool>,
    /// Bytes of records that may still be.
    left: usize,
}

impl Alone {
    fn tell(&mut self, waiting: &[Option<Arc<Index>>], progress: &(dyn Fn(Progress) + Sync)) {
        for (layer, (index, told)) in waiting.iter().zip(&mut self.told).enumerate() {
            let Some(index) = index.as_ref().filter(|index| !*told && index.records.len() <= self.left) else {
                continue;
            };
            *told = true;
            self.left -= index.records.len();
            let mut builder = Builder::default();
            fill(&mut builder, index);
            builder.end_layer();
            progress(Progress::Alone { layer, tree: builder.finish() });
        }
    }
}

fn facts(opened: &Opened, number: usize, index: &Index) -> LayerFacts {
    let blob = opened.layers.get(number);
    let mut notes = index.found.notes.clone();
    if index.found.more_notes > 0 {
        notes.push(format!("and {} more entries are like these", index.found.more_notes));
    }
    let said = blob.map_or(0, |it| it.size);
    let stored = if index.stored > 0 { index.stored } else { said };
    let broken = index.broken.clone().or_else(|| {
        let shown = blob.and_then(|it| it.digest.as_ref()).filter(|_| said > 0 && said != stored)?;
        Some(format!(
            "{}: layer {number}, {shown}: the image's manifest says that it has {said} bytes, and it has {stored}",
            opened.origin
        ))
    });
    LayerFacts {
        diff_id: blob.map(|it| it.diff_id.clone()),
        digest: blob.and_then(|it| it.digest.clone()),
        instruction: None,
        compressed: stored,
        unpacked: index.unpacked,
        format: (index.unpacked > 0).then_some(index.format),
        entries: index.entries,
        checked: index.checked && broken.is_none(),
        broken,
        notes,
        databases: index.found.databases.clone(),
        keys: index.found.keys.clone(),
    }
}

/// Puts a layer on top, as far as the bounds allow.
/// A layer's entries, as far as they can be held; whether that is all of them.
fn fill(builder: &mut Builder, index: &Index) -> bool {
    for entry in record::Reader::new(&index.records) {
        if builder.weight() > MAX_TREE || builder.swept() > MAX_SWEPT {
            return false;
        }
        builder.entry(&entry);
    }
    true
}

fn put(builder: &mut Builder, index: &Index, facts: &mut LayerFacts) {
    let unresolved = builder.unresolved().len();
    if !fill(builder, index) {
        let why = "the image's file tree is too large or too entangled to be held; the rest is left out";
        facts.broken.get_or_insert_with(|| why.to_owned());
    }
    let lost = &builder.unresolved()[unresolved..];
    facts.notes.extend(lost.iter().take(20).map(|path| {
        let path = shown(path.as_ref());
        format!("entry {path} is left out: it is a hard link to what no layer has, or stands where it cannot be")
    }));
    builder.end_layer();
}
