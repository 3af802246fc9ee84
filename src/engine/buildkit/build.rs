//! A plan, and what the builder makes of it: the definitions, and where each step is found in them.

use super::definition::{Definition, Edge};
use super::mapping::{self, Mapping};
use crate::engine::EngineError;
use crate::plan::{Plan, StageId, StepId};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub(super) struct Build {
    pub(super) plan: Arc<Plan>,
    /// Where the builder finds its Dockerfile.
    pub(super) dockerfile: PathBuf,
    pub(super) options: HashMap<String, String>,
    /// The target's definition, and those of stages that it does not reach.
    parts: Mutex<Vec<(Arc<Definition>, Mapping)>>,
    /// One stage is added at a time.
    pub(super) adding: tokio::sync::Mutex<()>,
    /// How often its vertices have been given other names.
    renamed: AtomicU64,
}

/// Where one step is found in the definition of its plan.
pub(super) struct Place {
    pub(super) definition: Arc<Definition>,
    /// `None` is an empty file system.
    pub(super) edge: Option<Edge>,
    /// The vertices that are this step's alone.
    pub(super) own: Vec<String>,
}

impl Build {
    pub(super) fn new(
        plan: Arc<Plan>,
        dockerfile: PathBuf,
        options: HashMap<String, String>,
        definition: Definition,
    ) -> Result<Build, EngineError> {
        let target = plan.target;
        let (parts, adding, renamed) = (Mutex::default(), tokio::sync::Mutex::default(), AtomicU64::default());
        let build = Build { plan, dockerfile, options, parts, adding, renamed };
        build.add(target, definition)?;
        Ok(build)
    }

    /// Takes in what the builder makes of a stage.
    pub(super) fn add(&self, stage: StageId, definition: Definition) -> Result<(), EngineError> {
        let mapping = mapping::map(&self.plan, stage, &definition);
        let mapping = mapping.map_err(|error| EngineError::new(error.to_string()))?;
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.push((Arc::new(definition), mapping));
        Ok(())
    }

    /// Gives all vertices other names, so that a builder runs again what has failed.
    pub(super) fn rename(&self) {
        let number = self.renamed.fetch_add(1, Ordering::Relaxed) + 1;
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        for (definition, mapping) in parts.iter_mut() {
            let (renamed, names) = definition.renamed(number);
            *mapping = mapping.renamed(&names);
            *definition = Arc::new(renamed);
        }
    }

    /// Makes its definitions such that directories are asked of this session; says whether they were others.
    pub(super) fn move_to(&self, session: &str) -> bool {
        let mut moved = false;
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        for (definition, mapping) in parts.iter_mut() {
            if let Some((within, names)) = definition.within(session) {
                *mapping = mapping.renamed(&names);
                *definition = Arc::new(within);
                moved = true;
            }
        }
        moved
    }

    pub(super) fn place(&self, step: StepId) -> Option<Place> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().find_map(|(definition, mapping)| {
            let edge = mapping.after(step)?.clone();
            let own = match &edge {
                Some(edge) => definition.own(&edge.vertex, |it| it != edge.vertex && mapping.is_step(it)),
                None => Vec::new(),
            };
            Some(Place { definition: definition.clone(), edge, own })
        })
    }
}
