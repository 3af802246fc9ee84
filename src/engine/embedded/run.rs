//! RUN, and shells: the worker's side.

use super::mounting::failed;
use super::sandbox::{Inside, Sandbox, enter, namespaces, pretend_environment};
use super::spawn::{Child, Ended, fork};
use super::task::{Report, RunTask, TaskError};
use super::users::ResolvedUser;
use super::work::{Reporter, settings};
use super::{mounts, overlay, rootfs, users, wire};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Bytes of output in one report at most.
const CHUNK: usize = 64 * 1024;

pub(super) fn run(task: RunTask, input: Option<OwnedFd>, reporter: &Reporter) -> Result<(), TaskError> {
    let mounts = mounts::prepare(&task)?;
    let ground = ground(&task, &mounts)?;
    let root = overlay::open_root_over(&task.stack, &task.upper, &ground)?;
    let user = users::resolve(root.as_fd(), &task.run.user)?;
    let env = environment(&task, &user);
    let argv = task.run.argv.clone();
    let pipes = || pipe_with(PipeFlags::CLOEXEC).map_err(failed("a pipe"));
    let ((output, out), (errors, err)) = (pipes()?, pipes()?);
    let input = match input {
        Some(input) if task.stdin => input,
        _ => rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(failed("/dev/null"))?,
    };
    let (inside, worker) = std::os::unix::net::UnixStream::pair()
        .map_err(|error| TaskError::engine(format!("a socket for the sandbox: {error}")))?;
    let sandbox = Sandbox {
        task: &task,
        root,
        mounts: &mounts,
        argv: &argv,
        env: &env,
        user: &user,
        streams: [input, out, err],
        worker: worker.into(),
    };
    let child = fork(namespaces(&task), move || enter(sandbox)).map_err(failed("starting the sandbox"))?;
    let mut made = Vec::new();
    let started = listen(&inside.into(), &mut made, argv.first().map_or("", String::as_str), reporter);
    if started.is_err() {
        child.kill();
    }
    let ended = match (&started, task.terminal) {
        (Ok(()), None) => relay(&child, &output, &errors, reporter).map_err(failed("reading the output"))?,
        _ => child.wait().map_err(failed("waiting for the command"))?,
    };
    remove_made(&task.upper.dir, &made);
    started?;
    reporter.send(&Report::Exit(ended.code()));
    let layer = crate::snapshot::scan::scan(&task.upper.dir).map_err(|error| TaskError::engine(error.to_string()))?;
    if !layer.entries.is_empty() {
        reporter.send(&Report::Layer(layer));
    }
    Ok(())
}

/// The lowest layer: the mount points, so that they need not be made in the image. Those that the image has itself, or
/// has taken away, are not seen.
fn ground(task: &RunTask, mounts: &[mounts::Prepared]) -> Result<PathBuf, TaskError> {
    let ground = task.upper.work.join("ground");
    let io = |error: std::io::Error| TaskError::engine(format!("{}: {error}", ground.display()));
    std::fs::create_dir(&ground).map_err(io)?;
    let directory = super::mounting::open_directory(&ground).map_err(failed(ground.display()))?;
    let system = rootfs::POINTS.iter().map(|path| (Path::new(*path), super::mounting::Point::Directory));
    for (path, point) in system.chain(mounts.iter().map(|mount| (mount.target.as_path(), mount.point))) {
        // What does not fit (a target below a file) is told of when it is mounted.
        let _ = super::mounting::place(&directory, path, point);
    }
    Ok(ground)
}

/// The command's environment: what the instruction says, and HOME, as runc sets it.
fn environment(task: &RunTask, user: &ResolvedUser) -> Vec<String> {
    let mut env = task.run.env.clone();
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
    if settings().pretend && !has(&env, "APT_CONFIG") {
        env.push(pretend_environment());
    }
    env
}

/// Hears the sandbox out until it has become the command.
fn listen(inside: &OwnedFd, made: &mut Vec<PathBuf>, program: &str, reporter: &Reporter) -> Result<(), TaskError> {
    loop {
        match wire::receive(inside).map_err(|error| TaskError::engine(error.to_string()))? {
            None => return Ok(()),
            Some((Inside::Made(new), _)) => made.extend(new),
            Some((Inside::Failed(error), _)) => return Err(error),
            Some((Inside::Terminal, descriptors)) => {
                let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
                let report = Report::Terminal { program: program.to_owned(), borrowed: false };
                reporter.send_with(&report, &descriptors);
            }
        }
    }
}

/// Passes the output on until the command has ended, and with it everything that could still write.
fn relay(child: &Child, output: &OwnedFd, errors: &OwnedFd, reporter: &Reporter) -> Result<Ended, Errno> {
    let mut buffer = vec![0; CHUNK];
    let mut open = [Some((output, Report::Stdout as fn(Vec<u8>) -> Report)), Some((errors, Report::Stderr))];
    let mut ended = None;
    for stream in [output, errors] {
        let flags = rustix::fs::fcntl_getfl(stream)?;
        rustix::fs::fcntl_setfl(stream, flags | OFlags::NONBLOCK)?;
    }
    loop {
        let mut progress = false;
        for slot in &mut open {
            let Some((stream, report)) = *slot else { continue };
            match rustix::io::read(stream, &mut buffer) {
                Ok(0) => *slot = None,
                Ok(count) => {
                    progress = true;
                    reporter.send(&report(buffer[..count].to_vec()));
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        match ended {
            // All that could write is gone, so what is not here now will not come.
            Some(ended) if !progress => return Ok(ended),
            Some(_) => continue,
            None if progress => continue,
            None => {}
        }
        let watched = open.iter().flatten().map(|(stream, _)| *stream).chain([&child.descriptor]);
        let mut polled: Vec<PollFd<'_>> = watched.map(|it| PollFd::new(it, PollFlags::IN)).collect();
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => ended = child.try_wait()?,
            Err(errno) => return Err(errno),
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
