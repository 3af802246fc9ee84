//! The command line: arguments, one file a subcommand, and the translation of errors to exit codes.
//!
//! The only place that knows clap, and the only one that constructs engines.
//!
//! Invariant: nothing from outside is printed before `plain::printable` has made it harmless, except what the
//! user asked for byte by byte (a shell, an archive).

pub mod analyse;
pub mod args;
pub mod ast;
pub mod attest;
pub mod blame;
pub mod build;
pub mod cache;
pub mod check;
pub mod demo;
pub mod diff;
pub mod engine;
pub mod exit;
pub mod explore;
pub mod follow;
pub mod graph;
pub mod how_far;
pub mod images;
pub mod output;
pub mod pairs;
pub mod plain;
pub mod print;
pub mod project;
pub mod proxies;
pub mod remote;
pub mod screen;
pub mod several;
pub mod shell;
pub mod signals;
pub mod size;
mod unpack;

use args::{Cli, Command};
use clap::{CommandFactory, FromArgMatches};
use exit::Failure;
use std::process::ExitCode;

pub fn main() -> ExitCode {
    crate::engine::embedded::process::main_if_engine();
    let cli = match Cli::command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(run(cli));
            // A read of the terminal that never ends must not keep the program alive.
            runtime.shutdown_timeout(std::time::Duration::from_millis(200));
            result
        }
        Err(error) => Err(Failure::Other(format!("cannot start: {error}"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        None => screen::run(cli.debug, None).await,
        Some(Command::Debug(args)) => screen::run(args, None).await,
        Some(Command::Build(args)) => build::run(args).await,
        Some(Command::Graph(args)) => graph::run(args).await,
        Some(Command::Shell(args)) => shell::run(args).await,
        Some(Command::Ast(args)) => ast::run(&args.files),
        Some(Command::Check(args)) => check::run(args).await,
        Some(Command::Blame(args)) => blame::run(args).await,
        Some(Command::Diff(args)) => diff::run(args).await,
        Some(Command::Size(args)) => size::run(args).await,
        Some(Command::Explore(args)) => explore::run(args).await,
        Some(Command::Demo(args)) => demo::run(args).await,
        Some(Command::Images(args)) => images::list(args).await,
        Some(Command::Pull(args)) => images::pull(args).await,
        Some(Command::Prune(args)) => images::prune(args).await,
    }
}

/// Work that takes a while, on a thread where it may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::Other(error.to_string()))
}
