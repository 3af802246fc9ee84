//! Images and file systems, written out.

use super::engine::{Embedded, store_error};
use super::task::{Archive, Compression, Report, Task};
use crate::engine::{Destination, EngineError, ExportRequest, Exported, Output, OutputEvent};
use crate::image::digest::Digest;
use crate::image::export::{self, ImageToWrite, LayerToWrite};
use crate::image::recompress::{Packing, recompress};
use crate::image::reference::{self, Reference};
use crate::image::source::Surroundings;
use crate::image::{self, daemon, history};
use crate::snapshot::store::{ImageLayer, ImageRecord, LayerId};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

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
                let (image, dest, directory) = (image.clone(), dest.clone(), *directory);
                let write = move || match directory {
                    true => export::oci_layout(&image, &dest),
                    false => export::oci_archive(&image, &dest),
                };
                exported = blocking(write).await?;
            }
            Destination::Docker { dest } => {
                let (image, dest) = (image.clone(), dest.clone());
                exported = blocking(move || export::docker_archive(&image, &dest)).await?;
            }
            Destination::Daemon => exported = load(image.clone()).await?,
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
async fn load(image: ImageToWrite) -> Result<Exported, EngineError> {
    let file = tempfile::NamedTempFile::new();
    let file = file.map_err(|error| EngineError::new(format!("no temporary file can be made: {error}")))?;
    let path = file.path().to_owned();
    let exported = blocking(move || export::docker_archive(&image, &path)).await?;
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
    write: impl FnOnce() -> Result<Exported, export::ExportError> + Send + 'static,
) -> Result<Exported, EngineError> {
    let written = tokio::task::spawn_blocking(write).await;
    written.map_err(|error| EngineError::new(error.to_string()))?.map_err(export_error)
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
    let done = tokio::task::spawn_blocking(move || recompress(layer, packing, &into)).await;
    done.map_err(|error| EngineError::new(error.to_string()))?.map_err(export_error)
}

/// The archive of a layer: as it came, or packed now, or packed before; and whether it was made here.
pub(super) async fn pack(engine: &Embedded, id: &LayerId) -> Result<(LayerToWrite, bool), EngineError> {
    if let Some(diff_id) = id.diff_id() {
        let path = engine.store.blob(&diff_id);
        if path.exists() {
            return Ok((blocking_layer(diff_id, path).await?, false));
        }
    }
    let known = engine.store.other("packed").join(id.as_str());
    if let Some(layer) = packed_before(engine, &known) {
        return Ok((layer, true));
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
    let layer = to_write(engine, &archive)?;
    std::fs::rename(&into, &layer.path).map_err(|error| at(&layer.path, error))?;
    // Only a memory of what was packed: where it cannot be written, the layer is packed again next time.
    let _ = std::fs::create_dir_all(known.parent().unwrap_or(Path::new(".")));
    let _ = std::fs::write(&known, serde_json::to_vec(&archive).unwrap_or_default());
    Ok((layer, true))
}

async fn blocking_layer(diff_id: Digest, path: PathBuf) -> Result<LayerToWrite, EngineError> {
    let read = tokio::task::spawn_blocking(move || export::layer_of_file(diff_id, &path)).await;
    read.map_err(|error| EngineError::new(error.to_string()))?.map_err(export_error)
}

fn packed_before(engine: &Embedded, known: &Path) -> Option<LayerToWrite> {
    if engine.settings.epoch.is_some() {
        return None;
    }
    let archive: Archive = serde_json::from_slice(&std::fs::read(known).ok()?).ok()?;
    let layer = to_write(engine, &archive).ok()?;
    (std::fs::metadata(&layer.path).ok()?.len() == layer.size).then_some(layer)
}

fn to_write(engine: &Embedded, archive: &Archive) -> Result<LayerToWrite, EngineError> {
    let parse = |text: &str| text.parse::<Digest>().map_err(|error| EngineError::new(error.to_string()));
    let diff_id = parse(&archive.diff_id)?;
    let path = engine.store.blob(&diff_id);
    Ok(LayerToWrite { digest: parse(&archive.digest)?, size: archive.size, diff_id, path })
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

/// Through a temporary file beside it, so that a failed export leaves no half archive; `-` is standard output.
async fn write_tar(engine: &Embedded, task: Task, dest: &Path) -> Result<(), EngineError> {
    let (file, temporary) = if dest == Path::new("-") {
        let stdout = rustix::io::dup(rustix::stdio::stdout()).map_err(|error| at(dest, error.into()))?;
        (stdout, None)
    } else {
        let dir = dest.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let temporary = tempfile::NamedTempFile::new_in(dir).map_err(|error| at(dest, error))?;
        let file: File = temporary.reopen().map_err(|error| at(dest, error))?;
        (OwnedFd::from(file), Some(temporary))
    };
    let mut handle = engine.launcher.task(task, vec![file]);
    while let Some((report, _)) = handle.next().await {
        match report {
            Report::Failed(error) => return Err(error.into()),
            Report::Done => {
                if let Some(temporary) = temporary {
                    temporary.persist(dest).map_err(|error| at(dest, error.error))?;
                }
                return Ok(());
            }
            _ => {}
        }
    }
    Err(EngineError::new("the engine process ended while it wrote the archive"))
}
