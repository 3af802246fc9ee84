//! A build while it runs: which steps are started, and where it comes to stand.

use super::build::Build;
use super::desk::Desk;
use super::log::RunId;
use super::{BreakpointId, Event, Failure, Position, Side, StopReason, schedule, stepping};
use crate::dockerfile::nearest::nearest;
use crate::engine::{Job, StepError, StepErrorKind, StepOutcome};
use crate::plan::{FileOrigin, Plan, StepId};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Steps that run at once at most, whatever a Dockerfile holds.
const SIDE_BY_SIDE: usize = 16;

/// What a running build is after.
#[derive(Debug)]
pub(super) struct Goal {
    wanted: Vec<Position>,
    /// Where the command was given.
    from: Position,
    /// Where the cursor stands once all that is wanted is reached, and why.
    cursor: Position,
    reason: StopReason,
    side_by_side: bool,
    /// This step is started although it has a result, without the cache.
    pub(super) again: Option<StepId>,
    /// No further step is started; when the last one that runs has ended, it stops for this.
    ending: Option<Ending>,
    /// Steps that failed since it runs, in time.
    failed: Vec<StepId>,
    /// Steps since it runs in which a watchpoint found something.
    found: Vec<StepId>,
    cancelled: BTreeSet<StepId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Breakpoint(StepId, BreakpointId),
    Watchpoint,
    Failure,
    Pause,
    Cancel,
}

/// A step to be started.
pub(super) struct Launch {
    pub(super) job: Job,
    pub(super) run: RunId,
    pub(super) cancel: CancellationToken,
}

impl Goal {
    pub(super) fn new(
        wanted: Vec<Position>,
        from: Position,
        cursor: Position,
        reason: StopReason,
        side_by_side: bool,
    ) -> Goal {
        let (failed, found, cancelled) = (Vec::new(), Vec::new(), BTreeSet::new());
        Goal { wanted, from, cursor, reason, side_by_side, again: None, ending: None, failed, found, cancelled }
    }
}

pub(super) fn running_now(build: &Build, step: StepId) -> bool {
    build.running.contains_key(&step)
}

impl Build {
    /// Begins to run. A failure that is kept and that the cursor does not stand at is gone to instead: what
    /// has failed is run again only from there, or by a retry.
    pub(super) fn resume(&mut self, desk: &mut Desk, goal: Goal) -> Vec<Launch> {
        let at_failure = self.stop.as_ref().is_some_and(|stop| stop.side == Side::Failed);
        if !at_failure && goal.again.is_none() {
            let next = schedule::ready(self.branch(), &schedule::depths(&self.plan(), &goal.wanted));
            let kept = |step: &&StepId| self.branch().failure(**step).is_some() && !self.cancelled.contains_key(step);
            if let Some(step) = next.iter().find(kept) {
                self.stand(desk, Position::before(*step), StopReason::Failure);
                return Vec::new();
            }
        }
        if self.stop.is_some() {
            // Who goes elsewhere from there has not passed it.
            let depths = schedule::depths(&self.plan(), &goal.wanted);
            let next = self.cursor.next(&self.plan());
            self.passed.extend(next.filter(|step| step.index < depths[step.stage.0 as usize]));
        }
        self.goal = Some(goal);
        desk.say(Event::Resumed);
        self.advance(desk)
    }

    /// Lets running steps end and starts no other.
    pub(super) fn pause(&mut self, desk: &mut Desk) {
        match &mut self.goal {
            Some(goal) => goal.ending = goal.ending.or(Some(Ending::Pause)),
            None => desk.notice("nothing is running"),
        }
    }

    /// Kills what runs.
    pub(super) fn cancel(&mut self, desk: &mut Desk) {
        match &mut self.goal {
            Some(goal) => goal.ending = Some(Ending::Cancel),
            None => desk.notice("nothing is running"),
        }
        self.running.values().for_each(|(token, _)| token.cancel());
    }

    /// Records what a step came to, and starts what can follow.
    pub(super) fn ended(
        &mut self,
        desk: &mut Desk,
        step: StepId,
        result: Result<StepOutcome, StepError>,
    ) -> Vec<Launch> {
        let Some((cancel, run)) = self.running.remove(&step) else { return Vec::new() };
        self.passed.remove(&step);
        let branches = self.timeline.branches().len();
        self.timeline.leave(self.cursor);
        match result {
            Ok(outcome) => {
                self.timeline.record_done(step, outcome);
                self.timeline.wrote(step, run);
                if let Some(goal) = self.goal.as_mut().filter(|_| desk.hit(self.timeline.current(), step).is_some()) {
                    goal.found.push(step);
                    goal.ending = goal.ending.or(Some(Ending::Watchpoint));
                }
            }
            // A command that is being killed can end in many ways; all of them are the cancellation.
            Err(error) if cancel.is_cancelled() || error.kind == StepErrorKind::Cancelled => {
                self.cancelled.insert(step, run);
                if let Some(goal) = &mut self.goal {
                    goal.cancelled.insert(step);
                    goal.ending = Some(Ending::Cancel);
                }
            }
            Err(error) => {
                let plan = &self.timeline.current().plan;
                let failure = failure(step, error, plan);
                self.timeline.record_failure(failure);
                self.timeline.wrote(step, run);
                if let Some(goal) = &mut self.goal {
                    goal.failed.push(step);
                    if desk.break_on_failure && goal.ending != Some(Ending::Cancel) {
                        goal.ending = Some(Ending::Failure);
                    }
                }
            }
        }
        self.show(desk, step);
        if self.timeline.branches().len() > branches {
            self.branched(desk);
        }
        self.advance(desk)
    }

    /// Starts every step that may run now. When none runs and none may, the build stops.
    fn advance(&mut self, desk: &mut Desk) -> Vec<Launch> {
        let Some(goal) = &mut self.goal else { return Vec::new() };
        let mut launches = Vec::new();
        if goal.ending.is_none() {
            if let Some(step) = goal.again.take() {
                launches.push(self.launch(step, true));
            } else {
                let limit = if goal.side_by_side { SIDE_BY_SIDE } else { 1 };
                launches = self.launch_ready(desk, limit);
            }
        }
        for launch in &launches {
            self.show(desk, launch.job.step.id);
        }
        if self.running.is_empty() {
            self.settle(desk);
        }
        launches
    }

    fn launch_ready(&mut self, desk: &Desk, limit: usize) -> Vec<Launch> {
        let mut launches = Vec::new();
        let Some(goal) = &mut self.goal else { return launches };
        let branch = self.timeline.current();
        let ready = schedule::ready(branch, &schedule::depths(&branch.plan, &goal.wanted));
        let fresh: Vec<StepId> =
            ready.into_iter().filter(|step| !self.running.contains_key(step) && !goal.failed.contains(step)).collect();
        for step in fresh {
            if self.running.len() >= limit {
                break;
            }
            let stops = Some(step).filter(|step| !self.passed.contains(step)).and_then(|it| desk.breakpoints.at(it));
            if let Some(id) = stops {
                if let Some(goal) = &mut self.goal {
                    goal.ending = Some(Ending::Breakpoint(step, id));
                }
                break;
            }
            launches.push(self.launch(step, false));
        }
        launches
    }

    fn launch(&mut self, id: StepId, no_cache: bool) -> Launch {
        let cancel = CancellationToken::new();
        self.started += 1;
        let run = RunId(self.started);
        self.running.insert(id, (cancel.clone(), run));
        self.cancelled.remove(&id);
        let branch = self.timeline.current();
        let step = Arc::new(branch.plan.step(id).clone());
        let no_cache = no_cache || branch.plan.stage(id.stage).no_cache;
        let (parent, inputs) = (branch.parent(&step).cloned(), branch.inputs(&step));
        let job = Job { plan: branch.plan.clone(), step, parent, inputs, no_cache };
        Launch { job, run, cancel }
    }

    /// Ends the run: nothing runs, and nothing may be started.
    fn settle(&mut self, desk: &mut Desk) {
        let Some(goal) = self.goal.take() else { return };
        let branch = self.timeline.current();
        let depths = schedule::depths(&branch.plan, &goal.wanted);
        let first_cancelled =
            branch.plan.order.iter().find_map(|stage| goal.cancelled.iter().find(|step| step.stage == *stage).copied());
        let next = first_cancelled.or_else(|| schedule::ready(branch, &depths).first().copied());
        let reached = goal.wanted.iter().all(|position| branch.is_reached(*position));
        let before_next = next.map(Position::before);
        let (at, reason) = match (goal.failed.first(), goal.ending, self.first_found(desk, &goal.found)) {
            (Some(step), _, found) => {
                self.tell_of(desk, found);
                (Position::before(*step), StopReason::Failure)
            }
            (None, Some(Ending::Cancel), found) => {
                self.tell_of(desk, found);
                (before_next.unwrap_or(goal.cursor), StopReason::Cancelled)
            }
            // Before a pause and a breakpoint: the one is had by it, and the other comes again.
            (None, _, Some(found)) => found,
            (None, _, None) if reached => (goal.cursor, goal.reason),
            (None, Some(Ending::Breakpoint(step, id)), None) => (Position::before(step), StopReason::Breakpoint(id)),
            (None, _, None) => (before_next.unwrap_or(goal.from), StopReason::Pause),
        };
        self.cursor = goal.from;
        self.arrive(desk, at, reason, false);
    }

    /// Says what watchpoints found where the build does not stop for it.
    fn tell_of(&self, desk: &mut Desk, found: Option<(Position, StopReason)>) {
        let found = found.and_then(|(at, reason)| Some((at.previous()?, reason)));
        if let Some((step, StopReason::Watchpoint(id, _))) = found {
            let label = self.branch().plan.stage(step.stage).label();
            desk.notice(format!("watchpoint #{} has found something too: after {label}:{}", id.0, step.index));
        }
    }

    /// The first place, in plain order, after a step in which a watchpoint found something: from there going on comes to
    /// the others. `None` where each was removed meanwhile.
    fn first_found(&self, desk: &Desk, steps: &[StepId]) -> Option<(Position, StopReason)> {
        let branch = self.branch();
        let found = steps.iter().filter_map(|step| Some((*step, desk.hit(branch, *step)?)));
        let (step, (id, hit)) = found.min_by_key(|(step, _)| (stepping::rank(&branch.plan, step.stage), step.index))?;
        Some((Position::after(step), StopReason::Watchpoint(id, hit.clone())))
    }
}

fn failure(step: StepId, mut error: StepError, plan: &Plan) -> Failure {
    let exit_code = match error.kind {
        StepErrorKind::Exit(code) => Some(code),
        _ => None,
    };
    if exit_code.is_none() {
        error.help.extend(meant_stage(step, &error.message, plan));
    }
    Failure { step, message: error.message, help: error.help, exit_code, after: error.after }
}

/// A name that is no stage's is an image's. If that cannot be had, it may be a stage's name with a typing error.
fn meant_stage(step: StepId, message: &str, plan: &Plan) -> Option<String> {
    let names = || plan.stages.iter().filter_map(|stage| stage.name.as_deref());
    let near = plan.step(step).inputs.iter().find_map(|input| match input {
        FileOrigin::Image(image) if message.contains(image.as_str()) => nearest(image, names()),
        _ => None,
    });
    near.map(|stage| format!("did you mean the stage {stage}?"))
}
