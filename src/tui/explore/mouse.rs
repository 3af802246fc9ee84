//! Clicks and the wheel.

use super::layout::content;
use super::state::{Explorer, PaneId};
use super::update::{Effect, on_outcome};
use super::{actions, draw, layers};
use crate::tui::keymap::{Action, Motion};
use crate::tui::views::help;
use crate::tui::widgets::{Outcome, Pane};
use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};

pub(super) fn on_mouse(explorer: &mut Explorer, event: MouseEvent) -> Vec<Effect> {
    if explorer.input.is_some() {
        return Vec::new();
    }
    if explorer.help.is_some() {
        return actions::in_help(explorer, help::pointed(event.kind));
    }
    let areas = explorer.areas();
    let Some((id, area)) = areas.at(event.column, event.row) else { return Vec::new() };
    let inner = content(area);
    let wheel = match event.kind {
        MouseEventKind::ScrollUp => Some(Motion::Up),
        MouseEventKind::ScrollDown => Some(Motion::Down),
        _ => None,
    };
    if let MouseEventKind::Down(MouseButton::Left) = event.kind {
        explorer.note = None;
        if event.row == area.y {
            if let Some(tab) = draw::tab_at(&areas.tabs, id, area, event.column) {
                actions::focus(explorer, tab);
            } else {
                explorer.focus = id;
            }
            return Vec::new();
        }
        explorer.focus = id;
    }
    match (id, wheel) {
        (PaneId::Layers | PaneId::Details, Some(motion)) => {
            let focus = std::mem::replace(&mut explorer.focus, id);
            actions::go(explorer, motion);
            explorer.focus = focus;
        }
        (PaneId::Layers, None) if matches!(event.kind, MouseEventKind::Down(_)) => {
            let row = usize::from(event.row.saturating_sub(inner.y));
            if let Some(selected) = layers::at_row(explorer, row) {
                if selected == explorer.selected {
                    actions::focus(explorer, PaneId::Layer);
                }
                explorer.selected = selected;
            }
        }
        (PaneId::Waste, None) => {
            let before = explorer.waste.target();
            let outcome = explorer.waste.mouse(event, inner);
            let again = outcome == Outcome::Consumed && before == explorer.waste.target();
            if again && before.is_some() {
                return actions::perform(explorer, Some(Action::Open));
            }
        }
        _ => {
            if let Some(outcome) = explorer.widget(id).map(|widget| widget.mouse(event, inner)) {
                return on_outcome(explorer, outcome);
            }
        }
    }
    Vec::new()
}
