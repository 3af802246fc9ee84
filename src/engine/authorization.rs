//! Secrets by which private sources let a build in.
//!
//! Source: "Git authentication for remote contexts" and "HTTP authentication" of Docker's build secrets; BuildKit's
//! `source/git` and `source/http` for their order.

use super::EngineError;
use super::settings::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;

type Secrets = BTreeMap<String, Secret>;

/// What `git` is to say to a server.
pub(crate) struct Authorization {
    /// The addresses that it is for begin like this.
    pub(crate) scope: String,
    /// The header's value.
    pub(crate) value: String,
}

/// What a repository's server is told: `GIT_AUTH_HEADER` or `GIT_AUTH_TOKEN`, and before them those of its own host.
pub(crate) fn of_repository(address: &str, secrets: &Secrets) -> Result<Option<Authorization>, EngineError> {
    let Some(host) = host(address) else { return Ok(None) };
    for suffix in [format!(".{host}"), String::new()] {
        let value = match header(&format!("GIT_AUTH_HEADER{suffix}"), secrets)? {
            Some(value) => Some(value),
            None => header(&format!("GIT_AUTH_TOKEN{suffix}"), secrets)?
                .map(|token| format!("basic {}", STANDARD.encode(format!("x-access-token:{token}")))),
        };
        if let Some(value) = value {
            return Ok(Some(Authorization { scope: scope(address), value }));
        }
    }
    Ok(None)
}

/// What a file's server is told: `HTTP_AUTH_TOKEN_host` or `HTTP_AUTH_HEADER_host`.
pub(crate) fn of_file(address: &str, secrets: &Secrets) -> Result<Option<String>, EngineError> {
    let Some(host) = host(address) else { return Ok(None) };
    let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
    let name = if port.ends_with(']') { host } else { name };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    match header(&format!("HTTP_AUTH_TOKEN_{name}"), secrets)? {
        Some(token) => Ok(Some(format!("Bearer {token}"))),
        None => header(&format!("HTTP_AUTH_HEADER_{name}"), secrets),
    }
}

/// With its port, if that is written.
fn host(address: &str) -> Option<&str> {
    let (scheme, rest) = address.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let web = ["http", "https"].iter().any(|it| scheme.eq_ignore_ascii_case(it));
    web.then(|| authority.rsplit_once('@').map_or(authority, |(_, host)| host))
}

/// The repository alone; on GitHub its submodules there, too.
fn scope(address: &str) -> String {
    let all_of = ["https://github.com/", "https://www.github.com/"].into_iter().find(|it| address.starts_with(it));
    all_of.unwrap_or(address).to_owned()
}

/// A secret as what can stand in a header. Files of secrets often end with a line's end.
fn header(id: &str, secrets: &Secrets) -> Result<Option<String>, EngineError> {
    let Some(secret) = secrets.get(id) else { return Ok(None) };
    let wrong = |why: String| EngineError::new(format!("secret {id}: {why}"));
    let text = secret.read().map_err(wrong)?;
    let text = String::from_utf8(text).map_err(|_| wrong("it is no text, and no header can have it".to_owned()))?;
    let text = text.trim_end_matches(['\r', '\n']);
    match text.contains(char::is_control) {
        true => Err(wrong("it has several lines or control characters, and no header can have them".to_owned())),
        false => Ok(Some(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Secrets, each with its own name as its content.
    fn secrets(dir: &tempfile::TempDir, names: &[&str]) -> Secrets {
        let file = |name: &&str| {
            let path = dir.path().join(name);
            std::fs::write(&path, format!("{name}\n")).unwrap();
            ((*name).to_owned(), Secret::File(path))
        };
        names.iter().map(file).collect()
    }

    #[test]
    fn a_repository_is_told_what_is_for_its_host_first() {
        let dir = tempfile::tempdir().unwrap();
        let check = |address: &str, names: &[&str], expected: &str| {
            let found = of_repository(address, &secrets(&dir, names)).unwrap();
            let found = found.map_or(String::new(), |it| format!("{} to {}", it.value, it.scope));
            assert_eq!(found, expected, "{address} {names:?}");
        };
        let here = "https://host:8443/a.git";
        check(here, &["GIT_AUTH_HEADER"], "GIT_AUTH_HEADER to https://host:8443/a.git");
        check(here, &["GIT_AUTH_HEADER", "GIT_AUTH_TOKEN"], "GIT_AUTH_HEADER to https://host:8443/a.git");
        let token = STANDARD.encode("x-access-token:GIT_AUTH_TOKEN.host:8443");
        let own = format!("basic {token} to https://host:8443/a.git");
        check(here, &["GIT_AUTH_HEADER", "GIT_AUTH_TOKEN.host:8443", "GIT_AUTH_HEADER.other"], &own);
        check("https://me:word@github.com/a/b", &["GIT_AUTH_HEADER.host"], "");
        let all = "GIT_AUTH_HEADER.github.com to https://github.com/";
        check("https://github.com/a/b.git", &["GIT_AUTH_HEADER.github.com"], all);
        check("git@github.com:a/b.git", &["GIT_AUTH_HEADER"], "");
        check("ssh://host/a.git", &["GIT_AUTH_HEADER"], "");
    }

    #[test]
    fn a_file_is_asked_for_with_what_is_for_its_host() {
        let dir = tempfile::tempdir().unwrap();
        let check = |address: &str, expected: Option<&str>| {
            let names =
                ["HTTP_AUTH_HEADER_host", "HTTP_AUTH_HEADER_two", "HTTP_AUTH_TOKEN_two", "HTTP_AUTH_HEADER_::1"];
            assert_eq!(of_file(address, &secrets(&dir, &names)).unwrap().as_deref(), expected, "{address}");
        };
        check("http://host/file", Some("HTTP_AUTH_HEADER_host"));
        check("HTTPS://me@host:8080?x=http://two/", Some("HTTP_AUTH_HEADER_host"));
        check("http://two/", Some("Bearer HTTP_AUTH_TOKEN_two"));
        check("http://[::1]:80/", Some("HTTP_AUTH_HEADER_::1"));
        check("http://[::1]", Some("HTTP_AUTH_HEADER_::1"));
        check("http://three/", None);
    }

    #[test]
    fn no_secret_adds_a_header_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = secrets(&dir, &["GIT_AUTH_TOKEN"]);
        let check = |content: &[u8], expected: &str| {
            std::fs::write(dir.path().join("GIT_AUTH_TOKEN"), content).unwrap();
            let error = of_repository("http://host/a", &secrets).err().unwrap();
            assert!(error.message.contains(expected), "{}", error.message);
        };
        check(b"a\nHost: b", "several lines");
        check(b"\xff", "no text");
        std::fs::remove_file(dir.path().join("GIT_AUTH_TOKEN")).unwrap();
        let error = of_repository("http://host/a", &secrets).err().unwrap();
        assert!(error.message.starts_with("secret GIT_AUTH_TOKEN: "), "{}", error.message);
    }
}
