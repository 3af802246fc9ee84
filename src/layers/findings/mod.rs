//! What is wrong with an image, in words: what it costs, which instructions did it, and what is usually done about it.
//!
//! The rules are tables ([`rules`]) of places, names and packages. Nothing here reads a file's content; that a file is a
//! private key is known from reading the layer.

mod rules;
#[cfg(test)]
mod tests;

use super::account::Content;
use super::glob::Glob;
use super::packages::Package;
use super::path::split;
use super::tree::{FileTree, NodeId};
use super::waste::How;
use super::{Account, Kind, differences};
use bstr::{BStr, BString, ByteSlice};
use rules::{Leftover, Place};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// What costs less is not worth a word.
pub const LEAST_BYTES: u64 = 100_000;

/// Paths that are told of one finding.
const MOST_PATHS: usize = 5;

/// Groups of equal files that are told, and what they take at least.
const MOST_DUPLICATES: usize = 5;
const LEAST_DUPLICATE: u64 = 1_000_000;

/// What is known of a layer besides its files.
#[derive(Debug, Clone, Copy, Default)]
pub struct Made<'a> {
    /// As in a Dockerfile.
    pub instruction: Option<&'a str>,
    /// `NAME=value`, build arguments that it saw, with blanks between.
    pub arguments: &'a str,
    /// It belongs to the base image.
    pub base: bool,
    /// Files that are private keys.
    pub keys: &'a [BString],
    /// Installed packages, by the path of their list.
    pub databases: &'a [(BString, Vec<Package>)],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    Secret,
    SecretVariable,
    PackageLists,
    ToolCache,
    ProjectFiles,
    CopiedDependencies,
    BuildTools,
    RemovedLater,
    RewrittenMetadata,
    OverwrittenLater,
    TwiceInLayer,
    Duplicate,
}

impl Rule {
    pub const ALL: [Rule; 12] = [
        Rule::Secret,
        Rule::SecretVariable,
        Rule::PackageLists,
        Rule::ToolCache,
        Rule::ProjectFiles,
        Rule::CopiedDependencies,
        Rule::BuildTools,
        Rule::RemovedLater,
        Rule::RewrittenMetadata,
        Rule::OverwrittenLater,
        Rule::TwiceInLayer,
        Rule::Duplicate,
    ];

    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Rule::Secret => "secret",
            Rule::SecretVariable => "secret-variable",
            Rule::PackageLists => "package-lists",
            Rule::ToolCache => "tool-cache",
            Rule::ProjectFiles => "project-files",
            Rule::CopiedDependencies => "copied-dependencies",
            Rule::BuildTools => "build-tools",
            Rule::RemovedLater => "removed-later",
            Rule::RewrittenMetadata => "rewritten-metadata",
            Rule::OverwrittenLater => "overwritten-later",
            Rule::TwiceInLayer => "twice-in-layer",
            Rule::Duplicate => "duplicate",
        }
    }

    /// Whether what it finds may well be wanted there: then it is no more than a hint.
    pub fn may_be_meant(self) -> bool {
        matches!(self, Rule::BuildTools | Rule::CopiedDependencies | Rule::Duplicate)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Somebody may get at what he should not.
    Danger,
    /// Bytes for nothing.
    Waste,
    /// Worth a look: it may be meant, or it is the base image's.
    Hint,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub rule: Rule,
    pub severity: Severity,
    /// In words, without paths, sizes and instructions.
    pub what: String,
    /// What to do.
    pub mend: String,
    /// What the mend would save; 0 for secrets.
    pub bytes: u64,
    /// Files, packages or variables that it is about.
    pub count: u64,
    /// The layer that wrote it, and the one that took it away.
    pub wrote: Option<u32>,
    pub killed: Option<u32>,
    /// The most costly or the first of them: paths, or names of packages and variables.
    pub examples: Vec<BString>,
}

/// All findings, secrets first and then by their cost. `made` has the layers, bottom first; `environment` the
/// variables of the image, `NAME=value`; `declared` every ARG and ENV of its history.
pub fn findings(
    tree: &FileTree,
    account: &Account,
    made: &[Made<'_>],
    environment: &[String],
    declared: &[String],
) -> Vec<Finding> {
    let image = Image::new(tree, account, made);
    let mut out = secrets::files(&image);
    out.extend(secrets::variables(made, environment, declared));
    out.extend(image.leftovers());
    out.extend(image.build_packages());
    out.extend(image.dead(account));
    out.extend(image.duplicates(account));
    out.sort_by(|a, b| {
        let key = |it: &Finding| (it.severity, std::cmp::Reverse(it.bytes), it.rule, it.wrote, it.killed);
        key(a).cmp(&key(b)).then_with(|| a.examples.cmp(&b.examples))
    });
    out
}

mod secrets;

/// What all rules look at.
struct Image<'a> {
    tree: &'a FileTree,
    made: &'a [Made<'a>],
    /// Live bytes and the layer that brought their content, in the order of their nodes; only what is not empty.
    live: Vec<(NodeId, u64, u32)>,
}

impl<'a> Image<'a> {
    fn new(tree: &'a FileTree, account: &Account, made: &'a [Made<'a>]) -> Image<'a> {
        // What has another owner or mode since is still whose it was.
        let again = account.contents().filter_map(|it| match it.dead {
            Some((killed, How::Metadata)) if it.wrote < killed => Some(((it.node, killed), it.wrote)),
            _ => None,
        });
        let again: HashMap<(NodeId, u32), u32> = again.collect();
        let brought = |it: &Content| {
            let before = |layer: &u32| again.get(&(it.node, *layer)).copied();
            std::iter::successors(Some(it.wrote), before).last().unwrap_or(it.wrote)
        };
        let live = account.contents().filter(|it| it.dead.is_none());
        Image { tree, made, live: live.map(|it| (it.node, it.bytes, brought(&it))).collect() }
    }

    /// The bytes that count at a node, and the layer that brought their content.
    fn live(&self, node: NodeId) -> Option<(u64, u32)> {
        let at = self.live.binary_search_by_key(&node, |it| it.0).ok()?;
        self.live.get(at).map(|it| (it.1, it.2))
    }

    fn made(&self, layer: u32) -> Made<'a> {
        self.made.get(layer as usize).copied().unwrap_or_default()
    }

    /// The keyword of the instruction that made a layer.
    fn keyword(&self, layer: u32) -> &'a str {
        self.made(layer).instruction.and_then(|text| text.split_whitespace().next()).unwrap_or_default()
    }

    fn is_copy(&self, layer: u32) -> bool {
        matches!(self.keyword(layer), "COPY" | "ADD")
    }

    /// Whether it says that it copies from a stage or an image.
    fn is_from(&self, layer: u32) -> bool {
        let words = self.made(layer).instruction.unwrap_or_default().split_whitespace().skip(1);
        words.take_while(|word| word.starts_with("--")).any(|flag| flag.starts_with("--from="))
    }

    fn leftovers(&self) -> Vec<Finding> {
        let mut out = Vec::new();
        let named = self.named();
        let has_packages = self.made.iter().any(|made| !made.databases.is_empty());
        let tables = [
            (Rule::PackageLists, rules::PACKAGE_LISTS),
            (Rule::ToolCache, rules::TOOL_CACHES),
            (Rule::ProjectFiles, rules::PROJECT_FILES),
            (Rule::CopiedDependencies, rules::COPIED),
            (Rule::BuildTools, rules::TOOLCHAINS),
            (Rule::BuildTools, if has_packages { &[][..] } else { rules::COMPILERS }),
        ];
        // What a rule has found is not looked at by those after it.
        let mut seen: BTreeSet<NodeId> = BTreeSet::new();
        for (rule, table) in tables {
            for leftover in table {
                out.extend(self.leftover(rule, leftover, &named, &mut seen));
            }
        }
        out
    }

    /// One finding for each layer that left something.
    fn leftover(
        &self,
        rule: Rule,
        leftover: &Leftover,
        named: &HashMap<&'static str, Vec<NodeId>>,
        seen: &mut BTreeSet<NodeId>,
    ) -> Vec<Finding> {
        struct Left {
            bytes: u64,
            count: u64,
            places: Vec<(u64, BString)>,
        }
        let mut by_layer: BTreeMap<u32, Left> = BTreeMap::new();
        for node in self.places(leftover.place, named) {
            let mut here: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
            for below in self.tree.walk(node) {
                let Some((bytes, wrote)) = self.live(below) else { continue };
                if seen.insert(below) {
                    let slot = here.entry(wrote).or_default();
                    *slot = (slot.0.saturating_add(bytes), slot.1 + 1);
                }
            }
            for (layer, (bytes, count)) in here {
                let left = by_layer.entry(layer).or_insert(Left { bytes: 0, count: 0, places: Vec::new() });
                left.bytes = left.bytes.saturating_add(bytes);
                left.count += count;
                left.places.push((bytes, self.tree.path(node)));
            }
        }
        let finding = |(layer, mut left): (u32, Left)| {
            left.places.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
            let base = self.made(layer).base;
            Finding {
                rule,
                severity: if base || rule.may_be_meant() { Severity::Hint } else { Severity::Waste },
                what: format!("{}, left in the image", leftover.what),
                mend: if base { OF_THE_BASE.to_owned() } else { leftover.mend.to_owned() },
                bytes: left.bytes,
                count: left.count,
                wrote: Some(layer),
                killed: None,
                examples: left.places.into_iter().take(MOST_PATHS).map(|(_, path)| path).collect(),
            }
        };
        let worth = |(layer, left): &(u32, Left)| {
            // A repository tells more than its size: whatever was ever committed to it.
            let least = if leftover.place == Place::Name(".git") { 1 } else { LEAST_BYTES };
            left.bytes >= least && (rule != Rule::CopiedDependencies || self.is_copy(*layer) && !self.is_from(*layer))
        };
        by_layer.into_iter().filter(worth).map(finding).collect()
    }

    /// Nodes by the names that the tables have, those below another of the same name left out.
    fn named(&self) -> HashMap<&'static str, Vec<NodeId>> {
        let mut wanted: HashMap<&[u8], &'static str> = HashMap::new();
        for leftover in [rules::TOOL_CACHES, rules::PROJECT_FILES, rules::COPIED].concat() {
            if let Place::Name(name) | Place::Holding(name) = leftover.place {
                wanted.insert(name.as_bytes(), name);
            }
        }
        let mut out: HashMap<&'static str, Vec<NodeId>> = HashMap::new();
        for node in self.tree.walk(FileTree::ROOT) {
            if let Some(name) = wanted.get(self.tree.name(node).as_bytes()) {
                out.entry(name).or_default().push(node);
            }
        }
        out
    }

    fn places(&self, place: Place, named: &HashMap<&'static str, Vec<NodeId>>) -> Vec<NodeId> {
        match place {
            Place::Path(path) => self.expand(path),
            Place::Home(path) => {
                ["root", "home/*"].iter().flat_map(|home| self.expand(&format!("{home}/{path}"))).collect()
            }
            Place::Name(name) => named.get(name).cloned().unwrap_or_default(),
            Place::Holding(name) => {
                let nodes = named.get(name).into_iter().flatten();
                nodes.map(|node| self.tree.parent(*node)).filter(|node| *node != FileTree::ROOT).collect()
            }
        }
    }

    fn expand(&self, path: &str) -> Vec<NodeId> {
        path.split('/').fold(vec![FileTree::ROOT], |nodes, name| match name {
            "*" => nodes.into_iter().flat_map(|node| self.tree.children(node)).collect(),
            name => nodes.into_iter().filter_map(|node| self.tree.child(node, name.into())).collect(),
        })
    }

    /// Packages of compilers and headers that are installed in the end, by the layer that brought them.
    fn build_packages(&self) -> Vec<Finding> {
        let patterns: Vec<Glob> = rules::BUILD_PACKAGES.iter().filter_map(|text| Glob::new(text)).collect();
        let builds = |package: &&Package| {
            let name = BStr::new(package.name.as_bytes());
            patterns.iter().any(|pattern| pattern.fits(name))
        };
        let mut first: HashMap<(&BString, &str), u32> = HashMap::new();
        let mut last: BTreeMap<&BString, &Vec<Package>> = BTreeMap::new();
        for (layer, made) in self.made.iter().enumerate() {
            for (path, packages) in made.databases {
                last.insert(path, packages);
                for package in packages {
                    first.entry((path, &package.name)).or_insert(layer as u32);
                }
            }
        }
        last.retain(|path, _| self.tree.lookup(path.as_ref()).is_some());
        let mut by_layer: BTreeMap<u32, Vec<&Package>> = BTreeMap::new();
        for (path, packages) in &last {
            for package in packages.iter().filter(builds) {
                let layer = first.get(&(*path, package.name.as_str())).copied().unwrap_or(0);
                by_layer.entry(layer).or_default().push(package);
            }
        }
        let finding = |(layer, mut packages): (u32, Vec<&Package>)| {
            packages.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.name.cmp(&b.name)));
            let base = self.made(layer).base;
            Finding {
                rule: Rule::BuildTools,
                severity: Severity::Hint,
                what: "packages that build programs, installed in the image".to_owned(),
                mend: if base { OF_THE_BASE.to_owned() } else { rules::OWN_STAGE.to_owned() },
                bytes: packages.iter().map(|it| it.size).fold(0, u64::saturating_add),
                count: packages.len() as u64,
                wrote: Some(layer),
                killed: None,
                examples: packages.iter().take(MOST_PATHS).map(|it| it.name.as_str().into()).collect(),
            }
        };
        by_layer.into_iter().map(finding).filter(|it| it.bytes >= LEAST_BYTES).collect()
    }

    /// What later layers took away from earlier ones, by the two of them.
    fn dead(&self, account: &Account) -> Vec<Finding> {
        let mut groups: BTreeMap<(u32, u32, How), Vec<Content>> = BTreeMap::new();
        for content in account.contents() {
            if let Some((killed, how)) = content.dead {
                groups.entry((content.wrote, killed, how)).or_default().push(content);
            }
        }
        let finding = |((wrote, killed, how), contents): ((u32, u32, How), Vec<Content>)| {
            let bytes = contents.iter().map(|it| it.bytes).fold(0, u64::saturating_add);
            if bytes < LEAST_BYTES {
                return None;
            }
            let (rule, what, mend) = match how {
                _ if wrote == killed => (
                    Rule::TwiceInLayer,
                    "paths that the layer's archive has twice".to_owned(),
                    "the program that made this layer wrote files twice: only the last copy counts".to_owned(),
                ),
                How::Deleted if self.is_moved(&contents, account, killed) => {
                    let what = "written in one layer and moved in a later one, which holds it once more";
                    (Rule::RemovedLater, what.to_owned(), self.mend_move(wrote))
                }
                How::Deleted => {
                    let what = "written in one layer and removed in a later one";
                    (Rule::RemovedLater, what.to_owned(), self.mend_removal(wrote))
                }
                How::Metadata => {
                    let changed = self.changed(&contents, killed);
                    let mend = match changed.as_str() {
                        UNCHANGED => "leave out what touches these files, or do it in the instruction that writes them"
                            .to_owned(),
                        _ => self.mend_metadata(wrote),
                    };
                    (Rule::RewrittenMetadata, format!("written again in a later layer {changed}"), mend)
                }
                How::Overwritten => {
                    let what = "written in one layer, and again with other content in a later one";
                    (Rule::OverwrittenLater, what.to_owned(), self.mend_overwriting(wrote))
                }
            };
            // Who writes the base image's files again pays for it himself.
            let base = self.made(if how == How::Metadata { killed } else { wrote }).base;
            let count = contents.len() as u64;
            let examples = self.heaviest(contents);
            // Where it is known what leaves such files, that is told how to leave none.
            let known = examples.first().filter(|_| how == How::Deleted).and_then(|path| known_place(path.as_ref()));
            let mend = known.map_or(mend, |leftover| leftover.mend.to_owned());
            Some(Finding {
                rule,
                severity: if base { Severity::Hint } else { Severity::Waste },
                what,
                mend: if base && how != How::Overwritten { OF_THE_BASE.to_owned() } else { mend },
                bytes,
                count,
                wrote: Some(wrote),
                killed: (wrote != killed).then_some(killed),
                examples,
            })
        };
        groups.into_iter().filter_map(finding).collect()
    }

    /// Whether a layer has most of what it took away at other paths.
    fn is_moved(&self, contents: &[Content], account: &Account, killed: u32) -> bool {
        let content = |it: &Content| {
            let meta = self.tree.versions(it.node).find(|version| version.layer == it.wrote)?.meta?;
            Some((meta.content?, meta.size))
        };
        let written: HashSet<_> =
            account.contents().filter(|it| it.wrote == killed).filter_map(|it| content(&it)).collect();
        let is_there = |it: &&Content| content(it).is_some_and(|it| written.contains(&it));
        let sum = |sum: u64, it: &Content| sum.saturating_add(it.bytes);
        contents.iter().filter(is_there).fold(0, sum) > contents.iter().fold(0, sum) / 2
    }

    fn mend_move(&self, wrote: u32) -> String {
        match self.is_copy(wrote) {
            true => format!("{} it to where it is in the end", self.keyword(wrote)),
            false => "write it where it is in the end, or move it in the same RUN".to_owned(),
        }
    }

    fn mend_removal(&self, wrote: u32) -> String {
        match self.is_copy(wrote) {
            true if self.is_from(wrote) => {
                "do not copy it: remove it where it is copied from, or mount it with RUN --mount=type=bind".to_owned()
            }
            true => "do not copy it: name it in .dockerignore, or mount it with RUN --mount=type=bind".to_owned(),
            false => {
                "remove it at the end of the instruction that writes it, or write it in a stage of its own".to_owned()
            }
        }
    }

    fn mend_metadata(&self, wrote: u32) -> String {
        if self.made(wrote).base {
            return "leave the base image's files as they are, and change only those that need it".to_owned();
        }
        match self.is_copy(wrote) {
            true => format!("say {} --chown=… --chmod=… where the files are copied", self.keyword(wrote)),
            false => "set owner and mode in the instruction that writes the files".to_owned(),
        }
    }

    fn mend_overwriting(&self, wrote: u32) -> String {
        if self.made(wrote).base {
            return "begin with a base that has them as they should be, a newer one or your own".to_owned();
        }
        match self.is_copy(wrote) {
            true => "copy the files in their last form, or in one instruction after they have changed".to_owned(),
            false => "do both in one RUN, so that the first form is never kept".to_owned(),
        }
    }

    /// Which properties a layer changed of what it wrote again.
    fn changed(&self, contents: &[Content], killed: u32) -> String {
        /// As many files tell what a command did to all of them.
        const LOOKED_AT: usize = 1000;
        let (mut owner, mut mode, mut xattrs, mut time) = (false, false, false, false);
        for content in contents.iter().take(LOOKED_AT) {
            let mut versions = self.tree.versions(content.node).skip_while(|it| it.layer > killed);
            let after = versions.find(|it| it.layer == killed).and_then(|it| it.meta);
            let before = versions.find(|it| it.layer < killed).and_then(|it| it.meta);
            let (Some(before), Some(after)) = (before, after) else { continue };
            let differences = differences(before, after);
            owner |= differences.owner;
            mode |= differences.mode;
            xattrs |= differences.xattrs;
            time |= differences.time;
        }
        let parts = [(owner, "another owner"), (mode, "another mode"), (xattrs, "other attributes")];
        let parts: Vec<&str> = parts.iter().filter(|(is, _)| *is).map(|(_, text)| *text).collect();
        match parts.as_slice() {
            [] if time => "for another time, same content".to_owned(),
            [] => UNCHANGED.to_owned(),
            parts => format!("for {}, same content", parts.join(", ")),
        }
    }

    fn duplicates(&self, account: &Account) -> Vec<Finding> {
        let worth = account.duplicates.iter().filter(|it| it.extra >= LEAST_DUPLICATE).take(MOST_DUPLICATES);
        let finding = |it: &super::duplicates::Duplicate| {
            let wrote = it.nodes.iter().filter_map(|node| Some(self.live(*node)?.1)).max();
            Finding {
                rule: Rule::Duplicate,
                severity: Severity::Hint,
                what: "the same content at several paths".to_owned(),
                mend: "keep one of them, and make the others links to it".to_owned(),
                bytes: it.extra,
                count: it.nodes.len() as u64,
                wrote,
                killed: None,
                examples: it.nodes.iter().take(MOST_PATHS).map(|node| self.tree.path(*node)).collect(),
            }
        };
        worth.map(finding).collect()
    }

    /// Where most of some files are: a directory, with a slash at its end, or the largest of the files.
    fn heaviest(&self, mut contents: Vec<Content>) -> Vec<BString> {
        let all = contents.iter().map(|it| it.bytes).fold(0, u64::saturating_add);
        if contents.len() > MOST_PATHS {
            let mut below: HashMap<NodeId, u64> = HashMap::new();
            for content in &contents {
                let mut at = content.node;
                while at != FileTree::ROOT {
                    at = self.tree.parent(at);
                    *below.entry(at).or_default() += content.bytes;
                }
            }
            // The smallest directory that has nine of ten bytes.
            let most = below.iter().filter(|(_, bytes)| **bytes >= all / 10 * 9);
            let deepest = most.map(|(node, bytes)| (self.tree.path(*node), bytes)).max_by_key(|(path, bytes)| {
                (path.split_str("/").count(), !path.is_empty(), std::cmp::Reverse(**bytes))
            });
            if let Some((mut path, _)) = deepest.filter(|(path, _)| !path.is_empty()) {
                path.push(b'/');
                return vec![path];
            }
        }
        contents.sort_by_cached_key(|it| (std::cmp::Reverse(it.bytes), self.tree.path(it.node)));
        contents.iter().take(MOST_PATHS).map(|it| self.tree.path(it.node)).collect()
    }
}

fn known_place(path: &BStr) -> Option<&'static Leftover> {
    let is_there = |leftover: &&Leftover| match leftover.place {
        Place::Path(place) => path.starts_with(place.as_bytes()),
        _ => false,
    };
    rules::PACKAGE_LISTS.iter().find(is_there)
}

const UNCHANGED: &str = "and the same in every way";

const OF_THE_BASE: &str = "it comes with the base image: a slimmer base would save it";
