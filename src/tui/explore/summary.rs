//! What stays in the scrollback when the explorer is left.

use super::state::Explorer;
use crate::tui::Summary;
use crate::tui::text;

/// The image's sizes, and what could not be read; safe to print.
pub fn summary(explorer: &Explorer) -> Summary {
    let image = &explorer.image;
    let (compressed, unpacked) = image.sizes();
    let mut lines = Vec::new();
    if let Some(inventory) = &image.inventory {
        lines.push(format!(
            "{}: {}, {} in files, {} unpacked, {} as blobs",
            image.name,
            text::count(image.layers.len(), "layer"),
            text::size(inventory.tree.bytes(crate::layers::FileTree::ROOT)),
            text::size(unpacked),
            text::size(compressed)
        ));
        lines.extend(inventory.broken().map(|broken| format!("  not whole: {broken}")));
    }
    lines.extend(image.failure.iter().map(|error| format!("{}: {}", image.name, error.message)));
    let lines = lines.into_iter().map(|line| text::sanitise(&line).into_owned()).collect();
    Summary { lines, failed: image.failure.is_some() || image.broken() > 0, signal: None }
}
