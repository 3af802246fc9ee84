//! Text to instructions: directives, comments, continuation lines and heredocs.
//!
//! The rules are those of BuildKit's `frontend/dockerfile/parser`: a line at a time, in bytes.

use super::arguments::{self, Arguments, Trigger};
use super::directives::{self, Directives};
use super::{Diagnostic, Dockerfile, Heredoc, Instruction, Lines, Severity, Span, heredoc};
use std::sync::Arc;

/// The longest line the official parser reads, in bytes with its end.
const MAX_LINE: usize = 64 * 1024;

/// Diagnostics with this code come from the line grammar: the official parser builds no syntax tree then.
pub const SYNTAX: &str = "syntax";

/// Reads a Dockerfile. Never fails: what is wrong is in `diagnostics`, what was understood in `instructions`.
/// Every byte that is not part of UTF-8 becomes U+FFFD, but for the contents of heredocs.
pub fn parse(bytes: &[u8]) -> Dockerfile {
    let text: Arc<str> = lossy(bytes).into();
    let mut lexer = Lexer::new(&text, bytes);
    lexer.run();
    if lexer.instructions.is_empty() && lexer.diagnostics.is_empty() {
        let at = text.trim_end().len();
        lexer.fail(lexer.line, "the file has no instructions", Span { start: at, end: at }, "begin with FROM");
    }
    let Lexer { instructions, diagnostics, directives, stopped_at, .. } = lexer;
    Dockerfile {
        text: text.clone(),
        bytes: bytes.into(),
        escape: directives.escape,
        syntax: directives::syntax(&text),
        check: directives::check(&text),
        instructions,
        diagnostics,
        stopped_at,
    }
}

/// Bytes as text: each that is not part of UTF-8 is one U+FFFD.
pub fn lossy(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    out
}

/// One physical line with its end, and where it begins in the text.
#[derive(Clone, Copy)]
struct Line<'t> {
    text: &'t str,
    bytes: &'t [u8],
    start: usize,
}

impl<'t> Line<'t> {
    fn trimmed(self) -> &'t str {
        self.text.trim_end_matches(['\r', '\n'])
    }

    fn is_comment(self) -> bool {
        self.trimmed().trim_start().starts_with('#')
    }

    fn end(self) -> usize {
        self.start + self.trimmed().len()
    }
}

struct Lexer<'t> {
    text: &'t str,
    lines: Box<dyn Iterator<Item = Line<'t>> + 't>,
    /// Lines read so far.
    line: u32,
    directives: Directives,
    instructions: Vec<Instruction>,
    diagnostics: Vec<Diagnostic>,
    stopped_at: Option<u32>,
}

impl<'t> Lexer<'t> {
    fn new(text: &'t str, bytes: &'t [u8]) -> Lexer<'t> {
        let mut start = 0;
        let lines = text.split_inclusive('\n').zip(bytes.split_inclusive(|it| *it == b'\n'));
        let lines = lines.map(move |(text, bytes)| {
            let line = Line { text, bytes, start };
            start += text.len();
            line
        });
        Lexer {
            text,
            lines: Box::new(lines),
            line: 0,
            directives: Directives::default(),
            instructions: Vec::new(),
            diagnostics: Vec::new(),
            stopped_at: None,
        }
    }

    fn next(&mut self) -> Option<Line<'t>> {
        let line = self.lines.next()?;
        if line.bytes.len() > MAX_LINE || (line.bytes.len() == MAX_LINE && !line.bytes.ends_with(b"\n")) {
            // The official parser names the line before it, which is the last that it has read.
            let at = self.line;
            let span = Span { start: line.start, end: line.end() };
            let message = format!("line {} is longer than {} bytes", at.saturating_add(1), MAX_LINE - 1);
            self.fail(at, message, span, "split it over several lines with a \\ at the end of each");
            return None;
        }
        self.line = self.line.saturating_add(1);
        Some(line)
    }

    fn run(&mut self) {
        while self.diagnostics.is_empty() {
            let Some(mut line) = self.next() else { return };
            if self.line == 1
                && let Some(rest) = line.text.strip_prefix('\u{feff}')
            {
                line = Line { text: rest, start: line.start + '\u{feff}'.len_utf8(), ..line };
            }
            let content = line.trimmed().trim_start();
            let start = line.end() - content.len();
            if let Err(message) = self.directives.read(content) {
                // As the official parser counts, which has not counted this line yet.
                let span = Span { start, end: line.end() };
                self.fail(self.line.saturating_sub(1), message, span, "");
                return;
            }
            if content.starts_with('#') {
                continue;
            }
            let (first, mut ended) = self.directives.strip_continuation(content);
            if ended && first.is_empty() {
                continue;
            }
            let start_line = self.line;
            let mut end = line.end();
            let mut joined = first.to_owned();
            while !ended {
                let Some(line) = self.next() else { break };
                let content = line.trimmed();
                if line.is_comment() || content.trim().is_empty() {
                    continue;
                }
                let (part, part_ended) = self.directives.strip_continuation(content);
                joined.push_str(part);
                ended = part_ended;
                end = line.end();
            }
            if !self.diagnostics.is_empty() {
                return self.cut_off(&joined, start_line, Span { start, end });
            }
            self.instruction(joined, start_line, Span { start, end });
        }
    }

    /// A line that is too long ends an instruction. The official parser looks at what there is of the instruction, and then
    /// names the long line itself.
    fn cut_off(&mut self, part: &str, start_line: u32, span: Span) {
        match arguments::parse(part, self.directives.escape) {
            // Its heredocs, if it has any, are not ended.
            Ok(it) if takes_heredocs(&it) && heredoc::in_line(part).is_ok_and(|list| !list.is_empty()) => {
                self.stopped_at = Some(start_line);
            }
            Ok(_) => self.stopped_at = Some(self.line.saturating_add(1)),
            Err(problem) => {
                self.diagnostics.clear();
                let span = place(self.text, span, &problem.word);
                self.fail(start_line, problem.message, span, problem.help);
            }
        }
    }

    fn instruction(&mut self, original: String, start_line: u32, span: Span) {
        let arguments = match arguments::parse(&original, self.directives.escape) {
            Ok(it) => it,
            Err(problem) => {
                let span = place(self.text, span, &problem.word);
                return self.fail(start_line, problem.message, span, problem.help);
            }
        };
        let heredocs_possible = takes_heredocs(&arguments);
        let Arguments { keyword, flags, args, json, trigger } = arguments;
        let mut end = span.end;
        let mut heredocs = Vec::new();
        if heredocs_possible && original.contains("<<") {
            heredocs = match heredoc::in_line(&original) {
                Ok(it) => it,
                Err(error) => return self.fail(start_line, error.to_string(), place(self.text, span, "<<"), ""),
            };
            for heredoc in &mut heredocs {
                match self.heredoc(heredoc) {
                    Some(line) => end = line.end(),
                    None => {
                        // A line that is too long cuts the heredoc off, and that is what is reported then.
                        if self.diagnostics.is_empty() {
                            let message = format!("the heredoc {} is not ended", heredoc.name);
                            let help = format!("put a line with only {} after its content", heredoc.name);
                            self.fail(start_line, message, place(self.text, span, "<<"), &help);
                        }
                        self.stopped_at = Some(start_line);
                        return;
                    }
                }
            }
        }
        let span = Span { end, ..span };
        let lines = Lines { start: start_line, end: self.line };
        let outer = Instruction { keyword, lines, span, original, flags, args, json, heredocs, trigger: None };
        self.instructions.push(with_trigger(outer, trigger));
    }

    /// Reads a heredoc's content, and the line that ends it.
    fn heredoc(&mut self, heredoc: &mut Heredoc) -> Option<Line<'t>> {
        loop {
            let line = self.next()?;
            let end = line.trimmed();
            let end = if heredoc.chomp { end.trim_start_matches('\t') } else { end };
            if end == heredoc.name {
                return Some(line);
            }
            heredoc.content.extend_from_slice(line.bytes);
        }
    }

    /// `line` is where the official parser reports it.
    fn fail(&mut self, line: u32, message: impl Into<String>, span: Span, help: &str) {
        self.stopped_at = Some(line);
        self.diagnostics.push(Diagnostic {
            severity: Severity::Error,
            code: SYNTAX.to_owned(),
            message: message.into(),
            span,
            help: help.to_owned(),
        });
    }
}

/// Whether what follows `<<` is a heredoc: of the instruction itself, or of the one that an ONBUILD puts off.
fn takes_heredocs(arguments: &Arguments) -> bool {
    let it = arguments.trigger.as_ref().map_or(arguments, |trigger| &trigger.arguments);
    matches!(it.keyword.as_str(), "add" | "copy" | "run") && !it.json
}

/// An ONBUILD with the instruction that it puts off, which is at the same place.
fn with_trigger(outer: Instruction, trigger: Option<Trigger>) -> Instruction {
    let trigger = trigger.map(|Trigger { original, arguments }| {
        let Arguments { keyword, flags, args, json, trigger } = *arguments;
        let heredocs = outer.heredocs.clone();
        let Instruction { lines, span, .. } = outer;
        let inner = Instruction { keyword, lines, span, original, flags, args, json, heredocs, trigger: None };
        Box::new(with_trigger(inner, trigger))
    });
    Instruction { trigger, ..outer }
}

/// The first place of a word inside a span; the span's first line if it is not found as it is.
pub(super) fn place(text: &str, span: Span, word: &str) -> Span {
    let source = text.get(span.start..span.end).unwrap_or_default();
    match source.find(word) {
        Some(at) if !word.is_empty() => Span { start: span.start + at, end: span.start + at + word.len() },
        _ => Span { end: span.start + source.lines().next().unwrap_or_default().len(), ..span },
    }
}

#[cfg(test)]
mod tests;
