//! Which layers touched a path, and what each of them did to it.

use super::arena::Cause;
use super::tree::{FileTree, MetaRef, NodeId};
use super::{Change, Differences, Kind, differences};
use bstr::{BStr, BString};

/// What one layer did to one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch<'t> {
    /// Counted from 0 at the bottom.
    pub layer: u32,
    /// What was there below this layer.
    pub before: Option<MetaRef<'t>>,
    /// What is there from this layer on.
    pub after: Option<MetaRef<'t>>,
    /// Set if the layer takes away what was there, also where it then puts something else in its place.
    pub gone: Option<Removal>,
    /// A directory that stays, and the layer takes away what lower layers have in it.
    pub emptied: bool,
    /// The layer has no entry for it: it is a directory because something is below it.
    pub implied: bool,
}

/// How a layer takes a path away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    pub cause: Cause,
    /// The path that the layer speaks of: the path itself or a directory above it.
    pub by: BString,
}

impl Touch<'_> {
    pub fn change(&self) -> Change {
        match (&self.before, &self.after) {
            (None, None) => Change::Unchanged,
            (None, Some(_)) => Change::Added,
            (Some(_), None) => Change::Removed,
            (Some(_), Some(_)) => Change::Modified,
        }
    }

    /// In what it differs; nothing for a path that was added, removed, or written again as it was.
    pub fn differences(&self) -> Differences {
        match (self.before, self.after) {
            (Some(before), Some(after)) => differences(before, after),
            _ => Differences::default(),
        }
    }

    /// Whether an entry does anything: archives name the directories on the way to what they have.
    fn matters(&self) -> bool {
        match (self.before, self.after) {
            (None, None) => false,
            (Some(_), Some(after)) if after.kind == Kind::Directory => {
                self.gone.is_some() || self.emptied || self.differences().matter()
            }
            _ => true,
        }
    }
}

/// Every layer that touched a path, oldest first. `None` if no layer has ever had it.
pub fn blame<'t>(tree: &'t FileTree, path: &BStr) -> Option<Vec<Touch<'t>>> {
    let id = tree.lookup_ever(path)?;
    Some(touches(tree, id))
}

/// The last layer that touched an entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Last<'t> {
    pub name: BString,
    /// What is there now; `None` if it is gone.
    pub now: Option<MetaRef<'t>>,
    /// Content bytes at and below it, now.
    pub bytes: u64,
    pub layer: u32,
    /// What that layer did to the entry itself, if it did.
    pub own: Option<Touch<'t>>,
    /// How many paths below the entry it touched.
    pub below: usize,
}

/// For each entry that a directory has or had, in order of names, the last layer that touched it or something below
/// it. `None` if the path is and was no directory.
pub fn last_of_each<'t>(tree: &'t FileTree, directory: &BStr) -> Option<Vec<Last<'t>>> {
    let id = tree.lookup_ever(directory)?;
    let is_directory = |meta: MetaRef<'_>| meta.kind == Kind::Directory;
    let ever = id == FileTree::ROOT || tree.versions(id).any(|version| version.meta.is_some_and(is_directory));
    ever.then(|| tree.children_ever(id).filter_map(|child| last(tree, child)).collect())
}

fn last(tree: &FileTree, id: NodeId) -> Option<Last<'_>> {
    let mut own = touches(tree, id).pop();
    let mut layer = own.as_ref().map(|touch| touch.layer);
    let mut below = 0;
    let mut open: Vec<NodeId> = tree.children_ever(id).collect();
    while let Some(at) = open.pop() {
        open.extend(tree.children_ever(at));
        // Most paths below are older than what is known already, and need no closer look.
        let newest = tree.versions(at).next().map(|version| version.layer);
        if newest < layer {
            continue;
        }
        let Some(touch) = touches(tree, at).pop() else { continue };
        match Some(touch.layer).cmp(&layer) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => below += 1,
            std::cmp::Ordering::Greater => {
                layer = Some(touch.layer);
                own = None;
                below = 1;
            }
        }
    }
    let now = tree.lookup_here(id);
    Some(Last {
        name: tree.name(id).to_owned(),
        bytes: now.map_or(0, |_| tree.bytes(id)),
        now,
        layer: layer?,
        own,
        below,
    })
}

fn touches(tree: &FileTree, id: NodeId) -> Vec<Touch<'_>> {
    let mut out: Vec<Touch<'_>> = Vec::new();
    let mut versions: Vec<_> = tree.versions(id).collect();
    versions.reverse();
    let mut before = None;
    for layer in versions.chunk_by(|a, b| a.layer == b.layer) {
        let Some(newest) = layer.last() else { continue };
        let cause = layer.iter().find_map(|version| version.gone).filter(|_| before.is_some());
        let is_directory = |meta: Option<MetaRef<'_>>| meta.is_some_and(|meta| meta.kind == Kind::Directory);
        let stays = cause.is_none() && is_directory(before) && is_directory(newest.meta);
        let touch = Touch {
            layer: newest.layer,
            before,
            after: newest.meta,
            emptied: stays && is_opaque(tree, id, newest.layer),
            gone: cause.map(|cause| Removal { cause, by: taken_with(tree, id, newest.layer, cause) }),
            implied: newest.implied,
        };
        before = newest.meta;
        out.push(touch);
    }
    out.retain(Touch::matters);
    out
}

/// Whether a layer takes away what lower layers have in a directory by a mark on the directory.
fn is_opaque(tree: &FileTree, directory: NodeId, layer: u32) -> bool {
    let is_hidden = |id| tree.versions(id).any(|it| it.layer == layer && it.gone == Some(Cause::Opaque));
    tree.children_ever(directory).any(is_hidden)
}

/// The path that a layer names in order to take this one away.
fn taken_with(tree: &FileTree, id: NodeId, layer: u32, cause: Cause) -> BString {
    let gone = |id: NodeId| tree.versions(id).any(|version| version.layer == layer && version.gone.is_some());
    let mut top = id;
    while top != FileTree::ROOT && gone(tree.parent(top)) {
        top = tree.parent(top);
    }
    match cause {
        Cause::Whiteout => tree.path(top),
        Cause::Opaque | Cause::Replaced => tree.path(tree.parent(top)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, Layer, Meta, model};
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn put(path: &str, meta: Meta) -> Entry {
        Entry::Put { path: path.into(), meta, opaque: false }
    }

    fn file(path: &str, size: u64) -> Entry {
        put(path, Meta { size, mode: 0o644, ..Meta::new(Kind::File) })
    }

    fn dir(path: &str) -> Entry {
        put(path, Meta { mode: 0o755, ..Meta::new(Kind::Directory) })
    }

    fn gone(path: &str) -> Entry {
        Entry::Whiteout { path: path.into() }
    }

    fn merge(layers: &[&[Entry]]) -> FileTree {
        let layer = |entries: &&[Entry]| Arc::new(Layer { entries: entries.to_vec() });
        FileTree::merge(&layers.iter().map(layer).collect::<Vec<_>>())
    }

    fn shown(touch: &Touch<'_>) -> String {
        let Differences { kind, content, mode, owner, xattrs, .. } = touch.differences();
        let names = [
            (kind, "kind"),
            (content, "content"),
            (mode, "mode"),
            (owner, "owner"),
            (xattrs, "xattrs"),
            (touch.emptied, "emptied"),
        ];
        let mut line = format!("{} {}", touch.layer, touch.change().letter());
        names.iter().filter(|(set, _)| *set).for_each(|(_, name)| line.push_str(&format!(" {name}")));
        if let Some(Removal { cause, by }) = &touch.gone {
            line.push_str(&format!(" {cause:?} {by}"));
        }
        line
    }

    /// `LAYER CHANGE [differences] [cause path]` for each touch.
    #[track_caller]
    fn check(layers: &[&[Entry]], path: &str, expected: &[&str]) {
        let tree = merge(layers);
        let found = blame(&tree, path.into()).unwrap_or_default();
        assert_eq!(found.iter().map(shown).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn every_layer_that_touched_a_path() {
        let mode = put("a", Meta { size: 2, mode: 0o600, ..Meta::new(Kind::File) });
        let owner = put("a", Meta { uid: 7, ..Meta { size: 2, mode: 0o600, ..Meta::new(Kind::File) } });
        let link = put("a", Meta { target: "b".into(), ..Meta::new(Kind::Symlink) });
        let other = put("a", Meta { target: "c".into(), ..Meta::new(Kind::Symlink) });
        let layers = [&[file("a", 1)][..], &[file("a", 2)], &[file("b", 1)], &[mode], &[owner], &[gone("a")]];
        let expected = ["0 A", "1 M content", "3 M mode", "4 M owner", "5 D Whiteout a"];
        check(&layers, "a", &expected);
        check(&layers, "/a", &expected);
        check(&layers, "x", &[]);
        check(&[std::slice::from_ref(&link), &[other], &[file("a", 1)]], "a", &["0 A", "1 M content", "2 M kind mode"]);
        check(&[&[file("a", 1)], &[file("a", 1)]], "a", &["0 A", "1 M"]);
        check(&[&[file("a", 1)], &[gone("a")], &[file("a", 1)]], "a", &["0 A", "1 D Whiteout a", "2 A"]);
        check(&[&[file("a", 1)], &[gone("b")]], "a", &["0 A"]);
    }

    #[test]
    fn directories_on_the_way_are_not_touched() {
        let layers = [&[dir("d"), file("d/a", 1)][..], &[dir("d"), file("d/b", 1)]];
        check(&layers, "d", &["0 A"]);
        let open = put("d", Meta { mode: 0o777, ..Meta::new(Kind::Directory) });
        check(&[layers[0], &[open]], "d", &["0 A", "1 M mode"]);
    }

    #[test]
    fn what_takes_a_path_away_is_named() {
        let base = [dir("d"), dir("d/e"), file("d/e/a", 1)];
        let opaque =
            Entry::Put { path: "d".into(), meta: Meta { mode: 0o755, ..Meta::new(Kind::Directory) }, opaque: true };
        check(&[&base, &[gone("d")]], "d/e/a", &["0 A", "1 D Whiteout d"]);
        check(&[&base, &[gone("d/e")]], "d/e/a", &["0 A", "1 D Whiteout d/e"]);
        check(&[&base, std::slice::from_ref(&opaque)], "d/e/a", &["0 A", "1 D Opaque d"]);
        check(&[&base, &[Entry::Opaque { path: "d".into() }]], "d/e/a", &["0 A", "1 D Opaque d"]);
        check(&[&base, &[file("d", 1)]], "d/e/a", &["0 A", "1 D Replaced d"]);
        check(&[&base, &[gone("d"), file("d/e/a", 2)]], "d/e/a", &["0 A", "1 M content Whiteout d"]);
    }

    #[test]
    fn who_empties_a_directory_is_named() {
        let base = [dir("d"), dir("d/e"), file("d/e/a", 1)];
        let opaque = |path: &str| {
            let meta = Meta { mode: 0o755, ..Meta::new(Kind::Directory) };
            Entry::Put { path: path.into(), meta, opaque: true }
        };
        check(&[&base, &[opaque("d")]], "d", &["0 A", "1 M emptied"]);
        check(&[&base, &[file("d/b", 1), Entry::Opaque { path: "d".into() }]], "d", &["0 A", "1 M emptied"]);
        check(&[&base, &[Entry::Opaque { path: "".into() }, dir("d")]], "", &["0 A", "1 M emptied"]);
        // What goes with a directory above it, and comes again, is not emptied by itself.
        check(&[&base, &[opaque("d"), dir("d/e"), file("d/e/b", 1)]], "d/e", &["0 A", "1 M Opaque d"]);
        check(&[&base, &[gone("d"), file("d/b", 2)]], "d", &["0 A", "1 M Whiteout d"]);
        check(&[&base, &[gone("d/e")]], "d", &["0 A"]);
        check(&[&[dir("d")], &[opaque("d"), file("d/a", 1)]], "d", &["0 A"]);
    }

    #[test]
    fn the_last_layer_of_an_entry_may_be_the_one_that_emptied_it() {
        let opaque = Entry::Opaque { path: "d/e".into() };
        let tree = merge(&[&[dir("d"), dir("d/e"), file("d/e/a", 1)], &[opaque]]);
        let found = last_of_each(&tree, "d".into()).unwrap();
        assert_eq!(found[0].own.as_ref().map(shown), Some("1 M emptied".to_owned()));
    }

    #[test]
    fn the_last_layer_of_each_entry() {
        let layers = [
            &[dir("d"), dir("d/sub"), file("d/sub/x", 1), file("d/a", 1), file("d/b", 1)][..],
            &[file("d/sub/x", 2), file("d/sub/y", 2), file("d/a", 3)],
            &[gone("d/b")],
        ];
        let tree = merge(&layers);
        let found = last_of_each(&tree, "d".into()).unwrap();
        let shown = |it: &Last<'_>| {
            let own = it.own.as_ref().map_or(String::new(), shown);
            format!("{} {} {} {} {own}", it.name, it.layer, it.bytes, it.below)
        };
        let lines: Vec<String> = found.iter().map(shown).collect();
        assert_eq!(lines, ["a 1 3 0 1 M content", "b 2 0 0 2 D Whiteout d/b", "sub 1 4 2 "]);
        assert!(last_of_each(&tree, "d/a".into()).is_none() && last_of_each(&tree, "x".into()).is_none());
        assert_eq!(last_of_each(&tree, "".into()).unwrap().len(), 1);
    }

    proptest! {
        /// The last touch says what is there, and each begins with what the one before left.
        #[test]
        fn touches_lead_to_what_is_there(layers in model::stacks()) {
            let tree = FileTree::merge(&layers);
            for id in tree.walk(FileTree::ROOT).into_iter().skip(1) {
                let found = touches(&tree, id);
                prop_assert!(found.windows(2).all(|pair| pair[0].layer < pair[1].layer));
                prop_assert!(found.windows(2).all(|pair| pair[0].after.is_some() == pair[1].before.is_some()));
                prop_assert!(found.first().is_some_and(|touch| touch.change() == Change::Added));
                prop_assert!(found.last().is_some_and(|touch| touch.after.map(|it| it.kind) == Some(tree.meta(id).kind)));
                let below = tree.at(found[0].layer);
                prop_assert!(below.lookup(tree.path(id).as_ref()).is_none());
            }
        }
    }
}
