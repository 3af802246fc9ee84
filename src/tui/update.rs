//! Message in, state changed, effects out. Never waits.

use super::app::{App, PaneId};
use super::front::{Heard, Wish};
use super::input::{Input, Purpose, Typed};
use super::keymap::{self, Action, Context, Key};
use super::views::flow::picture::Picture;
use super::views::origins::{Origins, Traced};
use super::widgets::{Answer, Outcome, Query, Request, ShellNews, Slot};
use super::{actions, layout, mouse, orders, text};
use crate::debug::watch::{self, Hit};
use crate::debug::{BreakpointState, Command, Event, ShellPlace, StopReason};
use crate::engine::{EngineError, ShellInput};
use crate::snapshot::SnapshotId;
use bstr::BString;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::path::PathBuf;
use std::sync::Arc;

/// Everything that can happen to the screen.
#[derive(Debug, Clone)]
pub enum Message {
    Terminal(Heard),
    Session(Event),
    /// The session's stream of events has ended.
    SessionEnded,
    Loaded {
        slot: Slot,
        query: Query,
        answer: Result<Answer, EngineError>,
    },
    /// Where the bytes of the finished image come from.
    Traced(Arc<Traced>),
    /// Content bytes of a finished image that later layers hide.
    Waste(u64),
    /// What became of writing a file out.
    Extracted(Result<String, String>),
    Shell(ShellNews),
}

/// What the loop is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Session(Command),
    Load(Slot, Query),
    /// Follow every file of the finished image back through the build.
    Trace,
    Waste(SnapshotId),
    OpenShell {
        place: ShellPlace,
        size: (u16, u16),
    },
    Shell(ShellInput),
    Extract {
        at: SnapshotId,
        path: BString,
        to: PathBuf,
    },
    /// Show another platform's track.
    Show(usize),
    Terminal(Wish),
}

pub fn update(app: &mut App, message: Message) -> Vec<Effect> {
    let mut effects = match message {
        Message::Terminal(heard) => on_heard(app, heard),
        Message::Session(event) => on_event(app, event),
        Message::SessionEnded => vec![Effect::Terminal(Wish::Quit)],
        Message::Loaded { slot, query, answer } => {
            let requests = app.panes.of_slot(slot).map(|pane| pane.loaded(&query, answer)).unwrap_or_default();
            on_requests(app, requests)
        }
        Message::Traced(traced) => {
            // A plan that was made meanwhile has other steps.
            if app.build.plan.as_ref().is_some_and(|plan| Arc::ptr_eq(plan, &traced.facts.plan)) {
                let at = app.build.finished.as_ref().map(|(at, _)| at.clone());
                app.panes.set_picture(Picture::of_build(&traced), at);
                app.origins.set(traced);
                // The pane has another widget now, which has not been told its size.
                app.told.forget_size(PaneId::Image);
            }
            Vec::new()
        }
        Message::Waste(bytes) => {
            app.waste = Some(bytes);
            Vec::new()
        }
        Message::Extracted(Ok(text)) => {
            app.say(text);
            Vec::new()
        }
        Message::Extracted(Err(text)) => {
            app.complain(text);
            Vec::new()
        }
        Message::Shell(news) => {
            if matches!(news, ShellNews::Exited { .. } | ShellNews::Failed(_)) {
                app.typing = false;
                // A file that was open before is none of the shell's.
                app.viewing &= app.lower != PaneId::Shell;
            }
            let requests = app.panes.shell_news(news);
            on_requests(app, requests)
        }
    };
    if !app.hidden {
        effects.extend(settle(app));
    }
    effects
}

fn on_heard(app: &mut App, heard: Heard) -> Vec<Effect> {
    match heard {
        Heard::Key(key) => on_key(app, key),
        Heard::Mouse(event) => mouse::on_mouse(app, event),
        Heard::Paste(text) => on_paste(app, &text),
        Heard::Resize(columns, rows) => {
            app.size = (columns, rows);
            // A wide screen has panes of their own for some of a narrow one's tabs.
            let tabs = app.areas().tabs;
            if !tabs.is_empty() && !tabs.contains(&app.lower) {
                app.lower = PaneId::Layer;
            }
            app.lay_out_stages();
            app.lay_out_source();
            Vec::new()
        }
        Heard::Edited(Ok(true)) => vec![Effect::Session(Command::Reload)],
        Heard::Edited(Ok(false)) => {
            app.say("the file is as it was: nothing is reloaded (:reload does)");
            Vec::new()
        }
        Heard::Edited(Err(text)) => {
            app.complain(text);
            Vec::new()
        }
    }
}

/// Tells the panes that are seen what they are about and how much room they have.
fn settle(app: &mut App) -> Vec<Effect> {
    let mut effects = Vec::new();
    let areas = app.areas();
    if app.focus == PaneId::Viewer && !app.viewing {
        app.focus = app.lower;
    }
    let place = app.place();
    app.panes.set_typing(app.typing);
    for (id, area) in areas.panes {
        let inner = layout::content(id, area);
        let news = app.told.news(id, (inner.width, inner.height), &place);
        let requests = app.panes.get(id).map(|widget| news.tell(widget)).unwrap_or_default();
        effects.extend(on_requests(app, requests));
    }
    effects
}

pub(super) fn on_requests(app: &mut App, requests: Vec<Request>) -> Vec<Effect> {
    requests.into_iter().flat_map(|request| on_request(app, request)).collect()
}

fn on_request(app: &mut App, request: Request) -> Vec<Effect> {
    match request {
        Request::Load(slot, query) => vec![Effect::Load(slot, query)],
        Request::OpenFile { at, path, before, meta } => {
            let requests = app.panes.open_file(at, path, before, *meta);
            app.viewing = true;
            app.focus = PaneId::Viewer;
            on_requests(app, requests)
        }
        Request::CloseFile => {
            app.viewing = false;
            Vec::new()
        }
        Request::Extract { at, path } => {
            app.input = Some(Input::extract(at, path));
            Vec::new()
        }
        Request::Copy(text) => {
            app.say("copied");
            vec![Effect::Terminal(Wish::Copy(text))]
        }
        Request::Shell(input) => vec![Effect::Shell(input)],
        Request::Session(command) => vec![Effect::Session(command)],
        Request::Say(text) => {
            app.say(text);
            Vec::new()
        }
        Request::Found { needle, hits } => {
            actions::found(app, &needle, hits);
            Vec::new()
        }
    }
}

pub(super) fn on_outcome(app: &mut App, outcome: Outcome) -> Vec<Effect> {
    match outcome {
        Outcome::Effect(request) => on_request(app, request),
        Outcome::Ignored | Outcome::Consumed => Vec::new(),
    }
}

fn on_event(app: &mut App, event: Event) -> Vec<Effect> {
    let before = match &event {
        Event::Breakpoints { .. } => app.build.breakpoints.clone(),
        _ => Vec::new(),
    };
    app.build.apply(&event, app.now);
    if matches!(event, Event::Resumed | Event::Stopped(_) | Event::Notice { .. } | Event::PlanFailed { .. }) {
        app.sent = false;
    }
    match event {
        Event::Planned { plan } => {
            app.source.set_plan(&plan);
            app.lay_out_stages();
            app.waste = None;
            app.origins = Origins::default();
            app.mark = None;
            app.note = None;
            app.panes.new_plan();
            app.told.forget_places();
        }
        Event::Sketched { plan } if app.build.plan.is_none() => {
            app.source.set_plan(&plan);
            app.lay_out_stages();
        }
        Event::Step { step, .. } if app.build.is_running(step) => {
            app.panes.output_begins(step);
            if let Some(plan) = app.build.plan.clone()
                && app.build.running
                && !app.source.moved
            {
                app.source.select_step(&plan, step);
                follow_stage(app, step.stage);
            }
        }
        Event::Output { step, stderr, bytes } => app.panes.output(step, stderr, &bytes),
        Event::OutputClipped { step, .. } => app.panes.output_clipped(step),
        Event::Resumed => {
            app.source.moved = false;
            app.stages.moved = false;
            if let Some(plan) = app.build.plan.clone() {
                app.source.set_rows(&plan, None, &[], 0);
            }
        }
        Event::Stopped(stop) if app.build.stop.as_ref() == Some(&stop) => return on_stop(app, stop),
        Event::Finished { .. } => return at_the_end(app),
        Event::Breakpoints { list, .. } => {
            app.breakpoint = app.breakpoint.min(list.len());
            let note = |it: &crate::debug::Breakpoint| match &it.state {
                BreakpointState::Bound { note, .. } => note.clone(),
                BreakpointState::Unbound { reason } => Some(reason.clone()),
                BreakpointState::Watching => {
                    Some(format!("#{}: stops after an instruction that changes {}", it.id.0, it.wanted))
                }
                BreakpointState::Pending => None,
            };
            let fresh = list.iter().filter(|it| !before.iter().any(|old| old.id == it.id && old.state == it.state));
            if let Some(text) = fresh.filter_map(note).next_back() {
                app.say(text);
            }
        }
        Event::Notice { message } => app.say(message),
        Event::PlanFailed { .. } if app.build.plan.is_some() => {
            // It is drawn above the Dockerfile, which a pane with the whole screen would hide.
            app.zoomed &= app.focus == PaneId::Source;
            app.lay_out_stages();
            app.complain("there is no new plan; the one before stays in force");
        }
        Event::Ended => return vec![Effect::Terminal(Wish::Quit)],
        _ => {}
    }
    Vec::new()
}

fn on_stop(app: &mut App, stop: crate::debug::Stop) -> Vec<Effect> {
    let Some(plan) = app.build.plan.clone() else { return Vec::new() };
    app.lay_out_source();
    app.source.select_step(&plan, stop.step);
    app.source.moved = false;
    app.stages.moved = false;
    follow_stage(app, stop.position.stage);
    match stop.reason {
        StopReason::Breakpoint(id) => app.say(format!("breakpoint #{}", id.0)),
        StopReason::Watchpoint(id, Hit { path, change, more }) => {
            let others = if more == 0 { String::new() } else { format!(", and {more} more") };
            app.say(format!("watchpoint #{}: /{} {}{others}", id.0, text::sanitise_bytes(&path), watch::said(change)));
        }
        StopReason::Cancelled => {
            let again = keymap::key_of(Action::StepOver);
            app.say(format!("cancelled: what ran was killed and its changes thrown away; {again} runs it again"));
        }
        // It was asked for, and is here.
        StopReason::Pause => app.note = None,
        _ => {}
    }
    at_the_end(app)
}

/// At the end of the build the eye is led to what came of it.
fn at_the_end(app: &mut App) -> Vec<Effect> {
    let ended = app.is_final();
    let Some((snapshot, _)) = app.build.finished.as_ref().filter(|_| ended) else { return Vec::new() };
    let wanted = app.waste.is_none().then(|| [Effect::Waste(snapshot.clone()), Effect::Trace]);
    // Not again for who steps to and fro there.
    let run_there = app.build.stop.as_ref().is_some_and(|stop| stop.reason == StopReason::End);
    if app.lower != PaneId::Shell && (wanted.is_some() || run_there) {
        let focused = app.focus == app.lower || app.focus == PaneId::Viewer;
        app.lower = PaneId::Image;
        app.viewing = false;
        if focused {
            app.focus = app.lower;
        }
    }
    wanted.into_iter().flatten().collect()
}

fn follow_stage(app: &mut App, stage: crate::plan::StageId) {
    if !app.stages.moved {
        app.stages.select_stage(stage);
    }
}

/// The context of the table that the focus stands for.
pub(super) fn context(app: &App) -> Context {
    if app.branches.is_some() {
        return Context::Branches;
    }
    match app.focus {
        PaneId::Stages => Context::Stages,
        PaneId::Source => Context::Source,
        PaneId::Layer => Context::Layer,
        PaneId::Files => Context::Files,
        PaneId::Output => Context::Output,
        PaneId::Viewer => Context::Viewer,
        PaneId::Shell if app.typing && app.panes.shell_is_open() => Context::Typing,
        // What it has changed is gone through like a layer.
        PaneId::Shell if app.panes.shell_shows_changes() => Context::Layer,
        PaneId::Shell => Context::Shell,
        PaneId::Variables => Context::Variables,
        PaneId::Breakpoints => Context::Breakpoints,
        PaneId::Image if app.panes.shows_picture() => Context::Flow,
        PaneId::Image => Context::Image,
    }
}

fn on_key(app: &mut App, key: KeyEvent) -> Vec<Effect> {
    if app.input.is_some() {
        return on_typed(app, key);
    }
    if app.leaving {
        app.leaving = false;
        let interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        let yes = matches!(key.code, KeyCode::Char('y' | 'Y' | 'q') | KeyCode::Enter) || interrupt;
        return if yes { vec![Effect::Terminal(Wish::Quit)] } else { Vec::new() };
    }
    app.note = None;
    let context = context(app);
    let action = keymap::lookup(Context::Debugger, context, Key::from(key));
    if app.help.is_some() {
        return actions::in_help(app, action);
    }
    if app.branches.is_some() {
        return actions::in_branches(app, action);
    }
    let key = match action {
        Some(Action::Move(motion)) => motion.key(),
        _ => key,
    };
    match action {
        Some(Action::Pane | Action::Move(_) | Action::Open | Action::Close) => to_pane(app, key, action),
        Some(action) => actions::perform(app, action),
        None if context == Context::Typing => to_widget(app, key).unwrap_or_default(),
        None => Vec::new(),
    }
}

/// To the widget with the focus; what it does not want, and what has no widget, is the frame's.
fn to_pane(app: &mut App, key: KeyEvent, action: Option<Action>) -> Vec<Effect> {
    if let Some(effects) = to_widget(app, key) {
        return effects;
    }
    match action {
        Some(Action::Pane) | None => Vec::new(),
        Some(action) => actions::perform(app, action),
    }
}

fn to_widget(app: &mut App, key: KeyEvent) -> Option<Vec<Effect>> {
    app.panes.set_typing(app.typing);
    let outcome = app.panes.get(app.focus)?.key(key);
    (outcome != Outcome::Ignored).then(|| on_outcome(app, outcome))
}

fn on_paste(app: &mut App, text: &str) -> Vec<Effect> {
    if let Some(mut input) = app.input.take() {
        input.insert(text);
        seek(app, &mut input);
        app.input = Some(input);
        return Vec::new();
    }
    // Pasted text is never taken for keys.
    match app.panes.get(app.focus) {
        Some(widget) if app.typing => {
            let outcome = widget.paste(text);
            on_outcome(app, outcome)
        }
        _ => Vec::new(),
    }
}

fn on_typed(app: &mut App, key: KeyEvent) -> Vec<Effect> {
    let Some(mut input) = app.input.take() else { return Vec::new() };
    match input.key(key) {
        Typed::Given => {
            if input.purpose == Purpose::Find {
                actions::give_up(app);
            }
            return Vec::new();
        }
        Typed::Accepted => return orders::accept(app, input),
        Typed::Edited => seek(app, &mut input),
        Typed::Complete { forward } => {
            if input.purpose == Purpose::Command {
                if input.offers.is_empty() {
                    input.offers = super::command::complete(&input.text, app);
                }
                input.take_offer(forward);
                if input.offers.len() == 1 {
                    input.offers.clear();
                    input.offer = None;
                }
            }
        }
        Typed::Older => recall(app, &mut input, true),
        Typed::Newer => recall(app, &mut input, false),
    }
    app.input = Some(input);
    Vec::new()
}

/// What the line searches for, if it does, is gone to at once.
fn seek(app: &mut App, input: &mut Input) {
    if input.purpose == Purpose::Find {
        actions::seek(app, input);
    }
}

fn recall(app: &App, input: &mut Input, older: bool) {
    if input.purpose != Purpose::Command {
        return;
    }
    let back = if older { (input.back + 1).min(app.history.len()) } else { input.back.saturating_sub(1) };
    if back != input.back {
        input.back = back;
        let line = back.checked_sub(1).and_then(|at| app.history.iter().rev().nth(at));
        input.set(line.cloned().unwrap_or_default());
    }
}
