//! The session as a front end has it: Dockerfiles, commands and what is heard, through the scripted engine.

mod answers;
mod random;
mod stops;
mod trouble;

use super::{Command, Event, Location, Position, Session, Setup, Side, StepStatus, Stop, StopReason, Trigger, start};
use crate::engine::scripted::{Play, Script, Scripted};
use crate::plan::{Options, Plan, StepId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// The plan of a Dockerfile that names no image.
pub(super) fn plan_of(dockerfile: &str) -> Arc<Plan> {
    let file = Arc::new(crate::dockerfile::parse(dockerfile.as_bytes()));
    let plan = crate::plan::lower(file, &Options::default(), &BTreeMap::new());
    Arc::new(plan.unwrap_or_else(|errors| panic!("{dockerfile}\n{errors:#?}")))
}

/// Two stages, the second copies from the first.
pub(super) const TWO: &str = "\
FROM scratch AS builder
RUN make
RUN test
FROM scratch AS final
WORKDIR /app
COPY --from=builder /out /out
CMD run
";

/// Two stages on one base, and one that copies from both.
pub(super) const DIAMOND: &str = "\
FROM scratch AS base
RUN tools
FROM base AS left
RUN left 1
RUN left 2
FROM base AS right
RUN right 1
RUN right 2
FROM scratch
COPY --from=left / /
COPY --from=right / /
";

/// A front end that writes down everything it hears.
struct Front {
    session: Session,
    events: mpsc::Receiver<Event>,
    engine: Arc<Scripted>,
    /// What its Dockerfile holds; `None` if there is none.
    text: Arc<Mutex<Option<Vec<u8>>>>,
    plan: Option<Arc<Plan>>,
    statuses: BTreeMap<StepId, StepStatus>,
    heard: Vec<Event>,
}

/// What a session is begun with, besides its Dockerfile.
struct Begin {
    script: Script,
    options: Options,
    paused: bool,
    break_on_failure: bool,
    no_cache: bool,
    breakpoints: Vec<Trigger>,
}

impl Default for Begin {
    fn default() -> Begin {
        Begin {
            // So that what runs beside it is done first.
            script: Script::new().on("RUN make", Play::succeeds().waits(Duration::from_secs(1))),
            options: Options::default(),
            paused: true,
            break_on_failure: true,
            no_cache: false,
            breakpoints: Vec::new(),
        }
    }
}

impl Front {
    fn new(dockerfile: &str, begin: Begin) -> Front {
        let Begin { script, options, paused, break_on_failure, no_cache, breakpoints } = begin;
        let engine = Scripted::new(script);
        let text = Arc::new(Mutex::new(Some(dockerfile.as_bytes().to_vec())));
        let (shared, name) = (text.clone(), "Dockerfile".to_owned());
        let read = Arc::new(move || shared.lock().unwrap().clone().ok_or(std::io::ErrorKind::NotFound.into()));
        let engine_of = engine.clone();
        let setup = Setup {
            engine: engine_of,
            options,
            name,
            read,
            context: None,
            paused,
            break_on_failure,
            no_cache,
            count: true,
            shells: true,
            breakpoints,
        };
        let (session, events) = start(setup);
        let (plan, statuses, heard) = (None, BTreeMap::new(), Vec::new());
        Front { session, events, engine, text, plan, statuses, heard }
    }

    /// The next event. A session that says nothing for so long will never say anything: the clock is not real.
    async fn next(&mut self) -> Event {
        let silent = || panic!("nothing is heard after {:#?}", self.heard.last());
        let event = timeout(Duration::from_secs(100_000), self.events.recv()).await.unwrap_or_else(|_| silent());
        let event = event.expect("Ended is the last event");
        match &event {
            Event::Planned { plan } => {
                self.plan = Some(plan.clone());
                self.statuses.clear();
            }
            Event::Step { step, status, .. } => {
                self.statuses.insert(*step, status.clone());
            }
            _ => {}
        }
        self.heard.push(event.clone());
        event
    }

    fn edit(&self, text: impl Into<Vec<u8>>) {
        *self.text.lock().unwrap() = Some(text.into());
    }

    async fn until<T>(&mut self, found: impl Fn(&Event) -> Option<T>) -> T {
        loop {
            let event = self.next().await;
            if let Some(found) = found(&event) {
                return found;
            }
        }
    }

    async fn stop(&mut self) -> Stop {
        self.until(|event| if let Event::Stopped(stop) = event { Some(stop.clone()) } else { None }).await
    }

    async fn ask(&mut self, command: Command) -> Stop {
        self.session.send(command);
        self.stop().await
    }

    /// Waits until a step runs.
    async fn running(&mut self, text: &str) {
        loop {
            let plan = self.plan.clone();
            let at = |step: &StepId| plan.as_ref().is_some_and(|plan| plan.step(*step).text == text);
            if self.statuses.iter().any(|(step, status)| at(step) && *status == StepStatus::Running) {
                return;
            }
            self.next().await;
        }
    }

    /// Ends the session, and gives everything that was heard.
    async fn quit(mut self) -> Vec<Event> {
        self.session.send(Command::Quit);
        self.until(|event| matches!(event, Event::Ended).then_some(())).await;
        assert!(self.events.recv().await.is_none(), "nothing follows Ended");
        assert_eq!(self.engine.running(), 0);
        self.heard
    }

    /// A place by `stage:done`.
    fn place(&self, text: &str) -> Position {
        let plan = self.plan.as_ref().expect("there is a plan");
        let (stage, done) = text.rsplit_once(':').expect("stage:done");
        Position { stage: plan.find_stage(stage).expect("the stage is there"), done: done.parse().expect("a number") }
    }

    fn command(&self, text: &str) -> Command {
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        match verb {
            "n" => Command::StepOver,
            "s" => Command::StepIn,
            "f" => Command::StepOut,
            "c" => Command::Continue,
            "N" => Command::BackOver,
            "S" => Command::BackIn,
            "F" => Command::BackOut,
            "C" => Command::BackContinue,
            "to" => Command::RunTo(self.place(rest)),
            "goto" => Command::Goto(self.place(rest)),
            "restart" => Command::Restart,
            "retry" => Command::Retry,
            "branch" => Command::Branch(super::BranchId(rest.parse().expect("a number"))),
            "reload" => Command::Reload,
            "arg" => match rest.split_once('=') {
                Some((name, value)) => Command::SetBuildArg(name.to_owned(), Some(value.to_owned())),
                None => Command::SetBuildArg(rest.to_owned(), None),
            },
            other => panic!("no command is called {other}"),
        }
    }

    /// Sets breakpoints and the like, which no stop answers.
    async fn arrange(&mut self, text: &str) -> Vec<super::Breakpoint> {
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        let id = || super::BreakpointId(rest.parse().expect("a number"));
        self.session.send(match verb {
            "watch" => Command::Watch(rest.parse().expect("a watchpoint")),
            "b" => Command::SetBreakpoint(rest.parse().expect("a place")),
            "delete" => Command::RemoveBreakpoint(id()),
            "enable" => Command::EnableBreakpoint(id(), true),
            "disable" => Command::EnableBreakpoint(id(), false),
            "failure" => Command::BreakOnFailure(rest == "on"),
            other => panic!("nothing is arranged by {other}"),
        });
        self.until(|event| if let Event::Breakpoints { list, .. } = event { Some(list.clone()) } else { None }).await
    }

    /// `AFTER builder:1 Step`, and whether it is in the past.
    fn describe(&self, stop: &Stop) -> String {
        let plan = self.plan.as_ref().expect("there is a plan");
        valid(plan, stop);
        let side = match stop.side {
            Side::Before => "BEFORE",
            Side::After => "AFTER",
            Side::Failed => "FAILED",
        };
        let label = plan.stage(stop.step.stage).label();
        let past = if stop.in_the_past { " past" } else { "" };
        let reason = match &stop.reason {
            StopReason::Watchpoint(id, hit) => {
                let others = if hit.more == 0 { String::new() } else { format!(" and {} more", hit.more) };
                format!("Watchpoint({}: {} {}{others})", id.0, hit.path, super::watch::said(hit.change))
            }
            other => format!("{other:?}"),
        };
        format!("{side} {label}:{} {reason}{past}", stop.step.index)
    }
}

/// What holds for every stop.
fn valid(plan: &Plan, stop: &Stop) {
    let stage = &plan.stages[stop.position.stage.0 as usize];
    assert!(stop.position.done as usize <= stage.steps.len());
    let expected = match stop.side {
        Side::Before | Side::Failed => stop.position.next(plan),
        Side::After => stop.position.previous(),
    };
    assert_eq!(expected, Some(stop.step), "{stop:?}");
    assert_eq!(plan.step(stop.step).lines.start, stop.line);
    assert_eq!(stop.failure.is_some(), stop.side == Side::Failed, "{stop:?}");
    assert_eq!(stop.snapshot.is_some(), stop.position.done > 0, "{stop:?}");
}

/// Plays a table, one command a line: `command => the stop, then what was run for it`. A line without `=>` arranges
/// something. The first line is the first stop, with an empty command.
async fn play(dockerfile: &str, begin: Begin, table: &str) -> Front {
    let mut front = Front::new(dockerfile, begin);
    let mut played = String::new();
    let mut ran = 0;
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let Some((command, _)) = line.split_once("=>") else {
            front.arrange(line).await;
            played.push_str(&format!("{line}\n"));
            continue;
        };
        let command = command.trim();
        let stop = match command {
            "" => front.stop().await,
            command => front.ask(front.command(command)).await,
        };
        let runs = front.engine.runs();
        let mut fresh: Vec<&str> = runs[ran..].iter().map(|run| run.text.as_str()).collect();
        if side_by_side(command) {
            fresh.sort_unstable();
        }
        ran = runs.len();
        let texts = if fresh.is_empty() { String::new() } else { format!(" | {}", fresh.join(", ")) };
        let space = if command.is_empty() { "" } else { " " };
        played.push_str(&format!("{command}{space}=> {}{texts}\n", front.describe(&stop)));
    }
    let expected: Vec<String> = table.lines().map(str::trim).filter(|line| !line.is_empty()).map(ordered).collect();
    let expected = expected.join("\n");
    assert!(played.trim_end() == expected, "was played:\n{played}\nwas expected:\n{expected}");
    front
}

/// Of stages that run side by side none is first.
fn side_by_side(command: &str) -> bool {
    command.is_empty() || command == "c" || command.starts_with("to ")
}

/// A line of a table, with what ran side by side in the order of its text.
fn ordered(line: &str) -> String {
    match (line.split_once(" =>").or(line.split_once("=>")), line.split_once(" | ")) {
        (Some((command, _)), Some((stop, ran))) if side_by_side(command) => {
            let mut ran: Vec<&str> = ran.split(", ").collect();
            ran.sort_unstable();
            format!("{stop} | {}", ran.join(", "))
        }
        _ => line.to_owned(),
    }
}

/// The table for a session that is paused at its start, with everything else as it is by default.
async fn check(dockerfile: &str, table: &str) {
    play(dockerfile, Begin::default(), table).await.quit().await;
}
