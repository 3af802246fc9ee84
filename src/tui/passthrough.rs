//! A shell that has the whole terminal, outside of the screen (`stagedive shell`).

use crate::engine::{Shell, ShellInput, ShellOutput};
use crossterm::terminal;
use std::io::{self, Write};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

/// Columns and rows; 80 by 24 where they cannot be had.
pub fn terminal_size() -> (u16, u16) {
    terminal::size().unwrap_or((80, 24))
}

/// Gives the terminal to the shell until it ends, and answers with its exit code.
pub async fn passthrough(shell: Shell) -> io::Result<i32> {
    terminal::enable_raw_mode()?;
    let code = relay(shell).await;
    terminal::disable_raw_mode()?;
    code
}

async fn relay(shell: Shell) -> io::Result<i32> {
    let Shell { input, mut output, .. } = shell;
    let mut resized = signal(SignalKind::window_change())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
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
                None => return Ok(137),
            },
            count = stdin.read(&mut buffer), if open => match count? {
                0 => open = false,
                count => drop(input.send(ShellInput::Bytes(buffer[..count].to_vec())).await),
            },
            _ = resized.recv() => {
                let (columns, rows) = terminal_size();
                let _ = input.send(ShellInput::Resize(columns, rows)).await;
            }
            _ = terminate.recv() => return Ok(143),
            _ = hangup.recv() => return Ok(129),
        }
    }
}
