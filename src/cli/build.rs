//! `stagedive build`: the same session, with nobody to stop it.

use super::args::{BuildCommand, Progress};
use super::check;
use super::exit::Failure;
use super::output::{self, Output};
use super::plain::{self, Plain};
use super::signals::Signals;
use super::{engine, project};
use crate::debug::{self, Command, Event, Export, Session, StopReason};
use crate::engine::{Destination, Exported};
use crate::plan::Plan;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;

pub async fn run(args: BuildCommand) -> Result<(), Failure> {
    let outputs = args.outputs.iter().map(|text| output::parse(text)).collect::<Result<Vec<_>, _>>()?;
    if outputs.iter().any(Output::is_stdout) && std::io::stdout().is_terminal() {
        return Err(Failure::Usage("the archive would go to the terminal: give it a file with dest=FILE".to_owned()));
    }
    let project = project::open(&args.build)?;
    let engine = engine::start(&args.build, &project).await?;
    check::gate(&project, engine.as_ref()).await?;
    let (session, mut events) = debug::start(project.setup(engine.clone()));
    let built = follow(&mut events, &args, &project.name).await;
    let result = match built {
        Ok(()) => finish(&session, &args, &outputs, project.settings.epoch).await,
        Err(failure) => Err(failure),
    };
    session.send(Command::Quit);
    while let Some(event) = events.recv().await {
        if matches!(event, Event::Ended) {
            break;
        }
    }
    if args.force_rm {
        session.discard().await?;
    }
    let saved = engine.close().await;
    result.and(saved.map_err(Failure::from))
}

/// Follows the events to the end of the build.
async fn follow(events: &mut mpsc::Receiver<Event>, args: &BuildCommand, name: &str) -> Result<(), Failure> {
    let mut plain = Plain::new(std::io::stderr());
    let mut plan: Option<Arc<Plan>> = None;
    let mut finished = false;
    let mut signals = Signals::listen();
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            signal = signals.next() => return Err(Failure::Signal(signal)),
        };
        let Some(event) = event else {
            return Err(Failure::Other("the session ended before the build".to_owned()));
        };
        show(&mut plain, plan.as_deref(), &event, args)
            .map_err(|error| Failure::Other(format!("cannot print: {error}")))?;
        match event {
            Event::Planned { plan: it } => {
                for diagnostic in &it.diagnostics {
                    if !args.quiet && args.progress == Progress::Plain {
                        eprintln!("{}", diagnostic.message);
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
                    StopReason::End if finished => return Ok(()),
                    _ => return Err(Failure::Other("the build stopped before its end".to_owned())),
                }
            }
            Event::Ended => return Err(Failure::Other("the session ended before the build".to_owned())),
            _ => {}
        }
    }
}

fn show(
    plain: &mut Plain<std::io::Stderr>,
    plan: Option<&Plan>,
    event: &Event,
    args: &BuildCommand,
) -> std::io::Result<()> {
    match args.progress {
        _ if args.quiet => Ok(()),
        Progress::Plain => plain.event(event),
        Progress::Json => {
            let planned = match event {
                Event::Planned { plan } => Some(plan.as_ref()),
                _ => plan,
            };
            writeln!(std::io::stdout().lock(), "{}", debug::json::text(event, planned))
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
async fn finish(session: &Session, args: &BuildCommand, outputs: &[Output], epoch: Option<i64>) -> Result<(), Failure> {
    let mut destinations: Vec<Destination> = outputs.iter().map(|output| output.0.clone()).collect();
    if !args.build.tags.is_empty() {
        destinations.push(Destination::Store);
    }
    let asked = !destinations.is_empty() || args.quiet || args.iidfile.is_some() || args.metadata_file.is_some();
    if !asked {
        return Ok(());
    }
    let created = Some(created(epoch)?);
    let packing = output::packing(outputs)?;
    let annotations = output::annotations(&args.annotations)?;
    let wanted = Export { tags: args.build.tags.clone(), destinations, created: created.clone(), packing, annotations };
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
        write(path, metadata(&exported, &args.build.tags, created.as_deref()).as_bytes())?;
    }
    if args.quiet {
        println!("{}", exported.image);
    } else if args.progress == Progress::Plain {
        for line in outputs.iter().map(Output::to_string).chain(args.build.tags.iter().map(|tag| format!("tag {tag}")))
        {
            eprintln!("wrote {}", plain::printable(&line));
        }
        eprintln!("image {}", exported.image);
    }
    Ok(())
}

/// Names as buildx writes them to its metadata file.
fn metadata(exported: &Exported, tags: &[String], created: Option<&str>) -> String {
    let mut map = serde_json::Map::new();
    map.insert("containerimage.config.digest".to_owned(), exported.image.to_string().into());
    if let Some(manifest) = &exported.manifest {
        map.insert("containerimage.digest".to_owned(), manifest.to_string().into());
    }
    if let Some(mut descriptor) = exported.descriptor.as_ref().and_then(|it| serde_json::to_value(it).ok()) {
        descriptor["annotations"]["config.digest"] = exported.image.to_string().into();
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
