//! The explorer in a pseudo-terminal, and its JSON, on images that the tests make.

#![cfg(target_os = "linux")]

mod archive;
#[path = "program/mod.rs"]
mod program;
mod terminal;

use archive::Layer;
use program::Project;
use rustix::process::{Pid, Signal, kill_process};
use std::io::Read;
use std::process::Stdio;
use terminal::Terminal;

const LAYERS: &[Layer] = &[
    Layer {
        made_by: "/bin/sh -c #(nop) ADD file:1 in / ",
        members: &["etc/passwd root:x:0:0\n", "bin/sh #!", "bin/bash -> sh", "tmp/cache 0123456789"],
    },
    Layer {
        made_by: "RUN /bin/sh -c make # buildkit",
        members: &["app/main.c int main() {\n  return 42;\n}\n", "app/evil\u{1b}[31mred x", "-tmp/cache"],
    },
    Layer { made_by: "COPY page / # buildkit", members: &["app/main.c int main() {\n  return 43;\n}\n"] },
];

fn image(change: impl Fn(usize, &mut Vec<u8>)) -> Project {
    let project = Project::new(&[]);
    archive::save(&project.context().join("image.tar"), LAYERS, change);
    project
}

fn explore(project: &Project, columns: u16, rows: u16) -> Terminal {
    Terminal::start(project.command(&["explore", "image.tar"]), columns, rows)
}

#[test]
fn layers_are_walked_through_and_a_file_is_looked_into_and_extracted() {
    let project = image(|_, _| ());
    let mut terminal = explore(&project, 120, 40);
    terminal.wait("RUN make");
    terminal.wait("passwd");
    // The second layer: what it added and took away, with a name that would colour the screen.
    terminal.keys("j");
    terminal.wait("evil^[[31mred");
    terminal
        .wait_until("the whiteout", |screen| screen.lines().any(|line| line.contains("D") && line.contains("cache")));
    // The third changes a file: its difference first, then its text.
    terminal.keys("j");
    terminal.wait("2 · COPY page");
    terminal.keys("\r/main.c\r");
    terminal.wait("1 hit");
    terminal.keys("\r");
    terminal.wait("return 42;");
    terminal.wait("return 43;");
    terminal.keys("d");
    terminal.wait_until("the text alone", |screen| screen.contains("return 43;") && !screen.contains("return 42;"));
    terminal.keys("e");
    terminal.wait("write to: ./main.c");
    terminal.keys("\r");
    terminal.wait("written to");
    let written = std::fs::read_to_string(project.context().join("main.c")).unwrap();
    assert_eq!(written, "int main() {\n  return 43;\n}\n");
    // The whole file system, written out as it is at the last layer.
    terminal.keys("\x1b");
    terminal.wait("3 Layer");
    terminal.keys("5");
    terminal.wait("of the image");
    terminal.keys("4");
    terminal.wait("after COPY page");
    terminal.keys("e");
    terminal.wait("write to: ./app");
    terminal.keys("\x15out\r");
    terminal.wait("2 files");
    let written = std::fs::read_to_string(project.context().join("out/main.c")).unwrap();
    assert_eq!(written, "int main() {\n  return 43;\n}\n");
    terminal.keys("q");
    assert_eq!(terminal.exit().code(), Some(0));
    assert!(!terminal.alternate());
    terminal.wait("3 layers");
}

/// What the second layer of the image has for a file that is compared, and what it had beside it.
const OLDER: &[&str] = &["app/main.c int main() {\n  return 41;\n}\n", "app/gone was here\n"];

/// The image is compared with `other`, which has its first layer and the older second one.
fn walk_beside(project: &Project, other: &str, sums: &str) {
    let mut terminal = Terminal::start(project.command(&["explore", "image.tar", "--against", other]), 120, 40);
    terminal.wait(&format!("AGAINST {other}"));
    terminal.wait(sums);
    // What is on both sides, with the lines that differ.
    terminal.keys("\r/main.c\r");
    terminal.wait("1 hit");
    terminal.keys("\r");
    terminal.wait("return 41;");
    terminal.wait("return 43;");
    // What only the other has can be looked into and written out.
    terminal.keys("\x1b");
    terminal.wait("4 Files");
    terminal.keys("/gone\r");
    terminal.wait("1 hit");
    terminal.keys("\r");
    terminal.wait(&format!("/app/gone in {other}"));
    terminal.wait("was here");
    terminal.keys("e\r");
    terminal.wait("1 file, 9 B written to");
    assert_eq!(std::fs::read_to_string(project.context().join("gone")).unwrap(), "was here\n");
    // Below it are the image's layers as ever.
    terminal.keys("\x1b");
    terminal.wait("4 Files");
    terminal.keys("1j");
    terminal.wait("0 · ADD file:1");
    terminal.keys("q");
    assert_eq!(terminal.exit().code(), Some(0));
    terminal.wait(&format!("against {other}: {sums}"));
}

#[test]
fn an_image_is_compared_with_another() {
    let project = image(|_, _| ());
    let second = Layer { made_by: "RUN make", members: OLDER };
    let first = Layer { made_by: LAYERS[0].made_by, members: LAYERS[0].members };
    archive::save(&project.context().join("older.tar"), &[first, second], |_, _| ());
    walk_beside(&project, "older.tar", "1 added, 1 changed, 2 removed");
}

#[test]
fn an_image_is_compared_with_a_directory() {
    let project = image(|_, _| ());
    for member in LAYERS[0].members.iter().chain(OLDER) {
        if let Some((path, content)) = member.split_once(' ') {
            project.write(&format!("tree/{path}"), content);
        }
    }
    // Whose the directory's files are depends on who runs this.
    walk_beside(&project, "tree", "1 added");
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let project = image(|_, _| ());
    project
        .run(&["explore", "image.tar", "--json", "--against", "image.tar"])
        .expect(2)
        .says("diff OTHER IMAGE --json");
    let check = |other: &str, says: &str| {
        let mut terminal = Terminal::start(project.command(&["explore", "image.tar", "--against", other]), 120, 24);
        terminal.wait(says);
        assert_eq!(terminal.exit().code(), Some(2));
    };
    check("builder@3", "it is compared by: stagedive diff");
    check("./missing.tar", "there is neither a directory nor an archive of this name");
}

#[test]
fn a_damaged_layer_is_shown_as_far_as_it_goes() {
    let project = image(|at, archive| {
        if at == 1 {
            archive.truncate(1500);
        }
    });
    let mut terminal = explore(&project, 120, 40);
    terminal.wait("1 LAYER NOT WHOLE");
    terminal.keys("j");
    terminal.wait("at byte");
    terminal.wait("main.c");
    terminal.keys("q");
    assert_eq!(terminal.exit().code(), Some(0));
    terminal.wait("not whole:");
}

#[test]
fn a_closed_terminal_ends_it() {
    let project = image(|_, _| ());
    let mut terminal = explore(&project, 80, 24);
    terminal.wait("RUN make");
    terminal.close();
    assert_eq!(terminal.exit().code(), Some(129));
}

#[test]
fn everything_is_told_as_json() {
    let project = image(|_, _| ());
    let run = project.run(&["explore", "--json", "image.tar"]);
    run.expect(0);
    let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&json["schema"], &json["complete"]), (&1.into(), &true.into()));
    let layers = json["layers"].as_array().unwrap();
    let said: Vec<_> = layers.iter().map(|it| it["instruction"].as_str().unwrap()).collect();
    assert_eq!(said, ["ADD file:1 in /", "RUN make", "COPY page /"]);
    let files: Vec<_> = json["files"].as_array().unwrap().iter().map(|it| it["path"].as_str().unwrap()).collect();
    assert_eq!(
        files,
        ["app", "app/evil\u{1b}[31mred", "app/main.c", "bin", "bin/bash", "bin/sh", "etc", "etc/passwd", "tmp"]
    );
    assert!(!run.stdout.contains('\u{1b}'), "escape sequences are escaped");
}

#[test]
fn a_signal_ends_it_while_it_writes() {
    let project = Project::new(&[]);
    let members: Vec<String> = (0..4000).map(|at| format!("directory/file-{at} x")).collect();
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    archive::save(&project.context().join("image.tar"), &[Layer { made_by: "RUN make", members: &members }], |_, _| ());
    // Nobody reads more than the first byte, and a pipe holds less.
    let mut command = project.command(&["explore", "--json", "image.tar"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
    child.stdout.as_mut().expect("piped").read_exact(&mut [0]).expect("it begins");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(143));
}

#[test]
fn without_a_terminal_it_says_what_there_is() {
    let project = image(|_, _| ());
    project.run(&["explore", "image.tar"]).expect(2).says("explore --json IMAGE").says("size IMAGE");
    project.run(&["explore", "--json", "missing.tar"]).expect(4);
}
