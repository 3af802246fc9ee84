//! `stagedive explore IMAGE`: an existing image in the terminal, or all that is in it as JSON.

pub mod json;

use super::analyse::{Build, Found};
use super::args::{BuildArgs, ExploreArgs};
use super::blame::report;
use super::diff::points::{self, Point};
use super::exit::Failure;
use super::{analyse, screen};
use crate::debug::trace;
use crate::tui::explore::other::Against;
use crate::tui::views::origins::Traced;
use crate::tui::{self, explore};
use std::io::{self, BufWriter, IsTerminal, Write};

pub async fn run(mut args: ExploreArgs) -> Result<(), Failure> {
    if args.json {
        if args.against.is_some() {
            let message =
                "explore --json is about one image; what differs between two is: stagedive diff OTHER IMAGE --json";
            return Err(Failure::Usage(message.to_owned()));
        }
        return print(args).await;
    }
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        let message = "the explorer needs a terminal; without one there are: stagedive explore --json IMAGE (every layer \
                       and file) and stagedive size IMAGE (what they weigh and waste)";
        return Err(Failure::Usage(message.to_owned()));
    }
    let other = match &args.against {
        Some(other) => {
            let [image, of_other] = points::of_each(&args.build)?;
            let both = std::mem::replace(&mut args.build, image);
            Some(find_other(other, &of_other, &both).await?)
        }
        None => None,
    };
    let found = analyse::find(&args.build).await?;
    let options = screen::options(&args.screen, String::new());
    let reading = analyse::reading(&args.build, args.verify);
    let base = found.base(&args.build);
    let traced = traced(found.build.clone());
    let (against, other) = other.map_or((None, None), |(against, found)| (Some(against), found));
    let summary = explore::run(found.opened.clone(), against, reading, base, traced, options).await;
    let mut closed = found.close().await;
    if let Some(other) = other {
        closed = closed.and(other.close().await);
    }
    let summary: tui::Summary = summary.map_err(|error| Failure::Other(format!("the terminal: {error}")))?;
    // Where the terminal is gone nothing can be told.
    let told = screen::tell(&summary);
    match summary.signal {
        Some(signal) => Err(Failure::Signal(signal)),
        None => told.and(closed),
    }
}

/// What the image is to be compared with; an image is found, and not read yet.
async fn find_other(text: &str, args: &BuildArgs, both: &BuildArgs) -> Result<(Against, Option<Found>), Failure> {
    match points::point(text, &points::stages_of(args))? {
        Point::Directory(path) => Ok((Against::Directory(path), None)),
        Point::Image(name) => {
            let found = analyse::find(&points::image_args(&name, args)).await?;
            let called = points::called(&name, args, both);
            Ok((Against::Image(called, Box::new(found.opened.clone())), Some(found)))
        }
        Point::Place { .. } => Err(Failure::Usage(format!(
            "--against {text}: a place in a build has to be reached first; it is compared by: stagedive diff"
        ))),
    }
}

/// Where the files of an image that has just been built come from.
async fn traced(build: Option<Build>) -> Option<Traced> {
    let build = build?;
    let snapshots = build.outcomes.iter().map(|(step, outcome)| (*step, outcome.snapshot.clone())).collect();
    let facts = trace::gather(build.engine.as_ref(), build.plan.clone(), &snapshots).await.ok()?;
    tokio::task::spawn_blocking(move || Traced::of(facts)).await.ok()?
}

async fn print(args: ExploreArgs) -> Result<(), Failure> {
    let (inventory, build, base) = analyse::open_on_base(&args.build, args.verify).await?;
    if let Some(build) = &build {
        build.close().await?;
    }
    let base = report::base(&inventory, base);
    analyse::warn(&inventory);
    super::blocking(move || {
        let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
        match json::write(&inventory, base.as_ref(), &mut out).and_then(|()| out.flush()) {
            // A reader that goes away is no failure.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::Other(format!("cannot print: {error}")))
            }
            _ => Ok(()),
        }
    })
    .await?
}
