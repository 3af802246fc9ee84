//! What flows into an image, as a picture: at the left where bytes come from and how many, at the right where in the
//! image they are, between them what ships. What stays behind fades away. It opens to instructions, and to files.

mod files;
pub mod picture;
mod sankey;
#[cfg(test)]
mod tests;

use crate::engine::EngineError;
use crate::snapshot::SnapshotId;
use crate::tui::keymap::Motion;
use crate::tui::theme::Look;
use crate::tui::widgets::browser::words;
use crate::tui::widgets::scroll::{moved, next_hit};
use crate::tui::widgets::{Answer, Outcome, Pane, Place, Query, Request};
use bstr::BString;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use files::Files;
use picture::{Picture, Wanted};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use sankey::{Item, Sankey, Side, Within};
use std::sync::Arc;

/// Files that are listed.
const FILES: usize = 500;

#[derive(Debug, Default)]
pub struct Flow {
    picture: Option<Arc<Picture>>,
    /// The image's file system, where its files are read.
    at: Option<SnapshotId>,
    /// What has been entered, the whole first.
    levels: Vec<Level>,
    room: (u16, u16),
    needle: String,
}

#[derive(Debug)]
enum Level {
    Streams(Sankey),
    Files(Files),
}

impl Flow {
    /// Shows another image, or the same when more is known of it.
    pub fn set(&mut self, picture: Arc<Picture>, at: Option<SnapshotId>) {
        let items = picture.origins.iter().map(|origin| {
            let words = match origin.what {
                "" => origin.name.clone(),
                what => format!("{what} {}", origin.name),
            };
            let within = match &origin.parts[..] {
                [part] => Within::Files(part.key),
                parts => Within::Parts(parts.to_vec()),
            };
            let words = match &origin.parts[..] {
                [part] if picture.is_of_build() => format!("{words}, {}", part.words),
                [part] => part.words.clone(),
                _ => words,
            };
            Item { name: origin.name.clone(), words, built: origin.built(), ships: origin.ships(), within }
        });
        let items = items.collect();
        self.picture = Some(picture);
        self.at = at;
        self.levels.clear();
        self.push("the image", items);
    }

    pub fn is_known(&self) -> bool {
        self.picture.is_some()
    }

    fn push(&mut self, title: &str, items: Vec<Item>) {
        self.levels.push(Level::Streams(Sankey { title: title.to_owned(), items, ..Sankey::default() }));
        self.arrange();
    }

    fn arrange(&mut self) {
        let (columns, rows) = self.room;
        if let (Some(picture), Some(Level::Streams(sankey))) = (&self.picture, self.levels.last_mut()) {
            sankey.arrange(picture, Rect::new(0, 0, columns, rows));
        }
    }

    fn files(&mut self, title: String, wanted: &Wanted) -> Outcome {
        let Some(picture) = &self.picture else { return Outcome::Consumed };
        let (list, more) = picture.files(wanted, FILES);
        if list.is_empty() {
            return Outcome::Effect(Request::Say("none of its files is in the image".to_owned()));
        }
        self.levels.push(Level::Files(Files { title, list, more, ..Files::default() }));
        Outcome::Consumed
    }

    /// Into what is selected: to its instructions, then to its files, then to look into the file.
    fn enter(&mut self) -> Outcome {
        match self.levels.last() {
            Some(Level::Streams(sankey)) => match sankey.side {
                Side::Left => {
                    let Some(item) = sankey.scene.left.get(sankey.left).cloned() else { return Outcome::Consumed };
                    match item.within {
                        Within::Files(key) => self.files(item.name, &Wanted::From(vec![key])),
                        Within::Rest(items) => {
                            self.push(&item.name, items);
                            Outcome::Consumed
                        }
                        Within::Parts(parts) => {
                            let items = parts.into_iter().map(|part| Item {
                                name: part.name,
                                words: part.words,
                                built: part.built,
                                ships: part.ships,
                                within: Within::Files(part.key),
                            });
                            let items = items.collect();
                            self.push(&item.name, items);
                            Outcome::Consumed
                        }
                    }
                }
                Side::Right => {
                    let Some(goal) = sankey.scene.right.get(sankey.right).cloned() else { return Outcome::Consumed };
                    self.files(goal.name, &Wanted::At(goal.arrivals))
                }
            },
            Some(Level::Files(files)) => {
                let known = files.list.get(files.selected).and_then(|(path, _)| {
                    let meta = Box::new(self.picture.as_ref()?.meta(path)?);
                    Some(Request::OpenFile { at: self.at.clone()?, path: path.clone(), before: None, meta })
                });
                known.map_or(Outcome::Consumed, Outcome::Effect)
            }
            None => Outcome::Consumed,
        }
    }

    fn leave(&mut self) {
        if self.levels.len() > 1 {
            self.levels.pop();
            self.arrange();
        }
    }

    fn go(&mut self, motion: Motion) {
        match self.levels.last_mut() {
            Some(Level::Streams(sankey)) => sankey.go(motion),
            Some(Level::Files(files)) => {
                files.selected = moved(files.selected, motion, files.height, files.list.len());
            }
            None => {}
        }
    }

    fn file(&self) -> Option<&BString> {
        match self.levels.last()? {
            Level::Files(files) => files.list.get(files.selected).map(|(path, _)| path),
            Level::Streams(_) => None,
        }
    }

    /// Selects the next of what is shown whose name holds the needle; how many do.
    fn seek(&mut self, forward: Option<bool>) -> usize {
        let needle = self.needle.to_lowercase();
        let holds = |name: &str| !needle.is_empty() && name.to_lowercase().contains(&needle);
        let (names, selected): (Vec<String>, &mut usize) = match self.levels.last_mut() {
            Some(Level::Streams(sankey)) => match sankey.side {
                Side::Left => (sankey.scene.left.iter().map(|it| it.words.clone()).collect(), &mut sankey.left),
                Side::Right => (sankey.scene.right.iter().map(|it| it.words.clone()).collect(), &mut sankey.right),
            },
            Some(Level::Files(files)) => {
                (files.list.iter().map(|(path, _)| format!("/{path}")).collect(), &mut files.selected)
            }
            None => return 0,
        };
        let hits: Vec<usize> = (0..names.len()).filter(|at| holds(&names[*at])).collect();
        *selected = next_hit(&hits, *selected, forward).unwrap_or(*selected);
        hits.len()
    }
}

impl Pane for Flow {
    fn title(&self) -> String {
        let titles = self.levels.iter().map(|level| match level {
            Level::Streams(sankey) => sankey.title.as_str(),
            Level::Files(files) => files.title.as_str(),
        });
        titles.skip(usize::from(self.levels.len() > 1)).collect::<Vec<_>>().join(" · ")
    }

    fn show(&mut self, _place: &Place) -> Vec<Request> {
        Vec::new()
    }

    fn key(&mut self, key: KeyEvent) -> Outcome {
        if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) {
            return Outcome::Ignored;
        }
        let in_files = matches!(self.levels.last(), Some(Level::Files(_)));
        let motion = match key.code {
            KeyCode::Left if in_files => {
                self.leave();
                return Outcome::Consumed;
            }
            KeyCode::Left => Motion::Left,
            KeyCode::Right => Motion::Right,
            KeyCode::Up => Motion::Up,
            KeyCode::Down => Motion::Down,
            KeyCode::PageUp => Motion::PageUp,
            KeyCode::PageDown => Motion::PageDown,
            KeyCode::Home => Motion::First,
            KeyCode::End => Motion::Last,
            KeyCode::Enter | KeyCode::Char(' ') => return self.enter(),
            KeyCode::Esc if self.levels.len() > 1 => {
                self.leave();
                return Outcome::Consumed;
            }
            KeyCode::Backspace | KeyCode::Char('-') => {
                self.leave();
                return Outcome::Consumed;
            }
            KeyCode::Char('x') => {
                let extract = self.at.clone().zip(self.file().cloned()).map(|(at, path)| Request::Extract { at, path });
                return extract.map_or(Outcome::Consumed, Outcome::Effect);
            }
            KeyCode::Char('y') => {
                let copy = self.file().map(|path| Request::Copy(format!("/{path}")));
                return copy.map_or(Outcome::Consumed, Outcome::Effect);
            }
            _ => return Outcome::Ignored,
        };
        self.go(motion);
        Outcome::Consumed
    }

    fn resized(&mut self, columns: u16, rows: u16) -> Vec<Request> {
        self.room = (columns, rows);
        self.arrange();
        Vec::new()
    }

    fn mouse(&mut self, event: MouseEvent, area: Rect) -> Outcome {
        match event.kind {
            MouseEventKind::ScrollUp => self.go(Motion::Up),
            MouseEventKind::ScrollDown => self.go(Motion::Down),
            MouseEventKind::Down(MouseButton::Left) => {
                let again = match self.levels.last_mut() {
                    Some(Level::Streams(sankey)) => {
                        let place = (event.column.saturating_sub(area.x), event.row.saturating_sub(area.y));
                        sankey.click(place)
                    }
                    Some(Level::Files(files)) => {
                        let row = usize::from(event.row.saturating_sub(area.y));
                        let at = files.top + row;
                        if row >= files.height || at >= files.list.len() {
                            return Outcome::Ignored;
                        }
                        std::mem::replace(&mut files.selected, at) == at
                    }
                    None => false,
                };
                if again {
                    return self.enter();
                }
            }
            _ => return Outcome::Ignored,
        }
        Outcome::Consumed
    }

    fn loaded(&mut self, _query: &Query, _answer: Result<Answer, EngineError>) -> Vec<Request> {
        Vec::new()
    }

    fn selected_path(&self) -> Option<BString> {
        self.file().cloned()
    }

    /// Among what is on show.
    fn find(&mut self, text: &str) -> usize {
        self.needle = text.to_owned();
        self.seek(None)
    }

    fn find_next(&mut self, forward: bool) {
        self.seek(Some(forward));
    }

    fn render(&mut self, area: Rect, buffer: &mut Buffer, look: &Look, focused: bool) {
        let Some(picture) = self.picture.clone() else {
            let text = "The picture is drawn when all layers have been read.".to_owned();
            return words(&[text], area, buffer, look);
        };
        if picture.origins.is_empty() {
            return words(
                &["There are no bytes in this image: every file in it is empty.".to_owned()],
                area,
                buffer,
                look,
            );
        }
        let room = (area.width, area.height);
        if self.room != room {
            self.room = room;
            self.arrange();
        }
        match self.levels.last_mut() {
            Some(Level::Streams(sankey)) => sankey.render(&picture, area, buffer, look, focused),
            Some(Level::Files(files)) => files.render(&picture, area, buffer, look, focused),
            None => {}
        }
    }
}
