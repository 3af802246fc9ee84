//! What the panes ask for, answered from the session. Each answer is a job of its own.

use super::widgets::syntax::Tones;
use super::widgets::{Answer, Query, Same, Source};
use crate::debug::Session;
use crate::engine::EngineError;
use crate::image::listing::{self, Listing};
use crate::layers::packages::{self, Installed, LARGEST_DATABASE};
use crate::layers::{Diff, FileTree, Layer, Patch, Pattern, Scope, patch as patches};
use crate::snapshot::SnapshotId;
use bstr::BString;
use std::sync::Arc;

/// Finds the answer; what takes the processor's time is done on a blocking thread.
pub async fn answer(session: &Session, query: &Query) -> Result<Answer, EngineError> {
    match query {
        Query::Diff { before, after } => compare(session, before.as_ref(), after, Scope::Changed).await,
        Query::Files { before, after } => compare(session, before.as_ref(), after, Scope::Everything).await,
        Query::Scratch { at, changes } => {
            let (tree, changes) = (session.tree(at).await?, changes.0.clone());
            think(move || {
                let height = tree.height();
                let mut tree = FileTree::clone(&tree);
                tree.apply(&changes, height);
                ready(Diff::above(&tree, height, Scope::Changed))
            })
            .await
        }
        Query::File { at, path, offset, limit } => session.read(at, path, *offset, *limit).await.map(Answer::File),
        Query::Patch { before, after, path } => {
            // One byte more than is compared, so that what is too large is seen to be.
            let limit = patches::LIMIT + 1;
            let old = content(session, before, path, limit).await?;
            let new = content(session, after, path, limit).await?;
            patch(path.clone(), old, new).await
        }
        Query::Packages { before, after, databases } => {
            let (mut old, mut new) = (Vec::new(), Vec::new());
            for path in databases {
                if let Some(before) = before {
                    old.push((path.clone(), content(session, before, path, LARGEST_DATABASE as usize).await?));
                }
                new.push((path.clone(), content(session, after, path, LARGEST_DATABASE as usize).await?));
            }
            packages(old, new).await
        }
        Query::Log(step) => Ok(Answer::Log(session.log(*step).await)),
        Query::Listing { at, path, size } => {
            listing(*size, |offset, limit| session.read(at, path, offset, limit)).await
        }
        Query::Hits { of, pattern } => hits(of.clone(), pattern.clone()).await,
        Query::Tones { name, text } => tones(name.clone(), text.clone()).await,
    }
}

async fn compare(
    session: &Session,
    before: Option<&SnapshotId>,
    after: &SnapshotId,
    scope: Scope,
) -> Result<Answer, EngineError> {
    let tree = session.tree(after).await?;
    let Some(before) = before else { return think(move || ready(Diff::above(&tree, 0, scope))).await };
    let (old, new) = (session.layers(before).await?, session.layers(after).await?);
    // What came before in a stage has the lowest of the layers that are there later: then those above tell all.
    let same = |(a, b): (&Arc<Layer>, &Arc<Layer>)| Arc::ptr_eq(a, b) || a == b;
    if old.len() <= new.len() && old.iter().zip(&new).all(same) {
        return think(move || ready(Diff::above(&tree, old.len() as u32, scope))).await;
    }
    let other = session.tree(before).await?;
    think(move || ready(Diff::between(&other, &tree, scope))).await
}

/// Works out what the views will ask of a difference, while this is still the background.
pub(super) fn ready(diff: Diff) -> Answer {
    diff.prepare();
    Answer::Diff(Arc::new(diff))
}

/// The beginning of a file; nothing where there is none.
async fn content(session: &Session, at: &SnapshotId, path: &BString, limit: usize) -> Result<Vec<u8>, EngineError> {
    let tree = session.tree(at).await?;
    match tree.lookup(path.as_ref()) {
        Some(_) => session.read(at, path, 0, limit).await,
        None => Ok(Vec::new()),
    }
}

/// What differs between two contents of a file, and what their words are.
pub async fn patch(path: BString, old: Vec<u8>, new: Vec<u8>) -> Result<Answer, EngineError> {
    think(move || {
        let patch = Patch::between(&old, &new);
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let tones = match patch {
            Patch::Text(_) => [&old, &new].map(|content| Tones::of(name.into(), content)),
            _ => Default::default(),
        };
        Answer::Patch(Arc::new(patch), Arc::new(tones))
    })
    .await
}

/// What is in an archive of `size` bytes that `read` reads: of a zip archive the end tells, of others the beginning.
pub async fn listing<'r, R>(size: u64, read: impl Fn(u64, usize) -> R) -> Result<Answer, EngineError>
where
    R: Future<Output = Result<Vec<u8>, EngineError>> + 'r,
{
    let start = read(0, 512).await?;
    let answer = |listing: Option<Listing>| Answer::Listing(listing.map(Arc::new));
    if listing::is_zip(&start) {
        let end = read(size.saturating_sub(listing::MOST_READ as u64), listing::MOST_READ).await?;
        return think(move || answer(listing::zip(&end, size))).await;
    }
    let start = read(0, listing::MOST_READ).await?;
    think(move || answer(listing::tar(&start, size))).await
}

/// How packages differ between two file systems, by the paths and contents of their databases; one that is not there
/// is empty.
pub async fn packages(old: Vec<(BString, Vec<u8>)>, new: Vec<(BString, Vec<u8>)>) -> Result<Answer, EngineError> {
    think(move || {
        // Why a database cannot be read is in the notes of its layer.
        let read = |files: &[(BString, Vec<u8>)]| {
            let mut installed = Installed::default();
            for (path, bytes) in files.iter().filter(|(_, bytes)| !bytes.is_empty()) {
                let Some(manager) = packages::manager_of(path.as_ref()) else { continue };
                match packages::parse(manager, bytes) {
                    Ok(packages) => installed.packages.extend(packages),
                    Err(why) => installed.wrong.push((manager, why)),
                }
            }
            installed
        };
        Answer::Packages(Arc::new(packages::known_changes(&read(&old), &read(&new))))
    })
    .await
}

/// Looks for a pattern.
pub async fn hits(of: Same<Diff>, pattern: Pattern) -> Result<Answer, EngineError> {
    think(move || Answer::Hits(of.0.find(&pattern))).await
}

/// What the words of a text are.
pub async fn tones(name: BString, text: Source) -> Result<Answer, EngineError> {
    think(move || Answer::Tones(Arc::new(Tones::of(name.as_ref(), &text.0)))).await
}

async fn think(work: impl FnOnce() -> Answer + Send + 'static) -> Result<Answer, EngineError> {
    let failed = |error| EngineError::new(format!("the answer could not be worked out: {error}"));
    tokio::task::spawn_blocking(work).await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::packages::fixtures::sqlite;

    #[tokio::test]
    async fn of_databases_that_cannot_be_read_nothing_is_said() {
        const RPM: &str = "var/lib/rpm/rpmdb.sqlite";
        const DPKG: &str = "var/lib/dpkg/status";
        let dpkg = || (DPKG.into(), b"Package: a\nVersion: 1\n".to_vec());
        let rpm = |bytes: Vec<u8>| (RPM.into(), bytes);
        let check = async |old: Vec<(BString, Vec<u8>)>, new: Vec<(BString, Vec<u8>)>, expected: [bool; 2]| {
            let Ok(Answer::Packages(changes)) = packages(old, new).await else { panic!() };
            assert_eq!([!changes.added.is_empty(), !changes.removed.is_empty()], expected);
        };
        check(vec![], vec![rpm(sqlite())], [true, false]).await;
        check(vec![rpm(b"no database".to_vec())], vec![rpm(sqlite())], [false, false]).await;
        check(vec![rpm(sqlite())], vec![rpm(b"no database".to_vec())], [false, false]).await;
        check(vec![rpm(sqlite())], vec![rpm(b"no database".to_vec()), dpkg()], [true, false]).await;
    }
}
