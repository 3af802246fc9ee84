//! The files that a bar of the picture stands for, the largest first.

use super::picture::Picture;
use crate::tui::text;
use crate::tui::theme::Look;
use crate::tui::views::bar::bar;
use crate::tui::widgets::scroll::follow;
use bstr::BString;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Columns of a size: `812.0 MB`.
const SIZE: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) title: String,
    pub(super) list: Vec<(BString, u64)>,
    pub(super) more: usize,
    pub(super) selected: usize,
    pub(super) top: usize,
    pub(super) height: usize,
}

impl Files {
    pub(super) fn render(&mut self, picture: &Picture, area: Rect, buffer: &mut Buffer, look: &Look, focused: bool) {
        let foot = u16::from(area.height > 3);
        let list = Rect { height: area.height - foot, ..area };
        let height = usize::from(list.height);
        let total = self.list.len() + usize::from(self.more > 0);
        self.height = height;
        self.top = follow(self.top, self.selected, height, total);
        let most = self.list.first().map_or(1, |(_, bytes)| *bytes);
        let bars = if area.width >= 60 { 12 } else { 0 };
        for (line, at) in (self.top..total).take(height).enumerate() {
            let row = Rect { y: list.y + line as u16, height: 1, ..list };
            let Some((path, bytes)) = self.list.get(at) else {
                let words = format!("{:>SIZE$}  and {} smaller ones", "", self.more);
                buffer.set_stringn(row.x, row.y, words, usize::from(row.width), look.muted);
                continue;
            };
            if at == self.selected {
                buffer.set_style(row, if focused { look.selection } else { look.selection_idle });
            }
            let mut spans = vec![Span::styled(format!("{:>SIZE$}  ", text::size(*bytes)), look.muted)];
            if bars > 0 {
                spans.extend(bar(look, *bytes, most, bars));
                spans.push(Span::raw("  "));
            }
            let used: usize = spans.iter().map(Span::width).sum();
            let path = text::sanitise_bytes(&[b"/", path.as_slice()].concat()).into_owned();
            let room = usize::from(row.width).saturating_sub(used);
            spans.push(Span::styled(text::clip_start(&path, room, look.signs.ellipsis).into_owned(), look.text));
            buffer.set_line(row.x, row.y, &Line::from(spans), row.width);
        }
        if let Some((path, _)) = self.list.get(self.selected).filter(|_| foot > 0) {
            let way = picture.way(look, path);
            let way = text::sanitise(&way);
            let room = usize::from(area.width);
            let shown = text::clip(&way, room, look.signs.ellipsis);
            buffer.set_stringn(area.x, area.bottom() - 1, shown, room, look.muted);
        }
    }
}
