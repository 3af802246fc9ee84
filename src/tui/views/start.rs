//! What the Dockerfile's pane has to say beside the Dockerfile: bases being looked up, or why there is no plan.

use crate::tui::app::App;
use crate::tui::keymap::{Action, key_of};
use crate::tui::text;
use crate::tui::views::bar::bar;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

/// Draws what there is to say. Answers with the room that it leaves for the Dockerfile, where that can be drawn already.
pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) -> Rect {
    let (said, rest) = said(app, area);
    let top = if app.build.problem.is_some() { area.y } else { rest.bottom() };
    let room = Rect { y: top, height: area.height - rest.height, ..area };
    for (row, line) in said.iter().take(usize::from(room.height)).enumerate() {
        super::put_line(buffer, room, row, line);
    }
    rest
}

/// The room that is left for the Dockerfile.
pub fn rest(app: &App, area: Rect) -> Rect {
    said(app, area).1
}

fn said(app: &App, area: Rect) -> (Vec<Line<'static>>, Rect) {
    let width = usize::from(area.width);
    let sketched = app.build.drawn().is_some();
    match &app.build.problem {
        // Why there is no plan is said first, and whole, however little room that leaves.
        Some(problem) => {
            let mut lines = problem_lines(app, &problem.message, &problem.rendered, width);
            lines.push(Line::default());
            let taken = area.height.min(lines.len() as u16);
            (lines, Rect { y: area.y + taken, height: area.height - taken, ..area })
        }
        None if app.build.plan.is_some() || sketched && app.build.bases.is_empty() => (Vec::new(), area),
        // Below it, so that the Dockerfile stands where it is going to stay.
        None => {
            let lines = waiting_lines(app, width);
            let most = if sketched { area.height / 2 } else { area.height };
            let taken = most.min(lines.len() as u16);
            (lines, Rect { height: area.height - taken, ..area })
        }
    }
}

fn problem_lines(app: &App, message: &str, rendered: &str, width: usize) -> Vec<Line<'static>> {
    let look = &app.look;
    let mut lines = vec![Line::default()];
    // The drawing says it all; the message alone is for what has no place in the file.
    let drawn = if rendered.trim().is_empty() { message } else { rendered };
    for (at, line) in drawn.lines().enumerate() {
        let style = match at {
            0 => look.removed.add_modifier(Modifier::BOLD),
            _ if line.trim_start().starts_with(|c: char| c == '^' || c == '|' && line.contains('^')) => look.removed,
            _ => look.text,
        };
        let line = text::sanitise(line);
        // A line of the file, and what points into it, are cut where the pane ends.
        let whole = at == 0 || line.trim_start().starts_with('=');
        let parts = if whole { text::wrap(&line, width.saturating_sub(4)) } else { vec![line.into_owned()] };
        lines.extend(parts.into_iter().map(|part| Line::styled(format!("  {part}"), style)));
    }
    lines.push(Line::default());
    let hint = |action: Action, word: &'static str| {
        [Span::styled(key_of(action), look.accent), Span::styled(format!(" {word}   "), look.muted)]
    };
    let mut spans = vec![Span::raw("  ")];
    spans.extend(hint(Action::Edit, "edit the Dockerfile"));
    spans.push(Span::styled(":reload", look.accent));
    spans.push(Span::styled(" read it again   ", look.muted));
    spans.extend(match app.build.plan {
        Some(_) => hint(Action::Close, "keep the plan before"),
        None => hint(Action::Quit, "leave"),
    });
    lines.push(Line::from(spans));
    lines
}

fn waiting_lines(app: &App, width: usize) -> Vec<Line<'static>> {
    let look = &app.look;
    let mut lines = vec![Line::default()];
    if app.build.bases.is_empty() {
        let words = "reading the Dockerfile and looking its bases up";
        lines.push(Line::styled(format!("  {words}{}", look.signs.ellipsis), look.muted));
        return lines;
    }
    let mut image = "";
    for it in &app.build.bases {
        if it.of != image {
            lines.push(Line::styled(format!("  {}", text::sanitise(&it.of)), look.text));
            image = &it.of;
        }
        let what = text::sanitise(&it.what).into_owned();
        let name = text::clip(&what, 20, look.signs.ellipsis).into_owned();
        let pad = 20usize.saturating_sub(text::width(&name));
        let bytes = match it.total {
            0 if it.done == 0 => String::new(),
            0 => text::size(it.done),
            total => format!("{} of {}", text::size(it.done), text::size(total)),
        };
        let mut spans = vec![Span::styled(format!("    {name}{}  ", " ".repeat(pad)), look.muted)];
        if it.total > 0 {
            spans.extend(bar(look, it.done, it.total, width.saturating_sub(54).clamp(8, 40)));
        }
        spans.push(Span::styled(format!("  {bytes}"), look.text));
        lines.push(Line::from(spans));
    }
    lines
}
