//! `stagedive demo`: bundled projects on a base packed from this machine's own programs.

use super::args::{BuildArgs, DebugArgs, DemoArgs};
use super::exit::Failure;
use super::print;
use clap::Parser;
use include_dir::{Dir, include_dir};
use std::io;
use std::path::{Path, PathBuf};

static DEMOS: Dir = include_dir!("$CARGO_MANIFEST_DIR/demo");

/// The image that the demos' Dockerfiles name; served by this machine's programs.
const BASE: &str = "busybox:1.37";

/// In the order in which to look at them.
const ORDER: [&str; 3] = ["hello", "bloated", "failing"];

pub async fn run(args: DemoArgs) -> Result<(), Failure> {
    if args.list {
        return list().iter().try_for_each(|(name, about)| print::line(format_args!("{name:<10} {about}")));
    }
    let name = args.name.as_deref().unwrap_or(ORDER[0]);
    let demo = DEMOS.get_dir(name).ok_or_else(|| {
        let names: Vec<String> = list().into_iter().map(|(name, _)| name).collect();
        Failure::Usage(format!("there is no demo {name:?}; there are: {}", names.join(", ")))
    })?;
    if let Some(to) = &args.to {
        write(demo, to)
            .map_err(|error| Failure::Other(format!("cannot write the demo to {}: {error}", to.display())))?;
        let to = to.display();
        return print::line(format_args!(
            "wrote the demo {name} to {to}; debug it with\n  stagedive --build-context {BASE}=host: {to}"
        ));
    }
    let dir = project_dir(name, args.on.store.root.as_deref())?;
    write(demo, &dir)
        .map_err(|error| Failure::Other(format!("cannot write the demo to {}: {error}", dir.display())))?;
    let title = Some(format!("demo {name}"));
    super::screen::run(debug_args(&dir, args), title).await
}

/// The names and what each one teaches: the first line of its Dockerfile.
fn list() -> Vec<(String, String)> {
    let about = |name: &&str| {
        let file = DEMOS.get_file(format!("{name}/Dockerfile"))?;
        let first = file.contents_utf8()?.lines().next()?;
        Some((name.to_string(), first.trim_start_matches("# ").to_owned()))
    };
    ORDER.iter().filter_map(about).collect()
}

/// Beside the store, so that what the user edits there is still there the next time.
fn project_dir(name: &str, root: Option<&Path>) -> Result<PathBuf, Failure> {
    Ok(super::project::store_root(root)?.join("demo").join(name))
}

fn debug_args(dir: &Path, demo: DemoArgs) -> DebugArgs {
    let args = DebugArgs::parse_from_defaults();
    let build = BuildArgs {
        context: dir.display().to_string(),
        build_contexts: vec![format!("{BASE}=host:")],
        on: demo.on,
        ..args.build
    };
    DebugArgs { build, screen: demo.screen, ..args }
}

impl DebugArgs {
    /// As if nothing had been given.
    fn parse_from_defaults() -> DebugArgs {
        super::args::Cli::parse_from(["stagedive"]).debug
    }
}

/// Files that are there already are left as they are: they may have been edited.
fn write(dir: &Dir, to: &Path) -> io::Result<()> {
    let root = dir.path();
    std::fs::create_dir_all(to)?;
    let mut open = vec![dir];
    while let Some(dir) = open.pop() {
        for file in dir.files() {
            let path = to.join(file.path().strip_prefix(root).unwrap_or(file.path()));
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            if !path.exists() {
                std::fs::write(path, file.contents())?;
            }
        }
        open.extend(dir.dirs());
    }
    Ok(())
}
