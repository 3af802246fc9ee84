//! `--cache-from` and `--cache-to`: caches outside of the builder.

use super::exit::Failure;
use super::pairs::pairs;
use crate::dockerfile::fields::csv;
use crate::engine::settings::CacheOption;
use std::collections::BTreeMap;

/// All that are given with an option, as buildx reads them: `type=TYPE,NAME=VALUE…` is one; plain words are references in
/// a registry.
pub fn all(option: &str, texts: &[String]) -> Result<Vec<CacheOption>, Failure> {
    let mut out = Vec::new();
    for text in texts.iter().filter(|text| !text.is_empty()) {
        if text.contains('=') {
            out.push(one(option, text)?);
            continue;
        }
        let wrong = || Failure::Usage(format!("{option} {text}: its quotes do not match"));
        let in_registry = |name: String| CacheOption {
            kind: "registry".to_owned(),
            attributes: BTreeMap::from([("ref".to_owned(), name)]),
        };
        out.extend(csv(text).ok_or_else(wrong)?.into_iter().map(in_registry));
    }
    Ok(out)
}

fn one(option: &str, text: &str) -> Result<CacheOption, Failure> {
    let wrong = |why: &str| Failure::Usage(format!("{option} {text}: {why}"));
    let mut attributes: BTreeMap<String, String> = pairs(option, text)?.into_iter().collect();
    let kind = attributes.remove("type");
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

    /// The caches, as `KIND NAME=VALUE…`, or a part of the error's message.
    #[track_caller]
    fn check(option: &str, text: &str, expected: Result<&[&str], &str>) {
        let shown = |cache: CacheOption| {
            let attributes = cache.attributes.iter().map(|(name, value)| format!(" {name}={value}"));
            cache.kind.clone() + &attributes.collect::<String>()
        };
        match (all(option, &[text.to_owned()]).map_err(|failure| failure.to_string()), expected) {
            (Ok(found), Ok(expected)) => {
                assert_eq!(found.into_iter().map(shown).collect::<Vec<_>>(), expected, "{text}");
            }
            (Err(message), Err(part)) => assert!(message.contains(part), "{text}: {message}"),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }

    #[test]
    fn caches() {
        check("--cache-from", "", Ok(&[]));
        check("--cache-from", "host/name", Ok(&["registry ref=host/name"]));
        check("--cache-from", "a,b", Ok(&["registry ref=a", "registry ref=b"]));
        check("--cache-from", "type=local,src=dir,tag=x", Ok(&["local src=dir tag=x"]));
        check("--cache-from", "TYPE=local,\"Src=a,b\"", Ok(&["local src=a,b"]));
        check("--cache-to", "type=local,dest=dir,mode=max", Ok(&["local dest=dir mode=max"]));
        check("--cache-to", "type=inline", Ok(&["inline"]));
        check("--cache-from", "\"a", Err("its quotes do not match"));
        check("--cache-to", "type=local,src=dir", Err("dest=… is missing"));
        check("--cache-from", "type=inline", Err("type=registry,ref=IMAGE"));
        check("--cache-to", "ref=x", Err("type=TYPE is missing"));
        check("--cache-to", "type=registry,x", Err("not NAME=VALUE"));
    }
}
