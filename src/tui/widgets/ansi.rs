//! What a program writes to a terminal, as lines that are safe to draw.
//!
//! Colours, bold and the like are kept. A carriage return goes back to the line's start, and what follows writes
//! over it, as progress bars do. Everything else that a terminal would act on is dropped.

use crate::tui::text;
use ratatui::style::{Color, Modifier, Style};
use std::collections::VecDeque;

/// Lines that are kept; beyond it the oldest go.
const LINES: usize = 100_000;
/// Characters of a line; a longer one goes on in the next.
const LENGTH: usize = 1 << 14;
/// Bytes of an escape sequence; what is longer is none.
const SEQUENCE: usize = 256;
/// Bytes of a title or the like that a terminal would keep to itself; a program that never ends it is seen again.
const STRING: usize = 4096;

/// Lines of two streams in the order in which they ended, then those that have not ended.
#[derive(Debug, Default)]
pub struct Lines {
    ended: VecDeque<Line>,
    open: [Stream; 2],
    /// Lines that are gone from the beginning.
    pub dropped: usize,
}

/// One line with its styles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    pub text: Box<str>,
    /// Where each style ends, in bytes. What is not covered has none.
    pub runs: Box<[(u32, Style)]>,
    pub stderr: bool,
}

impl Lines {
    pub fn push(&mut self, stderr: bool, bytes: &[u8]) {
        let stream = &mut self.open[usize::from(stderr)];
        for byte in bytes {
            if let Some(mut line) = stream.take(*byte) {
                line.stderr = stderr;
                self.ended.push_back(line);
            }
        }
        while self.ended.len() > LINES {
            self.ended.pop_front();
            self.dropped += 1;
        }
    }

    /// A line of our own, between those of the program.
    pub fn note(&mut self, text: String, style: Style) {
        let runs = Box::from([(text.len() as u32, style)]);
        self.ended.push_back(Line { text: text.into(), runs, stderr: false });
    }

    /// Lines that have ended, and those that have not but hold something.
    pub fn len(&self) -> usize {
        self.ended.len() + self.open.iter().filter(|stream| !stream.cells.is_empty()).count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn ended(&self) -> usize {
        self.ended.len()
    }

    pub fn line(&self, index: usize) -> Option<std::borrow::Cow<'_, Line>> {
        if let Some(line) = self.ended.get(index) {
            return Some(std::borrow::Cow::Borrowed(line));
        }
        let open = self.open.iter().enumerate().filter(|(_, stream)| !stream.cells.is_empty());
        let (stderr, stream) = open.into_iter().nth(index - self.ended.len())?;
        Some(std::borrow::Cow::Owned(Line { stderr: stderr == 1, ..stream.line() }))
    }
}

/// One stream's line that has not ended, and what its bytes mean so far.
#[derive(Debug, Default)]
struct Stream {
    state: State,
    /// Bytes of the sequence, string or character at hand.
    pending: Vec<u8>,
    cells: Vec<(char, Style)>,
    column: usize,
    style: Style,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After `ESC [`.
    Control,
    /// In a string for the terminal, up to BEL or `ESC \`.
    String,
    /// In such a string, after ESC.
    StringEscape,
}

impl Stream {
    /// Takes one byte; answers with a line if it ended one.
    fn take(&mut self, byte: u8) -> Option<Line> {
        match self.state {
            State::Text => return self.text(byte),
            State::Escape => match byte {
                b'[' => self.go(State::Control),
                // Operating system command, device control string, and their like.
                b']' | b'P' | b'X' | b'^' | b'_' => self.go(State::String),
                // The sequence goes on.
                0x20..=0x2f if self.pending.len() < SEQUENCE => self.pending.push(byte),
                0x30..=0x7e => self.go(State::Text),
                _ => return self.again(byte),
            },
            State::Control => match byte {
                0x40..=0x7e => {
                    self.control(byte);
                    self.go(State::Text);
                }
                0x20..=0x3f if self.pending.len() < SEQUENCE => self.pending.push(byte),
                _ => return self.again(byte),
            },
            State::String | State::StringEscape => match byte {
                0x07 => self.go(State::Text),
                b'\\' if self.state == State::StringEscape => self.go(State::Text),
                0x1b => self.state = State::StringEscape,
                b'\n' | b'\r' => return self.again(byte),
                _ if self.pending.len() < STRING => {
                    self.pending.push(byte);
                    self.state = State::String;
                }
                _ => return self.again(byte),
            },
        }
        None
    }

    fn go(&mut self, state: State) {
        self.state = state;
        self.pending.clear();
    }

    /// The sequence is none: the byte stands for itself.
    fn again(&mut self, byte: u8) -> Option<Line> {
        self.go(State::Text);
        self.text(byte)
    }

    fn text(&mut self, byte: u8) -> Option<Line> {
        if byte >= 0x80 {
            return self.part_of_character(byte);
        }
        self.flush_character();
        match byte {
            b'\n' => return Some(self.end()),
            b'\r' => self.column = 0,
            0x08 => self.column = self.column.saturating_sub(1),
            b'\t' => (0..8 - self.column % 8).for_each(|_| self.put(' ')),
            0x1b => self.go(State::Escape),
            0x00..=0x1f | 0x7f => {}
            _ => self.put(char::from(byte)),
        }
        self.overflow()
    }

    fn part_of_character(&mut self, byte: u8) -> Option<Line> {
        self.pending.push(byte);
        match std::str::from_utf8(&self.pending) {
            Ok(text) => {
                let character = text.chars().next();
                self.pending.clear();
                match character {
                    Some(c) if text::is_harmful(c) => self.spell(&text::sanitise(c.encode_utf8(&mut [0; 4]))),
                    Some(c) => self.put(c),
                    None => {}
                }
            }
            // More bytes are to come.
            Err(error) if error.error_len().is_none() => {}
            Err(_) => {
                // The last byte may begin a character of its own.
                let last = self.pending.pop().filter(|_| !self.pending.is_empty());
                match last {
                    Some(last) => {
                        self.flush_character();
                        return self.part_of_character(last);
                    }
                    None => self.spell(&format!("\\x{byte:02x}")),
                }
            }
        }
        self.overflow()
    }

    /// Spells out a character that was not finished.
    fn flush_character(&mut self) {
        for byte in std::mem::take(&mut self.pending) {
            self.spell(&format!("\\x{byte:02x}"));
        }
    }

    fn spell(&mut self, text: &str) {
        text.chars().for_each(|c| self.put(c));
    }

    fn put(&mut self, c: char) {
        // Going back and forth must not make a line of any length.
        self.column = self.column.min(LENGTH);
        while self.cells.len() < self.column {
            self.cells.push((' ', Style::new()));
        }
        match self.cells.get_mut(self.column) {
            Some(cell) => *cell = (c, self.style),
            None => self.cells.push((c, self.style)),
        }
        self.column += 1;
    }

    fn overflow(&mut self) -> Option<Line> {
        (self.cells.len() >= LENGTH && self.column >= LENGTH).then(|| self.end())
    }

    fn end(&mut self) -> Line {
        let line = self.line();
        self.cells.clear();
        self.column = 0;
        line
    }

    fn line(&self) -> Line {
        let text: String = self.cells.iter().map(|(c, _)| *c).collect();
        let mut runs: Vec<(u32, Style)> = Vec::new();
        let mut end = 0;
        for (c, style) in &self.cells {
            end += c.len_utf8() as u32;
            match runs.last_mut() {
                Some(run) if run.1 == *style => run.0 = end,
                _ => runs.push((end, *style)),
            }
        }
        if runs.last().is_some_and(|(_, style)| *style == Style::new()) {
            runs.pop();
        }
        Line { text: text.into(), runs: runs.into(), stderr: false }
    }

    /// A sequence that began with `ESC [` and ends with this byte.
    fn control(&mut self, last: u8) {
        let text: String = self.pending.iter().map(|byte| char::from(*byte)).collect();
        let number = |default: usize| text.parse().unwrap_or(default);
        match last {
            b'm' => self.style = paint(self.style, &text),
            b'K' => match number(0) {
                0 => self.cells.truncate(self.column),
                1 => self.cells.iter_mut().take(self.column + 1).for_each(|cell| *cell = (' ', Style::new())),
                2 => self.cells.clear(),
                _ => {}
            },
            b'G' => self.column = number(1).clamp(1, LENGTH) - 1,
            b'C' => self.column = (self.column + number(1).clamp(1, LENGTH)).min(LENGTH - 1),
            b'D' => self.column = self.column.saturating_sub(number(1).max(1)),
            _ => {}
        }
    }
}

/// A style after "select graphic rendition" with these parameters.
fn paint(mut style: Style, parameters: &str) -> Style {
    let mut rest = parameters.split(';').peekable();
    while let Some(parameter) = rest.next() {
        // `38:2::r:g:b` has its own parameters within.
        let mut parts = parameter.split(':');
        let code: u8 = match parts.next() {
            Some("") => 0,
            Some(code) => code.parse().unwrap_or(u8::MAX),
            None => 0,
        };
        style = match code {
            0 => Style::new(),
            1 => style.add_modifier(Modifier::BOLD),
            2 => style.add_modifier(Modifier::DIM),
            3 => style.add_modifier(Modifier::ITALIC),
            4 => style.add_modifier(Modifier::UNDERLINED),
            7 => style.add_modifier(Modifier::REVERSED),
            9 => style.add_modifier(Modifier::CROSSED_OUT),
            22 => without(style, Modifier::BOLD | Modifier::DIM),
            23 => without(style, Modifier::ITALIC),
            24 => without(style, Modifier::UNDERLINED),
            27 => without(style, Modifier::REVERSED),
            29 => without(style, Modifier::CROSSED_OUT),
            30..=37 => style.fg(basic(code - 30)),
            40..=47 => style.bg(basic(code - 40)),
            90..=97 => style.fg(basic(code - 90 + 8)),
            100..=107 => style.bg(basic(code - 100 + 8)),
            39 => Style { fg: None, ..style },
            49 => Style { bg: None, ..style },
            38 | 48 => {
                let within: Vec<&str> = parts.collect();
                let color = match within.is_empty() {
                    true => extended(&mut rest),
                    false => {
                        let colors = within.len() > 4;
                        // The colour space stands between the kind and the values, mostly empty.
                        let kept = within.iter().enumerate().filter(|(at, _)| !(colors && *at == 1));
                        extended(&mut kept.map(|(_, it)| *it))
                    }
                };
                match (color, code) {
                    (Some(color), 38) => style.fg(color),
                    (Some(color), _) => style.bg(color),
                    (None, _) => style,
                }
            }
            _ => style,
        };
    }
    style
}

fn without(style: Style, modifier: Modifier) -> Style {
    Style { add_modifier: style.add_modifier - modifier, ..style }
}

/// `5;n`, or `2;r;g;b`.
fn extended<'p>(parameters: &mut impl Iterator<Item = &'p str>) -> Option<Color> {
    let mut next = || parameters.next().and_then(|it| it.parse::<u8>().ok());
    match next()? {
        5 => next().map(|number| if number < 16 { basic(number) } else { Color::Indexed(number) }),
        2 => Some(Color::Rgb(next()?, next()?, next()?)),
        _ => None,
    }
}

fn basic(number: u8) -> Color {
    const COLORS: [Color; 16] = [
        Color::Black,
        Color::Red,
        Color::Green,
        Color::Yellow,
        Color::Blue,
        Color::Magenta,
        Color::Cyan,
        Color::Gray,
        Color::DarkGray,
        Color::LightRed,
        Color::LightGreen,
        Color::LightYellow,
        Color::LightBlue,
        Color::LightMagenta,
        Color::LightCyan,
        Color::White,
    ];
    COLORS[usize::from(number & 15)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(bytes: &[u8]) -> Vec<String> {
        let mut lines = Lines::default();
        lines.push(false, bytes);
        (0..lines.len()).map(|index| lines.line(index).unwrap().text.to_string()).collect()
    }

    fn check(bytes: &[u8], expected: &[&str]) {
        assert_eq!(lines(bytes), expected, "{}", String::from_utf8_lossy(bytes).escape_debug());
    }

    #[test]
    fn carriage_returns_write_over() {
        check(b"one\ntwo", &["one", "two"]);
        check(b"one\r\ntwo\r\n", &["one", "two"]);
        check(b" 10%\r 50%\r100%\ndone", &["100%", "done"]);
        check(b"long line\rshort\n", &["shortline"]);
        check(b"long line\r\x1b[Kshort\n", &["short"]);
        check(b"abc\x08\x08X\n", &["aXc"]);
        check(b"\x1b[2Kabc\x1b[1G\x1b[2CX\n", &["abX"]);
        check(b"a\tb\n", &["a       b"]);
        check(b"\n\n", &["", ""]);
    }

    #[test]
    fn what_a_terminal_acts_on_is_dropped() {
        check(b"\x1b]0;title\x07text\x1b[2J\x1b[10;10H\x1b[?25l\x07\x00\n", &["text"]);
        check(b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\n", &["link"]);
        check(b"\x1bP1$r\x1b\\a\x1b(Bb\x1bcc\x1b7\n", &["abc"]);
        // A string that is not ended hides no more than its line.
        check(b"\x1b]0;never ended\nnext\n", &["", "next"]);
        check(b"\x1b[12\nnext\x1b", &["", "next"]);
    }

    #[test]
    fn what_is_not_text_is_spelled() {
        check(b"caf\xc3\xa9 \xe9! \xc3\n\xc3\xc3\xa9", &["café \\xe9! \\xc3", "\\xc3é"]);
        check("a\u{202e}b\u{9b}2J".as_bytes(), &["a<U+202E>b<U+009B>2J"]);
    }

    fn check_style(bytes: &[u8], expected: &[(u32, Style)]) {
        let mut lines = Lines::default();
        lines.push(true, bytes);
        assert_eq!(lines.line(0).unwrap().runs.as_ref(), expected, "{}", String::from_utf8_lossy(bytes).escape_debug());
    }

    #[test]
    fn colours_are_kept() {
        let new = Style::new;
        check_style(b"plain", &[]);
        check_style(b"\x1b[31mred\x1b[0m plain", &[(3, new().fg(Color::Red))]);
        check_style(b"a\x1b[1;38;5;208mb", &[(1, new()), (2, new().fg(Color::Indexed(208)).bold())]);
        check_style(b"\x1b[38;2;1;2;3mb", &[(1, new().fg(Color::Rgb(1, 2, 3)))]);
        check_style(b"\x1b[38:2::1:2:3mb", &[(1, new().fg(Color::Rgb(1, 2, 3)))]);
        check_style(b"\x1b[38:5:1;44mb", &[(1, new().fg(Color::Red).bg(Color::Blue))]);
        check_style(b"\x1b[1;97mx\x1b[22;39my", &[(1, new().fg(Color::White).bold())]);
        check_style(b"\x1b[5;8;m\x1b[38mx", &[]);
    }

    #[test]
    fn both_streams_have_a_line_of_their_own() {
        let mut lines = Lines::default();
        lines.push(false, b"out ");
        lines.push(true, b"err\nmore");
        lines.push(false, b"put\n");
        let found: Vec<_> = (0..lines.len()).map(|at| lines.line(at).unwrap().into_owned()).collect();
        let found: Vec<_> = found.iter().map(|line| (&*line.text, line.stderr)).collect();
        assert_eq!(found, [("err", true), ("out put", false), ("more", true)]);
    }

    #[test]
    fn length_and_number_are_bounded() {
        let mut lines = Lines::default();
        lines.push(false, &vec![b'x'; 3 * LENGTH + 1]);
        assert_eq!(lines.len(), 4);
        lines.push(false, &vec![b'\n'; LINES]);
        assert_eq!((lines.len(), lines.dropped), (LINES, 3));
        let mut far = Lines::default();
        far.push(false, b"\x1b[999999999Gx\x1b[999999Cy\n");
        assert!(far.line(0).unwrap().text.len() <= LENGTH + 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_made_harmless(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"\x1b[];m0123\r\n\x08"[..])], 0..400),
            cut in 0usize..400,
        ) {
            let whole = lines(&bytes);
            prop_assert!(!whole.concat().chars().any(text::is_harmful));
            // How the bytes are cut makes no difference.
            let mut cutted = Lines::default();
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            cutted.push(false, first);
            cutted.push(false, second);
            let cutted: Vec<String> = (0..cutted.len()).map(|at| cutted.line(at).unwrap().text.to_string()).collect();
            prop_assert_eq!(whole, cutted);
        }
    }
}
