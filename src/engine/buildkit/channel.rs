//! The channel for calls to a builder.

use super::address::{Address, Speaks, Transport};
use super::connection::{self, printable};
use super::daemon;
use crate::engine::{EngineError, EngineErrorKind};
use hyper_util::rt::TokioIo;
use std::error::Error;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// Bytes that may be on their way to us, in one call and in all of a connection. A builder asks for each file of a
/// directory in a message of a dozen bytes, faster than files can be read, and a connection is broken off when more
/// small messages wait than half the second number allows for, at 256 bytes each. So the first may fill up with them.
pub(super) const CALL_WINDOW: u32 = 2 << 20;
pub(super) const CONNECTION_WINDOW: u32 = 128 << 20;

/// Opens one; the connection is made, so that a builder that is not there is known at once.
pub(super) async fn open(address: &Address) -> Result<Channel, EngineError> {
    let to = address.clone();
    let connector = tower::service_fn(move |_| {
        let address = to.clone();
        async move {
            let connection = connection::connect(&address).await?;
            let connection = match address.speaks {
                Speaks::Docker => connection::upgrade(connection, "/grpc", &[]).await?,
                Speaks::BuildKit => connection,
            };
            Ok::<_, std::io::Error>(TokioIo::new(connection))
        }
    });
    // The name is only for the server's log: where the connection leads is the connector's business.
    let endpoint = Endpoint::from_static("http://localhost")
        .initial_stream_window_size(CALL_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    match endpoint.connect_with_connector(connector).await {
        Ok(channel) => Ok(channel),
        Err(error) if has_no_buildkit(&error) && daemon::is_podman(address).await => Err(podman(address)),
        Err(error) => Err(unreachable(address, &innermost(&error))),
    }
}

fn has_no_buildkit(error: &(dyn Error + 'static)) -> bool {
    let mut at = Some(error);
    while let Some(error) = at {
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if kind == Some(std::io::ErrorKind::Unsupported) {
            return true;
        }
        at = error.source();
    }
    false
}

fn podman(address: &Address) -> EngineError {
    let help = [
        "on Linux, --engine embedded builds without it",
        "or run a BuildKit in it: podman run -d --name buildkitd --privileged docker.io/moby/buildkit, then \
         --builder podman-container://buildkitd",
        "the images that it has can be looked at: stagedive explore IMAGE",
    ];
    EngineError {
        message: format!("{address}: this is Podman, which has no BuildKit behind its socket"),
        help: help.map(str::to_owned).to_vec(),
        kind: EngineErrorKind::Lost,
    }
}

pub(super) fn unreachable(address: &Address, why: &str) -> EngineError {
    let help = match (&address.transport, address.speaks) {
        (Transport::Program(argv), _) => format!("it is reached by `{}`, which must work here", argv.join(" ")),
        (_, Speaks::Docker) => {
            "is the Docker Engine running, and may you use its socket? DOCKER_HOST or --builder says where it is"
                .to_owned()
        }
        (_, Speaks::BuildKit) => "is buildkitd running there? BUILDKIT_HOST or --builder says where it is".to_owned(),
    };
    EngineError {
        message: format!("{address}: no answer from a builder: {}", printable(why)),
        help: vec![help],
        kind: EngineErrorKind::Lost,
    }
}

/// The error that began it: what lies above repeats that something went wrong.
pub(super) fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut at = error;
    while let Some(source) = at.source() {
        at = source;
    }
    at.to_string()
}

/// A call's failure, as one sentence.
pub(super) fn failed(what: &str, status: &Status) -> EngineError {
    let said = match status.message() {
        "" => format!("{:?}", status.code()),
        message => printable(message),
    };
    let why = match status.source().map(innermost) {
        Some(cause) if !said.contains(&cause) => format!("{said}: {}", printable(&cause)),
        _ => said,
    };
    let kind = match super::trouble::is_lost(status) {
        true => EngineErrorKind::Lost,
        false => EngineErrorKind::Other,
    };
    EngineError { kind, message: format!("{what}: {why}"), help: super::trouble::help(&why) }
}
