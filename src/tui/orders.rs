//! What the lines do that are typed at the bottom.

use super::actions;
use super::app::App;
use super::command::{self, Order, ShellAt, Which};
use super::input::{Input, Purpose};
use super::theme::Theme;
use super::update::Effect;
use crate::debug::breakpoint::bind;
use crate::debug::{BranchId, BreakpointId, BreakpointState, Command, Location, Position, ShellPlace, Side};
use std::path::PathBuf;

/// Lines of the history that are kept.
const HISTORY: usize = 200;

pub(super) fn accept(app: &mut App, input: Input) -> Vec<Effect> {
    match input.purpose {
        Purpose::Find => actions::find(app, &input.text),
        Purpose::Extract { at, path } => match input.text.trim() {
            "" => actions::wrong(app, "not written: no name was given"),
            to => vec![Effect::Extract { at, path, to: PathBuf::from(to) }],
        },
        Purpose::Command => {
            let line = input.text.trim().to_owned();
            if line.is_empty() {
                return Vec::new();
            }
            app.history.retain(|it| *it != line);
            app.history.push(line.clone());
            if app.history.len() > HISTORY {
                app.history.remove(0);
            }
            match command::parse(&line) {
                Ok(order) => carry_out(app, order),
                Err(text) => actions::wrong(app, &text),
            }
        }
    }
}

fn carry_out(app: &mut App, order: Order) -> Vec<Effect> {
    let send = |command: Command| vec![Effect::Session(command)];
    match order {
        Order::Do(action) => actions::perform(app, action),
        Order::Break(place) => {
            let place = place.unwrap_or_else(|| Location::Line(app.source.selected_line()));
            send(Command::SetBreakpoint(place))
        }
        Order::Watch(Some(watch)) => send(Command::Watch(watch)),
        Order::Watch(None) => actions::perform(app, super::keymap::Action::Watch),
        Order::Delete(which) => match chosen(app, &which) {
            Ok(ids) => ids.into_iter().map(|id| Effect::Session(Command::RemoveBreakpoint(id))).collect(),
            Err(text) => actions::wrong(app, &text),
        },
        Order::Enable(which, on) => match chosen(app, &which) {
            Ok(ids) => ids.into_iter().map(|id| Effect::Session(Command::EnableBreakpoint(id, on))).collect(),
            Err(text) => actions::wrong(app, &text),
        },
        Order::RunTo(place) => match position(app, &place) {
            Ok(to) => actions::step(app, Command::RunTo(to)),
            Err(text) => actions::wrong(app, &text),
        },
        Order::Goto(place) => match position(app, &place) {
            Ok(to) => actions::goto(app, to),
            Err(text) => actions::wrong(app, &text),
        },
        Order::Select(place) => match position(app, &place) {
            Ok(to) => {
                if let Some((plan, step)) =
                    app.build.plan.clone().and_then(|plan| Some((plan.clone(), to.next(&plan)?)))
                {
                    match place {
                        Location::Line(line) => app.source.select_line(line),
                        Location::Instruction { .. } => app.source.select_step(&plan, step),
                    }
                    app.source.moved = true;
                }
                Vec::new()
            }
            Err(text) => actions::wrong(app, &text),
        },
        Order::Arg(name, value) => send(Command::SetBuildArg(name, value)),
        Order::Shell(ShellAt::Before) => actions::perform(app, super::keymap::Action::ShellBefore),
        Order::Shell(ShellAt::After) => match app.build.stop.as_ref().map(|stop| (stop.position, stop.side)) {
            Some((position, Side::Failed)) => actions::open_shell(app, ShellPlace { position, side: Side::Failed }),
            Some((position, _)) => actions::open_shell(app, ShellPlace { position, side: Side::After }),
            None => actions::wrong(app, "there is no file system yet to stand in"),
        },
        Order::Shell(ShellAt::Place(place)) => match position(app, &place) {
            Ok(position) => actions::open_shell(app, ShellPlace { position, side: Side::Before }),
            Err(text) => actions::wrong(app, &text),
        },
        Order::BreakOnFailure(on) => send(Command::BreakOnFailure(on)),
        Order::Reload => send(Command::Reload),
        Order::Cancel if app.build.running => send(Command::Cancel),
        Order::Cancel => actions::wrong(app, "nothing runs"),
        Order::Theme(name) => match Theme::load(&name) {
            Ok(theme) => {
                app.set_theme(&theme);
                Vec::new()
            }
            Err(error) => actions::wrong(app, &error.to_string()),
        },
        Order::Find(text) => actions::find(app, &text),
        Order::Branch(None) => actions::perform(app, super::keymap::Action::Branches),
        Order::Branch(Some(number)) => actions::step(app, Command::Branch(BranchId(number))),
        Order::Platform(None) => actions::perform(app, super::keymap::Action::NextTrack),
        Order::Platform(Some(name)) => actions::show_platform(app, &name),
        Order::Compare(None) => actions::unmark(app),
        Order::Compare(Some(number)) => actions::compare_with(app, BranchId(number)),
    }
}

fn chosen(app: &App, which: &Which) -> Result<Vec<BreakpointId>, String> {
    let all = app.build.breakpoints.iter().map(|it| it.id);
    match which {
        Which::All => Ok(all.collect()),
        Which::Number(number) => match all.into_iter().find(|id| id.0 == *number) {
            Some(id) => Ok(vec![id]),
            None => Err(format!("there is no breakpoint #{number}")),
        },
    }
}

/// Before the instruction that a place names.
fn position(app: &App, place: &Location) -> Result<Position, String> {
    let Some(plan) = app.plan() else { return Err("there is no plan yet".to_owned()) };
    match bind(plan, place) {
        BreakpointState::Bound { step, .. } => Ok(Position::before(step)),
        BreakpointState::Unbound { reason } => Err(reason),
        BreakpointState::Pending | BreakpointState::Watching => Err("there is no plan yet".to_owned()),
    }
}
