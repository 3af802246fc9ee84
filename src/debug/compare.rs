//! What is different between two branches. Pure.

use super::breakpoint::matching_stage;
use super::timeline::{Branch, BranchId};
use crate::engine::StepOutcome;
use crate::layers::patch::Patch;
use crate::plan::{Plan, StepId};

/// How another branch differs from one that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Build arguments by name: there, and here.
    pub args: Vec<(String, Option<String>, Option<String>)>,
    /// How the Dockerfile there became the one here.
    pub file: Patch,
    /// Instructions here whose result is another there, or is on one side only.
    pub steps: Vec<Pair>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub step: StepId,
    pub there: Option<StepOutcome>,
    pub here: Option<StepOutcome>,
}

/// Compares `there` with `here`; `now` has the results of `here`, which may have gone on since it was told of.
pub fn compare<'o>(there: &Branch, here: &Branch, now: impl Fn(StepId) -> Option<&'o StepOutcome>) -> Comparison {
    let (old, new) = (&there.basis.options.build_args, &here.basis.options.build_args);
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    let args = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    let args = args.map(|name| (name.clone(), old.get(name).cloned(), new.get(name).cloned())).collect();
    let file = Patch::between(there.plan.dockerfile.text.as_bytes(), here.plan.dockerfile.text.as_bytes());
    let steps = here.plan.steps().filter_map(|step| {
        let was = counterpart(&here.plan, step.id, &there.plan).and_then(|step| there.outcome(step));
        let is = now(step.id);
        let differ = was.map(|it| &it.snapshot) != is.map(|it| &it.snapshot);
        differ.then(|| Pair { step: step.id, there: was.cloned(), here: is.cloned() })
    });
    Comparison { args, file, steps: steps.collect() }
}

/// The instruction that stands for one of `plan` in another plan: of the same stage the same text, the nearest if there
/// are several; or else what stands at the same place.
pub fn counterpart(plan: &Plan, step: StepId, other: &Plan) -> Option<StepId> {
    let stage = other.stage(matching_stage(plan, step.stage, other)?);
    let text = &plan.step(step).text;
    let same = stage.steps.iter().filter(|it| it.text == *text).min_by_key(|it| it.id.index.abs_diff(step.index));
    same.or_else(|| stage.steps.get(step.index as usize)).map(|it| it.id)
}

/// The branch of a number.
pub fn find(branches: &[Branch], id: BranchId) -> Option<&Branch> {
    branches.iter().find(|branch| branch.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debug::tests::{TWO, plan_of};

    /// The counterparts, in another text, of all instructions of the builder of [`TWO`].
    fn check(other: &str, expected: &[Option<&str>]) {
        let (plan, other) = (plan_of(TWO), plan_of(other));
        let steps = plan.stages[0].steps.iter();
        let found: Vec<_> = steps.map(|step| counterpart(&plan, step.id, &other)).collect();
        let texts: Vec<_> = found.iter().map(|it| it.map(|step| other.step(step).text.as_str())).collect();
        assert_eq!(texts, expected);
    }

    #[test]
    fn instructions_are_found_again_where_a_file_was_edited() {
        check(TWO, &[Some("FROM scratch AS builder"), Some("RUN make"), Some("RUN test")]);
        let more = TWO.replace("RUN make", "ENV A=1\nRUN make");
        check(&more, &[Some("FROM scratch AS builder"), Some("RUN make"), Some("RUN test")]);
        let other = TWO.replace("RUN make", "RUN make all");
        check(&other, &[Some("FROM scratch AS builder"), Some("RUN make all"), Some("RUN test")]);
        check(
            "FROM scratch AS builder\nRUN test\n",
            &[Some("FROM scratch AS builder"), Some("RUN test"), Some("RUN test")],
        );
        check("FROM scratch AS tools\n", &[None, None, None]);
    }
}
