//! Whole builds by the real program, on bases made of this machine's programs: no network, no Docker, no root.

#![cfg(target_os = "linux")]

mod program;

use program::{Project, Run, files_of};
use rustix::process::{Pid, Signal, kill_process};
use stagedive::image::digest::Digest;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;

/// Builds `dockerfile` and looks at files of the result: `Some(content)`, or `None` for one that must not be there.
fn check(dockerfile: &str, args: &[&str], expected: &[(&str, Option<&str>)]) -> (Project, Run) {
    let project = Project::new(&[("Dockerfile", dockerfile)]);
    let archive = project.dir.path().join("result.tar");
    let output = format!("type=tar,dest={}", archive.display());
    let args: Vec<&str> = ["-o", &output].into_iter().chain(args.iter().copied()).collect();
    let run = project.build(&args);
    run.expect(0);
    let files = files_of(&archive);
    for (path, content) in expected {
        assert_eq!(files.get(*path).map(String::as_str), *content, "{path} in the result of\n{dockerfile}");
    }
    (project, run)
}

#[test]
fn only_the_last_stage_is_the_result() {
    let dockerfile =
        "FROM node\nWORKDIR /app0\nRUN echo left > only\nFROM node\nWORKDIR /app1\nRUN echo kept > index1.js\n";
    check(dockerfile, &["--all-stages"], &[("app1/index1.js", Some("kept\n")), ("app0/only", None)]);
}

#[test]
fn copy_from_a_stage_by_index() {
    let dockerfile = "FROM node\nWORKDIR /app0\nRUN echo zero > index0.js\nFROM node\nWORKDIR /app1\n\
                      COPY --from=0 /app0/index0.js .\n";
    check(dockerfile, &[], &[("app1/index0.js", Some("zero\n"))]);
}

#[test]
fn copy_from_a_stage_by_name() {
    let dockerfile =
        "FROM node AS builder\nRUN echo built > /result\nFROM ubuntu:16.04\nCOPY --from=Builder /result /r\n";
    check(dockerfile, &[], &[("r", Some("built\n")), ("result", None)]);
}

#[test]
fn copy_from_an_image_served_under_its_name() {
    let dockerfile = "FROM scratch\nCOPY --from=quay.io/coreos/etcd:v3.3.9 /etc/passwd /\n";
    let served = ["--build-context", "quay.io/coreos/etcd:v3.3.9=host:"];
    let (_project, run) = check(dockerfile, &served, &[]);
    run.expect(0);
}

#[test]
fn a_target_builds_that_stage_and_what_it_needs() {
    let dockerfile = "FROM node AS deps\nRUN echo deps > /deps\nFROM deps AS builder\nRUN cat /deps > /built\n\
                      FROM node AS never\nRUN echo 'must not run'; exit 1\nFROM ubuntu:16.04\nCOPY --from=never / /\n";
    let (_project, run) = check(dockerfile, &["--target", "builder"], &[("built", Some("deps\n"))]);
    run.never_says("│ must not run");
}

#[test]
fn the_old_form_of_env() {
    let dockerfile = "FROM node\nENV NODE_VERSION 8.11.4 with words\nRUN echo \"$NODE_VERSION\" > /version\n";
    check(dockerfile, &[], &[("version", Some("8.11.4 with words\n"))]);
}

#[test]
fn unneeded_stages_are_skipped_unless_asked_for() {
    let dockerfile = "FROM node AS unused\nRUN echo 'the unused stage ran'\nFROM ubuntu:16.04\nRUN echo used > /used\n";
    let (_project, run) = check(dockerfile, &[], &[("used", Some("used\n"))]);
    run.never_says("│ the unused stage ran").says("SKIPPED");
    let (_project, run) = check(dockerfile, &["--all-stages"], &[("used", Some("used\n"))]);
    run.says("│ the unused stage ran");
}

#[test]
fn force_rm_drops_what_a_failed_run_made() {
    let project =
        Project::new(&[("Dockerfile", "FROM node AS builder\nRUN echo made by this run > /made\nRUN exit 7\n")]);
    project.build(&["--force-rm"]).expect(4).says("exit code 7");
    let mode =
        std::fs::read_dir(project.store()).unwrap().flatten().find(|it| it.path().join("layers").exists()).unwrap();
    let layers = std::fs::read_dir(mode.path().join("layers")).unwrap().flatten();
    let made: Vec<String> =
        layers.map(|it| it.file_name().to_string_lossy().into_owned()).filter(|it| it.starts_with("s-")).collect();
    assert!(made.is_empty(), "layers of the run are left: {made:?}");
    assert_eq!(std::fs::read_dir(mode.path().join("steps")).unwrap().count(), 0);
}

#[test]
fn a_second_build_reuses_what_is_unchanged() {
    let project = Project::new(&[
        ("Dockerfile", "FROM node\nCOPY a /a\nRUN echo first $RANDOM\nCOPY b /b\nRUN echo second\n"),
        ("a", "1"),
        ("b", "1"),
    ]);
    project.build(&[]).expect(0).never_says("CACHED");
    let again = project.build(&[]);
    again.expect(0).never_says("│ first").never_says("│ second");
    assert_eq!(again.stderr.matches("CACHED").count(), 4, "{}", again.stderr);
    project.write("b", "2");
    let changed = project.build(&[]);
    changed.expect(0).never_says("│ first").says("│ second");
    assert_eq!(changed.stderr.matches("CACHED").count(), 2, "{}", changed.stderr);
    project.build(&["--no-cache"]).expect(0).never_says("CACHED").says("│ first");
}

/// The ids of the images of some builds.
fn ids<'a>(builds: impl IntoIterator<Item = (&'a Project, &'a [&'a str])>) -> Vec<String> {
    let build = |(project, args): (&Project, &[&str])| {
        let run = project.build(&[&["-q"], args].concat());
        run.expect(0).stdout.clone()
    };
    builds.into_iter().map(build).collect()
}

#[test]
fn what_is_cached_makes_the_same_image() {
    let project = Project::new(&[("Dockerfile", "FROM node\nENV A=b\nWORKDIR /w\nCMD run\n")]);
    let ids = ids([(&project, &[][..]), (&project, &[]), (&project, &["--no-cache"])]);
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], ids[2]);
}

#[test]
fn an_epoch_does_not_show_in_the_builds_of_another() {
    let files = [("Dockerfile", "FROM scratch\nCOPY a /made/a\nWORKDIR /w/x\nCOPY <<EOF /b\nb\nEOF\n"), ("a", "1")];
    let (one, other) = (Project::new(&files), Project::new(&files));
    let early = ["--build-arg", "SOURCE_DATE_EPOCH=1400000000"];
    let late = ["--build-arg", "SOURCE_DATE_EPOCH=1500000000"];
    let ids = ids([(&one, &early[..]), (&one, &late), (&other, &late), (&other, &early)]);
    assert_eq!((&ids[0], &ids[1]), (&ids[3], &ids[2]));
    assert_ne!(ids[0], ids[1]);
    let again = one.build(&late);
    assert_eq!(again.expect(0).stderr.matches("CACHED").count(), 3, "{}", again.stderr);
}

#[test]
fn a_copy_of_what_is_there_is_no_change() {
    let project =
        Project::new(&[("Dockerfile", "FROM node\nCOPY a /\nCOPY a b /\nCOPY b /\n"), ("a", "1"), ("b", "23")]);
    let run = project.build(&["--progress=json"]);
    run.expect(0);
    let events = run.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let copies = events
        .filter(|it| it["result"].is_object() && it["step"]["text"].as_str().is_some_and(|it| it.starts_with("COPY")));
    let counts = copies.map(|it| ["added", "modified", "bytes"].map(|name| it["result"][name].as_u64().expect(name)));
    assert_eq!(counts.collect::<Vec<_>>(), [[1, 0, 1], [1, 0, 2], [0, 0, 0]]);
}

#[test]
fn a_file_that_is_known_is_not_fetched_again() {
    // A server that answers as often as there are contents, all with one tag.
    let check = |flags: &str, contents: &'static [&'static str]| {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            for content in contents {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = BufReader::new(stream.try_clone().unwrap()).lines();
                while request.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                let length = content.len();
                let head = "HTTP/1.1 200 OK\r\nETag: \"one\"\r\nConnection: close\r\n";
                write!(stream, "{head}Content-Length: {length}\r\n\r\n{content}").unwrap();
            }
        });
        let project = Project::new(&[("Dockerfile", &format!("FROM node\nADD {flags} http://{address}/file /file\n"))]);
        project.build(&[]).expect(0).never_says("CACHED");
        project.build(&[]).expect(0).says("CACHED");
        server.join().unwrap();
    };
    check(&format!("--checksum={}", Digest::of(b"served")), &["served"]);
    check("", &["served", "not read"]);
}

#[test]
fn commands_share_a_copy_of_what_they_have_bound() {
    let dockerfile = "FROM node\nRUN --mount=target=/m ls -i /m/Dockerfile >/first\n\
                      RUN --mount=target=/m,rw echo more >>/m/Dockerfile; ls -i /m >/written\n\
                      RUN --mount=target=/m ls -i /m/Dockerfile >/second\nRUN test \"$(cat /first)\" = \"$(cat /second)\" && echo same >/result\n";
    check(dockerfile, &[], &[("result", Some("same\n"))]);
}

#[test]
fn archives_of_the_store_that_are_damaged_are_made_anew() {
    let project = Project::new(&[("Dockerfile", "FROM node\nRUN echo made > /made\n")]);
    let result = project.dir.path().join("not/there/yet/result.tar");
    let output = format!("type=oci,dest={}", result.display());
    let image = format!("oci-archive:{}", result.display());
    let build = || project.build(&["-o", &output]);
    let is_whole = || {
        project.run(&["size", &image]).expect(0).says("made");
    };
    let damage = |change: fn(&mut Vec<u8>)| {
        let modes = std::fs::read_dir(project.store()).unwrap().flatten();
        for blob in modes.filter_map(|mode| std::fs::read_dir(mode.path().join("blobs")).ok()).flatten().flatten() {
            let mut bytes = std::fs::read(blob.path()).unwrap();
            change(&mut bytes);
            std::fs::write(blob.path(), bytes).unwrap();
        }
    };
    build().expect(0);
    is_whole();
    damage(|bytes| bytes.truncate(bytes.len() / 2));
    build().expect(0);
    is_whole();
    damage(|bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    build().expect(4).says("is not what it was").says("the same build makes it anew");
    build().expect(0);
    is_whole();
}

#[test]
fn a_pipe_is_written_through() {
    use std::os::unix::fs::FileTypeExt;
    let project = Project::new(&[("Dockerfile", "FROM node\nRUN echo made > /made\n")]);
    let pipe = project.dir.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)
        .unwrap();
    for kind in ["tar", "oci"] {
        let written = project.dir.path().join(kind);
        let reading = std::thread::spawn({
            let (pipe, written) = (pipe.clone(), written.clone());
            move || {
                let mut from = std::fs::File::open(pipe).unwrap();
                std::io::copy(&mut from, &mut std::fs::File::create(written).unwrap()).unwrap();
            }
        });
        project.build(&["-o", &format!("type={kind},dest={}", pipe.display())]).expect(0);
        reading.join().unwrap();
        assert!(pipe.symlink_metadata().unwrap().file_type().is_fifo());
        assert!(files_of(&written).contains_key(if kind == "tar" { "made" } else { "index.json" }));
    }
}

#[test]
fn heredocs_arguments_and_exec_form() {
    let dockerfile = "ARG WHO=world\nFROM node\nARG WHO\nARG MORE=default\nENV GREETING=\"hello $WHO\"\n\
                      RUN <<EOF\necho \"$GREETING, $MORE\" > /greeting\npwd > /pwd\nEOF\n\
                      COPY <<EOF /inline\n$GREETING\nEOF\n\
                      SHELL [\"/bin/sh\", \"-e\", \"-c\"]\nRUN [\"sh\", \"-c\", \"echo exec > /exec\"]\n";
    let expected = [
        ("greeting", Some("hello you, default\n")),
        ("pwd", Some("/\n")),
        ("inline", Some("hello you\n")),
        ("exec", Some("exec\n")),
    ];
    check(dockerfile, &["--build-arg", "WHO=you"], &expected);
}

#[test]
fn shells_and_commands_inside_a_stage() {
    let project = Project::new(&[(
        "Dockerfile",
        "FROM node AS builder\nENV A=1\nWORKDIR /src\nRUN echo x > file\nENV A=2\nFROM node\nCOPY --from=builder /src/file /\n",
    )]);
    let inside = |place: &str, command: &[&str]| {
        let args: Vec<&str> = ["shell", place, "--build-context", "node=host:", ".", "--"]
            .into_iter()
            .chain(command.iter().copied())
            .collect();
        project.run(&args)
    };
    let check = |place: &str, command: &[&str], code: i32, stdout: &str| {
        let run = inside(place, command);
        run.expect(code);
        assert_eq!(run.stdout, stdout, "{place}: {command:?}: {}", run.stderr);
    };
    check("builder", &["pwd"], 0, "/src\n");
    check("builder", &["sh", "-c", "echo $A; ls"], 0, "2\nfile\n");
    check("builder@5", &["sh", "-c", "echo $A; ls"], 0, "1\nfile\n");
    check("0@4", &["sh", "-c", "echo $A; ls; exit 9"], 9, "1\n");
    check("1", &["cat", "/file"], 0, "x\n");
    inside("bilder", &["true"]).expect(3).says("builder");
    inside("builder@99", &["true"]).expect(2).says("99");
}

#[test]
fn faults_are_told_with_their_place() {
    let check = |dockerfile: &str, args: &[&str], code: i32, texts: &[&str]| {
        let project = Project::new(&[("Dockerfile", dockerfile)]);
        let run = project.build(args);
        run.expect(code);
        for text in texts {
            run.says(text);
        }
    };
    check("", &[], 3, &["no instructions"]);
    check("FROM node\nRUM true\n", &[], 3, &["Dockerfile:2", "RUM", "RUN"]);
    check("FROM node AS builder\n", &["--target", "bulider"], 3, &["bulider", "builder"]);
    check("FROM node\nCOPY nothing.txt /\n", &[], 4, &["nothing.txt", "Dockerfile:2"]);
    check("FROM node AS a\nRUN echo > /index.js\nFROM node\nCOPY --from=a /indx.js /\n", &[], 4, &["index.js"]);
    check("FROM node\nRUN exit 7\n", &[], 4, &["exit code 7", "Dockerfile:2"]);
    check("FROM node\nRUN [\"no-such-program\"]\n", &[], 4, &["no-such-program"]);
    check("FROM node\nUSER nobody-there\nRUN true\n", &[], 4, &["nobody-there"]);
    check("FROM 127.0.0.1:9/nothing:here\n", &[], 4, &["127.0.0.1:9/nothing:here", "--build-context"]);
    check("FROM node AS a\nCOPY --from=b / /x\nFROM node AS b\nCOPY --from=a / /x\n", &[], 3, &["a", "b"]);
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    let project = Project::new(&[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")]);
    let check = |args: &[&str], code: i32| {
        // Nobody reads any of it from the beginning.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = project.command(args);
        command.stdout(writer).stderr(std::process::Stdio::null());
        let status = command.status().expect("the program");
        assert_eq!(status.code(), Some(code), "{args:?}");
    };
    check(&["graph", "."], 0);
    check(&["graph", "--json", "."], 0);
    check(&["check", "."], 0);
    check(&["ast", "Dockerfile"], 0);
    check(&["build", "."], 0);
    // A build whose progress nobody can be told ends.
    check(&["build", "--progress=json", "."], 1);
    check(&["build", "--quiet", "."], 0);
    check(&["size", "."], 0);
    check(&["blame", ".", "/Dockerfile"], 0);
    check(&["explore", "--json", "."], 0);
    check(&["images"], 0);
    check(&["demo", "--list"], 0);
}

#[test]
fn a_broken_ignore_file_is_told_before_anything_runs() {
    let project = Project::new(&[("Dockerfile", "FROM node\nRUN echo begun\n"), (".dockerignore", "[\n")]);
    project.build(&[]).expect(3).says(".dockerignore: ").never_says("begun");
}

#[test]
fn a_signal_ends_it_while_the_result_is_written() {
    let project = Project::new(&[("Dockerfile", "FROM scratch\nCOPY large /\n"), ("large", &"x".repeat(1 << 20))]);
    // Nobody reads more than the first byte, and a pipe holds less.
    let mut command = project.command(&["build", "-o", "type=tar,dest=-", "."]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
    child.stdout.as_mut().expect("piped").read_exact(&mut [0]).expect("the archive begins");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(143));
}

/// A registry that has an image of one layer, and gives no more than the first of its bytes.
fn half_a_registry() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (size, layer) = (1 << 20, Digest::of(b"its bytes never come"));
    let config = serde_json::json!({
        "os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [layer]},
    })
    .to_string();
    let kind = |name: &str| format!("application/vnd.oci.image.{name}");
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": kind("manifest.v1+json"),
        "config": {"mediaType": kind("config.v1+json"), "digest": Digest::of(config.as_bytes()), "size": config.len()},
        "layers": [{"mediaType": kind("layer.v1.tar"), "digest": layer, "size": size}],
    })
    .to_string();
    std::thread::spawn(move || {
        let mut waiting = Vec::new();
        for stream in listener.incoming() {
            let mut request = BufReader::new(stream.unwrap());
            // The client tries TLS first, and may go without a word.
            if request.fill_buf().map_or(true, |it| it.first() != Some(&b'G')) {
                continue;
            }
            let lines: Vec<String> =
                request.by_ref().lines().map(Result::unwrap).take_while(|it| !it.is_empty()).collect();
            let mut stream = request.into_inner();
            let path = lines[0].split(' ').nth(1).unwrap();
            let (content, length) = match path {
                "/v2/" => ("", 0),
                path if path.contains("/manifests/") => (manifest.as_str(), manifest.len()),
                path if path.ends_with(layer.hex()) => ("the first", size),
                _ => (config.as_str(), config.len()),
            };
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
            write!(stream, "{head}{content}").unwrap();
            if content.len() < length {
                waiting.push(stream);
            }
        }
    });
    address
}

#[test]
fn a_signal_ends_a_pull_and_leaves_nothing_of_it() {
    let project = Project::new(&[]);
    let image = format!("{}/app:1", half_a_registry());
    let mut child =
        project.command(&["pull", "--platform", "linux/amd64", &image]).spawn().expect("the program starts");
    // What is at work in the store: ROOT/MODE/work/SESSION/NUMBER/blob.
    let blobs = || {
        let below = |dirs: Vec<PathBuf>| -> Vec<PathBuf> {
            let entries = dirs.iter().flat_map(std::fs::read_dir).flatten();
            entries.map(|entry| entry.unwrap().path()).collect()
        };
        let sessions = below(below(vec![project.store()]).into_iter().map(|mode| mode.join("work")).collect());
        below(below(sessions)).into_iter().filter(|path| path.is_file()).collect::<Vec<_>>()
    };
    while blobs().is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before the first byte came");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    let status = child.wait().expect("it ends");
    assert_eq!((status.code(), blobs()), (Some(143), Vec::new()));
}
