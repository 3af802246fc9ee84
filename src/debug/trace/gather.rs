//! Asks an engine for what following files takes.

use super::{Facts, StageFacts};
use crate::engine::{Engine, EngineError, Output};
use crate::image::config::ImageConfig;
use crate::image::history;
use crate::plan::{Base, FileOrigin, Op, Plan, StageId, StepId};
use crate::snapshot::SnapshotId;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Gathers the trees of every stage as far as it has run, and of what they copy from. `snapshots` has the file system
/// after each step that is done. A context or an image that cannot be read any more is left out: ways that lead there
/// end without a path.
pub async fn gather(
    engine: &dyn Engine,
    plan: Arc<Plan>,
    snapshots: &BTreeMap<StepId, SnapshotId>,
) -> Result<Facts, EngineError> {
    let mut stages = BTreeMap::new();
    let (mut sources, mut histories) = (HashMap::new(), HashMap::new());
    for id in &plan.order {
        let Some(facts) = stage(engine, &plan, *id, snapshots).await? else { continue };
        for step in plan.stage(*id).steps.iter().take(facts.heights.len()) {
            if let Op::From(Base::Image(image)) = &step.op
                && let Some(config) = config(engine, image).await
            {
                histories.insert(image.clone(), history::of_layers(&config));
            }
            if let (Op::Copy(_), Some(origin)) = (&step.op, step.inputs.first())
                && !matches!(origin, FileOrigin::Stage(_))
                && !sources.contains_key(origin)
                && let Ok(tree) = engine.origin(origin).await
            {
                sources.insert(origin.clone(), tree);
            }
        }
        stages.insert(*id, facts);
    }
    // The copies of every stage are worked out here, which may take a while.
    let made = tokio::task::spawn_blocking(move || Facts::new(plan, stages, &sources, histories)).await;
    made.map_err(|error| EngineError::new(error.to_string()))
}

/// A base image was looked up for the plan already, so this asks nobody outside.
async fn config(engine: &dyn Engine, image: &str) -> Option<ImageConfig> {
    let (sender, mut told) = mpsc::channel(16);
    let output = Output(sender);
    let resolve = async move { engine.resolve(image, &output).await };
    let quiet = async move { while told.recv().await.is_some() {} };
    Some(tokio::join!(resolve, quiet).0.ok()?.config)
}

async fn stage(
    engine: &dyn Engine,
    plan: &Plan,
    id: StageId,
    snapshots: &BTreeMap<StepId, SnapshotId>,
) -> Result<Option<StageFacts>, EngineError> {
    let mut heights = Vec::new();
    let mut last: Option<&SnapshotId> = None;
    for step in &plan.stage(id).steps {
        let Some(snapshot) = snapshots.get(&step.id) else { break };
        let height = match heights.last() {
            Some(height) if last == Some(snapshot) => *height,
            _ => engine.layers(snapshot).await?.len() as u32,
        };
        heights.push(height);
        last = Some(snapshot);
    }
    let Some(last) = last else { return Ok(None) };
    let layers = engine.layers(last).await?;
    let tree = engine.tree(last).await?;
    let layer_bytes = layers.iter().map(|layer| layer.bytes()).collect();
    Ok(Some(StageFacts { tree, heights, layer_bytes }))
}
