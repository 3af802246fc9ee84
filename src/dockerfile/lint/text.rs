//! The checks that need nothing but the words of the instructions.

use super::Found;
use crate::dockerfile::command::{Command, command};
use crate::dockerfile::directives;
use crate::dockerfile::stages::Outline;
use crate::dockerfile::{Dockerfile, Instruction, Lines};
use bstr::ByteSlice;
use std::collections::BTreeSet;

/// What is said of each of the first `count` instructions while it is typed, and before that.
pub(super) fn instructions(found: &mut Found, count: usize) {
    let dockerfile = found.dockerfile;
    for (instruction, line) in empty_continuations(dockerfile) {
        if found.options.wants("NoEmptyContinuation") {
            let lines = Lines { start: line, end: line };
            let message = "an empty line goes on with the instruction".to_owned();
            let help = "remove the line, or put a # on it: later versions will refuse it";
            found.push("NoEmptyContinuation", lines, empty_line(dockerfile, instruction), message, help);
        }
    }
    casings(found, count);
    for (index, instruction) in dockerfile.instructions.iter().enumerate().take(count) {
        description(found, index, instruction);
    }
}

/// The casing of stage names and of `AS`, and MAINTAINER.
pub(super) fn casings(found: &mut Found, count: usize) {
    let dockerfile = found.dockerfile;
    for (index, instruction) in dockerfile.instructions.iter().enumerate().take(count) {
        match (instruction.keyword.as_str(), instruction.args.as_slice()) {
            ("maintainer", _) => {
                let help = "write LABEL org.opencontainers.image.authors=…";
                found.note("MaintainerDeprecated", index, "", "MAINTAINER is deprecated".to_owned(), help);
            }
            ("from", [_, word, more @ ..]) if !more.is_empty() => {
                if let [name] = more
                    && *name != name.to_lowercase()
                {
                    let message = format!("the stage name {name} has upper-case letters");
                    let help = format!("write {}: names are compared in lower case", name.to_lowercase());
                    found.note("StageNameCasing", index, name, message, &help);
                }
                let keyword = written(instruction);
                let wanted = match casing(keyword) {
                    Some(Casing::Lower) => word.to_lowercase(),
                    Some(Casing::Upper) => word.to_uppercase(),
                    None => continue,
                };
                if *word != wanted {
                    let message = format!("{word} is not written like {keyword}");
                    found.note("FromAsCasing", index, word, message, &format!("write {wanted}"));
                }
            }
            _ => {}
        }
    }
}

/// The comment right before a named stage, or before ARG, should begin with what it describes.
fn description(found: &mut Found, index: usize, instruction: &Instruction) {
    let Some(comment) = found.comments.get(index).and_then(|it| it.last()).copied() else { return };
    let names: Vec<String> = match command(instruction) {
        Ok(Command::From(from)) => from.name.into_iter().collect(),
        Ok(Command::Arg(arguments)) => arguments.into_iter().map(|it| it.name).collect(),
        _ => return,
    };
    let first = comment.split(' ').next().unwrap_or_default();
    let Some(example) = names.first() else { return };
    if !names.iter().any(|it| it == first) {
        let keyword = instruction.keyword.to_uppercase();
        let message = format!("the comment before {keyword} does not begin with the name that it describes");
        let example = if names.len() > 1 { "NAME" } else { example };
        let help = format!("write # {example} DESCRIPTION, or put an empty comment after it");
        found.note("InvalidDefinitionDescription", index, "", message, &help);
    }
}

pub(super) fn stage_names(found: &mut Found, outline: &Outline) {
    let mut seen = BTreeSet::new();
    for stage in &outline.stages {
        let index = stage.body.start.saturating_sub(1);
        let Some(name) = stage.from.name.as_deref() else { continue };
        if matches!(name, "context" | "scratch") {
            let message = format!("{name} has a meaning of its own, and should not name a stage");
            found.note_in_file("ReservedStageName", index, name, message, "choose another name");
        }
        if !seen.insert(name) {
            let message = format!("an earlier stage is named {name} too");
            found.note_in_file("DuplicateStageName", index, name, message, "choose another name");
        }
    }
}

/// All keywords should be written as most of them are.
pub(super) fn keyword_casing(found: &mut Found, outline: &Outline) {
    let dockerfile = found.dockerfile;
    // ARGs before the first stage are no part of this.
    let Some(first) = outline.stages.first().map(|stage| stage.body.start.saturating_sub(1)) else { return };
    let keywords: Vec<(usize, &str)> =
        dockerfile.instructions.iter().enumerate().skip(first).map(|(index, it)| (index, written(it))).collect();
    let count = |wanted| keywords.iter().filter(|(_, it)| casing(it) == Some(wanted)).count();
    let mostly_lower = count(Casing::Lower) > count(Casing::Upper);
    for (index, keyword) in keywords {
        let wanted = if mostly_lower { keyword.to_lowercase() } else { keyword.to_uppercase() };
        if keyword != wanted {
            let message = format!("{keyword} is not written as most keywords here are");
            found.note_in_file("ConsistentInstructionCasing", index, keyword, message, &format!("write {wanted}"));
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Casing {
    Lower,
    Upper,
}

fn casing(word: &str) -> Option<Casing> {
    if word == word.to_lowercase() {
        Some(Casing::Lower)
    } else if word == word.to_uppercase() {
        Some(Casing::Upper)
    } else {
        None
    }
}

/// The keyword as it is written.
fn written(instruction: &Instruction) -> &str {
    instruction.original.split_whitespace().next().unwrap_or_default()
}

/// The comments before each instruction, without their signs. An empty one drops those before it.
pub(super) fn comments(dockerfile: &Dockerfile) -> Vec<Vec<&str>> {
    let text = dockerfile.text.strip_prefix('\u{feff}').unwrap_or(&dockerfile.text);
    let lines: Vec<&str> = text.split('\n').collect();
    let directives = lines.iter().take_while(|it| directives::directive(it.trim_start(), "#").is_some()).count();
    let mut next = directives;
    let mut out = Vec::with_capacity(dockerfile.instructions.len());
    for instruction in &dockerfile.instructions {
        let Lines { start, end } = instruction.lines;
        let mut comments = Vec::new();
        for line in lines.get(next..(start as usize).saturating_sub(1)).unwrap_or_default() {
            if !line.trim_start().starts_with('#') {
                continue;
            }
            // The first character goes, be it the sign or a blank before it.
            let mut rest = line.chars();
            rest.next();
            match rest.as_str().trim() {
                "" => comments.clear(),
                comment => comments.push(comment),
            }
        }
        out.push(comments);
        next = end as usize;
    }
    out
}

pub(super) fn empty_continuations(dockerfile: &Dockerfile) -> Vec<(&Instruction, u32)> {
    if dockerfile.stopped_at.is_some() {
        return Vec::new();
    }
    let lines: Vec<&str> = dockerfile.text.split('\n').collect();
    let mut out = Vec::new();
    for instruction in &dockerfile.instructions {
        let Lines { start, end } = instruction.lines;
        let documents: usize = instruction.heredocs.iter().map(|it| it.content.lines().count() + 1).sum();
        let last = end.saturating_sub(u32::try_from(documents).unwrap_or(u32::MAX));
        let continued = lines.get(start as usize..last as usize).unwrap_or_default();
        if continued.iter().any(|line| line.trim().is_empty()) {
            out.push((instruction, last));
        }
    }
    out
}

/// Where the first empty line in an instruction is.
fn empty_line(dockerfile: &Dockerfile, instruction: &Instruction) -> crate::dockerfile::Span {
    let crate::dockerfile::Span { start, end } = instruction.span;
    let source = dockerfile.text.get(start..end).unwrap_or_default();
    let mut at = start;
    for (index, line) in source.split('\n').enumerate() {
        if index > 0 && line.trim().is_empty() {
            break;
        }
        at += line.len() + 1;
    }
    let at = at.min(dockerfile.text.len());
    crate::dockerfile::Span { start: at, end: at }
}
