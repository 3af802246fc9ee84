//! Becoming the command, and saying why that was not possible.

use super::task::TaskError;
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{CString, OsStr};
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where programs are looked for when the environment has no PATH.
pub(super) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// As much of a program as is read to explain why it could not be started, in bytes.
const HEAD: u64 = 64 * 1024;

/// Replaces this process by the command, whose name is looked up with the PATH of `env`. Returns why it could not.
pub(super) fn exec(argv: &[String], env: &[String]) -> TaskError {
    let Some(name) = argv.first().filter(|name| !name.is_empty()) else {
        return TaskError::input("There is no command to run.");
    };
    let path = env.iter().rev().find_map(|it| it.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    let program = match find(name, path) {
        Ok(program) => program,
        Err(errno) => return not_found(name, path, errno),
    };
    let (Some(file), Some(argv), Some(env)) = (c_string(program.as_os_str()), c_strings(argv), c_strings(env)) else {
        return TaskError::input("The command or its environment has a NUL byte.");
    };
    let (argv, env) = (pointers(&argv), pointers(&env));
    // SAFETY: all three are NUL-terminated, the lists end with a null pointer, and their strings live until the call.
    unsafe { libc::execve(file.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    explain(&program, super::mounting::last_errno())
}

/// Replaces this process by the program behind a descriptor, with the same environment. Returns why it could not.
pub(super) fn replace(program: &OwnedFd, arguments: &[CString]) -> Errno {
    let variables: Vec<CString> = std::env::vars_os()
        .filter_map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok())
        .collect();
    let (argv, env) = (pointers(arguments), pointers(&variables));
    // SAFETY: the path is a C string, both lists end with a null pointer, and their strings live until the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    super::mounting::last_errno()
}

fn c_string(text: &OsStr) -> Option<CString> {
    CString::new(text.as_bytes()).ok()
}

fn c_strings(texts: &[String]) -> Option<Vec<CString>> {
    texts.iter().map(|text| c_string(text.as_ref())).collect()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|it| it.as_ptr()).chain([std::ptr::null()]).collect()
}

/// A name with a slash is a path; another is looked for in `path`, where an empty directory is the current one.
fn find(name: &str, path: &str) -> Result<PathBuf, Errno> {
    if name.contains('/') {
        return Ok(name.into());
    }
    let mut answer = Errno::NOENT;
    for directory in path.split(':') {
        let candidate = Path::new(if directory.is_empty() { "." } else { directory }).join(name);
        match may_execute(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::ACCESS) => answer = Errno::ACCESS,
            Err(_) => {}
        }
    }
    Err(answer)
}

fn may_execute(path: &Path) -> Result<(), Errno> {
    let status = rustix::fs::statat(CWD, path, AtFlags::empty())?;
    match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile => rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS),
        _ => Err(Errno::ISDIR),
    }
}

fn not_found(name: &str, path: &str, errno: Errno) -> TaskError {
    if errno == Errno::ACCESS {
        return TaskError::input(format!("`{name}` in PATH ({path}) may not be executed by this user."));
    }
    TaskError::input(format!("`{name}` was not found in PATH ({path})."))
        .with_help("A built-in or a command line needs a shell: RUN in its shell form, or [\"sh\", \"-c\", \"…\"].")
}

/// Says why an exec failed, from what can be seen of the file.
fn explain(program: &Path, errno: Errno) -> TaskError {
    let mut head = Vec::new();
    // A FIFO would be waited for.
    if let Ok(fd) = rustix::fs::open(program, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()) {
        let _ = std::fs::File::from(fd).take(HEAD).read_to_end(&mut head);
    }
    let what = match (program.symlink_metadata(), program.metadata()) {
        (Err(_), _) => What::Nothing,
        (Ok(_), Err(_)) => What::Dangling,
        (_, Ok(found)) if found.is_dir() => What::Directory,
        (_, Ok(found)) if found.is_file() => What::File,
        _ => What::Special,
    };
    let facts = Facts { errno, what, head: &head };
    let program = program.to_string_lossy();
    reason(&program, &facts, |path| Path::new(OsStr::from_bytes(path)).exists())
}

/// What stands where the program should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Nothing,
    /// A link to nothing.
    Dangling,
    Directory,
    File,
    /// A FIFO, a device or a socket.
    Special,
}

struct Facts<'h> {
    errno: Errno,
    what: What,
    /// The beginning of the file, as far as it can be read.
    head: &'h [u8],
}

fn reason(program: &str, facts: &Facts<'_>, exists: impl Fn(&[u8]) -> bool) -> TaskError {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).escape_debug().to_string();
    if facts.what == What::Nothing {
        let error = TaskError::input(format!("`{program}` is not in the image."));
        return match program {
            "/bin/sh" | "/bin/bash" | "/bin/ash" => error.with_help(
                "An image without a shell needs RUN in its exec form, RUN [\"program\", \"argument\"], or work done in \
                 another stage and copied.",
            ),
            _ => error,
        };
    }
    let is_not = match facts.what {
        What::Dangling => Some("a link to something that is not in the image"),
        What::Directory => Some("a directory"),
        What::Special => Some("a FIFO, a device or a socket"),
        What::Nothing | What::File => None,
    };
    if let Some(what) = is_not {
        return TaskError::input(format!("`{program}` is {what}."));
    }
    if let Some(interpreter) = shebang(facts.head) {
        if interpreter.ends_with(b"\r") {
            return TaskError::input(format!("The first line of `{program}` ends with a carriage return."))
                .with_help("It has the line ends of Windows; `sed -i 's/\\r$//' FILE` gives it those of Linux.");
        }
        if facts.errno == Errno::NOENT && !exists(interpreter) {
            return TaskError::input(format!(
                "`{program}` is a script for `{}`, which is not in the image.",
                text(interpreter)
            ));
        }
    }
    match (elf(facts.head), facts.errno) {
        (Some(Elf { machine, .. }), Errno::NOEXEC) if machine != std::env::consts::ARCH => TaskError::input(format!(
            "`{program}` is a program for {machine}; this machine is {}.",
            std::env::consts::ARCH
        ))
        .with_help("Take the base for this platform, or register qemu for the other (binfmt_misc)."),
        (Some(Elf { loader: Some(loader), .. }), Errno::NOENT) if !exists(loader) => {
            TaskError::input(format!("`{program}` needs the loader `{}`, which is not in the image.", text(loader)))
                .with_help(
                    "A program linked to another C library (glibc, musl) than the image has does not start there.",
                )
                .with_help("Link it statically, or build it on the same base.")
        }
        (None, Errno::NOEXEC) if facts.head.is_empty() => TaskError::input(format!("`{program}` is an empty file.")),
        (None, Errno::NOEXEC) => {
            TaskError::input(format!("`{program}` is neither a program nor a script that begins with `#!`."))
        }
        (_, Errno::ACCESS) => TaskError::input(format!("`{program}` may not be executed by this user."))
            .with_help("`chmod +x`, or COPY --chmod=755, makes it executable."),
        (_, Errno::TOOBIG) => {
            TaskError::input(format!("The command line and the environment of `{program}` are too long."))
        }
        (_, errno) => TaskError::input(format!("`{program}` could not be started: {}.", std::io::Error::from(errno))),
    }
}

/// The interpreter that a script's first line names; a carriage return stays part of it.
fn shebang(head: &[u8]) -> Option<&[u8]> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = line.trim_ascii_start();
    line.split(|byte| matches!(byte, b' ' | b'\t')).next().filter(|it| !it.is_empty())
}

struct Elf<'h> {
    /// As Rust names it.
    machine: &'static str,
    loader: Option<&'h [u8]>,
}

/// Reads the little that matters of an ELF file's header, and its program headers for the loader's name.
fn elf(head: &[u8]) -> Option<Elf<'_>> {
    let number = |at: usize, size: usize| -> Option<u64> {
        let bytes = head.get(at..at.checked_add(size)?)?;
        Some(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    // Little endian only: no machine that this runs on is otherwise.
    if !head.starts_with(b"\x7fELF") || *head.get(5)? != 1 {
        return None;
    }
    let wide = *head.get(4)? == 2;
    let machine = match number(18, 2)? {
        3 => "x86",
        40 => "arm",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv64",
        _ => "another machine",
    };
    let (first, size, count) = match wide {
        true => (number(32, 8)?, number(54, 2)?, number(56, 2)?),
        false => (number(28, 4)?, number(42, 2)?, number(44, 2)?),
    };
    let loader = (0..count).find_map(|index| {
        let at = usize::try_from(first.checked_add(index.checked_mul(size)?)?).ok()?;
        let (offset, length) = match wide {
            true => (number(at.checked_add(8)?, 8)?, number(at.checked_add(32)?, 8)?),
            false => (number(at.checked_add(4)?, 4)?, number(at.checked_add(16)?, 4)?),
        };
        let (offset, length) = (usize::try_from(offset).ok()?, usize::try_from(length).ok()?);
        // PT_INTERP
        (number(at, 4)? == 3).then(|| head.get(offset..offset.checked_add(length)?)).flatten()
    });
    Some(Elf { machine, loader: loader.map(|name| name.strip_suffix(b"\0").unwrap_or(name)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(errno: Errno, head: &[u8], expected: &str) {
        let facts = Facts { errno, what: What::File, head };
        let error = reason("/app", &facts, |_| false);
        assert!(error.message.contains(expected), "{:?} has no {expected:?}", error.message);
        assert!(error.input);
    }

    #[test]
    fn the_likely_cause_is_named() {
        check(Errno::NOENT, b"#! /bin/bash -e\n", "script for `/bin/bash`");
        check(Errno::NOENT, b"#!/bin/sh\r\necho\r\n", "carriage return");
        check(Errno::NOEXEC, b"", "empty file");
        check(Errno::NOEXEC, b"echo hello\n", "neither a program");
        check(Errno::ACCESS, b"\0\0", "may not be executed");
        let own = std::fs::read("/proc/self/exe").unwrap();
        check(Errno::NOENT, &own[..own.len().min(HEAD as usize)], "needs the loader");
        let mut foreign = own[..4096].to_vec();
        foreign[18..20].copy_from_slice(&[243, 0]);
        check(Errno::NOEXEC, &foreign, "program for riscv64");
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(explain(&fifo, Errno::ACCESS).message.contains("is a FIFO"));
        assert!(explain(dir.path(), Errno::ACCESS).message.contains("is a directory"));
    }

    #[test]
    fn a_missing_shell_has_a_remedy() {
        let facts = Facts { errno: Errno::NOENT, what: What::Nothing, head: b"" };
        assert!(reason("/bin/sh", &facts, |_| false).help[0].contains("exec form"));
        assert!(reason("/usr/bin/make", &facts, |_| false).message.contains("not in the image"));
    }

    proptest! {
        #[test]
        fn any_file_can_be_explained(tail in proptest::collection::vec(any::<u8>(), 0..200), code in 1..40) {
            for start in [&b"\x7fELF\x02\x01"[..], b"\x7fELF\x01\x01", b"#!", b""] {
                let head = [start, &tail].concat();
                let facts = Facts {
                    errno: Errno::from_raw_os_error(code), what: What::File, head: &head,
                };
                prop_assert!(!reason("/app", &facts, |_| false).message.is_empty());
            }
        }
    }
}
