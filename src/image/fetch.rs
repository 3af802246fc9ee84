//! Bytes on their way into a file, checked as they pass.

use super::digest::Digest;
use super::http::innermost;
use super::source::{SourceError, SourceErrorKind};
use bytes::Bytes;
use reqwest::Response;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// What the bytes should turn out to be.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    /// For messages: the blob and where it is from, `layer sha256:… of registry.example/app`.
    pub(super) what: String,
    pub(super) digest: Option<Digest>,
    /// Bytes; not a byte more is written.
    pub(super) size: Option<u64>,
}

/// A new file that is removed again unless everything about it turned out right.
#[derive(Debug)]
pub(super) struct Sink {
    file: File,
    path: PathBuf,
    hash: Sha256,
    bytes: u64,
    expected: Expected,
    complete: bool,
}

impl Sink {
    pub(super) fn create(path: &Path, expected: Expected) -> Result<Sink, SourceError> {
        let file = File::create_new(path).map_err(|error| io_error(path, &error))?;
        Ok(Sink { file, path: path.to_owned(), hash: Sha256::new(), bytes: 0, expected, complete: false })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        self.bytes += bytes.len() as u64;
        if self.expected.size.is_some_and(|size| self.bytes > size) {
            return Err(self.wrong_size());
        }
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(|error| io_error(&self.path, &error))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn finish(mut self) -> Result<(), SourceError> {
        if self.expected.size.is_some_and(|size| self.bytes != size) {
            return Err(self.wrong_size());
        }
        let is = Digest::from_hash(&std::mem::take(&mut self.hash).finalize());
        if let Some(should) = self.expected.digest.as_ref().filter(|should| **should != is) {
            return Err(wrong_digest(&self.expected.what, should, &is));
        }
        self.complete = true;
        Ok(())
    }

    fn wrong_size(&self) -> SourceError {
        wrong_size(&self.expected.what, self.bytes, self.expected.size.unwrap_or_default())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if !self.complete {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// For a document or blob whose bytes are not what its digest says.
pub(super) fn wrong_digest(what: &str, should: &Digest, is: &Digest) -> SourceError {
    SourceError::new(
        SourceErrorKind::Damaged,
        format!("{what} is damaged: its digest should be {should}, and its bytes have {is}"),
    )
    .with_help("get the image again from where it came from; nothing of it was used")
}

/// For a blob that has so many bytes, or more, and should have others.
pub(super) fn wrong_size(what: &str, is: u64, should: u64) -> SourceError {
    let message = match is > should {
        true => format!("{what} has more than the {should} bytes that its manifest says"),
        false => format!("{what} ends after {is} of the {should} bytes that its manifest says"),
    };
    SourceError::new(SourceErrorKind::Damaged, message)
}

/// For what may come through the next time.
pub(super) fn broken(what: &str, bytes: u64, why: &str) -> SourceError {
    SourceError::new(SourceErrorKind::Unreachable, format!("{what}: the connection broke after {bytes} bytes: {why}"))
}

pub(super) fn io_error(path: &Path, error: &std::io::Error) -> SourceError {
    SourceError::new(SourceErrorKind::Io, format!("{}: {error}", path.display()))
}

/// Copies what `open` gives to the new file `into` on a thread where that may wait. Stops soon after the future is
/// dropped.
pub(super) async fn copy_to_file<R: Read>(
    into: &Path,
    expected: Expected,
    progress: &(dyn Fn(u64) + Send + Sync),
    open: impl FnOnce() -> Result<R, SourceError> + Send + 'static,
) -> Result<(), SourceError> {
    let into = into.to_owned();
    let (sender, mut receiver) = watch::channel(0);
    let mut work = tokio::task::spawn_blocking(move || copy(open()?, Sink::create(&into, expected)?, &sender));
    loop {
        tokio::select! {
            done = &mut work => {
                progress(*receiver.borrow());
                return done.unwrap_or_else(|error| Err(SourceError::new(SourceErrorKind::Io, error.to_string())));
            }
            Ok(()) = receiver.changed() => {
                let bytes = *receiver.borrow_and_update();
                progress(bytes);
            }
        }
    }
}

fn copy(mut from: impl Read, mut sink: Sink, progress: &watch::Sender<u64>) -> Result<(), SourceError> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        if progress.is_closed() {
            return Err(SourceError::new(SourceErrorKind::Io, "cancelled"));
        }
        match from.read(&mut buffer) {
            Ok(0) => return sink.finish(),
            Ok(length) => sink.write(&buffer[..length])?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                let message = format!("{}: {error}", sink.expected.what);
                return Err(SourceError::new(SourceErrorKind::Io, message));
            }
        }
        let _ = progress.send(sink.bytes());
    }
}

/// Writes an answer's body to the new file `into`.
/// [`SourceErrorKind::Unreachable`] if the connection breaks, which may not happen the next time.
pub(super) async fn receive(
    answer: Response,
    into: &Path,
    expected: Expected,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), SourceError> {
    let what = expected.what.clone();
    let mut incoming = Incoming::create(into, expected)?;
    let taken = incoming.take(answer, 0, progress).await;
    let taken = taken.map_err(|why| broken(&what, incoming.bytes(), &why));
    incoming.end(taken).await
}

/// A new file, and what comes for it over one connection or several. Hashing and writing have a thread of their own.
pub(super) struct Incoming {
    /// `None` is the end; the channel's own end means that nobody waits any more.
    chunks: mpsc::Sender<Option<Bytes>>,
    writer: JoinHandle<Result<(), SourceError>>,
    bytes: u64,
}

impl Incoming {
    pub(super) fn create(into: &Path, expected: Expected) -> Result<Incoming, SourceError> {
        let mut sink = Sink::create(into, expected)?;
        let (sender, mut chunks) = mpsc::channel::<Option<Bytes>>(8);
        let writer = tokio::task::spawn_blocking(move || {
            while let Some(chunk) = chunks.blocking_recv() {
                match chunk {
                    Some(chunk) => sink.write(&chunk)?,
                    None => return sink.finish(),
                }
            }
            Err(SourceError::new(SourceErrorKind::Io, "cancelled"))
        });
        Ok(Incoming { chunks: sender, writer, bytes: 0 })
    }

    /// Bytes that have come.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes all of an answer's body but its first `skip` bytes. The error says why the connection broke.
    pub(super) async fn take(
        &mut self,
        mut answer: Response,
        mut skip: u64,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), String> {
        while let Some(mut chunk) = answer.chunk().await.map_err(|error| innermost(&error))? {
            let known = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            skip -= known as u64;
            let new = chunk.split_off(known);
            let length = new.len() as u64;
            if length == 0 {
                continue;
            }
            if self.chunks.send(Some(new)).await.is_err() {
                break;
            }
            self.bytes += length;
            progress(self.bytes);
        }
        Ok(())
    }

    /// Whether nothing more can be taken: `end` says why.
    pub(super) fn is_closed(&self) -> bool {
        self.chunks.is_closed()
    }

    /// The file is there if all that should come was `brought` and is right, and removed otherwise.
    pub(super) async fn end(self, brought: Result<(), SourceError>) -> Result<(), SourceError> {
        if brought.is_ok() {
            // The writer takes no more only after an error, which it returns.
            let _ = self.chunks.send(None).await;
        }
        drop(self.chunks);
        let written = self.writer.await;
        brought?;
        written.unwrap_or_else(|error| Err(SourceError::new(SourceErrorKind::Io, error.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content: &str, digest_of: &str, size: Option<u64>, expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().join("blob");
        let wanted = Expected { what: "layer".to_owned(), digest: Some(Digest::of(digest_of.as_bytes())), size };
        let (sender, _receiver) = watch::channel(0);
        let answer = copy(content.as_bytes(), Sink::create(&into, wanted).unwrap(), &sender);
        match answer {
            Ok(()) => assert_eq!(std::fs::read_to_string(&into).unwrap(), expected),
            Err(error) => {
                assert!(error.message.starts_with(expected), "{error}");
                assert!(!into.exists());
            }
        }
    }

    #[test]
    fn content_and_size() {
        check("abc", "abc", Some(3), "abc");
        check("abc", "abc", None, "abc");
        check("", "", Some(0), "");
        check("abc", "abd", Some(3), "layer is damaged: its digest should be sha256:");
        check("abc", "abc", Some(2), "layer has more than the 2 bytes that its manifest says");
        check("abc", "abc", Some(4), "layer ends after 3 of the 4 bytes that its manifest says");
    }

    #[test]
    fn a_file_that_is_there_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().join("mine");
        std::fs::write(&into, "kept").unwrap();
        let wanted = Expected { what: "layer".to_owned(), digest: None, size: None };
        assert_eq!(Sink::create(&into, wanted).unwrap_err().kind, SourceErrorKind::Io);
        assert_eq!(std::fs::read_to_string(&into).unwrap(), "kept");
    }

    #[test]
    fn nobody_waiting_means_stop() {
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().join("blob");
        let wanted = Expected { what: "layer".to_owned(), digest: None, size: None };
        let sink = Sink::create(&into, wanted).unwrap();
        let (sender, receiver) = watch::channel(0);
        drop(receiver);
        assert!(copy(std::io::repeat(0), sink, &sender).is_err());
        assert!(!into.exists());
    }
}
