//! The Dockerfile: its lines with what became of them.

use crate::debug::{BreakpointState, Side, StepStatus, Stop};
use crate::dockerfile::highlight::{Token, highlight};
use crate::plan::{Plan, StepId};
use crate::tui::app::{App, PaneId, follow};
use crate::tui::build::Build;
use crate::tui::keymap::{self, Action, Motion};
use crate::tui::rail::{Cell, Rail, rail};
use crate::tui::text;
use crate::tui::theme::{Lines, Look};
use crate::tui::views::{mark_hits, signal_name, wire_sign};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Columns of the size and of the time at the right.
const SIZE: usize = 9;
const TIME: usize = 9;
/// Lines of output that are shown under a failure.
const TAIL: usize = 5;

/// One line of the pane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// A line of the file, counted from 1.
    Line(u32),
    /// An instruction that the base brought along.
    Onbuild(StepId),
    /// Something said under a failed instruction; safe to print.
    Remark { step: StepId, text: String, kind: Remark },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remark {
    Output,
    Verdict,
    Help,
}

/// What the pane keeps: the text in lines, the rows made of it, the selection.
#[derive(Debug, Default)]
pub struct Source {
    text: Option<Arc<str>>,
    lines: Vec<Range<usize>>,
    tokens: Vec<Vec<(Range<usize>, Token)>>,
    pub rail: Rail,
    steps: BTreeMap<u32, StepId>,
    rows: Vec<Row>,
    selected: usize,
    pub top: usize,
    pub left: usize,
    /// Whether the user has moved the selection since the build stopped last.
    pub moved: bool,
    pub hits: Vec<u32>,
}

impl Source {
    pub fn set_plan(&mut self, plan: &Plan) {
        let same = self.text.as_ref().is_some_and(|text| **text == *plan.dockerfile.text);
        if !same {
            let base = plan.dockerfile.text.as_ptr() as usize;
            let lines = plan.dockerfile.text.lines();
            self.lines = lines
                .map(|line| line.as_ptr() as usize - base)
                .zip(plan.dockerfile.text.lines())
                .map(|(start, line)| start..start + line.len())
                .collect();
            self.tokens = highlight(&plan.dockerfile);
            self.text = Some(plan.dockerfile.text.clone());
            self.hits.clear();
        }
        self.rail = rail(plan);
        let steps = plan.stages.iter().flat_map(|stage| &stage.steps).filter(|step| !step.onbuild);
        self.steps = steps.map(|step| (step.lines.start, step.id)).collect();
        self.set_rows(plan, None, &[], 0);
    }

    /// Makes the rows anew, with what is to be said of a failure in lines of `width`.
    pub fn set_rows(&mut self, plan: &Plan, stop: Option<&Stop>, output: &[String], width: usize) {
        let line = self.selected_line();
        let failed = stop.filter(|stop| stop.side == Side::Failed);
        let mut rows = Vec::with_capacity(self.lines.len());
        let mut onbuild: BTreeMap<u32, Vec<StepId>> = BTreeMap::new();
        for stage in &plan.stages {
            let from = stage.steps.first().map(|step| step.lines.end).unwrap_or(0);
            let steps = stage.steps.iter().filter(|step| step.onbuild).map(|step| step.id);
            onbuild.entry(from).or_default().extend(steps);
        }
        let last = failed.map(|stop| plan.step(stop.step));
        for number in 1..=self.lines.len() as u32 {
            rows.push(Row::Line(number));
            for step in onbuild.get(&number).into_iter().flatten() {
                rows.push(Row::Onbuild(*step));
                if let (Some(stop), Some(failed)) = (failed, last)
                    && failed.id == *step
                {
                    rows.extend(remarks(stop, output, width));
                }
            }
            if let (Some(stop), Some(failed)) = (failed, last)
                && !failed.onbuild
                && failed.lines.end == number
            {
                rows.extend(remarks(stop, output, width));
            }
        }
        self.rows = rows;
        self.select_line(line);
    }

    pub fn line_count(&self) -> usize {
        self.rows.len()
    }

    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub fn selected(&self) -> usize {
        self.selected
    }

    pub fn step_at_line(&self, line: u32) -> Option<StepId> {
        self.steps.get(&line).copied()
    }

    /// The selected line of the file; for rows below one, that one.
    pub fn selected_line(&self) -> u32 {
        let above = self.rows.iter().take(self.selected + 1).rev();
        above
            .filter_map(|row| match row {
                Row::Line(line) => Some(*line),
                _ => None,
            })
            .next()
            .unwrap_or(1)
    }

    /// The instruction on the selected row; of a line inside an instruction, that instruction.
    pub fn selected_step(&self) -> Option<StepId> {
        match self.rows.get(self.selected)? {
            Row::Line(line) => self.steps.range(..=*line).next_back().map(|(_, step)| *step),
            Row::Onbuild(step) | Row::Remark { step, .. } => Some(*step),
        }
    }

    pub fn select_line(&mut self, line: u32) {
        let found = self.rows.iter().position(|row| *row == Row::Line(line));
        self.selected = found.unwrap_or(self.selected.min(self.rows.len().saturating_sub(1)));
    }

    /// Selects where a step is shown.
    pub fn select_step(&mut self, plan: &Plan, step: StepId) {
        let wanted = match plan.step(step).onbuild {
            true => Row::Onbuild(step),
            false => Row::Line(plan.step(step).lines.start),
        };
        if let Some(at) = self.rows.iter().position(|row| *row == wanted) {
            self.selected = at;
        }
    }

    /// Scrolls so that the selection is seen, with what is said below it.
    fn follow(&mut self, height: usize) {
        let below = self.rows.iter().skip(self.selected + 1);
        let said = below.take_while(|row| matches!(row, Row::Remark { .. })).count();
        if said > 0 {
            let last = self.selected + said;
            self.top = self.top.max((last + 1).saturating_sub(height)).min(self.selected);
        }
        self.top = follow(self.top, self.selected, height, self.rows.len());
    }

    pub fn select_row(&mut self, row: usize) {
        self.selected = row.min(self.rows.len().saturating_sub(1));
        self.moved = true;
    }

    /// Moves the selection, or the view sideways; `height` is that of the pane's content.
    pub fn go(&mut self, motion: Motion, height: usize) {
        let last = self.rows.len().saturating_sub(1);
        let page = height.saturating_sub(1).max(1);
        match motion {
            Motion::Up => self.select_row(self.selected.saturating_sub(1)),
            Motion::Down => self.select_row(self.selected + 1),
            Motion::PageUp => self.select_row(self.selected.saturating_sub(page)),
            Motion::PageDown => self.select_row(self.selected + page),
            Motion::First => self.select_row(0),
            Motion::Last => self.select_row(last),
            Motion::Left => self.left = self.left.saturating_sub(8),
            Motion::Right => self.left = (self.left + 8).min(self.longest(height).saturating_sub(8)),
        }
    }

    /// The width of the longest line in sight.
    fn longest(&self, height: usize) -> usize {
        let seen = self.rows.iter().skip(self.top).take(height);
        let widths = seen.filter_map(|row| match row {
            Row::Line(line) => Some(text::width(self.line(*line))),
            _ => None,
        });
        widths.max().unwrap_or(0)
    }

    pub fn line(&self, line: u32) -> &str {
        let range = (line as usize).checked_sub(1).and_then(|at| self.lines.get(at));
        match (&self.text, range) {
            (Some(text), Some(range)) => &text[range.clone()],
            _ => "",
        }
    }

    /// Finds lines that contain the text, in any case, and goes to the first from the selection on.
    pub fn find(&mut self, needle: &str) -> usize {
        let needle = needle.to_lowercase();
        let all = 1..=self.lines.len() as u32;
        self.hits = match needle.is_empty() {
            true => Vec::new(),
            false => all.filter(|line| self.line(*line).to_lowercase().contains(&needle)).collect(),
        };
        let here = self.selected_line();
        if let Some(line) = self.hits.iter().find(|line| **line >= here).or(self.hits.first()).copied() {
            self.select_line(line);
            self.moved = true;
        }
        self.hits.len()
    }

    pub fn find_next(&mut self, forward: bool) {
        let here = self.selected_line();
        let next = match forward {
            true => self.hits.iter().find(|line| **line > here).or(self.hits.first()),
            false => self.hits.iter().rev().find(|line| **line < here).or(self.hits.last()),
        };
        if let Some(line) = next.copied() {
            self.select_line(line);
            self.moved = true;
        }
    }
}

/// What stands under a failed instruction: the end of its output, what happened, what to do.
fn remarks(stop: &Stop, output: &[String], width: usize) -> Vec<Row> {
    let Some(failure) = &stop.failure else { return Vec::new() };
    let row = |text: &str, kind| Row::Remark { step: stop.step, text: text::sanitise(text).into_owned(), kind };
    let from = output.len().saturating_sub(TAIL);
    let mut rows: Vec<Row> = output[from..].iter().map(|line| row(line, Remark::Output)).collect();
    let verdict = match failure.exit_code {
        Some(code) => exit_in_words(code),
        None => failure.message.clone(),
    };
    let wrapped = |text: &str| -> Vec<String> {
        text.lines().flat_map(|line| text::wrap(&text::sanitise(line), width.max(20))).collect()
    };
    rows.extend(wrapped(&verdict).iter().map(|line| row(line, Remark::Verdict)));
    rows.extend(failure.help.iter().flat_map(|help| wrapped(help)).map(|line| row(&line, Remark::Help)));
    let key = keymap::key_of;
    let next = [
        failure.after.as_ref().map(|_| format!("{} shell after", key(Action::ShellAfter))),
        (stop.position.done > 0).then(|| format!("{} shell before", key(Action::ShellBefore))),
        Some(format!("{} edit and retry", key(Action::Edit))),
    ];
    rows.push(row(&next.into_iter().flatten().collect::<Vec<_>>().join("   "), Remark::Help));
    rows
}

/// What an exit code says, as shells and kernels use them.
pub fn exit_in_words(code: i32) -> String {
    let meaning = match code {
        1 => "the command failed".to_owned(),
        2 => "wrong usage, or the command failed".to_owned(),
        126 => "the program cannot be executed".to_owned(),
        127 => "there is no such program".to_owned(),
        137 => "killed (SIGKILL), perhaps for want of memory".to_owned(),
        129..=192 => match signal_name(code - 128) {
            Some(name) => format!("ended by {name}"),
            None => format!("ended by signal {}", code - 128),
        },
        _ => "the command failed".to_owned(),
    };
    format!("exit code {code}: {meaning}")
}

/// Columns in front of the text: rail, line number, breakpoint, sign.
pub fn gutter(app: &App, wide: bool) -> usize {
    let digits = app.source.lines.len().to_string().len().max(3);
    let rail = if wide { 0 } else { app.source.rail.width + usize::from(app.source.rail.width > 0) };
    rail + digits + 6
}

pub fn draw(app: &mut App, area: Rect, buffer: &mut Buffer, wide: bool) {
    let height = usize::from(area.height);
    app.source.follow(height);
    let Some(plan) = app.build.plan.clone() else { return };
    let needle = app.needle.get(&PaneId::Source).map(|needle| needle.to_lowercase());
    let painter = Painter { app, plan: &plan, wide, focused: app.focus == PaneId::Source };
    for (at, row) in app.source.rows.iter().enumerate().skip(app.source.top).take(height) {
        let y = area.y + (at - app.source.top) as u16;
        let line = Rect { y, height: 1, ..area };
        painter.row(at, row, line, buffer);
        if let (Some(needle), Row::Line(number)) = (&needle, row)
            && painter.app.source.hits.binary_search(number).is_ok()
        {
            mark_hits(painter.look(), buffer, line, needle);
        }
    }
}

struct Painter<'a> {
    app: &'a App,
    plan: &'a Plan,
    wide: bool,
    focused: bool,
}

impl Painter<'_> {
    fn look(&self) -> &Look {
        &self.app.look
    }

    fn build(&self) -> &Build {
        &self.app.build
    }

    fn row(&self, at: usize, row: &Row, area: Rect, buffer: &mut Buffer) {
        let look = self.look();
        let step = match row {
            Row::Line(line) => self.app.source.step_at_line(*line),
            Row::Onbuild(step) => Some(*step),
            Row::Remark { .. } => None,
        };
        let here = self.is_here(row);
        // Where the build stands is the first thing to be seen, also when it is what is selected.
        if here {
            buffer.set_style(area, look.stop);
        } else if at == self.app.source.selected && (self.focused || self.app.source.moved) {
            buffer.set_style(area, if self.focused { look.selection } else { look.selection_idle });
        }
        let mut x = area.x;
        let mut put = |spans: Vec<Span<'static>>, width: usize| {
            let room = area.right().saturating_sub(x).min(width as u16);
            buffer.set_line(x, area.y, &Line::from(spans), room);
            x = x.saturating_add(width as u16).min(area.right());
        };
        let rail = if self.wide { 0 } else { self.app.source.rail.width };
        if rail > 0 {
            put(self.rail(row), rail + 1);
        }
        let digits = self.app.source.lines.len().to_string().len().max(3);
        put(self.number(row, digits), digits + 2);
        put(self.signs(row, step, here), 4);
        let left = usize::from(area.width).saturating_sub(gutter(self.app, self.wide));
        let (size, time) = step.map(|step| self.outcome(step, here)).unwrap_or_default();
        let columns = if left < 40 { TIME } else { SIZE + 1 + TIME };
        let any = size.is_some() || time.is_some();
        let right = if any { (columns + 3).min(left) } else { 0 };
        let text = self.text(row, step, left - right);
        put(text, left - right);
        if any {
            let span = |part: Option<Vec<Span<'static>>>, width: usize| {
                let part = part.unwrap_or_default();
                let pad = width.saturating_sub(part.iter().map(Span::width).sum());
                std::iter::once(Span::raw(" ".repeat(pad))).chain(part).collect()
            };
            put(Vec::new(), 2);
            if columns > TIME {
                put(span(size, SIZE), SIZE + 1);
            }
            put(span(time, TIME), TIME + 1);
        }
    }

    /// Whether the build stands at this row.
    fn is_here(&self, row: &Row) -> bool {
        let Some(stop) = self.build().stop.as_ref().filter(|_| !self.build().running) else { return false };
        match row {
            Row::Line(line) => self.app.source.step_at_line(*line) == Some(stop.step),
            Row::Onbuild(step) => *step == stop.step,
            Row::Remark { .. } => false,
        }
    }

    fn rail(&self, row: &Row) -> Vec<Span<'static>> {
        let look = self.look();
        let rail = &self.app.source.rail;
        let cells = match row {
            Row::Line(line) => rail.row(*line).to_vec(),
            _ => rail.between(self.line_above(row)),
        };
        let mut spans: Vec<Span<'static>> = vec![Span::raw(" ")];
        for cell in cells {
            spans.push(match cell {
                Cell::Blank => Span::raw(" "),
                Cell::Line(ways, stage) => {
                    let needed = self.plan.stage(stage).needed;
                    let lines: &Lines = if needed { &look.signs.lines } else { &look.signs.dashed };
                    Span::styled(wire_sign(lines, ways), look.border)
                }
                Cell::Dot(step) => match (self.build().is_done(step), self.plan.stage(step.stage).needed) {
                    (true, _) => Span::styled(look.signs.node_done, look.accent),
                    (false, true) => Span::styled(look.signs.node, look.text),
                    (false, false) => Span::styled(look.signs.node, look.muted),
                },
            });
        }
        spans
    }

    fn line_above(&self, row: &Row) -> u32 {
        match row {
            Row::Line(line) => *line,
            Row::Onbuild(step) => self.plan.stage(step.stage).steps.first().map_or(0, |from| from.lines.end),
            Row::Remark { step, .. } => self.plan.step(*step).lines.end,
        }
    }

    fn number(&self, row: &Row, digits: usize) -> Vec<Span<'static>> {
        let look = self.look();
        let Row::Line(line) = row else { return Vec::new() };
        vec![Span::styled(format!(" {line:>digits$} "), look.muted)]
    }

    /// The breakpoint's sign and the state's.
    fn signs(&self, row: &Row, step: Option<StepId>, here: bool) -> Vec<Span<'static>> {
        let look = self.look();
        let signs = look.signs;
        if let Row::Remark { kind, .. } = row {
            let sign = if *kind == Remark::Output { signs.lines.vertical } else { " " };
            return vec![Span::raw("  "), Span::styled(sign, look.removed)];
        }
        let Some(step) = step else { return vec![self.unbound(row)] };
        let breakpoint = match self.app.breakpoint_at(step) {
            Some(it) if it.enabled => Span::styled(signs.set, look.removed),
            Some(_) => Span::styled(signs.disabled, look.muted),
            None => self.unbound(row),
        };
        let state = match self.build().status(step) {
            StepStatus::Failed(_) if here => Span::styled(signs.current, look.removed),
            _ if here => Span::styled(signs.current, look.accent),
            StepStatus::Waiting => Span::raw(" "),
            StepStatus::Skipped => Span::styled(signs.skipped, look.muted),
            StepStatus::Running => Span::styled(self.app.spinner(), look.accent),
            StepStatus::Done(_) => Span::styled(signs.done, look.muted),
            StepStatus::Failed(_) => Span::styled(signs.failed, look.removed),
            StepStatus::Cancelled => Span::styled(signs.cancelled, look.warning),
        };
        vec![breakpoint, state]
    }

    /// The sign of a breakpoint that is wanted on this very line and stops nowhere.
    fn unbound(&self, row: &Row) -> Span<'static> {
        let look = self.look();
        let Row::Line(line) = row else { return Span::raw(" ") };
        let wanted = crate::debug::Location::Line(*line);
        let found = self.build().breakpoints.iter().find(|it| it.wanted == wanted);
        match found.map(|it| &it.state) {
            Some(BreakpointState::Pending) => Span::styled(look.signs.pending, look.removed),
            Some(BreakpointState::Unbound { .. }) => Span::styled(look.signs.unbound, look.warning),
            _ => Span::raw(" "),
        }
    }

    fn text(&self, row: &Row, step: Option<StepId>, width: usize) -> Vec<Span<'static>> {
        let look = self.look();
        match row {
            Row::Remark { text, kind, .. } => {
                let style = match kind {
                    Remark::Output => look.text,
                    Remark::Verdict => look.removed,
                    Remark::Help => look.muted,
                };
                vec![Span::styled(text::clip(text, width, look.signs.ellipsis).into_owned(), style)]
            }
            Row::Onbuild(step) => {
                let text = format!("ONBUILD {}", text::sanitise(&self.plan.step(*step).text));
                vec![Span::styled(text::clip(&text, width, look.signs.ellipsis).into_owned(), look.muted)]
            }
            Row::Line(line) => {
                let dimmed = !self.is_here(row) && self.is_dimmed(*line, step);
                let source = &self.app.source;
                let tokens = source.tokens.get(*line as usize - 1).map(Vec::as_slice).unwrap_or_default();
                painted(source.line(*line), tokens, source.left, width, look, dimmed)
            }
        }
    }

    /// Lines of stages that do not run, and lines after the cursor while it stands in the past.
    fn is_dimmed(&self, line: u32, step: Option<StepId>) -> bool {
        let within = step.or_else(|| self.app.source.steps.range(..=line).next_back().map(|(_, step)| *step));
        let Some(step) = within else { return false };
        if !self.plan.stage(step.stage).needed && !self.plan.order.contains(&step.stage) {
            return true;
        }
        match &self.build().stop {
            Some(stop) if stop.in_the_past && !self.build().running => {
                let later = step.stage == stop.position.stage && step.index >= stop.position.done;
                let rank = |stage| crate::debug::stepping::rank(self.plan, stage);
                later || rank(step.stage) > rank(stop.position.stage)
            }
            _ => false,
        }
    }

    /// Size and time of a step, or what stands in their place.
    fn outcome(&self, step: StepId, here: bool) -> (Option<Vec<Span<'static>>>, Option<Vec<Span<'static>>>) {
        let look = self.look();
        let build = self.build();
        let status = build.status(step);
        let layer = self.plan.step(step).layer || step.index == 0;
        let size = match status {
            StepStatus::Done(outcome) if layer || outcome.changes.bytes > 0 => {
                let style = if outcome.changes.bytes == 0 { look.muted } else { look.text };
                Some(vec![Span::styled(text::size(outcome.changes.bytes), style)])
            }
            StepStatus::Running => build
                .progress(step)
                .filter(|(_, total, _)| *total > 0)
                .map(|(done, total, _)| bar(look, done, total, SIZE).to_vec()),
            _ => None,
        };
        let label = build.stop.as_ref().filter(|_| here).map(|stop| match stop.side {
            Side::Before => ("BEFORE".to_owned(), look.accent),
            Side::After => ("AFTER".to_owned(), look.accent),
            Side::Failed => (format!("{} FAILED", look.signs.failed), look.removed),
        });
        let time = label.or_else(|| match status {
            StepStatus::Done(outcome) if outcome.cached => Some(("cached".to_owned(), look.muted)),
            StepStatus::Done(outcome) if layer => Some((text::duration(outcome.duration), look.muted)),
            StepStatus::Running => match build.progress(step) {
                Some((done, total, _)) if total > 0 => {
                    Some((format!("{} %", done.min(total).saturating_mul(100) / total), look.accent))
                }
                _ => Some((text::duration(build.elapsed(step, self.app.now)), look.accent)),
            },
            StepStatus::Failed(_) => Some(("failed".to_owned(), look.removed)),
            StepStatus::Cancelled => Some(("cancelled".to_owned(), look.warning)),
            _ => None,
        });
        (size, time.map(|(text, style)| vec![Span::styled(text, style)]))
    }
}

/// A bar of `width` columns: what is done, and the rest.
pub fn bar(look: &Look, done: u64, total: u64, width: usize) -> [Span<'static>; 2] {
    let parts = look.signs.bar_parts;
    let steps = (parts.len() + 1) as u128;
    let total = u128::from(total.max(1));
    let filled = (u128::from(done).min(total) * width as u128 * steps / total) as usize;
    let (whole, part) = (filled / steps as usize, filled % steps as usize);
    let mut out = look.signs.bar.repeat(whole);
    if let Some(part) = part.checked_sub(1).and_then(|at| parts.get(at)) {
        out.push_str(part);
    }
    let rest = look.signs.bar_rest.repeat(width.saturating_sub(text::width(&out)));
    [Span::styled(out, look.accent), Span::styled(rest, look.border)]
}

/// A line in its colours, from column `left` on, cut to `width`.
fn painted(
    line: &str,
    tokens: &[(Range<usize>, Token)],
    left: usize,
    width: usize,
    look: &Look,
    dimmed: bool,
) -> Vec<Span<'static>> {
    let mut spans: Vec<Span<'static>> = Vec::new();
    let mut skip = left;
    let mut used = 0;
    for (range, token) in tokens {
        let Some(raw) = line.get(range.clone()) else { continue };
        // A line may be very long; no more of it is looked at than can be seen.
        let raw = text::prefix(raw, skip.saturating_add(width).saturating_add(1));
        let safe = text::sanitise(raw);
        let wide = text::width(&safe);
        if wide <= skip {
            skip -= wide;
            continue;
        }
        let seen = text::skip(&safe, skip);
        skip = 0;
        let style = if dimmed { look.muted } else { style_of(*token, look) };
        let room = width.saturating_sub(used);
        if text::width(&seen) > room {
            let cut = text::prefix(&seen, room).to_owned();
            spans.push(Span::styled(cut, style));
            return clipped(spans, width, look);
        }
        used += text::width(&seen);
        spans.push(Span::styled(seen.into_owned(), style));
    }
    spans
}

/// Puts the sign that something is missing at the end of spans that fill `width`.
fn clipped(spans: Vec<Span<'static>>, width: usize, look: &Look) -> Vec<Span<'static>> {
    let ellipsis = look.signs.ellipsis;
    let mut room = width.saturating_sub(text::width(ellipsis));
    let mut out = Vec::with_capacity(spans.len() + 1);
    for span in spans {
        let cut = text::prefix(&span.content, room).to_owned();
        room -= text::width(&cut);
        out.push(Span::styled(cut, span.style));
    }
    out.push(Span::styled(ellipsis, look.muted));
    out
}

fn style_of(token: Token, look: &Look) -> Style {
    match token {
        Token::Text | Token::Heredoc => look.text,
        Token::Keyword => look.keyword,
        Token::Flag => look.flag,
        Token::String => look.string,
        Token::Variable => look.variable,
        Token::Comment | Token::Directive => look.comment,
        Token::Operator => look.muted,
    }
}
