//! Steps through a build and prints what is there after each instruction, for `tests/real/buildkit` to compare
//! engines by: `listing [OPTIONS] CONTEXT`, with the options of `stagedive build`.
//!
//! Every line is one of: the instruction, with whether it was cached left out; a path that it changed, with kind, mode,
//! owner, size or link target, and for a small file its content's digest; a failure, with the files it left.
//!
//! LISTING_SHELL is typed into a shell at the end, or at the failure, and what that changed is listed; with LISTING_REST, so many seconds
//! after the last stop, and into another one so many seconds later. LISTING_AGAIN is a command that is
//! run at the end, after which everything is listed once more. LISTING_PLANS makes as many other plans, by a build
//! argument of that name, then goes back to the first one and runs its last instruction again.

use clap::Parser;
use stagedive::cli::args::{Cli, Command as Subcommand};
use stagedive::cli::{engine, project};
use stagedive::debug::{self, BranchId, Command, Event, Session, ShellPlace};
use stagedive::engine::{Engine, Shell, ShellInput, ShellOutput};
use stagedive::image::digest::Digest;
use stagedive::layers::{Entry, Kind, Meta};
use stagedive::plan::{Plan, StepId};
use stagedive::snapshot::SnapshotId;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Files up to this size are read.
const SMALL: u64 = 64 << 10;

fn main() {
    #[cfg(target_os = "linux")]
    stagedive::engine::embedded::process::main_if_engine();
    let arguments = std::env::args().skip(1).filter(|it| it != "--bench");
    let arguments = ["stagedive".to_owned(), "build".to_owned()].into_iter().chain(arguments);
    let Some(Subcommand::Build(command)) = Cli::parse_from(arguments).command else { return };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let project = project::open(&command.build).unwrap_or_else(|failure| panic!("{failure}"));
        let engine = engine::start(&command.build, &project).await.unwrap_or_else(|failure| panic!("{failure}"));
        let mut setup = project.setup(engine.clone());
        setup.paused = true;
        setup.shells = true;
        let (session, events) = debug::start(setup);
        let (plan, reached, place, mut events) = steps(&session, events, engine.as_ref()).await;
        if let Some(count) = std::env::var("LISTING_PLANS").ok().and_then(|it| it.parse().ok()) {
            plans(&session, &mut events, count).await;
        }
        // What is said meanwhile is not of interest, but has to be heard.
        let heard = tokio::spawn(async move {
            let mut events = events;
            while events.recv().await.is_some() {}
        });
        if let Ok(typed) = std::env::var("LISTING_SHELL") {
            let rest = std::env::var("LISTING_REST").ok().and_then(|it| it.parse().ok()).map(Duration::from_secs_f64);
            for rest in rest.map_or(vec![Duration::ZERO], |rest| vec![rest; 2]) {
                tokio::time::sleep(rest).await;
                shell(&session, place, &typed).await;
            }
        }
        if let Ok(command) = std::env::var("LISTING_AGAIN") {
            let status = std::process::Command::new("sh").arg("-c").arg(command).status().expect("sh");
            assert!(status.success(), "the command failed");
            println!("AGAIN");
            for (step, snapshot) in &reached {
                show(engine.as_ref(), &plan, *step, snapshot).await;
            }
        }
        drop(heard);
        session.send(Command::Quit);
        engine.close().await.expect("the engine ends");
    });
}

type Reached = Vec<(StepId, SnapshotId)>;

/// Steps to the end or to the first failure; answers with the file systems that are there then, and where a shell stands.
async fn steps(
    session: &Session,
    mut events: mpsc::Receiver<Event>,
    engine: &dyn Engine,
) -> (Arc<Plan>, Reached, ShellPlace, mpsc::Receiver<Event>) {
    let mut plan: Option<Arc<Plan>> = None;
    let mut reached = Vec::new();
    let mut finished = false;
    while let Some(event) = events.recv().await {
        match event {
            Event::Planned { plan: it } => plan = Some(it),
            Event::PlanFailed { message, .. } => panic!("no plan: {message}"),
            Event::Step { step, status: debug::StepStatus::Done(outcome), .. } => {
                let plan = plan.as_deref().expect("a plan");
                show(engine, plan, step, &outcome.snapshot).await;
                reached.push((step, outcome.snapshot));
            }
            Event::Stopped(stop) => {
                let plan = plan.clone().expect("a plan");
                if let Some(failure) = &stop.failure {
                    println!("FAILED {:?}", failure.exit_code);
                    if let Some(after) = &failure.after {
                        show(engine, &plan, stop.step, after).await;
                    }
                    return (plan, reached, stop.shell(), events);
                }
                if finished {
                    return (plan, reached, stop.shell(), events);
                }
                session.send(Command::StepOver);
            }
            Event::Finished { .. } => finished = true,
            Event::Ended => break,
            _ => {}
        }
    }
    panic!("the session ended");
}

async fn plans(session: &Session, events: &mut mpsc::Receiver<Event>, count: u32) {
    let others = (0..count).map(|number| Command::SetBuildArg("LISTING_PLANS".to_owned(), Some(number.to_string())));
    for command in others.chain([Command::Branch(BranchId(1)), Command::Retry]) {
        session.send(command);
        loop {
            match events.recv().await.expect("the session lives") {
                Event::Stopped(stop) => {
                    assert!(stop.failure.is_none(), "{:?}", stop.failure);
                    break;
                }
                Event::PlanFailed { message, .. } => panic!("no plan: {message}"),
                _ => {}
            }
        }
    }
    println!("AGAIN AS FIRST PLANNED");
}

/// Types into a shell, and lists what that changed.
async fn shell(session: &Session, place: ShellPlace, typed: &str) {
    let shell = session.shell(place, Some((80, 24))).await.expect("a shell");
    let Shell { input, mut output, .. } = shell;
    input.send(ShellInput::Bytes(format!("{typed}\nexit 3\n").into_bytes())).await.expect("the shell listens");
    while let Some(message) = output.recv().await {
        match message {
            ShellOutput::Exited { code, changes } => {
                println!("SHELL {code}");
                let changes = changes.expect("its changes");
                let entries = changes
                    .entries
                    .iter()
                    .filter(|entry| !matches!(entry, Entry::Put { meta, .. } if meta.kind == Kind::Directory));
                let mut lines: Vec<String> = entries
                    .map(|entry| match entry {
                        Entry::Put { path, meta, .. } => format!("  + {path} {}", properties(meta)),
                        entry => format!("  - {}", entry.path()),
                    })
                    .collect();
                lines.sort();
                lines.iter().for_each(|line| println!("{line}"));
            }
            ShellOutput::Lost(error) => panic!("{error}"),
            ShellOutput::Bytes(_) | ShellOutput::Stderr(_) => {}
        }
    }
}

/// What the instruction changed; of a FROM nothing, as engines bring bases in other layers.
async fn show(engine: &dyn Engine, plan: &Plan, id: StepId, at: &SnapshotId) {
    let step = plan.step(id);
    println!("{} {}: {}", plan.stage(id.stage).label(), id.index, step.text);
    let tree = engine.tree(at).await.expect("a tree");
    println!("  {} paths", tree.walk(stagedive::layers::FileTree::ROOT).len() - 1);
    if !step.layer {
        return;
    }
    let layers = engine.layers(at).await.expect("layers");
    let Some(layer) = layers.last() else { return };
    let mut lines = Vec::new();
    for entry in &layer.entries {
        match entry {
            // A directory whose time alone has changed comes with some engines only.
            Entry::Put { meta, .. } if meta.kind == Kind::Directory => {}
            Entry::Put { path, meta, .. } => {
                let content = match meta.kind == Kind::File && meta.size <= SMALL {
                    true => {
                        let bytes = engine.read(at, path, 0, SMALL as usize).await.expect("a file");
                        Digest::of(&bytes).hex().get(..12).unwrap_or_default().to_owned()
                    }
                    false => String::new(),
                };
                lines.push(format!("  + {path} {} {content}", properties(meta)));
            }
            entry => lines.push(format!("  - {}", entry.path())),
        }
    }
    lines.sort();
    lines.iter().for_each(|line| println!("{line}"));
}

fn properties(meta: &Meta) -> String {
    match meta.kind {
        Kind::Symlink => format!("-> {}", meta.target),
        kind => format!("{kind:?} {:o} {}:{} {}", meta.mode, meta.uid, meta.gid, meta.size),
    }
}
