//! The debugger. Knows no front end: commands in, one ordered stream of events out.
//!
//! `actor` is the only task with a state; `build` and `running` are that state, and never wait. What a command
//! leads to ([`stepping`]), what may run ([`schedule`]), what was reached ([`timeline`]) and what of it holds under
//! another plan ([`carry`]) are pure.
//!
//! May import `engine`, `plan` and the pure types.
//!
//! Invariant: going back executes nothing, and nothing that was reached is overwritten.

mod actor;
pub mod breakpoint;
mod build;
pub mod carry;
pub mod compare;
mod desk;
mod expected;
pub mod finish;
pub mod json;
pub mod log;
mod place;
mod prepare;
pub mod protocol;
mod running;
pub mod schedule;
pub mod session;
pub mod start;
pub mod stepping;
pub mod timeline;
pub mod trace;
pub mod watch;
mod work;

#[cfg(test)]
mod tests;

pub use actor::start;
pub use log::{Chunk, Log};
pub use protocol::{
    Breakpoint, BreakpointId, BreakpointState, Command, Event, Failure, Location, PlanFault, Position, Side,
    StepStatus, Stop, StopReason, Trigger,
};
pub use session::{Built, Export, Session, ShellPlace};
pub use start::Setup;
pub use timeline::{Branch, BranchId};
pub use watch::Watch;
