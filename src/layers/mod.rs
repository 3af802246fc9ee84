//! File trees as values, and what can be asked of them.
//!
//! Pure: no I/O, imports nothing else of this crate.
//!
//! Invariant: paths are bytes, relative to the root, without `.`, `..` or empty components; the root itself
//! is the empty path. Nothing here trusts that a name is UTF-8.

pub mod diff;
pub mod entry;
pub mod tree;

pub use diff::{Change, Diff, DiffNode};
pub use entry::{ContentHash, Entry, Kind, Layer, Meta};
pub use tree::{FileTree, NodeId};
