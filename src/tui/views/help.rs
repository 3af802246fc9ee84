//! The help: all keys, all commands, and what this engine does otherwise than Docker.

use crate::tui::app::App;
use crate::tui::command::VERBS;
use crate::tui::keymap;
use crate::tui::text;
use crate::tui::theme::Look;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

const KEYS: usize = 17;

/// The lines of the help.
pub fn lines(app: &App) -> Vec<Line<'static>> {
    let look = &app.look;
    let mut out: Vec<Line<'static>> = Vec::new();
    let head = |out: &mut Vec<Line<'static>>, title: &str| {
        if !out.is_empty() {
            out.push(Line::default());
        }
        out.push(Line::styled(title.to_owned(), look.text.add_modifier(Modifier::BOLD)));
    };
    for (title, bindings) in keymap::sections() {
        head(&mut out, title);
        for binding in bindings {
            out.push(pair(look, &keymap::keys_text(binding), binding.help));
        }
    }
    head(&mut out, "Commands");
    for verb in VERBS {
        out.push(pair(look, format!(":{} {}", verb.name, verb.usage).trim_end(), verb.help));
    }
    if let Some(engine) = &app.build.engine {
        head(&mut out, "Here");
        let what = format!("{}{}{}", engine.engine, look.signs.bullet, engine.mode);
        out.push(pair(look, "engine", &what));
        for limit in &engine.limits {
            out.push(pair(look, "", limit));
        }
    }
    out
}

fn pair(look: &Look, left: &str, right: &str) -> Line<'static> {
    let left = text::sanitise(left);
    let pad = KEYS.saturating_sub(text::width(&left)).max(2);
    Line::from(vec![
        Span::raw("  "),
        Span::styled(left.into_owned(), look.accent),
        Span::raw(" ".repeat(pad)),
        Span::styled(text::sanitise(right).replace('`', ""), look.text),
    ])
}

pub fn draw(app: &mut App, area: Rect, buffer: &mut Buffer) {
    let look = app.look.clone();
    let lines = lines(app);
    let widest = lines.iter().map(Line::width).max().unwrap_or(0);
    let columns = if usize::from(area.width) >= 2 * widest.min(72) + 8 { 2 } else { 1 };
    let column = widest.min((usize::from(area.width) - 6) / columns).min(76);
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
        }
    }
    let title = Line::from(vec![
        Span::styled(" Keys and commands ", look.accent.add_modifier(Modifier::BOLD)),
        Span::styled("Esc closes ", look.muted),
    ]);
    super::border(&look, frame, true, title, buffer);
    let seen = usize::from(height.saturating_sub(2));
    // The columns scroll together, each through its own half.
    let top = app.help.unwrap_or(0).min(rows_needed.saturating_sub(seen));
    app.help = Some(top);
    for (at, line) in lines.iter().enumerate() {
        let (which, row) = (at / rows_needed, at % rows_needed);
        if row < top || row - top >= seen {
            continue;
        }
        let x = frame.x + 2 + (which * (column + 2)) as u16;
        let room = column.min(usize::from(frame.right() - 1 - x));
        let mut line = line.clone();
        if line.width() > room {
            line.spans = clipped(&look, line.spans, room);
        }
        buffer.set_line(x, frame.y + 1 + (row - top) as u16, &line, room as u16);
    }
    super::scrollbar(&look, frame, top, seen, rows_needed, true, buffer);
}

fn clipped(look: &Look, spans: Vec<Span<'static>>, room: usize) -> Vec<Span<'static>> {
    let mut left = room;
    spans
        .into_iter()
        .map(|span| {
            let cut = text::clip(&span.content, left, look.signs.ellipsis).into_owned();
            left -= text::width(&cut);
            Span::styled(cut, span.style)
        })
        .collect()
}
