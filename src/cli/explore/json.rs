//! An image and all that is in it, as JSON that is written while it is worked out: nothing is held but the image's
//! own tree. `schema.md` documents it.

use super::super::blame::report::BaseImage;
use super::super::size::report::Path;
use crate::debug::json;
use crate::image::digest::Digest;
use crate::image::inventory::{Inventory, LayerFacts};
use crate::layers::{Diff, DiffId, FileTree, Kind, MetaRef};
use serde::Serialize;
use std::io::{self, Write};

/// Raised when a field changes its meaning or goes away; new fields do not raise it.
pub const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Head<'i> {
    schema: u32,
    /// As asked for.
    image: &'i str,
    origin: &'i str,
    digest: Option<&'i Digest>,
    os: &'i str,
    architecture: &'i str,
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<&'i BaseImage>,
    complete: bool,
    bytes: u64,
    config: &'i crate::image::config::RunConfig,
    annotations: &'i std::collections::BTreeMap<String, String>,
}

#[derive(Serialize)]
struct LayerHead<'i> {
    index: usize,
    diff_id: Option<&'i Digest>,
    digest: Option<&'i Digest>,
    created_by: &'i str,
    instruction: Option<&'i str>,
    compressed_bytes: u64,
    archive_bytes: u64,
    entries: u64,
    checked: bool,
    broken: Option<&'i str>,
    notes: &'i [String],
    added: usize,
    modified: usize,
    removed: usize,
}

#[derive(Serialize)]
struct Changed<'t> {
    change: &'static str,
    #[serde(flatten)]
    entry: Entry<'t>,
}

#[derive(Serialize)]
struct Entry<'t> {
    #[serde(flatten)]
    path: Path,
    kind: &'static str,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: i64,
    size: u64,
    /// At and below the path; of the final tree only.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inode: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<(u32, u32)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    xattrs: Vec<&'t str>,
}

/// Writes one JSON object: what is known of the image, the layers with what each changed, then the final tree. Each
/// path has a line of its own.
pub fn write(inventory: &Inventory, base: Option<&BaseImage>, out: &mut impl Write) -> io::Result<()> {
    let tree = &inventory.tree;
    let head = Head {
        schema: SCHEMA,
        image: &inventory.name,
        origin: &inventory.origin,
        digest: inventory.manifest.as_ref(),
        os: &inventory.config.os,
        architecture: &inventory.config.architecture,
        base,
        complete: inventory.broken().next().is_none(),
        bytes: tree.bytes(FileTree::ROOT),
        config: &inventory.config.config,
        annotations: &inventory.annotations,
    };
    open(out, &head)?;
    out.write_all(b",\"layers\":[")?;
    for (index, facts) in inventory.layers.iter().enumerate() {
        out.write_all(if index == 0 { b"\n" } else { b",\n" })?;
        layer(index, facts, tree, out)?;
    }
    out.write_all(b"],\n\"files\":[")?;
    let mut first = true;
    for node in tree.walk(FileTree::ROOT).into_iter().skip(1) {
        let mut entry = entry(Path::new(tree.path(node).as_ref()), tree.meta(node));
        entry.bytes = Some(tree.bytes(node));
        entry.layer = Some(tree.layer(node));
        item(out, &mut first, &entry)?;
    }
    out.write_all(b"\n]}\n")
}

fn layer(index: usize, facts: &LayerFacts, tree: &FileTree, out: &mut impl Write) -> io::Result<()> {
    let diff = Diff::of_layer(tree, index as u32);
    let instruction = facts.instruction.as_ref();
    let head = LayerHead {
        index,
        diff_id: facts.diff_id.as_ref(),
        digest: facts.digest.as_ref(),
        created_by: instruction.map_or("", |it| &it.raw),
        instruction: instruction.map(|it| it.text.as_str()),
        compressed_bytes: facts.compressed,
        archive_bytes: facts.unpacked,
        entries: facts.entries,
        checked: facts.checked,
        broken: facts.broken.as_deref(),
        notes: &facts.notes,
        added: diff.added,
        modified: diff.modified,
        removed: diff.removed,
    };
    open(out, &head)?;
    out.write_all(b",\"changes\":[")?;
    let mut first = true;
    for id in diff.ids().skip(1) {
        if let Some(change) = change(&diff, id) {
            item(out, &mut first, &change)?;
        }
    }
    out.write_all(b"]}")
}

fn change(diff: &Diff, id: DiffId) -> Option<Changed<'_>> {
    let change = match diff.change(id) {
        crate::layers::Change::Added => "added",
        crate::layers::Change::Modified => "modified",
        crate::layers::Change::Removed => "removed",
        crate::layers::Change::Unchanged => return None,
    };
    Some(Changed { change, entry: entry(Path::new(diff.path(id).as_ref()), diff.meta(id)) })
}

fn entry(path: Path, meta: MetaRef<'_>) -> Entry<'_> {
    let kind = match meta.kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Symlink => "symlink",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
        Kind::CharDevice => "char-device",
        Kind::BlockDevice => "block-device",
    };
    let is_device = matches!(meta.kind, Kind::CharDevice | Kind::BlockDevice);
    Entry {
        path,
        kind,
        mode: meta.mode,
        uid: meta.uid,
        gid: meta.gid,
        mtime: meta.mtime.0,
        size: if meta.kind == Kind::File { meta.size } else { 0 },
        bytes: None,
        layer: None,
        target: (meta.kind == Kind::Symlink).then(|| Path::new(meta.target)),
        inode: (meta.hard_link != 0).then_some(meta.hard_link),
        device: is_device.then_some(meta.device),
        xattrs: meta.xattrs.keys().filter_map(|name| std::str::from_utf8(name).ok()).collect(),
    }
}

/// Writes an object without the brace at its end, so that more fields can follow.
fn open(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let text = json::text(value)?;
    out.write_all(text.strip_suffix('}').unwrap_or(&text).as_bytes())
}

fn item(out: &mut impl Write, first: &mut bool, value: &impl Serialize) -> io::Result<()> {
    out.write_all(if std::mem::take(first) { b"\n" } else { b",\n" })?;
    Ok(json::write(out, value)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::config::{History, ImageConfig};
    use crate::layers::{Entry as Put, Layer, Meta};
    use std::sync::Arc;

    #[test]
    fn an_image_is_one_object() {
        let file = |path: &[u8], size| Put::Put {
            path: path.into(),
            meta: Meta { size, mode: 0o644, ..Meta::new(Kind::File) },
            opaque: false,
        };
        let link = Meta { target: "sh".into(), ..Meta::new(Kind::Symlink) };
        let layers = [
            vec![file(b"bin/sh", 10), file(b"tmp/\xff", 3)],
            vec![Put::Put { path: "bin/ash".into(), meta: link, opaque: false }, Put::Whiteout { path: "tmp".into() }],
        ];
        let layers = layers.map(|entries| Arc::new(Layer { entries }));
        let mut config = ImageConfig { os: "linux".to_owned(), ..ImageConfig::default() };
        config.history = vec![History { created_by: "COPY a /".to_owned(), ..History::default() }];
        config.rootfs.diff_ids = vec![Digest::of(b"0"), Digest::of(b"1")];
        let inventory = Inventory::of_layers("example", "made here", config, &layers);
        let mut out = Vec::new();
        write(&inventory, None, &mut out).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&json["schema"], &json["bytes"], &json["complete"]), (&1.into(), &10.into(), &true.into()));
        assert_eq!(json["layers"][0]["instruction"], "COPY a /");
        assert_eq!(json["layers"][1]["instruction"], serde_json::Value::Null);
        let changes = |layer: usize| {
            let list = json["layers"][layer]["changes"].as_array().unwrap().iter();
            list.map(|it| format!("{} {}", it["change"].as_str().unwrap(), it["path"].as_str().unwrap()))
                .collect::<Vec<_>>()
        };
        assert_eq!(changes(0), ["added bin", "added bin/sh", "added tmp", "added tmp/\u{fffd}"]);
        assert_eq!(changes(1), ["added bin/ash", "removed tmp", "removed tmp/\u{fffd}"]);
        assert_eq!(json["layers"][0]["changes"][3]["path_base64"], "dG1wL/8=");
        let files = json["files"].as_array().unwrap();
        let paths: Vec<_> = files.iter().map(|it| it["path"].as_str().unwrap()).collect();
        assert_eq!(paths, ["bin", "bin/ash", "bin/sh"]);
        assert_eq!((&files[0]["bytes"], &files[2]["mode"]), (&10.into(), &0o644.into()));
        assert_eq!((&files[1]["target"]["path"], &files[1]["layer"]), (&"sh".into(), &1.into()));
    }
}
