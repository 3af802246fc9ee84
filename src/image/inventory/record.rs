//! A layer's entries as bytes: about a third of what they take as values, in memory while other layers are read,
//! and on disk for the next time.
//!
//! Numbers are varints (seven bits a byte, the lowest first). A path is told by how much of its beginning it shares
//! with the path before it. What is read back may be damaged: anything that does not fit ends the list.

use crate::layers::{ContentHash, Entry, Kind, Meta};
use bstr::{BStr, BString, ByteSlice};
use std::collections::BTreeMap;

const WHITEOUT: u8 = 7;
const OPAQUE: u8 = 8;
const LINK: u8 = 9;
const LINK_ALONE: u8 = 10;
/// Added to a kind's number.
const HAS_CONTENT: u8 = 1 << 4;
const HAS_OWNER: u8 = 1 << 5;
const HAS_NANOS: u8 = 1 << 6;
/// Holes, extended attributes or an inode.
const HAS_MORE: u8 = 1 << 7;

const KINDS: [Kind; 7] =
    [Kind::File, Kind::Directory, Kind::Symlink, Kind::Fifo, Kind::Socket, Kind::CharDevice, Kind::BlockDevice];

#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    last: BString,
}

impl Writer {
    pub(super) fn entry(&mut self, entry: &Entry) {
        match entry {
            Entry::Put { path, meta, .. } => {
                self.begin(tag(meta), path.as_ref());
                self.meta(meta);
            }
            Entry::Whiteout { path } => self.begin(WHITEOUT, path.as_ref()),
            Entry::Opaque { path } => self.begin(OPAQUE, path.as_ref()),
            Entry::Link { path, target, own } => {
                self.begin(if own.is_some() { LINK } else { LINK_ALONE }, path.as_ref());
                self.text(target.as_ref());
                if let Some(own) = own {
                    self.bytes.push(tag(own));
                    self.meta(own);
                }
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// What [`tag`] says of it comes before it.
    fn meta(&mut self, meta: &Meta) {
        let flags = tag(meta);
        self.number(u64::from(meta.mode));
        // Zigzag: small negative numbers are short too.
        self.number((meta.mtime.0 << 1 ^ meta.mtime.0 >> 63) as u64);
        if flags & HAS_NANOS != 0 {
            self.number(u64::from(meta.mtime.1));
        }
        if flags & HAS_OWNER != 0 {
            self.number(u64::from(meta.uid));
            self.number(u64::from(meta.gid));
        }
        match meta.kind {
            Kind::File => self.number(meta.size),
            Kind::Symlink => self.text(meta.target.as_ref()),
            Kind::CharDevice | Kind::BlockDevice => {
                self.number(u64::from(meta.device.0));
                self.number(u64::from(meta.device.1));
            }
            Kind::Directory | Kind::Fifo | Kind::Socket => {}
        }
        if let Some(ContentHash(hash)) = meta.content {
            self.bytes.extend_from_slice(&hash.to_le_bytes());
        }
        if flags & HAS_MORE != 0 {
            self.number(meta.holes);
            self.number(meta.hard_link);
            self.number(meta.xattrs.len() as u64);
            for (name, value) in &meta.xattrs {
                self.text(name.as_ref());
                self.text(value.as_ref());
            }
        }
    }

    fn begin(&mut self, tag: u8, path: &BStr) {
        self.bytes.push(tag);
        let shared = self.last.iter().zip(path.iter()).take_while(|(a, b)| a == b).count();
        self.number(shared as u64);
        self.text(BStr::new(&path[shared..]));
        self.last.truncate(shared);
        self.last.extend_from_slice(&path[shared..]);
    }

    fn text(&mut self, text: &BStr) {
        self.number(text.len() as u64);
        self.bytes.extend_from_slice(text);
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }
}

/// A kind's number, and what there is to say besides.
fn tag(meta: &Meta) -> u8 {
    let kind = KINDS.iter().position(|kind| *kind == meta.kind).unwrap_or_default() as u8;
    let flag = |flag: u8, is_set: bool| if is_set { flag } else { 0 };
    kind | flag(HAS_CONTENT, meta.content.is_some())
        | flag(HAS_OWNER, (meta.uid, meta.gid) != (0, 0))
        | flag(HAS_NANOS, meta.mtime.1 != 0)
        | flag(HAS_MORE, meta.holes != 0 || !meta.xattrs.is_empty() || meta.hard_link != 0)
}

#[derive(Debug)]
pub(super) struct Reader<'b> {
    rest: &'b [u8],
    last: BString,
}

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Reader<'b> {
        Reader { rest: bytes, last: BString::default() }
    }

    fn entry(&mut self) -> Option<Entry> {
        let tag = self.byte()?;
        let shared = usize::try_from(self.number()?).ok().filter(|shared| *shared <= self.last.len())?;
        let rest = self.text()?;
        self.last.truncate(shared);
        self.last.extend_from_slice(rest);
        let path = self.last.clone();
        Some(match tag {
            WHITEOUT => Entry::Whiteout { path },
            OPAQUE => Entry::Opaque { path },
            LINK_ALONE => Entry::Link { path, target: self.text()?.into(), own: None },
            LINK => {
                let (target, tag) = (self.text()?.into(), self.byte()?);
                Entry::Link { path, target, own: Some(Box::new(self.meta(tag)?)) }
            }
            tag => Entry::Put { path, meta: self.meta(tag)?, opaque: false },
        })
    }

    fn meta(&mut self, tag: u8) -> Option<Meta> {
        let kind = *KINDS.get(usize::from(tag & 0x0f))?;
        let mut meta = Meta::new(kind);
        meta.mode = self.small()?;
        let zigzag = self.number()?;
        meta.mtime.0 = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
        if tag & HAS_NANOS != 0 {
            meta.mtime.1 = self.small()?;
        }
        if tag & HAS_OWNER != 0 {
            meta.uid = self.small()?;
            meta.gid = self.small()?;
        }
        match kind {
            Kind::File => meta.size = self.number()?,
            Kind::Symlink => meta.target = self.text()?.into(),
            Kind::CharDevice | Kind::BlockDevice => meta.device = (self.small()?, self.small()?),
            Kind::Directory | Kind::Fifo | Kind::Socket => {}
        }
        if tag & HAS_CONTENT != 0 {
            let (hash, rest) = self.rest.split_first_chunk::<16>()?;
            self.rest = rest;
            meta.content = Some(ContentHash(u128::from_le_bytes(*hash)));
        }
        if tag & HAS_MORE != 0 {
            meta.holes = self.number()?;
            meta.hard_link = self.number()?;
            let count = self.number()?;
            meta.xattrs =
                (0..count).map_while(|_| Some((self.text()?.into(), self.text()?.into()))).collect::<BTreeMap<_, _>>();
            if meta.xattrs.len() as u64 != count {
                return None;
            }
        }
        Some(meta)
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn small(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    fn text(&mut self) -> Option<&'b BStr> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(text.as_bstr())
    }
}

impl Iterator for Reader<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self.entry();
        if entry.is_none() {
            self.rest = &[];
        }
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = BString> {
        prop::collection::vec(prop_oneof![Just(b'a'), Just(b'/'), any::<u8>()], 0..20).prop_map(BString::from)
    }

    fn metas() -> impl Strategy<Value = Meta> {
        let numbers = (0u32..0o10000, any::<u32>(), any::<u32>(), any::<u64>(), any::<i64>(), 0u32..1_000_000_000);
        let rare =
            (0u64..3, prop::option::of(any::<u128>()), 0u64..3, prop::collection::btree_map(text(), text(), 0..3));
        let all = (prop::sample::select(&KINDS[..]), numbers, rare, text(), any::<(u32, u32)>());
        all.prop_map(|(kind, (mode, uid, gid, size, seconds, nanos), rare, target, device)| {
            let (hard_link, content, holes, xattrs) = rare;
            let mut meta =
                Meta { mode, uid, gid, mtime: (seconds, nanos), hard_link, holes, xattrs, ..Meta::new(kind) };
            match kind {
                Kind::File => (meta.size, meta.content) = (size, content.map(ContentHash)),
                Kind::Symlink => meta.target = target,
                Kind::CharDevice | Kind::BlockDevice => meta.device = device,
                _ => {}
            }
            meta
        })
    }

    fn entries() -> impl Strategy<Value = Entry> {
        let own = prop::option::of(metas().prop_map(Box::new));
        prop_oneof![
            4 => (text(), metas()).prop_map(|(path, meta)| Entry::Put { path, meta, opaque: false }),
            1 => text().prop_map(|path| Entry::Whiteout { path }),
            1 => text().prop_map(|path| Entry::Opaque { path }),
            1 => (text(), text(), own).prop_map(|(path, target, own)| Entry::Link { path, target, own }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(entries in prop::collection::vec(entries(), 0..20)) {
            let mut writer = Writer::default();
            entries.iter().for_each(|entry| writer.entry(entry));
            let bytes = writer.finish();
            prop_assert_eq!(Reader::new(&bytes).collect::<Vec<_>>(), entries);
        }

        #[test]
        fn noise_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Reader::new(&bytes).count() <= bytes.len());
        }
    }
}
