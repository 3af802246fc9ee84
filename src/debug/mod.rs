//! The debugger. Knows no front end: commands in, one ordered stream of events out.
//!
//! May import `engine`, `plan` and the pure types.
//!
//! Invariant: going back executes nothing, and nothing that was reached is overwritten.

pub mod log;
pub mod protocol;
pub mod session;

pub use log::{Chunk, Log};
pub use protocol::{
    Breakpoint, BreakpointId, BreakpointState, Command, Event, Failure, Location, Position, Side, StepStatus, Stop,
    StopReason,
};
pub use session::{Session, ShellPlace};
