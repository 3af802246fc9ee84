//! Credentials for registries, from where Docker's client keeps them.
//!
//! Source: Docker's `config.json` (`auths`, `credHelpers`, `credsStore`), and the protocol of its credential
//! helpers: a program that reads the server's name and answers with JSON.

use super::docker_client;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// A helper may have to wait for a key to be touched or a password to be typed.
const HELPER_PATIENCE: Duration = Duration::from_secs(60);

/// Of a helper's.
const LARGEST_ANSWER: u64 = 1 << 20;

/// What the default registry's credentials are stored under.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    Anonymous,
    Basic {
        user: String,
        password: String,
    },
    /// To be exchanged for an access token.
    Identity(String),
    /// To be sent as it is.
    Bearer(String),
}

impl fmt::Debug for Credentials {
    /// Without what must not get into a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credentials::Anonymous => "Anonymous",
            Credentials::Basic { .. } => "Basic",
            Credentials::Identity(_) => "Identity",
            Credentials::Bearer(_) => "Bearer",
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    auths: HashMap<String, Entry>,
    cred_helpers: HashMap<String, String>,
    creds_store: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// What to show a registry, and what went wrong on the way to it: as with Docker, a broken helper means going
/// on without credentials, but the reason belongs into the message if that is refused.
pub(crate) async fn credentials(config_dir: Option<&Path>, registry: &str) -> (Credentials, Option<String>) {
    let Some(path) = config_dir.map(|dir| dir.join("config.json")) else { return (Credentials::Anonymous, None) };
    let config: Config = match docker_client::read(&path) {
        Ok(config) => config,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return (Credentials::Anonymous, None),
        Err(error) => return (Credentials::Anonymous, Some(format!("{}: {error}", path.display()))),
    };
    let key = if registry == "docker.io" { DOCKER_HUB } else { registry };
    let helper =
        config.cred_helpers.get(key).or_else(|| config.cred_helpers.get(registry)).unwrap_or(&config.creds_store);
    let mut problem = None;
    if !helper.is_empty() {
        match ask(helper, key).await {
            Ok(Some(found)) => return (found, None),
            Ok(None) => {}
            Err(why) => problem = Some(format!("docker-credential-{helper}: {why}")),
        }
    }
    let entry = config.auths.get(key).or_else(|| {
        let same_host = |(name, _): &(&String, &Entry)| host_of(name) == host_of(key);
        config.auths.iter().filter(same_host).min_by_key(|(name, _)| *name).map(|(_, entry)| entry)
    });
    match entry.map(stored) {
        Some(Ok(found)) => (found, problem),
        Some(Err(why)) => (Credentials::Anonymous, Some(format!("{}: the entry for {key} {why}", path.display()))),
        None => (Credentials::Anonymous, problem),
    }
}

/// Entries may be URLs of an older form of registry.
fn host_of(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

fn stored(entry: &Entry) -> Result<Credentials, &'static str> {
    if !entry.registrytoken.is_empty() {
        return Ok(Credentials::Bearer(entry.registrytoken.clone()));
    }
    if !entry.identitytoken.is_empty() {
        return Ok(Credentials::Identity(entry.identitytoken.clone()));
    }
    if entry.auth.is_empty() {
        return Ok(known(&entry.username, &entry.password).unwrap_or(Credentials::Anonymous));
    }
    let decoded = STANDARD.decode(entry.auth.trim()).map_err(|_| "is not base64")?;
    let text = String::from_utf8(decoded).map_err(|_| "is not text")?;
    let (user, password) = text.split_once(':').ok_or("has no `:` between user and password")?;
    // Docker's client pads with zeros.
    Ok(known(user, password.trim_end_matches('\0')).unwrap_or(Credentials::Anonymous))
}

/// What is no user's password is a token for the registry's own server of tokens, as for containerd.
fn known(user: &str, secret: &str) -> Option<Credentials> {
    match user {
        "" if secret.is_empty() => None,
        "" | "<token>" => Some(Credentials::Identity(secret.to_owned())),
        user => Some(Credentials::Basic { user: user.to_owned(), password: secret.to_owned() }),
    }
}

/// `None` if the helper has nothing for the server.
async fn ask(helper: &str, server: &str) -> Result<Option<Credentials>, String> {
    if !helper.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Err("this is not the name of a program".to_owned());
    }
    let program = format!("docker-credential-{helper}");
    tokio::time::timeout(HELPER_PATIENCE, run(OsStr::new(&program), server))
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", HELPER_PATIENCE.as_secs())))
}

async fn run(program: &OsStr, server: &str) -> Result<Option<Credentials>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        #[serde(default)]
        username: String,
        #[serde(default)]
        secret: String,
    }
    let started = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let mut child = started.map_err(|error| error.to_string())?;
    if let Some(mut input) = child.stdin.take() {
        // One that does not read has ended, and its exit code says more.
        let _ = input.write_all(server.as_bytes()).await;
    }
    let mut answer = Vec::new();
    if let Some(output) = child.stdout.take() {
        output.take(LARGEST_ANSWER).read_to_end(&mut answer).await.map_err(|error| error.to_string())?;
    }
    let status = child.wait().await.map_err(|error| error.to_string())?;
    if !status.success() {
        let said = String::from_utf8_lossy(&answer);
        let said = said.trim();
        if said.contains("credentials not found") {
            return Ok(None);
        }
        return Err(if said.is_empty() { status.to_string() } else { said.chars().take(200).collect() });
    }
    let answer: Answer = serde_json::from_slice(&answer).map_err(|error| format!("its answer is not JSON: {error}"))?;
    Ok(known(&answer.username, &answer.secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn describe(credentials: &Credentials) -> String {
        match credentials {
            Credentials::Anonymous => "anonymous".to_owned(),
            Credentials::Basic { user, password } => format!("{user} / {password}"),
            Credentials::Identity(token) => format!("identity {token}"),
            Credentials::Bearer(token) => format!("bearer {token}"),
        }
    }

    fn check(config: &str, registry: &str, expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), config).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (found, problem) = runtime.block_on(credentials(Some(dir.path()), registry));
        let answer = match problem {
            None => describe(&found),
            Some(problem) => {
                format!("{}, {}", describe(&found), problem.replace(&dir.path().display().to_string(), "DIR"))
            }
        };
        assert!(answer.starts_with(expected), "{config}: {answer}");
    }

    #[test]
    fn entries() {
        let config = r#"{"auths":{
            "https://index.docker.io/v1/":{"auth":"bWU6c2VjcmV0OndpdGg6Y29sb25z"},
            "quay.io":{"username":"u","password":"p"},
            "https://old.example/v1/":{"auth":"bWU6c2VjcmV0"},
            "id.example":{"identitytoken":"i","auth":"bWU6"},
            "token.example":{"registrytoken":"r"},
            "localhost:5000":{"auth":"bWU6c2VjcmV0"},
            "nobody.example":{"auth":"OnNlY3JldA=="},
            "null.example":null,
            "nulls.example":{"auth":null,"username":"u","password":"p"},
            "empty.example":{}},"credHelpers":null,"credsStore":null}"#;
        check(config, "docker.io", "me / secret:with:colons");
        check(config, "quay.io", "u / p");
        check(config, "old.example", "me / secret");
        check(config, "id.example", "identity i");
        check(config, "token.example", "bearer r");
        check(config, "localhost:5000", "me / secret");
        check(config, "localhost", "anonymous");
        check(config, "empty.example", "anonymous");
        check(config, "null.example", "anonymous");
        check(config, "nulls.example", "u / p");
        check(config, "nobody.example", "identity secret");
        check(config, "example", "anonymous");
    }

    #[test]
    fn damaged() {
        check("", "quay.io", "anonymous, DIR/config.json: EOF");
        check("{\"auths\":[]}", "quay.io", "anonymous, DIR/config.json: invalid type");
        check(
            r#"{"auths":{"quay.io":{"auth":"%"}}}"#,
            "quay.io",
            "anonymous, DIR/config.json: the entry for quay.io is not base64",
        );
        check(
            r#"{"auths":{"quay.io":{"auth":"bWU="}}}"#,
            "quay.io",
            "anonymous, DIR/config.json: the entry for quay.io has no `:`",
        );
        check(r#"{"credsStore":"../x"}"#, "quay.io", "anonymous, docker-credential-../x: this is not");
        check(
            r#"{"credsStore":"no-such-helper-here"}"#,
            "quay.io",
            "anonymous, docker-credential-no-such-helper-here: ",
        );
    }

    #[test]
    fn a_helper_that_is_missing_leaves_the_stored_entry() {
        let config = r#"{"credHelpers":{"quay.io":"no-such-helper-here"},"auths":{"quay.io":{"auth":"bWU6c2VjcmV0"}}}"#;
        check(config, "quay.io", "me / secret, docker-credential-no-such-helper-here: ");
    }

    /// A helper that is this script, asked for `registry.example`.
    #[cfg(unix)]
    fn check_helper(script: &str, expected: &str) {
        use std::io::Write;
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("helper");
        // Written by a process of its own: if this one had it open for writing while another test starts a
        // program, it could not be run.
        let mut writer = std::process::Command::new("sh");
        writer.args(["-c", "cat >\"$0\"; chmod +x \"$0\""]).arg(&program).stdin(Stdio::piped());
        let mut child = writer.spawn().unwrap();
        write!(child.stdin.take().unwrap(), "#!/bin/sh\n{script}\n").unwrap();
        child.wait().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = match runtime.block_on(run(program.as_os_str(), "registry.example")) {
            Ok(Some(found)) => describe(&found),
            Ok(None) => "nothing".to_owned(),
            Err(why) => why,
        };
        assert!(answer.starts_with(expected), "{script}: {answer}");
    }

    #[test]
    #[cfg(unix)]
    fn helpers() {
        check_helper(r#"read server; echo "{\"Username\":\"$1\",\"Secret\":\"$server\"}""#, "get / registry.example");
        check_helper(r#"echo '{"ServerURL":"x","Username":"<token>","Secret":"i"}'"#, "identity i");
        check_helper(r#"echo '{"Username":"","Secret":"i"}'"#, "identity i");
        check_helper("echo credentials not found in native keychain; exit 1", "nothing");
        check_helper("echo locked; exit 1", "locked");
        check_helper("exit 3", "exit status: 3");
        check_helper("echo '{}'", "nothing");
        check_helper("echo no", "its answer is not JSON");
        check_helper("yes", "y");
    }

    #[test]
    fn secrets_stay_out_of_logs() {
        let shown = format!("{:?}", Credentials::Basic { user: "u".into(), password: "p".into() });
        assert_eq!(shown, "Basic");
    }
}
