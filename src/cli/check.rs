//! `stagedive check`: the official build checks, and what else is wrong with a Dockerfile before anything runs.

use super::args::CheckArgs;
use super::engine;
use super::exit::Failure;
use super::project::{self, Project};
use crate::dockerfile::diagnostic::{Position, position, render};
use crate::dockerfile::ignore::Ignore;
use crate::dockerfile::lint::{BaseImage, Finding, Report};
use crate::dockerfile::stages::Rejected;
use crate::dockerfile::{self, Diagnostic, Dockerfile, Instruction, Severity};
use crate::engine::{Engine, Output};
use crate::image::config::ImageConfig;
use crate::plan::{self, checks};
use futures_util::{StreamExt, stream};
use serde::Serialize;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Bases that are looked up at once.
const LOOKUPS: usize = 8;

pub async fn run(mut args: CheckArgs) -> Result<(), Failure> {
    let path = Path::new(&args.build.context);
    if args.build.file.is_none() && path.is_file() {
        // A Dockerfile in the context's place: its directory is the context.
        args.build.file = Some(path.to_owned());
        let parent = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
        args.build.context = parent.to_string_lossy().into_owned();
    }
    let project = project::open(&args.build)?;
    let checked = Checked::new(&project)?;
    let wanted = checked.bases(project.options.target.as_deref());
    let mut bases = BTreeMap::new();
    if !args.offline && !wanted.is_empty() {
        let engine = engine::start(&args.build, &project).await?;
        bases = look_up(engine.as_ref(), wanted).await;
    }
    let mut report = checked.report(project.options.target.as_deref(), &bases);
    if report.rejected.is_none() {
        report.rejected = checked.plan_error(bases);
    }
    checked.print(&report, args.json)
}

/// What is known of each base: nothing, where it could not be looked up.
type Bases = BTreeMap<String, Option<ImageConfig>>;

async fn look_up(engine: &dyn Engine, names: BTreeSet<String>) -> Bases {
    let lookups = names.into_iter().map(async |name| {
        // Nobody watches the progress of so little.
        let (sender, mut progress) = mpsc::channel(4);
        let output = Output(sender);
        let found = async {
            let found = engine.resolve(&name, &output).await;
            drop(output);
            found
        };
        let (found, ()) = tokio::join!(found, async { while progress.recv().await.is_some() {} });
        if let Err(error) = &found {
            let note = format!("note: variables of {name} are not checked: {}", error.message);
            super::print::note(super::plain::printable(&note));
        }
        (name, found.ok().map(|it| it.config))
    });
    stream::iter(lookups).buffer_unordered(LOOKUPS).collect().await
}

/// A Dockerfile, and what stands around it.
struct Checked<'a> {
    project: &'a Project,
    dockerfile: Arc<Dockerfile>,
    ignore: Option<Ignore>,
}

impl Checked<'_> {
    fn new(project: &Project) -> Result<Checked<'_>, Failure> {
        let text = (project.read)()
            .map_err(|error| Failure::Dockerfile(format!("stagedive: cannot read {}: {error}", project.name)))?;
        let dockerfile = Arc::new(dockerfile::parse(&text));
        let ignore = match &project.settings.context {
            Some(context) => context.patterns().map_err(|error| Failure::Dockerfile(format!("stagedive: {error}")))?,
            None => None,
        };
        Ok(Checked { project, dockerfile, ignore })
    }

    /// The images whose configuration the checks ask for.
    fn bases(&self, target: Option<&str>) -> BTreeSet<String> {
        let asked = RefCell::new(BTreeSet::new());
        self.lint(target, &|name| {
            asked.borrow_mut().insert(name.to_owned());
            None
        });
        asked.into_inner()
    }

    fn report(&self, target: Option<&str>, bases: &Bases) -> Report {
        self.lint(target, &|name| bases.get(name)?.as_ref().map(checks::base_image))
    }

    fn lint(&self, target: Option<&str>, base: &dyn Fn(&str) -> Option<BaseImage>) -> Report {
        checks::report(&self.dockerfile, &self.project.options, target, self.ignore.as_ref(), base)
    }

    /// What ends a build for other reasons than its words: cycles, flags that do not fit, and their like. Where a
    /// base is not known, only what does not depend on it.
    fn plan_error(&self, bases: Bases) -> Option<Rejected> {
        let mut options = self.project.options.clone();
        options.all_stages |= options.target.is_none();
        let unknown = bases.values().any(Option::is_none);
        let mut bases = bases.into_iter().map(|(name, config)| (name, config.unwrap_or_default())).collect();
        let errors = match plan::missing_bases(&self.dockerfile, &options, &bases) {
            Err(errors) => errors,
            Ok(missing) => {
                let unknown = unknown || !missing.is_empty();
                bases.extend(missing.into_iter().map(|name| (name, ImageConfig::default())));
                let mut errors = plan::lower(self.dockerfile.clone(), &options, &bases).err()?;
                errors.retain(|error| !unknown || !self.expands(error));
                errors
            }
        };
        let diagnostic = errors.into_iter().next()?;
        let Position { line, .. } = position(&self.dockerfile.text, diagnostic.span.start);
        Some(Rejected { line: u32::try_from(line).unwrap_or(u32::MAX), diagnostic })
    }

    /// Whether something is expanded in the instruction that an error is about: then another base may make it right.
    fn expands(&self, error: &Diagnostic) -> bool {
        let about = |it: &&Instruction| it.span.start <= error.span.start && error.span.start <= it.span.end;
        self.dockerfile.instructions.iter().find(about).is_none_or(|it| it.original.contains('$'))
    }

    fn draw(&self, diagnostic: &Diagnostic) -> String {
        render(&self.project.name, &self.dockerfile.text, diagnostic)
    }

    fn print(&self, report: &Report, json: bool) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        let count = report.findings.len();
        let written = if json {
            let text = serde_json::to_string(&self.json(report)).unwrap_or_default();
            writeln!(out, "{text}")
        } else {
            let all = report.findings.iter().chain(&report.hints);
            let drawn: String = all.map(|it| self.draw(&it.diagnostic) + "\n").collect();
            let summary = match (count, &report.rejected) {
                (_, Some(_)) => String::new(),
                (0, None) => "nothing found\n".to_owned(),
                (1, None) => "1 finding\n".to_owned(),
                (_, None) => format!("{count} findings\n"),
            };
            write!(out, "{drawn}{summary}")
        };
        // A reader that has gone away wants nothing more; the exit code still says it.
        let _ = written.and_then(|()| out.flush());
        match &report.rejected {
            Some(_) if json => Err(Failure::Dockerfile(String::new())),
            Some(rejected) => Err(Failure::Dockerfile(self.draw(&rejected.diagnostic))),
            None if count > 0 => Err(Failure::Gate),
            None => Ok(()),
        }
    }

    fn json<'r>(&self, report: &'r Report) -> Json<'r> {
        let found = |it: &'r Finding| self.found(&it.diagnostic, it.lines.start, it.lines.end);
        Json {
            findings: report.findings.iter().map(found).collect(),
            hints: report.hints.iter().map(found).collect(),
            error: report.rejected.as_ref().map(|it| self.found(&it.diagnostic, it.line, it.line)),
        }
    }

    fn found<'r>(&self, diagnostic: &'r Diagnostic, line: u32, end_line: u32) -> Found<'r> {
        Found {
            rule: &diagnostic.code,
            severity: diagnostic.severity,
            line,
            end_line,
            at: position(&self.dockerfile.text, diagnostic.span.start),
            message: &diagnostic.message,
            help: &diagnostic.help,
        }
    }
}

/// `--json`.
#[derive(Serialize)]
struct Json<'a> {
    findings: Vec<Found<'a>>,
    /// Not official ones, and no reason to fail.
    hints: Vec<Found<'a>>,
    /// What ended the checks before their end.
    error: Option<Found<'a>>,
}

#[derive(Serialize)]
struct Found<'a> {
    rule: &'a str,
    severity: Severity,
    /// The lines that the official check names.
    line: u32,
    end_line: u32,
    /// Where the offending text is.
    at: Position,
    message: &'a str,
    help: &'a str,
}
