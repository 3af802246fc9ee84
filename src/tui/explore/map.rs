//! The image's bytes as a picture: each directory and file as large as what it holds.

use crate::engine::EngineError;
use crate::layers::search::{Fit, Pattern};
use crate::layers::{FileTree, Kind, NodeId};
use crate::snapshot::SnapshotId;
use crate::tui::text;
use crate::tui::theme::Look;
use crate::tui::widgets::browser::words;
use crate::tui::widgets::scroll::next_hit;
use crate::tui::widgets::treemap::{neighbour, tiles};
use crate::tui::widgets::{Answer, Outcome, Pane, Place, Query, Request};
use bstr::{BStr, BString};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

/// Cells that the smallest part has about; what is smaller goes into one part together.
const LEAST_CELLS: u64 = 8;
const MOST_PARTS: usize = 200;

/// How deep directories are drawn in directories.
const LEVELS: usize = 4;
/// Columns and rows from which on what is in a directory is drawn in it.
const ROOM: (u16, u16) = (16, 5);

#[derive(Debug)]
pub struct Map {
    tree: FileTree,
    at: Option<SnapshotId>,
    /// The directory on show.
    directory: NodeId,
    parts: Vec<Part>,
    selected: usize,
    /// Where the parts were drawn last.
    tiles: Vec<Rect>,
    /// What was drawn there, with what is in it, and in which area.
    scene: Vec<Drawn>,
    picture: Rect,
    room: (u16, u16),
    needle: String,
}

/// A part in its place.
#[derive(Debug, Clone)]
struct Drawn {
    part: Part,
    tile: Rect,
    /// 0 for the parts of the directory on show.
    level: usize,
    /// The part of the directory on show that it is or lies in.
    top: usize,
    /// What is in it is drawn, too.
    is_open: bool,
}

#[derive(Debug, Clone)]
struct Part {
    /// `None` for all that is too small together.
    node: Option<NodeId>,
    bytes: u64,
    is_directory: bool,
    label: String,
}

impl Default for Map {
    fn default() -> Map {
        Map {
            tree: FileTree::default(),
            at: None,
            directory: FileTree::ROOT,
            parts: Vec::new(),
            selected: 0,
            tiles: Vec::new(),
            scene: Vec::new(),
            picture: Rect::default(),
            room: (0, 0),
            needle: String::new(),
        }
    }
}

impl Map {
    /// Shows another tree, at the same place as far as it is there.
    pub fn set(&mut self, tree: FileTree, at: Option<SnapshotId>) {
        let path = self.tree.path(self.directory);
        let selected = self.node().map(|node| self.tree.path(node));
        self.tree = tree;
        self.at = at;
        let is_directory = |node: &NodeId| self.tree.meta(*node).kind == Kind::Directory;
        self.directory = self.tree.lookup(path.as_ref()).filter(is_directory).unwrap_or(FileTree::ROOT);
        let selected = selected.and_then(|path| self.tree.lookup(path.as_ref()));
        self.divide();
        self.select(selected);
    }

    fn select(&mut self, node: Option<NodeId>) {
        let at = self.parts.iter().position(|part| node.is_some() && part.node == node);
        self.selected = at.unwrap_or(0);
    }

    fn node(&self) -> Option<NodeId> {
        self.parts.get(self.selected).and_then(|part| part.node)
    }

    fn divide(&mut self) {
        self.parts = parts(&self.tree, self.directory, self.room);
        self.tiles.clear();
        self.scene.clear();
    }

    /// Puts the parts into an area, and what is in them into theirs.
    fn arrange(&mut self, picture: Rect) {
        if self.picture == picture && !self.scene.is_empty() {
            return;
        }
        self.picture = picture;
        let sizes: Vec<u64> = self.parts.iter().map(|part| part.bytes).collect();
        self.tiles = tiles(&sizes, picture);
        self.scene.clear();
        for top in 0..self.parts.len() {
            place(&self.tree, self.parts[top].clone(), self.tiles[top], (0, top), &mut self.scene);
        }
    }

    fn go(&mut self, way: (i32, i32)) {
        if let Some(next) = neighbour(&self.tiles, self.selected, way) {
            self.selected = next;
        }
    }

    /// Into the selected directory, or to look into the selected file.
    fn enter(&mut self) -> Outcome {
        let Some(node) = self.node() else {
            let text = "these are too small to be drawn here; the Files pane lists them".to_owned();
            return Outcome::Effect(Request::Say(text));
        };
        let meta = self.tree.meta(node);
        match (meta.kind, &self.at) {
            (Kind::Directory, _) => {
                self.directory = node;
                self.divide();
                // What holds nothing but one directory has nothing to show.
                while let [Part { node: Some(only), is_directory: true, .. }] = self.parts[..] {
                    self.directory = only;
                    self.divide();
                }
                self.selected = 0;
                Outcome::Consumed
            }
            (_, Some(at)) => {
                let (path, meta) = (self.tree.path(node), Box::new(meta.to_meta()));
                Outcome::Effect(Request::OpenFile { at: at.clone(), path, before: None, meta })
            }
            (_, None) => Outcome::Consumed,
        }
    }

    fn leave(&mut self) {
        while self.directory != FileTree::ROOT {
            let inside = self.directory;
            let path = self.tree.path(inside);
            let parent = path.rsplitn(2, |byte| *byte == b'/').nth(1).unwrap_or_default();
            self.directory = self.tree.lookup(BStr::new(parent)).unwrap_or(FileTree::ROOT);
            self.divide();
            self.select(Some(inside));
            if self.parts.len() > 1 {
                break;
            }
        }
    }

    /// The selected path, once there is something to select.
    pub fn selected(&self) -> Option<BString> {
        self.node().map(|node| self.tree.path(node))
    }

    /// The selected path, or that of the directory.
    fn path(&self) -> BString {
        self.tree.path(self.node().unwrap_or(self.directory))
    }

    fn share(&self, bytes: u64) -> String {
        format!("{}, {} of the image", text::size(bytes), text::percent(bytes, self.tree.bytes(FileTree::ROOT)))
    }
}

impl Pane for Map {
    fn title(&self) -> String {
        if self.at.is_none() {
            return String::new();
        }
        let path = format!("/{}", self.tree.path(self.directory));
        format!("{} · {}", text::sanitise(&path), self.share(self.tree.bytes(self.directory)))
    }

    fn show(&mut self, _place: &Place) -> Vec<Request> {
        Vec::new()
    }

    fn key(&mut self, key: KeyEvent) -> Outcome {
        if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) {
            return Outcome::Ignored;
        }
        match key.code {
            KeyCode::Left => self.go((-1, 0)),
            KeyCode::Right => self.go((1, 0)),
            KeyCode::Up => self.go((0, -1)),
            KeyCode::Down => self.go((0, 1)),
            KeyCode::Home => self.selected = 0,
            KeyCode::End => self.selected = self.parts.len().saturating_sub(1),
            KeyCode::Enter | KeyCode::Char(' ') => return self.enter(),
            KeyCode::Backspace | KeyCode::Char('-') => self.leave(),
            KeyCode::Esc if self.directory != FileTree::ROOT => self.leave(),
            KeyCode::Char('x') => match &self.at {
                Some(at) => return Outcome::Effect(Request::Extract { at: at.clone(), path: self.path() }),
                None => return Outcome::Consumed,
            },
            KeyCode::Char('y') => return Outcome::Effect(Request::Copy(format!("/{}", self.path()))),
            _ => return Outcome::Ignored,
        }
        Outcome::Consumed
    }

    fn resized(&mut self, columns: u16, rows: u16) -> Vec<Request> {
        self.room = (columns, rows.saturating_sub(1));
        let selected = self.node();
        self.divide();
        self.select(selected);
        Vec::new()
    }

    fn mouse(&mut self, event: MouseEvent, _area: Rect) -> Outcome {
        let MouseEventKind::Down(MouseButton::Left) = event.kind else { return Outcome::Ignored };
        let hit = self.tiles.iter().position(|tile| tile.contains((event.column, event.row).into()));
        match hit {
            Some(at) if at == self.selected => self.enter(),
            Some(at) => {
                self.selected = at;
                Outcome::Consumed
            }
            None => Outcome::Ignored,
        }
    }

    fn loaded(&mut self, _query: &Query, _answer: Result<Answer, EngineError>) -> Vec<Request> {
        Vec::new()
    }

    /// Among what is on show.
    fn find(&mut self, text: &str) -> usize {
        self.needle = text.to_owned();
        let hits = self.hits();
        if let Some(first) = hits.first().filter(|_| !hits.contains(&self.selected)) {
            self.selected = *first;
        }
        hits.len()
    }

    fn find_next(&mut self, forward: bool) {
        self.selected = next_hit(&self.hits(), self.selected, Some(forward)).unwrap_or(self.selected);
    }

    fn render(&mut self, area: Rect, buffer: &mut Buffer, look: &Look, focused: bool) {
        if self.parts.is_empty() {
            let nothing = match self.at {
                Some(_) => "There are no bytes in this directory: everything in it is empty.",
                None => "The map is drawn when the first layer has been read.",
            };
            return words(&[nothing.to_owned()], area, buffer, look);
        }
        let foot = u16::from(area.height > 3);
        let picture = Rect { height: area.height - foot, ..area };
        self.arrange(picture);
        for drawn in &self.scene {
            draw(drawn, (drawn.level == 0 && drawn.top == self.selected, focused), buffer, look);
        }
        if let Some(part) = self.parts.get(self.selected).filter(|_| foot > 0) {
            let path = match part.node {
                Some(_) => text::sanitise_bytes(&[b"/", self.path().as_slice()].concat()).into_owned(),
                None => part.label.clone(),
            };
            let words = format!("{path}{}{}", look.signs.bullet, self.share(part.bytes));
            let shown = text::clip_start(&words, usize::from(area.width), look.signs.ellipsis);
            buffer.set_stringn(area.x, area.bottom() - 1, shown, usize::from(area.width), look.text);
        }
    }
}

impl Map {
    fn hits(&self) -> Vec<usize> {
        let Some(pattern) = Pattern::new(&self.needle) else { return Vec::new() };
        let fits = |part: &Part| part.node.is_some_and(|node| pattern.fits(self.tree.name(node), Fit::Contains));
        (0..self.parts.len()).filter(|at| fits(&self.parts[*at])).collect()
    }
}

/// The parts of a directory, the largest first, as many as there is room for.
fn parts(tree: &FileTree, directory: NodeId, room: (u16, u16)) -> Vec<Part> {
    let mut children: Vec<(u64, NodeId)> =
        tree.children(directory).map(|id| (tree.bytes(id), id)).filter(|(bytes, _)| *bytes > 0).collect();
    let count = children.len();
    let total: u64 = children.iter().map(|(bytes, _)| *bytes).fold(0, u64::saturating_add);
    let key = |(bytes, id): &(u64, NodeId)| (std::cmp::Reverse(*bytes), *id);
    // Of a million the largest are found without putting all in order.
    if count > MOST_PARTS + 1 {
        children.select_nth_unstable_by_key(MOST_PARTS, key);
        children.truncate(MOST_PARTS);
    }
    children.sort_by_key(key);
    let cells = u64::from(room.0) * u64::from(room.1);
    let large = |bytes: u64| u128::from(bytes) * u128::from(cells) >= u128::from(total) * u128::from(LEAST_CELLS);
    let seen = children.iter().take_while(|(bytes, _)| large(*bytes)).count().clamp(1, MOST_PARTS);
    // One alone needs no part for the rest.
    let seen = if count <= seen + 1 { children.len() } else { seen };
    let part = |(bytes, id): &(u64, NodeId)| {
        let is_directory = tree.meta(*id).kind == Kind::Directory;
        let slash = if is_directory { "/" } else { "" };
        let label = format!("{}{slash}", text::sanitise_bytes(tree.name(*id)));
        Part { node: Some(*id), bytes: *bytes, is_directory, label }
    };
    let mut parts: Vec<Part> = children.iter().take(seen).map(part).collect();
    if count > seen {
        let shown = parts.iter().map(|part| part.bytes).fold(0, u64::saturating_add);
        let bytes = total.saturating_sub(shown);
        parts.push(Part { node: None, bytes, is_directory: false, label: format!("{} more", count - seen) });
        parts.sort_by_key(|part| std::cmp::Reverse(part.bytes));
    }
    parts
}

/// Puts a part into its place, and what is in it into its own, as deep as there is room.
fn place(tree: &FileTree, mut part: Part, tile: Rect, (level, top): (usize, usize), scene: &mut Vec<Drawn>) {
    if tile.is_empty() {
        return;
    }
    let node = part.node.filter(|_| part.is_directory && level + 1 < LEVELS);
    let node = node.filter(|_| tile.width >= ROOM.0 && tile.height >= ROOM.1);
    let inside = Rect::new(tile.x + 1, tile.y + 1, tile.width.saturating_sub(2), tile.height.saturating_sub(2));
    let room = (inside.width, inside.height);
    let mut within = node.map(|node| parts(tree, node, room)).unwrap_or_default();
    // Directories that hold nothing but one directory share a place with it.
    while let [Part { node: Some(only), is_directory: true, label, .. }] = &within[..] {
        part.label.push_str(label);
        within = parts(tree, *only, room);
    }
    scene.push(Drawn { part, tile, level, top, is_open: !within.is_empty() });
    let sizes: Vec<u64> = within.iter().map(|part| part.bytes).collect();
    for (part, tile) in within.into_iter().zip(tiles(&sizes, inside)) {
        place(tree, part, tile, (level + 1, top), scene);
    }
}

/// One part: its area in a colour, half a cell away from its neighbours; where there are too few colours, a frame.
fn draw(drawn: &Drawn, (selected, focused): (bool, bool), buffer: &mut Buffer, look: &Look) {
    let (part, tile) = (&drawn.part, drawn.tile);
    let mark = match (selected, focused) {
        (true, true) => look.accent.add_modifier(Modifier::BOLD),
        (true, false) => look.text.add_modifier(Modifier::BOLD),
        (false, _) => look.text,
    };
    let inside = match look.tints {
        Some(tints) if !look.ascii() => {
            let directory = |level: usize| if level.is_multiple_of(2) { tints.directory } else { tints.inner };
            let tint = match (part.node, part.is_directory) {
                (None, _) => tints.rest,
                (_, true) => directory(drawn.level),
                (_, false) => tints.file,
            };
            let behind = drawn.level.checked_sub(1).map(directory);
            fill(tile, tint, behind, selected, mark, buffer)
        }
        _ => frame(tile, if selected { mark } else { look.border }, selected, buffer, look),
    };
    let size = text::size(part.bytes);
    let width = usize::from(inside.width);
    if drawn.is_open || inside.height == 1 {
        // One line for both; the rest is for what is in it.
        let line = if drawn.is_open { Rect { y: tile.y, height: 1, ..inside } } else { inside };
        let shown = text::clip(&part.label, width, look.signs.ellipsis);
        buffer.set_stringn(line.x, line.y, &shown, width, mark);
        let taken = text::width(&shown) + 2;
        if taken + text::width(&size) <= width {
            buffer.set_stringn(line.x + taken as u16, line.y, &size, width - taken, look.muted);
        }
        return;
    }
    let lines = [(part.label.as_str(), mark), (&size, look.muted)];
    for ((line, style), y) in lines.into_iter().zip(inside.y..inside.bottom()) {
        let shown = text::clip(line, width, look.signs.ellipsis);
        buffer.set_stringn(inside.x, y, shown, width, style);
    }
}

/// Fills a part but for half a cell at its right and its lower edge, where what is behind it is seen. Answers with the
/// room for words.
fn fill(tile: Rect, tint: Style, behind: Option<Style>, selected: bool, mark: Style, buffer: &mut Buffer) -> Rect {
    let color = match (selected, mark.fg) {
        (true, Some(fg)) => Style::new().fg(fg),
        _ => tint.bg.map_or(Style::new(), |bg| Style::new().fg(bg)),
    };
    let edge = behind.unwrap_or_default().patch(color);
    for position in tile.positions() {
        let (right, low) = (position.x + 1 == tile.right(), position.y + 1 == tile.bottom());
        // A part of one row or column has no edge to spare.
        let (right, low) = (right && tile.width > 1, low && tile.height > 1);
        let sign = match (right, low) {
            (false, false) => " ",
            (true, false) => "▌",
            (false, true) => "▀",
            (true, true) => "▘",
        };
        let cell = &mut buffer[position];
        cell.set_symbol(sign);
        cell.set_style(match (sign, selected) {
            (" ", _) => tint,
            (_, true) => color.patch(tint),
            (_, false) => edge,
        });
    }
    // A bar at the left tells what is selected without its colour.
    if selected {
        for y in tile.y..tile.bottom().saturating_sub(u16::from(tile.height > 1)) {
            buffer[(tile.x, y)].set_symbol("▎").set_style(color.patch(tint));
        }
    }
    let margin = u16::from(tile.width > 3);
    Rect {
        x: tile.x + margin,
        width: tile.width.saturating_sub(1 + margin),
        height: tile.height.saturating_sub(u16::from(tile.height > 1)),
        ..tile
    }
}

/// Draws a part's frame. Answers with the room for words.
fn frame(tile: Rect, style: Style, selected: bool, buffer: &mut Buffer, look: &Look) -> Rect {
    if tile.width < 4 || tile.height < 3 {
        let sign = if selected { look.signs.bar } else { look.signs.bar_rest };
        for position in tile.positions() {
            buffer[position].set_symbol(sign).set_style(style);
        }
        return Rect { height: 0, ..tile };
    }
    crate::tui::views::frame(look, tile, style, buffer);
    Rect::new(tile.x + 1, tile.y + 1, tile.width - 2, tile.height - 2)
}
