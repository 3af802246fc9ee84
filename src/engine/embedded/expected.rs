//! What is known of the engine process before it is there: in which mode it ran last, and what it said then.
//!
//! A build that is cached as a whole needs nothing of it but that.

use super::namespaces::Mode;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How it started last, for as long as there is no reason to think that it would start otherwise now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Expected {
    /// Everything that the mode hangs on.
    surroundings: String,
    mode: String,
    limits: Vec<String>,
}

fn file(store: &Path) -> PathBuf {
    store.join("engine.json")
}

/// The mode and the limits of the last start, if everything is as it was.
pub(super) fn read(store: &Path) -> Option<(Mode, Vec<String>)> {
    let expected: Expected = serde_json::from_slice(&std::fs::read(file(store)).ok()?).ok()?;
    (expected.surroundings == surroundings()).then_some(())?;
    Some((Mode::of_name(&expected.mode)?, expected.limits))
}

/// Keeps them for the next start. Not being able to costs a few milliseconds then.
pub(super) fn keep(store: &Path, mode: Mode, limits: &[String]) {
    let expected = Expected { surroundings: surroundings(), mode: mode.name().to_owned(), limits: limits.to_vec() };
    let write = || -> std::io::Result<()> {
        let new = tempfile::NamedTempFile::new_in(store)?;
        serde_json::to_writer(&new, &expected)?;
        new.persist(file(store)).map(drop).map_err(|error| error.error)
    };
    let _ = write();
}

/// It did not start as expected: the next start waits for it, and says in full what is wrong.
pub(super) fn forget(store: &Path) {
    let _ = std::fs::remove_file(file(store));
}

/// This program and user, this boot, these namespaces and this root directory, and the files that give ids.
fn surroundings() -> String {
    let link = |path: &str| std::fs::read_link(path).unwrap_or_default().to_string_lossy().into_owned();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    // Users, groups, capabilities, seccomp: all of it decides.
    let rights = status.lines().filter(|line| {
        ["Uid", "Gid", "Groups", "Cap", "NoNewPrivs", "Seccomp:"].iter().any(|name| line.starts_with(name))
    });
    let ids = ["/etc/subuid", "/etc/subgid"]
        .map(|path| std::fs::metadata(path).map(|it| (it.ino(), it.mtime(), it.mtime_nsec(), it.size())).ok());
    let root = rustix::fs::statx(
        rustix::fs::CWD,
        "/",
        rustix::fs::AtFlags::empty(),
        rustix::fs::StatxFlags::MNT_ID | rustix::fs::StatxFlags::INO,
    );
    let root = root.map(|it| (it.stx_mnt_id, it.stx_ino)).ok();
    let rights: Vec<&str> = rights.collect();
    let version = env!("CARGO_PKG_VERSION");
    let (mounts, users) = (link("/proc/self/ns/mnt"), link("/proc/self/ns/user"));
    format!("{version} {} {mounts} {users} {root:?} {ids:?} {}", boot.trim(), rights.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&Path), expected: Option<Mode>) {
        let store = tempfile::tempdir().unwrap();
        keep(store.path(), Mode::Single, &["a limit".to_owned()]);
        change(store.path());
        assert_eq!(read(store.path()).map(|(mode, _)| mode), expected);
    }

    #[test]
    fn the_last_start_is_known_until_something_changes() {
        check(|_| {}, Some(Mode::Single));
        check(forget, None);
        check(|store| std::fs::write(file(store), "{").unwrap(), None);
        let elsewhere = |store: &Path| {
            let text = std::fs::read_to_string(file(store)).unwrap();
            std::fs::write(file(store), text.replace("\"surroundings\":\"", "\"surroundings\":\"another ")).unwrap();
        };
        check(elsewhere, None);
    }
}
