//! What the store has on record of images. Read on every system: whoever brings a store along can look into it.

use crate::image::digest::Digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// Names a layer in the store: `d-` and a diff_id's digits for one that came with an image, `s-` and random
/// digits for one that a step made.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LayerId(pub(super) String);

impl LayerId {
    pub fn of_image(diff_id: &Digest) -> LayerId {
        LayerId(format!("d-{}", diff_id.hex()))
    }

    pub fn of_step(hex: &str) -> LayerId {
        LayerId(format!("s-{hex}"))
    }

    /// The diff_id, of a layer that came with an image.
    pub fn diff_id(&self) -> Option<Digest> {
        self.0.strip_prefix("d-").and_then(|hex| format!("sha256:{hex}").parse().ok())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0:?} does not name a layer")]
pub struct ParseLayerIdError(String);

impl TryFrom<String> for LayerId {
    type Error = ParseLayerIdError;

    fn try_from(text: String) -> Result<LayerId, ParseLayerIdError> {
        let digits = text.strip_prefix("d-").or_else(|| text.strip_prefix("s-"));
        match digits {
            Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit()) => Ok(LayerId(text)),
            _ => Err(ParseLayerIdError(text.chars().take(100).collect())),
        }
    }
}

impl From<LayerId> for String {
    fn from(id: LayerId) -> String {
        id.0
    }
}

/// An image that is here, layers included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// As it is asked for: a normalised reference, or the text of another transport.
    pub name: String,
    pub manifest: Option<Digest>,
    /// The configuration byte for byte.
    pub config: String,
    pub layers: Vec<ImageLayer>,
    pub origin: String,
    /// Seconds since 1970.
    pub stored: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageLayer {
    /// Where the store has it: under its diff_id, or under the name it was built with.
    pub layer: LayerId,
    pub diff_id: Digest,
    /// Digest and bytes of the blob as it came; the diff_id and the archive's size if it is not compressed.
    pub digest: Digest,
    pub size: u64,
}

/// What all stores below `root` know of images, whatever their modes. Opens none of them.
pub fn known_images(root: &Path) -> Vec<ImageRecord> {
    let modes = fs::read_dir(root).into_iter().flatten().flatten();
    modes.flat_map(|mode| images(&mode.path())).collect()
}

/// The images of one mode's store.
pub(super) fn images(root: &Path) -> Vec<ImageRecord> {
    let files = fs::read_dir(root.join("images")).into_iter().flatten().flatten();
    let mut images: Vec<ImageRecord> = files.filter_map(|file| read_json(&file.path())).collect();
    images.sort_by(|a, b| a.name.cmp(&b.name));
    images
}

pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}
