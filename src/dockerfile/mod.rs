//! The Dockerfile front end: text to instructions, stages and diagnostics.
//!
//! Pure: no I/O, imports nothing else of this crate.
//!
//! Invariant: broken input is data. [`parse`] always answers, with what it understood and a list of
//! diagnostics, and every token it returns keeps its place in the text.

// Values.
pub mod diagnostic;
pub mod instruction;

// Text to instructions.
mod arguments;
mod directives;
mod heredoc;
mod json;
pub mod lex;

// Instructions to what they mean.
pub mod budget;
pub mod command;
pub mod expand;
pub mod fields;
mod flags;
mod healthcheck;
pub mod mount;
pub mod ports;
pub mod stages;
mod substitution;

// What is asked of a Dockerfile besides.
pub mod edit;
pub mod highlight;
pub mod lint;
pub mod nearest;

// The files around it.
pub mod ignore;
mod pattern;
pub mod wildcard;

pub use command::{Command, command, command_in};
pub use diagnostic::{Diagnostic, Severity, Span};
pub use healthcheck::Healthcheck;
pub use instruction::{Dockerfile, Heredoc, Instruction, Lines};
pub use lex::parse;
