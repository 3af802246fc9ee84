//! ADD's remote sources: files by URL, and git repositories, fetched by this process before the step runs.
//!
//! What has been there before and cannot have changed is known without fetching it again: a file with a checksum or of
//! which the server says the same tag, a repository at a commit. So a build that is cached needs no network for it.

use super::content;
use super::engine::{Embedded, store_error};
use super::steps::here;
use super::task::{Input, Reads};
use crate::engine::{EngineError, Output, StepError, authorization, download, git};
use crate::image::digest::Digest;
use crate::plan::remote::{GitSource, Remote, classify, without_secret};
use crate::plan::{Copy, CopySource, Op, Step};
use std::path::{Path, PathBuf};

/// A remote source.
pub(super) struct Source {
    pub(super) address: String,
    /// Of its content, whatever its address.
    pub(super) digest: String,
    /// A file for a URL and a directory for a repository; `None` if it did not have to be fetched.
    pub(super) path: Option<PathBuf>,
}

/// The step's remote sources in their order. With `all`, each is fetched.
pub(super) async fn sources(
    engine: &Embedded,
    step: &Step,
    all: bool,
    output: &Output,
) -> Result<Vec<Source>, StepError> {
    let Op::Copy(copy) = &step.op else { return Ok(Vec::new()) };
    let mut sources = Vec::new();
    for source in &copy.sources {
        let (address, (digest, path)) = match source {
            CopySource::Url(url) => (url, file(engine, url, copy, all, output).await?),
            CopySource::Git(url) => {
                let source = match classify(url) {
                    Ok(Remote::Git(source)) => source,
                    Ok(_) | Err(_) => {
                        let url = without_secret(url);
                        return Err(EngineError::new(format!("{url} is no git repository")).into());
                    }
                };
                (url, repository(engine, url, &source, copy, all).await?)
            }
            CopySource::Path(_) | CopySource::Inline { .. } => continue,
        };
        sources.push(Source { address: address.clone(), digest, path });
    }
    Ok(sources)
}

type Fetched = (String, Option<PathBuf>);

async fn file(engine: &Embedded, url: &str, copy: &Copy, all: bool, output: &Output) -> Result<Fetched, StepError> {
    let checksum = copy.checksum.as_deref();
    let known = |question: &Digest| (!all).then(|| engine.store.digest(question)).flatten();
    let pinned = checksum.map(|checksum| question(&["file", url, checksum]));
    if let Some(digest) = pinned.as_ref().and_then(known) {
        return Ok((digest.to_string(), None));
    }
    let authorization = authorization::of_file(url, &engine.settings.secrets)?;
    let download = download::begin(url, authorization.as_deref()).await?;
    // What a server calls the content of a file; a weak name may be that of several.
    let tag = download.header("etag").filter(|tag| pinned.is_none() && !tag.starts_with("W/"));
    let tagged = tag.map(|tag| question(&["tagged file", url, &tag]));
    if let Some(digest) = tagged.as_ref().and_then(known) {
        return Ok((digest.to_string(), None));
    }
    let dir = engine.store.scratch().map_err(store_error)?;
    let path = download.save(&dir, checksum, output).await?;
    fetched(engine, pinned.or(tagged), path).await
}

async fn repository(
    engine: &Embedded,
    url: &str,
    source: &GitSource,
    copy: &Copy,
    all: bool,
) -> Result<Fetched, StepError> {
    let wanted = copy.checksum.as_deref().or(source.checksum.as_deref());
    let keep = copy.keep_git_dir;
    let commit = source.reference.as_deref().filter(|it| git::is_commit(it));
    let pinned = commit.map(|_| question(&["repository", url, wanted.unwrap_or_default(), &keep.to_string()]));
    let known = pinned.as_ref().filter(|_| !all).and_then(|question| engine.store.digest(question));
    if let Some(digest) = known {
        return Ok((digest.to_string(), None));
    }
    let dir = engine.store.scratch().map_err(store_error)?;
    let agent = engine.settings.agents.get("default").map(PathBuf::as_path);
    let authorization = authorization::of_repository(&source.repository, &engine.settings.secrets)?;
    let access = git::Access { own: git::Own::Agent(agent), authorization: authorization.as_ref() };
    let path = git::clone(url, source, access, &dir, keep, wanted).await?;
    fetched(engine, pinned, path).await
}

/// The digest of what was fetched, which is the answer to a question that may be asked again.
async fn fetched(engine: &Embedded, question: Option<Digest>, path: PathBuf) -> Result<Fetched, StepError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
    let (what, input) = (Reads::Path(name), Input::Directory { path: parent, ignore: None });
    let content = here(&what, &input, |what, input| content::digest(what, input, None)).await?;
    if let (Some(question), Ok(digest)) = (question, content.digest.parse()) {
        engine.store.keep_digest(question, digest);
    }
    Ok((content.digest, Some(path)))
}

fn question(parts: &[&str]) -> Digest {
    Digest::of(parts.join("\n").as_bytes())
}
