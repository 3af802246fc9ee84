//! Typed instructions: what the words of an instruction mean, before any variable is expanded.
//!
//! What is refused here is what the official instruction parser refuses.

use super::fields::{boolean, csv};
use super::flags::{Flags, Kind};
use super::healthcheck::{self, Healthcheck};
use super::lex::lossy;
use super::mount::MountFlag;
use super::nearest::nearest;
use super::{Diagnostic, Heredoc, Instruction, Severity, Span, heredoc};
use bstr::{BStr, BString, ByteSlice};

/// One instruction. Words are as written: quoted, escaped and unexpanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    From(FromCommand),
    Run(RunCommand),
    Copy(CopyCommand),
    Add(AddCommand),
    Env(Vec<Assignment>),
    Arg(Vec<Argument>),
    Label(Vec<Assignment>),
    Workdir(String),
    User(String),
    Cmd(CommandLine),
    Entrypoint(CommandLine),
    Shell(Vec<String>),
    /// Sorted, as the official parser sorts them.
    Expose(Vec<String>),
    Volume(Vec<String>),
    Healthcheck(Healthcheck),
    Stopsignal(String),
    /// The instruction after ONBUILD as text, with its heredocs.
    Onbuild(String),
    Maintainer(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromCommand {
    pub base: String,
    /// Lower case.
    pub name: Option<String>,
    pub platform: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunCommand {
    pub line: CommandLine,
    pub mounts: Vec<MountFlag>,
    /// `None` if the flag is not there, or says `default`.
    pub network: Option<RunNetwork>,
    /// `--security=insecure`.
    pub insecure: bool,
    /// The values of `--device`.
    pub devices: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunNetwork {
    None,
    Host,
}

/// What RUN, CMD and ENTRYPOINT run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// One shell line, or the words of the exec form.
    pub words: Vec<String>,
    /// Whether the shell runs it.
    pub shell: bool,
    pub heredocs: Vec<Heredoc>,
}

/// What COPY and ADD read, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcesAndDest {
    pub paths: Vec<String>,
    /// Files given as heredocs; they are copied after the paths.
    pub inline: Vec<InlineSource>,
    pub dest: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InlineSource {
    pub name: String,
    pub content: BString,
    pub expand: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyCommand {
    pub files: SourcesAndDest,
    pub from: Option<String>,
    pub chown: Option<String>,
    pub chmod: Option<String>,
    pub link: bool,
    pub parents: bool,
    pub exclude: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCommand {
    pub files: SourcesAndDest,
    pub chown: Option<String>,
    pub chmod: Option<String>,
    pub link: bool,
    pub exclude: Vec<String>,
    pub checksum: Option<String>,
    pub keep_git_dir: Option<bool>,
    pub unpack: Option<bool>,
}

/// One `name=value` of ENV and LABEL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    pub name: String,
    pub value: String,
    /// `ENV name value`, the old form with a blank.
    pub legacy: bool,
}

/// One `name` or `name=default` of ARG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    pub name: String,
    pub default: Option<String>,
}

/// What is wrong with an instruction; [`command_in`] finds the place of `word` in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub code: &'static str,
    pub message: String,
    pub help: String,
    /// The offending text; empty if it is the whole instruction.
    pub word: String,
    /// The official front end lets it through: only a build that runs is refused.
    pub late: bool,
}

impl Fault {
    pub fn new(code: &'static str, message: impl Into<String>, word: impl Into<String>) -> Fault {
        Fault { code, message: message.into(), help: String::new(), word: word.into(), late: false }
    }

    pub fn late(self) -> Fault {
        Fault { late: true, ..self }
    }

    pub fn help(mut self, help: impl Into<String>) -> Fault {
        self.help = help.into();
        self
    }

    fn at(self, span: Span) -> Diagnostic {
        let Fault { code, message, help, .. } = self;
        Diagnostic { severity: Severity::Error, code: code.to_owned(), message, span, help }
    }

    /// As an error whose span is the first place of its word in an instruction of `text`.
    pub fn in_text(self, text: &str, instruction: &Instruction) -> Diagnostic {
        let Span { start, end } = instruction.span;
        let source = text.get(start..end).unwrap_or("");
        let span = match place(source, &self.word) {
            Some(at) => Span { start: start + at, end: start + at + self.word.len() },
            None => Span { start, end: start + source.lines().next().unwrap_or("").trim_end().len() },
        };
        self.at(span)
    }
}

/// Where a word stands in a text: on its own if it does anywhere, else wherever its letters are.
fn place(text: &str, word: &str) -> Option<usize> {
    if word.is_empty() {
        return None;
    }
    let letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let alone = text.match_indices(word).find(|(at, _)| {
        let (before, after) = (text[..*at].chars().next_back(), text[at + word.len()..].chars().next());
        !letter(before) && !letter(after)
    });
    alone.map(|(at, _)| at).or_else(|| text.find(word))
}

/// Types an instruction. The span of an error is exact if the instruction stands on one line; [`command_in`]
/// is exact always.
pub fn command(instruction: &Instruction) -> Result<Command, Diagnostic> {
    parse(instruction).map_err(|fault| {
        let Span { start, .. } = instruction.span;
        let one_line = instruction.lines.start == instruction.lines.end && !fault.word.is_empty();
        let found = one_line.then(|| place(&instruction.original, &fault.word)).flatten();
        let span = match found {
            Some(at) => Span { start: start + at, end: start + at + fault.word.len() },
            None => instruction.span,
        };
        fault.at(span)
    })
}

/// Types an instruction of `text`.
pub fn command_in(text: &str, instruction: &Instruction) -> Result<Command, Diagnostic> {
    parse(instruction).map_err(|fault| fault.in_text(text, instruction))
}

/// Every instruction there is, lower case.
pub const KEYWORDS: [&str; 18] = [
    "add",
    "arg",
    "cmd",
    "copy",
    "entrypoint",
    "env",
    "expose",
    "from",
    "healthcheck",
    "label",
    "maintainer",
    "onbuild",
    "run",
    "shell",
    "stopsignal",
    "user",
    "volume",
    "workdir",
];

fn parse(instruction: &Instruction) -> Result<Command, Fault> {
    match instruction.keyword.as_str() {
        "add" => add(instruction),
        "arg" => arg(instruction),
        "cmd" => plain(instruction).map(|()| Command::Cmd(command_line(instruction))),
        "copy" => copy(instruction),
        "entrypoint" => plain(instruction).map(|()| Command::Entrypoint(command_line(instruction))),
        "env" => plain(instruction).and_then(|()| assignments(instruction)).map(Command::Env),
        "expose" => expose(instruction),
        "from" => from(instruction),
        "healthcheck" => healthcheck::parse(instruction).map(Command::Healthcheck),
        "label" => plain(instruction).and_then(|()| assignments(instruction)).map(Command::Label),
        "maintainer" => one(instruction).map(Command::Maintainer),
        "onbuild" => onbuild(instruction),
        "run" => run(instruction),
        "shell" => shell(instruction),
        // As in the official parser, flags of STOPSIGNAL and ARG are neither refused nor looked at.
        "stopsignal" => one_argument(instruction).map(Command::Stopsignal),
        "user" => one(instruction).map(Command::User),
        "volume" => volume(instruction),
        "workdir" => one(instruction).map(Command::Workdir),
        _ => Err(unknown(instruction)),
    }
}

fn unknown(instruction: &Instruction) -> Fault {
    // Only these end a keyword; what else looks blank is part of it.
    let blank = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}');
    let written = instruction.original.split(blank).find(|it| !it.is_empty()).unwrap_or(&instruction.keyword);
    // Of what is no Dockerfile at all, a word can be megabytes long.
    let (shown, more) = match written.char_indices().nth(60) {
        Some((at, _)) => (&written[..at], "…"),
        None => (written, ""),
    };
    let fault = Fault::new("unknown-instruction", format!("unknown instruction {shown}{more}"), shown);
    if let Some((keyword, rest)) = written.split_once(|c: char| c.is_whitespace())
        && KEYWORDS.contains(&keyword.to_lowercase().as_str())
    {
        let blank = written[keyword.len()..written.len() - rest.len()].escape_unicode();
        return fault.help(format!("the blank after {keyword} is a special one ({blank}): write a plain space"));
    }
    match nearest(&instruction.keyword, KEYWORDS) {
        Some(near) if written.to_lowercase() == written => fault.help(format!("did you mean {near}?")),
        Some(near) => fault.help(format!("did you mean {}?", near.to_uppercase())),
        None => fault.help("a line that goes on from the one above needs a \\ at that line's end"),
    }
}

/// Refuses every flag.
fn plain(instruction: &Instruction) -> Result<(), Fault> {
    Flags::read(&instruction.flags, &[]).map(|_| ())
}

fn one(instruction: &Instruction) -> Result<String, Fault> {
    let argument = one_argument(instruction)?;
    plain(instruction)?;
    Ok(argument)
}

fn one_argument(instruction: &Instruction) -> Result<String, Fault> {
    match instruction.args.as_slice() {
        [argument] => Ok(argument.clone()),
        _ => Err(missing(instruction, "takes exactly one argument")),
    }
}

fn some_arguments(instruction: &Instruction) -> Result<(), Fault> {
    match instruction.args.is_empty() {
        true => Err(missing(instruction, "needs at least one argument")),
        false => Ok(()),
    }
}

fn missing(instruction: &Instruction, what: &str) -> Fault {
    Fault::new("arguments", format!("{} {what}", instruction.keyword.to_uppercase()), "")
}

fn command_line(instruction: &Instruction) -> CommandLine {
    let shell = !instruction.json;
    let words = match instruction.args.as_slice() {
        [] => Vec::new(),
        args if shell => vec![args.join(" ")],
        args => args.to_vec(),
    };
    CommandLine { words, shell, heredocs: instruction.heredocs.clone() }
}

fn from(instruction: &Instruction) -> Result<Command, Fault> {
    let (base, name) = match instruction.args.as_slice() {
        [base] => (base, None),
        [base, word, name] if word.eq_ignore_ascii_case("as") => {
            let lower = name.to_lowercase();
            if !is_stage_name(&lower) {
                let message = format!("{name:?} cannot name a stage");
                return Err(Fault::new("stage-name", message, name)
                    .help("a name begins with a letter and holds letters, digits, -, _ and ."));
            }
            (base, Some(lower))
        }
        args => {
            let word = args.get(1).map_or("", String::as_str);
            return Err(Fault::new("arguments", "FROM takes an image, or an image, AS and a name", word)
                .help("for instance FROM golang:1.25 AS builder"));
        }
    };
    let flags = Flags::read(&instruction.flags, &[("platform", Kind::Text)])?;
    Ok(Command::From(FromCommand { base: base.clone(), name, platform: flags.text("platform") }))
}

fn is_stage_name(name: &str) -> bool {
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(rest)
}

fn run(instruction: &Instruction) -> Result<Command, Fault> {
    const FLAGS: &[(&str, Kind)] =
        &[("device", Kind::Texts), ("mount", Kind::Texts), ("network", Kind::Text), ("security", Kind::Text)];
    let flags = Flags::read(&instruction.flags, FLAGS)?;
    let devices: Vec<String> = flags.texts("device").map(str::to_owned).collect();
    devices.iter().try_for_each(|device| check_device(device))?;
    let mounts = flags.texts("mount").map(MountFlag::parse).collect::<Result<_, _>>()?;
    let network = match flags.raw("network") {
        None | Some("default") => None,
        Some("none") => Some(RunNetwork::None),
        Some("host") => Some(RunNetwork::Host),
        Some(other) => {
            let message = format!("--network: {other:?} is not a network mode");
            return Err(Fault::new("flag-value", message, other).help("it is default, none or host"));
        }
    };
    let insecure = match flags.raw("security") {
        None | Some("sandbox") => false,
        Some("insecure") => true,
        Some(other) => {
            let message = format!("--security: {other:?} is not a security mode");
            return Err(Fault::new("flag-value", message, other).help("it is sandbox or insecure"));
        }
    };
    Ok(Command::Run(RunCommand { line: command_line(instruction), mounts, network, insecure, devices }))
}

/// `--device=name,required`, or with the names written out. Only its form is checked.
fn check_device(text: &str) -> Result<(), Fault> {
    let fault = |message: String| Fault::new("device", message, text);
    let fields =
        csv(text).ok_or_else(|| fault(format!("--device={text} is not a list of fields separated by commas")))?;
    let mut named = false;
    for field in &fields {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value)),
            None => (field.to_lowercase(), None),
        };
        match (key.as_str(), value) {
            ("required", None) => {}
            ("required", Some(value)) if boolean(value).is_some() => {}
            ("required", Some(value)) => return Err(fault(format!("--device required={value} is not true or false"))),
            ("name", Some(_)) if named => return Err(fault("--device names two devices".to_owned())),
            ("name", Some(value)) => named = !value.is_empty(),
            _ if !named => named = !field.is_empty(),
            _ => return Err(fault(format!("--device has no field {field:?}")).help("its fields are name and required")),
        }
    }
    Ok(())
}

fn copy(instruction: &Instruction) -> Result<Command, Fault> {
    const FLAGS: &[(&str, Kind)] = &[
        ("chown", Kind::Text),
        ("from", Kind::Text),
        ("chmod", Kind::Text),
        ("link", Kind::Bool),
        ("exclude", Kind::Texts),
        ("parents", Kind::Bool),
    ];
    let words = sources_and_dest(instruction)?;
    let flags = Flags::read(&instruction.flags, FLAGS)?;
    Ok(Command::Copy(CopyCommand {
        files: files(instruction, words)?,
        from: flags.text("from"),
        chown: flags.text("chown"),
        chmod: flags.text("chmod"),
        link: flags.boolean("link").unwrap_or(false),
        parents: flags.boolean("parents").unwrap_or(false),
        exclude: flags.texts("exclude").map(str::to_owned).collect(),
    }))
}

fn add(instruction: &Instruction) -> Result<Command, Fault> {
    const FLAGS: &[(&str, Kind)] = &[
        ("chown", Kind::Text),
        ("chmod", Kind::Text),
        ("link", Kind::Bool),
        ("keep-git-dir", Kind::Bool),
        ("checksum", Kind::Text),
        ("unpack", Kind::Bool),
        ("exclude", Kind::Texts),
    ];
    let words = sources_and_dest(instruction)?;
    let flags = Flags::read(&instruction.flags, FLAGS)?;
    Ok(Command::Add(AddCommand {
        files: files(instruction, words)?,
        chown: flags.text("chown"),
        chmod: flags.text("chmod"),
        link: flags.boolean("link").unwrap_or(false),
        exclude: flags.texts("exclude").map(str::to_owned).collect(),
        checksum: flags.text("checksum"),
        keep_git_dir: flags.boolean("keep-git-dir"),
        unpack: flags.boolean("unpack"),
    }))
}

fn sources_and_dest(instruction: &Instruction) -> Result<(&[String], &str), Fault> {
    match instruction.args.split_last() {
        Some((dest, sources)) if !sources.is_empty() => Ok((sources, dest)),
        _ => Err(missing(instruction, "needs a source and a destination").help("the last word is where it goes")),
    }
}

fn files(instruction: &Instruction, (sources, dest): (&[String], &str)) -> Result<SourcesAndDest, Fault> {
    // A word that only looks like a heredoc and is none is a path, as in the official parser.
    let as_heredoc = |word: &str| heredoc::parse(word).ok().flatten();
    if as_heredoc(dest).is_some() {
        return Err(
            missing(instruction, "cannot have a heredoc as its destination").help("the last word is where it goes")
        );
    }
    let (mut paths, mut inline) = (Vec::new(), Vec::new());
    for word in sources {
        let Some(announced) = as_heredoc(word) else {
            paths.push(word.clone());
            continue;
        };
        let given = instruction.heredocs.iter().rev().find(|it| it.name == announced.name);
        let content = given.map(|it| it.content.clone()).unwrap_or_default();
        let content = if announced.chomp { chomped(content.as_bstr()) } else { content };
        inline.push(InlineSource { name: announced.name, content, expand: announced.expand });
    }
    Ok(SourcesAndDest { paths, inline, dest: dest.to_owned() })
}

/// A `<<-` heredoc's content: its lines without leading tabs.
pub fn chomped(content: &BStr) -> BString {
    bstr::concat(content.lines_with_terminator().map(|line| line.trim_start_with(|c| c == '\t'))).into()
}

/// The heredoc that a whole shell line consists of, if it is one: `RUN <<EOF`.
pub fn sole_heredoc(line: &str) -> Option<Heredoc> {
    heredoc::parse(line).ok().flatten()
}

fn assignments(instruction: &Instruction) -> Result<Vec<Assignment>, Fault> {
    some_arguments(instruction)?;
    let triples = instruction.args.chunks(3).map(|triple| match triple {
        [name, ..] if name.is_empty() => Err(missing(instruction, "needs a name before =")),
        [name, value, equals] => Ok(Assignment { name: name.clone(), value: value.clone(), legacy: equals.is_empty() }),
        _ => Err(missing(instruction, "takes pairs of a name and a value")),
    });
    triples.collect()
}

fn arg(instruction: &Instruction) -> Result<Command, Fault> {
    some_arguments(instruction)?;
    let arguments = instruction.args.iter().map(|word| match word.split_once('=') {
        Some(("", _)) => Err(Fault::new("arguments", "ARG needs a name before =", word)),
        Some((name, default)) => Ok(Argument { name: name.to_owned(), default: Some(default.to_owned()) }),
        None => Ok(Argument { name: word.clone(), default: None }),
    });
    arguments.collect::<Result<_, _>>().map(Command::Arg)
}

fn expose(instruction: &Instruction) -> Result<Command, Fault> {
    some_arguments(instruction)?;
    plain(instruction)?;
    let mut ports = instruction.args.clone();
    ports.sort();
    Ok(Command::Expose(ports))
}

fn volume(instruction: &Instruction) -> Result<Command, Fault> {
    some_arguments(instruction)?;
    plain(instruction)?;
    let volumes = instruction.args.iter().map(|word| match word.trim() {
        "" => Err(missing(instruction, "needs a path, and one here is empty")),
        path => Ok(path.to_owned()),
    });
    volumes.collect::<Result<_, _>>().map(Command::Volume)
}

fn shell(instruction: &Instruction) -> Result<Command, Fault> {
    plain(instruction)?;
    some_arguments(instruction)?;
    match instruction.json {
        true => Ok(Command::Shell(instruction.args.clone())),
        false => Err(missing(instruction, "takes a JSON array").help("for instance SHELL [\"/bin/bash\", \"-c\"]")),
    }
}

fn onbuild(instruction: &Instruction) -> Result<Command, Fault> {
    let Some(trigger) = &instruction.trigger else { return Err(missing(instruction, "needs an instruction")) };
    plain(instruction)?;
    if matches!(trigger.keyword.as_str(), "onbuild" | "maintainer" | "from") {
        let message = format!("ONBUILD cannot put off {}", trigger.keyword.to_uppercase());
        let written = trigger.original.split_whitespace().next().unwrap_or("");
        return Err(Fault::new("onbuild", message, written));
    }
    let original = instruction.original.trim_start();
    let rest = original.split_at_checked("onbuild".len()).map_or(original, |(_, rest)| rest);
    let mut text = rest.trim_start().to_owned();
    for heredoc in &instruction.heredocs {
        text.push('\n');
        text.push_str(&lossy(&heredoc.content));
        text.push_str(&heredoc.name);
    }
    Ok(Command::Onbuild(text))
}

#[cfg(test)]
mod tests;
