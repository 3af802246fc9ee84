//! The efficiency score that dive made known, with its rule kept and the faults of its counting mended.
//!
//! The rule, as dive documents it: for each path, the smallest of all copies that the layers have of it, and all of
//! them together; the sum of the first over the sum of the second. 1 is an image without waste.
//!
//! What is counted otherwise than there:
//! - a path that is not there in the end has a smallest copy of nothing, however it was taken away: by a whiteout of
//!   its own or of a directory above it, an opaque directory, or a file in a directory's place;
//! - an inode of several names is one copy, at one of them, and holes in files are not counted;
//! - an image of one layer or of none has the score 1, not no number.

use super::tree::FileTree;
use super::waste::{Fate, Unit, units};
use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Score {
    /// From 0 to 1.
    pub efficiency: f64,
    /// Bytes of the smallest copy of each path.
    pub smallest_bytes: u64,
    /// Bytes of all copies.
    pub all_bytes: u64,
}

pub fn score(tree: &FileTree) -> Score {
    of_units(&units(tree))
}

/// Of units in the order of their nodes.
pub(super) fn of_units(units: &[Unit]) -> Score {
    let (mut smallest_bytes, mut all_bytes) = (0u64, 0u64);
    for copies in units.chunk_by(|a, b| a.node == b.node) {
        all_bytes = copies.iter().map(|it| it.bytes).fold(all_bytes, u64::saturating_add);
        if copies.iter().any(|it| it.fate == Fate::Live) {
            let smallest = copies.iter().map(|it| it.bytes).min().unwrap_or(0);
            smallest_bytes = smallest_bytes.saturating_add(smallest);
        }
    }
    let efficiency = if all_bytes == 0 { 1.0 } else { smallest_bytes as f64 / all_bytes as f64 };
    Score { efficiency, smallest_bytes, all_bytes }
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, Kind, Layer, Meta, model};
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn file(path: &str, size: u64) -> Entry {
        Entry::Put { path: path.into(), meta: Meta { size, ..Meta::new(Kind::File) }, opaque: false }
    }

    fn gone(path: &str) -> Entry {
        Entry::Whiteout { path: path.into() }
    }

    #[track_caller]
    fn check(layers: &[&[Entry]], smallest: u64, all: u64) {
        let layers: Vec<_> = layers.iter().map(|it| Arc::new(Layer { entries: it.to_vec() })).collect();
        let score = score(&FileTree::merge(&layers));
        assert_eq!((score.smallest_bytes, score.all_bytes), (smallest, all));
        let expected = if all == 0 { 1.0 } else { smallest as f64 / all as f64 };
        assert_eq!(score.efficiency, expected);
    }

    #[test]
    fn as_documented() {
        check(&[&[file("a", 10), file("b", 5)]], 15, 15);
        check(&[&[file("a", 10)], &[file("a", 4)]], 4, 14);
        check(&[&[file("a", 4)], &[file("a", 10)], &[file("a", 6)]], 4, 20);
    }

    #[test]
    fn what_is_mended() {
        check(&[], 0, 0);
        check(&[&[]], 0, 0);
        check(&[&[file("d/a", 10), file("b", 5)], &[gone("d")]], 5, 15);
        check(&[&[file("a", 10)], &[gone("a")]], 0, 10);
        check(&[&[file("a", 10)], &[gone("a"), file("a", 10)]], 10, 20);
        check(&[&[file("d/a", 10)], &[file("d", 5)]], 5, 15);
        check(
            &[&[file("a", 10), Entry::Link { path: "b".into(), target: "a".into(), own: None }], &[gone("a")]],
            10,
            10,
        );
        let opaque = Entry::Put { path: "d".into(), meta: Meta::new(Kind::Directory), opaque: true };
        check(&[&[file("d/a", 10)], &[opaque, file("d/b", 1)]], 1, 11);
    }

    proptest! {
        #[test]
        fn it_is_a_share_of_all_bytes(layers in model::stacks()) {
            let tree = FileTree::merge(&layers);
            let score = score(&tree);
            prop_assert!((0.0..=1.0).contains(&score.efficiency));
            prop_assert!(score.smallest_bytes <= tree.bytes(FileTree::ROOT));
            prop_assert_eq!(score.all_bytes, layers.iter().map(|layer| layer.bytes()).sum::<u64>());
        }
    }
}
