//! The whole file system at the cursor, with what the last instruction changed marked.

use crate::engine::EngineError;
use crate::tui::keymap::{Action, key_of};
use crate::tui::text;
use crate::tui::theme::Look;
use crate::tui::widgets::browser::{Browser, error_words, words};
use crate::tui::widgets::tree::Flavour;
use crate::tui::widgets::{Answer, Outcome, Pane, Place, Query, Request, Slot};
use bstr::BString;
use crossterm::event::{KeyEvent, MouseEvent};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// Rows from which on the selection's path is shown under the tree.
const PATH: u16 = 4;

#[derive(Debug)]
pub struct Files {
    wanted: Place,
    shown: Place,
    browser: Browser,
}

impl Default for Files {
    fn default() -> Files {
        let browser = Browser::new(Slot::Files, Flavour::Files);
        Files { wanted: Place::default(), shown: Place::default(), browser }
    }
}

impl Files {
    /// The selected path.
    pub fn selected(&self) -> Option<BString> {
        self.browser.selection()
    }
}

impl Pane for Files {
    fn title(&self) -> String {
        let word = if self.shown.after.is_some() { "after" } else { "before" };
        match self.shown.step {
            Some(_) => format!("{word} {}", text::sanitise(&self.shown.text)),
            None => text::sanitise(&self.shown.text).into_owned(),
        }
    }

    fn show(&mut self, place: &Place) -> Vec<Request> {
        self.wanted = place.clone();
        let requests = match query(place) {
            Some(query) => self.browser.ask(query),
            None => {
                self.browser.clear();
                Vec::new()
            }
        };
        if self.browser.is_current() || self.browser.diff().is_none() {
            self.shown = place.clone();
        }
        requests
    }

    fn key(&mut self, key: KeyEvent) -> Outcome {
        self.browser.key(key)
    }

    fn mouse(&mut self, event: MouseEvent, area: Rect) -> Outcome {
        self.browser.mouse(event, split(area).0)
    }

    fn wants(&mut self) -> Vec<Request> {
        self.browser.wants()
    }

    fn loaded(&mut self, query: &Query, answer: Result<Answer, EngineError>) -> Vec<Request> {
        if matches!(query, Query::Hits { .. }) {
            return self.browser.found(query, answer);
        }
        if self.browser.loaded(query, answer, true) {
            self.shown = self.wanted.clone();
        }
        Vec::new()
    }

    fn selected_path(&self) -> Option<BString> {
        self.browser.selected()
    }

    fn find(&mut self, text: &str) -> usize {
        self.browser.find(text)
    }

    fn seek(&mut self, text: &str) -> usize {
        self.browser.seek(text)
    }

    fn give_up(&mut self) {
        self.browser.give_up();
    }

    fn is_searching(&self) -> bool {
        self.browser.is_searching()
    }

    fn find_next(&mut self, forward: bool) {
        self.browser.tree.find_next(forward);
    }

    fn render(&mut self, area: Rect, buffer: &mut Buffer, look: &Look, focused: bool) {
        if let Some(error) = &self.browser.error {
            return words(&error_words(error), area, buffer, look);
        }
        match self.browser.diff() {
            Some(diff) if diff.len() > 1 => {
                let (tree, line) = split(area);
                self.browser.tree.render(tree, buffer, look, focused);
                let state = self.browser.tree.state().join(look.signs.bullet);
                let room = usize::from(line.width).saturating_sub(text::width(&state) + 1);
                let path = self.browser.selected_path();
                let path = text::clip_start(&path, room, look.signs.ellipsis);
                buffer.set_stringn(line.x, line.y, &path, room, look.muted);
                let x = line.right().saturating_sub(text::width(&state) as u16).max(line.x);
                buffer.set_stringn(x, line.y, &state, usize::from(line.right() - x), look.muted);
            }
            Some(_) => words(&["The file system is empty.".to_owned()], area, buffer, look),
            None => words(&[without_tree(&self.shown)], area, buffer, look),
        }
    }
}

/// The file system after the instruction, or the one before while there is none.
fn query(place: &Place) -> Option<Query> {
    let after = place.after.clone().or(place.before.clone())?;
    // Of a base everything would be new.
    let before = place.before.clone().unwrap_or(after.clone());
    Some(Query::Files { before: Some(before), after })
}

fn split(area: Rect) -> (Rect, Rect) {
    let line = u16::from(area.height >= PATH);
    let tree = Rect { height: area.height - line, ..area };
    (tree, Rect { y: tree.bottom(), height: line, width: area.width * line, ..area })
}

fn without_tree(place: &Place) -> String {
    match place.step {
        _ if !place.instead.is_empty() => place.instead.clone(),
        None => format!("There is no file system yet: {} runs the first instruction.", key_of(Action::StepOver)),
        Some(_) if place.running => "There is no file system before the stage's base is there.".to_owned(),
        Some(_) if place.after.is_none() && place.before.is_none() => "There is no file system here.".to_owned(),
        Some(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Diff, Scope};
    use crate::plan::{StageId, StepId};
    use crate::snapshot::SnapshotId;
    use crate::tui::theme::{Depth, Theme};
    use crate::tui::widgets::tree::sample;
    use crossterm::event::{KeyCode, KeyModifiers};
    use std::sync::Arc;

    fn snapshot(name: &str) -> Option<SnapshotId> {
        Some(SnapshotId(name.to_owned()))
    }

    fn place(before: Option<SnapshotId>, after: Option<SnapshotId>) -> Place {
        let step = Some(StepId { stage: StageId(0), index: 1 });
        Place { step, text: "RUN make".to_owned(), before, after, ..Place::default() }
    }

    fn check(place: &Place, expected: Option<(&str, &str)>) {
        let found = query(place).map(|query| match query {
            Query::Files { before, after } => (before.unwrap().0, after.0),
            other => panic!("{other:?}"),
        });
        assert_eq!(found, expected.map(|(before, after)| (before.to_owned(), after.to_owned())));
    }

    #[test]
    fn asks_for_the_file_system_there_is() {
        check(&place(None, None), None);
        check(&place(snapshot("a"), snapshot("b")), Some(("a", "b")));
        check(&place(snapshot("a"), None), Some(("a", "a")));
        check(&place(None, snapshot("b")), Some(("b", "b")));
    }

    fn pane() -> Files {
        let mut pane = Files::default();
        let [Request::Load(Slot::Files, query)] = &pane.show(&place(snapshot("a"), snapshot("b")))[..] else {
            panic!()
        };
        pane.loaded(query, Ok(Answer::Diff(Arc::new(Diff::above(&sample::stack(), 1, Scope::Everything)))));
        pane
    }

    fn press(pane: &mut Files, code: KeyCode) -> Outcome {
        pane.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    /// Searches, and expects so many hits when the answer is there.
    fn search(pane: &mut Files, text: &str, hits: usize) {
        assert_eq!((pane.find(text), pane.is_searching()), (0, true));
        let [Request::Load(Slot::FilesHits, query @ Query::Hits { of, pattern })] = &pane.wants()[..] else { panic!() };
        assert_eq!(pane.wants(), []);
        let found = pane.loaded(query, Ok(Answer::Hits(of.0.find(pattern))));
        assert_eq!(found, [Request::Found { needle: text.to_owned(), hits }]);
        assert!(!pane.is_searching());
    }

    #[test]
    fn opens_copies_and_extracts() {
        let mut pane = pane();
        assert_eq!(pane.title(), "after RUN make");
        press(&mut pane, KeyCode::Right);
        press(&mut pane, KeyCode::Down);
        let Outcome::Effect(Request::OpenFile { at, path, before, meta }) = press(&mut pane, KeyCode::Enter) else {
            panic!()
        };
        assert_eq!(
            (at, path.to_string(), before, meta.mode),
            (snapshot("b").unwrap(), "etc/group".to_owned(), snapshot("a"), 0o600)
        );
        assert_eq!(press(&mut pane, KeyCode::Char('y')), Outcome::Effect(Request::Copy("/etc/group".to_owned())));
        press(&mut pane, KeyCode::Down);
        let Outcome::Effect(Request::OpenFile { before: None, .. }) = press(&mut pane, KeyCode::Enter) else {
            panic!()
        };
        let expected = Request::Extract { at: snapshot("b").unwrap(), path: "etc/passwd".into() };
        assert_eq!(press(&mut pane, KeyCode::Char('x')), Outcome::Effect(expected));
        assert_eq!(press(&mut pane, KeyCode::Char('n')), Outcome::Ignored);
    }

    #[test]
    fn a_removed_file_is_read_where_it_was() {
        let mut pane = pane();
        press(&mut pane, KeyCode::Char('a'));
        search(&mut pane, "a.o", 1);
        let Outcome::Effect(Request::OpenFile { at, path, before, .. }) = press(&mut pane, KeyCode::Enter) else {
            panic!()
        };
        assert_eq!((at, path.to_string(), before), (snapshot("a").unwrap(), "tmp/go-build1/a.o".to_owned(), None));
    }

    #[test]
    fn the_selection_is_named_under_the_tree() {
        let mut pane = pane();
        press(&mut pane, KeyCode::Char('o'));
        let area = Rect::new(0, 0, 40, 5);
        let mut buffer = Buffer::empty(area);
        pane.render(area, &mut buffer, &Look::new(&Theme::dark(), Depth::None, true), true);
        let last: String = (0..40).map(|x| buffer[(x, 4)].symbol()).collect();
        assert_eq!(last, "/etc                             by size");
    }
}
