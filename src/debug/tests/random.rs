//! What holds for every Dockerfile and every sequence of commands.

use super::*;
use crate::debug::build::{Build, Prepared};
use crate::debug::desk::Desk;
use crate::debug::running::Launch;
use crate::debug::stepping::Action;
use crate::debug::timeline::{Branch, BranchId};
use crate::engine::{ChangeSummary, StepError, StepErrorKind, StepOutcome};
use crate::plan::{self, FileOrigin, Op, StageId};
use crate::snapshot::SnapshotId;
use proptest::prelude::*;
use proptest::sample::Index;

/// One instruction; an index chooses among the stages before.
#[derive(Debug, Clone)]
enum Line {
    Run,
    Env,
    Context,
    From(Index),
    Mount(Index),
}

fn line() -> impl Strategy<Value = Line> {
    prop_oneof![
        3 => Just(Line::Run),
        1 => Just(Line::Env),
        1 => Just(Line::Context),
        2 => any::<Index>().prop_map(Line::From),
        1 => any::<Index>().prop_map(Line::Mount),
    ]
}

/// Up to five stages, each on nothing or on one before it, with up to four instructions.
fn dockerfile() -> impl Strategy<Value = String> {
    let stage = (proptest::option::of(any::<Index>()), proptest::collection::vec(line(), 0..4));
    proptest::collection::vec(stage, 1..5).prop_map(|stages| {
        let mut text = String::new();
        for (at, (base, lines)) in stages.iter().enumerate() {
            let earlier = |index: &Index| format!("s{}", index.index(at.max(1)));
            match base.as_ref().filter(|_| at > 0) {
                Some(base) => text.push_str(&format!("FROM {} AS s{at}\n", earlier(base))),
                None => text.push_str(&format!("FROM scratch AS s{at}\n")),
            }
            for (number, line) in lines.iter().enumerate() {
                match line {
                    Line::From(index) if at > 0 => text.push_str(&format!("COPY --from={} / /\n", earlier(index))),
                    Line::Mount(index) if at > 0 => {
                        text.push_str(&format!("RUN --mount=from={},target=/m run {number}\n", earlier(index)));
                    }
                    Line::Env => text.push_str(&format!("ENV N={number}\n")),
                    Line::Context => text.push_str("COPY . .\n"),
                    _ => text.push_str(&format!("RUN run {number}\n")),
                }
            }
        }
        text
    })
}

fn prepared(text: &str) -> Prepared {
    Prepared { plan: plan_of(text), basis: Arc::default() }
}

/// What can happen to a build.
#[derive(Debug, Clone)]
enum Move {
    Act(u8, Index, Index),
    Retry,
    Pause,
    Cancel,
    /// One of the running steps ends: well, or with a failure.
    End(Index, bool),
    Breakpoint(Index, bool),
    BreakOnFailure(bool),
    /// The file changes to what it is without one of its lines.
    Change(Index, bool),
    /// Another branch is gone to.
    Branch(Index),
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        6 => (0u8..11, any::<Index>(), any::<Index>()).prop_map(|(kind, stage, done)| Move::Act(kind, stage, done)),
        1 => Just(Move::Retry),
        1 => Just(Move::Pause),
        1 => Just(Move::Cancel),
        12 => (any::<Index>(), proptest::bool::weighted(0.9)).prop_map(|(which, well)| Move::End(which, well)),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(line, on)| Move::Breakpoint(line, on)),
        1 => any::<bool>().prop_map(Move::BreakOnFailure),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(line, context)| Move::Change(line, context)),
        1 => any::<Index>().prop_map(Move::Branch),
    ]
}

fn action(kind: u8, plan: &Plan, stage: Index, done: Index) -> Action {
    let stage = StageId(stage.index(plan.stages.len()) as u32);
    let place = Position { stage, done: done.index(plan.stage(stage).steps.len() + 1) as u32 };
    match kind {
        0 => Action::Over,
        1 => Action::In,
        2 => Action::Out,
        3 => Action::Continue,
        4 => Action::BackOver,
        5 => Action::BackIn,
        6 => Action::BackOut,
        7 => Action::BackContinue,
        8 => Action::RunTo(place),
        9 => Action::Goto(place),
        _ => Action::Restart,
    }
}

fn goes_back(action: Action) -> bool {
    use Action::{BackContinue, BackIn, BackOut, BackOver, Goto, Restart};
    matches!(action, BackOver | BackIn | BackOut | BackContinue | Goto(_) | Restart)
}

/// A step's result, and how it failed.
type Content = (StepId, Option<StepOutcome>, Option<String>);

/// Everything that a branch has, to be compared.
fn contents(branch: &Branch) -> Vec<Content> {
    let steps = branch.plan.stages.iter().flat_map(|stage| &stage.steps);
    let failure = |id| branch.failure(id).map(|it| it.message.clone());
    steps.map(|step| (step.id, branch.outcome(step.id).cloned(), failure(step.id))).collect()
}

/// A build played by hand: what was launched ends when the test says so.
struct Table {
    text: String,
    build: Build,
    desk: Desk,
    running: Vec<Launch>,
    ended: u32,
    resumed: bool,
}

impl Table {
    fn new(text: &str) -> Table {
        let mut desk = Desk::new(true);
        let mut build = Build::new(&mut desk, prepared(text));
        let running = build.begin(&mut desk, true);
        Table { text: text.to_owned(), build, desk, running, ended: 0, resumed: false }
    }

    fn play(&mut self, it: &Move) {
        let old: Vec<_> = self.build.timeline.branches().iter().map(contents).collect();
        let frontier: Vec<u32> = self.frontiers();
        let (branches, current) = (old.len(), self.build.branch().id);
        let mut went_back = false;
        let launches = match it {
            Move::Act(kind, stage, done) => {
                let action = action(*kind, &self.build.plan(), *stage, *done);
                went_back = goes_back(action);
                self.build.act(&mut self.desk, action)
            }
            Move::Retry => self.build.retry(&mut self.desk),
            Move::Pause => {
                self.build.pause(&mut self.desk);
                Vec::new()
            }
            Move::Cancel => {
                self.build.cancel(&mut self.desk);
                Vec::new()
            }
            Move::End(which, well) => self.end(*which, *well),
            Move::Breakpoint(line, on) => {
                let line = Trigger::Before(Location::Line(line.index(self.text.lines().count()) as u32 + 1));
                let plan = self.build.plan();
                let id = self.desk.breakpoints.set(line, Some(&plan)).id;
                self.desk.breakpoints.enable(id, *on);
                Vec::new()
            }
            Move::Branch(which) => {
                went_back = true;
                let id = self.build.timeline.branches()[which.index(branches)].id;
                self.build.go_to_branch(&mut self.desk, id);
                self.text = self.build.plan().dockerfile.text.to_string();
                Vec::new()
            }
            Move::BreakOnFailure(on) => {
                self.desk.break_on_failure = *on;
                Vec::new()
            }
            Move::Change(line, context) => {
                self.change(*line, *context);
                Vec::new()
            }
        };
        assert!(!went_back || launches.is_empty(), "going back runs nothing");
        launches.iter().for_each(|launch| self.may_run(launch));
        self.running.extend(launches);

        // Nothing that was reached is overwritten, and on a branch nothing is lost.
        let now = self.build.timeline.branches();
        for (was, is) in old.iter().zip(now) {
            if is.id != current || now.len() > branches {
                assert_eq!(*was, contents(is));
            } else {
                let kept = |(was, is): (&Content, &Content)| was.1.is_none() || was.1 == is.1;
                assert!(was.iter().zip(&contents(is)).all(kept));
            }
        }
        if self.build.branch().id == current {
            assert!(frontier.iter().zip(self.frontiers()).all(|(was, is)| *was <= is));
        }
        assert!(self.build.branch().is_reached(self.build.cursor));
        assert_eq!(self.build.is_running(), !self.build.running.is_empty(), "what runs ends, and what stands does not");
        self.listen();
    }

    /// One of the running steps ends. A cancelled one may end in any way.
    fn end(&mut self, which: Index, well: bool) -> Vec<Launch> {
        if self.running.is_empty() {
            return Vec::new();
        }
        let Launch { job, .. } = self.running.swap_remove(which.index(self.running.len()));
        self.ended += 1;
        let snapshot = SnapshotId(self.ended.to_string());
        let result = match well {
            true => Ok(StepOutcome {
                snapshot,
                cached: false,
                duration: Duration::ZERO,
                changes: Some(ChangeSummary::default()),
                why: Vec::new(),
            }),
            false => Err(StepError {
                kind: StepErrorKind::Exit(1),
                message: self.ended.to_string(),
                help: Vec::new(),
                after: Some(snapshot),
            }),
        };
        self.build.ended(&mut self.desk, job.step.id, result)
    }

    fn change(&mut self, line: Index, files_changed: bool) {
        let lines: Vec<&str> = self.text.lines().collect();
        let line = line.index(lines.len());
        // A stage that goes takes along what names it; so only other lines go.
        if self.build.is_running() || lines[line].starts_with("FROM") {
            return;
        }
        let text: String =
            lines.iter().enumerate().filter(|(at, _)| *at != line).map(|(_, it)| format!("{it}\n")).collect();
        self.build.replan(&mut self.desk, prepared(&text), "a line less".to_owned(), files_changed);
        self.text = text;
    }

    /// A step is given all that it reads.
    fn may_run(&self, launch: &Launch) {
        let step = &launch.job.step;
        let stands_alone = matches!(&step.op, Op::From(plan::Base::Scratch | plan::Base::Image(_)));
        assert_eq!(launch.job.parent.is_none(), stands_alone, "{step:?}");
        for (origin, input) in step.inputs.iter().zip(&launch.job.inputs) {
            assert_eq!(matches!(origin, FileOrigin::Stage(_)), input.is_some(), "{step:?}");
        }
        assert!(self.build.plan().order.contains(&step.id.stage));
    }

    fn frontiers(&self) -> Vec<u32> {
        let branch = self.build.branch();
        branch.plan.stages.iter().map(|stage| branch.frontier(stage.id)).collect()
    }

    /// Every stop is a place, and between two runs there is a stop.
    fn listen(&mut self) {
        let plan = self.build.plan();
        for event in self.desk.out.drain(..) {
            match event {
                Event::Resumed => {
                    assert!(!self.resumed, "it ran already");
                    self.resumed = true;
                }
                Event::Stopped(stop) => {
                    valid(&plan, &stop);
                    self.resumed = false;
                }
                _ => {}
            }
        }
        assert_eq!(self.resumed, self.build.is_running());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_build_keeps_its_word(
        text in dockerfile(),
        moves in proptest::collection::vec(moves(), 0..80),
        which in any::<Index>(),
    ) {
        let mut table = Table::new(&text);
        table.listen();
        for it in &moves {
            table.play(it);
        }
        // Whatever was done, the end can be reached: failures are run again where they stand.
        table.desk.break_on_failure = true;
        let lines = text.lines().count() as u32;
        let ids: Vec<_> = table.desk.breakpoints.list().iter().map(|it| it.id).collect();
        ids.into_iter().for_each(|id| assert!(table.desk.breakpoints.remove(id)));
        for _ in 0..20 * (lines + 10) {
            match table.build.is_running() {
                true => table.play(&Move::End(which, true)),
                false if table.build.is_complete() => break,
                false => table.play(&Move::Act(3, which, which)),
            }
        }
        prop_assert!(table.build.is_complete());
    }
}

fn sent() -> impl Strategy<Value = Command> {
    let place = || (0u32..6, 0u32..6).prop_map(|(stage, done)| Position { stage: StageId(stage), done });
    let id = || (0u32..4).prop_map(super::super::BreakpointId);
    prop_oneof![
        Just(Command::StepOver),
        Just(Command::StepIn),
        Just(Command::StepOut),
        Just(Command::Continue),
        Just(Command::BackOver),
        Just(Command::BackIn),
        Just(Command::BackOut),
        Just(Command::BackContinue),
        place().prop_map(Command::RunTo),
        place().prop_map(Command::Goto),
        Just(Command::Restart),
        Just(Command::Pause),
        Just(Command::Cancel),
        (1u32..20).prop_map(|line| Command::SetBreakpoint(Location::Line(line))),
        prop::sample::select(vec!["**", "*1 created", "* over 1"]).prop_map(|it| Command::Watch(it.parse().unwrap())),
        (0u32..6, 0u32..6).prop_map(|(stage, index)| {
            Command::SetBreakpoint(Location::Instruction { stage: format!("s{stage}"), index })
        }),
        id().prop_map(Command::RemoveBreakpoint),
        (id(), any::<bool>()).prop_map(|(id, on)| Command::EnableBreakpoint(id, on)),
        any::<bool>().prop_map(Command::BreakOnFailure),
        proptest::option::of(Just("1".to_owned())).prop_map(|value| Command::SetBuildArg("A".to_owned(), value)),
        Just(Command::Retry),
        Just(Command::Reload),
        (0u32..4).prop_map(|id| Command::Branch(BranchId(id))),
    ]
}

/// What a front end does: says something, waits so many milliseconds, or reads so many events.
#[derive(Debug, Clone)]
enum Deed {
    Say(Command),
    Wait(u64),
    Read(usize),
}

async fn live(text: String, paused: bool, deeds: Vec<Deed>) {
    let slow = |play: Play| play.prints("line\n").waits(Duration::from_millis(10));
    let script = Script::new()
        .on("RUN run 0", slow(Play::succeeds().writes("a1", b"1")))
        .on("RUN run 1", slow(Play::exits(1)))
        .on("RUN run 1", slow(Play::succeeds()))
        .on("COPY", (0..500).fold(Play::succeeds(), |play, _| play.prints("much\n")))
        .lists_in(Duration::from_millis(5))
        .on("ENV", slow(Play::panics()))
        .on("ENV", Play::succeeds());
    let mut front = Front::new(&text, Begin { script, paused, ..Begin::default() });
    for deed in deeds {
        match deed {
            Deed::Say(command) => front.session.send(command),
            Deed::Wait(time) => tokio::time::sleep(Duration::from_millis(time)).await,
            Deed::Read(count) => {
                for _ in 0..count {
                    let Ok(event) = front.events.try_recv() else { break };
                    if let Event::Planned { plan } = &event {
                        front.plan = Some(plan.clone());
                    }
                    if let (Event::Stopped(stop), Some(plan)) = (&event, &front.plan) {
                        valid(plan, stop);
                    }
                    front.heard.push(event);
                }
            }
        }
    }
    let runs = front.engine.runs();
    assert!(runs.iter().all(|run| run.at_once <= 16));
    front.quit().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// Whatever is said, whenever, to a session whose front end reads or does not read: it goes on, and it ends.
    #[test]
    fn a_session_always_ends(
        text in dockerfile(),
        paused in any::<bool>(),
        deeds in proptest::collection::vec(prop_oneof![
            4 => sent().prop_map(Deed::Say),
            1 => (0u64..30).prop_map(Deed::Wait),
            2 => (0usize..100).prop_map(Deed::Read),
        ], 0..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(live(text, paused, deeds));
    }
}
