//! Progress as lines to read: a fold of the session's events.

use crate::debug::{Event, Failure, StepStatus};
use crate::engine::StepOutcome;
use crate::plan::{Plan, StepId};
use crate::tui::text;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Text from outside, line by line, with nothing in it that a terminal would act on. Colours are taken out, not
/// spelled.
pub fn printable(text: &str) -> String {
    let plain = without_sequences(text);
    let lines: Vec<Cow<'_, str>> = plain.split('\n').map(text::sanitise).collect();
    lines.join("\n")
}

/// What an unfinished line may hold back, in bytes, before it is printed as it is.
const LINE_LIMIT: usize = 16 << 10;

pub struct Plain<W> {
    out: W,
    /// Of the build, where there are several side by side; followed by a blank.
    platform: String,
    plan: Option<Arc<Plan>>,
    /// Each running step's output that has no line end yet.
    partial: BTreeMap<StepId, Vec<u8>>,
    /// What takes long, by what its lines begin with.
    works: BTreeMap<String, Work>,
}

/// Between two lines of one work.
const PACE: Duration = Duration::from_secs(5);
/// Parts of one work that are counted.
const PARTS: usize = 1000;

/// A work of which something is said now and again.
struct Work {
    said: Instant,
    /// Bytes so far of all, 0 where that is not known, of each of its parts.
    parts: BTreeMap<String, (u64, u64)>,
}

impl Work {
    fn new() -> Work {
        Work { said: Instant::now(), parts: BTreeMap::new() }
    }

    /// Takes in how far a part is. Answers with what to say, if it is time to.
    fn goes_on(&mut self, part: &str, done: u64, total: u64) -> Option<String> {
        if self.parts.len() < PARTS || self.parts.contains_key(part) {
            self.parts.insert(part.to_owned(), (done, total));
        }
        if self.said.elapsed() < PACE {
            return None;
        }
        self.said = Instant::now();
        let sum = |pick: fn(&(u64, u64)) -> u64| self.parts.values().map(pick).fold(0, u64::saturating_add);
        Some(match (sum(|it| it.0), sum(|it| it.1)) {
            (0, 0) => printable(part),
            (done, 0) => text::size(done),
            (done, total) => format!("{} of {}", text::size(done), text::size(total)),
        })
    }
}

impl<W: Write> Plain<W> {
    pub fn new(out: W) -> Plain<W> {
        Plain { out, platform: String::new(), plan: None, partial: BTreeMap::new(), works: BTreeMap::new() }
    }

    /// Names the platform in every line.
    pub fn on(self, platform: Option<&str>) -> Plain<W> {
        Plain { platform: platform.map(|it| format!("{it} ")).unwrap_or_default(), ..self }
    }

    /// Prints what an event means to a reader; most mean something.
    pub fn event(&mut self, event: &Event) -> std::io::Result<()> {
        match event {
            Event::Started { engine } => {
                writeln!(self.out, "engine: {}, {}", engine.engine, engine.mode)?;
                engine.limits.iter().try_for_each(|limit| writeln!(self.out, "note: {}", printable(limit)))
            }
            Event::Planned { plan } => {
                self.plan = Some(plan.clone());
                Ok(())
            }
            Event::Step { step, status, .. } => self.status(*step, status),
            Event::Output { step, bytes, .. } => self.output(*step, bytes),
            Event::OutputClipped { step, dropped } => {
                let prefix = self.prefix(*step);
                writeln!(self.out, "{prefix} … {} of output left out", text::size(*dropped))
            }
            Event::Notice { message } => writeln!(self.out, "note: {}", printable(message)),
            Event::BaseProgress { image, what, done, total } => {
                let of = if image.is_empty() { "plan".to_owned() } else { format!("base {}", printable(image)) };
                self.work(&of, what, *done, *total)
            }
            // It has been said by the step's own line that it has begun.
            Event::Progress { step, what, done, total } => {
                let prefix = self.prefix(*step);
                let line = self.works.get_mut(&prefix).and_then(|work| work.goes_on(what, *done, *total));
                line.map_or(Ok(()), |line| writeln!(self.out, "{prefix} {line}"))
            }
            _ => Ok(()),
        }
    }

    /// Says what a work of no step does: when it begins, and now and again.
    pub fn work(&mut self, of: &str, what: &str, done: u64, total: u64) -> std::io::Result<()> {
        let line = match self.works.get_mut(of) {
            Some(work) => work.goes_on(what, done, total),
            None => {
                self.works.entry(of.to_owned()).or_insert_with(Work::new).goes_on(what, done, total);
                Some(printable(what))
            }
        };
        line.map_or(Ok(()), |line| writeln!(self.out, "{}{of}: {line}", self.platform))
    }

    fn status(&mut self, step: StepId, status: &StepStatus) -> std::io::Result<()> {
        let prefix = self.prefix(step);
        match status {
            StepStatus::Running => {
                let text = self.text(step);
                writeln!(self.out, "{prefix} {text}")?;
                self.works.insert(prefix, Work::new());
                Ok(())
            }
            StepStatus::Done(outcome) => {
                self.flush_partial(step)?;
                let prefix = self.prefix(step);
                for reason in &outcome.why {
                    writeln!(self.out, "{prefix} not cached: {}", printable(reason))?;
                }
                // What takes no time and changes no file has been said by its own line.
                match done(outcome) {
                    Some(line) => writeln!(self.out, "{prefix} {line}"),
                    None => Ok(()),
                }
            }
            StepStatus::Failed(failure) => {
                self.flush_partial(step)?;
                writeln!(self.out, "{prefix} ERROR {}", printable(&failure.message))
            }
            StepStatus::Cancelled => {
                self.flush_partial(step)?;
                writeln!(self.out, "{prefix} CANCELLED")
            }
            StepStatus::Skipped => match step.index {
                0 => writeln!(self.out, "{prefix} SKIPPED: the target does not need this stage"),
                _ => Ok(()),
            },
            StepStatus::Waiting => Ok(()),
        }
    }

    fn output(&mut self, step: StepId, bytes: &[u8]) -> std::io::Result<()> {
        let mut held = self.partial.remove(&step).unwrap_or_default();
        held.extend_from_slice(bytes);
        let end = match held.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => at + 1,
            None if held.len() > LINE_LIMIT => held.len(),
            None => 0,
        };
        let rest = held.split_off(end);
        if !rest.is_empty() {
            self.partial.insert(step, rest);
        }
        self.lines(step, &held)
    }

    fn flush_partial(&mut self, step: StepId) -> std::io::Result<()> {
        match self.partial.remove(&step) {
            Some(rest) => self.lines(step, &rest),
            None => Ok(()),
        }
    }

    fn lines(&mut self, step: StepId, bytes: &[u8]) -> std::io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let prefix = self.prefix(step);
        let text = String::from_utf8_lossy(bytes);
        for line in text.strip_suffix('\n').unwrap_or(&text).split('\n') {
            // A progress bar rewrites its line: what it showed last counts.
            let line = line.trim_end_matches('\r');
            let line = line.rsplit('\r').next().unwrap_or(line);
            writeln!(self.out, "{prefix} │ {}", printable(line))?;
        }
        Ok(())
    }

    /// `[builder 2/6]`, counted from 1 as docker counts.
    fn prefix(&self, step: StepId) -> String {
        let Some(plan) = &self.plan else { return "[?]".to_owned() };
        let stage = plan.stage(step.stage);
        format!("[{}{} {}/{}]", self.platform, printable(&stage.label()), step.index + 1, stage.steps.len())
    }

    fn text(&self, step: StepId) -> String {
        self.plan.as_ref().map(|plan| printable(&plan.step(step).text)).unwrap_or_default()
    }
}

fn done(outcome: &StepOutcome) -> Option<String> {
    if outcome.cached {
        return Some("CACHED".to_owned());
    }
    let changes = outcome.changes.unwrap_or_default();
    let mut parts = Vec::new();
    for (count, letter) in [(changes.added, 'A'), (changes.modified, 'M'), (changes.removed, 'D')] {
        if count > 0 {
            parts.push(format!("{letter} {count}"));
        }
    }
    if parts.is_empty() && outcome.duration.as_millis() == 0 {
        return None;
    }
    let mut line = format!("done in {}", text::duration(outcome.duration));
    if !parts.is_empty() {
        line = format!("{line}, {} ({})", text::size(changes.bytes), parts.join(", "));
    }
    Some(line)
}

/// How a build failed, for standard error: where, why, and what to do.
pub fn failure(plan: &Plan, failure: &Failure, name: &str) -> (String, Vec<String>) {
    let step = plan.step(failure.step);
    let label = plan.stage(failure.step.stage).label();
    let message = format!("{name}:{}: {}: {}\n  {}", step.lines.start, label, failure.message, step.text);
    (message, failure.help.clone())
}

/// Takes out what a terminal would read as one escape sequence (ECMA-48: CSI, OSC and the short ones).
fn without_sequences(text: &str) -> Cow<'_, str> {
    if !text.contains('\u{1b}') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            out.push(c);
            continue;
        }
        match chars.peek() {
            Some('[') => {
                chars.next();
                while let Some(c) = chars.peek().copied() {
                    if !(' '..='~').contains(&c) {
                        break;
                    }
                    chars.next();
                    if ('@'..='~').contains(&c) {
                        break;
                    }
                }
            }
            Some(']') => {
                for c in chars.by_ref() {
                    if matches!(c, '\u{7}' | '\u{9c}' | '\n') {
                        break;
                    }
                    if c == '\u{1b}' {
                        chars.next_if_eq(&'\\');
                        break;
                    }
                }
            }
            Some(' '..='~') => {
                chars.next();
            }
            _ => {}
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each step of the script waits so many seconds, and a base is so far then.
    #[tokio::test(start_paused = true)]
    async fn what_takes_long_is_told_now_and_again() {
        let mut plain = Plain::new(Vec::new()).on(Some("linux/arm64"));
        let script = [(0, "looking up\u{1b}[2J it", 0, 0), (1, "a", 1_000, 5_000), (4, "b", 2_000, 10_000)];
        let later = [(3, "a", 5_000, 5_000), (1, "b", 4_000, 10_000), (1, "b", 10_000, 10_000)];
        for (seconds, what, done, total) in script.into_iter().chain(later) {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            let event = Event::BaseProgress { image: "node".to_owned(), what: what.to_owned(), done, total };
            plain.event(&event).expect("lines");
        }
        let lines = "linux/arm64 base node: looking up it\n\
                     linux/arm64 base node: 3.0 kB of 15.0 kB\n\
                     linux/arm64 base node: 15.0 kB of 15.0 kB\n";
        assert_eq!(String::from_utf8_lossy(&plain.out), lines);
    }

    #[test]
    fn nothing_that_a_terminal_acts_on_is_printed() {
        let check = |text: &str, expected: &str| assert_eq!(printable(text), expected, "{text:?}");
        check("plain\ntext", "plain\ntext");
        check("\u{1b}[1;31mred\u{1b}[0m", "red");
        check("\u{1b}]0;title\u{7}after", "after");
        check("\u{1b}]8;;x\u{1b}\\link", "link");
        check("\u{1b}[2", "");
        check("\u{1b}(Bx", "Bx");
        check("bell\u{7}", "bell^G");
    }
}
