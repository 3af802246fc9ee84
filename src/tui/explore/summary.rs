//! What stays in the scrollback when the explorer is left.

use super::state::Explorer;
use crate::tui::Summary;
use crate::tui::text;
use crate::tui::views::layer::sums;

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
    let mut failed = image.failure.is_some() || image.broken() > 0;
    if let Some(other) = &explorer.other {
        if let Some(pair) = &other.pair {
            let sums = if pair.diff.is_empty() { "nothing differs".to_owned() } else { sums(&pair.diff) };
            lines.push(format!("  against {}: {sums}", other.name));
            lines.extend(pair.other.warnings.iter().map(|broken| format!("  not whole: {broken}")));
        }
        lines.extend(other.failure.iter().map(|error| format!("  against {}: {}", other.name, error.message)));
        failed |= other.failure.is_some() || other.broken() > 0;
    }
    let lines = lines.into_iter().map(|line| text::sanitise(&line).into_owned()).collect();
    Summary { lines, failed, signal: None }
}
