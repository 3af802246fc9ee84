//! Finding paths by what their names contain.

use super::diff::{Diff, DiffId};
use bstr::BStr;

/// What is looked for: the parts between slashes, of which the last must fit the path's own name and the
/// others, in order, names above it. Without a capital letter in it, case does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    parts: Vec<Part>,
    exact_case: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Part {
    bytes: Vec<u8>,
    letters: u64,
}

impl Pattern {
    /// `None` if there is nothing to look for.
    pub fn new(text: &str) -> Option<Pattern> {
        let exact_case = text.chars().any(char::is_uppercase);
        let part = |part: &str| {
            // What is compared without regard to case is compared in lower case.
            let bytes = if exact_case { part.as_bytes().to_vec() } else { part.to_ascii_lowercase().into_bytes() };
            Part { letters: letters(&bytes), bytes }
        };
        let parts: Vec<Part> = text.split('/').filter(|it| !it.is_empty()).map(part).collect();
        (!parts.is_empty()).then_some(Pattern { parts, exact_case })
    }

    /// Whether a single name fits the last part.
    pub fn fits(&self, name: &BStr, how: Fit) -> bool {
        self.parts.last().is_some_and(|part| self.part_fits(part, name, how))
    }

    fn part_fits(&self, part: &Part, name: &[u8], how: Fit) -> bool {
        let fold = |byte: u8| if self.exact_case { byte } else { byte.to_ascii_lowercase() };
        let mut wanted = part.bytes.iter().copied();
        match how {
            Fit::Contains => {
                let Some(first) = wanted.next() else { return true };
                let starts = (name.len() + 1).saturating_sub(part.bytes.len());
                (0..starts).any(|at| {
                    fold(name[at]) == first && name[at + 1..].iter().zip(&part.bytes[1..]).all(|(a, b)| fold(*a) == *b)
                })
            }
            Fit::Scattered => {
                let mut rest = name.iter();
                wanted.all(|wanted| rest.any(|byte| fold(*byte) == wanted))
            }
        }
    }
}

/// How a part must be in a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// As it is.
    Contains,
    /// Its letters in order, others between them.
    Scattered,
}

impl Diff {
    /// The paths that a pattern finds, in order: those that contain it, or if there are none, those that have
    /// its letters in order.
    pub fn find(&self, pattern: &Pattern) -> Vec<DiffId> {
        let found = self.find_as(pattern, Fit::Contains);
        if found.is_empty() { self.find_as(pattern, Fit::Scattered) } else { found }
    }

    fn find_as(&self, pattern: &Pattern, how: Fit) -> Vec<DiffId> {
        let names = self.names();
        let last = pattern.parts.len() - 1;
        // How many parts the names above a path, and its own, have used up.
        let mut used = vec![0u16; if last == 0 { 0 } else { self.len() }];
        let mut found = Vec::new();
        for id in self.ids().skip(1) {
            let above = || self.parent(id).map_or(0, |parent| usize::from(used[parent.0 as usize]));
            let next = if last == 0 { 0 } else { above() };
            let part = &pattern.parts[next];
            let possible = part.letters & !names.letters[id.0 as usize] == 0;
            let fits = possible && pattern.part_fits(part, names.get(id), how);
            if fits && next == last {
                found.push(id);
            }
            if let Some(used) = used.get_mut(id.0 as usize) {
                *used = (next + usize::from(fits && next < last)).min(usize::from(u16::MAX)) as u16;
            }
        }
        found
    }
}

/// The names of all paths of a difference, one behind the other: a search goes through them all, and elsewhere they lie
/// far apart.
#[derive(Debug, Clone)]
pub(super) struct Names {
    text: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
    /// The letters of each, to rule out at a glance what a search cannot find.
    letters: Vec<u64>,
}

impl Names {
    pub(super) fn of(diff: &Diff) -> Names {
        let (mut text, mut ends) = (Vec::new(), Vec::with_capacity(diff.len()));
        let mut set = Vec::with_capacity(diff.len());
        for name in diff.ids().map(|id| diff.name(id)) {
            text.extend_from_slice(name);
            ends.push(text.len());
            set.push(letters(name));
        }
        Names { text, ends, letters: set }
    }

    fn get(&self, id: DiffId) -> &[u8] {
        let at = id.0 as usize;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[at]]
    }
}

/// The bytes of a name as a set: what has a letter that this lacks cannot be in the name.
fn letters(name: &[u8]) -> u64 {
    name.iter().fold(0, |set, byte| set | 1 << (byte.to_ascii_lowercase() & 63))
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, FileTree, Kind, Layer, Meta, Scope};
    use super::*;
    use std::sync::Arc;

    fn check(text: &str, expected: &[&str]) {
        let paths =
            ["etc/ssl/Certs.pem", "etc/ssl/certs/a", "usr/lib/libc.so.6", "usr/lib/\u{e9}t\u{e9}", "usr/src/ssl"];
        let put = |path: &&str| Entry::Put { path: (*path).into(), meta: Meta::new(Kind::File), opaque: false };
        let layer = Layer { entries: paths.iter().map(put).collect() };
        let diff = Diff::between(&FileTree::default(), &FileTree::merge(&[Arc::new(layer)]), Scope::Everything);
        let found = Pattern::new(text).map(|pattern| diff.find(&pattern)).unwrap_or_default();
        let found: Vec<String> = found.into_iter().map(|id| diff.path(id).to_string()).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn finds_names() {
        check("certs", &["etc/ssl/Certs.pem", "etc/ssl/certs"]);
        check("Certs", &["etc/ssl/Certs.pem"]);
        check("libc.so.6", &["usr/lib/libc.so.6"]);
        check("ét", &["usr/lib/\u{e9}t\u{e9}"]);
        check("6.", &[]);
        check("", &[]);
        check("//", &[]);
    }

    #[test]
    fn letters_in_order_do_if_nothing_contains_it() {
        check("lcso", &["usr/lib/libc.so.6"]);
        check("osl", &[]);
    }

    #[test]
    fn slashes_lead_through_directories() {
        check("/ssl", &["etc/ssl", "usr/src/ssl"]);
        check("etc/ssl", &["etc/ssl"]);
        check("etc/cert", &["etc/ssl/Certs.pem", "etc/ssl/certs"]);
        check("u/l/so", &["usr/lib/libc.so.6"]);
        check("ssl/etc", &[]);
    }
}
