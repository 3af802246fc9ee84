//! Images written out, for other programs to read.
//!
//! Source: OCI image-spec `image-layout.md`, and Docker's image specification v1.2 for `manifest.json`, which
//! `docker load` of any age reads beside the layout.

use super::compression::{self, Format};
use super::config::ImageConfig;
use super::digest::Digest;
use super::layout::blob_name;
use super::manifest::{
    self, CONTAINERD_NAME, Descriptor, ImageIndex, NAME, annotate, annotation, descriptor, set_platform,
};
use super::reference::{ParseReferenceError, Reference};
use super::whole_file::WholeFile;
use crate::system;
use oci_spec::image::{ImageIndexBuilder, ImageManifestBuilder, MediaType, OciLayoutBuilder, SCHEMA_VERSION};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone)]
pub struct ImageToWrite {
    /// Its `rootfs` is filled in from `layers`.
    pub config: ImageConfig,
    /// Bottom first.
    pub layers: Vec<LayerToWrite>,
    /// References; a missing tag is `latest`.
    pub tags: Vec<String>,
    pub annotations: Annotations,
}

/// Annotations of the image, by where they are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations {
    pub manifest: BTreeMap<String, String>,
    /// Of the manifest's entry in an index.
    pub manifest_descriptor: BTreeMap<String, String>,
}

/// A layer's archive in a file, compressed or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerToWrite {
    pub diff_id: Digest,
    /// Of the file.
    pub digest: Digest,
    /// Bytes of the file.
    pub size: u64,
    pub path: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The configuration's digest: Docker's image id.
    pub image: Digest,
    pub manifest: Option<Digest>,
    /// The manifest's descriptor.
    pub descriptor: Option<Descriptor>,
}

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("cannot write {}: {error}", path.display())]
    Write { path: PathBuf, error: io::Error },
    #[error("cannot read the layer {}: {error}", path.display())]
    Layer { path: PathBuf, error: io::Error },
    /// The file has changed since its digest was taken.
    #[error("the layer {} is not what it was: {digest} and {size} bytes were expected", path.display())]
    Changed { path: PathBuf, digest: Digest, size: u64 },
    #[error("the tag {0}")]
    Tag(#[from] ParseReferenceError),
    #[error("the tag {0:?} has a digest, which only what has been written can have")]
    TagWithDigest(String),
    #[error("the archive's index.json cannot be read: {0}")]
    Archived(String),
    #[error("the layout in {} cannot be added to: its index.json {why}", path.display())]
    Index { path: PathBuf, why: String },
}

/// What the image will be known by, without writing it.
pub fn digests(image: &ImageToWrite) -> Result<Exported, ExportError> {
    Ok(documents(image)?.exported)
}

/// Measures a layer's archive.
pub fn layer_of_file(diff_id: Digest, path: &Path) -> Result<LayerToWrite, ExportError> {
    let measure = || {
        let mut file = Hashed::new(File::open(path)?);
        io::copy(&mut file, &mut io::sink())?;
        Ok(file.finish())
    };
    let (digest, size) = measure().map_err(|error| ExportError::Layer { path: path.to_owned(), error })?;
    Ok(LayerToWrite { diff_id, digest, size, path: path.to_owned() })
}

/// The same, and finds out what the layer is: reads all of its content.
pub fn layer_of_archive(path: &Path) -> Result<LayerToWrite, ExportError> {
    let measure = || {
        let mut file = Hashed::new(File::open(path)?);
        let (_, content) = compression::decode(BufReader::with_capacity(256 << 10, &mut file))?;
        let mut content = Hashed::new(content);
        io::copy(&mut content, &mut io::sink())?;
        let (diff_id, _) = content.finish();
        io::copy(&mut file, &mut io::sink())?;
        Ok((diff_id, file.finish()))
    };
    let measured = measure().map_err(|error| ExportError::Layer { path: path.to_owned(), error });
    let (diff_id, (digest, size)) = measured?;
    Ok(LayerToWrite { diff_id, digest, size, path: path.to_owned() })
}

/// Takes the digest of what is read.
struct Hashed<R> {
    from: R,
    hash: Sha256,
    size: u64,
}

impl<R: Read> Hashed<R> {
    fn new(from: R) -> Hashed<R> {
        Hashed { from, hash: Sha256::new(), size: 0 }
    }

    fn finish(self) -> (Digest, u64) {
        (Digest::from_hash(&self.hash.finalize()), self.size)
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        self.hash.update(&buffer[..length]);
        self.size += length as u64;
        Ok(length)
    }
}

/// An OCI layout in a tar file; `-` is standard output.
pub fn oci_archive(image: &ImageToWrite, dest: &Path) -> Result<Exported, ExportError> {
    let documents = documents(image)?;
    let index = json(&new_index(documents.named()));
    archive(image, &documents, vec![("index.json", index), ("oci-layout", layout_marker())], dest)?;
    Ok(documents.exported)
}

/// What `docker load` reads: an OCI layout in a tar file, with Docker's `manifest.json` beside its index.
pub fn docker_archive(image: &ImageToWrite, dest: &Path) -> Result<Exported, ExportError> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct DockerImage {
        config: String,
        repo_tags: Vec<String>,
        layers: Vec<String>,
    }
    let documents = documents(image)?;
    let described = [DockerImage {
        config: blob_name(&documents.exported.image),
        repo_tags: documents.tags.iter().map(Reference::familiar).collect(),
        layers: image.layers.iter().map(|layer| blob_name(&layer.digest)).collect(),
    }];
    let files = vec![
        ("index.json", json(&new_index(documents.named()))),
        ("manifest.json", json(&described)),
        ("oci-layout", layout_marker()),
    ];
    archive(image, &documents, files, dest)?;
    Ok(documents.exported)
}

/// An OCI layout as a directory. Into one that is there already the image is added; it takes over its tags.
pub fn oci_layout(image: &ImageToWrite, dest: &Path) -> Result<Exported, ExportError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| ExportError::Write { path, error }
    };
    let documents = documents(image)?;
    let blobs = dest.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).map_err(failed(&blobs))?;
    for layer in &image.layers {
        let to = dest.join(blob_name(&layer.digest));
        if to.metadata().is_ok_and(|it| it.is_file() && it.len() == layer.size) {
            continue;
        }
        into_place(&to, |file| copy_layer(layer, file))?;
    }
    for (digest, bytes) in &documents.blobs {
        into_place(&dest.join(blob_name(digest)), |file| file.write_all(bytes).map_err(failed(dest)))?;
    }
    // Last, so that what is named is there.
    list_in_layout(dest, documents.named())?;
    Ok(documents.exported)
}

/// Puts what an archive's `index.json` names into the index of the layout that its blobs are in.
pub fn list_as_archived(dir: &Path, index: &[u8]) -> Result<(), ExportError> {
    let index = manifest::parse_index(index);
    let index = index.map_err(|error| ExportError::Archived(error.to_string()))?;
    list_in_layout(dir, index.manifests().clone())
}

/// Puts entries into a layout's index. One without a name is called `latest`, as BuildKit calls it. Entries of the same
/// name go, and everything else stays; several who do this at once wait for each other.
fn list_in_layout(dir: &Path, mut entries: Vec<Descriptor>) -> Result<(), ExportError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| ExportError::Write { path, error }
    };
    let marker = dir.join("oci-layout");
    let lock = File::options().write(true).create(true).truncate(false).open(&marker).map_err(failed(&marker))?;
    system::lock(&lock).map_err(failed(&marker))?;
    let text = layout_marker();
    (&lock).write_all(&text).and_then(|()| lock.set_len(text.len() as u64)).map_err(failed(&marker))?;
    let path = dir.join("index.json");
    let before = match std::fs::read(&path) {
        Ok(bytes) => manifest::parse_index(&bytes)
            .map_err(|error| ExportError::Index { path: dir.to_owned(), why: format!("cannot be read: {error}") })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => new_index(Vec::new()),
        Err(error) => return Err(failed(&path)(error)),
    };
    for entry in entries.iter_mut().filter(|entry| name(entry).is_none()) {
        annotate(entry, NAME, "latest");
    }
    let index = json(&with_entries(before, entries));
    into_place(&path, |file| file.write_all(&index).map_err(failed(&path)))
}

fn new_index(entries: Vec<Descriptor>) -> ImageIndex {
    let new = ImageIndexBuilder::default().schema_version(SCHEMA_VERSION).media_type(MediaType::ImageIndex);
    new.manifests(entries).build().expect("nothing is missing")
}

fn with_entries(mut index: ImageIndex, entries: Vec<Descriptor>) -> ImageIndex {
    let replaced = |it: &Descriptor| {
        entries.iter().any(|new| match name(it) {
            Some(name_of_it) => name(new) == Some(name_of_it),
            None => new.digest() == it.digest(),
        })
    };
    let mut all: Vec<Descriptor> = index.manifests().iter().filter(|it| !replaced(it)).cloned().collect();
    all.extend(entries);
    index.set_manifests(all);
    index
}

/// What an index calls an entry.
fn name(entry: &Descriptor) -> Option<&str> {
    annotation(entry, CONTAINERD_NAME).or(annotation(entry, NAME))
}

/// The small blobs of an image, and what its index says of it.
pub(super) struct Documents {
    pub(super) exported: Exported,
    pub(super) blobs: BTreeMap<Digest, Vec<u8>>,
    descriptor: Descriptor,
    tags: Vec<Reference>,
}

impl Documents {
    /// An entry for each tag, one without a name if there is none.
    fn named(&self) -> Vec<Descriptor> {
        let named = |tag: &Reference| {
            let mut descriptor = self.descriptor.clone();
            annotate(&mut descriptor, CONTAINERD_NAME, &tag.to_string());
            if let Some(tag) = tag.tag() {
                annotate(&mut descriptor, NAME, tag);
            }
            descriptor
        };
        match self.tags.is_empty() {
            true => vec![self.descriptor.clone()],
            false => self.tags.iter().map(named).collect(),
        }
    }
}

fn layout_marker() -> Vec<u8> {
    json(&OciLayoutBuilder::default().image_layout_version("1.0.0").build().expect("nothing is missing"))
}

pub(super) fn documents(image: &ImageToWrite) -> Result<Documents, ExportError> {
    let tags = image.tags.iter().map(|tag| tag.parse()).collect::<Result<Vec<Reference>, _>>()?;
    if let Some(tag) = tags.iter().find(|tag| tag.digest().is_some()) {
        return Err(ExportError::TagWithDigest(tag.to_string()));
    }
    let mut config = image.config.clone();
    config.rootfs.kind = "layers".to_owned();
    config.rootfs.diff_ids = image.layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let (os, architecture, variant) = (config.os.clone(), config.architecture.clone(), config.variant.clone());
    let config = json(&config);
    let image_id = Digest::of(&config);
    let layers = image
        .layers
        .iter()
        .map(|layer| Ok(descriptor(media_type(&layer.path)?, &layer.digest, layer.size)))
        .collect::<Result<Vec<_>, ExportError>>()?;
    let mut manifest = ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .config(descriptor(MediaType::ImageConfig, &image_id, config.len() as u64))
        .layers(layers)
        .build()
        .expect("nothing is missing");
    if !image.annotations.manifest.is_empty() {
        manifest.set_annotations(Some(image.annotations.manifest.clone().into_iter().collect()));
    }
    let manifest = json(&manifest);
    let digest = Digest::of(&manifest);
    let mut descriptor = descriptor(MediaType::ImageManifest, &digest, manifest.len() as u64);
    set_platform(&mut descriptor, &os, &architecture, &variant);
    for (key, value) in &image.annotations.manifest_descriptor {
        annotate(&mut descriptor, key, value);
    }
    Ok(Documents {
        exported: Exported {
            image: image_id.clone(),
            manifest: Some(digest.clone()),
            descriptor: Some(descriptor.clone()),
        },
        blobs: BTreeMap::from([(image_id, config), (digest, manifest)]),
        descriptor,
        tags,
    })
}

/// Told by the first bytes, since the same layer is stored as it came.
fn media_type(layer: &Path) -> Result<MediaType, ExportError> {
    let mut start = Vec::new();
    let read = File::open(layer).and_then(|file| file.take(4).read_to_end(&mut start));
    read.map_err(|error| ExportError::Layer { path: layer.to_owned(), error })?;
    Ok(match compression::sniff(&start) {
        Format::Gzip => MediaType::ImageLayerGzip,
        Format::Zstd => MediaType::ImageLayerZstd,
        Format::Plain | Format::Bzip2 | Format::Xz => MediaType::ImageLayer,
    })
}

/// Members are sorted and have no times, so the same image gives the same bytes.
fn archive(
    image: &ImageToWrite,
    documents: &Documents,
    files: Vec<(&str, Vec<u8>)>,
    dest: &Path,
) -> Result<(), ExportError> {
    let failed = |error| ExportError::Write { path: dest.to_owned(), error };
    let layers: BTreeMap<&Digest, &LayerToWrite> = image.layers.iter().map(|layer| (&layer.digest, layer)).collect();
    let mut digests: Vec<&Digest> = layers.keys().copied().chain(documents.blobs.keys()).collect();
    digests.sort();
    digests.dedup();
    let write = |out: &mut dyn Write| {
        let mut builder = tar::Builder::new(out);
        for dir in ["blobs/", "blobs/sha256/"] {
            builder.append_data(&mut header(tar::EntryType::Directory, 0o755, 0), dir, io::empty()).map_err(failed)?;
        }
        for digest in digests {
            let name = blob_name(digest);
            if let Some(bytes) = documents.blobs.get(digest) {
                let mut header = header(tar::EntryType::Regular, 0o644, bytes.len() as u64);
                builder.append_data(&mut header, name, bytes.as_slice()).map_err(failed)?;
            } else if let Some(layer) = layers.get(digest) {
                let mut header = header(tar::EntryType::Regular, 0o644, layer.size);
                header.set_path(&name).map_err(failed)?;
                header.set_cksum();
                // The archive's own writer would not notice a layer that is shorter than its header says.
                builder.get_mut().write_all(header.as_bytes()).map_err(failed)?;
                copy_layer(layer, builder.get_mut())?;
                let padding = layer.size.next_multiple_of(512) - layer.size;
                builder.get_mut().write_all(&vec![0; padding as usize]).map_err(failed)?;
            }
        }
        for (name, bytes) in &files {
            let mut header = header(tar::EntryType::Regular, 0o644, bytes.len() as u64);
            builder.append_data(&mut header, name, bytes.as_slice()).map_err(failed)?;
        }
        builder.into_inner().and_then(|out| out.flush()).map_err(failed)
    };
    if dest == Path::new("-") {
        return write(&mut BufWriter::new(io::stdout().lock()));
    }
    into_place(dest, |file| write(&mut BufWriter::with_capacity(256 << 10, file)))
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

/// Its bytes have to be what its digest says now, too.
fn copy_layer(layer: &LayerToWrite, out: &mut (impl Write + ?Sized)) -> Result<(), ExportError> {
    let changed = || ExportError::Changed { path: layer.path.clone(), digest: layer.digest.clone(), size: layer.size };
    let read_failed = |error| ExportError::Layer { path: layer.path.clone(), error };
    let mut file = File::open(&layer.path).map_err(read_failed)?;
    let (mut hash, mut left) = (Sha256::new(), layer.size);
    let mut buffer = vec![0; 256 << 10];
    loop {
        let length = file.read(&mut buffer).map_err(read_failed)?;
        if length == 0 {
            break;
        }
        left = left.checked_sub(length as u64).ok_or_else(changed)?;
        hash.update(&buffer[..length]);
        out.write_all(&buffer[..length]).map_err(|error| ExportError::Write { path: layer.path.clone(), error })?;
    }
    if left != 0 || Digest::from_hash(&hash.finalize()) != layer.digest {
        return Err(changed());
    }
    Ok(())
}

fn into_place(dest: &Path, write: impl FnOnce(&mut File) -> Result<(), ExportError>) -> Result<(), ExportError> {
    let failed = |error| ExportError::Write { path: dest.to_owned(), error };
    let mut whole = WholeFile::create(dest).map_err(failed)?;
    write(&mut whole.file)?;
    whole.finish().map_err(failed)
}

/// Members are sorted: annotations come from a map without an order, and the same image gives the same bytes.
fn json(value: &impl Serialize) -> Vec<u8> {
    // Maps with other keys than strings and failing writers are the only errors, and there are neither.
    let mut value = serde_json::to_value(value).unwrap_or_default();
    value.sort_all_objects();
    value.to_string().into_bytes()
}
