//! Where a path leads when symbolic links are followed, as a process sees it whose `/` is the tree's root.

use super::path::{child, split};
use super::{FileTree, Kind};
use bstr::{BStr, BString, ByteSlice};

/// As many symbolic links as Linux follows in one path.
const MAX_LINKS: usize = 40;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// Without symbolic links, `.` and `..`. The last names may not be there.
    pub path: BString,
    /// What is there; `None` if nothing is.
    pub kind: Option<Kind>,
}

/// Follows every symbolic link on the way, the last name's only if `last`. `None` if the path leads through something
/// that is no directory, or round in a circle. `look` tells what is at a canonical path: its kind, and a link's target.
pub fn follow_with(path: &BStr, last: bool, look: impl Fn(&BStr) -> Option<(Kind, BString)>) -> Option<Followed> {
    let mut todo = names_reversed(path);
    let mut at = Followed { path: BString::default(), kind: Some(Kind::Directory) };
    let mut links = 0;
    while let Some(name) = todo.pop() {
        if name == ".." {
            // Above what is not there, only the text can tell.
            at.path = split(at.path.as_bstr()).0.to_owned();
            at.kind = if at.path.is_empty() { Some(Kind::Directory) } else { look(at.path.as_bstr()).map(|it| it.0) };
            continue;
        }
        if at.kind.is_some_and(|kind| kind != Kind::Directory) {
            return None;
        }
        let next = child(at.path.as_bstr(), name.as_bstr());
        let found = at.kind.and_then(|_| look(next.as_bstr()));
        match found {
            Some((Kind::Symlink, target)) if last || !todo.is_empty() => {
                links += 1;
                if links > MAX_LINKS {
                    return None;
                }
                if target.starts_with(b"/") {
                    at = Followed { path: BString::default(), kind: Some(Kind::Directory) };
                }
                todo.extend(names_reversed(target.as_bstr()));
            }
            found => at = Followed { path: next, kind: found.map(|it| it.0) },
        }
    }
    Some(at)
}

/// The same in a tree.
pub fn follow(tree: &FileTree, path: &BStr, last: bool) -> Option<Followed> {
    follow_with(path, last, |path| {
        let meta = tree.meta(tree.lookup(path)?);
        Some((meta.kind, meta.target.to_owned()))
    })
}

fn names_reversed(path: &BStr) -> Vec<BString> {
    let mut names: Vec<BString> =
        path.split_str("/").filter(|name| !name.is_empty() && *name != b".").map(BString::from).collect();
    names.reverse();
    names
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, Layer, Meta};
    use super::*;
    use std::sync::Arc;

    fn tree() -> FileTree {
        let link = |path: &str, target: &str| {
            let meta = Meta { target: target.into(), ..Meta::new(Kind::Symlink) };
            Entry::Put { path: path.into(), meta, opaque: false }
        };
        let file = |path: &str| Entry::Put { path: path.into(), meta: Meta::new(Kind::File), opaque: false };
        let entries = vec![
            file("usr/bin/tool"),
            link("bin", "usr/bin"),
            link("usr/lib", "/lib64"),
            file("lib64/x"),
            link("up", "../../usr/../bin/tool"),
            link("circle", "circle"),
            link("lost", "nowhere/at/all"),
        ];
        FileTree::merge(&[Arc::new(Layer { entries })])
    }

    #[track_caller]
    fn check(path: &str, last: bool, expected: Option<(&str, Option<Kind>)>) {
        let found = follow(&tree(), path.into(), last);
        assert_eq!(found, expected.map(|(path, kind)| Followed { path: path.into(), kind }), "{path}");
    }

    #[test]
    fn links_are_followed_within_the_root() {
        check("", true, Some(("", Some(Kind::Directory))));
        check("/bin/tool", true, Some(("usr/bin/tool", Some(Kind::File))));
        check("bin", false, Some(("bin", Some(Kind::Symlink))));
        check("bin", true, Some(("usr/bin", Some(Kind::Directory))));
        check("usr/lib/x", false, Some(("lib64/x", Some(Kind::File))));
        check("up", true, Some(("usr/bin/tool", Some(Kind::File))));
        check("../../bin/../x", true, Some(("usr/x", None)));
        check("lost/y", true, Some(("nowhere/at/all/y", None)));
        check("usr/bin/tool/x", true, None);
        check("circle", true, None);
        check("circle", false, Some(("circle", Some(Kind::Symlink))));
    }
}
