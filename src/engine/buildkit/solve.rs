//! One step: solved up to its vertex, with what it says on the way.

use super::bridge::Bridge;
use super::definition::{Definition, Edge};
use super::progress::{Ended, Word};
use super::trouble::{self, Details};
use crate::engine::{Output, OutputEvent, StepError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How long the builder's last words may come after its answer.
const LAST_WORDS: Duration = Duration::from_millis(150);

pub(super) struct Solved {
    /// The name of what came out; empty if nothing is in it.
    pub(super) result: String,
    /// Not known of a vertex that the same build has solved before.
    pub(super) ended: Option<Ended>,
}

pub(super) struct Unsolved {
    pub(super) error: StepError,
    pub(super) details: Details,
}

/// Solves up to an edge. `own` are the vertices that belong to this step: what they say is its output.
pub(super) async fn run(
    bridge: &Bridge,
    definition: &Definition,
    edge: &Edge,
    own: &[String],
    afresh: bool,
    output: &Output,
    cancel: &CancellationToken,
) -> Result<Solved, Unsolved> {
    let known = bridge.progress.ended(&edge.vertex).filter(|_| !afresh);
    let mut words = bridge.progress.listen(own);
    let mut solving = std::pin::pin!(bridge.run(definition.up_to(edge, afresh)));
    let solved = loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(cancelled()),
            Some(word) = words.recv() => drop(say(word, output).await),
            solved = &mut solving => break solved,
            () = bridge.ended.cancelled() => {
                let gone = trouble::gone("");
                return Err(Unsolved { error: gone.into(), details: Details::default() });
            }
        }
    };
    // Where the end is known, what was said before it is in the channel.
    let mut over = known.is_some() || bridge.progress.ended(&edge.vertex).is_some();
    while let Ok(word) = words.try_recv() {
        over |= say(word, output).await.is_some_and(|done| is_vertex(&done, &edge.vertex));
    }
    if !over {
        last_words(&mut words, &edge.vertex, output, cancel).await;
    }
    match solved {
        Ok(result) => {
            let ended = bridge.progress.ended(&edge.vertex);
            Ok(Solved { result, ended })
        }
        Err(status) if cancel.is_cancelled() => {
            let _ = status;
            Err(cancelled())
        }
        Err(status) => {
            let details = trouble::details(&status);
            Err(Unsolved { error: trouble::step_error(&status, &details), details })
        }
    }
}

fn cancelled() -> Unsolved {
    let kind = crate::engine::StepErrorKind::Cancelled;
    let error = StepError { kind, message: "cancelled".to_owned(), help: Vec::new(), after: None };
    Unsolved { error, details: Details::default() }
}

/// The builder answers and speaks on two streams; what it says comes to an end with the vertex.
async fn last_words(words: &mut mpsc::Receiver<Word>, vertex: &str, output: &Output, cancel: &CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            word = tokio::time::timeout(LAST_WORDS, words.recv()) => match word {
                Ok(Some(word)) => {
                    if say(word, output).await.is_some_and(|done| is_vertex(&done, vertex)) {
                        return;
                    }
                }
                Ok(None) | Err(_) => return,
            }
        }
    }
}

fn is_vertex(name: &str, vertex: &str) -> bool {
    name == vertex || name == super::definition::uncached_name(vertex)
}

/// Answers with the vertex, if the word is that it is done.
async fn say(word: Word, output: &Output) -> Option<String> {
    let event = match word {
        Word::Log { stream: 2, bytes, .. } => OutputEvent::Stderr(bytes),
        Word::Log { bytes, .. } => OutputEvent::Stdout(bytes),
        Word::Progress { what, done, total } => OutputEvent::Progress { what, done, total },
        Word::Warning(text) => OutputEvent::Notice(text),
        Word::Done { vertex } => return Some(vertex),
    };
    let _ = output.0.send(event).await;
    None
}
