//! The real program in a pseudo-terminal: keys in, what a person would see out.

#![cfg(target_os = "linux")]

#[path = "program/mod.rs"]
mod program;
mod terminal;

use program::Project;
use rustix::process::Signal;
use std::process::Command;
use terminal::Terminal;

const DOCKERFILE: &str = "\
FROM node AS builder
ARG GREETING=hello
RUN echo $GREETING > /greeting
RUN echo word >> /greeting && echo done
FROM node AS unneeded
FROM scratch AS final
COPY --from=builder /greeting /
";

fn start(dockerfile: &str, columns: u16, rows: u16) -> (Project, Terminal) {
    let project = Project::new(&[("Dockerfile", dockerfile)]);
    let command = project.command(&["--build-context", "node=host:", "."]);
    let terminal = Terminal::start(command, columns, rows);
    (project, terminal)
}

#[test]
fn steps_forward_and_back_and_leaves() {
    let (_project, mut terminal) = start(DOCKERFILE, 130, 40);
    terminal.wait("PAUSED BEFORE builder:0");
    assert!(terminal.alternate());
    terminal.wait("not needed");
    terminal.keys("n");
    terminal.wait("PAUSED AFTER builder:0");
    terminal.keys("n");
    terminal.wait("PAUSED AFTER builder:1");
    terminal.keys("n");
    terminal.wait("PAUSED AFTER builder:2");
    terminal.wait("/greeting");
    terminal.keys("N");
    terminal.wait("in the past: builder 2 of 4");
    terminal.keys("c");
    terminal.wait("FINISHED");
    terminal.wait("left behind");
    terminal.keys("q");
    assert_eq!(terminal.exit().code(), Some(0));
    assert!(!terminal.alternate());
    terminal.wait("final: built;");
}

#[test]
fn a_breakpoint_stops_a_run_and_a_failure_does() {
    let dockerfile = "FROM node\nRUN echo one\nRUN echo two words; exit 3\n";
    let (project, mut terminal) = start(dockerfile, 100, 30);
    terminal.wait("PAUSED BEFORE 0:0");
    terminal.keys(":break 2\r");
    terminal.wait("●");
    terminal.keys("c");
    terminal.wait("PAUSED BEFORE 0:1");
    terminal.keys("c");
    terminal.wait("FAILED 0:2");
    terminal.wait("two words");
    terminal.wait("exit code 3");
    project.write("Dockerfile", "FROM node\nRUN echo one\nRUN echo better\n");
    terminal.keys(":reload\r");
    terminal.wait("RUN echo better");
    terminal.keys("c");
    terminal.wait("FINISHED");
    terminal.keys("q");
    assert_eq!(terminal.exit().code(), Some(0));
}

#[test]
fn each_platform_has_a_track_of_its_own() {
    let dockerfile = "\
FROM --platform=$BUILDPLATFORM node AS builder
ARG TARGETARCH
RUN echo for $TARGETARCH; echo $TARGETARCH > /arch
FROM scratch AS final
COPY --from=builder /arch /
";
    let project = Project::new(&[("Dockerfile", dockerfile)]);
    let both = ["--platform", "linux/amd64,linux/arm64", "--build-context", "node=host:", "."];
    let mut terminal = Terminal::start(project.command(&both), 100, 30);
    terminal.wait("PAUSED BEFORE builder:0");
    terminal.wait("▶ linux/amd64 BEFORE");
    // A breakpoint is set for both; a step is the shown one's.
    terminal.keys(":break 3\r");
    terminal.wait("●");
    terminal.keys(">");
    terminal.wait("▶ linux/arm64 BEFORE");
    terminal.keys("c");
    terminal.wait("PAUSED BEFORE builder:2");
    terminal.wait("  linux/amd64 BEFORE");
    terminal.keys("n");
    terminal.wait("PAUSED AFTER builder:2");
    terminal.keys("5");
    terminal.wait("for arm64");
    terminal.keys("<c");
    terminal.wait("PAUSED BEFORE builder:2");
    terminal.wait("  linux/arm64 AFTER");
    terminal.keys("c");
    terminal.wait("▶ linux/amd64 ✓ FINISHED");
    terminal.keys("q");
    assert_eq!(terminal.exit().code(), Some(0));
    terminal.wait("final for linux/amd64: built;");
    terminal.wait("final for linux/arm64: left after builder:2");
}

#[test]
fn leaving_ends_what_runs_on_a_track_that_is_not_shown() {
    let dockerfile = "FROM --platform=$BUILDPLATFORM node\nRUN echo begun; sleep 1000\n";
    let project = Project::new(&[("Dockerfile", dockerfile)]);
    let both = ["--platform", "linux/amd64,linux/arm64", "--build-context", "node=host:", "."];
    let mut terminal = Terminal::start(project.command(&both), 80, 24);
    terminal.wait("PAUSED BEFORE 0:0");
    terminal.keys("c5");
    terminal.wait("begun");
    terminal.keys(">");
    terminal.wait("  linux/amd64 … running");
    terminal.keys("q");
    terminal.wait("on all platforms");
    terminal.keys("y");
    assert_eq!(terminal.exit().code(), Some(0));
}

#[test]
fn the_terminal_is_given_back_to_a_signal() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129)] {
        let (_project, mut terminal) = start(DOCKERFILE, 80, 24);
        terminal.wait("PAUSED BEFORE builder:0");
        terminal.signal(signal);
        assert_eq!(terminal.exit().code(), Some(code));
        assert!(!terminal.alternate());
    }
}

#[test]
fn a_program_that_was_stopped_takes_the_terminal_again() {
    let (_project, mut terminal) = start(DOCKERFILE, 80, 24);
    terminal.wait("PAUSED BEFORE builder:0");
    terminal.signal(Signal::STOP);
    terminal.give_lines();
    terminal.signal(Signal::CONT);
    terminal.wait_until("every key is its own again", |_| terminal.is_raw());
    terminal.keys("n");
    terminal.wait("PAUSED AFTER builder:0");
    terminal.keys("q");
    assert_eq!(terminal.exit().code(), Some(0));
    assert!(!terminal.is_raw());
}

/// By its key and by a signal from outside, below a shell that minds its jobs.
#[test]
fn it_stops_as_other_programs_do() {
    let project = Project::new(&[("Dockerfile", DOCKERFILE)]);
    let program = project.command(&["--build-context", "node=host:", "."]);
    let mut shell = Command::new("sh");
    shell.args(["-mc", "\"$@\"; echo stopped; read line; fg; echo stopped again; read line; fg; exit 7", "sh"]);
    shell.arg(program.get_program()).args(program.get_args()).current_dir(project.context());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let mut terminal = Terminal::start(shell, 80, 24);
    let typed: fn(&mut Terminal) = |terminal| terminal.keys("\x1a");
    let sent: fn(&mut Terminal) = |terminal| terminal.signal_children(Signal::TSTP);
    for (stop, said) in [(typed, "stopped"), (sent, "stopped again")] {
        terminal.wait("PAUSED BEFORE builder:0");
        stop(&mut terminal);
        terminal.wait(said);
        assert!(!terminal.alternate() && !terminal.is_raw());
        terminal.keys("\r");
    }
    terminal.wait("PAUSED BEFORE builder:0");
    assert!(terminal.alternate() && terminal.is_raw());
    terminal.keys("q");
    assert_eq!(terminal.exit().code(), Some(7));
}

/// The keys that end programs are the editor's while it has the terminal; what ends this program does so all the same.
#[test]
fn the_editor_has_the_terminal_to_itself() {
    let project = Project::new(&[("Dockerfile", DOCKERFILE)]);
    project
        .write("editor", "trap 'echo caught' INT QUIT\necho editing\nuntil [ \"$line\" = end ]; do read line; done\n");
    let start = || {
        let mut program = project.command(&["--build-context", "node=host:", "."]);
        program.env("EDITOR", "sh editor").env_remove("VISUAL");
        let mut terminal = Terminal::start(program, 80, 24);
        terminal.wait("PAUSED BEFORE builder:0");
        terminal.keys("e");
        terminal.wait("editing");
        terminal
    };
    let mut terminal = start();
    for (key, caught) in [("\x03", 1), ("\x1c", 2)] {
        terminal.keys(key);
        terminal.wait_until("the key is caught", |screen| screen.matches("caught").count() == caught);
    }
    terminal.keys("end\r");
    terminal.wait("nothing is reloaded");
    terminal.keys("q");
    assert_eq!(terminal.exit().code(), Some(0));
    let mut terminal = start();
    terminal.signal(Signal::TERM);
    assert_eq!(terminal.exit().code(), Some(143));
}

#[test]
fn a_closed_terminal_ends_it() {
    for start in [Terminal::start, Terminal::start_apart] {
        let project = Project::new(&[("Dockerfile", DOCKERFILE)]);
        let mut terminal = start(project.command(&["--build-context", "node=host:", "."]), 80, 24);
        terminal.wait("PAUSED BEFORE builder:0");
        terminal.close();
        assert_eq!(terminal.exit().code(), Some(129));
    }
}

#[test]
fn the_window_may_change_at_any_time() {
    let (_project, mut terminal) = start(DOCKERFILE, 130, 40);
    terminal.wait("1 Stages");
    terminal.resize(50, 10);
    terminal.wait("60 columns and 15 rows are needed");
    terminal.resize(80, 24);
    terminal.wait("PAUSED BEFORE builder:0");
    terminal.wait_until("no stages beside the Dockerfile", |screen| !screen.contains("╭ 1 Stages"));
    terminal.keys("\x03");
    terminal.wait("Leave?");
    terminal.keys("n");
    terminal.wait("n over");
    terminal.keys("\x03y");
    assert_eq!(terminal.exit().code(), Some(0));
}

#[test]
fn a_dockerfile_without_a_plan_is_shown_and_can_be_mended() {
    let (project, mut terminal) = start("FROM node\nRUNN make\n", 80, 24);
    terminal.wait("NO PLAN");
    terminal.wait("RUNN");
    project.write("Dockerfile", "FROM node\nRUN true\n");
    terminal.keys(":reload\r");
    terminal.wait("PAUSED BEFORE 0:0");
    terminal.keys("q");
    assert_eq!(terminal.exit().code(), Some(0));
}

#[test]
fn a_running_instruction_can_be_cancelled() {
    let (_project, mut terminal) = start("FROM node\nRUN echo begun; sleep 1000\n", 80, 24);
    terminal.wait("PAUSED BEFORE 0:0");
    terminal.keys("c");
    terminal.wait("RUNNING");
    terminal.keys("5");
    terminal.wait("begun");
    terminal.keys("\x03");
    terminal.wait("CANCELLED");
    terminal.keys("q");
    assert_eq!(terminal.exit().code(), Some(0));
}

#[test]
fn a_shell_opens_at_the_cursor_and_its_changes_are_shown() {
    let (_project, mut terminal) = start(DOCKERFILE, 100, 40);
    terminal.wait("PAUSED BEFORE builder:0");
    terminal.keys("n");
    terminal.wait("PAUSED AFTER builder:0");
    terminal.keys("t");
    terminal.wait("thrown away");
    terminal.keys("echo $((40 + 2)) > /answer; cat /answer\r");
    // Keys typed before the shell has its prompt reach it too; then the answer stands behind the prompt.
    let answered = |screen: &str| screen.lines().any(|line| line.trim_matches(['│', '#', '$', ' ']) == "42");
    terminal.wait_until("the answer", answered);
    // Out of the shell and back into it.
    terminal.keys("\x1d");
    terminal.wait("types into the shell again");
    terminal.keys("\r");
    terminal.keys("exit\r");
    terminal.wait_until("what was changed", |screen| screen.contains("answer") && !answered(screen));
    terminal.keys("q");
    assert_eq!(terminal.exit().code(), Some(0));
    assert!(!terminal.alternate());
}
