//! Which files of a directory a builder is shown, and in what order.
//!
//! Source: BuildKit's `fsutil`: patterns to include and to exclude are those of `.dockerignore`; paths to follow are
//! resolved through symbolic links first. A directory that no pattern names is shown if something in it is.

use crate::dockerfile::ignore::{Ignore, Verdict};
use crate::dockerfile::wildcard::{Wildcard, has_wildcard};
use crate::system;
use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::path::Path;

/// What a builder asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) include: Vec<String>,
    pub(super) exclude: Vec<String>,
    pub(super) follow: Vec<String>,
}

/// Something to show: its path relative to the directory, with `/` between names.
pub(super) struct Found {
    pub(super) path: String,
    pub(super) metadata: Metadata,
}

/// Links that are followed for all paths together, at most.
const LINKS: usize = 10_000;

/// Calls `show` with everything in order: names sorted, a directory before what is in it. `show` says whether to go on.
pub(super) fn walk(root: &Path, filter: &Filter, show: &mut dyn FnMut(Found) -> bool) -> io::Result<()> {
    let mut include = filter.include.clone();
    if !filter.follow.is_empty()
        && let Some(followed) = follow(root, &filter.follow)?
    {
        include.extend(followed);
        include = without_repetition(include).unwrap_or_default();
    }
    let patterns = |list: &[String]| {
        let rules = Ignore::from_patterns(list.iter().map(String::as_str));
        rules.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))
    };
    let rules = Rules {
        include: if include.is_empty() { None } else { Some((patterns(&include)?, include)) },
        exclude: if filter.exclude.is_empty() { None } else { Some(patterns(&filter.exclude)?) },
    };
    let top = Level::open(root, String::new(), Judged::default(), None)?;
    let mut levels = vec![top];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.next() else {
            levels.pop();
            continue;
        };
        let judged_path = child(&level.path, &name.to_string_lossy());
        let judged = rules.judge(&level.judged, &judged_path);
        let found = root.join(&level.path).join(&name);
        let metadata = match fs::symlink_metadata(&found) {
            Ok(metadata) => metadata,
            // Deleted since the directory was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(at(&found, &error)),
        };
        let descend = metadata.is_dir() && rules.descends(&judged, &judged_path);
        if !judged.shown && !descend {
            continue;
        }
        let path = match name.to_str() {
            Some(name) => child(&level.path, name),
            None => {
                let message = "its name is not UTF-8, which a builder cannot be told";
                return Err(at(&found, &io::Error::new(io::ErrorKind::InvalidData, message)));
            }
        };
        if judged.shown {
            // The directories that lead here, as far as they have not been shown themselves.
            for level in &mut levels {
                if let Some(metadata) = level.unshown.take()
                    && !show(Found { path: level.path.clone(), metadata })
                {
                    return Ok(());
                }
            }
            if !show(Found { path: path.clone(), metadata: metadata.clone() }) {
                return Ok(());
            }
        }
        if descend {
            let unshown = (!judged.shown).then_some(metadata);
            match Level::open(root, path, judged, unshown) {
                Ok(level) => levels.push(level),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // What is not wanted need not be readable.
                Err(error)
                    if error.kind() == io::ErrorKind::PermissionDenied
                        && levels.last().is_some_and(|it| it.unshown.is_some()) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// A directory on the way to what is looked at.
struct Level {
    path: String,
    names: std::vec::IntoIter<std::ffi::OsString>,
    judged: Judged,
    /// Set until it is shown.
    unshown: Option<Metadata>,
}

impl Level {
    fn open(root: &Path, path: String, judged: Judged, unshown: Option<Metadata>) -> io::Result<Level> {
        let dir = root.join(&path);
        let read = fs::read_dir(&dir).map_err(|error| at(&dir, &error))?;
        let mut names = read.map(|entry| entry.map(|it| it.file_name())).collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable_by(|one, other| one.as_encoded_bytes().cmp(other.as_encoded_bytes()));
        Ok(Level { path, names: names.into_iter(), judged, unshown })
    }
}

/// What patterns say of one path.
#[derive(Default)]
struct Judged {
    include: Verdict,
    exclude: Verdict,
    shown: bool,
}

struct Rules {
    /// With the patterns as text.
    include: Option<(Ignore, Vec<String>)>,
    exclude: Option<Ignore>,
}

impl Rules {
    fn judge(&self, parent: &Judged, path: &str) -> Judged {
        let include = self.include.as_ref().map(|(rules, _)| rules.child(&parent.include, path));
        let exclude = self.exclude.as_ref().map(|rules| rules.child(&parent.exclude, path));
        let shown = include.as_ref().is_none_or(|it| it.ignored) && !exclude.as_ref().is_some_and(|it| it.ignored);
        Judged { include: include.unwrap_or_default(), exclude: exclude.unwrap_or_default(), shown }
    }

    fn descends(&self, judged: &Judged, path: &str) -> bool {
        let included = match &self.include {
            Some((_, patterns)) => judged.include.ignored || patterns.iter().any(|it| leads_below(it, path)),
            None => true,
        };
        included && self.exclude.as_ref().is_none_or(|rules| rules.descends(&judged.exclude, path))
    }
}

/// Whether a pattern may match something below a directory that it does not match.
fn leads_below(pattern: &str, directory: &str) -> bool {
    let pattern = pattern.trim_start_matches('/');
    let literal = pattern.split(['*', '?', '[', ']', '^', '\\']).next().unwrap_or(pattern);
    match literal.len() < pattern.len() {
        true => true,
        false => pattern.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/')),
    }
}

fn child(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") }
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The paths with what symbolic links on them lead to; `None` if that is everything.
fn follow(root: &Path, paths: &[String]) -> io::Result<Option<Vec<String>>> {
    let mut found = Followed { root, resolved: BTreeSet::new(), steps: 0 };
    for path in paths {
        found.add(path)?;
    }
    Ok(without_repetition(found.resolved.into_iter().collect()))
}

/// Sorted paths without those that lie below another; `None` if one is the root.
fn without_repetition(paths: Vec<String>) -> Option<Vec<String>> {
    let mut kept: Vec<String> = Vec::new();
    for path in paths {
        if path == "." {
            return None;
        }
        let below = |it: &String| path.strip_prefix(it.as_str()).is_some_and(|rest| rest.starts_with('/'));
        if !kept.last().is_some_and(below) {
            kept.push(path);
        }
    }
    Some(kept)
}

struct Followed<'a> {
    root: &'a Path,
    resolved: BTreeSet<String>,
    steps: usize,
}

impl Followed<'_> {
    fn add(&mut self, path: &str) -> io::Result<()> {
        let mut open = vec![path.to_owned()];
        while let Some(path) = open.pop() {
            self.steps += 1;
            if self.steps > LINKS {
                return Err(io::Error::other("too many symbolic links on the paths that the builder asked for"));
            }
            let names: Vec<&str> = cleaned(&path);
            if names.is_empty() {
                self.resolved.insert(".".to_owned());
                continue;
            }
            for (index, _) in names.iter().enumerate() {
                let current = names[..=index].join("/");
                let rest = names[index + 1..].join("/");
                let targets = self.targets(&current, true)?;
                let last = rest.is_empty();
                if (last || targets.is_some()) && self.resolved.contains(&current) {
                    break;
                }
                if let Some(targets) = targets {
                    self.resolved.insert(current);
                    open.extend(targets.into_iter().map(|target| child(&target, &rest)));
                    break;
                }
                if last {
                    self.resolved.insert(current);
                }
            }
        }
        Ok(())
    }

    /// Where a path leads if it is a link, or a wildcard that matches links.
    fn targets(&self, path: &str, wildcards: bool) -> io::Result<Option<Vec<String>>> {
        let (dir, base) = path.rsplit_once('/').unwrap_or(("", path));
        if wildcards && has_wildcard(base.as_bytes()) {
            let Ok(entries) = fs::read_dir(self.root.join(dir)) else { return Ok(None) };
            let pattern = Wildcard::new(base.as_bytes());
            let pattern = pattern.map_err(|it| io::Error::new(io::ErrorKind::InvalidInput, it.problem))?;
            let mut out = Vec::new();
            for entry in entries {
                let name = entry?.file_name();
                if let Some(name) = name.to_str().filter(|name| pattern.matches(name.as_bytes())) {
                    out.extend(self.targets(&child(dir, name), false)?.into_iter().flatten());
                }
            }
            return Ok(Some(out).filter(|out| !out.is_empty()));
        }
        let Ok(target) = fs::read_link(self.root.join(path)) else { return Ok(None) };
        let target = system::slashed(&target);
        let target = if target.starts_with('/') { target.into_owned() } else { child(dir, &target) };
        Ok(Some(vec![target]))
    }
}

/// The names of a path as seen from the root, which nothing leads out of.
fn cleaned(path: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for entry in entries {
            let (path, target) = entry.split_once(" -> ").unwrap_or((entry, ""));
            let place = dir.path().join(path);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            if path.ends_with('/') {
                fs::create_dir_all(place).unwrap();
            } else if target.is_empty() {
                fs::write(place, path).unwrap();
            } else {
                #[cfg(unix)]
                std::os::unix::fs::symlink(target, place).unwrap();
            }
        }
        dir
    }

    /// What is shown of the tree; lists are words.
    fn check(entries: &[&str], include: &str, exclude: &str, follow: &str, expected: &str) {
        let dir = tree(entries);
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let filter = Filter { include: words(include), exclude: words(exclude), follow: words(follow) };
        let mut shown = Vec::new();
        walk(dir.path(), &filter, &mut |found| {
            shown.push(found.path);
            true
        })
        .unwrap();
        assert_eq!(shown.join(" "), expected, "{entries:?} +{include} -{exclude} >{follow}");
    }

    const TREE: &[&str] = &["a/b/c", "a/d", "a.txt", "e/", "f"];

    #[test]
    fn order() {
        check(TREE, "", "", "", "a a/b a/b/c a/d a.txt e f");
        check(&["x", "x-y", "x.d/z", "X"], "", "", "", "X x x-y x.d x.d/z");
    }

    #[test]
    fn patterns() {
        check(TREE, "a/b", "", "", "a a/b a/b/c");
        check(TREE, "a/b/c f", "", "", "a a/b a/b/c f");
        check(TREE, "**/c", "", "", "a a/b a/b/c");
        check(TREE, "*.txt", "", "", "a.txt");
        check(TREE, "nothing", "", "", "");
        check(TREE, "", "a", "", "a.txt e f");
        check(TREE, "", "* !a/b", "", "a a/b a/b/c");
        check(TREE, "", "a/* !a/d", "", "a a/d a.txt e f");
        check(TREE, "", "**/b", "", "a a/d a.txt e f");
        check(TREE, "a", "a/b", "", "a a/d");
        check(TREE, "", "*", "", "");
        check(TREE, "", "e f", "", "a a/b a/b/c a/d a.txt");
    }

    #[test]
    #[cfg(unix)]
    fn links() {
        let links = &["a/file", "b -> a", "c/d -> ../a/file", "loop -> loop", "out -> ../../a", "top -> /a/file"];
        check(links, "", "", "a", "a a/file");
        check(links, "", "", "b", "a a/file b");
        check(links, "", "", "b/file", "a a/file b");
        check(links, "", "", "c/d", "a a/file c c/d");
        check(links, "", "", "c", "c c/d");
        check(links, "", "", "loop", "loop");
        check(links, "", "", "out/file", "a a/file out");
        check(links, "", "", "top", "a a/file top");
        check(links, "", "", "/", "a a/file b c c/d loop out top");
        check(links, "", "", "t*", "a a/file top");
        check(links, "", "", "nowhere/x", "");
        check(links, "", "a/file", "b", "a b");
    }

    #[test]
    fn it_stops_when_told() {
        let dir = tree(TREE);
        let mut count = 0;
        walk(dir.path(), &Filter::default(), &mut |_| {
            count += 1;
            count < 2
        })
        .unwrap();
        assert_eq!(count, 2);
    }
}
