//! The breakpoints: where each stops, or why it cannot.

use crate::debug::{Breakpoint, BreakpointState, Location, Trigger};
use crate::plan::Plan;
use crate::tui::app::{App, PaneId};
use crate::tui::text;
use crate::tui::widgets::scroll::follow;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// Lines of the list: one for each, and one for failures.
pub fn count(app: &App) -> usize {
    app.build.breakpoints.len() + 1
}

pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let height = usize::from(area.height);
    let focused = app.focus == PaneId::Breakpoints;
    let top = follow(0, app.breakpoint, height, count(app));
    for row in 0..height.min(count(app).saturating_sub(top)) {
        let at = top + row;
        let line = match app.build.breakpoints.get(at) {
            Some(breakpoint) => one(app, breakpoint, usize::from(area.width)),
            None => failures(app),
        };
        let y = area.y + row as u16;
        if focused && at == app.breakpoint {
            buffer.set_style(Rect { y, height: 1, ..area }, app.look.selection);
        }
        super::put_line(buffer, area, row, &line);
    }
}

/// The line of the list at a row of the pane's content.
pub fn at_row(app: &App, row: usize, height: usize) -> Option<usize> {
    let at = follow(0, app.breakpoint, height, count(app)) + row;
    (at < count(app)).then_some(at)
}

fn failures(app: &App) -> Line<'static> {
    let look = &app.look;
    let (sign, style) = match app.build.break_on_failure {
        true => (look.signs.set, look.removed),
        false => (look.signs.disabled, look.muted),
    };
    let words = if app.build.break_on_failure { "on failure" } else { "not on failure" };
    Line::from(vec![Span::raw(" "), Span::styled(sign, style), Span::styled(format!(" {words}"), look.text)])
}

fn one(app: &App, it: &Breakpoint, width: usize) -> Line<'static> {
    let look = &app.look;
    let signs = look.signs;
    let (sign, style): (&'static str, Style) = match (&it.state, it.enabled) {
        (_, false) => (signs.disabled, look.muted),
        (BreakpointState::Bound { .. }, _) => (signs.set, look.removed),
        (BreakpointState::Watching, _) => (signs.watch, look.removed),
        (BreakpointState::Pending, _) => (signs.pending, look.removed),
        (BreakpointState::Unbound { .. }, _) => (signs.unbound, look.warning),
    };
    let (place, rest) = match (&it.state, app.plan()) {
        (BreakpointState::Bound { step, .. }, Some(plan)) => bound(plan, it, *step),
        (BreakpointState::Unbound { reason }, _) => (wanted(&it.wanted), reason.clone()),
        (BreakpointState::Watching, _) => (wanted(&it.wanted), hits(it)),
        _ => (wanted(&it.wanted), String::new()),
    };
    let number = format!("#{}", it.id.0);
    let room = width.saturating_sub(4);
    let place = text::sanitise(&place).into_owned();
    let rest = text::sanitise(&rest).into_owned();
    let text_style = if it.enabled { look.text } else { look.muted };
    let shown = text::clip(&place, room.saturating_sub(number.len() + 1), signs.ellipsis).into_owned();
    let left = room.saturating_sub(text::width(&shown) + number.len() + 3);
    let rest = text::clip(&rest, left, signs.ellipsis).into_owned();
    let pad = room.saturating_sub(text::width(&shown) + 2 + text::width(&rest) + number.len());
    Line::from(vec![
        Span::raw(" "),
        Span::styled(sign, style),
        Span::raw(" "),
        Span::styled(shown, text_style),
        Span::raw("  "),
        Span::styled(rest, look.muted),
        Span::raw(" ".repeat(pad)),
        Span::styled(number, look.muted),
    ])
}

fn bound(plan: &Plan, it: &Breakpoint, step: crate::plan::StepId) -> (String, String) {
    let place = format!("{}:{}", plan.stage(step.stage).label(), step.index);
    let line = format!("line {}", plan.step(step).lines.start);
    let told = [line, hits(it)].into_iter().filter(|it| !it.is_empty());
    (place, told.collect::<Vec<_>>().join(", "))
}

fn hits(it: &Breakpoint) -> String {
    if it.hits == 0 { String::new() } else { text::count(it.hits as usize, "hit") }
}

fn wanted(wanted: &Trigger) -> String {
    match wanted {
        Trigger::Before(Location::Line(line)) => format!("line {line}"),
        other => other.to_string(),
    }
}
