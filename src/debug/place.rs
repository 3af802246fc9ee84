//! What a shell finds at a place: file system, user, directory, environment and mounts.

use super::build::Build;
use super::{Position, ShellPlace, Side};
use crate::engine::{EngineError, ShellRequest};
use crate::plan::{self, FileOrigin, Op, Run, Step, StepId};
use crate::snapshot::SnapshotId;

/// The request for a shell there, without a command and without a terminal.
pub(super) fn request(build: &Build, place: ShellPlace) -> Result<ShellRequest, EngineError> {
    let branch = build.branch();
    let plan = &branch.plan;
    let at = place.position;
    let Some(stage) = plan.stages.get(at.stage.0 as usize).filter(|it| at.done as usize <= it.steps.len()) else {
        return Err(error("there is no such place in this build", ""));
    };
    let label = stage.label();
    let next = at.next(plan).map(|id| plan.step(id));
    if place.side == Side::Failed {
        let Some((step, failure)) = next.and_then(|step| Some((step, branch.failure(step.id)?))) else {
            return Err(error("nothing has failed here", "ask for a shell before or after the instruction"));
        };
        let left = || error("the failed instruction left no file system", "ask for a shell before it");
        let snapshot = failure.after.clone().ok_or_else(left)?;
        return as_instruction(build, snapshot, step);
    }
    let Some(previous) = at.previous() else {
        let help = "step over FROM first; a stage has no file system before it";
        return Err(error(format!("stage {label} has not begun: its FROM has not been run"), help));
    };
    let Some(snapshot) = branch.snapshot(at).cloned() else {
        let done = branch.frontier(at.stage);
        let message = match done {
            0 => format!("nothing has been run here yet: stage {label} has not begun"),
            _ => format!("nothing has been run here yet: stage {label} is done up to instruction {}", done - 1),
        };
        return Err(error(message, "run to this place first"));
    };
    match next {
        Some(step) if place.side == Side::Before && matches!(step.op, Op::Run(_)) => {
            as_instruction(build, snapshot, step)
        }
        _ => Ok(as_state(build, snapshot, previous)),
    }
}

pub(super) fn no_plan() -> EngineError {
    error("there is no plan yet", "change the file or an argument, and reload")
}

/// As the instruction finds things, or found them: a RUN with its mounts, anything else with what is in force.
fn as_instruction(build: &Build, at: SnapshotId, step: &Step) -> Result<ShellRequest, EngineError> {
    let Op::Run(run) = &step.op else {
        // A FROM has no place before it in its stage; what it brings is the nearest there is.
        let before = Position::before(step.id).previous().unwrap_or(step.id);
        return Ok(as_state(build, at, before));
    };
    let branch = build.branch();
    let inputs = branch.inputs(step);
    for (origin, found) in step.inputs.iter().zip(&inputs) {
        if let (FileOrigin::Stage(stage), None) = (origin, found) {
            let label = branch.plan.stage(*stage).label();
            let message = format!("stage {label}, which this instruction mounts, is not finished");
            return Err(error(message, "step over the instruction, or run to the end of that stage, first"));
        }
    }
    Ok(ShellRequest {
        at,
        run: Run { argv: Vec::new(), ..run.clone() },
        inputs,
        origins: step.inputs.clone(),
        instruction: Some((branch.plan.clone(), step.id)),
        watch: false,
        size: None,
    })
}

/// As a RUN would find things that was written after the step.
fn as_state(build: &Build, at: SnapshotId, after: StepId) -> ShellRequest {
    let branch = build.branch();
    let run = plan::here(&branch.plan.step(after).state, &branch.basis.options);
    ShellRequest { at, run, inputs: Vec::new(), origins: Vec::new(), instruction: None, watch: false, size: None }
}

fn error(message: impl Into<String>, help: &str) -> EngineError {
    let help = if help.is_empty() { Vec::new() } else { vec![help.to_owned()] };
    EngineError { message: message.into(), help, ..EngineError::default() }
}
