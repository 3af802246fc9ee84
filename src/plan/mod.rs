//! Stages and arguments, lowered to an executable graph of steps.
//!
//! May import `dockerfile`, `names` and `image::{digest, reference, config}`. Pure: no I/O.
//!
//! Invariant: a plan is complete. Every variable in it is expanded, every flag is typed, every source is
//! resolved to a stage, a context or an image; an engine needs nothing but the step.

pub mod cache_key;
pub mod checks;
mod circle;
mod config;
mod contexts;
mod copy;
mod globals;
mod go_format;
pub mod lower;
pub mod options;
pub mod proxies;
pub mod remote;
mod run;
mod scope;
mod stages;
pub mod step;
#[cfg(test)]
mod tests;
mod text;
pub mod ulimit;
pub mod unix_path;

pub use lower::{bases, lower, missing_bases, sketch};
pub use options::Options;
pub use run::here;
pub use step::{
    Base, Copy, CopySource, Edge, EdgeKind, FileOrigin, InlineFile, Mount, MountKind, Network, Op, Origin, Plan, Run,
    Sharing, Stage, StageId, State, Step, StepId, Variable, image_and_platform,
};
pub use ulimit::Ulimit;
