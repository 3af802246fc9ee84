//! What is in the image and serves nobody: what stands out, with what to do about it; bytes that are dead, by the layers
//! that wrote and killed them; contents that are there more than once.

use super::image::instruction_of;
use crate::engine::EngineError;
use crate::image::base::Base;
use crate::image::history;
use crate::image::inventory::Inventory;
use crate::layers::findings::{self, Made, Severity};
use crate::layers::waste::{DeadBytes, How};
use crate::layers::{self, Account, FileTree};
use crate::tui::text;
use crate::tui::theme::Look;
use crate::tui::views::flow::picture::Picture;
use crate::tui::views::mark_hits;
use crate::tui::widgets::browser::words;
use crate::tui::widgets::{Answer, Outcome, Pane, Place, Query, Request, scroll};
use bstr::BString;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use std::sync::Arc;

/// Files, and groups of equal ones, that are told one by one.
const MOST: usize = 300;
/// Columns of a size, with the space behind it.
const SIZE: usize = 11;
/// Rows below the list for all about what is selected, with what to do about it, as far as there are so many.
const FOOT: u16 = 4;
/// Rows that the list keeps.
const LIST: u16 = 7;
/// Rows that a turn of the mouse's wheel moves by.
const WHEEL: isize = 3;

/// All of it, worked out beside the screen.
#[derive(Debug)]
pub struct Report {
    pub waste: layers::waste::Waste,
    /// What each layer brings into the image.
    pub picture: Arc<Picture>,
    summary: String,
    rows: Vec<Row>,
}

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

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Row {
    /// `None` of a heading.
    bytes: Option<u64>,
    words: String,
    /// What the words are about, which is seen when there is no room for all of them.
    about: String,
    /// What became of it.
    fate: String,
    /// The instruction that wrote it, where the row names its layer alone.
    wrote: String,
    place: Option<Target>,
    /// What to do about it.
    mend: String,
    danger: bool,
}

/// A layer, and a path in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub layer: u32,
    pub path: Option<BString>,
}

impl Waste {
    pub fn set(&mut self, report: &mut Report) {
        self.summary = std::mem::take(&mut report.summary);
        self.rows = Some(std::mem::take(&mut report.rows));
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
        let holds = |row: &Row| !needle.is_empty() && row.text().to_lowercase().contains(&needle);
        self.rows().iter().enumerate().filter(|(_, row)| holds(row)).map(|(at, _)| at).collect()
    }
}

impl Row {
    fn text(&self) -> String {
        let joint = if self.about.is_empty() { "" } else { ": " };
        format!("{}{joint}{}", self.words, self.about)
    }
}

impl Report {
    /// Looks at all of an image, of which the lowest layers may be another's. Takes its time.
    pub fn of(inventory: &Inventory, base: Option<&Base>) -> Report {
        let account = Account::of(&inventory.tree);
        let waste = &account.waste;
        let picture = Arc::new(Picture::of_image(inventory, waste, base));
        let base = base.map_or(0, |base| base.layers);
        let summary = format!("{} dead of {}", text::size(waste.dead.total()), text::size(waste.total()));
        let mut rows = vec![
            head(&format!(
                "{} live, {} dead: {}",
                text::size(waste.live),
                text::size(waste.dead.total()),
                kinds(waste.dead)
            )),
            head(&format!("{} are copies of a content that is there already", text::size(account.duplicate_bytes()))),
            head(&format!("dive's score, mended: {:.1} %", account.score.efficiency * 100.0)),
        ];
        section(&mut rows, "What stands out", found(inventory, base, &account));
        let layers = waste.layers.iter().enumerate();
        let dead = layers.clone().filter(|(_, of)| of.dead.total() > 0);
        let dead = dead.map(|(layer, of)| {
            let fate = format!("of {}: {}", text::size(of.bytes), kinds(of.dead));
            layer_row(inventory, layer, of.dead.total(), fate)
        });
        section(&mut rows, "Dead, by the layer that wrote it", dead.collect());
        let killers = layers.filter(|(_, of)| of.killed.total() > 0);
        let killers = killers.map(|(layer, of)| layer_row(inventory, layer, of.killed.total(), kinds(of.killed)));
        section(&mut rows, "Dead, by the layer that killed it", killers.collect());
        section(&mut rows, "Dead, the largest", gone(&inventory.tree, waste));
        section(&mut rows, "The same content more than once", copies(&inventory.tree, &account));
        Report { picture, waste: account.waste, summary, rows }
    }
}

fn found(inventory: &Inventory, base: usize, account: &Account) -> Vec<Row> {
    let made = inventory.layers.iter().enumerate().map(|(index, facts)| Made {
        instruction: facts.instruction.as_ref().map(|it| it.text.as_str()),
        arguments: facts.instruction.as_ref().map_or("", |it| it.args.as_str()),
        base: index < base,
        keys: &facts.keys,
        databases: &facts.databases,
    });
    let made: Vec<Made<'_>> = made.collect();
    let config = &inventory.config;
    let found = findings::findings(&inventory.tree, account, &made, &config.config.env, &history::declared(config));
    let row = |it: findings::Finding| {
        let example = it.examples.first();
        // What is about variables or packages names no path.
        let path = example.filter(|path| layers::blame(&inventory.tree, path.as_ref()).is_some());
        let named = match (path, example) {
            (Some(path), _) => shown(path),
            (None, Some(name)) => text::sanitise_bytes(name).into_owned(),
            (None, None) => String::new(),
        };
        Row {
            bytes: Some(it.bytes),
            words: it.what.to_owned(),
            about: named,
            fate: it.wrote.map(|layer| format!("layer {layer}")).unwrap_or_default(),
            wrote: it.wrote.map(|layer| instruction_of(inventory.layers.get(layer as usize))).unwrap_or_default(),
            place: it.wrote.map(|layer| Target { layer, path: path.cloned() }),
            mend: it.mend,
            danger: it.severity == Severity::Danger,
        }
    };
    found.into_iter().take(MOST).map(row).collect()
}

fn layer_row(inventory: &Inventory, layer: usize, bytes: u64, fate: String) -> Row {
    let words = instruction_of(inventory.layers.get(layer));
    let place = Some(Target { layer: layer as u32, path: None });
    Row { bytes: Some(bytes), words: format!("{layer} {words}"), fate, place, ..Row::default() }
}

fn gone(tree: &FileTree, waste: &layers::waste::Waste) -> Vec<Row> {
    let mut gone: Vec<_> = waste.gone.iter().collect();
    gone.sort_by_key(|it| (std::cmp::Reverse(it.bytes), it.node, it.wrote));
    let row = |it: &layers::waste::Dead| {
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
            ..Row::default()
        }
    };
    gone.into_iter().take(MOST).map(row).collect()
}

fn copies(tree: &FileTree, account: &Account) -> Vec<Row> {
    let row = |it: &layers::duplicates::Duplicate| {
        let (first, path) = it.nodes.first().map(|node| (*node, tree.path(*node)))?;
        let second = it.nodes.get(1).map(|node| shown(&tree.path(*node))).unwrap_or_default();
        Some(Row {
            bytes: Some(it.extra),
            words: shown(&path),
            fate: format!("{} copies, another is {second}", it.nodes.len()),
            place: Some(Target { layer: tree.layer(first), path: Some(path) }),
            ..Row::default()
        })
    };
    account.duplicates.iter().take(MOST).filter_map(row).collect()
}

/// A heading and what is under it, if there is anything.
fn section(rows: &mut Vec<Row>, title: &str, more: Vec<Row>) {
    if !more.is_empty() {
        rows.push(Row::default());
        rows.push(head(title));
        rows.extend(more);
    }
}

fn head(words: &str) -> Row {
    Row { words: words.to_owned(), ..Row::default() }
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
        match key.code {
            _ if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => return Outcome::Ignored,
            KeyCode::Up => self.go(-1),
            KeyCode::Down => self.go(1),
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
                let row = usize::from(event.row - area.y);
                if row >= self.page || self.top + row >= self.rows().len() {
                    return Outcome::Ignored;
                }
                self.selected = self.top + row;
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
        self.selected = scroll::next_hit(&hits, self.selected, None).unwrap_or(self.selected);
        hits.len()
    }

    fn find_next(&mut self, forward: bool) {
        self.selected = scroll::next_hit(&self.hits(), self.selected, Some(forward)).unwrap_or(self.selected);
    }

    fn render(&mut self, area: Rect, buffer: &mut Buffer, look: &Look, focused: bool) {
        let Some(rows) = &self.rows else {
            return words(&["This is known when all layers have been read.".to_owned()], area, buffer, look);
        };
        // What is said of the selected one has a place of its own, so that the list does not jump.
        let foot = area.height.saturating_sub(LIST).min(FOOT);
        let list = Rect { height: area.height - foot, ..area };
        self.page = usize::from(list.height);
        self.top = scroll::follow(self.top, self.selected, self.page, rows.len());
        if let Some(row) = rows.get(self.selected).filter(|row| row.bytes.is_some() && foot > 0) {
            tell(row, Rect { y: list.bottom(), height: foot, ..area }, buffer, look);
        }
        let inner = scroll::bar(list, buffer, look, self.top, rows.len());
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

/// All of a row, as its line may have no room for it, and what to do.
fn tell(row: &Row, area: Rect, buffer: &mut Buffer, look: &Look) {
    let (width, rows) = (usize::from(area.width), usize::from(area.height));
    let mend = Some(text::sanitise(&row.mend)).filter(|mend| !mend.is_empty());
    let mend = mend.map(|mend| text::wrap(&mend, width)).unwrap_or_default();
    let parts = [row.text(), row.fate.clone(), row.wrote.clone()].into_iter().filter(|part| !part.is_empty());
    let told = parts.map(|part| text::sanitise(&part).into_owned()).collect::<Vec<_>>().join(", ");
    let mut told = text::wrap(&told, width);
    let room = rows.saturating_sub(mend.len()).max(1);
    if told.len() > room {
        let rest = told.drain(room - 1..).collect::<Vec<_>>().join(" ");
        told.push(text::clip(&rest, width, look.signs.ellipsis).into_owned());
    }
    let lines = told.iter().map(|line| (line, look.text)).chain(mend.iter().map(|line| (line, look.accent)));
    for ((line, style), y) in lines.zip(area.y..area.bottom()) {
        buffer.set_stringn(area.x, y, line, width, style);
    }
}

fn draw(row: &Row, line: Rect, buffer: &mut Buffer, look: &Look) {
    let width = usize::from(line.width);
    let Some(bytes) = row.bytes else {
        let clipped = text::clip(&row.words, width, look.signs.ellipsis);
        buffer.set_stringn(line.x, line.y, clipped, width, look.text.add_modifier(Modifier::BOLD));
        return;
    };
    // What is dangerous weighs nothing.
    let size = if row.danger && bytes == 0 { "danger".to_owned() } else { text::size(bytes) };
    let size = format!("{size:>0$} ", SIZE - 1);
    buffer.set_stringn(line.x, line.y, &size, width, look.text);
    let room = width.saturating_sub(SIZE);
    // The fate gives way first, then the beginning of a path.
    let safe = row.text();
    let safe = text::sanitise(&safe);
    let least = text::width(&safe).min(room * 3 / 5);
    let fate = text::clip(&row.fate, room.saturating_sub(least + 2), look.signs.ellipsis);
    let left = room.saturating_sub(text::width(&fate) + if fate.is_empty() { 0 } else { 2 });
    let name = match row.words.starts_with('/') {
        true => text::clip_start(&safe, left, look.signs.ellipsis),
        false if row.about.is_empty() || text::width(&safe) <= left => text::clip(&safe, left, look.signs.ellipsis),
        // Of two that are told in the same words, what each is about tells them apart.
        false => {
            let about = text::sanitise(&row.about);
            let about = text::clip_start(&about, left / 2, look.signs.ellipsis);
            let words = text::sanitise(&row.words);
            let words = text::clip(&words, left.saturating_sub(text::width(&about) + 2), look.signs.ellipsis);
            format!("{words}: {about}").into()
        }
    };
    let style = if row.danger { look.removed } else { look.text };
    buffer.set_stringn(line.x + SIZE as u16, line.y, name, left, style);
    let x = line.right().saturating_sub(text::width(&fate) as u16);
    buffer.set_stringn(x, line.y, &fate, usize::from(line.right() - x), look.muted);
}
