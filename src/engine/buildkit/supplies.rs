//! What a build may ask this side for besides files: registry credentials, secrets, ssh agents.

use super::connection::printable;
use crate::engine::settings::Secret;
use crate::image::auth::{self, Credentials};
use crate::image::source::Surroundings;
use crate::system;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{
    GetSecretRequest, GetSecretResponse, secrets_server::Secrets as SecretsService,
};
use bollard_buildkit_proto::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
    GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse, auth_server::Auth,
};
use bollard_buildkit_proto::moby::sshforward::v1::{
    BytesMessage, CheckAgentRequest, CheckAgentResponse, ssh_server::Ssh,
};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Credentials from where Docker's client keeps them. The builder gets tokens by itself, with these.
pub(super) struct Registries;

#[tonic::async_trait]
impl Auth for Registries {
    async fn credentials(&self, request: Request<CredentialsRequest>) -> Result<Response<CredentialsResponse>, Status> {
        let host = request.into_inner().host;
        let registry = if host == "registry-1.docker.io" { "docker.io" } else { &host };
        let surroundings = Surroundings::from_environment();
        // A helper that fails means going on without credentials, as with Docker's client.
        let (found, _) = auth::credentials(surroundings.docker.config.as_deref(), registry).await;
        let (username, secret) = match found {
            Credentials::Basic { user, password } => (user, password),
            Credentials::Identity(token) => (String::new(), token),
            // The protocol has no place for an access token.
            Credentials::Bearer(_) | Credentials::Anonymous => (String::new(), String::new()),
        };
        Ok(Response::new(CredentialsResponse { username, secret }))
    }

    async fn fetch_token(&self, _: Request<FetchTokenRequest>) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unavailable("tokens are the builder's business"))
    }

    async fn get_token_authority(
        &self,
        _: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unavailable("tokens are the builder's business"))
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unavailable("tokens are the builder's business"))
    }
}

/// `--secret`, by id.
pub(super) struct Secrets(pub(super) BTreeMap<String, Secret>);

#[tonic::async_trait]
impl SecretsService for Secrets {
    async fn get_secret(&self, request: Request<GetSecretRequest>) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        let Some(secret) = self.0.get(&id).cloned() else {
            return Err(Status::not_found(format!("secret {}: not found", printable(&id))));
        };
        let read = tokio::task::spawn_blocking(move || secret.read()).await;
        let data = read.map_err(|error| Status::internal(error.to_string()))?.map_err(Status::not_found)?;
        Ok(Response::new(GetSecretResponse { data }))
    }
}

/// `--ssh`: the agents' sockets, by id.
pub(super) struct Agents(pub(super) BTreeMap<String, PathBuf>);

/// The id where a mount names none.
const DEFAULT_AGENT: &str = "default";

impl Agents {
    fn socket(&self, id: &str) -> Result<&PathBuf, Status> {
        let id = if id.is_empty() { DEFAULT_AGENT } else { id };
        let missing = || {
            let id = printable(id);
            Status::not_found(format!("unset ssh forward key {id}: no agent is given for it, --ssh {id} gives one"))
        };
        self.0.get(id).ok_or_else(missing)
    }
}

#[tonic::async_trait]
impl Ssh for Agents {
    type ForwardAgentStream = ReceiverStream<Result<BytesMessage, Status>>;

    async fn check_agent(&self, request: Request<CheckAgentRequest>) -> Result<Response<CheckAgentResponse>, Status> {
        self.socket(&request.into_inner().id)?;
        Ok(Response::new(CheckAgentResponse {}))
    }

    async fn forward_agent(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::ForwardAgentStream>, Status> {
        let id =
            request.metadata().get("buildkit.ssh.id").and_then(|it| it.to_str().ok()).unwrap_or_default().to_owned();
        let socket = self.socket(&id)?;
        let stream = system::connect(socket).await;
        let stream = stream.map_err(|error| Status::unavailable(format!("{}: {error}", socket.display())))?;
        let (mut from_agent, mut to_agent) = tokio::io::split(stream);
        let (sender, receiver) = mpsc::channel(16);
        let mut messages = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(message)) = messages.message().await {
                if to_agent.write_all(&message.data).await.is_err() {
                    break;
                }
            }
            let _ = to_agent.shutdown().await;
        });
        tokio::spawn(async move {
            let mut buffer = vec![0; 32 << 10];
            while let Ok(count @ 1..) = from_agent.read(&mut buffer).await {
                if sender.send(Ok(BytesMessage { data: buffer[..count].to_vec() })).await.is_err() {
                    break;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
