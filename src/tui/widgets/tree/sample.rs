//! A small stack of layers, for tests of what shows trees.

use crate::layers::{Diff, Entry, FileTree, Kind, Layer, Meta};
use std::sync::Arc;

pub(crate) fn put(path: &str, size: u64) -> Entry {
    Entry::Put { path: path.into(), meta: Meta { size, mode: 0o644, ..Meta::new(Kind::File) }, opaque: false }
}

pub(crate) fn tree(layers: &[Vec<Entry>]) -> FileTree {
    let layers: Vec<_> = layers.iter().map(|entries| Arc::new(Layer { entries: entries.clone() })).collect();
    FileTree::merge(&layers)
}

/// A base, and an instruction that adds, changes and removes.
pub(crate) fn stack() -> FileTree {
    let base = vec![
        put("etc/passwd", 900),
        put("etc/group", 400),
        put("root/.config/go/telemetry/upload", 18_000),
        put("tmp/go-build1/a.o", 5_000),
        put("usr/bin/go", 13_000_000),
        put("usr/bin/gofmt", 3_000_000),
    ];
    let link = Meta { target: "go".into(), ..Meta::new(Kind::Symlink) };
    let layer = vec![
        put("go/pkg/mod/cache/download/net.zip", 67_700_000),
        put("go/pkg/mod/golang.org/x/net@v0.30.0/html.go", 12_100_000),
        put("root/.config/go/telemetry/upload", 18_000),
        Entry::Put {
            path: "etc/group".into(),
            meta: Meta { mode: 0o600, size: 400, ..Meta::new(Kind::File) },
            opaque: false,
        },
        Entry::Whiteout { path: "tmp/go-build1".into() },
        Entry::Put { path: "usr/bin/go1".into(), meta: link, opaque: false },
    ];
    tree(&[base, layer])
}

/// What the upper layer of [`stack`] changed.
pub(crate) fn diff() -> Diff {
    Diff::of_layer(&stack(), 1)
}
