//! The handle that front ends hold: commands in, questions answered, one stream of events out.

use super::{Command, Log, Position, Side, trace};
use crate::engine::{
    Annotations, Destination, Engine, EngineError, ExportRequest, Exported, Output, Packing, Shell, ShellRequest,
};
use crate::image::config::ImageConfig;
use crate::layers::{FileTree, Layer};
use crate::plan::{Options, Plan, StepId};
use crate::snapshot::SnapshotId;
use bstr::BString;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// A session that runs. Clones speak to the same one; it ends when the last is dropped, or on
/// [`Command::Quit`].
#[derive(Clone)]
pub struct Session {
    mailbox: mpsc::UnboundedSender<Message>,
    engine: Arc<dyn Engine>,
}

/// Where a shell is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShellPlace {
    pub position: Position,
    /// `Before`: as the next instruction would find things, a RUN with its mounts and variables. `After`: as
    /// the previous instruction left them. `Failed`: on the file system that the next instruction left when
    /// it failed.
    pub side: Side,
}

/// What a handle puts into the actor's mailbox.
pub(super) enum Message {
    Command(Command),
    Shell {
        place: ShellPlace,
        reply: oneshot::Sender<Result<ShellRequest, EngineError>>,
    },
    /// Where a shell may be asked for beside the stop.
    Look(Option<ShellPlace>),
    Log {
        step: StepId,
        reply: oneshot::Sender<Log>,
    },
    /// The finished target: its file system and its configuration.
    Image {
        created: Option<String>,
        reply: oneshot::Sender<Result<Built, EngineError>>,
    },
}

/// A finished target.
#[derive(Debug, Clone)]
pub struct Built {
    pub at: SnapshotId,
    pub config: ImageConfig,
    /// The plan that was carried out, and what it was made from besides the file.
    pub plan: Arc<Plan>,
    pub options: Options,
}

/// What is wanted of a finished build.
#[derive(Debug, Clone, Default)]
pub struct Export {
    /// References that the image gets in the local store and in archives.
    pub tags: Vec<String>,
    pub destinations: Vec<Destination>,
    /// RFC 3339: the time of all new history entries. Without one each has the time that its instruction was run at.
    pub created: Option<String>,
    pub packing: Packing,
    pub annotations: Annotations,
    /// As in [`ExportRequest`].
    pub attributes: BTreeMap<String, String>,
    pub platforms: Vec<String>,
}

impl Session {
    pub(super) fn new(engine: Arc<dyn Engine>) -> (Session, mpsc::UnboundedReceiver<Message>) {
        let (mailbox, messages) = mpsc::unbounded_channel();
        (Session { mailbox, engine }, messages)
    }

    /// Never waits. After the session's end it does nothing.
    pub fn send(&self, command: Command) {
        let _ = self.mailbox.send(Message::Command(command));
    }

    pub async fn tree(&self, at: &SnapshotId) -> Result<Arc<FileTree>, EngineError> {
        self.engine.tree(at).await
    }

    /// The layers a snapshot is made of, bottom first.
    pub async fn layers(&self, at: &SnapshotId) -> Result<Vec<Arc<Layer>>, EngineError> {
        self.engine.layers(at).await
    }

    /// What it takes to follow files back through the build; `snapshots` has the file system after each step that is
    /// done.
    pub async fn trace(
        &self,
        plan: Arc<Plan>,
        snapshots: &BTreeMap<StepId, SnapshotId>,
    ) -> Result<trace::Facts, EngineError> {
        trace::gather(self.engine.as_ref(), plan, snapshots).await
    }

    /// At most `limit` bytes of a regular file, from `offset`.
    pub async fn read(
        &self,
        at: &SnapshotId,
        path: &BString,
        offset: u64,
        limit: usize,
    ) -> Result<Vec<u8>, EngineError> {
        self.engine.read(at, path, offset, limit).await
    }

    /// Says where the user looks beside the stop, so that a shell can be ready there too. Never waits.
    pub fn look(&self, at: Option<ShellPlace>) {
        let _ = self.mailbox.send(Message::Look(at));
    }

    /// A shell with exactly the user, directory, environment and mounts of its place. `size` is columns and
    /// rows; `None` runs without a terminal. At its end it is told what it has changed.
    pub async fn shell(&self, at: ShellPlace, size: Option<(u16, u16)>) -> Result<Shell, EngineError> {
        self.open(at, Vec::new(), size, true).await
    }

    /// The same for one command, or a shell if there are no words; what it changes need not be told.
    pub async fn command(
        &self,
        at: ShellPlace,
        argv: Vec<String>,
        size: Option<(u16, u16)>,
    ) -> Result<Shell, EngineError> {
        self.open(at, argv, size, false).await
    }

    async fn open(
        &self,
        at: ShellPlace,
        argv: Vec<String>,
        size: Option<(u16, u16)>,
        watch: bool,
    ) -> Result<Shell, EngineError> {
        let mut request = self.ask(|reply| Message::Shell { place: at, reply }).await??;
        request.run.argv = argv;
        self.engine.shell(ShellRequest { size, watch, ..request }).await
    }

    /// What a step has written so far, within the bounds that are kept. Empty for a step that has not run.
    pub async fn log(&self, step: StepId) -> Log {
        self.ask(|reply| Message::Log { step, reply }).await.unwrap_or_default()
    }

    /// Writes the finished target out. An error says so if the target is not built yet.
    pub async fn export(&self, wanted: Export, output: &Output) -> Result<Exported, EngineError> {
        let Export { tags, destinations, created, packing, annotations, attributes, platforms } = wanted;
        let Built { at, config, plan, .. } = self.ask(|reply| Message::Image { created, reply }).await??;
        let plan = Some(plan);
        let request =
            ExportRequest { at, config, plan, tags, destinations, packing, annotations, attributes, platforms };
        self.engine.export(request, output).await
    }

    /// The finished target, its configuration without times. An error says so if the target is not built yet.
    pub async fn image(&self) -> Result<Built, EngineError> {
        self.ask(|reply| Message::Image { created: None, reply }).await?
    }

    /// Drops what this session made, bases excepted (`--force-rm`). To be called when nothing runs.
    pub async fn discard(&self) -> Result<(), EngineError> {
        self.engine.discard().await
    }

    async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T, EngineError> {
        let (reply, answer) = oneshot::channel();
        let _ = self.mailbox.send(message(reply));
        answer.await.map_err(|_| EngineError::new("the session has ended"))
    }
}
