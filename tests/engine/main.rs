//! The engine process of the real program, in every mode that this user can have.
//!
//! Where a user can have none (a system without user namespaces), each test holds the engine to a clear error instead.

#![cfg(target_os = "linux")]

mod ends;
mod escapes;
mod mounts;
mod place;
mod probe;
mod run;
mod terminal;
