//! What a step wrote, within a bound: the beginning, and the last part.

use std::collections::{BTreeMap, VecDeque};

/// Bytes kept from a step's beginning.
pub const HEAD: usize = 1 << 20;
/// Bytes kept from its end, once the beginning is full.
pub const TAIL: usize = 256 << 10;

/// What a chunk costs besides its bytes, so that a change of stream with every byte is bounded too.
const CHUNK: usize = 64;
/// Bytes kept of all runs together. Beyond it those that began first keep only their tails, then nothing.
pub const TOTAL: usize = 32 << 20;
/// Runs that began last, whose heads are kept while older ones have anything.
const NEWEST: usize = 8;

/// One time that a step ran. A step that ran again, or on several branches, has a log of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunId(pub u64);

/// The logs of a session, one for each time that a step has run.
#[derive(Debug, Default)]
pub struct Logs {
    logs: BTreeMap<RunId, Log>,
    /// Runs whose head is kept, the first to begin first.
    whole: VecDeque<RunId>,
    /// Runs that have only a tail.
    tails: VecDeque<RunId>,
    cost: usize,
}

impl Logs {
    /// A step begins, maybe once more.
    pub fn begin(&mut self, run: RunId) {
        if self.logs.insert(run, Log::default()).is_none() {
            self.whole.push_back(run);
        }
    }

    /// As [`Log::push`]. Output of what has not begun is dropped.
    pub fn push(&mut self, run: RunId, stderr: bool, bytes: Vec<u8>) -> Option<Chunk> {
        let log = self.logs.get_mut(&run)?;
        self.cost -= log.cost();
        let passed = log.push(stderr, bytes);
        self.cost += log.cost();
        while self.cost > TOTAL {
            let whole = self.whole.len() > NEWEST || self.tails.is_empty();
            let order = if whole { &mut self.whole } else { &mut self.tails };
            let Some(oldest) = order.pop_front() else { break };
            let Some(log) = self.logs.get_mut(&oldest) else { continue };
            self.cost -= log.cost();
            match whole {
                true => log.behead(),
                false => log.forget(),
            }
            self.cost += log.cost();
            // It may still be writing: it stays in line.
            self.tails.push_back(oldest);
        }
        passed
    }

    pub fn get(&self, run: RunId) -> Option<&Log> {
        self.logs.get(&run)
    }
}

/// One step's output as it is kept. Bytes as the process wrote them; not safe to print.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    pub head: Vec<Chunk>,
    /// Bytes between head and tail that are gone.
    pub dropped: u64,
    pub tail: VecDeque<Chunk>,
    head_cost: usize,
    tail_cost: usize,
    /// Nothing is added to the head any more: it is full, or it was let go.
    closed: bool,
    /// Bytes written, and how many of them went on at once.
    written: u64,
    passed: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    pub stderr: bool,
    pub bytes: Vec<u8>,
}

impl Log {
    /// Takes output in. Answers with the part that belongs to the head, to be passed on at once.
    pub fn push(&mut self, stderr: bool, mut bytes: Vec<u8>) -> Option<Chunk> {
        self.written += bytes.len() as u64;
        let room = match self.head.last() {
            _ if self.closed => 0,
            Some(last) if last.stderr == stderr => HEAD - self.head_cost,
            _ => (HEAD - self.head_cost).saturating_sub(CHUNK),
        };
        let rest = bytes.split_off(bytes.len().min(room));
        if !rest.is_empty() {
            self.closed = true;
            self.push_tail(stderr, rest);
        }
        if bytes.is_empty() {
            return None;
        }
        self.passed += bytes.len() as u64;
        self.head_cost += bytes.len();
        let chunk = Chunk { stderr, bytes };
        match self.head.last_mut() {
            Some(last) if last.stderr == stderr => last.bytes.extend_from_slice(&chunk.bytes),
            _ => {
                self.head_cost += CHUNK;
                self.head.push(chunk.clone());
            }
        }
        Some(chunk)
    }

    /// Whether output has gone beyond the head.
    pub fn clipped(&self) -> bool {
        self.closed
    }

    /// How many bytes [`Log::push`] has answered with so far.
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// What was not passed on when it came: bytes that are gone, then the last part.
    pub fn rest(&self) -> (u64, Vec<Chunk>) {
        let kept: u64 = self.tail.iter().map(|chunk| chunk.bytes.len() as u64).sum();
        let begins = self.written - kept;
        let mut skip = self.passed.saturating_sub(begins) as usize;
        let mut rest = Vec::new();
        for chunk in &self.tail {
            let bytes = chunk.bytes.get(skip..).unwrap_or_default().to_vec();
            skip = skip.saturating_sub(chunk.bytes.len());
            if !bytes.is_empty() {
                rest.push(Chunk { stderr: chunk.stderr, bytes });
            }
        }
        (begins.saturating_sub(self.passed), rest)
    }

    /// What it takes of [`TOTAL`].
    fn cost(&self) -> usize {
        self.head_cost + self.tail_cost
    }

    /// Lets go of the head but for what fits into the tail's bound. What comes later goes to the tail.
    fn behead(&mut self) {
        let (head, tail) = (std::mem::take(&mut self.head), std::mem::take(&mut self.tail));
        self.closed = true;
        self.head_cost = 0;
        self.tail_cost = 0;
        for chunk in head.into_iter().chain(tail) {
            self.push_tail(chunk.stderr, chunk.bytes);
        }
    }

    fn forget(&mut self) {
        self.dropped += self.tail.drain(..).map(|chunk| chunk.bytes.len() as u64).sum::<u64>();
        self.tail_cost = 0;
    }

    fn push_tail(&mut self, stderr: bool, bytes: Vec<u8>) {
        self.tail_cost += bytes.len();
        match self.tail.back_mut() {
            // A bound on the chunk keeps what is dropped from the front of the tail cheap.
            Some(last) if last.stderr == stderr && last.bytes.len() < TAIL / 8 => last.bytes.extend(bytes),
            _ => {
                self.tail_cost += CHUNK;
                self.tail.push_back(Chunk { stderr, bytes });
            }
        }
        while self.tail_cost > TAIL {
            let Some(first) = self.tail.front_mut() else { break };
            let over = (self.tail_cost - TAIL).min(first.bytes.len());
            first.bytes.drain(..over);
            self.tail_cost -= over;
            self.dropped += over as u64;
            if first.bytes.is_empty() {
                self.tail_cost -= CHUNK;
                self.tail.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<'c>(chunks: impl IntoIterator<Item = &'c Chunk>) -> usize {
        chunks.into_iter().map(|chunk| chunk.bytes.len()).sum()
    }

    /// Writes `sizes` bytes each, and expects this much in head, in the tail and dropped.
    fn check(sizes: &[usize], head: usize, tail: usize, dropped: u64) {
        let mut log = Log::default();
        let passed: usize =
            sizes.iter().filter_map(|size| log.push(false, vec![b'x'; *size])).map(|it| it.bytes.len()).sum();
        assert_eq!((bytes(&log.head), passed), (head, head));
        assert_eq!(bytes(&log.tail), tail);
        assert_eq!(log.dropped, dropped);
        assert_eq!(log.clipped(), tail > 0);
        let (gone, rest) = log.rest();
        assert_eq!((gone, bytes(&rest)), (dropped, tail));
    }

    #[test]
    fn keeps_the_head_and_the_tail() {
        let (full, tail) = (HEAD - CHUNK, TAIL - CHUNK);
        check(&[], 0, 0, 0);
        check(&[10, 20], 30, 0, 0);
        check(&[full], full, 0, 0);
        check(&[full - 1, 3], full, 2, 0);
        check(&[full, tail, 5], full, tail - CHUNK, (CHUNK + 5) as u64);
        check(&[3 * HEAD], full, tail, (3 * HEAD - full - tail) as u64);
    }

    /// A stream that changes with every byte costs more than its bytes, and stays within the bound all the same.
    #[test]
    fn bounds_the_number_of_chunks() {
        let mut log = Log::default();
        for index in 0..3 * (HEAD / CHUNK) {
            log.push(index % 2 == 0, vec![b'x']);
        }
        assert!(log.head.len() <= HEAD / CHUNK && log.tail.len() <= TAIL / CHUNK);
        assert!(log.clipped() && log.dropped > 0);
    }

    #[test]
    fn all_logs_together_are_bounded_and_nothing_is_passed_twice() {
        let step = RunId;
        let mut logs = Logs::default();
        let mut passed = Vec::new();
        for index in 0..300 {
            logs.begin(step(index));
            passed.push(logs.push(step(index), true, vec![b'x'; HEAD / 2]).map_or(0, |it| it.bytes.len()));
        }
        assert!(logs.cost <= TOTAL);
        let first = logs.get(step(0)).unwrap();
        assert!(first.head.is_empty() && first.tail.is_empty() && first.dropped > 0);
        assert_eq!((passed[0], first.rest()), (HEAD / 2, (0, Vec::new())));
        logs.push(step(0), true, vec![b'y'; 7]);
        assert_eq!(logs.get(step(0)).unwrap().rest(), (0, vec![Chunk { stderr: true, bytes: vec![b'y'; 7] }]));
        let last = logs.get(step(299)).unwrap();
        assert_eq!((bytes(&last.head), last.dropped), (HEAD / 2, 0));
    }
}
