//! File trees as values, and what can be asked of them.
//!
//! Pure: no I/O, imports nothing else of this crate.
//!
//! Invariant: paths are bytes, relative to the root, without `.`, `..` or empty components; the root itself
//! is the empty path. Nothing here trusts that a name is UTF-8, that a path is short, or that a sum fits.

pub mod account;
mod arena;
pub mod blame;
pub mod bytes;
pub mod changes;
pub mod diff;
pub mod differences;
pub mod duplicates;
pub mod entry;
pub mod findings;
pub mod follow;
pub mod glob;
mod hasher;
#[cfg(test)]
mod model;
pub mod packages;
pub mod patch;
pub mod path;
pub mod score;
pub mod search;
pub mod tree;
pub mod waste;

pub use account::Account;
pub use arena::Cause;
pub use blame::{Last, Removal, Touch, blame, last_of_each};
pub use bytes::Bytes;
pub use changes::{Changes, Index, changes};
pub use diff::{Change, Diff, DiffId, Order, Scope};
pub use differences::{Differences, differences};
pub use entry::{ContentHash, Entry, Kind, Layer, Meta};
pub use hasher::ContentHasher;
pub use patch::Patch;
pub use search::Pattern;
pub use tree::{Builder, FileTree, MetaRef, NodeId, Version};
pub use waste::Waste;
