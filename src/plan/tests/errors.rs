//! What is refused, and where the finger points.

use super::super::Options;
use super::{options, planned};

/// Checks the first error: its message, the text it points at, and its help.
#[track_caller]
fn check_with(options: &Options, dockerfile: &str, message: &str, at: &str, help: &str) {
    let errors = planned(dockerfile, options).map(|_| ()).expect_err(dockerfile);
    let error = &errors[0];
    assert_eq!(error.message, message, "\n{dockerfile}");
    assert_eq!(&dockerfile[error.span.start..error.span.end], at, "\n{dockerfile}");
    assert_eq!(error.help, help, "\n{dockerfile}");
}

#[track_caller]
fn check(dockerfile: &str, message: &str, at: &str, help: &str) {
    check_with(&options(), dockerfile, message, at, help);
}

const ABOVE: &str = "a stage reads only from stages above it";
const MOVE: &str = "a stage reads only from stages above it: move it down";

#[test]
fn of_structure() {
    check("ARG A\n", "the Dockerfile has no stage", "", "a stage begins with FROM");
    check("RUN x\nFROM a\n", "RUN stands before the first FROM", "RUN x", "only ARG can: begin the file with FROM");
    check(
        "FROM a\nQUUX x\n",
        "unknown instruction QUUX",
        "QUUX",
        "a line that goes on from the one above needs a \\ at that line's end",
    );
    check("FROM a\n\nRUN x\nRUM y\n", "unknown instruction RUM", "RUM", "did you mean RUN?");
}

#[test]
fn of_something_else_than_text() {
    let message = "this is not a Dockerfile: it holds zero bytes";
    check("\x7fELF\0\0 x\n\u{1}\n", message, "", "name the Dockerfile with -f, and check that it is plain text");
    assert!(planned("FROM a\nRUN \0\n", &options()).is_ok());
    let errors = planned(&"BLAH\n".repeat(1000), &options()).unwrap_err();
    assert_eq!(errors.len(), 20);
}

#[test]
fn of_bases() {
    check(
        "FROM $A\n",
        "$A is empty here, and FROM needs an image",
        "$A",
        "give the argument a default before the first FROM, or --build-arg",
    );
    check(
        "FROM a AS UP\nFROM UP\n",
        "\"UP\" is no stage and cannot name an image: an image's name is lower case, and \"UP\" is not",
        "UP",
        "did you mean up?",
    );
    check(
        "FROM --platform=$BULDPLATFORM a\n",
        "--platform=$BULDPLATFORM is empty here",
        "$BULDPLATFORM",
        "did you mean $BUILDPLATFORM?",
    );
    check(
        "FROM a AS x-\n",
        "\"x-\" cannot name a stage",
        "x-",
        "it ends with a letter or a digit, and has no two dots or three underscores in a row",
    );
}

#[test]
fn of_sources() {
    check(
        "FROM a AS builder\nFROM a\nCOPY --from=Bilder / /\n",
        "--from=Bilder: there is no stage of this name, and it cannot name an image: an image's name is lower case, and \"Bilder\" is not",
        "Bilder",
        "did you mean builder?",
    );
    check(
        "FROM a\nCOPY --from=3 / /\n",
        "--from=3: there is no stage 3",
        "3",
        "stages are counted from 0, and the last here is 0",
    );
    check(
        "ARG S=x\nFROM a\nCOPY --from=$S / /\n",
        "variables are not expanded in --from=$S",
        "$S",
        "give the image a stage of its own, FROM … AS name, and copy --from=name",
    );
    check(
        "FROM a\nCOPY http://h/x /y\n",
        "COPY takes files, and http://h/x is an address",
        "http://h/x",
        "ADD takes it",
    );
    check("FROM a\nADD --checksum=x a b\n", "--checksum is for an address or a git repository", "x", "");
    check(
        "FROM a\nADD --checksum=x http://h b\n",
        "--checksum=x is not a digest",
        "x",
        "write sha256: and 64 hexadecimal digits",
    );
}

#[test]
fn circles_and_wrong_order() {
    check(
        "FROM a AS x\nCOPY --from=x / /\n",
        "stage x reads from itself (circular dependency)",
        "COPY --from=x / /",
        ABOVE,
    );
    check(
        "FROM a AS x\nCOPY --from=z / /\nFROM a AS y\nCOPY --from=x / /\nFROM a AS z\nRUN --mount=from=y x\n",
        "stages need each other in a circle: x → z → y → x (circular dependency)",
        "COPY --from=x / /",
        ABOVE,
    );
    check(
        "FROM a AS x\nCOPY --from=y / /\nFROM a AS y\nFROM x\n",
        "stage x reads from stage y, which comes after it",
        "y",
        MOVE,
    );
    let plan = planned("FROM a AS x\nCOPY --from=y / /\nFROM a AS y\n", &options());
    assert!(plan.is_ok(), "what does not run may be wrong: {plan:?}");
}

#[test]
fn of_a_target() {
    let target = |name: &str| Options { target: Some(name.to_owned()), ..options() };
    let text = "FROM a AS builder\nFROM a AS runtime\n";
    check_with(&target("bulider"), text, "there is no stage \"bulider\" to build", "", "did you mean builder?");
    check_with(&target("2"), text, "there is no stage \"2\" to build", "", "the stages are builder, runtime");
    check_with(
        &target("x"),
        "FROM a\nFROM a\n",
        "there is no stage \"x\" to build",
        "",
        "no stage has a name; they are 0 to 1",
    );
}

#[test]
fn of_values() {
    check("FROM a\nENV A=${B:?needed}\n", "B: needed", "${B:?needed}", "");
    check(
        "FROM a\nCOPY --chmod=9 a b\n",
        "--chmod=9 is neither an octal mode up to 07777 nor one like u=rwX,go=rX",
        "9",
        "",
    );
    check(
        "FROM a\nEXPOSE 80/http\n",
        "EXPOSE 80/http: \"http\" is not tcp, udp or sctp",
        "80/http",
        "for instance 80, 53/udp or 8000-8010",
    );
    check(
        "FROM a\nSTOPSIGNAL SIGFOO\n",
        "STOPSIGNAL SIGFOO is not a signal",
        "SIGFOO",
        "for instance SIGTERM, QUIT or 9",
    );
    check("FROM a\nVOLUME $A\n", "VOLUME $A is empty here", "$A", "");
    check(
        "FROM a\nRUN --mount=type=cache x\n",
        "nothing can be mounted over /",
        "type=cache",
        "give the mount a target",
    );
    check("FROM a\nRUN --mount=typ=cache x\n", "--mount has no field \"typ\"", "typ=cache", "did you mean type?");
    check(
        "FROM a\nRUN --mount=type=ssh,source=x y\n",
        "an ssh mount takes no source",
        "type=ssh,source=x",
        "id= names the agent",
    );
    check(
        "FROM a\nRUN --device=gpu x\n",
        "--device=gpu: devices cannot be given to a RUN here",
        "gpu",
        "take the flag out, or build this with BuildKit",
    );
}

#[test]
fn of_triggers() {
    check(
        "FROM trigger-bad\n",
        "ONBUILD FOO x of the base: unknown instruction FOO",
        "FROM trigger-bad",
        "did you mean FROM?",
    );
    check("FROM trigger-copy AS tools\n", "stage tools reads from itself (circular dependency)", "tools", MOVE);
}

#[test]
fn one_error_a_stage_and_none_for_what_is_built_on_it() {
    let text = "FROM a AS x\nVOLUME $A\nFROM x AS y\nVOLUME $A\nFROM a AS z\nEXPOSE q\nFROM y\nCOPY --from=z / /\n";
    let lines: Vec<usize> = planned(text, &options())
        .unwrap_err()
        .iter()
        .map(|error| text[..error.span.start].matches('\n').count() + 1)
        .collect();
    assert_eq!(lines, [2, 6]);
}

#[test]
fn of_the_checks_options() {
    let help = "for instance # check=skip=JSONArgsRecommended,StageNameCasing;error=true";
    check(
        "# check=skipp=x\nFROM a\nENV b\n",
        "there is no check option \"skipp\": they are skip, experimental and error",
        "skipp=x",
        help,
    );
    check("# check=error=maybe\nFROM a\n", "error=maybe is neither true nor false", "error=maybe", help);
    let argument = |value: &str| {
        let build_args = [("BUILDKIT_DOCKERFILE_CHECK".to_owned(), value.to_owned())].into();
        let found = planned("# check=nonsense\nFROM a\n", &Options { build_args, ..options() });
        found.err().map(|errors| errors[0].message.clone())
    };
    assert_eq!(argument("skip=all"), None);
    let wrong = "--build-arg BUILDKIT_DOCKERFILE_CHECK: \"x\" is no check option";
    assert_eq!(argument("x").as_deref(), Some(wrong));
    check(
        "FROM a\nRUN []\n",
        "RUN has an empty array, and no command",
        "RUN []",
        "for instance RUN [\"program\", \"argument\"]",
    );
    check(
        "FROM a\nRUN --mount=type=cache, target=/x b\n",
        "--mount has an empty field",
        "RUN --mount=type=cache, target=/x b",
        "a blank ends the list: write none after a comma, and no comma at the end",
    );
}
