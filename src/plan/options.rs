//! What the command line says about a build, as far as the plan depends on it.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `--target`; the last stage if not given.
    pub target: Option<String>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// `os/arch[/variant]` of what is built.
    pub platform: String,
    /// `os/arch[/variant]` of the machine.
    pub build_platform: String,
    /// `--label`.
    pub labels: Vec<(String, String)>,
    /// Names of `--build-context` that are directories; they serve as file origins.
    pub directory_contexts: BTreeSet<String>,
    /// Names of `--build-context` that are images; they take the place of an image or a stage of that name.
    pub image_contexts: BTreeSet<String>,
    /// `--all-stages`: stages that the target does not need run too, as the classic builder did.
    pub all_stages: bool,
    /// `--network` for every RUN that does not say otherwise.
    pub network: Option<super::Network>,
}
