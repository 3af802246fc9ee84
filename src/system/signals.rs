//! What the system tells a running program.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::runtime::Handle;

/// One thing that it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    Terminate,
    /// The terminal is gone, or its window is closed.
    Hangup,
    Quit,
    /// The program is to stop until it is resumed.
    Stop,
    /// The program goes on after it was stopped.
    Resumed,
    /// The terminal may have another size now.
    Resized,
}

impl Signal {
    /// What asks a program to end.
    pub const ENDS: [Signal; 3] = [Signal::Interrupt, Signal::Terminate, Signal::Hangup];

    /// As Unix numbers it, for exit codes; 0 for one that ends nothing.
    pub fn number(self) -> i32 {
        match self {
            Signal::Interrupt => 2,
            Signal::Terminate => 15,
            Signal::Hangup => 1,
            Signal::Quit => 3,
            Signal::Stop | Signal::Resumed | Signal::Resized => 0,
        }
    }
}

/// Ready whenever a signal has come.
pub(super) type Source = Box<dyn FnMut(&mut Context<'_>) -> Poll<Option<()>> + Send>;

/// Signals that are listened to.
pub struct Signals {
    sources: Vec<(Signal, Source)>,
    /// The program is ending because of one of them.
    ending: bool,
}

/// How many listen, or are ending the program.
static LISTENERS: AtomicUsize = AtomicUsize::new(0);

impl Signals {
    /// Until this is dropped they do not do what they do by themselves. One that cannot be listened to keeps doing that.
    pub fn listen(wanted: &[Signal]) -> Signals {
        let sources = wanted.iter().flat_map(|it| super::here::sources(*it).into_iter().map(|source| (*it, source)));
        LISTENERS.fetch_add(1, Ordering::SeqCst);
        Signals { sources: sources.collect(), ending: false }
    }

    /// And the terminal's end is heard like one, told by a signal or not.
    pub fn and_terminal(mut self) -> Signals {
        self.sources.extend(super::here::terminal_gone().map(|source| (Signal::Hangup, source)));
        self
    }

    /// The next one.
    pub async fn next(&mut self) -> Signal {
        let signal = next(&mut self.sources).await;
        self.ending |= signal.number() != 0;
        signal
    }
}

async fn next(sources: &mut [(Signal, Source)]) -> Signal {
    poll_fn(|context| {
        let come = sources.iter_mut().find_map(|(signal, source)| source(context).is_ready().then_some(*signal));
        come.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// What has been listened to once is never again the system's: it ends or stops the program from here, where nobody else
/// listens.
impl Drop for Signals {
    fn drop(&mut self) {
        if self.ending {
            return;
        }
        LISTENERS.fetch_sub(1, Ordering::SeqCst);
        let mut sources = std::mem::take(&mut self.sources);
        sources.retain(|(signal, _)| signal.number() != 0 || *signal == Signal::Stop);
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            while !sources.is_empty() {
                let signal = next(&mut sources).await;
                if signal == Signal::Stop {
                    let _ = super::stop();
                } else if LISTENERS.load(Ordering::SeqCst) == 0 {
                    std::process::exit(128 + signal.number());
                }
            }
        });
    }
}
