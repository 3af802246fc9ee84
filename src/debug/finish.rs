//! The finished image's configuration.

use super::build::Build;
use super::session::Built;
use crate::engine::EngineError;
use crate::image::config::{History, ImageConfig};
use crate::plan::{Base, Plan, StageId};
use std::collections::BTreeMap;

/// The target, if it is built.
pub(super) fn image(build: &Build, created: Option<&str>) -> Result<Built, EngineError> {
    let branch = build.branch();
    let target = branch.plan.target;
    let config = config(&branch.plan, &branch.basis.bases, target, created);
    match (branch.is_finished(target), branch.end_of(target)) {
        (true, Some(snapshot)) => {
            Ok(Built { at: snapshot.clone(), config, plan: branch.plan.clone(), options: branch.basis.options.clone() })
        }
        _ => {
            Err(EngineError::new(format!("the target, stage {}, is not built yet", branch.plan.stage(target).label()))
                .with_help("continue to the end first"))
        }
    }
}

/// The configuration of a stage's image as it is after the stage's last instruction, with its history: the
/// base image's, then an entry for each instruction since. `rootfs` and the times are for who has the layers; `created`,
/// RFC 3339, is one for all new entries.
pub fn config(
    plan: &Plan,
    bases: &BTreeMap<String, ImageConfig>,
    stage: StageId,
    created: Option<&str>,
) -> ImageConfig {
    let chain = chain(plan, stage);
    let mut config = plan.stage(stage).steps.last().map(|step| step.state.image.clone()).unwrap_or_default();
    let root = chain.last().map(|id| &plan.stage(*id).base);
    config.history = match root {
        Some(Base::Image(name)) => bases.get(name).map(base_history).unwrap_or_default(),
        _ => Vec::new(),
    };
    let steps = chain.iter().rev().flat_map(|id| &plan.stage(*id).steps);
    let own = steps.filter(|step| step.layer || !step.history.is_empty()).map(|step| History {
        created: created.map(str::to_owned),
        created_by: step.history.clone(),
        author: String::new(),
        comment: "stagedive".to_owned(),
        empty_layer: !step.layer,
    });
    config.history.extend(own);
    config
}

/// The stage, the stage it begins with, and so on to the one that begins with an image or with nothing.
fn chain(plan: &Plan, stage: StageId) -> Vec<StageId> {
    let mut chain = vec![stage];
    let mut at = stage;
    while let Base::Stage(base) = plan.stage(at).base {
        // A plan has no cycles; a broken one must not keep us here.
        if chain.contains(&base) {
            break;
        }
        chain.push(base);
        at = base;
    }
    chain
}

/// As many entries with a layer as the base has layers, whatever it says of itself: images are about whose
/// history is missing or wrong, and Docker refuses to show one that does not fit.
fn base_history(base: &ImageConfig) -> Vec<History> {
    let mut history = base.history.clone();
    let layers = base.rootfs.diff_ids.len();
    let mut told = history.iter().filter(|entry| !entry.empty_layer).count();
    for entry in history.iter_mut().filter(|entry| !entry.empty_layer) {
        if told <= layers {
            break;
        }
        entry.empty_layer = true;
        told -= 1;
    }
    history.extend((told..layers).map(|_| History { created: base.created.clone(), ..History::default() }));
    history
}
