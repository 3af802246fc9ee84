//! `stagedive CONTEXT`: the debugger in the terminal.

use super::args::{DebugArgs, ScreenArgs};
use super::exit::Failure;
use super::{engine, project};
use crate::debug::{self, Command};
use crate::tui;
use std::io::IsTerminal;

pub async fn run(args: DebugArgs, title: Option<String>) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        let message =
            "the debugger needs a terminal; without one there are: stagedive build, graph, shell STAGE -- CMD";
        return Err(Failure::Usage(message.to_owned()));
    }
    let project = project::open(&args.build)?;
    let breakpoints = args.breakpoints.iter().map(|text| project::location(text)).collect::<Result<Vec<_>, _>>()?;
    let engine = engine::start(&args.build, &project).await?;
    let mut setup = project.setup(engine.clone());
    setup.paused = true;
    setup.count = true;
    setup.break_on_failure = !args.no_break_on_failure;
    setup.breakpoints = breakpoints;
    let (session, events) = debug::start(setup);
    let options = tui::Options {
        title: title.unwrap_or_else(|| project.name.clone()),
        dockerfile: project.dockerfile.clone(),
        ..options(&args.screen, String::new())
    };
    let summary = tui::run(session.clone(), events, options).await;
    session.send(Command::Quit);
    let saved = engine.close().await;
    let summary = summary.map_err(|error| Failure::Other(format!("the terminal: {error}")))?;
    for line in &summary.lines {
        super::print::line(super::plain::printable(line))?;
    }
    if let Some(signal) = summary.signal {
        return Err(Failure::Signal(signal));
    }
    Ok(saved?)
}

/// How the screen looks, by the arguments and the environment.
pub fn options(args: &ScreenArgs, title: String) -> tui::Options {
    tui::Options {
        title,
        dockerfile: None,
        theme: args.theme.clone(),
        ascii: args.ascii,
        no_color: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
    }
}
