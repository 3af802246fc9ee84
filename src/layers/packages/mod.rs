//! Installed packages, read from the package databases in an image, and how they differ.
//!
//! Databases are untrusted: what cannot be read is an error in words, and what is made of one has a bound.

mod berkeley;
mod ndb;
mod rpm;
mod sqlite;

use super::diff::{Change, Diff};
use super::entry::Kind;
use super::path::split;
use super::tree::FileTree;
use bstr::{BStr, BString, ByteSlice};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[cfg(test)]
pub(crate) use rpm::fixtures;

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

/// A file for each package.
const DPKG_PARTS: &str = "var/lib/dpkg/status.d";

/// Where distributions keep RPM's database.
const RPM: [&str; 3] = ["var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm"];

/// More packages are not believed; no distribution has as many.
const MOST: usize = 200_000;

/// Whether a file, by its path, lists installed packages. Some images (distroless) have a file for each package.
pub fn manager_of(path: &BStr) -> Option<Manager> {
    match path.as_bytes() {
        b"var/lib/dpkg/status" => Some(Manager::Dpkg),
        b"lib/apk/db/installed" | b"usr/lib/apk/db/installed" => Some(Manager::Apk),
        other => match split(other.as_bstr()) {
            (directory, name) if RPM.iter().any(|it| *it == directory) => {
                matches!(name.as_bytes(), b"rpmdb.sqlite" | b"Packages.db" | b"Packages").then_some(Manager::Rpm)
            }
            (directory, name) => (directory == DPKG_PARTS && !name.ends_with(b".md5sums")).then_some(Manager::Dpkg),
        },
    }
}

/// Files of a tree that list installed packages, with their sizes.
pub fn databases(tree: &FileTree) -> Vec<(BString, Manager, u64)> {
    const OTHERS: [&str; 4] = ["var/lib/dpkg", DPKG_PARTS, "lib/apk/db", "usr/lib/apk/db"];
    let directories = OTHERS.iter().chain(&RPM).filter_map(|path| tree.lookup(BStr::new(path)));
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
    if packages.len() > MOST {
        return Err(format!("lists more than {MOST} packages"));
    }
    packages.sort();
    Ok(packages)
}

/// Source: deb-control(5), "Package states" of dpkg(1); `Installed-Size` counts KiB.
fn dpkg(bytes: &[u8]) -> Vec<Package> {
    // States in which all files of a package are there, whether its scripts have run or not.
    const UNPACKED: [&str; 5] = ["installed", "triggers-pending", "triggers-awaited", "half-configured", "unpacked"];
    let paragraph = |text: &[u8]| {
        let field = |name: &str| -> Option<String> {
            text.lines().find_map(|line| {
                let (key, value) = line.split_once_str(":")?;
                key.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim().to_str_lossy().into_owned())
            })
        };
        // A file for one package has no status.
        let is_there = |status: String| status.rsplit(' ').next().is_some_and(|state| UNPACKED.contains(&state));
        if !field("Status").is_none_or(is_there) {
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
    paragraphs(bytes).filter_map(paragraph).take(MOST + 1).collect()
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
    paragraphs(bytes).filter_map(paragraph).take(MOST + 1).collect()
}

/// Stretches of lines between empty ones.
fn paragraphs(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_str("\n\n").map(|it| it.trim_start_with(|c| c == '\n')).filter(|it| !it.is_empty())
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

/// What package databases say.
#[derive(Default)]
pub struct Installed {
    pub packages: Vec<Package>,
    /// Databases that cannot be read, and why.
    pub wrong: Vec<(Manager, String)>,
}

/// Compares what is installed. Where the databases of one side cannot be read, nothing is known to be new or gone.
pub fn known_changes(before: &Installed, after: &Installed) -> PackageChanges {
    let is_known = |it: &&Package| before.wrong.iter().chain(&after.wrong).all(|(manager, _)| *manager != it.manager);
    let [old, new] = [before, after].map(|it| it.packages.iter().filter(is_known).cloned().collect::<Vec<_>>());
    changes(&old, &new)
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
                    Package: half\nStatus: install ok half-installed\nVersion: 1\n\n\
                    Package: failed\nStatus: install ok half-configured\nVersion: 1\n\n\
                    Package: held\nStatus: hold ok triggers-pending\nVersion: 1\n\n\
                    Package: a\nStatus: install ok installed\nVersion: 9\n";
        check("var/lib/dpkg/status", text, &["a 9 0", "b 1:2-3 3072", "failed 1 0", "held 1 0"]);
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
    fn more_packages_than_there_can_be_are_not_believed() {
        let text = |count: usize| "P:a\nV:1\n\n".repeat(count);
        assert_eq!(parse(Manager::Apk, text(MOST).as_bytes()).unwrap().len(), MOST);
        assert!(parse(Manager::Apk, text(MOST + 1).as_bytes()).unwrap_err().contains("lists more than"));
    }

    #[test]
    fn only_databases_are_databases() {
        let check = |path: &str, expected| assert_eq!(manager_of(path.into()), expected, "{path}");
        check("var/lib/dpkg/status-old", None);
        check("var/lib/dpkg/status.d/base.md5sums", None);
        check("var/lib/dpkg/status.d/base/x", None);
        check("usr/lib/sysimage/rpm/rpmdb.sqlite", Some(Manager::Rpm));
        check("usr/lib/sysimage/rpm/Packages.db", Some(Manager::Rpm));
        check("var/lib/rpm/Packages", Some(Manager::Rpm));
        check("var/lib/rpm/Name", None);
        check("Packages", None);
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
