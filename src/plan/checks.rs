//! The official build checks of a Dockerfile, by what a plan of it is made from.

use super::lower::{Refusal, refusals};
use super::stages::{self, Others, StageDraft, Stages};
use super::{Base, Options, image_and_platform};
use crate::dockerfile::ignore::Ignore;
use crate::dockerfile::lint::{self, BaseImage, Finding, Known, Report, Surroundings};
use crate::dockerfile::{Diagnostic, Dockerfile, stages::outline};
use crate::image::config::ImageConfig;
use std::collections::BTreeMap;

/// Configurations of images, by the names that [`missing_bases`] gives them. Nothing may be known of one.
pub type Bases = BTreeMap<String, Option<ImageConfig>>;

/// The images that the checks ask for beyond those in `bases`. Asked again with them, there may be more.
pub fn missing_bases(
    dockerfile: &Dockerfile,
    options: &Options,
    bases: &Bases,
) -> Result<Vec<String>, Vec<Diagnostic>> {
    let images = images(bases);
    Ok(stages::read(dockerfile, options, others(options), &images)?.missing(&images))
}

/// What the checks find in the stages that the target needs; in all, if there is none.
pub fn report(dockerfile: &Dockerfile, options: &Options, bases: &Bases, ignore: Option<&Ignore>) -> Report {
    let images = images(bases);
    let stages = stages::read(dockerfile, options, others(options), &images);
    let (known, end) = match &stages {
        Ok(stages) => (known(stages, options, bases, &images), None),
        Err(errors) => (Vec::new(), errors.first()),
    };
    let surroundings = Surroundings {
        build_args: &options.build_args,
        target: options.target.as_deref().filter(|it| !it.is_empty()),
        platform: options.platform.as_ref().unwrap_or(&options.build_platform),
        build_platform: &options.build_platform,
        ignore,
        stages: &known,
        end,
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
    let Ok(outline) = outline(dockerfile) else { return Vec::new() };
    let last = outline.stages.len().saturating_sub(1).to_string();
    let options = Options { target: options.target.clone().or(Some(last)), ..options.clone() };
    let bases = bases.iter().map(|(name, image)| (name.clone(), Some(image.clone()))).collect();
    report(dockerfile, &options, &bases, ignore).findings
}

/// Without a target all stages are checked; triggers count in what the last one needs.
fn others(options: &Options) -> Others {
    match options.target.as_deref() {
        None | Some("") => Others::AsWritten,
        Some(_) => Others::of(options),
    }
}

/// What is not known of an image is not there.
fn images(bases: &Bases) -> BTreeMap<String, ImageConfig> {
    bases.iter().map(|(name, image)| (name.clone(), image.clone().unwrap_or_default())).collect()
}

fn known<'s>(
    stages: &'s Stages,
    options: &Options,
    bases: &Bases,
    images: &BTreeMap<String, ImageConfig>,
) -> Vec<Known<'s>> {
    let unknown = bases.values().any(Option::is_none);
    // Another base may make it right.
    let may_be_right = |it: &Refusal| {
        let item = stages.stage(it.stage).and_then(|stage| stage.body.get(it.at));
        unknown && item.is_some_and(|item| item.instruction.original.contains('$'))
    };
    let mut refusals = refusals(stages, options, images);
    refusals.retain(|it| !may_be_right(it));
    let known = |stage: &'s StageDraft| {
        let triggers = stage.body.iter().filter(|it| it.onbuild).map(|it| &it.command);
        let end = refusals.iter().find(|it| it.stage == stage.id);
        Known {
            replaced: stage.replaced,
            base: base(stage, options, bases),
            triggers: triggers.collect(),
            end: end.map(|it| (it.at, it.diagnostic.clone())),
        }
    };
    stages.stages.iter().map(known).collect()
}

/// What a stage is built on that is no stage. What the command line gives in an image's place is for any platform.
fn base(stage: &StageDraft, options: &Options, bases: &Bases) -> Option<BaseImage> {
    match &stage.base {
        Base::Image(name) => {
            let image = base_image(bases.get(name)?.as_ref()?);
            let given = options.image_contexts.contains(image_and_platform(name).0);
            Some(BaseImage { platform: image.platform.filter(|_| !given), ..image })
        }
        Base::Scratch | Base::Stage(_) => Some(BaseImage::default()),
    }
}

/// What the checks ask of a base.
fn base_image(config: &ImageConfig) -> BaseImage {
    let pairs = config.config.env.iter().filter_map(|it| it.split_once('='));
    let platform = format!("{}/{}", config.os, config.architecture);
    BaseImage {
        env: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        has_shell: config.config.shell.as_ref().is_some_and(|it| !it.is_empty()),
        platform: (platform.len() > 1).then_some(platform),
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

    /// The rules and lines of what `check` finds, then the line of what ended it. All bases are for arm64, `trigger`
    /// puts a WORKDIR in, and `unknown` is not known.
    #[track_caller]
    fn check_all(options: Options, text: &str, expected: &[&str]) {
        let options = Options { build_platform: "linux/amd64".to_owned(), ..options };
        let dockerfile = crate::dockerfile::parse(text.as_bytes());
        let mut bases = Bases::new();
        while let Ok(missing) = missing_bases(&dockerfile, &options, &bases)
            && !missing.is_empty()
        {
            bases.extend(missing.into_iter().map(|name| {
                let mut image =
                    ImageConfig { os: "linux".to_owned(), architecture: "arm64".to_owned(), ..ImageConfig::default() };
                if name.starts_with("trigger") {
                    image.config.on_build.push("WORKDIR x".to_owned());
                }
                let known = name != "unknown";
                (name, known.then_some(image))
            }));
        }
        let report = report(&dockerfile, &options, &bases, None);
        let found = report.findings.iter().map(|it| format!("{}:{}", it.rule, it.lines.start));
        let found: Vec<String> = found.chain(report.rejected.iter().map(|it| format!("error:{}", it.line))).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn bases_are_for_the_platform_of_their_stage() {
        check_all(Options::default(), "FROM --platform=linux/arm64 a AS arm64\n", &[]);
        check_all(
            Options::default(),
            "FROM a\nFROM --platform=$BUILDPLATFORM b\n",
            &["InvalidBaseImagePlatform:1", "InvalidBaseImagePlatform:2"],
        );
        check_all(Options::default(), "FROM unknown\nFROM scratch\n", &[]);
    }

    #[test]
    fn what_the_command_line_gives_is_not_looked_up() {
        let options = Options {
            image_contexts: ["docker.io/library/a".to_owned(), "one".to_owned()].into(),
            directory_contexts: ["b".to_owned()].into(),
            ..Options::default()
        };
        check_all(options, "FROM a\nFROM b:latest\nENV A=$B\nFROM x AS one\n", &["UndefinedVar:3"]);
    }

    #[test]
    fn triggers_count_in_what_the_last_stage_needs() {
        let platform = "InvalidBaseImagePlatform";
        let check = |text: &str, expected: &[&str]| check_all(Options::default(), text, expected);
        let options = || Options { image_contexts: ["trigger".to_owned()].into(), ..Options::default() };
        check_all(options(), "FROM trigger\n", &["WorkdirRelativePath:1"]);
        check_all(options(), "FROM trigger AS a\nFROM scratch\n", &[]);
        check_all(options(), "FROM trigger AS a\nFROM scratch\nCOPY --from=a x y\n", &["WorkdirRelativePath:1"]);
        check("FROM scratch AS a\nONBUILD WORKDIR x\nFROM a AS b\nFROM scratch\n", &[]);
        check("FROM scratch AS a\nONBUILD WORKDIR x\nFROM a AS b\nFROM b\n", &["WorkdirRelativePath:3"]);
        check("FROM trigger\n", &["WorkdirRelativePath:1", &format!("{platform}:1")]);
    }

    #[test]
    fn checks_end_where_the_front_end_does() {
        let check = |text: &str, expected: &[&str]| check_all(Options::default(), text, expected);
        check("FROM scratch as x\nCOPY --from=9 a b\nCMD x\n", &["FromAsCasing:1", "error:2"]);
        check("FROM scratch\nCMD x\nRUN --mount=from=Bad_Name,target=/x y\n", &["error:3"]);
        check("FROM scratch AS a\nCMD x\nCOPY --from=b c d\nFROM scratch AS b\nCOPY --from=a c d\n", &["error:5"]);
        check("FROM scratch AS a\nONBUILD COPY --from=9 x y\nCMD x\nFROM a\n", &["error:4"]);
        check("FROM scratch\nSTOPSIGNAL nothing\nCMD x\n", &["error:2"]);
        check("FROM scratch\nCMD x\nEXPOSE x\nENTRYPOINT x\n", &["JSONArgsRecommended:2", "error:3"]);
        check("FROM scratch\nCOPY --chmod=9 a b\nCMD x\n", &["error:2"]);
        check(
            "FROM scratch AS a\nCMD x\nCOPY --from=b c d\nENTRYPOINT x\nFROM scratch AS b\n",
            &["JSONArgsRecommended:2", "error:3"],
        );
        check("FROM unknown\nSTOPSIGNAL $A\nCMD x\n", &["JSONArgsRecommended:3"]);
        check("FROM unknown\nSTOPSIGNAL x\nCMD x\n", &["error:2"]);
    }

    #[test]
    fn what_only_a_run_refuses_is_no_matter_of_checks() {
        let check = |text: &str| {
            check_all(Options::default(), &format!("FROM scratch\n{text}\nCMD x\n"), &["JSONArgsRecommended:3"])
        };
        check("RUN --network=host x");
        check("RUN --security=insecure x");
        check("RUN []");
        check("RUN --mount=type=tmpfs,source=a,target=/x y");
        check_all(Options::default(), "FROM scratch\nCOPY <<a/b /x\nhi\na/b\nCMD x\n", &["JSONArgsRecommended:5"]);
    }

    #[test]
    fn stages_that_are_not_needed_do_not_count() {
        check("# check=error=true\nFROM base AS a\nENV A=$B\nFROM base\n", &[], &[]);
    }
}
