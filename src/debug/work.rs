//! What runs beside the actor, and how it is heard: steps, and the making of a plan.

use super::build::Prepared;
use super::prepare::PlanError;
use super::running::Launch;
use super::watch::{Found, Pair, Seen, Unseen, Watches};
use crate::engine::{ChangeSummary, Engine, EngineError, Output, OutputEvent, StepError, StepErrorKind, StepOutcome};
use crate::layers::{Diff, Scope};
use crate::plan::{Plan, StepId};
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
    /// What watchpoints found; with the step that has ended and had to be looked at first.
    Watched {
        seen: Seen,
        /// Why some of it could not be looked at.
        error: Option<EngineError>,
        ended: Option<(StepId, StepOutcome)>,
    },
    /// An image is looked up. `attempt` tells plans that are no longer wanted from the one that is.
    Base {
        attempt: u64,
        image: String,
        event: OutputEvent,
    },
    /// What the plan is going to be, before the bases are there.
    Sketched {
        attempt: u64,
        plan: Arc<Plan>,
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

/// Looks for what watchpoints are after, until that is broken off. What cannot be looked at has nothing of it.
pub(super) async fn watch(
    engine: Arc<dyn Engine>,
    unseen: Unseen,
    ended: Option<(StepId, StepOutcome)>,
    cancel: CancellationToken,
    reports: mpsc::Sender<Report>,
) {
    let (mut seen, mut error) = (Seen::new(), None);
    for (pair, watches) in unseen {
        let nothing = watches.iter().map(|(id, _)| (*id, None)).collect();
        let found = tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            found = find(engine.as_ref(), &pair, watches) => found,
        };
        seen.push((
            pair,
            found.unwrap_or_else(|why| {
                error = Some(why);
                nothing
            }),
        ));
    }
    let _ = reports.send(Report::Watched { seen, error, ended }).await;
}

async fn find(engine: &dyn Engine, (before, after): &Pair, watches: Watches) -> Result<Found, EngineError> {
    let (before, after) = (engine.tree(before).await?, engine.tree(after).await?);
    let compare = move || {
        let diff = Diff::between(&before, &after, Scope::Changed);
        watches.into_iter().map(|(id, watch)| (id, watch.find(&diff))).collect()
    };
    tokio::task::spawn_blocking(compare)
        .await
        .map_err(|fault| EngineError::new(format!("comparing broke off: {fault}")))
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
