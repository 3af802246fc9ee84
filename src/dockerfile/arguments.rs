//! One joined line to keyword, flags and arguments, by the grammar of its instruction.
//!
//! The rules are those of BuildKit's `parser/line_parsers.go` and `parser/split_command.go`.

/// One instruction's line, split.
#[derive(Debug)]
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
    pub keyword: String,
    pub original: String,
    pub flags: Vec<String>,
    pub args: Vec<String>,
    pub json: bool,
}

pub(super) fn parse(line: &str, escape: char) -> Result<Arguments, String> {
    let trimmed = line.trim();
    let (keyword, rest) = match trimmed.find(is_blank) {
        Some(at) => (&trimmed[..at], trimmed[at..].trim_start_matches(is_blank)),
        None => (trimmed, ""),
    };
    let keyword = keyword.to_lowercase();
    let (flags, rest) = split_flags(rest);
    let rest = rest.trim();
    let mut out = Arguments { keyword, flags, args: Vec::new(), json: false, trigger: None };
    match out.keyword.as_str() {
        "add" | "copy" | "volume" => (out.args, out.json) = json_or(rest, words_by_blanks)?,
        "cmd" | "entrypoint" | "run" | "shell" => (out.args, out.json) = json_or(rest, whole)?,
        "env" | "label" => out.args = name_values(rest, &out.keyword.to_uppercase(), escape)?,
        "arg" => out.args = words(rest, escape),
        "expose" | "from" => out.args = words_by_blanks(rest),
        "maintainer" | "stopsignal" | "user" | "workdir" => out.args = whole(rest),
        "healthcheck" => {
            let end = rest.find(|c: char| c.is_whitespace()).unwrap_or(rest.len());
            if end > 0 {
                let (args, json) = json_or(rest[end..].trim_start(), whole)?;
                out.args.push(rest[..end].to_owned());
                out.args.extend(args);
                out.json = json;
            }
        }
        "onbuild" if !rest.is_empty() => {
            let it = nested(rest, escape)?;
            out.trigger = Some(it);
        }
        "onbuild" => {}
        _ => out.args = vec![String::new()],
    }
    Ok(out)
}

/// The trigger of an ONBUILD. One level only: a trigger that is an ONBUILD itself is refused later, and is
/// not looked into, so that no depth of nesting can exhaust the stack.
fn nested(line: &str, escape: char) -> Result<Trigger, String> {
    let is_onbuild = line.split(is_blank).next().is_some_and(|word| word.eq_ignore_ascii_case("onbuild"));
    if is_onbuild {
        let keyword = "onbuild".to_owned();
        return Ok(Trigger { keyword, original: line.to_owned(), flags: Vec::new(), args: Vec::new(), json: false });
    }
    let it = parse(line, escape)?;
    Ok(Trigger { keyword: it.keyword, original: line.to_owned(), flags: it.flags, args: it.args, json: it.json })
}

/// What separates words where quoting plays no part.
fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

fn whole(rest: &str) -> Vec<String> {
    if rest.is_empty() { Vec::new() } else { vec![rest.to_owned()] }
}

fn words_by_blanks(rest: &str) -> Vec<String> {
    if rest.is_empty() {
        return Vec::new();
    }
    let mut out = Vec::new();
    let mut at = rest;
    loop {
        match at.find(is_blank) {
            Some(end) => {
                out.push(at[..end].to_owned());
                at = at[end..].trim_start_matches(is_blank);
            }
            None => {
                out.push(at.to_owned());
                return out;
            }
        }
    }
}

fn json_or(rest: &str, other: fn(&str) -> Vec<String>) -> Result<(Vec<String>, bool), String> {
    if rest.starts_with('[') {
        // Strings are most of what arrays hold, and refusing others needs a whole array of anything.
        if let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(rest) {
            let strings = values.into_iter().map(|value| match value {
                serde_json::Value::String(text) => Ok(text),
                _ => Err("when using JSON array syntax, arrays must be comprised of strings only".to_owned()),
            });
            return Ok((strings.collect::<Result<_, _>>()?, true));
        }
    }
    Ok((other(rest), false))
}

fn name_values(rest: &str, keyword: &str, escape: char) -> Result<Vec<String>, String> {
    let words = words(rest, escape);
    let Some(first) = words.first() else { return Ok(Vec::new()) };
    if !first.contains('=') {
        let Some(at) = rest.find(is_blank) else { return Err(format!("{keyword} must have two arguments")) };
        let value = rest[at..].trim_start_matches(is_blank);
        return Ok(vec![rest[..at].to_owned(), value.to_owned(), String::new()]);
    }
    let mut out = Vec::new();
    for word in &words {
        let Some((name, value)) = word.split_once('=') else {
            return Err(format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value"));
        };
        out.extend([name.to_owned(), value.to_owned(), "=".to_owned()]);
    }
    Ok(out)
}

/// Words with their quotes and escapes kept, as ENV, LABEL and ARG split them.
fn words(rest: &str, escape: char) -> Vec<String> {
    let mut out = Vec::new();
    let mut word = String::new();
    let mut started = false;
    let mut quote: Option<char> = None;
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match quote {
            None if c.is_whitespace() => {
                if started || !word.is_empty() {
                    out.push(std::mem::take(&mut word));
                }
                started = false;
            }
            None => {
                if c == '\'' || c == '"' {
                    quote = Some(c);
                    started = true;
                }
                if c == escape {
                    let Some(next) = chars.next() else { break };
                    word.push(c);
                    word.push(next);
                } else {
                    word.push(c);
                }
            }
            Some(open) => {
                if c == open {
                    quote = None;
                }
                if c == escape && open != '\'' {
                    let Some(next) = chars.next() else { break };
                    word.push(c);
                    word.push(next);
                } else {
                    word.push(c);
                }
            }
        }
    }
    if started || !word.is_empty() {
        out.push(word);
    }
    out
}

/// The `--name=value` words at the beginning, and what follows them.
fn split_flags(line: &str) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start();
        if !rest.starts_with("--") {
            return (flags, rest);
        }
        let mut word = String::new();
        let mut quoted = false;
        let mut quote: Option<char> = None;
        let mut end = rest.len();
        let mut chars = rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match quote {
                None if c.is_whitespace() => {
                    end = at;
                    break;
                }
                None if c == '\'' || c == '"' => {
                    quote = Some(c);
                    quoted = true;
                    continue;
                }
                Some(open) if c == open => {
                    quote = None;
                    continue;
                }
                _ => {}
            }
            if c == '\\' {
                match chars.next() {
                    Some((_, next)) => word.push(next),
                    None => break,
                }
            } else {
                word.push(c);
            }
        }
        rest = &rest[end..];
        if word == "--" {
            return (flags, rest);
        }
        if quoted || !word.is_empty() {
            flags.push(word);
        }
        if rest.is_empty() {
            return (flags, "");
        }
    }
}
