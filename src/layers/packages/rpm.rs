//! RPM's database: package headers in a file of one of three formats.
//!
//! Source: the RPM package format, "Header structure", without the magic that files begin with.

use super::sqlite::{self, Value};
use super::{MOST, Manager, Package, berkeley, ndb};

/// Tags and types of the header.
const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const SIZE: u32 = 1009;
const ARCHITECTURE: u32 = 1022;
const LONG_SIZE: u32 = 5009;
const INT32: u32 = 4;
const INT64: u32 = 5;
const STRING: u32 = 6;

pub(super) fn packages(database: &[u8]) -> Result<Vec<Package>, String> {
    let mut out = Vec::new();
    let mut take = |header: &[u8]| {
        if out.len() <= MOST {
            out.extend(package(header));
        }
    };
    if sqlite::is_one(database) {
        sqlite::table(database, "Packages", &mut |row| {
            if let Some(Value::Blob(header)) = row.get(1) {
                take(header);
            }
        })?;
    } else if ndb::is_one(database) {
        ndb::headers(database, &mut take)?;
    } else if berkeley::is_one(database) {
        berkeley::headers(database, &mut take)?;
    } else {
        return Err("is no database of RPM".to_owned());
    }
    Ok(out)
}

fn package(header: &[u8]) -> Option<Package> {
    let number = |at: usize| Some(u32::from_be_bytes(*header.get(at..)?.first_chunk()?));
    let entries = number(0)? as usize;
    let store = header.get(8usize.checked_add(entries.checked_mul(16)?)?..)?;
    let find = |tag: u32, kind: u32| -> Option<&[u8]> {
        let index = header.get(8..8 + entries * 16)?.as_chunks::<16>().0;
        let word =
            |entry: &[u8; 16], at: usize| u32::from_be_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
        let entry = index.iter().find(|entry| word(entry, 0) == tag && word(entry, 4) == kind)?;
        store.get(word(entry, 8) as usize..)
    };
    let text = |tag: u32| -> Option<String> {
        let bytes = find(tag, STRING)?;
        let end = bytes.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
    };
    let int32 = |tag: u32| Some(u32::from_be_bytes(*find(tag, INT32)?.first_chunk()?));
    let long = || Some(u64::from_be_bytes(*find(LONG_SIZE, INT64)?.first_chunk()?));
    let epoch = int32(EPOCH).map(|epoch| format!("{epoch}:")).unwrap_or_default();
    Some(Package {
        manager: Manager::Rpm,
        name: text(NAME)?,
        architecture: text(ARCHITECTURE).unwrap_or_default(),
        version: format!("{epoch}{}-{}", text(VERSION)?, text(RELEASE).unwrap_or_default()),
        size: long().or(int32(SIZE).map(u64::from)).unwrap_or(0),
    })
}

/// One database in three formats: 30 packages whose headers grow, so that some lie on overflow pages.
#[cfg(test)]
pub(crate) mod fixtures {
    use std::io::Read;

    fn unpacked(packed: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// Written by SQLite 3 with pages of 512 bytes.
    pub(crate) fn sqlite() -> Vec<u8> {
        unpacked(include_bytes!("rpmdb.sqlite.gz"))
    }

    /// Written by Berkeley DB 5.3, with pages of 512 and 1024 bytes.
    pub(super) fn berkeley() -> [Vec<u8>; 2] {
        [unpacked(include_bytes!("Packages.gz")), unpacked(include_bytes!("Packages-big-endian.gz"))]
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn databases() -> Vec<Vec<u8>> {
        [vec![fixtures::sqlite()], fixtures::berkeley().into()].concat()
    }

    #[test]
    fn every_package_is_read() {
        let mut expected: Vec<Package> = (0..30)
            .map(|number| Package {
                manager: Manager::Rpm,
                name: format!("p{number}"),
                architecture: String::new(),
                version: format!("1.{number}-1"),
                size: number * 100,
            })
            .collect();
        expected.sort();
        databases().iter().for_each(|it| assert_eq!(parse(Manager::Rpm, it).unwrap(), expected));
    }

    #[test]
    fn damage_is_an_error_or_does_no_harm() {
        for whole in databases() {
            for at in (0..whole.len()).step_by(7) {
                let mut bytes = whole.clone();
                bytes[at] ^= 0xff;
                let _ = parse(Manager::Rpm, &bytes);
                assert!(parse(Manager::Rpm, &whole[..at]).is_err(), "{at}");
            }
        }
        assert_eq!(parse(Manager::Rpm, b"Berkeley"), Err("is no database of RPM".to_owned()));
    }

    /// A header with these tags: texts, and numbers where the text is one.
    fn header(tags: &[(u32, &str)]) -> Vec<u8> {
        let (mut index, mut store) = (Vec::new(), Vec::new());
        for (tag, value) in tags {
            let number = value.parse::<u32>().ok().filter(|_| *tag != NAME && *tag != VERSION);
            let kind = if number.is_some() { INT32 } else { STRING };
            for word in [*tag, kind, store.len() as u32, 1] {
                index.extend(word.to_be_bytes());
            }
            match number {
                Some(number) => store.extend(number.to_be_bytes()),
                None => store.extend([value.as_bytes(), b"\0"].concat()),
            }
        }
        let mut out = (tags.len() as u32).to_be_bytes().to_vec();
        out.extend((store.len() as u32).to_be_bytes());
        out.extend(index);
        out.extend(store);
        out
    }

    #[test]
    fn headers() {
        let check = |tags: &[(u32, &str)], expected: Option<&str>| {
            let header = header(tags);
            let shown =
                package(&header).map(|it| format!("{} {} {} {}", it.name, it.version, it.architecture, it.size));
            assert_eq!(shown.as_deref(), expected);
            // Cut anywhere, it is less or nothing, and never a panic.
            (0..header.len()).for_each(|end| drop(package(&header[..end])));
        };
        let all = [(NAME, "bash"), (VERSION, "5"), (RELEASE, "1.el9"), (EPOCH, "2"), (SIZE, "77"), (ARCHITECTURE, "x")];
        check(&all, Some("bash 2:5-1.el9 x 77"));
        check(&all[..3], Some("bash 5-1.el9  0"));
        check(&all[1..], None);
        assert_eq!(package(&[0xff; 64]), None);
    }
}
