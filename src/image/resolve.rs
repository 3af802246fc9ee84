//! From the name of an image to the image: through indexes to a manifest, to its configuration.

use super::config::ImageConfig;
use super::digest::Digest;
use super::document;
use super::fetch::wrong_digest;
use super::manifest::{self, Choice, Descriptor, Document, ImageIndex, ImageManifest, LARGEST_DOCUMENT};
use super::source::{LayerBlob, SourceError, SourceErrorKind};
use crate::names::platform::Platform;
use async_trait::async_trait;
use std::collections::BTreeMap;

/// Indexes in indexes: one level is common, two have been seen.
const DEEPEST: usize = 4;

/// So many manifests may be opened in search of the platform.
const MOST_DOCUMENTS: usize = 100;

/// Where small blobs are read from.
#[async_trait]
pub(super) trait Documents: Send + Sync {
    /// The bytes under a digest, at most [`LARGEST_DOCUMENT`]; they are checked here afterwards.
    /// [`SourceErrorKind::Missing`] if there are none.
    async fn document(&self, digest: &Digest, role: Role) -> Result<Vec<u8>, SourceError>;

    /// For messages: the image, and where it is looked for.
    fn place(&self) -> String;
}

/// Registries keep manifests apart from other blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Manifest,
    Config,
}

/// An image, with its configuration read.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) digest: Digest,
    pub(super) manifest: ImageManifest,
    pub(super) config: ImageConfig,
    pub(super) config_bytes: Vec<u8>,
}

/// Checks a document's bytes against what pointed to it.
pub(super) async fn checked(
    documents: &dyn Documents,
    descriptor: &Descriptor,
    role: Role,
) -> Result<Vec<u8>, SourceError> {
    let what = || format!("{}: the blob {}", documents.place(), descriptor.digest());
    if descriptor.size() > LARGEST_DOCUMENT {
        let message = format!("{} should be {} bytes, too many for a manifest", what(), descriptor.size());
        return Err(SourceError::new(SourceErrorKind::Damaged, message));
    }
    let should = digest_of(documents, descriptor)?;
    let bytes = match manifest::inline(descriptor) {
        Some(bytes) => bytes,
        None => documents.document(&should, role).await?,
    };
    let is = Digest::of(&bytes);
    if is != should {
        return Err(wrong_digest(&what(), &should, &is));
    }
    Ok(bytes)
}

fn digest_of(documents: &dyn Documents, descriptor: &Descriptor) -> Result<Digest, SourceError> {
    manifest::digest(descriptor)
        .map_err(|error| SourceError::new(SourceErrorKind::Damaged, format!("{}: {error}", documents.place())))
}

/// The best image for a platform among the entries of an index. Entries that are listed and not there (archives
/// often hold one platform of many) are passed over.
pub(super) async fn in_index(
    documents: &dyn Documents,
    index: ImageIndex,
    wanted: &Platform,
) -> Result<Found, SourceError> {
    let mut ahead: Vec<(Descriptor, usize)> = Vec::new();
    let mut there = Vec::new();
    let mut missing = None;
    // An image that does not say its platform counts if its configuration does; the nearest wins.
    let mut nearest: Option<(u32, Found)> = None;
    add(&index, wanted, 1, &mut ahead, &mut there);
    for _ in 0..MOST_DOCUMENTS {
        let Some((descriptor, depth)) = ahead.pop() else { break };
        let bytes = match checked(documents, &descriptor, Role::Manifest).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind == SourceErrorKind::Missing => {
                missing.get_or_insert(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        match parse(documents, &bytes)? {
            Document::Index(index) if depth < DEEPEST => add(&index, wanted, depth + 1, &mut ahead, &mut there),
            Document::Index(_) => {
                let message = format!("{}: indexes lie more than {DEEPEST} deep in each other", documents.place());
                return Err(SourceError::new(SourceErrorKind::Damaged, message));
            }
            Document::Manifest(manifest) => {
                let says_platform = manifest::platform(&descriptor).is_some();
                let found = match with_config(documents, digest_of(documents, &descriptor)?, manifest).await {
                    Ok(found) => found,
                    Err(error) if says_platform => return Err(error),
                    // Signatures and the like are listed beside the images that they are about.
                    Err(error) => {
                        missing.get_or_insert(error);
                        continue;
                    }
                };
                if says_platform {
                    return Ok(found);
                }
                let platform = found.config.platform();
                match platform.distance(wanted) {
                    Some(0) => return Ok(found),
                    Some(distance) if nearest.as_ref().is_none_or(|it| distance < it.0) => {
                        nearest = Some((distance, found))
                    }
                    Some(_) => {}
                    None => there.push(platform),
                }
            }
        }
    }
    if let Some((_, found)) = nearest {
        return Ok(found);
    }
    Err(missing.unwrap_or_else(|| no_such_platform(documents, wanted, there)))
}

/// The image that a document is or leads to. An image that is pointed to alone is taken whatever its platform:
/// that is what was asked for by name.
pub(super) async fn in_document(
    documents: &dyn Documents,
    digest: Digest,
    bytes: &[u8],
    wanted: &Platform,
) -> Result<Found, SourceError> {
    match parse(documents, bytes)? {
        Document::Index(index) => in_index(documents, index, wanted).await,
        Document::Manifest(manifest) => with_config(documents, digest, manifest).await,
    }
}

fn add(
    index: &ImageIndex,
    wanted: &Platform,
    depth: usize,
    ahead: &mut Vec<(Descriptor, usize)>,
    there: &mut Vec<Platform>,
) {
    match manifest::choose(index, wanted) {
        Choice::Candidates(found) => ahead.extend(found.into_iter().rev().map(|it| (it, depth))),
        Choice::None { there: found } => there.extend(found),
    }
}

fn parse(documents: &dyn Documents, bytes: &[u8]) -> Result<Document, SourceError> {
    manifest::parse(bytes)
        .map_err(|why| SourceError::new(SourceErrorKind::Damaged, format!("{}: {why}", documents.place())))
}

async fn with_config(documents: &dyn Documents, digest: Digest, manifest: ImageManifest) -> Result<Found, SourceError> {
    let config_bytes = checked(documents, manifest.config(), Role::Config).await?;
    let config = parse_config(&config_bytes, &documents.place())?;
    if config.rootfs.diff_ids.len() != manifest.layers().len() {
        let kind = manifest.config().media_type().as_ref();
        // Signatures and attestations often have an image's configuration, and no layers.
        let other = manifest.layers().iter().map(|it| it.media_type().as_ref()).find(|it| !is_layer(it));
        let message = match (config.rootfs.diff_ids.is_empty(), other) {
            (true, _) if !kind.contains("image") && !kind.is_empty() => {
                format!("{} is not a container image: its configuration is {kind:?}", documents.place())
            }
            (true, Some(other)) => format!("{} is not a container image: it holds {other:?}", documents.place()),
            _ => layers_differ(&documents.place(), manifest.layers().len(), &config),
        };
        return Err(SourceError::new(SourceErrorKind::Damaged, message));
    }
    Ok(Found { digest, manifest, config, config_bytes })
}

/// Whether a media type, if any, is one that file systems have, in one spelling or another.
fn is_layer(media_type: &str) -> bool {
    media_type.is_empty() || ["layer", "diff", "tar"].iter().any(|it| media_type.contains(it))
}

pub(super) fn parse_config(bytes: &[u8], place: &str) -> Result<ImageConfig, SourceError> {
    document::read(bytes).map_err(|error| {
        SourceError::new(SourceErrorKind::Damaged, format!("{place}: its configuration cannot be read: {error}"))
    })
}

pub(super) fn layers_differ(place: &str, layers: usize, config: &ImageConfig) -> String {
    let diff_ids = config.rootfs.diff_ids.len();
    format!("{place}: its manifest has {layers} layers, and its configuration {diff_ids}")
}

fn no_such_platform(documents: &dyn Documents, wanted: &Platform, mut there: Vec<Platform>) -> SourceError {
    there.sort();
    there.dedup();
    let list = there.iter().take(50).map(Platform::to_string).collect::<Vec<_>>().join(", ");
    let there = if list.is_empty() { "it has no image at all".to_owned() } else { format!("it has {list}") };
    let error =
        SourceError::new(SourceErrorKind::Platform, format!("{}: no image for {wanted}: {there}", documents.place()));
    if list.is_empty() { error } else { error.with_help("choose one that is there: --platform OS/ARCHITECTURE") }
}

pub(super) fn annotations(manifest: &ImageManifest) -> BTreeMap<String, String> {
    manifest.annotations().iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Pairs the manifest's blobs with the configuration's diff_ids; there are as many of each.
pub(super) fn layers(documents: &dyn Documents, found: &Found) -> Result<Vec<LayerBlob>, SourceError> {
    let pairs = found.manifest.layers().iter().zip(&found.config.rootfs.diff_ids);
    let layer = |(blob, diff_id): (&Descriptor, &Digest)| {
        Ok(LayerBlob {
            digest: Some(digest_of(documents, blob)?),
            diff_id: diff_id.clone(),
            size: blob.size(),
            urls: blob.urls().clone().unwrap_or_default(),
        })
    };
    pairs.map(layer).collect()
}
