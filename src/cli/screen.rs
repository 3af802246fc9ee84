//! `stagedive CONTEXT`: the debugger in the terminal.

use super::args::{BuildArgs, BuildCommand, DebugArgs, ScreenArgs};
use super::build::{self, Asked};
use super::exit::Failure;
use super::project::Project;
use super::{engine, plain, print, project, several};
use crate::debug::{self, Built, Command, Trigger};
use crate::engine::Engine;
use crate::names::platform::Platform;
use crate::tui::{self, Summary};
use std::io::IsTerminal;
use std::sync::Arc;

pub async fn run(mut args: DebugArgs, title: Option<String>) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        let message =
            "the debugger needs a terminal; without one there are: stagedive build, graph, shell STAGE -- CMD";
        return Err(Failure::Usage(message.to_owned()));
    }
    let platforms = several::platforms(args.build.platform().as_deref())?;
    if let Some(first) = platforms.first() {
        args.build.platforms = vec![first.to_string()];
    }
    let project = project::open(&args.build)?;
    let places = args.breakpoints.iter().map(|text| text.parse().map(Trigger::Before));
    let watches = args.watches.iter().map(|text| text.parse().map(Trigger::Change));
    let breakpoints = places.chain(watches).collect::<Result<Vec<_>, _>>().map_err(Failure::Usage)?;
    let several: Vec<Project> = platforms.iter().map(|platform| project.on(platform)).collect();
    let projects = if several.is_empty() { std::slice::from_ref(&project) } else { several.as_slice() };
    let engines = engine::start_each(&args.build, projects).await?;
    let names: Vec<String> = platforms.iter().map(Platform::to_string).collect();
    let result = Wanted::read(&args.build, &engines)?;
    let mut tracks = Vec::new();
    for (at, (project, engine)) in projects.iter().zip(&engines).enumerate() {
        let mut setup = project.setup(engine.clone());
        setup.paused = true;
        setup.count = true;
        setup.shells = true;
        setup.break_on_failure = !args.no_break_on_failure;
        setup.breakpoints = breakpoints.clone();
        let (session, events) = debug::start(setup);
        tracks.push(tui::Track { platform: names.get(at).cloned().unwrap_or_default(), session, events });
    }
    let options = tui::Options {
        title: title.unwrap_or_else(|| project.name.clone()),
        dockerfile: project.dockerfile.clone(),
        ..options(&args.screen, String::new())
    };
    let shown = tui::run(&mut tracks, options).await;
    let told = shown.as_ref().map_or(Ok(()), tell);
    let mut written = Ok(());
    if let (Ok(Summary { signal: None, .. }), Some(wanted)) = (&shown, &result) {
        written = wanted.write(&tracks, project.settings.epoch, names).await;
    }
    for track in &tracks {
        // Said twice: what runs is killed, and its end not waited for.
        track.session.send(Command::Quit);
        track.session.send(Command::Quit);
    }
    let mut saved = Ok(());
    for engine in &engines {
        saved = saved.and(engine.close().await);
    }
    let shown = shown.map_err(|error| Failure::Other(format!("the terminal: {error}")))?;
    if let Some(signal) = shown.signal {
        return Err(Failure::Signal(signal));
    }
    told.and(written).and(saved.map_err(Failure::from))
}

/// What stays in the scrollback.
pub fn tell(summary: &Summary) -> Result<(), Failure> {
    summary.lines.iter().try_for_each(|line| print::line(plain::printable(line)))
}

/// An image with a name (`-t`) is written as `build` does it, once the user leaves.
struct Wanted {
    command: BuildCommand,
    asked: Asked,
}

impl Wanted {
    /// Says before the first step what cannot be.
    fn read(args: &BuildArgs, engines: &[Arc<dyn Engine>]) -> Result<Option<Wanted>, Failure> {
        if args.tags.is_empty() {
            return Ok(None);
        }
        let command = BuildCommand::of(args.clone());
        let asked = Asked::read(&command)?;
        for engine in engines {
            asked.check(&command, engine.as_ref(), engines.len())?;
            if engines.len() > 1 && build::is_embedded(engine.as_ref()) {
                let message = "-t: the embedded engine writes images of one platform: use --engine docker, or leave -t \
                               out to look only";
                return Err(Failure::Usage(message.to_owned()));
            }
        }
        Ok(Some(Wanted { command, asked }))
    }

    /// Writes the image if every track is built to its end, of the same file with the same arguments.
    async fn write(&self, tracks: &[tui::Track], epoch: Option<i64>, platforms: Vec<String>) -> Result<(), Failure> {
        let none = |why: &str| {
            print::note(format_args!("no image is written: {why}"));
            Ok(())
        };
        let mut built: Vec<Built> = Vec::new();
        for track in tracks {
            match track.session.image().await {
                Ok(it) => built.push(it),
                Err(_) if track.platform.is_empty() => return none("the build has not come to its end"),
                Err(_) => return none(&format!("the build for {} has not come to its end", track.platform)),
            }
        }
        let (Some(first), Some(track)) = (built.first(), tracks.first()) else { return Ok(()) };
        let alike = |it: &Built| {
            it.plan.dockerfile.text == first.plan.dockerfile.text && it.options.build_args == first.options.build_args
        };
        if !built.iter().all(alike) {
            return none("the platforms stand on branches with other arguments, or of another file");
        }
        build::finish(&track.session, &self.command, &self.asked, epoch, platforms).await
    }
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
