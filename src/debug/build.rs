//! One build being debugged: where the cursor stands, what is reached, what a command makes of it.
//!
//! Never waits: a command or a step's end goes in; events go to the desk, steps to be started come out.

use super::desk::Desk;
use super::log::RunId;
use super::running::{Goal, Launch, running_now};
use super::stepping::{self, Action, Call, Target, View};
use super::timeline::{Basis, Branch, BranchId, Timeline};
use super::watch::{self, Unseen};
use super::{Event, Position, Side, StepStatus, Stop, StopReason, breakpoint, carry};
use crate::engine::ChangeSummary;
use crate::plan::{FileOrigin, Plan, StepId};
use crate::snapshot::SnapshotId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A plan that was made, and what it was made from.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub(super) plan: Arc<Plan>,
    pub(super) basis: Arc<Basis>,
}

pub(super) struct Build {
    pub(super) timeline: Timeline,
    pub(super) cursor: Position,
    /// Stages that were stepped into, the outermost first.
    pub(super) calls: Vec<Call>,
    /// The last stop. `None` before the first.
    pub(super) stop: Option<Stop>,
    /// How often it has stopped.
    pub(super) stops: u64,
    /// What a running build is after; `None` while it stands.
    pub(super) goal: Option<Goal>,
    pub(super) running: BTreeMap<StepId, (CancellationToken, RunId)>,
    /// Steps that were cancelled and have not been started again, with what they wrote.
    pub(super) cancelled: BTreeMap<StepId, RunId>,
    /// How many steps were started.
    pub(super) started: u64,
    /// Steps whose breakpoint has stopped the build already, and that have not run since.
    pub(super) passed: BTreeSet<StepId>,
    /// What the front end was told last of each step.
    shown: BTreeMap<StepId, StepStatus>,
    /// Whether `Finished` was said of this branch.
    finished: bool,
}

impl Build {
    /// A build that has not begun: says what is planned, and neither runs nor stops.
    pub(super) fn new(desk: &mut Desk, prepared: Prepared) -> Build {
        let mut build = Build {
            cursor: stepping::start(&prepared.plan),
            timeline: Timeline::new(prepared.plan.clone(), prepared.basis),
            calls: Vec::new(),
            stop: None,
            stops: 0,
            goal: None,
            running: BTreeMap::new(),
            cancelled: BTreeMap::new(),
            started: 0,
            passed: BTreeSet::new(),
            shown: BTreeMap::new(),
            finished: false,
        };
        desk.breakpoints.rebind(None, &prepared.plan);
        build.announce(desk);
        build
    }

    /// Stops before the first instruction, or runs.
    pub(super) fn begin(&mut self, desk: &mut Desk, paused: bool) -> Vec<Launch> {
        match paused {
            true => {
                self.stand(desk, self.cursor, StopReason::Start);
                Vec::new()
            }
            false => self.act(desk, Action::Continue),
        }
    }

    /// Goes on under a new plan, on a branch that keeps what holds. `files_changed` leaves out what reads a
    /// context: only the engine can tell whether it still holds, and does so from its cache.
    pub(super) fn replan(&mut self, desk: &mut Desk, prepared: Prepared, cause: String, files_changed: bool) {
        let old = self.plan();
        let new = prepared.plan;
        let mut held = carry::compare(&old, &new);
        if files_changed {
            held.recheck(&new, |step| step.inputs.iter().any(|it| matches!(it, FileOrigin::Context { .. })));
        }
        self.timeline.leave(self.cursor);
        self.timeline.fork(new.clone(), prepared.basis, cause, |step| held.old(step));
        self.timeline.begun(desk.elapsed());
        self.changed_places(desk, &old);
        let stage = breakpoint::matching_stage(&old, self.cursor.stage, &new).filter(|it| new.order.contains(it));
        let cursor = match stage {
            Some(stage) => Position { stage, done: self.cursor.done.min(self.branch().frontier(stage)) },
            None => stepping::start(&new),
        };
        self.cursor = cursor;
        self.stand(desk, cursor, StopReason::Reached);
    }

    /// Goes to another branch, where it was left. Runs nothing.
    pub(super) fn go_to_branch(&mut self, desk: &mut Desk, id: BranchId) {
        if self.is_running() {
            return desk.notice("the build is running: pause it first");
        }
        let old = self.plan();
        if self.branch().id == id {
            return self.stay(desk, &format!("the build is on branch {} already", id.0));
        }
        let Some(at) = self.timeline.go_to(id, self.cursor) else {
            let last = self.timeline.branches().len();
            let there = if last == 1 { "there is no other yet".to_owned() } else { format!("there are 1 to {last}") };
            return self.stay(desk, &format!("there is no branch {}: {there}", id.0));
        };
        self.changed_places(desk, &old);
        let target = self.plan().target;
        let at_the_end = self.is_complete() && at.stage == target && at.next(&self.plan()).is_none();
        self.cursor = at;
        self.stand(desk, at, if at_the_end { StopReason::End } else { StopReason::Reached });
    }

    /// Another branch is the current one: forgets what spoke of the one before, and says what there is on this one.
    fn changed_places(&mut self, desk: &mut Desk, old: &Plan) {
        self.calls.clear();
        self.passed.clear();
        self.cancelled.clear();
        self.shown.clear();
        self.finished = false;
        desk.breakpoints.rebind(Some(old), &self.plan());
        self.announce(desk);
    }

    /// What a step wrote when it ran last here.
    pub(super) fn run(&self, step: StepId) -> Option<RunId> {
        let now = self.running.get(&step).map(|(_, run)| *run);
        now.or_else(|| self.cancelled.get(&step).copied()).or_else(|| self.branch().run(step))
    }

    pub(super) fn act(&mut self, desk: &mut Desk, action: Action) -> Vec<Launch> {
        if self.is_running() {
            desk.notice("the build is running: pause it first");
            return Vec::new();
        }
        let at = |step| desk.breakpoints.at(step);
        let branch = self.timeline.current();
        let found = |step| desk.hit(branch, step).map(|(id, hit)| (id, hit.clone()));
        let view = View { branch, cursor: self.cursor, calls: &self.calls, breakpoint: &at, watchpoint: &found };
        match stepping::target(&view, action) {
            Target::Stay(why) => {
                self.stay(desk, why);
                Vec::new()
            }
            Target::Move { to, call, reason } => {
                self.calls.extend(call);
                self.passed.clear();
                self.stand(desk, to, reason);
                Vec::new()
            }
            Target::Run { wanted, cursor, reason } => {
                let side_by_side = matches!(action, Action::Continue | Action::RunTo(_));
                let goal = Goal::new(wanted, self.cursor, cursor, reason, side_by_side);
                self.resume(desk, goal)
            }
        }
    }

    /// Runs the instruction at a failure, or else the one just before the cursor, without the cache.
    pub(super) fn retry(&mut self, desk: &mut Desk) -> Vec<Launch> {
        if self.is_running() {
            desk.notice("the build is running: pause it first");
            return Vec::new();
        }
        let plan = self.plan();
        let broken = |step: &StepId| self.branch().failure(*step).is_some() || self.cancelled.contains_key(step);
        let Some(step) = self.cursor.next(&plan).filter(broken).or_else(|| self.cursor.previous()) else {
            self.stay(desk, "nothing has been run here yet");
            return Vec::new();
        };
        let after = Position::after(step);
        let mut goal = Goal::new(vec![after], Position::before(step), after, StopReason::Step, false);
        goal.again = Some(step);
        self.resume(desk, goal)
    }

    /// Says why nothing happened, and the stop once more: every command that a build stands for is answered by one.
    pub(super) fn stay(&self, desk: &mut Desk, why: &str) {
        desk.notice(why);
        if let Some(stop) = &self.stop {
            desk.say(Event::Stopped(stop.clone()));
        }
    }

    /// The steps that are done and that watchpoints have to be looked for in.
    pub(super) fn unseen(&self, desk: &Desk) -> Unseen {
        let watches: Vec<_> = desk.breakpoints.watches().collect();
        if watches.is_empty() {
            return Unseen::new();
        }
        let branch = self.branch();
        let done = branch.plan.steps().filter_map(|step| watch::pair(branch, step.id));
        desk.watched.unseen(done, &watches)
    }

    /// The same for one that has just ended, with what breaks it off. `None` where there is nothing to look for, or the
    /// step was to be killed: nothing waits for it then.
    pub(super) fn unseen_in(
        &self,
        desk: &Desk,
        step: StepId,
        after: &SnapshotId,
    ) -> Option<(Unseen, CancellationToken)> {
        let (cancel, _) = self.running.get(&step).filter(|(cancel, _)| !cancel.is_cancelled())?;
        let watches: Vec<_> = desk.breakpoints.watches().collect();
        let unseen = desk.watched.unseen(watch::between(self.branch(), step, after), &watches);
        (!unseen.is_empty()).then(|| (unseen, cancel.clone()))
    }

    pub(super) fn is_running(&self) -> bool {
        self.goal.is_some()
    }

    pub(super) fn branch(&self) -> &Branch {
        self.timeline.current()
    }

    pub(super) fn plan(&self) -> Arc<Plan> {
        self.branch().plan.clone()
    }

    /// Whether every stage that runs is done.
    pub(super) fn is_complete(&self) -> bool {
        let branch = self.branch();
        branch.plan.order.iter().all(|stage| branch.is_finished(*stage))
    }

    /// Moves the cursor and says so.
    pub(super) fn stand(&mut self, desk: &mut Desk, at: Position, reason: StopReason) {
        let in_the_past = stepping::in_the_past(self.branch(), at);
        self.arrive(desk, at, reason, in_the_past);
    }

    /// Puts the cursor there and says so. Where a run comes to stand is the present, whatever the stages that ran
    /// beside it have reached.
    pub(super) fn arrive(&mut self, desk: &mut Desk, at: Position, reason: StopReason, in_the_past: bool) {
        let from = std::mem::replace(&mut self.cursor, at);
        while self.calls.last().is_some_and(|call| call.callee != at.stage) {
            self.calls.pop();
        }
        if let StopReason::Breakpoint(id) | StopReason::Watchpoint(id, _) = &reason {
            desk.breakpoints.hit(*id);
            desk.list_breakpoints();
        }
        if self.is_complete() && !self.finished {
            self.finished = true;
            let branch = self.timeline.current();
            if let Some(snapshot) = branch.end_of(branch.plan.target).cloned() {
                desk.say(Event::Finished { snapshot, at: desk.elapsed() });
            }
        }
        let Some(stop) = self.describe(from, at, reason).map(|stop| Stop { in_the_past, ..stop }) else { return };
        self.stop = Some(stop.clone());
        self.stops += 1;
        desk.say(Event::Stopped(stop));
    }

    /// The stop at a place that was come to from another one. `None` only where a plan has no steps at all.
    fn describe(&self, from: Position, at: Position, reason: StopReason) -> Option<Stop> {
        let branch = self.branch();
        let plan = &branch.plan;
        let next_to = reason == StopReason::Step && from.stage == at.stage && from.done + 1 == at.done;
        let stepped_past = next_to || matches!(reason, StopReason::Watchpoint(..));
        let failure = at.next(plan).filter(|_| !stepped_past).and_then(|step| branch.failure(step)).cloned();
        let failure = failure.filter(|_| reason != StopReason::Cancelled);
        let (side, step) = match (at.next(plan), at.previous()) {
            (Some(next), _) if failure.is_some() => (Side::Failed, next),
            (_, Some(previous)) if stepped_past => (Side::After, previous),
            (Some(next), _) => (Side::Before, next),
            (None, Some(previous)) => (Side::After, previous),
            (None, None) => return None,
        };
        Some(Stop {
            position: at,
            side,
            step,
            line: plan.step(step).lines.start,
            reason,
            snapshot: branch.snapshot(at).cloned(),
            in_the_past: false,
            failure,
        })
    }

    /// Says the plan, every step's status, and where the breakpoints are now.
    fn announce(&mut self, desk: &mut Desk) {
        desk.say(Event::Planned { plan: self.plan() });
        self.show_all(desk);
        desk.list_breakpoints();
        self.list_branches(desk);
    }

    /// Says which branches there are, once there are several.
    fn list_branches(&self, desk: &mut Desk) {
        let list = self.timeline.branches();
        if list.len() > 1 {
            desk.say(Event::Branches { list: list.to_vec(), current: self.branch().id });
        }
    }

    pub(super) fn show_all(&mut self, desk: &mut Desk) {
        let plan = self.plan();
        for step in plan.stages.iter().flat_map(|stage| &stage.steps) {
            self.show(desk, step.id);
        }
    }

    /// Says a step's status if it is not what was said last.
    pub(super) fn show(&mut self, desk: &mut Desk, step: StepId) {
        let status = self.status(step);
        if self.shown.get(&step) != Some(&status) {
            self.shown.insert(step, status.clone());
            desk.step(step, status);
        }
    }

    /// Takes in what the steps that made a snapshot changed, and says it of those that are to be seen.
    pub(super) fn counted(&mut self, desk: &mut Desk, snapshot: &SnapshotId, changes: Option<ChangeSummary>) {
        self.timeline.record_changes(snapshot, changes);
        for (step, status) in &mut self.shown {
            match status {
                StepStatus::Done(outcome) if outcome.snapshot == *snapshot && outcome.changes.is_none() => {
                    outcome.changes = changes;
                    desk.say(Event::Counted { step: *step, changes });
                }
                _ => {}
            }
        }
    }

    fn status(&self, step: StepId) -> StepStatus {
        let branch = self.branch();
        if running_now(self, step) {
            return StepStatus::Running;
        }
        if let Some(outcome) = branch.outcome(step) {
            return StepStatus::Done(outcome.clone());
        }
        if self.cancelled.contains_key(&step) {
            return StepStatus::Cancelled;
        }
        if let Some(failure) = branch.failure(step) {
            return StepStatus::Failed(failure.clone());
        }
        match branch.plan.order.contains(&step.stage) {
            true => StepStatus::Waiting,
            false => StepStatus::Skipped,
        }
    }

    /// To be called when a branch was added: its steps stand differently, and it is not finished yet.
    pub(super) fn branched(&mut self, desk: &mut Desk) {
        self.finished = false;
        self.timeline.begun(desk.elapsed());
        let Branch { id, cause, .. } = self.branch();
        desk.notice(format!("branch {}: {cause}; what the one before reached is kept", id.0));
        self.show_all(desk);
        self.list_branches(desk);
    }
}
