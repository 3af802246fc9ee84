//! A root file system of this machine's own programs, and what it takes to run something in it.

use rustix::fd::OwnedFd;
use stagedive::engine::embedded::launcher::{Launcher, Start, TaskHandle};
use stagedive::engine::embedded::namespaces::Mode;
use stagedive::engine::embedded::task::{Report, RunTask, Stack, Task, TaskError, Upper};
use stagedive::plan::{Network, Run};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAMS: [&str; 19] = [
    "sh", "cat", "ls", "id", "sleep", "env", "mkdir", "rm", "touch", "stat", "chown", "stty", "ln", "head", "readlink",
    "tty", "mv", "chmod", "cp",
];

pub(crate) struct Place {
    directory: tempfile::TempDir,
    mode: Option<Mode>,
}

impl Place {
    pub(crate) fn new(mode: Option<Mode>) -> Place {
        let place = Place { directory: tempfile::tempdir().unwrap(), mode };
        for program in PROGRAMS {
            place.add(program);
        }
        place.write("base/etc/passwd", "root:x:0:0::/root:/bin/sh\nann:x:5:6::/home/ann:/bin/none\n");
        // As every image has them; a RUN leaves them behind where they are missing, as it does in Docker.
        for name in ["base/dev", "base/proc", "base/sys"] {
            std::fs::create_dir_all(place.path(name)).unwrap();
        }
        place.write("base/etc/group", "root:x:0:\nann:x:6:\nextra:x:7:ann\n");
        place
    }

    pub(crate) fn mode(&self) -> Option<Mode> {
        self.mode
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Waits until what a step's work has left is away, which nobody else waits for.
    pub(crate) async fn cleared(&self, step: &str) {
        let work = self.path(step).join("work");
        let gone = async {
            while work.exists() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let soon = std::time::Duration::from_secs(60);
        tokio::time::timeout(soon, gone).await.unwrap_or_else(|_| panic!("{} stays", work.display()));
    }

    /// Something that only processes of this place have in their command line.
    pub(crate) fn mark(&self) -> &str {
        self.directory.path().to_str().unwrap()
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), content).unwrap();
    }

    /// Copies a program of the machine, with the libraries that `ldd` names.
    fn add(&self, program: &str) {
        let path = std::env::var_os("PATH").unwrap();
        let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.is_file());
        let found = found.unwrap_or_else(|| panic!("this machine has no `{program}`"));
        self.add_file(&found, &format!("bin/{program}"));
    }

    pub(crate) fn add_file(&self, program: &Path, to: &str) {
        self.copy(program, Path::new(to));
        self.add_libraries(program);
    }

    /// The libraries that a program needs.
    pub(crate) fn add_libraries(&self, program: &Path) {
        let libraries = Command::new("ldd").arg(program).output().expect("ldd runs");
        for word in String::from_utf8_lossy(&libraries.stdout).split_whitespace().filter(|word| word.starts_with('/')) {
            self.copy(Path::new(word), Path::new(word.trim_start_matches('/')));
        }
    }

    fn copy(&self, from: &Path, to: &Path) {
        let to = self.path("base").join(to);
        if !to.exists() {
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(from, to).unwrap();
        }
    }

    pub(crate) fn upper(&self, name: &str) -> Upper {
        let upper = Upper { dir: self.path(name).join("upper"), work: self.path(name).join("work") };
        std::fs::create_dir_all(&upper.dir).unwrap();
        std::fs::create_dir_all(&upper.work).unwrap();
        upper
    }

    /// A RUN on the base; its layer is made at `name`.
    pub(crate) fn run(&self, name: &str, argv: &[&str]) -> RunTask {
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
                hosts: Vec::new(),
                ulimits: Vec::new(),
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

    pub(crate) fn sh(&self, name: &str, script: &str) -> RunTask {
        self.run(name, &["sh", "-c", script])
    }

    pub(crate) fn start(&self) -> Start {
        let program = env!("CARGO_BIN_EXE_stagedive").into();
        Start { program, place: self.path("place"), only: self.mode, old_overlay: false }
    }
}

/// Runs a test in the best mode, and with one uid only.
pub(crate) async fn in_every_mode<F: Future<Output = ()>>(test: impl Fn(Place, Launcher) -> F) {
    for mode in [None, Some(Mode::Single)] {
        let place = Place::new(mode);
        match Launcher::start(&place.start()).await {
            Ok(launcher) => test(place, launcher).await,
            Err(error) => {
                assert!(!namespaces_are_allowed(), "{error:?}");
                assert!(error.message.contains("needs root, or user namespaces"), "{error:?}");
                assert!(!error.help.is_empty(), "{error:?}");
            }
        }
    }
}

/// As util-linux finds it.
fn namespaces_are_allowed() -> bool {
    let status = Command::new("unshare").args(["--user", "--map-root-user", "--mount", "true"]).status();
    status.is_ok_and(|status| status.success())
}

#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: Option<i32>,
    pub(crate) changes: Vec<String>,
    pub(crate) failed: Option<TaskError>,
    pub(crate) descriptors: Vec<OwnedFd>,
    pub(crate) program: String,
    pub(crate) borrowed: bool,
}

impl Outcome {
    /// The output of a command that succeeded.
    #[track_caller]
    pub(crate) fn output(self) -> String {
        assert!(self.failed.is_none() && self.code == Some(0), "{self:?}");
        self.stdout
    }

    #[track_caller]
    pub(crate) fn error(self) -> TaskError {
        self.failed.unwrap_or_else(|| panic!("it succeeded with {:?}: {}{}", self.code, self.stdout, self.stderr))
    }
}

pub(crate) fn begin(launcher: &Launcher, task: RunTask) -> TaskHandle {
    launcher.task(Task::Run(Box::new(task)), Vec::new())
}

pub(crate) async fn outcome(launcher: &Launcher, task: RunTask) -> Outcome {
    finish(&mut begin(launcher, task)).await
}

pub(crate) async fn finish(handle: &mut TaskHandle) -> Outcome {
    let mut outcome = Outcome::default();
    while let Some((report, descriptors)) = handle.next().await {
        outcome.descriptors.extend(descriptors);
        match report {
            Report::Stdout(bytes) => outcome.stdout += &String::from_utf8_lossy(&bytes),
            Report::Stderr(bytes) => outcome.stderr += &String::from_utf8_lossy(&bytes),
            Report::Exit(code) => outcome.code = Some(code),
            Report::Layer(layer) => {
                outcome.changes = layer.entries.iter().map(|entry| entry.path().to_string()).collect();
            }
            Report::Failed(error) => outcome.failed = Some(error),
            Report::Terminal { program, borrowed } => (outcome.program, outcome.borrowed) = (program, borrowed),
            Report::Done => {}
            other => panic!("{other:?}"),
        }
    }
    outcome
}

/// Reports until one that has `text` on standard output.
pub(crate) async fn until(handle: &mut TaskHandle, text: &str) {
    let mut seen = String::new();
    while !seen.contains(text) {
        match handle.next().await {
            Some((Report::Stdout(bytes), _)) => seen += &String::from_utf8_lossy(&bytes),
            other => panic!("{other:?} after {seen:?}"),
        }
    }
}
