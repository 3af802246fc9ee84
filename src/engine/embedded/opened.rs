//! Images of the store, and what was built, opened as images from anywhere are: by the archives of their layers.

use super::engine::{Embedded, store_error};
use super::exports;
use crate::engine::{EngineError, Output};
use crate::image::config::ImageConfig;
use crate::image::export::{self, LayerToWrite};
use crate::image::source::{Blobs, LayerBlob, Opened, Place, SourceError, SourceErrorKind};
use crate::snapshot::SnapshotId;
use async_trait::async_trait;
use std::path::{Path, PathBuf};
use std::sync::Arc;

impl Embedded {
    /// An image that the store has under this name, for the settings' platform.
    pub async fn stored(&self, name: &str) -> Result<Option<Opened>, EngineError> {
        let Some(record) = self.store.image(&self.stored_name(name)) else { return Ok(None) };
        let Ok(config) = serde_json::from_str::<ImageConfig>(&record.config) else { return Ok(None) };
        let mut layers = Vec::new();
        for layer in &record.layers {
            let path = self.store.blob(&layer.diff_id);
            let is_there = path.metadata().is_ok_and(|it| it.len() == layer.size);
            layers.push(match is_there {
                true => LayerToWrite {
                    diff_id: layer.diff_id.clone(),
                    digest: layer.digest.clone(),
                    size: layer.size,
                    path,
                },
                false => exports::pack(self, &layer.layer).await?.0,
            });
        }
        let opened = opened(name, format!("local store, from {}", record.origin), config, layers);
        Ok(Some(Opened {
            manifest: record.manifest.clone(),
            config_bytes: record.config.clone().into_bytes(),
            ..opened
        }))
    }

    /// A file system with its configuration, as the image that it would be; layers that have no archive yet get one.
    pub async fn opened(
        &self,
        name: &str,
        at: &SnapshotId,
        config: ImageConfig,
        output: &Output,
    ) -> Result<Opened, EngineError> {
        let ids = self.store.layers(at).map_err(store_error)?;
        let mut layers = Vec::new();
        for (index, id) in ids.iter().enumerate() {
            exports::say_packing(output, index, ids.len()).await;
            layers.push(exports::pack(self, id).await?.0);
        }
        Ok(opened(name, "built here".to_owned(), config, layers))
    }
}

fn opened(name: &str, origin: String, mut config: ImageConfig, layers: Vec<LayerToWrite>) -> Opened {
    config.rootfs.kind = "layers".to_owned();
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let (blobs, paths): (Vec<_>, Vec<_>) = layers
        .into_iter()
        .map(|it| {
            (LayerBlob { digest: Some(it.digest), diff_id: it.diff_id, size: it.size, urls: Vec::new() }, it.path)
        })
        .unzip();
    Opened {
        name: name.to_owned(),
        manifest: None,
        config_bytes: serde_json::to_vec(&config).unwrap_or_default(),
        config,
        annotations: Default::default(),
        blobs: Arc::new(Stored { origin: origin.clone(), layers: blobs.clone(), paths }),
        origin,
        layers: blobs,
    }
}

/// Archives in the store.
struct Stored {
    origin: String,
    layers: Vec<LayerBlob>,
    paths: Vec<PathBuf>,
}

#[async_trait]
impl Blobs for Stored {
    fn place(&self, index: usize) -> Result<Option<Place>, SourceError> {
        let (Some(path), Some(layer)) = (self.paths.get(index), self.layers.get(index)) else { return Ok(None) };
        Ok(Some(Place { path: path.clone(), offset: 0, size: layer.size }))
    }

    async fn fetch(
        &self,
        index: usize,
        into: &Path,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), SourceError> {
        let missing =
            || SourceError::new(SourceErrorKind::Missing, format!("{}: there is no layer {index}", self.origin));
        let from = self.paths.get(index).cloned().ok_or_else(missing)?;
        let layer = self.layers.get(index).cloned().ok_or_else(missing)?;
        let into = into.to_owned();
        let copied = tokio::task::spawn_blocking(move || copy(&from, &into, &layer)).await;
        copied.map_err(|error| SourceError::new(SourceErrorKind::Io, error.to_string()))??;
        progress(self.layers.get(index).map_or(0, |it| it.size));
        Ok(())
    }
}

fn copy(from: &Path, into: &Path, layer: &LayerBlob) -> Result<(), SourceError> {
    let failed = |error: String| SourceError::new(SourceErrorKind::Io, format!("{}: {error}", from.display()));
    std::fs::copy(from, into).map_err(|error| failed(error.to_string()))?;
    let is = export::layer_of_file(layer.diff_id.clone(), into).map_err(|error| failed(error.to_string()))?.digest;
    if layer.digest.as_ref().is_none_or(|should| *should == is) {
        return Ok(());
    }
    let _ = std::fs::remove_file(into);
    let message = format!("the layer in {} is damaged: its digest is {is}", from.display());
    Err(SourceError::new(SourceErrorKind::Damaged, message))
}
