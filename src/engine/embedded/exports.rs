//! Images and file systems, written out.

use super::engine::{Embedded, store_error};
use super::task::{Compression, Report, Task};
use crate::engine::{Destination, EngineError, ExportRequest, Exported, Output, OutputEvent};
use crate::image::digest::Digest;
use crate::image::export::{self, ImageToWrite, LayerToWrite};
use crate::image::recompress::{Packing, recompress};
use crate::image::reference::{self, Reference};
use crate::image::source::Surroundings;
use crate::image::whole_file::WholeFile;
use crate::image::{self, daemon, history};
use crate::snapshot::store::{ImageLayer, ImageRecord, LayerId};
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::path::Path;

pub(super) async fn export(
    engine: &Embedded,
    request: ExportRequest,
    output: &Output,
) -> Result<Exported, EngineError> {
    let ids = engine.store.layers(&request.at).map_err(store_error)?;
    let as_image = |it: &Destination| !matches!(it, Destination::Tar { .. } | Destination::Local { .. });
    let mut layers = Vec::new();
    if request.destinations.iter().any(as_image) || request.destinations.is_empty() {
        for (index, id) in ids.iter().enumerate() {
            say_packing(output, index, ids.len()).await;
            let (layer, ours) = pack(engine, id).await?;
            layers.push(match ours || request.packing.force {
                true => recompressed(engine, layer, request.packing).await?,
                false => layer,
            });
        }
    }
    let mut config = request.config.clone();
    config.rootfs.kind = "layers".to_owned();
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let made = |id: &LayerId| jiff::Timestamp::try_from(engine.store.made(id)?).ok().map(|time| time.to_string());
    history::set_times(&mut config.history, &ids.iter().map(made).collect::<Vec<_>>());
    config.created = config.history.iter().rev().find_map(|entry| entry.created.clone());
    let image = ImageToWrite { config, layers, tags: request.tags.clone(), annotations: request.annotations.clone() };
    let mut exported = export::digests(&image).map_err(export_error)?;
    for destination in &request.destinations {
        match destination {
            Destination::Store => keep(engine, &ids, &image, &exported)?,
            Destination::Registry => exported = push(&image, output).await?,
            Destination::Oci { dest, directory } => {
                let (dest, directory) = (dest.clone(), *directory);
                let write = move |image: &ImageToWrite| match directory {
                    true => export::oci_layout(image, &dest),
                    false => export::oci_archive(image, &dest),
                };
                exported = blocking(&image, write).await?;
            }
            Destination::Docker { dest } => {
                let dest = dest.clone();
                exported = blocking(&image, move |image| export::docker_archive(image, &dest)).await?;
            }
            Destination::Daemon => exported = load(&image).await?,
            Destination::Tar { dest } => {
                let stack = engine.stack(&request.at)?;
                write_tar(engine, Task::Tar { stack, epoch: engine.settings.epoch }, dest).await?;
            }
            Destination::Local { dest } => {
                let into = std::path::absolute(dest).map_err(|error| at(dest, error))?;
                std::fs::create_dir_all(&into).map_err(|error| at(dest, error))?;
                let stack = engine.stack(&request.at)?;
                engine.finish(Task::Local { stack, into, epoch: engine.settings.epoch }).await?;
            }
        }
    }
    Ok(exported)
}

/// Into the Docker Engine that this machine's client talks to.
async fn load(image: &ImageToWrite) -> Result<Exported, EngineError> {
    let file = tempfile::NamedTempFile::new();
    let file = file.map_err(|error| EngineError::new(format!("no temporary file can be made: {error}")))?;
    let path = file.path().to_owned();
    let exported = blocking(image, move |image| export::docker_archive(image, &path)).await?;
    daemon::load(file.path(), &Surroundings::from_environment()).await?;
    Ok(exported)
}

/// Into the registry, under every tag.
async fn push(image: &ImageToWrite, output: &Output) -> Result<Exported, EngineError> {
    let mut exported = None;
    for tag in &image.tags {
        let reference: Reference =
            tag.parse().map_err(|error: reference::ParseReferenceError| EngineError::new(error.to_string()))?;
        let said = output.clone();
        let what = format!("pushing {reference}");
        let progress = move |done, total| {
            let _ = said.0.try_send(OutputEvent::Progress { what: what.clone(), done, total });
        };
        let surroundings = Surroundings::from_environment();
        let pushed = image::push::push(image, &reference, &surroundings, &progress).await;
        exported = Some(pushed?);
    }
    exported.ok_or_else(|| EngineError::new("an image is pushed under a name: give it one with -t"))
}

pub(super) async fn say_packing(output: &Output, index: usize, count: usize) {
    let what = format!("layer {} of {count}", index + 1);
    let _ = output.0.send(OutputEvent::Progress { what, done: 0, total: 0 }).await;
}

async fn blocking(
    image: &ImageToWrite,
    write: impl FnOnce(&ImageToWrite) -> Result<Exported, export::ExportError> + Send + 'static,
) -> Result<Exported, EngineError> {
    let image = image.clone();
    let work = move || write(&image).map_err(|error| with_layers_mended(error, &image.layers));
    tokio::task::spawn_blocking(work).await.map_err(|error| EngineError::new(error.to_string()))?
}

/// Where a layer's archive is damaged, all that are so go, and the next build makes them anew.
fn with_layers_mended(error: export::ExportError, layers: &[LayerToWrite]) -> EngineError {
    let told = export_error(error);
    let is_damaged = |layer: &LayerToWrite| {
        let measured = export::layer_of_file(layer.diff_id.clone(), &layer.path);
        measured.is_ok_and(|it| it.digest != layer.digest)
    };
    let damaged = layers.iter().filter(|layer| is_damaged(layer));
    let gone = damaged.filter(|layer| std::fs::remove_file(&layer.path).is_ok()).count();
    if gone == 0 { told } else { told.with_help("what is damaged is gone now: the same build makes it anew") }
}

fn export_error(error: export::ExportError) -> EngineError {
    EngineError::new(error.to_string())
}

fn at(path: &Path, error: std::io::Error) -> EngineError {
    EngineError::new(format!("cannot write {}: {error}", path.display()))
}

/// A layer under the compression that is wanted, in a file that lasts as long as this program runs.
async fn recompressed(engine: &Embedded, layer: LayerToWrite, packing: Packing) -> Result<LayerToWrite, EngineError> {
    let into = engine.store.scratch().map_err(store_error)?.join("blob");
    let work = move || {
        recompress(layer.clone(), packing, &into)
            .map_err(|error| with_layers_mended(error, std::slice::from_ref(&layer)))
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| EngineError::new(error.to_string()))?
}

/// The archive of a layer: as it came, or packed now, or packed before; and whether it was made here.
pub(super) async fn pack(engine: &Embedded, id: &LayerId) -> Result<(LayerToWrite, bool), EngineError> {
    let came_as = id.diff_id();
    let at_all_times = engine.settings.epoch.is_none();
    if let Some(layer) = remembered(engine, id) {
        let ours = came_as.as_ref() != Some(&layer.diff_id);
        if !ours || at_all_times {
            return Ok((layer, ours));
        }
    }
    if let Some(diff_id) = came_as
        && let Some(layer) = as_it_came(engine, diff_id).await
    {
        remember(engine, id, &layer);
        return Ok((layer, false));
    }
    let into = engine.store.scratch().map_err(store_error)?.join("blob");
    let task = Task::Pack {
        layer: engine.store.layer_dir(id),
        into: into.clone(),
        compression: Compression::Gzip,
        epoch: engine.settings.epoch,
    };
    let archive = match engine.finish(task).await? {
        Some(Report::Archive(archive)) => archive,
        _ => return Err(EngineError::new("the engine process packed no layer")),
    };
    let parse = |text: &str| text.parse::<Digest>().map_err(|error| EngineError::new(error.to_string()));
    let diff_id = parse(&archive.diff_id)?;
    let path = engine.store.blob(&diff_id);
    let layer = LayerToWrite { digest: parse(&archive.digest)?, size: archive.size, diff_id, path };
    std::fs::rename(&into, &layer.path).map_err(|error| at(&layer.path, error))?;
    if at_all_times {
        remember(engine, id, &layer);
    }
    Ok((layer, true))
}

/// What is known of the archive that the store has of a layer.
#[derive(Serialize, Deserialize)]
struct Packed {
    diff_id: Digest,
    digest: Digest,
    size: u64,
}

/// The archive, if it still has its size. Its digest is checked as it is written out.
fn remembered(engine: &Embedded, id: &LayerId) -> Option<LayerToWrite> {
    let Packed { diff_id, digest, size } = engine.store.kept(&format!("packed/{}", id.as_str()))?;
    let path = engine.store.blob(&diff_id);
    let whole = path.metadata().is_ok_and(|it| it.len() == size);
    whole.then_some(LayerToWrite { diff_id, digest, size, path })
}

/// Where it cannot be written, the layer is measured or packed again next time.
pub(super) fn remember(engine: &Embedded, id: &LayerId, layer: &LayerToWrite) {
    let packed = Packed { diff_id: layer.diff_id.clone(), digest: layer.digest.clone(), size: layer.size };
    let _ = std::fs::create_dir_all(engine.store.other("packed"));
    let _ = engine.store.keep(&format!("packed/{}", id.as_str()), &packed);
}

/// An archive that came with an image, unless it is damaged.
async fn as_it_came(engine: &Embedded, diff_id: Digest) -> Option<LayerToWrite> {
    let path = engine.store.blob(&diff_id);
    let read = tokio::task::spawn_blocking(move || export::layer_of_archive(&path)).await;
    read.ok()?.ok().filter(|layer| layer.diff_id == diff_id)
}

/// Under each tag, in the local store.
fn keep(engine: &Embedded, ids: &[LayerId], image: &ImageToWrite, exported: &Exported) -> Result<(), EngineError> {
    let layers = ids.iter().zip(&image.layers).map(|(id, layer)| ImageLayer {
        layer: id.clone(),
        diff_id: layer.diff_id.clone(),
        digest: layer.digest.clone(),
        size: layer.size,
    });
    let layers: Vec<ImageLayer> = layers.collect();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    for tag in &image.tags {
        let record = ImageRecord {
            name: reference::normalized(tag),
            manifest: exported.manifest.clone(),
            config: serde_json::to_string(&image.config).unwrap_or_default(),
            layers: layers.clone(),
            origin: "built here".to_owned(),
            stored: now.as_ref().map_or(0, |it| it.as_secs()),
        };
        engine.store.put_image(&record).map_err(store_error)?;
    }
    Ok(())
}

/// A failed export leaves no half archive; `-` is standard output.
async fn write_tar(engine: &Embedded, task: Task, dest: &Path) -> Result<(), EngineError> {
    let failed = |error| at(dest, error);
    let (file, whole) = if dest == Path::new("-") {
        (rustix::io::dup(rustix::stdio::stdout()).map_err(|error| failed(error.into()))?, None)
    } else {
        let whole = WholeFile::create(dest).map_err(failed)?;
        (OwnedFd::from(whole.file.try_clone().map_err(failed)?), Some(whole))
    };
    let mut handle = engine.launcher.task(task, vec![file]);
    while let Some((report, _)) = handle.next().await {
        match report {
            Report::Failed(error) => return Err(error.into()),
            Report::Done => return whole.map_or(Ok(()), WholeFile::finish).map_err(failed),
            _ => {}
        }
    }
    Err(EngineError::new("the engine process ended while it wrote the archive"))
}
