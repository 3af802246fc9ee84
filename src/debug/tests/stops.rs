//! Where every command leads, and what it runs on the way.

use super::*;
use crate::engine::scripted::Play;

#[tokio::test(start_paused = true)]
async fn over_runs_one_instruction_and_crosses_stages() {
    check(
        TWO,
        "
        => BEFORE builder:0 Start
        n => AFTER builder:0 Step | FROM scratch AS builder
        n => AFTER builder:1 Step | RUN make
        n => AFTER builder:2 Step | RUN test
        n => BEFORE final:0 Step
        n => AFTER final:0 Step | FROM scratch AS final
        n => AFTER final:1 Step | WORKDIR /app
        n => AFTER final:2 Step | COPY --from=builder /out /out
        n => AFTER final:3 Step | CMD run
        n => AFTER final:3 Step
        ",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn over_runs_what_the_instruction_needs() {
    check(
        TWO,
        "
        => BEFORE builder:0 Start
        to final:2 => BEFORE final:2 Reached | FROM scratch AS final, WORKDIR /app
        n => AFTER final:2 Step | FROM scratch AS builder, RUN make, RUN test, COPY --from=builder /out /out
        ",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn in_enters_the_source_and_comes_back() {
    check(
        TWO,
        "
        => BEFORE builder:0 Start
        to final:2 => BEFORE final:2 Reached | FROM scratch AS final, WORKDIR /app
        s => BEFORE builder:0 Step
        n => AFTER builder:0 Step | FROM scratch AS builder
        s => AFTER builder:1 Step | RUN make
        n => AFTER builder:2 Step | RUN test
        n => BEFORE final:2 Step
        n => AFTER final:2 Step | COPY --from=builder /out /out
        ",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn out_finishes_the_stage_and_comes_back() {
    check(
        TWO,
        "
        => BEFORE builder:0 Start
        to final:2 => BEFORE final:2 Reached | FROM scratch AS final, WORKDIR /app
        s => BEFORE builder:0 Step
        f => BEFORE final:2 Step | FROM scratch AS builder, RUN make, RUN test
        f => AFTER final:3 Step | COPY --from=builder /out /out, CMD run
        f => AFTER final:3 Step
        ",
    )
    .await;
}

/// Out of a stage that was not entered leads to the first instruction that reads it.
#[tokio::test(start_paused = true)]
async fn out_leads_to_who_uses_the_stage() {
    check(
        TWO,
        "
        => BEFORE builder:0 Start
        f => BEFORE final:2 Step | FROM scratch AS builder, RUN make, RUN test, FROM scratch AS final, WORKDIR /app
        ",
    )
    .await;
    check(
        DIAMOND,
        "
        => BEFORE base:0 Start
        f => BEFORE left:0 Step | FROM scratch AS base, RUN tools
        s => BEFORE base:0 Step past
        f => BEFORE left:0 Step
        n => AFTER left:0 Step | FROM base AS left
        ",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn calls_nest() {
    check(
        DIAMOND,
        "
        => BEFORE base:0 Start
        to 3:1 => BEFORE 3:1 Reached | FROM scratch
        s => BEFORE left:0 Step
        s => BEFORE base:0 Step
        f => BEFORE left:0 Step | FROM scratch AS base, RUN tools
        f => BEFORE 3:1 Step | FROM base AS left, RUN left 1, RUN left 2
        N => BEFORE 3:0 Step past
        ",
    )
    .await;
}

/// Of two sources the one that is not done is entered.
#[tokio::test(start_paused = true)]
async fn in_enters_what_is_not_done() {
    let file = "\
FROM scratch AS one
FROM scratch AS two
FROM scratch AS three
RUN --mount=from=one,target=/1 --mount=from=two,target=/2 make
";
    check(
        file,
        "
        => BEFORE one:0 Start
        to three:1 => BEFORE three:1 Reached | FROM scratch AS three
        s => BEFORE one:0 Step
        f => BEFORE three:1 Step | FROM scratch AS one
        s => BEFORE two:0 Step
        n => AFTER two:0 Step | FROM scratch AS two
        n => BEFORE three:1 Step
        s => BEFORE one:0 Step past
        ",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn continue_runs_to_the_end() {
    let front = play(
        TWO,
        Begin::default(),
        "
        => BEFORE builder:0 Start
        n => AFTER builder:0 Step | FROM scratch AS builder
        c => AFTER final:3 End | RUN make, FROM scratch AS final, WORKDIR /app, RUN test, COPY --from=builder /out /out, CMD run
        c => AFTER final:3 End
        ",
    )
    .await;
    let heard = front.quit().await;
    let finished = heard.iter().filter(|event| matches!(event, Event::Finished { .. })).count();
    assert_eq!(finished, 1);
}

#[tokio::test(start_paused = true)]
async fn back_runs_nothing() {
    check(
        TWO,
        "
        => BEFORE builder:0 Start
        N => BEFORE builder:0 Start
        c => AFTER final:3 End | FROM scratch AS builder, FROM scratch AS final, RUN make, WORKDIR /app, RUN test, COPY --from=builder /out /out, CMD run
        N => BEFORE final:3 Step past
        N => BEFORE final:2 Step past
        n => AFTER final:2 Step past
        S => AFTER builder:2 Step past
        N => BEFORE builder:2 Step past
        F => BEFORE final:2 Step past
        N => BEFORE final:1 Step past
        F => BEFORE final:0 Step past
        N => AFTER builder:2 Step past
        F => BEFORE builder:0 Step past
        c => AFTER final:3 End
        C => BEFORE builder:0 Start past
        goto final:1 => BEFORE final:1 Reached past
        restart => BEFORE builder:0 Reached past
        n => AFTER builder:0 Step past
        n => AFTER builder:1 Step past
        n => AFTER builder:2 Step past
        n => BEFORE final:0 Step past
        ",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn goto_goes_only_where_it_has_been() {
    check(
        TWO,
        "
        => BEFORE builder:0 Start
        goto builder:2 => BEFORE builder:0 Start
        to builder:2 => BEFORE builder:2 Reached | FROM scratch AS builder, RUN make
        goto builder:1 => BEFORE builder:1 Reached past
        to builder:2 => BEFORE builder:2 Reached
        to final:9 => BEFORE builder:2 Reached
        ",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn breakpoints_stop_before_their_step() {
    check(
        TWO,
        "
        => BEFORE builder:0 Start
        b 3
        b final:3
        b 1
        c => BEFORE builder:2 Breakpoint(BreakpointId(1)) | FROM scratch AS builder, FROM scratch AS final, WORKDIR /app, RUN make
        c => BEFORE final:3 Breakpoint(BreakpointId(2)) | RUN test, COPY --from=builder /out /out
        C => BEFORE builder:2 Breakpoint(BreakpointId(1)) past
        C => BEFORE builder:0 Breakpoint(BreakpointId(3)) past
        C => BEFORE builder:0 Breakpoint(BreakpointId(3)) past
        c => BEFORE builder:2 Breakpoint(BreakpointId(1)) past
        disable 2
        c => AFTER final:3 End | CMD run
        ",
    )
    .await;
}

/// A breakpoint in what an instruction needs stops there, and it stops once.
#[tokio::test(start_paused = true)]
async fn breakpoints_stop_on_the_way() {
    check(
        TWO,
        "
        => BEFORE builder:0 Start
        b builder:1
        to final:2 => BEFORE final:2 Reached | FROM scratch AS final, WORKDIR /app
        n => BEFORE builder:1 Breakpoint(BreakpointId(1)) | FROM scratch AS builder
        n => AFTER builder:1 Step | RUN make
        f => BEFORE final:2 Step | RUN test
        ",
    )
    .await;
}

/// What is done already is gone through with the same stops, in both directions; only who goes to a place is not held up.
#[tokio::test(start_paused = true)]
async fn breakpoints_stop_in_the_past_too() {
    check(
        TWO,
        "
        => BEFORE builder:0 Start
        c => AFTER final:3 End | FROM scratch AS builder, FROM scratch AS final, RUN make, WORKDIR /app, RUN test, COPY --from=builder /out /out, CMD run
        b builder:2
        b final:1
        goto builder:0 => BEFORE builder:0 Reached past
        to final:3 => BEFORE builder:2 Breakpoint(BreakpointId(1)) past
        f => BEFORE final:1 Breakpoint(BreakpointId(2)) past
        f => AFTER final:3 Step
        F => BEFORE final:1 Breakpoint(BreakpointId(2)) past
        F => BEFORE final:0 Step past
        to builder:1 => BEFORE builder:2 Breakpoint(BreakpointId(1)) past
        to builder:1 => BEFORE builder:1 Reached past
        goto final:2 => BEFORE final:2 Reached past
        s => BEFORE builder:0 Step past
        f => BEFORE builder:2 Breakpoint(BreakpointId(1)) past
        f => BEFORE final:2 Step past
        ",
    )
    .await;
}

/// A breakpoint stops again that was left for another place, and not passed.
#[tokio::test(start_paused = true)]
async fn a_breakpoint_that_was_left_is_not_passed() {
    check(
        TWO,
        "
        => BEFORE builder:0 Start
        b final:1
        to final:2 => BEFORE final:1 Breakpoint(BreakpointId(1)) | FROM scratch AS final
        to builder:1 => BEFORE builder:1 Reached | FROM scratch AS builder
        c => BEFORE final:1 Breakpoint(BreakpointId(1)) | RUN make
        c => AFTER final:3 End | RUN test, WORKDIR /app, COPY --from=builder /out /out, CMD run
        ",
    )
    .await;
}

/// Two stages come to their breakpoints side by side: both stop the build, each once.
#[tokio::test(start_paused = true)]
async fn breakpoints_of_stages_side_by_side() {
    let front = play(
        DIAMOND,
        Begin::default(),
        "
        => BEFORE base:0 Start
        b left:1
        b right:1
        c => BEFORE left:1 Breakpoint(BreakpointId(1)) | FROM scratch AS base, FROM scratch, RUN tools, FROM base AS left, FROM base AS right
        c => BEFORE right:1 Breakpoint(BreakpointId(2)) | RUN left 1
        c => AFTER 3:2 End | RUN left 2, RUN right 1, COPY --from=left / /, RUN right 2, COPY --from=right / /
        ",
    )
    .await;
    let heard = front.quit().await;
    let hits = heard.iter().rev().find_map(|event| match event {
        Event::Breakpoints { list, .. } => Some(list.iter().map(|it| it.hits).collect::<Vec<_>>()),
        _ => None,
    });
    assert_eq!(hits, Some(vec![1, 1]));
}

#[tokio::test(start_paused = true)]
async fn a_plain_build_stops_at_breakpoints_and_at_its_end() {
    let begin = || Begin { paused: false, ..Begin::default() };
    let all = "=> AFTER final:3 End | FROM scratch AS builder, FROM scratch AS final, RUN make, WORKDIR /app, RUN test, \
               COPY --from=builder /out /out, CMD run";
    play(TWO, begin(), all).await.quit().await;
    let with = Begin { breakpoints: vec![Trigger::Before(Location::Line(1))], ..begin() };
    play(TWO, with, "=> BEFORE builder:0 Breakpoint(BreakpointId(1))").await.quit().await;
}

#[tokio::test(start_paused = true)]
async fn failures_stop_and_are_kept() {
    let script =
        || Script::new().on("RUN make", Play::exits(2).waits(Duration::from_secs(1))).on("RUN make", Play::succeeds());
    let begin = || Begin { script: script(), ..Begin::default() };
    let front = play(
        TWO,
        begin(),
        "
        => BEFORE builder:0 Start
        c => FAILED builder:1 Failure | FROM scratch AS builder, FROM scratch AS final, WORKDIR /app, RUN make
        N => BEFORE builder:0 Step past
        n => AFTER builder:0 Step
        n => FAILED builder:1 Failure
        goto builder:0 => BEFORE builder:0 Reached past
        c => FAILED builder:1 Failure
        n => AFTER builder:1 Step | RUN make
        N => BEFORE builder:1 Step past
        c => AFTER final:3 End | RUN test, COPY --from=builder /out /out, CMD run
        ",
    )
    .await;
    front.quit().await;
    let over = "
        => BEFORE builder:0 Start
        to final:2 => BEFORE final:2 Reached | FROM scratch AS final, WORKDIR /app
        n => FAILED builder:1 Failure | FROM scratch AS builder, RUN make
        retry => AFTER builder:1 Step | RUN make
        ";
    play(TWO, begin(), over).await.quit().await;
}

/// Without a break on failure the rest still runs, and then the failure is where it stands.
#[tokio::test(start_paused = true)]
async fn without_a_break_on_failure_the_others_finish() {
    let begin = |break_on_failure| {
        let left = Play::exits(1).waits(Duration::from_secs(1));
        let right = Play::succeeds().waits(Duration::from_secs(2));
        let script = Script::new().on("RUN left 1", left).on("RUN right 1", right);
        Begin { script, break_on_failure, ..Begin::default() }
    };
    let ran =
        "FROM scratch AS base, FROM scratch, RUN tools, FROM base AS left, FROM base AS right, RUN left 1, RUN right 1";
    let table = |more: &str| format!("=> BEFORE base:0 Start\nc => FAILED left:1 Failure | {ran}{more}");
    play(DIAMOND, begin(true), &table("")).await.quit().await;
    play(DIAMOND, begin(false), &table(", RUN right 2")).await.quit().await;
}

#[tokio::test(start_paused = true)]
async fn retry_runs_again_on_a_branch() {
    let front = play(
        TWO,
        Begin::default(),
        "
        => BEFORE builder:0 Start
        retry => BEFORE builder:0 Start
        c => AFTER final:3 End | FROM scratch AS builder, FROM scratch AS final, RUN make, WORKDIR /app, RUN test, COPY --from=builder /out /out, CMD run
        goto builder:2 => BEFORE builder:2 Reached past
        retry => AFTER builder:1 Step | RUN make
        goto final:2 => BEFORE final:2 Reached
        c => AFTER final:3 End | RUN test, COPY --from=builder /out /out, CMD run
        ",
    )
    .await;
    let runs = front.engine.runs();
    let again: Vec<bool> = runs.iter().filter(|run| run.text == "RUN make").map(|run| run.no_cache).collect();
    assert_eq!(again, [false, true]);
    let copy = runs.last().unwrap();
    assert_eq!(copy.text, "CMD run");
    front.quit().await;
}

#[tokio::test(start_paused = true)]
async fn arguments_make_a_branch_that_keeps_what_holds() {
    let file = "\
FROM scratch AS builder
RUN fetch
ARG GO=1
RUN make $GO
FROM scratch
COPY --from=builder / /
";
    check(
        file,
        "
        => BEFORE builder:0 Start
        c => AFTER 1:1 End | FROM scratch AS builder, FROM scratch, RUN fetch, ARG GO=1, RUN make 1, COPY --from=builder / /
        arg GO=2 => BEFORE 1:1 Reached
        c => AFTER 1:1 End | ARG GO=1, RUN make 2, COPY --from=builder / /
        goto builder:2 => BEFORE builder:2 Reached past
        arg GO => BEFORE builder:2 Reached
        arg OTHER=1 => BEFORE builder:2 Reached
        n => AFTER builder:2 Step | ARG GO=1
        ",
    )
    .await;
}

/// Going to another branch runs nothing and loses nothing: results, logs and arguments are that branch's again.
#[tokio::test(start_paused = true)]
async fn a_branch_is_gone_back_to_and_on_from() {
    let file = "FROM scratch AS builder\nRUN fetch\nARG GO=1\nRUN make $GO\nRUN test\n";
    let script = Script::new()
        .on("RUN make 1", Play::succeeds().prints("one\n"))
        .on("RUN make 2", Play::succeeds().prints("two\n"));
    let front = play(
        file,
        Begin { script, ..Begin::default() },
        "
        => BEFORE builder:0 Start
        branch 2 => BEFORE builder:0 Start
        c => AFTER builder:4 End | FROM scratch AS builder, RUN fetch, ARG GO=1, RUN make 1, RUN test
        goto builder:3 => BEFORE builder:3 Reached past
        arg GO=2 => BEFORE builder:2 Reached
        to builder:4 => BEFORE builder:4 Reached | ARG GO=1, RUN make 2
        branch 1 => BEFORE builder:3 Reached past
        c => AFTER builder:4 End
        branch 1 => AFTER builder:4 End
        branch 2 => BEFORE builder:4 Reached
        n => AFTER builder:4 Step | RUN test
        branch 1 => AFTER builder:4 End
        arg OTHER=1 => AFTER builder:4 Reached
        goto builder:2 => BEFORE builder:2 Reached past
        c => AFTER builder:4 End
        ",
    )
    .await;
    let make = StepId { stage: front.place("builder:3").stage, index: 3 };
    let written = |log: crate::debug::Log| log.head.iter().flat_map(|it| it.bytes.clone()).collect::<Vec<u8>>();
    assert_eq!(written(front.session.log(make).await), b"one\n");
    let heard = front.quit().await;
    let list = heard.iter().rev().find_map(|event| match event {
        Event::Branches { list, current } => Some((list.clone(), *current)),
        _ => None,
    });
    let (list, current) = list.expect("there are branches");
    let causes: Vec<_> = list.iter().map(|it| (it.cause.as_str(), it.parent.map(|id| id.0), it.count())).collect();
    let expected = [("the first run", None, (5, 5)), ("GO=2", Some(1), (5, 5)), ("OTHER=1", Some(1), (5, 5))];
    assert_eq!((causes.as_slice(), current.0), (expected.as_slice(), 3));
}

#[tokio::test(start_paused = true)]
async fn stages_that_the_target_does_not_need_are_skipped() {
    let options = || Options { target: Some("right".to_owned()), ..Options::default() };
    let begin = || Begin { options: options(), ..Begin::default() };
    let mut front = play(DIAMOND, begin(), "=> BEFORE base:0 Start\nto left:1 => BEFORE base:0 Start").await;
    let left = front.place("left:0").stage;
    let skipped = front.statuses.iter().filter(|(step, _)| step.stage == left);
    assert!(skipped.map(|(_, status)| status).eq(vec![&StepStatus::Skipped; 3]));
    let set = front.arrange("b left:1").await;
    assert!(matches!(&set[0].state, super::super::BreakpointState::Unbound { .. }), "{set:?}");
    front.quit().await;

    let all = Begin { options: Options { all_stages: true, ..options() }, ..Begin::default() };
    let mut front = play(DIAMOND, all, "=> BEFORE base:0 Start").await;
    front.session.send(Command::Continue);
    front.stop().await;
    assert_eq!(front.engine.runs().len(), 11);
    front.quit().await;
}

/// What each instruction of [`TWO`] that does anything writes and takes away.
fn writing() -> Begin {
    let script = Script::new()
        .on(
            "RUN make",
            Play::succeeds().writes("out/app", b"1").writes("out/lib.a", b"1").waits(Duration::from_secs(1)),
        )
        .on("RUN test", Play::succeeds().removes("out/lib.a").writes("out/app", b"12"))
        .on("COPY --from=builder", Play::succeeds().writes("out/app", b"12"));
    Begin { script, ..Begin::default() }
}

#[tokio::test(start_paused = true)]
async fn a_watchpoint_stops_after_what_changes_it() {
    let table = "
        => BEFORE builder:0 Start
        watch /out/app
        c => AFTER builder:1 Watchpoint(1: out/app created) | FROM scratch AS builder, FROM scratch AS final, RUN make, WORKDIR /app
        c => AFTER builder:2 Watchpoint(1: out/app changed) | RUN test
        c => AFTER final:2 Watchpoint(1: out/app created) | COPY --from=builder /out /out
        c => AFTER final:3 End | CMD run
        C => AFTER final:2 Watchpoint(1: out/app created) past
        C => AFTER builder:2 Watchpoint(1: out/app changed) past
        C => AFTER builder:1 Watchpoint(1: out/app created) past
        C => BEFORE builder:0 Start past
        c => AFTER builder:1 Watchpoint(1: out/app created) past
        ";
    play(TWO, writing(), table).await.quit().await;
}

#[tokio::test(start_paused = true)]
async fn watchpoints_and_breakpoints_stop_in_the_order_of_their_places() {
    let table = "
        => BEFORE builder:0 Start
        watch *.a deleted
        watch out/app changed over 1
        b builder:2
        to builder:2 => BEFORE builder:2 Reached | FROM scratch AS builder, RUN make
        n => AFTER builder:2 Watchpoint(1: out/lib.a deleted) | RUN test
        disable 1
        C => BEFORE builder:2 Breakpoint(BreakpointId(3)) past
        c => AFTER builder:2 Watchpoint(2: out/app changed)
        delete 2
        C => BEFORE builder:2 Breakpoint(BreakpointId(3)) past
        c => AFTER final:3 End | CMD run, COPY --from=builder /out /out, FROM scratch AS final, WORKDIR /app
        ";
    play(TWO, writing(), table).await.quit().await;
}

/// A watchpoint that is set late is looked for in what is done already, and going on waits for that.
#[tokio::test(start_paused = true)]
async fn a_watchpoint_looks_back() {
    let Begin { script, .. } = writing();
    let begin = Begin { script: script.lists_in(Duration::from_secs(60)), ..writing() };
    let table = "
        => BEFORE builder:0 Start
        c => AFTER final:3 End | CMD run, COPY --from=builder /out /out, FROM scratch AS builder, FROM scratch AS final, RUN make, RUN test, WORKDIR /app
        watch **
        C => AFTER final:2 Watchpoint(1: out created and 1 more) past
        C => AFTER builder:2 Watchpoint(1: out/app changed and 1 more) past
        watch /out/lib.a deleted
        disable 1
        goto builder:0 => BEFORE builder:0 Reached past
        to final:3 => AFTER builder:2 Watchpoint(2: out/lib.a deleted) past
        goto builder:0 => BEFORE builder:0 Reached past
        c => AFTER builder:2 Watchpoint(2: out/lib.a deleted) past
        ";
    let mut front = play(TWO, begin, table).await;
    // What waits can be given up, and meanwhile nothing else moves.
    front.arrange("watch x").await;
    front.session.send(Command::Continue);
    front.session.send(Command::StepOver);
    let stop = front.ask(Command::Cancel).await;
    assert_eq!(front.describe(&stop), "AFTER builder:2 Watchpoint(2: out/lib.a deleted) past");
    front.session.send(Command::BackContinue);
    let stop = front.ask(Command::Restart).await;
    assert_eq!(front.describe(&stop), "AFTER builder:2 Watchpoint(2: out/lib.a deleted) past");
    let stop = front.stop().await;
    assert_eq!(front.describe(&stop), "BEFORE builder:0 Reached past");
    front.session.send(Command::BackContinue);
    front.quit().await;
}

/// What a step did that is done is there also when it is to be killed, and nothing waits for watchpoints then.
#[tokio::test(start_paused = true)]
async fn looking_is_broken_off_with_what_runs() {
    for command in [Command::Cancel, Command::Restart, Command::Quit] {
        let Begin { script, .. } = writing();
        let never = Duration::from_secs(1_000_000);
        let mut front = Front::new(TWO, Begin { script: script.lists_in(never), ..writing() });
        front.stop().await;
        front.arrange("watch /out/app").await;
        front.session.send(Command::Continue);
        front.running("RUN make").await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        if command != Command::Quit {
            let stop = front.ask(command).await;
            assert_eq!(front.describe(&stop), "BEFORE builder:2 Cancelled");
        }
        front.quit().await;
    }
}

/// Where stages run side by side, none of them that a watchpoint stops is passed over, whatever else stops the build.
#[tokio::test(start_paused = true)]
async fn watchpoints_side_by_side() {
    let writes = |seconds| Play::succeeds().writes("a", b"1").waits(Duration::from_secs(seconds));
    let script = || Script::new().on("RUN left 1", writes(2)).on("RUN right 1", writes(1));
    let begin = || Begin { script: script(), ..Begin::default() };
    let table = "
        => BEFORE base:0 Start
        watch a
        c => AFTER left:1 Watchpoint(1: a created) | FROM base AS left, FROM base AS right, FROM scratch, FROM scratch AS base, RUN left 1, RUN right 1, RUN tools
        c => AFTER right:1 Watchpoint(1: a created)
        c => AFTER 3:2 End | COPY --from=left / /, COPY --from=right / /, RUN left 2, RUN right 2
        ";
    play(DIAMOND, begin(), table).await.quit().await;
    let table = "
        => BEFORE base:0 Start
        watch a
        b right:2
        c => AFTER left:1 Watchpoint(1: a created) | FROM base AS left, FROM base AS right, FROM scratch, FROM scratch AS base, RUN left 1, RUN right 1, RUN tools
        ";
    let mut front = Front::new(DIAMOND, begin());
    front.stop().await;
    front.arrange("watch a").await;
    front.session.send(Command::Continue);
    front.running("RUN left 1").await;
    let stop = front.ask(Command::Pause).await;
    assert_eq!(front.describe(&stop), "AFTER left:1 Watchpoint(1: a created)");
    front.session.send(Command::RemoveBreakpoint(super::super::BreakpointId(1)));
    let stop = front.ask(Command::Continue).await;
    assert_eq!(front.describe(&stop), "AFTER 3:2 End");
    front.quit().await;
    let begin = Begin { script: Script::new().on("RUN left 1", writes(2)), ..Begin::default() };
    play(DIAMOND, begin, table).await.quit().await;
    let fails = Play::exits(1).waits(Duration::from_secs(3));
    let script = Script::new().on("RUN left 1", writes(2)).on("RUN right 1", fails);
    let table = "
        => BEFORE base:0 Start
        watch a
        c => FAILED right:1 Failure | FROM base AS left, FROM base AS right, FROM scratch, FROM scratch AS base, RUN left 1, RUN right 1, RUN tools
        C => AFTER left:1 Watchpoint(1: a created)
        ";
    let heard = play(DIAMOND, Begin { script, ..Begin::default() }, table).await.quit().await;
    let told =
        |event: &Event| matches!(event, Event::Notice { message } if message.starts_with("watchpoint #1 has found"));
    assert!(heard.iter().any(told));
}
