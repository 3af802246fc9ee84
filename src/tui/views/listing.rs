//! The Dockerfile's pane, drawn: each line with its breakpoint, its state, its text in colours, size and time.

use super::bar::bar;
use super::source::{Remark, Row};
use super::{mark_hits, wire_sign};
use crate::debug::{BreakpointState, Side, StepStatus};
use crate::dockerfile::highlight::Token;
use crate::plan::{Plan, StepId};
use crate::tui::app::{App, PaneId};
use crate::tui::build::Build;
use crate::tui::rail::Cell;
use crate::tui::signs::Lines;
use crate::tui::text;
use crate::tui::theme::Look;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use std::ops::Range;

/// Columns of the size and of the time at the right.
const SIZE: usize = 9;
const TIME: usize = 9;

/// Columns in front of the text: rail, line number, breakpoint, sign.
pub(crate) fn gutter(app: &App, wide: bool) -> usize {
    let digits = app.source.digits();
    let rail = if wide { 0 } else { app.source.rail.width + usize::from(app.source.rail.width > 0) };
    rail + digits + 6
}

pub(crate) fn draw(app: &mut App, area: Rect, buffer: &mut Buffer, wide: bool) {
    let height = usize::from(area.height);
    app.source.follow(height);
    let Some(plan) = app.build.drawn().cloned() else { return };
    let needle = app.needle.get(&PaneId::Source).map(|needle| needle.to_lowercase());
    let painter = Painter { app, plan: &plan, wide, focused: app.focus == PaneId::Source };
    for (at, row) in app.source.rows().iter().enumerate().skip(app.source.top).take(height) {
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
        } else if at == self.app.source.selected() && (self.focused || self.app.source.moved) {
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
        let digits = self.app.source.digits();
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
        let wanted = crate::debug::Trigger::Before(crate::debug::Location::Line(*line));
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
                painted(source.line(*line), source.tokens(*line), source.left, width, look, dimmed)
            }
        }
    }

    /// Lines of stages that do not run, and lines after the cursor while it stands in the past.
    fn is_dimmed(&self, line: u32, step: Option<StepId>) -> bool {
        let within = step.or_else(|| self.app.source.step_around(line));
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
            StepStatus::Done(outcome) => outcome.changes.filter(|changes| layer || changes.bytes > 0).map(|changes| {
                let style = if changes.bytes == 0 { look.muted } else { look.text };
                vec![Span::styled(text::size(changes.bytes), style)]
            }),
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
