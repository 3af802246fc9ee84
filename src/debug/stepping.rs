//! Where a stepping command leads. Pure: a plan, what has been reached, the cursor, the command.
//!
//! Plain order is the Dockerfile's, with a stage's needs first. A `COPY --from`, a `RUN --mount=from` or a
//! `FROM stage` is a call of the stage it reads: *in* enters that stage at its start, and *out* comes back
//! to the instruction that uses it.

use super::timeline::Branch;
use super::watch::Hit;
use super::{BreakpointId, Position, StopReason, schedule};
use crate::plan::{FileOrigin, Plan, StageId, StepId};

/// What the user did, breakpoints and failures aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Over,
    In,
    Out,
    Continue,
    BackOver,
    BackIn,
    BackOut,
    BackContinue,
    RunTo(Position),
    Goto(Position),
    Restart,
}

/// A stage that was entered from an instruction, and the place before that instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    pub callee: StageId,
    pub back: Position,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The cursor moves; nothing runs. `call` is a stage being entered.
    Move { to: Position, call: Option<Call>, reason: StopReason },
    /// These places must be reached; then the cursor stands at `cursor`.
    Run { wanted: Vec<Position>, cursor: Position, reason: StopReason },
    /// It stays where it is, for this reason.
    Stay(&'static str),
}

/// What stepping looks at.
pub struct View<'a> {
    pub branch: &'a Branch,
    pub cursor: Position,
    pub calls: &'a [Call],
    /// The enabled breakpoint before a step.
    pub breakpoint: &'a dyn Fn(StepId) -> Option<BreakpointId>,
    /// The enabled watchpoint that found something in a step that is done.
    pub watchpoint: &'a dyn Fn(StepId) -> Option<(BreakpointId, Hit)>,
}

pub fn target(view: &View, action: Action) -> Target {
    match action {
        Action::Over => view.over(),
        Action::In => view.enter(),
        Action::Out => view.out(),
        Action::Continue => view.go_on(),
        Action::BackOver => view.back_over(),
        Action::BackIn => view.back_in(),
        Action::BackOut => view.back_out(),
        Action::BackContinue => view.back_continue(),
        Action::RunTo(to) => view.run_to(to, true),
        Action::Goto(to) => view.run_to(to, false),
        Action::Restart => moved(start(view.plan()), StopReason::Reached),
    }
}

/// Before the first instruction in plain order.
pub fn start(plan: &Plan) -> Position {
    Position { stage: plan.order.first().copied().unwrap_or(plan.target), done: 0 }
}

/// A stage's place in plain order; the stages that do not run come last.
pub fn rank(plan: &Plan, stage: StageId) -> usize {
    plan.order.iter().position(|it| *it == stage).unwrap_or(plan.order.len())
}

/// Whether anything after the cursor has been reached already.
pub fn in_the_past(branch: &Branch, cursor: Position) -> bool {
    match cursor.next(&branch.plan) {
        Some(step) => branch.is_done(step),
        None => {
            let own = rank(&branch.plan, cursor.stage);
            branch.plan.order.iter().skip(own + 1).any(|stage| branch.frontier(*stage) > 0)
        }
    }
}

impl View<'_> {
    fn plan(&self) -> &Plan {
        &self.branch.plan
    }

    /// The call that entered the cursor's stage.
    fn call(&self) -> Option<Call> {
        self.calls.last().copied().filter(|call| call.callee == self.cursor.stage)
    }

    fn over(&self) -> Target {
        if let Some(step) = self.cursor.next(self.plan()) {
            let after = Position::after(step);
            return self.ahead(&[after]).unwrap_or_else(|| self.reach(vec![after], after, StopReason::Step));
        }
        if let Some(call) = self.call() {
            return self.reach(vec![call.back], call.back, StopReason::Step);
        }
        match self.plan().order.get(rank(self.plan(), self.cursor.stage) + 1) {
            Some(stage) => moved(Position { stage: *stage, done: 0 }, StopReason::Step),
            None => Target::Stay("this is the end of the build"),
        }
    }

    fn enter(&self) -> Target {
        match self.cursor.next(self.plan()).and_then(|step| self.source(step)) {
            Some(stage) => Target::Move {
                to: Position { stage, done: 0 },
                call: Some(Call { callee: stage, back: self.cursor }),
                reason: StopReason::Step,
            },
            None => self.over(),
        }
    }

    fn out(&self) -> Target {
        let end = self.end(self.cursor.stage);
        if let Some(call) = self.call() {
            // What comes before the call was done when the stage was entered.
            let stop = self.ahead(&[end]);
            return stop.unwrap_or_else(|| self.reach(vec![end, call.back], call.back, StopReason::Step));
        }
        match self.consumer() {
            Some(back) => {
                self.ahead(&[end, back]).unwrap_or_else(|| self.reach(vec![end, back], back, StopReason::Step))
            }
            None if self.cursor == end => Target::Stay("nothing uses this stage, and this is its end"),
            None => self.ahead(&[end]).unwrap_or_else(|| self.reach(vec![end], end, StopReason::Step)),
        }
    }

    fn go_on(&self) -> Target {
        let ends: Vec<Position> = self.plan().order.iter().map(|stage| self.end(*stage)).collect();
        if let Some(stop) = self.ahead(&ends) {
            return stop;
        }
        let last = self.end(self.plan().target);
        if self.cursor == last && self.plan().order.iter().all(|stage| self.branch.is_finished(*stage)) {
            return Target::Stay("this is the end of the build");
        }
        self.reach(ends, last, StopReason::End)
    }

    fn back_over(&self) -> Target {
        if let Some(step) = self.cursor.previous() {
            return moved(Position::before(step), StopReason::Step);
        }
        if let Some(call) = self.call() {
            return moved(call.back, StopReason::Step);
        }
        let own = rank(self.plan(), self.cursor.stage);
        match own.checked_sub(1).and_then(|at| self.plan().order.get(at)) {
            Some(stage) => moved(self.furthest(*stage), StopReason::Step),
            None => Target::Stay("this is the start of the build"),
        }
    }

    fn back_in(&self) -> Target {
        let source = self.cursor.previous().and_then(|step| Some((step, self.source(step)?)));
        match source {
            Some((step, stage)) => Target::Move {
                to: self.furthest(stage),
                call: Some(Call { callee: stage, back: Position::before(step) }),
                reason: StopReason::Step,
            },
            None => self.back_over(),
        }
    }

    fn back_out(&self) -> Target {
        match self.call() {
            Some(call) => moved(call.back, StopReason::Step),
            None if self.cursor.done > 0 => {
                let start = Position { done: 0, ..self.cursor };
                self.behind(Some(start)).unwrap_or_else(|| moved(start, StopReason::Step))
            }
            None => self.back_over(),
        }
    }

    fn back_continue(&self) -> Target {
        match self.behind(None) {
            Some(stop) => stop,
            None if self.cursor == start(self.plan()) => Target::Stay("this is the start of the build"),
            None => moved(start(self.plan()), StopReason::Start),
        }
    }

    fn run_to(&self, to: Position, may_run: bool) -> Target {
        let plan = self.plan();
        if !plan.order.contains(&to.stage) {
            return Target::Stay("that stage is not part of this build");
        }
        if to.done as usize > plan.stage(to.stage).steps.len() {
            return Target::Stay("there is no such instruction");
        }
        let is_reached = self.branch.is_reached(to);
        if !may_run {
            return match is_reached {
                true => moved(to, StopReason::Reached),
                false => Target::Stay("that place has not been reached yet: run to it"),
            };
        }
        let stop = match is_reached && self.order(to) < self.here() {
            true => self.behind(Some(to)),
            false => self.ahead(&[to]),
        };
        stop.unwrap_or_else(|| self.reach(vec![to], to, StopReason::Reached))
    }

    /// Where a build that ran from the cursor to these places would have stopped first, of what is done already.
    fn ahead(&self, wanted: &[Position]) -> Option<Target> {
        let depths = schedule::depths(self.plan(), wanted);
        let depth = |step: &StepId| depths.get(step.stage.0 as usize).copied().unwrap_or(0);
        let done = self.plan().steps().map(|step| step.id).filter(|step| self.branch.is_done(*step));
        done.filter(|step| step.index < depth(step)).find_map(|step| {
            let here = self.order(Position::before(step)).cmp(&self.here());
            let before = || self.breakpoint_before(step).filter(|_| here.is_gt());
            before().or_else(|| self.watchpoint_after(step).filter(|_| here.is_ge()))
        })
    }

    /// The same on the way back: to a place, or to the start.
    fn behind(&self, to: Option<Position>) -> Option<Target> {
        let to = to.map(|to| self.order(to));
        let on_the_way = |at: Position| self.order(at) < self.here() && to.is_none_or(|to| self.order(at) > to);
        let steps: Vec<StepId> = self.plan().steps().map(|step| step.id).collect();
        steps.into_iter().rev().filter(|step| self.branch.is_reached(Position::before(*step))).find_map(|step| {
            let after = || self.watchpoint_after(step).filter(|_| on_the_way(Position::after(step)));
            after().or_else(|| self.breakpoint_before(step).filter(|_| on_the_way(Position::before(step))))
        })
    }

    /// Runs what is missing, or only moves if nothing is.
    fn reach(&self, wanted: Vec<Position>, cursor: Position, reason: StopReason) -> Target {
        match wanted.iter().all(|position| self.branch.is_reached(*position)) {
            true => moved(cursor, reason),
            false => Target::Run { wanted, cursor, reason },
        }
    }

    fn breakpoint_before(&self, step: StepId) -> Option<Target> {
        let id = (self.breakpoint)(step)?;
        Some(moved(Position::before(step), StopReason::Breakpoint(id)))
    }

    fn watchpoint_after(&self, step: StepId) -> Option<Target> {
        let (id, hit) = (self.watchpoint)(step)?;
        Some(moved(Position::after(step), StopReason::Watchpoint(id, hit)))
    }

    /// Of several stages that an instruction reads, the first that is not done; the first, if all are.
    fn source(&self, step: StepId) -> Option<StageId> {
        let step = self.plan().step(step);
        step.stages().find(|stage| !self.branch.is_finished(*stage)).or_else(|| step.stages().next())
    }

    /// Before the first instruction, in plain order, that reads the cursor's stage.
    fn consumer(&self) -> Option<Position> {
        let reads = |origin: &FileOrigin| *origin == FileOrigin::Stage(self.cursor.stage);
        let stages = self.plan().order.iter().map(|id| self.plan().stage(*id));
        let edge = stages.flat_map(|stage| &stage.needs).find(|edge| reads(&edge.origin))?;
        Some(Position::before(edge.step))
    }

    fn end(&self, stage: StageId) -> Position {
        Position { stage, done: self.plan().stage(stage).steps.len() as u32 }
    }

    fn furthest(&self, stage: StageId) -> Position {
        Position { stage, done: self.branch.frontier(stage) }
    }

    fn order(&self, position: Position) -> (usize, u32) {
        (rank(self.plan(), position.stage), position.done)
    }

    fn here(&self) -> (usize, u32) {
        self.order(self.cursor)
    }
}

fn moved(to: Position, reason: StopReason) -> Target {
    Target::Move { to, call: None, reason }
}
