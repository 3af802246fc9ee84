//! From a Dockerfile to a plan: read, parse, look the bases up, lower. Runs beside the actor.

use super::build::Prepared;
use super::work::Report;
use crate::dockerfile::{self, Diagnostic, Dockerfile, Severity};
use crate::engine::{Engine, EngineError, Output, ResolvedImage};
use crate::image::config::ImageConfig;
use crate::plan::{self, Options};
use futures_util::{StreamExt, stream};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Bases that are looked up at once.
const LOOKUPS: usize = 8;

pub(super) type Read = Arc<dyn Fn() -> io::Result<Vec<u8>> + Send + Sync>;

/// Where the Dockerfile comes from.
#[derive(Clone)]
pub(super) enum Text {
    /// Read, under the name that the user gave it.
    Read { name: String, read: Read },
    /// As it was read for the plan before.
    Kept { name: String, dockerfile: Arc<Dockerfile> },
}

/// Why there is no plan. `rendered` is drawn under the source line where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlanError {
    pub(super) message: String,
    pub(super) rendered: String,
}

pub(super) async fn prepare(
    engine: Arc<dyn Engine>,
    text: Text,
    options: Options,
    attempt: u64,
    reports: mpsc::Sender<Report>,
) {
    let result = plan(engine, text, options, attempt, &reports).await;
    let _ = reports.send(Report::Prepared { attempt, result }).await;
}

async fn plan(
    engine: Arc<dyn Engine>,
    text: Text,
    options: Options,
    attempt: u64,
    reports: &mpsc::Sender<Report>,
) -> Result<Prepared, PlanError> {
    let options = Arc::new(options);
    let wanted = options.clone();
    let (name, dockerfile, names) = blocking(move || {
        let (name, dockerfile) = parsed(text)?;
        let names = plan::bases(&dockerfile, &wanted).map_err(|list| refused(&name, &dockerfile, &list))?;
        Ok((name, dockerfile, names))
    })
    .await?;

    let lookups = names.into_iter().map(|image| resolve(engine.clone(), image, attempt, reports.clone()));
    let mut found: Vec<_> = stream::iter(lookups).buffer_unordered(LOOKUPS).collect().await;
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut bases = BTreeMap::new();
    for (image, result) in found {
        let resolved = result.map_err(|error| no_base(&name, &dockerfile, &image, &error))?;
        bases.insert(image, resolved.config);
    }

    blocking(move || {
        let plan = lowered(&name, &dockerfile, &options, &bases)?;
        Ok(Prepared { plan: Arc::new(plan), bases: Arc::new(bases) })
    })
    .await
}

fn parsed(text: Text) -> Result<(String, Arc<Dockerfile>), PlanError> {
    let (name, read) = match text {
        Text::Kept { name, dockerfile } => return Ok((name, dockerfile)),
        Text::Read { name, read } => (name, read),
    };
    let bytes = read().map_err(|error| unreadable(&name, &error))?;
    let dockerfile = dockerfile::parse(&bytes);
    match dockerfile.diagnostics.iter().any(|it| it.severity == Severity::Error) {
        true => Err(refused(&name, &dockerfile, &dockerfile.diagnostics)),
        false => Ok((name, Arc::new(dockerfile))),
    }
}

fn lowered(
    name: &str,
    dockerfile: &Arc<Dockerfile>,
    options: &Options,
    bases: &BTreeMap<String, ImageConfig>,
) -> Result<plan::Plan, PlanError> {
    plan::lower(dockerfile.clone(), options, bases).map_err(|list| refused(name, dockerfile, &list))
}

async fn resolve(
    engine: Arc<dyn Engine>,
    image: String,
    attempt: u64,
    reports: mpsc::Sender<Report>,
) -> (String, Result<ResolvedImage, EngineError>) {
    let (sender, mut progress) = mpsc::channel(4);
    let output = Output(sender);
    let forward = async {
        while let Some(event) = progress.recv().await {
            let _ = reports.send(Report::Base { attempt, image: image.clone(), event }).await;
        }
    };
    let lookup = async {
        let result = engine.resolve(&image, &output).await;
        drop(output);
        result
    };
    let (result, ()) = tokio::join!(lookup, forward);
    (image, result)
}

/// Parsing a large file takes a while, and reading one can take any time.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PlanError> + Send + 'static,
) -> Result<T, PlanError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|fault| {
        let message = format!("the plan could not be made: {fault}");
        Err(PlanError { rendered: format!("error: {message}\n  this is a fault in stagedive\n"), message })
    })
}

fn unreadable(name: &str, error: &io::Error) -> PlanError {
    let message = format!("cannot read {name}: {error}");
    let help = match error.kind() {
        io::ErrorKind::NotFound => "  name the file with -f, or give the directory that holds it\n",
        _ => "",
    };
    PlanError { rendered: format!("error: {message}\n{help}"), message }
}

fn refused(name: &str, dockerfile: &Dockerfile, list: &[Diagnostic]) -> PlanError {
    let worst = list.iter().max_by_key(|it| (it.severity, std::cmp::Reverse(it.span.start)));
    let message = worst.map_or_else(|| format!("{name} cannot be planned"), |it| it.message.clone());
    let errors = list.iter().filter(|it| it.severity == Severity::Error);
    let drawn: Vec<String> = errors.map(|it| draw(it, &dockerfile.text, name)).collect();
    let rendered = if drawn.is_empty() { format!("error: {message}\n") } else { drawn.join("\n") };
    PlanError { message, rendered }
}

/// Drawn under the FROM that names the image, if one does in so many words.
fn no_base(name: &str, dockerfile: &Dockerfile, image: &str, error: &EngineError) -> PlanError {
    let names = |it: &&dockerfile::Instruction| it.keyword == "from" && it.args.first().is_some_and(|it| it == image);
    let message = format!("base image {image}: {}", error.message);
    let help = error.help.join("\n");
    let rendered = match dockerfile.instructions.iter().find(names) {
        Some(from) => {
            let (code, span) = ("base-image".to_owned(), from.span);
            let finding = Diagnostic { severity: Severity::Error, code, message: message.clone(), span, help };
            draw(&finding, &dockerfile.text, name)
        }
        None => {
            let help: String = error.help.iter().map(|line| format!("  {line}\n")).collect();
            format!("error: {message}\n{help}")
        }
    };
    PlanError { message, rendered }
}

fn draw(finding: &Diagnostic, text: &str, name: &str) -> String {
    let line = text.bytes().take(finding.span.start).filter(|byte| *byte == b'\n').count() + 1;
    format!("{name}:{line}: {}\n{}\n", finding.message, finding.help)
}
