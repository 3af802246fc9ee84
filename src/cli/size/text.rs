//! The report to read: a picture of the bytes, a line for each layer, then what is there twice.

use super::report::{Finding, Layer, Path, Report};
use crate::layers::findings::Severity;
use crate::tui::text::{clip, clip_start, sanitise, size, width, wrap};

/// How it is drawn.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    pub columns: usize,
    pub colours: bool,
}

/// As many findings are told.
const FINDINGS: usize = 15;

/// Of the files, as many are shown.
const FILES: usize = 25;

/// Columns of a layer's bar.
const BAR: usize = 10;

#[derive(Clone, Copy)]
enum Part {
    Live,
    Overwritten,
    Deleted,
    Metadata,
}

impl Part {
    const ALL: [Part; 4] = [Part::Live, Part::Overwritten, Part::Deleted, Part::Metadata];

    fn sign(self) -> char {
        match self {
            Part::Live => '█',
            Part::Overwritten => '▓',
            Part::Deleted => '▒',
            Part::Metadata => '░',
        }
    }

    /// As in "Select Graphic Rendition" of ECMA-48.
    fn colour(self) -> &'static str {
        match self {
            Part::Live => "32",
            Part::Overwritten => "33",
            Part::Deleted => "31",
            Part::Metadata => "35",
        }
    }
}

pub fn render(report: &Report, style: Style) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(text.trim_end());
        out.push('\n');
    };
    head(report, style).into_iter().for_each(&mut line);
    line(String::new());
    bytes(report, style).into_iter().for_each(&mut line);
    line(String::new());
    layers(report, style).into_iter().for_each(&mut line);
    report.stages.iter().flat_map(|stages| super::stages::render(stages, style)).for_each(&mut line);
    findings(report, style).into_iter().for_each(&mut line);
    files(report, style).into_iter().for_each(&mut line);
    verdict(report, style).into_iter().for_each(&mut line);
    out
}

fn head(report: &Report, style: Style) -> Vec<String> {
    let room = style.columns.saturating_sub(width(&report.platform) + 2);
    let name = sanitise(&report.image);
    let name = clip(&name, room, "…").into_owned();
    let gap = " ".repeat(style.columns.saturating_sub(width(&name) + width(&report.platform)));
    let digest = report.digest.as_ref().map(|it| format!(", {}", it.short())).unwrap_or_default();
    let origin = sanitise(&report.origin).into_owned();
    let base = report.base.as_ref().map(|base| {
        let layers = base.layers.map(|count| format!(" ({})", crate::tui::text::count(count, "layer")));
        format!(", on {}{}", sanitise(&base.name), layers.unwrap_or_default())
    });
    let base = base.unwrap_or_default();
    vec![
        format!("{}{gap}{}", style.paint("1", &name), sanitise(&report.platform)),
        style.paint("2", &clip(&format!("{origin}{digest}{base}"), style.columns, "…")),
    ]
}

fn bytes(report: &Report, style: Style) -> Vec<String> {
    let count = report.layers.len();
    let plural = if count == 1 { "" } else { "s" };
    let packed = match report.compressed_bytes {
        0 => String::new(),
        bytes => format!(", {} as stored", size(bytes)),
    };
    let left = format!("{} in {count} layer{plural}{packed}", size(report.total_bytes));
    let right = format!("dive's score, mended: {:.1} %", report.dive_score * 100.0);
    let gap = style.columns.saturating_sub(width(&left) + width(&right)).max(2);
    let mut out = vec![format!("{}{}{right}", style.paint("1", &left), " ".repeat(gap))];
    let shares = Part::ALL.map(|part| report.of(part));
    out.push(style.bar(&shares, report.total_bytes, style.columns));
    for part in Part::ALL {
        let bytes = report.of(part);
        let (name, about) = match part {
            Part::Live => ("live", "what a container sees"),
            Part::Overwritten => ("overwritten", "a later layer has other content there"),
            Part::Deleted => ("deleted", "a later layer takes it away"),
            Part::Metadata => ("rewritten", "a later layer has it again: owner, mode, time"),
        };
        let sign = style.paint(part.colour(), &part.sign().to_string());
        let text = format!("{name:<11} {:>9} {:>6}", size(bytes), percent(bytes, report.total_bytes));
        let about = clip(about, style.columns.saturating_sub(2 + width(&text) + 2), "…").into_owned();
        out.push(format!("{sign} {text}  {}", style.paint("2", &about)));
    }
    if report.duplicate_bytes > 0 {
        let text = format!(
            "{:<11} {:>9} {:>6}",
            "duplicate",
            size(report.duplicate_bytes),
            percent(report.duplicate_bytes, report.total_bytes)
        );
        let about = "of the live bytes: at several paths at once";
        out.push(format!("  {text}  {}", style.paint("2", about)));
    }
    out
}

fn layers(report: &Report, style: Style) -> Vec<String> {
    if report.layers.is_empty() {
        return vec!["There are no layers.".to_owned()];
    }
    let wide = style.columns >= 100;
    let stored = |text: &str| if wide { format!(" {text:>9}") } else { String::new() };
    let heading = format!(
        "{:>3} {:<BAR$} {:>9}{} {:>9} {:>9}  INSTRUCTION",
        "#",
        "LAYER",
        "BYTES",
        stored("STORED"),
        "DEAD",
        "KILLS"
    );
    let mut out = vec![style.paint("2", &heading)];
    let largest = report.layers.iter().map(|it| it.bytes).max().unwrap_or(0);
    for layer in &report.layers {
        let live = layer.bytes.saturating_sub(layer.dead_bytes);
        let shares = [live, layer.overwritten_bytes, layer.deleted_bytes, layer.metadata_bytes];
        // In proportion to the largest layer.
        let bar = style.bar(&shares, largest, BAR);
        let left = format!(
            "{:>9}{} {:>9} {:>9}  ",
            size(layer.bytes),
            stored(&size(layer.compressed_bytes)),
            some(layer.dead_bytes),
            some(layer.killed_bytes)
        );
        let room = style.columns.saturating_sub(3 + 1 + BAR + 1 + width(&left));
        out.push(format!("{:>3} {bar} {left}{}", layer.index, instruction(layer, room)));
    }
    out
}

/// What made a layer, on one line; with its line in the Dockerfile where that is known.
pub fn instruction(layer: &Layer, room: usize) -> String {
    let Some(text) = &layer.instruction else { return clip("(unattributed)", room, "…").into_owned() };
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = layer.line.map(|line| format!("{line}: ")).unwrap_or_default();
    clip(&sanitise(&format!("{line}{one_line}")), room, "…").into_owned()
}

fn findings(report: &Report, style: Style) -> Vec<String> {
    if report.findings.is_empty() {
        return Vec::new();
    }
    let mut out = vec![String::new(), style.paint("1", "What stands out")];
    for finding in report.findings.iter().take(FINDINGS) {
        out.extend(told(finding, report, style));
    }
    if report.findings.len() > FINDINGS {
        let more = format!("{:>9}  and {} more: --json lists all", "", report.findings.len() - FINDINGS);
        out.push(style.paint("2", &more));
    }
    out
}

/// One finding: what and where, the instructions, what to do.
fn told(finding: &Finding, report: &Report, style: Style) -> Vec<String> {
    const INDENT: usize = 11;
    let room = style.columns.saturating_sub(INDENT);
    let indented = |text: String| format!("{}{text}", " ".repeat(INDENT));
    let (label, colour) = match finding.severity {
        Severity::Danger => ("danger".to_owned(), "1;31"),
        Severity::Waste => (size(finding.bytes), "33"),
        Severity::Hint => (size(finding.bytes), "2"),
    };
    let mut lines = wrap(&finding.what, room).into_iter();
    let first = lines.next().unwrap_or_default();
    let mut out = vec![format!("{}  {}", style.paint(colour, &format!("{label:>9}")), style.paint("1", &first))];
    out.extend(lines.map(|line| indented(style.paint("1", &line))));
    let more = finding.count.saturating_sub(finding.examples.len() as u64);
    let is_directory = finding.examples.iter().any(|it| it.path.ends_with('/'));
    let mut paths = finding.examples.iter().map(shown).collect::<Vec<_>>().join("  ");
    match (is_directory, more) {
        (true, _) => paths += &format!("  ({} files)", finding.count),
        (false, more) if more > 0 && finding.examples.len() > 1 => paths += &format!("  and {more} more"),
        _ => {}
    }
    out.push(indented(clip(&paths, room, "…").into_owned()));
    for (layer, sign) in [(finding.layer, "+"), (finding.killed_by, "-")] {
        let Some(layer) = layer.and_then(|layer| report.layers.get(layer as usize)) else { continue };
        let left = format!("{sign} layer {}  ", layer.index);
        let text = instruction(layer, room.saturating_sub(width(&left)));
        out.push(indented(style.paint("2", &format!("{left}{text}"))));
    }
    let mend = wrap(&finding.mend, room.saturating_sub(2)).into_iter().enumerate();
    out.extend(mend.map(|(at, line)| indented(format!("{} {line}", if at == 0 { "→" } else { " " }))));
    out
}

fn files(report: &Report, style: Style) -> Vec<String> {
    let Some(files) = &report.files else { return Vec::new() };
    let mut out = vec![String::new(), style.paint("1", "The largest files, live and dead")];
    for file in files.iter().take(FILES) {
        let fate = match file.killed_by {
            None => "live".to_owned(),
            Some(layer) => format!("{} by {layer}", super::state(file.state)),
        };
        let left = format!("{:>9}  layer {:>3}  {fate:<16}  ", size(file.bytes), file.layer);
        let room = style.columns.saturating_sub(width(&left));
        out.push(format!("{left}{}", clip_start(&shown(&file.path), room, "…")));
    }
    if files.len() > FILES {
        let more = format!("{:>9}  and {} more: --json lists all", "", files.len() - FILES);
        out.push(style.paint("2", &more));
    }
    out
}

/// What the gate found; nothing if there is none.
pub fn verdict(report: &Report, style: Style) -> Vec<String> {
    let Some(verdict) = &report.gate else { return Vec::new() };
    let count = verdict.rules.len();
    let heading = match verdict.failed() {
        0 if count == 1 => "The gate: its limit is kept".to_owned(),
        0 => format!("The gate: all {count} limits are kept"),
        failed => format!("The gate: {failed} of {count} limits not kept"),
    };
    let mut out = vec![String::new(), style.paint("1", &heading)];
    for rule in &verdict.rules {
        let (sign, colour) = if rule.passed { ("✓", "32") } else { ("✗", "31") };
        let limit = sanitise(&rule.limit).into_owned();
        let text = format!("{:<15}  {limit:<32}  {}", rule.rule, rule.found);
        out.push(format!("{} {text}", style.paint(colour, sign)));
        for place in &rule.paths {
            out.push(format!("    {}", clip_start(&place.shown(), style.columns.saturating_sub(4), "…")));
        }
    }
    out
}

pub fn shown(path: &Path) -> String {
    sanitise(&path.path).into_owned()
}

pub fn percent(part: u64, of: u64) -> String {
    match of {
        0 => "–".to_owned(),
        of => format!("{:.1} %", part as f64 * 100.0 / of as f64),
    }
}

fn some(bytes: u64) -> String {
    if bytes == 0 { "–".to_owned() } else { size(bytes) }
}

impl Report {
    fn of(&self, part: Part) -> u64 {
        match part {
            Part::Live => self.live_bytes,
            Part::Overwritten => self.overwritten_bytes,
            Part::Deleted => self.deleted_bytes,
            Part::Metadata => self.metadata_bytes,
        }
    }
}

impl Style {
    pub fn paint(self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// One part of a whole that is as wide as `columns`.
    pub fn plain_bar(self, part: u64, whole: u64, columns: usize) -> String {
        self.bar(&[part, 0, 0, 0], whole, columns)
    }

    /// Parts side by side, `whole` being as wide as `columns`. A part that is there at all gets a column.
    fn bar(self, parts: &[u64; 4], whole: u64, columns: usize) -> String {
        let widths = apportion(parts, whole, columns);
        let mut out = String::new();
        for (part, width) in Part::ALL.into_iter().zip(widths) {
            if width > 0 {
                out.push_str(&self.paint(part.colour(), &part.sign().to_string().repeat(width)));
            }
        }
        let used: usize = widths.iter().sum();
        out.push_str(&" ".repeat(columns.saturating_sub(used)));
        out
    }
}

/// Columns of each part: in proportion, at least one for what is not nothing, and together no more than there are.
fn apportion(parts: &[u64; 4], whole: u64, columns: usize) -> [usize; 4] {
    let scaled = |bytes: u64| match whole {
        0 => 0,
        whole => (bytes as f64 * columns as f64 / whole as f64).round() as usize,
    };
    let mut widths = parts.map(|bytes| if bytes == 0 { 0 } else { scaled(bytes).max(1) });
    while widths.iter().sum::<usize>() > columns {
        match widths.iter().enumerate().filter(|(_, width)| **width > 1).max_by_key(|(_, width)| **width) {
            Some((at, _)) => widths[at] -= 1,
            None => break,
        }
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_in_proportion() {
        let check = |parts, whole, columns, expected| assert_eq!(apportion(&parts, whole, columns), expected);
        check([50, 25, 25, 0], 100, 8, [4, 2, 2, 0]);
        check([1000, 1, 1, 1], 1003, 10, [7, 1, 1, 1]);
        check([0, 0, 0, 0], 0, 10, [0, 0, 0, 0]);
        check([10, 0, 0, 0], 100, 10, [1, 0, 0, 0]);
        check([u64::MAX, 0, 0, 0], u64::MAX, 10, [10, 0, 0, 0]);
    }
}
