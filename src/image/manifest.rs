//! Manifests and indexes: which blobs an image is made of, and which image is meant.
//!
//! Source: OCI image-spec `manifest.md` and `image-index.md`, Docker's schema 2, and BuildKit's attestation
//! manifests. What a document is follows from its members, since its media type is sometimes wrong.
//!
//! The documents are `oci-spec`'s types. They ask for members that images of the field leave out or write as
//! `null` (a descriptor's media type and size, an empty list of layers, half a platform), so what is read is
//! completed first; what is written needs no such help.

use super::digest::{Digest, ParseDigestError};
use super::document;
use crate::names::platform::Platform;
use base64::Engine as _;
use oci_spec::image::{Arch, MediaType, Os, PlatformBuilder};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

pub use oci_spec::image::{ANNOTATION_REF_NAME as NAME, Descriptor, ImageIndex, ImageManifest};

pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// The whole reference, where containerd or BuildKit wrote the index; [`NAME`] is a tag, or a whole reference.
pub const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// No index, manifest or configuration is nearly as large; registries refuse manifests over 4 MiB.
pub const LARGEST_DOCUMENT: u64 = 8 << 20;

/// As many layers as an overlay can have and then some.
const MOST_LAYERS: usize = 10_000;

// One at a time is read, and soon taken apart.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    Manifest(ImageManifest),
    Index(ImageIndex),
}

/// Why a document is no use, for the end of a sentence that names it.
pub type Why = String;

/// Reads a manifest or an index.
pub fn parse(bytes: &[u8]) -> Result<Document, Why> {
    let value = document::value(bytes).map_err(|error| format!("it is not a manifest: {error}"))?;
    let Value::Object(members) = value else {
        return Err("it is not a manifest: it is not an object".to_owned());
    };
    let has = |name: &str| members.get(name).is_some_and(|it| !it.is_null());
    if members.get("schemaVersion") == Some(&json!(1)) || has("fsLayers") {
        return Err(
            "it is of Docker's schema 1, which has been out of use since 2019; push the image again to convert it"
                .to_owned(),
        );
    }
    if has("manifests") {
        return completed(members).map(Document::Index).map_err(|error| format!("its index cannot be read: {error}"));
    }
    if !has("config") {
        return Err("it has neither `config` nor `manifests`, so it is no image".to_owned());
    }
    let manifest: ImageManifest =
        completed(members).map_err(|error| format!("its manifest cannot be read: {error}"))?;
    if manifest.layers().len() > MOST_LAYERS {
        return Err(format!("it has {} layers, and more than {MOST_LAYERS} are not read", manifest.layers().len()));
    }
    Ok(Document::Manifest(manifest))
}

/// Reads an index where nothing else can be, as a layout's `index.json`.
pub fn parse_index(bytes: &[u8]) -> serde_json::Result<ImageIndex> {
    completed(serde_json::from_value(document::value(bytes)?)?)
}

/// With the members that `oci-spec` asks for.
fn completed<T: DeserializeOwned>(mut members: Map<String, Value>) -> serde_json::Result<T> {
    members.retain(|_, value| !value.is_null());
    members.entry("schemaVersion").or_insert(json!(2));
    let list = if members.contains_key("config") { "layers" } else { "manifests" };
    members.entry(list).or_insert(json!([]));
    let listed = members.get_mut(list).and_then(Value::as_array_mut);
    listed.into_iter().flatten().for_each(complete_descriptor);
    for name in ["config", "subject"] {
        members.get_mut(name).into_iter().for_each(complete_descriptor);
    }
    serde_json::from_value(Value::Object(members))
}

fn complete_descriptor(descriptor: &mut Value) {
    let Value::Object(members) = descriptor else { return };
    members.retain(|_, value| !value.is_null());
    members.entry("mediaType").or_insert(json!(""));
    members.entry("size").or_insert(json!(0));
    if let Some(Value::Object(platform)) = members.get_mut("platform") {
        platform.retain(|_, value| !value.is_null());
        for name in ["architecture", "os"] {
            platform.entry(name).or_insert(json!(""));
        }
    }
}

/// A descriptor that says no more than it must.
pub fn descriptor(media_type: MediaType, digest: &Digest, size: u64) -> Descriptor {
    let digest: oci_spec::image::Sha256Digest = digest.hex().parse().expect("64 hexadecimal digits");
    Descriptor::new(media_type, size, digest)
}

/// Its digest, if it is of the kind that can be checked here.
pub fn digest(descriptor: &Descriptor) -> Result<Digest, ParseDigestError> {
    descriptor.digest().as_ref().parse()
}

/// Of the image it points to, if it says so.
pub fn platform(descriptor: &Descriptor) -> Option<Platform> {
    let it = descriptor.platform().as_ref()?;
    let variant = it.variant().as_deref().unwrap_or_default();
    Some(Platform::new(&it.os().to_string(), &it.architecture().to_string(), variant))
}

/// The blob itself, where the descriptor has it and it is the one that is meant.
///
/// Source: OCI image-spec `descriptor.md`, "Embedded Content".
pub fn inline(descriptor: &Descriptor) -> Option<Vec<u8>> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(descriptor.data().as_ref()?).ok()?;
    (digest(descriptor).ok()? == Digest::of(&bytes)).then_some(bytes)
}

/// Says of which platform the image is, in the words of its configuration.
pub fn set_platform(descriptor: &mut Descriptor, os: &str, architecture: &str, variant: &str) {
    let mut platform = PlatformBuilder::default().os(Os::from(os)).architecture(Arch::from(architecture));
    if !variant.is_empty() {
        platform = platform.variant(variant);
    }
    descriptor.set_platform(platform.build().ok());
}

pub fn annotation<'d>(descriptor: &'d Descriptor, key: &str) -> Option<&'d str> {
    descriptor.annotations().as_ref()?.get(key).map(String::as_str)
}

pub fn annotate(descriptor: &mut Descriptor, key: &str, value: &str) {
    let mut annotations = descriptor.annotations().clone().unwrap_or_default();
    annotations.insert(key.to_owned(), value.to_owned());
    descriptor.set_annotations(Some(annotations));
}

/// Provenance and the like, not an image.
fn is_attestation(descriptor: &Descriptor) -> bool {
    annotation(descriptor, "vnd.docker.reference.type").is_some()
        || platform(descriptor).is_some_and(|it| it.os == "unknown" && it.architecture == "unknown")
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
pub fn choose(index: &ImageIndex, wanted: &Platform) -> Choice {
    let images = || index.manifests().iter().filter(|it| !is_attestation(it));
    let distance = |it: &Descriptor| match platform(it) {
        Some(platform) => platform.distance(wanted),
        None => Some(u32::MAX),
    };
    let mut fitting: Vec<(u32, &Descriptor)> = images().filter_map(|it| Some((distance(it)?, it))).collect();
    fitting.sort_by_key(|(distance, _)| *distance);
    if fitting.is_empty() {
        let mut there: Vec<Platform> = images().filter_map(platform).collect();
        there.sort();
        there.dedup();
        return Choice::None { there };
    }
    Choice::Candidates(fitting.into_iter().map(|(_, it)| it.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::image::{ImageIndexBuilder, SCHEMA_VERSION};

    fn hash(of: &str) -> Digest {
        Digest::of(of.as_bytes())
    }

    /// An index of `os/architecture` words; `-` does not say, `att` is an attestation.
    fn index(entries: &str) -> ImageIndex {
        let entry = |text: &str| {
            let mut it = descriptor(MediaType::ImageManifest, &hash(text), 1);
            if text == "att" {
                annotate(&mut it, "vnd.docker.reference.type", "attestation-manifest");
            } else if let Some((os, rest)) = text.split_once('/') {
                let (architecture, variant) = rest.split_once('/').unwrap_or((rest, ""));
                set_platform(&mut it, os, architecture, variant);
            }
            it
        };
        let entries: Vec<Descriptor> = entries.split_whitespace().map(entry).collect();
        ImageIndexBuilder::default().schema_version(SCHEMA_VERSION).manifests(entries).build().unwrap()
    }

    fn check(entries: &str, wanted: &str, expected: &str) {
        let answer = match choose(&index(entries), &wanted.parse().unwrap()) {
            Choice::Candidates(found) => {
                let name = |it: &Descriptor| {
                    entries.split_whitespace().find(|entry| hash(entry) == digest(it).unwrap()).unwrap()
                };
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
            Ok(Document::Manifest(it)) => format!("manifest of {} layers", it.layers().len()),
            Ok(Document::Index(it)) => format!("index of {}", it.manifests().len()),
            Err(why) => why,
        };
        assert!(answer.starts_with(expected), "{text}: {answer}");
    }

    #[test]
    fn what_a_document_is() {
        let blob = format!(r#"{{"digest":"{}","size":3}}"#, hash("x"));
        check_document(&format!(r#"{{"schemaVersion":2,"config":{blob},"layers":[{blob}]}}"#), "manifest of 1 layers");
        check_document(&format!(r#"{{"schemaVersion":2,"config":{blob},"layers":null}}"#), "manifest of 0 layers");
        check_document(&format!(r#"{{"schemaVersion":2,"config":{blob},"layers":[{{}}]}}"#), "its manifest cannot be");
        let half = r#"{"digest":"sha512:0","platform":{"os":"linux","variant":null},"annotations":null,"urls":null}"#;
        let half = half.replace('0', &"0".repeat(128));
        check_document(&format!(r#"{{"manifests":[{blob},{half}],"subject":null}}"#), "index of 2");
        let mislabelled =
            format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{blob}]}}"#, MediaType::ImageManifest);
        check_document(&mislabelled, "index of 1");
        check_document(r#"{"schemaVersion":1,"fsLayers":[]}"#, "it is of Docker's schema 1");
        check_document("{}", "it has neither");
        check_document("[]", "it is not a manifest");
        check_document("<html>", "it is not a manifest");
        check_document(r#"{"schemaVersion":2,"config":{"digest":"sha256:../../x"}}"#, "its manifest cannot be read");
    }
}
