//! A build made by hand, for tests of the screen: a plan, outcomes, and the events that lead to a state.

use crate::debug::breakpoint::Breakpoints;
use crate::debug::timeline::{Basis, BranchId, Timeline};
use crate::debug::{Event, Failure, Log, Position, Side, StepStatus, Stop, StopReason, Trigger};
use crate::dockerfile::{self, Instruction, Lines};
use crate::engine::{Capabilities, ChangeSummary, EngineError, StepOutcome};
use crate::image::config::ImageConfig;
use crate::layers::{Diff, Entry, FileTree, Kind, Layer, Meta, Scope};
use crate::plan::{
    Base, Copy, CopySource, Edge, EdgeKind, FileOrigin, Network, Op, Options, Origin, Plan, Run, Stage, StageId, State,
    Step, StepId, Variable,
};
use crate::snapshot::SnapshotId;
use crate::tui::widgets::{Answer, Query};
use std::sync::Arc;
use std::time::Duration;

/// Three stages, of which one is not needed.
pub(crate) const HELLO: &str = "\
# syntax=docker/dockerfile:1
ARG GO=1.23
FROM golang:${GO} AS builder
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN go build -o /out/server ./cmd/server

FROM alpine:3.20 AS docs
COPY --from=builder /src/docs /docs

FROM alpine:3.20 AS final
RUN apk add --no-cache ca-certificates
COPY --from=builder /out/server /usr/local/bin/
USER nobody
ENV PORT=8080
CMD [\"server\"]
";

pub(crate) fn hello() -> Arc<Plan> {
    plan(HELLO)
}

/// Lowers a simple Dockerfile: names without variables, one source a COPY. The last stage is the target.
pub(crate) fn plan(text: &str) -> Arc<Plan> {
    let dockerfile = Arc::new(dockerfile::parse(text.as_bytes()));
    let mut stages: Vec<Stage> = Vec::new();
    let mut state = State::default();
    for instruction in &dockerfile.instructions {
        if instruction.keyword == "from" {
            state = begin(&mut stages, instruction);
        }
        if let Some(at) = stages.len().checked_sub(1) {
            let step = step(&stages, at, instruction, &mut state);
            let kind = if instruction.keyword == "run" { EdgeKind::Mount } else { EdgeKind::Copy };
            let reads: Vec<Edge> = step
                .inputs
                .iter()
                .filter(|origin| !matches!(origin, FileOrigin::Context { .. }))
                .map(|origin| Edge { origin: origin.clone(), step: step.id, kind })
                .collect();
            stages[at].needs.extend(reads);
            stages[at].steps.push(step);
        }
    }
    let target = StageId(stages.len().saturating_sub(1) as u32);
    let mut needed = vec![target];
    let mut at = 0;
    while let Some(stage) = needed.get(at).copied() {
        for edge in &stages[stage.0 as usize].needs {
            if let FileOrigin::Stage(source) = edge.origin
                && !needed.contains(&source)
            {
                needed.push(source);
            }
        }
        at += 1;
    }
    needed.sort_unstable();
    for stage in &mut stages {
        stage.needed = needed.contains(&stage.id);
    }
    Arc::new(Plan {
        dockerfile,
        stages,
        target,
        order: needed,
        platform: "linux/amd64".to_owned(),
        diagnostics: Vec::new(),
    })
}

fn begin(stages: &mut Vec<Stage>, from: &Instruction) -> State {
    let id = StageId(stages.len() as u32);
    let image = from.args[0].replace("${GO}", "1.23");
    let base = match (image.as_str(), find(stages, &image)) {
        ("scratch", _) => Base::Scratch,
        (_, Some(stage)) => Base::Stage(stage),
        _ => Base::Image(image.clone()),
    };
    let origin = match &base {
        Base::Scratch => FileOrigin::Scratch,
        Base::Stage(stage) => FileOrigin::Stage(*stage),
        Base::Image(image) => FileOrigin::Image(image.clone()),
    };
    let step = StepId { stage: id, index: 0 };
    let needs = vec![Edge { origin, step, kind: EdgeKind::From }];
    let platform = "linux/amd64".to_owned();
    stages.push(Stage {
        id,
        name: from.args.get(2).cloned(),
        base,
        platform,
        steps: Vec::new(),
        needs,
        needed: false,
        no_cache: false,
    });
    let mut state = State { shell: vec!["/bin/sh".to_owned(), "-c".to_owned()], ..State::default() };
    state.image = ImageConfig { os: "linux".to_owned(), architecture: "amd64".to_owned(), ..ImageConfig::default() };
    state.image.config.cmd = Some(vec!["/bin/sh".to_owned()]);
    let path = "/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    state.env.push(Variable { name: "PATH".to_owned(), value: Some(path.to_owned()), origin: Origin::Base });
    state
}

fn find(stages: &[Stage], name: &str) -> Option<StageId> {
    stages.iter().find(|it| it.name.as_deref() == Some(name)).map(|it| it.id)
}

fn step(stages: &[Stage], at: usize, instruction: &Instruction, state: &mut State) -> Step {
    let stage = &stages[at];
    let flag = |name: &str| instruction.flags.iter().find_map(|it| it.strip_prefix(name)).map(str::to_owned);
    let args = &instruction.args;
    let origin = Origin::Line(instruction.lines.start);
    let mut inputs = Vec::new();
    let mut op = Op::Config;
    match instruction.keyword.as_str() {
        "from" => op = Op::From(stage.base.clone()),
        "run" => {
            inputs.extend(flag("--mount=from=").map(|it| source(stages, it)));
            op = Op::Run(Run {
                hosts: Vec::new(),
                ulimits: Vec::new(),
                argv: vec!["/bin/sh".to_owned(), "-c".to_owned(), args.join(" ")],
                env: Vec::new(),
                unkeyed_env: Vec::new(),
                cwd: state.image.config.working_dir.clone(),
                user: state.image.config.user.clone(),
                mounts: Vec::new(),
                network: Network::Default,
                insecure: false,
                files: Vec::new(),
            });
        }
        "copy" | "add" => {
            inputs.push(flag("--from=").map_or(FileOrigin::Context { name: None }, |it| source(stages, it)));
            let (dest, sources) = args.split_last().expect("a destination");
            op = Op::Copy(Copy {
                add: instruction.keyword == "add",
                sources: sources.iter().cloned().map(CopySource::Path).collect(),
                dest: dest.clone(),
                chown: None,
                chmod: None,
                link: false,
                parents: false,
                exclude: Vec::new(),
                unpack: None,
                checksum: None,
                keep_git_dir: false,
            });
        }
        "workdir" => {
            state.image.config.working_dir = args[0].clone();
            op = Op::Workdir { path: args[0].clone(), user: String::new() };
        }
        "env" | "arg" => {
            let (name, value) = match args[0].split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (args[0].clone(), args.get(1).cloned()),
            };
            let list = if instruction.keyword == "env" { &mut state.env } else { &mut state.args };
            list.retain(|it| it.name != name);
            list.push(Variable { name, value, origin });
        }
        "user" => state.image.config.user = args[0].clone(),
        "cmd" => state.image.config.cmd = Some(args.clone()),
        "entrypoint" => state.image.config.entrypoint = Some(args.clone()),
        _ => {}
    }
    let layer = matches!(op, Op::Run(_) | Op::Copy(_) | Op::Workdir { .. });
    Step {
        id: StepId { stage: stage.id, index: stage.steps.len() as u32 },
        lines: instruction.lines,
        keyword: instruction.keyword.clone(),
        text: instruction.original.replace("${GO}", "1.23"),
        onbuild: false,
        op,
        inputs,
        state: Arc::new(state.clone()),
        history: instruction.original.clone(),
        layer,
    }
}

fn source(stages: &[Stage], name: String) -> FileOrigin {
    match find(stages, &name).or_else(|| name.parse().ok().map(StageId)) {
        Some(stage) => FileOrigin::Stage(stage),
        None => FileOrigin::Image(name),
    }
}

pub(crate) fn id(stage: u32, index: u32) -> StepId {
    StepId { stage: StageId(stage), index }
}

/// The file system after a step.
pub(crate) fn snapshot(step: StepId) -> SnapshotId {
    SnapshotId(format!("{}.{}", step.stage.0, step.index))
}

/// The outcome of a step that wrote `bytes` in `millis`.
pub(crate) fn outcome(step: StepId, bytes: u64, millis: u64, cached: bool) -> StepOutcome {
    let added = u64::from(bytes > 0);
    StepOutcome {
        snapshot: snapshot(step),
        cached,
        duration: Duration::from_millis(millis),
        changes: Some(ChangeSummary { added, modified: 0, removed: 0, bytes }),
        why: Vec::new(),
    }
}

pub(crate) fn done(step: StepId, bytes: u64, millis: u64, cached: bool) -> Event {
    Event::Step {
        step,
        status: StepStatus::Done(outcome(step, bytes, millis, cached)),
        at: Duration::from_millis(millis),
    }
}

pub(crate) fn running(step: StepId) -> Event {
    Event::Step { step, status: StepStatus::Running, at: Duration::from_secs(7) }
}

fn started() -> Event {
    let (engine, mode) = ("embedded".to_owned(), "rootless".to_owned());
    Event::Started { engine: Capabilities { engine, mode, ..Capabilities::default() } }
}

/// The engine and the plan, before anything has run.
pub(crate) fn planned(plan: &Arc<Plan>) -> Vec<Event> {
    let mut events = vec![started(), Event::Planned { plan: plan.clone() }];
    for stage in &plan.stages {
        let status = if stage.needed { StepStatus::Waiting } else { StepStatus::Skipped };
        let step = |step: &Step| Event::Step { step: step.id, status: status.clone(), at: Duration::ZERO };
        events.extend(stage.steps.iter().map(step));
    }
    events
}

/// A stop before the step that follows `done` steps of a stage, or after the last.
pub(crate) fn stopped(plan: &Plan, stage: u32, done: u32, reason: StopReason) -> Event {
    let position = Position { stage: StageId(stage), done };
    let (side, step) = match position.next(plan) {
        Some(step) => (Side::Before, step),
        None => (Side::After, id(stage, done - 1)),
    };
    Event::Stopped(Stop {
        position,
        side,
        step,
        line: plan.step(step).lines.start,
        reason,
        snapshot: position.previous().map(snapshot),
        in_the_past: false,
        failure: None,
    })
}

/// A failure of a step with this exit code, as status and as stop.
pub(crate) fn failed(plan: &Plan, step: StepId, code: i32) -> Vec<Event> {
    let failure = Failure {
        step,
        message: format!("the command ended with exit code {code}"),
        help: Vec::new(),
        exit_code: Some(code),
        after: Some(SnapshotId(format!("{}.{}.failed", step.stage.0, step.index))),
    };
    let position = Position::before(step);
    vec![
        Event::Step { step, status: StepStatus::Failed(failure.clone()), at: Duration::from_secs(9) },
        Event::Stopped(Stop {
            position,
            side: Side::Failed,
            step,
            line: plan.step(step).lines.start,
            reason: StopReason::Failure,
            snapshot: position.previous().map(snapshot),
            in_the_past: false,
            failure: Some(failure),
        }),
    ]
}

/// [`HELLO`], stopped before the instruction of `builder` that copies the context.
pub(crate) fn hello_stopped() -> (Arc<Plan>, Vec<Event>) {
    hello_stopped_with(&["8", "final:2", "9", "99", "16"])
}

/// The same with these breakpoints.
pub(crate) fn hello_stopped_with(wanted: &[&str]) -> (Arc<Plan>, Vec<Event>) {
    let plan = hello();
    let mut events = planned(&plan);
    events.push(done(id(0, 0), 812_000_000, 0, true));
    events.push(done(id(0, 1), 0, 1, false));
    events.push(done(id(0, 2), 4_100, 3, false));
    events.push(done(id(0, 3), 81_300_000, 6_200, false));
    events.push(breakpoints(&plan, wanted));
    events.push(stopped(&plan, 0, 4, StopReason::Step));
    (plan, events)
}

/// Bases being looked up, before there is a plan.
pub(crate) fn looking_up() -> Vec<Event> {
    let base = |image: &str, what: &str, done, total| Event::BaseProgress {
        image: image.to_owned(),
        what: what.to_owned(),
        done,
        total,
    };
    vec![
        started(),
        Event::Sketched { plan: hello() },
        base("golang:1.23", "manifest", 2_048, 2_048),
        base("golang:1.23", "3f1c5ab09d4e", 24_117_248, 92_274_688),
        base("alpine:3.20", "manifest", 0, 0),
    ]
}

/// [`HELLO`], stopped before its first instruction.
pub(crate) fn hello_started() -> (Arc<Plan>, Vec<Event>) {
    let plan = hello();
    let mut events = planned(&plan);
    events.push(breakpoints(&plan, &[]));
    events.push(stopped(&plan, 0, 0, StopReason::Start));
    (plan, events)
}

/// [`HELLO`] while its first base is fetched.
pub(crate) fn hello_pulling() -> (Arc<Plan>, Vec<Event>) {
    let (plan, mut events) = hello_started();
    let layer = |what: &str, done, total| Event::Progress { step: id(0, 0), what: what.to_owned(), done, total };
    events.extend([Event::Resumed, running(id(0, 0)), layer("3f1c5ab09d4e", 92_000_000, 92_000_000)]);
    events.push(layer("9d16cb8e25aa", 41_000_000, 201_000_000));
    (plan, events)
}

/// [`HELLO`] while an instruction runs that has written something.
pub(crate) fn hello_running() -> (Arc<Plan>, Vec<Event>) {
    let (plan, mut events) = hello_stopped();
    let output = b"go: downloading golang.org/x/net v0.30.0\n".to_vec();
    events.extend([Event::Resumed, done(id(0, 4), 61_000, 4, false), running(id(0, 5))]);
    events.push(Event::Output { step: id(0, 5), stderr: true, bytes: output });
    (plan, events)
}

/// [`HELLO`] after its build has failed.
pub(crate) fn hello_failed() -> (Arc<Plan>, Vec<Event>) {
    let (plan, mut events) = hello_running();
    let output = "cmd/server/main.go:12:2: undefined: listen\n\x1b[31mcmd/server/main.go:14:9: missing return\x1b[0m\n";
    events.push(Event::Output { step: id(0, 5), stderr: true, bytes: output.as_bytes().to_vec() });
    events.extend(failed(&plan, id(0, 5), 1));
    (plan, events)
}

/// [`HELLO`], done and gone back in.
pub(crate) fn hello_in_the_past() -> (Arc<Plan>, Vec<Event>) {
    let (plan, mut events) = hello_finished();
    let Event::Stopped(stop) = stopped(&plan, 0, 3, StopReason::Step) else { unreachable!() };
    events.push(Event::Stopped(Stop { in_the_past: true, ..stop }));
    (plan, events)
}

/// A stage whose base brings two instructions along, stopped before the first of them.
pub(crate) fn onbuild() -> (Arc<Plan>, Vec<Event>) {
    let mut plan = Plan::clone(&plan("FROM node:onbuild AS app\nRUN one\nRUN two\nRUN npm start\n"));
    for step in &mut plan.stages[0].steps[1..3] {
        step.onbuild = true;
        step.lines = Lines { start: 1, end: 1 };
    }
    let plan = Arc::new(plan);
    let mut events = planned(&plan);
    events.extend([done(id(0, 0), 9_000_000, 0, true), stopped(&plan, 0, 1, StopReason::Step)]);
    (plan, events)
}

/// A place, or `watch` and what to watch.
fn wanted_of(text: &str) -> Trigger {
    match text.strip_prefix("watch ") {
        Some(watch) => Trigger::Change(watch.parse().expect("a watchpoint")),
        None => Trigger::Before(text.parse().expect("a place")),
    }
}

/// Breakpoints as wanted, bound where they can be; the last one is disabled.
pub(crate) fn breakpoints(plan: &Plan, wanted: &[&str]) -> Event {
    let mut list = Breakpoints::default();
    for place in wanted {
        let id = list.set(wanted_of(place), Some(plan)).id;
        if *place == wanted[wanted.len() - 1] && wanted.len() > 1 {
            list.enable(id, false);
        }
    }
    Event::Breakpoints { list: list.list().to_vec(), break_on_failure: true }
}

/// A Dockerfile that no plan can be made of.
pub(crate) fn problem() -> Vec<Event> {
    let rendered = "\
Dockerfile:3:1: error: unknown instruction: RUNN
   |
 3 | RUNN make
   | ^^^^
   = did you mean RUN?
";
    let message = "unknown instruction: RUNN".to_owned();
    let fault = crate::debug::PlanFault::Dockerfile;
    vec![Event::PlanFailed { fault, message, rendered: rendered.to_owned() }]
}

/// [`HELLO`], of which a base cannot be had.
pub(crate) fn no_base() -> Vec<Event> {
    let rendered = "\
Dockerfile:1:1: error: base image golang:1.23: cannot get the image golang:1.23: no answer from the registry: the name \
is not known [base-image]
   |
 1 | FROM golang:1.23 AS builder
   | ^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = give it by file: --build-context golang:1.23=oci-layout://DIR, or golang:1.23=docker-archive:FILE
";
    let fault = crate::debug::PlanFault::Base;
    let failed =
        Event::PlanFailed { fault, message: "base image golang:1.23".to_owned(), rendered: rendered.to_owned() };
    looking_up().into_iter().chain([failed]).collect()
}

/// [`HELLO`] at its end.
pub(crate) fn hello_finished() -> (Arc<Plan>, Vec<Event>) {
    let (plan, mut events) = hello_stopped();
    events.push(done(id(0, 4), 61_000, 4, false));
    events.push(done(id(0, 5), 6_100_000, 3_400, false));
    events.push(done(id(2, 0), 7_800_000, 0, true));
    events.push(done(id(2, 1), 2_300_000, 900, false));
    events.push(done(id(2, 2), 6_100_000, 5, false));
    events.push(done(id(2, 3), 0, 0, false));
    events.push(done(id(2, 4), 0, 0, false));
    events.push(done(id(2, 5), 0, 0, false));
    events.push(stopped(&plan, 2, 6, StopReason::End));
    events.push(Event::Finished { snapshot: snapshot(id(2, 5)), at: Duration::from_secs(11) });
    (plan, events)
}

/// Three branches of [`HELLO`]: the first run, one with another argument that the build stands on, and one with another
/// file that failed.
pub(crate) fn branches() -> Event {
    let args = |value: &str| {
        let build_args = [("GO".to_owned(), value.to_owned())].into();
        Arc::new(Basis { options: Options { build_args, ..Options::default() }, ..Basis::default() })
    };
    let mut timeline = Timeline::new(hello(), Arc::default());
    let place = Position { stage: StageId(0), done: 4 };
    let plan = hello();
    for step in plan.order.iter().flat_map(|stage| &plan.stage(*stage).steps) {
        timeline.record_done(step.id, outcome(step.id, 1_000_000, 3, false));
    }
    timeline.leave(place);
    let edited = self::plan(&HELLO.replace("go mod download", "go mod download -x"));
    timeline.fork(edited, Arc::default(), "files changed".to_owned(), |step| Some(step).filter(|it| it.index < 3));
    timeline.begun(Duration::from_secs(95));
    let message = "the command failed with exit code 1".to_owned();
    timeline.record_failure(Failure { step: id(0, 3), message, help: Vec::new(), exit_code: Some(1), after: None });
    timeline.go_to(BranchId(1), place);
    timeline.fork(hello(), args("1.24"), "GO=1.24".to_owned(), |step| Some(step).filter(|it| it.index < 2));
    timeline.begun(Duration::from_secs(204));
    Event::Branches { list: timeline.branches().to_vec(), current: BranchId(3) }
}

/// What the engine would answer about [`HELLO`].
pub(crate) fn answer(query: &Query) -> Result<Answer, EngineError> {
    let failed = |message: &str| Err(EngineError::new(message.to_owned()));
    let (before, after, scope) = match query {
        Query::Diff { before, after } => (before, after, Scope::Changed),
        Query::Files { before, after } => (before, after, Scope::Everything),
        Query::Log(step) => {
            let mut log = Log::default();
            if step.index == 3 {
                log.push(true, b"go: downloading golang.org/x/net v0.30.0\n".to_vec());
            }
            return Ok(Answer::Log(log));
        }
        Query::Hits { of, pattern } => return Ok(Answer::Hits(of.0.find(pattern))),
        _ => return failed("not part of this build"),
    };
    let layers = hello_layers();
    let depth = |at: &SnapshotId| {
        let index = at.0.split('.').nth(1).and_then(|part| part.parse::<usize>().ok()).unwrap_or(0);
        (index + 1).min(layers.len())
    };
    let tree = FileTree::merge(&layers[..depth(after)]);
    let below = before.as_ref().map_or(0, depth) as u32;
    let diff = Diff::above(&tree, below, scope);
    diff.prepare();
    Ok(Answer::Diff(Arc::new(diff)))
}

/// The layers of the first stage's steps, as far as they are told of.
fn hello_layers() -> Vec<Arc<Layer>> {
    let put = |path: &str, kind: Kind, size: u64| {
        let mode = if kind == Kind::Directory { 0o755 } else { 0o644 };
        let meta = Meta { mode, size, mtime: (size as i64, 0), ..Meta::new(kind) };
        Entry::Put { path: path.into(), meta, opaque: false }
    };
    let dir = |path: &str| put(path, Kind::Directory, 0);
    let file = |path: &str, size: u64| put(path, Kind::File, size);
    let base = vec![
        file("bin/sh", 1_200_000),
        file("etc/passwd", 800),
        file("root/.config/go/telemetry", 6_000),
        file("tmp/go-build1/a.o", 90_000),
        file("usr/local/go/bin/go", 13_000_000),
        file("usr/local/go/pkg/tool/compile", 797_700_000),
    ];
    let modules = vec![
        dir("go/pkg/mod/cache"),
        file("go/pkg/mod/cache/download/golang.org/x/net/@v/v0.30.0.zip", 12_100_000),
        file("go/pkg/mod/cache/download/golang.org/x/sys/@v/v0.26.0.zip", 8_300_000),
        file("go/pkg/mod/golang.org/x/net@v0.30.0/html/entity.go", 114_000),
        file("go/pkg/mod/golang.org/x/net@v0.30.0/http2/server.go", 29_600_000),
        file("go/pkg/mod/golang.org/x/sys@v0.26.0/unix/zerrors.go", 31_168_000),
        file("root/.config/go/telemetry", 18_000),
        Entry::Whiteout { path: "tmp/go-build1".into() },
    ];
    let sources = vec![file("src/go.mod", 1_100), file("src/go.sum", 3_000)];
    [base, vec![dir("src")], sources, modules].into_iter().map(|entries| Arc::new(Layer { entries })).collect()
}
