//! What the panes ask for, answered from the image.

use super::image::{Image, alone, height};
use super::other::{Other, Pair, is_other};
use crate::engine::EngineError;
use crate::engine::side::Side;
use crate::image::inventory::Inventory;
use crate::layers::packages::LARGEST_DATABASE;
use crate::layers::{Diff, FileTree, Kind, NodeId, Scope, patch};
use crate::snapshot::SnapshotId;
use crate::tui::answers::{self, hits, listing, packages, ready, tones};
use crate::tui::extract::shown;
use crate::tui::widgets::{Answer, Query};
use bstr::{BStr, BString, ByteSlice};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that are read of a file at once and kept for the next question: a compressed layer is read from its
/// beginning each time.
const KEPT: usize = 8 << 20;

/// The same where the question before ended: whoever reads a file to its end, or searches all of it, has its layer read
/// from its beginning fewer times.
const AHEAD: usize = 64 << 20;

/// Symbolic links on the way to a file, as Linux has it.
const MAX_LINKS: usize = 40;

impl Kept {
    /// How many bytes of a file to read from an offset on.
    fn stretch(&self, file: &Found, offset: u64) -> usize {
        let end = self.offset + self.bytes.len() as u64;
        match self.file.as_ref() == Some(file) && !self.bytes.is_empty() && (self.offset..=end).contains(&offset) {
            true => AHEAD,
            false => KEPT,
        }
    }
}

/// Where a file was found: on which side, in which layer, and its path without symbolic links.
type Found = (bool, u32, BString);

/// What answers: cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    tree: FileTree,
    alone: BTreeMap<usize, FileTree>,
    pub inventory: Option<Arc<Inventory>>,
    pair: Option<Arc<Pair>>,
    kept: Arc<Mutex<Kept>>,
}

/// A stretch of the file that was looked at last.
#[derive(Debug, Default)]
struct Kept {
    file: Option<Found>,
    offset: u64,
    bytes: Vec<u8>,
    /// Whether the file ends with it.
    ends: bool,
}

impl Subject {
    /// Of the image as far as it has been read, and of what it is compared with.
    pub fn new(image: &Image, other: Option<&Other>) -> Subject {
        let (tree, alone, inventory) = (image.tree.clone(), image.alone.clone(), image.inventory.clone());
        let pair = other.and_then(|other| other.pair.clone());
        Subject { tree, alone, inventory, pair, kept: Arc::default() }
    }

    /// The other, if a file system is its.
    pub(super) fn other(&self, at: &SnapshotId) -> Option<&Side> {
        self.pair.as_ref().filter(|_| is_other(at)).map(|pair| &pair.other)
    }

    pub(super) fn tree_of(&self, at: &SnapshotId) -> FileTree {
        match self.other(at) {
            Some(other) => other.tree.clone(),
            None => self.tree.at(height(at).unwrap_or(0)),
        }
    }

    /// Finds the answer; what takes the processor's time is done on a blocking thread.
    pub async fn answer(&self, query: &Query) -> Result<Answer, EngineError> {
        match query {
            Query::Diff { before, after } => self.compare(before.as_ref(), after, Scope::Changed).await,
            Query::Files { before, after } => self.compare(before.as_ref(), after, Scope::Everything).await,
            Query::File { at, path, offset, limit } => self.content(at, path, *offset, *limit).await.map(Answer::File),
            Query::Patch { before, after, path } => {
                // One byte more than is compared, so that what is too large is seen to be.
                let limit = patch::LIMIT + 1;
                let (old, new) = (self.whole(before, path, limit).await?, self.whole(after, path, limit).await?);
                answers::patch(path.clone(), old, new).await
            }
            Query::Listing { at, path, size } => {
                listing(*size, |offset, limit| self.content(at, path, offset, limit)).await
            }
            Query::Packages { before, after, databases } => {
                let (mut old, mut new) = (Vec::new(), Vec::new());
                for path in databases {
                    if let Some(before) = before {
                        old.push((path.clone(), self.whole(before, path, LARGEST_DATABASE as usize).await?));
                    }
                    new.push((path.clone(), self.whole(after, path, LARGEST_DATABASE as usize).await?));
                }
                packages(old, new).await
            }
            Query::Hits { of, pattern } => hits(of.clone(), pattern.clone()).await,
            Query::Tones { name, text } => tones(name.clone(), text.clone()).await,
            Query::Scratch { .. } | Query::Log(_) => Err(EngineError::new("an image has no shells and no output")),
        }
    }

    async fn compare(
        &self,
        before: Option<&SnapshotId>,
        after: &SnapshotId,
        scope: Scope,
    ) -> Result<Answer, EngineError> {
        let unknown = || EngineError::new("this part of the image is not known");
        if let (Some(_), Some(pair)) = (before.and_then(|before| self.other(before)), self.pair.clone()) {
            return match scope {
                Scope::Changed => Ok(Answer::Diff(pair.diff.clone())),
                Scope::Everything => {
                    think(move || ready(Diff::between(pair.diff.before_tree(), pair.diff.after_tree(), scope))).await
                }
            };
        }
        let below = before.map_or(Some(0), height).ok_or_else(unknown)?;
        let tree = match alone(after) {
            Some(layer) => self.alone.get(&layer).cloned().ok_or_else(unknown)?,
            None => self.tree.at(height(after).ok_or_else(unknown)?),
        };
        think(move || ready(Diff::above(&tree, below, scope))).await
    }

    /// A file's content for comparing; where there is no such file it is empty.
    async fn whole(&self, at: &SnapshotId, path: &BString, limit: usize) -> Result<Vec<u8>, EngineError> {
        match self.tree_of(at).lookup(path.as_ref()) {
            Some(_) => self.content(at, path, 0, limit).await,
            None => Ok(Vec::new()),
        }
    }

    async fn content(
        &self,
        at: &SnapshotId,
        path: &BString,
        offset: u64,
        limit: usize,
    ) -> Result<Vec<u8>, EngineError> {
        let inventory =
            self.inventory.as_ref().ok_or_else(|| EngineError::new("files can be looked into when all is read"))?;
        let (tree, other) = (self.tree_of(at), self.other(at));
        let (node, path) = resolve(&tree, path.as_ref())
            .ok_or_else(|| EngineError::new(format!("{} is not there, or leads round in circles", shown(path))))?;
        if tree.meta(node).kind != Kind::File {
            return Err(EngineError::new(format!("{} is not a file that can be read", shown(&path))));
        }
        let file = (other.is_some(), tree.layer(node), path);
        if let Some(bytes) = self.remembered(&file, offset, limit) {
            return Ok(bytes);
        }
        let most = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let most = kept.stretch(&file, offset).max(limit);
            // What is read next is not held beside it.
            kept.bytes = Vec::new();
            most
        };
        let bytes = match other {
            Some(other) => other.read(&file.2, offset, most).await?,
            None => inventory.content(file.1, file.2.as_ref(), offset, most).await?,
        };
        let answer = bytes.get(..limit).unwrap_or(&bytes).to_vec();
        let ends = bytes.len() < most;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Kept { file: Some(file), offset, bytes, ends };
        Ok(answer)
    }

    fn remembered(&self, file: &Found, offset: u64, limit: usize) -> Option<Vec<u8>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let from = usize::try_from(offset.checked_sub(kept.offset)?).ok()?;
        let rest = kept.bytes.get(from..).filter(|_| kept.file.as_ref() == Some(file))?;
        match rest.get(..limit) {
            Some(all) => Some(all.to_vec()),
            None => kept.ends.then(|| rest.to_vec()),
        }
    }
}

/// The node of a path and where it is, symbolic links followed, as a process with this tree as its root would.
pub fn resolve(tree: &FileTree, path: &BStr) -> Option<(NodeId, BString)> {
    let mut ahead: Vec<BString> = path.rsplit_str("/").map(BString::from).collect();
    let mut at: Vec<(NodeId, BString)> = Vec::new();
    let mut followed = 0;
    while let Some(name) = ahead.pop() {
        match name.as_bytes() {
            b"" | b"." => continue,
            b".." => {
                at.pop();
                continue;
            }
            _ => {}
        }
        let parent = at.last().map_or(FileTree::ROOT, |(node, _)| *node);
        let node = tree.child(parent, name.as_ref())?;
        let meta = tree.meta(node);
        if meta.kind != Kind::Symlink {
            at.push((node, name));
            continue;
        }
        followed += 1;
        if followed > MAX_LINKS {
            return None;
        }
        if meta.target.starts_with(b"/") {
            at.clear();
        }
        ahead.extend(meta.target.rsplit_str("/").map(BString::from));
    }
    let names: Vec<&BString> = at.iter().map(|(_, name)| name).collect();
    let path = bstr::join("/", names).into();
    Some((at.last().map_or(FileTree::ROOT, |(node, _)| *node), path))
}

async fn think(work: impl FnOnce() -> Answer + Send + 'static) -> Result<Answer, EngineError> {
    let failed = |failure| EngineError::new(format!("the answer could not be worked out: {failure}"));
    tokio::task::spawn_blocking(work).await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_read_where_the_question_before_ended() {
        let kept = Kept { file: Some((false, 1, "a".into())), offset: 100, bytes: vec![0; 50], ends: false };
        let check = |path: &str, offset, expected| {
            assert_eq!(kept.stretch(&(false, 1, path.into()), offset), expected, "{path} {offset}");
        };
        check("a", 150, AHEAD);
        check("a", 149, AHEAD);
        check("a", 151, KEPT);
        check("a", 99, KEPT);
        check("b", 150, KEPT);
        assert_eq!(Kept::default().stretch(&(false, 1, "a".into()), 0), KEPT);
    }
}
