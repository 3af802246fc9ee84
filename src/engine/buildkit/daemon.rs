//! A Docker Engine's own API, for what its BuildKit does not do: to say which image store it has, and to take and give
//! images in archives.
//!
//! Source: the Docker Engine API (`/info`, `/images/…`).

use super::address::Address;
use super::connection::{self, Connection, printable};
use crate::engine::{EngineError, EngineErrorKind};
use crate::image::reference;
use serde::Deserialize;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

/// Bytes of an answer that is no archive.
const LARGEST_ANSWER: u64 = 4 << 20;
/// As long as a server may take to say what it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether its images are kept by containerd: then its BuildKit is a whole one, and reads and writes OCI layouts.
pub(super) async fn is_whole(address: &Address) -> Result<bool, EngineError> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct Info {
        driver_status: Vec<(String, String)>,
    }
    let answer = get(address, "/info").await?;
    let info: Info = serde_json::from_slice(&answer.body(address).await?).unwrap_or_default();
    Ok(info.driver_status.iter().any(|(name, value)| name == "driver-type" && value.contains("containerd")))
}

/// Whether it is Podman that listens there, which speaks the same API.
pub(super) async fn is_podman(address: &Address) -> bool {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct Version {
        components: Vec<Component>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct Component {
        name: String,
    }
    let asked = async { get(address, "/version").await?.body(address).await };
    let Ok(Ok(body)) = tokio::time::timeout(PATIENCE, asked).await else { return false };
    let version: Version = serde_json::from_slice(&body).unwrap_or_default();
    version.components.iter().any(|it| it.name.starts_with("Podman"))
}

pub(super) async fn has_image(address: &Address, name: &str) -> Result<bool, EngineError> {
    Ok(get(address, &format!("/images/{name}/json")).await?.status == 200)
}

/// Gives it an image in an archive, as `docker load` does.
pub(super) async fn load(address: &Address, archive: &Path) -> Result<(), EngineError> {
    let failed = |error: std::io::Error| EngineError::new(format!("{}: {error}", archive.display()));
    let mut file = tokio::fs::File::open(archive).await.map_err(failed)?;
    let size = file.metadata().await.map_err(failed)?.len();
    let headers = format!("Content-Type: application/x-tar\r\nContent-Length: {size}\r\n");
    let mut connection = begin(address, "POST", "/images/load?quiet=1", &headers).await?;
    tokio::io::copy(&mut file, &mut connection).await.map_err(|error| lost(address, &error))?;
    connection.flush().await.map_err(|error| lost(address, &error))?;
    let said = answer(address, connection).await?.body(address).await?;
    let said = String::from_utf8_lossy(&said);
    match said.contains("\"error\"") {
        true => Err(EngineError::new(format!("{address}: the image was not loaded: {}", printable(&said)))),
        false => Ok(()),
    }
}

/// Takes images in one archive, under all of these names, as `docker save` does.
pub(super) async fn save(address: &Address, names: &[String], into: &Path) -> Result<(), EngineError> {
    let query: Vec<String> = names.iter().map(|name| format!("names={}", escaped(name))).collect();
    let mut answer = get(address, &format!("/images/get?{}", query.join("&"))).await?;
    if answer.status != 200 {
        let said = answer.body(address).await?;
        let said = printable(&String::from_utf8_lossy(&said));
        return Err(EngineError::new(format!("{address}: the image cannot be had: {said}")));
    }
    let failed = |error: std::io::Error| EngineError::new(format!("cannot write {}: {error}", into.display()));
    let mut file = tokio::fs::File::create(into).await.map_err(failed)?;
    tokio::io::copy(&mut answer.rest, &mut file).await.map_err(failed)?;
    file.flush().await.map_err(failed)
}

/// A name for what is loaded: the same image has the same name, so it is loaded once.
pub(super) fn context_name(digest: &crate::image::digest::Digest) -> String {
    reference::normalized(&format!("stagedive/context:{}", digest.short()))
}

struct Answer {
    status: u16,
    rest: Box<dyn AsyncRead + Send + Unpin>,
}

impl Answer {
    async fn body(self, address: &Address) -> Result<Vec<u8>, EngineError> {
        let mut bytes = Vec::new();
        let mut rest = self.rest.take(LARGEST_ANSWER);
        rest.read_to_end(&mut bytes).await.map_err(|error| lost(address, &error))?;
        match self.status {
            500.. => Err(EngineError::new(format!("{address}: {}", printable(&String::from_utf8_lossy(&bytes))))),
            _ => Ok(bytes),
        }
    }
}

async fn get(address: &Address, path: &str) -> Result<Answer, EngineError> {
    let connection = begin(address, "GET", path, "").await?;
    answer(address, connection).await
}

/// In the first version of HTTP, whose answers are as long as the connection.
async fn begin(address: &Address, method: &str, path: &str, headers: &str) -> Result<Connection, EngineError> {
    let unreachable = |error: std::io::Error| super::channel::unreachable(address, &error.to_string());
    let mut connection = connection::connect(address).await.map_err(unreachable)?;
    let head = format!("{method} {path} HTTP/1.0\r\nHost: docker\r\n{headers}\r\n");
    connection.write_all(head.as_bytes()).await.map_err(|error| lost(address, &error))?;
    connection.flush().await.map_err(|error| lost(address, &error))?;
    Ok(connection)
}

async fn answer(address: &Address, mut connection: Connection) -> Result<Answer, EngineError> {
    let head = connection::head(&mut connection).await.map_err(|error| lost(address, &error))?;
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
    let status = status.ok_or_else(|| EngineError::new(format!("{address}: the answer is not HTTP")))?;
    Ok(Answer { status, rest: Box::new(connection) })
}

fn lost(address: &Address, error: &std::io::Error) -> EngineError {
    EngineError { kind: EngineErrorKind::Lost, ..EngineError::new(format!("{address}: the connection broke: {error}")) }
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:@".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
