//! `stagedive build`: the same session, with nobody to stop it.

use super::args::{BuildCommand, Call, CheckArgs, Progress};
use super::exit::Failure;
use super::follow::Followed;
use super::output::{self, Output};
use super::plain::{self, Plain};
use super::print;
use super::{attest, cache, check, engine, project, several};
use crate::debug::{self, Event, Export, Session, Setup, StepStatus, Stop, StopReason};
use crate::engine::settings::{CacheOption, Settings};
use crate::engine::{Destination, Engine, Exported, OutputEvent};
use crate::image::reference;
use crate::names::platform::Platform;
use crate::plan::{Plan, StepId};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What is wanted of the result.
pub struct Asked {
    outputs: Vec<Output>,
    attestations: BTreeMap<String, String>,
    cache_to: Vec<CacheOption>,
}

impl Asked {
    pub fn read(args: &BuildCommand) -> Result<Asked, Failure> {
        let wanted = args.outputs.iter().filter(|text| !output::is_none(text));
        let mut outputs = wanted.map(|text| output::parse(text)).collect::<Result<Vec<_>, _>>()?;
        if outputs.iter().any(Output::is_stdout) && std::io::stdout().is_terminal() {
            let message = "the archive would go to the terminal: give it a file with dest=FILE";
            return Err(Failure::Usage(message.to_owned()));
        }
        if args.push && !outputs.iter().any(|it| it.destination == Destination::Registry) {
            outputs.push(Output::new(Destination::Registry));
        }
        let cache_to = cache::all("--cache-to", &args.cache_to)?;
        if args.load && !outputs.iter().any(|it| it.destination == Destination::Daemon) {
            outputs.push(Output::new(Destination::Daemon));
        }
        let asked = Asked { outputs, attestations: attest::read(args)?, cache_to };
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
        output::annotations(&args.annotations, &self.outputs, &mut attributes)?;
        if platforms < 2 && attributes.keys().any(|name| name.starts_with("annotation-index")) {
            let message = "--annotation: an image of one platform has no index: use manifest or manifest-descriptor";
            return Err(Failure::Usage(message.to_owned()));
        }
        if let Some(kind) = self.attestations.keys().next() {
            if embedded {
                let message = format!(
                    "--{kind}: the embedded engine states nothing of an image: a builder does, with --engine docker or \
                     --builder"
                );
                return Err(Failure::Usage(message));
            }
            if self.outputs.iter().any(|it| matches!(it.destination, Destination::Docker { .. })) {
                let message = format!("--{kind}: an archive of type=docker has no place for it: use type=oci");
                return Err(Failure::Usage(message));
            }
        }
        if args.force_rm && !embedded {
            let message = "--force-rm: a builder keeps what it has built as a cache, and not for one build alone: \
                           `docker builder prune` or `buildctl prune` empties it";
            return Err(Failure::Usage(message.to_owned()));
        }
        Ok(())
    }

    /// What the engine has to know of it from the start.
    pub fn tell(&self, settings: &mut Settings) {
        settings.cache_to = self.cache_to.clone();
        settings.attestations = self.attestations.clone();
    }
}

pub fn is_embedded(engine: &dyn Engine) -> bool {
    engine.capabilities().engine == "embedded"
}

pub async fn run(mut args: BuildCommand) -> Result<(), Failure> {
    if args.check || args.call == Call::Check {
        return check::run(CheckArgs { build: args.build, json: false, offline: false }).await;
    }
    args.quiet |= args.progress == Progress::Quiet;
    let asked = Asked::read(&args)?;
    let platforms = several::platforms(args.build.platform().as_deref())?;
    if !platforms.is_empty() {
        return several::run(args, platforms, asked).await;
    }
    let mut project = project::open(&args.build)?;
    asked.tell(&mut project.settings);
    let engine = engine::start(&args.build, &project).await?;
    asked.check(&args, engine.as_ref(), 1)?;
    let mut setup = project.setup(engine.clone());
    setup.count = counts(&args);
    let mut build = follow(setup, &args, None);
    let session = build.session.clone();
    let result = match to_the_end(&mut build, counts(&args)).await {
        Ok(()) => build.unless_signalled(finish(&session, &args, &asked, project.settings.epoch, Vec::new())).await,
        Err(failure) => Err(failure),
    };
    build.end().await;
    if args.force_rm {
        session.discard().await?;
    }
    let saved = engine.close().await;
    result.and(saved.map_err(Failure::from))
}

/// Starts a build, and tells of it as the arguments say. `platform` is named where it is one of several.
pub fn follow(setup: Setup, args: &BuildCommand, platform: Option<&Platform>) -> Followed {
    let platform = platform.map(Platform::to_string);
    let mut plain = Plain::new(std::io::stderr()).on(platform.as_deref());
    let (progress, quiet) = (args.progress, args.quiet);
    let mut plan: Option<Arc<Plan>> = None;
    Followed::start(setup, move |event| {
        if let Event::Planned { plan: it } = event {
            plan = Some(it.clone());
            if !quiet && progress == Progress::Plain {
                let found = it.diagnostics.iter().map(|diagnostic| plain::printable(&diagnostic.message));
                found.for_each(print::note);
            }
        }
        match progress {
            _ if quiet => Ok(()),
            Progress::Quiet | Progress::None => Ok(()),
            Progress::Plain => plain.event(event),
            Progress::Json => {
                let mut line = debug::json::line(event, plan.as_deref());
                if let (Some(platform), Some(line)) = (&platform, line.as_object_mut()) {
                    line.insert("platform".to_owned(), platform.as_str().into());
                }
                writeln!(std::io::stdout().lock(), "{}", debug::json::text(&line)?)
            }
        }
    })
}

/// Follows a build to its end; with `counted`, until all is counted that its steps changed.
pub async fn to_the_end(build: &mut Followed, counted: bool) -> Result<(), Failure> {
    let (mut finished, mut done) = (false, false);
    let mut uncounted: BTreeSet<StepId> = BTreeSet::new();
    while !done || !uncounted.is_empty() {
        match build.next().await? {
            Event::Step { step, status: StepStatus::Done(outcome), .. } if counted && outcome.changes.is_none() => {
                uncounted.insert(step);
            }
            Event::Counted { step, .. } => drop(uncounted.remove(&step)),
            Event::Finished { .. } => finished = true,
            // Nothing more is run; what has been is perhaps still being counted.
            Event::Stopped(Stop { reason: StopReason::End, .. }) if finished => done = true,
            Event::Stopped(_) => return Err(Failure::Other("the build stopped before its end".to_owned())),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a build says what its steps changed also where that has to be counted.
pub fn counts(args: &BuildCommand) -> bool {
    args.progress == Progress::Json && !args.quiet
}

/// The one time that everything in an image gets, in RFC 3339: that of `epoch`, seconds since 1970.
fn created(epoch: Option<i64>) -> Result<Option<String>, Failure> {
    let Some(seconds) = epoch else { return Ok(None) };
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => Ok(Some(time.to_string())),
        Err(error) => Err(Failure::Usage(format!("SOURCE_DATE_EPOCH={seconds}: {error}"))),
    }
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
    let elsewhere = [Destination::Registry, Destination::Daemon].iter().any(|it| destinations.contains(it));
    // What goes elsewhere does not stay here too.
    let nowhere = outputs.is_empty() && !args.outputs.is_empty();
    if !args.build.tags.is_empty() && !elsewhere && !nowhere && !destinations.contains(&Destination::Store) {
        destinations.push(Destination::Store);
    }
    let answer = args.quiet || args.iidfile.is_some() || args.metadata_file.is_some();
    if destinations.is_empty() && !answer && asked.cache_to.is_empty() && platforms.is_empty() {
        return Ok(());
    }
    let created = created(epoch)?;
    let packing = output::packing(outputs)?;
    let mut attributes = outputs.iter().flat_map(|it| it.attributes.clone()).collect();
    let annotations = output::annotations(&args.annotations, outputs, &mut attributes)?;
    let created_at = created.clone();
    let wanted =
        Export { tags: tags.clone(), destinations, created: created_at, packing, annotations, attributes, platforms };
    let (sender, mut progress) = mpsc::channel(64);
    let mut plain = Plain::new(std::io::stderr());
    let tells = !args.quiet && args.progress == Progress::Plain;
    let drain = async {
        while let Some(event) = progress.recv().await {
            match event {
                OutputEvent::Progress { what, done, total } if tells => {
                    // What cannot be told of is done all the same.
                    let _ = plain.work("export", &what, done, total);
                }
                OutputEvent::Notice(message) if tells => {
                    print::note(format_args!("note: {}", plain::printable(&message)))
                }
                _ => {}
            }
        }
    };
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
        let is_archive = |it: &Output| matches!(it.destination, Destination::Oci { .. } | Destination::Docker { .. });
        let now = || format!("{:.0}", jiff::Timestamp::now());
        let archived = outputs.iter().any(is_archive).then(|| created.unwrap_or_else(now));
        write(path, metadata(&exported, &tags, archived.as_deref()).as_bytes())?;
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

/// As BuildKit describes an image. In an archive or a layout, it has its names in full, and the time when it got there.
fn metadata(exported: &Exported, tags: &[String], archived: Option<&str>) -> String {
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
        if let Some(time) = archived {
            descriptor["annotations"]["org.opencontainers.image.created"] = time.into();
        }
        map.insert("containerimage.descriptor".to_owned(), descriptor);
    }
    if !tags.is_empty() {
        let full = |tag: &String| if archived.is_some() { reference::normalized(tag) } else { tag.clone() };
        let names: Vec<String> = tags.iter().map(full).collect();
        map.insert("image.name".to_owned(), names.join(",").into());
    }
    serde_json::Value::Object(map).to_string()
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|error| Failure::Other(format!("cannot write {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::digest::Digest;
    use crate::image::manifest::descriptor;
    use oci_spec::image::MediaType;

    fn check(archived: Option<&str>, expected: &str) {
        let manifest = Digest::of(b"manifest");
        let described = descriptor(MediaType::ImageManifest, &manifest, 9);
        let exported = Exported { image: Digest::of(b"config"), manifest: Some(manifest), descriptor: Some(described) };
        let found: serde_json::Value =
            serde_json::from_str(&metadata(&exported, &["app".to_owned(), "quay.io/a:b".to_owned()], archived))
                .unwrap();
        let names: Vec<&str> = found.as_object().unwrap().keys().map(String::as_str).collect();
        let annotations = &found["containerimage.descriptor"]["annotations"];
        let name = found["image.name"].as_str().unwrap();
        assert_eq!(format!("{} {name} {annotations}", names.join(" ")), expected);
    }

    #[test]
    fn what_is_told_of_an_image() {
        let names = "containerimage.config.digest containerimage.descriptor containerimage.digest image.name";
        check(None, &format!("{names} app,quay.io/a:b null"));
        check(
            Some("2026-01-02T03:04:05Z"),
            &format!(
                "{names} docker.io/library/app:latest,quay.io/a:b {}",
                r#"{"org.opencontainers.image.created":"2026-01-02T03:04:05Z"}"#
            ),
        );
    }
}
