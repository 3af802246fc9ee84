//! The machine's own programs, where it is no Linux machine and they are of no use in a container.

use super::source::{Opened, SourceError, SourceErrorKind};
use std::path::Path;

/// Where the tools would be in a container.
pub const TOOLBOX: &str = "/.stagedive";

pub(super) fn open(name: &str, _: &Path) -> Result<Opened, SourceError> {
    Err(SourceError::new(
        SourceErrorKind::Platform,
        format!("{name} containers run Linux programs, and this machine has none"),
    ))
}

pub fn pack_toolbox(_: &Path) -> Result<(), SourceError> {
    let message = "the image has no shell, and only a Linux machine has tools to lend";
    Err(SourceError::new(SourceErrorKind::Platform, message))
}
