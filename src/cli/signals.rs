//! The signals that ask the program to end.

use crate::system::signals::{self, Signal};

pub struct Signals(signals::Signals);

impl Signals {
    /// Until this is dropped they do not end the program by themselves.
    pub fn listen() -> Signals {
        Signals(signals::Signals::listen(&Signal::ENDS))
    }

    /// The number of the next one.
    pub async fn next(&mut self) -> i32 {
        self.0.next().await.number()
    }
}
