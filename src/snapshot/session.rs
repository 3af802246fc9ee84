//! Those who use a store now, and what each has in it that is not anybody else's yet.
//!
//! ```text
//! ROOT/MODE/
//!   sessions/ID     locked while its session lives
//!   begin           locked by those who begin, and by one who is to stay alone
//!   work/ID/        what it is at work on, and what it took out of its place
//!   pending/LAYER   names the sessions that made a layer, one a line, until it is known to be on the disk
//! ```
//!
//! Invariant: a session has its name as long as anything of it is left, so that every later one finds that.

use super::image_records::LayerId;
use super::store::{StoreError, failed};
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) struct Session {
    root: PathBuf,
    name: String,
    /// Holds the session's lock; released by the kernel however the process ends.
    _lock: File,
    next: AtomicU64,
}

impl Session {
    pub(super) fn begin(root: &Path) -> Result<Session, StoreError> {
        let name = random_hex();
        let work = root.join("work").join(&name);
        let _may_begin = locked(root, FlockOperation::LockShared)?;
        for dir in [&root.join("sessions"), &root.join("pending"), &work] {
            fs::create_dir_all(dir).map_err(failed("cannot make the store's directory", dir))?;
        }
        // Locked before it has its name, so that nobody takes this session for a dead one.
        let path = work.join("lock");
        let lock = File::create(&path).map_err(failed("cannot write", &path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| failed("cannot lock", &path)(error.into()))?;
        let named = root.join("sessions").join(&name);
        fs::rename(&path, &named).map_err(failed("cannot put a lock into place at", &named))?;
        Ok(Session { root: root.to_owned(), name, _lock: lock, next: AtomicU64::new(0) })
    }

    /// A fresh directory for work in progress.
    pub(super) fn scratch(&self) -> Result<PathBuf, StoreError> {
        let dir = self.work(&self.name).join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&dir).map_err(failed("cannot make", &dir))?;
        Ok(dir)
    }

    /// Takes something out of its place at once; removing it may take a while, and may never happen.
    pub(super) fn set_aside(&self, path: &Path) -> Option<PathBuf> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let aside = self.work(&self.name).join(format!("gone-{number}"));
        fs::rename(path, &aside).is_ok().then_some(aside)
    }

    /// Names this session, beside others that may have made the same layer, as one that needs it before it is known to
    /// be on the disk.
    pub(super) fn claim(&self, layer: &LayerId) -> Result<(), StoreError> {
        let path = self.pending(layer);
        let file = File::options().append(true).create(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(format!("{}\n", self.name).as_bytes()));
        written.map_err(failed("cannot write", &path))
    }

    /// Whether a layer that is there is not known to be on the disk.
    pub(super) fn is_pending(&self, layer: &LayerId) -> bool {
        self.pending(layer).exists()
    }

    /// It is on the disk now, whoever made it; another session may have seen to it too.
    pub(super) fn settle(&self, layer: &LayerId) -> Result<(), StoreError> {
        let path = self.pending(layer);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("cannot remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Nobody else lives, and nobody begins as long as this is held; `None` if there is another one.
    pub(super) fn alone(&self) -> Result<Option<File>, StoreError> {
        let lock = locked(&self.root, FlockOperation::LockExclusive)?;
        Ok((!self.is_shared()).then_some(lock))
    }

    fn is_shared(&self) -> bool {
        let sessions = fs::read_dir(self.root.join("sessions")).into_iter().flatten().flatten();
        let mut others = sessions.filter(|file| file.file_name() != self.name.as_str());
        others.any(|file| is_locked(&file.path()))
    }

    /// Finds sessions whose lock nobody holds, and takes the layers that they did not save out of their places. What is
    /// left of them is for the caller to remove.
    pub(super) fn clear_dead(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut gone = Vec::new();
        let mut dead = BTreeSet::new();
        let sessions = self.root.join("sessions");
        for file in fs::read_dir(&sessions).map_err(failed("cannot read", &sessions))?.flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if name != self.name && !is_locked(&file.path()) {
                dead.insert(name);
            }
        }
        let pending = self.root.join("pending");
        for file in fs::read_dir(&pending).map_err(failed("cannot read", &pending))?.flatten() {
            let owners = fs::read_to_string(file.path()).unwrap_or_default();
            let lives = |owner: &str| {
                owner == self.name || !owner.is_empty() && !dead.contains(owner) && sessions.join(owner).exists()
            };
            if !owners.lines().any(lives) {
                gone.extend(self.set_aside(&self.root.join("layers").join(file.file_name())));
                let _ = fs::remove_file(file.path());
            }
        }
        gone.extend(dead.iter().filter_map(|name| self.forget(name)));
        Ok(gone)
    }

    /// Takes away what a session has emptied, and then its name. Answers with its work where there is still some: then
    /// its name stays too, until a later session has cleared it.
    fn forget(&self, name: &str) -> Option<PathBuf> {
        let work = self.work(name);
        for emptied in fs::read_dir(&work).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(emptied.path());
        }
        match fs::remove_dir(&work) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Some(work),
            _ => {
                let _ = fs::remove_file(self.root.join("sessions").join(name));
                None
            }
        }
    }

    fn work(&self, name: &str) -> PathBuf {
        self.root.join("work").join(name)
    }

    fn pending(&self, layer: &LayerId) -> PathBuf {
        self.root.join("pending").join(layer.as_str())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.forget(&self.name);
    }
}

fn locked(root: &Path, how: FlockOperation) -> Result<File, StoreError> {
    let path = root.join("begin");
    let file = File::create(&path).map_err(failed("cannot write", &path))?;
    flock(&file, how).map_err(|error| failed("cannot lock", &path)(error.into()))?;
    Ok(file)
}

fn is_locked(path: &Path) -> bool {
    match File::open(path) {
        Ok(file) => flock(&file, FlockOperation::NonBlockingLockExclusive).is_err(),
        Err(_) => false,
    }
}

/// A name that nothing else has.
pub(super) fn random_hex() -> String {
    use std::hash::{BuildHasher, Hasher};
    // Each `RandomState` is seeded from the system's random numbers.
    let part = || std::collections::hash_map::RandomState::new().build_hasher().finish();
    let id = std::process::id();
    format!("{:016x}{:08x}{:08x}", part(), part() as u32, id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> BTreeSet<String> {
        fs::read_dir(dir).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// A session begins, does `work` and ends: whether something is left of it, for those that come after.
    #[track_caller]
    fn check(work: impl FnOnce(&Session), is_left: bool) {
        let root = tempfile::tempdir().unwrap();
        let session = Session::begin(root.path()).unwrap();
        work(&session);
        let left = is_left.then(|| session.work(&session.name));
        let name = session.name.clone();
        drop(session);
        // Not all have the time to clear it.
        for time in ["at once", "again"] {
            let next = Session::begin(root.path()).unwrap();
            assert_eq!(names(&root.path().join("sessions")).contains(&name), is_left, "its name, {time}");
            assert_eq!(next.clear_dead().unwrap(), Vec::from_iter(left.clone()), "{time}");
            assert!(!next.is_shared());
        }
        left.iter().for_each(|path| fs::remove_dir_all(path).unwrap());
        let last = Session::begin(root.path()).unwrap();
        assert_eq!(last.clear_dead().unwrap(), Vec::<PathBuf>::new());
        for dir in ["sessions", "work"] {
            assert_eq!(names(&root.path().join(dir)), BTreeSet::from([last.name.clone()]), "{dir}");
        }
    }

    #[test]
    fn what_a_session_leaves_is_cleared_by_it_or_by_a_later_one() {
        check(|_| {}, false);
        check(|session| drop(session.scratch()), false);
        check(|session| drop(fs::write(session.scratch().unwrap().join("blob"), "half of it")), true);
        let aside = |session: &Session| {
            let (empty, full) = (session.root.join("empty"), session.root.join("full"));
            for dir in [&empty, &full] {
                fs::create_dir(dir).unwrap();
            }
            fs::write(full.join("file"), "content").unwrap();
            [empty, full].map(|path| session.set_aside(&path).unwrap())
        };
        check(|session| drop(aside(session)), true);
        check(|session| aside(session).iter().for_each(|path| fs::remove_dir_all(path).unwrap()), false);
        check(|session| assert_eq!(session.set_aside(&session.root.join("none")), None), false);
    }

    /// Sessions that live and others that were killed have made the same layer. Whether a session that begins then
    /// leaves it in its place.
    #[track_caller]
    fn check_claims(living: usize, killed: usize, settled: bool, stays: bool) {
        let root = tempfile::tempdir().unwrap();
        let layer = LayerId::of_step("00");
        let place = root.path().join("layers").join(layer.as_str());
        fs::create_dir_all(&place).unwrap();
        let mut sessions: Vec<Session> = (0..living + killed).map(|_| Session::begin(root.path()).unwrap()).collect();
        sessions.iter().for_each(|session| session.claim(&layer).unwrap());
        if settled {
            sessions.iter().for_each(|session| session.settle(&layer).unwrap());
        }
        for session in sessions.drain(living..) {
            let name = root.path().join("sessions").join(&session.name);
            drop(session);
            fs::write(name, "").unwrap();
        }
        let next = Session::begin(root.path()).unwrap();
        assert_eq!(next.clear_dead().unwrap().len(), usize::from(!stays));
        assert_eq!(place.exists(), stays);
        assert_eq!(next.is_pending(&layer), living > 0 && !settled);
        assert_eq!(next.is_shared(), living > 0);
    }

    #[test]
    fn a_layer_that_is_not_on_the_disk_lives_as_long_as_one_that_made_it() {
        check_claims(1, 0, false, true);
        check_claims(0, 1, false, false);
        check_claims(1, 2, false, true);
        check_claims(0, 2, false, false);
        check_claims(0, 1, true, true);
        check_claims(1, 1, true, true);
    }

    #[test]
    fn nobody_begins_where_one_is_alone() {
        let root = tempfile::tempdir().unwrap();
        let may_begin = || locked(root.path(), FlockOperation::NonBlockingLockShared).is_ok();
        let session = Session::begin(root.path()).unwrap();
        let alone = session.alone().unwrap();
        assert!(alone.is_some() && !may_begin());
        drop(alone);
        let _other = Session::begin(root.path()).unwrap();
        assert!(session.alone().unwrap().is_none() && may_begin());
    }

    #[test]
    fn a_claim_that_cannot_be_read_is_nobodys() {
        let root = tempfile::tempdir().unwrap();
        let session = Session::begin(root.path()).unwrap();
        let layer = LayerId::of_step("00");
        for owners in ["", "\n", "0123\n"] {
            fs::write(session.pending(&layer), owners).unwrap();
            session.clear_dead().unwrap();
            assert!(!session.is_pending(&layer), "{owners:?}");
        }
    }
}
