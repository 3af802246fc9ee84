//! What differs between two trees.

use super::{FileTree, Kind, Meta, NodeId};
use bstr::BString;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Change {
    Added,
    Modified,
    Removed,
    /// Itself the same; something below it may not be.
    Unchanged,
}

impl Change {
    /// The letter that stands beside the colour on every screen.
    pub fn letter(self) -> char {
        match self {
            Change::Added => 'A',
            Change::Modified => 'M',
            Change::Removed => 'D',
            Change::Unchanged => ' ',
        }
    }
}

/// One path of a [`Diff`], with the changed paths below it. Unchanged leaves are not kept.
#[derive(Debug, Clone)]
pub struct DiffNode {
    pub name: BString,
    pub change: Change,
    pub before: Option<Meta>,
    pub after: Option<Meta>,
    /// Bytes of new or rewritten content at and below this path.
    pub added_bytes: u64,
    /// Bytes of removed or overwritten content at and below this path.
    pub removed_bytes: u64,
    pub children: Vec<DiffNode>,
}

/// The whole difference, as a tree below the root.
#[derive(Debug, Clone)]
pub struct Diff {
    pub root: DiffNode,
    pub added: usize,
    pub modified: usize,
    pub removed: usize,
}

impl Diff {
    /// Compares two trees. Times alone make no difference for directories; files are compared by their
    /// properties, so a rewritten file with the same size and time counts as the same.
    pub fn between(before: &FileTree, after: &FileTree) -> Diff {
        let mut diff = Diff {
            root: DiffNode {
                name: BString::default(),
                change: Change::Unchanged,
                before: Some(before.meta(FileTree::ROOT).clone()),
                after: Some(after.meta(FileTree::ROOT).clone()),
                added_bytes: 0,
                removed_bytes: 0,
                children: Vec::new(),
            },
            added: 0,
            modified: 0,
            removed: 0,
        };
        let children = diff.children(before, Some(FileTree::ROOT), after, Some(FileTree::ROOT));
        diff.root.added_bytes = children.iter().map(|node| node.added_bytes).sum();
        diff.root.removed_bytes = children.iter().map(|node| node.removed_bytes).sum();
        diff.root.children = children;
        diff
    }

    pub fn is_empty(&self) -> bool {
        self.added + self.modified + self.removed == 0
    }

    fn children(&mut self, a: &FileTree, at_a: Option<NodeId>, b: &FileTree, at_b: Option<NodeId>) -> Vec<DiffNode> {
        let mut names: Vec<BString> = Vec::new();
        names.extend(at_a.iter().flat_map(|id| a.children(*id)).map(|id| a.name(id).to_owned()));
        names.extend(at_b.iter().flat_map(|id| b.children(*id)).map(|id| b.name(id).to_owned()));
        names.sort_unstable();
        names.dedup();
        names
            .into_iter()
            .filter_map(|name| {
                let in_a = at_a.and_then(|id| a.child(id, name.as_ref()));
                let in_b = at_b.and_then(|id| b.child(id, name.as_ref()));
                self.node(name, a, in_a, b, in_b)
            })
            .collect()
    }

    fn node(
        &mut self,
        name: BString,
        a: &FileTree,
        in_a: Option<NodeId>,
        b: &FileTree,
        in_b: Option<NodeId>,
    ) -> Option<DiffNode> {
        let before = in_a.map(|id| a.meta(id));
        let after = in_b.map(|id| b.meta(id));
        let change = match (before, after) {
            (None, _) => Change::Added,
            (_, None) => Change::Removed,
            (Some(before), Some(after)) if same(before, after) => Change::Unchanged,
            _ => Change::Modified,
        };
        match change {
            Change::Added => self.added += 1,
            Change::Modified => self.modified += 1,
            Change::Removed => self.removed += 1,
            Change::Unchanged => {}
        }
        let children = self.children(a, in_a, b, in_b);
        if change == Change::Unchanged && children.is_empty() {
            return None;
        }
        let own = |meta: Option<&Meta>| match change {
            Change::Unchanged => 0,
            _ => meta.map_or(0, |meta| meta.size),
        };
        Some(DiffNode {
            added_bytes: own(after) + children.iter().map(|node| node.added_bytes).sum::<u64>(),
            removed_bytes: own(before) + children.iter().map(|node| node.removed_bytes).sum::<u64>(),
            name,
            change,
            before: before.cloned(),
            after: after.cloned(),
            children,
        })
    }
}

fn same(before: &Meta, after: &Meta) -> bool {
    before.kind == after.kind
        && before.mode == after.mode
        && (before.uid, before.gid) == (after.uid, after.gid)
        && before.size == after.size
        && before.target == after.target
        && before.device == after.device
        && before.xattrs == after.xattrs
        && (before.kind == Kind::Directory || before.mtime == after.mtime)
}
