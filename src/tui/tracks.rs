//! The builds on the screen: one, or a track for each of several platforms, of which one is shown.
//!
//! What is asked of the build as such (breakpoints, arguments, the file) is asked of every track. Where a track stands,
//! what runs there, its branches and its shell are its own.

use super::app::App;
use super::front::Heard;
use super::standing::Standing;
use super::update::{Effect, Message, update};
use crate::debug::Command;
use std::time::Duration;

pub struct Tracks {
    /// Never empty.
    all: Vec<App>,
    shown: usize,
}

impl Tracks {
    /// The first is shown.
    pub fn new(mut all: Vec<App>) -> Tracks {
        for hidden in all.iter_mut().skip(1) {
            hidden.hidden = true;
        }
        Tracks { all, shown: 0 }
    }

    pub fn all(&self) -> &[App] {
        &self.all
    }

    /// The place of the one that is shown.
    pub fn current(&self) -> usize {
        self.shown
    }

    /// The one that is shown, told how all of them stand.
    pub fn shown(&mut self) -> &mut App {
        let several = self.all.len() > 1;
        let standings = if several { self.all.iter().map(Standing::of).collect() } else { Vec::new() };
        let app = &mut self.all[self.shown];
        app.tracks = standings;
        app
    }

    pub fn is_moving(&self) -> bool {
        self.all[self.shown].is_moving()
    }

    pub fn set_time(&mut self, now: Duration) {
        for app in &mut self.all {
            app.now = now;
        }
    }

    /// Takes in what concerns one track. Answers with what is to be done, and for which.
    pub fn update(&mut self, track: usize, message: Message) -> Vec<(usize, Effect)> {
        let effects = update(&mut self.all[track], message);
        let mut out = Vec::new();
        for effect in effects {
            match effect {
                Effect::Show(to) => out.extend(self.show(to)),
                Effect::Session(command) if is_for_all(&command) => {
                    out.extend((0..self.all.len()).map(|track| (track, Effect::Session(command.clone()))));
                }
                effect => out.push((track, effect)),
            }
        }
        out
    }

    /// The same for what comes from the terminal: it is for the one that is shown.
    pub fn hear(&mut self, heard: Heard) -> Vec<(usize, Effect)> {
        self.shown();
        self.update(self.shown, Message::Terminal(heard))
    }

    fn show(&mut self, to: usize) -> Vec<(usize, Effect)> {
        if to == self.shown || to >= self.all.len() {
            return Vec::new();
        }
        let layout = self.all[self.shown].leave();
        self.shown = to;
        self.all[to].enter(layout);
        let (columns, rows) = self.all[to].size;
        self.hear(Heard::Resize(columns, rows))
    }
}

fn is_for_all(command: &Command) -> bool {
    matches!(
        command,
        Command::SetBreakpoint(_)
            | Command::Watch(_)
            | Command::RemoveBreakpoint(_)
            | Command::EnableBreakpoint(..)
            | Command::BreakOnFailure(_)
            | Command::SetBuildArg(..)
            | Command::Reload
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debug::{BreakpointId, Event, Location};
    use crate::tui::app::PaneId;
    use crate::tui::front::Wish;
    use crate::tui::{fixture, screens};
    use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

    /// As many tracks as there are lists of events, all of the same build.
    fn tracks(size: (u16, u16), events: &[Vec<Event>]) -> Tracks {
        let names = ["linux/amd64", "linux/arm64", "linux/arm/v7", "windows/amd64", "linux/ppc64le", "linux/s390x"];
        let app = |(at, (events, name)): (usize, (&Vec<Event>, &str))| {
            let mut app = screens::app(events, size.0, size.1);
            (app.platform, app.track) = (name.to_owned(), at);
            app
        };
        Tracks::new(events.iter().zip(names).enumerate().map(app).collect())
    }

    fn press(tracks: &mut Tracks, keys: &str) -> Vec<(usize, Effect)> {
        let code = |key: char| if key == '\r' { KeyCode::Enter } else { KeyCode::Char(key) };
        let key = |key: char| Heard::Key(KeyEvent::new(code(key), KeyModifiers::NONE));
        let effects: Vec<_> = keys.chars().flat_map(|it| tracks.hear(key(it))).collect();
        effects.into_iter().filter(|(_, effect)| !matches!(effect, Effect::Load(..))).collect()
    }

    /// The effects of keys on two tracks, the second of which runs.
    fn check(keys: &str, expected: &[(usize, Effect)]) {
        let mut tracks = tracks((100, 30), &[fixture::hello_stopped().1, fixture::hello_running().1]);
        assert_eq!(press(&mut tracks, keys), expected, "{keys:?}");
    }

    #[test]
    fn what_moves_a_build_moves_the_shown_one() {
        let session = |track, command| (track, Effect::Session(command));
        check("n", &[session(0, Command::StepOver)]);
        check(">p", &[session(1, Command::Pause)]);
        check("<p", &[session(1, Command::Pause)]);
        check("<>c", &[session(0, Command::Continue)]);
        check(":platform linux/arm64\rp", &[session(1, Command::Pause)]);
        check(":platform 2\rp", &[session(1, Command::Pause)]);
        check(":platform\r:platform 3\rp", &[session(1, Command::Pause)]);
    }

    #[test]
    fn what_is_asked_of_the_build_is_asked_of_all() {
        let both = |command: Command| [0, 1].map(|track| (track, Effect::Session(command.clone())));
        check("b", &both(Command::SetBreakpoint(Location::Line(7))));
        check(">:delete 2\r", &both(Command::RemoveBreakpoint(BreakpointId(2))));
        check(":failures off\r", &both(Command::BreakOnFailure(false)));
        check(":arg GO=1\r", &both(Command::SetBuildArg("GO".to_owned(), Some("1".to_owned()))));
        check(":reload\r", &both(Command::Reload));
    }

    #[test]
    fn leaving_asks_while_another_track_runs() {
        check("q", &[]);
        check("qn", &[]);
        check("qy", &[(0, Effect::Terminal(Wish::Quit))]);
        let mut tracks = tracks((80, 24), &[fixture::hello_stopped().1, fixture::hello_failed().1]);
        assert_eq!(press(&mut tracks, "q"), [(0, Effect::Terminal(Wish::Quit))]);
    }

    #[test]
    fn the_same_pane_is_looked_at_on_the_other_track() {
        let mut tracks = tracks((80, 24), &[fixture::hello_stopped().1, fixture::hello_failed().1]);
        press(&mut tracks, "4z:theme light\r>");
        let app = tracks.shown();
        assert_eq!((app.platform.as_str(), app.focus, app.zoomed), ("linux/arm64", PaneId::Files, true));
        press(&mut tracks, ":");
        let up = Heard::Key(KeyEvent::new(KeyCode::Up, KeyModifiers::NONE));
        tracks.hear(up);
        assert_eq!(tracks.shown().input.as_ref().map(|it| it.text.as_str()), Some("theme light"));
    }

    #[test]
    fn a_track_that_is_not_shown_asks_for_nothing() {
        let (plan, events) = fixture::hello_stopped();
        let mut tracks = tracks((80, 24), &[events.clone(), events]);
        let news = fixture::stopped(&plan, 0, 3, crate::debug::StopReason::Step);
        assert_eq!(tracks.update(1, Message::Session(news)), []);
        let asked = tracks.hear(Heard::Key(KeyEvent::new(KeyCode::Char('>'), KeyModifiers::NONE)));
        assert!(asked.iter().all(|(track, effect)| *track == 1 && matches!(effect, Effect::Load(..))), "{asked:?}");
        assert!(!asked.is_empty());
    }

    #[test]
    fn one_platform_has_no_other_track() {
        let mut tracks = tracks((80, 24), &[fixture::hello_stopped().1]);
        assert_eq!(press(&mut tracks, ">"), []);
        let app = tracks.shown();
        assert!(app.note.as_ref().is_some_and(|it| it.wrong) && app.areas().tracks.height == 0);
    }

    #[test]
    fn how_the_others_stand_is_seen() {
        let two = [fixture::hello_stopped().1, fixture::hello_running().1];
        let six = [
            fixture::hello_finished().1,
            fixture::hello_in_the_past().1,
            fixture::looking_up(),
            fixture::hello_failed().1,
            fixture::problem(),
            fixture::hello_started().1,
        ];
        for (columns, rows) in [(80, 24), (200, 60)] {
            let mut tracks = tracks((columns, rows), &two);
            insta::assert_snapshot!(format!("two-{columns}"), screens::text(&screens::drawn(tracks.shown())));
        }
        let mut lines = Vec::new();
        for columns in [200, 160, 130, 100, 80, 60] {
            let mut tracks = tracks((columns, 24), &six);
            for keys in ["", ">>>"] {
                press(&mut tracks, keys);
                let screen = screens::text(&screens::drawn(tracks.shown()));
                lines.extend(screen.lines().nth(1).map(|it| format!("{columns:3} {it}")));
            }
        }
        insta::assert_snapshot!("six", lines.join("\n"));
    }

    #[test]
    fn a_click_shows_a_track() {
        let mut tracks = tracks((80, 24), &[fixture::hello_stopped().1, fixture::hello_running().1]);
        let click = |column| {
            let kind = MouseEventKind::Down(MouseButton::Left);
            Heard::Mouse(MouseEvent { kind, column, row: 1, modifiers: KeyModifiers::NONE })
        };
        tracks.hear(click(5));
        assert_eq!(tracks.current(), 0);
        tracks.hear(click(45));
        assert_eq!(tracks.current(), 1);
        tracks.hear(click(79));
        assert_eq!(tracks.current(), 1);
    }
}
