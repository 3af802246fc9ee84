//! What the builder sends back: archives of the result, into files of this machine.

use bollard_buildkit_proto::moby::filesync::v1::{BytesMessage, file_send_server};
use std::sync::{Mutex, PoisonError};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Where the next archive goes. One export at a time.
#[derive(Default)]
pub(super) struct Uploads {
    next: Mutex<Option<Box<dyn AsyncWrite + Send + Unpin>>>,
    pub(super) one: tokio::sync::Mutex<()>,
}

impl Uploads {
    pub(super) fn expect(&self, writer: Box<dyn AsyncWrite + Send + Unpin>) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
    }

    /// What was expected and has not come.
    pub(super) fn take(&self) -> Option<Box<dyn AsyncWrite + Send + Unpin>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

pub(super) struct FileSend(pub(super) std::sync::Arc<Uploads>);

#[tonic::async_trait]
impl file_send_server::FileSend for FileSend {
    type DiffCopyStream = ReceiverStream<Result<BytesMessage, Status>>;

    async fn diff_copy(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let mut writer = self.0.take().ok_or_else(|| Status::permission_denied("nothing was asked for"))?;
        let mut messages = request.into_inner();
        // The stream of answers stays open until all is written: its end is what the builder waits for.
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            let failed = |error: std::io::Error| Status::internal(format!("the result cannot be written: {error}"));
            let result = async {
                while let Some(message) = messages.message().await? {
                    writer.write_all(&message.data).await.map_err(failed)?;
                }
                writer.shutdown().await.map_err(failed)
            };
            if let Err(status) = result.await {
                let _ = sender.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
