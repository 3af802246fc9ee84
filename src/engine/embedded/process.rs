//! The engine process: single-threaded, in the namespaces where the store's files have their owners.
//!
//! It waits on its control socket and on its workers, and never for anything else, so that it sees at once when the
//! program that started it has gone.

use super::namespaces::{Mode, NotEntered, enter};
use super::spawn::{Child, Ended};
use super::task::{Task, TaskError};
use super::work::{self, Settings};
use super::{spawn, wire};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The first argument that makes this program the engine process. It is nobody's business but ours.
pub(super) const ARGUMENT: &str = "engine-process";

/// From the program to the engine process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// The first descriptor is the task's socket; the others are the task's.
    Start {
        id: u64,
        task: Task,
    },
    Cancel {
        id: u64,
    },
}

/// From the engine process to the program.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The first message: tasks can come.
    Ready { mode: Mode, limits: Vec<String> },
    /// The first and last message: start again, with one uid only.
    TrySingle { why: String },
    /// The first and last message: there is no way here.
    Unable(TaskError),
    /// Nothing of the task is left. `how` tells of a worker that died before it could report.
    Ended { id: u64, how: Ended },
}

/// Becomes the engine process if this program was started as one, and then never returns. Comes before everything else
/// in `main`: there must be no other thread yet.
pub fn main_if_engine() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() == Some(ARGUMENT.as_ref()) {
        std::process::exit(run(arguments.collect()));
    }
}

fn run(arguments: Vec<OsString>) -> i32 {
    let [place, only] = &arguments[..] else { return not_by_hand() };
    let only = match only.to_str() {
        Some("") => None,
        Some("root") => Some(Mode::Root),
        Some("subuid") => Some(Mode::Subuid),
        Some("single") => Some(Mode::Single),
        _ => return not_by_hand(),
    };
    let Ok(control) = take_control_socket() else { return not_by_hand() };
    // Away from the terminal: Ctrl-C is for the program to see, and it decides what happens then.
    let _ = rustix::process::setsid();
    let answer = match prepare(Path::new(place), only) {
        Ok(answer) => answer,
        Err(NotEntered::TrySingle(why)) => Answer::TrySingle { why },
        Err(NotEntered::Failed(error)) => Answer::Unable(error),
    };
    let ready = matches!(answer, Answer::Ready { .. });
    if wire::send(&control, &answer, &[]).is_err() || !ready {
        return 1;
    }
    let mut workers = BTreeMap::new();
    let result = serve(&control, &mut workers);
    for worker in workers.values() {
        worker.kill();
    }
    for worker in workers.values() {
        let _ = worker.wait();
    }
    match result {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("the engine process cannot go on: {error}");
            1
        }
    }
}

fn not_by_hand() -> i32 {
    eprintln!("stagedive starts `{ARGUMENT}` itself; it is of no use by hand");
    2
}

/// The control socket comes as standard input; anything else that was left open to us is closed.
fn take_control_socket() -> Result<OwnedFd, Errno> {
    // SAFETY: nothing in this process has opened a descriptor yet, so none above 2 has an owner here.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    let control = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::net::sockopt::socket_type(&control)?;
    let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(control)
}

fn prepare(place: &Path, only: Option<Mode>) -> Result<Answer, NotEntered> {
    let mut entered = enter(only)?;
    let wrong = |what: String| move |errno: Errno| NotEntered::Failed(super::mounting::failed(what)(errno));
    // A place for mount points that nobody else sees, gone with the namespace.
    let memory = super::mounting::file_system("tmpfs", &[("mode", "755")], MountAttrFlags::MOUNT_ATTR_NODEV)
        .map_err(wrong("a tmpfs".to_owned()))?;
    let at = super::mounting::open_directory(place).map_err(wrong(place.display().to_string()))?;
    super::mounting::attach(&memory, &at).map_err(wrong(place.display().to_string()))?;
    rustix::fs::mkdirat(&memory, "empty", rustix::fs::Mode::from(0o755)).map_err(wrong("a tmpfs".to_owned()))?;
    let own_proc = may_mount_proc();
    if !own_proc {
        entered.limits.push("RUN sees this system's /proc: a container's may not be mounted here.".to_owned());
    }
    super::seccomp::prepare();
    work::set_up(Settings {
        place: PathBuf::from(place),
        pretend: entered.pretend,
        tty_group: entered.tty_group,
        own_proc,
    });
    Ok(Answer::Ready { mode: entered.mode, limits: entered.limits })
}

/// Inside a container whose /proc is partly covered, the kernel lets nobody mount one that is not.
fn may_mount_proc() -> bool {
    let probe = spawn::fork(libc::CLONE_NEWPID, || {
        let mounted = super::mounting::file_system("proc", &[], MountAttrFlags::empty());
        i32::from(mounted.is_err())
    });
    probe.and_then(|child| child.wait()) == Ok(Ended::Exited(0))
}

/// Starts and ends workers until the program hangs up.
fn serve(control: &OwnedFd, workers: &mut BTreeMap<u64, Child>) -> Result<(), wire::WireError> {
    loop {
        let (woken, ended) = wait(control, workers)?;
        for id in ended {
            let Some(worker) = workers.get(&id) else { continue };
            if let Some(how) = worker.try_wait()? {
                workers.remove(&id);
                wire::send(control, &Answer::Ended { id, how }, &[])?;
            }
        }
        if !woken {
            continue;
        }
        match wire::receive(control)? {
            None => return Ok(()),
            Some((Request::Cancel { id }, _)) => {
                if let Some(worker) = workers.get(&id) {
                    worker.kill();
                }
            }
            Some((Request::Start { id, task }, descriptors)) => match work::start(task, descriptors, control.as_fd()) {
                Ok(worker) => {
                    workers.insert(id, worker);
                }
                Err(how) => wire::send(control, &Answer::Ended { id, how }, &[])?,
            },
        }
    }
}

/// Waits until there is a message, or workers that have ended.
fn wait(control: &OwnedFd, workers: &BTreeMap<u64, Child>) -> Result<(bool, Vec<u64>), Errno> {
    let watched = workers.values().map(|worker| &worker.descriptor);
    let mut polled: Vec<PollFd<'_>> =
        [control].into_iter().chain(watched).map(|it| PollFd::new(it, PollFlags::IN)).collect();
    while let Err(errno) = rustix::event::poll(&mut polled, None) {
        if errno != Errno::INTR {
            return Err(errno);
        }
    }
    let mut woken = polled.iter().map(|it| !it.revents().is_empty());
    let control = woken.next().unwrap_or_default();
    Ok((control, workers.keys().zip(woken).filter(|(_, woken)| *woken).map(|(id, _)| *id).collect()))
}
