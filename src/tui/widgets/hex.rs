//! A file's bytes in hexadecimal, read in blocks as they are looked at.

use super::ansi::Line;
use super::pager::Text;
use ratatui::style::{Modifier, Style};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::Write;

/// Bytes of a block.
pub const BLOCK: usize = 64 << 10;
/// Bytes that are read beyond a block, so that what is searched for is found across its end.
pub const OVERLAP: usize = 256;
/// Blocks that are kept.
const KEPT: usize = 6;

#[derive(Debug)]
pub struct Hex {
    size: u64,
    read: VecDeque<(usize, Vec<u8>)>,
    /// Bytes of a row: 16, or 8 where there is little room.
    row: usize,
    /// The byte that was found last, and how many.
    pub hit: Option<(u64, usize)>,
}

impl Hex {
    pub fn new(size: u64) -> Hex {
        Hex { size, read: VecDeque::new(), row: 16, hit: None }
    }

    pub fn blocks(&self) -> usize {
        usize::try_from(self.size.div_ceil(BLOCK as u64)).unwrap_or(usize::MAX)
    }

    pub fn has(&self, block: usize) -> bool {
        self.read.iter().any(|(it, _)| *it == block)
    }

    pub fn offset(&self, block: usize) -> u64 {
        block as u64 * BLOCK as u64
    }

    pub fn block_of(&self, row: usize) -> usize {
        row / (BLOCK / self.row)
    }

    pub fn row_of(&self, byte: u64) -> usize {
        usize::try_from(byte / self.row as u64).unwrap_or(usize::MAX)
    }

    pub fn byte_of(&self, row: usize) -> u64 {
        row as u64 * self.row as u64
    }

    /// Takes what was read at [`Hex::offset`], [`BLOCK`] and [`OVERLAP`] bytes at most.
    pub fn take(&mut self, block: usize, bytes: Vec<u8>) {
        let end = self.offset(block) + bytes.len() as u64;
        if bytes.len() < BLOCK + OVERLAP && end < self.size {
            // The file is shorter than it was said to be.
            self.size = end;
        }
        if !self.has(block) {
            self.read.push_back((block, bytes));
            if self.read.len() > KEPT {
                self.read.pop_front();
            }
        }
    }

    /// Chooses how many bytes a row has. Answers with the row that `row` becomes.
    pub fn fit(&mut self, width: usize, row: usize) -> usize {
        let byte = self.byte_of(row);
        self.row = if width >= ROOMY { 16 } else { 8 };
        self.row_of(byte)
    }

    /// The first place in a block where these bytes are, from a byte on or before it.
    pub fn find(&self, block: usize, needle: &[u8], from: u64, forward: bool) -> Option<u64> {
        let (_, bytes) = self.read.iter().find(|(it, _)| *it == block)?;
        let start = self.offset(block);
        let middle = usize::try_from(from.saturating_sub(start)).unwrap_or(usize::MAX);
        let starts = BLOCK.min((bytes.len() + 1).saturating_sub(needle.len()));
        let is_here = |at: &usize| bytes.get(*at..*at + needle.len()) == Some(needle);
        let found = match forward {
            true => (middle.min(starts)..starts).find(is_here),
            false => (0..middle.min(starts)).rev().find(is_here),
        };
        found.map(|at| start + at as u64)
    }

    fn bytes(&self, row: usize) -> Option<&[u8]> {
        let block = self.block_of(row);
        let (_, bytes) = self.read.iter().find(|(it, _)| *it == block)?;
        let start = usize::try_from(self.byte_of(row) - self.offset(block)).ok()?;
        bytes.get(start..bytes.len().min(start + self.row))
    }
}

/// Columns of a row of 16 bytes.
const ROOMY: usize = 10 + 16 * 3 + 1 + 1 + 16;

impl Text for Hex {
    fn len(&self) -> usize {
        usize::try_from(self.size.div_ceil(self.row as u64)).unwrap_or(usize::MAX)
    }

    fn line(&self, index: usize) -> Option<Cow<'_, Line>> {
        let bytes = self.bytes(index)?;
        let dim = Style::new().add_modifier(Modifier::DIM);
        let marked = Style::new().add_modifier(Modifier::REVERSED);
        let first = self.byte_of(index);
        let style = |at: usize| {
            let at = first + at as u64;
            let is_hit = self.hit.is_some_and(|(hit, length)| (hit..hit + length as u64).contains(&at));
            if is_hit { marked } else { Style::new() }
        };
        let mut text = String::new();
        let mut runs: Vec<(u32, Style)> = Vec::new();
        let mut write = |piece: std::fmt::Arguments<'_>, style: Style| {
            let _ = text.write_fmt(piece);
            runs.push((text.len() as u32, style));
        };
        write(format_args!("{first:08x}  "), dim);
        for at in 0..self.row {
            match bytes.get(at) {
                Some(byte) => {
                    write(format_args!("{byte:02x}"), if *byte == 0 { dim.patch(style(at)) } else { style(at) })
                }
                None => write(format_args!("  "), Style::new()),
            }
            write(format_args!("{}", if at == self.row / 2 - 1 { "  " } else { " " }), Style::new());
        }
        write(format_args!(" "), Style::new());
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                0x20..=0x7e => write(format_args!("{}", char::from(*byte)), style(at)),
                _ => write(format_args!("."), dim.patch(style(at))),
            }
        }
        Some(Cow::Owned(Line { text: text.into(), runs: runs.into(), stderr: false }))
    }
}

/// What a search text stands for: bytes in hexadecimal, if that is what it looks like (`7f 45 4c`), else itself.
pub fn needle(text: &str) -> Vec<u8> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let byte = |word: &&str| (word.len() == 2).then(|| u8::from_str_radix(word, 16).ok()).flatten();
    let bytes: Option<Vec<u8>> = words.iter().map(byte).collect();
    let bytes = bytes.filter(|bytes| bytes.len() > 1).unwrap_or_else(|| text.as_bytes().to_vec());
    bytes[..bytes.len().min(OVERLAP)].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(content: &[u8]) -> Hex {
        let mut hex = Hex::new(content.len() as u64);
        for block in 0..hex.blocks() {
            let start = hex.offset(block) as usize;
            hex.take(block, content[start..content.len().min(start + BLOCK + OVERLAP)].to_vec());
        }
        hex
    }

    fn lines(hex: &Hex) -> Vec<String> {
        (0..hex.len()).map(|row| hex.line(row).unwrap().text.to_string()).collect()
    }

    #[test]
    fn bytes_are_shown_both_ways() {
        let mut shown = hex(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x1b[31m\xff");
        let expected = [
            "00000000  7f 45 4c 46 02 01 01 00  00 00 00 00 00 00 00 00  .ELF............",
            "00000010  1b 5b 33 31 6d ff                                 .[31m.",
        ];
        assert_eq!(lines(&shown), expected);
        assert_eq!(shown.fit(60, 1), 2);
        assert_eq!(lines(&shown)[2], "00000010  1b 5b 33 31  6d ff        .[31m.");
        assert_eq!(shown.fit(120, 2), 1);
        assert_eq!(hex(b"").len(), 0);
    }

    #[test]
    fn what_is_searched_for_is_found_across_blocks() {
        let mut content = vec![0; 3 * BLOCK];
        content[2 * BLOCK - 2..2 * BLOCK + 2].copy_from_slice(b"ELF!");
        let shown = hex(&content);
        let at = 2 * BLOCK as u64 - 2;
        assert_eq!(shown.find(1, &needle("ELF"), 0, true), Some(at));
        assert_eq!(shown.find(1, &needle("ELF"), at, false), None);
        assert_eq!(shown.find(1, &needle("45 4c 46"), at + 1, false), Some(at));
        assert_eq!(shown.find(2, &needle("ELF"), 0, true), None);
        assert_eq!(needle("7f45"), b"7f45");
        assert_eq!(needle("7f 45"), [0x7f, 0x45]);
    }

    #[test]
    fn a_file_that_is_shorter_than_said_ends_where_it_ends() {
        let mut shown = Hex::new(1 << 40);
        shown.take(0, vec![1; 20]);
        assert_eq!(shown.len(), 2);
    }
}
