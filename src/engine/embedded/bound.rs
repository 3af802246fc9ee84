//! What bind mounts show of directories of this machine: a copy. Neither what an ignore file leaves nor root as the owner
//! can be had by mounting, and what happens to the directory meanwhile is not to be seen.
//!
//! All steps and shells of an engine share a copy for as long as what it was made of is there unchanged.

use super::content;
use super::engine::{Embedded, store_error};
use super::shells::Scratch;
use super::steps::here;
use super::task::{Input, Reads, Stack, Task, Upper};
use crate::engine::StepError;
use crate::plan::{MountKind, Run};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Mutex;

/// The path of what is shown within a copy.
pub(super) const CONTENT: &str = "/content";

/// A copy of one path of one directory; removed when nobody has it any more.
pub(super) struct Bound {
    input: Input,
    path: String,
    /// Of what was copied; `None` if that changed meanwhile.
    stamp: Option<String>,
    layer: PathBuf,
    scratch: Scratch,
}

impl Bound {
    /// Whether this is what a command has seen of what it was said to read, with this stamp; `None` if it is of
    /// something else.
    pub(super) fn is_of(&self, what: &Reads, input: &Input, stamp: &str) -> Option<bool> {
        let same = *what == Reads::Path(self.path.clone()) && *input == self.input;
        same.then(|| self.stamp.as_deref() == Some(stamp))
    }
}

/// The latest copy of each path.
#[derive(Default)]
pub(super) struct Copies(Mutex<Vec<Arc<Bound>>>);

impl Copies {
    /// Gives up what no command has, for the caller to remove.
    pub(super) async fn give_up(&self) -> Vec<PathBuf> {
        let copies = std::mem::take(&mut *self.0.lock().await);
        let unused = copies.into_iter().filter_map(Arc::into_inner);
        unused.filter_map(|it| it.scratch.give_up()).collect()
    }
}

/// The same command, with copies for the directories of this machine that it has bound. They are there as long as
/// somebody has what comes with it.
pub(super) async fn with_copies(
    engine: &Embedded,
    run: &Run,
    mut inputs: Vec<Input>,
) -> Result<(Run, Vec<Input>, Vec<Arc<Bound>>), StepError> {
    let mut run = run.clone();
    let mut held = Vec::new();
    for mount in &mut run.mounts {
        let MountKind::Bind { input, source, .. } = &mut mount.kind else { continue };
        let Some(directory @ Input::Directory { .. }) = inputs.get(*input) else { continue };
        let bound = copy(engine, directory, source).await?;
        (*input, *source) = (inputs.len(), CONTENT.to_owned());
        inputs.push(Input::Stack(Stack { lower: vec![bound.layer.clone()] }));
        held.push(bound);
    }
    Ok((run, inputs, held))
}

async fn copy(engine: &Embedded, input: &Input, path: &str) -> Result<Arc<Bound>, StepError> {
    // Held while a copy is made: what two commands want at once is copied once.
    let mut copies = engine.bound.0.lock().await;
    let what = Reads::Path(path.to_owned());
    let before = here(&what, input, content::stamp).await?;
    if let Some(bound) = copies.iter().find(|it| it.is_of(&what, input, &before) == Some(true)) {
        return Ok(bound.clone());
    }
    let draft = engine.store.draft().map_err(store_error)?;
    let (layer, upper) = (draft.fs(), Upper { dir: draft.fs(), work: draft.work() });
    let scratch = Scratch::new(engine, draft);
    engine.finish(Task::Bind { input: input.clone(), path: path.to_owned(), upper }).await?;
    let after = here(&what, input, content::stamp).await.ok();
    let stamp = after.filter(|after| *after == before);
    let bound = Bound { input: input.clone(), path: path.to_owned(), stamp, layer, scratch };
    copies.retain(|it| it.is_of(&what, input, "").is_none());
    let bound = Arc::new(bound);
    copies.push(bound.clone());
    Ok(bound)
}
