//! A tree with what can be done with its paths, and with the question whose answer it waits for.

use super::tree::{Flavour, Reaction, Tree};
use super::{Answer, Outcome, Query, Request, Same, Slot};
use crate::engine::EngineError;
use crate::layers::{Change, Diff, DiffId, Pattern};
use crate::snapshot::SnapshotId;
use crate::tui::text;
use crate::tui::theme::Look;
use bstr::BString;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseEvent};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use std::sync::Arc;

#[derive(Debug)]
pub struct Browser {
    pub tree: Tree,
    /// As it was before a search whose text is still being typed.
    origin: Option<Tree>,
    slot: Slot,
    /// The file systems of the tree on show. One that is not kept has no name.
    before: Option<SnapshotId>,
    after: Option<SnapshotId>,
    /// The question that is open, and the one whose answer is on show.
    asked: Option<Query>,
    shown: Option<Query>,
    /// The question for hits that is open, and the text that the user waits for.
    seeking: Option<Query>,
    needle: Option<String>,
    pub error: Option<EngineError>,
}

impl Browser {
    pub fn new(slot: Slot, flavour: Flavour) -> Browser {
        let tree = Tree::new(flavour);
        Browser {
            tree,
            origin: None,
            slot,
            before: None,
            after: None,
            asked: None,
            shown: None,
            seeking: None,
            needle: None,
            error: None,
        }
    }

    /// Asks unless that is on show or on its way.
    pub fn ask(&mut self, query: Query) -> Vec<Request> {
        if self.asked.as_ref() == Some(&query) {
            return Vec::new();
        }
        if self.asked.is_none() && self.shown.as_ref() == Some(&query) && self.error.is_none() {
            return Vec::new();
        }
        self.asked = Some(query.clone());
        vec![Request::Load(self.slot, query)]
    }

    /// Whether it shows the answer to its last question.
    pub fn is_current(&self) -> bool {
        self.asked.is_none()
    }

    /// Shows nothing, and drops an answer that is on its way.
    pub fn clear(&mut self) {
        self.tree.clear();
        self.origin = None;
        self.asked = None;
        self.shown = None;
        self.needle = None;
        self.error = None;
    }

    /// Whether the user waits for what a search finds.
    pub fn is_searching(&self) -> bool {
        self.needle.is_some()
    }

    /// Asks for what is looked for in the tree on show.
    pub fn wants(&mut self) -> Vec<Request> {
        let Some(query) = self.sought().filter(|query| self.seeking.as_ref() != Some(query)) else { return Vec::new() };
        self.seeking = Some(query.clone());
        vec![Request::Load(self.slot.of_hits(), query)]
    }

    fn sought(&self) -> Option<Query> {
        let (diff, pattern) = self.tree.sought()?;
        Some(Query::Hits { of: Same(diff.clone()), pattern: pattern.clone() })
    }

    /// Takes the answer to [`Query::Hits`]; one to an earlier question is dropped.
    pub fn found(&mut self, query: &Query, answer: Result<Answer, EngineError>) -> Vec<Request> {
        self.seeking.take_if(|seeking| seeking == query);
        if self.sought().as_ref() != Some(query) {
            return Vec::new();
        }
        let needle = self.needle.take();
        if needle.is_some() {
            let pattern = self.tree.pattern().cloned();
            self.begin_again();
            self.tree.look_for(pattern);
        }
        let (found, failure) = match answer {
            Ok(Answer::Hits(found)) => (found, None),
            Ok(_) => (Vec::new(), None),
            Err(error) => (Vec::new(), Some(Request::Say(error.message))),
        };
        let hits = self.tree.take_found(found, needle.is_some());
        failure.or(needle.map(|needle| Request::Found { needle, hits })).into_iter().collect()
    }

    /// Takes the answer to the open question; any other is dropped. With `keep`, what is open stays open.
    pub fn loaded(&mut self, query: &Query, answer: Result<Answer, EngineError>, keep: bool) -> bool {
        if self.asked.as_ref() != Some(query) {
            return false;
        }
        self.asked = None;
        self.origin = None;
        match answer {
            Ok(Answer::Diff(diff)) => {
                (self.before, self.after) = match query {
                    Query::Diff { before, after } | Query::Files { before, after } => {
                        (before.clone(), Some(after.clone()))
                    }
                    Query::Scratch { at, .. } => (Some(at.clone()), None),
                    _ => (None, None),
                };
                self.error = None;
                self.shown = Some(query.clone());
                self.tree.set(diff, keep);
            }
            Ok(_) => return false,
            Err(error) => {
                self.tree.clear();
                self.needle = None;
                self.shown = None;
                self.error = Some(error);
            }
        }
        true
    }

    pub fn diff(&self) -> Option<&Arc<Diff>> {
        self.tree.diff()
    }

    /// Marks what contains the text and goes to the first of it. How many there are, as far as that is known at once: a
    /// search goes over all names, which may take longer than a key should.
    pub fn find(&mut self, text: &str) -> usize {
        // What the first letters have opened does not stay open if what there is of all of them is still to come.
        if self.is_searching() {
            self.begin_again();
        }
        self.origin = None;
        self.look_for(text)
    }

    /// The same while the text is still being typed: each time from where the tree was at first, so that nothing stays
    /// open that was opened for the first letters.
    pub fn seek(&mut self, text: &str) -> usize {
        self.origin.get_or_insert_with(|| self.tree.clone());
        if text.is_empty() {
            self.begin_again();
        }
        self.look_for(text)
    }

    /// Shows the tree as it was before the text was typed.
    pub fn give_up(&mut self) {
        self.begin_again();
        self.origin = None;
        self.needle = None;
    }

    fn begin_again(&mut self) {
        if let Some(origin) = &self.origin {
            self.tree = origin.clone();
        }
    }

    fn look_for(&mut self, text: &str) -> usize {
        let hits = self.tree.look_for(Pattern::new(text));
        self.needle = self.tree.sought().map(|_| text.to_owned());
        hits
    }

    pub fn key(&mut self, key: KeyEvent) -> Outcome {
        let plain = !key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
        match (key.code, self.tree.selected()) {
            (KeyCode::Char('x'), Some(id)) if plain => self.extract(id),
            (KeyCode::Char('y'), Some(id)) if plain => Outcome::Effect(Request::Copy(self.path_in_words(id))),
            _ => {
                let reaction = self.tree.key(key);
                self.react(reaction)
            }
        }
    }

    pub fn mouse(&mut self, event: MouseEvent, area: Rect) -> Outcome {
        let reaction = self.tree.mouse(event, area);
        self.react(reaction)
    }

    /// The path of the selection, if the file system after has it.
    pub fn selected(&self) -> Option<BString> {
        let (diff, id) = (self.diff()?, self.tree.selected()?);
        diff.after(id).map(|_| diff.path(id))
    }

    /// The path of the selection, also of one that was removed.
    pub fn selection(&self) -> Option<BString> {
        Some(self.diff()?.path(self.tree.selected()?))
    }

    /// The path of the selection, as it can be shown.
    pub fn selected_path(&self) -> String {
        let id = self.tree.selected();
        id.map(|id| text::sanitise(&self.path_in_words(id)).into_owned()).unwrap_or_default()
    }

    fn path_in_words(&self, id: DiffId) -> String {
        self.diff().map(|diff| format!("/{}", diff.path(id))).unwrap_or_default()
    }

    fn react(&mut self, reaction: Reaction) -> Outcome {
        match reaction {
            Reaction::Ignored => Outcome::Ignored,
            Reaction::Consumed => Outcome::Consumed,
            Reaction::Open(id) => self.open(id),
        }
    }

    fn open(&self, id: DiffId) -> Outcome {
        let Some(diff) = self.diff() else { return Outcome::Consumed };
        let Some(at) = self.home(diff, id) else { return thrown_away() };
        let before = match diff.change(id) {
            Change::Modified => self.before.clone().filter(|before| *before != at),
            _ => None,
        };
        let meta = match before.is_some() || Some(&at) == self.after.as_ref() {
            true => diff.meta(id),
            false => diff.before(id).unwrap_or_else(|| diff.meta(id)),
        };
        let path = diff.path(id);
        Outcome::Effect(Request::OpenFile { at, path, before, meta: Box::new(meta.to_meta()) })
    }

    fn extract(&self, id: DiffId) -> Outcome {
        let Some(diff) = self.diff() else { return Outcome::Consumed };
        match self.home(diff, id) {
            Some(at) => Outcome::Effect(Request::Extract { at, path: diff.path(id) }),
            None => thrown_away(),
        }
    }

    /// The file system that has the path.
    fn home(&self, diff: &Diff, id: DiffId) -> Option<SnapshotId> {
        match (diff.change(id), &self.after) {
            (Change::Removed, _) => self.before.clone(),
            (_, Some(after)) => Some(after.clone()),
            // Of what a shell changed only the state before is kept.
            (Change::Modified | Change::Unchanged, None) => self.before.clone(),
            (Change::Added, None) => None,
        }
    }
}

fn thrown_away() -> Outcome {
    Outcome::Effect(Request::Say("this file was thrown away when the shell ended".to_owned()))
}

/// A few sentences in the place of a tree, wrapped and indented.
pub fn words(sentences: &[String], area: Rect, buffer: &mut Buffer, look: &Look) {
    let width = usize::from(area.width.saturating_sub(2)).max(1);
    let lines = sentences.iter().flat_map(|sentence| text::wrap(sentence, width));
    for (line, y) in lines.zip(area.y..area.bottom()) {
        buffer.set_stringn(area.x + 1.min(area.width), y, line, width, look.muted);
    }
}

/// The error that stands in the place of an answer, with what to do.
pub fn error_words(error: &EngineError) -> Vec<String> {
    let help = error.help.iter().map(|line| text::sanitise(line).into_owned());
    std::iter::once(text::sanitise(&error.message).into_owned()).chain(help).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::widgets::tree::sample;

    /// The directories that are open after this was typed, and accepted in the end; the answer to a text with a `?` has
    /// not come by then.
    fn check(typed: &[&str], expected: &[&str]) {
        let at = SnapshotId("layers 2".to_owned());
        let query = Query::Files { before: None, after: at };
        let mut browser = Browser::new(Slot::Files, Flavour::Files);
        browser.ask(query.clone());
        browser.loaded(&query, Ok(Answer::Diff(Arc::new(sample::diff()))), false);
        let answer = |browser: &mut Browser, requests: Vec<Request>| {
            for request in requests {
                let Request::Load(Slot::FilesHits, query @ Query::Hits { .. }) = request else { panic!("{request:?}") };
                let Query::Hits { of, pattern } = &query else { continue };
                browser.found(&query, Ok(Answer::Hits(of.0.find(pattern))));
            }
        };
        let mut asked = Vec::new();
        for text in typed {
            browser.seek(text.trim_end_matches('?'));
            asked = browser.wants();
            if !text.ends_with('?') {
                answer(&mut browser, std::mem::take(&mut asked));
            }
        }
        browser.find(typed.last().unwrap().trim_end_matches('?'));
        asked.extend(browser.wants());
        answer(&mut browser, asked);
        let area = Rect::new(0, 0, 40, 20);
        let mut buffer = Buffer::empty(area);
        let look = Look::new(&crate::tui::theme::Theme::dark(), crate::tui::theme::Depth::None, false);
        browser.tree.render(area, &mut buffer, &look, true);
        let rows = (0..area.height).map(|y| (0..20).map(|x| buffer[(x, y)].symbol()).collect::<String>());
        let open = rows.filter_map(|row| row.split_once("▾ ").map(|(_, name)| name.trim().to_owned()));
        assert_eq!(open.collect::<Vec<_>>(), expected, "{typed:?}");
    }

    #[test]
    fn nothing_stays_open_of_what_the_first_letters_found() {
        let above_upload = ["/root/", ".config/", "go/", "telemetry/"];
        check(&["group"], &["/etc/"]);
        check(&["u", "upload"], &above_upload);
        check(&["u", "upload?"], &above_upload);
        check(&["u", "under?"], &[]);
    }
}
