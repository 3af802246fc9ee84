//! A file's properties in the form that `ls -l` made known.

use crate::layers::{Kind, MetaRef};

/// Kind and permissions: `-rwxr-sr-t`.
pub(crate) fn mode(meta: MetaRef<'_>) -> String {
    let kind = match meta.kind {
        Kind::File => '-',
        Kind::Directory => 'd',
        Kind::Symlink => 'l',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
        Kind::CharDevice => 'c',
        Kind::BlockDevice => 'b',
    };
    let mut out = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = meta.mode >> shift;
        out.push(if bits & 4 != 0 { 'r' } else { '-' });
        out.push(if bits & 2 != 0 { 'w' } else { '-' });
        out.push(match (meta.mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    out
}

/// User and group, by number: the names are the image's own affair.
pub(crate) fn owner(meta: MetaRef<'_>) -> String {
    format!("{}:{}", meta.uid, meta.gid)
}

/// Seconds since 1970 as date and time of day in UTC: `2024-02-29 23:59`.
pub(crate) fn time(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Counted from the first of March of the year 0, years end with the day that some have more. 400 years have
    // 146,097 days, and 1970 begins 719,468 days after that March.
    let days = days.saturating_add(719_468);
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + next;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", rest / 3600, rest % 3600 / 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Entry, FileTree, Layer, Meta};
    use std::sync::Arc;

    fn check_mode(kind: Kind, bits: u32, expected: &str) {
        let meta = Meta { mode: bits, ..Meta::new(kind) };
        let layer = Layer { entries: vec![Entry::Put { path: "x".into(), meta, opaque: false }] };
        let tree = FileTree::merge(&[Arc::new(layer)]);
        let id = tree.lookup("x".into()).unwrap();
        assert_eq!(mode(tree.meta(id)), expected);
    }

    #[test]
    fn modes_are_in_letters() {
        check_mode(Kind::File, 0o644, "-rw-r--r--");
        check_mode(Kind::Directory, 0o1777, "drwxrwxrwt");
        check_mode(Kind::File, 0o6755, "-rwsr-sr-x");
        check_mode(Kind::Symlink, 0o7000, "l--S--S--T");
        check_mode(Kind::CharDevice, 0o666, "crw-rw-rw-");
    }

    #[test]
    fn times_are_in_utc() {
        let check = |seconds, expected: &str| assert_eq!(time(seconds), expected);
        check(0, "1970-01-01 00:00");
        check(1_709_251_199, "2024-02-29 23:59");
        check(951_782_400, "2000-02-29 00:00");
        check(4_107_542_399, "2100-02-28 23:59");
        check(-1, "1969-12-31 23:59");
        assert!(!time(i64::MIN).is_empty() && !time(i64::MAX).is_empty());
    }
}
