//! What is in the image and serves nobody: bytes that are dead, by the layers that wrote and killed them, contents that
//! are there more than once, keys that lie in a layer.

use super::image::Image;
use crate::engine::EngineError;
use crate::layers::Account;
use crate::layers::waste::{DeadBytes, How};
use crate::tui::text;
use crate::tui::theme::Look;
use crate::tui::views::mark_hits;
use crate::tui::widgets::browser::words;
use crate::tui::widgets::{Answer, Outcome, Pane, Place, Query, Request, scroll};
use bstr::BString;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

/// Files, and groups of equal ones, that are told one by one.
const MOST: usize = 300;
/// Columns of a size, with the space behind it.
const SIZE: usize = 11;
/// Rows that a turn of the mouse's wheel moves by.
const WHEEL: isize = 3;

#[derive(Debug, Default)]
pub struct Waste {
    rows: Option<Vec<Row>>,
    selected: usize,
    top: usize,
    /// Rows that the last drawing had room for.
    page: usize,
    summary: String,
    needle: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    /// `None` of a heading.
    bytes: Option<u64>,
    words: String,
    /// What became of it.
    fate: String,
    place: Option<Target>,
}

/// A layer, and a path in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub layer: u32,
    pub path: Option<BString>,
}

impl Waste {
    pub fn set(&mut self, image: &Image, account: &Account) {
        let waste = &account.waste;
        self.summary = format!("{} of {} are dead", text::size(waste.dead.total()), text::size(waste.total()));
        self.rows = Some(rows(image, account));
        self.selected = self.rows().iter().position(|row| row.place.is_some()).unwrap_or(0);
        self.top = 0;
    }

    /// Where the selected row leads.
    pub fn target(&self) -> Option<Target> {
        self.rows().get(self.selected).and_then(|row| row.place.clone())
    }

    fn rows(&self) -> &[Row] {
        self.rows.as_deref().unwrap_or_default()
    }

    fn go(&mut self, by: isize) {
        self.selected = self.selected.saturating_add_signed(by).min(self.rows().len().saturating_sub(1));
    }

    fn hits(&self) -> Vec<usize> {
        let needle = self.needle.to_lowercase();
        let holds = |row: &Row| !needle.is_empty() && row.words.to_lowercase().contains(&needle);
        self.rows().iter().enumerate().filter(|(_, row)| holds(row)).map(|(at, _)| at).collect()
    }
}

fn rows(image: &Image, account: &Account) -> Vec<Row> {
    let waste = &account.waste;
    let tree = &image.tree;
    let mut out = vec![head(format!(
        "{} live, {} dead: {}",
        text::size(waste.live),
        text::size(waste.dead.total()),
        kinds(waste.dead)
    ))];
    out.push(head(format!(
        "{} are copies of a content that is there already; dive's score {:.3}",
        text::size(account.duplicate_bytes()),
        account.score.efficiency
    )));
    let keys =
        image.layers.iter().enumerate().flat_map(|(layer, it)| it.facts.keys.iter().map(move |key| (layer, key)));
    let mut keys = keys.peekable();
    if keys.peek().is_some() {
        out.push(head("Private keys: whoever has the image has them, whatever later layers do".to_owned()));
        out.extend(keys.take(MOST).map(|(layer, path)| Row {
            bytes: Some(tree.lookup(path.as_ref()).map_or(0, |node| tree.bytes(node))),
            words: shown(path),
            fate: format!("in layer {layer}"),
            place: Some(Target { layer: layer as u32, path: Some(path.clone()) }),
        }));
    }
    let dead: Vec<usize> = (0..waste.layers.len()).filter(|at| waste.layers[*at].dead.total() > 0).collect();
    if !dead.is_empty() {
        out.push(head("By the layer that wrote them".to_owned()));
        out.extend(dead.into_iter().map(|layer| {
            let of = &waste.layers[layer];
            Row {
                bytes: Some(of.dead.total()),
                words: format!("{layer} {}", image.instruction(layer)),
                fate: format!("of {}: {}", text::size(of.bytes), kinds(of.dead)),
                place: Some(Target { layer: layer as u32, path: None }),
            }
        }));
        out.push(head("By the layer that killed them".to_owned()));
        let killers = waste.layers.iter().enumerate().filter(|(_, of)| of.killed.total() > 0);
        out.extend(killers.map(|(layer, of)| Row {
            bytes: Some(of.killed.total()),
            words: format!("{layer} {}", image.instruction(layer)),
            fate: kinds(of.killed),
            place: Some(Target { layer: layer as u32, path: None }),
        }));
        out.push(head("The largest of them".to_owned()));
        let mut gone: Vec<_> = waste.gone.iter().collect();
        gone.sort_by_key(|it| (std::cmp::Reverse(it.bytes), it.node, it.wrote));
        out.extend(gone.into_iter().take(MOST).map(|it| {
            let path = tree.path(it.node);
            let verb = match it.how {
                How::Deleted => "deleted",
                How::Overwritten => "overwritten",
                How::Metadata => "written again, the same,",
            };
            Row {
                bytes: Some(it.bytes),
                words: shown(&path),
                fate: format!("of layer {}, {verb} by layer {}", it.wrote, it.killed),
                place: Some(Target { layer: it.wrote, path: Some(path) }),
            }
        }));
    }
    if !account.duplicates.is_empty() {
        out.push(head("The same content more than once".to_owned()));
        out.extend(account.duplicates.iter().take(MOST).filter_map(|it| {
            let (first, path) = it.nodes.first().map(|node| (*node, tree.path(*node)))?;
            let second = it.nodes.get(1).map(|node| shown(&tree.path(*node))).unwrap_or_default();
            Some(Row {
                bytes: Some(it.extra),
                words: shown(&path),
                fate: format!("{} copies, another is {second}", it.nodes.len()),
                place: Some(Target { layer: tree.layer(first), path: Some(path) }),
            })
        }));
    }
    out
}

fn head(words: String) -> Row {
    Row { bytes: None, words, fate: String::new(), place: None }
}

fn shown(path: &BString) -> String {
    format!("/{}", text::sanitise_bytes(path))
}

/// `3.0 MB deleted, 1.2 kB overwritten`, what there is none of left out.
pub(super) fn kinds(dead: DeadBytes) -> String {
    let parts =
        [(dead.deleted, "deleted"), (dead.overwritten, "overwritten"), (dead.metadata, "written again, the same")];
    let parts = parts.iter().filter(|(bytes, _)| *bytes > 0);
    let parts: Vec<String> = parts.map(|(bytes, what)| format!("{} {what}", text::size(*bytes))).collect();
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

impl Pane for Waste {
    fn title(&self) -> String {
        self.summary.clone()
    }

    fn show(&mut self, _place: &Place) -> Vec<Request> {
        Vec::new()
    }

    fn key(&mut self, key: KeyEvent) -> Outcome {
        let page = self.page.max(2) as isize - 1;
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('b') if control => self.go(-page),
            KeyCode::Char('f') if control => self.go(page),
            _ if control || key.modifiers.contains(KeyModifiers::ALT) => return Outcome::Ignored,
            KeyCode::Up | KeyCode::Char('k') => self.go(-1),
            KeyCode::Down | KeyCode::Char('j') => self.go(1),
            KeyCode::PageUp => self.go(-page),
            KeyCode::PageDown => self.go(page),
            KeyCode::Home => self.selected = 0,
            KeyCode::End => self.selected = self.rows().len().saturating_sub(1),
            KeyCode::Char('y') => {
                let path = self.target().and_then(|target| target.path);
                return path.map_or(Outcome::Consumed, |path| Outcome::Effect(Request::Copy(format!("/{path}"))));
            }
            _ => return Outcome::Ignored,
        }
        Outcome::Consumed
    }

    fn mouse(&mut self, event: MouseEvent, area: Rect) -> Outcome {
        match event.kind {
            MouseEventKind::ScrollUp => self.go(-WHEEL),
            MouseEventKind::ScrollDown => self.go(WHEEL),
            MouseEventKind::Down(MouseButton::Left) if area.contains((event.column, event.row).into()) => {
                let at = self.top + usize::from(event.row - area.y);
                self.selected = at.min(self.rows().len().saturating_sub(1));
            }
            _ => return Outcome::Ignored,
        }
        Outcome::Consumed
    }

    fn loaded(&mut self, _query: &Query, _answer: Result<Answer, EngineError>) -> Vec<Request> {
        Vec::new()
    }

    fn find(&mut self, text: &str) -> usize {
        self.needle = text.to_owned();
        let hits = self.hits();
        if !hits.contains(&self.selected) {
            self.find_next(true);
        }
        hits.len()
    }

    fn find_next(&mut self, forward: bool) {
        let hits = self.hits();
        let next = match forward {
            true => hits.iter().find(|at| **at > self.selected).or(hits.first()),
            false => hits.iter().rev().find(|at| **at < self.selected).or(hits.last()),
        };
        self.selected = next.copied().unwrap_or(self.selected);
    }

    fn render(&mut self, area: Rect, buffer: &mut Buffer, look: &Look, focused: bool) {
        let Some(rows) = &self.rows else {
            return words(&["This is known when all layers have been read.".to_owned()], area, buffer, look);
        };
        self.page = usize::from(area.height);
        self.top = scroll::in_sight(self.top, self.selected, self.page, rows.len());
        let inner = scroll::bar(area, buffer, look, self.top, rows.len());
        let needle = self.needle.to_lowercase();
        for (y, (at, row)) in (inner.y..inner.bottom()).zip(rows.iter().enumerate().skip(self.top)) {
            let line = Rect { y, height: 1, ..inner };
            draw(row, line, buffer, look);
            mark_hits(look, buffer, line, &needle);
            if at == self.selected {
                buffer.set_style(line, if focused { look.selection } else { look.selection_idle });
            }
        }
    }
}

fn draw(row: &Row, line: Rect, buffer: &mut Buffer, look: &Look) {
    let width = usize::from(line.width);
    let Some(bytes) = row.bytes else {
        let clipped = text::clip(&row.words, width, look.signs.ellipsis);
        buffer.set_stringn(line.x, line.y, clipped, width, look.text.add_modifier(Modifier::BOLD));
        return;
    };
    let size = format!("{:>1$} ", text::size(bytes), SIZE - 1);
    buffer.set_stringn(line.x, line.y, &size, width, look.text);
    let room = width.saturating_sub(SIZE);
    // The fate gives way first, then the beginning of a path.
    let safe = text::sanitise(&row.words);
    let least = text::width(&safe).min(room * 3 / 5);
    let fate = text::clip(&row.fate, room.saturating_sub(least + 2), look.signs.ellipsis);
    let left = room.saturating_sub(text::width(&fate) + if fate.is_empty() { 0 } else { 2 });
    let name = match row.place.as_ref().is_some_and(|place| place.path.is_some()) {
        true => text::clip_start(&safe, left, look.signs.ellipsis),
        false => text::clip(&safe, left, look.signs.ellipsis),
    };
    buffer.set_stringn(line.x + SIZE as u16, line.y, name, left, look.text);
    let x = line.right().saturating_sub(text::width(&fate) as u16);
    buffer.set_stringn(x, line.y, &fate, usize::from(line.right() - x), look.muted);
}
