//! A worker: one task, in a process and namespaces of its own.

use super::devices::Devices;
use super::mounting::{attach, failed, file_system, open_directory};
use super::sandbox::{Kind, Waiting};
use super::spawn::{Child, Ended, fork};
use super::task::{Report, Task, TaskError};
use super::{file_tasks, run, wire};
use crate::snapshot::remove::remove;
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What holds for all tasks of this engine process.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// A directory of the engine's own with a tmpfs over it that only it and its workers see: mount points.
    pub(super) place: PathBuf,
    /// There is one uid only.
    pub(super) pretend: bool,
    /// Group 5 exists.
    pub(super) tty_group: bool,
    /// A fresh /proc may be mounted.
    pub(super) own_proc: bool,
    /// Layers are mounted as kernels before Linux 6.5 want them.
    pub(super) old_overlay: bool,
    /// Where commands are, so that they can be let make device files. Without it their mounts open none.
    pub(super) devices: Option<Devices>,
}

impl Settings {
    /// For the mounts of a sandbox.
    pub(super) fn nodev(&self) -> MountAttrFlags {
        match self.devices {
            Some(_) => MountAttrFlags::empty(),
            None => MountAttrFlags::MOUNT_ATTR_NODEV,
        }
    }
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

pub(super) fn set_up(settings: Settings) {
    SETTINGS.get_or_init(|| settings);
}

pub(super) fn settings() -> &'static Settings {
    SETTINGS.get_or_init(Settings::default)
}

/// The directory for mount points; in a worker, its own.
pub(super) fn place() -> &'static Path {
    &settings().place
}

/// Where a task's reports go.
#[derive(Debug)]
pub struct Reporter {
    socket: OwnedFd,
}

impl Reporter {
    pub fn send(&self, report: &Report) {
        self.send_with(report, &[]);
    }

    /// Waits while the reader is slow. When nobody reads any more, the task is over, and so is this process.
    pub(super) fn send_with(&self, report: &Report, descriptors: &[BorrowedFd<'_>]) {
        match wire::send(&self.socket, report, descriptors) {
            Ok(()) => {}
            Err(wire::WireError::Io(_)) => std::process::exit(0),
            Err(error) => {
                eprintln!("a report could not be sent: {error}");
                std::process::exit(1)
            }
        }
    }

    /// What the program says to the task; blocks until it says something. When it has hung up, the task is over.
    pub(super) fn receive(&self) -> Instruction {
        match wire::receive(&self.socket) {
            Ok(Some((instruction, _))) => instruction,
            Ok(None) | Err(_) => std::process::exit(0),
        }
    }
}

impl AsFd for Reporter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// From the program to a running task, on the task's socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Instruction {
    /// To be sent to the command.
    pub(super) signal: i32,
}

/// Starts a worker. It is the first process of a process namespace, so when it ends, however it ends, so does
/// everything that it has started.
pub(super) fn start(task: Task, descriptors: Vec<OwnedFd>, control: BorrowedFd<'_>) -> Result<Child, Ended> {
    let ready = || own_place().map(|()| None);
    begin(control, move || work(task, descriptors, ready()))
}

fn begin(control: BorrowedFd<'_>, body: impl FnOnce() -> i32) -> Result<Child, Ended> {
    let engine = rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty());
    let engine = engine.map_err(|errno| refused("a worker's descriptor", errno))?;
    let control = control.as_raw_fd();
    let namespaces = libc::CLONE_NEWPID | libc::CLONE_NEWNS;
    let worker = fork(namespaces, move || {
        // SAFETY: in this process nothing uses the control socket; as long as it were open here, the program would not
        // see the end of the engine process.
        unsafe { libc::close(control) };
        die_with(&engine);
        drop(engine);
        body()
    });
    worker.map_err(|errno| refused("a worker", errno))
}

/// A worker that has no task yet, with a sandbox that has no command yet: what takes time has been done when a RUN
/// comes.
#[derive(Debug)]
pub(super) struct Spare {
    /// `None` once it has a task.
    worker: Option<Child>,
    socket: OwnedFd,
}

impl Spare {
    pub(super) fn start(control: BorrowedFd<'_>) -> Option<Spare> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().ok()?;
        let (ours, theirs) = (OwnedFd::from(ours), OwnedFd::from(theirs));
        let engines_end = ours.as_raw_fd();
        let worker = begin(control, move || {
            // SAFETY: nothing in this process uses the engine process' end; open here, it would hide that the engine
            // process has closed it.
            unsafe { libc::close(engines_end) };
            let ready = own_place().and_then(|()| Waiting::fork(Kind::default())).map(Some);
            match wire::receive::<Task>(&theirs) {
                Ok(Some((task, descriptors))) => work(task, descriptors, ready),
                // It is not needed.
                Ok(None) | Err(_) => 0,
            }
        });
        Some(Spare { worker: Some(worker.ok()?), socket: ours })
    }

    /// Whether it can do the task.
    pub(super) fn fits(task: &Task) -> bool {
        matches!(task, Task::Run(task) if Kind::of(&task.run) == Kind::default())
    }

    /// Gives it the task. `None` if it could not be given, and another worker has to be started.
    pub(super) fn take(mut self, task: &Task, descriptors: &[OwnedFd]) -> Option<Child> {
        let lives = self.worker.as_ref().is_some_and(|worker| worker.try_wait() == Ok(None));
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        if !lives || wire::send(&self.socket, task, &descriptors).is_err() {
            return None;
        }
        self.worker.take()
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        if let Some(worker) = &self.worker {
            worker.kill();
            let _ = worker.wait();
        }
    }
}

fn refused(what: &str, errno: Errno) -> Ended {
    eprintln!("{what} could not be started: {}", std::io::Error::from(errno));
    Ended::Exited(1)
}

/// Does the task. The first descriptor is the task's socket; `ready` tells how making things ready went.
fn work(task: Task, descriptors: Vec<OwnedFd>, ready: Result<Option<Waiting>, TaskError>) -> i32 {
    let mut descriptors = descriptors.into_iter();
    let Some(socket) = descriptors.next() else { return 1 };
    let (reporter, rest) = (Reporter { socket }, descriptors.collect());
    // A panic is a fault of ours. It is printed to standard error, which the program keeps, and ends this task alone.
    let work = task.work().map(Path::to_owned);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| dispatch(task, &reporter, rest, ready)));
    let last = match result {
        Ok(Ok(())) => Report::Done,
        Ok(Err(error)) => Report::Failed(error),
        Err(_) => Report::Failed(TaskError::engine("The engine has a fault: it panicked.")),
    };
    reporter.send(&last);
    if let (Report::Done, Some(work)) = (last, work) {
        clear(&work);
    }
    0
}

/// Takes away what a step's work has left, while the next one runs already. Its layer may have been moved away by then,
/// or not: whoever is last, this process or the program, takes the directory of both too.
fn clear(work: &Path) {
    if let (Ok(()), Some(draft)) = (remove(work), work.parent()) {
        let _ = std::fs::remove_dir(draft);
    }
}

/// Has this process killed when the engine process ends; ends it now if that has happened already.
fn die_with(engine: &OwnedFd) {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let mut polled = [rustix::event::PollFd::new(engine, rustix::event::PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    if rustix::event::poll(&mut polled, Some(&now)) == Ok(1) {
        std::process::exit(1);
    }
}

fn dispatch(
    task: Task,
    reporter: &Reporter,
    descriptors: Vec<OwnedFd>,
    ready: Result<Option<Waiting>, TaskError>,
) -> Result<(), TaskError> {
    let waiting = ready?;
    match task {
        Task::Run(task) => run::run(*task, descriptors.into_iter().next(), reporter, waiting),
        other => file_tasks::dispatch(other, reporter, descriptors),
    }
}

/// Covers the place of the engine process with a tmpfs that goes with this process.
fn own_place() -> Result<(), TaskError> {
    let memory =
        file_system("tmpfs", &[("mode", "755")], MountAttrFlags::MOUNT_ATTR_NODEV).map_err(failed("a tmpfs"))?;
    let at = open_directory(place()).map_err(failed(place().display()))?;
    attach(&memory, at.as_fd()).map_err(failed(place().display()))?;
    for name in ["empty", "root", "system"] {
        rustix::fs::mkdirat(&memory, name, rustix::fs::Mode::from(0o755)).map_err(failed("a tmpfs"))?;
    }
    Ok(())
}
