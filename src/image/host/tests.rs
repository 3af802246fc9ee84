//! The packed image holds all that its programs need, and they run in it.

use super::*;
use crate::image::host::elf;
use std::collections::BTreeSet;
use std::fs::File;

/// Runs programs with a directory as their root: as root, or in a user namespace where those are allowed.
pub(super) struct Inside {
    before: Vec<String>,
    root: PathBuf,
}

impl Inside {
    /// `None` where neither is possible; what a static look can tell is checked there all the same.
    pub(super) fn of(root: &Path) -> Option<Inside> {
        let ways = [vec!["chroot"], vec!["unshare", "--map-root-user", "chroot"]];
        let works = |way: &Vec<&str>| {
            let mut command = Command::new(way[0]);
            command.args(&way[1..]).args(["/", "/bin/sh", "-c", ":"]).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        let way = ways.into_iter().find(works)?;
        Some(Inside { before: way.into_iter().map(str::to_owned).collect(), root: root.to_owned() })
    }

    /// What the script printed, or why it failed.
    pub(super) fn run(&self, shell: &str, script: &str) -> Result<String, String> {
        let mut command = Command::new(&self.before[0]);
        command.args(&self.before[1..]).arg(&self.root).args([shell, "-c", script]).stdin(Stdio::null());
        command
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin:{TOOLBOX}/bin", std::env::var("PATH").unwrap_or_default()));
        let output = command.output().map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
        }
    }
}

/// A path inside, with symbolic links followed as the kernel would with `root` as the root.
fn follow(root: &Path, path: &Path) -> Option<PathBuf> {
    let mut at = PathBuf::new();
    let mut ahead: Vec<_> = path.iter().map(ToOwned::to_owned).rev().collect();
    let mut steps = 0;
    while let Some(name) = ahead.pop() {
        steps += 1;
        match name.to_str()? {
            "/" => at.clear(),
            ".." => drop(at.pop()),
            _ if steps > 200 => return None,
            _ => {
                let here = root.join(&at).join(&name);
                if here.symlink_metadata().ok()?.is_symlink() {
                    ahead.extend(std::fs::read_link(&here).ok()?.iter().map(ToOwned::to_owned).rev());
                } else {
                    at.push(name);
                }
            }
        }
    }
    Some(root.join(at))
}

/// Programs in `bin` whose loader or libraries are not all inside `root`, where their loader would look.
pub(super) fn unresolved(root: &Path, bin: &Path) -> Vec<String> {
    let mut wrong = BTreeSet::new();
    let mut ahead = Vec::new();
    for entry in std::fs::read_dir(bin).unwrap() {
        let inside = Path::new("/").join(entry.unwrap().path().strip_prefix(root).unwrap());
        ahead.push((inside, Vec::new()));
    }
    let standard: Vec<PathBuf> =
        ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"]
            .iter()
            .map(PathBuf::from)
            .collect();
    let mut seen = BTreeSet::new();
    while let Some((path, inherited)) = ahead.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let Some(file) = follow(root, &path) else {
            wrong.insert(format!("{} leads nowhere", path.display()));
            continue;
        };
        let Some(object) = elf::read_file(&file).and_then(|bytes| elf::parse(&path, &bytes)) else { continue };
        if path.parent().is_some_and(|dir| dir.ends_with("bin")) {
            // glibc's own library names one too, for when it is started as a program.
            ahead.extend(object.interpreter.iter().map(|it| (it.clone(), Vec::new())));
        }
        let mut search: Vec<PathBuf> = object.rpath.iter().chain(&inherited).chain(&object.runpath).cloned().collect();
        let passed_on = search.clone();
        if search.iter().any(|dir| dir.starts_with(TOOLBOX)) {
            search.retain(|dir| dir.starts_with(TOOLBOX));
        } else {
            search.extend(standard.clone());
        }
        for name in &object.needed {
            match search.iter().map(|dir| dir.join(name)).find(|it| follow(root, it).is_some()) {
                Some(library) => ahead.push((library, passed_on.clone())),
                None => drop(wrong.insert(format!("{} needs {name}", path.display()))),
            }
        }
    }
    wrong.into_iter().collect()
}

fn packed() -> (tempfile::TempDir, HostImage) {
    let dir = tempfile::tempdir().unwrap();
    let image = pack(&dir.path().join("layer.tar")).unwrap();
    (dir, image)
}

#[test]
fn programs_run_in_the_image() {
    let (dir, image) = packed();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    tar::Archive::new(File::open(&image.layer).unwrap()).unpack(&root).unwrap();
    let bin = follow(&root, Path::new("usr/bin")).unwrap();
    assert_eq!(unresolved(&root, &bin), Vec::<String>::new());
    assert!(follow(&root, Path::new("bin/sh")).is_some(), "no /bin/sh");
    let Some(inside) = Inside::of(&root) else { return };
    let script = "set -e; cd /tmp; printf 'b\\na\\n' | sort >f; grep -c a f; cat f | tr a-z A-Z; ls -ld /root | cut -c1-10; id -un";
    assert_eq!(inside.run("/bin/sh", script), Ok("1\nA\nB\ndrwx------\nroot\n".to_owned()));
    for name in &image.programs {
        let script = format!(
            "command -v {name} >/dev/null || exit 1; [ {name} = '[' ] || {name} --version </dev/null >/dev/null 2>&1; [ $? -lt 126 ]"
        );
        if name != "yes" {
            assert_eq!(inside.run("/bin/sh", &script), Ok(String::new()), "{name}");
        }
    }
}

#[test]
fn the_same_machine_gives_the_same_layer() {
    let (_first_dir, first) = packed();
    let (_second_dir, second) = packed();
    assert_eq!(first.diff_id, second.diff_id);
    let bytes = std::fs::read(&first.layer).unwrap();
    assert_eq!((Digest::of(&bytes), bytes.len() as u64), (first.diff_id.clone(), first.size));
    assert_eq!(first.config.rootfs.diff_ids, [first.diff_id]);
}

#[test]
fn entries_are_roots_and_have_no_times() {
    let (_dir, image) = packed();
    let mut archive = tar::Archive::new(File::open(&image.layer).unwrap());
    let mut seen = BTreeSet::from([PathBuf::new()]);
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let header = entry.header();
        let facts =
            (header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap(), header.mode().unwrap() & 0o6022);
        let world_writable = if path.ends_with("tmp") { 0o22 } else { 0 };
        let links = header.entry_type().is_symlink();
        assert_eq!(facts, (0, 0, 0, if links { 0o22 } else { world_writable }), "{}", path.display());
        assert!(seen.contains(path.parent().unwrap()), "{} comes before its directory", path.display());
        assert!(seen.insert(path.clone()), "{} is there twice", path.display());
    }
}

#[test]
fn nothing_is_left_where_it_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let error = pack(&dir.path().join("missing/layer.tar")).unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Io);
    std::fs::write(dir.path().join("mine"), "kept").unwrap();
    assert!(pack(&dir.path().join("mine")).is_err());
    assert_eq!(std::fs::read_to_string(dir.path().join("mine")).unwrap(), "kept");
}
