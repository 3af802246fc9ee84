//! What COPY and ADD read from: a directory of the host as its ignore file leaves it, or a file system of the build.

use super::task::{Input, TaskError};
use crate::dockerfile::ignore::{Ignore, Verdict};
use crate::dockerfile::nearest::{distance, nearest_few};
use crate::dockerfile::wildcard::{Wildcard, has_wildcard};
use crate::snapshot::rooted::{At, PathError, Root, child, clean, split};
use crate::snapshot::scan::names;
use bstr::{BStr, BString, ByteSlice};
use rustix::fs::{self, AtFlags, FileType, Stat};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// Entries that are looked through to find a path like one that is missing.
const SEARCHED: usize = 20_000;

/// A tree to copy from. Nothing in it can lead out of it.
#[derive(Debug)]
pub(super) struct Source {
    /// `None` for nothing at all (`scratch`).
    root: Option<Root>,
    ignore: Option<Ignore>,
    /// A directory of the host, whose files count as root's.
    pub(super) foreign: bool,
    /// For messages.
    what: &'static str,
}

/// Something in a source.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// Without symbolic links.
    pub(super) path: BString,
    /// The last name as it was asked for, before symbolic links were followed.
    pub(super) base: BString,
    pub(super) stat: Stat,
    /// What the ignore file says of it.
    pub(super) verdict: Verdict,
}

impl Found {
    pub(super) fn is_dir(&self) -> bool {
        is_dir(&self.stat)
    }
}

impl Source {
    /// `root` is the input's own, for a stack of layers; a directory of the host is opened by its path.
    pub(super) fn open(input: Option<&Input>, root: Option<BorrowedFd<'_>>) -> Result<Source, TaskError> {
        let unreadable = |error: io::Error| TaskError::engine(format!("cannot open what is to be copied: {error}"));
        match input {
            None | Some(Input::Scratch) => {
                Ok(Source { root: None, ignore: None, foreign: false, what: "an empty stage" })
            }
            Some(Input::Stack(_)) => {
                let root = root.ok_or_else(|| TaskError::engine("the stage to copy from is not mounted"))?;
                let root = Root::of(root).map_err(unreadable)?;
                Ok(Source { root: Some(root), ignore: None, foreign: false, what: "the stage it is copied from" })
            }
            Some(Input::Directory { path, ignore }) => {
                let root = match root {
                    Some(root) => Root::of(root).map_err(unreadable)?,
                    None => Root::open(path).map_err(|error| {
                        TaskError::input(format!("cannot open the build context {}: {error}", path.display()))
                    })?,
                };
                let ignore =
                    match ignore {
                        Some(text) => Some(Ignore::parse(text).and_then(Ignore::usable).map_err(|error| {
                            TaskError::input(format!("the ignore file of the build context: {error}"))
                        })?),
                        None => None,
                    };
                let ignore = ignore.filter(|it| !it.is_empty());
                Ok(Source { root: Some(root), ignore, foreign: true, what: "the build context" })
            }
        }
    }

    /// A directory that was fetched for ADD; its files count as root's.
    pub(super) fn fetched(root: Root) -> Source {
        Source { root: Some(root), ignore: None, foreign: true, what: "what was fetched" }
    }

    /// The tree, where there is one; an empty stage has nothing that a [`Found`] could be made of.
    pub(super) fn root(&self) -> Result<&Root, TaskError> {
        self.root.as_ref().ok_or_else(|| TaskError::input("an empty stage has no files"))
    }

    /// Follows a path, symbolic links too. `None` if nothing is there, or nothing that the ignore file leaves.
    pub(super) fn find(&self, path: &BStr) -> Result<Option<Found>, TaskError> {
        let Some(root) = &self.root else { return Ok(None) };
        let visible = |link: &BStr| self.verdict(link).is_none_or(|verdict| !verdict.ignored);
        let found = match root.resolve_visible(path, &visible) {
            Ok(found) if found.exists => found,
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(None),
            Err(error) => return Err(self.failed(PathError::new("read", path, error))),
        };
        let stat = match root.stat(found.path.as_bstr()) {
            Ok(stat) => stat,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed(PathError::new("read", path, error))),
        };
        let verdict = self.verdict(found.path.as_bstr()).unwrap_or_default();
        if !self.shows(found.path.as_bstr(), &stat, &verdict)? {
            return Ok(None);
        }
        let base = split(clean(path).as_bstr()).1.to_owned();
        Ok(Some(Found { path: found.path, base, stat, verdict }))
    }

    /// What the ignore file says of an entry of a directory.
    pub(super) fn entry_verdict(&self, parent: &Verdict, path: &BStr) -> Verdict {
        match &self.ignore {
            Some(ignore) => ignore.child(parent, &path.to_str_lossy()),
            None => Verdict::default(),
        }
    }

    /// Whether a walk must look into a directory of which the ignore file says this.
    pub(super) fn descends(&self, verdict: &Verdict, path: &BStr) -> bool {
        self.ignore.as_ref().is_none_or(|ignore| ignore.descends(verdict, &path.to_str_lossy()))
    }

    fn verdict(&self, path: &BStr) -> Option<Verdict> {
        let ignore = self.ignore.as_ref()?;
        // The top itself cannot be ignored.
        if path.is_empty() { Some(Verdict::default()) } else { Some(ignore.verdict(&path.to_str_lossy())) }
    }

    /// Whether the ignore file leaves a path: one that it does not ignore, or a directory that holds such a one.
    pub(super) fn shows(&self, path: &BStr, stat: &Stat, verdict: &Verdict) -> Result<bool, TaskError> {
        Ok(!verdict.ignored || is_dir(stat) && self.has_visible(path, verdict)?)
    }

    /// Whether an ignored directory holds something that is not.
    fn has_visible(&self, dir: &BStr, verdict: &Verdict) -> Result<bool, TaskError> {
        let mut todo = vec![(dir.to_owned(), verdict.clone())];
        while let Some((dir, verdict)) = todo.pop() {
            if !self.descends(&verdict, dir.as_bstr()) {
                continue;
            }
            for (path, stat) in self.entries(dir.as_bstr())? {
                let verdict = self.entry_verdict(&verdict, path.as_bstr());
                if !verdict.ignored {
                    return Ok(true);
                }
                if is_dir(&stat) {
                    todo.push((path, verdict));
                }
            }
        }
        Ok(false)
    }

    /// Paths and properties in a directory, in byte order of their names.
    fn entries(&self, dir: &BStr) -> Result<Vec<(BString, Stat)>, TaskError> {
        let root = self.root()?;
        let read = || -> io::Result<Vec<(BString, Stat)>> {
            let fd = root.dir(dir)?;
            let mut entries = Vec::new();
            for name in names(fd.as_fd())? {
                // What was deleted meanwhile is not there.
                if let Ok(stat) = fs::statat(&fd, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
                    entries.push((child(dir, name.as_bstr()), stat));
                }
            }
            Ok(entries)
        };
        read().at("read", dir).map_err(|error| self.failed(error))
    }

    /// Entries in a directory that the ignore file leaves, with what it says of them.
    pub(super) fn visible_entries(&self, dir: &Found) -> Result<Vec<Found>, TaskError> {
        let mut out = Vec::new();
        for (path, stat) in self.entries(dir.path.as_bstr())? {
            let verdict = self.entry_verdict(&dir.verdict, path.as_bstr());
            if !self.shows(path.as_bstr(), &stat, &verdict)? {
                continue;
            }
            let base = split(path.as_bstr()).1.to_owned();
            out.push(Found { path, base, stat, verdict });
        }
        Ok(out)
    }

    /// What a source of the instruction means: one path, or all that match a wildcard, in order, each with symbolic
    /// links followed. A path without a wildcard must be there; a wildcard may match nothing.
    pub(super) fn expand(&self, pattern: &str) -> Result<Vec<Found>, TaskError> {
        let path = clean(BStr::new(pattern));
        let parts: Vec<&[u8]> = path.split_str("/").collect();
        let Some(first) = parts.iter().position(|part| has_wildcard(part)) else {
            return match self.find(path.as_bstr())? {
                Some(found) => Ok(vec![found]),
                None => Err(self.missing(path.as_bstr())),
            };
        };
        let (plain, wild) = parts.split_at(first);
        let start = BString::from(bstr::join("/", plain));
        let wild = wild.iter().map(|part| Wildcard::new(part)).collect::<Result<Vec<_>, _>>();
        let wild = wild.map_err(|error| TaskError::input(format!("the wildcard {pattern:?}: {}", error.problem)))?;
        let Some(start) = self.find(start.as_bstr())? else { return Err(self.missing(start.as_bstr())) };
        let mut matched = vec![start];
        for part in &wild {
            let mut next = Vec::new();
            for dir in matched.iter().filter(|it| it.is_dir()) {
                next.extend(self.visible_entries(dir)?.into_iter().filter(|it| part.matches(&it.base)));
            }
            matched = next;
        }
        let mut out = Vec::new();
        for found in matched {
            // A matched link is followed; one that leads nowhere is as missing as any other path.
            match self.find(found.path.as_bstr())? {
                Some(target) => out.push(target),
                None => return Err(self.missing(found.path.as_bstr())),
            }
        }
        Ok(out)
    }

    /// Says what is missing, why, and what there is instead.
    pub(super) fn missing(&self, path: &BStr) -> TaskError {
        let mut error = TaskError::input(format!("/{path} is not in {}", self.what));
        let Some(root) = &self.root else { return error };
        if let Some(ignore) = &self.ignore
            && root.resolve(path, false).is_ok_and(|found| found.exists)
        {
            return match ignore.matched_line(&path.to_str_lossy()) {
                Some(line) => error.with_help(format!("it is there, but line {line} of the ignore file excludes it")),
                None => error.with_help("it is there, but the ignore file excludes what it leads to"),
            };
        }
        if let Some(line) = self.broken_link(path) {
            return error.with_help(line);
        }
        for line in self.nearest(path) {
            error = error.with_help(line);
        }
        error
    }

    /// The first symbolic link on the way that leads to nothing.
    fn broken_link(&self, path: &BStr) -> Option<String> {
        let root = self.root.as_ref()?;
        let ends = path.find_iter(b"/").chain([path.len()]);
        for prefix in ends.map(|end| path[..end].as_bstr()) {
            let found = root.resolve(prefix, false).ok().filter(|found| found.exists)?;
            let stat = root.stat(found.path.as_bstr()).ok()?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink && matches!(self.find(prefix), Ok(None)) {
                let (parent, name) = split(found.path.as_bstr());
                let target = fs::readlinkat(root.place(parent).ok()?, name.as_bytes(), Vec::new()).ok()?;
                let target = BStr::new(target.as_bytes());
                return Some(format!("{prefix:?} is a symbolic link to {target:?}, which is not there"));
            }
        }
        None
    }

    /// Names like the missing one where it should be, and the same name elsewhere.
    fn nearest(&self, path: &BStr) -> Vec<String> {
        let mut help = Vec::new();
        let (mut dir, mut name) = split(path);
        // Up to the first directory that is there: its entries are what the first wrong name may have meant.
        let found = loop {
            match self.find(dir) {
                Ok(Some(found)) if found.is_dir() => break found,
                _ if dir.is_empty() => return help,
                _ => (dir, name) = split(dir),
            }
        };
        let entries = self.visible_entries(&found).unwrap_or_default();
        let texts: Vec<String> = entries.iter().map(|it| it.base.to_str_lossy().into_owned()).collect();
        let wrong = name.to_str_lossy();
        let mut near = nearest_few(&wrong, texts.iter().map(String::as_str), 3);
        // Of a short name not much may be wrong.
        near.retain(|it| distance(&wrong, it, wrong.chars().count().div_ceil(2)).is_some());
        let shown = |name: &str| format!("{:?}", child(dir, BStr::new(name)));
        if !near.is_empty() {
            help.push(format!("did you mean {}?", near.into_iter().map(shown).collect::<Vec<_>>().join(" or ")));
        }
        let elsewhere = self.same_name(split(path).1);
        if !elsewhere.is_empty() {
            help.push(format!(
                "there is {}",
                elsewhere.iter().map(|it| format!("{it:?}")).collect::<Vec<_>>().join(", ")
            ));
        }
        if help.is_empty() {
            let place = if dir.is_empty() { self.what.to_owned() } else { format!("{dir:?}") };
            let list: Vec<String> = texts.iter().take(8).map(|it| format!("{it:?}")).collect();
            let more = if texts.len() > 8 { format!(" and {} more", texts.len() - 8) } else { String::new() };
            help.push(match list.is_empty() {
                true => format!("{place} is empty"),
                false => format!("{place} has {}{more}", list.join(", ")),
            });
        }
        help
    }

    /// Up to three paths that end in this name.
    fn same_name(&self, name: &BStr) -> Vec<BString> {
        let mut out = Vec::new();
        let mut todo = std::collections::VecDeque::new();
        let mut seen = 0;
        if let Ok(Some(top)) = self.find(BStr::new("")) {
            todo.push_back(top);
        }
        while let Some(dir) = todo.pop_front() {
            for found in self.visible_entries(&dir).unwrap_or_default() {
                seen += 1;
                if seen > SEARCHED || out.len() == 3 {
                    return out;
                }
                if found.base == name {
                    out.push(found.path.clone());
                }
                if found.is_dir() {
                    todo.push_back(found);
                }
            }
        }
        out
    }

    /// A fault while reading is the engine's, unless the file's own mode forbids it.
    pub(super) fn failed(&self, error: PathError) -> TaskError {
        if error.source.kind() == io::ErrorKind::PermissionDenied && self.foreign {
            return TaskError::input(error.to_string())
                .with_help("the user who builds must be able to read it; or name it in .dockerignore");
        }
        error.into()
    }
}

pub(super) fn is_dir(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}
