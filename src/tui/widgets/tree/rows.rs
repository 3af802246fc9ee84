//! Which paths of a difference are on show, and in what order.
//!
//! Every order of a [`Diff`] has a path's descendants in one stretch behind it. So the rows are found by one
//! scan that jumps over what is collapsed, and opening a directory puts the rows of its stretch in place.

use crate::layers::{Change, Diff, DiffId, Kind, Order};
use std::ops::Range;

/// What decides which rows there are.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// By number of the path.
    pub(super) expanded: Vec<bool>,
    /// Paths that are left out with all below them; empty if none are.
    pub(super) hidden: Vec<bool>,
    pub(super) order: Order,
    /// Directories that hold nothing but one directory share a row with it.
    pub(super) joined: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    /// The place of its path in the order.
    pub(super) at: u32,
    /// The path; if it stands for several, the lowest.
    pub(super) id: DiffId,
    /// The highest path it stands for.
    pub(super) first: DiffId,
    pub(super) indent: u16,
}

/// All rows, in the room that other ones had: there may be as many as paths.
pub(super) fn rows(diff: &Diff, shape: &Shape, mut room: Vec<Row>) -> Vec<Row> {
    room.clear();
    scan(diff, shape, 1..diff.len() as u32, 0, room)
}

/// The rows below a row, if its directory is open.
pub(super) fn rows_below(diff: &Diff, shape: &Shape, row: &Row) -> Vec<Row> {
    let end = row.at + 1 + diff.below(row.id);
    scan(diff, shape, row.at + 1..end, row.indent.saturating_add(1), Vec::new())
}

/// The row that shows a path, or the nearest directory above it that has one.
pub(super) fn find(diff: &Diff, shape: &Shape, rows: &[Row], id: DiffId) -> Option<usize> {
    let mut wanted = Some(id);
    while let Some(id) = wanted {
        let at = place(diff, shape, id)?;
        // A row stands for the stretch from its first path's place to its own.
        let row = rows.partition_point(|row| row.at < at);
        let includes = |row: &Row| row.at <= at + u32::from(diff.depth(row.id) - diff.depth(row.first));
        if rows.get(row).is_some_and(includes) {
            return Some(row);
        }
        wanted = diff.parent(id);
    }
    None
}

fn place(diff: &Diff, shape: &Shape, id: DiffId) -> Option<u32> {
    match diff.order(shape.order) {
        None => Some(id.0),
        Some(order) => order.iter().position(|it| *it == id.0).map(|at| at as u32),
    }
}

/// Adds the rows of these places to others.
fn scan(diff: &Diff, shape: &Shape, places: Range<u32>, indent: u16, mut rows: Vec<Row>) -> Vec<Row> {
    let order = diff.order(shape.order);
    let id_at = |at: u32| order.map_or(Some(DiffId(at)), |order| order.get(at as usize).copied().map(DiffId));
    let is_set = |set: &[bool], id: DiffId| set.get(id.0 as usize).copied().unwrap_or(false);
    // Where the open directories end.
    let mut open: Vec<u32> = Vec::new();
    let mut at = places.start;
    while at < places.end {
        while open.last().is_some_and(|end| at >= *end) {
            open.pop();
        }
        let Some(first) = id_at(at) else { break };
        let mut id = first;
        if is_set(&shape.hidden, id) {
            at += 1 + diff.below(id);
            continue;
        }
        while shape.joined
            && let Some(child) = id_at(at + 1)
            && joins(diff, id, child)
            && !is_set(&shape.hidden, child)
        {
            id = child;
            at += 1;
        }
        rows.push(Row { at, id, first, indent: indent.saturating_add(open.len() as u16) });
        let below = diff.below(id);
        if below > 0 && is_set(&shape.expanded, id) {
            open.push(at + 1 + below);
            at += 1;
        } else {
            at += 1 + below;
        }
    }
    rows
}

/// Whether `next`, which stands behind `id`, is a directory and all that `id` holds, and a row for both would
/// hide nothing.
fn joins(diff: &Diff, id: DiffId, next: DiffId) -> bool {
    let below = diff.below(id);
    below > 0
        && below == diff.below(next) + 1
        && diff.meta(next).kind == Kind::Directory
        && (diff.change(id) == Change::Unchanged || diff.change(id) == diff.change(next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Entry, FileTree, Layer, Meta, Scope};
    use bstr::BString;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn diff(before: &[String], after: &[String]) -> Diff {
        let tree = |paths: &[String]| {
            let put = |path: &String| {
                let size = path.len() as u64 * 10;
                Entry::Put { path: path.as_str().into(), meta: Meta { size, ..Meta::new(Kind::File) }, opaque: false }
            };
            FileTree::merge(&[Arc::new(Layer { entries: paths.iter().map(put).collect() })])
        };
        Diff::between(&tree(before), &tree(after), Scope::Everything)
    }

    fn paths() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec("[ab](/[ab]){0,4}", 0..10)
    }

    /// The rows as a walk from the root finds them.
    fn naive(diff: &Diff, shape: &Shape, id: DiffId, indent: u16, out: &mut Vec<(BString, BString, u16)>) {
        let hidden = |id: &DiffId| !shape.hidden.is_empty() && shape.hidden[id.0 as usize];
        let mut children: Vec<DiffId> = diff.children(id).collect();
        match shape.order {
            Order::Name => {}
            Order::Size => children.sort_by_key(|id| std::cmp::Reverse(diff.bytes(*id))),
            Order::Change => children.sort_by_key(|id| match diff.change(*id) {
                Change::Unchanged => (Change::Unchanged, !diff.touched(*id)),
                change => (change, false),
            }),
        }
        for first in children.into_iter().filter(|id| !hidden(id)) {
            let mut id = first;
            loop {
                let below: Vec<DiffId> = diff.children(id).collect();
                match below[..] {
                    [only] if shape.joined && joins(diff, id, only) && !hidden(&only) => id = only,
                    _ => break,
                }
            }
            out.push((diff.path(first), diff.path(id), indent));
            if shape.expanded[id.0 as usize] {
                naive(diff, shape, id, indent + 1, out);
            }
        }
    }

    proptest! {
        #[test]
        fn rows_are_those_of_a_walk(
            before in paths(),
            after in paths(),
            expanded in any::<u64>(),
            hidden in any::<u64>(),
            order in prop_oneof![Just(Order::Name), Just(Order::Size), Just(Order::Change)],
            joined in any::<bool>(),
        ) {
            let diff = diff(&before, &after);
            let bits = |seed: u64| diff.ids().map(|id| seed.rotate_left(id.0 * 7) & 1 == 1).collect::<Vec<bool>>();
            // A hidden path hides all below it, as no hidden path is ever open for the walk.
            let mut shape = Shape { expanded: bits(expanded), hidden: bits(hidden & 0x1111), order, joined };
            let mut expected = Vec::new();
            naive(&diff, &shape, Diff::ROOT, 0, &mut expected);
            let found = rows(&diff, &shape, Vec::new());
            let listed: Vec<_> =
                found.iter().map(|row| (diff.path(row.first), diff.path(row.id), row.indent)).collect();
            prop_assert_eq!(listed, expected);

            // Opening and closing a row at its place gives the same rows as a new scan.
            for (index, row) in found.iter().enumerate() {
                let was = shape.expanded[row.id.0 as usize];
                prop_assert_eq!(find(&diff, &shape, &found, row.id), Some(index));
                prop_assert_eq!(find(&diff, &shape, &found, row.first), Some(index));
                let end = row.at + 1 + diff.below(row.id);
                let after = found.partition_point(|other| other.at < end);
                let mut toggled = found.clone();
                shape.expanded[row.id.0 as usize] = !was;
                let new = if was { Vec::new() } else { rows_below(&diff, &shape, row) };
                toggled.splice(index + 1..after, new);
                prop_assert_eq!(toggled, rows(&diff, &shape, Vec::new()));
                shape.expanded[row.id.0 as usize] = was;
            }
        }
    }
}
