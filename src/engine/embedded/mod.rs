//! The embedded engine: builds on this Linux machine, with no daemon and, if need be, no root.
//!
//! This process (tokio, many threads) never forks. It starts itself as the single-threaded engine process,
//! which enters the namespaces once and forks a process for every task.

mod add_archive;
mod agents;
mod bound;
mod capabilities;
mod chmod;
pub mod content;
pub mod copy;
mod devices;
mod engine;
mod exec;
mod expected;
mod exports;
mod fetch;
mod file_tasks;
mod images;
mod init;
pub mod launcher;
mod limits;
pub mod merged;
mod mounting;
mod mounts;
pub mod namespaces;
mod network;
mod opened;
mod origin;
pub mod overlay;
pub mod process;
mod rootfs;
mod run;
mod sandbox;
mod seccomp;
mod selection;
mod shell;
mod shells;
mod sources;
mod spawn;
mod steps;
pub mod task;
mod terminal;
mod toolbox;
mod tree_copy;
pub mod users;
mod wire;
pub mod work;
pub mod workdir;

pub use super::settings::{Context, Secret, Settings};
pub use engine::Embedded;
