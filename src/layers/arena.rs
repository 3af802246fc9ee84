//! The store behind a tree: every path once, each with a chain of versions, one for each time a layer wrote it
//! or took it away.
//!
//! A path is there, as the lowest layers make it, if the newest of its versions that belongs to them is not
//! [`Version::gone`]. That holds without a look at its parents, because whatever takes a directory away writes
//! a version for each path in it. So one store answers for every height of the stack.

use super::entry::{ContentHash, Kind, Meta};
use super::path::names;
use bstr::{BStr, BString, ByteSlice};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, Hash, Hasher};

/// Stands for "none" in the links between nodes, versions and side tables.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Debug, Clone)]
pub(super) struct Node {
    name_start: u32,
    name_len: u32,
    pub(super) parent: u32,
    pub(super) first_child: u32,
    pub(super) next_sibling: u32,
    pub(super) newest: u32,
}

/// What one layer says of one path. 48 bytes: there are as many as entries in all layers.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) size: u64,
    pub(super) seconds: i64,
    pub(super) nanos: u32,
    pub(super) previous: u32,
    pub(super) layer: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    extra: u32,
    content: u32,
    pub(super) mode: u16,
    pub(super) kind: Kind,
    pub(super) state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The layer has an entry for it.
    Put,
    /// The layer has something below it, and no entry for it.
    Implied,
    /// The layer takes it away.
    Gone(Cause),
}

/// What in a layer takes a path away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// A whiteout of the path, or of a directory above it.
    Whiteout,
    /// A directory above it is opaque in this layer.
    Opaque,
    /// Something that is no directory lies where a directory above it was.
    Replaced,
}

impl Version {
    pub(super) fn gone(&self) -> bool {
        self.cause().is_some()
    }

    pub(super) fn cause(&self) -> Option<Cause> {
        match self.state {
            State::Gone(cause) => Some(cause),
            State::Put | State::Implied => None,
        }
    }
}

/// What few versions have.
#[derive(Debug, Clone, Default)]
struct Extra {
    target: BString,
    inode: Option<u32>,
    device: (u32, u32),
    xattrs: BTreeMap<BString, BString>,
    holes: u64,
}

impl Extra {
    fn is_empty(&self) -> bool {
        self.target.is_empty()
            && self.inode.is_none()
            && self.device == (0, 0)
            && self.xattrs.is_empty()
            && self.holes == 0
    }
}

#[derive(Debug, Clone)]
pub(super) struct Arena {
    names: Vec<u8>,
    pub(super) nodes: Vec<Node>,
    pub(super) versions: Vec<Version>,
    extras: Vec<Extra>,
    contents: Vec<ContentHash>,
    /// Nodes by parent and name.
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Directories with children that are not in order yet.
    unsorted: Vec<u32>,
    /// Inodes of several names: how many there are in all layers, and those of the layer at work by number.
    pub(super) inodes: u32,
    open_inodes: HashMap<u64, u32>,
    /// The versions of links that say something of their inodes, in the layer at work; `None` for inodes of lower layers.
    relinked: HashMap<u32, Option<u32>>,
    open_layer: u32,
    /// Paths of links whose target is nowhere, and of entries that do not fit.
    pub(super) unresolved: Vec<BString>,
    /// Bytes held besides the lists' own elements.
    held: usize,
    /// How many paths have been looked at in order to take things away.
    pub(super) swept: u64,
}

const EMPTY: &BTreeMap<BString, BString> = &BTreeMap::new();

impl Arena {
    pub(super) fn new() -> Arena {
        let mut arena = Arena {
            names: Vec::new(),
            nodes: Vec::new(),
            versions: Vec::new(),
            extras: Vec::new(),
            contents: Vec::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            unsorted: Vec::new(),
            inodes: 0,
            open_inodes: HashMap::new(),
            relinked: HashMap::new(),
            open_layer: 0,
            unresolved: Vec::new(),
            held: 0,
            swept: 0,
        };
        arena.nodes.push(Node {
            name_start: 0,
            name_len: 0,
            parent: 0,
            first_child: NONE,
            next_sibling: NONE,
            newest: NONE,
        });
        arena.push_implied(0, 0);
        arena
    }

    /// About how many bytes of memory it takes.
    pub(super) fn weight(&self) -> usize {
        let node = size_of::<Node>() + 2 * size_of::<u32>();
        self.nodes.len() * node
            + self.versions.len() * size_of::<Version>()
            + self.contents.len() * size_of::<ContentHash>()
            + self.names.len()
            + self.held
    }

    pub(super) fn name(&self, node: u32) -> &BStr {
        let node = &self.nodes[node as usize];
        BStr::new(&self.names[node.name_start as usize..][..node.name_len as usize])
    }

    /// The version that holds when only layers with a number below `height` are there.
    pub(super) fn version_at(&self, node: u32, height: u32) -> Option<u32> {
        let mut at = self.nodes[node as usize].newest;
        while at != NONE {
            let version = &self.versions[at as usize];
            if version.layer < height {
                return (!version.gone()).then_some(at);
            }
            at = version.previous;
        }
        // The root is there before any layer is.
        (node == 0).then_some(0)
    }

    pub(super) fn find(&self, parent: u32, name: &BStr) -> Option<u32> {
        let same = |node: &u32| self.nodes[*node as usize].parent == parent && self.name(*node) == name;
        self.index.find(self.hash(parent, name), same).copied()
    }

    pub(super) fn target(&self, version: u32) -> &BStr {
        self.extra(version).map_or(BStr::new(""), |extra| extra.target.as_bstr())
    }

    pub(super) fn device(&self, version: u32) -> (u32, u32) {
        self.extra(version).map_or((0, 0), |extra| extra.device)
    }

    pub(super) fn xattrs(&self, version: u32) -> &BTreeMap<BString, BString> {
        self.extra(version).map_or(EMPTY, |extra| &extra.xattrs)
    }

    pub(super) fn inode(&self, version: u32) -> Option<u32> {
        self.extra(version).and_then(|extra| extra.inode)
    }

    pub(super) fn holes(&self, version: u32) -> u64 {
        self.extra(version).map_or(0, |extra| extra.holes)
    }

    /// What a version of a file adds to its layer's bytes, if its inode does not count elsewhere.
    pub(super) fn bytes(&self, version: u32) -> u64 {
        self.versions[version as usize].size.saturating_sub(self.holes(version))
    }

    pub(super) fn content(&self, version: u32) -> Option<ContentHash> {
        self.contents.get(self.versions[version as usize].content as usize).copied()
    }

    /// Writes a path. Whatever a file lies over is gone with all below it.
    pub(super) fn put(&mut self, path: &BStr, meta: &Meta, opaque: bool, layer: u32) {
        let Some(node) = self.reach(path, layer) else { return self.refuse(path) };
        if meta.kind != Kind::Directory {
            if node == 0 {
                return self.refuse(path);
            }
            // What overlayfs has for a whiteout: it takes away what this layer itself had there, too.
            if meta.kind == Kind::CharDevice && meta.device == (0, 0) {
                self.clear(node, layer, Sweep::All, Cause::Whiteout);
                if self.version_at(node, NONE).is_some() {
                    self.push_gone(node, layer, Cause::Whiteout);
                }
                return;
            }
            self.clear(node, layer, Sweep::All, Cause::Replaced);
        }
        let inode = (meta.hard_link != 0).then(|| self.open_inode(meta.hard_link, layer));
        let extra = Extra {
            target: meta.target.clone(),
            inode,
            device: meta.device,
            xattrs: meta.xattrs.clone(),
            holes: meta.holes,
        };
        let version = Version {
            size: meta.size,
            seconds: meta.mtime.0,
            nanos: meta.mtime.1,
            previous: NONE,
            layer,
            uid: meta.uid,
            gid: meta.gid,
            extra: self.push_extra(extra),
            content: self.push_content(meta.content),
            mode: (meta.mode & 0o7777) as u16,
            kind: meta.kind,
            state: State::Put,
        };
        self.push_version(node, version);
        if opaque && meta.kind == Kind::Directory {
            self.clear(node, layer, Sweep::Lower, Cause::Opaque);
        }
    }

    /// Takes away what lower layers have at a path. What this layer itself has there stays, in any order. What it lies
    /// in is a directory from this layer on, as unpacking a layer makes it, whether there is something to be taken away
    /// or not.
    pub(super) fn whiteout(&mut self, path: &BStr, layer: u32) {
        let names: Vec<&BStr> = components(path).collect();
        let Some((name, parents)) = names.split_last() else { return };
        let mut parent = 0;
        for name in parents {
            let Some(node) = self.find(parent, name).or_else(|| self.add(parent, name)) else { return };
            match self.version_at(node, NONE).map(|version| &self.versions[version as usize]) {
                Some(version) if version.kind == Kind::Directory => {}
                // Nothing of lower layers is left below what this one has put there.
                Some(version) if version.layer == layer => return,
                _ => self.push_implied(node, layer),
            }
            parent = node;
        }
        let Some(node) = self.find(parent, name) else { return };
        let Some(version) = self.version_at(node, NONE) else { return };
        let kept = self.clear(node, layer, Sweep::Lower, Cause::Whiteout);
        if self.versions[version as usize].layer < layer {
            match kept {
                true => self.push_implied(node, layer),
                false => self.push_gone(node, layer, Cause::Whiteout),
            }
        }
    }

    /// Empties a directory of what lower layers have in it. Where the layer itself has put something else, that stays, as
    /// unpacking a layer leaves it.
    pub(super) fn opaque(&mut self, path: &BStr, layer: u32) {
        if self.is_barred(path, layer) {
            return;
        }
        let Some(node) = self.reach(path, layer) else { return self.refuse(path) };
        let is_directory = |version: &u32| self.versions[*version as usize].kind == Kind::Directory;
        let here = self.version_at(node, NONE).filter(is_directory);
        let mine = |version: u32| {
            let version = &self.versions[version as usize];
            version.layer == layer && version.state == State::Put
        };
        if !here.is_some_and(mine) {
            // Whatever else the layer takes away, the directory keeps the properties it had.
            let lower = self.version_at(node, layer).filter(is_directory);
            let properties = lower.map_or(directory(layer), |version| self.versions[version as usize].clone());
            self.push_version(node, Version { layer, state: State::Implied, ..properties });
        }
        self.clear(node, layer, Sweep::Lower, Cause::Opaque);
    }

    /// Whether the layer has put something that is no directory at a path, or where a directory above it would be.
    fn is_barred(&self, path: &BStr, layer: u32) -> bool {
        let mut at = 0;
        for name in components(path) {
            let Some(node) = self.find(at, name) else { return false };
            let here = self.version_at(node, NONE).map(|version| &self.versions[version as usize]);
            if here.is_some_and(|version| version.layer == layer && version.kind != Kind::Directory) {
                return true;
            }
            at = node;
        }
        false
    }

    /// Gives a file one more name. The target is looked for in this layer first, then in all below, whatever
    /// this layer takes away from them. `own` is what the link's header says of a file of this layer.
    pub(super) fn link(&mut self, path: &BStr, target: &BStr, own: Option<&Meta>, layer: u32) {
        let found = components(target).try_fold(0, |node, name| self.find(node, name));
        let version = found.and_then(|node| {
            let here = self.version_at(node, NONE);
            here.filter(|version| self.versions[*version as usize].layer == layer)
                .or_else(|| self.version_at(node, layer))
        });
        let is_file = |version: &u32| self.versions[*version as usize].kind != Kind::Directory;
        let Some(version) = version.filter(is_file) else { return self.refuse(path) };
        if self.inode(version).is_none() {
            let extra = Extra { inode: Some(self.inodes), ..self.extra(version).cloned().unwrap_or_default() };
            self.inodes += 1;
            self.versions[version as usize].extra = self.push_extra(extra);
        }
        let node = self.reach(path, layer).filter(|node| *node != 0);
        let Some(node) = node else { return self.refuse(path) };
        self.clear(node, layer, Sweep::All, Cause::Replaced);
        let target = self.versions[version as usize].clone();
        let is_lower = target.layer < layer;
        self.push_version(node, Version { layer, state: State::Put, ..target });
        let inode = self.inode(version).unwrap_or(NONE);
        match (is_lower, own) {
            (true, _) => drop(self.relinked.insert(inode, None)),
            (false, Some(own)) if self.relinked.get(&inode) != Some(&None) => self.relink(inode, own),
            _ => {}
        }
    }

    /// Notes in the version of a link, which is the newest of all, what its header says.
    fn relink(&mut self, inode: u32, own: &Meta) {
        let Some(newest) = self.versions.last_mut() else { return };
        (newest.uid, newest.gid) = (own.uid, own.gid);
        if newest.kind != Kind::Symlink {
            (newest.mode, newest.seconds, newest.nanos) = ((own.mode & 0o7777) as u16, own.mtime.0, own.mtime.1);
        }
        // All names have the same one.
        if let Some(extra) = self.extras.get_mut(newest.extra as usize) {
            extra.xattrs.extend(own.xattrs.iter().map(|(name, value)| (name.clone(), value.clone())));
            self.held += weight_of(&own.xattrs);
        }
        self.relinked.insert(inode, Some(self.versions.len() as u32 - 1));
    }

    /// Gives all names of an inode in the layer at work what the last of its links says.
    fn share_relinked(&mut self) {
        let relinked = std::mem::take(&mut self.relinked);
        if relinked.is_empty() {
            return;
        }
        let layer = self.versions.last().map_or(0, |version| version.layer);
        for at in self.versions.partition_point(|version| version.layer < layer)..self.versions.len() {
            let link = self.inode(at as u32).and_then(|inode| relinked.get(&inode).copied().flatten());
            let Some(link) = link.map(|link| self.versions[link as usize].clone()) else { continue };
            let version = &mut self.versions[at];
            (version.uid, version.gid, version.mode) = (link.uid, link.gid, link.mode);
            (version.seconds, version.nanos) = (link.seconds, link.nanos);
        }
    }

    /// The nodes that layers from number `from` up to `height` have versions of, and those above them.
    pub(super) fn touched(&self, from: u32, height: u32) -> Vec<bool> {
        let mut touched = vec![false; self.nodes.len()];
        // A node is made after its parent.
        for node in (0..self.nodes.len()).rev() {
            let mut at = self.nodes[node].newest;
            while !touched[node] && at != NONE {
                let version = &self.versions[at as usize];
                if version.layer < from {
                    break;
                }
                touched[node] = version.layer < height;
                at = version.previous;
            }
            if touched[node] {
                touched[self.nodes[node].parent as usize] = true;
            }
        }
        touched
    }

    /// Is to be called when a layer is complete.
    pub(super) fn end_layer(&mut self) {
        self.share_relinked();
        self.sort();
    }

    /// Puts children in order of their names.
    fn sort(&mut self) {
        let mut parents = std::mem::take(&mut self.unsorted);
        parents.sort_unstable();
        parents.dedup();
        let mut children = Vec::new();
        for parent in parents {
            children.clear();
            let mut at = self.nodes[parent as usize].first_child;
            while at != NONE {
                children.push(at);
                at = self.nodes[at as usize].next_sibling;
            }
            children.sort_unstable_by(|a, b| self.name(*a).cmp(self.name(*b)));
            let mut next = NONE;
            for child in children.iter().rev() {
                self.nodes[*child as usize].next_sibling = next;
                next = *child;
            }
            self.nodes[parent as usize].first_child = next;
        }
    }

    /// Forgets every layer from number `height` on.
    pub(super) fn cut(&mut self, height: u32) {
        // Versions and nodes are made in the order of layers, so what goes is the end of each list.
        let kept = self.versions.partition_point(|version| version.layer < height).max(1);
        if kept == self.versions.len() {
            return;
        }
        for node in &mut self.nodes {
            while node.newest != NONE && node.newest as usize >= kept {
                node.newest = self.versions[node.newest as usize].previous;
            }
            node.first_child = NONE;
            node.next_sibling = NONE;
        }
        self.versions.truncate(kept);
        let nodes = self.nodes.iter().rposition(|node| node.newest != NONE).map_or(1, |last| last + 1);
        self.nodes.truncate(nodes);
        self.index.retain(|node| (*node as usize) < nodes);
        for node in 1..nodes as u32 {
            self.adopt(node);
        }
        self.open_inodes.clear();
        self.sort();
    }

    /// Finds or makes the node of a path, and makes directories of everything above it.
    fn reach(&mut self, path: &BStr, layer: u32) -> Option<u32> {
        let mut at = 0;
        for name in components(path) {
            let state = self.version_at(at, NONE).map(|version| &self.versions[version as usize]);
            let is_directory = state.is_some_and(|version| version.kind == Kind::Directory);
            if !is_directory {
                self.push_implied(at, layer);
            }
            at = match self.find(at, name) {
                Some(node) => node,
                None => self.add(at, name)?,
            };
        }
        Some(at)
    }

    fn add(&mut self, parent: u32, name: &BStr) -> Option<u32> {
        // The largest number stands for "none".
        let node = u32::try_from(self.nodes.len()).ok().filter(|node| *node < NONE)?;
        let name_start = u32::try_from(self.names.len()).ok()?;
        let name_len = u32::try_from(name.len()).ok()?;
        self.names.extend_from_slice(name);
        self.nodes.push(Node { name_start, name_len, parent, first_child: NONE, next_sibling: NONE, newest: NONE });
        let hash = self.hash(parent, name);
        let Arena { index, nodes, names, hasher, .. } = self;
        index.insert_unique(hash, node, |node| {
            let node = &nodes[*node as usize];
            let name = &names[node.name_start as usize..][..node.name_len as usize];
            hash_of(hasher, node.parent, BStr::new(name))
        });
        self.adopt(node);
        Some(node)
    }

    fn adopt(&mut self, node: u32) {
        let parent = self.nodes[node as usize].parent;
        self.nodes[node as usize].next_sibling = self.nodes[parent as usize].first_child;
        self.nodes[parent as usize].first_child = node;
        if self.unsorted.last() != Some(&parent) {
            self.unsorted.push(parent);
        }
    }

    /// Takes away what is below a node. Answers whether anything of the layer itself is left there.
    fn clear(&mut self, node: u32, layer: u32, sweep: Sweep, cause: Cause) -> bool {
        if self.nodes[node as usize].first_child == NONE {
            return false;
        }
        let mut below = Vec::new();
        let mut open = vec![node];
        while let Some(at) = open.pop() {
            let mut child = self.nodes[at as usize].first_child;
            while child != NONE {
                self.swept += 1;
                if self.version_at(child, NONE).is_some() {
                    below.push(child);
                    open.push(child);
                }
                child = self.nodes[child as usize].next_sibling;
            }
        }
        // A directory of a lower layer that holds something of this one lives on, as a directory of this layer.
        let mut needed = HashSet::new();
        for at in below.into_iter().rev() {
            let lower = self.versions[self.nodes[at as usize].newest as usize].layer < layer;
            match sweep {
                Sweep::Lower if !lower || needed.contains(&at) => {
                    needed.insert(self.nodes[at as usize].parent);
                    if lower {
                        self.push_implied(at, layer);
                    }
                }
                _ => self.push_gone(at, layer, cause),
            }
        }
        needed.contains(&node)
    }

    fn push_gone(&mut self, node: u32, layer: u32, cause: Cause) {
        let version = Version { state: State::Gone(cause), ..directory(layer) };
        self.push_version(node, version);
    }

    fn push_implied(&mut self, node: u32, layer: u32) {
        self.push_version(node, directory(layer));
    }

    fn push_version(&mut self, node: u32, version: Version) {
        let Ok(index) = u32::try_from(self.versions.len()) else { return };
        if index == NONE {
            return;
        }
        let previous = std::mem::replace(&mut self.nodes[node as usize].newest, index);
        self.versions.push(Version { previous, ..version });
    }

    fn push_extra(&mut self, extra: Extra) -> u32 {
        if extra.is_empty() {
            return NONE;
        }
        self.held += size_of::<Extra>() + extra.target.len() + weight_of(&extra.xattrs);
        self.extras.push(extra);
        (self.extras.len() - 1) as u32
    }

    fn push_content(&mut self, content: Option<ContentHash>) -> u32 {
        let Some(content) = content else { return NONE };
        self.contents.push(content);
        (self.contents.len() - 1) as u32
    }

    fn extra(&self, version: u32) -> Option<&Extra> {
        self.extras.get(self.versions[version as usize].extra as usize)
    }

    /// The inode that a layer calls by this number.
    fn open_inode(&mut self, number: u64, layer: u32) -> u32 {
        if self.open_layer != layer {
            self.open_inodes.clear();
            self.open_layer = layer;
        }
        *self.open_inodes.entry(number).or_insert_with(|| {
            self.inodes += 1;
            self.inodes - 1
        })
    }

    fn refuse(&mut self, path: &BStr) {
        self.held += path.len() + size_of::<BString>();
        self.unresolved.push(path.to_owned());
    }

    fn hash(&self, parent: u32, name: &BStr) -> u64 {
        hash_of(&self.hasher, parent, name)
    }
}

/// About how many bytes of memory attributes take.
fn weight_of(xattrs: &BTreeMap<BString, BString>) -> usize {
    xattrs.iter().map(|(name, value)| name.len() + value.len() + 64).sum()
}

/// What [`Arena::clear`] takes away.
#[derive(Clone, Copy)]
enum Sweep {
    /// What is older than the layer.
    Lower,
    All,
}

pub(super) fn components(path: &BStr) -> impl Iterator<Item = &BStr> {
    names(path).map(BStr::new).filter(|name| !name.is_empty() && *name != ".")
}

/// What a directory is when an archive has entries below it and no header for it.
fn directory(layer: u32) -> Version {
    Version {
        size: 0,
        seconds: 0,
        nanos: 0,
        previous: NONE,
        layer,
        uid: 0,
        gid: 0,
        extra: NONE,
        content: NONE,
        mode: 0o755,
        kind: Kind::Directory,
        state: State::Implied,
    }
}

/// The hasher has a seed of its own in each process: names come from outside.
fn hash_of(hasher: &DefaultHashBuilder, parent: u32, name: &BStr) -> u64 {
    let mut state = hasher.build_hasher();
    parent.hash(&mut state);
    state.write(name);
    state.finish()
}
