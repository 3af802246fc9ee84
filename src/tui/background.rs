//! What takes time, done beside the screen. Of each slot's questions the latest wins; an answer to an earlier
//! one is dropped.

use super::widgets::Slot;
use std::collections::HashMap;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Jobs that come to a `D`.
#[derive(Debug)]
pub struct Background<D> {
    reports: mpsc::UnboundedReceiver<Report<D>>,
    reporter: mpsc::UnboundedSender<Report<D>>,
    open: HashMap<Slot, (u64, AbortHandle)>,
    serial: u64,
}

#[derive(Debug)]
struct Report<D> {
    /// Of a question: its slot, and which of that slot's questions it was.
    question: Option<(Slot, u64)>,
    done: D,
}

impl<D: Send + 'static> Default for Background<D> {
    fn default() -> Self {
        let (reporter, reports) = mpsc::unbounded_channel();
        Background { reports, reporter, open: HashMap::new(), serial: 0 }
    }
}

impl<D: Send + 'static> Background<D> {
    /// Asks; an earlier question of the slot is forgotten.
    pub fn ask(&mut self, slot: Slot, work: impl Future<Output = D> + Send + 'static) {
        self.serial += 1;
        let serial = self.serial;
        let reporter = self.reporter.clone();
        let task = tokio::spawn(async move {
            let _ = reporter.send(Report { question: Some((slot, serial)), done: work.await });
        });
        if let Some((_, earlier)) = self.open.insert(slot, (serial, task.abort_handle())) {
            earlier.abort();
        }
    }

    /// Work that nothing makes stale.
    pub fn spawn(&self, work: impl Future<Output = Option<D>> + Send + 'static) {
        let reporter = self.reporter.clone();
        tokio::spawn(async move {
            if let Some(done) = work.await {
                let _ = reporter.send(Report { question: None, done });
            }
        });
    }

    /// The next job that is done and whose answer is still wanted.
    pub async fn next(&mut self) -> D {
        loop {
            match self.reports.recv().await {
                Some(report) => {
                    if let Some(done) = self.wanted(report) {
                        return done;
                    }
                }
                // It holds a sender itself, so the channel does not close.
                None => std::future::pending().await,
            }
        }
    }

    pub fn try_next(&mut self) -> Option<D> {
        while let Ok(report) = self.reports.try_recv() {
            if let Some(done) = self.wanted(report) {
                return Some(done);
            }
        }
        None
    }

    fn wanted(&mut self, report: Report<D>) -> Option<D> {
        let Some((slot, serial)) = report.question else { return Some(report.done) };
        match self.open.get(&slot) {
            Some((latest, _)) if *latest == serial => {
                self.open.remove(&slot);
                Some(report.done)
            }
            _ => None,
        }
    }
}
