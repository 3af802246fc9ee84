//! From a Dockerfile to a plan: read, parse, look the bases up, lower. Runs beside the actor.

use super::PlanFault;
use super::build::Prepared;
use super::timeline::Basis;
use super::work::Report;
use crate::dockerfile::lint;
use crate::dockerfile::nearest::nearest;
use crate::dockerfile::{self, Diagnostic, Dockerfile, Severity, diagnostic};
use crate::engine::settings::Context;
use crate::engine::{Engine, EngineError, EngineErrorKind, Output, ResolvedImage};
use crate::image::config::ImageConfig;
use crate::plan::step::image_and_platform;
use crate::plan::{self, FileOrigin, Options, Plan, Step, checks};
use futures_util::{StreamExt, stream};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Bases that are looked up at once.
const LOOKUPS: usize = 8;
/// Errors that are drawn of one file; what follows is mostly their echo.
const DRAWN: usize = 20;

pub(super) type Read = Arc<dyn Fn() -> io::Result<Vec<u8>> + Send + Sync>;

/// Where the Dockerfile comes from.
#[derive(Clone)]
pub(super) enum Text {
    /// Read, under the name that the user gave it.
    Read { name: String, read: Read },
    /// As it was read for the plan before.
    Kept { name: String, dockerfile: Arc<Dockerfile> },
}

/// What a plan is made from.
pub(super) struct Source {
    pub(super) text: Text,
    pub(super) options: Options,
    pub(super) context: Option<Context>,
}

/// Why there is no plan. `rendered` is drawn under the source line where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlanError {
    pub(super) fault: PlanFault,
    pub(super) message: String,
    pub(super) rendered: String,
}

/// `sketched`: what can be told of the plan before the bases are there is told.
pub(super) async fn prepare(
    engine: Arc<dyn Engine>,
    source: Source,
    attempt: u64,
    sketched: bool,
    reports: mpsc::Sender<Report>,
) {
    let result = plan(engine, source, attempt, sketched, &reports).await;
    let _ = reports.send(Report::Prepared { attempt, result }).await;
}

async fn plan(
    engine: Arc<dyn Engine>,
    source: Source,
    attempt: u64,
    sketched: bool,
    reports: &mpsc::Sender<Report>,
) -> Result<Prepared, PlanError> {
    let Source { text, options, context } = source;
    let options = Arc::new(options);
    let (name, dockerfile) = blocking(move || parsed(text)).await?;
    let named = Named { name: name.into(), dockerfile };
    let mut bases = Arc::new(BTreeMap::new());
    let mut unsketched = sketched;
    // A base's ONBUILD triggers can name further images, so it is asked until nothing is missing.
    loop {
        let (asked, wanted, known) = (named.clone(), options.clone(), bases.clone());
        let missing = blocking(move || {
            plan::missing_bases(&asked.dockerfile, &wanted, &known).map_err(|list| refused(&asked, &list))
        })
        .await?;
        if missing.is_empty() {
            break;
        }
        let lookups = missing.into_iter().map(|image| resolve(engine.clone(), image, attempt, reports.clone()));
        let lookups = stream::iter(lookups).buffer_unordered(LOOKUPS).collect();
        let sketch = async {
            if std::mem::take(&mut unsketched) {
                sketch(&named, options.clone(), attempt, reports).await;
            }
        };
        let (mut found, ()): (Vec<_>, ()) = tokio::join!(lookups, sketch);
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (image, result) in found {
            let resolved = result.map_err(|error| no_base(&named, &image, &error))?;
            Arc::make_mut(&mut bases).insert(image, resolved.config);
        }
    }
    let (file, wanted, known) = (named.clone(), options.clone(), bases.clone());
    let plan =
        blocking(move || plan::lower(file.dockerfile.clone(), &wanted, &known).map_err(|list| refused(&file, &list)));
    let plan = Arc::new(plan.await?);
    let (file, wanted, known, made) = (named.clone(), options.clone(), bases.clone(), plan.clone());
    if let Err(error) = blocking(move || checked(&file, &wanted, &known, &made, context.as_ref())).await {
        // What is refused for its style can be looked at all the same.
        if sketched {
            let _ = reports.send(Report::Sketched { attempt, plan }).await;
        }
        return Err(error);
    }
    // The engine may have its own opinion of the file.
    let (sender, mut progress) = mpsc::channel(4);
    let prepare = async {
        let output = Output(sender);
        engine.prepare(&plan, &options, &output).await
    };
    let heard = async {
        while let Some(event) = progress.recv().await {
            let _ = reports.send(Report::Base { attempt, image: String::new(), event }).await;
        }
    };
    let (prepared, ()) = tokio::join!(prepare, heard);
    prepared.map_err(|error| undrawn(fault(error.kind), error.message, &error.help.join("\n")))?;
    let basis = Basis { options: Arc::unwrap_or_clone(options), bases: Arc::unwrap_or_clone(bases) };
    Ok(Prepared { plan, basis: Arc::new(basis) })
}

/// What the plan is going to be. What is wrong with it is told of the plan itself.
async fn sketch(named: &Named, options: Arc<Options>, attempt: u64, reports: &mpsc::Sender<Report>) {
    let dockerfile = named.dockerfile.clone();
    let sketch = tokio::task::spawn_blocking(move || plan::sketch(dockerfile, &options)).await;
    if let Ok(Ok(plan)) = sketch {
        let _ = reports.send(Report::Sketched { attempt, plan: Arc::new(plan) }).await;
    }
}

/// Refuses a file that says that findings of the official checks are errors, and has some.
fn checked(
    file: &Named,
    options: &Options,
    bases: &BTreeMap<String, ImageConfig>,
    plan: &Plan,
    context: Option<&Context>,
) -> Result<(), PlanError> {
    // A broken one ends every build that reads the context, as the official builder has it, and before anything runs.
    let reads = |step: &Step| step.inputs.contains(&FileOrigin::Context { name: None });
    let ignore = match context {
        Some(context) if plan.steps().any(reads) => context.usable_patterns(),
        Some(context) => context.patterns(),
        None => Ok(None),
    };
    let ignore = ignore.map_err(|error| undrawn(PlanFault::Dockerfile, error.to_string(), ""))?;
    let findings = checks::errors(&file.dockerfile, options, bases, ignore.as_ref());
    if findings.is_empty() {
        return Ok(());
    }
    let found = match findings.len() {
        1 => "1 finding".to_owned(),
        count => format!("{count} findings"),
    };
    let by = match options.build_args.contains_key(lint::ARGUMENT) {
        true => format!("--build-arg {}", lint::ARGUMENT),
        false => "# check=error=true".to_owned(),
    };
    let message = format!("{found} of the build checks, which {by} makes errors");
    let mut drawn: Vec<String> = findings.iter().take(DRAWN).map(|it| file.draw(&it.diagnostic)).collect();
    if findings.len() > DRAWN {
        drawn.push(format!("and {} more\n", findings.len() - DRAWN));
    }
    let without = format!("{}=error=false", lint::ARGUMENT);
    drawn.push(format!("error: {message}\n  = nothing runs; --build-arg {without} builds all the same\n"));
    Err(PlanError { fault: PlanFault::Dockerfile, message, rendered: drawn.join("\n") })
}

/// A Dockerfile, and what it is called in messages.
#[derive(Clone)]
struct Named {
    name: Arc<str>,
    dockerfile: Arc<Dockerfile>,
}

fn parsed(text: Text) -> Result<(String, Arc<Dockerfile>), PlanError> {
    let (name, read) = match text {
        Text::Kept { name, dockerfile } => return Ok((name, dockerfile)),
        Text::Read { name, read } => (name, read),
    };
    let bytes = read().map_err(|error| unreadable(&name, &error))?;
    let dockerfile = dockerfile::parse(&bytes);
    match dockerfile.diagnostics.iter().any(|it| it.severity == Severity::Error) {
        true => {
            let list = dockerfile.diagnostics.clone();
            Err(refused(&Named { name: name.into(), dockerfile: Arc::new(dockerfile) }, &list))
        }
        false => Ok((name, Arc::new(dockerfile))),
    }
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
        Err(undrawn(
            PlanFault::Internal,
            format!("the plan could not be made: {fault}"),
            "this is a fault in stagedive",
        ))
    })
}

fn unreadable(name: &str, error: &io::Error) -> PlanError {
    let help = match error.kind() {
        io::ErrorKind::NotFound => "name the file with -f, or give the directory that holds it",
        _ => "",
    };
    undrawn(PlanFault::Unreadable, format!("cannot read {name}: {error}"), help)
}

/// What no source line is to blame for.
fn undrawn(fault: PlanFault, message: String, help: &str) -> PlanError {
    let help: String = help.lines().map(|line| format!("  = {line}\n")).collect();
    PlanError { fault, rendered: format!("error: {message}\n{help}"), message }
}

fn refused(file: &Named, list: &[Diagnostic]) -> PlanError {
    let worst = list.iter().max_by_key(|it| (it.severity, std::cmp::Reverse(it.span.start)));
    let message = worst.map_or_else(|| format!("{} cannot be planned", file.name), |it| it.message.clone());
    let errors: Vec<&Diagnostic> = list.iter().filter(|it| it.severity == Severity::Error).collect();
    let mut drawn: Vec<String> = errors.iter().take(DRAWN).map(|it| file.draw(it)).collect();
    if errors.len() > DRAWN {
        drawn.push(format!("and {} errors more\n", errors.len() - DRAWN));
    }
    let rendered = if drawn.is_empty() { format!("error: {message}\n") } else { drawn.join("\n") };
    PlanError { fault: PlanFault::Dockerfile, message, rendered }
}

fn fault(kind: EngineErrorKind) -> PlanFault {
    match kind {
        EngineErrorKind::Input => PlanFault::Dockerfile,
        EngineErrorKind::Base => PlanFault::Base,
        EngineErrorKind::Lost => PlanFault::Engine,
        EngineErrorKind::Other => PlanFault::Internal,
    }
}

/// Drawn under the FROM that names the image: in so many words, or else by variables if no other does.
fn no_base(file: &Named, image: &str, error: &EngineError) -> PlanError {
    let (image, platform) = image_and_platform(image);
    let bases = file.dockerfile.instructions.iter().filter(|it| it.keyword == "from");
    let bases: Vec<_> = bases.filter_map(|it| Some((it, it.args.first()?.as_str()))).collect();
    let named = bases.iter().find(|(_, name)| *name == image);
    let mut varied = bases.iter().filter(|(_, name)| name.contains('$'));
    let first = varied.next().filter(|(_, name)| varied.all(|(_, other)| other == name));
    let platform = platform.map(|platform| format!(" for {platform}")).unwrap_or_default();
    let message = format!("base image {image}{platform}: {}", error.message);
    let stages = file.dockerfile.instructions.iter().filter_map(|it| match it.args.as_slice() {
        [_, word, name] if it.keyword == "from" && word.eq_ignore_ascii_case("as") => Some(name.as_str()),
        _ => None,
    });
    let meant = nearest(image, stages).map(|stage| format!("did you mean the stage {stage}?"));
    let help: Vec<String> = error.help.iter().cloned().chain(meant).collect();
    let help = help.join("\n");
    if error.kind == EngineErrorKind::Lost {
        return undrawn(PlanFault::Engine, message, &help);
    }
    let Some((from, _)) = named.or(first) else { return undrawn(PlanFault::Base, message, &help) };
    let (code, span) = ("base-image".to_owned(), from.span);
    let finding = Diagnostic { severity: Severity::Error, code, message: message.clone(), span, help };
    PlanError { fault: PlanFault::Base, message, rendered: file.draw(&finding) }
}

impl Named {
    fn draw(&self, finding: &Diagnostic) -> String {
        diagnostic::render(&self.name, &self.dockerfile.text, finding)
    }
}
