//! Images that the command line gives by name: from a registry, or of this machine, which the builder fetches over
//! the session as if they were an OCI layout.

use super::address::{Address, Speaks};
use super::content::{Store, Stores};
use super::daemon;
use crate::engine::settings::Settings;
use crate::engine::{EngineError, EngineErrorKind, Output, OutputEvent};
use crate::image::contents::Contents;
use crate::image::digest::Digest;
use crate::image::export::{self, ImageToWrite};
use crate::image::source::{self, Opened, Source, SourceError, Surroundings};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the frontend is told of each image of `--build-context`, by its name.
#[derive(Default)]
pub(super) struct Bases(tokio::sync::Mutex<BTreeMap<String, String>>);

impl Bases {
    /// All of them; those of this machine are served from now on.
    pub(super) async fn contexts(
        &self,
        address: &Address,
        settings: &Settings,
        stores: &Stores,
        output: &Output,
    ) -> Result<BTreeMap<String, String>, EngineError> {
        let mut known = self.0.lock().await;
        for (name, source) in &settings.images {
            if known.contains_key(name) {
                continue;
            }
            let context = match in_registry(source) {
                Some(reference) => format!("docker-image://{reference}"),
                None if address.speaks == Speaks::BuildKit || daemon::is_whole(address).await? => {
                    served(name, source, settings, stores).await?
                }
                None => loaded(name, source, address, settings, output).await?,
            };
            known.insert(name.clone(), context);
        }
        Ok(known.clone())
    }
}

async fn served(name: &str, source: &str, settings: &Settings, stores: &Stores) -> Result<String, EngineError> {
    let contents = Contents::of(source, &settings.platform, &Surroundings::from_environment()).await;
    let contents = contents.map_err(|error| unusable(name, source, error))?;
    // Always the same for the same image, so that a builder knows it again.
    let store = format!("stagedive-{}", Digest::of(format!("{source} {}", contents.top).as_bytes()).short());
    let context = format!("oci-layout://{store}:latest@{}", contents.top);
    stores.set(&format!("oci:{store}"), Store::Image(Arc::new(contents)));
    Ok(context)
}

/// For a Docker Engine with its older image store, which takes no layouts: the image is loaded into it.
async fn loaded(
    name: &str,
    source: &str,
    address: &Address,
    settings: &Settings,
    output: &Output,
) -> Result<String, EngineError> {
    let opened = source::open(source, &settings.platform).await.map_err(|error| unusable(name, source, error))?;
    let tag = daemon::context_name(&Digest::of(&opened.config_bytes));
    let context = format!("docker-image://{tag}");
    if daemon::has_image(address, &tag).await? {
        return Ok(context);
    }
    let failed = |error: String| EngineError::new(format!("--build-context {name}={source}: {error}"));
    let dir = tempfile::tempdir().map_err(|error| failed(error.to_string()))?;
    let archive = dir.path().join("image.tar");
    let image = to_write(&opened, &tag, dir.path()).await.map_err(|error| unusable(name, source, error))?;
    let into = archive.clone();
    let written = tokio::task::spawn_blocking(move || -> Result<(), export::ExportError> {
        let (mut image, files) = image;
        for (diff_id, file) in files {
            image.layers.push(export::layer_of_file(diff_id, &file)?);
        }
        export::docker_archive(&image, &into).map(drop)
    });
    written.await.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
    daemon::load(address, &archive).await?;
    let notice = format!("{name} is loaded into the Docker Engine as {tag}: its image store takes no OCI layouts");
    let _ = output.0.send(OutputEvent::Notice(notice)).await;
    Ok(context)
}

type Layers = Vec<(Digest, std::path::PathBuf)>;

/// The image without its layers, and these in files of `dir`.
async fn to_write(opened: &Opened, tag: &str, dir: &std::path::Path) -> Result<(ImageToWrite, Layers), SourceError> {
    let mut layers = Vec::new();
    for (index, layer) in opened.layers.iter().enumerate() {
        let file = dir.join(index.to_string());
        opened.blobs.fetch(index, &file, &|_| ()).await?;
        layers.push((layer.diff_id.clone(), file));
    }
    let (config, tags) = (opened.config.clone(), vec![tag.to_owned()]);
    Ok((ImageToWrite { config, layers: Vec::new(), tags, annotations: Default::default() }, layers))
}

/// The reference of an image that the builder gets by itself.
pub(super) fn in_registry(source: &str) -> Option<String> {
    match source.parse() {
        Ok(Source::Registry(reference)) => Some(reference.to_string()),
        _ => None,
    }
}

pub(super) fn unusable(name: &str, source: &str, error: SourceError) -> EngineError {
    EngineError {
        message: format!("--build-context {name}={source}: {}", error.message),
        help: error.help,
        kind: EngineErrorKind::Base,
    }
}
