//! `stagedive graph`: the stages and what each takes from where, as a picture or for other programs.
//!
//! May import what `cli` may; looks at plans only.
//!
//! Invariant: nothing is run and no image is looked up, so that it answers at once and without a network. What only
//! a base image knows (its `ONBUILD` triggers, its variables) is not in the graph.

mod dot;
mod json;
mod mermaid;
mod text;

use super::args::{GraphArgs, GraphFormat};
use super::exit::Failure;
use super::{plain, print, project};
use crate::dockerfile;
use crate::plan::{self, Copy, CopySource, EdgeKind, FileOrigin, MountKind, Op, Plan, Stage, StageId, Step};
use std::collections::HashMap;
use std::sync::Arc;

pub async fn run(args: GraphArgs) -> Result<(), Failure> {
    let project = project::open(&args.build)?;
    let bytes = (project.read)()
        .map_err(|error| Failure::Dockerfile(format!("stagedive: cannot read {}: {error}", project.name)))?;
    let dockerfile = Arc::new(dockerfile::parse(&bytes));
    let plan = plan::sketch(dockerfile.clone(), &project.options).map_err(|errors| {
        let drawn: Vec<String> =
            errors.iter().map(|error| dockerfile::diagnostic::render(&project.name, &dockerfile.text, error)).collect();
        Failure::Dockerfile(drawn.join("\n"))
    })?;
    let format = if args.json { GraphFormat::Json } else { args.format };
    print::line(plain::printable(render(&plan, format).trim_end()))
}

/// The plan's stage graph in a format.
pub fn render(plan: &Plan, format: GraphFormat) -> String {
    match format {
        GraphFormat::Text => text::render(plan, &Graph::new(plan)),
        GraphFormat::Json => json::render(plan),
        GraphFormat::Dot => dot::render(&Graph::new(plan)),
        GraphFormat::Mermaid => mermaid::render(&Graph::new(plan)),
    }
}

/// Stages and what they are built from, each after all that it takes from.
struct Graph {
    nodes: Vec<Node>,
    arrows: Vec<Arrow>,
}

struct Node {
    /// Unique, letters and digits only.
    id: String,
    label: String,
    kind: NodeKind,
    needed: bool,
    target: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NodeKind {
    Stage(StageId),
    Image,
    /// A directory of the command line.
    Context,
}

/// One read of one node by another, from an earlier to a later place in `nodes`.
struct Arrow {
    from: usize,
    to: usize,
    kind: EdgeKind,
    line: u32,
    /// What is taken, where that is known: `/out/server`.
    what: String,
}

impl Graph {
    fn new(plan: &Plan) -> Graph {
        let mut graph = Graph { nodes: Vec::new(), arrows: Vec::new() };
        let mut places: HashMap<FileOrigin, usize> = HashMap::new();
        for stage in &plan.stages {
            let mut sources = Vec::new();
            for (origin, kind, step) in reads(stage) {
                let what = paths(step, &origin).join(" ");
                let place = match places.get(&origin) {
                    Some(place) => *place,
                    None => {
                        let Some(node) = outside(&origin, graph.nodes.len()) else { continue };
                        places.insert(origin, graph.nodes.len());
                        graph.nodes.push(node);
                        graph.nodes.len() - 1
                    }
                };
                if let Some(node) = graph.nodes.get_mut(place) {
                    node.needed |= stage.needed;
                }
                sources.push((place, kind, step, what));
            }
            let to = graph.nodes.len();
            places.insert(FileOrigin::Stage(stage.id), to);
            graph.nodes.push(Node {
                id: format!("s{}", stage.id.0),
                label: stage.label(),
                kind: NodeKind::Stage(stage.id),
                needed: stage.needed,
                target: stage.id == plan.target,
            });
            graph.arrows.extend(sources.into_iter().map(|(from, kind, step, what)| Arrow {
                from,
                to,
                kind,
                line: step.lines.start,
                what,
            }));
        }
        graph
    }

    /// What a node takes. Arrows stand in the order of where they lead.
    fn into(&self, node: usize) -> impl Iterator<Item = &Arrow> {
        let first = self.arrows.partition_point(|arrow| arrow.to < node);
        self.arrows.iter().skip(first).take_while(move |arrow| arrow.to == node)
    }
}

/// What a stage reads besides the build context: its base first, then the sources of its steps.
fn reads(stage: &Stage) -> Vec<(FileOrigin, EdgeKind, &Step)> {
    let mut out = Vec::new();
    for edge in stage.needs.iter().filter(|edge| edge.kind == EdgeKind::From) {
        out.extend(stage.steps.first().map(|step| (edge.origin.clone(), EdgeKind::From, step)));
    }
    for step in &stage.steps {
        let kind = if matches!(step.op, Op::Run(_)) { EdgeKind::Mount } else { EdgeKind::Copy };
        out.extend(step.inputs.iter().map(|origin| (origin.clone(), kind, step)));
    }
    out
}

/// The node of something that no stage makes; the build context has none, nor has `scratch`.
fn outside(origin: &FileOrigin, place: usize) -> Option<Node> {
    let (kind, label) = match origin {
        FileOrigin::Image(name) => (NodeKind::Image, name.clone()),
        FileOrigin::Context { name: Some(name) } => (NodeKind::Context, name.clone()),
        FileOrigin::Context { name: None } | FileOrigin::Scratch | FileOrigin::Stage(_) => return None,
    };
    Some(Node { id: format!("n{place}"), label, kind, needed: false, target: false })
}

/// The paths that a step takes from one of its inputs, as COPY, ADD and `--mount` name them.
fn paths<'a>(step: &'a Step, origin: &FileOrigin) -> Vec<&'a str> {
    match &step.op {
        Op::Copy(Copy { sources, .. }) => {
            let paths = sources.iter().filter_map(|source| match source {
                CopySource::Path(path) => Some(path.as_str()),
                _ => None,
            });
            paths.collect()
        }
        Op::Run(run) => {
            let mounts = run.mounts.iter().filter_map(|mount| match &mount.kind {
                MountKind::Bind { input, source, .. } => Some((*input, source.as_str())),
                MountKind::Cache { input, source, .. } => input.map(|input| (input, source.as_str())),
                _ => None,
            });
            mounts.filter(|(input, _)| step.inputs.get(*input) == Some(origin)).map(|(_, source)| source).collect()
        }
        _ => Vec::new(),
    }
}

fn kind_name(kind: EdgeKind) -> &'static str {
    match kind {
        EdgeKind::From => "FROM",
        EdgeKind::Copy => "COPY",
        EdgeKind::Mount => "mount",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Options;

    const BUILD: &str = r#"FROM golang:1.23 AS builder
COPY . .
RUN --mount=type=cache,target=/c go build -o /out/server

FROM alpine:3.20 AS docs
COPY --from=builder /src/docs /docs

FROM alpine:3.20 AS final
COPY --from=builder /out/server /usr/bin/
COPY --from=quay.io/x/y:1 ["/a b", "/"]
RUN --mount=from=builder,source=/x,target=/m true
"#;

    #[track_caller]
    fn check(dockerfile: &str, format: GraphFormat, expected: &str) {
        let dockerfile = Arc::new(dockerfile::parse(dockerfile.as_bytes()));
        let options = Options { platform: Some("linux/amd64".to_owned()), ..Options::default() };
        let drawn = render(&plan::sketch(dockerfile, &options).unwrap(), format);
        assert_eq!(drawn.trim_end(), expected.trim_end(), "\n{drawn}");
    }

    #[test]
    fn rails_go_from_sources_to_their_readers() {
        check(
            BUILD,
            GraphFormat::Text,
            r#"final for linux/amd64

○      golang:1.23
●      builder            lines 1–3   FROM golang:1.23
│ ○    alpine:3.20
├─┼─◌  docs (not needed)  lines 5–6   FROM alpine:3.20, COPY builder (line 6)
│ │ ○  quay.io/x/y:1
╰─●─╯  final (target)     lines 8–11  FROM alpine:3.20, COPY builder (line 9), COPY quay.io/x/y:1 (line 10), mount builder (line 11)

● runs   ◌ not needed   ○ from outside
"#,
        );
    }

    #[test]
    fn stages_without_names_have_their_numbers() {
        check(
            "FROM scratch\nCOPY a /\nFROM 0\nFROM scratch\nCOPY --from=0 a b\n",
            GraphFormat::Text,
            r#"2 for linux/amd64

●    0               lines 1–2
│ ○  0 (not needed)
│ ◌  1 (not needed)  line 3     FROM 0
●    2 (target)      lines 4–5  COPY 0 (line 5)

● runs   ◌ not needed   ○ from outside
"#,
        );
    }

    #[test]
    fn graphviz() {
        check(
            BUILD,
            GraphFormat::Dot,
            r#"digraph build {
  node [shape=box, style=rounded];
  n0 [label="golang:1.23", shape=ellipse, style=solid];
  s0 [label="builder"];
  n2 [label="alpine:3.20", shape=ellipse, style=solid];
  s1 [label="docs", style="rounded,dashed"];
  n4 [label="quay.io/x/y:1", shape=ellipse, style=solid];
  s2 [label="final", style="rounded,bold"];
  n0 -> s0 [label="FROM"];
  n2 -> s1 [label="FROM", style=dashed];
  s0 -> s1 [label="COPY /src/docs", style=dashed];
  n2 -> s2 [label="FROM"];
  s0 -> s2 [label="COPY /out/server"];
  n4 -> s2 [label="COPY /a b"];
  s0 -> s2 [label="mount /x"];
}
"#,
        );
    }

    #[test]
    fn mermaid() {
        check(
            BUILD,
            GraphFormat::Mermaid,
            r#"flowchart TD
  n0(["golang:1.23"])
  s0["builder"]
  n2(["alpine:3.20"])
  s1["docs"]
  n4(["quay.io/x/y:1"])
  s2["final"]
  n0 -->|"FROM"| s0
  n2 -.->|"FROM"| s1
  s0 -.->|"COPY /src/docs"| s1
  n2 -->|"FROM"| s2
  s0 -->|"COPY /out/server"| s2
  n4 -->|"COPY /a b"| s2
  s0 -->|"mount /x"| s2
  style s2 stroke-width:3px
  style s1 stroke-dasharray:4
"#,
        );
    }

    #[test]
    fn json() {
        check(
            "FROM scratch AS a\nCOPY x /y\nFROM a\n",
            GraphFormat::Json,
            r#"{
  "diagnostics": [],
  "edges": [
    {
      "kind": "from",
      "line": 1,
      "origin": {
        "kind": "scratch"
      },
      "stage": 0,
      "step": 0
    },
    {
      "kind": "copy",
      "line": 2,
      "origin": {
        "kind": "context"
      },
      "sources": [
        "x"
      ],
      "stage": 0,
      "step": 1
    },
    {
      "kind": "from",
      "line": 3,
      "origin": {
        "kind": "stage",
        "stage": 0
      },
      "stage": 1,
      "step": 0
    }
  ],
  "order": [
    0,
    1
  ],
  "platform": "linux/amd64",
  "stages": [
    {
      "base": {
        "kind": "scratch"
      },
      "index": 0,
      "lines": {
        "end": 2,
        "start": 1
      },
      "name": "a",
      "needed": true,
      "platform": "linux/amd64",
      "steps": [
        {
          "index": 0,
          "keyword": "from",
          "kind": "from",
          "layer": false,
          "lines": {
            "end": 1,
            "start": 1
          },
          "onbuild": false,
          "text": "FROM scratch AS a"
        },
        {
          "index": 1,
          "keyword": "copy",
          "kind": "copy",
          "layer": true,
          "lines": {
            "end": 2,
            "start": 2
          },
          "onbuild": false,
          "text": "COPY x /y"
        }
      ]
    },
    {
      "base": {
        "kind": "stage",
        "stage": 0
      },
      "index": 1,
      "lines": {
        "end": 3,
        "start": 3
      },
      "name": null,
      "needed": true,
      "platform": "linux/amd64",
      "steps": [
        {
          "index": 0,
          "keyword": "from",
          "kind": "from",
          "layer": false,
          "lines": {
            "end": 3,
            "start": 3
          },
          "onbuild": false,
          "text": "FROM a"
        }
      ]
    }
  ],
  "target": 1
}
"#,
        );
    }

    /// A chain of stages of which each also reads the first: every one keeps its rail, and the picture its width.
    #[test]
    fn long_chains_stay_narrow() {
        let stages = (1..200).map(|at| format!("FROM s{} AS s{at}\nCOPY --from=s0 a b\n", at - 1));
        let text = format!("FROM scratch AS s0\n{}", stages.collect::<String>());
        let dockerfile = Arc::new(dockerfile::parse(text.as_bytes()));
        let drawn = render(&plan::sketch(dockerfile, &Options::default()).unwrap(), GraphFormat::Text);
        assert!(
            drawn
                .lines()
                .filter(|line| line.contains("FROM s"))
                .all(|line| line.starts_with('├') || line.starts_with('╰'))
        );
    }
}
