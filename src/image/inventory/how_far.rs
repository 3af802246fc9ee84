//! How far the reading of an image's layers is, as one sum.

use super::Progress;

/// How far each layer is, in bytes of its blob.
#[derive(Debug, Clone)]
pub struct HowFar {
    layers: Vec<Layer>,
    /// Whether some are not of this machine.
    are_fetched: bool,
}

#[derive(Debug, Clone, Copy)]
struct Layer {
    stage: Stage,
    done: u64,
    total: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Fetching,
    Reading,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    Fetching,
    Reading,
}

impl HowFar {
    /// From the sizes of the blobs, as far as they are known.
    pub fn new(sizes: impl IntoIterator<Item = u64>) -> HowFar {
        let layers = sizes.into_iter().map(|total| Layer { stage: Stage::Waiting, done: 0, total });
        HowFar { layers: layers.collect(), are_fetched: false }
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
            *slot = Layer { stage, done, total: total.max(done).max(slot.total) };
        }
    }

    /// Bytes that are done, and of how many: as long as something is on its way here, what has come; then what has
    /// been read.
    pub fn sums(&self) -> (Doing, u64, u64) {
        let is_missing = |layer: &Layer| matches!(layer.stage, Stage::Waiting | Stage::Fetching);
        let is_fetching = self.are_fetched && self.layers.iter().any(is_missing);
        let is_done = |stage: Stage| stage == Stage::Done || (is_fetching && stage == Stage::Reading);
        let done = self.layers.iter().map(|layer| if is_done(layer.stage) { layer.total } else { layer.done });
        let total = self.layers.iter().map(|layer| layer.total);
        let doing = if is_fetching { Doing::Fetching } else { Doing::Reading };
        (doing, done.fold(0, u64::saturating_add), total.fold(0, u64::saturating_add))
    }
}

#[cfg(test)]
mod tests {
    use super::super::LayerFacts;
    use super::*;

    /// Of layers with 100 and 50 bytes: `fLAYER:BYTES` came, `rLAYER:BYTES` were read, `.LAYER` is finished.
    fn check(events: &str, expected: (Doing, u64)) {
        let sizes = [100, 50];
        let mut how_far = HowFar::new(sizes);
        for event in events.split_whitespace() {
            let (kind, rest) = event.split_at(1);
            let (layer, done) = rest.split_once(':').unwrap_or((rest, "0"));
            let (layer, done): (usize, u64) = (layer.parse().unwrap(), done.parse().unwrap());
            let total = sizes[layer];
            how_far.take(&match kind {
                "f" => Progress::Fetched { layer, done, total },
                "r" => Progress::Read { layer, done, total },
                _ => {
                    let facts = Box::new(LayerFacts { compressed: total, ..LayerFacts::default() });
                    Progress::Finished { layer, facts }
                }
            });
        }
        assert_eq!(how_far.sums(), (expected.0, expected.1, 150), "{events}");
    }

    #[test]
    fn of_this_machine() {
        check("", (Doing::Reading, 0));
        check("r0:10", (Doing::Reading, 10));
        check("r0:10 .1", (Doing::Reading, 60));
        check(".0 .1", (Doing::Reading, 150));
    }

    #[test]
    fn from_elsewhere() {
        check("f0:10", (Doing::Fetching, 10));
        check("f0:10 f1:5", (Doing::Fetching, 15));
        // What is read has come, and what has been read before need not come.
        check("f0:10 f1:50 r1:5", (Doing::Fetching, 60));
        check("f0:10 .1", (Doing::Fetching, 60));
        check("f0:100 r0:5", (Doing::Fetching, 100));
        check("f0:100 r0:5 .1", (Doing::Reading, 55));
        check("f0:100 .0 f1:50 .1", (Doing::Reading, 150));
    }
}
