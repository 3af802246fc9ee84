//! What commands print. A reader that goes away, as `head` does, is no failure and no panic.

use super::exit::Failure;
use crate::debug;
use serde::Serialize;
use std::fmt::Display;
use std::io::{ErrorKind, Write};

/// Text on standard output, as it is.
pub fn text(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::Other(format!("cannot print: {error}"))),
        _ => Ok(()),
    }
}

/// A line on standard output.
pub fn line(line: impl Display) -> Result<(), Failure> {
    text(&format!("{line}\n"))
}

/// A value as a line of JSON on standard output.
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(debug::json::text(value).map_err(|error| Failure::Other(error.to_string()))?)
}

/// A line on standard error. What it tells of goes on, whether it can be told or not.
pub fn note(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
