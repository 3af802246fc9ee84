//! The inside of a RUN: from a fork of the worker, in new namespaces, to the user's command.
//!
//! Until the command is there, nothing of the image runs. Afterwards nothing of ours does: the command itself is the
//! first process of its namespace.

use super::mounting::{Place, Point, attach, failed, last_errno, open_directory, open_in_root, place};
use super::mounts::Prepared;
use super::task::{RunTask, TaskError};
use super::users::ResolvedUser;
use super::work::settings;
use super::{capabilities, exec, rootfs, seccomp, terminal, wire};
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

#[derive(Debug)]
pub(super) struct Sandbox<'t> {
    pub(super) task: &'t RunTask,
    pub(super) root: OwnedFd,
    pub(super) mounts: &'t [Prepared],
    pub(super) argv: &'t [String],
    pub(super) env: &'t [String],
    pub(super) user: &'t ResolvedUser,
    /// Run the command below a process that passes signals on.
    pub(super) init: bool,
    /// Standard input, output and error; a terminal takes their place.
    pub(super) streams: [OwnedFd; 3],
    pub(super) worker: OwnedFd,
}

/// The namespaces of a sandbox, as `CLONE_NEW…`.
pub(super) fn namespaces(task: &RunTask) -> i32 {
    let mut flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if task.run.network == crate::plan::Network::None {
        flags |= libc::CLONE_NEWNET;
    }
    flags
}

/// Sets everything up and becomes the command. Comes back only to end this process.
pub(super) fn enter(sandbox: Sandbox<'_>) -> i32 {
    hide();
    // Not by the fork: its root would be the group of the process that forks. Old kernels have no such namespaces.
    // SAFETY: the new namespace is of the process alone, which has no thread, and no descriptor is concerned.
    let _ = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWCGROUP) };
    match sandbox.assemble().and_then(|()| sandbox.step_down()) {
        Ok(()) if sandbox.init => sandbox.become_init(),
        Ok(()) => sandbox.become_command(),
        Err(error) => sandbox.fail(error),
    }
}

/// The image's processes must not read or write this program by way of a process that still is it: /proc/PID/exe of
/// such a process is closed to them.
fn hide() {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

impl Sandbox<'_> {
    /// Builds the root and goes into it.
    fn assemble(&self) -> Result<(), TaskError> {
        let root_path = super::work::place().join("root");
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .map_err(failed("making the mounts private"))?;
        let at = open_directory(&root_path).map_err(failed("the root's place"))?;
        attach(&self.root, &at).map_err(failed("mounting the root"))?;
        let root = open_directory(&root_path).map_err(failed("the root"))?;
        let mut system = rootfs::mount(root.as_fd(), self.task.run.insecure)?;
        if !self.task.scratch {
            system.made.clear();
        }
        for mount in self.mounts {
            system.made.extend(mount.attach(root.as_fd())?);
        }
        if !system.made.is_empty() {
            self.say(&Inside::Made(system.made.clone()), &[])?;
        }
        fchdir(&root).map_err(failed("entering the root"))?;
        pivot_root(".", ".").map_err(no_pivot)?;
        unmount(".", UnmountFlags::DETACH).map_err(failed("leaving the old root"))?;
        chdir("/").map_err(failed("entering the root"))?;
        rustix::system::sethostname(self.task.hostname.as_bytes()).map_err(failed("setting the host name"))?;
        if self.task.run.network == crate::plan::Network::None {
            super::network::loopback_up().map_err(failed("starting the loopback interface"))?;
        }
        match self.task.terminal {
            Some(size) => {
                let master = terminal::open(&system, size, self.user.uid)?;
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
            let _ = rustix::fs::fchown(stream, Some(rustix::fs::Uid::from_raw(self.user.uid)), None);
        }
        rustix::stdio::dup2_stdin(input)?;
        rustix::stdio::dup2_stdout(output)?;
        rustix::stdio::dup2_stderr(error)
    }

    fn become_command(&self) -> i32 {
        self.fail(exec::exec(self.argv, self.env))
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
        make_working_directory(&self.task.run.cwd)?;
        // A session keyring of its own, so that nothing of ours is in reach. Kernels without keys have none to hide.
        // SAFETY: a system call with plain numbers.
        unsafe {
            libc::syscall(libc::SYS_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, 0, 0, 0, 0)
        };
        if !self.task.run.insecure {
            // Before the capabilities go: without no_new_privs, which would break su and sudo, a filter needs them.
            seccomp::install().map_err(failed("installing the system call filter"))?;
        }
        if settings().pretend {
            seccomp::install_pretence().map_err(failed("installing the system call filter"))?;
        }
        if !self.task.run.insecure {
            capabilities::limit().map_err(failed("giving up capabilities"))?;
        }
        // As root first: the user need not have the right to enter it.
        let entered = enter_working_directory(&self.task.run.cwd);
        if !settings().pretend {
            self.become_user().map_err(|errno| not_this_user(self.user, errno))?;
        }
        if !self.task.run.insecure {
            capabilities::keep_default().map_err(failed("giving up capabilities"))?;
        }
        if entered.is_err() {
            enter_working_directory(&self.task.run.cwd)?;
        }
        // Changing users has undone it.
        hide();
        reset_signals();
        // SAFETY: nothing is closed before the exec, and after it nothing of this program is left.
        let closed = unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) };
        if closed != 0 { Err(failed("closing descriptors")(last_errno())) } else { Ok(()) }
    }

    fn become_user(&self) -> Result<(), Errno> {
        let user = self.user;
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
