//! Names of images, read as Docker reads them.
//!
//! Source: the grammar of the `distribution/reference` specification, and Docker's defaults: the registry
//! `docker.io`, its folder `library`.

use std::borrow::Cow;
use std::fmt;

const DEFAULT_REGISTRY: &str = "docker.io";

/// The longest path in a registry.
const MAX_PATH: usize = 255;

/// `REGISTRY/REPOSITORY[:TAG][@DIGEST]`, with the registry and its folder filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageName<'a> {
    /// Host and port, as in `docker.io`, `localhost:5000`, `[::1]:5000`.
    pub registry: &'a str,
    /// The path in the registry, as in `library/node`.
    pub repository: Cow<'a, str>,
    pub tag: Option<&'a str>,
    /// Of an algorithm that is known, with as many digits as it has.
    pub digest: Option<&'a str>,
}

impl<'a> ImageName<'a> {
    /// The error says why it is no name.
    pub fn parse(text: &'a str) -> Result<ImageName<'a>, String> {
        if text.is_empty() {
            return Err("it is empty".to_owned());
        }
        if text.len() == 64 && text.bytes().all(is_hex) {
            return Err("64 hexadecimal digits are an image's id, and a name is needed".to_owned());
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        if !digest.is_none_or(is_digest) {
            return Err("after @ there should be sha256: and 64 lower-case hexadecimal digits".to_owned());
        }
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (name, None),
        };
        if !tag.is_none_or(is_tag) {
            return Err(
                "a tag has up to 128 letters, digits, `_`, `.` and `-`, and does not begin with `.` or `-`".to_owned()
            );
        }
        let (registry, path) = split_registry(name);
        if !is_host(registry) {
            return Err("the part before the first `/` is no host name".to_owned());
        }
        if path.chars().any(char::is_uppercase) {
            return Err(format!("an image's name is lower case, and {path:?} is not"));
        }
        if !path.split('/').all(is_path_component) {
            return Err(
                "a name is made of lower-case letters and digits, with single `.`, `_`, `__` or `-` between them"
                    .to_owned(),
            );
        }
        let official = registry == DEFAULT_REGISTRY && !path.contains('/');
        let repository = if official { Cow::Owned(format!("library/{path}")) } else { Cow::Borrowed(path) };
        if repository.len() > MAX_PATH {
            return Err(format!("the name is longer than {MAX_PATH} characters"));
        }
        Ok(ImageName { registry, repository, tag, digest })
    }

    /// As short as Docker shows it: `node` for `docker.io/library/node`.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let without_registry = full.strip_prefix("docker.io/");
        let short = without_registry.map(|rest| rest.strip_prefix("library/").unwrap_or(rest));
        // A repository of the default registry may look like another registry when its own is left out.
        short.filter(|short| ImageName::parse(short).as_ref() == Ok(self)).unwrap_or(&full).to_owned()
    }
}

impl fmt::Display for ImageName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// The one spelling by which names are compared: short, and without the tag `latest`. A text that is no name stays as
/// it is.
pub fn spelling(text: &str) -> String {
    match ImageName::parse(text) {
        Ok(ImageName { tag: Some("latest"), digest: None, registry, repository }) => {
            ImageName { tag: None, digest: None, registry, repository }.familiar()
        }
        Ok(name) => name.familiar(),
        Err(_) => text.to_owned(),
    }
}

/// The first component is a host if it looks like one: a dot, a port, `localhost`, or an upper-case letter.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some(("index.docker.io", path)) => (DEFAULT_REGISTRY, path),
        Some((host, path))
            if host == "localhost" || host.contains(['.', ':']) || host.chars().any(char::is_uppercase) =>
        {
            (host, path)
        }
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_label = |label: &str| {
        let inner = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    let named = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(is_label),
    };
    // Whether there is such a port is the network's to say.
    named && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

fn is_path_component(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let separators: Vec<&str> =
        text.split(|c: char| c.is_ascii() && plain(c as u8)).filter(|it| !it.is_empty()).collect();
    let ends = text.bytes().next().is_some_and(plain) && text.bytes().last().is_some_and(plain);
    ends && separators.iter().all(|it| matches!(*it, "." | "_" | "__") || it.bytes().all(|b| b == b'-'))
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// Of an algorithm that is known, with as many digits as it has.
pub fn is_digest(text: &str) -> bool {
    let Some((algorithm, digits)) = text.split_once(':') else { return false };
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return false,
    };
    digits.len() == length && digits.bytes().all(is_hex)
}

fn is_hex(b: u8) -> bool {
    b.is_ascii_digit() || (b'a'..=b'f').contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGITS: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    /// The full form, the short one and the one spelling; or the beginning of why it is no name.
    #[track_caller]
    fn check(input: &str, expected: &str) {
        let (input, expected) = (input.replace("DIGITS", DIGITS), expected.replace("DIGITS", DIGITS));
        match ImageName::parse(&input) {
            Ok(name) => assert_eq!(format!("{name} {} {}", name.familiar(), spelling(&input)), expected, "{input}"),
            Err(why) => {
                assert!(why.starts_with(&expected), "{input}: {why}");
                assert_eq!(spelling(&input), input);
            }
        }
    }

    #[test]
    fn defaults() {
        check("node", "docker.io/library/node node node");
        check("node:latest", "docker.io/library/node:latest node:latest node");
        check("ubuntu:16.04", "docker.io/library/ubuntu:16.04 ubuntu:16.04 ubuntu:16.04");
        check("docker.io/localhost/app", "docker.io/localhost/app docker.io/localhost/app docker.io/localhost/app");
        check("user/app", "docker.io/user/app user/app user/app");
        check("docker.io/library/node", "docker.io/library/node node node");
        check("index.docker.io/node:8", "docker.io/library/node:8 node:8 node:8");
        check("a@sha256:DIGITS", "docker.io/library/a@sha256:DIGITS a@sha256:DIGITS a@sha256:DIGITS");
        check("a:1@sha256:DIGITS", "docker.io/library/a:1@sha256:DIGITS a:1@sha256:DIGITS a:1@sha256:DIGITS");
    }

    #[test]
    fn registries() {
        for name in [
            "quay.io/coreos/etcd:v3.3.9",
            "localhost/x",
            "localhost:5000/x/y:1",
            "127.0.0.1:5000/a/b:c",
            "[::1]:5000/a",
            "[::1]/a",
            "MyHost/a",
            "host.io:99999/a",
            "a.b/c",
            "quay.io/a/b-c__d.e:Tag_1",
        ] {
            check(name, &format!("{name} {name} {name}"));
        }
        check("local/app", "docker.io/local/app local/app local/app");
        check("localhost:5000", "docker.io/library/localhost:5000 localhost:5000 localhost:5000");
        check("a--b__c.d_e", "docker.io/library/a--b__c.d_e a--b__c.d_e a--b__c.d_e");
    }

    #[test]
    fn what_is_no_name() {
        check("", "it is empty");
        check("DIGITS", "64 hexadecimal digits");
        for name in ["a___b", "a..b", "a._b", "-a", "a-", "a//b", "a/", "/a", "a b", "é", "docker.io/", "ho st/x"] {
            check(name, "a name is made of");
        }
        check("Node", "an image's name is lower case, and \"Node\" is not");
        check("a/B", "an image's name is lower case, and \"a/B\" is not");
        check("${X}", "an image's name is lower case");
        for name in ["node:", ":3", "node:.x", "node:-x", "a:b c", &format!("node:{}", "x".repeat(129))] {
            check(name, if name == ":3" { "a name is made of" } else { "a tag has" });
        }
        for digest in ["", "sha256:abc", "md5:DIGITS", "sha256:0DIGITS", "sha384:DIGITS", "sha512:DIGITS"] {
            check(&format!("a@{digest}"), "after @");
        }
        check(&format!("a@sha256:{}", DIGITS.to_uppercase()), "after @");
        check(&format!("a/{}", "x".repeat(255)), "the name is longer");
        check(&"x".repeat(248), "the name is longer");
        for host in ["ho_st.io", "host.io:x", "[::g]", "http:"] {
            check(&format!("{host}/app"), "the part before");
        }
    }

    proptest! {
        #[test]
        fn the_forms_mean_the_same(text in "[a-zA-Z0-9./:@_\\[\\]-]{0,40}") {
            if let Ok(name) = ImageName::parse(&text) {
                let (full, short) = (name.to_string(), name.familiar());
                prop_assert_eq!(ImageName::parse(&full), Ok(name.clone()));
                prop_assert_eq!(ImageName::parse(&short), Ok(name));
                let spelled = spelling(&text);
                prop_assert_eq!(spelling(&spelled), spelled);
            }
        }
    }
}
