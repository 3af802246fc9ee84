//! What the command line says about an engine's surroundings.

use crate::dockerfile::ignore::{Ignore, IgnoreError};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The program to start as the engine process: this one.
    pub program: PathBuf,
    /// The store's directory.
    pub store: PathBuf,
    /// The build context, if there is one.
    pub context: Option<Context>,
    /// `--build-context NAME=DIR`.
    pub directories: BTreeMap<String, Context>,
    /// `--build-context NAME=SOURCE`: images by the name that the Dockerfile gives them.
    pub images: BTreeMap<String, String>,
    /// `--secret`, by id.
    pub secrets: BTreeMap<String, Secret>,
    /// `--ssh`, by id: the agent's socket.
    pub agents: BTreeMap<String, PathBuf>,
    /// `os/arch[/variant]`.
    pub platform: String,
    /// `--no-cache`: no step reuses an earlier result.
    pub no_cache: bool,
    /// `--pull`: look at the registry even if the store has the image.
    pub pull: bool,
    /// `--cache-from`.
    pub cache_from: Vec<CacheOption>,
    /// `--cache-to`.
    pub cache_to: Vec<CacheOption>,
    /// What a builder is to state of the image, by kind (`provenance`, `sbom`), as BuildKit's frontend options have it.
    pub attestations: BTreeMap<String, String>,
    /// `SOURCE_DATE_EPOCH`, seconds since 1970.
    pub epoch: Option<i64>,
}

/// A cache outside of the builder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheOption {
    /// `registry`, `local`, `inline`, `gha`…
    pub kind: String,
    pub attributes: BTreeMap<String, String>,
}

/// A directory of this machine that COPY may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    pub path: PathBuf,
    /// Its ignore file: the first of these that there is.
    pub ignore_files: Vec<PathBuf>,
}

impl Context {
    /// The text of its ignore file, if it has one. Read every time: it may be edited while a session lasts.
    pub fn ignore(&self) -> io::Result<Option<String>> {
        Ok(self.ignore_file()?.map(|(_, text)| text))
    }

    /// The patterns of its ignore file.
    pub fn patterns(&self) -> io::Result<Option<Ignore>> {
        self.read(Ignore::parse)
    }

    /// The same, where every one of them must make sense: something is going to be read from the context.
    pub fn usable_patterns(&self) -> io::Result<Option<Ignore>> {
        self.read(|text| Ignore::parse(text).and_then(Ignore::usable))
    }

    fn read(&self, parse: fn(&str) -> Result<Ignore, IgnoreError>) -> io::Result<Option<Ignore>> {
        let Some((file, text)) = self.ignore_file()? else { return Ok(None) };
        let wrong = |error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", file.display()));
        parse(&text).map(Some).map_err(wrong)
    }

    fn ignore_file(&self) -> io::Result<Option<(&Path, String)>> {
        for file in &self.ignore_files {
            if let Some(bytes) = read_ignore_file(file)? {
                return Ok(Some((file, String::from_utf8_lossy(&bytes).into_owned())));
            }
        }
        Ok(None)
    }
}

/// As much of an ignore file as is read.
const IGNORE_LIMIT: u64 = 16 << 20;

/// What is in an ignore file, if there is one.
pub(super) fn read_ignore_file(file: &Path) -> io::Result<Option<Vec<u8>>> {
    let read = || {
        // Nothing that would be waited for.
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        let mut bytes = Vec::new();
        File::open(file)?.take(IGNORE_LIMIT + 1).read_to_end(&mut bytes)?;
        match bytes.len() as u64 > IGNORE_LIMIT {
            true => Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {} MB", IGNORE_LIMIT >> 20))),
            false => Ok(bytes),
        }
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", file.display()))),
        Ok(bytes) => Ok(Some(bytes)),
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    File(PathBuf),
    Environment(String),
}

/// As much of a secret as BuildKit takes.
const SECRET_LIMIT: u64 = 500 * 1024;

impl Secret {
    pub(super) fn read(&self) -> Result<Vec<u8>, String> {
        match self {
            Secret::Environment(name) => {
                let value = std::env::var_os(name).ok_or_else(|| format!("the variable {name} is not set"))?;
                Ok(value.into_encoded_bytes())
            }
            Secret::File(path) => {
                let size = std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?.len();
                if size > SECRET_LIMIT {
                    return Err(format!("{}: larger than {SECRET_LIMIT} bytes", path.display()));
                }
                std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignore_files_are_files_with_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(".dockerignore");
        let check = |expected: Result<Option<&[u8]>, &str>| match (read_ignore_file(&file), expected) {
            (Ok(found), expected) => assert_eq!(Ok(found.as_deref()), expected),
            (Err(error), expected) => assert!(error.to_string().contains(expected.unwrap_err()), "{error}"),
        };
        check(Ok(None));
        std::fs::write(&file, "a").unwrap();
        check(Ok(Some(b"a")));
        File::create(&file).unwrap().set_len(IGNORE_LIMIT + 1).unwrap();
        check(Err("larger than 16 MB"));
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        check(Err("not a file"));
    }
}
