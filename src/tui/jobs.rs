//! What takes time, done beside the screen. Of each slot's questions the latest wins; an answer to an earlier
//! one is dropped.

use super::update::Message;
use super::widgets::{Query, Slot};
use super::{answers, extract};
use crate::debug::{Session, ShellPlace};
use crate::engine::{EngineError, Shell};
use crate::layers::FileTree;
use crate::snapshot::SnapshotId;
use bstr::BString;
use std::collections::HashMap;
use std::path::PathBuf;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// What a job came to.
#[derive(Debug)]
pub enum Done {
    Message(Box<Message>),
    Shell(ShellPlace, Box<Result<Shell, EngineError>>),
}

#[derive(Debug)]
struct Report {
    /// Of a question: its slot, and which of that slot's questions it was.
    question: Option<(Slot, u64)>,
    done: Done,
}

pub struct Jobs {
    session: Session,
    reports: mpsc::UnboundedReceiver<Report>,
    reporter: mpsc::UnboundedSender<Report>,
    open: HashMap<Slot, (u64, AbortHandle)>,
    serial: u64,
}

impl Jobs {
    pub fn new(session: Session) -> Jobs {
        let (reporter, reports) = mpsc::unbounded_channel();
        Jobs { session, reports, reporter, open: HashMap::new(), serial: 0 }
    }

    /// Asks; an earlier question of the slot is forgotten.
    pub fn load(&mut self, slot: Slot, query: Query) {
        self.serial += 1;
        let serial = self.serial;
        let (session, reporter) = (self.session.clone(), self.reporter.clone());
        let task = tokio::spawn(async move {
            let answer = answers::answer(&session, &query).await;
            let done = Done::Message(Box::new(Message::Loaded { slot, query, answer }));
            let _ = reporter.send(Report { question: Some((slot, serial)), done });
        });
        if let Some((_, earlier)) = self.open.insert(slot, (serial, task.abort_handle())) {
            earlier.abort();
        }
    }

    /// How many bytes of an image's layers are not in its file system.
    pub fn waste(&mut self, at: SnapshotId) {
        let session = self.session.clone();
        self.spawn(async move {
            let (Ok(layers), Ok(tree)) = (session.layers(&at).await, session.tree(&at).await) else { return None };
            let dead = move || {
                let all = layers.iter().map(|layer| layer.bytes()).fold(0u64, u64::saturating_add);
                all.saturating_sub(tree.bytes(FileTree::ROOT))
            };
            let bytes = tokio::task::spawn_blocking(dead).await.ok()?;
            Some(Done::Message(Box::new(Message::Waste(bytes))))
        });
    }

    pub fn extract(&mut self, at: SnapshotId, path: BString, to: PathBuf) {
        let session = self.session.clone();
        self.spawn(async move {
            let result = extract::extract(&session, &at, &path, &to).await;
            Some(Done::Message(Box::new(Message::Extracted(result))))
        });
    }

    pub fn open_shell(&mut self, place: ShellPlace, size: (u16, u16)) {
        let session = self.session.clone();
        self.spawn(async move { Some(Done::Shell(place, Box::new(session.shell(place, Some(size)).await))) });
    }

    /// The next job that is done and whose answer is still wanted.
    pub async fn next(&mut self) -> Done {
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

    pub fn try_next(&mut self) -> Option<Done> {
        while let Ok(report) = self.reports.try_recv() {
            if let Some(done) = self.wanted(report) {
                return Some(done);
            }
        }
        None
    }

    fn wanted(&mut self, report: Report) -> Option<Done> {
        let Some((slot, serial)) = report.question else { return Some(report.done) };
        match self.open.get(&slot) {
            Some((latest, _)) if *latest == serial => {
                self.open.remove(&slot);
                Some(report.done)
            }
            _ => None,
        }
    }

    fn spawn(&self, work: impl Future<Output = Option<Done>> + Send + 'static) {
        let reporter = self.reporter.clone();
        tokio::spawn(async move {
            if let Some(done) = work.await {
                let _ = reporter.send(Report { question: None, done });
            }
        });
    }
}
