//! Paths of the image's file system as text: cleaned and joined without looking at any file.
//!
//! The rules are those of Go's `path`, which is what BuildKit's front end uses.

/// The shortest path that means the same: no `.`, no empty parts, `..` resolved as far as it can be. Never empty.
pub fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if absolute => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// Both, one after the other, cleaned. An absolute `path` is taken as relative.
pub fn join(parent: &str, path: &str) -> String {
    clean(&format!("{parent}/{path}"))
}

/// The last part of a path; `.` of an empty one, `/` of the root.
pub fn base(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit('/').next() {
        _ if path.is_empty() => ".",
        Some(last) if !last.is_empty() => last,
        _ => "/",
    }
}

/// Where WORKDIR leads from `current`. An absolute path is kept as it is written.
pub fn workdir(current: &str, path: &str) -> String {
    let current = if current.starts_with('/') { current.to_owned() } else { join("/", current) };
    match path {
        "" => current,
        path if path.starts_with('/') => path.to_owned(),
        path => join(&current, path),
    }
}

/// Where COPY and ADD put their files: absolute and cleaned, with a `/` at its end if it must be a directory.
pub fn destination(cwd: &str, dest: &str) -> String {
    let directory = dest.is_empty() || dest == "." || dest.ends_with('/') || dest.ends_with("/.");
    let mut out = if dest.starts_with('/') { clean(dest) } else { join(&join("/", cwd), dest) };
    if directory && !out.ends_with('/') {
        out.push('/');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning() {
        for (path, expected) in [
            ("", "."),
            (".", "."),
            ("/", "/"),
            ("a//b/./c/", "a/b/c"),
            ("/a/../../b", "/b"),
            ("../a/..", ".."),
            ("a/../..", ".."),
            ("/..", "/"),
        ] {
            assert_eq!(clean(path), expected, "{path}");
        }
    }

    #[test]
    fn last_parts() {
        for (path, expected) in [("", "."), ("/", "/"), ("a", "a"), ("a/b/", "b"), ("/a", "a")] {
            assert_eq!(base(path), expected, "{path}");
        }
    }

    #[test]
    fn destinations() {
        for (dest, expected) in [
            ("x", "/w/x"),
            ("x/", "/w/x/"),
            ("x/.", "/w/x/"),
            (".", "/w/"),
            ("", "/w/"),
            ("./", "/w/"),
            ("..", "/"),
            ("/", "/"),
            ("/a//b/", "/a/b/"),
            ("/a/../b", "/b"),
        ] {
            assert_eq!(destination("/w", dest), expected, "{dest}");
        }
        assert_eq!(destination("/", "."), "/");
    }

    #[test]
    fn working_directories() {
        for (path, expected) in [("b", "/a/b"), ("/c/", "/c/"), ("", "/a"), ("..", "/"), ("../../x", "/x")] {
            assert_eq!(workdir("/a", path), expected, "{path}");
        }
        assert_eq!(workdir("", "x"), "/x");
        assert_eq!(workdir("rel", "x"), "/rel/x");
    }

    proptest::proptest! {
        #[test]
        fn cleaning_twice_is_cleaning_once(path in "[a./]{0,12}") {
            assert_eq!(clean(&clean(&path)), clean(&path));
        }

        #[test]
        fn destinations_stay_inside(cwd in "/[a./]{0,8}", dest in "[a./]{0,8}") {
            let out = destination(&cwd, &dest);
            assert!(out.starts_with('/') && !out.split('/').any(|part| part == ".."), "{out}");
        }
    }
}
