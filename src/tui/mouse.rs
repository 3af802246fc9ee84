//! Clicks and the wheel.

use super::actions;
use super::app::{App, PaneId};
use super::keymap::{Action, Motion};
use super::layout;
use super::update::{Effect, on_outcome};
use super::views::{branches, breakpoints, help, listing, source, start, tab_at, tracks};
use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Rect;

/// Lines that one notch of the wheel moves.
const NOTCH: usize = 3;

pub(super) fn on_mouse(app: &mut App, event: MouseEvent) -> Vec<Effect> {
    if app.help.is_some() {
        return actions::in_help(app, help::pointed(event.kind));
    }
    if app.branches.is_some() {
        return in_branches(app, event);
    }
    let areas = app.areas();
    if event.kind == MouseEventKind::Down(MouseButton::Left) && areas.tracks.contains((event.column, event.row).into())
    {
        return tracks::at(app, areas.tracks, event.column).map(Effect::Show).into_iter().collect();
    }
    let Some((id, area)) = areas.at(event.column, event.row) else { return Vec::new() };
    let inner = layout::content(id, area);
    match event.kind {
        MouseEventKind::Down(MouseButton::Left) => {
            app.note = None;
            let lower = areas.tabs.contains(&id) || id == PaneId::Viewer;
            if event.row == area.y && lower && !app.zoomed {
                return match tab_at(&areas.tabs, area, event.column) {
                    Some(tab) => {
                        app.viewing &= matches!(tab, PaneId::Layer | PaneId::Files);
                        actions::focus(app, tab)
                    }
                    None => Vec::new(),
                };
            }
            actions::focus(app, id);
            match inner.contains((event.column, event.row).into()) {
                true => click(app, id, inner, event, areas.wide),
                false => Vec::new(),
            }
        }
        MouseEventKind::ScrollUp => wheel(app, id, inner, event, Motion::Up),
        MouseEventKind::ScrollDown => wheel(app, id, inner, event, Motion::Down),
        _ => to_widget(app, id, inner, event),
    }
}

/// A click selects a branch, and goes to it if it was selected; one outside of the list closes it.
fn in_branches(app: &mut App, event: MouseEvent) -> Vec<Effect> {
    let (columns, rows) = app.size;
    match event.kind {
        MouseEventKind::ScrollUp => actions::in_branches(app, Some(Action::Move(Motion::Up))),
        MouseEventKind::ScrollDown => actions::in_branches(app, Some(Action::Move(Motion::Down))),
        MouseEventKind::Down(MouseButton::Left) => {
            match branches::clicked(app, Rect::new(0, 0, columns, rows), event.column, event.row) {
                Some(row) if app.branches == Some(row) => actions::in_branches(app, Some(Action::Open)),
                row => {
                    app.branches = row;
                    Vec::new()
                }
            }
        }
        _ => Vec::new(),
    }
}

fn click(app: &mut App, id: PaneId, inner: Rect, event: MouseEvent, wide: bool) -> Vec<Effect> {
    let (x, y) = (usize::from(event.column - inner.x), usize::from(event.row - inner.y));
    match id {
        PaneId::Source => {
            let room = start::rest(app, inner);
            let row = app.source.top + usize::from(event.row.saturating_sub(room.y));
            if !room.contains((event.column, event.row).into()) || row >= app.source.line_count() {
                return Vec::new();
            }
            if x < listing::gutter(app, wide)
                && let Some(source::Row::Line(line)) = app.source.rows().get(row)
            {
                let line = *line;
                return actions::toggle_breakpoint_at(app, line);
            }
            app.source.select_row(row);
            Vec::new()
        }
        PaneId::Stages => {
            let before = app.stages.selected().cloned();
            // The drawing begins one column in.
            let hit = x > 0 && app.stages.click(x - 1, y);
            match hit && before.as_ref() == app.stages.selected() {
                true => actions::perform(app, Action::Open),
                false => Vec::new(),
            }
        }
        PaneId::Image if app.panes.shows_picture() => to_widget(app, id, inner, event),
        PaneId::Image if app.origins.traced().is_some() => match y.checked_sub(2) {
            Some(row) if app.origins.click(row) => actions::perform(app, Action::Open),
            _ => Vec::new(),
        },
        PaneId::Breakpoints => {
            if let Some(at) = breakpoints::at_row(app, y, usize::from(inner.height)) {
                app.breakpoint = at;
                // On its sign.
                if x <= 1 {
                    return actions::perform(app, Action::EnableBreakpoint);
                }
            }
            Vec::new()
        }
        _ => to_widget(app, id, inner, event),
    }
}

fn wheel(app: &mut App, id: PaneId, inner: Rect, event: MouseEvent, motion: Motion) -> Vec<Effect> {
    let height = usize::from(inner.height);
    let down = motion == Motion::Down;
    let turn = |top: usize| if down { top + NOTCH } else { top.saturating_sub(NOTCH) };
    match id {
        PaneId::Source => (0..NOTCH).for_each(|_| app.source.go(motion, height)),
        PaneId::Stages => app.stages.go(motion),
        PaneId::Breakpoints => {
            let last = breakpoints::count(app) - 1;
            app.breakpoint = if down { (app.breakpoint + 1).min(last) } else { app.breakpoint.saturating_sub(1) };
        }
        PaneId::Variables => app.variables_top = turn(app.variables_top),
        PaneId::Image if app.panes.shows_picture() => return to_widget(app, id, inner, event),
        PaneId::Image if app.origins.traced().is_some() => (0..NOTCH).for_each(|_| app.origins.go(motion, height)),
        PaneId::Image => app.image_top = turn(app.image_top),
        _ => return to_widget(app, id, inner, event),
    }
    Vec::new()
}

fn to_widget(app: &mut App, id: PaneId, inner: Rect, event: MouseEvent) -> Vec<Effect> {
    match app.panes.get(id) {
        Some(widget) => {
            let outcome = widget.mouse(event, inner);
            on_outcome(app, outcome)
        }
        None => Vec::new(),
    }
}
