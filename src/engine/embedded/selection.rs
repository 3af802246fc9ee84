//! Which parts of a tree COPY takes, for the copy itself and for the digest that its cache key needs.

use super::sources::{Found, Source};
use super::task::TaskError;
use crate::dockerfile::ignore::{Ignore, IgnoreError, Verdict};
use crate::snapshot::rooted::{At, PathError, child};
use crate::snapshot::scan;
use bstr::{BStr, BString, ByteSlice};
use rustix::fs::{self, AtFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};

/// What is taken of a source besides what its ignore file leaves. Patterns are held against paths from the source's
/// own directory; they never apply to the source itself.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// Only what a pattern matches, as a list that ignores all the rest.
    only: Option<Ignore>,
    /// All but what matches.
    exclude: Option<Ignore>,
}

impl Selection {
    /// `only` is the pattern of `--parents`.
    pub(super) fn new(only: Option<&str>, exclude: &[String]) -> Result<Selection, TaskError> {
        let wrong =
            |error: IgnoreError| TaskError::input(format!("the pattern {:?}: {}", error.pattern, error.problem));
        let only = only.map(Ignore::all_but);
        let exclude = (!exclude.is_empty()).then(|| Ignore::from_patterns(exclude.iter().map(String::as_str)));
        Ok(Selection { only: only.transpose().map_err(wrong)?, exclude: exclude.transpose().map_err(wrong)? })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Yes,
    /// The selection leaves it out, but not all that is in it.
    LeftOut,
}

/// Gets the selected part of a tree, directories before what is in them.
pub(super) trait Visit {
    /// A directory below the source's own. One that is not wanted itself comes with the first thing in it that is.
    fn directory(&mut self, found: &Found, relative: &BStr, wanted: Wanted) -> Result<(), TaskError>;

    /// Anything else. `dir` is the open directory that it lies in, under the name `found.base`.
    fn entry(&mut self, dir: BorrowedFd<'_>, found: &Found, relative: &BStr) -> Result<(), TaskError>;
}

/// A directory of the source that is still to be read.
struct Job {
    found: Found,
    relative: BString,
    only: Verdict,
    exclude: Verdict,
    wanted: Wanted,
    /// How many directories lie above it.
    depth: usize,
}

/// A directory on the way to the current one.
struct Level {
    found: Found,
    relative: BString,
    wanted: Wanted,
    visited: bool,
}

/// Walks a directory of the source, with a list of what is still to be done instead of a recursion: a tree may be
/// deeper than a stack.
pub(super) fn walk(
    source: &Source,
    top: &Found,
    selection: &Selection,
    visit: &mut impl Visit,
) -> Result<(), TaskError> {
    let mut levels: Vec<Level> = Vec::new();
    let mut jobs = vec![Job {
        found: top.clone(),
        relative: BString::default(),
        only: Verdict::default(),
        exclude: Verdict::default(),
        wanted: Wanted::Yes,
        depth: 0,
    }];
    while let Some(job) = jobs.pop() {
        levels.truncate(job.depth);
        levels.push(Level {
            found: job.found.clone(),
            relative: job.relative.clone(),
            wanted: job.wanted,
            visited: job.depth == 0,
        });
        if job.wanted == Wanted::Yes {
            visit_levels(&mut levels, visit)?;
        }
        let below = read_directory(source, &job, selection, &mut levels, visit)?;
        jobs.extend(below.into_iter().rev());
    }
    Ok(())
}

fn visit_levels(levels: &mut [Level], visit: &mut impl Visit) -> Result<(), TaskError> {
    for level in levels.iter_mut().filter(|it| !it.visited) {
        visit.directory(&level.found, level.relative.as_bstr(), level.wanted)?;
        level.visited = true;
    }
    Ok(())
}

/// Visits the files of one directory, and answers with the directories in it.
fn read_directory(
    source: &Source,
    job: &Job,
    selection: &Selection,
    levels: &mut [Level],
    visit: &mut impl Visit,
) -> Result<Vec<Job>, TaskError> {
    let path = job.found.path.as_bstr();
    let fail = |error: PathError| source.failed(error);
    let dir = source.root()?.dir(path).at("read", path).map_err(fail)?;
    let mut below = Vec::new();
    for name in scan::names(dir.as_fd()).at("read", path).map_err(fail)? {
        let path = child(path, name.as_bstr());
        let relative = child(job.relative.as_bstr(), name.as_bstr());
        let (only, only_below) = judge(&selection.only, &job.only, &relative);
        let (exclude, exclude_below) = judge(&selection.exclude, &job.exclude, &relative);
        let verdict = source.entry_verdict(&job.found.verdict, path.as_bstr());
        let wanted = if only.ignored || exclude.ignored { Wanted::LeftOut } else { Wanted::Yes };
        let below_wanted = only_below && exclude_below && source.descends(&verdict, path.as_bstr());
        // Nothing is asked of a file that is not wanted: it may not even be readable.
        if (wanted != Wanted::Yes || verdict.ignored) && !below_wanted {
            continue;
        }
        let stat = match fs::statat(&dir, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
            // Deleted since the directory was read.
            Err(Errno::NOENT) => continue,
            stat => stat.at("read", path.as_bstr()).map_err(fail)?,
        };
        if !source.shows(path.as_bstr(), &stat, &verdict)? {
            continue;
        }
        let found = Found { path, base: name, stat, verdict };
        if found.is_dir() {
            below.push(Job { found, relative, only, exclude, wanted, depth: job.depth + 1 });
        } else if wanted == Wanted::Yes {
            visit_levels(levels, visit)?;
            visit.entry(dir.as_fd(), &found, relative.as_bstr())?;
        }
    }
    Ok(below)
}

/// What a list of patterns says of an entry, and whether something below it may be wanted.
fn judge(list: &Option<Ignore>, parent: &Verdict, relative: &BString) -> (Verdict, bool) {
    let Some(list) = list else { return (Verdict::default(), true) };
    let path = relative.to_str_lossy();
    let verdict = list.child(parent, &path);
    let below = list.descends(&verdict, &path);
    (verdict, below)
}
