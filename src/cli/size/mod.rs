//! `stagedive size`: what an image's layers weigh, and how much of it nobody will ever see.

pub mod gate;
mod junit;
mod markdown;
pub mod report;
pub mod stages;
#[cfg(test)]
pub(super) mod tests;
pub mod text;

use super::analyse;
use super::args::{GateArgs, SizeArgs};
use super::exit::Failure;
use super::plain::printable;
use super::print;
use crate::layers::Account;
use gate::{Gate, Limits};
use report::{Files, State};
use std::io::IsTerminal;
use std::path::Path;
use text::Style;

pub async fn run(args: SizeArgs) -> Result<(), Failure> {
    // What is wrong with the limits is said before anything is fetched or built.
    let gate = gate(&args.gate)?;
    let (inventory, build, base) = analyse::open_on_base(&args.build, args.verify).await?;
    let base = super::blame::report::base(&inventory, base);
    let files = if args.files { Files::Listed } else { Files::Counted };
    let stages = match &build {
        Some(build) => {
            let stages = stages::stages(build).await;
            build.close().await?;
            stages?
        }
        None => None,
    };
    let report = super::blocking(move || {
        let account = Account::of(&inventory.tree);
        let mut report = report::report(&inventory, build.as_ref(), base, &account, files);
        report.stages = stages;
        report.gate = gate.map(|gate| gate.check(&report, &inventory.tree, &account));
        report
    })
    .await?;
    report.warnings.iter().for_each(|line| print::note(format_args!("warning: {}", printable(line))));
    if let Some(file) = &args.gate.junit {
        write(file, &junit::render(&report))?;
    }
    if let Some(file) = &args.gate.markdown {
        write(file, &markdown::render(&report))?;
    }
    match args.json {
        true => {
            print::json(&report)?;
            let plain = Style { columns: 80, colours: false };
            text::verdict(&report, plain).iter().for_each(print::note);
        }
        false => print::text(&text::render(&report, style()))?,
    }
    match &report.gate {
        Some(verdict) if !verdict.passed => Err(Failure::Gate),
        _ => Ok(()),
    }
}

/// `None` if nothing is limited. Who asks for a gate's outcome has to say what it is to hold: without a limit every image
/// would pass.
fn gate(args: &GateArgs) -> Result<Option<Gate>, Failure> {
    let gate = Gate::new(limits(args)?)?;
    match (&gate, &args.gate, &args.junit) {
        (None, Some(file), _) => Err(Failure::Usage(format!("--gate {}: it limits nothing", file.display()))),
        (None, None, Some(_)) => Err(Failure::Usage(
            "--junit writes what became of the limits, and there are none: give --gate FILE, or one like --max-total 200MB"
                .to_owned(),
        )),
        _ => Ok(gate),
    }
}

fn limits(args: &GateArgs) -> Result<Limits, Failure> {
    let args = args.clone();
    let file = match &args.gate {
        Some(file) => Limits::read(file)?,
        None => Limits::default(),
    };
    Ok(file.with(Limits {
        max_total: args.max_total,
        max_compressed: args.max_compressed,
        max_waste: args.max_waste,
        max_waste_share: args.max_waste_share,
        max_duplicates: args.max_duplicates,
        max_file: args.max_file,
        min_score: args.min_score,
        forbid: args.forbid,
        forbid_findings: args.forbid_findings,
        baseline: args.baseline,
        max_growth: args.max_growth,
    }))
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text).map_err(|error| Failure::Other(format!("cannot write {}: {error}", file.display())))
}

pub(super) fn style() -> Style {
    let is_terminal = std::io::stdout().is_terminal();
    let columns = if is_terminal { usize::from(crate::tui::terminal_size().0) } else { 80 };
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Style { columns: columns.clamp(60, 120), colours: is_terminal && !no_colour }
}

fn state(state: State) -> &'static str {
    match state {
        State::Live => "live",
        State::Overwritten => "overwritten",
        State::Deleted => "deleted",
        State::Metadata => "rewritten",
    }
}
