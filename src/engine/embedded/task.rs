//! What the engine process can be asked to do, and what it answers.
//!
//! The engine process lives in the user and mount namespaces where the store's files have their owners, so
//! everything that reads or writes snapshots is a task. Each task runs in a process of its own, forked from
//! the single-threaded engine process, and ends with exactly one [`Report::Done`] or [`Report::Failed`].
//! All paths are the host's and absolute.

use crate::engine::EngineError;
use crate::layers::Layer;
use crate::plan::{Copy, Run};
use bstr::BString;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Layers that make one file system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// Unpacked layer directories, bottom first. May be empty.
    pub lower: Vec<PathBuf>,
}

/// Where a task's changes go: an empty directory, and one beside it on the same file system for overlayfs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upper {
    pub dir: PathBuf,
    pub work: PathBuf,
}

/// Something that a step reads besides its own stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// A stage or an image.
    Stack(Stack),
    /// A directory of the host: the build context, or one given with `--build-context`. `ignore` is the text of
    /// its ignore file. Owners count as 0:0.
    Directory { path: PathBuf, ignore: Option<String> },
    /// Nothing at all.
    Scratch,
}

/// What a step reads of an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reads {
    /// The sources of a COPY or ADD.
    Copy(Copy),
    /// A bind mount's source, a path within the input.
    Path(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// Unpacks a layer blob, compressed or not, into the new directory `into`, in the form overlayfs reads as
    /// a lower layer, and checks the digest of its uncompressed bytes. Reports `Layer`; `Progress` counts
    /// blob bytes.
    Unpack { blob: PathBuf, diff_id: Option<String>, into: PathBuf },
    /// A command on a stack. Reports `Stdout`/`Stderr` or one `Terminal`, then `Exit`; then, if `upper` was
    /// written to, `Layer`.
    Run(Box<RunTask>),
    /// COPY and ADD. Reports `Layer`.
    Copy(Box<CopyTask>),
    /// WORKDIR. Reports `Layer`.
    Workdir { stack: Stack, upper: Upper, path: String, user: String },
    /// The content digest of what a step would read, for its cache key: names, kinds, modes, contents, link
    /// targets and xattrs, owners only where they are kept; never times. Reports `Text`.
    Digest { what: Reads, input: Input },
    /// A path of a directory of the host, as `content` in the empty directory of `upper`.
    Bind { input: Input, path: String, upper: Upper },
    /// At most `limit` bytes of a regular file; symbolic links are followed inside the root. Reports `Bytes`.
    Read { stack: Stack, path: BString, offset: u64, limit: usize },
    /// One layer directory as an OCI layer tar, uncompressed, gzip or zstd, into the file `into`. Reports
    /// `Archive`. The same content gives the same bytes. Times after `epoch` are set
    /// to it, and so is what has no time.
    Pack { layer: PathBuf, into: PathBuf, compression: Compression, epoch: Option<i64> },
    /// The merged file system as one archive, written to the message's file descriptor. With `epoch`, it is every
    /// file's time.
    Tar { stack: Stack, epoch: Option<i64> },
    /// The merged file system as a directory of the host; `epoch` as for `Tar`.
    Local { stack: Stack, into: PathBuf, epoch: Option<i64> },
    /// Deletes directories whose files may belong to any mapped user.
    Remove { dirs: Vec<PathBuf> },
}

impl Task {
    /// What a step needs while it runs and nobody afterwards, if the task is a step.
    pub(super) fn work(&self) -> Option<&Path> {
        match self {
            Task::Run(task) if !task.scratch => Some(&task.upper.work),
            Task::Copy(task) => Some(&task.upper.work),
            Task::Workdir { upper, .. } => Some(&upper.work),
            _ => None,
        }
    }
}

pub use crate::snapshot::pack::Compression;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunTask {
    pub stack: Stack,
    pub upper: Upper,
    /// Throw the changes away afterwards, and report them (shells).
    pub scratch: bool,
    pub run: Run,
    /// One for each input that `run.mounts` counts by.
    pub inputs: Vec<Input>,
    /// Directories of the cache mounts in `run.mounts`, in their order there; made if missing.
    pub caches: Vec<PathBuf>,
    /// Secrets by id: their contents. They stay in memory.
    pub secrets: Vec<(String, Vec<u8>)>,
    /// Sockets of ssh agents by id.
    pub agents: Vec<(String, PathBuf)>,
    /// Columns and rows: runs in a terminal, whose master is reported as `Terminal`.
    pub terminal: Option<(u16, u16)>,
    /// A directory of packed host tools to mount beside the root when the image has no shell. It is mounted at
    /// `/.stagedive`, its `bin` is put on PATH, and `argv` empty starts its shell.
    pub toolbox: Option<PathBuf>,
    /// Contents of `/etc/hosts` and `/etc/resolv.conf`, and the host name.
    pub hosts: String,
    pub resolv: String,
    pub hostname: String,
    /// Input bytes come from the message's file descriptor (a pipe or `/dev/null`), if one is sent.
    pub stdin: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyTask {
    pub stack: Stack,
    pub upper: Upper,
    pub copy: Copy,
    /// The step's only input, if it has one.
    pub input: Option<Input>,
    /// Files fetched from URLs and git repositories, in the order of those sources: (source, file or directory).
    pub fetched: Vec<(String, PathBuf)>,
}

/// What a task says while it runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Report {
    Stdout(#[serde(with = "serde_bytes")] Vec<u8>),
    Stderr(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Bytes so far of all; `total` 0 when not known.
    Progress {
        done: u64,
        total: u64,
    },
    Notice(String),
    /// The master side of the terminal comes with this message as a file descriptor. `program` was started;
    /// `borrowed` says whether it is from the toolbox.
    Terminal {
        program: String,
        borrowed: bool,
    },
    Exit(i32),
    Layer(Layer),
    Text(String),
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    Archive(Archive),
    Done,
    Failed(TaskError),
}

/// A layer blob that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    pub diff_id: String,
    pub digest: String,
    /// Bytes of the blob.
    pub size: u64,
    /// Bytes of the uncompressed archive.
    pub unpacked: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct TaskError {
    /// Whether the fault lies in what was asked (a missing source, an unknown user), not in the engine.
    pub input: bool,
    pub message: String,
    /// What to do, one line each.
    pub help: Vec<String>,
}

impl TaskError {
    pub fn input(message: impl Into<String>) -> TaskError {
        TaskError { input: true, message: message.into(), help: Vec::new() }
    }

    pub fn engine(message: impl Into<String>) -> TaskError {
        TaskError { input: false, message: message.into(), help: Vec::new() }
    }

    pub fn with_help(mut self, line: impl Into<String>) -> TaskError {
        self.help.push(line.into());
        self
    }
}

impl From<TaskError> for EngineError {
    fn from(error: TaskError) -> EngineError {
        EngineError { help: error.help, ..EngineError::new(error.message) }
    }
}

impl From<crate::snapshot::pack::Packed> for Archive {
    fn from(packed: crate::snapshot::pack::Packed) -> Archive {
        Archive {
            diff_id: packed.diff_id.to_string(),
            digest: packed.digest.to_string(),
            size: packed.size,
            unpacked: packed.unpacked,
        }
    }
}

impl From<crate::snapshot::rooted::PathError> for TaskError {
    fn from(error: crate::snapshot::rooted::PathError) -> TaskError {
        if error.is_full() {
            return TaskError::engine(error.to_string())
                .with_help("The disk of the store is full: make room, or `stagedive prune`.");
        }
        TaskError::engine(error.to_string())
    }
}

impl From<crate::snapshot::unpack::UnpackError> for TaskError {
    fn from(error: crate::snapshot::unpack::UnpackError) -> TaskError {
        match error {
            crate::snapshot::unpack::UnpackError::Path(error) => error.into(),
            error => TaskError::input(error.to_string()),
        }
    }
}
