//! The machine's own programs as a small image, and as tools to lend to an image that has no shell.
//!
//! Neither needs a network, a daemon or a right: programs and libraries are read where they lie.
//!
//! May import the rest of `image`.
//!
//! Invariant: a program is packed with everything that its loader will ask for, or not at all.

mod closure;
mod elf;
mod relocate;
#[cfg(test)]
mod tests;
mod tools;
mod tree;
mod witness;

pub use tools::{TOOLBOX, Toolbox, pack_toolbox};
pub use witness::Witness;

use self::closure::Closure;
use self::tree::Tree;
use super::config::{History, ImageConfig, RootFs, RunConfig};
use super::digest::Digest;
use super::fetch::{self, Expected};
use super::source::{Blobs, LayerBlob, Opened, Place, SourceError, SourceErrorKind};
use crate::names::platform::Platform;
use async_trait::async_trait;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::SystemTime;

/// What is packed, as far as the machine has it. Names that it has only as an applet of busybox become links to it.
pub const PROGRAMS: &str = "\
    sh bash [ awk basename bunzip2 bzcat bzip2 cat chgrp chmod chown chroot cksum cmp comm cp csplit cut \
    date dd df diff dirname du echo egrep env expand expr factor false fgrep find fmt fold getent getopt \
    grep groups gunzip gzip head hexdump hostname id install join kill less ln ls md5sum mkdir mkfifo mknod \
    mktemp more mv nice nl nohup nproc numfmt od paste patch pathchk printenv printf ptx pwd readlink \
    realpath rm rmdir sed seq sha1sum sha256sum sha512sum shuf sleep sort split stat stty sync tac tail tar \
    tee test timeout touch tr true truncate tsort tty uname unexpand uniq unlink wc which who whoami xargs \
    xz yes zcat";

/// Packed too, but only as applets of busybox: on their own they bring libraries many times their size.
pub const APPLETS: &str = "\
    ar nc nslookup pgrep ping pkill ps strings top uptime vi watch wget xxd";

/// Names of terminals whose descriptions are packed.
const TERMINALS: &str = "\
    ansi dumb linux rxvt screen screen-256color tmux tmux-256color vt100 vt220 xterm xterm-256color";

const TERMINFO: &[&str] = &["/etc/terminfo", "/lib/terminfo", "/usr/lib/terminfo", "/usr/share/terminfo"];

/// Where distributions keep the certificates of the authorities they trust, as one file.
const CERTIFICATES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/var/lib/ca-certificates/ca-bundle.pem",
];

/// The host as an image of one layer.
#[derive(Debug, Clone)]
pub struct HostImage {
    /// The layer: an uncompressed archive.
    pub layer: PathBuf,
    /// Bytes of the layer.
    pub size: u64,
    pub diff_id: Digest,
    pub config: ImageConfig,
    /// The programs in it, by name, sorted.
    pub programs: Vec<String>,
    /// What it was made of; `None` if that may have changed meanwhile.
    pub witness: Option<Witness>,
}

/// Packs [`PROGRAMS`] and [`APPLETS`], their libraries and the few files that they expect, as one layer in the new file `into`.
///
/// The same machine gives the same bytes: entries are sorted, owned by root and have no times.
pub fn pack(into: &Path) -> Result<HostImage, SourceError> {
    let began = SystemTime::now();
    let mut closure = Closure::of_this_machine();
    let mut tree = Tree::default();
    skeleton(&mut tree);
    let programs = add_programs(&mut closure, &mut tree);
    if !programs.iter().any(|name| name == "sh") {
        return Err(unusable("no usable `sh` was found in /usr/bin, /bin or on PATH"));
    }
    tree.mirror_if_there(Path::new("/etc/ld.so.cache"));
    for name in TERMINALS.split_whitespace() {
        add_terminal(&mut tree, name);
    }
    for path in CERTIFICATES {
        tree.mirror_if_there(Path::new(path));
    }
    let (diff_id, size) = tree.write(into).map_err(|error| SourceError {
        kind: SourceErrorKind::Io,
        message: format!("the host's programs could not be packed into {}: {error}", into.display()),
        help: Vec::new(),
    })?;
    let config = config(&diff_id);
    let mut paths: BTreeSet<PathBuf> = tree.sources().into_iter().chain(closure.places()).collect();
    paths.extend(TERMINFO.iter().chain(CERTIFICATES).map(PathBuf::from));
    paths.extend(["/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d"].map(PathBuf::from));
    let witness = Witness::of(diff_id.clone(), paths, began);
    Ok(HostImage { layer: into.to_owned(), size, diff_id, config, programs, witness })
}

/// The host as an image to look up and fetch; packed now, into a directory of `scratch` that goes with it.
pub(super) fn open(name: &str, scratch: &Path) -> Result<Opened, SourceError> {
    open_witnessed(name, scratch).map(|(opened, _)| opened)
}

/// The same, with what it takes to see later whether it would be the same again.
pub fn open_witnessed(name: &str, scratch: &Path) -> Result<(Opened, Option<Witness>), SourceError> {
    let failed = |error| SourceError::new(SourceErrorKind::Io, format!("host: {}: {error}", scratch.display()));
    let dir = tempfile::Builder::new().prefix("host-").tempdir_in(scratch).map_err(failed)?;
    let image = pack(&dir.path().join("layer.tar"))?;
    let witness = image.witness.clone();
    let config_bytes = serde_json::to_vec(&image.config)
        .map_err(|error| SourceError::new(SourceErrorKind::Io, format!("host: {error}")))?;
    let layer = LayerBlob {
        digest: Some(image.diff_id.clone()),
        diff_id: image.diff_id.clone(),
        size: image.size,
        urls: Vec::new(),
    };
    let opened = Opened {
        name: name.to_owned(),
        origin: "programs of this machine".to_owned(),
        manifest: None,
        config: image.config.clone(),
        config_bytes,
        annotations: Default::default(),
        layers: vec![layer],
        blobs: Arc::new(Packed { image, _dir: dir }),
    };
    Ok((opened, witness))
}

struct Packed {
    image: HostImage,
    _dir: tempfile::TempDir,
}

#[async_trait]
impl Blobs for Packed {
    fn place(&self, index: usize) -> Result<Option<Place>, SourceError> {
        Ok((index == 0).then(|| Place { path: self.image.layer.clone(), offset: 0, size: self.image.size }))
    }

    async fn fetch(
        &self,
        index: usize,
        into: &Path,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), SourceError> {
        if index != 0 {
            return Err(SourceError::new(SourceErrorKind::Missing, format!("host: there is no layer {index}")));
        }
        let (digest, size) = (Some(self.image.diff_id.clone()), Some(self.image.size));
        let expected = Expected { what: "host: the packed layer".to_owned(), digest, size };
        let path = self.image.layer.clone();
        let open = move || std::fs::File::open(&path).map_err(|error| fetch::io_error(&path, &error));
        fetch::copy_to_file(into, expected, progress, open).await
    }
}

/// The directories and files that programs expect on any system.
fn skeleton(tree: &mut Tree) {
    for (path, mode) in [
        ("dev", 0o755),
        ("etc", 0o755),
        ("home", 0o755),
        ("opt", 0o755),
        ("proc", 0o755),
        ("root", 0o700),
        ("run", 0o755),
        ("srv", 0o755),
        ("sys", 0o755),
        ("tmp", 0o1777),
        ("usr/bin", 0o755),
        ("usr/lib", 0o755),
        ("usr/local/bin", 0o755),
        ("usr/sbin", 0o755),
        ("usr/share", 0o755),
        ("var/lib", 0o755),
        ("var/tmp", 0o1777),
    ] {
        tree.directory(path, mode);
    }
    tree.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n");
    tree.text("etc/group", "root:x:0:\nusers:x:100:\nnogroup:x:65534:\n");
    tree.text("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n");
    tree.text(
        "etc/os-release",
        "ID=stagedive-host\nNAME=\"Programs of the host\"\nPRETTY_NAME=\"Programs of the host\"\n",
    );
    for path in ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"] {
        // On most systems these are links into /usr, on some they are directories: what is packed lies where it
        // lies on the host, so the way there has to be the same.
        tree.mirror_if_there(Path::new(path));
    }
}

fn add_programs(closure: &mut Closure, tree: &mut Tree) -> Vec<String> {
    let applets = closure.program("busybox").map(|(found, files)| (applets(&found), found, files));
    let mut packed = Vec::new();
    let own = PROGRAMS.split_whitespace().map(|name| (name, true));
    for (name, is_own) in own.chain(APPLETS.split_whitespace().map(|name| (name, false))) {
        let own = if is_own { closure.program(name) } else { None };
        let (found, files) = match (own, &applets) {
            (Some(own), _) => own,
            (None, Some((names, busybox, files))) if names.iter().any(|it| it == name) => {
                (busybox.clone(), files.clone())
            }
            _ => continue,
        };
        if files.iter().all(|file| tree.mirror(file).is_ok()) {
            tree.alias(name, &found);
            packed.push(name.to_owned());
        }
    }
    packed.sort();
    packed
}

/// The names that a busybox answers to; none if it does not say.
fn applets(busybox: &Path) -> Vec<String> {
    let output = Command::new(busybox).arg("--list").stdin(Stdio::null()).stderr(Stdio::null()).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let plain = |name: &&str| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'[' | b'_' | b'-' | b'.' | b'+'))
    };
    let text = String::from_utf8_lossy(&text);
    text.lines()
        .map(str::trim)
        .filter(plain)
        .filter(|name| !matches!(*name, "." | ".."))
        .take(1000)
        .map(str::to_owned)
        .collect()
}

/// Descriptions lie under their first letter, on some systems under its hexadecimal code.
fn add_terminal(tree: &mut Tree, name: &str) {
    if let Some(file) = terminal(name) {
        tree.mirror_if_there(&file);
    }
}

fn terminal(name: &str) -> Option<PathBuf> {
    let first = name.bytes().next()?;
    let folders = [char::from(first).to_string(), format!("{first:x}")];
    TERMINFO
        .iter()
        .flat_map(|dir| folders.iter().map(move |folder| Path::new(dir).join(folder).join(name)))
        .find(|file| file.is_file())
}

fn config(diff_id: &Digest) -> ImageConfig {
    let platform = Platform::host();
    ImageConfig {
        architecture: platform.architecture,
        variant: platform.variant,
        os: platform.os,
        config: RunConfig {
            env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
            cmd: Some(vec!["/bin/sh".to_owned()]),
            ..RunConfig::default()
        },
        rootfs: RootFs { kind: "layers".to_owned(), diff_ids: vec![diff_id.clone()] },
        history: vec![History { created_by: "host: programs of this machine".to_owned(), ..History::default() }],
        ..ImageConfig::default()
    }
}

fn unusable(why: &str) -> SourceError {
    SourceError {
        kind: SourceErrorKind::Missing,
        message: format!("host: {why}"),
        help: vec!["use a base image instead: --build-context NAME=oci-layout://DIR or docker-archive:FILE".to_owned()],
    }
}
