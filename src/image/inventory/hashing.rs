//! Digests of what is read: worked out by the thread that reads it, or by one that has nothing left to read.
//!
//! The largest layer is what all wait for, where layers are fewer than cores, and at the end. Its digest then costs no
//! time of its own.

use crate::image::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Pieces of a stream that may wait for a thread.
const WAITING: usize = 4;

/// All digests that are being worked out.
#[derive(Debug, Default)]
pub(super) struct Digests {
    state: Mutex<State>,
    /// There is something to be hashed, or nobody reads any more.
    for_helpers: Condvar,
    /// Something has been hashed.
    for_readers: Condvar,
}

#[derive(Debug, Default)]
struct State {
    streams: BTreeMap<u64, Stream>,
    /// The next stream's number.
    next: u64,
    readers: usize,
    /// Helpers that wait for something to do.
    idle: usize,
}

#[derive(Debug)]
struct Stream {
    /// `None` while a thread is at it.
    hash: Option<Sha256>,
    waiting: VecDeque<Piece>,
}

/// A part of a buffer.
#[derive(Debug)]
struct Piece {
    buffer: Arc<Vec<u8>>,
    range: Range<usize>,
}

impl Stream {
    /// Its next piece, if there is one and no thread is at it.
    fn take(&mut self) -> Option<(Sha256, Piece)> {
        let piece = self.hash.as_ref().and_then(|_| self.waiting.pop_front())?;
        Some((self.hash.take()?, piece))
    }
}

/// While this is there, something is read.
pub(super) struct Reading<'d>(&'d Digests);

impl Digests {
    pub(super) fn reading(&self) -> Reading<'_> {
        self.lock().readers += 1;
        Reading(self)
    }

    /// Hashes what others read, until nobody reads any more.
    pub(super) fn help(&self) {
        let mut state = self.lock();
        while state.readers > 0 {
            let free = state.streams.iter().filter(|(_, it)| it.hash.is_some() && !it.waiting.is_empty());
            let longest = free.max_by_key(|(_, it)| it.waiting.len()).map(|(number, _)| *number);
            state = match longest {
                Some(stream) => self.hash(state, stream),
                None => {
                    state.idle += 1;
                    let mut woken = self.for_helpers.wait(state).unwrap_or_else(PoisonError::into_inner);
                    woken.idle -= 1;
                    woken
                }
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hashes a stream's next piece.
    fn hash<'d>(&'d self, mut state: MutexGuard<'d, State>, stream: u64) -> MutexGuard<'d, State> {
        let Some((mut hash, piece)) = state.streams.get_mut(&stream).and_then(Stream::take) else { return state };
        drop(state);
        hash.update(&piece.buffer[piece.range.clone()]);
        drop(piece);
        let mut state = self.lock();
        if let Some(stream) = state.streams.get_mut(&stream) {
            stream.hash = Some(hash);
        }
        self.for_readers.notify_all();
        state
    }

    /// Until something has been hashed.
    fn wait<'d>(&'d self, state: MutexGuard<'d, State>) -> MutexGuard<'d, State> {
        self.for_readers.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.readers -= 1;
        if state.readers == 0 {
            self.0.for_helpers.notify_all();
        }
    }
}

/// The digest of one stream.
pub(super) struct Hashing {
    digests: Arc<Digests>,
    stream: u64,
}

impl Hashing {
    pub(super) fn begin(digests: &Arc<Digests>) -> Hashing {
        let mut state = digests.lock();
        let stream = state.next;
        state.next += 1;
        state.streams.insert(stream, Stream { hash: Some(Sha256::new()), waiting: VecDeque::new() });
        Hashing { digests: digests.clone(), stream }
    }

    /// Adds a part of a buffer: at once, while it is in this core's cache, unless another thread is free for it.
    pub(super) fn update(&mut self, buffer: &Arc<Vec<u8>>, range: Range<usize>) {
        let mut state = self.digests.lock();
        if let Some(stream) = state.streams.get_mut(&self.stream) {
            stream.waiting.push_back(Piece { buffer: buffer.clone(), range });
        }
        let is_helped = state.idle > 0 || !self.is_free(&state);
        if state.idle > 0 {
            self.digests.for_helpers.notify_one();
        }
        drop(self.down_to(state, if is_helped { WAITING } else { 0 }));
    }

    pub(super) fn finish(self) -> Digest {
        let mut state = self.down_to(self.digests.lock(), 0);
        while !self.is_free(&state) {
            state = self.digests.wait(state);
        }
        let hash = state.streams.get_mut(&self.stream).and_then(|it| it.hash.take());
        drop(state);
        Digest::from_hash(&hash.unwrap_or_default().finalize())
    }

    /// Whether no thread is at it.
    fn is_free(&self, state: &State) -> bool {
        state.streams.get(&self.stream).is_none_or(|it| it.hash.is_some())
    }

    /// Hashes, or waits for who is at it, until no more than so many pieces are left.
    fn down_to<'d>(&'d self, mut state: MutexGuard<'d, State>, left: usize) -> MutexGuard<'d, State> {
        while state.streams.get(&self.stream).is_some_and(|it| it.waiting.len() > left) {
            state = match self.is_free(&state) {
                true => self.digests.hash(state, self.stream),
                false => self.digests.wait(state),
            };
        }
        state
    }
}

impl Drop for Hashing {
    fn drop(&mut self) {
        self.digests.lock().streams.remove(&self.stream);
    }
}

/// Buffers of one size that are filled again when nobody reads them any more.
pub(super) struct Buffers {
    now: Arc<Vec<u8>>,
    others: Vec<Arc<Vec<u8>>>,
}

impl Buffers {
    pub(super) fn new(capacity: usize) -> Buffers {
        Buffers { now: Arc::new(vec![0; capacity]), others: Vec::new() }
    }

    pub(super) fn now(&self) -> &Arc<Vec<u8>> {
        &self.now
    }

    /// One to be filled.
    pub(super) fn fresh(&mut self) -> &mut [u8] {
        if Arc::strong_count(&self.now) > 1 {
            let capacity = self.now.len();
            let free = self.others.iter().position(|other| Arc::strong_count(other) == 1);
            let next = free.map(|at| self.others.swap_remove(at)).unwrap_or_else(|| Arc::new(vec![0; capacity]));
            self.others.push(std::mem::replace(&mut self.now, next));
        }
        let now: &mut Vec<u8> = Arc::make_mut(&mut self.now);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// So many streams of so many pieces each, read at once, with so many threads that read nothing.
    fn check(streams: usize, pieces: u8, helpers: usize) {
        let digests = Arc::new(Digests::default());
        thread::scope(|scope| {
            let readings: Vec<_> = (0..streams).map(|_| digests.reading()).collect();
            for (number, reading) in readings.into_iter().enumerate() {
                let digests = &digests;
                scope.spawn(move || {
                    let mut hashing = Hashing::begin(digests);
                    let mut buffers = Buffers::new(700);
                    let mut all = Vec::new();
                    for piece in 0..pieces {
                        buffers.fresh().fill(piece ^ number as u8);
                        let range = number..500 + usize::from(piece);
                        hashing.update(buffers.now(), range.clone());
                        all.extend_from_slice(&buffers.now()[range]);
                    }
                    // Those that wait, and one that a thread is at.
                    assert!(buffers.others.len() <= WAITING + 1, "{}", buffers.others.len());
                    assert_eq!(hashing.finish(), Digest::of(&all));
                    drop(reading);
                    digests.help();
                });
            }
            (0..helpers).for_each(|_| drop(scope.spawn(|| digests.help())));
        });
        assert!(digests.lock().streams.is_empty());
    }

    #[test]
    fn the_digest_is_the_same_whoever_works_it_out() {
        for (streams, helpers) in [(1, 0), (2, 0), (3, 0), (1, 1), (1, 3), (2, 1), (3, 2), (0, 2)] {
            check(streams, 100, helpers);
        }
        check(2, 0, 1);
    }

    #[test]
    fn a_stream_that_is_given_up_is_forgotten() {
        let digests = Arc::new(Digests::default());
        let mut hashing = Hashing::begin(&digests);
        hashing.update(&Arc::new(vec![0; 7]), 0..7);
        drop(hashing);
        assert!(digests.lock().streams.is_empty());
    }
}
