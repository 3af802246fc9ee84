//! Which of an image's shells is for people, and how it is called; the same whatever engine looks for it.

/// Shells for people first.
pub(super) const SHELLS: [&str; 9] = [
    "/bin/bash",
    "/usr/bin/bash",
    "/usr/local/bin/bash",
    "/bin/sh",
    "/usr/bin/sh",
    "/bin/ash",
    "/bin/dash",
    "/busybox/sh",
    "/bin/busybox",
];

/// How to call it.
pub(super) fn argv(shell: &str) -> Vec<String> {
    match shell.ends_with("/busybox") {
        true => vec![shell.to_owned(), "sh".to_owned()],
        false => vec![shell.to_owned()],
    }
}
