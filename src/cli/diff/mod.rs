//! `stagedive diff A B`: what differs between two images, directories or places in a build.

pub mod points;
pub mod reached;
pub mod report;
#[cfg(all(test, target_os = "linux"))]
mod tests;
pub mod text;

use super::analyse;
use super::args::{BuildArgs, DiffArgs};
use super::exit::Failure;
use super::plain::printable;
use crate::engine::side::{self, Side};
use crate::layers::{Diff, DiffId, Kind, Patch, Scope, patch};
use bstr::{BString, ByteSlice};
use points::Point;
use reached::Reached;
use std::collections::{BTreeMap, BTreeSet};

pub async fn run(args: DiffArgs) -> Result<(), Failure> {
    let stages = points::stages_of(&args.build);
    let points = [points::point(&args.a, &stages)?, points::point(&args.b, &stages)?];
    // What is not there is told before anything is built.
    let (mut sides, mut places, mut build) = (Vec::new(), Vec::new(), None);
    for (point, of) in points.into_iter().zip(points::of_each(&args.build)?) {
        sides.push(match point {
            Point::Image(name) => {
                let called = points::called(&name, &of, &args.build);
                let mut side = image(name, &of, &stages).await?;
                side.name = called;
                Some(side)
            }
            Point::Directory(path) => Some(side::of_directory(path).await?),
            Point::Place { stage, line } => {
                let build: &mut BuildArgs = build.get_or_insert_with(|| of.clone());
                if build.platforms != of.platforms {
                    let message = "--platform: both places are in one build, which is for one platform";
                    return Err(Failure::Usage(message.to_owned()));
                }
                places.push((stage, line));
                None
            }
        });
    }
    let reached = match build {
        None => Vec::new(),
        Some(build) => reached::reach(&build, &places).await?,
    };
    let engine = reached.first().map(|it| it.engine.clone());
    let differs = compare_points(&args, sides, reached).await;
    if let Some(engine) = engine {
        engine.close().await?;
    }
    match differs? {
        Outcome::Differ if args.exit_code => Err(Failure::Gate),
        Outcome::Unknown if args.exit_code => {
            Err(Failure::Other("nothing is known to differ, but not everything could be compared".to_owned()))
        }
        _ => Ok(()),
    }
}

async fn image(name: String, args: &BuildArgs, stages: &[String]) -> Result<Side, Failure> {
    let word = !name.contains(['/', ':', '@']);
    let side = of_image(name, args).await;
    side.map_err(|failure| if word { or_a_stage(failure, stages) } else { failure })
}

async fn of_image(name: String, args: &BuildArgs) -> Result<Side, Failure> {
    let (inventory, _) = analyse::open(&points::image_args(&name, args), false).await?;
    Ok(Side::of_image(name, inventory))
}

async fn of_place(place: Reached) -> Result<Side, Failure> {
    Ok(Side::of_place(place.name, place.at, place.engine).await?)
}

/// Whether anything differs.
enum Outcome {
    Differ,
    Alike,
    /// As far as it could be compared, nothing does.
    Unknown,
}

/// Prints what differs. Sides that are not there yet are the places, in order.
async fn compare_points(args: &DiffArgs, sides: Vec<Option<Side>>, places: Vec<Reached>) -> Result<Outcome, Failure> {
    let mut places = places.into_iter();
    let mut both = Vec::new();
    for side in sides {
        let missing = || Failure::Other("a place of the build was not reached".to_owned());
        both.push(match side {
            Some(side) => side,
            None => of_place(places.next().ok_or_else(missing)?).await?,
        });
    }
    let [mut before, mut after] =
        <[Side; 2]>::try_from(both).map_err(|_| Failure::Other("there are not two things to compare".to_owned()))?;
    side::settle(&mut before, &mut after).await?;
    let (old, new) = (before.tree.clone(), after.tree.clone());
    let diff = super::blocking(move || Diff::between(&old, &new, Scope::Changed)).await?;
    let patches = match args.text {
        true => patches(&diff, &mut before, &mut after, MOST_TOLD).await?,
        false => Patches::default(),
    };
    let packages = [before.packages().await, after.packages().await];
    let report = report::report(&diff, &before, &after, packages, &patches);
    report.warnings.iter().for_each(|line| super::print::note(format_args!("warning: {}", printable(line))));
    match args.json {
        true => super::print::json(&report)?,
        false => super::print::text(&text::render(&report, super::size::style(), !args.summary))?,
    }
    Ok(match (diff.is_empty(), before.warnings.is_empty() && after.warnings.is_empty()) {
        (false, _) => Outcome::Differ,
        (true, true) => Outcome::Alike,
        (true, false) => Outcome::Unknown,
    })
}

/// A word that is no image may have been meant for a stage.
fn or_a_stage(failure: Failure, stages: &[String]) -> Failure {
    let known = format!("the stages are: {}", stages.join(", "));
    match failure {
        failure if stages.is_empty() => failure,
        Failure::Usage(message) => Failure::Usage(format!("{message}\n  help: {known}")),
        Failure::Build { message, help } => Failure::Build { message, help: [help, vec![known]].concat() },
        other => other,
    }
}

/// Bytes of contents that are held for comparing lines, of both sides together.
const HELD: u64 = 256 << 20;

/// Bytes of lines that are told in all.
const MOST_TOLD: usize = 128 << 20;

/// The lines that differ in regular files that are on both sides.
#[derive(Default)]
pub struct Patches {
    pub of: BTreeMap<DiffId, Patch>,
    /// Files whose lines are not told, because there are too many before them.
    pub left_out: usize,
}

async fn patches(diff: &Diff, before: &mut Side, after: &mut Side, most: usize) -> Result<Patches, Failure> {
    let mut patches = Patches::default();
    let mut wanted: Vec<(DiffId, BString)> = Vec::new();
    let (mut held, mut room) = (0u64, most);
    for id in diff.ids() {
        let (Some(old), Some(new)) = (diff.before(id), diff.after(id)) else { continue };
        if old.kind != Kind::File || new.kind != Kind::File || !diff.differences(id).content {
            continue;
        }
        let limit = patch::LIMIT as u64;
        if old.size > limit || new.size > limit {
            patches.of.insert(id, Patch::TooLarge);
            continue;
        }
        if held + old.size + new.size > HELD {
            room = compare(std::mem::take(&mut wanted), before, after, &mut patches, room).await?;
            held = 0;
        }
        held += old.size + new.size;
        wanted.push((id, diff.path(id)));
    }
    compare(wanted, before, after, &mut patches, room).await?;
    Ok(patches)
}

/// Compares contents for as many bytes of lines as there is room for, and answers how much room is left.
async fn compare(
    wanted: Vec<(DiffId, BString)>,
    before: &mut Side,
    after: &mut Side,
    patches: &mut Patches,
    mut room: usize,
) -> Result<usize, Failure> {
    if room == 0 {
        patches.left_out += wanted.len();
        return Ok(0);
    }
    let paths: BTreeSet<BString> = wanted.iter().map(|(_, path)| path.clone()).collect();
    let (old, new) = (before.contents(&paths).await?, after.contents(&paths).await?);
    let compared = super::blocking(move || {
        // What could not be read is told by its side.
        let read = wanted.iter().filter_map(|(id, path)| Some((*id, old.get(path)?, new.get(path)?)));
        let (mut told, mut left_out) = (Vec::new(), 0);
        for (id, old, new) in read {
            if room == 0 {
                left_out += 1;
                continue;
            }
            let patch = Patch::between(old.as_bytes(), new.as_bytes());
            room = room.saturating_sub(patch.bytes());
            told.push((id, patch));
        }
        (left_out, told, room)
    });
    let (left_out, told, room) = compared.await?;
    patches.left_out += left_out;
    patches.of.extend(told);
    Ok(room)
}
