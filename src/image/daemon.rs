//! Images of a Docker or Podman daemon on this machine: taken from it, and given to it.
//!
//! Source: the Docker Engine API (`/images/get`, `/images/load`), which Podman serves too. The daemon is the one that
//! Docker's client talks to, or the one at one of the usual sockets.

use super::archive::{self, Form, TarFile};
use super::base::Candidate;
use super::digest::Digest;
use super::docker_client::{ContextError, DockerClient, Endpoint, Tls};
use super::fetch::{self, Expected};
use super::http::{body, innermost};
use super::source::{Opened, Pick, SourceError, SourceErrorKind, Surroundings, blocking};
use crate::names::platform::Platform;
use crate::system::{self, DOCKER_SOCKET};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Certificate, Client, ClientBuilder, Identity, Response, StatusCode, Url};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An explanation, or the report about a loaded image: a line for each layer's progress.
const LARGEST_REPORT: u64 = 4 << 20;

const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// What it knows a daemon says at once. To pack an image it may take minutes.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// Takes the whole image from the daemon into a file of `surroundings.scratch`: it has no way to give parts.
pub(super) async fn open(
    name: &str,
    image: &str,
    wanted: &Platform,
    surroundings: &Surroundings,
) -> Result<Opened, SourceError> {
    let daemon = Daemon::find(surroundings).await?;
    let size = daemon.size(image).await?;
    let url = daemon.url("/images/get", &[("names", image)])?;
    let answer = daemon.client.get(url).send().await.map_err(|error| daemon.unreachable(&error))?;
    if !answer.status().is_success() {
        return Err(daemon.refusal(&format!("the image {image}"), answer).await);
    }
    let scratch = surroundings.scratch.clone();
    let dir = blocking(move || {
        let made = tempfile::Builder::new().prefix("daemon-").tempdir_in(&scratch);
        made.map_err(|error| fetch::io_error(&scratch, &error))
    })
    .await?;
    let file = dir.path().join("image.tar");
    let expected = Expected { what: format!("{image} from {}", daemon.place), digest: None, size: None };
    fetch::receive(answer, &file, expected, &|done| surroundings.told.tell(done, size)).await?;
    let origin = format!("docker-daemon {}", daemon.place);
    let archive = blocking({
        let scratch = surroundings.scratch.clone();
        move || TarFile::open_file(&file, &scratch).map(|archive| archive.with_directory(dir))
    })
    .await?;
    // Of the two forms in the archive, the layout's index can hold several platforms.
    archive::open_archive(name, origin, archive, Form::Oci, &Pick::Any, wanted).await
}

/// Writes an image of the daemon into a file, under all of these names of it, as `docker save` does.
pub async fn save(names: &[String], into: &Path, surroundings: &Surroundings) -> Result<(), SourceError> {
    let daemon = Daemon::find(surroundings).await?;
    let query: Vec<(&str, &str)> = names.iter().map(|name| ("names", name.as_str())).collect();
    let url = daemon.url("/images/get", &query)?;
    let answer = daemon.client.get(url).send().await.map_err(|error| daemon.unreachable(&error))?;
    let what = names.join(" ");
    if !answer.status().is_success() {
        return Err(daemon.refusal(&format!("the image {what}"), answer).await);
    }
    let expected = Expected { what: format!("{what} from {}", daemon.place), digest: None, size: None };
    fetch::receive(answer, into, expected, &|_| ()).await.map(drop)
}

/// Images of which a daemon tells its layers, at most.
const MOST_IMAGES: usize = 200;

/// The images that the daemon has, with their layers: those with a name, the newest first.
pub(super) async fn images(surroundings: &Surroundings) -> Result<Vec<Candidate>, SourceError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Listed {
        id: String,
        repo_tags: Option<Vec<String>>,
    }
    #[derive(Deserialize)]
    struct Told {
        #[serde(rename = "RootFS")]
        root_fs: RootFs,
        #[serde(rename = "RepoDigests")]
        digests: Option<Vec<String>>,
    }
    #[derive(Deserialize)]
    struct RootFs {
        #[serde(rename = "Layers", default)]
        layers: Vec<Digest>,
    }
    let daemon = Daemon::find(surroundings).await?;
    let listed: Vec<Listed> = daemon.json("/images/json", "its images").await?;
    let mut images = Vec::new();
    for listed in listed.into_iter().take(MOST_IMAGES) {
        let Some(name) = listed.repo_tags.into_iter().flatten().find(|tag| tag != "<none>:<none>") else { continue };
        // An image may go while it is asked for.
        let path = format!("/images/{}/json", listed.id);
        let Ok(told) = daemon.json::<Told>(&path, &name).await else { continue };
        let digest = told.digests.iter().flatten().find_map(|it| it.split_once('@')?.1.parse().ok());
        images.push(Candidate { name: printable(&name), digest, layers: told.root_fs.layers });
    }
    Ok(images)
}

/// Gives the daemon an image in an archive, as `docker load` does; returns what the daemon says about it.
pub async fn load(archive: &Path, surroundings: &Surroundings) -> Result<String, SourceError> {
    #[derive(Deserialize)]
    struct Line {
        #[serde(default)]
        stream: String,
        error: Option<String>,
    }
    let daemon = Daemon::find(surroundings).await?;
    let url = daemon.url("/images/load", &[("quiet", "1")])?;
    let file = tokio::fs::File::open(archive).await.map_err(|error| fetch::io_error(archive, &error))?;
    let size = file.metadata().await.map_err(|error| fetch::io_error(archive, &error))?.len();
    let request =
        daemon.client.post(url).header(CONTENT_TYPE, "application/x-tar").header(CONTENT_LENGTH, size).body(file);
    let answer = request.send().await.map_err(|error| daemon.unreachable(&error))?;
    if !answer.status().is_success() {
        return Err(daemon.refusal("what was sent to it", answer).await);
    }
    let failed = |why: String| {
        SourceError::new(SourceErrorKind::Unreachable, format!("{}: the image was not loaded: {why}", daemon.place))
    };
    let report = body(answer, LARGEST_REPORT).await.map_err(|problem| failed(problem.to_string()))?;
    let mut said = String::new();
    for line in serde_json::Deserializer::from_slice(&report).into_iter::<Line>() {
        let line = line.map_err(|error| failed(format!("the answer cannot be read: {error}")))?;
        if let Some(error) = line.error {
            return Err(failed(printable(&error)));
        }
        said += &line.stream;
    }
    Ok(printable(said.trim()))
}

struct Daemon {
    client: Client,
    base: Url,
    /// For messages: its address.
    place: String,
}

/// Where a daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Address {
    Socket(PathBuf),
    /// `HOST:PORT`
    Tcp(String),
}

impl Daemon {
    async fn find(surroundings: &Surroundings) -> Result<Daemon, SourceError> {
        let (address, tls, place) = address(&surroundings.docker).await?;
        let builder = Client::builder().no_proxy().connect_timeout(CONNECT_PATIENCE);
        super::http::install_provider();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (builder, base) = match &address {
            Address::Socket(path) => (system::http_through(builder, path), "http://localhost/".to_owned()),
            Address::Tcp(host) => (builder, format!("{scheme}://{host}/")),
        };
        let client = match &tls {
            Some(tls) => trusting(builder, tls).map_err(|why| unreachable_at(&place, &why))?,
            // No certificate is ever looked at here.
            None => builder.tls_danger_accept_invalid_certs(true),
        };
        let client = client.build();
        let client = client.map_err(|error| unreachable_at(&place, &innermost(&error)))?;
        let base = Url::parse(&base).map_err(|error| unreachable_at(&place, &error.to_string()))?;
        Ok(Daemon { client, base, place })
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> Result<Url, SourceError> {
        let mut url = self.base.join(path).map_err(|error| unreachable_at(&self.place, &error.to_string()))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    /// About how many bytes an image has, 0 if the daemon does not say. An error if it has no such image.
    async fn size(&self, image: &str) -> Result<u64, SourceError> {
        #[derive(Deserialize)]
        struct Told {
            #[serde(rename = "Size", default)]
            size: i64,
        }
        let told: Told = self.json(&format!("/images/{image}/json"), &format!("the image {image}")).await?;
        Ok(u64::try_from(told.size).unwrap_or(0))
    }

    async fn json<T: serde::de::DeserializeOwned>(&self, path: &str, what: &str) -> Result<T, SourceError> {
        let request = self.client.get(self.url(path, &[])?).timeout(ANSWER_PATIENCE);
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        if !answer.status().is_success() {
            return Err(self.refusal(what, answer).await);
        }
        let wrong = |why: String| unreachable_at(&self.place, &format!("its answer cannot be read: {why}"));
        let bytes = body(answer, LARGEST_REPORT).await.map_err(|problem| wrong(problem.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))
    }

    fn unreachable(&self, error: &reqwest::Error) -> SourceError {
        unreachable_at(&self.place, &innermost(error))
    }

    async fn refusal(&self, what: &str, answer: Response) -> SourceError {
        #[derive(Default, Deserialize)]
        struct Problem {
            #[serde(default)]
            message: String,
        }
        let status = answer.status();
        let bytes = body(answer, LARGEST_REPORT).await.unwrap_or_default();
        let problem: Problem = serde_json::from_slice(&bytes).unwrap_or_default();
        let said = if problem.message.is_empty() { status.to_string() } else { printable(&problem.message) };
        let kind =
            if status == StatusCode::NOT_FOUND { SourceErrorKind::Missing } else { SourceErrorKind::Unreachable };
        SourceError::new(kind, format!("{}: the daemon refuses {what}: {said}", self.place))
    }
}

fn unreachable_at(place: &str, why: &str) -> SourceError {
    SourceError::new(SourceErrorKind::Unreachable, format!("{place}: no answer from a daemon: {why}"))
        .with_help("is it running, and may you use its socket? DOCKER_HOST says where it is")
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect()
}

/// The address, the certificates for it, and how it is called in messages.
async fn address(docker: &DockerClient) -> Result<(Address, Option<Tls>, String), SourceError> {
    let named = docker.named().map_err(|error| {
        SourceError::new(SourceErrorKind::Unreachable, error.to_string()).with_help(ContextError::HELP)
    })?;
    if let Some(Endpoint { host, tls, name }) = named {
        return Ok((parse_host(&host, tls.is_some())?, tls, name));
    }
    let own = |name: &str| docker.runtime.as_ref().map(|dir| dir.join(name));
    let sockets = [
        Some(PathBuf::from(DOCKER_SOCKET)),
        own("docker.sock"),
        own("podman/podman.sock"),
        Some(PathBuf::from("/run/podman/podman.sock")),
    ];
    let path = usable(sockets.into_iter().flatten().collect()).await;
    let path = path.unwrap_or_else(|| PathBuf::from(DOCKER_SOCKET));
    let place = system::socket_address(&path);
    Ok((Address::Socket(path), None, place))
}

/// The first socket that somebody listens at and that is open to us; or that is there at all, for what is wrong with it.
async fn usable(sockets: Vec<PathBuf>) -> Option<PathBuf> {
    for path in &sockets {
        if system::connect(path).await.is_ok() {
            return Some(path.clone());
        }
    }
    sockets.into_iter().find(|path| path.exists())
}

/// Who the daemon has to be, and who this is to it.
fn trusting(builder: ClientBuilder, tls: &Tls) -> Result<ClientBuilder, String> {
    let read = |path: &PathBuf| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let mut builder = builder.tls_danger_accept_invalid_certs(tls.unverified);
    if let Some(path) = &tls.ca {
        let found = Certificate::from_pem_bundle(&read(path)?);
        builder = builder.tls_certs_only(found.map_err(|error| format!("{}: {}", path.display(), innermost(&error)))?);
    }
    if let Some((certificate, key)) = &tls.identity {
        let both = [read(certificate)?, b"\n".to_vec(), read(key)?].concat();
        let identity = Identity::from_pem(&both);
        let wrong = |error| format!("{}: {}", certificate.display(), innermost(&error));
        builder = builder.identity(identity.map_err(wrong)?);
    }
    Ok(builder)
}

fn parse_host(host: &str, encrypted: bool) -> Result<Address, SourceError> {
    let (scheme, rest) = host.split_once("://").unwrap_or_default();
    if let Some(path) = system::socket_path(scheme, rest) {
        return Ok(Address::Socket(path));
    }
    match host.split_once("://") {
        Some(("tcp" | "http" | "https", host)) if !host.trim_end_matches('/').is_empty() => {
            let host = host.trim_end_matches('/');
            let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
            let port = if encrypted { 2376 } else { 2375 };
            Ok(Address::Tcp(if has_port { host.to_owned() } else { format!("{host}:{port}") }))
        }
        _ => {
            let message = format!("the daemon at {host:?} cannot be reached from here: unix:// and tcp:// can be");
            let error = SourceError::new(SourceErrorKind::Unreachable, message);
            Err(error.with_help("write the image to a file, docker save -o FILE IMAGE, and use docker-archive:FILE"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[cfg(unix)]
    async fn sockets() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let check = async |names: &[&str], expected: Option<&str>| {
            assert_eq!(usable(names.iter().map(|it| path(it)).collect()).await, expected.map(path), "{names:?}");
        };
        drop(std::os::unix::net::UnixListener::bind(path("left")).unwrap());
        let _listener = std::os::unix::net::UnixListener::bind(path("docker")).unwrap();
        let _other = std::os::unix::net::UnixListener::bind(path("podman")).unwrap();
        check(&["docker", "podman"], Some("docker")).await;
        check(&["none", "left", "podman"], Some("podman")).await;
        check(&["none", "left"], Some("left")).await;
        check(&["none"], None).await;
    }

    #[test]
    fn hosts() {
        let check = |host: &str, expected: &str| {
            let answer = match parse_host(host, host.starts_with("https")) {
                Ok(address) => format!("{address:?}"),
                Err(error) => error.message,
            };
            assert!(answer.starts_with(expected), "{host}: {answer}");
        };
        check("unix:///run/docker.sock", "Socket(\"/run/docker.sock\")");
        check("tcp://127.0.0.1:2375", "Tcp(\"127.0.0.1:2375\")");
        check("tcp://build.example/", "Tcp(\"build.example:2375\")");
        check("https://build.example/", "Tcp(\"build.example:2376\")");
        check("ssh://me@build.example", "the daemon at \"ssh://me@build.example\" cannot be reached");
        check("unix://", "the daemon at \"unix://\" cannot be reached");
        check("/run/docker.sock", "the daemon at \"/run/docker.sock\" cannot be reached");
    }
}
