//! Text to instructions: directives, comments, continuation lines and heredocs.
//!
//! The rules are those of BuildKit's `frontend/dockerfile/parser`: a line at a time, in bytes.

use super::arguments::{self, Arguments};
use super::{Diagnostic, Dockerfile, Instruction, Lines, Severity, Span, heredoc};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The longest line the official parser reads, in bytes with its end.
const MAX_LINE: usize = 64 * 1024;

/// Diagnostics with this code come from the line grammar: the official parser builds no syntax tree then.
pub const SYNTAX: &str = "syntax";

/// Reads a Dockerfile. Never fails: what is wrong is in `diagnostics`, what was understood in `instructions`.
/// Bytes that are not UTF-8 become U+FFFD.
pub fn parse(text: &[u8]) -> Dockerfile {
    let text: Arc<str> = String::from_utf8_lossy(text).into();
    let mut lexer = Lexer::new(&text);
    lexer.run();
    let Lexer { instructions, mut diagnostics, directives, .. } = lexer;
    if instructions.is_empty() && diagnostics.is_empty() {
        diagnostics.push(error("the file has no instructions", Span { start: 0, end: 0 }, "begin with FROM"));
    }
    Dockerfile {
        text: text.clone(),
        escape: directives.escape,
        syntax: directives.syntax,
        check: directives.check,
        instructions,
        diagnostics,
    }
}

/// One physical line: its bytes with the line end, and where it begins.
#[derive(Clone, Copy)]
struct Line<'t> {
    text: &'t str,
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
    lines: std::iter::Peekable<Box<dyn Iterator<Item = Line<'t>> + 't>>,
    /// Lines read so far.
    line: u32,
    directives: Directives,
    instructions: Vec<Instruction>,
    diagnostics: Vec<Diagnostic>,
}

impl<'t> Lexer<'t> {
    fn new(text: &'t str) -> Lexer<'t> {
        let mut start = 0;
        let lines = text.split_inclusive('\n').map(move |text| {
            let line = Line { text, start };
            start += text.len();
            line
        });
        let lines: Box<dyn Iterator<Item = Line<'t>> + 't> = Box::new(lines);
        Lexer {
            lines: lines.peekable(),
            line: 0,
            directives: Directives::default(),
            instructions: Vec::new(),
            diagnostics: Vec::new(),
        }
    }

    fn next(&mut self) -> Option<Line<'t>> {
        let line = self.lines.next()?;
        self.line += 1;
        if line.text.len() > MAX_LINE || (line.text.len() == MAX_LINE && !line.text.ends_with('\n')) {
            let span = Span { start: line.start, end: line.start + 80.min(line.text.len()) };
            self.fail(format!("line {} is longer than {} bytes", self.line, MAX_LINE - 1), span, "split it with \\");
            return None;
        }
        Some(line)
    }

    fn run(&mut self) {
        while self.diagnostics.is_empty() {
            let Some(mut line) = self.next() else { return };
            if self.line == 1 {
                if let Some(rest) = line.text.strip_prefix('\u{feff}') {
                    line = Line { text: rest, start: line.start + '\u{feff}'.len_utf8() };
                }
            }
            let content = line.trimmed().trim_start();
            if let Err(message) = self.directives.read(content) {
                self.fail(message, Span { start: line.start, end: line.end() }, "");
                return;
            }
            let content = if line.is_comment() { "" } else { content };
            let (first, mut ended) = self.directives.strip_continuation(content);
            if ended && first.is_empty() {
                continue;
            }
            let start_line = self.line;
            let start = line.start + (line.trimmed().len() - content.len());
            let mut end = line.end();
            let mut joined = first.to_owned();
            while !ended {
                let Some(line) = self.next() else { break };
                if line.is_comment() {
                    continue;
                }
                let content = line.trimmed();
                if content.trim().is_empty() {
                    continue;
                }
                let (part, part_ended) = self.directives.strip_continuation(content);
                joined.push_str(part);
                ended = part_ended;
                end = line.end();
            }
            if !self.diagnostics.is_empty() {
                return;
            }
            self.instruction(joined, start_line, Span { start, end });
        }
    }

    fn instruction(&mut self, original: String, start_line: u32, span: Span) {
        let Arguments { keyword, flags, args, json, trigger } =
            match arguments::parse(&original, self.directives.escape) {
                Ok(it) => it,
                Err(message) => return self.fail(message, span, ""),
            };
        let takes_heredoc = |keyword: &str| matches!(keyword, "add" | "copy" | "run");
        let heredocs_possible = match (&trigger, keyword.as_str()) {
            (Some(trigger), "onbuild") => takes_heredoc(&trigger.keyword) && !trigger.json,
            (_, keyword) => takes_heredoc(keyword) && !json,
        };
        let mut span = span;
        let mut heredocs = Vec::new();
        if heredocs_possible && original.contains("<<") {
            heredocs = match heredoc::in_line(&original) {
                Ok(it) => it,
                Err(message) => return self.fail(message, span, ""),
            };
            for heredoc in &mut heredocs {
                loop {
                    let Some(line) = self.next() else {
                        if self.diagnostics.is_empty() {
                            let message = format!("unterminated heredoc: no line holds only {}", heredoc.name);
                            self.fail(message, span, "end it with its name alone on a line");
                        }
                        return;
                    };
                    span.end = line.end();
                    let end = line.trimmed();
                    let end = if heredoc.chomp { end.trim_start_matches('\t') } else { end };
                    if end == heredoc.name {
                        break;
                    }
                    heredoc.content.push_str(line.text);
                }
            }
        }
        let lines = Lines { start: start_line, end: self.line };
        let trigger = trigger.map(|it| {
            let heredocs = heredocs.clone();
            Box::new(Instruction {
                keyword: it.keyword,
                lines,
                span,
                original: it.original,
                flags: it.flags,
                args: it.args,
                json: it.json,
                heredocs,
                trigger: None,
            })
        });
        self.instructions.push(Instruction { keyword, lines, span, original, flags, args, json, heredocs, trigger });
    }

    fn fail(&mut self, message: impl Into<String>, span: Span, help: &str) {
        self.diagnostics.push(error(message, span, help));
    }
}

fn error(message: impl Into<String>, span: Span, help: &str) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        code: SYNTAX.to_owned(),
        message: message.into(),
        span,
        help: help.to_owned(),
    }
}

/// `# name=value` lines at the top of the file.
struct Directives {
    escape: char,
    syntax: Option<String>,
    check: Option<String>,
    seen: BTreeSet<String>,
    done: bool,
}

impl Default for Directives {
    fn default() -> Self {
        Directives { escape: '\\', syntax: None, check: None, seen: BTreeSet::new(), done: false }
    }
}

impl Directives {
    fn read(&mut self, line: &str) -> Result<(), String> {
        if self.done {
            return Ok(());
        }
        let Some((name, value)) = directive(line) else {
            self.done = true;
            return Ok(());
        };
        let name = name.to_ascii_lowercase();
        if !matches!(name.as_str(), "escape" | "syntax" | "check") {
            return Ok(());
        }
        if !self.seen.insert(name.clone()) {
            return Err(format!("only one {name} parser directive can be used"));
        }
        match name.as_str() {
            "escape" => match value {
                "\\" => self.escape = '\\',
                "`" => self.escape = '`',
                _ => return Err(format!("invalid escape token {value:?}: it must be \\ or `")),
            },
            "syntax" => self.syntax = Some(value.to_owned()),
            _ => self.check = Some(value.to_owned()),
        }
        Ok(())
    }

    /// The line without its continuation character, and whether the instruction ends here.
    fn strip_continuation<'a>(&self, line: &'a str) -> (&'a str, bool) {
        let rest = line.trim_end_matches([' ', '\t']);
        match rest.strip_suffix(self.escape) {
            // An escape before it makes it a character like any other.
            Some(before) if before.ends_with(self.escape) => (line, true),
            Some(before) => (before, false),
            None => (line, true),
        }
    }
}

fn directive(line: &str) -> Option<(&str, &str)> {
    let rest = line.strip_prefix('#')?.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    let value = rest.trim_start().strip_prefix('=')?.trim();
    (!value.is_empty()).then_some((name, value))
}
