//! The one actor of a session: takes commands and reports in, and gives events out in order.
//!
//! Nothing here waits for the front end. Events wait at the desk until the front end takes them; while many
//! do, no output is taken from steps, so that a slow reader slows the build and a command is heard at once
//! all the same.

use super::build::{Build, Prepared};
use super::desk::Desk;
use super::expected::Expected;
use super::log::{Logs, RunId};
use super::prepare::{self, PlanError, Source, Text};
use super::running::Launch;
use super::session::Message;
use super::stepping::Action;
use super::work::{self, Report};
use super::{
    BranchId, BreakpointId, Command, Event, Log, PlanFault, Session, Setup, ShellPlace, Trigger, finish, place,
};
use crate::engine::settings::Context;
use crate::engine::{Engine, OutputEvent, StepError, StepOutcome};
use crate::plan::options::shown;
use crate::plan::{Options, StepId};
use crate::snapshot::SnapshotId;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Events on their way to the front end.
const EVENTS: usize = 256;
/// Events at the desk, beyond which no report is taken.
const DESK: usize = 64;
/// Reports on their way to the actor.
const REPORTS: usize = 16;

/// Why a move has to wait.
const LOOKING: &str = "looking for what is watched in what was done before";

/// Begins a session. Must be called within a tokio runtime.
pub fn start(setup: Setup) -> (Session, mpsc::Receiver<Event>) {
    let (session, mailbox) = Session::new(setup.engine.clone());
    let (events, receiver) = mpsc::channel(EVENTS);
    let (sender, reports) = mpsc::channel(REPORTS);
    let actor = Actor::new(setup, sender);
    tokio::spawn(actor.run(mailbox, reports, events));
    (session, receiver)
}

struct Actor {
    engine: Arc<dyn Engine>,
    text: Text,
    context: Option<Context>,
    /// What the plan that is in force was made from.
    options: Options,
    no_cache: bool,
    count: bool,
    shells: bool,
    expected: Expected,
    /// Where the front end looks beside the stop.
    looked_at: Option<ShellPlace>,
    /// Stop before the first instruction.
    paused: bool,
    desk: Desk,
    logs: Logs,
    build: Option<Build>,
    preparing: Option<Preparing>,
    attempts: u64,
    /// Commands that wait until what runs has been killed.
    deferred: Vec<Command>,
    steps: BTreeMap<StepId, (RunId, AbortOnDropHandle<()>)>,
    /// What is being counted, by the snapshot that the steps made.
    counts: BTreeMap<SnapshotId, AbortOnDropHandle<()>>,
    /// The steps that are done and being looked at for watchpoints.
    watching: Option<AbortOnDropHandle<()>>,
    /// Goes on from where it stands, once it is known what watchpoints found on the way.
    waiting: Option<Action>,
    /// Whose turn it is to count.
    turn: Arc<Semaphore>,
    sender: mpsc::Sender<Report>,
    quitting: bool,
}

/// A plan that is being made.
struct Preparing {
    attempt: u64,
    options: Options,
    /// What is different from the plan before, in words.
    causes: Vec<String>,
    files_changed: bool,
    _task: AbortOnDropHandle<()>,
}

impl Actor {
    fn new(setup: Setup, sender: mpsc::Sender<Report>) -> Actor {
        let Setup { engine, options, name, read, context, .. } = setup;
        let Setup { paused, break_on_failure, no_cache, count, shells, breakpoints, .. } = setup;
        let mut desk = Desk::new(break_on_failure);
        for wanted in breakpoints {
            desk.breakpoints.set(wanted, None);
        }
        Actor {
            engine,
            text: Text::Read { name, read },
            context,
            options,
            no_cache,
            count,
            shells,
            expected: Expected::default(),
            looked_at: None,
            paused,
            desk,
            logs: Logs::default(),
            build: None,
            preparing: None,
            attempts: 0,
            deferred: Vec::new(),
            steps: BTreeMap::new(),
            counts: BTreeMap::new(),
            watching: None,
            waiting: None,
            turn: Arc::new(Semaphore::new(1)),
            sender,
            quitting: false,
        }
    }

    async fn run(
        mut self,
        mut mailbox: mpsc::UnboundedReceiver<Message>,
        mut reports: mpsc::Receiver<Report>,
        events: mpsc::Sender<Event>,
    ) {
        self.desk.say(Event::Started { engine: self.engine.capabilities().clone() });
        self.prepare(self.options.clone(), "the first run".to_owned(), true);
        let mut spoken_to = true;
        while !(self.quitting && self.steps.is_empty()) {
            // Once it quits it takes whatever comes, so that steps can end.
            let may_report = self.quitting || self.desk.out.len() < DESK;
            tokio::select! {
                biased;
                message = mailbox.recv(), if spoken_to => match message {
                    Some(message) => self.hear(message),
                    None => {
                        spoken_to = false;
                        self.quit();
                    }
                },
                permit = events.reserve(), if !self.desk.out.is_empty() => match (permit, self.desk.out.pop_front()) {
                    (Ok(permit), Some(event)) => permit.send(event),
                    (Ok(_), None) => {}
                    (Err(_), _) => self.unheard(),
                },
                Some(report) = reports.recv(), if may_report => self.take(report),
                () = events.closed(), if !self.quitting => self.unheard(),
            }
            self.expect_shells();
            self.look_for_watched();
        }
        drop(mailbox);
        self.desk.say(Event::Ended);
        for event in self.desk.out {
            if events.send(event).await.is_err() {
                break;
            }
        }
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Command(command) if self.quitting => {
                // Who asks twice does not want to wait for steps that take long to end.
                if command == Command::Quit {
                    self.steps.clear();
                }
            }
            Message::Command(command) => self.command(command),
            Message::Shell { place, reply } => {
                let request = match &self.build {
                    Some(build) => place::request(build, place),
                    None => Err(place::no_plan()),
                };
                let _ = reply.send(request);
            }
            Message::Look(place) => self.looked_at = place,
            Message::Log { step, reply } => {
                let run = self.build.as_ref().and_then(|build| build.run(step));
                let log = run.and_then(|run| self.logs.get(run)).cloned();
                let _ = reply.send(log.unwrap_or_default());
            }
            Message::Image { created, reply } => {
                let image = match &self.build {
                    Some(build) => finish::image(build, created.as_deref()),
                    None => Err(place::no_plan()),
                };
                let _ = reply.send(image);
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::StepOver => self.act(Action::Over),
            Command::StepIn => self.act(Action::In),
            Command::StepOut => self.act(Action::Out),
            Command::Continue => self.act(Action::Continue),
            Command::BackOver => self.act(Action::BackOver),
            Command::BackIn => self.act(Action::BackIn),
            Command::BackOut => self.act(Action::BackOut),
            Command::BackContinue => self.act(Action::BackContinue),
            Command::RunTo(to) => self.act(Action::RunTo(to)),
            Command::Goto(to) => self.act(Action::Goto(to)),
            Command::Retry => self.step(Build::retry),
            Command::Branch(id) => self.go_to_branch(id),
            Command::Pause => self.pause(),
            Command::Cancel => self.cancel(),
            Command::SetBreakpoint(place) => self.set_breakpoint(Trigger::Before(place)),
            Command::Watch(watch) => self.set_breakpoint(Trigger::Change(watch)),
            Command::RemoveBreakpoint(id) => {
                let found = self.desk.breakpoints.remove(id);
                self.answer_breakpoint(id, found);
            }
            Command::EnableBreakpoint(id, enabled) => {
                let found = self.desk.breakpoints.enable(id, enabled);
                self.answer_breakpoint(id, found);
            }
            Command::BreakOnFailure(on) => {
                self.desk.break_on_failure = on;
                self.desk.list_breakpoints();
            }
            Command::Restart | Command::SetBuildArg(..) | Command::Reload => self.change(command),
            Command::Quit => self.quit(),
        }
    }

    fn set_breakpoint(&mut self, wanted: Trigger) {
        let plan = self.build.as_ref().map(Build::plan);
        self.desk.breakpoints.set(wanted, plan.as_deref());
        self.desk.list_breakpoints();
    }

    fn answer_breakpoint(&mut self, id: BreakpointId, found: bool) {
        if !found {
            self.desk.notice(format!("there is no breakpoint {}", id.0));
        }
        self.desk.list_breakpoints();
    }

    fn act(&mut self, action: Action) {
        let stands = self.preparing.is_none() && self.build.as_ref().is_some_and(|build| !build.is_running());
        let is_stopped_by_watchpoints = matches!(
            action,
            Action::Continue | Action::BackContinue | Action::Out | Action::BackOut | Action::RunTo(_)
        );
        if stands && is_stopped_by_watchpoints && self.watching.is_some() && self.waiting.is_none() {
            self.desk.say(Event::Resumed);
            self.desk.notice(LOOKING);
            self.waiting = Some(action);
            return;
        }
        self.step(|build, desk| build.act(desk, action));
    }

    /// Lets go of what waits for watchpoints. Answers with whether anything did.
    fn give_up_waiting(&mut self) -> bool {
        let waited = self.waiting.take().is_some();
        if let Some(build) = self.build.as_ref().filter(|_| waited) {
            build.stay(&mut self.desk, "given up");
        }
        waited
    }

    /// A command that a build must stand for.
    fn step(&mut self, command: impl FnOnce(&mut Build, &mut Desk) -> Vec<Launch>) {
        match (&mut self.build, &self.preparing) {
            (_, Some(_)) => self.desk.notice("the plan is being made"),
            (None, None) => self.desk.notice("there is no plan yet: change the file or an argument, and reload"),
            (Some(_), None) if self.waiting.is_some() => self.desk.notice(LOOKING),
            (Some(build), None) => {
                let launches = command(build, &mut self.desk);
                self.launch(launches);
            }
        }
    }

    fn go_to_branch(&mut self, id: BranchId) {
        self.step(|build, desk| {
            build.go_to_branch(desk, id);
            Vec::new()
        });
        // From here on other arguments are what is different from that branch's.
        if let Some(build) = self.build.as_ref().filter(|_| self.preparing.is_none()) {
            self.options = build.branch().basis.options.clone();
        }
    }

    fn pause(&mut self) {
        if self.give_up_waiting() {
            return;
        }
        match &mut self.build {
            Some(build) => build.pause(&mut self.desk),
            None => self.paused = true,
        }
    }

    fn cancel(&mut self) {
        if self.give_up_waiting() {
            return;
        }
        match (self.preparing.take(), &mut self.build) {
            (Some(_), Some(_)) => self.desk.notice("the new plan is not made; the one before stays in force"),
            (Some(preparing), None) => {
                self.options = preparing.options;
                let message = "cancelled before a plan was made".to_owned();
                self.desk.say(Event::PlanFailed {
                    fault: PlanFault::Cancelled,
                    rendered: format!("{message}\n"),
                    message,
                });
            }
            (None, Some(build)) => build.cancel(&mut self.desk),
            (None, None) => self.desk.notice("nothing is running"),
        }
    }

    /// A command that leaves what is being done: what runs is killed first.
    fn change(&mut self, command: Command) {
        self.give_up_waiting();
        if let Some(build) = self.build.as_mut().filter(|build| build.is_running()) {
            build.cancel(&mut self.desk);
            self.deferred.push(command);
            return;
        }
        let pending = self.preparing.as_ref();
        let mut options = pending.map_or(&self.options, |it| &it.options).clone();
        match command {
            Command::SetBuildArg(name, value) => {
                let cause = match &value {
                    Some(value) => format!("{name}={}", shown(&name, value)),
                    None => format!("{name} taken back"),
                };
                match value {
                    Some(value) => options.build_args.insert(name, value),
                    None => options.build_args.remove(&name),
                };
                self.prepare(options, cause, false);
            }
            Command::Reload => self.prepare(options, "files changed".to_owned(), true),
            _ => self.act(Action::Restart),
        }
    }

    /// Begins to make a plan. One that is being made is given up, and what it was for is part of this one.
    fn prepare(&mut self, options: Options, cause: String, files_changed: bool) {
        let before = self.preparing.take();
        let files_changed = files_changed || before.as_ref().is_some_and(|it| it.files_changed);
        let mut causes = before.map_or_else(Vec::new, |it| it.causes);
        causes.retain(|it| *it != cause);
        causes.push(cause);
        let text = match (&self.build, &self.text) {
            (Some(build), Text::Read { name, .. }) if !files_changed => {
                Text::Kept { name: name.clone(), dockerfile: build.plan().dockerfile.clone() }
            }
            _ => self.text.clone(),
        };
        self.attempts += 1;
        let attempt = self.attempts;
        let sketched = self.build.is_none();
        let source = Source { text, options: options.clone(), context: self.context.clone() };
        let work = prepare::prepare(self.engine.clone(), source, attempt, sketched, self.sender.clone());
        let _task = AbortOnDropHandle::new(tokio::spawn(work));
        self.preparing = Some(Preparing { attempt, options, causes, files_changed, _task });
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Output { .. }
            | Report::Counted { .. }
            | Report::Base { .. }
            | Report::Sketched { .. }
            | Report::Prepared { .. }
                if self.quitting => {}
            Report::Output { step, event } => self.output(step, event),
            Report::Ended { step, result } => {
                if let Some(run) = self.steps.get(&step).map(|(run, _)| *run) {
                    self.end_output(step, run);
                }
                if let Ok(outcome) = &result {
                    self.count(outcome);
                }
                self.ended(step, result);
            }
            Report::Watched { seen, error, ended } => {
                if let Some(error) = error {
                    self.desk.notice(format!("watchpoints could not look at everything: {error}"));
                }
                self.desk.watched.take(seen);
                match ended {
                    Some((step, outcome)) => self.ended(step, Ok(outcome)),
                    None => self.watching = None,
                }
            }
            Report::Counted { snapshot, changes } => {
                self.counts.remove(&snapshot);
                if let Some(build) = &mut self.build {
                    build.counted(&mut self.desk, &snapshot, changes);
                }
            }
            Report::Base { attempt, image, event } if self.is_wanted(attempt) => match event {
                OutputEvent::Progress { what, done, total } => {
                    self.desk.say(Event::BaseProgress { image, what, done, total });
                }
                OutputEvent::Notice(message) => self.desk.notice(message),
                OutputEvent::Stdout(_) | OutputEvent::Stderr(_) => {}
            },
            Report::Sketched { attempt, plan } if self.is_wanted(attempt) => {
                self.desk.say(Event::Sketched { plan });
            }
            Report::Prepared { attempt, result } if self.is_wanted(attempt) => {
                if let Some(preparing) = self.preparing.take() {
                    self.prepared(preparing, result);
                }
            }
            Report::Base { .. } | Report::Sketched { .. } | Report::Prepared { .. } => {}
        }
    }

    /// Takes a step's end in, once watchpoints have been looked for in what it changed.
    fn ended(&mut self, step: StepId, result: Result<StepOutcome, StepError>) {
        let Some(build) = &mut self.build else {
            self.steps.remove(&step);
            return;
        };
        if let (Ok(outcome), Some((_, task))) = (&result, self.steps.get_mut(&step))
            && let Some((unseen, cancel)) = build.unseen_in(&self.desk, step, &outcome.snapshot)
        {
            let ended = Some((step, outcome.clone()));
            let work = work::watch(self.engine.clone(), unseen, ended, cancel, self.sender.clone());
            *task = AbortOnDropHandle::new(tokio::spawn(work));
            return;
        }
        self.steps.remove(&step);
        let launches = build.ended(&mut self.desk, step, result);
        self.launch(launches);
        self.change_deferred();
    }

    fn is_wanted(&self, attempt: u64) -> bool {
        self.preparing.as_ref().is_some_and(|it| it.attempt == attempt)
    }

    fn prepared(&mut self, preparing: Preparing, result: Result<Prepared, PlanError>) {
        match (result, &mut self.build) {
            (Ok(prepared), Some(build)) => {
                self.options = preparing.options;
                let cause = preparing.causes.join(", ");
                build.replan(&mut self.desk, prepared, cause, preparing.files_changed);
            }
            (Ok(prepared), None) => {
                self.options = preparing.options;
                let build = self.build.insert(Build::new(&mut self.desk, prepared));
                let launches = build.begin(&mut self.desk, self.paused);
                self.launch(launches);
            }
            (Err(PlanError { fault, message, rendered }), build) => {
                // With a plan before, that one stays in force, and so does what it was made from.
                if build.is_none() {
                    self.options = preparing.options;
                }
                self.desk.say(Event::PlanFailed { fault, message, rendered });
            }
        }
    }

    fn launch(&mut self, launches: Vec<Launch>) {
        for mut launch in launches {
            let (step, run) = (launch.job.step.id, launch.run);
            launch.job.no_cache |= self.no_cache;
            self.logs.begin(run);
            let work = work::run(self.engine.clone(), launch, self.sender.clone());
            self.steps.insert(step, (run, AbortOnDropHandle::new(tokio::spawn(work))));
        }
    }

    /// Has it counted what a step changed, if its outcome does not say.
    fn count(&mut self, outcome: &StepOutcome) {
        if !self.count || self.quitting || outcome.changes.is_some() || self.counts.contains_key(&outcome.snapshot) {
            return;
        }
        let snapshot = outcome.snapshot.clone();
        let work = work::count(self.engine.clone(), snapshot.clone(), self.turn.clone(), self.sender.clone());
        self.counts.insert(snapshot, AbortOnDropHandle::new(tokio::spawn(work)));
    }

    /// Has the engine make ready for shells at the stop that there is; where it has left, no longer.
    fn expect_shells(&mut self) {
        let standing = |build: &&Build| self.shells && !self.quitting && !build.is_running();
        let build = self.build.as_ref().filter(standing).filter(|_| self.preparing.is_none());
        self.expected.follow(&self.engine, build, self.looked_at);
    }

    /// Looks for watchpoints in the steps that were done before they were set; then does what has waited for that. While the
    /// build runs nobody asks for it, and every line of output would.
    fn look_for_watched(&mut self) {
        let stands = |build: &&Build| self.watching.is_none() && !self.quitting && !build.is_running();
        let Some(build) = self.build.as_ref().filter(stands) else { return };
        let unseen = build.unseen(&self.desk);
        if unseen.is_empty() {
            if let Some(action) = self.waiting.take() {
                self.act(action);
            }
        } else {
            let work = work::watch(self.engine.clone(), unseen, None, CancellationToken::new(), self.sender.clone());
            self.watching = Some(AbortOnDropHandle::new(tokio::spawn(work)));
        }
    }

    fn output(&mut self, step: StepId, event: OutputEvent) {
        let (stderr, bytes) = match event {
            OutputEvent::Stdout(bytes) => (false, bytes),
            OutputEvent::Stderr(bytes) => (true, bytes),
            OutputEvent::Progress { what, done, total } => {
                return self.desk.say(Event::Progress { step, what, done, total });
            }
            OutputEvent::Notice(message) => return self.desk.notice(message),
        };
        let Some((run, _)) = self.steps.get(&step) else { return };
        let run = *run;
        let was_clipped = self.is_clipped(run);
        if let Some(chunk) = self.logs.push(run, stderr, bytes) {
            self.desk.say(Event::Output { step, stderr: chunk.stderr, bytes: chunk.bytes });
        }
        if !was_clipped && self.is_clipped(run) {
            self.desk.say(Event::OutputClipped { step, dropped: 0 });
        }
    }

    /// Says the last part of what the step wrote, if its output went beyond what is passed on at once.
    fn end_output(&mut self, step: StepId, run: RunId) {
        let Some(log) = self.logs.get(run).filter(|log| log.clipped()) else { return };
        let (dropped, rest) = log.rest();
        self.desk.say(Event::OutputClipped { step, dropped });
        for chunk in rest {
            self.desk.say(Event::Output { step, stderr: chunk.stderr, bytes: chunk.bytes });
        }
    }

    fn is_clipped(&self, run: RunId) -> bool {
        self.logs.get(run).is_some_and(Log::clipped)
    }

    fn change_deferred(&mut self) {
        if self.steps.is_empty() && !self.quitting {
            std::mem::take(&mut self.deferred).into_iter().for_each(|command| self.change(command));
        }
    }

    /// Kills what runs; the loop ends when the steps have.
    fn quit(&mut self) {
        self.quitting = true;
        self.preparing = None;
        self.counts.clear();
        self.watching = None;
        if let Some(build) = self.build.as_mut().filter(|build| build.is_running()) {
            build.cancel(&mut self.desk);
        }
    }

    /// The front end is gone.
    fn unheard(&mut self) {
        self.quit();
        self.desk.out.clear();
    }
}
