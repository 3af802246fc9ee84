//! Tar headers, written: ustar, with a PAX header in front where ustar cannot say it.
//!
//! The same member gives the same bytes: nothing of the machine or the clock gets in.

use super::tar_reader::{BLOCK, TarEntry, TarKind};
use crate::layers::{Kind, Meta};
use bstr::{BStr, BString, ByteSlice};

impl TarEntry {
    /// A path and its properties as a member; `None` for a socket, which no archive can hold. Times are cut to whole
    /// seconds.
    pub fn of(path: &BStr, meta: &Meta) -> Option<TarEntry> {
        let kind = match meta.kind {
            Kind::File => TarKind::File,
            Kind::Directory => TarKind::Directory,
            Kind::Symlink => TarKind::Symlink,
            Kind::Fifo => TarKind::Fifo,
            Kind::CharDevice => TarKind::CharDevice,
            Kind::BlockDevice => TarKind::BlockDevice,
            Kind::Socket => return None,
        };
        let mut path = path.to_owned();
        if kind == TarKind::Directory {
            path.push(b'/');
        }
        Some(TarEntry {
            path,
            kind,
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            size: meta.size,
            holes: 0,
            mtime: (meta.mtime.0, 0),
            target: meta.target.clone(),
            device: meta.device,
            xattrs: meta.xattrs.clone(),
        })
    }
}

/// Bytes of a name in a header.
const NAME: usize = 100;

/// The largest number of `digits` octal digits and a NUL.
const fn octal_limit(digits: u32) -> u64 {
    (1 << (3 * digits)) - 1
}

/// The header of a member, to be followed by its content and [`padding`]. Byte for byte what Go's `archive/tar` makes of
/// it, which is what BuildKit writes layers with: so the same content has the same digest, whoever builds it.
pub fn header(entry: &TarEntry) -> Vec<u8> {
    let mut records: Vec<(BString, BString)> = Vec::new();
    let mut record = |key: &str, value: &BStr| records.push((key.into(), value.to_owned()));
    let split = split_path(entry.path.as_bstr());
    if split.is_none() {
        record("path", entry.path.as_bstr());
    }
    if entry.target.len() > NAME || !entry.target.is_ascii() {
        record("linkpath", entry.target.as_bstr());
    }
    let mut big = |key: &str, value: u64, digits: u32| {
        if value <= octal_limit(digits) {
            return value;
        }
        record(key, BStr::new(value.to_string().as_bytes()));
        0
    };
    let uid = big("uid", entry.uid.into(), 7);
    let gid = big("gid", entry.gid.into(), 7);
    let size = big("size", entry.size, 11);
    let seconds = entry.mtime.0;
    let mtime = match u64::try_from(seconds) {
        Ok(time) if time <= octal_limit(11) => time,
        _ => {
            record("mtime", BStr::new(seconds.to_string().as_bytes()));
            0
        }
    };
    for (key, value) in &entry.xattrs {
        let mut full = BString::from("SCHILY.xattr.");
        full.extend_from_slice(key);
        records.push((full, value.clone()));
    }

    let mut out = Vec::with_capacity(BLOCK);
    let (name, prefix) = match split {
        Some((name, prefix)) if records.is_empty() || prefix.is_empty() => (name.to_owned(), prefix),
        // Where there are records anyway, a long path is one of them.
        Some(_) => {
            records.push(("path".into(), entry.path.clone()));
            (plain(entry.path.as_bstr()), BStr::new(""))
        }
        None => (plain(entry.path.as_bstr()), BStr::new("")),
    };
    if !records.is_empty() {
        records.sort();
        let mut body = Vec::new();
        for (key, value) in &records {
            push_record(&mut body, key.as_bstr(), value.as_bstr());
        }
        let mut pax = [0; BLOCK];
        put_text(&mut pax, 0, &pax_name(entry.path.as_bstr()));
        put_octal(&mut pax, 100, 7, 0);
        put_octal(&mut pax, 108, 7, 0);
        put_octal(&mut pax, 116, 7, 0);
        put_octal(&mut pax, 124, 11, body.len() as u64);
        put_octal(&mut pax, 136, 11, 0);
        pax[156] = b'x';
        finish(&mut pax);
        out.extend_from_slice(&pax);
        out.extend_from_slice(&body);
        out.resize(out.len() + padding(body.len() as u64), 0);
    }
    let mut block = [0; BLOCK];
    put_text(&mut block, 0, &name);
    put_octal(&mut block, 100, 7, u64::from(entry.mode & 0o7777));
    put_octal(&mut block, 108, 7, uid);
    put_octal(&mut block, 116, 7, gid);
    put_octal(&mut block, 124, 11, size);
    put_octal(&mut block, 136, 11, mtime);
    block[156] = match entry.kind {
        TarKind::File => b'0',
        TarKind::HardLink => b'1',
        TarKind::Symlink => b'2',
        TarKind::CharDevice => b'3',
        TarKind::BlockDevice => b'4',
        TarKind::Directory => b'5',
        TarKind::Fifo => b'6',
    };
    put_text(&mut block, 157, &plain(entry.target.as_bstr()));
    // Device numbers have 12 and 20 bits on Linux, and 21 find room.
    put_octal(&mut block, 329, 7, u64::from(entry.device.0) & octal_limit(7));
    put_octal(&mut block, 337, 7, u64::from(entry.device.1) & octal_limit(7));
    put_text(&mut block, 345, prefix);
    finish(&mut block);
    out.extend_from_slice(&block);
    out
}

/// Zeros behind a content of so many bytes.
pub fn padding(size: u64) -> usize {
    (size.wrapping_neg() % BLOCK as u64) as usize
}

/// What ends an archive.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Name and prefix of a path, if ustar has room for it.
fn split_path(path: &BStr) -> Option<(&BStr, &BStr)> {
    if !path.is_ascii() {
        return None;
    }
    if path.len() <= NAME {
        return Some((path, BStr::new("")));
    }
    // A directory's own slash stays with its name.
    let body = path.strip_suffix(b"/").unwrap_or(path);
    let limit = body.len().min(156);
    let at = body[..limit].rfind_byte(b'/').filter(|at| *at > 0)?;
    let name = path[at + 1..].as_bstr();
    (name.len() <= NAME).then_some((name, path[..at].as_bstr()))
}

/// What an old reader sees of text that has its place in a PAX header.
fn plain(text: &BStr) -> BString {
    let mut out: BString = text.bytes().filter(|byte| byte.is_ascii() && *byte != 0).collect::<Vec<u8>>().into();
    // A slash at the end would make a directory of it.
    let slash = out.len() > NAME && out[NAME - 1] == b'/';
    out.truncate(if slash { NAME - 1 } else { NAME });
    out
}

/// The name of the member that a PAX header is itself.
fn pax_name(path: &BStr) -> BString {
    let at = path.rfind_byte(b'/').map_or(0, |at| at + 1);
    let mut out: BString = bstr::concat([&path.as_bytes()[..at], b"PaxHeaders.0/", &path.as_bytes()[at..]]).into();
    out.retain(|byte| byte.is_ascii() && *byte != 0);
    out.truncate(NAME);
    while out.ends_with(b"/") {
        out.pop();
    }
    out
}

fn push_record(out: &mut Vec<u8>, key: &BStr, value: &BStr) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    // The length counts its own digits.
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn put_text(block: &mut [u8; BLOCK], at: usize, text: &[u8]) {
    block[at..at + text.len()].copy_from_slice(text);
}

fn put_octal(block: &mut [u8; BLOCK], at: usize, digits: usize, value: u64) {
    let text = format!("{value:0digits$o}");
    put_text(block, at, text.as_bytes());
}

fn finish(block: &mut [u8; BLOCK]) {
    put_text(block, 257, b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    put_octal(block, 148, 6, sum);
    block[154] = 0;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tar_reader::{TarError, TarReader};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    pub(crate) fn file(path: &str, size: u64) -> TarEntry {
        TarEntry {
            path: path.into(),
            kind: TarKind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size,
            holes: 0,
            mtime: (0, 0),
            target: BString::default(),
            device: (0, 0),
            xattrs: BTreeMap::new(),
        }
    }

    fn read_back(entry: &TarEntry) -> Result<Option<TarEntry>, TarError> {
        let mut bytes = header(entry);
        assert_eq!(bytes.len() % BLOCK, 0);
        bytes.extend_from_slice(&END);
        TarReader::new(&bytes[..]).next_entry()
    }

    #[track_caller]
    fn check(entry: TarEntry, blocks: usize) {
        assert_eq!(header(&entry).len(), blocks * BLOCK, "{entry:?}");
        assert_eq!(read_back(&entry).unwrap().unwrap(), entry);
    }

    #[test]
    fn ustar_where_it_fits_and_pax_where_not() {
        check(file("etc/passwd", 0), 1);
        check(file(&"n".repeat(100), 0), 1);
        check(file(&format!("{}/{}", "p".repeat(150), "n".repeat(90)), 0), 1);
        check(file(&"n".repeat(101), 0), 3);
        check(file(&format!("{}/{}", "p".repeat(150), "n".repeat(110)), 0), 3);
        check(file("ünï", 0), 3);
        check(TarEntry { uid: 2_097_151, ..file("a", 0) }, 1);
        check(TarEntry { uid: 2_097_152, ..file("a", 0) }, 3);
        check(TarEntry { mtime: (-1, 0), ..file("a", 0) }, 3);
        let target = "t".repeat(101).into();
        check(TarEntry { kind: TarKind::Symlink, target, ..file("a", 0) }, 3);
        let xattrs = BTreeMap::from([("security.capability".into(), BString::from(&b"\x01\0\0\x02\n=\xff"[..]))]);
        check(TarEntry { xattrs, ..file("a", 0) }, 3);
        check(TarEntry { kind: TarKind::CharDevice, device: (5, 1_000_000), ..file("dev/x", 0) }, 1);
    }

    /// As Go's `archive/tar` writes them, byte for byte.
    #[test]
    fn names_are_those_of_layers_by_buildkit() {
        let check = |path: &str, pax: &str, name: &str| {
            let bytes = header(&file(path, 0));
            let text = |at: usize| bytes[at..at + NAME].split_str("\0").next().unwrap().as_bstr();
            let last = bytes.len() - BLOCK;
            assert_eq!((text(0), text(last)), (BStr::new(pax), BStr::new(name)), "{path}");
        };
        check("new/ü", "new/PaxHeaders.0", "new/");
        check("ü/né.txt", "/PaxHeaders.0/n.txt", "/n.txt");
        check("ü/", "/PaxHeaders.0", "/");
        check("é", "PaxHeaders.0", "");
        let long = "n".repeat(101);
        check(&long, &format!("PaxHeaders.0/{}", &long[..87]), &long[..100]);
        check(&format!("{}/{}", "d".repeat(99), "n".repeat(101)), &"d".repeat(99), &"d".repeat(99));
        let xattrs = BTreeMap::from([("user.a".into(), "b".into())]);
        let path = format!("{}/{}", "p".repeat(150), "n".repeat(90));
        let bytes = header(&TarEntry { xattrs, ..file(&path, 0) });
        assert_eq!(bytes.find("path=").map(|at| &bytes[at + 5..at + 20]), Some(&path.as_bytes()[..15]));
    }

    fn any_entry() -> impl Strategy<Value = TarEntry> {
        let text = |limit| prop::collection::vec(1u8.., 1..limit).prop_map(BString::from);
        let kind = prop_oneof![
            Just(TarKind::File),
            Just(TarKind::Directory),
            Just(TarKind::Symlink),
            Just(TarKind::HardLink),
            Just(TarKind::Fifo),
            Just(TarKind::CharDevice),
            Just(TarKind::BlockDevice),
        ];
        let xattrs = prop::collection::btree_map("[a-z.]{1,8}".prop_map(BString::from), text(300), 0..3);
        let numbers = (0u32..0o10000, 0..u32::MAX, 0..u32::MAX, -4_000_000_000i64..40_000_000_000, 0u32..1 << 21);
        (kind, text(300), text(300), numbers, xattrs).prop_map(|(kind, path, target, numbers, xattrs)| {
            let (mode, uid, gid, seconds, device) = numbers;
            let link = matches!(kind, TarKind::Symlink | TarKind::HardLink);
            let node = matches!(kind, TarKind::CharDevice | TarKind::BlockDevice);
            TarEntry {
                path,
                kind,
                mode,
                uid,
                gid,
                size: 0,
                holes: 0,
                mtime: (seconds, 0),
                target: if link { target } else { BString::default() },
                device: if node { (device, device / 2) } else { (0, 0) },
                xattrs,
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(entry in any_entry()) {
            prop_assert_eq!(read_back(&entry).unwrap().unwrap(), entry);
        }

        /// Noise in a header is an error or another entry, never a panic and never an endless read.
        #[test]
        fn noise_is_survived(entry in any_entry(), at in 0usize..2048, byte: u8, fix: bool) {
            let mut bytes = header(&entry);
            bytes.extend_from_slice(&END);
            let at = at % bytes.len();
            bytes[at] = byte;
            if fix {
                let last = bytes.len() - END.len() - BLOCK;
                let block: &mut [u8; BLOCK] = (&mut bytes[last..last + BLOCK]).try_into().unwrap();
                finish(block);
            }
            let mut reader = TarReader::new(&bytes[..]);
            for _ in 0..8 {
                match reader.next_entry() {
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return Ok(()),
                }
            }
            prop_assert!(false, "more entries than blocks");
        }
    }
}
