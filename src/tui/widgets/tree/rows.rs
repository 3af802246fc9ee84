//! Which paths of a difference are on show, and in what order.
//!
//! Every order of a [`Diff`] has a path's descendants in one stretch behind it. So the rows are found by one
//! scan that jumps over what is collapsed, and opening a directory puts the rows of its stretch in place.

use crate::layers::{Change, Diff, DiffId, Kind, Order};
use std::ops::Range;
use std::sync::Arc;

/// What decides which rows there are. A copy of it costs nothing: what is as large as the difference is shared until it
/// changes.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// By number of the path.
    pub(super) expanded: Arc<Vec<bool>>,
    /// Paths that are left out with all below them; empty if none are.
    pub(super) hidden: Arc<Vec<bool>>,
    /// What is left out besides, with all below it.
    pub(super) without: Without,
    pub(super) order: Order,
    /// Directories that hold nothing but one directory share a row with it.
    pub(super) joined: bool,
}

/// Paths that are not shown for what happened to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Without {
    Nothing,
    Unchanged,
    Removed,
}

impl Without {
    pub(super) fn leaves_out(self, diff: &Diff, id: DiffId) -> bool {
        match self {
            Without::Nothing => false,
            Without::Unchanged => diff.change(id) == Change::Unchanged && !diff.touched(id),
            Without::Removed => diff.change(id) == Change::Removed,
        }
    }
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
    room.reserve(diff.len());
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
fn scan(diff: &Diff, shape: &Shape, places: Range<u32>, indent: u16, rows: Vec<Row>) -> Vec<Row> {
    match diff.order(shape.order) {
        None => scan_with(diff, shape, places, indent, rows, DiffId),
        Some(order) => scan_with(diff, shape, places, indent, rows, |at| DiffId(order[at as usize])),
    }
}

fn scan_with(
    diff: &Diff,
    shape: &Shape,
    places: Range<u32>,
    indent: u16,
    mut rows: Vec<Row>,
    id_at: impl Fn(u32) -> DiffId,
) -> Vec<Row> {
    let is_set = |set: &[bool], id: DiffId| set.get(id.0 as usize).copied().unwrap_or(false);
    let (expanded, hidden) = (&shape.expanded[..], &shape.hidden[..]);
    let is_hidden = |id: DiffId| is_set(hidden, id) || shape.without.leaves_out(diff, id);
    // Where the innermost open directory ends, and those around it.
    let (mut end, mut around) = (places.end, Vec::new());
    let mut depth = u32::from(indent);
    let mut at = places.start;
    while at < places.end {
        while at >= end {
            end = around.pop().unwrap_or(places.end);
            depth -= 1;
        }
        let first = id_at(at);
        let mut id = first;
        if is_hidden(id) {
            at += 1 + diff.below(id);
            continue;
        }
        while shape.joined && diff.below(id) > 0 {
            let child = id_at(at + 1);
            if !joins(diff, id, child) || is_hidden(child) {
                break;
            }
            id = child;
            at += 1;
        }
        rows.push(Row { at, id, first, indent: depth.min(u32::from(u16::MAX)) as u16 });
        at += 1;
        let below = diff.below(id);
        if below == 0 {
            continue;
        }
        if is_set(expanded, id) {
            around.push(end);
            end = at + below;
            depth += 1;
        } else {
            at += below;
        }
    }
    rows
}

/// Whether `next`, which stands behind `id`, is a directory and all that `id` holds, and a row for both would
/// hide nothing.
fn joins(diff: &Diff, id: DiffId, next: DiffId) -> bool {
    diff.below(id) == diff.below(next) + 1
        && diff.meta(next).kind == Kind::Directory
        && (diff.change(id) == Change::Unchanged || diff.change(id) == diff.change(next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Entry, FileTree, Layer, Meta, Scope};
    use bstr::BString;
    use proptest::prelude::*;

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
        let hidden = |id: &DiffId| shape.hidden[id.0 as usize] || shape.without.leaves_out(diff, *id);
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
            without in prop_oneof![Just(Without::Nothing), Just(Without::Unchanged), Just(Without::Removed)],
            joined in any::<bool>(),
        ) {
            let diff = diff(&before, &after);
            let bits = |seed: u64| diff.ids().map(|id| seed.rotate_left(id.0 * 7) & 1 == 1).collect::<Vec<bool>>();
            // A hidden path hides all below it, as no hidden path is ever open for the walk.
            let (expanded, hidden) = (Arc::new(bits(expanded)), Arc::new(bits(hidden & 0x1111)));
            let mut shape = Shape { expanded, hidden, without, order, joined };
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
                Arc::make_mut(&mut shape.expanded)[row.id.0 as usize] = !was;
                let new = if was { Vec::new() } else { rows_below(&diff, &shape, row) };
                toggled.splice(index + 1..after, new);
                prop_assert_eq!(toggled, rows(&diff, &shape, Vec::new()));
                Arc::make_mut(&mut shape.expanded)[row.id.0 as usize] = was;
            }
        }
    }
}
