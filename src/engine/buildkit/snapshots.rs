//! Snapshots: which vertex made each, where the builder holds it, and what it changed.

use super::bridge::Bridge;
use super::build::Place;
use super::definition::{Definition, Edge};
use super::engine::BuildKit;
use super::{failed, files};
use crate::engine::{ChangeSummary, EngineError};
use crate::layers::{Changes, FileTree, Index, Layer};
use crate::snapshot::SnapshotId;
use std::sync::{Arc, PoisonError};

pub(super) struct Snapshot {
    made: Made,
    /// What it was made on: its layers lie below.
    parent: Option<SnapshotId>,
    /// Where the builder holds it.
    held: tokio::sync::Mutex<Option<(Arc<Bridge>, String)>>,
    layer: Arc<tokio::sync::OnceCell<Arc<Layer>>>,
    counted: Arc<tokio::sync::OnceCell<ChangeSummary>>,
}

pub(super) enum Made {
    Solved {
        definition: Arc<Definition>,
        edge: Edge,
    },
    /// What a command left that failed; gone with its bridge.
    Failed,
}

/// So many directories are listed sooner than a builder makes a difference of two file systems.
const FEW: usize = 100;

/// The snapshot with nothing in it.
pub(super) const SCRATCH: &str = "scratch";

impl BuildKit {
    pub(super) fn snapshot(&self, id: &SnapshotId) -> Result<Option<Arc<Snapshot>>, EngineError> {
        if id.0 == SCRATCH {
            return Ok(None);
        }
        let snapshots = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        let found = snapshots.get(id).cloned();
        found.map(Some).ok_or_else(|| EngineError::new(format!("there is no snapshot {id}")))
    }

    pub(super) fn keep(&self, id: SnapshotId, mut snapshot: Snapshot) -> SnapshotId {
        let mut snapshots = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        // The same vertex on the same file system: what is known of it still holds.
        if let Some(old) = snapshots.get(&id).filter(|old| old.parent == snapshot.parent) {
            (snapshot.layer, snapshot.counted) = (old.layer.clone(), old.counted.clone());
        }
        snapshots.insert(id.clone(), Arc::new(snapshot));
        id
    }

    /// Where the builder holds a snapshot, and the name of it there; made again from the builder's cache if it has to
    /// be. The name of an empty file system is empty.
    pub(super) async fn held(&self, id: &SnapshotId) -> Result<(Arc<Bridge>, String), EngineError> {
        let Some(snapshot) = self.snapshot(id)? else { return Ok((self.link().await?.bridge.clone(), String::new())) };
        let mut held = snapshot.held.lock().await;
        if let Some((bridge, result)) = held.as_ref().filter(|(bridge, _)| bridge.is_open()) {
            return Ok((bridge.clone(), result.clone()));
        }
        let Made::Solved { definition, edge } = &snapshot.made else {
            return Err(EngineError::new(
                "what the failed instruction left is gone: the connection to the builder was lost",
            )
            .with_help("run the instruction again"));
        };
        let bridge = self.link().await?.bridge.clone();
        let (definition, edges) = within(&bridge, definition, [Some(edge.clone())]);
        let [Some(edge)] = &edges else { return Ok((bridge, String::new())) };
        let result = bridge.run(definition.up_to(edge, false)).await;
        let result =
            result.map_err(|status| bridge.lost("the builder does not have this snapshot any more", &status))?;
        *held = Some((bridge.clone(), result.clone()));
        Ok((bridge, result))
    }

    /// The name under which an edge's result can be mounted.
    pub(super) async fn result(&self, bridge: &Bridge, place: &Place, edge: &Edge) -> Result<String, EngineError> {
        let (definition, edges) = within(bridge, &place.definition, [Some(edge.clone())]);
        let [Some(edge)] = &edges else { return Ok(String::new()) };
        let result = bridge.run(definition.up_to(edge, false)).await;
        result.map_err(|status| bridge.lost("the builder cannot show what is mounted here", &status))
    }

    /// The layers a snapshot is made of: the base as one, then what each step changed.
    pub(super) async fn stack(&self, at: &SnapshotId) -> Result<Vec<Arc<Layer>>, EngineError> {
        let mut chain = Vec::new();
        let mut next = Some(at.clone());
        while let Some(id) = next {
            let Some(snapshot) = self.snapshot(&id)? else { break };
            // A chain cannot be longer than there are snapshots.
            if chain.iter().any(|(seen, _)| *seen == id) {
                break;
            }
            next = snapshot.parent.clone();
            chain.push((id, snapshot));
        }
        let mut layers: Vec<Arc<Layer>> = Vec::new();
        for (id, snapshot) in chain.into_iter().rev() {
            let below = layers.clone();
            let layer = snapshot.layer.get_or_try_init(|| self.layer(&id, &snapshot, below)).await?;
            layers.push(layer.clone());
        }
        Ok(layers)
    }

    /// Where a snapshot is found in a definition, if it is; `None` inside is an empty file system.
    fn edge_in(&self, definition: &Definition, id: &SnapshotId) -> Result<Option<Option<Edge>>, EngineError> {
        let Some(snapshot) = self.snapshot(id)? else { return Ok(Some(None)) };
        Ok(match &snapshot.made {
            Made::Solved { edge, .. } if definition.op(&edge.vertex).is_some() => Some(Some(edge.clone())),
            _ => None,
        })
    }

    async fn layer(
        &self,
        id: &SnapshotId,
        snapshot: &Snapshot,
        below: Vec<Arc<Layer>>,
    ) -> Result<Arc<Layer>, EngineError> {
        let (bridge, result) = self.held(id).await?;
        let merged = tokio::task::spawn_blocking(move || FileTree::merge(&below)).await;
        let below = merged.map_err(|error| EngineError::new(error.to_string()))?;
        if let (Made::Solved { definition, edge }, Some(parent)) = (&snapshot.made, &snapshot.parent)
            && files::directories(&below) > FEW
            && let Some(lower) = self.edge_in(definition, parent)?
            && let (definition, [lower, Some(edge)]) = within(&bridge, definition, [lower, Some(edge.clone())])
            // Not every builder can make a difference; then all is listed.
            && let Ok(difference) = bridge.run(definition.between(lower.as_ref(), &edge)).await
        {
            return files::changed(&bridge, &result, &difference, &below).await.map(Arc::new);
        }
        let listing = match (&snapshot.made, result.is_empty()) {
            (_, true) => files::Listing::new(),
            (Made::Solved { .. }, false) => files::list(&bridge, &result).await?,
            (Made::Failed, false) => failed::list(self, &bridge, &result, &below).await?,
        };
        let made = tokio::task::spawn_blocking(move || files::layer(&below, &listing)).await;
        made.map(Arc::new).map_err(|error| EngineError::new(error.to_string()))
    }

    /// What its step changed. A base's files are all new.
    pub(super) async fn count(&self, at: &SnapshotId) -> Result<ChangeSummary, EngineError> {
        let Some(snapshot) = self.snapshot(at)? else { return Ok(ChangeSummary::default()) };
        let count = async {
            let mut layers = self.stack(at).await?;
            let Some(own) = layers.pop() else { return Ok(ChangeSummary::default()) };
            let counted = tokio::task::spawn_blocking(move || {
                let below: Vec<Arc<Index>> = layers.into_iter().map(|layer| Arc::new(Index::new(layer))).collect();
                let Changes { added, modified, removed } = crate::layers::changes(&below, &own);
                ChangeSummary { added, modified, removed, bytes: own.bytes() }
            });
            counted.await.map_err(|error| EngineError::new(error.to_string()))
        };
        snapshot.counted.get_or_try_init(|| count).await.copied()
    }
}

impl Snapshot {
    pub(super) fn new(made: Made, parent: Option<SnapshotId>, held: Option<(Arc<Bridge>, String)>) -> Snapshot {
        Snapshot { made, parent, held: tokio::sync::Mutex::new(held), layer: Arc::default(), counted: Arc::default() }
    }

    pub(super) fn parent(&self) -> Option<&SnapshotId> {
        self.parent.as_ref()
    }

    pub(super) fn is_failed(&self) -> bool {
        matches!(self.made, Made::Failed)
    }
}

/// A definition as it can be solved in a bridge, and what edges of it are called there.
fn within<const N: usize>(
    bridge: &Bridge,
    definition: &Arc<Definition>,
    edges: [Option<Edge>; N],
) -> (Arc<Definition>, [Option<Edge>; N]) {
    match definition.within(&bridge.session.id) {
        Some((definition, names)) => (Arc::new(definition), edges.map(|edge| edge.map(|edge| edge.renamed(&names)))),
        None => (definition.clone(), edges),
    }
}
