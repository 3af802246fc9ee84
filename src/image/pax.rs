//! PAX extended headers: what ustar has no room for, as `LENGTH KEY=VALUE` records in front of a member.

use bstr::{BStr, BString, ByteSlice};
use std::collections::BTreeMap;

/// What a PAX header says of the member behind it.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<BString>,
    pub(super) target: Option<BString>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: BTreeMap<BString, BString>,
    pub(super) sparse_version: Option<(u64, u64)>,
    pub(super) sparse_size: Option<u64>,
    pub(super) sparse_name: Option<BString>,
    /// Offsets and lengths in turn.
    pub(super) sparse_map: Vec<u64>,
    /// Whether a record is there that cannot be read, and does not decide where the next member is.
    pub(super) unreadable: bool,
}

impl Pax {
    /// Reads the records of a header; says why it cannot be told where the next member is.
    pub(super) fn parse(mut records: &[u8]) -> Result<Pax, &'static str> {
        let mut pax = Pax::default();
        while !records.is_empty() {
            let (record, rest) = split_record(records).ok_or("a broken PAX header")?;
            records = rest;
            let (key, value) = record.split_once_str("=").ok_or("a broken PAX header")?;
            match pax.take(BStr::new(key), BStr::new(value)) {
                None if key == b"size" => return Err("a PAX size that cannot be read"),
                None => pax.unreadable = true,
                Some(()) => {}
            }
        }
        Ok(pax)
    }

    /// An empty value takes an earlier one back.
    fn take(&mut self, key: &BStr, value: &BStr) -> Option<()> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            if name.is_empty() || name.contains(&0) {
                return None;
            }
            self.xattrs.insert(name.into(), value.to_owned());
            return Some(());
        }
        let text = || (!value.is_empty()).then(|| value.to_owned());
        let number = || -> Option<Option<u64>> {
            if value.is_empty() { Some(None) } else { value.to_str().ok()?.parse().ok().map(Some) }
        };
        match key.as_bytes() {
            b"path" if value.contains(&0) => return None,
            b"linkpath" if value.contains(&0) => return None,
            b"path" => self.path = text(),
            b"linkpath" => self.target = text(),
            b"size" => self.size = number()?,
            b"uid" => self.uid = number()?,
            b"gid" => self.gid = number()?,
            b"mtime" => self.mtime = if value.is_empty() { None } else { Some(parse_time(value)?) },
            b"GNU.sparse.major" => self.sparse_version.get_or_insert((0, 0)).0 = number()??,
            b"GNU.sparse.minor" => self.sparse_version.get_or_insert((0, 0)).1 = number()??,
            b"GNU.sparse.name" => self.sparse_name = text(),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse_size = number()?,
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => self.sparse_map.push(number()??),
            b"GNU.sparse.map" if !value.is_empty() => {
                for number in value.split_str(",") {
                    self.sparse_map.push(number.to_str().ok()?.parse().ok()?);
                }
            }
            _ => {}
        }
        Some(())
    }
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn split_record(records: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = records.iter().take(20).position(|byte| *byte == b' ')?;
    let length: usize = records[..space].to_str().ok()?.parse().ok()?;
    if length <= space + 1 || length > records.len() || records[length - 1] != b'\n' {
        return None;
    }
    Some((&records[space + 1..length - 1], &records[length..]))
}

/// Seconds with any number of decimals, possibly before 1970.
fn parse_time(text: &BStr) -> Option<(i64, u32)> {
    let text = text.to_str().ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    if whole.starts_with('-') && nanos > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos));
    }
    Some((seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(i64, u32)>) {
        assert_eq!(parse_time(BStr::new(text)), expected, "{text}");
    }

    #[test]
    fn times() {
        check("0", Some((0, 0)));
        check("1.5", Some((1, 500_000_000)));
        check("1.0000000019", Some((1, 1)));
        check("-1.25", Some((-2, 750_000_000)));
        check("-3", Some((-3, 0)));
        check("", None);
        check("1.x", None);
        check("99999999999999999999", None);
    }

    #[test]
    fn records() {
        let pax = Pax::parse(b"12 path=a/b\n9 size=7\n21 SCHILY.xattr.a==\n\n12 comment=\n").unwrap();
        assert_eq!(pax.path.unwrap(), "a/b");
        assert_eq!(pax.size, Some(7));
        assert_eq!(pax.xattrs, BTreeMap::from([("a".into(), "=\n".into())]));
        // An empty value takes an earlier one back.
        assert_eq!(Pax::parse(b"9 size=7\n8 size=\n").unwrap().size, None);
        for broken in ["x", "9 size=7", "99 size=7\n", "4 a\n", "0 \n", "11 size=-1\n", "99999999999999999999999 a=b\n"]
        {
            assert!(Pax::parse(broken.as_bytes()).is_err(), "{broken}");
        }
        for bad in
            ["12 path=a\0b\n", "10 uid=-1\n", "13 mtime=abc\n", "19 SCHILY.xattr.=x\n", "22 GNU.sparse.major=x\n"]
        {
            let pax = Pax::parse(format!("{bad}9 size=7\n").as_bytes()).unwrap();
            assert_eq!((pax.unreadable, pax.size), (true, Some(7)), "{bad}");
        }
    }
}
