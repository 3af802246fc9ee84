//! What the system tells a running program.

use std::future::poll_fn;
use std::task::{Context, Poll};

/// One thing that it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    Terminate,
    /// The terminal is gone, or its window is closed.
    Hangup,
    Quit,
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
            Signal::Resumed | Signal::Resized => 0,
        }
    }
}

/// Ready whenever a signal has come.
pub(super) type Source = Box<dyn FnMut(&mut Context<'_>) -> Poll<Option<()>> + Send>;

/// Signals that are listened to.
pub struct Signals(Vec<(Signal, Source)>);

impl Signals {
    /// From here on they no longer do what they do by themselves. One that cannot be listened to keeps doing that.
    pub fn listen(wanted: &[Signal]) -> Signals {
        let sources = wanted.iter().flat_map(|it| super::here::sources(*it).into_iter().map(|source| (*it, source)));
        Signals(sources.collect())
    }

    /// The next one.
    pub async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            let come = self.0.iter_mut().find_map(|(signal, source)| source(context).is_ready().then_some(*signal));
            come.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}
