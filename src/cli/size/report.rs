//! What `stagedive size` found, as one value: `--json` prints it, the gate reads an older one of it, and the text is
//! made of it. `schema.md` documents its fields.

use super::super::blame::report::BaseImage;
use super::gate::Verdict;
use crate::cli::analyse::Build;
use crate::image::digest::Digest;
use crate::image::history;
use crate::image::inventory::Inventory;
use crate::layers::findings::{self, Made, Rule, Severity};
use crate::layers::waste::{DeadBytes, How};
use crate::layers::{Account, FileTree, NodeId};
use base64::Engine as _;
use bstr::{BStr, ByteSlice};
use serde::Serialize;

/// Raised when a field changes its meaning or goes away; new fields do not raise it.
pub const SCHEMA: u32 = 1;

/// Groups of equal files that are told one by one.
const MOST_DUPLICATES: usize = 100;

/// Paths that are told of one such group.
const MOST_COPIES: usize = 100;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub schema: u32,
    /// As asked for.
    pub image: String,
    pub origin: String,
    /// Of the manifest.
    pub digest: Option<Digest>,
    pub platform: String,
    /// The image that it is built on, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<BaseImage>,
    /// Whether every layer could be read to its end.
    pub complete: bool,
    pub warnings: Vec<String>,
    pub total_bytes: u64,
    pub live_bytes: u64,
    pub dead_bytes: u64,
    pub overwritten_bytes: u64,
    pub deleted_bytes: u64,
    pub metadata_bytes: u64,
    pub duplicate_bytes: u64,
    pub compressed_bytes: u64,
    /// dive's efficiency, by its rule and with the faults of its counting mended.
    pub dive_score: f64,
    pub layers: Vec<Layer>,
    pub duplicates: Vec<Duplicate>,
    /// Secrets first, then by what their mends would save.
    pub findings: Vec<Finding>,
    /// The largest live file.
    pub largest: Option<File>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<File>>,
    /// Of a build: where the live bytes come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stages: Option<Vec<super::stages::Stage>>,
    /// If anything is limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<Verdict>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Layer {
    pub index: u32,
    pub diff_id: Option<Digest>,
    /// Of the blob.
    pub digest: Option<Digest>,
    /// As the image's history has it; empty if the image does not say.
    pub created_by: String,
    /// The same in a Dockerfile's words.
    pub instruction: Option<String>,
    /// Of a build context: the stage and the line in the Dockerfile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    pub bytes: u64,
    pub compressed_bytes: u64,
    pub entries: u64,
    pub added: u64,
    pub modified: u64,
    pub removed: u64,
    pub dead_bytes: u64,
    pub overwritten_bytes: u64,
    pub deleted_bytes: u64,
    pub metadata_bytes: u64,
    pub killed_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Duplicate {
    pub extra_bytes: u64,
    /// How many copies there are.
    pub copies: u64,
    pub paths: Vec<Path>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    pub rule: Rule,
    pub severity: Severity,
    /// In words, without paths, sizes and instructions.
    pub what: String,
    /// What to do.
    pub mend: String,
    /// What the mend would save.
    pub bytes: u64,
    /// Files, packages or variables that it is about.
    pub count: u64,
    /// The layer that wrote it.
    pub layer: Option<u32>,
    /// The layer that took it away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub killed_by: Option<u32>,
    /// Paths, or names of packages and variables.
    pub examples: Vec<Path>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct File {
    #[serde(flatten)]
    pub path: Path,
    pub bytes: u64,
    /// The layer that wrote it.
    pub layer: u32,
    pub state: State,
    /// The layer that killed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub killed_by: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Live,
    Overwritten,
    Deleted,
    Metadata,
}

/// A path as text. Names need not be UTF-8, and what is not can be told only in another form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Path {
    /// Bytes that are not UTF-8 are U+FFFD here.
    pub path: String,
    /// The path's bytes, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_base64: Option<String>,
}

impl Path {
    pub fn new(path: &BStr) -> Path {
        let path_base64 = path.to_str().is_err().then(|| base64::engine::general_purpose::STANDARD.encode(path));
        Path { path: path.to_str_lossy().into_owned(), path_base64 }
    }
}

/// Whether the files are listed one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    Listed,
    Counted,
}

pub fn report(
    inventory: &Inventory,
    build: Option<&Build>,
    base: Option<BaseImage>,
    account: &Account,
    files: Files,
) -> Report {
    let tree = &inventory.tree;
    let waste = &account.waste;
    let layers = inventory.layers.iter().zip(&waste.layers).enumerate().map(|(index, (facts, waste))| {
        let step = build.and_then(|build| Some(build.plan.step(build.layers.get(index).copied().flatten()?)));
        let instruction = facts.instruction.as_ref();
        Layer {
            index: index as u32,
            diff_id: facts.diff_id.clone(),
            digest: facts.digest.clone(),
            created_by: instruction.map(|it| it.raw.clone()).unwrap_or_default(),
            instruction: step.map(|it| it.text.clone()).or_else(|| instruction.map(|it| it.text.clone())),
            stage: build.zip(step).map(|(build, step)| build.plan.stage(step.id.stage).label()),
            line: step.map(|step| step.lines.start),
            bytes: waste.bytes,
            compressed_bytes: facts.compressed,
            entries: facts.entries,
            added: waste.added,
            modified: waste.modified,
            removed: waste.removed,
            dead_bytes: waste.dead.total(),
            overwritten_bytes: waste.dead.overwritten,
            deleted_bytes: waste.dead.deleted,
            metadata_bytes: waste.dead.metadata,
            killed_bytes: waste.killed.total(),
        }
    });
    let layers: Vec<Layer> = layers.collect();
    let found = found(inventory, base.as_ref().and_then(|base| base.layers).unwrap_or(0), account, &layers);
    let DeadBytes { overwritten, deleted, metadata } = waste.dead;
    let listed = files == Files::Listed;
    let duplicates = account.duplicates.iter().take(if listed { usize::MAX } else { MOST_DUPLICATES });
    Report {
        schema: SCHEMA,
        image: inventory.name.clone(),
        origin: inventory.origin.clone(),
        digest: inventory.manifest.clone(),
        platform: platform(inventory),
        base,
        complete: inventory.broken().next().is_none(),
        warnings: inventory.broken().chain(notes(inventory)).map(str::to_owned).collect(),
        total_bytes: waste.total(),
        live_bytes: waste.live,
        dead_bytes: waste.dead.total(),
        overwritten_bytes: overwritten,
        deleted_bytes: deleted,
        metadata_bytes: metadata,
        duplicate_bytes: account.duplicate_bytes(),
        compressed_bytes: inventory.layers.iter().map(|it| it.compressed).fold(0, u64::saturating_add),
        dive_score: account.score.efficiency,
        layers,
        findings: found,
        duplicates: duplicates.map(|it| duplicate(tree, it, listed)).collect(),
        largest: largest(tree, account),
        files: listed.then(|| list(tree, account)),
        stages: None,
        gate: None,
    }
}

fn found(inventory: &Inventory, base_layers: usize, account: &Account, layers: &[Layer]) -> Vec<Finding> {
    let made: Vec<Made<'_>> = inventory
        .layers
        .iter()
        .zip(layers)
        .enumerate()
        .map(|(index, (facts, layer))| Made {
            instruction: layer.instruction.as_deref(),
            arguments: facts.instruction.as_ref().map_or("", |it| it.args.as_str()),
            base: index < base_layers,
            keys: &facts.keys,
            databases: &facts.databases,
        })
        .collect();
    let config = &inventory.config;
    let found = findings::findings(&inventory.tree, account, &made, &config.config.env, &history::declared(config));
    let finding = |it: findings::Finding| Finding {
        rule: it.rule,
        severity: it.severity,
        what: it.what,
        mend: it.mend,
        bytes: it.bytes,
        count: it.count,
        layer: it.wrote,
        killed_by: it.killed,
        examples: it.examples.iter().map(|path| Path::new(path.as_ref())).collect(),
    };
    found.into_iter().map(finding).collect()
}

fn notes(inventory: &Inventory) -> impl Iterator<Item = &str> {
    inventory.layers.iter().flat_map(|layer| layer.notes.iter().map(String::as_str))
}

fn platform(inventory: &Inventory) -> String {
    let config = &inventory.config;
    let parts = [&config.os, &config.architecture, &config.variant];
    parts.into_iter().filter(|it| !it.is_empty()).map(String::as_str).collect::<Vec<_>>().join("/")
}

fn duplicate(tree: &FileTree, it: &crate::layers::duplicates::Duplicate, all: bool) -> Duplicate {
    let paths = it.nodes.iter().take(if all { usize::MAX } else { MOST_COPIES });
    Duplicate {
        extra_bytes: it.extra,
        copies: it.nodes.len() as u64,
        paths: paths.map(|node| path(tree, *node)).collect(),
    }
}

fn largest(tree: &FileTree, account: &Account) -> Option<File> {
    let live = account.contents().filter(|it| it.dead.is_none());
    live.max_by_key(|it| (it.bytes, std::cmp::Reverse(it.node))).map(|it| file(tree, it))
}

/// Every content that takes bytes, the largest first.
fn list(tree: &FileTree, account: &Account) -> Vec<File> {
    let mut files: Vec<File> = account.contents().map(|it| file(tree, it)).collect();
    files.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.path.cmp(&b.path.path)).then(a.layer.cmp(&b.layer)));
    files
}

fn file(tree: &FileTree, it: crate::layers::account::Content) -> File {
    File {
        path: path(tree, it.node),
        bytes: it.bytes,
        layer: it.wrote,
        state: match it.dead {
            None => State::Live,
            Some((_, How::Overwritten)) => State::Overwritten,
            Some((_, How::Deleted)) => State::Deleted,
            Some((_, How::Metadata)) => State::Metadata,
        },
        killed_by: it.dead.map(|(killed, _)| killed),
    }
}

fn path(tree: &FileTree, node: NodeId) -> Path {
    Path::new(tree.path(node).as_ref())
}
