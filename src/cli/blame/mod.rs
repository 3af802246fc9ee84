//! `stagedive blame IMAGE|CONTEXT PATH`: which instructions touched a path, and where its bytes come from.

pub mod report;
#[cfg(test)]
mod tests;
pub mod text;

use super::analyse::{self, Build};
use super::args::BlameArgs;
use super::exit::Failure;
use super::plain::printable;
use crate::debug::trace::{self, Alike, Chain, Facts};
use crate::dockerfile::nearest::nearest_few;
use crate::image::inventory::Inventory;
use crate::layers::follow::follow;
use crate::layers::path::{clean, split};
use crate::layers::{FileTree, blame};
use bstr::{BStr, BString, ByteSlice};
use std::sync::Arc;

pub async fn run(args: BlameArgs) -> Result<(), Failure> {
    let (inventory, build, base) = analyse::open_on_base(&args.build, false).await?;
    analyse::warn(&inventory);
    let path = find(&inventory, args.path.as_encoded_bytes());
    let way = match (&build, &path) {
        (Some(build), Ok(path)) => way(build, path).await,
        _ => Ok(None),
    };
    if let Some(build) = &build {
        build.close().await?;
    }
    let (path, way) = (path?, way?);
    let base = report::base(&inventory, base);
    let report = report::report(&inventory, build.as_ref(), base, way.as_ref(), path.as_ref());
    match args.json {
        true => super::print::json(&report),
        false => super::print::text(&text::render(&report, super::size::style())),
    }
}

/// The facts of a build, and the way of one of its target's paths.
pub struct Way {
    pub facts: Facts,
    pub chain: Chain,
    /// Where the content was before the commands that the chain ends at.
    pub alike: Vec<Alike>,
}

async fn way(build: &Build, path: &BString) -> Result<Option<Way>, Failure> {
    let snapshots = build.outcomes.iter().map(|(step, outcome)| (*step, outcome.snapshot.clone())).collect();
    let facts = trace::gather(build.engine.as_ref(), Arc::clone(&build.plan), &snapshots).await?;
    let Some(chain) = facts.chain(build.plan.target, path.as_ref()) else { return Ok(None) };
    let alike = trace::alike(build.engine.as_ref(), &facts, &snapshots, &chain).await?;
    Ok(Some(Way { facts, chain, alike }))
}

/// The path that is meant: where symbolic links on the way lead, or as it is written; what is there goes before what is
/// gone. A slash at the end leads through a link, too.
fn find(inventory: &Inventory, text: &[u8]) -> Result<BString, Failure> {
    let tree = &inventory.tree;
    let path = clean(BStr::new(text));
    let followed = follow(tree, path.as_ref(), text.ends_with(b"/")).map(|followed| followed.path);
    let known: Vec<&BString> = followed.iter().chain([&path]).collect();
    let there = known.iter().find(|it| tree.lookup(it.as_bstr()).is_some());
    let found = there.or_else(|| known.iter().find(|it| blame(tree, it.as_bstr()).is_some()));
    if let Some(found) = found {
        return Ok(BString::clone(found));
    }
    let help = near(tree, path.as_ref()).map(|it| format!("\n  help: {it}")).unwrap_or_default();
    Err(Failure::Other(printable(&format!("no layer of {} has or had /{path}{help}", inventory.name))))
}

/// Names like the one that is not there, in the lowest directory that is.
fn near(tree: &FileTree, path: &BStr) -> Option<String> {
    let (mut directory, mut name) = split(path);
    while tree.lookup(directory).is_none() {
        (directory, name) = split(directory);
    }
    let names: Vec<String> =
        tree.children(tree.lookup(directory)?).map(|id| tree.name(id).to_str_lossy().into_owned()).collect();
    let near = nearest_few(&name.to_str_lossy(), names.iter().map(String::as_str), 3);
    let shown = |name: &str| match directory.is_empty() {
        true => format!("/{name}"),
        false => format!("/{directory}/{name}"),
    };
    let near: Vec<String> = near.into_iter().map(shown).collect();
    (!near.is_empty()).then(|| format!("there is {}", near.join(", ")))
}
