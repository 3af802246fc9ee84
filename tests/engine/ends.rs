//! However a command ends, nothing of it is left.

use crate::place::{Place, begin, finish, in_every_mode, outcome, until};
use stagedive::engine::embedded::launcher::Launcher;
use stagedive::engine::embedded::task::Report;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Processes of any user whose command line has `mark`; this one excepted.
fn processes(mark: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        let pid = entry.file_name().to_string_lossy().parse::<u32>();
        pid.is_ok_and(|pid| pid != std::process::id())
    });
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).filter(|line| line.contains(mark)).collect()
}

/// Waits until there is none. What has been killed takes a moment to go.
#[track_caller]
fn none_left(mark: &str) {
    let start = Instant::now();
    loop {
        let left = processes(mark);
        if left.is_empty() {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "still there: {left:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(mark), "still mounted");
}

/// A script that goes on for ever, ignores signals, and can be recognised.
fn endless(place: &Place) -> String {
    format!(
        "trap '' TERM INT HUP; : {}; (sleep 1000; : {}) & echo started; while :; do sleep 1; done",
        place.mark(),
        place.mark()
    )
}

#[tokio::test]
async fn what_a_command_leaves_behind_is_killed() {
    in_every_mode(async |place, launcher| {
        let script = format!("(trap '' TERM HUP; while : {}; do sleep 1; done) & echo started", place.mark());
        let it = outcome(&launcher, place.sh("a", &script)).await;
        assert_eq!(it.output(), "started\n");
        let left: Vec<String> = processes(place.mark()).into_iter().filter(|it| it.contains("sleep 1")).collect();
        assert_eq!(left, [""; 0]);
        launcher.stop().await;
        none_left(place.mark());
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_command_is_gone_when_it_is_said_to_be() {
    in_every_mode(async |place, launcher| {
        let mut handle = begin(&launcher, place.sh("a", &endless(&place)));
        until(&mut handle, "started").await;
        handle.cancel();
        let it = finish(&mut handle).await;
        assert_eq!(it.error().message, "cancelled");
        let left: Vec<String> = processes(place.mark()).into_iter().filter(|it| it.contains("sleep")).collect();
        assert_eq!(left, [""; 0]);
        // The engine goes on.
        assert_eq!(outcome(&launcher, place.sh("b", "echo on")).await.output(), "on\n");
    })
    .await;
}

#[tokio::test]
async fn a_command_ends_with_its_handle() {
    in_every_mode(async |place, launcher| {
        let mut handle = begin(&launcher, place.sh("a", &endless(&place)));
        until(&mut handle, "started").await;
        drop(handle);
        launcher.stop().await;
        none_left(place.mark());
    })
    .await;
}

#[tokio::test]
async fn everything_ends_with_the_launcher() {
    in_every_mode(async |place, launcher| {
        let mut handle = begin(&launcher, place.sh("a", &endless(&place)));
        until(&mut handle, "started").await;
        drop(launcher);
        let error = finish(&mut handle).await.error();
        assert!(error.message.contains("the engine process has ended"), "{error:?}");
        none_left(place.mark());
    })
    .await;
}

#[tokio::test]
async fn everything_ends_with_the_engine_process() {
    in_every_mode(async |place, launcher| {
        let mut handle = begin(&launcher, place.sh("a", &endless(&place)));
        until(&mut handle, "started").await;
        let engine = launcher.pid().await.unwrap();
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(engine as i32).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        let error = finish(&mut handle).await.error();
        assert!(error.message.contains("the engine process has ended"), "{error:?}");
        none_left(place.mark());
        let error = outcome(&launcher, place.sh("b", "true")).await.error();
        assert!(error.message.contains("the engine process has ended"), "{error:?}");
    })
    .await;
}

const VICTIM: &str = "STAGEDIVE_TEST_VICTIM";

/// Runs this very test in another process, which is then killed as nothing can prepare for.
#[tokio::test]
async fn everything_ends_with_a_program_that_is_killed() {
    if let Ok(mode) = std::env::var(VICTIM) {
        let place = Place::new((mode == "single").then_some(stagedive::engine::embedded::namespaces::Mode::Single));
        let launcher = Launcher::start(&place.start()).await.unwrap();
        let mut handle = begin(&launcher, place.sh("a", &endless(&place)));
        until(&mut handle, "started").await;
        println!("\nplace {}", place.mark());
        while let Some((Report::Stdout(_), _)) = handle.next().await {}
        panic!("it should have been killed");
    }
    in_every_mode(async |place, launcher| {
        launcher.stop().await;
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "ends::everything_ends_with_a_program_that_is_killed", "--nocapture"])
            .env(VICTIM, if place.mode().is_some() { "single" } else { "best" })
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufRead::lines(std::io::BufReader::new(victim.stdout.take().unwrap()));
        let mark = lines.map_while(Result::ok).find_map(|line| Some(line.strip_prefix("place ")?.to_owned())).unwrap();
        assert!(!processes(&mark).is_empty());
        victim.kill().unwrap();
        victim.wait().unwrap();
        none_left(&mark);
        stagedive::snapshot::remove::remove(mark.as_ref()).unwrap();
    })
    .await;
}
