//! What differs between two trees.

use super::search::Names;
use super::tree::{FileTree, MetaRef, NodeId};
use super::{Differences, Kind, differences};
use bstr::{BStr, BString};
use std::collections::HashSet;
use std::sync::OnceLock;

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

/// A path of one [`Diff`]; meaningless in another. The root is [`Diff::ROOT`], and a path's descendants follow
/// it without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DiffId(pub u32);

/// The difference of two trees as a tree: parents first, names in byte order.
#[derive(Debug, Clone)]
pub struct Diff {
    before: FileTree,
    after: FileTree,
    nodes: Vec<DiffNode>,
    /// Where each path stands, apart from the rest: the screen goes over all of it with a key.
    places: Vec<Place>,
    /// Paths that were added, changed and removed; the root does not count.
    pub added: usize,
    pub modified: usize,
    pub removed: usize,
    scope: Scope,
    by_size: OnceLock<Vec<u32>>,
    by_change: OnceLock<Vec<u32>>,
    names: OnceLock<Names>,
}

#[derive(Debug, Clone)]
struct DiffNode {
    before: Option<NodeId>,
    after: Option<NodeId>,
    added_bytes: u64,
    removed_bytes: u64,
}

#[derive(Debug, Clone)]
struct Place {
    parent: u32,
    /// The number after the last descendant's.
    end: u32,
    depth: u16,
    change: Change,
    /// Something below is not as it was.
    touched: bool,
}

/// Which paths a difference keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those that changed, and the directories above them.
    Changed,
    /// All of both trees.
    Everything,
}

/// In what order siblings stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Order {
    #[default]
    Name,
    /// The largest first.
    Size,
    /// Added, modified, removed, changed below, the rest.
    Change,
}

impl Diff {
    pub const ROOT: DiffId = DiffId(0);

    /// Compares two trees by what they hold. Times alone make no difference for anything but files whose
    /// content nobody has read: there, another time or size counts as another content.
    pub fn between(before: &FileTree, after: &FileTree, scope: Scope) -> Diff {
        Comparison { before, after, scope, rewritten: false }.run()
    }

    /// What the layers from number `below` on did to the tree under them. A file that they write again counts
    /// as modified even if nothing about it is new, for its bytes are there twice.
    pub fn above(tree: &FileTree, below: u32, scope: Scope) -> Diff {
        Comparison { before: &tree.at(below), after: tree, scope, rewritten: true }.run()
    }

    /// What one layer did, by its number.
    pub fn of_layer(tree: &FileTree, layer: u32) -> Diff {
        Diff::above(&tree.at(layer.saturating_add(1)), layer, Scope::Changed)
    }

    pub fn is_empty(&self) -> bool {
        self.added + self.modified + self.removed == 0
    }

    /// How many paths it keeps, the root among them.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn scope(&self) -> Scope {
        self.scope
    }

    pub fn before_tree(&self) -> &FileTree {
        &self.before
    }

    pub fn after_tree(&self) -> &FileTree {
        &self.after
    }

    pub fn ids(&self) -> impl DoubleEndedIterator<Item = DiffId> + use<> {
        (0..self.nodes.len() as u32).map(DiffId)
    }

    pub fn parent(&self, id: DiffId) -> Option<DiffId> {
        (id != Self::ROOT).then(|| DiffId(self.place(id).parent))
    }

    /// 0 for the root.
    pub fn depth(&self, id: DiffId) -> u16 {
        self.place(id).depth
    }

    /// How many paths lie below.
    pub fn below(&self, id: DiffId) -> u32 {
        self.place(id).end - id.0 - 1
    }

    /// Children in byte order of their names.
    pub fn children(&self, id: DiffId) -> impl Iterator<Item = DiffId> + '_ {
        let end = self.place(id).end;
        let mut at = id.0 + 1;
        std::iter::from_fn(move || {
            let child = (at < end).then_some(DiffId(at))?;
            at = self.place(child).end;
            Some(child)
        })
    }

    pub fn lookup(&self, path: &BStr) -> Option<DiffId> {
        super::arena::components(path)
            .try_fold(Self::ROOT, |id, name| self.children(id).find(|child| self.name(*child) == name))
    }

    pub fn name(&self, id: DiffId) -> &BStr {
        let node = self.node(id);
        match (node.after, node.before) {
            (Some(after), _) => self.after.name(after),
            (None, Some(before)) => self.before.name(before),
            (None, None) => BStr::new(""),
        }
    }

    /// The path from the root, without a leading slash.
    pub fn path(&self, id: DiffId) -> BString {
        let node = self.node(id);
        match (node.after, node.before) {
            (Some(after), _) => self.after.path(after),
            (None, Some(before)) => self.before.path(before),
            (None, None) => BString::default(),
        }
    }

    pub fn change(&self, id: DiffId) -> Change {
        self.place(id).change
    }

    /// Whether something below is not as it was.
    pub fn touched(&self, id: DiffId) -> bool {
        self.place(id).touched
    }

    pub fn before(&self, id: DiffId) -> Option<MetaRef<'_>> {
        self.node(id).before.map(|id| self.before.meta(id))
    }

    pub fn after(&self, id: DiffId) -> Option<MetaRef<'_>> {
        self.node(id).after.map(|id| self.after.meta(id))
    }

    /// What is there, or was there before it was removed.
    pub fn meta(&self, id: DiffId) -> MetaRef<'_> {
        self.after(id).or_else(|| self.before(id)).unwrap_or_else(|| self.after.meta(FileTree::ROOT))
    }

    /// In what a modified path differs.
    pub fn differences(&self, id: DiffId) -> Differences {
        match (self.before(id), self.after(id)) {
            (Some(before), Some(after)) => differences(before, after),
            _ => Differences::default(),
        }
    }

    /// Bytes of new or rewritten content at and below this path, an inode of several names once.
    pub fn added_bytes(&self, id: DiffId) -> u64 {
        self.node(id).added_bytes
    }

    /// Bytes of removed or overwritten content at and below this path, an inode of several names once.
    pub fn removed_bytes(&self, id: DiffId) -> u64 {
        self.node(id).removed_bytes
    }

    /// Content bytes at and below this path, as they are afterwards.
    pub fn bytes(&self, id: DiffId) -> u64 {
        self.node(id).after.map_or(0, |id| self.after.bytes(id))
    }

    /// Whether the bytes of this file count at another of its names.
    pub fn counts_elsewhere(&self, id: DiffId) -> bool {
        self.node(id).after.is_some_and(|id| self.after.counts_elsewhere(id))
    }

    /// Every path, parents first and without a gap between a path and its descendants, siblings in this order.
    /// It is worked out once.
    pub fn order(&self, order: Order) -> Option<&[u32]> {
        match order {
            Order::Name => None,
            Order::Size => Some(self.by_size.get_or_init(|| {
                let size = |id: DiffId| match self.scope {
                    Scope::Everything => self.bytes(id),
                    Scope::Changed => self.added_bytes(id).saturating_add(self.removed_bytes(id)),
                };
                self.permutation(|id| std::cmp::Reverse(size(id)))
            })),
            Order::Change => Some(self.by_change.get_or_init(|| {
                self.permutation(|id| match self.change(id) {
                    Change::Unchanged => (Change::Unchanged, !self.touched(id)),
                    change => (change, false),
                })
            })),
        }
    }

    /// Works out now what is otherwise worked out when it is first asked for.
    pub fn prepare(&self) {
        self.order(Order::Size);
        self.order(Order::Change);
        self.names();
    }

    pub(super) fn names(&self) -> &Names {
        self.names.get_or_init(|| Names::of(self))
    }

    fn permutation<K: Ord>(&self, key: impl Fn(DiffId) -> K) -> Vec<u32> {
        let mut out = Vec::with_capacity(self.nodes.len());
        let mut open = vec![Self::ROOT.0];
        while let Some(id) = open.pop() {
            out.push(id);
            let first = open.len();
            open.extend(self.children(DiffId(id)).map(|child| child.0));
            // Siblings come in the order of their names; a stable sort keeps that among equals.
            open[first..].sort_by_cached_key(|id| key(DiffId(*id)));
            open[first..].reverse();
        }
        out
    }

    fn node(&self, id: DiffId) -> &DiffNode {
        &self.nodes[id.0 as usize]
    }

    fn place(&self, id: DiffId) -> &Place {
        &self.places[id.0 as usize]
    }
}

/// How two trees are compared.
struct Comparison<'t> {
    before: &'t FileTree,
    after: &'t FileTree,
    scope: Scope,
    /// Both trees are of one stack, and a file that was written again counts as modified.
    rewritten: bool,
}

impl Comparison<'_> {
    fn run(self) -> Diff {
        let (mut nodes, places, staying) = self.nodes();
        self.measure(&mut nodes, &places, &staying);
        let count = |change: Change| places.iter().skip(1).filter(|place| place.change == change).count();
        Diff {
            added: count(Change::Added),
            modified: count(Change::Modified),
            removed: count(Change::Removed),
            before: self.before.clone(),
            after: self.after.clone(),
            nodes,
            places,
            scope: self.scope,
            by_size: OnceLock::new(),
            by_change: OnceLock::new(),
            names: OnceLock::new(),
        }
    }

    /// Walks both trees side by side.
    fn nodes(&self) -> (Vec<DiffNode>, Vec<Place>, Staying) {
        let mut nodes: Vec<DiffNode> = Vec::new();
        let mut places: Vec<Place> = Vec::new();
        let mut staying = Staying::default();
        // Both trees are one store: what no layer in between touched need not be looked at.
        let touched = (self.rewritten && self.scope == Scope::Changed)
            .then(|| self.after.arena.touched(self.before.height(), self.after.height()));
        // Directories that are open, as their numbers, and siblings that wait, the next one last.
        let mut open: Vec<u32> = Vec::new();
        let mut waiting = vec![Pair { depth: 0, before: Some(FileTree::ROOT), after: Some(FileTree::ROOT) }];
        while let Some(pair) = waiting.pop() {
            self.close(&mut nodes, &mut places, &mut open, pair.depth);
            let number = nodes.len() as u32;
            let change = self.change(pair.before, pair.after);
            if !self.rewritten
                && let (Some(before), Some(after)) = (pair.before, pair.after)
                && !self.new_content(Some(before), Some(after))
            {
                staying.before.insert(self.before.meta(before).hard_link);
                staying.after.insert(self.after.meta(after).hard_link);
            }
            nodes.push(DiffNode { before: pair.before, after: pair.after, added_bytes: 0, removed_bytes: 0 });
            places.push(Place {
                parent: open.last().copied().unwrap_or(0),
                end: number + 1,
                depth: pair.depth.min(usize::from(u16::MAX)) as u16,
                change,
                touched: false,
            });
            open.push(number);
            self.pairs(&pair, touched.as_deref(), &mut waiting);
        }
        self.close(&mut nodes, &mut places, &mut open, 0);
        (nodes, places, staying)
    }

    /// Ends the directories that are deeper than what comes next.
    fn close(&self, nodes: &mut Vec<DiffNode>, places: &mut Vec<Place>, open: &mut Vec<u32>, depth: usize) {
        while open.len() > depth {
            let Some(number) = open.pop() else { return };
            let end = nodes.len() as u32;
            let place = &mut places[number as usize];
            place.end = end;
            let changed = place.touched || place.change != Change::Unchanged;
            let parent = place.parent;
            if changed {
                if number != 0 {
                    places[parent as usize].touched = true;
                }
            } else if self.scope == Scope::Changed && number != 0 {
                // Nothing that changed is below, so nothing below was kept.
                nodes.truncate(number as usize);
                places.truncate(number as usize);
            }
        }
    }

    /// The children of a pair, by name, in reverse.
    fn pairs(&self, pair: &Pair, touched: Option<&[bool]>, waiting: &mut Vec<Pair>) {
        let wanted = |id: &NodeId| touched.is_none_or(|touched| touched[id.0 as usize]);
        let first = waiting.len();
        let depth = pair.depth + 1;
        let mut left = pair.before.into_iter().flat_map(|id| self.before.children(id)).filter(wanted).peekable();
        let mut right = pair.after.into_iter().flat_map(|id| self.after.children(id)).filter(wanted).peekable();
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => break,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(a), Some(b)) => self.before.name(*a).cmp(self.after.name(*b)),
            };
            let before = if order.is_le() { left.next() } else { None };
            let after = if order.is_ge() { right.next() } else { None };
            waiting.push(Pair { depth, before, after });
        }
        waiting[first..].reverse();
    }

    fn change(&self, before: Option<NodeId>, after: Option<NodeId>) -> Change {
        match (before, after) {
            (None, _) => Change::Added,
            (_, None) => Change::Removed,
            (Some(a), Some(b)) => {
                let (before, after) = (self.before.meta(a), self.after.meta(b));
                let again = self.rewritten && after.kind == Kind::File && self.before.layer(a) != self.after.layer(b);
                match again || differences(before, after).matter() {
                    true => Change::Modified,
                    false => Change::Unchanged,
                }
            }
        }
    }

    /// Fills in the bytes. Content that is still there under another name of its inode was neither added nor
    /// removed.
    fn measure(&self, nodes: &mut [DiffNode], places: &[Place], staying: &Staying) {
        let own = |tree: &FileTree, other: &FileTree, id: Option<NodeId>, staying: &HashSet<u64>| {
            let stays = |inode: u64| match self.rewritten {
                true => other.has_inode(inode),
                false => staying.contains(&inode),
            };
            let counts = |id: &NodeId| {
                let meta = tree.meta(*id);
                meta.kind == Kind::File
                    && !tree.counts_elsewhere(*id)
                    && (meta.hard_link == 0 || !stays(meta.hard_link))
            };
            id.filter(counts).map_or(0, |id| tree.meta(id).bytes())
        };
        for number in (0..nodes.len()).rev() {
            let DiffNode { before, after, .. } = nodes[number];
            if places[number].change != Change::Unchanged && self.new_content(before, after) {
                let node = &mut nodes[number];
                node.added_bytes = node.added_bytes.saturating_add(own(self.after, self.before, after, &staying.after));
                node.removed_bytes =
                    node.removed_bytes.saturating_add(own(self.before, self.after, before, &staying.before));
            }
            if number != 0 {
                let parent = places[number].parent as usize;
                let (added, removed) = (nodes[number].added_bytes, nodes[number].removed_bytes);
                nodes[parent].added_bytes = nodes[parent].added_bytes.saturating_add(added);
                nodes[parent].removed_bytes = nodes[parent].removed_bytes.saturating_add(removed);
            }
        }
    }

    /// Whether the bytes of a path are others than before. A layer that writes a file again writes all of it.
    fn new_content(&self, before: Option<NodeId>, after: Option<NodeId>) -> bool {
        let (Some(a), Some(b)) = (before, after) else { return true };
        if self.rewritten {
            return self.before.layer(a) != self.after.layer(b);
        }
        let differences = differences(self.before.meta(a), self.after.meta(b));
        differences.kind || differences.content
    }
}

/// Inodes whose content is there before and after, where the two trees do not share their inodes.
#[derive(Default)]
struct Staying {
    before: HashSet<u64>,
    after: HashSet<u64>,
}

struct Pair {
    depth: usize,
    before: Option<NodeId>,
    after: Option<NodeId>,
}

#[cfg(test)]
mod tests {
    use super::super::{ContentHash, Entry, Layer, Meta, model};
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    fn put(path: &str, meta: Meta) -> Entry {
        Entry::Put { path: path.into(), meta, opaque: false }
    }

    fn file(size: u64) -> Meta {
        Meta { size, mode: 0o644, ..Meta::new(Kind::File) }
    }

    fn tree(layers: &[&[Entry]]) -> FileTree {
        let layers: Vec<_> = layers.iter().map(|entries| Arc::new(Layer { entries: entries.to_vec() })).collect();
        FileTree::merge(&layers)
    }

    fn lines(diff: &Diff) -> Vec<String> {
        let line = |id: DiffId| {
            let (added, removed) = (diff.added_bytes(id), diff.removed_bytes(id));
            format!("{} {} +{added} -{removed}", diff.change(id).letter(), diff.path(id))
        };
        diff.ids().skip(1).map(line).collect()
    }

    /// Compares two single layers and expects these lines.
    fn check(before: &[Entry], after: &[Entry], expected: &[&str]) {
        assert_eq!(lines(&Diff::between(&tree(&[before]), &tree(&[after]), Scope::Changed)), expected);
    }

    /// Puts a layer on another and expects these lines of it.
    fn check_layer(below: &[Entry], layer: &[Entry], expected: &[&str]) {
        assert_eq!(lines(&Diff::of_layer(&tree(&[below, layer]), 1)), expected);
    }

    #[test]
    fn says_what_was_added_modified_and_removed() {
        let before = [put("etc/a", file(1)), put("etc/b", file(2)), put("opt/x/y", file(3)), put("same", file(9))];
        let after = [put("etc/a", file(4)), put("etc/c", file(5)), put("same", file(9))];
        let expected = [
            "  etc +9 -3",
            "M etc/a +4 -1",
            "D etc/b +0 -2",
            "A etc/c +5 -0",
            "D opt +0 -3",
            "D opt/x +0 -3",
            "D opt/x/y +0 -3",
        ];
        check(&before, &after, &expected);
        let diff = Diff::between(&tree(&[&before]), &tree(&[&after]), Scope::Everything);
        assert_eq!((diff.added, diff.modified, diff.removed), (1, 1, 4));
        assert_eq!(diff.len(), expected.len() + 2);
        assert_eq!(diff.below(diff.lookup("opt".into()).unwrap()), 2);
        assert_eq!(diff.bytes(Diff::ROOT), 18);
        assert!(Diff::between(&tree(&[&after]), &tree(&[&after]), Scope::Everything).is_empty());
    }

    #[test]
    fn content_is_judged_by_its_hash_where_that_is_known() {
        let known = |hash: u128, time: i64| Meta { content: Some(ContentHash(hash)), mtime: (time, 0), ..file(7) };
        check(&[put("f", known(1, 1))], &[put("f", known(1, 2))], &[]);
        check(&[put("f", known(1, 1))], &[put("f", known(2, 1))], &["M f +7 -7"]);
        let unknown = |time: i64| Meta { mtime: (time, 0), ..file(7) };
        check(&[put("f", unknown(1))], &[put("f", unknown(2))], &["M f +7 -7"]);
        check(&[put("f", unknown(1))], &[put("f", known(1, 1))], &[]);
        let directory = |time: i64| Meta { mtime: (time, 0), ..Meta::new(Kind::Directory) };
        check(&[put("d", directory(1))], &[put("d", directory(2))], &[]);
    }

    #[test]
    fn other_properties_count_but_bring_no_bytes() {
        let xattrs = BTreeMap::from([("user.a".into(), "1".into())]);
        for other in [Meta { mode: 0o755, ..file(7) }, Meta { uid: 1, ..file(7) }, Meta { xattrs, ..file(7) }] {
            check(&[put("f", file(7))], &[put("f", other)], &["M f +0 -0"]);
        }
        let link = |target: &str| Meta { target: target.into(), ..Meta::new(Kind::Symlink) };
        check(&[put("l", link("a"))], &[put("l", link("b"))], &["M l +0 -0"]);
        check(&[put("l", link("a"))], &[put("l", Meta { mode: 0o777, ..link("a") })], &[]);
        check(&[put("l", link("a"))], &[put("l", file(3))], &["M l +3 -0"]);
        let device = |device| Meta { device, ..Meta::new(Kind::CharDevice) };
        check(&[put("d", device((1, 3)))], &[put("d", device((1, 5)))], &["M d +0 -0"]);
    }

    #[test]
    fn a_layer_pays_for_what_it_writes_again() {
        let below = [put("f", file(7)), put("d", Meta::new(Kind::Directory))];
        check_layer(&below, &[put("f", file(7)), put("d", Meta::new(Kind::Directory))], &["M f +7 -7"]);
        check_layer(&below, &[put("f", Meta { uid: 5, ..file(7) })], &["M f +7 -7"]);
        check_layer(&below, &[Entry::Whiteout { path: "f".into() }, put("f", file(2))], &["M f +2 -7"]);
        check_layer(&below, &[Entry::Whiteout { path: "nothing".into() }], &[]);
        check_layer(&[put("d/x", file(1))], &[put("d", file(2))], &["M d +2 -1", "D d/x +0 -1"]);
    }

    #[test]
    fn an_inode_is_neither_added_nor_removed_while_a_name_stays() {
        let name = |size| Meta { hard_link: 1, ..file(size) };
        let both = [put("a", name(7)), put("b", name(7))];
        check(&both, &[put("b", name(7))], &["D a +0 -0"]);
        check(&both, &[], &["D a +0 -7", "D b +0 -0"]);
        check(&[put("b", name(7))], &both, &["A a +0 -0"]);
        check(&[], &both, &["A a +7 -0", "A b +0 -0"]);
        check_layer(
            &[put("a", file(7))],
            &[Entry::Link { path: "b".into(), target: "a".into(), own: None }],
            &["A b +0 -0"],
        );
        check_layer(&both, &[Entry::Whiteout { path: "a".into() }], &["D a +0 -0"]);
        check_layer(&both, &[put("a", file(3))], &["M a +3 -0"]);
    }

    /// Siblings in an order, as names.
    fn ordered(diff: &Diff, order: Order) -> Vec<String> {
        diff.order(order).unwrap().iter().skip(1).map(|id| diff.path(DiffId(*id)).to_string()).collect()
    }

    #[test]
    fn siblings_can_be_in_other_orders() {
        let before = [put("a/x", file(1)), put("b", file(5)), put("e", file(2))];
        let after = [put("a/x", file(1)), put("a/y", file(9)), put("c", file(3)), put("e", file(4)), put("f", file(0))];
        let diff = Diff::between(&tree(&[&before]), &tree(&[&after]), Scope::Changed);
        assert_eq!(ordered(&diff, Order::Size), ["a", "a/y", "e", "b", "c", "f"]);
        assert_eq!(ordered(&diff, Order::Change), ["c", "f", "e", "b", "a", "a/y"]);
    }

    proptest! {
        /// What is kept, and how it is judged, is what a comparison of the two listings says.
        #[test]
        fn agrees_with_a_comparison_of_listings(before in model::stacks(), after in model::stacks()) {
            let (before, after) = (FileTree::merge(&before), FileTree::merge(&after));
            let (a, b) = (model::listing(&before), model::listing(&after));
            let mut expected = BTreeMap::new();
            for path in a.keys().chain(b.keys()) {
                let change = match (a.get(path), b.get(path)) {
                    (None, _) => Change::Added,
                    (_, None) => Change::Removed,
                    (Some(x), Some(y)) => {
                        let mut x = x.meta.clone();
                        if x.kind != Kind::File {
                            x.mtime = y.meta.mtime;
                        }
                        if x == y.meta { Change::Unchanged } else { Change::Modified }
                    }
                };
                expected.insert(path.clone(), change);
            }
            let all = Diff::between(&before, &after, Scope::Everything);
            let found: BTreeMap<_, _> = all.ids().skip(1).map(|id| (all.path(id), all.change(id))).collect();
            prop_assert_eq!(&found, &expected);
            let changed = Diff::between(&before, &after, Scope::Changed);
            let found: BTreeSet<_> = changed.ids().skip(1).map(|id| changed.path(id)).collect();
            let is_above = |path: &BString| expected.iter().any(|(at, change)| {
                *change != Change::Unchanged && model::is_below(at, path)
            });
            let keep = |(path, change): &(&BString, &Change)| **change != Change::Unchanged || is_above(path);
            let kept: BTreeSet<_> = expected.iter().filter(keep).map(|(path, _)| path.clone()).collect();
            prop_assert_eq!(found, kept);
            prop_assert_eq!(changed.added_bytes(Diff::ROOT), all.added_bytes(Diff::ROOT));
            prop_assert_eq!(changed.removed_bytes(Diff::ROOT), all.removed_bytes(Diff::ROOT));
        }

        /// Paths come before what is below them, and in every order that is one stretch.
        #[test]
        fn orders_keep_descendants_together(before in model::stacks(), after in model::stacks()) {
            let (before, after) = (FileTree::merge(&before), FileTree::merge(&after));
            let diff = Diff::between(&before, &after, Scope::Everything);
            for order in [Order::Size, Order::Change] {
                let sorted = diff.order(order).unwrap();
                prop_assert_eq!(sorted.len(), diff.len());
                for (at, id) in sorted.iter().enumerate() {
                    let id = DiffId(*id);
                    let inside = &sorted[at + 1..][..diff.below(id) as usize];
                    let expected: BTreeSet<u32> = (id.0 + 1..=id.0 + diff.below(id)).collect();
                    prop_assert_eq!(inside.iter().copied().collect::<BTreeSet<_>>(), expected);
                }
            }
        }

        /// What a layer adds and removes is what the tree's size grows by.
        #[test]
        fn bytes_add_up(layers in model::stacks()) {
            let tree = FileTree::merge(&layers);
            for layer in 0..tree.height() {
                let diff = Diff::of_layer(&tree, layer);
                let grown = tree.at(layer + 1).bytes(FileTree::ROOT) as i64 - tree.at(layer).bytes(FileTree::ROOT) as i64;
                prop_assert_eq!(diff.added_bytes(Diff::ROOT) as i64 - diff.removed_bytes(Diff::ROOT) as i64, grown);
            }
        }
    }
}
