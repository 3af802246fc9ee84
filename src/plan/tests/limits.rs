//! Large and hostile Dockerfiles: an answer always, in bounded time and memory.

use super::super::{Options, sketch};
use super::{options, planned};
use crate::dockerfile;
use proptest::prelude::*;
use std::sync::Arc;

/// Checks the first error of a Dockerfile that is too much.
#[track_caller]
fn check(dockerfile: &str, message: &str) {
    let errors = planned(dockerfile, &options()).map(|plan| plan.stages.len()).expect_err("too large");
    assert_eq!((errors[0].code.as_str(), errors[0].message.as_str()), ("too-large", message));
}

#[test]
fn instructions_are_counted() {
    let text = format!("FROM scratch\n{}", "ENV A=1\n".repeat(60_000));
    check(&text, "the Dockerfile has 60001 instructions, and at most 50000 can be planned");
}

#[test]
fn variables_that_every_step_keeps_are_weighed() {
    let lines: String = (0..40_000).map(|at| format!("ENV A{at}=1\n")).collect();
    check(&format!("FROM scratch\n{lines}"), "the variables of this build grow beyond 128 MB here");
}

#[test]
fn variables_that_double_are_stopped() {
    let text = format!("FROM scratch\nENV A=0123456789\n{}", "ENV A=$A$A\n".repeat(60));
    let errors = planned(&text, &options()).map(|plan| plan.stages.len()).expect_err("too large");
    assert!(errors[0].code == "expansion" || errors[0].code == "too-large", "{errors:?}");
    let text = format!("FROM scratch\nENV A={}\n{}", "x".repeat(50_000), "ENV B=$A$A C=$B$A\nENV A=$C\n".repeat(12));
    assert!(planned(&text, &options()).is_err());
}

#[test]
fn what_one_line_makes_is_weighed() {
    let large = format!("ENV A={}\n{}", "x".repeat(50_000), "ENV A=\"$A$A\"\n".repeat(7));
    let grown = "the variables of this build grow beyond 128 MB here";
    let many: String = (0..300).map(|at| format!(" B{at}=\"$A\"")).collect();
    check(&format!("FROM scratch\n{large}ENV{many}\n"), grown);
    let large = large.replace("ENV", "ARG");
    check(&format!("{large}ARG{many}\nFROM scratch\n"), grown);
    check(&format!("{large}FROM scratch\nARG{}\n", " A".repeat(300)), grown);
    check(&format!("FROM scratch\nEXPOSE{}\n", " 0-65535".repeat(8000)), grown);
}

#[test]
fn tens_of_thousands_of_instructions_are_no_trouble() {
    let run = "RUN true\n".repeat(20_000);
    let env = "ENV A=1 B=2\n".repeat(20_000);
    let plan = planned(&format!("FROM scratch\n{run}{env}"), &options()).unwrap();
    assert_eq!(plan.stages[0].steps.len(), 40_001);
}

#[test]
fn thousands_of_stages_are_no_trouble() {
    let stages: String = (1..10_000).map(|at| format!("FROM s{} AS s{at}\nCOPY --from=s0 a b\n", at - 1)).collect();
    let plan = planned(&format!("FROM scratch AS s0\n{stages}"), &options()).unwrap();
    assert_eq!(plan.order.len(), 10_000);
}

/// Lines that mean something, put together at random.
fn line() -> impl Strategy<Value = String> {
    let word = prop_oneof!["[a-c]", "\\$[A-C]", "\\$\\{[A-C]:[-+?][a-c]\\}", "[\"'\\\\/.:=]{1,3}"];
    let words = |count: std::ops::Range<usize>| {
        proptest::collection::vec(word.clone(), count).prop_map(|words| words.join(" "))
    };
    let flag = prop_oneof![
        Just("--from=a "),
        Just("--from=0 "),
        Just("--chown=$A "),
        Just("--chmod=u+x "),
        Just("--mount=from=a,target=/x "),
        Just("--mount=type=cache,target=$A "),
        Just("--network=none "),
        Just("--platform=$TARGETPLATFORM "),
        Just(""),
    ];
    let keyword = prop_oneof![
        Just("FROM"),
        Just("RUN"),
        Just("COPY"),
        Just("ADD"),
        Just("ENV"),
        Just("ARG"),
        Just("LABEL"),
        Just("WORKDIR"),
        Just("USER"),
        Just("CMD"),
        Just("ENTRYPOINT"),
        Just("SHELL"),
        Just("EXPOSE"),
        Just("VOLUME"),
        Just("HEALTHCHECK"),
        Just("STOPSIGNAL"),
        Just("ONBUILD RUN"),
        Just("MAINTAINER"),
    ];
    prop_oneof![
        3 => ("[a-c]", "[a-c]").prop_map(|(base, name)| format!("FROM {base} AS {name}")),
        2 => ("[A-C]", words(1..2)).prop_map(|(name, value)| format!("ARG {name}={value}")),
        2 => ("[A-C]", words(1..2)).prop_map(|(name, value)| format!("ENV {name}={value}")),
        6 => (keyword, flag, words(0..4)).prop_map(|(keyword, flag, words)| format!("{keyword} {flag}{words}")),
    ]
}

proptest! {
    #[test]
    fn every_dockerfile_is_answered(lines in proptest::collection::vec(line(), 0..12), all in any::<bool>()) {
        let text = lines.join("\n");
        let options = Options { all_stages: all, ..options() };
        let sketched = sketch(Arc::new(dockerfile::parse(text.as_bytes())), &options);
        let Ok(plan) = planned(&text, &options) else { return Ok(()) };
        prop_assert!(sketched.is_ok(), "what can be planned can be sketched");
        // Everything that a step reads has been made before it, and is part of the build.
        for (at, stage) in plan.order.iter().enumerate() {
            for step in &plan.stage(*stage).steps {
                prop_assert_eq!(plan.step(step.id), step);
                for needed in step.stages() {
                    prop_assert!(plan.order[..at].contains(&needed), "{} needs {}", stage.0, needed.0);
                }
            }
        }
        prop_assert!(plan.order.contains(&plan.target));
    }
}
