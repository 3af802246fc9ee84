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
    /// `--no-cache-filter`: names of stages of which every step runs, whatever is kept.
    pub no_cache_stages: Vec<String>,
    /// `--add-host`: names and addresses.
    pub hosts: Vec<(String, String)>,
    /// `--allow network.host`, which `--network host` says too.
    pub allow_host_network: bool,
    /// `--allow security.insecure`.
    pub allow_insecure: bool,
    /// `--network` for every RUN that does not say otherwise.
    pub network: Option<super::Network>,
}
