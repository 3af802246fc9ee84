//! A slow and obvious model of stacked layers, to hold the tree against: a map of paths for each height.

use super::{Entry, FileTree, Kind, Layer, Meta};
use bstr::{BString, ByteSlice};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is at a path: its properties, the layer that wrote them, and the inode they belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) meta: Meta,
    pub(super) layer: u32,
    /// The layer has an entry for it.
    pub(super) said: bool,
}

pub(super) type Model = BTreeMap<BString, Found>;

/// One layer over what is there: first everything that hides, then everything that is put, in order.
pub(super) fn apply(model: &mut Model, layer: &Layer, number: u32) {
    let lower = model.clone();
    for entry in &layer.entries {
        match entry {
            Entry::Whiteout { path } if !path.is_empty() => {
                model.retain(|at, _| at != path && !is_below(at, path));
            }
            Entry::Put { path, opaque: true, meta } if meta.kind == Kind::Directory => {
                model.retain(|at, _| !is_below(at, path));
            }
            Entry::Opaque { path } => model.retain(|at, _| !is_below(at, path)),
            _ => {}
        }
    }
    let own = |it: &Found| it.layer == number && it.meta.kind != Kind::Directory;
    let is_below_own = |model: &Model, path| parents(path).any(|parent| model.get(&parent).is_some_and(own));
    for entry in &layer.entries {
        match entry {
            Entry::Put { path, meta, .. } => put(model, path, meta, number),
            Entry::Opaque { path } if model.get(path).is_some_and(own) || is_below_own(model, path) => {}
            Entry::Opaque { path } => {
                make_parents(model, path, number);
                if model.get(path).is_none_or(|it| it.layer != number || !it.said || it.meta.kind != Kind::Directory) {
                    let mine = lower.get(path).filter(|it| it.meta.kind == Kind::Directory);
                    let meta = mine.map_or_else(implied, |it| it.meta.clone());
                    model.insert(path.clone(), Found { meta, layer: number, said: false });
                }
            }
            Entry::Link { path, target, .. } => {
                let here = model.get(target).filter(|it| it.layer == number);
                let found = here.or(lower.get(target)).filter(|it| it.meta.kind != Kind::Directory);
                if let Some(found) = found.cloned() {
                    put(model, path, &found.meta, number);
                }
            }
            Entry::Whiteout { path } => {
                if !path.is_empty() && !is_below_own(model, path) {
                    make_parents(model, path, number);
                }
            }
        }
    }
}

/// The directories that a path lies in, but for the root.
fn parents(path: &BString) -> impl Iterator<Item = BString> {
    path.find_iter("/").map(|end| BString::from(&path[..end]))
}

fn put(model: &mut Model, path: &BString, meta: &Meta, layer: u32) {
    make_parents(model, path, layer);
    if meta.kind != Kind::Directory {
        model.retain(|at, _| !is_below(at, path));
    }
    model.insert(path.clone(), Found { meta: meta.clone(), layer, said: true });
}

fn make_parents(model: &mut Model, path: &BString, layer: u32) {
    let Some(end) = path.rfind_byte(b'/') else { return };
    let parent: BString = path[..end].into();
    make_parents(model, &parent, layer);
    if model.get(&parent).is_none_or(|it| it.meta.kind != Kind::Directory) {
        model.insert(parent, Found { meta: implied(), layer, said: false });
    }
}

fn implied() -> Meta {
    Meta { mode: 0o755, ..Meta::new(Kind::Directory) }
}

pub(super) fn is_below(path: &BString, directory: &BString) -> bool {
    path.strip_prefix(directory.as_slice()).is_some_and(|rest| rest.starts_with(b"/"))
}

/// What a tree says, in the model's form.
pub(super) fn listing(tree: &FileTree) -> Model {
    let found = |id| {
        (
            tree.path(id),
            Found {
                meta: Meta { hard_link: 0, ..tree.meta(id).to_meta() },
                layer: tree.layer(id),
                said: tree.versions(id).next().is_some_and(|it| !it.implied),
            },
        )
    };
    tree.walk(FileTree::ROOT).into_iter().skip(1).map(found).collect()
}

/// The model with inodes left out, as numbers differ.
pub(super) fn without_inodes(model: &Model) -> Model {
    let mut model = model.clone();
    model.values_mut().for_each(|it| it.meta.hard_link = 0);
    model
}

/// Stacks of few names, so that layers meet.
pub(super) fn stacks() -> impl Strategy<Value = Vec<Arc<Layer>>> {
    prop::collection::vec(layers().prop_map(Arc::new), 0..6)
}

fn layers() -> impl Strategy<Value = Layer> {
    prop::collection::vec(entries(), 0..14).prop_map(|mut entries| {
        // A layer's links to inodes have the properties of the first name.
        let mut firsts: BTreeMap<u64, Meta> = BTreeMap::new();
        for entry in &mut entries {
            if let Entry::Put { meta, .. } = entry
                && meta.hard_link != 0
            {
                *meta = firsts.entry(meta.hard_link).or_insert_with(|| meta.clone()).clone();
            }
        }
        // What hides a directory says nothing more of what is below it: no engine takes such layers.
        let hidden = |entry: &Entry| match entry {
            Entry::Whiteout { path } => Some(path.clone()),
            Entry::Opaque { path } | Entry::Put { path, opaque: true, .. } => Some(path.clone()),
            _ => None,
        };
        let hidden: Vec<BString> = entries.iter().filter_map(hidden).collect();
        entries.retain(|entry| match entry {
            Entry::Whiteout { path } => !hidden.iter().any(|it| is_below(path, it)),
            _ => true,
        });
        Layer { entries }
    })
}

fn entries() -> impl Strategy<Value = Entry> {
    prop_oneof![
        4 => (paths(), files()).prop_map(|(path, meta)| Entry::Put { path, meta, opaque: false }),
        3 => (paths(), directories(), prop::bool::weighted(0.3))
            .prop_map(|(path, meta, opaque)| Entry::Put { path, meta, opaque }),
        1 => paths().prop_map(|path| Entry::Put {
            path,
            meta: Meta { target: "a/b".into(), ..Meta::new(Kind::Symlink) },
            opaque: false,
        }),
        2 => paths().prop_map(|path| Entry::Whiteout { path }),
        1 => paths().prop_map(|path| Entry::Opaque { path }),
        1 => (paths(), paths()).prop_map(|(path, target)| Entry::Link { path, target, own: None }),
    ]
}

fn paths() -> impl Strategy<Value = BString> {
    let name = prop_oneof![Just(&b"a"[..]), Just(&b"b"[..]), Just(&b"c\xff"[..]), Just(&b"\x1b[m"[..])];
    prop::collection::vec(name, 1..4).prop_map(|names| BString::from(bstr::join("/", names)))
}

fn files() -> impl Strategy<Value = Meta> {
    let hard_link = prop_oneof![3 => Just(0u64), 1 => 1u64..3];
    (0u64..4, 0i64..3, 0u32..2, hard_link).prop_map(|(size, time, uid, hard_link)| Meta {
        mode: 0o644,
        size: size * 100,
        mtime: (time, 0),
        uid,
        hard_link,
        ..Meta::new(Kind::File)
    })
}

fn directories() -> impl Strategy<Value = Meta> {
    prop_oneof![Just(0o755u32), Just(0o1777)].prop_map(|mode| Meta { mode, ..Meta::new(Kind::Directory) })
}
