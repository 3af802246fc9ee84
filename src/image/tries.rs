//! When what has failed is tried again: what is lost on the way often comes through the second time.

use super::source::SourceError;
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};
use std::time::{Duration, SystemTime};

/// Longer than a server may ask us to wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Why one try came to nothing, and whether another may help.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: SourceError,
    pub(super) again: Again,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    Never,
    /// Nobody could be reached.
    Unreached,
    /// With the pause that the server asks for, if it does.
    After(Option<Duration>),
}

impl From<SourceError> for Failed {
    fn from(error: SourceError) -> Failed {
        Failed { error, again: Again::Never }
    }
}

/// Counts the tries of one thing.
#[derive(Debug)]
pub(super) struct Tries {
    failed: u32,
    most: u32,
    most_unreached: u32,
}

impl Tries {
    /// A host that is not there seldom appears within a second, and whoever waits wants to know.
    pub(super) fn of_request() -> Tries {
        Tries { failed: 0, most: 4, most_unreached: 2 }
    }

    /// What has come of a blob is worth waiting half a minute for the rest of it.
    pub(super) fn of_download() -> Tries {
        Tries { failed: 0, most: 6, most_unreached: 6 }
    }

    /// How long to wait before the next try; the error if there should be none.
    pub(super) fn pause(&mut self, failed: Failed) -> Result<Duration, SourceError> {
        self.failed += 1;
        let (most, pause) = match failed.again {
            Again::Never => (0, None),
            Again::Unreached => (self.most_unreached, None),
            Again::After(pause) => (self.most, pause),
        };
        if self.failed >= most {
            return Err(failed.error);
        }
        Ok(pause.unwrap_or(Duration::from_millis(100) * 4u32.pow((self.failed - 1).min(4))))
    }

    /// After something has been reached.
    pub(super) fn begin_anew(&mut self) {
        self.failed = 0;
    }
}

/// What an answer that is no success says about another try.
pub(super) fn again(answer: &Response) -> Again {
    match asked_pause(answer) {
        _ if !may_pass(answer.status()) => Again::Never,
        Some(pause) if pause > LONGEST_PAUSE => Again::Never,
        pause => Again::After(pause),
    }
}

/// A pause that the server asks for and that is not waited for.
pub(super) fn long_pause(answer: &Response) -> Option<Duration> {
    asked_pause(answer).filter(|pause| may_pass(answer.status()) && *pause > LONGEST_PAUSE)
}

/// Whether the same request may succeed a moment later.
pub(super) fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// How long the server wants to be left alone.
fn asked_pause(answer: &Response) -> Option<Duration> {
    retry_after(answer.headers().get(RETRY_AFTER)?.to_str().ok()?, SystemTime::now())
}

/// A number of seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::source::SourceErrorKind;

    #[test]
    fn pauses_that_servers_ask_for() {
        let check = |text: &str, expected: Option<u64>| {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
            assert_eq!(retry_after(text, now).map(|it| it.as_secs()), expected, "{text}");
        };
        check("60", Some(60));
        check(" 0 ", Some(0));
        check("Sun, 06 Nov 1994 08:50:37 GMT", Some(60));
        check("Sun, 06 Nov 1994 08:00:00 GMT", Some(0));
        check("soon", None);
        check("-1", None);
    }

    #[test]
    fn bounded() {
        let check = |mut tries: Tries, again: Again, expected: &[u64]| {
            let failed = || Failed { error: SourceError::new(SourceErrorKind::Unreachable, "lost"), again };
            let pauses = std::iter::from_fn(|| tries.pause(failed()).ok()).take(10);
            assert_eq!(pauses.map(|it| it.as_millis() as u64).collect::<Vec<_>>(), expected, "{again:?}");
        };
        check(Tries::of_request(), Again::Never, &[]);
        check(Tries::of_request(), Again::Unreached, &[100]);
        check(Tries::of_request(), Again::After(None), &[100, 400, 1600]);
        check(Tries::of_request(), Again::After(Some(Duration::ZERO)), &[0, 0, 0]);
        check(Tries::of_download(), Again::Never, &[]);
        check(Tries::of_download(), Again::Unreached, &[100, 400, 1600, 6400, 25600]);
        check(Tries::of_download(), Again::After(None), &[100, 400, 1600, 6400, 25600]);
    }
}
