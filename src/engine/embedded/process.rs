//! The engine process: single-threaded, in the namespaces where the store's files have their owners.
//!
//! It waits on its control socket and on its workers, and never for anything else, so that it sees at once when the
//! program that started it has gone.

use super::devices::Devices;
use super::namespaces::{Entered, Mode, NotEntered, enter, look_around};
use super::spawn::{Child, Ended};
use super::task::{Task, TaskError};
use super::work::{self, Settings, Spare};
use super::{spawn, wire};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The first argument that makes this program the engine process. It is nobody's business but ours.
pub(super) const ARGUMENT: &str = "engine-process";

/// In its place when the namespaces have been entered.
const ENTERED: &str = "engine-process-within";

/// The argument that stands for [`Start::old_overlay`](super::launcher::Start).
pub(super) const OLD_OVERLAY: &str = "old-overlay";

/// How long a RUN has the machine to itself before a spare worker is started.
const BEFORE_A_SPARE: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

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
    let arguments: Vec<OsString> = std::env::args_os().skip(1).take(5).collect();
    let words: Vec<&str> = arguments.iter().map(|it| it.to_str().unwrap_or_default()).collect();
    let code = match words[..] {
        [ARGUMENT, _, only, overlay] => begin(Path::new(&arguments[1]), only, overlay),
        [ENTERED, _, mode, overlay, reasons] => go_on(Path::new(&arguments[1]), mode, overlay, reasons),
        [ARGUMENT | ENTERED, ..] => not_by_hand(),
        _ => return,
    };
    std::process::exit(code);
}

/// Enters the namespaces.
fn begin(place: &Path, only: &str, overlay: &str) -> i32 {
    let Ok(control) = take_control_socket() else { return not_by_hand() };
    // Away from the terminal: Ctrl-C is for the program to see, and it decides what happens then.
    let _ = rustix::process::setsid();
    // Only to ask whether there is the call: a socket is no mount.
    if super::mounting::set_attributes(&control, false, MountAttrFlags::MOUNT_ATTR_NODEV) == Err(Errno::NOSYS) {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        let error = format!("The embedded engine needs Linux 5.12 or newer; this is {kernel}, without mount_setattr.");
        let _ = wire::send(&control, &Answer::Unable(TaskError::engine(error)), &[]);
        return 1;
    }
    let answer = match enter(Mode::of_name(only)) {
        Ok((mode, reasons)) => {
            let error = start_again(&control, place, mode, overlay, &reasons.join("\n"));
            Answer::Unable(super::mounting::failed("starting the engine process again")(error))
        }
        Err(NotEntered::TrySingle(why)) => Answer::TrySingle { why },
        Err(NotEntered::Failed(error)) => Answer::Unable(error),
    };
    let _ = wire::send(&control, &answer, &[]);
    1
}

/// Executes this program once more, where it can be written by nobody: so what a container can reach of us by
/// /proc/PID/exe is of no use to it, whatever rights it has and whenever it tries. Comes back only if that fails.
fn start_again(control: &OwnedFd, place: &Path, mode: Mode, overlay: &str, reasons: &str) -> Errno {
    let again = || -> Result<std::convert::Infallible, Errno> {
        let own = read_only_program().or_else(|_| sealed_program())?;
        rustix::stdio::dup2_stdin(control)?;
        let words = [ENTERED.as_bytes(), place.as_os_str().as_bytes(), mode.name().as_bytes()];
        let words = [&b"stagedive"[..]].into_iter().chain(words).chain([overlay.as_bytes(), reasons.as_bytes()]);
        let arguments: Vec<CString> = words.map(CString::new).collect::<Result<_, _>>().map_err(|_| Errno::INVAL)?;
        Err(super::exec::replace(&own, &arguments))
    };
    match again() {
        Ok(never) => match never {},
        Err(errno) => errno,
    }
}

/// A read-only mount of this program, found by its path in the new mount namespace.
fn read_only_program() -> Result<OwnedFd, Errno> {
    let path = rustix::fs::readlink("/proc/self/exe", Vec::new())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID;
    let path = Path::new(OsStr::from_bytes(path.as_bytes()));
    let found = super::mounting::bind(super::mounting::here(), path, false, attributes)?;
    let (found_status, own_status) = (rustix::fs::fstat(&found)?, rustix::fs::stat("/proc/self/exe")?);
    match (found_status.st_dev, found_status.st_ino) == (own_status.st_dev, own_status.st_ino) {
        true => Ok(found),
        // It was replaced by another one meanwhile.
        false => Err(Errno::NOENT),
    }
}

/// A copy of this program in memory, for when the file has gone.
fn sealed_program() -> Result<OwnedFd, Errno> {
    let copy = memfd_create("stagedive", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = std::fs::File::from(copy);
    let mut own = std::fs::File::open("/proc/self/exe").map_err(|error| errno(&error))?;
    std::io::copy(&mut own, &mut file).map_err(|error| errno(&error))?;
    let copy = OwnedFd::from(file);
    fcntl_add_seals(&copy, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(copy)
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Serves, within the namespaces.
fn go_on(place: &Path, mode: &str, overlay: &str, reasons: &str) -> i32 {
    let (Some(mode), Ok(control)) = (Mode::of_name(mode), take_control_socket()) else { return not_by_hand() };
    let entered = look_around(mode, reasons.lines().map(str::to_owned).collect());
    let old_overlay = overlay == OLD_OVERLAY || super::overlay::kernel_is_old();
    let answer = prepare(place, entered, old_overlay).unwrap_or_else(Answer::Unable);
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
    if let Some(devices) = &work::settings().devices {
        devices.remove();
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

fn prepare(place: &Path, mut entered: Entered, old_overlay: bool) -> Result<Answer, TaskError> {
    let wrong = |what: String| super::mounting::failed(what);
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
    let devices = match entered.mode {
        Mode::Root => Devices::prepare().ok(),
        // Nobody can make device files there.
        Mode::Subuid | Mode::Single => None,
    };
    if entered.mode == Mode::Root && devices.is_none() {
        let limit = "Device files that a step makes cannot be opened; /dev/null and its like can.";
        entered.limits.push(limit.to_owned());
    }
    super::seccomp::prepare();
    work::set_up(Settings {
        place: PathBuf::from(place),
        pretend: entered.pretend,
        tty_group: entered.tty_group,
        own_proc,
        old_overlay,
        devices,
    });
    super::overlay::try_out()?;
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
    let mut spare: Option<Spare> = None;
    // After one RUN there will be another: what it needs is made ready while the first one runs.
    let mut wants_spare = false;
    loop {
        let timeout = wants_spare.then_some(&BEFORE_A_SPARE);
        let (woken, ended) = wait(control, workers, timeout)?;
        if !woken && ended.is_empty() {
            spare = spare.or_else(|| Spare::start(control.as_fd()));
            wants_spare = false;
            continue;
        }
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
            Some((Request::Start { id, task }, descriptors)) => {
                wants_spare |= matches!(task, Task::Run(_));
                let given = match Spare::fits(&task) {
                    true => spare.take().and_then(|it| it.take(&task, &descriptors)),
                    false => None,
                };
                match given.map_or_else(|| work::start(task, descriptors, control.as_fd()), Ok) {
                    Ok(worker) => drop(workers.insert(id, worker)),
                    Err(how) => wire::send(control, &Answer::Ended { id, how }, &[])?,
                }
            }
        }
    }
}

/// Waits until there is a message, or workers that have ended; but no longer than a given time.
fn wait(
    control: &OwnedFd,
    workers: &BTreeMap<u64, Child>,
    timeout: Option<&Timespec>,
) -> Result<(bool, Vec<u64>), Errno> {
    let watched = workers.values().map(|worker| &worker.descriptor);
    let mut polled: Vec<PollFd<'_>> =
        [control].into_iter().chain(watched).map(|it| PollFd::new(it, PollFlags::IN)).collect();
    while let Err(errno) = rustix::event::poll(&mut polled, timeout) {
        if errno != Errno::INTR {
            return Err(errno);
        }
    }
    let mut woken = polled.iter().map(|it| !it.revents().is_empty());
    let control = woken.next().unwrap_or_default();
    Ok((control, workers.keys().zip(woken).filter(|(_, woken)| *woken).map(|(id, _)| *id).collect()))
}
