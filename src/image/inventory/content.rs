//! Contents of files, looked up in the blobs.

use super::blob::{Common, Input, Limit};
use super::walk::Walk;
use super::{Blobs, Inventory};
use crate::image::compression;
use crate::image::fetch::io_error;
use crate::image::source::{Place, SourceError, SourceErrorKind, blocking};
use crate::image::tar_reader::{TarError, TarKind, TarReader};
use crate::layers::Entry;
use crate::layers::path::clean;
use bstr::{BStr, BString};
use std::fs::File;
use std::io::{BufRead, Read, Seek, SeekFrom};
use std::sync::PoisonError;

/// Hard links from link to link.
const MOST_LINKS: usize = 8;

impl Inventory {
    /// At most `limit` bytes of a regular file from `offset`, as layer `layer` has it. The path is one of the tree's.
    /// Takes as long as reading the layer does; a blob that is not here any more, or not yet, is fetched.
    pub async fn content(&self, layer: u32, path: &BStr, offset: u64, limit: usize) -> Result<Vec<u8>, SourceError> {
        self.fetch(layer).await?;
        let (this, path) = (self.clone(), path.to_owned());
        blocking(move || this.read(layer, path.as_ref(), offset, limit)).await
    }

    /// Sees to it that a layer's blob is here.
    pub async fn fetch(&self, layer: u32) -> Result<(), SourceError> {
        let index = layer as usize;
        let (source, into) = {
            let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
            if blobs.places.get(index).is_none_or(Option::is_some) {
                return Ok(());
            }
            let Some(source) = blobs.source.clone() else { return Ok(()) };
            if blobs.fetched.is_none() {
                blobs.fetched = Some(super::scratch(&blobs.scratch)?);
            }
            let into = blobs.fetched.as_ref().map(|dir| dir.path().join(format!("again-{index}"))).unwrap_or_default();
            (source, into)
        };
        source.0.fetch(index, &into, &|_| ()).await?;
        let size = into.metadata().map_err(|error| io_error(&into, &error))?.len();
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = blobs.places.get_mut(index) {
            *place = Some(Place { path: into, offset: 0, size });
        }
        Ok(())
    }

    /// The same without fetching, on a thread that may wait.
    pub fn read(&self, layer: u32, path: &BStr, offset: u64, limit: usize) -> Result<Vec<u8>, SourceError> {
        let (mut path, mut layer) = (path.to_owned(), layer);
        for _ in 0..MOST_LINKS {
            match self.find(layer, &path, offset, limit)? {
                Looked::Content(bytes) => return Ok(bytes),
                Looked::Link(target) => path = target,
                // A hard link may lead out of its layer.
                Looked::Nothing => match self.layer_below(layer, path.as_ref()) {
                    Some(below) => layer = below,
                    None => break,
                },
            }
        }
        let message = format!("{}: layer {layer} has no file {path:?}", self.origin);
        Err(SourceError::new(SourceErrorKind::Missing, message))
    }

    /// Shows the content of every regular file in a layer to `tap`, in one pass: where it belongs, the offset, the
    /// bytes; holes are left out. A path may come several times, and the last holds. Answers with the layer's hard
    /// links and their targets. The blob has to be here.
    pub fn read_through(
        &self,
        layer: u32,
        tap: &mut dyn FnMut(&BString, u64, &[u8]),
    ) -> Result<Vec<(BString, BString)>, SourceError> {
        let place = self.place(layer)?;
        let common = Common::default();
        let result = with_archive(&place, &common, |input| every(input, tap));
        result.map_err(|error| self.damaged(layer, &error))
    }

    /// The layer under another that has what is at a path there.
    pub fn layer_below(&self, layer: u32, path: &BStr) -> Option<u32> {
        let below = self.tree.at(layer);
        below.lookup(path).map(|node| below.layer(node)).filter(|it| *it < layer)
    }

    fn find(&self, layer: u32, path: &BString, offset: u64, limit: usize) -> Result<Looked, SourceError> {
        let place = self.place(layer)?;
        let common = Common::default();
        let result = with_archive(&place, &common, |input| search(input, path, offset, limit));
        result.map_err(|error| self.damaged(layer, &error))
    }

    fn place(&self, layer: u32) -> Result<Place, SourceError> {
        let place = {
            let blobs: &Blobs = &self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
            blobs.places.get(layer as usize).cloned().flatten()
        };
        place.ok_or_else(|| {
            let message = format!("{}: the blob of layer {layer} is not here", self.origin);
            SourceError::new(SourceErrorKind::Missing, message)
        })
    }

    fn damaged(&self, layer: u32, error: &TarError) -> SourceError {
        SourceError::new(SourceErrorKind::Damaged, format!("{}: layer {layer}: {error}", self.origin))
    }
}

enum Looked {
    Content(Vec<u8>),
    Link(BString),
    Nothing,
}

fn with_archive<T>(
    place: &Place,
    common: &Common,
    work: impl FnOnce(&mut dyn BufRead) -> Result<T, TarError>,
) -> Result<T, TarError> {
    let mut file = File::open(&place.path)?;
    file.seek(SeekFrom::Start(place.offset))?;
    let mut blob = Input::new(file.take(place.size), 256 << 10, Limit::none(common));
    let format = compression::sniff(blob.fill_buf()?);
    match format {
        compression::Format::Plain => work(&mut blob),
        _ => {
            let (_, decoded) = compression::decode(blob)?;
            work(&mut Input::new(decoded, 128 << 10, Limit::none(common)))
        }
    }
}

fn every(
    input: &mut dyn BufRead,
    tap: &mut dyn FnMut(&BString, u64, &[u8]),
) -> Result<Vec<(BString, BString)>, TarError> {
    let mut archive = TarReader::new(input);
    let mut walk = Walk::default();
    let mut links = Vec::new();
    while let Some(member) = archive.next_good(|_, _| ())? {
        let (kind, target) = (member.kind, member.target.clone());
        walk.member(member, &mut archive, tap, &mut |entry| match entry {
            Entry::Link { path, target } => links.push((path.clone(), target.clone())),
            // A name for what AUFS keeps elsewhere in the archive.
            Entry::Put { path, .. } if kind == TarKind::HardLink => {
                links.push((path.clone(), clean(target.as_ref())));
            }
            _ => {}
        })?;
    }
    Ok(links)
}

/// Of several members for a path the last one holds, so the whole archive is read.
fn search(input: &mut dyn BufRead, path: &BString, offset: u64, limit: usize) -> Result<Looked, TarError> {
    let mut archive = TarReader::new(input);
    let mut walk = Walk::default();
    let mut last = Looked::Nothing;
    while let Some(member) = archive.next_good(|_, _| ())? {
        let (size, kind, target) = (member.size, member.kind, member.target.clone());
        let mut kept = None;
        let mut keep = |at: &BString, start: u64, bytes: &[u8]| {
            if at == path {
                take(kept.get_or_insert_default(), start, bytes, offset, limit);
            }
        };
        let mut here = None;
        walk.member(member, &mut archive, &mut keep, &mut |entry| {
            if entry.path() == path {
                here = Some(match entry {
                    Entry::Link { target, .. } => Looked::Link(target.clone()),
                    // A name for what AUFS keeps elsewhere in the archive.
                    _ if kind == TarKind::HardLink => Looked::Link(clean(target.as_ref())),
                    _ => Looked::Content(Vec::new()),
                });
            }
        })?;
        let content = |kept: Option<Vec<u8>>| {
            let mut kept = kept.unwrap_or_default();
            // Holes at the end are zeros, too.
            kept.resize(size.saturating_sub(offset).min(limit as u64) as usize, 0);
            Looked::Content(kept)
        };
        match here {
            Some(Looked::Content(_)) => last = content(kept),
            Some(link) => last = link,
            None if kept.is_some() => last = content(kept),
            None => {}
        }
    }
    Ok(last)
}

/// Adds what a stretch of the content has between `offset` and `limit` bytes later.
fn take(kept: &mut Vec<u8>, start: u64, bytes: &[u8], offset: u64, limit: usize) {
    let end = offset.saturating_add(limit as u64);
    let within = |at: u64| at.saturating_sub(start).min(bytes.len() as u64) as usize;
    let wanted = &bytes[within(offset)..within(end)];
    if wanted.is_empty() {
        return;
    }
    // Holes before it are zeros.
    kept.resize((start + within(offset) as u64 - offset) as usize, 0);
    kept.extend_from_slice(wanted);
}
