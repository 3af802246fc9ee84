//! Users and groups of an image, read as text from its own `/etc/passwd` and `/etc/group`.
//!
//! Nothing here asks the machine's name services or loads code from the image (CVE-2019-14271).

use super::task::TaskError;
use crate::snapshot::rooted::Root;
use crate::snapshot::tree_writer::UNCHANGED;
use bstr::{BStr, ByteSlice};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

/// Bytes of `/etc/passwd` or `/etc/group`; BuildKit's bound.
const MAX_FILE: u64 = 10 << 20;

/// Whom a process runs as.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ResolvedUser {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups; the primary one is among them.
    pub groups: Vec<u32>,
    /// `/` for somebody without an entry; may be empty.
    pub home: String,
    /// Empty for somebody without an entry.
    pub name: String,
}

/// What USER says: `name`, `uid`, `name:group`, `uid:gid`; empty is root.
///
/// A number needs no entry, a name does. Supplementary groups count only when no group is given.
pub fn resolve(root: BorrowedFd<'_>, user: &str) -> Result<ResolvedUser, TaskError> {
    let (user_part, group_part) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|it| !it.is_empty())),
        None => (user, None),
    };
    let user_part = if user_part.is_empty() { "0" } else { user_part };
    // Of two numbers BuildKit looks neither up; `root` is one only there.
    let known = |text: &str| if text == "root" { Some(0) } else { number(text) };
    if let Some((uid, gid)) = known(user_part).zip(group_part.and_then(known)) {
        let (uid, gid) = (in_range("user", uid)?, in_range("group", gid)?);
        return Ok(Users::read(root).unwrap_or_default().resolved(uid, gid, vec![gid]));
    }
    let users = Users::read(root)?;
    let user_number = number(user_part).map(|uid| in_range("user", uid)).transpose()?;
    let entry = match user_number {
        Some(uid) => users.entries().find(|it| it.uid == uid),
        None => users.entries().find(|it| it.name == user_part),
    };
    let (uid, mut gid) = match (&entry, user_number) {
        (Some(entry), _) => (entry.uid, entry.gid),
        (None, Some(uid)) => (uid, 0),
        (None, None) => return Err(unknown("user", user_part, "/etc/passwd")),
    };
    let mut groups = Vec::new();
    match group_part {
        Some(name) => {
            let given = number(name).map(|gid| in_range("group", gid)).transpose()?;
            let by_name = || users.groups().find(|it| it.name == name).map(|it| it.gid);
            gid = given.or_else(by_name).ok_or_else(|| unknown("group", name, "/etc/group"))?;
        }
        None => {
            if let Some(entry) = &entry {
                groups.extend(users.groups().filter(|it| it.has(entry.name)).map(|it| it.gid));
            }
        }
    }
    if !groups.contains(&gid) {
        groups.insert(0, gid);
    }
    in_range("user", uid.into())?;
    for gid in &groups {
        in_range("group", (*gid).into())?;
    }
    Ok(users.resolved(uid, gid, groups))
}

/// An owner of new files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
    /// What the user should know, in sentences.
    pub notices: Vec<String>,
}

/// The owner that `--chown` or WORKDIR's user names, as BuildKit reads it: a number alone is also the group, a name
/// alone brings its own group. A name without an entry counts as root, but is an error while the stage is still
/// empty. `origin` is for messages.
pub fn owner(root: BorrowedFd<'_>, origin: &str, spec: &str) -> Result<Owner, TaskError> {
    let (user, group) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (spec, None),
    };
    let mut owner = Owner { uid: 0, gid: 0, notices: Vec::new() };
    if let Some(uid) = owner_number(user)
        && let Some(gid) = group.map_or(Some(uid), owner_number)
    {
        return Ok(Owner { uid, gid, ..owner });
    }
    if is_empty(root)? {
        return Err(TaskError::input(format!(
            "{origin} {spec}: there is no /etc/passwd to look up a name in, nor anything else yet"
        ))
        .with_help("give numbers"));
    }
    let users = Users::read(root)?;
    let mut unknown = Vec::new();
    match owner_number(user) {
        Some(uid) => (owner.uid, owner.gid) = (uid, uid),
        None => match users.entries().find(|it| it.name == user) {
            Some(entry) => (owner.uid, owner.gid) = (entry.uid, entry.gid),
            None => unknown.push(user),
        },
    }
    if let Some(group) = group {
        match owner_number(group) {
            Some(gid) => owner.gid = gid,
            None => match users.groups().find(|it| it.name == group) {
                Some(entry) => owner.gid = entry.gid,
                None => unknown.push(group),
            },
        }
    }
    let sentence = |name: &str| format!("{origin} {spec}: this stage knows no {name:?}; root is taken, as Docker does");
    owner.notices = unknown.into_iter().map(sentence).collect();
    Ok(owner)
}

fn is_empty(root: BorrowedFd<'_>) -> Result<bool, TaskError> {
    let root = open(root)?;
    let names = root.dir(BStr::new("")).and_then(|dir| crate::snapshot::scan::names(dir.as_fd()));
    names.map(|names| names.is_empty()).map_err(|error| TaskError::engine(format!("the file system's root: {error}")))
}

fn open(root: BorrowedFd<'_>) -> Result<Root, TaskError> {
    Root::of(root).map_err(|error| TaskError::engine(format!("the file system's root: {error}")))
}

fn number(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// The kernel has more ids, but neither BuildKit nor what starts its containers takes them.
fn in_range(kind: &str, id: i64) -> Result<u32, TaskError> {
    match i32::try_from(id).ok().and_then(|id| u32::try_from(id).ok()) {
        Some(id) => Ok(id),
        None => Err(TaskError::input(format!("there can be no {kind} {id}: ids go from 0 to {}", i32::MAX))),
    }
}

/// A number of `--chown`, whose sign BuildKit drops: -1 is [`UNCHANGED`]. What is left out around the colon is 0.
fn owner_number(text: &str) -> Option<u32> {
    match text {
        "" | "root" => Some(0),
        text => text.parse::<i32>().ok().map(|id| id as u32),
    }
}

fn unknown(kind: &str, name: &str, file: &str) -> TaskError {
    TaskError::input(format!("there is no {kind} {name:?} in {file} of this stage"))
        .with_help(format!("create the {kind} with RUN before this line, or give a number, which needs no entry"))
}

#[derive(Default)]
struct Users {
    passwd: Vec<u8>,
    group: Vec<u8>,
}

struct UserEntry<'a> {
    name: &'a BStr,
    uid: u32,
    gid: u32,
    home: &'a BStr,
}

struct GroupEntry<'a> {
    name: &'a BStr,
    gid: u32,
    members: &'a BStr,
}

impl GroupEntry<'_> {
    fn has(&self, user: &BStr) -> bool {
        self.members.split_str(",").any(|it| it == user.as_bytes())
    }
}

impl Users {
    fn read(root: BorrowedFd<'_>) -> Result<Users, TaskError> {
        let root = open(root)?;
        Ok(Users { passwd: read_text(&root, "etc/passwd")?, group: read_text(&root, "etc/group")? })
    }

    /// Name and home are those of the first entry with the id.
    fn resolved(&self, uid: u32, gid: u32, groups: Vec<u32>) -> ResolvedUser {
        let entry = self.entries().find(|it| it.uid == uid);
        let (name, home) =
            entry.map_or((String::new(), "/".to_owned()), |it| (it.name.to_string(), it.home.to_string()));
        ResolvedUser { uid, gid, groups, home, name }
    }

    fn entries(&self) -> impl Iterator<Item = UserEntry<'_>> {
        lines(&self.passwd).map(|line| {
            let mut fields = line.split_str(":").map(BStr::new);
            UserEntry {
                name: fields.next().unwrap_or_default(),
                uid: id(fields.nth(1)),
                gid: id(fields.next()),
                home: fields.nth(1).unwrap_or_default(),
            }
        })
    }

    fn groups(&self) -> impl Iterator<Item = GroupEntry<'_>> {
        lines(&self.group).filter(|line| !line.starts_with(b"#")).map(|line| {
            let mut fields = line.split_str(":").map(BStr::new);
            GroupEntry {
                name: fields.next().unwrap_or_default(),
                gid: id(fields.nth(1)),
                members: fields.next().unwrap_or_default(),
            }
        })
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &BStr> {
    text.lines().map(|line| BStr::new(line.trim())).filter(|line| !line.is_empty())
}

/// As the official reader has it: text that is no number counts as 0, and a number that no id can have as [`UNCHANGED`].
fn id(field: Option<&BStr>) -> u32 {
    let number = field.and_then(|it| it.to_str().ok()).and_then(number).unwrap_or(0);
    in_range("", number).unwrap_or(UNCHANGED)
}

fn read_text(root: &Root, path: &str) -> Result<Vec<u8>, TaskError> {
    let failed = |error: io::Error| TaskError::input(format!("cannot read /{path} of this stage: {error}"));
    let found = match root.resolve(path.into(), true) {
        Ok(found) if found.exists => found,
        Ok(_) => return Ok(Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut text = Vec::new();
    let file = root.file(found.path.as_bstr()).map_err(failed)?;
    file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_FILE {
        return Err(TaskError::input(format!("/{path} of this stage is larger than {MAX_FILE} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh

daemon:x:1:1::/usr/sbin:/usr/sbin/nologin
app:x:1000:1001:An App:/home/app:/bin/sh
# a comment
twin:x:1000:7::/twin:/bin/sh
12:x:500:501::/twelve:
broken:x:abc
far:x:4294967294:4294967293::/far:
";
    const GROUP: &str = "root:x:0:\nadm:x:4:daemon,app\nwheel:x:10:root\napp:x:1001:\nvideo:x:44:app,twin\n#note:x:6:\nfar:x:4294967294:\n";

    fn image(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join("etc").join(name), text).unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    #[track_caller]
    fn check(user: &str, expected: Result<(u32, u32, &[u32], &str, &str), &str>) {
        let (_dir, root) = image(&[("passwd", PASSWD), ("group", GROUP)]);
        match (resolve(root.as_fd(), user), expected) {
            (Ok(found), Ok((uid, gid, groups, home, name))) => assert_eq!(
                found,
                ResolvedUser { uid, gid, groups: groups.to_vec(), home: home.into(), name: name.into() },
                "{user}"
            ),
            (Err(error), Err(part)) => assert!(error.input && error.message.contains(part), "{error}"),
            (found, expected) => panic!("{user}: {found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn names_bring_their_groups() {
        check("", Ok((0, 0, &[0, 10], "/root", "root")));
        check("root", Ok((0, 0, &[0, 10], "/root", "root")));
        check("app", Ok((1000, 1001, &[1001, 4, 44], "/home/app", "app")));
        check("twin", Ok((1000, 7, &[7, 44], "/home/app", "app")));
    }

    #[test]
    fn a_group_given_is_the_only_one() {
        check("app:adm", Ok((1000, 4, &[4], "/home/app", "app")));
        check("app:77", Ok((1000, 77, &[77], "/home/app", "app")));
        check("1000:4", Ok((1000, 4, &[4], "/home/app", "app")));
        check("app:", Ok((1000, 1001, &[1001, 4, 44], "/home/app", "app")));
    }

    #[test]
    fn numbers_need_no_entry() {
        check("4242", Ok((4242, 0, &[0], "/", "")));
        check("4242:99", Ok((4242, 99, &[99], "/", "")));
        check("1000", Ok((1000, 1001, &[1001, 4, 44], "/home/app", "app")));
        check("12", Ok((12, 0, &[0], "/", "")));
        check("+5", Ok((5, 0, &[0], "/", "")));
        check("2147483647", Ok((2147483647, 0, &[0], "/", "")));
        check("2147483647:2147483647", Ok((2147483647, 2147483647, &[2147483647], "/", "")));
    }

    #[test]
    fn unknown_names_say_so() {
        check("nobody", Err("no user \"nobody\" in /etc/passwd"));
        check("app:nogroup", Err("no group \"nogroup\" in /etc/group"));
        check("app:adm:x", Err("no group \"adm:x\""));
        check("app:#note", Err("no group"));
        check("+", Err("no user"));
    }

    #[test]
    fn numbers_that_no_id_can_have_are_refused() {
        for user in ["-1", "2147483648", "4294967296:5", "far"] {
            check(user, Err("there can be no user"));
        }
        for user in ["app:-1", "5:2147483648", "app:far"] {
            check(user, Err("there can be no group"));
        }
    }

    #[test]
    fn an_image_without_files_knows_only_root() {
        let (_dir, root) = image(&[]);
        assert_eq!(resolve(root.as_fd(), "").unwrap().groups, [0]);
        assert_eq!(resolve(root.as_fd(), "root:root").unwrap().uid, 0);
        assert_eq!(resolve(root.as_fd(), "5").unwrap().uid, 5);
        assert_eq!(resolve(root.as_fd(), "5").unwrap().home, "/");
        assert!(resolve(root.as_fd(), "root").is_err());
        assert!(resolve(root.as_fd(), "app").is_err());
    }

    #[test]
    fn links_lead_nowhere_outside() {
        let (dir, root) = image(&[("group", GROUP)]);
        std::os::unix::fs::symlink("/etc/group", dir.path().join("etc/passwd")).unwrap();
        assert!(resolve(root.as_fd(), "nobody").is_err());
        std::fs::remove_file(dir.path().join("etc/passwd")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join("etc/passwd"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        assert!(resolve(root.as_fd(), "app").unwrap_err().message.contains("not a regular file"));
    }

    #[track_caller]
    fn check_owner(spec: &str, expected: (u32, u32), unknown: &[&str]) {
        let (_dir, root) = image(&[("passwd", PASSWD), ("group", GROUP)]);
        let found = owner(root.as_fd(), "--chown", spec).unwrap();
        assert_eq!((found.uid, found.gid), expected, "{spec}");
        let notices: Vec<String> = unknown
            .iter()
            .map(|it| format!("--chown {spec}: this stage knows no {it:?}; root is taken, as Docker does"))
            .collect();
        assert_eq!(found.notices, notices, "{spec}");
    }

    #[test]
    fn owners_are_read_as_buildkit_does() {
        check_owner("1000", (1000, 1000), &[]);
        check_owner("55:66", (55, 66), &[]);
        check_owner("app", (1000, 1001), &[]);
        check_owner("app:adm", (1000, 4), &[]);
        check_owner("55:adm", (55, 4), &[]);
        check_owner("app:3", (1000, 3), &[]);
        check_owner("root:root", (0, 0), &[]);
        check_owner("5:", (5, 0), &[]);
        check_owner(":5", (0, 5), &[]);
        check_owner("app:", (1000, 0), &[]);
        check_owner(":", (0, 0), &[]);
        check_owner(":adm", (0, 4), &[]);
        check_owner("-1", (u32::MAX, u32::MAX), &[]);
        check_owner("-2:5", (u32::MAX - 1, 5), &[]);
        check_owner("far:far", (u32::MAX, u32::MAX), &[]);
        check_owner("4000000000", (0, 0), &["4000000000"]);
        check_owner("ghost", (0, 0), &["ghost"]);
        check_owner("ghost:phantom", (0, 0), &["ghost", "phantom"]);
        check_owner("app:phantom", (1000, 1001), &["phantom"]);
        let empty = tempfile::tempdir().unwrap();
        let root = Root::open(empty.path()).unwrap();
        assert_eq!(owner(root.as_fd(), "--chown", "5:root").unwrap().uid, 5);
        assert!(owner(root.as_fd(), "--chown", "app").unwrap_err().input);
    }
}
