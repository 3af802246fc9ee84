//! Where images come from, behind one interface.

use super::config::ImageConfig;
use super::digest::Digest;
use async_trait::async_trait;
use std::path::Path;
use std::sync::Arc;

/// An image that has been looked up: its configuration is here, its layers can be fetched.
#[derive(Clone)]
pub struct Opened {
    /// As asked for.
    pub name: String,
    /// Where it came from, in words: `registry`, `oci-layout DIR`.
    pub origin: String,
    /// The manifest's digest where there is one.
    pub manifest: Option<Digest>,
    pub config: ImageConfig,
    /// The configuration byte for byte.
    pub config_bytes: Vec<u8>,
    /// Bottom first; as many as `config.rootfs.diff_ids`.
    pub layers: Vec<LayerBlob>,
    pub blobs: Arc<dyn Blobs>,
}

/// A layer as its image's manifest describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerBlob {
    /// The blob's own digest; `None` where the source has only the diff_id (docker-archive).
    pub digest: Option<Digest>,
    pub diff_id: Digest,
    /// Bytes of the blob, 0 if not known.
    pub size: u64,
}

/// Fetches the layers of one image.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// Writes layer `index` of the image to the new file `into`, checks its digest and calls `progress` with the
    /// bytes so far. Nothing is left at `into` after an error.
    async fn fetch(&self, index: usize, into: &Path, progress: &(dyn Fn(u64) + Send + Sync))
    -> Result<(), SourceError>;
}

/// Why an image could not be had.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    pub kind: SourceErrorKind,
    /// What happened, where (the transport, the address or path, the blob).
    pub message: String,
    /// What to do, one line each.
    pub help: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceErrorKind {
    /// The reference cannot be read.
    Reference,
    /// It is not there.
    Missing,
    /// It is there, and not for us.
    Denied,
    /// No connection, a broken one, or a server that makes no sense.
    Unreachable,
    /// It is there and does not hold what it should: a digest, a manifest, an archive.
    Damaged,
    /// It has no image for the platform.
    Platform,
    /// The file system here.
    Io,
}
