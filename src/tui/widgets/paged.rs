//! A file's text, read in pieces as it is looked at, so that its size does not matter.
//!
//! The pieces are a chain: where one ends the next begins. What was read is forgotten again but for the pieces
//! seen last; where each began is kept.

use super::ansi::Line;
use super::pager::{self, Text};
use crate::tui::text;
use ratatui::style::{Modifier, Style};
use std::borrow::Cow;
use std::collections::VecDeque;

/// Bytes of a piece.
pub const PIECE: usize = 256 << 10;
/// Pieces that are kept.
const KEPT: usize = 6;
/// Bytes of a row; what a line has beyond them goes on in the next row.
const ROW: usize = 4 << 10;

#[derive(Debug, Default)]
pub struct Paged {
    pieces: Vec<Start>,
    read: VecDeque<Piece>,
    /// Where the piece after the last known one begins.
    next: Start,
    complete: bool,
}

/// Where a piece begins: its first byte, its first row, the lines before it, and whether it begins in a line.
#[derive(Debug, Clone, Copy, Default)]
struct Start {
    byte: u64,
    row: usize,
    lines: usize,
    within: bool,
}

#[derive(Debug)]
struct Piece {
    index: usize,
    bytes: Vec<u8>,
    rows: Vec<Row>,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    start: u32,
    end: u32,
    /// Its line's number among those that begin in the piece; 0 if the row does not begin a line.
    line: u32,
}

impl Paged {
    /// Whether the end has been seen, and so all rows are known.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// How many pieces are known to be there.
    pub fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// How far it has been read at least once.
    pub fn known_bytes(&self) -> u64 {
        self.next.byte
    }

    /// Lines that are known.
    pub fn lines(&self) -> usize {
        self.next.lines
    }

    /// The beginning of the text, while it is at hand.
    pub fn beginning(&self) -> Option<&[u8]> {
        self.read.iter().find(|piece| piece.index == 0).map(|piece| piece.bytes.as_slice())
    }

    /// The offset to read at for a piece, which is one of those known or the next after them.
    pub fn offset(&self, piece: usize) -> u64 {
        self.start(piece).byte
    }

    pub fn has(&self, piece: usize) -> bool {
        self.read.iter().any(|it| it.index == piece)
    }

    /// The piece that a row is in; of a row that is not known, the next.
    pub fn piece_of(&self, row: usize) -> usize {
        match row < self.next.row {
            true => self.pieces.partition_point(|piece| piece.row <= row).saturating_sub(1),
            false => self.pieces.len(),
        }
    }

    /// The number of the line that a row begins.
    pub fn number(&self, row: usize) -> Option<usize> {
        let piece = self.piece_of(row);
        let start = self.start(piece);
        let found = self.read.iter().find(|it| it.index == piece)?.rows.get(row - start.row)?;
        (found.line > 0).then_some(start.lines + found.line as usize)
    }

    /// Takes in what was read at [`Paged::offset`]. Fewer bytes than [`PIECE`] are the file's end.
    pub fn take(&mut self, index: usize, bytes: Vec<u8>) {
        let ends = bytes.len() < PIECE;
        let start = self.start(index);
        let (mut rows, mut lines, mut within) = (Vec::new(), 0, start.within);
        let mut at = 0;
        while let Some((length, ended)) = bytes.get(at..).and_then(|rest| row_length(rest, ends)) {
            lines += u32::from(!within);
            let line = if within { 0 } else { lines };
            let end = at + length - usize::from(ended);
            rows.push(Row { start: at as u32, end: end as u32, line });
            within = !ended;
            at += length;
        }
        if index == self.pieces.len() && !self.complete {
            self.complete = ends;
            if !rows.is_empty() {
                self.pieces.push(start);
                let (byte, row) = (start.byte + at as u64, start.row + rows.len());
                self.next = Start { byte, row, lines: start.lines + lines as usize, within };
            }
        }
        if !self.has(index) && index < self.pieces.len() {
            self.read.push_back(Piece { index, bytes, rows });
            if self.read.len() > KEPT {
                self.read.pop_front();
            }
        }
    }

    /// The first row of a piece that holds a text, from a row on or before it. Of a piece that is not at hand,
    /// none.
    pub fn find(&self, index: usize, needle: &str, from: usize, forward: bool) -> Option<usize> {
        let piece = self.read.iter().find(|it| it.index == index)?;
        let first = self.start(index).row;
        let holds = |at: &usize| piece.line(*at).is_some_and(|line| pager::holds(&line.text, needle));
        let middle = from.saturating_sub(first).min(piece.rows.len());
        let found = match forward {
            true => (middle..piece.rows.len()).find(holds),
            false => (0..middle).rev().find(holds),
        };
        found.map(|at| first + at)
    }

    fn start(&self, piece: usize) -> Start {
        self.pieces.get(piece).copied().unwrap_or(self.next)
    }
}

impl Piece {
    fn line(&self, row: usize) -> Option<Line> {
        let row = self.rows.get(row)?;
        self.bytes.get(row.start as usize..row.end as usize).map(printable)
    }
}

impl Text for Paged {
    fn len(&self) -> usize {
        self.next.row
    }

    fn line(&self, index: usize) -> Option<Cow<'_, Line>> {
        let piece = self.piece_of(index);
        let first = self.start(piece).row;
        let piece = self.read.iter().find(|it| it.index == piece)?;
        piece.line(index.checked_sub(first)?).map(Cow::Owned)
    }
}

/// Bytes of the row at the beginning, its line feed included, and whether it has one. `None` if that cannot be
/// told before more is read.
fn row_length(bytes: &[u8], ends: bool) -> Option<(usize, bool)> {
    let head = &bytes[..bytes.len().min(ROW + 1)];
    if let Some(at) = head.iter().position(|byte| *byte == b'\n') {
        return Some((at + 1, true));
    }
    if bytes.len() > ROW {
        // A character is not cut through.
        let is_inner = |at: &usize| bytes[*at] & 0xc0 == 0x80;
        let cut = (ROW - 3..=ROW).rev().find(|at| !is_inner(at)).unwrap_or(ROW);
        return Some((cut, false));
    }
    (ends && !bytes.is_empty()).then_some((bytes.len(), false))
}

/// A line as it can be shown. What ends it besides a line feed is made to be seen.
pub fn printable(bytes: &[u8]) -> Line {
    let (content, ending) = match bytes.strip_suffix(b"\r") {
        Some(content) => (content, "^M"),
        None => (bytes, ""),
    };
    let mut shown = text::sanitise_bytes(content).into_owned();
    let end = shown.len() as u32;
    shown.push_str(ending);
    let mut runs = Vec::new();
    if !ending.is_empty() {
        runs.push((end, Style::new()));
        runs.push((shown.len() as u32, Style::new().add_modifier(Modifier::DIM)));
    }
    Line { text: shown.into(), runs: runs.into(), stderr: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads all of it, piece after piece.
    fn paged(content: &[u8]) -> Paged {
        let mut paged = Paged::default();
        while !paged.is_complete() {
            let next = paged.pieces();
            read(&mut paged, content, next);
        }
        paged
    }

    fn read(paged: &mut Paged, content: &[u8], piece: usize) {
        let offset = paged.offset(piece) as usize;
        paged.take(piece, content[offset..content.len().min(offset + PIECE)].to_vec());
    }

    /// Expects these rows with the numbers of their lines.
    fn check(content: &[u8], expected: &[(Option<usize>, &str)]) {
        let paged = paged(content);
        let rows: Vec<_> =
            (0..paged.len()).map(|row| (paged.number(row), paged.line(row).unwrap().text.clone())).collect();
        let rows: Vec<_> = rows.iter().map(|(number, text)| (*number, &**text)).collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn text_is_in_lines() {
        check(b"", &[]);
        check(b"one\n\ntwo", &[(Some(1), "one"), (Some(2), ""), (Some(3), "two")]);
        check(b"dos\r\n", &[(Some(1), "dos^M")]);
        check(b"a\tb\x1b\xff\n", &[(Some(1), "a       b^[\\xff")]);
    }

    #[test]
    fn long_lines_go_on_in_further_rows() {
        let mut content = vec![b'x'; ROW];
        content.push(b'\n');
        assert_eq!(paged(&content).len(), 1);
        content = "é".repeat(ROW).into_bytes();
        let long = paged(&content);
        assert_eq!((long.len(), long.lines()), (2, 1));
        assert_eq!((long.number(0), long.number(1)), (Some(1), None));
        content.insert(0, b'a');
        let long = paged(&content);
        assert!((0..long.len()).all(|row| !long.line(row).unwrap().text.contains("\\x")));
    }

    #[test]
    fn pieces_are_forgotten_and_read_again() {
        let content: Vec<u8> = (0..400_000).flat_map(|n| format!("{n}\n").into_bytes()).collect();
        let mut paged = paged(&content);
        assert_eq!(paged.len(), 400_000);
        assert_eq!(paged.number(399_999), Some(400_000));
        assert!(paged.read.len() == KEPT && paged.pieces() > KEPT);
        assert!(paged.line(0).is_none());
        assert_eq!(paged.find(0, "7", 0, true), None);
        read(&mut paged, &content, 0);
        assert_eq!(&*paged.line(12_345).unwrap().text, "12345");
        assert_eq!(paged.number(12_345), Some(12_346));
        let piece = paged.piece_of(12_345);
        assert_eq!(paged.find(piece, "12345", 0, true), Some(12_345));
        assert_eq!(paged.find(piece, "12345", 12_345, false), None);
        assert_eq!(paged.find(piece, "1234", 12_346, false), Some(12_345));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// However long the lines are, the rows make the content, and as many begin a line as there are.
        #[test]
        fn rows_make_the_content(lines in prop::collection::vec(prop_oneof![4 => 0usize..20, 1 => 0usize..3 * PIECE], 0..8), ended in any::<bool>()) {
            let mut content = lines.iter().map(|length| "x".repeat(*length)).collect::<Vec<_>>().join("\n").into_bytes();
            if ended {
                content.push(b'\n');
            }
            let mut paged = Paged::default();
            let (mut out, mut numbers) = (Vec::new(), Vec::new());
            while !paged.is_complete() {
                let (piece, first) = (paged.pieces(), paged.len());
                read(&mut paged, &content, piece);
                for row in first..paged.len() {
                    if let Some(number) = paged.number(row) {
                        if number > 1 {
                            out.push(b'\n');
                        }
                        numbers.push(number);
                    }
                    out.extend_from_slice(paged.line(row).unwrap().text.as_bytes());
                }
            }
            prop_assert_eq!(&numbers, &(1..=numbers.len()).collect::<Vec<_>>());
            prop_assert_eq!(numbers.len(), paged.lines());
            let expected = content.strip_suffix(b"\n").unwrap_or(&content);
            prop_assert!(out == expected || content == b"\n", "{} {}", out.len(), expected.len());
        }
    }
}
