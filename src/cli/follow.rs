//! A session as it is followed where there is no screen: what happens is told, and what ends a build is an error.

use super::exit::Failure;
use super::plain::{self, Plain};
use super::signals::Signals;
use crate::debug::{self, Command, Event, Position, Session, Setup, StepStatus, Stop};
use crate::engine::StepOutcome;
use crate::plan::{Plan, StepId};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Tells what happens.
type Told = Box<dyn FnMut(&Event) -> io::Result<()> + Send>;

pub struct Followed {
    pub session: Session,
    events: mpsc::Receiver<Event>,
    /// As the messages name it.
    name: String,
    told: Told,
    plan: Option<Arc<Plan>>,
    /// What the steps came to that are done.
    pub outcomes: BTreeMap<StepId, StepOutcome>,
    signals: Signals,
}

impl Followed {
    pub fn start(setup: Setup, told: impl FnMut(&Event) -> io::Result<()> + Send + 'static) -> Followed {
        let name = setup.name.clone();
        let (session, events) = debug::start(setup);
        let (told, outcomes) = (Box::new(told), BTreeMap::new());
        Followed { session, events, name, told, plan: None, outcomes, signals: Signals::listen() }
    }

    /// Tells it on standard error, in lines.
    pub fn plainly(setup: Setup) -> Followed {
        let mut plain = Plain::new(io::stderr());
        Followed::start(setup, move |event| plain.event(event))
    }

    /// What happens next. An instruction that fails is an error, and so are the session's end and a signal.
    pub async fn next(&mut self) -> Result<Event, Failure> {
        let event = tokio::select! {
            event = self.events.recv() => event.unwrap_or(Event::Ended),
            signal = self.signals.next() => return Err(Failure::Signal(signal)),
        };
        (self.told)(&event).map_err(|error| Failure::Other(format!("cannot print: {error}")))?;
        match &event {
            Event::Planned { plan } => self.plan = Some(plan.clone()),
            Event::PlanFailed { fault, message, rendered } => {
                return Err(Failure::no_plan(*fault, message.clone(), rendered.clone()));
            }
            Event::Step { step, status: StepStatus::Done(outcome), .. } => {
                self.outcomes.insert(*step, outcome.clone());
            }
            Event::Stopped(Stop { failure: Some(failure), .. }) => {
                if let Some(plan) = &self.plan {
                    let (message, help) = plain::failure(plan, failure, &self.name);
                    return Err(Failure::Build { message, help });
                }
            }
            Event::Ended => return Err(Failure::Other("the session ended before the build".to_owned())),
            _ => {}
        }
        Ok(event)
    }

    /// Where it stops next.
    pub async fn stopped(&mut self) -> Result<(Stop, Arc<Plan>), Failure> {
        loop {
            if let (Event::Stopped(stop), Some(plan)) = (self.next().await?, &self.plan) {
                return Ok((stop, plan.clone()));
            }
        }
    }

    /// Runs what is needed to get to a place, and stops there.
    pub async fn run_to(&mut self, place: Position) -> Result<(), Failure> {
        self.session.send(Command::RunTo(place));
        match self.stopped().await?.0.position == place {
            true => Ok(()),
            false => Err(early()),
        }
    }

    /// What is done with what has been built; a signal ends it.
    pub async fn unless_signalled<T>(&mut self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::select! {
            done = work => done,
            signal = self.signals.next() => Err(Failure::Signal(signal)),
        }
    }

    /// Reads on, so that the session never waits for this command; until it ends.
    pub async fn drain(&mut self) {
        while self.events.recv().await.is_some_and(|event| !matches!(event, Event::Ended)) {}
    }

    /// Who asks for the end again does not want to wait for what takes long to end.
    pub async fn end(mut self) {
        self.session.send(Command::Quit);
        loop {
            tokio::select! {
                event = self.events.recv() => match event {
                    None | Some(Event::Ended) => return,
                    Some(_) => {}
                },
                _ = self.signals.next() => self.session.send(Command::Quit),
            }
        }
    }
}

fn early() -> Failure {
    Failure::Other("the build stopped before the place was reached".to_owned())
}

/// Before the instruction on a line; a stage's end without one.
pub fn position(plan: &Plan, stage: Option<&str>, line: Option<u32>) -> Result<Position, Failure> {
    let stages: Vec<_> = match stage {
        None => plan.stages.iter().collect(),
        Some(name) => match plan.find_stage(name) {
            Some(id) => vec![plan.stage(id)],
            None => {
                let known: Vec<String> = plan.stages.iter().map(|stage| stage.label()).collect();
                return Err(Failure::Usage(format!("there is no stage {name:?}; there are: {}", known.join(", "))));
            }
        },
    };
    let Some(line) = line else {
        let end = stages.first().map(|stage| Position { stage: stage.id, done: stage.steps.len() as u32 });
        return end.ok_or_else(|| Failure::Usage("there is no stage".to_owned()));
    };
    let steps = || stages.iter().flat_map(|stage| &stage.steps).filter(|step| !step.onbuild);
    let step = steps().find(|step| step.lines.start <= line && line <= step.lines.end);
    let missing = || {
        let of = stage.map(|stage| format!(" of the stage {stage:?}")).unwrap_or_default();
        let first = steps().map(|step| step.lines.start).min().unwrap_or_default();
        let last = steps().map(|step| step.lines.end).max().unwrap_or_default();
        Failure::Usage(format!("line {line} has no instruction{of}; there are some on lines {first} to {last}"))
    };
    step.map(|step| Position::before(step.id)).ok_or_else(missing)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::engine::scripted::{Play, Script, Scripted};
    use crate::plan::Options;

    #[tokio::test]
    async fn who_asks_twice_for_the_end_does_not_wait() {
        let engine = Scripted::new(Script::new().on("RUN make", Play::stuck()));
        let setup = Setup {
            engine,
            options: Options::default(),
            name: "Dockerfile".to_owned(),
            read: Arc::new(|| Ok(b"FROM scratch\nRUN make\n".to_vec())),
            context: None,
            paused: false,
            break_on_failure: true,
            no_cache: false,
            count: false,
            shells: false,
            breakpoints: Vec::new(),
        };
        let mut build = Followed::start(setup, |_| Ok(()));
        let is_making =
            |event: &Event| matches!(event, Event::Step { step, status: StepStatus::Running, .. } if step.index == 1);
        while !is_making(&build.next().await.expect("nothing goes wrong")) {}
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::INT).expect("a signal");
        build.end().await;
    }
}
