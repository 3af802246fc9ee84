//! Files of a build, written to where the user wants them.

use super::text;
use crate::debug::Session;
use crate::layers::{FileTree, Kind, NodeId};
use crate::snapshot::SnapshotId;
use bstr::{BStr, BString, ByteSlice};
use std::path::{Path, PathBuf};
use tokio::fs;
use tokio::io::AsyncWriteExt;

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

#[derive(Default)]
struct Count {
    files: usize,
    bytes: u64,
    left_out: usize,
}

/// Writes a file, or a directory with what is in it, to a path that must not exist yet; a directory that
/// exists takes it in. Owners, special bits and devices are left out. Answers with what was written, in words.
pub(super) async fn extract(session: &Session, at: &SnapshotId, path: &BString, to: &Path) -> Result<String, String> {
    let tree = session.tree(at).await.map_err(|error| error.to_string())?;
    let node = tree.lookup(path.as_bstr()).ok_or_else(|| format!("there is no {}", shown(path)))?;
    let mut to = home(to);
    if to.is_dir() {
        let name = if node == FileTree::ROOT { b"root".as_bstr() } else { tree.name(node) };
        to = to.join(name.to_os_str().map_err(|_| format!("{} is no name for a file here", shown(name)))?);
    }
    if fs::symlink_metadata(&to).await.is_ok() {
        return Err(format!("not written: {} exists already", to.display()));
    }
    let mut count = Count::default();
    write(session, at, &tree, node, path, &to, &mut count).await?;
    let left_out = match count.left_out {
        0 => String::new(),
        some => format!("; {} left out (devices and the like)", text::count(some, "entry")),
    };
    Ok(format!(
        "{}, {} written to {}{left_out}",
        text::count(count.files, "file"),
        text::size(count.bytes),
        to.display()
    ))
}

fn shown(path: &(impl AsRef<[u8]> + ?Sized)) -> String {
    text::sanitise_bytes(path.as_ref()).into_owned()
}

fn home(to: &Path) -> PathBuf {
    match (to.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(rest), Some(home)) => Path::new(&home).join(rest),
        _ => to.to_owned(),
    }
}

async fn write(
    session: &Session,
    at: &SnapshotId,
    tree: &FileTree,
    top: NodeId,
    path: &BString,
    to: &Path,
    count: &mut Count,
) -> Result<(), String> {
    // Parents come before children, so a link can never stand where a child is to be written.
    let mut open = vec![(top, path.clone(), to.to_owned())];
    while let Some((node, path, to)) = open.pop() {
        let failed = |error: std::io::Error| format!("cannot write {}: {error}", to.display());
        let meta = tree.meta(node);
        match meta.kind {
            Kind::Directory => {
                fs::create_dir(&to).await.map_err(failed)?;
                for child in tree.children(node) {
                    let name = tree.name(child);
                    match name.to_os_str() {
                        Ok(os_name) if is_plain(name) => {
                            let mut below = path.clone();
                            if !below.is_empty() {
                                below.push(b'/');
                            }
                            below.extend_from_slice(name);
                            open.push((child, below, to.join(os_name)));
                        }
                        _ => count.left_out += 1,
                    }
                }
            }
            Kind::File => {
                file(session, at, &path, &to, count).await?;
                set_mode(&to, meta.mode).await.map_err(failed)?;
            }
            Kind::Symlink => match symlink(meta.target, &to).await {
                Ok(()) => count.files += 1,
                Err(_) => count.left_out += 1,
            },
            Kind::Fifo | Kind::Socket | Kind::CharDevice | Kind::BlockDevice => count.left_out += 1,
        }
    }
    Ok(())
}

/// Whether a name is one part of a path and leads nowhere else.
fn is_plain(name: &BStr) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(&b'/')
}

async fn file(session: &Session, at: &SnapshotId, path: &BString, to: &Path, count: &mut Count) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot write {}: {error}", to.display());
    let mut out = fs::OpenOptions::new().write(true).create_new(true).open(to).await.map_err(failed)?;
    let mut offset = 0u64;
    loop {
        let read = session.read(at, path, offset, PIECE).await;
        let piece = read.map_err(|error| format!("cannot read {}: {error}", shown(path)))?;
        if piece.is_empty() {
            break;
        }
        out.write_all(&piece).await.map_err(failed)?;
        offset += piece.len() as u64;
    }
    out.flush().await.map_err(failed)?;
    count.files += 1;
    count.bytes += offset;
    Ok(())
}

#[cfg(unix)]
async fn set_mode(to: &Path, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    // The owner is the user who asked, who must be able to read and remove it.
    fs::set_permissions(to, std::fs::Permissions::from_mode(mode & 0o777 | 0o600)).await
}

#[cfg(not(unix))]
async fn set_mode(_to: &Path, _mode: u32) -> std::io::Result<()> {
    Ok(())
}

#[cfg(unix)]
async fn symlink(target: &BStr, to: &Path) -> std::io::Result<()> {
    let target = target.to_os_str().map_err(|_| std::io::ErrorKind::InvalidFilename)?;
    fs::symlink(target, to).await
}

#[cfg(not(unix))]
async fn symlink(_target: &BStr, _to: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}
