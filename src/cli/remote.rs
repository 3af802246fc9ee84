//! Contexts that are not on this machine: a git repository, or an archive or a Dockerfile by its address.
//!
//! Source: what `docker build` takes for a context, and BuildKit's rule of what is a git repository. Here this machine
//! fetches it, whatever builds.

use super::exit::Failure;
use crate::engine::settings::Secret;
use crate::engine::{Output, authorization, download, git};
use crate::plan::remote::{self, Remote};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// What was fetched.
pub enum Fetched {
    Directory(PathBuf),
    /// An archive, or the Dockerfile itself.
    File(PathBuf),
}

/// The context's address, if it has one and is no directory here.
pub fn address(context: &str) -> Result<Option<Remote>, Failure> {
    if Path::new(context).exists() {
        return Ok(None);
    }
    let wrong = |why: String| Failure::Usage(format!("the context {}: {why}", shown(context)));
    match remote::classify(&with_scheme(context)).map_err(wrong)? {
        Remote::Local => Ok(None),
        found => Ok(Some(found)),
    }
}

/// `github.com/OWNER/NAME` is a repository too.
fn with_scheme(context: &str) -> String {
    let Some(rest) = context.strip_prefix("github.com/") else { return context.to_owned() };
    let end = rest.find(['#', '?']).unwrap_or(rest.len());
    let (path, more) = rest.split_at(end);
    format!("https://github.com/{}.git{more}", path.trim_end_matches('/').trim_end_matches(".git"))
}

/// An address without the password in it.
pub fn shown(context: &str) -> String {
    remote::without_secret(context)
}

/// Fetches it into an empty directory, let in by the secrets for that. `keep_git_dir` keeps a repository's `.git`.
pub async fn fetch(
    context: &str,
    found: Remote,
    dir: &Path,
    keep_git_dir: bool,
    secrets: &BTreeMap<String, Secret>,
) -> Result<Fetched, Failure> {
    let context = with_scheme(context);
    match found {
        Remote::Git(source) => {
            let keep = source.keep_git_dir.unwrap_or(keep_git_dir);
            let wanted = source.checksum.clone();
            let authorization = authorization::of_repository(&source.repository, secrets)?;
            let access = git::Access { own: git::Own::All, authorization: authorization.as_ref() };
            let tree = git::clone(&context, &source, access, dir, keep, wanted.as_deref()).await?;
            Ok(Fetched::Directory(tree))
        }
        Remote::Url | Remote::Local => {
            // Nobody watches its progress.
            let (sender, mut progress) = mpsc::channel(1);
            progress.close();
            let authorization = authorization::of_file(&context, secrets)?;
            let file =
                download::begin(&context, authorization.as_deref()).await?.save(dir, None, &Output(sender)).await?;
            Ok(Fetched::File(file))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(context: &str, expected: Option<&str>) {
        let found = address(context).expect(context).map(|found| match found {
            Remote::Git(source) => {
                let part = |it: &Option<String>| it.clone().unwrap_or_default();
                format!("{} at {:?} in {:?}", source.repository, part(&source.reference), part(&source.directory))
            }
            Remote::Url => "a file".to_owned(),
            Remote::Local => "nothing".to_owned(),
        });
        assert_eq!(found.as_deref(), expected, "{context}");
    }

    #[test]
    fn addresses() {
        check(".", None);
        check("no/such/directory", None);
        check("https://host/a.git", Some("https://host/a.git at \"\" in \"\""));
        check("https://host/a.git#v1:docker", Some("https://host/a.git at \"v1\" in \"docker\""));
        check("github.com/a/b", Some("https://github.com/a/b.git at \"\" in \"\""));
        check("github.com/a/b.git#main", Some("https://github.com/a/b.git at \"main\" in \"\""));
        check("git@host:a/b.git", Some("git@host:a/b.git at \"\" in \"\""));
        check("https://host/a.tar.gz", Some("a file"));
    }
}
