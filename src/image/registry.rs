//! Images in registries.
//!
//! Source: the OCI distribution specification, and Docker's manifest schema 2 where registries still have it.

use super::auth;
use super::digest::Digest;
use super::fetch::{self, Expected};
use super::http::{Repository, TRIES, backoff, body};
use super::manifest::{DOCKER_INDEX, DOCKER_MANIFEST, LARGEST_DOCUMENT};
use super::reference::Reference;
use super::resolve::{self, Documents, Role};
use super::source::{Blobs, LayerBlob, Opened, SourceError, SourceErrorKind};
use crate::names::platform::Platform;
use async_trait::async_trait;
use oci_spec::image::MediaType;
use reqwest::Response;
use reqwest::header::ACCEPT;
use std::path::Path;
use std::sync::Arc;

/// Every form of manifest and index that is read here.
fn accepted() -> String {
    [MediaType::ImageManifest.as_ref(), MediaType::ImageIndex.as_ref(), DOCKER_MANIFEST, DOCKER_INDEX].join(", ")
}

pub(super) async fn open(
    name: &str,
    reference: &Reference,
    wanted: &Platform,
    docker_config: Option<&Path>,
) -> Result<Opened, SourceError> {
    let credentials = auth::credentials(docker_config, reference.registry()).await;
    let image = Arc::new(Image {
        repository: Repository::connect(reference, credentials, false).await?,
        place: reference.to_string(),
    });
    let version = reference.digest().map(Digest::to_string).or_else(|| reference.tag().map(str::to_owned));
    let version = version.unwrap_or_else(|| "latest".to_owned());
    let (bytes, said) = image.manifest(&version).await?;
    let is = Digest::of(&bytes);
    if let Some(should) = reference.digest().cloned().or(said).filter(|should| *should != is) {
        return Err(fetch::wrong_digest(&format!("{reference}: the manifest"), &should, &is));
    }
    let found = resolve::in_document(&*image, is, &bytes, wanted).await?;
    let layers = resolve::layers(&*image, &found)?;
    Ok(Opened {
        name: name.to_owned(),
        origin: format!("registry {}", reference.registry()),
        manifest: Some(found.digest),
        config: found.config,
        config_bytes: found.config_bytes,
        annotations: resolve::annotations(&found.manifest),
        blobs: Arc::new(RegistryBlobs { image, layers: layers.clone() }),
        layers,
    })
}

struct Image {
    repository: Repository,
    /// The reference as it was resolved, for messages.
    place: String,
}

impl Image {
    /// A manifest's bytes, and the digest that the registry says they have.
    async fn manifest(&self, version: &str) -> Result<(Vec<u8>, Option<Digest>), SourceError> {
        let url = self.repository.url(&format!("manifests/{version}"));
        let answer = self.repository.send(|client| client.get(&url).header(ACCEPT, accepted())).await?;
        if !answer.status().is_success() {
            return Err(self.repository.refusal(&format!("manifest {version}"), answer).await);
        }
        let said = answer.headers().get("docker-content-digest").and_then(|it| it.to_str().ok()?.parse().ok());
        Ok((self.document_body(answer).await?, said))
    }

    async fn blob(&self, digest: &Digest) -> Result<Response, SourceError> {
        let url = self.repository.url(&format!("blobs/{digest}"));
        let answer = self.repository.send(|client| client.get(&url)).await?;
        if !answer.status().is_success() {
            return Err(self.repository.refusal(&format!("blob {digest}"), answer).await);
        }
        Ok(answer)
    }

    async fn document_body(&self, answer: Response) -> Result<Vec<u8>, SourceError> {
        body(answer, LARGEST_DOCUMENT).await.map_err(|why| {
            SourceError::new(
                SourceErrorKind::Unreachable,
                format!("{}: the registry's answer cannot be used: {why}", self.place),
            )
        })
    }
}

#[async_trait]
impl Documents for Image {
    async fn document(&self, digest: &Digest, role: Role) -> Result<Vec<u8>, SourceError> {
        match role {
            Role::Manifest => Ok(self.manifest(&digest.to_string()).await?.0),
            Role::Config => {
                let answer = self.blob(digest).await?;
                self.document_body(answer).await
            }
        }
    }

    fn place(&self) -> String {
        self.place.clone()
    }
}

struct RegistryBlobs {
    image: Arc<Image>,
    layers: Vec<LayerBlob>,
}

#[async_trait]
impl Blobs for RegistryBlobs {
    /// A connection that breaks in the middle is tried again from the start.
    async fn fetch(
        &self,
        index: usize,
        into: &Path,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), SourceError> {
        let place = &self.image.place;
        let layer = self.layers.get(index).and_then(|layer| Some((layer, layer.digest.as_ref()?)));
        let Some((layer, digest)) = layer else {
            return Err(SourceError::new(SourceErrorKind::Missing, format!("{place}: there is no layer {index}")));
        };
        let expected = Expected {
            what: format!("{place}: the layer {digest}"),
            digest: Some(digest.clone()),
            size: Some(layer.size).filter(|size| *size > 0),
        };
        let mut tries = 0;
        loop {
            let answer = self.image.blob(digest).await?;
            tries += 1;
            match fetch::receive(answer, into, expected.clone(), progress).await {
                Err(error) if error.kind == SourceErrorKind::Unreachable && tries < TRIES => {
                    tokio::time::sleep(backoff(tries)).await;
                }
                done => return done,
            }
        }
    }
}
