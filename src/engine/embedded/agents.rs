//! Sockets of ssh agents, as RUN sees them.
//!
//! An agent answers only its own user, who is nobody in particular inside. So the sandbox gets a socket of ours, and
//! what is said to it is passed on.

use super::spawn::{Child, fork};
use super::task::TaskError;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// As many connections at once as anybody needs.
const CONNECTIONS: usize = 32;

/// Makes a socket at `path` that leads to the agent's. It is served for as long as this worker lives.
pub(super) fn serve(path: &Path, agent: &Path) -> Result<(), TaskError> {
    let wrong = |error: std::io::Error| TaskError::engine(format!("a socket for the ssh agent: {error}"));
    // Told at once rather than by a puzzled ssh: the agent may be gone.
    UnixStream::connect(agent).map_err(|error| {
        TaskError::input(format!("The ssh agent at {} does not answer: {error}.", agent.display()))
            .with_help("Start one (`eval $(ssh-agent)`, `ssh-add`), or give another socket with --ssh ID=SOCKET.")
    })?;
    let listener = UnixListener::bind(path).map_err(wrong)?;
    let agent: PathBuf = agent.to_owned();
    // It ends with this worker, which is the first process of its namespace.
    fork(0, move || accept(&listener, &agent)).map_err(|errno| wrong(errno.into()))?;
    Ok(())
}

fn accept(listener: &UnixListener, agent: &Path) -> i32 {
    let mut serving: Vec<Child> = Vec::new();
    loop {
        let Ok((inside, _)) = listener.accept() else { return 1 };
        serving.retain(|child| matches!(child.try_wait(), Ok(None)));
        if serving.len() < CONNECTIONS
            && let Ok(child) = fork(0, move || i32::from(pass(inside, agent).is_err()))
        {
            serving.push(child);
        }
    }
}

/// Passes bytes both ways until both sides have said all.
fn pass(inside: UnixStream, agent: &Path) -> std::io::Result<()> {
    let outside = UnixStream::connect(agent)?;
    let ways = [(&inside, &outside), (&outside, &inside)];
    let mut open = [true, true];
    let mut buffer = [0; 16 * 1024];
    while open.contains(&true) {
        let watched = ways.iter().zip(open).map(|((from, _), open)| match open {
            true => PollFd::new(*from, PollFlags::IN),
            false => PollFd::from_borrowed_fd(from.as_fd(), PollFlags::empty()),
        });
        let mut polled: Vec<PollFd<'_>> = watched.collect();
        match poll(&mut polled, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        let ready: Vec<bool> = polled.iter().map(|it| !it.revents().is_empty()).collect();
        for (index, (mut from, mut to)) in ways.into_iter().enumerate() {
            if !(open[index] && ready[index]) {
                continue;
            }
            match from.read(&mut buffer)? {
                0 => {
                    to.shutdown(Shutdown::Write)?;
                    open[index] = false;
                }
                count => to.write_all(&buffer[..count])?,
            }
        }
    }
    Ok(())
}
