//! What the command line says about a build, as far as the plan depends on it.

use super::proxies;
use crate::dockerfile::lint::names_a_secret;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// In an address' place: the machine that the engine runs on, as a RUN reaches it.
pub const HOST_GATEWAY: &str = "host-gateway";

/// A build argument's value as it may be told of: not that of a secret, and without the password of a proxy.
pub fn shown<'v>(name: &str, value: &'v str) -> Cow<'v, str> {
    match name {
        name if names_a_secret(name) => Cow::Borrowed("…"),
        name if proxies::is_proxy(name) => proxies::shown(value),
        _ => Cow::Borrowed(value),
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `--target`; the last stage if not given.
    pub target: Option<String>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// Proxies that Docker's client is configured with, by the names of their build arguments.
    pub proxies: BTreeMap<String, String>,
    /// `--platform`: `os/arch[/variant]` of what is built; the machine's if not given.
    pub platform: Option<String>,
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
    /// `--add-host`: names, and addresses or [`HOST_GATEWAY`].
    pub hosts: Vec<(String, String)>,
    /// `--allow network.host`, which `--network host` says too.
    pub allow_host_network: bool,
    /// `--allow security.insecure`.
    pub allow_insecure: bool,
    /// `--network` for every RUN that does not say otherwise.
    pub network: Option<super::Network>,
    /// `--shm-size`: bytes of `/dev/shm` in every RUN.
    pub shm_size: Option<u64>,
    /// `--ulimit`, each name once.
    pub ulimits: Vec<super::Ulimit>,
    /// `--cgroup-parent`: the control group that a builder runs commands in.
    pub cgroup_parent: Option<String>,
}

impl Options {
    /// The value of a build argument. A proxy that is given in any spelling takes the configured one's place.
    pub fn argument(&self, name: &str) -> Option<&String> {
        let given = || self.build_args.keys().any(|it| it.eq_ignore_ascii_case(name));
        self.build_args.get(name).or_else(|| self.proxies.get(name).filter(|_| !given()))
    }
}

/// An address of `--add-host`; `gateway` is that of the machine that the engine runs on.
pub fn real_address<'a>(address: &'a str, gateway: Option<&'a str>) -> &'a str {
    match gateway {
        Some(gateway) if address == HOST_GATEWAY => gateway,
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_arguments() {
        let check = |name: &str, value: &str, expected: &str| assert_eq!(shown(name, value), expected);
        check("VERSION", "1", "1");
        check("API_TOKEN", "hunter2", "…");
        check("https_proxy", "http://me:pw@host", "http://…@host");
    }
}
