//! How a step is run: by solving the builder's graph up to its vertex, under another name where it is to run again.

use super::bridge::{Bridge, EVALUATE};
use super::build::Place;
use super::definition::{Definition, Edge};
use super::engine::BuildKit;
use super::progress::Ended;
use super::snapshots::{Made, SCRATCH, Snapshot};
use super::solve;
use crate::engine::{Job, Output, StepError, StepErrorKind, StepOutcome};
use crate::plan::Op;
use crate::snapshot::SnapshotId;
use bollard_buildkit_proto::pb;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

impl BuildKit {
    /// Runs a step by solving its vertex.
    pub(super) async fn solve(
        &self,
        job: &Job,
        output: &Output,
        cancel: &CancellationToken,
    ) -> Result<StepOutcome, StepError> {
        let start = Instant::now();
        let afresh = job.no_cache && !matches!(job.step.op, Op::From(_));
        let mut link = self.link().await?;
        let mut place = self.place(&job.plan, job.step.id).await?;
        let again =
            |place: &Place| place.edge.as_ref().is_some_and(|edge| link.bridge.progress.ended(&edge.vertex).is_some());
        if afresh && again(&place) {
            self.build(&job.plan)?.rename();
            link.spoil();
            link = self.link().await?;
            place = self.place(&job.plan, job.step.id).await?;
        }
        // The session that the definition was made in may be gone.
        if self.build(&job.plan)?.move_to(&link.session.id) {
            place = self.place(&job.plan, job.step.id).await?;
        }
        let Some(edge) = &place.edge else { return Ok(outcome(SnapshotId(SCRATCH.to_owned()), start)) };
        let solved = solve::run(&link.bridge, &place.definition, edge, &place.own, afresh, output, cancel).await;
        let parent = job.parent.clone().filter(|_| !matches!(job.step.op, Op::From(_)));
        match solved {
            Ok(solved) => {
                let id = SnapshotId(format!("{}#{}", edge.vertex, edge.output));
                let held = Some((link.bridge.clone(), solved.result));
                let made = Made::Solved { definition: place.definition.clone(), edge: edge.clone() };
                let snapshot = self.keep(id, Snapshot::new(made, parent, held));
                let mut outcome = outcome(snapshot, start);
                if let Some(ended) = copied(&place.definition, edge, &link.bridge).or(solved.ended) {
                    outcome.cached = ended.cached;
                    outcome.duration = ended.duration;
                } else {
                    outcome.cached = !afresh;
                }
                Ok(outcome)
            }
            Err(unsolved) => {
                self.build(&job.plan)?.rename();
                link.spoil();
                let mut error = unsolved.error;
                let same = unsolved.details.vertex.as_ref().is_none_or(|vertex| *vertex == edge.vertex);
                let root = root_mount(&place.definition, edge);
                let left =
                    root.and_then(|index| unsolved.details.mounts.get(index)).filter(|id| same && !id.is_empty());
                if let Some(left) = left {
                    let id = SnapshotId(format!("failed:{left}"));
                    let held = Some((link.bridge.clone(), left.clone()));
                    error.after = Some(self.keep(id, Snapshot::new(Made::Failed, parent, held)));
                } else if matches!(error.kind, StepErrorKind::Exit(_)) && !link.bridge.can(EVALUATE) {
                    error.help.push("this builder is too old to show what a command that failed has left".to_owned());
                }
                if matches!(error.kind, StepErrorKind::Exit(_)) {
                    error.help.extend(foreign(&place.definition, edge, &link.bridge));
                }
                Err(error)
            }
        }
    }
}

pub(super) fn outcome(snapshot: SnapshotId, start: Instant) -> StepOutcome {
    StepOutcome { snapshot, cached: false, duration: start.elapsed(), changes: None, why: Vec::new() }
}

/// How the copy of a linked COPY ended: putting it on what lies below is no work.
fn copied(definition: &Definition, edge: &Edge, bridge: &Bridge) -> Option<Ended> {
    let op = definition.op(&edge.vertex)?;
    let Some(pb::op::Op::Merge(merge)) = &op.op else { return None };
    let copy = Definition::input(op, merge.inputs.last()?.input)?;
    bridge.progress.ended(&copy.vertex)
}

/// What to say of a command for a platform that the builder does not run by itself.
fn foreign(definition: &Definition, edge: &Edge, bridge: &Bridge) -> Option<String> {
    let platform = definition.op(&edge.vertex)?.platform.as_ref()?;
    let alike = format!("{}/{}", platform.os, platform.architecture);
    let runs = |it: &String| *it == alike || it.strip_prefix(&alike).is_some_and(|rest| rest.starts_with('/'));
    let here = bridge.platforms.first()?;
    (!bridge.platforms.iter().any(runs)).then(|| {
        format!("this is for {alike}, and the builder's machine is {here}: it needs qemu registered (binfmt_misc)")
    })
}

/// The place of a command's file system among its mounts.
fn root_mount(definition: &Definition, edge: &Edge) -> Option<usize> {
    match &definition.op(&edge.vertex)?.op {
        Some(pb::op::Op::Exec(exec)) => exec.mounts.iter().position(|mount| mount.dest == "/"),
        _ => None,
    }
}
