//! ADD's remote sources: files by URL, and git repositories, fetched by this process before the step runs.

use super::engine::{Embedded, store_error};
use super::task::{Input, Reads};
use crate::engine::{EngineError, Output, StepError, download, git};
use crate::plan::remote::{Remote, classify, without_secret};
use crate::plan::{CopySource, Op, Step};
use std::path::{Path, PathBuf};

/// A file for each URL and a directory for each repository, in the order of the step's sources.
pub(super) async fn sources(
    engine: &Embedded,
    step: &Step,
    output: &Output,
) -> Result<Vec<(String, PathBuf)>, StepError> {
    let Op::Copy(copy) = &step.op else { return Ok(Vec::new()) };
    let mut fetched = Vec::new();
    for source in &copy.sources {
        match source {
            CopySource::Url(url) => {
                let dir = engine.store.scratch().map_err(store_error)?;
                let path = download::download(url, &dir, copy.checksum.as_deref(), output).await?;
                fetched.push((url.clone(), path));
            }
            CopySource::Git(url) => {
                let dir = engine.store.scratch().map_err(store_error)?;
                let source = match classify(url) {
                    Ok(Remote::Git(source)) => source,
                    Ok(_) | Err(_) => {
                        let url = without_secret(url);
                        return Err(EngineError::new(format!("{url} is no git repository")).into());
                    }
                };
                let wanted = copy.checksum.as_deref().or(source.checksum.as_deref());
                let agent = engine.settings.agents.get("default").map(PathBuf::as_path);
                let access = git::Access::Agent(agent);
                let path = git::clone(url, &source, access, &dir, copy.keep_git_dir, wanted).await?;
                fetched.push((url.clone(), path));
            }
            CopySource::Path(_) | CopySource::Inline { .. } => {}
        }
    }
    Ok(fetched)
}

/// For the cache key: what was fetched, whatever its address.
pub(super) fn reads(fetched: &Path) -> (Reads, Input) {
    let name = fetched.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let parent = fetched.parent().unwrap_or(Path::new("/")).to_owned();
    (Reads::Path(name), Input::Directory { path: parent, ignore: None })
}
