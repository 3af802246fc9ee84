//! Places in a build, reached one after the other.

use super::super::args::BuildArgs;
use super::super::engine;
use super::super::exit::Failure;
use super::super::plain::{self, Plain};
use super::super::project;
use super::super::signals::Signals;
use crate::debug::{self, Command, Event, Position, Session, StepStatus};
use crate::dockerfile::nearest;
use crate::engine::Engine;
use crate::plan::{Plan, StepId};
use crate::snapshot::SnapshotId;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;

/// A place with its file system.
pub struct Reached {
    /// `builder, before line 12`.
    pub name: String,
    /// `None` before a stage's `FROM`.
    pub at: Option<SnapshotId>,
    pub engine: Arc<dyn Engine>,
}

/// Runs what is needed to get to each of the places: a stage's end, or before the instruction on a line. The engine is
/// left open, for looking into the file systems.
pub async fn reach(args: &BuildArgs, places: &[(Option<String>, Option<u32>)]) -> Result<Vec<Reached>, Failure> {
    let mut project = project::open(args)?;
    // Stages that the default target does not need can be compared as well.
    project.options.all_stages = true;
    let engine = engine::start(args, &project).await?;
    let mut setup = project.setup(engine.clone());
    setup.paused = true;
    let (session, mut events) = debug::start(setup);
    let result = run(&session, &mut events, places, &project.name).await;
    session.send(Command::Quit);
    while let Some(event) = events.recv().await {
        if matches!(event, Event::Ended) {
            break;
        }
    }
    let reached = match result {
        Ok(reached) => reached.into_iter(),
        Err(failure) => {
            engine.close().await?;
            return Err(failure);
        }
    };
    Ok(reached.map(|(name, at)| Reached { name, at, engine: engine.clone() }).collect())
}

async fn run(
    session: &Session,
    events: &mut mpsc::Receiver<Event>,
    places: &[(Option<String>, Option<u32>)],
    name: &str,
) -> Result<Vec<(String, Option<SnapshotId>)>, Failure> {
    let mut plain = Plain::new(std::io::stderr());
    let mut plan: Option<Arc<Plan>> = None;
    let mut snapshots: BTreeMap<StepId, SnapshotId> = BTreeMap::new();
    let mut open: Option<Vec<Position>> = None;
    let mut signals = Signals::listen();
    let early = || Failure::Other("the build stopped before the place was reached".to_owned());
    loop {
        let event = tokio::select! {
            event = events.recv() => event.ok_or_else(early)?,
            signal = signals.next() => return Err(Failure::Signal(signal)),
        };
        plain.event(&event).map_err(|error| Failure::Other(format!("cannot print: {error}")))?;
        match event {
            Event::Planned { plan: it } => plan = Some(it),
            Event::PlanFailed { fault, message, rendered } => return Err(Failure::no_plan(fault, message, rendered)),
            Event::Step { step, status: StepStatus::Done(outcome), .. } => {
                snapshots.insert(step, outcome.snapshot);
            }
            Event::Stopped(stop) => {
                let Some(plan) = &plan else { continue };
                if let Some(failure) = &stop.failure {
                    let (message, help) = plain::failure(plan, failure, name);
                    return Err(Failure::Build { message, help });
                }
                let positions = || places.iter().map(|(stage, line)| position(plan, stage.as_deref(), *line));
                let open = match &mut open {
                    Some(open) => {
                        let wanted = open.pop().ok_or_else(early)?;
                        if stop.position != wanted {
                            return Err(early());
                        }
                        open
                    }
                    none => {
                        let mut positions = positions().collect::<Result<Vec<_>, _>>()?;
                        positions.reverse();
                        none.insert(positions)
                    }
                };
                // A place that needs nothing more to be run is there already.
                let is_reached = |place: &Position| place.previous().is_none_or(|step| snapshots.contains_key(&step));
                while open.last().is_some_and(is_reached) {
                    open.pop();
                }
                match open.last() {
                    Some(place) => session.send(Command::RunTo(*place)),
                    None => {
                        let positions = positions().collect::<Result<Vec<_>, _>>()?;
                        let at = |place: Position| place.previous().and_then(|step| snapshots.get(&step).cloned());
                        return Ok(positions.into_iter().map(|place| (words(plan, place), at(place))).collect());
                    }
                }
            }
            Event::Ended => return Err(early()),
            _ => {}
        }
    }
}

/// Before the instruction on a line; a stage's end without one.
pub fn position(plan: &Plan, stage: Option<&str>, line: Option<u32>) -> Result<Position, Failure> {
    let stages: Vec<_> = match stage {
        None => plan.stages.iter().collect(),
        Some(name) => match plan.find_stage(name) {
            Some(id) => vec![plan.stage(id)],
            None => {
                let labels: Vec<String> = plan.stages.iter().map(|stage| stage.label()).collect();
                let near = nearest::nearest(name, labels.iter().map(String::as_str));
                let hint = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
                return Err(Failure::Usage(format!("there is no stage {name:?}{hint}")));
            }
        },
    };
    let Some(line) = line else {
        let end = stages.first().map(|stage| Position { stage: stage.id, done: stage.steps.len() as u32 });
        return end.ok_or_else(|| Failure::Usage("there is no stage".to_owned()));
    };
    let steps = stages.iter().flat_map(|stage| &stage.steps);
    let step = steps.into_iter().find(|step| !step.onbuild && step.lines.start <= line && line <= step.lines.end);
    let of = stage.map(|stage| format!(" of the stage {stage:?}")).unwrap_or_default();
    let missing = || Failure::Usage(format!("line {line} has no instruction{of}"));
    step.map(|step| Position::before(step.id)).ok_or_else(missing)
}

/// `builder, before line 12` or `builder`.
fn words(plan: &Plan, place: Position) -> String {
    let label = plan.stage(place.stage).label();
    match place.next(plan) {
        Some(step) => format!("{label}, before line {}", plan.step(step).lines.start),
        None => label,
    }
}
