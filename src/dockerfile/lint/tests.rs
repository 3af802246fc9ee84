use super::evaluate::error;
use super::*;
use crate::dockerfile::parse;
use proptest::prelude::*;

/// Surroundings in which every image is known and sets BASE_VERSION; the one named `open` is not known, `arm` is for
/// another platform, and `triggers` puts a WORKDIR in. The build ends in an instruction that says `the-end`.
fn report(text: &str, ignore: Option<&str>, target: Option<&str>) -> Report {
    let ignore = ignore.map(|text| Ignore::parse(text).expect("good patterns"));
    let build_args = BTreeMap::from([("GIVEN".to_owned(), "given".to_owned())]);
    let base = |name: &str| match name {
        "open" => None,
        "scratch" => Some(BaseImage::default()),
        "shelled" => Some(BaseImage { has_shell: true, ..BaseImage::default() }),
        "arm" => Some(BaseImage { platform: Some("linux/arm64".to_owned()), ..BaseImage::default() }),
        _ => Some(BaseImage { env: vec![("BASE_VERSION".to_owned(), "1".to_owned())], ..BaseImage::default() }),
    };
    let dockerfile = parse(text.as_bytes());
    let outline = outline(&dockerfile).unwrap_or_default();
    let end = error("end", "the end", Span { start: 0, end: 0 }, "");
    let trigger = Command::Workdir("app".to_owned());
    let stages = outline.stages.iter().map(|stage| Known {
        replaced: stage.from.name.as_deref() == Some("replaced"),
        base: base(&stage.from.base),
        triggers: Vec::from_iter((stage.from.base == "triggers").then_some(&trigger)),
        end: {
            let ends = |index: usize| dockerfile.instructions[index].original.contains("the-end");
            stage.body.clone().position(ends).map(|at| (at, end.clone()))
        },
    });
    let stages: Vec<Known> = stages.collect();
    let surroundings = Surroundings {
        build_args: &build_args,
        target,
        platform: "linux/amd64",
        build_platform: "linux/amd64",
        ignore: ignore.as_ref(),
        stages: &stages,
        end: text.contains("no-beginning").then_some(&end),
    };
    lint(&dockerfile, &surroundings)
}

fn shown(report: &Report) -> Vec<String> {
    let rejected = report.rejected.iter().map(|it| format!("error:{}", it.line));
    report.findings.iter().map(|it| format!("{}:{}", it.rule, it.lines.start)).chain(rejected).collect()
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(shown(&report(text, None, None)), expected, "{text}");
}

#[test]
fn nothing() {
    check("FROM a\nRUN x\nCMD [\"x\"]\n", &[]);
    check("from a as b\nrun x\n", &[]);
}

#[test]
fn casing() {
    check("FROM a as b\n", &["FromAsCasing:1"]);
    check("from a AS b\n", &["FromAsCasing:1"]);
    check("From a as b\nRUN x", &["ConsistentInstructionCasing:1"]);
    check("FROM a AS Build\nFROM Build AS c\n", &["StageNameCasing:1", "InvalidDefaultArgInFrom:2", "error:2"]);
    check("FROM a\nrun x\nRun y\nRUN z\n", &["ConsistentInstructionCasing:2", "ConsistentInstructionCasing:3"]);
    check("arg A\nfrom a\nRUN x\nrun y\n", &["ConsistentInstructionCasing:3"]);
}

#[test]
fn old_forms() {
    check("FROM a\nMAINTAINER me\n", &["MaintainerDeprecated:2"]);
    check("FROM a\nENV A b\nLABEL c d\nENV E=f\n", &["LegacyKeyValueFormat:2", "LegacyKeyValueFormat:3"]);
    check("FROM a\nRUN x \\\n\n y\n", &["NoEmptyContinuation:4"]);
    check("FROM a\nRUN x \\\n\n <<E\n\nE\n", &["NoEmptyContinuation:4"]);
    check("FROM a\nRUN <<E\n\nE\n", &[]);
    check("FROM a\nCMD x\n", &["JSONArgsRecommended:2"]);
    check("FROM a\nSHELL [\"x\"]\nENTRYPOINT x\n", &[]);
    check("FROM shelled\nENTRYPOINT x\n", &[]);
}

#[test]
fn names_of_stages() {
    check("FROM a AS b\nFROM a AS b\n", &["DuplicateStageName:2"]);
    check("FROM a AS context\nFROM a AS scratch\n", &["ReservedStageName:1", "ReservedStageName:2"]);
}

#[test]
fn only_the_last_counts() {
    check(
        "FROM a\nCMD [\"a\"]\nCMD [\"b\"]\nCMD [\"c\"]\n",
        &["MultipleInstructionsDisallowed:2", "MultipleInstructionsDisallowed:3"],
    );
    check("FROM a AS b\nENTRYPOINT [\"a\"]\nFROM b\nENTRYPOINT [\"a\"]\n", &[]);
    check("FROM a\nHEALTHCHECK NONE\nHEALTHCHECK CMD x\n", &["MultipleInstructionsDisallowed:2"]);
}

#[test]
fn variables_of_from() {
    check("FROM $A\n", &["InvalidDefaultArgInFrom:1", "UndefinedArgInFrom:1", "error:1"]);
    check("ARG A\nFROM ${A:-b}\n", &[]);
    check("ARG A=b\nFROM $A$C\n", &["UndefinedArgInFrom:2"]);
    check("ARG GIVEN\nFROM $GIVEN\n", &["InvalidDefaultArgInFrom:2"]);
    check("ARG A=B\nFROM $A\n", &["InvalidDefaultArgInFrom:2", "error:2"]);
    check("FROM --platform=$TARGETPLATFORM a\n", &["RedundantTargetPlatform:1"]);
    check("FROM --platform=$BUILDPLATFORM a\n", &[]);
    check("FROM --platform=$TARGETOS/$TARGETARCH a\n", &[]);
    check("FROM --platform=linux/arm64 a\n", &["FromPlatformFlagConstDisallowed:1"]);
    check("FROM --platform=linux/arm64 a AS build_arm64\n", &[]);
    check("FROM --platform=nothing a\n", &["error:1"]);
    check("FROM arm\n", &["InvalidBaseImagePlatform:1"]);
    check("FROM --platform=$X arm\n", &["UndefinedArgInFrom:1", "error:1"]);
}

#[test]
fn variables() {
    check("FROM a\nENV A=$B\n", &["UndefinedVar:2"]);
    check("FROM a\nENV A=1 B=$A\nENV C=$A$B\n", &["UndefinedVar:2"]);
    check("FROM a\nENV A=${B:-c} D=$BASE_VERSION$PATH\n", &["UndefinedVar:2"]);
    check("FROM a\nARG B\nENV A=$B\n", &[]);
    check("ARG B=1\nFROM a\nENV A=$B\nARG B\nENV A=$B\n", &["UndefinedVar:3"]);
    check("FROM a AS b\nARG C=1\nENV D=1\nFROM b\nLABEL e=$C$D\n", &[]);
    check("FROM scratch\nENV A=$BASE_VERSION\n", &["UndefinedVar:2"]);
    check("FROM open\nENV A=$B\nWORKDIR $C\nEXPOSE $D\nRUN --mount=target=$E x\n", &[]);
    check("FROM a\nRUN $A\nCMD [\"$A\"]\nHEALTHCHECK CMD $A\nEXPOSE $A\n", &[]);
    check("FROM a\nUSER $A\nVOLUME $B\n", &["UndefinedVar:2", "UndefinedVar:3"]);
    check("FROM a\nCOPY --chown=$A b$B $C/\n", &["UndefinedVar:2"; 3]);
    check("FROM a\nCOPY <<E <<'F' /\n$A \"$B'\nE\n$C\nF\n", &["UndefinedVar:2"; 2]);
    check("FROM a\nRUN --mount=target=$A x\n", &["UndefinedVar:2"]);
    check("FROM a\nENV A=$BUILDKIT_SBOM_SCAN_STAGE B=$BUILDKIT_SBOM_SCAN_CONTEXT\n", &[]);
    check("FROM a\nENV A=$1\n", &["UndefinedVar:2"]);
    check("FROM a\nARG A=$B\n", &["UndefinedVar:2"]);
    check("FROM a\nENV A=${B:?}\nENV C=$D\n", &["UndefinedVar:2", "error:2"]);
}

#[test]
fn secrets() {
    check(
        "FROM a\nARG API_KEY\nENV TOKEN=1 my_password=2\n",
        &["SecretsUsedInArgOrEnv:2", "SecretsUsedInArgOrEnv:3", "SecretsUsedInArgOrEnv:3"],
    );
    check("FROM a\nARG PUBLIC_KEY KEYS TOKEN_FILE MONKEY KEY_VERSION\n", &[]);
    check("ARG TOKEN\nFROM a\n", &[]);
}

#[test]
fn directories() {
    check("FROM a\nWORKDIR x\nWORKDIR y\n", &["WorkdirRelativePath:2"]);
    check("FROM a\nWORKDIR /x\nWORKDIR y\n", &[]);
    check("FROM a AS b\nWORKDIR /x\nFROM b\nWORKDIR y\n", &[]);
    let windows = |path: &str| format!("FROM --platform=windows/amd64 a AS windows\nWORKDIR {path}\n");
    for absolute in ["C:\\\\x", "c:/x", "/x", "\\\\x"] {
        check(&windows(absolute), &[]);
    }
    for relative in ["D:\\\\x", "C:x", "C:", "x", "//x/y"] {
        check(&windows(relative), &["WorkdirRelativePath:2"]);
    }
    check("FROM triggers\n", &["WorkdirRelativePath:1"]);
}

#[test]
fn ports() {
    check("FROM a\nEXPOSE 80 81/udp 82-90/tcp\n", &[]);
    check("FROM a\nEXPOSE 80/TCP\n", &["ExposeProtoCasing:2"]);
    check("FROM a\nEXPOSE 127.0.0.1:80:80 90:90\n", &["ExposeInvalidFormat:2"; 2]);
    check("FROM a\nEXPOSE 80/x 90/UDP\n", &[]);
    check("FROM a\nEXPOSE /TCP\n", &[]);
    check("FROM a\nEXPOSE 1:2 x/UDP y/UDP\n", &["ExposeInvalidFormat:2", "ExposeProtoCasing:2"]);
}

#[test]
fn ignored_files() {
    fn check(instruction: &str, ignore: &str, expected: &[&str]) {
        let text = format!("FROM a AS b\nFROM b\n{instruction}\n");
        assert_eq!(shown(&report(&text, Some(ignore), None)), expected, "{instruction} {ignore}");
    }
    check("COPY x y /", "x", &["CopyIgnoredFile:3"]);
    check("ADD x/z ./x /", "x", &["CopyIgnoredFile:3"; 2]);
    check("COPY x /", "x\n!x/y", &[]);
    check("COPY --from=b x /", "x", &[]);
    check("ADD https://x/y /", "**", &[]);
    check("COPY . /", "*", &["CopyIgnoredFile:3"]);
    check("COPY . /", "**/*", &["CopyIgnoredFile:3"]);
    check("COPY . /", "?", &[]);
}

#[test]
fn options_and_comments() {
    check("# check=skip=MaintainerDeprecated\nFROM a\nMAINTAINER b\nCMD c\n", &["JSONArgsRecommended:4"]);
    check("# check=skip=all\nFROM a as b\nMAINTAINER b\nCMD c\n", &[]);
    check("FROM a\n# check=skip=JSONArgsRecommended\nCMD c\nENTRYPOINT c\n", &["JSONArgsRecommended:4"]);
    check("FROM a\n# check=skip=JSONArgsRecommended\n#\nCMD c\n", &["JSONArgsRecommended:4"]);
    check("# about\n\n# check=skip=FromAsCasing\nFROM a as b\n", &[]);
    check("# check=nonsense\nFROM a as b\n", &["error:1"]);
    check("# check=nonsense\nFROM a\nENV x\n", &["error:1"]);
    check(
        "# check=experimental=all\n# text\nARG A\n# b is it\nFROM a AS b\n# text\nRUN x\n",
        &["InvalidDefinitionDescription:3"],
    );
    check(
        "# check=skip=all;experimental=InvalidDefinitionDescription\n# x\nARG A B\nFROM a\n",
        &["InvalidDefinitionDescription:3"],
    );
    assert!(!report("# check=error=true\nFROM a\n", None, None).fails);
    assert!(report("# check=error=true\nFROM a\nCMD b\n", None, None).fails);
    assert!(!report("# check=error=true;skip=JSONArgsRecommended\nFROM a\nCMD b\n", None, None).fails);
}

#[test]
fn errors_end_the_checks() {
    check("FROM a as b\nFOO\nMAINTAINER c\n", &["FromAsCasing:1", "error:2"]);
    check("FROM a as b\nENV x\n", &["error:2"]);
    check("ARG A\nArg B\n", &["error:0"]);
    check("FROM :\nENV a=$b\n", &["InvalidDefaultArgInFrom:1", "error:1"]);
    check("FROM a\nCOPY --from=B x y\nCMD z\n", &["error:2"]);
    check("FROM a as b c\n", &["FromAsCasing:1", "error:1"]);
    // What ends the build does so in the order in which a build comes to it.
    check(
        "FROM a as b\nCMD x\nENV A=$B the-end=1\nENTRYPOINT y\nFROM a\nCMD x\n",
        &["FromAsCasing:1", "JSONArgsRecommended:2", "UndefinedVar:3", "error:3"],
    );
    check("FROM a as b\nCMD no-beginning\n", &["FromAsCasing:1", "error:1"]);
}

#[test]
fn what_stands_in_for_a_stage() {
    let text = "FROM a AS one\nENV A=1\nFROM one AS replaced\nENV B=$A\nFROM replaced\nENV C=$B\n";
    assert_eq!(shown(&report(text, None, None)), ["UndefinedVar:4"]);
    assert_eq!(shown(&report(text, None, Some("2"))), ["UndefinedVar:6"]);
}

#[test]
fn a_target_needs_only_some_stages() {
    let text = "FROM a AS one\nCMD x\nFROM a AS two\nCMD x\nFROM one\nCOPY --from=two x y\nFROM a AS last\nCMD x\n";
    let all = ["JSONArgsRecommended:2", "JSONArgsRecommended:4", "JSONArgsRecommended:8"];
    assert_eq!(shown(&report(text, None, None)), all);
    assert_eq!(shown(&report(text, None, Some("2"))), all[..2]);
    assert_eq!(shown(&report(text, None, Some("ONE"))), all[..1]);
    assert_eq!(shown(&report(text, None, Some("lost"))), ["error:0"]);
}

#[test]
fn what_variables_grow_to_is_bounded() {
    let large = format!("ENV A={}\n{}", "x".repeat(50_000), "ENV A=\"$A$A\"\n".repeat(7));
    let many: String = (0..300).map(|at| format!(" B{at}=\"$A\"")).collect();
    check(&format!("FROM a\n{large}ENV{many}\n"), &["error:10"]);
    check(&format!("{}ARG{many}\nFROM a\n", large.replace("ENV", "ARG")), &["error:9"]);
    let stages: String = (0..30).map(|at| format!("FROM s{at} AS s{}\n", at + 1)).collect();
    check(&format!("FROM a AS s0\n{large}{stages}"), &["error:28"]);
}

#[test]
fn our_hints() {
    fn check(text: &str, expected: &[&str]) {
        let report = report(text, None, None);
        let hints: Vec<String> = report.hints.iter().map(|it| format!("{}:{}", it.rule, it.lines.start)).collect();
        assert_eq!(hints, expected, "{text}");
        assert!(!report.fails && report.findings.is_empty(), "{text}");
    }
    check("FROM a AS b\nFROM a AS c\nFROM a\nCOPY --from=c x y\n", &["StageNeverUsed:1"]);
    check("FROM a AS b\nFROM a AS c\nONBUILD COPY --from=b x y\nFROM c\n", &[]);
    check("FROM a AS b\nFROM a\nRUN --mount=from=0 x\n", &[]);
    check(
        "FROM a\nRUN cd /x\nRUN cd /x && y\nRUN export A=1\nRUN [\"cd\"]\n",
        &["CommandWithoutEffect:2", "CommandWithoutEffect:4"],
    );
    check("FROM a\nRUN apt-get update\nRUN apt-get install x\n", &["PackageListsAlone:2"]);
    let install = "RUN apt-get update && apt-get install -y x";
    check(&format!("FROM a AS b\n{install}\nFROM b\n"), &["PackageListsLeft:2"]);
    check(&format!("FROM a AS b\n{install}\nFROM a\nCOPY --from=b x y\n"), &[]);
    check(&format!("FROM a\n{install} && rm -rf /var/lib/apt/lists/*\n"), &[]);
    check(&format!("FROM a\nRUN --mount=type=cache,target=/var/lib/apt {}\n", &install[4..]), &[]);
    check(&format!("FROM a\n# check=skip=PackageListsLeft\n{install}\n"), &[]);
    check(&format!("# check=skip=all;error=true\nFROM a\n{install}\n"), &[]);
}

#[test]
fn findings_point_at_words() {
    let text = "FROM a AS Build\nENV A=$B\n";
    let report = report(text, None, None);
    let words: Vec<&str> =
        report.findings.iter().map(|it| &text[it.diagnostic.span.start..it.diagnostic.span.end]).collect();
    assert_eq!(words, ["Build", "$B"]);
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "((FROM|from|ARG|ENV|RUN|COPY|CMD|EXPOSE|# check=|ONBUILD|WORKDIR)[ ]([a-zA=$\"'\\[\\]:/.;{}\\\\-]){0,8}( as b)?\n){0,6}") {
        let report = report(&text, Some("a"), None);
        for finding in &report.findings {
            prop_assert!(text.get(finding.diagnostic.span.start..finding.diagnostic.span.end).is_some());
        }
    }
}
