//! How much of a stage's final file system each instruction wrote.

use super::{Chain, End, Facts};
use crate::layers::{FileTree, Kind, Meta, NodeId};
use crate::plan::{Base, Op, StageId, StepId};
use bstr::BString;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The final file system's content bytes, each counted for one instruction. An inode of several names counts once.
#[derive(Debug, Clone)]
pub struct Contribution {
    /// Whose file system it is.
    pub target: StageId,
    /// All of its content bytes: the sum over the stages, and over the instructions.
    pub total: u64,
    /// Those that ran, in the Dockerfile's order.
    pub stages: Vec<StageShare>,
    /// Bytes of the final file system that went from one stage into another, by COPY.
    pub flows: BTreeMap<(StageId, StageId), u64>,
    /// The same bytes by the instruction that they count for, and by the one of the target, or of a stage that it
    /// begins with, that put them where they are.
    pub streams: BTreeMap<(StepId, StepId), u64>,
    tree: Arc<FileTree>,
    files: Vec<Counted>,
}

/// A regular file of the final file system.
#[derive(Debug, Clone, Copy)]
struct Counted {
    node: NodeId,
    /// The instruction that it counts for.
    from: StepId,
    /// The one that put it where it is.
    by: StepId,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageShare {
    pub stage: StageId,
    /// Content bytes that its instructions wrote, also what they wrote over later.
    pub built: u64,
    /// Content bytes of the image that it begins with.
    pub base: u64,
    /// Bytes of the final file system that its instructions brought into the build.
    pub shipped: u64,
    /// One for each instruction that ran.
    pub steps: Vec<StepShare>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepShare {
    pub step: StepId,
    /// Content bytes that it wrote; of `FROM`, those of its image.
    pub built: u64,
    pub shipped: u64,
    /// Files of the final file system that it brought into the build.
    pub files: usize,
}

impl Contribution {
    /// Follows every file of a stage. `None` if the stage has not run.
    pub fn of(facts: &Facts, target: StageId) -> Option<Contribution> {
        let tree = facts.stage(target)?.tree.clone();
        let mut shares: BTreeMap<StepId, (u64, usize)> = BTreeMap::new();
        let mut flows = BTreeMap::new();
        let mut streams = BTreeMap::new();
        let mut files = Vec::new();
        let regular = |id: &NodeId| tree.meta(*id).kind == Kind::File && !tree.counts_elsewhere(*id);
        for node in tree.walk(FileTree::ROOT).into_iter().filter(regular) {
            let chain = facts.chain_of(target, node);
            // What cannot be followed counts for the instruction that put it here.
            let put = || put_by(facts, target, &tree, node);
            let Some(step) = chain.as_ref().and_then(Chain::step).or_else(put) else { continue };
            let by = chain.as_ref().and_then(Chain::arrival).unwrap_or(step);
            let bytes = tree.meta(node).bytes();
            let share = shares.entry(step).or_default();
            *share = (share.0.saturating_add(bytes), share.1 + 1);
            let stream: &mut u64 = streams.entry((step, by)).or_default();
            *stream = stream.saturating_add(bytes);
            files.push(Counted { node, from: step, by });
            for hops in chain.iter().flat_map(|chain| chain.hops.windows(2)) {
                let (to, from) = (hops[0].step.stage, hops[1].step.stage);
                if from != to {
                    let flow: &mut u64 = flows.entry((from, to)).or_default();
                    *flow = flow.saturating_add(bytes);
                }
            }
        }
        let stages = facts.plan.stages.iter().filter_map(|stage| share(facts, stage.id, &shares)).collect();
        Some(Contribution { target, total: tree.bytes(FileTree::ROOT), stages, flows, streams, tree, files })
    }

    /// The files that count for an instruction, the largest first, with their bytes.
    pub fn files(&self, step: StepId) -> Vec<(BString, u64)> {
        self.largest(usize::MAX, |from, _| from == step).0
    }

    /// The largest files of those that `wanted` says, by the instruction that each counts for and by the one that put
    /// it where it is; and how many more there are.
    pub fn largest(&self, most: usize, wanted: impl Fn(StepId, StepId) -> bool) -> (Vec<(BString, u64)>, usize) {
        let own = self.files.iter().filter(|file| wanted(file.from, file.by)).map(|file| file.node);
        largest(&self.tree, own.collect(), most)
    }

    /// What the final file system says of a path.
    pub fn meta(&self, path: &BString) -> Option<Meta> {
        self.tree.lookup(path.as_ref()).map(|id| self.tree.meta(id).to_meta())
    }

    pub fn stage(&self, stage: StageId) -> Option<&StageShare> {
        self.stages.iter().find(|share| share.stage == stage)
    }

    pub fn step(&self, step: StepId) -> Option<&StepShare> {
        self.stage(step.stage)?.steps.get(step.index as usize)
    }

    /// A part of the final file system in percent; of an empty one everything is nothing.
    pub fn percent(&self, bytes: u64) -> f64 {
        if self.total == 0 { 0.0 } else { bytes as f64 * 100.0 / self.total as f64 }
    }
}

/// The largest of some files, with their bytes; and how many more there are.
pub fn largest(tree: &FileTree, nodes: Vec<NodeId>, most: usize) -> (Vec<(BString, u64)>, usize) {
    let mut files: Vec<(u64, NodeId)> = nodes.into_iter().map(|node| (tree.meta(node).bytes(), node)).collect();
    let more = files.len().saturating_sub(most);
    // Of a million the largest are found without putting all in order.
    if more > 0 && most > 0 {
        files.select_nth_unstable_by_key(most - 1, |(bytes, node)| (std::cmp::Reverse(*bytes), *node));
    }
    files.truncate(most);
    let mut files: Vec<(BString, u64)> = files.into_iter().map(|(bytes, node)| (tree.path(node), bytes)).collect();
    files.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    (files, more)
}

fn put_by(facts: &Facts, stage: StageId, tree: &FileTree, node: NodeId) -> Option<StepId> {
    let index = facts.stage(stage)?.step_of(tree.layer(node))?;
    Some(StepId { stage, index })
}

fn share(facts: &Facts, stage: StageId, shares: &BTreeMap<StepId, (u64, usize)>) -> Option<StageShare> {
    let known = facts.stage(stage)?;
    // The layers of a stage that it begins with are that stage's.
    let first = facts.plan.stage(stage).steps.first();
    let inherited = first.is_some_and(|step| matches!(step.op, Op::From(Base::Stage(_))));
    let mut below = if inherited { known.heights.first().copied().unwrap_or(0) as usize } else { 0 };
    let steps = known.heights.iter().enumerate().map(|(index, height)| {
        let step = StepId { stage, index: index as u32 };
        let layers = known.layer_bytes.get(below..*height as usize).unwrap_or_default();
        below = *height as usize;
        let (shipped, files) = shares.get(&step).copied().unwrap_or_default();
        StepShare { step, built: layers.iter().fold(0, |sum, bytes| sum.saturating_add(*bytes)), shipped, files }
    });
    let steps: Vec<StepShare> = steps.collect();
    let sum =
        |bytes: fn(&StepShare) -> u64, from: usize| steps.iter().skip(from).map(bytes).fold(0, u64::saturating_add);
    Some(StageShare {
        stage,
        built: sum(|it| it.built, 1),
        base: steps.first().map_or(0, |it| it.built),
        shipped: sum(|it| it.shipped, 0),
        steps,
    })
}

impl End {
    /// Where the way ends, in words: `context src/main.go`, `busybox:1.37 bin/sh`; empty if an instruction made it.
    pub fn words(&self) -> String {
        match self {
            End::Written => String::new(),
            End::Context { name, path } => {
                let context = name.as_ref().map_or("context".to_owned(), |name| format!("context {name}"));
                path.as_ref().map_or(context.clone(), |path| format!("{context} {path}"))
            }
            End::Image { image, path, instruction, .. } => match instruction {
                Some(instruction) => format!("{image} /{path}, by {instruction}"),
                None => format!("{image} /{path}"),
            },
            End::Archive(archive) => format!("archive {archive}"),
            End::Inline(name) => format!("heredoc {name}"),
            End::Url(address) | End::Git(address) => address.clone(),
        }
    }
}
