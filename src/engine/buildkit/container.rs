//! Shells and single commands in containers on the builder.
//!
//! Source: BuildKit's gateway, `NewContainer` and `ExecProcess`. A process' input must be closed after its end, and a
//! container that is released answers with its shell's status as an error. A process that fails takes all others of its
//! container with it.

use super::bridge::Bridge;
use super::scratch::Scratch;
use super::session::random_id;
use crate::engine::{EngineError, Shell, ShellInput, ShellOutput};
use bollard_buildkit_proto::moby::buildkit::v1::frontend as gateway;
use bollard_buildkit_proto::pb;
use gateway::exec_message::Input;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::DropGuard;

/// Messages that may wait in either direction.
const QUEUE: usize = 64;

const NO_CONTAINER: &str = "the builder opens no container";

/// What runs, and on what.
#[derive(Clone)]
pub(super) struct Start {
    pub(super) mounts: Vec<pb::Mount>,
    pub(super) meta: pb::Meta,
    pub(super) secrets: Vec<pb::SecretEnv>,
    pub(super) network: i32,
    pub(super) security: i32,
    pub(super) platform: Option<pb::Platform>,
    pub(super) size: Option<(u16, u16)>,
    /// For the banner.
    pub(super) program: String,
    pub(super) borrowed_tools: bool,
}

/// A container on the builder. Dropping it throws it away, with all that runs in it.
pub(super) struct Container {
    bridge: Arc<Bridge>,
    id: String,
    /// The process that it was made for, if that only waits so that others can be started: it lives as long as it is
    /// listened to.
    waiting: Option<Process>,
    /// Says that the container is let go of.
    let_go: Option<DropGuard>,
}

/// A process of a container, as the builder speaks of it.
struct Process {
    id: String,
    input: mpsc::Sender<gateway::ExecMessage>,
    output: tonic::Streaming<gateway::ExecMessage>,
}

/// `scratch` is there if it is wanted to know what the process changes; its command runs the process.
pub(super) async fn start(bridge: Arc<Bridge>, start: Start, scratch: Option<Scratch>) -> Result<Shell, EngineError> {
    Container::open(bridge, &start).await?.shell(start, scratch).await
}

/// A container like one that is started, in which a command waits instead. What is started in it later begins sooner
/// than a container does.
pub(super) async fn idle(bridge: Arc<Bridge>, start: Start, command: Vec<String>) -> Result<Container, EngineError> {
    let mut container = Container::open(bridge, &start).await?;
    let init = gateway::InitMessage {
        meta: Some(pb::Meta { args: command, ..start.meta }),
        fds: vec![0, 1, 2],
        security: start.security,
        ..gateway::InitMessage::default()
    };
    container.waiting = Some(container.begin(init).await?);
    Ok(container)
}

impl Container {
    async fn open(bridge: Arc<Bridge>, start: &Start) -> Result<Container, EngineError> {
        let id = random_id();
        let request = gateway::NewContainerRequest {
            container_id: id.clone(),
            mounts: start.mounts.clone(),
            network: start.network,
            platform: start.platform.clone(),
            constraints: None,
            extra_hosts: start.meta.extra_hosts.clone(),
            hostname: start.meta.hostname.clone(),
        };
        let Some(asking) = bridge.unanswered.ask() else { return Err(super::trouble::gone(NO_CONTAINER)) };
        let opening = async move {
            let opened = bridge.answer(bridge.client().new_container(bridge.request(request))).await;
            drop(asking);
            match opened {
                Ok(_) => Ok(Container { bridge, id, waiting: None, let_go: None }),
                Err(status) => Err(bridge.lost(NO_CONTAINER, &status)),
            }
        };
        // It goes on where nobody waits for it any more, and is let go of then.
        tokio::spawn(opening).await.unwrap_or_else(|_| Err(super::trouble::gone(NO_CONTAINER)))
    }

    /// When the container is let go of, `guard` is dropped.
    pub(super) fn tells(&mut self, guard: DropGuard) {
        self.let_go = Some(guard);
    }

    /// The container goes with the shell.
    pub(super) async fn shell(self, start: Start, scratch: Option<Scratch>) -> Result<Shell, EngineError> {
        let tty = start.size.is_some();
        let init = gateway::InitMessage {
            meta: Some(start.meta),
            fds: if tty { vec![0, 1] } else { vec![0, 1, 2] },
            tty,
            security: start.security,
            secretenv: start.secrets,
            ..gateway::InitMessage::default()
        };
        let process = self.begin(init).await?;
        if let Some((columns, rows)) = start.size {
            let resize = gateway::ResizeMessage { rows: rows.into(), cols: columns.into() };
            let _ = process.input.send(process.message(Input::Resize(resize))).await;
        }
        let (input, from_user) = mpsc::channel(QUEUE);
        let (to_user, output) = mpsc::channel(QUEUE);
        tokio::spawn(converse(self, process, scratch, from_user, to_user));
        Ok(Shell { input, output, program: start.program, borrowed_tools: start.borrowed_tools })
    }

    /// Starts a process, and waits until it runs.
    async fn begin(&self, init: gateway::InitMessage) -> Result<Process, EngineError> {
        let bridge = &self.bridge;
        let (input, messages) = mpsc::channel(QUEUE);
        let id = random_id();
        let init = gateway::InitMessage { container_id: self.id.clone(), ..init };
        let init = gateway::ExecMessage { process_id: id.clone(), input: Some(Input::Init(init)) };
        let _ = input.send(init).await;
        let stream = bridge.answer(bridge.client().exec_process(bridge.request(ReceiverStream::new(messages)))).await;
        let mut output = stream.map_err(|status| bridge.lost("the builder starts no process", &status))?;
        // What cannot be started says so before anything else.
        loop {
            let first = tokio::select! {
                first = output.message() => first,
                () = bridge.ended.cancelled() => return Err(super::trouble::gone("the shell cannot be started")),
            };
            let first = first.map_err(|status| bridge.lost("the shell cannot be started", &status))?;
            match first.and_then(|it| it.input) {
                Some(Input::Started(_)) => return Ok(Process { id, input, output }),
                Some(Input::Exit(exit)) => {
                    let why = exit.error.map(|it| it.message).unwrap_or_else(|| format!("exit code {}", exit.code));
                    return Err(not_started(&why));
                }
                Some(_) => {}
                None => return Err(EngineError::new("the shell ended before it began")),
            }
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (bridge, container_id) = (self.bridge.clone(), std::mem::take(&mut self.id));
        // The builder does it by itself at the build's end.
        let Some(asking) = bridge.unanswered.ask() else { return };
        runtime.spawn(async move {
            let request = bridge.request(gateway::ReleaseContainerRequest { container_id });
            let _ = bridge.client().release_container(request).await;
            drop(asking);
        });
    }
}

impl Process {
    fn message(&self, input: Input) -> gateway::ExecMessage {
        gateway::ExecMessage { process_id: self.id.clone(), input: Some(input) }
    }

    fn end_of_input(&self) -> gateway::ExecMessage {
        self.message(Input::File(gateway::FdMessage { fd: 0, eof: true, data: Vec::new() }))
    }
}

async fn converse(
    container: Container,
    mut process: Process,
    scratch: Option<Scratch>,
    mut from_user: mpsc::Receiver<ShellInput>,
    to_user: mpsc::Sender<ShellOutput>,
) {
    let mut code = None;
    let mut lost = None;
    let mut end = scratch.as_ref().map(Scratch::end);
    // Whether its file system is still there.
    let mut whole = false;
    let mut input_open = true;
    let mut shown = false;
    // Why it never ran, if it did not.
    let mut never = None;
    loop {
        tokio::select! {
            received = process.output.message() => match received {
                Ok(Some(received)) => match received.input {
                    Some(Input::File(file)) if !file.data.is_empty() => {
                        let (data, ended) = match &mut end {
                            Some(end) => end.take(file.data),
                            None => (file.data, None),
                        };
                        shown |= !data.is_empty();
                        let output = if file.fd == 2 { ShellOutput::Stderr(data) } else { ShellOutput::Bytes(data) };
                        if to_user.send(output).await.is_err() {
                            break;
                        }
                        if ended.is_some() {
                            (code, whole) = (ended, true);
                            break;
                        }
                    }
                    Some(Input::Exit(exit)) => {
                        code = Some(i32::try_from(exit.code).unwrap_or(i32::MAX));
                        let itself = format!("exit code: {NEVER_RAN}");
                        never = exit.error.filter(|why| {
                            exit.code == NEVER_RAN && !shown && !why.message.contains(&itself)
                        });
                        // The builder waits for it.
                        let _ = process.input.send(process.end_of_input()).await;
                        input_open = false;
                    }
                    Some(Input::Done(_)) => break,
                    _ => {}
                },
                Err(status) if code.is_none() => {
                    lost = Some(container.bridge.lost("the shell", &status));
                    break;
                }
                Ok(None) | Err(_) => break,
            },
            () = container.bridge.ended.cancelled(), if code.is_none() => {
                lost = Some(super::trouble::gone("the shell"));
                break;
            }
            given = from_user.recv(), if input_open => {
                let sent = match given {
                    Some(ShellInput::Bytes(data)) => process.message(Input::File(gateway::FdMessage { fd: 0, eof: false, data })),
                    Some(ShellInput::Resize(columns, rows)) => {
                        process.message(Input::Resize(gateway::ResizeMessage { rows: rows.into(), cols: columns.into() }))
                    }
                    Some(ShellInput::Signal(number)) => match signal_name(number) {
                        Some(name) => process.message(Input::Signal(gateway::SignalMessage { name: name.to_owned() })),
                        None => continue,
                    },
                    Some(ShellInput::Eof) => {
                        input_open = false;
                        process.end_of_input()
                    }
                    // Nobody is there any more: releasing the container kills it.
                    None => break,
                };
                if process.input.send(sent).await.is_err() {
                    input_open = false;
                }
            }
        }
    }
    let lost = lost.or_else(|| never.map(|why| not_started(&why.message)));
    if let Some(lost) = lost {
        let _ = to_user.send(ShellOutput::Lost(lost)).await;
        return;
    }
    let changes = match &scratch {
        Some(scratch) if whole => {
            tokio::select! {
                changes = scratch.changes(&container.bridge, &container.id) => changes.ok().map(Arc::new),
                // Nobody wants to know any more.
                () = to_user.closed() => None,
            }
        }
        _ => None,
    };
    drop(container);
    let _ = to_user.send(ShellOutput::Exited { code: code.unwrap_or(137), changes }).await;
}

/// The code of what a builder could not run; what ends with it by itself is said to have.
const NEVER_RAN: u32 = 255;

fn not_started(why: &str) -> EngineError {
    let why = super::connection::printable(why);
    EngineError { help: super::trouble::help(&why), ..EngineError::new(format!("the shell cannot be started: {why}")) }
}

/// What a further process of a container writes, which has no input.
pub(super) async fn output(
    bridge: &Bridge,
    container: &str,
    meta: pb::Meta,
    limit: usize,
) -> Result<Vec<u8>, EngineError> {
    let (to_process, messages) = mpsc::channel(QUEUE);
    let process_id = random_id();
    let message = |input: Input| gateway::ExecMessage { process_id: process_id.clone(), input: Some(input) };
    let init = gateway::InitMessage {
        container_id: container.to_owned(),
        meta: Some(meta),
        fds: vec![0, 1, 2],
        ..gateway::InitMessage::default()
    };
    let _ = to_process.send(message(Input::Init(init))).await;
    let stream = bridge.answer(bridge.client().exec_process(bridge.request(ReceiverStream::new(messages)))).await;
    let failed = |status: tonic::Status| bridge.lost("the builder starts no process", &status);
    let mut stream = stream.map_err(failed)?;
    let _ = to_process.send(message(Input::File(gateway::FdMessage { fd: 0, eof: true, data: Vec::new() }))).await;
    let mut output = Vec::new();
    let mut code = None;
    while let Some(message) =
        bridge.answer(async { stream.message().await.map(tonic::Response::new) }).await.map_err(failed)?
    {
        match message.input {
            Some(Input::File(file)) if file.fd == 1 => output.extend(file.data),
            Some(Input::Exit(exit)) => code = Some(exit.code),
            Some(Input::Done(_)) => break,
            _ => {}
        }
        if output.len() > limit {
            return Err(EngineError::new("it is too large to be listed"));
        }
    }
    match code {
        Some(0) => Ok(output),
        _ => Err(EngineError::new("the process failed")),
    }
}

/// By its name, as numbers are not the same everywhere.
fn signal_name(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "HUP",
        2 => "INT",
        3 => "QUIT",
        9 => "KILL",
        15 => "TERM",
        _ => return None,
    })
}
