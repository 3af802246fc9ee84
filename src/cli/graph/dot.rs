//! The graph for Graphviz.

use super::{Graph, Node, NodeKind, kind_name};
use std::fmt::Write;

pub(super) fn render(graph: &Graph) -> String {
    let mut out = String::from("digraph build {\n  node [shape=box, style=rounded];\n");
    for node in &graph.nodes {
        let _ = writeln!(out, "  {} [label={}{}];", node.id, quoted(&node.label), look(node));
    }
    for arrow in &graph.arrows {
        let (Some(from), Some(to)) = (graph.nodes.get(arrow.from), graph.nodes.get(arrow.to)) else { continue };
        let label = format!("{} {}", kind_name(arrow.kind), arrow.what);
        let style = if to.needed { "" } else { ", style=dashed" };
        let _ = writeln!(out, "  {} -> {} [label={}{style}];", from.id, to.id, quoted(label.trim_end()));
    }
    out.push_str("}\n");
    out
}

fn look(node: &Node) -> &'static str {
    match (node.kind, node.target, node.needed) {
        (NodeKind::Stage(_), true, _) => ", style=\"rounded,bold\"",
        (NodeKind::Stage(_), false, true) => "",
        (NodeKind::Stage(_), false, false) => ", style=\"rounded,dashed\"",
        _ => ", shape=ellipse, style=solid",
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
