//! What differs between two contents of a file, line by line.

use bstr::{BString, ByteSlice};
use similar::{Algorithm, DiffOp, capture_diff_slices_deadline, group_diff_ops};
use std::time::{Duration, Instant};

/// Contents larger than this are not compared line by line.
pub const LIMIT: usize = 4 << 20;
/// Nor are those of more lines than this.
const LINES: usize = 500_000;
/// Lines that are the same around each change.
const CONTEXT: usize = 3;
/// After this, what is left is compared in larger pieces.
const PATIENCE: Duration = Duration::from_secs(1);
/// As far as a content is looked into for a zero byte.
const SNIFFED: usize = 8 << 10;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Patch {
    Same,
    /// At least one of them is not text.
    Binary,
    /// At least one of them is larger than [`LIMIT`], or has too many lines.
    TooLarge,
    Text(Vec<Hunk>),
}

/// A stretch of changed lines with those around them. Lines are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hunk {
    pub old_start: usize,
    pub old_lines: usize,
    pub new_start: usize,
    pub new_lines: usize,
    pub lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub sign: Sign,
    /// Without its line feed; not safe to print.
    pub text: BString,
    /// The file ends here without a line feed.
    pub unended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    Same,
    Removed,
    Added,
}

impl Sign {
    pub fn char(self) -> char {
        match self {
            Sign::Same => ' ',
            Sign::Removed => '-',
            Sign::Added => '+',
        }
    }
}

impl Hunk {
    /// As unified diffs have it: `@@ -3,7 +3,8 @@`.
    pub fn header(&self) -> String {
        let range = |start: usize, lines: usize| match lines {
            // A side with no lines names the line before.
            0 => format!("{},0", start.saturating_sub(1)),
            1 => start.to_string(),
            _ => format!("{start},{lines}"),
        };
        format!("@@ -{} +{} @@", range(self.old_start, self.old_lines), range(self.new_start, self.new_lines))
    }
}

impl Patch {
    /// Compares two contents; a file that is not there counts as empty.
    pub fn between(old: &[u8], new: &[u8]) -> Patch {
        if old == new {
            return Patch::Same;
        }
        if old.len() > LIMIT || new.len() > LIMIT {
            return Patch::TooLarge;
        }
        if is_binary(old) || is_binary(new) {
            return Patch::Binary;
        }
        let old: Vec<&[u8]> = old.lines_with_terminator().collect();
        let new: Vec<&[u8]> = new.lines_with_terminator().collect();
        if old.len() > LINES || new.len() > LINES {
            return Patch::TooLarge;
        }
        let deadline = Instant::now().checked_add(PATIENCE);
        let operations = capture_diff_slices_deadline(Algorithm::Myers, &old, &new, deadline);
        let groups = group_diff_ops(operations, CONTEXT);
        Patch::Text(groups.iter().filter_map(|group| hunk(group, &old, &new)).collect())
    }

    /// What its lines take in memory.
    pub fn bytes(&self) -> usize {
        let Patch::Text(hunks) = self else { return 0 };
        hunks.iter().flat_map(|hunk| &hunk.lines).map(|line| size_of::<Line>() + line.text.len()).sum()
    }
}

/// Whether a content is not text: it has a zero byte near its beginning.
pub fn is_binary(content: &[u8]) -> bool {
    content.iter().take(SNIFFED).any(|byte| *byte == 0)
}

fn hunk(group: &[DiffOp], old: &[&[u8]], new: &[&[u8]]) -> Option<Hunk> {
    let (first, last) = (group.first()?, group.last()?);
    let old_range = first.old_range().start..last.old_range().end;
    let new_range = first.new_range().start..last.new_range().end;
    let mut lines = Vec::new();
    let mut take = |sign: Sign, from: &[&[u8]], range: std::ops::Range<usize>| {
        lines.extend(from.get(range).unwrap_or_default().iter().map(|text| {
            let (text, unended) = match text.strip_suffix(b"\n") {
                Some(text) => (text, false),
                None => (*text, true),
            };
            Line { sign, text: text.into(), unended }
        }));
    };
    for operation in group {
        match operation {
            DiffOp::Equal { .. } => take(Sign::Same, old, operation.old_range()),
            _ => {
                take(Sign::Removed, old, operation.old_range());
                take(Sign::Added, new, operation.new_range());
            }
        }
    }
    Some(Hunk {
        old_start: old_range.start + 1,
        old_lines: old_range.len(),
        new_start: new_range.start + 1,
        new_lines: new_range.len(),
        lines,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rendered(patch: &Patch) -> String {
        let Patch::Text(hunks) = patch else { return format!("{patch:?}") };
        let mut out = String::new();
        for hunk in hunks {
            out.push_str(&format!("{}\n", hunk.header()));
            for line in &hunk.lines {
                let end = if line.unended { "\\" } else { "" };
                out.push_str(&format!("{}{}{end}\n", line.sign.char(), line.text));
            }
        }
        out
    }

    fn check(old: &str, new: &str, expected: &str) {
        assert_eq!(rendered(&Patch::between(old.as_bytes(), new.as_bytes())), expected);
    }

    #[test]
    fn shows_what_changed_with_lines_around_it() {
        check("a\nb\nc\nd\ne\nf\n", "a\nb\nc\nd\nE\nf\n", "@@ -2,5 +2,5 @@\n b\n c\n d\n-e\n+E\n f\n");
        check("", "a\n", "@@ -0,0 +1 @@\n+a\n");
        check("a\n", "", "@@ -1 +0,0 @@\n-a\n");
        check("a\n", "a", "@@ -1 +1 @@\n-a\n+a\\\n");
        check("a\r\n", "a\n", "@@ -1 +1 @@\n-a\r\n+a\n");
        let far: String = (0..20).map(|n| format!("{n}\n")).collect();
        let two = Patch::between(far.as_bytes(), far.replace("1\n", "x\n").as_bytes());
        assert!(matches!(two, Patch::Text(hunks) if hunks.len() == 2));
    }

    #[test]
    fn says_what_it_does_not_compare() {
        check("a", "a", "Same");
        check("a", "a\0", "Binary");
        assert_eq!(Patch::between(b"", &vec![b'x'; LIMIT + 1]), Patch::TooLarge);
        assert_eq!(Patch::between(&vec![b'x'; LIMIT + 1], &vec![b'x'; LIMIT + 1]), Patch::Same);
    }

    fn lines() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(
            prop_oneof![Just("a\n"), Just("b\n"), Just("\u{1b}[2J\n"), Just("\n"), Just("end")],
            0..40,
        )
        .prop_map(|lines| lines.concat().into_bytes())
    }

    proptest! {
        /// The hunks, put to the old content, give the new one.
        #[test]
        fn a_patch_can_be_applied(old in lines(), new in lines()) {
            let patch = Patch::between(&old, &new);
            let hunks = match patch {
                Patch::Same => Vec::new(),
                Patch::Text(hunks) => hunks,
                other => panic!("{other:?}"),
            };
            let source: Vec<&[u8]> = old.lines_with_terminator().collect();
            let (mut at, mut out) = (0, Vec::new());
            for hunk in hunks {
                out.extend(source[at..hunk.old_start - 1].concat());
                at = hunk.old_start - 1 + hunk.old_lines;
                prop_assert_eq!(out.lines_with_terminator().count(), hunk.new_start - 1);
                for line in hunk.lines.iter().filter(|line| line.sign != Sign::Removed) {
                    out.extend_from_slice(&line.text);
                    if !line.unended {
                        out.push(b'\n');
                    }
                }
            }
            out.extend(source[at..].concat());
            prop_assert_eq!(BString::from(out), BString::from(new));
        }
    }
}
