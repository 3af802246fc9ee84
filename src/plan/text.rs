//! An instruction as one line for people, with its variables expanded.

use super::scope::Vars;
use super::stages::Draft;
use crate::dockerfile::command::{Command, sole_heredoc};
use crate::dockerfile::expand::Lex;
use bstr::ByteSlice;

/// What is shown in place of a variable that holds a secret.
const MASK: &str = "****";

/// The line of an instruction: variables that are set are expanded where the instruction is, or where a RUN's shell
/// will; the rest stays as it is written.
pub(super) fn line(draft: &Draft, lex: Lex, vars: &Vars, secrets: &[String]) -> String {
    let original = draft.instruction.original.trim();
    let literal = matches!(
        draft.command,
        Command::Cmd(_)
            | Command::Entrypoint(_)
            | Command::Shell(_)
            | Command::Healthcheck(_)
            | Command::Onbuild(_)
            | Command::Maintainer(_)
    );
    let text = match literal {
        true => keyword_upper(original),
        false => expanded(original, lex, vars, secrets),
    };
    let Command::Run(run) = &draft.command else { return text };
    match (run.line.heredocs.first(), run.line.words.as_slice()) {
        (Some(script), [word]) if sole_heredoc(word).is_some() => {
            format!("{text} ({})", summary(&script.content.to_str_lossy()))
        }
        _ => text,
    }
}

/// A line with what is set expanded, and its first word in capitals.
pub(super) fn expanded(original: &str, lex: Lex, vars: &Vars, secrets: &[String]) -> String {
    let lex = Lex { raw_quotes: true, raw_escapes: true, keep_unset: true, ..lex };
    let lookup = |name: &str| match secrets.iter().any(|secret| secret == name) {
        true => Some(MASK.to_owned()),
        false => vars.get(name).map(str::to_owned),
    };
    let text = lex.word(original, &lookup).unwrap_or_else(|_| original.to_owned());
    keyword_upper(&text)
}

fn keyword_upper(text: &str) -> String {
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (keyword, rest) = text.split_at(end);
    format!("{}{rest}", keyword.to_uppercase())
}

fn summary(content: &str) -> String {
    let mut lines = content.trim().lines();
    let first = lines.next().unwrap_or("");
    if lines.next().is_some() { format!("{first}...") } else { first.to_owned() }
}
