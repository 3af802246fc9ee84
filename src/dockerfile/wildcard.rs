//! File name wildcards as the sources of COPY and ADD have them: `*`, `?`, `[a-c]`, `[^a]` and `\`.
//!
//! The rules are those of Go's `path/filepath.Match` on Unix, which the official builder uses. Names are bytes;
//! `?` and classes take one UTF-8 character, or one byte where there is none.

/// A pattern that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the pattern {pattern:?} is malformed: {problem}")]
pub struct BadPattern {
    pub pattern: String,
    pub problem: &'static str,
}

/// Whether `pattern` matches the whole of `name`. `*` and `?` do not match `/`.
pub fn wildcard_match(pattern: &[u8], name: &[u8]) -> Result<bool, BadPattern> {
    Ok(Wildcard::new(pattern)?.matches(name))
}

/// Whether the pattern has a character that means more than itself. One without is no pattern for BuildKit but a name,
/// with the backslashes that are in it.
pub fn has_wildcard(pattern: &[u8]) -> bool {
    let mut rest = pattern.iter();
    while let Some(c) = rest.next() {
        match c {
            b'*' | b'?' | b'[' => return true,
            b'\\' => drop(rest.next()),
            _ => {}
        }
    }
    false
}

/// A pattern, read once and matched many times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wildcard(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Star,
    Any,
    Byte(u8),
    Class { negated: bool, ranges: Vec<(u32, u32)> },
}

impl Wildcard {
    pub fn new(pattern: &[u8]) -> Result<Wildcard, BadPattern> {
        let bad = |problem| BadPattern { pattern: String::from_utf8_lossy(pattern).into_owned(), problem };
        let mut parts = Vec::new();
        let mut rest = pattern;
        while let [first, after @ ..] = rest {
            rest = after;
            parts.push(match first {
                b'*' => {
                    // A run of stars says no more than one, and would only cost time.
                    if parts.last() == Some(&Part::Star) {
                        continue;
                    }
                    Part::Star
                }
                b'?' => Part::Any,
                b'\\' => {
                    let [escaped, after @ ..] = rest else { return Err(bad("nothing follows the last \\")) };
                    rest = after;
                    Part::Byte(*escaped)
                }
                b'[' => {
                    let class;
                    (class, rest) = class_of(rest).map_err(bad)?;
                    class
                }
                byte => Part::Byte(*byte),
            });
        }
        Ok(Wildcard(parts))
    }

    /// The usual walk with one point to come back to: a later star makes going back before it useless.
    pub fn matches(&self, name: &[u8]) -> bool {
        let (mut part, mut at) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        loop {
            match self.0.get(part) {
                Some(Part::Star) => {
                    part += 1;
                    star = Some((part, at));
                    continue;
                }
                Some(it) => {
                    if let Some(length) = it.length(name.get(at..).unwrap_or_default()) {
                        part += 1;
                        at += length;
                        continue;
                    }
                }
                None if at == name.len() => return true,
                None => {}
            }
            match star {
                Some((after, from)) if name.get(from).is_some_and(|c| *c != b'/') => {
                    star = Some((after, from + 1));
                    part = after;
                    at = from + 1;
                }
                _ => return false,
            }
        }
    }
}

impl Part {
    /// How many bytes at the beginning of `name` it takes, if it matches there.
    fn length(&self, name: &[u8]) -> Option<usize> {
        let first = *name.first()?;
        match self {
            Part::Star => None,
            Part::Byte(byte) => (*byte == first).then_some(1),
            Part::Any => (first != b'/').then(|| character(name).1),
            Part::Class { negated, ranges } => {
                let (c, length) = character(name);
                let inside = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                (inside != *negated).then_some(length)
            }
        }
    }
}

/// The class behind `[`, and what follows its `]`.
fn class_of(text: &[u8]) -> Result<(Part, &[u8]), &'static str> {
    let (negated, mut rest) = match text {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let mut ranges = Vec::new();
    loop {
        if let ([b']', after @ ..], false) = (rest, ranges.is_empty()) {
            return Ok((Part::Class { negated, ranges }, after));
        }
        let low;
        (low, rest) = class_character(rest)?;
        let mut high = low;
        if let [b'-', after @ ..] = rest {
            (high, rest) = class_character(after)?;
        }
        ranges.push((low, high));
    }
}

fn class_character(text: &[u8]) -> Result<(u32, &[u8]), &'static str> {
    const OPEN: &str = "a [ has no ] that closes it";
    let text = match text {
        [] => return Err(OPEN),
        [b'-', ..] => return Err("a - in a class must stand between two characters, or after a \\"),
        [b']', ..] => return Err("a class must not be empty; write \\] for the character"),
        [b'\\', rest @ ..] => rest,
        _ => text,
    };
    if text.is_empty() {
        return Err(OPEN);
    }
    let (c, length) = character(text);
    if c == INVALID && length == 1 {
        return Err("a class holds bytes that are not UTF-8");
    }
    match text.get(length..) {
        Some(rest) if !rest.is_empty() => Ok((c, rest)),
        _ => Err(OPEN),
    }
}

/// U+FFFD, which a byte that is no UTF-8 counts as.
const INVALID: u32 = 0xfffd;

/// The first character and its length. `text` must not be empty.
fn character(text: &[u8]) -> (u32, usize) {
    let head = text.get(..4).unwrap_or(text);
    let valid = match std::str::from_utf8(head) {
        Ok(valid) => valid,
        Err(error) => std::str::from_utf8(head.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default(),
    };
    valid.chars().next().map_or((INVALID, 1), |c| (u32::from(c), c.len_utf8()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn matching() {
        fn check(pattern: &str, yes: &[&str], no: &[&str]) {
            for (names, expected) in [(yes, true), (no, false)] {
                for name in names {
                    assert_eq!(wildcard_match(pattern.as_bytes(), name.as_bytes()), Ok(expected), "{pattern} {name}");
                }
            }
        }
        check("", &[""], &["a"]);
        check("file", &["file"], &["File", "files", "fil", "a/file"]);
        check("*", &["", "file", ".hidden", "gr\u{fc}n"], &["a/b", "/"]);
        check("**", &["", "file"], &["a/b"]);
        check("*.go", &["a.go", ".go", "a.go.go"], &["a.gox", "a/b.go", "go"]);
        check("a*b*c", &["abc", "axbxc", "abbcc", "abcbc"], &["ac", "abcd", "a/bc"]);
        check("*/x", &["a/x", "/x"], &["x", "a/b/x"]);
        check("a/*/c", &["a/b/c", "a//c"], &["a/c", "a/b/b/c"]);
        check("?", &["a", "ü", "\u{1f980}"], &["", "ab", "/"]);
        check("a?c", &["abc", "aüc"], &["ac", "a/c", "abbc"]);
        check("[a-c]", &["a", "b", "c"], &["d", "", "ab", "A"]);
        check("[a-cx]z", &["bz", "xz"], &["yz"]);
        check("[^a-c]", &["d", "/", "ü"], &["a", "b", ""]);
        check("[!a]", &["!", "a"], &["b"]);
        check("[ä-ü]", &["ö"], &["o", "y"]);
        check("[c-a]", &[], &["a", "b", "c"]);
        check("[*?]", &["*", "?"], &["a"]);
        check("[a\\]]", &["a", "]"], &["\\"]);
        check("[\\-x]", &["-", "x"], &["\\"]);
        check("[x^]", &["x", "^"], &["y"]);
        check("\\*", &["*"], &["a", "\\*"]);
        check("\\[a\\]", &["[a]"], &["a"]);
        check("a]", &["a]"], &["a"]);
        check("{a,b}", &["{a,b}"], &["a"]);
    }

    #[test]
    fn malformed() {
        fn check(pattern: &[u8], problem: &str) {
            let error = wildcard_match(pattern, b"name").expect_err("it is malformed");
            assert!(error.problem.contains(problem), "{error}");
        }
        check(b"[", "no ]");
        check(b"x[a", "no ]");
        check(b"[a-", "no ]");
        check(b"[^", "no ]");
        check(b"[]", "must not be empty");
        check(b"[]a]", "must not be empty");
        check(b"[^]", "must not be empty");
        check(b"[a-]", "must not be empty");
        check(b"[-a]", "must stand between");
        check(b"[a-b-c]", "must stand between");
        check(b"a\\", "follows the last");
        check(b"[\\", "no ]");
        check(b"[\xff]", "UTF-8");
    }

    #[test]
    fn bytes_that_are_no_text() {
        assert_eq!(wildcard_match(b"a?c", b"a\xffc"), Ok(true));
        assert_eq!(wildcard_match(b"*", b"\xff\xfe"), Ok(true));
        assert_eq!(wildcard_match(b"??", b"\xff\xfe"), Ok(true));
        assert_eq!(wildcard_match(b"\xff*", b"\xff\xfe"), Ok(true));
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = "*a".repeat(2_000);
        let name = "a".repeat(1_999);
        assert_eq!(wildcard_match(pattern.as_bytes(), name.as_bytes()), Ok(false));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(pattern in prop::collection::vec(any::<u8>(), 0..24), name in prop::collection::vec(any::<u8>(), 0..24)) {
            let _ = wildcard_match(&pattern, &name);
        }

        #[test]
        fn an_escaped_name_matches_itself_only(name in "[a-z*?\\[\\]\\\\^!-]{0,8}", other in "[a-z*?]{0,8}") {
            let escaped: String = name.chars().flat_map(|c| ['\\', c]).collect();
            prop_assert_eq!(wildcard_match(escaped.as_bytes(), name.as_bytes()), Ok(true));
            prop_assert_eq!(wildcard_match(escaped.as_bytes(), other.as_bytes()), Ok(name == other));
        }

        #[test]
        fn a_star_takes_whatever_stands_in_a_name(head in "[a-z]{0,4}", middle in "[a-z.]{0,6}", tail in "[a-z]{0,4}") {
            let pattern = format!("{head}*{tail}");
            let name = format!("{head}{middle}{tail}");
            prop_assert_eq!(wildcard_match(pattern.as_bytes(), name.as_bytes()), Ok(true));
        }
    }
}
