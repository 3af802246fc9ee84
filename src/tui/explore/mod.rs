//! The explorer: an existing image, its layers and what is in them.
//!
//! May import what `tui` may. The trees, the viewer, the keys and the looks are the debugger's.
//!
//! Invariant: the first frame waits for nothing but the image's configuration; whatever has not been read is said to
//! be on its way, and whatever cannot be read is said to be missing.

mod actions;
pub mod answers;
pub mod details;
pub mod draw;
pub mod extract;
pub mod image;
pub mod layers;
pub mod layout;
pub mod map;
mod mouse;
pub mod other;
pub mod state;
pub mod summary;
#[cfg(test)]
mod tests;
pub mod update;
pub mod waste;

use super::background::Background;
use super::display::{self, Display};
use super::front::{self, Face, Heard, Wish};
use super::theme::Look;
use super::views::origins::Traced;
use super::{Options, Summary};
use crate::engine::side::{self, Side};
use crate::image::base::Base;
use crate::image::inventory::{self, Progress};
use crate::image::source::Opened;
use crate::layers::FileTree;
use answers::Subject;
use image::Image;
use other::{Against, Other, Pair};
use ratatui::buffer::Buffer;
use ratatui::layout::Position;
use state::Explorer;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use update::{Effect, Message, update};
use waste::Report;

/// Runs the screen on an image that has been looked up, and reads its layers meanwhile. `base` is told when it is
/// known, and so is `traced` where it is known how the image was built. The image is compared with what it is `against`.
pub async fn run(
    opened: Opened,
    against: Option<Against>,
    reading: inventory::Options,
    base: impl Future<Output = Option<Base>> + Send + 'static,
    traced: impl Future<Output = Option<Traced>> + Send + 'static,
    options: Options,
) -> io::Result<Summary> {
    let (look, _) = display::look(&options)?;
    let display = Display::open()?;
    let size = display.screen.size()?;
    let other = against.as_ref().map(Other::new);
    let state = Explorer::new(Image::new(&opened, None), other, &options, look, size);
    let (sender, progress) = mpsc::unbounded_channel();
    let background = Background::default();
    background.spawn(async move { base.await.map(Message::Base) });
    background.spawn(async move { traced.await.map(|traced| Message::Traced(Arc::new(traced))) });
    let subject = Subject::new(&state.image, state.other.as_ref());
    let exploration = Exploration { state, subject, background, opened, against, reading, sender, progress };
    exploration.read();
    exploration.read_other();
    front::run(display, exploration).await
}

struct Exploration {
    state: Explorer,
    subject: Subject,
    background: Background<Message>,
    opened: Opened,
    against: Option<Against>,
    reading: inventory::Options,
    /// How far the reading is.
    sender: mpsc::UnboundedSender<Message>,
    progress: mpsc::UnboundedReceiver<Message>,
}

impl Exploration {
    /// Reads the image's layers in the background.
    fn read(&self) {
        let (opened, sender) = (self.opened.clone(), self.sender.clone());
        let reading = inventory::Options { trees: true, ..self.reading.clone() };
        self.background.spawn(async move {
            let told = move |progress| drop(sender.send(Message::Progress(progress)));
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
    }

    /// The same of what it is compared with.
    fn read_other(&self) {
        let Some(against) = self.against.clone() else { return };
        let (sender, reading) = (self.sender.clone(), self.reading.clone());
        self.background.spawn(async move {
            let read = match against {
                Against::Image(name, opened) => {
                    let told = move |progress| drop(sender.send(Message::OtherProgress(progress)));
                    let read = inventory::read(&opened, &reading, told).await;
                    read.map(|inventory| Side::of_image(name, inventory)).map_err(Into::into)
                }
                Against::Directory(path) => side::of_directory(path).await,
            };
            Some(Message::OtherRead(Box::new(read)))
        });
    }

    fn take(&mut self, message: Message) -> Vec<Wish> {
        let is_news = matches!(
            message,
            Message::Progress(Progress::Tree(_) | Progress::Alone { .. }) | Message::Read(_) | Message::Compared(_)
        );
        let effects = update(&mut self.state, message);
        if is_news {
            self.subject = Subject::new(&self.state.image, self.state.other.as_ref());
        }
        effects.into_iter().filter_map(|effect| self.perform(effect)).collect()
    }

    /// Does what is to be done; answers with what only the terminal can.
    fn perform(&mut self, effect: Effect) -> Option<Wish> {
        match effect {
            Effect::Load(slot, query) => {
                let subject = self.subject.clone();
                self.background.ask(slot, async move {
                    let answer = subject.answer(&query).await;
                    Message::Loaded { slot, query, answer }
                });
            }
            Effect::Extract { at, path, to } => {
                let subject = self.subject.clone();
                self.background
                    .spawn(async move { Some(Message::Extracted(extract::extract(subject, at, path, to).await)) });
            }
            Effect::Account => {
                let inventory = self.subject.inventory.clone()?;
                let base = self.state.image.base.clone();
                self.background.spawn(async move {
                    let report =
                        tokio::task::spawn_blocking(move || Report::of(&inventory, base.as_ref())).await.ok()?;
                    Some(Message::Accounted(Box::new(report)))
                });
            }
            Effect::Compare => {
                let image = self.state.image.inventory.as_deref().cloned()?;
                let other = self.state.other.as_ref()?.side.clone()?;
                self.background
                    .spawn(async move { Some(Message::Compared(Pair::of(other, image).await.map(Arc::new))) });
            }
            Effect::Read => self.read(),
            Effect::ReadOther => self.read_other(),
            Effect::Terminal(wish) => return Some(wish),
        }
        None
    }
}

impl Face for Exploration {
    type News = Message;

    async fn news(&mut self) -> Message {
        tokio::select! {
            biased;
            done = self.background.next() => done,
            Some(progress) = self.progress.recv() => progress,
        }
    }

    fn news_already(&mut self) -> Option<Message> {
        let progress = self.progress.try_recv().ok();
        progress.or_else(|| self.background.try_next())
    }

    fn learn(&mut self, message: Message) -> Vec<Wish> {
        self.take(message)
    }

    fn hear(&mut self, heard: Heard) -> Vec<Wish> {
        self.take(Message::Terminal(heard))
    }

    fn complain(&mut self, text: String) {
        self.state.complain(text);
    }

    fn set_time(&mut self, now: Duration) {
        self.state.now = now;
    }

    fn is_moving(&self) -> bool {
        self.state.is_moving()
    }

    fn look(&self) -> &Look {
        &self.state.look
    }

    fn draw(&mut self, buffer: &mut Buffer) -> Option<Position> {
        draw::draw(&mut self.state, buffer)
    }

    fn summary(&self) -> Summary {
        summary::summary(&self.state)
    }
}
