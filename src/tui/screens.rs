//! Whole screens, drawn from events as they come from a session.

use super::app::App;
use super::app::PaneId;
use super::fixture;
use super::front::{Heard, Wish};
use super::theme::{Depth, Look, Theme};
use super::update::{Effect, Message, update};
use super::widgets::tree::sample;
use super::widgets::{Answer, ShellNews};
use super::{Options, views};
use crate::debug::watch::Hit;
use crate::debug::{BranchId, BreakpointId, Command, Event, Location, Position, StopReason};
use crate::layers::Change;
use crate::plan::StageId;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use std::sync::Arc;
use std::time::Duration;

pub(crate) fn app(events: &[Event], columns: u16, rows: u16) -> App {
    let options = Options { title: "hello/Dockerfile".to_owned(), ..Options::default() };
    let look = Look::new(&Theme::dark(), Depth::True, false);
    let mut app = App::new(&options, look, Depth::True, (columns, rows));
    app.now = Duration::from_secs(7);
    for event in events {
        tell(&mut app, Message::Session(event.clone()));
    }
    app.now += Duration::from_millis(4_200);
    app.note = None;
    app
}

/// Takes a message in, and answers what the panes ask because of it, as the session would.
pub(crate) fn tell(app: &mut App, message: Message) -> Vec<Effect> {
    let mut effects = update(app, message);
    let mut at = 0;
    while at < effects.len() {
        if let Effect::Load(slot, query) = effects[at].clone() {
            let answer = fixture::answer(&query);
            effects.extend(update(app, Message::Loaded { slot, query, answer }));
        }
        at += 1;
    }
    effects
}

pub(crate) fn drawn(app: &mut App) -> Buffer {
    let mut buffer = Buffer::empty(Rect::new(0, 0, app.size.0, app.size.1));
    views::draw(app, &mut buffer);
    views::finish(&mut buffer, &app.look);
    buffer
}

pub(crate) fn text(buffer: &Buffer) -> String {
    let rows = buffer.content.chunks(usize::from(buffer.area.width.max(1)));
    let lines = rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

/// The screen at both sizes that matter, after the events.
fn check(name: &str, events: &[Event]) {
    check_with(name, events, &[]);
}

/// The same after some keys.
fn check_with(name: &str, events: &[Event], keys: &[KeyCode]) {
    for (columns, rows) in [(80, 24), (200, 60)] {
        let mut app = app(events, columns, rows);
        for code in keys {
            press(&mut app, *code);
        }
        insta::assert_snapshot!(format!("{name}-{columns}"), text(&drawn(&mut app)));
    }
}

fn press(app: &mut App, code: KeyCode) -> Vec<Effect> {
    tell(app, Message::Terminal(Heard::Key(KeyEvent::new(code, KeyModifiers::NONE))))
}

#[test]
fn no_pane_is_there_twice_on_a_screen_that_has_grown() {
    let mut app = app(&fixture::hello_stopped().1, 80, 24);
    for pane in PaneId::NUMBERED {
        tell(&mut app, Message::Terminal(Heard::Resize(80, 24)));
        super::actions::focus(&mut app, pane);
        tell(&mut app, Message::Terminal(Heard::Resize(200, 60)));
        let panes: Vec<PaneId> = app.areas().panes.iter().map(|(id, _)| *id).collect();
        let mut once = panes.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), panes.len(), "{panes:?}");
        assert!(panes.contains(&app.focus));
    }
}

#[test]
fn branches_are_listed_with_what_differs() {
    let (_, mut events) = fixture::hello_finished();
    events.push(fixture::branches());
    check_with("branches", &events, &[KeyCode::Char('0')]);
}

#[test]
fn branches_are_gone_to_and_compared_with() {
    let (_, mut events) = fixture::hello_finished();
    let mut app = app(&events, 80, 24);
    press(&mut app, KeyCode::Char('0'));
    assert!(app.branches.is_none() && app.note.is_some(), "there is only one");
    events.push(fixture::branches());
    let mut app = self::app(&events, 80, 24);
    press(&mut app, KeyCode::Char('0'));
    press(&mut app, KeyCode::Up);
    let effects = press(&mut app, KeyCode::Enter);
    assert_eq!(effects, [Effect::Session(Command::Branch(BranchId(2)))]);
    let mut app = self::app(&events, 80, 24);
    for code in typed(":compare 1").into_iter().chain([KeyCode::Enter]) {
        press(&mut app, code);
    }
    assert!(app.place().compared && app.place().text.ends_with("(against branch 1)"), "{:?}", app.place());
    press(&mut app, KeyCode::Char('d'));
    assert!(!app.place().compared);
    let click = |row| MouseEvent {
        kind: MouseEventKind::Down(MouseButton::Left),
        column: 20,
        row,
        modifiers: KeyModifiers::NONE,
    };
    press(&mut app, KeyCode::Char('0'));
    tell(&mut app, Message::Terminal(Heard::Mouse(click(0))));
    assert!(app.branches.is_none(), "a click outside closes them");
}

fn typed(text: &str) -> Vec<KeyCode> {
    text.chars().map(KeyCode::Char).collect()
}

#[test]
fn looking_bases_up() {
    check("looking-up", &fixture::looking_up());
}

#[test]
fn before_the_first_step() {
    check("started", &fixture::hello_started().1);
}

#[test]
fn a_base_is_fetched() {
    check("pulling", &fixture::hello_pulling().1);
}

#[test]
fn stopped_before_an_instruction() {
    check("before", &fixture::hello_stopped().1);
}

#[test]
fn an_instruction_runs() {
    check("running", &fixture::hello_running().1);
}

#[test]
fn an_instruction_failed() {
    check("failed", &fixture::hello_failed().1);
}

#[test]
fn in_the_past() {
    check("past", &fixture::hello_in_the_past().1);
}

#[test]
fn at_the_end() {
    check("finished", &fixture::hello_finished().1);
}

#[test]
fn there_can_be_no_plan() {
    check("problem", &fixture::problem());
    check("no-base", &fixture::no_base());
    // What is drawn is the plan where there is one, whatever is sketched.
    let mut app = app(&fixture::hello_stopped().1, 80, 24);
    let before = text(&drawn(&mut app));
    let sketch = crate::plan::sketch(Arc::new(crate::dockerfile::parse(b"FROM a\n")), &crate::plan::Options::default());
    tell(&mut app, Message::Session(Event::Sketched { plan: Arc::new(sketch.unwrap()) }));
    assert_eq!(text(&drawn(&mut app)), before);
}

#[test]
fn without_a_new_plan_the_one_before_is_shown() {
    let (_, events) = fixture::hello_stopped();
    let failed: Vec<Event> = events.iter().cloned().chain(fixture::problem()).collect();
    check("no-new-plan", &failed);
    let mut app = app(&failed, 80, 24);
    // A click on what is said selects no line.
    let inner = app.areas().inner(PaneId::Source).unwrap();
    let click = |row| MouseEvent {
        kind: MouseEventKind::Down(MouseButton::Left),
        column: 40,
        row,
        modifiers: KeyModifiers::NONE,
    };
    tell(&mut app, Message::Terminal(Heard::Mouse(click(inner.y))));
    assert!(!app.source.moved);
    press(&mut app, KeyCode::Esc);
    assert_eq!(text(&drawn(&mut app)), text(&drawn(&mut self::app(&events, 80, 24))));
}

#[test]
fn the_help() {
    check_with("help", &fixture::hello_stopped().1, &typed("?"));
}

#[test]
fn a_command_is_typed() {
    check_with("command", &fixture::hello_stopped().1, &typed(":re"));
}

#[test]
fn the_panes_of_the_narrow_screen() {
    for (name, key) in [("stages", '1'), ("variables", '7'), ("breakpoints", '8')] {
        let mut app = app(&fixture::hello_stopped().1, 80, 24);
        press(&mut app, KeyCode::Char(key));
        insta::assert_snapshot!(format!("narrow-{name}"), text(&drawn(&mut app)));
    }
}

#[test]
fn watchpoints_stand_among_the_breakpoints() {
    let (plan, events) = fixture::hello_stopped_with(&["7", "watch /etc/passwd changed", "watch *.a over 10MB", "12"]);
    let mut app = app(&events, 80, 24);
    let hit = Hit { path: "etc/passwd".into(), change: Change::Modified, more: 2 };
    tell(&mut app, Message::Session(fixture::stopped(&plan, 0, 4, StopReason::Watchpoint(BreakpointId(2), hit))));
    press(&mut app, KeyCode::Char('8'));
    insta::assert_snapshot!("watchpoints", text(&drawn(&mut app)));
}

#[test]
fn what_a_base_brings_along() {
    let (plan, events) = fixture::onbuild();
    let mut app = app(&events, 80, 24);
    insta::assert_snapshot!("onbuild", text(&drawn(&mut app)));
    // The instruction that failed is the one that the base brought.
    for event in fixture::failed(&plan, fixture::id(0, 2), 127) {
        tell(&mut app, Message::Session(event));
    }
    insta::assert_snapshot!("onbuild-failed", text(&drawn(&mut app)));
}

#[test]
fn a_search_walks_its_hits() {
    let mut app = app(&fixture::hello_stopped().1, 100, 30);
    for code in typed("/alpine") {
        press(&mut app, code);
    }
    press(&mut app, KeyCode::Enter);
    assert_eq!(app.source.selected_line(), 10);
    press(&mut app, KeyCode::Char(']'));
    assert_eq!(app.source.selected_line(), 13);
    press(&mut app, KeyCode::Char(']'));
    assert_eq!(app.source.selected_line(), 10);
    press(&mut app, KeyCode::Char('['));
    assert_eq!(app.source.selected_line(), 13);
    press(&mut app, KeyCode::Esc);
    assert_eq!(app.source.selected_line(), 7);
}

#[test]
fn keys_become_commands() {
    let mut app = app(&fixture::hello_stopped().1, 100, 30);
    let mut check = |keys: &str, expected: &[Command]| {
        let pressed = keys.chars().map(|c| if c == '\r' { KeyCode::Enter } else { KeyCode::Char(c) });
        let effects: Vec<Effect> =
            pressed.collect::<Vec<_>>().into_iter().flat_map(|code| press(&mut app, code)).collect();
        let commands: Vec<Command> = effects
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Session(command) => Some(command),
                _ => None,
            })
            .collect();
        assert_eq!(commands, expected, "{keys:?}");
        // As when the session has answered.
        app.sent = false;
    };
    let builder = |done| Position { stage: StageId(0), done };
    check("n", &[Command::StepOver]);
    check("S", &[Command::BackIn]);
    check("b", &[Command::SetBreakpoint(Location::Line(7))]);
    check("jb", &[Command::RemoveBreakpoint(BreakpointId(1))]);
    check("g", &[Command::RunTo(builder(5))]);
    check(".", &[]);
    check("kkk.", &[Command::Goto(builder(2))]);
    check(":arg GO=1.24\r", &[Command::SetBuildArg("GO".to_owned(), Some("1.24".to_owned()))]);
    check(":goto builder:1\r", &[Command::Goto(builder(1))]);
    check(":run-to final:2\r", &[Command::RunTo(Position { stage: StageId(2), done: 2 })]);
    check(":disable all\r", &(1..=5).map(|id| Command::EnableBreakpoint(BreakpointId(id), false)).collect::<Vec<_>>());
    check("w", &[]);
    check(":watch *.a created over 10MB\r", &[Command::Watch("*.a created over 10000000".parse().unwrap())]);
    check("p", &[]);
    check("8 ", &[Command::EnableBreakpoint(BreakpointId(1), false)]);
}

/// And not thrown away by the key that opens a file.
#[test]
fn what_a_shell_has_changed_is_gone_through_like_a_layer() {
    let mut app = app(&fixture::hello_stopped().1, 100, 30);
    let effects = press(&mut app, KeyCode::Char('t'));
    assert!(matches!(effects[..], [Effect::OpenShell { .. }]));
    let changes = Some(Arc::default());
    for effect in update(&mut app, Message::Shell(ShellNews::Exited { code: 0, changes })) {
        if let Effect::Load(slot, query) = effect {
            let answer = Ok(Answer::Diff(Arc::new(sample::diff())));
            update(&mut app, Message::Loaded { slot, query, answer });
        }
    }
    assert!(matches!(press(&mut app, KeyCode::Char('y'))[..], [Effect::Terminal(Wish::Copy(_))]));
    for code in [KeyCode::Enter, KeyCode::Char(' '), KeyCode::Char('*')] {
        assert_eq!(press(&mut app, code), [], "directories open and close");
    }
    for code in typed("/group").into_iter().chain([KeyCode::Enter, KeyCode::Enter]) {
        press(&mut app, code);
    }
    assert_eq!((app.focus, app.viewing), (PaneId::Viewer, true));
    press(&mut app, KeyCode::Esc);
    insta::assert_snapshot!("shell-changes", text(&drawn(&mut app)));
}

/// A pause and a cancellation are acknowledged at once, and what is said of them is never older than they are.
#[test]
fn what_runs_is_paused_and_cancelled() {
    let (plan, events) = fixture::hello_stopped();
    let check = |code: KeyCode, modifiers, reason, at_once: &str, then: Option<&str>| {
        let mut app = app(&events, 100, 30);
        tell(&mut app, Message::Session(Event::Resumed));
        tell(&mut app, Message::Terminal(Heard::Key(KeyEvent::new(code, modifiers))));
        let note = |app: &App| app.note.as_ref().map(|note| note.text.clone());
        assert_eq!(note(&app).as_deref(), Some(at_once));
        tell(&mut app, Message::Session(fixture::stopped(&plan, 0, 4, reason)));
        assert_eq!(note(&app).as_deref(), then);
    };
    let pausing = "pausing: what runs is let finish first";
    check(KeyCode::Char('p'), KeyModifiers::NONE, StopReason::Pause, pausing, None);
    let cancelled = "cancelled: what ran was killed and its changes thrown away; n runs it again";
    check(KeyCode::Char('c'), KeyModifiers::CONTROL, StopReason::Cancelled, "cancelling", Some(cancelled));
}

#[test]
fn clicks_select_and_toggle() {
    let mut app = app(&fixture::hello_stopped().1, 200, 60);
    let click = |app: &mut App, column, row| {
        let kind = MouseEventKind::Down(MouseButton::Left);
        tell(app, Message::Terminal(Heard::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE })))
    };
    let source = app.areas().inner(PaneId::Source).unwrap();
    // Line 5: its text, then its gutter.
    click(&mut app, source.x + 20, source.y + 4);
    assert_eq!((app.source.selected_line(), app.focus), (5, PaneId::Source));
    let effects = click(&mut app, source.x + 5, source.y + 4);
    assert_eq!(effects, [Effect::Session(Command::SetBreakpoint(Location::Line(5)))]);
    let stages = app.areas().inner(PaneId::Stages).unwrap();
    click(&mut app, stages.x + 14, stages.y + 12);
    assert_eq!(app.focus, PaneId::Stages);
    click(&mut app, stages.x + 14, stages.y + 12);
    assert_eq!((app.source.selected_line(), app.focus), (13, PaneId::Source));
    let lower = app.areas().of(PaneId::Layer).unwrap();
    click(&mut app, lower.x + 14, lower.y);
    assert_eq!((app.lower, app.focus), (PaneId::Files, PaneId::Files));
}

#[test]
fn a_terminal_that_is_too_small() {
    let mut app = app(&fixture::hello_stopped().1, 40, 10);
    insta::assert_snapshot!("too-small", text(&drawn(&mut app)));
}

#[test]
fn without_utf8_everything_is_ascii() {
    for events in [fixture::hello_failed().1, fixture::hello_pulling().1, fixture::hello_finished().1] {
        for size in [(80, 24), (200, 60)] {
            let mut app = app(&events, size.0, size.1);
            app.ascii = true;
            app.look = Look::new(&Theme::dark(), Depth::None, true);
            let screen = text(&drawn(&mut app));
            assert!(screen.is_ascii(), "{screen}");
            assert!(!screen.contains('?') || screen.contains("? help"), "a sign is missing:\n{screen}");
        }
    }
    let mut app = app(&fixture::hello_failed().1, 130, 30);
    app.ascii = true;
    app.look = Look::new(&Theme::dark(), Depth::None, true);
    insta::assert_snapshot!("ascii", text(&drawn(&mut app)));
}

mod random {
    use super::*;
    use crate::debug::{Failure, StepStatus};
    use proptest::prelude::*;

    fn events() -> impl Strategy<Value = Message> {
        let states: Vec<Vec<Event>> = vec![
            fixture::looking_up(),
            fixture::hello_started().1,
            fixture::hello_pulling().1,
            fixture::hello_running().1,
            fixture::hello_failed().1,
            fixture::hello_in_the_past().1,
            fixture::hello_finished().1,
            fixture::problem(),
            vec![fixture::branches()],
            fixture::planned(&fixture::plan("FROM scratch")),
        ];
        let all: Vec<Event> = states.into_iter().flatten().collect();
        prop::sample::select(all).prop_map(Message::Session)
    }

    fn keys() -> impl Strategy<Value = Message> {
        let letters: Vec<char> = (' '..='~').chain(['é', '漢']).collect();
        let plain = prop::sample::select(letters).prop_map(KeyCode::Char);
        let others = prop::sample::select(vec![
            KeyCode::Up,
            KeyCode::Down,
            KeyCode::Left,
            KeyCode::Right,
            KeyCode::PageUp,
            KeyCode::PageDown,
            KeyCode::Home,
            KeyCode::End,
            KeyCode::Enter,
            KeyCode::Esc,
            KeyCode::Tab,
            KeyCode::BackTab,
            KeyCode::Backspace,
            KeyCode::Delete,
            KeyCode::F(9),
        ]);
        let modifiers = prop::sample::select(vec![KeyModifiers::NONE, KeyModifiers::CONTROL, KeyModifiers::SHIFT]);
        (prop_oneof![plain, others], modifiers)
            .prop_map(|(code, modifiers)| Message::Terminal(Heard::Key(KeyEvent::new(code, modifiers))))
    }

    fn clicks() -> impl Strategy<Value = Message> {
        let kinds = vec![
            MouseEventKind::Down(MouseButton::Left),
            MouseEventKind::Up(MouseButton::Left),
            MouseEventKind::Drag(MouseButton::Left),
            MouseEventKind::Moved,
            MouseEventKind::ScrollUp,
            MouseEventKind::ScrollDown,
        ];
        (prop::sample::select(kinds), 0u16..301, 0u16..81).prop_map(|(kind, column, row)| {
            Message::Terminal(Heard::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE }))
        })
    }

    fn sizes() -> impl Strategy<Value = Message> {
        (1u16..301, 1u16..81).prop_map(|(columns, rows)| Message::Terminal(Heard::Resize(columns, rows)))
    }

    fn messages() -> impl Strategy<Value = Vec<Message>> {
        let paste = any::<String>().prop_map(|text| Message::Terminal(Heard::Paste(text)));
        let one = prop_oneof![8 => keys(), 6 => events(), 3 => clicks(), 1 => sizes(), 1 => paste];
        prop::collection::vec(one, 0..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn nothing_that_happens_breaks_the_screen(size in (1u16..301, 1u16..81), messages in messages()) {
            let mut app = app(&[], size.0, size.1);
            for message in messages {
                tell(&mut app, message);
                let buffer = drawn(&mut app);
                let harmful = |cell: &ratatui::buffer::Cell| cell.symbol().chars().any(crate::tui::text::is_harmful);
                prop_assert!(!buffer.content.iter().any(harmful));
            }
        }

        /// Whatever the names, no box, line or word leaves its pane.
        #[test]
        fn hostile_text_stays_in_its_place(text in "[ -~\\t\u{1b}\u{202e}é漢]{0,60}", columns in 60u16..200) {
            let source = format!("FROM a AS x\nRUN {text}\nFROM scratch\nCOPY --from=x /a /b\n");
            let plan = fixture::plan(&source);
            let mut events = fixture::planned(&plan);
            if let Some(step) = plan.steps().next() {
                let failure = Failure {
                    step: step.id,
                    message: text.clone(),
                    help: vec![text.clone()],
                    exit_code: None,
                    after: None,
                };
                events.push(Event::Step { step: step.id, status: StepStatus::Failed(failure), at: Duration::ZERO });
            }
            let mut app = app(&events, columns, 24);
            let screen = super::text(&drawn(&mut app));
            let wrong = |c: char| crate::tui::text::is_harmful(c) && c != '\n';
            prop_assert!(!screen.chars().any(wrong), "{}", screen);
        }
    }
}
