//! Everything the screen knows. Changed by `update` only, drawn by `views`.

use super::build::Build;
use super::input::Input;
use super::keymap::{Action, Context, key_of, key_on};
use super::layout::{self, Areas};
use super::standing::Standing;
use super::text;
use super::theme::{Depth, Look, Theme};
use super::told::Told;
use super::views::origins::{self, Origins};
use super::views::source::Source;
use super::views::stages::Stages;
use super::widgets::{Pane, Place};
use super::{Options, panes::Panes};
use crate::debug::{BranchId, BreakpointState, Position, ShellPlace, Side, StopReason, compare};
use crate::plan::{Plan, StageId, Step, StepId};
use crate::snapshot::SnapshotId;
use bstr::BString;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A part of the screen that can have the focus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PaneId {
    Stages,
    Source,
    Layer,
    Files,
    Output,
    Shell,
    Variables,
    Breakpoints,
    Image,
    /// A file beside the lower pane.
    Viewer,
}

impl PaneId {
    /// All that have a number, in its order.
    pub const NUMBERED: [PaneId; 9] = [
        PaneId::Stages,
        PaneId::Source,
        PaneId::Layer,
        PaneId::Files,
        PaneId::Output,
        PaneId::Shell,
        PaneId::Variables,
        PaneId::Breakpoints,
        PaneId::Image,
    ];

    pub fn number(self) -> Option<usize> {
        PaneId::NUMBERED.iter().position(|it| *it == self).map(|at| at + 1)
    }

    pub fn title(self) -> &'static str {
        match self {
            PaneId::Stages => "Stages",
            PaneId::Source => "Dockerfile",
            PaneId::Layer => "Layer",
            PaneId::Files => "Files",
            PaneId::Output => "Output",
            PaneId::Shell => "Shell",
            PaneId::Variables => "Variables",
            PaneId::Breakpoints => "Breakpoints",
            PaneId::Image => "Image",
            PaneId::Viewer => "File",
        }
    }

    /// For tabs that have little room.
    pub fn short(self) -> &'static str {
        match self {
            PaneId::Variables => "Vars",
            PaneId::Breakpoints => "Breaks",
            other => other.title(),
        }
    }
}

/// What layers are compared with, if not with what lies below them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// What this instruction left.
    Step(StepId),
    /// What the same instruction left on this branch.
    Branch(BranchId),
}

/// Something to say in the bottom line, until the next key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub text: String,
    pub wrong: bool,
}

impl Note {
    /// A search goes on beside the screen.
    pub fn searching() -> Note {
        Note { text: "searching".to_owned(), wrong: false }
    }

    /// How many places a search has found in a pane of a screen.
    pub fn of_search(screen: Context, needle: &str, hits: usize) -> Note {
        let text = match hits {
            0 => format!("{needle:?} is not in this pane"),
            1 => "1 hit".to_owned(),
            _ => {
                let (next, previous) = (key_on(screen, Action::FindNext), key_on(screen, Action::FindPrevious));
                format!("{}, {next} and {previous} go through them", text::count(hits, "hit"))
            }
        };
        Note { text, wrong: hits == 0 }
    }
}

/// What goes along when another track is shown: the same panes are looked at, in the same looks.
pub struct Handover {
    look: Look,
    size: (u16, u16),
    focus: PaneId,
    lower: PaneId,
    zoomed: bool,
    history: Vec<String>,
}

pub struct App {
    pub title: String,
    /// What is built for, where that is one of several.
    pub platform: String,
    /// How the tracks of all platforms stand, where there are several; and which of them this is.
    pub tracks: Vec<Standing>,
    pub track: usize,
    /// Whether another track is shown.
    pub hidden: bool,
    pub dockerfile: Option<PathBuf>,
    pub look: Look,
    pub depth: Depth,
    pub ascii: bool,
    /// Columns and rows.
    pub size: (u16, u16),
    /// Since the screen began.
    pub now: Duration,
    pub build: Build,
    pub focus: PaneId,
    /// What the lower pane shows.
    pub lower: PaneId,
    pub zoomed: bool,
    pub source: Source,
    pub stages: Stages,
    /// First line shown of the variables, and of the image.
    pub variables_top: usize,
    pub image_top: usize,
    /// The selected line of the breakpoints.
    pub breakpoint: usize,
    pub panes: Panes,
    /// What all file systems are compared with.
    pub mark: Option<Mark>,
    /// The selected row of the branches, while they are shown.
    pub branches: Option<usize>,
    /// Whether a file is open beside the lower pane.
    pub viewing: bool,
    /// Whether keys go to the shell while it has the focus.
    pub typing: bool,
    pub input: Option<Input>,
    /// Whether the user is asked if they want to leave.
    pub leaving: bool,
    /// The help's first line, while it is open.
    pub help: Option<usize>,
    pub note: Option<Note>,
    pub history: Vec<String>,
    /// What was searched for last, by pane.
    pub needle: BTreeMap<PaneId, String>,
    /// Where the bytes of the finished image come from, once known.
    pub origins: Origins,
    /// Bytes of dead content in the finished image, once known.
    pub waste: Option<u64>,
    pub(super) told: Told<PaneId>,
    /// Whether the session has been told to move and has not answered yet.
    pub(super) sent: bool,
}

impl App {
    pub fn new(options: &Options, look: Look, depth: Depth, size: (u16, u16)) -> App {
        App {
            title: options.title.clone(),
            platform: String::new(),
            tracks: Vec::new(),
            track: 0,
            hidden: false,
            dockerfile: options.dockerfile.clone(),
            ascii: look.ascii(),
            look,
            depth,
            size,
            now: Duration::ZERO,
            build: Build::default(),
            focus: PaneId::Source,
            lower: PaneId::Layer,
            zoomed: false,
            source: Source::default(),
            stages: Stages::default(),
            variables_top: 0,
            image_top: 0,
            breakpoint: 0,
            panes: Panes::default(),
            mark: None,
            branches: None,
            viewing: false,
            typing: false,
            input: None,
            leaving: false,
            help: None,
            note: None,
            history: Vec::new(),
            needle: BTreeMap::new(),
            origins: Origins::default(),
            waste: None,
            told: Told::default(),
            sent: false,
        }
    }

    /// Is shown no longer; hands over what is the user's and not the track's.
    pub fn leave(&mut self) -> Handover {
        self.hidden = true;
        self.typing = false;
        Handover {
            look: self.look.clone(),
            size: self.size,
            focus: self.focus,
            lower: self.lower,
            zoomed: self.zoomed,
            history: std::mem::take(&mut self.history),
        }
    }

    /// Is shown from now on.
    pub fn enter(&mut self, from: Handover) {
        let Handover { look, size, focus, lower, zoomed, history } = from;
        self.hidden = false;
        (self.look, self.size, self.history) = (look, size, history);
        (self.focus, self.lower, self.zoomed) = (focus, lower, zoomed);
    }

    pub fn set_theme(&mut self, theme: &Theme) {
        self.look = Look::new(theme, self.depth, self.ascii);
    }

    pub fn plan(&self) -> Option<&Plan> {
        self.build.plan.as_deref()
    }

    pub fn areas(&self) -> Areas {
        layout::areas(self)
    }

    /// Columns that the stage graph takes.
    pub fn graph_width(&self) -> usize {
        self.stages.layout().width
    }

    /// The instruction on the selected line.
    pub fn selected_step(&self) -> Option<&Step> {
        let step = self.source.selected_step()?;
        Some(self.plan()?.step(step))
    }

    /// The step that runs now: the one the build stands at, if several do.
    pub fn running_step(&self) -> Option<StepId> {
        if !self.build.running {
            return None;
        }
        self.build.running_steps().next()
    }

    /// What the panes speak of: the selected instruction if the user has moved to one that was run; else the
    /// one that runs or failed, or the last one before the place where the build stands.
    pub fn place(&self) -> Place {
        let Some(plan) = self.plan() else { return Place::default() };
        let stop = self.build.stop.as_ref();
        let looked_at = self.source.selected_step().filter(|step| {
            self.source.moved && (self.build.after(*step).is_some() || Some(*step) == self.running_step())
        });
        let at_stop = || match stop {
            Some(stop) if stop.side == Side::Failed => Some(stop.step),
            Some(stop) => stop.position.previous(),
            None => None,
        };
        let Some(step) = looked_at.or_else(|| self.running_step()).or_else(at_stop) else {
            let first = stop.filter(|_| plan.steps().any(|step| self.build.is_done(step.id)));
            let words = |stop: &crate::debug::Stop| {
                let stage = text::sanitise(&plan.stage(stop.position.stage).label()).into_owned();
                format!(
                    "Before the first instruction of {stage} there are no files: {} runs it.",
                    key_of(Action::StepOver)
                )
            };
            return Place { instead: first.map(words).unwrap_or_default(), ..Place::default() };
        };
        let status = self.build.status(step);
        let text = &plan.step(step).text;
        let against = self.against(step);
        let compared = against.is_some();
        let (text, before) = match against {
            Some((words, before)) => (format!("{text} ({words})"), Some(before)),
            None => (text.clone(), self.build.before(step)),
        };
        Place {
            compared,
            step: Some(step),
            text,
            before,
            after: self.build.after(step),
            running: matches!(status, crate::debug::StepStatus::Running),
            failed: matches!(status, crate::debug::StepStatus::Failed(_)),
            why: match status {
                crate::debug::StepStatus::Done(outcome) => outcome.why.clone(),
                _ => Vec::new(),
            },
            instead: String::new(),
        }
    }

    /// What a step's file system is compared with because of the mark, in words, and that file system.
    fn against(&self, step: StepId) -> Option<(String, SnapshotId)> {
        match self.mark? {
            Mark::Step(mark) if mark == step => None,
            Mark::Step(mark) => {
                let before = self.build.after(mark)?;
                let words = match mark.stage == step.stage && mark.index < step.index {
                    true => format!("since {}", mark.index),
                    // A later point, or one of another stage.
                    false => format!("against {}", self.label(mark).unwrap_or_default()),
                };
                Some((words, before))
            }
            Mark::Branch(id) => {
                let other = compare::find(&self.build.branches, id)?;
                let there = compare::counterpart(self.plan()?, step, &other.plan)?;
                let left = other.snapshot(Position::after(there));
                let left = left.or_else(|| other.failure(there).and_then(|it| it.after.as_ref()))?;
                Some((format!("against branch {}", id.0), left.clone()))
            }
        }
    }

    /// The way of a file at the place that the panes speak of, in words; known once the build is finished.
    pub fn way_of(&self, path: &BString) -> Option<String> {
        let traced = self.origins.traced()?;
        let step = self.place().step?;
        let chain = traced.facts.chain_after(step, path.as_ref())?;
        Some(origins::way(&self.look, &traced.facts.plan, &chain))
    }

    /// The step whose variables are shown: any that is selected, for they are known before it runs.
    pub fn variables_step(&self) -> Option<StepId> {
        match self.source.selected_step().filter(|_| self.source.moved) {
            Some(step) => Some(step),
            None => self.place().step,
        }
    }

    /// The pane by its id, if it is a widget with a state of its own.
    pub fn widget(&mut self, id: PaneId) -> Option<&mut dyn Pane> {
        self.panes.get(id)
    }

    /// What the build stands at, in words: `builder, before instruction 4, line 7`.
    pub fn place_in_words(&self, position: Position, side: Side) -> String {
        let Some(plan) = self.plan() else { return String::new() };
        let stage = plan.stage(position.stage);
        let name = stage.label();
        let step = match side {
            Side::Before | Side::Failed => position.next(plan),
            Side::After => position.previous(),
        };
        let word = match side {
            Side::Before => "before",
            Side::After => "after",
            Side::Failed => "after the failure of",
        };
        match step {
            Some(step) => {
                format!("{name}, {word} instruction {}, line {}", step.index, plan.step(step).lines.start)
            }
            None => format!("{name}, at its end"),
        }
    }

    /// A step as places are written: `builder:3`.
    pub fn label(&self, step: StepId) -> Option<String> {
        Some(format!("{}:{}", self.plan()?.stage(step.stage).label(), step.index))
    }

    /// Where a shell may be asked for beside the stop: at the instruction that the user has gone to.
    pub fn looked_at(&self) -> Option<ShellPlace> {
        let step = self.source.selected_step().filter(|_| self.source.moved)?;
        Some(ShellPlace { position: Position::before(step), side: Side::Before })
    }

    /// The breakpoint that stops before a step.
    pub fn breakpoint_at(&self, step: StepId) -> Option<&crate::debug::Breakpoint> {
        let bound = |state: &BreakpointState| matches!(state, BreakpointState::Bound { step: at, .. } if *at == step);
        self.build.breakpoints.iter().find(|it| bound(&it.state))
    }

    /// Whether the build stands at its end, however it got there.
    pub fn is_final(&self) -> bool {
        let (Some(plan), Some(stop)) = (self.plan(), &self.build.stop) else { return false };
        let at_end = stop.position.stage == plan.target && stop.position.next(plan).is_none();
        self.build.finished.is_some() && !self.build.running && (at_end || stop.reason == StopReason::End)
    }

    /// Whether something on the screen moves by itself.
    pub fn is_moving(&self) -> bool {
        self.build.running || self.build.stop.is_none() && self.build.problem.is_none()
    }

    /// Whom a shell at a place runs as, and where.
    pub fn user_and_directory(&self, position: Position) -> (String, String) {
        let step = position.previous().and_then(|step| Some(self.plan()?.step(step)));
        let config = step.map(|step| &step.state.image.config);
        let or = |value: Option<&String>, default: &str| match value {
            Some(value) if !value.is_empty() => value.clone(),
            _ => default.to_owned(),
        };
        let mut user = or(config.map(|it| &it.user), "root");
        if self.build.engine.as_ref().is_some_and(|it| it.one_user) && !["root", "0"].contains(&user.as_str()) {
            user = format!("root, the only user here (instead of {user}),");
        }
        (user, or(config.map(|it| &it.working_dir), "/"))
    }

    /// The sign of something that runs, as it is now.
    pub fn spinner(&self) -> &'static str {
        self.look.signs.spinner_at(self.now)
    }

    /// Lays the stage graph out anew, after the plan or the room for it has changed.
    pub(super) fn lay_out_stages(&mut self) {
        let Some(plan) = self.build.drawn().cloned() else { return };
        // The pane takes what the graph needs, up to this.
        let width = layout::graph_limit(self.size, self.zoomed && self.focus == PaneId::Stages);
        self.stages.lay_out(&plan, width);
    }

    /// Makes the Dockerfile's rows anew, after the build has stopped or the room for them has changed.
    pub(super) fn lay_out_source(&mut self) {
        let Some(plan) = self.build.drawn().cloned() else { return };
        let stop = self.build.stop.clone().filter(|_| !self.build.running);
        let output = match &stop {
            Some(stop) if stop.side == Side::Failed => self.build.last_lines(stop.step, 5),
            _ => Vec::new(),
        };
        let areas = self.areas();
        let width = areas.inner(PaneId::Source).map_or(0, |area| usize::from(area.width));
        let width = width.saturating_sub(super::views::listing::gutter(self, areas.wide) + 1);
        self.source.set_rows(&plan, stop.as_ref(), &output, width);
    }

    pub(super) fn say(&mut self, text: impl Into<String>) {
        self.note = Some(Note { text: text.into(), wrong: false });
    }

    pub(super) fn complain(&mut self, text: impl Into<String>) {
        self.note = Some(Note { text: text.into(), wrong: true });
    }

    /// The first line of a stage.
    pub fn stage_line(&self, stage: StageId) -> Option<u32> {
        let plan = self.build.drawn()?;
        plan.stage(stage).steps.iter().find(|step| !step.onbuild).map(|step| step.lines.start)
    }
}
