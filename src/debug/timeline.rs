//! What was reached, under which plan. Branches are only ever added, and any of them can be gone on from.

use super::log::RunId;
use super::{Failure, Position};
use crate::engine::{ChangeSummary, StepOutcome};
use crate::image::config::ImageConfig;
use crate::plan::{Base, FileOrigin, Op, Options, Plan, StageId, Step, StepId};
use crate::snapshot::SnapshotId;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Every branch since the session began. The current one is where the build stands and steps are recorded.
#[derive(Debug, Clone)]
pub struct Timeline {
    branches: Vec<Branch>,
    /// Index of the current one; always there.
    current: usize,
}

/// A branch by its number: 1 is the first run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct BranchId(pub u32);

/// What a plan was made from, besides its Dockerfile.
#[derive(Debug, Clone, Default)]
pub struct Basis {
    pub options: Options,
    /// The configurations of the images that its stages begin with.
    pub bases: BTreeMap<String, ImageConfig>,
}

/// One line of history: a plan, and what its steps came to. It begins with what it shares with its parent.
#[derive(Debug, Clone)]
pub struct Branch {
    pub id: BranchId,
    /// The one that it left; the first left none.
    pub parent: Option<BranchId>,
    pub plan: Arc<Plan>,
    pub basis: Arc<Basis>,
    /// Why it left its parent, in words: `the first run`, `GO=1.24`, `builder:3 again`.
    pub cause: String,
    /// When, since the session began.
    pub began: Duration,
    /// Where the build stood when it was left for another one.
    pub(super) left_at: Option<Position>,
    done: BTreeMap<StepId, StepOutcome>,
    failed: BTreeMap<StepId, Failure>,
    /// What each step that is done or has failed wrote.
    runs: BTreeMap<StepId, RunId>,
    /// Steps of each stage that are done, from its beginning.
    frontier: Vec<u32>,
}

impl Timeline {
    pub fn new(plan: Arc<Plan>, basis: Arc<Basis>) -> Timeline {
        let first = Branch::empty(BranchId(1), None, plan, basis, "the first run".to_owned());
        Timeline { branches: vec![first], current: 0 }
    }

    pub fn current(&self) -> &Branch {
        &self.branches[self.current]
    }

    fn current_mut(&mut self) -> &mut Branch {
        &mut self.branches[self.current]
    }

    /// Makes another branch the current one; the build stood `at` when it was left. Answers with where it stood when
    /// that one was, or `None` if there is no such branch.
    pub fn go_to(&mut self, id: BranchId, at: Position) -> Option<Position> {
        let index = self.branches.iter().position(|branch| branch.id == id)?;
        self.leave(at);
        self.current = index;
        self.branches[index].left_at
    }

    /// Notes where the build stands, before it goes to another branch or a new one.
    pub fn leave(&mut self, at: Position) {
        self.current_mut().left_at = Some(at);
    }

    /// Dates the current branch.
    pub fn begun(&mut self, at: Duration) {
        self.current_mut().began = at;
    }

    /// Notes which log the result of a step on the current branch goes with.
    pub fn wrote(&mut self, step: StepId, run: RunId) {
        self.current_mut().runs.insert(step, run);
    }

    /// All branches, the oldest first.
    pub fn branches(&self) -> &[Branch] {
        &self.branches
    }

    pub fn record_done(&mut self, step: StepId, outcome: StepOutcome) {
        let branch = self.writable(step);
        branch.done.insert(step, outcome);
        if let Some(frontier) = branch.frontier.get_mut(step.stage.0 as usize) {
            *frontier = (*frontier).max(step.index + 1);
        }
    }

    /// What the steps that made a snapshot changed, where their outcomes leave it open. No branch becomes another by it.
    pub fn record_changes(&mut self, snapshot: &SnapshotId, changes: Option<ChangeSummary>) {
        let outcomes = self.branches.iter_mut().flat_map(|branch| branch.done.values_mut());
        for outcome in outcomes.filter(|it| it.snapshot == *snapshot && it.changes.is_none()) {
            outcome.changes = changes;
        }
    }

    pub fn record_failure(&mut self, failure: Failure) {
        self.writable(failure.step).failed.insert(failure.step, failure);
    }

    /// A new branch on which `step`, what follows it and what depends on it have not been reached.
    pub fn fork_before(&mut self, step: StepId, cause: String) {
        let old = self.current();
        let mut keep: Vec<u32> = old.frontier.clone();
        cut(&old.plan, &mut keep, Position::before(step));
        let (plan, basis) = (old.plan.clone(), old.basis.clone());
        let (failed, runs) = (old.failed.clone(), old.runs.clone());
        self.fork(plan, basis, cause, |it| keep.get(it.stage.0 as usize).filter(|kept| it.index < **kept).map(|_| it));
        // What failed for other reasons has failed here too.
        let branch = self.current_mut();
        let same = |it: &StepId| {
            let whole = branch.plan.step(*it).stages().all(|source| branch.is_finished(source));
            *it != step && it.index == branch.frontier(it.stage) && whole
        };
        let failed: Vec<_> = failed.into_iter().filter(|(id, _)| same(id)).collect();
        let wrote: Vec<_> = failed.iter().filter_map(|(id, _)| Some((*id, *runs.get(id)?))).collect();
        branch.failed.extend(failed);
        branch.runs.extend(wrote);
    }

    /// A new branch under `plan`, which becomes the current one. `held` names, for a step of the new plan, the old step
    /// whose result, a failure too, it keeps.
    pub fn fork(&mut self, plan: Arc<Plan>, basis: Arc<Basis>, cause: String, held: impl Fn(StepId) -> Option<StepId>) {
        let old = self.current();
        let id = BranchId(self.branches.len() as u32 + 1);
        let mut branch = Branch::empty(id, Some(old.id), plan.clone(), basis, cause);
        for stage in &plan.stages {
            for step in &stage.steps {
                let Some(was) = held(step.id) else { break };
                branch.runs.extend(old.runs.get(&was).map(|run| (step.id, *run)));
                let Some(outcome) = old.done.get(&was) else {
                    let failure = old.failed.get(&was).cloned();
                    branch.failed.extend(failure.map(|it| (step.id, Failure { step: step.id, ..it })));
                    break;
                };
                branch.done.insert(step.id, outcome.clone());
                if let Some(frontier) = branch.frontier.get_mut(stage.id.0 as usize) {
                    *frontier = step.id.index + 1;
                }
            }
        }
        self.branches.push(branch);
        self.current = self.branches.len() - 1;
    }

    /// The branch to record `step` in: a new one if this one has a result for it.
    fn writable(&mut self, step: StepId) -> &mut Branch {
        let current = self.current();
        if current.done.contains_key(&step) || current.failed.contains_key(&step) {
            let cause = format!("{}:{} again", current.plan.stage(step.stage).label(), step.index);
            self.fork_before(step, cause);
        }
        self.current_mut()
    }
}

impl Branch {
    fn empty(id: BranchId, parent: Option<BranchId>, plan: Arc<Plan>, basis: Arc<Basis>, cause: String) -> Branch {
        let frontier = vec![0; plan.stages.len()];
        let (done, failed, runs) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Branch { id, parent, plan, basis, cause, began: Duration::ZERO, left_at: None, done, failed, runs, frontier }
    }

    /// Steps that are done, and steps that there are, in the stages that run.
    pub fn count(&self) -> (u32, u32) {
        let stages = self.plan.order.iter();
        stages
            .fold((0, 0), |(done, all), id| (done + self.frontier(*id), all + self.plan.stage(*id).steps.len() as u32))
    }

    /// Whether a step of it has failed and was not run again on it.
    pub fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// The log that goes with a step's result.
    pub fn run(&self, step: StepId) -> Option<RunId> {
        self.runs.get(&step).copied()
    }

    /// How many steps of a stage are done, from its beginning.
    pub fn frontier(&self, stage: StageId) -> u32 {
        self.frontier.get(stage.0 as usize).copied().unwrap_or(0)
    }

    pub fn is_done(&self, step: StepId) -> bool {
        step.index < self.frontier(step.stage)
    }

    pub fn is_finished(&self, stage: StageId) -> bool {
        self.frontier(stage) as usize == self.plan.stage(stage).steps.len()
    }

    /// Whether the cursor can stand there without running anything.
    pub fn is_reached(&self, position: Position) -> bool {
        position.done <= self.frontier(position.stage)
    }

    pub fn outcome(&self, step: StepId) -> Option<&StepOutcome> {
        self.done.get(&step)
    }

    pub fn failure(&self, step: StepId) -> Option<&Failure> {
        self.failed.get(&step)
    }

    /// The file system at a place; `None` before a stage's `FROM` and where nothing has been reached.
    pub fn snapshot(&self, position: Position) -> Option<&SnapshotId> {
        position.previous().and_then(|step| self.outcome(step)).map(|outcome| &outcome.snapshot)
    }

    /// The file system a finished stage ends with.
    pub fn end_of(&self, stage: StageId) -> Option<&SnapshotId> {
        let last = self.plan.stage(stage).steps.last()?;
        self.outcome(last.id).map(|outcome| &outcome.snapshot)
    }

    /// The file system a step works on: its stage's so far, or for `FROM stage` that stage's last.
    pub fn parent(&self, step: &Step) -> Option<&SnapshotId> {
        match &step.op {
            Op::From(Base::Stage(stage)) => self.end_of(*stage),
            Op::From(Base::Scratch | Base::Image(_)) => None,
            Op::Run(_) | Op::Copy(_) | Op::Workdir { .. } | Op::Config => self.snapshot(Position::before(step.id)),
        }
    }

    /// One for each of the step's inputs: the snapshot of a stage, `None` for what the engine finds itself.
    pub fn inputs(&self, step: &Step) -> Vec<Option<SnapshotId>> {
        let snapshot = |origin: &FileOrigin| match origin {
            FileOrigin::Stage(stage) => self.end_of(*stage).cloned(),
            FileOrigin::Context { .. } | FileOrigin::Image(_) | FileOrigin::Scratch => None,
        };
        step.inputs.iter().map(snapshot).collect()
    }
}

/// Lowers `keep`, the steps of each stage that hold, to what still holds if nothing from `at` on does.
pub(super) fn cut(plan: &Plan, keep: &mut [u32], at: Position) {
    let Some(kept) = keep.get_mut(at.stage.0 as usize) else { return };
    *kept = (*kept).min(at.done);
    // Dependents come later in the order, so one pass finds the cascade.
    for stage in plan.order.iter().map(|id| plan.stage(*id)) {
        let index = stage.id.0 as usize;
        let broken = stage.steps.iter().find(|step| {
            let whole = |source: &StageId| {
                keep.get(source.0 as usize).is_some_and(|kept| *kept as usize >= plan.stage(*source).steps.len())
            };
            !step.stages().all(|source| whole(&source))
        });
        if let (Some(step), Some(kept)) = (broken.map(|it| it.id.index), keep.get_mut(index)) {
            *kept = (*kept).min(step);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::debug::tests::{DIAMOND, plan_of};
    use crate::engine::ChangeSummary;
    use std::time::Duration;

    pub(in crate::debug) fn outcome(snapshot: &str) -> StepOutcome {
        StepOutcome {
            snapshot: SnapshotId(snapshot.to_owned()),
            cached: false,
            duration: Duration::ZERO,
            changes: Some(ChangeSummary::default()),
            why: Vec::new(),
        }
    }

    fn step(stage: u32, index: u32) -> StepId {
        StepId { stage: StageId(stage), index }
    }

    fn failure(at: StepId) -> Failure {
        Failure { step: at, message: "failed".to_owned(), help: Vec::new(), exit_code: Some(1), after: None }
    }

    /// Everything is done, or fails as told; then the commands, each a step that is recorded. Gives the frontiers of
    /// every branch.
    fn check(failed: &[StepId], again: &[StepId], expected: &[[u32; 4]]) -> Timeline {
        let plan = plan_of(DIAMOND);
        let mut timeline = Timeline::new(plan.clone(), Arc::default());
        for stage in &plan.stages {
            let broken = stage.steps.iter().position(|it| failed.contains(&it.id)).unwrap_or(stage.steps.len());
            stage.steps[..broken].iter().for_each(|it| timeline.record_done(it.id, outcome("first")));
        }
        failed.iter().for_each(|it| timeline.record_failure(failure(*it)));
        again.iter().for_each(|it| timeline.record_done(*it, outcome("again")));
        let frontiers = |branch: &Branch| [0, 1, 2, 3].map(|stage| branch.frontier(StageId(stage)));
        assert_eq!(timeline.branches().iter().map(frontiers).collect::<Vec<_>>(), expected);
        timeline
    }

    #[test]
    fn what_was_reached_is_kept_on_its_branch() {
        check(&[], &[], &[[2, 3, 3, 3]]);
        let timeline = check(&[], &[step(1, 1)], &[[2, 3, 3, 3], [2, 2, 3, 1]]);
        let [old, new] = timeline.branches() else { panic!("two branches") };
        assert_eq!(old.outcome(step(1, 1)), Some(&outcome("first")));
        assert_eq!(new.outcome(step(1, 1)), Some(&outcome("again")));
        assert_eq!((new.outcome(step(1, 2)), new.outcome(step(3, 1))), (None, None));
        assert_eq!(new.cause, "left:1 again");
        check(&[], &[step(0, 1), step(1, 0)], &[[2, 3, 3, 3], [2, 1, 0, 1]]);
    }

    #[test]
    fn a_failure_is_kept_on_its_branch_and_others_go_along() {
        let timeline = check(&[step(1, 1), step(2, 2)], &[step(1, 1)], &[[2, 1, 2, 3], [2, 2, 2, 1]]);
        let [old, new] = timeline.branches() else { panic!("two branches") };
        assert!(old.failure(step(1, 1)).is_some() && new.failure(step(1, 1)).is_none());
        assert!(new.failure(step(2, 2)).is_some());
    }

    #[test]
    fn what_is_read_is_what_was_reached() {
        let timeline = check(&[], &[], &[[2, 3, 3, 3]]);
        let branch = timeline.current();
        let copy = branch.plan.step(step(3, 1));
        assert_eq!(branch.inputs(copy), [Some(SnapshotId("first".to_owned()))]);
        assert!(branch.parent(copy).is_some() && branch.parent(branch.plan.step(step(1, 0))).is_some());
        assert_eq!(branch.parent(branch.plan.step(step(0, 0))), None);
        assert!(branch.snapshot(Position { stage: StageId(0), done: 0 }).is_none());
    }
}
