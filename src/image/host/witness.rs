//! Whether the machine is still as it was when it was packed.

use crate::image::digest::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What changed so shortly before the packing began may change once more and look the same.
const RACY: Duration = Duration::from_secs(1);

/// Every file that a packed image was made of, and every place where another could have been found, as they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// The layer that was packed.
    pub layer: Digest,
    /// What was packed by which version, and where it looked.
    maker: String,
    seen: Vec<(PathBuf, Option<State>)>,
}

/// A change of content, of owner or of place shows in one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds since 1970 and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Witness {
    /// Looks at `paths` after the packing; `None` if something may have changed since it `began`.
    pub(super) fn of(layer: Digest, paths: BTreeSet<PathBuf>, began: SystemTime) -> Option<Witness> {
        let began = began.duration_since(UNIX_EPOCH).ok()?.checked_sub(RACY)?.as_secs() as i64;
        let seen: Vec<_> =
            paths.into_iter().map(|path| (state(&path), path)).map(|(state, path)| (path, state)).collect();
        let settled = seen.iter().all(|(_, state)| state.as_ref().is_none_or(|it| it.changed.0 < began));
        settled.then(|| Witness { layer, maker: maker(), seen })
    }

    /// Whether packing would give the same layer again.
    pub fn holds(&self) -> bool {
        self.maker == maker() && self.seen.iter().all(|(path, was)| state(path) == *was)
    }
}

fn state(path: &Path) -> Option<State> {
    let status = path.symlink_metadata().ok()?;
    Some(State {
        device: status.dev(),
        inode: status.ino(),
        size: status.size(),
        modified: (status.mtime(), status.mtime_nsec()),
        changed: (status.ctime(), status.ctime_nsec()),
    })
}

fn maker() -> String {
    let lists = Digest::of([super::PROGRAMS, super::APPLETS, super::TERMINALS].concat().as_bytes());
    let path = std::env::var_os("PATH").unwrap_or_default();
    format!("{} {} {}", env!("CARGO_PKG_VERSION"), lists.short(), path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Packs a directory with a program, does something to it, and expects the witness to hold or not.
    fn check(change: impl FnOnce(&std::path::Path), holds: bool) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("program");
        fs::write(&file, "one").unwrap();
        let paths = [dir.path().to_owned(), file.clone(), dir.path().join("absent")];
        let later = SystemTime::now() + 3 * RACY;
        let witness = Witness::of(Digest::of(b"layer"), paths.into(), later).unwrap();
        let kept: Witness = serde_json::from_slice(&serde_json::to_vec(&witness).unwrap()).unwrap();
        change(dir.path());
        assert_eq!(kept.holds(), holds);
    }

    #[test]
    fn every_change_is_seen() {
        check(|_| {}, true);
        check(|dir| fs::write(dir.join("program"), "other").unwrap(), false);
        check(|dir| fs::remove_file(dir.join("program")).unwrap(), false);
        check(|dir| fs::write(dir.join("absent"), "").unwrap(), false);
        check(|dir| fs::write(dir.join("one more"), "").unwrap(), false);
        let touch = |dir: &std::path::Path| {
            fs::rename(dir.join("program"), dir.join("x")).unwrap();
            fs::write(dir.join("program"), "one").unwrap();
            fs::remove_file(dir.join("x")).unwrap();
        };
        check(touch, false);
    }

    #[test]
    fn what_has_just_changed_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let paths: BTreeSet<PathBuf> = [dir.path().to_owned()].into();
        assert!(Witness::of(Digest::of(b"layer"), paths, SystemTime::now()).is_none());
    }

    #[test]
    fn the_machine_itself_is_witnessed() {
        let dir = tempfile::tempdir().unwrap();
        let image = super::super::pack(&dir.path().join("layer.tar")).unwrap();
        if let Some(witness) = image.witness {
            assert_eq!(witness.layer, image.diff_id);
            let has = |name: &str| witness.seen.iter().any(|(path, state)| path.ends_with(name) && state.is_some());
            assert!(has("sh") && has("bin"));
        }
    }
}
