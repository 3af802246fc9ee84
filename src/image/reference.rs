//! Names of images in registries, read as Docker reads them.
//!
//! Source: the grammar of the `distribution/reference` specification, and Docker's defaults: the registry
//! `docker.io`, its folder `library`, the tag `latest`.

use super::digest::Digest;
use std::fmt;
use std::str::FromStr;

const DEFAULT_REGISTRY: &str = "docker.io";

/// `REGISTRY/REPOSITORY[:TAG][@DIGEST]`, with Docker's defaults filled in; without a digest there is a tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// The full form of a name (`docker.io/library/node:latest` for `node`); a text that is no name stays as it is.
pub fn normalized(text: &str) -> String {
    text.parse::<Reference>().map_or_else(|_| text.to_owned(), |reference| reference.to_string())
}

impl Reference {
    /// Host and port, as in `docker.io`, `localhost:5000`, `[::1]:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path in the registry, as in `library/node`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The short form that Docker shows: `node:latest`, `quay.io/coreos/etcd:v3.3.9`.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let without_registry = full.strip_prefix("docker.io/");
        let short = without_registry.map(|rest| rest.strip_prefix("library/").unwrap_or(rest));
        // A repository of the default registry may look like another registry when its own is left out.
        short.filter(|short| short.parse().as_ref() == Ok(self)).unwrap_or(&full).to_owned()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an image reference: {why}")]
pub struct ParseReferenceError {
    /// Cut after 300 characters.
    text: String,
    why: &'static str,
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Reference, ParseReferenceError> {
        parse(text).map_err(|why| ParseReferenceError { text: text.chars().take(300).collect(), why })
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() == 64 && text.bytes().all(is_hex) {
        return Err("64 hexadecimal digits are an image's id, not its name");
    }
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (
            name,
            Some(digest.parse().map_err(|_| "after @ there should be sha256: and 64 lower-case hexadecimal digits")?),
        ),
        None => (text, None),
    };
    let (name, tag) = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (name, None),
    };
    if !tag.is_none_or(is_tag) {
        return Err("a tag has up to 128 letters, digits, `_`, `.` and `-`, and does not begin with `.` or `-`");
    }
    let (registry, path) = split_registry(name);
    if !is_host(registry) {
        return Err("the part before the first `/` is no host name");
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("the name must be in lower case");
    }
    if !path.split('/').all(is_path_component) {
        return Err("a name is made of lower-case letters and digits, with single `.`, `_`, `__` or `-` between them");
    }
    let repository =
        if registry == DEFAULT_REGISTRY && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
    if repository.len() > 255 {
        return Err("the name is longer than 255 characters");
    }
    let tag = match tag {
        None if digest.is_none() => Some("latest"),
        tag => tag,
    };
    Ok(Reference { registry: registry.to_owned(), repository, tag: tag.map(str::to_owned), digest })
}

/// The first component is a host if it looks like one: a dot, a port, `localhost`, or an upper-case letter.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some(("index.docker.io", path)) => (DEFAULT_REGISTRY, path),
        Some((host, path))
            if host == "localhost" || host.contains(['.', ':']) || host.bytes().any(|b| b.is_ascii_uppercase()) =>
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
    named
        && port.is_none_or(|port| {
            !port.is_empty() && port.parse::<u16>().is_ok() && port.bytes().all(|b| b.is_ascii_digit())
        })
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
        && text.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

fn is_hex(b: u8) -> bool {
    b.is_ascii_digit() || (b'a'..=b'f').contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn check(input: &str, expected: &str) {
        let input = input.replace("DIGEST", DIGEST);
        let answer = match input.parse::<Reference>() {
            Ok(reference) => format!("{} {}", reference, reference.familiar()),
            Err(error) => error.why.to_owned(),
        };
        let expected = expected.replace("DIGEST", DIGEST);
        assert!(answer == expected || (answer.starts_with(&expected) && !expected.contains('/')), "{input}: {answer}");
    }

    #[test]
    fn defaults() {
        check("node", "docker.io/library/node:latest node:latest");
        check("ubuntu:16.04", "docker.io/library/ubuntu:16.04 ubuntu:16.04");
        check("docker.io/localhost/app", "docker.io/localhost/app:latest docker.io/localhost/app:latest");
        check("user/app", "docker.io/user/app:latest user/app:latest");
        check("docker.io/node", "docker.io/library/node:latest node:latest");
        check("index.docker.io/library/node:8", "docker.io/library/node:8 node:8");
        check("node@DIGEST", "docker.io/library/node@DIGEST node@DIGEST");
        check("node:8@DIGEST", "docker.io/library/node:8@DIGEST node:8@DIGEST");
    }

    #[test]
    fn registries() {
        check("quay.io/coreos/etcd:v3.3.9", "quay.io/coreos/etcd:v3.3.9 quay.io/coreos/etcd:v3.3.9");
        check("localhost/app", "localhost/app:latest localhost/app:latest");
        check("localhost:5000/app", "localhost:5000/app:latest localhost:5000/app:latest");
        check("127.0.0.1:5000/a/b:c", "127.0.0.1:5000/a/b:c 127.0.0.1:5000/a/b:c");
        check("[::1]:5000/app", "[::1]:5000/app:latest [::1]:5000/app:latest");
        check("[::1]/app", "[::1]/app:latest [::1]/app:latest");
        check("MyHost/app", "MyHost/app:latest MyHost/app:latest");
        check("local/app", "docker.io/local/app:latest local/app:latest");
        check("a.b/c", "a.b/c:latest a.b/c:latest");
        check("localhost:5000", "docker.io/library/localhost:5000 localhost:5000");
    }

    #[test]
    fn separators() {
        check("a--b__c.d_e", "docker.io/library/a--b__c.d_e:latest a--b__c.d_e:latest");
        check("a___b", "a name is made of");
        check("a..b", "a name is made of");
        check("a._b", "a name is made of");
        check("-a", "a name is made of");
        check("a-", "a name is made of");
        check("a//b", "a name is made of");
        check("a/", "a name is made of");
        check("/a", "a name is made of");
    }

    #[test]
    fn refused() {
        check("", "it is empty");
        check("Node", "the name must be in lower case");
        check("node:", "a tag has");
        check("node:.x", "a tag has");
        check(&format!("node:{}", "x".repeat(129)), "a tag has");
        check("node@sha256:abc", "after @");
        check("node@", "after @");
        check("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "64 hexadecimal digits");
        check(&format!("a/{}", "x".repeat(255)), "the name is longer");
        check("ho_st.io/app", "the part before");
        check("host.io:x/app", "the part before");
        check("host.io:99999/app", "the part before");
        check("[::g]/app", "the part before");
        check("a b", "a name is made of");
        check("é", "a name is made of");
        check("${X}", "the name must be in lower case");
    }

    #[test]
    fn what_is_no_name_stays_as_it_is() {
        assert_eq!(normalized("node"), "docker.io/library/node:latest");
        assert_eq!(normalized("oci:dir"), "docker.io/library/oci:dir");
        assert_eq!(normalized("Not A Name"), "Not A Name");
    }

    proptest! {
        #[test]
        fn the_full_form_and_the_familiar_form_mean_the_same(text in "[a-zA-Z0-9./:@_\\[\\]-]{0,40}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference.clone()));
                prop_assert_eq!(reference.familiar().parse::<Reference>(), Ok(reference));
            }
        }
    }
}
