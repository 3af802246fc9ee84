//! Triggers: of base images and of stages, run once, and not passed on.

use super::{last, options, planned};

/// Checks the texts of the target's steps; those of triggers have a `+` before them.
#[track_caller]
fn check(dockerfile: &str, expected: &[&str]) {
    let plan = planned(dockerfile, &options()).unwrap_or_else(|errors| panic!("{dockerfile}: {errors:?}"));
    let steps = plan.stage(plan.target).steps.iter();
    let texts: Vec<String> =
        steps.map(|step| format!("{}{}", if step.onbuild { "+" } else { "" }, step.text)).collect();
    assert_eq!(texts, expected, "\n{dockerfile}");
}

#[test]
fn of_a_base_image() {
    check(
        "FROM q AS tools\nFROM trigger-copy\nRUN own\n",
        &["FROM trigger-copy", "+COPY --from=tools /t /t", "+RUN t", "RUN own"],
    );
    check("FROM trigger-heredoc\n", &["FROM trigger-heredoc", "+COPY <<E /x"]);
}

#[test]
fn what_a_trigger_reads_is_needed_and_its_base_asked_for() {
    let text = "FROM q AS tools\nFROM trigger-copy\n";
    let plan = planned(text, &options()).unwrap();
    assert!(plan.stages.iter().all(|stage| stage.needed));
    assert_eq!(plan.stages[1].steps[1].lines.start, 2, "a trigger stands on its FROM's line");
}

#[test]
fn of_a_stage_and_only_for_the_next() {
    let text = "FROM q AS a\nONBUILD ENV A=1\nONBUILD RUN $A\nFROM a AS b\nRUN own\n";
    check(text, &["FROM a AS b", "+ENV A=1", "+RUN 1", "RUN own"]);
    check(&format!("{text}FROM b\n"), &["FROM b"]);
}

#[test]
fn they_are_the_images_only_where_they_are_written() {
    let on_build = |text: &str| last(&planned(text, &options()).unwrap()).state.image.config.on_build.clone();
    assert_eq!(on_build("FROM q\nONBUILD RUN $A\n"), ["RUN $A"]);
    assert_eq!(on_build("FROM q AS a\nONBUILD RUN x\nFROM a\n"), [""; 0]);
    assert_eq!(on_build("FROM q AS tools\nFROM trigger-copy\n"), [""; 0]);
    assert_eq!(on_build("FROM q\nonbuild   COPY <<E /x\nhi\nE\n"), ["COPY <<E /x\nhi\nE"]);
}
