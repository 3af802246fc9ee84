//! A pseudo-terminal with a screen: starts a program in it, types keys, reads what a person would see.

// Each test program that includes this uses a part of it.
#![allow(dead_code, unreachable_pub)]

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use std::fs::File;
use std::io::{PipeWriter, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tui_term::vt100::Parser;

pub struct Terminal {
    child: Child,
    /// The other end, what tells the thread that reads it to end when it is dropped, and that thread.
    open: Option<(File, PipeWriter, JoinHandle<()>)>,
    parser: Arc<Mutex<Parser>>,
}

/// How long a screen may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);

impl Terminal {
    /// Starts `command` in a terminal of this many columns and rows.
    pub fn start(command: Command, columns: u16, rows: u16) -> Terminal {
        Terminal::open(command, columns, rows, true)
    }

    /// The same, in a terminal that does not control it: no signal says that it is gone.
    pub fn start_apart(command: Command, columns: u16, rows: u16) -> Terminal {
        Terminal::open(command, columns, rows, false)
    }

    fn open(mut command: Command, columns: u16, rows: u16, controls: bool) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pseudo-terminal");
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        let slave =
            ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("slave");
        tcsetwinsize(&master, window(columns, rows)).expect("the window's size");
        command.env("TERM", "xterm-256color").env("LANG", "C.UTF-8").env_remove("NO_COLOR");
        command.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(slave);
        // SAFETY: between fork and exec only two async-signal-safe system calls are made.
        unsafe {
            command.pre_exec(move || {
                rustix::process::setsid()?;
                if controls {
                    rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
                }
                Ok(())
            });
        }
        let child = command.spawn().expect("the program starts");
        drop(command);
        let master = File::from(master);
        let parser = Arc::new(Mutex::new(Parser::new(rows, columns, 0)));
        let (mut output, screen) = (master.try_clone().unwrap(), parser.clone());
        let (closing, closed) = std::io::pipe().expect("a pipe");
        let reader = thread::spawn(move || {
            let mut buffer = [0; 8192];
            loop {
                let mut ready = [PollFd::new(&output, PollFlags::IN), PollFd::new(&closing, PollFlags::IN)];
                poll(&mut ready, None).expect("poll");
                if !ready[1].revents().is_empty() {
                    return;
                }
                let Ok(count @ 1..) = output.read(&mut buffer) else { return };
                screen.lock().unwrap().process(&buffer[..count]);
            }
        });
        Terminal { child, open: Some((master, closed, reader)), parser }
    }

    fn master(&self) -> &File {
        &self.open.as_ref().expect("the terminal is open").0
    }

    /// Closes the terminal, as when its window is closed.
    pub fn close(&mut self) {
        if let Some((master, closed, reader)) = self.open.take() {
            drop(closed);
            reader.join().expect("what was read is processed");
            drop(master);
        }
    }

    pub fn keys(&mut self, keys: &str) {
        self.master().write_all(keys.as_bytes()).expect("keys are taken");
    }

    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.parser.lock().unwrap().screen_mut().set_size(rows, columns);
        tcsetwinsize(self.master(), window(columns, rows)).expect("the window's size");
    }

    pub fn screen(&self) -> String {
        self.parser.lock().unwrap().screen().contents()
    }

    /// Whether the program has the alternate screen.
    pub fn alternate(&self) -> bool {
        self.parser.lock().unwrap().screen().alternate_screen()
    }

    /// Waits until the text stands on the screen, and fails with the screen if it never does.
    pub fn wait(&self, text: &str) {
        self.wait_until(&format!("{text:?}"), |screen| screen.contains(text));
    }

    pub fn wait_until(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let start = Instant::now();
        while !holds(&self.screen()) {
            assert!(start.elapsed() < PATIENCE, "never seen: {what}; the screen:\n{}", self.screen());
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn exit(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                // What the program wrote last is still on its way to the screen.
                thread::sleep(Duration::from_millis(100));
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the program does not end; the screen:\n{}", self.screen());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Memory of the program that is its own or its files', in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap_or_default();
        let pages: u64 = statm.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or(0);
        pages * rustix::param::page_size() as u64
    }

    /// Whether the program gets every key as it is typed.
    pub fn is_raw(&self) -> bool {
        let modes = tcgetattr(self.master()).expect("the terminal's modes").local_modes;
        !modes.contains(LocalModes::ICANON)
    }

    /// Has the terminal give whole lines, as a shell does that has it again.
    pub fn give_lines(&self) {
        let mut modes = tcgetattr(self.master()).expect("the terminal's modes");
        modes.local_modes |= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        tcsetattr(self.master(), OptionalActions::Now, &modes).expect("the terminal's modes");
    }

    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).expect("the program is there");
    }

    /// The same for what the program has started.
    pub fn signal_children(&self, signal: Signal) {
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("the program is there");
        for child in children.split_whitespace().filter_map(|it| Pid::from_raw(it.parse().ok()?)) {
            rustix::process::kill_process(child, signal).expect("the program is there");
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn window(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
