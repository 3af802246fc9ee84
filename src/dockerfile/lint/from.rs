//! The checks of FROM: what stages are based on, and which of them are needed.

use super::evaluate::{Header, State, Variables, Walk, error, expand, from_index, rejected};
use super::hints::{self, Graph};
use super::{Found, Surroundings};
use crate::dockerfile::Span;
use crate::dockerfile::budget::Budget;
use crate::dockerfile::command::{Argument, Command};
use crate::dockerfile::expand::{ExpandError, Lex};
use crate::dockerfile::nearest::nearest;
use crate::dockerfile::stages::{Outline, Rejected, StageOutline};
use crate::names::image::ImageName;
use crate::names::platform::Platform;
use std::collections::BTreeSet;

/// The arguments that exist before any is declared, as far as FROM and ARG can see them.
pub(super) fn predefined(outline: &Outline, surroundings: &Surroundings) -> Variables {
    let mut out = Variables::new();
    for (prefix, platform) in [("BUILD", surroundings.build_platform), ("TARGET", surroundings.platform)] {
        let mut parts = platform.split('/');
        let mut part = || parts.next().unwrap_or_default().to_owned();
        out.insert(format!("{prefix}PLATFORM"), platform.to_owned());
        out.insert(format!("{prefix}OS"), part());
        out.insert(format!("{prefix}OSVERSION"), String::new());
        out.insert(format!("{prefix}ARCH"), part());
        out.insert(format!("{prefix}VARIANT"), part());
    }
    let last = outline.stages.last().and_then(|it| it.from.name.as_deref());
    let target = surroundings.target.or(last).unwrap_or("default");
    out.insert("TARGETSTAGE".to_owned(), target.to_owned());
    for (name, value) in &mut out {
        if let Some(given) = surroundings.build_args.get(name) {
            value.clone_from(given);
        }
    }
    out
}

/// The values of the ARGs before the first FROM, and the names that they declare.
pub(super) fn global_arguments(
    found: &Found,
    outline: &Outline,
    lex: &Lex,
    budget: &Budget,
    mut values: Variables,
    given: Option<&Variables>,
) -> Result<(Variables, BTreeSet<String>), Rejected> {
    let mut declared = BTreeSet::new();
    for (index, arguments) in &outline.arguments {
        for Argument { name, default } in arguments {
            let value = match (given.and_then(|it| it.get(name)), default) {
                (Some(value), _) => Some(value.clone()),
                (None, Some(text)) => {
                    let value = lex.word(text, &|name| values.get(name).cloned());
                    let value = value.map_err(|problem| rejected(found, *index, text, problem))?;
                    budget.take(value.len()).map_err(|fault| rejected(found, *index, "", fault.message))?;
                    Some(value)
                }
                (None, None) => None,
            };
            if let Some(value) = value {
                values.insert(name.clone(), value);
            }
            declared.insert(name.clone());
        }
    }
    Ok((values, declared))
}

/// Bases must make sense with the defaults alone, whatever is given now.
pub(super) fn default_bases(found: &mut Found, outline: &Outline, lex: &Lex, predefined: &Variables) {
    let values = global_arguments(found, outline, lex, &Budget::default(), predefined.clone(), None);
    let Ok((values, _)) = values else { return };
    for stage in &outline.stages {
        let base = &stage.from.base;
        let Ok(name) = lex.word(base, &|name| values.get(name).cloned()) else { return };
        if ImageName::parse(&name).is_err() {
            let message = format!("with the defaults of its ARGs, {base} is {name:?}, which names no image");
            let help = "give the ARG a default that does";
            found.note_in_file("InvalidDefaultArgInFrom", from_index(stage), base, message, help);
        }
    }
}

/// The system and the architecture that a platform names; what it leaves out is the machine's.
pub(super) fn system_and_architecture(platform: &str, machine: &str) -> Option<(String, String)> {
    let platform = Platform::parse_on(platform, &machine.parse().ok()?).ok()?;
    Some((platform.os, platform.architecture))
}

impl Walk<'_, '_> {
    pub(super) fn header(&mut self, stage: &StageOutline) -> Result<Header, Rejected> {
        let index = from_index(stage);
        let text = &stage.from.base;
        let base = self.header_word(index, text).0.map_err(|problem| rejected(self.found, index, text, problem))?;
        self.budget.take(base.len()).map_err(|fault| rejected(self.found, index, "", fault.message))?;
        if base.is_empty() {
            let problem = format!("the base {text} is empty once its variables are expanded");
            return Err(rejected(self.found, index, text, problem));
        }
        let platform = match &stage.from.platform {
            Some(text) => Some(self.platform(index, stage, text)?),
            None => None,
        };
        let named = |it: &(Header, Option<State>)| it.0.name.as_deref() == Some(base.as_str());
        let replaced = self.surroundings.stages.get(self.stages.len()).is_some_and(|it| it.replaced);
        let parent = self.stages.iter().rposition(named).filter(|_| !replaced);
        Ok(Header { name: stage.from.name.clone(), base, parent, platform })
    }

    /// What is no stage must be the name of an image.
    pub(super) fn image_names(&self, outline: &Outline) -> Result<(), Rejected> {
        let refuse = |index: usize, name: &str| {
            let problem = format!("{name:?} is no stage, and cannot name an image");
            Err(rejected(self.found, index, name, problem))
        };
        for (stage, (header, _)) in outline.stages.iter().zip(&self.stages) {
            if header.parent.is_none() && ImageName::parse(&header.base).is_err() {
                return refuse(from_index(stage), &header.base);
            }
            for (offset, command) in stage.commands.iter().enumerate() {
                if let Command::Copy(copy) = command
                    && let Some(name) = &copy.from
                    && self.find(name).is_none()
                    && name.parse::<i64>().is_err()
                    && ImageName::parse(name).is_err()
                {
                    return refuse(stage.body.start + offset, name);
                }
            }
        }
        Ok(())
    }

    pub(super) fn graph(&self, outline: &Outline) -> Graph {
        let sources = outline.stages.iter().map(|stage| {
            let names = stage.commands.iter().flat_map(hints::sources);
            names.filter_map(|name| self.find(&name)).collect()
        });
        Graph { parents: self.stages.iter().map(|it| it.0.parent).collect(), sources: sources.collect() }
    }

    /// The stage with this name, in any case, or with this index.
    fn find(&self, name: &str) -> Option<usize> {
        let lower = name.to_lowercase();
        let by_name = self.stages.iter().rposition(|it| it.0.name.as_deref() == Some(&lower));
        by_name.or_else(|| name.parse().ok().filter(|index| *index < self.stages.len()))
    }

    fn platform(&mut self, index: usize, stage: &StageOutline, text: &str) -> Result<(String, String), Rejected> {
        let (value, matched, unmatched) = self.header_word(index, text);
        let value = value.map_err(|problem| rejected(self.found, index, text, problem))?;
        let target = self.globals.get("TARGETPLATFORM");
        if unmatched.is_empty() && matched.iter().eq(["TARGETPLATFORM"]) && target == Some(&value) {
            let message = format!("--platform={text} is what is built for anyway");
            self.found.note("RedundantTargetPlatform", index, text, message, "leave it out");
        }
        let parsed = system_and_architecture(&value, self.surroundings.build_platform);
        if let (Some((os, arch)), true, true) = (&parsed, matched.is_empty(), unmatched.is_empty()) {
            let name = stage.from.name.as_deref().unwrap_or_default();
            if !name.contains(os.as_str()) && !name.contains(arch.as_str()) {
                let message = format!("--platform={value} builds for one platform, whatever is asked for");
                let help = "use $BUILDPLATFORM or $TARGETPLATFORM, or put the platform into the stage's name";
                self.found.note("FromPlatformFlagConstDisallowed", index, text, message, help);
            }
        }
        parsed.ok_or_else(|| rejected(self.found, index, text, format!("{value:?} is no platform")))
    }

    /// Expands a word of FROM, and notes variables in it that no ARG declares.
    fn header_word(
        &mut self,
        index: usize,
        text: &str,
    ) -> (Result<String, ExpandError>, BTreeSet<String>, BTreeSet<String>) {
        let (value, matched, unmatched) = expand(&self.lex, text, &|name| self.globals.get(name).cloned());
        for name in &unmatched {
            if !self.declared.contains(name) {
                let known = self.globals.keys().chain(&self.declared).map(String::as_str);
                let help = match nearest(name, known) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("write ARG {name} before the first FROM"),
                };
                let message = format!("no ARG before the first FROM declares {name}");
                let word = self.variable(index, name);
                self.found.note("UndefinedArgInFrom", index, &word, message, &help);
            }
        }
        (value, matched, unmatched)
    }

    /// A variable as the instruction writes it, so that its place is found.
    pub(super) fn variable(&self, index: usize, name: &str) -> String {
        let dockerfile = self.found.dockerfile;
        let span = dockerfile.instructions.get(index).map_or(Span { start: 0, end: 0 }, |it| it.span);
        let source = dockerfile.text.get(span.start..span.end).unwrap_or_default();
        let forms = [format!("${{{name}"), format!("${name}")];
        forms.into_iter().find(|it| source.contains(it)).unwrap_or_default()
    }

    /// The stages that the target needs; all of them if there is none.
    pub(super) fn wanted(&self, graph: &Graph) -> Result<BTreeSet<usize>, Rejected> {
        let Some(target) = self.surroundings.target else { return Ok((0..self.stages.len()).collect()) };
        let Some(last) = self.find(target) else {
            let end = self.found.dockerfile.text.len();
            let names: Vec<&str> = self.stages.iter().filter_map(|it| it.0.name.as_deref()).collect();
            let help = match nearest(target, names.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("the stages are {}", names.join(", ")),
            };
            let message = format!("there is no stage {target:?}");
            let diagnostic = error("unknown-stage", message, Span { start: end, end }, &help);
            return Err(Rejected { line: 0, diagnostic });
        };
        Ok(graph.reach(last))
    }
}
