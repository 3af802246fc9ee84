//! The file system that a stack of layers makes.

use super::{Entry, Kind, Layer, Meta};
use bstr::{BStr, BString, ByteSlice};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// A node of one [`FileTree`]; meaningless in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

#[derive(Debug, Clone)]
struct Node {
    name: BString,
    parent: NodeId,
    meta: Meta,
    /// The layer that wrote these properties, counted from 0 at the bottom.
    layer: u32,
    children: BTreeMap<BString, NodeId>,
}

/// A merged tree. Node 0 is the root directory.
#[derive(Debug, Clone)]
pub struct FileTree {
    nodes: Vec<Node>,
}

impl Default for FileTree {
    fn default() -> Self {
        let meta = directory_meta();
        let root = Node { name: BString::default(), parent: NodeId(0), meta, layer: 0, children: BTreeMap::new() };
        FileTree { nodes: vec![root] }
    }
}

impl FileTree {
    pub const ROOT: NodeId = NodeId(0);

    /// Applies layers bottom first, by the rules of the OCI image specification ("Applying Changesets").
    pub fn merge(layers: &[Arc<Layer>]) -> FileTree {
        let mut tree = FileTree::default();
        for (index, layer) in layers.iter().enumerate() {
            tree.apply(layer, index as u32);
        }
        tree
    }

    /// Puts one more layer on top.
    pub fn apply(&mut self, layer: &Layer, index: u32) {
        // Whiteouts and opaque marks speak of lower layers only, whatever the order of entries: they go first.
        for entry in &layer.entries {
            match entry {
                Entry::Whiteout { path } => self.remove(path.as_bstr()),
                Entry::Put { path, opaque: true, .. } => {
                    if let Some(id) = self.lookup(path.as_bstr()) {
                        self.nodes[id.0 as usize].children.clear();
                    }
                }
                Entry::Put { .. } => {}
            }
        }
        for entry in &layer.entries {
            if let Entry::Put { path, meta, .. } = entry {
                self.put(path.as_bstr(), meta.clone(), index);
            }
        }
    }

    pub fn lookup(&self, path: &BStr) -> Option<NodeId> {
        components(path).try_fold(Self::ROOT, |id, name| self.child(id, name))
    }

    pub fn child(&self, id: NodeId, name: &BStr) -> Option<NodeId> {
        self.nodes[id.0 as usize].children.get(name).copied()
    }

    /// Children in byte order of their names.
    pub fn children(&self, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes[id.0 as usize].children.values().copied()
    }

    pub fn name(&self, id: NodeId) -> &BStr {
        self.nodes[id.0 as usize].name.as_bstr()
    }

    pub fn meta(&self, id: NodeId) -> &Meta {
        &self.nodes[id.0 as usize].meta
    }

    pub fn layer(&self, id: NodeId) -> u32 {
        self.nodes[id.0 as usize].layer
    }

    /// The path from the root, without a leading slash.
    pub fn path(&self, mut id: NodeId) -> BString {
        let mut names = Vec::new();
        while id != Self::ROOT {
            let node = &self.nodes[id.0 as usize];
            names.push(node.name.as_bstr());
            id = node.parent;
        }
        names.reverse();
        bstr::join("/", names).into()
    }

    /// Content bytes at and below a node, an inode of several names once.
    pub fn bytes(&self, id: NodeId) -> u64 {
        let mut seen = HashSet::new();
        self.walk(id)
            .into_iter()
            .map(|id| &self.nodes[id.0 as usize])
            .filter(|node| node.meta.kind == Kind::File)
            .filter(|node| node.meta.hard_link == 0 || seen.insert((node.layer, node.meta.hard_link)))
            .map(|node| node.meta.size)
            .sum()
    }

    /// The node and everything below it, parents first, names in order.
    pub fn walk(&self, id: NodeId) -> Vec<NodeId> {
        let mut out = Vec::new();
        let mut stack = vec![id];
        while let Some(id) = stack.pop() {
            out.push(id);
            stack.extend(self.nodes[id.0 as usize].children.values().rev());
        }
        out
    }

    fn put(&mut self, path: &BStr, meta: Meta, layer: u32) {
        let Some((parent, name)) = self.make_parents(path, layer) else {
            self.nodes[0].meta = meta;
            self.nodes[0].layer = layer;
            return;
        };
        match self.child(parent, name) {
            Some(id) => {
                let node = &mut self.nodes[id.0 as usize];
                if meta.kind != Kind::Directory {
                    node.children.clear();
                }
                node.meta = meta;
                node.layer = layer;
            }
            None => {
                self.add(parent, name, meta, layer);
            }
        }
    }

    /// Finds or makes the directories above `path`; `None` for the root itself.
    fn make_parents<'p>(&mut self, path: &'p BStr, layer: u32) -> Option<(NodeId, &'p BStr)> {
        let mut names: Vec<&BStr> = components(path).collect();
        let name = names.pop()?;
        let mut at = Self::ROOT;
        for parent in names {
            at = match self.child(at, parent) {
                Some(id) if self.nodes[id.0 as usize].meta.kind == Kind::Directory => id,
                Some(id) => {
                    self.nodes[id.0 as usize].meta = directory_meta();
                    self.nodes[id.0 as usize].layer = layer;
                    id
                }
                None => self.add(at, parent, directory_meta(), layer),
            };
        }
        Some((at, name))
    }

    fn add(&mut self, parent: NodeId, name: &BStr, meta: Meta, layer: u32) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(Node { name: name.to_owned(), parent, meta, layer, children: BTreeMap::new() });
        self.nodes[parent.0 as usize].children.insert(name.to_owned(), id);
        id
    }

    fn remove(&mut self, path: &BStr) {
        let Some(id) = self.lookup(path) else { return };
        if id == Self::ROOT {
            return;
        }
        let parent = self.nodes[id.0 as usize].parent;
        let name = self.nodes[id.0 as usize].name.clone();
        self.nodes[parent.0 as usize].children.remove(&name);
    }
}

pub(crate) fn components(path: &BStr) -> impl Iterator<Item = &BStr> {
    path.split_str("/").map(BStr::new).filter(|name| !name.is_empty() && *name != ".")
}

/// What a directory is when an archive has entries below it and no header for it.
fn directory_meta() -> Meta {
    Meta { mode: 0o755, ..Meta::new(Kind::Directory) }
}
