//! One layer's blob, read where it lies.

use super::hashing::{Buffers, Digests, Hashing};
use super::record::Writer;
use super::walk::{Found, Walk};
use crate::image::compression::{self, Format};
use crate::image::digest::Digest;
use crate::image::source::Place;
use crate::image::tar_reader::{TarError, TarReader};
use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Entries of a layer. The largest images known have about a million files.
pub(super) const MAX_ENTRIES: u64 = 4_000_000;

/// Bytes that the records of all layers may take while they wait to be merged.
pub(super) const MAX_RECORDS: usize = 512 << 20;

/// A layer is read to here whatever its blob's size, and beyond it [`MAX_RATIO`] times its blob.
const FREE_BYTES: u64 = 4 << 30;
const MAX_RATIO: u64 = 400;

const BLOB_BUFFER: usize = 256 << 10;
const ARCHIVE_BUFFER: usize = 128 << 10;

/// What is wanted of a blob.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// For messages: the layer and where it is from.
    pub(super) what: String,
    pub(super) place: Place,
    /// Whether its bytes were held against its digest on their way here.
    pub(super) is_checked: bool,
    pub(super) digest: Option<Digest>,
    pub(super) diff_id: Digest,
    /// Hold an uncompressed blob against its digest, too.
    pub(super) thorough: bool,
    /// Hold what comes out of a compressed blob against its diff_id, too.
    pub(super) twice: bool,
}

/// What is shared by all that read layers of one image.
#[derive(Debug, Default)]
pub(super) struct Common {
    /// Bytes of records.
    pub(super) records: AtomicUsize,
    pub(super) cancelled: AtomicBool,
    pub(super) digests: Arc<Digests>,
}

/// A layer that has been read, or as much of it as can be.
#[derive(Debug, Clone)]
pub(super) struct Index {
    pub(super) records: Vec<u8>,
    /// Members of the archive.
    pub(super) entries: u64,
    /// Bytes of the archive.
    pub(super) unpacked: u64,
    /// Bytes of the blob, 0 if there is none.
    pub(super) stored: u64,
    pub(super) format: Format,
    pub(super) found: Found,
    /// Whether the bytes are known to be those that the digest names.
    pub(super) checked: bool,
    /// Why the rest of it is missing.
    pub(super) broken: Option<String>,
}

impl Index {
    pub(super) fn nothing(why: String) -> Index {
        Index {
            records: Vec::new(),
            entries: 0,
            unpacked: 0,
            stored: 0,
            format: Format::Plain,
            found: Found::default(),
            checked: false,
            broken: Some(why),
        }
    }
}

/// Reads a layer to its end, or to where it cannot be read any further. `progress` gets the blob's bytes so far.
pub(super) fn read(job: &Job, common: &Common, progress: &dyn Fn(u64)) -> Index {
    let opened = File::open(&job.place.path).and_then(|mut file| {
        file.seek(SeekFrom::Start(job.place.offset))?;
        Ok(file)
    });
    let file = match opened {
        Ok(file) => file,
        Err(error) => return Index::nothing(format!("{}: {}: {error}", job.what, job.place.path.display())),
    };
    let mut blob = Input::new(file.take(job.place.size), BLOB_BUFFER, Limit::none(common));
    let mut index = Index { broken: None, stored: job.place.size, ..Index::nothing(String::new()) };
    let format = match blob.fill_buf() {
        Ok(start) => compression::sniff(start),
        Err(error) => return Index::nothing(format!("{}: {error}", job.what)),
    };
    index.format = format;
    let sized = |error: Error, archive: u64, blob: u64| match format {
        Format::Plain => format!("{}: {error}, at byte {archive} of the blob", job.what),
        _ => format!("{}: {error}, at byte {blob} of the blob, byte {archive} uncompressed", job.what),
    };
    let compressed = format != Format::Plain;
    index.checked = job.is_checked;
    if !job.is_checked && (compressed || job.thorough) {
        blob.hash_what_comes();
    }
    // The blob's own digest is looked at first: it is what names the blob.
    let mut unpacks_to_other = None;
    let result = if compressed {
        let count = blob.count.clone();
        let behind = Cell::new(false);
        match compression::decode_leniently(&mut blob, &behind) {
            Err(error) => Err((error.into(), 0)),
            Ok((_, decoded)) => {
                let limit = Limit::at_most(FREE_BYTES.max(job.place.size.saturating_mul(MAX_RATIO)), common);
                let mut archive = Input::new(decoded, ARCHIVE_BUFFER, limit);
                if job.twice || job.digest.is_none() {
                    archive.hash_what_comes();
                }
                let result = entries(&mut archive, &mut index, common, &|| progress(count.get()));
                let end = archive.position();
                index.unpacked = end;
                if behind.get() {
                    let note = "behind the compressed stream there are bytes that are none, and are left out";
                    index.found.notes.push(note.to_owned());
                }
                let is = archive.hash.take().map(Hashing::finish);
                match (result, is) {
                    (Ok(()), Some(is)) if is != job.diff_id => {
                        unpacks_to_other = Some(is);
                        Ok(())
                    }
                    (Ok(()), is) => {
                        index.checked |= is.is_some();
                        Ok(())
                    }
                    (Err(error), _) => Err((error, end)),
                }
            }
        }
    } else {
        let count = blob.count.clone();
        let result = entries(&mut blob, &mut index, common, &|| progress(count.get()));
        index.unpacked = blob.position();
        // What is not compressed is what it unpacks to.
        unpacks_to_other = job.digest.clone().filter(|is| *is != job.diff_id);
        result.map_err(|error| (error, blob.position()))
    };
    let result = result.and_then(|()| {
        let end = index.unpacked;
        let failed = |error: io::Error| (Error::from(error), end);
        io::copy(&mut blob, &mut io::sink()).map_err(failed)?;
        let Some(hash) = blob.hash.take() else { return Ok(()) };
        let is = hash.finish();
        let should = job.digest.as_ref().or((!compressed).then_some(&job.diff_id));
        match should {
            Some(should) if *should != is => Err((Error::Digest { should: should.clone(), is }, end)),
            should => {
                index.checked |= should.is_some();
                Ok(())
            }
        }
    });
    let result = result.and_then(|()| match unpacks_to_other {
        Some(is) => Err((Error::DiffId { should: job.diff_id.clone(), is }, index.unpacked)),
        None => Ok(()),
    });
    progress(blob.position());
    if let Err((error, at)) = result {
        index.checked = false;
        index.broken = Some(match error {
            Error::Digest { .. } | Error::DiffId { .. } => format!("{}: {error}", job.what),
            error => sized(error, at, blob.position()),
        });
    }
    index
}

fn entries(input: &mut Input<impl Read>, index: &mut Index, common: &Common, progress: &dyn Fn()) -> Result<(), Error> {
    let mut writer = Writer::default();
    let mut walk = Walk::default();
    let count = input.count.clone();
    let mut archive = TarReader::new(input);
    let mut told = 0;
    let mut weighed = 0;
    let result = loop {
        let member = match archive.next_entry() {
            Ok(Some(member)) => Some(member),
            Ok(None) => match archive.drain() {
                Ok(true) => {
                    let note = "behind the archive's end there are more bytes, which nothing reads; they are left out";
                    walk.found.notes.push(note.to_owned());
                    break Ok(());
                }
                drained => break drained.map(drop).map_err(Error::from),
            },
            Err(TarError::Bad { path, problem }) => {
                walk.note(&path, &format!("has {problem}, and is left out"));
                None
            }
            Err(error) => break Err(error.into()),
        };
        index.entries += 1;
        if index.entries > MAX_ENTRIES {
            break Err(Error::TooMany);
        }
        if let Some(member) = member
            && let Err(error) = walk.member(member, &mut archive, &mut |_, _| true, &mut |entry| writer.entry(entry))
        {
            break Err(error.into());
        }
        let grown = writer.len() + walk.held() - weighed;
        if grown > 1 << 16 {
            weighed += grown;
            if common.records.fetch_add(grown, Ordering::Relaxed) + grown > MAX_RECORDS {
                break Err(Error::TooLarge);
            }
        }
        if count.get() - told > 1 << 20 {
            told = count.get();
            progress();
        }
    };
    // What was remembered on the way goes now.
    common.records.fetch_sub(walk.held().min(weighed), Ordering::Relaxed);
    index.records = writer.finish();
    index.found = walk.finish();
    result
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Archive(TarError),
    #[error("it cannot be read: {0}")]
    Io(io::Error),
    #[error("its digest should be {should}, and its bytes have {is}: it is damaged, or not what it is called")]
    Digest { should: Digest, is: Digest },
    #[error(
        "the image's configuration says that it unpacks to {should}, and it unpacks to {is}: it is another layer, or \
         another image's configuration"
    )]
    DiffId { should: Digest, is: Digest },
    #[error("it has more than {MAX_ENTRIES} entries, and the rest is left out")]
    TooMany,
    #[error("its names take more than {MAX_RECORDS} bytes, and the rest is left out")]
    TooLarge,
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Io(error)
    }
}

impl From<TarError> for Error {
    fn from(error: TarError) -> Error {
        match error {
            TarError::Io(error) => Error::Io(error),
            error => Error::Archive(error),
        }
    }
}

/// A buffered reader that knows how far it has been read, and hashes what it reads.
pub(super) struct Input<'c, R> {
    inner: R,
    buffers: Buffers,
    start: usize,
    end: usize,
    /// Bytes that came in.
    count: std::rc::Rc<Cell<u64>>,
    hash: Option<Hashing>,
    limit: Limit<'c>,
}

pub(super) struct Limit<'c> {
    most: u64,
    common: &'c Common,
}

impl Limit<'_> {
    pub(super) fn none(common: &Common) -> Limit<'_> {
        Limit::at_most(u64::MAX, common)
    }

    pub(super) fn at_most(most: u64, common: &Common) -> Limit<'_> {
        Limit { most, common }
    }
}

impl<'c, R: Read> Input<'c, R> {
    pub(super) fn new(inner: R, capacity: usize, limit: Limit<'c>) -> Input<'c, R> {
        Input { inner, buffers: Buffers::new(capacity), start: 0, end: 0, count: Default::default(), hash: None, limit }
    }

    /// Hashes what has not gone out yet, and all that follows.
    fn hash_what_comes(&mut self) {
        let mut hash = Hashing::begin(&self.limit.common.digests);
        hash.update(self.buffers.now(), self.start..self.end);
        self.hash = Some(hash);
    }

    /// Bytes that went out.
    pub(super) fn position(&self) -> u64 {
        self.count.get() - (self.end - self.start) as u64
    }
}

impl<R: Read> BufRead for Input<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            if self.limit.common.cancelled.load(Ordering::Relaxed) {
                return Err(io::Error::other("cancelled"));
            }
            (self.start, self.end) = (0, 0);
            let got = self.inner.read(self.buffers.fresh())?;
            self.end = got;
            let count = self.count.get() + got as u64;
            self.count.set(count);
            if count > self.limit.most {
                let message = format!(
                    "it unpacks to more than {FREE_BYTES} bytes and more than {MAX_RATIO} times its size: it is \
                     taken for a decompression bomb"
                );
                return Err(io::Error::other(message));
            }
            if let Some(hash) = &mut self.hash {
                hash.update(self.buffers.now(), 0..got);
            }
        }
        Ok(&self.buffers.now()[self.start..self.end])
    }

    fn consume(&mut self, amount: usize) {
        self.start = (self.start + amount).min(self.end);
    }
}

impl<R: Read> Read for Input<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        self.consume(length);
        Ok(length)
    }
}
