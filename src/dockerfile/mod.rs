//! The Dockerfile front end: text to instructions, stages and diagnostics.
//!
//! Pure: no I/O, imports nothing else of this crate.
//!
//! Invariant: broken input is data. [`parse`] always answers, with what it understood and a list of
//! diagnostics, and every token it returns keeps its place in the text.

mod arguments;
pub mod command;
pub mod diagnostic;
mod directives;
pub mod edit;
pub mod expand;
mod flags;
mod healthcheck;
mod heredoc;
pub mod highlight;
pub mod ignore;
pub mod instruction;
mod json;
pub mod lex;
pub mod lint;
pub mod mount;
pub mod nearest;
mod pattern;
pub mod stages;
mod substitution;
pub mod wildcard;

pub use command::{Command, command, command_in};
pub use diagnostic::{Diagnostic, Severity, Span};
pub use healthcheck::Healthcheck;
pub use instruction::{Dockerfile, Heredoc, Instruction, Lines};
pub use lex::parse;
