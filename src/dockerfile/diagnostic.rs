//! What is wrong with a Dockerfile, and exactly where.

use serde::{Deserialize, Serialize};

/// A half-open range of byte offsets into the Dockerfile's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Hint,
    Warning,
    Error,
}

/// One finding. `message` says what happened and what to do; `span` is the offending text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    pub severity: Severity,
    /// A stable name, for instance `unknown-instruction`; BuildKit's rule name where it has one.
    pub code: String,
    pub message: String,
    pub span: Span,
    /// A second line under the drawing: what to do about it. Empty if there is nothing to add.
    pub help: String,
}
