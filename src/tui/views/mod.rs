//! What the screen shows: each file draws one part of it from the state.
//!
//! May import what `tui` may.
//!
//! Invariant: drawing changes nothing but what follows from the size: how far a list is scrolled.

pub(crate) mod bar;
pub mod branches;
pub mod breakpoints;
pub mod files;
pub mod flow;
pub mod header;
pub mod help;
pub mod image;
pub mod keys;
pub mod layer;
pub(super) mod listing;
pub mod origins;
pub mod output;
mod remarks;
pub mod shell;
pub mod source;
pub mod stages;
pub mod start;
pub mod tracks;
pub mod variables;
pub mod viewer;

use super::app::{App, PaneId};
use super::graph::{DOWN, LEFT, RIGHT, UP};
use super::keymap::Context;
use super::layout::{self, Areas, LEAST};
use super::signs::Lines;
use super::text;
use super::theme::Look;
use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use std::ops::Range;
use unicode_width::UnicodeWidthChar;

/// Draws everything. Answers with the place of the terminal's cursor, if it is to be seen.
pub fn draw(app: &mut App, buffer: &mut Buffer) -> Option<Position> {
    let area = buffer.area;
    buffer.set_style(area, app.look.ground);
    let areas = app.areas();
    if areas.too_small {
        too_small(&app.look, area, buffer);
        return None;
    }
    header::draw(app, areas.header, buffer);
    tracks::draw(app, areas.tracks, buffer);
    for (id, area) in areas.panes.clone() {
        pane(app, &areas, id, area, buffer);
    }
    let cursor = keys::draw(app, areas.keys, buffer);
    if let Some(row) = app.branches {
        branches::draw(app, row, area, buffer);
    }
    if let Some(top) = app.help {
        let help = help::Help { screen: Context::Debugger, engine: app.build.engine.as_ref() };
        app.help = Some(help::draw(help, top, &app.look, area, buffer));
        return None;
    }
    cursor
}

/// Replaces what the terminal must not get: a last line of defence behind the views' own care, and the only
/// place that knows what a terminal without UTF-8 can show.
///
/// What is drawn in the terminal's own colours gets those of the theme, so that all of the screen stands on one
/// ground.
pub fn finish(buffer: &mut Buffer, look: &Look) {
    let ascii = look.ascii();
    let ground = |color: Option<Color>| color.unwrap_or(Color::Reset);
    let (foreground, background) = (ground(look.ground.fg), ground(look.ground.bg));
    for cell in &mut buffer.content {
        if cell.fg == Color::Reset {
            cell.fg = foreground;
        }
        if cell.bg == Color::Reset {
            cell.bg = background;
        }
        if let [b' '..=b'~'] = cell.symbol().as_bytes() {
            continue;
        }
        if cell.symbol().chars().any(text::is_harmful) {
            cell.set_symbol("?");
        } else if let Some(first) = disputed(cell.symbol()) {
            cell.set_char(first);
        }
        if ascii && !cell.symbol().is_ascii() {
            // A wide character's second column is a cell of its own, which is blank.
            cell.set_symbol(ascii_for(cell.symbol()));
        }
    }
}

/// The first character of several that are drawn as one, if not all terminals take the same columns for them: some
/// know what they are together, and some put one behind the other, and all that follows is out of its place.
fn disputed(symbol: &str) -> Option<char> {
    let mut characters = symbol.chars();
    let first = characters.next()?;
    let apart: usize = symbol.chars().map(|c| c.width().unwrap_or(0)).sum();
    (characters.next().is_some() && apart != text::width(symbol)).then_some(first)
}

/// What stands for a sign where there is only ASCII.
fn ascii_for(symbol: &str) -> &'static str {
    match symbol {
        "·" | "–" | "—" | "─" => "-",
        "…" => ".",
        "→" | "▸" | "▶" => ">",
        "←" => "<",
        "│" => "|",
        "●" => "*",
        "✓" => "v",
        "✗" | "×" => "x",
        _ => "?",
    }
}

pub(crate) fn too_small(look: &Look, area: Rect, buffer: &mut Buffer) {
    let (columns, rows) = LEAST;
    let lines = [
        format!("{columns} columns and {rows} rows are needed;"),
        format!("here are {} and {}.", area.width, area.height),
        "Make the window larger, or the letters smaller.".to_owned(),
    ];
    let lines: Vec<String> = lines.iter().flat_map(|line| text::wrap(line, usize::from(area.width))).collect();
    let top = area.height.saturating_sub(lines.len() as u16) / 2;
    for (at, line) in lines.iter().enumerate() {
        let y = area.y + top + at as u16;
        if y < area.bottom() {
            let x = area.width.saturating_sub(text::width(line) as u16) / 2;
            buffer.set_stringn(area.x + x, y, line, usize::from(area.width - x), look.text);
        }
    }
}

fn pane(app: &mut App, areas: &Areas, id: PaneId, area: Rect, buffer: &mut Buffer) {
    let focused = app.focus == id && app.help.is_none() && app.branches.is_none();
    let lower = areas.tabs.contains(&id) || id == PaneId::Viewer;
    let tabs = if lower && !app.zoomed { areas.tabs.as_slice() } else { &[] };
    let title = pane_title(app, id, focused, tabs, area);
    let taken = title.width();
    border(&app.look, area, focused, title, buffer);
    let note = pane_note(app, id);
    note_at_right(&app.look, area, &note, taken, buffer);
    let inner = layout::content(id, area);
    let rows = usize::from(inner.height);
    match id {
        PaneId::Stages => stages::draw(app, inner, buffer),
        PaneId::Source => {
            let room = start::draw(app, inner, buffer);
            listing::draw(app, room, buffer, areas.wide);
            let bar = Rect { y: area.y + room.y - inner.y, height: area.height - (inner.height - room.height), ..area };
            let (top, rows) = (app.source.top, usize::from(room.height));
            scrollbar(&app.look, bar, top, rows, app.source.line_count(), focused, buffer);
        }
        PaneId::Variables => {
            let total = variables::draw(app, inner, buffer);
            scrollbar(&app.look, area, app.variables_top, rows, total, focused, buffer);
        }
        PaneId::Breakpoints => breakpoints::draw(app, inner, buffer),
        PaneId::Image if !app.panes.shows_picture() => {
            let (top, rows, total) = image::draw(app, inner, focused, buffer);
            scrollbar(&app.look, area, top, rows, total, focused, buffer);
        }
        PaneId::Layer | PaneId::Files | PaneId::Output | PaneId::Viewer if app.build.plan.is_none() => {}
        PaneId::Image | PaneId::Layer | PaneId::Files | PaneId::Output | PaneId::Shell | PaneId::Viewer => {
            let look = app.look.clone();
            if let Some(widget) = app.widget(id) {
                widget.render(inner, buffer, &look, focused);
                // The picture says it by itself.
                let path = widget.selected_path().filter(|_| id != PaneId::Image);
                if let Some(way) = path.and_then(|path| app.way_of(&path)) {
                    note_below(&look, area, &way, buffer);
                }
            }
            if id == PaneId::Layer {
                what_is_written(app, inner, buffer);
            }
        }
    }
}

/// The last lines that a running instruction has written, where its layer is going to be.
fn what_is_written(app: &App, area: Rect, buffer: &mut Buffer) {
    /// For the sentence that says what the pane waits for.
    const ABOVE: u16 = 3;
    let place = app.told.place(PaneId::Layer).filter(|place| place.running);
    let Some(step) = place.and_then(|place| place.step) else { return };
    let area = Rect { y: area.y + ABOVE.min(area.height), height: area.height.saturating_sub(ABOVE), ..area };
    let lines = app.build.last_lines(step, usize::from(area.height));
    for (y, line) in (area.y..area.bottom()).zip(&lines) {
        let room = usize::from(area.width.saturating_sub(1));
        let line = text::sanitise(line);
        buffer.set_stringn(area.x + 1, y, text::clip(&line, room, app.look.signs.ellipsis), room, app.look.text);
    }
}

pub(crate) fn border(look: &Look, area: Rect, focused: bool, title: Line<'static>, buffer: &mut Buffer) {
    frame(look, area, look.border_of(focused), buffer);
    buffer.set_line(area.x + 1, area.y, &title, area.width.saturating_sub(2));
}

/// Lines around an area.
pub(crate) fn frame(look: &Look, area: Rect, style: Style, buffer: &mut Buffer) {
    if area.width < 2 || area.height < 2 {
        return;
    }
    let set = look.signs.border;
    let flat = usize::from(area.width - 2);
    let top = format!("{}{}{}", set.top_left, set.horizontal_top.repeat(flat), set.top_right);
    let bottom = format!("{}{}{}", set.bottom_left, set.horizontal_bottom.repeat(flat), set.bottom_right);
    buffer.set_stringn(area.x, area.y, top, usize::from(area.width), style);
    buffer.set_stringn(area.x, area.bottom() - 1, bottom, usize::from(area.width), style);
    for y in area.y + 1..area.bottom() - 1 {
        buffer.set_string(area.x, y, set.vertical_left, style);
        buffer.set_string(area.right() - 1, y, set.vertical_right, style);
    }
}

/// A pane's title with its number, or the tabs of the lower pane.
fn pane_title(app: &App, id: PaneId, focused: bool, tabs: &[PaneId], area: Rect) -> Line<'static> {
    let look = &app.look;
    let name = |id: PaneId, title: &'static str, on: bool| {
        let number = id.number().map(|number| format!("{number} ")).unwrap_or_default();
        let title_style = match (on, focused) {
            (true, true) => look.accent.add_modifier(Modifier::BOLD),
            (true, false) => look.text.add_modifier(Modifier::BOLD),
            _ => look.muted,
        };
        let number_style = if on && focused { look.accent } else { look.muted };
        [Span::raw(" "), Span::styled(number, number_style), Span::styled(title, title_style), Span::raw(" ")]
    };
    if tabs.is_empty() {
        return Line::from(name(id, id.title(), true).to_vec());
    }
    let mut spans = Vec::new();
    let short = shortened(tabs, area);
    for tab in tabs {
        let on = *tab == if id == PaneId::Viewer { app.lower } else { id };
        let title = if short { tab.short() } else { tab.title() };
        let mut parts = name(*tab, title, on);
        if on {
            // A sign that does without colours.
            parts[2].style = parts[2].style.add_modifier(Modifier::UNDERLINED);
        }
        if *tab == PaneId::Output && app.running_step().is_some() && !on {
            parts[3] = Span::styled(app.spinner(), look.accent);
        }
        spans.extend(parts);
    }
    Line::from(spans)
}

fn shortened(tabs: &[PaneId], area: Rect) -> bool {
    let full: usize = tabs.iter().map(|tab| tab.title().len() + 4).sum();
    full + 2 > usize::from(area.width)
}

/// The tab whose name stands at a column of the lower pane's upper edge.
pub fn tab_at(tabs: &[PaneId], area: Rect, column: u16) -> Option<PaneId> {
    let short = shortened(tabs, area);
    let mut x = area.x + 1;
    for tab in tabs {
        let width = (if short { tab.short().len() } else { tab.title().len() } + 4) as u16;
        if (x..x + width).contains(&column) {
            return Some(*tab);
        }
        x += width;
    }
    None
}

/// What a pane says at the right of its upper edge.
fn pane_note(app: &mut App, id: PaneId) -> String {
    match id {
        PaneId::Source | PaneId::Stages | PaneId::Breakpoints => String::new(),
        PaneId::Variables => variables::title(app),
        _ if app.build.plan.is_none() => String::new(),
        PaneId::Output => {
            let place = app.place();
            let since = place.step.filter(|_| place.running).map(|step| app.build.elapsed(step, app.now));
            let title = app.widget(id).map(|widget| widget.title()).unwrap_or_default();
            since.map(|since| format!("{} · {title}", text::duration(since))).unwrap_or(title)
        }
        _ => app.widget(id).map(|widget| widget.title()).unwrap_or_default(),
    }
}

pub(crate) fn note_at_right(look: &Look, area: Rect, note: &str, taken: usize, buffer: &mut Buffer) {
    let room = usize::from(area.width).saturating_sub(taken + 6);
    if note.is_empty() || room < 8 {
        return;
    }
    let safe = text::sanitise(note);
    let shown = text::clip(&safe, room, look.signs.ellipsis);
    let x = area.right().saturating_sub(text::width(&shown) as u16 + 3);
    buffer.set_line(x, area.y, &Line::from(vec![Span::styled(format!(" {shown} "), look.muted)]), area.right() - x);
}

/// What a pane says on its lower edge.
fn note_below(look: &Look, area: Rect, note: &str, buffer: &mut Buffer) {
    let room = usize::from(area.width).saturating_sub(6);
    if room < 20 || area.height < 3 {
        return;
    }
    let shown = text::clip(note, room, look.signs.ellipsis);
    let line = Line::from(vec![Span::styled(format!(" {shown} "), look.muted)]);
    buffer.set_line(area.x + 2, area.bottom() - 1, &line, area.width.saturating_sub(4));
}

/// A thumb on the right edge, where there is more than is seen.
pub(crate) fn scrollbar(
    look: &Look,
    area: Rect,
    top: usize,
    seen: usize,
    total: usize,
    focused: bool,
    buffer: &mut Buffer,
) {
    if total <= seen || seen < 2 {
        return;
    }
    let length = (seen * seen / total).clamp(1, seen - 1);
    let most = total - seen;
    let from = (top.min(most) * (seen - length)).div_ceil(most);
    for at in from..from + length {
        let y = area.y + 1 + at as u16;
        if y + 1 < area.bottom() {
            let style = if focused { look.accent } else { look.muted };
            buffer.set_string(area.right() - 1, y, look.signs.thumb, style);
        }
    }
}

/// The sign for a line that leaves a cell in these ways.
pub(crate) fn wire_sign(lines: &Lines, ways: u8) -> &'static str {
    const ALL: u8 = UP | DOWN | LEFT | RIGHT;
    match ways & ALL {
        0 => " ",
        it if it & (LEFT | RIGHT) == 0 => lines.vertical,
        it if it & (UP | DOWN) == 0 => lines.horizontal,
        it if it == UP | LEFT => lines.up_left,
        it if it == UP | RIGHT => lines.up_right,
        it if it == DOWN | LEFT => lines.down_left,
        it if it == DOWN | RIGHT => lines.down_right,
        it if it == UP | DOWN | LEFT => lines.up_down_left,
        it if it == UP | DOWN | RIGHT => lines.up_down_right,
        it if it == LEFT | RIGHT | UP => lines.left_right_up,
        it if it == LEFT | RIGHT | DOWN => lines.left_right_down,
        _ => lines.cross,
    }
}

/// Writes spans into a line of an area, cut to it.
pub(crate) fn put_line(buffer: &mut Buffer, area: Rect, row: usize, line: &Line) {
    if row < usize::from(area.height) {
        buffer.set_line(area.x, area.y + row as u16, line, area.width);
    }
}

/// Marks what a search has found in a line on the screen; `needle` in lower case.
pub(crate) fn mark_hits(look: &Look, buffer: &mut Buffer, line: Rect, needle: &str) {
    let wanted: Vec<char> = needle.chars().collect();
    if wanted.is_empty() || line.height == 0 {
        return;
    }
    // Each character in lower case, with the columns that it takes.
    let mut shown: Vec<(char, Range<u16>)> = Vec::new();
    let mut x = line.x;
    while let Some(symbol) = buffer.cell((x, line.y)).map(Cell::symbol).filter(|_| x < line.right()) {
        let end = x + text::width(symbol).max(1) as u16;
        shown.extend(symbol.chars().flat_map(char::to_lowercase).map(|c| (c, x..end)));
        x = end;
    }
    for here in shown.windows(wanted.len()) {
        if let ([(_, first), ..], [.., (_, last)]) = (here, here)
            && here.iter().map(|(c, _)| c).eq(&wanted)
        {
            let area = Rect { x: first.start, width: last.end.min(line.right()) - first.start, ..line };
            buffer.set_style(area, look.changed.add_modifier(Modifier::UNDERLINED));
        }
    }
}

/// Two texts at the ends of `width` columns; the left one gives way.
pub(crate) fn justified(look: &Look, left: (&str, Style), right: (&str, Style), width: usize) -> Vec<Span<'static>> {
    let right_width = text::width(right.0);
    let room = width.saturating_sub(right_width + usize::from(right_width > 0));
    let shown = text::clip(left.0, room, look.signs.ellipsis).into_owned();
    let pad = width.saturating_sub(text::width(&shown) + right_width);
    vec![Span::styled(shown, left.1), Span::raw(" ".repeat(pad)), Span::styled(right.0.to_owned(), right.1)]
}

/// The name of a signal by its number, of those that end programs.
pub(crate) fn signal_name(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL (an instruction that the processor does not know)",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE (an arithmetic error)",
        9 => "SIGKILL",
        11 => "SIGSEGV (an access to memory that is not there)",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS (a system call that is not allowed)",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::theme::{Depth, Theme};

    #[test]
    fn what_follows_a_picture_is_in_its_place_on_all_terminals() {
        let check = |ascii, drawn: &str, expected: &str| {
            let mut buffer = Buffer::empty(Rect::new(0, 0, 8, 1));
            buffer.set_string(0, 0, drawn, Style::new());
            finish(&mut buffer, &Look::new(&Theme::dark(), Depth::None, ascii));
            assert_eq!(buffer.content.iter().map(Cell::symbol).collect::<String>().trim_end(), expected, "{drawn}");
        };
        check(false, "\u{26a0}\u{fe0f}x", "\u{26a0} x");
        check(false, "\u{1f469}\u{200d}\u{1f467}x", "\u{1f469} x");
        check(false, "\u{1f44d}\u{1f3fd}x", "\u{1f44d} x");
        check(false, "e\u{301}漢x", "e\u{301}漢 x");
        check(true, "\u{1f44d}\u{1f3fd}x", "? x");
    }

    #[test]
    fn hits_are_marked_however_wide_their_characters_are() {
        let look = Look::new(&Theme::dark(), Depth::None, false);
        let check = |shown: &str, needle: &str, expected: &str| {
            let line = Rect::new(0, 0, expected.len() as u16, 1);
            let mut buffer = Buffer::empty(line);
            buffer.set_string(0, 0, shown, Style::new());
            mark_hits(&look, &mut buffer, line, needle);
            let mark = |cell: &Cell| if cell.modifier.contains(Modifier::UNDERLINED) { '^' } else { '.' };
            assert_eq!(buffer.content.iter().map(mark).collect::<String>(), expected, "{shown}");
        };
        check("COPY App /app", "app", ".....^^^..^^^.");
        check("COPY 漢字 x", "漢字", ".....^^^^...");
        check("COPY 漢字x", "字x", ".......^^^");
        check("cafe\u{301} e\u{301}", "e\u{301}", "...^.^");
        check("COPY", "copying", "....");
    }
}
