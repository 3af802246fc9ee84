//! Archives of before Docker 1.10: a `repositories` file, and a directory for each layer, whose `json` names the layer
//! below it. They have neither a configuration nor diff_ids, so both are made here as `docker load` makes them.
//!
//! Source: Docker's image specification v1.0 and v1.1.

use super::archive::TarFile;
use super::config::{History, ImageConfig, RootFs, RunConfig};
use super::digest::Digest;
use super::document;
use super::reference::Reference;
use super::source::{Pick, SourceError, SourceErrorKind};
use super::{compression, fetch};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// As many layers as Docker allowed then, and then some.
const MOST_LAYERS: usize = 1000;

/// A layer's `json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct V1 {
    parent: String,
    created: Option<String>,
    author: String,
    comment: String,
    os: String,
    architecture: String,
    config: Option<RunConfig>,
    container_config: Option<Command>,
}

/// What was run to make it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Command {
    cmd: Vec<String>,
}

/// An image of such an archive.
pub(super) struct Image {
    pub(super) config: ImageConfig,
    /// The layers' members, bottom first.
    pub(super) names: Vec<String>,
}

/// Whether the archive is one of these.
pub(super) fn is_legacy(archive: &TarFile) -> bool {
    archive.has("repositories") || archive.names().any(|name| is_json(name).is_some())
}

/// Finds an image, and reads all its layers for their diff_ids.
pub(super) fn image(origin: &str, archive: &TarFile, pick: &Pick) -> Result<Image, SourceError> {
    let damaged = |why: String| SourceError::new(SourceErrorKind::Damaged, format!("{origin}: {why}"));
    let mut id = picked(origin, archive, pick)?;
    let mut config = ImageConfig::default();
    let (mut history, mut names, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    while !id.is_empty() {
        if !seen.insert(id.clone()) || seen.len() > MOST_LAYERS {
            return Err(damaged(format!("the layers below {id} go round in a circle, or are more than {MOST_LAYERS}")));
        }
        let name = format!("{id}/json");
        let bytes = archive
            .read(&name)?
            .ok_or_else(|| SourceError::new(SourceErrorKind::Missing, format!("{origin}: {name} is not in it")))?;
        let layer: V1 =
            document::read(&bytes).map_err(|error| damaged(format!("its {name} cannot be read: {error}")))?;
        if names.is_empty() {
            config.created = layer.created.clone();
            (config.os, config.architecture) = (layer.os, layer.architecture);
            config.config = layer.config.unwrap_or_default();
        }
        history.push(History {
            created: layer.created,
            created_by: layer.container_config.unwrap_or_default().cmd.join(" "),
            author: layer.author,
            comment: layer.comment,
            empty_layer: false,
        });
        names.push(format!("{id}/layer.tar"));
        id = layer.parent;
    }
    if config.os.is_empty() {
        config.os = "linux".to_owned();
    }
    history.reverse();
    names.reverse();
    config.history = history;
    let diff_ids = names.iter().map(|name| diff_id(origin, archive, name)).collect::<Result<_, _>>()?;
    config.rootfs = RootFs { kind: "layers".to_owned(), diff_ids };
    Ok(Image { config, names })
}

fn picked(origin: &str, archive: &TarFile, pick: &Pick) -> Result<String, SourceError> {
    let missing = |why: String| SourceError::new(SourceErrorKind::Missing, format!("{origin}: {why}"));
    let mut tags: BTreeMap<String, String> = BTreeMap::new();
    if let Some(bytes) = archive.read("repositories")? {
        let repositories: BTreeMap<String, BTreeMap<String, String>> = document::read(&bytes).map_err(|error| {
            let message = format!("{origin}: its repositories cannot be read: {error}");
            SourceError::new(SourceErrorKind::Damaged, message)
        })?;
        for (name, versions) in repositories {
            tags.extend(versions.into_iter().map(|(tag, id)| (format!("{name}:{tag}"), id)));
        }
    }
    let ids: HashSet<&String> = tags.values().collect();
    let list = || tags.keys().take(50).cloned().collect::<Vec<_>>().join(", ");
    let reference = |text: &str| text.parse::<Reference>().ok();
    match pick {
        Pick::Any if ids.len() == 1 => Ok(tags.into_values().next().unwrap_or_default()),
        Pick::Any if ids.is_empty() => tops(archive)?
            .try_into()
            .map(|[one]: [String; 1]| one)
            .map_err(|_| missing("it has several images, and no names for them: say which by its position".to_owned())),
        Pick::Any => {
            let latest: HashSet<&String> =
                tags.iter().filter(|(tag, _)| tag.ends_with(":latest")).map(|(_, id)| id).collect();
            match latest.into_iter().collect::<Vec<_>>()[..] {
                [one] => Ok(one.clone()),
                _ => {
                    Err(missing("it has several images: say which".to_owned())
                        .with_help(format!("there is {}", list())))
                }
            }
        }
        Pick::Name(name) => {
            let wanted = reference(name);
            let fits = |tag: &str| {
                reference(tag).is_some_and(|it| Some(&it) == wanted.as_ref() || it.tag() == Some(name.as_str()))
            };
            let found = tags.iter().find(|(tag, _)| fits(tag)).map(|(_, id)| id.clone());
            found.ok_or_else(|| {
                missing(format!("it has no image named {name:?}")).with_help(format!("there is {}", list()))
            })
        }
        Pick::Digest(digest) => Ok(digest.hex().to_owned()),
        Pick::Position(position) => {
            let id = tops(archive)?.into_iter().nth(*position);
            id.ok_or_else(|| missing(format!("it has no image at position {position}")))
        }
    }
}

/// Layers that no other one is on.
fn tops(archive: &TarFile) -> Result<Vec<String>, SourceError> {
    let mut ids: Vec<String> = archive.names().filter_map(is_json).map(str::to_owned).collect();
    ids.sort();
    let mut below = HashSet::new();
    for id in &ids {
        let bytes = archive.read(&format!("{id}/json"))?.unwrap_or_default();
        let layer: V1 = document::read(&bytes).unwrap_or_default();
        below.insert(layer.parent);
    }
    ids.retain(|id| !below.contains(id));
    Ok(ids)
}

/// The layer of a member `ID/json`.
fn is_json(name: &str) -> Option<&str> {
    name.strip_suffix("/json").filter(|id| !id.is_empty() && !id.contains('/'))
}

fn diff_id(origin: &str, archive: &TarFile, name: &str) -> Result<Digest, SourceError> {
    let place = archive.place(name).ok_or_else(|| {
        SourceError::new(SourceErrorKind::Missing, format!("{origin}: the layer {name} is not in it"))
    })?;
    let hash = || -> io::Result<Digest> {
        let mut file = File::open(&place.path)?;
        file.seek(SeekFrom::Start(place.offset))?;
        let behind = Cell::new(false);
        let file = BufReader::with_capacity(1 << 17, file.take(place.size));
        let (_, mut layer) = compression::decode_leniently(file, &behind)?;
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 17]);
        loop {
            match layer.read(&mut buffer)? {
                0 => return Ok(Digest::from_hash(&hash.finalize())),
                length => hash.update(&buffer[..length]),
            }
        }
    };
    hash().map_err(|error| fetch::io_error(&place.path, &error))
}
