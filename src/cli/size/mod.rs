//! `stagedive size`: what an image's layers weigh, and how much of it nobody will ever see.

pub mod report;
#[cfg(test)]
mod tests;
pub mod text;

use super::analyse;
use super::args::SizeArgs;
use super::exit::Failure;
use super::plain::printable;
use crate::layers::Account;
use report::{Files, State};
use std::io::{IsTerminal, Write};
use text::Style;

pub async fn run(args: SizeArgs) -> Result<(), Failure> {
    let (inventory, build) = analyse::open(&args.build, args.verify).await?;
    let files = if args.files { Files::Listed } else { Files::Counted };
    let (inventory, report) = super::blocking(move || {
        let account = Account::of(&inventory.tree);
        let report = report::report(&inventory, build.as_ref(), &account, files);
        (inventory, report)
    })
    .await?;
    report.warnings.iter().for_each(|line| eprintln!("warning: {}", printable(line)));
    let text = match args.json {
        true => serde_json::to_string(&report).map_err(|error| Failure::Other(error.to_string()))? + "\n",
        false => text::render(&report, style()),
    };
    print(&text)?;
    drop(inventory);
    Ok(())
}

/// A reader that goes away is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Other(format!("cannot print: {error}")))
        }
        _ => Ok(()),
    }
}

fn style() -> Style {
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
