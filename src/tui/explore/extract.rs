//! Files of an image, written to where the user wants them.

use super::answers::Subject;
use crate::image::inventory::{Inventory, Piece};
use crate::layers::FileTree;
use crate::snapshot::SnapshotId;
use crate::tui::extract::{PIECE, Plan, Wanted, blocking, failed, write};
use bstr::BString;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;

/// Writes a file, or a directory with what is in it, to a path that must not exist yet; a directory that exists takes
/// it in. Answers with what was written, in words.
pub async fn extract(subject: Subject, at: SnapshotId, path: BString, to: PathBuf) -> Result<String, String> {
    let Some(other) = subject.other(&at) else {
        let inventory = subject.inventory.clone().ok_or("not written: the image is still being read")?;
        return of_image(&inventory, subject.tree_of(&at), path, to).await;
    };
    match other.inventory() {
        Some(inventory) => of_image(inventory, inventory.tree.clone(), path, to).await,
        None => {
            let read = |path: BString, offset| async move { other.read(&path, offset, PIECE).await };
            write(other.tree.clone(), &path, &to, read).await
        }
    }
}

/// Everything of an image is read in one go.
async fn of_image(inventory: &Inventory, tree: FileTree, path: BString, to: PathBuf) -> Result<String, String> {
    let (mut plan, files) = {
        let tree = tree.clone();
        blocking(move || {
            let mut plan = Plan::make(&tree, &path, &to)?;
            let files = std::mem::take(&mut plan.files);
            Ok((plan, files))
        })
        .await?
    };
    let contents = files.iter().map(|it| (tree.layer(it.node), it.path.clone())).collect();
    let writing = Writing { files, open: Vec::new(), trouble: None };
    let (writing, missing) = inventory.contents(contents, writing, Writing::take).await.map_err(|it| it.message)?;
    if let Some(trouble) = writing.trouble {
        return Err(trouble);
    }
    if let Some(first) = missing.first() {
        return Err(format!("{} has no content that could be found", writing.files[*first].to.display()));
    }
    blocking(move || {
        writing.files.iter().for_each(|wanted| plan.done(wanted, tree.meta(wanted.node).size));
        Ok(plan.words())
    })
    .await
}

struct Writing {
    files: Vec<Wanted>,
    /// Those whose content is on its way: pieces of one come one after the other.
    open: Vec<File>,
    trouble: Option<String>,
}

impl Writing {
    fn take(&mut self, files: &[usize], piece: Piece<'_>) {
        if self.trouble.is_some() {
            return;
        }
        if let Piece::Begins(_) = piece {
            self.open.clear();
        }
        for (at, file) in files.iter().enumerate() {
            let wanted = &self.files[*file];
            let mut write = || -> io::Result<()> {
                match piece {
                    Piece::Begins(size) => {
                        let file = wanted.open()?;
                        file.set_len(0)?;
                        file.set_len(size)?;
                        self.open.push(file);
                    }
                    Piece::Bytes(offset, bytes) => {
                        self.open[at].seek(SeekFrom::Start(offset))?;
                        self.open[at].write_all(bytes)?;
                    }
                }
                Ok(())
            };
            if let Err(error) = write() {
                self.trouble = Some(failed(&wanted.to, &error));
                return;
            }
        }
    }
}
