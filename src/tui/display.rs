//! The terminal, what is typed into it, and when the next frame is due.

use super::Options;
use super::terminal::Screen;
use super::theme::{self, Depth, Look, Theme};
use crate::system;
use crate::system::signals::{Signal, Signals};
use crossterm::event::{Event, EventStream};
use futures_util::StreamExt;
use ratatui::buffer::Buffer;
use ratatui::layout::Position;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// The shortest time between two frames.
const FRAME: Duration = Duration::from_millis(33);
/// The time between two frames when nothing but a spinner moves.
const TURN: Duration = Duration::from_millis(100);

/// The signals that a screen minds.
const MINDED: [Signal; 6] =
    [Signal::Terminate, Signal::Hangup, Signal::Interrupt, Signal::Quit, Signal::Stop, Signal::Resumed];

pub(super) struct Display {
    pub(super) screen: Screen,
    pub(super) signals: Signals,
    pub(super) input: Input,
    pub(super) start: Instant,
    drawn: Option<Instant>,
    dirty: bool,
}

/// What is typed; none while something else has the terminal. A stream that waits for a key keeps another one from being
/// made, so it is gone before that.
pub(super) struct Input(Option<EventStream>);

impl Input {
    /// The next one; `None` where nothing comes any more.
    pub(super) async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        match &mut self.0 {
            // The stream would read such a terminal's end again and again, and never return.
            Some(_) if system::is_terminal_gone() => Poll::Ready(None),
            Some(stream) => stream.poll_next_unpin(context).map(|event| event.and_then(Result::ok)),
            None => Poll::Pending,
        }
    }
}

/// How things look here, by what the command line and the environment say.
pub(super) fn look(options: &Options) -> io::Result<(Look, Depth)> {
    let env = |name: &str| std::env::var(name).ok();
    let name = options.theme.clone().unwrap_or_else(|| Theme::fitting(env).to_owned());
    let theme = Theme::load(&name).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let depth = match (options.no_color, Depth::detect(env)) {
        (true, _) => Depth::None,
        (false, Depth::Ansi16) if system::is_rich_terminal() => Depth::True,
        (false, depth) => depth,
    };
    Ok((Look::new(&theme, depth, options.ascii || !(system::is_rich_terminal() || theme::is_utf8(env))), depth))
}

impl Display {
    pub(super) fn open() -> io::Result<Display> {
        let signals = Signals::listen(&MINDED).and_terminal();
        let screen = Screen::open()?;
        let (input, start) = (Input(Some(EventStream::new())), Instant::now());
        Ok(Display { screen, signals, input, start, drawn: None, dirty: true })
    }

    /// Something has changed that the next frame is to show.
    pub(super) fn touch(&mut self) {
        self.dirty = true;
    }

    /// When the next frame is due, if one is.
    pub(super) fn next_frame(&self, moving: bool) -> Option<Instant> {
        let drawn = self.drawn.unwrap_or(self.start);
        match (self.dirty, moving) {
            (true, _) => Some(drawn + FRAME),
            (false, true) => Some(drawn + TURN),
            (false, false) => None,
        }
    }

    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Buffer) -> Option<Position>) -> io::Result<()> {
        self.screen.draw(draw)?;
        self.drawn = Some(Instant::now());
        self.dirty = false;
        Ok(())
    }

    /// What has been typed already, without waiting. The stream keeps the waker that it is asked with, so it must
    /// be this task's own.
    pub(super) async fn typed_already(&mut self) -> Option<Option<Event>> {
        let asked = std::future::poll_fn(|context| Poll::Ready(self.input.poll(context))).await;
        match asked {
            Poll::Ready(event) => Some(event),
            Poll::Pending => None,
        }
    }

    /// The program was stopped and goes on: the terminal may be like anything now.
    pub(super) fn retake(&mut self) -> io::Result<()> {
        self.dirty = true;
        self.screen.retake()
    }

    /// Gives the terminal to something else until that is done, or a signal ends the program. The keys that send the
    /// others there are meant for who has the terminal.
    pub(super) async fn hand_over<T>(&mut self, work: impl Future<Output = T>) -> io::Result<Result<T, Signal>> {
        self.give();
        let mut work = std::pin::pin!(work);
        let result = loop {
            tokio::select! {
                biased;
                signal = self.signals.next() => match signal {
                    Signal::Terminate | Signal::Hangup => break Err(signal),
                    Signal::Stop => drop(system::stop()),
                    _ => {}
                },
                result = &mut work => break Ok(result),
            }
        };
        self.take()?;
        Ok(result)
    }

    /// Is stopped from outside, until it is continued.
    pub(super) fn stop(&mut self) -> io::Result<io::Result<()>> {
        self.give();
        let stopped = system::stop();
        self.take()?;
        Ok(stopped)
    }

    /// Stops the program and those it was started with, as Ctrl-Z does elsewhere, until it is continued. The inner result
    /// says whether this system can.
    pub(super) async fn suspend(&mut self) -> io::Result<io::Result<()>> {
        // The terminal is as it was before the first of them stops.
        self.give();
        let mut stopped = system::ask_to_stop();
        if stopped.is_ok() {
            // This program hears of it like the others.
            while self.signals.next().await != Signal::Stop {}
            stopped = system::stop();
        }
        self.take()?;
        Ok(stopped)
    }

    fn give(&mut self) {
        // Two must not read the keys: the stream of input ends before the other begins.
        self.input.0 = None;
        self.screen.give();
    }

    fn take(&mut self) -> io::Result<()> {
        self.dirty = true;
        self.input.0 = Some(EventStream::new());
        self.screen.take()
    }
}
