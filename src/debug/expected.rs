//! Shells that are likely to be asked for next. The engine is told of each, so that it can be ready.

use super::build::Build;
use super::{ShellPlace, place};
use crate::engine::{Engine, ShellRequest};
use std::sync::Arc;
use tokio_util::task::AbortOnDropHandle;

/// At a stop: the shell there, the one before its instruction, and one where the front end looks besides.
#[derive(Default)]
pub(super) struct Expected {
    /// The stop, and the place besides, that they are for.
    at: Option<(u64, Option<ShellPlace>)>,
    /// Each with the work of being ready for it.
    shells: Vec<(ShellRequest, AbortOnDropHandle<()>)>,
}

impl Expected {
    /// Where `build` stands is what counts from here on; nothing is expected without one. What was expected already
    /// stays ready.
    pub(super) fn follow(&mut self, engine: &Arc<dyn Engine>, build: Option<&Build>, besides: Option<ShellPlace>) {
        let at = build.map(|build| (build.stops, besides));
        if self.at == at {
            return;
        }
        self.at = at;
        let mut before = std::mem::take(&mut self.shells);
        let Some((build, stop)) = build.and_then(|build| Some((build, build.stop.as_ref()?))) else { return };
        let places = [Some(stop.shell()), Some(stop.shell_before()), besides];
        for request in places.into_iter().flatten().filter_map(|place| place::request(build, place).ok()) {
            let request = ShellRequest { watch: true, ..request };
            if self.shells.iter().any(|(it, _)| it.is_like(&request)) {
                continue;
            }
            let kept = before.iter().position(|(it, _)| it.is_like(&request));
            self.shells.push(match kept {
                Some(kept) => before.swap_remove(kept),
                None => {
                    let (engine, wanted) = (engine.clone(), request.clone());
                    let work = tokio::spawn(async move { engine.expect_shell(wanted).await });
                    (request, AbortOnDropHandle::new(work))
                }
            });
        }
    }
}
