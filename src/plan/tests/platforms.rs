//! Platforms of stages and of the result.

use super::super::{Options, image_and_platform};
use super::{last, options, planned};

/// Checks the bases that are asked for when an arm64 image is built on amd64, and the platform of each stage.
#[track_caller]
fn check(dockerfile: &str, expected: &[(&str, &str)]) {
    let options = Options { platform: Some("linux/arm64".to_owned()), ..options() };
    let plan = planned(dockerfile, &options).unwrap();
    let stages = plan.stages.iter().map(|stage| match &stage.base {
        super::super::Base::Image(name) => (name.as_str(), stage.platform.as_str()),
        other => panic!("{other:?}"),
    });
    assert_eq!(stages.collect::<Vec<_>>(), expected);
}

#[test]
fn a_base_for_another_platform_is_named_with_it() {
    check("FROM a\n", &[("a", "linux/arm64")]);
    check("FROM --platform=$BUILDPLATFORM a\n", &[("a::linux/amd64", "linux/amd64")]);
    check("FROM --platform=linux/arm64/v8 a\n", &[("a", "linux/arm64")]);
    check("ARG P=arm\nFROM --platform=linux/$P a:1\n", &[("a:1::linux/arm/v7", "linux/arm/v7")]);
    assert_eq!(image_and_platform("a:1::linux/arm/v7"), ("a:1", Some("linux/arm/v7")));
    assert_eq!(image_and_platform("host:5000/a"), ("host:5000/a", None));
}

#[test]
fn the_result_is_for_the_platform_that_was_asked_for() {
    // What the base says, and what the result says.
    let check = |base: &str, platform: Option<&str>, expected: [&str; 2]| {
        let options = Options { platform: platform.map(str::to_owned), ..options() };
        let plan = planned(&format!("FROM {base} AS x\nFROM x\nENV A=1\n"), &options).unwrap();
        let steps = [&plan.stages[0].steps[0], last(&plan)];
        assert_eq!(steps.map(|step| step.state.image.architecture.as_str()), expected, "{base} for {platform:?}");
    };
    check("a", Some("linux/arm64"), ["amd64", "arm64"]);
    check("a", None, ["amd64", "amd64"]);
    check("on-arm", None, ["arm64", "arm64"]);
    // The machine's own platform is one, too.
    check("on-arm", Some("linux/amd64"), ["arm64", "amd64"]);
}

#[test]
fn other_systems_are_refused_before_anything_runs() {
    let options = Options { platform: Some("windows/amd64".to_owned()), ..options() };
    let errors = planned("FROM a\n", &options).unwrap_err();
    assert_eq!(errors[0].message, "images for windows cannot be built here");
}

#[test]
fn a_registry_address_is_no_platform() {
    use crate::plan::step::image_and_platform;
    let check = |name: &str, expected: (&str, Option<&str>)| assert_eq!(image_and_platform(name), expected);
    check("a", ("a", None));
    check("a:1::linux/arm64", ("a:1", Some("linux/arm64")));
    check("[::1]:5000/a", ("[::1]:5000/a", None));
    check("[::1]/a::linux/arm/v7", ("[::1]/a", Some("linux/arm/v7")));
}
