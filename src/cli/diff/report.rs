//! What `stagedive diff` found, as one value: `--json` prints it, and the text is made of it. `schema.md` documents its
//! fields.

use super::super::blame::report::{State, differences, state, word};
use super::super::size::report::Path;
use super::Patches;
use crate::engine::side::Side;
use crate::layers::packages::{self, Installed, Manager, Package, PackageChanges};
use crate::layers::{Change, Diff, DiffId, Kind, Patch};
use crate::tui::text::count;
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
        self.count() == 0
    }

    fn count(&self) -> u64 {
        self.added + self.modified + self.removed
    }

    fn without(self, part: Sums) -> Sums {
        Sums {
            added: self.added - part.added,
            modified: self.modified - part.modified,
            removed: self.removed - part.removed,
            added_bytes: self.added_bytes.saturating_sub(part.added_bytes),
            removed_bytes: self.removed_bytes.saturating_sub(part.removed_bytes),
        }
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

pub fn report(diff: &Diff, before: &Side, after: &Side, installed: [Installed; 2], patches: &Patches) -> Report {
    let named = |side: &Side| Named { name: side.name.clone(), kind: side.kind };
    let wrong: Vec<&(Manager, String)> = installed.iter().flat_map(|it| &it.wrong).collect();
    let warnings = before.warnings.iter().chain(&after.warnings).chain(wrong.iter().map(|(_, why)| why));
    let left_out = (patches.left_out > 0).then(|| {
        let files = count(patches.left_out, "more file");
        format!("the lines that differ in {files} are left out: there are too many")
    });
    let entries = diff.ids().skip(1).filter(|id| diff.change(*id) != Change::Unchanged);
    Report {
        schema: SCHEMA,
        before: named(before),
        after: named(after),
        warnings: warnings.cloned().chain(left_out).collect(),
        sums: sums(diff, Diff::ROOT),
        packages: changed_packages(packages::known_changes(&installed[0], &installed[1])),
        directories: directories(diff),
        entries: entries.map(|id| entry(diff, id, &patches.of)).collect(),
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

/// Directories with a change in them. Those of the lowest level have all that is below them, those above what is in no
/// directory here that is lower: each path counts once.
fn directories(diff: &Diff) -> Vec<Directory> {
    let is_one = |id: &DiffId| *id == Diff::ROOT || diff.meta(*id).kind == Kind::Directory;
    let mut found = Vec::new();
    for id in diff.ids().filter(is_one).filter(|id| diff.depth(*id) <= DEPTH) {
        let lower = diff.children(id).filter(is_one).filter(|id| diff.depth(*id) <= DEPTH);
        let sums = lower.fold(sums(diff, id), |all, lower| all.without(sums(diff, lower)));
        if !sums.is_empty() {
            found.push(Directory { path: Path::new(diff.path(id).as_ref()), sums });
        }
    }
    let weight = |it: &Directory| (it.sums.added_bytes.saturating_add(it.sums.removed_bytes), it.sums.count());
    found.sort_by(|a, b| weight(b).cmp(&weight(a)).then_with(|| a.path.path.cmp(&b.path.path)));
    found
}

fn changed_packages(changes: PackageChanges) -> Packages {
    let added_bytes = changes.added_bytes();
    let PackageChanges { added, removed, changed } = changes;
    let changed = changed.into_iter().map(|(before, after)| Upgrade { before, after }).collect();
    Packages { added_bytes, added, removed, changed }
}
