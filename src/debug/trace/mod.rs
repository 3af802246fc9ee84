//! Where the files of a build come from: back through COPY and the stages to the instruction that wrote the bytes, or
//! to a file of the context or a base image.
//!
//! Pure but for [`gather`], which asks an engine for the trees.
//!
//! Invariant: every file of a stage has one chain, and its last hop is the instruction that its bytes count for.

pub mod alike;
pub mod contribution;
pub mod gather;
#[cfg(test)]
pub(crate) mod tests;

pub use alike::{Alike, alike};
pub use contribution::{Contribution, StageShare, StepShare};
pub use gather::gather;

use crate::engine::copied::{Copied, CopyMap};
use crate::image::history::Instruction;
use crate::layers::{FileTree, Kind, MetaRef, NodeId};
use crate::plan::remote::without_secret;
use crate::plan::{Base, FileOrigin, Op, Plan, StageId, Step, StepId};
use bstr::{BStr, BString};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// All that is needed to follow files through a build.
#[derive(Debug, Clone)]
pub struct Facts {
    pub plan: Arc<Plan>,
    stages: BTreeMap<StageId, StageFacts>,
    maps: BTreeMap<StepId, CopyMap>,
    /// The instructions of a base image's layers, bottom first, as far as it says.
    pub histories: HashMap<String, Vec<Option<Instruction>>>,
}

/// What a stage came to.
#[derive(Debug, Clone)]
pub struct StageFacts {
    /// After the last step that ran.
    pub tree: Arc<FileTree>,
    /// How many layers there are after each step that ran, `FROM` first.
    pub heights: Vec<u32>,
    /// Content bytes that each layer writes, bottom first.
    pub layer_bytes: Vec<u64>,
}

impl StageFacts {
    /// The position of the step that made a layer.
    pub fn step_of(&self, layer: u32) -> Option<u32> {
        self.heights.iter().position(|height| *height > layer).map(|at| at as u32)
    }

    fn before(&self, step: u32) -> FileTree {
        let height = step.checked_sub(1).and_then(|it| self.heights.get(it as usize)).copied().unwrap_or(0);
        self.tree.at(height)
    }

    fn after(&self, step: u32) -> FileTree {
        self.tree.at(self.heights.get(step as usize).copied().unwrap_or(0))
    }
}

/// The way of one file, newest hop first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    pub hops: Vec<Hop>,
    pub end: End,
}

impl Chain {
    /// The instruction that its bytes count for: the one that brought them into the build.
    pub fn step(&self) -> Option<StepId> {
        self.hops.last().map(|hop| hop.step)
    }

    /// The instruction that put its content where it is.
    pub fn arrival(&self) -> Option<StepId> {
        self.hops.iter().find(|hop| hop.how != How::Touched).map(|hop| hop.step)
    }
}

/// An instruction on the way, and the file's path in its stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    pub step: StepId,
    pub path: BString,
    pub how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum How {
    /// COPY or ADD brought it here.
    Copied,
    /// The instruction made it.
    Wrote,
    /// Only the mode, the owner or the like; the content is older.
    Touched,
    /// It was in the image that the stage begins with.
    Base,
}

/// Where a chain ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The last hop's instruction made it.
    Written,
    /// A file of a context; without a path where that is not known.
    Context {
        name: Option<String>,
        path: Option<BString>,
    },
    /// An image: that a stage begins with, with the layer and what made it, or that a COPY reads.
    Image {
        image: String,
        path: BString,
        layer: Option<u32>,
        instruction: Option<String>,
    },
    /// Out of an archive: a path in the context, or an address.
    Archive(BString),
    /// A heredoc of the Dockerfile.
    Inline(String),
    Url(String),
    Git(String),
}

impl Facts {
    /// `sources` has the trees of contexts and images that steps copy from.
    pub fn new(
        plan: Arc<Plan>,
        stages: BTreeMap<StageId, StageFacts>,
        sources: &HashMap<FileOrigin, Arc<FileTree>>,
        histories: HashMap<String, Vec<Option<Instruction>>>,
    ) -> Facts {
        let mut maps = BTreeMap::new();
        for (id, facts) in &stages {
            let steps = plan.stages.get(id.0 as usize).map_or(&[][..], |stage| &stage.steps);
            for step in steps.iter().take(facts.heights.len()) {
                let Op::Copy(copy) = &step.op else { continue };
                let source = match step.inputs.first() {
                    Some(FileOrigin::Stage(source)) => stages.get(source).map(|facts| facts.tree.clone()),
                    Some(origin) => sources.get(origin).cloned(),
                    None => None,
                };
                let (before, after) = (facts.before(step.id.index), facts.after(step.id.index));
                maps.insert(step.id, CopyMap::new(copy, source, &before, &after));
            }
        }
        Facts { plan, stages, maps, histories }
    }

    pub fn stage(&self, stage: StageId) -> Option<&StageFacts> {
        self.stages.get(&stage)
    }

    /// The way of a path as a stage ends with it; `None` if nothing is there. Of a directory it is the way of the
    /// directory itself, from the instruction that made it.
    pub fn chain(&self, stage: StageId, path: &BStr) -> Option<Chain> {
        let tree = &self.stages.get(&stage)?.tree;
        self.chain_of(stage, tree.lookup(path)?)
    }

    /// The way of a path as it is after a step.
    pub fn chain_after(&self, step: StepId, path: &BStr) -> Option<Chain> {
        let facts = self.stages.get(&step.stage)?;
        let height = *facts.heights.get(step.index as usize)?;
        let node = facts.tree.at(height).lookup(path)?;
        self.chain_below(step.stage, node, height)
    }

    /// The same for a node of the stage's tree.
    pub fn chain_of(&self, stage: StageId, node: NodeId) -> Option<Chain> {
        self.chain_below(stage, node, u32::MAX)
    }

    /// Of the first stage only the lowest `height` layers count.
    fn chain_below(&self, stage: StageId, node: NodeId, height: u32) -> Option<Chain> {
        let mut hops = Vec::new();
        let (mut stage, mut node, mut height) = (stage, node, height);
        // Stages copy from earlier ones only, so this ends.
        loop {
            let facts = self.stages.get(&stage)?;
            let path = facts.tree.path(node);
            let layer = self.content(stage, &facts.tree.at(height), node, &mut hops)?;
            height = u32::MAX;
            let step = self.plan.step(StepId { stage, index: facts.step_of(layer)? });
            let mut hop = |how: How| hops.push(Hop { step: step.id, path: path.clone(), how });
            let end = match &step.op {
                Op::From(Base::Stage(base)) => {
                    node = self.stages.get(base)?.tree.lookup(path.as_ref())?;
                    stage = *base;
                    continue;
                }
                Op::From(Base::Image(image)) => {
                    hop(How::Base);
                    self.image(image, path, layer)
                }
                Op::Copy(_) => {
                    hop(How::Copied);
                    match self.copied(step, path.as_ref()) {
                        Ok((source, found)) => {
                            (stage, node) = (source, found);
                            continue;
                        }
                        Err(end) => end,
                    }
                }
                Op::From(Base::Scratch) | Op::Run(_) | Op::Workdir { .. } | Op::Config => {
                    hop(How::Wrote);
                    End::Written
                }
            };
            return Some(Chain { hops, end });
        }
    }

    /// The layer that wrote a file's content. What RUN did to the file's properties alone is a hop of its own.
    fn content(&self, stage: StageId, tree: &FileTree, node: NodeId, hops: &mut Vec<Hop>) -> Option<u32> {
        let facts = self.stages.get(&stage)?;
        let mut versions = tree.versions(node);
        let mut at = versions.next()?;
        for older in versions {
            if older.layer == at.layer {
                continue;
            }
            let (Some(before), Some(after)) = (older.meta, at.meta) else { break };
            let step = StepId { stage, index: facts.step_of(at.layer)? };
            // What is older belongs to the stage or the image that this one begins with.
            if step.index == 0 {
                break;
            }
            let directory = before.kind == Kind::Directory && after.kind == Kind::Directory;
            let copies = matches!(self.plan.step(step).op, Op::Copy(_));
            if !directory && (copies || !same_content(before, after)) {
                break;
            }
            if !directory {
                hops.push(Hop { step, path: tree.path(node), how: How::Touched });
            }
            at = older;
        }
        Some(at.layer)
    }

    /// Where COPY or ADD took a path: a stage's, or the end of the way.
    fn copied(&self, step: &Step, path: &BStr) -> Result<(StageId, NodeId), End> {
        let found = self.maps.get(&step.id).and_then(|map| map.source_of(path));
        let from = match found {
            Some(Copied::Path(from)) => Some(from),
            Some(Copied::Archive(archive)) => return Err(End::Archive(archive)),
            Some(Copied::Inline(name)) => return Err(End::Inline(name)),
            Some(Copied::Url(address)) => return Err(End::Url(without_secret(&address))),
            Some(Copied::Git(address)) => return Err(End::Git(without_secret(&address))),
            None => None,
        };
        match (step.inputs.first(), from) {
            (Some(FileOrigin::Stage(stage)), Some(from)) => {
                let node = self.stages.get(stage).and_then(|facts| facts.tree.lookup(from.as_ref()));
                node.map(|node| (*stage, node)).ok_or(End::Written)
            }
            (Some(FileOrigin::Context { name }), path) => Err(End::Context { name: name.clone(), path }),
            (Some(FileOrigin::Image(image)), Some(path)) => {
                Err(End::Image { image: image.clone(), path, layer: None, instruction: None })
            }
            // A directory that the instruction made on the way.
            _ => Err(End::Written),
        }
    }

    fn image(&self, image: &str, path: BString, layer: u32) -> End {
        let history = self.histories.get(image).and_then(|all| all.get(layer as usize));
        let instruction = history.and_then(Option::as_ref).map(|it| it.text.clone());
        End::Image { image: image.to_owned(), path, layer: Some(layer), instruction }
    }
}

/// Whether a file was written again, or only its properties. Where nobody has read the contents, size and time tell.
fn same_content(before: MetaRef<'_>, after: MetaRef<'_>) -> bool {
    let differences = crate::layers::differences(before, after);
    !differences.kind && !differences.content
}
