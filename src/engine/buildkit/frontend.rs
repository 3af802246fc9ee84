//! The official frontend: asked for the definition of a build.
//!
//! Source: the options of `dockerfile.v0`, as `docker build` gives them.

use super::bridge::Bridge;
use super::definition::Definition;
use super::trouble;
use crate::engine::EngineError;
use crate::engine::settings::{Context, Settings, read_ignore_file};
use crate::plan::options::real_address;
use crate::plan::{Network, Options, Plan, StageId};
use bollard_buildkit_proto::moby::buildkit::v1::frontend as gateway;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};

pub(super) const FRONTEND: &str = "dockerfile.v0";
/// The names under which the builder asks for directories.
pub(super) const CONTEXT: &str = "context";
pub(super) const DOCKERFILE: &str = "dockerfile";

/// The Dockerfile's name in its directory, as the builder sees it.
pub(super) const FILE: &str = "Dockerfile";

/// The same Dockerfile, with a name for every stage: only by a name can a stage be the target.
const NAMED_FILE: &str = "Dockerfile.named";

/// Makes a stage the target.
pub(super) fn set_target(options: &mut HashMap<String, String>, plan: &Plan, stage: StageId) {
    options.remove("target");
    match &plan.stage(stage).name {
        Some(name) => drop(options.insert("target".to_owned(), name.clone())),
        None if plan.stages.last().is_some_and(|last| last.id == stage) => {}
        None => {
            options.insert("filename".to_owned(), NAMED_FILE.to_owned());
            options.insert("target".to_owned(), given_name(stage));
        }
    }
}

fn given_name(stage: StageId) -> String {
    format!("stagedive-stage-{}", stage.0)
}

/// The text with a name for every stage that has none. No line moves.
fn with_names(plan: &Plan) -> Vec<u8> {
    let dockerfile = &plan.dockerfile;
    let mut bytes = dockerfile.bytes.to_vec();
    let stages = dockerfile.instructions.iter().filter(|it| it.keyword == "from").zip(&plan.stages);
    for (from, stage) in stages.collect::<Vec<_>>().into_iter().rev() {
        let written = dockerfile.text.get(from.span.start..from.span.end).unwrap_or_default().trim_end();
        let end = dockerfile.in_bytes(from.span.start + written.len());
        if stage.name.is_none() {
            bytes.splice(end..end, format!(" AS {}", given_name(stage.id)).into_bytes());
        }
    }
    bytes
}

/// Puts a plan's Dockerfile, as it was read, into a new directory with the ignore file that is its own.
pub(super) fn write_dockerfile(below: &Path, plan: &Plan, context: Option<&Context>) -> io::Result<PathBuf> {
    let dir = tempfile::Builder::new().prefix("plan-").tempdir_in(below)?.keep();
    std::fs::write(dir.join(FILE), &plan.dockerfile.bytes)?;
    std::fs::write(dir.join(NAMED_FILE), with_names(plan))?;
    let own = context.and_then(|it| it.ignore_files.first().filter(|file| **file != it.path.join(".dockerignore")));
    if let Some(own) = own
        && let Some(bytes) = read_ignore_file(own)?
    {
        for file in [FILE, NAMED_FILE] {
            std::fs::write(dir.join(format!("{file}.dockerignore")), &bytes)?;
        }
    }
    Ok(dir)
}

/// Under this name a named context's directory is asked for.
pub(super) fn local_name(context: &str) -> String {
    format!("context-{context}")
}

/// The frontend's options for a build. `images` are contexts, as the frontend is told of them.
pub(super) fn options(
    settings: &Settings,
    options: &Options,
    plan: &Plan,
    images: BTreeMap<String, String>,
    resolve_mode: &str,
    gateway: Option<&str>,
) -> HashMap<String, String> {
    let mut out = HashMap::from([("filename".to_owned(), FILE.to_owned())]);
    if options.target.is_some() {
        set_target(&mut out, plan, plan.target);
    }
    let mut set = |name: &str, value: String| drop(out.insert(name.to_owned(), value));
    if let Some(platform) = &options.platform {
        set("platform", platform.clone());
    }
    for (name, value) in &options.build_args {
        set(&format!("build-arg:{name}"), value.clone());
    }
    for name in options.proxies.keys() {
        if let Some(value) = options.argument(name) {
            set(&format!("build-arg:{name}"), value.clone());
        }
    }
    for (name, value) in &options.labels {
        set(&format!("label:{name}"), value.clone());
    }
    if settings.no_cache {
        set("no-cache", String::new());
    } else if !options.no_cache_stages.is_empty() {
        set("no-cache", options.no_cache_stages.join(","));
    }
    set("image-resolve-mode", resolve_mode.to_owned());
    let hosts = options.hosts.iter().map(|(name, address)| format!("{name}={}", real_address(address, gateway)));
    let hosts: Vec<String> = hosts.collect();
    if !hosts.is_empty() {
        set("add-hosts", hosts.join(","));
    }
    match options.network {
        Some(Network::Host) => set("force-network-mode", "host".to_owned()),
        Some(Network::None) => set("force-network-mode", "none".to_owned()),
        Some(Network::Default) | None => {}
    }
    if let Some(size) = options.shm_size {
        set("shm-size", size.to_string());
    }
    if !options.ulimits.is_empty() {
        let limits: Vec<String> = options.ulimits.iter().map(ToString::to_string).collect();
        set("ulimit", limits.join(","));
    }
    if let Some(group) = &options.cgroup_parent {
        set("cgroup-parent", group.clone());
    }
    for name in settings.directories.keys() {
        set(&format!("context:{name}"), format!("local:{}", local_name(name)));
    }
    if !settings.directories.is_empty() || !images.is_empty() {
        // A frontend of `# syntax=` gets them too.
        set("frontend.caps", "moby.buildkit.frontend.contexts+forward".to_owned());
    }
    for (name, context) in images {
        set(&format!("context:{name}"), context);
    }
    out
}

/// Shows the line that the frontend's complaint is about.
pub(super) fn point(mut error: EngineError, text: &str) -> EngineError {
    let number = error.message.split_once("line ").map(|(_, rest)| rest.split(|it: char| !it.is_ascii_digit()).next());
    let number = number.flatten().and_then(|it| it.parse::<usize>().ok());
    if let Some(line) = number.and_then(|it| text.lines().nth(it.checked_sub(1)?)) {
        error.help.insert(0, format!("the line is: {}", line.trim()));
    }
    error
}

/// The definition of a build, and its image's configuration as the frontend has it.
pub(super) async fn define(bridge: &Bridge, options: HashMap<String, String>) -> Result<Definition, EngineError> {
    let request = gateway::SolveRequest {
        frontend: FRONTEND.to_owned(),
        frontend_opt: options,
        ..gateway::SolveRequest::default()
    };
    let result = bridge.solve(request).await;
    let result = result.map_err(|status| trouble::step_error(&status, &trouble::details(&status)))?;
    let found = match result.result {
        Some(gateway::result::Result::Ref(found)) => found,
        None => return Ok(Definition::default()),
        Some(_) => {
            return Err(EngineError::new("the frontend answers with more than one result: one platform at a time"));
        }
    };
    match found.def {
        Some(raw) => Definition::read(raw).map_err(|error| EngineError::new(error.to_string())),
        // A build that ends with nothing in it.
        None => Ok(Definition::default()),
    }
}
