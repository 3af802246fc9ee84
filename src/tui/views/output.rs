//! What one instruction writes, while it runs and after.

use crate::debug::Log;
use crate::engine::EngineError;
use crate::plan::StepId;
use crate::tui::keymap::{Action, key_of};
use crate::tui::text;
use crate::tui::theme::Look;
use crate::tui::widgets::ansi::{Line, Lines};
use crate::tui::widgets::browser::{error_words, words};
use crate::tui::widgets::pager::{self, Pager};
use crate::tui::widgets::{Answer, Outcome, Pane, Place, Query, Request, Slot, scroll};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseEvent};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Columns of the mark of what was written to standard error.
const MARK: u16 = 2;

#[derive(Debug)]
pub struct Output {
    place: Place,
    lines: Lines,
    pager: Pager,
    /// What has been heard of each step.
    heard: BTreeMap<StepId, Heard>,
    waiting: Option<Waiting>,
    /// The lines on show lack something that only the log has.
    stale: bool,
    /// Bytes of what comes that the log held already.
    skip: u64,
    error: Option<EngineError>,
    /// Lines that hold what is searched for, and how many lines have been looked at.
    hits: Vec<usize>,
    searched: usize,
}

#[derive(Debug, Default, Clone, Copy)]
struct Heard {
    /// Bytes since the step began.
    bytes: u64,
    /// Output goes on that is not passed on.
    clipped: bool,
    /// The rest of the output follows at once, and is in the log.
    closed: bool,
}

/// The log is asked for; what comes in the meantime is kept.
#[derive(Debug)]
struct Waiting {
    from: u64,
    came: Vec<(bool, Vec<u8>)>,
}

impl Default for Output {
    fn default() -> Output {
        Output {
            place: Place::default(),
            lines: Lines::default(),
            pager: Pager::following(),
            heard: BTreeMap::new(),
            waiting: None,
            stale: false,
            skip: 0,
            error: None,
            hits: Vec::new(),
            searched: 0,
        }
    }
}

impl Output {
    /// A step begins, maybe once more.
    pub fn begins(&mut self, step: StepId) {
        self.heard.insert(step, Heard::default());
        if self.place.step == Some(step) {
            self.forget();
        }
    }

    pub fn push(&mut self, step: StepId, stderr: bool, bytes: &[u8]) {
        let heard = self.heard.entry(step).or_default();
        if heard.closed {
            return;
        }
        heard.bytes += bytes.len() as u64;
        if self.place.step != Some(step) {
            return;
        }
        match &mut self.waiting {
            Some(waiting) => waiting.came.push((stderr, bytes.to_vec())),
            None => self.append(stderr, bytes),
        }
    }

    /// From here on output is not passed on; said once more when the step has ended and the log has the rest.
    pub fn clipped(&mut self, step: StepId) {
        let heard = self.heard.entry(step).or_default();
        heard.closed = heard.clipped;
        heard.clipped = true;
        if heard.closed && self.place.step == Some(step) {
            self.stale = true;
        }
    }

    fn append(&mut self, stderr: bool, bytes: &[u8]) {
        let skipped = self.skip.min(bytes.len() as u64);
        self.skip -= skipped;
        let gone = self.lines.dropped;
        self.lines.push(stderr, &bytes[skipped as usize..]);
        let gone = self.lines.dropped - gone;
        self.hits.retain_mut(|line| {
            let stays = *line >= gone;
            *line = line.saturating_sub(gone);
            stays
        });
        self.searched = self.searched.saturating_sub(gone);
        self.pager.grown(&self.lines, gone);
        self.search();
    }

    fn forget(&mut self) {
        self.lines = Lines::default();
        let needle = std::mem::take(&mut self.pager.needle);
        self.pager = Pager::following();
        self.pager.needle = needle;
        self.waiting = None;
        self.stale = false;
        self.skip = 0;
        self.error = None;
        self.hits.clear();
        self.searched = 0;
    }

    fn ask(&mut self, step: StepId) -> Vec<Request> {
        let from = self.heard.get(&step).map_or(0, |heard| heard.bytes);
        self.waiting = Some(Waiting { from, came: Vec::new() });
        self.stale = false;
        vec![Request::Load(Slot::Output, Query::Log(step))]
    }

    /// Shows a log, then what came since it was asked for and is not in it.
    fn fill(&mut self, log: &Log, waiting: Waiting) {
        self.lines = Lines::default();
        self.hits.clear();
        self.searched = 0;
        self.skip = 0;
        for chunk in &log.head {
            self.lines.push(chunk.stderr, &chunk.bytes);
        }
        if log.dropped > 0 {
            let text = format!("{} of output are not kept", text::size(log.dropped));
            self.lines.note(text, Style::new().add_modifier(Modifier::ITALIC));
        }
        for chunk in &log.tail {
            self.lines.push(chunk.stderr, &chunk.bytes);
        }
        // What came in the meantime, and what is still on its way, the log may have already.
        self.skip = log.passed().saturating_sub(waiting.from);
        for (stderr, bytes) in waiting.came {
            self.append(stderr, &bytes);
        }
        self.pager.grown(&self.lines, 0);
        self.search();
    }

    /// Looks through the lines that have come since, and again through those that had not ended.
    fn search(&mut self) {
        self.hits.truncate(self.hits.partition_point(|line| *line < self.searched));
        if self.pager.needle.is_empty() {
            return;
        }
        for index in self.searched..self.lines.len() {
            if self.lines.line(index).is_some_and(|line| pager::holds(&line.text, &self.pager.needle)) {
                self.hits.push(index);
            }
        }
        self.searched = self.lines.ended();
    }
}

impl pager::Text for Lines {
    fn len(&self) -> usize {
        Lines::len(self)
    }

    fn line(&self, index: usize) -> Option<Cow<'_, Line>> {
        Lines::line(self, index)
    }
}

impl Pane for Output {
    fn title(&self) -> String {
        match self.place.step {
            Some(_) => text::sanitise(&self.place.text).into_owned(),
            None => String::new(),
        }
    }

    fn show(&mut self, place: &Place) -> Vec<Request> {
        let step = place.step.filter(|step| self.place.step != Some(*step));
        self.place = place.clone();
        match (step, place.step) {
            (Some(step), _) => {
                self.forget();
                self.ask(step)
            }
            (None, None) => {
                self.forget();
                Vec::new()
            }
            (None, Some(_)) => self.wants(),
        }
    }

    fn wants(&mut self) -> Vec<Request> {
        match self.place.step {
            Some(step) if self.stale && self.waiting.is_none() => self.ask(step),
            _ => Vec::new(),
        }
    }

    fn key(&mut self, key: KeyEvent) -> Outcome {
        let plain = !key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
        if key.code == KeyCode::Char('y') && plain {
            return Outcome::Effect(Request::Copy(self.in_sight()));
        }
        if self.pager.key(key, &self.lines) { Outcome::Consumed } else { Outcome::Ignored }
    }

    fn mouse(&mut self, event: MouseEvent, _area: Rect) -> Outcome {
        if self.pager.mouse(event, &self.lines) { Outcome::Consumed } else { Outcome::Ignored }
    }

    fn loaded(&mut self, query: &Query, answer: Result<Answer, EngineError>) -> Vec<Request> {
        if Some(query) != self.place.step.map(Query::Log).as_ref() {
            return Vec::new();
        }
        let Some(waiting) = self.waiting.take() else { return Vec::new() };
        match answer {
            Ok(Answer::Log(log)) => self.fill(&log, waiting),
            Ok(_) => {}
            Err(error) => self.error = Some(error),
        }
        Vec::new()
    }

    fn find(&mut self, text: &str) -> usize {
        self.pager.needle = text.to_owned();
        self.hits.clear();
        self.searched = 0;
        self.search();
        // The last one is what is mostly looked for, and is nearest to where the output ends.
        let here = self.hits.iter().find(|line| **line >= self.pager.top()).or(self.hits.last());
        if let Some(line) = here {
            self.pager.reveal(*line, &self.lines);
        }
        self.hits.len()
    }

    fn find_next(&mut self, forward: bool) {
        let sight: Vec<usize> = self.pager.visible(&self.lines).iter().map(|(line, _)| *line).collect();
        let (first, last) = (sight.first().copied().unwrap_or(0), sight.last().copied().unwrap_or(0));
        let next = match forward {
            true => self.hits.iter().find(|line| **line > last).or(self.hits.first()),
            false => self.hits.iter().rfind(|line| **line < first).or(self.hits.last()),
        };
        if let Some(line) = next {
            self.pager.reveal(*line, &self.lines);
        }
    }

    fn render(&mut self, area: Rect, buffer: &mut Buffer, look: &Look, _focused: bool) {
        if let Some(error) = &self.error {
            return words(&error_words(error), area, buffer, look);
        }
        if self.lines.is_empty() {
            return words(&[self.without_lines()], area, buffer, look);
        }
        let status = self.status();
        let foot = u16::from(!status.is_empty() && area.height > 2);
        let inner = Rect { height: area.height - foot, ..area };
        let total = self.lines.len();
        let inner = scroll::bar(inner, buffer, look, self.pager.top(), total);
        let text = Rect { x: inner.x + MARK.min(inner.width), width: inner.width.saturating_sub(MARK), ..inner };
        self.pager.fit(&self.lines, usize::from(text.width), usize::from(text.height));
        for ((index, sub), y) in self.pager.visible(&self.lines).into_iter().zip(text.y..text.bottom()) {
            let Some(line) = self.lines.line(index) else { continue };
            if line.stderr {
                buffer.set_stringn(inner.x, y, look.signs.dashed.vertical, usize::from(inner.width), look.border);
            }
            self.pager.draw(&line, sub, Rect { y, height: 1, ..text }, buffer, look);
        }
        if foot > 0 {
            buffer.set_stringn(area.x, area.bottom() - 1, status, usize::from(area.width), look.muted);
        }
    }
}

impl Output {
    /// The lines of which some is shown.
    fn in_sight(&self) -> String {
        let mut rows: Vec<usize> = self.pager.visible(&self.lines).iter().map(|(line, _)| *line).collect();
        rows.dedup();
        rows.iter().filter_map(|row| self.lines.line(*row)).map(|line| format!("{}\n", line.text)).collect()
    }

    fn status(&self) -> String {
        let heard = self.place.step.and_then(|step| self.heard.get(&step)).copied().unwrap_or_default();
        let mut parts = Vec::new();
        if self.place.running && !self.pager.follows() {
            parts.push("the output goes on below, End follows it".to_owned());
        }
        if heard.clipped && !heard.closed {
            parts.push("there is more than is kept: the last part is shown when the instruction ends".to_owned());
        }
        if self.lines.dropped > 0 {
            parts.push(format!("{} above are not kept", text::count(self.lines.dropped, "line")));
        }
        parts.join("; ")
    }

    fn without_lines(&self) -> String {
        let keyword = self.place.text.split_whitespace().next().unwrap_or_default();
        let keyword = text::sanitise(keyword);
        match self.place.step {
            None => format!("Nothing has run yet: {} runs the first instruction.", key_of(Action::StepOver)),
            Some(_) if self.waiting.is_some() => String::new(),
            Some(_) if self.place.running => format!("{keyword} runs, and has written nothing yet."),
            Some(_) => format!("{keyword} wrote nothing."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::StageId;
    use crate::tui::theme::{Depth, Theme};
    use proptest::prelude::*;

    const STEP: StepId = StepId { stage: StageId(0), index: 3 };

    fn running() -> Place {
        Place { step: Some(STEP), text: "RUN make".to_owned(), running: true, ..Place::default() }
    }

    fn log(parts: &[(bool, &[u8])]) -> Log {
        let mut log = Log::default();
        for (stderr, bytes) in parts {
            log.push(*stderr, bytes.to_vec());
        }
        log
    }

    fn drawn(pane: &mut Output, width: u16, height: u16) -> String {
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        pane.render(area, &mut buffer, &Look::new(&Theme::dark(), Depth::Ansi16, false), true);
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(line).collect::<Vec<_>>().join("\n").trim_end().to_owned()
    }

    /// The log says `logged` when it is asked for after `first`; `meanwhile` comes before its answer, `later`
    /// after it. Nothing is lost, and nothing is shown twice.
    fn check(first: &str, logged: &str, meanwhile: &str, later: &str) {
        let mut pane = Output::default();
        pane.begins(STEP);
        pane.push(STEP, false, first.as_bytes());
        assert_eq!(pane.show(&running()), [Request::Load(Slot::Output, Query::Log(STEP))]);
        pane.push(STEP, false, meanwhile.as_bytes());
        let answer = Answer::Log(log(&[(false, logged.as_bytes())]));
        pane.loaded(&Query::Log(STEP), Ok(answer));
        pane.push(STEP, false, later.as_bytes());
        let shown = drawn(&mut pane, 60, 10).replace(['\n', ' '], "");
        assert_eq!(shown, format!("{first}{meanwhile}{later}"), "{logged}");
    }

    #[test]
    fn the_log_and_what_comes_fit_together() {
        check("", "", "", "abc");
        check("ab", "ab", "", "cd");
        check("ab", "ab", "cd", "ef");
        check("ab", "abc", "cd", "ef");
        check("ab", "abcd", "cd", "ef");
        check("ab", "abcdef", "cd", "efgh");
    }

    #[test]
    fn lines_are_shown_with_what_they_were_written_to() {
        let mut pane = Output::default();
        let parts: [(bool, &[u8]); 3] = [
            (false, b"\x1b[32mcompiling\x1b[0m 1/3\rcompiling 3/3\n"),
            (true, b"warning: unused\n"),
            (false, b"a line that is longer than the pane is wide"),
        ];
        parts.iter().for_each(|(stderr, bytes)| pane.push(STEP, *stderr, bytes));
        pane.show(&running());
        pane.loaded(&Query::Log(STEP), Ok(Answer::Log(log(&parts))));
        insta::assert_snapshot!(drawn(&mut pane, 30, 8));
        assert_eq!(pane.find("unused"), 1);
        assert_eq!(pane.find("PANE"), 0);
        assert_eq!(pane.find("pane"), 1);
        pane.push(STEP, true, b"another pane\n");
        assert_eq!(pane.hits, [2, 3]);
        let copied = "compiling 3/3\nwarning: unused\nanother pane\na line that is longer than the pane is wide\n";
        let copy = pane.key(KeyEvent::new(KeyCode::Char('y'), KeyModifiers::NONE));
        assert_eq!(copy, Outcome::Effect(Request::Copy(copied.to_owned())));
    }

    #[test]
    fn says_what_is_missing() {
        let mut pane = Output::default();
        assert_eq!(drawn(&mut pane, 70, 3), " Nothing has run yet: n runs the first instruction.");
        pane.begins(STEP);
        pane.show(&running());
        pane.loaded(&Query::Log(STEP), Ok(Answer::Log(Log::default())));
        assert_eq!(drawn(&mut pane, 70, 3), " RUN runs, and has written nothing yet.");
        pane.show(&Place { running: false, ..running() });
        assert_eq!(drawn(&mut pane, 70, 3), " RUN wrote nothing.");
        for _ in 0..9 {
            pane.push(STEP, false, b"x\n");
        }
        pane.show(&running());
        drawn(&mut pane, 70, 4);
        pane.key(KeyEvent::new(KeyCode::Up, KeyModifiers::NONE));
        assert_eq!(drawn(&mut pane, 70, 4).lines().last(), Some("the output goes on below, End follows it"));
        pane.key(KeyEvent::new(KeyCode::End, KeyModifiers::NONE));
        pane.clipped(STEP);
        assert!(drawn(&mut pane, 90, 4).ends_with("the last part is shown when the instruction ends"));
        assert_eq!(pane.wants(), []);
        pane.clipped(STEP);
        pane.push(STEP, false, b"in the log\n");
        assert_eq!(pane.wants(), [Request::Load(Slot::Output, Query::Log(STEP))]);
        let mut rest = Log::default();
        rest.push(false, vec![b'x'; 3 << 20]);
        pane.loaded(&Query::Log(STEP), Ok(Answer::Log(rest)));
        assert_eq!(pane.find("of output are not kept"), 1);
        assert_eq!(pane.find("in the log"), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_drawn_harmless(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            width in 0u16..50,
            height in 0u16..8,
            wrap in any::<bool>(),
        ) {
            let mut pane = Output::default();
            pane.show(&running());
            pane.loaded(&Query::Log(STEP), Ok(Answer::Log(log(&[(false, &bytes), (true, &bytes)]))));
            pane.find("a");
            if wrap {
                pane.key(KeyEvent::new(KeyCode::Char('w'), KeyModifiers::NONE));
                pane.key(KeyEvent::new(KeyCode::Right, KeyModifiers::NONE));
            }
            pane.key(KeyEvent::new(KeyCode::PageUp, KeyModifiers::NONE));
            let screen = drawn(&mut pane, width, height);
            prop_assert!(!screen.chars().any(|c| c != '\n' && text::is_harmful(c)), "{screen:?}");
        }
    }
}
