//! The proxies that Docker's client gives to every build.
//!
//! Source: `proxies` in Docker's `config.json`: by the daemon's address, or else `default`.

use super::{plain, print};
use crate::engine::buildkit::address::{self, Environment, Transport};
use crate::image::docker_client;
use crate::system;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    proxies: BTreeMap<String, Proxies>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Proxies {
    http_proxy: String,
    https_proxy: String,
    no_proxy: String,
    ftp_proxy: String,
    all_proxy: String,
}

/// By the names of their build arguments. A file that cannot be read gives none, and it is said.
pub fn read() -> BTreeMap<String, String> {
    let environment = Environment::read();
    let Some(path) = environment.docker.config.as_ref().map(|dir| dir.join("config.json")) else {
        return BTreeMap::new();
    };
    match docker_client::read(&path) {
        Ok(config) => of(config, &daemon(&environment)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
        Err(error) => unread(&path, &error),
    }
}

fn unread(path: &Path, error: &dyn std::fmt::Display) -> BTreeMap<String, String> {
    let message = format!("note: {}: {error}: the proxies in it are not used", path.display());
    print::note(plain::printable(&message));
    BTreeMap::new()
}

/// The address of the daemon that Docker's client talks to.
fn daemon(environment: &Environment) -> String {
    match (&environment.docker.host, address::docker(environment)) {
        (Some(host), _) => host.clone(),
        (None, Ok(address)) => match address.transport {
            Transport::Local(path) => system::socket_address(&path),
            Transport::Tcp { host, .. } => format!("tcp://{host}"),
            Transport::Program(_) => String::new(),
        },
        (None, Err(_)) => String::new(),
    }
}

fn of(Config { mut proxies }: Config, daemon: &str) -> BTreeMap<String, String> {
    let Some(found) = proxies.remove(daemon).or_else(|| proxies.remove("default")) else { return BTreeMap::new() };
    let named = [
        ("HTTP_PROXY", found.http_proxy),
        ("HTTPS_PROXY", found.https_proxy),
        ("NO_PROXY", found.no_proxy),
        ("FTP_PROXY", found.ftp_proxy),
        ("ALL_PROXY", found.all_proxy),
    ];
    named.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: &str, expected: Option<&[&str]>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, config).unwrap();
        let found = docker_client::read(&path).ok().map(|config| of(config, "tcp://far:2376"));
        let found = found.map(|it| it.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>());
        let expected = expected.map(|list| list.iter().map(|it| (*it).to_owned()).collect());
        assert_eq!(found, expected, "{config}");
    }

    #[test]
    fn proxies() {
        check("{}", Some(&[]));
        check(r#"{"auths": {}, "proxies": {"default": {}}}"#, Some(&[]));
        check(
            r#"{"proxies": {"default": {"httpProxy": "h", "httpsProxy": "s", "noProxy": "n", "ftpProxy": "f", "allProxy": "a"}}}"#,
            Some(&["ALL_PROXY=a", "FTP_PROXY=f", "HTTPS_PROXY=s", "HTTP_PROXY=h", "NO_PROXY=n"]),
        );
        // What is said of the daemon itself is all that counts.
        check(
            r#"{"proxies": {"default": {"httpProxy": "h"}, "tcp://far:2376": {"noProxy": "n"}}}"#,
            Some(&["NO_PROXY=n"]),
        );
        check(r#"{"proxies": {"tcp://other:2376": {"noProxy": "n"}}}"#, Some(&[]));
        check(r#"{"proxies": null}"#, Some(&[]));
        check(r#"{"proxies": {"default": {"httpProxy": null, "noProxy": "n"}}}"#, Some(&["NO_PROXY=n"]));
        check("{", None);
        check(r#"{"proxies": 5}"#, None);
    }
}
