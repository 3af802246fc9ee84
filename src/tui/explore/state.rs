//! Everything the explorer's screen knows. Changed by `update` only, drawn by `draw`.

use super::image::{Image, Reading};
use super::layout::{self, Areas};
use super::map::Map;
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

pub struct Explorer {
    pub look: Look,
    /// Columns and rows.
    pub size: (u16, u16),
    /// Since the screen began.
    pub now: Duration,
    pub image: Image,
    pub focus: PaneId,
    /// What the pane with the tabs shows.
    pub shows: PaneId,
    pub zoomed: bool,
    /// Whether a file is open.
    pub viewing: bool,
    /// The selected layer, and the first row shown of the list.
    pub layer: usize,
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
    pub(super) sought_from: usize,
    pub(super) told: Told<PaneId>,
}

impl Explorer {
    pub fn new(image: Image, options: &Options, look: Look, size: (u16, u16)) -> Explorer {
        let mut image = image;
        if !options.title.is_empty() {
            image.name = options.title.clone();
        }
        Explorer {
            look,
            size,
            now: Duration::ZERO,
            // What an image was made for is in its last layers; what it stands on is at the bottom.
            layer: 0,
            image,
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
            sought_from: 0,
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

    /// What the panes speak of: the selected layer over what is below it, or over the marked one.
    pub fn place(&self) -> Place {
        let text = self.image.instruction(self.layer);
        let (text, from, to) = match self.mark.filter(|mark| *mark != self.layer) {
            Some(mark) => {
                let (old, new) = (mark.min(self.layer), mark.max(self.layer));
                (format!("{text} (layer {new} against layer {old})"), old + 1, new + 1)
            }
            None => (text, self.layer, self.layer + 1),
        };
        let after = self.image.at(to);
        Place {
            step: Some(StepId { stage: StageId(0), index: self.layer as u32 }),
            text,
            before: if from == 0 { None } else { self.image.at(from) },
            instead: if after.is_none() { self.why_not_known(to - 1) } else { String::new() },
            after,
            running: false,
            failed: false,
            why: Vec::new(),
            compared: self.mark.is_some_and(|mark| mark != self.layer),
        }
    }

    /// The same for what the selected layer changed: until those below it are read, all that it holds.
    pub fn layer_place(&self) -> Place {
        let place = self.place();
        if self.mark.is_none()
            && let Some(why) = self.image.layers.get(self.layer).and_then(|layer| layer.facts.nothing_because())
        {
            let instead = format!("Nothing of this layer is here: {}", sanitise(why));
            return Place { before: None, after: None, instead, ..place };
        }
        match self.image.alone(self.layer) {
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

    /// Whether something on the screen moves by itself.
    pub fn is_moving(&self) -> bool {
        self.image.is_loading()
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
