//! What every sandbox has besides the image's files: /proc, /sys and /dev, as Docker sets them up by default.

use super::devices;
use super::mounting::{Place, Point, attach, bind, failed, file_system, here, open_plain, place};
use super::task::TaskError;
use super::work::settings;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

const NOSUID: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID;
const NODEV: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;
const NOEXEC: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOEXEC;
const RDONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;

/// Directories that the mounts here need.
pub(super) const POINTS: [&str; 3] = ["/proc", "/sys", "/dev"];

const LINKS: [(&str, &str); 6] = [
    ("core", "/proc/kcore"),
    ("fd", "/proc/self/fd"),
    ("ptmx", "pts/ptmx"),
    ("stderr", "/proc/self/fd/2"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
];

/// Hidden, since they tell of the machine or let one act on it. The list is that of Docker's builder.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Can be read, and not written. The list is that of Docker's builder.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The magic number of cgroup2, from linux/magic.h.
const CGROUP2: u64 = 0x6367_7270;

/// The mounts that later steps need to come back to.
#[derive(Debug)]
pub(super) struct System {
    proc: OwnedFd,
    sys: OwnedFd,
    pub(super) dev: OwnedFd,
    pub(super) pts: OwnedFd,
}

/// Mounts /proc, /sys and /dev below a directory of ours, before it is known what file system they are for. `insecure`
/// is Docker's `--security=insecure`: nothing is hidden, and /sys can be written.
pub(super) fn mount(staging: BorrowedFd<'_>, insecure: bool) -> Result<System, TaskError> {
    let at = |path: &str| -> Result<OwnedFd, TaskError> {
        let found = place(staging, Path::new(path), Point::Directory);
        found.map(|it| it.descriptor).map_err(failed(format_args!("mounting {path}")))
    };
    let proc = mount_proc(at("/proc")?).map_err(failed("mounting /proc"))?;
    let dev = mount_dev(at("/dev")?)?;
    let pts = mount_pts(&dev).map_err(failed("mounting /dev/pts"))?;
    let sys = mount_sys(at("/sys")?, insecure).map_err(failed("mounting /sys"))?;
    let system = System { proc, sys, dev, pts };
    if !insecure {
        system.protect()?;
    }
    Ok(system)
}

fn mount_proc(at: OwnedFd) -> Result<OwnedFd, Errno> {
    let mount = match settings().own_proc {
        true => file_system("proc", &[], NOSUID | NODEV | NOEXEC)?,
        false => bind(here(), Path::new("/proc"), true, NOSUID | NODEV | NOEXEC)?,
    };
    attach(&mount, &at)?;
    Ok(mount)
}

fn mount_sys(at: OwnedFd, insecure: bool) -> Result<OwnedFd, Errno> {
    let attributes = NOSUID | NODEV | NOEXEC | if insecure { MountAttrFlags::empty() } else { RDONLY };
    // A user namespace that shares the machine's network may not mount a fresh one.
    let read_only: &[(&str, &str)] = if insecure { &[] } else { &[("ro", "")] };
    let fresh = file_system("sysfs", read_only, attributes);
    let mount = match &fresh {
        Ok(_) => fresh?,
        Err(_) => bind(here(), Path::new("/sys"), true, attributes)?,
    };
    attach(&mount, &at)?;
    if let Ok(point) = open_plain(&mount, "fs/cgroup", OFlags::PATH) {
        // The sandbox' own group, as its namespace shows it; where that cannot be had, what the machine shows.
        let unified = rustix::fs::statfs("/sys/fs/cgroup").is_ok_and(|it| it.f_type as u64 == CGROUP2);
        let own = if unified { file_system("cgroup2", &[], attributes) } else { Err(Errno::NODEV) };
        if let Ok(groups) = own.or_else(|_| bind(here(), Path::new("/sys/fs/cgroup"), true, attributes)) {
            attach(&groups, &point)?;
        }
    }
    Ok(mount)
}

/// Where nobody watches which device files are opened, those here are the machine's own, each mounted by itself: the
/// tmpfs around them opens no others, whatever a process makes there.
fn mount_dev(at: OwnedFd) -> Result<OwnedFd, TaskError> {
    let wrong = failed("mounting /dev");
    let options = [("mode", "755"), ("size", "65536k")];
    let attributes = NOSUID | settings().nodev() | MountAttrFlags::MOUNT_ATTR_STRICTATIME;
    let dev = file_system("tmpfs", &options, attributes).map_err(&wrong)?;
    attach(&dev, &at).map_err(&wrong)?;
    if settings().devices.is_some() {
        devices::make_nodes(&dev)?;
    }
    for (name, ..) in devices::NODES.iter().filter(|_| settings().devices.is_none()) {
        match device(name, MountAttrFlags::empty()) {
            Ok(mount) => attach_file(&mount, &dev, name).map_err(failed(format_args!("mounting /dev/{name}")))?,
            // A machine without it (a container) has none to give.
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed(format_args!("/dev/{name}"))(errno)),
        }
    }
    for (name, target) in LINKS {
        // Some kernels have no /proc/kcore.
        if name == "core" && !Path::new(target).exists() {
            continue;
        }
        rustix::fs::symlinkat(target, &dev, name).map_err(&wrong)?;
    }
    let inside = |name: &str, kind: &str, options: &[(&str, &str)]| -> Result<(), Errno> {
        rustix::fs::mkdirat(&dev, name, Mode::from(0o755))?;
        let mount = file_system(kind, options, NOSUID | NODEV | NOEXEC)?;
        attach(&mount, open_plain(&dev, name, OFlags::PATH)?)
    };
    inside("shm", "tmpfs", &[("source", "shm"), ("mode", "1777"), ("size", "65536k")])
        .map_err(failed("mounting /dev/shm"))?;
    inside("mqueue", "mqueue", &[]).map_err(failed("mounting /dev/mqueue"))?;
    Ok(dev)
}

fn mount_pts(dev: &OwnedFd) -> Result<OwnedFd, Errno> {
    rustix::fs::mkdirat(dev, "pts", Mode::from(0o755))?;
    let mut options = vec![("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620")];
    if settings().tty_group {
        options.push(("gid", "5"));
    }
    let pts = file_system("devpts", &options, NOSUID | NOEXEC)?;
    attach(&pts, open_plain(dev, "pts", OFlags::PATH)?)?;
    Ok(pts)
}

/// One of the machine's own device files, as a mount.
fn device(name: &str, attributes: MountAttrFlags) -> Result<OwnedFd, Errno> {
    let path = Path::new("/dev").join(name);
    let mount = bind(here(), &path, false, NOSUID | NOEXEC | attributes)?;
    match FileType::from_raw_mode(rustix::fs::fstat(&mount)?.st_mode) {
        FileType::CharacterDevice => Ok(mount),
        _ => Err(Errno::NOENT),
    }
}

/// Mounts over a new empty file of a file system that nobody else sees yet.
pub(super) fn attach_file(mount: &OwnedFd, directory: &OwnedFd, name: &str) -> Result<(), Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::from(0o644))?;
    attach(mount, open_plain(directory, name, OFlags::PATH)?)
}

impl System {
    /// Moves everything to where it belongs below `root`. Nothing of the sandbox runs yet, so nobody can move what is
    /// mounted on. Answers with what had to be made in the image's own file system, relative to the root.
    pub(super) fn put(&self, root: BorrowedFd<'_>) -> Result<Vec<PathBuf>, TaskError> {
        let mut made = Vec::new();
        for (path, mount) in POINTS.into_iter().zip([&self.proc, &self.sys, &self.dev]) {
            let wrong = failed(format!("mounting {path}"));
            let Place { descriptor, made: new, .. } = place(root, Path::new(path), Point::Directory).map_err(&wrong)?;
            attach(mount, &descriptor).map_err(&wrong)?;
            made.extend(new);
        }
        Ok(made)
    }

    /// Hides what is to be hidden. The paths are looked up from the very mounts of /proc and /sys, and no link counts.
    fn protect(&self) -> Result<(), TaskError> {
        for path in READ_ONLY {
            if let Some(target) = self.find(path)? {
                let wrong = failed(format!("protecting {path}"));
                let copy = bind(&target, Path::new(""), true, RDONLY | NOSUID | NODEV | NOEXEC).map_err(&wrong)?;
                attach(&copy, &target).map_err(&wrong)?;
            }
        }
        for path in MASKED {
            let Some(target) = self.find(path)? else { continue };
            let wrong = failed(format!("hiding {path}"));
            let kind = FileType::from_raw_mode(rustix::fs::fstat(&target).map_err(&wrong)?.st_mode);
            let cover = match kind {
                FileType::Directory => file_system("tmpfs", &[("ro", "")], RDONLY),
                // Anew each time: before Linux 6.15 a mount that is not attached yet cannot be copied.
                _ => device("null", RDONLY),
            };
            attach(cover.map_err(&wrong)?, &target).map_err(&wrong)?;
        }
        Ok(())
    }

    /// A path of /proc or /sys, if this kernel has it. What is mounted there already is of our own mounting.
    fn find(&self, path: &str) -> Result<Option<OwnedFd>, TaskError> {
        let found = match (path.strip_prefix("/proc/"), path.strip_prefix("/sys/")) {
            (Some(rest), _) => open_plain(&self.proc, rest, OFlags::PATH),
            (_, Some(rest)) => open_plain(&self.sys, rest, OFlags::PATH),
            _ => Err(Errno::NOENT),
        };
        match found {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => Ok(None),
            Err(Errno::LOOP | Errno::XDEV) => Ok(None),
            Err(errno) => Err(failed(format_args!("looking up {path}"))(errno)),
        }
    }
}
