//! Manifests and indexes: which blobs an image is made of, and which image is meant.
//!
//! Source: OCI image-spec `manifest.md` and `image-index.md`, Docker's schema 2, and BuildKit's attestation
//! manifests. What a document is follows from its members, since its media type is sometimes wrong.

use super::config::null_as_default;
use super::digest::Digest;
use super::platform::Platform;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// The name of an entry in a layout's index: a tag, or a whole reference.
pub const NAME: &str = "org.opencontainers.image.ref.name";
/// The whole reference, where containerd or BuildKit wrote the index.
pub const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// No index, manifest or configuration is nearly as large; registries refuse manifests over 4 MiB.
pub const LARGEST_DOCUMENT: u64 = 8 << 20;

/// As many layers as an overlay can have and then some.
const MOST_LAYERS: usize = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    #[serde(default)]
    pub size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<DescribedPlatform>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DescribedPlatform {
    pub architecture: String,
    pub os: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Descriptor {
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Descriptor {
        Descriptor { media_type: media_type.to_owned(), digest, size, annotations: BTreeMap::new(), platform: None }
    }

    /// Of the image it points to, if it says so.
    pub fn platform(&self) -> Option<Platform> {
        let it = self.platform.as_ref()?;
        Some(Platform::new(&it.os, &it.architecture, &it.variant))
    }

    /// Provenance and the like, not an image.
    fn is_attestation(&self) -> bool {
        self.annotations.contains_key("vnd.docker.reference.type")
            || self.platform.as_ref().is_some_and(|it| it.os == "unknown" && it.architecture == "unknown")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    pub config: Descriptor,
    #[serde(default, deserialize_with = "null_as_default")]
    pub layers: Vec<Descriptor>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub manifests: Vec<Descriptor>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    Manifest(Manifest),
    Index(Index),
}

/// Why a document is no use, for the end of a sentence that names it.
pub type Why = String;

/// Reads a manifest or an index.
pub fn parse(bytes: &[u8]) -> Result<Document, Why> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Members {
        schema_version: Option<u32>,
        manifests: Option<serde::de::IgnoredAny>,
        config: Option<serde::de::IgnoredAny>,
        fs_layers: Option<serde::de::IgnoredAny>,
    }
    let members: Members = serde_json::from_slice(bytes).map_err(|error| format!("it is not a manifest: {error}"))?;
    if members.schema_version == Some(1) || members.fs_layers.is_some() {
        return Err(
            "it is of Docker's schema 1, which has been out of use since 2019; push the image again to convert it"
                .to_owned(),
        );
    }
    if members.manifests.is_some() {
        let index = serde_json::from_slice(bytes).map_err(|error| format!("its index cannot be read: {error}"))?;
        return Ok(Document::Index(index));
    }
    if members.config.is_none() {
        return Err("it has neither `config` nor `manifests`, so it is no image".to_owned());
    }
    let manifest: Manifest =
        serde_json::from_slice(bytes).map_err(|error| format!("its manifest cannot be read: {error}"))?;
    if manifest.layers.len() > MOST_LAYERS {
        return Err(format!("it has {} layers, and more than {MOST_LAYERS} are not read", manifest.layers.len()));
    }
    Ok(Document::Manifest(manifest))
}

/// What an index has for a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The best first, equally good ones in the order of the index. Those that do not say their platform come
    /// last: they have to be opened to know.
    Candidates(Vec<Descriptor>),
    /// Nothing fits; these are there.
    None { there: Vec<Platform> },
}

/// Attestations are never chosen.
pub fn choose(index: &Index, wanted: &Platform) -> Choice {
    let images = || index.manifests.iter().filter(|it| !it.is_attestation());
    let distance = |it: &Descriptor| match it.platform() {
        Some(platform) => platform.distance(wanted),
        None => Some(u32::MAX),
    };
    let mut fitting: Vec<(u32, &Descriptor)> = images().filter_map(|it| Some((distance(it)?, it))).collect();
    fitting.sort_by_key(|(distance, _)| *distance);
    if fitting.is_empty() {
        let mut there: Vec<Platform> = images().filter_map(Descriptor::platform).collect();
        there.sort();
        there.dedup();
        return Choice::None { there };
    }
    Choice::Candidates(fitting.into_iter().map(|(_, it)| it.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(of: &str) -> Digest {
        Digest::of(of.as_bytes())
    }

    /// An index of `os/architecture` words; `-` does not say, `att` is an attestation.
    fn index(entries: &str) -> Index {
        let entry = |text: &str| {
            let mut it = Descriptor::new(OCI_MANIFEST, digest(text), 1);
            if text == "att" {
                it.annotations.insert("vnd.docker.reference.type".to_owned(), "attestation-manifest".to_owned());
            } else if let Some((os, rest)) = text.split_once('/') {
                let (architecture, variant) = rest.split_once('/').unwrap_or((rest, ""));
                it.platform = Some(DescribedPlatform {
                    os: os.into(),
                    architecture: architecture.into(),
                    variant: variant.into(),
                });
            }
            it
        };
        Index {
            schema_version: 2,
            media_type: OCI_INDEX.to_owned(),
            manifests: entries.split_whitespace().map(entry).collect(),
        }
    }

    fn check(entries: &str, wanted: &str, expected: &str) {
        let answer = match choose(&index(entries), &wanted.parse().unwrap()) {
            Choice::Candidates(found) => {
                let name =
                    |it: &Descriptor| entries.split_whitespace().find(|entry| digest(entry) == it.digest).unwrap();
                found.iter().map(name).collect::<Vec<_>>().join(" ")
            }
            Choice::None { there } => {
                format!("none of {}", there.iter().map(Platform::to_string).collect::<Vec<_>>().join(", "))
            }
        };
        assert_eq!(answer, expected);
    }

    #[test]
    fn platforms() {
        check("linux/arm64 linux/amd64", "linux/amd64", "linux/amd64");
        check("linux/arm/v5 linux/arm/v7 linux/arm/v6", "linux/arm/v7", "linux/arm/v7 linux/arm/v6 linux/arm/v5");
        check("linux/arm64 windows/amd64", "linux/amd64", "none of linux/arm64, windows/amd64");
        check("linux/arm64/v8", "linux/arm64", "linux/arm64/v8");
        check("- linux/amd64", "linux/amd64", "linux/amd64 -");
    }

    #[test]
    fn attestations_are_no_images() {
        check("att linux/amd64 unknown/unknown", "linux/amd64", "linux/amd64");
        check("att unknown/unknown", "linux/amd64", "none of ");
    }

    fn check_document(text: &str, expected: &str) {
        let answer = match parse(text.as_bytes()) {
            Ok(Document::Manifest(it)) => format!("manifest of {} layers", it.layers.len()),
            Ok(Document::Index(it)) => format!("index of {}", it.manifests.len()),
            Err(why) => why,
        };
        assert!(answer.starts_with(expected), "{text}: {answer}");
    }

    #[test]
    fn what_a_document_is() {
        let blob = format!(r#"{{"digest":"{}","size":3}}"#, digest("x"));
        check_document(&format!(r#"{{"schemaVersion":2,"config":{blob},"layers":[{blob}]}}"#), "manifest of 1 layers");
        check_document(&format!(r#"{{"schemaVersion":2,"config":{blob},"layers":null}}"#), "manifest of 0 layers");
        let mislabelled = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","manifests":[{blob}]}}"#);
        check_document(&mislabelled, "index of 1");
        check_document(r#"{"schemaVersion":1,"fsLayers":[]}"#, "it is of Docker's schema 1");
        check_document("{}", "it has neither");
        check_document("[]", "it is not a manifest");
        check_document("<html>", "it is not a manifest");
        check_document(r#"{"schemaVersion":2,"config":{"digest":"sha256:../../x"}}"#, "its manifest cannot be read");
    }
}
