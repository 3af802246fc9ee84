//! How far the reading of an image is, on one line of a terminal; nothing where there is none.

use crate::image::inventory::how_far::{Doing, HowFar};
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

/// Of an image whose layers are read.
pub fn read(how_far: &HowFar) -> String {
    let (doing, done, total) = how_far.sums();
    let verb = match doing {
        Doing::Fetching => "fetching",
        Doing::Reading => "reading",
    };
    format!("{verb} {} of {}", text::size(done), text::size(total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::inventory::Progress;

    #[test]
    fn from_a_daemon() {
        assert_eq!(taken(1_000, 20_000_000), "taking 1.0 kB of about 20.0 MB from the daemon");
        assert_eq!(taken(1_000, 0), "taking 1.0 kB from the daemon");
    }

    #[test]
    fn of_layers() {
        let mut how_far = HowFar::new([100, 50]);
        assert_eq!(read(&how_far), "reading 0 B of 150 B");
        how_far.take(&Progress::Fetched { layer: 0, done: 10, total: 100 });
        assert_eq!(read(&how_far), "fetching 10 B of 150 B");
    }
}
