//! What a RUN has mounted besides the image and the system's directories: `--mount`, the files of heredocs, and
//! /etc/hosts and /etc/resolv.conf.
//!
//! Everything is made in the worker, before anything of the image runs, and mounted in the sandbox by descriptor.

use super::mounting::{Point, attach, bind, failed, file_system, here, open_directory, open_in_root, place};
use super::task::{Input, RunTask, Stack, TaskError, Upper};
use super::{agents, overlay, work};
use crate::plan::{Mount, MountKind};
use rustix::fs::{CWD, FileType, Mode, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

const NOSUID: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID;
const NODEV: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;
const NOEXEC: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOEXEC;
const RDONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;
const PLAIN: MountAttrFlags = MountAttrFlags::empty();

/// A mount that is ready, and its target within the root.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) target: PathBuf,
    pub(super) point: Point,
    mount: OwnedFd,
}

impl Prepared {
    /// Mounts it. Returns what had to be made in the image's own file system for that.
    pub(super) fn attach(&self, root: BorrowedFd<'_>) -> Result<Vec<PathBuf>, TaskError> {
        let target = self.target.display();
        let found = place(root, &self.target, self.point).map_err(|errno| {
            let reason = match (errno, self.point) {
                (Errno::NOTDIR, Point::Directory) => "a directory cannot be mounted on what is none".to_owned(),
                (Errno::ISDIR, Point::File) => "a file cannot be mounted on a directory".to_owned(),
                (errno, _) => std::io::Error::from(errno).to_string(),
            };
            TaskError::input(format!("Mounting at {target}: {reason}."))
        })?;
        if found.path.starts_with("proc") {
            return Err(TaskError::input(format!("{target} is inside /proc, where nothing may be mounted.")));
        }
        attach(&self.mount, &found.descriptor).map_err(failed(format_args!("mounting at {target}")))?;
        Ok(found.made)
    }
}

/// Everything that a RUN wants mounted, in order, and what its environment has for it.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    pub(super) prepared: Vec<Prepared>,
    pub(super) env: Vec<String>,
}

/// Makes everything that is to be mounted.
pub(super) fn prepare(task: &RunTask) -> Result<Mounts, TaskError> {
    let mut out = Mounts::default();
    let quiet = RDONLY | NOSUID | NODEV | NOEXEC;
    for (target, content) in [("/etc/hosts", &task.hosts), ("/etc/resolv.conf", &task.resolv)] {
        out.prepared.push(memory_file(target, content.as_bytes(), (0o644, 0, 0), quiet)?);
    }
    let mut inputs = Inputs { task, opened: BTreeMap::new(), writable: 0 };
    let mut caches = task.caches.iter();
    // A cache's directory goes by the order in the instruction; mounting goes by the targets, so that what lies in
    // another mount is not covered by it.
    let mut mounts: Vec<(&Mount, Option<&PathBuf>)> = Vec::new();
    for mount in &task.run.mounts {
        let cache = matches!(mount.kind, MountKind::Cache { .. }).then(|| caches.next()).flatten();
        mounts.push((mount, cache));
    }
    mounts.sort_by(|(a, _), (b, _)| a.target.cmp(&b.target));
    for (number, (mount, cache)) in mounts.into_iter().enumerate() {
        one(mount, cache, number, &mut inputs, &mut out)?;
    }
    for it in &task.run.files {
        out.prepared.push(memory_file(&it.path, it.content.as_bytes(), (it.mode, 0, 0), RDONLY | NOSUID | NODEV)?);
    }
    Ok(out)
}

fn one(
    mount: &Mount,
    cache: Option<&PathBuf>,
    number: usize,
    inputs: &mut Inputs<'_>,
    out: &mut Mounts,
) -> Result<(), TaskError> {
    let task = inputs.task;
    let target = &mount.target;
    match &mount.kind {
        MountKind::Bind { input, source, writable } => {
            let (mount, point) = match writable {
                true => {
                    let upper = new_upper(task, number)?;
                    inputs.open_writable(*input, source, &upper)?
                }
                false => inputs.open(*input, source)?,
            };
            out.prepared.push(Prepared { target: target.into(), point, mount });
        }
        MountKind::Cache { input, source, mode, uid, gid, read_only, .. } => {
            let directory =
                cache.ok_or_else(|| TaskError::engine(format!("the cache at {target} has no directory")))?;
            let first = match input {
                Some(input) => Some(inputs.directory(*input, source)?),
                None => None,
            };
            make_cache(directory, first, (*mode, *uid, *gid))?;
            let attributes = NOSUID | NODEV | if *read_only { RDONLY } else { PLAIN };
            let mount = bind(here(), directory, false, attributes).map_err(failed(directory.display()))?;
            out.prepared.push(Prepared { target: target.into(), point: Point::Directory, mount });
        }
        MountKind::Tmpfs { size } => {
            let size = size.map(|size| size.to_string());
            let options: Vec<(&str, &str)> = size.iter().map(|size| ("size", size.as_str())).collect();
            let mount = file_system("tmpfs", &options, NOSUID | NODEV).map_err(failed("a tmpfs"))?;
            out.prepared.push(Prepared { target: target.into(), point: Point::Directory, mount });
        }
        MountKind::Secret { id, file, env, required, mode, uid, gid } => {
            let Some((_, content)) = task.secrets.iter().find(|(name, _)| name == id) else {
                return missing(*required, format!("The secret `{id}` was not given."), "--secret id=ID,src=FILE");
            };
            if *file {
                let attributes = RDONLY | NOSUID | NODEV | NOEXEC;
                out.prepared.push(memory_file(target, content, (*mode, *uid, *gid), attributes)?);
            }
            if let Some(name) = env {
                let value = String::from_utf8(content.clone()).ok().filter(|it| !it.contains('\0'));
                let value = value.ok_or_else(|| {
                    TaskError::input(format!("The secret `{id}` is not text, and cannot be in the environment."))
                })?;
                out.env.push(format!("{name}={value}"));
            }
        }
        MountKind::Ssh { id, required, mode, uid, gid } => {
            let Some((_, agent)) = task.agents.iter().find(|(name, _)| name == id) else {
                return missing(*required, format!("The ssh agent `{id}` was not given."), "--ssh ID=SOCKET");
            };
            let path = new_file(target)?;
            agents::serve(&path, agent)?;
            set_owner(&path, (*mode, *uid, *gid))?;
            let mount = bind(here(), &path, false, NOSUID | NODEV | NOEXEC).map_err(failed(path.display()))?;
            out.prepared.push(Prepared { target: target.into(), point: Point::File, mount });
            let named = |env: &[String]| env.iter().any(|it| it.starts_with("SSH_AUTH_SOCK="));
            if !named(&out.env) && !named(&task.run.env) {
                out.env.push(format!("SSH_AUTH_SOCK={target}"));
            }
        }
    }
    Ok(())
}

fn missing(required: bool, message: String, option: &str) -> Result<(), TaskError> {
    match required {
        true => Err(TaskError::input(message).with_help(format!("Give it with `{option}`."))),
        false => Ok(()),
    }
}

/// A mount of a directory of host tools.
pub(super) fn toolbox(directory: &Path) -> Result<Prepared, TaskError> {
    let mount = bind(here(), directory, false, RDONLY | NOSUID | NODEV).map_err(failed(directory.display()))?;
    Ok(Prepared { target: crate::image::host::TOOLBOX.into(), point: Point::Directory, mount })
}

/// What the mounts read, opened when the first of them asks.
struct Inputs<'t> {
    task: &'t RunTask,
    /// Roots of the inputs that are file systems, each mounted at a place of this worker's.
    opened: BTreeMap<usize, OwnedFd>,
    /// How many have been opened for writing.
    writable: usize,
}

impl Inputs<'_> {
    /// A read-only mount of a path of an input.
    fn open(&mut self, input: usize, source: &str) -> Result<(OwnedFd, Point), TaskError> {
        let found = self.find(input, source)?;
        let point = point_of(&found)?;
        let mount = bind(&found, Path::new(""), false, RDONLY | NOSUID | NODEV).map_err(failed(source))?;
        Ok((mount, point))
    }

    /// A mount of a path of an input on which writing is possible, and without consequence.
    fn open_writable(&mut self, input: usize, source: &str, upper: &Upper) -> Result<(OwnedFd, Point), TaskError> {
        let stack = match self.input(input)? {
            Input::Stack(stack) => stack.clone(),
            Input::Scratch => Stack::default(),
            Input::Directory { path, .. } => Stack { lower: vec![path.clone()] },
        };
        let root = overlay::open_root(&stack, Some(upper))?;
        let root = mounted_here(root, &format!("writable-{}", self.writable))?;
        self.writable += 1;
        let found = open_in_root(&root, relative(source), OFlags::PATH).map_err(not_there(source))?;
        let point = point_of(&found)?;
        let mount = bind(&found, Path::new(""), false, NOSUID | NODEV).map_err(failed(source))?;
        Ok((mount, point))
    }

    /// A directory of an input, for reading.
    fn directory(&mut self, input: usize, source: &str) -> Result<OwnedFd, TaskError> {
        self.find(input, source)
    }

    fn find(&mut self, input: usize, source: &str) -> Result<OwnedFd, TaskError> {
        if !self.opened.contains_key(&input) {
            let root = match self.input(input)? {
                Input::Stack(stack) => overlay::open_root(stack, None)?,
                Input::Scratch => overlay::open_root(&Stack::default(), None)?,
                Input::Directory { path, .. } => bind(here(), path, true, PLAIN).map_err(failed(path.display()))?,
            };
            let root = mounted_here(root, &format!("input-{input}"))?;
            self.opened.insert(input, root);
        }
        let root = &self.opened[&input];
        open_in_root(root, relative(source), OFlags::PATH).map_err(not_there(source))
    }

    fn input(&self, input: usize) -> Result<&Input, TaskError> {
        let found = self.task.inputs.get(input);
        found.ok_or_else(|| TaskError::engine(format!("the mount's input {input} was not given")))
    }
}

fn not_there(source: &str) -> impl Fn(Errno) -> TaskError + '_ {
    move |errno| match errno {
        Errno::NOENT | Errno::NOTDIR => TaskError::input(format!("The mount's source `{source}` is not there.")),
        errno => failed(source)(errno),
    }
}

/// A path for looking up below a root.
fn relative(path: &str) -> &str {
    match path.trim_start_matches('/') {
        "" => ".",
        rest => rest,
    }
}

fn point_of(found: &OwnedFd) -> Result<Point, TaskError> {
    let status = rustix::fs::fstat(found).map_err(failed("a mount's source"))?;
    Ok(match FileType::from_raw_mode(status.st_mode) {
        FileType::Directory => Point::Directory,
        _ => Point::File,
    })
}

/// Gives a mount a path of this worker's: before Linux 6.15, only what is mounted somewhere can be mounted once more.
fn mounted_here(root: OwnedFd, name: &str) -> Result<OwnedFd, TaskError> {
    let path = work::place().join(name);
    let wrong = failed(path.display());
    rustix::fs::mkdir(&path, Mode::from(0o700)).map_err(&wrong)?;
    attach(&root, open_directory(&path).map_err(&wrong)?).map_err(&wrong)?;
    Ok(root)
}

fn new_upper(task: &RunTask, number: usize) -> Result<Upper, TaskError> {
    let base = task.upper.work.join(format!("mount-{number}"));
    let upper = Upper { dir: base.join("upper"), work: base.join("work") };
    for directory in [&base, &upper.dir, &upper.work] {
        rustix::fs::mkdir(directory, Mode::from(0o755)).map_err(failed(directory.display()))?;
    }
    Ok(upper)
}

/// Makes a cache's directory if it is missing. It has its name only when it is complete, so that of two steps that
/// come at once both see a whole one.
fn make_cache(directory: &Path, first: Option<OwnedFd>, owner: (u32, u32, u32)) -> Result<(), TaskError> {
    if directory.is_dir() {
        return Ok(());
    }
    let wrong = |error: std::io::Error| TaskError::engine(format!("{}: {error}", directory.display()));
    let parent = directory.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(parent).map_err(wrong)?;
    let new = tempfile::Builder::new().prefix(".new-").tempdir_in(parent).map_err(wrong)?;
    if let Some(first) = first {
        let _ = first;
    }
    set_owner(new.path(), owner)?;
    // A plain rename would take the place of an empty directory that somebody else has mounted already.
    match renameat_with(CWD, new.path(), CWD, directory, RenameFlags::NOREPLACE) {
        Ok(()) => {
            let _ = new.keep();
            Ok(())
        }
        // Somebody was faster.
        Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(wrong(errno.into())),
    }
}

/// A file in memory, to be seen at `target`; `owner` is mode, uid and gid.
fn memory_file(
    target: &str,
    content: &[u8],
    owner: (u32, u32, u32),
    attributes: MountAttrFlags,
) -> Result<Prepared, TaskError> {
    let path = new_file(target)?;
    let io = |error: std::io::Error| TaskError::engine(format!("a file for {target}: {error}"));
    let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&path).map_err(io)?;
    file.write_all(content).map_err(io)?;
    set_owner(&path, owner)?;
    let mount = bind(here(), &path, false, attributes).map_err(failed(format_args!("a file for {target}")))?;
    Ok(Prepared { target: target.into(), point: Point::File, mount })
}

/// A path for a new file in this worker's memory. Its length has nothing to do with the target's.
fn new_file(target: &str) -> Result<PathBuf, TaskError> {
    let directory = work::place().join("files");
    let io = |error: std::io::Error| TaskError::engine(format!("a file for {target}: {error}"));
    std::fs::create_dir_all(&directory).map_err(io)?;
    let count = std::fs::read_dir(&directory).map_err(io)?.count();
    Ok(directory.join(count.to_string()))
}

/// Sets mode, uid and gid. Where there is one user only, everything is root's.
fn set_owner(path: &Path, (mode, uid, gid): (u32, u32, u32)) -> Result<(), TaskError> {
    let io = |error: std::io::Error| TaskError::engine(format!("{}: {error}", path.display()));
    if !work::settings().pretend {
        std::os::unix::fs::lchown(path, Some(uid), Some(gid)).map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => TaskError::input(format!("The ids {uid}:{gid} do not exist in this user namespace."))
                .with_help("Give the user who runs this a larger range in /etc/subuid and /etc/subgid."),
            _ => io(error),
        })?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o7777)).map_err(io)
}
