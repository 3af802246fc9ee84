//! What Dockerfiles are lowered to, checked concern by concern. Each module has its own `check`.
//!
//! Expectations that name history or configuration were seen to be what Docker Engine 28.5 makes of the same file.

mod arguments;
mod configuration;
mod copies;
mod errors;
mod examples;
mod limits;
mod onbuild;
mod platforms;
mod refused;
mod runs;
mod stages;

use super::{Options, Plan, Step, lower, missing_bases};
use crate::dockerfile::{self, Diagnostic};
use crate::image::config::ImageConfig;
use std::collections::BTreeMap;
use std::sync::Arc;

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// For this machine, whatever it is.
fn options() -> Options {
    Options { build_platform: "linux/amd64".to_owned(), ..Options::default() }
}

fn with_args(args: &[(&str, &str)]) -> Options {
    let build_args = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Options { build_args, ..options() }
}

/// The configuration of any image: nothing but a command. Those called `trigger…` have triggers, `on-arm` is for arm64,
/// and `full` has a value for most things.
fn image(name: &str) -> ImageConfig {
    let mut image = ImageConfig { architecture: "amd64".to_owned(), os: "linux".to_owned(), ..ImageConfig::default() };
    let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let config = &mut image.config;
    config.cmd = Some(list(&["sh"]));
    match name {
        "on-arm" => image.architecture = "arm64".to_owned(),
        "trigger-copy" => config.on_build = list(&["COPY --from=tools /t /t", "RUN t"]),
        "trigger-heredoc" => config.on_build = list(&["COPY <<E /x\nhi $A\nE"]),
        "trigger-bad" => config.on_build = list(&["FOO x"]),
        "full" => {
            config.env = list(&["BASE=b", "TWO=x y"]);
            config.working_dir = "/w".to_owned();
            config.user = "app".to_owned();
            config.entrypoint = Some(list(&["e"]));
        }
        _ => {}
    }
    image
}

fn planned(text: &str, options: &Options) -> Result<Plan, Vec<Diagnostic>> {
    let dockerfile = Arc::new(dockerfile::parse(text.as_bytes()));
    let mut bases = BTreeMap::new();
    loop {
        let missing = missing_bases(&dockerfile, options, &bases)?;
        if missing.is_empty() {
            return lower(dockerfile, options, &bases);
        }
        bases.extend(missing.into_iter().map(|name| (name.clone(), image(&name))));
    }
}

/// The plan of a Dockerfile that must be right.
#[track_caller]
fn plan(text: &str) -> Plan {
    match planned(text, &options()) {
        Ok(plan) => plan,
        Err(errors) => panic!("{text}: {errors:?}"),
    }
}

/// The target's last step.
#[track_caller]
fn last(plan: &Plan) -> &Step {
    plan.stage(plan.target).steps.last().expect("a stage has its FROM")
}

/// The environment at the target's end, without the default PATH.
fn environment(plan: &Plan) -> Vec<String> {
    last(plan).state.environment.iter().filter(|entry| *entry != PATH).cloned().collect()
}

/// What history has of the target's own steps.
fn history(plan: &Plan) -> Vec<String> {
    let steps = plan.stage(plan.target).steps.iter();
    steps.filter(|step| !step.history.is_empty()).map(|step| step.history.clone()).collect()
}
