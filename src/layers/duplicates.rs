//! Files of a tree with the same content at several paths.

use super::entry::ContentHash;
use super::tree::{FileTree, NodeId};
use super::waste::{Fate, Unit, units};

/// One content that is there more than once. Names of one inode are one copy, and empty files are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// What all copies but the smallest take. They differ only by their holes.
    pub extra: u64,
    /// The paths, in their order.
    pub nodes: Vec<NodeId>,
}

/// Contents that are there several times, the most costly first. Files whose content nobody has read are not looked
/// at.
pub fn duplicates(tree: &FileTree) -> Vec<Duplicate> {
    of_units(tree, &units(tree))
}

pub(super) fn of_units(tree: &FileTree, units: &[Unit]) -> Vec<Duplicate> {
    let content = |unit: &Unit| {
        let meta = tree.meta(NodeId(unit.node));
        meta.content.map(|content| (content, meta.size))
    };
    // By a part of the hash first: most contents are there once, and need not be held in full.
    let live = units.iter().zip(0u32..).filter(|(unit, _)| unit.fate == Fate::Live);
    let mut known: Vec<(u32, u32)> = live.filter_map(|(it, at)| Some((content(it)?.0.0 as u32, at))).collect();
    known.sort_unstable();
    let mut out: Vec<Duplicate> = Vec::new();
    for alike in known.chunk_by(|a, b| a.0 == b.0).filter(|alike| alike.len() > 1) {
        let units = alike.iter().filter_map(|(_, at)| units.get(*at as usize));
        let mut copies: Vec<((ContentHash, u64), u64, u32)> =
            units.filter_map(|unit| Some((content(unit)?, unit.bytes, unit.node))).collect();
        copies.sort_unstable();
        out.extend(copies.chunk_by(|a, b| a.0 == b.0).filter(|copies| copies.len() > 1).map(|copies| {
            let sum = copies.iter().fold(0u64, |sum, copy| sum.saturating_add(copy.1));
            let smallest = copies.iter().map(|copy| copy.1).min().unwrap_or(0);
            let mut nodes: Vec<NodeId> = copies.iter().map(|copy| NodeId(copy.2)).collect();
            nodes.sort_by_cached_key(|node| tree.path(*node));
            Duplicate { extra: sum.saturating_sub(smallest), nodes }
        }));
    }
    out.sort_by_cached_key(|it| (std::cmp::Reverse(it.extra), it.nodes.first().map(|node| tree.path(*node))));
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, Kind, Layer, Meta};
    use super::*;
    use std::sync::Arc;

    fn file(path: &str, size: u64, content: u128) -> Entry {
        let content = (content != 0).then_some(ContentHash(content));
        Entry::Put { path: path.into(), meta: Meta { size, content, ..Meta::new(Kind::File) }, opaque: false }
    }

    #[track_caller]
    fn check(layers: &[&[Entry]], expected: &[&str]) {
        let layers: Vec<_> = layers.iter().map(|it| Arc::new(Layer { entries: it.to_vec() })).collect();
        let tree = FileTree::merge(&layers);
        let shown = |it: &Duplicate| {
            let paths: Vec<String> = it.nodes.iter().map(|node| tree.path(*node).to_string()).collect();
            format!("{} {}", it.extra, paths.join(" "))
        };
        assert_eq!(duplicates(&tree).iter().map(shown).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn copies_are_found_by_their_content() {
        let link = Entry::Link { path: "l".into(), target: "a".into(), own: None };
        check(&[&[file("a", 5, 1), file("b", 5, 1), file("c", 5, 2)]], &["5 a b"]);
        check(
            &[&[file("z", 5, 1)], &[file("b", 5, 1), file("c", 5, 1), file("d", 9, 2), file("e", 9, 2)]],
            &["10 b c z", "9 d e"],
        );
        // What is dead, empty, unread or the same inode is no copy.
        check(&[&[file("a", 5, 1)], &[file("a", 5, 1)]], &[]);
        check(&[&[file("a", 0, 1), file("b", 0, 1)]], &[]);
        check(&[&[file("a", 5, 0), file("b", 5, 0)]], &[]);
        check(&[&[file("a", 5, 1), link]], &[]);
        // A hash that two sizes share is no proof.
        check(&[&[file("a", 5, 1), file("b", 6, 1)]], &[]);
    }

    #[test]
    fn of_a_sparse_copy_only_what_it_takes_counts() {
        let sparse = Meta { size: 100, holes: 90, content: Some(ContentHash(1)), ..Meta::new(Kind::File) };
        check(&[&[file("a", 100, 1), Entry::Put { path: "b".into(), meta: sparse, opaque: false }]], &["100 a b"]);
    }
}
