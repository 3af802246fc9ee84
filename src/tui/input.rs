//! A line of text being typed at the bottom of the screen.

use super::app::Note;
use super::text;
use crate::snapshot::SnapshotId;
use bstr::BString;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Longer lines are not taken.
const MOST: usize = 4096;

/// What the line is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    Command,
    Find,
    /// Where a file is to be written to.
    Extract {
        at: SnapshotId,
        path: BString,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    pub purpose: Purpose,
    pub text: String,
    /// In bytes, on a character's boundary.
    pub cursor: usize,
    /// What Tab offers, and which of it was taken last.
    pub offers: Vec<String>,
    pub offer: Option<usize>,
    /// How far back in the history, 0 for the line itself.
    pub back: usize,
    /// What has been found so far of what is typed, in words.
    pub found: String,
}

/// What a key did to the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typed {
    /// The text may have changed.
    Edited,
    Accepted,
    Given,
    /// Tab, or Shift-Tab.
    Complete {
        forward: bool,
    },
    Older,
    Newer,
}

impl Input {
    pub fn new(purpose: Purpose, text: String) -> Input {
        let cursor = text.len();
        Input { purpose, text, cursor, offers: Vec::new(), offer: None, back: 0, found: String::new() }
    }

    /// Asks where a file is to be written to: under its own name here, if nothing else is typed.
    pub fn extract(at: SnapshotId, path: BString) -> Input {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let name = text::sanitise_bytes(if name.is_empty() { b"root" } else { name }).into_owned();
        Input::new(Purpose::Extract { at, path }, format!("./{name}"))
    }

    pub fn prompt(&self) -> &'static str {
        match self.purpose {
            Purpose::Command => ":",
            Purpose::Find => "/",
            Purpose::Extract { .. } => "write to: ",
        }
    }

    pub fn key(&mut self, key: KeyEvent) -> Typed {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Enter => return Typed::Accepted,
            KeyCode::Esc => return Typed::Given,
            KeyCode::Char('c' | 'g') if control => return Typed::Given,
            KeyCode::Tab => return Typed::Complete { forward: true },
            KeyCode::BackTab => return Typed::Complete { forward: false },
            KeyCode::Up => return Typed::Older,
            KeyCode::Down => return Typed::Newer,
            KeyCode::Char('p') if control => return Typed::Older,
            KeyCode::Char('n') if control => return Typed::Newer,
            KeyCode::Backspace if self.text.is_empty() => return Typed::Given,
            KeyCode::Backspace => self.remove(self.before(), self.cursor),
            KeyCode::Char('h') if control => self.remove(self.before(), self.cursor),
            KeyCode::Delete => self.remove(self.cursor, self.after()),
            KeyCode::Char('d') if control => self.remove(self.cursor, self.after()),
            KeyCode::Char('u') if control => self.remove(0, self.cursor),
            KeyCode::Char('k') if control => self.remove(self.cursor, self.text.len()),
            KeyCode::Char('w') if control => self.remove(self.word(), self.cursor),
            KeyCode::Left => self.cursor = self.before(),
            KeyCode::Right => self.cursor = self.after(),
            KeyCode::Home => self.cursor = 0,
            KeyCode::Char('a') if control => self.cursor = 0,
            KeyCode::End => self.cursor = self.text.len(),
            KeyCode::Char('e') if control => self.cursor = self.text.len(),
            KeyCode::Char(c) if !control => self.insert(c.encode_utf8(&mut [0; 4])),
            _ => {}
        }
        self.offers.clear();
        self.offer = None;
        Typed::Edited
    }

    /// Takes what has come of a search for the text so far; while it goes on, what was found of a shorter one stands.
    pub fn take_found(&mut self, note: Option<Note>) {
        if note != Some(Note::searching()) {
            self.found = note.map(|note| note.text).unwrap_or_default();
        }
    }

    /// Takes pasted or typed text in; line ends and what a terminal would act on become spaces.
    pub fn insert(&mut self, text: &str) {
        let safe: String = text.chars().map(|c| if text::is_harmful(c) { ' ' } else { c }).collect();
        if self.text.len() + safe.len() <= MOST {
            self.text.insert_str(self.cursor, &safe);
            self.cursor += safe.len();
        }
    }

    pub fn set(&mut self, text: String) {
        self.cursor = text.len();
        self.text = text;
    }

    /// Replaces the line by the next offer; the last step before coming round again is nothing chosen.
    pub fn take_offer(&mut self, forward: bool) {
        let count = self.offers.len();
        if count == 0 {
            return;
        }
        let next = match (self.offer, forward) {
            (None, true) => 0,
            (None, false) => count - 1,
            (Some(at), true) => (at + 1) % count,
            (Some(at), false) => (at + count - 1) % count,
        };
        self.offer = Some(next);
        self.set(self.offers[next].clone());
    }

    fn before(&self) -> usize {
        self.text[..self.cursor].char_indices().next_back().map_or(0, |(at, _)| at)
    }

    fn after(&self) -> usize {
        self.text[self.cursor..].chars().next().map_or(self.cursor, |c| self.cursor + c.len_utf8())
    }

    fn word(&self) -> usize {
        let head = self.text[..self.cursor].trim_end();
        head.rfind(char::is_whitespace).map_or(0, |at| at + head[at..].chars().next().map_or(1, char::len_utf8))
    }

    fn remove(&mut self, from: usize, to: usize) {
        self.text.replace_range(from..to, "");
        self.cursor = from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: &[(KeyCode, KeyModifiers)], expected: &str) {
        let mut input = Input::new(Purpose::Command, "break büilder".to_owned());
        for (code, modifiers) in keys {
            input.key(KeyEvent::new(*code, *modifiers));
        }
        assert_eq!(format!("{}|{}", &input.text[..input.cursor], &input.text[input.cursor..]), expected);
    }

    #[test]
    fn edits_as_a_shell_does() {
        let plain = KeyModifiers::NONE;
        let control = KeyModifiers::CONTROL;
        check(&[(KeyCode::Char(':'), plain)], "break büilder:|");
        check(&[(KeyCode::Char('w'), control)], "break |");
        check(&[(KeyCode::Char('u'), control)], "|");
        check(&[(KeyCode::Home, plain), (KeyCode::Delete, plain)], "|reak büilder");
        let left = (KeyCode::Left, plain);
        check(&[left, left, left, left, left, left, (KeyCode::Backspace, plain)], "break |üilder");
        check(&[left, left, left, left, left, (KeyCode::Backspace, plain)], "break b|ilder");
        check(&[left, (KeyCode::Char('k'), control)], "break büilde|");
    }

    #[test]
    fn a_file_is_written_under_its_own_name() {
        let check = |path: &[u8], expected: &str| {
            let input = Input::extract(SnapshotId("0".to_owned()), path.into());
            assert_eq!(input.text, expected);
            assert!(!input.text.chars().any(text::is_harmful));
        };
        check(b"etc/passwd", "./passwd");
        check(b"", "./root");
        check(b"opt/evil\x1b[31mname", "./evil^[[31mname");
    }
}
