//! The branches of the build, over everything else: where each of them left which, how far it came, and how the selected
//! one differs from the one that the build stands on.

use crate::debug::compare::{self, Comparison};
use crate::debug::{Branch, StepStatus};
use crate::layers::patch::{Patch, Sign};
use crate::plan::StepId;
use crate::tui::app::App;
use crate::tui::keymap::{Action, key_of};
use crate::tui::text;
use crate::tui::theme::Look;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

/// Columns of the window, if there are as many.
const WIDTH: u16 = 96;
/// Rows of the list at most; it scrolls.
const LIST: usize = 10;
/// Lines of one kind of difference that are shown.
const SHOWN: usize = 8;

/// The branch in a row of the list: the latest comes first.
pub fn at(app: &App, row: usize) -> Option<&Branch> {
    app.build.branches.iter().rev().nth(row)
}

/// The row to begin with: that of the branch which the current one left, or else of the latest other one.
pub fn first(app: &App) -> usize {
    let list = &app.build.branches;
    let here = app.build.branch.and_then(|id| compare::find(list, id));
    let row = |id: Option<crate::debug::BranchId>| list.iter().rev().position(|it| Some(it.id) == id);
    let other = || list.iter().rev().position(|it| Some(it.id) != app.build.branch);
    here.and_then(|it| row(it.parent)).or_else(other).unwrap_or(0)
}

/// Where the window is, and which rows of the list are seen.
struct Shape {
    frame: Rect,
    top: usize,
    seen: usize,
}

/// The window is as high as the longest list of differences needs, so that it stays while another row is selected.
fn shape(app: &App, row: usize, area: Rect) -> Shape {
    let count = app.build.branches.len();
    let most = usize::from(area.height.saturating_sub(8)).clamp(1, LIST);
    let seen = count.min(most);
    let width = area.width.min(WIDTH);
    let inside = usize::from(width).saturating_sub(4);
    let longest = app.build.branches.iter().map(|branch| differences(app, branch, inside).len()).max().unwrap_or(0);
    let height = ((seen + 4 + longest) as u16).min(area.height.saturating_sub(2));
    let frame = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    Shape { frame, top: row.saturating_sub(seen.saturating_sub(1)), seen }
}

/// The row of the list at a place of the screen. `None` outside of the window; within it, besides the list, the selected
/// one.
pub fn clicked(app: &App, area: Rect, column: u16, line: u16) -> Option<usize> {
    let row = app.branches?;
    let Shape { frame, top, seen } = shape(app, row, area);
    if !frame.contains((column, line).into()) {
        return None;
    }
    let at = usize::from(line).checked_sub(usize::from(frame.y) + 2);
    Some(at.filter(|at| *at < seen).map_or(row, |at| top + at))
}

/// Draws them; `row` is the selected one.
pub fn draw(app: &App, row: usize, area: Rect, buffer: &mut Buffer) {
    let look = &app.look;
    let Shape { frame, top, seen } = shape(app, row, area);
    let inside = usize::from(frame.width).saturating_sub(4);
    let count = app.build.branches.len();
    let mut lines = vec![heading(look, inside)];
    lines.extend((top..top + seen).filter_map(|row| at(app, row)).map(|branch| line(app, branch, inside)));
    lines.push(Line::default());
    lines.extend(at(app, row).map(|branch| differences(app, branch, inside)).unwrap_or_default());
    let room = usize::from(frame.height.saturating_sub(2));
    if lines.len() > room {
        lines.truncate(room.saturating_sub(1));
        lines.push(Line::styled(format!("  {}", look.signs.ellipsis), look.muted));
    }
    for y in frame.y..frame.bottom() {
        for x in frame.x..frame.right() {
            buffer[(x, y)].reset();
            buffer[(x, y)].set_style(look.ground);
        }
    }
    let title = Line::from(vec![
        Span::styled(" Branches", look.accent.add_modifier(Modifier::BOLD)),
        Span::styled(format!("{}the latest first ", look.signs.bullet), look.muted),
    ]);
    super::border(look, frame, true, title, buffer);
    for (at, line) in lines.iter().enumerate().take(usize::from(frame.height.saturating_sub(2))) {
        let y = frame.y + 1 + at as u16;
        if at > 0 && top + at - 1 == row && at <= seen {
            buffer.set_style(Rect { x: frame.x + 1, y, width: frame.width - 2, height: 1 }, look.selection);
        }
        buffer.set_line(frame.x + 2, y, line, inside as u16);
    }
    super::scrollbar(look, Rect { height: seen as u16 + 3, ..frame }, top, seen, count, true, buffer);
}

/// The keys that matter here, for the last line of the screen.
pub fn keys() -> Vec<(String, &'static str)> {
    vec![
        (key_of(Action::Open), "go to it"),
        (key_of(Action::Mark), "compare the file systems with it"),
        (key_of(Action::Close), "close"),
    ]
}

/// Columns of what a branch was begun for.
fn cause_width(inside: usize) -> usize {
    inside.saturating_sub(6 + 8 + 10 + 11 + 10)
}

fn heading(look: &Look, inside: usize) -> Line<'static> {
    let cause = cause_width(inside);
    Line::styled(
        format!("{:>4}  {:<cause$}{:>8}{:>10}{:>11}{:>10}", "", "because of", "from", "at", "done", "image"),
        look.muted,
    )
}

fn line(app: &App, branch: &Branch, inside: usize) -> Line<'static> {
    let look = &app.look;
    let here = Some(branch.id) == app.build.branch;
    let room = cause_width(inside);
    let cause = text::sanitise(&branch.cause).into_owned();
    let cause = text::clip(&cause, room.saturating_sub(1), look.signs.ellipsis).into_owned();
    let pad = " ".repeat(room.saturating_sub(text::width(&cause)));
    let from = branch.parent.map_or(String::new(), |id| id.0.to_string());
    let (done, all) = if here { now(app, branch) } else { branch.count() };
    let failed = if here { app.build.has_failed() } else { branch.has_failed() };
    let done_style = if failed { look.removed } else { look.muted };
    let sign = if failed { look.signs.failed } else { " " };
    let image = match size(app, branch) {
        Some(bytes) => text::size(bytes),
        None => String::new(),
    };
    let style = if here { look.text.add_modifier(Modifier::BOLD) } else { look.text };
    Line::from(vec![
        Span::styled(if here { look.signs.current } else { " " }.to_owned(), look.accent),
        Span::styled(format!("{:>3}  ", branch.id.0), style),
        Span::styled(cause, style),
        Span::raw(pad),
        Span::styled(format!("{from:>8}{:>10}", text::duration(branch.began)), look.muted),
        Span::styled(format!("{:>11}", format!("{sign} {done} of {all}")), done_style),
        Span::styled(format!("{image:>10}"), look.text),
    ])
}

/// How far the current branch has come by now.
fn now(app: &App, branch: &Branch) -> (u32, u32) {
    let stages = branch.plan.order.iter().map(|id| branch.plan.stage(*id));
    stages.fold((0, 0), |(done, all), stage| (done + app.build.frontier(stage), all + stage.steps.len() as u32))
}

/// Bytes of all layers of a branch's target, if it is built there.
fn size(app: &App, branch: &Branch) -> Option<u64> {
    let here = Some(branch.id) == app.build.branch;
    let plan = &branch.plan;
    let mut stages = vec![plan.target];
    while let Some(crate::plan::Base::Stage(base)) = stages.last().map(|stage| &plan.stage(*stage).base) {
        if stages.contains(base) {
            break;
        }
        stages.push(*base);
    }
    let steps = stages.iter().flat_map(|stage| &plan.stage(*stage).steps);
    steps.map(|step| outcome(app, branch, here, step.id)?.changes.map(|it| it.bytes)).sum()
}

fn outcome<'a>(app: &'a App, branch: &'a Branch, here: bool, step: StepId) -> Option<&'a crate::engine::StepOutcome> {
    match here {
        true => done(app, step),
        false => branch.outcome(step),
    }
}

fn done(app: &App, step: StepId) -> Option<&crate::engine::StepOutcome> {
    match app.build.status(step) {
        StepStatus::Done(outcome) => Some(outcome),
        _ => None,
    }
}

/// How a branch differs from the one that the build stands on.
fn differences(app: &App, branch: &Branch, inside: usize) -> Vec<Line<'static>> {
    let look = &app.look;
    let here = app.build.branch.and_then(|id| compare::find(&app.build.branches, id));
    let Some(here) = here else { return Vec::new() };
    if here.id == branch.id {
        let words = "The build stands on this one; what is run is recorded here.";
        return vec![Line::styled(words, look.muted)];
    }
    let comparison = compare::compare(branch, here, |step| done(app, step));
    let head = format!("What is different on {}, from {} to {}:", here.id.0, branch.id.0, here.id.0);
    let mut out = vec![Line::styled(head, look.muted)];
    arguments(look, &comparison, &mut out);
    file(look, &comparison, inside, &mut out);
    steps(look, here, &comparison, inside, &mut out);
    if out.len() == 1 {
        out = vec![Line::styled("Both have the same arguments, the same file and the same results.", look.muted)];
    }
    out
}

fn arguments(look: &Look, comparison: &Comparison, out: &mut Vec<Line<'static>>) {
    let value = |value: &Option<String>| match value {
        Some(value) => text::sanitise(value).into_owned(),
        None => "as the file has it".to_owned(),
    };
    for (name, was, is) in comparison.args.iter().take(SHOWN) {
        out.push(Line::from(vec![
            Span::styled("  ARG  ", look.muted),
            Span::styled(text::sanitise(name).into_owned(), look.text),
            Span::raw("  "),
            Span::styled(value(was), look.removed),
            Span::styled(format!(" {} ", look.signs.arrow), look.muted),
            Span::styled(value(is), look.added),
        ]));
    }
}

fn file(look: &Look, comparison: &Comparison, inside: usize, out: &mut Vec<Line<'static>>) {
    let Patch::Text(hunks) = &comparison.file else { return };
    let lines: Vec<_> = hunks.iter().flat_map(|hunk| &hunk.lines).filter(|line| line.sign != Sign::Same).collect();
    for line in lines.iter().take(SHOWN) {
        let style = if line.sign == Sign::Added { look.added } else { look.removed };
        let words = format!("  {} {}", line.sign.char(), text::sanitise_bytes(&line.text));
        out.push(Line::styled(text::clip(&words, inside, look.signs.ellipsis).into_owned(), style));
    }
    if lines.len() > SHOWN {
        let more = format!("    and {} of the Dockerfile", text::count(lines.len() - SHOWN, "more line"));
        out.push(Line::styled(more, look.muted));
    }
}

fn steps(look: &Look, here: &Branch, comparison: &Comparison, inside: usize, out: &mut Vec<Line<'static>>) {
    let weight = |outcome: &Option<crate::engine::StepOutcome>| match outcome {
        Some(outcome) => outcome.changes.map_or("?".to_owned(), |it| text::size(it.bytes)),
        None => "not run".to_owned(),
    };
    // Of an instruction without a layer there is nothing to say but that what lies below it is different.
    let pairs: Vec<_> = comparison.steps.iter().filter(|pair| here.plan.step(pair.step).layer).collect();
    for pair in pairs.iter().take(SHOWN) {
        let step = here.plan.step(pair.step);
        let label = format!("{}:{}", here.plan.stage(pair.step.stage).label(), pair.step.index);
        let words = step.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let words = format!("  {}  {}", text::sanitise(&label), text::sanitise(&words));
        let (was, is) = (weight(&pair.there), weight(&pair.here));
        let sizes = if was == is { format!("  {is}") } else { format!("  {was} {} {is}", look.signs.arrow) };
        let style: Style = look.text;
        out.push(Line::from(super::justified(look, (&words, style), (&sizes, look.muted), inside)));
    }
    if pairs.len() > SHOWN {
        let more = text::count(pairs.len() - SHOWN, "more instruction");
        out.push(Line::styled(format!("  and {more}"), look.muted));
    }
}
