//! A difference, or a whole file system, as a tree to walk through.
//!
//! Only rows that are on show are drawn, and only those of open directories exist, so that 300,000 paths answer
//! a key as fast as thirty.

pub(crate) mod columns;
mod draw;
mod rows;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;

use crate::layers::{Diff, DiffId, Order, Pattern, Scope};
use bstr::BStr;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Rect;
use rows::{Row, Shape, Without};
use std::sync::Arc;

/// Rows that a turn of the mouse's wheel moves by.
const WHEEL: usize = 3;
/// Rows that a tree opens itself up to at first, as long as it has never been drawn.
const UNSEEN: usize = 12;
/// Paths of a difference whose memory is given back beside the screen.
const LARGE: usize = 10_000;

/// What kind of tree it is, and so what its numbers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// What changed: sizes are bytes added or removed, directories that lead to one directory share its row.
    Changes,
    /// What is there: sizes are all that lies below. What was removed is seen among the changes only.
    Files,
}

/// What a key or a click did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    Ignored,
    Consumed,
    /// The user wants to look into this path, which is not a directory.
    Open(DiffId),
}

/// A copy of it costs nothing, as that of a [`Shape`].
#[derive(Debug, Clone)]
pub struct Tree {
    flavour: Flavour,
    diff: Option<Arc<Diff>>,
    shape: Shape,
    rows: Arc<Vec<Row>>,
    selected: usize,
    top: usize,
    /// Whether the selection must be in sight; not while the wheel turns.
    follow: bool,
    /// Rows that the last drawing had room for.
    page: usize,
    only_changed: bool,
    columns: bool,
    pattern: Option<Pattern>,
    /// Whether what the pattern finds in this difference has been told.
    known: bool,
    /// What the pattern fits, in order.
    found: Arc<Vec<DiffId>>,
    /// As much of it as is not left out; and the same by number.
    hits: Arc<Vec<DiffId>>,
    is_hit: Arc<Vec<bool>>,
    /// Hits only; with what was open before.
    filtered: Option<Arc<Vec<bool>>>,
}

impl Tree {
    pub fn new(flavour: Flavour) -> Tree {
        Tree {
            flavour,
            diff: None,
            shape: Shape {
                expanded: Arc::default(),
                hidden: Arc::default(),
                without: Without::Nothing,
                order: Order::Name,
                joined: flavour == Flavour::Changes,
            },
            rows: Arc::default(),
            selected: 0,
            top: 0,
            follow: true,
            page: 0,
            only_changed: false,
            columns: false,
            pattern: None,
            known: true,
            found: Arc::default(),
            hits: Arc::default(),
            is_hit: Arc::default(),
            filtered: None,
        }
    }

    /// Shows another difference. With `keep`, what is open stays open and what is selected stays selected, as
    /// far as the paths are there.
    pub fn set(&mut self, diff: Arc<Diff>, keep: bool) {
        let before = self.diff.replace(diff.clone());
        let old = before.as_ref().filter(|_| keep);
        let selected = self.selected().filter(|_| keep);
        let path = old.zip(selected).map(|(old, id)| old.path(id));
        if self.filtered.take().is_some() && old.is_none() {
            self.pattern = None;
        }
        self.shape.expanded = Arc::new(match old {
            Some(old) => carry(old, &self.shape.expanded, &diff),
            None => vec![false; diff.len()],
        });
        self.shape.hidden = Arc::default();
        self.shape.without = self.without(&diff);
        self.known = self.pattern.is_none();
        self.found = Arc::default();
        self.choose_hits(&diff);
        match path {
            Some(path) => {
                self.rebuild(Diff::ROOT);
                self.select_path(path.as_ref());
            }
            None => {
                self.selected = 0;
                self.top = 0;
                self.open_a_little();
            }
        }
        self.follow = true;
        before.into_iter().for_each(give_back);
    }

    pub fn clear(&mut self) {
        *self = Tree { columns: self.columns, ..Tree::new(self.flavour) };
    }

    pub fn diff(&self) -> Option<&Arc<Diff>> {
        self.diff.as_ref()
    }

    pub fn selected(&self) -> Option<DiffId> {
        self.rows.get(self.selected).map(|row| row.id)
    }

    /// Goes to a path, or to the nearest directory above it that is there, and opens what is above it.
    pub fn select_path(&mut self, path: &BStr) {
        let Some(diff) = self.diff.clone() else { return };
        let mut id = Diff::ROOT;
        for name in path.split(|byte| *byte == b'/').map(BStr::new).filter(|name| !name.is_empty()) {
            match diff.children(id).find(|child| diff.name(*child) == name) {
                Some(child) => id = child,
                None => break,
            }
        }
        self.reveal(id);
    }

    /// How it is shown, in words, where that is not the usual: `by size · only what changed · 3 hits`.
    pub fn state(&self) -> Vec<String> {
        let mut words = Vec::new();
        match self.shape.order {
            Order::Name => {}
            Order::Size => words.push("by size".to_owned()),
            Order::Change => words.push("by change".to_owned()),
        }
        if self.only_changed {
            words.push("only what changed".to_owned());
        }
        if self.filtered.is_some() {
            words.push("only hits".to_owned());
        }
        words
    }

    pub fn key(&mut self, key: KeyEvent) -> Reaction {
        self.follow = true;
        let page = self.page.max(2) - 1;
        if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) {
            return Reaction::Ignored;
        }
        match key.code {
            KeyCode::Up => self.move_by(-1),
            KeyCode::Down => self.move_by(1),
            KeyCode::PageUp => self.move_by(-(page as isize)),
            KeyCode::PageDown => self.move_by(page as isize),
            KeyCode::Home => self.selected = 0,
            KeyCode::End => self.selected = self.rows.len().saturating_sub(1),
            KeyCode::Right => self.right(),
            KeyCode::Left => self.left(),
            KeyCode::Enter => return self.open(),
            KeyCode::Char(' ') => self.toggle(),
            KeyCode::Char('*') => self.toggle_all(),
            KeyCode::Char('o') => self.next_order(),
            KeyCode::Char('a') if self.flavour == Flavour::Files => self.toggle_changed(),
            KeyCode::Char('i') => self.columns = !self.columns,
            KeyCode::Char('v') => self.toggle_filter(),
            _ => return Reaction::Ignored,
        }
        Reaction::Consumed
    }

    /// `area` is where it was drawn last.
    pub fn mouse(&mut self, event: MouseEvent, area: Rect) -> Reaction {
        match event.kind {
            MouseEventKind::ScrollUp => self.scroll_by(-(WHEEL as isize)),
            MouseEventKind::ScrollDown => self.scroll_by(WHEEL as isize),
            MouseEventKind::Down(MouseButton::Left) if area.contains((event.column, event.row).into()) => {
                let index = self.top + usize::from(event.row - area.y);
                if index >= self.rows.len() {
                    return Reaction::Ignored;
                }
                let again = self.selected == index;
                self.selected = index;
                let on_marker = draw::marker_columns(&self.rows[index], area).contains(&event.column);
                if again || on_marker {
                    return self.open();
                }
            }
            _ => return Reaction::Ignored,
        }
        Reaction::Consumed
    }

    /// Looks for something else from now on. What there is of it has to be told with [`Tree::take_found`], unless it is
    /// known already: then the first of it is gone to, and this is how many there are.
    pub fn look_for(&mut self, pattern: Option<Pattern>) -> usize {
        let Some(diff) = self.diff.clone() else { return 0 };
        if self.known && self.pattern == pattern {
            self.go_to_hit(&diff);
            return self.hits.len();
        }
        self.pattern = pattern;
        self.known = self.pattern.is_none();
        self.found = Arc::default();
        self.choose_hits(&diff);
        if self.known && self.filtered.is_some() {
            self.toggle_filter();
        }
        0
    }

    pub fn pattern(&self) -> Option<&Pattern> {
        self.pattern.as_ref()
    }

    /// What is looked for, and in which difference, until what there is of it has been told.
    pub fn sought(&self) -> Option<(&Arc<Diff>, &Pattern)> {
        self.diff.as_ref().zip(self.pattern.as_ref()).filter(|_| !self.known)
    }

    /// Marks what was found, with `go` goes to the first of it from the selection on. How many there are.
    pub fn take_found(&mut self, found: Vec<DiffId>, go: bool) -> usize {
        let Some(diff) = self.diff.clone() else { return 0 };
        self.known = true;
        self.found = Arc::new(found);
        self.choose_hits(&diff);
        if self.filtered.is_some() {
            self.filter();
        }
        if go {
            self.go_to_hit(&diff);
        }
        self.hits.len()
    }

    /// To the first hit from the selection on.
    fn go_to_hit(&mut self, diff: &Diff) {
        let here = self.rows.get(self.selected).copied();
        if !here.is_some_and(|row| self.is_hit(diff, &row)) {
            self.find_next(true);
        }
    }

    /// To the next hit in the order on show, or to the one before; around the end.
    pub fn find_next(&mut self, forward: bool) {
        let Some(diff) = self.diff.clone().filter(|_| !self.hits.is_empty()) else { return };
        let order = diff.order(self.shape.order);
        let id_at = |at: u32| order.map_or(DiffId(at), |order| DiffId(order[at as usize]));
        let is_hit = |at: &u32| self.is_hit.get(id_at(*at).0 as usize).copied().unwrap_or(false);
        // The places that the selected row stands for.
        let (start, end) = match self.rows.get(self.selected) {
            Some(row) => (row.at - u32::from(diff.depth(row.id) - diff.depth(row.first)), row.at),
            None => (0, 0),
        };
        let all = diff.len() as u32;
        let next = match forward {
            true => (end + 1..all).chain(0..=end).find(is_hit),
            false => (0..start).rev().chain((start..all).rev()).find(is_hit),
        };
        if let Some(at) = next {
            self.reveal(id_at(at));
        }
    }

    /// Whether a row stands for a path that was found.
    fn is_hit(&self, diff: &Diff, row: &Row) -> bool {
        let mut at = Some(row.id).filter(|_| !self.hits.is_empty());
        while let Some(id) = at {
            if self.is_hit.get(id.0 as usize).copied().unwrap_or(false) {
                return true;
            }
            at = diff.parent(id).filter(|_| id != row.first);
        }
        false
    }

    /// Opens what is above a path and selects it.
    fn reveal(&mut self, id: DiffId) {
        let Some(diff) = self.diff.clone() else { return };
        let mut above = diff.parent(id);
        let mut opened = false;
        while let Some(parent) = above {
            if !self.is_open(parent) {
                Arc::make_mut(&mut self.shape.expanded)[parent.0 as usize] = true;
                opened = true;
            }
            above = diff.parent(parent);
        }
        if opened {
            self.list(&diff);
        }
        if let Some(index) = rows::find(&diff, &self.shape, &self.rows, id) {
            self.selected = index;
        }
        self.follow = true;
    }

    /// Makes the rows anew and selects a path, or what is nearest.
    fn rebuild(&mut self, selected: DiffId) {
        let Some(diff) = self.diff.clone() else { return };
        self.list(&diff);
        self.select(selected);
    }

    fn list(&mut self, diff: &Diff) {
        let room = Arc::try_unwrap(std::mem::take(&mut self.rows)).unwrap_or_default();
        self.rows = Arc::new(rows::rows(diff, &self.shape, room));
    }

    /// Selects a path among the rows that there are, or what is nearest.
    fn select(&mut self, selected: DiffId) {
        let Some(diff) = self.diff.clone() else { return };
        let index = rows::find(&diff, &self.shape, &self.rows, selected).unwrap_or(0);
        self.selected = index.min(self.rows.len().saturating_sub(1));
        self.follow = true;
    }

    /// Opens level after level as long as all of it can be seen. A whole file system is opened by its user.
    fn open_a_little(&mut self) {
        let Some(diff) = self.diff.clone() else { return };
        let room = if self.page == 0 { UNSEEN } else { self.page };
        self.list(&diff);
        while (self.flavour == Flavour::Changes || self.only_changed) && self.rows.len() < room {
            let mut next = self.shape.clone();
            let expanded = Arc::make_mut(&mut next.expanded);
            self.rows.iter().for_each(|row| expanded[row.id.0 as usize] = true);
            let rows = rows::rows(&diff, &next, Vec::new());
            if rows.len() > room || rows.len() == self.rows.len() {
                break;
            }
            self.shape = next;
            self.rows = Arc::new(rows);
        }
    }

    fn move_by(&mut self, by: isize) {
        let last = self.rows.len().saturating_sub(1);
        self.selected = self.selected.saturating_add_signed(by).min(last);
    }

    fn scroll_by(&mut self, by: isize) {
        let last = self.rows.len().saturating_sub(self.page.max(1));
        self.top = self.top.saturating_add_signed(by).min(last);
        self.follow = false;
    }

    fn is_open(&self, id: DiffId) -> bool {
        self.shape.expanded.get(id.0 as usize).copied().unwrap_or(false)
    }

    fn is_directory(&self, id: DiffId) -> bool {
        self.diff.as_ref().is_some_and(|diff| draw::is_directory(diff, id))
    }

    fn right(&mut self) {
        let Some(id) = self.selected() else { return };
        match self.is_open(id) {
            false => self.set_open(true),
            true => {
                let indent = self.rows[self.selected].indent;
                if self.rows.get(self.selected + 1).is_some_and(|row| row.indent > indent) {
                    self.selected += 1;
                }
            }
        }
    }

    fn left(&mut self) {
        let Some(id) = self.selected() else { return };
        if self.is_open(id) && self.diff.as_ref().is_some_and(|diff| diff.below(id) > 0) {
            return self.set_open(false);
        }
        let indent = self.rows[self.selected].indent;
        let above = self.rows[..self.selected].iter().rposition(|row| row.indent < indent);
        self.selected = above.unwrap_or(self.selected);
    }

    fn open(&mut self) -> Reaction {
        match self.selected() {
            Some(id) if self.is_directory(id) => self.toggle(),
            Some(id) => return Reaction::Open(id),
            None => {}
        }
        Reaction::Consumed
    }

    fn toggle(&mut self) {
        if let Some(id) = self.selected() {
            self.set_open(!self.is_open(id));
        }
    }

    fn set_open(&mut self, open: bool) {
        let (Some(diff), Some(row)) = (self.diff.clone(), self.rows.get(self.selected).copied()) else { return };
        if diff.below(row.id) == 0 || self.is_open(row.id) == open {
            return;
        }
        Arc::make_mut(&mut self.shape.expanded)[row.id.0 as usize] = open;
        let end = row.at + 1 + diff.below(row.id);
        let after = self.rows.partition_point(|other| other.at < end);
        let new = if open { rows::rows_below(&diff, &self.shape, &row) } else { Vec::new() };
        Arc::make_mut(&mut self.rows).splice(self.selected + 1..after, new);
    }

    /// Opens everything; closes everything if it is open.
    fn toggle_all(&mut self) {
        let Some(diff) = self.diff.clone() else { return };
        let all = diff.ids().skip(1).all(|id| diff.below(id) == 0 || self.is_open(id));
        let selected = self.selected().unwrap_or(Diff::ROOT);
        self.shape.expanded = Arc::new(vec![!all; diff.len()]);
        self.rebuild(selected);
    }

    fn next_order(&mut self) {
        let selected = self.selected().unwrap_or(Diff::ROOT);
        self.shape.order = match self.shape.order {
            Order::Name => Order::Size,
            Order::Size => Order::Change,
            Order::Change => Order::Name,
        };
        self.rebuild(selected);
    }

    fn toggle_changed(&mut self) {
        let selected = self.selected().unwrap_or(Diff::ROOT);
        self.only_changed = !self.only_changed;
        if let Some(diff) = self.diff.clone() {
            self.shape.without = self.without(&diff);
            self.choose_hits(&diff);
        }
        if self.filtered.is_some() {
            return self.filter();
        }
        self.open_a_little();
        self.select(selected);
    }

    /// Hits only, or everything again.
    fn toggle_filter(&mut self) {
        match self.filtered.take() {
            Some(expanded) => {
                let selected = self.selected();
                self.shape.expanded = expanded;
                self.shape.hidden = Arc::default();
                self.rebuild(Diff::ROOT);
                if let Some(id) = selected {
                    self.reveal(id);
                }
            }
            // Those that are still looked for will be shown when they are found.
            None if !self.hits.is_empty() || !self.known => {
                self.filtered = Some(self.shape.expanded.clone());
                self.filter();
            }
            None => {}
        }
    }

    /// Shows hits, what is below them, and the directories that lead to them, open.
    fn filter(&mut self) {
        let Some(diff) = self.diff.clone().filter(|_| self.known) else { return };
        let selected = self.selected().unwrap_or(Diff::ROOT);
        let mut expanded = vec![false; diff.len()];
        let mut hidden = vec![true; diff.len()];
        let mut end = 0;
        for id in self.hits.iter() {
            // A hit below another hit is in sight already.
            let at = id.0 as usize;
            if at >= end {
                end = at + 1 + diff.below(*id) as usize;
                hidden[at..end].fill(false);
            }
            let mut above = diff.parent(*id);
            while let Some(parent) = above {
                if std::mem::replace(&mut expanded[parent.0 as usize], true) {
                    break;
                }
                hidden[parent.0 as usize] = false;
                above = diff.parent(parent);
            }
        }
        self.shape.expanded = Arc::new(expanded);
        self.shape.hidden = Arc::new(hidden);
        self.rebuild(selected);
    }

    /// Of what was found, what is not left out.
    fn choose_hits(&mut self, diff: &Diff) {
        let without = self.shape.without;
        self.hits = match without {
            Without::Nothing => self.found.clone(),
            _ => Arc::new(self.found.iter().copied().filter(|id| !without.leaves_out(diff, *id)).collect()),
        };
        let mut is_hit = vec![false; if self.hits.is_empty() { 0 } else { diff.len() }];
        self.hits.iter().for_each(|id| is_hit[id.0 as usize] = true);
        self.is_hit = Arc::new(is_hit);
    }

    /// What is not shown whatever is looked for.
    fn without(&self, diff: &Diff) -> Without {
        match self.only_changed {
            true if diff.scope() == Scope::Everything => Without::Unchanged,
            false if self.flavour == Flavour::Files && diff.removed > 0 => Without::Removed,
            _ => Without::Nothing,
        }
    }
}

/// Gives a difference's memory back. Of a large one that takes milliseconds, for which no key should wait.
fn give_back(diff: Arc<Diff>) {
    if diff.len() > LARGE {
        // Without a further thread it is given back at once.
        let _ = std::thread::Builder::new().spawn(move || drop(diff));
    }
}

/// What was open in one difference, by the numbers of another.
fn carry(old: &Diff, expanded: &[bool], new: &Diff) -> Vec<bool> {
    let is_open = |id: &DiffId| expanded.get(id.0 as usize).copied().unwrap_or(false);
    let mut out = vec![false; new.len()];
    let mut open = vec![(Diff::ROOT, Diff::ROOT)];
    while let Some((from, to)) = open.pop() {
        out[to.0 as usize] = is_open(&from);
        // Both list their children by name. The root is always open. What holds nothing need not be compared.
        let mut others = new.children(to).filter(|other| new.below(*other) > 0).peekable();
        for child in old.children(from).filter(is_open) {
            let name = old.name(child);
            while others.next_if(|other| new.name(*other) < name).is_some() {}
            open.extend(others.next_if(|other| new.name(*other) == name).map(|other| (child, other)));
        }
    }
    out
}
