//! What `stagedive diff` found, as one value: `--json` prints it, and the text is made of it. `schema.md` documents its
//! fields.

use super::super::blame::report::{State, differences, state, word};
use super::super::size::report::Path;
use super::side::Side;
use crate::layers::packages::{self, Package, PackageChanges};
use crate::layers::{Change, Diff, DiffId, Patch};
use serde::Serialize;
use std::collections::BTreeMap;

/// Raised when a field changes its meaning or goes away; new fields do not raise it.
pub const SCHEMA: u32 = 1;

/// Directories are summed up as deep as this.
const DEPTH: u16 = 2;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub schema: u32,
    pub before: Named,
    pub after: Named,
    pub warnings: Vec<String>,
    #[serde(flatten)]
    pub sums: Sums,
    pub packages: Packages,
    /// The most changed first.
    pub directories: Vec<Directory>,
    /// Parents first, names in byte order.
    pub entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Named {
    pub name: String,
    /// `image`, `directory`, `place`.
    pub kind: &'static str,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Sums {
    pub added: u64,
    pub modified: u64,
    pub removed: u64,
    pub added_bytes: u64,
    pub removed_bytes: u64,
}

impl Sums {
    pub fn is_empty(&self) -> bool {
        self.added + self.modified + self.removed == 0
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Packages {
    /// Installed bytes of the added ones, and what newer versions take beyond older ones.
    pub added_bytes: u64,
    pub added: Vec<Package>,
    pub removed: Vec<Package>,
    pub changed: Vec<Upgrade>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Upgrade {
    pub before: Package,
    pub after: Package,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Directory {
    #[serde(flatten)]
    pub path: Path,
    #[serde(flatten)]
    pub sums: Sums,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    #[serde(flatten)]
    pub path: Path,
    pub change: &'static str,
    /// Of a modified path: what about it.
    pub differences: Vec<&'static str>,
    pub before: Option<State>,
    pub after: Option<State>,
    /// Of a changed file, with `--text`: the lines that differ as a unified diff, or why they are not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

pub fn report(
    diff: &Diff,
    before: &Side,
    after: &Side,
    packages: [(Vec<Package>, Vec<String>); 2],
    patches: &BTreeMap<DiffId, Patch>,
) -> Report {
    let named = |side: &Side| Named { name: side.name.clone(), kind: side.kind };
    let [(old, old_wrong), (new, new_wrong)] = packages;
    let warnings = before.warnings.iter().chain(&after.warnings).chain(&old_wrong).chain(&new_wrong);
    let entries = diff.ids().skip(1).filter(|id| diff.change(*id) != Change::Unchanged);
    Report {
        schema: SCHEMA,
        before: named(before),
        after: named(after),
        warnings: warnings.cloned().collect(),
        sums: sums(diff, Diff::ROOT),
        packages: changed_packages(packages::changes(&old, &new)),
        directories: directories(diff),
        entries: entries.map(|id| entry(diff, id, patches)).collect(),
    }
}

fn entry(diff: &Diff, id: DiffId, patches: &BTreeMap<DiffId, Patch>) -> Entry {
    Entry {
        path: Path::new(diff.path(id).as_ref()),
        change: word(diff.change(id)),
        differences: differences(diff.differences(id)),
        before: diff.before(id).map(state),
        after: diff.after(id).map(state),
        text: patches.get(&id).map(unified),
    }
}

/// Hunks as `diff -u` writes them, without the lines that name the files.
fn unified(patch: &Patch) -> String {
    let hunks = match patch {
        Patch::Same => return "the contents are the same\n".to_owned(),
        Patch::Binary => return "the contents are not text\n".to_owned(),
        Patch::TooLarge => return "the contents are too large to be compared line by line\n".to_owned(),
        Patch::Text(hunks) => hunks,
    };
    let mut out = String::new();
    for hunk in hunks {
        out.push_str(&hunk.header());
        out.push('\n');
        for line in &hunk.lines {
            out.push(line.sign.char());
            out.push_str(&line.text.to_string());
            out.push('\n');
            if line.unended {
                out.push_str("\\ No newline at end of file\n");
            }
        }
    }
    out
}

/// Sums of everything at and below a path, the root itself left out.
fn sums(diff: &Diff, id: DiffId) -> Sums {
    let mut sums = Sums { added_bytes: diff.added_bytes(id), removed_bytes: diff.removed_bytes(id), ..Sums::default() };
    let end = id.0 + diff.below(id);
    for at in (id.0..=end).map(DiffId).filter(|at| *at != Diff::ROOT) {
        match diff.change(at) {
            Change::Added => sums.added += 1,
            Change::Modified => sums.modified += 1,
            Change::Removed => sums.removed += 1,
            Change::Unchanged => {}
        }
    }
    sums
}

/// The lowest directories with a change in or below them, but none deeper than [`DEPTH`].
fn directories(diff: &Diff) -> Vec<Directory> {
    let mut found = Vec::new();
    for id in diff.ids().skip(1) {
        let depth = diff.depth(id);
        let is_directory = diff.meta(id).kind == crate::layers::Kind::Directory;
        let below = |id: DiffId| diff.children(id).any(|it| diff.meta(it).kind == crate::layers::Kind::Directory);
        if is_directory && (depth == DEPTH || depth < DEPTH && !below(id)) {
            found.push(Directory { path: Path::new(diff.path(id).as_ref()), sums: sums(diff, id) });
        }
    }
    let weight = |it: &Directory| it.sums.added_bytes.saturating_add(it.sums.removed_bytes);
    found.sort_by(|a, b| weight(b).cmp(&weight(a)).then_with(|| a.path.path.cmp(&b.path.path)));
    found
}

fn changed_packages(changes: PackageChanges) -> Packages {
    let added_bytes = changes.added_bytes();
    let PackageChanges { added, removed, changed } = changes;
    let changed = changed.into_iter().map(|(before, after)| Upgrade { before, after }).collect();
    Packages { added_bytes, added, removed, changed }
}
