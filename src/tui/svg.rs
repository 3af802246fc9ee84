//! A screen as a picture, for documents: the same buffer that a terminal would get.
//!
//! Lines and bars are drawn as shapes, so that they join whatever font the reader has.

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};
use std::fmt::Write;
use std::ops::Range;

/// Size of a character's cell, and the margin around the screen, in pixels.
const WIDTH: f32 = 8.4;
const HEIGHT: f32 = 18.0;
const MARGIN: f32 = 14.0;

/// What `Color::Reset` is in the picture.
#[derive(Debug, Clone, Copy)]
pub struct Ground {
    pub foreground: Color,
    pub background: Color,
}

/// A dark terminal.
pub const DARK: Ground = Ground { foreground: Color::Rgb(0xc9, 0xd1, 0xd9), background: Color::Rgb(0x11, 0x15, 0x1b) };

/// Draws a buffer in true colours.
pub fn render(buffer: &Buffer, ground: Ground) -> String {
    let (columns, rows) = (buffer.area.width, buffer.area.height);
    let width = f32::from(columns) * WIDTH + 2.0 * MARGIN;
    let height = f32::from(rows) * HEIGHT + 2.0 * MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace\" font-size=\"14\" \
         xml:space=\"preserve\">\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{}\"/>\n",
        hex(ground.background, ground.background)
    );
    for y in 0..rows {
        let cells: Vec<&Cell> = (0..columns).filter_map(|x| buffer.cell((x, y))).collect();
        row(&mut out, &cells, y, ground);
    }
    out.push_str("</svg>\n");
    out
}

fn row(out: &mut String, cells: &[&Cell], y: u16, ground: Ground) {
    let top = MARGIN + f32::from(y) * HEIGHT;
    for (from, to) in runs(cells, |cell| colors(cell, ground).1) {
        let (_, background) = colors(cells[from], ground);
        if background != ground.background {
            let (x, width) = (left(from), (to - from) as f32 * WIDTH);
            let fill = hex(background, ground.background);
            let _ = writeln!(
                out,
                "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{HEIGHT}\" fill=\"{fill}\"/>"
            );
        }
    }
    let kind = |cell: &Cell| (is_drawn(cell.symbol()), colors(cell, ground).0, cell.modifier);
    for (from, to) in runs(cells, kind) {
        let run = &cells[from..to];
        let fill = hex(colors(run[0], ground).0, ground.foreground);
        match is_drawn(run[0].symbol()) {
            true => lines(out, run, from, top, &fill),
            false => text(out, run, from, top, &fill),
        }
    }
}

/// Stretches of cells that are alike.
fn runs<'c, K: PartialEq>(cells: &[&'c Cell], kind: impl Fn(&'c Cell) -> K) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    let mut from = 0;
    for at in 1..=cells.len() {
        if at == cells.len() || kind(cells[at]) != kind(cells[from]) {
            out.push((from, at));
            from = at;
        }
    }
    out
}

fn left(column: usize) -> f32 {
    MARGIN + column as f32 * WIDTH
}

/// One piece for each stretch without a gap, so that a font of another width moves nothing far.
fn text(out: &mut String, run: &[&Cell], from: usize, top: f32, fill: &str) {
    let modifier = run[0].modifier;
    let mut style = String::new();
    if modifier.contains(Modifier::BOLD) {
        style.push_str(" font-weight=\"bold\"");
    }
    if modifier.contains(Modifier::UNDERLINED) {
        style.push_str(" text-decoration=\"underline\"");
    }
    if modifier.contains(Modifier::DIM) {
        style.push_str(" opacity=\"0.6\"");
    }
    let content: Vec<&str> = run.iter().map(|cell| cell.symbol()).collect();
    for piece in pieces(&content) {
        let shown: String = content[piece.clone()].concat();
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" textLength=\"{:.1}\" fill=\"{fill}\"{style}>{}</text>",
            left(from + piece.start),
            top + 13.0,
            super::text::width(&shown) as f32 * WIDTH,
            escaped(&shown)
        );
    }
}

/// Stretches of cells without two blanks in a row.
fn pieces(cells: &[&str]) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    for at in (0..cells.len()).filter(|at| !cells[*at].trim().is_empty()) {
        match out.last_mut() {
            Some(piece) if at <= piece.end + 1 => piece.end = at + 1,
            _ => out.push(at..at + 1),
        }
    }
    out
}

/// Whether a sign is drawn as a shape.
fn is_drawn(symbol: &str) -> bool {
    shape(symbol).is_some()
}

#[derive(Clone, Copy)]
enum Shape {
    /// From the middle to these sides: up, down, left, right; rounded where two meet at a corner.
    Line(bool, bool, bool, bool),
    /// The same, dashed.
    Dashed(bool),
    /// Upright, or flat.
    Heavy(bool),
    /// Flat, to the middle.
    HeavyHalf,
}

fn shape(symbol: &str) -> Option<Shape> {
    use Shape::Line;
    Some(match symbol {
        "─" => Line(false, false, true, true),
        "│" => Line(true, true, false, false),
        "╭" => Line(false, true, false, true),
        "╮" => Line(false, true, true, false),
        "╰" => Line(true, false, false, true),
        "╯" => Line(true, false, true, false),
        "├" => Line(true, true, false, true),
        "┤" => Line(true, true, true, false),
        "┬" => Line(false, true, true, true),
        "┴" => Line(true, false, true, true),
        "┼" => Line(true, true, true, true),
        "┄" => Shape::Dashed(false),
        "┆" => Shape::Dashed(true),
        "┃" => Shape::Heavy(true),
        "━" => Shape::Heavy(false),
        "╸" => Shape::HeavyHalf,
        _ => return None,
    })
}

fn lines(out: &mut String, run: &[&Cell], from: usize, top: f32, color: &str) {
    let mut solid = String::new();
    let mut dashed = String::new();
    let mut heavy = String::new();
    for (at, cell) in run.iter().enumerate() {
        let (x, right) = (left(from + at), left(from + at + 1));
        let (middle, centre, bottom) = (x + WIDTH / 2.0, top + HEIGHT / 2.0, top + HEIGHT);
        match shape(cell.symbol()) {
            Some(Shape::Line(up, down, to_left, to_right)) => {
                line(&mut solid, (x, right, middle), (top, bottom, centre), (up, down, to_left, to_right));
            }
            Some(Shape::Dashed(false)) => {
                let _ = write!(dashed, "M{x:.1} {centre:.1}H{right:.1}");
            }
            Some(Shape::Dashed(true)) => {
                let _ = write!(dashed, "M{middle:.1} {top:.1}V{bottom:.1}");
            }
            Some(Shape::Heavy(true)) => {
                let _ = write!(heavy, "M{middle:.1} {top:.1}V{bottom:.1}");
            }
            Some(Shape::Heavy(false)) => {
                let _ = write!(heavy, "M{x:.1} {centre:.1}H{right:.1}");
            }
            Some(Shape::HeavyHalf) => {
                let _ = write!(heavy, "M{x:.1} {centre:.1}H{middle:.1}");
            }
            None => {}
        }
    }
    if !solid.is_empty() {
        let _ = writeln!(out, "<path d=\"{solid}\" stroke=\"{color}\" fill=\"none\"/>");
    }
    if !heavy.is_empty() {
        let _ = writeln!(out, "<path d=\"{heavy}\" stroke=\"{color}\" fill=\"none\" stroke-width=\"3\"/>");
    }
    if !dashed.is_empty() {
        let _ = writeln!(out, "<path d=\"{dashed}\" stroke=\"{color}\" fill=\"none\" stroke-dasharray=\"2.1 2.1\"/>");
    }
}

type Span = (f32, f32, f32);

/// `x` and `y` are the cell's edges and its middle.
fn line(path: &mut String, x: Span, y: Span, ways: (bool, bool, bool, bool)) {
    let (left, right, middle) = x;
    let (top, bottom, centre) = y;
    let _ = match ways {
        (false, false, true, true) => write!(path, "M{left:.1} {centre:.1}H{right:.1}"),
        (true, true, false, false) => write!(path, "M{middle:.1} {top:.1}V{bottom:.1}"),
        (false, true, false, true) => corner(path, (middle, bottom), (right, centre), (middle, centre)),
        (false, true, true, false) => corner(path, (middle, bottom), (left, centre), (middle, centre)),
        (true, false, false, true) => corner(path, (middle, top), (right, centre), (middle, centre)),
        (true, false, true, false) => corner(path, (middle, top), (left, centre), (middle, centre)),
        (up, down, to_left, to_right) => {
            let (from_y, to_y) = (if up { top } else { centre }, if down { bottom } else { centre });
            let (from_x, to_x) = (if to_left { left } else { middle }, if to_right { right } else { middle });
            write!(path, "M{middle:.1} {from_y:.1}V{to_y:.1}M{from_x:.1} {centre:.1}H{to_x:.1}")
        }
    };
}

fn corner(path: &mut String, from: (f32, f32), to: (f32, f32), through: (f32, f32)) -> std::fmt::Result {
    let (x, y) = through;
    write!(path, "M{:.1} {:.1}Q{x:.1} {y:.1} {:.1} {:.1}", from.0, from.1, to.0, to.1)
}

/// Foreground and background of a cell.
fn colors(cell: &Cell, ground: Ground) -> (Color, Color) {
    let or = |color: Color, default: Color| if color == Color::Reset { default } else { color };
    let pair = (or(cell.fg, ground.foreground), or(cell.bg, ground.background));
    if cell.modifier.contains(Modifier::REVERSED) { (pair.1, pair.0) } else { pair }
}

fn hex(color: Color, default: Color) -> String {
    match (color, default) {
        (Color::Rgb(r, g, b), _) | (_, Color::Rgb(r, g, b)) => format!("#{r:02x}{g:02x}{b:02x}"),
        _ => "currentColor".to_owned(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::{fixture, screens};

    #[test]
    fn text_is_escaped_and_keeps_its_place() {
        let buffer = Buffer::with_lines(["  a<b&c  ─╮"]);
        let out = render(&buffer, DARK);
        assert!(
            out.contains("<text x=\"30.8\" y=\"27.0\" textLength=\"42.0\" fill=\"#c9d1d9\">a&lt;b&amp;c</text>"),
            "{out}"
        );
        assert!(out.contains("<path d=\"M89.6 23.0H98.0M102.2 32.0Q102.2 23.0 98.0 23.0\""), "{out}");
    }

    /// The README's picture is what the program draws. `UPDATE_SCREEN=1 cargo test` draws it anew.
    #[test]
    fn the_picture_in_the_readme_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/screen.svg");
        let mut app = screens::app(&fixture::hello_stopped_with(&["8", "15"]).1, 124, 36);
        let drawn = render(&screens::drawn(&mut app), DARK);
        if std::env::var_os("UPDATE_SCREEN").is_some() {
            std::fs::write(path, &drawn).expect("the picture can be written");
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(kept == drawn, "assets/screen.svg is not what is drawn: UPDATE_SCREEN=1 cargo test --lib tui::svg");
    }
}
