//! Git repositories, as sources of ADD and as contexts, fetched with the `git` program.

use crate::engine::EngineError;
use crate::plan::remote::GitSource;
use std::path::{Path, PathBuf};

/// Protocols by which a repository may be had, as git has them in GIT_ALLOW_PROTOCOL.
const REMOTE: &str = "http:https:ssh:git";

/// The only one from one directory of ours to another.
const OURS: &str = "file";

/// Fetches one commit, as BuildKit does, with its submodules, into a new directory below `dir`. `wanted` is how the
/// commit's name must begin.
pub(crate) async fn clone(
    url: &str,
    source: &GitSource,
    dir: &Path,
    keep_git_dir: bool,
    wanted: Option<&str>,
) -> Result<PathBuf, EngineError> {
    let reference = source.reference.as_deref().unwrap_or("HEAD");
    let name = source.repository.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or("repository");
    let name = name.trim_end_matches(".git");
    let tree = dir.join(if name.is_empty() || name.starts_with('.') { "repository" } else { name });
    std::fs::create_dir(&tree).map_err(|error| EngineError::new(format!("{}: {error}", tree.display())))?;
    // A part of a repository is none, and has no `.git`.
    let keep_git_dir = keep_git_dir && source.directory.is_none();
    match keep_git_dir {
        true => check_out_a_repository(url, source, dir, &tree).await?,
        false => check_out(url, &source.repository, reference, &tree).await?,
    }
    let commit = git(&tree, url, REMOTE, &["rev-parse", "HEAD"]).await?;
    if let Some(wanted) = wanted
        && !commit.starts_with(wanted)
    {
        let message = format!("cannot get {url}: it is commit {commit}, and --checksum wants {wanted}");
        return Err(EngineError::new(message));
    }
    if source.submodules != Some(false) && tree.join(".gitmodules").exists() {
        git(&tree, url, REMOTE, &["submodule", "-q", "update", "--init", "--recursive", "--depth=1"]).await?;
    }
    if !keep_git_dir {
        without_git_files(&tree).map_err(|error| EngineError::new(format!("{}: {error}", tree.display())))?;
    }
    let Some(subdirectory) = source.directory.as_deref() else { return Ok(tree) };
    let inside = Path::new(subdirectory).components().all(|it| matches!(it, std::path::Component::Normal(_)));
    if !inside {
        return Err(EngineError::new(format!("{url}: the subdirectory must lie inside the repository")));
    }
    let path = tree.join(subdirectory);
    let real = path.canonicalize().ok().filter(|real| real.starts_with(&tree) && real.is_dir());
    real.ok_or_else(|| EngineError::new(format!("{url}: there is no directory {subdirectory} at {reference}")))
}

/// The files of a commit.
async fn check_out(url: &str, address: &str, reference: &str, tree: &Path) -> Result<(), EngineError> {
    git(tree, url, REMOTE, &["init", "-q"]).await?;
    git(tree, url, REMOTE, &["remote", "add", "origin", address]).await?;
    let shallow = git(tree, url, REMOTE, &["fetch", "-q", "--depth=1", "origin", "--", reference]).await;
    if let Err(refused) = shallow {
        // Some servers give a commit only with all its history.
        git(tree, url, REMOTE, &["fetch", "-q", "--tags", "origin", "--", "+refs/heads/*:refs/remotes/origin/*"])
            .await?;
        git(tree, url, REMOTE, &["checkout", "-q", "--detach", reference]).await.map_err(|_| refused)?;
    } else {
        git(tree, url, REMOTE, &["checkout", "-q", "--detach", "FETCH_HEAD"]).await?;
    }
    Ok(())
}

/// A repository with one commit checked out, whose `.git` is what BuildKit leaves there: it keeps a bare repository, in
/// which every reference is a tag, and fetches from that one.
async fn check_out_a_repository(url: &str, source: &GitSource, dir: &Path, tree: &Path) -> Result<(), EngineError> {
    let address = source.repository.as_str();
    let bare = dir.join(".bare");
    std::fs::create_dir(&bare).map_err(|error| EngineError::new(format!("{}: {error}", bare.display())))?;
    git(&bare, url, REMOTE, &["-c", "init.defaultBranch=master", "init", "-q", "--bare"]).await?;
    git(&bare, url, REMOTE, &["remote", "add", "--", "origin", address]).await?;
    let reference = match source.reference.clone() {
        Some(reference) => reference,
        None => default_branch(&git(&bare, url, REMOTE, &["ls-remote", "--symref", "origin", "HEAD"]).await?)
            .ok_or_else(|| EngineError::new(format!("cannot get {url}: the repository names no default branch")))?,
    };
    let pulled = if is_commit(&reference) {
        git(&bare, url, REMOTE, &["fetch", "-q", "--tags", "origin", "--", &reference]).await?;
        let name = "refs/buildkit/commit".to_owned();
        git(&bare, url, REMOTE, &["update-ref", &name, &reference]).await?;
        name
    } else {
        let tag = if reference.starts_with("refs/tags/") { reference.clone() } else { format!("tags/{reference}") };
        let refspec = format!("{reference}:{tag}");
        git(&bare, url, REMOTE, &["fetch", "-q", "--depth=1", "--no-tags", "origin", "--force", "--", &refspec])
            .await?;
        let kind = git(&bare, url, REMOTE, &["cat-file", "-t", &reference]).await?;
        match kind.as_str() {
            "tag" if !reference.starts_with("refs/tags/") => format!("{reference}:refs/tags/{reference}"),
            _ => format!("{reference}:{reference}"),
        }
    };
    git(tree, url, REMOTE, &["-c", "init.defaultBranch=master", "init", "-q"]).await?;
    git(tree, url, REMOTE, &["remote", "add", "--", "origin", &format!("file://{}", bare.display())]).await?;
    git(tree, url, OURS, &["fetch", "-q", "-u", "--depth=1", "origin", "--", &pulled]).await?;
    git(tree, url, REMOTE, &["checkout", "-q", "--detach", "FETCH_HEAD"]).await?;
    git(tree, url, REMOTE, &["remote", "set-url", "--", "origin", &without_secret(address)]).await?;
    git(tree, url, REMOTE, &["reflog", "expire", "--all", "--expire=now"]).await?;
    // It names the bare repository.
    let _ = std::fs::remove_file(tree.join(".git/FETCH_HEAD"));
    std::fs::remove_dir_all(&bare).map_err(|error| EngineError::new(format!("{}: {error}", bare.display())))
}

/// From what `git ls-remote --symref` prints.
fn default_branch(listing: &str) -> Option<String> {
    let name = listing.lines().find_map(|line| line.strip_prefix("ref: refs/heads/"))?;
    name.split_whitespace().next().map(str::to_owned)
}

/// The name of a commit in full: SHA-1 or SHA-256.
fn is_commit(reference: &str) -> bool {
    matches!(reference.len(), 40 | 64) && reference.bytes().all(|it| it.is_ascii_digit() || (b'a'..=b'f').contains(&it))
}

/// An address as an image may have it: without the user's name and password.
pub(crate) fn without_secret(address: &str) -> String {
    let hidden = || {
        let (scheme, rest) = address.split_once("://")?;
        let end = rest.find('/').unwrap_or(rest.len());
        let (user, _) = rest[..end].rsplit_once('@')?;
        let password = if user.contains(':') { ":xxxxx" } else { "" };
        let name = if user.starts_with(':') || user.is_empty() { "" } else { "xxxxx" };
        Some(format!("{scheme}://{name}{password}{}", &rest[user.len()..]))
    };
    hidden().unwrap_or_else(|| address.to_owned())
}

/// Takes the `.git` of a repository and of its submodules away.
fn without_git_files(tree: &Path) -> std::io::Result<()> {
    let mut todo = vec![tree.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let directory = entry.file_type()?.is_dir();
            match (entry.file_name() == ".git", directory) {
                (true, true) => std::fs::remove_dir_all(entry.path())?,
                (true, false) => std::fs::remove_file(entry.path())?,
                (false, true) => todo.push(entry.path()),
                (false, false) => {}
            }
        }
    }
    Ok(())
}

/// Runs `git` in a directory; answers with what it printed.
async fn git(tree: &Path, url: &str, protocols: &str, args: &[&str]) -> Result<String, EngineError> {
    let mut command = tokio::process::Command::new("git");
    command.args(args).current_dir(tree).kill_on_drop(true).stdin(std::process::Stdio::null());
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_ALLOW_PROTOCOL", protocols);
    let output = command.output().await.map_err(|error| {
        EngineError::new(format!("cannot get {url}: the program git does not start: {error}"))
            .with_help("install git on this machine")
    })?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => {
            let text = String::from_utf8_lossy(&output.stderr);
            Err(EngineError::new(format!("cannot get {url}: git says: {}", text.trim())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_listing() {
        let listing = "ref: refs/heads/feature/x\tHEAD\n0123\tHEAD\n";
        assert_eq!(default_branch(listing).as_deref(), Some("feature/x"));
        assert_eq!(default_branch("0123\tHEAD\n"), None);
        assert!(is_commit(&"0a".repeat(20)) && is_commit(&"0a".repeat(32)));
        assert!(!is_commit(&"0A".repeat(20)) && !is_commit("main"));
    }

    #[test]
    fn a_password_does_not_get_into_the_image() {
        let check = |address: &str, expected: &str| assert_eq!(without_secret(address), expected);
        check("https://me:secret@host/a.git", "https://xxxxx:xxxxx@host/a.git");
        check("https://me:s@cret@host/a@b:c.git", "https://xxxxx:xxxxx@host/a@b:c.git");
        check("https://token@host/a.git", "https://xxxxx@host/a.git");
        check("https://:secret@host/a.git", "https://:xxxxx@host/a.git");
        check("git://host/a:b@c.git", "git://host/a:b@c.git");
        check("git@host:a.git", "git@host:a.git");
    }
}
