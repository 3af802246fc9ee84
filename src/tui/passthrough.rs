//! A shell that has the whole terminal, outside of the screen (`stagedive shell`).

use crate::engine::{Shell, ShellInput, ShellOutput};
use crate::system::KeysAsBytes;
use crate::system::signals::{Signal, Signals};
use crossterm::terminal;
use std::io::{self, Write};
use tokio::io::AsyncReadExt;

/// Columns and rows; 80 by 24 where they cannot be had.
pub fn terminal_size() -> (u16, u16) {
    terminal::size().unwrap_or((80, 24))
}

/// Gives the terminal to the shell until it ends, and answers with its exit code.
pub async fn passthrough(shell: Shell) -> io::Result<i32> {
    terminal::enable_raw_mode()?;
    let code = match KeysAsBytes::on() {
        Ok(_keys) => relay(shell).await,
        Err(error) => Err(error),
    };
    terminal::disable_raw_mode()?;
    code
}

async fn relay(shell: Shell) -> io::Result<i32> {
    let Shell { input, mut output, .. } = shell;
    let mut signals = Signals::listen(&[Signal::Resized, Signal::Terminate, Signal::Hangup]);
    let mut size = None;
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; 4096];
    let mut open = true;
    loop {
        tokio::select! {
            message = output.recv() => match message {
                Some(ShellOutput::Bytes(bytes) | ShellOutput::Stderr(bytes)) => {
                    // The shell's own terminal: what it writes is what the user asked for.
                    let mut out = io::stdout().lock();
                    out.write_all(&bytes)?;
                    out.flush()?;
                }
                Some(ShellOutput::Exited { code, .. }) => return Ok(code),
                Some(ShellOutput::Lost(error)) => return Err(io::Error::other(error.message)),
                None => return Ok(137),
            },
            count = stdin.read(&mut buffer), if open => match count? {
                0 => open = false,
                count => drop(input.send(ShellInput::Bytes(buffer[..count].to_vec())).await),
            },
            signal = signals.next() => match signal {
                Signal::Resized => {
                    let now = terminal_size();
                    // Some systems only let it be looked at again and again.
                    if size.replace(now) != Some(now) {
                        let _ = input.send(ShellInput::Resize(now.0, now.1)).await;
                    }
                }
                end => return Ok(128 + end.number()),
            },
        }
    }
}
