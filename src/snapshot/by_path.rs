//! Values by canonical path, of which all at and below one path can be dropped, whatever else there is.

use bstr::{BStr, BString, ByteSlice};
use std::collections::BTreeMap;
use std::ops::Bound;

#[derive(Debug)]
pub(super) struct ByPath<T> {
    values: BTreeMap<BString, T>,
    bytes: usize,
}

impl<T> ByPath<T> {
    pub(super) fn new() -> ByPath<T> {
        ByPath { values: BTreeMap::new(), bytes: 0 }
    }

    /// Bytes of all paths.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn insert(&mut self, path: BString, value: T) {
        let bytes = path.len();
        if self.values.insert(path, value).is_none() {
            self.bytes += bytes;
        }
    }

    pub(super) fn get(&self, path: &BStr) -> Option<&T> {
        self.values.get(path)
    }

    pub(super) fn get_mut(&mut self, path: &BStr) -> Option<&mut T> {
        self.values.get_mut(path)
    }

    pub(super) fn contains(&self, path: &BStr) -> bool {
        self.values.contains_key(path)
    }

    pub(super) fn remove(&mut self, path: &BStr) {
        if self.values.remove(path).is_some() {
            self.bytes -= path.len();
        }
    }

    pub(super) fn remove_below(&mut self, path: &BStr) {
        let mut inside = path.to_owned();
        inside.push(b'/');
        let from = (Bound::Excluded(&inside), Bound::Unbounded);
        let below = self.values.range::<BString, _>(from).map(|(it, _)| it).take_while(|it| it.starts_with(&inside));
        for path in below.cloned().collect::<Vec<_>>() {
            self.remove(path.as_bstr());
        }
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &BString> {
        self.values.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(paths: &[&str], below: &str, expected: &[&str]) {
        let mut all = ByPath::new();
        paths.iter().chain(paths).for_each(|path| all.insert(BString::from(*path), ()));
        all.remove_below(below.into());
        assert_eq!(all.paths().map(ToString::to_string).collect::<Vec<_>>(), expected);
        assert_eq!(all.bytes(), expected.concat().len());
    }

    #[test]
    fn what_lies_below_a_path() {
        check(&["a", "a/b", "a/b/c", "a.b", "a0", "b"], "a", &["a", "a.b", "a0", "b"]);
        check(&["a", "b"], "c", &["a", "b"]);
        check(&["a/b/c", "a/bc", "a/b"], "a/b", &["a/b", "a/bc"]);
    }
}
