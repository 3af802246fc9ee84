//! What one track of the debugger is connected with: its session, the jobs beside the screen, and a shell.

use super::Track;
use super::app::App;
use super::front::Wish;
use super::jobs::{Done, Jobs};
use super::update::{Effect, Message};
use super::widgets::ShellNews;
use crate::debug::{Event, Session, ShellPlace};
use crate::engine::{EngineError, Shell, ShellInput, ShellOutput};
use tokio::sync::mpsc;

pub(super) struct Wire<'a> {
    jobs: Jobs,
    session: Session,
    events: &'a mut mpsc::Receiver<Event>,
    shell: Option<OpenShell>,
    /// Where the session was told that the user looks.
    looked_at: Option<ShellPlace>,
}

/// What a track is told.
pub(super) enum News {
    Shell(Option<ShellOutput>),
    Done(Done),
    Session(Option<Event>),
}

/// The shell that is open, at both its ends.
struct OpenShell {
    input: mpsc::UnboundedSender<ShellInput>,
    output: mpsc::Receiver<ShellOutput>,
}

impl<'a> Wire<'a> {
    pub(super) fn new(track: &'a mut Track) -> Wire<'a> {
        let Track { session, events, .. } = track;
        Wire { jobs: Jobs::new(session.clone()), session: session.clone(), events, shell: None, looked_at: None }
    }

    pub(super) async fn next(&mut self) -> News {
        tokio::select! {
            biased;
            output = from_shell(&mut self.shell) => News::Shell(output),
            done = self.jobs.next() => News::Done(done),
            event = self.events.recv() => News::Session(event),
        }
    }

    pub(super) fn told_already(&mut self) -> Option<News> {
        let done = self.jobs.try_next().map(News::Done);
        done.or_else(|| self.events.try_recv().ok().map(|event| News::Session(Some(event))))
    }

    /// What the screen is told by it. `app` is this track's.
    pub(super) fn message(&mut self, news: News, app: &App) -> Message {
        match news {
            News::Shell(output) => Message::Shell(self.shell_news(output)),
            News::Done(Done::Message(message)) => *message,
            News::Done(Done::Shell(place, result)) => match *result {
                Ok(shell) => Message::Shell(self.connect(shell, app.user_and_directory(place.position))),
                Err(error) => Message::Shell(ShellNews::Failed(error)),
            },
            News::Session(event) => event.map_or(Message::SessionEnded, Message::Session),
        }
    }

    /// Does what is to be done; answers with what only the terminal can.
    pub(super) fn perform(&mut self, effect: Effect, app: &App) -> Option<Wish> {
        match effect {
            Effect::Session(command) => self.session.send(command),
            Effect::Load(slot, query) => self.jobs.load(slot, query),
            Effect::Waste(at) => self.jobs.waste(at),
            Effect::Trace => {
                if let Some(plan) = app.build.plan.clone() {
                    self.jobs.trace(plan, app.build.snapshots());
                }
            }
            Effect::OpenShell { place, size } => self.jobs.open_shell(place, size),
            Effect::Shell(input) => {
                if let Some(shell) = &self.shell {
                    let _ = shell.input.send(input);
                }
            }
            Effect::Extract { at, path, to } => self.jobs.extract(at, path, to),
            // The tracks have done it.
            Effect::Show(_) => {}
            Effect::Terminal(wish) => return Some(wish),
        }
        None
    }

    /// Tells the session where the user looks.
    pub(super) fn look(&mut self, at: Option<ShellPlace>) {
        if self.looked_at != at {
            self.looked_at = at;
            self.session.look(at);
        }
    }

    fn connect(&mut self, shell: Shell, (user, directory): (String, String)) -> ShellNews {
        let (input, mut typed) = mpsc::unbounded_channel();
        let sink = shell.input;
        tokio::spawn(async move {
            while let Some(input) = typed.recv().await {
                if sink.send(input).await.is_err() {
                    break;
                }
            }
        });
        self.shell = Some(OpenShell { input, output: shell.output });
        ShellNews::Started { program: shell.program, borrowed_tools: shell.borrowed_tools, user, directory }
    }

    fn shell_news(&mut self, output: Option<ShellOutput>) -> ShellNews {
        let ended = match output {
            Some(ShellOutput::Bytes(bytes) | ShellOutput::Stderr(bytes)) => return ShellNews::Output(bytes),
            Some(ShellOutput::Exited { code, changes }) => ShellNews::Exited { code, changes },
            Some(ShellOutput::Lost(error)) => ShellNews::Failed(error),
            None => ShellNews::Failed(EngineError::new("the shell has gone away")),
        };
        self.shell = None;
        ended
    }
}

async fn from_shell(shell: &mut Option<OpenShell>) -> Option<ShellOutput> {
    match shell {
        Some(shell) => shell.output.recv().await,
        None => std::future::pending().await,
    }
}
