//! RUN, and shells: the worker's side.

use super::mounting::failed;
use super::mounts::Mounts;
use super::sandbox::{Inside, Kind, Order, Waiting, pretend_environment};
use super::spawn::{Child, Ended};
use super::task::{Report, RunTask, TaskError};
use super::users::ResolvedUser;
use super::work::{Reporter, settings};
use super::{exec, mounts, overlay, rootfs, shell, users, wire};
use crate::engine::shells;
use crate::image::host::TOOLBOX;
use crate::snapshot::remove::remove;
use crate::snapshot::rooted::PathError;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Bytes of output in one report at most.
const CHUNK: usize = 64 * 1024;

/// Runs the task in the sandbox that waits, if there is one; it must be of the task's kind.
pub(super) fn run(
    task: RunTask,
    input: Option<OwnedFd>,
    reporter: &Reporter,
    waiting: Option<Waiting>,
) -> Result<(), TaskError> {
    // Begun first: it sets itself up while everything else is made ready for it.
    let sandbox = match waiting {
        Some(waiting) => waiting,
        None => Waiting::fork(Kind::of(&task.run))?,
    };
    let mut mounts = mounts::prepare(&task)?;
    let command = command(&task, &mut mounts)?;
    let ground = ground(&task, &mounts.prepared)?;
    let root = overlay::open_root_over(&task.stack, &task.upper, Some(&ground))?;
    let user = users::resolve(root.as_fd(), &task.run.user)?;
    let env = environment(&task, &user, &command, std::mem::take(&mut mounts.env));
    let pipes = || pipe_with(PipeFlags::CLOEXEC).map_err(failed("a pipe"));
    let ((output, out), (errors, err)) = (pipes()?, pipes()?);
    let input = match input {
        Some(input) if task.stdin => input,
        // A pipe at its end, as BuildKit gives it: there are programs that ask what their input is.
        _ => pipes()?.0,
    };
    let order = Order {
        argv: command.argv.clone(),
        env,
        user,
        ulimits: task.run.ulimits.clone(),
        cwd: task.run.cwd.clone(),
        hostname: task.hostname.clone(),
        terminal: task.terminal,
        scratch: task.scratch,
        init: task.scratch && !task.run.argv.is_empty(),
        mounts: mounts.prepared.iter().map(|mount| (mount.target.clone(), mount.point)).collect(),
    };
    let streams = [input, out, err];
    sandbox.go(&order, &root, &streams, &mounts.prepared)?;
    // The end of the output is the end of all who have it, so this process must not have it.
    drop((root, streams, mounts, order));
    let Waiting { child, socket: inside } = sandbox;
    let mut made = Vec::new();
    let started = listen(&inside, &mut made, &command, reporter);
    if started.is_err() {
        child.kill();
    }
    let streams = [(output, Report::Stdout as fn(Vec<u8>) -> Report), (errors, Report::Stderr)];
    let ended = relay(&child, streams, reporter).map_err(failed("reading the output"))?;
    remove_made(&task.upper.dir, &made);
    started?;
    reporter.send(&Report::Exit(ended.code()));
    let layer = overlay::changes(&task.stack, &task.upper)?;
    if !layer.entries.is_empty() {
        reporter.send(&Report::Layer(layer));
    }
    if task.scratch {
        let wrong = |error: PathError| TaskError::engine(error.to_string());
        remove(&task.upper.dir).and_then(|()| remove(&task.upper.work)).map_err(wrong)?;
    }
    Ok(())
}

/// What is started, and with whose tools.
#[derive(Debug)]
struct Command {
    argv: Vec<String>,
    /// Tools of the host are mounted.
    borrowed: bool,
}

/// The command, or the image's best shell. Where the image has none, the host's tools are mounted, if there are any.
fn command(task: &RunTask, mounts: &mut Mounts) -> Result<Command, TaskError> {
    let asked = task.run.argv.clone();
    if !asked.is_empty() && task.toolbox.is_none() {
        return Ok(Command { argv: asked, borrowed: false });
    }
    let root = overlay::open_root(&task.stack, None)?;
    let user = users::resolve(root.as_fd(), &task.run.user)?;
    let shell = shell::of_image(root.as_fd(), &user);
    let or = |shell: &str| if asked.is_empty() { shells::argv(shell) } else { asked.clone() };
    match (shell, &task.toolbox) {
        (Some(shell), _) => Ok(Command { argv: or(&shell), borrowed: false }),
        (None, Some(toolbox)) => {
            mounts.prepared.push(mounts::toolbox(toolbox)?);
            Ok(Command { argv: or(&shell::of_toolbox(toolbox)), borrowed: true })
        }
        (None, None) => Err(TaskError::input("The image has no shell.")),
    }
}

/// The lowest layer: the mount points, so that they need not be made in the image. Those that the image has itself, or
/// has taken away, are not seen. Where /proc, /sys and /dev are missing a RUN leaves them behind, as it does in Docker;
/// a shell leaves nothing.
fn ground(task: &RunTask, mounts: &[mounts::Prepared]) -> Result<PathBuf, TaskError> {
    let ground = super::work::place().join("ground");
    let io = |error: std::io::Error| TaskError::engine(format!("{}: {error}", ground.display()));
    std::fs::create_dir(&ground).map_err(io)?;
    let directory = super::mounting::open_directory(&ground).map_err(failed(ground.display()))?;
    let system = rootfs::POINTS.iter().filter(|_| task.scratch);
    let system = system.map(|path| (Path::new(*path), super::mounting::Point::Directory));
    for (path, point) in system.chain(mounts.iter().map(|mount| (mount.target.as_path(), mount.point))) {
        // What does not fit (a target below a file) is told of when it is mounted.
        let _ = super::mounting::place(&directory, path, point);
    }
    Ok(ground)
}

/// The command's environment: what the instruction says, what its mounts add, and HOME, as runc sets it.
fn environment(task: &RunTask, user: &ResolvedUser, command: &Command, mounts: Vec<String>) -> Vec<String> {
    let mut env = each_once(task.run.env.iter().cloned().chain(mounts));
    let has = |env: &[String], name: &str| {
        env.iter().any(|it| it.strip_prefix(name).is_some_and(|rest| rest.starts_with('=') && rest.len() > 1))
    };
    if !has(&env, "HOME") {
        env.retain(|it| it != "HOME=");
        env.push(format!("HOME={}", user.home));
    }
    if task.terminal.is_some() && !has(&env, "TERM") {
        env.push("TERM=xterm-256color".to_owned());
    }
    if command.borrowed {
        let path = env.iter().rev().find_map(|it| it.strip_prefix("PATH=")).unwrap_or(exec::DEFAULT_PATH);
        let path = format!("PATH={path}:{TOOLBOX}/bin");
        env.retain(|it| !it.starts_with("PATH="));
        env.push(path);
        if !has(&env, "TERMINFO_DIRS") {
            env.push(format!("TERMINFO_DIRS={TOOLBOX}/share/terminfo:"));
        }
    }
    if settings().pretend && !has(&env, "APT_CONFIG") {
        env.push(pretend_environment());
    }
    env
}

/// Of variables with one name the last counts, in the place of the first. What a command makes of both is not known.
fn each_once(variables: impl Iterator<Item = String>) -> Vec<String> {
    let name = |it: &str| it.split('=').next().unwrap_or_default().to_owned();
    let mut places = std::collections::HashMap::new();
    let mut out: Vec<String> = Vec::new();
    for variable in variables {
        match places.entry(name(&variable)) {
            std::collections::hash_map::Entry::Occupied(place) => out[*place.get()] = variable,
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(out.len());
                out.push(variable);
            }
        }
    }
    out
}

/// Hears the sandbox out until it has become the command.
fn listen(inside: &OwnedFd, made: &mut Vec<PathBuf>, command: &Command, reporter: &Reporter) -> Result<(), TaskError> {
    loop {
        match wire::receive(inside).map_err(|error| TaskError::engine(error.to_string()))? {
            None => return Ok(()),
            Some((Inside::Made(new), _)) => made.extend(new),
            Some((Inside::Failed(error), _)) => return Err(error),
            Some((Inside::Terminal, descriptors)) => {
                let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
                let program = command.argv.first().cloned().unwrap_or_default();
                reporter.send_with(&Report::Terminal { program, borrowed: command.borrowed }, &descriptors);
            }
        }
    }
}

type Stream = (OwnedFd, fn(Vec<u8>) -> Report);

/// Passes output and signals on until the command has ended, and with it everything that could still write.
fn relay(child: &Child, streams: [Stream; 2], reporter: &Reporter) -> Result<Ended, Errno> {
    let mut buffer = vec![0; CHUNK];
    for (stream, _) in &streams {
        rustix::fs::fcntl_setfl(stream, rustix::fs::fcntl_getfl(stream)? | OFlags::NONBLOCK)?;
    }
    let mut open: Vec<Stream> = streams.into();
    let mut ended = None;
    loop {
        let mut progress = false;
        open.retain(|(stream, report)| match rustix::io::read(stream, &mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                progress = true;
                reporter.send(&report(buffer[..count].to_vec()));
                true
            }
            Err(errno) => matches!(errno, Errno::AGAIN | Errno::INTR),
        });
        match ended {
            // All that could write is gone, so what is not here now will not come.
            Some(ended) if !progress => return Ok(ended),
            None if !progress => ended = wait(child, &open, reporter)?,
            _ => {}
        }
    }
}

/// Waits until there is something to read, or the command has ended. Signals that the program sends are passed on
/// meanwhile.
fn wait(child: &Child, open: &[Stream], reporter: &Reporter) -> Result<Option<Ended>, Errno> {
    loop {
        let watched = open.iter().map(|(stream, _)| stream).chain([&child.descriptor]);
        let mut polled: Vec<PollFd<'_>> = watched.map(|it| PollFd::new(it, PollFlags::IN)).collect();
        polled.push(PollFd::new(reporter, PollFlags::IN));
        match poll(&mut polled, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        }
        let said_something = polled.pop().is_some_and(|it| !it.revents().is_empty());
        if said_something {
            child.signal(reporter.receive().signal);
        }
        if polled.iter().any(|it| !it.revents().is_empty()) {
            return child.try_wait();
        }
    }
}

/// Takes away the mount points that had to be made in the image, unless something is in them by now.
fn remove_made(upper: &Path, made: &[PathBuf]) {
    for path in made.iter().rev() {
        let Some((parent, name)) = path.parent().zip(path.file_name()) else { continue };
        let Ok(root) = super::mounting::open_directory(upper) else { return };
        let parent = match parent.as_os_str().is_empty() {
            true => Ok(root),
            false => super::mounting::open_plain(&root, parent, OFlags::PATH | OFlags::DIRECTORY),
        };
        let Ok(parent) = parent else { continue };
        let Ok(status) = rustix::fs::statat(&parent, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let flags = match rustix::fs::FileType::from_raw_mode(status.st_mode) {
            rustix::fs::FileType::Directory => rustix::fs::AtFlags::REMOVEDIR,
            rustix::fs::FileType::RegularFile if status.st_size == 0 => rustix::fs::AtFlags::empty(),
            _ => continue,
        };
        // A directory that is not empty stays.
        let _ = rustix::fs::unlinkat(&parent, name, flags);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(given: &[&str], expected: &[&str]) {
        assert_eq!(each_once(given.iter().map(|it| (*it).to_owned())), expected);
    }

    #[test]
    fn of_variables_with_one_name_the_last_counts() {
        check(&["A=1", "B=2", "A=3=4"], &["A=3=4", "B=2"]);
        check(&["A=1", "AA=2", "A="], &["A=", "AA=2"]);
        check(&[], &[]);
    }
}
