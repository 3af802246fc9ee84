//! `--cache-from` and `--cache-to`: caches outside of the builder.

use super::exit::Failure;
use crate::engine::settings::CacheOption;
use std::collections::BTreeMap;

/// As buildx reads it: `type=TYPE,NAME=VALUE…`; a plain word is a reference in a registry.
pub fn parse(option: &str, text: &str) -> Result<CacheOption, Failure> {
    let wrong = |why: &str| Failure::Usage(format!("{option} {text}: {why}"));
    if !text.contains('=') {
        let attributes = BTreeMap::from([("ref".to_owned(), text.to_owned())]);
        return Ok(CacheOption { kind: "registry".to_owned(), attributes });
    }
    let mut kind = None;
    let mut attributes = BTreeMap::new();
    for field in text.split(',') {
        let (name, value) = field.split_once('=').ok_or_else(|| wrong(&format!("{field:?} is not NAME=VALUE")))?;
        match name {
            "type" => kind = Some(value.to_owned()),
            name => drop(attributes.insert(name.to_owned(), value.to_owned())),
        }
    }
    let kind = kind.ok_or_else(|| wrong("type=TYPE is missing: registry, local, inline, gha, s3, azblob"))?;
    let into = option == "--cache-to";
    let needed = match kind.as_str() {
        "registry" => Some("ref"),
        "local" if into => Some("dest"),
        "local" => Some("src"),
        "inline" if !into => return Err(wrong("an inline cache is in an image: type=registry,ref=IMAGE reads it")),
        _ => None,
    };
    if let Some(name) = needed.filter(|name| !attributes.contains_key(*name)) {
        return Err(wrong(&format!("{name}=… is missing")));
    }
    if kind == "gha" {
        // What a GitHub action's runner says of its cache.
        for (name, variable) in
            [("token", "ACTIONS_RUNTIME_TOKEN"), ("url", "ACTIONS_CACHE_URL"), ("url_v2", "ACTIONS_RESULTS_URL")]
        {
            if let Ok(value) = std::env::var(variable)
                && !value.is_empty()
            {
                attributes.entry(name.to_owned()).or_insert(value);
            }
        }
        if !attributes.contains_key("token") {
            return Err(wrong("ACTIONS_RUNTIME_TOKEN is not set: only a GitHub action has this cache"));
        }
    }
    Ok(CacheOption { kind, attributes })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cache's kind and its attributes, or a part of the error's message.
    type Expected<'a> = Result<(&'a str, &'a [(&'a str, &'a str)]), &'a str>;

    fn check(option: &str, text: &str, expected: Expected<'_>) {
        let found = parse(option, text).map_err(|failure| failure.to_string());
        match expected {
            Ok((kind, attributes)) => {
                let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
                assert_eq!(
                    found,
                    Ok(CacheOption { kind: kind.to_owned(), attributes: attributes.collect() }),
                    "{text}"
                );
            }
            Err(why) => assert!(found.clone().is_err_and(|message| message.contains(why)), "{text}: {found:?}"),
        }
    }

    #[test]
    fn caches() {
        check("--cache-from", "host/name", Ok(("registry", &[("ref", "host/name")])));
        check("--cache-from", "type=local,src=dir,tag=x", Ok(("local", &[("src", "dir"), ("tag", "x")])));
        check("--cache-to", "type=local,dest=dir,mode=max", Ok(("local", &[("dest", "dir"), ("mode", "max")])));
        check("--cache-to", "type=inline", Ok(("inline", &[])));
        check("--cache-to", "type=local,src=dir", Err("dest=… is missing"));
        check("--cache-from", "type=inline", Err("type=registry,ref=IMAGE"));
        check("--cache-to", "ref=x", Err("type=TYPE is missing"));
        check("--cache-to", "type=registry,x", Err("not NAME=VALUE"));
    }
}
