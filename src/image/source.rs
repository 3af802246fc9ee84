//! Where images come from, behind one interface.

use super::archive::{self, Form};
use super::config::ImageConfig;
use super::digest::Digest;
use super::docker_client::DockerClient;
use super::reference::Reference;
use super::{daemon, layout, registry};
use crate::names::platform::Platform;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A place that an image can be had from.
///
/// Source: skopeo's transports, and buildx's spellings for `--build-context`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A plain reference, `docker://REFERENCE` or `docker-image://REFERENCE`.
    Registry(Reference),
    /// `oci:DIR[:NAME]`, `oci-layout://DIR[:NAME][@DIGEST]`.
    OciLayout { dir: PathBuf, pick: Pick },
    /// `oci-archive:FILE[:NAME]`.
    OciArchive { file: PathBuf, pick: Pick },
    /// `docker-archive:FILE[:REFERENCE]`, as `docker save` writes it.
    DockerArchive { file: PathBuf, pick: Pick },
    /// `docker-daemon:REFERENCE` or `docker-daemon:sha256:ID`.
    DockerDaemon(String),
    /// `host:`: programs of this machine.
    Host,
}

/// Which image of a place that may hold several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// The only one, or the one named `latest`.
    Any,
    Name(String),
    Digest(Digest),
    /// `@N`: by position, from 0.
    Position(usize),
}

impl std::str::FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Source, SourceError> {
        let reference = |text: &str| -> Result<Source, SourceError> {
            let parsed = text.parse::<Reference>();
            parsed
                .map(Source::Registry)
                .map_err(|error| SourceError::new(SourceErrorKind::Reference, error.to_string()))
        };
        let (transport, rest) = text.split_once(':').unwrap_or(("", text));
        match transport {
            "docker" | "docker-image" if rest.starts_with("//") => reference(&rest[2..]),
            "oci-layout" if rest.starts_with("//") => {
                let (path, digest) = match rest[2..].split_once('@') {
                    Some((path, digest)) => (path, Some(digest)),
                    None => (&rest[2..], None),
                };
                let (dir, named) = file_and_pick(text, path)?;
                let pick = match digest {
                    Some(digest) => {
                        Pick::Digest(digest.parse().map_err(|error: super::digest::ParseDigestError| {
                            SourceError::new(SourceErrorKind::Reference, format!("{text}: {error}"))
                        })?)
                    }
                    None => named,
                };
                Ok(Source::OciLayout { dir, pick })
            }
            "oci" => file_and_pick(text, rest).map(|(dir, pick)| Source::OciLayout { dir, pick }),
            "oci-archive" => file_and_pick(text, rest).map(|(file, pick)| Source::OciArchive { file, pick }),
            "docker-archive" => file_and_pick(text, rest).map(|(file, pick)| Source::DockerArchive { file, pick }),
            "docker-daemon" if !rest.is_empty() => Ok(Source::DockerDaemon(rest.to_owned())),
            "host" if rest.is_empty() => Ok(Source::Host),
            "containers-storage" => Err(SourceError::new(
                SourceErrorKind::Reference,
                format!("{text}: the store of Podman and Buildah cannot be read directly"),
            )
            .with_help(format!(
                "write the image to a file: podman save --format oci-archive -o FILE {rest}, then oci-archive:FILE"
            ))),
            _ => reference(text),
        }
    }
}

/// `PATH[:NAME]` or `PATH[:@POSITION]`. The path ends at its first colon, except for that of a drive letter.
fn file_and_pick(text: &str, rest: &str) -> Result<(PathBuf, Pick), SourceError> {
    let drive = match rest.as_bytes() {
        [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic() => 2,
        _ => 0,
    };
    let (path, name) = match rest[drive..].find(':') {
        Some(colon) => (&rest[..drive + colon], &rest[drive + colon + 1..]),
        None => (rest, ""),
    };
    let wrong = |why: &str| SourceError::new(SourceErrorKind::Reference, format!("{text}: {why}"));
    if path.is_empty() {
        return Err(wrong("a path is missing after the transport"));
    }
    let pick = match name.strip_prefix('@') {
        _ if name.is_empty() => Pick::Any,
        Some(digest) if digest.starts_with("sha256:") => {
            Pick::Digest(digest.parse().map_err(|error: super::digest::ParseDigestError| wrong(&error.to_string()))?)
        }
        Some(position) => Pick::Position(position.parse().map_err(|_| wrong("after `:@` there should be a number"))?),
        None => Pick::Name(name.to_owned()),
    };
    Ok((path.into(), pick))
}

/// Whether an image's name means one in a registry, rather than one in a file or on this machine.
pub fn is_registry(text: &str) -> bool {
    matches!(text.parse(), Ok(Source::Registry(_)))
}

/// What looking up an image depends on besides its name.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// A directory for files that last as long as the [`Opened`] image.
    pub scratch: PathBuf,
    pub docker: DockerClient,
    pub told: Told,
}

/// Who is told how far it is, while a whole image is taken that cannot be looked into before: bytes so far, and about how
/// many there are, 0 if that is not known.
#[derive(Clone, Default)]
pub struct Told(Option<Arc<dyn Fn(u64, u64) + Send + Sync>>);

impl Told {
    pub fn new(tell: impl Fn(u64, u64) + Send + Sync + 'static) -> Told {
        Told(Some(Arc::new(tell)))
    }

    pub(super) fn tell(&self, done: u64, about: u64) {
        self.0.iter().for_each(|tell| tell(done, about));
    }
}

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Told")
    }
}

impl Surroundings {
    /// Those of this process, with `TMPDIR`.
    pub fn from_environment() -> Surroundings {
        let docker = DockerClient::from_environment();
        Surroundings { scratch: std::env::temp_dir(), docker, told: Told::default() }
    }
}

/// Finds the image that `text` names, for the platform `os/architecture[/variant]`. Its layers are not fetched.
pub async fn open(text: &str, platform: &str) -> Result<Opened, SourceError> {
    open_in(text, platform, &Surroundings::from_environment()).await
}

/// As [`open`], in other surroundings.
pub async fn open_in(text: &str, platform: &str, surroundings: &Surroundings) -> Result<Opened, SourceError> {
    open_source(text, text.parse()?, platform, surroundings).await
}

/// The same of a source whose name may say less: paths with colons have none.
pub async fn open_source(
    text: &str,
    source: Source,
    platform: &str,
    surroundings: &Surroundings,
) -> Result<Opened, SourceError> {
    let wanted: Platform = platform.parse().map_err(|error: crate::names::platform::ParsePlatformError| {
        SourceError::new(SourceErrorKind::Platform, error.to_string())
    })?;
    let scratch = &surroundings.scratch;
    match source {
        Source::OciLayout { dir, pick } => layout::open_directory(text, &dir, &pick, &wanted).await,
        Source::OciArchive { file, pick } => archive::open(text, &file, Form::Oci, &pick, &wanted, scratch).await,
        Source::DockerArchive { file, pick } => archive::open(text, &file, Form::Docker, &pick, &wanted, scratch).await,
        Source::Registry(reference) => {
            registry::open(text, &reference, &wanted, surroundings.docker.config.as_deref()).await
        }
        Source::DockerDaemon(image) => daemon::open(text, &image, &wanted, surroundings).await,
        Source::Host => {
            let (name, scratch) = (text.to_owned(), scratch.clone());
            blocking(move || super::host::open(&name, &scratch)).await
        }
    }
}

/// Files are read on a thread where that may wait.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(SourceError::new(SourceErrorKind::Io, error.to_string())))
}

/// An image that has been looked up: its configuration is here, its layers can be fetched.
#[derive(Clone)]
pub struct Opened {
    /// As asked for.
    pub name: String,
    /// Where it came from, in words: `registry`, `oci-layout DIR`.
    pub origin: String,
    /// The manifest's digest where there is one.
    pub manifest: Option<Digest>,
    pub config: ImageConfig,
    /// The configuration byte for byte.
    pub config_bytes: Vec<u8>,
    /// Of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// Bottom first; as many as `config.rootfs.diff_ids`.
    pub layers: Vec<LayerBlob>,
    pub blobs: Arc<dyn Blobs>,
}

/// A layer as its image's manifest describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerBlob {
    /// The blob's own digest; `None` where the source has only the diff_id (docker-archive).
    pub digest: Option<Digest>,
    pub diff_id: Digest,
    /// Bytes of the blob, 0 if not known.
    pub size: u64,
    /// Of a foreign layer, which is not passed on with its image: where it is to be had, as the manifest says.
    pub urls: Vec<String>,
}

impl LayerBlob {
    /// Where the blob of a foreign layer is to be had, and what to do with it: the end of a message that it is missing.
    pub fn elsewhere(&self) -> String {
        const MOST: usize = 4;
        if self.urls.is_empty() {
            return String::new();
        }
        let shown = self.digest.as_ref().unwrap_or(&self.diff_id);
        let urls: Vec<String> = self.urls.iter().take(MOST).map(|url| format!("{url:?}")).collect();
        format!(
            "; it is a foreign layer, which is not passed on with its image: to see it, get it from {}, and put it into \
             an OCI layout of the image as {}",
            urls.join(" or "),
            super::layout::blob_name(shown),
        )
    }
}

/// A stretch of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub path: PathBuf,
    pub offset: u64,
    pub size: u64,
}

/// Fetches the layers of one image.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// Where the bytes of layer `index` lie on this machine, if they do, for as long as this value lives. They have
    /// not been held against any digest.
    fn place(&self, index: usize) -> Result<Option<Place>, SourceError> {
        let _ = index;
        Ok(None)
    }

    /// Writes layer `index` of the image to the new file `into`, checks its digest and calls `progress` with the
    /// bytes so far. Nothing is left at `into` after an error.
    async fn fetch(&self, index: usize, into: &Path, progress: &(dyn Fn(u64) + Send + Sync))
    -> Result<(), SourceError>;
}

/// Why an image could not be had.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    pub kind: SourceErrorKind,
    /// What happened, where (the transport, the address or path, the blob).
    pub message: String,
    /// What to do, one line each.
    pub help: Vec<String>,
}

impl SourceError {
    pub fn new(kind: SourceErrorKind, message: impl Into<String>) -> SourceError {
        SourceError { kind, message: message.into(), help: Vec::new() }
    }

    pub fn with_help(mut self, line: impl Into<String>) -> SourceError {
        self.help.push(line.into());
        self
    }

    /// With what to do.
    pub fn in_a_line(&self) -> String {
        let parts: Vec<&str> = [&self.message].into_iter().chain(&self.help).map(String::as_str).collect();
        parts.join("; ")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceErrorKind {
    /// The reference cannot be read.
    Reference,
    /// It is not there.
    Missing,
    /// It is there, and not for us.
    Denied,
    /// No connection, a broken one, or a server that makes no sense.
    Unreachable,
    /// It is there and does not hold what it should: a digest, a manifest, an archive.
    Damaged,
    /// It has no image for the platform.
    Platform,
    /// The file system here.
    Io,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let answer = match text.parse::<Source>() {
            Ok(Source::Registry(reference)) => format!("registry {reference}"),
            Ok(Source::OciLayout { dir, pick }) => format!("layout {} {pick:?}", dir.display()),
            Ok(Source::OciArchive { file, pick }) => format!("oci {} {pick:?}", file.display()),
            Ok(Source::DockerArchive { file, pick }) => format!("docker {} {pick:?}", file.display()),
            Ok(Source::DockerDaemon(name)) => format!("daemon {name}"),
            Ok(Source::Host) => "host".to_owned(),
            Err(error) => error.message,
        };
        assert!(answer.starts_with(expected), "{text}: {answer}");
        assert_eq!(is_registry(text), expected.starts_with("registry "), "{text}");
    }

    #[test]
    fn registries() {
        check("node", "registry docker.io/library/node:latest");
        check("docker://node:8", "registry docker.io/library/node:8");
        check("docker-image://127.0.0.1:5000/a/b:c", "registry 127.0.0.1:5000/a/b:c");
        // Not a transport without the slashes.
        check("docker:dind", "registry docker.io/library/docker:dind");
        check("host:latest", "registry docker.io/library/host:latest");
        check("docker://", "\"\" is not an image reference: it is empty");
        check("/some/dir", "\"/some/dir\" is not an image reference");
    }

    #[test]
    fn files() {
        check("oci:dir", "layout dir Any");
        check("oci:/a/b:v1", "layout /a/b Name(\"v1\")");
        check("oci:/a/b:@2", "layout /a/b Position(2)");
        check("oci:C:\\a\\b:v1", "layout C:\\a\\b Name(\"v1\")");
        check("oci-layout:///a/b", "layout /a/b Any");
        check("oci-layout://./a:v1", "layout ./a Name(\"v1\")");
        check(&format!("oci-layout://a@{}", Digest::of(b"")), "layout a Digest(");
        check("oci-layout://a@sha256:x", "oci-layout://a@sha256:x: \"sha256:x\" is not a digest");
        check("oci-archive:a.tar", "oci a.tar Any");
        check("docker-archive:a.tar:quay.io/a/b:c", "docker a.tar Name(\"quay.io/a/b:c\")");
        check("docker-archive:a.tar:", "docker a.tar Any");
        check("docker-archive:", "docker-archive:: a path is missing");
        check("oci::v1", "oci::v1: a path is missing");
        check("oci:a:@x", "oci:a:@x: after `:@` there should be a number");
    }

    #[test]
    fn this_machine() {
        check("docker-daemon:node:8", "daemon node:8");
        check("docker-daemon:", "\"docker-daemon:\" is not an image reference");
        check("host:", "host");
        check("containers-storage:node", "containers-storage:node: the store of Podman and Buildah cannot be read");
    }
}
