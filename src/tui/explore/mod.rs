//! The explorer: an existing image, its layers and what is in them.
//!
//! May import what `tui` may. The trees, the viewer, the keys and the looks are the debugger's.
//!
//! Invariant: the first frame waits for nothing but the image's configuration; whatever has not been read is said to
//! be on its way, and whatever cannot be read is said to be missing.

pub mod answers;
pub mod details;
pub mod draw;
pub mod extract;
pub mod image;
pub mod layers;
pub mod layout;
pub mod map;
pub mod state;
pub mod summary;
#[cfg(test)]
mod tests;
pub mod update;
pub mod waste;

use super::background::Background;
use super::display::{self, Display};
use super::{Options, Summary, views};
use crate::image::base::Base;
use crate::image::inventory::{self, Progress};
use crate::image::source::Opened;
use crate::layers::FileTree;
use crate::system::signals::Signal;
use answers::Subject;
use futures_util::StreamExt;
use image::Image;
use state::Explorer;
use std::io;
use tokio::sync::mpsc;
use update::{Effect, Message, update};
use waste::Report;

/// Messages that are taken in before a frame, at most.
const BATCH: usize = 512;

/// Runs the screen on an image that has been looked up, and reads its layers meanwhile. `base` is told when it is
/// known.
pub async fn run(
    opened: Opened,
    reading: inventory::Options,
    base: impl Future<Output = Option<Base>> + Send + 'static,
    options: Options,
) -> io::Result<Summary> {
    let (look, _) = display::look(&options)?;
    let display = Display::open()?;
    let size = display.screen.size()?;
    let state = Explorer::new(Image::new(&opened, None), &options, look, size);
    let (sender, progress) = mpsc::unbounded_channel();
    let background = Background::default();
    background.spawn(async move { base.await.map(Message::Base) });
    background.spawn(async move {
        let told = move |progress| drop(sender.send(progress));
        let read = inventory::read(&opened, &reading, told).await;
        // The sums are worked out before the screen asks for them.
        let summed = tokio::task::spawn_blocking(move || {
            if let Ok(inventory) = &read {
                inventory.tree.bytes(FileTree::ROOT);
            }
            read
        });
        summed.await.ok().map(|read| Message::Read(Box::new(read)))
    });
    let subject = Subject::new(state.image.tree.clone(), None);
    Front { state, subject, display, background, progress, ended: false }.run().await
}

/// The screen as it runs: its state, and everything that it listens to.
struct Front {
    state: Explorer,
    subject: Subject,
    display: Display,
    background: Background<Message>,
    progress: mpsc::UnboundedReceiver<Progress>,
    ended: bool,
}

impl Front {
    async fn run(mut self) -> io::Result<Summary> {
        self.draw()?;
        while !self.ended {
            let frame = self.display.next_frame(self.state.is_moving());
            let message = tokio::select! {
                biased;
                signal = self.display.signals.next() => match signal {
                    Signal::Resumed => {
                        self.display.screen.retake()?;
                        Message::Tick
                    }
                    end => Message::Signal(end.number()),
                },
                _ = tokio::time::sleep_until(frame.unwrap_or(self.display.start)), if frame.is_some() => {
                    self.draw()?;
                    continue;
                }
                input = self.display.input.next() => typed(input.and_then(Result::ok)),
                done = self.background.next() => done,
                Some(progress) = self.progress.recv() => Message::Progress(progress),
            };
            self.take(message).await?;
            self.drain().await?;
        }
        Ok(summary::summary(&self.state))
    }

    /// Takes in what is there already, so that it costs one frame.
    async fn drain(&mut self) -> io::Result<()> {
        for _ in 0..BATCH {
            if self.ended {
                break;
            }
            let message = if let Some(input) = self.display.typed_already().await {
                typed(input)
            } else if let Ok(progress) = self.progress.try_recv() {
                Message::Progress(progress)
            } else if let Some(done) = self.background.try_next() {
                done
            } else {
                break;
            };
            self.take(message).await?;
        }
        Ok(())
    }

    async fn take(&mut self, message: Message) -> io::Result<()> {
        self.state.now = self.display.start.elapsed();
        self.display.touch();
        let is_news = matches!(message, Message::Progress(Progress::Tree(_)) | Message::Read(_));
        let effects = update(&mut self.state, message);
        if is_news {
            self.subject = Subject::new(self.state.image.tree.clone(), self.state.image.inventory.clone());
        }
        for effect in effects {
            self.perform(effect).await?;
        }
        Ok(())
    }

    fn draw(&mut self) -> io::Result<()> {
        self.state.now = self.display.start.elapsed();
        for mishap in super::terminal::mishaps() {
            self.state.complain(mishap);
        }
        let size = self.display.screen.size()?;
        if size != self.state.size {
            update(&mut self.state, Message::Resize(size.0, size.1));
        }
        let state = &mut self.state;
        self.display.draw(|buffer| {
            // The terminal may have changed since it was asked; the next frame is right again.
            let fits = (buffer.area.width, buffer.area.height) == state.size;
            let cursor = if fits { draw::draw(state, buffer) } else { None };
            views::finish(buffer, &state.look);
            cursor
        })
    }

    async fn perform(&mut self, effect: Effect) -> io::Result<()> {
        match effect {
            Effect::Load(slot, query) => {
                let subject = self.subject.clone();
                self.background.ask(slot, async move {
                    let answer = subject.answer(&query).await;
                    Message::Loaded { slot, query, answer }
                });
            }
            Effect::Extract { at, path, to } => {
                let inventory = self.subject.inventory.clone();
                self.background.spawn(async move {
                    let result = match inventory {
                        Some(inventory) => extract::extract(inventory, at, path, to).await,
                        None => Err("not written: the image is still being read".to_owned()),
                    };
                    Some(Message::Extracted(result))
                });
            }
            Effect::Account => {
                let Some(inventory) = self.subject.inventory.clone() else { return Ok(()) };
                let base = self.state.image.base.as_ref().map_or(0, |base| base.layers);
                self.background.spawn(async move {
                    let report = tokio::task::spawn_blocking(move || Report::of(&inventory, base)).await.ok()?;
                    Some(Message::Accounted(Box::new(report)))
                });
            }
            Effect::Copy(text) => {
                if !self.display.screen.copy(&text)? {
                    self.state.complain("too long for the terminal's clipboard");
                }
            }
            Effect::Suspend => {
                if let Err(error) = self.display.suspend().await? {
                    self.state.complain(error.to_string());
                }
            }
            Effect::Redraw => self.display.screen.redraw()?,
            Effect::Quit => self.ended = true,
        }
        Ok(())
    }
}

/// A terminal that sends nothing any more is gone, as after a hangup.
fn typed(input: Option<crossterm::event::Event>) -> Message {
    use crossterm::event::Event as Input;
    match input {
        Some(Input::Key(key)) => Message::Key(key),
        Some(Input::Mouse(event)) => Message::Mouse(event),
        Some(Input::Paste(text)) => Message::Paste(text),
        Some(Input::Resize(columns, rows)) => Message::Resize(columns, rows),
        Some(Input::FocusGained | Input::FocusLost) => Message::Tick,
        None => Message::Signal(1),
    }
}
