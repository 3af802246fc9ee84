//! One step: its cache key, an earlier result if there is one, or the task that makes a new one.

use super::bound::{self, Bound};
use super::content::{self, Content};
use super::engine::{Embedded, store_error};
use super::fetch;
use super::task::{CopyTask, Input, Reads, Report, RunTask, Task, TaskError, Upper};
use crate::engine::{ChangeSummary, EngineError, Job, Output, OutputEvent, StepError, StepErrorKind, StepOutcome};
use crate::image::digest::Digest;
use crate::layers::Layer;
use crate::plan::options::real_address;
use crate::plan::{Base, CopySource, FileOrigin, MountKind, Op, Run, Step, cache_key};
use crate::snapshot::SnapshotId;
use crate::snapshot::store::{Draft, StepRecord, Store};
use std::sync::Arc;
use std::time::Instant;

pub(super) fn cancelled() -> StepError {
    let message = "cancelled".to_owned();
    StepError { kind: StepErrorKind::Cancelled, message, help: Vec::new(), after: None }
}

pub(super) async fn run(engine: &Embedded, job: Job, output: &Output) -> Result<StepOutcome, StepError> {
    let start = Instant::now();
    let free = |snapshot: SnapshotId| StepOutcome {
        snapshot,
        cached: false,
        duration: start.elapsed(),
        changes: Some(ChangeSummary::default()),
        why: Vec::new(),
    };
    match &job.step.op {
        Op::From(Base::Image(name)) => {
            let snapshot = engine.image_snapshot(name, output).await?;
            let layers = engine.store.layers(&snapshot).map_err(store_error)?;
            let mut changes = ChangeSummary::default();
            for id in layers.iter() {
                // Everything that a base brings is new.
                let sums = engine.store.sums(id).map_err(store_error)?;
                changes.added += sums.paths;
                changes.bytes += sums.bytes;
            }
            Ok(StepOutcome { changes: Some(changes), ..free(snapshot) })
        }
        Op::From(_) | Op::Config => Ok(free(parent(engine, &job)?)),
        Op::Run(_) | Op::Copy(_) | Op::Workdir { .. } => keyed(engine, job, output).await,
    }
}

/// The file system a step begins with; an empty one for `FROM scratch`.
fn parent(engine: &Embedded, job: &Job) -> Result<SnapshotId, StepError> {
    match &job.parent {
        Some(parent) => Ok(parent.clone()),
        None => Ok(engine.store.snapshot(&[]).map_err(store_error)?),
    }
}

async fn keyed(engine: &Embedded, job: Job, output: &Output) -> Result<StepOutcome, StepError> {
    let parent = parent(engine, &job)?;
    let inputs = inputs(engine, &job.step.inputs, &job.inputs, output).await?;
    let seen = contents(engine, &job.step, &inputs).await?;
    let linked = matches!(&job.step.op, Op::Copy(copy) if super::copy::on_empty_root(copy));
    let key_of = |fetched: &[fetch::Source]| {
        let seen = seen.iter().map(|it| it.content.digest.clone());
        let contents: Vec<String> = seen.chain(fetched.iter().map(|it| it.digest.clone())).collect();
        let parts = cache_key::parts(&job.step, (!linked).then_some(parent.0.as_str()), &contents);
        (cache_key::digest(&parts), parts)
    };
    let mut fetched = fetch::sources(engine, &job.step, job.no_cache, output).await?;
    let (mut key, mut parts) = key_of(&fetched);
    if fetched.iter().any(|it| it.path.is_none()) && engine.store.step(&key).is_none() {
        fetched = fetch::sources(engine, &job.step, true, output).await?;
        (key, parts) = key_of(&fetched);
    }
    let lock = engine.key_lock(&key);
    let _only = lock.lock().await;
    if !job.no_cache
        && let Some(record) = engine.store.step(&key)
    {
        let record = if linked { on_parent(engine, &parent, record)? } else { record };
        return Ok(outcome(record, true, Vec::new()));
    }
    let place = place(engine, &job.step);
    // Read while the step runs: the step does not wait for it.
    let why = (!job.no_cache).then(|| {
        let (store, place, step, parts) = (engine.store.clone(), place.clone(), job.step.clone(), parts.clone());
        tokio::task::spawn_blocking(move || why(&store, &place, &step, &parts))
    });
    let start = Instant::now();
    let draft = engine.store.draft().map_err(store_error)?;
    let (task, bound) = task(engine, &job.step, &parent, inputs, fetched, &draft).await?;
    let result = execute(engine, task, output).await;
    let finished = start.elapsed();
    let (layer, failure) = match result {
        Ok(done) => done,
        Err(error) => {
            engine.remove_later(vec![draft.dir]);
            return Err(error);
        }
    };
    let snapshot = commit(engine, &parent, &draft, layer.clone())?;
    // Fails where the worker is still at it, which then does this.
    let _ = std::fs::remove_dir(&draft.dir);
    if let Some(mut error) = failure {
        error.after = Some(snapshot);
        return Err(error);
    }
    let mut changes = ChangeSummary::default();
    summarize(engine, &parent, &layer, &mut changes)?;
    let record = StepRecord {
        snapshot,
        duration: finished,
        added: changes.added,
        modified: changes.modified,
        removed: changes.removed,
        bytes: changes.bytes,
        key: parts,
    };
    let why = match why {
        Some(why) => why.await.unwrap_or_default(),
        None => Vec::new(),
    };
    if is_still_there(&seen, &bound).await {
        engine.store.record(key.clone(), record.clone());
        engine.store.put_at(place, key, job.step.id.index);
    } else {
        let notice = "Files that this step reads have changed meanwhile: its result is not kept for other builds.";
        let _ = output.0.send(OutputEvent::Notice(notice.to_owned())).await;
    }
    Ok(outcome(record, false, why))
}

/// A stage of a project, as far as builds of the same project are to be told from others.
fn place(engine: &Embedded, step: &Step) -> Digest {
    let context = engine.settings.context.as_ref().map(|it| it.path.as_os_str().as_encoded_bytes());
    let stage = step.id.stage.0.to_string();
    Digest::of(&[context.unwrap_or_default(), b"\0", stage.as_bytes()].concat())
}

/// What keeps a step from reusing an earlier result of its own: the differences to that key which is most like its own.
/// Its own are those of the same instruction at the same place, and of another one on the same file system.
fn why(store: &Store, place: &Digest, step: &Step, parts: &[(String, String)]) -> Vec<String> {
    let earlier = store.at(place).into_iter();
    let earlier = earlier.filter_map(|(key, index)| Some((store.step(&key)?.key, index)));
    let own = earlier.filter(|(key, index)| {
        let edited = cache_key::same_parent(key, parts) && key.first() == parts.first();
        edited || *index == step.id.index && cache_key::same_statement(key, parts)
    });
    own.map(|(key, _)| cache_key::difference(&key, parts)).min_by_key(Vec::len).unwrap_or_default()
}

/// What `COPY --link` made, put on another file system than the one it was made for.
fn on_parent(engine: &Embedded, parent: &SnapshotId, record: StepRecord) -> Result<StepRecord, StepError> {
    let made = engine.store.layers(&record.snapshot).map_err(store_error)?;
    let Some(id) = made.last() else { return Ok(record) };
    let mut layers = engine.store.layers(parent).map_err(store_error)?.to_vec();
    layers.push(id.clone());
    let snapshot = engine.store.snapshot(&layers).map_err(store_error)?;
    let mut changes = ChangeSummary::default();
    let layer = engine.store.entries(id).map_err(store_error)?;
    summarize(engine, parent, &layer, &mut changes)?;
    let ChangeSummary { added, modified, removed, bytes } = changes;
    Ok(StepRecord { snapshot, added, modified, removed, bytes, ..record })
}

fn outcome(record: StepRecord, cached: bool, why: Vec<String>) -> StepOutcome {
    let changes = Some(ChangeSummary {
        added: record.added,
        modified: record.modified,
        removed: record.removed,
        bytes: record.bytes,
    });
    StepOutcome { snapshot: record.snapshot, cached, duration: record.duration, changes, why }
}

fn commit(engine: &Embedded, parent: &SnapshotId, draft: &Draft, layer: Layer) -> Result<SnapshotId, StepError> {
    let id = engine.store.commit(draft, None, layer).map_err(store_error)?;
    let mut layers = engine.store.layers(parent).map_err(store_error)?.to_vec();
    layers.push(id);
    Ok(engine.store.snapshot(&layers).map_err(store_error)?)
}

/// What a step's layer does to what lies below it.
fn summarize(
    engine: &Embedded,
    parent: &SnapshotId,
    layer: &Layer,
    changes: &mut ChangeSummary,
) -> Result<(), StepError> {
    let ids = engine.store.layers(parent).map_err(store_error)?;
    let below = ids.iter().map(|id| engine.store.index(id)).collect::<Result<Vec<_>, _>>().map_err(store_error)?;
    let counts = crate::layers::changes(&below, layer);
    changes.added = counts.added;
    changes.modified = counts.modified;
    changes.removed = counts.removed;
    changes.bytes = layer.bytes();
    Ok(())
}

/// What a step reads besides its own stage, as directories and stacks.
pub(super) async fn inputs(
    engine: &Embedded,
    origins: &[FileOrigin],
    snapshots: &[Option<SnapshotId>],
    output: &Output,
) -> Result<Vec<Input>, StepError> {
    let mut inputs = Vec::new();
    for (index, origin) in origins.iter().enumerate() {
        inputs.push(match origin {
            FileOrigin::Scratch => Input::Scratch,
            FileOrigin::Stage(_) => match snapshots.get(index).and_then(Option::as_ref) {
                Some(snapshot) => Input::Stack(engine.stack(snapshot)?),
                None => return Err(EngineError::new("the source stage has not been built").into()),
            },
            FileOrigin::Image(name) => {
                let snapshot = engine.image_snapshot(name, output).await?;
                Input::Stack(engine.stack(&snapshot)?)
            }
            FileOrigin::Context { name } => {
                let context = match name {
                    None => engine.settings.context.as_ref(),
                    Some(name) => engine.settings.directories.get(name),
                };
                match context {
                    Some(context) => {
                        let unreadable = |error: std::io::Error| EngineError::new(format!("cannot read {error}"));
                        Input::Directory { path: context.path.clone(), ignore: context.ignore().map_err(unreadable)? }
                    }
                    None => return Err(TaskError::input("there is no build context").into()),
                }
            }
        });
    }
    Ok(inputs)
}

/// What a step reads of an input, and what was there when its key was made.
struct Seen {
    what: Reads,
    input: Input,
    content: Content,
}

/// The content of every input, in the order that [`cache_key::parts`] takes their digests.
async fn contents(engine: &Embedded, step: &Step, inputs: &[Input]) -> Result<Vec<Seen>, StepError> {
    let mut read = Vec::new();
    match &step.op {
        Op::Copy(copy) => {
            let input = inputs.first().cloned().unwrap_or(Input::Scratch);
            if copy.sources.iter().any(|source| matches!(source, CopySource::Path(_))) {
                read.push((Reads::Copy(copy.clone()), input));
            }
        }
        Op::Run(run) => {
            for mount in &run.mounts {
                let (input, path) = match &mount.kind {
                    MountKind::Bind { input, source, .. } => (Some(*input), source),
                    MountKind::Cache { input, source, .. } => (*input, source),
                    _ => continue,
                };
                if let Some(input) = input.and_then(|index| inputs.get(index)).cloned() {
                    read.push((Reads::Path(path.clone()), input));
                }
            }
        }
        _ => {}
    }
    let mut contents = Vec::new();
    for (what, input) in read {
        let content = match &input {
            Input::Stack(_) => Content { digest: digest(engine, &what, &input).await?, stamp: String::new() },
            Input::Directory { .. } | Input::Scratch => {
                here(&what, &input, |what, input| content::digest(what, input, None)).await?
            }
        };
        contents.push(Seen { what, input, content });
    }
    Ok(contents)
}

/// Whether what a step has read of this machine is what its key was made of: somebody may have worked on it meanwhile.
async fn is_still_there(seen: &[Seen], bound: &[Arc<Bound>]) -> bool {
    for Seen { what, input, content } in seen {
        let changes = matches!(input, Input::Directory { .. });
        match bound.iter().find_map(|it| it.is_of(what, input, &content.stamp)) {
            Some(true) => continue,
            Some(false) => return false,
            None => {}
        }
        if changes && here(what, input, content::stamp).await.ok().as_ref() != Some(&content.stamp) {
            return false;
        }
    }
    true
}

/// Asks about a directory of the host. This process needs no mount for it.
pub(super) async fn here<T: Send + 'static>(
    what: &Reads,
    input: &Input,
    ask: impl FnOnce(&Reads, &Input) -> Result<T, TaskError> + Send + 'static,
) -> Result<T, StepError> {
    let (what, input) = (what.clone(), input.clone());
    let answer = tokio::task::spawn_blocking(move || ask(&what, &input)).await;
    Ok(answer.map_err(|error| EngineError::new(format!("reading the sources failed: {error}")))??)
}

/// The digest of what a step reads of layers, which are read once.
async fn digest(engine: &Embedded, what: &Reads, input: &Input) -> Result<String, StepError> {
    let task = Task::Digest { what: what.clone(), input: input.clone() };
    let question = postcard::to_allocvec(&task).map_err(|error| EngineError::new(error.to_string()))?;
    let question = Digest::of(&question);
    if let Some(known) = engine.store.digest(&question) {
        return Ok(known.to_string());
    }
    let mut handle = engine.launcher.task(task, Vec::new());
    let mut text = None;
    while let Some((report, _)) = handle.next().await {
        match report {
            Report::Text(it) => text = Some(it),
            Report::Failed(error) => return Err(error.into()),
            Report::Done => break,
            _ => {}
        }
    }
    let text: String = text.ok_or_else(|| EngineError::new("the engine process ended while it read the sources"))?;
    if let Ok(digest) = text.parse() {
        engine.store.keep_digest(question, digest);
    }
    Ok(text)
}

async fn task(
    engine: &Embedded,
    step: &Step,
    parent: &SnapshotId,
    mut inputs: Vec<Input>,
    fetched: Vec<fetch::Source>,
    draft: &Draft,
) -> Result<(Task, Vec<Arc<Bound>>), StepError> {
    let stack = engine.stack(parent)?;
    let upper = Upper { dir: draft.fs(), work: draft.work() };
    let task = match &step.op {
        Op::Run(run) => {
            let (task, bound) = run_task(engine, run, stack, upper, inputs).await?;
            return Ok((Task::Run(Box::new(task)), bound));
        }
        Op::Copy(copy) => {
            let input = (!inputs.is_empty()).then(|| inputs.remove(0));
            let fetched = fetched.into_iter().filter_map(|it| Some((it.address, it.path?))).collect();
            Task::Copy(Box::new(CopyTask { stack, upper, copy: copy.clone(), input, fetched }))
        }
        Op::Workdir { path, user } => Task::Workdir { stack, upper, path: path.clone(), user: user.clone() },
        Op::From(_) | Op::Config => return Err(EngineError::new("this step has nothing to run").into()),
    };
    Ok((task, Vec::new()))
}

/// A command with everything that its mounts need, and what must be kept for it while it runs.
pub(super) async fn run_task(
    engine: &Embedded,
    run: &Run,
    stack: super::task::Stack,
    upper: Upper,
    inputs: Vec<Input>,
) -> Result<(RunTask, Vec<Arc<Bound>>), StepError> {
    let mut caches = Vec::new();
    let mut secrets = Vec::new();
    let mut agents = Vec::new();
    for mount in &run.mounts {
        match &mount.kind {
            MountKind::Cache { id, .. } => caches.push(engine.store.cache_dir(id)),
            MountKind::Secret { id, required, .. } => match engine.settings.secrets.get(id) {
                Some(secret) => {
                    let unreadable = |error: String| TaskError::input(format!("cannot read the secret {id}: {error}"));
                    secrets.push((id.clone(), secret.read().map_err(unreadable)?));
                }
                None if *required => {
                    let missing = TaskError::input(format!("secret {id}: not found"));
                    return Err(missing.with_help(format!("give it: --secret id={id},src=FILE")).into());
                }
                None => {}
            },
            MountKind::Ssh { id, required, .. } => match engine.settings.agents.get(id) {
                Some(socket) => agents.push((id.clone(), socket.clone())),
                None if *required => {
                    let missing = TaskError::input(format!("no ssh agent is given for {id}"));
                    return Err(missing.with_help(format!("give it: --ssh {id}")).into());
                }
                None => {}
            },
            MountKind::Bind { .. } | MountKind::Tmpfs { .. } => {}
        }
    }
    let resolv = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let hosts = hosts(&run.hosts);
    let (run, inputs, bound) = bound::with_copies(engine, run, inputs).await?;
    let task = RunTask {
        stack,
        upper,
        scratch: false,
        run,
        inputs,
        caches,
        secrets,
        agents,
        terminal: None,
        toolbox: None,
        hosts,
        resolv,
        hostname: "buildkitsandbox".to_owned(),
        stdin: false,
    };
    Ok((task, bound))
}

/// `/etc/hosts`, as BuildKit writes it.
fn hosts(more: &[(String, String)]) -> String {
    let mut text = "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
    for (name, address) in more {
        // Commands have this machine's network.
        let address = real_address(address, Some("127.0.0.1"));
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text
}

/// The layer that the task made, and why it failed although it made one.
async fn execute(engine: &Embedded, task: Task, output: &Output) -> Result<(Layer, Option<StepError>), StepError> {
    let mut handle = engine.launcher.task(task, Vec::new());
    let (mut layer, mut failure) = (None, None);
    while let Some((report, _)) = handle.next().await {
        match report {
            Report::Stdout(bytes) => drop(output.0.send(OutputEvent::Stdout(bytes)).await),
            Report::Stderr(bytes) => drop(output.0.send(OutputEvent::Stderr(bytes)).await),
            Report::Notice(text) => drop(output.0.send(OutputEvent::Notice(text)).await),
            Report::Progress { done, total } => {
                let _ = output.0.try_send(OutputEvent::Progress { what: String::new(), done, total });
            }
            Report::Exit(0) => {}
            Report::Exit(code) => failure = Some(exit_error(code)),
            Report::Layer(it) => layer = Some(it),
            Report::Failed(error) => return Err(error.into()),
            Report::Done => {
                // A command that wrote nothing leaves an empty layer.
                return Ok((layer.unwrap_or_default(), failure));
            }
            _ => {}
        }
    }
    Err(EngineError::new("the engine process ended while the step ran").into())
}

fn exit_error(code: i32) -> StepError {
    let message = match code {
        126 => "the command could not be executed: exit code 126".to_owned(),
        127 => "a command was not found: exit code 127".to_owned(),
        137 => "the command was killed: exit code 137 (SIGKILL)".to_owned(),
        _ if code > 128 => format!("the command ended with exit code {code} (signal {})", code - 128),
        _ => format!("the command failed with exit code {code}"),
    };
    StepError { kind: StepErrorKind::Exit(code), message, help: Vec::new(), after: None }
}

impl From<TaskError> for StepError {
    fn from(error: TaskError) -> StepError {
        let kind = if error.input { StepErrorKind::Input } else { StepErrorKind::Engine };
        StepError { kind, message: error.message, help: error.help, after: None }
    }
}
