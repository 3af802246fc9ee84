//! Shells and single commands on a scratch layer, as channels of bytes.

use super::bound::Bound;
use super::engine::{Embedded, store_error};
use super::launcher::{Launcher, TaskHandle};
use super::task::{Report, Task, Upper};
use super::{steps, toolbox};
use crate::engine::{EngineError, Output, Shell, ShellInput, ShellOutput, ShellRequest};
use crate::layers::Layer;
use crate::snapshot::store::Draft;
use rustix::termios::{Winsize, tcsetwinsize};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

/// Messages that may wait in either direction.
const QUEUE: usize = 64;

pub(super) async fn start(engine: &Embedded, request: ShellRequest) -> Result<Shell, EngineError> {
    let (unheard, _) = mpsc::channel(1);
    let inputs = steps::inputs(engine, &request.origins, &request.inputs, &Output(unheard)).await?;
    let draft = engine.store.draft().map_err(store_error)?;
    let upper = Upper { dir: draft.fs(), work: draft.work() };
    let (mut task, bound) = steps::run_task(engine, &request.run, engine.stack(&request.at)?, upper, inputs).await?;
    task.scratch = true;
    task.terminal = request.size;
    task.toolbox = toolbox::get(engine).await;
    let mut fds = Vec::new();
    let mut stdin = None;
    if request.size.is_none() {
        let (writer, reader) = pipe::pipe().map_err(|error| EngineError::new(format!("no pipe: {error}")))?;
        fds.push(reader.into_blocking_fd().map_err(|error| EngineError::new(format!("no pipe: {error}")))?);
        stdin = Some(writer);
        task.stdin = true;
    }
    let mut handle = engine.launcher.task(Task::Run(Box::new(task)), fds);
    let (input, from_user) = mpsc::channel(QUEUE);
    let (to_user, output) = mpsc::channel(QUEUE);
    let scratch = (Scratch::new(engine, draft), bound);
    match stdin {
        Some(stdin) => {
            tokio::spawn(piped(handle, stdin, from_user, to_user, scratch));
            Ok(Shell { input, output, program: request.run.argv.join(" "), borrowed_tools: false })
        }
        None => {
            let (program, borrowed_tools, master) = opened(&mut handle).await?;
            // SAFETY: the descriptor is owned and moves into the registration, which closes it only after it has
            // taken it out of the poll; nothing else closes it.
            let master = unsafe { AsyncFd::register(master) };
            let master = master.map_err(|error| EngineError::new(format!("no terminal: {error}")))?;
            tokio::spawn(terminal(handle, master, from_user, to_user, scratch));
            Ok(Shell { input, output, program, borrowed_tools })
        }
    }
}

/// A layer for as long as somebody has this, for instance a shell's until that is over, however it ends.
pub(super) struct Scratch {
    dir: Option<PathBuf>,
    launcher: Arc<Launcher>,
}

impl Scratch {
    pub(super) fn new(engine: &Embedded, draft: Draft) -> Scratch {
        Scratch { dir: Some(draft.dir), launcher: engine.launcher.clone() }
    }

    /// It is the caller's to remove then.
    pub(super) fn give_up(mut self) -> Option<PathBuf> {
        self.dir.take()
    }
}

/// What a shell needs while it runs.
type Needs = (Scratch, Vec<Arc<Bound>>);

impl Drop for Scratch {
    fn drop(&mut self) {
        let (launcher, dirs) = (self.launcher.clone(), Vec::from_iter(self.dir.take()));
        if !dirs.is_empty()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                let mut handle = launcher.task(Task::Remove { dirs }, Vec::new());
                while handle.next().await.is_some() {}
            });
        }
    }
}

/// Waits for the terminal's master.
async fn opened(handle: &mut TaskHandle) -> Result<(String, bool, OwnedFd), EngineError> {
    while let Some((report, mut fds)) = handle.next().await {
        match report {
            Report::Terminal { program, borrowed } => {
                let master = fds.pop().ok_or_else(|| EngineError::new("no terminal came with the shell"))?;
                rustix::io::ioctl_fionbio(&master, true)
                    .map_err(|error| EngineError::new(format!("no terminal: {error}")))?;
                return Ok((program, borrowed, master));
            }
            Report::Failed(error) => return Err(error.into()),
            Report::Done => break,
            _ => {}
        }
    }
    Err(EngineError::new("the shell ended before it had a terminal"))
}

/// What the task says after its process has begun: how it ended, and what it changed.
#[derive(Default)]
struct End {
    code: Option<i32>,
    changes: Option<Layer>,
}

impl End {
    /// Whether this was the last report.
    fn take(&mut self, report: Report) -> bool {
        match report {
            Report::Exit(code) => self.code = Some(code),
            Report::Layer(layer) => self.changes = Some(layer),
            Report::Failed(_) | Report::Done => return true,
            _ => {}
        }
        false
    }

    fn message(self) -> ShellOutput {
        ShellOutput::Exited {
            code: self.code.unwrap_or(137),
            changes: Some(Arc::new(self.changes.unwrap_or_default())),
        }
    }
}

async fn terminal(
    mut handle: TaskHandle,
    master: AsyncFd<OwnedFd>,
    mut from_user: mpsc::Receiver<ShellInput>,
    to_user: mpsc::Sender<ShellOutput>,
    scratch: Needs,
) {
    let mut end = End::default();
    let mut buffer = vec![0; 16 << 10];
    let mut unwritten: Vec<u8> = Vec::new();
    let (mut open, mut running) = (true, true);
    while open || running {
        tokio::select! {
            ready = master.readable(), if open => {
                let Ok(mut guard) = ready else { break };
                match guard.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut buffer[..])?)) {
                    Ok(Ok(0)) | Ok(Err(_)) => open = false,
                    Ok(Ok(count)) => {
                        let bytes = ShellOutput::Bytes(buffer[..count].to_vec());
                        if to_user.send(bytes).await.is_err() { break }
                    }
                    Err(_) => {}
                }
            }
            ready = master.writable(), if open && !unwritten.is_empty() => {
                let Ok(mut guard) = ready else { break };
                match guard.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), &unwritten)?)) {
                    Ok(Ok(count)) => drop(unwritten.drain(..count)),
                    Ok(Err(_)) => open = false,
                    Err(_) => {}
                }
            }
            input = from_user.recv(), if unwritten.is_empty() => match input {
                Some(ShellInput::Bytes(bytes)) => unwritten = bytes,
                Some(ShellInput::Resize(columns, rows)) => {
                    let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
                    let _ = tcsetwinsize(master.get_ref(), size);
                }
                // The terminal turns these into signals for whatever runs in front.
                Some(ShellInput::Signal(signal)) if signal == libc::SIGINT => unwritten = vec![0x03],
                Some(ShellInput::Signal(signal)) if signal == libc::SIGQUIT => unwritten = vec![0x1c],
                Some(ShellInput::Eof) => unwritten = vec![0x04],
                Some(ShellInput::Signal(_)) => {}
                // Nobody is there any more: dropping the handle kills the shell.
                None => break,
            },
            message = handle.next(), if running => match message {
                Some((report, _)) => running = !end.take(report),
                None => running = false,
            },
        }
        if !running && open {
            // What it wrote last is in the terminal's buffer; the master gives an error once that is read.
            while let Ok(count @ 1..) = rustix::io::read(master.get_ref(), &mut buffer[..]) {
                let _ = to_user.send(ShellOutput::Bytes(buffer[..count].to_vec())).await;
            }
            open = false;
        }
    }
    drop(handle);
    drop(scratch);
    let _ = to_user.send(end.message()).await;
}

async fn piped(
    mut handle: TaskHandle,
    stdin: pipe::Sender,
    mut from_user: mpsc::Receiver<ShellInput>,
    to_user: mpsc::Sender<ShellOutput>,
    scratch: Needs,
) {
    let mut end = End::default();
    let feed = async move {
        let mut stdin = stdin;
        while let Some(ShellInput::Bytes(bytes)) = from_user.recv().await {
            let written: io::Result<()> = stdin.write_all(&bytes).await;
            if written.is_err() {
                break;
            }
        }
    };
    let feeding = tokio::spawn(feed);
    while let Some((report, _)) = handle.next().await {
        let sent = match report {
            Report::Stdout(bytes) => to_user.send(ShellOutput::Bytes(bytes)).await,
            Report::Stderr(bytes) => to_user.send(ShellOutput::Stderr(bytes)).await,
            Report::Failed(error) => {
                let mut text = format!("{}\n", error.message);
                text.extend(error.help.iter().map(|line| format!("{line}\n")));
                end.code.get_or_insert(126);
                let _ = to_user.send(ShellOutput::Stderr(text.into_bytes())).await;
                break;
            }
            report => {
                if end.take(report) {
                    break;
                }
                Ok(())
            }
        };
        if sent.is_err() {
            break;
        }
    }
    feeding.abort();
    drop(handle);
    drop(scratch);
    let _ = to_user.send(end.message()).await;
}
