//! The arguments. Names and spellings are `docker build`'s where the meaning is the same.

use super::size::gate::{Growth, Percent};
use crate::dockerfile::fields;
use crate::layers::Bytes;
use crate::layers::findings::Rule;
use crate::plan::Ulimit;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

const BUILD: &str = "Build";
const RUN: &str = "Every RUN";
const CACHE: &str = "Cache";
const ENGINE: &str = "Engine";
const OUTPUT: &str = "Output";
const SCREEN: &str = "Screen";

/// An interactive terminal explorer and debugger for multi-stage Dockerfile builds.
///
/// `stagedive CONTEXT` opens the debugger, paused before the first instruction. Exit codes: 0 done, 1 something
/// else went wrong, 2 wrong usage, 3 the Dockerfile is wrong, 4 a step failed, 5 a gate failed, 6 the engine
/// cannot run here or is lost, 130 interrupted.
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
    Images(ImagesArgs),
    /// Fetch images into the local store
    Pull(PullArgs),
    /// Free the local store's space
    Prune(PruneArgs),
}

/// What is built, and how.
#[derive(Debug, Clone, Args)]
pub struct BuildArgs {
    /// The build context: a directory, the address of a git repository or an archive, or `-` for an archive or a
    /// Dockerfile on standard input
    #[arg(value_name = "CONTEXT", default_value = ".")]
    pub context: String,
    /// The Dockerfile; `-` is standard input
    ///
    /// Without it, it is CONTEXT/Dockerfile.
    #[arg(short, long, value_name = "FILE", help_heading = BUILD)]
    pub file: Option<PathBuf>,
    /// Name of the image, written at the end
    ///
    /// May be given often. The debugger writes the image when it is left at the end of the build.
    #[arg(short, long = "tag", value_name = "NAME:TAG", help_heading = BUILD)]
    pub tags: Vec<String>,
    /// Build this stage and what it needs
    #[arg(long, value_name = "STAGE", help_heading = BUILD)]
    pub target: Option<String>,
    /// What to build for; several with commas
    ///
    /// OS/ARCH[/VARIANT]; without it, that of DOCKER_DEFAULT_PLATFORM, or this machine's. The debugger and `build` take
    /// several. Of two in a comparison (`diff A B`, `explore A --against B`) the first is A's, and the second B's.
    #[arg(long = "platform", value_name = "OS/ARCH", env = "DOCKER_DEFAULT_PLATFORM", hide_env = true, help_heading = BUILD)]
    pub platforms: Vec<String>,
    /// Set an ARG; by NAME from the environment
    ///
    /// Proxies that Docker's client is configured with need not be given.
    #[arg(long = "build-arg", value_name = "NAME=VALUE", help_heading = BUILD)]
    pub build_args: Vec<String>,
    /// Serve a directory or an image as NAME
    ///
    /// FROM and --from find it there. An image is oci-layout://…, docker-image://…, or of any other source.
    #[arg(long = "build-context", value_name = "NAME=SRC", help_heading = BUILD)]
    pub build_contexts: Vec<String>,
    /// A secret for RUN --mount=type=secret
    ///
    /// id=ID with src=FILE or env=NAME; with neither, it is the variable ID, or else the file. Private repositories let a
    /// build in by GIT_AUTH_TOKEN and GIT_AUTH_HEADER, or those of one host as GIT_AUTH_TOKEN.HOST; files by
    /// HTTP_AUTH_TOKEN_HOST and HTTP_AUTH_HEADER_HOST.
    #[arg(long = "secret", value_name = "id=ID,…", help_heading = BUILD)]
    pub secrets: Vec<String>,
    /// An agent for RUN --mount=type=ssh
    #[arg(long = "ssh", value_name = "ID[=SOCKET]", help_heading = BUILD)]
    pub ssh: Vec<String>,
    /// A label of the image
    #[arg(long = "label", value_name = "NAME=VALUE", help_heading = BUILD)]
    pub labels: Vec<String>,
    /// Run the stages that are not needed, too
    #[arg(long, help_heading = BUILD)]
    pub all_stages: bool,
    /// default, none or host
    #[arg(long, value_name = "MODE", hide_possible_values = true, help_heading = RUN)]
    pub network: Option<NetworkMode>,
    /// A line for /etc/hosts
    ///
    /// The address host-gateway is the machine that the engine runs on.
    #[arg(long = "add-host", value_name = "NAME:ADDRESS", help_heading = RUN)]
    pub add_hosts: Vec<String>,
    /// Size of /dev/shm, for instance 128m
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = RUN)]
    pub shm_size: Option<u64>,
    /// A limit, for instance nofile=1024:4096
    ///
    /// NAME=SOFT[:HARD], in the kernel's units; -1 is no limit.
    #[arg(long = "ulimit", value_name = "LIMIT", help_heading = RUN)]
    pub ulimits: Vec<Ulimit>,
    /// The control group, on a builder
    #[arg(long, value_name = "GROUP", help_heading = RUN)]
    pub cgroup_parent: Option<String>,
    /// network.host or security.insecure
    ///
    /// What a Dockerfile may ask for beyond the usual.
    #[arg(
        long,
        value_name = "PERMISSION",
        value_parser = ["network.host", "security.insecure"],
        hide_possible_values = true,
        help_heading = RUN
    )]
    pub allow: Vec<String>,
    /// Run every step, whatever is kept
    #[arg(long, help_heading = CACHE)]
    pub no_cache: bool,
    /// The same for the steps of these stages
    #[arg(long = "no-cache-filter", value_name = "STAGE", value_delimiter = ',', help_heading = CACHE)]
    pub no_cache_filter: Vec<String>,
    /// Ask the registry for newer base images
    #[arg(long, help_heading = CACHE)]
    pub pull: bool,
    /// A cache for a builder to read
    ///
    /// A reference, or type=TYPE with what that needs: registry, local, inline, gha, s3, azblob.
    #[arg(long = "cache-from", value_name = "SOURCE", help_heading = CACHE)]
    pub cache_from: Vec<String>,
    #[command(flatten)]
    pub on: EngineArgs,
}

/// What runs the instructions, and where.
#[derive(Debug, Clone, Args)]
#[command(mut_arg("root", |arg| arg.help_heading(ENGINE)))]
pub struct EngineArgs {
    /// embedded, docker or buildkit
    ///
    /// Without it, that of STAGEDIVE_ENGINE, or embedded where that can run, else docker.
    #[arg(
        long,
        value_enum,
        value_name = "ENGINE",
        env = "STAGEDIVE_ENGINE",
        hide_env = true,
        hide_possible_values = true,
        help_heading = ENGINE
    )]
    pub engine: Option<EngineName>,
    /// Where the builder is
    ///
    /// An address, or the name of a buildx instance or of a docker context.
    #[arg(long, value_name = "ADDRESS|NAME", help_heading = ENGINE)]
    pub builder: Option<String>,
    #[command(flatten)]
    pub store: StoreArg,
}

/// Where the store is.
#[derive(Debug, Clone, Args)]
pub struct StoreArg {
    /// The store
    ///
    /// Without it, STAGEDIVE_ROOT, or $XDG_DATA_HOME/stagedive.
    #[arg(long, value_name = "DIR", env = "STAGEDIVE_ROOT", hide_env = true)]
    pub root: Option<PathBuf>,
}

impl BuildArgs {
    /// `--platform`: one, or several with commas, however often it is given.
    pub fn platform(&self) -> Option<String> {
        Some(self.platforms.join(",")).filter(|text| !text.is_empty())
    }
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
    /// Stop there: LINE or STAGE:INSTRUCTION
    #[arg(long = "break", value_name = "PLACE", help_heading = SCREEN)]
    pub breakpoints: Vec<String>,
    /// Stop after a step that changes it: PATTERN [created|changed|deleted] [over SIZE]
    #[arg(long = "watch", value_name = "PATH", help_heading = SCREEN)]
    pub watches: Vec<String>,
    /// Do not stop where a step fails
    #[arg(long, help_heading = SCREEN)]
    pub no_break_on_failure: bool,
    #[command(flatten)]
    pub screen: ScreenArgs,
}

/// How the screen looks.
#[derive(Debug, Clone, Args)]
pub struct ScreenArgs {
    /// dark, light or a theme file
    ///
    /// Without it, that of STAGEDIVE_THEME.
    #[arg(long, value_name = "THEME", env = "STAGEDIVE_THEME", hide_env = true, help_heading = SCREEN)]
    pub theme: Option<String>,
    /// Draw with ASCII characters only
    #[arg(long, help_heading = SCREEN)]
    pub ascii: bool,
}

#[derive(Debug, Args)]
pub struct BuildCommand {
    #[command(flatten)]
    pub build: BuildArgs,
    /// Run the build checks, and build nothing
    ///
    /// The same as `stagedive check`, and as --call check.
    #[arg(long, help_heading = BUILD)]
    pub check: bool,
    /// build or check
    #[arg(long, value_enum, value_name = "METHOD", default_value_t = Call::Build, hide = true, help_heading = BUILD)]
    pub call: Call,
    /// A cache for a builder to write
    ///
    /// As for --cache-from.
    #[arg(long = "cache-to", value_name = "DEST", help_heading = CACHE)]
    pub cache_to: Vec<String>,
    /// Where the result goes
    ///
    /// type=oci|docker|tar|local[,dest=PATH], type=image[,push=true] or type=registry; a plain PATH is a local
    /// directory, `-` an archive on standard output. Without dest, type=docker loads the image into the Docker Engine.
    #[arg(short, long = "output", value_name = "OUTPUT", help_heading = OUTPUT)]
    pub outputs: Vec<String>,
    /// Push it: the same as -o type=registry
    #[arg(long, help_heading = OUTPUT)]
    pub push: bool,
    /// Load it: the same as -o type=docker
    #[arg(long, help_heading = OUTPUT)]
    pub load: bool,
    /// Write the image's id to a file
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub iidfile: Option<PathBuf>,
    /// Write its digests to a file, as JSON
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub metadata_file: Option<PathBuf>,
    /// An annotation of the image
    ///
    /// [WHERE:]NAME=VALUE; WHERE is manifest, manifest-descriptor, index or index-descriptor.
    #[arg(long = "annotation", value_name = "NAME=VALUE", help_heading = OUTPUT)]
    pub annotations: Vec<String>,
    /// State how the image was made
    ///
    /// true, mode=min or mode=max: a builder does it, and only if asked; buildx asks for mode=min by itself. Without
    /// it an image depends on nothing but what it is built from.
    #[arg(long, value_name = "BOOL|MODE", help_heading = OUTPUT)]
    pub provenance: Option<String>,
    /// State what is in the image
    ///
    /// true, or generator=IMAGE: a builder does it, with an image that lists the packages.
    #[arg(long, value_name = "BOOL|GENERATOR", help_heading = OUTPUT)]
    pub sbom: Option<String>,
    /// The long form of these two
    ///
    /// type=provenance or type=sbom, with their attributes.
    #[arg(long, value_name = "type=TYPE,…", help_heading = OUTPUT)]
    pub attest: Vec<String>,
    /// Drop what this run made, also if it fails
    #[arg(long, help_heading = OUTPUT)]
    pub force_rm: bool,
    /// plain, json, quiet or none
    ///
    /// Lines to read, one event a line, the image's id alone, or nothing but errors.
    #[arg(
        long,
        value_enum,
        value_name = "KIND",
        default_value_t = Progress::Plain,
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = OUTPUT
    )]
    pub progress: Progress,
    /// Print the image's id alone
    #[arg(short, long, help_heading = OUTPUT)]
    pub quiet: bool,
}

impl BuildCommand {
    /// With nothing asked for besides.
    pub fn of(build: BuildArgs) -> BuildCommand {
        BuildCommand {
            build,
            outputs: Vec::new(),
            push: false,
            load: false,
            provenance: None,
            sbom: None,
            attest: Vec::new(),
            call: Call::Build,
            check: false,
            cache_to: Vec::new(),
            annotations: Vec::new(),
            progress: Progress::Plain,
            quiet: false,
            force_rm: false,
            iidfile: None,
            metadata_file: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// Lines to read
    #[value(aliases = ["auto", "tty"])]
    Plain,
    /// One event a line
    Json,
    /// As --quiet
    Quiet,
    /// Nothing but errors
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Call {
    Build,
    Check,
}

#[derive(Debug, Args)]
#[command(mut_arg("context", |it| it.value_name("IMAGE|CONTEXT").help(IMAGE_OR_CONTEXT)))]
pub struct ExploreArgs {
    #[command(flatten)]
    pub build: BuildArgs,
    #[command(flatten)]
    pub screen: ScreenArgs,
    /// Compare the image with another one, or with a directory
    ///
    /// Written as A and B of `diff` are. What differs is the first line of the list of layers.
    #[arg(long, value_name = "OTHER")]
    pub against: Option<String>,
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
    pub path: OsString,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct DiffArgs {
    /// An image, a directory, or a place in the build of CONTEXT: STAGE, STAGE@LINE or @LINE
    ///
    /// A stage's name or number stands for its end, and a line for the point before it. A word that is a stage is taken
    /// for that; a directory of the same name is ./NAME.
    #[arg(value_name = "A")]
    pub a: String,
    /// What it is compared with, written like A
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
    ///
    /// With code 1 if nothing is known to differ, and not everything could be read.
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
    /// Limits from a TOML file
    ///
    /// By the names of these flags; the flags go before it.
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
    /// The largest file that a container sees
    #[arg(long, value_name = "SIZE")]
    pub max_file: Option<Bytes>,
    /// dive's score, mended
    #[arg(long, value_name = "PERCENT")]
    pub min_score: Option<Percent>,
    /// Paths that no layer may have
    ///
    /// A pattern, for instance '*.pem', .git or /root/**; may be given often. With a ! before it, it is an exception from
    /// all others: '!/etc/ssl'.
    #[arg(long = "forbid", value_name = "GLOB")]
    pub forbid: Vec<String>,
    /// A rule that may find nothing
    ///
    /// For instance secret or package-lists. What is the base image's, and what may be an example, does not count. May be
    /// given often.
    #[arg(long = "forbid-finding", value_name = "RULE", value_parser = finding_rule)]
    pub forbid_findings: Vec<Rule>,
    /// A former report, for --max-growth
    ///
    /// As --json prints it.
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Bytes beyond the baseline's
    #[arg(long, value_name = "SIZE|PERCENT%")]
    pub max_growth: Option<Growth>,
    /// Write the outcome as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Write the report as Markdown
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
}

fn size(text: &str) -> Result<u64, String> {
    fields::bytes(text).ok_or_else(|| "expected a size, for instance 64m or 1g".to_owned())
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
    #[command(flatten)]
    pub on: EngineArgs,
}

#[derive(Debug, Args)]
pub struct ImagesArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub store: StoreArg,
}

#[derive(Debug, Args)]
pub struct PullArgs {
    /// References, or images of any transport: docker://, oci:, oci-archive:, docker-archive:, docker-daemon:
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
    /// The platform, if not this machine's
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
    #[command(flatten)]
    pub store: StoreArg,
}

#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Images and cache mounts too, not only the results of steps
    #[arg(short, long)]
    pub all: bool,
    #[command(flatten)]
    pub store: StoreArg,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn options_stand_under_the_heading_that_they_belong_to() {
        let cli = Cli::command();
        let check = |command: &str, name: &str, expected: Option<&str>| {
            let command = cli.find_subcommand(command).unwrap();
            let arg = command.get_arguments().find(|arg| arg.get_id() == name).unwrap();
            assert_eq!(arg.get_help_heading(), expected, "{name}");
        };
        check("diff", "root", Some(ENGINE));
        check("diff", "json", None);
        check("blame", "path", None);
        check("images", "root", None);
    }
}
