//! How far the reading of an image is, on one line of a terminal; nothing where there is none.

use crate::image::inventory::Progress;
use crate::image::source::LayerBlob;
use crate::tui::text;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const REDRAWN_EVERY: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub struct Shown(Option<Arc<Mutex<Line>>>);

struct Line {
    last: Instant,
    drawn: bool,
}

impl Shown {
    pub fn on_stderr() -> Shown {
        let line = Line { last: Instant::now(), drawn: false };
        Shown(std::io::stderr().is_terminal().then(|| Arc::new(Mutex::new(line))))
    }

    pub fn say(&self, text: impl FnOnce() -> String) {
        let Some(line) = &self.0 else { return };
        let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
        if line.last.elapsed() < REDRAWN_EVERY {
            return;
        }
        line.last = Instant::now();
        line.drawn = true;
        let _ = write!(std::io::stderr(), "\r\x1b[K{}", text());
    }

    pub fn clear(&self) {
        let Some(line) = &self.0 else { return };
        if line.lock().unwrap_or_else(PoisonError::into_inner).drawn {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// Of an image that is taken from a daemon as a whole; how much there is may be known about.
pub fn taken(done: u64, about: u64) -> String {
    let of = if about >= done { format!(" of about {}", text::size(about)) } else { String::new() };
    format!("taking {}{of} from the daemon", text::size(done))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Fetching,
    Reading,
    Done,
}

/// How far each layer is, in bytes of its blob.
pub struct Layers {
    layers: Vec<(Stage, u64, u64)>,
    /// Whether some are not of this machine.
    are_fetched: bool,
}

impl Layers {
    pub fn new(layers: &[LayerBlob]) -> Layers {
        Layers { layers: layers.iter().map(|layer| (Stage::Waiting, 0, layer.size)).collect(), are_fetched: false }
    }

    pub fn take(&mut self, progress: &Progress) {
        let (layer, stage, done, total) = match progress {
            Progress::Fetched { layer, done, total } => (*layer, Stage::Fetching, *done, *total),
            Progress::Read { layer, done, total } => (*layer, Stage::Reading, *done, *total),
            Progress::Finished { layer, facts } => (*layer, Stage::Done, facts.compressed, facts.compressed),
            Progress::Tree(_) | Progress::Alone { .. } => return,
        };
        self.are_fetched |= stage == Stage::Fetching;
        if let Some(slot) = self.layers.get_mut(layer) {
            // Not every source says a size before all has come.
            *slot = (stage, done, total.max(done).max(slot.2));
        }
    }

    /// As long as something is on its way here, how much has come; then how much has been read.
    pub fn text(&self) -> String {
        let is_missing = |stage: Stage| matches!(stage, Stage::Waiting | Stage::Fetching);
        let is_fetching = self.are_fetched && self.layers.iter().any(|(stage, ..)| is_missing(*stage));
        let is_done = |stage: Stage| stage == Stage::Done || (is_fetching && stage == Stage::Reading);
        let done = self.layers.iter().map(|(stage, done, total)| if is_done(*stage) { *total } else { *done });
        let total = self.layers.iter().map(|(.., total)| *total);
        let (done, total) = (done.fold(0, u64::saturating_add), total.fold(0, u64::saturating_add));
        let verb = if is_fetching { "fetching" } else { "reading" };
        format!("{verb} {} of {}", text::size(done), text::size(total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::digest::Digest;
    use crate::image::inventory::LayerFacts;

    /// Of layers with 100 and 50 bytes: `fLAYER:BYTES` came, `rLAYER:BYTES` were read, `.LAYER` is finished.
    fn check(events: &str, expected: &str) {
        let sizes = [100, 50];
        let blob = |size| LayerBlob { digest: None, diff_id: Digest::of(b""), size, urls: Vec::new() };
        let mut layers = Layers::new(&sizes.map(blob));
        for event in events.split_whitespace() {
            let (kind, rest) = event.split_at(1);
            let (layer, done) = rest.split_once(':').unwrap_or((rest, "0"));
            let (layer, done): (usize, u64) = (layer.parse().unwrap(), done.parse().unwrap());
            let total = sizes[layer];
            layers.take(&match kind {
                "f" => Progress::Fetched { layer, done, total },
                "r" => Progress::Read { layer, done, total },
                _ => {
                    let facts = Box::new(LayerFacts { compressed: total, ..LayerFacts::default() });
                    Progress::Finished { layer, facts }
                }
            });
        }
        assert_eq!(layers.text(), expected, "{events}");
    }

    #[test]
    fn from_a_daemon() {
        assert_eq!(taken(1_000, 20_000_000), "taking 1.0 kB of about 20.0 MB from the daemon");
        assert_eq!(taken(1_000, 0), "taking 1.0 kB from the daemon");
    }

    #[test]
    fn of_this_machine() {
        check("", "reading 0 B of 150 B");
        check("r0:10", "reading 10 B of 150 B");
        check("r0:10 .1", "reading 60 B of 150 B");
        check(".0 .1", "reading 150 B of 150 B");
    }

    #[test]
    fn from_elsewhere() {
        check("f0:10", "fetching 10 B of 150 B");
        check("f0:10 f1:5", "fetching 15 B of 150 B");
        // What is read has come, and what has been read before need not come.
        check("f0:10 f1:50 r1:5", "fetching 60 B of 150 B");
        check("f0:10 .1", "fetching 60 B of 150 B");
        check("f0:100 r0:5", "fetching 100 B of 150 B");
        check("f0:100 r0:5 .1", "reading 55 B of 150 B");
        check("f0:100 .0 f1:50 .1", "reading 150 B of 150 B");
    }
}
