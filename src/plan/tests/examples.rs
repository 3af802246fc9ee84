//! The multi-stage builds that this program was made for.

use super::super::{CopySource, FileOrigin, Op, Options, Plan, StageId};
use super::{environment, last, options, planned};

fn served(target: Option<&str>) -> Options {
    let images = ["node", "ubuntu:16.04", "quay.io/coreos/etcd:v3.3.9"];
    Options { image_contexts: images.map(str::to_owned).into(), target: target.map(str::to_owned), ..options() }
}

/// Checks which stages run, and the texts of the target's steps.
#[track_caller]
fn check(options: &Options, dockerfile: &str, order: &[u32], texts: &[&str]) -> Plan {
    let plan = planned(dockerfile, options).unwrap_or_else(|errors| panic!("{errors:?}"));
    assert_eq!(plan.order, order.iter().copied().map(StageId).collect::<Vec<_>>());
    let steps = plan.stage(plan.target).steps.iter();
    assert_eq!(steps.map(|step| step.text.as_str()).collect::<Vec<_>>(), texts);
    plan
}

const TWO: &str = "FROM node\nWORKDIR /app0\nCOPY index0.js .\n\nFROM node\nWORKDIR /app\nCOPY index.js .\n";

#[test]
fn of_two_stages_only_the_last_is_in_the_result() {
    check(&served(None), TWO, &[1], &["FROM node", "WORKDIR /app", "COPY index.js ."]);
}

#[test]
fn a_file_from_a_stage_by_its_number() {
    let text = format!("{TWO}COPY --from=0 /app0/index0.js .\n");
    let texts = ["FROM node", "WORKDIR /app", "COPY index.js .", "COPY --from=0 /app0/index0.js ."];
    let plan = check(&served(None), &text, &[0, 1], &texts);
    let step = last(&plan);
    assert_eq!(step.inputs, [FileOrigin::Stage(StageId(0))]);
    let Op::Copy(copy) = &step.op else { panic!("{step:?}") };
    assert_eq!(
        (copy.dest.as_str(), &copy.sources[..]),
        ("/app/", &[CopySource::Path("/app0/index0.js".to_owned())][..])
    );
}

const NAMED: &str = "FROM node AS builder\nRUN make\n\nFROM ubuntu:16.04\nCOPY --from=builder /out /out\n";

#[test]
fn a_file_from_a_stage_by_its_name() {
    let plan = check(&served(None), NAMED, &[0, 1], &["FROM ubuntu:16.04", "COPY --from=builder /out /out"]);
    assert_eq!(plan.find_stage("BUILDER"), Some(StageId(0)));
}

#[test]
fn a_file_from_an_image() {
    let text = "FROM ubuntu:16.04\nCOPY --from=quay.io/coreos/etcd:v3.3.9 /usr/local/bin/etcd /usr/local/bin/\n";
    let texts = ["FROM ubuntu:16.04", "COPY --from=quay.io/coreos/etcd:v3.3.9 /usr/local/bin/etcd /usr/local/bin/"];
    let plan = check(&served(None), text, &[0], &texts);
    assert_eq!(last(&plan).inputs, [FileOrigin::Image("quay.io/coreos/etcd:v3.3.9".to_owned())]);
}

#[test]
fn a_target_and_what_it_needs() {
    check(&served(Some("builder")), NAMED, &[0], &["FROM node AS builder", "RUN make"]);
}

#[test]
fn the_old_form_of_env() {
    let text = "FROM node\nENV NODE_X some value\nRUN echo $NODE_X\n";
    let plan = check(&served(None), text, &[0], &["FROM node", "ENV NODE_X some value", "RUN echo some value"]);
    assert_eq!(environment(&plan), ["NODE_X=some value"]);
}

#[test]
fn stages_that_nothing_needs_are_skipped_or_run_too() {
    let all = Options { all_stages: true, ..served(None) };
    let plan = check(&all, TWO, &[0, 1], &["FROM node", "WORKDIR /app", "COPY index.js ."]);
    assert!(plan.stages.iter().all(|stage| stage.needed));
    let plan = planned(TWO, &served(None)).unwrap();
    assert_eq!(plan.stages.iter().map(|stage| stage.needed).collect::<Vec<_>>(), [false, true]);
}
