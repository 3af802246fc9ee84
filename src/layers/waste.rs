//! What each layer writes, how much of it is still there at the end, and what became of the rest.
//!
//! Bytes are content bytes of regular files, holes left out; an inode of several names counts once, where its first
//! name was written, and lives as long as any of its names does. The rule that all of this keeps:
//!
//! - the bytes of all layers = live + dead,
//! - dead = overwritten + deleted + metadata,
//! - each dead byte belongs to the layer that wrote it and to the one that killed it. The two may be the same: of two
//!   entries for one path in one layer, the first is dead from the beginning.

use super::arena::{NONE, State};
use super::tree::{FileTree, NodeId};
use super::{Kind, differences};
use serde::{Deserialize, Serialize};

/// What became of bytes that are not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// The path is gone.
    Deleted,
    /// Something else is at the path.
    Overwritten,
    /// The path was written again with the same content: what `chown -R`, `chmod -R` and `touch` do.
    Metadata,
}

/// The content of one file, or of one inode of several names, that is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dead {
    /// Its path; of several names, one that was lost last.
    pub node: NodeId,
    pub bytes: u64,
    /// Layers, counted from 0 at the bottom.
    pub wrote: u32,
    pub killed: u32,
    pub how: How,
}

/// Bytes by what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeadBytes {
    pub overwritten: u64,
    pub deleted: u64,
    pub metadata: u64,
}

impl DeadBytes {
    pub fn total(self) -> u64 {
        self.overwritten.saturating_add(self.deleted).saturating_add(self.metadata)
    }

    fn add(&mut self, how: How, bytes: u64) {
        let sum = match how {
            How::Overwritten => &mut self.overwritten,
            How::Deleted => &mut self.deleted,
            How::Metadata => &mut self.metadata,
        };
        *sum = sum.saturating_add(bytes);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LayerWaste {
    /// What the layer's files hold.
    pub bytes: u64,
    /// As much of it as is dead at the end.
    pub dead: DeadBytes,
    /// Dead bytes, of this layer and those below it, that it took away.
    pub killed: DeadBytes,
    /// Paths, counted as [`super::Diff::of_layer`] counts them.
    pub added: u64,
    pub modified: u64,
    pub removed: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Waste {
    /// Bottom first, one for each layer of the tree.
    pub layers: Vec<LayerWaste>,
    /// The sum over all layers.
    pub dead: DeadBytes,
    pub live: u64,
    /// Everything that is dead and not empty, in no particular order.
    pub gone: Vec<Dead>,
}

impl Waste {
    pub fn of(tree: &FileTree) -> Waste {
        Waste::of_units(tree, &units(tree))
    }

    pub(super) fn of_units(tree: &FileTree, units: &[Unit]) -> Waste {
        let mut waste = Waste { layers: vec![LayerWaste::default(); tree.height() as usize], ..Waste::default() };
        count_changes(tree, &mut waste.layers);
        for unit in units {
            let Some(wrote) = waste.layers.get_mut(unit.wrote as usize) else { continue };
            wrote.bytes = wrote.bytes.saturating_add(unit.bytes);
            let Fate::Dead { killed, how } = unit.fate else {
                waste.live = waste.live.saturating_add(unit.bytes);
                continue;
            };
            wrote.dead.add(how, unit.bytes);
            if let Some(killer) = waste.layers.get_mut(killed as usize) {
                killer.killed.add(how, unit.bytes);
            }
            waste.dead.add(how, unit.bytes);
            waste.gone.push(Dead { node: NodeId(unit.node), bytes: unit.bytes, wrote: unit.wrote, killed, how });
        }
        waste
    }

    /// The bytes of all layers.
    pub fn total(&self) -> u64 {
        self.live.saturating_add(self.dead.total())
    }
}

/// A content that some layer wrote and that takes bytes: of a file with one name, or of an inode.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unit {
    /// Where it counts: its name, the first of those that are left, or the one that was lost last.
    pub(super) node: u32,
    pub(super) bytes: u64,
    pub(super) wrote: u32,
    pub(super) fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Live,
    Dead { killed: u32, how: How },
}

/// An inode's names, as far as they have been seen.
#[derive(Clone, Copy)]
struct Inode {
    /// The first version of a name: its layer wrote the bytes.
    first: u32,
    /// The first version of a name that is left, and its node.
    live: (u32, u32),
    /// The layer that took a name away last, what it did in the best case, and the name's node.
    lost: Option<(u32, How, u32)>,
}

/// All contents that take bytes, in the order of their nodes.
pub(super) fn units(tree: &FileTree) -> Vec<Unit> {
    let arena = &*tree.arena;
    // Most versions are files: a list that grows by doubling would be much larger than it has to be.
    let files = arena.versions.iter().filter(|it| it.kind == Kind::File && it.state == State::Put && it.size > 0);
    let mut units = Vec::with_capacity(files.count());
    let mut inodes = vec![Inode { first: NONE, live: (NONE, NONE), lost: None }; arena.inodes as usize];
    for node in 1..arena.nodes.len() as u32 {
        // From the newest version to the oldest. `last` is what the layer of the version before made of the path.
        let mut last: Option<u32> = None;
        for here in tree.history(node) {
            let version = &arena.versions[here as usize];
            let after = last;
            if last.is_none_or(|last| arena.versions[last as usize].layer != version.layer) {
                last = Some(here);
            }
            if version.kind != Kind::File || version.state != State::Put {
                continue;
            }
            let lost = after.map(|after| (arena.versions[after as usize].layer, how(tree, here, after)));
            match arena.inode(here) {
                None => {
                    let fate = lost.map_or(Fate::Live, |(killed, how)| Fate::Dead { killed, how });
                    let bytes = arena.bytes(here);
                    if bytes > 0 {
                        units.push(Unit { node, bytes, wrote: version.layer, fate });
                    }
                }
                Some(inode) => {
                    let inode = &mut inodes[inode as usize];
                    inode.first = inode.first.min(here);
                    match lost {
                        None => inode.live = inode.live.min((here, node)),
                        Some((layer, how)) => inode.lost = inode.lost.max(Some((layer, how, node))),
                    }
                }
            }
        }
    }
    for inode in inodes {
        let (bytes, wrote) = match inode.first {
            NONE => continue,
            first => (arena.bytes(first), arena.versions[first as usize].layer),
        };
        let (node, fate) = match (inode.live, inode.lost) {
            ((NONE, _), Some((killed, how, node))) => (node, Fate::Dead { killed, how }),
            ((NONE, _), None) => continue,
            ((_, node), _) => (node, Fate::Live),
        };
        if bytes > 0 {
            units.push(Unit { node, bytes, wrote, fate });
        }
    }
    units.sort_by_key(|unit| unit.node);
    units
}

/// What became of a file whose path looks like `after` now.
fn how(tree: &FileTree, file: u32, after: u32) -> How {
    if tree.arena.versions[after as usize].gone() {
        return How::Deleted;
    }
    let (file, after) = (tree.meta_of(file), tree.meta_of(after));
    let differences = differences(file, after);
    if differences.kind || differences.content { How::Overwritten } else { How::Metadata }
}

/// Counts the paths that each layer adds, changes and removes.
fn count_changes(tree: &FileTree, layers: &mut [LayerWaste]) {
    let arena = &*tree.arena;
    for node in 1..arena.nodes.len() as u32 {
        let mut newer: Option<u32> = None;
        for here in tree.history(node) {
            let version = &arena.versions[here as usize];
            if newer.is_some_and(|newer| arena.versions[newer as usize].layer == version.layer) {
                continue;
            }
            if let Some(newer) = newer {
                count(tree, (!version.gone()).then_some(here), newer, layers);
            }
            newer = Some(here);
        }
        if let Some(oldest) = newer {
            count(tree, None, oldest, layers);
        }
    }
}

fn count(tree: &FileTree, before: Option<u32>, after: u32, layers: &mut [LayerWaste]) {
    let version = &tree.arena.versions[after as usize];
    let Some(layer) = layers.get_mut(version.layer as usize) else { return };
    match (before, version.gone()) {
        (None, true) => {}
        (None, false) => layer.added += 1,
        (Some(_), true) => layer.removed += 1,
        (Some(before), false) => {
            let changed = version.kind == Kind::File || differences(tree.meta_of(before), tree.meta_of(after)).matter();
            layer.modified += u64::from(changed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::{self, Model};
    use super::super::{Diff, Entry, Layer, Meta};
    use super::*;
    use bstr::BString;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    fn file(path: &str, size: u64) -> Entry {
        Entry::Put { path: path.into(), meta: Meta { size, ..Meta::new(Kind::File) }, opaque: false }
    }

    fn owned(path: &str, size: u64, uid: u32) -> Entry {
        Entry::Put { path: path.into(), meta: Meta { size, uid, ..Meta::new(Kind::File) }, opaque: false }
    }

    fn sparse(path: &str, size: u64, holes: u64) -> Entry {
        Entry::Put { path: path.into(), meta: Meta { size, holes, ..Meta::new(Kind::File) }, opaque: false }
    }

    fn dir(path: &str, opaque: bool) -> Entry {
        Entry::Put { path: path.into(), meta: Meta::new(Kind::Directory), opaque }
    }

    fn gone(path: &str) -> Entry {
        Entry::Whiteout { path: path.into() }
    }

    fn link(path: &str, target: &str) -> Entry {
        Entry::Link { path: path.into(), target: target.into(), own: None }
    }

    fn waste(layers: &[&[Entry]]) -> Waste {
        let layers: Vec<_> = layers.iter().map(|it| Arc::new(Layer { entries: it.to_vec() })).collect();
        Waste::of(&FileTree::merge(&layers))
    }

    /// Expects the live bytes, and what is dead: `WRITER>KILLER HOW BYTES`.
    #[track_caller]
    fn check(layers: &[&[Entry]], live: u64, expected: &[&str]) {
        let waste = waste(layers);
        let mut found: Vec<String> = waste
            .gone
            .iter()
            .map(|it| format!("{}>{} {} {}", it.wrote, it.killed, format!("{:?}", it.how).to_lowercase(), it.bytes))
            .collect();
        found.sort();
        assert_eq!((waste.live, found), (live, expected.iter().map(|it| it.to_string()).collect()));
    }

    #[test]
    fn what_became_of_it() {
        check(&[&[file("a", 5)]], 5, &[]);
        check(&[&[file("a", 5)], &[file("a", 7)]], 7, &["0>1 overwritten 5"]);
        check(&[&[file("a", 5)], &[gone("a")]], 0, &["0>1 deleted 5"]);
        check(&[&[file("a", 5)], &[owned("a", 5, 1)]], 5, &["0>1 metadata 5"]);
        check(&[&[file("d/a", 5)], &[dir("d", true)]], 0, &["0>1 deleted 5"]);
        check(&[&[file("d/a", 5), file("d/b", 6)], &[file("d", 1)]], 1, &["0>1 deleted 5", "0>1 deleted 6"]);
        check(&[&[file("d", 5)], &[dir("d", false)]], 0, &["0>1 overwritten 5"]);
        check(&[&[file("d", 5)], &[file("d/x", 1)]], 1, &["0>1 overwritten 5"]);
        check(&[], 0, &[]);
        check(&[&[], &[]], 0, &[]);
    }

    #[test]
    fn deleted_and_made_again_in_one_layer_is_overwritten() {
        check(&[&[file("a", 5)], &[gone("a"), file("a", 7)]], 7, &["0>1 overwritten 5"]);
        check(&[&[file("a", 5)], &[file("a", 7), gone("a")]], 7, &["0>1 overwritten 5"]);
        check(&[&[file("a", 5)], &[gone("a")], &[file("a", 5)]], 5, &["0>1 deleted 5"]);
    }

    #[test]
    fn a_layer_can_kill_its_own() {
        check(&[&[file("a", 5), file("a", 7)]], 7, &["0>0 overwritten 5"]);
        check(&[&[file("a", 5), file("a", 7)], &[gone("a")]], 0, &["0>0 overwritten 5", "0>1 deleted 7"]);
        check(&[&[file("d/a", 5), file("d", 1)]], 1, &["0>0 deleted 5"]);
    }

    #[test]
    fn an_inode_lives_as_long_as_its_names() {
        check(&[&[file("a", 5), link("b", "a")]], 5, &[]);
        check(&[&[file("a", 5), link("b", "a")], &[gone("a")]], 5, &[]);
        check(&[&[file("a", 5), link("b", "a")], &[gone("a")], &[gone("b")]], 0, &["0>2 deleted 5"]);
        check(&[&[file("a", 5), link("b", "a")], &[gone("a"), file("b", 6)]], 6, &["0>1 overwritten 5"]);
        // A link out of its layer keeps the bytes of the lower one alive.
        check(&[&[file("a", 5)], &[gone("a"), link("b", "a")]], 5, &[]);
        // Copied up to change the owner.
        check(&[&[file("a", 5), link("b", "a")], &[owned("a", 5, 1), link("b", "a")]], 5, &["0>1 metadata 5"]);
    }

    #[test]
    fn holes_are_no_bytes() {
        check(&[&[sparse("a", 1000, 990)], &[gone("a")]], 0, &["0>1 deleted 10"]);
        check(&[&[sparse("a", 1000, 1000)], &[gone("a")]], 0, &[]);
    }

    #[test]
    fn a_lower_height_knows_nothing_of_what_comes_later() {
        let layers = [vec![file("a", 5)], vec![gone("a")]].map(|entries| Arc::new(Layer { entries }));
        let waste = Waste::of(&FileTree::merge(&layers).at(1));
        assert_eq!((waste.live, waste.dead.total(), waste.layers.len()), (5, 0, 1));
    }

    /// Layers whose files carry the number of their content as a device, and what each content weighs and where it
    /// was written.
    fn numbered(layers: &[Arc<Layer>]) -> (Vec<Layer>, Vec<(u64, u32)>) {
        let mut contents: Vec<(u64, u32)> = Vec::new();
        let number = |(number, layer): (usize, &Arc<Layer>)| {
            let mut inodes: BTreeMap<u64, u32> = BTreeMap::new();
            let mut layer = Layer::clone(layer);
            for entry in &mut layer.entries {
                let Entry::Put { meta, .. } = entry else { continue };
                if meta.kind != Kind::File {
                    continue;
                }
                let mut next = || {
                    contents.push((meta.size, number as u32));
                    contents.len() as u32
                };
                meta.device.0 = match meta.hard_link {
                    0 => next(),
                    inode => *inodes.entry(inode).or_insert_with(next),
                };
            }
            layer
        };
        (layers.iter().enumerate().map(number).collect(), contents)
    }

    fn contents_of(model: &Model) -> BTreeSet<u32> {
        model.values().filter(|it| it.meta.kind == Kind::File).map(|it| it.meta.device.0).collect()
    }

    proptest! {
        /// The sums hold, whatever the layers do.
        #[test]
        fn all_bytes_are_live_or_dead(layers in model::stacks()) {
            let tree = FileTree::merge(&layers);
            let waste = Waste::of(&tree);
            prop_assert_eq!(waste.live, tree.bytes(FileTree::ROOT));
            prop_assert_eq!(waste.layers.len(), layers.len());
            let written: Vec<u64> = layers.iter().map(|layer| layer.bytes()).collect();
            prop_assert_eq!(waste.layers.iter().map(|it| it.bytes).collect::<Vec<_>>(), written.clone());
            prop_assert_eq!(waste.total(), written.iter().sum::<u64>());
            let dead: u64 = waste.layers.iter().map(|it| it.dead.total()).sum();
            let killed: u64 = waste.layers.iter().map(|it| it.killed.total()).sum();
            prop_assert_eq!((dead, killed), (waste.dead.total(), waste.dead.total()));
            prop_assert_eq!(waste.gone.iter().map(|it| it.bytes).sum::<u64>(), dead);
            prop_assert!(waste.gone.iter().all(|it| it.wrote <= it.killed));
        }

        /// Content by content it is what a slow and obvious model finds.
        #[test]
        fn it_is_what_the_model_says(layers in model::stacks()) {
            let waste = Waste::of(&FileTree::merge(&layers));
            let (numbered, contents) = numbered(&layers);
            let mut model = Model::new();
            let mut expected: BTreeMap<(u32, u32), u64> = BTreeMap::new();
            let mut hows: BTreeMap<(u32, u32, How), u64> = BTreeMap::new();
            for (killer, layer) in numbered.iter().enumerate() {
                let killer = killer as u32;
                let before = model.clone();
                model::apply(&mut model, layer, killer);
                let new = contents.iter().zip(1..).filter(|((_, wrote), _)| *wrote == killer).map(|(_, it)| it);
                let mut there = contents_of(&before);
                there.extend(new);
                for content in there.difference(&contents_of(&model)) {
                    let (bytes, wrote) = contents[*content as usize - 1];
                    *expected.entry((wrote, killer)).or_default() += bytes;
                    let names: Vec<&BString> =
                        before.iter().filter(|(_, it)| it.meta.device.0 == *content).map(|(path, _)| path).collect();
                    let how = names.iter().map(|path| match model.get(*path) {
                        None => How::Deleted,
                        Some(now) if now.meta.kind != Kind::File => How::Overwritten,
                        Some(now) => {
                            let was = &before[*path].meta;
                            let same = now.meta.size == was.size && now.meta.mtime == was.mtime;
                            if same { How::Metadata } else { How::Overwritten }
                        }
                    });
                    *hows.entry((wrote, killer, how.max().unwrap_or(How::Deleted))).or_default() += bytes;
                }
            }
            expected.retain(|_, bytes| *bytes > 0);
            let mut found: BTreeMap<(u32, u32), u64> = BTreeMap::new();
            waste.gone.iter().for_each(|it| *found.entry((it.wrote, it.killed)).or_default() += it.bytes);
            prop_assert_eq!(found, expected);
            // Names that an inode has for a part of one layer only are nothing that the model knows.
            let links = layers.iter().any(|layer| layer.entries.iter().any(|it| matches!(it, Entry::Link { .. })));
            if !links {
                hows.retain(|(wrote, killer, _), bytes| *bytes > 0 && wrote != killer);
                let mut found: BTreeMap<(u32, u32, How), u64> = BTreeMap::new();
                let later = waste.gone.iter().filter(|it| it.wrote != it.killed);
                later.for_each(|it| *found.entry((it.wrote, it.killed, it.how)).or_default() += it.bytes);
                prop_assert_eq!(found, hows);
            }
        }

        /// Paths are counted as the difference of two trees counts them.
        #[test]
        fn changes_are_those_of_the_difference(layers in model::stacks()) {
            let tree = FileTree::merge(&layers);
            for (number, layer) in Waste::of(&tree).layers.iter().enumerate() {
                let diff = Diff::of_layer(&tree, number as u32);
                let counted = (layer.added as usize, layer.modified as usize, layer.removed as usize);
                prop_assert_eq!(counted, (diff.added, diff.modified, diff.removed));
            }
        }
    }
}
