//! FileSync: the builder fetches directories of this machine, of files only what it does not have already.
//!
//! Source: BuildKit's `session/filesync` and `fsutil`. This side sends the properties of everything in order, then an
//! empty message; the builder asks for files by their number in that order; FIN ends it, on both sides.

use super::address::unescaped;
use super::connection::printable;
use super::walk::{self, Filter, Found};
use crate::system::{self, Special};
use bollard_buildkit_proto::fsutil::types::{Packet, Stat, packet::PacketType};
use bollard_buildkit_proto::moby::filesync::packet::file_sync_server;
use std::collections::HashMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

/// Bytes of a file in one message.
const CHUNK: usize = 32 << 10;
/// Messages on their way.
const QUEUE: usize = 64;

/// The directories that the builder may see, by the names it asks for.
#[derive(Default)]
pub(super) struct Sources(Mutex<HashMap<String, PathBuf>>);

impl Sources {
    pub(super) fn set(&self, name: &str, path: PathBuf) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), path);
    }

    fn get(&self, name: &str) -> Option<PathBuf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

pub(super) struct FileSync(pub(super) Arc<Sources>);

type Answer = mpsc::Sender<Result<Packet, Status>>;

#[tonic::async_trait]
impl file_sync_server::FileSync for FileSync {
    type DiffCopyStream = ReceiverStream<Result<Packet, Status>>;
    type TarStreamStream = ReceiverStream<Result<Packet, Status>>;

    async fn diff_copy(&self, request: Request<Streaming<Packet>>) -> Result<Response<Self::DiffCopyStream>, Status> {
        let name = values(request.metadata(), "dir-name").pop().unwrap_or_default();
        let root = self.0.get(&name);
        let root = root.ok_or_else(|| Status::not_found(format!("no access to the directory {}", printable(&name))))?;
        let filter = Filter {
            include: values(request.metadata(), "include-patterns"),
            exclude: values(request.metadata(), "exclude-patterns"),
            follow: values(request.metadata(), "followpaths"),
        };
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(serve(root, filter, request.into_inner(), sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn tar_stream(&self, _: Request<Streaming<Packet>>) -> Result<Response<Self::TarStreamStream>, Status> {
        Err(Status::unimplemented("directories are sent by DiffCopy"))
    }
}

/// The values of a header. Those that are not plain text are escaped, and a second header says so.
fn values(headers: &MetadataMap, name: &str) -> Vec<String> {
    let encoded = headers.get(format!("{name}-encoded")).is_some_and(|it| it.as_bytes() == b"1");
    let texts = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    texts.map(|text| if encoded { unescaped(text) } else { text.to_owned() }).collect()
}

/// Files that can be asked for, by their number; everything else has its number too.
#[derive(Default)]
struct Numbers {
    next: u32,
    files: HashMap<u32, PathBuf>,
}

async fn serve(root: PathBuf, filter: Filter, mut requests: Streaming<Packet>, answer: Answer) {
    let numbers = Arc::new(Mutex::new(Numbers::default()));
    let walking = {
        let (root, numbers, answer) = (root.clone(), numbers.clone(), answer.clone());
        tokio::task::spawn_blocking(move || announce(&root, &filter, &numbers, &answer))
    };
    let answered = async {
        loop {
            let Ok(Some(packet)) = requests.message().await else { return };
            match packet.r#type() {
                PacketType::PacketReq => {
                    let path = {
                        let numbers = numbers.lock().unwrap_or_else(PoisonError::into_inner);
                        numbers.files.get(&packet.id).cloned()
                    };
                    let Some(path) = path else {
                        let _ = answer.send(Err(Status::invalid_argument("there is no such file"))).await;
                        return;
                    };
                    let (id, to) = (packet.id, answer.clone());
                    let sent = tokio::task::spawn_blocking(move || send(&path, id, &to)).await;
                    if let Ok(Err(error)) = sent {
                        let _ = answer.send(Err(Status::internal(error.to_string()))).await;
                        return;
                    }
                }
                PacketType::PacketFin => {
                    let _ = answer.send(Ok(packet_of(PacketType::PacketFin))).await;
                    return;
                }
                PacketType::PacketErr => return,
                PacketType::PacketStat | PacketType::PacketData => {}
            }
        }
    };
    let failed = async {
        match walking.await {
            Ok(Ok(())) => std::future::pending::<()>().await,
            Ok(Err(error)) => drop(answer.send(Err(Status::internal(error.to_string()))).await),
            Err(error) => drop(answer.send(Err(Status::internal(error.to_string()))).await),
        }
    };
    tokio::select! {
        () = answered => {}
        () = failed => {}
    }
}

fn packet_of(kind: PacketType) -> Packet {
    Packet { r#type: kind as i32, ..Packet::default() }
}

/// Tells of everything there is, in order.
fn announce(root: &Path, filter: &Filter, numbers: &Mutex<Numbers>, answer: &Answer) -> io::Result<()> {
    let mut links = Links::default();
    let mut problem = None;
    walk::walk(root, filter, &mut |found| {
        let stat = match stat(root, &found, &mut links) {
            Ok(stat) => stat,
            Err(error) => {
                problem = Some(io::Error::new(error.kind(), format!("{}: {error}", found.path)));
                return false;
            }
        };
        {
            let mut numbers = numbers.lock().unwrap_or_else(PoisonError::into_inner);
            let number = numbers.next;
            numbers.next += 1;
            if !found.metadata.is_dir() && !found.metadata.is_symlink() {
                numbers.files.insert(number, root.join(&found.path));
            }
        }
        answer.blocking_send(Ok(Packet { stat: Some(stat), ..packet_of(PacketType::PacketStat) })).is_ok()
    })?;
    if let Some(problem) = problem {
        return Err(problem);
    }
    let _ = answer.blocking_send(Ok(packet_of(PacketType::PacketStat)));
    Ok(())
}

/// A file's bytes, then an empty message.
fn send(path: &Path, id: u32, answer: &Answer) -> io::Result<()> {
    let at = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let regular = std::fs::symlink_metadata(path).is_ok_and(|it| it.is_file());
    if !regular {
        // A socket, or what is gone since it was announced.
        let _ = answer.blocking_send(Ok(Packet { id, ..packet_of(PacketType::PacketData) }));
        return Ok(());
    }
    let mut file = std::fs::File::open(path).map_err(at)?;
    loop {
        let mut data = vec![0; CHUNK];
        let count = file.read(&mut data).map_err(at)?;
        data.truncate(count);
        let packet = Packet { id, data, ..packet_of(PacketType::PacketData) };
        if answer.blocking_send(Ok(packet)).is_err() || count == 0 {
            return Ok(());
        }
    }
}

/// The first name of each inode that has several.
#[derive(Default)]
struct Links(HashMap<(u64, u64), String>);

/// Bits of a mode as Go's `fs.FileMode` has them.
pub(super) mod go_mode {
    pub(in super::super) const DIRECTORY: u32 = 1 << 31;
    pub(in super::super) const SYMLINK: u32 = 1 << 27;
    pub(in super::super) const DEVICE: u32 = 1 << 26;
    pub(in super::super) const PIPE: u32 = 1 << 25;
    pub(in super::super) const SET_UID: u32 = 1 << 23;
    pub(in super::super) const SET_GID: u32 = 1 << 22;
    pub(in super::super) const CHARACTER: u32 = 1 << 21;
    pub(in super::super) const STICKY: u32 = 1 << 20;
}

/// What is told of one entry; a socket counts as an empty file. Owners are nobody's business: everything is root's.
fn stat(root: &Path, found: &Found, links: &mut Links) -> io::Result<Stat> {
    let metadata = &found.metadata;
    let properties = system::properties(metadata);
    let mut stat = Stat {
        path: found.path.clone(),
        mode: properties.mode & 0o777,
        mod_time: nanoseconds(metadata.modified()?),
        ..Stat::default()
    };
    let (device, kind) = match properties.special {
        Some(Special::Fifo) => ((0, 0), go_mode::PIPE),
        Some(Special::BlockDevice(major, minor)) => ((major, minor), go_mode::DEVICE),
        Some(Special::CharDevice(major, minor)) => ((major, minor), go_mode::DEVICE | go_mode::CHARACTER),
        Some(Special::Socket) | None => ((0, 0), 0),
    };
    (stat.devmajor, stat.devminor) = (i64::from(device.0), i64::from(device.1));
    let bits = [
        (metadata.is_dir(), go_mode::DIRECTORY),
        (metadata.is_symlink(), go_mode::SYMLINK),
        (properties.mode & 0o4000 != 0, go_mode::SET_UID),
        (properties.mode & 0o2000 != 0, go_mode::SET_GID),
        (properties.mode & 0o1000 != 0, go_mode::STICKY),
    ];
    stat.mode |= kind | bits.iter().filter(|(set, _)| *set).map(|(_, bit)| bit).sum::<u32>();
    let path = root.join(&found.path);
    if !metadata.is_dir() {
        stat.size = i64::try_from(metadata.len()).unwrap_or(i64::MAX);
    }
    if metadata.is_symlink() {
        stat.mode |= 0o777;
        stat.linkname = system::slashed(&std::fs::read_link(&path)?).into_owned();
    }
    if let Some(inode) = properties.shared {
        match links.0.get(&inode) {
            Some(first) => {
                stat.linkname.clone_from(first);
                stat.size = 0;
            }
            None => drop(links.0.insert(inode, found.path.clone())),
        }
    }
    stat.xattrs = system::extended_attributes(&path)?;
    Ok(stat)
}

/// Since 1970; before it, less than nothing.
fn nanoseconds(time: SystemTime) -> i64 {
    let count = |it: Duration| i64::try_from(it.as_nanos()).unwrap_or(i64::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => count(since),
        Err(before) => -count(before.duration()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard_buildkit_proto::moby::filesync::packet::file_sync_client::FileSyncClient;
    use bollard_buildkit_proto::moby::filesync::packet::file_sync_server::FileSyncServer;
    use futures_util::StreamExt;
    use hyper_util::rt::TokioIo;
    use tonic::transport::{Endpoint, Server};

    /// What a builder is told that asks for `dir` with these headers, and then for every file: one line each.
    fn check(dir: &str, headers: &[(&'static str, &str)], expected: &[&str]) {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("d")).unwrap();
        std::fs::write(root.path().join("d/one"), "1").unwrap();
        std::fs::write(root.path().join("large"), vec![b'x'; CHUNK + 1]).unwrap();
        std::fs::write(root.path().join("größe"), "").unwrap();
        let sources = Arc::new(Sources::default());
        sources.set("context", root.path().to_owned());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let shown = runtime.block_on(ask(sources, dir, headers));
        assert_eq!(shown, expected, "{dir} {headers:?}");
    }

    async fn ask(sources: Arc<Sources>, dir: &str, headers: &[(&'static str, &str)]) -> Vec<String> {
        let (client, server) = tokio::io::duplex(1 << 16);
        let server = super::super::connection::Connection::new(server);
        let incoming = tokio_stream::once(Ok::<_, io::Error>(server)).chain(tokio_stream::pending());
        let service = FileSyncServer::new(FileSync(sources));
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        let mut client = Some(client);
        let connector = tower::service_fn(move |_| {
            let client = client.take().map(TokioIo::new).ok_or(io::Error::from(io::ErrorKind::NotConnected));
            async move { client }
        });
        let channel = Endpoint::from_static("http://test").connect_with_connector(connector).await.unwrap();
        let (sender, receiver) = mpsc::channel(8);
        let mut request = Request::new(ReceiverStream::new(receiver));
        request.metadata_mut().insert("dir-name", dir.parse().unwrap());
        for (name, value) in headers {
            request.metadata_mut().append(*name, value.parse().unwrap());
        }
        let mut packets = match FileSyncClient::new(channel).diff_copy(request).await {
            Ok(packets) => packets.into_inner(),
            Err(status) => return vec![status.message().to_owned()],
        };
        let mut lines = Vec::new();
        let mut number = 0;
        let mut open = 0;
        let mut sizes: HashMap<u32, usize> = HashMap::new();
        loop {
            let packet = match packets.message().await {
                Ok(Some(packet)) => packet,
                Ok(None) => return lines,
                Err(status) => {
                    lines.push(status.message().to_owned());
                    return lines;
                }
            };
            match (packet.r#type(), packet.stat) {
                (PacketType::PacketStat, Some(stat)) => {
                    let directory = stat.mode & go_mode::DIRECTORY != 0;
                    lines.push(format!("{}{} {}:{}", stat.path, if directory { "/" } else { "" }, stat.uid, stat.gid));
                    if !directory {
                        open += 1;
                        let wanted = Packet { id: number, ..packet_of(PacketType::PacketReq) };
                        sender.send(wanted).await.unwrap();
                    }
                    number += 1;
                }
                (PacketType::PacketData, _) if packet.data.is_empty() => {
                    lines.push(format!("{} has {}", packet.id, sizes.remove(&packet.id).unwrap_or(0)));
                    open -= 1;
                    if open == 0 {
                        sender.send(packet_of(PacketType::PacketFin)).await.unwrap();
                    }
                }
                (PacketType::PacketData, _) => *sizes.entry(packet.id).or_default() += packet.data.len(),
                (PacketType::PacketFin, _) => lines.push("fin".to_owned()),
                _ => {}
            }
        }
    }

    /// Lines in an order that does not depend on when the builder asks.
    #[test]
    fn the_conversation() {
        check("elsewhere", &[], &["no access to the directory elsewhere"]);
        check("context", &[("include-patterns", "d/one")], &["d/ 0:0", "d/one 0:0", "1 has 1", "fin"]);
        check("context", &[("include-patterns", "large")], &["large 0:0", &format!("0 has {}", CHUNK + 1), "fin"]);
        let encoded = [("include-patterns", "gr%C3%B6%C3%9Fe"), ("include-patterns-encoded", "1")];
        check("context", &encoded, &["größe 0:0", "0 has 0", "fin"]);
        check(
            "context",
            &[("followpaths", "d"), ("exclude-patterns", "**/x*")],
            &["d/ 0:0", "d/one 0:0", "1 has 1", "fin"],
        );
    }
}
