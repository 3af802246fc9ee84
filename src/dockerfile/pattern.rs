//! One pattern of a `.dockerignore` or a `COPY --exclude`, compiled.
//!
//! The rules are those of `moby/patternmatcher`, oddities included, because they decide what a build contains: the
//! pattern becomes a regular expression by a walk that knows no classes, so that `*` inside of brackets is
//! rewritten as well, `\d` is a digit, and a `**` at either end compares text and not path components.

use regex::Regex;

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
    let mut rest = Rest(expression);
    let mut before = Before::Nothing;
    while let Some(c) = rest.next() {
        let last = std::mem::replace(&mut before, Before::Something);
        match c {
            '[' => class(&mut rest, &mut out)?,
            ']' => out.push_str("\\]"),
            '{' => match repetition(&mut rest)? {
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
            '\\' => match rest.0.chars().next() {
                Some(c @ ('A' | 'z')) => {
                    rest.next();
                    out.extend(['\\', c]);
                }
                // Of ASCII only.
                Some(c @ ('b' | 'B')) => {
                    rest.next();
                    out.push_str(&format!("(?-u:\\{c})"));
                }
                Some('Q') => {
                    rest.next();
                    let (text, after) = rest.0.split_once("\\E").unwrap_or((rest.0, ""));
                    out.push_str(&regex::escape(text));
                    rest = Rest(after);
                }
                _ => match escaped(&mut rest)? {
                    Escape::Set(set) => out.push_str(&format!("[{set}]")),
                    Escape::One(c) => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
                },
            },
            _ => out.push(c),
        }
    }
    Ok(out)
}

/// What is not read yet.
#[derive(Clone, Copy)]
struct Rest<'a>(&'a str);

impl Rest<'_> {
    fn next(&mut self) -> Option<char> {
        self.next_if(|_| true)
    }

    fn next_if(&mut self, wanted: impl Fn(char) -> bool) -> Option<char> {
        let c = self.0.chars().next().filter(|c| wanted(*c))?;
        self.0 = &self.0[c.len_utf8()..];
        Some(c)
    }

    fn skip(&mut self, text: &str) -> bool {
        match self.0.strip_prefix(text) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    /// As many digits as there are, but no more than `most`.
    fn digits(&mut self, radix: u32, most: usize) -> String {
        let mut out = String::new();
        while out.len() < most
            && let Some(c) = self.next_if(|c| c.is_digit(radix))
        {
            out.push(c);
        }
        out
    }
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
fn repetition(rest: &mut Rest) -> Result<Option<String>, String> {
    let mut ahead = *rest;
    let is_number = |text: &str| !text.is_empty() && (text.len() == 1 || !text.starts_with('0'));
    let low = ahead.digits(10, usize::MAX);
    let high = ahead.skip(",").then(|| ahead.digits(10, usize::MAX));
    let good = is_number(&low) && high.as_deref().is_none_or(|it| it.is_empty() || is_number(it));
    if !good || !ahead.skip("}") {
        return Ok(None);
    }
    *rest = ahead;
    let counts = format!("{{{low}{}}}", high.as_deref().map(|high| format!(",{high}")).unwrap_or_default());
    let number = |text: &str| text.parse().unwrap_or(u32::MAX);
    let fits = number(&low) <= MOST_REPEATED
        && high.is_none_or(|high| high.is_empty() || (number(&low)..=MOST_REPEATED).contains(&number(&high)));
    if fits { Ok(Some(counts)) } else { Err(format!("{counts} is no count to repeat by")) }
}

enum Escape {
    /// The inside of a class.
    Set(String),
    One(char),
}

/// What stands behind a `\`, inside of a class or outside.
fn escaped(rest: &mut Rest) -> Result<Escape, String> {
    let Some(c) = rest.next() else { return Err("nothing follows the last \\".to_owned()) };
    let set = |text: &str| Ok(Escape::Set(text.to_owned()));
    let one = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
    let found = match c {
        'd' => return set("0-9"),
        'D' => return set("^0-9"),
        's' => return set("\\t\\n\\x0c\\r "),
        'S' => return set("^\\t\\n\\x0c\\r "),
        'w' => return set("0-9A-Za-z_"),
        'W' => return set("^0-9A-Za-z_"),
        'p' | 'P' => return unicode(rest, c == 'P').map(Escape::Set),
        'a' => Some('\x07'),
        'f' => Some('\x0c'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\x0b'),
        'x' if rest.skip("{") => {
            let digits = rest.digits(16, usize::MAX);
            rest.skip("}").then(|| one(&digits, 16)).flatten()
        }
        'x' => Some(rest.digits(16, 2)).filter(|digits| digits.len() == 2).and_then(|digits| one(&digits, 16)),
        // One digit that is not 0 would mean what a group has matched, which Go does not know.
        '0'..='7' => {
            let more = rest.digits(8, 2);
            (c == '0' || !more.is_empty()).then(|| one(&format!("{c}{more}"), 8)).flatten()
        }
        _ => Some(c).filter(|c| c.is_ascii() && !c.is_ascii_alphanumeric()),
    };
    found.map(Escape::One).ok_or_else(|| format!("\\{c} has no meaning"))
}

/// `L` or `{Greek}` behind `\p`: a category of Unicode or a script.
fn unicode(rest: &mut Rest, negated: bool) -> Result<String, String> {
    let name = match rest.next() {
        Some('{') => {
            let (name, after) = rest.0.split_once('}').ok_or_else(|| "a \\p{ has no } that closes it".to_owned())?;
            rest.0 = after;
            name.to_owned()
        }
        c => c.map(String::from).unwrap_or_default(),
    };
    let (name, negated) = match name.strip_prefix('^') {
        Some(name) => (name, !negated),
        None => (name.as_str(), negated),
    };
    let letter = if negated { 'P' } else { 'p' };
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let classes = ["gc", "sc"].map(|kind| format!("\\{letter}{{{kind}={name}}}"));
    let known = classes.into_iter().find(|class| plain && Regex::new(class).is_ok());
    known.ok_or_else(|| format!("Unicode has no class named {name:?}"))
}

/// The class behind `[`, up to and with its `]`.
fn class(rest: &mut Rest, out: &mut String) -> Result<(), String> {
    const NAMES: [&str; 14] = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
        "word", "xdigit",
    ];
    out.push('[');
    if rest.skip("^") {
        out.push('^');
    }
    let mut first = true;
    let mut names = true;
    loop {
        if !std::mem::take(&mut first) && rest.skip("]") {
            out.push(']');
            return Ok(());
        }
        if let Some(name) = rest.0.strip_prefix("[:").filter(|_| names) {
            if let Some((name, after)) = name.split_once(":]") {
                if !NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) {
                    return Err(format!("there is no class named {name:?}"));
                }
                out.push_str(&format!("[:{name}:]"));
                rest.0 = after;
                continue;
            }
            // No name is closed further on either.
            names = false;
        }
        let low = match class_character(rest)? {
            Escape::Set(set) => {
                out.push_str(&format!("[{set}]"));
                continue;
            }
            Escape::One(c) => c,
        };
        let mut high = low;
        let mut ahead = *rest;
        if ahead.skip("-") && !ahead.0.is_empty() && !ahead.0.starts_with(']') {
            *rest = ahead;
            high = match class_character(rest)? {
                Escape::One(c) => c,
                Escape::Set(_) => return Err("a range in a class must end with a character".to_owned()),
            };
        }
        if high < low {
            return Err(format!("the range {low}-{high} in a class is upside down"));
        }
        out.push_str(&format!("\\x{{{:x}}}-\\x{{{:x}}}", u32::from(low), u32::from(high)));
    }
}

fn class_character(rest: &mut Rest) -> Result<Escape, String> {
    match rest.next() {
        None => Err("a [ has no ] that closes it".to_owned()),
        Some('\\') => escaped(rest),
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
        // A backslash before a letter is an expression's, too.
        check("**\\bin", &["in", "a/in"], &["bin", "a/xin"]);
        check("a*\\bb", &["a.b", "aüb"], &["ab"]);
        check("a\\Bb", &["ab"], &["a"]);
        check("\\Aa\\zb", &[], &["ab", "a"]);
        check("\\Qa.*\\E?", &["a\\.[^/]*b"], &["a.xb"]);
        check("\\x41\\x{e9}\\101\\0", &["AéA\0"], &["A"]);
        check("\\pL\\PL\\p{Greek}\\p{^Lu}", &["b1αa"], &["1b", "b1αA"]);
        check("[\\pN\\x2d]", &["5", "-", "½"], &["a"]);
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
        check("a\\o", "\\o has no meaning");
        check("\\1", "\\1 has no meaning");
        check("\\xg1", "\\x has no meaning");
        check("\\x{110000}", "\\x has no meaning");
        check("\\E", "\\E has no meaning");
        check("[\\b]", "\\b has no meaning");
        check("\\p{Klingon}", "no class named");
        check("\\pA", "no class named");
        check("*{2}", "repeats a repetition");
        check("*|{2}", "nothing to repeat");
        check("*a{3,2}", "no count");
        check("*a{1001}", "no count");
    }

    #[test]
    fn long_patterns_are_no_trouble() {
        for piece in ["[", "[:", "{", "{1,", "\\Q", "\\p{", "[[:"] {
            drop(Pattern::new(&format!("*{}", piece.repeat(60_000 / piece.len()))));
        }
    }

    proptest! {
        #[test]
        fn anything_is_answered(pattern in ".{0,16}|[\\[\\]\\\\^*?a:-]{0,12}|(\\\\[a-zA-Z0-9]|[\\[\\]{}^*L1]){0,8}", path in ".{0,16}") {
            if let Ok(compiled) = Pattern::new(&pattern) {
                compiled.matches(&path);
            }
        }
    }
}
