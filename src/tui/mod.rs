//! The terminal front end.
//!
//! May import `debug` and the pure types. The only place that knows ratatui and crossterm.
//!
//! Invariant: `update` never waits; whatever takes time is a job whose stale answers are dropped.

mod actions;
pub mod answers;
pub mod app;
pub mod background;
pub mod build;
pub mod command;
mod display;
mod editor;
pub mod explore;
mod extract;
#[cfg(test)]
pub(crate) mod fixture;
pub mod front;
pub mod graph;
pub mod input;
pub mod jobs;
pub mod keymap;
pub mod layout;
mod mouse;
mod orders;
pub mod panes;
mod passthrough;
pub mod rail;
#[cfg(test)]
mod screens;
pub mod signs;
pub mod standing;
pub mod summary;
pub mod svg;
mod terminal;
pub mod text;
pub mod theme;
pub mod told;
pub mod tracks;
pub mod update;
pub mod views;
pub mod widgets;
mod wire;

pub use passthrough::{passthrough, terminal_size};

use crate::debug::{Event, Session};
use app::App;
use display::Display;
use front::{Face, Heard, Wish};
use futures_util::future::select_all;
use ratatui::buffer::Buffer;
use ratatui::layout::Position;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use theme::Look;
use tokio::sync::mpsc;
use tracks::Tracks;
use update::Effect;
use wire::{News, Wire};

pub use summary::Summary;

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

/// A build to be shown: a session, and what it says. `platform` is empty where there is only one.
pub struct Track {
    pub platform: String,
    pub session: Session,
    pub events: mpsc::Receiver<Event>,
}

/// Runs the screen on one build, or on that of each platform, until the user leaves or a session ends. The sessions are
/// still there afterwards.
pub async fn run(tracks: &mut [Track], options: Options) -> io::Result<Summary> {
    let (look, depth) = display::look(&options)?;
    let display = Display::open()?;
    let size = display.screen.size()?;
    let app = |(at, track): (usize, &Track)| {
        let platform = track.platform.clone();
        App { platform, track: at, ..App::new(&options, look.clone(), depth, size) }
    };
    let apps = tracks.iter().enumerate().map(app).collect();
    let wires = tracks.iter_mut().map(Wire::new).collect();
    front::run(display, Debugger { tracks: Tracks::new(apps), wires, turn: 0 }).await
}

struct Debugger<'a> {
    tracks: Tracks,
    /// One for each track.
    wires: Vec<Wire<'a>>,
    /// The track that is asked first.
    turn: usize,
}

impl Debugger<'_> {
    fn perform(&mut self, effects: Vec<(usize, Effect)>) -> Vec<Wish> {
        let mut wishes = Vec::new();
        for (track, effect) in effects {
            wishes.extend(self.wires[track].perform(effect, &self.tracks.all()[track]));
        }
        for (app, wire) in self.tracks.all().iter().zip(&mut self.wires) {
            wire.look(app.looked_at());
        }
        wishes
    }
}

impl Face for Debugger<'_> {
    /// With its track.
    type News = (usize, News);

    async fn news(&mut self) -> (usize, News) {
        let each = self.wires.iter_mut().map(|wire| Box::pin(wire.next()));
        let (news, track, _) = select_all(each).await;
        (track, news)
    }

    /// Each in its turn, so that none waits for one that has much to say.
    fn news_already(&mut self) -> Option<(usize, News)> {
        let count = self.wires.len();
        let mut all = (0..count).map(|at| (self.turn + at) % count);
        let (track, news) = all.find_map(|at| Some((at, self.wires[at].told_already()?)))?;
        self.turn = track + 1;
        Some((track, news))
    }

    fn learn(&mut self, (track, news): (usize, News)) -> Vec<Wish> {
        let message = self.wires[track].message(news, &self.tracks.all()[track]);
        let effects = self.tracks.update(track, message);
        self.perform(effects)
    }

    fn hear(&mut self, heard: Heard) -> Vec<Wish> {
        let effects = self.tracks.hear(heard);
        self.perform(effects)
    }

    fn complain(&mut self, text: String) {
        self.tracks.shown().complain(text);
    }

    fn set_time(&mut self, now: Duration) {
        self.tracks.set_time(now);
    }

    fn is_moving(&self) -> bool {
        self.tracks.is_moving()
    }

    fn look(&self) -> &Look {
        &self.tracks.all()[self.tracks.current()].look
    }

    fn draw(&mut self, buffer: &mut Buffer) -> Option<Position> {
        views::draw(self.tracks.shown(), buffer)
    }

    fn summary(&self) -> Summary {
        summary::summary(self.tracks.all())
    }
}
