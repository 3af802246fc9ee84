//! Git repositories, as sources of ADD and as contexts, fetched with the `git` program.

use super::EngineError;
use super::authorization::Authorization;
use crate::plan::remote::{self, GitSource};
use crate::system;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Protocols by which a repository may be had, as git has them in GIT_ALLOW_PROTOCOL.
const REMOTE: &str = "http:https:ssh:git";

/// The only one from one directory of ours to another.
const OURS: &str = "file";

/// The variable that has the header for a private repository.
const HEADER: &str = "STAGEDIVE_GIT_AUTHORIZATION";

/// What `git` may use to be let in.
#[derive(Clone, Copy)]
pub(crate) struct Access<'a> {
    pub(crate) own: Own<'a>,
    pub(crate) authorization: Option<&'a Authorization>,
}

/// What of the caller's own `git` may use.
#[derive(Clone, Copy)]
pub(crate) enum Own<'a> {
    /// Whatever the caller has: for what the caller names.
    All,
    /// None of it but this ssh agent: for what a Dockerfile or a repository names.
    Agent(Option<&'a Path>),
}

/// Fetches one commit, as BuildKit does, with its submodules, into a new directory below `dir`. `wanted` is how the
/// commit's name must begin.
pub(crate) async fn clone(
    url: &str,
    source: &GitSource,
    access: Access<'_>,
    dir: &Path,
    keep_git_dir: bool,
    wanted: Option<&str>,
) -> Result<PathBuf, EngineError> {
    let url = &remote::without_secret(url);
    let reference = source.reference.as_deref().unwrap_or("HEAD");
    let name = source.repository.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or("repository");
    let name = name.trim_end_matches(".git");
    let tree = dir.join(if name.is_empty() || name.starts_with('.') { "repository" } else { name });
    let made = std::fs::create_dir(&tree).and_then(|()| system::set_mode(&tree, 0o755));
    made.map_err(|error| EngineError::new(format!("{}: {error}", tree.display())))?;
    // A part of a repository is none, and has no `.git`.
    let keep_git_dir = keep_git_dir && source.directory.is_none();
    match keep_git_dir {
        true => check_out_a_repository(url, source, access, dir, &tree).await?,
        false => check_out(url, &source.repository, access, reference, &tree).await?,
    }
    let commit = git(&tree, url, &["rev-parse", "HEAD"]).await?;
    if let Some(wanted) = wanted
        && !commit.starts_with(wanted)
    {
        let message = format!("cannot get {url}: it is commit {commit}, and --checksum wants {wanted}");
        return Err(EngineError::new(message));
    }
    if source.submodules != Some(false) && tree.join(".gitmodules").exists() {
        let agent = std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from);
        let own = match access.own {
            // As buildx does, which gives the agent to builds of a repository that is reached by ssh.
            Own::All => Own::Agent(agent.as_deref().filter(|_| is_by_ssh(&source.repository))),
            own => own,
        };
        let access = Access { own, ..access };
        fetch(&tree, url, access, &["submodule", "-q", "update", "--init", "--recursive", "--depth=1"]).await?;
    }
    if !keep_git_dir {
        without_git_files(&tree).map_err(|error| EngineError::new(format!("{}: {error}", tree.display())))?;
    }
    let Some(subdirectory) = source.directory.as_deref() else { return Ok(tree) };
    let inside = Path::new(subdirectory).components().all(|it| matches!(it, std::path::Component::Normal(_)));
    if !inside {
        return Err(EngineError::new(format!("{url}: the subdirectory must lie inside the repository")));
    }
    inside_of(&tree, subdirectory)
        .ok_or_else(|| EngineError::new(format!("{url}: there is no directory {subdirectory} at {reference}")))
}

/// A directory below another, unless a link leads out.
fn inside_of(tree: &Path, subdirectory: &str) -> Option<PathBuf> {
    let root = tree.canonicalize().ok()?;
    let real = root.join(subdirectory).canonicalize().ok()?;
    (real.starts_with(&root) && real.is_dir()).then_some(real)
}

fn is_by_ssh(repository: &str) -> bool {
    repository.split_once("://").is_none_or(|(scheme, _)| scheme.eq_ignore_ascii_case("ssh"))
}

/// The files of a commit.
async fn check_out(
    url: &str,
    address: &str,
    access: Access<'_>,
    reference: &str,
    tree: &Path,
) -> Result<(), EngineError> {
    git(tree, url, &["init", "-q"]).await?;
    git(tree, url, &["remote", "add", "origin", address]).await?;
    let shallow = fetch(tree, url, access, &["fetch", "-q", "--depth=1", "origin", "--", reference]).await;
    if let Err(refused) = shallow {
        // Some servers give a commit only with all its history.
        fetch(tree, url, access, &["fetch", "-q", "--tags", "origin", "--", "+refs/heads/*:refs/remotes/origin/*"])
            .await?;
        git(tree, url, &["checkout", "-q", "--detach", reference]).await.map_err(|_| refused)?;
    } else {
        git(tree, url, &["checkout", "-q", "--detach", "FETCH_HEAD"]).await?;
    }
    Ok(())
}

/// A repository with one commit checked out, whose `.git` is what BuildKit leaves there: it keeps a bare repository, in
/// which every reference is a tag, and fetches from that one.
async fn check_out_a_repository(
    url: &str,
    source: &GitSource,
    access: Access<'_>,
    dir: &Path,
    tree: &Path,
) -> Result<(), EngineError> {
    let address = source.repository.as_str();
    let bare = dir.join(".bare");
    std::fs::create_dir(&bare).map_err(|error| EngineError::new(format!("{}: {error}", bare.display())))?;
    git(&bare, url, &["-c", "init.defaultBranch=master", "init", "-q", "--bare"]).await?;
    git(&bare, url, &["remote", "add", "--", "origin", address]).await?;
    let reference = match source.reference.clone() {
        Some(reference) => reference,
        None => default_branch(&fetch(&bare, url, access, &["ls-remote", "--symref", "origin", "HEAD"]).await?)
            .ok_or_else(|| EngineError::new(format!("cannot get {url}: the repository names no default branch")))?,
    };
    let pulled = if is_commit(&reference) {
        fetch(&bare, url, access, &["fetch", "-q", "--tags", "origin", "--", &reference]).await?;
        let name = "refs/buildkit/commit".to_owned();
        git(&bare, url, &["update-ref", &name, &reference]).await?;
        name
    } else {
        let tag = if reference.starts_with("refs/tags/") { reference.clone() } else { format!("tags/{reference}") };
        let refspec = format!("{reference}:{tag}");
        fetch(&bare, url, access, &["fetch", "-q", "--depth=1", "--no-tags", "origin", "--force", "--", &refspec])
            .await?;
        let kind = git(&bare, url, &["cat-file", "-t", &reference]).await?;
        match kind.as_str() {
            "tag" if !reference.starts_with("refs/tags/") => format!("{reference}:refs/tags/{reference}"),
            _ => format!("{reference}:{reference}"),
        }
    };
    git(tree, url, &["-c", "init.defaultBranch=master", "init", "-q"]).await?;
    git(tree, url, &["remote", "add", "--", "origin", &format!("file://{}", bare.display())]).await?;
    git(tree, url, &["fetch", "-q", "-u", "--depth=1", "origin", "--", &pulled]).await?;
    git(tree, url, &["checkout", "-q", "--detach", "FETCH_HEAD"]).await?;
    git(tree, url, &["remote", "set-url", "--", "origin", &remote::without_secret(address)]).await?;
    git(tree, url, &["reflog", "expire", "--all", "--expire=now"]).await?;
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
pub(crate) fn is_commit(reference: &str) -> bool {
    matches!(reference.len(), 40 | 64) && reference.bytes().all(|it| it.is_ascii_digit() || (b'a'..=b'f').contains(&it))
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

/// Runs `git` in a directory, with what is there already; answers with what it printed.
async fn git(tree: &Path, url: &str, args: &[&str]) -> Result<String, EngineError> {
    run(tree, url, OURS, Access { own: Own::Agent(None), authorization: None }, args).await
}

/// Runs `git` in a directory, with what is elsewhere.
async fn fetch(tree: &Path, url: &str, access: Access<'_>, args: &[&str]) -> Result<String, EngineError> {
    run(tree, url, REMOTE, access, args).await
}

async fn run(
    tree: &Path,
    url: &str,
    protocols: &str,
    access: Access<'_>,
    args: &[&str],
) -> Result<String, EngineError> {
    let mut command = tokio::process::Command::new("git");
    command.env_clear().envs(environment(access.own, std::env::vars_os()));
    if let Some(Authorization { scope, value }) = access.authorization {
        // Others on the machine can read a program's arguments.
        command.arg(format!("--config-env=http.{scope}.extraheader={HEADER}"));
        command.env(HEADER, format!("Authorization: {value}"));
    }
    command.args(args).current_dir(tree).kill_on_drop(true).stdin(std::process::Stdio::null());
    // A commit says of files only whether they are programs.
    system::set_usual_umask(&mut command);
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_ALLOW_PROTOCOL", protocols);
    let output = command.output().await.map_err(|error| {
        EngineError::new(format!("cannot get {url}: the program git does not start: {error}"))
            .with_help("install git on this machine")
    })?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => {
            let text = String::from_utf8_lossy(&output.stderr);
            let said: Vec<String> = text.trim().split(' ').map(without_secret_in_quotes).collect();
            let error = EngineError::new(format!("cannot get {url}: git says: {}", said.join(" ")));
            // Words of git in the language of `LC_ALL=C`; the caller's own may be another, and say no less.
            match text.contains("could not read Username") || text.contains("Authentication failed") {
                true => Err(error.with_help("if it is private, give a token: --secret id=GIT_AUTH_TOKEN,env=…")),
                false => Err(error),
            }
        }
    }
}

/// `git` quotes addresses.
fn without_secret_in_quotes(word: &str) -> String {
    let start = word.find(|it: char| it.is_ascii_alphanumeric()).unwrap_or(0);
    let (before, address) = word.split_at(start);
    format!("{before}{}", remote::without_secret(address))
}

/// Variables by which a process above this one says where its own repository is.
const REPOSITORY: [&str; 10] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_GRAFT_FILE",
];

/// Variables that say how this machine reaches others, and nothing of who asks.
const MACHINE: [&str; 14] = [
    "PATH",
    "SYSTEMROOT",
    "TMPDIR",
    "TEMP",
    "TMP",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "GIT_EXEC_PATH",
];

/// Of the caller's variables, those that `git` gets, and others that close the rest. Source: BuildKit's `gitutil`.
fn environment(own: Own<'_>, caller: impl Iterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
    let is_of = |name: &OsStr, names: &[&str]| names.iter().any(|it| name.eq_ignore_ascii_case(it));
    let Own::Agent(agent) = own else {
        return caller.filter(|(name, _)| !is_of(name, &REPOSITORY)).collect();
    };
    // No file of settings is read, no key but the agent's is used, and nobody is asked.
    let closed = [
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("HOME", "/dev/null"),
        ("LC_ALL", "C"),
        ("GIT_SSH_COMMAND", "ssh -F /dev/null -o IdentityFile=none -o BatchMode=yes"),
    ];
    let closed = closed.into_iter().map(|(name, value)| (name.into(), value.into()));
    let agent = agent.map(|socket| ("SSH_AUTH_SOCK".into(), socket.into()));
    caller.filter(|(name, _)| is_of(name, &MACHINE)).chain(closed).chain(agent).collect()
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
    fn what_a_dockerfile_names_gets_nothing_of_the_caller() {
        let caller =
            ["PATH=/bin", "https_proxy=p", "HOME=/home/me", "SSH_AUTH_SOCK=/own", "GIT_DIR=/g", "GIT_ASKPASS=x"];
        let check = |own, expected: &[&str]| {
            let pair = |it: &&str| it.split_once('=').map(|(name, value)| (name.into(), value.into())).unwrap();
            let found = environment(own, caller.iter().map(pair));
            let line = |(name, value): (OsString, OsString)| format!("{}={}", name.display(), value.display());
            let found = found.into_iter().map(line).filter(|it| !it.starts_with("GIT_CONFIG") && !it.contains("=ssh"));
            assert_eq!(found.collect::<Vec<_>>(), expected);
        };
        let own = ["PATH=/bin", "https_proxy=p", "HOME=/home/me", "SSH_AUTH_SOCK=/own", "GIT_ASKPASS=x"];
        check(Own::All, &own);
        check(Own::Agent(None), &["PATH=/bin", "https_proxy=p", "HOME=/dev/null", "LC_ALL=C"]);
        let with_agent = ["PATH=/bin", "https_proxy=p", "HOME=/dev/null", "LC_ALL=C", "SSH_AUTH_SOCK=/given"];
        check(Own::Agent(Some(Path::new("/given"))), &with_agent);
        assert!(is_by_ssh("git@host:a.git") && is_by_ssh("ssh://host/a") && !is_by_ssh("https://host/a.git"));
    }

    #[test]
    fn what_git_says_has_no_password() {
        let check = |word: &str, expected: &str| assert_eq!(without_secret_in_quotes(word), expected);
        check("'https://me:secret@host/a.git/':", "'https://xxxxx:xxxxx@host/a.git/':");
        check("fatal:", "fatal:");
        check("--", "--");
    }

    #[cfg(unix)]
    #[test]
    fn a_part_of_a_repository_is_found_behind_links() {
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(top.path().join("real/tree/sub")).unwrap();
        let tree = top.path().join("link/tree");
        std::os::unix::fs::symlink("real", top.path().join("link")).unwrap();
        std::os::unix::fs::symlink("..", tree.join("out")).unwrap();
        assert!(inside_of(&tree, "sub").is_some());
        assert_eq!((inside_of(&tree, "out"), inside_of(&tree, "none")), (None, None));
    }
}
