//! Instructions, typed and divided into stages.

use super::command::{Argument, Command, FromCommand, command_in};
use super::{Diagnostic, Dockerfile, Lines, Severity, Span};
use std::ops::Range;

/// A Dockerfile's stages, as far as its text alone decides.
#[derive(Debug, Clone, Default)]
pub struct Outline {
    /// The ARGs before the first FROM, each with the index of its instruction.
    pub arguments: Vec<(usize, Vec<Argument>)>,
    pub stages: Vec<StageOutline>,
}

#[derive(Debug, Clone)]
pub struct StageOutline {
    pub from: FromCommand,
    /// The lines of its FROM.
    pub lines: Lines,
    /// Its instructions, FROM excepted, as indices into those of the Dockerfile.
    pub body: Range<usize>,
    /// What those instructions mean, in order.
    pub commands: Vec<Command>,
}

/// The first instruction that is not accepted, and why.
#[derive(Debug, Clone)]
pub struct Rejected {
    /// As the official parser names it: where the instruction begins.
    pub line: u32,
    pub diagnostic: Diagnostic,
}

/// Types every instruction, and says where the first error is, as the official instruction parser does.
pub fn outline(dockerfile: &Dockerfile) -> Result<Outline, Rejected> {
    if let Some(diagnostic) = dockerfile.diagnostics.iter().find(|it| it.severity == Severity::Error) {
        return Err(Rejected { line: dockerfile.stopped_at.unwrap_or(0), diagnostic: diagnostic.clone() });
    }
    let mut out = Outline::default();
    for (index, instruction) in dockerfile.instructions.iter().enumerate() {
        let line = instruction.lines.start;
        let command = command_in(&dockerfile.text, instruction).map_err(|diagnostic| Rejected { line, diagnostic })?;
        match (command, out.stages.last_mut()) {
            (Command::From(from), _) => {
                let body = index + 1..index + 1;
                out.stages.push(StageOutline { from, lines: instruction.lines, body, commands: Vec::new() });
            }
            (command, Some(stage)) => {
                stage.body.end = index + 1;
                stage.commands.push(command);
            }
            (Command::Arg(arguments), None) => out.arguments.push((index, arguments)),
            (_, None) => {
                let span = Span { end: instruction.span.start + instruction.keyword.len(), ..instruction.span };
                let message = format!("{} stands before the first FROM", instruction.keyword.to_uppercase());
                let diagnostic = Diagnostic {
                    severity: Severity::Error,
                    code: "no-stage".to_owned(),
                    message,
                    span,
                    help: "a stage begins with FROM; only ARG can stand before it".to_owned(),
                };
                return Err(Rejected { line, diagnostic });
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    /// The stages as `name:instructions`, with the global arguments before them; or the line of the error.
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let found = match outline(&parse(text.as_bytes())) {
            Err(rejected) => format!("{}: {}", rejected.line, rejected.diagnostic.message),
            Ok(outline) => {
                let stages = outline.stages.iter().map(|stage| {
                    let name = stage.from.name.as_deref().unwrap_or("-");
                    assert_eq!(stage.commands.len(), stage.body.len());
                    format!(" {name}:{}", stage.commands.len())
                });
                format!("{}{}", outline.arguments.len(), stages.collect::<String>())
            }
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn stages_are_divided() {
        check("FROM a\n", "0 -:0");
        check("ARG X=1 Y\nARG Z\nFROM a AS One\nARG X\nRUN x\nFROM b as two\n", "2 one:2 two:0");
        check("ARG X\n", "1");
    }

    #[test]
    fn errors_have_the_official_line() {
        check("# x\nRUN a \\\n b\nFROM a\n", "2: RUN stands before the first FROM");
        check("FROM a\n\nCOPY \\\n--from \\\n a b\n", "3: --from has no value");
        check("FROM a\nENV \\\n X\n", "2: ENV X has no value");
        check("FROM a\nRUN <<E\nx\n", "2: the heredoc E is not ended");
        check("", "0: the file has no instructions");
        check("# a\n\n", "2: the file has no instructions");
        check("# escape=x\nFROM a\n", "0: \"x\" cannot be the escape character: it is \\ or `");
    }
}
