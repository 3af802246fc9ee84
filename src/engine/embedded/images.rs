//! Base images: found under the names that the Dockerfile gives them, fetched and unpacked once.

use super::engine::{Embedded, store_error};
use super::exports;
use super::task::{Report, Task};
use crate::engine::{EngineError, Output, OutputEvent, ResolvedImage, StepError};
use crate::image::config::ImageConfig;
use crate::image::digest::Digest;
use crate::image::export::LayerToWrite;
use crate::image::host;
use crate::image::reference;
use crate::image::source::{self, LayerBlob, Opened, SourceError, SourceErrorKind, Surroundings, Told};
use crate::names::platform::Platform;
use crate::plan::step::image_and_platform;
use crate::snapshot::SnapshotId;
use crate::snapshot::store::{Draft, ImageLayer, ImageRecord, LayerId};
use futures_util::future::try_join_all;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OnceCell, Semaphore};

/// What has been looked up, by the name asked for and the platform; and each layer that is fetched, once.
pub(super) struct Images {
    opened: Mutex<HashMap<String, Arc<OnceCell<Arc<Base>>>>>,
    layers: Mutex<HashMap<Digest, Arc<OnceCell<()>>>>,
    downloads: Semaphore,
}

/// The source of an image of this machine's programs, and the name under which is kept what it was made of.
const HOST: &str = "host:";
const PACKED_HOST: &str = "host";

/// As many layers at once as Docker downloads.
const PARALLEL_DOWNLOADS: usize = 3;

impl Default for Images {
    fn default() -> Self {
        Images { opened: Mutex::default(), layers: Mutex::default(), downloads: Semaphore::new(PARALLEL_DOWNLOADS) }
    }
}

/// An image that has been looked up.
enum Base {
    Stored(ImageRecord, ImageConfig),
    Opened(Opened),
}

impl Embedded {
    pub(super) async fn resolve_image(&self, name: &str, output: &Output) -> Result<ResolvedImage, EngineError> {
        let base = self.look_up(name, output).await?;
        Ok(match &*base {
            Base::Stored(record, config) => ResolvedImage {
                name: name.to_owned(),
                digest: record.manifest.clone(),
                config: config.clone(),
                origin: format!("local store, from {}", record.origin),
            },
            Base::Opened(opened) => ResolvedImage {
                name: name.to_owned(),
                digest: opened.manifest.clone(),
                config: opened.config.clone(),
                origin: opened.origin.clone(),
            },
        })
    }

    /// The image's file system, its layers fetched and unpacked.
    pub(super) async fn image_snapshot(&self, name: &str, output: &Output) -> Result<SnapshotId, StepError> {
        let base = self.look_up(name, output).await?;
        let layers: Vec<LayerId> = match &*base {
            Base::Stored(record, _) => record.layers.iter().map(|it| it.layer.clone()).collect(),
            Base::Opened(opened) => {
                let gets = (0..opened.layers.len()).map(|index| self.get_layer(opened, index, output));
                let layers = try_join_all(gets).await?;
                self.put_record(name, opened)?;
                layers
            }
        };
        Ok(self.store.snapshot(&layers).map_err(store_error)?)
    }

    /// Fetches an image and unpacks it into the store.
    pub async fn pull(&self, name: &str, output: &Output) -> Result<Option<Digest>, EngineError> {
        self.image_snapshot(name, output).await?;
        Ok(self.resolve_image(name, output).await?.digest)
    }

    /// What the store knows an image by: the source that a `--build-context` gives for the name, or the
    /// normalised reference; with the platform where that is not the machine's.
    pub(super) fn stored_name(&self, image: &str) -> String {
        let (name, platform) = image_and_platform(image);
        let stored = match self.settings.images.get(name) {
            Some(source) => source.clone(),
            None => reference::normalized(name),
        };
        let platform = platform.unwrap_or(&self.settings.platform);
        match platform == Platform::host().to_string() {
            true => stored,
            false => format!("{stored}::{platform}"),
        }
    }

    async fn look_up(&self, name: &str, output: &Output) -> Result<Arc<Base>, EngineError> {
        let (plain, platform) = image_and_platform(name);
        let key = format!("{plain}::{}", platform.unwrap_or(&self.settings.platform));
        let cell = {
            let mut opened = self.images.opened.lock().unwrap_or_else(PoisonError::into_inner);
            opened.entry(key).or_default().clone()
        };
        cell.get_or_try_init(|| self.open(name, output)).await.cloned()
    }

    async fn open(&self, image: &str, output: &Output) -> Result<Arc<Base>, EngineError> {
        let (name, platform) = image_and_platform(image);
        let platform = platform.unwrap_or(&self.settings.platform);
        let named = self.settings.images.get(name);
        // Files change under their names; what a registry names hardly does, and `--pull` asks again.
        let may_be_stored = named.is_none_or(|source| source::is_registry(source)) && !self.settings.pull;
        if may_be_stored
            && let Some(record) = self.store.image(&self.stored_name(image))
            && let Ok(config) = serde_json::from_str(&record.config)
        {
            return Ok(Arc::new(Base::Stored(record, config)));
        }
        let packs_host = named.is_some_and(|source| source == HOST) && platform == Platform::host().to_string();
        if packs_host && let Some(base) = self.packed_host(image) {
            return Ok(Arc::new(base));
        }
        // A name in a Dockerfile is a reference, whatever it looks like.
        let source = named.cloned().unwrap_or_else(|| format!("docker://{name}"));
        let notice = OutputEvent::Progress { what: format!("looking up {source}"), done: 0, total: 0 };
        let _ = output.0.send(notice).await;
        let sender = output.0.clone();
        let told = Told::new(move |done, about| {
            let total = if about >= done { about } else { 0 };
            // A slow screen must not slow the daemon: what does not fit is left out.
            let _ = sender.try_send(OutputEvent::Progress { what: "fetch from the daemon".to_owned(), done, total });
        });
        let scratch = self.store.scratch().map_err(store_error)?;
        let surroundings = Surroundings { scratch, told, ..Surroundings::from_environment() };
        let opened = match packs_host {
            true => self.pack_host(&surroundings.scratch).await,
            false => source::open_in(&source, platform, &surroundings).await,
        };
        let error = match opened {
            Ok(opened) => return Ok(Arc::new(Base::Opened(opened))),
            Err(error) => error,
        };
        // Docker builds on what its engine has; so where there is an engine, its images serve as well.
        if named.is_none()
            && let Ok(opened) = source::open_in(&format!("docker-daemon:{name}"), platform, &surroundings).await
        {
            return Ok(Arc::new(Base::Opened(opened)));
        }
        let mut help = error.help.clone();
        if named.is_none() {
            help.push(format!(
                "give it by file: --build-context {name}=oci-layout://DIR, or {name}=docker-archive:FILE"
            ));
        }
        Err(EngineError { message: format!("cannot get the image {name}: {error}"), help, ..EngineError::default() })
    }

    /// This machine's programs as they were packed before, if nothing that they were made of has changed.
    fn packed_host(&self, image: &str) -> Option<Base> {
        let witness: host::Witness = self.store.kept(PACKED_HOST).filter(host::Witness::holds)?;
        let record = self.store.image(&self.stored_name(image))?;
        let same = record.layers.iter().map(|it| &it.diff_id).eq([&witness.layer]);
        let config = serde_json::from_str(&record.config).ok()?;
        same.then_some(Base::Stored(record, config))
    }

    async fn pack_host(&self, scratch: &Path) -> Result<Opened, SourceError> {
        let scratch = scratch.to_owned();
        let packed = tokio::task::spawn_blocking(move || host::open_witnessed(HOST, &scratch)).await;
        let broken = |error: tokio::task::JoinError| SourceError::new(SourceErrorKind::Io, format!("host: {error}"));
        let (opened, witness) = packed.map_err(broken)??;
        if let Some(witness) = witness {
            // Without it the next session packs again.
            let _ = self.store.keep(PACKED_HOST, &witness);
        }
        Ok(opened)
    }

    async fn get_layer(&self, image: &Opened, index: usize, output: &Output) -> Result<LayerId, StepError> {
        let Some(blob) = image.layers.get(index) else {
            return Err(EngineError::new(format!("{}: layer {index} is not there", image.name)).into());
        };
        let id = LayerId::of_image(&blob.diff_id);
        let cell = {
            let mut layers = self.images.layers.lock().unwrap_or_else(PoisonError::into_inner);
            layers.entry(blob.diff_id.clone()).or_default().clone()
        };
        let fetched = cell.get_or_try_init(|| async {
            match self.store.has_layer(&id) {
                true => Ok(()),
                false => self.fetch_and_unpack(image, index, blob, &id, output).await,
            }
        });
        fetched.await?;
        Ok(id)
    }

    async fn fetch_and_unpack(
        &self,
        image: &Opened,
        index: usize,
        blob: &LayerBlob,
        id: &LayerId,
        output: &Output,
    ) -> Result<(), StepError> {
        let short = short(blob).to_owned();
        let archive = self.store.blob(&blob.diff_id);
        loop {
            let kept = archive.exists();
            if !kept {
                self.fetch(image, index, blob, &archive, output).await?;
            }
            let draft = Draft { dir: self.store.scratch().map_err(store_error)? };
            let diff_id = Some(blob.diff_id.to_string());
            let task = Task::Unpack { blob: archive.clone(), diff_id, into: draft.fs() };
            let unpacked = self.unpack(task, &short, output).await;
            let committed = match unpacked {
                Ok(layer) => Ok(self.store.commit(&draft, Some(id.clone()), layer).map_err(store_error)?),
                Err(error) => Err(error),
            };
            self.remove_later(vec![draft.dir]);
            let Err(error) = committed else { return Ok(()) };
            // It may be the archive that is damaged: one that was here before is got again.
            let _ = std::fs::remove_file(&archive);
            if !kept {
                return Err(error);
            }
        }
    }

    /// The archive of a layer, from where its image is.
    async fn fetch(
        &self,
        image: &Opened,
        index: usize,
        blob: &LayerBlob,
        archive: &Path,
        output: &Output,
    ) -> Result<(), EngineError> {
        let _permit = self.images.downloads.acquire().await;
        let part = self.store.scratch().map_err(store_error)?.join("blob");
        let what = format!("{} fetch", short(blob));
        let report = |done: u64| {
            // A slow screen must not slow the download: what does not fit is left out.
            let _ = output.0.try_send(OutputEvent::Progress { what: what.clone(), done, total: blob.size });
        };
        image.blobs.fetch(index, &part, &report).await.map_err(|error| EngineError {
            message: format!("cannot get a layer of {}: {error}", image.name),
            help: error.help.clone(),
            ..EngineError::default()
        })?;
        let failed = |error: std::io::Error| EngineError::new(format!("{}: {error}", archive.display()));
        let size = part.metadata().map_err(failed)?.len();
        std::fs::rename(&part, archive).map_err(failed)?;
        if let Some(digest) = blob.digest.clone() {
            let (diff_id, path) = (blob.diff_id.clone(), archive.to_owned());
            exports::remember(self, &LayerId::of_image(&diff_id), &LayerToWrite { diff_id, digest, size, path });
        }
        Ok(())
    }

    async fn unpack(&self, task: Task, short: &str, output: &Output) -> Result<crate::layers::Layer, StepError> {
        let mut handle = self.launcher.task(task, Vec::new());
        let mut layer = None;
        while let Some((report, _)) = handle.next().await {
            match report {
                Report::Layer(it) => layer = Some(it),
                Report::Progress { done, total } => {
                    let _ = output.0.try_send(OutputEvent::Progress { what: format!("{short} unpack"), done, total });
                }
                Report::Notice(text) => drop(output.0.send(OutputEvent::Notice(text)).await),
                Report::Failed(error) => return Err(error.into()),
                Report::Done => break,
                _ => {}
            }
        }
        layer.ok_or_else(|| EngineError::new("the engine process ended while it unpacked a layer").into())
    }

    fn put_record(&self, name: &str, image: &Opened) -> Result<(), EngineError> {
        let layers = image.layers.iter().map(|layer| ImageLayer {
            layer: LayerId::of_image(&layer.diff_id),
            digest: layer.digest.clone().unwrap_or_else(|| layer.diff_id.clone()),
            diff_id: layer.diff_id.clone(),
            size: std::fs::metadata(self.store.blob(&layer.diff_id)).map_or(layer.size, |it| it.len()),
        });
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let record = ImageRecord {
            name: self.stored_name(name),
            manifest: image.manifest.clone(),
            config: String::from_utf8_lossy(&image.config_bytes).into_owned(),
            layers: layers.collect(),
            origin: image.origin.clone(),
            stored: now.map_or(0, |it| it.as_secs()),
        };
        self.store.put_image(&record).map_err(store_error)
    }
}

fn short(blob: &LayerBlob) -> &str {
    blob.digest.as_ref().unwrap_or(&blob.diff_id).short()
}
