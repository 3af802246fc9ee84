//! Package headers in a file of RPM's own format, `Packages.db`, as SUSE's systems have it.
//!
//! Source: RPM, `lib/backend/ndb/rpmpkg.c`: slots of 16 bytes in the first pages of 4096, the file's header in place of
//! the first two, then blobs in blocks of 16. All numbers are little-endian.

const PAGE: usize = 4096;
const SLOT: usize = 16;
const BLOCK: usize = 16;
const BLOB_HEAD: usize = 16;

pub(super) fn is_one(bytes: &[u8]) -> bool {
    bytes.starts_with(b"RpmP")
}

/// Calls `take` with each header.
pub(super) fn headers(bytes: &[u8], take: &mut dyn FnMut(&[u8])) -> Result<(), String> {
    let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?) as usize);
    let end = word(12).and_then(|pages| pages.checked_mul(PAGE)).filter(|end| *end <= bytes.len());
    let end = end.ok_or("ends before its slots do")?;
    // Blobs do not overlap, so all of them are no longer than the file.
    let mut left = bytes.len();
    for slot in (2 * SLOT..end).step_by(SLOT) {
        let broken = || format!("has a broken slot at {slot}");
        if bytes.get(slot..slot + 4) != Some(b"Slot") {
            return Err(broken());
        }
        let (package, block) = (word(slot + 4).ok_or_else(broken)?, word(slot + 8).ok_or_else(broken)?);
        if package == 0 {
            continue;
        }
        let at = block.checked_mul(BLOCK).filter(|at| bytes.get(*at..).is_some_and(|blob| blob.starts_with(b"BlbS")));
        let at = at.filter(|at| word(at + 4) == Some(package)).ok_or_else(broken)?;
        let length = word(at + 12).ok_or_else(broken)?;
        left = left.checked_sub(length).ok_or_else(broken)?;
        take(bytes.get(at + BLOB_HEAD..).and_then(|blob| blob.get(..length)).ok_or_else(broken)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with these blobs, and a slot that is free.
    fn database(blobs: &[&[u8]]) -> Vec<u8> {
        let words = |words: &[usize]| words.iter().flat_map(|word| (*word as u32).to_le_bytes()).collect::<Vec<u8>>();
        let mut slots = [b"RpmP".to_vec(), words(&[0, 1, 1, 9, 0, 0, 0])].concat();
        slots.extend([b"Slot".to_vec(), words(&[0, 0, 0])].concat());
        let mut rest = Vec::new();
        for (number, blob) in blobs.iter().enumerate() {
            let (package, at) = (number + 1, PAGE + rest.len());
            slots.extend([b"Slot".to_vec(), words(&[package, at / BLOCK, 9])].concat());
            rest.extend([b"BlbS".to_vec(), words(&[package, 1, blob.len()]), blob.to_vec()].concat());
            rest.resize(rest.len().next_multiple_of(BLOCK), 0);
        }
        while slots.len() < PAGE {
            slots.extend([b"Slot".to_vec(), words(&[0, 0, 0])].concat());
        }
        [slots, rest].concat()
    }

    fn check(bytes: &[u8], expected: Result<&[&str], &str>) {
        let mut found = Vec::new();
        let result = headers(bytes, &mut |blob| found.push(String::from_utf8_lossy(blob).into_owned()));
        match expected {
            Ok(blobs) => assert_eq!((result, found), (Ok(()), blobs.iter().map(|it| it.to_string()).collect())),
            Err(why) => assert_eq!(result, Err(why.to_owned())),
        }
    }

    #[test]
    fn every_blob_is_read() {
        let whole = database(&[b"one", b"", b"a blob that is longer than a block"]);
        check(&whole, Ok(&["one", "", "a blob that is longer than a block"]));
        check(&database(&[]), Ok(&[]));
    }

    #[test]
    fn damage_is_an_error() {
        let whole = database(&[b"one", b"two"]);
        check(&whole[..PAGE], Err("has a broken slot at 48"));
        check(&whole[..100], Err("ends before its slots do"));
        // Both slots lead to a blob that is nearly as long as the file.
        let long = database(&[&[b'x'; 8000]]);
        let mut twice = long.clone();
        twice.copy_within(48..64, 64);
        check(&twice, Err("has a broken slot at 64"));
    }
}
