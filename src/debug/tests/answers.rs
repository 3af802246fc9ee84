//! What a session answers: shells, exports, and its events as JSON.

use super::*;
use crate::debug::{Export, ShellPlace, json};
use crate::engine::{Destination, Output, ShellInput, ShellOutput, ShellRequest};
use crate::image::config::{History, ImageConfig, RootFs};
use crate::image::digest::Digest;
use std::path::PathBuf;

const PLACES: &str = "\
FROM scratch AS tools
RUN build tools
FROM scratch AS app
ENV A=1
WORKDIR /app
USER joe
RUN --mount=from=tools,target=/mnt make
ENV B=2
COPY x y
FROM app
";

/// A shell at `place` of [`PLACES`] after `commands`: snapshot, user, directory, variables, mounts and what they
/// show; or the error.
async fn check_shell(commands: &str, place: &str, side: Side, expected: &str) {
    let script = Script::new().on("RUN --mount", Play::exits(1));
    let begin = Begin { script, ..Begin::default() };
    let mut front = Front::new(PLACES, begin);
    front.stop().await;
    for command in commands.lines() {
        front.ask(front.command(command)).await;
    }
    let place = ShellPlace { position: front.place(place), side };
    let got = match front.session.shell(place, Some((80, 24))).await {
        Err(error) => format!("{} ({})", error.message, error.help.join(", ")),
        Ok(_) => {
            let request = front.engine.shells().pop().unwrap();
            assert_eq!((request.size, request.run.argv.len()), (Some((80, 24)), 0));
            assert_eq!(request.inputs.len(), request.origins.len());
            let run = &request.run;
            let inputs = request.inputs.iter().flatten().map(|it| it.0.as_str()).collect::<Vec<_>>().join(" ");
            let env = run.env.iter().filter(|it| !it.starts_with("PATH=")).cloned().collect::<Vec<_>>().join(" ");
            let mounts = run.mounts.iter().map(|it| it.target.as_str()).collect::<Vec<_>>().join(" ");
            format!("{} [{}] {} [{env}] [{mounts}] [{inputs}]", request.at, run.user, run.cwd)
        }
    };
    assert_eq!(got, expected, "{place:?} after {commands:?}");
    front.quit().await;
}

#[tokio::test(start_paused = true)]
async fn a_shell_finds_what_the_instruction_finds() {
    use Side::{After, Before, Failed};
    check_shell("to app:5", "app:4", Before, "1:3 [joe] /app [A=1] [/mnt] [0:1]").await;
    check_shell("to app:4\nc", "app:4", Before, "1:3 [joe] /app [A=1] [/mnt] [0:1]").await;
    check_shell("c", "app:4", After, "1:3 [joe] /app [A=1] [] []").await;
    check_shell("c", "app:4", Failed, "1:4! [joe] /app [A=1] [/mnt] [0:1]").await;
    check_shell("c", "app:1", Before, "1:0 [] / [] [] []").await;
    check_shell("c", "app:2", Before, "1:1 [] / [A=1] [] []").await;
    check_shell("c", "app:3", After, "1:2 [] /app [A=1] [] []").await;
}

#[tokio::test(start_paused = true)]
async fn where_no_shell_can_be_it_says_why() {
    use Side::{After, Before, Failed};
    let before_from = "stage app has not begun: its FROM has not been run (step over FROM first; a stage has no file \
                       system before it)";
    check_shell("c", "app:0", Before, before_from).await;
    let unreached = "nothing has been run here yet: stage app is done up to instruction 3 (run to this place first)";
    check_shell("c", "app:6", After, unreached).await;
    let nothing = "nothing has been run here yet: stage app has not begun (run to this place first)";
    check_shell("n", "app:2", Before, nothing).await;
    let no_failure = "nothing has failed here (ask for a shell before or after the instruction)";
    check_shell("c", "app:2", Failed, no_failure).await;
    check_shell("c", "app:9", After, "there is no such place in this build ()").await;
    let mounts = "stage tools, which this instruction mounts, is not finished (step over the instruction, or run to \
                  the end of that stage, first)";
    check_shell("to app:4", "app:4", Before, mounts).await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_without_a_file_system_has_no_shell() {
    let script = Script::new().on("RUN", Play::refused("no user joe", &[]));
    let mut front = Front::new(PLACES, Begin { script, ..Begin::default() });
    front.stop().await;
    let stop = front.ask(Command::Continue).await;
    let place = ShellPlace { position: stop.position, side: Side::Failed };
    let error = front.session.shell(place, None).await.unwrap_err();
    assert_eq!(error.message, "the failed instruction left no file system");
    front.quit().await;
}

#[tokio::test(start_paused = true)]
async fn where_it_stands_a_shell_is_expected() {
    let script = Script::new()
        .on("RUN build", Play::succeeds().waits(Duration::from_secs(1)))
        .on("RUN --mount", Play::exits(1))
        .shell(Play::succeeds());
    let mut front = Front::new(PLACES, Begin { script, ..Begin::default() });
    let expected = async |front: &Front| {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let one = |it: ShellRequest| format!("{} {}", it.at, it.instruction.map_or(0, |(_, step)| step.index));
        front.engine.expected().into_iter().map(one).collect::<Vec<_>>().join(", ")
    };
    // Before FROM there is nothing to stand in.
    front.stop().await;
    assert_eq!(expected(&front).await, "");
    front.ask(Command::StepOver).await;
    assert_eq!(expected(&front).await, "0:0 0");
    front.session.send(Command::StepOver);
    assert_eq!(expected(&front).await, "", "while it runs");
    front.stop().await;
    assert_eq!(expected(&front).await, "0:1 0, 0:0 1", "after the RUN and before it");
    front.ask(Command::BackOver).await;
    assert_eq!(expected(&front).await, "0:0 1", "before the RUN");
    let look = |at: &str| front.session.look(Some(ShellPlace { position: front.place(at), side: Side::Before }));
    look("tools:2");
    assert_eq!(expected(&front).await, "0:0 1, 0:1 0", "where the user looks too");
    look("tools:1");
    assert_eq!(expected(&front).await, "0:0 1", "that is where it stands");
    look("app:1");
    assert_eq!(expected(&front).await, "0:0 1", "nothing is there yet");
    front.session.look(None);
    let stop = front.ask(Command::Continue).await;
    assert_eq!(expected(&front).await, "1:4! 4, 1:3 4", "at the failure and before it");
    // It is the one that is opened there.
    front.session.shell(stop.shell(), Some((80, 24))).await.unwrap();
    let (opened, expected_there) = (front.engine.shells().pop().unwrap(), front.engine.expected().swap_remove(0));
    assert_eq!((&opened.at, &opened.run, opened.watch), (&expected_there.at, &expected_there.run, true));
    let engine = front.engine.clone();
    front.quit().await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(engine.expected().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_command_runs_where_a_shell_would() {
    let script = Script::new().shell(Play::succeeds().writes("tmp/note", b"x"));
    let mut front = Front::new(PLACES, Begin { script, paused: false, ..Begin::default() });
    front.stop().await;
    let place = ShellPlace { position: front.place("app:4"), side: Side::Before };
    let mut shell = front.session.command(place, vec!["ls".to_owned(), "/".to_owned()], None).await.unwrap();
    let mut heard = Vec::new();
    while let Some(output) = shell.output.recv().await {
        match output {
            ShellOutput::Bytes(bytes) | ShellOutput::Stderr(bytes) => heard.extend(bytes),
            ShellOutput::Exited { code, changes } => {
                assert_eq!((code, changes.map(|it| it.entries.len())), (0, Some(1)));
            }
            ShellOutput::Lost(error) => panic!("{error}"),
        }
    }
    assert_eq!(heard, b"ls /\n");

    let mut shell = front.session.shell(place, Some((80, 24))).await.unwrap();
    shell.input.send(ShellInput::Bytes(b"exit\r".to_vec())).await.unwrap();
    let mut ended = false;
    while let Some(output) = shell.output.recv().await {
        ended |= matches!(output, ShellOutput::Exited { code: 0, .. });
    }
    assert!(ended);
    front.quit().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_engine_counts_afterwards_is_said_when_it_is_counted() {
    let run = Play::succeeds().writes("tmp/note", b"xyz").removes("none");
    let script = Script::new().counts_afterwards().on("RUN", run);
    let mut front = Front::new(PLACES, Begin { script, paused: false, ..Begin::default() });
    front.stop().await;
    let is_open = |status: &StepStatus| matches!(status, StepStatus::Done(outcome) if outcome.changes.is_none());
    let open = |front: &Front| {
        let counted = |step: &StepId| {
            front.heard.iter().any(|event| matches!(event, Event::Counted { step: at, changes: Some(_) } if at == step))
        };
        front.statuses.iter().filter(|(step, status)| is_open(status) && !counted(step)).count()
    };
    while open(&front) > 0 {
        front.next().await;
    }
    let bytes: Vec<u64> = front
        .heard
        .iter()
        .filter_map(|event| match event {
            Event::Counted { changes: Some(changes), .. } => Some(changes.bytes),
            _ => None,
        })
        .collect();
    assert!(bytes.contains(&3) && bytes.contains(&0), "{bytes:?}");
    // What is counted belongs to what was said before: a new branch says it of nothing that it keeps.
    let before = front.heard.len();
    front.ask(Command::Retry).await;
    let said = &front.heard[before..];
    let open = said.iter().filter(|event| matches!(event, Event::Step { status, .. } if is_open(status))).count();
    assert!(open <= 1, "{said:#?}");
    front.quit().await;
}

fn output() -> Output {
    Output(mpsc::channel(1).0)
}

#[tokio::test(start_paused = true)]
async fn an_export_is_the_finished_target_with_its_history() {
    let layer = || Digest::of(b"layer");
    let entry = |text: &str, empty_layer| History { created_by: text.to_owned(), empty_layer, ..History::default() };
    // It speaks of two layers and has three, and that in the old way.
    let base = ImageConfig {
        rootfs: RootFs { kind: "layers".to_owned(), diff_ids: vec![layer(), layer(), layer()] },
        history: vec![entry("one", false), entry("two", true), entry("three", false)],
        ..ImageConfig::default()
    };
    let script = Script::new().image("base", base, Play::succeeds());
    let file = "FROM base AS first\nRUN one\nENV A=1\nFROM first\nWORKDIR /app\nCMD run\n";
    let mut front = Front::new(file, Begin { script, ..Begin::default() });
    let wanted = Export {
        packing: Default::default(),
        annotations: Default::default(),
        attributes: Default::default(),
        platforms: Vec::new(),
        tags: vec!["app:1".to_owned()],
        destinations: vec![Destination::Docker { dest: PathBuf::from("x.tar") }],
        created: Some("2024-01-02T03:04:05Z".to_owned()),
    };
    front.stop().await;
    let error = front.session.export(wanted.clone(), &output()).await.unwrap_err();
    assert_eq!(error.message, "the target, stage 1, is not built yet");
    front.ask(Command::Continue).await;
    front.session.export(wanted.clone(), &output()).await.unwrap();
    let request = front.engine.exports().pop().unwrap();
    assert_eq!((request.at.0.as_str(), request.tags, request.destinations), ("1:2", wanted.tags, wanted.destinations));
    let told: Vec<(&str, bool, bool)> = request
        .config
        .history
        .iter()
        .map(|it| (it.created_by.as_str(), it.empty_layer, it.created.is_some()))
        .collect();
    let expected = [
        ("one", false, false),
        ("two", true, false),
        ("three", false, false),
        ("", false, false),
        ("RUN one", false, true),
        ("ENV A=1", true, true),
        ("WORKDIR /app", false, true),
        ("CMD run", true, true),
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for ((text, empty, time), (begins, empty_too, time_too)) in told.into_iter().zip(expected) {
        assert!(text.starts_with(begins.split(' ').next().unwrap()), "{text} {begins}");
        assert_eq!((empty, time), (empty_too, time_too), "{begins}");
    }
    front.quit().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_discarded_is_gone() {
    let mut front = Front::new(TWO, Begin { paused: false, ..Begin::default() });
    let snapshot = front.stop().await.snapshot.unwrap();
    assert!(front.session.tree(&snapshot).await.is_ok());
    front.session.discard().await.unwrap();
    assert!(front.session.tree(&snapshot).await.is_err());
    front.quit().await;
}

#[tokio::test(start_paused = true)]
async fn files_are_read_where_they_are() {
    let script = Script::new()
        .on("RUN make", Play::succeeds().writes("/bin/app", b"program"))
        .on("RUN test", Play::succeeds().removes("/bin/app"));
    let mut front = Front::new(TWO, Begin { script, ..Begin::default() });
    front.stop().await;
    front.ask(Command::RunTo(front.place("builder:2"))).await;
    let made = front.ask(Command::Goto(front.place("builder:2"))).await.snapshot.unwrap();
    let tested = front.ask(Command::StepOver).await.snapshot.unwrap();
    let path = "bin/app".into();
    assert_eq!(front.session.read(&made, &path, 3, 2).await.unwrap(), b"gr");
    assert!(front.session.read(&tested, &path, 0, 9).await.is_err());
    assert_eq!(front.session.layers(&tested).await.unwrap().len(), 2);
    front.quit().await;
}

/// What is the same for every event, and every kind of event once, as other programs see it.
#[tokio::test(start_paused = true)]
async fn events_as_lines() {
    let script = Script::new()
        .on(
            "RUN make",
            Play::succeeds().writes("out", b"12345").prints("a\u{9b}31m\n").waits(Duration::from_millis(1500)),
        )
        .on("RUN test", Play::exits(3).says(crate::engine::OutputEvent::Stderr(vec![0xff, b'x'])));
    let begin = Begin {
        script,
        breakpoints: vec![Trigger::Before(Location::Line(3)), Trigger::Before(Location::Line(99))],
        ..Begin::default()
    };
    let mut front = Front::new(TWO, begin);
    front.stop().await;
    front.ask(Command::Continue).await;
    front.ask(Command::Continue).await;
    let plan = front.plan.clone();
    let heard = front.quit().await;
    let lines: Vec<serde_json::Value> = heard.iter().map(|event| json::line(event, plan.as_deref())).collect();
    for line in &lines {
        let text = json::text(line).unwrap();
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert_eq!(&serde_json::from_str::<serde_json::Value>(&text).unwrap(), line);
        assert!(line["event"].is_string());
    }
    let of = |kind: &str| lines.iter().filter(|line| line["event"] == kind).cloned().collect::<Vec<_>>();
    let make = serde_json::json!({"stage": "builder", "stage_index": 0, "index": 1, "line": 2, "text": "RUN make"});
    let test = serde_json::json!({"stage": "builder", "stage_index": 0, "index": 2, "line": 3, "text": "RUN test"});
    let done = of("step").into_iter().find(|line| line["step"] == make && line["status"] == "done").unwrap();
    assert_eq!((&done["result"]["bytes"], &done["result"]["duration_ms"]), (&5.into(), &1500.into()));
    let outputs = of("output");
    assert_eq!((&outputs[0]["text"], outputs[0].get("base64")), (&"a\u{9b}31m\n".into(), None));
    assert_eq!((&outputs[1]["text"], &outputs[1]["stream"]), (&"\u{fffd}x".into(), &"stderr".into()));
    assert_eq!(outputs[1]["base64"], "/3g=");
    let stops = of("stopped");
    assert_eq!(
        stops.iter().map(|it| it["reason"].as_str().unwrap()).collect::<Vec<_>>(),
        ["start", "breakpoint", "failure"]
    );
    assert_eq!(stops[1]["breakpoint"], 1);
    assert_eq!((&stops[2]["side"], &stops[2]["step"]), (&"FAILED".into(), &test));
    assert_eq!(stops[2]["failure"]["exit_code"], 3);
    let list = &of("breakpoints")[0]["list"];
    assert_eq!((&list[0]["wanted"], &list[0]["state"], &list[0]["step"]), (&"3".into(), &"bound".into(), &test));
    assert_eq!(list[1]["state"], "unbound");
    let planned = &of("planned")[0];
    assert_eq!((&planned["target"], &planned["order"]), (&"final".into(), &serde_json::json!(["builder", "final"])));
    assert_eq!(planned["stages"][1]["needs"][1]["name"], "builder");
    assert_eq!((of("started").len(), of("resumed").len(), of("ended").len()), (1, 2, 1));
}
