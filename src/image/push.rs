//! Images given to registries.
//!
//! Source: the OCI distribution specification, "Push": blobs that are missing, each in one upload, then the
//! manifest under each tag.

use super::auth;
use super::digest::Digest;
use super::export::{self, ExportError, Exported, ImageToWrite};
use super::fetch::io_error;
use super::http::{Repository, innermost};
use super::reference::Reference;
use super::source::{SourceError, SourceErrorKind, Surroundings};
use super::tries::{Again, Failed, Tries};
use oci_spec::image::MediaType;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Body, Response, StatusCode, Url};
use std::path::PathBuf;

/// Where the bytes of a blob are.
enum Content {
    Memory(Vec<u8>),
    File { path: PathBuf, size: u64 },
}

/// Pushes an image under one of its names. `progress` is called with the bytes that the registry has, of all.
pub async fn push(
    image: &ImageToWrite,
    reference: &Reference,
    surroundings: &Surroundings,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<Exported, SourceError> {
    let documents = export::documents(image).map_err(|error| cannot_write(&error))?;
    let manifest = documents.exported.manifest.clone();
    let mut contents: Vec<(Digest, Content)> = Vec::new();
    for layer in &image.layers {
        let content = Content::File { path: layer.path.clone(), size: layer.size };
        contents.push((layer.digest.clone(), content));
    }
    let mut manifest_bytes = Vec::new();
    for (digest, bytes) in documents.blobs {
        if Some(&digest) == manifest.as_ref() {
            manifest_bytes = bytes;
        } else {
            contents.push((digest, Content::Memory(bytes)));
        }
    }
    let credentials = auth::credentials(surroundings.docker.config.as_deref(), reference.registry()).await;
    let repository = Repository::connect(reference, credentials, true).await?;
    let all = contents.iter().map(|(_, content)| content.size()).sum();
    let mut done = 0;
    for (digest, content) in &contents {
        if !has_blob(&repository, digest).await? {
            upload(&repository, digest, content).await?;
        }
        done += content.size();
        progress(done, all);
    }
    let version = reference.tag().map(str::to_owned).or_else(|| manifest.as_ref().map(Digest::to_string));
    let url = repository.url(&format!("manifests/{}", version.unwrap_or_default()));
    let put = |client: &reqwest::Client| {
        client.put(&url).header(CONTENT_TYPE, MediaType::ImageManifest.as_ref()).body(manifest_bytes.clone())
    };
    let what = "room for the manifest";
    let answer = repository.send(what, put).await?;
    match answer.status() {
        status if status.is_success() => Ok(documents.exported),
        _ => Err(repository.refusal(what, answer).await),
    }
}

impl Content {
    fn size(&self) -> u64 {
        match self {
            Content::Memory(bytes) => bytes.len() as u64,
            Content::File { size, .. } => *size,
        }
    }

    async fn body(&self) -> Result<Body, SourceError> {
        Ok(match self {
            Content::Memory(bytes) => bytes.clone().into(),
            Content::File { path, .. } => {
                tokio::fs::File::open(path).await.map_err(|error| io_error(path, &error))?.into()
            }
        })
    }
}

async fn has_blob(repository: &Repository, digest: &Digest) -> Result<bool, SourceError> {
    let url = repository.url(&format!("blobs/{digest}"));
    let what = "a look at its blobs";
    let answer = repository.send(what, |client| client.head(&url)).await?;
    match answer.status() {
        StatusCode::NOT_FOUND => Ok(false),
        status if status.is_success() => Ok(true),
        _ => Err(repository.refusal(what, answer).await),
    }
}

/// An upload that breaks is begun again.
async fn upload(repository: &Repository, digest: &Digest, content: &Content) -> Result<(), SourceError> {
    let what = format!("room for the blob {digest}");
    let mut tries = Tries::of_request();
    loop {
        let begin = repository.url("blobs/uploads/");
        let answer = repository.send(&what, |client| client.post(&begin).header(CONTENT_LENGTH, 0)).await?;
        if answer.status() != StatusCode::ACCEPTED {
            return Err(repository.refusal(&what, answer).await);
        }
        let url = upload_url(repository, &answer, digest)?;
        let mut request = repository.client().put(url.clone());
        // The place may be another host's, and what opens this one is not for it.
        if let Some(value) = repository.authorization_for(&url).await {
            request = request.header(AUTHORIZATION, value);
        }
        let request = request
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, content.size())
            .body(content.body().await?);
        let failed = match request.send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => {
                let status = answer.status();
                let may_pass = status.is_server_error() || status == StatusCode::UNAUTHORIZED;
                let again = if may_pass { Again::After(None) } else { Again::Never };
                Failed { error: repository.refusal(&what, answer).await, again }
            }
            Err(error) => {
                let message =
                    format!("{}: the blob {digest} did not get there: {}", repository.name(), innermost(&error));
                Failed { error: SourceError::new(SourceErrorKind::Unreachable, message), again: Again::After(None) }
            }
        };
        tokio::time::sleep(tries.pause(failed)?).await;
    }
}

fn upload_url(repository: &Repository, answer: &Response, digest: &Digest) -> Result<Url, SourceError> {
    let location = answer.headers().get(LOCATION).and_then(|it| it.to_str().ok());
    let url = location.and_then(|location| answer.url().join(location).ok());
    let mut url = url.filter(|url| matches!(url.scheme(), "http" | "https")).ok_or_else(|| {
        let message = format!("{}: the registry does not say where a blob should go", repository.name());
        SourceError::new(SourceErrorKind::Unreachable, message)
    })?;
    url.query_pairs_mut().append_pair("digest", &digest.to_string());
    Ok(url)
}

fn cannot_write(error: &ExportError) -> SourceError {
    SourceError::new(SourceErrorKind::Io, error.to_string())
}
