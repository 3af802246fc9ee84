//! Which vertex of a definition makes which step of a plan. Pure.
//!
//! A stage is followed from its end to its beginning, in plan and graph at once: each step that makes a layer is one
//! vertex, the file system that it works on is the one before. So steps that look alike, on one line or on many,
//! cannot be taken for each other. Where a frontend made its graph another way, places in the Dockerfile are asked.

use super::definition::{Definition, Edge};
use crate::plan::{Base, FileOrigin, MountKind, Op, Plan, StageId, Step, StepId};
use bollard_buildkit_proto::pb;
use std::collections::HashMap;

/// For each step that the definition has, what is there after it; `None` is an empty file system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mapping {
    steps: HashMap<StepId, Option<Edge>>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: the builder made no vertex of {text:?}")]
pub(super) struct MappingError {
    line: u32,
    text: String,
}

impl Mapping {
    /// `None` if the definition does not hold the step's stage.
    pub(super) fn after(&self, step: StepId) -> Option<&Option<Edge>> {
        self.steps.get(&step)
    }

    pub(super) fn has_stage(&self, stage: StageId) -> bool {
        self.steps.contains_key(&StepId { stage, index: 0 })
    }

    /// Whether some step's file system is this vertex.
    pub(super) fn is_step(&self, vertex: &str) -> bool {
        self.steps.values().flatten().any(|edge| edge.vertex == vertex)
    }
}

/// Maps `target` and all the stages that its steps read.
pub(super) fn map(plan: &Plan, target: StageId, definition: &Definition) -> Result<Mapping, MappingError> {
    by_structure(plan, target, definition).or_else(|error| by_lines(plan, target, definition).ok_or(error))
}

fn by_structure(plan: &Plan, target: StageId, definition: &Definition) -> Result<Mapping, MappingError> {
    let mut mapping = Mapping::default();
    let mut open = vec![(target, definition.head.clone())];
    while let Some((id, end)) = open.pop() {
        if mapping.has_stage(id) {
            continue;
        }
        let mut at = end;
        for step in plan.stage(id).steps.iter().rev() {
            mapping.steps.insert(step.id, at.clone());
            let vertex = vertex(step, at.as_ref(), definition);
            let vertex = vertex.ok_or_else(|| MappingError { line: step.lines.start, text: step.text.clone() })?;
            if let Op::From(Base::Stage(base)) = &step.op {
                open.push((*base, at.clone()));
            }
            let sources = step.inputs.iter().zip(vertex.inputs);
            open.extend(sources.filter_map(|(origin, edge)| match origin {
                FileOrigin::Stage(stage) => edge.map(|edge| (*stage, edge)),
                _ => None,
            }));
            at = vertex.parent;
        }
    }
    Ok(mapping)
}

/// What a step's vertex works on.
struct Vertex {
    parent: Option<Edge>,
    /// For each of the step's inputs, where it is found; the outer `None` says that it could not be.
    inputs: Vec<Option<Option<Edge>>>,
}

/// `None` if what is there is not what such a step makes.
fn vertex(step: &Step, at: Option<&Edge>, definition: &Definition) -> Option<Vertex> {
    let through = |edge: Option<&Edge>| Vertex { parent: edge.cloned(), inputs: Vec::new() };
    let op = at.and_then(|edge| definition.op(&edge.vertex));
    match (&step.op, op.and_then(|op| op.op.as_ref())) {
        (Op::Config, _) | (Op::From(Base::Stage(_)), _) => Some(through(at)),
        (Op::From(Base::Scratch), None) => Some(through(None)),
        (Op::From(Base::Image(_)), Some(pb::op::Op::Source(_))) => Some(through(None)),
        // A stage that begins with a directory of the command line: it is a source itself.
        (Op::Copy(_), Some(pb::op::Op::Source(_))) => Some(through(None)),
        (Op::Run(run), Some(pb::op::Op::Exec(exec))) => {
            let op = op?;
            let at_path = |path: &str| exec.mounts.iter().find(|it| clean(&it.dest) == clean(path));
            let root = at_path("/")?;
            let input = |index: usize| {
                let mut mounts = run.mounts.iter();
                mounts.find_map(|mount| match &mount.kind {
                    MountKind::Bind { input, .. } | MountKind::Cache { input: Some(input), .. } if *input == index => {
                        at_path(&mount.target).map(|it| Definition::input(op, it.input))
                    }
                    _ => None,
                })
            };
            let inputs = (0..step.inputs.len()).map(input).collect();
            Some(Vertex { parent: Definition::input(op, root.input), inputs })
        }
        (Op::Copy(_), Some(pb::op::Op::File(file))) => file_op(op?, file),
        (Op::Copy(_), Some(pb::op::Op::Merge(merge))) => {
            // COPY --link: what lies below, and the copy made on nothing.
            let op = op?;
            let [below, copied] = merge.inputs.as_slice() else { return None };
            let copied = Definition::input(op, copied.input)?;
            let copied = definition.op(&copied.vertex)?;
            let Some(pb::op::Op::File(file)) = &copied.op else { return None };
            let parent = Definition::input(op, below.input);
            Some(Vertex { parent, inputs: file_op(copied, file)?.inputs })
        }
        (Op::Workdir { .. }, Some(pb::op::Op::File(file))) => file_op(op?, file),
        _ => None,
    }
}

/// The first action's file system is the step's; what the first copy reads from is its input.
fn file_op(op: &pb::Op, file: &pb::FileOp) -> Option<Vertex> {
    let first = file.actions.first()?;
    let from_outside = |index: i64| index < i64::try_from(op.inputs.len()).unwrap_or(i64::MAX);
    let parent = from_outside(first.input).then(|| Definition::input(op, first.input))?;
    let copies = file.actions.iter().filter(|it| matches!(it.action, Some(pb::file_action::Action::Copy(_))));
    let mut sources = copies.map(|it| it.secondary_input).filter(|index| from_outside(*index));
    Some(Vertex { parent, inputs: vec![sources.next().map(|index| Definition::input(op, index))] })
}

fn clean(path: &str) -> String {
    crate::plan::unix_path::clean(path)
}

/// The last vertex on each step's line; steps without one have what the step before has.
fn by_lines(plan: &Plan, target: StageId, definition: &Definition) -> Option<Mapping> {
    let mut mapping = Mapping::default();
    let mut needed = vec![target];
    let mut at = 0;
    while let Some(id) = needed.get(at).copied() {
        let stages = plan.stage(id).steps.iter().flat_map(|step| step.stages().collect::<Vec<_>>());
        let fresh: Vec<StageId> = stages.filter(|stage| !needed.contains(stage)).collect();
        needed.extend(fresh);
        at += 1;
    }
    needed.sort_unstable();
    for id in needed {
        let mut last: Option<Edge> = None;
        for step in &plan.stage(id).steps {
            let found = || {
                let mut vertices = definition.on_line(step.lines.start).into_iter().rev();
                vertices.find(|vertex| fits(step, definition.op(vertex)))
            };
            last = match &step.op {
                Op::Config | Op::From(Base::Scratch) => last,
                Op::From(Base::Stage(stage)) => {
                    let end = plan.stage(*stage).steps.last()?.id;
                    mapping.after(end)?.clone()
                }
                _ => {
                    let vertex = found()?;
                    let output = root_output(definition.op(&vertex)?);
                    Some(Edge { vertex, output })
                }
            };
            mapping.steps.insert(step.id, last.clone());
        }
    }
    Some(mapping)
}

fn fits(step: &Step, op: Option<&pb::Op>) -> bool {
    use pb::op::Op as Made;
    match (&step.op, op.and_then(|op| op.op.as_ref())) {
        (Op::Run(_), Some(Made::Exec(_))) => true,
        (Op::Copy(_), Some(Made::File(_) | Made::Merge(_) | Made::Source(_))) => true,
        (Op::Workdir { .. }, Some(Made::File(_))) => true,
        (Op::From(Base::Image(_)), Some(Made::Source(_))) => true,
        _ => false,
    }
}

fn root_output(op: &pb::Op) -> i64 {
    match &op.op {
        Some(pb::op::Op::Exec(exec)) => {
            exec.mounts.iter().find(|mount| mount.dest == "/").map_or(0, |mount| mount.output)
        }
        _ => 0,
    }
}
