//! Sources of ADD that are not files of a context: addresses and git repositories.
//!
//! What counts as git is BuildKit's rule: `ssh://`, `git://` and `user@host:path` always, `http(s)://` if the path
//! ends in `.git`.

use super::unix_path;
use crate::dockerfile::fields::boolean;

/// What a source of COPY or ADD names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// A path.
    Local,
    /// An `http://` or `https://` address.
    Url,
    Git(GitSource),
}

/// A git repository as a source names it, with its fragment `#ref:dir` and its query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GitSource {
    /// What `git` fetches from.
    pub repository: String,
    /// A branch, a tag or a commit; the repository's default if `None`.
    pub reference: Option<String>,
    /// The directory in it that is copied.
    pub directory: Option<String>,
    /// The commit it must be.
    pub checksum: Option<String>,
    pub keep_git_dir: Option<bool>,
    pub submodules: Option<bool>,
}

/// Tells what a source is. The error is a git address whose query cannot be followed.
pub fn classify(source: &str) -> Result<Remote, String> {
    let scheme = scheme(source);
    let http = matches!(scheme.as_deref(), Some("http" | "https"));
    let address = match scheme.as_deref() {
        Some("http" | "https" | "ssh" | "git") => {
            Address::of_url(source).filter(|it| !http || it.path.ends_with(".git"))
        }
        Some(_) => None,
        None => Address::of_scp(source),
    };
    if let Some(address) = address {
        return address.git().map(Remote::Git);
    }
    Ok(match source.starts_with("http://") || source.starts_with("https://") {
        true => Remote::Url,
        false => Remote::Local,
    })
}

/// An address as it may be shown, and as an image or the store may have it: without the user's name and password.
pub fn without_secret(address: &str) -> String {
    let hidden = || {
        let (scheme, rest) = address.split_once("://")?;
        let end = rest.find('/').unwrap_or(rest.len());
        let (user, _) = rest[..end].rsplit_once('@')?;
        let password = if user.contains(':') { ":xxxxx" } else { "" };
        let name = if user.starts_with(':') || user.is_empty() { "" } else { "xxxxx" };
        Some(format!("{scheme}://{name}{password}{}", &rest[user.len()..]))
    };
    hidden().unwrap_or_else(|| address.to_owned())
}

/// The name of a file that is added by its address: the last part of the address' path.
pub fn file_name(address: &str) -> String {
    let path = Address::of_url(address).map(|it| it.path).unwrap_or_default();
    match unix_path::base(&path) {
        "." | ".." | "/" => "__unnamed__".to_owned(),
        name => name.to_owned(),
    }
}

/// The scheme before `://`, lower case.
fn scheme(source: &str) -> Option<String> {
    let (scheme, _) = source.split_once("://")?;
    let fits = !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric());
    fits.then(|| scheme.to_ascii_lowercase())
}

/// An address split at `?` and `#`.
struct Address<'a> {
    /// Everything before the query and the fragment.
    remote: &'a str,
    path: String,
    query: &'a str,
    fragment: String,
}

impl<'a> Address<'a> {
    fn of_url(source: &'a str) -> Option<Address<'a>> {
        if source.contains(|c: char| c.is_ascii_control()) {
            return None;
        }
        let (rest, fragment) = source.split_once('#').unwrap_or((source, ""));
        let (remote, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (_, after) = remote.split_once("://")?;
        let path = after.find('/').map_or("", |at| &after[at..]);
        if after.split('/').next().is_some_and(|host| host.contains(' ')) {
            return None;
        }
        Some(Address { remote, path: decode(path)?, query, fragment: decode(fragment)? })
    }

    /// `user@host:path`, as `scp` has it.
    fn of_scp(source: &'a str) -> Option<Address<'a>> {
        let (user, rest) = source.split_once('@')?;
        let (host, after) = rest.split_once(':')?;
        let word = |text: &str, more: &[u8]| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || more.contains(&b))
        };
        if !word(user, b"_") || !word(host, b".") || source.contains('\n') {
            return None;
        }
        let (rest, fragment) = after.split_once('#').unwrap_or((after, ""));
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let end = source.len() - after.len() + path.len();
        Some(Address { remote: source.get(..end)?, path: path.to_owned(), query, fragment: fragment.to_owned() })
    }

    fn git(&self) -> Result<GitSource, String> {
        let (reference, directory) = self.fragment.split_once(':').unwrap_or((&self.fragment, ""));
        let directory = unix_path::join("/", directory);
        let mut out = GitSource {
            repository: self.remote.to_owned(),
            reference: some(reference),
            directory: some(directory.trim_start_matches('/')),
            ..GitSource::default()
        };
        let mut seen: Vec<String> = Vec::new();
        let (mut tag, mut branch) = (None, None);
        for pair in self.query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(name), Some(value)) = (decode_query(name), decode_query(value)) else { continue };
            if seen.contains(&name) {
                return Err(format!("{name} is given twice in the address"));
            }
            let flag = || match value.as_str() {
                "" => Ok(true),
                value => boolean(value).ok_or_else(|| format!("{name}={value} in the address is not true or false")),
            };
            match name.as_str() {
                "keep-git-dir" => out.keep_git_dir = Some(flag()?),
                "submodules" => out.submodules = Some(flag()?),
                "fetch-by-commit" => {
                    flag()?;
                }
                "ref" | "tag" | "branch" | "subdir" | "checksum" | "commit" | "mtime" if value.is_empty() => {
                    return Err(format!("{name} in the address has no value"));
                }
                "ref" => out.reference = agreed("ref", out.reference.take(), value)?,
                "subdir" => out.directory = agreed("subdir", out.directory.take(), value)?,
                "tag" => tag = Some(full_name(&value, "refs/tags/")),
                "branch" => branch = Some(full_name(&value, "refs/heads/")),
                "checksum" | "commit" => out.checksum = Some(value),
                "mtime" if value == "checkout" || value == "commit" => {}
                "mtime" => return Err(format!("mtime={value} in the address is neither checkout nor commit")),
                _ => return Err(format!("{name} in the address is not known for git")),
            }
            seen.push(name);
        }
        if tag.is_some() && branch.is_some() {
            return Err("the address names both a tag and a branch".to_owned());
        }
        for name in tag.into_iter().chain(branch) {
            out.reference = agreed("ref", out.reference.take(), name)?;
        }
        Ok(out)
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn agreed(what: &str, earlier: Option<String>, value: String) -> Result<Option<String>, String> {
    match earlier {
        Some(earlier) if earlier != value => Err(format!("the address gives {what} twice: {earlier} and {value}")),
        _ => Ok(Some(value)),
    }
}

fn full_name(name: &str, prefix: &str) -> String {
    if name.starts_with(prefix) { name.to_owned() } else { format!("{prefix}{name}") }
}

fn decode_query(text: &str) -> Option<String> {
    decode(&text.replace('+', " "))
}

/// Resolves `%xx`. `None` if there is a `%` without two digits.
fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let (high, low) = (char::from(bytes.next()?).to_digit(16)?, char::from(bytes.next()?).to_digit(16)?);
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(source: &str) -> String {
        match classify(source) {
            Err(error) => format!("error: {error}"),
            Ok(Remote::Local) => "local".to_owned(),
            Ok(Remote::Url) => "url".to_owned(),
            Ok(Remote::Git(git)) => {
                let mut out = format!("git {}", git.repository);
                let parts = [("ref", git.reference), ("dir", git.directory), ("checksum", git.checksum)];
                for (name, value) in parts {
                    out.extend(value.map(|value| format!(" {name}={value}")));
                }
                out.extend(git.keep_git_dir.map(|it| format!(" keep={it}")));
                out.extend(git.submodules.map(|it| format!(" submodules={it}")));
                out
            }
        }
    }

    #[track_caller]
    fn check(source: &str, expected: &str) {
        assert_eq!(shown(source), expected, "{source}");
    }

    #[test]
    fn kinds() {
        check("src", "local");
        check("./x@y:z", "local");
        check("github.com/moby/buildkit", "local");
        check("ftp://host/x.git", "local");
        check("http://host/x.tar", "url");
        check("https://host/x.git?y#z", "error: y in the address is not known for git");
        check("https://host/x.git", "git https://host/x.git");
        check("HTTPS://host/x.git", "git HTTPS://host/x.git");
        check("git://host/x", "git git://host/x");
        check("ssh://git@host/x", "git ssh://git@host/x");
        check("git@host:moby/buildkit", "git git@host:moby/buildkit");
        check("https://host/x.git#v1:sub/dir", "git https://host/x.git ref=v1 dir=sub/dir");
        check("git@host:x.git#:../d", "git git@host:x.git dir=d");
        check("https://host/x.git?tag=v1&keep-git-dir", "git https://host/x.git ref=refs/tags/v1 keep=true");
        check("https://host/x.git?branch=b&submodules=0", "git https://host/x.git ref=refs/heads/b submodules=false");
        check("https://host/x.git?ref=a#b", "error: the address gives ref twice: b and a");
        check("https://host/x.git?tag=a&branch=b", "error: the address names both a tag and a branch");
        check("https://host/x.git?ref=", "error: ref in the address has no value");
        check("https://host/%zz.git", "url");
    }

    #[test]
    fn no_password_is_shown() {
        let check = |address: &str, expected: &str| assert_eq!(without_secret(address), expected);
        check("https://me:secret@host/a.git", "https://xxxxx:xxxxx@host/a.git");
        check("https://me:s@cret@host/a@b:c.git", "https://xxxxx:xxxxx@host/a@b:c.git");
        check("https://token@host/a.git", "https://xxxxx@host/a.git");
        check("https://:secret@host/a.git", "https://:xxxxx@host/a.git");
        check("git://host/a:b@c.git", "git://host/a:b@c.git");
        check("git@host:a.git", "git@host:a.git");
    }

    #[test]
    fn names_of_files() {
        let check = |address: &str, expected: &str| assert_eq!(file_name(address), expected, "{address}");
        check("http://host/a/b.tar.gz?x=/y#z", "b.tar.gz");
        check("http://host/a/", "a");
        check("http://host/v1.0%2Bb.tar.gz", "v1.0+b.tar.gz");
        check("http://host/a%2fb%3fc", "b?c");
        check("http://host/a+b", "a+b");
        for unnamed in ["http://host", "http://host/", "http://host/?x", "http://host/a/..", "http://host/50%"] {
            check(unnamed, "__unnamed__");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_source_is_answered(source in "(https://|git@|ssh://|)[a-z@:/.#?&=%+-]{0,40}") {
            let _ = classify(&source);
        }
    }
}
