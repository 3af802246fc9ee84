//! Bytes on their way into a file, checked as they pass.

use super::digest::Digest;
use super::http::innermost;
use super::source::{SourceError, SourceErrorKind};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use tokio::sync::{mpsc, watch};

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
        let size = self.expected.size.unwrap_or_default();
        let difference = if self.bytes > size { "has more" } else { "ends after" };
        let message = format!("{} {difference} than the {size} bytes that its manifest says", self.expected.what);
        let message =
            if self.bytes > size { message } else { message.replace(" than the", &format!(" {} of the", self.bytes)) };
        SourceError::new(SourceErrorKind::Damaged, message)
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

/// Writes an answer's body to the new file `into`; hashing and writing have a thread of their own.
/// [`SourceErrorKind::Unreachable`] if the connection breaks, which may not happen the next time.
pub(super) async fn receive(
    mut answer: reqwest::Response,
    into: &Path,
    expected: Expected,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), SourceError> {
    let what = expected.what.clone();
    let mut sink = Sink::create(into, expected)?;
    let (sender, mut chunks) = mpsc::channel(8);
    let writer = tokio::task::spawn_blocking(move || {
        // `None` in the channel is the end; the channel's own end means that nobody waits any more.
        while let Some(chunk) = chunks.blocking_recv() {
            match chunk {
                Some(chunk) => sink.write(AsRef::<[u8]>::as_ref(&chunk))?,
                None => return sink.finish(),
            }
        }
        Err(SourceError::new(SourceErrorKind::Io, "cancelled"))
    });
    let mut bytes = 0;
    let broken = loop {
        let chunk = match answer.chunk().await {
            Ok(chunk) => chunk,
            Err(error) => break Some(innermost(&error)),
        };
        let length = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        let is_last = chunk.is_none();
        // The writer takes no more only after an error, which it returns.
        if sender.send(chunk).await.is_err() || is_last {
            break None;
        }
        bytes += length;
        progress(bytes);
    };
    drop(sender);
    let written = writer.await.unwrap_or_else(|error| Err(SourceError::new(SourceErrorKind::Io, error.to_string())));
    match broken {
        Some(why) => {
            let message = format!("{what}: the connection broke after {bytes} bytes: {why}");
            Err(SourceError::new(SourceErrorKind::Unreachable, message))
        }
        None => written,
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
