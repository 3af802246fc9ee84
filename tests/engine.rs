//! The engine process of the real program, in the best mode that this user can have.

use stagedive::engine::embedded::launcher::{Launcher, Start};
use stagedive::engine::embedded::task::{Report, RunTask, Stack, Task, TaskError, Upper};
use stagedive::plan::{Network, Run};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A root file system of this machine's own programs, and a place for the engine's files.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { directory: tempfile::tempdir().unwrap() };
        std::fs::create_dir(place.path("base")).unwrap();
        for program in ["sh", "cat", "ls", "id", "sleep", "env", "mkdir", "rm", "touch", "stat", "chown", "stty", "ln"]
        {
            place.add(program);
        }
        std::fs::create_dir_all(place.path("base/etc")).unwrap();
        std::fs::write(
            place.path("base/etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nbuilder:x:1:1::/home/builder:/bin/sh\n",
        )
        .unwrap();
        std::fs::write(place.path("base/etc/group"), "root:x:0:\nbuilder:x:1:\n").unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Copies a program of the machine, with the libraries that `ldd` names.
    fn add(&self, program: &str) {
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap())
            .map(|dir| dir.join(program))
            .find(|path| path.is_file())
            .unwrap_or_else(|| panic!("this machine has no `{program}`"));
        self.copy(&found, &Path::new("/bin").join(program));
        let libraries = Command::new("ldd").arg(&found).output().expect("ldd runs");
        for word in String::from_utf8_lossy(&libraries.stdout).split_whitespace().filter(|word| word.starts_with('/')) {
            self.copy(Path::new(word), Path::new(word));
        }
    }

    fn copy(&self, from: &Path, to: &Path) {
        let to = self.path("base").join(to.strip_prefix("/").unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    }

    fn upper(&self, name: &str) -> Upper {
        let upper = Upper { dir: self.path(name).join("upper"), work: self.path(name).join("work") };
        std::fs::create_dir_all(&upper.dir).unwrap();
        std::fs::create_dir_all(&upper.work).unwrap();
        upper
    }

    fn run(&self, name: &str, argv: &[&str]) -> RunTask {
        RunTask {
            stack: Stack { lower: vec![self.path("base")] },
            upper: self.upper(name),
            scratch: false,
            run: Run {
                argv: argv.iter().map(|it| it.to_string()).collect(),
                env: vec!["PATH=/bin".into()],
                unkeyed_env: Vec::new(),
                cwd: "/".into(),
                user: String::new(),
                mounts: Vec::new(),
                network: Network::Default,
                insecure: false,
                files: Vec::new(),
            },
            inputs: Vec::new(),
            caches: Vec::new(),
            secrets: Vec::new(),
            agents: Vec::new(),
            terminal: None,
            toolbox: None,
            hosts: "127.0.0.1 localhost\n".into(),
            resolv: "nameserver 192.0.2.1\n".into(),
            hostname: "buildkitsandbox".into(),
            stdin: false,
        }
    }
}

#[derive(Debug, Default)]
struct Outcome {
    stdout: String,
    stderr: String,
    code: Option<i32>,
    changes: Vec<String>,
    failed: Option<TaskError>,
}

async fn outcome(launcher: &Launcher, task: RunTask) -> Outcome {
    let mut handle = launcher.task(Task::Run(Box::new(task)), Vec::new());
    let mut outcome = Outcome::default();
    while let Some((report, _)) = handle.next().await {
        match report {
            Report::Stdout(bytes) => outcome.stdout += &String::from_utf8_lossy(&bytes),
            Report::Stderr(bytes) => outcome.stderr += &String::from_utf8_lossy(&bytes),
            Report::Exit(code) => outcome.code = Some(code),
            Report::Layer(layer) => {
                outcome.changes = layer.entries.iter().map(|entry| entry.path().to_string()).collect();
            }
            Report::Failed(error) => outcome.failed = Some(error),
            Report::Done => {}
            other => panic!("{other:?}"),
        }
    }
    outcome
}

async fn launcher(place: &Place) -> Launcher {
    let start = Start { program: env!("CARGO_BIN_EXE_stagedive").into(), place: place.path("place"), only: None };
    Launcher::start(&start).await.unwrap()
}

#[tokio::test]
async fn a_command_has_output_an_exit_code_and_a_layer() {
    let place = Place::new();
    let launcher = launcher(&place).await;
    let it = outcome(&launcher, place.run("a", &["sh", "-c", "echo out; echo err >&2; echo x >/new; exit 7"])).await;
    assert!(it.failed.is_none(), "{it:?}");
    assert_eq!((it.stdout.as_str(), it.stderr.as_str(), it.code), ("out\n", "err\n", Some(7)));
    assert_eq!(it.changes, ["new"]);
    launcher.stop().await;
}
