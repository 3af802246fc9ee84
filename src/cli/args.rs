//! The arguments. Names and spellings are `docker build`'s where the meaning is the same.

use super::size::gate::{Bytes, Growth, Percent};
use crate::layers::findings::Rule;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// An interactive terminal explorer and debugger for multi-stage Dockerfile builds.
///
/// `stagedive CONTEXT` opens the debugger, paused before the first instruction. Exit codes: 0 done, 2 wrong
/// usage, 3 the Dockerfile is wrong, 4 a step failed, 5 a gate failed, 6 the engine cannot run here,
/// 130 interrupted.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub debug: DebugArgs,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Debug a build in the terminal (the same as `stagedive CONTEXT`)
    Debug(DebugArgs),
    /// Build without the screen
    Build(BuildCommand),
    /// Look into an image: its layers, what is in them and what they weigh
    ///
    /// An image is a reference (looked for in the local store, then in a Docker or Podman daemon, then in a registry),
    /// docker://, docker-daemon:, docker-archive:, oci-archive: or oci: with what follows it, the path of an archive or
    /// of an OCI layout. A directory with a Dockerfile is built first.
    Explore(ExploreArgs),
    /// Print the stage graph
    Graph(GraphArgs),
    /// Open a shell in a stage, or run one command there
    Shell(ShellArgs),
    /// Print the parsed Dockerfiles, one JSON line a file
    Ast(AstArgs),
    /// Run the official build checks
    ///
    /// Exit code 3 if the Dockerfile is wrong, 5 if a check finds something. Hints come in addition, and are no
    /// reason to fail.
    Check(CheckArgs),
    /// Show what an image's layers weigh and waste
    ///
    /// The image is a reference (looked for in the local store, then in a Docker or Podman daemon, then in a
    /// registry), docker://REFERENCE, docker-daemon:REFERENCE, docker-archive:FILE, oci-archive:FILE or oci:DIR. A
    /// directory with a Dockerfile is built first.
    Size(SizeArgs),
    /// Say which instructions touched a path of an image or a build, and where its bytes come from
    Blame(BlameArgs),
    /// Say what differs between two images, directories or places in a build
    ///
    /// A and B are each an image of any transport, a directory, or a place in the build of CONTEXT: STAGE is a stage's
    /// end, STAGE@LINE is before the instruction on that line, as for `shell`. A word that is a stage of CONTEXT is that
    /// stage; write alpine:latest or docker://alpine for an image of the same name.
    Diff(DiffArgs),
    /// A bundled multi-stage build that needs no network
    Demo(DemoArgs),
    /// List the images in the local store
    Images(StoreArgs),
    /// Fetch images into the local store
    Pull(PullArgs),
    /// Free the local store's space
    Prune(PruneArgs),
}

/// What is built, and how.
#[derive(Debug, Clone, Args)]
pub struct BuildArgs {
    /// The build context: a directory, or `-` for an archive or a Dockerfile on standard input
    #[arg(value_name = "CONTEXT", default_value = ".")]
    pub context: String,
    /// The Dockerfile (default: CONTEXT/Dockerfile); `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Name and tag of the result
    #[arg(short, long = "tag", value_name = "NAME:TAG")]
    pub tags: Vec<String>,
    /// Build this stage and what it needs
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Set an ARG; without a value it is taken from the environment
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub build_args: Vec<String>,
    /// Serve an image or a directory under a name that FROM and --from use
    #[arg(long = "build-context", value_name = "NAME=DIR|oci-layout://…|docker-image://…|…")]
    pub build_contexts: Vec<String>,
    /// A secret for RUN --mount=type=secret
    #[arg(long = "secret", value_name = "id=ID[,src=FILE|,env=NAME]")]
    pub secrets: Vec<String>,
    /// An ssh agent for RUN --mount=type=ssh
    #[arg(long = "ssh", value_name = "ID[=SOCKET]")]
    pub ssh: Vec<String>,
    /// A label of the result
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub labels: Vec<String>,
    /// The platform to build for (default: this machine's); `build` takes several, with commas
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    /// A cache outside of the builder to read
    #[arg(long = "cache-from", value_name = "REFERENCE|type=TYPE,…")]
    pub cache_from: Vec<String>,
    /// The network of RUN: default, none or host
    #[arg(long, value_name = "MODE")]
    pub network: Option<NetworkMode>,
    /// A line for /etc/hosts of every RUN
    #[arg(long = "add-host", value_name = "NAME:ADDRESS")]
    pub add_hosts: Vec<String>,
    /// What a Dockerfile may ask for beyond the usual
    #[arg(long, value_name = "network.host|security.insecure", value_parser = ["network.host", "security.insecure"])]
    pub allow: Vec<String>,
    /// Run every step, whatever is kept
    #[arg(long)]
    pub no_cache: bool,
    /// Run every step of these stages, whatever is kept
    #[arg(long = "no-cache-filter", value_name = "STAGE", value_delimiter = ',')]
    pub no_cache_filter: Vec<String>,
    /// Ask the registry for newer base images
    #[arg(long)]
    pub pull: bool,
    /// Run the stages that the target does not need too
    #[arg(long)]
    pub all_stages: bool,
    /// What runs the instructions (default: embedded where it can run, else docker)
    #[arg(long, value_enum, value_name = "ENGINE", env = "STAGEDIVE_ENGINE")]
    pub engine: Option<EngineName>,
    /// Where the builder is: an address, or the name of a buildx instance or a docker context
    #[arg(long, value_name = "ADDRESS|NAME")]
    pub builder: Option<String>,
    /// The store (default: $XDG_DATA_HOME/stagedive)
    #[arg(long, value_name = "DIR", env = "STAGEDIVE_ROOT")]
    pub root: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineName {
    /// On this machine, with no daemon and no root
    Embedded,
    /// The Docker Engine of DOCKER_HOST or of the docker context in force
    Docker,
    /// A BuildKit daemon, at BUILDKIT_HOST or where --builder says
    Buildkit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NetworkMode {
    Default,
    None,
    Host,
}

#[derive(Debug, Clone, Args)]
pub struct DebugArgs {
    #[command(flatten)]
    pub build: BuildArgs,
    #[command(flatten)]
    pub screen: ScreenArgs,
    /// A breakpoint to begin with: LINE or STAGE:INSTRUCTION
    #[arg(long = "break", value_name = "PLACE")]
    pub breakpoints: Vec<String>,
    /// Do not stop where a step fails
    #[arg(long)]
    pub no_break_on_failure: bool,
}

/// How the screen looks.
#[derive(Debug, Clone, Args)]
pub struct ScreenArgs {
    /// dark, light, or a theme file
    #[arg(long, value_name = "THEME", env = "STAGEDIVE_THEME")]
    pub theme: Option<String>,
    /// Draw with ASCII characters only
    #[arg(long)]
    pub ascii: bool,
}

#[derive(Debug, Args)]
pub struct BuildCommand {
    #[command(flatten)]
    pub build: BuildArgs,
    /// Where the result goes: `type=oci|docker|tar|local[,dest=PATH]`, `type=image[,push=true]`, `type=registry`; a plain
    /// PATH is a local directory, `-` an archive on standard output
    #[arg(short, long = "output", value_name = "OUTPUT")]
    pub outputs: Vec<String>,
    /// Push the result to its registry: the same as -o type=registry
    #[arg(long)]
    pub push: bool,
    /// A cache outside of the builder to write
    #[arg(long = "cache-to", value_name = "REFERENCE|type=TYPE,…")]
    pub cache_to: Vec<String>,
    /// An annotation of the result; WHERE is manifest, manifest-descriptor, index or index-descriptor
    #[arg(long = "annotation", value_name = "[WHERE:]NAME=VALUE")]
    pub annotations: Vec<String>,
    /// How progress is told
    #[arg(long, value_enum, default_value_t = Progress::Plain)]
    pub progress: Progress,
    /// Print only the image's id
    #[arg(short, long)]
    pub quiet: bool,
    /// Drop what this run made, also after a failure
    #[arg(long)]
    pub force_rm: bool,
    /// Write the image's id to a file
    #[arg(long, value_name = "FILE")]
    pub iidfile: Option<PathBuf>,
    /// Write the result's digests to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// Lines to read
    Plain,
    /// One event a line
    Json,
}

#[derive(Debug, Args)]
#[command(mut_arg("context", |it| it.value_name("IMAGE|CONTEXT").help(IMAGE_OR_CONTEXT)))]
pub struct ExploreArgs {
    #[command(flatten)]
    pub build: BuildArgs,
    #[command(flatten)]
    pub screen: ScreenArgs,
    /// Print one JSON object: the layers, what each changed, and all files
    #[arg(long)]
    pub json: bool,
    /// Hold every layer against its digest, however long that takes
    #[arg(long)]
    pub verify: bool,
}

#[derive(Debug, Args)]
pub struct GraphArgs {
    #[command(flatten)]
    pub build: BuildArgs,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    #[arg(long, value_enum, default_value_t = GraphFormat::Text)]
    pub format: GraphFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    Text,
    Json,
    Dot,
    Mermaid,
}

#[derive(Debug, Args)]
pub struct ShellArgs {
    /// A stage, by name or index; with @LINE, before the instruction on that line (default: the stage's end)
    #[arg(value_name = "STAGE[@LINE]")]
    pub place: String,
    #[command(flatten)]
    pub build: BuildArgs,
    /// The command to run there instead of a shell
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
#[command(mut_arg("context", |arg| image_or_context(arg)))]
pub struct BlameArgs {
    #[command(flatten)]
    pub build: BuildArgs,
    /// A path in the image; of a directory, the last instruction for each entry is told too
    #[arg(index = 2, value_name = "PATH")]
    pub path: String,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct DiffArgs {
    /// What is compared with B: IMAGE, DIRECTORY or STAGE[@LINE]
    #[arg(value_name = "A")]
    pub a: String,
    #[arg(value_name = "B")]
    pub b: String,
    #[command(flatten)]
    pub build: BuildArgs,
    /// Show the lines that differ in changed text files
    #[arg(long)]
    pub text: bool,
    /// Leave the list of paths out
    #[arg(long, conflicts_with_all = ["text", "json"])]
    pub summary: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// End with code 5 if anything differs
    #[arg(long)]
    pub exit_code: bool,
}

/// The first argument of commands that take images as well, and something after it.
fn image_or_context(arg: clap::Arg) -> clap::Arg {
    arg.value_name("IMAGE|CONTEXT")
        .help("An image, or a build context, which is built first")
        .default_value(None::<&'static str>)
        .required(true)
        .index(1)
}

#[derive(Debug, Args)]
pub struct AstArgs {
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub build: BuildArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Look no base image up; variables that one may set are not checked then
    #[arg(long)]
    pub offline: bool,
}

#[derive(Debug, Args)]
#[command(mut_arg("context", |it| it.value_name("IMAGE|CONTEXT").help(IMAGE_OR_CONTEXT)))]
pub struct SizeArgs {
    #[command(flatten)]
    pub build: BuildArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// List the files, too: with --json all of them, live and dead
    #[arg(long)]
    pub files: bool,
    /// Hold every layer against its digest, however long that takes
    #[arg(long)]
    pub verify: bool,
    #[command(flatten)]
    pub gate: GateArgs,
}

/// Limits that fail the command with exit code 5. SIZE is a number of bytes, 200MB or 1.5GiB.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Gate (exit code 5 if a limit is exceeded)")]
pub struct GateArgs {
    /// Limits from a TOML file, by the names of these flags; the flags go before it
    #[arg(long, value_name = "FILE")]
    pub gate: Option<PathBuf>,
    /// Bytes of all layers
    #[arg(long, value_name = "SIZE")]
    pub max_total: Option<Bytes>,
    /// Bytes of all layers as they are stored
    #[arg(long, value_name = "SIZE")]
    pub max_compressed: Option<Bytes>,
    /// Dead bytes
    #[arg(long, value_name = "SIZE")]
    pub max_waste: Option<Bytes>,
    /// Dead bytes, as a share of all
    #[arg(long, value_name = "PERCENT")]
    pub max_waste_share: Option<Percent>,
    /// Bytes of what is there at several paths
    #[arg(long, value_name = "SIZE")]
    pub max_duplicates: Option<Bytes>,
    /// The largest file
    #[arg(long, value_name = "SIZE")]
    pub max_file: Option<Bytes>,
    /// dive's score, mended
    #[arg(long, value_name = "PERCENT")]
    pub min_score: Option<Percent>,
    /// A pattern of paths that no layer may have, for instance '*.pem', .git or /root/**; may be given often
    #[arg(long = "forbid", value_name = "GLOB")]
    pub forbid: Vec<String>,
    /// A rule that may find nothing, for instance secret or package-lists; hints do not count; may be given often
    #[arg(long = "forbid-finding", value_name = "RULE", value_parser = finding_rule)]
    pub forbid_findings: Vec<Rule>,
    /// A former report (--json) for --max-growth
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Bytes of all layers beyond the baseline's
    #[arg(long, value_name = "SIZE|PERCENT%")]
    pub max_growth: Option<Growth>,
    /// Write the outcome of each limit as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Write the report as Markdown
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
}

fn finding_rule(text: &str) -> Result<Rule, String> {
    let names = || Rule::ALL.map(Rule::name).join(", ");
    Rule::ALL.into_iter().find(|rule| rule.name() == text).ok_or_else(|| format!("there are {}", names()))
}

/// What the analysing commands take in a build context's place.
pub const IMAGE_OR_CONTEXT: &str = "An image in any source, an archive or an OCI layout; or a build context";

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Which one (default: the first of the list)
    pub name: Option<String>,
    /// List the demos and what each one teaches
    #[arg(long)]
    pub list: bool,
    /// Write the project to a directory instead of running it
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    #[command(flatten)]
    pub screen: ScreenArgs,
    /// What runs the instructions (default: embedded where it can run, else docker)
    #[arg(long, value_enum, value_name = "ENGINE", env = "STAGEDIVE_ENGINE")]
    pub engine: Option<EngineName>,
    /// Where the builder is: an address, or the name of a buildx instance or a docker context
    #[arg(long, value_name = "ADDRESS|NAME")]
    pub builder: Option<String>,
    /// The store (default: $XDG_DATA_HOME/stagedive)
    #[arg(long, value_name = "DIR", env = "STAGEDIVE_ROOT")]
    pub root: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct StoreArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The store (default: $XDG_DATA_HOME/stagedive)
    #[arg(long, value_name = "DIR", env = "STAGEDIVE_ROOT")]
    pub root: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct PullArgs {
    /// References, or images of any transport: docker://, oci:, oci-archive:, docker-archive:, docker-daemon:
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    /// The store (default: $XDG_DATA_HOME/stagedive)
    #[arg(long, value_name = "DIR", env = "STAGEDIVE_ROOT")]
    pub root: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Images and cache mounts too, not only the results of steps
    #[arg(short, long)]
    pub all: bool,
    /// The store (default: $XDG_DATA_HOME/stagedive)
    #[arg(long, value_name = "DIR", env = "STAGEDIVE_ROOT")]
    pub root: Option<PathBuf>,
}
