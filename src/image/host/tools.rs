//! The machine's programs as tools to lend: they run inside any image, beside whatever libraries it has.
//!
//! A busybox that needs no libraries is all it takes. Where there is none, programs are copied with their
//! libraries and made to find both loader and libraries under [`TOOLBOX`] alone.

use super::closure::Closure;
use super::relocate::relocate;
use super::{PROGRAMS, TERMINALS, applets, elf, terminal, unusable};
use crate::image::source::{SourceError, SourceErrorKind};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Where the tools' directory has to be mounted: programs in it have this path inside.
pub const TOOLBOX: &str = "/.stagedive";

/// What is in a directory of tools: programs in `bin`, libraries in `lib`, terminal descriptions in
/// `share/terminfo` (for `TERMINFO_DIRS`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolbox {
    /// The best shell's path when mounted. `bin/sh` is there in any case.
    pub shell: String,
    /// Names in `bin`, sorted.
    pub programs: Vec<String>,
}

/// Fills the new directory `into`, which is to be mounted at [`TOOLBOX`].
pub fn pack_toolbox(into: &Path) -> Result<Toolbox, SourceError> {
    let mut closure = Closure::of_this_machine();
    match static_busybox(&mut closure) {
        Some(busybox) => in_new_directory(into, || from_busybox(&busybox, into)),
        None => in_new_directory(into, || from_programs(&mut closure, into)),
    }
}

fn in_new_directory(into: &Path, fill: impl FnOnce() -> io::Result<Vec<String>>) -> Result<Toolbox, SourceError> {
    let made = std::fs::create_dir(into);
    let owned = made.is_ok();
    let readable = || std::fs::set_permissions(into, std::fs::Permissions::from_mode(0o755));
    let filled = made.and_then(|()| readable()).and_then(|()| fill());
    if filled.is_err() && owned {
        let _ = std::fs::remove_dir_all(into);
    }
    let mut programs = filled.map_err(|error| SourceError {
        kind: SourceErrorKind::Io,
        message: format!("the host's tools could not be put into {}: {error}", into.display()),
        help: Vec::new(),
    })?;
    programs.sort();
    let has = |name: &str| programs.iter().any(|it| it == name);
    if !has("sh") {
        return Err(unusable("no usable `sh` was found in /usr/bin, /bin or on PATH"));
    }
    let shell = if has("bash") && !has("busybox") { "bash" } else { "sh" };
    Ok(Toolbox { shell: format!("{TOOLBOX}/bin/{shell}"), programs })
}

fn static_busybox(closure: &mut Closure) -> Option<PathBuf> {
    let (found, files) = closure.program("busybox")?;
    let alone = files.len() == 1;
    (alone && applets(&found).iter().any(|name| name == "sh")).then_some(found)
}

fn from_busybox(busybox: &Path, into: &Path) -> io::Result<Vec<String>> {
    let bin = directory(into, "bin")?;
    write(&bin.join("busybox"), &contents(busybox)?, 0o755)?;
    let mut programs = vec!["busybox".to_owned()];
    for name in applets(busybox).into_iter().filter(|name| name != "busybox") {
        symlink("busybox", bin.join(&name))?;
        programs.push(name);
    }
    Ok(programs)
}

fn from_programs(closure: &mut Closure, into: &Path) -> io::Result<Vec<String>> {
    let (bin, lib) = (directory(into, "bin")?, directory(into, "lib")?);
    let mut names_by_file: HashMap<PathBuf, String> = HashMap::new();
    let mut programs = Vec::new();
    for name in PROGRAMS.split_whitespace() {
        let Some((found, needed)) = closure.program(name) else { continue };
        // Several names of one file are told apart by the name they are called by.
        let real = found.canonicalize()?;
        if let Some(first) = names_by_file.get(&real) {
            symlink(first, bin.join(name))?;
        } else if let Some(moved) = moved_program(&contents(&real)?) {
            write(&bin.join(name), &moved, 0o755)?;
            names_by_file.insert(real, name.to_owned());
        } else {
            continue;
        }
        add_libraries(&needed, &lib)?;
        programs.push(name.to_owned());
    }
    for file in TERMINALS.split_whitespace().filter_map(terminal) {
        let mut parts = file.iter().rev();
        if let (Some(name), Some(folder)) = (parts.next(), parts.next()) {
            let to = directory(into, Path::new("share/terminfo").join(folder))?;
            write(&to.join(name), &contents(&file)?, 0o644)?;
        }
    }
    Ok(programs)
}

/// A script gets the toolbox's shell, a dynamic program its loader and libraries.
fn moved_program(bytes: &[u8]) -> Option<Vec<u8>> {
    if let Some(rest) = bytes.strip_prefix(b"#!") {
        let end = rest.iter().position(|b| *b == b'\n')?;
        let (line, body) = rest.split_at(end);
        let shell = if line.windows(4).any(|it| it == b"bash") { "bash" } else { "sh" };
        return Some([format!("#!{TOOLBOX}/bin/{shell}").as_bytes(), body].concat());
    }
    let object = elf::parse(Path::new("/"), bytes)?;
    match &object.interpreter {
        Some(interpreter) => {
            let loader = format!("{TOOLBOX}/lib/{}", interpreter.file_name()?.to_str()?);
            relocate(bytes, Some(&loader), &format!("{TOOLBOX}/lib"))
        }
        None => Some(bytes.to_vec()),
    }
}

/// The first of `needed` is the program itself; shells of scripts are programs, not libraries.
fn add_libraries(needed: &[PathBuf], lib: &Path) -> io::Result<()> {
    for file in needed.iter().skip(1) {
        let Some(name) = file.file_name().filter(|name| is_library(name)) else { continue };
        let to = lib.join(name);
        if to.symlink_metadata().is_ok() {
            continue;
        }
        let bytes = contents(file)?;
        let has_own_path = elf::parse(file, &bytes).is_some_and(|it| !(it.rpath.is_empty() && it.runpath.is_empty()));
        let moved = has_own_path.then(|| relocate(&bytes, None, &format!("{TOOLBOX}/lib"))).flatten();
        write(&to, &moved.unwrap_or(bytes), 0o755)?;
    }
    Ok(())
}

fn is_library(name: &OsStr) -> bool {
    name.as_encoded_bytes().windows(3).any(|it| it == b".so")
}

fn directory(into: &Path, name: impl AsRef<Path>) -> io::Result<PathBuf> {
    // Readable for every user of the image, whatever the umask is here.
    let mut path = into.to_owned();
    for part in name.as_ref() {
        path.push(part);
        if !path.is_dir() {
            std::fs::create_dir(&path)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(path)
}

fn contents(path: &Path) -> io::Result<Vec<u8>> {
    elf::read_file(path).ok_or_else(|| io::Error::other(format!("{} cannot be read, or is too large", path.display())))
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    std::fs::write(path, bytes)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::host::tests::{Inside, unresolved};

    /// In a root that has nothing but the tools, every one of them starts.
    fn check(fill: impl FnOnce(&Path) -> io::Result<Vec<String>>) {
        let root = tempfile::tempdir().unwrap();
        let into = root.path().join(".stagedive");
        let toolbox = in_new_directory(&into, || fill(&into)).unwrap();
        assert_eq!(unresolved(root.path(), &into.join("bin")), Vec::<String>::new());
        let Some(inside) = Inside::of(root.path()) else { return };
        for name in
            toolbox.programs.iter().filter(|name| !matches!(name.as_str(), "sh" | "[" | "test" | "yes" | "init"))
        {
            // 126 and 127 are the shell's for what cannot be started; the loader's complaint ends with 127 too.
            let script =
                format!("command -v {name} >/dev/null && {name} --version </dev/null >/dev/null 2>&1; test $? -lt 126");
            let program = if PROGRAMS.split_whitespace().any(|it| it == name) { script } else { continue };
            assert_eq!(inside.run(&format!("{TOOLBOX}/bin/sh"), &program), Ok(String::new()), "{name}");
        }
        let script = "echo one two | sed s/two/three/; ls -d /.stagedive";
        assert_eq!(inside.run(&toolbox.shell, script), Ok("one three\n/.stagedive\n".to_owned()));
    }

    #[test]
    fn moved_programs_run_with_nothing_beside_them() {
        check(|into| from_programs(&mut Closure::of_this_machine(), into));
    }

    #[test]
    fn the_toolbox_of_this_machine_runs() {
        let root = tempfile::tempdir().unwrap();
        let into = root.path().join(".stagedive");
        let toolbox = pack_toolbox(&into).unwrap();
        assert!(toolbox.programs.iter().any(|name| name == "ls"), "{toolbox:?}");
        assert_eq!(unresolved(root.path(), &into.join("bin")), Vec::<String>::new());
        if let Some(inside) = Inside::of(root.path()) {
            assert_eq!(inside.run(&toolbox.shell, "cd /.stagedive && ls -d bin"), Ok("bin\n".to_owned()));
        }
    }

    #[test]
    fn what_is_there_is_not_touched() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("mine"), "kept").unwrap();
        let error = pack_toolbox(root.path()).unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::Io);
        assert_eq!(std::fs::read_to_string(root.path().join("mine")).unwrap(), "kept");
    }
}
