use super::super::parse;
use super::*;
use proptest::prelude::*;

/// An instruction on one line: lines, keyword, flags, arguments, heredocs, trigger.
fn shown(instruction: &Instruction) -> String {
    let Lines { start, end } = instruction.lines;
    let mut out = format!("{start}-{end} {}", instruction.keyword);
    instruction.flags.iter().for_each(|flag| out.push_str(&format!(" <{flag}>")));
    let brackets = if instruction.json { ("[", "]") } else { ("(", ")") };
    instruction.args.iter().for_each(|arg| out.push_str(&format!(" {}{arg}{}", brackets.0, brackets.1)));
    for heredoc in &instruction.heredocs {
        out.push_str(&format!(" {}={:?}", heredoc.name, heredoc.content));
    }
    if let Some(trigger) = &instruction.trigger {
        out.push_str(&format!(" -> {}", shown(trigger)));
    }
    out
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let dockerfile = parse(text.as_bytes());
    assert_eq!(dockerfile.diagnostics, [], "{text}");
    assert_eq!(dockerfile.instructions.iter().map(shown).collect::<Vec<_>>(), expected, "{text}");
}

/// The line that the official parser names, the message, and the text it points at.
#[track_caller]
fn check_error(text: &str, expected: (u32, &str, &str)) {
    let dockerfile = parse(text.as_bytes());
    let [diagnostic] = dockerfile.diagnostics.as_slice() else { panic!("{text}: {:?}", dockerfile.diagnostics) };
    let pointed = &dockerfile.text[diagnostic.span.start..diagnostic.span.end];
    assert!(diagnostic.message.contains(expected.1), "{text}: {}", diagnostic.message);
    assert_eq!((dockerfile.stopped_at, pointed), (Some(expected.0), expected.2), "{text}");
}

#[test]
fn lines_and_words() {
    check("FROM a", &["1-1 from (a)"]);
    check("\n  from\ta \u{b} AS  b \n", &["2-2 from (a) (AS) (b)"]);
    check("FROM a\r\nRUN b  c\r\n", &["1-1 from (a)", "2-2 run (b  c)"]);
    check("\u{feff}FROM a", &["1-1 from (a)"]);
    check("\u{a0}FROM a\u{2003}", &["1-1 from (a)"]);
    check("# c\n\n   # d\nFROM a # e\n", &["4-4 from (a) (#) (e)"]);
    check("FROM a\nRUN", &["1-1 from (a)", "2-2 run"]);
    check("FROM a\nNONSENSE x y\n", &["1-1 from (a)", "2-2 nonsense ()"]);
}

#[test]
fn continuations() {
    check("RUN a \\\n b\\\nc", &["1-3 run (a  bc)"]);
    check("RUN a \\  \t\n b", &["1-2 run (a  b)"]);
    check("RUN a \\\n# c\n\n  # d\n b\nUSER x", &["1-5 run (a  b)", "6-6 user (x)"]);
    check("RUN a \\\\\nUSER x", &["1-1 run (a \\\\)", "2-2 user (x)"]);
    check("RUN a \\\n", &["1-1 run (a)"]);
    check("RUN a \\\n\n", &["1-2 run (a)"]);
    check("\\\nRUN a", &["1-2 run (a)"]);
    check("RU\\\nN a", &["1-2 run (a)"]);
    check("# escape=`\nRUN a `\n b\\\nUSER x", &["2-3 run (a  b\\)", "4-4 user (x)"]);
}

#[test]
fn flags() {
    check("COPY --from=a --link b c", &["1-1 copy <--from=a> <--link> (b) (c)"]);
    check("COPY b --from=a c", &["1-1 copy (b) (--from=a) (c)"]);
    check("COPY -- --from=a c", &["1-1 copy (--from=a) (c)"]);
    check("COPY --", &["1-1 copy"]);
    check("RUN --x=\"a b\"'c d' e", &["1-1 run <--x=a bc d> (e)"]);
    check("RUN --x=a\\ b\\\"c d", &["1-1 run <--x=a b\"c> (d)"]);
    check("RUN --x='a\\'b' c", &["1-1 run <--x=a'b> (c)"]);
    check("RUN --x=\"a b", &["1-1 run <--x=a b>"]);
    check("RUN - -x", &["1-1 run (- -x)"]);
    check("# escape=`\nRUN --x=a\\b` c d", &["2-2 run <--x=a\\b c> (d)"]);
    // Flags are read by bytes.
    check("RUN --x=ü a", &["1-1 run <--x=Ã¼> (a)"]);
    check("RUN --x=à b", &["1-1 run <--x=Ã> (b)"]);
    check("RUN --x=\u{1f170} b", &["1-1 run <--x=ð\u{9f}> (\u{fffd} b)"]);
}

#[test]
fn forms_of_arguments() {
    check("CMD [\"a\", \"b c\"]", &["1-1 cmd [a] [b c]"]);
    check("CMD []", &["1-1 cmd"]);
    check("CMD ['a']", &["1-1 cmd (['a'])"]);
    check("RUN [ -f x ] && y", &["1-1 run ([ -f x ] && y)"]);
    check("COPY [\"a b\", \"c\"]", &["1-1 copy [a b] [c]"]);
    check("VOLUME [\"a b\"]", &["1-1 volume [a b]"]);
    check("VOLUME [a b]", &["1-1 volume ([a) (b])"]);
    check("EXPOSE [\"80\"] 90", &["1-1 expose ([\"80\"]) (90)"]);
    check("ENV A=1 B=\"2 3\" C='4'\\ 5", &["1-1 env (A) (1) (=) (B) (\"2 3\") (=) (C) ('4'\\ 5) (=)"]);
    check("ENV A  b = c ", &["1-1 env (A) (b = c) ()"]);
    check("ENV A= B=x\\", &["1-1 env (A) () (=) (B) (x) (=)"]);
    check("LABEL \"a b\"=c", &["1-1 label (\"a b\") (c) (=)"]);
    check("ARG A B=1 C=\"2 3\"", &["1-1 arg (A) (B=1) (C=\"2 3\")"]);
    check("WORKDIR /a b", &["1-1 workdir (/a b)"]);
    check("HEALTHCHECK --retries=1 CMD a b", &["1-1 healthcheck <--retries=1> (CMD) (a b)"]);
    check("HEALTHCHECK CMD [\"a\"]", &["1-1 healthcheck [CMD] [a]"]);
    check("HEALTHCHECK NONE", &["1-1 healthcheck (NONE)"]);
    check("HEALTHCHECK à b", &["1-1 healthcheck (\u{fffd}) (b)"]);
    check("ONBUILD RUN [\"a\"]", &["1-1 onbuild -> 1-1 run [a]"]);
    check("ONBUILD --x COPY --from=a b c", &["1-1 onbuild <--x> -> 1-1 copy <--from=a> (b) (c)"]);
    check("ONBUILD ONBUILD RUN a", &["1-1 onbuild -> 1-1 onbuild -> 1-1 run (a)"]);
    check("ONBUILD", &["1-1 onbuild"]);
}

#[test]
fn heredocs() {
    check("RUN <<A cat <<B\nx\nA\n y\nB\nUSER u", &["1-5 run (<<A cat <<B) A=\"x\\n\" B=\" y\\n\"", "6-6 user (u)"]);
    check("COPY <<A <<'B' /x/\nA\n$y\nB\n", &["1-4 copy (<<A) (<<'B') (/x/) A=\"\" B=\"$y\\n\""]);
    check("RUN <<-A\n\tx\n\t\tA\n", &["1-3 run (<<-A) A=\"\\tx\\n\""]);
    check("RUN <<A\n\tA\nA\n", &["1-3 run (<<A) A=\"\\tA\\n\""]);
    check("RUN <<A\r\nx\r\nA\r\n", &["1-3 run (<<A) A=\"x\\r\\n\""]);
    check("RUN cat \\\n <<A\n# x \\\nA", &["1-4 run (cat  <<A) A=\"# x \\\\\\n\""]);
    check("RUN it's <<A\n", &["1-1 run (it's <<A)"]);
    check("RUN [\"a\", \"<<A\"]\n", &["1-1 run [a] [<<A]"]);
    check("ENV A=<<A\n", &["1-1 env (A) (<<A) (=)"]);
    check("ONBUILD RUN <<A\nx\nA\n", &["1-3 onbuild A=\"x\\n\" -> 1-3 run (<<A) A=\"x\\n\""]);
    check("ONBUILD ENV a=<<A\n", &["1-1 onbuild -> 1-1 env (a) (<<A) (=)"]);
}

#[test]
fn errors() {
    check_error("", (0, "no instructions", ""));
    check_error("# a\n\n", (2, "no instructions", ""));
    check_error("FROM a\nENV \\\n A\nUSER x", (2, "ENV A has no value", "A"));
    check_error("LABEL a=b c\n", (1, "\"c\" has no = ", "c"));
    check_error("FROM a\nCMD [\"a\", 1]\n", (2, "not a string", "[\"a\", 1]"));
    check_error("ONBUILD ENV x\n", (1, "ENV x has no value", "x"));
    check_error("ONBUILD ONBUILD ONBUILD ENV x\n", (1, "ENV x has no value", "x"));
    check_error("FROM a\nRUN cat <<A\nx\n", (2, "heredoc A is not ended", "<<"));

    check_error("# escape=x\nFROM a\n", (0, "cannot be the escape", "# escape=x"));
    check_error("# syntax=a\n# syntax=b\n", (1, "only once", "# syntax=b"));
}

#[test]
fn long_lines() {
    let most = format!("RUN {}", "x".repeat(MAX_LINE - 5));
    check(&format!("{most}\n"), &[&format!("1-1 run ({})", &most[4..])]);
    check(&most, &[&format!("1-1 run ({})", &most[4..])]);
    let long = format!("FROM a\n{most}x");
    let dockerfile = parse(long.as_bytes());
    assert_eq!((dockerfile.stopped_at, dockerfile.instructions.len()), (Some(1), 1));
    assert!(dockerfile.diagnostics[0].message.contains("line 2 is longer than 65535 bytes"));
    let continued = format!("FROM a\nRUN a \\\n{most}x\n");
    assert_eq!(parse(continued.as_bytes()).stopped_at, Some(3));
    let heredoc = format!("FROM a\nRUN b <<E \\\n{most}x\nE\n");
    assert_eq!(parse(heredoc.as_bytes()).stopped_at, Some(2));
    let half = format!("FROM a\nENV a \\\n{most}x\n");
    let dockerfile = parse(half.as_bytes());
    assert_eq!((dockerfile.stopped_at, dockerfile.diagnostics.len()), (Some(2), 1));
    assert!(!dockerfile.diagnostics[0].message.contains("longer"));
}

#[test]
fn text_that_is_none() {
    let dockerfile = parse(b"FROM a\xff\xe2\x82b\n");
    assert_eq!(dockerfile.instructions[0].args, ["a\u{fffd}\u{fffd}\u{fffd}b"]);
    assert!(parse(&[0; 100_000]).stopped_at.is_some());
}

const PIECES: &str = "((FROM|run|COPY|ENV|LABEL|ONBUILD|HEALTHCHECK CMD|CMD|ARG|#|# escape=`|)\
    [ ]?([a-zA=$\"'\\[\\],<à -]|--x=|<<A|\\\\|`){0,8}\n|A\n){0,8}";

#[test]
fn heredocs_keep_their_bytes() {
    let dockerfile = parse(b"FROM a\nCOPY <<'E' \xe9\ncaf\xe9\nE\n");
    let copy = &dockerfile.instructions[1];
    assert_eq!((copy.heredocs[0].content.as_slice(), copy.args[1].as_str()), (&b"caf\xe9\n"[..], "\u{fffd}"));
    let places = |text: &str| dockerfile.text.find(text).map(|at| dockerfile.in_bytes(at));
    assert_eq!(
        [places("\u{fffd}"), places("\ncaf"), places("\nE"), Some(dockerfile.in_bytes(dockerfile.text.len()))],
        [Some(18), Some(19), Some(24), Some(27),]
    );
    let long = |byte: u8| parse(&[b"FROM a\nRUN ".as_slice(), &vec![byte; 40_000], b"\n"].concat()).diagnostics;
    assert!(long(b'x').is_empty() && long(0xe9).is_empty());
}

proptest! {
    #[test]
    fn any_bytes_are_answered(text in prop::collection::vec(any::<u8>(), 0..200)) {
        parse(&text);
    }

    #[test]
    fn spans_lie_in_the_text(text in PIECES) {
        let dockerfile = parse(text.as_bytes());
        let mut last = 0;
        for instruction in &dockerfile.instructions {
            let Span { start, end } = instruction.span;
            prop_assert!(last <= start && dockerfile.text.get(start..end).is_some());
            last = end;
            let before = dockerfile.text[..start].matches('\n').count() as u32;
            prop_assert_eq!(instruction.lines.start, before + 1);
            prop_assert!(instruction.lines.start <= instruction.lines.end);
        }
        for diagnostic in &dockerfile.diagnostics {
            prop_assert!(dockerfile.text.get(diagnostic.span.start..diagnostic.span.end).is_some());
        }
        prop_assert_eq!(dockerfile.stopped_at.is_some(), !dockerfile.diagnostics.is_empty());
    }

    /// Line ends of Windows change nothing but the contents of heredocs.
    #[test]
    fn carriage_returns_change_nothing(text in PIECES) {
        let plain = parse(text.as_bytes());
        let windows = parse(text.replace('\n', "\r\n").as_bytes());
        prop_assert_eq!(plain.stopped_at, windows.stopped_at);
        let shown = |it: &Dockerfile| it.instructions.iter().map(|it| shown(it).replace("\\r", "")).collect::<Vec<_>>();
        prop_assert_eq!(shown(&plain), shown(&windows));
    }

    /// What stands before an instruction does not depend on what follows it.
    #[test]
    fn a_beginning_stays(text in PIECES, more in PIECES) {
        let first = parse(text.as_bytes());
        let both = parse(format!("{text}\n{more}").as_bytes());
        let whole = first.instructions.len().saturating_sub(1);
        prop_assert_eq!(&first.instructions[..whole], &both.instructions[..whole]);
    }
}
