//! An engine that plays a script instead of running anything: for tests of the session and of the screens, and
//! for lessons.
//!
//! A step without a line in the script succeeds at once and changes nothing.

use super::{
    Capabilities, ChangeSummary, Engine, EngineError, ExportRequest, Exported, Job, Output, OutputEvent, ResolvedImage,
    Shell, ShellInput, ShellOutput, ShellRequest, StepError, StepErrorKind, StepOutcome,
};
use crate::image::config::{ImageConfig, RootFs};
use crate::image::digest::Digest;
use crate::layers::{Changes, Entry, FileTree, Index, Kind, Layer, Meta};
use crate::plan::{Base, Op, Options, Plan, StepId};
use crate::snapshot::SnapshotId;
use async_trait::async_trait;
use bstr::BString;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What happens, step by step. Built up by its methods, then given to [`Scripted::new`].
#[derive(Debug, Clone, Default)]
pub struct Script {
    capabilities: Capabilities,
    images: BTreeMap<String, Image>,
    at: BTreeMap<StepId, Vec<Play>>,
    on: Vec<(String, Vec<Play>)>,
    prepares: Play,
    shell: Play,
    counts_afterwards: bool,
    lists_in: Duration,
}

#[derive(Debug, Clone, Default)]
struct Image {
    config: ImageConfig,
    play: Play,
}

/// What one step does: its acts in order, then its end.
#[derive(Debug, Clone, Default)]
pub struct Play {
    acts: Vec<Act>,
    end: End,
    cached: bool,
    layer: Layer,
    contents: BTreeMap<BString, Vec<u8>>,
}

#[derive(Debug, Clone)]
enum Act {
    Wait(Duration),
    Say(OutputEvent),
    Panic,
}

#[derive(Debug, Clone, Default)]
enum End {
    #[default]
    Done,
    Fails {
        kind: StepErrorKind,
        message: String,
        help: Vec<String>,
        /// Whether the failed file system can be had.
        leaves: bool,
    },
    /// Only a cancellation ends it, and if it is `stuck` not even that.
    Never { stuck: bool },
}

impl Script {
    pub fn new() -> Script {
        let engine = "scripted".to_owned();
        Script { capabilities: Capabilities { engine, ..Capabilities::default() }, ..Script::default() }
    }

    /// How it introduces itself.
    pub fn capabilities(mut self, capabilities: Capabilities) -> Script {
        self.capabilities = capabilities;
        self
    }

    /// A base image that can be had. What `play` writes is its only layer; its acts are played when it is looked
    /// up, and if it fails, the look-up does. Any other image is not there.
    pub fn image(mut self, name: &str, config: ImageConfig, play: Play) -> Script {
        self.images.insert(name.to_owned(), Image { config, play });
        self
    }

    /// What the step at this place does. Said again, what it does the next time; the last stays.
    pub fn at(mut self, step: StepId, play: Play) -> Script {
        self.at.entry(step).or_default().push(play);
        self
    }

    /// The same for the steps whose text begins like this, and that are not named by their place.
    pub fn on(mut self, text: &str, play: Play) -> Script {
        match self.on.iter_mut().find(|(known, _)| known == text) {
            Some((_, plays)) => plays.push(play),
            None => self.on.push((text.to_owned(), vec![play])),
        }
        self
    }

    /// What steps change is not in their outcomes, but counted when it is asked for.
    pub fn counts_afterwards(mut self) -> Script {
        self.counts_afterwards = true;
        self
    }

    /// How long it takes to say what a file system holds.
    pub fn lists_in(mut self, time: Duration) -> Script {
        self.lists_in = time;
        self
    }

    /// What it does when it is told of a plan.
    pub fn prepares(mut self, play: Play) -> Script {
        self.prepares = play;
        self
    }

    /// What every shell has changed when it ends.
    pub fn shell(mut self, play: Play) -> Script {
        self.shell = play;
        self
    }
}

impl Play {
    pub fn succeeds() -> Play {
        Play::default()
    }

    /// The command ends with this code; the file system it leaves can be had.
    pub fn exits(code: i32) -> Play {
        let message = format!("the command ended with exit code {code}");
        Play::default().ends(End::Fails { kind: StepErrorKind::Exit(code), message, help: Vec::new(), leaves: true })
    }

    /// Something that it needs is not there; it leaves no file system.
    pub fn refused(message: &str, help: &[&str]) -> Play {
        let help = help.iter().map(|line| (*line).to_owned()).collect();
        let message = message.to_owned();
        Play::default().ends(End::Fails { kind: StepErrorKind::Input, message, help, leaves: false })
    }

    /// The engine is lost.
    pub fn loses() -> Play {
        let message = "the connection to the builder is lost".to_owned();
        Play::default().ends(End::Fails { kind: StepErrorKind::Lost, message, help: Vec::new(), leaves: false })
    }

    /// It runs until it is cancelled.
    pub fn hangs() -> Play {
        Play::default().ends(End::Never { stuck: false })
    }

    /// It runs for ever and does not listen.
    pub fn stuck() -> Play {
        Play::default().ends(End::Never { stuck: true })
    }

    /// The engine has a fault.
    pub fn panics() -> Play {
        Play::default().act(Act::Panic)
    }

    pub fn waits(self, time: Duration) -> Play {
        self.act(Act::Wait(time))
    }

    pub fn prints(self, text: &str) -> Play {
        self.act(Act::Say(OutputEvent::Stdout(text.into())))
    }

    pub fn complains(self, text: &str) -> Play {
        self.act(Act::Say(OutputEvent::Stderr(text.into())))
    }

    /// Any other event.
    pub fn says(self, event: OutputEvent) -> Play {
        self.act(Act::Say(event))
    }

    /// Its outcome comes from an earlier build.
    pub fn cached(mut self) -> Play {
        self.cached = true;
        self
    }

    /// A regular file with mode 0644, or 0755 if it is in a `bin` directory.
    pub fn writes(mut self, path: &str, content: &[u8]) -> Play {
        let path = BString::from(path.trim_start_matches('/'));
        let program = path.split(|byte| *byte == b'/').rev().nth(1).is_some_and(|dir| dir == b"bin");
        let meta =
            Meta { mode: if program { 0o755 } else { 0o644 }, size: content.len() as u64, ..Meta::new(Kind::File) };
        self.layer.entries.push(Entry::Put { path: path.clone(), meta, opaque: false });
        self.contents.insert(path, content.to_vec());
        self
    }

    pub fn removes(mut self, path: &str) -> Play {
        let path = BString::from(path.trim_start_matches('/'));
        self.layer.entries.push(Entry::Whiteout { path });
        self
    }

    fn act(mut self, act: Act) -> Play {
        self.acts.push(act);
        self
    }

    fn ends(mut self, end: End) -> Play {
        self.end = end;
        self
    }

    /// Acts in order; ends early when cancelled.
    async fn perform(&self, output: &Output, cancel: &CancellationToken) -> Result<(), StepError> {
        let cancelled = || StepError {
            kind: StepErrorKind::Cancelled,
            message: "cancelled".to_owned(),
            help: Vec::new(),
            after: None,
        };
        for act in &self.acts {
            let done = async {
                match act {
                    Act::Wait(time) => tokio::time::sleep(*time).await,
                    Act::Say(event) => drop(output.0.send(event.clone()).await),
                    Act::Panic => panic!("as the script has it"),
                }
            };
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(cancelled()),
                () = done => {}
            }
        }
        match self.end {
            End::Never { stuck: true } => std::future::pending().await,
            End::Never { stuck: false } => cancel.cancelled().await,
            End::Done | End::Fails { .. } => {}
        }
        if cancel.is_cancelled() { Err(cancelled()) } else { Ok(()) }
    }

    /// The same where nothing can be cancelled.
    async fn outside_a_step(&self, output: &Output) -> Result<(), EngineError> {
        self.perform(output, &CancellationToken::new()).await?;
        match &self.end {
            End::Fails { kind, message, help, .. } => {
                Err(StepError { kind: *kind, message: message.clone(), help: help.clone(), after: None }.into())
            }
            End::Done | End::Never { .. } => Ok(()),
        }
    }

    fn duration(&self) -> Duration {
        let waits = self.acts.iter().filter_map(|act| if let Act::Wait(time) = act { Some(*time) } else { None });
        waits.sum()
    }
}

/// A run of a step, for tests to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    pub step: StepId,
    pub text: String,
    pub parent: Option<SnapshotId>,
    pub inputs: Vec<Option<SnapshotId>>,
    pub no_cache: bool,
    /// Steps that ran when this one began, itself included.
    pub at_once: usize,
}

/// The engine that plays a [`Script`], and remembers what it was asked.
#[derive(Debug)]
pub struct Scripted {
    script: Script,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    snapshots: BTreeMap<SnapshotId, Vec<Arc<Saved>>>,
    runs: Vec<Ran>,
    running: usize,
    shells: Vec<ShellRequest>,
    /// Where a shell is expected now.
    expected: Vec<ShellRequest>,
    exports: Vec<ExportRequest>,
}

/// One layer, and what its files hold.
#[derive(Debug, Default)]
struct Saved {
    layer: Arc<Layer>,
    contents: BTreeMap<BString, Vec<u8>>,
}

impl Scripted {
    pub fn new(script: Script) -> Arc<Scripted> {
        Arc::new(Scripted { script, seen: Mutex::default() })
    }

    /// Every run so far, in the order in which they began.
    pub fn runs(&self) -> Vec<Ran> {
        self.seen().runs.clone()
    }

    /// Steps that run now.
    pub fn running(&self) -> usize {
        self.seen().running
    }

    /// Every shell that was asked for.
    pub fn shells(&self) -> Vec<ShellRequest> {
        self.seen().shells.clone()
    }

    /// The shells that are expected now.
    pub fn expected(&self) -> Vec<ShellRequest> {
        self.seen().expected.clone()
    }

    pub fn exports(&self) -> Vec<ExportRequest> {
        self.seen().exports.clone()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the run in, and finds what it does and what its snapshot is called.
    fn begin(&self, job: &Job) -> (Play, SnapshotId) {
        let step = &job.step;
        let mut seen = self.seen();
        let before = seen.runs.iter().filter(|run| run.step == step.id && run.text == step.text).count();
        let times = seen.runs.iter().filter(|run| run.step == step.id).count();
        seen.running += 1;
        let ran = Ran {
            step: step.id,
            text: step.text.clone(),
            parent: job.parent.clone(),
            inputs: job.inputs.clone(),
            no_cache: job.no_cache,
            at_once: seen.running,
        };
        seen.runs.push(ran);
        let named = self.script.at.get(&step.id);
        let plays =
            named.or_else(|| self.script.on.iter().find(|(text, _)| step.text.starts_with(text)).map(|it| &it.1));
        let play = match (plays, &step.op) {
            (Some(plays), _) => plays.get(before).or(plays.last()).cloned(),
            (None, Op::From(Base::Image(name))) => self.script.images.get(name).map(|image| Play {
                layer: image.play.layer.clone(),
                contents: image.play.contents.clone(),
                ..Play::default()
            }),
            _ => None,
        };
        let id = match times {
            0 => format!("{}:{}", step.id.stage.0, step.id.index),
            again => format!("{}:{}.{again}", step.id.stage.0, step.id.index),
        };
        (play.unwrap_or_default(), SnapshotId(id))
    }

    fn save(&self, parent: Option<&SnapshotId>, id: SnapshotId, play: &Play) -> SnapshotId {
        let mut seen = self.seen();
        let mut layers = parent.and_then(|parent| seen.snapshots.get(parent)).cloned().unwrap_or_default();
        if !play.layer.entries.is_empty() {
            let layer = Arc::new(play.layer.clone());
            layers.push(Arc::new(Saved { layer, contents: play.contents.clone() }));
        }
        seen.snapshots.insert(id.clone(), layers);
        id
    }

    fn saved(&self, at: &SnapshotId) -> Result<Vec<Arc<Saved>>, EngineError> {
        self.seen().snapshots.get(at).cloned().ok_or_else(|| EngineError::new(format!("there is no snapshot {at}")))
    }

    fn count(&self, parent: Option<&SnapshotId>, layer: &Layer) -> ChangeSummary {
        let before = parent.and_then(|parent| self.merged(parent).ok()).unwrap_or_default();
        let mut summary = ChangeSummary { bytes: layer.bytes(), ..ChangeSummary::default() };
        for entry in &layer.entries {
            match entry {
                Entry::Whiteout { .. } | Entry::Opaque { .. } => summary.removed += 1,
                Entry::Put { path, .. } | Entry::Link { path, .. } if before.lookup(path.as_ref()).is_some() => {
                    summary.modified += 1
                }
                Entry::Put { .. } | Entry::Link { .. } => summary.added += 1,
            }
        }
        summary
    }

    fn merged(&self, at: &SnapshotId) -> Result<FileTree, EngineError> {
        let layers: Vec<Arc<Layer>> = self.saved(at)?.iter().map(|saved| saved.layer.clone()).collect();
        Ok(FileTree::merge(&layers))
    }
}

/// Counts a run out, also when it panics or is dropped.
struct Running<'a>(&'a Scripted);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.seen().running -= 1;
    }
}

/// One shell that is expected; on drop it is no longer.
struct Expected<'a>(&'a Scripted, SnapshotId);

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        let mut seen = self.0.seen();
        if let Some(index) = seen.expected.iter().position(|it| it.at == self.1) {
            seen.expected.remove(index);
        }
    }
}

#[async_trait]
impl Engine for Scripted {
    async fn on(&self, _: &str) -> Result<Arc<dyn Engine>, EngineError> {
        Ok(Scripted::new(self.script.clone()))
    }

    fn capabilities(&self) -> &Capabilities {
        &self.script.capabilities
    }

    async fn resolve(&self, image: &str, output: &Output) -> Result<ResolvedImage, EngineError> {
        let Some(found) = self.script.images.get(image) else {
            return Err(EngineError::new(format!("{image} is not there"))
                .with_help(format!("give it by file: --build-context {image}=oci-layout://DIR")));
        };
        found.play.outside_a_step(output).await?;
        let name = image.to_owned();
        Ok(ResolvedImage { name, digest: None, config: found.config.clone(), origin: "the script".to_owned() })
    }

    async fn prepare(&self, _: &Arc<Plan>, _: &Options, output: &Output) -> Result<(), EngineError> {
        self.script.prepares.outside_a_step(output).await
    }

    async fn run(&self, job: Job, output: &Output, cancel: &CancellationToken) -> Result<StepOutcome, StepError> {
        let (play, id) = self.begin(&job);
        let _running = Running(self);
        play.perform(output, cancel).await?;
        let parent = job.parent.as_ref();
        match &play.end {
            End::Fails { kind, message, help, leaves } => {
                let after = leaves.then(|| self.save(parent, SnapshotId(format!("{id}!")), &play));
                Err(StepError { kind: *kind, message: message.clone(), help: help.clone(), after })
            }
            End::Done | End::Never { .. } => {
                let changes = (!self.script.counts_afterwards).then(|| self.count(parent, &play.layer));
                let snapshot = self.save(parent, id, &play);
                let (cached, duration) = (play.cached, play.duration());
                Ok(StepOutcome { snapshot, cached, duration, changes, why: Vec::new() })
            }
        }
    }

    async fn tree(&self, at: &SnapshotId) -> Result<Arc<FileTree>, EngineError> {
        if !self.script.lists_in.is_zero() {
            tokio::time::sleep(self.script.lists_in).await;
        }
        Ok(Arc::new(self.merged(at)?))
    }

    async fn layers(&self, at: &SnapshotId) -> Result<Vec<Arc<Layer>>, EngineError> {
        Ok(self.saved(at)?.iter().map(|saved| saved.layer.clone()).collect())
    }

    async fn changes(&self, at: &SnapshotId) -> Result<ChangeSummary, EngineError> {
        let (below, own) = match self.saved(at)?.split_last() {
            Some((own, below)) => (below.to_vec(), own.layer.clone()),
            None => return Ok(ChangeSummary::default()),
        };
        let below: Vec<Arc<Index>> = below.iter().map(|saved| Arc::new(Index::new(saved.layer.clone()))).collect();
        let Changes { added, modified, removed } = crate::layers::changes(&below, &own);
        Ok(ChangeSummary { added, modified, removed, bytes: own.bytes() })
    }

    async fn read(&self, at: &SnapshotId, path: &BString, offset: u64, limit: usize) -> Result<Vec<u8>, EngineError> {
        let there = self.merged(at)?.lookup(path.as_ref()).is_some();
        let layers = self.saved(at)?;
        let content = layers.iter().rev().filter(|_| there).find_map(|saved| saved.contents.get(path));
        let content = content.ok_or_else(|| EngineError::new(format!("there is no file {path}")))?;
        let from = content.get(usize::try_from(offset).unwrap_or(usize::MAX)..).unwrap_or_default();
        Ok(from[..from.len().min(limit)].to_vec())
    }

    /// A shell that says where it is, gives back what is typed, and ends at `exit`; a command only says itself.
    async fn shell(&self, request: ShellRequest) -> Result<Shell, EngineError> {
        self.saved(&request.at)?;
        self.seen().shells.push(request.clone());
        let (input, keys) = mpsc::channel(16);
        let (screen, output) = mpsc::channel(16);
        tokio::spawn(converse(request, Arc::new(self.script.shell.layer.clone()), keys, screen));
        Ok(Shell { input, output, program: "sh".to_owned(), borrowed_tools: false })
    }

    async fn expect_shell(&self, request: ShellRequest) {
        let at = request.at.clone();
        self.seen().expected.push(request);
        let _expected = Expected(self, at);
        std::future::pending().await
    }

    async fn export(&self, request: ExportRequest, _output: &Output) -> Result<Exported, EngineError> {
        self.saved(&request.at)?;
        let rootfs = RootFs { kind: "layers".to_owned(), ..RootFs::default() };
        let config = ImageConfig { rootfs, ..request.config.clone() };
        let image = Digest::of(serde_json::to_string(&config).unwrap_or_default().as_bytes());
        self.seen().exports.push(request);
        Ok(Exported { image, manifest: None, descriptor: None })
    }

    async fn discard(&self) -> Result<(), EngineError> {
        self.seen().snapshots.clear();
        Ok(())
    }
}

async fn converse(
    request: ShellRequest,
    changes: Arc<Layer>,
    mut keys: mpsc::Receiver<ShellInput>,
    screen: mpsc::Sender<ShellOutput>,
) {
    let run = &request.run;
    let user = if run.user.is_empty() { "root" } else { &run.user };
    let prompt = format!("{user}:{} $ ", run.cwd);
    let say = |text: String| screen.send(ShellOutput::Bytes(text.into_bytes()));
    let mut code = 0;
    if run.argv.is_empty() {
        let _ = say(prompt.clone()).await;
        let mut line = Vec::new();
        'typed: while let Some(input) = keys.recv().await {
            let bytes = match input {
                ShellInput::Bytes(bytes) => bytes,
                ShellInput::Resize(columns, rows) => {
                    let _ = say(format!("[{columns}x{rows}]")).await;
                    continue;
                }
                ShellInput::Signal(signal) => {
                    code = 128 + signal;
                    break;
                }
                ShellInput::Eof => break,
            };
            for byte in bytes {
                match byte {
                    b'\r' | b'\n' if line == b"exit" => break 'typed,
                    b'\r' | b'\n' => {
                        line.clear();
                        let _ = say(format!("\r\n{prompt}")).await;
                    }
                    _ => {
                        line.push(byte);
                        let _ = screen.send(ShellOutput::Bytes(vec![byte])).await;
                    }
                }
            }
        }
    } else {
        let _ = say(format!("{}\n", run.argv.join(" "))).await;
    }
    let _ = screen.send(ShellOutput::Exited { code, changes: Some(changes) }).await;
}
