//! Files written to where the user wants them: what is to be made is worked out first, then the contents come.

use super::text;
use crate::debug::Session;
use crate::layers::follow::follow;
use crate::layers::{FileTree, Kind, NodeId, path};
use crate::snapshot::SnapshotId;
use crate::system;
use bstr::{BString, ByteSlice};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Bytes that are read at once.
pub(super) const PIECE: usize = 1 << 20;

/// What is to be written: everything is there already but the files' contents.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) files: Vec<Wanted>,
    to: PathBuf,
    written: usize,
    bytes: u64,
    /// What is left out, by what it is.
    devices: usize,
    names: usize,
    links: usize,
}

/// A regular file whose content is to be written.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) node: NodeId,
    /// In the tree.
    pub(super) path: BString,
    pub(super) to: PathBuf,
    mode: u32,
}

/// Writes a file, or a directory with what is in it, to a path that must not exist yet; a directory that
/// exists takes it in. Owners, special bits and devices are left out. Answers with what was written, in words.
pub(super) async fn extract(session: &Session, at: &SnapshotId, path: &BString, to: &Path) -> Result<String, String> {
    let tree = session.tree(at).await.map_err(|error| error.to_string())?;
    let tree = FileTree::clone(&tree);
    write(tree, path, to, |path, offset| async move { session.read(at, &path, offset, PIECE).await }).await
}

/// The same of a tree whose files are read piece by piece, [`PIECE`] bytes at most from an offset on.
pub(super) async fn write<R, E: std::fmt::Display>(
    tree: FileTree,
    path: &BString,
    to: &Path,
    read: impl Fn(BString, u64) -> R,
) -> Result<String, String>
where
    R: Future<Output = Result<Vec<u8>, E>>,
{
    let mut plan = {
        let (path, to) = (path.clone(), to.to_owned());
        blocking(move || Plan::make(&tree, &path, &to)).await?
    };
    for wanted in std::mem::take(&mut plan.files) {
        let mut out = wanted.open().map_err(|error| failed(&wanted.to, &error))?;
        let mut offset = 0u64;
        loop {
            let piece = read(wanted.path.clone(), offset).await;
            let piece = piece.map_err(|error| format!("cannot read {}: {error}", shown(&wanted.path)))?;
            if piece.is_empty() {
                break;
            }
            out.write_all(&piece).map_err(|error| failed(&wanted.to, &error))?;
            offset += piece.len() as u64;
        }
        plan.done(&wanted, offset);
    }
    Ok(plan.words())
}

/// Files are written on a thread where that may wait.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()))
}

impl Plan {
    /// Makes the directories, the links and the empty files of a path's tree.
    pub(super) fn make(tree: &FileTree, path: &BString, to: &Path) -> Result<Plan, String> {
        let node = tree.lookup(path.as_bstr()).ok_or_else(|| format!("there is no {}", shown(path)))?;
        let mut to = home(to);
        if to.is_dir() {
            let name = if node == FileTree::ROOT { b"root".as_bstr() } else { tree.name(node) };
            to = to.join(system::file_name(name).ok_or_else(|| format!("{} is no name for a file here", shown(name)))?);
        }
        if fs::symlink_metadata(&to).is_ok() {
            return Err(format!("not written: {} exists already", to.display()));
        }
        let mut plan = Plan { to: to.clone(), ..Plan::default() };
        // Parents come before children, so a link can never stand where a child is to be written.
        let mut open = vec![(node, path.clone(), to.clone())];
        while let Some((node, inside, at)) = open.pop() {
            let meta = tree.meta(node);
            let made = match meta.kind {
                Kind::Directory => fs::create_dir(&at),
                Kind::File => fs::File::create_new(&at).map(drop),
                Kind::Symlink => system::symlink(meta.target, &at, leads_to_directory(tree, &inside)),
                Kind::Fifo | Kind::Socket | Kind::CharDevice | Kind::BlockDevice => {
                    plan.devices += 1;
                    continue;
                }
            };
            match made {
                Ok(()) => {}
                // Another spelling of a name, on a system that takes both for the same.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && at != to => {
                    plan.names += 1;
                    continue;
                }
                Err(_) if meta.kind == Kind::Symlink && at != to => {
                    plan.links += 1;
                    continue;
                }
                Err(error) => return Err(failed(&at, &error)),
            }
            match meta.kind {
                Kind::Directory => {
                    for child in tree.children(node) {
                        let name = tree.name(child);
                        match system::file_name(name) {
                            Some(file_name) => {
                                open.push((child, path::child(inside.as_bstr(), name), at.join(file_name)))
                            }
                            None => plan.names += 1,
                        }
                    }
                }
                Kind::File => plan.files.push(Wanted { node, path: inside, to: at, mode: meta.mode }),
                _ => plan.written += 1,
            }
        }
        Ok(plan)
    }

    pub(super) fn done(&mut self, wanted: &Wanted, bytes: u64) {
        // A file that cannot be given its mode is still the file.
        let _ = system::set_mode(&wanted.to, wanted.mode);
        self.written += 1;
        self.bytes += bytes;
    }

    /// What was written, in words.
    pub(super) fn words(&self) -> String {
        let parts = [
            (self.devices, "devices, pipes and sockets"),
            (self.names, "names that no file can have here"),
            (self.links, "links that this system refuses to make"),
        ];
        let parts = parts.into_iter().filter(|(count, _)| *count > 0);
        let left_out: String = parts.map(|(count, what)| format!("; {count} left out ({what})")).collect();
        format!(
            "{}, {} written to {}{left_out}",
            text::count(self.written, "file"),
            text::size(self.bytes),
            self.to.display()
        )
    }
}

impl Wanted {
    pub(super) fn open(&self) -> io::Result<fs::File> {
        fs::OpenOptions::new().write(true).open(&self.to)
    }
}

pub(super) fn failed(to: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}", to.display())
}

pub(super) fn shown(path: &(impl AsRef<[u8]> + ?Sized)) -> String {
    text::sanitise_bytes(path.as_ref()).into_owned()
}

fn home(to: &Path) -> PathBuf {
    match (to.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => to.to_owned(),
    }
}

fn leads_to_directory(tree: &FileTree, link: &BString) -> bool {
    follow(tree, link.as_bstr(), true).is_some_and(|it| it.kind == Some(Kind::Directory))
}
