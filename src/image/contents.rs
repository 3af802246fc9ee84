//! An image of this machine as content that another program fetches, blob by blob.

use super::archive::TarFile;
use super::compression::{self, Format};
use super::digest::Digest;
use super::fetch::io_error;
use super::layout::{self, Files, Picked, blob_name};
use super::manifest::{Descriptor, NAME, annotate, annotation, descriptor, digest, parse_index};
use super::source::{Opened, Place, Source, SourceError, SourceErrorKind, Surroundings, blocking, open_in};
use oci_spec::image::{ImageManifestBuilder, MediaType, SCHEMA_VERSION};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

/// Every blob of an image, by its digest. Whoever fetches one has to check it.
pub struct Contents {
    /// The image's manifest, or an index of several platforms'.
    pub top: Digest,
    own: BTreeMap<Digest, Blob>,
    layout: Option<Arc<Files>>,
    /// Keeps what the places point to.
    _opened: Option<Opened>,
    _fetched: Option<tempfile::TempDir>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blob {
    Bytes(Vec<u8>),
    Place(Place),
}

impl Blob {
    pub fn size(&self) -> u64 {
        match self {
            Blob::Bytes(bytes) => bytes.len() as u64,
            Blob::Place(place) => place.size,
        }
    }

    /// Its bytes from `offset` on, at most `limit` of them.
    pub fn read(&self, offset: u64, limit: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX).min(limit);
        match self {
            Blob::Bytes(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes[start..start + left].to_vec())
            }
            Blob::Place(place) => {
                let mut file = File::open(&place.path)?;
                file.seek(SeekFrom::Start(place.offset.saturating_add(offset)))?;
                let mut bytes = Vec::with_capacity(left);
                file.take(left as u64).read_to_end(&mut bytes)?;
                match bytes.len() == left {
                    true => Ok(bytes),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                }
            }
        }
    }
}

impl Contents {
    /// The image that `text` names. A layout is served as it is; of anything else, `platform`'s image gets a manifest.
    pub async fn of(text: &str, platform: &str, surroundings: &Surroundings) -> Result<Contents, SourceError> {
        match text.parse()? {
            Source::OciLayout { dir, pick } => {
                let origin = format!("oci-layout {}", dir.display());
                blocking(move || of_layout(&origin, Files::Directory(dir), &pick)).await
            }
            Source::OciArchive { file, pick } => {
                let (origin, scratch) = (format!("oci-archive {}", file.display()), surroundings.scratch.clone());
                blocking(move || of_layout(&origin, Files::Archive(TarFile::open_file(&file, &scratch)?), &pick)).await
            }
            _ => of_opened(open_in(text, platform, surroundings).await?, surroundings).await,
        }
    }

    /// `None` if there is no such blob.
    pub fn blob(&self, digest: &Digest) -> Result<Option<Blob>, SourceError> {
        match (self.own.get(digest), &self.layout) {
            (Some(blob), _) => Ok(Some(blob.clone())),
            (None, Some(files)) => Ok(files.place(&blob_name(digest))?.map(Blob::Place)),
            (None, None) => Ok(None),
        }
    }
}

fn of_layout(origin: &str, files: Files, pick: &super::source::Pick) -> Result<Contents, SourceError> {
    let damaged = |what: String| SourceError::new(SourceErrorKind::Damaged, format!("{origin}: {what}"));
    let Some(bytes) = files.read("index.json")? else {
        return Err(damaged("there is no index.json in it, so it is no OCI layout".to_owned()));
    };
    let index = parse_index(&bytes).map_err(|error| damaged(format!("its index.json cannot be read: {error}")))?;
    let mut own = BTreeMap::new();
    let top = match layout::picked(origin, &index, pick)? {
        Picked::One(found) => digest(&found).map_err(|error| damaged(error.to_string()))?,
        Picked::Several(index) => {
            let bytes = serde_json::to_vec(&index).map_err(|error| damaged(error.to_string()))?;
            let top = Digest::of(&bytes);
            own.insert(top.clone(), Blob::Bytes(bytes));
            top
        }
    };
    Ok(Contents { top, own, layout: Some(Arc::new(files)), _opened: None, _fetched: None })
}

async fn of_opened(opened: Opened, surroundings: &Surroundings) -> Result<Contents, SourceError> {
    let scratch = &surroundings.scratch;
    let mut fetched = None;
    let mut own = BTreeMap::new();
    let mut layers = Vec::new();
    for (index, layer) in opened.layers.iter().enumerate() {
        let place = match opened.blobs.place(index)? {
            Some(place) => place,
            None => {
                let dir = match fetched.take() {
                    Some(dir) => dir,
                    None => tempfile::tempdir_in(scratch).map_err(|error| io_error(scratch, &error))?,
                };
                let path = dir.path().join(index.to_string());
                opened.blobs.fetch(index, &path, &|_| ()).await?;
                let size = path.metadata().map_err(|error| io_error(&path, &error))?.len();
                fetched = Some(dir);
                Place { path, offset: 0, size }
            }
        };
        let (known, diff_id) = (layer.digest.clone(), layer.diff_id.clone());
        let (digest, media_type, place) = blocking(move || {
            let (digest, media_type) =
                measured(&place, known, &diff_id).map_err(|error| io_error(&place.path, &error))?;
            Ok((digest, media_type, place))
        })
        .await?;
        layers.push(descriptor(media_type, &digest, place.size));
        own.insert(digest, Blob::Place(place));
    }
    let config = Digest::of(&opened.config_bytes);
    let manifest = ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .config(descriptor(MediaType::ImageConfig, &config, opened.config_bytes.len() as u64))
        .layers(layers)
        .build()
        .map_err(|error| error.to_string())
        .and_then(|manifest| serde_json::to_vec(&manifest).map_err(|error| error.to_string()))
        .map_err(|why| SourceError::new(SourceErrorKind::Damaged, format!("{}: {why}", opened.origin)))?;
    let top = Digest::of(&manifest);
    own.insert(config, Blob::Bytes(opened.config_bytes.clone()));
    own.insert(top.clone(), Blob::Bytes(manifest));
    Ok(Contents { top, own, layout: None, _opened: Some(opened), _fetched: fetched })
}

/// A layer's digest as it lies there, and what it is.
fn measured(place: &Place, known: Option<Digest>, diff_id: &Digest) -> io::Result<(Digest, MediaType)> {
    let blob = Blob::Place(place.clone());
    let media_type = match compression::sniff(&blob.read(0, 16)?) {
        Format::Gzip => MediaType::ImageLayerGzip,
        Format::Zstd => MediaType::ImageLayerZstd,
        Format::Plain | Format::Bzip2 | Format::Xz => MediaType::ImageLayer,
    };
    let digest = match known {
        Some(digest) => digest,
        None if media_type == MediaType::ImageLayer => diff_id.clone(),
        None => {
            let mut hash = Sha256::new();
            let mut offset = 0;
            while offset < place.size {
                let bytes = blob.read(offset, 1 << 20)?;
                hash.update(&bytes);
                offset += bytes.len() as u64;
            }
            Digest::from_hash(&hash.finalize())
        }
    };
    Ok((digest, media_type))
}

/// The digest under a tag of the layout in `dir`.
pub fn tagged(dir: &Path, tag: &str) -> io::Result<Digest> {
    let bytes = std::fs::read(dir.join("index.json"))?;
    let index = parse_index(&bytes)?;
    let found = index.manifests().iter().find(|it| annotation(it, NAME) == Some(tag));
    let found = found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("it has nothing named {tag}")))?;
    digest(found).map_err(io::Error::other)
}

/// Makes what lies in the layout in `dir` known there under a tag, in the place of what had it before.
pub fn tag(dir: &Path, mut manifest: Descriptor, tag: &str) -> io::Result<()> {
    annotate(&mut manifest, NAME, tag);
    let path = dir.join("index.json");
    let mut index = match std::fs::read(&path) {
        Ok(bytes) => parse_index(&bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => parse_index(b"{}")?,
        Err(error) => return Err(error),
    };
    let mut manifests: Vec<Descriptor> =
        index.manifests().iter().filter(|it| annotation(it, NAME) != Some(tag)).cloned().collect();
    manifests.push(manifest);
    index.set_manifests(manifests);
    let put = |name: &str, bytes: &[u8]| -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(bytes)?;
        file.persist(dir.join(name)).map_err(|error| error.error)?;
        Ok(())
    };
    put("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    put("index.json", &serde_json::to_vec(&index)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        let dir = tempfile::tempdir().unwrap();
        let check = |name: &str, expected: Option<&[u8]>| {
            assert_eq!(tagged(dir.path(), name).ok(), expected.map(Digest::of), "{name}");
        };
        let put = |name: &str, bytes: &[u8]| {
            let manifest = descriptor(MediaType::ImageIndex, &Digest::of(bytes), bytes.len() as u64);
            tag(dir.path(), manifest, name).unwrap();
        };
        check("latest", None);
        put("latest", b"one");
        put("other", b"two");
        check("latest", Some(b"one"));
        put("latest", b"three");
        check("latest", Some(b"three"));
        check("other", Some(b"two"));
    }

    #[test]
    fn parts_of_a_blob() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, b"0123456789").unwrap();
        let place = |offset, size| Blob::Place(Place { path: path.clone(), offset, size });
        let check = |blob: &Blob, offset, limit, expected: Option<&[u8]>| {
            assert_eq!(blob.read(offset, limit).ok().as_deref(), expected, "{blob:?} {offset} {limit}");
        };
        for blob in [Blob::Bytes(b"2345".to_vec()), place(2, 4)] {
            check(&blob, 0, 9, Some(b"2345"));
            check(&blob, 1, 2, Some(b"34"));
            check(&blob, 4, 9, Some(b""));
            check(&blob, 9, 9, Some(b""));
        }
        // Shorter than it was said to be.
        check(&place(8, 4), 0, 4, None);
    }
}
