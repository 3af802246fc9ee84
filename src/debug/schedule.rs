//! Which steps can run now. Pure.

use super::Position;
use super::timeline::Branch;
use crate::plan::{Plan, StepId};

/// How many steps of each stage must be done for the wanted places to be reached, needs included.
pub fn depths(plan: &Plan, wanted: &[Position]) -> Vec<u32> {
    let mut depths = vec![0u32; plan.stages.len()];
    let mut open: Vec<Position> = wanted.to_vec();
    while let Some(place) = open.pop() {
        let Some(stage) = plan.stages.get(place.stage.0 as usize) else { continue };
        let Some(depth) = depths.get_mut(place.stage.0 as usize) else { continue };
        if place.done <= *depth {
            continue;
        }
        let fresh = stage.steps.iter().take(place.done as usize).skip(*depth as usize);
        *depth = place.done;
        for source in fresh.flat_map(|step| step.stages()) {
            open.push(Position { stage: source, done: plan.stage(source).steps.len() as u32 });
        }
    }
    depths
}

/// The next step of every stage that is within `depths` and has all that it reads, in plain order.
pub fn ready(branch: &Branch, depths: &[u32]) -> Vec<StepId> {
    let stages = branch.plan.order.iter();
    let next = stages.map(|stage| StepId { stage: *stage, index: branch.frontier(*stage) });
    next.filter(|step| step.index < depths.get(step.stage.0 as usize).copied().unwrap_or(0))
        .filter(|step| branch.plan.step(*step).stages().all(|source| branch.is_finished(source)))
        .collect()
}
