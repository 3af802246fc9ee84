//! What `stagedive blame` found, as one value: `--json` prints it, and the text is made of it. `schema.md` documents
//! its fields.

use super::super::analyse::Build;
use super::super::size::report::Path;
use super::Way;
use crate::debug::trace::{End, How};
use crate::image::base::{Base as Known, Named};
use crate::image::digest::Digest;
use crate::image::inventory::Inventory;
use crate::layers::{self, Cause, Change, Differences, Kind, MetaRef};
use crate::plan::{Base, Op, Plan, StepId};
use bstr::{BStr, BString, ByteSlice};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Raised when a field changes its meaning or goes away; new fields do not raise it.
pub const SCHEMA: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub schema: u32,
    /// As asked for.
    pub image: String,
    pub origin: String,
    /// The image that it is built on, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<BaseImage>,
    #[serde(flatten)]
    pub path: Path,
    /// What is there in the end; `null` if it is gone.
    pub now: Option<State>,
    /// Content bytes at and below it, in the end.
    pub bytes: u64,
    /// Oldest first.
    pub touches: Vec<Touch>,
    /// Of a directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<Vec<Entry>>,
    /// Of a build: the instructions that the content came by, the newest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<Vec<Hop>>,
    /// Of a build: where the chain ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Of a chain that ends at a command: files with the same content before it, each with its own way.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alike: Vec<Alike>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alike {
    #[serde(flatten)]
    pub path: Path,
    /// The command took it away.
    pub gone: bool,
    pub chain: Vec<Hop>,
    pub source: Source,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BaseImage {
    pub name: String,
    /// How many of the lowest layers are its; `None` if the image names its base, and nothing here knows it.
    pub layers: Option<usize>,
}

/// A layer, by what made it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Layer {
    pub index: u32,
    pub diff_id: Option<Digest>,
    /// As the image's history has it; empty if the image does not say.
    pub created_by: String,
    /// The same in a Dockerfile's words; `null` where nothing says.
    pub instruction: Option<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Of a build: the stage, and the line in the Dockerfile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The image that the layer came with, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Touch {
    pub layer: Arc<Layer>,
    pub change: &'static str,
    /// Of a modified path: what about it.
    pub differences: Vec<&'static str>,
    /// What in the layer takes away what was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone: Option<Removal>,
    /// A directory that stays, and the layer takes away what lower layers have in it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub emptied: bool,
    pub before: Option<State>,
    pub after: Option<State>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Removal {
    pub cause: &'static str,
    /// The path that the layer names: the path itself or a directory above it.
    pub by: Path,
}

/// Properties of a path.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct State {
    pub kind: Kind,
    pub bytes: u64,
    /// Octal, four digits.
    pub mode: String,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// Major and minor number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<(u32, u32)>,
    /// Values as text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    pub name: Path,
    pub now: Option<State>,
    /// Content bytes at and below it, in the end.
    pub bytes: u64,
    pub layer: Arc<Layer>,
    /// What the layer did to the entry itself; `null` if it touched only what is below.
    pub change: Option<&'static str>,
    /// How many paths below the entry the layer touched.
    pub below: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hop {
    pub stage: String,
    pub line: u32,
    pub instruction: String,
    #[serde(flatten)]
    pub path: Path,
    /// `copied`, `wrote`, `touched` (its properties alone), `base`.
    pub how: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Source {
    /// `instruction`, `context`, `image`, `archive`, `heredoc`, `url`, `git`.
    pub kind: &'static str,
    /// The image, the named context, the address, the heredoc's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Path>,
}

/// What is known of the base: by its layers, or else as the image's annotations name it.
///
/// Source: OCI image-spec `annotations.md`, "Pre-Defined Annotation Keys".
pub fn base(inventory: &Inventory, known: Option<Known>) -> Option<BaseImage> {
    if let Some(Known { name, layers }) = known {
        return Some(BaseImage { name, layers: Some(layers) });
    }
    let named = Named::of(&inventory.annotations, &inventory.config);
    let name = named.name.or_else(|| named.digest.map(|digest| digest.to_string()))?;
    Some(BaseImage { name, layers: None })
}

pub fn report(
    inventory: &Inventory,
    build: Option<&Build>,
    base: Option<BaseImage>,
    way: Option<&Way>,
    path: &BStr,
) -> Report {
    let tree = &inventory.tree;
    let of_base = base.as_ref().map_or(0, |base| base.layers.unwrap_or(0));
    let named = |index: u32| {
        let layer = layer(inventory, build, index);
        let own = base.as_ref().filter(|_| (index as usize) < of_base).map(|base| base.name.clone());
        Layer { base: layer.base.or(own), ..layer }
    };
    // A directory may have a million entries, and what made their layers is told of each.
    let mut known = BTreeMap::new();
    let mut names = |index: u32| known.entry(index).or_insert_with(|| Arc::new(named(index))).clone();
    let touches = layers::blame(tree, path).unwrap_or_default();
    let node = tree.lookup(path);
    let entries = layers::last_of_each(tree, path);
    let plan = way.map(|way| way.facts.plan.as_ref());
    Report {
        schema: SCHEMA,
        image: inventory.name.clone(),
        origin: inventory.origin.clone(),
        base: base.clone(),
        path: Path::new(path),
        now: node.map(|id| state(tree.meta(id))),
        bytes: node.map_or(0, |id| tree.bytes(id)),
        // The root is always there, and no layer is to blame for that.
        touches: touches
            .iter()
            .filter(|touch| !path.is_empty() || touch.emptied)
            .map(|touch| self::touch(names(touch.layer), touch))
            .collect(),
        entries: entries.map(|entries| entries.iter().map(|it| entry(names(it.layer), it)).collect()),
        chain: way.zip(plan).map(|(way, plan)| way.chain.hops.iter().map(|it| hop(plan, it)).collect()),
        source: way.map(|way| source(&way.chain.end)),
        alike: way.zip(plan).map_or(Vec::new(), |(way, plan)| way.alike.iter().map(|it| alike(plan, it)).collect()),
    }
}

/// What made a layer.
pub fn layer(inventory: &Inventory, build: Option<&Build>, index: u32) -> Layer {
    let facts = inventory.layers.get(index as usize);
    let instruction = facts.and_then(|facts| facts.instruction.as_ref());
    let step: Option<(&Plan, StepId)> =
        build.and_then(|build| Some((build.plan.as_ref(), build.layers.get(index as usize).copied().flatten()?)));
    let base = step.and_then(|(plan, step)| match &plan.step(step).op {
        Op::From(Base::Image(image)) => Some(image.clone()),
        _ => None,
    });
    let own = step.filter(|_| base.is_none()).map(|(plan, step)| plan.step(step).text.clone());
    Layer {
        index,
        diff_id: facts.and_then(|facts| facts.diff_id.clone()),
        created_by: instruction.map(|it| it.raw.clone()).unwrap_or_default(),
        instruction: own.or_else(|| instruction.map(|it| it.text.clone())),
        created: instruction.and_then(|it| it.created.clone()),
        stage: step.map(|(plan, step)| plan.stage(step.stage).label()),
        line: step.map(|(plan, step)| plan.step(step).lines.start),
        base,
    }
}

fn touch(layer: Arc<Layer>, touch: &layers::Touch<'_>) -> Touch {
    Touch {
        layer,
        change: word(touch.change()),
        differences: differences(touch.differences()),
        gone: touch.gone.as_ref().map(|gone| Removal {
            cause: match gone.cause {
                Cause::Whiteout => "whiteout",
                Cause::Opaque => "opaque",
                Cause::Replaced => "replaced",
            },
            by: Path::new(gone.by.as_ref()),
        }),
        emptied: touch.emptied,
        before: touch.before.map(state),
        after: touch.after.map(state),
    }
}

fn entry(layer: Arc<Layer>, last: &layers::Last<'_>) -> Entry {
    Entry {
        name: Path::new(last.name.as_ref()),
        now: last.now.map(state),
        bytes: last.bytes,
        layer,
        change: last.own.as_ref().map(|touch| word(touch.change())),
        below: last.below,
    }
}

pub fn state(meta: MetaRef<'_>) -> State {
    State {
        kind: meta.kind,
        bytes: meta.bytes(),
        mode: format!("{:04o}", meta.mode),
        uid: meta.uid,
        gid: meta.gid,
        mtime: meta.mtime.0,
        target: meta.target.to_string(),
        device: matches!(meta.kind, Kind::CharDevice | Kind::BlockDevice).then_some(meta.device),
        xattrs: meta.xattrs.iter().map(|(name, value)| (name.to_string(), xattr(value))).collect(),
    }
}

/// A value as text, or as `getfattr` writes what is none.
fn xattr(value: &BString) -> String {
    match value.to_str() {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => value.iter().fold("0x".to_owned(), |out, byte| out + &format!("{byte:02x}")),
    }
}

pub fn word(change: Change) -> &'static str {
    match change {
        Change::Added => "added",
        Change::Modified => "modified",
        Change::Removed => "removed",
        Change::Unchanged => "unchanged",
    }
}

/// The names of what differs, times only if nothing else does.
pub fn differences(it: Differences) -> Vec<&'static str> {
    let all = [
        (it.kind, "kind"),
        (it.content, "content"),
        (it.mode, "mode"),
        (it.owner, "owner"),
        (it.xattrs, "xattrs"),
        (it.time && !it.matter(), "time"),
    ];
    all.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect()
}

fn hop(plan: &Plan, hop: &crate::debug::trace::Hop) -> Hop {
    let step = plan.step(hop.step);
    Hop {
        stage: plan.stage(hop.step.stage).label(),
        line: step.lines.start,
        instruction: step.text.clone(),
        path: Path::new(hop.path.as_ref()),
        how: match hop.how {
            How::Copied => "copied",
            How::Wrote => "wrote",
            How::Touched => "touched",
            How::Base => "base",
        },
    }
}

fn alike(plan: &Plan, it: &crate::debug::trace::Alike) -> Alike {
    Alike {
        path: Path::new(it.path.as_ref()),
        gone: it.gone,
        chain: it.chain.hops.iter().map(|it| hop(plan, it)).collect(),
        source: source(&it.chain.end),
    }
}

fn source(end: &End) -> Source {
    let path = |path: &bstr::BString| Some(Path::new(path.as_ref()));
    let (kind, name, path) = match end {
        End::Written => ("instruction", None, None),
        End::Context { name, path: from } => ("context", name.clone(), from.as_ref().and_then(path)),
        End::Image { image, path: from, .. } => ("image", Some(image.clone()), path(from)),
        End::Archive(archive) => ("archive", None, path(archive)),
        End::Inline(name) => ("heredoc", Some(name.clone()), None),
        End::Url(address) => ("url", Some(address.clone()), None),
        End::Git(address) => ("git", Some(address.clone()), None),
    };
    Source { kind, name, path }
}
