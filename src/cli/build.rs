//! `stagedive build`: the same session, with nobody to stop it.

use super::args::{BuildCommand, Progress};
use super::check;
use super::exit::Failure;
use super::output::{self, Output};
use super::plain::{self, Plain};
use super::print;
use super::signals::Signals;
use super::{cache, engine, project, several};
use crate::debug::{self, Command, Event, Export, Session, StepStatus, StopReason};
use crate::engine::settings::CacheOption;
use crate::engine::{Destination, Engine, Exported};
use crate::image::platform::Platform;
use crate::plan::{Plan, StepId};
use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What is wanted of the result.
pub struct Asked {
    outputs: Vec<Output>,
    pub cache_to: Vec<CacheOption>,
}

impl Asked {
    fn read(args: &BuildCommand) -> Result<Asked, Failure> {
        let mut outputs = args.outputs.iter().map(|text| output::parse(text)).collect::<Result<Vec<_>, _>>()?;
        if outputs.iter().any(Output::is_stdout) && std::io::stdout().is_terminal() {
            let message = "the archive would go to the terminal: give it a file with dest=FILE";
            return Err(Failure::Usage(message.to_owned()));
        }
        if args.push && !outputs.iter().any(|it| it.destination == Destination::Registry) {
            outputs.push(Output::new(Destination::Registry));
        }
        let cache_to = args.cache_to.iter().map(|text| cache::parse("--cache-to", text)).collect::<Result<_, _>>()?;
        let asked = Asked { outputs, cache_to };
        let registry = asked.outputs.iter().any(|it| it.destination == Destination::Registry);
        if registry && asked.tags(args).is_empty() {
            return Err(Failure::Usage("an image is pushed under a name: give it one with -t NAME".to_owned()));
        }
        Ok(asked)
    }

    fn tags(&self, args: &BuildCommand) -> Vec<String> {
        args.build.tags.iter().chain(self.outputs.iter().flat_map(|it| &it.names)).cloned().collect()
    }

    /// Says before the first step what this engine cannot do with the result.
    pub fn check(&self, args: &BuildCommand, engine: &dyn Engine, platforms: usize) -> Result<(), Failure> {
        let embedded = is_embedded(engine);
        let mut attributes = output::attributes(&self.outputs, embedded)?;
        output::annotations(&args.annotations, &mut attributes)?;
        if platforms < 2 && attributes.keys().any(|name| name.starts_with("annotation-index")) {
            let message = "--annotation: an image of one platform has no index: use manifest or manifest-descriptor";
            return Err(Failure::Usage(message.to_owned()));
        }
        if args.force_rm && !embedded {
            let message = "--force-rm: a builder keeps what it has built as a cache, and not for one build alone: \
                           `docker builder prune` or `buildctl prune` empties it";
            return Err(Failure::Usage(message.to_owned()));
        }
        Ok(())
    }
}

pub fn is_embedded(engine: &dyn Engine) -> bool {
    engine.capabilities().engine == "embedded"
}

pub async fn run(args: BuildCommand) -> Result<(), Failure> {
    let asked = Asked::read(&args)?;
    let platforms = several::platforms(args.build.platform.as_deref())?;
    if !platforms.is_empty() {
        return several::run(args, platforms, asked).await;
    }
    let mut project = project::open(&args.build)?;
    project.settings.cache_to = asked.cache_to.clone();
    let engine = engine::start(&args.build, &project).await?;
    asked.check(&args, engine.as_ref(), 1)?;
    check::gate(&project, engine.as_ref()).await?;
    let mut setup = project.setup(engine.clone());
    setup.count = counts(&args);
    let (session, mut events) = debug::start(setup);
    let built = follow(&mut events, &args, &project.name, None).await;
    let result = match built {
        Ok(()) => finish(&session, &args, &asked, project.settings.epoch, Vec::new()).await,
        Err(failure) => Err(failure),
    };
    end(&session, events).await;
    if args.force_rm {
        session.discard().await?;
    }
    let saved = engine.close().await;
    result.and(saved.map_err(Failure::from))
}

/// Ends a session.
pub async fn end(session: &Session, mut events: mpsc::Receiver<Event>) {
    session.send(Command::Quit);
    while let Some(event) = events.recv().await {
        if matches!(event, Event::Ended) {
            break;
        }
    }
}

/// Follows the events to the end of the build. `platform` is named where it is one of several.
pub async fn follow(
    events: &mut mpsc::Receiver<Event>,
    args: &BuildCommand,
    name: &str,
    platform: Option<&Platform>,
) -> Result<(), Failure> {
    let platform = platform.map(Platform::to_string);
    let mut plain = Plain::new(std::io::stderr()).on(platform.as_deref());
    let mut plan: Option<Arc<Plan>> = None;
    let mut finished = false;
    // Nothing more is run; what has been is still being counted.
    let mut done = false;
    let mut uncounted: BTreeSet<StepId> = BTreeSet::new();
    let mut signals = Signals::listen();
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            signal = signals.next() => return Err(Failure::Signal(signal)),
        };
        let Some(event) = event else {
            return Err(Failure::Other("the session ended before the build".to_owned()));
        };
        show(&mut plain, plan.as_deref(), &event, args, platform.as_deref())
            .map_err(|error| Failure::Other(format!("cannot print: {error}")))?;
        match &event {
            Event::Step { step, status: StepStatus::Done(outcome), .. }
                if outcome.changes.is_none() && counts(args) =>
            {
                uncounted.insert(*step);
            }
            Event::Counted { step, .. } => drop(uncounted.remove(step)),
            _ => {}
        }
        match event {
            Event::Planned { plan: it } => {
                for diagnostic in &it.diagnostics {
                    if !args.quiet && args.progress == Progress::Plain {
                        print::note(&diagnostic.message);
                    }
                }
                plan = Some(it);
            }
            Event::PlanFailed { fault, message, rendered } => return Err(Failure::no_plan(fault, message, rendered)),
            Event::Finished { .. } => finished = true,
            Event::Stopped(stop) => {
                let Some(plan) = &plan else { continue };
                if let Some(failure) = &stop.failure {
                    let (message, help) = plain::failure(plan, failure, name);
                    return Err(Failure::Build { message, help });
                }
                match stop.reason {
                    StopReason::End if finished => done = true,
                    _ => return Err(Failure::Other("the build stopped before its end".to_owned())),
                }
            }
            Event::Ended => return Err(Failure::Other("the session ended before the build".to_owned())),
            _ => {}
        }
        if done && uncounted.is_empty() {
            return Ok(());
        }
    }
}

/// Whether a build says what its steps changed also where that has to be counted.
pub fn counts(args: &BuildCommand) -> bool {
    args.progress == Progress::Json && !args.quiet
}

fn show(
    plain: &mut Plain<std::io::Stderr>,
    plan: Option<&Plan>,
    event: &Event,
    args: &BuildCommand,
    platform: Option<&str>,
) -> std::io::Result<()> {
    match args.progress {
        _ if args.quiet => Ok(()),
        Progress::Plain => plain.event(event),
        Progress::Json => {
            let planned = match event {
                Event::Planned { plan } => Some(plan.as_ref()),
                _ => plan,
            };
            let mut line = debug::json::line(event, planned);
            if let (Some(platform), Some(line)) = (platform, line.as_object_mut()) {
                line.insert("platform".to_owned(), platform.into());
            }
            writeln!(std::io::stdout().lock(), "{line}")
        }
    }
}

/// The time an image gets, in RFC 3339: of `epoch`, seconds since 1970, or of now.
fn created(epoch: Option<i64>) -> Result<String, Failure> {
    let time = match epoch {
        Some(seconds) => jiff::Timestamp::from_second(seconds)
            .map_err(|error| Failure::Usage(format!("SOURCE_DATE_EPOCH={seconds}: {error}")))?,
        None => jiff::Timestamp::now(),
    };
    Ok(time.to_string())
}

/// Writes the result out, and says what it is.
pub async fn finish(
    session: &Session,
    args: &BuildCommand,
    asked: &Asked,
    epoch: Option<i64>,
    platforms: Vec<String>,
) -> Result<(), Failure> {
    let outputs = &asked.outputs;
    let tags = asked.tags(args);
    let mut destinations: Vec<Destination> = outputs.iter().map(|output| output.destination.clone()).collect();
    let pushed = destinations.contains(&Destination::Registry);
    // What is only pushed does not stay here too.
    if !args.build.tags.is_empty() && !pushed && !destinations.contains(&Destination::Store) {
        destinations.push(Destination::Store);
    }
    let answer = args.quiet || args.iidfile.is_some() || args.metadata_file.is_some();
    if destinations.is_empty() && !answer && asked.cache_to.is_empty() && platforms.is_empty() {
        return Ok(());
    }
    let created = Some(created(epoch)?);
    let packing = output::packing(outputs)?;
    let mut attributes = outputs.iter().flat_map(|it| it.attributes.clone()).collect();
    let annotations = output::annotations(&args.annotations, &mut attributes)?;
    let created_at = created.clone();
    let wanted =
        Export { tags: tags.clone(), destinations, created: created_at, packing, annotations, attributes, platforms };
    let (sender, mut progress) = mpsc::channel(64);
    let drain = async { while progress.recv().await.is_some() {} };
    let export = async {
        let output = crate::engine::Output(sender);
        session.export(wanted, &output).await
    };
    let (exported, ()) = tokio::join!(export, drain);
    let exported = exported?;
    if let Some(path) = &args.iidfile {
        write(path, exported.image.to_string().as_bytes())?;
    }
    if let Some(path) = &args.metadata_file {
        write(path, metadata(&exported, &tags, created.as_deref()).as_bytes())?;
    }
    if args.quiet {
        print::line(&exported.image)?;
    } else if args.progress == Progress::Plain {
        for line in outputs.iter().map(Output::to_string).chain(tags.iter().map(|tag| format!("tag {tag}"))) {
            print::note(format_args!("wrote {}", plain::printable(&line)));
        }
        print::note(format_args!("image {}", exported.image));
    }
    Ok(())
}

/// Names as buildx writes them to its metadata file.
fn metadata(exported: &Exported, tags: &[String], created: Option<&str>) -> String {
    let mut map = serde_json::Map::new();
    // An image of several platforms has as many configurations.
    let one = exported.manifest.as_ref() != Some(&exported.image);
    if one {
        map.insert("containerimage.config.digest".to_owned(), exported.image.to_string().into());
    }
    if let Some(manifest) = &exported.manifest {
        map.insert("containerimage.digest".to_owned(), manifest.to_string().into());
    }
    if let Some(mut descriptor) = exported.descriptor.as_ref().and_then(|it| serde_json::to_value(it).ok()) {
        if one {
            descriptor["annotations"]["config.digest"] = exported.image.to_string().into();
        }
        if let Some(created) = created {
            descriptor["annotations"]["org.opencontainers.image.created"] = created.into();
        }
        map.insert("containerimage.descriptor".to_owned(), descriptor);
    }
    if !tags.is_empty() {
        map.insert("image.name".to_owned(), tags.join(",").into());
    }
    serde_json::Value::Object(map).to_string()
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|error| Failure::Other(format!("cannot write {}: {error}", path.display())))
}
