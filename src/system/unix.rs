//! Linux and macOS.

use super::signals::{Signal, Source};
use super::{Properties, Special};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::task::Poll;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

pub(super) fn sources(wanted: Signal) -> Option<Source> {
    let kind = match wanted {
        Signal::Interrupt => SignalKind::interrupt(),
        Signal::Terminate => SignalKind::terminate(),
        Signal::Hangup => SignalKind::hangup(),
        Signal::Quit => SignalKind::quit(),
        Signal::Stop => SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw()),
        Signal::Resumed => SignalKind::from_raw(rustix::process::Signal::CONT.as_raw()),
        Signal::Resized => SignalKind::window_change(),
    };
    let mut stream = signal(kind).ok()?;
    Some(Box::new(move |context| stream.poll_recv(context)))
}

/// Ready once, when the terminal that is read from is gone: no signal tells that of one that does not control the program.
pub(super) fn terminal_gone() -> Option<Source> {
    let (gone, mut told) = tokio::sync::mpsc::channel(1);
    let wait = move || {
        while !is_gone_within(None) {}
        let _ = gone.blocking_send(());
    };
    std::thread::Builder::new().name("terminal".to_owned()).spawn(wait).ok()?;
    let mut open = true;
    Some(Box::new(move |context| match open {
        true => told.poll_recv(context).map(|_| {
            open = false;
            Some(())
        }),
        false => Poll::Pending,
    }))
}

/// Whether it is gone, whoever has been told.
pub fn is_terminal_gone() -> bool {
    is_gone_within(Some(Timespec::default()))
}

fn is_gone_within(time: Option<Timespec>) -> bool {
    let stdin = io::stdin();
    let mut polled = [PollFd::new(&stdin, PollFlags::empty())];
    !matches!(poll(&mut polled, time.as_ref()), Ok(0) | Err(Errno::INTR))
}

/// Asks the program and those it was started with to stop, as Ctrl-Z does.
pub fn ask_to_stop() -> io::Result<()> {
    rustix::process::kill_current_process_group(rustix::process::Signal::TSTP).map_err(io::Error::from)
}

/// Stops the program as that does by itself, which is not at all where nobody could continue it. Returns when it is
/// continued.
pub fn stop() -> io::Result<()> {
    // SAFETY: both actions are whole and live through the calls; the one that was there is put back, and meanwhile the
    // signal is the system's.
    let done = unsafe {
        let mut by_itself: libc::sigaction = std::mem::zeroed();
        by_itself.sa_sigaction = libc::SIG_DFL;
        let mut before = std::mem::zeroed();
        libc::sigaction(libc::SIGTSTP, &by_itself, &mut before) == 0
            && libc::raise(libc::SIGTSTP) == 0
            && libc::sigaction(libc::SIGTSTP, &before, std::ptr::null_mut()) == 0
    };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// While it lives, a terminal in raw mode gives every key as the bytes that programs in it read.
pub struct KeysAsBytes;

impl KeysAsBytes {
    /// A terminal does nothing else here.
    pub fn on() -> io::Result<KeysAsBytes> {
        Ok(KeysAsBytes)
    }
}

/// Whether a terminal shows all characters and colours whatever the environment says of it.
pub fn is_rich_terminal() -> bool {
    false
}

/// The editor where the user names none.
pub const EDITOR: &str = "vi";

/// Runs a command as the user has written it, arguments included, with these words after it.
pub fn editor(command: &str, words: &[&OsStr]) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("exec {command} \"$@\"")).arg("sh").args(words);
    shell
}

/// Starts a program in a session of its own: it has no terminal to ask the user at, and a Ctrl-C there does not end it.
pub fn set_apart(command: &mut Command) {
    let leave = || rustix::process::setsid().map(drop).map_err(io::Error::from);
    // SAFETY: between fork and exec this makes one system call, and takes no lock and no memory.
    unsafe { command.pre_exec(leave) };
}

/// Starts a program whose new files others may read, whatever this one's are like.
pub fn set_usual_umask(command: &mut Command) {
    let set = || {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        Ok(())
    };
    // SAFETY: between fork and exec this makes one system call, and takes no lock and no memory.
    unsafe { command.pre_exec(set) };
}

/// Where a Docker Engine listens that nobody says anything else of.
pub const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// The place of a socket on this machine, from the parts of `SCHEME://REST`.
pub fn socket_path(scheme: &str, rest: &str) -> Option<PathBuf> {
    (scheme == "unix" && !rest.is_empty()).then(|| PathBuf::from(rest))
}

/// The reverse of [`socket_path`].
pub fn socket_address(path: &Path) -> String {
    format!("unix://{}", path.display())
}

/// Connects to a socket on this machine.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}

/// An HTTP client whose every connection goes to a socket on this machine.
pub fn http_through(client: reqwest::ClientBuilder, path: &Path) -> reqwest::ClientBuilder {
    client.unix_socket(path)
}

/// A peer that is gone without a word is noticed within about a minute.
pub fn keep_alive(stream: &TcpStream) {
    use rustix::net::sockopt;
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, Duration::from_secs(20));
    let _ = sockopt::set_tcp_keepintvl(stream, Duration::from_secs(10));
    let _ = sockopt::set_tcp_keepcnt(stream, 3);
    #[cfg(target_os = "linux")]
    let _ = sockopt::set_tcp_user_timeout(stream, 45_000);
}

pub fn properties(metadata: &Metadata) -> Properties {
    let kind = metadata.file_type();
    let device = || (rustix::fs::major(metadata.rdev() as _) as u32, rustix::fs::minor(metadata.rdev() as _) as u32);
    let special = if kind.is_fifo() {
        Some(Special::Fifo)
    } else if kind.is_socket() {
        Some(Special::Socket)
    } else if kind.is_block_device() {
        Some(Special::BlockDevice(device().0, device().1))
    } else if kind.is_char_device() {
        Some(Special::CharDevice(device().0, device().1))
    } else {
        None
    };
    let is_shared = !kind.is_dir() && metadata.nlink() > 1;
    let shared = is_shared.then(|| (metadata.dev(), metadata.ino()));
    Properties { mode: metadata.mode() & 0o7777, owner: (metadata.uid(), metadata.gid()), special, shared }
}

/// Extended attributes, where the file system has them and lets us read them.
#[cfg(target_os = "linux")]
pub fn extended_attributes(path: &Path) -> io::Result<HashMap<String, Vec<u8>>> {
    let mut names = Vec::with_capacity(1 << 16);
    match rustix::fs::llistxattr(path, rustix::buffer::spare_capacity(&mut names)) {
        Ok(_) => {}
        Err(Errno::NOTSUP | Errno::ACCESS | Errno::PERM) => return Ok(HashMap::new()),
        Err(error) => return Err(error.into()),
    }
    let mut found = HashMap::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = Vec::with_capacity(1 << 16);
        if rustix::fs::lgetxattr(path, name, rustix::buffer::spare_capacity(&mut value)).is_ok() {
            found.insert(String::from_utf8_lossy(name).into_owned(), value);
        }
    }
    Ok(found)
}

/// Those of macOS mean nothing in a container.
#[cfg(not(target_os = "linux"))]
pub fn extended_attributes(_: &Path) -> io::Result<HashMap<String, Vec<u8>>> {
    Ok(HashMap::new())
}

/// A path as it is written in a container.
pub fn slashed(path: &Path) -> Cow<'_, str> {
    path.to_string_lossy()
}

/// A name as one part of a path on this machine; `None` if no file can have it.
pub fn file_name(name: &[u8]) -> Option<OsString> {
    let is_plain = !name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/') && !name.contains(&0);
    // A disk of a Mac takes UTF-8 only.
    let is_text = !cfg!(target_os = "macos") || std::str::from_utf8(name).is_ok();
    (is_plain && is_text).then(|| OsStr::from_bytes(name).to_owned())
}

/// Gives a file its permissions; its owner, who is the user, stays able to read and remove it.
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode & 0o777 | 0o600))
}

/// Gives a file exactly these permissions, with the bits for set-user-ID, set-group-ID and sticky.
pub fn set_exact_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode & 0o7777))
}

/// Sets an extended attribute, of a symbolic link itself too.
#[cfg(target_os = "linux")]
pub fn set_extended_attribute(path: &Path, name: &str, value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty())?)
}

/// Those of containers mean nothing on macOS.
#[cfg(not(target_os = "linux"))]
pub fn set_extended_attribute(_: &Path, _: &str, _: &[u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Makes a device or a pipe, which not every user may.
#[cfg(target_os = "linux")]
pub fn make_special(path: &Path, special: Special) -> io::Result<()> {
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    let (kind, device) = match special {
        Special::Fifo => (FileType::Fifo, 0),
        Special::Socket => (FileType::Socket, 0),
        Special::BlockDevice(major, minor) => (FileType::BlockDevice, makedev(major, minor)),
        Special::CharDevice(major, minor) => (FileType::CharacterDevice, makedev(major, minor)),
    };
    Ok(mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), device)?)
}

/// Devices of Linux are none on macOS.
#[cfg(not(target_os = "linux"))]
pub fn make_special(_: &Path, _: Special) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Makes a symbolic link. Only some systems want to know whether it leads to a directory.
pub fn symlink(target: &[u8], path: &Path, _to_directory: bool) -> io::Result<()> {
    std::os::unix::fs::symlink(OsStr::from_bytes(target), path)
}

/// Waits until nobody else has the file's lock, and has it until the file is closed.
pub fn lock(file: &std::fs::File) -> io::Result<()> {
    loop {
        match rustix::fs::flock(file, rustix::fs::FlockOperation::LockExclusive) {
            Err(rustix::io::Errno::INTR) => {}
            // A file system without locks.
            Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::NOLCK | rustix::io::Errno::NOSYS) => return Ok(()),
            done => return Ok(done?),
        }
    }
}

/// A temporary file that is to stay gets the permissions of any new file; the umask takes its part.
pub fn ordinary_file<'a, 'b>() -> tempfile::Builder<'a, 'b> {
    let mut builder = tempfile::Builder::new();
    builder.permissions(Permissions::from_mode(0o666));
    builder
}

/// The absolute path without symbolic links of something that is there.
pub fn canonical(path: &Path) -> io::Result<PathBuf> {
    path.canonicalize()
}

/// Where programs keep what belongs to a user.
pub fn data_home() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| !home.as_os_str().is_empty()).map(|home| home.join(".local/share"))
}
