//! What the command line says about an engine's surroundings.

use crate::dockerfile::ignore::{Ignore, IgnoreError};
use std::collections::BTreeMap;
use std::io;
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
            match std::fs::read(file) {
                Ok(bytes) => return Ok(Some((file, String::from_utf8_lossy(&bytes).into_owned()))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", file.display()))),
            }
        }
        Ok(None)
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
