//! What an ELF file asks its loader for, and where the loader would find it.
//!
//! Source: the System V ABI's dynamic section, `ld.so(8)` for the order of the search.

use goblin::elf::Elf;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// No program or library on the list is near this size; what is larger is left alone.
const LARGEST: u64 = 64 << 20;

/// Class, byte order and machine: all files of one process have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Abi([u8; 4]);

#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) abi: Abi,
    pub(super) interpreter: Option<PathBuf>,
    /// Names as they stand in the file.
    pub(super) needed: Vec<String>,
    /// `DT_RPATH`, which also holds for the libraries that this object loads. Empty if there is a `DT_RUNPATH`.
    pub(super) rpath: Vec<PathBuf>,
    pub(super) runpath: Vec<PathBuf>,
}

/// A regular file's bytes, unless it is too large or cannot be read.
pub(super) fn read_file(path: &Path) -> Option<Vec<u8>> {
    let file = std::fs::File::open(path).ok()?;
    let metadata = file.metadata().ok().filter(|it| it.is_file() && it.len() <= LARGEST)?;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).ok()?);
    file.take(LARGEST).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// `path` is where the file really lies: `$ORIGIN` is its directory.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Option<Object> {
    let elf = Elf::parse(bytes).ok()?;
    let runpath = search_path(&elf.runpaths, path);
    Some(Object {
        abi: abi(bytes)?,
        interpreter: elf.interpreter.map(PathBuf::from),
        needed: elf.libraries.iter().map(|name| (*name).to_owned()).collect(),
        rpath: if runpath.is_empty() { search_path(&elf.rpaths, path) } else { Vec::new() },
        runpath,
    })
}

fn abi(start: &[u8]) -> Option<Abi> {
    match start {
        [0x7f, b'E', b'L', b'F', class, order, rest @ ..] => match rest.get(12..14)? {
            [low, high] => Some(Abi([*class, *order, *low, *high])),
            _ => None,
        },
        _ => None,
    }
}

/// Of the program that runs now.
pub(super) fn own_abi() -> Option<Abi> {
    abi_of(Path::new("/proc/self/exe"))
}

fn abi_of(path: &Path) -> Option<Abi> {
    let mut start = [0; 20];
    std::fs::File::open(path).ok()?.read_exact(&mut start).ok()?;
    abi(&start)
}

fn search_path(entries: &[&str], object: &Path) -> Vec<PathBuf> {
    let origin = object.parent().unwrap_or(Path::new("/")).to_string_lossy().into_owned();
    entries
        .iter()
        .flat_map(|entry| entry.split(':'))
        .map(|dir| PathBuf::from(dir.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin)))
        .filter(|dir| dir.is_absolute())
        .collect()
}

/// Where libraries are looked for when no object names a directory.
#[derive(Debug)]
pub(super) struct SystemDirectories(Vec<PathBuf>);

impl SystemDirectories {
    /// Those of `/etc/ld.so.conf` and of musl's path files, then the ones that loaders have built in.
    pub(super) fn of_this_machine() -> SystemDirectories {
        let mut dirs = Vec::new();
        read_configuration(Path::new("/etc/ld.so.conf"), &mut dirs, &mut BTreeSet::new());
        for file in list(Path::new("/etc"), |name| name.starts_with(b"ld-musl-") && name.ends_with(b".path")) {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            dirs.extend(text.split([':', '\n']).filter(|dir| dir.starts_with('/')).map(PathBuf::from));
        }
        for base in ["/lib", "/usr/lib"] {
            // Debian's `ARCH-linux-gnu` below it.
            dirs.extend(list(Path::new(base), |name| {
                name.ends_with(b"-linux-gnu") || name.windows(11).any(|it| it == b"-linux-gnue")
            }));
        }
        dirs.extend(
            ["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/lib32", "/usr/lib32", "/usr/local/lib"].map(PathBuf::from),
        );
        SystemDirectories(dirs)
    }

    pub(super) fn all(&self) -> &[PathBuf] {
        &self.0
    }

    /// The file that the loader would take for `name`, wanted by `object`. `inherited` are the `DT_RPATH`s of the
    /// objects that led to it.
    pub(super) fn find(&self, name: &str, object: &Object, inherited: &[PathBuf]) -> Option<PathBuf> {
        let fits = |path: &PathBuf| abi_of(path) == Some(object.abi);
        if name.contains('/') {
            return Some(PathBuf::from(name)).filter(|path| path.is_absolute()).filter(fits);
        }
        let inherited = if object.runpath.is_empty() { inherited } else { &[] };
        let own = object.rpath.iter().chain(inherited).chain(&object.runpath);
        own.chain(&self.0).map(|dir| dir.join(name)).find(fits)
    }
}

/// `include` takes a pattern whose last component may hold `*`.
fn read_configuration(file: &Path, dirs: &mut Vec<PathBuf>, read: &mut BTreeSet<PathBuf>) {
    if read.len() >= 100 || !read.insert(file.to_owned()) {
        return;
    }
    let text = std::fs::read_to_string(file).unwrap_or_default();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(pattern) = line.strip_prefix("include").filter(|rest| rest.starts_with(char::is_whitespace)) {
            let pattern = file.parent().unwrap_or(Path::new("/")).join(pattern.trim());
            let (Some(dir), Some(name)) = (pattern.parent(), pattern.file_name()) else { continue };
            let (before, after) = match name.as_bytes().iter().position(|b| *b == b'*') {
                Some(star) => (&name.as_bytes()[..star], Some(&name.as_bytes()[star + 1..])),
                None => (name.as_bytes(), None),
            };
            let matches = |name: &[u8]| match after {
                Some(after) => {
                    name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after)
                }
                None => name == before,
            };
            for included in list(dir, matches) {
                read_configuration(&included, dirs, read);
            }
        } else if line.starts_with('/') {
            dirs.push(PathBuf::from(line));
        }
    }
}

/// The members of a directory whose names fit, sorted.
fn list(dir: &Path, fits: impl Fn(&[u8]) -> bool) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name()).filter(|name: &std::ffi::OsString| fits(OsStr::as_bytes(name)));
    let mut found: Vec<PathBuf> = names.map(|name| dir.join(name)).collect();
    found.sort();
    found
}
