//! The report to read: sums, packages, directories, then path by path.

use super::super::blame::text::{differences, properties};
use super::super::size::text::Style;
use super::report::{Directory, Entry, Packages, Report, Sums};
use crate::layers::packages::Package;
use crate::tui::text::{clip, clip_start, count, sanitise, size, width};

/// Directories that are told.
const DIRECTORIES: usize = 12;

pub fn render(report: &Report, style: Style, listed: bool) -> String {
    let mut lines = names(report, style);
    if report.sums.is_empty() {
        let whole = report.warnings.is_empty();
        lines.push(if whole { "nothing differs" } else { "nothing is known to differ" }.to_owned());
        return joined(&lines);
    }
    lines.push(total(&report.sums));
    lines.extend(packages(&report.packages, style));
    lines.extend(directories(&report.directories, style));
    if listed {
        lines.push(String::new());
        let texts = report.entries.iter().any(|entry| entry.text.is_some());
        lines.extend(report.entries.iter().map(|it| entry(it, style)));
        if texts {
            lines.extend(report.entries.iter().flat_map(|it| text(it, style)));
        }
    }
    joined(&lines)
}

/// On one line, if both have room there.
fn names(report: &Report, style: Style) -> Vec<String> {
    let (before, after) = (sanitise(&report.before.name), format!("→ {}", sanitise(&report.after.name)));
    let lines = match width(&before) + 1 + width(&after) <= style.columns {
        true => vec![format!("{before} {after}")],
        false => vec![before.into_owned(), after],
    };
    lines.iter().map(|line| style.paint("1", &clip(line, style.columns, "…"))).collect()
}

fn joined(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// `3 added, 1 modified`.
fn counts(sums: &Sums) -> String {
    let counts = [(sums.added, "added"), (sums.modified, "modified"), (sums.removed, "removed")];
    let counts = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    counts.collect::<Vec<_>>().join(", ")
}

/// `3 added, 1 modified; +79.8 MB -5.0 kB`.
fn total(sums: &Sums) -> String {
    let bytes = [signed('+', sums.added_bytes), signed('-', sums.removed_bytes)];
    let bytes = bytes.into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join(" ");
    if bytes.is_empty() { counts(sums) } else { format!("{}; {bytes}", counts(sums)) }
}

fn signed(sign: char, bytes: u64) -> String {
    if bytes == 0 { String::new() } else { format!("{sign}{}", size(bytes)) }
}

fn packages(it: &Packages, style: Style) -> Vec<String> {
    if it.added.is_empty() && it.removed.is_empty() && it.changed.is_empty() {
        return Vec::new();
    }
    let mut parts = Vec::new();
    if !it.added.is_empty() {
        parts.push(format!("added {}, {}", count(it.added.len(), "package"), size(it.added_bytes)));
    }
    if !it.removed.is_empty() {
        parts.push(format!("removed {}", count(it.removed.len(), "package")));
    }
    if !it.changed.is_empty() {
        parts.push(format!("changed {}", count(it.changed.len(), "package")));
    }
    let mut lines = vec![String::new(), style.paint("1", &parts.join("; "))];
    let line = |letter: &str, package: &Package, version: String| {
        let kind = format!("{} {}", package.manager.name(), package.architecture);
        let text = format!("{} {version} ({})", package.name, kind.trim_end());
        let left = clip(&sanitise(&text), style.columns.saturating_sub(14), "…").into_owned();
        let gap = " ".repeat(style.columns.saturating_sub(14 + width(&left)));
        format!("{} {left}{gap} {:>9}", style.letter(letter), size(package.size))
    };
    lines.extend(it.added.iter().map(|package| line("added", package, package.version.clone())));
    let change = |before: &Package, after: &Package| format!("{} → {}", before.version, after.version);
    lines.extend(it.changed.iter().map(|it| line("modified", &it.after, change(&it.before, &it.after))));
    lines.extend(it.removed.iter().map(|package| line("removed", package, package.version.clone())));
    lines
}

fn directories(all: &[Directory], style: Style) -> Vec<String> {
    if all.len() < 2 {
        return Vec::new();
    }
    let rows: Vec<[String; 4]> = all.iter().take(DIRECTORIES).map(row).collect();
    let [added, removed, paths, counts] =
        [0, 1, 2, 3].map(|at| rows.iter().map(|row| width(&row[at])).max().unwrap_or(0));
    let paths = paths.min(style.columns.saturating_sub(added + removed + counts + 7).max(16));
    let line = |[plus, minus, path, counts]: &[String; 4]| {
        let path = clip_start(path, paths, "…");
        let gap = " ".repeat(paths.saturating_sub(width(&path)));
        format!("  {plus:>added$} {minus:>removed$}  {path}{gap}  {counts}")
    };
    let mut lines = vec![String::new(), style.paint("1", "By directory")];
    lines.extend(rows.iter().map(line));
    let more = all.len().saturating_sub(DIRECTORIES);
    if more > 0 {
        lines.push(style.paint("2", &format!("  and {more} more")));
    }
    lines
}

/// Bytes that came and went, the path, the counts.
fn row(it: &Directory) -> [String; 4] {
    let path = format!("/{}", sanitise(&it.path.path));
    [signed('+', it.sums.added_bytes), signed('-', it.sums.removed_bytes), path, counts(&it.sums)]
}

fn entry(entry: &Entry, style: Style) -> String {
    let what = match (&entry.before, &entry.after) {
        (Some(before), Some(after)) => differences(&entry.differences, before, after).join("; "),
        (Some(state), None) | (None, Some(state)) => properties(state, state.bytes),
        (None, None) => String::new(),
    };
    // What is long is told whole: a path that is cut cannot be used.
    format!("{} /{}  {}", style.letter(entry.change), sanitise(&entry.path.path), style.paint("2", &sanitise(&what)))
}

fn text(entry: &Entry, style: Style) -> Vec<String> {
    let Some(text) = &entry.text else { return Vec::new() };
    let path = sanitise(&entry.path.path).into_owned();
    let mut lines =
        vec![String::new(), style.paint("1", &format!("--- /{path}")), style.paint("1", &format!("+++ /{path}"))];
    lines.extend(text.split_terminator('\n').map(|line| {
        let colour = match line.bytes().next() {
            Some(b'+') => "32",
            Some(b'-') => "31",
            Some(b'@') => "36",
            _ => return sanitise(line).into_owned(),
        };
        style.paint(colour, &sanitise(line))
    }));
    lines
}
