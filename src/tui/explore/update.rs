//! Message in, state changed, effects out. Never waits.

use super::details::platform;
use super::layout::content;
use super::other::Pair;
use super::state::{Explorer, PaneId};
use super::waste::Report;
use super::{actions, mouse};
use crate::engine::EngineError;
use crate::engine::side::{Side, SideError};
use crate::image::base::Base;
use crate::image::inventory::{Inventory, Progress};
use crate::image::source::SourceError;
use crate::layers::Kind;
use crate::snapshot::SnapshotId;
use crate::tui::front::{Heard, Wish};
use crate::tui::input::{Input, Purpose, Typed};
use crate::tui::keymap::{self, Action, Context, Key};
use crate::tui::views::flow::picture::Picture;
use crate::tui::views::origins::Traced;
use crate::tui::widgets::{Answer, Outcome, Query, Request, Slot};
use bstr::BString;
use crossterm::event::KeyEvent;
use std::path::PathBuf;
use std::sync::Arc;

/// Everything that can happen to the screen.
#[derive(Debug)]
pub enum Message {
    Terminal(Heard),
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
    /// How far what it is compared with has been read, what it is, and what differs.
    OtherProgress(Progress),
    OtherRead(Box<Result<Side, SideError>>),
    Compared(Result<Arc<Pair>, SideError>),
    /// What of the image is dead, and what is there twice.
    Accounted(Box<Report>),
    /// How the image was built, and where its files come from.
    Traced(Arc<Traced>),
    /// What became of writing files out.
    Extracted(Result<String, String>),
}

/// What the loop is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Load(Slot, Query),
    /// Read all layers once more; or those of the other, or what else it is.
    Read,
    ReadOther,
    /// Work out what of the image is dead.
    Account,
    /// Compare the image with the other.
    Compare,
    Extract {
        at: SnapshotId,
        path: BString,
        to: PathBuf,
    },
    Terminal(Wish),
}

pub fn update(explorer: &mut Explorer, message: Message) -> Vec<Effect> {
    let mut effects = match message {
        Message::Terminal(heard) => on_heard(explorer, heard),
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
            if explorer.built.is_none() {
                let at = explorer.image.at(explorer.image.layers.len());
                explorer.flow.set(report.picture.clone(), at);
            }
            explorer.account = Some(report.waste);
            Vec::new()
        }
        Message::Traced(traced) => {
            explorer.built = Some(Arc::new(Picture::of_build(&traced)));
            draw_flow(explorer);
            Vec::new()
        }
        Message::Read(read) => {
            let whole = read.is_ok();
            match *read {
                Ok(inventory) => {
                    explorer.image.finish(inventory);
                    new_tree(explorer);
                    draw_flow(explorer);
                    complain_of_broken(explorer);
                }
                Err(error) => {
                    explorer.complain(format!("not read, {} tries again: {}", retry_key(), error.message));
                    explorer.image.failure = Some(error);
                }
            }
            let compare = compare(explorer);
            if whole { [vec![Effect::Account], compare].concat() } else { Vec::new() }
        }
        Message::OtherProgress(progress) => {
            if let Some(other) = &mut explorer.other {
                other.progress(progress);
            }
            Vec::new()
        }
        Message::OtherRead(read) => {
            let Some(other) = &mut explorer.other else { return Vec::new() };
            match *read {
                Ok(side) => other.finish(side),
                Err(error) => not_compared(explorer, error),
            }
            complain_of_broken(explorer);
            compare(explorer)
        }
        Message::Compared(compared) => {
            match compared {
                Ok(pair) => take_pair(explorer, pair),
                Err(error) => not_compared(explorer, error),
            }
            Vec::new()
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
    };
    effects.extend(settle(explorer));
    effects
}

/// What reads again what could not be read.
pub(super) fn retry_key() -> String {
    keymap::key_on(Context::Explorer, Action::Retry)
}

fn on_heard(explorer: &mut Explorer, heard: Heard) -> Vec<Effect> {
    match heard {
        Heard::Key(key) => return on_key(explorer, key),
        Heard::Mouse(event) => return mouse::on_mouse(explorer, event),
        Heard::Paste(text) => {
            if let Some(mut input) = explorer.input.take() {
                input.insert(&text);
                edited(explorer, input);
            }
        }
        Heard::Resize(columns, rows) => explorer.size = (columns, rows),
        // Nothing of an image is edited.
        Heard::Edited(_) => {}
    }
    Vec::new()
}

/// When both are here.
fn compare(explorer: &Explorer) -> Vec<Effect> {
    let both = explorer.image.inventory.is_some() && explorer.other.as_ref().is_some_and(|other| other.side.is_some());
    if both { vec![Effect::Compare] } else { Vec::new() }
}

/// That the two are for different platforms explains more than any file does.
fn take_pair(explorer: &mut Explorer, pair: Arc<Pair>) {
    let Some(other) = &mut explorer.other else { return };
    let here = platform(&explorer.image.config);
    let said = match other.image.as_ref().map(|image| platform(&image.config)) {
        // What is not whole of an image was said as it was read.
        Some(there) => (there != here).then(|| format!("{} is for {there}, and this image for {here}", other.name)),
        None => pair.other.warnings.first().map(|unread| format!("not whole: {unread}")),
    };
    other.pair = Some(pair);
    if let Some(said) = said {
        explorer.complain(said);
    }
}

fn not_compared(explorer: &mut Explorer, error: SideError) {
    let error = EngineError::from(error);
    explorer.complain(format!("not compared, {} tries again: {}", retry_key(), error.message));
    if let Some(other) = &mut explorer.other {
        other.failure = Some(error);
    }
}

/// Names the first layer that is not whole.
fn complain_of_broken(explorer: &mut Explorer) {
    let images = [Some(&explorer.image), explorer.other.as_ref().and_then(|other| other.image.as_ref())];
    let layers = images.into_iter().flatten().flat_map(|image| &image.layers);
    let broken = layers.filter_map(|layer| layer.facts.broken.clone()).next();
    if let Some(broken) = broken {
        explorer.complain(format!("not whole, {} reads it again: {broken}", retry_key()));
    }
}

fn new_tree(explorer: &mut Explorer) {
    let image = &explorer.image;
    let at = image.at(image.tree.height() as usize).filter(|_| image.tree.height() > 0);
    explorer.map.set(image.tree.clone(), at);
}

/// Shows how the image was built, as soon as its files can be looked into.
fn draw_flow(explorer: &mut Explorer) {
    let at = explorer.image.at(explorer.image.layers.len());
    if let Some(picture) = explorer.built.clone().filter(|_| explorer.image.inventory.is_some()) {
        explorer.flow.set(picture, at);
    }
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
    let (whole, of_layer) = (explorer.place(), explorer.layer_place());
    let mut effects = Vec::new();
    for (id, area) in areas.panes {
        let place = if id == PaneId::Layer { &of_layer } else { &whole };
        let inner = content(area);
        let news = explorer.told.news(id, (inner.width, inner.height), place);
        let requests = explorer.widget(id).map(|widget| news.tell(widget)).unwrap_or_default();
        effects.extend(on_requests(explorer, requests));
    }
    effects
}

fn on_requests(explorer: &mut Explorer, requests: Vec<Request>) -> Vec<Effect> {
    requests.into_iter().flat_map(|request| on_request(explorer, request)).collect()
}

pub(super) fn on_request(explorer: &mut Explorer, request: Request) -> Vec<Effect> {
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
            explorer.input = Some(Input::extract(at, path));
            Vec::new()
        }
        Request::Copy(text) => {
            explorer.say("copied");
            vec![Effect::Terminal(Wish::Copy(text))]
        }
        Request::Say(text) => {
            explorer.say(text);
            Vec::new()
        }
        Request::Found { needle, hits } => {
            actions::found(explorer, &needle, hits);
            Vec::new()
        }
        // An image runs nothing.
        Request::Shell(_) | Request::Session(_) => Vec::new(),
    }
}

pub(super) fn on_outcome(explorer: &mut Explorer, outcome: Outcome) -> Vec<Effect> {
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
        PaneId::Flow => Context::Flow,
        PaneId::Viewer => Context::Viewer,
    }
}

fn on_key(explorer: &mut Explorer, key: KeyEvent) -> Vec<Effect> {
    if explorer.input.is_some() {
        return on_typed(explorer, key);
    }
    explorer.note = None;
    let action = keymap::lookup(Context::Explorer, context(explorer.focus), Key::from(key));
    if explorer.help.is_some() {
        return actions::in_help(explorer, action);
    }
    let key = match action {
        Some(Action::Move(motion)) => motion.key(),
        _ => key,
    };
    match action {
        Some(Action::Pane | Action::Move(_) | Action::Open | Action::Close) => {
            match explorer.widget(explorer.focus).map(|widget| widget.key(key)) {
                None | Some(Outcome::Ignored) => actions::perform(explorer, action),
                Some(outcome) => on_outcome(explorer, outcome),
            }
        }
        action => actions::perform(explorer, action),
    }
}

fn on_typed(explorer: &mut Explorer, key: KeyEvent) -> Vec<Effect> {
    let Some(mut input) = explorer.input.take() else { return Vec::new() };
    match input.key(key) {
        Typed::Given => {
            if input.purpose == Purpose::Find {
                actions::give_up(explorer);
            }
        }
        Typed::Accepted => return accept(explorer, input),
        Typed::Edited => edited(explorer, input),
        Typed::Complete { .. } | Typed::Older | Typed::Newer => explorer.input = Some(input),
    }
    Vec::new()
}

/// The line may read otherwise now: what it searches for is gone to at once.
fn edited(explorer: &mut Explorer, mut input: Input) {
    if input.purpose == Purpose::Find {
        actions::seek(explorer, &mut input);
    }
    explorer.input = Some(input);
}

fn accept(explorer: &mut Explorer, input: Input) -> Vec<Effect> {
    match input.purpose {
        Purpose::Find => actions::find(explorer, &input.text),
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
