//! The embedded engine: builds on this Linux machine, with no daemon and, if need be, no root.
//!
//! This process (tokio, many threads) never forks. It starts itself as the single-threaded engine process,
//! which enters the namespaces once and forks a process for every task.

pub mod task;
pub mod users;
