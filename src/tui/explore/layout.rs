//! Which pane is where. Pure: the size of the terminal and what is open in, rectangles out.

use super::state::{Explorer, PaneId};
use crate::tui::layout::{LEAST, inner, split_columns, split_rows};
use ratatui::layout::Rect;

/// From here on the layers and the details stand beside the files.
const WIDE: u16 = 110;
/// Columns from which on an open file stands beside its tree.
const BESIDE: u16 = 90;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Areas {
    pub header: Rect,
    pub keys: Rect,
    /// The panes that are seen, borders included, in the order in which Tab visits them.
    pub panes: Vec<(PaneId, Rect)>,
    /// The panes that share a place, as its tabs.
    pub tabs: Vec<PaneId>,
    pub too_small: bool,
}

impl Areas {
    pub fn of(&self, pane: PaneId) -> Option<Rect> {
        self.panes.iter().find(|(id, _)| *id == pane).map(|(_, area)| *area)
    }

    pub fn at(&self, column: u16, row: u16) -> Option<(PaneId, Rect)> {
        self.panes.iter().copied().find(|(_, area)| area.contains((column, row).into()))
    }
}

/// Where a pane's content goes: within the border, and a column away from it.
pub fn content(area: Rect) -> Rect {
    let inner = inner(area);
    match inner.width > 2 {
        true => Rect { x: inner.x + 1, width: inner.width - 2, ..inner },
        false => inner,
    }
}

pub fn areas(explorer: &Explorer) -> Areas {
    let (columns, rows) = explorer.size;
    let mut out = Areas::default();
    if columns < LEAST.0 || rows < LEAST.1 {
        out.too_small = true;
        return out;
    }
    out.header = Rect::new(0, 0, columns, 1);
    out.keys = Rect::new(0, rows - 1, columns, 1);
    let body = Rect::new(0, 1, columns, rows - 2);
    let wide = columns >= WIDE;
    out.tabs = vec![PaneId::Layer, PaneId::Files, PaneId::Map, PaneId::Waste, PaneId::Flow];
    if !wide {
        out.tabs.push(PaneId::Details);
    }
    if explorer.zoomed {
        out.panes.push((explorer.focus, body));
        return out;
    }
    let base = usize::from(explorer.image.base.is_some());
    let list = (explorer.selectable().len() + base).max(1).min(usize::from(body.height)) as u16 + 2;
    if wide {
        let (left, right) = split_columns(body, (body.width * 2 / 5).clamp(44, 84));
        let (layers, details) = split_rows(left, list.clamp(5, body.height * 6 / 10));
        out.panes.push((PaneId::Layers, layers));
        out.panes.push((PaneId::Details, details));
        beside(explorer, right, &mut out);
    } else {
        let (layers, below) = split_rows(body, list.clamp(5, body.height * 9 / 20));
        out.panes.push((PaneId::Layers, layers));
        beside(explorer, below, &mut out);
    }
    out
}

/// The pane with the tabs, and the open file at its right, or in its place if there is no room.
fn beside(explorer: &Explorer, area: Rect, out: &mut Areas) {
    // Details have a place of their own where there is room for it.
    let shows = if out.tabs.contains(&explorer.shows) { explorer.shows } else { PaneId::Layer };
    match explorer.viewing {
        true if area.width >= BESIDE => {
            let (left, right) = split_columns(area, area.width * 2 / 5);
            out.panes.push((shows, left));
            out.panes.push((PaneId::Viewer, right));
        }
        true => out.panes.push((PaneId::Viewer, area)),
        false => out.panes.push((shows, area)),
    }
}
