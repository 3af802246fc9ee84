//! The checks that follow variables: stages are gone through as a build does, with nothing run.

use super::from::{default_bases, global_arguments, predefined, system_and_architecture};
use super::hints;
use super::{Found, Known, Surroundings};
use crate::dockerfile::budget::Budget;
use crate::dockerfile::command::{Argument, Assignment, Command, Fault, SourcesAndDest};
use crate::dockerfile::diagnostic::position;
use crate::dockerfile::expand::{ExpandError, Lex};
use crate::dockerfile::nearest::nearest;
use crate::dockerfile::ports::Ports;
use crate::dockerfile::stages::{Outline, Rejected, StageOutline};
use crate::dockerfile::{Diagnostic, Severity, Span, lex};
use regex::Regex;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

pub(super) type Variables = BTreeMap<String, String>;

/// Goes through all stages that count. The error is what ends a build before anything of it runs.
pub(super) fn evaluate(found: &mut Found, outline: &Outline, surroundings: &Surroundings) -> Result<(), Rejected> {
    if outline.stages.is_empty() {
        let end = found.dockerfile.text.len();
        let diagnostic = error("no-stage", "there is no stage to build", Span { start: end, end }, "add a FROM");
        return Err(Rejected { line: 0, diagnostic });
    }
    let lex = Lex { escape: found.dockerfile.escape, ..Lex::default() };
    let predefined = predefined(outline, surroundings);
    default_bases(found, outline, &lex, &predefined);
    let budget = Budget::default();
    let (globals, declared) =
        global_arguments(found, outline, &lex, &budget, predefined, Some(surroundings.build_args))?;
    let mut walk = Walk { found, surroundings, lex, budget, globals, declared, stages: Vec::new() };
    for stage in &outline.stages {
        let header = walk.header(stage)?;
        walk.stages.push((header, None));
    }
    walk.image_names(outline)?;
    let graph = walk.graph(outline);
    let wanted = walk.wanted(&graph)?;
    if let Some(end) = surroundings.end {
        let line = position(&walk.found.dockerfile.text, end.span.start).line;
        return Err(Rejected { line: u32::try_from(line).unwrap_or(u32::MAX), diagnostic: end.clone() });
    }
    for (index, stage) in outline.stages.iter().enumerate() {
        if wanted.contains(&index) {
            let state = walk.stage(index, stage)?;
            if let Some(entry) = walk.stages.get_mut(index) {
                entry.1 = Some(state);
            }
        }
    }
    if surroundings.target.is_none() {
        hints::hints(walk.found, outline, &graph);
    }
    Ok(())
}

pub(super) struct Walk<'w, 'a> {
    pub(super) found: &'w mut Found<'a>,
    pub(super) surroundings: &'w Surroundings<'w>,
    pub(super) lex: Lex,
    pub(super) budget: Budget,
    pub(super) globals: Variables,
    pub(super) declared: BTreeSet<String>,
    /// What is known of each stage before and after it is gone through.
    pub(super) stages: Vec<(Header, Option<State>)>,
}

/// A stage's FROM, expanded.
pub(super) struct Header {
    pub(super) name: Option<String>,
    pub(super) base: String,
    /// The stage that `base` names.
    pub(super) parent: Option<usize>,
    /// System and architecture of `--platform`.
    pub(super) platform: Option<(String, String)>,
}

/// What changes from one instruction to the next.
#[derive(Clone, Default)]
pub(super) struct State {
    env: Variables,
    /// The base's environment is not known, so that any variable may exist.
    open: bool,
    /// ARGs in scope, with or without a value.
    arguments: BTreeSet<String>,
    has_shell: bool,
    workdir_set: bool,
    windows: bool,
    /// The last CMD, ENTRYPOINT and HEALTHCHECK here, each with its place.
    last: BTreeMap<&'static str, Place>,
}

/// Where an instruction stands.
#[derive(Clone, Copy)]
struct Place {
    /// Its index in the file; for what a base puts in with ONBUILD, that of the FROM.
    index: usize,
    /// Whether comments before it count.
    commented: bool,
}

impl Walk<'_, '_> {
    fn note(&mut self, rule: &'static str, place: Place, word: &str, message: String, help: &str) {
        match place.commented {
            true => self.found.note(rule, place.index, word, message, help),
            false => self.found.note_in_file(rule, place.index, word, message, help),
        }
    }

    fn stage(&mut self, index: usize, stage: &StageOutline) -> Result<State, Rejected> {
        let from = Place { index: from_index(stage), commented: false };
        let unknown = Known::default();
        let known = self.surroundings.stages.get(index).unwrap_or(&unknown);
        let mut state = self.start(index, known, from);
        self.take(state.size(), from)?;
        // What stands in for a stage has its place, unless all is checked.
        let own = if known.replaced && self.surroundings.target.is_some() { &[] } else { stage.commands.as_slice() };
        let own = own.iter().enumerate();
        let own = own.map(|(offset, it)| (it, Place { index: stage.body.start + offset, commented: true }));
        let all = known.triggers.iter().map(|it| (*it, from)).chain(own);
        for (at, (command, place)) in all.enumerate() {
            self.instruction(&mut state, command, place)?;
            if let Some((end, diagnostic)) = &known.end
                && *end == at
            {
                let instruction = self.found.dockerfile.instructions.get(place.index);
                let line = instruction.map_or(0, |it| it.lines.start);
                return Err(Rejected { line, diagnostic: diagnostic.clone() });
            }
        }
        Ok(state)
    }

    /// The state that a stage begins with.
    fn start(&mut self, index: usize, known: &Known, from: Place) -> State {
        let Some((header, _)) = self.stages.get(index) else { return State::default() };
        let os = header.platform.as_ref().map(|it| it.0.clone());
        if let Some((_, Some(parent))) = header.parent.and_then(|it| self.stages.get(it)) {
            return State { last: BTreeMap::new(), ..parent.clone() };
        }
        let open = known.base.is_none();
        let base = known.base.clone().unwrap_or_default();
        if let Some(actual) = &base.platform {
            self.base_platform(index, from, actual);
        }
        let os = os.or_else(|| base.platform.as_deref()?.split('/').next().map(str::to_owned));
        let os = os.unwrap_or_else(|| self.surroundings.platform.split('/').next().unwrap_or_default().to_owned());
        let mut env: Variables = base.env.into_iter().collect();
        env.entry("PATH".to_owned()).or_default();
        State { env, open, has_shell: base.has_shell, windows: os == "windows", ..State::default() }
    }

    fn base_platform(&mut self, index: usize, from: Place, actual: &str) {
        let Some((header, _)) = self.stages.get(index) else { return };
        let machine = self.surroundings.build_platform;
        let target = || system_and_architecture(self.surroundings.platform, machine);
        let Some(expected) = header.platform.clone().or_else(target) else { return };
        let base = header.base.clone();
        if system_and_architecture(actual, machine).is_some_and(|it| it != expected) {
            let message = format!("{base} is for {actual}, and {}/{} is built for", expected.0, expected.1);
            self.note("InvalidBaseImagePlatform", from, &base, message, "choose an image for that platform");
        }
    }

    fn instruction(&mut self, state: &mut State, command: &Command, place: Place) -> Result<(), Rejected> {
        match command {
            Command::Env(pairs) => self.env(state, pairs, place)?,
            Command::Arg(arguments) => self.arguments(state, arguments, place)?,
            Command::Label(pairs) => {
                self.pairs(state, pairs, place)?;
                self.legacy("LABEL", pairs, place);
            }
            Command::Workdir(path) => {
                let path = self.word(state, path, place)?;
                if !state.workdir_set && !is_absolute(&path, state.windows) {
                    let message = format!("{path} is relative, to whatever the base's directory is");
                    self.note("WorkdirRelativePath", place, &path, message, "begin with an absolute path");
                }
                state.workdir_set = true;
            }
            Command::User(text) | Command::Stopsignal(text) => drop(self.word(state, text, place)?),
            Command::Volume(paths) => {
                for path in paths {
                    self.word(state, path, place)?;
                }
            }
            Command::Copy(copy) => {
                for flag in [&copy.chown, &copy.chmod].into_iter().flatten() {
                    self.word(state, flag, place)?;
                }
                self.files(state, &copy.files, place, copy.from.is_none(), false)?;
            }
            Command::Add(add) => {
                for flag in [&add.chown, &add.chmod, &add.checksum].into_iter().flatten() {
                    self.word(state, flag, place)?;
                }
                self.files(state, &add.files, place, true, true)?;
            }
            Command::Run(run) => {
                for mount in &run.mounts {
                    let mut failed = None;
                    // Faults of the mount itself are no matter of checks.
                    let _ = mount.resolve(&mut |text| {
                        self.word(state, text, place).map_err(|it| {
                            failed = Some(it);
                            Fault::new("expansion", "", "")
                        })
                    });
                    if let Some(rejected) = failed {
                        return Err(rejected);
                    }
                }
            }
            Command::Expose(ports) => self.expose(state, ports, place)?,
            Command::Cmd(line) => self.command_line("CMD", state, line.shell, place),
            Command::Entrypoint(line) => self.command_line("ENTRYPOINT", state, line.shell, place),
            Command::Healthcheck(_) => self.only_last("HEALTHCHECK", state, place),
            Command::Shell(_) => state.has_shell = true,
            Command::Onbuild(_) | Command::From(_) | Command::Maintainer(_) => {}
        }
        Ok(())
    }

    fn env(&mut self, state: &mut State, pairs: &[Assignment], place: Place) -> Result<(), Rejected> {
        let values = self.pairs(state, pairs, place)?;
        self.legacy("ENV", pairs, place);
        for (name, value) in values {
            self.secret("ENV", &name, place);
            state.env.insert(name, value);
        }
        Ok(())
    }

    fn arguments(&mut self, state: &mut State, arguments: &[Argument], place: Place) -> Result<(), Rejected> {
        for Argument { name, default } in arguments {
            self.secret("ARG", name, place);
            let value = match (self.surroundings.build_args.get(name), default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(text)) => Some(self.word(state, text, place)?),
                (None, None) => self.globals.get(name).cloned(),
            };
            if let Some(value) = value.filter(|_| !is_scan_switch(name)) {
                self.take(value.len(), place)?;
                state.env.insert(name.clone(), value);
            }
            state.arguments.insert(name.clone());
        }
        Ok(())
    }

    fn pairs(&mut self, state: &State, pairs: &[Assignment], place: Place) -> Result<Vec<(String, String)>, Rejected> {
        let expanded =
            pairs.iter().map(|pair| Ok((self.word(state, &pair.name, place)?, self.word(state, &pair.value, place)?)));
        expanded.collect()
    }

    fn legacy(&mut self, keyword: &str, pairs: &[Assignment], place: Place) {
        for pair in pairs.iter().filter(|it| it.legacy) {
            let message = format!("{keyword} with a blank between name and value is an old form");
            let help = format!("write {keyword} {}=…, with quotes around a value that has blanks", pair.name);
            self.note("LegacyKeyValueFormat", place, &pair.name, message, &help);
        }
    }

    fn secret(&mut self, keyword: &str, name: &str, place: Place) {
        if names_a_secret(name) {
            let message = format!("the value of {keyword} {name} stays in the image, for all to read");
            let help = "if it is a secret, use RUN --mount=type=secret";
            self.note("SecretsUsedInArgOrEnv", place, name, message, help);
        }
    }

    fn files(
        &mut self,
        state: &State,
        files: &SourcesAndDest,
        place: Place,
        from_context: bool,
        add: bool,
    ) -> Result<(), Rejected> {
        let mut paths = Vec::new();
        for path in &files.paths {
            paths.push(self.word(state, path, place)?);
        }
        self.word(state, &files.dest, place)?;
        let raw = Lex { ignore_quotes: true, ..Lex::default() };
        for inline in files.inline.iter().filter(|it| it.expand) {
            self.word_by(&raw, state, &lex::lossy(&inline.content), place)?;
        }
        let Some(ignore) = self.surroundings.ignore.filter(|it| from_context && !it.has_exceptions()) else {
            return Ok(());
        };
        for path in paths.iter().filter(|it| !(add && is_remote(it))) {
            let clean = crate::dockerfile::ignore::clean(path);
            // The whole context is no path that a pattern could mean, unless it means everything.
            let counts = !matches!(clean.as_str(), "." | "/") || ignore.excludes_everything();
            if counts
                && ignore
                    .is_ignored(&clean)
                    .map_err(|error| rejected(self.found, place.index, path, format!(".dockerignore: {error}")))?
            {
                let message = format!("{path} is excluded by .dockerignore");
                self.note(
                    "CopyIgnoredFile",
                    place,
                    path,
                    message,
                    "take it back in there with a line that begins with !",
                );
            }
        }
        Ok(())
    }

    fn expose(&mut self, state: &State, ports: &[String], place: Place) -> Result<(), Rejected> {
        let mut words = Vec::new();
        for text in ports {
            match self.lex.words(text, &|name| state.lookup(name)) {
                Ok(more) => {
                    self.take(size(&more), place)?;
                    words.extend(more);
                }
                Err(_) if state.open => {}
                Err(problem) => return Err(rejected(self.found, place.index, text, problem)),
            }
        }
        for word in &words {
            // What is wrong with a port is no matter of checks, but ends the line.
            let ports = match Ports::parse(word) {
                Ok(ports) => ports,
                Err(_) if state.open => continue,
                Err(_) => return Ok(()),
            };
            let lower = ports.protocol.to_lowercase();
            if ports.protocol != lower {
                let message = format!("the protocol of {word} is not in lower case");
                self.note("ExposeProtoCasing", place, word, message, &format!("write {lower}"));
            }
            if ports.has_host() {
                let message = format!("{word} has an address or a port of the host");
                let help = "EXPOSE takes the container's port only; mappings are given when it is run";
                self.note("ExposeInvalidFormat", place, word, message, help);
            }
            if ports.range().is_err() && !state.open {
                return Ok(());
            }
        }
        Ok(())
    }

    fn command_line(&mut self, keyword: &'static str, state: &mut State, shell: bool, place: Place) {
        self.only_last(keyword, state, place);
        if shell && !state.has_shell {
            let message = format!("a shell runs this {keyword}, and gets the signals in its place");
            let help = format!("write it as an array: {keyword} [\"program\", \"argument\"]");
            self.note("JSONArgsRecommended", place, "", message, &help);
        }
    }

    fn only_last(&mut self, keyword: &'static str, state: &mut State, place: Place) {
        if let Some(earlier) = state.last.insert(keyword, place) {
            // What the comments say goes by the later instruction, what is named is the earlier one.
            let message = format!("a later {keyword} of this stage takes this one's place");
            let comments = match place.commented {
                true => self.found.comments.get(place.index).cloned().unwrap_or_default(),
                false => Vec::new(),
            };
            let rule = "MultipleInstructionsDisallowed";
            if self.found.options.with_comments(&comments).wants(rule) {
                self.found.add(rule, earlier.index, "", message, "keep the last one");
            }
        }
    }

    fn word(&mut self, state: &State, text: &str, place: Place) -> Result<String, Rejected> {
        let lex = self.lex;
        self.word_by(&lex, state, text, place)
    }

    /// Expands a word, and notes the variables in it that are not defined.
    fn word_by(&mut self, lex: &Lex, state: &State, text: &str, place: Place) -> Result<String, Rejected> {
        let (value, _, unmatched) = expand(lex, text, &|name| state.lookup(name));
        for name in unmatched.iter().filter(|name| !state.arguments.contains(*name) && !is_scan_switch(name)) {
            let help = match nearest(name, state.env.keys().map(String::as_str)) {
                Some(near) => format!("did you mean ${near}?"),
                None => format!("define it with ARG {name} or ENV {name}=…, before it is used"),
            };
            let word = self.variable(place.index, name);
            self.note("UndefinedVar", place, &word, format!("${name} is not defined"), &help);
        }
        match value {
            // With unknown variables, no error is certain.
            Err(_) if state.open => Ok(UNKNOWN.to_owned()),
            value => {
                let value = value.map_err(|problem| rejected(self.found, place.index, text, problem))?;
                self.take(value.len(), place)?;
                Ok(value)
            }
        }
    }

    fn take(&self, bytes: usize, place: Place) -> Result<(), Rejected> {
        self.budget.take(bytes).map_err(|fault| rejected(self.found, place.index, "", fault.message))
    }
}

/// What a variable of an unknown base stands for: a path that gives no cause for any finding.
const UNKNOWN: &str = "/";

/// About what words take.
fn size<'s>(words: impl IntoIterator<Item = &'s String>) -> usize {
    words.into_iter().map(|it| it.len() + size_of::<String>()).sum()
}

impl State {
    /// Bytes that a stage of its own takes, about.
    fn size(&self) -> usize {
        size(self.env.keys().chain(self.env.values()).chain(&self.arguments))
    }

    fn lookup(&self, name: &str) -> Option<String> {
        let unknown = || (self.open && !self.arguments.contains(name)).then(|| UNKNOWN.to_owned());
        self.env.get(name).cloned().or_else(unknown)
    }
}

/// Expands; the names that were asked for and found, and those that were not.
pub(super) fn expand(
    lex: &Lex,
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> (Result<String, ExpandError>, BTreeSet<String>, BTreeSet<String>) {
    let asked = RefCell::new((BTreeSet::new(), BTreeSet::new()));
    let value = lex.word(text, &|name| {
        let value = lookup(name);
        let mut asked = asked.borrow_mut();
        let set = if value.is_some() { &mut asked.0 } else { &mut asked.1 };
        set.insert(name.to_owned());
        value
    });
    let (matched, unmatched) = asked.into_inner();
    (value, matched, unmatched)
}

/// Whether a name sounds like that of a secret, and does not sound harmless as well.
pub fn names_a_secret(name: &str) -> bool {
    static SECRET: LazyLock<Option<Regex>> =
        LazyLock::new(|| words("apikey|auth|credential|credentials|key|password|pword|passwd|secret|token"));
    static HARMLESS: LazyLock<Option<Regex>> = LazyLock::new(|| words("public|file|version"));
    let has = |words: &Option<Regex>| words.as_ref().is_some_and(|it| it.is_match(name));
    has(&SECRET) && !has(&HARMLESS)
}

/// Arguments that steer BuildKit's attestations and are no variables.
pub fn is_scan_switch(name: &str) -> bool {
    matches!(name, "BUILDKIT_SBOM_SCAN_CONTEXT" | "BUILDKIT_SBOM_SCAN_STAGE")
}

/// One of these words, alone or set off by `_`, in any case.
fn words(words: &str) -> Option<Regex> {
    Regex::new(&format!("(?i)(?:_|^)(?:{words})(?:_|$)")).ok()
}

/// On Windows there is the system's drive and no other, and no path of the network.
fn is_absolute(path: &str, windows: bool) -> bool {
    let slash = |path: &str| path.starts_with(['/', '\\']);
    match path.split_once(':') {
        _ if !windows => path.starts_with('/'),
        Some((drive, rest)) => drive.eq_ignore_ascii_case("c") && slash(rest),
        None => slash(path) && !path.get(1..).is_some_and(slash),
    }
}

fn is_remote(source: &str) -> bool {
    let schemes = ["http://", "https://", "git://", "ssh://", "git@"];
    schemes.iter().any(|scheme| source.starts_with(scheme))
}

pub(super) fn from_index(stage: &StageOutline) -> usize {
    stage.body.start.saturating_sub(1)
}

pub(super) fn rejected(found: &Found, index: usize, word: &str, problem: impl ToString) -> Rejected {
    let instruction = found.dockerfile.instructions.get(index);
    let line = instruction.map_or(0, |it| it.lines.start);
    let span = instruction.map_or(Span { start: 0, end: 0 }, |it| lex::place(&found.dockerfile.text, it.span, word));
    Rejected { line, diagnostic: error("expansion", problem.to_string(), span, "") }
}

pub(super) fn error(code: &str, message: impl Into<String>, span: Span, help: &str) -> Diagnostic {
    let severity = Severity::Error;
    Diagnostic { severity, code: code.to_owned(), message: message.into(), span, help: help.to_owned() }
}
