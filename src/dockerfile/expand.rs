//! Variable expansion and word splitting, as BuildKit's shell lexer does it.
//!
//! The rules are those of BuildKit's `frontend/dockerfile/shell`: quotes, escapes, `$name`, `${name}` and the
//! operators `:-` `-` `:+` `+` `:?` `?` `#` `##` `%` `%%` `/` `//`. Where that lexer does something odd, this one
//! does the same, because builds depend on it.

use super::substitution::{self, PatternError, Reach};
use regex::Regex;
use std::iter::Peekable;
use std::str::Chars;
use std::sync::LazyLock;

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
    #[error("a {0} has no second one that closes it")]
    Unmatched(&'static str),
    #[error("a ${{ has no }} that closes it")]
    MissingBrace,
    #[error("a replacement needs two slashes: ${{name/pattern/text}}")]
    MissingSlash,
    #[error("${{ is not followed by a name")]
    BadSubstitution,
    #[error("there is no operator {0:?}: write ${{name}}, or one of :- :+ :? - + ? # ## % %% / // after the name")]
    UnsupportedModifier(String),
    #[error("the pattern {pattern:?} cannot be used: {problem}")]
    Pattern { pattern: String, problem: PatternError },
    /// `${name:?message}`.
    #[error("{name}: {message}")]
    Required { name: String, message: String },
    #[error("the expansion is longer than {MAX_RESULT} bytes")]
    TooLong,
    #[error("substitutions are nested deeper than {MAX_DEPTH}")]
    TooDeep,
}

/// Bounds on what a few bytes of Dockerfile can blow up to; the official parser has none.
pub(super) const MAX_RESULT: usize = 16 << 20;
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
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let chars = text.chars().peekable();
        let mut reader = Reader { lex: *self, chars, vars, depth: 0, made: 0, word: String::new() };
        reader.until(None, self.raw_escapes)
    }
}

struct Reader<'a> {
    lex: Lex,
    chars: Peekable<Chars<'a>>,
    vars: Lookup<'a>,
    depth: u32,
    /// Bytes of all substitutions so far.
    made: usize,
    /// The word being collected. The text of a substitution is collected here as well, so that a word loses what
    /// stands before an operator like `:-` when it is split from others: `a${b:-c}` splits to `c`. Official builds
    /// behave so.
    word: String,
}

impl Reader<'_> {
    /// Reads up to `stop`, which is taken, or up to the end: the text, and the words that it splits to.
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
        self.word.clear();
        loop {
            if result.len() > MAX_RESULT || self.word.len() > MAX_RESULT {
                return Err(ExpandError::TooLong);
            }
            let Some(&c) = self.chars.peek() else { break };
            match c {
                _ if stop == Some(c) => {
                    self.chars.next();
                    return Ok((result, words.finish(&mut self.word)));
                }
                '$' => {
                    let value = self.dollar()?;
                    result.push_str(&value);
                    value.chars().for_each(|c| words.push(&mut self.word, c));
                }
                '<' => {
                    let value = self.redirection();
                    result.push_str(&value);
                    words.push_raw(&mut self.word, &value);
                }
                '\'' | '"' if !self.lex.ignore_quotes => {
                    let value = if c == '"' { self.double_quoted()? } else { self.single_quoted()? };
                    result.push_str(&value);
                    words.push_raw(&mut self.word, &value);
                }
                _ if c == self.lex.escape => {
                    self.chars.next();
                    if self.lex.raw_escapes {
                        words.push_raw_char(&mut self.word, c);
                        result.push(c);
                    }
                    let Some(next) = self.chars.next() else { break };
                    words.push_raw_char(&mut self.word, next);
                    result.push(next);
                }
                _ => {
                    self.chars.next();
                    words.push(&mut self.word, c);
                    result.push(c);
                }
            }
        }
        match stop {
            Some(_) => Err(ExpandError::MissingBrace),
            None => Ok((result, words.finish(&mut self.word))),
        }
    }

    /// `<`, or `<<` with the blanks after it, which do not separate the name of a heredoc from it.
    fn redirection(&mut self) -> String {
        self.chars.next();
        let mut out = String::from("<");
        if let Some(c) = self.chars.next_if_eq(&'<') {
            out.push(c);
            while let Some(c) = self.chars.next_if(|c| matches!(c, '\t' | '\r' | ' ')) {
                out.push(c);
            }
        }
        out
    }

    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        let mut out = String::new();
        self.quote(&mut out);
        loop {
            match self.chars.peek() {
                None => return Err(ExpandError::Unmatched("single quote")),
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
                None => return Err(ExpandError::Unmatched("double quote")),
                Some('"') => {
                    self.quote(&mut out);
                    return Ok(out);
                }
                Some('$') => out.push_str(&self.dollar()?),
                Some(&c) if c == self.lex.escape => {
                    self.chars.next();
                    if self.lex.raw_escapes {
                        out.push(c);
                    }
                    // Before any other character it stands for itself, a second time if escapes are kept.
                    let escaped = self.chars.next_if(|next| matches!(next, '"' | '$') || *next == c);
                    if escaped.is_some() || self.chars.peek().is_some() {
                        out.push(escaped.unwrap_or(c));
                    }
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
        let value = self.substitution()?;
        self.made += value.len();
        if self.made > MAX_RESULT { Err(ExpandError::TooLong) } else { Ok(value) }
    }

    fn substitution(&mut self) -> Result<String, ExpandError> {
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
        match self.chars.next().ok_or(ExpandError::MissingBrace)? {
            '}' => Ok(match (self.vars)(&name) {
                None if self.lex.keep_unset => format!("${{{name}}}"),
                value => value.unwrap_or_default(),
            }),
            ':' => match self.chars.next().ok_or(ExpandError::MissingBrace)? {
                operator @ ('#' | '%') => Err(ExpandError::UnsupportedModifier(format!(":{operator}"))),
                operator => self.conditional(name, operator, true),
            },
            operator @ ('+' | '-' | '?') => self.conditional(name, operator, false),
            operator @ ('#' | '%') => self.trim(name, operator),
            '/' => self.replace(name),
            operator => Err(ExpandError::UnsupportedModifier(operator.to_string())),
        }
    }

    fn conditional(&mut self, name: String, operator: char, null_is_unset: bool) -> Result<String, ExpandError> {
        let colon = if null_is_unset { ":" } else { "" };
        let word = self.until(Some('}'), false)?.0;
        let value = (self.vars)(&name);
        if value.is_none() && self.lex.keep_unset {
            return Ok(format!("${{{name}{colon}{operator}{word}}}"));
        }
        let set = value.as_deref().is_some_and(|it| !(null_is_unset && it.is_empty()));
        match operator {
            '-' => Ok(if set { value.unwrap_or_default() } else { word }),
            '+' => Ok(if set { word } else { String::new() }),
            '?' if set => Ok(value.unwrap_or_default()),
            '?' => {
                let message = match value {
                    _ if !word.is_empty() => word,
                    None => "it must be set".to_owned(),
                    Some(_) => "it must not be empty".to_owned(),
                };
                Err(ExpandError::Required { name, message })
            }
            // Any other is looked at only now, so that it goes through where unset variables are kept.
            _ => Err(ExpandError::UnsupportedModifier(format!("{colon}{operator}"))),
        }
    }

    fn trim(&mut self, name: String, operator: char) -> Result<String, ExpandError> {
        let word = self.until(Some('}'), true)?.0;
        let value = (self.vars)(&name);
        if value.is_none() && self.lex.keep_unset {
            return Ok(format!("${{{name}{operator}{word}}}"));
        }
        let (reach, pattern) = match word.strip_prefix(operator) {
            Some(rest) => (Reach::Longest, rest),
            None => (Reach::Shortest, word.as_str()),
        };
        let trim = if operator == '#' { substitution::trim_start } else { substitution::trim_end };
        trim(&value.unwrap_or_default(), pattern, reach).map_err(|problem| bad_pattern(pattern, problem))
    }

    fn replace(&mut self, name: String) -> Result<String, ExpandError> {
        let all = self.chars.next_if_eq(&'/').is_some();
        let pattern = match self.until(Some('/'), true) {
            Err(ExpandError::MissingBrace) => return Err(ExpandError::MissingSlash),
            it => it?.0,
        };
        let text = self.until(Some('}'), true)?.0;
        let value = (self.vars)(&name);
        if value.is_none() && self.lex.keep_unset {
            return Ok(format!("${{{name}/{pattern}/{text}}}"));
        }
        substitution::replace(&value.unwrap_or_default(), &pattern, &text, all)
            .map_err(|problem| bad_pattern(&pattern, problem))
    }

    /// Letters, digits and `_`; all digits if it begins with one; or one special parameter.
    fn name(&mut self) -> String {
        let mut out = String::new();
        match self.chars.peek() {
            Some(&c) if is_digit(c) => {
                while let Some(c) = self.chars.next_if(|c| is_digit(*c)) {
                    out.push(c);
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => out.extend(self.chars.next()),
            _ => {
                while let Some(c) = self.chars.next_if(|c| *c == '_' || is_digit(*c) || is_letter(*c)) {
                    out.push(c);
                }
            }
        }
        out
    }
}

fn bad_pattern(pattern: &str, problem: PatternError) -> ExpandError {
    ExpandError::Pattern { pattern: pattern.to_owned(), problem }
}

/// A decimal digit of any script.
fn is_digit(c: char) -> bool {
    static DIGIT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\p{Nd}$").ok());
    if c.is_ascii() { c.is_ascii_digit() } else { is_one(&DIGIT, c) }
}

/// A letter in the strict sense: marks and letter-like numbers are none.
fn is_letter(c: char) -> bool {
    static LETTER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\p{L}$").ok());
    if c.is_ascii() { c.is_ascii_alphabetic() } else { is_one(&LETTER, c) }
}

fn is_one(class: &Option<Regex>, c: char) -> bool {
    class.as_ref().is_some_and(|it| it.is_match(c.encode_utf8(&mut [0; 4])))
}

/// Splits what is written to a word at blanks, except inside of quotes. The word itself is the reader's.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    inside: bool,
}

impl Words {
    fn push(&mut self, word: &mut String, c: char) {
        if !c.is_whitespace() {
            self.push_raw_char(word, c);
        } else if self.inside && !word.is_empty() {
            self.done.push(std::mem::take(word));
            self.inside = false;
        }
    }

    fn push_raw_char(&mut self, word: &mut String, c: char) {
        word.push(c);
        self.inside = true;
    }

    fn push_raw(&mut self, word: &mut String, text: &str) {
        word.push_str(text);
        self.inside = true;
    }

    fn finish(mut self, word: &mut String) -> Vec<String> {
        if !word.is_empty() {
            self.done.push(std::mem::take(word));
        }
        self.done
    }
}

#[cfg(test)]
mod tests;
