//! The graph as JSON.
//!
//! ```text
//! target     the index of the stage that is built
//! platform   os/architecture[/variant]
//! order      indexes of the stages that run, each after all that it needs
//! stages     [{index, name (null if it has none), needed, platform, lines {start, end},
//!              base {kind: scratch | stage | image, stage, name},
//!              steps [{index, lines {start, end}, keyword, text, kind: from | run | copy | workdir | config,
//!                      onbuild, layer}]}]
//! edges      [{kind: from | copy | mount, origin {kind: stage | image | context | scratch, stage, name},
//!              stage, step, line, sources [path, as COPY, ADD and --mount name them]}]
//! diagnostics  [{severity, code, message, span {start, end}, help}]
//! ```
//!
//! An edge is one read by one step: `stage` and `step` read from `origin`. A context without a name is the build
//! context. Fields that do not apply are absent.

use super::{EdgeKind, FileOrigin, Op, Plan, Stage, Step, paths, reads};
use crate::plan::Base;
use serde_json::{Value, json};

pub(super) fn render(plan: &Plan) -> String {
    let graph = json!({
        "target": plan.target.0,
        "platform": plan.platform,
        "order": plan.order.iter().map(|stage| stage.0).collect::<Vec<_>>(),
        "stages": plan.stages.iter().map(stage).collect::<Vec<_>>(),
        "edges": plan.stages.iter().flat_map(edges).collect::<Vec<_>>(),
        "diagnostics": plan.diagnostics,
    });
    format!("{graph:#}\n")
}

fn stage(stage: &Stage) -> Value {
    let lines = stage
        .steps
        .first()
        .zip(stage.steps.last())
        .map(|(first, last)| json!({"start": first.lines.start, "end": last.lines.end}));
    let base = match &stage.base {
        Base::Scratch => json!({"kind": "scratch"}),
        Base::Stage(id) => json!({"kind": "stage", "stage": id.0}),
        Base::Image(name) => json!({"kind": "image", "name": name}),
    };
    json!({
        "index": stage.id.0,
        "name": stage.name,
        "needed": stage.needed,
        "platform": stage.platform,
        "lines": lines,
        "base": base,
        "steps": stage.steps.iter().map(step).collect::<Vec<_>>(),
    })
}

fn step(step: &Step) -> Value {
    let kind = match step.op {
        Op::From(_) => "from",
        Op::Run(_) => "run",
        Op::Copy(_) => "copy",
        Op::Workdir { .. } => "workdir",
        Op::Config => "config",
    };
    json!({
        "index": step.id.index,
        "lines": step.lines,
        "keyword": step.keyword,
        "text": step.text,
        "kind": kind,
        "onbuild": step.onbuild,
        "layer": step.layer,
    })
}

fn edges(stage: &Stage) -> Vec<Value> {
    let edge = |(origin, kind, step): (FileOrigin, EdgeKind, &Step)| {
        let kind = match kind {
            EdgeKind::From => "from",
            EdgeKind::Copy => "copy",
            EdgeKind::Mount => "mount",
        };
        let mut out = json!({
            "kind": kind,
            "origin": origin_value(&origin),
            "stage": stage.id.0,
            "step": step.id.index,
            "line": step.lines.start,
        });
        let sources = paths(step, &origin);
        if !sources.is_empty() {
            out["sources"] = json!(sources);
        }
        out
    };
    reads(stage).into_iter().map(edge).collect()
}

fn origin_value(origin: &FileOrigin) -> Value {
    match origin {
        FileOrigin::Stage(stage) => json!({"kind": "stage", "stage": stage.0}),
        FileOrigin::Image(name) => json!({"kind": "image", "name": name}),
        FileOrigin::Context { name: Some(name) } => json!({"kind": "context", "name": name}),
        FileOrigin::Context { name: None } => json!({"kind": "context"}),
        FileOrigin::Scratch => json!({"kind": "scratch"}),
    }
}
