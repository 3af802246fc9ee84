//! The gate's outcome as JUnit XML, a test case for each limit: what CI systems read.

use super::gate::{Place, Rule};
use super::report::Report;
use std::fmt::Write;

pub(super) fn render(report: &Report) -> String {
    let rules: &[Rule] = report.gate.as_ref().map_or(&[], |verdict| &verdict.rules);
    let failures = rules.iter().filter(|rule| !rule.passed).count();
    let counts = format!("tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\" time=\"0\"", rules.len());
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let name = escaped(&format!("stagedive size {}", report.image));
    let _ = writeln!(out, "<testsuites name=\"stagedive size\" {counts}>");
    let _ = writeln!(out, "  <testsuite name=\"{name}\" {counts}>");
    for rule in rules {
        let name = escaped(&format!("{}: {}", rule.rule, rule.limit));
        let case = format!("    <testcase classname=\"stagedive.size\" name=\"{name}\" time=\"0\"");
        if rule.passed {
            let _ = writeln!(out, "{case}/>");
            continue;
        }
        // Some readers show the attribute, some the text.
        let message = format!("{}: {}", rule.limit, rule.found);
        let text: Vec<String> = [message.clone()].into_iter().chain(rule.paths.iter().map(Place::shown)).collect();
        let _ = writeln!(out, "{case}>");
        let (kind, message, text) = (rule.rule, escaped(&message), escaped(&text.join("\n")));
        let _ = writeln!(out, "      <failure type=\"{kind}\" message=\"{message}\">{text}</failure>");
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
