//! Stopping what runs, output without an end, front ends that do not listen, plans that cannot be made.

use super::*;
use crate::debug::log::{HEAD, TAIL};
use crate::debug::{BreakpointState, PlanFault, StopReason};
use crate::engine::OutputEvent;
use crate::image::config::ImageConfig;
use std::collections::BTreeSet;

const SECOND: Duration = Duration::from_secs(1);

fn begin(script: Script) -> Begin {
    Begin { script, ..Begin::default() }
}

fn texts(front: &Front) -> Vec<String> {
    front.engine.runs().into_iter().map(|run| run.text).collect()
}

#[tokio::test(start_paused = true)]
async fn pause_lets_the_step_end() {
    let script = Script::new().on("RUN make", Play::succeeds().waits(SECOND));
    let mut front = play(TWO, begin(script), "=> BEFORE builder:0 Start").await;
    front.session.send(Command::Continue);
    front.running("RUN make").await;
    let stop = front.ask(Command::Pause).await;
    assert_eq!(front.describe(&stop), "BEFORE builder:2 Pause");
    assert!(!texts(&front).contains(&"RUN test".to_owned()));
    let stop = front.ask(Command::Continue).await;
    assert_eq!(front.describe(&stop), "AFTER final:3 End");
    front.quit().await;
}

/// A pause during the last step that was wanted changes nothing.
#[tokio::test(start_paused = true)]
async fn pause_at_the_end_is_the_end() {
    let script = Script::new().on("FROM", Play::succeeds().waits(SECOND));
    let mut front = play(TWO, begin(script), "=> BEFORE builder:0 Start").await;
    front.session.send(Command::StepOver);
    front.running("FROM scratch AS builder").await;
    let stop = front.ask(Command::Pause).await;
    assert_eq!(front.describe(&stop), "AFTER builder:0 Step");
    front.quit().await;
}

#[tokio::test(start_paused = true)]
async fn cancel_kills_the_step_and_stands_before_it() {
    let script = Script::new().on("RUN make", Play::hangs()).on("RUN make", Play::succeeds());
    let mut front =
        play(TWO, begin(script), "=> BEFORE builder:0 Start\nn => AFTER builder:0 Step | FROM scratch AS builder")
            .await;
    front.session.send(Command::StepOver);
    front.running("RUN make").await;
    let stop = front.ask(Command::Cancel).await;
    assert_eq!(front.describe(&stop), "BEFORE builder:1 Cancelled");
    assert_eq!(front.statuses[&stop.step], StepStatus::Cancelled);
    assert_eq!(front.engine.running(), 0);
    let stop = front.ask(Command::StepOver).await;
    assert_eq!(front.describe(&stop), "AFTER builder:1 Step");
    front.quit().await;
}

/// What was reached stays when a retry of it is cancelled.
#[tokio::test(start_paused = true)]
async fn a_cancelled_retry_changes_nothing() {
    let script = Script::new().on("RUN make", Play::succeeds()).on("RUN make", Play::hangs());
    let mut front = play(TWO, begin(script), "=> BEFORE builder:0 Start").await;
    let stop = front.ask(Command::Continue).await;
    assert_eq!(stop.reason, StopReason::End);
    let before = front.statuses.clone();
    front.ask(Command::Goto(front.place("builder:2"))).await;
    front.session.send(Command::Retry);
    front.running("RUN make").await;
    let stop = front.ask(Command::Cancel).await;
    assert_eq!(front.describe(&stop), "BEFORE builder:1 Cancelled");
    assert_eq!(front.statuses, before);
    front.quit().await;
}

#[tokio::test(start_paused = true)]
async fn commands_that_must_wait_say_so() {
    let script = Script::new().on("RUN make", Play::hangs());
    let mut front = play(TWO, begin(script), "=> BEFORE builder:0 Start").await;
    front.session.send(Command::Pause);
    front.session.send(Command::Cancel);
    front.session.send(Command::Continue);
    front.running("RUN make").await;
    for command in [Command::StepOver, Command::BackOver, Command::Retry, Command::Goto(front.place("builder:0"))] {
        front.session.send(command);
        let notice =
            front.until(|event| if let Event::Notice { message } = event { Some(message.clone()) } else { None });
        assert_eq!(notice.await, "the build is running: pause it first");
    }
    front.quit().await;
}

/// Restart, another argument and a reload leave what runs.
#[tokio::test(start_paused = true)]
async fn changes_kill_what_runs_first() {
    let script = || Script::new().on("RUN make", Play::hangs());
    for command in [Command::Restart, Command::Reload, Command::SetBuildArg("A".to_owned(), Some("1".to_owned()))] {
        let mut front = play(TWO, begin(script()), "=> BEFORE builder:0 Start").await;
        front.session.send(Command::Continue);
        front.running("RUN make").await;
        front.session.send(command.clone());
        let stop = front.stop().await;
        assert_eq!(front.describe(&stop), "BEFORE builder:1 Cancelled");
        let stop = front.stop().await;
        assert_eq!(stop.reason, StopReason::Reached, "{command:?}");
        assert_eq!(front.engine.running(), 0);
        front.quit().await;
    }
}

#[tokio::test(start_paused = true)]
async fn quitting_kills_what_runs() {
    let script = Script::new().on("RUN", Play::hangs());
    let mut front = Front::new(DIAMOND, Begin { paused: false, ..begin(script) });
    front.running("RUN tools").await;
    front.quit().await;
}

/// The last handle is the session's life, and so is the receiver of its events.
#[tokio::test(start_paused = true)]
async fn a_session_ends_with_its_front_end() {
    let script = || Script::new().on("RUN make", Play::hangs());
    let mut front = Front::new(TWO, Begin { paused: false, ..begin(script()) });
    front.running("RUN make").await;
    let Front { session, mut events, engine, .. } = front;
    drop(session);
    while events.recv().await.is_some() {}
    assert_eq!(engine.running(), 0);

    let mut front = Front::new(TWO, Begin { paused: false, ..begin(script()) });
    front.running("RUN make").await;
    drop(front.events);
    while front.engine.running() > 0 {
        tokio::time::sleep(SECOND).await;
    }
    while front.session.discard().await.is_ok() && front.session.shell(anywhere(), None).await.is_ok() {}
    let error = front.session.shell(anywhere(), None).await.unwrap_err();
    assert_eq!(error.message, "the session has ended");
}

fn anywhere() -> crate::debug::ShellPlace {
    let position = Position { stage: crate::plan::StageId(0), done: 1 };
    crate::debug::ShellPlace { position, side: Side::After }
}

/// Nobody reads, a step floods, and still a cancellation and the end are heard: the step ends, and memory is bounded
/// by what the channels hold.
#[tokio::test(start_paused = true)]
async fn commands_are_heard_while_nobody_reads() {
    let flood = || (0..100_000).fold(Play::hangs(), |play, _| play.prints("one more line\n"));
    for command in [Command::Cancel, Command::Quit] {
        let mut front = Front::new(TWO, Begin { paused: false, ..begin(Script::new().on("RUN make", flood())) });
        front.running("RUN make").await;
        // Long enough for the flood to fill all there is.
        tokio::time::sleep(SECOND).await;
        assert_eq!(front.engine.running(), 1);
        front.session.send(command);
        while front.engine.running() > 0 {
            tokio::time::sleep(SECOND).await;
        }
        let heard = front.quit().await;
        let lines = heard.iter().filter(|event| matches!(event, Event::Output { .. })).count();
        assert!(lines > 0 && lines < 1_000, "{lines}");
    }
}

/// An engine that never ends a step holds the end up only once.
#[tokio::test(start_paused = true)]
async fn quitting_twice_does_not_wait() {
    let script = Script::new().on("RUN make", Play::stuck());
    let mut front = Front::new(TWO, Begin { paused: false, ..begin(script) });
    front.running("RUN make").await;
    front.session.send(Command::Quit);
    tokio::time::sleep(SECOND).await;
    assert_eq!(front.engine.running(), 1);
    front.quit().await;
}

#[tokio::test(start_paused = true)]
async fn output_keeps_its_order_and_is_bounded() {
    let line = |index: usize| format!("{index:07}\n");
    let lines = 3 * HEAD / line(0).len();
    let play_it = (0..lines).fold(Play::succeeds(), |play, index| play.prints(&line(index)));
    let script = Script::new().on("RUN make", play_it.complains("the end"));
    let mut front = Front::new(TWO, begin(script));
    front.stop().await;
    front.ask(Command::Continue).await;
    let step = Position { done: 1, ..front.place("builder:0") }.next(front.plan.as_ref().unwrap()).unwrap();
    let log = front.session.log(step).await;
    let heard = front.quit().await;

    let mut written = Vec::new();
    let mut clipped = Vec::new();
    for event in &heard {
        match event {
            Event::Output { step: at, stderr, bytes } if *at == step => {
                assert_eq!(*stderr, bytes.ends_with(b"end"));
                written.extend_from_slice(bytes);
            }
            Event::OutputClipped { step: at, dropped } if *at == step => clipped.push((written.len(), *dropped)),
            Event::Step { step: at, status: StepStatus::Done(_), .. } if *at == step => break,
            _ => {}
        }
    }
    let text = String::from_utf8(written).unwrap();
    let numbers: Vec<usize> = text.lines().filter_map(|line| line.parse().ok()).collect();
    assert!(numbers.is_sorted() && numbers.first() == Some(&0));
    assert!(text.ends_with(&format!("{}the end", line(lines - 1))));
    let total = lines * line(0).len() + "the end".len();
    let [(head, 0), (again, dropped)] = clipped[..] else { panic!("{clipped:?}") };
    assert_eq!(head, again);
    assert_eq!(text.len() as u64 + dropped, total as u64);
    assert!(head <= HEAD && text.len() - head <= TAIL, "{head} {}", text.len());
    let kept = |chunks: &mut dyn Iterator<Item = &crate::debug::Chunk>| -> Vec<u8> {
        chunks.flat_map(|chunk| chunk.bytes.clone()).collect()
    };
    assert_eq!(kept(&mut log.head.iter().chain(&log.tail)), text.as_bytes());
}

#[tokio::test(start_paused = true)]
async fn what_a_step_says_is_passed_on() {
    let progress = OutputEvent::Progress { what: "layer".to_owned(), done: 1, total: 2 };
    let play_it = Play::succeeds().says(progress).says(OutputEvent::Notice("careful".to_owned()));
    let mut front = Front::new(TWO, begin(Script::new().on("RUN make", play_it)));
    front.stop().await;
    front.ask(Command::Continue).await;
    let heard = front.quit().await;
    assert!(
        heard.iter().any(|event| matches!(event, Event::Progress { what, done: 1, total: 2, .. } if what == "layer"))
    );
    assert!(heard.iter().any(|event| matches!(event, Event::Notice { message } if message == "careful")));
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_the_engine_is_a_failed_step() {
    let script = Script::new().on("RUN make", Play::panics()).on("RUN make", Play::succeeds());
    let mut front = Front::new(TWO, begin(script));
    front.stop().await;
    let stop = front.ask(Command::Continue).await;
    assert_eq!(front.describe(&stop), "FAILED builder:1 Failure");
    assert!(stop.failure.unwrap().message.starts_with("the engine broke off"));
    let stop = front.ask(Command::Continue).await;
    assert_eq!(stop.reason, StopReason::End);
    front.quit().await;
}

#[tokio::test(start_paused = true)]
async fn what_failed_says_how() {
    let script = Script::new().on("RUN make", Play::exits(7)).on("RUN make", Play::refused("no such file", &["try x"]));
    let mut front = Front::new(TWO, begin(script));
    front.stop().await;
    let failure = front.ask(Command::Continue).await.failure.unwrap();
    assert_eq!((failure.exit_code, failure.after.is_some()), (Some(7), true));
    let failure = front.ask(Command::Retry).await.failure.unwrap();
    assert_eq!((failure.exit_code, failure.after), (None, None));
    assert_eq!((failure.message.as_str(), &failure.help[..]), ("no such file", &["try x".to_owned()][..]));
    front.quit().await;
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_nearly_has_the_name_of_an_image_is_offered() {
    let refused = Play::refused("cannot get the image bilder", &[]);
    let script = Script::new().on("COPY --from=bilder /a /b", refused);
    let mut front = Front::new("FROM scratch AS builder\nFROM scratch\nCOPY --from=bilder /a /b\n", begin(script));
    front.stop().await;
    let failure = front.ask(Command::Continue).await.failure.unwrap();
    assert_eq!(failure.help, ["did you mean the stage builder?"]);
    front.quit().await;
    let mut front = Front::new("FROM scratch AS builder\nFROM bilder\n", begin(Script::new()));
    let (_, _, rendered) = front.until(plan_failed).await;
    assert!(rendered.contains("did you mean the stage builder?"), "{rendered}");
    front.quit().await;
}

fn plan_failed(event: &Event) -> Option<(PlanFault, String, String)> {
    match event {
        Event::PlanFailed { fault, message, rendered } => Some((*fault, message.clone(), rendered.clone())),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_cannot_be_made_waits_for_a_better_file() {
    for wrong in ["", "FRM scratch\n", "RUN x\n", "FROM scratch\nNONSENSE x\n", "\0\0\u{1}\n"] {
        let mut front =
            Front::new(wrong, Begin { breakpoints: vec![Trigger::Before(Location::Line(2))], ..Begin::default() });
        let (fault, message, rendered) = front.until(plan_failed).await;
        assert_eq!(fault, PlanFault::Dockerfile);
        assert!(!message.is_empty() && rendered.starts_with("Dockerfile:"), "{message}\n{rendered}");
        for command in [Command::StepOver, Command::Continue, Command::Retry, Command::Restart, Command::Cancel] {
            front.session.send(command);
        }
        assert!(front.session.shell(anywhere(), None).await.is_err());
        let pending = front.arrange("b builder:1").await;
        assert!(pending.iter().all(|it| it.state == BreakpointState::Pending), "{pending:?}");
        front.edit(TWO);
        let stop = front.ask(Command::Reload).await;
        assert_eq!(front.describe(&stop), "BEFORE builder:0 Start");
        let list = front.arrange("failure on").await;
        assert!(list.iter().all(|it| matches!(it.state, BreakpointState::Bound { .. })), "{list:?}");
        front.quit().await;
    }
}

/// Findings that are errors end the build before anything runs; what it would be is shown all the same.
#[tokio::test(start_paused = true)]
async fn a_gate_shows_the_plan_and_runs_nothing() {
    let file = format!("# check=error=true\n{}ENV A=$NOWHERE\n", TWO.replace(" AS ", " as "));
    let mut front = Front::new(&file, Begin::default());
    let (fault, message, rendered) = front.until(plan_failed).await;
    assert_eq!(fault, PlanFault::Dockerfile);
    assert_eq!(message, "4 findings of the build checks, which # check=error=true makes errors");
    for part in ["Dockerfile:2:14: warning: ", "[FromAsCasing]", "$NOWHERE", "BUILDKIT_DOCKERFILE_CHECK=error=false"] {
        assert!(rendered.contains(part), "no {part} in\n{rendered}");
    }
    let sketches = front.heard.iter().filter_map(|event| match event {
        Event::Sketched { plan } => Some(plan.stages.len()),
        _ => None,
    });
    assert_eq!(sketches.collect::<Vec<_>>(), [2]);
    // The argument takes the directive's place, and the plan is there.
    let name = "BUILDKIT_DOCKERFILE_CHECK".to_owned();
    let stop = front.ask(Command::SetBuildArg(name.clone(), Some("error=false".to_owned()))).await;
    assert_eq!(front.describe(&stop), "BEFORE builder:0 Start");
    front.session.send(Command::SetBuildArg(name, Some("error=true".to_owned())));
    let (_, message, _) = front.until(plan_failed).await;
    assert!(message.contains("which --build-arg BUILDKIT_DOCKERFILE_CHECK makes errors"), "{message}");
    front.quit().await;
}

/// With a plan in force, a file that is gone or wrong changes nothing.
#[tokio::test(start_paused = true)]
async fn a_file_that_is_gone_leaves_the_plan() {
    let mut front = play(TWO, Begin::default(), "=> BEFORE builder:0 Start").await;
    *front.text.lock().unwrap() = None;
    front.session.send(Command::Reload);
    let (fault, message, rendered) = front.until(plan_failed).await;
    assert_eq!(fault, PlanFault::Unreadable);
    assert!(message.starts_with("cannot read Dockerfile: "), "{message}");
    assert!(rendered.contains("-f"), "{rendered}");
    let stop = front.ask(Command::StepOver).await;
    assert_eq!(front.describe(&stop), "AFTER builder:0 Step");
    front.edit(TWO);
    let stop = front.ask(Command::Reload).await;
    assert_eq!(front.describe(&stop), "BEFORE builder:1 Reached");
    front.quit().await;
}

/// The images that a base's triggers name are looked up too.
#[tokio::test(start_paused = true)]
async fn triggers_bring_their_images() {
    let mut config = ImageConfig::default();
    config.config.on_build = vec!["COPY --from=tools / /".to_owned(), "RUN triggered".to_owned()];
    let script =
        Script::new().image("base", config, Play::succeeds()).image("tools", ImageConfig::default(), Play::succeeds());
    let mut front = Front::new("FROM base\nRUN own\n", begin(script));
    front.stop().await;
    front.ask(Command::Continue).await;
    assert_eq!(texts(&front), ["FROM base", "COPY --from=tools / /", "RUN triggered", "RUN own"]);
    front.quit().await;
}

#[tokio::test(start_paused = true)]
async fn whose_fault_it_is_that_there_is_no_plan() {
    let check = async |script: Script, expected: PlanFault, says: &str| {
        let script = script.image("base", ImageConfig::default(), Play::succeeds());
        let mut front = Front::new("FROM base\nFROM other\n", begin(script));
        let (fault, message, rendered) = front.until(plan_failed).await;
        assert_eq!(fault, expected, "{message}");
        assert!(rendered.contains(says), "{rendered}");
        front.quit().await;
    };
    let whole = || Script::new().image("other", ImageConfig::default(), Play::succeeds());
    check(Script::new(), PlanFault::Base, "Dockerfile:2:1: error").await;
    let lost = Script::new().image("other", ImageConfig::default(), Play::loses());
    check(lost, PlanFault::Engine, "error: base image other: the connection to the builder is lost").await;
    check(whole().prepares(Play::loses()), PlanFault::Engine, "error: the connection to the builder is lost").await;
    check(whole().prepares(Play::refused("no such flag", &["x"])), PlanFault::Dockerfile, "error: no such flag").await;
}

#[tokio::test(start_paused = true)]
async fn an_argument_can_mend_a_plan() {
    let script = Script::new().image("good", ImageConfig::default(), Play::succeeds());
    let mut front = Front::new("ARG BASE=bad\nFROM $BASE\n", begin(script));
    let (fault, message, rendered) = front.until(plan_failed).await;
    assert_eq!((fault, message.as_str()), (PlanFault::Base, "base image bad: bad is not there"));
    assert!(rendered.starts_with("Dockerfile:2:1: error") && rendered.contains("--build-context bad="), "{rendered}");
    let stop = front.ask(Command::SetBuildArg("BASE".to_owned(), Some("good".to_owned()))).await;
    assert_eq!(front.describe(&stop), "BEFORE 0:0 Start");
    // With a plan in force, an argument that leads nowhere changes nothing.
    front.session.send(Command::SetBuildArg("BASE".to_owned(), Some("worse".to_owned())));
    front.until(plan_failed).await;
    let stop = front.ask(Command::StepOver).await;
    assert_eq!(front.describe(&stop), "AFTER 0:0 End".replace("End", "Step"));
    let stop = front.ask(Command::Reload).await;
    assert_eq!(front.describe(&stop), "AFTER 0:0 Reached");
    front.quit().await;
}

#[tokio::test(start_paused = true)]
async fn bases_are_looked_up_together() {
    let slow = |name: &str| {
        let progress = OutputEvent::Progress { what: name.to_owned(), done: 0, total: 9 };
        Play::succeeds().says(progress).waits(SECOND)
    };
    let script = ["a", "b", "c"]
        .iter()
        .fold(Script::new(), |script, name| script.image(name, ImageConfig::default(), slow(name)));
    let file = "FROM a AS one\nFROM b AS two\nFROM c\nCOPY --from=one / /\nCOPY --from=two / /\n";
    let began = tokio::time::Instant::now();
    let mut front = Front::new(file, begin(script));
    front.stop().await;
    assert_eq!(began.elapsed().as_secs(), 1);
    let heard = front.quit().await;
    let images: BTreeSet<&str> = heard
        .iter()
        .filter_map(|event| if let Event::BaseProgress { image, .. } = event { Some(image.as_str()) } else { None })
        .collect();
    assert_eq!(images, BTreeSet::from(["a", "b", "c"]));
    // Before any of them is there, what can be told of the plan is told.
    let sketches = heard.iter().filter_map(|event| match event {
        Event::Sketched { plan } => Some(plan.stages.len()),
        _ => None,
    });
    assert_eq!(sketches.collect::<Vec<_>>(), [3]);
}

/// While a plan is made the session can be left, cancelled, and told something else.
#[tokio::test(start_paused = true)]
async fn making_a_plan_can_be_left() {
    let script = || Script::new().image("slow", ImageConfig::default(), Play::succeeds().waits(1000 * SECOND));
    let mut front = Front::new("FROM slow\n", begin(script()));
    front.session.send(Command::StepOver);
    front.session.send(Command::Cancel);
    let (fault, message, _) = front.until(plan_failed).await;
    assert_eq!((fault, message.as_str()), (PlanFault::Cancelled, "cancelled before a plan was made"));
    front.edit("FROM scratch\n");
    front.ask(Command::Reload).await;
    front.quit().await;
    Front::new("FROM slow\n", begin(script())).quit().await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_what_holds_and_looks_at_the_context_again() {
    let file = "FROM scratch\nRUN one\nCOPY . .\nRUN two\n";
    let mut front =
        Front::new(file, Begin { breakpoints: vec![Trigger::Before(Location::Line(4))], ..Begin::default() });
    front.stop().await;
    let stop = front.ask(Command::Continue).await;
    assert_eq!(front.describe(&stop), "BEFORE 0:3 Breakpoint(BreakpointId(1))");
    front.edit("# more\n\nFROM scratch\nRUN one\nCOPY . .\nRUN two\nRUN three\n");
    let stop = front.ask(Command::Reload).await;
    assert_eq!(front.describe(&stop), "BEFORE 0:2 Reached");
    let list = front.arrange("failure on").await;
    assert_eq!(list[0].wanted, Trigger::Before(Location::Line(6)));
    let stop = front.ask(Command::Continue).await;
    assert_eq!(front.describe(&stop), "BEFORE 0:3 Breakpoint(BreakpointId(1))");
    front.ask(Command::Continue).await;
    assert_eq!(texts(&front), ["FROM scratch", "RUN one", "COPY . .", "COPY . .", "RUN two", "RUN three"]);
    front.quit().await;
}

/// A stage that is put before others moves them; they keep what they reached, their logs too.
#[tokio::test(start_paused = true)]
async fn a_reload_follows_stages_that_move() {
    let script = Script::new().on("RUN make", Play::succeeds().prints("made\n"));
    let mut front = Front::new(TWO, begin(script));
    front.stop().await;
    front.ask(Command::Continue).await;
    let ran = texts(&front).len();
    front.edit(format!("FROM scratch AS first\nRUN first\n{TWO}COPY --from=first / /\n"));
    let stop = front.ask(Command::Reload).await;
    assert_eq!(front.describe(&stop), "BEFORE final:4 Reached");
    let log = front.session.log(StepId { stage: front.place("builder:0").stage, index: 1 }).await;
    assert_eq!(log.head.first().map(|chunk| chunk.bytes.clone()), Some(b"made\n".to_vec()));
    front.ask(Command::Continue).await;
    assert_eq!(texts(&front)[ran..], ["FROM scratch AS first", "RUN first", "COPY --from=first / /"]);
    front.quit().await;
}

#[tokio::test(start_paused = true)]
async fn no_cache_goes_to_every_step() {
    let mut front = Front::new(TWO, Begin { no_cache: true, paused: false, ..Begin::default() });
    front.stop().await;
    assert!(front.engine.runs().iter().all(|run| run.no_cache));
    front.quit().await;
}
