//! Of a build: what each stage built, and how much of it the image has in the end.

use super::super::analyse::Build;
use super::super::exit::Failure;
use super::text::{Style, percent};
use crate::debug::trace::{self, Contribution};
use crate::tui::text::{clip, sanitise, size, width};
use serde::Serialize;
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stage {
    pub index: u32,
    pub name: String,
    /// Written by its own instructions.
    pub built_bytes: u64,
    /// Of the image that it begins with.
    pub base_bytes: u64,
    /// Live bytes that its instructions, or its base image, brought into the build.
    pub shipped_bytes: u64,
    pub instructions: Vec<Instruction>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Instruction {
    pub line: u32,
    pub instruction: String,
    pub built_bytes: u64,
    pub shipped_bytes: u64,
    pub shipped_files: usize,
}

/// Follows every live file back to the instruction that brought it into the build.
pub async fn stages(build: &Build) -> Result<Option<Vec<Stage>>, Failure> {
    let snapshots = build.outcomes.iter().map(|(step, outcome)| (*step, outcome.snapshot.clone())).collect();
    let facts = trace::gather(build.engine.as_ref(), Arc::clone(&build.plan), &snapshots).await?;
    let contribution = super::super::blocking(move || Contribution::of(&facts, facts.plan.target)).await?;
    Ok(contribution.map(|it| it.stages.iter().map(|share| stage(build, share)).collect()))
}

fn stage(build: &Build, share: &trace::StageShare) -> Stage {
    let instruction = |it: &trace::StepShare| {
        let step = build.plan.step(it.step);
        Instruction {
            line: step.lines.start,
            instruction: step.text.clone(),
            built_bytes: it.built,
            shipped_bytes: it.shipped,
            shipped_files: it.files,
        }
    };
    Stage {
        index: share.stage.0,
        name: build.plan.stage(share.stage).label(),
        built_bytes: share.built,
        base_bytes: share.base,
        shipped_bytes: share.shipped,
        instructions: share.steps.iter().map(instruction).collect(),
    }
}

/// Columns of a stage's bar.
const BAR: usize = 20;

pub fn render(stages: &[Stage], style: Style) -> Vec<String> {
    let live = stages.iter().map(|it| it.shipped_bytes).fold(0, u64::saturating_add);
    let mut out = vec![String::new(), style.paint("1", "Where the live bytes come from")];
    let names = stages.iter().map(|it| width(&sanitise(&it.name))).max().unwrap_or(0).clamp(5, 20);
    for stage in stages {
        let name = clip(&sanitise(&stage.name), names, "…").into_owned();
        let gap = " ".repeat(names.saturating_sub(width(&name)));
        let bar = style.plain_bar(stage.shipped_bytes, live, BAR);
        let shipped = format!("{:>9} {:>7}", size(stage.shipped_bytes), percent(stage.shipped_bytes, live));
        let base = match stage.base_bytes {
            0 => String::new(),
            bytes => format!(" on a base of {}", size(bytes)),
        };
        out.push(format!("{name}{gap}  {bar} {shipped}  built {}{base}", size(stage.built_bytes)));
        let mut own: Vec<&Instruction> = stage.instructions.iter().filter(|it| it.shipped_bytes > 0).collect();
        own.sort_by_key(|it| std::cmp::Reverse(it.shipped_bytes));
        for it in own {
            let left = format!("{:names$}  {:BAR$} {:>9}          ", "", "", size(it.shipped_bytes));
            let text = format!("{}: {}", it.line, it.instruction.split_whitespace().collect::<Vec<_>>().join(" "));
            let room = style.columns.saturating_sub(width(&left));
            out.push(format!("{left}{}", style.paint("2", &clip(&sanitise(&text), room, "…"))));
        }
    }
    out
}
