//! `stagedive build --platform A,B`: a session for each platform, side by side, and one image of all.

use super::args::BuildCommand;
use super::build::{self, Asked};
use super::exit::Failure;
use super::project::{self, Project};
use super::{check, engine};
use crate::debug::{self, Command, Event, Session};
use crate::engine::Engine;
use crate::image::platform::Platform;
use futures_util::future::try_join_all;
use std::sync::Arc;
use tokio::sync::mpsc;

/// The platforms that are asked for, if they are several.
pub fn platforms(text: Option<&str>) -> Result<Vec<Platform>, Failure> {
    let Some(text) = text.filter(|it| it.contains(',')) else { return Ok(Vec::new()) };
    let wrong = |error| Failure::Usage(format!("--platform {text}: {error}"));
    let mut out: Vec<Platform> = Vec::new();
    for platform in text.split(',') {
        let platform = platform.trim().parse::<Platform>().map_err(wrong)?;
        if !out.contains(&platform) {
            out.push(platform);
        }
    }
    Ok(out)
}

pub async fn run(mut args: BuildCommand, platforms: Vec<Platform>, asked: Asked) -> Result<(), Failure> {
    args.build.platform = platforms.first().map(Platform::to_string);
    let mut whole = project::open(&args.build)?;
    whole.settings.cache_to = asked.cache_to.clone();
    let projects: Vec<Project> = platforms.iter().map(|platform| whole.on(platform)).collect();
    let engines = try_join_all(projects.iter().map(|project| engine::start(&args.build, project))).await?;
    for engine in &engines {
        asked.check(&args, engine.as_ref(), platforms.len())?;
        if build::is_embedded(engine.as_ref()) {
            let message = "--platform: the embedded engine builds for one platform at a time: use --engine docker";
            return Err(Failure::Usage(message.to_owned()));
        }
    }
    let tracks = projects.iter().zip(&engines).zip(&platforms);
    let built = try_join_all(tracks.map(|((project, engine), platform)| track(project, engine, platform, &args))).await;
    let result = match &built {
        Ok(tracks) => match tracks.first() {
            Some(first) => {
                let names = platforms.iter().map(Platform::to_string).collect();
                build::finish(&first.session, &args, &asked, whole.settings.epoch, names).await
            }
            None => Ok(()),
        },
        Err(_) => Ok(()),
    };
    let failed = match built {
        Ok(tracks) => {
            for track in tracks {
                build::end(&track.session, track.events).await;
            }
            Ok(())
        }
        Err(failure) => Err(failure),
    };
    for engine in &engines {
        engine.close().await.map_err(Failure::from)?;
    }
    failed.and(result)
}

struct Track {
    session: Session,
    events: mpsc::Receiver<Event>,
}

/// One platform's build, to its end.
async fn track(
    project: &Project,
    engine: &Arc<dyn Engine>,
    platform: &Platform,
    args: &BuildCommand,
) -> Result<Track, Failure> {
    check::gate(project, engine.as_ref()).await?;
    let mut setup = project.setup(engine.clone());
    setup.count = build::counts(args);
    let (session, mut events) = debug::start(setup);
    match build::follow(&mut events, args, &project.name, Some(platform)).await {
        Ok(()) => Ok(Track { session, events }),
        Err(failure) => {
            session.send(Command::Quit);
            Err(failure)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: Option<&str>, expected: Option<&[&str]>) {
        let found = platforms(text).ok().map(|list| list.iter().map(Platform::to_string).collect::<Vec<_>>());
        let expected = expected.map(|list| list.iter().map(|it| (*it).to_owned()).collect());
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn lists() {
        check(None, Some(&[]));
        check(Some("linux/amd64"), Some(&[]));
        check(Some("linux/amd64,linux/arm64"), Some(&["linux/amd64", "linux/arm64"]));
        check(Some("linux/amd64, linux/arm/v7,linux/amd64"), Some(&["linux/amd64", "linux/arm/v7"]));
        check(Some("linux/amd64,"), None);
    }
}
