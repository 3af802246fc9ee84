//! Files of a result, read on the builder.

use super::bridge::Bridge;
use crate::engine::EngineError;
use crate::layers::{Entry, FileTree, Kind, Layer, Meta};
use bollard_buildkit_proto::fsutil::types::Stat;
use bollard_buildkit_proto::moby::buildkit::v1::frontend as gateway;
use bstr::{BStr, BString, ByteSlice};
use futures_util::{StreamExt, stream::FuturesUnordered};
use std::collections::{BTreeMap, BTreeSet};
use tonic::{Code, Status};

/// Directories that are asked for at once.
const AT_ONCE: usize = 32;
/// Entries of one file system, beyond which it is not listed.
const ENTRIES: usize = 4_000_000;
/// Bytes of a path, as Linux takes them.
const LONGEST_PATH: usize = 4096;
/// Bytes that a builder gives in one answer.
const CHUNK: usize = 8 << 20;

/// All that is in a file system, by path.
pub(super) type Listing = BTreeMap<BString, Meta>;

/// Lists everything, directory by directory.
pub(super) async fn list(bridge: &Bridge, result: &str) -> Result<Listing, EngineError> {
    let read = |dir: String| async move {
        let request = gateway::ReadDirRequest {
            r#ref: result.to_owned(),
            dir_path: if dir.is_empty() { "/".to_owned() } else { dir.clone() },
            ..gateway::ReadDirRequest::default()
        };
        let answer = bridge.answer(bridge.client().read_dir(bridge.request(request))).await;
        (dir, answer.map(|it| it.entries))
    };
    let mut listing = Listing::new();
    let mut waiting = vec![String::new()];
    let mut asked = FuturesUnordered::new();
    loop {
        while asked.len() < AT_ONCE
            && let Some(dir) = waiting.pop()
        {
            asked.push(read(dir));
        }
        let Some((dir, answer)) = asked.next().await else { return Ok(listing) };
        let entries = answer.map_err(|status| bridge.lost(&format!("cannot list /{dir}"), &status))?;
        for stat in entries {
            // A name, whatever the builder says it is.
            let name = stat.path.rsplit('/').next().unwrap_or_default();
            if name.is_empty() || name == "." || name == ".." {
                continue;
            }
            let path = if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
            let meta = meta(&stat);
            if path.len() > LONGEST_PATH {
                return Err(EngineError::new(format!("cannot list /{dir}: its paths are too long")));
            }
            if meta.kind == Kind::Directory {
                waiting.push(path.clone());
            }
            listing.insert(BString::from(path), meta);
        }
        if listing.len() > ENTRIES {
            return Err(EngineError::new(format!(
                "more than {ENTRIES} files: too many to be listed through the builder"
            )));
        }
    }
}

/// The layer that a step made: from the `difference` that the builder made of it and of what lay below. Deletions are
/// not in a difference, but every directory with one is; so their names are asked for where directories have changed.
pub(super) async fn changed(
    bridge: &Bridge,
    result: &str,
    difference: &str,
    below: &FileTree,
) -> Result<Layer, EngineError> {
    let changed = if difference.is_empty() { Listing::new() } else { list(bridge, difference).await? };
    let is_directory = |id| below.meta(id).kind == Kind::Directory;
    let kept = |path: &BStr| below.lookup(path).filter(|id| is_directory(*id));
    let mut entries = Vec::new();
    let top = (BString::default(), Meta::new(Kind::Directory));
    let directories = std::iter::once((&top.0, &top.1)).chain(&changed);
    for (path, _) in directories.filter(|(_, meta)| meta.kind == Kind::Directory) {
        let Some(before) = kept(path.as_bstr()) else { continue };
        if below.children(before).next().is_none() {
            continue;
        }
        let names = names(bridge, result, path.as_bstr()).await?;
        let gone = below.children(before).map(|id| below.name(id)).filter(|name| !names.contains(*name));
        entries.extend(gone.map(|name| Entry::Whiteout { path: crate::layers::path::child(path.as_bstr(), name) }));
    }
    for (path, meta) in changed {
        // Directories that only lead to what has changed are in a difference too.
        let same = meta.kind == Kind::Directory
            && below
                .lookup(path.as_bstr())
                .is_some_and(|id| Meta { content: None, hard_link: 0, ..below.meta(id).to_meta() } == meta);
        if !same {
            entries.push(Entry::Put { path, meta, opaque: false });
        }
    }
    Ok(Layer { entries })
}

pub(super) fn directories(tree: &FileTree) -> usize {
    let all = tree.walk(FileTree::ROOT);
    all.into_iter().filter(|id| tree.meta(*id).kind == Kind::Directory).count()
}

/// The names in a directory.
async fn names(bridge: &Bridge, result: &str, path: &BStr) -> Result<BTreeSet<BString>, EngineError> {
    let dir = path.to_str_lossy();
    let dir_path = if dir.is_empty() { "/".to_owned() } else { dir.into_owned() };
    let request = gateway::ReadDirRequest { r#ref: result.to_owned(), dir_path, ..gateway::ReadDirRequest::default() };
    let answer = bridge.answer(bridge.client().read_dir(bridge.request(request))).await;
    let entries = answer.map_err(|status| bridge.lost(&format!("cannot list /{path}"), &status))?.entries;
    let name = |stat: Stat| BString::from(stat.path.rsplit('/').next().unwrap_or_default());
    Ok(entries.into_iter().map(name).collect())
}

/// Modes as Go's `fs.FileMode` has them.
fn meta(stat: &Stat) -> Meta {
    let has = |bit: u32| stat.mode & (1 << bit) != 0;
    let kind = match () {
        () if has(31) => Kind::Directory,
        () if has(27) => Kind::Symlink,
        () if has(26) && has(21) => Kind::CharDevice,
        () if has(26) => Kind::BlockDevice,
        () if has(25) => Kind::Fifo,
        () if has(24) => Kind::Socket,
        () => Kind::File,
    };
    let special = [(23, 0o4000), (22, 0o2000), (20, 0o1000)];
    let special: u32 = special.iter().filter(|(bit, _)| has(*bit)).map(|(_, mode)| mode).sum();
    let number = |number: i64| u32::try_from(number).unwrap_or(0);
    let nanos = stat.mod_time;
    Meta {
        mode: (stat.mode & 0o777) | special,
        uid: stat.uid,
        gid: stat.gid,
        size: if kind == Kind::File { u64::try_from(stat.size).unwrap_or(0) } else { 0 },
        mtime: (nanos.div_euclid(1_000_000_000), u32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0)),
        target: if kind == Kind::Symlink { BString::from(stat.linkname.as_str()) } else { BString::default() },
        device: match kind {
            Kind::CharDevice | Kind::BlockDevice => (number(stat.devmajor), number(stat.devminor)),
            _ => (0, 0),
        },
        xattrs: stat.xattrs.iter().map(|(name, value)| (name.as_str().into(), value.as_slice().into())).collect(),
        ..Meta::new(kind)
    }
}

/// What makes the listing of the tree below it, as a layer.
pub(super) fn layer(below: &FileTree, listing: &Listing) -> Layer {
    let mut entries = Vec::new();
    let mut gone = BTreeSet::new();
    for id in below.walk(FileTree::ROOT).into_iter().skip(1) {
        let path = below.path(id);
        if listing.contains_key(&path) {
            continue;
        }
        // What lies below something that is gone, or that is no directory any more, is gone with it.
        let parent = parent(path.as_bstr());
        let in_directory = parent.is_empty() || listing.get(parent).is_some_and(|it| it.kind == Kind::Directory);
        if in_directory {
            gone.insert(path);
        }
    }
    entries.extend(gone.into_iter().map(|path| Entry::Whiteout { path }));
    for (path, meta) in listing {
        let same = below.lookup(path.as_bstr()).is_some_and(|id| {
            let before = Meta { content: None, hard_link: 0, ..below.meta(id).to_meta() };
            before == *meta
        });
        if !same {
            entries.push(Entry::Put { path: path.clone(), meta: meta.clone(), opaque: false });
        }
    }
    Layer { entries }
}

fn parent(path: &BStr) -> &BStr {
    path.rfind_byte(b'/').map_or(BStr::new(b""), |at| path[..at].as_bstr())
}

/// At most `limit` bytes of a file from `offset`. The builder follows links, inside the file system.
pub(super) async fn read(
    bridge: &Bridge,
    result: &str,
    path: &BStr,
    offset: u64,
    limit: usize,
) -> Result<Vec<u8>, EngineError> {
    let shown = path.to_str_lossy().into_owned();
    let Ok(name) = path.to_str() else {
        return Err(EngineError::new(format!("/{shown}: a name that is not UTF-8 cannot be asked of a builder")));
    };
    let mut bytes = Vec::new();
    while bytes.len() < limit {
        let wanted = (limit - bytes.len()).min(CHUNK);
        let from = offset.saturating_add(bytes.len() as u64);
        let range = gateway::FileRange {
            offset: i64::try_from(from).unwrap_or(i64::MAX),
            length: i64::try_from(wanted).unwrap_or(i64::MAX),
        };
        let request = gateway::ReadFileRequest {
            r#ref: result.to_owned(),
            file_path: format!("/{name}"),
            range: Some(range),
            mount_index: 0,
        };
        let answer = bridge.answer(bridge.client().read_file(bridge.request(request))).await;
        let data = match answer {
            Ok(answer) => answer.data,
            Err(status) if is_end(&status) => break,
            Err(status) => return Err(bridge.lost(&format!("cannot read /{shown}"), &status)),
        };
        let count = data.len();
        bytes.extend(data);
        if count < wanted {
            break;
        }
    }
    bytes.truncate(limit);
    Ok(bytes)
}

/// Reading at a file's end is an error to some builders.
fn is_end(status: &Status) -> bool {
    status.code() == Code::Unknown && status.message().ends_with("EOF")
}

/// Whether there is a file that may be executed.
pub(super) async fn is_program(bridge: &Bridge, result: &str, path: &str) -> bool {
    let mut path = path.to_owned();
    // `StatFile` does not follow a link at the path's end.
    for _ in 0..8 {
        let request = gateway::StatFileRequest { r#ref: result.to_owned(), path: path.clone(), mount_index: 0 };
        let answer = bridge.answer(bridge.client().stat_file(bridge.request(request))).await;
        let Some(stat) = answer.ok().and_then(|it| it.stat) else { return false };
        let meta = meta(&stat);
        match meta.kind {
            Kind::File => return meta.mode & 0o111 != 0,
            Kind::Symlink if stat.linkname.starts_with('/') => path = stat.linkname,
            Kind::Symlink => {
                let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
                path = format!("{dir}/{}", stat.linkname);
            }
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn listing(text: &str) -> Listing {
        let entry = |word: &str| {
            let (path, size) = word.split_once('=').unwrap_or((word, ""));
            let meta = match size.parse() {
                Ok(size) => Meta { size, mode: 0o644, ..Meta::new(Kind::File) },
                Err(_) => Meta { mode: 0o755, ..Meta::new(Kind::Directory) },
            };
            (BString::from(path), meta)
        };
        text.split_whitespace().map(entry).collect()
    }

    fn check(before: &str, after: &str, expected: &str) {
        let below = layer(&FileTree::merge(&[]), &listing(before));
        let tree = FileTree::merge(&[Arc::new(below.clone())]);
        let change = layer(&tree, &listing(after));
        let text = change.entries.iter().map(|entry| match entry {
            Entry::Whiteout { path } => format!("-{path}"),
            entry => format!("+{}", entry.path()),
        });
        assert_eq!(text.collect::<Vec<_>>().join(" "), expected, "{before} to {after}");
        // Both together are the listing again.
        let both = FileTree::merge(&[Arc::new(below), Arc::new(change)]);
        assert!(layer(&both, &listing(after)).entries.is_empty(), "{before} to {after}");
    }

    #[test]
    fn changes() {
        check("", "", "");
        check("a a/b=1", "a a/b=1", "");
        check("a/b=1 a", "a a/b=2", "+a/b");
        check("", "a a/b=1", "+a +a/b");
        check("a a/b=1 c=1", "c=1", "-a");
        check("a a/b=1", "a=3", "+a");
    }

    #[test]
    fn modes() {
        let check = |mode: u32, kind: Kind, expected: u32| {
            let meta = meta(&Stat { mode, ..Stat::default() });
            assert_eq!((meta.kind, meta.mode), (kind, expected), "{mode:o}");
        };
        check(0o644, Kind::File, 0o644);
        check(0o755 | 1 << 31 | 1 << 20, Kind::Directory, 0o1755);
        check(0o777 | 1 << 27, Kind::Symlink, 0o777);
        check(0o600 | 1 << 26 | 1 << 21, Kind::CharDevice, 0o600);
        check(0o755 | 1 << 23 | 1 << 22, Kind::File, 0o6755);
        let old = meta(&Stat { mod_time: -1, ..Stat::default() });
        assert_eq!(old.mtime, (-1, 999_999_999));
    }
}
