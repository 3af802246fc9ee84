//! Directories that a command only touched: a file came and went in them, and nothing but their times is new. As in
//! BuildKit they are no part of the layer, so that it does not depend on when it was built.
//!
//! BuildKit's differ (`continuity/fs`, which containerd has too) asks for mode, owner and capabilities; here all that a
//! layer keeps of a directory has to be the same.

use super::overlay;
use super::task::{Stack, TaskError, Upper};
use crate::layers::path::{is_below, split};
use crate::layers::{Entry, Kind, Layer, Meta};
use crate::snapshot::rooted::Root;
use crate::snapshot::scan::read_meta;
use bstr::{BStr, ByteSlice};
use rustix::fs::AtFlags;
use std::io;
use std::os::fd::AsFd;

/// Takes such directories away from the upper directory over `stack`, and from what was read of it.
pub(super) fn leave_out(stack: &Stack, upper: &Upper, layer: &mut Layer) -> Result<(), TaskError> {
    let wrong = |error: io::Error| TaskError::engine(format!("comparing directories with those below: {error}"));
    let above = Root::open(&upper.dir).map_err(wrong)?;
    let open = || Root::of(overlay::open_root(stack, None)?.as_fd()).map_err(wrong);
    // Mounted only where there is something to be compared.
    let mut below = None;
    without_touched(&mut layer.entries, |path, meta| match below.get_or_insert_with(open) {
        Ok(below) => was_there(below, path, meta) && remove(&above, path).is_ok(),
        Err(_) => false,
    });
    below.transpose().map(|_| ())
}

/// Leaves out the directories that `leave` takes and that no other entry is below. It is asked for those at the bottom
/// first.
fn without_touched(entries: &mut Vec<Entry>, mut leave: impl FnMut(&BStr, &Meta) -> bool) {
    let mut kept: Vec<Entry> = Vec::with_capacity(entries.len());
    // What is below a directory follows it without a gap.
    for entry in std::mem::take(entries).into_iter().rev() {
        let left_out = match &entry {
            Entry::Put { path, meta, opaque: false } if meta.kind == Kind::Directory => {
                let occupied = kept.last().is_some_and(|next| is_below(next.path().as_bstr(), path.as_bstr()));
                !occupied && leave(path.as_bstr(), meta)
            }
            _ => false,
        };
        if !left_out {
            kept.push(entry);
        }
    }
    kept.reverse();
    *entries = kept;
}

/// Whether the layers below have the same directory.
fn was_there(below: &Root, path: &BStr, meta: &Meta) -> bool {
    let read = || {
        let directory = below.dir(path)?;
        read_meta(directory.as_fd(), BStr::new("."), &rustix::fs::fstat(&directory)?)
    };
    read().is_ok_and(|before| Meta { mtime: before.mtime, ..meta.clone() } == before)
}

/// Fails for one that is not empty.
fn remove(above: &Root, path: &BStr) -> io::Result<()> {
    let (parent, name) = split(path);
    Ok(rustix::fs::unlinkat(above.dir(parent)?, name.as_bytes(), AtFlags::REMOVEDIR)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of paths, each a directory if it ends in a slash, opaque if in two, those that stay when all that can be left
    /// out are.
    #[track_caller]
    fn check(paths: &[&str], expected: &[&str]) {
        let entry = |path: &&str| {
            let kind = if path.ends_with('/') { Kind::Directory } else { Kind::File };
            let opaque = path.ends_with("//");
            Entry::Put { path: path.trim_end_matches('/').into(), meta: Meta::new(kind), opaque }
        };
        let mut entries: Vec<Entry> = paths.iter().map(entry).collect();
        without_touched(&mut entries, |_, _| true);
        let left: Vec<String> = entries.iter().map(|it| it.path().to_string()).collect();
        assert_eq!(left, expected);
    }

    #[test]
    fn only_what_nothing_is_below_is_left_out() {
        check(&["tmp/"], &[]);
        check(&["a/", "a/b/", "a/b/c/", "d/"], &[]);
        check(&["a/", "a/b/", "a/c", "d/"], &["a", "a/c"]);
        check(&["a/", "a/b/", "a/b/c", "a/d/"], &["a", "a/b", "a/b/c"]);
        check(&["a/", "a-b", "ab"], &["a-b", "ab"]);
        check(&["a//", "b/", "b/c//"], &["a", "b", "b/c"]);
    }
}
