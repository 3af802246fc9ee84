//! Windows.

use super::reserved;
use super::signals::{Signal, Source};
use super::{Properties, Special};
use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::net::windows::named_pipe::{ClientOptions, NamedPipeClient};
use tokio::process::Command;
use tokio::signal::windows;

/// How often a terminal is looked at for another size: nobody tells.
const LOOK: Duration = Duration::from_millis(250);

pub(super) fn sources(wanted: Signal) -> Vec<Source> {
    fn source<T: Send + 'static>(
        stream: io::Result<T>,
        mut poll: impl FnMut(&mut T, &mut std::task::Context<'_>) -> std::task::Poll<Option<()>> + Send + 'static,
    ) -> Option<Source> {
        let mut stream = stream.ok()?;
        Some(Box::new(move |context| poll(&mut stream, context)))
    }
    let found: Vec<Option<Source>> = match wanted {
        Signal::Interrupt => vec![source(windows::ctrl_c(), windows::CtrlC::poll_recv)],
        Signal::Terminate => vec![
            source(windows::ctrl_break(), windows::CtrlBreak::poll_recv),
            source(windows::ctrl_shutdown(), windows::CtrlShutdown::poll_recv),
        ],
        Signal::Hangup => vec![
            source(windows::ctrl_close(), windows::CtrlClose::poll_recv),
            source(windows::ctrl_logoff(), windows::CtrlLogoff::poll_recv),
        ],
        Signal::Resized => {
            let mut clock = tokio::time::interval(LOOK);
            vec![Some(Box::new(move |context| clock.poll_tick(context).map(|_| Some(()))))]
        }
        Signal::Quit | Signal::Stop | Signal::Resumed => Vec::new(),
    };
    found.into_iter().flatten().collect()
}

/// A signal tells it here.
pub(super) fn terminal_gone() -> Option<Source> {
    None
}

/// Nothing tells that here.
pub fn is_terminal_gone() -> bool {
    false
}

/// There is no such thing here.
pub fn ask_to_stop() -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "Windows stops no program in a terminal"))
}

pub fn stop() -> io::Result<()> {
    ask_to_stop()
}

/// While it lives, a terminal in raw mode gives every key as the bytes that programs in it read.
pub struct KeysAsBytes {
    before: u32,
}

/// `ENABLE_VIRTUAL_TERMINAL_INPUT` of the console's mode.
const AS_BYTES: u32 = 0x200;

impl KeysAsBytes {
    pub fn on() -> io::Result<KeysAsBytes> {
        let mode = crossterm_winapi::ConsoleMode::from(crossterm_winapi::Handle::input_handle()?);
        let before = mode.mode()?;
        mode.set_mode(before | AS_BYTES)?;
        Ok(KeysAsBytes { before })
    }
}

impl Drop for KeysAsBytes {
    fn drop(&mut self) {
        // A console that is gone needs no mode.
        if let Ok(handle) = crossterm_winapi::Handle::input_handle() {
            let _ = crossterm_winapi::ConsoleMode::from(handle).set_mode(self.before);
        }
    }
}

/// Whether a terminal shows all characters and colours whatever the environment says of it.
pub fn is_rich_terminal() -> bool {
    crossterm::ansi_support::supports_ansi()
}

/// The editor where the user names none.
pub const EDITOR: &str = "notepad";

/// Runs a command as the user has written it, arguments included, with these words after it.
pub fn editor(command: &str, words: &[&OsStr]) -> Command {
    // A path with blanks in it stands in quotes.
    let (program, arguments) = match command.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
        Some((program, arguments)) => (program, arguments),
        None => command.split_once(' ').unwrap_or((command, "")),
    };
    let mut editor = Command::new(program);
    editor.args(arguments.split_whitespace()).args(words);
    editor
}

/// Starts a program in a group of its own: a Ctrl-C at the terminal does not end it.
pub fn set_apart(command: &mut tokio::process::Command) {
    command.creation_flags(CREATE_NEW_PROCESS_GROUP);
}

/// There is none.
pub fn set_usual_umask(_: &mut tokio::process::Command) {}

const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;

/// Where a Docker Engine listens that nobody says anything else of.
pub const DOCKER_SOCKET: &str = r"\\.\pipe\docker_engine";

/// The place of a named pipe, from the parts of `SCHEME://REST`.
pub fn socket_path(scheme: &str, rest: &str) -> Option<PathBuf> {
    (scheme == "npipe" && !rest.is_empty()).then(|| PathBuf::from(rest.replace('/', "\\")))
}

/// The reverse of [`socket_path`].
pub fn socket_address(path: &Path) -> String {
    format!("npipe://{}", path.display().to_string().replace('\\', "/"))
}

/// `ERROR_PIPE_BUSY`: all its ends are taken at the moment.
const BUSY: i32 = 231;
/// As long as an end of a pipe is waited for, and how often it is looked for.
const PATIENCE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(50);

/// Connects to a named pipe.
pub async fn connect(path: &Path) -> io::Result<NamedPipeClient> {
    let open = async {
        loop {
            match ClientOptions::new().open(path) {
                Err(error) if error.raw_os_error() == Some(BUSY) => tokio::time::sleep(AGAIN).await,
                opened => return opened,
            }
        }
    };
    tokio::time::timeout(PATIENCE, open).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// An HTTP client whose every connection goes to a named pipe.
pub fn http_through(client: reqwest::ClientBuilder, path: &Path) -> reqwest::ClientBuilder {
    client.windows_named_pipe(path.as_os_str())
}

/// A peer that is gone without a word is noticed within about a minute.
pub fn keep_alive(stream: &TcpStream) {
    use rustix::net::sockopt;
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, Duration::from_secs(20));
    let _ = sockopt::set_tcp_keepintvl(stream, Duration::from_secs(10));
    let _ = sockopt::set_tcp_keepcnt(stream, 3);
}

/// As Docker's client has it: everything may be executed. Names of one file are not told apart from files.
pub fn properties(_: &Metadata) -> Properties {
    Properties { mode: 0o755, owner: (0, 0), special: None, shared: None }
}

/// What Windows has of the kind means nothing in a container.
pub fn extended_attributes(_: &Path) -> io::Result<HashMap<String, Vec<u8>>> {
    Ok(HashMap::new())
}

/// A path as it is written in a container.
pub fn slashed(path: &Path) -> Cow<'_, str> {
    path.to_string_lossy().replace('\\', "/").into()
}

/// A name as one part of a path on this machine; `None` if no file can have it.
pub fn file_name(name: &[u8]) -> Option<OsString> {
    let name = std::str::from_utf8(name).ok()?;
    reserved::is_allowed(name).then(|| OsString::from(name))
}

/// Files have no such permissions here.
pub fn set_mode(_: &Path, _: u32) -> io::Result<()> {
    Ok(())
}

/// Files have no such permissions here.
pub fn set_exact_mode(_: &Path, _: u32) -> io::Result<()> {
    Ok(())
}

/// Those of containers mean nothing here.
pub fn set_extended_attribute(_: &Path, _: &str, _: &[u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Devices of Linux are none here.
pub fn make_special(_: &Path, _: Special) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Makes a symbolic link, for which a user needs a right (or the developer mode). Links from the root of a file system
/// would lead to somewhere else on this machine.
pub fn symlink(target: &[u8], path: &Path, to_directory: bool) -> io::Result<()> {
    let target = std::str::from_utf8(target).ok().filter(|target| !target.starts_with('/'));
    let target = target.ok_or(io::ErrorKind::InvalidFilename)?.replace('/', "\\");
    match to_directory {
        true => std::os::windows::fs::symlink_dir(target, path),
        false => std::os::windows::fs::symlink_file(target, path),
    }
}

/// Nobody waits here.
pub fn lock(_: &std::fs::File) -> io::Result<()> {
    Ok(())
}

/// A temporary file that is to stay.
pub fn ordinary_file<'a, 'b>() -> tempfile::Builder<'a, 'b> {
    tempfile::Builder::new()
}

/// The absolute path of something that is there, in the form that people and programs know.
pub fn canonical(path: &Path) -> io::Result<PathBuf> {
    path.metadata()?;
    std::path::absolute(path)
}

/// Where programs keep what belongs to a user.
pub fn data_home() -> Option<PathBuf> {
    std::env::var_os("LOCALAPPDATA").filter(|dir| !dir.is_empty()).map(PathBuf::from)
}
