//! A terminal of the sandbox' own, whose master side the program outside holds.

use super::mounting::{bind, failed};
use super::rootfs::{System, attach_file};
use super::task::TaskError;
use rustix::fs::{Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Opens a terminal of `size` (columns, rows) from the sandbox' own devpts, makes it this process' controlling
/// terminal, its standard streams and /dev/console, and returns the master.
pub(super) fn open(system: &System, size: (u16, u16), owner: u32) -> Result<OwnedFd, TaskError> {
    try_open(system, size, owner).map_err(failed("opening a terminal"))
}

fn try_open(system: &System, (columns, rows): (u16, u16), owner: u32) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::openat(&system.pts, "ptmx", flags, Mode::empty())?;
    unlockpt(&master)?;
    tcsetwinsize(&master, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
    let terminal = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    // Where users are pretended the terminal is root's, as everything is.
    let _ = rustix::fs::fchown(&terminal, Some(Uid::from_raw(owner)), None);
    let console = bind(&terminal, Path::new(""), false, MountAttrFlags::empty())?;
    attach_file(&console, &system.dev, "console")?;
    rustix::process::setsid()?;
    rustix::process::ioctl_tiocsctty(&terminal)?;
    rustix::stdio::dup2_stdin(&terminal)?;
    rustix::stdio::dup2_stdout(&terminal)?;
    rustix::stdio::dup2_stderr(&terminal)?;
    Ok(master)
}
