//! stagedive: an interactive terminal explorer and debugger for multi-stage Dockerfile builds.
//!
//! # The map
//!
//! Data flows one way: Dockerfile → plan → engine → snapshots → session → views.
//!
//! | module | what it is for | may import |
//! |---|---|---|
//! | [`system`] | what operating systems do each in their own way | nothing here |
//! | [`names`] | how images and platforms are written; pure | nothing here |
//! | [`dockerfile`] | text → instructions and stages; pure, never fails | `names` |
//! | [`layers`] | file-tree values and their analysis; pure | nothing here |
//! | [`image`] | the OCI model, and where images come from and go to | `layers`, `names`, `system` |
//! | [`plan`] | stages and arguments → an executable graph of steps; pure | `dockerfile`, `names`, `image::{digest, reference, config}` |
//! | [`snapshot`] | file systems on disk | `image`, `layers`, `system` |
//! | [`engine`] | runs one step | `plan`, `snapshot`, `image`, `layers`, `dockerfile`, `names`, `system` |
//! | [`debug`] | the debugger: scheduling, stopping, going back; knows no front end | `engine`, `snapshot`, `image`, `plan` and the pure types |
//! | [`tui`] | the terminal front end | `debug`, `engine`, `snapshot`, `image`, `system` and the pure types |
//! | [`cli`] | arguments, one file a subcommand; the only place that constructs engines | everything |
//!
//! The embedded engine, with what of [`snapshot`] it keeps its file systems in, is compiled on Linux only; all else is
//! the same on Linux, macOS and Windows.
//!
//! # Invariants
//!
//! - A snapshot never changes once it has an id. Going back moves a cursor and runs nothing.
//! - The cursor stands between two instructions of a stage, and every stop says on which side.
//! - Front ends fold one ordered stream of events; none asks another front end for anything.
//! - What comes from a registry, an archive, a Dockerfile or a container is untrusted: no path escapes,
//!   no escape sequence reaches the terminal raw, no memory grows without a bound.

pub mod cli;
pub mod debug;
pub mod dockerfile;
pub mod engine;
pub mod image;
pub mod layers;
pub mod names;
pub mod plan;
pub mod snapshot;
pub mod system;
pub mod tui;
