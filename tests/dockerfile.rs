//! `stagedive ast` and `stagedive check`, as a user runs them.

use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};

fn stagedive(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stagedive"));
    command.args(arguments).current_dir(directory).env("STAGEDIVE_ROOT", directory.join("store"));
    command.output().expect("the program starts")
}

/// A directory with these files in it.
fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).expect("a file");
    }
    directory
}

#[test]
fn ast_prints_one_line_a_file() {
    let text = "# syntax=x/y\nARG A=1\nFROM --platform=$B a:$A AS One\nRUN --mount=type=tmpfs,target=/t <<E\nhi\nE\n\
                COPY [\"a\", \"b\"]\nONBUILD USER u\n";
    let directory = project(&[("one", text), ("two", "FROM a\nENV x\n"), ("three", "FROM a\nFOO\n")]);
    let output = stagedive(directory.path(), &["ast", "one", "two", "three"]);
    assert!(output.status.success());
    let lines: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect();
    let [one, two, three] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!((&one["path"], &one["ast_ok"], &one["ok"]), (&json!("one"), &json!(true), &json!(true)));
    assert_eq!((&one["syntax"], &one["escape"], &one["meta_args"]), (&json!("x/y"), &json!("\\"), &json!(1)));
    let stage = json!({"name": "one", "base": "a:$A", "platform": "$B", "line": 3, "ncmds": 3});
    assert_eq!(one["stages"], json!([stage]));
    let run = json!({
        "cmd": "run", "start": 4, "end": 6, "flags": ["--mount=type=tmpfs,target=/t"], "args": ["<<E"],
        "original": "RUN --mount=type=tmpfs,target=/t <<E", "stage": 0,
        "heredocs": [{"name": "E", "fd": 0, "expand": true, "chomp": false, "len": 3, "sha256_16": "98ea6e4f216f2fb4"}],
    });
    assert_eq!(one["instructions"][2], run);
    let sub = json!({"cmd": "user", "start": 0, "end": 0, "args": ["u"], "original": "USER u", "stage": 0});
    assert_eq!(one["instructions"][4]["sub"], sub);
    assert_eq!((&two["ast_ok"], &two["err_line"], &two["instructions"]), (&json!(false), &json!(2), &Value::Null));
    assert_eq!((&three["ast_ok"], &three["ok"], &three["err_line"]), (&json!(true), &json!(false), &json!(2)));
}

#[test]
fn ast_names_files_that_cannot_be_read() {
    let directory = project(&[("there", "FROM a\n")]);
    let output = stagedive(directory.path(), &["ast", "not-there", "there"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains("not-there"));
}

#[test]
fn check_draws_what_it_finds() {
    let directory = project(&[("Dockerfile", "FROM scratch as x\nENV A=$B\n"), (".dockerignore", "a\n")]);
    let output = stagedive(directory.path(), &["check"]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(5), "{stdout}");
    assert!(stdout.contains("Dockerfile:1:14: warning: as is not written like FROM [FromAsCasing]"), "{stdout}");
    assert!(stdout.contains("2 | ENV A=$B\n  |       ^^\n"), "{stdout}");
    assert!(stdout.ends_with("2 findings\n"), "{stdout}");
}

#[test]
fn check_is_content() {
    let directory = project(&[("Dockerfile", "FROM unknown.invalid/a\nENV A=$B\n")]);
    let output = stagedive(directory.path(), &["check", "--offline"]);
    assert_eq!((output.status.code(), output.stdout), (Some(0), b"nothing found\n".to_vec()));
}

#[test]
fn check_refuses_what_is_wrong() {
    let directory = project(&[("Dockerfile", "FROM scratch\nCOPY --form=a b c\n")]);
    let output = stagedive(directory.path(), &["check", "--offline"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("Dockerfile:2:6: error: unknown flag --form [unknown-flag]"), "{stderr}");
    assert!(stderr.contains("did you mean --from?"), "{stderr}");
}

#[test]
fn check_refuses_what_could_not_be_built() {
    let directory =
        project(&[("Dockerfile", "FROM scratch AS a\nCOPY --from=b x y\nFROM scratch AS b\nCOPY --from=a x y\n")]);
    let output = stagedive(directory.path(), &["check"]);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn check_speaks_json() {
    let directory = project(&[("other", "FROM scratch\nCOPY a /\nUSSER x\n"), (".dockerignore", "a\n")]);
    let output = stagedive(directory.path(), &["check", "--json", "--offline", "other"]);
    assert_eq!(output.status.code(), Some(3));
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(found["findings"], json!([]));
    assert_eq!((&found["error"]["line"], &found["error"]["rule"]), (&json!(3), &json!("unknown-instruction")));
}
