//! One file, beside the tree it was opened from: its text, what changed in it, its bytes, or what is in an archive.

mod errand;
mod rows;

use crate::engine::EngineError;
use crate::image::listing::{self, Listing};
use crate::layers::patch::{self, Patch, Sign};
use crate::layers::{Kind, Meta};
use crate::snapshot::SnapshotId;
use crate::tui::text;
use crate::tui::theme::Look;
use crate::tui::widgets::archive::ArchiveText;
use crate::tui::widgets::browser::{error_words, words};
use crate::tui::widgets::hex::{self, Hex};
use crate::tui::widgets::paged::{self, Paged};
use crate::tui::widgets::pager::{self, Pager, Text};
use crate::tui::widgets::patch::PatchText;
use crate::tui::widgets::syntax::Tones;
use crate::tui::widgets::{Answer, Outcome, Pane, Place, Query, Request, Slot, Source, scroll};
use bstr::BString;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseEvent};
use errand::Errand;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use rows::{How, draw};
use std::sync::Arc;

#[derive(Debug, Default)]
pub struct Viewer {
    file: Option<File>,
}

#[derive(Debug)]
struct File {
    at: SnapshotId,
    path: BString,
    before: Option<SnapshotId>,
    meta: Meta,
    mode: Mode,
    /// The user has said how it is to be shown, whatever is in it.
    chosen: bool,
    text: Paged,
    hex: Hex,
    patch: Option<PatchText>,
    /// Why there is no difference to show, in words.
    no_patch: Option<&'static str>,
    pager: Pager,
    asked: Option<Query>,
    /// What it reads on for, beyond what is in sight.
    errand: Option<Errand>,
    /// The row that was found last.
    hit: Option<usize>,
    error: Option<EngineError>,
    tones: Colours,
    listing: Listed,
}

/// Whether the file is an archive.
#[derive(Debug)]
enum Listed {
    Unknown,
    No,
    Known(ArchiveText),
}

/// What the words of the text's beginning are.
#[derive(Debug)]
enum Colours {
    Unasked,
    Asked,
    Known(Arc<Tones>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Text,
    Hex,
    Archive,
    Diff,
    /// There is nothing in it to read.
    Facts,
}

impl Viewer {
    pub fn open(&mut self, at: SnapshotId, path: BString, before: Option<SnapshotId>, meta: Meta) -> Vec<Request> {
        let mode = match meta.kind {
            Kind::File if before.is_some() => Mode::Diff,
            Kind::File | Kind::Symlink => Mode::Text,
            _ => Mode::Facts,
        };
        self.file = Some(File {
            at,
            path,
            before,
            mode,
            chosen: false,
            text: Paged::default(),
            // How much is behind a link is seen when it is read.
            hex: Hex::new(if meta.kind == Kind::File { meta.size } else { 1 << 40 }),
            meta,
            patch: None,
            no_patch: None,
            pager: Pager::default(),
            asked: None,
            errand: None,
            hit: None,
            error: None,
            tones: Colours::Unasked,
            listing: Listed::Unknown,
        });
        self.wants()
    }
}

impl Viewer {
    /// The file system that the open file is of.
    pub fn at(&self) -> Option<&SnapshotId> {
        self.file.as_ref().map(|file| &file.at)
    }
}

impl Pane for Viewer {
    fn title(&self) -> String {
        let path = |file: &File| text::sanitise_bytes(&[b"/", file.path.as_slice()].concat()).into_owned();
        self.file.as_ref().map(path).unwrap_or_default()
    }

    fn show(&mut self, _place: &Place) -> Vec<Request> {
        Vec::new()
    }

    fn wants(&mut self) -> Vec<Request> {
        let Some(file) = &mut self.file else { return Vec::new() };
        file.wants().into_iter().chain(file.wants_tones()).collect()
    }

    fn key(&mut self, key: KeyEvent) -> Outcome {
        self.file.as_mut().map_or(Outcome::Ignored, |file| file.key(key))
    }

    fn mouse(&mut self, event: MouseEvent, _area: Rect) -> Outcome {
        let moved = self.file.as_mut().is_some_and(|file| match file.mode {
            Mode::Text => file.pager.mouse(event, &file.text),
            Mode::Hex => file.pager.mouse(event, &file.hex),
            Mode::Diff => file.patch.as_ref().is_some_and(|patch| file.pager.mouse(event, patch)),
            Mode::Archive => match &file.listing {
                Listed::Known(archive) => file.pager.mouse(event, archive),
                Listed::Unknown | Listed::No => false,
            },
            Mode::Facts => false,
        });
        if moved { Outcome::Consumed } else { Outcome::Ignored }
    }

    fn loaded(&mut self, query: &Query, answer: Result<Answer, EngineError>) -> Vec<Request> {
        if let (Some(file), Query::Tones { name, text }) = (&mut self.file, query) {
            // Of another file, it is too late.
            if let Ok(Answer::Tones(tones)) = answer
                && *name == file.name()
                && file.text.beginning() == Some(&text.0)
            {
                file.tones = Colours::Known(tones);
            }
            return Vec::new();
        }
        let Some(file) = self.file.as_mut().filter(|file| file.asked.as_ref() == Some(query)) else {
            return Vec::new();
        };
        file.asked = None;
        match (query, answer) {
            (_, Err(error)) => file.error = Some(error),
            (Query::File { offset, .. }, Ok(Answer::File(bytes))) => file.take(*offset, bytes),
            (Query::Patch { .. }, Ok(Answer::Patch(patch, tones))) => file.take_patch(&patch, &tones),
            (Query::Listing { .. }, Ok(Answer::Listing(listing))) => file.take_listing(listing),
            _ => {}
        }
        file.run_errand();
        self.wants()
    }

    fn find(&mut self, text: &str) -> usize {
        let Some(file) = &mut self.file else { return 0 };
        file.pager.needle = text.to_owned();
        file.hit = None;
        file.hex.hit = None;
        file.errand = None;
        if text.is_empty() {
            return 0;
        }
        file.search(true);
        match (file.hit.is_some() || file.hex.hit.is_some(), file.mode, &file.patch, &file.listing) {
            (true, Mode::Diff, Some(patch), _) => pager::count(patch, text),
            (true, Mode::Archive, _, Listed::Known(archive)) => pager::count(archive, text),
            (found, ..) => usize::from(found),
        }
    }

    fn find_next(&mut self, forward: bool) {
        if let Some(file) = self.file.as_mut().filter(|file| !file.pager.needle.is_empty()) {
            file.search(forward);
        }
    }

    fn is_searching(&self) -> bool {
        self.file.as_ref().is_some_and(|file| matches!(file.errand, Some(Errand::Search(_))))
    }

    fn render(&mut self, area: Rect, buffer: &mut Buffer, look: &Look, _focused: bool) {
        if let Some(file) = &mut self.file {
            file.render(area, buffer, look);
        }
    }
}

impl File {
    /// What must be read for what is in sight, or for an errand.
    fn wants(&mut self) -> Option<Request> {
        if self.asked.is_some() || self.error.is_some() {
            return None;
        }
        let query = match self.mode {
            Mode::Facts => return None,
            Mode::Diff => match (&self.patch, &self.before) {
                (None, Some(before)) => {
                    Query::Patch { before: before.clone(), after: self.at.clone(), path: self.path.clone() }
                }
                _ => return None,
            },
            Mode::Archive => match self.listing {
                Listed::Unknown => {
                    Query::Listing { at: self.at.clone(), path: self.path.clone(), size: self.meta.size }
                }
                Listed::No | Listed::Known(_) => return None,
            },
            Mode::Text => self.read(self.text.offset(self.wanted_piece()?), paged::PIECE),
            Mode::Hex => self.read(self.hex.offset(self.wanted_block()?), hex::BLOCK + hex::OVERLAP),
        };
        self.asked = Some(query.clone());
        Some(Request::Load(Slot::Viewer, query))
    }

    /// The words of a text are looked at once its beginning is here.
    fn wants_tones(&mut self) -> Option<Request> {
        let text = self.text.beginning().filter(|_| matches!(self.tones, Colours::Unasked))?;
        let query = Query::Tones { name: self.name(), text: Source(text.into()) };
        self.tones = Colours::Asked;
        Some(Request::Load(Slot::Tones, query))
    }

    /// What the file is called where it is, or where a link leads.
    fn name(&self) -> BString {
        let path = if self.meta.kind == Kind::Symlink { &self.meta.target } else { &self.path };
        path.rsplit(|byte| *byte == b'/').next().unwrap_or_default().into()
    }

    fn read(&self, offset: u64, limit: usize) -> Query {
        Query::File { at: self.at.clone(), path: self.path.clone(), offset, limit }
    }

    fn wanted_piece(&self) -> Option<usize> {
        let lacks = |piece: &usize| match *piece < self.text.pieces() {
            true => !self.text.has(*piece),
            false => !self.text.is_complete(),
        };
        let (top, height) = (self.pager.top(), self.pager.height());
        let in_sight = [top, top + height, top + 2 * height].map(|row| self.text.piece_of(row));
        let errand = match self.errand {
            Some(Errand::End) => Some(self.text.pieces()),
            Some(Errand::Search(search)) => Some(search.unit),
            None => None,
        };
        in_sight.into_iter().chain(errand).find(lacks)
    }

    fn wanted_block(&self) -> Option<usize> {
        let lacks = |block: &usize| *block < self.hex.blocks() && !self.hex.has(*block);
        let (top, height) = (self.pager.top(), self.pager.height());
        let in_sight = [top, top + height].map(|row| self.hex.block_of(row));
        let errand = match self.errand {
            Some(Errand::Search(search)) => Some(search.unit),
            _ => None,
        };
        in_sight.into_iter().chain(errand).find(lacks)
    }

    fn take(&mut self, offset: u64, bytes: Vec<u8>) {
        match self.mode {
            Mode::Text => {
                let known = (0..self.text.pieces()).find(|piece| self.text.offset(*piece) == offset);
                let first = known == Some(0) || offset == 0;
                let fresh = first && self.text.pieces() == 0 && !self.chosen;
                let unlisted = matches!(self.listing, Listed::Unknown) && self.meta.kind == Kind::File;
                if fresh && unlisted && listing::may_be_archive(&bytes) {
                    return self.switch(Mode::Archive);
                }
                if fresh && patch::is_binary(&bytes) {
                    self.switch(Mode::Hex);
                    self.hex.take(0, bytes[..bytes.len().min(hex::BLOCK + hex::OVERLAP)].to_vec());
                    return;
                }
                self.text.take(known.unwrap_or(self.text.pieces()), bytes);
                self.pager.grown(&self.text, 0);
            }
            Mode::Hex => {
                self.hex.take((offset / hex::BLOCK as u64) as usize, bytes);
                self.pager.grown(&self.hex, 0);
            }
            Mode::Diff | Mode::Archive | Mode::Facts => {}
        }
    }

    fn take_listing(&mut self, listing: Option<Arc<Listing>>) {
        match listing {
            Some(listing) => self.listing = Listed::Known(ArchiveText::new(listing)),
            None => {
                self.listing = Listed::No;
                self.switch(Mode::Hex);
            }
        }
    }

    fn take_patch(&mut self, patch: &Patch, tones: &[Tones; 2]) {
        let why = match patch {
            Patch::Text(hunks) => {
                self.patch = Some(PatchText::new(hunks, tones));
                return;
            }
            Patch::Same => "its content is the same as before",
            Patch::Binary => "it is not text: no lines to compare",
            Patch::TooLarge => "it is too large to compare line by line (more than 4 MiB or 500,000 lines)",
        };
        self.no_patch = Some(why);
        self.switch(Mode::Text);
    }

    fn switch(&mut self, mode: Mode) {
        let needle = std::mem::take(&mut self.pager.needle);
        self.mode = mode;
        self.pager = Pager::default();
        self.pager.needle = needle;
        self.errand = None;
        self.hit = None;
        self.asked = None;
    }

    fn key(&mut self, key: KeyEvent) -> Outcome {
        let plain = !key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
        let readable = matches!(self.meta.kind, Kind::File | Kind::Symlink);
        match key.code {
            KeyCode::Char('d') if plain && readable => match (self.mode, self.before.is_some(), self.no_patch) {
                (Mode::Diff, ..) => self.switch(Mode::Text),
                (_, true, None) => self.switch(Mode::Diff),
                (_, true, Some(why)) => return Outcome::Effect(Request::Say(why.to_owned())),
                (_, false, _) => {
                    return Outcome::Effect(Request::Say(
                        "there is nothing else here that it could be compared with".to_owned(),
                    ));
                }
            },
            KeyCode::Char('m') if plain && readable => {
                self.chosen = true;
                let is_archive = matches!(self.listing, Listed::Known(_));
                self.switch(match self.mode {
                    Mode::Hex => Mode::Text,
                    Mode::Text if is_archive => Mode::Archive,
                    _ => Mode::Hex,
                });
            }
            KeyCode::Char('x') if plain => {
                return Outcome::Effect(Request::Extract { at: self.at.clone(), path: self.path.clone() });
            }
            KeyCode::Char('y') if plain => return Outcome::Effect(Request::Copy(format!("/{}", self.path))),
            _ => {
                self.errand = None;
                let moved = match self.mode {
                    Mode::Text => self.pager.key(key, &self.text),
                    Mode::Hex => self.pager.key(key, &self.hex),
                    Mode::Diff => self.patch.as_ref().is_some_and(|patch| self.pager.key(key, patch)),
                    Mode::Archive => match &self.listing {
                        Listed::Known(archive) => self.pager.key(key, archive),
                        Listed::Unknown | Listed::No => false,
                    },
                    Mode::Facts => false,
                };
                if !moved {
                    return Outcome::Ignored;
                }
                if key.code == KeyCode::End && self.mode == Mode::Text && !self.text.is_complete() {
                    self.errand = Some(Errand::End);
                }
            }
        }
        Outcome::Consumed
    }

    fn render(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) {
        let foot = u16::from(area.height > 3);
        let inner = Rect { height: area.height - foot, ..area };
        if foot > 0 {
            let status = self.status().join(look.signs.bullet);
            let status = text::clip(&status, usize::from(area.width), look.signs.ellipsis);
            buffer.set_stringn(area.x, area.bottom() - 1, status, usize::from(area.width), look.muted);
        }
        if let Some(error) = &self.error {
            return words(&error_words(error), inner, buffer, look);
        }
        let is_empty = match self.mode {
            Mode::Facts => false,
            Mode::Text => self.text.len() == 0,
            Mode::Hex => !self.hex.has(self.hex.block_of(self.pager.top())),
            Mode::Diff => self.patch.is_none(),
            Mode::Archive => !matches!(self.listing, Listed::Known(_)),
        };
        if is_empty && self.asked.is_some() {
            // A layer is read from its beginning.
            let area = Rect { height: inner.height.min(1), ..inner };
            buffer.set_stringn(area.x, area.y, "reading the file", usize::from(area.width), look.muted);
            return;
        }
        match self.mode {
            Mode::Facts => words(&[self.fact()], inner, buffer, look),
            Mode::Text if self.text.is_complete() && self.text.len() == 0 => {
                words(&["The file is empty.".to_owned()], inner, buffer, look);
            }
            Mode::Text => {
                let digits = self.text.lines().max(999).to_string().len();
                let inner = scroll::bar(inner, buffer, look, self.pager.top(), self.text.len());
                let gutter = |row: usize, sub: usize| match self.text.number(row).filter(|_| sub == 0) {
                    Some(number) => format!("{number:>digits$} "),
                    None => String::new(),
                };
                let tones = |row: usize| match &self.tones {
                    Colours::Known(tones) => tones.line(self.text.number(row)? - 1),
                    Colours::Unasked | Colours::Asked => None,
                };
                let how = How { gutter: digits as u16 + 2, gutter_text: gutter, style: |_| None, tones };
                draw(&mut self.pager, &self.text, how, inner, buffer, look);
            }
            Mode::Hex => {
                let inner = scroll::bar(inner, buffer, look, self.pager.top(), self.hex.len());
                let top = self.hex.fit(usize::from(inner.width), self.pager.top());
                if top != self.pager.top() {
                    self.pager.go(top, &self.hex);
                }
                let how = How { gutter: 0, gutter_text: |_, _| String::new(), style: |_| None, tones: |_| None };
                draw(&mut self.pager, &self.hex, how, inner, buffer, look);
            }
            Mode::Archive => {
                let Listed::Known(archive) = &self.listing else { return };
                let inner = scroll::bar(inner, buffer, look, self.pager.top(), archive.len());
                let how = How { gutter: 0, gutter_text: |_, _| String::new(), style: |_| None, tones: |_| None };
                draw(&mut self.pager, archive, how, inner, buffer, look);
            }
            Mode::Diff => {
                let Some(patch) = &self.patch else { return };
                let digits = patch.digits();
                let inner = scroll::bar(inner, buffer, look, self.pager.top(), patch.len());
                let gutter = |row: usize, sub: usize| if sub == 0 { patch.gutter(row) } else { String::new() };
                // Words in their own colours stand on the colour of the change, where there are colours enough.
                let tones = |row: usize| patch.tones(row).filter(|tones| !tones.is_empty() && look.grounds.is_some());
                let style = |row: usize| match (patch.sign(row), look.grounds, tones(row)) {
                    (None, ..) => Some(look.accent),
                    (Some(Sign::Added), Some([added, _]), Some(_)) => Some(added),
                    (Some(Sign::Removed), Some([_, removed]), Some(_)) => Some(removed),
                    (Some(Sign::Added), ..) => Some(look.added),
                    (Some(Sign::Removed), ..) => Some(look.removed),
                    (Some(Sign::Same), ..) => None,
                };
                let how = How { gutter: 2 * digits as u16 + 2, gutter_text: gutter, style, tones };
                draw(&mut self.pager, patch, how, inner, buffer, look);
            }
        }
    }

    /// What is shown, how it can be shown else, and how far it has been read.
    fn status(&self) -> Vec<String> {
        let mut parts = Vec::new();
        if self.meta.kind == Kind::Symlink {
            parts.push(format!("link to {}", text::sanitise_bytes(&self.meta.target)));
        }
        match self.mode {
            Mode::Diff => parts.push("what changed; d shows the text".to_owned()),
            Mode::Text | Mode::Hex if self.before.is_some() && self.no_patch.is_none() => {
                parts.push("d shows what changed".to_owned());
            }
            Mode::Text | Mode::Hex => parts.extend(self.no_patch.map(str::to_owned)),
            Mode::Archive => match &self.listing {
                Listed::Known(archive) => parts.push(archive.summary()),
                Listed::Unknown | Listed::No => parts.push("reading what is in it".to_owned()),
            },
            Mode::Facts => {}
        }
        match self.mode {
            Mode::Text if matches!(self.listing, Listed::Known(_)) => parts.push("m shows what is in it".to_owned()),
            Mode::Text | Mode::Archive => parts.push("m shows its bytes".to_owned()),
            Mode::Hex => parts.push("m shows it as text".to_owned()),
            Mode::Diff | Mode::Facts => {}
        }
        if self.meta.kind == Kind::File {
            parts.push(text::size(self.meta.size));
        }
        if self.errand.is_some() {
            let read = self.text.known_bytes().saturating_mul(100) / self.meta.size.max(1);
            parts.insert(0, format!("reading on, {} %", read.min(100)));
        }
        parts
    }

    fn fact(&self) -> String {
        let (major, minor) = self.meta.device;
        match self.meta.kind {
            Kind::CharDevice => format!("A character device, number {major}:{minor}."),
            Kind::BlockDevice => format!("A block device, number {major}:{minor}."),
            Kind::Fifo => "A named pipe.".to_owned(),
            Kind::Socket => "A socket.".to_owned(),
            Kind::Directory => "A directory.".to_owned(),
            Kind::File | Kind::Symlink => String::new(),
        }
    }
}

#[cfg(test)]
mod tests;
