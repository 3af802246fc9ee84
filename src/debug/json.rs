//! Events as JSON, one a line: what `--progress=json` prints and other programs read.
//!
//! The form is stable: fields and values may be added, and those that are there keep their meaning.
//!
//! Every event is an object whose `event` names it; the others are as in [`Event`]. Times are whole
//! milliseconds (`…_ms`); `at_ms` is since the session began. An amount that is not known is `null`.
//!
//! | `event` | fields |
//! |---|---|
//! | `started` | `engine`, `mode`, `limits` |
//! | `base-progress` | `image`, `what`, `done`, `total` (bytes) |
//! | `sketched` | as `planned`, which it comes before: what can be told of the plan while its bases are looked up |
//! | `planned` | `platform`, `target` (a label), `order` (labels), `stages`, `diagnostics` |
//! | `plan-failed` | `fault`, `message`, `rendered` (drawn under the source line) |
//! | `step` | `step`, `status`, `at_ms`; with `done` also `result`; with `failed` also `failure` |
//! | `counted` | `step`, `added`, `modified`, `removed`, `bytes`: what the `result` of a step that is done left `null` |
//! | `output` | `step`, `stream` (`stdout`, `stderr`), `text`; `base64` if `text` is not exactly what was written |
//! | `output-clipped` | `step`, `dropped` (bytes) |
//! | `progress` | `step`, `what`, `done`, `total` (bytes) |
//! | `resumed` | |
//! | `stopped` | `stage`, `done`, `side`, `step`, `reason`, `breakpoint`, `watched`, `snapshot`, `in_the_past`, `failure` |
//! | `breakpoints` | `break_on_failure`, `list` |
//! | `branches` | `current` (a number), `list`; there are several only where a build is debugged |
//! | `notice` | `message` |
//! | `finished` | `snapshot`, `at_ms` |
//! | `ended` | |
//!
//! Of build arguments whose names are those of secrets, the values are not told.
//!
//! Of a build for several platforms, each event has its `platform`.
//!
//! A step is `{stage, stage_index, index, line, text}`: the stage's name or its index in digits, the indexes
//! counted from 0, `FROM` being step 0. `line` and `text` are there once there is a plan.
//! `fault` is one of `unreadable`, `dockerfile`, `base`, `engine`, `cancelled`, `internal`;
//! `status` one of `waiting`, `skipped`, `running`, `done`, `failed`, `cancelled`; `side` one of `BEFORE`,
//! `AFTER`, `FAILED`; `reason` one of `start`, `step`, `breakpoint`, `watchpoint`, `failure`, `pause`,
//! `cancelled`, `reached`, `end`; `watched` is what a watchpoint found: `path` (from the root, without a slash at its
//! beginning), `change` (`created`, `changed`, `deleted`) and how many `more` paths.

use super::watch::{self, Hit};
use super::{Branch, Breakpoint, BreakpointState, Event, Failure, Side, StepStatus, Stop, StopReason};
use crate::dockerfile::diagnostic::position;
use crate::dockerfile::{Diagnostic, Severity};
use crate::engine::{ChangeSummary, StepOutcome};
use crate::plan::options::shown;
use crate::plan::{Base, Edge, EdgeKind, FileOrigin, Plan, Stage, StageId, Step, StepId};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

/// The event as an object. `plan` is the one that the last `Planned` brought.
pub fn line(event: &Event, plan: Option<&Plan>) -> Value {
    let step = |id: &StepId| step(*id, plan);
    match event {
        Event::Started { engine } => {
            json!({"event": "started", "engine": engine.engine, "mode": engine.mode, "limits": engine.limits})
        }
        Event::BaseProgress { image, what, done, total } => {
            json!({"event": "base-progress", "image": image, "what": what, "done": done, "total": known(*total)})
        }
        Event::Sketched { plan } => planned("sketched", plan),
        Event::Planned { plan } => planned("planned", plan),
        Event::PlanFailed { fault, message, rendered } => {
            json!({"event": "plan-failed", "fault": fault, "message": message, "rendered": rendered})
        }
        Event::Step { step: id, status, at } => with(
            json!({"event": "step", "step": step(id), "status": status_name(status), "at_ms": millis(*at)}),
            match status {
                StepStatus::Done(outcome) => vec![("result", result(outcome))],
                StepStatus::Failed(it) => vec![("failure", failure(it, plan))],
                StepStatus::Waiting | StepStatus::Skipped | StepStatus::Running | StepStatus::Cancelled => Vec::new(),
            },
        ),
        Event::Counted { step: id, changes } => with(json!({"event": "counted", "step": step(id)}), counts(*changes)),
        Event::Output { step: id, stderr, bytes } => {
            let stream = if *stderr { "stderr" } else { "stdout" };
            let text = String::from_utf8_lossy(bytes);
            let exact = std::str::from_utf8(bytes).is_ok();
            let base64 = (!exact).then(|| ("base64", BASE64_STANDARD.encode(bytes).into()));
            with(json!({"event": "output", "step": step(id), "stream": stream, "text": text}), base64)
        }
        Event::OutputClipped { step: id, dropped } => {
            json!({"event": "output-clipped", "step": step(id), "dropped": dropped})
        }
        Event::Progress { step: id, what, done, total } => {
            json!({"event": "progress", "step": step(id), "what": what, "done": done, "total": known(*total)})
        }
        Event::Resumed => json!({"event": "resumed"}),
        Event::Stopped(stop) => stopped(stop, plan),
        Event::Breakpoints { list, break_on_failure } => {
            let list: Vec<Value> = list.iter().map(|it| breakpoint(it, plan)).collect();
            json!({"event": "breakpoints", "break_on_failure": break_on_failure, "list": list})
        }
        Event::Branches { list, current } => {
            let list: Vec<Value> = list.iter().map(branch).collect();
            json!({"event": "branches", "current": current, "list": list})
        }
        Event::Notice { message } => json!({"event": "notice", "message": message}),
        Event::Finished { snapshot, at } => {
            json!({"event": "finished", "snapshot": snapshot, "at_ms": millis(*at)})
        }
        Event::Ended => json!({"event": "ended"}),
    }
}

/// A value as one line of text, without its end, in which no control character stands for itself: it may be shown on a
/// terminal.
pub fn text(value: &impl Serialize) -> serde_json::Result<String> {
    let mut out = Vec::new();
    write(&mut out, value)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// The same, where a value is too large to be held as text.
pub fn write(out: &mut impl Write, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(out, Harmless))
}

/// JSON itself escapes what is below the space; this does the same to all other control characters.
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| c.is_control()) {
            out.write_all(&rest.as_bytes()[..at])?;
            write!(out, "\\u{:04x}", c as u32)?;
            rest = &rest[at + c.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }
}

fn branch(branch: &Branch) -> Value {
    let (done, steps) = branch.count();
    let args = branch.basis.options.build_args.iter().map(|(name, value)| (name, shown(name, value)));
    json!({
        "branch": branch.id,
        "parent": branch.parent,
        "cause": branch.cause,
        "at_ms": millis(branch.began),
        "build_args": args.collect::<BTreeMap<_, _>>(),
        "done": done,
        "steps": steps,
        "snapshot": branch.end_of(branch.plan.target),
    })
}

fn planned(event: &str, plan: &Plan) -> Value {
    let label = |id: &StageId| label(*id, Some(plan));
    json!({
        "event": event,
        "platform": plan.platform,
        "target": label(&plan.target),
        "order": plan.order.iter().map(label).collect::<Vec<_>>(),
        "stages": plan.stages.iter().map(|it| stage(it, plan)).collect::<Vec<_>>(),
        "diagnostics": plan.diagnostics.iter().map(|it| diagnostic(it, plan)).collect::<Vec<_>>(),
    })
}

fn stage(stage: &Stage, plan: &Plan) -> Value {
    let step = |step: &Step| {
        json!({
            "index": step.id.index,
            "line": step.lines.start,
            "end_line": step.lines.end,
            "keyword": step.keyword,
            "text": step.text,
            "onbuild": step.onbuild,
        })
    };
    let base = match &stage.base {
        Base::Scratch => json!({"kind": "scratch"}),
        Base::Stage(id) => json!({"kind": "stage", "name": label(*id, Some(plan))}),
        Base::Image(name) => json!({"kind": "image", "name": name}),
    };
    json!({
        "index": stage.id.0,
        "name": stage.name,
        "platform": stage.platform,
        "needed": stage.needed,
        "base": base,
        "steps": stage.steps.iter().map(step).collect::<Vec<_>>(),
        "needs": stage.needs.iter().map(|it| edge(it, plan)).collect::<Vec<_>>(),
    })
}

fn edge(edge: &Edge, plan: &Plan) -> Value {
    let by = match edge.kind {
        EdgeKind::From => "from",
        EdgeKind::Copy => "copy",
        EdgeKind::Mount => "mount",
    };
    let (kind, name) = match &edge.origin {
        FileOrigin::Context { name } => ("context", json!(name)),
        FileOrigin::Stage(id) => ("stage", json!(label(*id, Some(plan)))),
        FileOrigin::Image(name) => ("image", json!(name)),
        FileOrigin::Scratch => ("scratch", Value::Null),
    };
    json!({"by": by, "index": edge.step.index, "kind": kind, "name": name})
}

fn diagnostic(finding: &Diagnostic, plan: &Plan) -> Value {
    let severity = match finding.severity {
        Severity::Hint => "hint",
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    let at = position(&plan.dockerfile.text, finding.span.start);
    json!({
        "severity": severity,
        "code": finding.code,
        "message": finding.message,
        "help": finding.help,
        "line": at.line,
        "column": at.column,
    })
}

fn step(id: StepId, plan: Option<&Plan>) -> Value {
    let found = plan.and_then(|plan| plan.stages.get(id.stage.0 as usize)?.steps.get(id.index as usize));
    let reference = json!({"stage": label(id.stage, plan), "stage_index": id.stage.0, "index": id.index});
    let more = found.map(|it| [("line", json!(it.lines.start)), ("text", json!(it.text))]);
    with(reference, more.into_iter().flatten())
}

fn label(id: StageId, plan: Option<&Plan>) -> String {
    let stage = plan.and_then(|plan| plan.stages.get(id.0 as usize));
    stage.map_or_else(|| id.0.to_string(), Stage::label)
}

fn status_name(status: &StepStatus) -> &'static str {
    match status {
        StepStatus::Waiting => "waiting",
        StepStatus::Skipped => "skipped",
        StepStatus::Running => "running",
        StepStatus::Done(_) => "done",
        StepStatus::Failed(_) => "failed",
        StepStatus::Cancelled => "cancelled",
    }
}

fn result(outcome: &StepOutcome) -> Value {
    let known = json!({
        "snapshot": outcome.snapshot,
        "cached": outcome.cached,
        "duration_ms": millis(outcome.duration),
        "why": outcome.why,
    });
    with(known, counts(outcome.changes))
}

fn counts(changes: Option<ChangeSummary>) -> [(&'static str, Value); 4] {
    let count = |pick: fn(ChangeSummary) -> u64| json!(changes.map(pick));
    [
        ("added", count(|it| it.added)),
        ("modified", count(|it| it.modified)),
        ("removed", count(|it| it.removed)),
        ("bytes", count(|it| it.bytes)),
    ]
}

fn failure(failure: &Failure, plan: Option<&Plan>) -> Value {
    json!({
        "step": step(failure.step, plan),
        "message": failure.message,
        "help": failure.help,
        "exit_code": failure.exit_code,
        "after": failure.after,
    })
}

fn stopped(stop: &Stop, plan: Option<&Plan>) -> Value {
    let side = match stop.side {
        Side::Before => "BEFORE",
        Side::After => "AFTER",
        Side::Failed => "FAILED",
    };
    let (reason, breakpoint) = match &stop.reason {
        StopReason::Start => ("start", None),
        StopReason::Step => ("step", None),
        StopReason::Breakpoint(id) => ("breakpoint", Some(id.0)),
        StopReason::Watchpoint(id, _) => ("watchpoint", Some(id.0)),
        StopReason::Failure => ("failure", None),
        StopReason::Pause => ("pause", None),
        StopReason::Cancelled => ("cancelled", None),
        StopReason::Reached => ("reached", None),
        StopReason::End => ("end", None),
    };
    let watched = match &stop.reason {
        StopReason::Watchpoint(_, Hit { path, change, more }) => {
            json!({"path": path.to_string(), "change": watch::said(*change), "more": more})
        }
        _ => Value::Null,
    };
    json!({
        "event": "stopped",
        "stage": label(stop.position.stage, plan),
        "done": stop.position.done,
        "side": side,
        "step": step(stop.step, plan),
        "reason": reason,
        "breakpoint": breakpoint,
        "watched": watched,
        "snapshot": stop.snapshot,
        "in_the_past": stop.in_the_past,
        "failure": stop.failure.as_ref().map(|it| failure(it, plan)),
    })
}

fn breakpoint(breakpoint: &Breakpoint, plan: Option<&Plan>) -> Value {
    let (state, more) = match &breakpoint.state {
        BreakpointState::Bound { step: id, note } => ("bound", vec![("step", step(*id, plan)), ("note", json!(note))]),
        BreakpointState::Pending => ("pending", Vec::new()),
        BreakpointState::Watching => ("watching", Vec::new()),
        BreakpointState::Unbound { reason } => ("unbound", vec![("reason", json!(reason))]),
    };
    let common = json!({
        "id": breakpoint.id.0,
        "wanted": breakpoint.wanted.to_string(),
        "enabled": breakpoint.enabled,
        "hits": breakpoint.hits,
        "state": state,
    });
    with(common, more)
}

fn with(object: Value, more: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let mut map = match object {
        Value::Object(map) => map,
        other => Map::from_iter([("value".to_owned(), other)]),
    };
    map.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Value::Object(map)
}

/// 0 stands for an amount that is not known.
fn known(total: u64) -> Option<u64> {
    (total > 0).then_some(total)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_stands_for_itself() {
        let check = |value: &str, expected: &str| {
            let written = text(&json!({ value: value })).unwrap();
            assert_eq!(written, format!("{{\"{expected}\":\"{expected}\"}}"));
            assert_eq!(serde_json::from_str::<Value>(&written).unwrap()[value], value);
        };
        check("plain é", "plain é");
        check("\u{9b}2J\u{7f}\u{85}", "\\u009b2J\\u007f\\u0085");
        check("\x1b[2J\"", "\\u001b[2J\\\"");
    }
}
