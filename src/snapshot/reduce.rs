//! What a layer directory says that was not so below it.
//!
//! overlayfs copies up whatever is opened for writing, linked or given an owner, also where it is as before then, and a
//! directory that is made anew hides all that was there ("opaque"), also where the same is put into it again. As in
//! BuildKit neither is part of a layer: it has what is new or different, and a whiteout for each path that is gone.
//!
//! BuildKit's differ trusts times that are finer than a second, and asks for mode, owner and capabilities; here all that
//! a layer directory keeps has to be the same, contents too. A directory's own time makes no difference.

use super::rooted::{At, PathError, Root, child, split};
use super::scan::{OPAQUE, in_tree_order, names, number_links, read_meta, scan};
use super::tree_writer::times;
use crate::layers::path::is_below;
use crate::layers::{Entry, Kind, Layer, Meta};
use bstr::{BStr, BString, ByteSlice};
use rustix::fs::{self, AtFlags, FileType, Mode};
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Reads a layer directory, and takes away from it what is as it was in `below`, all the layers under it.
pub fn reduce(layer: &Path, below: &Root) -> Result<Layer, PathError> {
    let above = Root::open(layer).at("open the layer at", BStr::new(layer.as_os_str().as_encoded_bytes()))?;
    let found = compare(scan(layer)?.entries, below, &above)?;
    Ok(Layer { entries: without_same(found, &above)? })
}

/// Tells of each entry whether that is so below anyway. Opaque directories become whiteouts of what they hide.
fn compare(entries: Vec<Entry>, below: &Root, above: &Root) -> Result<Vec<(Entry, bool)>, PathError> {
    let mut out = Vec::with_capacity(entries.len());
    let mut below = Below { root: below, place: None };
    // The outermost directory on the way that hides everything below, and the one that had nothing below.
    let (mut opaque_top, mut new_top): (Option<BString>, Option<BString>) = (None, None);
    for mut entry in entries {
        let path = entry.path().to_owned();
        let lies_in = |top: &Option<BString>| top.as_ref().is_some_and(|top| is_below(path.as_bstr(), top.as_bstr()));
        let before = if lies_in(&new_top) { None } else { below.get(path.as_bstr()).at("read", path.as_bstr())? };
        let same = match &mut entry {
            Entry::Whiteout { .. } => before.is_none(),
            Entry::Put { meta, opaque, .. } if meta.kind == Kind::Directory => {
                if *opaque && !lies_in(&opaque_top) {
                    opaque_top = Some(path.clone());
                }
                let was_directory = before.as_ref().is_some_and(|it| it.kind == Kind::Directory);
                if !was_directory && !lies_in(&new_top) {
                    new_top = Some(path.clone());
                }
                if was_directory && (*opaque || lies_in(&opaque_top)) {
                    let gone = hide_each(path.as_bstr(), meta, below.root, above).at("compare", path.as_bstr())?;
                    out.extend(gone.into_iter().map(|path| (Entry::Whiteout { path }, false)));
                }
                if std::mem::take(opaque) {
                    let dir = above.dir(path.as_bstr()).at("open", path.as_bstr())?;
                    fs::fremovexattr(&dir, OPAQUE).at("compare", path.as_bstr())?;
                }
                before.is_some_and(|before| Meta { mtime: meta.mtime, ..before } == *meta)
            }
            Entry::Put { meta, .. } => {
                let equal = before.is_some_and(|before| Meta { hard_link: meta.hard_link, ..before } == *meta);
                equal && (meta.kind != Kind::File || same_content(path.as_bstr(), below.root, above).unwrap_or(false))
            }
            Entry::Opaque { .. } | Entry::Link { .. } => false,
        };
        out.push((entry, same));
    }
    out.sort_by(|(a, _), (b, _)| in_tree_order(a.path().as_bstr(), b.path().as_bstr()));
    Ok(out)
}

/// What the layers below have.
struct Below<'a> {
    root: &'a Root,
    /// The directory that was looked into last.
    place: Option<(BString, OwnedFd)>,
}

impl Below<'_> {
    fn get(&mut self, path: &BStr) -> io::Result<Option<Meta>> {
        let (parent, name) = split(path);
        let place = match self.place.take().filter(|(at, _)| at == parent) {
            Some((_, fd)) => fd,
            None => self.root.place(parent)?,
        };
        let found = match fs::statat(&place, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
            Ok(stat) => read_meta(place.as_fd(), name, &stat).map(Some),
        };
        self.place = Some((parent.to_owned(), place));
        found
    }
}

/// Writes whiteouts for what is in a directory below and not above. Answers with their paths.
fn hide_each(path: &BStr, meta: &Meta, below: &Root, above: &Root) -> io::Result<Vec<BString>> {
    let (dir, mut gone) = (above.dir(path)?, Vec::new());
    for name in names(below.dir(path)?.as_fd())? {
        match fs::statat(&dir, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {
                fs::mknodat(&dir, name.as_bytes(), FileType::CharacterDevice, Mode::empty(), 0)?;
                gone.push(child(path, name.as_bstr()));
            }
            found => drop(found?),
        }
    }
    fs::futimens(&dir, &times(meta.mtime))?;
    Ok(gone)
}

fn same_content(path: &BStr, below: &Root, above: &Root) -> io::Result<bool> {
    let reader = |file: File| BufReader::with_capacity(128 << 10, file);
    let (mut a, mut b) = (reader(below.file(path)?), reader(above.file(path)?));
    loop {
        let (left, right) = (a.fill_buf()?, b.fill_buf()?);
        let count = left.len().min(right.len());
        if count == 0 || left[..count] != right[..count] {
            return Ok(left.len() == right.len() && count == 0);
        }
        a.consume(count);
        b.consume(count);
    }
}

/// Takes away entries that are the same below, directories only if nothing else is left in them.
fn without_same(found: Vec<(Entry, bool)>, above: &Root) -> Result<Vec<Entry>, PathError> {
    let mut kept: Vec<Entry> = Vec::with_capacity(found.len());
    let mut emptied: HashSet<BString> = HashSet::new();
    // What is below a directory follows it without a gap.
    for (entry, same) in found.into_iter().rev() {
        let path = entry.path().as_bstr();
        let occupied = kept.last().is_some_and(|next| is_below(next.path().as_bstr(), path));
        if same && !occupied {
            let (parent, name) = split(path);
            let is_directory = matches!(&entry, Entry::Put { meta, .. } if meta.kind == Kind::Directory);
            let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            fs::unlinkat(above.place(parent).at("open", path)?, name.as_bytes(), flags).at("leave out", path)?;
            emptied.insert(parent.to_owned());
        } else {
            kept.push(entry);
        }
    }
    kept.reverse();
    let mut inodes: HashMap<u64, Vec<BString>> = HashMap::new();
    for entry in &mut kept {
        let Entry::Put { path, meta, .. } = entry else { continue };
        // Taking names out of a directory has changed its time.
        if emptied.contains(path) {
            let dir = above.dir(path.as_bstr()).at("open", path.as_bstr())?;
            fs::futimens(&dir, &times(meta.mtime)).at("set the time of", path.as_bstr())?;
        }
        if meta.hard_link != 0 {
            inodes.entry(std::mem::take(&mut meta.hard_link)).or_default().push(path.clone());
        }
    }
    number_links(&mut kept, inodes);
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::FileTree;
    use crate::snapshot::fixture::{self, build, describe, list};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    /// What is left of a layer over what is below it.
    #[track_caller]
    fn check(below: &[&str], layer: &[&str], expected: &[&str]) {
        let top = fixture::dir();
        let (lower, upper) = (top.path().join("below"), top.path().join("layer"));
        for (dir, lines) in [(&lower, below), (&upper, layer)] {
            std::fs::create_dir(dir).unwrap();
            build(dir, lines);
        }
        let reduced = reduce(&upper, &Root::open(&lower).unwrap()).unwrap();
        assert_eq!(list(&upper, true), expected);
        assert_eq!(
            reduced,
            scan(&upper).unwrap(),
            "what is said is what is there: {:?}",
            describe(&reduced, &upper, true)
        );
        assert_eq!(list(&lower, true).len(), below.len());
    }

    const BELOW: &[&str] = &[
        "dir 755 d ~1",
        "file 644 d/f one ~2",
        "file 644 d/g two ~3",
        "dir 755 d/sub ~4",
        "file 600 d/sub/x three ~5",
        "fifo 600 p ~6",
        "link 777 s ->d/f ~7",
    ];

    #[test]
    fn what_is_the_same_is_left_out() {
        check(BELOW, BELOW, &[]);
        check(&[], BELOW, BELOW);
        check(BELOW, &[], &[]);
        check(
            BELOW,
            &["dir 755 d ~9", "file 644 d/f one ~2", "file 644 d/g other ~3"],
            &["dir 755 d ~9", "file 644 d/g other ~3"],
        );
    }

    #[test]
    fn everything_counts_but_a_directorys_time() {
        check(BELOW, &["dir 755 d ~9"], &[]);
        for line in ["dir 700 d ~1", "dir 755 d +user.a=b ~1", "fifo 644 p ~6", "fifo 600 p ~7", "file 600 p ~6"] {
            check(BELOW, &[line], &[line]);
        }
        for line in ["link 777 s ->d/g ~7", "link 777 s ->d/f ~8", "file 644 d x ~1", "dir 755 s ~7", "gone 0 s"] {
            check(BELOW, &[line], &[line]);
        }
        for line in
            ["file 644 d/f eno ~2", "file 644 d/f one ~3", "file 640 d/f one ~2", "file 644 d/f one +user.a=b ~2"]
        {
            check(BELOW, &["dir 755 d ~1", line], &["dir 755 d ~1", line]);
        }
    }

    #[test]
    fn an_opaque_directory_is_what_it_hides() {
        let again: Vec<String> = BELOW[..5].iter().map(|line| line.replace("755 d ~1", "755 d ~1 opaque")).collect();
        let again: Vec<&str> = again.iter().map(String::as_str).collect();
        check(BELOW, &again, &[]);
        check(BELOW, &again[..1], &["dir 755 d ~1", "gone 0 d/f", "gone 0 d/g", "gone 0 d/sub"]);
        check(
            BELOW,
            &[
                "dir 755 d ~1 opaque",
                "file 644 d/f one ~2",
                "file 644 d/g-new x ~8",
                "dir 755 d/sub ~4",
                "file 600 d/sub/y three ~5",
            ],
            &[
                "dir 755 d ~1",
                "gone 0 d/g",
                "file 644 d/g-new x ~8",
                "dir 755 d/sub ~4",
                "gone 0 d/sub/x",
                "file 600 d/sub/y three ~5",
            ],
        );
        check(BELOW, &["dir 755 n ~1 opaque", "dir 755 n/m ~1 opaque"], &["dir 755 n ~1", "dir 755 n/m ~1"]);
        check(BELOW, &["dir 755 p ~1 opaque", "file 644 p/x ~1"], &["dir 755 p ~1", "file 644 p/x ~1"]);
    }

    #[test]
    fn what_was_not_there_is_not_taken_away() {
        check(BELOW, &["dir 755 d ~1", "gone 0 d/no", "dir 755 n ~2", "gone 0 n/x"], &["dir 755 n ~2"]);
    }

    #[test]
    fn names_of_one_inode_are_told_apart_from_one_that_was_there() {
        check(
            BELOW,
            &["dir 755 d ~1", "file 644 d/f one ~2", "hard 0 d/h =d/f"],
            &["dir 755 d ~1", "file 644 d/h one ~2"],
        );
        check(
            BELOW,
            &[
                "dir 755 d ~1",
                "file 644 d/f one ~2",
                "hard 0 d/h =d/f",
                "hard 0 d/i =d/f",
                "file 600 z x ~1",
                "hard 0 zz =z",
            ],
            &["dir 755 d ~1", "file 644 d/h one ~2", "hard 0 d/i =d/h", "file 600 z x ~1", "hard 0 zz =z"],
        );
    }

    /// Lines of a tree of few names; of one that hides something, if it is `over` another.
    fn any_layer(over: bool) -> impl Strategy<Value = Vec<String>> {
        let name = prop::sample::select(vec!["a", "b", "c"]);
        let line = (prop::collection::vec(name, 1..4), 0..8u8);
        prop::collection::vec(line, 0..10).prop_map(move |lines| {
            let mut tree: BTreeMap<String, String> = BTreeMap::new();
            for (parts, what) in lines {
                let path = parts.join("/");
                let parents: Vec<String> = (1..parts.len()).map(|end| parts[..end].join("/")).collect();
                if parents.iter().any(|it| tree.get(it).is_some_and(|line| !line.starts_with("dir"))) {
                    continue;
                }
                for parent in parents {
                    tree.entry(parent.clone()).or_insert(format!("dir 755 {parent} ~1"));
                }
                let line = match what {
                    0 if over => format!("gone 0 {path}"),
                    1 | 2 if over => format!("dir 755 {path} ~2 opaque"),
                    0..=2 => format!("dir 755 {path} ~1"),
                    3 => format!("link 777 {path} ->x ~1"),
                    _ => format!("file 644 {path} {} ~1", ["x", "y", "xy", "x"][usize::from(what) - 4]),
                };
                tree.entry(path).or_insert(line);
            }
            tree.into_values().collect()
        })
    }

    /// What two layers make: of each path its line, of directories without the time.
    fn merged(below: &Path, layer: &Path) -> Vec<String> {
        let tree = FileTree::merge(&[below, layer].map(|it| Arc::new(scan(it).unwrap())));
        let line = |id| {
            let (path, meta) = (tree.path(id), tree.meta(id).to_meta());
            let inside = |dir: &Path| std::fs::read(dir.join(path.to_path().unwrap())).ok();
            let content = if meta.kind == Kind::File { inside(layer).or_else(|| inside(below)) } else { None };
            let time = if meta.kind == Kind::Directory { (0, 0) } else { meta.mtime };
            format!("{:?} {content:?} {path}", Meta { mtime: time, ..meta })
        };
        tree.walk(FileTree::ROOT).into_iter().map(line).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn the_file_system_stays_as_it_is(below in any_layer(false), layer in any_layer(true)) {
            let top = fixture::dir();
            let (lower, upper) = (top.path().join("below"), top.path().join("layer"));
            for (dir, lines) in [(&lower, below), (&upper, layer)] {
                std::fs::create_dir(dir).unwrap();
                build(dir, &lines.iter().map(String::as_str).collect::<Vec<_>>());
            }
            let before = merged(&lower, &upper);
            let reduced = reduce(&upper, &Root::open(&lower).unwrap()).unwrap();
            prop_assert_eq!(merged(&lower, &upper), before);
            prop_assert_eq!(&reduced, &scan(&upper).unwrap());
            // What is left says something new.
            prop_assert_eq!(reduce(&upper, &Root::open(&lower).unwrap()).unwrap(), reduced);
        }
    }
}
