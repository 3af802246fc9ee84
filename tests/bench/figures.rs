//! The figures that the project promises, measured in one run and printed with their ratios.
//!
//! `cargo bench` needs nothing but this machine. With DOCKER_HOST set, and STAGEDIVE_BENCH_PROJECT naming a project
//! with STAGEDIVE_BENCH_BASE (`NAME=SOURCE`, an image that the Docker Engine has as NAME), the same build is timed
//! on both engines; STAGEDIVE_BENCH_DOCKER is the client to use.

#[path = "../terminal/mod.rs"]
mod terminal;

use stagedive::debug::{self, Command, Event, Position, Session, Setup, ShellPlace, Side};
use stagedive::engine::ShellOutput;
use stagedive::engine::embedded::{Embedded, Settings};
use stagedive::plan::{Options, Plan, StageId};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use terminal::Terminal;
use tokio::sync::mpsc;

fn main() {
    stagedive::engine::embedded::process::main_if_engine();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    println!("{:<58} {:>11} {:>11} {:>7}", "figure", "measured", "promised", "ratio");
    runtime.block_on(steps_and_shells());
    first_frame();
    real_build();
}

/// Prints one line; a ratio over 1.00 breaks the promise.
fn report(what: &str, measured: Duration, promised: Duration) {
    let ratio = measured.as_secs_f64() / promised.as_secs_f64();
    println!("{what:<58} {:>8.2} ms {:>8.2} ms {ratio:>7.2}", millis(measured), millis(promised));
}

fn report_memory(what: &str, bytes: u64) {
    let (megabytes, promised) = (bytes as f64 / 1e6, 80.0);
    println!("{what:<58} {megabytes:>8.1} MB {promised:>8.1} MB {:>7.2}", megabytes / promised);
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

const CHAIN: usize = 60;

/// A chain of commands, each of which tells the time; `date` itself takes part of what is measured.
fn chain() -> String {
    format!("FROM base\n{}", "RUN [\"/bin/date\", \"+%s.%N\"]\n".repeat(CHAIN))
}

async fn steps_and_shells() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = Settings {
        program: program(),
        store: dir.path().join("store"),
        images: BTreeMap::from([("base".to_owned(), "host:".to_owned())]),
        platform: platform(),
        ..Settings::default()
    };
    let engine = Arc::new(Embedded::start(settings).await.expect("the engine starts"));
    let text = chain();
    let setup = Setup {
        engine,
        options: Options {
            build_platform: platform(),
            image_contexts: ["base".to_owned()].into(),
            ..Options::default()
        },
        name: "Dockerfile".to_owned(),
        read: Arc::new(move || Ok(text.clone().into_bytes())),
        context: None,
        paused: true,
        break_on_failure: true,
        no_cache: false,
        count: false,
        shells: false,
        breakpoints: Vec::new(),
    };
    let (session, mut events) = debug::start(setup);
    let plan = stopped(&mut events, &mut Vec::new()).await.expect("a plan");
    let mut began = Vec::new();
    session.send(Command::Continue);
    stopped(&mut events, &mut began).await;
    let mut gaps: Vec<Duration> = began.windows(2).skip(CHAIN / 2).map(|pair| pair[1] - pair[0]).collect();
    report("RUN to next RUN, `date` included (last 30 of 60 layers)", median(&mut gaps), Duration::from_millis(5));
    let mut alone: Vec<Duration> = (0..CHAIN).map(|_| timed(std::process::Command::new("/bin/date"))).collect();
    println!("{:<58} {:>8.2} ms", "  of which `date`, as this program starts it", millis(median(&mut alone)));

    let end = Position { stage: StageId(0), done: plan.stage(StageId(0)).steps.len() as u32 };
    let mut prompts = Vec::new();
    for _ in 0..15 {
        prompts.push(prompt(&session, ShellPlace { position: end, side: Side::After }).await);
    }
    report("shell key to the first prompt", median(&mut prompts), Duration::from_millis(30));

    let mut back = Vec::new();
    for _ in 0..CHAIN - 5 {
        let start = Instant::now();
        session.send(Command::BackOver);
        stopped(&mut events, &mut Vec::new()).await;
        back.push(start.elapsed());
    }
    report("step back", median(&mut back), Duration::from_millis(16));
    session.send(Command::Quit);
    while events.recv().await.is_some() {}
}

/// Waits for the next stop; answers with the plan if one was made, and collects the times that commands print.
async fn stopped(events: &mut mpsc::Receiver<Event>, began: &mut Vec<Duration>) -> Option<Arc<Plan>> {
    let mut plan = None;
    while let Some(event) = events.recv().await {
        match event {
            Event::Planned { plan: it } => plan = Some(it),
            Event::Output { bytes, .. } => {
                let text = String::from_utf8_lossy(&bytes);
                began.extend(text.trim().parse().ok().map(Duration::from_secs_f64));
            }
            Event::Stopped(stop) => {
                assert!(stop.failure.is_none(), "a step failed: {:?}", stop.failure);
                return plan;
            }
            Event::PlanFailed { rendered, .. } => panic!("no plan: {rendered}"),
            _ => {}
        }
    }
    plan
}

async fn prompt(session: &Session, place: ShellPlace) -> Duration {
    let start = Instant::now();
    let mut shell = session.shell(place, Some((80, 24))).await.expect("a shell");
    loop {
        match shell.output.recv().await {
            Some(ShellOutput::Bytes(bytes)) if !bytes.is_empty() => return start.elapsed(),
            Some(ShellOutput::Exited { code, .. }) => panic!("the shell ended with {code} before its prompt"),
            Some(_) => {}
            None => panic!("the shell ended without a word"),
        }
    }
}

/// From the start of the program to a screen with the Dockerfile on it, on a context of 20,000 files.
fn first_frame() {
    let dir = tempfile::tempdir().expect("a directory");
    let context = dir.path().join("context");
    for number in 0..20_000 {
        let folder = context.join(format!("d{}", number / 200));
        if number % 200 == 0 {
            std::fs::create_dir_all(&folder).expect("a folder");
        }
        std::fs::write(folder.join(number.to_string()), number.to_string()).expect("a file");
    }
    std::fs::write(context.join("Dockerfile"), "FROM base\nCOPY . /files\nRUN ls /files\n").expect("a Dockerfile");
    let (mut frames, mut memory) = (Vec::new(), 0);
    for _ in 0..11 {
        let mut command = std::process::Command::new(program());
        command.args(["--build-context", "base=host:", "--root"]).arg(dir.path().join("store")).arg(&context);
        let start = Instant::now();
        let mut terminal = Terminal::start(command, 120, 40);
        while !terminal.screen().contains("Dockerfile") {
            std::thread::sleep(Duration::from_micros(200));
            assert!(start.elapsed() < Duration::from_secs(20), "no frame:\n{}", terminal.screen());
        }
        frames.push(start.elapsed());
        terminal.wait("COPY");
        memory = memory.max(terminal.resident_bytes());
        terminal.keys("q");
        terminal.exit();
    }
    report("start to first frame, a context of 20,000 files", median(&mut frames), Duration::from_millis(50));
    report_memory("resident memory of the screen", memory);
}

/// The same project by this program and by `docker build`, uncached and cached.
fn real_build() {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (Some(project), Some(base), Some(_)) =
        (variable("STAGEDIVE_BENCH_PROJECT"), variable("STAGEDIVE_BENCH_BASE"), variable("DOCKER_HOST"))
    else {
        println!(
            "a real build beside docker build: not measured (DOCKER_HOST, STAGEDIVE_BENCH_PROJECT, STAGEDIVE_BENCH_BASE)"
        );
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let ours = |extra: &[&str]| {
        let mut command = std::process::Command::new(program());
        command
            .args(["build", "--build-context", &base, "--root"])
            .arg(dir.path().join("store"))
            .args(extra)
            .arg(&project);
        timed(command)
    };
    let docker = |extra: &[&str]| {
        let mut command = std::process::Command::new(variable("STAGEDIVE_BENCH_DOCKER").as_deref().unwrap_or("docker"));
        command.env("DOCKER_BUILDKIT", "1").args(["build", "-q", "-t", "stagedive-bench"]).args(extra).arg(&project);
        timed(command)
    };
    // The base is unpacked before anything is timed, as it is in the engine's image store.
    ours(&[]);
    docker(&[]);
    let mut uncached: Vec<(Duration, Duration)> =
        (0..3).map(|_| (ours(&["--no-cache"]), docker(&["--no-cache"]))).collect();
    let mut cached: Vec<(Duration, Duration)> = (0..9).map(|_| (ours(&[]), docker(&[]))).collect();
    compare("a real build, uncached: here and docker build", &mut uncached, 1.0);
    compare("the same, fully cached", &mut cached, 0.3);

    let mut command = std::process::Command::new(program());
    command.args(["--build-context", &base, "--root"]).arg(dir.path().join("store")).arg(&project);
    let mut terminal = Terminal::start(command, 200, 60);
    terminal.wait("BEFORE");
    terminal.keys("c");
    terminal.wait("FINISHED");
    terminal.keys("4");
    terminal.wait("etc");
    report_memory("resident memory of the screen, on the real build", terminal.resident_bytes());
    terminal.keys("q");
    terminal.exit();
}

fn compare(what: &str, pairs: &mut [(Duration, Duration)], promised: f64) {
    let mut ours: Vec<Duration> = pairs.iter().map(|pair| pair.0).collect();
    let mut theirs: Vec<Duration> = pairs.iter().map(|pair| pair.1).collect();
    let (ours, theirs) = (median(&mut ours), median(&mut theirs));
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!("{what:<58} {:>8.0} ms {:>8.0} ms {:>7.2}", millis(ours), millis(theirs), ratio / promised);
}

fn timed(mut command: std::process::Command) -> Duration {
    let start = Instant::now();
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    let time = start.elapsed();
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
    time
}

fn program() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_stagedive")).to_owned()
}

fn platform() -> String {
    stagedive::names::platform::Platform::host().to_string()
}
