//! A program and all the files that its start needs.

use super::elf::{self, Abi, Object, SystemDirectories};
use std::collections::{HashMap, HashSet, VecDeque};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Searched before PATH, so that a user's wrapper of the same name is not taken.
const DIRECTORIES: &[&str] = &["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"];

/// Loaded by the C library at run time on systems where it has them apart, so no file names them as needed.
const LOADED_LATER: &[&str] = &["libnss_files.so.2", "libnss_dns.so.2"];

/// Knows the files it has read, for the programs share most of them.
#[derive(Debug)]
pub(super) struct Closure {
    directories: SystemDirectories,
    abi: Option<Abi>,
    search: Vec<PathBuf>,
    objects: HashMap<PathBuf, Option<Object>>,
}

impl Closure {
    pub(super) fn of_this_machine() -> Closure {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let search = DIRECTORIES.iter().map(PathBuf::from).chain(std::env::split_paths(&path));
        Closure {
            directories: SystemDirectories::of_this_machine(),
            abi: elf::own_abi(),
            search: search.filter(|dir| dir.is_absolute()).collect(),
            objects: HashMap::new(),
        }
    }

    /// The directories in which programs and libraries are looked for.
    pub(super) fn places(&self) -> Vec<PathBuf> {
        let own = self.objects.values().flatten().flat_map(|object| object.rpath.iter().chain(&object.runpath));
        self.search.iter().chain(self.directories.all()).chain(own).cloned().collect()
    }

    /// Where a program was found, and every file it needs (itself first), by the names that will be asked for.
    /// `None` if the machine has no such program, or has not all that it needs.
    pub(super) fn program(&mut self, name: &str) -> Option<(PathBuf, Vec<PathBuf>)> {
        let runnable =
            |path: &PathBuf| path.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0);
        let candidates: Vec<PathBuf> = self.search.iter().map(|dir| dir.join(name)).filter(runnable).collect();
        candidates.into_iter().find_map(|found| {
            let files = self.files(&found)?;
            Some((found, files))
        })
    }

    fn files(&mut self, program: &Path) -> Option<Vec<PathBuf>> {
        let mut files = vec![program.to_owned()];
        let start = shell_of_script(program).unwrap_or_else(|| program.to_owned());
        if start != program {
            files.push(start.clone());
        }
        let object = self.object(&start)?;
        // A program of another machine's may run here through an emulator, and would not in the image.
        if self.abi.is_some_and(|abi| abi != object.abi) {
            return None;
        }
        self.add_needed(object, &mut files)?;
        Some(files)
    }

    /// Breadth first, as the loader goes.
    fn add_needed(&mut self, program: Object, files: &mut Vec<PathBuf>) -> Option<()> {
        if let Some(interpreter) = &program.interpreter {
            self.object(interpreter)?;
            files.push(interpreter.clone());
            files.extend(LOADED_LATER.iter().filter_map(|name| self.directories.find(name, &program, &[])));
        }
        let mut seen = HashSet::new();
        let mut queue = VecDeque::from([(program, Vec::new())]);
        while let Some((object, inherited)) = queue.pop_front() {
            let passed_on: Vec<PathBuf> = object.rpath.iter().chain(&inherited).cloned().collect();
            for name in &object.needed {
                if !seen.insert(name.clone()) {
                    continue;
                }
                // musl's C library is the loader itself, under a name that may be on no disk.
                let loader_itself = name.starts_with("libc.musl-") || name == "libc.so";
                match self.directories.find(name, &object, &inherited) {
                    Some(found) => {
                        let library = self.object(&found)?;
                        files.push(found);
                        queue.push_back((library, passed_on.clone()));
                    }
                    None if loader_itself => {}
                    None => return None,
                }
            }
        }
        Some(())
    }

    fn object(&mut self, path: &Path) -> Option<Object> {
        let real = path.canonicalize().ok()?;
        let read = || elf::read_file(&real).and_then(|bytes| elf::parse(&real, &bytes));
        self.objects.entry(real.clone()).or_insert_with(read).clone()
    }
}

/// The shell that a script names in its first line; other interpreters bring more than their libraries.
fn shell_of_script(path: &Path) -> Option<PathBuf> {
    let mut start = [0; 64];
    let length = std::fs::File::open(path).ok()?.read(&mut start).ok()?;
    let line = start.get(..length)?.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_whitespace();
    let shell = Path::new(words.next()?);
    matches!(shell.file_name()?.to_str()?, "sh" | "bash" | "dash").then(|| shell.to_owned())
}
