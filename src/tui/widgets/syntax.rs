//! What the words of a source text are, by its language: for colours.
//!
//! Texts are untrusted, and grammars are made of regular expressions that can be slow: of a text only the beginning is
//! read, for a bounded time. What is beyond stays without colours.

use crate::tui::text;
use crate::tui::theme::Look;
use bstr::{BStr, ByteSlice};
use ratatui::style::Style;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use syntect::parsing::{ParseState, Scope, ScopeStack, SyntaxReference, SyntaxSet};

/// Bytes of a line; a longer one is passed over.
const LINE: usize = 2 << 10;
/// How long a text is read.
const PATIENCE: Duration = Duration::from_millis(700);

/// What a word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Comment,
    Literal,
    Constant,
    Keyword,
    Name,
}

impl Tone {
    pub fn style(self, look: &Look) -> Style {
        match self {
            Tone::Comment => look.comment,
            Tone::Literal => look.string,
            Tone::Constant => look.flag,
            Tone::Keyword => look.keyword,
            Tone::Name => look.variable,
        }
    }
}

/// Where a tone ends, in bytes of a line as it is shown.
pub type Run = (u32, Option<Tone>);

/// What the words of a text are, line after line.
#[derive(Debug, Default)]
pub struct Tones {
    lines: Vec<Box<[Run]>>,
}

impl Tones {
    /// Those of a line, counted from 0.
    pub fn line(&self, index: usize) -> Option<&[Run]> {
        self.lines.get(index).map(|line| &**line)
    }

    /// Reads a text, of which the beginning will do. Takes its time.
    pub fn of(name: &BStr, content: &[u8]) -> Tones {
        Tones::within(name, content, PATIENCE)
    }

    fn within(name: &BStr, content: &[u8], patience: Duration) -> Tones {
        let deadline = Instant::now().checked_add(patience);
        let grammars = grammars();
        let Some(grammar) = grammar(grammars, name, content) else { return Tones::default() };
        let mut state = ParseState::new(grammar);
        let mut stack = ScopeStack::new();
        let mut lines = Vec::new();
        for line in content.lines_with_terminator() {
            if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                break;
            }
            // What is not text, or too long, is nothing that a grammar could tell anything of.
            let Some(line) = line.to_str().ok().filter(|line| line.len() <= LINE) else {
                lines.push(Box::default());
                continue;
            };
            let Ok(changes) = state.parse_line(line, grammars) else { break };
            let mut runs: Vec<Run> = Vec::new();
            let mut put = |end: usize, tone: Option<Tone>| {
                let end = shown(line, end);
                match runs.last_mut() {
                    Some((last, _)) if *last >= end => {}
                    Some((last, before)) if *before == tone => *last = end,
                    _ if end > 0 => runs.push((end, tone)),
                    _ => {}
                }
            };
            for (at, change) in changes {
                put(at, tone(&stack));
                if stack.apply(&change).is_err() {
                    return Tones { lines };
                }
            }
            put(line.trim_end_matches(['\n', '\r']).len(), tone(&stack));
            lines.push(runs.into());
        }
        Tones { lines }
    }
}

fn grammars() -> &'static SyntaxSet {
    static GRAMMARS: OnceLock<SyntaxSet> = OnceLock::new();
    GRAMMARS.get_or_init(SyntaxSet::load_defaults_newlines)
}

/// By the file's name, then by what stands behind its last dot, then by its first line.
fn grammar<'g>(grammars: &'g SyntaxSet, name: &BStr, content: &[u8]) -> Option<&'g SyntaxReference> {
    let name = name.to_str().ok()?;
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    let first = content.lines().next().filter(|line| line.len() <= LINE).and_then(|line| line.to_str().ok());
    let found = grammars
        .find_syntax_by_extension(name)
        .or_else(|| grammars.find_syntax_by_extension(ending?))
        .or_else(|| grammars.find_syntax_by_first_line(first?));
    found.filter(|grammar| grammar.name != "Plain Text")
}

/// Where a place in a line is when the line is shown.
fn shown(line: &str, at: usize) -> u32 {
    let before = line.get(..at).unwrap_or(line).trim_end_matches(['\n', '\r']);
    text::sanitise(before).len() as u32
}

/// What the innermost scope that means anything says.
fn tone(stack: &ScopeStack) -> Option<Tone> {
    static MEANINGS: OnceLock<Vec<(Scope, Option<Tone>)>> = OnceLock::new();
    let meanings = MEANINGS.get_or_init(|| {
        let names: [(&str, Option<Tone>); 14] = [
            ("comment", Some(Tone::Comment)),
            ("punctuation.definition.comment", Some(Tone::Comment)),
            ("string", Some(Tone::Literal)),
            ("punctuation.definition.string", Some(Tone::Literal)),
            ("constant", Some(Tone::Constant)),
            ("keyword.operator", None),
            ("keyword", Some(Tone::Keyword)),
            ("storage", Some(Tone::Keyword)),
            ("entity.name.tag", Some(Tone::Keyword)),
            ("entity", Some(Tone::Name)),
            ("variable", Some(Tone::Name)),
            ("support", Some(Tone::Name)),
            ("markup.heading", Some(Tone::Keyword)),
            ("meta.interpolation", None),
        ];
        names.into_iter().filter_map(|(name, tone)| Some((Scope::new(name).ok()?, tone))).collect()
    });
    let meaning =
        |scope: &Scope| meanings.iter().find(|(prefix, _)| prefix.is_prefix_of(*scope)).map(|(_, tone)| *tone);
    stack.scopes.iter().rev().find_map(meaning).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expects the words of each line that have a tone, with its letter.
    fn check(name: &str, content: &str, expected: &[&[&str]]) {
        let tones = Tones::within(name.into(), content.as_bytes(), Duration::from_secs(600));
        let lines: Vec<Vec<String>> = content
            .lines()
            .enumerate()
            .map(|(at, line)| {
                let line = text::sanitise(line);
                let mut from = 0;
                let runs = tones.line(at).unwrap_or_default().iter();
                runs.filter_map(|(end, tone)| {
                    let word = line[std::mem::replace(&mut from, *end as usize)..*end as usize].trim();
                    let letter = format!("{:?}", (*tone)?).to_lowercase();
                    Some(format!("{} {word}", &letter[..1]))
                })
                .collect()
            })
            .collect();
        assert_eq!(lines, expected, "{name}");
    }

    #[test]
    fn words_have_tones() {
        check(
            "main.c",
            "/* one\n two */\nint x = 42; // \u{1b}[31m\n",
            &[&["c /* one"], &["c two */"], &["k int", "c 42", "c // ^[[31m"]],
        );
        check(
            "x.py",
            "def f(a):\n\treturn \"\u{e9}\\n\" + a\n",
            &[&["k def", "n f", "n a"], &["k return", "l \"é", "c \\n", "l \""]],
        );
        check("unknown.zzz", "int x\n", &[&[]]);
        check("tool", "#!/bin/sh\nexit 1\n", &[&["c #!/bin/sh"], &["n exit"]]);
    }

    #[test]
    fn nothing_is_wrong_with_what_is_no_text() {
        let long = "x".repeat(LINE + 1);
        let content = [b"int a;\n\xff\xfe\n", long.as_bytes(), b"\nint b;\n"].concat();
        let tones = Tones::of("a.c".into(), &content);
        assert!(
            tones.line(0).is_some_and(|line| !line.is_empty()) && tones.line(3).is_some_and(|line| !line.is_empty())
        );
        assert!(tones.line(1).is_some_and(<[_]>::is_empty) && tones.line(2).is_some_and(<[_]>::is_empty));
        // Time that is up is no error.
        assert!(Tones::within("a.c".into(), &content, Duration::ZERO).line(9).is_none());
    }
}
