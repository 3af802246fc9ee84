//! Caches outside of the builder, which it reads from and writes to.
//!
//! Source: BuildKit's cache options. Those that are directories of this machine go over the session, as OCI layouts.

use super::content::{Store, Stores};
use crate::engine::EngineError;
use crate::engine::settings::CacheOption;
use crate::image::contents;
use crate::image::digest::Digest;
use bollard_buildkit_proto::moby::buildkit::v1 as buildkit;
use bollard_buildkit_proto::moby::buildkit::v1::frontend as gateway;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The tag in a layout's index where none is asked for.
const TAG: &str = "latest";

/// What is to be read, as the builder is told of it; a directory in which there is no cache is left out, and `said`.
pub(super) fn imports(options: &[CacheOption], stores: &Stores, said: &mut Vec<String>) -> Vec<CacheOption> {
    let mut out = Vec::new();
    for option in options {
        if option.kind != "local" {
            out.push(option.clone());
            continue;
        }
        let directory = PathBuf::from(option.attributes.get("src").cloned().unwrap_or_default());
        let tag = option.attributes.get("tag").map_or(TAG, String::as_str);
        let digest = match option.attributes.get("digest") {
            Some(digest) => Ok(digest.clone()),
            None => contents::tagged(&directory, tag).map(|digest| digest.to_string()),
        };
        match digest {
            Ok(digest) => {
                let mut option = served(option, "src", &directory, stores);
                option.attributes.insert("digest".to_owned(), digest);
                out.push(option);
            }
            Err(error) => said.push(format!("the cache in {} is not used: {error}", directory.display())),
        }
    }
    out
}

/// What is to be written, as the builder is told of it.
pub(super) fn exports(options: &[CacheOption], stores: &Stores) -> Vec<CacheOption> {
    let told = |option: &CacheOption| match (option.kind.as_str(), option.attributes.get("dest")) {
        ("local", Some(directory)) => served(option, "dest", Path::new(directory), stores),
        _ => option.clone(),
    };
    options.iter().map(told).collect()
}

/// A path may have letters that no header can: the builder knows the directory by another name.
fn served(option: &CacheOption, attribute: &str, directory: &Path, stores: &Stores) -> CacheOption {
    let name = format!("cache-{}", Digest::of(directory.as_os_str().as_encoded_bytes()).short());
    stores.set(&format!("local:{name}"), Store::Directory(directory.to_owned()));
    let mut option = option.clone();
    option.attributes.insert(attribute.to_owned(), name);
    option
}

/// What the builder has written into a directory becomes its cache under the tag that was asked for.
pub(super) fn finish(options: &[CacheOption], answer: &HashMap<String, String>) -> Result<(), EngineError> {
    let Some(manifest) = answer.get("cache.manifest") else { return Ok(()) };
    for option in options.iter().filter(|it| it.kind == "local") {
        let Some(directory) = option.attributes.get("dest") else { continue };
        let tag = option.attributes.get("tag").map_or(TAG, String::as_str);
        let failed =
            |error: std::io::Error| EngineError::new(format!("--cache-to type=local,dest={directory}: {error}"));
        let manifest = serde_json::from_str(manifest).map_err(|error| failed(error.into()))?;
        contents::tag(Path::new(directory), manifest, tag).map_err(failed)?;
    }
    Ok(())
}

pub(super) fn for_gateway(options: &[CacheOption]) -> Vec<gateway::CacheOptionsEntry> {
    let entry = |it: &CacheOption| gateway::CacheOptionsEntry {
        r#type: it.kind.clone(),
        attrs: it.attributes.clone().into_iter().collect(),
    };
    options.iter().map(entry).collect()
}

pub(super) fn for_control(options: &[CacheOption]) -> Vec<buildkit::CacheOptionsEntry> {
    let entry = |it: &CacheOption| buildkit::CacheOptionsEntry {
        r#type: it.kind.clone(),
        attrs: it.attributes.clone().into_iter().collect(),
    };
    options.iter().map(entry).collect()
}

/// What the frontend is told of the caches to read.
pub(super) fn for_frontend(options: &[CacheOption]) -> Option<String> {
    let entry = |it: &CacheOption| serde_json::json!({"Type": it.kind, "Attrs": it.attributes});
    let list: Vec<_> = options.iter().map(entry).collect();
    (!list.is_empty()).then(|| serde_json::Value::from(list).to_string())
}
