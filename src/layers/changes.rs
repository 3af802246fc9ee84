//! How many paths a layer adds, changes and removes, without making the tree that it changes.

use super::{Diff, Entry, FileTree, Kind, Layer, Meta, differences};
use bstr::BString;
use std::collections::HashMap;
use std::sync::Arc;

/// A layer whose entries can be found by path.
#[derive(Debug)]
pub struct Index {
    layer: Arc<Layer>,
    by_path: HashMap<BString, u32>,
}

/// Counts as [`Diff::of_layer`] has them: a file that is written again counts as modified, all else only if its
/// properties changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changes {
    pub added: u64,
    pub modified: u64,
    pub removed: u64,
}

impl Index {
    pub fn new(layer: Arc<Layer>) -> Index {
        // A path may have a whiteout and an entry: the entry says what is there afterwards, and comes last.
        let (gone, put): (Vec<_>, Vec<_>) =
            layer.entries.iter().enumerate().partition(|(_, entry)| matches!(entry, Entry::Whiteout { .. }));
        let all = gone.into_iter().chain(put);
        let by_path = all.map(|(at, entry)| (entry.path().clone(), at as u32)).collect();
        Index { layer, by_path }
    }

    fn get(&self, path: &[u8]) -> Option<&Entry> {
        self.by_path.get(path).and_then(|at| self.layer.entries.get(*at as usize))
    }
}

/// What `layer` does to the file system that the layers `below` make, bottom first.
pub fn changes(below: &[Arc<Index>], layer: &Layer) -> Changes {
    let mut changes = Changes::default();
    for entry in &layer.entries {
        let Entry::Put { path, meta, opaque } = entry else {
            // What is removed is counted path by path, and only the tree knows the paths.
            return exactly(below, layer);
        };
        if path.is_empty() {
            continue;
        }
        match (find(below, path), meta.kind) {
            (None, _) => changes.added += 1,
            (Some(_), _) if *opaque => return exactly(below, layer),
            (Some(Found::Put(old)), kind) if (old.kind == Kind::Directory) == (kind == Kind::Directory) => {
                let modified = kind == Kind::File || differences(old.into(), meta.into()).matter();
                changes.modified += u64::from(modified);
            }
            _ => return exactly(below, layer),
        }
    }
    changes
}

enum Found<'a> {
    Put(&'a Meta),
    /// There, by an entry that does not say what it is.
    Other,
}

/// The newest entry of a path, unless something above it has taken it away.
fn find<'a>(below: &'a [Arc<Index>], path: &[u8]) -> Option<Found<'a>> {
    for index in below.iter().rev() {
        match index.get(path) {
            Some(Entry::Put { meta, .. }) => return Some(Found::Put(meta)),
            Some(Entry::Link { .. }) => return Some(Found::Other),
            Some(Entry::Whiteout { .. }) => return None,
            Some(Entry::Opaque { .. }) | None => {}
        }
        let mut parents = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at]);
        let hides = |entry: &Entry| match entry {
            Entry::Put { meta, opaque, .. } => *opaque || meta.kind != Kind::Directory,
            Entry::Link { .. } | Entry::Whiteout { .. } | Entry::Opaque { .. } => true,
        };
        if parents.any(|parent| index.get(parent).is_some_and(hides)) || index.get(b"").is_some_and(hides) {
            return None;
        }
    }
    None
}

fn exactly(below: &[Arc<Index>], layer: &Layer) -> Changes {
    let layers: Vec<Arc<Layer>> = below.iter().map(|index| index.layer.clone()).collect();
    let mut tree = FileTree::merge(&layers);
    let number = tree.height();
    tree.apply(layer, number);
    let diff = Diff::of_layer(&tree, number);
    Changes { added: diff.added as u64, modified: diff.modified as u64, removed: diff.removed as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn meta(kind: Kind, mode: u32) -> Meta {
        Meta {
            kind,
            mode,
            uid: 0,
            gid: 0,
            size: 1,
            mtime: (0, 0),
            target: BString::default(),
            hard_link: 0,
            device: (0, 0),
            xattrs: Default::default(),
            content: None,
            holes: 0,
        }
    }

    fn layers() -> impl Strategy<Value = Vec<Layer>> {
        let entries = prop::collection::vec(
            (prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4), 0..3u32, 0..12u8),
            0..8,
        );
        let layer = entries.prop_map(|list| {
            // As a scan of a directory gives them: every parent is there, once, before its children.
            let mut by_path: std::collections::BTreeMap<String, Entry> = Default::default();
            for (parts, mode, what) in list {
                let path = parts.join("/");
                let blocked = (1..parts.len()).any(|end| {
                    let parent = parts[..end].join("/");
                    by_path
                        .get(&parent)
                        .is_some_and(|entry| !matches!(entry, Entry::Put { meta, .. } if meta.kind == Kind::Directory))
                });
                let below = format!("{path}/");
                if blocked || by_path.keys().any(|key| key.starts_with(&below)) {
                    continue;
                }
                for end in 1..parts.len() {
                    let parent = parts[..end].join("/");
                    let put = Entry::Put { path: parent.clone().into(), meta: meta(Kind::Directory, 0), opaque: false };
                    by_path.entry(parent).or_insert(put);
                }
                let key = path.clone();
                let path = BString::from(path);
                let entry = match what {
                    0 => Entry::Whiteout { path },
                    1 => Entry::Put { path, meta: meta(Kind::Directory, mode), opaque: true },
                    2..=4 => Entry::Put { path, meta: meta(Kind::Directory, mode), opaque: false },
                    5 => Entry::Put { path, meta: meta(Kind::Symlink, mode), opaque: false },
                    6 => Entry::Put { path, meta: meta(Kind::Fifo, mode), opaque: false },
                    _ => Entry::Put { path, meta: meta(Kind::File, mode), opaque: false },
                };
                by_path.insert(key, entry);
            }
            Layer { entries: by_path.into_values().collect() }
        });
        prop::collection::vec(layer, 1..5)
    }

    proptest! {
        #[test]
        fn counts_equal_the_difference_of_the_trees(mut layers in layers()) {
            let top = layers.pop().unwrap();
            let below: Vec<Arc<Index>> = layers.into_iter().map(|it| Arc::new(Index::new(Arc::new(it)))).collect();
            prop_assert_eq!(changes(&below, &top), exactly(&below, &top));
        }
    }
}
