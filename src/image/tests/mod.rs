//! Images made here, written out, served, and read again through [`source::open_in`].

mod archives;
#[cfg(unix)]
mod daemon;
mod layouts;
mod push;
mod registry;
mod server;

use super::config::{History, ImageConfig, RunConfig};
use super::digest::Digest;
use super::docker_client::DockerClient;
use super::export::{self, ImageToWrite, LayerToWrite};
use super::manifest::{Descriptor, NAME, annotate, descriptor, set_platform};
use super::source::{self, Opened, SourceError, Surroundings};
use oci_spec::image::{ImageIndex, ImageIndexBuilder, ImageManifestBuilder, MediaType, SCHEMA_VERSION};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

pub(super) fn surroundings(dir: &Path) -> Surroundings {
    let docker = DockerClient { config: Some(dir.join("docker-config")), ..DockerClient::default() };
    Surroundings { scratch: dir.to_owned(), docker, told: Default::default() }
}

/// Looks an image up in surroundings that lie in `dir`.
pub(super) fn open(text: &str, platform: &str, dir: &Path) -> Result<Opened, SourceError> {
    block_on(source::open_in(text, platform, &surroundings(dir)))
}

/// The bytes of each layer, as fetched; nothing is left where a fetch failed.
pub(super) fn fetched(opened: &Opened, dir: &Path) -> Result<Vec<Vec<u8>>, SourceError> {
    let fetch = |index: usize| {
        let into = dir.join(format!("fetched-{index}"));
        let last = std::sync::atomic::AtomicU64::new(0);
        let progress = |bytes| last.store(bytes, std::sync::atomic::Ordering::Relaxed);
        let done = block_on(opened.blobs.fetch(index, &into, &progress));
        if done.is_err() {
            assert!(!into.exists(), "half a layer is left");
        }
        done?;
        let bytes = std::fs::read(&into).unwrap();
        std::fs::remove_file(&into).unwrap();
        assert_eq!(last.into_inner(), bytes.len() as u64, "the last progress is not the whole");
        Ok(bytes)
    };
    (0..opened.layers.len()).map(fetch).collect()
}

/// What became of looking an image up and fetching it: the layers' texts, or the error with its help lines.
/// `DIR` stands for the directory, `HEX` for digests.
pub(super) fn outcome(text: &str, platform: &str, dir: &Path) -> String {
    let answer = open(text, platform, dir).and_then(|opened| {
        let texts = fetched(&opened, dir)?.iter().map(|layer| text_of(layer)).collect::<Vec<_>>().join(" ");
        Ok(format!("{} [{texts}]", opened.config.architecture))
    });
    let shown =
        answer.unwrap_or_else(|error| format!("{:?}: {}; {}", error.kind, error.message, error.help.join("; ")));
    let shown = shown.replace(&dir.display().to_string(), "DIR");
    regex::Regex::new("[0-9a-f]{64}").unwrap().replace_all(&shown, "HEX").trim_end_matches("; ").to_owned()
}

/// A layer with one file, `text`, that holds `content`.
pub(super) fn layer(content: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, "text", content.as_bytes()).unwrap();
    builder.into_inner().unwrap()
}

pub(super) fn text_of(layer: &[u8]) -> String {
    let (_, reader) = super::compression::decode(layer).unwrap();
    let mut archive = tar::Archive::new(reader);
    let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
    std::io::read_to_string(&mut entry).unwrap()
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn config(architecture: &str, diff_ids: &[Digest]) -> ImageConfig {
    let mut config = ImageConfig {
        architecture: architecture.to_owned(),
        os: "linux".to_owned(),
        config: RunConfig { env: vec!["A=b".to_owned()], ..RunConfig::default() },
        history: diff_ids.iter().map(|_| History { created_by: "COPY".to_owned(), ..History::default() }).collect(),
        ..ImageConfig::default()
    };
    config.rootfs.kind = "layers".to_owned();
    config.rootfs.diff_ids = diff_ids.to_vec();
    config
}

/// Blobs by digest, as a layout or a registry has them.
#[derive(Debug, Default, Clone)]
pub(super) struct Store {
    pub(super) blobs: BTreeMap<Digest, Vec<u8>>,
}

impl Store {
    pub(super) fn add(&mut self, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(&bytes);
        self.blobs.insert(digest.clone(), bytes);
        digest
    }

    fn describe(&mut self, media_type: MediaType, bytes: Vec<u8>) -> Descriptor {
        let size = bytes.len() as u64;
        descriptor(media_type, &self.add(bytes), size)
    }

    /// An image with one gzip layer for each of the words in `layers`.
    pub(super) fn image(&mut self, architecture: &str, layers: &str) -> Descriptor {
        let plain: Vec<Vec<u8>> = layers.split_whitespace().map(layer).collect();
        let diff_ids: Vec<Digest> = plain.iter().map(|bytes| Digest::of(bytes)).collect();
        let described = plain.iter().map(|bytes| self.describe(MediaType::ImageLayerGzip, gzip(bytes)));
        let layers: Vec<Descriptor> = described.collect();
        let config = serde_json::to_vec(&config(architecture, &diff_ids)).unwrap();
        let config = self.describe(MediaType::ImageConfig, config);
        self.manifest(config, layers)
    }

    pub(super) fn manifest(&mut self, config: Descriptor, layers: Vec<Descriptor>) -> Descriptor {
        let manifest = ImageManifestBuilder::default().schema_version(SCHEMA_VERSION).config(config).layers(layers);
        self.describe(MediaType::ImageManifest, serde_json::to_vec(&manifest.build().unwrap()).unwrap())
    }

    /// The same with its platform said.
    pub(super) fn platform_image(&mut self, architecture: &str, layers: &str) -> Descriptor {
        let mut descriptor = self.image(architecture, layers);
        set_platform(&mut descriptor, "linux", architecture, "");
        descriptor
    }

    pub(super) fn attestation(&mut self) -> Descriptor {
        let mut descriptor = self.image("unknown", "provenance");
        annotate(&mut descriptor, "vnd.docker.reference.type", "attestation-manifest");
        set_platform(&mut descriptor, "unknown", "unknown", "");
        descriptor
    }

    pub(super) fn index(&mut self, manifests: Vec<Descriptor>) -> Descriptor {
        self.describe(MediaType::ImageIndex, serde_json::to_vec(&index(manifests)).unwrap())
    }

    /// Writes the blobs and an index of `entries` as a layout in `dir`.
    pub(super) fn write_layout(&self, dir: &Path, entries: Vec<Descriptor>) {
        let blobs = dir.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        for (digest, bytes) in &self.blobs {
            std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
        }
        std::fs::write(dir.join("index.json"), serde_json::to_vec(&index(entries)).unwrap()).unwrap();
        std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }
}

pub(super) fn digest_of(descriptor: &Descriptor) -> Digest {
    super::manifest::digest(descriptor).unwrap()
}

fn index(manifests: Vec<Descriptor>) -> ImageIndex {
    let index = ImageIndexBuilder::default().schema_version(SCHEMA_VERSION).media_type(MediaType::ImageIndex);
    index.manifests(manifests).build().unwrap()
}

pub(super) fn named(mut descriptor: Descriptor, name: &str) -> Descriptor {
    annotate(&mut descriptor, NAME, name);
    descriptor
}

/// An image to write, its layers in files of `dir`.
pub(super) fn to_write(dir: &Path, blobs: &[(Vec<u8>, Vec<u8>)], tags: &[&str]) -> ImageToWrite {
    let layer = |(index, (plain, blob)): (usize, &(Vec<u8>, Vec<u8>))| -> LayerToWrite {
        let path = dir.join(format!("layer-{index}"));
        std::fs::write(&path, blob).unwrap();
        export::layer_of_file(Digest::of(plain), &path).unwrap()
    };
    ImageToWrite {
        annotations: Default::default(),
        config: config("amd64", &[]),
        layers: blobs.iter().enumerate().map(layer).collect(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
    }
}
