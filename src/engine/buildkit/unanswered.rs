//! Requests that a builder must have answered before its build is ended.
//!
//! At a build's end BuildKit goes through its containers without the lock that it takes for making one and letting go of
//! one. A request for either at that moment ends the whole daemon: "concurrent map iteration and map write". Source:
//! `llbBridgeForwarder.Discard` in `frontend/gateway/gateway.go`, as of v0.25 and v0.29.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

#[derive(Debug, Default)]
pub(super) struct Unanswered(Arc<RwLock<()>>);

/// To be held until the answer is there.
pub(super) type Asking = OwnedRwLockReadGuard<()>;

impl Unanswered {
    /// `None` if the build is being ended: then nothing may be asked any more.
    pub(super) fn ask(&self) -> Option<Asking> {
        self.0.clone().try_read_owned().ok()
    }

    /// Waits for the answers, but no longer than `most`. Nothing can be asked any more while what this answers with
    /// lives.
    pub(super) async fn end(&self, most: Duration) -> Option<OwnedRwLockWriteGuard<()>> {
        tokio::time::timeout(most, self.0.clone().write_owned()).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, sleep};

    const MOST: Duration = Duration::from_secs(5);

    /// Asks as often as there are answers, each after so many seconds; the end comes after the last, or is not waited
    /// for any longer.
    async fn check(answers: &[u64], expected: u64) {
        let unanswered = Unanswered::default();
        for seconds in answers {
            let asking = unanswered.ask().expect("nothing ends yet");
            let seconds = Duration::from_secs(*seconds);
            tokio::spawn(async move {
                sleep(seconds).await;
                drop(asking);
            });
        }
        let start = Instant::now();
        let (ended, ()) = tokio::join!(unanswered.end(MOST), async {
            tokio::task::yield_now().await;
            assert!(unanswered.ask().is_none(), "{answers:?}: it is being ended");
        });
        assert_eq!(start.elapsed().as_secs(), expected, "{answers:?}");
        assert_eq!(ended.is_some(), expected < MOST.as_secs(), "{answers:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_all_answers() {
        check(&[], 0).await;
        check(&[1], 1).await;
        check(&[3, 1, 2], 3).await;
        check(&[1, 60], MOST.as_secs()).await;
    }
}
