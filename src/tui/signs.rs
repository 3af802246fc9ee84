//! The signs that the screen is drawn with, and those that do without more than ASCII.

use ratatui::symbols::border;
use std::time::Duration;

/// What is drawn with. Every sign is one column wide, `ellipsis` and `bullet` excepted.
#[derive(Debug)]
pub struct Signs {
    pub border: border::Set<'static>,
    /// The gutter: a breakpoint that is set, waits for a plan, is disabled, or cannot be bound.
    pub set: &'static str,
    pub pending: &'static str,
    pub disabled: &'static str,
    pub unbound: &'static str,
    /// A watchpoint.
    pub watch: &'static str,
    /// Where the build stands.
    pub current: &'static str,
    pub done: &'static str,
    pub failed: &'static str,
    pub cancelled: &'static str,
    pub skipped: &'static str,
    /// An instruction on the rail of the stage graph, not yet done and done.
    pub node: &'static str,
    pub node_done: &'static str,
    /// One after the other while something runs.
    pub spinner: &'static [&'static str],
    pub ellipsis: &'static str,
    /// Between the parts of a line, spaces included.
    pub bullet: &'static str,
    pub arrow: &'static str,
    pub dash: &'static str,
    /// In front of a directory in a tree.
    pub expanded: &'static str,
    pub collapsed: &'static str,
    /// A bar, full, and parts of its last cell, the smallest first.
    pub bar: &'static str,
    pub bar_parts: &'static [&'static str],
    pub bar_rest: &'static str,
    /// A scroll bar's thumb.
    pub thumb: &'static str,
    pub lines: Lines,
    /// The same for what is not needed.
    pub dashed: Lines,
    /// Mark of a value that the last instruction changed.
    pub fresh: &'static str,
    /// Mark of a directory in which something changed.
    pub within: &'static str,
}

impl Signs {
    /// The sign of something that runs, at a time.
    pub fn spinner_at(&self, now: Duration) -> &'static str {
        self.spinner[(now.as_millis() / 100) as usize % self.spinner.len()]
    }
}

/// Line drawing, named by the directions that meet.
#[derive(Debug, Clone, Copy)]
pub struct Lines {
    pub horizontal: &'static str,
    pub vertical: &'static str,
    pub down_right: &'static str,
    pub down_left: &'static str,
    pub up_right: &'static str,
    pub up_left: &'static str,
    pub up_down_right: &'static str,
    pub up_down_left: &'static str,
    pub left_right_down: &'static str,
    pub left_right_up: &'static str,
    pub cross: &'static str,
}

const SOLID: Lines = Lines {
    horizontal: "─",
    vertical: "│",
    down_right: "╭",
    down_left: "╮",
    up_right: "╰",
    up_left: "╯",
    up_down_right: "├",
    up_down_left: "┤",
    left_right_down: "┬",
    left_right_up: "┴",
    cross: "┼",
};

const PLAIN: Lines = Lines {
    horizontal: "-",
    vertical: "|",
    down_right: ".",
    down_left: ".",
    up_right: "`",
    up_left: "'",
    up_down_right: "+",
    up_down_left: "+",
    left_right_down: "+",
    left_right_up: "+",
    cross: "+",
};

pub static UNICODE: Signs = Signs {
    border: border::ROUNDED,
    set: "●",
    pending: "○",
    disabled: "◌",
    unbound: "⊘",
    watch: "◉",
    current: "▶",
    done: "✓",
    failed: "✗",
    cancelled: "⊗",
    skipped: "·",
    node: "◇",
    node_done: "◆",
    spinner: &["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"],
    ellipsis: "…",
    bullet: " · ",
    arrow: "→",
    dash: "–",
    expanded: "▾",
    collapsed: "▸",
    bar: "━",
    bar_parts: &["╸"],
    bar_rest: "─",
    thumb: "┃",
    lines: SOLID,
    dashed: Lines { horizontal: "┄", vertical: "┆", ..SOLID },
    fresh: "+",
    within: "·",
};

pub static ASCII: Signs = Signs {
    border: border::Set {
        top_left: "+",
        top_right: "+",
        bottom_left: "+",
        bottom_right: "+",
        vertical_left: "|",
        vertical_right: "|",
        horizontal_top: "-",
        horizontal_bottom: "-",
    },
    set: "*",
    pending: "o",
    disabled: "-",
    unbound: "!",
    watch: "@",
    current: ">",
    done: "v",
    failed: "x",
    cancelled: "c",
    skipped: ".",
    node: "o",
    node_done: "*",
    spinner: &["|", "/", "-", "\\"],
    ellipsis: "...",
    bullet: " - ",
    arrow: "->",
    dash: "-",
    expanded: "v",
    collapsed: ">",
    bar: "#",
    bar_parts: &[],
    bar_rest: ".",
    thumb: "#",
    lines: PLAIN,
    dashed: Lines { horizontal: ".", vertical: ":", ..PLAIN },
    fresh: "+",
    within: ".",
};
