//! Everything the explorer's screen knows. Changed by `update` only, drawn by `draw`.

use super::image::{Image, Reading};
use super::layout::{self, Areas};
use super::map::Map;
use super::other::{self, Other};
use super::waste::Waste;
use crate::layers;
use crate::plan::{StageId, StepId};
use crate::tui::Options;
use crate::tui::app::Note;
use crate::tui::input::Input;
use crate::tui::text::sanitise;
use crate::tui::theme::Look;
use crate::tui::told::Told;
use crate::tui::views::files::Files;
use crate::tui::views::flow::Flow;
use crate::tui::views::flow::picture::Picture;
use crate::tui::views::layer::Layer;
use crate::tui::views::viewer::Viewer;
use crate::tui::widgets::{Pane, Place, Slot};
use bstr::BString;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A part of the screen that can have the focus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PaneId {
    Layers,
    Details,
    Layer,
    Files,
    Map,
    Waste,
    Flow,
    /// A file beside the pane it was opened from.
    Viewer,
}

impl PaneId {
    /// All that have a number, in its order.
    pub const NUMBERED: [PaneId; 7] =
        [PaneId::Layers, PaneId::Details, PaneId::Layer, PaneId::Files, PaneId::Map, PaneId::Waste, PaneId::Flow];

    pub fn number(self) -> Option<usize> {
        PaneId::NUMBERED.iter().position(|it| *it == self).map(|at| at + 1)
    }

    pub fn title(self) -> &'static str {
        match self {
            PaneId::Layers => "Layers",
            PaneId::Details => "Details",
            PaneId::Layer => "Layer",
            PaneId::Files => "Files",
            PaneId::Map => "Map",
            PaneId::Waste => "Waste",
            PaneId::Flow => "Flow",
            PaneId::Viewer => "File",
        }
    }
}

/// What is selected in the list of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selected {
    /// The whole image, beside the other.
    Other,
    Layer(usize),
}

pub struct Explorer {
    pub look: Look,
    /// Columns and rows.
    pub size: (u16, u16),
    /// Since the screen began.
    pub now: Duration,
    pub image: Image,
    /// What the image is compared with, if anything.
    pub other: Option<Other>,
    pub focus: PaneId,
    /// What the pane with the tabs shows.
    pub shows: PaneId,
    pub zoomed: bool,
    /// Whether a file is open.
    pub viewing: bool,
    /// In the list of layers, whose first row on show is `top`.
    pub selected: Selected,
    pub top: usize,
    pub details_top: usize,
    /// The layer whose file system others are compared with.
    pub mark: Option<usize>,
    pub layer_pane: Layer,
    pub files: Files,
    pub map: Map,
    pub waste: Waste,
    pub flow: Flow,
    /// What flows into the image, where it is known how it was built.
    pub built: Option<Arc<Picture>>,
    /// What is dead in the image, once that is known.
    pub account: Option<layers::waste::Waste>,
    pub viewer: Viewer,
    pub input: Option<Input>,
    /// The help's first line, while it is open.
    pub help: Option<usize>,
    pub note: Option<Note>,
    /// What was searched for last, by pane.
    pub needle: BTreeMap<PaneId, String>,
    /// The selected layer when the text began to be typed that is searched for.
    pub(super) sought_from: Selected,
    pub(super) told: Told<PaneId>,
}

impl Explorer {
    pub fn new(mut image: Image, other: Option<Other>, options: &Options, look: Look, size: (u16, u16)) -> Explorer {
        if !options.title.is_empty() {
            image.name = options.title.clone();
        }
        Explorer {
            look,
            size,
            now: Duration::ZERO,
            selected: if other.is_some() { Selected::Other } else { Selected::Layer(0) },
            image,
            other,
            focus: PaneId::Layers,
            shows: PaneId::Layer,
            zoomed: false,
            viewing: false,
            top: 0,
            details_top: 0,
            mark: None,
            layer_pane: Layer::default(),
            files: Files::default(),
            map: Map::default(),
            waste: Waste::default(),
            flow: Flow::default(),
            built: None,
            account: None,
            viewer: Viewer::default(),
            input: None,
            help: None,
            note: None,
            needle: BTreeMap::new(),
            sought_from: Selected::Layer(0),
            told: Told::default(),
        }
    }

    pub fn areas(&self) -> Areas {
        layout::areas(self)
    }

    /// The pane by its id, if it is a widget with a state of its own.
    pub fn widget(&mut self, id: PaneId) -> Option<&mut dyn Pane> {
        match id {
            PaneId::Layer => Some(&mut self.layer_pane),
            PaneId::Files => Some(&mut self.files),
            PaneId::Map => Some(&mut self.map),
            PaneId::Waste => Some(&mut self.waste),
            PaneId::Flow => Some(&mut self.flow),
            PaneId::Viewer => Some(&mut self.viewer),
            PaneId::Layers | PaneId::Details => None,
        }
    }

    pub fn of_slot(&mut self, slot: Slot) -> Option<&mut dyn Pane> {
        match slot {
            Slot::Layer | Slot::LayerHits | Slot::Packages => Some(&mut self.layer_pane),
            Slot::Files | Slot::FilesHits => Some(&mut self.files),
            Slot::Viewer | Slot::Tones => Some(&mut self.viewer),
            Slot::Output | Slot::Shell | Slot::ShellHits => None,
        }
    }

    /// What can be selected in the list of layers.
    pub fn selectable(&self) -> Vec<Selected> {
        let other = self.other.as_ref().map(|_| Selected::Other);
        other.into_iter().chain((0..self.image.layers.len()).map(Selected::Layer)).collect()
    }

    /// What stands in the list of layers for one of them.
    pub fn words(&self, selected: Selected) -> String {
        match selected {
            Selected::Other => format!("against {}", self.other.as_ref().map_or("", |other| &other.name)),
            Selected::Layer(layer) => self.image.instruction(layer),
        }
    }

    /// What the panes speak of: the selected layer over what is below it, or over the marked one; or the whole image
    /// over the other.
    pub fn place(&self) -> Place {
        match (self.selected, &self.other) {
            (Selected::Layer(layer), _) => self.place_of(layer),
            (Selected::Other, Some(other)) => self.beside(other),
            (Selected::Other, None) => Place::default(),
        }
    }

    fn beside(&self, other: &Other) -> Place {
        let after = other.pair.as_ref().and_then(|_| self.image.at(self.image.layers.len()));
        let instead = match (&self.image.failure, &other.failure) {
            (Some(error), _) => error.message.clone(),
            (None, Some(error)) => error.message.clone(),
            (None, None) if self.image.is_loading() || other.side.is_none() => {
                "What differs is shown when both have been read.".to_owned()
            }
            (None, None) => "Both have been read; files that may differ are compared by their contents.".to_owned(),
        };
        Place {
            text: self.words(Selected::Other),
            before: Some(other::at()).filter(|_| after.is_some()),
            instead: if after.is_none() { sanitise(&instead).into_owned() } else { String::new() },
            after,
            compared: true,
            ..Place::default()
        }
    }

    fn place_of(&self, layer: usize) -> Place {
        if self.image.layers.is_empty() {
            return Place { instead: self.why_not_known(layer), ..Place::default() };
        }
        let text = self.image.instruction(layer);
        let (text, from, to) = match self.mark.filter(|mark| *mark != layer) {
            Some(mark) => {
                let (old, new) = (mark.min(layer), mark.max(layer));
                (format!("{text} (layer {new} against layer {old})"), old + 1, new + 1)
            }
            None => (text, layer, layer + 1),
        };
        let after = self.image.at(to);
        Place {
            step: Some(StepId { stage: StageId(0), index: layer as u32 }),
            text,
            before: if from == 0 { None } else { self.image.at(from) },
            instead: if after.is_none() { self.why_not_known(to - 1) } else { String::new() },
            after,
            running: false,
            failed: false,
            why: Vec::new(),
            compared: self.mark.is_some_and(|mark| mark != layer),
        }
    }

    /// The same for what the selected layer changed: until those below it are read, all that it holds.
    pub fn layer_place(&self) -> Place {
        let place = self.place();
        let Selected::Layer(layer) = self.selected else { return place };
        if self.mark.is_none()
            && let Some(why) = self.image.layers.get(layer).and_then(|layer| layer.facts.nothing_because())
        {
            let instead = format!("Nothing of this layer is here: {}", sanitise(why));
            return Place { before: None, after: None, instead, ..place };
        }
        match self.image.alone(layer) {
            Some(at) if place.after.is_none() && self.mark.is_none() => {
                let height = self.image.tree.height();
                let text = format!("by itself, until layer {height} below it is read");
                Place { text, before: None, after: Some(at), instead: String::new(), ..place }
            }
            _ => place,
        }
    }

    /// The path that is selected in the pane on show.
    pub fn selected_path(&self) -> Option<BString> {
        match self.shows {
            PaneId::Layer => self.layer_pane.selected(),
            PaneId::Files => self.files.selected(),
            PaneId::Map => self.map.selected(),
            PaneId::Waste => self.waste.target().and_then(|target| target.path),
            PaneId::Flow => self.flow.selected_path(),
            PaneId::Layers | PaneId::Details | PaneId::Viewer => None,
        }
    }

    fn why_not_known(&self, layer: usize) -> String {
        if let Some(error) = &self.image.failure {
            return error.message.clone();
        }
        let height = self.image.tree.height() as usize;
        match self.image.layers.get(layer).map(|layer| layer.reading) {
            None => "The image has no layers.".to_owned(),
            Some(Reading::Done) if height < layer => {
                format!("Layer {layer} is read; it is shown when layer {height} below it is, too.")
            }
            Some(Reading::Done) => format!("Layer {layer} is read, and put on those below it."),
            Some(_) => format!("Layer {layer} is being read."),
        }
    }

    /// Whether the image, or what it is compared with, is still being read.
    pub fn is_loading(&self) -> bool {
        let other = self.other.as_ref().filter(|_| self.image.failure.is_none());
        self.image.is_loading() || other.is_some_and(Other::is_loading)
    }

    /// Whether all of the image, and of what it is compared with, could be read.
    pub fn is_whole(&self) -> bool {
        self.image.is_whole() && self.other.as_ref().is_none_or(Other::is_whole)
    }

    /// Whether something on the screen moves by itself.
    pub fn is_moving(&self) -> bool {
        self.is_loading()
    }

    /// The sign of something that runs, as it is now.
    pub fn spinner(&self) -> &'static str {
        self.look.signs.spinner_at(self.now)
    }

    pub(super) fn say(&mut self, text: impl Into<String>) {
        self.note = Some(Note { text: text.into(), wrong: false });
    }

    pub(super) fn complain(&mut self, text: impl Into<String>) {
        self.note = Some(Note { text: text.into(), wrong: true });
    }
}
