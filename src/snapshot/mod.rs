//! File systems on disk.
//!
//! May import `image`, `layers` and `system`. What an engine keeps on disk is Linux's alone.
//!
//! Invariant: a snapshot is complete before it has an id, and never changes after.

#[cfg(target_os = "linux")]
mod by_path;
#[cfg(target_os = "linux")]
pub mod directory;
#[cfg(not(target_os = "linux"))]
#[path = "plain_directory.rs"]
pub mod directory;
pub mod image_records;
#[cfg(target_os = "linux")]
pub mod pack;
#[cfg(target_os = "linux")]
mod records;
#[cfg(target_os = "linux")]
pub mod reduce;
#[cfg(target_os = "linux")]
pub mod remove;
#[cfg(target_os = "linux")]
pub mod rooted;
#[cfg(target_os = "linux")]
pub mod scan;
#[cfg(target_os = "linux")]
mod session;
#[cfg(target_os = "linux")]
pub mod store;
#[cfg(target_os = "linux")]
pub mod tree_writer;
#[cfg(target_os = "linux")]
pub mod unpack;

#[cfg(all(test, target_os = "linux"))]
pub(crate) mod fixture;

use serde::{Deserialize, Serialize};
use std::fmt;

/// Names one file system state, in one engine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SnapshotId(pub String);

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
