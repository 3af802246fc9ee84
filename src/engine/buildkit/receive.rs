//! What the builder sends back: archives of the result, into files of this machine, and its files, into a directory.
//!
//! Source: BuildKit's `FileSend`. One call stands for two: an archive comes in messages of bytes, a directory in those
//! that FileSync has too. So which it is has to be known before the first message is read.

use super::receive_tree::{Say, Tree};
use bollard_buildkit_proto::fsutil::types::Packet;
use bollard_buildkit_proto::moby::filesync::v1::BytesMessage;
use http::{Request as HttpRequest, Response as HttpResponse};
use std::convert::Infallible;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// The only method.
pub(super) const METHOD: &str = "/moby.filesync.v1.FileSend/DiffCopy";

/// Bytes of one message.
const LARGEST_MESSAGE: usize = 32 << 20;

/// Where what comes next goes.
pub(super) enum Upload {
    Archive(Box<dyn AsyncWrite + Send + Unpin>),
    /// Into this directory.
    Files(PathBuf),
}

/// Whether the builder has sent what was expected.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Came {
    #[default]
    Nothing,
    Something,
}

/// One export at a time.
#[derive(Default)]
pub(super) struct Uploads {
    next: Mutex<(Option<Upload>, Came)>,
    /// Held for each entry: the files of several platforms come side by side, and none may be replaced between a look
    /// at it and what is done to it.
    writing: Mutex<()>,
    pub(super) one: tokio::sync::Mutex<()>,
}

impl Uploads {
    pub(super) fn expect(&self, upload: Upload) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = (Some(upload), Came::Nothing);
    }

    /// Where to put what comes now. An archive comes once; of files, each platform's come by themselves.
    fn come(&self) -> Option<Upload> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        next.1 = Came::Something;
        match &next.0 {
            Some(Upload::Files(root)) => Some(Upload::Files(root.clone())),
            _ => next.0.take(),
        }
    }

    /// Nothing more is expected. Whether something has come.
    pub(super) fn end(&self) -> bool {
        std::mem::take(&mut *self.next.lock().unwrap_or_else(PoisonError::into_inner)).1 == Came::Something
    }
}

type Answers<T> = ReceiverStream<Result<T, Status>>;

fn failed(error: &std::io::Error) -> Status {
    Status::internal(format!("the result cannot be written: {error}"))
}

fn archive(
    mut writer: Box<dyn AsyncWrite + Send + Unpin>,
    mut messages: Streaming<BytesMessage>,
) -> Response<Answers<BytesMessage>> {
    // The stream of answers stays open until all is written: its end is what the builder waits for.
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let result = async {
            while let Some(message) = messages.message().await? {
                writer.write_all(&message.data).await.map_err(|error| failed(&error))?;
            }
            writer.shutdown().await.map_err(|error| failed(&error))
        };
        if let Err(status) = result.await {
            let _ = sender.send(Err(status)).await;
        }
    });
    Response::new(ReceiverStream::new(receiver))
}

/// Requests are not waited with: the builder sends files while it has not read all of them.
fn files(
    root: PathBuf,
    uploads: Arc<Uploads>,
    mut messages: Streaming<Packet>,
) -> Response<UnboundedReceiverStream<Result<Packet, Status>>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (to_writer, mut packets) = mpsc::channel::<Packet>(64);
    let answer = sender.clone();
    tokio::task::spawn_blocking(move || {
        let work = || -> std::io::Result<()> {
            let mut tree = Tree::new(root)?;
            while let Some(packet) = packets.blocking_recv() {
                let said = {
                    let _one = uploads.writing.lock().unwrap_or_else(PoisonError::into_inner);
                    tree.take(packet)?
                };
                match said {
                    Say::Nothing => {}
                    Say::Packet(packet) => drop(answer.send(Ok(packet))),
                    Say::End => break,
                }
            }
            Ok(())
        };
        if let Err(error) = work() {
            let _ = answer.send(Err(failed(&error)));
        }
    });
    tokio::spawn(async move {
        // Ends with the writer, and then so does the stream of answers.
        while let Ok(Some(packet)) = messages.message().await {
            if to_writer.send(packet).await.is_err() {
                break;
            }
        }
        drop(sender);
    });
    Response::new(UnboundedReceiverStream::new(receiver))
}

#[derive(Clone)]
pub(super) struct FileSend(pub(super) Arc<Uploads>);

impl tonic::server::NamedService for FileSend {
    const NAME: &'static str = "moby.filesync.v1.FileSend";
}

type Served = Pin<Box<dyn Future<Output = Result<HttpResponse<Body>, Infallible>> + Send>>;

impl tower::Service<HttpRequest<Body>> for FileSend {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = Served;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Served {
        let uploads = self.0.clone();
        Box::pin(async move {
            if request.uri().path() != METHOD {
                return Ok(Status::unimplemented("only DiffCopy is answered").into_http());
            }
            Ok(match uploads.come() {
                None => Status::permission_denied("nothing was asked for").into_http(),
                Some(Upload::Archive(writer)) => {
                    let mut writer = Some(writer);
                    let answer = tower::service_fn(move |request: Request<Streaming<BytesMessage>>| {
                        let writer = writer.take().ok_or_else(|| Status::internal("it has been written"));
                        std::future::ready(writer.map(|writer| archive(writer, request.into_inner())))
                    });
                    let codec = ProstCodec::default();
                    Grpc::new(codec).max_decoding_message_size(LARGEST_MESSAGE).streaming(answer, request).await
                }
                Some(Upload::Files(root)) => {
                    let answer = tower::service_fn(move |request: Request<Streaming<Packet>>| {
                        std::future::ready(Ok(files(root.clone(), uploads.clone(), request.into_inner())))
                    });
                    let codec = ProstCodec::default();
                    Grpc::new(codec).max_decoding_message_size(LARGEST_MESSAGE).streaming(answer, request).await
                }
            })
        })
    }
}
