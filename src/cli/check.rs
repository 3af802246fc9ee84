//! `stagedive check`: the official build checks, and what else is wrong with a Dockerfile before anything runs.

use super::args::CheckArgs;
use super::engine;
use super::exit::Failure;
use super::project::{self, Project};
use crate::debug;
use crate::dockerfile::diagnostic::{Position, position, render};
use crate::dockerfile::ignore::Ignore;
use crate::dockerfile::lint::{Finding, Report};
use crate::dockerfile::{self, Diagnostic, Dockerfile, Severity};
use crate::engine::{Engine, Output};
use crate::plan::checks::{self, Bases};
use crate::plan::image_and_platform;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use std::io::Write;
use std::path::Path;
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
    let mut bases = Bases::new();
    let mut engine = None;
    // What is wrong already is told with the rest.
    while let Ok(missing) = checks::missing_bases(&checked.dockerfile, &project.options, &bases)
        && !missing.is_empty()
    {
        if args.offline {
            bases.extend(missing.into_iter().map(|name| (name, None)));
            continue;
        }
        let engine = match &mut engine {
            Some(engine) => engine,
            none => none.insert(engine::start(&args.build, &project).await?),
        };
        bases.extend(look_up(engine.as_ref(), missing).await);
    }
    let report = checks::report(&checked.dockerfile, &project.options, &bases, checked.ignore.as_ref());
    checked.print(&report, args.json)
}

/// What is known of each base: nothing, where it could not be looked up.
async fn look_up(engine: &dyn Engine, names: Vec<String>) -> Bases {
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
            let (image, platform) = image_and_platform(&name);
            let platform = platform.map(|it| format!(" for {it}")).unwrap_or_default();
            let note = format!("note: variables of {image}{platform} are not checked: {}", error.message);
            super::print::note(super::plain::printable(&note));
        }
        (name, found.ok().map(|it| it.config))
    });
    stream::iter(lookups).buffer_unordered(LOOKUPS).collect().await
}

/// A Dockerfile, and what stands around it.
struct Checked<'a> {
    project: &'a Project,
    dockerfile: Dockerfile,
    ignore: Option<Ignore>,
}

impl Checked<'_> {
    fn new(project: &Project) -> Result<Checked<'_>, Failure> {
        let text = (project.read)()
            .map_err(|error| Failure::Dockerfile(format!("stagedive: cannot read {}: {error}", project.name)))?;
        let dockerfile = dockerfile::parse(&text);
        let ignore = match &project.settings.context {
            Some(context) => context.patterns().map_err(|error| Failure::Dockerfile(format!("stagedive: {error}")))?,
            None => None,
        };
        Ok(Checked { project, dockerfile, ignore })
    }

    fn draw(&self, diagnostic: &Diagnostic) -> String {
        render(&self.project.name, &self.dockerfile.text, diagnostic)
    }

    fn print(&self, report: &Report, json: bool) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        let count = report.findings.len();
        let written = if json {
            let text = debug::json::text(&self.json(report)).unwrap_or_default();
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
