//! The session: what the builder may ask of this side while it builds.
//!
//! Source: BuildKit's `session` package. The builder is the client here: it calls services over a connection that this
//! side opens, and a header for each method says which there are.

use super::address::{Address, Speaks};
use super::channel::{CALL_WINDOW, CONNECTION_WINDOW, unreachable};
use super::connection::{self, Connection};
use super::content::{self, Content, Stores};
use super::filesync::{FileSync, Sources};
use super::receive::{FileSend, Uploads};
use super::supplies::{Agents, Registries, Secrets};
use crate::engine::EngineError;
use crate::engine::settings::Settings;
use crate::image::digest::Digest;
use bollard_buildkit_proto::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
    health_check_response::ServingStatus, health_server,
};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::SecretsServer;
use bollard_buildkit_proto::moby::buildkit::v1 as buildkit;
use bollard_buildkit_proto::moby::filesync::{packet, v1 as filesync};
use bollard_buildkit_proto::moby::sshforward::v1::ssh_server::SshServer;
use futures_util::{Stream, StreamExt};
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::metadata::{MetadataKey, MetadataValue};
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

/// The methods that the builder may call.
const METHODS: [&str; 11] = [
    "/grpc.health.v1.Health/Check",
    "/moby.filesync.v1.FileSync/DiffCopy",
    "/moby.filesync.v1.FileSend/DiffCopy",
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.filesync.v1.Auth/FetchToken",
    "/moby.filesync.v1.Auth/GetTokenAuthority",
    "/moby.filesync.v1.Auth/VerifyTokenAuthority",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/moby.sshforward.v1.SSH/CheckAgent",
    "/moby.sshforward.v1.SSH/ForwardAgent",
    "/grpc.health.v1.Health/Watch",
];

/// A session that is open. Dropping it closes it.
pub(super) struct Session {
    pub(super) id: String,
    /// Cancelled when the builder has let go of it.
    pub(super) ended: CancellationToken,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

pub(super) async fn open(
    address: &Address,
    channel: &Channel,
    settings: &Settings,
    sources: Arc<Sources>,
    uploads: Arc<Uploads>,
    stores: Arc<Stores>,
) -> Result<Session, EngineError> {
    let id = random_id();
    let headers = [
        ("X-Docker-Expose-Session-Uuid", id.clone()),
        ("X-Docker-Expose-Session-Name", "stagedive".to_owned()),
        ("X-Docker-Expose-Session-Sharedkey", shared_key(settings)),
    ];
    let methods = METHODS.into_iter().chain(content::METHODS);
    let methods = methods.map(|method| ("X-Docker-Expose-Session-Grpc-Method", method.to_owned()));
    let headers: Vec<(String, String)> =
        headers.into_iter().chain(methods).map(|(name, value)| (name.to_owned(), value)).collect();
    let mut tasks = Vec::new();
    let connection = match address.speaks {
        Speaks::Docker => {
            let fresh = connection::connect(address).await.map_err(|error| unreachable(address, &error.to_string()))?;
            let upgraded = connection::upgrade(fresh, "/session", &headers).await;
            upgraded.map_err(|error| unreachable(address, &error.to_string()))?
        }
        Speaks::BuildKit => {
            let (connection, task) = within_a_call(channel, &headers).await?;
            tasks.push(task);
            connection
        }
    };
    let ended = CancellationToken::new();
    let secrets = Secrets(settings.secrets.clone());
    let agents = Agents(settings.agents.clone());
    let server = Server::builder()
        .initial_stream_window_size(CALL_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_service(health_server::HealthServer::new(Health))
        .add_service(packet::file_sync_server::FileSyncServer::new(FileSync(sources)))
        .add_service(FileSend(uploads))
        .add_service(filesync::auth_server::AuthServer::new(Registries))
        .add_service(SecretsServer::new(secrets))
        .add_service(SshServer::new(agents))
        .add_service(Content(stores))
        .serve_with_incoming(tokio_stream::once(Ok::<_, std::io::Error>(connection)).chain(tokio_stream::pending()));
    let over = ended.clone();
    tasks.push(AbortOnDropHandle::new(tokio::spawn(async move {
        let _ = server.await;
        over.cancel();
    })));
    Ok(Session { id, ended, _tasks: tasks })
}

/// 25 characters, as BuildKit's own ids have. Whoever knows a session's id can ask things of it, so nobody may guess one.
pub(super) fn random_id() -> String {
    // Does not fail on any system that has a builder to talk to.
    let random = |_| getrandom::u32().unwrap_or_default() % 36;
    (0..25).map(random).filter_map(|digit| char::from_digit(digit, 36)).collect()
}

/// By this the builder finds what an earlier session has sent of the same directory.
fn shared_key(settings: &Settings) -> String {
    let path = settings.context.as_ref().map(|it| it.path.as_os_str().as_encoded_bytes().to_vec());
    let mut text = b"stagedive:".to_vec();
    text.extend(std::fs::read("/etc/machine-id").unwrap_or_default());
    text.extend(path.unwrap_or_default());
    Digest::of(&text).hex().to_owned()
}

/// A stream of bytes that is carried in the messages of one call.
async fn within_a_call(
    channel: &Channel,
    headers: &[(String, String)],
) -> Result<(Connection, AbortOnDropHandle<()>), EngineError> {
    let (ours, theirs) = tokio::io::duplex(256 << 10);
    let (mut from_us, mut to_us) = tokio::io::split(theirs);
    let (sender, receiver) = mpsc::channel(16);
    let mut request = Request::new(ReceiverStream::new(receiver));
    for (name, value) in headers {
        let name: MetadataKey<_> =
            name.to_ascii_lowercase().parse().map_err(|_| EngineError::new("a header's name is wrong"))?;
        let value: MetadataValue<_> = value.parse().map_err(|_| EngineError::new("a header's value is wrong"))?;
        request.metadata_mut().append(name, value);
    }
    let mut control = buildkit::control_client::ControlClient::new(channel.clone());
    let task = tokio::spawn(async move {
        let send = async move {
            let mut buffer = vec![0; 32 << 10];
            while let Ok(count @ 1..) = from_us.read(&mut buffer).await {
                if sender.send(buildkit::BytesMessage { data: buffer[..count].to_vec() }).await.is_err() {
                    break;
                }
            }
        };
        let receive = async move {
            let mut stream = control.session(request).await?.into_inner();
            while let Some(message) = stream.message().await? {
                if to_us.write_all(&message.data).await.is_err() {
                    break;
                }
            }
            Ok::<(), Status>(())
        };
        let _ = tokio::join!(send, receive);
    });
    Ok((Connection::new(ours), AbortOnDropHandle::new(task)))
}

struct Health;

#[tonic::async_trait]
impl health_server::Health for Health {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving as i32 }))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("only Check is answered"))
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let now = HealthCheckResponse { status: ServingStatus::Serving as i32 };
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(now)).chain(tokio_stream::pending()))))
    }
}
