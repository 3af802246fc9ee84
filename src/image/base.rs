//! The image that another one is built on, as far as something says so: an image that is known here and whose layers
//! are its lowest ones, or what its annotations name.
//!
//! Source: OCI image-spec `annotations.md`, "Pre-Defined Annotation Keys". Builders write the same keys as labels.

use super::config::ImageConfig;
use super::daemon;
use super::digest::Digest;
use super::reference;
use super::source::{self, Opened, SourceError, Surroundings};
use std::collections::BTreeMap;
use std::time::Duration;

/// Nobody waits longer for what is only a line between two layers.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    pub name: String,
    /// How many of the image's lowest layers are its.
    pub layers: usize,
}

/// An image that may be the base of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub name: String,
    /// Its manifest's digest, or its index's.
    pub digest: Option<Digest>,
    /// diff_ids, bottom first.
    pub layers: Vec<Digest>,
}

/// What an image says of its base.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    pub name: Option<String>,
    pub digest: Option<Digest>,
}

impl Named {
    /// By the manifest's annotations, or the configuration's labels.
    pub fn of(annotations: &BTreeMap<String, String>, config: &ImageConfig) -> Named {
        let labels = &config.config.labels;
        let said = |what: &str| {
            let key = format!("org.opencontainers.image.base.{what}");
            annotations.get(&key).or_else(|| labels.get(&key)).filter(|value| !value.is_empty()).cloned()
        };
        Named { name: said("name"), digest: said("digest").and_then(|digest| digest.parse().ok()) }
    }

    fn means(&self, candidate: &Candidate) -> bool {
        let same_name = |name: &String| reference::normalized(name) == reference::normalized(&candidate.name);
        (self.digest.is_some() && self.digest == candidate.digest) || self.name.as_ref().is_some_and(same_name)
    }
}

/// The base among the candidates: of those whose layers are the lowest of the image's, and not all of them, the one
/// that the image names, or else the one with the most.
pub fn among(layers: &[Digest], named: &Named, candidates: impl IntoIterator<Item = Candidate>) -> Option<Base> {
    let below = |it: &Candidate| {
        !it.layers.is_empty() && it.layers.len() < layers.len() && layers.starts_with(it.layers.as_slice())
    };
    let fitting = candidates.into_iter().filter(below);
    let best = fitting.max_by_key(|it| (named.means(it), it.layers.len()))?;
    // A name in a store may be a digest; the image's own word is the better one for the same thing.
    let said = named.name.clone().filter(|_| named.means(&best));
    Some(Base { name: said.unwrap_or(best.name), layers: best.layers.len() })
}

/// Asks the daemon of this machine for the images that it has, and if the image itself is a registry's and names its
/// base, that one's registry for its configuration. `None` if neither answers soon.
pub async fn elsewhere(opened: &Opened, is_from_registry: bool, surroundings: &Surroundings) -> Option<Base> {
    let layers: Vec<Digest> = opened.layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let named = Named::of(&opened.annotations, &opened.config);
    let of_daemon = async {
        let known = tokio::time::timeout(PATIENCE, daemon::images(surroundings)).await;
        known.ok().and_then(Result::ok).unwrap_or_default()
    };
    let of_registry = async {
        if !is_from_registry {
            return None;
        }
        tokio::time::timeout(PATIENCE, in_registry(opened, &named, surroundings)).await.ok()?.ok()?
    };
    let (mut candidates, more) = tokio::join!(of_daemon, of_registry);
    candidates.extend(more);
    among(&layers, &named, candidates)
}

async fn in_registry(
    opened: &Opened,
    named: &Named,
    surroundings: &Surroundings,
) -> Result<Option<Candidate>, SourceError> {
    let Some(name) = &named.name else { return Ok(None) };
    let text = match &named.digest {
        Some(digest) if !name.contains('@') => format!("docker://{name}@{digest}"),
        _ => format!("docker://{name}"),
    };
    if !source::is_registry(&text) {
        return Ok(None);
    }
    let platform = opened.config.platform().to_string();
    let base = source::open_in(&text, &platform, surroundings).await?;
    let layers = base.layers.into_iter().map(|layer| layer.diff_id).collect();
    Ok(Some(Candidate { name: name.clone(), digest: named.digest.clone(), layers }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Layers as letters; candidates as `NAME=LETTERS`.
    #[track_caller]
    fn check(layers: &str, named: &str, candidates: &str, expected: &str) {
        let ids = |letters: &str| letters.bytes().map(|it| Digest::of(&[it])).collect::<Vec<_>>();
        let candidate = |text: &str| {
            let (name, letters) = text.split_once('=').unwrap();
            Candidate { name: name.to_owned(), digest: Some(Digest::of(name.as_bytes())), layers: ids(letters) }
        };
        let named = match named.strip_prefix('@') {
            Some(name) => Named { name: Some("said".to_owned()), digest: Some(Digest::of(name.as_bytes())) },
            None => Named { name: Some(named.to_owned()).filter(|it| !it.is_empty()), digest: None },
        };
        let found = among(&ids(layers), &named, candidates.split_whitespace().map(candidate));
        let found = found.map_or_else(|| "none".to_owned(), |base| format!("{} {}", base.name, base.layers));
        assert_eq!(found, expected, "{layers} {candidates}");
    }

    #[test]
    fn the_lowest_layers_tell() {
        check("abc", "", "debian=a", "debian 1");
        check("abc", "", "debian=a python=ab", "python 2");
        check("abc", "", "self=abc other=b longer=abcd empty=", "none");
        check("abc", "", "", "none");
    }

    #[test]
    fn what_the_image_names_wins() {
        check("abc", "debian", "docker.io/library/debian:latest=a python=ab", "debian 1");
        check("abc", "@debian", "debian=a python=ab", "said 1");
        // What is named and does not fit is not the base of these layers.
        check("abc", "debian", "debian=x python=ab", "python 2");
    }
}
