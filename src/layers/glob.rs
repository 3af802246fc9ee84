//! Patterns of paths, as `.gitignore` has them: `*` and `?` within a name, `[a-z]` and `[!a-z]`, `**` over any number
//! of directories. A pattern with no slash but one at its end means a name at any depth; one that names a directory
//! means all below it, too.

use bstr::{BStr, BString, ByteSlice};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// `**`
    Any,
    Name(BString),
}

impl Glob {
    /// `None` for a pattern that names nothing.
    pub fn new(text: &str) -> Option<Glob> {
        let trimmed = text.trim_end_matches('/');
        let names = trimmed.split('/').filter(|name| !name.is_empty() && *name != ".");
        let mut parts: Vec<Part> = Vec::new();
        for name in names {
            match name {
                "**" if parts.last() == Some(&Part::Any) => {}
                "**" => parts.push(Part::Any),
                name => parts.push(Part::Name(name.into())),
            }
        }
        if parts.is_empty() {
            return None;
        }
        if !trimmed.contains('/') {
            parts.insert(0, Part::Any);
        }
        Some(Glob { text: text.to_owned(), parts })
    }

    /// A pattern that means this path from the root, and what is below it, whatever signs are in its names.
    pub fn exactly(path: &BStr) -> Option<Glob> {
        let escaped = |name: &[u8]| -> BString {
            let bytes = name.iter().flat_map(|byte| {
                let escape = b"*?[\\".contains(byte).then_some(b'\\');
                escape.into_iter().chain(std::iter::once(*byte))
            });
            bytes.collect::<Vec<u8>>().into()
        };
        let names: Vec<BString> = path.split_str("/").filter(|name| !name.is_empty()).map(escaped).collect();
        let text = names.iter().map(|name| format!("/{name}")).collect();
        let parts: Vec<Part> = names.into_iter().map(Part::Name).collect();
        (!parts.is_empty()).then_some(Glob { text, parts })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the pattern means this path, or a directory above it. The path has no slash at its beginning.
    pub fn fits(&self, path: &BStr) -> bool {
        let names: Vec<&[u8]> = path.split_str("/").filter(|name| !name.is_empty()).collect();
        // The states of the pattern that the names so far can have led to: positions in `parts`.
        let mut open = vec![false; self.parts.len() + 1];
        open[0] = true;
        self.skip(&mut open);
        for name in names {
            let mut next = vec![false; open.len()];
            for (at, part) in self.parts.iter().enumerate().filter(|(at, _)| open[*at]) {
                match part {
                    // At the end, it has found what it stands for.
                    Part::Any if at + 1 == self.parts.len() => return true,
                    Part::Any => next[at] = true,
                    Part::Name(pattern) => next[at + 1] |= name_fits(pattern, name),
                }
            }
            self.skip(&mut next);
            if next[self.parts.len()] {
                return true;
            }
            open = next;
        }
        false
    }

    /// `**` may stand for nothing, but not at the end: there it stands for what is in a directory.
    fn skip(&self, open: &mut [bool]) {
        for (at, part) in self.parts.iter().enumerate() {
            if open[at] && *part == Part::Any && at + 1 < self.parts.len() {
                open[at + 1] = true;
            }
        }
    }
}

/// As many steps as the two are long, multiplied: there is only one place to come back to.
fn name_fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        let one = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
                continue;
            }
            Some(b'?') => Some(p + 1),
            Some(b'[') => class(pattern, p, name[n]),
            Some(b'\\') if p + 1 < pattern.len() => (pattern[p + 1] == name[n]).then_some(p + 2),
            Some(byte) => (*byte == name[n]).then_some(p + 1),
            None => None,
        };
        match (one, star) {
            (Some(next), _) => (p, n) = (next, n + 1),
            (None, Some((at, from))) => {
                star = Some((at, from + 1));
                (p, n) = (at + 1, from + 1);
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Where the class that begins at `start` ends, if the byte belongs to it. What is never closed is a bracket.
fn class(pattern: &[u8], start: usize, byte: u8) -> Option<usize> {
    let mut at = start + 1;
    let inverted = matches!(pattern.get(at), Some(b'!' | b'^'));
    at += usize::from(inverted);
    let first = at;
    let mut found = false;
    while let Some(low) = pattern.get(at).copied() {
        if low == b']' && at > first {
            return (found != inverted).then_some(at + 1);
        }
        match (pattern.get(at + 1), pattern.get(at + 2)) {
            (Some(b'-'), Some(high)) if *high != b']' => {
                found |= (low..=*high).contains(&byte);
                at += 3;
            }
            _ => {
                found |= low == byte;
                at += 1;
            }
        }
    }
    (byte == b'[').then_some(start + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(pattern: &str, fits: &[&str], does_not: &[&str]) {
        let glob = Glob::new(pattern).unwrap();
        fits.iter().for_each(|path| assert!(glob.fits((*path).into()), "{pattern} should fit {path}"));
        does_not.iter().for_each(|path| assert!(!glob.fits((*path).into()), "{pattern} should not fit {path}"));
    }

    #[test]
    fn patterns() {
        check("*.pem", &["a.pem", "x/y/a.pem", "a.pem/below"], &["a.pemx", "pem"]);
        check("/*.pem", &["a.pem"], &["x/a.pem"]);
        check("etc/*.conf", &["etc/a.conf"], &["etc/x/a.conf", "x/etc/a.conf", "etc"]);
        check("**/.git", &[".git", "a/.git", "a/.git/HEAD"], &["a/.gitx"]);
        check("a/**/z", &["a/z", "a/b/c/z"], &["z", "b/a/z"]);
        check("a/**", &["a/x", "a/x/y"], &["a", "b/a/x"]);
        check("node_modules/", &["node_modules", "app/node_modules/x/y"], &["node_module"]);
        check("a?c", &["abc"], &["ac", "abbc"]);
        check("*a*b*", &["xaybz", "ab"], &["ba"]);
        check("[a-c]x", &["ax", "cx"], &["dx", "x"]);
        check("[!a-c]x", &["dx"], &["ax"]);
        check("[]]x", &["]x"], &["[x"]);
        check("[ax", &["[ax"], &["ax"]);
        check("\\*x", &["*x"], &["ax"]);
        check("./a/b", &["a/b", "a/b/c"], &["a/c"]);
        assert_eq!(Glob::new("/"), None);
        assert_eq!(Glob::new(""), None);
    }

    proptest! {
        /// What is hostile takes no longer than it should, and nothing panics.
        #[test]
        fn anything_can_be_a_pattern(pattern in "[*?a\\[\\]!/\\\\-]{0,20}", path in "[a/\\[\\]-]{0,30}") {
            if let Some(glob) = Glob::new(&pattern) {
                glob.fits(path.as_str().into());
            }
        }

        #[test]
        fn exactly_is_one_path(names in prop::collection::vec("[*?a\\[\\]!\\\\-]{1,3}", 1..4), other in "[*?a\\[\\]!\\\\-]{1,3}") {
            let glob = Glob::exactly(names.join("/").as_str().into()).unwrap();
            prop_assert!(glob.fits(names.join("/").as_str().into()));
            prop_assert_eq!(Glob::new(glob.text()).unwrap().fits(other.as_str().into()), glob.fits(other.as_str().into()));
            prop_assert_eq!(glob.fits(other.as_str().into()), names == [other]);
        }

        #[test]
        fn a_plain_path_means_itself(names in prop::collection::vec("[a-z]{1,3}", 2..5)) {
            let path = names.join("/");
            prop_assert!(Glob::new(&path).unwrap().fits(path.as_str().into()));
            prop_assert!(!Glob::new(&path).unwrap().fits(names[0].as_str().into()));
        }
    }
}
