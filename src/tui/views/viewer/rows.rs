//! The rows of a text that is looked into.

use crate::tui::theme::Look;
use crate::tui::widgets::ansi::Line;
use crate::tui::widgets::pager::{Pager, Text};
use crate::tui::widgets::syntax::Run;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use std::borrow::Cow;

/// How a text's rows are drawn.
pub(super) struct How<G, S, T> {
    /// Columns at the left, and what stands there at a row and a row of its wrapped line.
    pub(super) gutter: u16,
    pub(super) gutter_text: G,
    /// Over all of a row.
    pub(super) style: S,
    /// Of the words of a row.
    pub(super) tones: T,
}

/// Draws what is in sight of a text.
pub(super) fn draw<'t>(
    pager: &mut Pager,
    text: &impl Text,
    how: How<impl Fn(usize, usize) -> String, impl Fn(usize) -> Option<Style>, impl Fn(usize) -> Option<&'t [Run]>>,
    area: Rect,
    buffer: &mut Buffer,
    look: &Look,
) {
    let gutter = how.gutter.min(area.width / 2);
    let inner = Rect { x: area.x + gutter, width: area.width - gutter, ..area };
    pager.fit(text, usize::from(inner.width), usize::from(inner.height));
    for ((row, sub), y) in pager.visible(text).into_iter().zip(area.y..area.bottom()) {
        buffer.set_stringn(area.x, y, (how.gutter_text)(row, sub), usize::from(gutter), look.muted);
        let line = Rect { y, height: 1, ..inner };
        match text.line(row) {
            Some(content) => {
                let content = match (how.tones)(row).filter(|tones| !tones.is_empty()) {
                    Some(tones) => Cow::Owned(coloured(&content, tones, look)),
                    None => content,
                };
                pager.draw(&content, sub, line, buffer, look);
            }
            None => {
                let waiting = Line { text: look.signs.ellipsis.into(), ..Line::default() };
                pager.draw(&waiting, 0, line, buffer, look);
            }
        }
        if let Some(style) = (how.style)(row) {
            buffer.set_style(line, style);
        }
    }
}

/// A line in the colours of its words; what it had at its end stays.
fn coloured(line: &Line, tones: &[Run], look: &Look) -> Line {
    let plain = Style::new();
    let mut runs: Vec<(u32, Style)> =
        tones.iter().map(|(end, tone)| (*end, tone.map_or(plain, |tone| tone.style(look)))).collect();
    let end = tones.last().map_or(0, |(end, _)| *end);
    runs.extend(line.runs.iter().filter(|(its, _)| *its > end).copied());
    Line { runs: runs.into(), ..line.clone() }
}
