//! The patterns of `${name#pattern}`, `${name%pattern}` and `${name/pattern/text}`.
//!
//! `*` and `?` match as in a shell, but not across a line's end; brackets mean themselves.

use super::expand::MAX_RESULT;
use regex::Regex;

/// What is wrong with a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("\\{0} is no escape: only \\*, \\?, \\\\, \\}} and \\/ are")]
    Escape(char),
    #[error("it ends in an escape character")]
    Open,
    #[error("it is too large")]
    Large,
    #[error("what it makes is longer than {MAX_RESULT} bytes")]
    Result,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Shortest,
    Longest,
}

/// The value without a beginning that the pattern matches.
pub(super) fn trim_start(value: &str, pattern: &str, reach: Reach) -> Result<String, PatternError> {
    let found = to_regex(pattern, reach, "^")?.find(value);
    let end = found.map_or(0, |it| it.end());
    Ok(value.get(end..).unwrap_or_default().to_owned())
}

/// The value without an end that the pattern matches: both are turned around, because a regular expression
/// searches from the left.
pub(super) fn trim_end(value: &str, pattern: &str, reach: Reach) -> Result<String, PatternError> {
    let reversed: String = value.chars().rev().collect();
    let trimmed = trim_start(&reversed, &reverse_pattern(pattern), reach)?;
    Ok(trimmed.chars().rev().collect())
}

/// The value with the first, or with every match of the pattern replaced.
pub(super) fn replace(value: &str, pattern: &str, text: &str, all: bool) -> Result<String, PatternError> {
    let regex = to_regex(pattern, Reach::Longest, "")?;
    Ok(match all {
        // `$0` and its like are looked up in the text here, and only here; so does the official lexer.
        true => {
            let mut out = String::new();
            let mut rest = 0;
            let references = text.matches('$').count();
            for found in regex.captures_iter(value) {
                let Some(whole) = found.get(0) else { continue };
                out.push_str(&value[rest..whole.start()]);
                if out.len() + text.len() + references.saturating_mul(whole.len()) > MAX_RESULT {
                    return Err(PatternError::Result);
                }
                found.expand(text, &mut out);
                rest = whole.end();
            }
            out.push_str(&value[rest..]);
            out
        }
        false => regex.replacen(value, 1, regex::NoExpand(text)).into_owned(),
    })
}

fn to_regex(pattern: &str, reach: Reach, anchor: &str) -> Result<Regex, PatternError> {
    let mut out = String::from(anchor);
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' if reach == Reach::Shortest => out.push_str(".*?"),
            '*' => out.push_str(".*"),
            '?' => out.push('.'),
            // These two are escaped for the sake of the braces around the pattern, and mean themselves.
            '\\' if matches!(chars.peek(), Some('}' | '/')) => {}
            '\\' => match chars.next() {
                Some(next @ ('*' | '?' | '\\')) => out.extend(['\\', next]),
                Some(next) => return Err(PatternError::Escape(next)),
                None => return Err(PatternError::Open),
            },
            _ => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    Regex::new(&out).map_err(|_| PatternError::Large)
}

/// The pattern from its end to its beginning, escape characters still before what they escape.
fn reverse_pattern(pattern: &str) -> String {
    let mut pieces: Vec<[Option<char>; 2]> = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        pieces.push([Some(c), if c == '\\' { chars.next() } else { None }]);
    }
    pieces.into_iter().rev().flatten().flatten().collect()
}
