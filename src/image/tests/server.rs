//! A small HTTP server on loopback that plays a registry.

use super::{Descriptor, Digest, Store};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: String,
    /// With its query.
    pub(super) path: String,
    pub(super) authorization: Option<String>,
    pub(super) range: Option<String>,
    pub(super) body: Vec<u8>,
}

pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    /// Close the connection after so many bytes of the body.
    pub(super) cut: Option<usize>,
    /// Whether it says how long the body is.
    pub(super) is_framed: bool,
}

impl Reply {
    pub(super) fn new(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        Reply { status, headers: Vec::new(), body: body.into(), cut: None, is_framed: true }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn cut(self, bytes: usize) -> Reply {
        Reply { cut: Some(bytes), ..self }
    }

    /// The part of a body that a request asks for, as registries give it.
    pub(super) fn part(self, request: &Request) -> Reply {
        let asked = request.range.as_ref().and_then(|it| it.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        let Some(start) = asked.filter(|start| self.status == 200 && *start < self.body.len()) else { return self };
        let range = format!("bytes {start}-{}/{}", self.body.len() - 1, self.body.len());
        Reply { status: 206, body: self.body[start..].to_vec(), ..self }.with("content-range", range)
    }
}

type Answer = dyn Fn(&Request) -> Reply + Send + Sync;

/// Its address, and what was asked so far.
pub(super) struct Server {
    pub(super) address: String,
    pub(super) asked: Arc<Mutex<Vec<Request>>>,
}

/// Serves as long as the runtime lives.
pub(super) async fn serve(answer: impl Fn(&str, &Request) -> Reply + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (seen, own) = (asked.clone(), address.clone());
    let answer: Arc<Answer> = Arc::new(move |request: &Request| {
        seen.lock().unwrap().push(request.clone());
        answer(&own, request)
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_one(stream, answer.clone()));
        }
    });
    Server { address, asked }
}

/// The same on a socket in the file system.
#[cfg(unix)]
pub(super) fn serve_socket(path: &std::path::Path, answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) {
    let listener = tokio::net::UnixListener::bind(path).unwrap();
    let answer: Arc<Answer> = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_one(stream, answer.clone()));
        }
    });
}

/// One request a connection. What is no HTTP (the client tries TLS first) closes it.
async fn serve_one(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: Arc<Answer>) -> Option<()> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
            break end;
        }
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).await.ok().filter(|length| *length > 0)?;
        bytes.extend_from_slice(&buffer[..length]);
        if bytes[0] == 0x16 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let header = |name: &str| {
        let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    };
    let mut body = bytes[end + 4..].to_vec();
    let length: usize = header("content-length").and_then(|it| it.parse().ok()).unwrap_or(0);
    let have = body.len().min(length);
    body.resize(length, 0);
    stream.read_exact(&mut body[have..]).await.ok()?;
    let mut words = head.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (authorization, range) = (header("authorization"), header("range"));
    let reply = answer(&Request { method, path, authorization, range, body });
    let mut head = format!("HTTP/1.1 {} x\r\nconnection: close\r\n", reply.status);
    if reply.is_framed {
        head += &format!("content-length: {}\r\n", reply.body.len());
    }
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes()).await.ok()?;
    let length = reply.cut.unwrap_or(usize::MAX).min(reply.body.len());
    stream.write_all(&reply.body[..length]).await.ok()?;
    stream.shutdown().await.ok()
}

/// What a registry that has `store` under the repository `app` answers; `tags` lead to manifests.
pub(super) fn registry_answer(store: &Store, tags: &[(&str, Descriptor)], request: &Request) -> Reply {
    let missing = || Reply::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#);
    let content = |digest: &Digest| match store.blobs.get(digest) {
        Some(bytes) => Reply::new(200, bytes.clone()).with("docker-content-digest", digest.to_string()),
        None => missing(),
    };
    let by_digest = |text: &str| text.parse().map_or_else(|_| missing(), |digest| content(&digest));
    if let Some(version) = request.path.strip_prefix("/v2/app/manifests/") {
        return match tags.iter().find(|(tag, _)| *tag == version) {
            Some((_, descriptor)) => by_digest(descriptor.digest().as_ref()),
            None => by_digest(version),
        };
    }
    match request.path.strip_prefix("/v2/app/blobs/") {
        Some(digest) => by_digest(digest),
        None => Reply::new(if request.path == "/v2/" { 200 } else { 404 }, ""),
    }
}
