//! The help: all keys, all commands, and what this engine does otherwise than Docker.

use crate::engine::Capabilities;
use crate::tui::command::VERBS;
use crate::tui::keymap::{self, Action, Context, Motion};
use crate::tui::text;
use crate::tui::theme::Look;
use crate::tui::widgets::scroll::moved;
use crossterm::event::MouseEventKind;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

const KEYS: usize = 15;
const COMMANDS: usize = 24;
/// From this width on there are two columns, none wider than this.
const TWO_COLUMNS: u16 = 120;
const WIDEST: usize = 74;

/// What there is help for.
#[derive(Debug, Clone, Copy)]
pub struct Help<'a> {
    /// The debugger, with its commands, or the explorer.
    pub screen: Context,
    pub engine: Option<&'a Capabilities>,
}

/// The lines of the help, in columns of `width`.
pub fn lines(help: Help<'_>, look: &Look, width: usize) -> Vec<Line<'static>> {
    let mut out: Vec<Line<'static>> = Vec::new();
    let head = |out: &mut Vec<Line<'static>>, title: &str| {
        if !out.is_empty() {
            out.push(Line::default());
        }
        out.push(Line::styled(title.to_owned(), look.text.add_modifier(Modifier::BOLD)));
    };
    let of_screen = |bindings: &[&keymap::Binding]| bindings.iter().any(|it| keymap::belongs(it.context, help.screen));
    for (title, bindings) in keymap::sections().into_iter().filter(|(_, bindings)| of_screen(bindings)) {
        head(&mut out, title);
        for binding in bindings {
            out.extend(pair(look, &keymap::keys_text(binding), binding.help, (KEYS, width)));
        }
    }
    if help.screen == Context::Debugger {
        head(&mut out, "Commands");
        for verb in VERBS {
            out.extend(pair(look, format!(":{} {}", verb.name, verb.usage).trim_end(), verb.help, (COMMANDS, width)));
        }
    }
    if let Some(engine) = help.engine {
        head(&mut out, "Here");
        let what = format!("{}{}{}", engine.engine, look.signs.bullet, engine.mode);
        out.extend(pair(look, "engine", &what, (KEYS, width)));
        for limit in &engine.limits {
            out.extend(pair(look, "", limit, (KEYS, width)));
        }
    }
    out
}

/// A key or a command and what it does, which goes on below itself if it is long. `keys` columns are for the
/// former.
fn pair(look: &Look, left: &str, right: &str, (keys, width): (usize, usize)) -> Vec<Line<'static>> {
    let left = text::sanitise(left).into_owned();
    let pad = keys.saturating_sub(text::width(&left)).max(2);
    let indent = 2 + text::width(&left) + pad;
    let right = text::sanitise(right).replace('`', "");
    let mut words = text::wrap(&right, width.saturating_sub(indent).max(16)).into_iter();
    let first = Line::from(vec![
        Span::raw("  "),
        Span::styled(left, look.accent),
        Span::raw(" ".repeat(pad)),
        Span::styled(words.next().unwrap_or_default(), look.text),
    ]);
    let rest = words.map(|line| Line::from(vec![Span::raw(" ".repeat(indent)), Span::styled(line, look.text)]));
    std::iter::once(first).chain(rest).collect()
}

/// The line that it begins with after an action, on a screen of so many rows. `None`: it is closed.
pub fn after(action: Option<Action>, top: usize, rows: u16) -> Option<usize> {
    let page = usize::from(rows).saturating_sub(6).max(1);
    match action {
        Some(Action::Move(motion)) => Some(moved(top, motion, page, usize::MAX / 2)),
        Some(Action::Close | Action::Help | Action::Quit | Action::Interrupt) => None,
        _ => Some(top),
    }
}

/// The action that the mouse stands for while it is open.
pub fn pointed(event: MouseEventKind) -> Option<Action> {
    match event {
        MouseEventKind::ScrollUp => Some(Action::Move(Motion::Up)),
        MouseEventKind::ScrollDown => Some(Action::Move(Motion::Down)),
        MouseEventKind::Down(_) => Some(Action::Close),
        _ => None,
    }
}

/// Draws it from line `top` on, as far as there is so much. Answers with the line that it begins with.
pub fn draw(help: Help<'_>, top: usize, look: &Look, area: Rect, buffer: &mut Buffer) -> usize {
    let columns = if area.width >= TWO_COLUMNS { 2 } else { 1 };
    let column = ((usize::from(area.width) - 6) / columns).min(WIDEST);
    let lines = lines(help, look, column);
    let rows_needed = lines.len().div_ceil(columns);
    let width = (column * columns + 4 + 2 * (columns - 1)) as u16;
    let height = (rows_needed as u16 + 2).min(area.height);
    let frame = Rect {
        x: area.x + (area.width - width.min(area.width)) / 2,
        y: area.y + (area.height - height) / 2,
        width: width.min(area.width),
        height,
    };
    for y in frame.y..frame.bottom() {
        for x in frame.x..frame.right() {
            buffer[(x, y)].reset();
            buffer[(x, y)].set_style(look.ground);
        }
    }
    let title = Line::from(vec![
        Span::styled(
            if help.screen == Context::Debugger { " Keys and commands " } else { " Keys " },
            look.accent.add_modifier(Modifier::BOLD),
        ),
        Span::styled("Esc closes ", look.muted),
    ]);
    super::border(look, frame, true, title, buffer);
    let seen = usize::from(height.saturating_sub(2));
    // The columns scroll together, each through its own half.
    let top = top.min(rows_needed.saturating_sub(seen));
    for (at, line) in lines.iter().enumerate() {
        let (which, row) = (at / rows_needed, at % rows_needed);
        if row < top || row - top >= seen {
            continue;
        }
        let x = frame.x + 2 + (which * (column + 2)) as u16;
        let room = column.min(usize::from(frame.right() - 1 - x));
        buffer.set_line(x, frame.y + 1 + (row - top) as u16, line, room as u16);
    }
    super::scrollbar(look, frame, top, seen, rows_needed, true, buffer);
    top
}
