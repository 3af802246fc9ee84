//! What is in a file that is an archive: tar, also compressed, and zip. Archives are untrusted; what is read of them,
//! and for how long, is bounded, and a listing says where it ends early.
//!
//! Source for zip: PKWARE's APPNOTE.TXT, "End of central directory record" and "Central directory structure".

use super::compression::{self, Format};
use super::tar_reader::{TarKind, TarReader};
use bstr::{BString, ByteSlice};
use std::io::{BufReader, Read};
use std::time::{Duration, Instant};

/// Bytes of an archive that are looked at: from its beginning, or of a zip archive up to its end.
pub const MOST_READ: usize = 32 << 20;

/// Members that are listed.
const MOST_MEMBERS: usize = 50_000;

/// Bytes that a compressed archive may come to, and how long that may take.
const MOST_UNPACKED: u64 = 4 << 30;
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// `tar`, `tar, gzip`, `zip`.
    pub format: String,
    pub members: Vec<Member>,
    /// Why there may be more in it than is listed.
    pub incomplete: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// As written.
    pub path: BString,
    /// `-`, `d`, `l` and so on, as `ls -l` has it.
    pub kind: char,
    /// `0o7777`; of a zip archive only what Unix programs put into it.
    pub mode: Option<u32>,
    /// Uncompressed.
    pub size: u64,
    /// Seconds since 1970, where there is a time that says its zone.
    pub mtime: Option<i64>,
    /// Of a link.
    pub target: BString,
}

/// Whether a file that begins so may be an archive; whether a compressed one is seen when it is listed.
pub fn may_be_archive(start: &[u8]) -> bool {
    is_zip(start) || start.get(257..262) == Some(b"ustar") || compression::sniff(start) != Format::Plain
}

pub fn is_zip(start: &[u8]) -> bool {
    start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06")
}

/// Lists a tar archive by its first bytes, of which there are `size`. `None` if it is none.
pub fn tar(start: &[u8], size: u64) -> Option<Listing> {
    let deadline = Instant::now().checked_add(PATIENCE);
    let (format, decoded) = compression::decode(start).ok()?;
    let format = match format {
        Format::Plain => "tar".to_owned(),
        format => format!("tar, {}", format!("{format:?}").to_lowercase()),
    };
    let mut archive = TarReader::new(BufReader::with_capacity(64 << 10, decoded.take(MOST_UNPACKED)));
    let mut members = Vec::new();
    let cut = (size > start.len() as u64).then(|| format!("only its first {} MiB were read", start.len() >> 20));
    let incomplete = loop {
        if members.len() >= MOST_MEMBERS {
            break Some(format!("only its first {MOST_MEMBERS} members are listed"));
        }
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            break Some("it takes too long to read on".to_owned());
        }
        match archive.next_entry() {
            Ok(Some(entry)) => members.push(Member {
                kind: match entry.kind {
                    TarKind::File => '-',
                    TarKind::HardLink => 'h',
                    TarKind::Directory => 'd',
                    TarKind::Symlink => 'l',
                    TarKind::Fifo => 'p',
                    TarKind::CharDevice => 'c',
                    TarKind::BlockDevice => 'b',
                },
                path: entry.path,
                mode: Some(entry.mode),
                size: entry.size,
                mtime: Some(entry.mtime.0),
                target: entry.target,
            }),
            Ok(None) => break cut,
            Err(_) if members.is_empty() => return None,
            Err(error) => break Some(cut.unwrap_or_else(|| error.to_string())),
        }
    };
    Some(Listing { format, members, incomplete })
}

/// Lists a zip archive of `size` bytes by its last ones. `None` if it is none.
pub fn zip(end: &[u8], size: u64) -> Option<Listing> {
    const END: usize = 22;
    let from = end.len().saturating_sub(END + usize::from(u16::MAX));
    let at = from + end.get(from..)?.rfind(b"PK\x05\x06")?;
    let record = end.get(at..at + END)?;
    let count = number(record, 10, 2)? as usize;
    // What zip64 has is told elsewhere; the directory ends where this record, or zip64's, begins.
    let (length, start) = (number(record, 12, 4)?, number(record, 16, 4)?);
    let before = size.saturating_sub(end.len() as u64);
    let directory = match (start.checked_sub(before), start == u64::from(u32::MAX)) {
        (Some(start), false) => end.get(usize::try_from(start).ok()?..at)?,
        _ => {
            let why = format!("its directory of {length} bytes is larger than what is read of it, or in another form");
            return Some(Listing { format: "zip".to_owned(), members: Vec::new(), incomplete: Some(why) });
        }
    };
    let mut members = Vec::new();
    let mut rest = directory;
    while rest.starts_with(b"PK\x01\x02") && members.len() < MOST_MEMBERS {
        let Some((member, length)) = zip_member(rest) else { break };
        members.push(member);
        rest = rest.get(length..).unwrap_or_default();
    }
    // More than 65,535 members are counted by their lowest 16 bits.
    let whole = members.len() & 0xffff == count;
    let incomplete = (!whole).then(|| format!("its directory is damaged or has more than {MOST_MEMBERS} members"));
    Some(Listing { format: "zip".to_owned(), members, incomplete })
}

/// An entry of the central directory, and its length.
fn zip_member(entry: &[u8]) -> Option<(Member, usize)> {
    const HEAD: usize = 46;
    let length = |at: usize| Some(number(entry, at, 2)? as usize);
    let name = length(28)?;
    let path: BString = entry.get(HEAD..HEAD + name)?.into();
    // The upper half is Unix's mode if a Unix program made the entry.
    let unix = (entry.get(5) == Some(&3)).then(|| number(entry, 40, 2)).flatten();
    let kind = match unix.map(|mode| mode & 0o170000) {
        Some(0o120000) => 'l',
        _ if path.ends_with(b"/") => 'd',
        _ => '-',
    };
    let mode = unix.map(|mode| (mode & 0o7777) as u32);
    let member = Member { path, kind, mode, size: number(entry, 24, 4)?, mtime: None, target: BString::default() };
    Some((member, HEAD + name + length(30)? + length(32)?))
}

/// A number of some bytes, the lowest first.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    Some(bytes.get(at..at + length)?.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn archive() -> Vec<u8> {
        let mut out = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o640);
        header.set_size(3);
        header.set_mtime(7);
        out.append_data(&mut header, "a/b", &b"xyz"[..]).unwrap();
        header.set_size(0);
        header.set_entry_type(tar::EntryType::Symlink);
        out.append_link(&mut header, "link", "a/b").unwrap();
        out.into_inner().unwrap()
    }

    fn lines(listing: &Listing) -> Vec<String> {
        let line = |it: &Member| format!("{}{:o} {} {} {}", it.kind, it.mode.unwrap_or(0), it.size, it.path, it.target);
        listing.members.iter().map(line).collect()
    }

    #[test]
    fn tar_is_listed_however_it_is_compressed() {
        let plain = archive();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        let gzip = gzip.finish().unwrap();
        for (bytes, format) in [(&plain, "tar"), (&gzip, "tar, gzip")] {
            assert!(may_be_archive(bytes));
            let listing = tar(bytes, bytes.len() as u64).unwrap();
            assert_eq!((listing.format.as_str(), &listing.incomplete), (format, &None));
            assert_eq!(lines(&listing), ["-640 3 a/b ", "l640 0 link a/b"]);
        }
        let half = tar(&plain[..1200], plain.len() as u64).unwrap();
        assert_eq!((half.members.len(), half.incomplete.is_some()), (1, true));
    }

    #[test]
    fn what_is_no_archive_is_not_listed() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"a text, and not a short one at all: it is longer than a header, or nearly so").unwrap();
        assert_eq!(tar(&gzip.finish().unwrap(), 1), None);
        assert_eq!(zip(b"PK\x03\x04 and no end", 17), None);
        assert!(!may_be_archive(b"#!/bin/sh"));
    }

    /// A zip archive of stored members with these names, sizes told and not kept.
    fn zipped(names: &[&str]) -> Vec<u8> {
        let mut out = b"PK\x03\x04 whatever".to_vec();
        let start = out.len() as u32;
        for (size, name) in names.iter().enumerate() {
            let mut entry = vec![0; 46];
            entry[..4].copy_from_slice(b"PK\x01\x02");
            entry[5] = 3;
            entry[24] = size as u8;
            entry[28] = name.len() as u8;
            entry[40..42].copy_from_slice(&0o100_755u16.to_le_bytes());
            out.extend(entry);
            out.extend(name.as_bytes());
        }
        let length = out.len() as u32 - start;
        out.extend(b"PK\x05\x06\0\0\0\0");
        out.extend([names.len() as u8, 0].repeat(2));
        out.extend(length.to_le_bytes());
        out.extend(start.to_le_bytes());
        out.extend([0, 0]);
        out
    }

    #[test]
    fn zip_is_listed_by_its_end() {
        let bytes = zipped(&["META-INF/", "a.class"]);
        assert!(is_zip(&bytes) && may_be_archive(&bytes));
        let listing = zip(&bytes, bytes.len() as u64).unwrap();
        assert_eq!(lines(&listing), ["d755 0 META-INF/ ", "-755 1 a.class "]);
        assert_eq!(listing.incomplete, None);
        // The beginning is not needed.
        assert_eq!(zip(&bytes[4..], bytes.len() as u64).unwrap(), listing);
        // A directory that begins before what was read.
        assert!(zip(&bytes[40..], bytes.len() as u64).unwrap().incomplete.is_some());
    }

    proptest! {
        #[test]
        fn nothing_is_too_strange(mut bytes in prop::collection::vec(any::<u8>(), 0..600), zip_like in any::<bool>(), at in 0usize..80, to in any::<u8>()) {
            if zip_like {
                bytes = zipped(&["one", "two"]);
                let at = at.min(bytes.len() - 1);
                bytes[at] = to;
            }
            let _ = (tar(&bytes, bytes.len() as u64), zip(&bytes, bytes.len() as u64));
        }
    }
}
