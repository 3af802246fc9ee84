//! Files written to where the user wants them: what is to be made is worked out first, then the contents come.

use super::text;
use crate::debug::Session;
use crate::layers::{FileTree, Kind, NodeId};
use crate::snapshot::SnapshotId;
use bstr::{BStr, BString, ByteSlice};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

/// What is to be written: directories and links are there already, the files' contents are not.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) files: Vec<Wanted>,
    to: PathBuf,
    written: usize,
    bytes: u64,
    left_out: usize,
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
    let mut plan = {
        let (path, to) = (path.clone(), to.to_owned());
        blocking(move || Plan::make(&tree, &path, &to)).await?
    };
    for wanted in std::mem::take(&mut plan.files) {
        let mut out = wanted.create()?;
        let mut offset = 0u64;
        loop {
            let read = session.read(at, &wanted.path, offset, PIECE).await;
            let piece = read.map_err(|error| format!("cannot read {}: {error}", shown(&wanted.path)))?;
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
    /// Makes the directories and links of a path's tree.
    pub(super) fn make(tree: &FileTree, path: &BString, to: &Path) -> Result<Plan, String> {
        let node = tree.lookup(path.as_bstr()).ok_or_else(|| format!("there is no {}", shown(path)))?;
        let mut to = home(to);
        if to.is_dir() {
            let name = if node == FileTree::ROOT { b"root".as_bstr() } else { tree.name(node) };
            let name = name.to_os_str().ok().filter(|_| is_plain(name));
            to = to.join(name.ok_or_else(|| format!("{} is no name for a file here", shown(tree.name(node))))?);
        }
        if fs::symlink_metadata(&to).is_ok() {
            return Err(format!("not written: {} exists already", to.display()));
        }
        let mut plan = Plan { to: to.clone(), ..Plan::default() };
        // Parents come before children, so a link can never stand where a child is to be written.
        let mut open = vec![(node, path.clone(), to)];
        while let Some((node, path, to)) = open.pop() {
            let meta = tree.meta(node);
            match meta.kind {
                Kind::Directory => {
                    fs::create_dir(&to).map_err(|error| failed(&to, &error))?;
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
                            _ => plan.left_out += 1,
                        }
                    }
                }
                Kind::File => plan.files.push(Wanted { node, path, to, mode: meta.mode }),
                Kind::Symlink => match symlink(meta.target, &to) {
                    Ok(()) => plan.written += 1,
                    Err(_) => plan.left_out += 1,
                },
                Kind::Fifo | Kind::Socket | Kind::CharDevice | Kind::BlockDevice => plan.left_out += 1,
            }
        }
        Ok(plan)
    }

    pub(super) fn done(&mut self, wanted: &Wanted, bytes: u64) {
        // A file that cannot be given its mode is still the file.
        let _ = set_mode(&wanted.to, wanted.mode);
        self.written += 1;
        self.bytes += bytes;
    }

    /// What was written, in words.
    pub(super) fn words(&self) -> String {
        let left_out = match self.left_out {
            0 => String::new(),
            1 => "; 1 entry left out (a device or the like)".to_owned(),
            some => format!("; {some} entries left out (devices and the like)"),
        };
        format!(
            "{}, {} written to {}{left_out}",
            text::count(self.written, "file"),
            text::size(self.bytes),
            self.to.display()
        )
    }
}

impl Wanted {
    pub(super) fn create(&self) -> Result<fs::File, String> {
        let made = fs::OpenOptions::new().write(true).create_new(true).open(&self.to);
        made.map_err(|error| failed(&self.to, &error))
    }
}

pub(super) fn failed(to: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}", to.display())
}

pub(super) fn shown(path: &(impl AsRef<[u8]> + ?Sized)) -> String {
    text::sanitise_bytes(path.as_ref()).into_owned()
}

fn home(to: &Path) -> PathBuf {
    match (to.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(rest), Some(home)) => Path::new(&home).join(rest),
        _ => to.to_owned(),
    }
}

/// Whether a name is one part of a path and leads nowhere else.
fn is_plain(name: &BStr) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(&b'/')
}

#[cfg(unix)]
fn set_mode(to: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    // The owner is the user who asked, who must be able to read and remove it.
    fs::set_permissions(to, fs::Permissions::from_mode(mode & 0o777 | 0o600))
}

#[cfg(not(unix))]
fn set_mode(_to: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn symlink(target: &BStr, to: &Path) -> io::Result<()> {
    let target = target.to_os_str().map_err(|_| io::ErrorKind::InvalidFilename)?;
    std::os::unix::fs::symlink(target, to)
}

#[cfg(not(unix))]
fn symlink(_target: &BStr, _to: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
