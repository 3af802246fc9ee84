//! `stagedive shell STAGE[@LINE] CONTEXT [-- CMD]`: straight into a stage.

use super::args::ShellArgs;
use super::exit::Failure;
use super::plain::{self, Plain};
use super::signals::Signals;
use super::{engine, project};
use crate::debug::{self, Command, Event, Position, Session, ShellPlace, Side};
use crate::dockerfile::nearest;
use crate::engine::{Shell, ShellInput, ShellOutput};
use crate::plan::Plan;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

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
    let (session, mut events) = debug::start(setup);
    let result = enter(&session, &mut events, &args, &stage, line, &project.name).await;
    session.send(Command::Quit);
    while let Some(event) = events.recv().await {
        if matches!(event, Event::Ended) {
            break;
        }
    }
    engine.close().await?;
    result
}

async fn enter(
    session: &Session,
    events: &mut mpsc::Receiver<Event>,
    args: &ShellArgs,
    stage: &str,
    line: Option<u32>,
    name: &str,
) -> Result<(), Failure> {
    let mut plain = Plain::new(std::io::stderr());
    let mut plan: Option<Arc<Plan>> = None;
    let mut place = None;
    let mut signals = Signals::listen();
    let place = loop {
        let event = tokio::select! {
            event = events.recv() => event,
            signal = signals.next() => return Err(Failure::Signal(signal)),
        };
        let Some(event) = event else {
            return Err(Failure::Other("the session ended before the stage was there".to_owned()));
        };
        plain.event(&event).map_err(|error| Failure::Other(format!("cannot print: {error}")))?;
        match event {
            Event::Planned { plan: it } => plan = Some(it),
            Event::PlanFailed { fault, message, rendered } => return Err(Failure::no_plan(fault, message, rendered)),
            Event::Stopped(stop) => {
                let Some(plan) = &plan else { continue };
                if let Some(failure) = &stop.failure {
                    let (message, help) = plain::failure(plan, failure, name);
                    return Err(Failure::Build { message, help });
                }
                match place {
                    Some(place) if stop.position == place => break place,
                    Some(_) => return Err(Failure::Other("the build stopped before the place was reached".to_owned())),
                    None => {
                        let wanted = position(plan, stage, line)?;
                        if stop.position == wanted {
                            break wanted;
                        }
                        place = Some(wanted);
                        session.send(Command::RunTo(wanted));
                    }
                }
            }
            Event::Ended => return Err(Failure::Other("the session ended before the stage was there".to_owned())),
            _ => {}
        }
    };
    let plan = plan.ok_or_else(|| Failure::Other("there is no plan".to_owned()))?;
    let side = if place.next(&plan).is_some() { Side::Before } else { Side::After };
    let at = ShellPlace { position: place, side };
    // Events are still read while the shell is open, so that the session never waits for this command.
    let drain = async { while events.recv().await.is_some() {} };
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
        () = drain => return Err(Failure::Other("the session ended".to_owned())),
    };
    match code {
        0 => Ok(()),
        code => Err(Failure::Command(code)),
    }
}

/// Before the instruction on a line; a stage's end without one.
fn position(plan: &Plan, stage: &str, line: Option<u32>) -> Result<Position, Failure> {
    let Some(id) = plan.find_stage(stage) else {
        let labels: Vec<String> = plan.stages.iter().map(|stage| stage.label()).collect();
        let near = nearest::nearest(stage, labels.iter().map(String::as_str));
        let hint = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
        return Err(Failure::Usage(format!("there is no stage {stage:?}{hint}")));
    };
    let steps = &plan.stage(id).steps;
    match line {
        None => Ok(Position { stage: id, done: steps.len() as u32 }),
        Some(line) => match steps.iter().find(|step| step.lines.start <= line && line <= step.lines.end) {
            Some(step) => Ok(Position::before(step.id)),
            None => Err(Failure::Usage(format!("line {line} has no instruction of the stage {stage:?}"))),
        },
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
