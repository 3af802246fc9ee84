//! The debugger. Knows no front end: commands in, one ordered stream of events out.
//!
//! May import `engine`, `plan` and the pure types.
//!
//! Invariant: going back executes nothing, and nothing that was reached is overwritten.

pub mod breakpoint;
pub mod carry;
pub mod log;
pub mod protocol;
pub mod schedule;
pub mod session;
pub mod start;
pub mod stepping;
pub mod timeline;

pub use log::{Chunk, Log};
pub use protocol::{
    Breakpoint, BreakpointId, BreakpointState, Command, Event, Failure, Location, Position, Side, StepStatus, Stop,
    StopReason,
};
pub use session::{Session, ShellPlace};
pub use start::Setup;
