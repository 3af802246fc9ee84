//! Hints of our own. They never fail anything, and are skipped by name like the official checks.

use super::Found;
use crate::dockerfile::command::{Command, RunCommand, command};
use crate::dockerfile::parse;
use crate::dockerfile::stages::Outline;
use bstr::ByteSlice;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// What each stage takes files or its beginning from.
pub(super) struct Graph {
    /// The stage that each is based on.
    pub(super) parents: Vec<Option<usize>>,
    /// Those that it reads from besides.
    pub(super) sources: Vec<Vec<usize>>,
}

impl Graph {
    /// A stage and all that it needs.
    pub(super) fn reach(&self, last: usize) -> BTreeSet<usize> {
        let mut out = BTreeSet::new();
        let mut open = vec![last];
        while let Some(index) = open.pop() {
            if out.insert(index) {
                open.extend(self.parents.get(index).copied().flatten());
                open.extend(self.sources.get(index).into_iter().flatten());
            }
        }
        out
    }

    /// A stage and those that it is built on: what lies in its image.
    fn chain(&self, last: usize) -> BTreeSet<usize> {
        let parent = |index: &usize| self.parents.get(*index).copied().flatten();
        std::iter::successors(Some(last), parent).collect()
    }
}

/// The stages and images that an instruction names as sources; of ONBUILD, those of what it puts off.
pub(super) fn sources(it: &Command) -> Vec<String> {
    match it {
        Command::Copy(copy) => copy.from.iter().cloned().collect(),
        Command::Run(run) => run.mounts.iter().filter_map(|it| it.from()).map(str::to_owned).collect(),
        Command::Onbuild(text) => {
            let parsed = parse(text.as_bytes());
            let inner = parsed.instructions.first().and_then(|it| command(it).ok());
            // What is put off cannot be put off again.
            inner.filter(|it| !matches!(it, Command::Onbuild(_))).map_or(Vec::new(), |it| sources(&it))
        }
        _ => Vec::new(),
    }
}

pub(super) fn hints(found: &mut Found, outline: &Outline, graph: &Graph) {
    let last = outline.stages.len().saturating_sub(1);
    let (used, kept) = (graph.reach(last), graph.chain(last));
    for (index, stage) in outline.stages.iter().enumerate() {
        let from = stage.body.start.saturating_sub(1);
        if !used.contains(&index) {
            let name = stage.from.name.clone().unwrap_or_else(|| index.to_string());
            let message = format!("the last stage does not need the stage {name}");
            found.hint("StageNeverUsed", from, &name, message, &format!("it is built with --target {name} only"));
        }
        for (offset, command) in stage.commands.iter().enumerate() {
            if let Command::Run(run) = command {
                run_hints(found, stage.body.start + offset, run, kept.contains(&index));
            }
        }
    }
}

/// `kept` says whether what it leaves behind is in the result.
fn run_hints(found: &mut Found, index: usize, run: &RunCommand, kept: bool) {
    let heredocs = run.line.heredocs.iter().map(|it| it.content.to_str_lossy());
    let words = run.line.words.iter().map(Cow::from);
    let text: String = words.chain(heredocs).collect::<Vec<_>>().join("\n");
    if run.line.shell && run.line.heredocs.is_empty() && !text.contains(['&', ';', '|', '\n', '(', '`']) {
        let first = text.split_whitespace().next().unwrap_or_default();
        let help = match first {
            "cd" => "use WORKDIR",
            "export" => "use ENV",
            "alias" | "umask" | "unset" => "put it into the RUN that it is for",
            _ => "",
        };
        if !help.is_empty() {
            let message = format!("every RUN begins anew: nothing is left of this {first}");
            found.hint("CommandWithoutEffect", index, first, message, help);
        }
    }
    let has = |words: &[&str]| words.iter().any(|it| text.contains(it));
    let updates = has(&["apt-get update", "apt update"]);
    let uses = has(&["install", "upgrade", "build-dep", "apt-get source", "apt-get download"]);
    if updates && !uses {
        let message = "package lists in a layer of their own are reused long after they are out of date".to_owned();
        let help = "update and install in the same RUN";
        found.hint("PackageListsAlone", index, "update", message, help);
    } else if updates && kept && !has(&["/var/lib/apt/lists", "/var/lib/apt"]) && !mounts(run, "/var/lib/apt") {
        let message = "the package lists stay in this layer".to_owned();
        let help = "end the RUN with rm -rf /var/lib/apt/lists/*, or mount a cache there";
        found.hint("PackageListsLeft", index, "update", message, help);
    }
}

fn mounts(run: &RunCommand, place: &str) -> bool {
    run.mounts.iter().any(|it| it.text.contains(place))
}
