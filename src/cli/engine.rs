//! Which engine runs a build, and why: the only place that constructs engines for builds.

use super::args::{BuildArgs, EngineName};
use super::exit::Failure;
use super::project::Project;
use crate::engine::buildkit::BuildKit;
use crate::engine::buildkit::address::{self, Address, AddressError, Environment, Speaks};
use crate::engine::embedded::Embedded;
use crate::engine::{Engine, EngineError};
use futures_util::future::try_join_all;
use std::sync::Arc;

/// Starts the engine that the arguments name, or the best there is.
pub async fn start(args: &BuildArgs, project: &Project) -> Result<Arc<dyn Engine>, Failure> {
    let environment = Environment::read();
    check(args, project)?;
    let address = match (args.on.engine, &args.on.builder) {
        (Some(EngineName::Embedded), Some(_)) => {
            return Err(Failure::Usage(
                "--builder says where a builder is, and --engine embedded needs none".to_owned(),
            ));
        }
        (Some(EngineName::Embedded) | None, None) => return default(args, project, &environment).await,
        (Some(EngineName::Docker), None) => address::docker(&environment),
        (Some(EngineName::Docker), Some(builder)) => address::named(builder, Speaks::Docker, &environment),
        (Some(EngineName::Buildkit), None) => address::buildkit(&environment),
        (Some(EngineName::Buildkit) | None, Some(builder)) => address::named(builder, Speaks::BuildKit, &environment),
    };
    let address = address.map_err(|error| wrong(&error))?;
    remote(address, args, project, None).await
}

/// The same for builds that differ in nothing but their platform.
pub async fn start_each(args: &BuildArgs, projects: &[Project]) -> Result<Vec<Arc<dyn Engine>>, Failure> {
    let Some((first, others)) = projects.split_first() else { return Ok(Vec::new()) };
    let first = start(args, first).await?;
    let others = try_join_all(others.iter().map(|project| first.on(&project.settings.platform))).await?;
    Ok(std::iter::once(first).chain(others).collect())
}

/// What the embedded engine has no place for is said before it is started.
fn check(args: &BuildArgs, project: &Project) -> Result<(), Failure> {
    let embedded = args.on.builder.is_none() && matches!(args.on.engine, None | Some(EngineName::Embedded));
    if !embedded {
        return Ok(());
    }
    if let Some(cache) = project.settings.cache_from.first().or(project.settings.cache_to.first()) {
        return Err(Failure::Usage(format!(
            "--cache-from and --cache-to (type={}) are for a builder: give one with --engine docker or --builder. The \
             embedded engine keeps what it has built in its store",
            cache.kind
        )));
    }
    if let Some(group) = &project.options.cgroup_parent {
        return Err(Failure::Usage(format!(
            "--cgroup-parent {group} is for a builder: give one with --engine docker or --builder. What the embedded \
             engine runs stays in the control group that stagedive is started in"
        )));
    }
    Ok(())
}

async fn default(args: &BuildArgs, project: &Project, environment: &Environment) -> Result<Arc<dyn Engine>, Failure> {
    let error = match Embedded::start(project.settings.clone()).await {
        Ok(engine) => return Ok(Arc::new(engine)),
        Err(error) => error,
    };
    if args.on.engine.is_some() {
        return Err(Failure::Engine(error));
    }
    // Where this machine does not let it run, Docker may be there.
    let reason = format!("the Docker Engine builds, as the embedded engine cannot run here: {}", error.message);
    let docker = match address::docker(environment) {
        Ok(address) => remote(address, args, project, Some(reason)).await,
        Err(error) => Err(wrong(&error)),
    };
    docker.map_err(|failure| match failure {
        Failure::Engine(docker) => Failure::Engine(EngineError {
            message: format!(
                "{}. The Docker Engine cannot be used either: {}",
                error.message.trim_end_matches('.'),
                docker.message
            ),
            help: error.help.into_iter().chain(docker.help).collect(),
            ..EngineError::default()
        }),
        other => other,
    })
}

async fn remote(
    address: Address,
    args: &BuildArgs,
    project: &Project,
    reason: Option<String>,
) -> Result<Arc<dyn Engine>, Failure> {
    let mut entitlements = args.allow.clone();
    if project.options.allow_host_network && !entitlements.iter().any(|it| it == "network.host") {
        entitlements.push("network.host".to_owned());
    }
    let engine =
        BuildKit::start(address, project.settings.clone(), entitlements, reason).await.map_err(Failure::Engine)?;
    Ok(Arc::new(engine))
}

fn wrong(error: &AddressError) -> Failure {
    Failure::Engine(EngineError::new(&error.message).with_help(&error.help))
}
