//! The gate's outcome as JUnit XML, a test case for each limit: what CI systems read.

use super::gate::{Place, Rule};
use super::report::Report;
use std::fmt::Write;

pub(super) fn render(report: &Report) -> String {
    let rules: &[Rule] = report.gate.as_ref().map_or(&[], |verdict| &verdict.rules);
    let failures = rules.iter().filter(|rule| !rule.passed).count();
    let counts = format!("tests=\"{}\" failures=\"{failures}\"", rules.len());
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(out, "<testsuites {counts}>");
    let _ = writeln!(out, "  <testsuite name=\"stagedive size {}\" {counts}>", escaped(&report.image));
    for rule in rules {
        let name = escaped(&format!("{}: {}", rule.rule, rule.limit));
        let case = format!("    <testcase classname=\"stagedive.size\" name=\"{name}\"");
        if rule.passed {
            let _ = writeln!(out, "{case}/>");
            continue;
        }
        let paths: Vec<String> = rule.paths.iter().map(Place::shown).collect();
        let _ = writeln!(out, "{case}>");
        let _ = writeln!(
            out,
            "      <failure message=\"{}: {}\">{}</failure>",
            escaped(&rule.limit),
            escaped(&rule.found),
            escaped(&paths.join("\n"))
        );
        out.push_str("    </testcase>\n");
    }
    out.push_str("  </testsuite>\n</testsuites>\n");
    out
}

/// Characters that XML 1.0 does not have at all are replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
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
        let check = |text: &str, expected: &str| assert_eq!(escaped(text), expected);
        check("a<b>&\"c\"\n", "a&lt;b&gt;&amp;&quot;c&quot;\n");
        check("\u{1b}[31m\0\u{85}\u{ffff}", "\u{fffd}[31m\u{fffd}\u{fffd}\u{fffd}");
    }
}
