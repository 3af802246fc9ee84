//! What the image as a whole is compared with: another image, or a directory.

use super::image::Image;
use crate::engine::EngineError;
use crate::engine::side::{self, Side, SideError};
use crate::image::inventory::how_far::HowFar;
use crate::image::inventory::{Inventory, Progress};
use crate::image::source::Opened;
use crate::layers::{Diff, Scope};
use crate::snapshot::SnapshotId;
use std::path::PathBuf;
use std::sync::Arc;

/// What is asked for.
#[derive(Clone)]
pub enum Against {
    /// One whose layers can be read, by the name that it was asked for.
    Image(String, Box<Opened>),
    Directory(PathBuf),
}

/// The same as far as it is known.
#[derive(Debug)]
pub struct Other {
    pub name: String,
    /// As far as it has been read; a directory is none.
    pub image: Option<Image>,
    /// Of an image, once something of it is on its way.
    pub how_far: Option<HowFar>,
    /// When all of it has been read.
    pub side: Option<Side>,
    /// What differs, once that is known.
    pub pair: Option<Arc<Pair>>,
    /// Why nothing can be compared.
    pub failure: Option<EngineError>,
}

/// Two things that have been compared.
#[derive(Debug)]
pub struct Pair {
    /// What came before, so to say.
    pub other: Side,
    pub diff: Arc<Diff>,
}

impl Other {
    pub fn new(against: &Against) -> Other {
        let (name, image) = match against {
            Against::Image(name, opened) => (name.clone(), Some(Image::new(opened, None))),
            Against::Directory(path) => (path.display().to_string(), None),
        };
        Other { name, image, how_far: None, side: None, pair: None, failure: None }
    }

    pub fn progress(&mut self, progress: Progress) {
        let Some(image) = &mut self.image else { return };
        let sizes = || image.layers.iter().map(|layer| layer.facts.compressed);
        self.how_far.get_or_insert_with(|| HowFar::new(sizes())).take(&progress);
        image.progress(progress);
    }

    pub fn finish(&mut self, side: Side) {
        if let (Some(image), Some(inventory)) = (&mut self.image, side.inventory()) {
            image.finish(inventory.clone());
        }
        self.side = Some(side);
    }

    /// Whether it is still being read or compared.
    pub fn is_loading(&self) -> bool {
        self.pair.is_none() && self.failure.is_none()
    }

    pub fn broken(&self) -> usize {
        self.image.as_ref().map_or(0, Image::broken)
    }

    /// It is to be read once more.
    pub fn begin_again(&mut self) {
        if let Some(image) = &mut self.image {
            image.begin_again();
        }
        (self.how_far, self.side, self.pair, self.failure) = (None, None, None, None);
    }

    /// Whether all of it could be read and compared.
    pub fn is_whole(&self) -> bool {
        self.pair.is_some() && self.broken() == 0
    }

    /// How many of its layers have been read, and how many there are.
    pub fn layers(&self) -> (usize, usize) {
        self.image.as_ref().map_or((0, 0), |image| (image.layers_read(), image.layers.len()))
    }
}

impl Pair {
    /// Compares an image with the other. Files are read where their contents cannot be told apart otherwise.
    pub async fn of(mut other: Side, image: Inventory) -> Result<Pair, SideError> {
        let mut image = Side::of_image(image.name.clone(), image);
        side::settle(&mut other, &mut image).await?;
        let (before, after) = (other.tree.clone(), image.tree);
        let compare = move || {
            let diff = Diff::between(&before, &after, Scope::Changed);
            diff.prepare();
            Arc::new(diff)
        };
        Ok(Pair { other, diff: side::blocking(compare).await? })
    }
}

/// The name of the other's file system among those of the image.
pub fn at() -> SnapshotId {
    SnapshotId("the other".to_owned())
}

/// Whether a file system is the other's, by its name.
pub fn is_other(at: &SnapshotId) -> bool {
    at.0 == "the other"
}
