//! One pattern of a `.dockerignore` or a `COPY --exclude`, compiled.
//!
//! The rules are those of `moby/patternmatcher`, oddities included, because they decide what a build contains: the
//! pattern becomes a regular expression by a walk that knows no classes, so that `*` inside of brackets is
//! rewritten as well, `\d` is a digit, and a `**` at either end compares text and not path components.

use regex::Regex;
use std::iter::Peekable;
use std::str::Chars;

/// How a pattern meets a path.
#[derive(Debug, Clone)]
pub(super) enum Pattern {
    Exact(String),
    /// From `x**`.
    Prefix(String),
    /// From `**x`.
    Suffix(String),
    Regex(Regex),
}

impl Pattern {
    /// Compiles a cleaned pattern. The error says what is wrong with it.
    pub(super) fn new(pattern: &str) -> Result<Pattern, String> {
        let (expression, kind) = to_expression(pattern);
        Ok(match kind {
            Kind::Exact => Pattern::Exact(pattern.to_owned()),
            Kind::Prefix => Pattern::Prefix(pattern.strip_suffix("**").unwrap_or(pattern).to_owned()),
            Kind::Suffix => Pattern::Suffix(pattern.strip_prefix("**").unwrap_or(pattern).to_owned()),
            Kind::Regex => {
                let expression = translate(&expression)?;
                Pattern::Regex(Regex::new(&expression).map_err(|_| "it makes no regular expression".to_owned())?)
            }
        })
    }

    /// Whether it matches this very path; parents are the caller's.
    pub(super) fn matches(&self, path: &str) -> bool {
        match self {
            Pattern::Exact(it) => path == it,
            Pattern::Prefix(it) => path.starts_with(it.as_str()),
            Pattern::Suffix(it) => path.ends_with(it.as_str()) || it.strip_prefix('/') == Some(path),
            Pattern::Regex(it) => it.is_match(path),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Exact,
    Prefix,
    Suffix,
    Regex,
}

/// The pattern as an expression in Go's syntax, and how it is to be matched.
fn to_expression(pattern: &str) -> (String, Kind) {
    let mut out = String::from("^");
    let mut kind = Kind::Exact;
    let mut chars = pattern.chars().peekable();
    let mut first = true;
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                if chars.peek().is_some() {
                    out.push_str("(.*/)?");
                    kind = Kind::Regex;
                } else if kind == Kind::Exact {
                    kind = Kind::Prefix;
                } else {
                    out.push_str(".*");
                    kind = Kind::Regex;
                }
                if first {
                    kind = Kind::Suffix;
                }
            }
            '*' => {
                out.push_str("[^/]*");
                kind = Kind::Regex;
            }
            '?' => {
                out.push_str("[^/]");
                kind = Kind::Regex;
            }
            // The official list has `{`, `|` and `}` as well, and loses them: it is a map with room for half of ASCII.
            '.' | '+' | '(' | ')' | '$' => out.extend(['\\', c]),
            '\\' => {
                out.push('\\');
                if let Some(next) = chars.next() {
                    out.push(next);
                    kind = Kind::Regex;
                }
            }
            '[' | ']' => {
                out.push(c);
                kind = Kind::Regex;
            }
            _ => out.push(c),
        }
        first = false;
    }
    out.push('$');
    (out, kind)
}

/// Such an expression in the syntax of the `regex` crate, whose classes nest and know set operations.
fn translate(expression: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = expression.chars().peekable();
    let mut before = Before::Nothing;
    while let Some(c) = chars.next() {
        let last = std::mem::replace(&mut before, Before::Something);
        match c {
            '[' => class(&mut chars, &mut out)?,
            ']' => out.push_str("\\]"),
            '{' => match repetition(&mut chars)? {
                Some(counts) if last == Before::Something => {
                    out.push_str(&counts);
                    before = Before::Repetition;
                }
                Some(counts) if last == Before::Repetition => return Err(format!("{counts} repeats a repetition")),
                Some(counts) => return Err(format!("{counts} has nothing to repeat")),
                None => out.push_str("\\{"),
            },
            '}' => out.push_str("\\}"),
            '|' => {
                out.push('|');
                before = Before::Nothing;
            }
            '*' | '?' => {
                out.push(c);
                before = Before::Repetition;
            }
            '\\' => match escaped(&mut chars)? {
                Escape::Set(set) => out.extend(["[", set, "]"]),
                Escape::One(c) => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
            },
            _ => out.push(c),
        }
    }
    Ok(out)
}

/// What a repetition would repeat.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Something,
    Repetition,
}

/// The most that Go's expressions repeat.
const MOST_REPEATED: u32 = 1000;

/// The rest of `{3}`, `{3,}` or `{3,4}` behind the brace, if it is one; nothing is taken otherwise.
fn repetition(chars: &mut Peekable<Chars>) -> Result<Option<String>, String> {
    let rest: String = chars.clone().collect();
    let Some((counts, _)) = rest.split_once('}') else { return Ok(None) };
    let (low, high) = counts.split_once(',').map_or((counts, None), |(low, high)| (low, Some(high)));
    let is_number = |text: &str| {
        !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'))
    };
    if !is_number(low) || high.is_some_and(|high| !high.is_empty() && !is_number(high)) {
        return Ok(None);
    }
    let bounds = [Some(low), high].map(|text| text.map_or(0, |text| text.parse().unwrap_or(u32::MAX)));
    let fits = low.parse().is_ok_and(|low: u32| low <= MOST_REPEATED)
        && high.is_none_or(|high| high.is_empty() || (bounds[0]..=MOST_REPEATED).contains(&bounds[1]));
    if !fits {
        return Err(format!("{{{counts}}} is no count to repeat by"));
    }
    chars.nth(counts.chars().count());
    Ok(Some(format!("{{{counts}}}")))
}

enum Escape {
    /// The inside of a class.
    Set(&'static str),
    One(char),
}

fn escaped(chars: &mut Peekable<Chars>) -> Result<Escape, String> {
    let Some(c) = chars.next() else { return Err("nothing follows the last \\".to_owned()) };
    Ok(match c {
        'd' => Escape::Set("0-9"),
        'D' => Escape::Set("^0-9"),
        's' => Escape::Set("\\t\\n\\x0c\\r "),
        'S' => Escape::Set("^\\t\\n\\x0c\\r "),
        'w' => Escape::Set("0-9A-Za-z_"),
        'W' => Escape::Set("^0-9A-Za-z_"),
        'a' => Escape::One('\x07'),
        'f' => Escape::One('\x0c'),
        'n' => Escape::One('\n'),
        'r' => Escape::One('\r'),
        't' => Escape::One('\t'),
        'v' => Escape::One('\x0b'),
        _ if c.is_ascii() && !c.is_ascii_alphanumeric() => Escape::One(c),
        _ => return Err(format!("\\{c} has no meaning")),
    })
}

/// The class behind `[`, up to and with its `]`.
fn class(chars: &mut Peekable<Chars>, out: &mut String) -> Result<(), String> {
    const NAMES: [&str; 14] = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
        "word", "xdigit",
    ];
    out.push('[');
    if chars.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    let mut first = true;
    loop {
        match chars.peek() {
            None => return Err("a [ has no ] that closes it".to_owned()),
            Some(']') if !first => {
                chars.next();
                out.push(']');
                return Ok(());
            }
            Some('[') => {
                let rest: String = chars.clone().collect();
                if let Some((name, _)) = rest.strip_prefix("[:").and_then(|it| it.split_once(":]")) {
                    if !NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) {
                        return Err(format!("there is no class named {name:?}"));
                    }
                    out.push_str(&format!("[:{name}:]"));
                    chars.nth(name.chars().count() + 3);
                    first = false;
                    continue;
                }
            }
            Some(_) => {}
        }
        first = false;
        let low = match class_character(chars)? {
            Escape::Set(set) => {
                out.extend(["[", set, "]"]);
                continue;
            }
            Escape::One(c) => c,
        };
        let mut ahead = chars.clone();
        let high = match (ahead.next(), ahead.peek()) {
            (Some('-'), Some(&c)) if c != ']' => {
                chars.next();
                match class_character(chars)? {
                    Escape::One(c) => c,
                    Escape::Set(_) => return Err("a range in a class must end with a character".to_owned()),
                }
            }
            _ => low,
        };
        if high < low {
            return Err(format!("the range {low}-{high} in a class is upside down"));
        }
        out.push_str(&format!("\\x{{{:x}}}-\\x{{{:x}}}", u32::from(low), u32::from(high)));
    }
}

fn class_character(chars: &mut Peekable<Chars>) -> Result<Escape, String> {
    match chars.next() {
        None => Err("a [ has no ] that closes it".to_owned()),
        Some('\\') => escaped(chars),
        Some(c) => Ok(Escape::One(c)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn matching() {
        fn check(pattern: &str, yes: &[&str], no: &[&str]) {
            let compiled = Pattern::new(pattern).expect("a good pattern");
            for (paths, expected) in [(yes, true), (no, false)] {
                for path in paths {
                    assert_eq!(compiled.matches(path), expected, "{pattern} {path}");
                }
            }
        }
        check("a/b", &["a/b"], &["a", "a/b/c", "b"]);
        check("*", &["a", ".a"], &["a/b"]);
        check("a?", &["ab", "aü"], &["a", "a/", "abc"]);
        check("**", &["a", "a/b", ""], &[]);
        check("a/**", &["a/b", "a/b/c", "a/"], &["a", "ab/c"]);
        check("a**", &["a", "abc", "a/b"], &["b"]);
        check("**/a", &["a", "x/a", "x/y/a"], &["xa", "a/x"]);
        check("**a", &["a", "xa", "x/ya"], &["ax"]);
        check("**/*.o", &["a.o", "x/a.o", "x/y/.o"], &["a.oo"]);
        check("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["ab", "a/xb"]);
        check("a.b*", &["a.bc"], &["axbc"]);
        check("a^b", &["a^b"], &["ab"]);
        check("a^b*", &[], &["a^b", "ab"]);
        check("(a|b)$", &["(a|b)$"], &["a"]);
        // Written as they are in an expression, and so it reads them.
        check("a|b*", &["a", "ax/y", "b", "x/bc"], &["c"]);
        check("|b?", &["x"], &[]);
        check("a{2}*", &["aa", "aab"], &["a{2}", "ab"]);
        check("{a,b}*", &["{a,b}c"], &["a", "b"]);
        check("a{1,x}?", &["a{1,x}b"], &["ab"]);
        check("\\*", &["*"], &["a"]);
        check("\\d", &["7"], &["d"]);
        check("[a-c]x", &["bx"], &["dx"]);
        check("[^a]", &["b", "/"], &["a"]);
        check("[a&&b]", &["a", "&", "b"], &["c"]);
        check("[[:digit:]x]", &["5", "x"], &["d"]);
        check("[a.]", &["a", "."], &["b", "\\"]);
        // The star becomes `[^/]*` there too, so that the class ends early.
        check("[*]", &["[]", "^]", "/]"], &["*"]);
        check("[a\\]b]", &["]"], &["\\"]);
        check("x]", &["x]"], &["x"]);
    }

    #[test]
    fn malformed() {
        fn check(pattern: &str, problem: &str) {
            let error = Pattern::new(pattern).expect_err("it is malformed");
            assert!(error.contains(problem), "{pattern}: {error}");
        }
        check("[z-a]", "upside down");
        check("[[:nothing:]]", "no class named");
        check("\\q", "no meaning");
        check("*{2}", "repeats a repetition");
        check("*|{2}", "nothing to repeat");
        check("*a{3,2}", "no count");
        check("*a{1001}", "no count");
    }

    proptest! {
        #[test]
        fn anything_is_answered(pattern in ".{0,16}|[\\[\\]\\\\^*?a:-]{0,12}", path in ".{0,16}") {
            if let Ok(compiled) = Pattern::new(&pattern) {
                compiled.matches(&path);
            }
        }
    }
}
