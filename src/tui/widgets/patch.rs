//! A difference between two texts, as lines to scroll through.

use super::ansi::Line as Drawn;
use super::paged::printable;
use super::pager::Text;
use super::syntax::{Run, Tones};
use crate::layers::patch::{Hunk, Line, Sign};
use std::borrow::Cow;

#[derive(Debug)]
pub struct PatchText {
    rows: Vec<Row>,
    /// The largest line number.
    most: usize,
}

#[derive(Debug)]
enum Row {
    /// A hunk's beginning.
    Header(String),
    Line {
        old: Option<usize>,
        new: Option<usize>,
        line: Line,
        /// As it is shown, behind its sign.
        tones: Box<[Run]>,
    },
    /// The line above ends the file without a line feed.
    Unended(Sign),
}

impl PatchText {
    /// `tones` has what the words of the old and the new content are.
    pub fn new(hunks: &[Hunk], tones: &[Tones; 2]) -> PatchText {
        let mut rows = Vec::new();
        let mut most = 0;
        for hunk in hunks {
            rows.push(Row::Header(hunk.header()));
            let (mut old, mut new) = (hunk.old_start, hunk.new_start);
            for line in &hunk.lines {
                let in_old = line.sign != Sign::Added;
                let in_new = line.sign != Sign::Removed;
                let of = match in_new {
                    true => tones[1].line(new.saturating_sub(1)),
                    false => tones[0].line(old.saturating_sub(1)),
                };
                let shifted = of.unwrap_or_default().iter().map(|(end, tone)| (end + 1, *tone));
                let tones = Some((1, None)).filter(|_| of.is_some_and(|of| !of.is_empty()));
                rows.push(Row::Line {
                    old: in_old.then_some(old),
                    new: in_new.then_some(new),
                    line: line.clone(),
                    tones: tones.into_iter().chain(shifted).collect(),
                });
                old += usize::from(in_old);
                new += usize::from(in_new);
                if line.unended {
                    rows.push(Row::Unended(line.sign));
                }
            }
            most = most.max(old).max(new);
        }
        PatchText { rows, most }
    }

    /// Columns of a line number.
    pub fn digits(&self) -> usize {
        self.most.max(99).to_string().len()
    }

    /// The line's numbers before and after.
    pub fn gutter(&self, row: usize) -> String {
        let digits = self.digits();
        let number = |number: &Option<usize>| number.map(|it| it.to_string()).unwrap_or_default();
        match self.rows.get(row) {
            Some(Row::Line { old, new, .. }) => format!("{:>digits$} {:>digits$} ", number(old), number(new)),
            _ => String::new(),
        }
    }

    /// What the words of a row are, its sign included.
    pub fn tones(&self, row: usize) -> Option<&[Run]> {
        match self.rows.get(row)? {
            Row::Line { tones, .. } => Some(tones),
            Row::Header(_) | Row::Unended(_) => None,
        }
    }

    /// `None` for the head of a hunk.
    pub fn sign(&self, row: usize) -> Option<Sign> {
        match self.rows.get(row)? {
            Row::Header(_) => None,
            Row::Line { line, .. } => Some(line.sign),
            Row::Unended(sign) => Some(*sign),
        }
    }
}

impl Text for PatchText {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn line(&self, index: usize) -> Option<Cow<'_, Drawn>> {
        let plain = |text: &str| Drawn { text: text.into(), ..Drawn::default() };
        let line = match self.rows.get(index)? {
            Row::Header(header) => plain(header),
            Row::Unended(_) => plain("  no line feed at the end"),
            Row::Line { line, .. } => {
                let mut drawn = printable(&line.text);
                let sign = line.sign.char();
                drawn.text = format!("{sign}{}", drawn.text).into();
                drawn.runs.iter_mut().for_each(|(end, _)| *end += 1);
                drawn
            }
        };
        Some(Cow::Owned(line))
    }
}

#[cfg(test)]
mod tests {
    use super::super::pager;
    use super::*;
    use crate::layers::Patch;

    fn check(old: &str, new: &str, expected: &[&str]) {
        let Patch::Text(hunks) = Patch::between(old.as_bytes(), new.as_bytes()) else { panic!() };
        let text = PatchText::new(&hunks, &Default::default());
        let rows: Vec<_> =
            (0..text.len()).map(|row| format!("{}{}", text.gutter(row), text.line(row).unwrap().text)).collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn rows_have_both_numbers() {
        let expected =
            ["@@ -1,3 +1,3 @@", " 1  1  a", " 2    -b^M", "    2 +B", " 3  3  c", "  no line feed at the end"];
        check("a\nb\r\nc", "a\nB\nc", &expected);
    }

    #[test]
    fn hits_go_around() {
        let Patch::Text(hunks) = Patch::between(b"x\ny\n", b"z\nx\n") else { panic!() };
        let text = PatchText::new(&hunks, &Default::default());
        assert_eq!(
            (pager::count(&text, "x"), pager::find(&text, "x", 0, true), pager::find(&text, "x", 3, true)),
            (1, Some(2), Some(2))
        );
        assert_eq!((pager::find(&text, "z", 1, false), pager::find(&text, "nothing", 0, true)), (Some(1), None));
    }
}
