//! The terminal front end.
//!
//! May import `debug` and the pure types. The only place that knows ratatui and crossterm.
//!
//! Invariant: `update` never waits; whatever takes time is a job whose stale answers are dropped.
