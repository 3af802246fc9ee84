//! The official build checks, under their official names.
//!
//! What is checked, and what counts, is as in BuildKit's `frontend/dockerfile/linter` and the places that call it.
//!
//! Invariant: a finding names the rule and the lines that the official check names, in the same number.

mod evaluate;
mod from;
mod hints;
mod options;
mod text;

pub use evaluate::{is_scan_switch, names_a_secret};

use super::ignore::Ignore;
use super::stages::{Outline, Rejected, outline};
use super::{Command, Diagnostic, Dockerfile, Instruction, Lines, Severity, Span};
use options::Options;
use std::collections::BTreeMap;

/// What a Dockerfile's checks need to know besides its text.
pub struct Surroundings<'a> {
    /// `--build-arg`.
    pub build_args: &'a BTreeMap<String, String>,
    /// `--target`; all stages are checked without it.
    pub target: Option<&'a str>,
    /// `os/arch[/variant]` of what is built.
    pub platform: &'a str,
    /// `os/arch[/variant]` of the machine.
    pub build_platform: &'a str,
    /// The context's `.dockerignore`.
    pub ignore: Option<&'a Ignore>,
    /// What the build as a whole makes of each stage.
    pub stages: &'a [Known<'a>],
    /// What ends the build before any of them is gone through.
    pub end: Option<&'a Diagnostic>,
}

/// What is known of a stage besides its text.
#[derive(Debug, Clone, Default)]
pub struct Known<'a> {
    /// A context of the command line takes the stage's place, so that it is not built on what its FROM says.
    pub replaced: bool,
    /// What it is built on, where that is no stage. Where nothing is known of it, no variable counts as undefined.
    pub base: Option<BaseImage>,
    /// What its base puts in with ONBUILD.
    pub triggers: Vec<&'a Command>,
    /// The instruction in which the build ends, counted from the first trigger, and why.
    pub end: Option<(usize, Diagnostic)>,
}

/// What checks ask of a base image.
#[derive(Debug, Clone, Default)]
pub struct BaseImage {
    pub env: Vec<(String, String)>,
    /// Whether it has a SHELL of its own.
    pub has_shell: bool,
    /// `os/arch`, if known.
    pub platform: Option<String>,
}

/// What the checks have found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// By line.
    pub findings: Vec<Finding>,
    /// Ours, not official ones: worth a look, and no fault.
    pub hints: Vec<Finding>,
    /// What ended the checks early.
    pub rejected: Option<Rejected>,
    /// Findings are errors here, and something was found.
    pub fails: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub rule: &'static str,
    /// The lines that the official check names.
    pub lines: Lines,
    /// Its code is the rule.
    pub diagnostic: Diagnostic,
}

/// Runs all checks.
pub fn lint(dockerfile: &Dockerfile, surroundings: &Surroundings) -> Report {
    if let Some(rejected) = wrong_options(dockerfile, surroundings.build_args) {
        return Report { rejected: Some(rejected), ..Report::default() };
    }
    let options = options(dockerfile, surroundings.build_args).unwrap_or_default();
    let mut found = Found::new(dockerfile, options);
    let rejected = match outline(dockerfile) {
        // Nothing at all is reported of a text that is not well-formed.
        Err(rejection) if dockerfile.stopped_at.is_some() => Some(rejection),
        Err(rejection) => {
            let accepted = dockerfile.instructions.iter().take_while(|it| it.lines.start < rejection.line).count();
            // An instruction's own casing is looked at before the rest of it.
            text::instructions(&mut found, accepted + 1);
            Some(rejection)
        }
        Ok(outline) => {
            text::instructions(&mut found, dockerfile.instructions.len());
            text::stage_names(&mut found, &outline);
            text::keyword_casing(&mut found, &outline);
            evaluate::evaluate(&mut found, &outline, surroundings).err()
        }
    };
    let fails = found.options.error && !found.findings.is_empty();
    found.findings.sort_by_key(|it| (it.lines, it.diagnostic.span));
    found.hints.sort_by_key(|it| (it.lines, it.diagnostic.span));
    Report { findings: found.findings, hints: found.hints, rejected, fails }
}

/// The build argument that takes the place of the file's `# check=`.
pub const ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// What is wrong with the options of the checks: it is refused before anything else is looked at.
pub fn wrong_options(dockerfile: &Dockerfile, build_args: &BTreeMap<String, String>) -> Option<Rejected> {
    let problem = options(dockerfile, build_args).err()?;
    Some(match build_args.contains_key(ARGUMENT) {
        true => bad_options(Span { start: 0, end: 0 }, 1, format!("--build-arg {ARGUMENT}: {problem}")),
        false => bad_directive(dockerfile, problem),
    })
}

/// Whether a finding is an error: by `error=true` of the file's `# check=`, or of the argument.
pub fn is_gate(dockerfile: &Dockerfile, build_args: &BTreeMap<String, String>) -> bool {
    options(dockerfile, build_args).is_ok_and(|options| options.error)
}

fn options(dockerfile: &Dockerfile, build_args: &BTreeMap<String, String>) -> Result<Options, String> {
    match build_args.get(ARGUMENT) {
        Some(given) => Options::parse(given),
        None => Options::directive(dockerfile.check.as_deref().unwrap_or_default()),
    }
}

/// The findings of the checks that go by an instruction's own words, whatever `# check=` says: `Rule:line`.
pub fn early(dockerfile: &Dockerfile) -> Vec<String> {
    let mut found = Found::new(dockerfile, Options::default());
    let accepted = match outline(dockerfile) {
        Err(_) if dockerfile.stopped_at.is_some() => 0,
        Err(rejection) => dockerfile.instructions.iter().take_while(|it| it.lines.start <= rejection.line).count(),
        Ok(Outline { .. }) => dockerfile.instructions.len(),
    };
    text::casings(&mut found, accepted);
    let mut out: Vec<String> = found.findings.iter().map(|it| format!("{}:{}", it.rule, it.lines.start)).collect();
    out.sort();
    out
}

/// The instructions with an empty line between their continuation lines, each with the line of the official warning:
/// the last one that was joined.
pub fn empty_continuations(dockerfile: &Dockerfile) -> Vec<(&Instruction, u32)> {
    text::empty_continuations(dockerfile)
}

fn bad_directive(dockerfile: &Dockerfile, problem: String) -> Rejected {
    let value = dockerfile.check.as_deref().unwrap_or_default();
    let start = dockerfile.text.find(value).unwrap_or(0);
    let span = Span { start, end: start + value.len() };
    let line = dockerfile.text.get(..start).unwrap_or_default().matches('\n').count() + 1;
    bad_options(span, u32::try_from(line).unwrap_or(u32::MAX), problem)
}

fn bad_options(span: Span, line: u32, message: String) -> Rejected {
    let diagnostic = Diagnostic {
        severity: Severity::Error,
        code: "check-options".to_owned(),
        message,
        span,
        help: "for instance # check=skip=JSONArgsRecommended,StageNameCasing;error=true".to_owned(),
    };
    Rejected { line, diagnostic }
}

/// Findings as they are made.
struct Found<'a> {
    dockerfile: &'a Dockerfile,
    options: Options,
    /// The comments before each instruction.
    comments: Vec<Vec<&'a str>>,
    findings: Vec<Finding>,
    hints: Vec<Finding>,
}

impl<'a> Found<'a> {
    fn new(dockerfile: &'a Dockerfile, options: Options) -> Found<'a> {
        Found { dockerfile, options, comments: text::comments(dockerfile), findings: Vec::new(), hints: Vec::new() }
    }

    /// Notes a finding, unless the options or the comments before the instruction tell it not to.
    fn note(&mut self, rule: &'static str, index: usize, word: &str, message: String, help: &str) {
        let comments = self.comments.get(index).map(Vec::as_slice).unwrap_or_default();
        if self.options.with_comments(comments).wants(rule) {
            self.add(rule, index, word, message, help);
        }
    }

    /// The same, for rules that comments have no influence on.
    fn note_in_file(&mut self, rule: &'static str, index: usize, word: &str, message: String, help: &str) {
        if self.options.wants(rule) {
            self.add(rule, index, word, message, help);
        }
    }

    /// Notes a hint; it is skipped like a finding.
    fn hint(&mut self, rule: &'static str, index: usize, word: &str, message: String, help: &str) {
        self.note(rule, index, word, message, help);
        if let Some(mut finding) = self.findings.pop_if(|it| it.rule == rule) {
            finding.diagnostic.severity = Severity::Hint;
            self.hints.push(finding);
        }
    }

    fn add(&mut self, rule: &'static str, index: usize, word: &str, message: String, help: &str) {
        let Some(instruction) = self.dockerfile.instructions.get(index) else { return };
        let span = super::lex::place(&self.dockerfile.text, instruction.span, word);
        self.push(rule, instruction.lines, span, message, help);
    }

    fn push(&mut self, rule: &'static str, lines: Lines, span: Span, message: String, help: &str) {
        let severity = Severity::Warning;
        let diagnostic = Diagnostic { severity, code: rule.to_owned(), message, span, help: help.to_owned() };
        self.findings.push(Finding { rule, lines, diagnostic });
    }
}

#[cfg(test)]
mod tests;
