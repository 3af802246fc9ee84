//! Paths as text: bytes, relative to the root, the root itself being empty.

use bstr::{BStr, BString, ByteSlice};

/// What stands between slashes. (A search for a text has to be prepared, which takes longer than such short ones do.)
pub fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
}

/// A path from the root without `.`, empty components and slashes at its ends. `..` takes back what is before it,
/// as text and not by looking, and stays at the root.
pub fn clean(path: &BStr) -> BString {
    let mut out: Vec<u8> = Vec::with_capacity(path.len());
    for name in names(path) {
        match name {
            b"" | b"." => {}
            b".." => out.truncate(out.rfind_byte(b'/').unwrap_or(0)),
            name => {
                if !out.is_empty() {
                    out.push(b'/');
                }
                out.extend_from_slice(name);
            }
        }
    }
    out.into()
}

/// Directory and last name of a clean path.
pub fn split(path: &BStr) -> (&BStr, &BStr) {
    match path.rfind_byte(b'/') {
        Some(at) => (path[..at].as_bstr(), path[at + 1..].as_bstr()),
        None => (BStr::new(""), path),
    }
}

/// A name below a clean directory.
pub fn child(dir: &BStr, name: &BStr) -> BString {
    let mut path = BString::from(Vec::with_capacity(dir.len() + name.len() + 1));
    path.extend_from_slice(dir);
    if !dir.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// A path in a message: escaped, and its beginning if it is long.
pub fn shown(path: &BStr) -> String {
    const MOST: usize = 256;
    match path.get(..MOST) {
        Some(beginning) if path.len() > MOST => format!("{:?}…", beginning.as_bstr()),
        _ => format!("{path:?}"),
    }
}

/// Whether a clean path lies below a directory, at any depth. Everything but the root lies below the root.
pub fn is_below(path: &BStr, dir: &BStr) -> bool {
    match dir.is_empty() {
        true => !path.is_empty(),
        false => path.strip_prefix(dir.as_bytes()).is_some_and(|rest| rest.starts_with(b"/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_text() {
        let check = |path: &str, expected: &str| assert_eq!(clean(path.into()), expected, "{path}");
        check("", "");
        check("/", "");
        check("./a//b/.", "a/b");
        check("/a/b/../c/", "a/c");
        check("a/..", "");
        check("../../x", "x");
        check("a/../../b", "b");
        check("...", "...");
    }

    #[test]
    fn long_paths_are_shown_in_part() {
        let check = |path: &str, expected: &str| assert_eq!(shown(path.into()), expected);
        check("a\x1b/é", "\"a\\x1b/é\"");
        check(&"a".repeat(256), &format!("{:?}", "a".repeat(256)));
        check(&"a".repeat(1 << 20), &format!("{:?}…", "a".repeat(256)));
    }

    #[test]
    fn what_lies_below() {
        let check = |path: &str, dir: &str, expected| assert_eq!(is_below(path.into(), dir.into()), expected);
        check("a/b", "a", true);
        check("a/b/c", "a", true);
        check("ab", "a", false);
        check("a", "a", false);
        check("a", "", true);
        check("", "", false);
    }
}
