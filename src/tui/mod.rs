//! The terminal front end.
//!
//! May import `debug` and the pure types. The only place that knows ratatui and crossterm.
//!
//! Invariant: `update` never waits; whatever takes time is a job whose stale answers are dropped.

mod actions;
pub mod answers;
pub mod app;
pub mod background;
pub mod build;
pub mod command;
mod display;
pub mod explore;
mod extract;
#[cfg(test)]
pub(crate) mod fixture;
pub mod graph;
pub mod input;
pub mod jobs;
pub mod keymap;
pub mod layout;
mod mouse;
mod orders;
pub mod panes;
mod passthrough;
pub mod rail;
#[cfg(test)]
mod screens;
pub mod signs;
pub mod summary;
pub mod svg;
mod terminal;
pub mod text;
pub mod theme;
pub mod update;
pub mod views;
pub mod widgets;

pub use passthrough::{passthrough, terminal_size};

use crate::debug::{Command, Event, Session};
use crate::engine::{EngineError, Shell, ShellInput, ShellOutput};
use crate::system;
use crate::system::signals::Signal;
use app::App;
use display::Display;
use futures_util::StreamExt;
use jobs::{Done, Jobs};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;
use update::{Effect, Message, update};
use widgets::ShellNews;

pub use summary::Summary;

/// Messages that are taken in before a frame, at most.
const BATCH: usize = 512;

/// What the command line says about the screen.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// For the header: the Dockerfile or project as the user named it.
    pub title: String,
    /// The Dockerfile, for the editor; `None` if it is not a file.
    pub dockerfile: Option<PathBuf>,
    /// `dark` or `light`, or a theme file.
    pub theme: Option<String>,
    pub ascii: bool,
    pub no_color: bool,
}

/// Runs the screen until the user leaves or the session ends.
pub async fn run(session: Session, events: mpsc::Receiver<Event>, options: Options) -> io::Result<Summary> {
    let (look, depth) = display::look(&options)?;
    let display = Display::open()?;
    let size = display.screen.size()?;
    let app = App::new(&options, look, depth, size);
    let front = Front {
        app,
        display,
        jobs: Jobs::new(session.clone()),
        session,
        events,
        shell: None,
        ended: false,
        mishaps: Vec::new(),
    };
    front.run().await
}

/// The screen as it runs: its state, and everything that it listens to.
struct Front {
    app: App,
    display: Display,
    jobs: Jobs,
    session: Session,
    events: mpsc::Receiver<Event>,
    shell: Option<OpenShell>,
    ended: bool,
    mishaps: Vec<String>,
}

/// The shell that is open, at both its ends.
struct OpenShell {
    input: mpsc::UnboundedSender<ShellInput>,
    output: mpsc::Receiver<ShellOutput>,
}

impl Front {
    async fn run(mut self) -> io::Result<Summary> {
        // The first frame waits for nothing.
        self.draw()?;
        while !self.ended {
            let frame = self.display.next_frame(self.app.is_moving());
            let message = tokio::select! {
                biased;
                signal = self.display.signals.next() => match signal {
                    Signal::Resumed => {
                        self.display.screen.retake()?;
                        Message::Tick
                    }
                    end => Message::Signal(end.number()),
                },
                _ = tokio::time::sleep_until(frame.unwrap_or(self.display.start)), if frame.is_some() => {
                    self.draw()?;
                    continue;
                }
                input = self.display.input.next() => typed(input.and_then(Result::ok)),
                output = from_shell(&mut self.shell) => self.shell_message(output),
                done = self.jobs.next() => self.done(done),
                event = self.events.recv() => event.map_or(Message::SessionEnded, Message::Session),
            };
            self.take(message).await?;
            self.drain().await?;
        }
        self.session.send(Command::Quit);
        let mut summary = summary::summary(&self.app);
        summary.lines.append(&mut self.mishaps);
        Ok(summary)
    }

    /// Takes in what is there already, so that it costs one frame.
    async fn drain(&mut self) -> io::Result<()> {
        for _ in 0..BATCH {
            if self.ended {
                break;
            }
            if let Some(input) = self.display.typed_already().await {
                self.take(typed(input)).await?;
            } else if let Some(done) = self.jobs.try_next() {
                let message = self.done(done);
                self.take(message).await?;
            } else if let Ok(event) = self.events.try_recv() {
                self.take(Message::Session(event)).await?;
            } else {
                break;
            }
        }
        Ok(())
    }

    async fn take(&mut self, message: Message) -> io::Result<()> {
        self.app.now = self.display.start.elapsed();
        self.display.touch();
        for effect in update(&mut self.app, message) {
            self.perform(effect).await?;
        }
        Ok(())
    }

    fn draw(&mut self) -> io::Result<()> {
        self.app.now = self.display.start.elapsed();
        for mishap in terminal::mishaps() {
            self.app.complain(&mishap);
            self.mishaps.push(mishap);
        }
        let size = self.display.screen.size()?;
        if size != self.app.size {
            update(&mut self.app, Message::Resize(size.0, size.1));
        }
        let app = &mut self.app;
        self.display.draw(|buffer| {
            // The terminal may have changed since it was asked; the next frame is right again.
            let fits = (buffer.area.width, buffer.area.height) == app.size;
            let cursor = if fits { views::draw(app, buffer) } else { None };
            views::finish(buffer, &app.look);
            cursor
        })
    }

    async fn perform(&mut self, effect: Effect) -> io::Result<()> {
        match effect {
            Effect::Session(command) => self.session.send(command),
            Effect::Load(slot, query) => self.jobs.load(slot, query),
            Effect::Waste(at) => self.jobs.waste(at),
            Effect::Trace => {
                if let Some(plan) = self.app.build.plan.clone() {
                    self.jobs.trace(plan, self.app.build.snapshots());
                }
            }
            Effect::OpenShell { place, size } => self.jobs.open_shell(place, size),
            Effect::Shell(input) => {
                if let Some(shell) = &self.shell {
                    let _ = shell.input.send(input);
                }
            }
            Effect::Copy(text) => {
                if !self.display.screen.copy(&text)? {
                    self.app.complain("too long for the terminal's clipboard");
                }
            }
            Effect::Extract { at, path, to } => self.jobs.extract(at, path, to),
            Effect::Edit(path) => {
                let line = self.app.source.selected_line();
                let result = self.display.hand_over(edit(&path, line)).await?;
                let effects = update(&mut self.app, Message::Edited(result));
                for effect in effects {
                    Box::pin(self.perform(effect)).await?;
                }
            }
            Effect::Suspend => {
                if let Err(error) = self.display.suspend().await? {
                    self.app.complain(error.to_string());
                }
            }
            Effect::Redraw => self.display.screen.redraw()?,
            Effect::Quit => self.ended = true,
        }
        Ok(())
    }

    fn done(&mut self, done: Done) -> Message {
        match done {
            Done::Message(message) => *message,
            Done::Shell(place, result) => match *result {
                Ok(shell) => Message::Shell(self.connect(place, shell)),
                Err(error) => Message::Shell(ShellNews::Failed(error)),
            },
        }
    }

    fn connect(&mut self, place: crate::debug::ShellPlace, shell: Shell) -> ShellNews {
        let (user, directory) = self.app.user_and_directory(place.position);
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

    fn shell_message(&mut self, output: Option<ShellOutput>) -> Message {
        match output {
            Some(ShellOutput::Bytes(bytes) | ShellOutput::Stderr(bytes)) => Message::Shell(ShellNews::Output(bytes)),
            Some(ShellOutput::Exited { code, changes }) => {
                self.shell = None;
                Message::Shell(ShellNews::Exited { code, changes })
            }
            Some(ShellOutput::Lost(error)) => {
                self.shell = None;
                Message::Shell(ShellNews::Failed(error))
            }
            None => {
                self.shell = None;
                let message = "the shell has gone away".to_owned();
                Message::Shell(ShellNews::Failed(EngineError { message, help: Vec::new() }))
            }
        }
    }
}

async fn from_shell(shell: &mut Option<OpenShell>) -> Option<ShellOutput> {
    match shell {
        Some(shell) => shell.output.recv().await,
        None => std::future::pending().await,
    }
}

/// A terminal that sends nothing any more is gone, as after a hangup.
fn typed(input: Option<crossterm::event::Event>) -> Message {
    use crossterm::event::Event as Input;
    match input {
        Some(Input::Key(key)) => Message::Key(key),
        Some(Input::Mouse(event)) => Message::Mouse(event),
        Some(Input::Paste(text)) => Message::Paste(text),
        Some(Input::Resize(columns, rows)) => Message::Resize(columns, rows),
        Some(Input::FocusGained | Input::FocusLost) => Message::Tick,
        None => Message::Signal(1),
    }
}

/// Opens a file in the user's editor, at a line where the editor is known to take one.
async fn edit(path: &Path, line: u32) -> Result<(), String> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let editor = set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| system::EDITOR.to_owned());
    let program = editor.split_whitespace().next().unwrap_or_default();
    let program = Path::new(program).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let takes_line = ["vi", "vim", "nvim", "nano", "emacs", "micro", "joe"].contains(&program.as_str());
    let line = takes_line.then(|| OsString::from(format!("+{line}")));
    let words: Vec<&OsStr> = line.as_deref().into_iter().chain([path.as_os_str()]).collect();
    let status = system::editor(&editor, &words).status().await;
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the editor ended with {status}; nothing was reloaded (:reload does)")),
        Err(error) => Err(format!("the editor {editor:?} cannot be started: {error}; set $EDITOR")),
    }
}
