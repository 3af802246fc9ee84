//! Digests of what a step reads, for its cache key.
//!
//! They change with what BuildKit's change with: names, kinds, modes, contents, link targets, devices, extended
//! attributes, and owners where they are kept; never with times, nor with how often a file is linked.
//!
//! A directory of this machine may change while it is read, and between one look at it and the next. So each digest has
//! a stamp: as long as that stays, what was digested is what is there.

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

/// What a step reads of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub digest: String,
    /// Of the paths and what tells that they have changed, without their contents.
    pub stamp: String,
}

/// `root` is the input's root, if that is a stack of layers.
pub fn digest(what: &Reads, input: &Input, root: Option<BorrowedFd<'_>>) -> Result<Content, TaskError> {
    let source = Source::open(Some(input), root)?;
    let mut hasher = Hasher::new(&source, true);
    hasher.all(what, input)?;
    Ok(Content { digest: hex(hasher.hash), stamp: hex(hasher.stamp) })
}

/// The stamp alone, of a directory of this machine; no file is read for it.
pub fn stamp(what: &Reads, input: &Input) -> Result<String, TaskError> {
    let source = Source::open(Some(input), None)?;
    let mut hasher = Hasher::new(&source, false);
    hasher.all(what, input)?;
    Ok(hex(hasher.stamp))
}

struct Hasher<'a> {
    source: &'a Source,
    /// Whether more than the stamp is asked for.
    reads: bool,
    hash: Sha256,
    stamp: Sha256,
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
    fn new(source: &'a Source, reads: bool) -> Hasher<'a> {
        let (hash, stamp) = (Sha256::new(), Sha256::new());
        Hasher { source, reads, hash, stamp, buffer: vec![0; 128 << 10], entries: 0 }
    }

    fn all(&mut self, what: &Reads, input: &Input) -> Result<(), TaskError> {
        match what {
            Reads::Copy(copy) => self.copy(copy),
            // The whole of nothing is there, and empty.
            Reads::Path(path) if *input == Input::Scratch && path.bytes().all(|it| it == b'/' || it == b'.') => Ok(()),
            Reads::Path(path) => self.path(path),
        }
    }

    /// All paths that the instruction copies from its input. Sources that are not there are the same errors as in the
    /// copy itself.
    fn copy(&mut self, copy: &Copy) -> Result<(), TaskError> {
        let source = self.source;
        for from in &copy.sources {
            let CopySource::Path(path) = from else { continue };
            if copy.parents {
                let parents = Parents::of(path);
                let selection = Selection::new(Some(&parents.pattern), &copy.exclude)?;
                let before = self.entries;
                for found in source.expand(&parents.pivot)? {
                    self.tree(&found, &selection)?;
                }
                if let Some(path) = parents.required
                    && self.entries == before
                {
                    return Err(source.missing(path.as_bstr()));
                }
            } else {
                let selection = Selection::new(None, &copy.exclude)?;
                for found in source.expand(path)? {
                    self.text(&found.base);
                    self.tree(&found, &selection)?;
                }
            }
            // Two sources are not one with the entries of both.
            self.number(u64::MAX);
        }
        Ok(())
    }

    /// One path, and all below it. Symbolic links on the way to it are followed.
    fn path(&mut self, path: &str) -> Result<(), TaskError> {
        let path = clean(BStr::new(path));
        let found = self.source.find(path.as_bstr())?.ok_or_else(|| self.source.missing(path.as_bstr()))?;
        self.tree(&found, &Selection::default())
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
        self.stamp(found);
        if !self.reads {
            return Ok(());
        }
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

    /// Whatever is done to a file changes one of these. A directory's times say more than is asked: something in it may
    /// have come and gone that nobody reads.
    fn stamp(&mut self, found: &Found) {
        let Found { path, stat, .. } = found;
        self.stamp.update((path.len() as u64).to_le_bytes());
        self.stamp.update(path);
        let mut numbers = vec![stat.st_dev as i128, stat.st_ino as i128, stat.st_mode as i128];
        if !found.is_dir() {
            let times =
                [stat.st_mtime as i128, stat.st_mtime_nsec as i128, stat.st_ctime as i128, stat.st_ctime_nsec as i128];
            numbers.push(stat.st_size as i128);
            numbers.extend(times);
        }
        for number in numbers {
            self.stamp.update(number.to_le_bytes());
        }
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

fn hex(hash: Sha256) -> String {
    Digest::from_hash(&hash.finalize()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::embedded::copy::tests::instruction;
    use crate::engine::embedded::task::Stack;
    use crate::snapshot::fixture::{self, build};
    use crate::snapshot::rooted::Root;
    use std::fs::Permissions;
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::Path;

    const TREE: &[&str] = &[
        "dir 755 d ~1",
        "file 644 d/a 1 ~2",
        "file 644 d/b 2 ~3",
        "dir 700 d/s ~4",
        "link 777 d/l ->a ~5",
        "file 644 t x ~6",
    ];

    fn reads(text: &str) -> Reads {
        match text.strip_prefix("path ") {
            Some(path) => Reads::Path(path.to_owned()),
            None => Reads::Copy(instruction(text)),
        }
    }

    fn digest(text: &str, tree: &[&str], ignore: Option<&str>) -> Result<String, TaskError> {
        let dir = fixture::dir();
        build(dir.path(), tree);
        let root = Root::open(dir.path()).unwrap();
        let input = match ignore {
            Some(text) => Input::Directory { path: dir.path().into(), ignore: Some(text.into()) },
            None => Input::Stack(Stack::default()),
        };
        super::digest(&reads(text), &input, Some(root.as_fd())).map(|content| content.digest)
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
    fn stamps_tell_of_every_change_and_of_nothing_else() {
        let check = |text: &str, change: &dyn Fn(&Path), same: bool| {
            let dir = fixture::dir();
            build(dir.path(), TREE);
            let input = Input::Directory { path: dir.path().into(), ignore: Some("t".to_owned()) };
            let before = super::digest(&reads(text), &input, None).unwrap().stamp;
            assert_eq!(stamp(&reads(text), &input).unwrap(), before, "{text}");
            change(dir.path());
            assert_eq!(stamp(&reads(text), &input).unwrap() == before, same, "{text}");
        };
        let write = |name: &'static str| move |dir: &Path| std::fs::write(dir.join(name), "9").unwrap();
        for text in ["COPY . /n", "COPY d /n", "COPY --parents d /n", "path /", "path d"] {
            check(text, &write("d/a"), false);
            check(text, &write("d/new"), false);
            check(text, &|dir| std::fs::remove_file(dir.join("d/b")).unwrap(), false);
            check(text, &|dir| std::fs::rename(dir.join("d/b"), dir.join("d/a")).unwrap(), false);
            check(
                text,
                &|dir| std::fs::set_permissions(dir.join("d/s"), Permissions::from_mode(0o711)).unwrap(),
                false,
            );
            // The same size, and the same time as before. The clock of files may take a few milliseconds to go on.
            let back = |dir: &Path| {
                let mut file = std::fs::File::options().write(true).open(dir.join("d/a")).unwrap();
                let before = file.metadata().unwrap();
                file.write_all(b"9").unwrap();
                let changed = |it: std::fs::Metadata| (it.ctime(), it.ctime_nsec());
                while changed(file.metadata().unwrap()) == changed(before.clone()) {
                    file.set_modified(before.modified().unwrap()).unwrap();
                }
            };
            check(text, &back, false);
            check(text, &write("t"), true);
            check(text, &|dir| drop(std::fs::read(dir.join("d/a")).unwrap()), true);
        }
        check("COPY --exclude=a d /n", &write("d/a"), true);
        check("path d/a", &write("d/new"), true);
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
