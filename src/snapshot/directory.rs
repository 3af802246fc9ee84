//! A directory of the user's, read as a file system.

use super::rooted::Root;
pub use super::scan::scan;
use bstr::BStr;
use std::fs::File;
use std::io;
use std::path::Path;

/// A regular file below it, whatever symbolic links there are. Never waits.
pub fn open_file(root: &Path, canonical: &BStr) -> io::Result<File> {
    Root::open(root)?.file(canonical)
}
