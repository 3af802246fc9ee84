//! The official build checks of a Dockerfile, by what a plan of it is made from.

use super::Options;
use crate::dockerfile::Dockerfile;
use crate::dockerfile::ignore::Ignore;
use crate::dockerfile::lint::{self, BaseImage, Finding, Report, Surroundings};
use crate::dockerfile::stages;
use crate::image::config::ImageConfig;
use std::collections::BTreeMap;

/// What the checks find in the stages that `target` needs, or in all. `base` is what is known of an image.
pub fn report(
    dockerfile: &Dockerfile,
    options: &Options,
    target: Option<&str>,
    ignore: Option<&Ignore>,
    base: &dyn Fn(&str) -> Option<BaseImage>,
) -> Report {
    let surroundings = Surroundings {
        build_args: &options.build_args,
        target,
        platform: &options.platform,
        build_platform: &options.build_platform,
        ignore,
        base,
    };
    lint::lint(dockerfile, &surroundings)
}

/// The findings that end a build before anything runs: those in the stages that it needs, where findings are errors.
/// `bases` holds what the build is based on.
pub fn errors(
    dockerfile: &Dockerfile,
    options: &Options,
    bases: &BTreeMap<String, ImageConfig>,
    ignore: Option<&Ignore>,
) -> Vec<Finding> {
    if !lint::is_gate(dockerfile, &options.build_args) {
        return Vec::new();
    }
    let Ok(outline) = stages::outline(dockerfile) else { return Vec::new() };
    let last = outline.stages.len().saturating_sub(1).to_string();
    let target = options.target.as_deref().unwrap_or(&last);
    report(dockerfile, options, Some(target), ignore, &|name| bases.get(name).map(base_image)).findings
}

/// What the checks ask of a base.
pub fn base_image(config: &ImageConfig) -> BaseImage {
    let pairs = config.config.env.iter().filter_map(|it| it.split_once('='));
    let platform = format!("{}/{}", config.os, config.architecture);
    BaseImage {
        env: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        has_shell: config.config.shell.as_ref().is_some_and(|it| !it.is_empty()),
        platform: (platform.len() > 1).then_some(platform),
        triggers: config.config.on_build.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules and lines of what ends the build.
    #[track_caller]
    fn check(text: &str, args: &[(&str, &str)], expected: &[&str]) {
        let build_args = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let options = Options { build_args, ..Options::default() };
        let mut base = ImageConfig::default();
        base.config.env.push("FROM_BASE=1".to_owned());
        let bases = BTreeMap::from([("base".to_owned(), base)]);
        let found = errors(&crate::dockerfile::parse(text.as_bytes()), &options, &bases, None);
        let found: Vec<String> = found.iter().map(|it| format!("{}:{}", it.rule, it.lines.start)).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn findings_are_errors_only_where_it_is_said() {
        let wrong = "FROM base\nENV A=$FROM_BASE B=$NOWHERE\n";
        let strict = format!("# check=error=true\n{wrong}");
        check(wrong, &[], &[]);
        check(&strict, &[], &["UndefinedVar:3"]);
        check("# check=error=true\nFROM base\nENV A=$FROM_BASE\n", &[], &[]);
        check("# check=error=true;skip=UndefinedVar\nFROM base\nENV A=$B\n", &[], &[]);
        // The argument takes the directive's place, whatever it says.
        let argument = lint::ARGUMENT;
        check(wrong, &[(argument, "error=true")], &["UndefinedVar:2"]);
        check(&strict, &[(argument, "error=false")], &[]);
        check(&strict, &[(argument, "")], &[]);
        check(&strict, &[(argument, "skip=UndefinedVar;error=true")], &[]);
        check("# check=skip=all\nFROM base\nENV A=$B\n", &[(argument, "error=true")], &["UndefinedVar:3"]);
    }

    #[test]
    fn stages_that_are_not_needed_do_not_count() {
        check("# check=error=true\nFROM base AS a\nENV A=$B\nFROM base\n", &[], &[]);
    }
}
