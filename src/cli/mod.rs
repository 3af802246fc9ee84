//! The command line: arguments, one file a subcommand, and the translation of errors to exit codes.
//!
//! The only place that knows clap, and the only one that constructs engines.

pub mod ast;

use std::process::ExitCode;

pub fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    crate::engine::embedded::process::main_if_engine();
    ExitCode::SUCCESS
}
