//! An image of this machine as content that another program fetches, blob by blob.

use super::archive::TarFile;
use super::compression::{self, Format};
use super::digest::Digest;
use super::fetch::io_error;
use super::layout::{self, Files, Picked, blob_name};
use super::manifest::{descriptor, digest, parse_index};
use super::source::{Opened, Place, Source, SourceError, SourceErrorKind, Surroundings, blocking, open_in};
use oci_spec::image::{ImageManifestBuilder, MediaType, SCHEMA_VERSION};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
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
