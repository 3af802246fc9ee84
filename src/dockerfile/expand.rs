//! Variable expansion and word splitting, as BuildKit's shell lexer does it.
//!
//! The rules are those of BuildKit's `frontend/dockerfile/shell`: quotes, escapes, `$name`, `${name}` and the
//! operators `:-` `-` `:+` `+` `:?` `?` `#` `##` `%` `%%` `/` `//`.

use std::iter::Peekable;
use std::str::Chars;

/// How a word is read.
#[derive(Debug, Clone, Copy)]
pub struct Lex {
    pub escape: char,
    /// Quotes stay in the result.
    pub raw_quotes: bool,
    /// Escape characters stay in the result.
    pub raw_escapes: bool,
    /// Quotes are ordinary characters.
    pub ignore_quotes: bool,
    /// A variable that is not set stays as it is written.
    pub keep_unset: bool,
}

impl Default for Lex {
    fn default() -> Self {
        Lex { escape: '\\', raw_quotes: false, raw_escapes: false, ignore_quotes: false, keep_unset: false }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    #[error("unexpected end of statement while looking for matching {0}")]
    Unmatched(&'static str),
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    #[error("unsupported modifier ({0}) in substitution")]
    UnsupportedModifier(String),
    /// `${name:?message}`.
    #[error("{name}: {message}")]
    Required { name: String, message: String },
    #[error("the expansion is longer than {MAX_RESULT} bytes")]
    TooLong,
    #[error("substitutions are nested deeper than {MAX_DEPTH}")]
    TooDeep,
}

/// Bounds on what a few bytes of Dockerfile can blow up to; the official parser has none.
const MAX_RESULT: usize = 16 << 20;
const MAX_DEPTH: u32 = 200;

/// The value of a variable; `None` if it is not set.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Lex {
    /// Expands to one word.
    pub fn word(&self, text: &str, vars: Lookup) -> Result<String, ExpandError> {
        Ok(self.run(text, vars)?.0)
    }

    /// Expands and splits: blanks separate, also those that come from a variable outside of quotes.
    pub fn words(&self, text: &str, vars: Lookup) -> Result<Vec<String>, ExpandError> {
        Ok(self.run(text, vars)?.1)
    }

    fn run(&self, text: &str, vars: Lookup) -> Result<(String, Vec<String>), ExpandError> {
        let mut reader = Reader { lex: *self, chars: text.chars().peekable(), vars, depth: 0 };
        reader.until(None, self.raw_escapes)
    }
}

struct Reader<'a> {
    lex: Lex,
    chars: Peekable<Chars<'a>>,
    vars: Lookup<'a>,
    depth: u32,
}

impl Reader<'_> {
    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Result<(String, Vec<String>), ExpandError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ExpandError::TooDeep);
        }
        let outer = std::mem::replace(&mut self.lex.raw_escapes, raw_escapes);
        let result = self.until_inner(stop);
        self.lex.raw_escapes = outer;
        self.depth -= 1;
        result
    }

    fn until_inner(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), ExpandError> {
        let mut result = String::new();
        let mut words = Words::default();
        while let Some(&c) = self.chars.peek() {
            if result.len() > MAX_RESULT {
                return Err(ExpandError::TooLong);
            }
            match c {
                _ if stop == Some(c) => {
                    self.chars.next();
                    return Ok((result, words.finish()));
                }
                '$' => {
                    let value = self.dollar()?;
                    result.push_str(&value);
                    value.chars().for_each(|c| words.push(c));
                }
                '\'' if !self.lex.ignore_quotes => {
                    let value = self.single_quoted()?;
                    result.push_str(&value);
                    words.push_raw(&value);
                }
                '"' if !self.lex.ignore_quotes => {
                    let value = self.double_quoted()?;
                    result.push_str(&value);
                    words.push_raw(&value);
                }
                _ if c == self.lex.escape => {
                    self.chars.next();
                    if self.lex.raw_escapes {
                        words.push_raw_char(c);
                        result.push(c);
                    }
                    let Some(next) = self.chars.next() else { break };
                    words.push_raw_char(next);
                    result.push(next);
                }
                _ => {
                    self.chars.next();
                    words.push(c);
                    result.push(c);
                }
            }
        }
        match stop {
            Some('}') => Err(ExpandError::MissingBrace),
            Some(_) => Err(ExpandError::MissingBrace),
            None => Ok((result, words.finish())),
        }
    }

    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        let mut out = String::new();
        self.quote(&mut out);
        loop {
            match self.chars.peek() {
                None => return Err(ExpandError::Unmatched("single-quote")),
                Some('\'') => {
                    self.quote(&mut out);
                    return Ok(out);
                }
                Some(&c) => {
                    self.chars.next();
                    out.push(c);
                }
            }
        }
    }

    fn double_quoted(&mut self) -> Result<String, ExpandError> {
        let mut out = String::new();
        self.quote(&mut out);
        loop {
            if out.len() > MAX_RESULT {
                return Err(ExpandError::TooLong);
            }
            match self.chars.peek() {
                None => return Err(ExpandError::Unmatched("double-quote")),
                Some('"') => {
                    self.quote(&mut out);
                    return Ok(out);
                }
                Some('$') => out.push_str(&self.dollar()?),
                Some(&c) if c == self.lex.escape => {
                    self.chars.next();
                    let Some(&next) = self.chars.peek() else {
                        if self.lex.raw_escapes {
                            out.push(c);
                        }
                        continue;
                    };
                    let escapable = next == '"' || next == '$' || next == self.lex.escape;
                    if self.lex.raw_escapes || !escapable {
                        out.push(c);
                    }
                    self.chars.next();
                    out.push(next);
                }
                Some(&c) => {
                    self.chars.next();
                    out.push(c);
                }
            }
        }
    }

    fn quote(&mut self, out: &mut String) {
        let quote = self.chars.next();
        if self.lex.raw_quotes {
            out.extend(quote);
        }
    }

    fn dollar(&mut self) -> Result<String, ExpandError> {
        self.chars.next();
        if self.chars.peek() != Some(&'{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match (self.vars)(&name) {
                None if self.lex.keep_unset => format!("${name}"),
                value => value.unwrap_or_default(),
            });
        }
        self.chars.next();
        match self.chars.peek() {
            None => return Err(ExpandError::MissingBrace),
            Some('{' | '}' | ':') => return Err(ExpandError::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        let Some(mut operator) = self.chars.next() else { return Err(ExpandError::MissingBrace) };
        let mut written = operator.to_string();
        let mut null_is_unset = false;
        if operator == '}' {
            return Ok(match (self.vars)(&name) {
                None if self.lex.keep_unset => format!("${{{name}}}"),
                value => value.unwrap_or_default(),
            });
        }
        if operator == ':' {
            null_is_unset = true;
            operator = self.chars.next().ok_or(ExpandError::MissingBrace)?;
            written.push(operator);
        }
        match operator {
            '+' | '-' | '?' => self.conditional(name, operator, &written, null_is_unset),
            '#' | '%' if !null_is_unset => self.trim(name, operator),
            '/' if !null_is_unset => self.replace(name),
            _ => Err(ExpandError::UnsupportedModifier(written)),
        }
    }

    fn conditional(
        &mut self,
        name: String,
        operator: char,
        written: &str,
        null_is_unset: bool,
    ) -> Result<String, ExpandError> {
        let word = self.until(Some('}'), false)?.0;
        let value = (self.vars)(&name);
        if value.is_none() && self.lex.keep_unset {
            return Ok(format!("${{{name}{written}{word}}}"));
        }
        let set = value.as_deref().is_some_and(|it| !(null_is_unset && it.is_empty()));
        match operator {
            '-' => Ok(if set { value.unwrap_or_default() } else { word }),
            '+' => Ok(if set { word } else { String::new() }),
            _ if set => Ok(value.unwrap_or_default()),
            _ => {
                let what = if value.is_none() { "unset" } else { "empty" };
                let message = if word.is_empty() { format!("is not allowed to be {what}") } else { word };
                Err(ExpandError::Required { name, message })
            }
        }
    }

    fn trim(&mut self, name: String, operator: char) -> Result<String, ExpandError> {
        let word = self.until(Some('}'), true)?.0;
        let Some(value) = (self.vars)(&name) else {
            let kept = format!("${{{name}{operator}{word}}}");
            return Ok(if self.lex.keep_unset { kept } else { String::new() });
        };
        let (longest, pattern) = match word.strip_prefix(operator) {
            Some(rest) => (true, rest),
            None => (false, word.as_str()),
        };
        let pattern = Glob::new(pattern);
        // Where the value can be cut, in the order in which cuts are tried.
        let mut cuts: Vec<usize> = value.char_indices().map(|(at, _)| at).chain([value.len()]).collect();
        if longest == (operator == '#') {
            cuts.reverse();
        }
        let matched = match operator {
            '#' => cuts.into_iter().find(|at| pattern.matches(&value[..*at])).map(|at| &value[at..]),
            _ => cuts.into_iter().find(|at| pattern.matches(&value[*at..])).map(|at| &value[..at]),
        };
        Ok(matched.unwrap_or(&value).to_owned())
    }

    fn replace(&mut self, name: String) -> Result<String, ExpandError> {
        let all = self.chars.peek() == Some(&'/');
        if all {
            self.chars.next();
        }
        let pattern = self.until(Some('/'), true)?.0;
        let replacement = self.until(Some('}'), true)?.0;
        let Some(value) = (self.vars)(&name) else {
            let slash = if all { "//" } else { "/" };
            let kept = format!("${{{name}{slash}{pattern}/{replacement}}}");
            return Ok(if self.lex.keep_unset { kept } else { String::new() });
        };
        let Ok(regex) = regex::Regex::new(&Glob::new(&pattern).regex()) else { return Ok(value) };
        let replacement = regex::NoExpand(&replacement);
        let limit = if all { 0 } else { 1 };
        Ok(regex.replacen(&value, limit, replacement).into_owned())
    }

    /// Letters, digits and `_`; all digits if it begins with one; or one special parameter.
    fn name(&mut self) -> String {
        let mut out = String::new();
        while let Some(&c) = self.chars.peek() {
            if out.is_empty() && c.is_ascii_digit() {
                while let Some(&digit) = self.chars.peek().filter(|c| c.is_ascii_digit()) {
                    out.push(digit);
                    self.chars.next();
                }
                return out;
            }
            if out.is_empty() && matches!(c, '@' | '*' | '#' | '?' | '-' | '$' | '!') {
                self.chars.next();
                return c.to_string();
            }
            if !c.is_alphanumeric() && c != '_' {
                break;
            }
            out.push(c);
            self.chars.next();
        }
        out
    }
}

/// A shell pattern of `*`, `?` and escapes.
struct Glob(Vec<GlobPart>);

enum GlobPart {
    Any,
    One,
    Literal(char),
}

impl Glob {
    fn new(pattern: &str) -> Glob {
        let mut parts = Vec::new();
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            parts.push(match c {
                '*' => GlobPart::Any,
                '?' => GlobPart::One,
                '\\' => GlobPart::Literal(chars.next().unwrap_or('\\')),
                _ => GlobPart::Literal(c),
            });
        }
        Glob(parts)
    }

    fn regex(&self) -> String {
        let mut out = String::from("(?s)");
        for part in &self.0 {
            match part {
                GlobPart::Any => out.push_str(".*"),
                GlobPart::One => out.push('.'),
                GlobPart::Literal(c) => out.push_str(&regex::escape(&c.to_string())),
            }
        }
        out
    }

    /// Whether it matches all of `text`; the usual walk with one point to come back to.
    fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut at, mut part) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        loop {
            match self.0.get(part) {
                Some(GlobPart::Any) => {
                    star = Some((part, at));
                    part += 1;
                    continue;
                }
                Some(GlobPart::One) if at < text.len() => {
                    at += 1;
                    part += 1;
                    continue;
                }
                Some(GlobPart::Literal(c)) if text.get(at) == Some(c) => {
                    at += 1;
                    part += 1;
                    continue;
                }
                None if at == text.len() => return true,
                _ => {}
            }
            match star {
                Some((star_part, from)) if from < text.len() => {
                    star = Some((star_part, from + 1));
                    part = star_part + 1;
                    at = from + 1;
                }
                _ => return false,
            }
        }
    }
}

/// Splits what is written to it at blanks, except inside quotes.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    word: String,
    inside: bool,
}

impl Words {
    fn push(&mut self, c: char) {
        if c.is_whitespace() {
            if self.inside && !self.word.is_empty() {
                self.done.push(std::mem::take(&mut self.word));
                self.inside = false;
            }
        } else {
            self.push_raw_char(c);
        }
    }

    fn push_raw_char(&mut self, c: char) {
        self.word.push(c);
        self.inside = true;
    }

    fn push_raw(&mut self, text: &str) {
        self.word.push_str(text);
        self.inside = true;
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.done.push(self.word);
        }
        self.done
    }
}
