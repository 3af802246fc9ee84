//! Shells and single commands in containers on the builder.
//!
//! Source: BuildKit's gateway, `NewContainer` and `ExecProcess`. A process' input must be closed after its end, and a
//! container that is released answers with its shell's status as an error.

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

/// Messages that may wait in either direction.
const QUEUE: usize = 64;

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

/// `scratch` is there if it is wanted to know what the process changes; its command runs the process.
pub(super) async fn start(bridge: Arc<Bridge>, start: Start, scratch: Option<Scratch>) -> Result<Shell, EngineError> {
    let container = random_id();
    let request = gateway::NewContainerRequest {
        container_id: container.clone(),
        mounts: start.mounts,
        network: start.network,
        platform: start.platform,
        constraints: None,
        extra_hosts: start.meta.extra_hosts.clone(),
        hostname: start.meta.hostname.clone(),
    };
    let opened = bridge.answer(bridge.client().new_container(bridge.request(request))).await;
    opened.map_err(|status| bridge.lost("the builder opens no container", &status))?;
    let release = Release { bridge: bridge.clone(), container: container.clone(), scratch };
    let (to_process, messages) = mpsc::channel(QUEUE);
    let process = random_id();
    let message = |input: Input| gateway::ExecMessage { process_id: process.clone(), input: Some(input) };
    let tty = start.size.is_some();
    let init = gateway::InitMessage {
        container_id: container,
        meta: Some(start.meta),
        fds: if tty { vec![0, 1] } else { vec![0, 1, 2] },
        tty,
        security: start.security,
        secretenv: start.secrets,
    };
    let _ = to_process.send(message(Input::Init(init))).await;
    let stream = bridge.answer(bridge.client().exec_process(bridge.request(ReceiverStream::new(messages)))).await;
    let mut stream = stream.map_err(|status| bridge.lost("the builder starts no process", &status))?;
    // What cannot be started says so before anything else.
    loop {
        let first = tokio::select! {
            first = stream.message() => first,
            () = bridge.ended.cancelled() => return Err(super::trouble::gone("the shell cannot be started")),
        };
        let first = first.map_err(|status| bridge.lost("the shell cannot be started", &status))?;
        match first.and_then(|it| it.input) {
            Some(Input::Started(_)) => break,
            Some(Input::Exit(exit)) => {
                let why = exit.error.map(|it| it.message).unwrap_or_else(|| format!("exit code {}", exit.code));
                return Err(EngineError::new(format!(
                    "the shell cannot be started: {}",
                    super::connection::printable(&why)
                )));
            }
            Some(_) => {}
            None => return Err(EngineError::new("the shell ended before it began")),
        }
    }
    if let Some((columns, rows)) = start.size {
        let resize = gateway::ResizeMessage { rows: rows.into(), cols: columns.into() };
        let _ = to_process.send(message(Input::Resize(resize))).await;
    }
    let (input, from_user) = mpsc::channel(QUEUE);
    let (to_user, output) = mpsc::channel(QUEUE);
    tokio::spawn(converse(process, stream, to_process, from_user, to_user, release));
    Ok(Shell { input, output, program: start.program, borrowed_tools: start.borrowed_tools })
}

/// Throws the container away, with all that runs in it.
struct Release {
    bridge: Arc<Bridge>,
    container: String,
    scratch: Option<Scratch>,
}

impl Drop for Release {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (bridge, container_id) = (self.bridge.clone(), std::mem::take(&mut self.container));
        runtime.spawn(async move {
            let request = bridge.request(gateway::ReleaseContainerRequest { container_id });
            let _ = bridge.client().release_container(request).await;
        });
    }
}

async fn converse(
    process: String,
    mut stream: tonic::Streaming<gateway::ExecMessage>,
    to_process: mpsc::Sender<gateway::ExecMessage>,
    mut from_user: mpsc::Receiver<ShellInput>,
    to_user: mpsc::Sender<ShellOutput>,
    release: Release,
) {
    let message = |input: Input| gateway::ExecMessage { process_id: process.clone(), input: Some(input) };
    let end_of_input = || message(Input::File(gateway::FdMessage { fd: 0, eof: true, data: Vec::new() }));
    let mut code = None;
    let mut lost = None;
    let mut end = release.scratch.as_ref().map(Scratch::end);
    // Whether its file system is still there.
    let mut whole = false;
    let mut input_open = true;
    loop {
        tokio::select! {
            received = stream.message() => match received {
                Ok(Some(received)) => match received.input {
                    Some(Input::File(file)) if !file.data.is_empty() => {
                        let (data, ended) = match &mut end {
                            Some(end) => end.take(file.data),
                            None => (file.data, None),
                        };
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
                        // The builder waits for it.
                        let _ = to_process.send(end_of_input()).await;
                        input_open = false;
                    }
                    Some(Input::Done(_)) => break,
                    _ => {}
                },
                Err(status) if code.is_none() => {
                    lost = Some(release.bridge.lost("the shell", &status));
                    break;
                }
                Ok(None) | Err(_) => break,
            },
            () = release.bridge.ended.cancelled(), if code.is_none() => {
                lost = Some(super::trouble::gone("the shell"));
                break;
            }
            given = from_user.recv(), if input_open => {
                let sent = match given {
                    Some(ShellInput::Bytes(data)) => message(Input::File(gateway::FdMessage { fd: 0, eof: false, data })),
                    Some(ShellInput::Resize(columns, rows)) => {
                        message(Input::Resize(gateway::ResizeMessage { rows: rows.into(), cols: columns.into() }))
                    }
                    Some(ShellInput::Signal(number)) => match signal_name(number) {
                        Some(name) => message(Input::Signal(gateway::SignalMessage { name: name.to_owned() })),
                        None => continue,
                    },
                    Some(ShellInput::Eof) => {
                        input_open = false;
                        end_of_input()
                    }
                    // Nobody is there any more: releasing the container kills it.
                    None => break,
                };
                if to_process.send(sent).await.is_err() {
                    input_open = false;
                }
            }
        }
    }
    if let Some(lost) = lost {
        let _ = to_user.send(ShellOutput::Lost(lost)).await;
        return;
    }
    let changes = match &release.scratch {
        Some(scratch) if whole => {
            tokio::select! {
                changes = scratch.changes(&release.bridge, &release.container) => changes.ok().map(Arc::new),
                // Nobody wants to know any more.
                () = to_user.closed() => None,
            }
        }
        _ => None,
    };
    drop(release);
    let _ = to_user.send(ShellOutput::Exited { code: code.unwrap_or(137), changes }).await;
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
