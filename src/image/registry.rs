//! Images in registries.
//!
//! Source: the OCI distribution specification, and Docker's manifest schema 2 where registries still have it.

use super::auth;
use super::digest::Digest;
use super::download::{Wanted, download};
use super::fetch::{self, Expected};
use super::http::Repository;
use super::manifest::{DOCKER_INDEX, DOCKER_MANIFEST, LARGEST_DOCUMENT};
use super::reference::Reference;
use super::resolve::{self, Documents, Role};
use super::source::{Blobs, LayerBlob, Opened, SourceError, SourceErrorKind};
use crate::names::platform::Platform;
use async_trait::async_trait;
use oci_spec::image::MediaType;
use reqwest::Client;
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
        let what = format!("manifest {version}");
        let ask = |client: &Client| client.get(&url).header(ACCEPT, accepted());
        let (headers, bytes) = self.repository.document(&what, LARGEST_DOCUMENT, ask).await?;
        let said = headers.get("docker-content-digest").and_then(|it| it.to_str().ok()?.parse().ok());
        Ok((bytes, said))
    }
}

#[async_trait]
impl Documents for Image {
    async fn document(&self, digest: &Digest, role: Role) -> Result<Vec<u8>, SourceError> {
        match role {
            Role::Manifest => Ok(self.manifest(&digest.to_string()).await?.0),
            Role::Config => {
                let url = self.repository.url(&format!("blobs/{digest}"));
                let what = format!("blob {digest}");
                Ok(self.repository.document(&what, LARGEST_DOCUMENT, |client| client.get(&url)).await?.1)
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
        download(&Wanted { repository: &self.image.repository, digest, expected }, into, progress).await
    }
}
