//! Changing a Dockerfile in place: instructions replaced, added and removed, everything around them left as it is.
//!
//! The splicing is `dockerfile-parser`'s, whose `Splicer` keeps the places of later changes right. That crate cannot
//! read every Dockerfile, so it is not asked to: the places are ours.

use super::{Dockerfile, Span};
use dockerfile_parser::{Dockerfile as Spliced, Span as SplicedSpan};

/// One change. Instructions are named by their index, as they were before all changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Another text in an instruction's place, from its keyword to its end, heredocs included.
    Replace { instruction: usize, text: String },
    /// A new instruction on a line of its own after this one.
    InsertAfter { instruction: usize, text: String },
    /// The instruction goes, with its lines.
    Remove { instruction: usize },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    #[error("there is no instruction {0}")]
    NoInstruction(usize),
    #[error("instruction {0} is changed twice")]
    Twice(usize),
    /// Only for a fault of the library.
    #[error("the text cannot be spliced")]
    Splice,
}

/// The text with another one in an instruction's place.
pub fn replace_instruction(dockerfile: &Dockerfile, instruction: usize, text: &str) -> Result<String, EditError> {
    apply(dockerfile, &[Edit::Replace { instruction, text: text.to_owned() }])
}

/// The text with all changes made. Line ends of new text are those of the file. What comes out is not checked: parse
/// it again.
pub fn apply(dockerfile: &Dockerfile, edits: &[Edit]) -> Result<String, EditError> {
    let text = &*dockerfile.text;
    let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut changes: Vec<(usize, Span, String)> = Vec::new();
    for edit in edits {
        let (Edit::Replace { instruction, .. } | Edit::InsertAfter { instruction, .. } | Edit::Remove { instruction }) =
            edit;
        let Span { start, end } =
            dockerfile.instructions.get(*instruction).ok_or(EditError::NoInstruction(*instruction))?.span;
        let native = |text: &str| text.trim_end().replace("\r\n", "\n").replace('\n', line_end);
        let (span, new) = match edit {
            Edit::Replace { text, .. } => (Span { start, end }, native(text)),
            Edit::InsertAfter { text, .. } => (Span { start: end, end }, format!("{line_end}{}", native(text))),
            Edit::Remove { .. } => (whole_lines(text, Span { start, end }), String::new()),
        };
        changes.push((*instruction, span, new));
    }
    changes.sort_by_key(|(_, span, _)| *span);
    for pair in changes.windows(2) {
        let [(_, one, _), (instruction, other, _)] = pair else { continue };
        if one.end > other.start || one == other {
            return Err(EditError::Twice(*instruction));
        }
    }
    // Any Dockerfile that the crate can read gives a splicer; its content is ours.
    let mut splicer = "FROM scratch".parse::<Spliced>().map_err(|_| EditError::Splice)?.splicer();
    splicer.content = text.to_owned();
    for (_, Span { start, end }, new) in &changes {
        splicer.splice(&SplicedSpan::new(*start, *end), new);
    }
    Ok(splicer.content)
}

/// The span with blanks before it on its first line, and with the end of its last line.
fn whole_lines(text: &str, span: Span) -> Span {
    let before = text.get(..span.start).unwrap_or_default();
    let after = text.get(span.end..).unwrap_or_default();
    let start = before.trim_end_matches([' ', '\t']).len();
    let end = after.find('\n').map_or(text.len(), |at| span.end + at + 1);
    Span { start, end }
}

#[cfg(test)]
mod tests {
    use super::super::{Instruction, parse};
    use super::*;
    use dockerfile_parser::Instruction as Other;
    use proptest::prelude::*;

    const TEXT: &str = "# syntax=x\nFROM a # b\n\n  RUN <<E\n one\nE\n# why\nCOPY \\\n # c\n d e\n";

    fn replace(instruction: usize, text: &str) -> Edit {
        Edit::Replace { instruction, text: text.to_owned() }
    }

    fn insert(instruction: usize, text: &str) -> Edit {
        Edit::InsertAfter { instruction, text: text.to_owned() }
    }

    #[track_caller]
    fn check(edits: &[Edit], expected: &str) {
        assert_eq!(apply(&parse(TEXT.as_bytes()), edits).as_deref(), Ok(expected));
        let windows = parse(TEXT.replace('\n', "\r\n").as_bytes());
        assert_eq!(apply(&windows, edits), Ok(expected.replace('\n', "\r\n")));
    }

    #[test]
    fn edits() {
        check(&[], TEXT);
        check(&[replace(0, "FROM b\n")], "# syntax=x\nFROM b\n\n  RUN <<E\n one\nE\n# why\nCOPY \\\n # c\n d e\n");
        check(
            &[replace(1, "RUN x \\\n  y")],
            "# syntax=x\nFROM a # b\n\n  RUN x \\\n  y\n# why\nCOPY \\\n # c\n d e\n",
        );
        check(&[replace(2, "USER u")], "# syntax=x\nFROM a # b\n\n  RUN <<E\n one\nE\n# why\nUSER u\n");
        check(
            &[insert(1, "USER u")],
            "# syntax=x\nFROM a # b\n\n  RUN <<E\n one\nE\nUSER u\n# why\nCOPY \\\n # c\n d e\n",
        );
        check(&[Edit::Remove { instruction: 1 }], "# syntax=x\nFROM a # b\n\n# why\nCOPY \\\n # c\n d e\n");
        check(
            &[replace(2, "USER u"), insert(0, "ARG a"), Edit::Remove { instruction: 1 }, replace(0, "FROM longer")],
            "# syntax=x\nFROM longer\nARG a\n\n# why\nUSER u\n",
        );
    }

    #[test]
    fn the_last_line_may_have_no_end() {
        let dockerfile = parse(b"FROM a\nUSER u");
        assert_eq!(apply(&dockerfile, &[insert(1, "RUN x")]).as_deref(), Ok("FROM a\nUSER u\nRUN x"));
        assert_eq!(apply(&dockerfile, &[Edit::Remove { instruction: 1 }]).as_deref(), Ok("FROM a\n"));
    }

    #[test]
    fn refused_edits() {
        let dockerfile = parse(TEXT.as_bytes());
        assert_eq!(apply(&dockerfile, &[replace(3, "x")]), Err(EditError::NoInstruction(3)));
        assert_eq!(apply(&dockerfile, &[replace(1, "x"), Edit::Remove { instruction: 1 }]), Err(EditError::Twice(1)));
    }

    /// A second opinion, where the other parser can have one: it reads no heredocs, no flags of RUN, and no escape but
    /// the backslash.
    #[test]
    fn the_other_parser_agrees() {
        let text = "ARG V=1\nFROM --platform=$P golang:$V AS build\nENV A=1 B=\"2 3\"\n\n# why\nRUN go build \\\n    # not this\n    \
            -o /out && \\\n    strip /out\nCOPY --from=build --chown=1 /out /bin/\nLABEL a=b\nWORKDIR /x\n\
            CMD [\"/bin/out\", \"-v\"]\nENTRYPOINT exec /bin/out\n";
        let ours = parse(text.as_bytes());
        let theirs: Spliced = text.parse().expect("it can read this");
        assert_eq!(ours.instructions.len(), theirs.instructions.len());
        for (ours, theirs) in ours.instructions.iter().zip(&theirs.instructions) {
            agree(ours, theirs);
        }
    }

    fn agree(ours: &Instruction, theirs: &Other) {
        let (keyword, span) = match theirs {
            Other::From(it) => ("from", it.span),
            Other::Arg(it) => ("arg", it.span),
            Other::Label(it) => ("label", it.span),
            Other::Run(it) => ("run", it.span),
            Other::Entrypoint(it) => ("entrypoint", it.span),
            Other::Cmd(it) => ("cmd", it.span),
            Other::Copy(it) => ("copy", it.span),
            Other::Env(it) => ("env", it.span),
            Other::Misc(it) => (ours.keyword.as_str(), it.span),
        };
        assert_eq!((ours.keyword.as_str(), ours.span.start), (keyword, span.start));
        match theirs {
            Other::From(it) => {
                assert_eq!(ours.args.first(), Some(&it.image.content));
                assert_eq!(ours.args.get(2), it.alias.as_ref().map(|it| &it.content));
            }
            Other::Run(it) => assert_eq!(ours.args, [it.as_shell().expect("shell form").to_string()]),
            Other::Entrypoint(it) => assert_eq!(ours.args, [it.as_shell().expect("shell form").to_string()]),
            Other::Cmd(it) => assert_eq!(ours.args, it.as_exec().expect("exec form").as_str_vec()),
            Other::Copy(it) => {
                let words = it.sources.iter().chain([&it.destination]).map(|it| it.content.as_str());
                assert_eq!(ours.args, words.collect::<Vec<_>>());
                assert_eq!(ours.flags.len(), it.flags.len());
            }
            _ => {}
        }
    }

    proptest! {
        /// Every instruction put in its own place gives the text back.
        #[test]
        fn replacing_by_itself_changes_nothing(text in "((FROM|RUN|COPY)[ ][a-c<A ]{0,6}( \\\\\n# x\n y)?\n|A\n|\n){0,6}") {
            let dockerfile = parse(text.as_bytes());
            let edits: Vec<Edit> = dockerfile.instructions.iter().enumerate().map(|(index, it)| {
                replace(index, &text[it.span.start..it.span.end])
            }).collect();
            let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
            prop_assert_eq!(trimmed(&apply(&dockerfile, &edits).expect("good edits")), trimmed(&text));
        }
    }
}
