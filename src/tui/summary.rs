//! How it ended, in the lines that stay in the scrollback.

use super::app::App;
use super::build::Build;
use super::text;
use crate::debug::Side;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    pub lines: Vec<String>,
    /// Whether a step had failed when the user left.
    pub failed: bool,
    /// The signal that ended it, for an exit code of 128 and that number.
    pub signal: Option<i32>,
}

/// What is worth keeping of the sessions, in a few lines each; safe to print.
pub fn summary(tracks: &[App]) -> Summary {
    let lines = tracks.iter().flat_map(lines).map(|line| text::sanitise(&line).into_owned()).collect();
    let failed = tracks.iter().any(|app| app.build.has_failed());
    Summary { lines, failed, signal: None }
}

fn lines(app: &App) -> Vec<String> {
    let build = &app.build;
    let Some(plan) = app.plan() else {
        return build.problem.iter().map(|problem| format!("no plan: {}", problem.message)).collect();
    };
    let total = plan.steps().count();
    let done = plan.steps().filter(|step| build.is_done(step.id)).count();
    let mut lines = Vec::new();
    let target = plan.stage(plan.target).label();
    let mut head = format!("{} {} {target}", app.title, app.look.signs.arrow);
    if !app.platform.is_empty() {
        head.push_str(&format!(" for {}", app.platform));
    }
    match (&build.finished, &build.stop) {
        (Some(_), _) => {
            let parts = build.contributions();
            let shipped: u64 = parts.iter().map(|part| part.shipped).sum();
            let left = build.left_behind().words();
            lines.push(format!("{head}: built; {} in the image; {left}", text::size(shipped)));
        }
        (None, Some(stop)) if !build.running => {
            let label = plan.stage(stop.step.stage).label();
            let side = Build::side(stop).to_lowercase();
            let at = format!("{label}:{}, line {}", stop.step.index, stop.line);
            match &stop.failure {
                Some(failure) if stop.side == Side::Failed => {
                    lines.push(format!("{head}: failed at {at}: {}", failure.message));
                }
                _ => lines.push(format!("{head}: left {side} {at}")),
            }
            lines.push(format!("  {done} of {} done; they are kept for the next time", text::count(total, "step")));
        }
        _ => lines.push(format!("{head}: left while it ran, {done} of {} done", text::count(total, "step"))),
    }
    lines
}
