//! The list of an image's layers, bottom first, with what made them and what they weigh; over them the whole image, where
//! it is compared with another.

use super::image::{Layer, Reading};
use super::other::Other;
use super::state::{Explorer, Selected};
use crate::image::inventory::how_far::{Doing, HowFar};
use crate::layers::Diff;
use crate::tui::text;
use crate::tui::theme::Look;
use crate::tui::views::bar::bar;
use crate::tui::views::{mark_hits, put_line};
use crate::tui::widgets::scroll::follow;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

/// Columns of a size, with the space before it.
const SIZE: usize = 10;
/// Columns from which on both sizes are shown.
const BOTH: usize = 52;

/// Columns that a sign and a number take at the most, with the spaces around them.
const NUMBERED: usize = 7;

/// A row of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    Selectable(Selected),
    /// Between the base image's layers and the image's own.
    Base,
}

fn rows(explorer: &Explorer) -> Vec<Row> {
    let count = explorer.image.layers.len();
    let mut rows: Vec<Row> = explorer.selectable().into_iter().map(Row::Selectable).collect();
    if let Some(base) = explorer.image.base.as_ref().filter(|base| base.layers <= count) {
        rows.insert(rows.len() - count + base.layers, Row::Base);
    }
    rows
}

/// What is on a row of the pane.
pub fn at_row(explorer: &Explorer, row: usize) -> Option<Selected> {
    match rows(explorer).get(explorer.top + row) {
        Some(Row::Selectable(selected)) => Some(*selected),
        _ => None,
    }
}

/// What the columns are, in the room that there is.
pub fn title(explorer: &Explorer, width: u16) -> String {
    match explorer.image.layers.len() {
        0 => String::new(),
        _ if usize::from(width) < BOTH => "unpacked".to_owned(),
        _ => format!("unpacked{}compressed", explorer.look.signs.bullet),
    }
}

pub fn draw(explorer: &mut Explorer, area: Rect, buffer: &mut Buffer, focused: bool) -> usize {
    let rows = rows(explorer);
    let look = explorer.look.clone();
    if rows.is_empty() {
        let words = "The image has no layers: its file system is empty.";
        put_line(buffer, area, 0, &Line::styled(words, look.muted));
        return 0;
    }
    let selected = rows.iter().position(|row| *row == Row::Selectable(explorer.selected)).unwrap_or(0);
    explorer.top = follow(explorer.top, selected, usize::from(area.height), rows.len());
    let needle = explorer.needle.get(&super::state::PaneId::Layers).map(|it| it.to_lowercase()).unwrap_or_default();
    for (at, row) in rows.iter().enumerate().skip(explorer.top).take(usize::from(area.height)) {
        let line = Rect { y: area.y + (at - explorer.top) as u16, height: 1, ..area };
        match row {
            Row::Base => base(explorer, &look, line, buffer),
            Row::Selectable(selected) => {
                let words = explorer.words(*selected);
                let width = usize::from(line.width);
                let spans = match (selected, &explorer.other) {
                    (Selected::Layer(layer), _) => {
                        let it = explorer.image.layers.get(*layer);
                        it.map(|it| layer_line(explorer, *layer, it, &words, width, &look)).unwrap_or_default()
                    }
                    (Selected::Other, Some(other)) => other_line(explorer, other, &words, width, &look),
                    (Selected::Other, None) => Vec::new(),
                };
                put_line(buffer, line, 0, &Line::from(spans));
                mark_hits(&look, buffer, line, &needle);
            }
        }
        if at == selected {
            buffer.set_style(line, if focused { look.selection } else { look.selection_idle });
        }
    }
    rows.len()
}

fn base(explorer: &Explorer, look: &Look, line: Rect, buffer: &mut Buffer) {
    let name = explorer.image.base.as_ref().map(|base| text::sanitise(&base.name).into_owned()).unwrap_or_default();
    let rule = look.signs.lines.horizontal;
    let words = format!("{rule}{rule} above: the base ");
    // The end of a path tells more than its beginning.
    let room = usize::from(line.width).saturating_sub(text::width(&words) + 1);
    let words = format!("{words}{} ", text::clip_start(&name, room, look.signs.ellipsis));
    let rest = usize::from(line.width).saturating_sub(text::width(&words));
    put_line(buffer, line, 0, &Line::styled(format!("{words}{}", rule.repeat(rest)), look.muted));
}

fn layer_line(
    explorer: &Explorer,
    number: usize,
    layer: &Layer,
    words: &str,
    width: usize,
    look: &Look,
) -> Vec<Span<'static>> {
    let (sign, sign_style) = match (&layer.facts.broken, explorer.mark == Some(number)) {
        (_, true) => (look.signs.node_done, look.changed),
        (Some(_), false) => (look.signs.failed, look.warning),
        (None, false) => (" ", look.text),
    };
    let style = match layer.facts.instruction {
        Some(_) => look.text,
        None => look.muted,
    };
    let left = (Span::styled(sign, sign_style), number.to_string());
    let named = |shown: &str| instruction(shown, style, look);
    laid_out(explorer, left, words, named, right(explorer, layer, width, look), width)
}

/// The whole image beside the other.
fn other_line(explorer: &Explorer, other: &Other, words: &str, width: usize, look: &Look) -> Vec<Span<'static>> {
    let sign = match other.failure.is_some() || other.broken() > 0 {
        true => Span::styled(look.signs.failed, look.warning),
        false => Span::raw(" "),
    };
    let signed = |sign: char, bytes: u64, style: Style| match bytes {
        0 => Span::styled(format!("{:>SIZE$}", look.signs.dash), look.muted),
        bytes => Span::styled(format!("{:>SIZE$}", format!("{sign}{}", text::size(bytes))), style),
    };
    let fits = width >= BOTH || text::width(words) + 2 * SIZE + NUMBERED <= width;
    let right = match (&other.pair, other.how_far.as_ref().map(HowFar::sums)) {
        (Some(pair), _) if fits => vec![
            signed('+', pair.diff.added_bytes(Diff::ROOT), look.added),
            signed('-', pair.diff.removed_bytes(Diff::ROOT), look.removed),
        ],
        (Some(_), _) => Vec::new(),
        (None, _) if other.failure.is_some() => vec![Span::styled(" not read", look.warning)],
        (None, Some((Doing::Fetching, done, total))) => bars("fetch", done, total, look),
        (None, Some((Doing::Reading, done, total))) if done < total => bars("read", done, total, look),
        (None, _) => vec![Span::styled(look.signs.ellipsis, look.muted)],
    };
    let named = |shown: &str| vec![Span::styled(shown.to_owned(), look.text)];
    laid_out(explorer, (sign, String::new()), words, named, right, width)
}

/// A sign and a number, what is said in the room that is left, and what stands at the right.
fn laid_out(
    explorer: &Explorer,
    (sign, number): (Span<'static>, String),
    words: &str,
    named: impl FnOnce(&str) -> Vec<Span<'static>>,
    right: Vec<Span<'static>>,
    width: usize,
) -> Vec<Span<'static>> {
    let look = &explorer.look;
    let digits = explorer.image.layers.len().saturating_sub(1).to_string().len();
    let taken: usize = right.iter().map(Span::width).sum();
    let room = width.saturating_sub(taken + digits + 4);
    let safe = text::sanitise(words);
    let shown = text::clip(&safe, room, look.signs.ellipsis);
    let pad = room.saturating_sub(text::width(&shown));
    let mut spans = vec![sign, Span::styled(format!(" {number:>digits$} "), look.muted), Span::raw(" ")];
    spans.extend(named(&shown));
    spans.push(Span::raw(" ".repeat(pad)));
    spans.extend(right);
    spans
}

/// The keyword in its colour, the rest as it is.
pub(super) fn instruction(words: &str, style: Style, look: &Look) -> Vec<Span<'static>> {
    match words.split_once(' ') {
        Some((keyword, rest)) if keyword.len() > 2 && keyword.chars().all(|c| c.is_ascii_uppercase()) => {
            vec![Span::styled(keyword.to_owned(), look.keyword), Span::styled(format!(" {rest}"), style)]
        }
        _ => vec![Span::styled(words.to_owned(), style)],
    }
}

/// The sizes, or how far the layer has been read.
fn right(explorer: &Explorer, layer: &Layer, width: usize, look: &Look) -> Vec<Span<'static>> {
    let size = |bytes: u64, style: Style| match bytes {
        0 => Span::styled(format!("{:>SIZE$}", look.signs.dash), look.muted),
        bytes => Span::styled(format!("{:>SIZE$}", text::size(bytes)), style),
    };
    match layer.reading {
        Reading::Fetching(done, total) => bars("fetch", done, total.max(layer.facts.compressed), look),
        Reading::Reading(done, total) => bars("read", done, total, look),
        Reading::Waiting | Reading::Done => {
            let waits = layer.reading == Reading::Waiting && explorer.image.is_loading();
            let unpacked = match waits {
                true => Span::styled(format!("{:>SIZE$}", look.signs.ellipsis), look.muted),
                false => size(layer.facts.unpacked, if heavy(explorer, layer) { heaviest(look) } else { look.text }),
            };
            let compressed = (width >= BOTH).then(|| size(layer.facts.compressed, look.muted));
            std::iter::once(unpacked).chain(compressed).collect()
        }
    }
}

/// How far something is, as wide as two sizes.
fn bars(word: &'static str, done: u64, total: u64, look: &Look) -> Vec<Span<'static>> {
    let mut spans = vec![Span::styled(format!(" {word} "), look.muted)];
    spans.extend(bar(look, done, total, (2 * SIZE).saturating_sub(word.len() + 2)));
    spans
}

/// Whether a layer has a large part of the image's bytes.
fn heavy(explorer: &Explorer, layer: &Layer) -> bool {
    let (_, all) = explorer.image.sizes();
    all > 0 && layer.facts.unpacked.saturating_mul(4) > all
}

fn heaviest(look: &Look) -> Style {
    look.text.add_modifier(Modifier::BOLD)
}
