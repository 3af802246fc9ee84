//! COPY and ADD.
//!
//! All paths are looked up below the source's and the destination's own root, through descriptors, so neither a
//! link that is there nor one put there meanwhile leads out of them (CVE-2018-15664).

use super::add_archive;
use super::chmod::Chmod;
use super::selection::Selection;
use super::sources::{Found, Source};
use super::task::{CopyTask, Input, TaskError};
use super::tree_copy::{Copier, Rules};
use super::users;
use crate::dockerfile::wildcard::has_wildcard;
use crate::plan::remote::file_name;
use crate::plan::{Copy, CopySource};
use crate::snapshot::rooted::{At, Root, child, clean, split};
use crate::snapshot::tree_writer::{Attributes, NO_TIME, TreeWriter, UNCHANGED, Xattrs, mtime};
use bstr::{BStr, BString, ByteSlice};
use std::io;
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

/// Whether the instruction does not look at the file system that it adds to: `--link`. Then the root that
/// [`copy`] gets has no layers below.
pub fn on_empty_root(copy: &Copy) -> bool {
    // BuildKit does without where there is a mode to set.
    copy.link && copy.chmod.is_none()
}

/// Copies what the instruction says into the file system `root`. `source` is the root of the task's input, if that
/// is a stack of layers. Answers with what the user should know, in sentences.
pub fn copy(task: &CopyTask, source: Option<BorrowedFd<'_>>, root: BorrowedFd<'_>) -> Result<Vec<String>, TaskError> {
    let copy = &task.copy;
    let source = Source::open(task.input.as_ref(), source)?;
    let chmod = copy.chmod.as_deref().map(Chmod::parse).transpose()?;
    let owner = copy.chown.as_deref().map(|spec| users::owner(root, "--chown", spec)).transpose()?;
    let notices = owner.as_ref().map(|owner| owner.notices.clone()).unwrap_or_default();
    let owner = owner.map(|owner| (owner.uid, owner.gid));
    let selection = Selection::new(None, &copy.exclude)?;
    let (uid, gid) = owner.unwrap_or((UNCHANGED, UNCHANGED));
    let mode = chmod.as_ref().map_or(0o755, Chmod::of_parents);
    let implied = Attributes { mode, uid, gid, mtime: NO_TIME };
    let root = Root::of(root).map_err(|error| TaskError::engine(format!("the file system's root: {error}")))?;
    let mut to = Destination { writer: TreeWriter::new(root, implied), path: copy.dest.clone(), notices };
    let rules = Rules { owner, chmod, ..Rules::default() };

    let mut fetched = task.fetched.iter();
    for from in &copy.sources {
        match from {
            CopySource::Path(path) if copy.parents => copy_parents(&source, path, &copy.exclude, &rules, &mut to)?,
            CopySource::Path(path) => {
                let found = source.expand(path)?;
                if found.is_empty() {
                    to.notices.push(format!("no file matches {path:?}"));
                }
                for found in found {
                    let unpack = copy.unpack.unwrap_or(copy.add);
                    if unpack && add_archive::unpack(&source, &found, &rules, &mut to)? {
                        continue;
                    }
                    copy_found(&source, &found, &selection, true, &rules, &mut to)?;
                }
            }
            CopySource::Inline { name, content } => write_inline(name, content, &rules, &mut to)?,
            CopySource::Url(address) => {
                let (_, path) =
                    fetched.next().filter(|(from, _)| from == address).ok_or_else(|| not_fetched(address))?;
                copy_fetched_file(path, address, copy.unpack == Some(true), &rules, &mut to)?;
            }
            CopySource::Git(address) => {
                let (_, path) =
                    fetched.next().filter(|(from, _)| from == address).ok_or_else(|| not_fetched(address))?;
                let name = BStr::new(path.as_os_str().as_bytes());
                let source = Source::fetched(Root::open(path).at("open", name)?);
                let found = source.find(BStr::new(""))?.ok_or_else(|| not_fetched(address))?;
                copy_found(&source, &found, &selection, false, &rules, &mut to)?;
            }
        }
    }
    let mut notices = to.notices;
    notices.extend(to.writer.finish()?);
    Ok(notices)
}

/// Copies one path of an input, with owners and all, to `to` below `root`: what a mount shows. Of the input's own root
/// only the contents are copied.
pub(super) fn copy_path(
    input: &Input,
    stack: Option<BorrowedFd<'_>>,
    path: &str,
    root: BorrowedFd<'_>,
    to: &str,
) -> Result<(), TaskError> {
    let source = Source::open(Some(input), stack)?;
    let path = clean(BStr::new(path));
    let found = source.find(path.as_bstr())?.ok_or_else(|| source.missing(path.as_bstr()))?;
    let implied = Attributes { mode: 0o755, uid: 0, gid: 0, mtime: NO_TIME };
    let root = Root::of(root).map_err(|error| TaskError::engine(format!("the mount's root: {error}")))?;
    let mut to = Destination { writer: TreeWriter::new(root, implied), path: to.to_owned(), notices: Vec::new() };
    let all = Selection::new(None, &[])?;
    copy_found(&source, &found, &all, path.is_empty(), &Rules::default(), &mut to)?;
    to.writer.finish()?;
    Ok(())
}

fn not_fetched(address: &str) -> TaskError {
    TaskError::engine(format!("{address} was not fetched"))
}

/// Where an instruction copies to.
pub(super) struct Destination {
    pub(super) writer: TreeWriter,
    /// As in the instruction; ends with a slash if it must be a directory.
    path: String,
    /// What the user should know.
    pub(super) notices: Vec<String>,
}

impl Destination {
    fn path(&self) -> BString {
        clean(BStr::new(&self.path))
    }

    /// The destination as a directory for an archive, made if need be. `--chmod` is not for it.
    pub(super) fn directory(&mut self) -> Result<BString, TaskError> {
        let path = self.path();
        let implied = Attributes { mode: 0o755, ..self.writer.implied() };
        self.writer.make_dirs_as(path.as_bstr(), implied).map_err(|error| self.not_usable(error))
    }

    /// The canonical path that a source goes to; its parent is there then. A file goes into a directory under its own
    /// name; of a directory goes what is in it, unless `itself`.
    fn prepare(&mut self, base: &BStr, directory: bool, itself: bool) -> Result<BString, TaskError> {
        let path = self.path();
        let must_exist = if self.path.ends_with('/') { path.as_bstr() } else { split(path.as_bstr()).0 };
        self.writer.make_dirs(must_exist).map_err(|error| self.not_usable(error))?;
        let found = self.writer.root.resolve(path.as_bstr(), true).map_err(|error| self.not_usable(error))?;
        let stat = if found.exists { self.writer.root.stat(found.path.as_bstr()).ok() } else { None };
        let into = stat.is_some_and(|stat| super::sources::is_dir(&stat));
        let target = match directory {
            true if itself && stat.is_some() => child(found.path.as_bstr(), base),
            true => found.path,
            false if into => child(found.path.as_bstr(), base),
            false => found.path,
        };
        let target = clean(target.as_bstr());
        let needed = if directory && !itself && stat.is_none() { target.as_bstr() } else { split(target.as_bstr()).0 };
        self.writer.make_dirs(needed).map_err(|error| self.not_usable(error))?;
        Ok(target)
    }

    fn not_usable(&self, error: io::Error) -> TaskError {
        let message = format!("cannot copy to {:?}: {error}", self.path);
        match error.raw_os_error() {
            Some(libc::ENOTDIR) => TaskError::input(format!(
                "cannot copy to {:?}: something on the way is there and no directory",
                self.path
            )),
            Some(libc::ELOOP) => TaskError::input(message),
            _ => TaskError::engine(message),
        }
    }
}

fn copy_found(
    source: &Source,
    found: &Found,
    selection: &Selection,
    contents: bool,
    rules: &Rules,
    to: &mut Destination,
) -> Result<u64, TaskError> {
    let target = to.prepare(found.base.as_bstr(), found.is_dir(), !contents)?;
    let mut copier = Copier::new(source, rules, &mut to.writer);
    copier.copy(found, selection, target.as_bstr())?;
    Ok(copier.taken)
}

/// A source of `--parents`: everything below the pivot that matches, with the directories that lead to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parents {
    /// What is before `/./`.
    pub(super) pivot: String,
    pub(super) pattern: String,
    /// The path that must be there, where there is no wildcard.
    pub(super) required: Option<BString>,
}

impl Parents {
    pub(super) fn of(path: &str) -> Parents {
        let (pivot, pattern) = path.split_once("/./").unwrap_or(("", path));
        let pattern = clean(BStr::new(pattern)).to_string();
        let wild = has_wildcard(pivot.as_bytes()) || has_wildcard(pattern.as_bytes());
        let required = (!wild).then(|| clean(BStr::new(&format!("{pivot}/{pattern}"))));
        Parents { pivot: pivot.to_owned(), pattern, required }
    }
}

fn copy_parents(
    source: &Source,
    path: &str,
    exclude: &[String],
    rules: &Rules,
    to: &mut Destination,
) -> Result<(), TaskError> {
    let parents = Parents::of(path);
    let selection = Selection::new(Some(&parents.pattern), exclude)?;
    let mut taken = 0;
    for found in source.expand(&parents.pivot)? {
        taken += copy_found(source, &found, &selection, true, rules, to)?;
    }
    match parents.required {
        Some(path) if taken == 0 => Err(source.missing(path.as_bstr())),
        _ => Ok(()),
    }
}

fn write_inline(name: &str, content: &[u8], rules: &Rules, to: &mut Destination) -> Result<(), TaskError> {
    let (uid, gid) = rules.owner.unwrap_or((0, 0));
    let mode = rules.chmod.as_ref().map_or(0o644, |chmod| chmod.apply(0o644, false));
    let attributes = Attributes { mode, uid, gid, mtime: NO_TIME };
    let base = split(clean(BStr::new(name)).as_bstr()).1.to_owned();
    new_file(base.as_bstr(), attributes, to, |mut file, path| Ok(file.write_all(content).at("write", path)?))
}

/// A file from a URL is only root's to read, unless a mode is given.
fn copy_fetched_file(
    path: &std::path::Path,
    address: &str,
    unpack: bool,
    rules: &Rules,
    to: &mut Destination,
) -> Result<(), TaskError> {
    let name = BStr::new(path.as_os_str().as_bytes());
    let base = file_name(address);
    if unpack && add_archive::unpack_file(std::fs::File::open(path).at("open", name)?, rules, to)? {
        return Ok(());
    }
    let file = std::fs::File::open(path).at("open", name)?;
    let stat = rustix::fs::fstat(&file).at("read", name)?;
    let (uid, gid) = rules.owner.unwrap_or((0, 0));
    let mode = rules.chmod.as_ref().map_or(0o600, |chmod| chmod.apply(0o600, false));
    let attributes = Attributes { mode, uid, gid, mtime: mtime(&stat) };
    new_file(BStr::new(&base), attributes, to, |to, path| {
        Ok(super::tree_copy::Streams::default().copy(&file, to).at("copy to", path)?)
    })
}

/// Makes a file where the instruction copies to, in place of another one.
fn new_file(
    base: &BStr,
    attributes: Attributes,
    to: &mut Destination,
    fill: impl FnOnce(&std::fs::File, &BStr) -> Result<(), TaskError>,
) -> Result<(), TaskError> {
    let target = to.prepare(base, false, false)?;
    let (parent, name) = split(target.as_bstr());
    let place = to.writer.place(parent)?;
    match to.writer.root.stat(target.as_bstr()) {
        Ok(stat) if super::sources::is_dir(&stat) => {
            return Err(TaskError::input(format!(
                "/{target} in this stage is a directory already, and no file can take its place"
            )));
        }
        Ok(_) => to.writer.remove(&place, name)?,
        Err(_) => {}
    }
    to.writer.file(&place, name, attributes, &Xattrs::new(), |file| fill(file, target.as_bstr()))
}

#[cfg(test)]
pub(super) mod tests;
