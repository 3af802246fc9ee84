//! What runs beside the actor, and how it is heard: steps, and the making of a plan.

use super::build::Prepared;
use super::prepare::PlanError;
use super::running::Launch;
use crate::engine::{ChangeSummary, Engine, Output, OutputEvent, StepError, StepErrorKind, StepOutcome};
use crate::plan::StepId;
use crate::snapshot::SnapshotId;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Output of one step that waits to be taken.
const OUTPUT: usize = 16;

/// What the work says to the actor.
pub(super) enum Report {
    Output {
        step: StepId,
        event: OutputEvent,
    },
    Ended {
        step: StepId,
        result: Result<StepOutcome, StepError>,
    },
    Counted {
        snapshot: SnapshotId,
        changes: Option<ChangeSummary>,
    },
    /// An image is looked up. `attempt` tells plans that are no longer wanted from the one that is.
    Base {
        attempt: u64,
        image: String,
        event: OutputEvent,
    },
    Prepared {
        attempt: u64,
        result: Result<Prepared, PlanError>,
    },
}

/// Runs a step to its end. Its output is reported in order, then its end. A reader who does not read slows the
/// step; but once it is cancelled it never waits for the reader before it ends.
pub(super) async fn run(engine: Arc<dyn Engine>, launch: Launch, reports: mpsc::Sender<Report>) {
    let Launch { job, cancel, run: _ } = launch;
    let step = job.step.id;
    let (sender, mut output) = mpsc::channel(OUTPUT);
    let token = cancel.clone();
    // A task of its own, so that a fault in an engine ends this step and not the session.
    let mut run = AbortOnDropHandle::new(tokio::spawn(async move { engine.run(job, &Output(sender), &token).await }));
    let mut forward = Forward { step, reports: &reports, cancel: &cancel, gap: false };
    let result = loop {
        tokio::select! {
            biased;
            Some(event) = output.recv() => forward.pass(event).await,
            ended = &mut run => break ended,
        }
    };
    while let Ok(event) = output.try_recv() {
        forward.pass(event).await;
    }
    let result = result.unwrap_or_else(|fault| {
        Err(StepError {
            kind: StepErrorKind::Engine,
            message: format!("the engine broke off: {fault}"),
            help: vec!["this is a fault in stagedive; run the step again".to_owned()],
            after: None,
        })
    });
    let _ = reports.send(Report::Ended { step, result }).await;
}

/// Counts what the step that made a snapshot changed; one at a time, as it is work for the engine that nobody waits for.
pub(super) async fn count(
    engine: Arc<dyn Engine>,
    snapshot: SnapshotId,
    turn: Arc<Semaphore>,
    reports: mpsc::Sender<Report>,
) {
    let changes = match turn.acquire().await {
        Ok(_turn) => engine.changes(&snapshot).await.ok(),
        Err(_) => None,
    };
    let _ = reports.send(Report::Counted { snapshot, changes }).await;
}

struct Forward<'a> {
    step: StepId,
    reports: &'a mpsc::Sender<Report>,
    cancel: &'a CancellationToken,
    /// Something was left out; nothing may follow it.
    gap: bool,
}

impl Forward<'_> {
    async fn pass(&mut self, event: OutputEvent) {
        if self.gap {
            return;
        }
        tokio::select! {
            biased;
            _ = self.reports.send(Report::Output { step: self.step, event }) => {}
            () = self.cancel.cancelled() => self.gap = true,
        }
    }
}
