//! How a build stands, in a few words: for the header, and for who looks at the track of another platform.

use super::app::App;
use super::build::Build;
use super::text;
use super::theme::Look;
use crate::debug::{Side, StopReason};
use crate::plan::{Plan, Stage};
use ratatui::style::Style;

/// What a build does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Its bases are looked up, its plan is made.
    Starting,
    NoPlan,
    Running,
    Failed {
        at: String,
    },
    Past {
        stage: String,
        done: u32,
        total: usize,
    },
    Finished,
    Cancelled {
        side: &'static str,
        at: String,
    },
    Paused {
        side: &'static str,
        at: String,
    },
}

/// One of the tracks, as the others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub platform: String,
    pub state: State,
    /// As [`Build::count`].
    pub count: Option<(usize, usize)>,
    /// Columns that the longest place of its plan takes.
    pub longest_place: usize,
    pub has_shell: bool,
}

impl State {
    /// Names of stages in it are safe to show.
    pub fn of(app: &App) -> State {
        let build = &app.build;
        let Some(plan) = app.plan() else {
            return if build.problem.is_some() { State::NoPlan } else { State::Starting };
        };
        if build.running {
            return State::Running;
        }
        let Some(stop) = &build.stop else { return State::Starting };
        let stage = plan.stage(stop.position.stage);
        let label = text::sanitise(&stage.label()).into_owned();
        let at = format!("{label}:{}", stop.step.index);
        let side = Build::side(stop);
        match stop.reason {
            _ if stop.side == Side::Failed => State::Failed { at },
            _ if stop.in_the_past => State::Past { stage: label, done: stop.position.done, total: stage.steps.len() },
            _ if app.is_final() => State::Finished,
            StopReason::Cancelled => State::Cancelled { side, at },
            _ => State::Paused { side, at },
        }
    }

    pub fn style(&self, look: &Look) -> Style {
        match self {
            State::NoPlan | State::Failed { .. } => look.removed,
            State::Starting | State::Running | State::Paused { .. } => look.accent,
            State::Past { .. } => look.changed,
            State::Finished => look.added,
            State::Cancelled { .. } => look.warning,
        }
    }

    /// A sign for what is not just a place to go on from.
    pub fn sign(&self, look: &Look) -> &'static str {
        let signs = &look.signs;
        match self {
            State::Starting | State::Running => signs.ellipsis,
            State::NoPlan | State::Failed { .. } => signs.failed,
            State::Finished => signs.done,
            State::Past { .. } | State::Cancelled { .. } | State::Paused { .. } => "",
        }
    }

    /// In a word of [`WORD`] columns at most with its sign, and where, if there is a place to name. Nothing in them
    /// moves.
    pub fn words(&self) -> (&'static str, String) {
        match self {
            State::Starting => ("starting", String::new()),
            State::NoPlan => ("NO PLAN", String::new()),
            State::Running => ("running", String::new()),
            State::Failed { at } => ("FAILED", at.clone()),
            State::Past { stage, done, .. } => ("the past", format!("{stage}:{done}")),
            State::Finished => ("FINISHED", String::new()),
            State::Cancelled { at, .. } => ("CANCELLED", at.clone()),
            State::Paused { side, at } => (side, at.clone()),
        }
    }
}

/// Columns of a word with its sign.
pub const WORD: usize = 10;

fn longest_place(plan: &Plan) -> usize {
    let place = |stage: &Stage| text::width(&format!("{}:{}", text::sanitise(&stage.label()), stage.steps.len()));
    plan.stages.iter().map(place).max().unwrap_or(0)
}

impl Standing {
    pub fn of(app: &App) -> Standing {
        Standing {
            platform: app.platform.clone(),
            state: State::of(app),
            count: app.build.count(),
            longest_place: app.plan().map_or(0, longest_place),
            has_shell: app.panes.shell_is_open(),
        }
    }

    pub fn is_running(&self) -> bool {
        self.state == State::Running
    }
}
