//! What the BuildKit engine promises beside `docker build` and `docker exec`, measured in one run on one Docker Engine
//! and printed as ratios; a ratio over 1.00 breaks the promise.
//!
//! DOCKER_HOST names the engine, a socket of this machine, and STAGEDIVE_BENCH_DOCKER the client, which has to have
//! buildx. Needs a static busybox on PATH for the base.

use clap::Parser;
use stagedive::cli::args::{BuildArgs, Cli, Command as Subcommand};
use stagedive::cli::{engine, project};
use stagedive::debug::{self, Command, Event, Position, Session, ShellPlace, Side};
use stagedive::engine::{Engine, ShellOutput};
use stagedive::plan::StageId;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::mpsc;

fn main() {
    #[cfg(target_os = "linux")]
    stagedive::engine::embedded::process::main_if_engine();
    let (Some(socket), Ok(client)) = (socket(), std::env::var("STAGEDIVE_BENCH_DOCKER")) else {
        println!("builder: set DOCKER_HOST to unix://SOCKET and STAGEDIVE_BENCH_DOCKER to a client with buildx");
        return;
    };
    let peer = Peer { client, socket };
    peer.base();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    println!("{:<52} {:>11} {:>11} {:>7}", "figure", "measured", "promised", "ratio");
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load of the machine: {}", load.trim());
    runtime.block_on(async {
        steps(&peer).await;
        far(&peer).await;
        prompts(&peer).await;
    });
    transfer(&peer);
    builds(&peer);
}

fn report(what: &str, measured: Duration, promised: Duration) {
    let ratio = measured.as_secs_f64() / promised.as_secs_f64();
    println!("{what:<52} {:>8.2} ms {:>8.2} ms {ratio:>7.2}", millis(measured), millis(promised));
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn socket() -> Option<PathBuf> {
    std::env::var("DOCKER_HOST").ok()?.strip_prefix("unix://").map(PathBuf::from)
}

/// The engine's own client.
struct Peer {
    client: String,
    socket: PathBuf,
}

const BASE: &str = "stagedive-bench:base";

impl Peer {
    fn docker(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(&self.client);
        command.args(arguments).env("DOCKER_BUILDKIT", "1").stdin(Stdio::null());
        command
    }

    /// Gives the engine a base of busybox alone.
    fn base(&self) {
        let script = format!(
            "set -e; cd \"$(mktemp -d)\"; mkdir bin etc tmp; cp \"$(command -v busybox)\" bin/busybox; \
             for it in sh cat sleep seq touch mkdir; do ln -s busybox bin/$it; done; \
             tar c . | \"$1\" import --change 'ENV PATH=/bin' - {BASE} >/dev/null"
        );
        let status = std::process::Command::new("sh").args(["-c", &script, "sh", &self.client]).status();
        assert!(status.expect("sh").success(), "the base cannot be imported");
    }
}

fn timed(mut command: std::process::Command) -> Duration {
    let start = Instant::now();
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    let took = start.elapsed();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    took
}

fn arguments(builder: Option<&str>, context: &Path) -> BuildArgs {
    let words = ["stagedive", "build", "--engine", "docker"].map(str::to_owned).into_iter();
    let builder = builder.into_iter().flat_map(|it| ["--builder".to_owned(), it.to_owned()]);
    let words = words.chain(builder).chain([context.to_str().expect("a plain path").to_owned()]);
    match Cli::parse_from(words).command {
        Some(Subcommand::Build(command)) => command.build,
        _ => unreachable!("it is a build"),
    }
}

/// A session that stands before the first instruction.
async fn open(builder: Option<&str>, context: &Path) -> (Session, mpsc::Receiver<Event>, Arc<dyn Engine>) {
    let args = arguments(builder, context);
    let project = project::open(&args).unwrap_or_else(|failure| panic!("{failure}"));
    let engine = engine::start(&args, &project).await.unwrap_or_else(|failure| panic!("{failure}"));
    let mut setup = project.setup(engine.clone());
    setup.paused = true;
    setup.count = true;
    setup.shells = true;
    let (session, mut events) = debug::start(setup);
    stopped(&mut events).await;
    (session, events, engine)
}

async fn stopped(events: &mut mpsc::Receiver<Event>) {
    loop {
        match events.recv().await.expect("the session lives") {
            Event::Stopped(stop) => {
                assert!(stop.failure.is_none(), "{:?}", stop.failure);
                return;
            }
            Event::PlanFailed { rendered, .. } => panic!("no plan: {rendered}"),
            _ => {}
        }
    }
}

const CHAIN: usize = 30;

fn chain(dir: &Path) {
    let steps: String = (0..CHAIN).map(|number| format!("RUN touch /{number}\n")).collect();
    std::fs::write(dir.join("Dockerfile"), format!("FROM {BASE}\n{steps}")).expect("a Dockerfile");
}

/// How long each step over a RUN takes that the builder has in its cache.
async fn walk(builder: Option<&str>, context: &Path) -> Vec<Duration> {
    let (session, mut events, engine) = open(builder, context).await;
    let mut times = Vec::new();
    for _ in 0..=CHAIN {
        let start = Instant::now();
        session.send(Command::StepOver);
        stopped(&mut events).await;
        times.push(start.elapsed());
    }
    session.send(Command::Quit);
    while events.recv().await.is_some() {}
    engine.close().await.expect("the engine ends");
    times.split_off(1)
}

async fn steps(_: &Peer) {
    let dir = tempfile::tempdir().expect("a directory");
    chain(dir.path());
    walk(None, dir.path()).await;
    let times = walk(None, dir.path()).await;
    report("a cached step, over a socket", median(times), Duration::from_millis(5));
}

/// What is on its way, each way.
const DELAY: Duration = Duration::from_millis(50);

/// The same steps on a builder that is far away: every byte takes its time, whatever comes after it.
async fn far(peer: &Peer) {
    let dir = tempfile::tempdir().expect("a directory");
    chain(dir.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("tcp://{}", listener.local_addr().expect("an address"));
    let socket = peer.socket.clone();
    let proxy = tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let _ = near.set_nodelay(true);
            let Ok(there) = UnixStream::connect(&socket).await else { return };
            let (near_read, near_write) = near.into_split();
            let (there_read, there_write) = there.into_split();
            tokio::spawn(delayed(near_read, there_write));
            tokio::spawn(delayed(there_read, near_write));
        }
    });
    let times = walk(Some(&address), dir.path()).await;
    proxy.abort();
    let step = median(times);
    let trips = step.as_secs_f64() / (2.0 * DELAY.as_secs_f64());
    println!(
        "{:<52} {trips:>8.2}    {:>8.2}    {:>7.2}",
        "round trips of a step, 50 ms away each way",
        3.0,
        trips / 3.0
    );
}

async fn delayed(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin + Send + 'static) {
    let (sender, mut queue) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let writer = async move {
        while let Some((due, bytes)) = queue.recv().await {
            tokio::time::sleep_until(due.into()).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    let reader = async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if sender.send((Instant::now() + DELAY, buffer[..count].to_vec())).is_err() {
                return;
            }
        }
    };
    tokio::join!(writer, reader);
}

/// How long somebody looks at a place who then opens a shell.
const LOOKING: Duration = Duration::from_millis(500);
const TURNS: usize = 9;

/// From asking for a shell to the first byte of its prompt, in turns with `docker exec` in a container that runs: at a
/// stop, and before its instruction; where the user looks besides; and in places that nobody has looked at.
async fn prompts(peer: &Peer) {
    let dir = tempfile::tempdir().expect("a directory");
    chain(dir.path());
    let (session, mut events, engine) = open(None, dir.path()).await;
    session.send(Command::Continue);
    stopped(&mut events).await;
    let last = CHAIN as u32 + 1;
    let place = |done, side| ShellPlace { position: Position { stage: StageId(0), done }, side };
    let name = format!("stagedive-bench-{}", std::process::id());
    let run = ["run", "-d", "--rm", "--network=none", "--name", &name, BASE, "sleep", "600"];
    timed(peer.docker(&run));
    let (mut here, mut before, mut looked_at, mut elsewhere) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut theirs = Vec::new();
    for turn in 0..TURNS as u32 {
        let besides = place(last - 5, Side::Before);
        session.look(Some(besides));
        tokio::time::sleep(LOOKING).await;
        here.push(prompt(&session, place(last, Side::After)).await);
        tokio::time::sleep(LOOKING).await;
        before.push(prompt(&session, place(last - 1, Side::Before)).await);
        tokio::time::sleep(LOOKING).await;
        looked_at.push(prompt(&session, besides).await);
        session.look(None);
        tokio::time::sleep(LOOKING).await;
        elsewhere.push(prompt(&session, place(last - 6 - turn, Side::After)).await);
        tokio::time::sleep(LOOKING).await;
        theirs.push(exec(peer, &name));
    }
    timed(peer.docker(&["kill", &name]));
    let theirs = median(theirs);
    println!("{:<52} {:>8.2} ms", "  `docker exec` to its first prompt", millis(theirs));
    for (what, times) in [
        ("a shell at a stop, to its first prompt", here),
        ("a shell before the stop's instruction", before),
        ("a shell where the user has looked for half a second", looked_at),
        ("a shell where nobody has looked", elsewhere),
    ] {
        report(what, median(times), theirs.mul_f64(1.2));
    }
    session.send(Command::Quit);
    while events.recv().await.is_some() {}
    engine.close().await.expect("the engine ends");
}

async fn prompt(session: &Session, place: ShellPlace) -> Duration {
    let start = Instant::now();
    let mut shell = session.shell(place, Some((80, 24))).await.expect("a shell");
    loop {
        match shell.output.recv().await {
            Some(ShellOutput::Bytes(bytes)) if !bytes.is_empty() => return start.elapsed(),
            Some(ShellOutput::Bytes(_) | ShellOutput::Stderr(_)) => {}
            other => panic!("the shell ended before its prompt: {other:?}"),
        }
    }
}

fn exec(peer: &Peer, name: &str) -> Duration {
    let start = Instant::now();
    let mut command = peer.docker(&["exec", "-t", name, "sh"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("docker");
    let mut first = [0; 1];
    child.stdout.take().expect("its output").read_exact(&mut first).expect("a prompt");
    let took = start.elapsed();
    child.kill().expect("it ends");
    child.wait().expect("it ends");
    took
}

const FILES: usize = 20_000;

/// A build of a large context that the builder has already, in turns with `docker build`.
fn transfer(peer: &Peer) {
    let dir = tempfile::tempdir().expect("a directory");
    for number in 0..FILES {
        let sub = dir.path().join(format!("d{}", number / 200));
        std::fs::create_dir_all(&sub).expect("a directory");
        std::fs::write(sub.join(format!("f{number}")), format!("{number}\n")).expect("a file");
    }
    std::fs::write(dir.path().join("Dockerfile"), "FROM scratch\nCOPY . /\n").expect("a Dockerfile");
    let context = dir.path().to_str().expect("a plain path");
    let (ours, theirs) = in_turns(5, || stagedive(&[context]), || peer.docker(&["build", context]));
    println!("{:<52} {:>8.2} ms", "  `docker build`: 20,000 files again", millis(theirs));
    report("20,000 files again", ours, theirs.mul_f64(1.2));
}

const BUILD: &str = "\
FROM stagedive-bench:base AS one
RUN for i in $(seq 2000); do echo $i; done > /a
COPY Dockerfile /b
RUN cat /a /b > /c
FROM stagedive-bench:base AS two
RUN for i in $(seq 2000); do echo $i; done > /a
RUN mkdir -p /d && cat /a > /d/e
FROM stagedive-bench:base
COPY --from=one /c /c
COPY --from=two /d /d
RUN cat /c /d/e > /f
ENV A=1
CMD [\"cat\", \"/f\"]
";

/// A whole build without the cache, in turns with `docker build`; both leave an image.
fn builds(peer: &Peer) {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("Dockerfile"), BUILD).expect("a Dockerfile");
    let context = dir.path().to_str().expect("a plain path");
    let (ours, theirs) = in_turns(
        7,
        || stagedive(&["--no-cache", "-t", "stagedive-bench:ours", context]),
        || peer.docker(&["build", "--no-cache", "-t", "stagedive-bench:theirs", context]),
    );
    println!("{:<52} {:>8.2} ms", "  `docker build` without the cache", millis(theirs));
    report("a whole build without the cache", ours, theirs.mul_f64(1.1));
}

fn stagedive(arguments: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_stagedive"));
    command.args(["build", "--engine", "docker"]).args(arguments);
    command
}

/// The medians of both, after one run of each that does not count.
fn in_turns(
    times: usize,
    ours: impl Fn() -> std::process::Command,
    theirs: impl Fn() -> std::process::Command,
) -> (Duration, Duration) {
    timed(theirs());
    timed(ours());
    let pairs = (0..times).map(|_| (timed(ours()), timed(theirs())));
    let (ours, theirs): (Vec<Duration>, Vec<Duration>) = pairs.unzip();
    (median(ours), median(theirs))
}
