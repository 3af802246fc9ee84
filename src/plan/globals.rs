//! What is set before the first FROM: platforms, predefined arguments, and ARG there.

use super::scope::{Vars, expand};
use super::{Options, Origin};
use crate::dockerfile::budget::Budget;
use crate::dockerfile::command::{Argument, Fault};
use crate::dockerfile::expand::Lex;
use crate::names::platform::Platform;
use std::collections::HashMap;

/// Arguments that every stage may declare without a default.
#[derive(Debug)]
pub(super) struct Globals {
    /// The platform that is built for.
    pub platform: Platform,
    pub vars: Vars,
    origins: HashMap<String, Origin>,
}

impl Globals {
    /// The arguments that are set before the first line. `stage` is the name of what is built. The error belongs to
    /// no place in the text.
    pub(super) fn new(options: &Options, stage: Option<&str>) -> Result<Globals, Fault> {
        let build = platform(&options.build_platform, &Platform::host())?;
        let target = platform(options.platform.as_deref().unwrap_or_default(), &build)?;
        if target.os != "linux" {
            let message = format!("images for {} cannot be built here", target.os);
            return Err(Fault::new("unsupported", message, "").help("only linux images can"));
        }
        let (target_platform, build_platform) = (target.to_string(), build.to_string());
        let values = [
            ("BUILDPLATFORM", build_platform.as_str()),
            ("BUILDOS", &build.os),
            ("BUILDOSVERSION", ""),
            ("BUILDARCH", &build.architecture),
            ("BUILDVARIANT", &build.variant),
            ("TARGETPLATFORM", target_platform.as_str()),
            ("TARGETOS", &target.os),
            ("TARGETOSVERSION", ""),
            ("TARGETARCH", &target.architecture),
            ("TARGETVARIANT", &target.variant),
            ("TARGETSTAGE", stage.filter(|it| !it.is_empty()).unwrap_or("default")),
        ];
        let mut vars = Vars::default();
        let mut origins = HashMap::new();
        for (name, value) in values {
            vars.set(name, options.argument(name).map_or(value, String::as_str));
            origins.insert(name.to_owned(), Origin::Predefined);
        }
        Ok(Globals { platform: target, vars, origins })
    }

    /// An ARG before the first FROM: `--build-arg` goes before its default, and without either it sets nothing.
    pub(super) fn declare(
        &mut self,
        arguments: &[Argument],
        line: u32,
        options: &Options,
        lex: Lex,
        budget: &Budget,
    ) -> Result<(), Fault> {
        for argument in arguments {
            let (value, origin) = match (options.argument(&argument.name), &argument.default) {
                (Some(value), _) => (value.clone(), Origin::BuildArg(line)),
                (None, Some(default)) => (expand(lex, default, &self.vars, budget)?, Origin::Line(line)),
                (None, None) => continue,
            };
            self.vars.set(&argument.name, &value);
            self.origins.insert(argument.name.clone(), origin);
        }
        Ok(())
    }

    /// Where an argument has its value from, if it has one.
    pub(super) fn origin(&self, name: &str) -> Option<&Origin> {
        self.origins.get(name)
    }
}

fn platform(text: &str, otherwise: &Platform) -> Result<Platform, Fault> {
    match text {
        "" => Ok(otherwise.clone()),
        text => text.parse().map_err(|error: crate::names::platform::ParsePlatformError| {
            Fault::new("platform", error.to_string(), "").help("for instance linux/amd64 or linux/arm64")
        }),
    }
}
