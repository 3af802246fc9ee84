//! The last line: the keys that matter now, something said, or a line being typed.

use crate::debug::Side;
use crate::tui::app::{App, Note, PaneId};
use crate::tui::input::{Input, Purpose};
use crate::tui::keymap::{Action, Context, key_of, key_on};
use crate::tui::text;
use crate::tui::theme::Look;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use std::collections::HashSet;

pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) -> Option<Position> {
    if let Some(input) = &app.input {
        return Some(typed(&app.look, input, &hint(app, input), area, buffer));
    }
    let look = &app.look;
    if app.leaving {
        let line = Line::from(vec![
            Span::styled(" Leave? ", look.warning),
            Span::styled(leaving(app), look.text),
            Span::styled("  y", look.accent),
            Span::styled(" leave  ", look.muted),
            Span::styled("n", look.accent),
            Span::styled(" stay", look.muted),
        ]);
        buffer.set_line(area.x, area.y, &line, area.width);
        return None;
    }
    if let Some(note) = &app.note {
        said(look, note, area, buffer);
        return None;
    }
    let fixed = if app.typing && app.focus == PaneId::Shell { Vec::new() } else { ends() };
    hints(look, chosen(app), fixed, area, buffer);
    None
}

/// Something said to the user.
pub(crate) fn said(look: &Look, note: &Note, area: Rect, buffer: &mut Buffer) {
    let style = if note.wrong { look.warning } else { look.text };
    let safe = text::sanitise(&note.text);
    let shown = text::clip(&safe, usize::from(area.width).saturating_sub(2), look.signs.ellipsis);
    buffer.set_line(area.x + 1, area.y, &Line::styled(shown.into_owned(), style), area.width - 1);
}

fn leaving(app: &App) -> &'static str {
    let elsewhere = app.tracks.iter().enumerate().filter(|(at, _)| *at != app.track);
    let (mut runs, mut shell) = (false, false);
    for (_, it) in elsewhere {
        runs |= it.is_running();
        shell |= it.has_shell;
    }
    match (app.build.running, app.panes.shell_is_open()) {
        _ if runs => "What runs is killed, on all platforms; what is done is kept.",
        (false, false) if shell => "The shells of all platforms are ended, with what was changed in them.",
        (true, _) => "The instruction that runs is killed; what is done is kept.",
        (false, true) => "The shell is ended, and what was changed in it is thrown away.",
        (false, false) => "What was run is kept for the next time.",
    }
}

/// Keys with a word each; the first ones matter most, and stay where there is little room. Those at the end stay
/// always.
pub(crate) fn hints(
    look: &Look,
    keys: Vec<(String, &str)>,
    fixed: Vec<(String, &str)>,
    area: Rect,
    buffer: &mut Buffer,
) {
    let width = |list: &[(String, &str)]| -> usize {
        list.iter().map(|(key, word)| text::width(key) + 1 + text::width(word) + 2).sum()
    };
    let mut room = usize::from(area.width).saturating_sub(width(&fixed) + 2);
    let mut spans = vec![Span::raw(" ")];
    for (key, word) in keys {
        let wide = text::width(&key) + 1 + text::width(word) + 2;
        if wide > room {
            break;
        }
        room -= wide;
        spans.push(Span::styled(key, look.accent));
        spans.push(Span::styled(format!(" {word}  "), look.muted));
    }
    spans.push(Span::raw(" ".repeat(room)));
    for (key, word) in fixed {
        spans.push(Span::styled(key, look.accent));
        spans.push(Span::styled(format!(" {word}  "), look.muted));
    }
    buffer.set_line(area.x, area.y, &Line::from(spans), area.width);
}

pub(crate) fn ends() -> Vec<(String, &'static str)> {
    vec![(key_of(Action::Help), "help"), (key_of(Action::Quit), "quit")]
}

fn chosen(app: &App) -> Vec<(String, &'static str)> {
    let key = |action: Action, word: &'static str| (key_of(action), word);
    let raw = |text: &str, word: &'static str| (text.to_owned(), word);
    if app.branches.is_some() {
        return super::branches::keys();
    }
    if app.typing && app.focus == PaneId::Shell {
        return vec![key(Action::LeaveShell, "leave the shell's keys"), raw("exit", "end it; changes are thrown away")];
    }
    let build = &app.build;
    let mut keys = Vec::new();
    if build.running {
        keys.extend([key(Action::Pause, "pause"), key(Action::Interrupt, "cancel"), key(Action::Focus(5), "output")]);
        keys.extend(pane_keys(app));
        return keys;
    }
    if build.plan.is_none() || build.problem.is_some() {
        if build.problem.is_some() {
            keys.push(key(Action::Edit, "edit the Dockerfile"));
            keys.extend(build.plan.is_some().then(|| key(Action::Close, "keep the plan before")));
            keys.push(raw(":reload", "read it again"));
        }
        return keys;
    }
    let own = pane_keys(app);
    if app.focus != PaneId::Source {
        keys.extend(own.iter().cloned());
    }
    let failed = build.stop.as_ref().filter(|stop| stop.side == Side::Failed);
    if let Some(stop) = failed {
        if stop.failure.as_ref().is_some_and(|failure| failure.after.is_some()) {
            keys.push(key(Action::ShellAfter, "shell after"));
        }
        if stop.position.done > 0 {
            keys.push(key(Action::ShellBefore, "shell before"));
        }
        keys.extend([key(Action::Edit, "edit and retry"), key(Action::Retry, "retry"), key(Action::BackOver, "back")]);
    } else if app.is_final() {
        keys.extend([
            key(Action::Focus(9), "what ships"),
            key(Action::Focus(4), "files"),
            key(Action::ShellAfter, "shell"),
            key(Action::BackOver, "back"),
            key(Action::Restart, "restart"),
        ]);
    } else {
        let arrows = |a, b, c, d| format!("{} {} {} {}", key_of(a), key_of(b), key_of(c), key_of(d));
        keys.extend([
            key(Action::StepOver, "over"),
            key(Action::StepIn, "into"),
            key(Action::StepOut, "out"),
            key(Action::Continue, "continue"),
            (arrows(Action::BackOver, Action::BackIn, Action::BackOut, Action::BackContinue), "back"),
            key(Action::ToggleBreakpoint, "break"),
            key(Action::ShellAfter, "shell"),
            key(Action::RunToCursor, "run to cursor"),
        ]);
    }
    if app.focus == PaneId::Source {
        keys.extend(own);
    }
    if build.branches.len() > 1 {
        keys.push(key(Action::Branches, "branches"));
    }
    keys.extend([key(Action::Zoom, "zoom"), key(Action::FocusNext, "next pane"), key(Action::CommandLine, "command")]);
    // The pane's own word for a key is said first, and is enough.
    let mut said = HashSet::new();
    keys.retain(|(key, _)| said.insert(key.clone()));
    keys
}

/// What the pane with the focus adds.
fn pane_keys(app: &App) -> Vec<(String, &'static str)> {
    let key = |action: Action, word: &'static str| (key_of(action), word);
    let raw = |text: &str, word: &'static str| (text.to_owned(), word);
    match app.focus {
        PaneId::Source => vec![key(Action::Find, "find")],
        PaneId::Stages => vec![raw("Enter", "to its line")],
        PaneId::Layer => vec![
            raw("Enter", "open"),
            key(Action::Mark, "compare"),
            raw("x", "extract"),
            raw("y", "copy path"),
            raw("o", "order"),
            key(Action::Find, "find"),
        ],
        PaneId::Files => vec![
            raw("Enter", "open"),
            raw("a", "all or changed"),
            raw("x", "extract"),
            raw("y", "copy path"),
            raw("o", "order"),
            key(Action::Find, "find"),
        ],
        PaneId::Viewer => vec![
            key(Action::Close, "close"),
            raw("d", "what changed"),
            raw("m", "bytes"),
            raw("w", "wrap"),
            key(Action::Find, "find"),
        ],
        PaneId::Output => vec![key(Action::Find, "find"), raw("w", "wrap"), raw("y", "copy")],
        PaneId::Shell if app.panes.shell_is_open() => vec![raw("Enter", "type into it"), key(Action::Find, "find")],
        PaneId::Shell if app.panes.shell_shows_changes() => vec![
            raw("Enter", "open"),
            raw("x", "extract"),
            raw("y", "copy path"),
            raw("o", "order"),
            key(Action::Find, "find"),
            key(Action::ShellAfter, "another shell"),
        ],
        PaneId::Shell => vec![key(Action::ShellAfter, "open a shell")],
        PaneId::Breakpoints => vec![raw("Space", "on/off"), raw("x", "remove"), raw("Enter", "to its line")],
        PaneId::Image if app.panes.shows_picture() => {
            vec![
                raw("Enter", "into it"),
                raw("Backspace", "out"),
                raw("Right", "to the image"),
                key(Action::Picture, "list"),
            ]
        }
        PaneId::Image => vec![key(Action::Open, "open"), key(Action::Picture, "picture"), key(Action::Find, "find")],
        PaneId::Variables => vec![key(Action::Find, "find")],
    }
}

/// A line that is being typed, with a hint at its right. Answers with the cursor's place.
pub(crate) fn typed(look: &Look, input: &Input, hint: &str, area: Rect, buffer: &mut Buffer) -> Position {
    let prompt = input.prompt();
    let start = 1 + text::width(prompt);
    let room = usize::from(area.width).saturating_sub(start + 2);
    let before = text::width(&input.text[..input.cursor]);
    let scroll = before.saturating_sub(room);
    let shown = text::skip(&input.text, scroll);
    let shown = text::prefix(&shown, room + 1).to_owned();
    let used = text::width(&shown);
    let line = Line::from(vec![Span::raw(" "), Span::styled(prompt, look.accent), Span::styled(shown, look.text)]);
    buffer.set_line(area.x, area.y, &line, area.width);
    let free = room.saturating_sub(used + 2);
    if free > 8 && !hint.is_empty() {
        let hint = text::clip(hint, free, look.signs.ellipsis).into_owned();
        let x = area.right() - text::width(&hint) as u16 - 1;
        buffer.set_line(x, area.y, &Line::styled(hint, look.muted), area.right() - x);
    }
    Position::new(area.x + (start + before - scroll) as u16, area.y)
}

/// What is found of a text that is being typed; what is done with it, as long as there is none.
pub(crate) fn find_hint(screen: Context, input: &Input) -> String {
    if !input.found.is_empty() {
        return input.found.clone();
    }
    format!("Enter: find, then {} and {}", key_on(screen, Action::FindNext), key_on(screen, Action::FindPrevious))
}

/// What could follow, at the right of what is typed.
fn hint(app: &App, input: &Input) -> String {
    match &input.purpose {
        Purpose::Find => find_hint(Context::Debugger, input),
        Purpose::Extract { .. } => "Enter: write, Esc: leave it".to_owned(),
        Purpose::Command => {
            let offers = match input.offers.is_empty() {
                true => crate::tui::command::complete(&input.text, app),
                false => input.offers.clone(),
            };
            let word = |offer: &String| offer.trim().rsplit(' ').next().unwrap_or_default().to_owned();
            match offers.as_slice() {
                [one] => crate::tui::command::usage(one),
                many => many.iter().map(word).collect::<Vec<_>>().join("  "),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::keymap::TABLE;
    use crate::tui::{fixture, screens, update};

    #[test]
    fn every_hint_is_a_key_of_the_table() {
        let mut app = screens::app(&fixture::hello_stopped().1, 80, 24);
        for pane in PaneId::NUMBERED.into_iter().chain([PaneId::Viewer]) {
            app.focus = pane;
            let context = update::context(&app);
            for (key, word) in pane_keys(&app) {
                let known = |it: &crate::tui::keymap::Binding| {
                    [context, Context::Debugger, Context::Global].contains(&it.context)
                        && it.keys.iter().any(|it| it.to_string() == key)
                };
                assert!(TABLE.iter().any(known), "{key} {word} in {context:?}");
            }
        }
    }
}
