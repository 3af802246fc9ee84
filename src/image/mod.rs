//! The OCI image model, and where images come from and go to.
//!
//! May import `layers`, `names`, `system`.
//!
//! Invariant: content that arrived under a digest has been checked against it before anything reads it.

pub mod base;
pub mod config;
pub mod digest;
mod document;
pub mod history;
pub mod manifest;
mod pax;
pub mod recompress;
pub mod reference;

pub mod compression;
pub mod tar_reader;
pub mod tar_writer;

pub mod contents;
pub mod daemon;
pub mod docker_client;
pub mod export;
pub mod inventory;
pub mod listing;
pub mod push;
pub mod source;
pub mod whole_file;

mod archive;
pub(crate) mod auth;
mod download;
mod fetch;
#[cfg(target_os = "linux")]
pub mod host;
#[cfg(not(target_os = "linux"))]
#[path = "no_host.rs"]
pub mod host;
mod http;
mod layout;
mod legacy;
mod registry;
mod resolve;
mod tries;

#[cfg(test)]
mod tests;

/// TLS for every HTTP client of this program; to be called before the first is made.
pub fn install_tls_provider() {
    http::install_provider();
}
