//! A build's definition: the graph of vertices that a frontend makes of a Dockerfile. Pure.
//!
//! Source: BuildKit's `ops.proto`. A vertex is named by the SHA-256 of its encoded bytes, which therefore are kept as
//! they came; the last one stands for the result and does nothing.

use crate::image::digest::Digest;
use bollard_buildkit_proto::pb;
use prost::Message;
use std::collections::{BTreeSet, HashMap};

/// One output of a vertex.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Edge {
    pub(super) vertex: String,
    pub(super) output: i64,
}

impl Edge {
    /// The same output under the vertex' new name.
    pub(super) fn renamed(&self, names: &HashMap<String, String>) -> Edge {
        let vertex = names.get(&self.vertex).unwrap_or(&self.vertex).clone();
        Edge { vertex, output: self.output }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Definition {
    raw: pb::Definition,
    ops: HashMap<String, pb::Op>,
    /// What the whole definition comes to. `None` is an empty file system.
    pub(super) head: Option<Edge>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the builder's definition of the build cannot be read: {0}")]
pub(super) struct DefinitionError(String);

impl Definition {
    pub(super) fn read(mut raw: pb::Definition) -> Result<Definition, DefinitionError> {
        // An entry with nothing in it is written without its value, and read as none by builders, which end on that
        // when its vertex fails: the whole daemon does. Source: `resultProxy.wrapError` in `solver/llbsolver`.
        if let Some(source) = &mut raw.source {
            source.locations.retain(|_, it| !it.locations.is_empty());
        }
        let mut ops = HashMap::new();
        let mut head = None;
        for bytes in &raw.def {
            let op = pb::Op::decode(bytes.as_slice()).map_err(|error| DefinitionError(error.to_string()))?;
            head = op.inputs.first().map(edge);
            ops.insert(Digest::of(bytes).to_string(), op);
        }
        Ok(Definition { raw, ops, head })
    }

    pub(super) fn op(&self, vertex: &str) -> Option<&pb::Op> {
        self.ops.get(vertex)
    }

    /// The input at a place of an operation's list; `None` where it says that there is none (-1).
    pub(super) fn input(op: &pb::Op, index: i64) -> Option<Edge> {
        usize::try_from(index).ok().and_then(|index| op.inputs.get(index)).map(edge)
    }

    /// The same graph up to an edge. Of its vertices only `afresh` is run although the builder may have a result of it.
    pub(super) fn up_to(&self, edge: &Edge, afresh: bool) -> pb::Definition {
        let wanted = self.needs(edge);
        let kept = |bytes: &&Vec<u8>| wanted.contains(&Digest::of(bytes).to_string());
        let mut def: Vec<Vec<u8>> = self.raw.def.iter().filter(kept).cloned().collect();
        let result =
            pb::Op { inputs: vec![pb::Input { digest: edge.vertex.clone(), index: edge.output }], ..pb::Op::default() };
        def.push(result.encode_to_vec());
        let metadata = self.raw.metadata.iter().filter(|(vertex, _)| wanted.contains(*vertex)).map(|(vertex, it)| {
            let ignore_cache = afresh && *vertex == edge.vertex;
            (vertex.clone(), pb::OpMetadata { ignore_cache, ..it.clone() })
        });
        pb::Definition { def, metadata: metadata.collect(), source: self.raw.source.clone() }
    }

    /// The same graph with other names for all of its vertices, and these by the old ones.
    ///
    /// A builder remembers by its name how a vertex ended, a failure too, as long as any build that it was solved in
    /// is open; of a local directory it then does not see that files have changed. What its cache knows is not by
    /// name, so nothing is lost. A field that no builder reads makes the difference, and names have one length.
    pub(super) fn renamed(&self, number: u64) -> (Definition, HashMap<String, String>) {
        self.with(|_, bytes| prost::encoding::uint64::encode(UNREAD_FIELD, &number, bytes))
    }

    /// The session that directories and images of this machine are to be asked of, if there are any.
    fn session(&self) -> Option<&str> {
        self.ops.values().find_map(session_of)
    }

    /// The same graph for another session than the one that it was made in, and the names that its vertices have there.
    /// `None` if it is all the same to it.
    pub(super) fn within(&self, session: &str) -> Option<(Definition, HashMap<String, String>)> {
        // Ids have one length, so that nothing else moves.
        self.session().filter(|old| *old != session && old.len() == session.len())?;
        Some(self.with(|op, bytes| {
            if let Some(old) = session_of(op) {
                replace(bytes, old.as_bytes(), session.as_bytes());
            }
        }))
    }

    /// The same graph with something else in its vertices, and their new names by the old ones.
    fn with(&self, change: impl Fn(&pb::Op, &mut Vec<u8>)) -> (Definition, HashMap<String, String>) {
        let mut names: HashMap<String, String> = HashMap::new();
        let mut raw = pb::Definition::default();
        for bytes in &self.raw.def {
            let old = Digest::of(bytes).to_string();
            let mut bytes = bytes.clone();
            let Some(op) = self.ops.get(&old) else { continue };
            for input in &op.inputs {
                if let Some(name) = names.get(&input.digest) {
                    replace(&mut bytes, input.digest.as_bytes(), name.as_bytes());
                }
            }
            change(op, &mut bytes);
            let name = Digest::of(&bytes).to_string();
            if let Some(metadata) = self.raw.metadata.get(&old) {
                raw.metadata.insert(name.clone(), metadata.clone());
            }
            names.insert(old, name);
            raw.def.push(bytes);
        }
        raw.source = self.raw.source.clone().map(|source| {
            let locations = source.locations.into_iter();
            let locations = locations.map(|(old, it)| (names.get(&old).cloned().unwrap_or(old), it)).collect();
            pb::Source { locations, ..source }
        });
        // What could be read once can be read again.
        (Definition::read(raw).unwrap_or_default(), names)
    }

    /// The graph of what `upper` has changed of `lower`.
    pub(super) fn between(&self, lower: Option<&Edge>, upper: &Edge) -> pb::Definition {
        let mut graph = self.up_to(upper, false);
        graph.def.pop();
        // What lies below is part of what lies above.
        let inputs: Vec<pb::Input> = lower.into_iter().chain([upper]).map(input).collect();
        let (below, above) = if lower.is_some() { (0, 1) } else { (-1, 0) };
        let difference = pb::DiffOp {
            lower: Some(pb::LowerDiffInput { input: below }),
            upper: Some(pb::UpperDiffInput { input: above }),
        };
        let op = pb::Op { inputs, op: Some(pb::op::Op::Diff(difference)), ..pb::Op::default() };
        let bytes = op.encode_to_vec();
        let result = pb::Input { digest: Digest::of(&bytes).to_string(), index: 0 };
        graph.def.push(bytes);
        graph.def.push(pb::Op { inputs: vec![result], ..pb::Op::default() }.encode_to_vec());
        graph
    }

    /// The edge's vertex and all that it is made from.
    pub(super) fn needs(&self, edge: &Edge) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = vec![edge.vertex.clone()];
        while let Some(vertex) = open.pop() {
            if let Some(op) = self.ops.get(&vertex).filter(|_| !found.contains(&vertex)) {
                open.extend(op.inputs.iter().map(|input| input.digest.clone()));
                found.insert(vertex);
            }
        }
        found
    }

    /// The vertex with what was made for it alone: all that it is made from, up to vertices that `is_another`'s.
    pub(super) fn own(&self, vertex: &str, is_another: impl Fn(&str) -> bool) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        let mut open = vec![vertex.to_owned()];
        while let Some(vertex) = open.pop() {
            if let Some(op) = self.ops.get(&vertex).filter(|_| !found.contains(&vertex)) {
                open.extend(op.inputs.iter().map(|it| it.digest.clone()).filter(|it| !is_another(it)));
                found.push(vertex);
            }
        }
        found
    }

    /// Every vertex whose place in the Dockerfile begins on this line, in the definition's order.
    pub(super) fn on_line(&self, line: u32) -> Vec<String> {
        let Some(source) = &self.raw.source else { return Vec::new() };
        let begins = |vertex: &String| {
            let locations = source.locations.get(vertex).into_iter().flat_map(|it| &it.locations);
            let mut starts = locations.flat_map(|it| &it.ranges).filter_map(|range| range.start.as_ref());
            starts.any(|start| i64::from(start.line) == i64::from(line))
        };
        self.raw.def.iter().map(|bytes| Digest::of(bytes).to_string()).filter(begins).collect()
    }
}

/// Of the message of a vertex; far from the numbers that BuildKit gives.
const UNREAD_FIELD: u32 = 47_110;

/// Puts bytes in the place of as many others, wherever they are.
fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) {
    let mut at = 0;
    while let Some(window) = bytes.get(at..at + old.len()) {
        if window == old && old.len() == new.len() {
            bytes[at..at + new.len()].copy_from_slice(new);
        }
        at += 1;
    }
}

fn session_of(op: &pb::Op) -> Option<&str> {
    let Some(pb::op::Op::Source(source)) = &op.op else { return None };
    ["local.session", "oci.session"].into_iter().find_map(|key| source.attrs.get(key)).map(String::as_str)
}

fn input(edge: &Edge) -> pb::Input {
    pb::Input { digest: edge.vertex.clone(), index: edge.output }
}

fn edge(input: &pb::Input) -> Edge {
    Edge { vertex: input.digest.clone(), output: input.index }
}

/// Under this name the builder runs a vertex that must not be taken from the cache.
pub(super) fn uncached_name(vertex: &str) -> String {
    Digest::of(format!("{vertex}-ignorecache").as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a source with an attribute, and of a command on it, in another session.
    fn check(attribute: (&str, &str), session: &str, expected: &[(&str, &str)]) {
        let attrs = [attribute].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let source = pb::op::Op::Source(pb::SourceOp { identifier: "oci-layout://s".to_owned(), attrs });
        let source = pb::Op { op: Some(source), ..pb::Op::default() }.encode_to_vec();
        let base = Edge { vertex: Digest::of(&source).to_string(), output: 0 };
        let command = pb::Op {
            inputs: vec![input(&base)],
            op: Some(pb::op::Op::Exec(pb::ExecOp::default())),
            ..pb::Op::default()
        };
        let command = command.encode_to_vec();
        let head = Edge { vertex: Digest::of(&command).to_string(), output: 0 };
        let result = pb::Op { inputs: vec![input(&head)], ..pb::Op::default() }.encode_to_vec();
        let raw = pb::Definition { def: vec![source, command, result], ..pb::Definition::default() };
        let definition = Definition::read(raw).unwrap();
        let (within, names) = definition.within(session).unwrap_or((definition, HashMap::new()));
        let found = within.needs(&head.renamed(&names));
        assert_eq!(found.len(), 2, "{attribute:?}");
        let attributes = found.iter().filter_map(|vertex| match &within.op(vertex)?.op {
            Some(pb::op::Op::Source(source)) => Some(&source.attrs),
            _ => None,
        });
        let attributes: Vec<(&str, &str)> = attributes.flatten().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(attributes, expected, "{attribute:?}");
    }

    #[test]
    fn sources_of_this_machine_are_asked_of_the_session_that_is_open() {
        check(("local.session", "old"), "new", &[("local.session", "new")]);
        check(("oci.session", "old"), "new", &[("oci.session", "new")]);
        check(("oci.session", "new"), "new", &[("oci.session", "new")]);
        check(("oci.store", "old"), "new", &[("oci.store", "old")]);
    }

    #[test]
    fn no_vertex_is_said_to_be_nowhere() {
        let bytes = pb::Op::default().encode_to_vec();
        let edge = Edge { vertex: Digest::of(&bytes).to_string(), output: 0 };
        let somewhere = pb::Locations { locations: vec![pb::Location::default()] };
        let locations = [(edge.vertex.clone(), pb::Locations::default()), ("other".to_owned(), somewhere)];
        let source = Some(pb::Source { locations: locations.into(), ..pb::Source::default() });
        let raw = pb::Definition { def: vec![bytes], source, ..pb::Definition::default() };
        let sent = Definition::read(raw).unwrap().up_to(&edge, false).source.unwrap();
        assert_eq!(sent.locations.keys().collect::<Vec<_>>(), ["other"]);
    }
}
