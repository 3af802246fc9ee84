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
    format!("{kind}{}", permissions(meta.mode))
}

/// `rwxr-sr-t`.
pub(crate) fn permissions(mode: u32) -> String {
    let mut out = String::new();
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        out.push(if bits & 4 != 0 { 'r' } else { '-' });
        out.push(if bits & 2 != 0 { 'w' } else { '-' });
        out.push(match (mode & special != 0, bits & 1 != 0) {
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

/// Seconds since 1970 as date and time of day in UTC: `2024-02-29 23:59`; beyond the year 9999 the number itself.
pub(crate) fn time(seconds: i64) -> String {
    written("%Y-%m-%d %H:%M", seconds)
}

/// The same without the time of day.
pub(crate) fn day(seconds: i64) -> String {
    written("%Y-%m-%d", seconds)
}

fn written(form: &str, seconds: i64) -> String {
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time.strftime(form).to_string(),
        Err(_) => seconds.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Entry, FileTree, Layer, Meta};
    use std::sync::Arc;

    fn check_mode(kind: Kind, bits: u32, expected: &str) {
        // A character device 0:0 is a whiteout.
        let meta = Meta { mode: bits, device: (1, 3), ..Meta::new(kind) };
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
        check(i64::MAX, "9223372036854775807");
    }
}
