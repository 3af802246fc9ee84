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

    async fn fetch(&self, layer: u32) -> Result<(), SourceError> {
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
        let mut path = path.to_owned();
        for _ in 0..MOST_LINKS {
            match self.find(layer, &path, offset, limit)? {
                Looked::Content(bytes) => return Ok(bytes),
                Looked::Link(target) => path = target,
                Looked::Nothing => break,
            }
        }
        let message = format!("{}: layer {layer} has no file {path:?}", self.origin);
        Err(SourceError::new(SourceErrorKind::Missing, message))
    }

    fn find(&self, layer: u32, path: &BString, offset: u64, limit: usize) -> Result<Looked, SourceError> {
        let place = {
            let blobs: &Blobs = &self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
            blobs.places.get(layer as usize).cloned().flatten()
        };
        let place = place.ok_or_else(|| {
            let message = format!("{}: the blob of layer {layer} is not here", self.origin);
            SourceError::new(SourceErrorKind::Missing, message)
        })?;
        let common = Common::default();
        find(&place, &common, path, offset, limit).map_err(|error| {
            let message = format!("{}: layer {layer}: {error}", self.origin);
            SourceError::new(SourceErrorKind::Damaged, message)
        })
    }
}

enum Looked {
    Content(Vec<u8>),
    Link(BString),
    Nothing,
}

fn find(place: &Place, common: &Common, path: &BString, offset: u64, limit: usize) -> Result<Looked, TarError> {
    let mut file = File::open(&place.path)?;
    file.seek(SeekFrom::Start(place.offset))?;
    let mut blob = Input::new(file.take(place.size), 256 << 10, Limit::none(common));
    let format = compression::sniff(blob.fill_buf()?);
    match format {
        compression::Format::Plain => search(&mut blob, path, offset, limit),
        _ => {
            let (_, decoded) = compression::decode(blob)?;
            search(&mut Input::new(decoded, 128 << 10, Limit::none(common)), path, offset, limit)
        }
    }
}

/// Of several members for a path the last one holds, so the whole archive is read.
fn search(input: &mut impl BufRead, path: &BString, offset: u64, limit: usize) -> Result<Looked, TarError> {
    let mut archive = TarReader::new(input);
    let mut walk = Walk::default();
    let mut last = Looked::Nothing;
    while let Some(member) = archive.next_entry()? {
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
