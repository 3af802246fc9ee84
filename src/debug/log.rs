//! What a step wrote, within a bound: the beginning, and the last part.

use std::collections::VecDeque;

/// Bytes kept from a step's beginning.
pub const HEAD: usize = 1 << 20;
/// Bytes kept from its end, once the beginning is full.
pub const TAIL: usize = 256 << 10;

/// One step's output as it is kept. Bytes as the process wrote them; not safe to print.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    pub head: Vec<Chunk>,
    /// Bytes between head and tail that are gone.
    pub dropped: u64,
    pub tail: VecDeque<Chunk>,
    head_bytes: usize,
    tail_bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    pub stderr: bool,
    pub bytes: Vec<u8>,
}

impl Log {
    /// Takes output in. Answers with the part that belongs to the head, to be passed on at once.
    pub fn push(&mut self, stderr: bool, mut bytes: Vec<u8>) -> Option<Chunk> {
        let rest = bytes.split_off(bytes.len().min(HEAD - self.head_bytes));
        if !rest.is_empty() {
            self.push_tail(stderr, rest);
        }
        if bytes.is_empty() {
            return None;
        }
        self.head_bytes += bytes.len();
        let chunk = Chunk { stderr, bytes };
        match self.head.last_mut() {
            Some(last) if last.stderr == stderr => last.bytes.extend_from_slice(&chunk.bytes),
            _ => self.head.push(chunk.clone()),
        }
        Some(chunk)
    }

    /// Whether output has gone beyond the head.
    pub fn clipped(&self) -> bool {
        self.tail_bytes > 0
    }

    fn push_tail(&mut self, stderr: bool, bytes: Vec<u8>) {
        self.tail_bytes += bytes.len();
        match self.tail.back_mut() {
            // A bound on the chunk keeps what is dropped from the front of the tail cheap.
            Some(last) if last.stderr == stderr && last.bytes.len() < TAIL / 8 => last.bytes.extend(bytes),
            _ => self.tail.push_back(Chunk { stderr, bytes }),
        }
        while self.tail_bytes > TAIL {
            let Some(first) = self.tail.front_mut() else { break };
            let over = (self.tail_bytes - TAIL).min(first.bytes.len());
            first.bytes.drain(..over);
            self.tail_bytes -= over;
            self.dropped += over as u64;
            if first.bytes.is_empty() {
                self.tail.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `sizes` bytes each, and expects this much in head, in the tail and dropped.
    fn check(sizes: &[usize], head: usize, tail: usize, dropped: u64) {
        let mut log = Log::default();
        let mut passed = 0;
        for (index, size) in sizes.iter().enumerate() {
            passed += log.push(index % 2 == 0, vec![b'x'; *size]).map_or(0, |chunk| chunk.bytes.len());
        }
        let kept = |chunks: &mut dyn Iterator<Item = &Chunk>| chunks.map(|chunk| chunk.bytes.len()).sum::<usize>();
        assert_eq!(kept(&mut log.head.iter()), head);
        assert_eq!(passed, head);
        assert_eq!(kept(&mut log.tail.iter()), tail);
        assert_eq!(log.dropped, dropped);
        assert_eq!(log.clipped(), tail > 0);
    }

    #[test]
    fn keeps_the_head_and_the_tail() {
        check(&[], 0, 0, 0);
        check(&[10, 20], 30, 0, 0);
        check(&[HEAD], HEAD, 0, 0);
        check(&[HEAD - 1, 3], HEAD, 2, 0);
        check(&[HEAD, TAIL, 5], HEAD, TAIL, 5);
        check(&[3 * HEAD], HEAD, TAIL, (2 * HEAD - TAIL) as u64);
    }
}
