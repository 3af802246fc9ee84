//! The report as Markdown (GitHub's), for the comment of a pull request or the summary of a CI run.

use super::gate::Place;
use super::report::Report;
use super::text::{instruction, percent, shown};
use crate::layers::findings::Severity;
use crate::tui::text::{sanitise, size};
use std::fmt::Write;

/// Columns of an instruction.
const INSTRUCTION: usize = 100;

/// As many findings.
const FINDINGS: usize = 30;

/// Groups of equal files.
const DUPLICATES: usize = 10;

pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "## Size of {}\n", code(&report.image));
    if let Some(verdict) = &report.gate {
        let count = verdict.rules.len();
        let _ = match verdict.failed() {
            0 => writeln!(out, "**The gate is passed**: {count} of {count} limits are kept.\n"),
            failed => writeln!(out, "**The gate is not passed**: {failed} of {count} limits are not kept.\n"),
        };
        out.push_str("| | limit | | found |\n|---|---|---|---|\n");
        for rule in &verdict.rules {
            let sign = if rule.passed { "✅" } else { "❌" };
            let _ = writeln!(out, "| {sign} | {} | {} | {} |", rule.rule, code_cell(&rule.limit), cell(&rule.found));
        }
        out.push('\n');
        for rule in &verdict.rules {
            let places = rule.paths.iter().map(Place::shown);
            places.for_each(|place| out.push_str(&format!("- {}: {}\n", rule.rule, code(&place))));
        }
        if verdict.rules.iter().any(|rule| !rule.paths.is_empty()) {
            out.push('\n');
        }
    }
    out.push_str("| | bytes | share |\n|---|--:|--:|\n");
    let total = report.total_bytes;
    let lines = [
        ("**all layers**", total),
        ("live", report.live_bytes),
        ("overwritten", report.overwritten_bytes),
        ("deleted", report.deleted_bytes),
        ("rewritten with the same content", report.metadata_bytes),
        ("duplicate, of the live bytes", report.duplicate_bytes),
    ];
    for (name, bytes) in lines {
        let _ = writeln!(out, "| {name} | {} | {} |", size(bytes), percent(bytes, total));
    }
    if report.compressed_bytes > 0 {
        let _ = writeln!(out, "| as stored | {} | |", size(report.compressed_bytes));
    }
    let _ = writeln!(out, "\ndive's score, mended: {:.1} %\n", report.dive_score * 100.0);
    out.push_str("| # | bytes | dead | kills | instruction |\n|--:|--:|--:|--:|---|\n");
    for layer in &report.layers {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            layer.index,
            size(layer.bytes),
            size(layer.dead_bytes),
            size(layer.killed_bytes),
            code_cell(&instruction(layer, INSTRUCTION))
        );
    }
    if let Some(stages) = &report.stages {
        out.push_str("\n| stage | built | of its base | in the image | share |\n|---|--:|--:|--:|--:|\n");
        for it in stages {
            let (built, base, shipped) = (size(it.built_bytes), size(it.base_bytes), size(it.shipped_bytes));
            let (name, share) = (code_cell(&it.name), percent(it.shipped_bytes, report.live_bytes));
            let _ = writeln!(out, "| {name} | {built} | {base} | {shipped} | {share} |");
        }
    }
    if !report.duplicates.is_empty() {
        out.push_str("\n| the same content at several paths | |\n|--:|---|\n");
        for it in report.duplicates.iter().take(DUPLICATES) {
            let paths: Vec<String> = it.paths.iter().take(5).map(|path| code_cell(&shown(path))).collect();
            let more = if it.copies > 5 { format!(" and {} more", it.copies - 5) } else { String::new() };
            let _ = writeln!(out, "| {} | {}{more} |", size(it.extra_bytes), paths.join(", "));
        }
    }
    if !report.findings.is_empty() {
        out.push_str("\n| finding | bytes | where | what to do |\n|---|--:|---|---|\n");
        for it in report.findings.iter().take(FINDINGS) {
            let paths: Vec<String> = it.examples.iter().map(|path| code_cell(&shown(path))).collect();
            let layer = it.layer.map(|layer| format!("layer {layer}: ")).unwrap_or_default();
            let (what, mend) = (cell(&it.what), cell(&it.mend));
            let bytes = if it.severity == Severity::Danger { "**danger**".to_owned() } else { size(it.bytes) };
            let _ = writeln!(out, "| {what} | {bytes} | {layer}{} | {mend} |", paths.join(", "));
        }
        if report.findings.len() > FINDINGS {
            let _ = writeln!(out, "\nThere are {} more.", report.findings.len() - FINDINGS);
        }
    }
    for line in &report.warnings {
        let _ = writeln!(out, "\n> {}", cell(line));
    }
    out
}

/// Text from outside as it is: nothing in it is markup.
fn code(text: &str) -> String {
    let text = sanitise(text);
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let longest = one_line.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if one_line.starts_with('`') || one_line.ends_with('`') || one_line.is_empty() { " " } else { "" };
    format!("{fence}{pad}{one_line}{pad}{fence}")
}

/// The same in a cell of a table. A backslash keeps a bar in its cell, and nothing keeps one behind another backslash
/// there as long as it is code.
fn code_cell(text: &str) -> String {
    if !text.contains("\\|") {
        return code(text).replace('|', "\\|");
    }
    let parts = text.split('|').map(|part| if part.trim().is_empty() { String::new() } else { code(part) });
    parts.collect::<Vec<_>>().join("\\|")
}

/// Words with nothing of markup in them.
fn cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in sanitise(text).chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~' | '!' | '&' => out.extend(['\\', c]),
            '\n' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_the_markup() {
        let check = |text: &str, expected: &str| assert_eq!(code_cell(text), expected);
        check("RUN a | b", "`RUN a \\| b`");
        check("a\\|b`c\\\\||", "`a\\`\\|``b`c\\\\``\\|\\|");
        check("a `b` c", "``a `b` c``");
        check("`a`", "`` `a` ``");
        check("", "`  `");
        check("\u{1b}[31m\na", "`^[[31m^Ja`");
        assert_eq!(code("a|b"), "`a|b`");
        assert_eq!(cell("<img> [x](y) a|b"), "\\<img\\> \\[x\\](y) a\\|b");
    }
}
