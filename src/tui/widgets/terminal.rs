//! A terminal within the screen: what a program writes becomes cells, what it asks the terminal is answered.

use crate::tui::text;
use crate::tui::theme::Look;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::widgets::Widget;
use tui_term::vt100::{self, Callbacks, Screen};
use tui_term::widget::{Cursor, PseudoTerminal};

/// Rows that are kept of what has left the screen at the top.
const SCROLLBACK: usize = 2000;
/// Columns and rows that there are at least: the parser does not get on with less.
const LEAST: u16 = 2;
/// Bytes of answers that wait to be taken; a program that asks without end is not answered without end.
const ANSWERS: usize = 4096;

/// Bytes of a command to the terminal, a title for instance, that are kept until it ends.
const COMMAND: usize = 4096;

pub struct Terminal {
    parser: vt100::Parser<Answers>,
    within: Within,
}

/// What the program is writing, as far as it matters to the bound above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    Text,
    Escape,
    /// A command to the operating system, so long by now: the parser gathers it until its end, however far that is.
    Command(usize),
}

impl Within {
    /// Whether the parser is to see the next byte.
    fn passes(&mut self, byte: u8) -> bool {
        *self = match (*self, byte) {
            (_, 0x1b) => Within::Escape,
            (Within::Escape, b']') => Within::Command(0),
            // Control characters within a sequence do not end it.
            (Within::Escape, 0x00..=0x17 | 0x19 | 0x1c..=0x1f | 0x7f..) => Within::Escape,
            (Within::Command(_), 0x07 | 0x18 | 0x1a) => Within::Text,
            (Within::Command(length), _) if length < COMMAND => Within::Command(length + 1),
            (Within::Command(_), _) => return false,
            _ => Within::Text,
        };
        true
    }
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal").field("size", &self.parser.screen().size()).finish_non_exhaustive()
    }
}

impl Terminal {
    pub fn new(columns: u16, rows: u16) -> Terminal {
        let parser =
            vt100::Parser::new_with_callbacks(rows.max(LEAST), columns.max(LEAST), SCROLLBACK, Answers::default());
        Terminal { parser, within: Within::Text }
    }

    pub fn resize(&mut self, columns: u16, rows: u16) {
        let (columns, rows) = (columns.max(LEAST), rows.max(LEAST));
        let scrolled = self.scrolled();
        self.parser.screen_mut().set_scrollback(0);
        if columns < self.parser.screen().size().1 {
            self.halve_nothing(columns);
            // The same on the screen that is not shown, the program's or the one below it.
            let (to, back) = if self.alternate() { ("\x1b[?47l", "\x1b[?47h") } else { ("\x1b[?47h", "\x1b[?47l") };
            self.parser.process(to.as_bytes());
            self.halve_nothing(columns);
            self.parser.process(back.as_bytes());
        }
        self.parser.screen_mut().set_size(rows, columns);
        self.parser.screen_mut().set_scrollback(scrolled);
    }

    /// Overwrites the wide characters that the edge of a narrower screen would cut through: the parser cannot
    /// stand half of one.
    fn halve_nothing(&mut self, columns: u16) {
        let (rows, _) = self.parser.screen().size();
        let (row, column) = self.parser.screen().cursor_position();
        let is_wide = |row: &u16| self.parser.screen().cell(*row, columns - 1).is_some_and(|cell| cell.is_wide());
        let cut: Vec<u16> = (0..rows).filter(is_wide).collect();
        if cut.is_empty() {
            return;
        }
        // Rows are counted from the screen's top again after this.
        self.parser.process(b"\x1b[?6l");
        for row in cut {
            self.parser.process(format!("\x1b[{};{columns}H\x1b[K", row + 1).as_bytes());
        }
        self.parser.process(format!("\x1b[{};{}H", row + 1, column + 1).as_bytes());
    }

    /// Takes what the program wrote. Answers with what the terminal says to it.
    pub fn write(&mut self, bytes: &[u8]) -> Vec<u8> {
        let bounded: Vec<u8> = bytes.iter().copied().filter(|byte| self.within.passes(*byte)).collect();
        self.parser.process(&bounded);
        std::mem::take(&mut self.parser.callbacks_mut().0)
    }

    pub fn application_cursor(&self) -> bool {
        self.parser.screen().application_cursor()
    }

    pub fn bracketed_paste(&self) -> bool {
        self.parser.screen().bracketed_paste()
    }

    /// Whether a program has the whole screen, as editors and pagers do.
    pub fn alternate(&self) -> bool {
        self.parser.screen().alternate_screen()
    }

    /// Rows that lie between the screen's end and what is shown.
    pub fn scrolled(&self) -> usize {
        self.parser.screen().scrollback()
    }

    /// Shows what is further up, or down again; as far as it goes.
    pub fn scroll(&mut self, rows: isize) {
        let to = self.scrolled().saturating_add_signed(rows).min(SCROLLBACK);
        self.parser.screen_mut().set_scrollback(to);
    }

    /// Rows of what went by and of the screen.
    fn rows(&mut self) -> usize {
        self.passed() + usize::from(self.parser.screen().size().0)
    }

    /// Rows that have left the screen at the top and are kept.
    fn passed(&mut self) -> usize {
        let scrolled = self.scrolled();
        self.parser.screen_mut().set_scrollback(SCROLLBACK);
        let passed = self.scrolled();
        self.parser.screen_mut().set_scrollback(scrolled);
        passed
    }

    /// The rows that hold a text, in whatever case; counted from the oldest that is kept.
    pub fn find(&mut self, needle: &str) -> Vec<usize> {
        let needle = needle.to_lowercase();
        if needle.is_empty() {
            return Vec::new();
        }
        let (height, columns) = self.parser.screen().size();
        let (scrolled, passed, total) = (self.scrolled(), self.passed(), self.rows());
        let mut hits = Vec::new();
        // A screenful at a time; the last one overlaps the one before.
        let mut row = 0;
        while row < total {
            let top = row.min(passed);
            self.parser.screen_mut().set_scrollback(passed - top);
            let shown = self.parser.screen().rows(0, columns).enumerate().skip(row - top);
            hits.extend(shown.filter(|(_, text)| text.to_lowercase().contains(&needle)).map(|(at, _)| top + at));
            row = top + usize::from(height);
        }
        self.parser.screen_mut().set_scrollback(scrolled);
        hits
    }

    /// Scrolls so that a row of [`Terminal::find`] is in sight, as little as can be.
    pub fn bring(&mut self, row: usize) {
        let height = usize::from(self.parser.screen().size().0);
        let passed = self.passed();
        let top = passed - self.scrolled().min(passed);
        let top = if row < top { row } else { top.max((row + 1).saturating_sub(height)) };
        self.parser.screen_mut().set_scrollback(passed.saturating_sub(top));
    }

    /// The line of the screen that shows a row of [`Terminal::find`], if it is in sight.
    pub fn line_of(&mut self, row: usize) -> Option<u16> {
        let top = self.passed() - self.scrolled();
        let line = row.checked_sub(top)?;
        (line < usize::from(self.parser.screen().size().0)).then_some(line as u16)
    }

    pub fn render(&self, area: Rect, buffer: &mut Buffer, look: &Look, cursor: bool) {
        let reversed = look.text.add_modifier(Modifier::REVERSED);
        let cursor = Cursor::default().visibility(cursor).symbol(" ").style(reversed).overlay_style(reversed);
        PseudoTerminal::new(self.parser.screen()).cursor(cursor).render(area, buffer);
        for y in area.top()..area.bottom() {
            for x in area.left()..area.right() {
                let cell = &mut buffer[(x, y)];
                let style = look.fit(cell.style());
                (cell.fg, cell.bg) = (style.fg.unwrap_or_default(), style.bg.unwrap_or_default());
                if cell.symbol().chars().any(text::is_harmful) {
                    cell.set_symbol(if text::width(cell.symbol()) > 1 { "??" } else { "?" });
                }
            }
        }
    }
}

/// What the terminal says in answer to questions. What else a program wants of a terminal — its title, its size,
/// its clipboard — it does not get.
#[derive(Default)]
struct Answers(Vec<u8>);

impl Answers {
    fn say(&mut self, answer: &str) {
        if self.0.len() + answer.len() <= ANSWERS {
            self.0.extend_from_slice(answer.as_bytes());
        }
    }
}

impl Callbacks for Answers {
    fn unhandled_csi(
        &mut self,
        screen: &mut Screen,
        first: Option<u8>,
        second: Option<u8>,
        params: &[&[u16]],
        c: char,
    ) {
        let number = params.first().and_then(|it| it.first()).copied().unwrap_or(0);
        match (first, second, c, number) {
            // Device status: all is well.
            (None, None, 'n', 5) => self.say("\x1b[0n"),
            // Where the cursor is.
            (None | Some(b'?'), None, 'n', 6) => {
                let (row, column) = screen.cursor_position();
                let mark = if first.is_some() { "?" } else { "" };
                self.say(&format!("\x1b[{mark}{};{}R", row + 1, column + 1));
            }
            // What it is: a VT100 with advanced video; and by a later question, no version of anything.
            (None, None, 'c', 0) => self.say("\x1b[?1;2c"),
            (Some(b'>'), None, 'c', 0) => self.say("\x1b[>0;0;0c"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::theme::{Depth, Theme};
    use proptest::prelude::*;

    fn check(bytes: &[u8], expected: &str) {
        let mut terminal = Terminal::new(20, 5);
        assert_eq!(String::from_utf8(terminal.write(bytes)).unwrap(), expected, "{}", bytes.escape_ascii());
    }

    #[test]
    fn questions_are_answered() {
        check(b"\x1b[6n", "\x1b[1;1R");
        check(b"ab\r\ncde\x1b[6n", "\x1b[2;4R");
        check(b"\x1b[?6n", "\x1b[?1;1R");
        check(b"\x1b[5n", "\x1b[0n");
        check(b"\x1b[c\x1b[0c", "\x1b[?1;2c\x1b[?1;2c");
        check(b"\x1b[>c", "\x1b[>0;0;0c");
        check(b"\x1b[7n\x1b[1c\x1b]52;c;eA==\x07\x1b]0;title\x07\x1b[8;99;99t\x1b[14t", "");
        let flood = b"\x1b[5n".repeat(10_000);
        assert!(Terminal::new(20, 5).write(&flood).len() <= ANSWERS);
    }

    #[test]
    fn commands_are_cut() {
        let check = |written: &[u8], passes: usize| {
            let mut within = Within::Text;
            assert_eq!(written.iter().filter(|byte| within.passes(**byte)).count(), passes);
        };
        let long = |start: &str, end: &str| format!("{start}{}{end}", "x".repeat(2 * COMMAND)).into_bytes();
        check(&long("\x1b]", ""), 2 + COMMAND);
        check(&long("\x1b]", "\x07after"), 2 + COMMAND + 6);
        check(&long("\x1b]", "\x1b\\after"), 2 + COMMAND + 7);
        check(&long("\x1b\x1b\r]0;", "\x18a"), 4 + COMMAND + 2);
        check(&long("a]\x1b[]", ""), 5 + 2 * COMMAND);
        let mut terminal = Terminal::new(20, 2);
        terminal.write(&long("a\x1b]0;", "\x07b"));
        assert_eq!(drawn(&terminal, 20, 2), "ab\n");
    }

    #[test]
    fn modes_are_kept() {
        let mut terminal = Terminal::new(20, 5);
        assert!(!terminal.application_cursor() && !terminal.bracketed_paste() && !terminal.alternate());
        terminal.write(b"\x1b[?1h\x1b[?2004h\x1b[?1049h");
        assert!(terminal.application_cursor() && terminal.bracketed_paste() && terminal.alternate());
    }

    fn drawn(terminal: &Terminal, width: u16, height: u16) -> String {
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        terminal.render(area, &mut buffer, &Look::new(&Theme::dark(), Depth::Ansi16, false), true);
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_has_gone_by_can_be_seen_again() {
        let mut terminal = Terminal::new(10, 2);
        terminal.write(b"1\r\n2\r\n3\r\n4");
        assert_eq!(drawn(&terminal, 10, 2), "3\n4");
        terminal.scroll(1);
        assert_eq!(drawn(&terminal, 10, 2), "2\n3");
        terminal.scroll(9);
        assert_eq!((terminal.scrolled(), drawn(&terminal, 10, 2)), (2, "1\n2".to_owned()));
        terminal.scroll(-9);
        assert_eq!(drawn(&terminal, 10, 2), "3\n4");
    }

    #[test]
    fn what_has_gone_by_can_be_searched() {
        let mut terminal = Terminal::new(10, 3);
        let lines: String = (1..=30).map(|n| format!("row {n}\r\n")).collect();
        terminal.write(format!("{lines}Row 3 end").as_bytes());
        let all: Vec<usize> = std::iter::once(2).chain([29]).chain([30]).collect();
        assert_eq!(terminal.find("ROW 3"), all);
        assert_eq!((terminal.find("row 7"), terminal.find("nothing"), terminal.find("")), (vec![6], vec![], vec![]));
        assert_eq!(drawn(&terminal, 10, 3), "row 29\nrow 30\nRow 3 end");
        terminal.bring(6);
        assert_eq!((drawn(&terminal, 10, 3), terminal.line_of(6)), ("row 7\nrow 8\nrow 9".to_owned(), Some(0)));
        terminal.bring(9);
        assert_eq!((terminal.line_of(9), terminal.line_of(6)), (Some(2), None));
        terminal.bring(30);
        assert_eq!(terminal.scrolled(), 0);
    }

    #[test]
    fn wide_characters_are_not_cut_through() {
        let mut terminal = Terminal::new(6, 3);
        terminal.write("漢字漢\r\n12漢字\x1b[?1049h12漢\x1b[1;4H".as_bytes());
        terminal.resize(3, 3);
        assert_eq!(drawn(&terminal, 3, 3), "12\n\n");
        terminal.write(b"\x1b[?1049l");
        assert_eq!(drawn(&terminal, 6, 3), "漢\n12\n");
        terminal.write("\x1b[1;3Hx\x1b[2;3Hy".as_bytes());
        assert_eq!(drawn(&terminal, 6, 3), "漢 x\n12y\n");
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let sequence = "\u{1b}\\[[?>]?([0-9]{0,3};){0,2}[0-9]{0,5}[@-~]".prop_map(String::into_bytes);
        let text = "[a-z漢\u{301}\u{202e}\u{200b}\u{9b}🦀 \t\r\n]{0,12}".prop_map(String::into_bytes);
        let escape = "\u{1b}[ -~]{1,2}".prop_map(String::into_bytes);
        let raw = prop::collection::vec(any::<u8>(), 0..12);
        prop::collection::vec(prop_oneof![sequence, text, escape, raw], 0..24).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_bytes_are_drawn_harmless(
            parts in prop::collection::vec((bytes(), 1u16..40, 1u16..10, -5isize..5), 1..6),
            width in 0u16..50,
            height in 0u16..12,
        ) {
            let mut terminal = Terminal::new(20, 5);
            for (bytes, columns, rows, scroll) in parts {
                terminal.write(&bytes);
                terminal.resize(columns, rows);
                terminal.scroll(scroll);
                terminal.write(&bytes);
                prop_assert!(terminal.parser.screen().size() == (rows.max(LEAST), columns.max(LEAST)));
            }
            let screen = drawn(&terminal, width, height);
            prop_assert!(!screen.chars().any(|c| c != '\n' && text::is_harmful(c)), "{screen:?}");
        }
    }
}
