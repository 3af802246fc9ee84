//! What the session's events say, folded into what the views ask for.

use crate::debug::{Branch, BranchId, Breakpoint, BreakpointState, Event, Position, Side, StepStatus, Stop};
use crate::engine::Capabilities;
use crate::plan::{EdgeKind, FileOrigin, Plan, Stage, StageId, StepId};
use crate::snapshot::SnapshotId;
use crate::tui::text;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Bytes kept of a running step's last output, for the lines under a failure.
const TAIL: usize = 4096;
/// Long works that are kept, of one step or before the plan.
const BARS: usize = 64;

/// The build as far as it has been told.
#[derive(Debug, Default)]
pub struct Build {
    pub engine: Option<Capabilities>,
    pub plan: Option<Arc<Plan>>,
    /// What it is going to be, while there is none.
    pub sketch: Option<Arc<Plan>>,
    /// Why there is no plan, if there cannot be one; with a plan, why there is no new one, until that has been seen.
    pub problem: Option<Problem>,
    /// Bases being looked up or fetched before there is a plan.
    pub bases: Vec<Bar>,
    pub stop: Option<Stop>,
    /// Whether it runs: nothing has stopped it since it was resumed.
    pub running: bool,
    /// When it was resumed last.
    pub resumed: Duration,
    pub breakpoints: Vec<Breakpoint>,
    pub break_on_failure: bool,
    /// The target's file system, and how long the session had run.
    pub finished: Option<(SnapshotId, Duration)>,
    pub ended: bool,
    /// Every branch, once there are several, as it was when it was left; and the one that the build stands on.
    pub branches: Vec<Branch>,
    pub branch: Option<BranchId>,
    steps: BTreeMap<StepId, Told>,
    active: BTreeSet<StepId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub message: String,
    /// The diagnostic drawn under its source line.
    pub rendered: String,
}

/// What is known of one step.
#[derive(Debug)]
struct Told {
    status: StepStatus,
    /// When this status came.
    since: Duration,
    bars: Vec<Bar>,
    tail: VecDeque<u8>,
}

/// A long work: bytes of all, `total` 0 when not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    /// What it is part of: an image; empty for a step's own.
    pub of: String,
    pub what: String,
    pub done: u64,
    pub total: u64,
}

impl Build {
    /// Takes one event in; `now` is the screen's clock.
    pub fn apply(&mut self, event: &Event, now: Duration) {
        // What speaks of steps that the plan does not have is about another plan.
        let known = match event {
            Event::Step { step, .. }
            | Event::Counted { step, .. }
            | Event::Output { step, .. }
            | Event::Progress { step, .. } => self.knows(*step),
            Event::Stopped(stop) => self.knows(stop.step) && self.has(stop.position),
            _ => true,
        };
        if !known {
            return;
        }
        match event {
            Event::Started { engine } => self.engine = Some(engine.clone()),
            Event::BaseProgress { image, what, done, total } => put_bar(&mut self.bases, image, what, *done, *total),
            Event::Sketched { plan } => self.sketch = self.plan.is_none().then(|| plan.clone()),
            Event::Planned { plan } => {
                self.plan = Some(plan.clone());
                self.sketch = None;
                self.problem = None;
                self.finished = None;
                self.bases.clear();
                self.steps.clear();
                self.active.clear();
                // A stop speaks of the plan before; the next one follows at once.
                self.stop = None;
                self.loosen_breakpoints();
            }
            Event::PlanFailed { message, rendered, .. } => {
                self.problem = Some(Problem { message: message.clone(), rendered: rendered.clone() });
                self.running = false;
            }
            Event::Step { step, status, .. } => {
                let told = self.steps.entry(*step).or_insert_with(|| Told::new(now));
                if matches!(status, StepStatus::Running) {
                    told.tail.clear();
                }
                if matches!(status, StepStatus::Done(_)) {
                    told.tail = VecDeque::new();
                }
                if !matches!(status, StepStatus::Running) {
                    told.bars = Vec::new();
                }
                told.status = status.clone();
                told.since = now;
                match status {
                    StepStatus::Running => self.active.insert(*step),
                    _ => self.active.remove(step),
                };
            }
            Event::Counted { step, changes } => {
                if let Some(Told { status: StepStatus::Done(outcome), .. }) = self.steps.get_mut(step) {
                    outcome.changes = *changes;
                }
            }
            Event::Output { step, bytes, .. } => {
                let told = self.steps.entry(*step).or_insert_with(|| Told::new(now));
                told.tail.extend(&bytes[bytes.len().saturating_sub(TAIL)..]);
                let over = told.tail.len().saturating_sub(TAIL);
                told.tail.drain(..over);
            }
            Event::Progress { step, what, done, total } => {
                let told = self.steps.entry(*step).or_insert_with(|| Told::new(now));
                put_bar(&mut told.bars, "", what, *done, *total);
            }
            Event::Resumed => {
                self.running = true;
                self.resumed = now;
            }
            Event::Stopped(stop) => {
                self.stop = Some(stop.clone());
                self.running = false;
            }
            Event::Breakpoints { list, break_on_failure } => {
                self.breakpoints = list.clone();
                self.break_on_failure = *break_on_failure;
                self.loosen_breakpoints();
            }
            Event::Finished { snapshot, at } => self.finished = Some((snapshot.clone(), *at)),
            Event::Ended => {
                self.ended = true;
                self.running = false;
            }
            Event::Branches { list, current } => {
                self.branches = list.clone();
                self.branch = Some(*current);
            }
            Event::OutputClipped { .. } | Event::Notice { .. } => {}
        }
    }

    /// What there is to draw: the plan, or its sketch.
    pub fn drawn(&self) -> Option<&Arc<Plan>> {
        self.plan.as_ref().or(self.sketch.as_ref())
    }

    /// Breakpoints that are bound to another plan's steps are told anew for this one; until then they wait.
    fn loosen_breakpoints(&mut self) {
        let mut list = std::mem::take(&mut self.breakpoints);
        for it in &mut list {
            if matches!(it.state, BreakpointState::Bound { step, .. } if !self.knows(step)) {
                it.state = BreakpointState::Pending;
            }
        }
        self.breakpoints = list;
    }

    fn knows(&self, step: StepId) -> bool {
        let stage = self.plan.as_ref().and_then(|plan| plan.stages.get(step.stage.0 as usize));
        stage.is_some_and(|stage| (step.index as usize) < stage.steps.len())
    }

    fn has(&self, position: Position) -> bool {
        let stage = self.plan.as_ref().and_then(|plan| plan.stages.get(position.stage.0 as usize));
        stage.is_some_and(|stage| position.done as usize <= stage.steps.len())
    }

    pub fn status(&self, step: StepId) -> &StepStatus {
        self.steps.get(&step).map_or(&StepStatus::Waiting, |told| &told.status)
    }

    /// How long a step has been what it is.
    pub fn elapsed(&self, step: StepId, now: Duration) -> Duration {
        self.steps.get(&step).map_or(Duration::ZERO, |told| now.saturating_sub(told.since))
    }

    /// All of a step's long works as one: bytes so far of all, and how many works.
    pub fn progress(&self, step: StepId) -> Option<(u64, u64, usize)> {
        let bars = &self.steps.get(&step)?.bars;
        let sum = |pick: fn(&Bar) -> u64| bars.iter().map(pick).fold(0u64, u64::saturating_add);
        (!bars.is_empty()).then(|| (sum(|bar| bar.done), sum(|bar| bar.total), bars.len()))
    }

    /// The last lines that a step has written, at most `count`; not safe to print.
    pub fn last_lines(&self, step: StepId, count: usize) -> Vec<String> {
        let Some(told) = self.steps.get(&step) else { return Vec::new() };
        let bytes: Vec<u8> = told.tail.iter().copied().collect();
        let written = String::from_utf8_lossy(&bytes);
        let lines: Vec<String> = written.lines().map(text::plain).filter(|line| !line.trim().is_empty()).collect();
        // The first of a full tail is the rest of a line whose beginning is gone.
        let cut = usize::from(bytes.len() == TAIL && lines.len() > 1);
        let from = cut.max(lines.len().saturating_sub(count));
        lines.get(from..).map(<[String]>::to_vec).unwrap_or_default()
    }

    pub fn running_steps(&self) -> impl Iterator<Item = StepId> + '_ {
        self.active.iter().copied()
    }

    pub fn is_running(&self, step: StepId) -> bool {
        self.active.contains(&step)
    }

    pub fn is_done(&self, step: StepId) -> bool {
        matches!(self.status(step), StepStatus::Done(_))
    }

    /// The file system after a step, if it has one.
    pub fn after(&self, step: StepId) -> Option<SnapshotId> {
        match self.status(step) {
            StepStatus::Done(outcome) => Some(outcome.snapshot.clone()),
            StepStatus::Failed(failure) => failure.after.clone(),
            _ => None,
        }
    }

    /// The file system before a step.
    pub fn before(&self, step: StepId) -> Option<SnapshotId> {
        Position::before(step).previous().and_then(|previous| self.after(previous))
    }

    /// Steps of a stage that are done, from its beginning.
    pub fn frontier(&self, stage: &Stage) -> u32 {
        stage.steps.iter().take_while(|step| self.is_done(step.id)).count() as u32
    }

    /// Whether anything has failed and not been run again since.
    pub fn has_failed(&self) -> bool {
        self.steps.values().any(|told| matches!(told.status, StepStatus::Failed(_)))
    }

    /// The number, in plain order and from 1, of the step that the build stands at, and of how many.
    pub fn count(&self) -> Option<(usize, usize)> {
        let plan = self.plan.as_ref()?;
        let total = plan.order.iter().map(|stage| plan.stage(*stage).steps.len()).sum();
        let at = match (self.running, &self.stop) {
            (true, _) => self.running_steps().next(),
            (false, Some(stop)) => Some(stop.step),
            (false, None) => None,
        };
        let number = at.and_then(|at| plan.steps().position(|step| step.id == at)).map_or(0, |index| index + 1);
        Some((number, total))
    }

    /// What the stop says of its side, in capitals.
    pub fn side(stop: &Stop) -> &'static str {
        match stop.side {
            Side::Before => "BEFORE",
            Side::After => "AFTER",
            Side::Failed => "FAILED",
        }
    }

    /// Bytes that a COPY has carried over, once it is done.
    pub fn carried(&self, step: StepId) -> Option<u64> {
        match self.status(step) {
            StepStatus::Done(outcome) => outcome.changes.map(|it| it.bytes),
            _ => None,
        }
    }

    /// What each stage wrote and what of it is in the target, by stage; the target's own part last.
    pub fn snapshots(&self) -> BTreeMap<StepId, SnapshotId> {
        let done = self.steps.iter().filter_map(|(step, told)| match &told.status {
            StepStatus::Done(outcome) => Some((*step, outcome.snapshot.clone())),
            _ => None,
        });
        done.collect()
    }

    pub fn contributions(&self) -> Vec<Contribution> {
        let Some(plan) = &self.plan else { return Vec::new() };
        let bytes = |step: StepId| self.carried(step).unwrap_or(0);
        // The chain of stages that the target is built on: all of their layers are in the image.
        let mut chain = vec![plan.target];
        while let Some(crate::plan::Base::Stage(base)) = chain.last().map(|stage| &plan.stage(*stage).base) {
            if chain.contains(base) {
                break;
            }
            chain.push(*base);
        }
        let mut shipped: BTreeMap<StageId, u64> = BTreeMap::new();
        for stage in chain.iter().map(|id| plan.stage(*id)) {
            for step in &stage.steps {
                let copied = stage.needs.iter().find(|edge| edge.step == step.id && edge.kind == EdgeKind::Copy);
                let from = match copied.map(|edge| &edge.origin) {
                    Some(FileOrigin::Stage(source)) => *source,
                    _ => stage.id,
                };
                *shipped.entry(from).or_default() += bytes(step.id);
            }
        }
        let stages = plan.order.iter().map(|id| plan.stage(*id));
        stages
            .map(|stage| Contribution {
                stage: stage.id,
                base: stage.steps.first().map_or(0, |step| bytes(step.id)),
                built: stage.steps.iter().skip(1).map(|step| bytes(step.id)).sum(),
                shipped: shipped.get(&stage.id).copied().unwrap_or(0),
                in_image: chain.contains(&stage.id),
            })
            .collect()
    }

    /// What did not get into the image of what the build is made of.
    pub fn left_behind(&self) -> LeftBehind {
        let Some(plan) = &self.plan else { return LeftBehind::default() };
        let parts = self.contributions();
        let of = |part: &Contribution| match &plan.stage(part.stage).base {
            crate::plan::Base::Image(name) => Some((name.clone(), part.base)),
            _ => None,
        };
        // A base that several stages begin with is there once, and one that the image begins with is in it.
        let mut bases: BTreeMap<String, u64> = parts.iter().filter(|part| !part.in_image).filter_map(of).collect();
        for (name, _) in parts.iter().filter(|part| part.in_image).filter_map(of) {
            bases.remove(&name);
        }
        let others = parts.iter().filter(|part| !part.in_image);
        let built = others.map(|part| part.built.saturating_sub(part.shipped)).sum();
        LeftBehind { built, bases: bases.values().sum() }
    }
}

/// Bytes that are not in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeftBehind {
    /// Written by instructions of stages that are only copied from, and not copied.
    pub built: u64,
    /// Of the images that only those stages begin with, each counted once.
    pub bases: u64,
}

impl LeftBehind {
    /// `left behind: 3.1 MB built, 8.3 MB of bases`.
    pub fn words(&self) -> String {
        match (self.built, self.bases) {
            (0, 0) => "nothing is left behind".to_owned(),
            (0, bases) => format!("left behind: {} of bases", text::size(bases)),
            (built, 0) => format!("left behind: {} built", text::size(built)),
            (built, bases) => format!("left behind: {} built, {} of bases", text::size(built), text::size(bases)),
        }
    }
}

/// Bytes of a stage, and bytes of the image that come from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contribution {
    pub stage: StageId,
    /// Of the image that it begins with.
    pub base: u64,
    /// Written by its own instructions.
    pub built: u64,
    pub shipped: u64,
    /// Its layers are the image's own; otherwise it is only copied from.
    pub in_image: bool,
}

impl Told {
    fn new(now: Duration) -> Told {
        Told { status: StepStatus::Waiting, since: now, bars: Vec::new(), tail: VecDeque::new() }
    }
}

fn put_bar(bars: &mut Vec<Bar>, of: &str, what: &str, done: u64, total: u64) {
    match bars.iter().position(|bar| bar.of == of && bar.what == what) {
        Some(at) => {
            bars[at].done = done;
            bars[at].total = total;
        }
        None if bars.len() < BARS => bars.push(Bar { of: of.to_owned(), what: what.to_owned(), done, total }),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;

    fn folded(events: &[Event]) -> Build {
        let mut build = Build::default();
        for event in events {
            build.apply(event, Duration::ZERO);
        }
        build
    }

    #[test]
    fn a_stop_ends_the_run() {
        let (_, events) = fixture::hello_stopped();
        let mut build = folded(&events);
        assert_eq!(build.count(), Some((5, 12)));
        assert!(!build.running);
        build.apply(&Event::Resumed, Duration::from_secs(3));
        build.apply(&fixture::running(fixture::id(0, 4)), Duration::from_secs(3));
        assert!(build.running);
        assert_eq!(build.elapsed(fixture::id(0, 4), Duration::from_secs(5)), Duration::from_secs(2));
    }

    #[test]
    fn the_image_is_made_of_its_own_steps_and_what_was_copied() {
        let (_, events) = fixture::hello_finished();
        let found: Vec<_> =
            folded(&events).contributions().iter().map(|it| (it.stage.0, it.base, it.built, it.shipped)).collect();
        assert_eq!(found, [(0, 812_000_000, 87_465_100, 6_100_000), (2, 7_800_000, 8_400_000, 10_100_000)]);
        let left = folded(&events).left_behind();
        assert_eq!(left, LeftBehind { built: 81_365_100, bases: 812_000_000 });
        assert_eq!(left.words(), "left behind: 81.4 MB built, 812.0 MB of bases");
        assert_eq!(LeftBehind { built: 0, bases: 0 }.words(), "nothing is left behind");
    }

    #[test]
    fn the_tail_keeps_whole_last_lines() {
        let step = fixture::id(0, 5);
        let write = |text: &str| Event::Output { step, stderr: true, bytes: text.as_bytes().to_vec() };
        let planned = || Event::Planned { plan: fixture::hello() };
        let build = folded(&[planned(), fixture::running(step), write("one\ntw"), write("o\n\nthree")]);
        assert_eq!(build.last_lines(step, 2), ["two", "three"]);
        let build = folded(&[planned(), write(&format!("{}\nlast", "x".repeat(2 * TAIL)))]);
        assert_eq!(build.last_lines(step, 5), ["last"]);
    }

    #[test]
    fn works_are_summed_up() {
        let step = fixture::id(0, 0);
        let bar = |what: &str, done| Event::Progress { step, what: what.to_owned(), done, total: 100 };
        let build = folded(&[Event::Planned { plan: fixture::hello() }, bar("a", 10), bar("b", 20), bar("a", 30)]);
        assert_eq!(build.progress(step), Some((50, 200, 2)));
    }
}
