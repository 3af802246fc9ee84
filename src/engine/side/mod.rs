//! One of two things that are compared: its tree, its packages, the contents of its files.

mod hashing;

use super::{Engine, EngineError};
use crate::image::inventory::Inventory;
use crate::image::source::SourceError;
use crate::layers::packages::{self, Installed, LARGEST_DATABASE, Package};
use crate::layers::path::is_below;
use crate::layers::{ContentHash, Entry, FileTree, Kind, Layer, Meta, MetaRef, NodeId, patch};
use crate::snapshot::SnapshotId;
use crate::snapshot::directory;
use bstr::{BStr, BString, ByteSlice};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use twox_hash::XxHash3_128;

#[derive(Clone)]
pub struct Side {
    /// For the report: as asked for, or a place in words.
    pub name: String,
    /// `image`, `directory`, `place`.
    pub kind: &'static str,
    pub tree: FileTree,
    /// What is not compared, and why.
    pub warnings: Vec<String>,
    /// Directories that cannot be read.
    unread: Vec<BString>,
    reader: Reader,
}

/// Why nothing can be said of a side, or of what is in it.
#[derive(Debug, thiserror::Error)]
pub enum SideError {
    #[error(transparent)]
    Image(#[from] SourceError),
    #[error(transparent)]
    Place(#[from] EngineError),
    /// Something on this machine, in a sentence.
    #[error("{0}")]
    Here(String),
}

impl From<SideError> for EngineError {
    fn from(error: SideError) -> EngineError {
        match error {
            SideError::Image(error) => error.into(),
            SideError::Place(error) => error,
            SideError::Here(message) => EngineError::new(message),
        }
    }
}

impl std::fmt::Debug for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Side({} {})", self.kind, self.name)
    }
}

/// Where contents are read.
#[derive(Clone)]
enum Reader {
    Image(Box<Inventory>),
    Directory(PathBuf),
    Place(Arc<dyn Engine>, SnapshotId),
    Nothing,
}

pub async fn of_directory(path: PathBuf) -> Result<Side, SideError> {
    let name = path.display().to_string();
    let from = path.clone();
    let scanned = blocking(move || directory::scan(&from)).await?;
    let (layer, unread) = scanned.map_err(|error| SideError::Here(format!("{name}: {error}")))?;
    let tree = FileTree::merge(&[Arc::new(layer)]);
    let why = unread.iter().map(|(at, error)| format!("{name}/{at}: {error}; nothing in it is compared"));
    let warnings = few(why.collect());
    let unread = unread.into_iter().map(|(at, _)| at).collect();
    Ok(Side { name, kind: "directory", tree, warnings, unread, reader: Reader::Directory(path) })
}

/// Makes sure that contents are compared where they have to be: files of the same size of which not both contents are
/// known by their hashes. Where neither is known and the times are equal too, they count as the same. So does what
/// cannot be read, which is told.
pub async fn settle(before: &mut Side, after: &mut Side) -> Result<(), SideError> {
    let unread = [std::mem::take(&mut before.unread), std::mem::take(&mut after.unread)].concat();
    before.leave_out(&unread);
    after.leave_out(&unread);
    let (mut pairs, mut old, mut new) = (Vec::new(), Vec::new(), Vec::new());
    for id in before.tree.walk(FileTree::ROOT) {
        let a = before.tree.meta(id);
        if a.kind != Kind::File {
            continue;
        }
        let path = before.tree.path(id);
        let Some(other) = after.tree.lookup(path.as_bstr()) else { continue };
        let b = after.tree.meta(other);
        let read = matches!((&before.reader, &after.reader), (Reader::Directory(_), _) | (_, Reader::Directory(_)));
        if b.kind == Kind::File && a.size == b.size && !settled(a, b, read) {
            pairs.push((id, other));
            old.extend(a.content.is_none().then_some(id));
            new.extend(b.content.is_none().then_some(other));
        }
    }
    let (mut old, mut new) = (before.hashes(old).await?, after.hashes(new).await?);
    for (a, b) in pairs {
        if matches!(old.get(&a), Some(None)) || matches!(new.get(&b), Some(None)) {
            let alike = Some(ContentHash(0));
            old.insert(a, alike);
            new.insert(b, alike);
        }
    }
    before.learn(&old);
    after.learn(&new);
    Ok(())
}

fn settled(a: MetaRef<'_>, b: MetaRef<'_>, read: bool) -> bool {
    match (a.content, b.content) {
        (Some(_), Some(_)) => true,
        (None, None) => !read && a.mtime == b.mtime,
        _ => false,
    }
}

impl Side {
    /// An image, by the name that it was asked for.
    pub fn of_image(name: String, inventory: Inventory) -> Side {
        Side {
            name,
            kind: "image",
            tree: inventory.tree.clone(),
            warnings: inventory.broken().map(str::to_owned).collect(),
            unread: Vec::new(),
            reader: Reader::Image(Box::new(inventory)),
        }
    }

    /// A file system of a build; without one it is empty.
    pub async fn of_place(name: String, at: Option<SnapshotId>, engine: Arc<dyn Engine>) -> Result<Side, SideError> {
        let (tree, reader) = match at {
            Some(at) => (FileTree::clone(&*engine.tree(&at).await?), Reader::Place(engine, at)),
            None => (FileTree::default(), Reader::Nothing),
        };
        Ok(Side { name, kind: "place", tree, warnings: Vec::new(), unread: Vec::new(), reader })
    }

    /// The image, if it is one.
    pub fn inventory(&self) -> Option<&Inventory> {
        match &self.reader {
            Reader::Image(inventory) => Some(inventory),
            Reader::Directory(_) | Reader::Place(..) | Reader::Nothing => None,
        }
    }

    /// What is installed, and what is wrong with the databases.
    pub async fn packages(&self) -> Installed {
        let (mut all, mut wrong) = (BTreeMap::new(), Vec::new());
        for (path, manager, size) in packages::databases(&self.tree) {
            let parsed = match self.known_packages(&path) {
                Some(packages) => Ok(packages),
                None => match self.read(&path, 0, size.min(LARGEST_DATABASE) as usize).await {
                    Ok(bytes) => packages::parse(manager, &bytes),
                    Err(error) => Err(error.to_string()),
                },
            };
            match parsed {
                Ok(packages) => drop(all.insert(path, packages)),
                Err(why) => wrong.push((manager, format!("{}: /{path}: {why}", self.name))),
            }
        }
        Installed { packages: packages::all(&all), wrong }
    }

    /// Those of a database that was read with its layer.
    fn known_packages(&self, path: &BString) -> Option<Vec<Package>> {
        let Reader::Image(inventory) = &self.reader else { return None };
        let facts = inventory.layers.get(layer_of(inventory, path)? as usize)?;
        let (_, packages) = facts.databases.iter().rev().find(|(at, _)| at == path)?;
        Some(packages.clone())
    }

    /// The contents of regular files, as far as lines are compared. A path that is not there is left out.
    /// So is one that cannot be read, which is told.
    pub async fn contents(&mut self, paths: &BTreeSet<BString>) -> Result<HashMap<BString, Vec<u8>>, SideError> {
        let limit = patch::LIMIT;
        let (mut contents, mut unread) = (HashMap::new(), Vec::new());
        let there = paths.iter().filter(|path| self.tree.lookup(path.as_bstr()).is_some());
        match &self.reader {
            Reader::Image(inventory) => {
                let there = paths.iter().filter_map(|path| Some((layer_of(inventory, path)?, path.clone())));
                let there: Vec<(u32, BString)> = there.collect();
                let found = inventory.stretches(there.clone(), 0, limit).await?;
                contents.extend(there.into_iter().map(|(_, path)| path).zip(found));
            }
            _ => {
                for path in there {
                    match self.read(path, 0, limit).await {
                        Ok(bytes) => drop(contents.insert(path.clone(), bytes)),
                        Err(why @ SideError::Here(_)) => unread.push(not_compared(&why)),
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        self.warnings.extend(few(unread));
        Ok(contents)
    }

    /// A stretch of a file, by its path without symbolic links.
    pub async fn read(&self, path: &BString, offset: u64, limit: usize) -> Result<Vec<u8>, SideError> {
        match &self.reader {
            Reader::Image(inventory) => {
                let layer = layer_of(inventory, path).unwrap_or_default();
                Ok(inventory.content(layer, path.as_bstr(), offset, limit).await?)
            }
            Reader::Place(engine, at) => Ok(engine.read(at, path, offset, limit).await?),
            Reader::Directory(root) => {
                let (root, path) = (root.clone(), path.clone());
                blocking(move || read_file(&root, path.as_bstr(), offset, limit)).await?
            }
            Reader::Nothing => Ok(Vec::new()),
        }
    }

    /// Leaves out what is below directories.
    fn leave_out(&mut self, directories: &[BString]) {
        if !directories.is_empty() {
            let is_out = |path: &BString| directories.iter().any(|it| is_below(path.as_bstr(), it.as_bstr()));
            self.rebuild(|_, path, meta| (!is_out(path)).then_some(meta));
        }
    }

    /// Takes what has been found of contents.
    fn learn(&mut self, hashes: &HashMap<NodeId, Option<ContentHash>>) {
        if !hashes.is_empty() {
            self.rebuild(|id, _, meta| {
                Some(Meta { content: hashes.get(&id).copied().flatten().or(meta.content), ..meta })
            });
        }
    }

    /// The tree again, with what `change` makes of each entry.
    fn rebuild(&mut self, change: impl Fn(NodeId, &BString, Meta) -> Option<Meta>) {
        let entries = self.tree.walk(FileTree::ROOT).into_iter().filter_map(|id| {
            let path = self.tree.path(id);
            let meta = change(id, &path, self.tree.meta(id).to_meta())?;
            Some(Entry::Put { path, meta, opaque: false })
        });
        self.tree = FileTree::merge(&[Arc::new(Layer { entries: entries.collect() })]);
    }

    /// Reads files in order to know their contents by their hashes, `None` for those that cannot be read, which is told.
    /// One of an image that is too large for it is left out.
    async fn hashes(&mut self, nodes: Vec<NodeId>) -> Result<HashMap<NodeId, Option<ContentHash>>, SideError> {
        if nodes.is_empty() {
            return Ok(HashMap::new());
        }
        if let Reader::Image(inventory) = &self.reader {
            return hash_of_image(inventory, &self.tree, nodes).await;
        }
        let paths = nodes.iter().map(|id| self.tree.path(*id)).collect();
        let hashes = match &self.reader {
            Reader::Directory(root) => {
                let root = root.clone();
                let found = blocking(move || hash_files(&root, paths)).await?;
                let unread = found.iter().filter_map(|it| it.as_ref().err());
                self.warnings.extend(few(unread.map(not_compared).collect()));
                found.into_iter().map(Result::ok).collect()
            }
            _ => self.hash_of_place(paths).await?.into_iter().map(Some).collect::<Vec<_>>(),
        };
        Ok(nodes.into_iter().zip(hashes).collect())
    }

    async fn hash_of_place(&self, paths: Vec<BString>) -> Result<Vec<ContentHash>, SideError> {
        // A question for each file takes its time; of many, the whole file system is read once.
        let all = match &self.reader {
            Reader::Place(engine, at) if paths.len() > FEW => hashing::of_all(engine.as_ref(), at).await,
            _ => None,
        };
        let mut hashes = Vec::new();
        for path in paths {
            hashes.push(match all.as_ref().and_then(|all| all.get(&path)) {
                Some(hash) => *hash,
                None => self.hash_by_parts(&path).await?,
            });
        }
        Ok(hashes)
    }

    async fn hash_by_parts(&self, path: &BString) -> Result<ContentHash, SideError> {
        let mut hasher = XxHash3_128::new();
        let mut offset = 0;
        loop {
            let part = self.read(path, offset, PART).await?;
            hasher.write(&part);
            offset += part.len() as u64;
            if part.len() < PART {
                return Ok(ContentHash(hasher.finish_128()));
            }
        }
    }
}

/// Paths that cannot be read and are told by name.
const MOST_TOLD: usize = 20;

/// The first of many warnings, and how many more there are.
fn few(mut warnings: Vec<String>) -> Vec<String> {
    let more = warnings.len().saturating_sub(MOST_TOLD);
    warnings.truncate(MOST_TOLD);
    warnings.extend((more > 0).then(|| format!("and {more} more are like these")));
    warnings
}

fn not_compared(why: &SideError) -> String {
    format!("{why}; its content is not compared")
}

/// Files of a place that are read one by one.
const FEW: usize = 64;

/// Bytes that are read at once.
const PART: usize = 4 << 20;

/// The layer that has what is at a path.
fn layer_of(inventory: &Inventory, path: &BString) -> Option<u32> {
    inventory.tree.lookup(path.as_bstr()).map(|id| inventory.tree.layer(id))
}

async fn hash_of_image(
    inventory: &Inventory,
    tree: &FileTree,
    nodes: Vec<NodeId>,
) -> Result<HashMap<NodeId, Option<ContentHash>>, SideError> {
    let files =
        nodes.iter().map(|id| tree.path(*id)).map(|path| (layer_of(inventory, &path).unwrap_or_default(), path));
    let hashes = inventory.hashes(files.collect()).await?;
    Ok(nodes.into_iter().zip(hashes).filter(|(_, hash)| hash.is_some()).collect())
}

fn open_file(root: &Path, path: &BStr) -> Result<std::fs::File, SideError> {
    let failed = |error: std::io::Error| SideError::Here(format!("{}/{path}: {error}", root.display()));
    directory::open_file(root, path).map_err(failed)
}

fn read_file(root: &Path, path: &BStr, offset: u64, limit: usize) -> Result<Vec<u8>, SideError> {
    let mut file = open_file(root, path)?;
    let mut bytes = Vec::new();
    let read = file.seek(SeekFrom::Start(offset)).and_then(|_| file.take(limit as u64).read_to_end(&mut bytes));
    read.map_err(|error| SideError::Here(format!("{}/{path}: {error}", root.display())))?;
    Ok(bytes)
}

/// Why one cannot be read stands in the place of its hash.
fn hash_files(root: &Path, paths: Vec<BString>) -> Vec<Result<ContentHash, SideError>> {
    let mut buffer = hashing::buffer();
    let hash = |path: BString| {
        let hash = hashing::of_file(open_file(root, path.as_bstr())?, &mut buffer);
        hash.map_err(|error| SideError::Here(format!("{}/{path}: {error}", root.display())))
    };
    paths.into_iter().map(hash).collect()
}

/// Work that takes a while, on a thread where it may.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, SideError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| SideError::Here(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_of_a_directory_is_read_in_stretches() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "0123456789").unwrap();
        let side = of_directory(dir.path().to_owned()).await.unwrap();
        let check = async |offset, limit, expected: &str| {
            assert_eq!(side.read(&"f".into(), offset, limit).await.unwrap(), expected.as_bytes(), "{offset} {limit}");
        };
        check(0, 4, "0123").await;
        check(4, 4, "4567").await;
        check(8, 4, "89").await;
        check(10, 4, "").await;
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_in_a_directory_that_cannot_be_read_is_compared_with_nothing() {
        use crate::layers::{Diff, Scope};
        use crate::snapshot::fixture::{self, build};
        let check = |unread: &[&str], expected: &[&str]| {
            let lines = ["dir 755 d ~1", "dir 755 d/e ~1", "file 644 d/e/x 1 ~1", "file 644 d-e 1 ~1"];
            let (old, new) = (fixture::dir(), fixture::dir());
            build(old.path(), &lines);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let paths = runtime.block_on(async {
                let mut before = of_directory(old.path().to_owned()).await.unwrap();
                let mut after = of_directory(new.path().to_owned()).await.unwrap();
                after.unread = unread.iter().map(|path| (*path).into()).collect();
                settle(&mut before, &mut after).await.unwrap();
                let diff = Diff::between(&before.tree, &after.tree, Scope::Changed);
                diff.ids().skip(1).map(|id| diff.path(id).to_string()).collect::<Vec<_>>()
            });
            assert_eq!(paths, expected, "{unread:?}");
        };
        check(&[], &["d", "d/e", "d/e/x", "d-e"]);
        check(&["d/e"], &["d", "d/e", "d-e"]);
        check(&["d"], &["d", "d-e"]);
    }
}
