//! What a builder says while it works, given to whoever waits for it.
//!
//! One task reads the builder's stream; each running step has a channel for its own vertices. A step that does not
//! read slows the stream, and so what the builder keeps for us is bounded by its own pace.

use super::definition::uncached_name;
use bollard_buildkit_proto::google::protobuf::Timestamp;
use bollard_buildkit_proto::moby::buildkit::v1 as buildkit;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Messages of one step that wait to be taken.
const QUEUE: usize = 32;
/// Vertices that are remembered of one build.
const VERTICES: usize = 100_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// 1 is standard output, 2 standard error.
    Log {
        vertex: String,
        stream: i64,
        bytes: Vec<u8>,
    },
    /// Bytes so far of all, 0 where it is not known.
    Progress {
        what: String,
        done: u64,
        total: u64,
    },
    Warning(String),
    /// The vertex is done, well or not.
    Done {
        vertex: String,
    },
}

/// How a vertex ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) cached: bool,
    pub(super) duration: Duration,
}

#[derive(Default)]
pub(super) struct Progress {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ended: HashMap<String, Ended>,
    listeners: HashMap<String, Vec<mpsc::Sender<Word>>>,
}

impl Progress {
    /// A channel for what is said of these vertices from now on. Dropping it ends the matter.
    pub(super) fn listen(&self, vertices: &[String]) -> mpsc::Receiver<Word> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.listeners.retain(|_, senders| {
            senders.retain(|it| !it.is_closed());
            !senders.is_empty()
        });
        for vertex in vertices {
            for name in [vertex.clone(), uncached_name(vertex)] {
                state.listeners.entry(name).or_default().push(sender.clone());
            }
        }
        receiver
    }

    /// How the vertex ended, as far as the builder has said so.
    pub(super) fn ended(&self, vertex: &str) -> Option<Ended> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ended.get(&uncached_name(vertex)).or_else(|| state.ended.get(vertex)).copied()
    }

    /// Takes one message of the builder's stream.
    pub(super) async fn take(&self, message: buildkit::StatusResponse) {
        for log in message.logs {
            let word = Word::Log { vertex: log.vertex.clone(), stream: log.stream, bytes: log.msg };
            self.tell(&log.vertex, word).await;
        }
        for status in message.statuses {
            let vertex = status.vertex.clone();
            let (what, done, total) = amount(status);
            self.tell(&vertex, Word::Progress { what, done, total }).await;
        }
        for warning in message.warnings {
            let text = String::from_utf8_lossy(&warning.short).into_owned();
            self.tell(&warning.vertex, Word::Warning(text)).await;
        }
        for vertex in message.vertexes {
            let Some(completed) = &vertex.completed else { continue };
            let duration = vertex.started.as_ref().map_or(Duration::ZERO, |started| between(started, completed));
            {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if state.ended.len() < VERTICES {
                    state.ended.insert(vertex.digest.clone(), Ended { cached: vertex.cached, duration });
                }
            }
            self.tell(&vertex.digest, Word::Done { vertex: vertex.digest.clone() }).await;
        }
    }

    /// Tells everybody who listens, unless they have enough to read as it is.
    pub(super) fn notice(&self, text: &str) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told: Vec<&mpsc::Sender<Word>> = Vec::new();
        for listener in state.listeners.values().flatten() {
            if !told.iter().any(|it| it.same_channel(listener)) {
                let _ = listener.try_send(Word::Warning(text.to_owned()));
                told.push(listener);
            }
        }
    }

    async fn tell(&self, vertex: &str, word: Word) {
        let listeners = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.listeners.get(vertex).cloned().unwrap_or_default()
        };
        for listener in listeners {
            let _ = listener.send(word.clone()).await;
        }
    }
}

/// What is worked on, and bytes so far of all.
pub(super) fn amount(status: buildkit::VertexStatus) -> (String, u64, u64) {
    let what = if status.name.is_empty() { status.id } else { status.name };
    let positive = |count: i64| u64::try_from(count).unwrap_or(0);
    (short(&what), positive(status.current), positive(status.total))
}

fn between(start: &Timestamp, end: &Timestamp) -> Duration {
    let nanos = |it: &Timestamp| i128::from(it.seconds) * 1_000_000_000 + i128::from(it.nanos);
    Duration::from_nanos(u64::try_from(nanos(end) - nanos(start)).unwrap_or(0))
}

/// A layer's digest in the length that people know it by.
fn short(what: &str) -> String {
    match what.split_once("sha256:") {
        Some((before, hex)) => format!("{before}sha256:{}", hex.get(..12).unwrap_or(hex)),
        None => what.to_owned(),
    }
}

/// The stream of a build, until it ends. The task that runs this ends with the build.
pub(super) async fn follow(progress: Arc<Progress>, mut stream: tonic::Streaming<buildkit::StatusResponse>) {
    while let Ok(Some(message)) = stream.message().await {
        progress.take(message).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Listens to each list of vertices, and counts what reaches whom of a notice that is given so many times.
    fn check(listeners: &[&[&str]], times: usize, expected: &[usize]) {
        let progress = Progress::default();
        let names = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let receivers: Vec<_> = listeners.iter().map(|list| progress.listen(&names(list))).collect();
        (0..times).for_each(|_| progress.notice("silence"));
        let counts: Vec<usize> = receivers.iter().map(mpsc::Receiver::len).collect();
        assert_eq!(counts, expected);
    }

    #[test]
    fn a_notice_reaches_everybody_once_and_waits_for_nobody() {
        check(&[], 1, &[]);
        check(&[&["a"], &["a", "b"], &["c"]], 1, &[1, 1, 1]);
        check(&[&["a", "b"]], QUEUE + 1, &[QUEUE]);
    }
}
