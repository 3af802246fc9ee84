//! Forks with namespaces. Only single-threaded processes come here: the engine process and its workers.

use super::mounting::last_errno;
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitIdStatus};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A forked process, by a descriptor that no other process can come to have.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) descriptor: OwnedFd,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Ended {
    Exited(i32),
    Killed(i32),
}

impl Ended {
    /// As a shell counts: 128 + signal for one that was killed.
    pub(crate) fn code(self) -> i32 {
        match self {
            Ended::Exited(code) => code,
            Ended::Killed(signal) => 128 + signal,
        }
    }
}

/// From linux/sched.h; the C library's is of a type that is too small for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Forks into new namespaces (`CLONE_NEW…`); the child runs `body` and ends with the code it returns.
pub(super) fn fork(namespaces: i32, body: impl FnOnce() -> i32) -> Result<Child, Errno> {
    fork_into(namespaces, None, body)
}

/// As [`fork`], into a control group too, by its directory.
pub(super) fn fork_into(
    namespaces: i32,
    group: Option<BorrowedFd<'_>>,
    body: impl FnOnce() -> i32,
) -> Result<Child, Errno> {
    let mut descriptor: libc::c_int = -1;
    // SAFETY: all zero is a valid `clone_args`.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = (namespaces | libc::CLONE_PIDFD) as u64;
    arguments.pidfd = &raw mut descriptor as u64;
    arguments.exit_signal = libc::SIGCHLD as u64;
    if let Some(group) = group {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::from(group.as_raw_fd().cast_unsigned());
    }
    // SAFETY: without CLONE_VM and a stack this is fork: the child goes on with a copy of this process' memory. The
    // process has one thread, so no lock is held by a thread that the child lacks.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>()) };
    match pid {
        -1 => Err(last_errno()),
        0 => {
            let code = body();
            // SAFETY: ends this process at once; what its parent has registered for its own end is not for it to do.
            unsafe { libc::_exit(code) }
        }
        // SAFETY: the kernel put a new descriptor there, which nothing else owns.
        _ => Ok(Child { descriptor: unsafe { OwnedFd::from_raw_fd(descriptor) } }),
    }
}

impl Child {
    pub(super) fn kill(&self) {
        self.signal(libc::SIGKILL);
    }

    /// Sends a signal; nothing happens if the process has ended, or if there is no such signal.
    pub(super) fn signal(&self, signal: i32) {
        if let Some(signal) = Signal::from_named_raw(signal) {
            let _ = rustix::process::pidfd_send_signal(&self.descriptor, signal);
        }
    }

    /// Waits for the end of the process, and, where it was the first of a process namespace, of everything in it.
    pub(super) fn wait(&self) -> Result<Ended, Errno> {
        loop {
            match self.waited(WaitIdOptions::EXITED) {
                Ok(Some(ended)) => return Ok(ended),
                Ok(None) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// As [`wait`](Child::wait), with `None` while it still runs.
    pub(super) fn try_wait(&self) -> Result<Option<Ended>, Errno> {
        self.waited(WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
    }

    fn waited(&self, options: WaitIdOptions) -> Result<Option<Ended>, Errno> {
        let status = rustix::process::waitid(WaitId::PidFd(self.descriptor.as_fd()), options)?;
        Ok(status.as_ref().map(ended))
    }
}

fn ended(status: &WaitIdStatus) -> Ended {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ended::Exited(code),
        (_, Some(signal)) => Ended::Killed(signal),
        _ => Ended::Exited(-1),
    }
}
