//! One connection to a builder, as a stream of bytes in both directions.

use super::address::{Address, Transport};
use crate::system;
use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::process::{Child, Command};
use tokio::time::Sleep;

/// As long as a server may take to be connected to, and to agree to an upgrade.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of an answer's head, and of the explanation of a refusal.
const LARGEST_HEAD: usize = 16 << 10;

pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

pub(super) struct Connection {
    stream: Box<dyn Duplex>,
    answered: bool,
    /// What is at the other end, where that is a program.
    program: Option<Program>,
}

impl Connection {
    pub(super) fn new(stream: impl Duplex + 'static) -> Connection {
        Connection { stream: Box::new(stream), answered: false, program: None }
    }

    /// Who closes a connection without an answer may have said why: that is for the reader, whom a failure to write
    /// would keep from it.
    fn sent<T>(&self, result: io::Result<T>, as_if: T) -> io::Result<T> {
        match result {
            Err(error) if !self.answered && CLOSED.contains(&error.kind()) => Ok(as_if),
            other => other,
        }
    }
}

const CLOSED: [io::ErrorKind; 2] = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];

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
            system::set_apart(&mut command);
            let mut child = command
                .kill_on_drop(true)
                .spawn()
                .map_err(|error| io::Error::new(error.kind(), format!("`{program}` cannot be started: {error}")))?;
            let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
                return Err(io::ErrorKind::BrokenPipe.into());
            };
            let program = Some(Program::new(program, child));
            Ok(Connection { program, ..Connection::new(tokio::io::join(output, input)) })
        }
    }
}

/// Asks an HTTP server to speak HTTP/2 on this connection instead (`Upgrade: h2c`), which is how a Docker Engine gives
/// access to the BuildKit in it. One that has none answers with [`io::ErrorKind::Unsupported`].
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
    let kind = if status == "404" { io::ErrorKind::Unsupported } else { io::ErrorKind::Other };
    Err(io::Error::new(kind, format!("{path} was refused: {}", printable(&format!("{first} {said}")))))
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

/// A program whose standard input and output are a connection. It is killed when this is dropped.
struct Program {
    name: String,
    /// What it writes to its standard error, where it says why it ends without an answer.
    said: Arc<Mutex<Vec<u8>>>,
    /// It has ended; what it said may still be on its way.
    ending: Option<Pin<Box<Sleep>>>,
    _child: Child,
}

/// As long as a program's last words may take.
const LAST_WORDS: Duration = Duration::from_millis(100);

impl Program {
    fn new(name: &str, mut child: Child) -> Program {
        let said = Arc::<Mutex<Vec<u8>>>::default();
        let (kept, stderr) = (said.clone(), child.stderr.take());
        tokio::spawn(async move {
            let Some(mut stderr) = stderr else { return };
            let mut buffer = vec![0; 4096];
            // To its end, so that the program never waits for a reader.
            while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let room = LARGEST_HEAD.saturating_sub(kept.len());
                kept.extend(&buffer[..count.min(room)]);
            }
        });
        Program { name: name.to_owned(), said, ending: None, _child: child }
    }

    /// Why it has ended without an answer.
    fn poll_last_words(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let ending = self.ending.get_or_insert_with(|| Box::pin(tokio::time::sleep(LAST_WORDS)));
        ready!(ending.as_mut().poll(cx));
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let said = match printable(&String::from_utf8_lossy(&said)) {
            nothing if nothing.is_empty() => format!("`{}` ended without an answer", self.name),
            said => said,
        };
        Poll::Ready(io::Error::new(io::ErrorKind::ConnectionRefused, said))
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        // At the end of what a program says this is asked again, and the end stays.
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.answered |= buffer.filled().len() > before;
        let is_end = buffer.filled().len() == before && buffer.remaining() > 0;
        let answered = self.answered;
        match &mut self.program {
            Some(program) if is_end && !answered => program.poll_last_words(cx).map(Err),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        Poll::Ready(self.sent(written, bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        Poll::Ready(self.sent(flushed, ()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl tonic::transport::server::Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

#[cfg(all(test, unix))]
mod tests {
    use super::super::address::Speaks;
    use super::*;

    /// What a program says, or why it does not, that is asked for an upgrade.
    async fn check(script: &str, expected: &str) {
        let transport = Transport::Program(["sh", "-c", script].map(str::to_owned).to_vec());
        let address = Address { speaks: Speaks::Docker, transport, name: "there".to_owned() };
        let asked = async {
            let mut connection = upgrade(connect(&address).await?, "/grpc", &[]).await?;
            let mut said = String::new();
            connection.read_to_string(&mut said).await.map(|_| said)
        };
        let said = asked.await.unwrap_or_else(|error| error.to_string());
        assert_eq!(said, expected, "{script}");
    }

    #[tokio::test]
    async fn programs() {
        check("printf 'HTTP/1.1 101 OK\\r\\n\\r\\nhello'; cat >/dev/null & sleep 0.1", "hello").await;
        check("sleep 0.5; echo no such host >&2; exit 1", "no such host").await;
        check("exec <&-; echo first >&2; sleep 0.2; echo then >&2", "first then").await;
        check("exit 3", "`sh` ended without an answer").await;
        check("printf 'HTTP/1.1 403 No\\r\\n\\r\\n'; echo words >&2", "/grpc was refused: HTTP/1.1 403 No").await;
    }
}
