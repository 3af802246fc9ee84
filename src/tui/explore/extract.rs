//! Files of an image, written to where the user wants them. Each layer is read once, however many files it has.

use super::image::height;
use crate::image::inventory::Inventory;
use crate::layers::FileTree;
use crate::snapshot::SnapshotId;
use crate::tui::extract::{Plan, Wanted, blocking, failed};
use bstr::BString;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// Hard links from link to link.
const MOST_LINKS: usize = 8;

/// Writes a file, or a directory with what is in it, to a path that must not exist yet; a directory that exists takes
/// it in. Answers with what was written, in words.
pub async fn extract(inventory: Arc<Inventory>, at: SnapshotId, path: BString, to: PathBuf) -> Result<String, String> {
    let tree = inventory.tree.at(height(&at).unwrap_or(0));
    let (mut plan, mut waiting) = {
        let tree = tree.clone();
        blocking(move || {
            let mut plan = Plan::make(&tree, &path, &to)?;
            let files = std::mem::take(&mut plan.files);
            let waiting = sorted(&tree, files);
            Ok((plan, waiting))
        })
        .await?
    };
    for _ in 0..MOST_LINKS {
        for (layer, files) in std::mem::take(&mut waiting) {
            inventory.fetch(layer).await.map_err(|error| error.message)?;
            let (inventory, tree) = (inventory.clone(), tree.clone());
            let (done, links) = blocking(move || read(&inventory, &tree, layer, files)).await?;
            for (wanted, bytes) in &done {
                plan.done(wanted, *bytes);
            }
            for (layer, path, open) in links {
                waiting.entry(layer).or_default().entry(path).or_default().push(open);
            }
        }
    }
    match waiting.values().flat_map(|files| files.values()).flatten().next() {
        Some(open) => Err(format!("{} has no content that could be found", open.wanted.to.display())),
        None => Ok(plan.words()),
    }
}

/// Files to be written, by the layer that has their content and the path it is under there. Two may share one.
type Waiting = BTreeMap<u32, HashMap<BString, Vec<Open>>>;

struct Open {
    wanted: Wanted,
    size: u64,
    /// How far it has been written.
    end: u64,
    written: bool,
}

fn sorted(tree: &FileTree, files: Vec<Wanted>) -> Waiting {
    let mut waiting = Waiting::new();
    for wanted in files {
        let layer = tree.layer(wanted.node);
        let size = tree.meta(wanted.node).size;
        let open = Open { size, end: 0, written: size == 0, wanted };
        waiting.entry(layer).or_default().entry(open.wanted.path.clone()).or_default().push(open);
    }
    waiting
}

type Read = (Vec<(Wanted, u64)>, Vec<(u32, BString, Open)>);

/// Writes what one layer has. Answers with what is done, and with what is to be found under another name.
fn read(
    inventory: &Inventory,
    tree: &FileTree,
    layer: u32,
    mut files: HashMap<BString, Vec<Open>>,
) -> Result<Read, String> {
    let mut trouble = None;
    // Pieces of one file come one after the other.
    let mut last: Option<(BString, Vec<File>)> = None;
    let links = inventory.read_through(layer, &mut |path, offset, bytes| {
        let Some(list) = files.get_mut(path).filter(|_| trouble.is_none()) else { return };
        if last.as_ref().is_none_or(|(it, _)| it != path) {
            let open = |it: &Open| it.wanted.open();
            match list.iter().map(open).collect::<Result<Vec<File>, _>>() {
                Ok(opened) => last = Some((path.clone(), opened)),
                Err(error) => {
                    trouble = Some(list.first().map_or_else(String::new, |it| failed(&it.wanted.to, &error)));
                    return;
                }
            }
        }
        let Some((_, opened)) = &mut last else { return };
        for (open, file) in list.iter_mut().zip(opened) {
            let mut write = || {
                // A path that comes again replaces what was there.
                if offset < open.end {
                    file.set_len(0)?;
                }
                file.seek(SeekFrom::Start(offset))?;
                file.write_all(bytes)
            };
            if let Err(error) = write() {
                trouble.get_or_insert_with(|| failed(&open.wanted.to, &error));
            }
            open.end = offset + bytes.len() as u64;
            open.written = true;
        }
    });
    let links: HashMap<BString, BString> = links.map_err(|error| error.message)?.into_iter().collect();
    if let Some(trouble) = trouble {
        return Err(trouble);
    }
    let (mut done, mut elsewhere) = (Vec::new(), Vec::new());
    for (path, list) in files {
        for open in list {
            if open.written || !links.contains_key(&path) && sparse(tree, &open) {
                let sized = open.wanted.open().and_then(|file| file.set_len(open.size));
                sized.map_err(|error| failed(&open.wanted.to, &error))?;
                done.push((open.wanted, open.size));
                continue;
            }
            match (links.get(&path), inventory.layer_below(layer, path.as_ref())) {
                (Some(target), _) => elsewhere.push((layer, target.clone(), open)),
                // A hard link may lead out of its layer.
                (None, Some(below)) => elsewhere.push((below, path.clone(), open)),
                (None, None) => return Err(format!("{} has no content that could be found", open.wanted.to.display())),
            }
        }
    }
    Ok((done, elsewhere))
}

/// Whether a file is nothing but holes.
fn sparse(tree: &FileTree, open: &Open) -> bool {
    let meta = tree.meta(open.wanted.node);
    meta.holes >= meta.size
}
