//! The OCI image model, and where images come from and go to.
//!
//! May import `layers`.
//!
//! Invariant: content that arrived under a digest has been checked against it before anything reads it.

pub mod compression;
pub mod config;
pub mod digest;
#[cfg(target_os = "linux")]
pub mod host;
pub mod platform;
pub mod source;
pub mod tar_reader;
pub mod tar_writer;
