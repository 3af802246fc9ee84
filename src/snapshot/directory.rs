//! A directory of the user's, read as a file system.

use super::rooted::Root;
use super::scan::scan_readable;
use crate::layers::Layer;
use bstr::{BStr, BString};
use std::fs::File;
use std::io;
use std::path::Path;

/// Reads what can be read of it. The directories in which something cannot be read, and why, come beside it; nothing in
/// them is in the layer.
pub fn scan(root: &Path) -> io::Result<(Layer, Vec<(BString, io::Error)>)> {
    let mut unread = Vec::new();
    let layer = scan_readable(root, &mut |directory, error| unread.push((directory, error.source)));
    Ok((layer.map_err(|error| io::Error::new(error.source.kind(), error.to_string()))?, unread))
}

/// A regular file below it, whatever symbolic links there are. Never waits.
pub fn open_file(root: &Path, canonical: &BStr) -> io::Result<File> {
    Root::open(root)?.file(canonical)
}
