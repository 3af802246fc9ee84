//! What of a finished plan still holds under a new one. Pure.

use super::Position;
use super::breakpoint::matching_stage;
use super::timeline::cut;
use crate::plan::{Base, FileOrigin, Op, Plan, StageId, State, Step, StepId, Variable};

/// For each stage of the new plan, the stage it was in the old one, and how many steps from its beginning
/// are the same in both: same operation, same sources, same configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    stages: Vec<(Option<StageId>, u32)>,
}

impl Held {
    /// The old step whose result a step of the new plan may keep.
    pub fn old(&self, step: StepId) -> Option<StepId> {
        match self.stages.get(step.stage.0 as usize) {
            Some((Some(stage), held)) if step.index < *held => Some(StepId { stage: *stage, index: step.index }),
            _ => None,
        }
    }

    /// Lets go of the steps of the new plan that must be looked at `afresh`, and of all that builds on them.
    pub fn recheck(&mut self, new: &Plan, afresh: impl Fn(&Step) -> bool) {
        let mut keep: Vec<u32> = self.stages.iter().map(|(_, held)| *held).collect();
        for step in new.stages.iter().filter_map(|stage| stage.steps.iter().find(|step| afresh(step))) {
            cut(new, &mut keep, Position::before(step.id));
        }
        for ((_, held), kept) in self.stages.iter_mut().zip(keep) {
            *held = kept;
        }
    }

    pub fn depth(&self, stage: StageId) -> u32 {
        self.stages.get(stage.0 as usize).map_or(0, |(_, held)| *held)
    }
}

pub fn compare(old: &Plan, new: &Plan) -> Held {
    let matched: Vec<Option<StageId>> = new
        .stages
        .iter()
        .map(|stage| old.stages.iter().map(|it| it.id).find(|it| matching_stage(old, *it, new) == Some(stage.id)))
        .collect();
    let mut held = Held { stages: matched.iter().map(|stage| (*stage, 0)).collect() };
    for stage in new.order.iter().map(|id| new.stage(*id)) {
        let Some(was) = matched[stage.id.0 as usize].map(|id| old.stage(id)) else { continue };
        let same = stage.steps.iter().zip(&was.steps).take_while(|(new_step, old_step)| {
            let whole = |source: StageId| held.depth(source) as usize == new.stage(source).steps.len();
            new_step.stages().all(whole) && same_step(old_step, new_step, &matched)
        });
        held.stages[stage.id.0 as usize].1 = same.count() as u32;
    }
    held
}

/// `matched` gives the old stage for each new one, so that sources can be compared where stages moved.
fn same_step(old: &Step, new: &Step, matched: &[Option<StageId>]) -> bool {
    let stage = |id: StageId| matched.get(id.0 as usize).copied().flatten();
    let same_origin = |old: &FileOrigin, new: &FileOrigin| match (old, new) {
        (FileOrigin::Stage(old), FileOrigin::Stage(new)) => stage(*new) == Some(*old),
        _ => old == new,
    };
    let same_op = match (&old.op, &new.op) {
        (Op::From(Base::Stage(old)), Op::From(Base::Stage(new))) => stage(*new) == Some(*old),
        _ => old.op == new.op,
    };
    same_op
        && old.inputs.len() == new.inputs.len()
        && old.inputs.iter().zip(&new.inputs).all(|(old, new)| same_origin(old, new))
        && same_state(&old.state, &new.state)
        && old.history == new.history
}

/// Where a value was set is left out: lines move when a file is edited.
fn same_state(old: &State, new: &State) -> bool {
    let values = |list: &[Variable]| list.iter().map(|it| (it.name.clone(), it.value.clone())).collect::<Vec<_>>();
    old.image == new.image
        && old.shell == new.shell
        && values(&old.env) == values(&new.env)
        && values(&old.args) == values(&new.args)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debug::tests::{DIAMOND, TWO, plan_of};

    /// How many steps of each stage of `new` hold.
    fn check(old: &str, new: &str, expected: &[u32]) {
        let (old, new) = (plan_of(old), plan_of(new));
        let held = compare(&old, &new);
        let depths: Vec<u32> = new.stages.iter().map(|stage| held.depth(stage.id)).collect();
        assert_eq!(depths, expected, "{}", new.dockerfile.text);
        for step in new.steps() {
            match held.old(step.id) {
                Some(was) => assert_eq!(old.step(was).text, step.text),
                None => assert!(step.id.index >= held.depth(step.id.stage)),
            }
        }
    }

    #[test]
    fn what_is_the_same_holds() {
        check(TWO, TWO, &[3, 4]);
        check(TWO, &format!("# a comment\n\n{TWO}"), &[3, 4]);
        check(TWO, &TWO.replace("RUN test", "RUN check"), &[2, 2]);
        check(TWO, &TWO.replace("WORKDIR /app", "WORKDIR /srv"), &[3, 1]);
        check(TWO, &TWO.replace("RUN make", "ENV A=1\nRUN make"), &[1, 2]);
        check(TWO, &TWO.replace("CMD run", "CMD other"), &[3, 3]);
    }

    #[test]
    fn a_change_goes_to_all_that_builds_on_it() {
        check(DIAMOND, &DIAMOND.replace("RUN tools", "RUN more tools"), &[1, 0, 0, 1]);
        check(DIAMOND, &DIAMOND.replace("RUN right 2", "RUN right 3"), &[2, 3, 2, 2]);
    }

    #[test]
    fn stages_are_found_by_name() {
        check(TWO, &format!("FROM scratch AS first\n{TWO}"), &[0, 3, 4]);
        check(TWO, &TWO.replace("AS final", "AS last"), &[3, 0]);
        let (one, other) = ("FROM scratch\nRUN a\n", "FROM scratch\nRUN b\n");
        check(&format!("{one}{other}"), &format!("{other}{other}"), &[0, 2]);
    }

    #[test]
    fn what_is_looked_at_afresh_does_not_hold() {
        let plan = plan_of(DIAMOND);
        let mut held = compare(&plan, &plan);
        held.recheck(&plan, |step| step.text == "RUN left 2");
        let depths: Vec<u32> = plan.stages.iter().map(|stage| held.depth(stage.id)).collect();
        assert_eq!(depths, [2, 2, 3, 1]);
    }
}
