//! `stagedive explore IMAGE`: an existing image in the terminal.

use super::args::ExploreArgs;
use super::exit::Failure;
use super::{analyse, plain, screen};
use crate::tui::{self, explore};
use std::io::IsTerminal;

pub async fn run(args: ExploreArgs) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        let message = "the explorer needs a terminal";
        return Err(Failure::Usage(message.to_owned()));
    }
    let found = analyse::find(&args.build).await?;
    let options = screen::options(&args.screen, String::new());
    let reading = analyse::reading(&args.build, args.verify);
    let summary = explore::run(found.opened.clone(), reading, None, options).await;
    let saved = found.save().await;
    let summary: tui::Summary = summary.map_err(|error| Failure::Other(format!("the terminal: {error}")))?;
    for line in &summary.lines {
        println!("{}", plain::printable(line));
    }
    match summary.signal {
        Some(signal) => Err(Failure::Signal(signal)),
        None => saved,
    }
}
