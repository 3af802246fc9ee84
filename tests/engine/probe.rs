//! What the kernel answers inside. This very test program is put into the image and runs there.

use crate::place::{in_every_mode, outcome};
use stagedive::engine::embedded::launcher::{Launcher, Start};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;

/// Outside, this looks in from within; inside (`PROBE` is set), it looks around.
#[tokio::test]
async fn probe() {
    match std::env::var("PROBE").as_deref() {
        Ok("kernel") => ask_the_kernel(),
        Ok("agent") => ask_the_agent(),
        _ => look_in().await,
    }
}

async fn look_in() {
    in_every_mode(async |place, launcher| {
        place.add_file(&std::env::current_exe().unwrap(), "probe");
        let mut task = place.run("a", &["/probe", "--exact", "probe::probe", "--nocapture"]);
        task.run.env.push("PROBE=kernel".into());
        let output = outcome(&launcher, task).await.output();
        let said: Vec<&str> = output.lines().filter_map(|line| line.strip_prefix("says ")).collect();
        assert_eq!(said, EXPECTED, "in {:?}", launcher.mode());
    })
    .await;
}

/// Docker's default: 14 capabilities, a filter, and no NO_NEW_PRIVS, which would break su.
const EXPECTED: [&str; 13] = [
    "CapInh: 0000000000000000",
    "CapPrm: 00000000a80425fb",
    "CapEff: 00000000a80425fb",
    "CapBnd: 00000000a80425fb",
    "CapAmb: 0000000000000000",
    "NoNewPrivs: 0",
    "Seccomp: 2",
    "unshare EPERM",
    "mount EPERM",
    "keyctl EPERM",
    "bpf EPERM",
    "clone3 ENOSYS",
    "a new call ENOSYS",
];

fn ask_the_kernel() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    for line in status.lines() {
        if ["Cap", "NoNewPrivs:", "Seccomp:"].iter().any(|it| line.starts_with(it)) {
            println!("says {}", line.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    for (name, number, argument) in [
        ("unshare", libc::SYS_unshare, libc::CLONE_NEWUSER as libc::c_long),
        ("mount", libc::SYS_mount, 0),
        ("keyctl", libc::SYS_keyctl, 0),
        ("bpf", libc::SYS_bpf, 0),
        ("clone3", libc::SYS_clone3, 0),
        ("a new call", 500, 0),
    ] {
        // SAFETY: none of these calls is answered; and if one were, null pointers are refused.
        let result = unsafe { libc::syscall(number, argument, 0, 0, 0, 0, 0) };
        let error = std::io::Error::last_os_error();
        let answer = match (result, error.raw_os_error()) {
            (-1, Some(libc::EPERM)) => "EPERM".to_owned(),
            (-1, Some(libc::ENOSYS)) => "ENOSYS".to_owned(),
            (-1, _) => error.to_string(),
            (result, _) => format!("succeeds with {result}"),
        };
        println!("says {name} {answer}");
    }
}

fn ask_the_agent() {
    let mut socket = std::os::unix::net::UnixStream::connect(std::env::var("SSH_AUTH_SOCK").unwrap()).unwrap();
    socket.write_all(b"ping").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    println!("{answer}");
}

/// By way of a process of ours, or of one that has just stopped being ours.
#[tokio::test]
async fn this_program_cannot_be_written_to_from_inside() {
    in_every_mode(async |place, launcher| {
        // Whoever gets hold of the engine's executable, with whatever rights, has it from a read-only mount.
        let executable = format!("/proc/{}/exe", launcher.pid().await.unwrap());
        let flags = rustix::fs::statvfs(executable).unwrap().f_flag;
        assert!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY), "{flags:?}");
        // And from within there is nothing of ours to be seen.
        let script = "for pid in /proc/[0-9]*; do readlink $pid/exe; done";
        let output = outcome(&launcher, place.sh("a", script)).await.output();
        assert!(!output.contains("stagedive"), "{output}");
    })
    .await;
}

#[tokio::test]
async fn a_program_whose_file_has_gone_starts_all_the_same() {
    in_every_mode(async |place, launcher| {
        launcher.stop().await;
        // By a process of its own: while this one has it open for writing, what is forked meanwhile has too, and then the
        // kernel does not start it.
        let mut cp = std::process::Command::new("cp");
        cp.arg(env!("CARGO_BIN_EXE_stagedive")).arg(place.path("program"));
        assert!(cp.status().unwrap().success());
        let program = std::fs::File::open(place.path("program")).unwrap();
        std::fs::remove_file(place.path("program")).unwrap();
        let path = format!("/proc/{}/fd/{}", std::process::id(), program.as_raw_fd()).into();
        let launcher = Launcher::start(&Start { program: path, ..place.start() }).await.unwrap();
        assert_eq!(outcome(&launcher, place.sh("a", "echo on")).await.output(), "on\n");
    })
    .await;
}
