//! The file system that a stack of layers makes.

use super::arena::{Arena, Cause, NONE, State, components};
use super::entry::{ContentHash, Entry, Kind, Layer, Meta};
use bstr::{BStr, BString};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// A path of one [`FileTree`] and of those that [`FileTree::at`] makes of it; meaningless in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(super) u32);

/// A merged tree. Clones share what they hold.
#[derive(Debug, Clone)]
pub struct FileTree {
    pub(super) arena: Arc<Arena>,
    /// Layers with a number below this one count.
    pub(super) height: u32,
    sizes: OnceLock<Arc<Sizes>>,
}

/// What a tree says of one path, as [`Meta`] does. `hard_link` is a number over all layers here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetaRef<'t> {
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub mtime: (i64, u32),
    pub target: &'t BStr,
    pub hard_link: u64,
    pub device: (u32, u32),
    pub xattrs: &'t BTreeMap<BString, BString>,
    pub content: Option<ContentHash>,
    pub holes: u64,
}

/// What one layer did to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version<'t> {
    /// The layer's number, counted from 0 at the bottom.
    pub layer: u32,
    /// What is there from this layer on; `None` where the layer takes it away.
    pub meta: Option<MetaRef<'t>>,
    /// What takes it away.
    pub gone: Option<Cause>,
    /// The layer has no entry for it: it is a directory because something is below it.
    pub implied: bool,
}

/// Content bytes of everything, each inode counted at one of its names.
#[derive(Debug)]
struct Sizes {
    /// At and below each node.
    below: Vec<u64>,
    /// The version that each inode of several names counts at: the first name that is left.
    owners: Vec<u32>,
}

impl Default for FileTree {
    fn default() -> Self {
        FileTree { arena: Arc::new(Arena::new()), height: 0, sizes: OnceLock::new() }
    }
}

impl FileTree {
    pub const ROOT: NodeId = NodeId(0);

    /// Applies layers bottom first, by the rules of the OCI image specification ("Applying Changesets").
    pub fn merge(layers: &[Arc<Layer>]) -> FileTree {
        let mut builder = Builder::default();
        for layer in layers {
            for entry in &layer.entries {
                builder.entry(entry);
            }
            builder.end_layer();
        }
        builder.finish()
    }

    /// Puts one more layer on top. Its number must be larger than those of the layers that are there; one that
    /// is not counts as the next.
    pub fn apply(&mut self, layer: &Layer, index: u32) {
        let arena = Arc::make_mut(&mut self.arena);
        arena.cut(self.height);
        let index = index.max(self.height);
        for entry in &layer.entries {
            put_entry(arena, entry, index);
        }
        arena.end_layer();
        self.height = index + 1;
        self.sizes = OnceLock::new();
    }

    /// The tree as the lowest `height` layers make it; it shares everything with this one.
    pub fn at(&self, height: u32) -> FileTree {
        FileTree { arena: self.arena.clone(), height: height.min(self.height), sizes: OnceLock::new() }
    }

    /// How many layers it is made of.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Paths of hard links whose target is in no layer. They are not in the tree.
    pub fn unresolved(&self) -> &[BString] {
        &self.arena.unresolved
    }

    pub fn lookup(&self, path: &BStr) -> Option<NodeId> {
        components(path).try_fold(Self::ROOT, |id, name| self.child(id, name))
    }

    pub fn child(&self, id: NodeId, name: &BStr) -> Option<NodeId> {
        self.arena.find(id.0, name).map(NodeId).filter(|id| self.has(*id))
    }

    /// The node of a path that any of the layers has, or had before another took it away.
    pub(super) fn lookup_ever(&self, path: &BStr) -> Option<NodeId> {
        let found = components(path).try_fold(0, |node, name| self.arena.find(node, name)).map(NodeId);
        found.filter(|id| *id == Self::ROOT || self.versions(*id).next().is_some())
    }

    /// As [`FileTree::child`], also if it is gone: then it is as [`FileTree::ever`] has it.
    pub(super) fn child_ever(&self, id: NodeId, name: &BStr) -> Option<NodeId> {
        self.arena.find(id.0, name).map(NodeId)
    }

    /// Children in byte order of their names, those that are gone among them.
    pub(super) fn children_ever(&self, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let link = |at: u32| (at != NONE).then_some(at);
        let first = link(self.arena.nodes[id.0 as usize].first_child);
        std::iter::successors(first, move |at| link(self.arena.nodes[*at as usize].next_sibling))
            .map(NodeId)
            .filter(|id| self.versions(*id).next().is_some())
    }

    /// What is at a node now; `None` if it is gone.
    pub(super) fn lookup_here(&self, id: NodeId) -> Option<MetaRef<'_>> {
        self.arena.version_at(id.0, self.height).map(|version| self.meta_of(version))
    }

    /// The directory that a node lies in; the root's is the root.
    pub fn parent(&self, id: NodeId) -> NodeId {
        NodeId(self.arena.nodes[id.0 as usize].parent)
    }

    /// Children in byte order of their names.
    pub fn children(&self, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let link = |at: u32| (at != NONE).then_some(at);
        let first = link(self.arena.nodes[id.0 as usize].first_child);
        std::iter::successors(first, move |at| link(self.arena.nodes[*at as usize].next_sibling))
            .map(NodeId)
            .filter(|id| self.has(*id))
    }

    pub fn name(&self, id: NodeId) -> &BStr {
        self.arena.name(id.0)
    }

    pub fn meta(&self, id: NodeId) -> MetaRef<'_> {
        self.meta_of(self.version(id))
    }

    /// The layer that wrote these properties, counted from 0 at the bottom.
    pub fn layer(&self, id: NodeId) -> u32 {
        self.arena.versions[self.version(id) as usize].layer
    }

    /// What each layer did to the path, the newest first.
    pub fn versions(&self, id: NodeId) -> impl Iterator<Item = Version<'_>> {
        self.history(id.0).map(|at| {
            let version = &self.arena.versions[at as usize];
            Version {
                layer: version.layer,
                meta: (!version.gone()).then(|| self.meta_of(at)),
                gone: version.cause(),
                implied: version.state == State::Implied,
            }
        })
    }

    /// The same, as places in the arena.
    pub(super) fn history(&self, node: u32) -> impl Iterator<Item = u32> {
        let link = |at: u32| (at != NONE).then_some(at);
        let first = link(self.arena.nodes[node as usize].newest);
        std::iter::successors(first, move |at| link(self.arena.versions[*at as usize].previous))
            .filter(|at| self.arena.versions[*at as usize].layer < self.height)
    }

    /// Every path that any of the layers has an entry for, also those that are gone; parents first, the root left
    /// out. What is gone can be asked for its path, its name and its versions alone.
    pub fn ever(&self) -> impl Iterator<Item = NodeId> + '_ {
        let is_there = |id: &NodeId| self.versions(*id).any(|version| version.meta.is_some());
        (1..self.arena.nodes.len() as u32).map(NodeId).filter(is_there)
    }

    /// The path from the root, without a leading slash.
    pub fn path(&self, mut id: NodeId) -> BString {
        let mut names = Vec::new();
        while id != Self::ROOT {
            names.push(self.name(id));
            id = NodeId(self.arena.nodes[id.0 as usize].parent);
        }
        names.reverse();
        bstr::join("/", names).into()
    }

    /// Content bytes at and below a node. An inode of several names counts at the first of them, in the order
    /// of its layer, that is still there; so the sum over children is the directory's.
    pub fn bytes(&self, id: NodeId) -> u64 {
        self.sizes().below[id.0 as usize]
    }

    /// Whether the bytes of this file count at another of its names.
    pub fn counts_elsewhere(&self, id: NodeId) -> bool {
        let version = self.version(id);
        self.arena.inode(version).is_some_and(|inode| self.sizes().owners[inode as usize] != version)
    }

    /// Whether any name of this inode is there, by the number that [`MetaRef::hard_link`] gives.
    pub(super) fn has_inode(&self, hard_link: u64) -> bool {
        let owner = hard_link.checked_sub(1).and_then(|inode| self.sizes().owners.get(inode as usize));
        owner.is_some_and(|owner| *owner != NONE)
    }

    /// The node and everything below it, parents first, names in order.
    pub fn walk(&self, id: NodeId) -> Vec<NodeId> {
        let mut out = Vec::new();
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            out.push(id);
            let first = open.len();
            open.extend(self.children(id));
            open[first..].reverse();
        }
        out
    }

    pub(super) fn version(&self, id: NodeId) -> u32 {
        // An id that does not belong here answers as the root would.
        self.arena.version_at(id.0, self.height).unwrap_or(0)
    }

    fn has(&self, id: NodeId) -> bool {
        self.arena.version_at(id.0, self.height).is_some()
    }

    pub(super) fn meta_of(&self, version: u32) -> MetaRef<'_> {
        let arena = &*self.arena;
        let it = &arena.versions[version as usize];
        MetaRef {
            kind: it.kind,
            mode: u32::from(it.mode),
            uid: it.uid,
            gid: it.gid,
            size: it.size,
            mtime: (it.seconds, it.nanos),
            target: arena.target(version),
            hard_link: arena.inode(version).map_or(0, |inode| u64::from(inode) + 1),
            device: arena.device(version),
            xattrs: arena.xattrs(version),
            content: arena.content(version),
            holes: arena.holes(version),
        }
    }

    fn sizes(&self) -> &Sizes {
        self.sizes.get_or_init(|| Arc::new(self.measure()))
    }

    fn measure(&self) -> Sizes {
        let arena = &*self.arena;
        let mut below = vec![0u64; arena.nodes.len()];
        let mut owners = vec![NONE; arena.inodes as usize];
        let mut shared = Vec::new();
        for node in 0..arena.nodes.len() as u32 {
            let Some(version) = arena.version_at(node, self.height) else { continue };
            let it = &arena.versions[version as usize];
            if it.kind != Kind::File {
                continue;
            }
            match arena.inode(version) {
                None => below[node as usize] = arena.bytes(version),
                Some(inode) => {
                    let owner = &mut owners[inode as usize];
                    *owner = (*owner).min(version);
                    shared.push((node, version, inode));
                }
            }
        }
        for (node, version, inode) in shared {
            if owners[inode as usize] == version {
                below[node as usize] = arena.bytes(version);
            }
        }
        // A node is made after its parent.
        for node in (1..arena.nodes.len()).rev() {
            let parent = arena.nodes[node].parent as usize;
            below[parent] = below[parent].saturating_add(below[node]);
        }
        Sizes { below, owners }
    }
}

impl MetaRef<'_> {
    pub fn to_meta(self) -> Meta {
        Meta {
            kind: self.kind,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            size: self.size,
            mtime: self.mtime,
            target: self.target.to_owned(),
            hard_link: self.hard_link,
            device: self.device,
            xattrs: self.xattrs.clone(),
            content: self.content,
            holes: self.holes,
        }
    }

    /// As [`Meta::bytes`].
    pub fn bytes(self) -> u64 {
        self.size.saturating_sub(self.holes)
    }
}

impl<'m> From<&'m Meta> for MetaRef<'m> {
    fn from(meta: &'m Meta) -> MetaRef<'m> {
        MetaRef {
            kind: meta.kind,
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            size: meta.size,
            mtime: meta.mtime,
            target: meta.target.as_ref(),
            hard_link: meta.hard_link,
            device: meta.device,
            xattrs: &meta.xattrs,
            content: meta.content,
            holes: meta.holes,
        }
    }
}

/// Makes a tree of layers that are read one entry at a time, bottom first, without keeping the entries.
#[derive(Debug)]
pub struct Builder {
    arena: Arena,
    layer: u32,
}

impl Default for Builder {
    fn default() -> Self {
        Builder { arena: Arena::new(), layer: 0 }
    }
}

impl Builder {
    /// Whiteouts and opaque marks may come at any place in their layer; of two entries for one path the later
    /// one holds.
    pub fn entry(&mut self, entry: &Entry) {
        put_entry(&mut self.arena, entry, self.layer);
    }

    /// About how many bytes of memory the tree takes so far.
    pub fn weight(&self) -> usize {
        self.arena.weight()
    }

    /// How many paths have been looked at in order to take things away: what makes some stacks slow to merge.
    pub fn swept(&self) -> u64 {
        self.arena.swept
    }

    /// As [`FileTree::unresolved`], so far.
    pub fn unresolved(&self) -> &[BString] {
        &self.arena.unresolved
    }

    /// The tree of the layers that have been ended.
    pub fn so_far(&self) -> FileTree {
        FileTree { arena: Arc::new(self.arena.clone()), height: self.layer, sizes: OnceLock::new() }
    }

    pub fn end_layer(&mut self) {
        self.arena.end_layer();
        self.layer += 1;
    }

    pub fn finish(mut self) -> FileTree {
        self.arena.end_layer();
        FileTree { arena: Arc::new(self.arena), height: self.layer, sizes: OnceLock::new() }
    }
}

fn put_entry(arena: &mut Arena, entry: &Entry, layer: u32) {
    match entry {
        Entry::Put { path, meta, opaque } => arena.put(path.as_ref(), meta, *opaque, layer),
        Entry::Whiteout { path } => arena.whiteout(path.as_ref(), layer),
        Entry::Opaque { path } => arena.opaque(path.as_ref(), layer),
        Entry::Link { path, target, own } => arena.link(path.as_ref(), target.as_ref(), own.as_deref(), layer),
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::{self, Model};
    use super::*;
    use proptest::prelude::*;

    fn file(path: &str, size: u64) -> Entry {
        Entry::Put { path: path.into(), meta: Meta { size, ..Meta::new(Kind::File) }, opaque: false }
    }

    fn name_of(path: &str, inode: u64, size: u64) -> Entry {
        let meta = Meta { size, hard_link: inode, ..Meta::new(Kind::File) };
        Entry::Put { path: path.into(), meta, opaque: false }
    }

    fn dir(path: &str) -> Entry {
        Entry::Put { path: path.into(), meta: Meta { mode: 0o700, ..Meta::new(Kind::Directory) }, opaque: false }
    }

    fn opaque(path: &str) -> Entry {
        Entry::Put { path: path.into(), meta: Meta::new(Kind::Directory), opaque: true }
    }

    fn symlink(path: &str, target: &str) -> Entry {
        let meta = Meta { target: target.into(), ..Meta::new(Kind::Symlink) };
        Entry::Put { path: path.into(), meta, opaque: false }
    }

    fn whiteout(path: &str) -> Entry {
        Entry::Whiteout { path: path.into() }
    }

    fn link(path: &str, target: &str) -> Entry {
        Entry::Link { path: path.into(), target: target.into(), own: None }
    }

    fn merge<const N: usize>(layers: [&[Entry]; N]) -> FileTree {
        let layers = layers.map(|entries| Arc::new(Layer { entries: entries.to_vec() }));
        FileTree::merge(&layers)
    }

    /// Expects these paths with their kind's letter, layer and counted bytes, in order.
    fn check<const N: usize>(layers: [&[Entry]; N], expected: &[&str]) {
        let tree = merge(layers);
        let line = |id| {
            let letter = match tree.meta(id).kind {
                Kind::Directory => 'd',
                Kind::Symlink => 'l',
                _ => 'f',
            };
            format!("{letter} {} {} {}", tree.path(id), tree.layer(id), tree.bytes(id))
        };
        let found: Vec<String> = tree.walk(FileTree::ROOT).into_iter().skip(1).map(line).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn opaque_hides_lower_layers_only_in_any_order() {
        let base = [dir("d"), file("d/old", 1), file("d/sub/old", 1)];
        let expected = ["d d 1 2", "f d/new 1 2"];
        check([&base, &[opaque("d"), file("d/new", 2)]], &expected);
        check([&base, &[file("d/new", 2), opaque("d")]], &expected);
        // With no header, the directory's own properties stay.
        let unsaid = Entry::Opaque { path: "d".into() };
        check([&base, &[file("d/new", 2), unsaid.clone()]], &["d d 1 2", "f d/new 1 2"]);
        check([&base, &[file("d/sub/new", 2), unsaid]], &["d d 1 2", "d d/sub 1 2", "f d/sub/new 1 2"]);
        check([&[opaque("d"), file("d/x", 1)]], &["d d 0 1", "f d/x 0 1"]);
        // A file of the same layer stays.
        let unsaid = |path: &str| Entry::Opaque { path: path.into() };
        check([&base, &[file("d", 2), unsaid("d")]], &["f d 1 2"]);
        check([&base, &[file("d", 2), unsaid("d/sub")]], &["f d 1 2"]);
        check([&base, &[unsaid("d"), file("d", 2)]], &["f d 1 2"]);
    }

    #[test]
    fn opaque_never_goes_through_a_link() {
        let base = [dir("real"), file("real/x", 1), symlink("alias", "real")];
        let opaque = Entry::Opaque { path: "alias".into() };
        check([&base, &[opaque]], &["d alias 1 0", "d real 0 1", "f real/x 0 1"]);
        check([&base, &[whiteout("alias/x")]], &["d alias 1 0", "d real 0 1", "f real/x 0 1"]);
    }

    #[test]
    fn what_a_whiteout_lies_in_is_a_directory() {
        check([&[whiteout("d/absent")]], &["d d 0 0"]);
        check([&[file("d", 1)], &[whiteout("d/x")]], &["d d 1 0"]);
        check([&[dir("d"), file("d/x", 1)], &[whiteout("d")], &[whiteout("d/x")]], &["d d 2 0"]);
        check([&[dir("d"), file("d/x", 1)], &[whiteout("d/x")]], &["d d 0 0"]);
        // What the layer itself has there is no directory, and stays.
        check([&[], &[file("d", 1), whiteout("d/x")]], &["f d 1 1"]);
        check([&[], &[whiteout("d/x"), file("d", 1)]], &["f d 1 1"]);
    }

    #[test]
    fn whiteouts_match_whatever_the_prefix() {
        let base = [file("a/x", 1), file("b", 1)];
        check([&base, &[whiteout("./a")]], &["f b 0 1"]);
        check([&base, &[whiteout("/a/x"), whiteout("b")]], &["d a 0 0"]);
        check([&base, &[whiteout("absent"), whiteout("a/absent"), whiteout("")]], &["d a 0 1", "f a/x 0 1", "f b 0 1"]);
        check([&base, &[file("b", 7), whiteout("b")]], &["d a 0 1", "f a/x 0 1", "f b 1 7"]);
        check([&base, &[whiteout("a")], &[file("a/y", 3)]], &["d a 2 3", "f a/y 2 3", "f b 0 1"]);
    }

    #[test]
    fn a_file_over_a_directory_takes_it_away_and_a_directory_over_one_keeps_it() {
        let base = [dir("d"), file("d/x", 1)];
        check([&base, &[file("d", 5)]], &["f d 1 5"]);
        check([&base, &[dir("d")]], &["d d 1 1", "f d/x 0 1"]);
        check([&base, &[file("d", 5)], &[dir("d")]], &["d d 2 0"]);
        check([&[file("d", 5)], &[file("d/x", 1)]], &["d d 1 1", "f d/x 1 1"]);
        check([&base, &[file("d/y", 2), symlink("d", "x")]], &["l d 1 0"]);
    }

    #[test]
    fn the_later_of_two_entries_holds() {
        check([&[file("a", 1), file("a", 2)]], &["f a 0 2"]);
        check([&[file("a", 1), dir("a"), file("a/x", 3)]], &["d a 0 3", "f a/x 0 3"]);
    }

    #[test]
    fn an_inode_counts_once_at_its_first_name_that_is_left() {
        let base = [name_of("a/one", 7, 10), name_of("b/two", 7, 10), name_of("b/three", 7, 10)];
        let all = ["d a 0 10", "f a/one 0 10", "d b 0 0", "f b/three 0 0", "f b/two 0 0"];
        check([&base], &all);
        check([&base, &[whiteout("a")]], &["d b 0 10", "f b/three 0 0", "f b/two 0 10"]);
        check([&base, &[whiteout("a"), whiteout("b/two")]], &["d b 0 10", "f b/three 0 10"]);
        // The same number in another layer is another inode.
        check([&base, &[name_of("c", 7, 4)]], &[&all[..], &["f c 1 4"]].concat());
    }

    #[test]
    fn a_link_out_of_its_layer_shares_the_lower_inode() {
        let base = [file("a", 10)];
        check([&base, &[link("b", "a")]], &["f a 0 10", "f b 1 0"]);
        check([&base, &[link("b", "a"), whiteout("a")]], &["f b 1 10"]);
        check([&base, &[whiteout("a"), link("b", "/a")]], &["f b 1 10"]);
        check([&base, &[link("b", "nowhere"), link("c", ".")]], &["f a 0 10"]);
        assert_eq!(merge([&base, &[link("b", "nowhere")]]).unresolved(), ["b"]);
    }

    #[test]
    fn what_a_link_says_of_its_file_holds_for_all_names() {
        let own = |path: &str, target: &str, uid: u32, key: &str| {
            let xattrs = [(key.into(), "v".into())].into();
            let own = Meta { mode: 0o4755, uid, gid: 8, mtime: (uid.into(), 1), xattrs, ..Meta::new(Kind::File) };
            Entry::Link { path: path.into(), target: target.into(), own: Some(own.into()) }
        };
        let check = |layers: &[&[Entry]], expected: &str| {
            let layers: Vec<_> = layers.iter().map(|it| Arc::new(Layer { entries: it.to_vec() })).collect();
            let tree = FileTree::merge(&layers);
            let shown = tree.walk(FileTree::ROOT).into_iter().skip(1).map(|id| {
                let it = tree.meta(id);
                let keys = bstr::join("+", it.xattrs.keys());
                format!("{} {:o} {}:{} {} {}", tree.name(id), it.mode, it.uid, it.gid, it.mtime.0, BStr::new(&keys))
            });
            assert_eq!(shown.collect::<Vec<_>>().join(", "), expected);
        };
        check(&[&[file("a", 1), own("b", "a", 5, "x")]], "a 4755 5:8 5 x, b 4755 5:8 5 x");
        let chain = [file("a", 1), own("b", "a", 5, "x"), own("c", "b", 6, "y")];
        check(&[&chain], "a 4755 6:8 6 x+y, b 4755 6:8 6 x+y, c 4755 6:8 6 x+y");
        check(
            &[&[file("a", 1), own("b", "a", 5, "x"), link("c", "a")]],
            "a 4755 5:8 5 x, b 4755 5:8 5 x, c 4755 5:8 5 x",
        );
        // Another file at the name has nothing to do with it.
        check(&[&[file("a", 1), own("b", "a", 5, "x"), file("a", 2)]], "a 0 0:0 0 , b 4755 5:8 5 x");
        // A link's own mode and time are not its target's to have.
        check(&[&[symlink("a", "to"), own("b", "a", 5, "x")]], "a 0 5:8 0 x, b 0 5:8 0 x");
        // What lower layers have stays as it was.
        check(
            &[&[file("a", 1)], &[own("b", "a", 5, "x"), own("c", "b", 5, "x")]],
            "a 0 0:0 0 , b 0 0:0 0 , c 0 0:0 0 ",
        );
    }

    #[test]
    fn the_root_has_properties_and_is_always_a_directory() {
        let tree = merge([&[dir(""), file("/", 3), file("a", 1)], &[dir("./")]]);
        assert_eq!(tree.meta(FileTree::ROOT).mode, 0o700);
        assert_eq!((tree.layer(FileTree::ROOT), tree.bytes(FileTree::ROOT)), (1, 1));
        assert_eq!(merge([]).meta(FileTree::ROOT).kind, Kind::Directory);
    }

    #[test]
    fn a_path_has_a_version_for_each_layer_that_touched_it() {
        let tree = merge([&[file("a", 1)], &[], &[whiteout("a")], &[file("a", 2)]]);
        let id = tree.lookup("a".into()).unwrap();
        let sizes = |tree: &FileTree| -> Vec<(u32, Option<u64>)> {
            tree.versions(id).map(|it| (it.layer, it.meta.map(|meta| meta.size))).collect()
        };
        assert_eq!(sizes(&tree), [(3, Some(2)), (2, None), (0, Some(1))]);
        assert_eq!(sizes(&tree.at(2)), [(0, Some(1))]);
        assert_eq!(tree.at(3).lookup("a".into()), None);
    }

    proptest! {
        /// Every height of the stack is what the model makes of its layers.
        #[test]
        fn the_tree_is_the_model(layers in model::stacks()) {
            let tree = FileTree::merge(&layers);
            let mut expected = Model::new();
            for (number, layer) in layers.iter().enumerate() {
                prop_assert_eq!(model::listing(&tree.at(number as u32)), model::without_inodes(&expected));
                model::apply(&mut expected, layer, number as u32);
            }
            prop_assert_eq!(model::listing(&tree), model::without_inodes(&expected));
        }

        /// It does not matter where in its layer something is hidden.
        #[test]
        fn what_hides_may_come_anywhere(layers in model::stacks(), seed in any::<u64>()) {
            let shuffled: Vec<Arc<Layer>> = layers.iter().enumerate().map(|(number, layer)| {
                // A layer that also calls the directory a file: there, the order decides.
                let fights = |path: &BString| layer.entries.iter().any(|entry| match entry {
                    Entry::Put { meta, .. } if meta.kind == Kind::Directory => false,
                    Entry::Put { path: other, .. } => path == other || model::is_below(path, other),
                    Entry::Link { path: other, target, .. } => {
                        path == other || model::is_below(path, other) || model::is_below(path, target) || path == target
                    }
                    _ => false,
                });
                // The same of what a whiteout lies in.
                let fights_above = |path: &BString| layer.entries.iter().any(|entry| match entry {
                    Entry::Put { path: other, meta, .. } => meta.kind != Kind::Directory && model::is_below(path, other),
                    Entry::Link { path: other, target, .. } => {
                        model::is_below(path, other) || model::is_below(path, target)
                    }
                    _ => false,
                });
                let hides = |entry: &Entry| match entry {
                    Entry::Whiteout { path } => !fights_above(path),
                    Entry::Opaque { path } => !fights(path),
                    _ => false,
                };
                let (marks, mut entries): (Vec<Entry>, Vec<Entry>) = layer.entries.iter().cloned().partition(hides);
                for (index, mark) in marks.into_iter().enumerate() {
                    let at = seed.rotate_left((number * 7 + index * 13) as u32) as usize % (entries.len() + 1);
                    entries.insert(at, mark);
                }
                Arc::new(Layer { entries })
            }).collect();
            prop_assert_eq!(model::listing(&FileTree::merge(&shuffled)), model::listing(&FileTree::merge(&layers)));
        }

        /// A layer put on a tree, or on a lower part of one, gives the tree of those layers.
        #[test]
        fn layers_can_be_put_on_any_height(layers in model::stacks(), height in 0u32..6, more in model::stacks()) {
            let mut tree = FileTree::merge(&layers).at(height);
            let below: Vec<_> = layers.iter().take(height as usize).chain(&more).cloned().collect();
            for (number, layer) in more.iter().enumerate() {
                tree.apply(layer, tree.height().max(number as u32));
            }
            let expected = FileTree::merge(&below);
            prop_assert_eq!(model::listing(&tree), model::listing(&expected));
            prop_assert_eq!(tree.bytes(FileTree::ROOT), expected.bytes(FileTree::ROOT));
        }

        /// A directory's bytes are the sum of its children's, and the whole is each inode once.
        #[test]
        fn sizes_add_up(layers in model::stacks()) {
            let tree = FileTree::merge(&layers);
            let mut inodes = std::collections::HashMap::new();
            let mut single = 0;
            for id in tree.walk(FileTree::ROOT) {
                let meta = tree.meta(id);
                if meta.kind == Kind::Directory {
                    prop_assert_eq!(tree.bytes(id), tree.children(id).map(|child| tree.bytes(child)).sum::<u64>());
                } else if meta.hard_link == 0 {
                    single += meta.size;
                } else {
                    inodes.insert(meta.hard_link, meta.size);
                }
            }
            prop_assert_eq!(tree.bytes(FileTree::ROOT), single + inodes.values().sum::<u64>());
        }
    }
}
