//! Proxies: build arguments that every RUN sees without declaring them, and that are in no cache key and no image.

use super::Options;
use std::borrow::Cow;
use std::sync::Arc;

/// Their names; each counts in small letters too.
pub const NAMES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

pub fn is_proxy(name: &str) -> bool {
    NAMES.iter().any(|it| it.eq_ignore_ascii_case(name))
}

/// A proxy's value as it may be shown: without the name and password that its address may have.
pub fn shown(value: &str) -> Cow<'_, str> {
    let (scheme, rest) = value.split_once("://").map_or(("", value), |(scheme, rest)| (scheme, rest));
    let end = rest.find('/').unwrap_or(rest.len());
    match rest.get(..end).and_then(|place| place.rfind('@')).and_then(|at| rest.get(at..)) {
        Some(host) if scheme.is_empty() => Cow::Owned(format!("…{host}")),
        Some(host) => Cow::Owned(format!("{scheme}://…{host}")),
        None => Cow::Borrowed(value),
    }
}

/// What RUN sees of them, in both spellings, as BuildKit passes them on.
pub(super) fn environment(options: &Options) -> Arc<[String]> {
    let values = NAMES.into_iter().filter_map(|name| {
        let given = options.build_args.iter().rev().find(|(given, _)| given.eq_ignore_ascii_case(name));
        let value = given.map(|(_, value)| value).or_else(|| options.proxies.get(name));
        value.map(|value| (name, value)).filter(|(_, value)| !value.is_empty())
    });
    values.flat_map(|(name, value)| [format!("{name}={value}"), format!("{}={value}", name.to_lowercase())]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown() {
        let check = |value: &str, expected: &str| assert_eq!(shown(value), expected);
        check("http://proxy:3128", "http://proxy:3128");
        check("http://ann:s3cret@proxy:3128/", "http://…@proxy:3128/");
        check("http://ann:s@ret@proxy", "http://…@proxy");
        check("ann:s3cret@proxy:3128", "…@proxy:3128");
        check("http://proxy/a@b", "http://proxy/a@b");
        check("localhost,.example", "localhost,.example");
    }

    #[test]
    fn what_is_given_goes_before_what_is_configured() {
        let map = |list: &[(&str, &str)]| list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let check = |given: &[(&str, &str)], expected: &[&str]| {
            let proxies = map(&[("HTTP_PROXY", "configured"), ("NO_PROXY", "here")]);
            let options = Options { build_args: map(given), proxies, ..Options::default() };
            assert_eq!(environment(&options).to_vec(), expected);
            let argument = options.argument("HTTP_PROXY").map(String::as_str);
            assert_eq!(argument, if given.is_empty() { Some("configured") } else { None });
        };
        let here = ["NO_PROXY=here", "no_proxy=here"];
        check(&[], &["HTTP_PROXY=configured", "http_proxy=configured", here[0], here[1]]);
        check(&[("http_proxy", "given")], &["HTTP_PROXY=given", "http_proxy=given", here[0], here[1]]);
        check(&[("http_proxy", "")], &here);
    }
}
