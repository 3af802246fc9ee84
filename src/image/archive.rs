//! Images in archives: what `docker save` writes, and OCI layouts in a tar file.
//!
//! Source: Docker's image specification v1.2 (`manifest.json`), and what Docker before and from version 25,
//! Docker with containerd's store, Podman and skopeo write in practice: layers may be symbolic links to the
//! layer of another image, blobs may be missing, the whole may be compressed.

use super::compression;
use super::digest::Digest;
use super::document;
use super::fetch::{io_error, wrong_digest};
use super::layout::{self, FileBlobs, Files, Opening};
use super::legacy;
use super::reference::{self, Reference};
use super::resolve::{layers_differ, parse_config};
use super::source::{LayerBlob, Opened, Pick, Place, SourceError, SourceErrorKind, blocking};
use super::tar_reader::BLOCK;
use crate::names::platform::Platform;
use serde::Deserialize;
use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Members of an archive that are kept in memory; each layer and document is one.
const MOST_MEMBERS: usize = 200_000;

/// Bytes of one member's header, with long names and attributes.
const MOST_OF_A_HEADER: u64 = 1 << 20;

/// A compressed archive is unpacked to here whatever its size, and beyond it [`MAX_RATIO`] times its size.
const FREE_BYTES: u64 = 4 << 30;
const MAX_RATIO: u64 = 400;

/// Links from link to link.
const MOST_LINKS: usize = 16;

/// A tar file with its members found, so that each can be read alone.
#[derive(Debug)]
pub(super) struct TarFile {
    /// As it was given.
    path: PathBuf,
    /// What is read: the same, or a copy without compression.
    plain: PathBuf,
    /// By name, without `./` before it.
    members: HashMap<String, Member>,
    /// Where the archive ends too early, in words.
    cut: Option<String>,
    _copy: Option<tempfile::TempPath>,
    _directory: Option<tempfile::TempDir>,
}

#[derive(Debug, Clone)]
enum Member {
    File {
        offset: u64,
        /// Of what is there.
        size: u64,
        /// Whether all of it is there.
        whole: bool,
    },
    /// To another member's name.
    Link(String),
}

impl TarFile {
    /// Reads the headers only. `scratch` takes the copy of a compressed archive.
    pub(super) fn open_file(path: &Path, scratch: &Path) -> Result<TarFile, SourceError> {
        match path.metadata() {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => {
                let message = format!("{} is not a file", path.display());
                return Err(SourceError::new(SourceErrorKind::Missing, message));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(SourceError::new(SourceErrorKind::Missing, format!("there is no file {}", path.display())));
            }
            Err(error) => return Err(io_error(path, &error)),
        }
        let (copy, damage) = decompressed(path, scratch)?.unzip();
        let damage = damage.flatten();
        let plain = copy.as_ref().map_or(path, |copy| copy).to_owned();
        let (members, cut) = scan(&plain).map_err(|error| {
            let why = damage.clone().unwrap_or_else(|| error.to_string());
            let message = format!("{} cannot be read as an archive: {why}", path.display());
            SourceError::new(SourceErrorKind::Damaged, message)
        })?;
        let cut = damage.or(cut);
        Ok(TarFile { path: path.to_owned(), plain, members, cut, _copy: copy, _directory: None })
    }

    /// Keeps the directory that the archive lies in as long as the archive is needed.
    pub(super) fn with_directory(self, directory: tempfile::TempDir) -> TarFile {
        TarFile { _directory: Some(directory), ..self }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Why members may be missing: the archive ends too early.
    pub(super) fn cut(&self) -> Option<&str> {
        self.cut.as_deref()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    /// A member and its size; `None` if there is no such member. What is there in part only is an error.
    pub(super) fn open(&self, name: &str) -> Result<Option<Opening>, SourceError> {
        let Some((offset, size, whole)) = self.find(name) else { return Ok(None) };
        if !whole {
            let cut = self.cut().unwrap_or("not all of it is there");
            let message = format!("{}: {name} cannot be read: {cut}", self.path.display());
            return Err(SourceError::new(SourceErrorKind::Damaged, message));
        }
        let open = || {
            let mut file = File::open(&self.plain)?;
            file.seek(SeekFrom::Start(offset))?;
            Ok(file.take(size))
        };
        let reader = open().map_err(|error| io_error(&self.path, &error))?;
        Ok(Some((Box::new(reader), size)))
    }

    /// A small member's bytes.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, SourceError> {
        layout::small(self.open(name)?, name, &self.path)
    }

    /// Where a member's content lies, as far as it is there.
    pub(super) fn place(&self, name: &str) -> Option<Place> {
        let (offset, size, _) = self.find(name)?;
        Some(Place { path: self.plain.clone(), offset, size })
    }

    fn find(&self, name: &str) -> Option<(u64, u64, bool)> {
        let mut name = joined("", name)?;
        for _ in 0..MOST_LINKS {
            match self.members.get(&name)? {
                Member::File { offset, size, whole } => return Some((*offset, *size, *whole)),
                Member::Link(target) => name = target.clone(),
            }
        }
        None
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }
}

/// An archive for a reader that passes over contents by seeking: what it reads between is headers, long names and
/// attributes, which it takes whole.
struct Headers {
    file: BufReader<File>,
    /// Since it last sought.
    read: u64,
}

impl Read for Headers {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let got = self.file.read(buffer)?;
        self.read += got as u64;
        match self.read > MOST_OF_A_HEADER {
            true => {
                let message = format!("it has a name or attributes of more than {MOST_OF_A_HEADER} bytes");
                Err(std::io::Error::new(ErrorKind::FileTooLarge, message))
            }
            false => Ok(got),
        }
    }
}

impl Seek for Headers {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.read = 0;
        self.file.seek(to)
    }
}

/// Members, and why there are not more of them if the archive ends too early: what comes before its end can be read.
type Scanned = (HashMap<String, Member>, Option<String>);

fn scan(path: &Path) -> std::io::Result<Scanned> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut archive = tar::Archive::new(Headers { file: BufReader::new(file), read: 0 });
    let mut members = HashMap::new();
    let (mut cut, mut end) = (None, 0_u64);
    for entry in archive.entries_with_seek()? {
        let entry = match entry {
            Ok(entry) => entry,
            // What the reader says of it quotes the file.
            Err(_) if members.is_empty() => return Err(std::io::Error::other("it is neither tar nor compressed tar")),
            Err(error) => {
                let header = end.next_multiple_of(BLOCK as u64);
                cut = Some(match error.kind() {
                    // What the reader says of these quotes the file, too.
                    ErrorKind::Other | ErrorKind::InvalidData if header.saturating_add(BLOCK as u64) > length => {
                        format!("the archive ends in the middle of a header, at byte {length}")
                    }
                    ErrorKind::Other | ErrorKind::InvalidData => format!("the header at byte {header} is damaged"),
                    _ => format!("the header at byte {header} cannot be read: {error}"),
                });
                break;
            }
        };
        end = entry.raw_file_position().saturating_add(entry.size()).min(length);
        let Some(name) = joined("", &String::from_utf8_lossy(&entry.path_bytes())) else { continue };
        let target = || Some(String::from_utf8_lossy(&entry.link_name_bytes()?).into_owned());
        let member = match entry.header().entry_type() {
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                let (offset, size) = (entry.raw_file_position(), entry.size());
                let there = size.min(length.saturating_sub(offset));
                if there < size {
                    cut = Some(format!("the archive ends in the middle of {name}, at byte {length}"));
                }
                Some(Member::File { offset, size: there, whole: there == size })
            }
            tar::EntryType::Symlink => {
                let dir = name.rsplit_once('/').map_or("", |(dir, _)| dir);
                target().and_then(|target| joined(dir, &target)).map(Member::Link)
            }
            tar::EntryType::Link => target().and_then(|target| joined("", &target)).map(Member::Link),
            _ => None,
        };
        if let Some(member) = member {
            members.insert(name, member);
        }
        if cut.is_some() {
            break;
        }
        if members.len() > MOST_MEMBERS {
            return Err(std::io::Error::other(format!("it has more than {MOST_MEMBERS} members")));
        }
    }
    if members.is_empty() {
        return Err(std::io::Error::other("there is nothing in it"));
    }
    // Blocks of zeros mark an archive's end.
    if cut.is_none() && length.saturating_sub(end.next_multiple_of(BLOCK as u64)) < BLOCK as u64 {
        cut = Some(format!("the archive has no end at byte {length}, as if it were cut off there"));
    }
    Ok((members, cut))
}

/// A path from `dir` in the archive, without `.` and `..`; `None` if it leads out of it.
fn joined(dir: &str, path: &str) -> Option<String> {
    let dir = if path.starts_with('/') { "" } else { dir };
    let mut parts: Vec<&str> = Vec::new();
    for part in dir.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// A copy without compression, if there is any, and why it ends too early, if it does.
type Decompressed = (tempfile::TempPath, Option<String>);

fn decompressed(path: &Path, scratch: &Path) -> Result<Option<Decompressed>, SourceError> {
    let behind = Cell::new(false);
    let open = || compression::decode_leniently(BufReader::with_capacity(1 << 17, File::open(path)?), &behind);
    let (format, mut reader) = open().map_err(|error| io_error(path, &error))?;
    if format == compression::Format::Plain {
        return Ok(None);
    }
    let mut copy = tempfile::NamedTempFile::new_in(scratch).map_err(|error| io_error(scratch, &error))?;
    let damaged = |why: String| {
        SourceError::new(SourceErrorKind::Damaged, format!("{} cannot be decompressed: {why}", path.display()))
    };
    let stored = path.metadata().map_err(|error| io_error(path, &error))?.len();
    let most = FREE_BYTES.max(stored.saturating_mul(MAX_RATIO));
    let (mut buffer, mut length, mut cut) = (vec![0; 1 << 17], 0, None);
    while length <= most {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(got) => {
                copy.write_all(&buffer[..got]).map_err(|error| io_error(scratch, &error))?;
                length += got as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if length == 0 => return Err(damaged(error.to_string())),
            Err(error) => {
                cut = Some(format!("it cannot be decompressed beyond byte {length}: {error}"));
                break;
            }
        }
    }
    if length > most {
        return Err(damaged(format!(
            "it unpacks to more than {FREE_BYTES} bytes and more than {MAX_RATIO} times its size: it is taken for a \
             decompression bomb"
        )));
    }
    Ok(Some((copy.into_temp_path(), cut)))
}

/// Which of the two forms is preferred; an archive that has only the other is read as that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Docker,
    Oci,
}

/// Docker's `manifest.json` has one of these for each image.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
    /// Of foreign layers, by their diff_ids.
    #[serde(default)]
    layer_sources: HashMap<String, LayerSource>,
}

#[derive(Debug, Deserialize)]
struct LayerSource {
    urls: Option<Vec<String>>,
}

pub(super) async fn open(
    name: &str,
    file: &Path,
    form: Form,
    pick: &Pick,
    wanted: &Platform,
    scratch: &Path,
) -> Result<Opened, SourceError> {
    let (path, scratch) = (file.to_owned(), scratch.to_owned());
    let archive = blocking(move || TarFile::open_file(&path, &scratch)).await?;
    let transport = match form {
        Form::Docker => "docker-archive",
        Form::Oci => "oci-archive",
    };
    open_archive(name, format!("{transport} {}", file.display()), archive, form, pick, wanted).await
}

pub(super) async fn open_archive(
    name: &str,
    origin: String,
    archive: TarFile,
    form: Form,
    pick: &Pick,
    wanted: &Platform,
) -> Result<Opened, SourceError> {
    let form = match (archive.has("manifest.json"), archive.has("index.json")) {
        (true, true) => form,
        (true, false) => Form::Docker,
        (false, true) => Form::Oci,
        (false, false) if legacy::is_legacy(&archive) => {
            let (name, pick) = (name.to_owned(), pick.clone());
            return blocking(move || open_legacy(&name, origin, archive, &pick)).await;
        }
        (false, false) => {
            let why = archive.cut().map_or("so it is no image".to_owned(), |cut| format!("and {cut}"));
            let message = format!("{origin}: there is neither a manifest.json nor an index.json in it, {why}");
            return Err(SourceError::new(SourceErrorKind::Damaged, message));
        }
    };
    let files = Arc::new(Files::Archive(archive));
    match form {
        Form::Oci => layout::open(name, origin, files, pick, wanted).await,
        Form::Docker => {
            let has_index = files.read("index.json")?.is_some();
            let (docker_name, docker_pick) = (name.to_owned(), pick.clone());
            let (docker_files, docker_origin) = (files.clone(), origin.clone());
            let found = blocking(move || open_docker(&docker_name, docker_origin, docker_files, &docker_pick)).await?;
            // Of several platforms, manifest.json has one.
            if has_index && found.config.platform().distance(wanted).is_none() {
                let other = layout::open(name, origin, files, pick, wanted).await;
                return Ok(other.ok().filter(|it| it.config.platform().distance(wanted).is_some()).unwrap_or(found));
            }
            Ok(found)
        }
    }
}

fn open_docker(name: &str, origin: String, files: Arc<Files>, pick: &Pick) -> Result<Opened, SourceError> {
    let damaged = |why: String| SourceError::new(SourceErrorKind::Damaged, format!("{origin}: {why}"));
    let bytes = files.read("manifest.json")?.unwrap_or_default();
    let images: Vec<DockerImage> =
        document::read(&bytes).map_err(|error| damaged(format!("its manifest.json cannot be read: {error}")))?;
    let image = picked(&origin, &images, pick)?;
    let config_bytes = files.read(&image.config)?.ok_or_else(|| {
        SourceError::new(SourceErrorKind::Missing, format!("{origin}: {:?} is not in it", image.config))
    })?;
    let is = Digest::of(&config_bytes);
    if let Some(should) = digest_in_name(&image.config).filter(|should| *should != is) {
        return Err(wrong_digest(&format!("{origin}: the configuration {:?}", image.config), &should, &is));
    }
    let config = parse_config(&config_bytes, &origin)?;
    let names = image.layers.clone().unwrap_or_default();
    if names.len() != config.rootfs.diff_ids.len() {
        return Err(SourceError::new(SourceErrorKind::Damaged, layers_differ(&origin, names.len(), &config)));
    }
    let mut layers = Vec::new();
    for (member, diff_id) in names.iter().zip(&config.rootfs.diff_ids) {
        // A layer that is not there may be on this machine already; if it is not, that is said when it is needed.
        let Some(place) = files.place(member)? else {
            let digest = digest_in_blob_name(member);
            let urls = image.layer_sources.get(&diff_id.to_string()).and_then(|it| it.urls.clone()).unwrap_or_default();
            layers.push(LayerBlob { digest, diff_id: diff_id.clone(), size: 0, urls });
            continue;
        };
        // Where no name says what the bytes hash to, the diff_id does, unless they are compressed.
        let start = beginning(&place).map_err(|error| io_error(files.path(), &error))?;
        let is_plain = start.get(257..262) == Some(b"ustar");
        let digest = digest_in_blob_name(member).or_else(|| is_plain.then(|| diff_id.clone()));
        layers.push(LayerBlob { digest, diff_id: diff_id.clone(), size: place.size, urls: Vec::new() });
    }
    Ok(Opened {
        name: name.to_owned(),
        manifest: None,
        config,
        config_bytes,
        annotations: Default::default(),
        blobs: Arc::new(FileBlobs { files, names, layers: layers.clone(), inline: Vec::new(), origin: origin.clone() }),
        origin,
        layers,
    })
}

fn open_legacy(name: &str, origin: String, archive: TarFile, pick: &Pick) -> Result<Opened, SourceError> {
    let legacy::Image { config, names } = legacy::image(&origin, &archive, pick)?;
    let layer = |(name, diff_id): (&String, &Digest)| {
        let size = archive.place(name).map_or(0, |place| place.size);
        LayerBlob { digest: None, diff_id: diff_id.clone(), size, urls: Vec::new() }
    };
    let layers: Vec<LayerBlob> = names.iter().zip(&config.rootfs.diff_ids).map(layer).collect();
    let config_bytes = serde_json::to_vec(&config)
        .map_err(|error| SourceError::new(SourceErrorKind::Damaged, format!("{origin}: {error}")))?;
    let files = Arc::new(Files::Archive(archive));
    Ok(Opened {
        name: name.to_owned(),
        manifest: None,
        config,
        config_bytes,
        annotations: Default::default(),
        blobs: Arc::new(FileBlobs { files, names, layers: layers.clone(), inline: Vec::new(), origin: origin.clone() }),
        origin,
        layers,
    })
}

/// Enough of a layer to tell an archive from what is compressed.
fn beginning(place: &Place) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(&place.path)?;
    file.seek(SeekFrom::Start(place.offset))?;
    let mut start = Vec::new();
    file.take(place.size.min(512)).read_to_end(&mut start)?;
    Ok(start)
}

fn picked<'a>(origin: &str, images: &'a [DockerImage], pick: &Pick) -> Result<&'a DockerImage, SourceError> {
    let tags = |image: &'a DockerImage| image.repo_tags.iter().flatten();
    let found = match pick {
        Pick::Any => match images {
            [one] => Some(one),
            several => {
                let mut latest = several.iter().filter(|image| tags(image).any(|tag| has_tag(tag, "latest")));
                latest.next().filter(|_| latest.next().is_none())
            }
        },
        Pick::Name(name) => images.iter().find(|image| {
            tags(image).any(|tag| reference::normalized(tag) == reference::normalized(name) || has_tag(tag, name))
        }),
        Pick::Digest(digest) => images.iter().find(|image| digest_in_name(&image.config).as_ref() == Some(digest)),
        Pick::Position(position) => images.get(*position),
    };
    found.ok_or_else(|| {
        let names: Vec<String> = images.iter().flat_map(tags).take(50).cloned().collect();
        let what = match pick {
            Pick::Any if images.is_empty() => "it has no image".to_owned(),
            Pick::Any if names.is_empty() => {
                "it has several images, and no names for them: say which by its position, :@0 for the first".to_owned()
            }
            Pick::Any => "it has several images: say which".to_owned(),
            Pick::Name(name) => format!("it has no image named {name:?}"),
            Pick::Digest(digest) => format!("it has no image with the id {digest}"),
            Pick::Position(position) => format!("it has no image at position {position}"),
        };
        layout::not_picked(origin, &what, &names, pick)
    })
}

fn has_tag(reference: &str, tag: &str) -> bool {
    reference.parse::<Reference>().is_ok_and(|it| it.tag() == Some(tag))
}

/// `HEX.json` and `blobs/sha256/HEX` say what their content hashes to.
fn digest_in_name(name: &str) -> Option<Digest> {
    let file = name.rsplit('/').next()?;
    format!("sha256:{}", file.strip_suffix(".json").unwrap_or(file)).parse().ok()
}

fn digest_in_blob_name(name: &str) -> Option<Digest> {
    digest_in_name(name).filter(|_| name.trim_start_matches("./").starts_with("blobs/sha256/"))
}
