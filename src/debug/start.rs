//! What a session needs to begin.

use super::Trigger;
use crate::engine::Engine;
use crate::engine::settings::Context;
use crate::plan::Options;
use std::io;
use std::sync::Arc;

pub struct Setup {
    pub engine: Arc<dyn Engine>,
    pub options: Options,
    /// The Dockerfile's name for messages, as the user gave it.
    pub name: String,
    /// Reads the Dockerfile; again on `Reload`.
    pub read: Arc<dyn Fn() -> io::Result<Vec<u8>> + Send + Sync>,
    /// The build context, if there is one: the official checks look at its ignore file.
    pub context: Option<Context>,
    /// Stop before the first instruction. Without it the build runs to its end at once.
    pub paused: bool,
    pub break_on_failure: bool,
    pub no_cache: bool,
    /// Count what steps changed also where an engine has to list files for it; `Event::Counted` follows then.
    pub count: bool,
    /// Shells may be asked for where it stops: the engine is told to expect one.
    pub shells: bool,
    /// Breakpoints and watchpoints that are there from the start.
    pub breakpoints: Vec<Trigger>,
}
