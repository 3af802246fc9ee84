//! The inside of a RUN: from a fork of the worker, in new namespaces, to the user's command.
//!
//! What does not depend on the command is set up before the command is known: the process waits in its namespaces, with
//! /proc, /sys and /dev ready, until it is told what to become.
//!
//! Until the command is there, nothing of the image runs. Afterwards nothing of ours does: the command itself is the
//! first process of its namespace.

use super::devices::Devices;
use super::mounting::{Place, Point, attach, failed, last_errno, open_directory, open_in_root, place};
use super::mounts::Prepared;
use super::rootfs::System;
use super::spawn::{Child, fork_into};
use super::task::TaskError;
use super::users::ResolvedUser;
use super::work::settings;
use super::{capabilities, exec, limits, rootfs, seccomp, terminal, wire};
use crate::plan::{Network, Run, Ulimit};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::process::{DumpableBehavior, chdir, fchdir, pivot_root, set_dumpable_behavior};
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What the sandbox' first process says to the worker before it becomes the command. The end of the stream means that
/// it has.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Inside {
    /// These were made as mount points in the image's own file system, parents first; relative to the root.
    Made(Vec<PathBuf>),
    /// The terminal's master comes with this.
    Terminal,
    Failed(TaskError),
}

/// What a sandbox has to be like before the command is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Kind {
    /// No network.
    offline: bool,
    /// Docker's `--security=insecure`.
    insecure: bool,
}

impl Kind {
    pub(super) fn of(run: &Run) -> Kind {
        Kind { offline: run.network == Network::None, insecure: run.insecure }
    }

    /// As `CLONE_NEW…`.
    fn namespaces(self) -> i32 {
        let mut flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
        if self.offline {
            flags |= libc::CLONE_NEWNET;
        }
        flags
    }
}

/// What a waiting sandbox is told to become. Its descriptors come along: the root, the three standard streams, and then
/// the mounts in their order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) argv: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) user: ResolvedUser,
    pub(super) ulimits: Vec<Ulimit>,
    pub(super) cwd: String,
    pub(super) hostname: String,
    /// Columns and rows; a terminal takes the place of the streams.
    pub(super) terminal: Option<(u16, u16)>,
    /// What had to be made for the system's mounts is to be taken away afterwards.
    pub(super) scratch: bool,
    /// Run the command below a process that passes signals on.
    pub(super) init: bool,
    pub(super) mounts: Vec<(PathBuf, Point)>,
}

/// A sandbox whose first process waits for its order.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) child: Child,
    /// The order goes there, and then the process' own words come from there.
    pub(super) socket: OwnedFd,
}

/// Descriptors in one message.
const AT_ONCE: usize = 4;

impl Waiting {
    pub(super) fn fork(kind: Kind) -> Result<Waiting, TaskError> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()
            .map_err(|error| TaskError::engine(format!("a socket for the sandbox: {error}")))?;
        let (ours, theirs) = (OwnedFd::from(ours), OwnedFd::from(theirs));
        // What is `insecure` may open every device, as in Docker.
        let group = settings().devices.as_ref().filter(|_| !kind.insecure).map(Devices::group);
        let child = fork_into(kind.namespaces(), group, move || enter(kind, theirs));
        let child = child.map_err(failed("starting the sandbox"))?;
        Ok(Waiting { child, socket: ours })
    }

    /// Gives the order.
    pub(super) fn go(
        &self,
        order: &Order,
        root: &OwnedFd,
        streams: &[OwnedFd; 3],
        mounts: &[Prepared],
    ) -> Result<(), TaskError> {
        let wrong = |error: wire::WireError| TaskError::engine(error.to_string());
        let first: Vec<_> = std::iter::once(root).chain(streams).map(AsFd::as_fd).collect();
        wire::send(&self.socket, order, &first).map_err(wrong)?;
        for some in mounts.chunks(AT_ONCE) {
            let some: Vec<_> = some.iter().map(|it| it.mount.as_fd()).collect();
            wire::send(&self.socket, &(), &some).map_err(wrong)?;
        }
        Ok(())
    }
}

/// A sandbox that knows what it is to become.
struct Sandbox {
    kind: Kind,
    order: Order,
    root: OwnedFd,
    mounts: Vec<Prepared>,
    streams: [OwnedFd; 3],
    worker: OwnedFd,
}

/// Sets up what can be, waits for the order, and becomes the command. Comes back only to end this process.
fn enter(kind: Kind, worker: OwnedFd) -> i32 {
    hide();
    // Not by the fork: its root would be the group of the process that forks. Old kernels have no such namespaces.
    // SAFETY: the new namespace is of the process alone, which has no thread, and no descriptor is concerned.
    let _ = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWCGROUP) };
    let ready = prepare(kind);
    let sandbox = match receive(kind, worker) {
        Ok(Some(sandbox)) => sandbox,
        // It is not needed.
        Ok(None) => return 0,
        Err(error) => {
            eprintln!("a sandbox did not understand its order: {error}");
            return 1;
        }
    };
    match ready.and_then(|system| sandbox.assemble(&system)).and_then(|()| sandbox.step_down()) {
        Ok(()) if sandbox.order.init => sandbox.become_init(),
        Ok(()) => sandbox.become_command(),
        Err(error) => sandbox.fail(error),
    }
}

fn prepare(kind: Kind) -> Result<System, TaskError> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(failed("making the mounts private"))?;
    let staging = open_directory(&super::work::place().join("system")).map_err(failed("the system's place"))?;
    rootfs::mount(staging.as_fd(), kind.insecure)
}

fn receive(kind: Kind, worker: OwnedFd) -> Result<Option<Sandbox>, wire::WireError> {
    let Some((order, first)) = wire::receive::<Order>(&worker)? else { return Ok(None) };
    let mut mounts = Vec::new();
    while mounts.len() < order.mounts.len() {
        let Some(((), some)) = wire::receive::<()>(&worker)? else { return Ok(None) };
        if some.is_empty() {
            return Ok(None);
        }
        mounts.extend(some);
    }
    let points = order.mounts.iter().cloned();
    let mounts = points.zip(mounts).map(|((target, point), mount)| Prepared { target, point, mount }).collect();
    let Ok([root, input, output, error]) = <[OwnedFd; AT_ONCE]>::try_from(first) else { return Ok(None) };
    Ok(Some(Sandbox { kind, order, root, mounts, streams: [input, output, error], worker }))
}

/// The image's processes must not read or write this program by way of a process that still is it: /proc/PID/exe of
/// such a process is closed to them.
fn hide() {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

impl Sandbox {
    /// Builds the root and goes into it.
    fn assemble(&self, system: &System) -> Result<(), TaskError> {
        let order = &self.order;
        let root_path = super::work::place().join("root");
        let at = open_directory(&root_path).map_err(failed("the root's place"))?;
        attach(&self.root, &at).map_err(failed("mounting the root"))?;
        let root = open_directory(&root_path).map_err(failed("the root"))?;
        let mut made = system.put(root.as_fd())?;
        if !order.scratch {
            made.clear();
        }
        for mount in &self.mounts {
            made.extend(mount.attach(root.as_fd())?);
        }
        if !made.is_empty() {
            self.say(&Inside::Made(made), &[])?;
        }
        fchdir(&root).map_err(failed("entering the root"))?;
        pivot_root(".", ".").map_err(no_pivot)?;
        unmount(".", UnmountFlags::DETACH).map_err(failed("leaving the old root"))?;
        chdir("/").map_err(failed("entering the root"))?;
        rustix::system::sethostname(order.hostname.as_bytes()).map_err(failed("setting the host name"))?;
        if self.kind.offline {
            super::network::loopback_up().map_err(failed("starting the loopback interface"))?;
        }
        match order.terminal {
            Some(size) => {
                let master = terminal::open(system, size, order.user.uid)?;
                self.say(&Inside::Terminal, &[master.as_fd()])?;
            }
            None => self.take_streams().map_err(failed("the standard streams"))?,
        }
        if settings().pretend {
            pretend_files(&system.dev).map_err(failed("/dev"))?;
        }
        Ok(())
    }

    fn say(&self, what: &Inside, descriptors: &[std::os::fd::BorrowedFd<'_>]) -> Result<(), TaskError> {
        wire::send(&self.worker, what, descriptors).map_err(|error| TaskError::engine(error.to_string()))
    }

    fn take_streams(&self) -> Result<(), Errno> {
        let [input, output, error] = &self.streams;
        rustix::process::setsid()?;
        for stream in [input, output, error] {
            // The user must be able to open /dev/stdout again. What is no pipe of ours stays whose it is.
            let _ = rustix::fs::fchown(stream, Some(rustix::fs::Uid::from_raw(self.order.user.uid)), None);
        }
        rustix::stdio::dup2_stdin(input)?;
        rustix::stdio::dup2_stdout(output)?;
        rustix::stdio::dup2_stderr(error)
    }

    fn become_command(&self) -> i32 {
        self.fail(exec::exec(&self.order.argv, &self.order.env))
    }

    fn become_init(&self) -> i32 {
        self.fail(super::init::run(|| self.become_command()))
    }

    fn fail(&self, error: TaskError) -> i32 {
        let _ = wire::send(&self.worker, &Inside::Failed(error), &[]);
        127
    }

    /// Gives up everything that the command must not have.
    fn step_down(&self) -> Result<(), TaskError> {
        rustix::process::umask(Mode::from(0o022));
        let cwd = &self.order.cwd;
        make_working_directory(cwd)?;
        // A session keyring of its own, so that nothing of ours is in reach. Kernels without keys have none to hide.
        // SAFETY: a system call with plain numbers.
        unsafe {
            libc::syscall(libc::SYS_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, 0, 0, 0, 0)
        };
        // While there may be a capability to raise them.
        self.order.ulimits.iter().try_for_each(limits::set)?;
        if !self.kind.insecure {
            // Before the capabilities go: without no_new_privs, which would break su and sudo, a filter needs them.
            seccomp::install().map_err(failed("installing the system call filter"))?;
        }
        if settings().pretend {
            seccomp::install_pretence().map_err(failed("installing the system call filter"))?;
        }
        if !self.kind.insecure {
            capabilities::limit().map_err(failed("giving up capabilities"))?;
        }
        // As root first: the user need not have the right to enter it.
        let entered = enter_working_directory(cwd);
        if !settings().pretend {
            self.become_user().map_err(|errno| not_this_user(&self.order.user, errno))?;
        }
        if !self.kind.insecure {
            capabilities::keep_default().map_err(failed("giving up capabilities"))?;
        }
        if entered.is_err() {
            enter_working_directory(cwd)?;
        }
        // Changing users has undone it.
        hide();
        reset_signals();
        // SAFETY: nothing is closed before the exec, and after it nothing of this program is left.
        let closed = unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) };
        if closed != 0 { Err(failed("closing descriptors")(last_errno())) } else { Ok(()) }
    }

    fn become_user(&self) -> Result<(), Errno> {
        let user = &self.order.user;
        // SAFETY: plain system calls, and a list that lives until the call returns; the process has one thread.
        let done = unsafe {
            libc::setgroups(user.groups.len(), user.groups.as_ptr()) == 0
                && libc::setresgid(user.gid, user.gid, user.gid) == 0
                && libc::setresuid(user.uid, user.uid, user.uid) == 0
        };
        if done { Ok(()) } else { Err(last_errno()) }
    }
}

/// A container's filter may allow root to mount, and yet not this.
fn no_pivot(errno: Errno) -> TaskError {
    let error = failed("entering the root")(errno);
    match errno == Errno::PERM && super::namespaces::filtered() {
        true => super::namespaces::FILTERED.into_iter().fold(error, TaskError::with_help),
        false => error,
    }
}

fn not_this_user(user: &ResolvedUser, errno: Errno) -> TaskError {
    match errno {
        Errno::INVAL => TaskError::input(format!(
            "The ids {}:{} do not exist in this user namespace: there are not enough subordinate ids.",
            user.uid, user.gid
        ))
        .with_help("Give the user who runs this a larger range in /etc/subuid and /etc/subgid, or run it as root."),
        errno => failed(format_args!("becoming user {}:{}", user.uid, user.gid))(errno),
    }
}

/// As BuildKit does for RUN: a missing working directory is made, as root.
fn make_working_directory(cwd: &str) -> Result<(), TaskError> {
    let root = open_directory(Path::new("/")).map_err(failed("the root"))?;
    match place(&root, Path::new(cwd), Point::Directory) {
        Ok(Place { .. }) => Ok(()),
        Err(Errno::NOTDIR) => Err(TaskError::input(format!("The working directory {cwd} is not a directory."))),
        Err(errno) => Err(TaskError::input(format!(
            "The working directory {cwd} could not be made: {}.",
            std::io::Error::from(errno)
        ))),
    }
}

/// By a descriptor that no magic link of /proc leads to: what this process holds open is not to be entered.
fn enter_working_directory(cwd: &str) -> Result<(), TaskError> {
    let cwd = if cwd.is_empty() { "/" } else { cwd };
    let enter = || fchdir(open_in_root(open_directory(Path::new("/"))?, cwd, OFlags::PATH | OFlags::DIRECTORY)?);
    enter().map_err(|errno| {
        TaskError::input(format!("This user may not enter {cwd}: {}.", std::io::Error::from(errno)))
    })?;
    // The kernel says `(unreachable)` of a directory outside of the root.
    match rustix::process::getcwd(Vec::new()) {
        Ok(path) if path.as_bytes().starts_with(b"/") => Ok(()),
        _ => Err(TaskError::input(format!("The working directory {cwd} is not within the image."))),
    }
}

/// apt drops to a user of its own for downloads, which cannot work where there is only one.
fn pretend_files(dev: &OwnedFd) -> Result<(), Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dev, PRETEND_APT, flags, Mode::from(0o644))?;
    rustix::io::write(&file, b"APT::Sandbox::User \"root\";\n").map(drop)
}

const PRETEND_APT: &str = ".apt.conf";

/// What the environment has besides, where users are pretended.
pub(super) fn pretend_environment() -> String {
    format!("APT_CONFIG=/dev/{PRETEND_APT}")
}

/// Signals that we ignore, or that were ignored when we were started, would stay so.
pub(super) fn reset_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // By the system call, since the C library keeps the first of the real-time signals to itself.
        let default = [0u64; 4];
        // SAFETY: all zero is the kernel's `struct sigaction` for the default action, which has no handler and at most
        // 32 bytes; for numbers that cannot be set the call fails.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, &raw const default, std::ptr::null::<u64>(), 8usize);
        }
    }
    // SAFETY: all zero is an empty signal set.
    unsafe {
        let none: libc::sigset_t = std::mem::zeroed();
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}
