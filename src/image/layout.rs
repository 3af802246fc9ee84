//! OCI layouts: a directory (`oci:DIR`), or the same in an archive.
//!
//! Source: OCI image-spec `image-layout.md`.

use super::archive::TarFile;
use super::digest::Digest;
use super::fetch::{self, Expected, io_error};
use super::manifest::{self, CONTAINERD_NAME, Descriptor, ImageIndex, LARGEST_DOCUMENT, NAME, annotation};
use super::reference::Reference;
use super::resolve::{self, Documents, Found, Role};
use super::source::{Blobs, LayerBlob, Opened, Pick, Place, SourceError, SourceErrorKind, blocking};
use crate::names::platform::Platform;
use async_trait::async_trait;
use oci_spec::image::MediaType;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file's content and its size.
pub(super) type Opening = (Box<dyn Read + Send>, u64);

/// The files of a layout.
#[derive(Debug)]
pub(super) enum Files {
    Directory(PathBuf),
    Archive(TarFile),
}

impl Files {
    /// A file and its size; `None` if there is no such file.
    pub(super) fn open(&self, name: &str) -> Result<Option<Opening>, SourceError> {
        let dir = match self {
            Files::Archive(archive) => return archive.open(name),
            Files::Directory(dir) => dir,
        };
        let path = dir.join(name);
        // What is no regular file is not opened: a pipe would wait for ever.
        let size = match path.metadata() {
            Ok(metadata) if metadata.is_file() => metadata.len(),
            Ok(_) => {
                return Err(SourceError::new(SourceErrorKind::Damaged, format!("{} is not a file", path.display())));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(&path, &error)),
        };
        let file = File::open(&path).map_err(|error| io_error(&path, &error))?;
        Ok(Some((Box::new(file), size)))
    }

    /// Where a file's content lies; `None` if there is no such file.
    pub(super) fn place(&self, name: &str) -> Result<Option<Place>, SourceError> {
        let dir = match self {
            Files::Archive(archive) => return Ok(archive.place(name)),
            Files::Directory(dir) => dir,
        };
        let size = self.open(name)?.map(|(_, size)| size);
        Ok(size.map(|size| Place { path: dir.join(name), offset: 0, size }))
    }

    /// A small file's bytes.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, SourceError> {
        small(self.open(name)?, name, self.path())
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Files::Directory(dir) => dir,
            Files::Archive(archive) => archive.path(),
        }
    }
}

/// The bytes of what is opened, if there are not too many of them.
pub(super) fn small(opened: Option<Opening>, name: &str, place: &Path) -> Result<Option<Vec<u8>>, SourceError> {
    let Some((file, size)) = opened else { return Ok(None) };
    if size > LARGEST_DOCUMENT {
        let message = format!("{}: {name} has {size} bytes, too many for a manifest", place.display());
        return Err(SourceError::new(SourceErrorKind::Damaged, message));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_DOCUMENT).read_to_end(&mut bytes).map_err(|error| io_error(place, &error))?;
    Ok(Some(bytes))
}

pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// A layout in which an image is looked up.
struct Layout {
    files: Arc<Files>,
    place: String,
}

#[async_trait]
impl Documents for Layout {
    async fn document(&self, digest: &Digest, _: Role) -> Result<Vec<u8>, SourceError> {
        let (files, name) = (self.files.clone(), blob_name(digest));
        let read = blocking(move || files.read(&name)).await?;
        read.ok_or_else(|| missing_blob(&self.place, digest))
    }

    fn place(&self) -> String {
        self.place.clone()
    }
}

fn missing_blob(place: &str, digest: &Digest) -> SourceError {
    SourceError::new(SourceErrorKind::Missing, format!("{place}: the blob {digest} is not in it"))
}

pub(super) async fn open_directory(
    name: &str,
    dir: &Path,
    pick: &Pick,
    wanted: &Platform,
) -> Result<Opened, SourceError> {
    let origin = format!("oci-layout {}", dir.display());
    if !dir.is_dir() {
        let message = format!("{origin}: there is no such directory");
        return Err(SourceError::new(SourceErrorKind::Missing, message));
    }
    open(name, origin, Arc::new(Files::Directory(dir.to_owned())), pick, wanted).await
}

pub(super) async fn open(
    name: &str,
    origin: String,
    files: Arc<Files>,
    pick: &Pick,
    wanted: &Platform,
) -> Result<Opened, SourceError> {
    let layout = Layout { files: files.clone(), place: origin.clone() };
    let reading = files.clone();
    let Some(bytes) = blocking(move || reading.read("index.json")).await? else {
        let message = format!("{origin}: there is no index.json in it, so it is no OCI layout");
        return Err(SourceError::new(SourceErrorKind::Damaged, message));
    };
    let index = manifest::parse_index(&bytes).map_err(|error| {
        SourceError::new(SourceErrorKind::Damaged, format!("{origin}: its index.json cannot be read: {error}"))
    })?;
    let found = match picked(&origin, &index, pick)? {
        // Alone, it is taken whatever its platform.
        Picked::One(descriptor) => {
            let bytes = resolve::checked(&layout, &descriptor, Role::Manifest).await?;
            resolve::in_document(&layout, Digest::of(&bytes), &bytes, wanted).await?
        }
        Picked::Several(entries) => {
            let found = resolve::in_index(&layout, entries.clone(), wanted).await?;
            if has_another(&layout, &entries, &found, wanted).await {
                return Err(not_picked(&origin, SEVERAL, &names(&index), pick));
            }
            found
        }
    };
    let layers = resolve::layers(&layout, &found)?;
    let names = layers.iter().map(|layer| layer.digest.as_ref().map(blob_name).unwrap_or_default()).collect();
    Ok(Opened {
        name: name.to_owned(),
        manifest: Some(found.digest),
        config: found.config,
        config_bytes: found.config_bytes,
        annotations: resolve::annotations(&found.manifest),
        blobs: Arc::new(FileBlobs {
            files,
            names,
            layers: layers.clone(),
            inline: found.manifest.layers().iter().map(manifest::inline).collect(),
            origin: origin.clone(),
        }),
        origin,
        layers,
    })
}

/// What to do where names do not tell images apart.
const SEVERAL: &str = "it has several images that nothing tells apart: say which by its position, :@0 for the first";

/// Whether these entries lead to another image that is as good for the platform as the one that was found.
async fn has_another(layout: &Layout, entries: &ImageIndex, found: &Found, wanted: &Platform) -> bool {
    let distance = |found: &Found| found.config.platform().distance(wanted);
    let mut one = entries.clone();
    for entry in entries.manifests() {
        one.set_manifests(vec![entry.clone()]);
        if let Ok(other) = resolve::in_index(layout, one.clone(), wanted).await
            && other.config_bytes != found.config_bytes
            && distance(&other) == distance(found)
        {
            return true;
        }
    }
    false
}

pub(super) enum Picked {
    One(Descriptor),
    /// Platforms of the same image.
    Several(ImageIndex),
}

pub(super) fn picked(origin: &str, index: &ImageIndex, pick: &Pick) -> Result<Picked, SourceError> {
    let missing = |what: String| not_picked(origin, &what, &names(index), pick);
    let mut entries: Vec<Descriptor> = match pick {
        Pick::Digest(digest) => {
            let listed =
                index.manifests().iter().find(|it| manifest::digest(it).ok().as_ref() == Some(digest)).cloned();
            // Not only what is listed at the top: a platform's own manifest has a digest too.
            return Ok(Picked::One(
                listed.unwrap_or_else(|| manifest::descriptor(MediaType::ImageManifest, digest, 0)),
            ));
        }
        Pick::Position(position) => {
            let entry = index.manifests().get(*position).cloned();
            return entry.map(Picked::One).ok_or_else(|| missing(format!("it has no image at position {position}")));
        }
        Pick::Name(name) => {
            let named: Vec<Descriptor> = index.manifests().iter().filter(|it| is_named(it, name)).cloned().collect();
            if named.is_empty() {
                return Err(missing(format!("it has no image named {name:?}")));
            }
            named
        }
        Pick::Any => {
            let latest: Vec<Descriptor> =
                index.manifests().iter().filter(|it| is_named(it, "latest")).cloned().collect();
            match latest.is_empty() {
                false => latest,
                true if names(index).len() > 1 => {
                    return Err(missing("it has several images, and none is named latest: say which".to_owned()));
                }
                true => index.manifests().clone(),
            }
        }
    };
    // The same image under several names.
    let mut seen = std::collections::HashSet::new();
    entries.retain(|it| seen.insert(it.digest().to_string()));
    Ok(match <[Descriptor; 1]>::try_from(entries) {
        Ok([one]) => Picked::One(one),
        Err(entries) => {
            let mut several = index.clone();
            several.set_manifests(entries);
            Picked::Several(several)
        }
    })
}

/// Why there is no image to go on with, and which of them there are.
pub(super) fn not_picked(origin: &str, what: &str, names: &[String], pick: &Pick) -> SourceError {
    let error = SourceError::new(SourceErrorKind::Missing, format!("{origin}: {what}"));
    let Some(first) = names.first() else { return error };
    let error = error.with_help(format!("there is {}", names.join(", ")));
    match pick {
        Pick::Any => error.with_help(format!("say for instance {}:{first}", as_written(origin))),
        _ => error,
    }
}

/// An origin as it is written on a command line.
fn as_written(origin: &str) -> String {
    match origin.strip_prefix("oci-layout ") {
        Some(dir) => format!("oci:{dir}"),
        None => origin.replacen(' ', ":", 1),
    }
}

/// By its tag or by its whole reference, whichever the layout has and whichever is asked for.
fn is_named(descriptor: &Descriptor, wanted: &str) -> bool {
    let reference = |text: &str| text.parse::<Reference>().ok();
    [NAME, CONTAINERD_NAME].iter().filter_map(|key| annotation(descriptor, key)).any(|name| {
        let full = reference(name);
        name == wanted
            || (full.is_some() && full == reference(wanted))
            || full.is_some_and(|it| name.contains(['/', ':']) && it.tag() == Some(wanted))
    })
}

/// One name for each named entry, for lists and for telling whether there is more than one image.
fn names(index: &ImageIndex) -> Vec<String> {
    let name = |it: &Descriptor| annotation(it, CONTAINERD_NAME).or(annotation(it, NAME)).map(str::to_owned);
    let mut names: Vec<String> = index.manifests().iter().filter_map(name).collect();
    names.sort();
    names.dedup();
    let mut digests: Vec<&str> = index.manifests().iter().map(|it| it.digest().as_ref()).collect();
    digests.dedup();
    if digests.len() == 1 {
        names.truncate(1);
    }
    names
}

/// Layers that lie in files, or in members of an archive.
pub(super) struct FileBlobs {
    pub(super) files: Arc<Files>,
    /// One for each layer.
    pub(super) names: Vec<String>,
    pub(super) layers: Vec<LayerBlob>,
    /// Of layers that the manifest itself has.
    pub(super) inline: Vec<Option<Vec<u8>>>,
    pub(super) origin: String,
}

impl FileBlobs {
    fn missing(&self, layer: &LayerBlob) -> SourceError {
        let shown = layer.digest.as_ref().unwrap_or(&layer.diff_id);
        let why = match &*self.files {
            Files::Archive(archive) => archive.cut().map(|cut| format!(": {cut}")),
            Files::Directory(_) => None,
        };
        let message = format!("{}: the layer {shown} is not in it{}", self.origin, why.unwrap_or_default());
        SourceError::new(SourceErrorKind::Missing, message)
    }
}

#[async_trait]
impl Blobs for FileBlobs {
    fn place(&self, index: usize) -> Result<Option<Place>, SourceError> {
        let (Some(layer), Some(name)) = (self.layers.get(index), self.names.get(index)) else {
            let message = format!("{}: there is no layer {index}", self.origin);
            return Err(SourceError::new(SourceErrorKind::Missing, message));
        };
        match self.files.place(name)? {
            Some(place) => Ok(Some(place)),
            None if self.inline.get(index).is_some_and(Option::is_some) => Ok(None),
            None => Err(self.missing(layer)),
        }
    }

    async fn fetch(
        &self,
        index: usize,
        into: &Path,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), SourceError> {
        let (Some(layer), Some(name)) = (self.layers.get(index), self.names.get(index)) else {
            let message = format!("{}: there is no layer {index}", self.origin);
            return Err(SourceError::new(SourceErrorKind::Missing, message));
        };
        let shown = layer.digest.as_ref().unwrap_or(&layer.diff_id);
        let what = format!("{}: the layer {shown}", self.origin);
        let (files, name) = (self.files.clone(), name.clone());
        let is_missing = self.missing(layer);
        let inline = self.inline.get(index).cloned().flatten();
        let open = move || -> Result<Box<dyn Read + Send>, SourceError> {
            match (files.open(&name)?, inline) {
                (Some((file, _)), _) => Ok(file),
                (None, Some(bytes)) => Ok(Box::new(std::io::Cursor::new(bytes))),
                (None, None) => Err(is_missing),
            }
        };
        let size = Some(layer.size).filter(|size| *size > 0);
        fetch::copy_to_file(into, Expected { what, digest: layer.digest.clone(), size }, progress, open).await
    }
}
