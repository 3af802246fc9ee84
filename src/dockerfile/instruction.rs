//! Instructions as the official parser sees them, each with its place in the text.

use super::{Diagnostic, Span};
use bstr::BString;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// First and last line of an instruction, counted from 1, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lines {
    pub start: u32,
    pub end: u32,
}

/// A parsed Dockerfile. The text is kept whole, so that a view can show it as it was written.
#[derive(Debug, Clone)]
pub struct Dockerfile {
    pub text: Arc<str>,
    /// As it was read: `text` has U+FFFD for each byte that is not part of UTF-8.
    pub bytes: Arc<[u8]>,
    /// `\` or `` ` ``, from the `# escape=` directive.
    pub escape: char,
    /// The value of `# syntax=`.
    pub syntax: Option<String>,
    /// The value of `# check=`.
    pub check: Option<String>,
    pub instructions: Vec<Instruction>,
    pub diagnostics: Vec<Diagnostic>,
    /// The line that the official parser names if the text is not even well-formed; nothing is read after it.
    /// `None` if all was read. Can be 0, and the line before the one in the diagnostic.
    pub stopped_at: Option<u32>,
}

impl Dockerfile {
    /// The place in `bytes` of a place in `text`.
    pub fn in_bytes(&self, at: usize) -> usize {
        let (mut text, mut bytes) = (0, 0);
        for chunk in self.bytes.utf8_chunks() {
            let (valid, invalid) = (chunk.valid().len(), chunk.invalid().len());
            if at <= text + valid {
                return bytes + (at - text);
            }
            let replaced = ((at - text - valid) / char::REPLACEMENT_CHARACTER.len_utf8()).min(invalid);
            text += valid + invalid * char::REPLACEMENT_CHARACTER.len_utf8();
            bytes += valid + replaced;
            if replaced < invalid {
                return bytes;
            }
        }
        bytes
    }
}

/// One instruction, lexed: continuation lines joined, comments between them dropped, flags split off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// Lower-case keyword, for instance `copy`.
    pub keyword: String,
    pub lines: Lines,
    pub span: Span,
    /// The joined text, as the official parser's `Original`.
    pub original: String,
    /// `--name=value` words before the arguments, as written.
    pub flags: Vec<String>,
    /// The arguments: words, one shell line, or the elements of a JSON array.
    pub args: Vec<String>,
    /// Whether the arguments were given as a JSON array (exec form).
    pub json: bool,
    pub heredocs: Vec<Heredoc>,
    /// The instruction after ONBUILD.
    pub trigger: Option<Box<Instruction>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter word, unquoted.
    pub name: String,
    /// The file descriptor before `<<`, 0 if none is written.
    pub fd: u64,
    /// Whether variables are expanded (the delimiter is not quoted).
    pub expand: bool,
    /// Whether leading tabs are stripped (`<<-`).
    pub chomp: bool,
    /// As it is written, whatever its encoding.
    pub content: BString,
}
