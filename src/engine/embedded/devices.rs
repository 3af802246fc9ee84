//! Which device files a command may use.
//!
//! In Docker a control group decides: a command may make any device file, and open those alone that concern nobody
//! else. Here root's engine process makes one such group for all its commands, with a program that the kernel asks. It
//! needs no controller, so it is had wherever a control group of version 2 can be made, whatever else the machine has
//! mounted. Where it cannot, the mounts of a sandbox open no device files at all (`nodev`).

use super::mounting::{failed, file_system, last_errno, open_plain};
use super::spawn::{Ended, fork_into};
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

/// Character devices that may be read and written, by major and minor number; `None` is every minor. The list is that of
/// Docker's builder.
const ALLOWED: [(u16, Option<u16>); 9] = [
    (1, Some(3)),    // null
    (1, Some(5)),    // zero
    (1, Some(7)),    // full
    (1, Some(8)),    // random
    (1, Some(9)),    // urandom
    (5, Some(0)),    // tty
    (5, Some(2)),    // ptmx
    (10, Some(200)), // net/tun
    (136, None),     // pts
];

/// The group's name begins with this; the rest is the process that made it.
const PREFIX: &str = "stagedive-";

/// A control group for commands.
#[derive(Debug)]
pub(super) struct Devices {
    parent: OwnedFd,
    name: String,
    /// Locked for as long as this process or a worker of it lives, so that nobody takes it for a forgotten one.
    directory: OwnedFd,
}

impl Devices {
    /// Makes the group, below this process' own, and tries it.
    pub(super) fn prepare() -> Result<Devices, Errno> {
        // Of our own: where the machine has it mounted, and whether, does not matter.
        let groups = file_system("cgroup2", &[], MountAttrFlags::empty())?;
        let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = text.lines().find_map(|line| line.strip_prefix("0::/")).ok_or(Errno::NOENT)?;
        let own = if own.is_empty() { "." } else { own };
        let parent = open_plain(&groups, own, OFlags::RDONLY | OFlags::DIRECTORY)?;
        remove_forgotten(&parent);
        let devices = Devices::make(parent)?;
        let tried = devices.restrict().and_then(|()| {
            let child = fork_into(0, Some(devices.group()), || 0)?;
            match child.wait()? {
                Ended::Exited(0) => Ok(()),
                _ => Err(Errno::IO),
            }
        });
        match tried {
            Ok(()) => Ok(devices),
            Err(errno) => {
                devices.remove();
                Err(errno)
            }
        }
    }

    fn make(parent: OwnedFd) -> Result<Devices, Errno> {
        for number in 0..64 {
            let name = format!("{PREFIX}{}-{number}", rustix::process::getpid().as_raw_nonzero());
            match rustix::fs::mkdirat(&parent, &name, Mode::from(0o755)) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(errno) => return Err(errno),
            }
            // Until it is locked, another process may take it for a forgotten one.
            if let Some(directory) = locked(&parent, &name) {
                return Ok(Devices { parent, name, directory });
            }
        }
        Err(Errno::BUSY)
    }

    /// For a process to be forked into.
    pub(super) fn group(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Takes the group away, when no process is left in it.
    pub(super) fn remove(&self) {
        let _ = rustix::fs::unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR);
    }

    /// Gives the group the program that the kernel asks. Programs of groups above it are asked too.
    fn restrict(&self) -> Result<(), Errno> {
        let program = load(&program())?;
        #[repr(C)]
        struct Attach {
            target: u32,
            program: u32,
            kind: u32,
            flags: u32,
        }
        const DEVICE: u32 = 6;
        const ALLOW_MULTI: u32 = 2;
        let attach = Attach {
            target: self.directory.as_raw_fd().cast_unsigned(),
            program: program.as_raw_fd().cast_unsigned(),
            kind: DEVICE,
            flags: ALLOW_MULTI,
        };
        const PROG_ATTACH: i32 = 8;
        // SAFETY: `attach` begins as `bpf_attr` does for this command, and its size is given.
        match unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, &raw const attach, size_of::<Attach>()) } {
            0 => Ok(()),
            _ => Err(last_errno()),
        }
    }
}

/// The group of this name with its lock; `None` if somebody else has it, or has taken the group away.
fn locked(parent: &OwnedFd, name: &str) -> Option<OwnedFd> {
    let directory = open_plain(parent, name, OFlags::RDONLY | OFlags::DIRECTORY).ok()?;
    flock(&directory, FlockOperation::NonBlockingLockExclusive).ok()?;
    let there = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    (there.st_ino == rustix::fs::fstat(&directory).ok()?.st_ino).then_some(directory)
}

/// Takes away the groups of engine processes that were killed.
fn remove_forgotten(parent: &OwnedFd) {
    let Ok(entries) = Dir::read_from(parent) else { return };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().to_str() else { continue };
        if name.starts_with(PREFIX)
            && let Some(_lock) = locked(parent, name)
        {
            let _ = rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR);
        }
    }
}

/// An instruction as the kernel has it: `struct bpf_insn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
struct Instruction {
    code: u8,
    /// The source in the upper half, the destination in the lower.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// The kernel's question is `struct bpf_cgroup_dev_ctx`: what for (upper half) and of which kind (lower half), major,
/// minor. The answer is 1 or 0.
fn program() -> Vec<Instruction> {
    const MAKE: i32 = 1;
    const CHARACTER: i32 = 2;
    let one = |code, registers, offset, immediate| Instruction { code, registers, offset, immediate };
    let load = |to: u8, offset| one(0x61, 0x10 | to, offset, 0);
    let unless = |register: u8, value, skip| one(0x55, register, skip, value);
    let answer = |value| [one(0xb7, 0, 0, value), one(0x95, 0, 0, 0)];
    let (kind, purpose, major, minor) = (2, 3, 4, 5);
    let mut out = vec![
        load(kind, 0),
        load(purpose, 0),
        load(major, 4),
        load(minor, 8),
        one(0x54, kind, 0, 0xffff), // kind &= 0xffff
        one(0x74, purpose, 0, 16),  // purpose >>= 16
    ];
    out.push(unless(purpose, MAKE, 2));
    out.extend(answer(1));
    out.push(one(0x15, kind, 2, CHARACTER));
    out.extend(answer(0));
    for (allowed_major, allowed_minor) in ALLOWED {
        out.push(unless(major, allowed_major.into(), if allowed_minor.is_some() { 3 } else { 2 }));
        out.extend(allowed_minor.map(|allowed_minor| unless(minor, allowed_minor.into(), 2)));
        out.extend(answer(1));
    }
    out.extend(answer(0));
    out
}

/// Has the kernel check a program and keep it.
fn load(program: &[Instruction]) -> Result<OwnedFd, Errno> {
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
    }
    const CGROUP_DEVICE: u32 = 15;
    let load = Load {
        kind: CGROUP_DEVICE,
        count: u32::try_from(program.len()).map_err(|_| Errno::TOOBIG)?,
        instructions: program.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
    };
    const PROG_LOAD: i32 = 5;
    // SAFETY: `load` begins as `bpf_attr` does for this command, its size is given, and what it points to outlives the
    // call.
    match unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const load, size_of::<Load>()) } {
        descriptor @ 0.. => {
            let descriptor = i32::try_from(descriptor).map_err(|_| Errno::BADF)?;
            // SAFETY: the kernel has just made this descriptor for us.
            Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
        }
        _ => Err(last_errno()),
    }
}

/// Makes the device files of /dev.
pub(super) fn make_nodes(dev: &OwnedFd) -> Result<(), super::task::TaskError> {
    for (name, major, minor) in NODES {
        let wrong = failed(format!("making /dev/{name}"));
        let mode = Mode::from(0o666);
        let device = rustix::fs::makedev(major, minor);
        let kind = rustix::fs::FileType::CharacterDevice;
        rustix::fs::mknodat(dev, name, kind, mode, device).map_err(&wrong)?;
        rustix::fs::chmodat(dev, Path::new(name), mode, AtFlags::empty()).map_err(&wrong)?;
    }
    Ok(())
}

/// Device files that every process may use.
pub(super) const NODES: [(&str, u32, u32); 6] =
    [("full", 1, 7), ("null", 1, 3), ("random", 1, 8), ("tty", 5, 0), ("urandom", 1, 9), ("zero", 1, 5)];

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program answers, by running it.
    fn ask(purpose: u32, kind: u32, major: u32, minor: u32) -> bool {
        let program = program();
        let question = [purpose << 16 | kind, major, minor];
        let mut registers = [0u64; 16];
        let mut at = 0usize;
        for _ in 0..program.len() {
            let it = program[at];
            let to = usize::from(it.registers & 15);
            let immediate = u64::from(it.immediate.cast_unsigned());
            at += 1;
            match it.code {
                0x61 => registers[to] = question[usize::try_from(it.offset).unwrap() / 4].into(),
                0x54 => registers[to] &= immediate,
                0x74 => registers[to] >>= immediate,
                0xb7 => registers[to] = immediate,
                0x15 if registers[to] == immediate => at += usize::try_from(it.offset).unwrap(),
                0x55 if registers[to] != immediate => at += usize::try_from(it.offset).unwrap(),
                0x15 | 0x55 => {}
                0x95 => return registers[0] == 1,
                code => panic!("{code:#x}"),
            }
        }
        panic!("no answer")
    }

    #[test]
    fn a_command_may_make_all_and_open_what_concerns_nobody() {
        let (block, character) = (1, 2);
        let (make, read, write) = (1, 2, 4);
        let check = |(purpose, kind, major, minor), expected: bool| {
            assert_eq!(ask(purpose, kind, major, minor), expected, "{purpose} {kind} {major}:{minor}");
        };
        for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (10, 200), (136, 0), (136, 99)] {
            check((read | write, character, major, minor), true);
            check((read, block, major, minor), false);
            check((make | read, block, major, minor), false);
        }
        for (major, minor) in [(1, 1), (1, 11), (5, 1), (5, 3), (10, 229), (137, 0), (0, 3), (254, 0)] {
            check((read, character, major, minor), false);
            check((write, character, major, minor), false);
            check((make, character, major, minor), true);
            check((make, block, major, minor), true);
        }
    }
}
