//! Which pane is where. Pure: the size of the terminal and what is open in, rectangles out.

use super::app::{App, PaneId};
use ratatui::layout::Rect;

/// Below this nothing useful fits.
pub const LEAST: (u16, u16) = (60, 15);
/// From here on the stages, the variables and the breakpoints stand beside the Dockerfile.
const WIDE: (u16, u16) = (120, 22);
/// From here on the variables and the breakpoints have a column of their own.
const WIDER: u16 = 170;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Areas {
    pub header: Rect,
    /// The line of the platforms' tracks; empty if there is one.
    pub tracks: Rect,
    pub keys: Rect,
    /// The panes that are seen, borders included, in the order in which Tab visits them.
    pub panes: Vec<(PaneId, Rect)>,
    /// The panes that share the lower pane's place, as its tabs.
    pub tabs: Vec<PaneId>,
    pub too_small: bool,
    /// Whether the stages stand beside the Dockerfile, not as a rail in it.
    pub wide: bool,
}

impl Areas {
    pub fn of(&self, pane: PaneId) -> Option<Rect> {
        self.panes.iter().find(|(id, _)| *id == pane).map(|(_, area)| *area)
    }

    /// A pane's content, without the border.
    pub fn inner(&self, pane: PaneId) -> Option<Rect> {
        self.of(pane).map(|area| content(pane, area))
    }

    pub fn at(&self, column: u16, row: u16) -> Option<(PaneId, Rect)> {
        let holds = |area: &Rect| area.contains((column, row).into());
        self.panes.iter().copied().find(|(_, area)| holds(area))
    }
}

pub fn inner(area: Rect) -> Rect {
    Rect {
        x: area.x.saturating_add(1),
        y: area.y.saturating_add(1),
        width: area.width.saturating_sub(2),
        height: area.height.saturating_sub(2),
    }
}

/// Where a pane's content goes: within the border, and a column away from it where the content has no gutter.
pub fn content(pane: PaneId, area: Rect) -> Rect {
    let inner = inner(area);
    match pane {
        PaneId::Layer | PaneId::Files | PaneId::Output | PaneId::Viewer if inner.width > 2 => {
            Rect { x: inner.x + 1, width: inner.width - 2, ..inner }
        }
        _ => inner,
    }
}

pub fn is_wide(size: (u16, u16)) -> bool {
    size.0 >= WIDE.0 && size.1 >= WIDE.1
}

/// Columns that the stage graph may take before it scrolls sideways.
pub fn graph_limit(size: (u16, u16), zoomed: bool) -> usize {
    match is_wide(size) && !zoomed {
        true => usize::from(size.0) * 2 / 5 - 4,
        false => usize::from(size.0).saturating_sub(4),
    }
}

const NARROW_TABS: [PaneId; 8] = [
    PaneId::Layer,
    PaneId::Files,
    PaneId::Output,
    PaneId::Shell,
    PaneId::Image,
    PaneId::Variables,
    PaneId::Breakpoints,
    PaneId::Stages,
];
const WIDE_TABS: [PaneId; 5] = [PaneId::Layer, PaneId::Files, PaneId::Output, PaneId::Shell, PaneId::Image];

pub fn areas(app: &App) -> Areas {
    let (columns, rows) = app.size;
    let mut out = Areas { wide: is_wide(app.size), ..Areas::default() };
    if columns < LEAST.0 || rows < LEAST.1 {
        out.too_small = true;
        return out;
    }
    out.header = Rect::new(0, 0, columns, 1);
    out.keys = Rect::new(0, rows - 1, columns, 1);
    let line = u16::from(app.tracks.len() > 1);
    out.tracks = Rect::new(0, 1, columns, line);
    let body = Rect::new(0, 1 + line, columns, rows - 2 - line);
    out.tabs = if out.wide { WIDE_TABS.to_vec() } else { NARROW_TABS.to_vec() };
    if app.zoomed {
        out.panes.push((app.focus, body));
        return out;
    }
    match out.wide {
        true => wide(app, body, &mut out),
        false => narrow(app, body, &mut out),
    }
    out
}

fn wide(app: &App, body: Rect, out: &mut Areas) {
    let most = body.width * 2 / 5;
    let left = (app.graph_width() as u16).saturating_add(4).clamp(38.min(most), most);
    let list = (app.build.breakpoints.len() as u16).saturating_add(3).clamp(4, (body.height / 4).max(4));
    let (first, rest) = split_columns(body, left);
    if body.width >= WIDER {
        let (middle, last) = split_columns(rest, rest.width - (rest.width * 3 / 10).clamp(44, 64));
        let (source, lower) = split_rows(middle, source_height(app, body.height));
        let (variables, breakpoints) = split_rows(last, body.height - list);
        out.panes.push((PaneId::Stages, first));
        out.panes.push((PaneId::Source, source));
        beside(app, lower, out);
        out.panes.push((PaneId::Variables, variables));
        out.panes.push((PaneId::Breakpoints, breakpoints));
        return;
    }
    let (stages, breakpoints) = split_rows(first, body.height - list);
    let (source, bottom) = split_rows(rest, source_height(app, body.height));
    let (lower, variables) = split_columns(bottom, rest.width - (rest.width * 3 / 10).clamp(28, 48));
    out.panes.push((PaneId::Stages, stages));
    out.panes.push((PaneId::Source, source));
    beside(app, lower, out);
    out.panes.push((PaneId::Variables, variables));
    out.panes.push((PaneId::Breakpoints, breakpoints));
}

fn narrow(app: &App, body: Rect, out: &mut Areas) {
    let (source, lower) = split_rows(body, source_height(app, body.height));
    out.panes.push((PaneId::Source, source));
    beside(app, lower, out);
}

/// The Dockerfile's pane takes what it needs, within bounds; it does not change while a plan holds.
fn source_height(app: &App, body: u16) -> u16 {
    let lines = match app.build.drawn().filter(|_| app.build.problem.is_none()) {
        Some(plan) => plan.dockerfile.text.lines().take(usize::from(body)).count(),
        // Whatever there is to say takes the room that a file would.
        None => usize::from(body),
    };
    let needed = (lines as u16).saturating_add(2);
    needed.clamp(body * 9 / 20, body * 12 / 20)
}

/// The lower pane, and the open file at its right, or in its place if there is no room.
fn beside(app: &App, area: Rect, out: &mut Areas) {
    let has_viewer = match app.lower {
        PaneId::Shell => app.panes.shell_shows_changes(),
        other => matches!(other, PaneId::Layer | PaneId::Files | PaneId::Image),
    };
    match app.viewing && has_viewer {
        true if area.width >= 90 => {
            let (left, right) = split_columns(area, area.width * 2 / 5);
            out.panes.push((app.lower, left));
            out.panes.push((PaneId::Viewer, right));
        }
        true => out.panes.push((PaneId::Viewer, area)),
        false => out.panes.push((app.lower, area)),
    }
}

pub(super) fn split_rows(area: Rect, first: u16) -> (Rect, Rect) {
    let first = first.min(area.height);
    (Rect { height: first, ..area }, Rect { y: area.y + first, height: area.height - first, ..area })
}

pub(super) fn split_columns(area: Rect, first: u16) -> (Rect, Rect) {
    let first = first.min(area.width);
    (Rect { width: first, ..area }, Rect { x: area.x + first, width: area.width - first, ..area })
}
