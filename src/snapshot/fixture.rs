//! File trees in a few lines of text, for tests.
//!
//! A line is `KIND MODE PATH REST…`: `dir 755 a`, `file 644 a/f content`, `link 777 l ->target`,
//! `hard 0 h =a/f`, `fifo 600 p`, `char 600 d :1,3`, `gone 0 x` (a whiteout). The rest may hold `@UID:GID`,
//! `+KEY=VALUE` (an extended attribute), `~SECONDS` (mtime; `~never` for none) and `opaque`.

use super::scan::{OPAQUE, scan};
use super::tree_writer::NO_TIME;
use crate::image::tar_reader::{TarEntry, TarKind};
use crate::image::tar_writer::{END, header, padding};
use crate::layers::{Entry, Kind, Layer};
use bstr::{BString, ByteSlice};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A directory on the file system of the build's own output: that of `/tmp` may know no `user.*` attributes.
pub(crate) fn dir() -> tempfile::TempDir {
    let program = std::env::current_exe().unwrap();
    tempfile::tempdir_in(program.parent().unwrap()).unwrap()
}

pub(crate) fn entry(line: &str) -> (TarEntry, Vec<u8>) {
    let mut words = line.split_whitespace();
    let kind = words.next().unwrap();
    let mode = u32::from_str_radix(words.next().unwrap(), 8).unwrap();
    let path = words.next().unwrap();
    let mut entry = TarEntry {
        path: path.into(),
        kind: match kind {
            "file" | "gone" => TarKind::File,
            "dir" => TarKind::Directory,
            "link" => TarKind::Symlink,
            "hard" => TarKind::HardLink,
            "fifo" => TarKind::Fifo,
            "char" => TarKind::CharDevice,
            "block" => TarKind::BlockDevice,
            _ => panic!("{line}"),
        },
        mode,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        size: 0,
        holes: 0,
        mtime: (0, 0),
        target: BString::default(),
        device: (0, 0),
        xattrs: BTreeMap::new(),
    };
    if kind == "gone" {
        let (parent, name) = path.rsplit_once('/').map_or(("", path), |(parent, name)| (parent, name));
        entry.path = format!("{parent}{}.wh.{name}", if parent.is_empty() { "" } else { "/" }).into();
    }
    let mut content = Vec::new();
    for word in words {
        let (sign, rest) = word.split_at(1);
        match sign {
            "@" => {
                let (uid, gid) = rest.split_once(':').unwrap();
                (entry.uid, entry.gid) = (uid.parse().unwrap(), gid.parse().unwrap());
            }
            "+" => {
                let (key, value) = rest.split_once('=').unwrap();
                entry.xattrs.insert(key.into(), value.into());
            }
            "~" if rest == "never" => entry.mtime = NO_TIME,
            "~" => entry.mtime.0 = rest.parse().unwrap(),
            ":" => {
                let (major, minor) = rest.split_once(',').unwrap();
                entry.device = (major.parse().unwrap(), minor.parse().unwrap());
            }
            "=" => entry.target = rest.into(),
            "-" if word.starts_with("->") => entry.target = word[2..].into(),
            _ => content = word.as_bytes().to_vec(),
        }
    }
    if entry.kind == TarKind::File {
        entry.size = content.len() as u64;
    }
    (entry, content)
}

/// An uncompressed archive of some lines.
pub(crate) fn tar(lines: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines {
        let (entry, content) = entry(line);
        out.extend(header(&entry));
        out.extend_from_slice(&content);
        out.resize(out.len() + padding(content.len() as u64), 0);
    }
    out.extend_from_slice(&END);
    out
}

/// A member with a header of our own making: `change` works on its last header block.
pub(crate) fn raw(line: &str, content: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = header(&entry(line).0);
    let last = bytes.len() - 512;
    change(&mut bytes[last..]);
    bytes[last + 148..last + 156].fill(b' ');
    let sum: u32 = bytes[last..].iter().map(|byte| u32::from(*byte)).sum();
    bytes[last + 148..last + 155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len() + padding(content.len() as u64), 0);
    bytes
}

/// Writes a tree below a directory. Owners and whiteouts need the rights to make them.
pub(crate) fn build(at: &Path, lines: &[&str]) {
    use std::os::unix::fs::{PermissionsExt, lchown, symlink};
    let mut modes = Vec::new();
    for line in lines {
        let (entry, content) = entry(line);
        let name = line.split_whitespace().nth(2).unwrap();
        let path = at.join(name);
        match entry.kind {
            _ if line.starts_with("gone") => node(&path, rustix::fs::FileType::CharacterDevice, 0),
            TarKind::File => std::fs::write(&path, content).unwrap(),
            TarKind::Directory => std::fs::create_dir_all(&path).unwrap(),
            TarKind::Symlink => symlink(std::ffi::OsStr::from_bytes(&entry.target), &path).unwrap(),
            TarKind::HardLink => std::fs::hard_link(at.join(entry.target.to_os_str().unwrap()), &path).unwrap(),
            TarKind::Fifo => node(&path, rustix::fs::FileType::Fifo, 0),
            TarKind::CharDevice => {
                let device = rustix::fs::makedev(entry.device.0, entry.device.1);
                node(&path, rustix::fs::FileType::CharacterDevice, device);
            }
            TarKind::BlockDevice => panic!("{line}"),
        }
        if line.starts_with("gone") || entry.kind == TarKind::HardLink {
            continue;
        }
        if line.contains('@') {
            lchown(&path, Some(entry.uid), Some(entry.gid)).unwrap();
        }
        if line.split_whitespace().any(|word| word == "opaque") {
            rustix::fs::lsetxattr(&path, OPAQUE, b"y", rustix::fs::XattrFlags::empty()).unwrap();
        }
        for (key, value) in &entry.xattrs {
            rustix::fs::lsetxattr(&path, key.as_bytes(), value, rustix::fs::XattrFlags::empty()).unwrap();
        }
        modes.push((path, entry));
    }
    for (path, entry) in modes.into_iter().rev() {
        if entry.kind != TarKind::Symlink {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(entry.mode)).unwrap();
        }
        let time = rustix::fs::Timespec { tv_sec: entry.mtime.0, tv_nsec: entry.mtime.1.into() };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(rustix::fs::CWD, &path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

fn node(path: &Path, kind: rustix::fs::FileType, device: u64) {
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, rustix::fs::Mode::empty(), device).unwrap();
}

/// What lies below a directory, in the same words. Owners are told where they are not the process's own, times
/// where `times`, hard links after their first name.
pub(crate) fn list(at: &Path, times: bool) -> Vec<String> {
    describe(&scan(at).unwrap(), at, times)
}

pub(crate) fn describe(layer: &Layer, at: &Path, times: bool) -> Vec<String> {
    let own = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let mut links: BTreeMap<u64, BString> = BTreeMap::new();
    let mut lines = Vec::new();
    for entry in &layer.entries {
        let (path, meta, opaque) = match entry {
            Entry::Whiteout { path } => {
                lines.push(format!("gone 0 {path}"));
                continue;
            }
            Entry::Put { path, meta, opaque } => (path, meta, *opaque),
            other => {
                lines.push(format!("{other:?}"));
                continue;
            }
        };
        if meta.hard_link != 0 {
            if let Some(first) = links.get(&meta.hard_link) {
                lines.push(format!("hard 0 {path} ={first}"));
                continue;
            }
            links.insert(meta.hard_link, path.clone());
        }
        let kind = match meta.kind {
            Kind::File => "file",
            Kind::Directory => "dir",
            Kind::Symlink => "link",
            Kind::Fifo => "fifo",
            Kind::Socket => "socket",
            Kind::CharDevice => "char",
            Kind::BlockDevice => "block",
        };
        let mut line = format!("{kind} {:o} {path}", meta.mode);
        match meta.kind {
            Kind::File => {
                let content = std::fs::read(at.join(path.to_os_str().unwrap())).unwrap();
                assert_eq!(content.len() as u64, meta.size, "{path}");
                if !content.is_empty() {
                    line += &format!(" {}", content.as_bstr());
                }
            }
            Kind::Symlink => line += &format!(" ->{}", meta.target),
            Kind::CharDevice | Kind::BlockDevice => line += &format!(" :{},{}", meta.device.0, meta.device.1),
            _ => {}
        }
        if (meta.uid, meta.gid) != own {
            line += &format!(" @{}:{}", meta.uid, meta.gid);
        }
        for (key, value) in &meta.xattrs {
            line += &format!(" +{key}={value}");
        }
        if times {
            line += &format!(" ~{}", meta.mtime.0);
        }
        if opaque {
            line += " opaque";
        }
        lines.push(line);
    }
    lines
}

/// Whether this process may give files away.
pub(crate) fn is_root() -> bool {
    rustix::process::getuid().is_root()
}
