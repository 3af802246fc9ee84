//! The explorer's screen.
//!
//! Invariant: drawing changes nothing but what follows from the size: how far a list is scrolled.

use super::image::height;
use super::layout::{Areas, content};
use super::other::{Other, is_other};
use super::state::{Explorer, PaneId, Selected};
use super::update::retry_key;
use super::{details, layers};
use crate::tui::input::Purpose;
use crate::tui::keymap::{Action, Context, key_of};
use crate::tui::text;
use crate::tui::views::help::{self, Help};
use crate::tui::views::{border, header, keys, note_at_right, scrollbar, too_small};
use crate::tui::widgets::Pane;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

/// Draws everything. Answers with the place of the terminal's cursor, if it is to be seen.
pub fn draw(explorer: &mut Explorer, buffer: &mut Buffer) -> Option<Position> {
    let area = buffer.area;
    buffer.set_style(area, explorer.look.ground);
    let areas = explorer.areas();
    if areas.too_small {
        too_small(&explorer.look, area, buffer);
        return None;
    }
    header(explorer, areas.header, buffer);
    for (id, area) in areas.panes.clone() {
        pane(explorer, &areas, id, area, buffer);
    }
    let cursor = bottom(explorer, areas.keys, buffer);
    if let Some(top) = explorer.help {
        let help = Help { screen: Context::Explorer, engine: None };
        explorer.help = Some(help::draw(help, top, &explorer.look, area, buffer));
        return None;
    }
    cursor
}

fn header(explorer: &Explorer, area: Rect, buffer: &mut Buffer) {
    let look = &explorer.look;
    let image = &explorer.image;
    let width = usize::from(area.width);
    let (state, style) = state(explorer, width / 3);
    let (compressed, unpacked) = image.sizes();
    let mut parts = vec![text::count(image.layers.len(), "layer")];
    if unpacked > 0 && !image.is_loading() {
        parts.push(format!("{} unpacked", text::size(unpacked)));
    }
    if compressed > 0 {
        parts.push(format!("{} as blobs", text::size(compressed)));
    }
    parts.insert(0, format!("{}/{}", text::sanitise(&image.config.os), text::sanitise(&image.config.architecture)));
    let room = width.saturating_sub(text::width(&state) + 40);
    while parts.len() > 1 && text::width(&parts.join(look.signs.bullet)) > room {
        parts.remove(0);
    }
    let right = parts.join(look.signs.bullet);
    let title = text::sanitise(&image.name);
    let clip = |room| text::clip_start(&title, room, look.signs.ellipsis).into_owned();
    header::line(look, area, buffer, clip, (state, style), right);
}

/// How far the image and the other have been read, whether all of them could be, and what is compared. What the other is
/// called has so many columns.
fn state(explorer: &Explorer, room: usize) -> (String, Style) {
    let look = &explorer.look;
    let image = &explorer.image;
    let bold = |style: Style| style.add_modifier(Modifier::BOLD);
    if image.failure.is_some() {
        return (format!("{} NOT READ", look.signs.failed), bold(look.removed));
    }
    if explorer.is_loading() {
        let (read, all) = explorer.other.as_ref().map(Other::layers).unwrap_or_default();
        let (read, all) = (image.layers_read() + read, image.layers.len() + all);
        let words = match image.is_loading() || read < all {
            true => format!("{} READING, {read} of {all}", explorer.spinner()),
            false => format!("{} COMPARING", explorer.spinner()),
        };
        return (words, bold(look.accent));
    }
    if image.broken() > 0 {
        let layers = text::count(image.broken(), "layer").to_uppercase();
        return (format!("{} {layers} NOT WHOLE", look.signs.failed), bold(look.warning));
    }
    match (explorer.selected, &explorer.other, explorer.mark) {
        (Selected::Other, Some(other), _) => {
            let name = text::sanitise(&other.name);
            let name = text::clip_start(&name, room, look.signs.ellipsis);
            match (&other.failure, other.broken()) {
                (Some(_), _) => (format!("{} NOT READ: {name}", look.signs.failed), bold(look.removed)),
                (None, 0) => (format!("AGAINST {name}"), bold(look.changed)),
                (None, _) => (format!("{} NOT WHOLE: {name}", look.signs.failed), bold(look.warning)),
            }
        }
        (_, _, Some(mark)) => (format!("COMPARED WITH LAYER {mark}"), bold(look.changed)),
        (_, _, None) => (String::new(), look.text),
    }
}

fn pane(explorer: &mut Explorer, areas: &Areas, id: PaneId, area: Rect, buffer: &mut Buffer) {
    let look = explorer.look.clone();
    let focused = explorer.focus == id && explorer.help.is_none();
    let title = title(explorer, areas, id, focused);
    let taken = title.width();
    border(&look, area, focused, title, buffer);
    let inner = content(area);
    let rows = usize::from(inner.height);
    let note = match id {
        PaneId::Layers => layers::title(explorer, inner.width),
        PaneId::Details => String::new(),
        PaneId::Viewer => {
            let at = match (explorer.viewer.at(), &explorer.other) {
                (Some(at), Some(other)) if is_other(at) => format!(" in {}", text::sanitise(&other.name)),
                (at, _) => {
                    let layer = at.and_then(height).and_then(|height| height.checked_sub(1));
                    layer.map(|layer| format!(" at layer {layer}")).unwrap_or_default()
                }
            };
            format!("{}{at}", explorer.viewer.title())
        }
        PaneId::Layer | PaneId::Files | PaneId::Map | PaneId::Waste | PaneId::Flow => {
            explorer.widget(id).map(|widget| widget.title()).unwrap_or_default()
        }
    };
    note_at_right(&look, area, &note, taken, buffer);
    match id {
        PaneId::Layers => {
            let total = layers::draw(explorer, inner, buffer, focused);
            scrollbar(&look, area, explorer.top, rows, total, focused, buffer);
        }
        PaneId::Details => {
            let total = details::draw(explorer, inner, buffer);
            scrollbar(&look, area, explorer.details_top, rows, total, focused, buffer);
        }
        PaneId::Layer | PaneId::Files | PaneId::Map | PaneId::Waste | PaneId::Flow | PaneId::Viewer => {
            if let Some(widget) = explorer.widget(id) {
                widget.render(inner, buffer, &look, focused);
            }
        }
    }
}

/// A pane's title with its number, or the tabs that share its place.
fn title(explorer: &Explorer, areas: &Areas, id: PaneId, focused: bool) -> Line<'static> {
    let look = &explorer.look;
    let tabs = tabs_of(&areas.tabs, id);
    let alone = [id];
    let list: &[PaneId] = if tabs.is_empty() || explorer.zoomed { &alone } else { tabs };
    let mut spans = Vec::new();
    for tab in list {
        let on = *tab == id || id == PaneId::Viewer && *tab == explorer.shows;
        let title = match (on, focused) {
            (true, true) => look.accent.add_modifier(Modifier::BOLD),
            (true, false) => look.text.add_modifier(Modifier::BOLD),
            _ => look.muted,
        };
        // A sign that does without colours.
        let title = if on && list.len() > 1 { title.add_modifier(Modifier::UNDERLINED) } else { title };
        let number = tab.number().map(|number| format!("{number} ")).unwrap_or_default();
        let number_style = if on && focused { look.accent } else { look.muted };
        spans.extend([
            Span::raw(" "),
            Span::styled(number, number_style),
            Span::styled(tab.title(), title),
            Span::raw(" "),
        ]);
    }
    Line::from(spans)
}

/// The tabs at the upper edge of a pane; a file that stands alone has those of the pane it was opened from.
fn tabs_of(tabs: &[PaneId], id: PaneId) -> &[PaneId] {
    if tabs.contains(&id) { tabs } else { &[] }
}

/// The tab whose name stands at a column of a pane's upper edge.
pub fn tab_at(tabs: &[PaneId], id: PaneId, area: Rect, column: u16) -> Option<PaneId> {
    let mut x = area.x + 1;
    for tab in tabs_of(tabs, id) {
        let width = (tab.title().len() + 4) as u16;
        if (x..x + width).contains(&column) {
            return Some(*tab);
        }
        x += width;
    }
    None
}

/// The last line: the keys that matter now, something said, or a line being typed.
fn bottom(explorer: &Explorer, area: Rect, buffer: &mut Buffer) -> Option<Position> {
    let look = &explorer.look;
    if let Some(input) = &explorer.input {
        let hint = match input.purpose {
            Purpose::Find => keys::find_hint(Context::Explorer, input),
            Purpose::Extract { .. } => "Enter: write, Esc: leave it".to_owned(),
            Purpose::Command => String::new(),
        };
        return Some(keys::typed(look, input, &hint, area, buffer));
    }
    match &explorer.note {
        Some(note) => keys::said(look, note, area, buffer),
        None => {
            let is_lacking = !explorer.is_loading() && !explorer.is_whole();
            let retry = is_lacking.then(|| (retry_key(), "read again"));
            let hints = retry.into_iter().chain(hints(explorer.focus)).collect();
            keys::hints(look, hints, keys::ends(), area, buffer);
        }
    }
    None
}

/// Keys with a word each, for the pane with the focus.
fn hints(focus: PaneId) -> Vec<(String, &'static str)> {
    let key = |action: Action, word: &'static str| (key_of(action), word);
    let raw = |text: &str, word: &'static str| (text.to_owned(), word);
    let mut keys = match focus {
        PaneId::Layers => vec![
            raw("Enter", "look into it"),
            key(Action::Focus(4), "files"),
            key(Action::Focus(5), "map"),
            key(Action::Focus(6), "waste"),
            key(Action::Focus(7), "flow"),
            key(Action::Mark, "compare"),
        ],
        PaneId::Details => Vec::new(),
        PaneId::Layer => vec![
            raw("Enter", "open"),
            raw("P", "packages"),
            raw("e", "extract"),
            raw("y", "copy path"),
            raw("o", "order"),
            raw("i", "owner and time"),
        ],
        PaneId::Files => vec![
            raw("Enter", "open"),
            raw("a", "all or changed"),
            raw("e", "extract"),
            raw("y", "copy path"),
            raw("o", "order"),
            raw("i", "owner and time"),
        ],
        PaneId::Map => {
            vec![raw("Enter", "into it"), raw("Backspace", "out"), raw("e", "extract"), raw("y", "copy path")]
        }
        PaneId::Waste => vec![raw("Enter", "to the file"), raw("y", "copy path")],
        PaneId::Flow => vec![raw("Enter", "into it"), raw("Backspace", "out"), raw("Right", "to the image")],
        PaneId::Viewer => {
            vec![key(Action::Close, "close"), raw("d", "what changed"), raw("m", "bytes"), raw("w", "wrap")]
        }
    };
    keys.extend([key(Action::Find, "find"), key(Action::FocusNext, "next pane"), key(Action::Zoom, "zoom")]);
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::explore::update::context;
    use crate::tui::keymap::TABLE;

    #[test]
    fn every_hint_is_a_key_of_the_table() {
        for pane in PaneId::NUMBERED.into_iter().chain([PaneId::Viewer]) {
            for (key, word) in hints(pane) {
                let contexts = [context(pane), Context::Explorer, Context::Global];
                let known = |it: &crate::tui::keymap::Binding| {
                    contexts.contains(&it.context) && it.keys.iter().any(|it| it.to_string() == key)
                };
                assert!(TABLE.iter().any(known), "{key} {word} in {pane:?}");
            }
        }
    }
}
