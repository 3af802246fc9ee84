//! The first line: what is debugged, the state it is in, what runs it.

use crate::tui::app::App;
use crate::tui::standing::State;
use crate::tui::text;
use crate::tui::theme::Look;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let look = &app.look;
    let state = state(app);
    let right = right(app, usize::from(area.width).saturating_sub(text::width(&state.0) + 40));
    let title = title(app);
    // The end tells more than the beginning: the file, and what is made of it.
    let clip = |room| text::clip_start(&title, room, look.signs.ellipsis).into_owned();
    line(look, area, buffer, clip, state, right);
}

/// The program, a title in the room that is left, a state in its style; and at the right what it runs on.
pub(in crate::tui) fn line(
    look: &Look,
    area: Rect,
    buffer: &mut Buffer,
    title: impl FnOnce(usize) -> String,
    (state, style): (String, Style),
    right: String,
) {
    let name = "stagedive";
    let fixed = 1 + name.len() + 2 + 3 + text::width(&state) + 2 + text::width(&right) + 1;
    let left = vec![
        Span::raw(" "),
        Span::styled(name, look.accent.add_modifier(Modifier::BOLD)),
        Span::raw("  "),
        Span::styled(title(usize::from(area.width).saturating_sub(fixed)), look.text),
        Span::raw("   "),
        Span::styled(state, style),
    ];
    buffer.set_line(area.x, area.y, &Line::from(left), area.width);
    let at = area.right().saturating_sub(text::width(&right) as u16 + 1);
    buffer.set_line(at, area.y, &Line::from(Span::styled(right, look.muted)), area.right() - at);
}

fn title(app: &App) -> String {
    let title = text::sanitise(&app.title);
    match app.build.drawn() {
        Some(plan) => {
            let target = plan.stage(plan.target).label();
            format!("{title} {} {}", app.look.signs.arrow, text::sanitise(&target))
        }
        None => title.into_owned(),
    }
}

/// What the build does, in capitals where it is one of the states it can be in.
pub fn state(app: &App) -> (String, Style) {
    let look = &app.look;
    let state = State::of(app);
    let style = state.style(look);
    let words = match state {
        State::Starting => return (format!("{} STARTING", app.spinner()), style),
        State::NoPlan => "NO PLAN".to_owned(),
        State::Running => {
            let time = text::duration(app.now.saturating_sub(app.build.resumed));
            format!("{} RUNNING {time}", app.spinner())
        }
        State::Failed { at } => format!("{} FAILED {at}", look.signs.failed),
        State::Past { stage, done, total } => format!("in the past: {stage} {done} of {total}"),
        State::Finished => format!("{} FINISHED", look.signs.done),
        State::Cancelled { side, at } => format!("CANCELLED {side} {at}"),
        State::Paused { side, at } => format!("PAUSED {side} {at}"),
    };
    (words, style.add_modifier(Modifier::BOLD))
}

/// Engine, mode and step; what does not fit is left out from the left.
fn right(app: &App, room: usize) -> String {
    let bullet = app.look.signs.bullet;
    let mut parts: Vec<String> = Vec::new();
    if let Some((number, total)) = app.build.count() {
        parts.push(match number {
            0 => text::count(total, "step"),
            _ => format!("step {number} of {total}"),
        });
    }
    if let Some(id) = app.build.branch {
        parts.insert(0, format!("branch {} of {}", id.0, app.build.branches.len()));
    }
    if let Some(engine) = &app.build.engine {
        parts.insert(0, format!("{}{bullet}{}", text::sanitise(&engine.engine), text::sanitise(&engine.mode)));
    }
    while parts.len() > 1 && text::width(&parts.join(bullet)) > room {
        parts.remove(0);
    }
    parts.join(bullet)
}
