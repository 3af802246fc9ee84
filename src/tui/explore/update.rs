//! Message in, state changed, effects out. Never waits.

use super::layout::content;
use super::state::{Explorer, PaneId};
use super::waste::Report;
use super::{draw, layers};
use crate::engine::EngineError;
use crate::image::base::Base;
use crate::image::inventory::{Inventory, Progress};
use crate::image::source::SourceError;
use crate::layers::Kind;
use crate::snapshot::SnapshotId;
use crate::tui::input::{Input, Purpose, Typed};
use crate::tui::keymap::{self, Action, Context, Key, Motion, key_of};
use crate::tui::text;
use crate::tui::widgets::scroll::moved;
use crate::tui::widgets::{Answer, Outcome, Query, Request, Slot};
use bstr::BString;
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use std::path::PathBuf;

/// Everything that can happen to the screen.
#[derive(Debug)]
pub enum Message {
    Key(KeyEvent),
    Mouse(MouseEvent),
    Paste(String),
    Resize(u16, u16),
    Progress(Progress),
    /// All layers have been read, or nothing can be.
    Read(Box<Result<Inventory, SourceError>>),
    Loaded {
        slot: Slot,
        query: Query,
        answer: Result<Answer, EngineError>,
    },
    /// The image that this one is built on.
    Base(Base),
    /// What of the image is dead, and what is there twice.
    Accounted(Box<Report>),
    /// What became of writing files out.
    Extracted(Result<String, String>),
    Signal(i32),
    Tick,
}

/// What the loop is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Load(Slot, Query),
    /// Work out what of the image is dead.
    Account,
    Extract {
        at: SnapshotId,
        path: BString,
        to: PathBuf,
    },
    Copy(String),
    Suspend,
    /// Draw every cell again.
    Redraw,
    Quit,
}

pub fn update(explorer: &mut Explorer, message: Message) -> Vec<Effect> {
    let mut effects = match message {
        Message::Key(key) if key.kind == KeyEventKind::Release => Vec::new(),
        Message::Key(key) => on_key(explorer, key),
        Message::Mouse(event) => on_mouse(explorer, event),
        Message::Paste(text) => {
            if let Some(input) = &mut explorer.input {
                input.insert(&text);
            }
            Vec::new()
        }
        Message::Resize(columns, rows) => {
            explorer.size = (columns, rows);
            Vec::new()
        }
        Message::Progress(progress) => {
            let is_tree = matches!(progress, Progress::Tree(_));
            explorer.image.progress(progress);
            if is_tree {
                new_tree(explorer);
            }
            Vec::new()
        }
        Message::Base(base) => {
            explorer.image.base = Some(base);
            // What is the base's is another's to mend.
            if explorer.image.inventory.is_some() { vec![Effect::Account] } else { Vec::new() }
        }
        Message::Accounted(mut report) => {
            explorer.waste.set(&mut report);
            explorer.account = Some(report.waste);
            Vec::new()
        }
        Message::Read(read) => {
            let whole = read.is_ok();
            match *read {
                Ok(inventory) => {
                    explorer.image.finish(inventory);
                    new_tree(explorer);
                    if let Some(broken) = explorer.image.layers.iter().find_map(|it| it.facts.broken.clone()) {
                        explorer.complain(format!("not whole: {broken}"));
                    }
                }
                Err(error) => {
                    explorer.complain(error.message.clone());
                    explorer.image.failure = Some(error);
                }
            }
            if whole { vec![Effect::Account] } else { Vec::new() }
        }
        Message::Loaded { slot, query, answer } => {
            let requests = explorer.of_slot(slot).map(|pane| pane.loaded(&query, answer)).unwrap_or_default();
            on_requests(explorer, requests)
        }
        Message::Extracted(Ok(text)) => {
            explorer.say(text);
            Vec::new()
        }
        Message::Extracted(Err(text)) => {
            explorer.complain(text);
            Vec::new()
        }
        Message::Signal(number) => {
            explorer.signal = Some(number);
            vec![Effect::Quit]
        }
        Message::Tick => Vec::new(),
    };
    effects.extend(settle(explorer));
    effects
}

fn new_tree(explorer: &mut Explorer) {
    let image = &explorer.image;
    let at = image.at(image.tree.height() as usize).filter(|_| image.tree.height() > 0);
    explorer.map.set(image.tree.clone(), at);
}

/// Tells the panes that are seen what they are about and how much room they have.
fn settle(explorer: &mut Explorer) -> Vec<Effect> {
    let areas = explorer.areas();
    if explorer.focus == PaneId::Viewer && !explorer.viewing {
        explorer.focus = explorer.shows;
    }
    if areas.of(explorer.focus).is_none()
        && let Some((first, _)) = areas.panes.first()
    {
        explorer.focus = *first;
    }
    let place = explorer.place();
    let mut effects = Vec::new();
    for (id, area) in areas.panes {
        let inner = content(area);
        let size = (inner.width, inner.height);
        let resized = explorer.sizes.insert(id, size) != Some(size);
        let moved = explorer.shown.get(&id) != Some(&place);
        let mut requests = Vec::new();
        if let Some(widget) = explorer.widget(id) {
            if resized {
                requests.extend(widget.resized(size.0, size.1));
            }
            if moved && id != PaneId::Viewer {
                requests.extend(widget.show(&place));
            }
            requests.extend(widget.wants());
        }
        if moved {
            explorer.shown.insert(id, place.clone());
        }
        effects.extend(on_requests(explorer, requests));
    }
    effects
}

fn on_requests(explorer: &mut Explorer, requests: Vec<Request>) -> Vec<Effect> {
    requests.into_iter().flat_map(|request| on_request(explorer, request)).collect()
}

fn on_request(explorer: &mut Explorer, request: Request) -> Vec<Effect> {
    let loading = explorer.image.inventory.is_none();
    match request {
        Request::Load(slot, query) => vec![Effect::Load(slot, query)],
        Request::OpenFile { meta, .. } if loading && meta.kind == Kind::File => {
            explorer.complain("files can be looked into when all layers have been read");
            Vec::new()
        }
        Request::OpenFile { at, path, before, meta } => {
            let requests = explorer.viewer.open(at, path, before, *meta);
            explorer.viewing = true;
            explorer.focus = PaneId::Viewer;
            on_requests(explorer, requests)
        }
        Request::CloseFile => {
            explorer.viewing = false;
            Vec::new()
        }
        Request::Extract { .. } if loading => {
            explorer.complain("files can be extracted when all layers have been read");
            Vec::new()
        }
        Request::Extract { at, path } => {
            let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            let name = text::sanitise_bytes(name).into_owned();
            let name = if name.is_empty() { "root".to_owned() } else { name };
            explorer.input = Some(Input::new(Purpose::Extract { at, path }, format!("./{name}")));
            Vec::new()
        }
        Request::Copy(text) => {
            explorer.say("copied");
            vec![Effect::Copy(text)]
        }
        Request::Say(text) => {
            explorer.say(text);
            Vec::new()
        }
        // An image runs nothing.
        Request::OpenShell(_) | Request::Shell(_) | Request::Session(_) => Vec::new(),
    }
}

fn on_outcome(explorer: &mut Explorer, outcome: Outcome) -> Vec<Effect> {
    match outcome {
        Outcome::Effect(request) => on_request(explorer, request),
        Outcome::Ignored | Outcome::Consumed => Vec::new(),
    }
}

/// The context of the table that a pane stands for.
pub(super) fn context(pane: PaneId) -> Context {
    match pane {
        PaneId::Layers => Context::Layers,
        PaneId::Details => Context::Global,
        PaneId::Layer => Context::Layer,
        PaneId::Files => Context::Files,
        PaneId::Map => Context::Map,
        PaneId::Waste => Context::Waste,
        PaneId::Viewer => Context::Viewer,
    }
}

fn on_key(explorer: &mut Explorer, key: KeyEvent) -> Vec<Effect> {
    if explorer.input.is_some() {
        return on_typed(explorer, key);
    }
    explorer.note = None;
    let action = keymap::lookup(Context::Explorer, context(explorer.focus), Key::from(key));
    if let Some(top) = explorer.help {
        return in_help(explorer, top, action);
    }
    match action {
        Some(Action::Pane | Action::Move(_) | Action::Open | Action::Close) => {
            match explorer.widget(explorer.focus).map(|widget| widget.key(key)) {
                None | Some(Outcome::Ignored) => perform(explorer, action),
                Some(outcome) => on_outcome(explorer, outcome),
            }
        }
        action => perform(explorer, action),
    }
}

fn perform(explorer: &mut Explorer, action: Option<Action>) -> Vec<Effect> {
    match action {
        Some(Action::Focus(number)) => {
            if let Some(id) = PaneId::NUMBERED.get(usize::from(number).wrapping_sub(1)) {
                focus(explorer, *id);
            }
        }
        Some(Action::FocusNext) => cycle(explorer, true),
        Some(Action::FocusPrevious) => cycle(explorer, false),
        Some(Action::Zoom) => explorer.zoomed = !explorer.zoomed,
        Some(Action::Find) => explorer.input = Some(Input::new(Purpose::Find, String::new())),
        Some(Action::FindNext) => find_next(explorer, true),
        Some(Action::FindPrevious) => find_next(explorer, false),
        Some(Action::Help) => explorer.help = Some(0),
        Some(Action::Close) => close(explorer),
        Some(Action::Mark) => mark(explorer),
        Some(Action::Move(motion)) => go(explorer, motion),
        Some(Action::Open) if explorer.focus == PaneId::Layers => focus(explorer, PaneId::Layer),
        Some(Action::Open) if explorer.focus == PaneId::Waste => reveal(explorer),
        Some(Action::Extract) => return extract(explorer),
        Some(Action::Redraw) => return vec![Effect::Redraw],
        Some(Action::Suspend) => return vec![Effect::Suspend],
        Some(Action::Quit | Action::Interrupt) => return vec![Effect::Quit],
        _ => {}
    }
    Vec::new()
}

/// While the help is open, keys move in it or close it.
fn in_help(explorer: &mut Explorer, top: usize, action: Option<Action>) -> Vec<Effect> {
    let page = usize::from(explorer.size.1).saturating_sub(6).max(1);
    explorer.help = match action {
        Some(Action::Move(motion)) => Some(moved(top, motion, page, usize::MAX / 2)),
        Some(Action::Close | Action::Help | Action::Quit | Action::Interrupt) => None,
        _ => Some(top),
    };
    match action {
        Some(Action::Suspend) => vec![Effect::Suspend],
        Some(Action::Redraw) => vec![Effect::Redraw],
        _ => Vec::new(),
    }
}

/// Gives a pane the focus, and the place with the tabs if it is one of them.
fn focus(explorer: &mut Explorer, id: PaneId) {
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
    explorer.layer = (target.layer as usize).min(explorer.image.layers.len().saturating_sub(1));
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
    if explorer.image.layers.is_empty() {
        explorer.complain("there is no layer to compare with");
        return;
    }
    let layer = explorer.layer;
    explorer.mark = Some(layer);
    explorer.say(format!("whatever is selected is compared with layer {layer}, until {}", key_of(Action::Mark)));
}

fn go(explorer: &mut Explorer, motion: Motion) {
    let height = explorer.areas().of(explorer.focus).map_or(1, |area| usize::from(content(area).height));
    match explorer.focus {
        PaneId::Layers => {
            explorer.layer = moved(explorer.layer, motion, height, explorer.image.layers.len());
            explorer.details_top = 0;
        }
        PaneId::Details => explorer.details_top = moved(explorer.details_top, motion, height, usize::MAX / 4),
        _ => {}
    }
}

/// What is selected in the pane with the focus; of a layer, the whole file system there.
fn extract(explorer: &mut Explorer) -> Vec<Effect> {
    if let (PaneId::Layers | PaneId::Details, Some(at)) = (explorer.focus, explorer.image.at(explorer.layer + 1)) {
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

fn on_typed(explorer: &mut Explorer, key: KeyEvent) -> Vec<Effect> {
    let Some(mut input) = explorer.input.take() else { return Vec::new() };
    match input.key(key) {
        Typed::Given => Vec::new(),
        Typed::Accepted => accept(explorer, input),
        _ => {
            explorer.input = Some(input);
            Vec::new()
        }
    }
}

fn accept(explorer: &mut Explorer, input: Input) -> Vec<Effect> {
    match input.purpose {
        Purpose::Find => find(explorer, &input.text),
        Purpose::Extract { at, path } => match input.text.trim() {
            "" => explorer.complain("not written: no name was given"),
            to => {
                explorer.say("writing");
                return vec![Effect::Extract { at, path, to: PathBuf::from(to) }];
            }
        },
        Purpose::Command => {}
    }
    Vec::new()
}

/// Searches the pane with the focus.
fn find(explorer: &mut Explorer, needle: &str) {
    let id = explorer.focus;
    explorer.needle.insert(id, needle.to_owned());
    let hits = match id {
        PaneId::Layers => find_layer(explorer, None),
        PaneId::Details => {
            explorer.complain("there is nothing to search in the details");
            return;
        }
        _ => explorer.widget(id).map_or(0, |widget| widget.find(needle)),
    };
    match (needle.is_empty(), hits) {
        (true, _) => {
            explorer.needle.remove(&id);
        }
        (false, 0) if explorer.widget(id).is_some_and(|widget| widget.is_searching()) => explorer.say("searching"),
        (false, 0) => explorer.complain(format!("{needle:?} is not in this pane")),
        (false, hits) => explorer.say(format!(
            "{}, {} and {} go through them",
            text::count(hits, "hit"),
            key_of(Action::FindNext),
            key_of(Action::FindPrevious)
        )),
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
    let image = &explorer.image;
    let holds = |at: &usize| !needle.is_empty() && image.instruction(*at).to_lowercase().contains(&needle);
    let hits: Vec<usize> = (0..image.layers.len()).filter(holds).collect();
    let here = explorer.layer;
    let next = match forward {
        None => hits.iter().find(|at| **at >= here).or(hits.first()),
        Some(true) => hits.iter().find(|at| **at > here).or(hits.first()),
        Some(false) => hits.iter().rev().find(|at| **at < here).or(hits.last()),
    };
    explorer.layer = next.copied().unwrap_or(here);
    hits.len()
}

fn on_mouse(explorer: &mut Explorer, event: MouseEvent) -> Vec<Effect> {
    if explorer.input.is_some() || explorer.help.is_some() {
        return Vec::new();
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
                focus(explorer, tab);
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
            go(explorer, motion);
            explorer.focus = focus;
        }
        (PaneId::Layers, None) if matches!(event.kind, MouseEventKind::Down(_)) => {
            let row = usize::from(event.row.saturating_sub(inner.y));
            if let Some(layer) = layers::at_row(explorer, row) {
                if layer == explorer.layer {
                    focus(explorer, PaneId::Layer);
                }
                explorer.layer = layer;
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
