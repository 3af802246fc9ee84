//! A shell that is likely to be asked for, made as far as it can be: its container is there, and nothing runs in it but
//! a command that waits. The shell itself is then one process more, as with `docker exec`.

use super::container::Container;
use super::scratch::Scratch;
use super::shells::Place;
use crate::engine::ShellRequest;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many are kept, the latest: each holds a container on the builder.
const MOST: usize = 4;

/// What is ready, the oldest first; whoever opens a shell takes it out.
#[derive(Default)]
pub(super) struct Ahead {
    ready: Mutex<VecDeque<(u64, Ready)>>,
    serial: AtomicU64,
}

pub(super) struct Ready {
    pub(super) request: ShellRequest,
    pub(super) place: Place,
    pub(super) scratch: Scratch,
    pub(super) container: Container,
}

/// What is ready is let go of when this is dropped, if nobody has taken it.
pub(super) struct Kept<'a> {
    ahead: &'a Ahead,
    serial: u64,
}

impl Ahead {
    pub(super) fn keep(&self, ready: Ready) -> Kept<'_> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let mut all = self.all();
        all.push_back((serial, ready));
        if all.len() > MOST {
            all.pop_front();
        }
        Kept { ahead: self, serial }
    }

    /// What is ready for this shell. It is nobody else's from here on.
    pub(super) fn take(&self, request: &ShellRequest) -> Option<Ready> {
        let mut all = self.all();
        let found = all.iter().position(|(_, it)| it.request.is_like(request) && it.place.is_there())?;
        all.remove(found).map(|(_, ready)| ready)
    }

    pub(super) fn clear(&self) {
        self.all().clear();
    }

    fn all(&self) -> MutexGuard<'_, VecDeque<(u64, Ready)>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.ahead.all().retain(|(serial, _)| *serial != self.serial);
    }
}
