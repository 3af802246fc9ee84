//! The loop that all screens share: what the terminal says, what comes from elsewhere, when to draw, how it ends.

use super::display::Display;
use super::summary::Summary;
use super::theme::Look;
use super::{editor, terminal, views};
use crate::system;
use crate::system::signals::Signal;
use crossterm::event::{Event, KeyEvent, KeyEventKind, MouseEvent};
use ratatui::buffer::Buffer;
use ratatui::layout::Position;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What is taken in before a frame, at most.
const BATCH: usize = 512;

/// What the terminal tells a screen.
#[derive(Debug, Clone)]
pub enum Heard {
    Key(KeyEvent),
    Mouse(MouseEvent),
    Paste(String),
    /// Columns and rows; the first that is heard.
    Resize(u16, u16),
    /// What became of [`Wish::Edit`]: whether the file was changed.
    Edited(Result<bool, String>),
}

/// What a screen wants of the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Into the terminal's clipboard.
    Copy(String),
    /// In the user's editor, at a line.
    Edit {
        path: PathBuf,
        line: u32,
    },
    Suspend,
    /// Draw every cell again.
    Redraw,
    Quit,
}

/// What is shown, and what it listens to besides the terminal.
pub(super) trait Face {
    type News;

    /// Waits for something new; what is not waited for to the end is not lost.
    async fn news(&mut self) -> Self::News;

    /// The same for what is there already.
    fn news_already(&mut self) -> Option<Self::News>;

    fn learn(&mut self, news: Self::News) -> Vec<Wish>;

    fn hear(&mut self, heard: Heard) -> Vec<Wish>;

    /// Says that something is wrong.
    fn complain(&mut self, text: String);

    /// Since the screen began; told before all else.
    fn set_time(&mut self, now: Duration);

    /// Whether the next frame is another although nothing happens.
    fn is_moving(&self) -> bool;

    fn look(&self) -> &Look;

    /// Answers with the cursor's place if it is seen.
    fn draw(&mut self, buffer: &mut Buffer) -> Option<Position>;

    fn summary(&self) -> Summary;
}

/// Shows a face until the user leaves, or what it shows ends.
pub(super) async fn run(display: Display, face: impl Face) -> io::Result<Summary> {
    Front { display, face, size: None, ended: false, signal: None, mishaps: Vec::new() }.run().await
}

struct Front<F> {
    display: Display,
    face: F,
    /// What the face was told.
    size: Option<(u16, u16)>,
    ended: bool,
    signal: Option<i32>,
    mishaps: Vec<String>,
}

impl<F: Face> Front<F> {
    async fn run(mut self) -> io::Result<Summary> {
        match self.show().await {
            // What fails as the terminal is gone ends it as the signal does, which may be on its way.
            Err(_) if system::is_terminal_gone() => self.end(Signal::Hangup),
            shown => shown?,
        }
        let mut summary = self.face.summary();
        summary.lines.append(&mut self.mishaps);
        summary.signal = self.signal;
        Ok(summary)
    }

    async fn show(&mut self) -> io::Result<()> {
        // The first frame waits for nothing.
        self.draw().await?;
        while !self.ended {
            let frame = self.display.next_frame(self.face.is_moving());
            tokio::select! {
                biased;
                signal = self.display.signals.next() => match signal {
                    Signal::Resumed => self.display.retake()?,
                    Signal::Stop => drop(self.display.stop()?),
                    end => self.end(end),
                },
                _ = tokio::time::sleep_until(frame.unwrap_or(self.display.start)), if frame.is_some() => {
                    self.draw().await?;
                    continue;
                }
                input = self.display.input.next() => self.hear(input).await?,
                news = self.face.news() => self.tell(|face| face.learn(news)).await?,
            };
            self.drain().await?;
        }
        Ok(())
    }

    /// Takes in what is there already, so that it costs one frame.
    async fn drain(&mut self) -> io::Result<()> {
        for _ in 0..BATCH {
            if self.ended {
                break;
            }
            if let Some(input) = self.display.typed_already().await {
                self.hear(input).await?;
            } else if let Some(news) = self.face.news_already() {
                self.tell(|face| face.learn(news)).await?;
            } else {
                break;
            }
        }
        Ok(())
    }

    async fn hear(&mut self, input: Option<Event>) -> io::Result<()> {
        let heard = match input {
            Some(Event::Key(key)) if key.kind != KeyEventKind::Release => Heard::Key(key),
            Some(Event::Mouse(event)) => Heard::Mouse(event),
            Some(Event::Paste(text)) => Heard::Paste(text),
            // Whoever draws asks for the size.
            Some(Event::Key(_) | Event::Resize(..) | Event::FocusGained | Event::FocusLost) => {
                self.display.touch();
                return Ok(());
            }
            // A terminal that sends nothing any more is gone.
            None => {
                self.end(Signal::Hangup);
                return Ok(());
            }
        };
        self.tell(|face| face.hear(heard)).await
    }

    /// Has the face take something in, and does what it wishes then.
    async fn tell(&mut self, told: impl FnOnce(&mut F) -> Vec<Wish>) -> io::Result<()> {
        self.display.touch();
        self.face.set_time(self.display.start.elapsed());
        let mut wishes = VecDeque::from(told(&mut self.face));
        while let Some(wish) = wishes.pop_front() {
            match wish {
                Wish::Copy(text) => {
                    if !self.display.screen.copy(&text)? {
                        self.face.complain("too long for the terminal's clipboard".to_owned());
                    }
                }
                Wish::Edit { path, line } => match self.display.hand_over(editor::edit(&path, line)).await? {
                    Ok(edited) => {
                        self.face.set_time(self.display.start.elapsed());
                        wishes.extend(self.face.hear(Heard::Edited(edited)));
                    }
                    Err(signal) => self.end(signal),
                },
                Wish::Suspend => {
                    if let Err(error) = self.display.suspend().await? {
                        self.face.complain(error.to_string());
                    }
                }
                Wish::Redraw => self.display.screen.redraw()?,
                Wish::Quit => self.ended = true,
            }
        }
        Ok(())
    }

    async fn draw(&mut self) -> io::Result<()> {
        for mishap in terminal::mishaps() {
            self.face.complain(mishap.clone());
            self.mishaps.push(mishap);
        }
        let size = self.display.screen.size()?;
        if self.size != Some(size) {
            self.size = Some(size);
            self.tell(|face| face.hear(Heard::Resize(size.0, size.1))).await?;
        }
        self.face.set_time(self.display.start.elapsed());
        let face = &mut self.face;
        self.display.draw(|buffer| {
            // The terminal may have changed since it was asked; the next frame is right again.
            let fits = (buffer.area.width, buffer.area.height) == size;
            let cursor = if fits { face.draw(buffer) } else { None };
            views::finish(buffer, face.look());
            cursor
        })
    }

    fn end(&mut self, signal: Signal) {
        self.signal = Some(signal.number());
        self.ended = true;
    }
}
