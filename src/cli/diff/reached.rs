//! Places in a build, reached one after the other.

use super::super::args::BuildArgs;
use super::super::exit::Failure;
use super::super::follow::{Followed, position};
use super::super::{engine, project};
use crate::debug::Position;
use crate::engine::Engine;
use crate::plan::Plan;
use crate::snapshot::SnapshotId;
use std::sync::Arc;

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
    let mut build = Followed::plainly(setup);
    let result = run(&mut build, places).await;
    build.end().await;
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
    build: &mut Followed,
    places: &[(Option<String>, Option<u32>)],
) -> Result<Vec<(String, Option<SnapshotId>)>, Failure> {
    let (_, plan) = build.stopped().await?;
    let positions = places.iter().map(|(stage, line)| position(&plan, stage.as_deref(), *line));
    let positions = positions.collect::<Result<Vec<_>, _>>()?;
    let mut reached = Vec::new();
    for place in positions {
        // One that needs nothing more to be run is there already.
        if !place.previous().is_none_or(|step| build.outcomes.contains_key(&step)) {
            build.run_to(place).await?;
        }
        let outcome = place.previous().and_then(|step| build.outcomes.get(&step));
        reached.push((words(&plan, place), outcome.map(|outcome| outcome.snapshot.clone())));
    }
    Ok(reached)
}

/// `builder, before line 12` or `builder`.
fn words(plan: &Plan, place: Position) -> String {
    let label = plan.stage(place.stage).label();
    match place.next(plan) {
        Some(step) => format!("{label}, before line {}", plan.step(step).lines.start),
        None => label,
    }
}
