//! The engine as the session sees it: one method of [`Engine`] after the other, each a few lines over the part
//! that does it.

use super::bound::Copies;
use super::images::Images;
use super::launcher::{Launcher, Start};
use super::namespaces::Mode;
use super::task::{Report, Stack, Task};
use super::{expected, exports, shells, steps};
use crate::engine::settings::Settings;
use crate::engine::{
    Capabilities, Engine, EngineError, ExportRequest, Exported, Job, Output, ResolvedImage, Shell, ShellRequest,
    StepError, StepOutcome,
};
use crate::image::config::ImageConfig;
use crate::image::digest::Digest;
use crate::image::source::Opened;
use crate::layers::{FileTree, Layer};
use crate::plan::{FileOrigin, Plan};
use crate::snapshot::SnapshotId;
use crate::snapshot::image_records::ImageRecord;
use crate::snapshot::store::{Store, StoreError};
use async_trait::async_trait;
use bstr::BString;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

pub struct Embedded {
    pub(super) settings: Settings,
    pub(super) launcher: Arc<Launcher>,
    pub(super) store: Arc<Store>,
    pub(super) images: Arc<Images>,
    /// One lock a cache key, so that two stages that begin alike run their common steps once.
    pub(super) running: Arc<Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>>,
    pub(super) toolbox: Arc<tokio::sync::OnceCell<PathBuf>>,
    pub(super) bound: Arc<Copies>,
    capabilities: Capabilities,
}

impl Embedded {
    /// Starts the engine process and opens the store of its mode.
    pub async fn start(settings: Settings) -> Result<Embedded, EngineError> {
        let start = Start {
            program: settings.program.clone(),
            place: settings.store.join("mounts"),
            only: None,
            old_overlay: false,
        };
        let launcher = match expected::read(&settings.store) {
            Some((mode, limits)) => {
                let store = settings.store.clone();
                Launcher::expect(start, mode, limits, move || expected::forget(&store))
            }
            None => {
                let launcher = Launcher::start(&start).await?;
                expected::keep(&settings.store, launcher.mode(), launcher.limits());
                launcher
            }
        };
        let launcher = Arc::new(launcher);
        let capabilities = Capabilities {
            engine: "embedded".to_owned(),
            mode: launcher.mode().describe().to_owned(),
            limits: launcher.limits().to_vec(),
            one_user: launcher.mode() == Mode::Single,
        };
        let mode = match launcher.mode() {
            Mode::Root => "root",
            Mode::Subuid => "subuid",
            Mode::Single => "single",
        };
        let (store, leftovers) = Store::open(&settings.store, mode).map_err(store_error)?;
        let engine = Embedded {
            images: Arc::default(),
            running: Arc::default(),
            toolbox: Arc::default(),
            bound: Arc::default(),
            store: Arc::new(store),
            settings,
            launcher,
            capabilities,
        };
        engine.remove_later(leftovers);
        Ok(engine)
    }

    /// The images that the store has.
    pub fn images(&self) -> Vec<ImageRecord> {
        self.store.images()
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Brings what was made to the disk, so that the next session finds it.
    pub async fn save(&self) -> Result<(), EngineError> {
        let store = self.store.clone();
        let saved = tokio::task::spawn_blocking(move || store.save()).await;
        saved.map_err(|error| EngineError::new(error.to_string()))?.map_err(store_error)
    }

    /// Drops the results of steps, and with `all` images and cache mounts too. Answers with the bytes freed; `None` where
    /// another process uses the store.
    pub async fn prune(&self, all: bool) -> Result<Option<u64>, EngineError> {
        let Some(pruned) = self.store.prune(all).map_err(store_error)? else { return Ok(None) };
        self.remove(pruned.gone).await?;
        Ok(Some(pruned.bytes))
    }

    /// Removes directories whose files may belong to any mapped user.
    async fn remove(&self, dirs: Vec<PathBuf>) -> Result<(), EngineError> {
        if dirs.is_empty() {
            return Ok(());
        }
        self.finish(Task::Remove { dirs }).await.map(drop)
    }

    /// The same without waiting; what is not done when the process ends, the next start does.
    pub(super) fn remove_later(&self, dirs: Vec<PathBuf>) {
        if dirs.is_empty() {
            return;
        }
        let launcher = self.launcher.clone();
        tokio::spawn(async move {
            let mut handle = launcher.task(Task::Remove { dirs }, Vec::new());
            while handle.next().await.is_some() {}
        });
    }

    pub(super) fn stack(&self, at: &SnapshotId) -> Result<Stack, EngineError> {
        let layers = self.store.layers(at).map_err(store_error)?;
        Ok(Stack { lower: layers.iter().map(|id| self.store.layer_dir(id)).collect() })
    }

    /// Runs a short task to its end and answers with what it reported last before it.
    pub(super) async fn finish(&self, task: Task) -> Result<Option<Report>, EngineError> {
        let mut handle = self.launcher.task(task, Vec::new());
        let mut last = None;
        while let Some((report, _)) = handle.next().await {
            match report {
                Report::Done => return Ok(last),
                Report::Failed(error) => return Err(error.into()),
                report => last = Some(report),
            }
        }
        Err(EngineError::new("the engine process ended before its task"))
    }

    pub(super) fn key_lock(&self, key: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, lock| Arc::strong_count(lock) > 1);
        running.entry(key.clone()).or_default().clone()
    }
}

#[async_trait]
impl Engine for Embedded {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn on(&self, platform: &str) -> Result<Arc<dyn Engine>, EngineError> {
        Ok(Arc::new(Embedded {
            settings: Settings { platform: platform.to_owned(), ..self.settings.clone() },
            launcher: self.launcher.clone(),
            store: self.store.clone(),
            images: self.images.clone(),
            running: self.running.clone(),
            toolbox: self.toolbox.clone(),
            bound: self.bound.clone(),
            capabilities: self.capabilities.clone(),
        }))
    }

    async fn resolve(&self, image: &str, output: &Output) -> Result<ResolvedImage, EngineError> {
        self.resolve_image(image, output).await
    }

    async fn run(&self, job: Job, output: &Output, cancel: &CancellationToken) -> Result<StepOutcome, StepError> {
        tokio::select! {
            // Dropping a step's future kills its task.
            () = cancel.cancelled() => Err(steps::cancelled()),
            outcome = steps::run(self, job, output) => outcome,
        }
    }

    async fn tree(&self, at: &SnapshotId) -> Result<Arc<FileTree>, EngineError> {
        let layers = self.layers(at).await?;
        let merged = tokio::task::spawn_blocking(move || FileTree::merge(&layers)).await;
        merged.map(Arc::new).map_err(|error| EngineError::new(error.to_string()))
    }

    async fn layers(&self, at: &SnapshotId) -> Result<Vec<Arc<Layer>>, EngineError> {
        let (store, at) = (self.store.clone(), at.clone());
        let read = move || store.layers(&at)?.iter().map(|id| store.entries(id)).collect::<Result<Vec<_>, _>>();
        let layers = tokio::task::spawn_blocking(read).await;
        layers.map_err(|error| EngineError::new(error.to_string()))?.map_err(store_error)
    }

    async fn origin(&self, origin: &FileOrigin) -> Result<Arc<FileTree>, EngineError> {
        super::origin::tree(self, origin).await
    }

    async fn read(&self, at: &SnapshotId, path: &BString, offset: u64, limit: usize) -> Result<Vec<u8>, EngineError> {
        let task = Task::Read { stack: self.stack(at)?, path: path.clone(), offset, limit };
        match self.finish(task).await? {
            Some(Report::Bytes(bytes)) => Ok(bytes),
            _ => Err(EngineError::new("the engine process gave no answer")),
        }
    }

    async fn shell(&self, request: ShellRequest) -> Result<Shell, EngineError> {
        shells::start(self, request).await
    }

    async fn export(&self, request: ExportRequest, output: &Output) -> Result<Exported, EngineError> {
        exports::export(self, request, output).await
    }

    async fn discard(&self) -> Result<(), EngineError> {
        let gone = self.store.forget_made();
        self.remove(gone).await
    }

    async fn open_image(
        &self,
        name: &str,
        at: &SnapshotId,
        config: ImageConfig,
        _: &Arc<Plan>,
        _: &Path,
        output: &Output,
    ) -> Result<Opened, EngineError> {
        self.opened(name, at, config, output).await
    }

    async fn close(&self) -> Result<(), EngineError> {
        self.remove(self.bound.give_up().await).await?;
        self.save().await
    }
}

pub(super) fn store_error(error: StoreError) -> EngineError {
    let mut message = error.to_string();
    let mut help = Vec::new();
    if error.is_full() {
        message = format!("No space left on device: {message}");
        help.push("free some space with `stagedive prune`, or put the store elsewhere with --root DIR".to_owned());
    }
    EngineError { message, help, ..EngineError::default() }
}
