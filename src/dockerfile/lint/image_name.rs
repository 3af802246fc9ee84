//! Whether a text can name an image: the grammar of the `distribution` reference.

use regex::Regex;
use std::sync::LazyLock;

static REFERENCE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let label = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
    let host = format!(r"(?:{label}(?:\.{label})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?");
    let component = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
    let tag = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}";
    let digest = "[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}";
    Regex::new(&format!("^((?:{host}/)?{component}(?:/{component})*)(?::{tag})?(?:@({digest}))?$")).ok()
});

/// The longest name that is accepted, tag and digest not counted.
const MAX_NAME: usize = 255;

pub(super) fn is_valid(text: &str) -> bool {
    let is_id = text.len() == 64 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    if is_id {
        return false;
    }
    // What stands before the first slash is a host only if it looks like one.
    let (domain, path) = match text.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" || host != host.to_lowercase() => {
            (host, path)
        }
        _ => ("docker.io", text),
    };
    let domain = if domain == "index.docker.io" { "docker.io" } else { domain };
    let library = if domain == "docker.io" && !path.contains('/') { "library/" } else { "" };
    let full = format!("{domain}/{library}{path}");
    let Some(found) = REFERENCE.as_ref().and_then(|it| it.captures(&full)) else { return false };
    let digest = found.get(2).map(|it| it.as_str());
    found.get(1).is_some_and(|it| it.len() <= MAX_NAME + domain.len() + 1) && digest.is_none_or(is_digest)
}

/// Of the algorithms that are known, the right number of lower-case digits.
fn is_digest(text: &str) -> bool {
    let Some((algorithm, digits)) = text.split_once(':') else { return false };
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return false,
    };
    digits.len() == length && digits.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        fn check(text: &str, expected: bool) {
            assert_eq!(is_valid(text), expected, "{text}");
        }
        let digits = "0123456789abcdef".repeat(4);
        check("alpine", true);
        check("alpine:3.20", true);
        check("library/alpine", true);
        check("quay.io/a/b-c__d.e:Tag_1", true);
        check("localhost/a", true);
        check("host:5000/a", true);
        check("[::1]:5000/a", true);
        check("Host/a", true);
        check(&format!("a@sha256:{digits}"), true);
        check(&format!("a:1@sha256:{digits}"), true);
        check(&digits, false);
        check("", false);
        check(":3", false);
        check("alpine:", false);
        check("Alpine", false);
        check("a/B", false);
        check("a//b", false);
        check("a b", false);
        check("a@sha256:12", false);
        check(&format!("a@md5:{digits}"), false);
        check(&"a".repeat(300), false);
    }
}
