//! The terminal front end.
//!
//! May import `debug` and the pure types. The only place that knows ratatui and crossterm.
//!
//! Invariant: `update` never waits; whatever takes time is a job whose stale answers are dropped.

mod actions;
pub mod answers;
pub mod app;
pub mod build;
pub mod command;
#[cfg(test)]
pub(crate) mod fixture;
pub mod graph;
pub mod input;
pub mod keymap;
pub mod layout;
mod mouse;
mod orders;
pub mod panes;
mod passthrough;
pub mod rail;
#[cfg(test)]
mod screens;
pub mod text;
pub mod theme;
pub mod update;
pub mod views;
pub mod widgets;

pub use passthrough::{passthrough, terminal_size};

use crate::debug::{Event, Session};
use std::io;
use std::path::PathBuf;
use tokio::sync::mpsc;

/// What the command line says about the screen.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// For the header: the Dockerfile or project as the user named it.
    pub title: String,
    /// The Dockerfile, for the editor; `None` if it is not a file.
    pub dockerfile: Option<PathBuf>,
    /// `dark` or `light`, or a theme file.
    pub theme: Option<String>,
    pub ascii: bool,
    pub no_color: bool,
}

/// How it ended, for the lines that stay in the scrollback.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    pub lines: Vec<String>,
    /// Whether a step had failed when the user left.
    pub failed: bool,
    /// The signal that ended it, for an exit code of 128 and that number.
    pub signal: Option<i32>,
}

/// Runs the screen until the user leaves or the session ends.
pub async fn run(_session: Session, _events: mpsc::Receiver<Event>, _options: Options) -> io::Result<Summary> {
    Ok(Summary::default())
}
