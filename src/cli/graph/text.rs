//! The graph as text: one line a stage or image, with rails at the left from each to those that take from it.

use super::{EdgeKind, Graph, Node, NodeKind, Plan, kind_name};
use crate::tui::text::width;

/// Rails side by side beyond which none are drawn: the list alone can be read then.
const MOST_RAILS: usize = 24;

pub(super) fn render(plan: &Plan, graph: &Graph) -> String {
    let rails = rails(graph);
    let notes: Vec<[String; 3]> =
        graph.nodes.iter().enumerate().map(|(at, node)| [name(node), lines(plan, node), sources(graph, at)]).collect();
    let widest = |column: usize| notes.iter().map(|note| width(&note[column])).max().unwrap_or(0).min(48);
    let (first, second) = (widest(0), widest(1));
    let mut out = format!("{} for {}\n\n", plan.stage(plan.target).label(), plan.platform);
    for (rail, note) in rails.iter().zip(&notes) {
        let [name, lines, sources] = note;
        let line = format!("{rail}{}  {}  {sources}", padded(name, first), padded(lines, second));
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out.push_str("\n● runs");
    if graph.nodes.iter().any(|node| !node.needed) {
        out.push_str("   ◌ not needed");
    }
    if graph.nodes.iter().any(|node| !matches!(node.kind, NodeKind::Stage(_))) {
        out.push_str("   ○ from outside");
    }
    out.push('\n');
    out
}

fn padded(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

fn name(node: &Node) -> String {
    match (node.target, node.needed) {
        (true, _) => format!("{} (target)", node.label),
        (false, true) => node.label.clone(),
        (false, false) => format!("{} (not needed)", node.label),
    }
}

fn lines(plan: &Plan, node: &Node) -> String {
    let NodeKind::Stage(id) = node.kind else { return String::new() };
    let steps = &plan.stage(id).steps;
    let first = steps.first().map_or(0, |step| step.lines.start);
    let last = steps.last().map_or(0, |step| step.lines.end);
    if first == last { format!("line {first}") } else { format!("lines {first}–{last}") }
}

/// What the node takes, in words: `FROM alpine:3.20, COPY builder (line 12)`.
fn sources(graph: &Graph, at: usize) -> String {
    let words: Vec<String> = graph
        .into(at)
        .map(|arrow| {
            let from = graph.nodes.get(arrow.from).map_or("", |node| node.label.as_str());
            match arrow.kind {
                EdgeKind::From => format!("FROM {from}"),
                kind => format!("{} {from} (line {})", kind_name(kind), arrow.line),
            }
        })
        .collect();
    words.join(", ")
}

/// What stands before each node's line: its own sign, and the rails that pass it, end or begin there.
fn rails(graph: &Graph) -> Vec<String> {
    let mut last_use = vec![0; graph.nodes.len()];
    for arrow in &graph.arrows {
        last_use[arrow.from] = last_use[arrow.from].max(arrow.to);
    }
    // The node whose rail runs in each column, if one does.
    let mut columns: Vec<Option<usize>> = Vec::new();
    let mut rows: Vec<Vec<char>> = Vec::new();
    for (at, node) in graph.nodes.iter().enumerate() {
        let sources: Vec<usize> = graph.into(at).map(|arrow| arrow.from).collect();
        let before = columns.clone();
        for column in &mut columns {
            *column = column.filter(|source| last_use[*source] > at);
        }
        // Straight below its base if that ends here, else in the first column that is free.
        let base = sources.first().and_then(|base| before.iter().position(|it| *it == Some(*base)));
        let own = base.filter(|column| columns[*column].is_none());
        let own = own.or_else(|| (0..before.len()).find(|it| before[*it].is_none())).unwrap_or(before.len());
        if own == columns.len() {
            columns.push(None);
        }
        rows.push(row(&before, &columns, own, &sources, sign(node)));
        columns[own] = (last_use[at] > at).then_some(at);
        if columns.len() > MOST_RAILS {
            return graph.nodes.iter().map(|node| format!("{}  ", sign(node))).collect();
        }
    }
    let wide = rows.iter().map(Vec::len).max().unwrap_or(0);
    let rows = rows.into_iter().map(|row| {
        let blanks = " ".repeat(wide - row.len());
        row.into_iter().collect::<String>() + &blanks + "  "
    });
    rows.collect()
}

fn sign(node: &Node) -> char {
    match (node.kind, node.needed) {
        (NodeKind::Stage(_), true) => '●',
        (NodeKind::Stage(_), false) => '◌',
        _ => '○',
    }
}

/// One line of rails, two characters a column. `before` and `after` are what runs above and below the line.
fn row(before: &[Option<usize>], after: &[Option<usize>], own: usize, sources: &[usize], sign: char) -> Vec<char> {
    let is_source = |column: usize| before.get(column).copied().flatten().is_some_and(|node| sources.contains(&node));
    let touched: Vec<usize> = (0..before.len()).filter(|column| is_source(*column)).chain([own]).collect();
    let first = touched.iter().copied().min().unwrap_or(own);
    let last = touched.iter().copied().max().unwrap_or(own);
    let mut out = Vec::new();
    for column in 0..after.len().max(own + 1) {
        let goes_on = after.get(column).copied().flatten().is_some();
        let cell = match (column == own, is_source(column)) {
            (true, _) => sign,
            (false, true) => match (goes_on, column == first, column == last) {
                (true, true, _) => '├',
                (true, _, true) => '┤',
                (true, ..) => '┼',
                (false, true, _) => '╰',
                (false, _, true) => '╯',
                (false, ..) => '┴',
            },
            (false, false) if before.get(column).copied().flatten().is_some() => '│',
            (false, false) if (first..last).contains(&column) => '─',
            (false, false) => ' ',
        };
        out.push(cell);
        out.push(if (first..last).contains(&column) { '─' } else { ' ' });
    }
    while out.last() == Some(&' ') {
        out.pop();
    }
    out
}
