//! What the debugger's screen has done beside it, by asking the session.

use super::background::Background;
use super::update::Message;
use super::views::origins::Traced;
use super::widgets::{Query, Slot};
use super::{answers, extract};
use crate::debug::{Session, ShellPlace};
use crate::engine::{EngineError, Shell};
use crate::layers::FileTree;
use crate::plan::{Plan, StepId};
use crate::snapshot::SnapshotId;
use bstr::BString;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// What a job came to.
#[derive(Debug)]
pub enum Done {
    Message(Box<Message>),
    Shell(ShellPlace, Box<Result<Shell, EngineError>>),
}

pub struct Jobs {
    session: Session,
    background: Background<Done>,
}

impl Jobs {
    pub fn new(session: Session) -> Jobs {
        Jobs { session, background: Background::default() }
    }

    /// Asks; an earlier question of the slot is forgotten.
    pub fn load(&mut self, slot: Slot, query: Query) {
        let session = self.session.clone();
        self.background.ask(slot, async move {
            let answer = answers::answer(&session, &query).await;
            Done::Message(Box::new(Message::Loaded { slot, query, answer }))
        });
    }

    /// How many bytes of an image's layers are not in its file system.
    pub fn waste(&mut self, at: SnapshotId) {
        let session = self.session.clone();
        self.background.spawn(async move {
            let (Ok(layers), Ok(tree)) = (session.layers(&at).await, session.tree(&at).await) else { return None };
            let dead = move || {
                let all = layers.iter().map(|layer| layer.bytes()).fold(0u64, u64::saturating_add);
                all.saturating_sub(tree.bytes(FileTree::ROOT))
            };
            let bytes = tokio::task::spawn_blocking(dead).await.ok()?;
            Some(Done::Message(Box::new(Message::Waste(bytes))))
        });
    }

    /// Where every file of a finished build comes from.
    pub fn trace(&mut self, plan: Arc<Plan>, snapshots: BTreeMap<StepId, SnapshotId>) {
        let session = self.session.clone();
        self.background.spawn(async move {
            let facts = session.trace(plan, &snapshots).await.ok()?;
            let traced = tokio::task::spawn_blocking(move || Traced::of(facts)).await.ok()??;
            Some(Done::Message(Box::new(Message::Traced(Arc::new(traced)))))
        });
    }

    pub fn extract(&mut self, at: SnapshotId, path: BString, to: PathBuf) {
        let session = self.session.clone();
        self.background.spawn(async move {
            let result = extract::extract(&session, &at, &path, &to).await;
            Some(Done::Message(Box::new(Message::Extracted(result))))
        });
    }

    pub fn open_shell(&mut self, place: ShellPlace, size: (u16, u16)) {
        let session = self.session.clone();
        let shell = async move { Some(Done::Shell(place, Box::new(session.shell(place, Some(size)).await))) };
        self.background.spawn(shell);
    }

    /// The next job that is done and whose answer is still wanted.
    pub async fn next(&mut self) -> Done {
        self.background.next().await
    }

    pub fn try_next(&mut self) -> Option<Done> {
        self.background.try_next()
    }
}
