//! `stagedive build --platform A,B`: a session for each platform, side by side, and one image of all.

use super::args::BuildCommand;
use super::build::{self, Asked};
use super::engine;
use super::exit::Failure;
use super::follow::Followed;
use super::project::{self, Project};
use crate::debug::Command;
use crate::engine::Engine;
use crate::names::platform::Platform;
use futures_util::future::try_join_all;
use std::sync::Arc;

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
    args.build.platforms = platforms.first().map(Platform::to_string).into_iter().collect();
    let mut whole = project::open(&args.build)?;
    asked.tell(&mut whole.settings);
    let projects: Vec<Project> = platforms.iter().map(|platform| whole.on(platform)).collect();
    let engines = engine::start_each(&args.build, &projects).await?;
    for engine in &engines {
        asked.check(&args, engine.as_ref(), platforms.len())?;
        if build::is_embedded(engine.as_ref()) {
            let message = "--platform: the embedded engine builds for one platform at a time: use --engine docker";
            return Err(Failure::Usage(message.to_owned()));
        }
    }
    let tracks = projects.iter().zip(&engines).zip(&platforms);
    let mut built =
        try_join_all(tracks.map(|((project, engine), platform)| track(project, engine, platform, &args))).await;
    let result = match &mut built {
        Ok(tracks) => match tracks.first_mut() {
            Some(first) => {
                let names = platforms.iter().map(Platform::to_string).collect();
                let session = first.session.clone();
                first.unless_signalled(build::finish(&session, &args, &asked, whole.settings.epoch, names)).await
            }
            None => Ok(()),
        },
        Err(_) => Ok(()),
    };
    let failed = match built {
        Ok(tracks) => {
            for track in tracks {
                track.end().await;
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

/// One platform's build, to its end.
async fn track(
    project: &Project,
    engine: &Arc<dyn Engine>,
    platform: &Platform,
    args: &BuildCommand,
) -> Result<Followed, Failure> {
    let mut setup = project.setup(engine.clone());
    setup.count = build::counts(args);
    let mut track = build::follow(setup, args, Some(platform));
    match build::to_the_end(&mut track, build::counts(args)).await {
        Ok(()) => Ok(track),
        Err(failure) => {
            track.session.send(Command::Quit);
            Err(failure)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::Cli;
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

    #[test]
    fn given_more_than_once() {
        let words = ["stagedive", "--platform", "linux/amd64,linux/arm64", "--platform", "linux/386", "."];
        let args = <Cli as clap::Parser>::parse_from(words).debug.build;
        let found = platforms(args.platform().as_deref()).expect("platforms");
        assert_eq!(
            found.iter().map(Platform::to_string).collect::<Vec<_>>(),
            ["linux/amd64", "linux/arm64", "linux/386"]
        );
    }
}
