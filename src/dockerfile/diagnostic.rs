//! What is wrong with a Dockerfile, and exactly where; and how that is drawn.

use serde::{Deserialize, Serialize};
use std::fmt;
use unicode_width::UnicodeWidthChar;

/// A half-open range of byte offsets into the Dockerfile's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Hint,
    Warning,
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Severity::Hint => "hint",
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

/// One finding. `message` says what happened and what to do; `span` is the offending text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    pub severity: Severity,
    /// A stable name, for instance `unknown-instruction`; BuildKit's rule name where it has one.
    pub code: String,
    pub message: String,
    pub span: Span,
    /// A second line under the drawing: what to do about it. Empty if there is nothing to add.
    pub help: String,
}

/// A place in a text, both counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// Where a byte offset lies; one beyond the text, or inside of a character, counts as the nearest before it.
pub fn position(text: &str, offset: usize) -> Position {
    let before = &text[..floor(text, offset)];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Position { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
}

/// The widest piece of a source line that is drawn, in columns.
const WIDTH: usize = 100;

/// The longest message or help that is drawn, in characters.
const MESSAGE: usize = 600;

/// Draws a diagnostic under its source line:
///
/// ```text
/// Dockerfile:3:6: error: unknown flag --form [unknown-flag]
///   |
/// 3 | COPY --form=build /a /b
///   |      ^^^^^^
///   = did you mean --from?
/// ```
///
/// Nothing in it can steer a terminal, whatever the text holds. It ends with a line end.
pub fn render(file: &str, text: &str, diagnostic: &Diagnostic) -> String {
    let Diagnostic { severity, code, message, span, help } = diagnostic;
    let Position { line, column } = position(text, span.start);
    let (file, message) = (plain(file), plain(message));
    let mut out = format!("{file}:{line}:{column}: {severity}: {message} [{code}]\n");

    let number = line.to_string();
    let margin = " ".repeat(number.len());
    let start = floor(text, span.start);
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let source = text[line_start..].split('\n').next().unwrap_or_default();
    let source = source.strip_suffix('\r').unwrap_or(source);
    let drawing = draw(source, start - line_start, span.end.saturating_sub(line_start));
    out.push_str(&format!("{margin} |\n{number} | {}\n{margin} | {}\n", drawing.0, drawing.1));
    for line in help.lines() {
        out.push_str(&format!("{margin} = {}\n", plain(line)));
    }
    out
}

/// A source line as it is shown, and the line below that underlines `start..end` of it.
fn draw(source: &str, start: usize, end: usize) -> (String, String) {
    // What is shown for each character, its width, and whether it is underlined.
    let cells = source.char_indices().map(|(at, c)| {
        let shown = if c == '\t' { "    ".to_owned() } else { visible(c) };
        let width: usize = shown.chars().map(|c| c.width().unwrap_or(0)).sum();
        (shown, width, at >= start && at < end)
    });
    // Of a long line only the part around the place is looked at, so that its length costs nothing more.
    let first = source.char_indices().take_while(|(at, _)| *at < start).count();
    let skipped = first.saturating_sub(WIDTH / 2);
    let clipped_left = skipped > 0 && source.chars().count() > WIDTH;
    let skipped = if clipped_left { skipped } else { 0 };
    let (mut line, mut marks) = (String::new(), String::new());
    if clipped_left {
        line.push('…');
        marks.push(' ');
    }
    let mut used = 0;
    for (shown, width, marked) in cells.skip(skipped) {
        if used + width > WIDTH {
            line.push('…');
            break;
        }
        used += width;
        line.push_str(&shown);
        marks.extend(std::iter::repeat_n(if marked { '^' } else { ' ' }, width));
    }
    if !marks.contains('^') {
        // An empty place, or one at the line's end, still gets its sign.
        if !clipped_left && used < WIDTH {
            let before: usize = source.get(..start).unwrap_or(source).chars().map(cell_width).sum();
            marks = " ".repeat(before.min(WIDTH));
        }
        marks.push('^');
    }
    (line.trim_end().to_owned(), marks.trim_end().to_owned())
}

fn cell_width(c: char) -> usize {
    match c {
        '\t' => 4,
        _ => visible(c).chars().map(|c| c.width().unwrap_or(0)).sum(),
    }
}

/// Text on one line, cut if it is too long, that is harmless to print.
fn plain(text: &str) -> String {
    let mut out: String = text.chars().take(MESSAGE).map(visible).collect();
    if text.chars().nth(MESSAGE).is_some() {
        out.push('…');
    }
    out
}

/// A character as it can be printed: one that would steer the terminal, or hide or turn around what stands beside
/// it, is written out.
fn visible(c: char) -> String {
    match c {
        '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('�').to_string(),
        '\u{7f}' => '␡'.to_string(),
        '\u{80}'..='\u{9f}'
        | '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => format!("<U+{:04X}>", u32::from(c)),
        _ => c.to_string(),
    }
}

/// The nearest character boundary at or before an offset.
fn floor(text: &str, offset: usize) -> usize {
    let mut at = offset.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str, word: &str) -> Diagnostic {
        let start = text.find(word).expect("the word is in the text");
        Diagnostic {
            severity: Severity::Error,
            code: "some-code".to_owned(),
            message: "something is wrong".to_owned(),
            span: Span { start, end: start + word.len() },
            help: String::new(),
        }
    }

    /// The two lines of the drawing for the place of a word, without what stands left of `|`.
    #[track_caller]
    fn check(text: &str, word: &str, line: &str, marks: &str) {
        let drawn = render("Dockerfile", text, &at(text, word));
        let drawn: Vec<&str> = drawn.lines().skip(2).map(|it| it.split_once("| ").expect("a margin").1).collect();
        assert_eq!(drawn, [line, marks], "{text:?} {word}");
    }

    #[test]
    fn whole() {
        let text = "FROM a\n\nCOPY --form=b c d\n";
        let diagnostic = Diagnostic { help: "first\nsecond".to_owned(), ..at(text, "--form") };
        let expected = "dir/Dockerfile:3:6: error: something is wrong [some-code]\n  |\n3 | COPY --form=b c d\n  |      ^^^^^^\n  = first\n  = second\n";
        assert_eq!(render("dir/Dockerfile", text, &diagnostic), expected);
    }

    #[test]
    fn underlined_words() {
        check("FROM a\r\nRUN b\r\n", "b", "RUN b", "    ^");
        check("\tRUN\tb", "b", "    RUN    b", "           ^");
        check("RUN größe x", "x", "RUN größe x", "          ^");
        check("RUN 日本 x", "x", "RUN 日本 x", "         ^");
        check("RUN 日本 x", "日本", "RUN 日本 x", "    ^^^^");
        check("RUN a \\\n b\n", "a \\\n b", "RUN a \\", "    ^^^");
        check("RUN \u{1b}[31mx", "x", "RUN ␛[31mx", "         ^");
        check("RUN \u{202e}x", "x", "RUN <U+202E>x", "            ^");
    }

    #[test]
    fn places_with_nothing_in_them() {
        let place = |text: &str, offset: usize| {
            let diagnostic = Diagnostic { span: Span { start: offset, end: offset }, ..at("x", "x") };
            render("f", text, &diagnostic).lines().skip(2).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(place("", 0), ["1 | ", "  | ^"]);
        assert_eq!(place("RUN", 3), ["1 | RUN", "  |    ^"]);
        assert_eq!(place("RUN", 99), ["1 | RUN", "  |    ^"]);
    }

    #[test]
    fn long_lines_are_clipped() {
        let text = format!("RUN {}HERE{}", "a ".repeat(5_000), " b".repeat(5_000));
        let drawn = render("f", &text, &at(&text, "HERE"));
        let lines: Vec<&str> = drawn.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() < 120), "{drawn}");
        let mark = lines[3].find('^').expect("marks");
        assert!(lines[2].chars().skip(mark).collect::<String>().starts_with("HERE"), "{drawn}");
        let long = Diagnostic { message: "x".repeat(10_000), ..at("x", "x") };
        assert!(render("f", "x", &long).len() < 1_000);
    }

    #[test]
    fn positions() {
        fn check(text: &str, offset: usize, line: usize, column: usize) {
            assert_eq!(position(text, offset), Position { line, column }, "{text:?} {offset}");
        }
        check("", 0, 1, 1);
        check("ab\ncd", 1, 1, 2);
        check("ab\ncd", 2, 1, 3);
        check("ab\ncd", 3, 2, 1);
        check("ü\nüx", 5, 2, 2);
        check("ü", 1, 1, 1);
        check("ab", 10, 1, 3);
    }

    proptest! {
        #[test]
        fn any_place_can_be_drawn(text in "(.|\n|\t){0,60}", start in 0usize..200, length in 0usize..80) {
            let diagnostic = Diagnostic { span: Span { start, end: start + length }, ..at("x", "x") };
            let drawn = render("f", &text, &diagnostic);
            prop_assert!(drawn.contains('^'));
            prop_assert!(!drawn.chars().any(|c| c.is_control() && c != '\n'));
            prop_assert_eq!(drawn.lines().count(), 4);
        }
    }
}
