//! The best shell of an image, for whoever wants to look around in it.

use super::mounting::open_in_root;
use super::users::ResolvedUser;
use crate::engine::shells::SHELLS;
use crate::image::host::TOOLBOX;
use rustix::fs::{FileType, OFlags};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// Bytes of /etc/passwd that are looked at.
const PASSWD: u64 = 1 << 20;

/// The user's own shell, or the best of the others.
pub(super) fn of_image(root: BorrowedFd<'_>, user: &ResolvedUser) -> Option<String> {
    let own = own_shell(root, user).filter(|path| !["nologin", "false", "true"].iter().any(|it| path.ends_with(it)));
    let own = own.filter(|path| path.starts_with('/'));
    own.into_iter().chain(SHELLS.map(str::to_owned)).find(|path| is_program(root, path))
}

/// The shell of a directory of host tools, where it will be mounted.
pub(super) fn of_toolbox(directory: &Path) -> String {
    let has = |name: &str| directory.join("bin").join(name).exists();
    let name = if has("bash") && !has("busybox") { "bash" } else { "sh" };
    format!("{TOOLBOX}/bin/{name}")
}

fn own_shell(root: BorrowedFd<'_>, user: &ResolvedUser) -> Option<String> {
    let file = open_in_root(root, "etc/passwd", OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).ok()?;
    let mut text = Vec::new();
    std::fs::File::from(file).take(PASSWD).read_to_end(&mut text).ok()?;
    shell_in(&String::from_utf8_lossy(&text), user)
}

/// The last field of the user's line.
fn shell_in(passwd: &str, user: &ResolvedUser) -> Option<String> {
    let line = passwd.lines().find(|line| {
        let mut fields = line.split(':');
        let name = fields.next().unwrap_or_default();
        let uid = fields.nth(1).and_then(|uid| uid.parse().ok());
        uid == Some(user.uid) && (user.name.is_empty() || name == user.name)
    })?;
    line.split(':').nth(6).map(|shell| shell.trim().to_owned())
}

/// Whether there is a file that anybody may execute.
fn is_program(root: BorrowedFd<'_>, path: &str) -> bool {
    let Ok(file) = open_in_root(root, path, OFlags::PATH) else { return false };
    rustix::fs::fstat(file.as_fd()).is_ok_and(|status| {
        FileType::from_raw_mode(status.st_mode) == FileType::RegularFile && status.st_mode & 0o111 != 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_shell_is_the_last_field_of_their_line() {
        let check = |passwd: &str, uid: u32, expected: Option<&str>| {
            let user = ResolvedUser { uid, gid: 0, groups: Vec::new(), home: String::new(), name: String::new() };
            assert_eq!(shell_in(passwd, &user).as_deref(), expected, "{passwd:?}");
        };
        check("root:x:0:0:root:/root:/bin/bash\n", 0, Some("/bin/bash"));
        check("root:x:0:0:root:/root:/bin/bash\n", 1, None);
        check("a:x:1:1::/:/bin/ash\r\n", 1, Some("/bin/ash"));
        check("a:x:1:1\n:::::::\n", 1, None);
        check("", 0, None);
    }
}
