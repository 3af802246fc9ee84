//! A stack of layers, seen as one file system.
//!
//! Every layer is kept in the form that overlayfs reads with `userxattr`, so that what root has written an ordinary
//! user's engine can read, and the reverse.

use super::mounting::{bind, failed, here, open_directory};
use super::task::{Stack, TaskError, Upper};
use crate::layers::Layer;
use crate::snapshot::reduce::reduce;
use crate::snapshot::rooted::Root;
use bstr::ByteSlice;
use rustix::fs::{Gid, Mode, OFlags, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};
use std::collections::HashSet;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What the engine itself reads has device files that nobody needs to open.
const NODEV: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;

/// overlayfs takes no more lower layers.
const MOST_LAYERS: usize = 500;

/// `redirect_dir` and `metacopy` would put into a layer what only overlayfs understands; `index` would tie it to
/// its place.
const PLAIN: [(&str, &str); 3] = [("index", "off"), ("redirect_dir", "nofollow"), ("metacopy", "off")];

/// A file system that is mounted at no path; it is unmounted when the last descriptor of it is closed. Paths are
/// looked up from the descriptor. Without an upper directory nothing can be written.
///
/// The upper directory takes over owner, mode, times and attributes of the topmost layer's root.
pub(crate) fn open_root(stack: &Stack, upper: Option<&Upper>) -> Result<OwnedFd, TaskError> {
    match upper {
        None => match &stack.lower[..] {
            // overlayfs takes no single layer, and of nothing there is nothing to merge.
            [] => open_directory(&empty_layer()).map_err(failed("an empty directory")),
            layers => mount_layers(&with_ground(layers, &empty_layer()), None, NODEV),
        },
        Some(upper) => open_writable(stack, upper, &empty_layer(), NODEV),
    }
}

/// As [`open_root`] for a command: with a directory to be seen below all layers, and with device files, if commands may
/// have some.
pub(super) fn open_root_over(stack: &Stack, upper: &Upper, ground: Option<&Path>) -> Result<OwnedFd, TaskError> {
    let ground = ground.map_or_else(empty_layer, Path::to_owned);
    open_writable(stack, upper, &ground, super::work::settings().nodev())
}

/// What a step left in the upper directory over `stack`, which nothing is mounted on any more.
pub(super) fn changes(stack: &Stack, upper: &Upper) -> Result<Layer, TaskError> {
    let is_empty = std::fs::read_dir(&upper.dir).is_ok_and(|mut it| it.next().is_none());
    if is_empty {
        return Ok(Layer::default());
    }
    let below = Root::of(open_root(stack, None)?.as_fd()).map_err(|error| TaskError::engine(error.to_string()))?;
    Ok(reduce(&upper.dir, &below)?)
}

fn open_writable(
    stack: &Stack,
    upper: &Upper,
    ground: &Path,
    attributes: MountAttrFlags,
) -> Result<OwnedFd, TaskError> {
    match stack.lower.last() {
        Some(top) => take_over_root(top, &upper.dir)?,
        None => {
            let mode = Mode::from(0o755);
            rustix::fs::chmod(&upper.dir, mode).map_err(failed(upper.dir.display()))?;
        }
    }
    mount_layers(&with_ground(&stack.lower, ground), Some(upper), attributes)
}

/// Layers top first, as overlayfs takes them, over `ground`. It takes none twice (ELOOP), as two `COPY --link` of the same
/// content are; and of what a layer says nothing shows that the same layer says again above.
fn with_ground(layers: &[PathBuf], ground: &Path) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    let distinct = layers.iter().rev().filter(|layer| seen.insert(layer.as_path()));
    distinct.map(PathBuf::as_path).chain([ground]).map(Path::to_owned).collect()
}

/// An empty directory: overlayfs wants two layers where nothing can be written.
fn empty_layer() -> PathBuf {
    super::work::place().join("empty")
}

fn mount_layers(layers: &[PathBuf], upper: Option<&Upper>, attributes: MountAttrFlags) -> Result<OwnedFd, TaskError> {
    if layers.len() > MOST_LAYERS {
        return Err(TaskError::engine(format!(
            "The file system has {} layers; overlayfs takes at most {MOST_LAYERS}.",
            layers.len()
        )));
    }
    if super::work::settings().old_overlay {
        return mount_by_names(layers, upper, attributes);
    }
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| explain(errno, "", upper))?;
    let refused = |errno: Errno| explain(errno, &kernel_log(context.as_fd()), upper);
    fsconfig_set_string(&context, "source", "overlay").map_err(refused)?;
    for layer in layers {
        set_directory(context.as_fd(), "lowerdir+", layer)?.map_err(refused)?;
    }
    if let Some(upper) = upper {
        set_directory(context.as_fd(), "upperdir", &upper.dir)?.map_err(refused)?;
        set_directory(context.as_fd(), "workdir", &work_directory(upper)?)?.map_err(refused)?;
        fsconfig_set_flag(&context, "volatile").map_err(refused)?;
    }
    fsconfig_set_flag(&context, "userxattr").map_err(refused)?;
    for (name, value) in PLAIN {
        fsconfig_set_string(&context, name, value).map_err(refused)?;
    }
    fsconfig_create(&context).map_err(refused)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(failed("overlayfs"))
}

/// Names a directory to overlayfs by a descriptor: fsconfig takes no more than 255 bytes, and the mount table that
/// a container reads should not tell where the host keeps things.
fn set_directory(context: BorrowedFd<'_>, option: &str, path: &Path) -> Result<Result<(), Errno>, TaskError> {
    let directory = open_directory(path).map_err(failed(path.display()))?;
    Ok(fsconfig_set_string(context, option, format!("/proc/self/fd/{}", directory.as_raw_fd())))
}

/// The work directory proper; other things of a step lie beside it.
fn work_directory(upper: &Upper) -> Result<PathBuf, TaskError> {
    let work = upper.work.join("overlay");
    match rustix::fs::mkdir(&work, Mode::from(0o700)) {
        Ok(()) | Err(Errno::EXIST) => Ok(work),
        Err(errno) => Err(failed(work.display())(errno)),
    }
}

/// Mounts what nobody needs, so that a kernel that refuses it is known at the start, when another engine can still be
/// chosen.
pub(super) fn try_out() -> Result<(), TaskError> {
    let other = super::work::place().join("tried");
    std::fs::create_dir(&other).map_err(|error| TaskError::engine(format!("{}: {error}", other.display())))?;
    let tried = mount_layers(&[other.clone(), empty_layer()], None, NODEV).map(drop);
    let _ = std::fs::remove_dir(&other);
    tried.map_err(|error| {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        error.with_help(format!("The embedded engine needs overlayfs, with `userxattr`; this is Linux {kernel}."))
    })
}

/// Whether the kernel is older than Linux 6.5, which takes layers one by one. An older one says nothing of that until it
/// is too late.
pub(super) fn kernel_is_old() -> bool {
    let name = rustix::system::uname();
    let mut numbers = name.release().to_bytes().split(|byte| !byte.is_ascii_digit()).map(|it| it.to_str());
    let mut next = || numbers.next().and_then(Result::ok).and_then(|it| it.parse::<u32>().ok());
    matches!((next(), next()), (Some(major), Some(minor)) if (major, minor) < (6, 5))
}

/// Before Linux 6.5: one string with all layers, cut at 4 KiB, so each gets a short name in the current directory.
fn mount_by_names(layers: &[PathBuf], upper: Option<&Upper>, attributes: MountAttrFlags) -> Result<OwnedFd, TaskError> {
    let names = super::work::place().join("names");
    let io = |error: std::io::Error| TaskError::engine(format!("{}: {error}", names.display()));
    match std::fs::remove_dir_all(&names) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        _ => std::fs::create_dir(&names).map_err(io)?,
    }
    let before = open_directory(Path::new(".")).map_err(failed("the current directory"))?;
    std::env::set_current_dir(&names).map_err(io)?;
    let mut options = String::from("userxattr");
    for (name, value) in PLAIN {
        options += &format!(",{name}={value}");
    }
    let link = |name: &str, path: &Path| std::os::unix::fs::symlink(path, name).map_err(io);
    if let Some(upper) = upper {
        link("u", &upper.dir)?;
        link("w", &work_directory(upper)?)?;
        options += ",volatile,upperdir=u,workdir=w";
    }
    options += ",lowerdir=";
    for (index, layer) in layers.iter().enumerate() {
        let name = format!("{index:x}");
        link(&name, layer)?;
        if index > 0 {
            options.push(':');
        }
        options += &name;
    }
    std::fs::create_dir("root").map_err(io)?;
    let data = CString::new(options).map_err(|error| TaskError::engine(error.to_string()))?;
    let mounted = rustix::mount::mount("overlay", "root", "overlay", MountFlags::empty(), Some(data.as_c_str()))
        .map_err(|errno| explain(errno, "", upper))
        .and_then(|()| {
            let root = bind(here(), Path::new("root"), false, attributes).map_err(failed("overlayfs"));
            rustix::mount::unmount("root", UnmountFlags::DETACH).map_err(failed("overlayfs"))?;
            root
        });
    rustix::process::fchdir(&before).map_err(failed("the current directory"))?;
    mounted
}

/// What the kernel said of a mount that it refused.
fn kernel_log(context: BorrowedFd<'_>) -> String {
    let mut log = String::new();
    let mut line = [0; 1024];
    while let Ok(count) = rustix::io::read(context, &mut line) {
        if count == 0 || log.len() > 8192 {
            break;
        }
        let said = String::from_utf8_lossy(&line[..count]);
        // Each message has its level before it: `e overlay: …`.
        let message = ["e ", "w ", "i "].iter().find_map(|level| said.strip_prefix(level)).unwrap_or(&said);
        log += message.trim_end();
        log.push(' ');
    }
    log.trim_end().to_owned()
}

fn explain(errno: Errno, log: &str, upper: Option<&Upper>) -> TaskError {
    if errno == Errno::NODEV {
        return TaskError::engine("The kernel has no overlayfs.").with_help("As root: modprobe overlay");
    }
    let reason = std::io::Error::from(errno);
    let said = if log.is_empty() { String::new() } else { format!(" ({log})") };
    let error = TaskError::engine(format!("overlayfs was refused: {reason}{said}"));
    let on_overlay = upper.is_some_and(|upper| {
        // The magic number of overlayfs, from linux/magic.h.
        rustix::fs::statfs(&upper.dir).is_ok_and(|it| it.f_type as u64 == 0x794c_7630)
    });
    if on_overlay {
        error
            .with_help("The store lies on an overlay file system, as in a container without a volume.")
            .with_help("Put it on a volume or a tmpfs: `--root DIR`.")
    } else {
        error
    }
}

/// The root of the merged file system is the upper directory's, so it has to look like the layer's below it.
fn take_over_root(from: &Path, to: &Path) -> Result<(), TaskError> {
    let from_root = open_for_attributes(from)?;
    let to_root = open_for_attributes(to)?;
    let wrong = failed(to.display());
    let status = rustix::fs::fstat(&from_root).map_err(failed(from.display()))?;
    let (uid, gid) = (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid));
    rustix::fs::fchown(&to_root, Some(uid), Some(gid)).map_err(&wrong)?;
    rustix::fs::fchmod(&to_root, Mode::from_raw_mode(status.st_mode & 0o7777)).map_err(&wrong)?;
    copy_attributes(&from_root, &to_root);
    let times = Timestamps {
        last_access: rustix::fs::Timespec { tv_sec: status.st_atime as i64, tv_nsec: status.st_atime_nsec as _ },
        last_modification: rustix::fs::Timespec { tv_sec: status.st_mtime as i64, tv_nsec: status.st_mtime_nsec as _ },
    };
    rustix::fs::futimens(&to_root, &times).map_err(&wrong)
}

fn open_for_attributes(path: &Path) -> Result<OwnedFd, TaskError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(failed(path.display()))
}

/// Copies extended attributes, but overlayfs' own. One that cannot be set here (another security module's) is left.
fn copy_attributes(from: &OwnedFd, to: &OwnedFd) {
    let mut names = vec![0; 65536];
    let Ok(length) = rustix::fs::flistxattr(from, &mut names) else { return };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let own = [&b"user.overlay."[..], b"trusted.overlay."].iter().any(|prefix| name.starts_with(prefix));
        let mut value = vec![0; 65536];
        if let (false, Ok(length)) = (own, rustix::fs::fgetxattr(from, name, &mut value)) {
            let _ = rustix::fs::fsetxattr(to, name, &value[..length], XattrFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(layers: &str, expected: &str) {
        let layers: Vec<PathBuf> = layers.split_whitespace().map(PathBuf::from).collect();
        let found = with_ground(&layers, Path::new("ground"));
        assert_eq!(found, expected.split_whitespace().map(PathBuf::from).collect::<Vec<_>>());
    }

    #[test]
    fn each_layer_is_there_once_where_it_is_topmost() {
        check("", "ground");
        check("a b c", "c b a ground");
        check("a b b", "b a ground");
        check("a b c b a", "a b c ground");
    }
}
