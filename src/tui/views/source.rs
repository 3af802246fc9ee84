//! The Dockerfile as a list of rows: its lines, what a base brought along, what is said of a failure; and the
//! selection in it.

use crate::debug::{Side, Stop};
use crate::dockerfile::highlight::{Token, highlight};
use crate::plan::{Plan, StepId};
use crate::tui::keymap::Motion;
use crate::tui::rail::{Rail, rail};
use crate::tui::text;
use crate::tui::views::remarks::remarks;
use crate::tui::widgets::scroll::{follow, next_hit};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

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
            Row::Line(line) => self.step_around(*line),
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
    pub(super) fn follow(&mut self, height: usize) {
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

    /// Digits of the largest line number.
    pub(super) fn digits(&self) -> usize {
        self.lines.len().to_string().len().max(3)
    }

    pub(super) fn tokens(&self, line: u32) -> &[(Range<usize>, Token)] {
        let at = (line as usize).checked_sub(1);
        at.and_then(|at| self.tokens.get(at)).map(Vec::as_slice).unwrap_or_default()
    }

    /// The instruction that a line is part of, or that stands before it.
    pub(super) fn step_around(&self, line: u32) -> Option<StepId> {
        self.steps.range(..=line).next_back().map(|(_, step)| *step)
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
        self.go_to_hit(None);
        self.hits.len()
    }

    pub fn find_next(&mut self, forward: bool) {
        self.go_to_hit(Some(forward));
    }

    fn go_to_hit(&mut self, forward: Option<bool>) {
        if let Some(line) = next_hit(&self.hits, self.selected_line(), forward) {
            self.select_line(line);
            self.moved = true;
        }
    }
}
