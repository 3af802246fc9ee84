//! What packages a step installed, took out and replaced, as a list and in a sentence.

use super::scroll;
use crate::layers::packages::{Package, PackageChanges};
use crate::tui::text;
use crate::tui::theme::Look;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// Columns of a size, with the space before it.
const SIZE: usize = 10;
/// Columns of a name where a version stands beside it.
const NAME: usize = 36;

#[derive(Debug, Default)]
pub struct Packages {
    rows: Vec<Row>,
    top: usize,
    page: usize,
    needle: String,
}

#[derive(Debug)]
struct Row {
    sign: Sign,
    name: String,
    version: String,
    bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Added,
    Changed,
    Removed,
}

/// `41 packages added, 212 MB; 2 replaced`; nothing if nothing changed.
pub fn sentence(changes: &PackageChanges) -> String {
    let counts =
        [(changes.added.len(), "added"), (changes.changed.len(), "replaced"), (changes.removed.len(), "taken out")];
    let mut words: Vec<String> = Vec::new();
    for (count, verb) in counts.into_iter().filter(|(count, _)| *count > 0) {
        let what = if words.is_empty() { text::count(count, "package") } else { count.to_string() };
        let bytes = changes.added_bytes();
        let size = if verb == "added" && bytes > 0 { format!(", {}", text::size(bytes)) } else { String::new() };
        words.push(format!("{what} {verb}{size}"));
    }
    words.join("; ")
}

impl Packages {
    pub fn new(changes: &PackageChanges) -> Packages {
        let version = |it: &Package| text::sanitise(&it.version).into_owned();
        let row = |sign: Sign, it: &Package, version: String, bytes: u64| {
            let name = format!("{} ({})", text::sanitise(&it.name), it.manager.name());
            Row { sign, name, version, bytes }
        };
        let added = changes.added.iter().map(|it| row(Sign::Added, it, version(it), it.size));
        let changed = changes
            .changed
            .iter()
            .map(|(old, new)| row(Sign::Changed, new, format!("{} from {}", version(new), version(old)), new.size));
        let removed = changes.removed.iter().map(|it| row(Sign::Removed, it, version(it), it.size));
        Packages { rows: added.chain(changed).chain(removed).collect(), ..Packages::default() }
    }

    /// Whether it took the key.
    pub fn key(&mut self, key: KeyEvent) -> bool {
        let page = self.page.max(2) as isize - 1;
        match key.code {
            _ if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => return false,
            KeyCode::Up => self.scroll(-1),
            KeyCode::Down => self.scroll(1),
            KeyCode::PageUp => self.scroll(-page),
            KeyCode::PageDown => self.scroll(page),
            KeyCode::Home => self.top = 0,
            KeyCode::End => self.scroll(isize::MAX),
            _ => return false,
        }
        true
    }

    pub fn scroll(&mut self, by: isize) {
        let last = self.rows.len().saturating_sub(self.page.max(1));
        self.top = self.top.saturating_add_signed(by).min(last);
    }

    pub fn find(&mut self, needle: &str) -> usize {
        self.needle = needle.to_lowercase();
        let hits = self.hits();
        if let Some(first) = hits.first() {
            self.top = *first;
        }
        hits.len()
    }

    pub fn find_next(&mut self, forward: bool) {
        self.top = scroll::next_hit(&self.hits(), self.top, Some(forward)).unwrap_or(self.top);
    }

    fn hits(&self) -> Vec<usize> {
        let holds = |row: &Row| !self.needle.is_empty() && row.name.to_lowercase().contains(&self.needle);
        (0..self.rows.len()).filter(|at| holds(&self.rows[*at])).collect()
    }

    pub fn render(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) {
        self.page = usize::from(area.height);
        let last = self.rows.len().saturating_sub(self.page);
        // A hit near the end is in sight, and not at the top.
        let top = self.top.min(last);
        let inner = scroll::bar(area, buffer, look, top, self.rows.len());
        let width = usize::from(inner.width);
        for (y, row) in (inner.y..inner.bottom()).zip(self.rows.iter().skip(top)) {
            let (letter, style) = row.sign.look(look);
            let size = format!("{:>SIZE$}", if row.bytes > 0 { text::size(row.bytes) } else { String::new() });
            let room = width.saturating_sub(2 + SIZE);
            let names = NAME.min(room * 3 / 5);
            let name = text::clip(&row.name, names, look.signs.ellipsis);
            let version = text::clip(&row.version, room.saturating_sub(names + 1), look.signs.ellipsis);
            let mut put = |column: usize, words: &str, style: Style| {
                let x = inner.x.saturating_add(column as u16);
                buffer.set_stringn(x, y, words, width.saturating_sub(column), style);
            };
            put(0, letter, style);
            put(2, &name, if row.sign == Sign::Removed { style } else { look.text });
            put(2 + names + 1, &version, look.muted);
            put(width.saturating_sub(SIZE), &size, look.text);
            let line = Rect { y, height: 1, ..inner };
            crate::tui::views::mark_hits(look, buffer, line, &self.needle);
        }
    }
}

impl Sign {
    fn look(self, look: &Look) -> (&'static str, Style) {
        match self {
            Sign::Added => ("A", look.added),
            Sign::Changed => ("M", look.changed),
            Sign::Removed => ("D", look.removed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::packages::{Manager, changes};
    use crate::tui::theme::{Depth, Theme};

    fn list(texts: &[&str]) -> Vec<Package> {
        let package = |text: &&str| {
            let mut words = text.split(' ');
            let mut word = || words.next().unwrap_or_default().to_owned();
            let (name, version) = (word(), word());
            Package { manager: Manager::Apk, name, architecture: String::new(), version, size: 1_500_000 }
        };
        texts.iter().map(package).collect()
    }

    #[track_caller]
    fn check(before: &[&str], after: &[&str], expected: &str) {
        assert_eq!(sentence(&changes(&list(before), &list(after))), expected);
    }

    #[test]
    fn sentences() {
        check(&[], &["a 1"], "1 package added, 1.5 MB");
        check(&["b 1", "c 1"], &["a 1", "b 2"], "1 package added, 1.5 MB; 1 replaced; 1 taken out");
        check(&["b 1", "c 1"], &["c 1"], "1 package taken out");
        check(&["b 1"], &["b 1"], "");
    }

    #[test]
    fn rows() {
        let mut packages = Packages::new(&changes(&list(&["b 1", "c 1"]), &list(&["a\u{1b} 1", "b 2"])));
        let area = Rect::new(0, 0, 50, 3);
        let mut buffer = Buffer::empty(area);
        packages.render(area, &mut buffer, &Look::new(&Theme::dark(), Depth::None, false));
        let line = |y| (0..50).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        assert_eq!(
            [0, 1, 2].map(line),
            [
                "A a^[ (apk)              1                  1.5 MB",
                "M b (apk)                2 from 1           1.5 MB",
                "D c (apk)                1                  1.5 MB",
            ]
        );
        assert_eq!((packages.find("b"), packages.top), (1, 1));
    }
}
