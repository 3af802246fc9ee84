//! What a RUN has mounted besides the image and the system's directories.

use super::mounting::{Point, attach, bind, failed, here, place};
use super::task::{RunTask, TaskError};
use super::work;
use rustix::mount::MountAttrFlags;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

const NOSUID: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID;
const NODEV: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;
const NOEXEC: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOEXEC;
const RDONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;

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
        let wrong = failed(format!("mounting at {}", self.target.display()));
        let found = place(root, &self.target, self.point).map_err(&wrong)?;
        attach(&self.mount, &found.descriptor).map_err(&wrong)?;
        Ok(found.made)
    }
}

/// Makes everything that is to be mounted, in the worker.
pub(super) fn prepare(task: &RunTask) -> Result<Vec<Prepared>, TaskError> {
    let mut out = Vec::new();
    for (target, content) in [("/etc/hosts", &task.hosts), ("/etc/resolv.conf", &task.resolv)] {
        out.push(file(target, content.as_bytes(), 0o644, RDONLY | NOSUID | NODEV | NOEXEC)?);
    }
    Ok(out)
}

/// A file in memory, to be seen at `target`.
fn file(target: &str, content: &[u8], mode: u32, attributes: MountAttrFlags) -> Result<Prepared, TaskError> {
    use std::io::Write;
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let directory = work::place().join("files");
    let path = directory.join(target.trim_start_matches('/').replace('/', "\\"));
    let io = |error: std::io::Error| TaskError::engine(format!("a file for {target}: {error}"));
    std::fs::create_dir_all(&directory).map_err(io)?;
    let mut file = std::fs::File::options().write(true).create_new(true).mode(mode).open(&path).map_err(io)?;
    file.write_all(content).map_err(io)?;
    file.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(io)?;
    let mount =
        bind(here(), Path::new(&path), false, attributes).map_err(failed(format_args!("a file for {target}")))?;
    Ok(Prepared { target: target.into(), point: Point::File, mount })
}
