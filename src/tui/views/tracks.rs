//! The line under the header that shows how each platform's track stands, where there are several.

use crate::tui::app::App;
use crate::tui::keymap::{Action, key_of};
use crate::tui::standing::{Standing, State, WORD};
use crate::tui::text;
use crate::tui::theme::Look;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use std::ops::Range;

/// What is said of each track: less where there is less room.
const AMOUNTS: [Amount; 4] = [Amount::Everything, Amount::NoPlace, Amount::State, Amount::Name];

/// Columns from the end of one to the beginning of the next, with a line in the middle.
const BETWEEN: u16 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Amount {
    Everything,
    NoPlace,
    State,
    Name,
}

pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let look = &app.look;
    let (shown, lines) = fitting(app, area);
    let last = shown.end;
    let mut x = area.x + 1;
    for (track, line) in shown.clone().zip(lines) {
        buffer.set_line(x, area.y, &line, area.right().saturating_sub(x));
        x += line.width() as u16;
        if track + 1 < last {
            buffer.set_stringn(x + 1, area.y, look.signs.lines.vertical, 1, look.border_of(false));
            x += BETWEEN;
        }
    }
    let keys = keys(look);
    if shown == (0..app.tracks.len()) && usize::from(x) + keys.width() <= usize::from(area.right()) {
        buffer.set_line(area.right() - keys.width() as u16, area.y, &keys, area.width);
    }
    let more = |x: u16, buffer: &mut Buffer| buffer.set_stringn(x, area.y, look.signs.ellipsis, 3, look.muted);
    if shown.start > 0 {
        more(area.x, buffer);
    }
    if last < app.tracks.len() {
        more(area.right().saturating_sub(text::width(look.signs.ellipsis) as u16), buffer);
    }
}

/// The track whose part of the line is at a column.
pub fn at(app: &App, area: Rect, column: u16) -> Option<usize> {
    let (shown, lines) = fitting(app, area);
    let mut x = area.x + 1;
    for (track, line) in shown.zip(lines) {
        let end = x + line.width() as u16 + BETWEEN;
        if (x..end).contains(&column) {
            return Some(track);
        }
        x = end;
    }
    None
}

/// The tracks that there is room for, with as much of each as fits: all of them, or those around the shown one.
fn fitting(app: &App, area: Rect) -> (Range<usize>, Vec<Line<'static>>) {
    let room = usize::from(area.width).saturating_sub(1);
    let of = |amount| -> Vec<Line<'static>> {
        app.tracks.iter().enumerate().map(|(at, it)| part(&app.look, it, at == app.track, amount)).collect()
    };
    let wide = |lines: &[Line<'static>]| {
        lines.iter().map(|it| it.width() + usize::from(BETWEEN)).sum::<usize>().saturating_sub(usize::from(BETWEEN))
    };
    let mut lines = Vec::new();
    for amount in AMOUNTS {
        lines = of(amount);
        if wide(&lines) <= room {
            return (0..lines.len(), lines);
        }
    }
    let mut shown = app.track..app.track + 1;
    loop {
        let larger = shown.start.saturating_sub(1)..(shown.end + 1).min(lines.len());
        if larger == shown || wide(&lines[larger.clone()]) > room {
            return (shown.clone(), lines[shown].to_vec());
        }
        shown = larger;
    }
}

fn keys(look: &Look) -> Line<'static> {
    let keys = format!("  {} {}", key_of(Action::PreviousTrack), key_of(Action::NextTrack));
    Line::from(vec![Span::styled(keys, look.accent), Span::styled(" platform  ", look.muted)])
}

fn part(look: &Look, standing: &Standing, is_shown: bool, amount: Amount) -> Line<'static> {
    let name = if is_shown { look.accent.add_modifier(Modifier::BOLD | Modifier::UNDERLINED) } else { look.text };
    let sign = if is_shown { look.signs.current } else { " " };
    let mut spans = vec![
        Span::styled(format!("{sign} "), look.accent),
        Span::styled(text::sanitise(&standing.platform).into_owned(), name),
    ];
    let (word, place) = standing.state.words();
    let mark = standing.state.sign(look);
    // The accent is for what is looked at.
    let style = match standing.state {
        State::Starting | State::Running | State::Paused { .. } if !is_shown => look.muted,
        _ => standing.state.style(look),
    };
    // Each has its columns, whatever it says: nothing jumps while builds run.
    let mut column = |words: String, wide: usize, style: Style| {
        let pad = wide.saturating_sub(text::width(&words));
        spans.push(Span::styled(format!(" {words}{}", " ".repeat(pad)), style));
    };
    match amount {
        Amount::Name => column(mark.to_owned(), 1, style),
        _ if mark.is_empty() => column(word.to_owned(), WORD, style),
        _ => column(format!("{mark} {word}"), WORD, style),
    }
    if amount == Amount::Everything {
        column(place, standing.longest_place, style);
    }
    if let (Amount::Everything | Amount::NoPlace, Some((number, total))) = (amount, standing.count) {
        let digits = total.to_string().len();
        column(format!("{number:>digits$}/{total}"), 0, look.muted);
    }
    Line::from(spans)
}
