//! The program, run as a person would from a shell, on projects that the tests write.

// Each test program that includes this uses a part of it.
#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A project's directory and a store of its own, gone at the end of the test.
pub struct Project {
    pub dir: tempfile::TempDir,
}

/// What a run of the program came to.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Project {
    /// `files` are (path, content) below the context.
    pub fn new(files: &[(&str, &str)]) -> Project {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let project = Project { dir };
        std::fs::create_dir(project.context()).expect("the context");
        for (path, content) in files {
            project.write(path, content);
        }
        project
    }

    pub fn context(&self) -> PathBuf {
        self.dir.path().join("context")
    }

    pub fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    pub fn write(&self, path: &str, content: &str) {
        let path = self.context().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        std::fs::write(path, content).expect("a file of the context");
    }

    /// The program with its store here and no settings of the user's.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(args).current_dir(self.context()).env("STAGEDIVE_ROOT", self.store());
        command.env("HOME", self.dir.path()).env("NO_COLOR", "");
        for name in
            ["XDG_DATA_HOME", "DOCKER_HOST", "DOCKER_CONFIG", "SOURCE_DATE_EPOCH", "NO_COLOR", "STAGEDIVE_ENGINE"]
        {
            command.env_remove(name);
        }
        command
    }

    pub fn run(&self, args: &[&str]) -> Run {
        run(self.command(args))
    }

    /// `stagedive build` of the context, bases `node` and `ubuntu:16.04` made of this machine's programs.
    pub fn build(&self, args: &[&str]) -> Run {
        let bases = ["--build-context", "node=host:", "--build-context", "ubuntu:16.04=host:"];
        let args: Vec<&str> = ["build"].into_iter().chain(bases).chain(args.iter().copied()).chain(["."]).collect();
        self.run(&args)
    }
}

impl Run {
    /// Fails with everything that was said.
    pub fn expect(&self, code: i32) -> &Run {
        assert_eq!(self.code, code, "exit code; output:\n{}\nerrors:\n{}", self.stdout, self.stderr);
        self
    }

    pub fn says(&self, text: &str) -> &Run {
        let said = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(said, "not said: {text:?}; output:\n{}\nerrors:\n{}", self.stdout, self.stderr);
        self
    }

    pub fn never_says(&self, text: &str) -> &Run {
        let said = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(!said, "said: {text:?}; output:\n{}\nerrors:\n{}", self.stdout, self.stderr);
        self
    }
}

/// The binary under test.
pub fn program() -> PathBuf {
    // The tests can be run by a user who cannot read the place where they were built.
    std::env::var_os("STAGEDIVE_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_stagedive").into(), PathBuf::from)
}

pub fn run(mut command: Command) -> Run {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().expect("the program starts");
    Run {
        code: std::os::unix::process::ExitStatusExt::signal(&status).map_or(status.code().unwrap_or(-1), |it| 128 + it),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// The regular files of an archive and their contents.
pub fn files_of(archive: &Path) -> BTreeMap<String, String> {
    let file = std::fs::File::open(archive).expect("the archive");
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(file).entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        if entry.header().entry_type().is_file() {
            let path = entry.path().expect("a path").to_string_lossy().into_owned();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).expect("content");
            files.insert(path, String::from_utf8_lossy(&content).into_owned());
        }
    }
    files
}
