//! A plan without running anything: for commands that only look at the Dockerfile.

use super::exit::Failure;
use super::project::Project;
use crate::debug::{self, Command, Event};
use crate::engine::embedded::Embedded;
use crate::plan::Plan;
use std::sync::Arc;

/// The plan of a project. Bases are looked up, since their ONBUILD triggers and variables take part in it.
pub async fn plan(project: &Project) -> Result<Arc<Plan>, Failure> {
    let engine = Arc::new(Embedded::start(project.settings.clone()).await.map_err(Failure::Engine)?);
    let mut setup = project.setup(engine);
    setup.paused = true;
    let (session, mut events) = debug::start(setup);
    let mut result = Err(Failure::Other("the session ended before it had a plan".to_owned()));
    while let Some(event) = events.recv().await {
        match event {
            Event::Planned { plan } => result = Ok(plan),
            Event::PlanFailed { rendered, .. } => result = Err(Failure::Dockerfile(rendered)),
            Event::Stopped(_) | Event::Ended => break,
            _ => continue,
        }
        break;
    }
    session.send(Command::Quit);
    result
}
