//! Where files come from and what differs, asked of real builds on this machine's own programs.

#![cfg(target_os = "linux")]

mod program;

use program::{Project, Run};

/// A chain over three stages, with renames, wildcards, `--parents`, links, a mode that is changed and a file that is
/// written over.
const CHAIN: &str = "\
FROM node AS builder
COPY src /src
RUN cd /src && cat a.txt b.txt > joined && ln joined hard && mkdir -p deep/er && echo deep > deep/er/file
RUN chmod 600 /src/joined
FROM node AS middle
COPY --from=builder /src /work
RUN echo over > /work/b.txt
FROM scratch AS final
COPY --from=middle /work/*.txt /texts/
COPY --from=middle /work/joined /renamed
COPY --from=middle --parents /work/./deep /tree/
COPY --from=builder /src/hard /names/one
COPY <<EOF /inline
hello
EOF
";

fn project() -> Project {
    let files = [("Dockerfile", CHAIN), ("src/a.txt", "aaaa\n"), ("src/b.txt", "bb\n"), (".dockerignore", "*.md\n")];
    Project::new(&files)
}

fn ask(project: &Project, args: &[&str]) -> Run {
    let base = ["--build-context", "node=host:"];
    project.run(&[&args[..1], &base[..], &args[1..]].concat())
}

fn json(run: &Run) -> serde_json::Value {
    run.expect(0);
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stdout))
}

/// The way of a path of the image: `STAGE:LINE PATH`, newest first, then the kind of its source and its path.
#[track_caller]
fn check_way(project: &Project, path: &str, expected: &[&str]) {
    let report = json(&ask(project, &["blame", "--json", ".", path]));
    let hops = report["chain"].as_array().expect("a chain");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let hop = |it: &serde_json::Value| format!("{}:{} {}", text(&it["stage"]), it["line"], text(&it["path"]));
    let source = &report["source"];
    let end = format!("{} {}", text(&source["kind"]), text(&source["path"]["path"]));
    let found: Vec<String> = hops.iter().map(hop).chain([end.trim().to_owned()]).collect();
    assert_eq!(found, expected, "{path}");
}

#[test]
fn files_are_followed_back_through_the_stages() {
    let project = project();
    check_way(
        &project,
        "/texts/a.txt",
        &["final:9 texts/a.txt", "middle:6 work/a.txt", "builder:2 src/a.txt", "context src/a.txt"],
    );
    check_way(&project, "/texts/b.txt", &["final:9 texts/b.txt", "middle:7 work/b.txt", "instruction"]);
    check_way(
        &project,
        "renamed",
        &["final:10 renamed", "middle:6 work/joined", "builder:4 src/joined", "builder:3 src/joined", "instruction"],
    );
    check_way(
        &project,
        "/tree/deep/er/file",
        &["final:11 tree/deep/er/file", "middle:6 work/deep/er/file", "builder:3 src/deep/er/file", "instruction"],
    );
    check_way(&project, "/inline", &["final:13 inline", "heredoc"]);
    let missing = ask(&project, &["blame", ".", "/texts/c.txt"]);
    missing.expect(1).says("no layer of").says("there is /texts/");
    let two = ask(&project, &["blame", "."]);
    two.expect(2).says("<PATH>");
}

#[test]
fn commands_that_rename_and_copy_are_looked_behind() {
    let text = "FROM node\nCOPY src /src\nRUN mv /src/a.txt /moved && cp /moved /copied\nRUN cp /copied /last\n";
    let project = Project::new(&[("Dockerfile", text), ("src/a.txt", "aaaa\n"), ("src/b.txt", "bbbb\n")]);
    let report = json(&ask(&project, &["blame", "--json", ".", "/last"]));
    let found: Vec<String> = report["alike"]
        .as_array()
        .expect("files alike")
        .iter()
        .map(|it| {
            let hop = &it["chain"][0];
            format!("{} {} line {} {}", it["path"].as_str().unwrap(), it["gone"], hop["line"], it["source"]["kind"])
        })
        .collect();
    assert_eq!(found, ["moved false line 3 \"instruction\"", "src/a.txt true line 2 \"context\""]);
    ask(&project, &["blame", ".", "/moved"]).says("the same content as /src/a.txt before it, which it took away");
}

#[test]
fn shipped_bytes_are_the_live_bytes() {
    let project = project();
    let report = json(&ask(&project, &["size", "--json", "."]));
    let stages = report["stages"].as_array().expect("stages");
    let shipped: Vec<u64> = stages.iter().map(|stage| stage["shipped_bytes"].as_u64().unwrap()).collect();
    // builder: a.txt, joined twice, deep; middle: b.txt; final: the heredoc.
    assert_eq!(shipped, [5 + 8 + 8 + 5, 5, 6]);
    assert_eq!(shipped.iter().sum::<u64>(), report["live_bytes"].as_u64().unwrap());
}

/// What differs between two points, as `CHANGE PATH`.
#[track_caller]
fn check_difference(project: &Project, a: &str, b: &str, expected: &[&str]) {
    let report = json(&ask(project, &["diff", "--json", a, b, "."]));
    let entries = report["entries"].as_array().expect("entries");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let found: Vec<String> =
        entries.iter().map(|it| format!("{} {}", &text(&it["change"])[..1], text(&it["path"]))).collect();
    assert_eq!(found, expected, "{a} {b}");
}

#[test]
fn any_two_points_are_compared() {
    let project = project();
    check_difference(&project, "builder@2", "builder@3", &["a src", "a src/a.txt", "a src/b.txt"]);
    check_difference(&project, "builder@4", "builder", &["m src/joined"]);
    check_difference(&project, "middle@6", "middle@6", &[]);
    let after =
        ["r inline", "r names", "r names/one", "r tree", "r tree/deep", "r tree/deep/er", "r tree/deep/er/file"];
    check_difference(&project, "final", "final@11", &after);
}

#[test]
fn directories_and_images_are_compared_with_places() {
    let project = project();
    let out = project.dir.path().join("out");
    let archive = project.dir.path().join("image.tar");
    let (out, archive) = (out.display().to_string(), archive.display().to_string());
    let oci = format!("type=oci,dest={archive}");
    ask(&project, &["build", "-o", &out, "-o", &oci, "."]).expect(0);
    ask(&project, &["diff", "--exit-code", "final", &format!("oci-archive:{archive}"), "."]).expect(0);
    std::fs::write(format!("{out}/inline"), "hellO\n").expect("a file");
    let changed = ask(&project, &["diff", "--exit-code", "--text", &archive.replace("image.tar", "out"), "final", "."]);
    changed.expect(5).says("-hellO").says("+hello");
    ask(&project, &["diff", "nowhere@3", "final", "."]).expect(2).says("there is no stage \"nowhere\"");
    ask(&project, &["diff", "final@99", "final", "."]).expect(2).says("line 99 has no instruction");
}
