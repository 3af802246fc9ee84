//! Contents of files, looked up in the blobs.

use super::blob::{Common, Input, Limit};
use super::walk::{Piece, Walk};
use super::{Blobs, Inventory};
use crate::image::compression::{self, Format, sniff};
use crate::image::fetch::io_error;
use crate::image::source::{Place, SourceError, SourceErrorKind, blocking};
use crate::image::tar_reader::{TarError, TarKind, TarReader};
use crate::layers::path::clean;
use crate::layers::{ContentHash, ContentHasher, Entry};
use bstr::{BStr, BString};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::sync::PoisonError;

/// Bytes of files, holes included, that are hashed at once.
const MOST_HASHED: u64 = 64 << 30;

impl Inventory {
    /// At most `limit` bytes of a regular file from `offset`, as layer `layer` has it. The path is one of the tree's.
    /// Of a compressed layer it takes as long as uncompressing it does, of another one no other file is read; a blob that
    /// is not here any more, or not yet, is fetched.
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
        let result = every_of(&place, &mut |member, path, told| {
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
            !now.is_empty()
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

/// What tells of an archive's members, by their numbers and paths. The answer is whether the content that begins is
/// wanted.
type Tell<'t> = dyn FnMut(u64, &BString, Told<'_>) -> bool + 't;

/// Tells of the members of the layer at a place.
fn every_of(place: &Place, tell: &mut Tell<'_>) -> Result<(), (u64, TarError)> {
    let opened = || -> io::Result<(Stored<File>, Format)> {
        let mut file = File::open(&place.path)?;
        file.seek(SeekFrom::Start(place.offset))?;
        let mut stored = Stored::new(file, place.size);
        let format = sniff(stored.fill_buf()?);
        Ok((stored, format))
    };
    let failed = |error: io::Error| (0, error.into());
    let (stored, format) = opened().map_err(failed)?;
    if format == Format::Plain {
        return every(TarReader::new(stored).passing(Stored::pass), tell);
    }
    let (common, behind) = (Common::default(), Cell::new(false));
    let (_, decoded) = compression::decode_leniently(stored, &behind).map_err(failed)?;
    every(TarReader::new(Input::new(decoded, 128 << 10, Limit::none(&common))), tell)
}

/// A part of a file: what is passed over is not read.
struct Stored<R> {
    input: BufReader<R>,
    left: u64,
}

/// Bytes that are read at once. Of small files, many headers come with one reading; of large ones, little else does.
const AT_ONCE: usize = 32 << 10;

impl<R: Read + Seek> Stored<R> {
    fn new(input: R, size: u64) -> Stored<R> {
        Stored { input: BufReader::with_capacity(AT_ONCE, input), left: size }
    }

    fn pass(&mut self, bytes: u64) -> io::Result<u64> {
        let bytes = bytes.min(self.left);
        self.input.seek_relative(i64::try_from(bytes).map_err(io::Error::other)?)?;
        self.left -= bytes;
        Ok(bytes)
    }
}

impl<R: Read> Read for Stored<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

impl<R: Read> BufRead for Stored<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let bytes = self.input.fill_buf()?;
        Ok(&bytes[..bytes.len().min(left)])
    }

    fn consume(&mut self, amount: usize) {
        self.input.consume(amount);
        self.left -= amount as u64;
    }
}

/// Tells of the members of an archive. Of several for a path the last one holds, so it is gone through to its end; an
/// error comes with the number of members before it.
fn every<R: BufRead>(mut archive: TarReader<R>, tell: &mut Tell<'_>) -> Result<(), (u64, TarError)> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// Counts what is read of it.
    struct Counted {
        bytes: Cursor<Vec<u8>>,
        read: usize,
    }

    impl Read for Counted {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.bytes.read(buffer)?;
            self.read += length;
            Ok(length)
        }
    }

    impl Seek for Counted {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.bytes.seek(to)
        }
    }

    /// What is told of `wanted` in an archive of files with so many bytes, of which `size` are there.
    fn told(files: &[(&str, usize)], size: Option<usize>, wanted: &str) -> (Result<(), String>, usize, usize) {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, length) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(*length as u64);
            archive.append_data(&mut header, path, vec![b'x'; *length].as_slice()).unwrap();
        }
        let bytes = archive.into_inner().unwrap();
        let size = size.unwrap_or(bytes.len()) as u64;
        let mut counted = Counted { bytes: Cursor::new(bytes), read: 0 };
        let mut got = 0;
        let archive = TarReader::new(Stored::new(&mut counted, size)).passing(Stored::pass);
        let result = every(archive, &mut |_, path, told| {
            if let Told::Piece(Piece::Bytes(_, bytes)) = told {
                assert_eq!(path, wanted);
                got += bytes.len();
            }
            path == wanted
        });
        (result.map_err(|(members, error)| format!("{members}: {error}")), got, counted.read)
    }

    #[test]
    fn no_more_is_read_than_what_is_wanted() {
        const MIB: usize = 1 << 20;
        let files = [("a", 8 * MIB), ("b", 3), ("c", MIB), ("d", 8 * MIB)];
        for (wanted, length) in [("b", 3), ("c", MIB), ("e", 0)] {
            let (result, got, read) = told(&files, None, wanted);
            assert_eq!((result, got), (Ok(()), length), "{wanted}");
            assert!(read < length + 6 * AT_ONCE, "{wanted}: {read}");
        }
    }

    #[test]
    fn what_ends_too_early_is_told() {
        let check = |size: usize, expected: &str| {
            let (result, _, _) = told(&[("a", 2000), ("b", 2000)], Some(size), "b");
            assert_eq!(result.err().as_deref(), Some(expected), "{size}");
        };
        check(600, "1: the archive ends in the middle of a file");
        check(2600, "1: the archive ends in the middle of a header");
        check(3500, "1: the archive ends in the middle of a file");
    }
}
