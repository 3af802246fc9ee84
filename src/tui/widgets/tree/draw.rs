//! The rows of a tree on the screen.

use super::rows::Row;
use super::{Flavour, Tree, columns};
use crate::layers::{Change, Diff, DiffId, Kind};
use crate::tui::text;
use crate::tui::theme::Look;
use crate::tui::views::bar::bar;
use crate::tui::widgets::scroll;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use std::borrow::Cow;
use std::ops::Range;

/// Columns of the letter and the space behind it.
const LETTER: usize = 2;
/// Columns of the sign before a name, with its space.
const MARKER: usize = 2;
/// Columns of a size, with a space before it.
const SIZE: usize = 10;
/// Columns of the bar that shows a size's share.
const BAR: usize = 10;
/// Columns that a name keeps when others are shown beside it.
const NAME: usize = 24;

impl Tree {
    pub fn render(&mut self, area: Rect, buffer: &mut Buffer, look: &Look, focused: bool) {
        self.page = usize::from(area.height);
        let Some(diff) = self.diff.clone() else { return };
        if self.follow {
            self.top = scroll::follow(self.top, self.selected, self.page, self.rows.len());
        }
        self.top = self.top.min(self.rows.len().saturating_sub(1));
        let inner = scroll::bar(area, buffer, look, self.top, self.rows.len());
        for (y, (index, row)) in (area.y..area.bottom()).zip(self.rows.iter().enumerate().skip(self.top)) {
            let line = Rect { y, height: 1, ..inner };
            self.draw_row(&diff, row, line, buffer, look);
            if index == self.selected {
                let style = if focused { look.selection } else { look.selection_idle };
                buffer.set_style(line, style);
            }
        }
    }

    fn draw_row(&self, diff: &Diff, row: &Row, line: Rect, buffer: &mut Buffer, look: &Look) {
        let width = usize::from(line.width);
        let change = diff.change(row.id);
        let style = change_style(look, change);
        let mut pen = Pen { buffer, x: line.x, y: line.y, end: line.right() };
        match change == Change::Unchanged && self.leads_to_changes(diff, row.id) {
            true => pen.write(look.signs.within, look.changed),
            false => pen.write(&change.letter().to_string(), style),
        }
        pen.write(" ", look.text);

        let right = self.right_side(diff, row.id, width, look);
        let taken: usize = right.iter().map(|(text, _)| text::width(text)).sum();
        let name_end = line.right().saturating_sub(taken as u16).max(pen.x);
        pen.end = name_end;
        pen.write(&" ".repeat(indent(row, width)), look.text);
        let marker = match (diff.below(row.id) > 0, self.is_open(row.id)) {
            (true, true) => look.signs.expanded,
            (true, false) => look.signs.collapsed,
            _ => " ",
        };
        pen.write(marker, look.muted);
        pen.write(" ", look.text);
        self.draw_name(diff, row, &mut pen, look);

        pen.x = name_end;
        pen.end = line.right();
        for (text, style) in right {
            pen.write(&text, style);
        }
    }

    /// Whether something below a path changed, where not all that is on show did.
    fn leads_to_changes(&self, diff: &Diff, id: DiffId) -> bool {
        self.flavour == Flavour::Files && !self.only_changed && diff.touched(id)
    }

    fn draw_name(&self, diff: &Diff, row: &Row, pen: &mut Pen<'_>, look: &Look) {
        let meta = diff.meta(row.id);
        let mut style = match diff.change(row.id) {
            Change::Unchanged => look.text,
            change => change_style(look, change),
        };
        if self.is_hit(diff, row) {
            style = style.patch(look.accent).add_modifier(Modifier::BOLD);
        }
        let name = label(diff, row, is_directory(diff, row.id));
        let clipped = match row.id == row.first {
            true => text::clip(&name, pen.room(), look.signs.ellipsis),
            false => text::clip_start(&name, pen.room(), look.signs.ellipsis),
        };
        pen.write(&clipped, style);
        let mut notes = Vec::new();
        if meta.kind == Kind::Symlink {
            notes.push(format!("{} {}", look.signs.arrow, text::sanitise_bytes(meta.target)));
        }
        if let Some(kind) = kind_in_words(meta.kind) {
            notes.push(kind.to_owned());
        }
        if diff.change(row.id) == Change::Modified {
            notes.extend(changed_in_words(diff, row.id));
        }
        for note in notes {
            pen.write(" ", look.muted);
            let clipped = text::clip(&note, pen.room(), look.signs.ellipsis).into_owned();
            pen.write(&clipped, look.muted);
        }
    }

    /// What stands at the right: properties and a bar if there is room for them, and the size.
    fn right_side(&self, diff: &Diff, id: DiffId, width: usize, look: &Look) -> Vec<(String, Style)> {
        let meta = diff.meta(id);
        let mut out = Vec::new();
        let mut room = width.saturating_sub(LETTER + MARKER + NAME + SIZE);
        let mut add = |text: String, columns: usize| {
            let fits = self.columns && room > columns;
            if fits {
                room -= columns + 1;
                out.push((format!(" {text:<columns$}"), look.muted));
            }
            fits
        };
        add(columns::mode(meta), 10);
        add(columns::owner(meta), 11);
        // On a narrow screen the day is better than nothing.
        if !add(columns::time(meta.mtime.0), 16) {
            add(columns::day(meta.mtime.0), 10);
        }
        if room > BAR {
            let [share, _] = bar(look, self.bytes(diff, id), self.bytes(diff, Diff::ROOT), BAR);
            let rest = BAR.saturating_sub(share.width());
            out.extend([(format!(" {}", share.content), share.style), (" ".repeat(rest), look.text)]);
        }
        let (size, style) = self.size(diff, id, look);
        if width >= LETTER + MARKER + SIZE + 8 {
            out.push((format!("{size:>SIZE$}"), style));
        }
        out
    }

    /// What a path has of what all of them have together.
    fn bytes(&self, diff: &Diff, id: DiffId) -> u64 {
        match self.flavour {
            _ if diff.counts_elsewhere(id) => 0,
            Flavour::Changes => diff.added_bytes(id),
            Flavour::Files => diff.bytes(id),
        }
    }

    fn size(&self, diff: &Diff, id: DiffId, look: &Look) -> (String, Style) {
        let meta = diff.meta(id);
        let counts = meta.kind == Kind::File || is_directory(diff, id);
        match self.flavour {
            _ if !counts => (String::new(), look.muted),
            // The bytes of this name are counted at another one.
            _ if diff.counts_elsewhere(id) => (text::size(meta.size), look.muted),
            Flavour::Changes => match (diff.added_bytes(id), diff.removed_bytes(id), diff.change(id)) {
                (0, removed, Change::Removed) if removed > 0 => (format!("-{}", text::size(removed)), look.removed),
                (0, removed, Change::Unchanged) if removed > 0 => (format!("-{}", text::size(removed)), look.removed),
                (0, 0, Change::Removed) => (look.signs.dash.to_owned(), look.muted),
                (added, ..) => (text::size(added), look.text),
            },
            Flavour::Files if diff.change(id) == Change::Removed => (look.signs.dash.to_owned(), look.muted),
            Flavour::Files => (text::size(diff.bytes(id)), look.text),
        }
    }
}

/// The columns that open and close a row's directory when they are clicked.
pub(super) fn marker_columns(row: &Row, area: Rect) -> Range<u16> {
    let start = area.x + (LETTER + indent(row, usize::from(area.width))) as u16;
    start..start + MARKER as u16
}

/// Directories are what has something below, too: a file may have taken a directory's place.
pub(super) fn is_directory(diff: &Diff, id: DiffId) -> bool {
    diff.meta(id).kind == Kind::Directory || diff.below(id) > 0
}

fn change_style(look: &Look, change: Change) -> Style {
    match change {
        Change::Added => look.added,
        Change::Modified => look.changed,
        Change::Removed => look.removed,
        Change::Unchanged => look.text,
    }
}

/// Deep paths do not push their names out of sight.
fn indent(row: &Row, width: usize) -> usize {
    (usize::from(row.indent) * 2).min(width / 2)
}

/// A row's name: all names it stands for, from the top with a leading slash.
fn label(diff: &Diff, row: &Row, directory: bool) -> String {
    let mut names: Vec<Cow<'_, str>> = Vec::new();
    let mut at = Some(row.id);
    while let Some(id) = at {
        names.push(text::sanitise_bytes(diff.name(id)));
        at = diff.parent(id).filter(|_| id != row.first);
    }
    names.reverse();
    let mut label = names.join("/");
    if diff.parent(row.first) == Some(Diff::ROOT) {
        label.insert(0, '/');
    }
    if directory {
        label.push('/');
    }
    label
}

fn kind_in_words(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::File | Kind::Directory | Kind::Symlink => None,
        Kind::Fifo => Some("(pipe)"),
        Kind::Socket => Some("(socket)"),
        Kind::CharDevice => Some("(character device)"),
        Kind::BlockDevice => Some("(block device)"),
    }
}

/// In what a path differs, where it is not its content.
fn changed_in_words(diff: &Diff, id: DiffId) -> Option<String> {
    let differences = diff.differences(id);
    let (before, after) = (diff.before(id)?, diff.after(id)?);
    if differences.kind {
        let was = match before.kind {
            Kind::File => "a file",
            Kind::Directory => "a directory",
            Kind::Symlink => "a link",
            Kind::Fifo => "a pipe",
            Kind::Socket => "a socket",
            Kind::CharDevice | Kind::BlockDevice => "a device",
        };
        return Some(format!("(was {was})"));
    }
    let mut words = Vec::new();
    if differences.mode {
        words.push(format!("mode {:04o}", before.mode));
    }
    if differences.owner {
        words.push(format!("owner {}", columns::owner(before)));
    }
    if differences.xattrs {
        words.push("attributes".to_owned());
    }
    match words.is_empty() {
        false => Some(format!("(was {})", words.join(", "))),
        true if !differences.content && after.kind == Kind::File => Some("(written again, the same)".to_owned()),
        true => None,
    }
}

/// Writes along one line, up to an end.
struct Pen<'b> {
    buffer: &'b mut Buffer,
    x: u16,
    y: u16,
    end: u16,
}

impl Pen<'_> {
    fn room(&self) -> usize {
        usize::from(self.end.saturating_sub(self.x))
    }

    fn write(&mut self, text: &str, style: Style) {
        let room = self.room();
        if room > 0 {
            (self.x, _) = self.buffer.set_stringn(self.x, self.y, text, room, style);
        }
    }
}
