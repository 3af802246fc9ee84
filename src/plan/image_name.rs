//! Image names as people write them, and their one spelling: `docker.io/library/node:latest` is `node`.
//!
//! Source: the reference grammar of the OCI distribution specification, with Docker's defaults for what is left out.

use regex::Regex;
use std::sync::LazyLock;

/// A host with a port, a path, a tag, a digest. Anchored at both ends.
static REFERENCE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let label = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
    let host = format!(r"(?:{label}(?:\.{label})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?");
    let part = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
    let tag = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}";
    let digest = "[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}";
    Regex::new(&format!("^({host}/{part}(?:/{part})*)(?::{tag})?(?:@{digest})?$")).ok()
});

/// The longest name, without tag and digest.
const MAX_NAME: usize = 255;

/// The name as short as Docker shows it, without the tag `latest`; or why it is no name.
pub fn familiar(name: &str) -> Result<String, String> {
    if name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err("64 hexadecimal digits are an image's id, and a name is needed".to_owned());
    }
    let (domain, rest) = match name.split_once('/') {
        Some((first, rest)) if is_domain(first) => (first, rest.to_owned()),
        _ => ("docker.io", name.to_owned()),
    };
    let domain = if domain == "index.docker.io" { "docker.io" } else { domain };
    let official = domain == "docker.io" && !rest.contains('/');
    let rest = if official { format!("library/{rest}") } else { rest };
    let path = rest.split(':').next().unwrap_or("");
    if path.chars().any(char::is_uppercase) {
        return Err(format!("an image's name is lower case, and {path:?} is not"));
    }
    let full = format!("{domain}/{rest}");
    let captures = REFERENCE.as_ref().and_then(|it| it.captures(&full));
    if captures.and_then(|it| it.get(1)).is_none_or(|name| name.len() > MAX_NAME) {
        return Err("it is not of the form name:tag or host/name@digest".to_owned());
    }
    let short = full.strip_prefix("docker.io/").map_or(full.as_str(), |it| it.strip_prefix("library/").unwrap_or(it));
    Ok(short.strip_suffix(":latest").unwrap_or(short).to_owned())
}

fn is_domain(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.to_lowercase() != first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: Option<&str>) {
        assert_eq!(familiar(name).ok().as_deref(), expected, "{name}");
    }

    #[test]
    fn one_spelling() {
        check("node", Some("node"));
        check("node:latest", Some("node"));
        check("docker.io/library/node", Some("node"));
        check("index.docker.io/node:20", Some("node:20"));
        check("docker.io/a/b", Some("a/b"));
        check("quay.io/coreos/etcd:v3.3.9", Some("quay.io/coreos/etcd:v3.3.9"));
        check("localhost/x", Some("localhost/x"));
        check("localhost:5000/x/y:1", Some("localhost:5000/x/y:1"));
        let digest = format!("node@sha256:{}", "a".repeat(64));
        check(&digest, Some(&digest));
        check("ubuntu:16.04", Some("ubuntu:16.04"));
    }

    #[test]
    fn what_is_no_name() {
        for name in ["", "Node", "a b", "node:", "node:a b", "-x", "a//b", "a/", "docker.io/", "x@sha256:12", "ho st/x"]
        {
            check(name, None);
        }
        check(&"a".repeat(64), None);
        check(&"n".repeat(300), None);
    }

    proptest::proptest! {
        #[test]
        fn short_names_mean_themselves(name in "[a-z.:/@0-9-]{0,30}") {
            if let Ok(short) = familiar(&name) {
                assert_eq!(familiar(&short), Ok(short.clone()));
            }
        }
    }
}
