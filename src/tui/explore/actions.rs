//! What each action of the keymap does.

use super::layout::content;
use super::state::{Explorer, PaneId, Selected};
use super::update::{Effect, on_outcome, on_request};
use crate::tui::app::Note;
use crate::tui::front::Wish;
use crate::tui::input::{Input, Purpose};
use crate::tui::keymap::{Action, Context, Motion, key_of};
use crate::tui::views::help;
use crate::tui::widgets::scroll::{moved, next_hit};
use crate::tui::widgets::{Outcome, Pane, Request};
use bstr::BString;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

pub(super) fn perform(explorer: &mut Explorer, action: Option<Action>) -> Vec<Effect> {
    match action {
        Some(Action::Focus(number)) => {
            if let Some(id) = PaneId::NUMBERED.get(usize::from(number).wrapping_sub(1)) {
                focus(explorer, *id);
            }
        }
        Some(Action::FocusNext) => cycle(explorer, true),
        Some(Action::FocusPrevious) => cycle(explorer, false),
        Some(Action::Zoom) => explorer.zoomed = !explorer.zoomed,
        Some(Action::Find) => {
            explorer.sought_from = explorer.selected;
            explorer.input = Some(Input::new(Purpose::Find, String::new()));
        }
        Some(Action::FindNext) => find_next(explorer, true),
        Some(Action::FindPrevious) => find_next(explorer, false),
        Some(Action::Help) => explorer.help = Some(0),
        Some(Action::Close) => close(explorer),
        Some(Action::Mark) => mark(explorer),
        Some(Action::Move(motion)) => go(explorer, motion),
        Some(Action::Open) if explorer.focus == PaneId::Layers => focus(explorer, PaneId::Layer),
        Some(Action::Open) if explorer.focus == PaneId::Waste => reveal(explorer),
        Some(Action::Extract) => return extract(explorer),
        Some(Action::Retry) => return read_again(explorer),
        Some(Action::Redraw) => return vec![Effect::Terminal(Wish::Redraw)],
        Some(Action::Suspend) => return vec![Effect::Terminal(Wish::Suspend)],
        Some(Action::Quit | Action::Interrupt) => return vec![Effect::Terminal(Wish::Quit)],
        _ => {}
    }
    Vec::new()
}

/// While the help is open, keys move in it or close it.
pub(super) fn in_help(explorer: &mut Explorer, action: Option<Action>) -> Vec<Effect> {
    explorer.help = explorer.help.and_then(|top| help::after(action, top, explorer.size.1));
    match action {
        Some(Action::Suspend) => vec![Effect::Terminal(Wish::Suspend)],
        Some(Action::Redraw) => vec![Effect::Terminal(Wish::Redraw)],
        _ => Vec::new(),
    }
}

/// Gives a pane the focus, and the place with the tabs if it is one of them.
pub(super) fn focus(explorer: &mut Explorer, id: PaneId) {
    if explorer.areas().tabs.contains(&id) {
        // The open file belongs to the pane that it was opened from.
        explorer.viewing &= explorer.shows == id;
        explorer.shows = id;
    }
    explorer.focus = id;
    // Where there is no room for both, the file gives way.
    explorer.viewing &= explorer.areas().of(id).is_some();
}

/// To the layer and the path that the selected row of the waste is about.
fn reveal(explorer: &mut Explorer) {
    let Some(target) = explorer.waste.target() else { return };
    let last = explorer.image.layers.len().saturating_sub(1);
    explorer.selected = Selected::Layer(last.min(target.layer as usize));
    explorer.mark = None;
    if let Some(path) = target.path {
        explorer.layer_pane.reveal(path);
    }
    focus(explorer, PaneId::Layer);
}

fn cycle(explorer: &mut Explorer, forward: bool) {
    let zoomed = std::mem::replace(&mut explorer.zoomed, false);
    let panes: Vec<PaneId> = explorer.areas().panes.iter().map(|(id, _)| *id).collect();
    explorer.zoomed = zoomed;
    let Some(at) = panes.iter().position(|id| *id == explorer.focus) else { return };
    let next = if forward { at + 1 } else { at + panes.len() - 1 };
    explorer.focus = panes[next % panes.len()];
}

fn close(explorer: &mut Explorer) {
    if explorer.viewing && explorer.focus == PaneId::Viewer {
        explorer.viewing = false;
        explorer.focus = explorer.shows;
    } else if explorer.zoomed {
        explorer.zoomed = false;
    } else if explorer.mark.take().is_some() {
        explorer.say("each layer is compared with the one below it");
    } else {
        explorer.focus = PaneId::Layers;
    }
}

/// Sets the layer that others are compared with, or takes it back.
fn mark(explorer: &mut Explorer) {
    if explorer.mark.take().is_some() {
        explorer.say("each layer is compared with the one below it");
        return;
    }
    let Selected::Layer(layer) = explorer.selected else {
        explorer.say("the whole image is compared here; layers are, where one is selected");
        return;
    };
    if explorer.image.layers.is_empty() {
        explorer.complain("there is no layer to compare with");
        return;
    }
    explorer.mark = Some(layer);
    explorer.say(format!("whatever is selected is compared with layer {layer}, until {}", key_of(Action::Mark)));
}

pub(super) fn go(explorer: &mut Explorer, motion: Motion) {
    let height = explorer.areas().of(explorer.focus).map_or(1, |area| usize::from(content(area).height));
    match explorer.focus {
        PaneId::Layers => {
            let all = explorer.selectable();
            let at = all.iter().position(|it| *it == explorer.selected).unwrap_or(0);
            explorer.selected = all.get(moved(at, motion, height, all.len())).copied().unwrap_or(explorer.selected);
            explorer.details_top = 0;
        }
        PaneId::Details => explorer.details_top = moved(explorer.details_top, motion, height, usize::MAX / 4),
        _ => {}
    }
}

/// Reads once more what could not all be read: the image, the other, or both.
fn read_again(explorer: &mut Explorer) -> Vec<Effect> {
    if explorer.is_loading() {
        explorer.complain("the image is still being read");
        return Vec::new();
    }
    let mut effects = Vec::new();
    let is_lacking = !explorer.image.is_whole();
    if is_lacking {
        explorer.image.begin_again();
        effects.push(Effect::Read);
    }
    if let Some(other) = &mut explorer.other {
        if !other.is_whole() {
            other.begin_again();
            effects.push(Effect::ReadOther);
        } else if is_lacking {
            // It is compared with what the image has then.
            other.pair = None;
        }
    }
    if effects.is_empty() {
        explorer.say("all layers have been read: there is nothing to try again");
    }
    effects
}

/// What is selected in the pane with the focus; of a layer, the whole file system there.
fn extract(explorer: &mut Explorer) -> Vec<Effect> {
    let height = match explorer.selected {
        Selected::Other => explorer.image.layers.len(),
        Selected::Layer(layer) => layer + 1,
    };
    if let (PaneId::Layers | PaneId::Details, Some(at)) = (explorer.focus, explorer.image.at(height)) {
        return on_request(explorer, Request::Extract { at, path: BString::default() });
    }
    let key = KeyEvent::new(KeyCode::Char('x'), KeyModifiers::NONE);
    match explorer.widget(explorer.focus).map(|widget| widget.key(key)) {
        Some(outcome @ Outcome::Effect(_)) => on_outcome(explorer, outcome),
        _ => {
            explorer.complain("nothing is selected that could be extracted");
            Vec::new()
        }
    }
}

/// Searches the pane with the focus.
pub(super) fn find(explorer: &mut Explorer, needle: &str) {
    explorer.note = look_for(explorer, needle, |widget| widget.find(needle));
}

/// The same while the text is still being typed.
pub(super) fn seek(explorer: &mut Explorer, input: &mut Input) {
    let note = look_for(explorer, &input.text, |widget| widget.seek(&input.text));
    input.take_found(note);
}

/// Says what has been found of a text.
pub(super) fn found(explorer: &mut Explorer, needle: &str, hits: usize) {
    let note = Some(Note::of_search(Context::Explorer, needle, hits));
    match &mut explorer.input {
        Some(input) if input.purpose == Purpose::Find => input.take_found(note),
        _ => explorer.note = note,
    }
}

/// What was being typed is not searched for after all.
pub(super) fn give_up(explorer: &mut Explorer) {
    let id = explorer.focus;
    explorer.needle.remove(&id);
    match id {
        PaneId::Layers => explorer.selected = explorer.sought_from,
        _ => {
            if let Some(widget) = explorer.widget(id) {
                widget.give_up();
            }
        }
    }
}

fn look_for(explorer: &mut Explorer, needle: &str, search: impl Fn(&mut dyn Pane) -> usize) -> Option<Note> {
    let id = explorer.focus;
    explorer.needle.insert(id, needle.to_owned());
    let hits = match id {
        PaneId::Layers => {
            explorer.selected = explorer.sought_from;
            find_layer(explorer, None)
        }
        PaneId::Details => {
            return Some(Note { text: "there is nothing to search in the details".to_owned(), wrong: true });
        }
        _ => explorer.widget(id).map_or(0, search),
    };
    match (needle.is_empty(), hits) {
        (true, _) => {
            explorer.needle.remove(&id);
            None
        }
        (false, 0) if explorer.widget(id).is_some_and(|widget| widget.is_searching()) => Some(Note::searching()),
        (false, hits) => Some(Note::of_search(Context::Explorer, needle, hits)),
    }
}

fn find_next(explorer: &mut Explorer, forward: bool) {
    let id = explorer.focus;
    if !explorer.needle.contains_key(&id) {
        explorer.complain(format!("nothing was searched for here: {} does", key_of(Action::Find)));
        return;
    }
    match id {
        PaneId::Layers => drop(find_layer(explorer, Some(forward))),
        _ => {
            if let Some(widget) = explorer.widget(id) {
                widget.find_next(forward);
            }
        }
    }
}

/// Selects a layer whose instruction holds the needle. How many do.
fn find_layer(explorer: &mut Explorer, forward: Option<bool>) -> usize {
    let needle = explorer.needle.get(&PaneId::Layers).map(|it| it.to_lowercase()).unwrap_or_default();
    let holds = |text: &str| !needle.is_empty() && text.to_lowercase().contains(&needle);
    let hits: Vec<Selected> = explorer.selectable().into_iter().filter(|it| holds(&explorer.words(*it))).collect();
    let here = explorer.selected;
    explorer.selected = next_hit(&hits, here, forward).unwrap_or(here);
    hits.len()
}
