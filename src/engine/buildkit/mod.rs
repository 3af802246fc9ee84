//! The BuildKit engine: builds on the user's Docker Engine, or on a BuildKit reached by address.
//!
//! The official Dockerfile frontend makes the build's definition, a graph of vertices; a step of the plan is run by
//! solving that graph up to the step's vertex. Files are read, and shells opened, on the server.
//!
//! The only place that knows gRPC (`tonic`, `prost`). The crate with BuildKit's messages is used for those alone.
//!
//! Invariant: a snapshot is named by the vertex that makes it, so that it can be had again from the server's cache
//! whatever becomes of a connection.

pub mod address;
mod ahead;
mod bases;
mod bridge;
mod build;
mod caches;
mod channel;
mod connection;
mod container;
mod content;
mod daemon;
mod definition;
mod engine;
mod export;
mod failed;
mod files;
mod filesync;
mod frontend;
mod mapping;
mod progress;
mod receive;
mod receive_tree;
mod scratch;
mod session;
mod shells;
mod snapshots;
mod solve;
mod steps;
mod supplies;
mod tls;
mod toolbox;
mod trouble;
mod unanswered;
mod walk;

#[cfg(all(test, unix))]
mod faults;

pub use address::Address;
pub use engine::BuildKit;
