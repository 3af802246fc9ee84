//! One connection to a builder, as a stream of bytes in both directions.

use super::address::{Address, Transport};
use crate::system;
use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// As long as a server may take to be connected to, and to agree to an upgrade.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of an answer's head, and of the explanation of a refusal.
const LARGEST_HEAD: usize = 16 << 10;

pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

pub(super) struct Connection(Box<dyn Duplex>);

impl Connection {
    pub(super) fn new(stream: impl Duplex + 'static) -> Connection {
        Connection(Box::new(stream))
    }
}

/// Connects to where the address points.
pub(super) async fn connect(address: &Address) -> io::Result<Connection> {
    tokio::time::timeout(PATIENCE, to(address)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn to(address: &Address) -> io::Result<Connection> {
    match &address.transport {
        Transport::Local(path) => Ok(Connection::new(system::connect(path).await?)),
        Transport::Tcp { host, tls } => {
            let stream = tokio::net::TcpStream::connect(host).await?;
            // Calls are small messages that wait for each other's answers.
            stream.set_nodelay(true)?;
            system::keep_alive(&stream);
            match tls {
                None => Ok(Connection::new(stream)),
                Some(tls) => super::tls::wrap(stream, host, tls, address.speaks).await,
            }
        }
        Transport::Program(argv) => {
            let (program, arguments) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
            let mut command = Command::new(program);
            command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command
                .kill_on_drop(true)
                .spawn()
                .map_err(|error| io::Error::new(error.kind(), format!("`{program}` cannot be started: {error}")))?;
            match (child.stdin.take(), child.stdout.take()) {
                (Some(input), Some(output)) => {
                    let mut stderr = child.stderr.take();
                    let mut program = Program { input, output, _child: child };
                    // What it has to say about a failure is on its standard error, and the end is all that is seen here.
                    let first = program.first_bytes(&mut stderr).await?;
                    Ok(Connection::new(Begun { first, at: 0, rest: program }))
                }
                _ => Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
    }
}

/// Asks an HTTP server to speak HTTP/2 on this connection instead (`Upgrade: h2c`), which is how a Docker Engine gives
/// access to the BuildKit in it.
pub(super) async fn upgrade(
    mut connection: Connection,
    path: &str,
    headers: &[(String, String)],
) -> io::Result<Connection> {
    let mut request =
        format!("POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    connection.write_all(request.as_bytes()).await?;
    connection.flush().await?;
    let head = tokio::time::timeout(PATIENCE, head(&mut connection)).await;
    let head = head.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status == "101" {
        return Ok(connection);
    }
    let mut rest = Vec::new();
    let mut explanation = connection.take(LARGEST_HEAD as u64);
    let _ = tokio::time::timeout(Duration::from_millis(200), explanation.read_to_end(&mut rest)).await;
    let said = String::from_utf8_lossy(&rest);
    let first = head.lines().next().unwrap_or_default();
    Err(io::Error::other(format!("{path} was refused: {}", printable(&format!("{first} {said}")))))
}

/// The head of an answer, up to the empty line.
pub(super) async fn head(connection: &mut Connection) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > LARGEST_HEAD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"));
        }
        head.push(connection.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// One line, without control characters, of bounded length.
pub(super) fn printable(text: &str) -> String {
    let words: String = text.chars().map(|it| if it.is_control() { ' ' } else { it }).take(2000).collect();
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A program's standard input and output. It is killed when they are dropped.
struct Program {
    input: ChildStdin,
    output: ChildStdout,
    _child: Child,
}

impl Program {
    /// Waits for nothing but an early end: servers do not always speak first.
    async fn first_bytes(&mut self, stderr: &mut Option<tokio::process::ChildStderr>) -> io::Result<Vec<u8>> {
        let mut first = vec![0; 512];
        let early = tokio::time::timeout(Duration::from_millis(300), self.output.read(&mut first)).await;
        match early {
            Err(_) => Ok(Vec::new()),
            Ok(Ok(0)) => {
                let mut said = Vec::new();
                if let Some(stderr) = stderr {
                    let mut stderr = stderr.take(LARGEST_HEAD as u64);
                    let read = stderr.read_to_end(&mut said);
                    let _ = tokio::time::timeout(Duration::from_secs(1), read).await;
                }
                let said = printable(&String::from_utf8_lossy(&said));
                Err(io::Error::new(io::ErrorKind::ConnectionRefused, said))
            }
            Ok(Ok(count)) => {
                first.truncate(count);
                Ok(first)
            }
            Ok(Err(error)) => Err(error),
        }
    }
}

/// A stream whose first bytes have been read already.
struct Begun<T> {
    first: Vec<u8>,
    at: usize,
    rest: T,
}

impl<T: AsyncRead + Unpin> AsyncRead for Begun<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let at = self.at;
        if let Some(left) = self.first.get(at..).filter(|left| !left.is_empty()) {
            let count = left.len().min(buffer.remaining());
            buffer.put_slice(&left[..count]);
            self.at += count;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.rest).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Begun<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.rest).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.rest).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.rest).poll_shutdown(cx)
    }
}

impl AsyncRead for Program {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Program {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.input).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_shutdown(cx)
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl tonic::transport::server::Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}
