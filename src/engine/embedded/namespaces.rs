//! The namespaces that the engine process enters, once, before it does anything else.

use super::task::TaskError;
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Whose rights the engine process works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// The real root, or the root of a user namespace that somebody else made for us.
    Root,
    /// A user namespace in which root is the user, and the other ids are the user's subordinate ids.
    Subuid,
    /// A user namespace with one id only: root, who is the user.
    Single,
}

impl Mode {
    /// As an argument of the engine process.
    pub(super) fn name(self) -> &'static str {
        match self {
            Mode::Root => "root",
            Mode::Subuid => "subuid",
            Mode::Single => "single",
        }
    }

    pub(super) fn of_name(name: &str) -> Option<Mode> {
        [Mode::Root, Mode::Subuid, Mode::Single].into_iter().find(|mode| mode.name() == name)
    }

    /// For the interface.
    pub fn describe(self) -> &'static str {
        match self {
            Mode::Root => "root",
            Mode::Subuid => "rootless",
            Mode::Single => "rootless, one uid",
        }
    }
}

/// What the engine process found out about where it is.
#[derive(Debug, Clone)]
pub(super) struct Entered {
    pub(super) mode: Mode,
    /// There is one user id only, whatever the mode: all others have to be pretended.
    pub(super) pretend: bool,
    /// Group 5, which devpts gives terminals, exists here.
    pub(super) tty_group: bool,
    /// What is not as it would be in Docker, one sentence each.
    pub(super) limits: Vec<String>,
}

/// Why the namespaces could not be entered.
#[derive(Debug)]
pub(super) enum NotEntered {
    /// It can be tried once more, in a new process, with one uid only. Says why not with more.
    TrySingle(String),
    Failed(TaskError),
}

/// Enters the best mode there is, or the one asked for. Says besides why there is no better one, in sentences.
pub(super) fn enter(only: Option<Mode>) -> Result<(Mode, Vec<String>), NotEntered> {
    let mut reasons = Vec::new();
    let root = rustix::process::geteuid().is_root() && matches!(only, None | Some(Mode::Root));
    let mode = if root && unshare(UnshareFlags::NEWNS).is_ok() {
        Mode::Root
    } else {
        let ids = if root { own_ids() } else { subordinate_ids() };
        let mode = match (only, ids) {
            (Some(Mode::Root), _) => return Err(failed("become root", Errno::PERM)),
            (Some(Mode::Single), _) => Mode::Single,
            (_, Ok(ids)) => {
                enter_subuid(&ids)?;
                Mode::Subuid
            }
            (Some(Mode::Subuid), Err(why)) => return Err(NotEntered::Failed(TaskError::engine(why))),
            (None, Err(why)) => {
                reasons.push(why);
                Mode::Single
            }
        };
        if mode == Mode::Single {
            enter_single()?;
        }
        unshare(UnshareFlags::NEWNS).map_err(|errno| failed("make a mount namespace", errno))?;
        mode
    };
    // Downstream: what the host mounts later is seen here; what is mounted here stays here.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(|errno| failed("make the mounts private", errno))?;
    Ok((mode, reasons))
}

/// What to do where a container's filter forbids what root in it may do otherwise.
pub(super) const FILTERED: [&str; 2] = [
    "A seccomp filter is in force, as in a container that was started with the usual profile.",
    "Start the container with `--security-opt seccomp=unconfined`, or `--privileged`.",
];

/// Whether this process has a system call filter that is not of its own making: we are in a container.
pub(super) fn filtered() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Seccomp:") && !line.ends_with('0'))
}

/// What there is in a mode that was entered.
pub(super) fn look_around(mode: Mode, reasons: Vec<String>) -> Entered {
    let ids = ids_mapped("/proc/self/uid_map");
    Entered {
        mode,
        pretend: ids == 1,
        tty_group: is_mapped(5, &fs::read_to_string("/proc/self/gid_map").unwrap_or_default()),
        limits: describe(mode, ids, reasons),
    }
}

fn describe(mode: Mode, ids: u64, mut limits: Vec<String>) -> Vec<String> {
    limits.push("RUN has this machine's network; there is no bridge of its own.".to_owned());
    match ids {
        1 => limits.push(
            "There is one user id: every file belongs to root, and USER, chown and setuid are only pretended."
                .to_owned(),
        ),
        2..65536 => limits.push(format!("There are {ids} user ids only; larger ones cannot be used.")),
        _ => {}
    }
    if mode != Mode::Root {
        limits.push("Device files cannot be made in a user namespace.".to_owned());
    }
    limits
}

/// The ids of a new user namespace: each map a list of (first inside, first outside, count), one after the other.
struct Ids {
    uid_map: Vec<String>,
    gid_map: Vec<String>,
    /// We may not write the maps; newuidmap and newgidmap may.
    by_programs: bool,
}

/// What root in a container has, where it may not mount: all that there is, under the same numbers.
fn own_ids() -> Result<Ids, String> {
    let same = |file: &str| -> Vec<String> {
        let text = fs::read_to_string(file).unwrap_or_default();
        map_lines(&text).flat_map(|(first, count)| [first, first, count].map(|it| it.to_string())).collect()
    };
    let ids = Ids { uid_map: same("/proc/self/uid_map"), gid_map: same("/proc/self/gid_map"), by_programs: false };
    match ids.uid_map.len() / 3 {
        0 => Err("The ids of this process cannot be read from /proc.".to_owned()),
        _ => Ok(ids),
    }
}

/// Finds the subordinate ids, or says in a sentence what is missing.
fn subordinate_ids() -> Result<Ids, String> {
    let uid = rustix::process::getuid().as_raw();
    let gid = rustix::process::getgid().as_raw();
    let names = user_names(uid);
    let missing = |file: &str| {
        let user = names.first().cloned().unwrap_or_else(|| uid.to_string());
        format!(
            "{file} gives {user} no ids; `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}` as \
             root does."
        )
    };
    let map = |file: &str, own: u32| -> Result<Vec<String>, String> {
        let text = fs::read_to_string(file).unwrap_or_default();
        let map = mapping(&text, uid, &names, own);
        if map.is_empty() { Err(missing(file)) } else { Ok(map) }
    };
    let ids = Ids { uid_map: map("/etc/subuid", uid)?, gid_map: map("/etc/subgid", gid)?, by_programs: true };
    for program in ["newuidmap", "newgidmap"] {
        if program_path(program).is_none() {
            return Err(format!("{program} is not installed (Debian's package is `uidmap`)."));
        }
    }
    Ok(ids)
}

/// The arguments of newuidmap: root is the user, then come the subordinate ids one range after the other. Empty if there
/// are none. A line is `user:first:count`.
fn mapping(text: &str, uid: u32, names: &[String], own: u32) -> Vec<String> {
    let mut next: u64 = 1;
    let mut out = Vec::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        let (Some(user), Some(first), Some(count), None) = (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (Ok(first), Ok(count)) = (first.trim().parse::<u32>(), count.trim().parse::<u32>()) else { continue };
        let ours = user == uid.to_string() || names.iter().any(|name| name == user);
        // The kernel takes no more than 340 ranges, and ids end at 2^32 - 1.
        let fits = next + u64::from(count) < u64::from(u32::MAX) && out.len() < 3 * 300;
        if ours && count > 0 && fits {
            out.extend([next.to_string(), first.to_string(), count.to_string()]);
            next += u64::from(count);
        }
    }
    if out.is_empty() {
        return out;
    }
    ["0".to_owned(), own.to_string(), "1".to_owned()].into_iter().chain(out).collect()
}

/// The names that this user may go by in /etc/subuid.
fn user_names(uid: u32) -> Vec<String> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let listed = passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    // A directory service may know the user where the file does not; newuidmap checks it anyway.
    let mut names: Vec<String> = listed.collect();
    names.extend(["USER", "LOGNAME"].iter().filter_map(|name| std::env::var(name).ok()));
    names
}

fn program_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// A user namespace with many ids. They must be mapped from outside of it: by a helper, which waits until the namespace
/// is there.
fn enter_subuid(ids: &Ids) -> Result<(), NotEntered> {
    let io = |what: &'static str| move |error: std::io::Error| single(format!("{what}: {error}"));
    let pid = std::process::id().to_string();
    let (mut ready, mut go) = std::io::pipe().map_err(io("a pipe"))?;
    let (mut answer, mut say) = std::io::pipe().map_err(io("a pipe"))?;
    // SAFETY: this process has one thread, so the child may do what any process may.
    match unsafe { libc::fork() } {
        -1 => return Err(single(format!("fork: {}", std::io::Error::last_os_error()))),
        0 => {
            drop((go, answer));
            let result = match ready.read_exact(&mut [0]) {
                Ok(()) => map_ids(&pid, ids),
                Err(_) => Ok(()),
            };
            let _ = say.write_all(result.err().unwrap_or_default().as_bytes());
            // SAFETY: ends this process at once, which is what it is for.
            unsafe { libc::_exit(0) }
        }
        _ => {}
    }
    drop((ready, say));
    unshare(UnshareFlags::NEWUSER).map_err(|errno| failed("make a user namespace", errno))?;
    go.write_all(&[1]).map_err(io("the helper that maps ids"))?;
    drop(go);
    let mut trouble = String::new();
    answer.read_to_string(&mut trouble).map_err(io("the helper that maps ids"))?;
    // The helper has ended; nobody else waits for it.
    let _ = rustix::process::wait(rustix::process::WaitOptions::empty());
    if !trouble.is_empty() {
        return Err(single(trouble));
    }
    become_root().map_err(|errno| failed("become root in the user namespace", errno))
}

/// Maps the ids for `pid`, or says what went wrong.
fn map_ids(pid: &str, ids: &Ids) -> Result<(), String> {
    if !ids.by_programs {
        for (file, map) in [("uid_map", &ids.uid_map), ("gid_map", &ids.gid_map)] {
            let text: String = map.chunks(3).map(|range| range.join(" ") + "\n").collect();
            fs::write(format!("/proc/{pid}/{file}"), text).map_err(|error| format!("{file}: {error}"))?;
        }
        return Ok(());
    }
    for (name, map) in [("newuidmap", &ids.uid_map), ("newgidmap", &ids.gid_map)] {
        let program = program_path(name).unwrap_or_else(|| name.into());
        let output = Command::new(program).arg(pid).args(map).stdin(Stdio::null()).output();
        match output {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let said: String = said.trim().chars().filter(|c| !c.is_control()).take(300).collect();
                return Err(format!("{name} failed: {said}"));
            }
            Err(error) => return Err(format!("{name} could not be started: {error}")),
        }
    }
    Ok(())
}

fn single(why: String) -> NotEntered {
    NotEntered::TrySingle(why)
}

fn become_root() -> Result<(), Errno> {
    // SAFETY: plain system calls; the process has one thread, so none keeps other ids.
    let done = unsafe {
        libc::setresgid(0, 0, 0) == 0 && libc::setresuid(0, 0, 0) == 0 && libc::setgroups(0, std::ptr::null()) == 0
    };
    if done { Ok(()) } else { Err(super::mounting::last_errno()) }
}

/// A user namespace in which this user is root, and nobody else exists.
fn enter_single() -> Result<(), NotEntered> {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    unshare(UnshareFlags::NEWUSER).map_err(|errno| failed("make a user namespace", errno))?;
    // Without giving up setgroups, a user may not map groups.
    let maps = [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {uid} 1")),
        ("/proc/self/gid_map", format!("0 {gid} 1")),
    ];
    for (file, text) in maps {
        fs::write(file, text).map_err(|error| failed(file, Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    }
    Ok(())
}

fn unshare(flags: UnshareFlags) -> Result<(), Errno> {
    // SAFETY: neither flag has to do with file descriptors, which is what could go wrong.
    unsafe { unshare_unsafe(flags) }
}

/// Says what stands in the way of namespaces, and what would clear it.
fn failed(what: &str, errno: Errno) -> NotEntered {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let facts = Facts {
        max_user_namespaces: read("/proc/sys/user/max_user_namespaces"),
        unprivileged_userns_clone: read("/proc/sys/kernel/unprivileged_userns_clone"),
        apparmor_restrict: read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        seccomp: filtered(),
        program: std::env::current_exe().unwrap_or_default(),
    };
    NotEntered::Failed(explain(what, errno, &facts))
}

struct Facts {
    max_user_namespaces: String,
    unprivileged_userns_clone: String,
    apparmor_restrict: String,
    /// A seccomp filter is in force: we are in a container.
    seccomp: bool,
    program: PathBuf,
}

fn explain(what: &str, errno: Errno, facts: &Facts) -> TaskError {
    let error = TaskError::engine(format!(
        "The embedded engine could not {what}: {}. It needs root, or user namespaces.",
        std::io::Error::from(errno)
    ));
    if facts.max_user_namespaces == "0" || errno == Errno::NOSPC {
        error
            .with_help("This system allows no user namespaces (user.max_user_namespaces).")
            .with_help("As root: sysctl -w user.max_user_namespaces=15000")
    } else if facts.unprivileged_userns_clone == "0" {
        error
            .with_help("This system allows them to root only (kernel.unprivileged_userns_clone = 0).")
            .with_help("As root: sysctl -w kernel.unprivileged_userns_clone=1")
    } else if facts.seccomp {
        FILTERED.into_iter().fold(error, TaskError::with_help)
    } else if facts.apparmor_restrict == "1" {
        error
            .with_help(
                "AppArmor keeps programs without a profile from it (kernel.apparmor_restrict_unprivileged_userns = 1).",
            )
            .with_help(format!(
                "Give {} an AppArmor profile with the rule `userns,`, or, as root: \
                 sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
                facts.program.display()
            ))
    } else if errno == Errno::NOSYS || errno == Errno::INVAL {
        error.with_help("The kernel has no user namespaces (CONFIG_USER_NS).")
    } else {
        error.with_help("Run it as root, or on a system that allows user namespaces.")
    }
}

fn ids_mapped(file: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    map_lines(&text).map(|(_, count)| count).sum()
}

fn is_mapped(id: u64, map: &str) -> bool {
    map_lines(map).any(|(first, count)| (first..first.saturating_add(count)).contains(&id))
}

/// The first id inside and the number of ids, of each line of a uid_map or gid_map.
fn map_lines(text: &str) -> impl Iterator<Item = (u64, u64)> + '_ {
    text.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().map(str::parse);
        match (fields.next(), fields.next(), fields.next()) {
            (Some(Ok(first)), Some(Ok(_)), Some(Ok(count))) => Some((first, count)),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subordinate_ids_follow_root() {
        let check = |text: &str, expected: &str| {
            assert_eq!(mapping(text, 1000, &["ann".to_owned()], 1000).join(" "), expected, "{text:?}");
        };
        check("", "");
        check("bob:100000:65536\n", "");
        check("ann:100000:65536\n", "0 1000 1 1 100000 65536");
        check("1000:100000:65536\n", "0 1000 1 1 100000 65536");
        check("ann:100000:10\nbob:1:1\nann:300000:5\n", "0 1000 1 1 100000 10 11 300000 5");
        check("ann:x:1\nann:1\nann:1:2:3\nann:1:0\nann:5:4294967295\nnonsense", "");
    }

    #[test]
    fn the_reason_and_the_remedy_are_named() {
        let check = |set: fn(&mut Facts), errno: Errno, expected: &str| {
            let mut facts = Facts {
                max_user_namespaces: "100".into(),
                unprivileged_userns_clone: String::new(),
                apparmor_restrict: String::new(),
                seccomp: false,
                program: "/usr/bin/it".into(),
            };
            set(&mut facts);
            let help = explain("make a user namespace", errno, &facts).help.join("\n");
            assert!(help.contains(expected), "{help:?} has no {expected:?}");
        };
        check(|facts| facts.max_user_namespaces = "0".into(), Errno::NOSPC, "user.max_user_namespaces=");
        check(|facts| facts.unprivileged_userns_clone = "0".into(), Errno::PERM, "unprivileged_userns_clone=1");
        check(|facts| facts.apparmor_restrict = "1".into(), Errno::ACCESS, "/usr/bin/it");
        check(|facts| facts.seccomp = true, Errno::PERM, "seccomp=unconfined");
        check(|_| (), Errno::NOSYS, "CONFIG_USER_NS");
        check(|_| (), Errno::PERM, "as root");
    }

    #[test]
    fn maps_are_read() {
        assert!(is_mapped(5, "0 1000 1\n1 100000 65536\n"));
        assert!(!is_mapped(5, "         0       1000          1\n"));
        assert!(is_mapped(5, "         0          0 4294967295\n"));
        assert!(!is_mapped(5, "nonsense\n1 2\n"));
    }
}
