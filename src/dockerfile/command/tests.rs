//! What instructions are typed as, and what is refused. The corpus of real files is the wider test of this.

use super::*;
use crate::dockerfile::parse as parse_file;

/// The only instruction of a text, typed.
fn typed(text: &str) -> Result<Command, Diagnostic> {
    let file = parse_file(text.as_bytes());
    assert_eq!(file.diagnostics, [], "{text}");
    let [instruction] = file.instructions.as_slice() else { panic!("{text}: {:?}", file.instructions) };
    let typed = command_in(&file.text, instruction);
    // Both say the same; only the place of an error can differ.
    match (&typed, command(instruction)) {
        (Ok(one), Ok(other)) => assert_eq!(*one, other),
        (Err(one), Err(other)) => assert_eq!(one.message, other.message),
        (one, other) => panic!("{one:?} {other:?}"),
    }
    typed
}

/// Checks an instruction that is right.
#[track_caller]
fn check(text: &str, expected: Command) {
    assert_eq!(typed(text), Ok(expected), "{text}");
}

/// Checks the message of one that is not, and what it points at.
#[track_caller]
fn check_fault(text: &str, message: &str, at: &str) {
    let error = typed(text).expect_err(text);
    assert_eq!((error.message.as_str(), &text[error.span.start..error.span.end]), (message, at), "{text}");
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn shell(line: &str) -> CommandLine {
    CommandLine { words: strings(&[line]), shell: true, heredocs: Vec::new() }
}

fn pair(name: &str, value: &str, legacy: bool) -> Assignment {
    Assignment { name: name.to_owned(), value: value.to_owned(), legacy }
}

fn run(line: CommandLine) -> RunCommand {
    RunCommand { line, mounts: Vec::new(), network: None, insecure: false, devices: Vec::new() }
}

fn paths(paths: &[&str], dest: &str) -> SourcesAndDest {
    SourcesAndDest { paths: strings(paths), inline: Vec::new(), dest: dest.to_owned() }
}

fn copy(files: SourcesAndDest) -> CopyCommand {
    let exclude = Vec::new();
    CopyCommand { files, from: None, chown: None, chmod: None, link: false, parents: false, exclude }
}

#[test]
fn from() {
    let from = |base: &str, name: Option<&str>, platform: Option<&str>| {
        let owned = |it: Option<&str>| it.map(str::to_owned);
        Command::From(FromCommand { base: base.to_owned(), name: owned(name), platform: owned(platform) })
    };
    check("FROM $A", from("$A", None, None));
    check("from --platform=$P a:1 aS B.c-d_1", from("a:1", Some("b.c-d_1"), Some("$P")));
    check("FROM --platform= a", from("a", None, None));
    check_fault("FROM a b", "FROM takes an image, or an image, AS and a name", "b");
    check_fault("FROM a IS b", "FROM takes an image, or an image, AS and a name", "IS");
    check_fault("FROM", "FROM takes an image, or an image, AS and a name", "FROM");
    check_fault("FROM a AS 1b", "\"1b\" cannot name a stage", "1b");
    check_fault("FROM --plattform=x a", "unknown flag --plattform", "--plattform");
}

#[test]
fn runs() {
    check("RUN a  b", Command::Run(run(shell("a  b"))));
    check(
        "RUN [\"a\", \"b c\"]",
        Command::Run(run(CommandLine { words: strings(&["a", "b c"]), ..CommandLine::default() })),
    );
    check("RUN --network=default --security=sandbox a", Command::Run(run(shell("a"))));
    let flags = RunCommand {
        network: Some(RunNetwork::Host),
        insecure: true,
        devices: strings(&["d,required"]),
        ..run(shell("a"))
    };
    check("RUN --network=host --security=insecure --device=d,required a", Command::Run(flags));
    let Ok(Command::Run(two)) = typed("RUN --mount=type=cache,target=/c --mount=from=x,target=/d a") else { panic!() };
    assert_eq!(two.mounts.iter().map(MountFlag::from).collect::<Vec<_>>(), [None, Some("x")]);
    check_fault("RUN --network=x a", "--network: \"x\" is not a network mode", "x");
    check_fault("RUN --security=x a", "--security: \"x\" is not a security mode", "x");
    check_fault("RUN --network=none --network=host a", "--network is given twice", "--network=host");
    check_fault("RUN --mount=from=$A a", "variables are not expanded in from=$A", "$A");
    check_fault("RUN --device=a,b=c a", "--device has no field \"b=c\"", "a,b=c");
    check_fault("RUN \\\n --mont=x \\\n a", "unknown flag --mont", "--mont");
}

#[test]
fn copies() {
    check("COPY a b c/", Command::Copy(copy(paths(&["a", "b"], "c/"))));
    check("COPY [\"a b\", \"c\"]", Command::Copy(copy(paths(&["a b"], "c"))));
    let flags = CopyCommand {
        from: Some("0".to_owned()),
        chown: Some("$U".to_owned()),
        chmod: Some("755".to_owned()),
        link: true,
        parents: false,
        exclude: strings(&["x", "y"]),
        ..copy(paths(&["a"], "b"))
    };
    check(
        "COPY --from=0 --chown=$U --chmod=755 --link --parents=FALSE --exclude=x --exclude=y a b",
        Command::Copy(flags),
    );
    check_fault("COPY a", "COPY needs a source and a destination", "COPY a");
    check_fault("COPY --link=x a b", "--link is on or off, and \"x\" is neither", "--link=x");
    check_fault("HEALTHCHECK --interval=a CMD a", "--interval: \"a\" is not a duration", "a");
    check_fault("COPY --from a b", "--from has no value", "--from");
    check_fault("COPY --checksum=x a b", "unknown flag --checksum", "--checksum");
    check_fault("COPY a <<E\nE\n", "COPY cannot have a heredoc as its destination", "COPY a <<E");
}

#[test]
fn heredocs_of_copies() {
    let inline =
        |name: &str, content: &str, expand| InlineSource { name: name.to_owned(), content: content.into(), expand };
    let files =
        SourcesAndDest { inline: vec![inline("A", "$x\n", true), inline("B", "y\n", false)], ..paths(&["p"], "/d/") };
    check("COPY <<A p <<-'B' /d/\n$x\nA\n\ty\n\tB\n", Command::Copy(copy(files)));
}

#[test]
fn adds() {
    let plain = AddCommand {
        files: paths(&["http://x"], "/y"),
        chown: None,
        chmod: None,
        link: false,
        exclude: Vec::new(),
        checksum: None,
        keep_git_dir: None,
        unpack: None,
    };
    check("ADD http://x /y", Command::Add(plain.clone()));
    let flags = AddCommand { checksum: Some("c".to_owned()), keep_git_dir: Some(true), unpack: Some(false), ..plain };
    check("ADD --checksum=c --keep-git-dir --unpack=false http://x /y", Command::Add(flags));
    check_fault("ADD --from=x a b", "unknown flag --from", "--from");
    assert_eq!(typed("ADD --from=x a b").expect_err("a flag of COPY").help, "it is a flag of COPY");
}

#[test]
fn names_and_values() {
    check(
        "ENV a=1 b=\"c d\" e=",
        Command::Env(vec![pair("a", "1", false), pair("b", "\"c d\"", false), pair("e", "", false)]),
    );
    check("ENV a b  c", Command::Env(vec![pair("a", "b  c", true)]));
    check("LABEL a=1 \"b c\"=2", Command::Label(vec![pair("a", "1", false), pair("\"b c\"", "2", false)]));
    let argument =
        |name: &str, default: Option<&str>| Argument { name: name.to_owned(), default: default.map(str::to_owned) };
    check(
        "ARG a b= c=\"$d e\"",
        Command::Arg(vec![argument("a", None), argument("b", Some("")), argument("c", Some("\"$d e\""))]),
    );
    check_fault("ENV", "ENV needs at least one argument", "ENV");
    check_fault("ENV a=1 =2", "ENV needs a name before =", "ENV a=1 =2");
    check_fault("ARG =2", "ARG needs a name before =", "=2");
    check_fault("LABEL --x=y a=b", "unknown flag --x", "--x");
}

#[test]
fn the_rest() {
    check("EXPOSE 90 80/udp", Command::Expose(strings(&["80/udp", "90"])));
    check("VOLUME [\" /a \", \"/b\"]", Command::Volume(strings(&["/a", "/b"])));
    check("CMD [\"a\"]", Command::Cmd(CommandLine { words: strings(&["a"]), ..CommandLine::default() }));
    check("ENTRYPOINT a b", Command::Entrypoint(shell("a b")));
    check("SHELL [\"a\", \"-c\"]", Command::Shell(strings(&["a", "-c"])));
    check("USER a b", Command::User("a b".to_owned()));
    check("WORKDIR /a b", Command::Workdir("/a b".to_owned()));
    check("STOPSIGNAL --x=y KILL", Command::Stopsignal("KILL".to_owned()));
    check("MAINTAINER a <b>", Command::Maintainer("a <b>".to_owned()));
    check(
        "HEALTHCHECK --interval=bad none",
        Command::Healthcheck(Healthcheck { test: strings(&["NONE"]), ..Healthcheck::default() }),
    );
    check_fault("SHELL a -c", "SHELL takes a JSON array", "SHELL a -c");
    check_fault("SHELL []", "SHELL needs at least one argument", "SHELL []");
    check_fault("VOLUME [\"\"]", "VOLUME needs a path, and one here is empty", "VOLUME [\"\"]");
    check_fault("EXPOSE", "EXPOSE needs at least one argument", "EXPOSE");
    check_fault("USER", "USER takes exactly one argument", "USER");
    check_fault("HEALTHCHECK --interval=x CMD a", "--interval: \"x\" is not a duration", "x");
    check_fault("HEALTHCHECK --retries=-1 CMD a", "--retries cannot be negative, and -1 is", "-1");
    check_fault("HEALTHCHECK CMD", "HEALTHCHECK CMD has no command", "CMD");
    check_fault("HEALTHCHECK NONE a", "HEALTHCHECK NONE takes no arguments", "a");
    check_fault("HEALTHCHECK RUN a", "HEALTHCHECK RUN is not known", "RUN");
    check_fault("BLAH a", "unknown instruction BLAH", "BLAH");
    check_fault("RUN\u{a0}a b", "unknown instruction RUN\u{a0}a", "RUN\u{a0}a");
    let help = typed("RUN\u{a0}a b").expect_err("no blank").help;
    assert_eq!(help, "the blank after RUN is a special one (\\u{a0}): write a plain space");
}

#[test]
fn triggers_keep_their_text() {
    check("ONBUILD RUN a  b ", Command::Onbuild("RUN a  b ".to_owned()));
    check("onbuild \tcopy <<-E /x\n\ta\n\tE\n", Command::Onbuild("copy <<-E /x\n\ta\nE".to_owned()));
    check("ONBUILD BLAH", Command::Onbuild("BLAH".to_owned()));
    check_fault("ONBUILD", "ONBUILD needs an instruction", "ONBUILD");
    check_fault("ONBUILD ONBUILD RUN a", "ONBUILD cannot put off ONBUILD", "ONBUILD");
    check_fault("ONBUILD from a", "ONBUILD cannot put off FROM", "from");
}

#[test]
fn unknown_instructions_are_matched_in_the_case_they_are_written() {
    let help = |text: &str| typed(text).expect_err(text).help;
    assert_eq!(help("RUNN a"), "did you mean RUN?");
    assert_eq!(help("runn a"), "did you mean run?");
}

proptest::proptest! {
    #[test]
    fn every_instruction_is_answered(text in "(RUN|COPY|ADD|FROM|ENV|HEALTHCHECK|VOLUME|ONBUILD) (--[a-z]{3,7}(=[a-z,=$\"]{0,9})? ){0,3}[a-z \"\\[\\],=<$]{0,30}") {
        let file = parse_file(text.as_bytes());
        for instruction in &file.instructions {
            if let Err(error) = command_in(&file.text, instruction) {
                assert!(file.text.get(error.span.start..error.span.end).is_some());
            }
        }
    }
}
