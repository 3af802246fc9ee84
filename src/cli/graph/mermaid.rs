//! The graph for Mermaid, which Markdown viewers draw.

use super::{Graph, NodeKind, kind_name};
use std::fmt::Write;

pub(super) fn render(graph: &Graph) -> String {
    let mut out = String::from("flowchart TD\n");
    for node in &graph.nodes {
        let label = quoted(&node.label);
        let _ = match node.kind {
            NodeKind::Stage(_) => writeln!(out, "  {}[{label}]", node.id),
            NodeKind::Image | NodeKind::Context => writeln!(out, "  {}([{label}])", node.id),
        };
    }
    for arrow in &graph.arrows {
        let (Some(from), Some(to)) = (graph.nodes.get(arrow.from), graph.nodes.get(arrow.to)) else { continue };
        let label = format!("{} {}", kind_name(arrow.kind), arrow.what);
        let line = if to.needed { "-->" } else { "-.->" };
        let _ = writeln!(out, "  {} {line}|{}| {}", from.id, quoted(label.trim_end()), to.id);
    }
    for node in graph.nodes.iter().filter(|node| node.target) {
        let _ = writeln!(out, "  style {} stroke-width:3px", node.id);
    }
    for node in graph.nodes.iter().filter(|node| !node.needed) {
        let _ = writeln!(out, "  style {} stroke-dasharray:4", node.id);
    }
    out
}

/// Text in quotes, with the characters as codes that would end them or begin markup.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '#' | '<' | '>' | '&' | '`' | '\\' | '|' => {
                let _ = write!(out, "#{};", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
