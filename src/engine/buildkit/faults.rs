//! Servers that are no builders, or builders that fail: each is told in a sentence, and nothing waits for ever.
//!
//! The clock is not real: it runs ahead when nothing happens.

use super::address::{Address, Speaks, Transport};
use super::engine::BuildKit;
use crate::engine::settings::Settings;
use crate::engine::{Engine, EngineErrorKind, Output};
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

/// What a server does with each connection.
#[derive(Clone, Copy)]
enum Server {
    Closes,
    Silent,
    /// Says this, and nothing more.
    Says(&'static [u8]),
    SaysAndEnds(&'static [u8]),
    /// Agrees to speak HTTP/2, and says this.
    Upgrades(&'static [u8]),
    /// Takes builds and gives so many signs of life, but answers nothing.
    Mute(usize),
}

/// Frames of HTTP/2: the settings, that the server goes away, data of no stream.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const GOES_AWAY: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const WRONG: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 1, 2, 3];

async fn serve(server: Server, mut stream: UnixStream) -> std::io::Result<()> {
    match server {
        Server::Closes => return Ok(()),
        Server::Silent => {}
        Server::Says(bytes) => stream.write_all(bytes).await?,
        Server::SaysAndEnds(bytes) => {
            stream.write_all(bytes).await?;
            stream.shutdown().await?;
        }
        Server::Upgrades(bytes) => {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await?);
            }
            stream.write_all(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n").await?;
            stream.write_all(bytes).await?;
        }
        Server::Mute(signs) => mute(&mut stream, signs).await?,
    }
    // Whatever comes is taken, so that nobody waits for that.
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
}

/// Just enough of HTTP/2 to answer a call whose request is an empty message, which of all calls only the sign of life's
/// is.
async fn mute(stream: &mut UnixStream, signs: usize) -> std::io::Result<()> {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await?;
    stream.write_all(SETTINGS).await?;
    let mut given = 0;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await?;
        let frame = |kind: u8, flags: u8, payload: &[u8]| {
            let size = (payload.len() as u32).to_be_bytes();
            [&size[1..], &[kind, flags], &id, payload].concat()
        };
        match kind {
            // Settings, and the transport's own sign of life.
            4 if flags & 1 == 0 => stream.write_all(&frame(4, 1, b"")).await?,
            6 if flags & 1 == 0 => stream.write_all(&frame(6, 1, &payload)).await?,
            0 if payload == [0; 5] && given < signs => {
                given += 1;
                let head = b"\x88\x00\x0ccontent-type\x10application/grpc";
                let tail = b"\x00\x0bgrpc-status\x010";
                let answer = [frame(1, 4, head), frame(0, 0, &[0; 5]), frame(1, 5, tail)].concat();
                stream.write_all(&answer).await?;
            }
            _ => {}
        }
    }
}

fn listen(server: Server, path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(server, stream));
        }
    });
}

async fn start(speaks: Speaks, path: &Path) -> Result<BuildKit, String> {
    let address = Address { speaks, transport: Transport::Local(path.to_owned()), name: "there".to_owned() };
    let started = BuildKit::start(address, Settings::default(), Vec::new(), None).await;
    started.map_err(|error| error.message)
}

/// What is said of such a server when it is to build.
async fn check(speaks: Speaks, server: Server, expected: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    listen(server, &path);
    let said = start(speaks, &path).await.err().unwrap_or_else(|| "it builds".to_owned());
    assert!(said.contains(expected), "{said:?}, wanted {expected:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_docker_engine() {
    let docker = Speaks::Docker;
    check(docker, Server::Closes, "there: no answer from a builder").await;
    check(docker, Server::Silent, "there: no answer from a builder").await;
    check(docker, Server::Says(b"SSH-2.0-OpenSSH\r\n"), "there: no answer from a builder").await;
    let refusal = b"HTTP/1.1 404 Not Found\r\nContent-Length: 8\r\n\r\nno \x1bgrpc";
    check(docker, Server::Says(refusal), "/grpc was refused: HTTP/1.1 404 Not Found").await;
    let podman = b"HTTP/1.1 404 Not Found\r\n\r\n{\"Components\":[{\"Name\":\"Podman Engine\"}]}";
    check(docker, Server::SaysAndEnds(podman), "there: this is Podman, which has no BuildKit").await;
    check(docker, Server::Upgrades(b"garbage and more garbage"), "builder").await;
    check(docker, Server::Upgrades(WRONG), "builder").await;
    check(docker, Server::Upgrades(b""), "builder").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_buildkit() {
    let buildkit = Speaks::BuildKit;
    check(buildkit, Server::Closes, "builder").await;
    check(buildkit, Server::Silent, "the builder gives no answer").await;
    check(buildkit, Server::Says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "there: no answer from a builder").await;
    check(buildkit, Server::Says(GOES_AWAY), "builder").await;
    check(buildkit, Server::Says(WRONG), "builder").await;
    check(buildkit, Server::Mute(0), "the builder gives no answer").await;
}

#[tokio::test(start_paused = true)]
async fn a_builder_that_falls_silent_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    listen(Server::Mute(3), &path);
    let engine = start(Speaks::BuildKit, &path).await.unwrap();
    let (sender, _events) = mpsc::channel(8);
    for _ in 0..2 {
        // The second time on a new connection.
        let error = engine.resolve("base", &Output(sender.clone())).await.unwrap_err();
        assert!(error.message.contains("the connection to the builder is lost"), "{}", error.message);
        assert_eq!(error.kind, EngineErrorKind::Lost);
    }
    engine.close().await.unwrap();
}
