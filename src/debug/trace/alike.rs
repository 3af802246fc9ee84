//! Where a command took a file from, as far as its content tells: a RUN that copies or renames leaves the same bytes
//! behind as were there before it.
//!
//! It says that two files are the same, and not that one was made of the other: nobody has seen what the command did.

use super::{Chain, End, Facts, How};
use crate::engine::{Engine, EngineError};
use crate::layers::{FileTree, Kind, NodeId};
use crate::plan::{Op, StepId};
use crate::snapshot::SnapshotId;
use bstr::{BString, ByteSlice};
use std::collections::BTreeMap;

/// Larger files are not compared.
const LARGEST: u64 = 256 << 20;
/// Files of the same size that are compared, at most.
const MOST: usize = 16;
/// Commands in a row that are looked behind.
const DEEPEST: usize = 8;
/// Bytes that are read at once.
const PART: usize = 4 << 20;

/// A file with the content of the one at a chain's end, before the command that wrote that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alike {
    pub path: BString,
    /// The command took it away: a rename, most likely.
    pub gone: bool,
    /// The way of that file.
    pub chain: Chain,
}

/// Looks behind commands, from a chain's end on: each answer is where the one before it ends. `snapshots` has the file
/// system after each step that is done.
pub async fn alike(
    engine: &dyn Engine,
    facts: &Facts,
    snapshots: &BTreeMap<StepId, SnapshotId>,
    chain: &Chain,
) -> Result<Vec<Alike>, EngineError> {
    let mut found: Vec<Alike> = Vec::new();
    while found.len() < DEEPEST {
        let last = found.last().map_or(chain, |it| &it.chain);
        let Some(next) = behind(engine, facts, snapshots, last).await? else { break };
        found.push(next);
    }
    Ok(found)
}

async fn behind(
    engine: &dyn Engine,
    facts: &Facts,
    snapshots: &BTreeMap<StepId, SnapshotId>,
    chain: &Chain,
) -> Result<Option<Alike>, EngineError> {
    let (Some(hop), End::Written) = (chain.hops.last(), &chain.end) else { return Ok(None) };
    let is_run = matches!(facts.plan.step(hop.step).op, Op::Run(_));
    let (Some(stage), Some(index), true) =
        (facts.stage(hop.step.stage), hop.step.index.checked_sub(1), is_run && hop.how == How::Wrote)
    else {
        return Ok(None);
    };
    let earlier = StepId { index, ..hop.step };
    let (Some(before), Some(after)) = (snapshots.get(&earlier), snapshots.get(&hop.step)) else { return Ok(None) };
    let (old, new) = (stage.before(hop.step.index), stage.after(hop.step.index));
    let Some(node) = new.lookup(hop.path.as_ref()) else { return Ok(None) };
    let mut left = LARGEST;
    for (path, gone) in candidates(&old, &new, node, &hop.path) {
        let size = new.meta(node).size;
        left = match left.checked_sub(size) {
            Some(left) => left,
            None => break,
        };
        if same(engine, (before, &path), (after, &hop.path), size).await?
            && let Some(chain) = facts.chain_after(earlier, path.as_ref())
        {
            return Ok(Some(Alike { path, gone, chain }));
        }
    }
    Ok(None)
}

/// Files of the same size that were there before, the likeliest first: those that are gone, then those of the same
/// name, then the shortest paths. Whether each is gone stands beside it.
fn candidates(old: &FileTree, new: &FileTree, node: NodeId, path: &BString) -> Vec<(BString, bool)> {
    let meta = new.meta(node);
    if meta.kind != Kind::File || meta.size == 0 {
        return Vec::new();
    }
    let fits = |id: &NodeId| {
        let other = old.meta(*id);
        let content = match (other.content, meta.content) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        other.kind == Kind::File && other.size == meta.size && content
    };
    let name = |path: &BString| path.rsplit_str("/").next().map(BString::from);
    let mut found: Vec<(BString, bool)> = old
        .walk(FileTree::ROOT)
        .into_iter()
        .filter(fits)
        .map(|id| old.path(id))
        .filter(|other| other != path)
        .map(|other| {
            let gone = new.lookup(other.as_ref()).is_none();
            (other, gone)
        })
        .collect();
    found.sort_by_key(|(other, gone)| (!gone, name(other) != name(path), other.len(), other.clone()));
    found.truncate(MOST);
    found
}

async fn same(
    engine: &dyn Engine,
    (before, old): (&SnapshotId, &BString),
    (after, new): (&SnapshotId, &BString),
    size: u64,
) -> Result<bool, EngineError> {
    let mut at = 0;
    while at < size {
        let (a, b) = (engine.read(before, old, at, PART).await?, engine.read(after, new, at, PART).await?);
        if a != b {
            return Ok(false);
        }
        if a.is_empty() {
            break;
        }
        at += a.len() as u64;
    }
    Ok(at == size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Entry, Layer, Meta};
    use std::sync::Arc;

    /// Files as `PATH SIZE`; `-PATH` takes one away.
    #[track_caller]
    fn check(old: &[&str], new: &[&str], path: &str, expected: &[&str]) {
        let layer = |lines: &[&str]| {
            let entry = |line: &&str| match line.strip_prefix('-') {
                Some(path) => Entry::Whiteout { path: path.into() },
                None => {
                    let (path, size) = line.split_once(' ').unwrap();
                    let meta = Meta { size: size.parse().unwrap(), ..Meta::new(Kind::File) };
                    Entry::Put { path: path.into(), meta, opaque: false }
                }
            };
            Arc::new(Layer { entries: lines.iter().map(entry).collect() })
        };
        let after = FileTree::merge(&[layer(old), layer(new)]);
        let node = after.lookup(path.into()).unwrap();
        let found = candidates(&after.at(1), &after, node, &path.into());
        let shown = found.iter().map(|(path, gone)| format!("{path}{}", if *gone { " gone" } else { "" }));
        assert_eq!(shown.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_likeliest_come_first() {
        check(&["a 5", "b 6"], &["c 5"], "c", &["a"]);
        check(&["long/a 5", "x 5", "y/c 5"], &["c 5", "-x"], "c", &["x gone", "y/c", "long/a"]);
        check(&["a 5"], &["a 5"], "a", &[]);
        check(&["a 0"], &["c 0"], "c", &[]);
    }
}
