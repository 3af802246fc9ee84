//! The Dockerfile's pane while there is no plan: bases being looked up, or why there cannot be one.

use crate::tui::app::App;
use crate::tui::keymap::{Action, key_of};
use crate::tui::text;
use crate::tui::views::bar::bar;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let lines = match &app.build.problem {
        Some(problem) => problem_lines(app, &problem.message, &problem.rendered),
        None => waiting_lines(app, usize::from(area.width)),
    };
    for (row, line) in lines.iter().enumerate() {
        super::put_line(buffer, area, row, line);
    }
}

fn problem_lines(app: &App, message: &str, rendered: &str) -> Vec<Line<'static>> {
    let look = &app.look;
    let safe = |line: &str| text::sanitise(line).into_owned();
    let mut lines = vec![Line::default()];
    // The drawing says it all; the message alone is for what has no place in the file.
    let drawn = if rendered.trim().is_empty() { message } else { rendered };
    for (at, line) in drawn.lines().enumerate() {
        let style = match at {
            0 => look.removed.add_modifier(Modifier::BOLD),
            _ if line.trim_start().starts_with(|c: char| c == '^' || c == '|' && line.contains('^')) => look.removed,
            _ => look.text,
        };
        lines.push(Line::styled(format!("  {}", safe(line)), style));
    }
    lines.push(Line::default());
    let hint = |action: Action, word: &'static str| {
        [Span::styled(key_of(action), look.accent), Span::styled(format!(" {word}   "), look.muted)]
    };
    let mut spans = vec![Span::raw("  ")];
    spans.extend(hint(Action::Edit, "edit the Dockerfile"));
    spans.push(Span::styled(":reload", look.accent));
    spans.push(Span::styled(" read it again   ", look.muted));
    spans.extend(hint(Action::Quit, "leave"));
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
