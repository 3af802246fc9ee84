//! What Docker's own client goes by: which Docker Engine it talks to, and how.
//!
//! Source: `DOCKER_HOST`, `DOCKER_CONTEXT`, `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH`, and in the client's directory
//! `config.json` and the contexts.

use super::digest::Digest;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Its directory, and the environment that it looks at.
#[derive(Debug, Clone, Default)]
pub struct DockerClient {
    /// Of `config.json`: `DOCKER_CONFIG`, or `~/.docker`.
    pub config: Option<PathBuf>,
    /// `DOCKER_HOST`.
    pub host: Option<String>,
    /// `DOCKER_CONTEXT`.
    pub context: Option<String>,
    /// The directory of `DOCKER_CERT_PATH`, and whether `DOCKER_TLS_VERIFY` is set.
    pub cert_path: Option<PathBuf>,
    pub tls_verify: bool,
    /// `XDG_RUNTIME_DIR`.
    pub runtime: Option<PathBuf>,
}

/// A Docker Engine that somebody has named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// As `DOCKER_HOST` has it.
    pub host: String,
    pub tls: Option<Tls>,
    /// As the user knows it, for messages.
    pub name: String,
}

/// Files in PEM form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Who may have signed the server's certificate.
    pub ca: Option<PathBuf>,
    /// The client's certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate is for, if it is not the host's.
    pub server: Option<String>,
    /// Whether any certificate will do.
    pub unverified: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the context {name:?} of Docker's client cannot be used: {why}")]
pub struct ContextError {
    name: String,
    why: String,
}

impl ContextError {
    pub const HELP: &str = "`docker context ls` shows which there are";
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    current_context: String,
}

/// As much of `config.json` as is read.
const LARGEST: u64 = 1 << 20;

/// A context, from its `meta.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Context {
    endpoints: BTreeMap<String, Described>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Described {
    host: String,
    #[serde(rename = "SkipTLSVerify")]
    skip_tls_verify: bool,
}

impl DockerClient {
    pub fn from_environment() -> DockerClient {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let text = |name: &str| set(name).and_then(|value| value.into_string().ok());
        let in_home = || std::env::home_dir().map(|home| home.join(".docker"));
        DockerClient {
            config: set("DOCKER_CONFIG").map(PathBuf::from).or_else(in_home),
            host: text("DOCKER_HOST"),
            context: text("DOCKER_CONTEXT"),
            cert_path: set("DOCKER_CERT_PATH").map(PathBuf::from),
            tls_verify: set("DOCKER_TLS_VERIFY").is_some(),
            runtime: set("XDG_RUNTIME_DIR").map(PathBuf::from),
        }
    }

    /// The Docker Engine that `DOCKER_HOST` or the context in force names; `None` if it is the one at the usual place.
    pub fn named(&self) -> Result<Option<Endpoint>, ContextError> {
        if let Some(host) = &self.host {
            return Ok(Some(Endpoint { host: host.clone(), tls: self.tls(), name: host.clone() }));
        }
        self.current_context().map(|name| self.of_context(&name)).transpose()
    }

    /// As the environment has it, for addresses that have no files of their own.
    pub fn tls(&self) -> Option<Tls> {
        if !self.tls_verify && self.cert_path.is_none() {
            return None;
        }
        let dir = self.cert_path.clone().or_else(|| self.config.clone())?;
        Some(Tls { unverified: !self.tls_verify, ..Tls::in_directory(&dir) })
    }

    /// The context in force, if it is not the default one.
    fn current_context(&self) -> Option<String> {
        let named = self.context.clone().or_else(|| {
            let config: Config = read(&self.config.as_ref()?.join("config.json")).ok()?;
            Some(config.current_context)
        });
        named.filter(|name| !name.is_empty() && name != "default")
    }

    pub fn of_context(&self, name: &str) -> Result<Endpoint, ContextError> {
        let wrong = |why: String| ContextError { name: name.to_owned(), why };
        let config = self.config.as_ref().ok_or_else(|| wrong("it has no directory".to_owned()))?;
        let id = Digest::of(name.as_bytes());
        let file = config.join("contexts/meta").join(id.hex()).join("meta.json");
        let broken = |error: String| wrong(format!("{}: {error}", file.display()));
        let bytes = std::fs::read(&file).map_err(|error| broken(error.to_string()))?;
        let context: Context = serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
        let endpoint = context.endpoints.get("docker").filter(|it| !it.host.is_empty());
        let endpoint = endpoint.ok_or_else(|| wrong("it names no Docker Engine".to_owned()))?;
        let dir = config.join("contexts/tls").join(id.hex()).join("docker");
        let tls = dir.is_dir().then(|| Tls { unverified: endpoint.skip_tls_verify, ..Tls::in_directory(&dir) });
        Ok(Endpoint { host: endpoint.host.clone(), tls, name: format!("{name} ({})", endpoint.host) })
    }
}

/// Reads `config.json`. A `null` in it is as good as nothing, as it is to Docker.
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST).read_to_end(&mut bytes)?;
    parse(&bytes)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    let mut value: Value = serde_json::from_slice(bytes)?;
    forget_nulls(&mut value);
    Ok(serde_json::from_value(value)?)
}

fn forget_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(forget_nulls);
        }
        Value::Array(members) => members.iter_mut().for_each(forget_nulls),
        _ => {}
    }
}

impl Tls {
    /// The files of a directory that holds them under the names that Docker's client uses.
    pub fn in_directory(dir: &Path) -> Tls {
        let file = |name: &str| Some(dir.join(name)).filter(|path| path.exists());
        Tls { ca: file("ca.pem"), identity: file("cert.pem").zip(file("key.pem")), server: None, unverified: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(client: &DockerClient, expected: &str) {
        let answer = match client.named() {
            Ok(None) => "the usual place".to_owned(),
            Ok(Some(Endpoint { host, tls, name })) => match tls {
                None => format!("{name}: {host}"),
                Some(tls) => {
                    let files = [tls.ca, tls.identity.map(|(certificate, _)| certificate)];
                    let files: Vec<String> = files.into_iter().flatten().map(|it| it.display().to_string()).collect();
                    format!("{name}: {host} {} unverified: {}", files.join(" "), tls.unverified)
                }
            },
            Err(error) => error.to_string(),
        };
        let dir = client.config.as_ref().map(|dir| dir.display().to_string());
        assert_eq!(dir.map_or(answer.clone(), |dir| answer.replace(&dir, "DIR")), expected);
    }

    #[test]
    fn engines() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let context = |name: &str, text: &str| {
            let id = Digest::of(name.as_bytes()).hex().to_owned();
            write(&format!("contexts/meta/{id}/meta.json"), text);
            id
        };
        let bare = DockerClient { config: Some(dir.path().to_owned()), ..DockerClient::default() };
        check(&bare, "the usual place");
        for config in ["{", "{}", r#"{"currentContext":null}"#, r#"{"currentContext":"default"}"#] {
            write("config.json", config);
            check(&bare, "the usual place");
        }
        write("config.json", r#"{"currentContext":"far"}"#);
        let text = "the context \"far\" of Docker's client cannot be used: DIR/contexts/meta/";
        assert!(
            bare.named().unwrap_err().to_string().replace(&dir.path().display().to_string(), "DIR").starts_with(text)
        );
        let id = context("far", r#"{"Endpoints":{"docker":{"Host":"tcp://far:2376","SkipTLSVerify":true}}}"#);
        check(&bare, "far (tcp://far:2376): tcp://far:2376");
        for file in ["ca.pem", "cert.pem", "key.pem"] {
            write(&format!("contexts/tls/{id}/docker/{file}"), "");
        }
        let tls = format!("DIR/contexts/tls/{id}/docker");
        check(&bare, &format!("far (tcp://far:2376): tcp://far:2376 {tls}/ca.pem {tls}/cert.pem unverified: true"));
        context("near", r#"{"Name":"near","Metadata":{},"Endpoints":{"docker":{"Host":"unix:///near.sock"}}}"#);
        context("none", r#"{"Endpoints":{}}"#);
        let named = |name: &str| DockerClient { context: Some(name.to_owned()), ..bare.clone() };
        check(&named("near"), "near (unix:///near.sock): unix:///near.sock");
        check(&named("default"), "the usual place");
        check(&named("none"), "the context \"none\" of Docker's client cannot be used: it names no Docker Engine");
        let host = DockerClient { host: Some("tcp://here".to_owned()), ..named("near") };
        check(&host, "tcp://here: tcp://here");
        write("ca.pem", "");
        check(
            &DockerClient { tls_verify: true, ..host.clone() },
            "tcp://here: tcp://here DIR/ca.pem unverified: false",
        );
        let elsewhere = DockerClient { cert_path: Some(dir.path().join("none")), ..host };
        check(&elsewhere, "tcp://here: tcp://here  unverified: true");
    }
}
