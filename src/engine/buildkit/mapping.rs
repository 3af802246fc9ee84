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

    /// The same places under the new names of their vertices.
    pub(super) fn renamed(&self, names: &HashMap<String, String>) -> Mapping {
        let rename = |edge: &Option<Edge>| edge.as_ref().map(|edge| edge.renamed(names));
        Mapping { steps: self.steps.iter().map(|(step, edge)| (*step, rename(edge))).collect() }
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
    matches!(
        (&step.op, op.and_then(|op| op.op.as_ref())),
        (Op::Run(_), Some(Made::Exec(_)))
            | (Op::Copy(_), Some(Made::File(_) | Made::Merge(_) | Made::Source(_)))
            | (Op::Workdir { .. }, Some(Made::File(_)))
            | (Op::From(Base::Image(_)), Some(Made::Source(_)))
    )
}

fn root_output(op: &pb::Op) -> i64 {
    match &op.op {
        Some(pb::op::Op::Exec(exec)) => {
            exec.mounts.iter().find(|mount| mount.dest == "/").map_or(0, |mount| mount.output)
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::config::ImageConfig;
    use crate::image::digest::Digest;
    use crate::plan::{Options, lower};
    use prost::Message;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    /// Makes definitions of vertices with names: `NAME = KIND INPUT…`, the last line the result. Kinds: `source`;
    /// `exec PARENT [DEST:INPUT…]`; `file PARENT [SOURCE]`; `merge BELOW COPIED`. `-` is an empty file system.
    fn definition(text: &str) -> (Definition, HashMap<String, String>) {
        let mut names: HashMap<String, String> = HashMap::new();
        let mut def = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (name, rest) = line.split_once(" = ").unwrap();
            let mut words = rest.split(' ');
            let kind = words.next().unwrap();
            let mut inputs = Vec::new();
            let mut input = |word: &str| match word {
                "-" => -1,
                word => {
                    inputs.push(pb::Input { digest: names[word].clone(), index: 0 });
                    inputs.len() as i64 - 1
                }
            };
            let op = match kind {
                "source" => pb::op::Op::Source(pb::SourceOp { identifier: name.to_owned(), ..pb::SourceOp::default() }),
                "exec" => {
                    let mounts = words.map(|word| {
                        let (dest, from) = word.split_once(':').unwrap_or(("/", word));
                        pb::Mount { dest: dest.to_owned(), input: input(from), ..pb::Mount::default() }
                    });
                    let meta = pb::Meta { args: vec![name.to_owned()], ..pb::Meta::default() };
                    let mounts = mounts.collect();
                    pb::op::Op::Exec(pb::ExecOp { meta: Some(meta), mounts, ..pb::ExecOp::default() })
                }
                "file" => {
                    let parent = input(words.next().unwrap());
                    let secondary_input = words.next().map_or(-1, &mut input);
                    let copy = pb::FileActionCopy { dest: name.to_owned(), ..pb::FileActionCopy::default() };
                    let action = Some(pb::file_action::Action::Copy(copy));
                    let action = pb::FileAction { input: parent, secondary_input, output: 0, action };
                    pb::op::Op::File(pb::FileOp { actions: vec![action] })
                }
                "merge" => {
                    let inputs = words.map(|word| pb::MergeInput { input: input(word) });
                    pb::op::Op::Merge(pb::MergeOp { inputs: inputs.collect() })
                }
                kind => panic!("{kind}"),
            };
            let bytes = pb::Op { inputs, op: Some(op), ..pb::Op::default() }.encode_to_vec();
            names.insert(name.to_owned(), Digest::of(&bytes).to_string());
            def.push(bytes);
        }
        if let Some(last) = def.last() {
            let input = pb::Input { digest: Digest::of(last).to_string(), index: 0 };
            def.push(pb::Op { inputs: vec![input], ..pb::Op::default() }.encode_to_vec());
        }
        let raw = pb::Definition { def, ..pb::Definition::default() };
        (Definition::read(raw).unwrap(), names.into_iter().map(|(name, digest)| (digest, name)).collect())
    }

    /// Where each step of the stages that are mapped is found: stages on lines, `-` for an empty file system.
    fn check(dockerfile: &str, graph: &str, expected: &str) {
        let (definition, names) = definition(graph);
        let dockerfile = Arc::new(crate::dockerfile::parse(dockerfile.as_bytes()));
        let bases = BTreeMap::from([("base".to_owned(), ImageConfig::default())]);
        let plan = lower(dockerfile, &Options::default(), &bases).unwrap();
        let shown = match map(&plan, plan.target, &definition) {
            Err(error) => error.to_string(),
            Ok(mapping) => {
                let stages = plan.stages.iter().filter(|stage| mapping.has_stage(stage.id));
                let line = |stage: &crate::plan::Stage| {
                    let places = stage.steps.iter().map(|step| match mapping.after(step.id) {
                        Some(Some(edge)) => names[&edge.vertex].as_str(),
                        Some(None) => "-",
                        None => "?",
                    });
                    places.collect::<Vec<_>>().join(" ")
                };
                stages.map(line).collect::<Vec<_>>().join("\n")
            }
        };
        assert_eq!(shown, expected, "{}", plan.dockerfile.text);
    }

    #[test]
    fn chains() {
        check("FROM base\nRUN a\nENV B=1\nRUN a\n", "s = source\nx = exec s\ny = exec x", "s x x y");
        check("FROM scratch\nLABEL a=b\n", "", "- -");
        check("FROM base\nWORKDIR /a\nWORKDIR /\nWORKDIR b\n", "s = source\nx = file s\ny = file x", "s x x y");
        check("FROM base AS a\nRUN a\nFROM a\nRUN b\n", "s = source\nx = exec s\ny = exec x", "s x\nx y");
    }

    #[test]
    fn stages_that_look_alike_are_told_apart() {
        let dockerfile =
            "FROM base AS a\nRUN x\nFROM base AS b\nRUN x\nRUN y\nFROM base\nCOPY --from=b / /1\nCOPY --from=a / /2\n";
        let graph = "s = source\nx = exec s\ny = exec x\n1 = file s y\n2 = file 1 x";
        check(dockerfile, graph, "s x\ns x y\ns 1 2");
    }

    #[test]
    fn what_mounts_show_is_a_stage_too() {
        let dockerfile = "FROM base AS a\nRUN x\nFROM base AS b\nRUN y\nFROM base\nRUN --mount=type=cache,target=/c --mount=from=b,target=/b/ --mount=from=a,target=/a z\n";
        check(dockerfile, "s = source\nx = exec s\ny = exec s\nz = exec s /c:- /b:y /a:x", "s x\ns y\ns z");
    }

    #[test]
    fn linked_copies() {
        let dockerfile = "FROM base AS a\nRUN x\nFROM base\nCOPY --link --from=a / /\nCOPY --link c /\n";
        let graph = "s = source\nx = exec s\nl = file - x\nm = merge s l\nc = source\nk = file - c\nn = merge m k";
        check(dockerfile, graph, "s x\ns m n");
        check("FROM scratch\nCOPY --link c /\nCOPY d /\n", "c = source\nl = file - c\nd = file l c", "- l d");
    }

    #[test]
    fn other_names_leave_the_graph_as_it_is() {
        let (definition, _) = definition("s = source\nx = exec s\ny = exec x /m:s\nz = file y x");
        let (renamed, names) = definition.renamed(7);
        let head = definition.head.clone().unwrap();
        let new_head = renamed.head.clone().unwrap();
        assert_eq!(names[&head.vertex], new_head.vertex);
        let wanted: std::collections::BTreeSet<String> =
            definition.needs(&head).iter().map(|vertex| names[vertex].clone()).collect();
        assert_eq!(renamed.needs(&new_head), wanted);
        assert_eq!(wanted.len(), 4);
        assert!(wanted.is_disjoint(&definition.needs(&head)));
        for (old, new) in &names {
            let op = |definition: &Definition, vertex: &str| definition.op(vertex).map(|op| op.op.clone());
            assert_eq!(op(&definition, old), op(&renamed, new));
        }
    }

    #[test]
    fn another_graph_is_no_answer() {
        check("FROM base\nRUN a\n", "s = source", "line 2: the builder made no vertex of \"RUN a\"");
        check("FROM base\nCOPY a /\n", "s = source\nx = exec s", "line 2: the builder made no vertex of \"COPY a /\"");
    }
}
