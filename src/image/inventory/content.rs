//! Contents of files, looked up in the blobs.

use super::blob::{Common, Input, Limit};
use super::walk::{Piece, Walk};
use super::{Blobs, Inventory};
use crate::image::compression;
use crate::image::fetch::io_error;
use crate::image::source::{Place, SourceError, SourceErrorKind, blocking};
use crate::image::tar_reader::{TarError, TarKind, TarReader};
use crate::layers::path::clean;
use crate::layers::{ContentHash, ContentHasher, Entry};
use bstr::{BStr, BString};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, Read, Seek, SeekFrom};
use std::sync::PoisonError;

/// Bytes of files, holes included, that are hashed at once.
const MOST_HASHED: u64 = 64 << 30;

impl Inventory {
    /// At most `limit` bytes of a regular file from `offset`, as layer `layer` has it. The path is one of the tree's.
    /// Takes as long as reading the layer does; a blob that is not here any more, or not yet, is fetched.
    pub async fn content(&self, layer: u32, path: &BStr, offset: u64, limit: usize) -> Result<Vec<u8>, SourceError> {
        let mut found = self.stretches(vec![(layer, path.to_owned())], offset, limit).await?;
        Ok(found.pop().unwrap_or_default())
    }

    /// The same of many files.
    pub async fn stretches(
        &self,
        files: Vec<(u32, BString)>,
        offset: u64,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, SourceError> {
        let stretches = files.iter().map(|_| Stretch { offset, limit, bytes: Vec::new(), size: 0 }).collect();
        let take = |all: &mut Vec<Stretch>, files: &[usize], piece: Piece<'_>| {
            files.iter().for_each(|file| all[*file].take(piece));
        };
        let (stretches, missing) = self.contents(files.clone(), stretches, take).await?;
        if let Some((layer, path)) = missing.first().map(|file| &files[*file]) {
            let message = format!("{}: layer {layer} has no file {path:?}", self.origin);
            return Err(SourceError::new(SourceErrorKind::Missing, message));
        }
        Ok(stretches.into_iter().map(Stretch::finish).collect())
    }

    /// The hashes of files, `None` for those that are nowhere, or too large to be read for it.
    pub async fn hashes(&self, files: Vec<(u32, BString)>) -> Result<Vec<Option<ContentHash>>, SourceError> {
        let hashes = Hashes { files: files.iter().map(|_| None).collect(), left: MOST_HASHED };
        let (hashes, _) = self.contents(files, hashes, Hashes::take).await?;
        Ok(hashes.files.into_iter().map(|it| it.map(|(hasher, size)| hasher.finish(size))).collect())
    }

    /// Reads the contents of regular files, each named by the layer that has it and its path in the tree. A layer is
    /// read once, however many of them it has, and once more for its hard links. `take` gets what comes, with the
    /// places in the list of the files that it belongs to. Answers with what has become of `state`, and the places of
    /// those that are nowhere.
    pub async fn contents<S: Send + 'static>(
        &self,
        files: Vec<(u32, BString)>,
        mut state: S,
        take: fn(&mut S, &[usize], Piece<'_>),
    ) -> Result<(S, Vec<usize>), SourceError> {
        let mut waiting: BTreeMap<u32, Vec<Wanted>> = BTreeMap::new();
        for (file, (layer, path)) in files.into_iter().enumerate() {
            waiting.entry(layer).or_default().push(Wanted { file, path, before: u64::MAX });
        }
        let mut missing = Vec::new();
        // Links lead to what their own layer has before them, or to lower layers.
        while let Some((layer, wanted)) = waiting.pop_last() {
            self.fetch(layer).await?;
            let this = self.clone();
            let read = move || this.read(layer, wanted, &mut state, take).map(|elsewhere| (state, elsewhere));
            let elsewhere;
            (state, elsewhere) = blocking(read).await?;
            for (layer, wanted) in elsewhere {
                match layer {
                    Some(layer) => waiting.entry(layer).or_default().push(wanted),
                    None => missing.push(wanted.file),
                }
            }
        }
        Ok((state, missing))
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

    /// Reads a layer for what it has of these files. Answers with those that are to be looked for elsewhere, and in
    /// which layer, if there is one.
    fn read<S>(
        &self,
        layer: u32,
        wanted: Vec<Wanted>,
        state: &mut S,
        take: fn(&mut S, &[usize], Piece<'_>),
    ) -> Result<Vec<(Option<u32>, Wanted)>, SourceError> {
        let place = self.place(layer)?;
        let mut by_path: HashMap<&BString, Vec<usize>> = HashMap::new();
        for (at, wanted) in wanted.iter().enumerate() {
            by_path.entry(&wanted.path).or_default().push(at);
        }
        let mut found: Vec<Found> = wanted.iter().map(|_| Found::Nothing).collect();
        // What the layer's links are names for, and since which member.
        let mut links: HashMap<BString, (BString, u64)> = HashMap::new();
        let mut now: Vec<usize> = Vec::new();
        let common = Common::default();
        let result = with_archive(&place, &common, |input| {
            every(input, &mut |member, path, told| {
                let here = by_path.get(path).into_iter().flatten().filter(|at| member < wanted[**at].before);
                match told {
                    Told::Piece(piece) => {
                        if let Piece::Begins(_) = piece {
                            links.remove(path);
                            now.clear();
                            for at in here {
                                found[*at] = Found::Content(member);
                                now.push(wanted[*at].file);
                            }
                        }
                        if !now.is_empty() {
                            take(state, &now, piece);
                        }
                    }
                    Told::Link(target) => {
                        let origin = links.get(target).cloned().unwrap_or_else(|| (target.clone(), member));
                        here.for_each(|at| found[*at] = Found::Link(origin.clone()));
                        links.insert(path.clone(), origin);
                    }
                }
            })
        });
        // What comes before the damage is whole.
        if let Err((whole, error)) = result {
            let is_whole = |it: &Found| match it {
                Found::Content(member) => *member < whole,
                Found::Link(_) => true,
                Found::Nothing => false,
            };
            if !found.iter().all(is_whole) {
                let message = format!("{}: layer {layer}: {error}", self.origin);
                return Err(SourceError::new(SourceErrorKind::Damaged, message));
            }
        }
        let elsewhere = wanted.into_iter().zip(found).filter_map(|(wanted, found)| match found {
            Found::Content(_) => None,
            Found::Link((path, before)) => Some((Some(layer), Wanted { path, before, ..wanted })),
            // A hard link may lead out of its layer.
            Found::Nothing => {
                let below = self.tree.at(layer);
                let below = below.lookup(wanted.path.as_ref()).map(|node| below.layer(node)).filter(|it| *it < layer);
                Some((below, Wanted { before: u64::MAX, ..wanted }))
            }
        });
        Ok(elsewhere.collect())
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
}

/// A file whose content is looked for.
struct Wanted {
    /// Its place in the list.
    file: usize,
    path: BString,
    /// Members of the archive from this one on do not count: a hard link is a name for what was there when it was
    /// made.
    before: u64,
}

/// What a layer has at a path.
#[derive(Clone)]
enum Found {
    Nothing,
    /// The content is that of this member.
    Content(u64),
    /// A name for what another path had before a member.
    Link((BString, u64)),
}

/// What an archive's member says of a path.
enum Told<'t> {
    Piece(Piece<'t>),
    /// It is a further name for what is at the target just now.
    Link(&'t BString),
}

fn with_archive<T>(
    place: &Place,
    common: &Common,
    work: impl FnOnce(&mut dyn BufRead) -> Result<T, (u64, TarError)>,
) -> Result<T, (u64, TarError)> {
    let behind = Cell::new(false);
    let opened = || {
        let mut file = File::open(&place.path)?;
        file.seek(SeekFrom::Start(place.offset))?;
        let blob = Input::new(file.take(place.size), 256 << 10, Limit::none(common));
        compression::decode_leniently(blob, &behind)
    };
    let (_, decoded) = opened().map_err(|error| (0, error.into()))?;
    work(&mut Input::new(decoded, 128 << 10, Limit::none(common)))
}

/// Tells of the members of an archive, by their numbers. Of several for a path the last one holds, so it is read to its
/// end; an error comes with the number of members before it.
fn every(input: &mut dyn BufRead, tell: &mut dyn FnMut(u64, &BString, Told<'_>)) -> Result<(), (u64, TarError)> {
    let mut archive = TarReader::new(input);
    let mut walk = Walk::default();
    let mut number = 0;
    while let Some(member) = archive.next_good(|_, _| ()).map_err(|error| (number, error))? {
        let (kind, target) = (member.kind, member.target.clone());
        let mut link = None;
        let mut tap = |path: &BString, piece: Piece<'_>| tell(number, path, Told::Piece(piece));
        let walked = walk.member(member, &mut archive, &mut tap, &mut |entry| match entry {
            Entry::Link { path, target, .. } => link = Some((path.clone(), target.clone())),
            // A name for what AUFS keeps elsewhere in the archive.
            Entry::Put { path, .. } if kind == TarKind::HardLink => {
                link = Some((path.clone(), clean(target.as_ref())));
            }
            _ => {}
        });
        walked.map_err(|error| (number, error))?;
        if let Some((path, target)) = link {
            tell(number, &path, Told::Link(&target));
        }
        number += 1;
    }
    Ok(())
}

/// Bytes of a file between `offset` and `limit` bytes later.
struct Stretch {
    offset: u64,
    limit: usize,
    bytes: Vec<u8>,
    /// Of the whole file.
    size: u64,
}

impl Stretch {
    fn take(&mut self, piece: Piece<'_>) {
        let (start, bytes) = match piece {
            Piece::Begins(size) => {
                self.size = size;
                self.bytes.clear();
                return;
            }
            Piece::Bytes(start, bytes) => (start, bytes),
        };
        let end = self.offset.saturating_add(self.limit as u64);
        let within = |at: u64| at.saturating_sub(start).min(bytes.len() as u64) as usize;
        let wanted = &bytes[within(self.offset)..within(end)];
        if wanted.is_empty() {
            return;
        }
        // Holes before it are zeros.
        self.bytes.resize((start + within(self.offset) as u64 - self.offset) as usize, 0);
        self.bytes.extend_from_slice(wanted);
    }

    fn finish(mut self) -> Vec<u8> {
        // Holes at the end, too.
        self.bytes.resize(self.size.saturating_sub(self.offset).min(self.limit as u64) as usize, 0);
        self.bytes
    }
}

/// Hashes of files, with their sizes.
struct Hashes {
    files: Vec<Option<(ContentHasher, u64)>>,
    /// Bytes that may still be hashed.
    left: u64,
}

impl Hashes {
    fn take(&mut self, files: &[usize], piece: Piece<'_>) {
        for file in files {
            let file = &mut self.files[*file];
            match piece {
                Piece::Begins(size) => {
                    let left = self.left.checked_sub(size);
                    self.left = left.unwrap_or(self.left);
                    *file = left.map(|_| (ContentHasher::default(), size));
                }
                Piece::Bytes(offset, bytes) => file.iter_mut().for_each(|(hasher, _)| hasher.take(offset, bytes)),
            }
        }
    }
}
