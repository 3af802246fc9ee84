//! What a RUN has mounted besides the image and the system's directories: `--mount`, the files of heredocs, and
//! /etc/hosts and /etc/resolv.conf.
//!
//! Everything is made in the worker, before anything of the image runs, and mounted in the sandbox by descriptor.

use super::copy::copy_path;
use super::mounting::{Point, attach, bind, failed, file_system, here, open_directory, open_in_root, place};
use super::task::{Input, RunTask, Stack, TaskError, Upper};
use super::{agents, overlay, work};
use crate::plan::{InlineFile, Mount, MountKind};
use rustix::fs::{CWD, FileType, Mode, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
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
    pub(super) mount: OwnedFd,
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
        // What the instruction has mounted there takes its place.
        if task.run.mounts.iter().all(|mount| mount.target != target) {
            out.prepared.push(memory_file(target, content.as_bytes(), (0o644, 0, 0), quiet)?);
        }
    }
    let mut inputs = Inputs { task, opened: BTreeMap::new() };
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
    out.prepared.extend(inline_files(&task.run.files)?);
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
                true => inputs.open_writable(*input, source, number)?,
                false => inputs.open(*input, source)?,
            };
            out.prepared.push(Prepared { target: target.into(), point, mount });
        }
        MountKind::Cache { input, source, mode, uid, gid, read_only, .. } => {
            let directory =
                cache.ok_or_else(|| TaskError::engine(format!("the cache at {target} has no directory")))?;
            if !directory.is_dir() {
                let fill = |into: BorrowedFd<'_>| match input {
                    Some(input) => {
                        let first = inputs.input(*input)?.clone();
                        copy_path(&first, Some(inputs.root(*input)?.as_fd()), source, into, source)
                    }
                    None => Ok(()),
                };
                make_cache(directory, (*mode, *uid, *gid), fill)?;
            }
            // A part of the cache, found as a process with the cache as its root would: what others have put there
            // meanwhile, links to anywhere among it, leads nowhere else.
            let whole = open_directory(directory).map_err(failed(directory.display()))?;
            let part = open_in_root(&whole, relative(source), OFlags::PATH).map_err(not_there(source))?;
            let (mount, point) = mounted_again(&part, if *read_only { RDONLY } else { PLAIN })?;
            out.prepared.push(Prepared { target: target.into(), point, mount });
        }
        MountKind::Tmpfs { size, read_only } => {
            let size = size.map(|size| size.to_string());
            let options: Vec<(&str, &str)> = size.iter().map(|size| ("size", size.as_str())).collect();
            let access = if *read_only { RDONLY } else { PLAIN };
            let attributes = access | NOSUID | work::settings().nodev();
            let mount = file_system("tmpfs", &options, attributes).map_err(failed("a tmpfs"))?;
            out.prepared.push(Prepared { target: target.into(), point: Point::Directory, mount });
        }
        MountKind::Secret { id, file, env, required, mode, uid, gid } => {
            let Some((_, content)) = task.secrets.iter().find(|(name, _)| name == id) else {
                out.env.extend(env.iter().map(|name| format!("{name}=")));
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
}

impl Inputs<'_> {
    /// A read-only mount of a path of an input.
    fn open(&mut self, input: usize, source: &str) -> Result<(OwnedFd, Point), TaskError> {
        mounted_again(&self.find(input, source)?, RDONLY)
    }

    /// A mount of a path of an input on which writing is possible, and without consequence.
    fn open_writable(&mut self, input: usize, source: &str, number: usize) -> Result<(OwnedFd, Point), TaskError> {
        let stack = match self.input(input)? {
            Input::Stack(stack) => stack.clone(),
            Input::Scratch | Input::Directory { .. } => Stack::default(),
        };
        let base = own_directory(self.task, number)?;
        let upper = Upper { dir: base.join("upper"), work: base.join("work") };
        for directory in [&upper.dir, &upper.work] {
            rustix::fs::mkdir(directory, Mode::from(0o755)).map_err(failed(directory.display()))?;
        }
        let root = mounted_here(overlay::open_root_over(&stack, &upper, None)?, &format!("mount-{number}"))?;
        let found = open_in_root(&root, relative(source), OFlags::PATH).map_err(not_there(source))?;
        mounted_again(&found, PLAIN)
    }

    /// The root of an input that is a file system of the build.
    fn root(&mut self, input: usize) -> Result<&OwnedFd, TaskError> {
        let stack = match self.input(input)? {
            Input::Stack(stack) => stack.clone(),
            Input::Scratch | Input::Directory { .. } => Stack::default(),
        };
        match self.opened.entry(input) {
            Entry::Occupied(root) => Ok(root.into_mut()),
            Entry::Vacant(place) => {
                let root = mounted_here(overlay::open_root(&stack, None)?, &format!("input-{input}"))?;
                Ok(place.insert(root))
            }
        }
    }

    fn find(&mut self, input: usize, source: &str) -> Result<OwnedFd, TaskError> {
        open_in_root(self.root(input)?, relative(source), OFlags::PATH).map_err(not_there(source))
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

/// One more mount of something that is mounted here, and what it has to be put on.
fn mounted_again(found: &OwnedFd, attributes: MountAttrFlags) -> Result<(OwnedFd, Point), TaskError> {
    let wrong = failed("a mount's source");
    let status = rustix::fs::fstat(found).map_err(&wrong)?;
    let point = match FileType::from_raw_mode(status.st_mode) {
        FileType::Directory => Point::Directory,
        _ => Point::File,
    };
    let mount = bind(found, Path::new(""), false, attributes | NOSUID | work::settings().nodev()).map_err(&wrong)?;
    Ok((mount, point))
}

/// Gives a mount a path of this worker's: before Linux 6.15, only what is mounted somewhere can be mounted once more.
fn mounted_here(root: OwnedFd, name: &str) -> Result<OwnedFd, TaskError> {
    let path = work::place().join(name);
    let wrong = failed(path.display());
    rustix::fs::mkdir(&path, Mode::from(0o700)).map_err(&wrong)?;
    attach(&root, open_directory(&path).map_err(&wrong)?).map_err(&wrong)?;
    Ok(root)
}

/// A directory for what is made for one mount, on the layers' file system.
fn own_directory(task: &RunTask, number: usize) -> Result<PathBuf, TaskError> {
    let directory = task.upper.work.join(format!("mount-{number}"));
    rustix::fs::mkdir(&directory, Mode::from(0o755)).map_err(failed(directory.display()))?;
    Ok(directory)
}

/// Makes a cache's directory with what it begins with. It has its name only when it is complete, so that of two steps
/// that come at once both see a whole one.
fn make_cache(
    directory: &Path,
    owner: (u32, u32, u32),
    fill: impl FnOnce(BorrowedFd<'_>) -> Result<(), TaskError>,
) -> Result<(), TaskError> {
    let wrong = |error: std::io::Error| TaskError::engine(format!("{}: {error}", directory.display()));
    let parent = directory.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(parent).map_err(wrong)?;
    let new = tempfile::Builder::new().prefix(".new-").tempdir_in(parent).map_err(wrong)?;
    fill(open_directory(new.path()).map_err(failed(new.path().display()))?.as_fd())?;
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

/// The files of heredocs: what belongs into one directory is one mount, as in BuildKit.
fn inline_files(files: &[InlineFile]) -> Result<Vec<Prepared>, TaskError> {
    let mut directories: BTreeMap<&Path, (PathBuf, OwnedFd)> = BTreeMap::new();
    for it in files {
        let path = Path::new(&it.path);
        let (Some(target), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(TaskError::input(format!("A heredoc cannot be the file {}.", it.path)));
        };
        let io = |error: std::io::Error| TaskError::engine(format!("a file for {}: {error}", it.path));
        let directory = match directories.entry(target) {
            Entry::Occupied(known) => known.get().0.clone(),
            Entry::Vacant(place) => {
                let directory = new_file(&it.path)?;
                std::fs::create_dir(&directory).map_err(io)?;
                set_owner(&directory, (0o755, 0, 0))?;
                let mount = bind(here(), &directory, false, RDONLY | NOSUID | NODEV).map_err(failed(&it.path))?;
                place.insert((directory, mount)).0.clone()
            }
        };
        let path = directory.join(name);
        std::fs::write(&path, &it.content).map_err(io)?;
        set_owner(&path, (it.mode, 0, 0))?;
    }
    let mounts = directories.into_iter();
    Ok(mounts
        .map(|(target, (_, mount))| Prepared { target: target.to_owned(), point: Point::Directory, mount })
        .collect())
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
