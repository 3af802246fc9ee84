//! Shells in a terminal.

use crate::place::{Place, begin, finish, in_every_mode};
use rustix::fd::OwnedFd;
use stagedive::engine::embedded::launcher::{Launcher, TaskHandle};
use stagedive::engine::embedded::task::{Report, RunTask};
use std::io::{Read, Write};

/// The master side of a shell's terminal.
struct Screen {
    handle: TaskHandle,
    master: std::fs::File,
    program: String,
    borrowed: bool,
}

impl Screen {
    async fn open(launcher: &Launcher, mut task: RunTask) -> Screen {
        task.terminal = Some((100, 30));
        task.scratch = true;
        task.run.env.push("PS1=> ".into());
        let mut handle = begin(launcher, task);
        match handle.next().await {
            Some((Report::Terminal { program, borrowed }, mut descriptors)) => {
                let master: OwnedFd = descriptors.pop().unwrap();
                Screen { handle, master: master.into(), program, borrowed }
            }
            other => panic!("{other:?}"),
        }
    }

    fn write(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Reads until `text` comes.
    #[track_caller]
    fn until(&mut self, text: &str) -> String {
        let mut seen = String::new();
        let mut buffer = [0; 1024];
        while !seen.contains(text) {
            match self.master.read(&mut buffer) {
                Ok(count @ 1..) => seen += &String::from_utf8_lossy(&buffer[..count]),
                other => panic!("{other:?} after {seen:?}"),
            }
        }
        seen
    }
}

#[tokio::test]
async fn a_shell_has_a_terminal_of_its_own() {
    in_every_mode(async |place, launcher| {
        let mut screen = Screen::open(&launcher, place.run("a", &[])).await;
        assert_eq!((screen.program.as_str(), screen.borrowed), ("/bin/sh", false));
        screen.write("tty; stty size; echo $((40+2))\n");
        let seen = screen.until("42\r\n");
        assert!(seen.contains("/dev/pts/0\r\n") && seen.contains("30 100\r\n"), "{seen:?}");
        let size = rustix::termios::Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&screen.master, size).unwrap();
        screen.write("stty size\n");
        screen.until("40 120\r\n");
        screen.write("echo x >/changed; exit 3\n");
        screen.until("exit 3\r\n");
        let it = finish(&mut screen.handle).await;
        assert_eq!((it.code, &it.changes[..]), (Some(3), &["changed".to_owned()][..]), "{it:?}");
        assert!(!place.path("a/upper").exists() && !place.path("a/work").exists(), "the changes are thrown away");
    })
    .await;
}

#[tokio::test]
async fn ctrl_c_ends_what_runs_in_a_shell_and_not_the_shell() {
    in_every_mode(async |place, launcher| {
        let mut screen = Screen::open(&launcher, place.run("a", &[])).await;
        screen.write("echo ready; sleep 1000\n");
        screen.until("ready\r\n");
        // The shell has to have started it: until then Ctrl-C is the shell's.
        std::thread::sleep(std::time::Duration::from_millis(300));
        screen.write("\x03");
        screen.write("echo still $((40+2))\n");
        screen.until("still 42\r\n");
        screen.write("exit\n");
        assert!(finish(&mut screen.handle).await.code.is_some());
    })
    .await;
}

#[tokio::test]
async fn ctrl_c_ends_a_command_that_is_no_shell() {
    in_every_mode(async |place, launcher| {
        let mut screen = Screen::open(&launcher, place.sh("a", "echo ready; exec sleep 1000")).await;
        screen.until("ready\r\n");
        screen.write("\x03");
        assert_eq!(finish(&mut screen.handle).await.code, Some(130));
    })
    .await;
}

#[tokio::test]
async fn signals_reach_a_command() {
    in_every_mode(async |place, launcher| {
        let mut task = place.sh("a", "echo ready; exec sleep 1000");
        task.scratch = true;
        let mut handle = begin(&launcher, task);
        crate::place::until(&mut handle, "ready").await;
        handle.signal(libc::SIGTERM);
        assert_eq!(finish(&mut handle).await.code, Some(143));
    })
    .await;
}

#[tokio::test]
async fn an_image_without_a_shell_is_lent_one() {
    in_every_mode(async |place: Place, launcher: Launcher| {
        stagedive::image::host::pack_toolbox(&place.path("tools")).unwrap();
        std::fs::create_dir(place.path("empty")).unwrap();
        let mut task = place.run("a", &[]);
        task.stack.lower = vec![place.path("empty")];
        task.run.env = vec!["PATH=/usr/bin".into()];
        task.toolbox = Some(place.path("tools"));
        let mut screen = Screen::open(&launcher, task).await;
        assert!(screen.borrowed && screen.program.starts_with("/.stagedive/bin/"), "{}", screen.program);
        screen.write("echo $PATH; ls /.stagedive; exit\n");
        let seen = screen.until("bin");
        let it = finish(&mut screen.handle).await;
        assert_eq!((it.code, &it.changes[..]), (Some(0), &[][..]), "{seen:?} {it:?}");
    })
    .await;
}

#[tokio::test]
async fn an_image_without_a_shell_and_without_tools_says_so() {
    in_every_mode(async |place, launcher| {
        std::fs::create_dir(place.path("empty")).unwrap();
        let mut task = place.run("a", &[]);
        task.stack.lower = vec![place.path("empty")];
        task.terminal = Some((80, 24));
        let error = finish(&mut begin(&launcher, task)).await.error();
        assert!(error.input && error.message.contains("no shell"), "{error:?}");
    })
    .await;
}
