//! What outlives a plan: the events on their way out, the breakpoints, the clock.

use super::breakpoint::Breakpoints;
use super::timeline::Branch;
use super::watch::{self, Hit, Watched};
use super::{BreakpointId, Event, StepStatus};
use crate::plan::StepId;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

pub(super) struct Desk {
    /// Events that the front end has not taken yet, the oldest first.
    pub(super) out: VecDeque<Event>,
    pub(super) breakpoints: Breakpoints,
    pub(super) watched: Watched,
    pub(super) break_on_failure: bool,
    began: Instant,
}

impl Desk {
    pub(super) fn new(break_on_failure: bool) -> Desk {
        let (out, breakpoints, watched) = (VecDeque::new(), Breakpoints::default(), Watched::default());
        Desk { out, breakpoints, watched, break_on_failure, began: Instant::now() }
    }

    pub(super) fn say(&mut self, event: Event) {
        self.out.push_back(event);
    }

    pub(super) fn notice(&mut self, message: impl Into<String>) {
        self.say(Event::Notice { message: message.into() });
    }

    pub(super) fn step(&mut self, step: StepId, status: StepStatus) {
        let at = self.elapsed();
        self.say(Event::Step { step, status, at });
    }

    pub(super) fn list_breakpoints(&mut self) {
        let list = self.breakpoints.list().to_vec();
        self.say(Event::Breakpoints { list, break_on_failure: self.break_on_failure });
    }

    /// The first enabled watchpoint that found something in a step that is done.
    pub(super) fn hit(&self, branch: &Branch, step: StepId) -> Option<(BreakpointId, &Hit)> {
        let pair = watch::pair(branch, step)?;
        self.breakpoints.watches().find_map(|(id, _)| Some((id, self.watched.hit(&pair, id)?)))
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}
