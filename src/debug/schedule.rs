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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debug::tests::{DIAMOND, TWO, plan_of};
    use crate::debug::timeline::{Timeline, tests::outcome};
    use crate::plan::StageId;
    use std::sync::Arc;

    fn place(text: &str) -> Position {
        let (stage, done) = text.split_once(':').unwrap();
        Position { stage: StageId(stage.parse().unwrap()), done: done.parse().unwrap() }
    }

    /// The depths for these places, and what is ready once so much of each stage is done.
    fn check(dockerfile: &str, wanted: &str, expected: &[u32], done: &[u32], ready_then: &str) {
        let plan = plan_of(dockerfile);
        let wanted: Vec<Position> = wanted.split(' ').map(place).collect();
        let depths = depths(&plan, &wanted);
        assert_eq!(depths, expected);
        let mut timeline = Timeline::new(plan.clone(), Arc::default());
        for (stage, done) in plan.stages.iter().zip(done) {
            stage.steps.iter().take(*done as usize).for_each(|it| timeline.record_done(it.id, outcome("x")));
        }
        let ready = ready(timeline.current(), &depths);
        let ready: Vec<String> = ready.iter().map(|step| format!("{}:{}", step.stage.0, step.index)).collect();
        assert_eq!(ready.join(" "), ready_then, "{done:?}");
    }

    #[test]
    fn needs_come_along_and_come_first() {
        check(TWO, "0:1", &[1, 0], &[0, 0], "0:0");
        check(TWO, "1:2", &[0, 2], &[0, 0], "1:0");
        check(TWO, "1:3", &[3, 3], &[0, 0], "0:0 1:0");
        check(TWO, "1:3", &[3, 3], &[2, 2], "0:2");
        check(TWO, "1:3", &[3, 3], &[3, 2], "1:2");
        check(TWO, "1:3", &[3, 3], &[3, 3], "");
        check(DIAMOND, "3:2", &[2, 3, 0, 2], &[2, 0, 0, 1], "1:0");
        check(DIAMOND, "3:2 2:1", &[2, 3, 1, 2], &[2, 0, 0, 1], "1:0 2:0");
        check(DIAMOND, "9:2", &[0, 0, 0, 0], &[], "");
    }
}
