//! What each action of the keymap does.

use super::app::{App, Mark, Note, PaneId};
use super::front::Wish;
use super::input::{Input, Purpose};
use super::keymap::{Action, Context, Motion, key_of};
use super::update::{Effect, on_requests};
use super::views::{branches, breakpoints, help};
use super::widgets::scroll::{moved, next_hit};
use super::widgets::{Pane, Request, ShellNews};
use crate::debug::{BranchId, BreakpointState, Command, Location, Position, ShellPlace, Side, Trigger, Watch, compare};
use bstr::ByteSlice;
use std::time::Duration;

/// A key that is pressed so soon after the build began to run was meant for where it stood.
const HELD: Duration = Duration::from_millis(500);

pub(super) fn perform(app: &mut App, action: Action) -> Vec<Effect> {
    match action {
        Action::StepOver => step(app, Command::StepOver),
        Action::StepIn => step(app, Command::StepIn),
        Action::StepOut => step(app, Command::StepOut),
        Action::Continue => step(app, Command::Continue),
        Action::BackOver => step(app, Command::BackOver),
        Action::BackIn => step(app, Command::BackIn),
        Action::BackOut => step(app, Command::BackOut),
        Action::BackContinue => step(app, Command::BackContinue),
        // This one kills what runs.
        Action::Restart => vec![Effect::Session(Command::Restart)],
        Action::Retry => step(app, Command::Retry),
        Action::RunToCursor => match app.selected_step().map(|step| step.id) {
            Some(id) => step(app, Command::RunTo(Position::before(id))),
            None => wrong(app, "there is no instruction on this line or above it"),
        },
        Action::Goto => goto_selected(app),
        Action::Pause if app.build.running => {
            app.say("pausing: what runs is let finish first");
            vec![Effect::Session(Command::Pause)]
        }
        Action::Pause => wrong(app, "nothing runs"),
        Action::Interrupt if app.build.running => {
            app.say("cancelling");
            vec![Effect::Session(Command::Cancel)]
        }
        Action::Interrupt => ask_to_leave(app),
        Action::Quit if would_end(app) => ask_to_leave(app),
        Action::Quit => vec![Effect::Terminal(Wish::Quit)],
        Action::Edit => match &app.dockerfile {
            Some(path) => {
                let (path, line) = (path.clone(), app.source.selected_line());
                vec![Effect::Terminal(Wish::Edit { path, line })]
            }
            None => wrong(app, "this Dockerfile is not a file that can be edited here"),
        },
        Action::Watch => watch(app),
        Action::ToggleBreakpoint => toggle_breakpoint(app),
        Action::ShellAfter => shell_after(app),
        Action::ShellBefore => shell_before(app),
        Action::EnterShell => match app.panes.shell_is_open() {
            true => {
                app.typing = true;
                Vec::new()
            }
            false => shell_after(app),
        },
        Action::LeaveShell => {
            app.typing = false;
            app.say(format!(
                "{} types into the shell again, {} gives it the whole screen",
                key_of(Action::EnterShell),
                key_of(Action::Zoom)
            ));
            Vec::new()
        }
        Action::FocusNext => cycle(app, true),
        Action::FocusPrevious => cycle(app, false),
        Action::Focus(number) => match PaneId::NUMBERED.get(usize::from(number).wrapping_sub(1)) {
            Some(id) => focus(app, *id),
            None => Vec::new(),
        },
        Action::Branches => {
            match app.build.branches.len() {
                0 => {
                    app.say("there is one branch so far: another argument (:arg), an edited file or a retry begins one more");
                    Vec::new()
                }
                _ => {
                    app.branches = Some(branches::first(app));
                    Vec::new()
                }
            }
        }
        Action::NextTrack => cycle_tracks(app, true),
        Action::PreviousTrack => cycle_tracks(app, false),
        Action::Picture => {
            let was = app.lower == PaneId::Image && app.panes.shows_picture();
            if !was && app.origins.traced().is_none() {
                return wrong(app, "the picture is drawn when the image is finished");
            }
            app.panes.show_picture(!was);
            app.told.forget_size(PaneId::Image);
            focus(app, PaneId::Image)
        }
        Action::Zoom => {
            app.zoomed = !app.zoomed;
            app.lay_out_stages();
            Vec::new()
        }
        Action::Find => {
            app.input = Some(Input::new(Purpose::Find, String::new()));
            Vec::new()
        }
        Action::FindNext => find_next(app, true),
        Action::FindPrevious => find_next(app, false),
        Action::CommandLine => {
            app.input = Some(Input::new(Purpose::Command, String::new()));
            Vec::new()
        }
        Action::Help => {
            app.help = Some(0);
            Vec::new()
        }
        Action::Close => close(app),
        Action::Suspend => vec![Effect::Terminal(Wish::Suspend)],
        Action::Redraw => vec![Effect::Terminal(Wish::Redraw)],
        Action::Move(motion) => go(app, motion),
        Action::Open => open(app),
        Action::EnableBreakpoint => match app.build.breakpoints.get(app.breakpoint) {
            Some(it) => vec![Effect::Session(Command::EnableBreakpoint(it.id, !it.enabled))],
            None => vec![Effect::Session(Command::BreakOnFailure(!app.build.break_on_failure))],
        },
        Action::RemoveBreakpoint => match app.build.breakpoints.get(app.breakpoint) {
            Some(it) => vec![Effect::Session(Command::RemoveBreakpoint(it.id))],
            None => wrong(app, "this one cannot be removed; Space turns it off"),
        },
        Action::Mark => mark(app),
        // The explorer's; here it is the pane's own key.
        Action::Extract | Action::Pane => Vec::new(),
    }
}

/// While the help is open, keys move in it or close it.
pub(super) fn in_help(app: &mut App, action: Option<Action>) -> Vec<Effect> {
    app.help = app.help.and_then(|top| help::after(action, top, app.size.1));
    match action {
        Some(Action::Suspend) => vec![Effect::Terminal(Wish::Suspend)],
        Some(Action::Redraw) => vec![Effect::Terminal(Wish::Redraw)],
        _ => Vec::new(),
    }
}

/// While the branches are shown, keys choose among them.
pub(super) fn in_branches(app: &mut App, action: Option<Action>) -> Vec<Effect> {
    let count = app.build.branches.len();
    let row = app.branches.unwrap_or(0).min(count.saturating_sub(1));
    let chosen = branches::at(app, row).map(|branch| branch.id);
    app.branches = None;
    match (action, chosen) {
        (Some(Action::Move(Motion::Left | Motion::Right)), _) | (None, _) => app.branches = Some(row),
        (Some(Action::Move(motion)), _) => app.branches = Some(moved(row, motion, count, count)),
        (Some(Action::Open), Some(id)) if app.build.branch == Some(id) => {}
        (Some(Action::Open), Some(id)) => return step(app, Command::Branch(id)),
        (Some(Action::Mark), Some(id)) => return compare_with(app, id),
        (Some(Action::Help), _) => return perform(app, Action::Help),
        (Some(Action::Redraw), _) => {
            app.branches = Some(row);
            return vec![Effect::Terminal(Wish::Redraw)];
        }
        (Some(Action::Close | Action::Branches | Action::Quit | Action::Interrupt), _) => {}
        _ => app.branches = Some(row),
    }
    Vec::new()
}

/// Has what each instruction left compared with what it left on another branch.
pub(super) fn compare_with(app: &mut App, id: BranchId) -> Vec<Effect> {
    if app.build.branch == Some(id) {
        let text = format!("the build stands on branch {}: choose another to compare with", id.0);
        return wrong(app, &text);
    }
    if compare::find(&app.build.branches, id).is_none() {
        return wrong(app, &format!("there is no branch {}", id.0));
    }
    app.mark = Some(Mark::Branch(id));
    app.say(format!("what each instruction left is compared with branch {}, until {}", id.0, key_of(Action::Mark)));
    focus(app, PaneId::Layer)
}

/// Has each layer compared with the one below it again.
pub(super) fn unmark(app: &mut App) -> Vec<Effect> {
    app.mark = None;
    app.say("each layer is compared with the one below it");
    Vec::new()
}

pub(super) fn wrong(app: &mut App, text: &str) -> Vec<Effect> {
    app.complain(text);
    Vec::new()
}

/// A command that moves the build.
pub(super) fn step(app: &mut App, command: Command) -> Vec<Effect> {
    if app.build.plan.is_none() {
        return wrong(app, "there is no plan to step through");
    }
    // The session refuses what comes while it moves; a key that is held down need not be told so.
    if app.sent {
        return Vec::new();
    }
    if app.build.running {
        if app.now.saturating_sub(app.build.resumed) > HELD {
            let text = format!("it runs: {} pauses, {} cancels", key_of(Action::Pause), key_of(Action::Interrupt));
            app.complain(text);
        }
        return Vec::new();
    }
    app.sent = true;
    vec![Effect::Session(command)]
}

/// Whether leaving ends something that is under way, on this track or another.
fn would_end(app: &App) -> bool {
    let others = app.tracks.iter().any(|it| it.is_running() || it.has_shell);
    others || app.build.running || app.panes.shell_is_open()
}

fn cycle_tracks(app: &mut App, forward: bool) -> Vec<Effect> {
    match app.tracks.len() {
        0 => one_platform(app),
        count => vec![Effect::Show((app.track + if forward { 1 } else { count - 1 }) % count)],
    }
}

/// By its name, or by its number from 1.
pub(super) fn show_platform(app: &mut App, wanted: &str) -> Vec<Effect> {
    let named = app.tracks.iter().position(|it| it.platform == wanted);
    let numbered = || wanted.parse::<usize>().ok()?.checked_sub(1).filter(|at| *at < app.tracks.len());
    match named.or_else(numbered) {
        Some(at) => vec![Effect::Show(at)],
        None if app.tracks.is_empty() => one_platform(app),
        None => {
            let known: Vec<&str> = app.tracks.iter().map(|it| it.platform.as_str()).collect();
            let text = format!("{wanted:?} is not built here; there are {}", known.join(", "));
            wrong(app, &text)
        }
    }
}

fn one_platform(app: &mut App) -> Vec<Effect> {
    wrong(app, "one platform is built; `--platform A,B` at the start gives each a track of its own")
}

fn ask_to_leave(app: &mut App) -> Vec<Effect> {
    app.leaving = true;
    Vec::new()
}

fn goto_selected(app: &mut App) -> Vec<Effect> {
    let Some(id) = app.selected_step().map(|step| step.id) else {
        return wrong(app, "there is no instruction on this line or above it");
    };
    goto(app, Position::before(id))
}

pub(super) fn goto(app: &mut App, to: Position) -> Vec<Effect> {
    let reached = match (app.plan(), to.previous()) {
        (Some(plan), _) => to.done <= app.build.frontier(plan.stage(to.stage)),
        (None, _) => false,
    };
    match reached {
        true => step(app, Command::Goto(to)),
        false => {
            let text = format!("that place has not been reached: {} runs to it", key_of(Action::RunToCursor));
            wrong(app, &text)
        }
    }
}

/// Sets the point that layers are compared with, or takes it back.
fn mark(app: &mut App) -> Vec<Effect> {
    if app.mark.is_some() {
        return unmark(app);
    }
    let Some((id, label)) = app.selected_step().map(|step| step.id).and_then(|id| Some((id, app.label(id)?))) else {
        return wrong(app, "there is no instruction on this line or above it");
    };
    if app.build.after(id).is_none() {
        let text = format!("{label} has not been run: there is nothing to compare with");
        return wrong(app, &text);
    }
    app.mark = Some(Mark::Step(id));
    app.say(format!("what other instructions left is compared with what {label} left, until {}", key_of(Action::Mark)));
    Vec::new()
}

fn toggle_breakpoint(app: &mut App) -> Vec<Effect> {
    let line = app.source.selected_line();
    toggle_breakpoint_at(app, line)
}

/// Removes the breakpoint that stops at the instruction of a line or that was wanted there, or sets one.
pub(super) fn toggle_breakpoint_at(app: &mut App, line: u32) -> Vec<Effect> {
    let step = app.source.step_at_line(line);
    let wanted = Trigger::Before(Location::Line(line));
    let here = app.build.breakpoints.iter().find(|it| match &it.state {
        BreakpointState::Bound { step: at, .. } => Some(*at) == step || it.wanted == wanted,
        _ => it.wanted == wanted,
    });
    match here {
        Some(it) => vec![Effect::Session(Command::RemoveBreakpoint(it.id))],
        None => vec![Effect::Session(Command::SetBreakpoint(Location::Line(line)))],
    }
}

/// Watches the path that is selected in a pane of files, or no longer.
fn watch(app: &mut App) -> Vec<Effect> {
    let focus = app.focus;
    let Some(path) = app.panes.get(focus).and_then(|pane| pane.selected_path()) else {
        return wrong(app, "select a file in Layer or Files to watch it, or type :watch PATTERN");
    };
    let Some(watch) = Watch::path(path.as_bstr()) else { return wrong(app, "say which path below the root") };
    let wanted = Trigger::Change(watch.clone());
    match app.build.breakpoints.iter().find(|it| it.wanted == wanted).map(|it| it.id) {
        Some(id) => {
            app.say(format!("{watch} is not watched any more"));
            vec![Effect::Session(Command::RemoveBreakpoint(id))]
        }
        None => vec![Effect::Session(Command::Watch(watch))],
    }
}

fn shell_after(app: &mut App) -> Vec<Effect> {
    let Some(stop) = &app.build.stop else { return wrong(app, "there is no file system yet to stand in") };
    let place = stop.shell();
    open_shell(app, place)
}

fn shell_before(app: &mut App) -> Vec<Effect> {
    let Some(stop) = &app.build.stop else { return wrong(app, "there is no file system yet to stand in") };
    let place = stop.shell_before();
    open_shell(app, place)
}

/// Opens a shell and gives it the keys; one that is open already only gets the focus.
pub(super) fn open_shell(app: &mut App, place: ShellPlace) -> Vec<Effect> {
    if app.panes.shell_is_open() {
        focus(app, PaneId::Shell);
        app.typing = true;
        return Vec::new();
    }
    if app.build.running {
        return wrong(app, "it runs: a shell can be opened when it has stopped");
    }
    if place.position.done == 0 && place.side == Side::Before {
        let text = format!("before FROM there is no file system: {} runs it", key_of(Action::StepOver));
        return wrong(app, &text);
    }
    let where_ = app.place_in_words(place.position, place.side);
    focus(app, PaneId::Shell);
    app.typing = true;
    let at = match (place.side, app.plan().and_then(|plan| place.position.next(plan))) {
        (Side::Failed, Some(step)) => app.build.after(step),
        _ => place.position.previous().and_then(|step| app.build.after(step)),
    };
    let requests = app.panes.shell_news(ShellNews::Opening { place, where_, at });
    let mut effects = on_requests(app, requests);
    let inner = app.areas().inner(PaneId::Shell).unwrap_or_default();
    effects.push(Effect::OpenShell { place, size: (inner.width.max(1), inner.height.max(1)) });
    effects
}

/// Gives a pane the focus, and the lower pane's place if it is one of its tabs.
pub(super) fn focus(app: &mut App, id: PaneId) -> Vec<Effect> {
    let areas = app.areas();
    if areas.tabs.contains(&id) {
        app.lower = id;
    }
    app.focus = id;
    if app.zoomed {
        app.lay_out_stages();
    }
    // A shell that is gone to by its number takes the keys at once, like one that was opened.
    if id == PaneId::Shell && app.panes.shell_is_open() {
        app.typing = true;
    }
    Vec::new()
}

fn cycle(app: &mut App, forward: bool) -> Vec<Effect> {
    let zoomed = std::mem::replace(&mut app.zoomed, false);
    let panes: Vec<PaneId> = app.areas().panes.iter().map(|(id, _)| *id).collect();
    app.zoomed = zoomed;
    if panes.is_empty() {
        return Vec::new();
    }
    let at = panes.iter().position(|id| *id == app.focus).unwrap_or(0);
    let next = if forward { (at + 1) % panes.len() } else { (at + panes.len() - 1) % panes.len() };
    app.focus = panes[next];
    // Passing through with Tab must not swallow the next Tab.
    app.typing = false;
    Vec::new()
}

fn close(app: &mut App) -> Vec<Effect> {
    if app.build.plan.is_some() && app.build.problem.is_some() {
        app.build.problem = None;
    } else if app.focus == PaneId::Viewer {
        app.viewing = false;
        app.focus = app.lower;
    } else if app.zoomed {
        app.zoomed = false;
        app.lay_out_stages();
    } else {
        app.source.hits.clear();
        app.source.moved = false;
        app.stages.moved = false;
        if let (Some(plan), Some(stop)) = (app.build.plan.clone(), app.build.stop.clone()) {
            app.source.select_step(&plan, stop.step);
            app.stages.select_stage(stop.position.stage);
        }
    }
    Vec::new()
}

pub(super) fn go(app: &mut App, motion: Motion) -> Vec<Effect> {
    let height = app.areas().inner(app.focus).map_or(1, |area| usize::from(area.height));
    match app.focus {
        PaneId::Source => app.source.go(motion, height),
        PaneId::Stages => app.stages.go(motion),
        PaneId::Breakpoints => app.breakpoint = moved(app.breakpoint, motion, height, breakpoints::count(app)),
        PaneId::Variables => app.variables_top = moved(app.variables_top, motion, height, usize::MAX / 4),
        PaneId::Image if app.origins.traced().is_some() => app.origins.go(motion, height.saturating_sub(3)),
        PaneId::Image => app.image_top = moved(app.image_top, motion, height, usize::MAX / 4),
        _ => {}
    }
    Vec::new()
}

fn open(app: &mut App) -> Vec<Effect> {
    match app.focus {
        PaneId::Source => {
            app.source.moved = true;
            focus(app, PaneId::Layer)
        }
        PaneId::Stages => {
            use super::views::stages::Node;
            let line = match app.stages.selected() {
                Some(Node::Stage(stage)) => app.stage_line(*stage),
                Some(Node::Image(image)) => app.build.drawn().and_then(|plan| {
                    let origin = crate::plan::FileOrigin::Image(image.clone());
                    let edges = plan.stages.iter().flat_map(|stage| &stage.needs);
                    let reader = edges.filter(|edge| edge.origin == origin).map(|edge| edge.step).next()?;
                    Some(plan.step(reader).lines.start)
                }),
                None => None,
            };
            if let Some(line) = line {
                app.source.select_line(line);
                app.source.moved = true;
                app.focus = PaneId::Source;
            }
            Vec::new()
        }
        PaneId::Image => open_origin(app),
        PaneId::Breakpoints => {
            let line = app.build.breakpoints.get(app.breakpoint).and_then(|it| match &it.state {
                BreakpointState::Bound { step, .. } => app.plan().map(|plan| plan.step(*step).lines.start),
                _ => match it.wanted {
                    Trigger::Before(Location::Line(line)) => Some(line),
                    _ => None,
                },
            });
            if let Some(line) = line {
                app.source.select_line(line);
                app.source.moved = true;
                app.focus = PaneId::Source;
            }
            Vec::new()
        }
        _ => Vec::new(),
    }
}

/// Searches the pane with the focus.
pub(super) fn find(app: &mut App, needle: &str) -> Vec<Effect> {
    app.note = look_for(app, needle, |widget| widget.find(needle));
    Vec::new()
}

/// The same while the text is still being typed.
pub(super) fn seek(app: &mut App, input: &mut Input) {
    let note = look_for(app, &input.text, |widget| widget.seek(&input.text));
    input.take_found(note);
}

/// Says what has been found of a text.
pub(super) fn found(app: &mut App, needle: &str, hits: usize) {
    let note = Some(Note::of_search(Context::Debugger, needle, hits));
    match &mut app.input {
        Some(input) if input.purpose == Purpose::Find => input.take_found(note),
        _ => app.note = note,
    }
}

/// What was being typed is not searched for after all.
pub(super) fn give_up(app: &mut App) {
    look_for(app, "", |widget| {
        widget.give_up();
        0
    });
}

fn look_for(app: &mut App, needle: &str, search: impl Fn(&mut dyn Pane) -> usize) -> Option<Note> {
    let id = app.focus;
    app.needle.insert(id, needle.to_owned());
    let hits = match id {
        PaneId::Source => app.source.find(needle),
        PaneId::Stages => match app.build.drawn().cloned() {
            Some(plan) => app.stages.find(&plan, needle, None),
            None => 0,
        },
        PaneId::Image if !app.panes.shows_picture() => app.origins.find(needle, None),
        PaneId::Variables => find_variable(app, None),
        _ => app.panes.get(id).map_or(0, search),
    };
    match (needle.is_empty(), hits) {
        (true, _) => {
            app.needle.remove(&id);
            None
        }
        (false, 0) if app.panes.get(id).is_some_and(|widget| widget.is_searching()) => Some(Note::searching()),
        (false, hits) => Some(Note::of_search(Context::Debugger, needle, hits)),
    }
}

fn find_next(app: &mut App, forward: bool) -> Vec<Effect> {
    let id = app.focus;
    let Some(needle) = app.needle.get(&id).cloned() else {
        let text = format!("nothing was searched for here: {} does", key_of(Action::Find));
        return wrong(app, &text);
    };
    match id {
        PaneId::Source => app.source.find_next(forward),
        PaneId::Stages => {
            if let Some(plan) = app.build.plan.clone() {
                app.stages.find(&plan, &needle, Some(forward));
            }
        }
        PaneId::Variables => {
            find_variable(app, Some(forward));
        }
        PaneId::Image if !app.panes.shows_picture() => {
            app.origins.find(&needle, Some(forward));
        }
        _ => {
            if let Some(widget) = app.panes.get(id) {
                widget.find_next(forward);
            }
        }
    }
    Vec::new()
}

/// Opens a stage or an instruction of the image's bytes; a file is shown beside the list.
fn open_origin(app: &mut App) -> Vec<Effect> {
    let Some(path) = app.origins.enter() else { return Vec::new() };
    let (Some(traced), Some((at, _))) = (app.origins.traced(), app.build.finished.clone()) else { return Vec::new() };
    let Some(meta) = traced.contribution.meta(&path) else { return Vec::new() };
    on_requests(app, vec![Request::OpenFile { at, path, before: None, meta: Box::new(meta) }])
}

/// Scrolls to an entry that holds the needle.
fn find_variable(app: &mut App, forward: Option<bool>) -> usize {
    use super::views::variables;
    let needle = app.needle.get(&PaneId::Variables).map(|it| it.to_lowercase()).unwrap_or_default();
    let (Some(plan), Some(step)) = (app.plan(), app.variables_step()) else { return 0 };
    let entries = variables::entries(plan, step);
    let hits: Vec<usize> = (0..entries.len()).filter(|at| variables::holds(&entries[*at], &needle)).collect();
    let top = app.variables_top;
    app.variables_top = next_hit(&hits, top, forward).unwrap_or(top);
    hits.len()
}
