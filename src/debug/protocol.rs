//! What front ends say to the session, and what they hear.

use super::session::ShellPlace;
use super::timeline::{Branch, BranchId};
use super::watch::{Hit, Watch};
use crate::engine::{Capabilities, ChangeSummary, StepOutcome};
use crate::plan::{Plan, StageId, StepId};
use crate::snapshot::SnapshotId;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// A place between two instructions of a stage: `done` of its steps lie before it. `done == 0` is before the
/// stage's `FROM`; `done == steps.len()` is the stage's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Position {
    pub stage: StageId,
    pub done: u32,
}

impl Position {
    pub fn before(step: StepId) -> Position {
        Position { stage: step.stage, done: step.index }
    }

    pub fn after(step: StepId) -> Position {
        Position { stage: step.stage, done: step.index + 1 }
    }

    /// The step that runs next from here, if the stage has one.
    pub fn next(self, plan: &Plan) -> Option<StepId> {
        let step = StepId { stage: self.stage, index: self.done };
        ((self.done as usize) < plan.stage(self.stage).steps.len()).then_some(step)
    }

    /// The step that lies just before.
    pub fn previous(self) -> Option<StepId> {
        self.done.checked_sub(1).map(|index| StepId { stage: self.stage, index })
    }
}

/// A command that moves or runs is answered by one `Stopped`; one that leads nowhere, by a `Notice` and the same
/// stop once more. While the build runs it is refused with a `Notice`, so that a key pressed too often does
/// nothing later. `Restart`, `SetBuildArg` and `Reload` kill what runs first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// One instruction, and past it; over the end of a stage into the next.
    StepOver,
    /// Into the source stage of a `COPY --from`, a `RUN --mount=from` or a `FROM stage`; else as `StepOver`.
    StepIn,
    /// To the end of the stage, and back to the instruction that uses it.
    StepOut,
    /// To the next breakpoint or failure, or to the end, stages side by side. From the past it goes through what
    /// is kept: also to a failure that is kept, which runs again only from there.
    Continue,
    BackOver,
    BackIn,
    BackOut,
    BackContinue,
    /// Runs until the position is reached (run to cursor).
    RunTo(Position),
    /// Moves the cursor to a place that has been reached already; runs nothing.
    Goto(Position),
    /// Goes to another branch, where it was left; runs nothing. What is run from there is recorded on it, or on a new
    /// one where it has a result already.
    Branch(BranchId),
    /// To the start; kept snapshots stay.
    Restart,
    /// Stop before the next instruction; what runs may end.
    Pause,
    /// Kill the steps that run and stop before the first of them; or give up the plan that is being made.
    Cancel,
    SetBreakpoint(Location),
    /// A watchpoint: stops after an instruction that changes what is watched. Numbered among the breakpoints, and
    /// enabled and removed as they are. `Continue` and `BackContinue` wait until it has been looked for in what is done
    /// already; until then no other move is taken.
    Watch(Watch),
    RemoveBreakpoint(BreakpointId),
    EnableBreakpoint(BreakpointId, bool),
    BreakOnFailure(bool),
    /// `--build-arg` from here on: makes a new plan from the same file, and a branch that keeps every step that
    /// still holds; `None` takes it back.
    SetBuildArg(String, Option<String>),
    /// Run the failed or cancelled step at the cursor, or else the one just before it, again without the cache:
    /// on a branch, if it had a result.
    Retry,
    /// The files changed: make the plan anew and keep every step that still holds. Steps that read a context are
    /// looked at again, and come from the cache if they are the same.
    Reload,
    /// End the session: running steps are killed, and their ends waited for. Said twice, not even that.
    Quit,
}

/// Where a breakpoint is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Location {
    Line(u32),
    /// `stage:instruction`: a stage's name or index, and the instruction's position, `FROM` being 0.
    Instruction {
        stage: String,
        index: u32,
    },
}

/// What a breakpoint waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Trigger {
    /// That an instruction is about to run.
    Before(Location),
    /// That an instruction has changed something: a watchpoint.
    Change(Watch),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct BreakpointId(pub u32);

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Breakpoint {
    pub id: BreakpointId,
    pub wanted: Trigger,
    pub enabled: bool,
    pub state: BreakpointState,
    /// How often it stopped the build.
    pub hits: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum BreakpointState {
    /// Stops before this step. `note` says so when the line had nothing to run and the next one was taken.
    Bound { step: StepId, note: Option<String> },
    /// A watchpoint looks at every instruction.
    Watching,
    /// There is no plan yet.
    Pending,
    /// No instruction is there, and why.
    Unbound { reason: String },
}

/// On which side of an instruction the build stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Side {
    Before,
    After,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stop {
    pub position: Position,
    pub side: Side,
    /// The instruction that `side` speaks of.
    pub step: StepId,
    /// The line it begins on.
    pub line: u32,
    pub reason: StopReason,
    /// The file system here: after `position.previous()`. `None` before a stage's `FROM`.
    pub snapshot: Option<SnapshotId>,
    /// Steps reached later than this are kept: the cursor stands in the past.
    pub in_the_past: bool,
    pub failure: Option<Failure>,
}

impl Stop {
    /// Where a shell finds what is seen at this stop.
    pub fn shell(&self) -> ShellPlace {
        let side = match (self.side, &self.failure) {
            (Side::Failed, Some(failure)) if failure.after.is_some() => Side::Failed,
            (Side::After, _) => Side::After,
            _ => Side::Before,
        };
        ShellPlace { position: self.position, side }
    }

    /// Where a shell finds what there was before the instruction that failed here or ran last.
    pub fn shell_before(&self) -> ShellPlace {
        let position = match (self.side, self.position.previous()) {
            (Side::Failed, _) | (_, None) => self.position,
            (_, Some(previous)) => Position::before(previous),
        };
        ShellPlace { position, side: Side::Before }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum StopReason {
    Start,
    Step,
    Breakpoint(BreakpointId),
    /// The instruction before has changed what is watched.
    Watchpoint(BreakpointId, Hit),
    Failure,
    Pause,
    Cancelled,
    /// Run to cursor, or going to a place.
    Reached,
    /// The last step is done.
    End,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    pub step: StepId,
    pub message: String,
    pub help: Vec<String>,
    /// The command's exit code, if it was a command that failed.
    pub exit_code: Option<i32>,
    /// The file system the failed step left, for a shell after the failure.
    pub after: Option<SnapshotId>,
}

/// What a view shows of one step. The session keeps one for every step and sends it whenever it changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum StepStatus {
    /// Not reached.
    Waiting,
    /// Not needed by the target.
    Skipped,
    Running,
    Done(StepOutcome),
    Failed(Failure),
    Cancelled,
}

/// What is in the way of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PlanFault {
    /// The file cannot be read.
    Unreadable,
    /// What is in it, or what an argument makes of it.
    Dockerfile,
    /// A base image cannot be had.
    Base,
    /// The engine cannot be reached, or not any more.
    Engine,
    /// It was given up.
    Cancelled,
    /// This program.
    Internal,
}

/// What happened, in order. Times are since the session began.
#[derive(Debug, Clone)]
pub enum Event {
    /// The engine that serves this session.
    Started {
        engine: Capabilities,
    },
    /// A base is looked up or fetched: bytes of `total` (0: not known).
    BaseProgress {
        image: String,
        what: String,
        done: u64,
        total: u64,
    },
    /// What the plan is going to be, as far as it can be told before any base is there. For pictures of it: said before
    /// the first plan, while bases are looked up; it stays where one of them cannot be had.
    Sketched {
        plan: Arc<Plan>,
    },
    /// The plan is made, or made anew after arguments or files changed. Statuses of its steps follow.
    Planned {
        plan: Arc<Plan>,
    },
    /// No plan can be made; the session waits for `Reload`, `SetBuildArg` or `Quit`. If there was a plan before,
    /// it stays in force with what it was made from. `rendered` is the diagnostic drawn under its source line.
    PlanFailed {
        fault: PlanFault,
        message: String,
        rendered: String,
    },
    Step {
        step: StepId,
        status: StepStatus,
        at: Duration,
    },
    /// What a step that is done changed, where its outcome left it open. `None`: it could not be counted. Said once
    /// for each such step, whatever happens meanwhile; the outcome of every later status has it.
    Counted {
        step: StepId,
        changes: Option<ChangeSummary>,
    },
    /// Output of a running step, in order. Bytes as the process wrote them; not safe to print.
    Output {
        step: StepId,
        stderr: bool,
        bytes: Vec<u8>,
    },
    /// Output beyond the limit that is kept; only the last part of it will follow, at the step's end. Said when
    /// the limit is met, and again with the bytes that are gone just before that last part.
    OutputClipped {
        step: StepId,
        dropped: u64,
    },
    Progress {
        step: StepId,
        what: String,
        done: u64,
        total: u64,
    },
    Resumed,
    Stopped(Stop),
    Breakpoints {
        list: Vec<Breakpoint>,
        break_on_failure: bool,
    },
    /// There are several branches, and this is what each of them had reached; the current one goes on. Said when there
    /// is a new one, and when another is gone to.
    Branches {
        /// The oldest first.
        list: Vec<Branch>,
        current: BranchId,
    },
    /// Something to know, in a sentence.
    Notice {
        message: String,
    },
    /// The target is built, and every other stage that runs. `snapshot` is the target's file system. A `Stopped`
    /// follows.
    Finished {
        snapshot: SnapshotId,
        at: Duration,
    },
    /// The session has ended; nothing follows.
    Ended,
}
