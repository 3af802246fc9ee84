//! What one instruction added, changed and removed.

use crate::engine::EngineError;
use crate::layers::Diff;
use crate::layers::packages::changed_databases;
use crate::tui::keymap::{Action, key_of};
use crate::tui::text;
use crate::tui::theme::Look;
use crate::tui::widgets::browser::{Browser, error_words, words};
use crate::tui::widgets::packages::{self, Packages};
use crate::tui::widgets::tree::Flavour;
use crate::tui::widgets::{Answer, Outcome, Pane, Place, Query, Request, Slot};
use bstr::BString;
use crossterm::event::{KeyCode, KeyEvent, MouseEvent, MouseEventKind};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// Rows that a turn of the mouse's wheel moves by.
const WHEEL: isize = 3;
/// Rows from which on a line with the sums is shown under the tree.
const SUMS: u16 = 4;

#[derive(Debug)]
pub struct Layer {
    /// What it is to be about, and what the tree on show is about: the answer comes later.
    wanted: Place,
    shown: Place,
    browser: Browser,
    /// A path to go to when the layer is there.
    goal: Option<BString>,
    /// What became of the installed packages, once that is known and anything did.
    packages: Option<Installed>,
    /// Whether that is being found out.
    asked: bool,
    /// Whether they are on show instead of the files.
    listed: bool,
}

#[derive(Debug)]
struct Installed {
    sentence: String,
    list: Packages,
}

impl Default for Layer {
    fn default() -> Layer {
        let browser = Browser::new(Slot::Layer, Flavour::Changes);
        Layer {
            wanted: Place::default(),
            shown: Place::default(),
            browser,
            goal: None,
            packages: None,
            asked: false,
            listed: false,
        }
    }
}

impl Layer {
    /// The selected path.
    pub fn selected(&self) -> Option<BString> {
        self.browser.selection()
    }

    /// The list of packages, while it is on show.
    fn list(&mut self) -> Option<&mut Packages> {
        let listed = self.listed;
        self.packages.as_mut().map(|it| &mut it.list).filter(|_| listed)
    }

    /// What is said below the tree, or the list: in one line where there is room, or else with the packages in a second.
    fn foot(&self, area: Rect, bullet: &str) -> Vec<String> {
        let Some(diff) = self.browser.diff() else { return Vec::new() };
        let sums = sums(diff);
        let installed = self.packages.as_ref().map(|it| it.sentence.clone());
        if let Some(installed) = installed.as_ref().filter(|_| self.listed) {
            return vec![format!("{installed}{bullet}P shows the files")];
        }
        let may_be_two = installed.is_some() && area.height >= 2 * SUMS;
        let more = installed.into_iter().chain(self.browser.tree.state()).collect::<Vec<_>>().join(bullet);
        let parts: Vec<String> = [sums, more].into_iter().filter(|part| !part.is_empty()).collect();
        let line = parts.join(bullet);
        match may_be_two && text::width(&line) > usize::from(area.width) {
            true => parts,
            false => vec![line],
        }
    }

    /// Asks for packages if the layer on show writes a database of them.
    fn ask_for_packages(&self, query: &Query) -> Vec<Request> {
        let (Query::Diff { before, after }, Some(diff)) = (query, self.browser.diff()) else { return Vec::new() };
        let databases = changed_databases(diff);
        if databases.is_empty() {
            return Vec::new();
        }
        let query = Query::Packages { before: before.clone(), after: after.clone(), databases };
        vec![Request::Load(Slot::Packages, query)]
    }

    /// Selects a path of the layer that is asked for next, or of the one on show.
    pub fn reveal(&mut self, path: BString) {
        self.goal = Some(path);
    }
}

impl Pane for Layer {
    fn title(&self) -> String {
        match self.shown.step {
            Some(step) => format!("{} · {}", step.index, text::sanitise(&self.shown.text)),
            None => text::sanitise(&self.shown.text).into_owned(),
        }
    }

    fn show(&mut self, place: &Place) -> Vec<Request> {
        self.wanted = place.clone();
        match query(place) {
            Some(query) => {
                let requests = self.browser.ask(query);
                if self.browser.is_current() || self.browser.diff().is_none() {
                    self.shown = place.clone();
                }
                requests
            }
            None => {
                self.browser.clear();
                self.packages = None;
                self.asked = false;
                self.shown = place.clone();
                Vec::new()
            }
        }
    }

    fn wants(&mut self) -> Vec<Request> {
        if let Some(path) = self.goal.take_if(|_| self.browser.is_current()) {
            self.browser.tree.select_path(path.as_ref());
        }
        self.browser.wants()
    }

    fn key(&mut self, key: KeyEvent) -> Outcome {
        if key.code == KeyCode::Char('P') {
            if self.packages.is_none() {
                let none = match self.asked || (self.wanted.after.is_some() && !self.browser.is_current()) {
                    true => "which packages were installed here is being read",
                    false => "no package was installed or taken out here",
                };
                return Outcome::Effect(Request::Say(none.to_owned()));
            }
            self.listed = !self.listed;
            return Outcome::Consumed;
        }
        let Some(list) = self.list() else { return self.browser.key(key) };
        if key.code == KeyCode::Esc {
            self.listed = false;
            return Outcome::Consumed;
        }
        match list.key(key) {
            true => Outcome::Consumed,
            // What is about a file is about one that is not seen.
            false => Outcome::Ignored,
        }
    }

    fn mouse(&mut self, event: MouseEvent, area: Rect) -> Outcome {
        if let Some(list) = self.list() {
            match event.kind {
                MouseEventKind::ScrollUp => list.scroll(-WHEEL),
                MouseEventKind::ScrollDown => list.scroll(WHEEL),
                _ => return Outcome::Ignored,
            }
            return Outcome::Consumed;
        }
        let foot = self.foot(area, " · ").len();
        self.browser.mouse(event, split(area, &self.shown.why, foot).tree)
    }

    fn loaded(&mut self, query: &Query, answer: Result<Answer, EngineError>) -> Vec<Request> {
        if let Query::Packages { after, .. } = query {
            let is_this = self.shown.after.as_ref() == Some(after);
            self.asked &= !is_this;
            if is_this
                && let Ok(Answer::Packages(changes)) = answer
                && !changes.is_empty()
            {
                let sentence = packages::sentence(&changes);
                self.packages = Some(Installed { sentence, list: Packages::new(&changes) });
            }
            return Vec::new();
        }
        if matches!(query, Query::Hits { .. }) {
            return self.browser.found(query, answer);
        }
        let keep = self.shown.step == self.wanted.step;
        if self.browser.loaded(query, answer, keep) {
            self.shown = self.wanted.clone();
            self.packages = None;
            let requests = self.ask_for_packages(query);
            self.asked = !requests.is_empty();
            return requests;
        }
        Vec::new()
    }

    fn selected_path(&self) -> Option<BString> {
        self.browser.selected()
    }

    fn find(&mut self, text: &str) -> usize {
        match self.list() {
            Some(list) => list.find(text),
            None => self.browser.find(text),
        }
    }

    fn seek(&mut self, text: &str) -> usize {
        match self.list() {
            Some(list) => list.find(text),
            None => self.browser.seek(text),
        }
    }

    fn give_up(&mut self) {
        match self.list() {
            Some(list) => drop(list.find("")),
            None => self.browser.give_up(),
        }
    }

    fn is_searching(&self) -> bool {
        self.browser.is_searching()
    }

    fn find_next(&mut self, forward: bool) {
        match self.list() {
            Some(list) => list.find_next(forward),
            None => self.browser.tree.find_next(forward),
        }
    }

    fn render(&mut self, area: Rect, buffer: &mut Buffer, look: &Look, focused: bool) {
        if let Some(error) = &self.browser.error {
            return words(&error_words(error), area, buffer, look);
        }
        match self.browser.diff().cloned() {
            Some(diff) if !diff.is_empty() => {
                let foot = self.foot(area, look.signs.bullet);
                let Split { tree, why, sums: line } = split(area, &self.shown.why, foot.len());
                match self.list() {
                    Some(list) => list.render(tree, buffer, look),
                    None => self.browser.tree.render(tree, buffer, look, focused),
                }
                if why.height > 0 {
                    let text = text::sanitise(&not_cached(&self.shown.why)).into_owned();
                    buffer.set_stringn(why.x, why.y, text, usize::from(why.width), look.muted);
                }
                for (sums, y) in foot.iter().zip(line.y..line.bottom()) {
                    let sums = text::clip(sums, usize::from(line.width), look.signs.ellipsis);
                    buffer.set_stringn(line.x, y, sums, usize::from(line.width), look.muted);
                }
            }
            Some(_) if self.shown.compared => words(&[NO_DIFFERENCE.to_owned()], area, buffer, look),
            Some(_) => words(&with_why(nothing_changed(&self.shown.text), &self.shown.why), area, buffer, look),
            None => words(&with_why(without_tree(&self.shown), &self.shown.why), area, buffer, look),
        }
    }
}

fn query(place: &Place) -> Option<Query> {
    let after = place.after.clone()?;
    (place.before.as_ref() != Some(&after)).then(|| Query::Diff { before: place.before.clone(), after })
}

struct Split {
    tree: Rect,
    why: Rect,
    sums: Rect,
}

/// The tree, the line that says why the instruction was not cached, and those with the sums. The lines are empty if
/// there is no room, or nothing to say.
fn split(area: Rect, why: &[String], sums: usize) -> Split {
    let sums = if area.height >= SUMS { sums as u16 } else { 0 };
    let why = u16::from(area.height > SUMS && !why.is_empty());
    let tree = Rect { height: area.height - sums - why, ..area };
    let line = |y, height| Rect { y, height, width: if height > 0 { area.width } else { 0 }, ..area };
    Split { tree, why: line(tree.bottom(), why), sums: line(tree.bottom() + why, sums) }
}

fn not_cached(why: &[String]) -> String {
    format!("not cached: {}", why.join("; "))
}

fn with_why(words: String, why: &[String]) -> Vec<String> {
    let why = (!why.is_empty()).then(|| text::sanitise(&not_cached(why)).into_owned());
    std::iter::once(words).chain(why).collect()
}

/// `3 added · 1 changed · 2 removed · +79.8 MB -5.0 kB`.
pub(crate) fn sums(diff: &Diff) -> String {
    let counts = [(diff.added, "added"), (diff.modified, "changed"), (diff.removed, "removed")];
    let counts = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let (added, removed) = (diff.added_bytes(Diff::ROOT), diff.removed_bytes(Diff::ROOT));
    let signed = [(added, '+'), (removed, '-')];
    let bytes =
        signed.iter().filter(|(bytes, _)| *bytes > 0).map(|(bytes, sign)| format!("{sign}{}", text::size(*bytes)));
    let bytes = bytes.collect::<Vec<_>>().join(" ");
    counts.chain(Some(bytes).filter(|it| !it.is_empty())).collect::<Vec<_>>().join(", ")
}

/// Why there is no layer to show.
fn without_tree(place: &Place) -> String {
    let (keyword, _) = place.text.split_once(char::is_whitespace).unwrap_or((&place.text, ""));
    let keyword = text::sanitise(keyword);
    match place.step {
        _ if !place.instead.is_empty() => place.instead.clone(),
        None => format!("Nothing has run yet: {} runs the first instruction.", key_of(Action::StepOver)),
        Some(_) if place.running => {
            format!(
                "{keyword} runs: its changes come when it is done, {} shows all its output.",
                key_of(Action::Focus(5))
            )
        }
        Some(_) if place.failed => format!("{keyword} failed, and left no file system."),
        Some(_) if place.after.is_none() => format!("{keyword} has not run yet."),
        Some(_) if place.before == place.after && place.compared => NO_DIFFERENCE.to_owned(),
        Some(_) if place.before == place.after => nothing_changed(&place.text),
        Some(_) => String::new(),
    }
}

const NO_DIFFERENCE: &str = "Nothing differs from the point that this is compared with.";

/// What an instruction that changed no file is for.
fn nothing_changed(instruction: &str) -> String {
    let (keyword, rest) = instruction.split_once(char::is_whitespace).unwrap_or((instruction, ""));
    let keyword = text::sanitise(keyword).to_uppercase();
    let rest = text::sanitise(rest.trim()).into_owned();
    let list = |names: Vec<String>| match names.as_slice() {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    };
    let purpose = match keyword.as_str() {
        "RUN" => return "RUN changed no files.".to_owned(),
        "COPY" | "ADD" => {
            return format!("{keyword} changed no files: everything was there already, and the same.");
        }
        "WORKDIR" => return format!("WORKDIR changed no files: {rest} was there, and is where what follows runs."),
        "FROM" if rest.split_whitespace().next() == Some("scratch") => {
            return "FROM scratch begins with an empty file system.".to_owned();
        }
        "FROM" => return "FROM begins with what its base has, and that is no files.".to_owned(),
        "ENV" => format!("it sets {} for what follows", list(names(&rest, true))),
        "ARG" => format!("it declares {} for what follows", list(names(&rest, false))),
        "LABEL" => format!("it labels the image with {}", list(names(&rest, true))),
        "USER" => format!("what follows runs as {rest}"),
        "CMD" => "it is what a container runs if nothing else is asked for".to_owned(),
        "ENTRYPOINT" => "it is what a container of this image runs".to_owned(),
        "EXPOSE" => format!("it notes that the image listens on {rest}"),
        "VOLUME" => format!("a container keeps {rest} apart from the image"),
        "STOPSIGNAL" => format!("{rest} is what stops a container"),
        "HEALTHCHECK" => "it is how a container's health is checked".to_owned(),
        "SHELL" => "it is the shell that runs what follows".to_owned(),
        "ONBUILD" => "it waits for a build that begins with this image".to_owned(),
        "MAINTAINER" => "it names who looks after the image".to_owned(),
        _ => return format!("{keyword} changed no files."),
    };
    format!("{keyword} changes no files: {purpose}.")
}

/// The names that an instruction of `NAME=value` pairs sets; without `=`, the first word is the only one if
/// values are needed, and each is a name if not.
fn names(arguments: &str, needs_value: bool) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quote, mut escaped) = (None, false);
    for c in arguments.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if Some(c) == quote => quote = None,
            '"' | '\'' if quote.is_none() => quote = Some(c),
            c if c.is_whitespace() && quote.is_none() => {
                words.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    words.retain(|word| !word.is_empty());
    if needs_value && words.first().is_some_and(|word| !word.contains('=')) {
        words.truncate(1);
    }
    let name = |word: &String| word.split('=').next().unwrap_or_default().trim_matches(['"', '\'']).to_owned();
    words.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::packages::{Manager, Package, changes};
    use crate::plan::{StageId, StepId};
    use crate::snapshot::SnapshotId;
    use crate::tui::theme::{Depth, Theme};
    use crate::tui::widgets::tree::sample;
    use crossterm::event::KeyModifiers;
    use std::sync::Arc;

    fn check_words(instruction: &str, expected: &str) {
        assert_eq!(nothing_changed(instruction), expected);
    }

    #[test]
    fn says_what_is_for_nothing_in_the_file_system() {
        check_words("ENV GOFLAGS=-mod=mod", "ENV changes no files: it sets GOFLAGS for what follows.");
        check_words("ENV A=1 B=\"x y=z\" C='d'", "ENV changes no files: it sets A, B and C for what follows.");
        check_words("env NODE_X some value=1", "ENV changes no files: it sets NODE_X for what follows.");
        check_words("ARG GO=1.23 OTHER", "ARG changes no files: it declares GO and OTHER for what follows.");
        check_words("USER nobody", "USER changes no files: what follows runs as nobody.");
        check_words("WORKDIR /src", "WORKDIR changed no files: /src was there, and is where what follows runs.");
        check_words("RUN true", "RUN changed no files.");
        check_words("FROM scratch AS x", "FROM scratch begins with an empty file system.");
        check_words("LABEL \"a b\"=c", "LABEL changes no files: it labels the image with a b.");
        check_words("USER a\u{1b}[31m", "USER changes no files: what follows runs as a^[[31m.");
        check_words("", " changed no files.");
    }

    fn place(index: u32, text: &str) -> Place {
        let snapshot = |index: u32| SnapshotId(index.to_string());
        Place {
            step: Some(StepId { stage: StageId(0), index }),
            text: text.to_owned(),
            before: index.checked_sub(1).map(snapshot),
            after: Some(snapshot(index)),
            ..Place::default()
        }
    }

    fn drawn(pane: &mut Layer) -> String {
        let area = Rect::new(0, 0, 60, 8);
        let mut buffer = Buffer::empty(area);
        pane.render(area, &mut buffer, &Look::new(&Theme::dark(), Depth::None, false), false);
        let line = |y| (0..60).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..8).map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn packages_that_are_not_known_yet_are_not_none() {
        let key = KeyEvent::new(KeyCode::Char('P'), KeyModifiers::NONE);
        let check = |pane: &mut Layer, expected: &str| match pane.key(key) {
            Outcome::Effect(Request::Say(said)) => assert!(said.starts_with(expected), "{said}"),
            other => panic!("{other:?}"),
        };
        let mut pane = Layer::default();
        check(&mut pane, "no package");
        let [Request::Load(Slot::Layer, query)] = &pane.show(&place(6, "RUN true"))[..] else { panic!() };
        check(&mut pane, "which packages were installed here is being read");
        pane.loaded(query, Ok(Answer::Diff(Arc::new(sample::diff()))));
        check(&mut pane, "no package");
    }

    #[test]
    fn packages_are_told_in_full() {
        let mut pane = Layer::default();
        let [Request::Load(Slot::Layer, query)] = &pane.show(&place(6, "RUN apk add x"))[..] else { panic!() };
        pane.loaded(query, Ok(Answer::Diff(Arc::new(sample::diff()))));
        let (name, version) = ("x".to_owned(), "1".to_owned());
        let x = Package { manager: Manager::Apk, name, architecture: String::new(), version, size: 2_000_000 };
        let query = Query::Packages { before: None, after: SnapshotId("6".to_owned()), databases: Vec::new() };
        pane.loaded(&query, Ok(Answer::Packages(changes(&[], &[x]).into())));
        let foot = |pane: &Layer, width, height| pane.foot(Rect::new(0, 0, width, height), " · ");
        let (sums, packages) = (sums(&sample::diff()), "1 package added, 2.0 MB");
        let in_one = vec![format!("{sums} · {packages}")];
        assert_eq!(foot(&pane, 200, 20), in_one);
        assert_eq!(foot(&pane, 60, 20), [sums, packages.to_owned()]);
        // Of few rows the tree has more need.
        assert_eq!(foot(&pane, 60, 7), in_one);
        let press = |pane: &mut Layer, code| pane.key(KeyEvent::new(code, KeyModifiers::NONE));
        assert_eq!(press(&mut pane, KeyCode::Char('P')), Outcome::Consumed);
        assert_eq!(foot(&pane, 60, 20), [format!("{packages} · P shows the files")]);
        assert_eq!(press(&mut pane, KeyCode::Esc), Outcome::Consumed);
        assert_eq!(foot(&pane, 200, 20), in_one);
        assert_eq!(press(&mut pane, KeyCode::Esc), Outcome::Ignored);
    }

    #[test]
    fn says_what_kept_it_from_being_cached() {
        let mut at = place(6, "RUN go mod download");
        at.why = vec!["user was \"root\" and is \"a\u{1b}\"".to_owned(), "the content has changed".to_owned()];
        let mut pane = Layer::default();
        let [Request::Load(Slot::Layer, query)] = &pane.show(&at)[..] else { panic!() };
        pane.loaded(query, Ok(Answer::Diff(Arc::new(sample::diff()))));
        insta::assert_snapshot!(drawn(&mut pane));
        at.after = at.before.clone();
        pane.show(&at);
        insta::assert_snapshot!(drawn(&mut pane));
    }

    #[test]
    fn the_old_layer_stays_until_the_new_one_is_there() {
        let mut pane = Layer::default();
        let [Request::Load(Slot::Layer, first)] = &pane.show(&place(6, "RUN go mod download"))[..] else { panic!() };
        assert_eq!(pane.show(&place(6, "RUN go mod download")), []);
        pane.loaded(first, Ok(Answer::Diff(Arc::new(sample::diff()))));
        insta::assert_snapshot!(drawn(&mut pane));
        let [Request::Load(Slot::Layer, second)] = &pane.show(&place(7, "COPY . ."))[..] else { panic!() };
        assert_eq!(pane.title(), "6 · RUN go mod download");
        assert_eq!(pane.loaded(first, Ok(Answer::Diff(Arc::new(sample::diff())))), []);
        assert_eq!(pane.title(), "6 · RUN go mod download");
        let error = EngineError::new("the layer is gone").with_help("run it again");
        pane.loaded(second, Err(error));
        assert_eq!(pane.title(), "7 · COPY . .");
        assert_eq!(drawn(&mut pane).trim_end(), " the layer is gone\n run it again");
    }

    #[test]
    fn says_why_there_is_no_layer() {
        let said = |place: &Place| {
            let mut pane = Layer::default();
            assert_eq!(pane.show(place), []);
            drawn(&mut pane).trim().replace('\n', "")
        };
        assert_eq!(said(&Place::default()), "Nothing has run yet: n runs the first instruction.");
        let mut at = place(3, "RUN make");
        at.after = at.before.clone();
        assert_eq!(said(&at), "RUN changed no files.");
        at.after = None;
        assert_eq!(said(&at), "RUN has not run yet.");
        at.running = true;
        assert_eq!(said(&at), "RUN runs: its changes come when it is done, 5 shows all its output.");
        at.running = false;
        at.failed = true;
        assert_eq!(said(&at), "RUN failed, and left no file system.");
    }
}
