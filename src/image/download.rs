//! Blobs on their way from a registry. What has come stays when a connection breaks, and the next one brings the rest.
//!
//! Nobody has to be asked whether a blob is still the same: its digest names it, and the whole of it is held against
//! that in the end.
//!
//! Source: RFC 9110, 14 (range requests), which registries may have or not.

use super::digest::Digest;
use super::fetch::{Expected, Incoming, broken, wrong_size};
use super::http::Repository;
use super::source::{SourceError, SourceErrorKind};
use super::tries::{Again, Failed, Tries};
use reqwest::header::{CONTENT_RANGE, HeaderMap, RANGE, TRANSFER_ENCODING};
use reqwest::{Response, StatusCode};
use std::path::Path;
use std::time::Duration;

/// What a connection has to bring so that its end does not count as a failure.
const WORTHWHILE: u64 = 64 << 10;

/// A blob of a repository.
pub(super) struct Wanted<'a> {
    pub(super) repository: &'a Repository,
    pub(super) digest: &'a Digest,
    pub(super) expected: Expected,
}

/// Writes a blob to the new file `into` and calls `progress` with the bytes so far.
pub(super) async fn download(
    wanted: &Wanted<'_>,
    into: &Path,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), SourceError> {
    let mut parts = Parts { by_range: true, count: 0 };
    let done = in_parts(wanted, into, &mut parts, progress).await;
    match done {
        // The parts were of different things; what is got as a whole may be right.
        Err(error) if error.kind == SourceErrorKind::Damaged && parts.count > 1 => {
            let mut parts = Parts { by_range: false, count: 0 };
            in_parts(wanted, into, &mut parts, progress).await
        }
        done => done,
    }
}

struct Parts {
    /// Whether the registry gives the part that it is asked for, as far as is known.
    by_range: bool,
    count: usize,
}

async fn in_parts(
    wanted: &Wanted<'_>,
    into: &Path,
    parts: &mut Parts,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), SourceError> {
    let mut incoming = Incoming::create(into, wanted.expected.clone())?;
    let mut tries = Tries::of_download();
    let brought = loop {
        let before = incoming.bytes();
        let Err(failed) = bring(wanted, &mut incoming, parts, progress).await else { break Ok(()) };
        if incoming.bytes() - before >= WORTHWHILE {
            tries.begin_anew();
        }
        match tries.pause(failed) {
            Ok(pause) => tokio::time::sleep(pause).await,
            Err(error) => break Err(error),
        }
    };
    incoming.end(brought).await
}

/// The rest of the blob, or as much of it as one connection brings.
async fn bring(
    wanted: &Wanted<'_>,
    incoming: &mut Incoming,
    parts: &mut Parts,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), Failed> {
    let Expected { what, size, .. } = &wanted.expected;
    let before = incoming.bytes();
    let (answer, skip) = ask(wanted, before, parts).await.map_err(|failed| match before {
        0 => failed,
        _ => {
            let message = format!("{what}: after {before} bytes: {}", failed.error.message);
            Failed { error: SourceError { message, ..failed.error }, ..failed }
        }
    })?;
    parts.count += 1;
    // Without a length a broken connection may look as the end.
    let is_framed = answer.content_length().is_some() || answer.headers().contains_key(TRANSFER_ENCODING);
    let is_rest = answer.status() == StatusCode::OK;
    let taken = incoming.take(answer, skip, progress).await;
    let bytes = incoming.bytes();
    match (taken, *size) {
        _ if incoming.is_closed() => Ok(()),
        (_, Some(size)) if bytes == size => Ok(()),
        (Ok(()), None) => Ok(()),
        (Ok(()), Some(size)) => {
            parts.by_range &= bytes > before;
            let again = if is_framed && is_rest { Again::Never } else { Again::After(None) };
            Err(Failed { error: wrong_size(what, bytes, size), again })
        }
        (Err(why), _) => Err(Failed { error: broken(what, bytes, &why), again: Again::After(None) }),
    }
}

/// An answer with the blob's bytes from `from` on, and how many more come before them.
async fn ask(wanted: &Wanted<'_>, from: u64, parts: &mut Parts) -> Result<(Response, u64), Failed> {
    let url = wanted.repository.url(&format!("blobs/{}", wanted.digest));
    let range = (parts.by_range && from > 0).then(|| format!("bytes={from}-"));
    let what = format!("blob {}", wanted.digest);
    let build = |client: &reqwest::Client| match &range {
        Some(range) => client.get(&url).header(RANGE, range),
        None => client.get(&url),
    };
    let answer = wanted.repository.send_once(&what, &build).await?;
    let is_part = answer.status() == StatusCode::PARTIAL_CONTENT;
    let skip = match is_part {
        true => start(answer.headers()).and_then(|start| from.checked_sub(start)),
        false => Some(from),
    };
    match (answer.status(), skip) {
        (StatusCode::OK, Some(skip)) => Ok((answer, skip)),
        (StatusCode::PARTIAL_CONTENT, Some(skip)) if range.is_some() => Ok((answer, skip)),
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND, _) => {
            Err(wanted.repository.refusal(&what, answer).await.into())
        }
        _ if range.is_some() => {
            parts.by_range = false;
            let error = wanted.repository.refusal(&format!("a part of {what}"), answer).await;
            Err(Failed { error, again: Again::After(Some(Duration::ZERO)) })
        }
        _ => Err(wanted.repository.refusal(&what, answer).await.into()),
    }
}

/// Where a part begins: `bytes 100-199/200`.
fn start(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    text.trim().strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}
