//! Which path of its source COPY or ADD took for a path of its destination: the instruction's rules, worked out on
//! trees and without copying anything.
//!
//! The rules are those of `embedded::copy`, whose tests hold both against each other.

use crate::dockerfile::ignore::Ignore;
use crate::dockerfile::wildcard::{Wildcard, has_wildcard};
use crate::layers::follow::{Followed, follow, follow_with};
use crate::layers::path::{child, clean, is_below, split};
use crate::layers::{FileTree, Kind};
use crate::plan::remote::file_name;
use crate::plan::{Copy, CopySource};
use bstr::{BStr, BString, ByteSlice};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Where a copied path came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Copied {
    /// A path of the instruction's source, without symbolic links.
    Path(BString),
    /// Out of an archive, which has this path in the source or this address.
    Archive(BString),
    /// A heredoc of the Dockerfile.
    Inline(String),
    Url(String),
    Git(String),
}

/// What one COPY or ADD put where.
#[derive(Debug, Clone)]
pub struct CopyMap {
    source: Option<Arc<FileTree>>,
    places: Vec<Place>,
    selection: Selection,
}

/// One source with the canonical path that it went to.
#[derive(Debug, Clone)]
struct Place {
    target: BString,
    from: Copied,
    shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    File,
    /// What is in the source's directory is in the target.
    Directory,
    /// As a directory, of which only the selection was taken.
    Selected,
    /// Whatever is below the target and nothing else explains.
    Unknown,
}

#[derive(Debug, Clone, Default)]
struct Selection {
    /// One list for each place that has one, in order.
    only: Vec<(usize, Ignore)>,
    exclude: Option<Ignore>,
}

impl CopyMap {
    /// `source` is the tree that the instruction reads, as its ignore file leaves it; `before` and `after` are the
    /// stage's around the instruction. What cannot be read of the instruction is left out: it failed then, and put
    /// nothing anywhere.
    pub fn new(copy: &Copy, source: Option<Arc<FileTree>>, before: &FileTree, after: &FileTree) -> CopyMap {
        let nothing = FileTree::default();
        let before = if copy.link && copy.chmod.is_none() { &nothing } else { before };
        let exclude = Ignore::from_patterns(copy.exclude.iter().map(String::as_str)).ok();
        let exclude = exclude.filter(|it| !it.is_empty());
        let map = CopyMap { source, places: Vec::new(), selection: Selection { only: Vec::new(), exclude } };
        let mut maker = Maker { map, before, made: BTreeSet::new(), dest: &copy.dest };
        for from in &copy.sources {
            match from {
                CopySource::Path(path) => maker.path(copy, path, after),
                CopySource::Inline { name, .. } => {
                    let base = split(clean(BStr::new(name)).as_bstr()).1.to_owned();
                    maker.file(base.as_bstr(), Copied::Inline(name.clone()));
                }
                CopySource::Url(address) => {
                    if copy.unpack == Some(true) {
                        maker.archive(Copied::Archive(address.as_str().into()));
                    }
                    maker.file(BStr::new(&file_name(address)), Copied::Url(address.clone()));
                }
                CopySource::Git(address) => {
                    // A repository's own directory has no name that anyone knows.
                    if let Some(target) = maker.prepare(BStr::new(""), true, true) {
                        maker.place(target, Copied::Git(address.clone()), Shape::Unknown);
                    }
                }
            }
        }
        maker.map
    }

    /// Where the path in the stage came from, if this instruction put it there.
    pub fn source_of(&self, path: &BStr) -> Option<Copied> {
        let known = (0..self.places.len()).rev().find_map(|index| self.exactly(index, path));
        known.or_else(|| {
            let unknown = |place: &&Place| place.shape == Shape::Unknown;
            let holds = |place: &&Place| path == place.target || is_below(path, place.target.as_bstr());
            self.places.iter().rev().filter(unknown).find(holds).map(|place| place.from.clone())
        })
    }

    fn exactly(&self, index: usize, path: &BStr) -> Option<Copied> {
        let place = self.places.get(index)?;
        let (Copied::Path(from), Shape::Directory | Shape::Selected) = (&place.from, place.shape) else {
            return (place.shape == Shape::File && path == place.target).then(|| place.from.clone());
        };
        if path == place.target {
            return Some(place.from.clone());
        }
        let relative = match place.target.is_empty() {
            true => path,
            false => path.strip_prefix(place.target.as_slice())?.strip_prefix(b"/")?.as_bstr(),
        };
        let candidate = child(from.as_bstr(), relative);
        let tree = self.source.as_deref()?;
        let node = tree.lookup(candidate.as_bstr()).filter(|_| !relative.is_empty())?;
        let is_directory = tree.meta(node).kind == Kind::Directory;
        self.takes(index, relative, is_directory).then_some(Copied::Path(candidate))
    }

    /// Whether the selection has a path below a place. Directories that lead to something come with it.
    fn takes(&self, index: usize, relative: &BStr, directory: bool) -> bool {
        let only = self.selection.only.iter().find(|(at, _)| *at == index).map(|(_, only)| only);
        let text = relative.to_str_lossy();
        only.into_iter().chain(&self.selection.exclude).all(|list| {
            let verdict = list.verdict(&text);
            !verdict.ignored || directory && list.descends(&verdict, &text)
        })
    }

    fn look(&self, path: &BStr) -> Option<(Kind, BString)> {
        match self.source_of(path)? {
            Copied::Path(from) => {
                let tree = self.source.as_deref()?;
                let meta = tree.meta(tree.lookup(from.as_bstr())?);
                Some((meta.kind, meta.target.to_owned()))
            }
            Copied::Inline(_) | Copied::Url(_) => Some((Kind::File, BString::default())),
            Copied::Archive(_) | Copied::Git(_) => None,
        }
    }
}

/// A map in the making, with what the instruction has made so far.
struct Maker<'a> {
    map: CopyMap,
    before: &'a FileTree,
    /// Directories that were made on the way.
    made: BTreeSet<BString>,
    dest: &'a str,
}

impl Maker<'_> {
    fn path(&mut self, copy: &Copy, path: &str, after: &FileTree) {
        let (pivot, only) = match copy.parents {
            true => {
                let (pivot, pattern) = path.split_once("/./").unwrap_or(("", path));
                (pivot, Some(clean(BStr::new(pattern)).to_string()))
            }
            false => (path, None),
        };
        for (base, found) in self.expand(pivot) {
            let directory = found.kind == Some(Kind::Directory);
            let unpacks = !directory && copy.unpack.unwrap_or(copy.add) && !copy.parents;
            if unpacks && self.was_unpacked(base.as_bstr(), &found, after) {
                self.archive(Copied::Archive(found.path));
                continue;
            }
            let Some(target) = self.prepare(base.as_bstr(), directory, false) else { continue };
            let shape = match (directory, &only) {
                (false, _) => Shape::File,
                (true, None) => Shape::Directory,
                (true, Some(pattern)) => {
                    let Ok(list) = Ignore::all_but(pattern) else { continue };
                    self.map.selection.only.push((self.map.places.len(), list));
                    Shape::Selected
                }
            };
            self.place(target, Copied::Path(found.path), shape);
        }
    }

    /// Whether the archive itself is not where a file of its name would have gone.
    fn was_unpacked(&self, base: &BStr, found: &Followed, after: &FileTree) -> bool {
        let mut trial = Maker { map: self.map.clone(), made: self.made.clone(), ..*self };
        let Some(target) = trial.prepare(base, false, false) else { return false };
        let size = |tree: &FileTree, path: &BStr| {
            tree.lookup(path).map(|id| tree.meta(id)).filter(|meta| meta.kind == Kind::File).map(|meta| meta.size)
        };
        let source = self.map.source.as_deref().and_then(|tree| size(tree, found.path.as_bstr()));
        source.is_some() && size(after, target.as_bstr()) != source
    }

    fn file(&mut self, base: &BStr, from: Copied) {
        if let Some(target) = self.prepare(base, false, false) {
            self.place(target, from, Shape::File);
        }
    }

    /// An archive's contents go into the destination itself.
    fn archive(&mut self, from: Copied) {
        let path = clean(BStr::new(self.dest));
        if let Some(target) = self.make_dirs(path.as_bstr()) {
            self.place(target, from, Shape::Unknown);
        }
    }

    fn place(&mut self, target: BString, from: Copied, shape: Shape) {
        self.map.places.push(Place { target, from, shape });
    }

    /// The canonical path that a source goes to: a file into a directory under its own name, of a directory what is
    /// in it, unless `itself`.
    fn prepare(&mut self, base: &BStr, directory: bool, itself: bool) -> Option<BString> {
        let path = clean(BStr::new(self.dest));
        let must_exist = if self.dest.ends_with('/') { path.as_bstr() } else { split(path.as_bstr()).0 };
        self.make_dirs(must_exist)?;
        let found = follow_with(path.as_bstr(), true, |path| self.look(path))?;
        let into = found.kind == Some(Kind::Directory);
        let target = match directory {
            true if itself && found.kind.is_some() => child(found.path.as_bstr(), base),
            true => found.path.clone(),
            false if into => child(found.path.as_bstr(), base),
            false => found.path.clone(),
        };
        let target = clean(target.as_bstr());
        let fresh = directory && !itself && found.kind.is_none();
        let needed = if fresh { target.as_bstr() } else { split(target.as_bstr()).0 };
        self.make_dirs(needed)?;
        Some(target)
    }

    /// Directories on the way are made, also those that a dangling link names.
    fn make_dirs(&mut self, path: &BStr) -> Option<BString> {
        let found = follow_with(path, true, |path| self.look(path))?;
        let mut at = found.path.as_bstr();
        while !at.is_empty() && self.look(at).is_none() {
            self.made.insert(at.to_owned());
            at = split(at).0;
        }
        Some(found.path)
    }

    /// What is in the destination by now.
    fn look(&self, path: &BStr) -> Option<(Kind, BString)> {
        if let Some(found) = self.map.look(path) {
            return Some(found);
        }
        if self.made.contains(path) || path.is_empty() {
            return Some((Kind::Directory, BString::default()));
        }
        let meta = self.before.meta(self.before.lookup(path)?);
        Some((meta.kind, meta.target.to_owned()))
    }

    /// What a source means: one path, or all that match a wildcard, in order, each with its own name and with symbolic
    /// links followed.
    fn expand(&self, pattern: &str) -> Vec<(BString, Followed)> {
        let Some(tree) = self.map.source.as_deref() else { return Vec::new() };
        let find = |path: &BStr| {
            let found = follow(tree, path, true).filter(|found| found.kind.is_some())?;
            Some((split(path).1.to_owned(), found))
        };
        let path = clean(BStr::new(pattern));
        let parts: Vec<&[u8]> = path.split_str("/").collect();
        let Some(first) = parts.iter().position(|part| has_wildcard(part)) else {
            return find(path.as_bstr()).into_iter().collect();
        };
        let (plain, wild) = parts.split_at(first);
        let start = BString::from(bstr::join("/", plain));
        let mut matched: Vec<BString> = find(start.as_bstr()).into_iter().map(|(_, found)| found.path).collect();
        for part in wild {
            let Ok(part) = Wildcard::new(part) else { return Vec::new() };
            let below = |dir: &BString| {
                let children = tree.lookup(dir.as_bstr()).into_iter().flat_map(|id| tree.children(id));
                let names = children.map(|id| tree.name(id)).filter(|name| part.matches(name));
                names.map(|name| child(dir.as_bstr(), name)).collect::<Vec<_>>()
            };
            matched = matched.iter().flat_map(below).collect();
        }
        matched.iter().filter_map(|path| find(path.as_bstr())).collect()
    }
}
