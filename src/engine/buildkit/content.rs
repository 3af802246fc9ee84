//! Content that the builder fetches over the session, and content that it leaves there: images of this machine, and
//! caches in directories.
//!
//! Source: containerd's `containerd.services.content.v1`, which BuildKit speaks to its client; a header says which of
//! several stores is meant. Only the calls that builders make are answered.

use super::connection::printable;
use crate::image::contents::{Blob, Contents};
use crate::image::digest::Digest;
use crate::image::source::Place;
use crate::system;
use bollard_buildkit_proto::google::protobuf::Timestamp;
use http::{Request as HttpRequest, Response as HttpResponse};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::server::Grpc;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// The methods of this service that the builder may call.
pub(super) const METHODS: [&str; 4] = [INFO, READ, UPDATE, WRITE];

const INFO: &str = "/containerd.services.content.v1.Content/Info";
const READ: &str = "/containerd.services.content.v1.Content/Read";
const UPDATE: &str = "/containerd.services.content.v1.Content/Update";
const WRITE: &str = "/containerd.services.content.v1.Content/Write";

/// The header that names the store.
const STORE: &str = "buildkit-attachable-store-id";
/// Bytes of a blob in one message.
const CHUNK: usize = 1 << 20;
/// Bytes of one message that is taken.
const LARGEST_MESSAGE: usize = 32 << 20;

/// The stores that the builder may ask for, by the names it uses.
#[derive(Default)]
pub(super) struct Stores(Mutex<HashMap<String, Store>>);

#[derive(Clone)]
pub(super) enum Store {
    Image(Arc<Contents>),
    /// `blobs/sha256` of this directory, which is written to as well.
    Directory(PathBuf),
}

impl Stores {
    pub(super) fn set(&self, name: &str, store: Store) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), store);
    }

    fn of(&self, headers: &MetadataMap) -> Result<Store, Status> {
        let name = headers.get(STORE).and_then(|it| it.to_str().ok()).unwrap_or_default();
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        found.ok_or_else(|| Status::not_found(format!("there is no store {}", printable(name))))
    }
}

impl Store {
    fn blob(&self, digest: &str) -> Result<Blob, Status> {
        let digest: Digest = digest
            .parse()
            .map_err(|error: crate::image::digest::ParseDigestError| Status::invalid_argument(error.to_string()))?;
        let found = match self {
            Store::Image(contents) => contents.blob(&digest).map_err(|error| Status::internal(error.to_string()))?,
            Store::Directory(dir) => {
                let path = blob_path(dir, &digest);
                let metadata = path.symlink_metadata().ok().filter(std::fs::Metadata::is_file);
                metadata.map(|it| Blob::Place(Place { path, offset: 0, size: it.len() }))
            }
        };
        found.ok_or_else(|| Status::not_found(format!("content {digest}: not found")))
    }
}

fn blob_path(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join("blobs/sha256").join(digest.hex())
}

#[derive(Clone, PartialEq, prost::Message)]
struct Info {
    #[prost(string, tag = "1")]
    digest: String,
    #[prost(int64, tag = "2")]
    size: i64,
    #[prost(message, optional, tag = "3")]
    created_at: Option<Timestamp>,
    #[prost(message, optional, tag = "4")]
    updated_at: Option<Timestamp>,
    #[prost(map = "string, string", tag = "5")]
    labels: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct InfoRequest {
    #[prost(string, tag = "1")]
    digest: String,
}

/// The answers to Info and Update, and what Update asks for; which fields it would change is of no interest.
#[derive(Clone, PartialEq, prost::Message)]
struct InfoMessage {
    #[prost(message, optional, tag = "1")]
    info: Option<Info>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ReadRequest {
    #[prost(string, tag = "1")]
    digest: String,
    #[prost(int64, tag = "2")]
    offset: i64,
    /// 0 is all that follows.
    #[prost(int64, tag = "3")]
    size: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ReadAnswer {
    #[prost(int64, tag = "1")]
    offset: i64,
    #[prost(bytes = "vec", tag = "2")]
    data: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum Action {
    Stat = 0,
    Write = 1,
    Commit = 2,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WriteRequest {
    #[prost(enumeration = "Action", tag = "1")]
    action: i32,
    #[prost(string, tag = "2")]
    r#ref: String,
    #[prost(int64, tag = "3")]
    total: i64,
    #[prost(string, tag = "4")]
    expected: String,
    #[prost(int64, tag = "5")]
    offset: i64,
    #[prost(bytes = "vec", tag = "6")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WriteAnswer {
    #[prost(enumeration = "Action", tag = "1")]
    action: i32,
    #[prost(message, optional, tag = "2")]
    started_at: Option<Timestamp>,
    #[prost(message, optional, tag = "3")]
    updated_at: Option<Timestamp>,
    #[prost(int64, tag = "4")]
    offset: i64,
    #[prost(int64, tag = "5")]
    total: i64,
    #[prost(string, tag = "6")]
    digest: String,
}

fn now() -> Timestamp {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    Timestamp { seconds, nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0) }
}

fn length(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn info(store: &Store, digest: &str) -> Result<Response<InfoMessage>, Status> {
    let size = length(store.blob(digest)?.size());
    let (created_at, updated_at) = (Some(now()), Some(now()));
    let info = Info { digest: digest.to_owned(), size, created_at, updated_at, labels: HashMap::new() };
    Ok(Response::new(InfoMessage { info: Some(info) }))
}

type Answers<T> = ReceiverStream<Result<T, Status>>;

fn read(store: &Store, request: &ReadRequest) -> Result<Response<Answers<ReadAnswer>>, Status> {
    let blob = store.blob(&request.digest)?;
    let wrong = |_| Status::out_of_range("offset and size are not negative");
    let mut offset = u64::try_from(request.offset).map_err(wrong)?;
    let end = match u64::try_from(request.size).map_err(wrong)? {
        0 => blob.size(),
        size => blob.size().min(offset.saturating_add(size)),
    };
    if offset > blob.size() {
        return Err(Status::out_of_range(format!("offset {offset} is behind the end of {}", request.digest)));
    }
    let (sender, receiver) = mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        while offset < end {
            let limit = usize::try_from(end - offset).unwrap_or(CHUNK).min(CHUNK);
            let answer = blob.read(offset, limit).map(|data| ReadAnswer { offset: length(offset), data });
            let answer = answer.map_err(|error| Status::internal(error.to_string()));
            let failed = answer.is_err();
            if sender.blocking_send(answer).is_err() || failed {
                return;
            }
            offset += limit as u64;
        }
    });
    Ok(Response::new(ReceiverStream::new(receiver)))
}

/// A blob that is being written: found under its digest once it is whole.
struct Ingest {
    dir: PathBuf,
    file: tempfile::NamedTempFile,
    offset: u64,
    total: i64,
}

impl Ingest {
    fn begin(dir: &Path, request: &WriteRequest) -> Result<Ingest, Status> {
        let failed = |error: std::io::Error| Status::internal(format!("{}: {error}", dir.display()));
        if let Ok(digest) = request.expected.parse::<Digest>()
            && blob_path(dir, &digest).is_file()
        {
            return Err(Status::already_exists(format!("content {digest}: already exists")));
        }
        std::fs::create_dir_all(dir.join("blobs/sha256")).map_err(failed)?;
        let file = tempfile::Builder::new().prefix(".ingest-").tempfile_in(dir).map_err(failed)?;
        Ok(Ingest { dir: dir.to_owned(), file, offset: 0, total: request.total })
    }

    fn take(&mut self, request: &WriteRequest) -> Result<WriteAnswer, Status> {
        let failed = |error: std::io::Error| Status::internal(format!("content cannot be written: {error}"));
        let wants = u64::try_from(request.offset).unwrap_or(u64::MAX);
        if !request.data.is_empty() {
            if wants > self.offset {
                let message = format!("offset {wants} is behind the {} bytes that are there", self.offset);
                return Err(Status::out_of_range(message));
            }
            if wants < self.offset {
                self.file.as_file().set_len(wants).map_err(failed)?;
                self.file.seek(SeekFrom::Start(wants)).map_err(failed)?;
                self.offset = wants;
            }
            self.file.write_all(&request.data).map_err(failed)?;
            self.offset += request.data.len() as u64;
        }
        if request.total > 0 {
            self.total = request.total;
        }
        Ok(WriteAnswer {
            action: request.action,
            started_at: Some(now()),
            updated_at: Some(now()),
            offset: length(self.offset),
            total: self.total,
            digest: String::new(),
        })
    }

    fn commit(mut self, request: &WriteRequest) -> Result<WriteAnswer, Status> {
        let failed = |error: std::io::Error| Status::internal(format!("content cannot be written: {error}"));
        let answer = self.take(request)?;
        if request.total > 0 && request.total != length(self.offset) {
            let message = format!("{} bytes were to come, and {} did", request.total, self.offset);
            return Err(Status::failed_precondition(message));
        }
        self.file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; CHUNK];
        loop {
            match self.file.read(&mut buffer).map_err(failed)? {
                0 => break,
                count => hash.update(&buffer[..count]),
            }
        }
        let digest = Digest::from_hash(&hash.finalize());
        if !request.expected.is_empty() && request.expected != digest.to_string() {
            let message = format!("{} was to come, and {digest} did", printable(&request.expected));
            return Err(Status::failed_precondition(message));
        }
        system::set_mode(self.file.path(), 0o644).map_err(failed)?;
        self.file.persist(blob_path(&self.dir, &digest)).map_err(|error| failed(error.error))?;
        Ok(WriteAnswer { digest: digest.to_string(), ..answer })
    }
}

fn write(store: Store, mut requests: Streaming<WriteRequest>) -> Result<Response<Answers<WriteAnswer>>, Status> {
    let Store::Directory(dir) = store else {
        return Err(Status::permission_denied("an image of this machine is only read"));
    };
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        let mut ingest: Option<Ingest> = None;
        while let Ok(Some(request)) = requests.message().await {
            let (dir, under_way) = (dir.clone(), ingest.take());
            let work = move || -> Result<(Option<Ingest>, WriteAnswer), Status> {
                let mut ingest = match under_way {
                    Some(ingest) => ingest,
                    None => Ingest::begin(&dir, &request)?,
                };
                match request.action() {
                    Action::Commit => Ok((None, ingest.commit(&request)?)),
                    Action::Stat | Action::Write => {
                        let answer = ingest.take(&request)?;
                        Ok((Some(ingest), answer))
                    }
                }
            };
            let done = tokio::task::spawn_blocking(work).await;
            let answer = match done.unwrap_or_else(|error| Err(Status::internal(error.to_string()))) {
                Ok((next, answer)) => {
                    ingest = next;
                    Ok(answer)
                }
                Err(status) => Err(status),
            };
            let failed = answer.is_err();
            if sender.send(answer).await.is_err() || failed {
                return;
            }
        }
    });
    Ok(Response::new(ReceiverStream::new(receiver)))
}

/// The service. No generated code knows it, so its calls are told apart here.
#[derive(Clone)]
pub(super) struct Content(pub(super) Arc<Stores>);

impl tonic::server::NamedService for Content {
    const NAME: &'static str = "containerd.services.content.v1.Content";
}

type Served = Pin<Box<dyn Future<Output = Result<HttpResponse<Body>, Infallible>> + Send>>;

impl tower::Service<HttpRequest<Body>> for Content {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = Served;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Served {
        let stores = self.0.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                INFO => {
                    let answer = tower::service_fn(move |request: Request<InfoRequest>| {
                        let store = stores.of(request.metadata());
                        std::future::ready(store.and_then(|store| info(&store, &request.get_ref().digest)))
                    });
                    Grpc::new(ProstCodec::default()).unary(answer, request).await
                }
                UPDATE => {
                    let answer = tower::service_fn(move |request: Request<InfoMessage>| {
                        let store = stores.of(request.metadata());
                        let digest = request.into_inner().info.map(|it| it.digest).unwrap_or_default();
                        std::future::ready(store.and_then(|store| info(&store, &digest)))
                    });
                    Grpc::new(ProstCodec::default()).unary(answer, request).await
                }
                READ => {
                    let answer = tower::service_fn(move |request: Request<ReadRequest>| {
                        let store = stores.of(request.metadata());
                        std::future::ready(store.and_then(|store| read(&store, request.get_ref())))
                    });
                    Grpc::new(ProstCodec::default()).server_streaming(answer, request).await
                }
                WRITE => {
                    let answer = tower::service_fn(move |request: Request<Streaming<WriteRequest>>| {
                        let store = stores.of(request.metadata());
                        std::future::ready(store.and_then(|store| write(store, request.into_inner())))
                    });
                    let codec = ProstCodec::default();
                    Grpc::new(codec).max_decoding_message_size(LARGEST_MESSAGE).streaming(answer, request).await
                }
                path => {
                    let message = format!("{} is not answered", printable(path));
                    Status::unimplemented(message).into_http::<Body>()
                }
            })
        })
    }
}
