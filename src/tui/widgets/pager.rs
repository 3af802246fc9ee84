//! A long text that is scrolled through, line by line or, when its lines are wrapped, row by row.

use super::ansi::Line;
use crate::tui::text;
use crate::tui::theme::Look;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseEvent, MouseEventKind};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use unicode_width::UnicodeWidthChar;

/// Rows that a turn of the wheel moves by, and columns that Left and Right do.
const WHEEL: isize = 3;
const SIDEWAYS: usize = 8;

/// Where in a text the screen is.
#[derive(Debug, Clone)]
pub struct Pager {
    /// The line at the top, and its row there.
    top: usize,
    sub: usize,
    /// Columns that are scrolled out at the left; 0 while lines are wrapped.
    left: usize,
    wrap: bool,
    /// Stays at the end when lines come.
    follow: bool,
    width: usize,
    height: usize,
    pub needle: String,
}

/// The text. A line that is not at hand counts as one row.
pub trait Text {
    /// How many lines there are, as far as that is known.
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    fn line(&self, index: usize) -> Option<std::borrow::Cow<'_, Line>>;
}

/// How many lines hold a text.
pub fn count(text: &impl Text, needle: &str) -> usize {
    (0..text.len()).filter(|line| holds_at(text, *line, needle)).count()
}

/// The first line that holds a text, from a line on or before it, around the end.
pub fn find(text: &impl Text, needle: &str, from: usize, forward: bool) -> Option<usize> {
    let (from, len) = (from.min(text.len()), text.len());
    let found = |line: &usize| holds_at(text, *line, needle);
    match forward {
        true => (from..len).chain(0..from).find(found),
        false => (from..len).chain(0..from).rev().find(found),
    }
}

fn holds_at(text: &impl Text, line: usize, needle: &str) -> bool {
    text.line(line).is_some_and(|line| holds(&line.text, needle))
}

impl Default for Pager {
    fn default() -> Pager {
        Pager { top: 0, sub: 0, left: 0, wrap: true, follow: false, width: 80, height: 1, needle: String::new() }
    }
}

impl Pager {
    /// One that stays at the end until the user goes up.
    pub fn following() -> Pager {
        Pager { follow: true, ..Pager::default() }
    }

    pub fn top(&self) -> usize {
        self.top
    }

    pub fn height(&self) -> usize {
        self.height
    }

    pub fn follows(&self) -> bool {
        self.follow
    }

    pub fn wraps(&self) -> bool {
        self.wrap
    }

    pub fn left(&self) -> usize {
        self.left
    }

    /// Says how much room there is for text.
    pub fn fit(&mut self, text: &impl Text, width: usize, height: usize) {
        self.width = width.max(1);
        self.height = height.max(1);
        self.settle(text);
    }

    /// Lines have come at the end, or are gone from the beginning.
    pub fn grown(&mut self, text: &impl Text, gone: usize) {
        self.top = self.top.saturating_sub(gone);
        self.settle(text);
    }

    pub fn key(&mut self, key: KeyEvent, text: &impl Text) -> bool {
        let page = self.height.saturating_sub(1).max(1) as isize;
        match key.code {
            _ if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => return false,
            KeyCode::Up => self.scroll(-1, text),
            KeyCode::Down => self.scroll(1, text),
            KeyCode::PageUp => self.scroll(-page, text),
            KeyCode::PageDown | KeyCode::Char(' ') => self.scroll(page, text),
            KeyCode::Home => self.go(0, text),
            KeyCode::End => {
                self.go(text.len(), text);
                self.follow = true;
            }
            KeyCode::Left if !self.wrap => self.left = self.left.saturating_sub(SIDEWAYS),
            KeyCode::Right if !self.wrap => self.left += SIDEWAYS,
            KeyCode::Char('w') => {
                self.wrap = !self.wrap;
                self.sub = 0;
                self.left = 0;
                self.settle(text);
            }
            _ => return false,
        }
        true
    }

    pub fn mouse(&mut self, event: MouseEvent, text: &impl Text) -> bool {
        match event.kind {
            MouseEventKind::ScrollUp => self.scroll(-WHEEL, text),
            MouseEventKind::ScrollDown => self.scroll(WHEEL, text),
            _ => return false,
        }
        true
    }

    /// Puts a line at the top, as far as there is text below it.
    pub fn go(&mut self, line: usize, text: &impl Text) {
        self.follow = false;
        self.top = line;
        self.sub = 0;
        self.settle(text);
    }

    /// Brings a line into sight, with some before it.
    pub fn reveal(&mut self, line: usize, text: &impl Text) {
        let last = self.visible(text).last().map_or(self.top, |(line, _)| *line);
        if line < self.top || line >= last.max(self.top + 1) {
            self.go(line.saturating_sub(self.height / 3), text);
        }
        self.follow = false;
    }

    /// The lines and their rows that are in sight, from the top.
    pub fn visible(&self, text: &impl Text) -> Vec<(usize, usize)> {
        let mut rows = Vec::with_capacity(self.height);
        let (mut line, mut sub) = (self.top, self.sub);
        while rows.len() < self.height && line < text.len() {
            rows.push((line, sub));
            (line, sub) = if sub + 1 < self.rows(text, line) { (line, sub + 1) } else { (line + 1, 0) };
        }
        rows
    }

    /// Moves by rows. Whoever reaches the end going down stays there, whoever goes up does not.
    fn scroll(&mut self, by: isize, text: &impl Text) {
        for _ in 0..by.unsigned_abs() {
            match by < 0 {
                true if self.sub > 0 => self.sub -= 1,
                true if self.top > 0 => {
                    self.top -= 1;
                    self.sub = self.rows(text, self.top) - 1;
                }
                true => {}
                false if self.sub + 1 < self.rows(text, self.top) => self.sub += 1,
                false => {
                    self.top += 1;
                    self.sub = 0;
                }
            }
        }
        self.follow = false;
        self.settle(text);
        self.follow = by > 0 && (self.top, self.sub) == self.last(text);
    }

    /// Keeps the place within the text, and at its end if that is wanted.
    fn settle(&mut self, text: &impl Text) {
        let last = self.last(text);
        if self.follow || (self.top, self.sub) > last {
            (self.top, self.sub) = last;
        }
        self.sub = self.sub.min(self.rows(text, self.top) - 1);
    }

    /// The place at which the text's end is at the bottom.
    fn last(&self, text: &impl Text) -> (usize, usize) {
        let mut room = self.height;
        let mut line = text.len();
        while line > 0 {
            line -= 1;
            let rows = self.rows(text, line);
            if rows >= room {
                return (line, rows - room);
            }
            room -= rows;
        }
        (0, 0)
    }

    fn rows(&self, text: &impl Text, line: usize) -> usize {
        match self.wrap {
            true => text.line(line).map_or(1, |line| breaks(&line.text, self.width).len()),
            false => 1,
        }
    }

    /// Draws one row of a line, with what is searched for marked.
    pub fn draw(&self, line: &Line, sub: usize, area: Rect, buffer: &mut Buffer, look: &Look) {
        let width = usize::from(area.width);
        let (start, end) = match self.wrap {
            true => {
                let starts = breaks(&line.text, self.width);
                let Some(start) = starts.get(sub).copied() else { return };
                (start, starts.get(sub + 1).copied().unwrap_or(line.text.len()))
            }
            false => (skipped(&line.text, self.left), line.text.len()),
        };
        let hits = hits(&line.text, &self.needle);
        let mut x = area.x;
        let mut at = start;
        let mut cut = false;
        while at < end {
            let (until, style) = style_at(line, at);
            let (until, style) = match hits.iter().find(|hit| hit.1 > at) {
                Some(hit) if hit.0 <= at => {
                    (hit.1.min(until), style.patch(look.accent).add_modifier(Modifier::REVERSED))
                }
                Some(hit) => (hit.0.min(until), style),
                None => (until, style),
            };
            let until = until.min(end);
            let Some(piece) = line.text.get(at..until) else { break };
            let room = usize::from(area.right().saturating_sub(x));
            cut |= text::width(piece) > room;
            if room == 0 {
                break;
            }
            (x, _) = buffer.set_stringn(x, area.y, piece, room, look.text.patch(look.fit(style)));
            at = until;
        }
        if cut && width > 0 {
            let sign = look.signs.ellipsis;
            let x = area.right().saturating_sub(text::width(sign) as u16).max(area.x);
            buffer.set_stringn(x, area.y, sign, usize::from(area.right() - x), look.muted);
        }
    }
}

/// Whether a text contains another; without a capital letter in that, case does not matter.
pub fn holds(text: &str, needle: &str) -> bool {
    !hits(text, needle).is_empty()
}

/// Where a text has another in it, in bytes.
fn hits(text: &str, needle: &str) -> Vec<(usize, usize)> {
    if needle.is_empty() || needle.len() > text.len() {
        return Vec::new();
    }
    let exact = needle.chars().any(char::is_uppercase);
    let same = |a: &[u8]| if exact { a == needle.as_bytes() } else { a.eq_ignore_ascii_case(needle.as_bytes()) };
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(window) = text.as_bytes().get(at..at + needle.len()) {
        let end = at + needle.len();
        match same(window) && text.is_char_boundary(at) && text.is_char_boundary(end) {
            true => {
                found.push((at, end));
                at = end;
            }
            false => at += 1,
        }
    }
    found
}

/// The style of a byte, and where it ends.
fn style_at(line: &Line, at: usize) -> (usize, Style) {
    let run = line.runs.partition_point(|(end, _)| *end as usize <= at);
    line.runs.get(run).map_or((line.text.len(), Style::new()), |(end, style)| (*end as usize, *style))
}

/// Where each row of a wrapped line begins. There is always one.
fn breaks(text: &str, width: usize) -> Vec<usize> {
    let mut starts = vec![0];
    // Most lines are short, and a byte is a column or less than one.
    if text.len() <= width {
        return starts;
    }
    let mut column = 0;
    for (at, c) in text.char_indices() {
        let columns = c.width().unwrap_or(0);
        if column + columns > width && column > 0 {
            starts.push(at);
            column = 0;
        }
        column += columns;
    }
    starts
}

/// The byte after so many columns.
fn skipped(text: &str, columns: usize) -> usize {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        if used >= columns {
            return at;
        }
        used += c.width().unwrap_or(0);
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::borrow::Cow;

    struct Plain(Vec<Line>);

    impl Text for Plain {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn line(&self, index: usize) -> Option<Cow<'_, Line>> {
            self.0.get(index).map(Cow::Borrowed)
        }
    }

    fn plain(lines: &[&str]) -> Plain {
        Plain(lines.iter().map(|text| Line { text: (*text).into(), ..Line::default() }).collect())
    }

    fn press(pager: &mut Pager, text: &Plain, keys: &str) {
        for key in keys.split_whitespace() {
            let code = match key {
                "PgUp" => KeyCode::PageUp,
                "PgDn" => KeyCode::PageDown,
                "Home" => KeyCode::Home,
                "End" => KeyCode::End,
                "k" => KeyCode::Up,
                "j" => KeyCode::Down,
                other => KeyCode::Char(other.chars().next().unwrap()),
            };
            pager.key(KeyEvent::new(code, KeyModifiers::NONE), text);
        }
    }

    /// Presses keys at the beginning of a text in 3 rows of 4 columns, and expects these rows.
    fn check(text: &[&str], keys: &str, expected: &[(usize, usize)]) {
        let text = plain(text);
        let mut pager = Pager::default();
        pager.fit(&text, 4, 3);
        press(&mut pager, &text, keys);
        assert_eq!(pager.visible(&text), expected, "{keys}");
    }

    #[test]
    fn keys_scroll_by_rows() {
        let text = ["one", "two and more", "three", "4", "5", "6"];
        check(&text, "", &[(0, 0), (1, 0), (1, 1)]);
        check(&text, "j j", &[(1, 1), (1, 2), (2, 0)]);
        check(&text, "j j k", &[(1, 0), (1, 1), (1, 2)]);
        check(&text, "PgDn", &[(1, 1), (1, 2), (2, 0)]);
        check(&text, "End", &[(3, 0), (4, 0), (5, 0)]);
        check(&text, "End k", &[(2, 1), (3, 0), (4, 0)]);
        check(&text, "End PgUp PgUp PgUp Home", &[(0, 0), (1, 0), (1, 1)]);
        check(&text, "w j", &[(1, 0), (2, 0), (3, 0)]);
        check(&["only"], "j j End", &[(0, 0)]);
        check(&[], "j End k", &[]);
    }

    #[test]
    fn the_end_is_followed_until_the_user_goes_up() {
        let mut text = plain(&["1", "2", "3", "4"]);
        let mut pager = Pager::following();
        pager.fit(&text, 4, 2);
        let add = |text: &mut Plain, pager: &mut Pager| {
            text.0.push(Line::default());
            pager.grown(text, 0);
            pager.top()
        };
        assert_eq!(add(&mut text, &mut pager), 3);
        press(&mut pager, &text, "k");
        assert!(!pager.follows());
        assert_eq!(add(&mut text, &mut pager), 2);
        press(&mut pager, &text, "PgDn PgDn PgDn");
        assert!(pager.follows());
        assert_eq!(add(&mut text, &mut pager), 5);
        pager.reveal(1, &text);
        assert_eq!((pager.top(), pager.follows()), (1, false));
    }

    #[test]
    fn hits_are_whole_characters() {
        assert_eq!(hits("Error: error", "error"), [(0, 5), (7, 12)]);
        assert_eq!(hits("Error: error", "Error"), [(0, 5)]);
        assert_eq!(hits("aaa", "aa"), [(0, 2)]);
        assert_eq!(hits("漢字", "字"), [(3, 6)]);
        assert_eq!(hits("abc", ""), []);
    }

    proptest! {
        /// Each row is as wide as it may be, and together they are the line.
        #[test]
        fn wrapped_rows_make_the_line(text in "[a-z漢é\u{301} ]{0,60}", width in 2usize..12) {
            let starts = breaks(&text, width);
            let rows: Vec<&str> = (0..starts.len())
                .map(|at| &text[starts[at]..starts.get(at + 1).copied().unwrap_or(text.len())])
                .collect();
            prop_assert_eq!(rows.concat(), text.as_str());
            prop_assert!(rows.iter().all(|row| row.chars().map(|c| c.width().unwrap_or(0)).sum::<usize>() <= width));
        }
    }
}
