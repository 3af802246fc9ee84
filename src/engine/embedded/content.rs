//! Digests of what a step reads, for its cache key.
//!
//! They change with what BuildKit's change with: names, kinds, modes, contents, link targets, devices, extended
//! attributes, and owners where they are kept; never with times, nor with how often a file is linked.

use super::copy::Parents;
use super::selection::{Selection, Visit, Wanted, walk};
use super::sources::{Found, Source};
use super::task::{Input, Reads, TaskError};
use super::tree_copy::open_file;
use crate::image::digest::Digest;
use crate::layers::Kind;
use crate::plan::{Copy, CopySource};
use crate::snapshot::rooted::{At, PathError, clean, split};
use crate::snapshot::scan::{kind, read_meta};
use bstr::{BStr, ByteSlice};
use sha2::{Digest as _, Sha256};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

/// The digest of what a step reads of an input. `root` is the input's root, if that is a stack of layers.
pub fn digest(what: &Reads, input: &Input, root: Option<BorrowedFd<'_>>) -> Result<String, TaskError> {
    match what {
        Reads::Copy(copy) => digest_copy(copy, input, root),
        Reads::Path(path) => digest_path(input, root, path),
    }
}

/// The digest of all paths that the instruction copies from its input. Sources that are not there are the same errors as in the copy itself.
fn digest_copy(copy: &Copy, input: &Input, root: Option<BorrowedFd<'_>>) -> Result<String, TaskError> {
    let source = Source::open(Some(input), root)?;
    let mut hasher = Hasher::new(&source);
    for from in &copy.sources {
        let CopySource::Path(path) = from else { continue };
        if copy.parents {
            let parents = Parents::of(path);
            let selection = Selection::new(Some(&parents.pattern), &copy.exclude)?;
            let before = hasher.entries;
            for found in source.expand(&parents.pivot)? {
                hasher.tree(&found, &selection)?;
            }
            if let Some(path) = parents.required
                && hasher.entries == before
            {
                return Err(source.missing(path.as_bstr()));
            }
        } else {
            let selection = Selection::new(None, &copy.exclude)?;
            for found in source.expand(path)? {
                hasher.text(&found.base);
                hasher.tree(&found, &selection)?;
            }
        }
        // Two sources are not one with the entries of both.
        hasher.number(u64::MAX);
    }
    Ok(hasher.finish())
}

/// The digest of one path of an input, and of all below it. Symbolic links on the way to it are followed.
fn digest_path(input: &Input, root: Option<BorrowedFd<'_>>, path: &str) -> Result<String, TaskError> {
    let source = Source::open(Some(input), root)?;
    // The whole of nothing is there, and empty.
    if matches!(input, Input::Scratch) && path.bytes().all(|it| it == b'/' || it == b'.') {
        return Ok(Hasher::new(&source).finish());
    }
    let path = clean(BStr::new(path));
    let found = source.find(path.as_bstr())?.ok_or_else(|| source.missing(path.as_bstr()))?;
    let mut hasher = Hasher::new(&source);
    hasher.tree(&found, &Selection::default())?;
    Ok(hasher.finish())
}

struct Hasher<'a> {
    source: &'a Source,
    hash: Sha256,
    buffer: Vec<u8>,
    /// Entries below the sources themselves.
    entries: u64,
}

impl Visit for Hasher<'_> {
    fn directory(&mut self, found: &Found, relative: &BStr, wanted: Wanted) -> Result<(), TaskError> {
        self.entries += u64::from(wanted == Wanted::Yes);
        self.text(relative);
        self.properties(None, found)
    }

    fn entry(&mut self, dir: BorrowedFd<'_>, found: &Found, relative: &BStr) -> Result<(), TaskError> {
        self.entries += 1;
        self.text(relative);
        self.properties(Some(dir), found)
    }
}

impl<'a> Hasher<'a> {
    fn new(source: &'a Source) -> Hasher<'a> {
        Hasher { source, hash: Sha256::new(), buffer: vec![0; 128 << 10], entries: 0 }
    }

    fn finish(self) -> String {
        Digest::from_hash(&self.hash.finalize()).to_string()
    }

    fn tree(&mut self, found: &Found, selection: &Selection) -> Result<(), TaskError> {
        // The top of a directory of the host is not part of what is in it.
        if !(self.source.foreign && found.path.is_empty()) {
            self.properties(None, found)?;
        }
        if !found.is_dir() {
            self.entries += 1;
            return Ok(());
        }
        walk(self.source, found, selection, self)
    }

    /// Everything about one path but its name and its times. `dir` is the open directory that it lies in.
    fn properties(&mut self, dir: Option<BorrowedFd<'_>>, found: &Found) -> Result<(), TaskError> {
        let source = self.source;
        let path = found.path.as_bstr();
        let fail = |error: PathError| source.failed(error);
        let opened;
        let (parent, mut name) = split(path);
        let dir = match dir {
            Some(dir) => dir,
            None => {
                opened = source.root()?.place(parent).at("read", path).map_err(fail)?;
                opened.as_fd()
            }
        };
        if name.is_empty() {
            name = BStr::new(".");
        }
        let mut meta = read_meta(dir, name, &found.stat).at("read", path).map_err(fail)?;
        meta.xattrs.retain(|key, _| {
            key == "security.capability" || !(key.starts_with(b"security.") || key.starts_with(b"system."))
        });
        let (uid, gid) = if source.foreign { (0, 0) } else { (meta.uid, meta.gid) };
        // A socket is copied as an empty file.
        let kind = if meta.kind == Kind::Socket { Kind::File } else { kind(&found.stat) };
        self.number(kind as u64);
        // The mode of a symbolic link says nothing.
        self.number(if kind == Kind::Symlink { 0o777 } else { meta.mode.into() });
        self.number(uid.into());
        self.number(gid.into());
        self.text(&meta.target);
        self.number(meta.device.0.into());
        self.number(meta.device.1.into());
        self.number(meta.xattrs.len() as u64);
        for (key, value) in &meta.xattrs {
            self.text(key);
            self.text(value);
        }
        if meta.kind == Kind::File {
            let file = open_file(dir, name).at("read", path).map_err(fail)?;
            let size = self.content(file).at("read", path).map_err(fail)?;
            self.number(size);
        }
        Ok(())
    }

    /// Answers with the number of bytes.
    fn content(&mut self, mut file: impl Read) -> io::Result<u64> {
        let mut size = 0;
        loop {
            match file.read(&mut self.buffer) {
                Ok(0) => return Ok(size),
                Ok(got) => {
                    self.hash.update(&self.buffer[..got]);
                    size += got as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn number(&mut self, number: u64) {
        self.hash.update(number.to_le_bytes());
    }

    /// With its length, so that no two lists of texts run together to the same bytes.
    fn text(&mut self, text: &[u8]) {
        self.number(text.len() as u64);
        self.hash.update(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::embedded::copy::tests::instruction;
    use crate::engine::embedded::task::Stack;
    use crate::snapshot::fixture::{self, build};
    use crate::snapshot::rooted::Root;

    const TREE: &[&str] = &[
        "dir 755 d ~1",
        "file 644 d/a 1 ~2",
        "file 644 d/b 2 ~3",
        "dir 700 d/s ~4",
        "link 777 d/l ->a ~5",
        "file 644 t x ~6",
    ];

    fn digest(text: &str, tree: &[&str], ignore: Option<&str>) -> Result<String, TaskError> {
        let dir = fixture::dir();
        build(dir.path(), tree);
        let root = Root::open(dir.path()).unwrap();
        let input = match ignore {
            Some(text) => Input::Directory { path: dir.path().into(), ignore: Some(text.into()) },
            None => Input::Stack(Stack::default()),
        };
        match text.strip_prefix("path ") {
            Some(path) => digest_path(&input, Some(root.as_fd()), path),
            None => digest_copy(&instruction(text), &input, Some(root.as_fd())),
        }
    }

    /// Replaces lines that begin alike, and holds the digests of both trees against each other.
    #[track_caller]
    fn check(text: &str, change: &[(&str, &str)], same: bool) {
        let changed: Vec<&str> = TREE
            .iter()
            .map(|line| {
                change.iter().find(|(from, _)| !from.is_empty() && line.starts_with(from)).map_or(*line, |(_, to)| *to)
            })
            .filter(|line| !line.is_empty())
            .collect();
        let added = change.iter().filter(|(from, _)| from.is_empty()).map(|(_, to)| *to);
        let changed: Vec<&str> = changed.into_iter().chain(added).collect();
        let (before, after) = (digest(text, TREE, None).unwrap(), digest(text, &changed, None).unwrap());
        assert!(before.starts_with("sha256:"));
        assert_eq!(before == after, same, "{text} with {change:?}");
    }

    #[test]
    fn what_counts() {
        for text in ["COPY d /n", "COPY . /n", "COPY --parents d /n", "COPY d* /n", "path d", "path /"] {
            check(text, &[("file 644 d/a", "file 644 d/a 2 ~2")], false);
            check(text, &[("file 644 d/a", "file 600 d/a 1 ~2")], false);
            check(text, &[("file 644 d/a", "file 644 d/c 1 ~2")], false);
            check(text, &[("file 644 d/a", "")], false);
            check(text, &[("file 644 d/a", "fifo 644 d/a ~2")], false);
            check(text, &[("dir 700 d/s", "dir 711 d/s")], false);
            check(text, &[("dir 700 d/s", "")], false);
            check(text, &[("link 777 d/l", "link 777 d/l ->b ~5")], false);
            check(text, &[("file 644 d/a", "file 644 d/a 1 +user.color=red ~2")], false);
            check(text, &[("dir 755 d ", "dir 711 d ~1")], false);
            check(text, &[("", "file 644 d/new x")], false);
            if fixture::is_root() {
                check(text, &[("file 644 d/a", "file 644 d/a 1 @5:0")], false);
                check(text, &[("link 777 d/l", "link 777 d/l ->a @0:5")], false);
            }
        }
    }

    #[test]
    fn what_does_not() {
        for text in ["COPY d /n", "COPY --parents d /n", "COPY d* /n", "path d"] {
            check(text, &[], true);
            check(text, &[("file 644 d/a", "file 644 d/a 1 ~999"), ("dir 755 d ", "dir 755 d ~999")], true);
            check(text, &[("file 644 t", "file 600 t other")], true);
            check(text, &[("", "hard 0 linked =d/a")], true);
        }
        check("COPY --exclude=a d /n", &[("file 644 d/a", "file 600 d/a 5")], true);
        check("COPY --exclude=a d /n", &[("file 644 d/b", "file 600 d/b 5")], false);
        check("COPY d/[a-b] /n", &[("dir 700 d/s", "dir 711 d/s")], true);
        check("COPY d/[a-b] /n", &[("file 644 d/b", "file 644 d/b 5")], false);
        check("COPY d/none* /n", &[("file 644 d/a", "")], true);
        check("COPY <<EOF /n", &[("file 644 d/a", "")], true);
    }

    #[test]
    fn the_ignore_file_hides() {
        let other: Vec<&str> =
            TREE.iter().map(|it| if it.starts_with("file 644 d/a") { "file 600 d/a 5" } else { *it }).collect();
        let same = |ignore: &str| {
            digest("COPY . /", TREE, Some(ignore)).unwrap() == digest("COPY . /", &other, Some(ignore)).unwrap()
        };
        assert!(same("d/a"));
        assert!(!same("d/b"));
        if fixture::is_root() {
            let owned: Vec<String> = TREE.iter().map(|line| format!("{line} @5:6")).collect();
            let owned: Vec<&str> = owned.iter().map(String::as_str).collect();
            assert_eq!(digest("COPY . /", TREE, Some("")).unwrap(), digest("COPY . /", &owned, Some("")).unwrap());
        }
    }

    #[test]
    fn what_is_missing_is_an_error_here_too() {
        for text in
            ["COPY none /n", "COPY t none /n", "COPY --parents none /n", "path none", "path /none", "COPY none/* /n"]
        {
            let error = digest(text, TREE, None).unwrap_err();
            assert!(error.input && error.message.starts_with("/none is not in"), "{error}");
        }
        assert!(digest("COPY t /n", TREE, Some("t")).unwrap_err().help[0].contains("line 1"));
    }
}
