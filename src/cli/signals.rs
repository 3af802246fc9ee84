//! The signals that ask the program to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

pub struct Signals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    hangup: Option<Signal>,
}

impl Signals {
    /// From here on they no longer end the program by themselves.
    pub fn listen() -> Signals {
        let listen = |kind| signal(kind).ok();
        Signals {
            interrupt: listen(SignalKind::interrupt()),
            terminate: listen(SignalKind::terminate()),
            hangup: listen(SignalKind::hangup()),
        }
    }

    /// The number of the next one.
    pub async fn next(&mut self) -> i32 {
        tokio::select! {
            () = wait(&mut self.interrupt) => libc::SIGINT,
            () = wait(&mut self.terminate) => libc::SIGTERM,
            () = wait(&mut self.hangup) => libc::SIGHUP,
        }
    }
}

async fn wait(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
