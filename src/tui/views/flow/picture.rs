//! What flows into an image, in numbers and words: from bases, contexts and stages to the image's instructions, or,
//! where nobody knows how it was built, from its layers to its directories.

use crate::debug::trace::contribution::largest;
use crate::image::base::Base as ImageBase;
use crate::image::inventory::Inventory;
use crate::layers::waste::Waste;
use crate::layers::{FileTree, Kind, Meta, NodeId};
use crate::plan::{Base, FileOrigin, Op, Plan, Step, StepId};
use crate::tui::explore::image::{instruction_of, one_line};
use crate::tui::theme::Look;
use crate::tui::views::origins::{self, Traced};
use bstr::{BString, ByteSlice};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is drawn, and what the files in it are asked of.
#[derive(Debug, Clone)]
pub struct Picture {
    pub origins: Vec<Origin>,
    pub arrivals: Vec<Arrival>,
    /// Bytes of the image's file system.
    pub total: u64,
    source: Source,
}

/// Where bytes come into the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Not safe to print, as all words here.
    pub name: String,
    /// What it is, after its name: `base image`; may be empty.
    pub what: &'static str,
    /// Its instructions or layers.
    pub parts: Vec<Part>,
    /// The parts are the same bytes: several stages begin with one image.
    pub once: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub name: String,
    /// The instruction, in full.
    pub words: String,
    /// Content bytes that it wrote or brought.
    pub built: u64,
    /// Those of them that are in the image, by the index of the arrival.
    pub ships: BTreeMap<usize, u64>,
    pub key: Key,
}

/// Where bytes come to in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    pub name: String,
    pub words: String,
    pub bytes: u64,
}

/// What a part stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Step(StepId),
    Layer(u32),
}

#[derive(Debug, Clone)]
enum Source {
    /// With the index of the arrival of each instruction.
    Build(Arc<Traced>, BTreeMap<StepId, usize>),
    /// With the index of the arrival of each name at the top.
    Image(FileTree, BTreeMap<NodeId, usize>),
}

impl Origin {
    pub fn built(&self) -> u64 {
        let built = self.parts.iter().map(|part| part.built);
        if !self.once {
            return built.fold(0, u64::saturating_add);
        }
        let ships = self.ships().values().copied().fold(0, u64::saturating_add);
        built.max().unwrap_or(0).max(ships)
    }

    pub fn ships(&self) -> BTreeMap<usize, u64> {
        merged(self.parts.iter().flat_map(|part| &part.ships).map(|(arrival, bytes)| (*arrival, *bytes)))
    }
}

/// Bytes by arrival, summed up.
pub fn merged(ships: impl Iterator<Item = (usize, u64)>) -> BTreeMap<usize, u64> {
    let mut sum: BTreeMap<usize, u64> = BTreeMap::new();
    for (arrival, bytes) in ships {
        let slot = sum.entry(arrival).or_default();
        *slot = slot.saturating_add(bytes);
    }
    sum
}

/// Where an instruction's bytes come into the build; `None` for those that only pass bytes on.
fn origin_of(plan: &Plan, step: &Step) -> Option<(String, &'static str)> {
    let stage = || (plan.stage(step.id.stage).label(), "stage");
    let context = |name: &Option<String>| match name {
        Some(name) => (format!("context {name}"), ""),
        None => ("build context".to_owned(), ""),
    };
    match (&step.op, step.inputs.first()) {
        (Op::From(Base::Image(image)), _) => Some((image.clone(), "base image")),
        (Op::From(_), _) => None,
        (Op::Copy(_), Some(FileOrigin::Context { name })) => Some(context(name)),
        (Op::Copy(_), Some(FileOrigin::Image(image))) => Some((image.clone(), "image")),
        (Op::Copy(_), Some(FileOrigin::Stage(_))) => None,
        _ => Some(stage()),
    }
}

impl Picture {
    /// Of a finished build whose files have been followed.
    pub fn of_build(traced: &Arc<Traced>) -> Picture {
        let (plan, contribution) = (&traced.facts.plan, &traced.contribution);
        let mut bytes: BTreeMap<StepId, u64> = BTreeMap::new();
        for ((_, by), stream) in &contribution.streams {
            let slot = bytes.entry(*by).or_default();
            *slot = slot.saturating_add(*stream);
        }
        bytes.retain(|_, bytes| *bytes > 0);
        let index: BTreeMap<StepId, usize> = bytes.keys().enumerate().map(|(at, step)| (*step, at)).collect();
        let arrival = |(id, bytes): (&StepId, &u64)| {
            let step = plan.step(*id);
            let words = one_line(&step.text);
            Arrival { name: words.clone(), words: format!("line {}: {words}", step.lines.start), bytes: *bytes }
        };
        let arrivals = bytes.iter().map(arrival).collect();
        let mut origins: Vec<Origin> = Vec::new();
        for step in contribution.stages.iter().flat_map(|stage| &stage.steps) {
            let at = plan.step(step.step);
            let ships = contribution.streams.iter().filter(|((from, _), _)| *from == step.step);
            let ships = ships.filter_map(|((_, by), bytes)| Some((*index.get(by)?, *bytes)));
            let ships: BTreeMap<usize, u64> = ships.filter(|(_, bytes)| *bytes > 0).collect();
            let shipped = ships.values().copied().fold(0, u64::saturating_add);
            let (name, what, built) = match origin_of(plan, at) {
                Some((name, what)) => (name, what, step.built.max(shipped)),
                // What could not be followed any further.
                None if shipped > 0 => (plan.stage(step.step.stage).label(), "stage", shipped),
                None => continue,
            };
            if built == 0 {
                continue;
            }
            let words = one_line(&at.text);
            let part = Part {
                name: format!("line {}", at.lines.start),
                words: format!("line {}: {words}", at.lines.start),
                built,
                ships,
                key: Key::Step(step.step),
            };
            match origins.iter_mut().find(|it| it.name == name && it.what == what) {
                Some(origin) => origin.parts.push(part),
                None => origins.push(Origin { name, what, parts: vec![part], once: what == "base image" }),
            }
        }
        let source = Source::Build(traced.clone(), index);
        Picture { origins, arrivals, total: contribution.total, source }
    }

    /// Of an image of which only the layers are known, and perhaps what it stands on.
    pub fn of_image(inventory: &Inventory, waste: &Waste, base: Option<&ImageBase>) -> Picture {
        let tree = inventory.tree.clone();
        let mut tops: BTreeMap<NodeId, usize> = BTreeMap::new();
        let mut arrivals: Vec<Arrival> = Vec::new();
        let mut shipped: Vec<BTreeMap<usize, u64>> = vec![BTreeMap::new(); tree.height() as usize];
        for top in tree.children(FileTree::ROOT) {
            let bytes = tree.bytes(top);
            if bytes == 0 {
                continue;
            }
            let at = arrivals.len();
            tops.insert(top, at);
            let slash = if tree.meta(top).kind == Kind::Directory { "/" } else { "" };
            let name = format!("/{}{slash}", tree.name(top).to_str_lossy());
            arrivals.push(Arrival { words: name.clone(), name, bytes });
            for node in files_below(&tree, top) {
                let Some(ships) = shipped.get_mut(tree.layer(node) as usize) else { continue };
                let slot: &mut u64 = ships.entry(at).or_default();
                *slot = slot.saturating_add(tree.meta(node).bytes());
            }
        }
        let below = base.map_or(0, |base| base.layers);
        let mut origins: Vec<Origin> = Vec::new();
        for (layer, mut ships) in shipped.into_iter().enumerate() {
            ships.retain(|_, bytes| *bytes > 0);
            let facts = inventory.layers.get(layer);
            let instruction = facts.and_then(|facts| facts.instruction.as_ref());
            let words = instruction_of(facts);
            let live = ships.values().copied().fold(0, u64::saturating_add);
            let built = waste.layers.get(layer).map_or(0, |it| it.bytes).max(live);
            if built == 0 {
                continue;
            }
            let (name, what) = match (layer < below, instruction) {
                (true, _) => (base.map(|base| base.name.clone()).unwrap_or_default(), "base image"),
                (false, Some(_)) => (words.clone(), ""),
                (false, None) => ("unattributed".to_owned(), "layers"),
            };
            let part = Part {
                name: format!("layer {layer}"),
                words: format!("layer {layer}: {words}"),
                built,
                ships,
                key: Key::Layer(layer as u32),
            };
            match origins.last_mut().filter(|it| !what.is_empty() && it.name == name && it.what == what) {
                Some(origin) => origin.parts.push(part),
                None => origins.push(Origin { name, what, parts: vec![part], once: false }),
            }
        }
        let total = tree.bytes(FileTree::ROOT);
        Picture { origins, arrivals, total, source: Source::Image(tree, tops) }
    }

    /// Whether it is known how the image was built.
    pub fn is_of_build(&self) -> bool {
        matches!(self.source, Source::Build(..))
    }

    /// The largest files of the image that come from some of the parts, or that came to some of the arrivals; and how
    /// many more there are.
    pub fn files(&self, wanted: &Wanted, most: usize) -> (Vec<(BString, u64)>, usize) {
        match &self.source {
            Source::Build(traced, index) => traced.contribution.largest(most, |from, by| match wanted {
                Wanted::From(keys) => keys.contains(&Key::Step(from)),
                Wanted::At(arrivals) => index.get(&by).is_some_and(|at| arrivals.contains(at)),
            }),
            Source::Image(tree, tops) => {
                let mut nodes = Vec::new();
                for (top, at) in tops {
                    nodes.extend(files_below(tree, *top).filter(|node| match wanted {
                        Wanted::From(keys) => keys.contains(&Key::Layer(tree.layer(*node))),
                        Wanted::At(arrivals) => arrivals.contains(at),
                    }));
                }
                largest(tree, nodes, most)
            }
        }
    }

    pub fn meta(&self, path: &BString) -> Option<Meta> {
        match &self.source {
            Source::Build(traced, _) => traced.contribution.meta(path),
            Source::Image(tree, _) => tree.lookup(path.as_ref()).map(|id| tree.meta(id).to_meta()),
        }
    }

    /// Where a file comes from, in words.
    pub fn way(&self, look: &Look, path: &BString) -> String {
        match &self.source {
            Source::Build(traced, _) => {
                let chain = traced.chain(path.as_bstr());
                chain.map(|chain| origins::way(look, &traced.facts.plan, &chain)).unwrap_or_default()
            }
            Source::Image(tree, _) => {
                let layer = tree.lookup(path.as_ref()).map(|id| tree.layer(id));
                let parts = self.origins.iter().flat_map(|origin| &origin.parts);
                let part = layer.and_then(|layer| parts.into_iter().find(|part| part.key == Key::Layer(layer)));
                part.map(|part| part.words.clone()).unwrap_or_default()
            }
        }
    }
}

/// Which files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    From(Vec<Key>),
    At(Vec<usize>),
}

/// Regular files, an inode of several names once.
fn files_below(tree: &FileTree, top: NodeId) -> impl Iterator<Item = NodeId> + '_ {
    let counts = |id: &NodeId| tree.meta(*id).kind == Kind::File && !tree.counts_elsewhere(*id);
    tree.walk(top).into_iter().filter(counts)
}
