//! Watchpoints: which changes of the file system stop the build, after the instruction that made them.

use super::{BreakpointId, Position};
use crate::debug::timeline::Branch;
use crate::layers::glob::Glob;
use crate::layers::{Bytes, Change, Diff};
use crate::plan::StepId;
use crate::snapshot::SnapshotId;
use bstr::{BString, ByteSlice};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// Paths, and what must become of one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    glob: Glob,
    /// None of them means any.
    changes: Vec<Change>,
    /// Only what is then a file with more content than that, in bytes.
    over: Option<u64>,
}

/// The words for what became of a path.
const WORDS: [(&str, Change); 3] =
    [("created", Change::Added), ("changed", Change::Modified), ("deleted", Change::Removed)];

/// What a watchpoint found in what an instruction changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hit {
    /// The first path in the order of a listing, without a slash at its beginning.
    pub path: BString,
    #[serde(serialize_with = "word")]
    pub change: Change,
    /// How many other paths fit as well.
    pub more: usize,
}

impl Watch {
    /// Any change of a path or of what is below it. `None` for the root.
    pub fn path(path: &bstr::BStr) -> Option<Watch> {
        let glob = Glob::exactly(path)?;
        Some(Watch { glob, changes: Vec::new(), over: None })
    }

    /// What of a difference it is after.
    pub fn find(&self, diff: &Diff) -> Option<Hit> {
        let kind = |change| change != Change::Unchanged && (self.changes.is_empty() || self.changes.contains(&change));
        let large = |id| self.over.is_none_or(|over| diff.after(id).is_some_and(|it| it.bytes() > over));
        let paths = diff.ids().filter(|id| *id != Diff::ROOT && kind(diff.change(*id)) && large(*id));
        let mut hits =
            paths.map(|id| (diff.path(id), diff.change(id))).filter(|(path, _)| self.glob.fits(path.as_bstr()));
        let (path, change) = hits.next()?;
        Some(Hit { path, change, more: hits.count() })
    }
}

impl std::str::FromStr for Watch {
    type Err = String;

    /// `/etc/passwd`, `*.pem created`, `/usr/lib deleted changed`, `*.a created over 10MB`.
    fn from_str(text: &str) -> Result<Watch, String> {
        let mut rest = text.trim();
        let mut watch = (Vec::new(), None);
        while let Some((before, last)) = rest.rsplit_once(char::is_whitespace) {
            if let Some((_, change)) = WORDS.iter().find(|(word, _)| *word == last) {
                watch.0.push(*change);
                rest = before.trim_end();
            } else if let Some((pattern, size)) = at_over(rest) {
                let Bytes(over) = size.parse()?;
                watch.1 = Some(over);
                rest = pattern.trim_end();
            } else {
                break;
            }
        }
        let (mut changes, over) = watch;
        changes.sort();
        changes.dedup();
        let wrong = || format!("{text:?} names no path to watch: for instance /etc/passwd, or *.a created over 10MB");
        let glob = Glob::new(rest).ok_or_else(wrong)?;
        if over.is_some() && changes == [Change::Removed] {
            return Err(format!("{text:?} finds nothing: what is deleted has no size any more"));
        }
        Ok(Watch { glob, changes, over })
    }
}

/// What stands before a last `over` and the one or two words of a size, and these.
fn at_over(text: &str) -> Option<(&str, &str)> {
    let (before, size) = text.rsplit_once("over ")?;
    let alone = before.is_empty() || before.ends_with(char::is_whitespace);
    (alone && size.split_whitespace().count() <= 2).then_some((before, size))
}

impl std::fmt::Display for Watch {
    /// As it is read by [`FromStr`](std::str::FromStr).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.glob.text())?;
        for change in &self.changes {
            write!(f, " {}", said(*change))?;
        }
        self.over.map_or(Ok(()), |over| write!(f, " over {}", Bytes(over)))
    }
}

impl Serialize for Watch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What became of a path, in a word.
pub fn said(change: Change) -> &'static str {
    WORDS.iter().find(|(_, it)| *it == change).map_or("the same", |(word, _)| word)
}

fn word<S: Serializer>(change: &Change, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(said(*change))
}

/// The file systems before and after a step.
pub(super) type Pair = (SnapshotId, SnapshotId);

/// What the watchpoints found in the steps that were looked at.
#[derive(Debug, Default)]
pub(super) struct Watched {
    found: BTreeMap<Pair, BTreeMap<BreakpointId, Option<Hit>>>,
}

pub(super) type Watches = Vec<(BreakpointId, Watch)>;

/// Steps to be looked at, each for watchpoints that have not been.
pub(super) type Unseen = Vec<(Pair, Watches)>;

pub(super) type Found = Vec<(BreakpointId, Option<Hit>)>;

/// What was found, in the order of what was to be looked at.
pub(super) type Seen = Vec<(Pair, Found)>;

impl Watched {
    pub(super) fn take(&mut self, seen: Seen) {
        for (pair, found) in seen {
            self.found.entry(pair).or_default().extend(found);
        }
    }

    /// What a watchpoint found between two file systems; `None` also where nobody has looked.
    pub(super) fn hit(&self, pair: &Pair, id: BreakpointId) -> Option<&Hit> {
        self.found.get(pair)?.get(&id)?.as_ref()
    }

    /// Of the steps between these file systems, which have to be looked at, and for what.
    pub(super) fn unseen(&self, pairs: impl IntoIterator<Item = Pair>, watches: &[(BreakpointId, &Watch)]) -> Unseen {
        let fresh = |pair: &Pair, id| self.found.get(pair).is_none_or(|found| !found.contains_key(id));
        let unseen = pairs.into_iter().filter_map(|pair| {
            let wanted: Vec<_> =
                watches.iter().filter(|(id, _)| fresh(&pair, id)).map(|(id, watch)| (*id, (*watch).clone())).collect();
            (!wanted.is_empty()).then_some((pair, wanted))
        });
        unseen.collect()
    }
}

/// Between what a step that is done stands; `None` for a `FROM`, whose files are no change, and for a step that left
/// everything as it was.
pub(super) fn pair(branch: &Branch, step: StepId) -> Option<Pair> {
    between(branch, step, &branch.outcome(step)?.snapshot)
}

/// The same for a step that has just come to `after`.
pub(super) fn between(branch: &Branch, step: StepId, after: &SnapshotId) -> Option<Pair> {
    let before = branch.snapshot(Position::before(step))?;
    (before != after).then(|| (before.clone(), after.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Entry, FileTree, Kind, Layer, Meta, Scope};
    use std::sync::Arc;

    fn tree(files: &[(&str, u64)]) -> FileTree {
        let meta = |size: u64| Meta { size, ..Meta::new(Kind::File) };
        let file = |(path, size): &(&str, u64)| Entry::Put { path: (*path).into(), meta: meta(*size), opaque: false };
        FileTree::merge(&[Arc::new(Layer { entries: files.iter().map(file).collect() })])
    }

    /// What a watchpoint finds where `etc/keep` stays, `etc/old` goes, `etc/passwd` grows and `usr/lib/x.a` comes.
    #[track_caller]
    fn check(watch: &str, expected: &str) {
        let before = tree(&[("etc/keep", 1), ("etc/old", 1), ("etc/passwd", 1)]);
        let after = tree(&[("etc/keep", 1), ("etc/passwd", 20), ("usr/lib/x.a", 300)]);
        let diff = Diff::between(&before, &after, Scope::Changed);
        let found = match watch.parse::<Watch>() {
            Err(message) => message,
            Ok(watch) => watch
                .find(&diff)
                .map_or_else(String::new, |hit| format!("{} {}, {} more", hit.path, said(hit.change), hit.more)),
        };
        assert_eq!(found, expected, "{watch}");
    }

    #[test]
    fn paths_by_pattern_and_by_what_became_of_them() {
        check("/etc/passwd", "etc/passwd changed, 0 more");
        check("etc", "etc/old deleted, 1 more");
        check("/etc/keep", "");
        check("etc/*", "etc/old deleted, 1 more");
        check("/etc changed", "etc/passwd changed, 0 more");
        check("/etc created", "");
        check("*.a", "usr/lib/x.a created, 0 more");
        check("** deleted changed", "etc/old deleted, 1 more");
        check("** created", "usr created, 2 more");
        check("** over 19", "etc/passwd changed, 1 more");
        check("** created over 1kB", "");
        check("** over 100 created", "usr/lib/x.a created, 0 more");
        check("*.a over 0.1 kB", "usr/lib/x.a created, 0 more");
    }

    #[test]
    fn what_is_no_watchpoint() {
        check("/", "\"/\" names no path to watch: for instance /etc/passwd, or *.a created over 10MB");
        check("", "\"\" names no path to watch: for instance /etc/passwd, or *.a created over 10MB");
        check("over 10MB", "\"over 10MB\" names no path to watch: for instance /etc/passwd, or *.a created over 10MB");
        check("x deleted over 1", "\"x deleted over 1\" finds nothing: what is deleted has no size any more");
        check("x over much", "\"much\" is not a size: a number of bytes, or for instance 200MB, \"1.5 GiB\"");
    }

    #[test]
    fn it_is_written_as_it_is_read() {
        for text in ["/etc/passwd", "*.pem created", "a b changed deleted over 10MB", "created", "left over"] {
            assert_eq!(text.parse::<Watch>().map(|it| it.to_string()).as_deref(), Ok(text));
        }
    }
}
