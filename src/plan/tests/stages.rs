//! Names, indexes, bases, sources, the target, and what runs.

use super::super::{Base, EdgeKind, FileOrigin, Options, Plan};
use super::{options, planned};

/// One line a stage: its name, `*` if it runs, its base, and what its steps read.
fn shown(plan: &Plan) -> String {
    let origin = |origin: &FileOrigin| match origin {
        FileOrigin::Stage(stage) => format!("#{}", stage.0),
        FileOrigin::Image(name) => name.clone(),
        FileOrigin::Scratch => "scratch".to_owned(),
        FileOrigin::Context { name } => name.clone().unwrap_or_default(),
    };
    let stages = plan.stages.iter().map(|stage| {
        let base = match &stage.base {
            Base::Scratch => "scratch".to_owned(),
            Base::Stage(stage) => format!("#{}", stage.0),
            Base::Image(name) => name.clone(),
        };
        let mut out = format!("{}{} {base}", stage.label(), if stage.needed { "*" } else { "" });
        for edge in stage.needs.iter().filter(|edge| edge.kind != EdgeKind::From) {
            let kind = if edge.kind == EdgeKind::Copy { "copy" } else { "mount" };
            out.push_str(&format!(" {kind}({} {})", edge.step.index, origin(&edge.origin)));
        }
        out
    });
    let stages: Vec<String> = stages.collect();
    let order: Vec<String> = plan.order.iter().map(|stage| stage.0.to_string()).collect();
    format!("{}; target {}, order {}", stages.join("; "), plan.target.0, order.join(" "))
}

#[track_caller]
fn check_with(options: &Options, dockerfile: &str, expected: &str) {
    let shown = match planned(dockerfile, options) {
        Ok(plan) => shown(&plan),
        Err(errors) => format!("error: {}", errors[0].message),
    };
    assert_eq!(shown, expected, "\n{dockerfile}");
}

#[track_caller]
fn check(dockerfile: &str, expected: &str) {
    check_with(&options(), dockerfile, expected);
}

#[test]
fn by_name_in_any_case_and_by_index() {
    check("FROM a AS B\nFROM x\nCOPY --from=b / /\n", "B* a; 1* x copy(1 #0); target 1, order 0 1");
    check("FROM a\nFROM x\nCOPY --from=0 / /\n", "0* a; 1* x copy(1 #0); target 1, order 0 1");
    check("FROM a\nFROM x\nCOPY --from=00 / /\n", "0* a; 1* x copy(1 #0); target 1, order 0 1");
    check(
        "FROM a AS b\nFROM x\nCOPY --from=B / /\nCOPY --from=q / /\n",
        "b* a; 1* x copy(1 #0) copy(2 q); target 1, order 0 1",
    );
}

#[test]
fn a_base_is_a_stage_only_as_it_is_lowered() {
    check("FROM a AS b\nFROM b\n", "b* a; 1* #0; target 1, order 0 1");
    check("FROM a AS B\nFROM b\n", "B* a; 1* #0; target 1, order 0 1");
    check("FROM b\nFROM a AS b\n", "0 b; b* a; target 1, order 1");
    check("FROM a\nFROM 0\n", "0 a; 1* 0; target 1, order 1");
}

#[test]
fn of_stages_with_one_name_the_last_counts() {
    let text = "FROM a AS x\nFROM b AS x\nFROM c\nCOPY --from=x / /\n";
    check(text, "x a; x* b; 2* c copy(1 #1); target 2, order 1 2");
    check("FROM a AS x\nFROM x AS x\nFROM x\n", "x* a; x* #0; 2* #1; target 2, order 0 1 2");
}

#[test]
fn scratch_is_nothing_or_a_stage_of_that_name() {
    check("FROM scratch\n", "0* scratch; target 0, order 0");
    check("FROM a\nCOPY --from=scratch / /\n", "0* a copy(1 scratch); target 0, order 0");
    check("FROM a AS scratch\nFROM scratch\n", "scratch* a; 1* #0; target 1, order 0 1");
}

#[test]
fn a_stage_that_nothing_needs_does_not_run() {
    let text =
        "FROM a AS a\nFROM b AS b\nCOPY --from=a / /\nFROM c AS c\nFROM a AS d\nRUN --mount=from=b,target=/m x\n";
    check(text, "a* a; b* b copy(1 #0); c c; d* #0 mount(1 #1); target 3, order 0 1 3");
    let all = Options { all_stages: true, ..options() };
    check_with(&all, text, "a* a; b* b copy(1 #0); c* c; d* #0 mount(1 #1); target 3, order 0 1 2 3");
    let target = Options { target: Some("B".to_owned()), ..options() };
    check_with(&target, text, "a* a; b* b copy(1 #0); c c; d #0 mount(1 #1); target 1, order 0 1");
    let target = Options { target: Some("0".to_owned()), ..options() };
    check_with(&target, text, "a* a; b b copy(1 #0); c c; d #0 mount(1 #1); target 0, order 0");
}

#[test]
fn bases_see_global_arguments() {
    check("ARG A=1 B=$A-x\nFROM a:$B AS n\nFROM ${C:-n}\n", "n* a:1-x; 1* #0; target 1, order 0 1");
    let options = super::with_args(&[("A", "2")]);
    check_with(&options, "ARG A=1 B=$A-x\nFROM a:$B\n", "0* a:2-x; target 0, order 0");
}

#[test]
fn a_named_context_takes_the_place_of_an_image() {
    let names = ["docker.io/library/node", "quay.io/coreos/etcd:v3.3.9"];
    let options = Options { image_contexts: names.map(str::to_owned).into(), ..options() };
    let text = "FROM node:latest AS x\nCOPY --from=quay.io/coreos/etcd:v3.3.9 / /\nFROM node:1\nCOPY --from=x / /\n";
    let expected =
        "x* docker.io/library/node copy(1 quay.io/coreos/etcd:v3.3.9); 1* node:1 copy(1 #0); target 1, order 0 1";
    check_with(&options, text, expected);
}

#[test]
fn a_named_context_takes_the_place_of_a_stage_and_its_needs() {
    let options = Options { image_contexts: ["b".to_owned()].into(), ..options() };
    let text = "FROM x AS a\nFROM a AS B\nCOPY --from=a / /\nFROM b\nCOPY --from=b / /\n";
    check_with(&options, text, "a x; B* b; 2* #1 copy(1 #1); target 2, order 1 2");
}

#[test]
fn triggers_of_a_stage_outlive_it() {
    let options = Options { image_contexts: ["b".to_owned()].into(), ..options() };
    let plan = planned("FROM x AS b\nRUN y\nONBUILD ENV A=1\nFROM b\n", &options).unwrap();
    assert_eq!(plan.stages.iter().map(|stage| stage.steps.len()).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_directory_serves_as_base_and_as_source() {
    let options = Options { directory_contexts: ["files".to_owned()].into(), ..options() };
    let text = "FROM files AS base\nCOPY --from=files a b\nRUN --mount=from=files,target=/m x\n";
    let plan = planned(text, &options).unwrap();
    let steps = &plan.stages[0].steps;
    let context = FileOrigin::Context { name: Some("files".to_owned()) };
    assert_eq!(plan.stages[0].base, Base::Scratch);
    assert!(steps[1..].iter().all(|step| step.inputs == [context.clone()]), "{steps:?}");
    assert_eq!(steps.iter().map(|step| step.keyword.as_str()).collect::<Vec<_>>(), ["from", "from", "copy", "run"]);
}

#[test]
fn stages_that_do_not_run_are_understood_as_far_as_they_can_be() {
    let text = "FROM a AS skipped\nENV A=1\nCOPY $A ${B:?no}\nCOPY --from=1 x$A /\nFROM b\n";
    let plan = planned(text, &options()).unwrap();
    let texts: Vec<&str> = plan.stages[0].steps.iter().map(|step| step.text.as_str()).collect();
    assert_eq!(texts, ["FROM a AS skipped", "ENV A=1", "COPY $A ${B:?no}", "COPY --from=1 x1 /"]);
}
