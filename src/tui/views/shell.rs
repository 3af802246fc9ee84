//! A shell in a container's file system: what it is and how to leave it, then the shell itself; at its end, what
//! it changed.

use super::layer::sums;
use super::mark_hits;
use crate::engine::{EngineError, ShellInput};
use crate::snapshot::SnapshotId;
use crate::tui::keymap::{Action, key_of};
use crate::tui::text;
use crate::tui::theme::Look;
use crate::tui::widgets::browser::{Browser, error_words, words};
use crate::tui::widgets::terminal::Terminal;
use crate::tui::widgets::tree::Flavour;
use crate::tui::widgets::{Answer, Outcome, Pane, Place, Query, Request, Same, ShellNews, Slot, encode};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseEvent, MouseEventKind};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// Rows that the wheel turns by.
const WHEEL: isize = 3;

#[derive(Debug)]
pub struct Shell {
    state: State,
    /// The place in words, and the file system there.
    where_: String,
    at: Option<SnapshotId>,
    /// Who is in the shell, where, and what it is.
    about: String,
    /// Its programs are this machine's.
    borrowed: bool,
    /// Columns and rows of the whole pane.
    size: (u16, u16),
    /// Whether keys are for the shell.
    typing: bool,
    /// What is searched for in the shell, in lower case, and the row of the hit that is shown.
    needle: String,
    hit: Option<usize>,
}

/// Bytes of keys that wait for a shell to open.
const TYPED_AHEAD: usize = 4096;

#[derive(Debug)]
enum State {
    /// None was opened yet.
    None,
    /// What was typed meanwhile is for the shell once it is there.
    Opening {
        typed: Vec<u8>,
    },
    Open(Terminal),
    Ended {
        code: i32,
        /// `None`: what it changed is not known.
        browser: Option<Browser>,
    },
    Failed(EngineError),
}

impl Default for Shell {
    fn default() -> Shell {
        Shell {
            state: State::None,
            where_: String::new(),
            at: None,
            about: String::new(),
            borrowed: false,
            size: (80, 24),
            typing: false,
            needle: String::new(),
            hit: None,
        }
    }
}

impl Shell {
    /// Whether there is one, or one is about to be.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Opening { .. } | State::Open(_))
    }

    /// Whether it has ended, and there is a list of what it has changed.
    pub fn shows_changes(&self) -> bool {
        let State::Ended { browser: Some(browser), .. } = &self.state else { return false };
        browser.diff().is_some_and(|diff| !diff.is_empty())
    }

    pub fn set_typing(&mut self, typing: bool) {
        self.typing = typing;
    }

    pub fn news(&mut self, news: ShellNews) -> Vec<Request> {
        match news {
            ShellNews::Opening { at, where_, .. } => {
                let (size, typing) = (self.size, self.typing);
                *self =
                    Shell { state: State::Opening { typed: Vec::new() }, where_, at, size, typing, ..Shell::default() };
                Vec::new()
            }
            ShellNews::Started { program, borrowed_tools, user, directory } => {
                let user = if user.is_empty() { "root".to_owned() } else { user };
                self.about = format!("{program} as {user} in {directory}");
                self.borrowed = borrowed_tools;
                let (columns, rows) = self.room();
                let opened = std::mem::replace(&mut self.state, State::Open(Terminal::new(columns, rows)));
                // The program was started before it was known what stands above it.
                let mut requests = vec![Request::Shell(ShellInput::Resize(columns, rows))];
                if let State::Opening { typed } = opened
                    && !typed.is_empty()
                {
                    requests.push(Request::Shell(ShellInput::Bytes(typed)));
                }
                requests
            }
            ShellNews::Output(bytes) => match &mut self.state {
                State::Open(terminal) => {
                    let answer = terminal.write(&bytes);
                    let input = (!answer.is_empty()).then_some(Request::Shell(ShellInput::Bytes(answer)));
                    input.into_iter().collect()
                }
                _ => Vec::new(),
            },
            ShellNews::Exited { code, changes } => {
                let mut browser = changes.is_some().then(|| Browser::new(Slot::Shell, Flavour::Changes));
                let query = self.at.clone().zip(changes);
                let query = query.map(|(at, changes)| Query::Scratch { at, changes: Same(changes) });
                let asked = browser.as_mut().zip(query).map(|(browser, query)| browser.ask(query));
                let requests = asked.unwrap_or_default();
                self.state = State::Ended { code, browser };
                requests
            }
            ShellNews::Failed(error) => {
                self.state = State::Failed(error);
                Vec::new()
            }
        }
    }

    /// Rows of the banner: both lines, if the shell has room enough beside them.
    fn banner(&self) -> u16 {
        match self.size.1 {
            0..=3 => 0,
            4..=5 => 1,
            _ => 2,
        }
    }

    /// Columns and rows of the shell itself.
    fn room(&self) -> (u16, u16) {
        (self.size.0.max(1), self.size.1.saturating_sub(self.banner()).max(1))
    }

    fn typed(&mut self, key: KeyEvent) -> Outcome {
        let (_, rows) = self.room();
        let terminal = match &mut self.state {
            State::Open(terminal) => terminal,
            State::Opening { typed } if self.typing => {
                let bytes = encode::key(key, false);
                if typed.len() + bytes.len() <= TYPED_AHEAD {
                    typed.extend(bytes);
                }
                return Outcome::Consumed;
            }
            _ => return Outcome::Ignored,
        };
        let page = (rows.max(2) - 1) as isize;
        let shift = key.modifiers == KeyModifiers::SHIFT;
        match key.code {
            KeyCode::PageUp if shift || !self.typing => terminal.scroll(page),
            KeyCode::PageDown if shift || !self.typing => terminal.scroll(-page),
            KeyCode::Up if !self.typing => terminal.scroll(1),
            KeyCode::Down if !self.typing => terminal.scroll(-1),
            KeyCode::Home if !self.typing => terminal.scroll(isize::MAX),
            KeyCode::End if !self.typing => terminal.scroll(isize::MIN),
            _ if !self.typing => return Outcome::Ignored,
            _ => {
                let bytes = encode::key(key, terminal.application_cursor());
                if bytes.is_empty() {
                    return Outcome::Consumed;
                }
                terminal.scroll(isize::MIN);
                (self.needle, self.hit) = (String::new(), None);
                return Outcome::Effect(Request::Shell(ShellInput::Bytes(bytes)));
            }
        }
        Outcome::Consumed
    }

    fn draw_banner(&self, area: Rect, buffer: &mut Buffer, look: &Look) {
        let bullet = look.signs.bullet;
        let width = usize::from(area.width);
        let borrowed = self.borrowed.then_some("this machine's tools: the image has no shell");
        // Who and where come first: the place is in the header too.
        let place = [self.about.as_str(), borrowed.unwrap_or_default(), self.where_.as_str()];
        let place = place.into_iter().filter(|it| !it.is_empty());
        let place = text::sanitise(&place.collect::<Vec<_>>().join(bullet)).into_owned();
        let open = format!("{} leaves it open", key_of(Action::LeaveShell));
        let mut notes = format!("changes are thrown away{bullet}exit or Ctrl-D ends it, {open}");
        if text::width(&notes) > width {
            notes = format!("exit throws changes away{bullet}{open}");
        }
        let lines = [(place, look.accent), (notes, look.muted)];
        for ((line, style), y) in lines.iter().zip(area.y..area.bottom()) {
            let line = text::clip(line, width, look.signs.ellipsis);
            buffer.set_stringn(area.x, y, line, width, *style);
        }
    }
}

impl Pane for Shell {
    fn title(&self) -> String {
        match &self.state {
            State::None => String::new(),
            State::Opening { .. } | State::Open(_) | State::Ended { .. } | State::Failed(_) => {
                text::sanitise(&self.where_).into_owned()
            }
        }
    }

    fn show(&mut self, _place: &Place) -> Vec<Request> {
        Vec::new()
    }

    fn resized(&mut self, columns: u16, rows: u16) -> Vec<Request> {
        self.size = (columns, rows);
        let (columns, rows) = self.room();
        match &mut self.state {
            State::Open(terminal) => {
                terminal.resize(columns, rows);
                vec![Request::Shell(ShellInput::Resize(columns, rows))]
            }
            _ => Vec::new(),
        }
    }

    fn key(&mut self, key: KeyEvent) -> Outcome {
        match &mut self.state {
            State::Ended { browser: Some(browser), .. } => browser.key(key),
            _ => self.typed(key),
        }
    }

    fn paste(&mut self, text: &str) -> Outcome {
        match &self.state {
            State::Open(terminal) => {
                let bytes = encode::paste(text, terminal.bracketed_paste());
                Outcome::Effect(Request::Shell(ShellInput::Bytes(bytes)))
            }
            _ => Outcome::Ignored,
        }
    }

    fn mouse(&mut self, event: MouseEvent, area: Rect) -> Outcome {
        match (&mut self.state, event.kind) {
            (State::Ended { browser: Some(browser), .. }, _) => browser.mouse(event, below_head(area)),
            (State::Open(terminal), MouseEventKind::ScrollUp | MouseEventKind::ScrollDown) => {
                let up = event.kind == MouseEventKind::ScrollUp;
                if terminal.alternate() {
                    // A pager or an editor has no lines that went by; it moves itself.
                    let code = if up { KeyCode::Up } else { KeyCode::Down };
                    let key = encode::key(KeyEvent::new(code, KeyModifiers::NONE), terminal.application_cursor());
                    let bytes = key.repeat(WHEEL as usize);
                    return Outcome::Effect(Request::Shell(ShellInput::Bytes(bytes)));
                }
                terminal.scroll(if up { WHEEL } else { -WHEEL });
                Outcome::Consumed
            }
            _ => Outcome::Ignored,
        }
    }

    fn loaded(&mut self, query: &Query, answer: Result<Answer, EngineError>) -> Vec<Request> {
        let State::Ended { browser: Some(browser), .. } = &mut self.state else { return Vec::new() };
        if matches!(query, Query::Hits { .. }) {
            return browser.found(query, answer);
        }
        browser.loaded(query, answer, false);
        Vec::new()
    }

    fn wants(&mut self) -> Vec<Request> {
        match &mut self.state {
            State::Ended { browser: Some(browser), .. } => browser.wants(),
            _ => Vec::new(),
        }
    }

    fn is_searching(&self) -> bool {
        matches!(&self.state, State::Ended { browser: Some(browser), .. } if browser.is_searching())
    }

    fn find(&mut self, text: &str) -> usize {
        match &mut self.state {
            State::Ended { browser: Some(browser), .. } => browser.find(text),
            State::Open(terminal) => {
                // What is looked for in a terminal has mostly just gone by: the last hit comes first.
                let hits = terminal.find(text);
                self.needle = text.to_lowercase();
                self.hit = hits.last().copied();
                if let Some(row) = self.hit {
                    terminal.bring(row);
                }
                hits.len()
            }
            _ => 0,
        }
    }

    fn seek(&mut self, text: &str) -> usize {
        match &mut self.state {
            State::Ended { browser: Some(browser), .. } => browser.seek(text),
            _ => self.find(text),
        }
    }

    fn give_up(&mut self) {
        match &mut self.state {
            State::Ended { browser: Some(browser), .. } => browser.give_up(),
            _ => drop(self.find("")),
        }
    }

    fn find_next(&mut self, forward: bool) {
        match &mut self.state {
            State::Ended { browser: Some(browser), .. } => browser.tree.find_next(forward),
            State::Open(terminal) => {
                let hits = terminal.find(&self.needle);
                let at = self.hit;
                let next = match forward {
                    true => hits.iter().find(|row| at.is_none_or(|at| **row > at)).or(hits.first()),
                    false => hits.iter().rev().find(|row| at.is_none_or(|at| **row < at)).or(hits.last()),
                };
                self.hit = next.copied();
                if let Some(row) = self.hit {
                    terminal.bring(row);
                }
            }
            _ => {}
        }
    }

    fn render(&mut self, area: Rect, buffer: &mut Buffer, look: &Look, focused: bool) {
        let banner = self.banner().min(area.height);
        let typing = self.typing && focused;
        match &mut self.state {
            State::None => {
                let open = format!("{} opens a shell where the build stands.", key_of(Action::ShellAfter));
                words(
                    &[open, "What is changed in it is shown at its end, and thrown away.".to_owned()],
                    area,
                    buffer,
                    look,
                );
            }
            State::Opening { .. } => words(&["The shell is being opened.".to_owned()], area, buffer, look),
            State::Failed(error) => words(&error_words(error), area, buffer, look),
            State::Open(terminal) => {
                let inner = Rect { y: area.y + banner, height: area.height - banner, ..area };
                terminal.render(inner, buffer, look, typing);
                if !self.typing {
                    let line = |y| Rect { y, height: 1, ..inner };
                    for y in inner.y..inner.bottom() {
                        mark_hits(look, buffer, line(y), &self.needle);
                    }
                    let shown = self.hit.and_then(|row| terminal.line_of(row)).filter(|at| *at < inner.height);
                    if let Some(at) = shown {
                        buffer.set_style(line(inner.y + at), look.selection);
                    }
                }
                self.draw_banner(Rect { height: banner, ..area }, buffer, look);
            }
            State::Ended { code, browser } => {
                let mut head = ended_in_words(*code);
                let rest = below_head(area);
                match browser.as_mut().map(|browser| (browser.diff().cloned(), browser)) {
                    None => head.push_str("; what it changed is not known, and thrown away"),
                    Some((_, Browser { error: Some(error), .. })) => words(&error_words(error), rest, buffer, look),
                    Some((Some(diff), _)) if diff.is_empty() => head.push_str("; it changed nothing"),
                    Some((Some(diff), browser)) => {
                        head.push_str(&format!("; thrown away: {}", sums(&diff)));
                        browser.tree.render(rest, buffer, look, focused);
                    }
                    Some((None, _)) => {}
                }
                head.push_str(&format!("; {} opens another", key_of(Action::ShellAfter)));
                let style = if *code == 0 { look.muted } else { look.warning };
                let head = text::clip(&head, usize::from(area.width), look.signs.ellipsis);
                if area.height > 0 {
                    buffer.set_stringn(area.x, area.y, head, usize::from(area.width), style);
                }
            }
        }
    }
}

fn below_head(area: Rect) -> Rect {
    let head = area.height.min(1);
    Rect { y: area.y + head, height: area.height - head, ..area }
}

fn ended_in_words(code: i32) -> String {
    match code {
        0 => "the shell has ended".to_owned(),
        129..=192 => format!("the shell was ended by signal {}", code - 128),
        _ => format!("the shell has ended with exit code {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debug::{Position, ShellPlace, Side};
    use crate::layers::{Diff, FileTree, Layer, Scope};
    use crate::plan::StageId;
    use crate::tui::theme::{Depth, Theme};
    use crate::tui::widgets::tree::sample;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn opening() -> ShellNews {
        let place = ShellPlace { position: Position { stage: StageId(0), done: 4 }, side: Side::Before };
        let where_ = "builder, before instruction 4, line 7".to_owned();
        ShellNews::Opening { place, where_, at: Some(SnapshotId("0.3".to_owned())) }
    }

    fn started(borrowed_tools: bool) -> ShellNews {
        let (program, user) = ("/bin/sh".to_owned(), String::new());
        ShellNews::Started { program, borrowed_tools, user, directory: "/src".to_owned() }
    }

    fn open(columns: u16, rows: u16) -> Shell {
        let mut pane = Shell::default();
        pane.resized(columns, rows);
        pane.set_typing(true);
        pane.news(opening());
        assert!(pane.is_open());
        pane.news(started(false));
        pane
    }

    fn drawn(pane: &mut Shell, width: u16, height: u16) -> String {
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        pane.render(area, &mut buffer, &Look::new(&Theme::dark(), Depth::None, false), true);
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(line).collect::<Vec<_>>().join("\n").trim_end().to_owned()
    }

    fn press(pane: &mut Shell, code: KeyCode, modifiers: KeyModifiers) -> Outcome {
        pane.key(KeyEvent::new(code, modifiers))
    }

    fn input(bytes: &[u8]) -> Request {
        Request::Shell(ShellInput::Bytes(bytes.to_vec()))
    }

    #[test]
    fn the_banner_says_where_and_how_to_leave() {
        let mut pane = open(76, 8);
        pane.news(ShellNews::Output(b"/src # ls\r\nmain.go\r\n/src # ".to_vec()));
        insta::assert_snapshot!(drawn(&mut pane, 76, 8));
        let mut pane = Shell::default();
        assert_eq!(pane.resized(150, 8), []);
        pane.news(opening());
        assert_eq!(drawn(&mut pane, 150, 8), " The shell is being opened.");
        assert_eq!(pane.news(started(true)), [Request::Shell(ShellInput::Resize(150, 6))]);
        insta::assert_snapshot!(drawn(&mut pane, 150, 8));
        insta::assert_snapshot!(drawn(&mut pane, 52, 8));
    }

    #[test]
    fn what_is_typed_before_the_shell_is_there_reaches_it() {
        let mut pane = Shell::default();
        pane.resized(40, 10);
        pane.set_typing(true);
        pane.news(opening());
        for c in "ls".chars() {
            assert_eq!(press(&mut pane, KeyCode::Char(c), KeyModifiers::NONE), Outcome::Consumed);
        }
        assert_eq!(pane.news(started(false)).last(), Some(&input(b"ls")));
    }

    #[test]
    fn keys_go_to_the_shell_while_it_is_typed_into() {
        let none = KeyModifiers::NONE;
        let mut pane = open(40, 10);
        assert_eq!(press(&mut pane, KeyCode::Char('q'), none), Outcome::Effect(input(b"q")));
        assert_eq!(press(&mut pane, KeyCode::Up, none), Outcome::Effect(input(b"\x1b[A")));
        assert_eq!(pane.news(ShellNews::Output(b"\x1b[?1h\x1b[6n".to_vec())), [input(b"\x1b[1;1R")]);
        assert_eq!(press(&mut pane, KeyCode::Up, none), Outcome::Effect(input(b"\x1bOA")));
        assert_eq!(pane.paste("a\nb"), Outcome::Effect(input(b"a\rb")));
        assert_eq!(press(&mut pane, KeyCode::CapsLock, none), Outcome::Consumed);
        pane.set_typing(false);
        assert_eq!(press(&mut pane, KeyCode::Char('q'), none), Outcome::Ignored);
        assert_eq!(press(&mut pane, KeyCode::Up, none), Outcome::Consumed);
    }

    #[test]
    fn what_went_by_is_shown_until_a_key_is_typed() {
        let mut pane = open(20, 8);
        let lines: String = (1..20).map(|n| format!("{n}\r\n")).collect();
        pane.news(ShellNews::Output(lines.into_bytes()));
        let top = |pane: &mut Shell| drawn(pane, 20, 8).lines().nth(2).unwrap_or_default().to_owned();
        assert_eq!(top(&mut pane), "15");
        assert_eq!(press(&mut pane, KeyCode::PageUp, KeyModifiers::SHIFT), Outcome::Consumed);
        assert_eq!(top(&mut pane), "10");
        let wheel = |kind| MouseEvent { kind, column: 1, row: 3, modifiers: KeyModifiers::NONE };
        let area = Rect::new(0, 0, 20, 8);
        assert_eq!(pane.mouse(wheel(MouseEventKind::ScrollUp), area), Outcome::Consumed);
        assert_eq!(top(&mut pane), "7");
        press(&mut pane, KeyCode::Char('x'), KeyModifiers::NONE);
        assert_eq!(top(&mut pane), "15");
        pane.news(ShellNews::Output(b"\x1b[?1049h".to_vec()));
        let moved = Outcome::Effect(input(b"\x1b[B\x1b[B\x1b[B"));
        assert_eq!(pane.mouse(wheel(MouseEventKind::ScrollDown), area), moved);
    }

    #[test]
    fn a_shell_is_searched_from_its_end() {
        let mut pane = open(20, 8);
        let lines: String = (1..=20).map(|n| format!("line {n}\r\n")).collect();
        pane.news(ShellNews::Output(lines.into_bytes()));
        pane.set_typing(false);
        let seen = |pane: &mut Shell, text: &str| drawn(pane, 20, 8).contains(text);
        assert_eq!(pane.find("LINE 1"), 11);
        assert!(seen(&mut pane, "line 19"));
        (0..9).for_each(|_| pane.find_next(false));
        assert!(seen(&mut pane, "line 10") && !seen(&mut pane, "line 19"));
        pane.find_next(false);
        assert!(seen(&mut pane, "line 1\n"));
        pane.find_next(true);
        assert!(seen(&mut pane, "line 10"));
        assert_eq!(pane.find("nothing like it"), 0);
    }

    #[test]
    fn the_size_is_handed_on_without_the_banner() {
        let mut pane = open(40, 10);
        let sizes = [(60, 24, 22), (60, 5, 4), (60, 3, 3), (0, 0, 1)];
        for (columns, rows, left) in sizes {
            let expected = Request::Shell(ShellInput::Resize(columns.max(1), left));
            assert_eq!(pane.resized(columns, rows), [expected]);
        }
    }

    /// A shell that has ended with this code, and changed this.
    fn ended(code: i32, diff: Diff) -> Shell {
        let mut pane = open(76, 9);
        let changes = Arc::new(Layer::default());
        let requests = pane.news(ShellNews::Exited { code, changes: Some(changes.clone()) });
        let query = Query::Scratch { at: SnapshotId("0.3".to_owned()), changes: Same(changes) };
        assert_eq!(requests, [Request::Load(Slot::Shell, query.clone())]);
        assert!(!pane.is_open());
        pane.loaded(&query, Ok(Answer::Diff(Arc::new(diff))));
        pane
    }

    fn check_end(code: i32, diff: Diff) -> String {
        drawn(&mut ended(code, diff), 76, 9)
    }

    #[test]
    fn at_the_end_it_shows_what_it_changed() {
        insta::assert_snapshot!(check_end(0, sample::diff()));
        let none = || Diff::between(&FileTree::default(), &FileTree::default(), Scope::Changed);
        assert_eq!(check_end(130, none()), "the shell was ended by signal 2; it changed nothing; t opens another");
        assert_eq!(check_end(1, none()), "the shell has ended with exit code 1; it changed nothing; t opens another");
        let mut pane = open(90, 9);
        assert_eq!(pane.news(ShellNews::Exited { code: 0, changes: None }), []);
        let not_known = "the shell has ended; what it changed is not known, and thrown away; t opens another";
        assert_eq!(drawn(&mut pane, 90, 9), not_known);
    }

    #[test]
    fn what_it_changed_is_searched_while_the_text_is_typed() {
        let mut pane = ended(0, sample::diff());
        let before = drawn(&mut pane, 76, 20);
        let mut sought = |text: &str| {
            pane.seek(text);
            for request in pane.wants() {
                let Request::Load(_, query @ Query::Hits { .. }) = request else { panic!("{request:?}") };
                let Query::Hits { of, pattern } = &query else { continue };
                let found = of.0.find(pattern);
                pane.loaded(&query, Ok(Answer::Hits(found)));
            }
            drawn(&mut pane, 76, 20)
        };
        assert!(sought("net.").contains("net.zip"));
        // Nothing stays open that only the first letters found.
        assert_eq!(sought("net.q"), before);
        assert!(sought("net.").contains("net.zip"));
        pane.give_up();
        assert_eq!(drawn(&mut pane, 76, 20), before);
    }

    #[test]
    fn a_shell_that_cannot_be_opened_says_why() {
        let mut pane = Shell::default();
        pane.news(opening());
        let help = vec!["give it a shell".to_owned()];
        pane.news(ShellNews::Failed(EngineError {
            message: "no \x1b[31mshell".to_owned(),
            help,
            ..EngineError::default()
        }));
        assert_eq!(drawn(&mut pane, 40, 5), " no ^[[31mshell\n give it a shell");
        assert!(!pane.is_open());
    }

    proptest! {
        #[test]
        fn any_output_is_drawn_harmless(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            width in 0u16..50,
            height in 0u16..12,
        ) {
            let mut pane = open(40, 10);
            pane.news(ShellNews::Output(bytes.clone()));
            pane.resized(width, height);
            pane.news(ShellNews::Output(bytes));
            let screen = drawn(&mut pane, width, height);
            prop_assert!(!screen.chars().any(|c| c != '\n' && text::is_harmful(c)), "{screen:?}");
        }
    }
}
