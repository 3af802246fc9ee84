//! Which system calls a sandbox answers: Docker's default profile, for the capabilities that Docker gives by default.
//!
//! The filters are put together here, since one program has to serve two architectures (a 64-bit machine runs 32-bit
//! programs) and give three answers.

use super::mounting::last_errno;
use rustix::io::Errno;
use std::sync::OnceLock;

/// `name, x86_64, x86, aarch64, arm, answer`; see the file's head.
const TABLE: &str = include_str!("syscalls.tsv");

/// What no profile knows does not exist, so that programs take what they used before: EPERM would make them give up.
/// This is the highest number that Docker's profile knows; newer calls have the same number everywhere.
const NEWEST: u32 = 466;

/// ARM's private calls are numbered from here.
const ARM_PRIVATE: u32 = 0xf0000;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const DENY: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const UNKNOWN: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
const PRETEND: u32 = libc::SECCOMP_RET_ERRNO;

/// Namespaces that `clone` may not make (`CLONE_NEW…`).
const CLONE_NAMESPACES: u32 = 0x7e02_0000;

/// Where `struct seccomp_data` has its fields, in bytes.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// What changes owners, which is pretended where there is one user only. The mode's argument for those that also make
/// ordinary files.
const PRETENDED: [(&str, Option<u32>); 28] = [
    ("capset", None),
    ("chown", None),
    ("chown32", None),
    ("fchown", None),
    ("fchown32", None),
    ("fchownat", None),
    ("lchown", None),
    ("lchown32", None),
    ("mknod", Some(1)),
    ("mknodat", Some(2)),
    ("setfsgid", None),
    ("setfsgid32", None),
    ("setfsuid", None),
    ("setfsuid32", None),
    ("setgid", None),
    ("setgid32", None),
    ("setgroups", None),
    ("setgroups32", None),
    ("setregid", None),
    ("setregid32", None),
    ("setresgid", None),
    ("setresgid32", None),
    ("setresuid", None),
    ("setresuid32", None),
    ("setreuid", None),
    ("setreuid32", None),
    ("setuid", None),
    ("setuid32", None),
];

/// Compiles the filters, for all processes that are forked from this one.
pub(super) fn prepare() {
    filters();
}

/// Has this process and its children held to Docker's default profile. Needs CAP_SYS_ADMIN: NO_NEW_PRIVS would break su
/// and sudo.
pub(super) fn install() -> Result<(), Errno> {
    load(&filters().profile)
}

/// Has changes of owners and users answered with success, and not done.
pub(super) fn install_pretence() -> Result<(), Errno> {
    load(&filters().pretence)
}

struct Filters {
    profile: Vec<libc::sock_filter>,
    pretence: Vec<libc::sock_filter>,
}

fn filters() -> &'static Filters {
    static FILTERS: OnceLock<Filters> = OnceLock::new();
    FILTERS.get_or_init(|| Filters { profile: program(profile_of), pretence: program(pretence_of) })
}

fn load(program: &[libc::sock_filter]) -> Result<(), Errno> {
    let length = program.len().try_into().map_err(|_| Errno::TOOBIG)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the program, which lives until the call returns, and does not write to it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            &raw const program,
        )
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// An architecture that this machine runs programs of: its number in linux/audit.h, and its column in the table.
#[derive(Debug, Clone, Copy)]
struct Architecture {
    audit: u32,
    column: usize,
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURES: [Architecture; 2] =
    [Architecture { audit: 0xc000_003e, column: 1 }, Architecture { audit: 0x4000_0003, column: 2 }];
#[cfg(target_arch = "aarch64")]
const ARCHITECTURES: [Architecture; 2] =
    [Architecture { audit: 0xc000_00b7, column: 3 }, Architecture { audit: 0x4000_0028, column: 4 }];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the system calls of this architecture are not in the table");

/// One line of the table, for one architecture.
struct Call {
    name: &'static str,
    number: u32,
    answer: &'static str,
}

fn calls(architecture: Architecture) -> Vec<Call> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    let calls = lines.filter_map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        let number = fields.get(architecture.column)?.parse().ok()?;
        Some(Call { name: fields.first()?, number, answer: fields.last()? })
    });
    calls.collect()
}

/// A program that goes on with the part for the architecture of the call, and kills for an unknown one.
fn program(part: fn(Architecture) -> Vec<libc::sock_filter>) -> Vec<libc::sock_filter> {
    let mut out = vec![load_word(ARCHITECTURE)];
    for architecture in ARCHITECTURES {
        let part = part(architecture);
        // Conditional jumps reach 255 instructions only.
        out.push(jump(libc::BPF_JEQ, architecture.audit, 1, 0));
        out.push(jump(libc::BPF_JA, part.len() as u32 + 1, 0, 0));
        out.push(load_word(NUMBER));
        out.extend(part);
    }
    out.push(answer(libc::SECCOMP_RET_KILL_PROCESS));
    out
}

fn profile_of(architecture: Architecture) -> Vec<libc::sock_filter> {
    let calls = calls(architecture);
    let mut out = Vec::new();
    for call in calls.iter().filter(|call| call.answer == "ask") {
        let body = ask(call.name);
        out.push(jump(libc::BPF_JEQ, call.number, 0, body.len() as u8));
        out.extend(body);
    }
    let mut allowed: Vec<u32> = calls.iter().filter(|call| call.answer == "allow").map(|call| call.number).collect();
    allowed.sort_unstable();
    for (first, last) in ranges(&allowed) {
        if first >= ARM_PRIVATE {
            let gap = [jump(libc::BPF_JGT, NEWEST, 0, 2), jump(libc::BPF_JGE, ARM_PRIVATE, 1, 0), answer(UNKNOWN)];
            out.extend(gap);
        }
        // Numbers come in order: what is not beyond this range is in it or in the gap before.
        out.push(jump(libc::BPF_JGT, last, 3, 0));
        out.push(jump(libc::BPF_JGE, first, 0, 1));
        out.push(answer(ALLOW));
        out.push(answer(DENY));
    }
    out.extend([jump(libc::BPF_JGT, NEWEST, 0, 1), answer(UNKNOWN), answer(DENY)]);
    out
}

/// The answers that depend on arguments. The kernel looks at the low half of each of these only, and so do we; but what
/// is to be one of a few values is that in both halves, as in Docker.
fn ask(name: &str) -> Vec<libc::sock_filter> {
    let argument = |index: u32| load_word(ARGUMENTS + 8 * index);
    let mut out = Vec::new();
    match name {
        // Everything but AF_ALG and AF_VSOCK.
        "socket" => {
            out.push(argument(0));
            for family in [libc::AF_ALG, libc::AF_VSOCK] {
                out.extend([jump(libc::BPF_JEQ, family as u32, 0, 1), answer(DENY)]);
            }
            out.push(answer(ALLOW));
        }
        // Linux, 32 bits, both with UNAME26, and the question for the current one.
        "personality" => {
            out.extend([load_word(ARGUMENTS + 4), jump(libc::BPF_JEQ, 0, 1, 0), answer(DENY), argument(0)]);
            for personality in [0, 8, 0x20000, 0x20008, u32::MAX] {
                out.extend([jump(libc::BPF_JEQ, personality, 0, 1), answer(ALLOW)]);
            }
            out.push(answer(DENY));
        }
        "clone" => {
            out.push(argument(0));
            out.extend([jump(libc::BPF_JSET, CLONE_NAMESPACES, 0, 1), answer(DENY), answer(ALLOW)]);
        }
        // Its arguments lie in memory, where a filter cannot look. The C libraries go back to clone.
        "clone3" => out.push(answer(UNKNOWN)),
        _ => out.push(answer(DENY)),
    }
    out
}

fn pretence_of(architecture: Architecture) -> Vec<libc::sock_filter> {
    let mut out = Vec::new();
    for call in calls(architecture) {
        let Some((_, mode)) = PRETENDED.iter().find(|(name, _)| *name == call.name) else { continue };
        let body = match mode {
            None => vec![answer(PRETEND)],
            Some(index) => {
                let kind = |kind: u32| [jump(libc::BPF_JEQ, kind, 0, 1), answer(PRETEND)];
                let mut body = vec![load_word(ARGUMENTS + 8 * index), mask(libc::S_IFMT)];
                body.extend(kind(libc::S_IFCHR));
                body.extend(kind(libc::S_IFBLK));
                body.push(answer(ALLOW));
                body
            }
        };
        out.push(jump(libc::BPF_JEQ, call.number, 0, body.len() as u8));
        out.extend(body);
    }
    out.push(answer(ALLOW));
    out
}

/// First and last of each run of numbers without a gap.
fn ranges(sorted: &[u32]) -> Vec<(u32, u32)> {
    let mut out: Vec<(u32, u32)> = Vec::new();
    for number in sorted {
        match out.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => out.push((*number, *number)),
        }
    }
    out
}

fn load_word(at: u32) -> libc::sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at, 0, 0)
}

fn mask(bits: u32) -> libc::sock_filter {
    instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, bits, 0, 0)
}

/// Skips `yes` or `no` instructions.
fn jump(condition: u32, value: u32, yes: u8, no: u8) -> libc::sock_filter {
    instruction(libc::BPF_JMP | condition | libc::BPF_K, value, yes, no)
}

fn answer(value: u32) -> libc::sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, value, 0, 0)
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would answer.
    fn run(program: &[libc::sock_filter], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend(number.to_le_bytes());
        data.extend(architecture.to_le_bytes());
        data.extend(0u64.to_le_bytes());
        data.extend(arguments.iter().flat_map(|it| it.to_le_bytes()));
        let (mut at, mut value) = (0, 0);
        loop {
            let it = program[at];
            at += 1;
            let code = u32::from(it.code);
            match code & 7 {
                libc::BPF_LD => {
                    let from = it.k as usize;
                    value = u32::from_le_bytes(data[from..from + 4].try_into().unwrap());
                }
                libc::BPF_ALU => value &= it.k,
                libc::BPF_RET => return it.k,
                libc::BPF_JMP => {
                    let holds = match code & 0xf0 {
                        libc::BPF_JA => {
                            at += it.k as usize;
                            continue;
                        }
                        libc::BPF_JEQ => value == it.k,
                        libc::BPF_JGT => value > it.k,
                        libc::BPF_JGE => value >= it.k,
                        libc::BPF_JSET => value & it.k != 0,
                        other => panic!("jump {other}"),
                    };
                    at += usize::from(if holds { it.jt } else { it.jf });
                }
                other => panic!("class {other}"),
            }
        }
    }

    fn number(architecture: Architecture, name: &str) -> Option<u32> {
        calls(architecture).iter().find(|call| call.name == name).map(|call| call.number)
    }

    fn check(name: &str, arguments: &[u64], expected: u32) {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        let mut seen = false;
        for architecture in ARCHITECTURES {
            if let Some(number) = number(architecture, name) {
                let answer = run(&filters().profile, architecture.audit, number, all);
                assert_eq!(answer, expected, "{name}{arguments:x?} on {architecture:x?}");
                seen = true;
            }
        }
        assert!(seen, "{name} is in the table");
    }

    #[test]
    fn every_call_of_the_table_has_its_answer() {
        for architecture in ARCHITECTURES {
            for call in calls(architecture) {
                let expected = match call.answer {
                    "allow" => ALLOW,
                    "deny" if call.number > NEWEST && call.number < ARM_PRIVATE => UNKNOWN,
                    "deny" => DENY,
                    "ask" => continue,
                    other => panic!("{other}"),
                };
                let answer = run(&filters().profile, architecture.audit, call.number, [0; 6]);
                assert_eq!(answer, expected, "{} on {architecture:x?}", call.name);
            }
        }
    }

    #[test]
    fn the_native_numbers_are_the_c_librarys() {
        for (name, expected) in [
            ("read", libc::SYS_read),
            ("openat", libc::SYS_openat),
            ("mount", libc::SYS_mount),
            ("clone", libc::SYS_clone),
            ("ptrace", libc::SYS_ptrace),
            ("bpf", libc::SYS_bpf),
            ("keyctl", libc::SYS_keyctl),
            ("chroot", libc::SYS_chroot),
            ("socket", libc::SYS_socket),
            ("mount_setattr", libc::SYS_mount_setattr),
        ] {
            assert_eq!(number(ARCHITECTURES[0], name).map(i64::from), Some(expected), "{name}");
        }
    }

    #[test]
    fn arguments_count_where_they_must() {
        check("clone", &[libc::SIGCHLD as u64], ALLOW);
        check("clone", &[libc::CLONE_NEWUSER as u64], DENY);
        check("clone", &[(libc::CLONE_NEWNS | libc::SIGCHLD) as u64], DENY);
        check("clone3", &[], UNKNOWN);
        check("personality", &[0xffff_ffff], ALLOW);
        check("personality", &[8], ALLOW);
        check("personality", &[0x0400_0000], DENY);
        check("personality", &[u64::MAX], DENY);
        check("socket", &[libc::AF_INET as u64], ALLOW);
        check("socket", &[libc::AF_VSOCK as u64], DENY);
        check("socket", &[libc::AF_ALG as u64], DENY);
        // The upper half does not reach the kernel.
        check("socket", &[libc::AF_VSOCK as u64 | 1 << 32], DENY);
        check("socket", &[libc::AF_XDP as u64], ALLOW);
    }

    #[test]
    fn the_unknown_is_unknown() {
        for architecture in ARCHITECTURES {
            for number in [NEWEST + 1, 600, 0x4000_0000, 0x4000_0001, u32::MAX] {
                let answer = run(&filters().profile, architecture.audit, number, [0; 6]);
                assert_eq!(answer, UNKNOWN, "{number:#x} on {architecture:x?}");
            }
        }
        assert_eq!(run(&filters().profile, 0x1234, 0, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
    }

    #[test]
    fn owners_and_devices_are_pretended_and_files_are_not() {
        let native = ARCHITECTURES[0];
        let check = |name: &str, arguments: [u64; 6], expected: u32| {
            let Some(number) = number(native, name) else { return };
            assert_eq!(run(&filters().pretence, native.audit, number, arguments), expected, "{name}");
        };
        check("fchownat", [0; 6], PRETEND);
        check("setresuid", [0; 6], PRETEND);
        check("openat", [0; 6], ALLOW);
        check("mknodat", [0, 0, u64::from(libc::S_IFCHR | 0o666), 0, 0, 0], PRETEND);
        check("mknodat", [0, 0, u64::from(libc::S_IFIFO | 0o666), 0, 0, 0], ALLOW);
        check("mknod", [0, u64::from(libc::S_IFBLK), 0, 0, 0, 0], PRETEND);
    }
}
