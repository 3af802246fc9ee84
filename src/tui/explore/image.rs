//! The image as far as it has been read.

use crate::image::base::Base;
use crate::image::config::ImageConfig;
use crate::image::digest::Digest;
use crate::image::history;
use crate::image::inventory::{Inventory, LayerFacts, Progress};
use crate::image::source::{Opened, SourceError};
use crate::layers::FileTree;
use crate::snapshot::SnapshotId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is explored. Its layers are known from the beginning, what is in them comes.
#[derive(Debug, Clone)]
pub struct Image {
    pub name: String,
    pub origin: String,
    pub manifest: Option<Digest>,
    pub config: ImageConfig,
    pub annotations: BTreeMap<String, String>,
    /// Bottom first.
    pub layers: Vec<Layer>,
    /// Where the image's own layers begin, if that is known.
    pub base: Option<Base>,
    /// The lowest layers, as far as they are there without a gap.
    pub tree: FileTree,
    /// What layers above them hold by themselves.
    pub alone: BTreeMap<usize, FileTree>,
    /// When everything has been read.
    pub inventory: Option<Arc<Inventory>>,
    /// Why nothing could be read at all.
    pub failure: Option<SourceError>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layer {
    pub facts: LayerFacts,
    pub reading: Reading,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reading {
    #[default]
    Waiting,
    /// Bytes of the blob, of all; 0 if that is not known.
    Fetching(u64, u64),
    Reading(u64, u64),
    Done,
}

impl Image {
    pub fn new(opened: &Opened, base: Option<Base>) -> Image {
        let instructions = history::of_layers(&opened.config);
        let layers = opened.layers.iter().zip(instructions).map(|(blob, instruction)| {
            let facts = LayerFacts {
                diff_id: Some(blob.diff_id.clone()),
                digest: blob.digest.clone(),
                compressed: blob.size,
                instruction,
                ..LayerFacts::default()
            };
            Layer { facts, reading: Reading::Waiting }
        });
        Image {
            name: opened.name.clone(),
            origin: opened.origin.clone(),
            manifest: opened.manifest.clone(),
            config: opened.config.clone(),
            annotations: opened.annotations.clone(),
            layers: layers.collect(),
            base,
            tree: FileTree::default(),
            alone: BTreeMap::new(),
            inventory: None,
            failure: None,
        }
    }

    pub fn progress(&mut self, progress: Progress) {
        let layers = &mut self.layers;
        match progress {
            Progress::Fetched { layer, done, total } => put(layers, layer, Reading::Fetching(done, total)),
            Progress::Read { layer, done, total } => put(layers, layer, Reading::Reading(done, total)),
            Progress::Finished { layer, facts } => {
                if let Some(it) = layers.get_mut(layer) {
                    let instruction = it.facts.instruction.take();
                    *it = Layer { facts: LayerFacts { instruction, ..*facts }, reading: Reading::Done };
                }
            }
            Progress::Tree(tree) => {
                self.alone.retain(|layer, _| *layer >= tree.height() as usize);
                self.tree = tree;
            }
            Progress::Alone { layer, tree } => drop(self.alone.insert(layer, tree)),
        }
    }

    /// Everything is here.
    pub fn finish(&mut self, inventory: Inventory) {
        self.tree = inventory.tree.clone();
        self.alone.clear();
        let layers = inventory.layers.iter().cloned();
        self.layers = layers.map(|facts| Layer { facts, reading: Reading::Done }).collect();
        self.inventory = Some(Arc::new(inventory));
    }

    /// It is to be read once more: layers that have been read before come from their indexes.
    pub fn begin_again(&mut self) {
        self.tree = FileTree::default();
        self.alone.clear();
        self.inventory = None;
        self.failure = None;
        for layer in &mut self.layers {
            layer.reading = Reading::Waiting;
            layer.facts.broken = None;
        }
    }

    /// Whether it is still being read.
    pub fn is_loading(&self) -> bool {
        self.inventory.is_none() && self.failure.is_none()
    }

    /// The file system that the lowest `height` layers make, if they have been read. Its name is another one when
    /// everything is here, so that what was shown of the first part is let go.
    pub fn at(&self, height: usize) -> Option<SnapshotId> {
        let known = self.tree.height() as usize >= height;
        let part = if self.is_loading() { " so far" } else { "" };
        known.then(|| SnapshotId(format!("layers {height}{part}")))
    }

    /// What a layer holds by itself, if that is all that is known of it yet.
    pub fn alone(&self, layer: usize) -> Option<SnapshotId> {
        self.alone.contains_key(&layer).then(|| SnapshotId(format!("layer {layer} alone")))
    }

    /// An instruction on one line, as far as the image says which it was.
    pub fn instruction(&self, layer: usize) -> String {
        instruction_of(self.layers.get(layer).map(|layer| &layer.facts))
    }

    /// Bytes of the blobs, and of the archives in them as far as they are known.
    pub fn sizes(&self) -> (u64, u64) {
        let sum = |size: fn(&LayerFacts) -> u64| {
            self.layers.iter().map(|layer| size(&layer.facts)).fold(0u64, u64::saturating_add)
        };
        (sum(|facts| facts.compressed), sum(|facts| facts.unpacked))
    }

    /// How many layers have been read.
    pub fn layers_read(&self) -> usize {
        self.layers.iter().filter(|layer| layer.reading == Reading::Done).count()
    }

    /// How many layers are not whole.
    pub fn broken(&self) -> usize {
        self.layers.iter().filter(|layer| layer.facts.broken.is_some()).count()
    }

    /// Whether all of it could be read.
    pub fn is_whole(&self) -> bool {
        self.inventory.is_some() && self.broken() == 0
    }
}

/// A layer's instruction on one line, or what stands for it where the image's history does not explain the layer.
pub fn instruction_of(layer: Option<&LayerFacts>) -> String {
    let instruction = layer.and_then(|facts| facts.instruction.as_ref());
    instruction.map_or("Layer (unattributed)".to_owned(), |it| one_line(&it.text))
}

/// An instruction's lines in one.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How many layers a file system has, by its name from [`Image::at`].
pub fn height(at: &SnapshotId) -> Option<u32> {
    let rest = at.0.strip_prefix("layers ")?;
    rest.strip_suffix(" so far").unwrap_or(rest).parse().ok()
}

/// Which layer is by itself, by the name from [`Image::alone`].
pub fn alone(at: &SnapshotId) -> Option<usize> {
    at.0.strip_prefix("layer ")?.strip_suffix(" alone")?.parse().ok()
}

fn put(layers: &mut [Layer], layer: usize, reading: Reading) {
    // Reading is told by several threads; what is done stays done.
    if let Some(it) = layers.get_mut(layer).filter(|it| it.reading != Reading::Done) {
        it.reading = reading;
    }
}
