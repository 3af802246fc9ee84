//! A file of the user's that gets its content as a whole.

use crate::system;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use tempfile::TempPath;

/// A new file beside its place, until all of it is written: what was there before stays if that fails. Through a link,
/// what it leads to is replaced. What is no regular file, as a device or a pipe, has no content to lose and is written
/// at once.
#[derive(Debug)]
pub struct WholeFile {
    pub file: File,
    place: PathBuf,
    temporary: Option<TempPath>,
}

impl WholeFile {
    /// Directories that are missing above it are made. Waits where a pipe has no reader yet.
    pub fn create(dest: &Path) -> io::Result<WholeFile> {
        let place = dest.canonicalize().unwrap_or_else(|_| dest.to_owned());
        if place.symlink_metadata().is_ok_and(|it| !it.is_file()) {
            let file = File::options().write(true).create(true).truncate(true).open(&place)?;
            return Ok(WholeFile { file, place, temporary: None });
        }
        let dir = place.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir)?;
        let (file, temporary) = system::ordinary_file().tempfile_in(dir)?.into_parts();
        Ok(WholeFile { file, place, temporary: Some(temporary) })
    }

    /// Where the content is now, for those who open it again.
    pub fn path(&self) -> &Path {
        self.temporary.as_deref().unwrap_or(&self.place)
    }

    /// All of it is written.
    pub fn finish(self) -> io::Result<()> {
        match self.temporary {
            Some(temporary) => temporary.persist(self.place).map_err(|error| error.error),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// Writes `new` to `dest` in a directory that `prepare` has filled: what all files and links in it are then.
    #[track_caller]
    fn check(prepare: impl FnOnce(&Path) -> io::Result<()>, dest: &str, whole: bool, expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path()).unwrap();
        let mut file = WholeFile::create(&dir.path().join(dest)).unwrap();
        file.file.write_all(b"new").unwrap();
        if whole {
            file.finish().unwrap();
        } else {
            drop(file);
        }
        let mut found = Vec::new();
        for entry in walk(dir.path()) {
            let kind = entry.symlink_metadata().unwrap().file_type();
            let name = entry.strip_prefix(dir.path()).unwrap().display().to_string();
            found.push(match kind.is_symlink() {
                true => format!("{name}@"),
                false => format!("{name}={}", std::fs::read_to_string(&entry).unwrap()),
            });
        }
        found.sort();
        assert_eq!(found.join(" "), expected);
    }

    fn walk(dir: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.symlink_metadata().unwrap().is_dir() {
                true => found.extend(walk(&path)),
                false => found.push(path),
            }
        }
        found
    }

    #[test]
    fn files() {
        let old = |dir: &Path| std::fs::write(dir.join("out"), "old");
        check(|_| Ok(()), "out", true, "out=new");
        check(|_| Ok(()), "a/b/out", true, "a/b/out=new");
        check(old, "out", true, "out=new");
        check(old, "out", false, "out=old");
    }

    #[test]
    #[cfg(unix)]
    fn links() {
        use std::os::unix::fs::symlink;
        let link = |dir: &Path| symlink("file", dir.join("out"));
        let both = |dir: &Path| std::fs::write(dir.join("file"), "old").and_then(|()| link(dir));
        check(both, "out", true, "file=new out@");
        check(both, "out", false, "file=old out@");
        check(link, "out", true, "file=new out@");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_no_regular_file_is_written_through() {
        use std::os::unix::fs::FileTypeExt;
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        system::make_special(&pipe, system::Special::Fifo).unwrap();
        let reading = std::thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::read_to_string(pipe).unwrap()
        });
        let mut file = WholeFile::create(&pipe).unwrap();
        file.file.write_all(b"new").unwrap();
        file.finish().unwrap();
        assert_eq!(reading.join().unwrap(), "new");
        assert!(pipe.symlink_metadata().unwrap().file_type().is_fifo());
        assert!(WholeFile::create(dir.path()).is_err());
    }

    #[test]
    #[cfg(unix)]
    fn permissions_are_those_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let mode = |name: &str| dir.path().join(name).metadata().unwrap().permissions().mode();
        std::fs::write(dir.path().join("any"), "").unwrap();
        WholeFile::create(&dir.path().join("out")).unwrap().finish().unwrap();
        assert_eq!(mode("out"), mode("any"));
    }
}
