//! Where the bytes of the finished image come from: the stages, opened to their instructions, and those to the files
//! that they brought into the build.

use crate::debug::trace::{Chain, Contribution, Facts, How, StageShare, StepShare};
use crate::plan::{Base, Plan, StageId, StepId};
use crate::tui::keymap::Motion;
use crate::tui::text;
use crate::tui::theme::Look;
use crate::tui::views::bar::bar;
use crate::tui::widgets::scroll::{follow, next_hit};
use bstr::{BStr, BString, ByteSlice};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Files that are listed under an instruction.
const FILES: usize = 500;
/// Columns of a bar.
const BAR: usize = 12;
/// Columns of a stage's name.
const NAME: usize = 14;

/// A finished build with every file of its target followed back.
#[derive(Debug)]
pub struct Traced {
    pub facts: Facts,
    pub contribution: Contribution,
}

/// The list's state.
#[derive(Debug, Default)]
pub struct Origins {
    traced: Option<Arc<Traced>>,
    stages: BTreeSet<StageId>,
    steps: BTreeSet<StepId>,
    /// The files of the instructions that have been opened, and how many more there are.
    files: HashMap<StepId, (Vec<(BString, u64)>, usize)>,
    rows: Vec<Row>,
    selected: usize,
    top: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    Stage(StageId),
    Step(StepId),
    File(StepId, usize),
    More(StepId),
}

impl Origins {
    pub fn set(&mut self, traced: Arc<Traced>) {
        *self = Origins { traced: Some(traced), ..Origins::default() };
        self.list();
    }

    pub fn traced(&self) -> Option<&Arc<Traced>> {
        self.traced.as_ref()
    }

    pub fn go(&mut self, motion: Motion, height: usize) {
        let page = height.saturating_sub(1).max(1);
        self.selected = match motion {
            Motion::Up => self.selected.saturating_sub(1),
            Motion::Down => self.selected + 1,
            Motion::PageUp => self.selected.saturating_sub(page),
            Motion::PageDown => self.selected + page,
            Motion::First => 0,
            Motion::Last => usize::MAX,
            Motion::Right => return self.toggle(true),
            Motion::Left => return self.close(),
        }
        .min(self.rows.len().saturating_sub(1));
    }

    /// Opens or closes the selected stage or instruction. Answers with the path of a file, which is for others to show.
    pub fn enter(&mut self) -> Option<BString> {
        match self.rows.get(self.selected)? {
            Row::Stage(stage) => self.toggle(!self.stages.contains(stage)),
            Row::Step(step) => self.toggle(!self.steps.contains(step)),
            Row::File(step, at) => return self.files.get(step)?.0.get(*at).map(|(path, _)| path.clone()),
            Row::More(_) => {}
        }
        None
    }

    /// The instruction of the selection, or the first of its stage.
    pub fn step(&self) -> Option<StepId> {
        match self.rows.get(self.selected)? {
            Row::Stage(stage) => Some(StepId { stage: *stage, index: 0 }),
            Row::Step(step) | Row::File(step, _) | Row::More(step) => Some(*step),
        }
    }

    pub fn file(&self) -> Option<&BString> {
        match self.rows.get(self.selected)? {
            Row::File(step, at) => self.files.get(step)?.0.get(*at).map(|(path, _)| path),
            _ => None,
        }
    }

    /// Selects the row at a line of the list.
    pub fn click(&mut self, row: usize) -> bool {
        let at = self.top + row;
        let again = at == self.selected;
        self.selected = at.min(self.rows.len().saturating_sub(1));
        again
    }

    /// Selects the next row whose text holds the needle; how many rows do.
    pub fn find(&mut self, needle: &str, forward: Option<bool>) -> usize {
        let Some(traced) = self.traced.clone() else { return 0 };
        let needle = needle.to_lowercase();
        let holds = |row: &Row| self.words(&traced, *row).to_lowercase().contains(&needle);
        let hits: Vec<usize> = (0..self.rows.len()).filter(|at| holds(&self.rows[*at])).collect();
        self.selected = next_hit(&hits, self.selected, forward).unwrap_or(self.selected);
        hits.len()
    }

    fn words(&self, traced: &Traced, row: Row) -> String {
        let plan = &traced.facts.plan;
        match row {
            Row::Stage(stage) => plan.stage(stage).label(),
            Row::Step(step) => plan.step(step).text.clone(),
            Row::File(step, at) => {
                let file = self.files.get(&step).and_then(|(files, _)| files.get(at));
                file.map(|(path, _)| format!("/{path}")).unwrap_or_default()
            }
            Row::More(_) => String::new(),
        }
    }

    fn toggle(&mut self, open: bool) {
        match self.rows.get(self.selected) {
            Some(Row::Stage(stage)) if open => drop(self.stages.insert(*stage)),
            Some(Row::Stage(stage)) => drop(self.stages.remove(stage)),
            Some(Row::Step(step)) if open => drop(self.steps.insert(*step)),
            Some(Row::Step(step)) => drop(self.steps.remove(step)),
            Some(Row::File(..) | Row::More(_)) | None => return,
        }
        self.list();
    }

    /// Closes what is selected, or goes to what it is in.
    fn close(&mut self) {
        let up = match self.rows.get(self.selected) {
            Some(Row::Stage(stage)) if self.stages.contains(stage) => return self.toggle(false),
            Some(Row::Step(step)) if self.steps.contains(step) => return self.toggle(false),
            Some(Row::Step(step)) => Row::Stage(step.stage),
            Some(Row::File(step, _) | Row::More(step)) => Row::Step(*step),
            Some(Row::Stage(_)) | None => return,
        };
        self.selected = self.rows.iter().position(|row| *row == up).unwrap_or(self.selected);
    }

    fn list(&mut self) {
        let Some(traced) = self.traced.clone() else { return };
        self.rows.clear();
        for stage in &traced.contribution.stages {
            self.rows.push(Row::Stage(stage.stage));
            if !self.stages.contains(&stage.stage) {
                continue;
            }
            let mut steps: Vec<&StepShare> = stage.steps.iter().filter(|step| step.built + step.shipped > 0).collect();
            steps.sort_by_key(|step| (std::cmp::Reverse(step.shipped), step.step));
            for step in steps {
                self.rows.push(Row::Step(step.step));
                if !self.steps.contains(&step.step) {
                    continue;
                }
                let (files, more) = self.files.entry(step.step).or_insert_with(|| {
                    let mut files = traced.contribution.files(step.step);
                    let more = files.len().saturating_sub(FILES);
                    files.truncate(FILES);
                    (files, more)
                });
                self.rows.extend((0..files.len()).map(|at| Row::File(step.step, at)));
                self.rows.extend((*more > 0).then_some(Row::More(step.step)));
            }
        }
        self.selected = self.selected.min(self.rows.len().saturating_sub(1));
    }

    /// Draws the list below a heading, and the way of what is selected in the last line.
    pub fn draw(&mut self, look: &Look, focused: bool, area: Rect, buffer: &mut Buffer) {
        let Some(traced) = self.traced.clone() else { return };
        let detail = u16::from(area.height >= 4);
        let bars = bar_width(usize::from(area.width));
        let heading = format!("   {:<NAME$} {:>9} {:>7}  {:bars$} {:>9}", "stage", "shipped", "", "", "built");
        super::put_line(buffer, area, 0, &Line::styled(heading, look.muted));
        let list = Rect { y: area.y + 1, height: area.height.saturating_sub(1 + detail), ..area };
        let height = usize::from(list.height);
        self.top = follow(self.top, self.selected, height, self.rows.len());
        for (line, at) in (self.top..self.rows.len()).take(height).enumerate() {
            if focused && at == self.selected {
                buffer.set_style(Rect { y: list.y + line as u16, height: 1, ..list }, look.selection);
            }
            let drawn = self.row(look, &traced, self.rows[at], usize::from(list.width));
            super::put_line(buffer, list, line, &drawn);
        }
        if detail > 0 {
            let words = self.detail(look, &traced);
            let room = usize::from(area.width).saturating_sub(2);
            let words = text::clip(&words, room, look.signs.ellipsis);
            buffer.set_stringn(area.x + 1, area.bottom() - 1, words, room, look.muted);
        }
    }

    /// How many rows there are, for the scroll bar, and which is the first.
    pub fn extent(&self) -> (usize, usize) {
        (self.top, self.rows.len())
    }

    fn row(&self, look: &Look, traced: &Traced, row: Row, width: usize) -> Line<'static> {
        let plan = &traced.facts.plan;
        let contribution = &traced.contribution;
        match row {
            Row::Stage(id) => {
                let Some(share) = contribution.stage(id) else { return Line::default() };
                let style = if share.shipped == 0 { look.muted } else { look.text };
                let label = plan.stage(id).label();
                let mut spans = head(look, 0, Some(self.stages.contains(&id)), &label, style);
                spans.extend(numbers(look, contribution, share.shipped, style, width));
                spans.push(Span::styled(format!(" {:>9}", text::size(share.built)), look.muted));
                rest(look, spans, &flow(look, plan, contribution, share), look.muted, width)
            }
            Row::Step(id) => {
                let Some(share) = contribution.step(id) else { return Line::default() };
                let style = if share.shipped == 0 { look.muted } else { look.text };
                let step = plan.step(id);
                let opened = (share.files > 0).then(|| self.steps.contains(&id));
                let mut spans = head(look, 1, opened, &format!("line {}", step.lines.start), style);
                spans.extend(numbers(look, contribution, share.shipped, style, width));
                rest(look, spans, &one_line(&step.text), style, width)
            }
            Row::File(step, at) => {
                let Some((path, bytes)) = self.files.get(&step).and_then(|(files, _)| files.get(at)) else {
                    return Line::default();
                };
                let path = format!("/{path}");
                let room = width.saturating_sub(NAME + 14 + 2);
                let path = text::clip_start(&text::sanitise(&path), room, look.signs.ellipsis).into_owned();
                let left = format!("{:w$} {:>9}  ", "", text::size(*bytes), w = NAME + 3);
                Line::from(vec![Span::styled(left, look.muted), Span::styled(path, look.text)])
            }
            Row::More(step) => {
                let more = self.files.get(&step).map_or(0, |(_, more)| *more);
                Line::styled(format!("{:w$} and {more} smaller ones", "", w = NAME + 13), look.muted)
            }
        }
    }

    /// In full what the row has no room for: an instruction, or the way of a file.
    fn detail(&self, look: &Look, traced: &Traced) -> String {
        match self.rows.get(self.selected) {
            Some(Row::File(..)) => {
                let chain = self.file().and_then(|path| traced.chain(path.as_bstr()));
                chain.map(|chain| way(look, &traced.facts.plan, &chain)).unwrap_or_default()
            }
            Some(Row::Step(step)) => one_line(&traced.facts.plan.step(*step).text),
            Some(Row::Stage(stage)) => traced.contribution.stage(*stage).map_or(String::new(), |share| {
                let base =
                    if share.base > 0 { format!(" on a base of {}", text::size(share.base)) } else { String::new() };
                format!("built {}{base}", text::size(share.built))
            }),
            Some(Row::More(_)) | None => String::new(),
        }
    }
}

impl Traced {
    /// Follows every file of the target. `None` if it has not run to its end.
    pub fn of(facts: Facts) -> Option<Traced> {
        let contribution = Contribution::of(&facts, facts.plan.target)?;
        Some(Traced { facts, contribution })
    }

    /// The way of a path of the finished image.
    pub fn chain(&self, path: &BStr) -> Option<Chain> {
        self.facts.chain(self.contribution.target, path)
    }
}

/// A file's way on one line: `final:28 /usr/bin/app ← builder:19 /out/app (RUN make)`.
pub fn way(look: &Look, plan: &Plan, chain: &Chain) -> String {
    let arrow = if look.ascii() { "<-" } else { "←" };
    let hop = |hop: &crate::debug::trace::Hop| {
        let note = if hop.how == How::Touched { " (properties only)" } else { "" };
        let place = format!("{}:{}", plan.stage(hop.step.stage).label(), plan.step(hop.step).lines.start);
        format!("{place} /{}{note}", hop.path)
    };
    let mut parts: Vec<String> = chain.hops.iter().map(hop).collect();
    let end = chain.end.words();
    match chain.step() {
        _ if !end.is_empty() => parts.push(end),
        Some(step) => parts.push(one_line(&plan.step(step).text)),
        None => {}
    }
    text::sanitise(&parts.join(&format!(" {arrow} "))).into_owned()
}

fn one_line(text: &str) -> String {
    text::sanitise(&text.split_whitespace().collect::<Vec<_>>().join(" ")).into_owned()
}

/// The sign of what can be opened, and a name.
fn head(look: &Look, depth: usize, opened: Option<bool>, name: &str, style: Style) -> Vec<Span<'static>> {
    let sign = match opened {
        Some(true) => look.signs.expanded,
        Some(false) => look.signs.collapsed,
        None => " ",
    };
    let room = NAME - 2 * depth;
    let safe = text::sanitise(name);
    let name = text::clip(&safe, room, look.signs.ellipsis).into_owned();
    let gap = " ".repeat(room.saturating_sub(text::width(&name)));
    vec![
        Span::raw(" ".repeat(1 + 2 * depth)),
        Span::styled(format!("{sign} "), look.muted),
        Span::styled(format!("{name}{gap}"), style),
    ]
}

/// Columns for bars: none, where the numbers need them.
fn bar_width(width: usize) -> usize {
    if width < 1 + 2 + NAME + 10 + 8 + 2 + BAR + 10 { 0 } else { BAR }
}

fn numbers(look: &Look, contribution: &Contribution, shipped: u64, style: Style, width: usize) -> Vec<Span<'static>> {
    let percent = format!("{:.1} %", contribution.percent(shipped));
    let mut spans = vec![Span::styled(format!(" {:>9} {percent:>7}  ", text::size(shipped)), style)];
    spans.extend(bar(look, shipped, contribution.total, bar_width(width)));
    spans
}

/// The last part of a row, in the room that is left.
fn rest(look: &Look, mut spans: Vec<Span<'static>>, words: &str, style: Style, width: usize) -> Line<'static> {
    let used: usize = spans.iter().map(Span::width).sum();
    let words = text::clip(words, width.saturating_sub(used + 3), look.signs.ellipsis).into_owned();
    spans.push(Span::styled(format!("  {words}"), style));
    Line::from(spans)
}

/// Where the bytes of a stage went.
fn flow(look: &Look, plan: &Plan, contribution: &Contribution, share: &StageShare) -> String {
    let mut inside = vec![contribution.target];
    while let Some(Base::Stage(base)) = inside.last().map(|stage| &plan.stage(*stage).base) {
        if inside.contains(base) {
            break;
        }
        inside.push(*base);
    }
    let to = contribution.flows.iter().filter(|((from, _), _)| *from == share.stage);
    let mut parts: Vec<String> = to
        .map(|((_, to), bytes)| {
            let label = plan.stage(*to).label();
            format!("{} {} {}", look.signs.arrow, text::sanitise(&label), text::size(*bytes))
        })
        .collect();
    if inside.contains(&share.stage) {
        parts.insert(0, "its layers are the image".to_owned());
    } else if parts.is_empty() {
        parts.push("nothing of it ships".to_owned());
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debug::trace::tests::three;
    use crate::tui::theme::{Depth, Theme};

    fn traced() -> Arc<Traced> {
        let facts = three();
        let contribution = Contribution::of(&facts, facts.plan.target).unwrap();
        Arc::new(Traced { facts, contribution })
    }

    fn drawn(origins: &mut Origins, width: u16, height: u16, ascii: bool) -> String {
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        origins.draw(&Look::new(&Theme::dark(), Depth::None, ascii), true, area, &mut buffer);
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(line).collect::<Vec<_>>().join("\n")
    }

    /// The list after these motions and openings (`+` opens, `-` closes).
    fn after(keys: &str) -> Origins {
        let mut origins = Origins::default();
        origins.set(traced());
        for key in keys.chars() {
            match key {
                'j' => origins.go(Motion::Down, 10),
                'k' => origins.go(Motion::Up, 10),
                '+' => origins.go(Motion::Right, 10),
                '-' => origins.go(Motion::Left, 10),
                _ => drop(origins.enter()),
            }
        }
        origins
    }

    #[test]
    fn stages_open_to_instructions_and_those_to_files() {
        insta::assert_snapshot!("closed", drawn(&mut after(""), 78, 6, false));
        insta::assert_snapshot!("opened", drawn(&mut after("+j+j"), 78, 12, false));
        insta::assert_snapshot!("narrow", drawn(&mut after("+j+"), 58, 5, true));
    }

    #[test]
    fn what_is_selected_can_be_asked_for() {
        let check = |keys: &str, file: Option<&str>| {
            assert_eq!(after(keys).file().map(ToString::to_string).as_deref(), file, "{keys}");
        };
        check("+j+j", Some("out/app"));
        check("+j+jj", Some("usr/bin/app"));
        check("+j+jk", None);
        check("+j+j--", None);
        let rows = |keys: &str| after(keys).rows.len();
        assert_eq!((rows(""), rows("+"), rows("+j+"), rows("+j+j--"), rows("e"), rows("ee")), (3, 5, 8, 5, 5, 3));
        assert_eq!(after("+j+j-").step(), after("+j+").step());
        assert_eq!(after("+j+jj").enter().unwrap(), "usr/bin/app");
    }

    #[test]
    fn hits_are_found_in_what_is_open() {
        let mut origins = after("+j+");
        assert_eq!((origins.find("APP", None), origins.file().unwrap().to_string()), (3, "out/app".to_owned()));
        origins.find("app", Some(true));
        assert_eq!(origins.file().unwrap(), "usr/bin/app");
        assert_eq!(origins.find("nothing like it", None), 0);
    }
}
