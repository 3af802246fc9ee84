//! The first process of a sandbox in which somebody runs a command of their own: it passes signals on, which the first
//! process of a namespace would not get, and reaps what the command leaves.
//!
//! A RUN's command is the first process itself, as in Docker.

use super::mounting::{failed, last_errno};
use super::sandbox::reset_signals;
use super::task::TaskError;

/// Forks; the child goes on with `command`. This process becomes the child's init, and ends as it ends. Comes back only
/// if it could not fork.
pub(super) fn run(command: impl FnOnce() -> i32) -> TaskError {
    let all = block_all();
    // The filter of the sandbox is in force already, so this is the fork that it allows.
    // SAFETY: this process has one thread, so the child may do what any process may.
    let child = match unsafe { libc::fork() } {
        -1 => return failed("starting the command")(last_errno()),
        0 => {
            reset_signals();
            let code = command();
            // SAFETY: ends this process at once.
            unsafe { libc::_exit(code) }
        }
        child => child,
    };
    // What this process holds open, the worker would take for the command that is not there yet; and the command's end
    // must be the end of its output.
    // SAFETY: this process uses none of its descriptors any more, and never goes back to those who own them.
    unsafe { libc::close_range(0, libc::c_uint::MAX, 0) };
    loop {
        let mut signal = 0;
        // SAFETY: both point to valid values for the time of the call.
        if unsafe { libc::sigwait(&raw const all, &raw mut signal) } != 0 {
            continue;
        }
        if signal != libc::SIGCHLD {
            // SAFETY: a plain system call. The child has not been waited for, so its id is its own.
            unsafe { libc::kill(child, signal) };
        } else if let Some(code) = reap(child) {
            // SAFETY: ends this process at once.
            unsafe { libc::_exit(code) }
        }
    }
}

/// Reaps all that have ended, since one SIGCHLD may stand for several. Answers when the child is among them.
fn reap(child: libc::pid_t) -> Option<i32> {
    loop {
        let mut status = 0;
        // SAFETY: the status lives until the call returns.
        match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
            0 | -1 => return None,
            pid if pid != child => {}
            _ if libc::WIFSIGNALED(status) => return Some(128 + libc::WTERMSIG(status)),
            _ => return Some(libc::WEXITSTATUS(status)),
        }
    }
}

/// Blocks every signal, and returns all of them.
fn block_all() -> libc::sigset_t {
    // SAFETY: sigfillset makes the set valid, and both calls work on it alone.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        all
    }
}
