//! `--name=value` words of one instruction, held against the flags it has.

use super::command::Fault;
use super::nearest::nearest;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `--link`, `--link=true`, `--link=false`.
    Bool,
    /// Once, with a value.
    Text,
    /// Any number of times, each with a value.
    Texts,
}

/// The flags of one instruction, checked.
#[derive(Debug)]
pub(super) struct Flags<'a> {
    given: Vec<(&'a str, &'a str)>,
}

impl<'a> Flags<'a> {
    pub(super) fn read(words: &'a [String], known: &[(&str, Kind)]) -> Result<Flags<'a>, Fault> {
        let mut given: Vec<(&str, &str)> = Vec::new();
        for word in words {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word.as_str(), None),
            };
            let bare = name.strip_prefix("--").unwrap_or(name);
            let Some((_, kind)) = known.iter().find(|(known, _)| *known == bare) else {
                return Err(unknown(name, bare, known));
            };
            if *kind != Kind::Texts && given.iter().any(|(earlier, _)| *earlier == bare) {
                let message = format!("{name} is given twice");
                return Err(Fault::new("duplicate-flag", message, word).help("keep one of them"));
            }
            let value = match (kind, value) {
                (Kind::Bool, None) => "true",
                (Kind::Bool, Some(value)) if value.eq_ignore_ascii_case("true") => "true",
                (Kind::Bool, Some(value)) if value.eq_ignore_ascii_case("false") => "false",
                (Kind::Bool, Some(value)) if !value.is_empty() => {
                    let message = format!("{name} is on or off, and {value:?} is neither");
                    return Err(
                        Fault::new("flag-value", message, word).help(format!("{name}, {name}=true or {name}=false"))
                    );
                }
                (Kind::Text | Kind::Texts, Some(value)) => value,
                _ => {
                    let message = format!("{name} has no value");
                    return Err(Fault::new("flag-value", message, word).help(format!("write it as {name}=VALUE")));
                }
            };
            given.push((bare, value));
        }
        Ok(Flags { given })
    }

    /// Its value; an empty one counts as not given, as in the official parser.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.texts(name).next().filter(|value| !value.is_empty()).map(str::to_owned)
    }

    /// The value as it was given, empty or not.
    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        self.texts(name).next()
    }

    pub(super) fn texts(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.given.iter().filter(move |(given, _)| *given == name).map(|(_, value)| *value)
    }

    pub(super) fn boolean(&self, name: &str) -> Option<bool> {
        self.raw(name).map(|value| value == "true")
    }
}

/// Flags that one instruction alone has, and that are looked for in others.
const ELSEWHERE: [(&str, &str); 12] = [
    ("platform", "FROM"),
    ("mount", "RUN"),
    ("network", "RUN"),
    ("security", "RUN"),
    ("device", "RUN"),
    ("from", "COPY"),
    ("parents", "COPY"),
    ("checksum", "ADD"),
    ("keep-git-dir", "ADD"),
    ("unpack", "ADD"),
    ("interval", "HEALTHCHECK"),
    ("retries", "HEALTHCHECK"),
];

fn unknown(name: &str, bare: &str, known: &[(&str, Kind)]) -> Fault {
    let fault = Fault::new("unknown-flag", format!("unknown flag {name}"), name);
    if let Some(near) = nearest(bare, known.iter().map(|(name, _)| *name)) {
        return fault.help(format!("did you mean --{near}?"));
    }
    if let Some((_, owner)) = ELSEWHERE.iter().find(|(flag, _)| *flag == bare) {
        return fault.help(format!("it is a flag of {owner}"));
    }
    match known {
        [] => fault.help("this instruction takes no flags"),
        _ => {
            let names: Vec<String> = known.iter().map(|(name, _)| format!("--{name}")).collect();
            fault.help(format!("this instruction takes {}", names.join(", ")))
        }
    }
}
