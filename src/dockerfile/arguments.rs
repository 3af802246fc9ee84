//! One joined line to keyword, flags and arguments, by the grammar of its instruction.
//!
//! The rules are those of BuildKit's `parser/line_parsers.go` and `parser/split_command.go`.

use super::json::{self, Array};

/// One instruction's line, split.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    /// Lower case.
    pub keyword: String,
    pub flags: Vec<String>,
    pub args: Vec<String>,
    pub json: bool,
    /// The instruction after ONBUILD.
    pub trigger: Option<Trigger>,
}

#[derive(Debug)]
pub(super) struct Trigger {
    pub original: String,
    pub arguments: Box<Arguments>,
}

/// Why a line could not be split.
#[derive(Debug)]
pub(super) struct Malformed {
    pub message: String,
    pub help: &'static str,
    /// The offending text; empty if it is the whole line.
    pub word: String,
}

pub(super) fn parse(line: &str, escape: char) -> Result<Arguments, Malformed> {
    nested(line, escape, MAX_CHAIN)
}

/// How many ONBUILDs may follow one another before the line is given up. A single one is right; a chain is well-formed,
/// and refused when instructions are typed.
const MAX_CHAIN: usize = 100;

fn nested(line: &str, escape: char, depth: usize) -> Result<Arguments, Malformed> {
    let (mut out, rest) = head(line, escape);
    if out.keyword != "onbuild" {
        arguments(&mut out, rest.trim(), escape)?;
    } else if depth == 0 {
        return Err(Malformed { message: "ONBUILD cannot hold ONBUILD".to_owned(), help: "", word: String::new() });
    } else if !rest.trim().is_empty() {
        let original = rest.trim().to_owned();
        let arguments = Box::new(nested(&original, escape, depth - 1)?);
        out.trigger = Some(Trigger { original, arguments });
    }
    Ok(out)
}

/// Keyword and flags, and the text after them.
fn head(line: &str, escape: char) -> (Arguments, String) {
    let trimmed = line.trim();
    let (written, rest) = match trimmed.find(is_blank) {
        Some(at) => (&trimmed[..at], trimmed[at..].trim_start_matches(is_blank)),
        None => (trimmed, ""),
    };
    let (flags, rest) = split_flags(rest, escape);
    (Arguments { keyword: lower(written), flags, ..Arguments::default() }, rest)
}

/// Lower case, one character for one.
fn lower(word: &str) -> String {
    word.chars().filter_map(|c| c.to_lowercase().next()).collect()
}

fn arguments(out: &mut Arguments, rest: &str, escape: char) -> Result<(), Malformed> {
    match out.keyword.as_str() {
        "add" | "copy" | "volume" => (out.args, out.json) = json_or(rest, words_by_blanks)?,
        "cmd" | "entrypoint" | "run" | "shell" => (out.args, out.json) = json_or(rest, whole)?,
        "env" | "label" => out.args = name_values(rest, &out.keyword.to_uppercase(), escape)?,
        "arg" => out.args = words(rest, escape),
        "expose" | "from" => out.args = words_by_blanks(rest),
        "maintainer" | "stopsignal" | "user" | "workdir" => out.args = whole(rest),
        "healthcheck" => {
            let end = rest.bytes().position(is_space_byte).unwrap_or(rest.len());
            let next = rest.bytes().skip(end).position(|c| !is_space_byte(c)).map_or(rest.len(), |at| end + at);
            if end > 0 {
                let (args, json) = json_or(&piece(rest, next, rest.len()), whole)?;
                out.args.push(piece(rest, 0, end));
                out.args.extend(args);
                out.json = json;
            }
        }
        // Not an instruction. It is refused later; here it has one empty argument.
        _ => out.args = vec![String::new()],
    }
    Ok(())
}

/// What separates words where quoting plays no part.
fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// What separates words where the official parser goes by bytes: inside of a longer character, 85 and A0 count as
/// blanks, being blanks of Latin-1.
fn is_space_byte(byte: u8) -> bool {
    char::from(byte).is_whitespace()
}

/// A part of the text, by bytes; pieces of characters at its ends become U+FFFD, one for a byte.
fn piece(text: &str, start: usize, end: usize) -> String {
    let bytes = text.as_bytes().get(start..end).unwrap_or_default();
    super::lex::lossy(bytes)
}

fn whole(rest: &str) -> Vec<String> {
    if rest.is_empty() { Vec::new() } else { vec![rest.to_owned()] }
}

fn words_by_blanks(rest: &str) -> Vec<String> {
    rest.split(is_blank).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn json_or(rest: &str, other: fn(&str) -> Vec<String>) -> Result<(Vec<String>, bool), Malformed> {
    if !rest.starts_with('[') {
        return Ok((other(rest), false));
    }
    match json::array(rest) {
        Array::Strings(strings) => Ok((strings, true)),
        Array::Other => Ok((other(rest), false)),
        Array::Mixed => Err(Malformed {
            message: "the JSON array holds something that is not a string".to_owned(),
            help: "put every element in double quotes",
            word: rest.to_owned(),
        }),
    }
}

fn name_values(rest: &str, keyword: &str, escape: char) -> Result<Vec<String>, Malformed> {
    const HELP: &str = "write NAME=value, with quotes around a value that has blanks";
    let words = words(rest, escape);
    let Some(first) = words.first() else { return Ok(Vec::new()) };
    if !first.contains('=') {
        let Some(at) = rest.find(is_blank) else {
            let message = format!("{keyword} {rest} has no value");
            return Err(Malformed { message, help: HELP, word: rest.to_owned() });
        };
        let value = rest[at..].trim_start_matches(is_blank);
        return Ok(vec![rest[..at].to_owned(), value.to_owned(), String::new()]);
    }
    let mut out = Vec::new();
    for word in words {
        let Some((name, value)) = word.split_once('=') else {
            let message = format!("{word:?} has no = between name and value");
            return Err(Malformed { message, help: HELP, word });
        };
        out.extend([name.to_owned(), value.to_owned(), "=".to_owned()]);
    }
    Ok(out)
}

/// Words with their quotes and escapes kept, as ENV, LABEL and ARG split them.
fn words(rest: &str, escape: char) -> Vec<String> {
    let mut out = Vec::new();
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match quote {
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    out.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ => {}
        }
        if c == escape && quote != Some('\'') {
            // At the end it is dropped.
            let Some(next) = chars.next() else { break };
            word.extend([c, next]);
        } else {
            word.push(c);
        }
    }
    if !word.is_empty() {
        out.push(word);
    }
    out
}

/// The `--name=value` words at the beginning, and what follows them. By bytes, as the official parser goes here:
/// each byte of a flag becomes the character of that number.
fn split_flags(line: &str, escape: char) -> (Vec<String>, String) {
    let bytes = line.as_bytes();
    let mut flags = Vec::new();
    let mut at = 0;
    loop {
        at += bytes.iter().skip(at).take_while(|c| is_space_byte(**c)).count();
        if !bytes.get(at..).is_some_and(|rest| rest.starts_with(b"--")) {
            return (flags, piece(line, at, line.len()));
        }
        let mut word = String::new();
        let mut quote: Option<u8> = None;
        while let Some(&c) = bytes.get(at) {
            match quote {
                None if is_space_byte(c) => break,
                None if c == b'\'' || c == b'"' => quote = Some(c),
                Some(open) if c == open => quote = None,
                _ if char::from(c) == escape => {
                    at += 1;
                    word.extend(bytes.get(at).map(|c| char::from(*c)));
                }
                _ => word.push(char::from(c)),
            }
            at += 1;
        }
        if word == "--" {
            return (flags, piece(line, at, line.len()));
        }
        flags.push(word);
    }
}
