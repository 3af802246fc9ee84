//! `stagedive ast FILE…`: what the front end reads, as one line of JSON a file, for editors and tests.
//!
//! Names and shapes are those of the official parser's syntax tree; what is empty, false or unknown is left out.

use super::exit::Failure;
use crate::debug;
use crate::dockerfile::lint;
use crate::dockerfile::stages::{Rejected, StageOutline, outline};
use crate::dockerfile::{self, Dockerfile, Heredoc, Instruction, Severity};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Prints a line for every file. A file that cannot be read is reported at the end, and the others still follow.
/// What a file holds has no influence on the exit code.
pub fn run(files: &[PathBuf]) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut unread = Vec::new();
    for path in files {
        match std::fs::read(path) {
            // A reader that has gone away wants nothing more.
            Ok(text) if writeln!(out, "{}", line(path, &text)).is_err() => return Ok(()),
            Ok(_) => {}
            Err(error) => unread.push(format!("cannot read {}: {error}", path.display())),
        }
    }
    let _ = out.flush();
    if unread.is_empty() { Ok(()) } else { Err(Failure::Usage(unread.join("\n"))) }
}

/// The line for one file.
pub fn line(path: &Path, text: &[u8]) -> String {
    let path = path.to_string_lossy();
    let file = File { path: &path, sha256: hex(&Sha256::digest(text)), ast: Ast::new(&dockerfile::parse(text)) };
    // Strings and numbers only: there is nothing in it that could not be written.
    debug::json::text(&file).unwrap_or_default()
}

#[derive(Serialize)]
struct File<'a> {
    path: &'a str,
    sha256: String,
    #[serde(flatten)]
    ast: Ast,
}

#[derive(Debug, Default, Serialize)]
struct Ast {
    /// The line grammar accepts it.
    ast_ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ast_err: Option<String>,
    /// Every instruction is accepted too.
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    err: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    err_line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    escape: Option<char>,
    #[serde(skip_serializing_if = "Option::is_none")]
    syntax: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<String>,
    meta_args: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stages: Vec<Stage>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    instructions: Vec<Node>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lint: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Stage {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    base: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    line: u32,
    ncmds: usize,
}

#[derive(Debug, Serialize)]
struct Node {
    cmd: String,
    start: u32,
    end: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    flags: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    json: bool,
    original: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    heredocs: Vec<Document>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<Box<Node>>,
    /// -1 before the first FROM.
    stage: i64,
}

#[derive(Debug, Serialize)]
struct Document {
    name: String,
    fd: u64,
    expand: bool,
    chomp: bool,
    len: usize,
    /// The first 16 digits of the content's SHA-256.
    sha256_16: String,
}

impl Ast {
    fn new(dockerfile: &Dockerfile) -> Ast {
        let outline = outline(dockerfile);
        let ast_ok = !dockerfile.diagnostics.iter().any(|it| it.severity == Severity::Error);
        let mut ast = Ast { ast_ok, ok: outline.is_ok(), ..Ast::default() };
        match outline {
            Ok(outline) => {
                ast.meta_args = outline.arguments.len();
                ast.stages = outline.stages.into_iter().map(Stage::new).collect();
            }
            Err(Rejected { line, diagnostic }) => {
                let message = match diagnostic.help.as_str() {
                    "" => diagnostic.message,
                    help => format!("{} ({help})", diagnostic.message),
                };
                ast.ast_err = (!ast_ok).then(|| message.clone());
                ast.err = Some(format!("line {line}: {message}"));
                ast.err_line = Some(line);
            }
        }
        if !ast_ok {
            return ast;
        }
        ast.escape = Some(dockerfile.escape);
        ast.syntax = dockerfile.syntax.clone();
        ast.check = dockerfile.check.clone();
        ast.warnings =
            lint::empty_continuations(dockerfile).into_iter().map(|(instruction, _)| warning(instruction)).collect();
        ast.lint = lint::early(dockerfile);
        let mut stage = -1;
        ast.instructions = dockerfile
            .instructions
            .iter()
            .map(|instruction| {
                stage += i64::from(instruction.keyword == "from");
                Node::new(instruction, stage)
            })
            .collect();
        ast
    }
}

impl Stage {
    fn new(stage: StageOutline) -> Stage {
        let ncmds = stage.commands.len();
        Stage {
            name: stage.from.name,
            base: stage.from.base,
            platform: stage.from.platform,
            line: stage.lines.start,
            ncmds,
        }
    }
}

impl Node {
    fn new(instruction: &Instruction, stage: i64) -> Node {
        Node {
            cmd: instruction.keyword.clone(),
            start: instruction.lines.start,
            end: instruction.lines.end,
            flags: instruction.flags.clone(),
            args: instruction.args.clone(),
            json: instruction.json,
            original: instruction.original.clone(),
            heredocs: instruction.heredocs.iter().map(Document::new).collect(),
            // What an ONBUILD holds has no lines, heredocs and stage of its own.
            sub: instruction.trigger.as_ref().map(|trigger| {
                let node = Node::new(trigger, 0);
                Box::new(Node { start: 0, end: 0, heredocs: Vec::new(), ..node })
            }),
            stage,
        }
    }
}

impl Document {
    fn new(heredoc: &Heredoc) -> Document {
        let digest = hex(&Sha256::digest(&heredoc.content));
        Document {
            name: heredoc.name.clone(),
            fd: heredoc.fd,
            expand: heredoc.expand,
            chomp: heredoc.chomp,
            len: heredoc.content.len(),
            sha256_16: digest.chars().take(16).collect(),
        }
    }
}

/// As the official parser words it, but no longer than it can be read.
fn warning(instruction: &Instruction) -> String {
    format!("Empty continuation line found in: {}", instruction.original).chars().take(60).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
