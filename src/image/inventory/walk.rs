//! Members of a layer's archive, as entries of a layer.
//!
//! Source: OCI image-spec `layer.md`. Where it is silent this does what unpacking a layer does: symbolic links of the
//! same layer are followed on the way to a path, those of lower layers are not, since each layer is read alone.

use crate::image::tar_reader::{TarEntry, TarError, TarKind, TarReader};
use crate::layers::packages::{self, Manager, Package};
use crate::layers::path::{child, clean, is_below, names, shown, split};
use crate::layers::{ContentHash, ContentHasher, Entry, Kind, Meta};
use bstr::{BStr, BString, ByteSlice, Finder};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::BufRead;
use std::ops::Bound;
use std::sync::LazyLock;
use twox_hash::XxHash3_128;

/// Bytes of a path, as Linux has it.
const MAX_PATH: usize = 4096;

/// Symbolic links on the way to a path, as Linux has it.
const MAX_LINKS: usize = 40;

/// Holes that are hashed as the zeros they stand for; a file with more has no content hash.
const MAX_HASHED_HOLES: u64 = 64 << 20;

/// Private keys are small.
const MAX_KEY: u64 = 64 << 10;

/// About what a map or a list takes for an item besides its bytes.
const PIECE: usize = 64;

/// As many things that are wrong with a layer are told one by one.
const MOST_NOTES: usize = 20;

/// What is told of a file's content on the way past.
#[derive(Debug, Clone, Copy)]
pub enum Piece<'p> {
    /// A file of so many bytes begins. What was told of its path before is void.
    Begins(u64),
    /// Bytes from an offset on. Holes are left out.
    Bytes(u64, &'p [u8]),
}

/// What is remembered of a layer on the way through its archive.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Symbolic links that the layer has so far, with their targets.
    links: BTreeMap<BString, BString>,
    /// The last parent, as written, and where it is.
    parent: Option<(BString, BString)>,
    /// Files that AUFS kept hard links together with, and their inodes once something is linked to them.
    aufs: HashMap<BString, (Meta, u64)>,
    inodes: u64,
    /// About how many bytes all this takes.
    held: usize,
    /// Whiteouts, and opaque directories with a slash at the end: one of each is enough.
    marks: HashSet<BString>,
    pub(super) found: Found,
}

/// What a layer holds besides its entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Found {
    /// Package databases, by path.
    pub(super) databases: Vec<(BString, Vec<Package>)>,
    /// Files that are private keys.
    pub(super) keys: Vec<BString>,
    /// What is wrong with single entries, in sentences. The rest of the layer is read all the same.
    pub(super) notes: Vec<String>,
    /// How many more there are.
    pub(super) more_notes: u64,
}

impl Walk {
    /// Takes one member. Its content is shown to `tap` with the path that it belongs to: first that it begins, and if
    /// the answer is that it is wanted, all of it. Of what is not wanted the content is not known.
    pub(super) fn member<R: BufRead>(
        &mut self,
        member: TarEntry,
        archive: &mut TarReader<R>,
        tap: &mut dyn FnMut(&BString, Piece<'_>) -> bool,
        put: &mut dyn FnMut(&Entry),
    ) -> Result<(), TarError> {
        if member.path.len() > MAX_PATH || member.target.len() > MAX_PATH {
            self.note(&member.path, "has a longer path than Linux allows, and is left out");
            return Ok(());
        }
        let written = clean(member.path.as_ref());
        if leaves_root(member.path.as_ref()) {
            self.note(
                &member.path,
                "leads out of the image; it is shown within it, where some runtimes put it and others refuse it",
            );
        }
        let (parent, name) = split(written.as_ref());
        // The root's own properties are not a layer's to set.
        if name.is_empty() {
            if member.kind != TarKind::Directory {
                self.note(&member.path, "is no directory and stands where the root is, and is left out");
            }
            return Ok(());
        }
        // AUFS kept its own files at the top under such names; hard links may lead to them.
        if written.starts_with(b".wh..wh.") && written != ".wh..wh..opq" {
            if member.kind == TarKind::File {
                let meta = self.file(&member, &written, archive, tap)?;
                self.held += written.len() + size_of::<Meta>();
                self.aufs.insert(written, (meta, 0));
            }
            return Ok(());
        }
        if names(parent).any(|it| it.starts_with(b".wh.")) {
            self.note(&member.path, "lies below a whiteout, and is left out");
            return Ok(());
        }
        let Some(parent) = self.place(parent) else {
            self.note(&member.path, "leads through too many symbolic links, and is left out");
            return Ok(());
        };
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            match hidden {
                b"" | b"." | b".." => self.note(&member.path, "is a whiteout without a name, and is left out"),
                b".wh..opq" => self.mark(Entry::Opaque { path: parent }, put),
                hidden if hidden.starts_with(b".wh.") => {}
                hidden => self.mark(Entry::Whiteout { path: child(parent.as_ref(), hidden.into()) }, put),
            }
            return Ok(());
        }
        let path = child(parent.as_ref(), name);
        match member.kind {
            TarKind::HardLink => self.link(path, &member, put),
            TarKind::Symlink if member.target.is_empty() => {
                self.note(&member.path, "is a symbolic link to nothing, and is left out");
            }
            _ => {
                let meta = match member.kind {
                    TarKind::File => self.file(&member, &path, archive, tap)?,
                    _ => meta(&member),
                };
                self.replace(&path, &meta);
                put(&Entry::Put { path: path.clone(), meta, opaque: false });
                if member.is_opaque() {
                    self.mark(Entry::Opaque { path }, put);
                }
            }
        }
        Ok(())
    }

    /// About how many bytes are remembered, besides the entries.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    pub(super) fn finish(self) -> Found {
        self.found
    }

    fn mark(&mut self, entry: Entry, put: &mut dyn FnMut(&Entry)) {
        let mut key = entry.path().clone();
        if let Entry::Opaque { .. } = entry {
            key.push(b'/');
        }
        let held = key.len() + PIECE;
        if self.marks.insert(key) {
            self.held += held;
            put(&entry);
        }
    }

    fn link(&mut self, path: BString, member: &TarEntry, put: &mut dyn FnMut(&Entry)) {
        let target = clean(member.target.as_ref());
        if let Some((meta, inode)) = self.aufs.get_mut(&target) {
            if *inode == 0 {
                self.inodes += 1;
                *inode = self.inodes;
            }
            let meta = Meta { hard_link: *inode, ..meta.clone() };
            self.replace(&path, &meta);
            put(&Entry::Put { path, meta, opaque: false });
            return;
        }
        let (parent, name) = split(target.as_ref());
        let name = name.to_owned();
        let Some(parent) = self.place(parent) else {
            self.note(&member.path, "is a hard link through too many symbolic links, and is left out");
            return;
        };
        let target = child(parent.as_ref(), name.as_ref());
        if target == path {
            return;
        }
        match self.links.get(&target).cloned() {
            // A further name of a symbolic link is one, too.
            Some(to) => self.replace(&path, &Meta { target: to, ..Meta::new(Kind::Symlink) }),
            None => self.replace(&path, &Meta::new(Kind::File)),
        }
        let own = Meta { target: BString::default(), ..meta(member) };
        put(&Entry::Link { path, target, own: Some(Box::new(own)) });
    }

    /// Notes what is at a path from now on, as far as later paths lead through it.
    fn replace(&mut self, path: &BString, meta: &Meta) {
        let changed = match meta.kind {
            Kind::Symlink => {
                self.forget_below(path);
                self.held += path.len() + meta.target.len() + PIECE;
                self.links.insert(path.clone(), meta.target.clone());
                true
            }
            _ if self.links.is_empty() => false,
            Kind::Directory => self.links.remove(path).is_some(),
            _ => self.forget_below(path) | self.links.remove(path).is_some(),
        };
        if changed {
            self.parent = None;
        }
    }

    /// What was below a directory goes with it.
    fn forget_below(&mut self, path: &BString) -> bool {
        let mut below = path.clone();
        below.push(b'/');
        let range = (Bound::Excluded(below), Bound::Unbounded);
        let gone = self.links.range::<BString, _>(range).map(|(link, _)| link);
        let gone: Vec<BString> = gone.take_while(|link| is_below(link.as_ref(), path.as_ref())).cloned().collect();
        gone.iter().for_each(|link| drop(self.links.remove(link)));
        !gone.is_empty()
    }

    /// Where a directory is, links of this layer followed; `None` if there is no end to them.
    fn place(&mut self, written: &BStr) -> Option<BString> {
        if self.links.is_empty() || written.is_empty() {
            return Some(written.to_owned());
        }
        if let Some((last, place)) = &self.parent
            && last == written
        {
            return Some(place.clone());
        }
        let place = self.resolve(written)?;
        self.parent = Some((written.to_owned(), place.clone()));
        Some(place)
    }

    fn resolve(&self, written: &BStr) -> Option<BString> {
        let mut ahead: Vec<BString> = written.rsplit_str("/").map(BString::from).collect();
        let mut at = BString::default();
        let mut followed = 0;
        while let Some(name) = ahead.pop() {
            match name.as_bytes() {
                b"" | b"." => continue,
                b".." => {
                    at = split(at.as_ref()).0.to_owned();
                    continue;
                }
                _ => {}
            }
            let next = child(at.as_ref(), name.as_ref());
            let Some(target) = self.links.get(&next) else {
                at = next;
                continue;
            };
            followed += 1;
            if followed > MAX_LINKS || at.len() > MAX_PATH {
                return None;
            }
            if target.starts_with(b"/") {
                at.clear();
            }
            ahead.extend(target.rsplit_str("/").map(BString::from));
        }
        Some(at)
    }

    /// A file's properties, its content read if it is wanted.
    fn file<R: BufRead>(
        &mut self,
        member: &TarEntry,
        path: &BString,
        archive: &mut TarReader<R>,
        tap: &mut dyn FnMut(&BString, Piece<'_>) -> bool,
    ) -> Result<Meta, TarError> {
        let unread = Meta { size: member.size, holes: member.holes, ..meta(member) };
        if !tap(path, Piece::Begins(member.size)) {
            return Ok(unread);
        }
        let manager = packages::manager_of(path.as_ref()).filter(|_| member.size <= packages::LARGEST_DATABASE);
        let mut content = Content::new(member, manager.is_some());
        let mut take = |offset: u64, bytes: &[u8]| {
            tap(path, Piece::Bytes(offset, bytes));
            content.take(offset, bytes);
        };
        while archive.with_chunk(&mut take)?.is_some() {}
        if content.is_key || is_key(&content.kept) {
            self.held += path.len() + PIECE;
            self.found.keys.push(path.clone());
        }
        if let Some(manager) = manager {
            self.database(path, manager, &content.kept);
        }
        Ok(Meta { content: content.hash(member.size), ..unread })
    }

    fn database(&mut self, path: &BString, manager: Manager, bytes: &[u8]) {
        match packages::parse(manager, bytes) {
            Ok(packages) => {
                let texts = |it: &Package| it.name.len() + it.version.len() + it.architecture.len();
                self.held += packages.iter().map(|it| texts(it) + size_of::<Package>()).sum::<usize>() + path.len();
                // Of two members for a path the later one holds. Small ones, a file a package, are never many for one.
                if packages.len() > 1 {
                    self.found.databases.retain(|(other, _)| other != path);
                }
                self.found.databases.push((path.clone(), packages));
            }
            Err(why) => self.note(path, &format!("{why}, so the packages in it are not known")),
        }
    }

    pub(super) fn note(&mut self, path: &BString, what: &str) {
        match self.found.notes.len() < MOST_NOTES {
            true => self.found.notes.push(format!("entry {} {what}", shown(path.as_ref()))),
            false => self.found.more_notes += 1,
        }
    }
}

/// Whether a path, taken as text, leads above where it begins.
fn leaves_root(path: &BStr) -> bool {
    let mut depth = 0usize;
    names(path).any(|name| match name {
        b"" | b"." => false,
        b".." => depth.checked_sub(1).map(|less| depth = less).is_none(),
        _ => {
            depth += 1;
            false
        }
    })
}

fn meta(member: &TarEntry) -> Meta {
    let kind = match member.kind {
        TarKind::File | TarKind::HardLink => Kind::File,
        TarKind::Directory => Kind::Directory,
        TarKind::Symlink => Kind::Symlink,
        TarKind::Fifo => Kind::Fifo,
        TarKind::CharDevice => Kind::CharDevice,
        TarKind::BlockDevice => Kind::BlockDevice,
    };
    Meta {
        mode: member.mode,
        uid: member.uid,
        gid: member.gid,
        mtime: member.mtime,
        target: member.target.clone(),
        device: member.device,
        xattrs: member.xattrs.clone(),
        ..Meta::new(kind)
    }
}

/// Whether a file is a private key, in the form of RFC 7468 or of OpenPGP (RFC 9580), with its certificate before it or
/// not, or within JSON as clouds give it out. Programs and texts that only speak of keys say so further behind.
fn is_key(file: &[u8]) -> bool {
    static BEGIN: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("-----BEGIN "));
    let is_of_a_cloud = file.starts_with(b"{") && file.contains_str("\"private_key\"");
    let is_bundle = file.starts_with(b"-----BEGIN ") || file.starts_with(b"Bag Attributes");
    let text = if is_bundle || is_of_a_cloud { file } else { &file[..file.len().min(200)] };
    let ends = ["PRIVATE KEY-----", "PRIVATE KEY BLOCK-----"];
    BEGIN.find(text).is_some() && ends.iter().any(|end| text.contains_str(end))
}

/// A file's content on its way past.
struct Content {
    state: Hashing,
    /// Bytes so far, holes included.
    end: u64,
    size: u64,
    is_key: bool,
    /// All of it is wanted.
    keep: bool,
    kept: Vec<u8>,
}

enum Hashing {
    Nothing,
    /// It came as one piece.
    Whole(u128),
    Pieces(Box<ContentHasher>),
    /// Not worth it.
    Off,
}

impl Content {
    fn new(member: &TarEntry, keep: bool) -> Content {
        let state = if member.holes > MAX_HASHED_HOLES { Hashing::Off } else { Hashing::Nothing };
        Content { state, end: 0, size: member.size, is_key: false, keep, kept: Vec::new() }
    }

    fn take(&mut self, offset: u64, bytes: &[u8]) {
        // Few small files come in several pieces.
        let is_whole = bytes.len() as u64 == self.size;
        if self.keep || self.size <= MAX_KEY && !is_whole {
            self.kept.extend_from_slice(bytes);
        }
        self.is_key = is_whole && self.size <= MAX_KEY && is_key(bytes);
        if let Hashing::Nothing = self.state {
            if is_whole {
                self.state = Hashing::Whole(XxHash3_128::oneshot(bytes));
                self.end = self.size;
                return;
            }
            self.state = Hashing::Pieces(Box::default());
        }
        if let Hashing::Pieces(hasher) = &mut self.state {
            hasher.take(offset, bytes);
        }
        self.end = offset + bytes.len() as u64;
    }

    fn hash(self, size: u64) -> Option<ContentHash> {
        match self.state {
            Hashing::Off => None,
            Hashing::Whole(hash) => Some(ContentHash(hash)),
            Hashing::Nothing => Some(ContentHasher::default().finish(size)),
            Hashing::Pieces(hasher) => Some(hasher.finish(size)),
        }
    }
}
