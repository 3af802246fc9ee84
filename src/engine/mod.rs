//! An engine runs one step. The session (`debug`) decides which, and when.
//!
//! May import `plan`, `snapshot`, `image`, `layers`, `names` and the pure rules of `dockerfile`.
//!
//! Invariant: what an engine cannot do is a capability that the interface shows, never a silent difference.

pub(crate) mod authorization;
pub mod buildkit;
pub mod copied;
pub(crate) mod download;
#[cfg(target_os = "linux")]
pub mod embedded;
#[cfg(not(target_os = "linux"))]
#[path = "no_embedded.rs"]
pub mod embedded;
pub(crate) mod git;
pub mod scripted;
pub mod settings;
mod shells;
pub mod side;

use crate::image::config::ImageConfig;
use crate::image::digest::Digest;
pub use crate::image::export::{Annotations, Exported};
pub use crate::image::recompress::Packing;
use crate::image::source::{self, Opened, SourceError};
use crate::layers::{FileTree, Layer};
use crate::plan::{FileOrigin, Options, Plan, Run, Step, StepId};
use crate::snapshot::SnapshotId;
use async_trait::async_trait;
use bstr::BString;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

#[async_trait]
pub trait Engine: Send + Sync + 'static {
    fn capabilities(&self) -> &Capabilities;

    /// The same engine for another platform: the connection, the process and the store are shared, where it has them.
    async fn on(&self, platform: &str) -> Result<Arc<dyn Engine>, EngineError>;

    /// Finds out what a base image is, without its layers: named contexts first, then the local store, then
    /// the image's own transport. Answers from memory when asked again.
    async fn resolve(&self, image: &str, output: &Output) -> Result<ResolvedImage, EngineError>;

    /// Told of a plan before any of its steps runs. An engine that has its own way to read a Dockerfile does that
    /// here, and what it refuses is an error of the plan.
    async fn prepare(&self, plan: &Arc<Plan>, options: &Options, output: &Output) -> Result<(), EngineError> {
        let _ = (plan, options, output);
        Ok(())
    }

    /// Runs one step on its stage's file system and on what it reads besides, in the order of `step.inputs`.
    /// For `Op::From` of a stage, `parent` is that stage's last snapshot; of an image or scratch it is `None`.
    async fn run(&self, job: Job, output: &Output, cancel: &CancellationToken) -> Result<StepOutcome, StepError>;

    /// The merged file system at a snapshot.
    async fn tree(&self, at: &SnapshotId) -> Result<Arc<FileTree>, EngineError>;

    /// The layers a snapshot is made of, bottom first.
    async fn layers(&self, at: &SnapshotId) -> Result<Vec<Arc<Layer>>, EngineError>;

    /// The files of a context, as its ignore file leaves them, or of an image that a step copies from; those of a
    /// stage are in its snapshots. Contents are not read.
    async fn origin(&self, origin: &FileOrigin) -> Result<Arc<FileTree>, EngineError> {
        let message =
            format!("the {} engine does not list what an instruction copies from", self.capabilities().engine);
        let _ = origin;
        Err(EngineError::new(message))
    }

    /// What the step that made a snapshot changed, for an engine whose outcomes leave it open. It may have to list
    /// many files for it, and answers from memory when asked again.
    async fn changes(&self, at: &SnapshotId) -> Result<ChangeSummary, EngineError> {
        let message = format!("the {} engine has counted what {at} changed", self.capabilities().engine);
        Err(EngineError::new(message))
    }

    /// At most `limit` bytes of a regular file, from `offset`. Symbolic links are followed inside the root.
    async fn read(&self, at: &SnapshotId, path: &BString, offset: u64, limit: usize) -> Result<Vec<u8>, EngineError>;

    /// Starts a process in a terminal on a scratch layer over a snapshot.
    async fn shell(&self, request: ShellRequest) -> Result<Shell, EngineError>;

    /// Told where a shell is likely to be asked for. An engine that takes long to open one may have something ready for
    /// it, as long as this is waited for; it need not end.
    async fn expect_shell(&self, request: ShellRequest) {
        let _ = request;
    }

    /// Writes an image or a file system out.
    async fn export(&self, request: ExportRequest, output: &Output) -> Result<Exported, EngineError>;

    /// A finished image, open to be analysed layer by layer. It may be put into `dir`, an empty directory that its owner
    /// keeps as long as the image is looked at.
    async fn open_image(
        &self,
        name: &str,
        at: &SnapshotId,
        config: ImageConfig,
        plan: &Arc<Plan>,
        dir: &Path,
        output: &Output,
    ) -> Result<Opened, EngineError> {
        let platform = [&config.os, &config.architecture, &config.variant].map(String::as_str);
        let platform = platform.into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join("/");
        let request = |destination| ExportRequest {
            at: at.clone(),
            config: config.clone(),
            plan: Some(plan.clone()),
            tags: Vec::new(),
            destinations: vec![destination],
            packing: Packing::default(),
            annotations: Annotations::default(),
            attributes: BTreeMap::new(),
            platforms: Vec::new(),
        };
        let (layout, archive) = (dir.join("layout"), dir.join("image.tar"));
        let whole = Destination::Oci { dest: layout.clone(), directory: true };
        let source = match self.export(request(whole), output).await {
            Ok(_) => format!("oci:{}", layout.display()),
            Err(error) if error.kind == EngineErrorKind::Lost => return Err(error),
            // An old Docker Engine writes its own form alone.
            Err(error) => {
                let docker = Destination::Docker { dest: archive.clone() };
                self.export(request(docker), output).await.map_err(|_| error)?;
                format!("docker-archive:{}", archive.display())
            }
        };
        let opened = source::open(&source, &platform).await?;
        Ok(Opened { name: name.to_owned(), origin: format!("built by {}", self.capabilities().mode), ..opened })
    }

    /// Drops the snapshots and layers that this engine made since it was started (`--force-rm`); bases stay.
    async fn discard(&self) -> Result<(), EngineError>;

    /// To be called at the end: what is worth keeping is brought to the disk, and what is open is closed.
    async fn close(&self) -> Result<(), EngineError> {
        Ok(())
    }
}

/// What an engine can do here, and how it says what it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// For the header line: `embedded`, `docker`.
    pub engine: String,
    /// How it runs: `root`, `rootless`, `rootless, one uid`.
    pub mode: String,
    /// What is not as it would be in Docker, in words, one sentence each.
    pub limits: Vec<String>,
    /// There is one user, and it is root, whatever USER says.
    pub one_user: bool,
}

#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// As asked for.
    pub name: String,
    /// The manifest's digest where there is one.
    pub digest: Option<Digest>,
    pub config: ImageConfig,
    /// Where it came from, in words: `registry`, `oci-layout DIR`, `local store`.
    pub origin: String,
}

/// One step with the file systems it works on.
#[derive(Debug, Clone)]
pub struct Job {
    /// The plan that the step belongs to, as it was given to [`Engine::prepare`].
    pub plan: Arc<Plan>,
    pub step: Arc<Step>,
    pub parent: Option<SnapshotId>,
    /// One for each of `step.inputs`; `None` where the input is a context, or an image for the engine to get.
    pub inputs: Vec<Option<SnapshotId>>,
    /// Do not look for an earlier result.
    pub no_cache: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepOutcome {
    pub snapshot: SnapshotId,
    pub cached: bool,
    /// Wall time of the run; of the run that was reused, if cached.
    pub duration: Duration,
    /// What the step's own layer changed; zeros when it made none.
    /// `None` from an engine that counts it afterwards, when [`Engine::changes`] asks for it.
    pub changes: Option<ChangeSummary>,
    /// Why it ran although it had run before, a sentence for each part of its cache key that has changed. Empty if
    /// an earlier result was reused, or if none is known.
    pub why: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSummary {
    pub added: u64,
    pub modified: u64,
    pub removed: u64,
    /// Content bytes of the layer's regular files.
    pub bytes: u64,
}

/// Why a step did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct StepError {
    pub kind: StepErrorKind,
    /// What happened, in one sentence.
    pub message: String,
    /// What to do, one line each: nearest paths, how to give a base by file.
    pub help: Vec<String>,
    /// The file system as the failed step left it, if it got as far as having one.
    pub after: Option<SnapshotId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepErrorKind {
    /// The command ended with this code; 128 + signal when it was killed.
    Exit(i32),
    /// A source, base, user or file is not there, or a flag's value does not fit.
    Input,
    Cancelled,
    /// The engine itself: a full disk, no right to do it.
    Engine,
    /// The engine cannot be reached any more.
    Lost,
}

#[derive(Debug, Clone, Default, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    pub kind: EngineErrorKind,
    pub message: String,
    pub help: Vec<String>,
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EngineErrorKind {
    #[default]
    Other,
    /// What is asked for: the Dockerfile, or what an argument makes of it.
    Input,
    /// A base image cannot be had.
    Base,
    /// The engine cannot be reached, or not any more.
    Lost,
}

impl EngineError {
    pub(crate) fn new(message: impl Into<String>) -> EngineError {
        EngineError { message: message.into(), ..EngineError::default() }
    }

    /// With one more line of what to do.
    pub(crate) fn with_help(mut self, line: impl Into<String>) -> EngineError {
        self.help.push(line.into());
        self
    }
}

impl From<SourceError> for EngineError {
    fn from(error: SourceError) -> EngineError {
        EngineError { help: error.help, ..EngineError::new(error.message) }
    }
}

impl From<EngineError> for StepError {
    fn from(error: EngineError) -> StepError {
        let kind = match error.kind {
            EngineErrorKind::Lost => StepErrorKind::Lost,
            _ => StepErrorKind::Engine,
        };
        StepError { kind, message: error.message, help: error.help, after: None }
    }
}

impl From<StepError> for EngineError {
    fn from(error: StepError) -> EngineError {
        let kind = match error.kind {
            StepErrorKind::Exit(_) | StepErrorKind::Input => EngineErrorKind::Input,
            StepErrorKind::Lost => EngineErrorKind::Lost,
            StepErrorKind::Cancelled | StepErrorKind::Engine => EngineErrorKind::Other,
        };
        EngineError { kind, message: error.message, help: error.help }
    }
}

/// Where a step's output and progress go. Sending waits when the reader is slow, so nothing piles up.
#[derive(Debug, Clone)]
pub struct Output(pub mpsc::Sender<OutputEvent>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputEvent {
    /// Bytes as the process wrote them; not safe to print.
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// Some long work: bytes so far of all, `total` 0 when not known. `what` names it: a layer's short digest.
    Progress {
        what: String,
        done: u64,
        total: u64,
    },
    /// Something the user should know, in a sentence.
    Notice(String),
}

/// A shell on a scratch layer.
#[derive(Debug, Clone)]
pub struct ShellRequest {
    pub at: SnapshotId,
    /// User, directory, environment and mounts as the instruction at the cursor has them; `argv` empty means
    /// the best shell there is.
    pub run: Run,
    /// For the mounts in `run`, as in [`Job::inputs`].
    pub inputs: Vec<Option<SnapshotId>>,
    /// The same origins as the step's `inputs`.
    pub origins: Vec<FileOrigin>,
    /// The RUN whose surroundings these are, if it is one's.
    pub instruction: Option<(Arc<Plan>, StepId)>,
    /// Whether it is wanted to know what it changes.
    pub watch: bool,
    /// Columns and rows; `None` runs without a terminal (`stagedive shell … -- CMD` in a pipe).
    pub size: Option<(u16, u16)>,
}

impl ShellRequest {
    /// Whether both ask for the same shell; the terminal's size is the shell's own.
    pub(crate) fn is_like(&self, other: &ShellRequest) -> bool {
        let instruction = match (&self.instruction, &other.instruction) {
            (None, None) => true,
            (Some((one, step)), Some((other, at))) => Arc::ptr_eq(one, other) && step == at,
            _ => false,
        };
        instruction && self.at == other.at && self.run == other.run && self.watch == other.watch
    }
}

/// A running shell. Dropping it ends the process and throws the scratch layer away.
#[derive(Debug)]
pub struct Shell {
    pub input: mpsc::Sender<ShellInput>,
    pub output: mpsc::Receiver<ShellOutput>,
    /// What was started, for the banner: the program, and whether tools were mounted from the host.
    pub program: String,
    pub borrowed_tools: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShellInput {
    Bytes(Vec<u8>),
    Resize(u16, u16),
    Signal(i32),
    /// End of input (without a terminal).
    Eof,
}

#[derive(Debug, Clone)]
pub enum ShellOutput {
    Bytes(Vec<u8>),
    /// Standard error, without a terminal; with one, everything is `Bytes`.
    Stderr(Vec<u8>),
    /// The last message: exit code, and what the session changed, as a layer over the snapshot; `None` where it was not
    /// to be watched, or cannot be told.
    Exited {
        code: i32,
        changes: Option<Arc<Layer>>,
    },
    /// Also a last message: the engine cannot reach the shell any more.
    Lost(EngineError),
}

#[derive(Debug, Clone)]
pub struct ExportRequest {
    pub at: SnapshotId,
    /// The final configuration with its history; `rootfs` is filled in by the engine.
    pub config: ImageConfig,
    /// The plan that it comes from. Without one it is just a file system.
    pub plan: Option<Arc<Plan>>,
    pub tags: Vec<String>,
    pub destinations: Vec<Destination>,
    pub packing: Packing,
    pub annotations: Annotations,
    /// What only a builder's exporters know of, by their names.
    pub attributes: BTreeMap<String, String>,
    /// All platforms of the image, if there are several: each has been built.
    pub platforms: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Destination {
    /// The local store, under the request's tags.
    Store,
    /// A registry, under the request's tags.
    Registry,
    /// The Docker Engine: the builder's, or the one that this machine's client talks to, under the request's tags.
    Daemon,
    /// An OCI layout, as an archive, or as a directory if `directory`.
    Oci { dest: PathBuf, directory: bool },
    /// `docker load` reads it.
    Docker { dest: PathBuf },
    /// The merged file system as one archive; `-` is standard output.
    Tar { dest: PathBuf },
    /// The merged file system as a directory.
    Local { dest: PathBuf },
}
