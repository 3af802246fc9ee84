//! Lowers COPY and ADD.

use super::remote::{self, Remote};
use super::scope::Scope;
use super::{Copy, CopySource, FileOrigin, unix_path};
use crate::dockerfile::command::{AddCommand, CopyCommand, Fault, SourcesAndDest};
use crate::dockerfile::expand::Lex;
use crate::dockerfile::lex::lossy;
use crate::names;

/// A COPY or ADD that is understood.
pub(super) struct Lowered {
    pub copy: Copy,
    pub inputs: Vec<FileOrigin>,
    pub history: String,
}

/// `from` is what `--from` names; the build context if `None`.
pub(super) fn copy(command: &CopyCommand, from: Option<&FileOrigin>, scope: &Scope) -> Result<Lowered, Fault> {
    let (chown, chmod) = owner_and_mode(command.chown.as_deref(), command.chmod.as_deref(), scope)?;
    let words = words(&command.files, scope)?;
    for path in &words.paths {
        let what = match remote::classify(path) {
            Ok(Remote::Local) => continue,
            Ok(Remote::Url) => "an address",
            Ok(Remote::Git(_)) | Err(_) => "a git repository",
        };
        let message = format!("COPY takes files, and {path} is {what}");
        return Err(Fault::new("copy-source", message, path).help("ADD takes it"));
    }
    let flags = Flags { parents: command.parents, chown: chown.as_deref(), chmod: chmod.as_deref() };
    let history = history("COPY", &flags, &words);
    let paths: Vec<CopySource> = words.paths.into_iter().map(local).collect();
    let reads = !paths.is_empty() || from.is_some();
    let origin = from.cloned().unwrap_or(FileOrigin::Context { name: None });
    let copy = Copy {
        add: false,
        sources: paths.into_iter().chain(words.inline).collect(),
        dest: unix_path::destination(&scope.cwd, &words.dest),
        chown,
        chmod,
        link: command.link,
        parents: command.parents,
        exclude: command.exclude.clone(),
        unpack: None,
        checksum: None,
        keep_git_dir: false,
    };
    Ok(Lowered { copy, inputs: if reads { vec![origin] } else { Vec::new() }, history })
}

pub(super) fn add(command: &AddCommand, scope: &Scope) -> Result<Lowered, Fault> {
    let (chown, chmod) = owner_and_mode(command.chown.as_deref(), command.chmod.as_deref(), scope)?;
    let mut checksum = command.checksum.as_deref().map(|it| scope.expand(it)).transpose()?.filter(|it| !it.is_empty());
    let words = words(&command.files, scope)?;
    let kinds = words.paths.iter().map(|path| {
        remote::classify(path).map_err(|why| Fault::new("copy-source", format!("ADD {path}: {why}"), path))
    });
    let kinds = kinds.collect::<Result<Vec<Remote>, Fault>>()?;
    if let Some(checksum) = &checksum {
        check_checksum(checksum, &kinds, command.checksum.as_deref().unwrap_or(""))?;
    }
    let mut keep_git_dir = command.keep_git_dir;
    for (path, kind) in words.paths.iter().zip(&kinds) {
        let Remote::Git(git) = kind else { continue };
        if let (Some(flag), Some(address)) = (keep_git_dir, git.keep_git_dir)
            && flag != address
        {
            let message = format!("--keep-git-dir={flag} and the address's keep-git-dir={address} do not agree");
            return Err(Fault::new("copy-source", message, path));
        }
        keep_git_dir = git.keep_git_dir.or(keep_git_dir);
        if let (Some(flag), Some(address)) = (&checksum, &git.checksum)
            && flag != address
        {
            let message = format!("--checksum={flag} and the address's {address} do not agree");
            return Err(Fault::new("checksum", message, path));
        }
        checksum = git.checksum.clone().or(checksum);
    }
    let flags = Flags { parents: false, chown: chown.as_deref(), chmod: chmod.as_deref() };
    let history = history("ADD", &flags, &words);
    let reads = kinds.contains(&Remote::Local);
    let paths = words.paths.into_iter().zip(kinds).map(|(path, kind)| match kind {
        Remote::Local => local(path),
        Remote::Url => CopySource::Url(path),
        Remote::Git(_) => CopySource::Git(path),
    });
    let copy = Copy {
        add: true,
        sources: paths.chain(words.inline).collect(),
        dest: unix_path::destination(&scope.cwd, &words.dest),
        chown,
        chmod,
        link: command.link,
        parents: false,
        exclude: command.exclude.clone(),
        unpack: command.unpack,
        checksum,
        keep_git_dir: keep_git_dir.unwrap_or(false),
    };
    let inputs = if reads { vec![FileOrigin::Context { name: None }] } else { Vec::new() };
    Ok(Lowered { copy, inputs, history })
}

/// What COPY and ADD name, expanded.
struct Words {
    paths: Vec<String>,
    inline: Vec<CopySource>,
    dest: String,
}

fn words(files: &SourcesAndDest, scope: &Scope) -> Result<Words, Fault> {
    let paths = files.paths.iter().map(|path| scope.expand(path)).collect::<Result<_, _>>()?;
    let dest = scope.expand(&files.dest)?;
    // A heredoc's content is text for somebody else: quotes in it mean nothing here.
    let lex = Lex { ignore_quotes: true, ..Lex::default() };
    let inline = files.inline.iter().map(|source| {
        heredoc_file(&source.name)?;
        let content = match source.expand {
            true => super::scope::expand(lex, &lossy(&source.content), &scope.vars, scope.budget)
                .map_err(|fault| Fault { word: format!("<<{}", source.name), ..fault })?
                .into(),
            false => source.content.clone(),
        };
        Ok(CopySource::Inline { name: source.name.clone(), content })
    });
    let inline = inline.collect::<Result<_, Fault>>()?;
    Ok(Words { paths, inline, dest })
}

/// The path of a heredoc's file in a directory of its own, which is empty: nothing of the name can be a directory.
pub(super) fn heredoc_file(name: &str) -> Result<String, Fault> {
    let path = unix_path::join("/", name);
    if path != "/" && !path[1..].contains('/') {
        return Ok(path);
    }
    let message = format!("the heredoc {name} cannot be a file: a name of one part is expected");
    Err(Fault::new("heredoc", message, format!("<<{name}")).late())
}

/// A variable that is not set can leave nothing of a path; that means the root of the source.
fn local(path: String) -> CopySource {
    CopySource::Path(if path.is_empty() { "/".to_owned() } else { path })
}

fn owner_and_mode(
    chown: Option<&str>,
    chmod: Option<&str>,
    scope: &Scope,
) -> Result<(Option<String>, Option<String>), Fault> {
    let expanded = |text: Option<&str>| -> Result<Option<String>, Fault> {
        Ok(text.map(|it| scope.expand(it)).transpose()?.filter(|it| !it.is_empty()))
    };
    let (owner, mode) = (expanded(chown)?, expanded(chmod)?);
    if let Some(mode) = mode.as_deref().filter(|mode| !is_mode(mode)) {
        let message = format!("--chmod={mode} is neither an octal mode up to 07777 nor one like u=rwX,go=rX");
        return Err(Fault::new("chmod", message, chmod.unwrap_or(mode)));
    }
    Ok((owner, mode))
}

/// Whether it is a mode as `chmod` takes it: octal, or symbolic clauses.
fn is_mode(text: &str) -> bool {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        let octal = text.bytes().all(|b| (b'0'..=b'7').contains(&b));
        return octal && u32::from_str_radix(text, 8).is_ok_and(|mode| mode <= 0o7777);
    }
    text.split(',').all(|clause| {
        let operations = clause.trim_start_matches(['a', 'u', 'g', 'o']);
        let known = |c: char| matches!(c, '+' | '-' | '=' | 'r' | 'w' | 'x' | 'X' | 's' | 't' | 'u' | 'g' | 'o');
        operations.starts_with(['+', '-', '=']) && operations.chars().all(known)
    })
}

fn check_checksum(checksum: &str, kinds: &[Remote], written: &str) -> Result<(), Fault> {
    let fault = |message: String| Fault::new("checksum", message, written);
    match kinds {
        [Remote::Url] if names::image::is_digest(checksum) => Ok(()),
        [Remote::Url] => {
            Err(fault(format!("--checksum={checksum} is not a digest")).help("write sha256: and 64 hexadecimal digits"))
        }
        [Remote::Git(_)] => Ok(()),
        [_] => Err(fault("--checksum is for an address or a git repository".to_owned())),
        _ => Err(fault("--checksum goes with one source, and here are several".to_owned())),
    }
}

struct Flags<'a> {
    parents: bool,
    chown: Option<&'a str>,
    chmod: Option<&'a str>,
}

fn history(keyword: &str, flags: &Flags, words: &Words) -> String {
    let mut out = vec![keyword.to_owned()];
    out.extend(flags.parents.then(|| "--parents".to_owned()));
    out.extend(flags.chown.map(|chown| format!("--chown={chown}")));
    out.extend(flags.chmod.map(|chmod| format!("--chmod={chmod}")));
    out.extend(words.paths.iter().cloned());
    out.extend(words.inline.iter().filter_map(|source| match source {
        CopySource::Inline { name, .. } => Some(format!("<<{name}")),
        _ => None,
    }));
    out.push(words.dest.clone());
    format!("{} # buildkit", out.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for good in ["0", "755", "07777", "u=rwX,go=rX", "+x", "a-w", "u+s,+t", "g=u", "=", "u+r-w", "u="] {
            assert!(is_mode(good), "{good}");
        }
        for bad in ["", "8", "10000", "888", "u", "rwx", "u+q", "u=r,", ",u=r", "u=r g=r", "+7", "0x1"] {
            assert!(!is_mode(bad), "{bad}");
        }
    }
}
