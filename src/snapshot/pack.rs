//! Layer directories into OCI layer blobs. The same content gives the same bytes.

use super::rooted::{At, PathError, Root, child, split};
use super::scan::scan;
use super::tree_writer::NO_TIME;
use crate::image::digest::Digest;
use crate::image::tar_reader::{TarEntry, TarKind};
use crate::image::tar_writer::{END, header, padding};
use crate::layers::{Entry, Layer, Meta};
use bstr::{BStr, BString, ByteSlice};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

/// A blob that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Of the uncompressed archive.
    pub diff_id: Digest,
    /// Of the blob.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// Bytes of the uncompressed archive.
    pub unpacked: u64,
}

/// Docker's level.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;

/// Writes a layer directory as a blob to the new file `into`. Times after `epoch` (seconds since 1970) are set to it, and
/// so is what has no time.
/// After an error nothing is left at `into`.
pub fn pack(layer: &Path, into: &Path, compression: Compression, epoch: Option<i64>) -> Result<Packed, PathError> {
    let shown = BStr::new(into.as_os_str().as_bytes());
    let file = File::create_new(into).at("make", shown)?;
    let result = pack_into(layer, file, shown, compression, epoch);
    if result.is_err() {
        let _ = std::fs::remove_file(into);
    }
    result
}

fn pack_into(
    layer: &Path,
    file: File,
    into: &BStr,
    compression: Compression,
    epoch: Option<i64>,
) -> Result<Packed, PathError> {
    let entries = scan(layer)?;
    let root = Root::open(layer).at("open", BStr::new(layer.as_os_str().as_bytes()))?;
    let blob = BufWriter::with_capacity(256 << 10, Hashed::new(file));
    let archive = match compression {
        Compression::None => Encoder::None(blob),
        // No name, no time, no system in the header: nothing but the content makes the bytes.
        Compression::Gzip => {
            Encoder::Gzip(flate2::GzBuilder::new().mtime(0).write(blob, flate2::Compression::new(GZIP_LEVEL)))
        }
        Compression::Zstd => {
            let mut encoder = zstd::Encoder::new(blob, ZSTD_LEVEL).at("write", into)?;
            encoder.include_checksum(true).at("write", into)?;
            Encoder::Zstd(encoder)
        }
    };
    let mut archive = Hashed::new(archive);
    write_layer(&entries, &root, &mut archive, into, epoch)?;
    let (archive, diff_id, unpacked) = archive.finish();
    let blob = archive.finish().at("write", into)?;
    let blob = blob.into_inner().map_err(io::IntoInnerError::into_error).at("write", into)?;
    let (file, digest, size) = blob.finish();
    file.sync_data().at("write", into)?;
    Ok(Packed { diff_id, digest, size, unpacked })
}

/// Writes the entries as containerd's archiver does: whiteouts have the time 0, of the extended attributes only file
/// capabilities are in layers, sockets are left out.
fn write_layer(
    layer: &Layer,
    root: &Root,
    archive: &mut impl Write,
    into: &BStr,
    epoch: Option<i64>,
) -> Result<(), PathError> {
    let mut names: HashMap<u64, BString> = HashMap::new();
    for entry in &layer.entries {
        match entry {
            Entry::Whiteout { path } => {
                let (parent, name) = split(path.as_bstr());
                write_mark(archive, &child(parent, mark(name).as_bstr())).at("write", into)?;
            }
            Entry::Opaque { path } => {
                write_mark(archive, &child(path.as_bstr(), BStr::new(".wh..wh..opq"))).at("write", into)?;
            }
            Entry::Put { path, meta, opaque } => {
                write_member(path, meta, root, archive, into, epoch, &mut names)?;
                if *opaque {
                    write_mark(archive, &child(path.as_bstr(), BStr::new(".wh..wh..opq"))).at("write", into)?;
                }
            }
            Entry::Link { path, target, .. } => {
                let member = TarEntry { kind: TarKind::HardLink, target: target.clone(), ..empty_file(path.clone()) };
                archive.write_all(&header(&member)).at("write", into)?;
            }
        }
    }
    archive.write_all(&END).at("write", into)?;
    Ok(())
}

fn write_member(
    path: &BString,
    meta: &Meta,
    root: &Root,
    archive: &mut impl Write,
    into: &BStr,
    epoch: Option<i64>,
    names: &mut HashMap<u64, BString>,
) -> Result<(), PathError> {
    let Some(mut member) = TarEntry::of(path.as_bstr(), meta) else { return Ok(()) };
    member.xattrs.retain(|key, _| key == "security.capability");
    if let Some(epoch) = epoch {
        member.mtime.0 = if meta.mtime == NO_TIME { epoch } else { member.mtime.0.min(epoch) };
    }
    if meta.hard_link != 0 {
        match names.get(&meta.hard_link) {
            Some(first) => {
                member.kind = TarKind::HardLink;
                member.target = first.clone();
                member.size = 0;
            }
            None => {
                names.insert(meta.hard_link, path.clone());
            }
        }
    }
    archive.write_all(&header(&member)).at("write", into)?;
    if member.kind == TarKind::File && member.size > 0 {
        let file = root.file(path.as_bstr()).at("read", path.as_bstr())?;
        let copied = io::copy(&mut file.take(member.size), archive).at("pack", path.as_bstr())?;
        if copied != member.size {
            return Err(PathError::new("pack", path.as_bstr(), io::Error::other("it became shorter meanwhile")));
        }
        archive.write_all(&[0; 512][..padding(member.size)]).at("write", into)?;
    }
    Ok(())
}

fn write_mark(archive: &mut impl Write, path: &BString) -> io::Result<()> {
    archive.write_all(&header(&empty_file(path.clone())))
}

fn mark(name: &BStr) -> BString {
    let mut mark = BString::from(".wh.");
    mark.extend_from_slice(name);
    mark
}

fn empty_file(path: BString) -> TarEntry {
    TarEntry {
        path,
        kind: TarKind::File,
        mode: 0,
        uid: 0,
        gid: 0,
        size: 0,
        holes: 0,
        mtime: (0, 0),
        target: BString::default(),
        device: (0, 0),
        xattrs: BTreeMap::new(),
    }
}

enum Encoder<W: Write> {
    None(W),
    Gzip(flate2::write::GzEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    fn finish(self) -> io::Result<W> {
        match self {
            Encoder::None(output) => Ok(output),
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Encoder::None(output) => output.write(bytes),
            Encoder::Gzip(encoder) => encoder.write(bytes),
            Encoder::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Encoder::None(output) => output.flush(),
            Encoder::Gzip(encoder) => encoder.flush(),
            Encoder::Zstd(encoder) => encoder.flush(),
        }
    }
}

struct Hashed<W> {
    output: W,
    hash: Sha256,
    bytes: u64,
}

impl<W> Hashed<W> {
    fn new(output: W) -> Hashed<W> {
        Hashed { output, hash: Sha256::new(), bytes: 0 }
    }

    fn finish(self) -> (W, Digest, u64) {
        (self.output, Digest::from_hash(&self.hash.finalize()), self.bytes)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.output.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::fixture::{self, build, list};
    use crate::snapshot::unpack::unpack;
    use proptest::prelude::*;

    const TREE: &[&str] = &[
        "dir 755 a ~5",
        "file 4755 a/f content ~6",
        "hard 0 a/h =a/f",
        "link 777 a/l ->../elsewhere ~7",
        "dir 700 d ~9 opaque",
        "gone 0 d/x",
        "file 600 empty ~10",
        "gone 0 gone",
        "fifo 600 p ~8",
    ];

    fn packed(dir: &Path, compression: Compression, epoch: Option<i64>) -> (Packed, Vec<u8>) {
        let top = fixture::dir();
        let blob = top.path().join("blob");
        let packed = pack(dir, &blob, compression, epoch).unwrap();
        let bytes = std::fs::read(&blob).unwrap();
        assert_eq!(packed.digest, Digest::of(&bytes));
        assert_eq!(packed.size, bytes.len() as u64);
        (packed, bytes)
    }

    #[track_caller]
    fn check(lines: &[&str], epoch: Option<i64>, expected: &[&str]) {
        let top = fixture::dir();
        let layer = top.path().join("layer");
        std::fs::create_dir(&layer).unwrap();
        build(&layer, lines);
        let (plain, archive) = packed(&layer, Compression::None, epoch);
        assert_eq!((&plain.diff_id, plain.size), (&plain.digest, plain.unpacked));
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let (first, bytes) = packed(&layer, compression, epoch);
            let (second, again) = packed(&layer, compression, epoch);
            assert_eq!(bytes, again, "the same content gives the same bytes");
            assert_eq!(first, second);
            assert_eq!((first.diff_id, first.unpacked), (plain.diff_id.clone(), archive.len() as u64));
            let blob = top.path().join("blob");
            std::fs::write(&blob, &bytes).unwrap();
            let into = top.path().join("again");
            let diff_id = plain.diff_id.to_string();
            unpack(&blob, Some(&diff_id), &into, &mut |_| {}).unwrap();
            assert_eq!(list(&into, true), expected);
            assert_eq!(packed(&into, compression, epoch).1, bytes, "packing what was unpacked changes nothing");
            crate::snapshot::remove::remove(&into).unwrap();
        }
    }

    #[test]
    fn everything_a_layer_can_say() {
        check(TREE, None, TREE);
        check(&[], None, &[]);
    }

    #[test]
    fn times_are_cut_and_bounded() {
        check(&["file 644 new ~2000", "file 644 old ~1000"], Some(1500), &["file 644 new ~1500", "file 644 old ~1000"]);
    }

    #[test]
    fn what_has_no_time_gets_the_epochs() {
        let tree = &["dir 755 made ~never", "file 644 old ~315619200"];
        check(tree, None, &["dir 755 made ~315619200", "file 644 old ~315619200"]);
        check(tree, Some(1_400_000_000), &["dir 755 made ~1400000000", "file 644 old ~315619200"]);
        check(tree, Some(1500), &["dir 755 made ~1500", "file 644 old ~1500"]);
    }

    #[test]
    fn what_no_layer_holds() {
        check(&["file 644 a x +user.color=red ~1"], None, &["file 644 a x ~1"]);
        if fixture::is_root() {
            let capability: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
            let top = fixture::dir();
            build(top.path(), &["file 755 ping x"]);
            let file = top.path().join("ping");
            rustix::fs::setxattr(&file, "security.capability", capability, rustix::fs::XattrFlags::empty()).unwrap();
            let (_, bytes) = packed(top.path(), Compression::None, None);
            assert!(bytes.contains_str("SCHILY.xattr.security.capability="));
        }
    }

    #[test]
    fn nothing_is_left_of_a_failure() {
        let top = fixture::dir();
        let blob = top.path().join("blob");
        assert!(pack(&top.path().join("no"), &blob, Compression::Gzip, None).is_err());
        assert!(!blob.exists());
        std::fs::write(&blob, "there").unwrap();
        assert!(pack(top.path(), &blob, Compression::Gzip, None).is_err());
        assert_eq!(std::fs::read_to_string(&blob).unwrap(), "there");
    }

    /// Lines of a tree without clashes: every name is used once.
    fn any_tree() -> impl Strategy<Value = Vec<String>> {
        let line = (0..6, 0u32..0o7777, 0i64..2_000_000_000, "[a-z]{0,9}");
        prop::collection::vec(line, 0..20).prop_map(|lines| {
            let mut out = Vec::new();
            let mut dirs = vec![String::new()];
            let mut files: Vec<String> = Vec::new();
            for (index, (kind, mode, time, text)) in lines.into_iter().enumerate() {
                let dir = dirs[mode as usize % dirs.len()].clone();
                let path = format!("{dir}n{index:02}");
                // An ordinary user must be able to read it back.
                let mode = mode | 0o700;
                match kind {
                    0 => {
                        out.push(format!("dir {mode:o} {path} ~{time}{}", if time % 3 == 0 { " opaque" } else { "" }));
                        dirs.push(format!("{path}/"));
                    }
                    1 => out.push(format!("link 777 {path} ->/{text} ~{time}")),
                    2 => out.push(format!("gone 0 {path}")),
                    3 if !files.is_empty() => {
                        out.push(format!("hard 0 {path} ={}", files[time as usize % files.len()]))
                    }
                    4 => out.push(format!("fifo {mode:o} {path} ~{time}")),
                    _ => {
                        out.push(format!("file {mode:o} {path} {text} ~{time}"));
                        files.push(path);
                    }
                }
            }
            out
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn unpacking_gives_the_layer_back(lines in any_tree()) {
            let top = fixture::dir();
            let layer = top.path().join("layer");
            std::fs::create_dir(&layer).unwrap();
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            build(&layer, &lines);
            let blob = top.path().join("blob");
            let packed = pack(&layer, &blob, Compression::Gzip, None).unwrap();
            let into = top.path().join("again");
            unpack(&blob, Some(&packed.diff_id.to_string()), &into, &mut |_| {}).unwrap();
            prop_assert_eq!(list(&into, true), list(&layer, true));
        }
    }
}
