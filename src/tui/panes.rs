//! The widgets of the lower pane, by pane.

use super::app::PaneId;
use super::views::files::Files;
use super::views::flow::Flow;
use super::views::flow::picture::Picture;
use super::views::layer::Layer;
use super::views::output::Output;
use super::views::shell::Shell;
use super::views::viewer::Viewer;
use super::widgets::{Pane, Request, ShellNews, Slot};
use crate::layers::Meta;
use crate::plan::StepId;
use crate::snapshot::SnapshotId;
use bstr::BString;
use std::sync::Arc;

#[derive(Default)]
pub struct Panes {
    layer: Layer,
    files: Files,
    output: Output,
    shell: Shell,
    viewer: Viewer,
    flow: Flow,
    /// The image's bytes are shown as a picture.
    pictured: bool,
}

impl Panes {
    pub fn get(&mut self, id: PaneId) -> Option<&mut dyn Pane> {
        match id {
            PaneId::Layer => Some(&mut self.layer),
            PaneId::Files => Some(&mut self.files),
            PaneId::Output => Some(&mut self.output),
            PaneId::Shell => Some(&mut self.shell),
            PaneId::Viewer => Some(&mut self.viewer),
            PaneId::Image if self.shows_picture() => Some(&mut self.flow),
            _ => None,
        }
    }

    pub fn of_slot(&mut self, slot: Slot) -> Option<&mut dyn Pane> {
        match slot {
            Slot::Layer | Slot::LayerHits | Slot::Packages => Some(&mut self.layer),
            Slot::Files | Slot::FilesHits => Some(&mut self.files),
            Slot::Output => Some(&mut self.output),
            Slot::Shell | Slot::ShellHits => Some(&mut self.shell),
            Slot::Viewer | Slot::Tones => Some(&mut self.viewer),
        }
    }

    pub fn open_file(&mut self, at: SnapshotId, path: BString, before: Option<SnapshotId>, meta: Meta) -> Vec<Request> {
        self.viewer.open(at, path, before, meta)
    }

    /// Whether the image's pane is the picture of what flows into it.
    pub fn shows_picture(&self) -> bool {
        self.pictured && self.flow.is_known()
    }

    /// The image as a picture, or as a list.
    pub fn show_picture(&mut self, pictured: bool) {
        self.pictured = pictured;
    }

    pub fn set_picture(&mut self, picture: Picture, at: Option<SnapshotId>) {
        self.flow.set(Arc::new(picture), at);
    }

    pub fn shell_is_open(&self) -> bool {
        self.shell.is_open()
    }

    /// Whether what a shell has changed is on show.
    pub fn shell_shows_changes(&self) -> bool {
        self.shell.shows_changes()
    }

    /// Whether keys go to the shell while it has the focus.
    pub fn set_typing(&mut self, typing: bool) {
        self.shell.set_typing(typing);
    }

    pub fn shell_news(&mut self, news: ShellNews) -> Vec<Request> {
        self.shell.news(news)
    }

    pub fn output_begins(&mut self, step: StepId) {
        self.output.begins(step);
    }

    pub fn output(&mut self, step: StepId, stderr: bool, bytes: &[u8]) {
        self.output.push(step, stderr, bytes);
    }

    pub fn output_clipped(&mut self, step: StepId) {
        self.output.clipped(step);
    }

    /// Steps are named anew: nothing that was shown holds any more.
    pub fn new_plan(&mut self) {
        self.layer = Layer::default();
        self.files = Files::default();
        self.output = Output::default();
        self.flow = Flow::default();
    }
}
