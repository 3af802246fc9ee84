//! The report to read: what the path is, who touched it, and where its bytes come from.

use super::super::size::text::Style;
use super::report::{Entry, Hop, Layer, Report, Source, State, Touch};
use crate::layers::Kind;
use crate::tui::text::{clip, clip_start, sanitise, size, width};
use std::collections::BTreeSet;

pub fn render(report: &Report, style: Style) -> String {
    let mut lines = head(report, style);
    if !report.touches.is_empty() {
        lines.push(String::new());
        lines.extend(report.touches.iter().flat_map(|it| touch(it, style)));
    }
    if let Some(entries) = report.entries.as_ref().filter(|entries| !entries.is_empty()) {
        lines.push(String::new());
        lines.push(style.paint("1", "The last instruction for each entry"));
        let room = entries.iter().map(|it| width(&name(it))).max().unwrap_or(0).clamp(8, style.columns / 3);
        let places = entries.iter().map(|it| width(&place(&it.layer))).max().unwrap_or(0).min(style.columns / 4);
        lines.extend(entries.iter().map(|it| entry(it, room, places, style)));
    }
    if let Some(chain) = report.chain.as_ref().filter(|chain| !chain.is_empty() && !report.path.path.is_empty()) {
        lines.push(String::new());
        lines.push(style.paint("1", "Where it comes from"));
        let paths = chain.iter().map(|it| width(&hop_path(it))).max().unwrap_or(0).min(style.columns / 2);
        lines.extend(chain.iter().map(|it| hop(it, paths, style)));
        lines.extend(report.source.as_ref().and_then(source).map(|it| clip(&it, style.columns, "…").into_owned()));
        for it in &report.alike {
            let gone = if it.gone { ", which it took away" } else { "" };
            let words = format!("  the same content as /{} before it{gone}", sanitise(&it.path.path));
            lines.push(style.paint("2", &clip(&words, style.columns, "…")));
            lines.extend(it.chain.iter().map(|it| hop(it, paths, style)));
            lines.extend(source(&it.source).map(|it| clip(&it, style.columns, "…").into_owned()));
        }
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn head(report: &Report, style: Style) -> Vec<String> {
    let what = match &report.now {
        Some(state) => properties(state, report.bytes),
        None => "gone".to_owned(),
    };
    let room = style.columns.saturating_sub(width(&what) + 2);
    let path = format!("/{}", report.path.path);
    let path = clip_start(&sanitise(&path), room, "…").into_owned();
    let gap = " ".repeat(style.columns.saturating_sub(width(&path) + width(&what)));
    let mut lines = vec![format!("{}{gap}{what}", style.paint("1", &path))];
    if let Some(base) = &report.base {
        let name = sanitise(&base.name);
        let words = match base.layers {
            Some(1) => format!("on {name}, whose layer is #0"),
            Some(count) => format!("on {name}, whose layers are #0 to #{}", count.saturating_sub(1)),
            None => format!("on {name}, as its annotations say; which layers are its own is not known here"),
        };
        lines.push(style.paint("2", &clip(&words, style.columns, "…")));
    }
    lines
}

pub fn properties(state: &State, bytes: u64) -> String {
    let kind = match state.kind {
        Kind::File => size(bytes),
        Kind::Directory => format!("directory, {}", size(bytes)),
        Kind::Symlink => format!("link to {}", sanitise(&state.target)),
        Kind::Fifo => "fifo".to_owned(),
        Kind::Socket => "socket".to_owned(),
        Kind::CharDevice => format!("character device {}", numbers(state)),
        Kind::BlockDevice => format!("block device {}", numbers(state)),
    };
    format!("{kind}, {}, {}:{}", state.mode, state.uid, state.gid)
}

/// A device's: `8:0`.
fn numbers(state: &State) -> String {
    let (major, minor) = state.device.unwrap_or_default();
    format!("{major}:{minor}")
}

fn touch(touch: &Touch, style: Style) -> Vec<String> {
    let letter = style.letter(touch.change);
    let left = format!("{letter} {}", place(&touch.layer));
    let room = style.columns.saturating_sub(width(&place(&touch.layer)) + 2 + 2);
    vec![
        format!("{left}  {}", instruction(&touch.layer, room)),
        format!("    {}", style.paint("2", &what(touch, style.columns - 4))),
    ]
}

/// What changed, in words.
fn what(touch: &Touch, room: usize) -> String {
    let mut parts = Vec::new();
    if let Some(gone) = &touch.gone {
        let by = format!("/{}", gone.by.path);
        parts.push(match gone.cause {
            "whiteout" => format!("{by} is deleted"),
            "opaque" => format!("{by} is emptied of what lower layers have (opaque)"),
            _ => format!("{by} is replaced by something that is no directory"),
        });
    }
    if touch.emptied {
        parts.push("emptied of what lower layers have in it (opaque)".to_owned());
    }
    match (&touch.before, &touch.after) {
        (None, Some(after)) => parts.push(properties(after, after.bytes)),
        (Some(before), Some(after)) => {
            let told = |name: &&str| !touch.emptied || *name != "time";
            let names: Vec<&str> = touch.differences.iter().copied().filter(told).collect();
            parts.extend(differences(&names, before, after));
            if touch.differences.is_empty() && !touch.emptied {
                parts.push("written again, the same".to_owned());
            }
        }
        _ => {}
    }
    clip(&sanitise(&parts.join("; ")), room, "…").into_owned()
}

/// In what two states differ, in words. Of another kind all properties are told at once.
pub fn differences(names: &[&str], before: &State, after: &State) -> Vec<String> {
    let told = |name: &&&str| !names.contains(&"kind") || !["mode", "owner"].contains(*name);
    names.iter().filter(told).map(|name| difference(name, before, after)).collect()
}

fn difference(name: &str, before: &State, after: &State) -> String {
    match name {
        "kind" => format!("{} → {}", properties(before, before.bytes), properties(after, after.bytes)),
        "content" if after.kind == Kind::Symlink => format!("link {} → {}", before.target, after.target),
        "content" if after.device.is_some() => format!("device {} → {}", numbers(before), numbers(after)),
        "content" => format!("content {} → {}", size(before.bytes), size(after.bytes)),
        "mode" => format!("mode {} → {}", before.mode, after.mode),
        "owner" => format!("owner {}:{} → {}:{}", before.uid, before.gid, after.uid, after.gid),
        "time" => "written again, another time".to_owned(),
        "xattrs" => format!("xattrs {}", xattrs(before, after).join(", ")),
        other => other.to_owned(),
    }
}

/// Each attribute that differs.
fn xattrs(before: &State, after: &State) -> Vec<String> {
    let names: BTreeSet<&String> = before.xattrs.keys().chain(after.xattrs.keys()).collect();
    let change = |name: &String| match (before.xattrs.get(name), after.xattrs.get(name)) {
        (None, Some(value)) => Some(format!("+{name}={value}")),
        (Some(_), None) => Some(format!("-{name}")),
        (Some(old), Some(new)) if old != new => Some(format!("{name}={old} → {new}")),
        _ => None,
    };
    names.into_iter().filter_map(change).collect()
}

/// `Dockerfile`'s place, or the layer.
fn place(layer: &Layer) -> String {
    match (&layer.base, &layer.stage, layer.line) {
        (Some(base), _, _) => format!("{} #{}", sanitise(base), layer.index),
        (None, Some(stage), Some(line)) => format!("{}:{line}", sanitise(stage)),
        _ => format!("#{}", layer.index),
    }
}

fn instruction(layer: &Layer, room: usize) -> String {
    let text = layer.instruction.as_deref().unwrap_or("(unattributed)");
    one_line(text, room)
}

fn one_line(text: &str, room: usize) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    clip(&sanitise(&text), room, "…").into_owned()
}

fn name(entry: &Entry) -> String {
    let slash = if entry.now.as_ref().is_some_and(|it| it.kind == Kind::Directory) { "/" } else { "" };
    format!("{}{slash}", sanitise(&entry.name.path))
}

fn entry(entry: &Entry, room: usize, places: usize, style: Style) -> String {
    let name = clip(&name(entry), room, "…").into_owned();
    let gap = " ".repeat(room.saturating_sub(width(&name)));
    let letter = match entry.change {
        Some(change) => style.letter(change),
        None => " ".to_owned(),
    };
    let bytes = if entry.now.is_some() { size(entry.bytes) } else { "gone".to_owned() };
    let place = clip_start(&place(&entry.layer), places, "…").into_owned();
    let place = format!("{place}{}", " ".repeat(places.saturating_sub(width(&place))));
    let used = 2 + room + 2 + 9 + 2 + places + 2;
    format!(
        "{letter} {name}{gap}  {bytes:>9}  {place}  {}",
        instruction(&entry.layer, style.columns.saturating_sub(used))
    )
}

fn hop_path(hop: &Hop) -> String {
    format!("/{}", sanitise(&hop.path.path))
}

fn hop(hop: &Hop, paths: usize, style: Style) -> String {
    let place = format!("{}:{}", sanitise(&hop.stage), hop.line);
    let path = hop_path(hop);
    let gap = " ".repeat(paths.saturating_sub(width(&path)));
    let note = match hop.how {
        "touched" => " (only its properties)",
        _ => "",
    };
    let left = format!("  {place:<14} {path}{gap}");
    let room = style.columns.saturating_sub(width(&left) + 2 + width(note));
    format!("{left}  {}{note}", style.paint("2", &one_line(&hop.instruction, room)))
}

/// The end of the way, if it is not the last instruction itself.
fn source(source: &Source) -> Option<String> {
    let name = source.name.as_deref().map(|name| sanitise(name).into_owned());
    let path = source.path.as_ref().map(|path| sanitise(&path.path).into_owned());
    let what = match (source.kind, name, path) {
        ("instruction", ..) => return None,
        ("context", None, path) => ("context".to_owned(), path),
        ("context", Some(name), path) => (format!("context {name}"), path),
        ("image", name, path) => (name.unwrap_or_default(), path.map(|path| format!("/{path}"))),
        (kind, name, path) => (kind.to_owned(), name.or(path)),
    };
    let (kind, rest) = what;
    Some(format!("  {kind:<14} {}", rest.unwrap_or_default()))
}

impl Style {
    /// The letter of a change, in its colour.
    pub fn letter(self, change: &str) -> String {
        match change {
            "added" => self.paint("32", "A"),
            "modified" => self.paint("33", "M"),
            "removed" => self.paint("31", "D"),
            _ => " ".to_owned(),
        }
    }
}
