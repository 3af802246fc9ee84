//! Installed packages, read from the package databases in an image, and how they differ.
//!
//! Databases are untrusted: what cannot be read is an error in words, and nothing larger than the database itself
//! is made of it.

mod rpm;
mod sqlite;

use super::diff::{Change, Diff};
use super::entry::Kind;
use super::tree::FileTree;
use bstr::{BStr, BString, ByteSlice};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    pub manager: Manager,
    pub name: String,
    pub architecture: String,
    pub version: String,
    /// Installed bytes, as the database says.
    pub size: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    Apk,
    Dpkg,
    Rpm,
}

impl Manager {
    pub fn name(self) -> &'static str {
        match self {
            Manager::Apk => "apk",
            Manager::Dpkg => "dpkg",
            Manager::Rpm => "rpm",
        }
    }
}

/// No database is read beyond this; the largest in use has a tenth of it.
pub const LARGEST_DATABASE: u64 = 256 << 20;

/// Whether a file, by its path, lists installed packages. Some images (distroless) have a file for each package.
pub fn manager_of(path: &BStr) -> Option<Manager> {
    match path.as_bytes() {
        b"var/lib/dpkg/status" => Some(Manager::Dpkg),
        b"lib/apk/db/installed" | b"usr/lib/apk/db/installed" => Some(Manager::Apk),
        b"var/lib/rpm/rpmdb.sqlite" | b"usr/lib/sysimage/rpm/rpmdb.sqlite" | b"usr/share/rpm/rpmdb.sqlite" => {
            Some(Manager::Rpm)
        }
        other => {
            let name = other.strip_prefix(b"var/lib/dpkg/status.d/")?;
            (!name.contains(&b'/') && !name.ends_with(b".md5sums")).then_some(Manager::Dpkg)
        }
    }
}

/// Files of a tree that list installed packages, with their sizes.
pub fn databases(tree: &FileTree) -> Vec<(BString, Manager, u64)> {
    const DIRECTORIES: [&str; 7] = [
        "var/lib/dpkg",
        "var/lib/dpkg/status.d",
        "lib/apk/db",
        "usr/lib/apk/db",
        "var/lib/rpm",
        "usr/lib/sysimage/rpm",
        "usr/share/rpm",
    ];
    let directories = DIRECTORIES.iter().filter_map(|path| tree.lookup(BStr::new(path)));
    let files = directories.flat_map(|id| tree.children(id).collect::<Vec<_>>());
    files
        .filter(|id| tree.meta(*id).kind == Kind::File)
        .filter_map(|id| {
            let path = tree.path(id);
            let manager = manager_of(path.as_bstr())?;
            Some((path, manager, tree.meta(id).size))
        })
        .collect()
}

/// The databases in which two trees differ, of either.
pub fn changed_databases(diff: &Diff) -> Vec<BString> {
    let both = databases(diff.before_tree()).into_iter().chain(databases(diff.after_tree()));
    let changed = |path: &BString| diff.lookup(path.as_ref()).is_some_and(|id| diff.change(id) != Change::Unchanged);
    let mut paths: Vec<BString> = both.map(|(path, ..)| path).filter(changed).collect();
    paths.sort();
    paths.dedup();
    paths
}

/// Reads a database. The error completes a sentence about the file.
pub fn parse(manager: Manager, bytes: &[u8]) -> Result<Vec<Package>, String> {
    let mut packages = match manager {
        Manager::Dpkg => dpkg(bytes),
        Manager::Apk => apk(bytes),
        Manager::Rpm => rpm::packages(bytes)?,
    };
    packages.sort();
    Ok(packages)
}

/// Source: deb-control(5), "Status" of dpkg-query(1); `Installed-Size` counts KiB.
fn dpkg(bytes: &[u8]) -> Vec<Package> {
    let paragraph = |text: &[u8]| {
        let field = |name: &str| -> Option<String> {
            text.lines().find_map(|line| {
                let (key, value) = line.split_once_str(":")?;
                key.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim().to_str_lossy().into_owned())
            })
        };
        // A file for one package has no status.
        if field("Status").is_some_and(|status| !status.ends_with(" installed")) {
            return None;
        }
        let kilobytes: u64 = field("Installed-Size").and_then(|it| it.parse().ok()).unwrap_or(0);
        Some(Package {
            manager: Manager::Dpkg,
            name: field("Package")?,
            architecture: field("Architecture").unwrap_or_default(),
            version: field("Version")?,
            size: kilobytes.saturating_mul(1024),
        })
    };
    paragraphs(bytes).into_iter().filter_map(paragraph).collect()
}

/// Source: apk(5), "installed": one letter a field; `I` is the installed size in bytes.
fn apk(bytes: &[u8]) -> Vec<Package> {
    let paragraph = |text: &[u8]| {
        let field = |letter: u8| -> Option<String> {
            // Fields of files follow those of the package.
            let own = text.lines().take_while(|line| !line.starts_with(b"F:"));
            own.filter(|line| line.len() > 2 && line[0] == letter && line[1] == b':')
                .map(|line| line[2..].to_str_lossy().into_owned())
                .next()
        };
        Some(Package {
            manager: Manager::Apk,
            name: field(b'P')?,
            architecture: field(b'A').unwrap_or_default(),
            version: field(b'V')?,
            size: field(b'I').and_then(|it| it.parse().ok()).unwrap_or(0),
        })
    };
    paragraphs(bytes).into_iter().filter_map(paragraph).collect()
}

/// Stretches of lines between empty ones.
fn paragraphs(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_str("\n\n").map(|it| it.trim_start_with(|c| c == '\n')).filter(|it| !it.is_empty()).collect()
}

/// What was installed, taken out, and replaced by another version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PackageChanges {
    pub added: Vec<Package>,
    pub removed: Vec<Package>,
    pub changed: Vec<(Package, Package)>,
}

impl PackageChanges {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    /// Installed bytes that the added packages take, and those of newer versions beyond the older ones'.
    pub fn added_bytes(&self) -> u64 {
        let added = self.added.iter().map(|it| it.size);
        let grown = self.changed.iter().map(|(before, after)| after.size.saturating_sub(before.size));
        added.chain(grown).fold(0, u64::saturating_add)
    }
}

/// Compares two sets of packages. A name may be there in several versions, as kernels are.
pub fn changes(before: &[Package], after: &[Package]) -> PackageChanges {
    type Key<'p> = (Manager, &'p str, &'p str);
    let mut sides: BTreeMap<Key<'_>, (Vec<&Package>, Vec<&Package>)> = BTreeMap::new();
    fn key(it: &Package) -> (Manager, &str, &str) {
        (it.manager, &it.name, &it.architecture)
    }
    before.iter().for_each(|it| sides.entry(key(it)).or_default().0.push(it));
    after.iter().for_each(|it| sides.entry(key(it)).or_default().1.push(it));
    let mut out = PackageChanges::default();
    for (mut before, mut after) in sides.into_values() {
        let same = |list: &[&Package], it: &Package| list.iter().any(|other| other.version == it.version);
        let (all_before, all_after) = (before.clone(), after.clone());
        before.retain(|it| !same(&all_after, it));
        after.retain(|it| !same(&all_before, it));
        let pairs = before.len().min(after.len());
        let changed = before.drain(..pairs).zip(after.drain(..pairs));
        out.changed.extend(changed.map(|(a, b)| (a.clone(), b.clone())));
        out.removed.extend(before.into_iter().cloned());
        out.added.extend(after.into_iter().cloned());
    }
    out
}

/// The packages of a file system: those of each of its databases, by the database's path.
pub fn all(databases: &BTreeMap<BString, Vec<Package>>) -> Vec<Package> {
    let mut packages: Vec<Package> = databases.values().flatten().cloned().collect();
    packages.sort();
    packages.dedup();
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name version size` of each package.
    fn shown(packages: &[Package]) -> Vec<String> {
        packages.iter().map(|it| format!("{} {} {}", it.name, it.version, it.size)).collect()
    }

    #[track_caller]
    fn check(path: &str, text: &str, expected: &[&str]) {
        let manager = manager_of(path.into()).expect("a database");
        assert_eq!(shown(&parse(manager, text.as_bytes()).unwrap()), expected);
    }

    #[test]
    fn dpkg_lists_what_is_installed() {
        let text = "Package: b\nStatus: install ok installed\nInstalled-Size: 3\nVersion: 1:2-3\nDescription: x\n  y\n\n\
                    Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                    Package: a\nStatus: install ok installed\nVersion: 9\n";
        check("var/lib/dpkg/status", text, &["a 9 0", "b 1:2-3 3072"]);
        check("var/lib/dpkg/status.d/base", "Package: base\nVersion: 12\nInstalled-Size: 1\n", &["base 12 1024"]);
        check("var/lib/dpkg/status", "", &[]);
        check("var/lib/dpkg/status", "\u{0}\n\nPackage:\n: \n\n\n", &[]);
    }

    #[test]
    fn apk_lists_what_is_installed() {
        let text = "C:Q1x\nP:musl\nV:1.2\nA:x86_64\nS:1\nI:600\nF:lib\nR:P:no\n\nP:zlib\nV:1.3\nI:x\n\n";
        check("lib/apk/db/installed", text, &["musl 1.2 600", "zlib 1.3 0"]);
    }

    #[test]
    fn only_databases_are_databases() {
        let check = |path: &str, expected| assert_eq!(manager_of(path.into()), expected, "{path}");
        check("var/lib/dpkg/status-old", None);
        check("var/lib/dpkg/status.d/base.md5sums", None);
        check("var/lib/dpkg/status.d/base/x", None);
        check("usr/lib/sysimage/rpm/rpmdb.sqlite", Some(Manager::Rpm));
    }

    #[test]
    fn differences_of_packages() {
        let package = |text: &str| {
            let mut words = text.split(' ');
            Package {
                manager: Manager::Apk,
                name: words.next().unwrap().into(),
                architecture: String::new(),
                version: words.next().unwrap().into(),
                size: 10,
            }
        };
        let list = |text: &str| text.split(", ").filter(|it| !it.is_empty()).map(package).collect::<Vec<_>>();
        let check = |before: &str, after: &str, added: &str, removed: &str, changed: &str| {
            let found = changes(&list(before), &list(after));
            let names = |list: &[Package]| {
                list.iter().map(|it| format!("{} {}", it.name, it.version)).collect::<Vec<_>>().join(", ")
            };
            assert_eq!(names(&found.added), added);
            assert_eq!(names(&found.removed), removed);
            let pairs = found.changed.iter().map(|(a, b)| format!("{} {}>{}", a.name, a.version, b.version));
            assert_eq!(pairs.collect::<Vec<_>>().join(", "), changed);
        };
        check("a 1, b 1", "a 1, b 2, c 1", "c 1", "", "b 1>2");
        check("a 1", "", "", "a 1", "");
        check("k 1, k 2", "k 2, k 3", "", "", "k 1>3");
        check("k 1", "k 1, k 2", "k 2", "", "");
    }
}
