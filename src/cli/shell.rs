//! `stagedive shell STAGE[@LINE] CONTEXT [-- CMD]`: straight into a stage.

use super::args::ShellArgs;
use super::exit::Failure;
use super::follow::{Followed, position};
use super::signals::Signals;
use super::{engine, project};
use crate::debug::{ShellPlace, Side};
use crate::engine::{Shell, ShellInput, ShellOutput};
use std::io::{IsTerminal, Write};
use tokio::io::AsyncReadExt;

pub async fn run(args: ShellArgs) -> Result<(), Failure> {
    let (stage, line) = match args.place.split_once('@') {
        Some((stage, line)) => {
            let wrong = |_| Failure::Usage(format!("{:?}: the line after @ is not a number", args.place));
            (stage.to_owned(), Some(line.parse::<u32>().map_err(wrong)?))
        }
        None => (args.place.clone(), None),
    };
    let mut project = project::open(&args.build)?;
    // Stages that the default target does not need can be entered as well.
    project.options.target = Some(stage.clone());
    let engine = engine::start(&args.build, &project).await?;
    let mut setup = project.setup(engine.clone());
    setup.paused = true;
    let mut build = Followed::plainly(setup);
    let result = enter(&mut build, &args, &stage, line).await;
    build.end().await;
    engine.close().await?;
    result
}

async fn enter(build: &mut Followed, args: &ShellArgs, stage: &str, line: Option<u32>) -> Result<(), Failure> {
    let (stop, plan) = build.stopped().await?;
    let place = position(&plan, Some(stage), line)?;
    if stop.position != place {
        build.run_to(place).await?;
    }
    let side = if place.next(&plan).is_some() { Side::Before } else { Side::After };
    let at = ShellPlace { position: place, side };
    let session = build.session.clone();
    let shell = async {
        let interactive = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        match interactive {
            true => {
                let size = crate::tui::terminal_size();
                let shell = session.command(at, args.command.clone(), Some(size)).await?;
                crate::tui::passthrough(shell).await.map_err(|error| Failure::Other(format!("the terminal: {error}")))
            }
            false => {
                let command = match args.command.is_empty() {
                    true => vec!["sh".to_owned()],
                    false => args.command.clone(),
                };
                piped(session.command(at, command, None).await?).await
            }
        }
    };
    let code = tokio::select! {
        code = shell => code?,
        () = build.drain() => return Err(Failure::Other("the session ended".to_owned())),
    };
    match code {
        0 => Ok(()),
        code => Err(Failure::Command(code)),
    }
}

/// Without a terminal: standard input, output and error are the command's.
async fn piped(shell: Shell) -> Result<i32, Failure> {
    let Shell { input, mut output, .. } = shell;
    let feed = async move {
        let mut stdin = tokio::io::stdin();
        let mut buffer = vec![0; 16 << 10];
        while let Ok(count @ 1..) = stdin.read(&mut buffer).await {
            if input.send(ShellInput::Bytes(buffer[..count].to_vec())).await.is_err() {
                return;
            }
        }
        let _ = input.send(ShellInput::Eof).await;
        // Kept until the command ends: a closed channel would kill it.
        std::future::pending::<()>().await;
    };
    let read = async {
        let failed = |error: std::io::Error| Failure::Other(format!("cannot print: {error}"));
        while let Some(message) = output.recv().await {
            match message {
                ShellOutput::Bytes(bytes) => {
                    let mut out = std::io::stdout().lock();
                    out.write_all(&bytes).and_then(|()| out.flush()).map_err(failed)?;
                }
                ShellOutput::Stderr(bytes) => std::io::stderr().lock().write_all(&bytes).map_err(failed)?,
                ShellOutput::Exited { code, .. } => return Ok(code),
                ShellOutput::Lost(error) => return Err(Failure::Engine(error)),
            }
        }
        Err(Failure::Other("the command ended without a word".to_owned()))
    };
    let mut signals = Signals::listen();
    tokio::select! {
        code = read => code,
        () = feed => Err(Failure::Other("standard input cannot be read".to_owned())),
        signal = signals.next() => Err(Failure::Signal(signal)),
    }
}
