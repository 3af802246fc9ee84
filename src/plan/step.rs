//! The plan's values: stages, steps, and what each step does.

use super::ulimit::Ulimit;
use crate::dockerfile::{Diagnostic, Dockerfile, Lines};
use crate::image::config::ImageConfig;
use bstr::BString;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A stage's position in the Dockerfile, counted from 0 as `COPY --from=0` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StageId(pub u32);

/// A step's stage, and its position there; 0 is the stage's `FROM`. `ONBUILD` triggers of the base follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StepId {
    pub stage: StageId,
    pub index: u32,
}

/// Everything that a build will do.
#[derive(Debug, Clone)]
pub struct Plan {
    pub dockerfile: Arc<Dockerfile>,
    pub stages: Vec<Stage>,
    pub target: StageId,
    /// The stages that run, each after all that it needs.
    pub order: Vec<StageId>,
    /// `os/arch[/variant]`.
    pub platform: String,
    /// Warnings and hints; a plan with errors is not made.
    pub diagnostics: Vec<Diagnostic>,
}

impl Plan {
    pub fn stage(&self, id: StageId) -> &Stage {
        &self.stages[id.0 as usize]
    }

    pub fn step(&self, id: StepId) -> &Step {
        &self.stage(id.stage).steps[id.index as usize]
    }

    /// The stage with this name (in any case), or with this index. Of several with one name the last counts, as it
    /// does for `COPY --from`.
    pub fn find_stage(&self, name: &str) -> Option<StageId> {
        let by_name = |stage: &&Stage| stage.name.as_deref().is_some_and(|it| it.eq_ignore_ascii_case(name));
        match self.stages.iter().rev().find(by_name) {
            Some(stage) => Some(stage.id),
            None => name.parse().ok().filter(|index| (*index as usize) < self.stages.len()).map(StageId),
        }
    }

    /// Every step that runs, in plain order.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.order.iter().flat_map(|id| &self.stage(*id).steps)
    }
}

#[derive(Debug, Clone)]
pub struct Stage {
    pub id: StageId,
    /// As written after `AS`.
    pub name: Option<String>,
    pub base: Base,
    /// `os/arch[/variant]` of its base: the plan's, unless `FROM --platform` says otherwise.
    pub platform: String,
    pub steps: Vec<Step>,
    /// What its steps read from stages and images, in order: the base first. Directories are in `Step::inputs` alone.
    pub needs: Vec<Edge>,
    /// Whether the target reaches it; the others are skipped.
    pub needed: bool,
    /// Whether its steps run whatever is kept: `--no-cache-filter`.
    pub no_cache: bool,
}

impl Stage {
    /// Its name, or its index in digits.
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.id.0.to_string())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Base {
    /// Nothing; or a directory of the command line, which the stage's second step then copies in.
    Scratch,
    Stage(StageId),
    /// The reference as expanded, for instance `golang:1.23`; see [`image_and_platform`] for its suffix.
    Image(String),
}

/// An image's name as steps carry it, and the platform if it is not the plan's: `alpine::linux/arm64` is `alpine`
/// for another platform than the one that is built.
pub fn image_and_platform(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once("::") {
        // The address of a registry may have two colons too, `[::1]:5000/a`.
        Some((name, platform)) if !platform.contains(']') => (name, Some(platform)),
        _ => (name, None),
    }
}

/// One arrow of the stage graph: `step` reads from `origin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    pub origin: FileOrigin,
    pub step: StepId,
    pub kind: EdgeKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EdgeKind {
    From,
    Copy,
    Mount,
}

/// Where a step reads files from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FileOrigin {
    /// The build context; with a name, one given by `--build-context NAME=DIR`.
    Context {
        name: Option<String>,
    },
    Stage(StageId),
    Image(String),
    Scratch,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub id: StepId,
    pub lines: Lines,
    /// Lower-case keyword, for instance `copy`.
    pub keyword: String,
    /// The instruction on one line with its variables expanded, for instance `RUN go build`.
    pub text: String,
    /// Set when the step comes from the base image's `ONBUILD`.
    pub onbuild: bool,
    pub op: Op,
    /// What the step reads besides its own stage, each once: what COPY or ADD copies from, or what the mounts of a
    /// RUN show, in order.
    pub inputs: Vec<FileOrigin>,
    /// Everything but the file system, as it is after this step.
    pub state: Arc<State>,
    /// What history says of it (`created_by`); empty if it leaves no entry there (FROM, ONBUILD).
    pub history: String,
    /// Whether it makes a layer even if nothing changed (`RUN`, `COPY`, `ADD`, `WORKDIR`).
    pub layer: bool,
}

impl Step {
    /// The stages that must be finished before it can run: the base of a `FROM`, the sources of the others.
    pub fn stages(&self) -> impl Iterator<Item = StageId> + '_ {
        let base = match &self.op {
            Op::From(Base::Stage(stage)) => Some(*stage),
            _ => None,
        };
        let inputs = self.inputs.iter().filter_map(|origin| match origin {
            FileOrigin::Stage(stage) => Some(*stage),
            _ => None,
        });
        base.into_iter().chain(inputs)
    }
}

/// Everything but the file system, at one point of a stage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The image configuration as it would be if the stage ended here; history and rootfs excepted.
    pub image: ImageConfig,
    /// ENV of base and stage, in order.
    pub env: Vec<Variable>,
    /// ARG in scope; one without a value is declared and unset.
    pub args: Vec<Variable>,
    /// `NAME=value`: what a RUN placed here would see. What was set last stands last and wins, ENV or ARG;
    /// proxies of `--build-arg` are part of it.
    pub environment: Vec<String>,
    /// The shell in force, `/bin/sh -c` unless SHELL says otherwise.
    pub shell: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    pub name: String,
    pub value: Option<String>,
    pub origin: Origin,
}

/// Where a variable got its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// The base image's configuration.
    Base,
    /// This line of the Dockerfile.
    Line(u32),
    /// `--build-arg`; the line declares it.
    BuildArg(u32),
    /// Predefined: platform arguments and proxies.
    Predefined,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// FROM: the stage begins with this file system.
    From(Base),
    Run(Run),
    /// COPY and ADD.
    Copy(Copy),
    /// WORKDIR: makes the directory, with its parents, unless it is there.
    Workdir {
        path: String,
        user: String,
    },
    /// Changes the configuration only: ENV, ARG, LABEL, CMD and their like.
    Config,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub argv: Vec<String>,
    /// `NAME=value`: ENV, then ARG in scope, as the process sees them.
    pub env: Vec<String>,
    /// Names in `env` that must not take part in the cache key (proxies).
    pub unkeyed_env: Vec<String>,
    pub cwd: String,
    /// As in USER; empty is root.
    pub user: String,
    pub mounts: Vec<Mount>,
    pub network: Network,
    /// `--security=insecure`.
    pub insecure: bool,
    /// Further names for `/etc/hosts`, and their addresses.
    pub hosts: Vec<(String, String)>,
    /// What the command may take.
    pub ulimits: Vec<Ulimit>,
    /// Heredoc files to be seen at their paths while the command runs.
    pub files: Vec<InlineFile>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    Default,
    None,
    Host,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InlineFile {
    pub path: String,
    pub content: BString,
    pub mode: u32,
}

/// `RUN --mount`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the step's file system.
    pub target: String,
    pub kind: MountKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// `input` counts in the step's `inputs`.
    Bind {
        input: usize,
        source: String,
        writable: bool,
    },
    /// `source` is the part of the cache that is mounted; `input`, if any, is what that part begins with.
    Cache {
        id: String,
        sharing: Sharing,
        input: Option<usize>,
        source: String,
        mode: u32,
        uid: u32,
        gid: u32,
        read_only: bool,
    },
    Tmpfs {
        size: Option<u64>,
        read_only: bool,
    },
    /// As a file at `target`, as an environment variable, or both.
    Secret {
        id: String,
        file: bool,
        env: Option<String>,
        required: bool,
        mode: u32,
        uid: u32,
        gid: u32,
    },
    Ssh {
        id: String,
        required: bool,
        mode: u32,
        uid: u32,
        gid: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    Shared,
    Private,
    Locked,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// ADD: unpacks local archives and takes addresses.
    pub add: bool,
    pub sources: Vec<CopySource>,
    /// Absolute, cleaned; ends with `/` if the instruction's did, or if it must be a directory.
    pub dest: String,
    /// As written after expansion, for instance `app:app` or `1000`. `None` is root.
    pub chown: Option<String>,
    /// As written after expansion: octal or symbolic.
    pub chmod: Option<String>,
    pub link: bool,
    pub parents: bool,
    pub exclude: Vec<String>,
    /// ADD `--unpack`, if given.
    pub unpack: Option<bool>,
    pub checksum: Option<String>,
    pub keep_git_dir: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopySource {
    /// A path or wildcard in the step's only input, relative to its root.
    Path(String),
    /// A heredoc, with its file name.
    Inline { name: String, content: BString },
    /// ADD of a URL.
    Url(String),
    /// ADD of a git repository.
    Git(String),
}
