//! WORKDIR: makes a directory, with those above it that are missing.

use super::task::TaskError;
use super::users;
use crate::snapshot::rooted::{Root, clean};
use crate::snapshot::tree_writer::{Attributes, NO_TIME, TreeWriter, UNCHANGED};
use bstr::{BStr, ByteSlice};
use std::os::fd::BorrowedFd;

/// Makes `path` in the file system `root`. New directories have mode 0755 and belong to `user`, as USER says it; a
/// name without an entry counts as root, as in BuildKit. Symbolic links are followed inside the root. Answers with
/// what the user should know.
pub fn workdir(root: BorrowedFd<'_>, path: &str, user: &str) -> Result<Vec<String>, TaskError> {
    let mut notices = Vec::new();
    let (uid, gid) = match user {
        "" => (UNCHANGED, UNCHANGED),
        user => {
            let owner = users::owner(root, "USER", user)?;
            notices = owner.notices;
            (owner.uid, owner.gid)
        }
    };
    let implied = Attributes { mode: 0o755, uid, gid, mtime: NO_TIME };
    let root = Root::of(root).map_err(|error| TaskError::engine(format!("the file system's root: {error}")))?;
    let mut writer = TreeWriter::new(root, implied);
    writer.make_dirs(clean(BStr::new(path)).as_bstr()).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOTDIR) => {
            TaskError::input(format!("WORKDIR {path}: something on the way is there and no directory"))
        }
        Some(libc::ELOOP) => TaskError::input(format!("WORKDIR {path}: {error}")),
        _ => TaskError::engine(format!("WORKDIR {path}: {error}")),
    })?;
    notices.extend(writer.finish()?);
    Ok(notices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::fixture::{self, build, list};
    use std::os::fd::AsFd;

    #[track_caller]
    fn check(path: &str, user: &str, before: &[&str], after: Result<&[&str], &str>) {
        let dir = fixture::dir();
        build(dir.path(), before);
        let root = Root::open(dir.path()).unwrap();
        match (workdir(root.as_fd(), path, user), after) {
            (Ok(_), Ok(lines)) => assert_eq!(list(dir.path(), lines.iter().any(|it| it.contains('~'))), lines),
            (Err(error), Err(part)) => assert!(error.input && error.message.contains(part), "{error}"),
            (found, expected) => panic!("{found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn what_is_missing_is_made() {
        check("/a/b", "", &[], Ok(&["dir 755 a ~315619200", "dir 755 a/b ~315619200"]));
        check("/a/b", "", &["dir 700 a ~5"], Ok(&["dir 700 a ~5", "dir 755 a/b ~315619200"]));
        check("/a", "", &["dir 700 a ~5"], Ok(&["dir 700 a ~5"]));
        check("/", "", &[], Ok(&[]));
    }

    #[test]
    fn links_stay_inside() {
        check(
            "/l/b",
            "",
            &["link 777 l ->/real/far"],
            Ok(&["link 777 l ->/real/far", "dir 755 real", "dir 755 real/far", "dir 755 real/far/b"]),
        );
        check("/l/b", "", &["link 777 l ->../../x"], Ok(&["link 777 l ->../../x", "dir 755 x", "dir 755 x/b"]));
        check("/l", "", &["link 777 l ->l"], Err("WORKDIR /l"));
        check("/f/x", "", &["file 644 f"], Err("no directory"));
        check("/f", "", &["file 644 f"], Err("no directory"));
    }

    #[test]
    fn new_directories_belong_to_the_user() {
        if !fixture::is_root() {
            return;
        }
        let passwd = &["dir 755 etc", "file 644 etc/passwd app:x:7:8::/:"];
        let after = |owner: &str| {
            let mut lines: Vec<String> = passwd.iter().map(|it| (*it).to_owned()).collect();
            lines.extend([format!("dir 755 w{owner}"), format!("dir 755 w/x{owner}")]);
            lines
        };
        check("/w", "app", &[], Err("USER app: there is no /etc/passwd"));
        let set = "dir 2775 g @0:50";
        check("/g/x/y", "", &[set], Ok(&[set, "dir 2755 g/x @0:50", "dir 2755 g/x/y @0:50"]));
        check("/g/x", "5", &[set], Ok(&[set, "dir 2755 g/x @5:5"]));
        for (user, owner) in [("app", " @7:8"), ("5", " @5:5"), ("5:6", " @5:6"), ("ghost", ""), ("", "")] {
            let lines = after(owner);
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            check("/w/x", user, passwd, Ok(&lines));
        }
    }
}
