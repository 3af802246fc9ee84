//! The files of the packed image, and their archive.

use super::elf;
use crate::image::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

/// As many as the kernel follows.
const MOST_LINKS: usize = 40;

/// By path from the root, without a leading slash; a directory sorts before what is in it.
#[derive(Debug, Default)]
pub(super) struct Tree(BTreeMap<PathBuf, Node>);

#[derive(Debug)]
enum Node {
    Directory {
        mode: u32,
    },
    Link {
        target: PathBuf,
    },
    /// Where the file lies on the host, and its mode.
    File {
        source: PathBuf,
        mode: u32,
    },
    Text(&'static str),
}

impl Tree {
    pub(super) fn directory(&mut self, path: &str, mode: u32) {
        self.parents(Path::new(path));
        self.0.insert(path.into(), Node::Directory { mode });
    }

    pub(super) fn text(&mut self, path: &str, text: &'static str) {
        self.parents(Path::new(path));
        self.0.insert(path.into(), Node::Text(text));
    }

    /// Takes a file (or directory, without what is in it) of the host under the same absolute path, with every
    /// symbolic link on the way to it.
    pub(super) fn mirror(&mut self, path: &Path) -> io::Result<()> {
        let mut ahead: Vec<OsString> = reversed(path);
        let mut at = PathBuf::new();
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            if name == ".." {
                at.pop();
                continue;
            }
            at.push(&name);
            let host = Path::new("/").join(&at);
            let metadata = host.symlink_metadata()?;
            if metadata.is_symlink() {
                links += 1;
                if links > MOST_LINKS {
                    return Err(io::Error::other(format!("{}: too many symbolic links", path.display())));
                }
                let target = std::fs::read_link(&host)?;
                ahead.extend(reversed(&target));
                self.0.insert(at.clone(), Node::Link { target: target.clone() });
                if target.is_absolute() {
                    at.clear();
                } else {
                    at.pop();
                }
            } else if metadata.is_dir() {
                self.0.entry(at.clone()).or_insert(Node::Directory { mode: 0o755 });
            } else {
                // Programs that take the rights of their owner are of no use here.
                let mode = metadata.permissions().mode() & 0o755;
                self.0.entry(at.clone()).or_insert(Node::File { source: host, mode });
            }
        }
        Ok(())
    }

    /// For files that an image can do without.
    pub(super) fn mirror_if_there(&mut self, path: &Path) {
        if path.exists() && std::fs::File::open(path).is_ok() {
            let _ = self.mirror(path);
        }
    }

    /// Makes a program that was found at `found` answer to `name` on the image's PATH.
    pub(super) fn alias(&mut self, name: &str, found: &Path) {
        let on_path = ["usr/bin", "bin", "usr/sbin", "sbin", "usr/local/bin"];
        if on_path.iter().any(|dir| self.0.contains_key(&resolve_directory(dir).join(name))) {
            return;
        }
        self.0.insert(Path::new("usr/bin").join(name), Node::Link { target: found.to_owned() });
    }

    /// Where everything lies on the host that was taken from there, and the directories it lies in.
    pub(super) fn sources(&self) -> Vec<PathBuf> {
        let taken = self.0.iter().filter_map(|(path, node)| match node {
            Node::File { source, .. } => Some(source.clone()),
            Node::Link { .. } => Some(Path::new("/").join(path)),
            Node::Directory { .. } | Node::Text(_) => None,
        });
        let with_parent = |path: PathBuf| [path.parent().map(Path::to_owned), Some(path)].into_iter().flatten();
        taken.flat_map(with_parent).filter(|path| path != Path::new("/")).collect()
    }

    fn parents(&mut self, path: &Path) {
        for parent in path.ancestors().skip(1).filter(|it| !it.as_os_str().is_empty()) {
            self.0.entry(parent.to_owned()).or_insert(Node::Directory { mode: 0o755 });
        }
    }

    /// Writes the archive as a new file; returns the SHA-256 of its bytes and their number. Nothing is left after
    /// an error.
    pub(super) fn write(&self, into: &Path) -> io::Result<(Digest, u64)> {
        let file = std::fs::File::create_new(into)?;
        let inner = BufWriter::with_capacity(1 << 18, file);
        let written = self.write_to(Hashing { inner, hash: Sha256::new(), bytes: 0 });
        if written.is_err() {
            let _ = std::fs::remove_file(into);
        }
        written
    }

    fn write_to(&self, out: Hashing<BufWriter<std::fs::File>>) -> io::Result<(Digest, u64)> {
        let mut builder = tar::Builder::new(out);
        let mut written = HashMap::new();
        for (path, node) in &self.0 {
            append(&mut builder, path, node, &mut written)?;
        }
        let mut hashing = builder.into_inner()?;
        hashing.flush()?;
        Ok((Digest::from_hash(&hashing.hash.finalize()), hashing.bytes))
    }
}

fn append<W: Write>(
    builder: &mut tar::Builder<W>,
    path: &Path,
    node: &Node,
    written: &mut HashMap<(u64, u64), PathBuf>,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    match node {
        Node::Directory { mode } => {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(*mode);
            builder.append_data(&mut header, path, io::empty())
        }
        Node::Link { target } => {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            builder.append_link(&mut header, path, target)
        }
        Node::Text(text) => {
            header.set_mode(0o644);
            header.set_size(text.len() as u64);
            builder.append_data(&mut header, path, text.as_bytes())
        }
        Node::File { source, mode } => {
            header.set_mode(*mode);
            let metadata = source.metadata()?;
            let identity = (metadata.dev(), metadata.ino());
            if let Some(first) = written.get(&identity).filter(|_| metadata.nlink() > 1) {
                header.set_entry_type(tar::EntryType::Link);
                return builder.append_link(&mut header, path, first);
            }
            let bytes = elf::read_file(source)
                .ok_or_else(|| io::Error::other(format!("{} cannot be read, or is too large", source.display())))?;
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, path, bytes.as_slice())?;
            written.insert(identity, path.to_owned());
            Ok(())
        }
    }
}

/// Components that are still to be walked, the next one last.
fn reversed(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.collect()
}

/// Where one of the host's directories really is.
fn resolve_directory(dir: &str) -> PathBuf {
    let real = Path::new("/").join(dir).canonicalize().unwrap_or_else(|_| Path::new("/").join(dir));
    real.strip_prefix("/").map(Path::to_owned).unwrap_or(real)
}

struct Hashing<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.inner.write(bytes)?;
        self.hash.update(&bytes[..length]);
        self.bytes += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
