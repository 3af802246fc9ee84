//! Images made here, read through a layout on the disk as any other image is.

use super::*;
use crate::image::config::{History, RootFs};
use crate::image::export::{self, ImageToWrite};
use crate::image::source::{self, Surroundings};
use crate::image::tar_reader::{TarEntry, TarKind};
use crate::image::tar_writer::{END, header, padding};
use crate::layers::{ContentHash, Entry, Kind, Meta, NodeId};
use bstr::{BStr, ByteSlice};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicUsize;

/// A member as a line: `f PATH SIZE`, `d PATH`, `l PATH TARGET` (symbolic), `h PATH TARGET` (hard), `c PATH` (a
/// character device 1:3), `p PATH` (a FIFO). A number after `+` is the mode.
pub(super) fn member(line: &str) -> (TarEntry, Vec<u8>) {
    let (line, mode) = line.split_once(" +").unwrap_or((line, "644"));
    let mut words = line.split(' ');
    let (kind, path, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or_default());
    let kind = match kind {
        "f" => TarKind::File,
        "d" => TarKind::Directory,
        "l" => TarKind::Symlink,
        "h" => TarKind::HardLink,
        "c" | "o" => TarKind::CharDevice,
        "p" => TarKind::Fifo,
        _ => panic!("{line}"),
    };
    let size = if kind == TarKind::File { rest.parse().unwrap() } else { 0 };
    let entry = TarEntry {
        path: path.into(),
        kind,
        mode: u32::from_str_radix(mode, 8).unwrap(),
        uid: 0,
        gid: 0,
        size,
        holes: 0,
        mtime: (0, 0),
        target: if size == 0 { rest.into() } else { "".into() },
        device: if line.starts_with("c ") { (1, 3) } else { (0, 0) },
        xattrs: Default::default(),
    };
    (entry, vec![b'x'; size as usize])
}

pub(super) fn archive(lines: &[&str]) -> Vec<u8> {
    raw(lines.iter().map(|line| {
        let (entry, content) = member(line);
        (header(&entry), content)
    }))
}

/// Of headers and contents.
pub(super) fn raw(members: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Vec<u8> {
    let mut out = Vec::new();
    for (header, content) in members {
        out.extend(header);
        out.extend_from_slice(&content);
        out.extend(std::iter::repeat_n(0, padding(content.len() as u64)));
    }
    out.extend_from_slice(&END);
    out
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

/// A layout in `dir` of an image with these layers: archives, and how they are stored.
pub(super) fn layout(dir: &Path, layers: &[(Vec<u8>, Vec<u8>)]) -> String {
    let files = layers.iter().enumerate().map(|(number, (plain, blob))| {
        let path = dir.join(format!("blob-{number}"));
        std::fs::write(&path, blob).unwrap();
        export::layer_of_file(Digest::of(plain), &path).unwrap()
    });
    let history = (0..layers.len()).map(|number| History { created_by: format!("RUN {number}"), ..History::default() });
    let config = ImageConfig {
        os: "linux".into(),
        architecture: "amd64".into(),
        history: history.collect(),
        rootfs: RootFs::default(),
        ..ImageConfig::default()
    };
    let image = ImageToWrite { config, layers: files.collect(), tags: Vec::new(), annotations: Default::default() };
    export::oci_layout(&image, &dir.join("layout")).unwrap();
    format!("oci:{}", dir.join("layout").display())
}

pub(super) fn read_text(text: &str, dir: &Path, options: &Options) -> Inventory {
    let surroundings = Surroundings { scratch: dir.to_owned(), docker: Default::default(), told: Default::default() };
    let opened = block_on(source::open_in(text, "linux/amd64", &surroundings)).unwrap();
    block_on(read(&opened, options, |_| ())).unwrap()
}

pub(super) fn inventory(layers: &[(Vec<u8>, Vec<u8>)]) -> Inventory {
    let dir = tempfile::tempdir().unwrap();
    read_text(&layout(dir.path(), layers), dir.path(), &Options::default())
}

pub(super) fn plain(bytes: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    (bytes.clone(), bytes)
}

/// What a tree holds, as lines: kind, path, layer, bytes counted there, and a link's target.
pub(super) fn listing(inventory: &Inventory) -> Vec<String> {
    let tree = &inventory.tree;
    let line = |id: NodeId| {
        let meta = tree.meta(id);
        let kind = match meta.kind {
            Kind::File => 'f',
            Kind::Directory => 'd',
            Kind::Symlink => 'l',
            Kind::Fifo => 'p',
            Kind::CharDevice => 'c',
            Kind::BlockDevice | Kind::Socket => '?',
        };
        let target = if meta.target.is_empty() { String::new() } else { format!(" {}", meta.target) };
        format!("{kind} {} {} {}{target}", tree.path(id), tree.layer(id), tree.bytes(id))
    };
    tree.walk(FileTree::ROOT).into_iter().skip(1).map(line).collect()
}

/// Expects a tree of uncompressed layers, and as many notes.
#[track_caller]
fn check_noted(layers: &[&[&str]], expected: &[&str], notes: &[&str]) {
    let layers: Vec<_> = layers.iter().map(|lines| plain(archive(lines))).collect();
    let inventory = inventory(&layers);
    assert_eq!(inventory.broken().collect::<Vec<_>>(), Vec::<&str>::new());
    assert_eq!(listing(&inventory), expected);
    assert!(inventory.layers.iter().all(|layer| layer.checked));
    let found: Vec<&String> = inventory.layers.iter().flat_map(|layer| &layer.notes).collect();
    assert_eq!(found.len(), notes.len(), "{found:?}");
    found.iter().zip(notes).for_each(|(found, note)| assert!(found.contains(note), "{found:?}"));
}

#[track_caller]
pub(super) fn check(layers: &[&[&str]], expected: &[&str]) {
    check_noted(layers, expected, &[]);
}

#[test]
fn opaque_directories() {
    let base: &[&str] = &["d d/", "f d/old 1", "f d/sub/old 1"];
    check(&[base, &["d d/", "f d/.wh..wh..opq 0", "f d/new 2"]], &["d d 1 2", "f d/new 1 2"]);
    check(&[base, &["f d/new 2", "f d/.wh..wh..opq 0"]], &["d d 1 2", "f d/new 1 2"]);
    // Only this name: other names like it are nothing, or whiteouts of odd names.
    check(&[base, &["f d/.wh..wh..opqx 0"]], &["d d 0 2", "f d/old 0 1", "d d/sub 0 1", "f d/sub/old 0 1"]);
    check(&[&["f d/.wh..wh..opq 0", "f d/x 1"]], &["d d 0 1", "f d/x 0 1"]);
    // Never through a link of a lower layer; through one of the same layer it is the real directory's.
    let linked: &[&str] = &["d real/", "f real/x 1", "l alias real"];
    check(&[linked, &["f alias/.wh..wh..opq 0"]], &["d alias 1 0", "d real 0 1", "f real/x 0 1"]);
    check(&[linked, &["l link real", "f link/.wh..wh..opq 0"]], &["l alias 0 0 real", "l link 1 0 real", "d real 1 0"]);
    check(&[base, &["f .wh..wh..opq 0", "f x 1"]], &["f x 1 1"]);
}

#[test]
fn odd_whiteouts() {
    let base: &[&str] = &["f d/x 1", "f y 1"];
    let untouched = ["d d 0 1", "f d/x 0 1", "f y 0 1"];
    check_noted(&[base, &["f d/.wh. 0"]], &untouched, &["\"d/.wh.\" is a whiteout without a name"]);
    check_noted(&[base, &["f .wh. 0", "f .wh... 0"]], &untouched, &["without a name", "without a name"]);
    check_noted(&[base, &["f .wh.d/z 0"]], &untouched, &["lies below a whiteout"]);
    check(&[base, &["f ./.wh.y 0"]], &["d d 0 1", "f d/x 0 1"]);
    check(&[base, &["f /d/.wh.x 0", "f .wh.y 0", "f .wh.absent 0"]], &["d d 0 0"]);
    // What overlayfs has for a whiteout.
    check(&[base, &["o y", "o d", "o absent"]], &[]);
    check(&[&["f y 1", "f d/x 1", "o y", "o d"]], &[]);
    check(&[base, &["o y", "f y 2", "o d", "d d/"]], &["d d 1 0", "f y 1 2"]);
}

#[test]
fn what_aufs_left_behind() {
    let layer: &[&str] = &[
        "d .wh..wh.plnk/",
        "f .wh..wh.plnk/12.34 7",
        "d .wh..wh.orph/",
        "f .wh..wh.aufs 0",
        "h a .wh..wh.plnk/12.34",
        "h b/c .wh..wh.plnk/12.34",
    ];
    check(&[layer], &["f a 0 7", "d b 0 0", "f b/c 0 0"]);
    check(&[layer, &["f .wh.a 0"]], &["d b 0 7", "f b/c 0 7"]);
}

#[test]
fn hard_links() {
    check(&[&["f a 5", "h b a", "h c b"]], &["f a 0 5", "f b 0 0", "f c 0 0"]);
    check(&[&["f a 5", "h b ./a"], &["f .wh.a 0"]], &["f b 0 5"]);
    check(&[&["f a 5"], &["h b /a"]], &["f a 0 5", "f b 1 0"]);
    check(&[&["f a 5"], &["h b a", "f .wh.a 0"]], &["f b 1 5"]);
    check(&[&["l a x", "h b a"]], &["l a 0 0 x", "l b 0 0 x"]);
    check_noted(&[&["h b nowhere", "h c c"]], &[], &["\"b\" is left out: it is a hard link"]);
    check_noted(&[&["d d/", "h b d"]], &["d d 0 0"], &["left out"]);
    // A link's size is no content, whatever it says.
    let (mut link, _) = member("h b a");
    link.size = 3;
    let bytes = raw([member("f a 5"), (link, Vec::new()), member("f c 1")].map(|(entry, body)| (header(&entry), body)));
    assert_eq!(listing(&inventory(&[plain(bytes)])), ["f a 0 5", "f b 0 0", "f c 0 1"]);
}

#[test]
fn paths_in_one_layer() {
    check(&[&["f a 1", "f a 2"]], &["f a 0 2"]);
    check(&[&["d d/", "f d/x 1", "f d 5"]], &["f d 0 5"]);
    check(&[&["f d/x 1"], &["f d 5"]], &["f d 1 5"]);
    check(&[&["f d/x 1"], &["l d x"]], &["l d 1 0 x"]);
    check(&[&["f d/x 1"], &["d d/ +700"]], &["d d 1 1", "f d/x 0 1"]);
    check(&[&["f a/b/c 1"]], &["d a 0 1", "d a/b 0 1", "f a/b/c 0 1"]);
    check(&[&["f a/../y 1", "f /z 1", "d ./"]], &["f y 0 1", "f z 0 1"]);
    check(&[&["c null", "p pipe"]], &["c null 0 0", "p pipe 0 0"]);
}

#[test]
fn links_of_the_same_layer_are_followed() {
    check(&[&["l lib usr/lib", "f lib/x 1"]], &["l lib 0 0 usr/lib", "d usr 0 1", "d usr/lib 0 1", "f usr/lib/x 0 1"]);
    check(&[&["l a /b", "l b c/../d", "f a/x 1"]], &["l a 0 0 /b", "l b 0 0 c/../d", "d d 0 1", "f d/x 0 1"]);
    check(&[&["l a ../../../b", "f a/x 1"]], &["l a 0 0 ../../../b", "d b 0 1", "f b/x 0 1"]);
    check(&[&["l a b", "d a/", "f a/x 1"]], &["d a 0 1", "f a/x 0 1"]);
    check(&[&["l d/a b", "f d 1", "d d/", "f d/a/x 1"]], &["d d 0 1", "d d/a 0 1", "f d/a/x 0 1"]);
    check(&[&["l lib usr/lib"], &["f lib/x 1"]], &["d lib 1 1", "f lib/x 1 1"]);
    check_noted(
        &[&["l a b", "l b a", "f a/x 1", "h y a/x"]],
        &["l a 0 0 b", "l b 0 0 a"],
        &["too many symbolic links", "too many symbolic links"],
    );
}

#[test]
fn names_and_numbers_of_every_writer() {
    let long = "n".repeat(150);
    let special = |kind: u8, name: &str, content: &[u8]| {
        let (mut entry, _) = member("f x 0");
        (entry.path, entry.size) = (name.into(), content.len() as u64);
        let mut block = header(&entry);
        block[156] = kind;
        fix(&mut block);
        (block, content.to_vec())
    };
    let file = |line: &str| {
        let (entry, content) = member(line);
        (header(&entry), content)
    };
    let check = |members: Vec<(Vec<u8>, Vec<u8>)>, expected: &[&str]| {
        let inventory = inventory(&[plain(raw(members))]);
        assert_eq!(inventory.broken().collect::<Vec<_>>(), Vec::<&str>::new());
        assert_eq!(listing(&inventory), expected);
    };
    let record = |text: &str| {
        let length = (0..).find(|length: &usize| length.to_string().len() + 1 + text.len() + 1 == *length).unwrap();
        format!("{length} {text}\n").into_bytes()
    };
    // GNU's long names, and PAX.
    check(vec![special(b'L', "././@LongLink", long.as_bytes()), file("f short 1")], &[&format!("f {long} 0 1")]);
    check(vec![special(b'K', "././@LongLink", long.as_bytes()), file("l a short")], &[&format!("l a 0 0 {long}")]);
    let pax = [record(&format!("path={long}")), record("SCHILY.xattr.user.a=b")].concat();
    check(vec![special(b'x', "pax", &pax), file("f short 1")], &[&format!("f {long} 0 1")]);
    // A size that only the PAX header has: a reader that does not look there takes the content for members.
    let hidden = archive(&["f smuggled 1"]);
    let mut carrier = file("f carrier 0");
    carrier.1 = hidden.clone();
    let pax = record(&format!("size={}", hidden.len()));
    check(
        vec![special(b'x', "pax", &pax), carrier, file("f after 1")],
        &["f after 0 1", &format!("f carrier 0 {}", hidden.len())],
    );
    // A global header says nothing of members.
    check(vec![special(b'g', "pax", &record("path=global")), file("f a 1")], &["f a 0 1"]);
    // A size as a binary number.
    let (mut block, content) = file("f a 5");
    block[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]);
    fix(&mut block);
    check(vec![(block, content)], &["f a 0 5"]);
    let (mut entry, content) = member("f x 1");
    entry.path = BStr::new(b"\xff\x1b[2J").into();
    check(vec![(header(&entry), content)], &["f \u{fffd}\u{1b}[2J 0 1"]);
}

/// Makes a header's checksum right again.
pub(super) fn fix(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block[..512].iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn sparse_files_count_what_is_stored() {
    let (mut entry, _) = member("f sparse 0");
    entry.size = 5;
    let mut block = header(&entry);
    block[156] = b'S';
    let octal = |block: &mut [u8], at: usize, number: u64| {
        block[at..at + 12].copy_from_slice(format!("{number:011o}\0").as_bytes());
    };
    octal(&mut block, 386, 1_000_000);
    octal(&mut block, 398, 5);
    octal(&mut block, 483, 2_000_000);
    fix(&mut block);
    let mut whole = vec![0; 2_000_000];
    whole[1_000_000..1_000_005].copy_from_slice(b"hello");
    let (mut same, _) = member("f same 0");
    same.size = 2_000_000;
    let bytes = raw([(block, b"hello".to_vec()), (header(&same), whole)]);
    let inventory = inventory(&[plain(bytes)]);
    let find = |path: &str| inventory.tree.meta(inventory.tree.lookup(path.into()).unwrap());
    assert_eq!((find("sparse").size, find("sparse").bytes()), (2_000_000, 5));
    assert_eq!(inventory.tree.bytes(FileTree::ROOT), 2_000_005);
    assert_eq!(find("sparse").content, find("same").content);
}

#[test]
fn content_is_known_by_its_hash() {
    let inventory = inventory(&[plain(archive(&["f a 0", "f b 3", "f c 3", "f d 300000"]))]);
    let find = |path: &str| inventory.tree.meta(inventory.tree.lookup(path.into()).unwrap()).content.unwrap();
    // XXH3-128 of nothing, from its specification's test vectors.
    assert_eq!(find("a"), ContentHash(0x99aa06d3014798d86001c324468d497f));
    assert_eq!(find("b"), find("c"));
    assert_eq!(find("d"), ContentHash(twox_hash::XxHash3_128::oneshot(&[b'x'; 300_000])));
}

#[test]
fn layers_are_told_by_their_content() {
    let (one, two) = (archive(&["f a 1"]), archive(&["f b 2"]));
    let whole = archive(&["f a 1", "f b 2"]);
    let expected = ["f a 0 1", "f b 1 2"];
    let check = |store: &dyn Fn(&[u8]) -> Vec<u8>, format: Format| {
        let found = inventory(&[(one.clone(), store(&one)), (two.clone(), store(&two))]);
        assert_eq!(found.broken().collect::<Vec<_>>(), Vec::<&str>::new());
        assert_eq!(listing(&found), expected);
        assert!(
            found.layers.iter().all(|it| it.checked && it.format == Some(format) && it.unpacked == 2048),
            "{found:?}"
        );
    };
    check(&|bytes| bytes.to_vec(), Format::Plain);
    check(&gzip, Format::Gzip);
    check(&|bytes| [gzip(&bytes[..700]), gzip(&bytes[700..])].concat(), Format::Gzip);
    check(&|bytes| zstd::encode_all(bytes, 1).unwrap(), Format::Zstd);
    let skipped = |bytes: &[u8]| [b"\x51\x2a\x4d\x18\x03\0\0\0abc", &zstd::encode_all(bytes, 1).unwrap()[..]].concat();
    check(&skipped, Format::Zstd);
    let same = inventory(&[(whole.clone(), gzip(&whole)), (whole.clone(), gzip(&whole))]);
    assert_eq!(listing(&same), ["f a 1 1", "f b 1 2"]);
    assert_eq!(same.layers[0].entries, 2);
}

#[test]
fn few_layers_or_nothing_in_them() {
    check(&[], &[]);
    check(&[&[], &["f a 1"], &[]], &["f a 1 1"]);
    assert_eq!(listing(&inventory(&[plain(Vec::new())])), Vec::<String>::new());
}

/// Reads an image whose only layer has been spoilt in its layout, and expects how its message begins and ends.
#[track_caller]
fn check_broken(blob: (Vec<u8>, Vec<u8>), spoil: impl Fn(&mut Vec<u8>), listed: &[&str], message: &str) {
    let dir = tempfile::tempdir().unwrap();
    let digest = Digest::of(&blob.1);
    let text = layout(dir.path(), &[blob]);
    let path = dir.path().join("layout/blobs/sha256").join(digest.hex());
    let mut bytes = std::fs::read(&path).unwrap();
    spoil(&mut bytes);
    match bytes.is_empty() {
        true => std::fs::remove_file(&path).unwrap(),
        false => std::fs::write(&path, bytes).unwrap(),
    }
    let found = read_text(&text, dir.path(), &Options::default());
    let broken = found.broken().next().expect("it is broken");
    assert!(broken.contains(&digest.to_string()), "the blob is not named: {broken}");
    assert!(broken.contains(message), "{broken}");
    assert_eq!(listing(&found), listed);
    assert!(!found.layers[0].checked);
}

#[test]
fn what_was_checked_on_its_way_is_not_hashed_again() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, other) = (archive(&["f a 1"]), Digest::of(b"other"));
    let check = |bytes: &[u8], diff_id: &Digest, is_checked: bool, expected: bool| {
        let path = dir.path().join("blob");
        std::fs::write(&path, bytes).unwrap();
        let place = Place { path, offset: 0, size: bytes.len() as u64 };
        let (digest, diff_id) = (Some(other.clone()), diff_id.clone());
        let what = "layer".to_owned();
        let job = blob::Job { what, place, is_checked, digest, diff_id, thorough: true, twice: true };
        let index = blob::read(&job, &Default::default(), &|_| ());
        assert_eq!((index.checked, index.broken.is_none(), index.entries), (expected, expected, 1), "{index:?}");
    };
    for (bytes, diff_id) in [(whole.clone(), &other), (gzip(&whole), &Digest::of(&whole))] {
        check(&bytes, diff_id, true, true);
        check(&bytes, diff_id, false, false);
    }
}

#[test]
fn damage_is_said_with_its_place() {
    let bytes = archive(&["f a 600", "f b 2"]);
    let cut = |at: usize| move |blob: &mut Vec<u8>| blob.truncate(at);
    check_broken(plain(bytes.clone()), cut(1700), &["f a 0 600"], "ends in the middle of a header, at byte 1700");
    check_broken(plain(bytes.clone()), cut(1000), &[], "ends in the middle of a file, at byte 1000 of the blob");
    check_broken(plain(bytes.clone()), Vec::clear, &[], "is not in it");
    check_broken(plain(bytes.clone()), |blob| blob[520] ^= 1, &["f a 0 600", "f b 0 2"], "digest should be");
    check_broken(plain(bytes.clone()), |blob| blob[1536] ^= 1, &["f a 0 600"], "checksum is wrong, at byte 2048");
    let packed = (bytes.clone(), gzip(&bytes));
    check_broken(packed.clone(), |blob| blob.truncate(blob.len() - 9), &["f a 0 600", "f b 0 2"], "at byte ");
    check_broken(packed, |blob| *blob = b"<html>not a layer</html>".to_vec(), &[], "ends in the middle of a header");
    // The diff_id names other bytes than those in the blob.
    for blob in [gzip(&bytes), bytes.clone()] {
        check_broken((archive(&["f x 1"]), blob), |_| (), &["f a 0 600", "f b 0 2"], "says that it unpacks to");
    }
}

#[test]
fn a_blob_has_its_own_size() {
    let bytes = archive(&["f a 600"]);
    let dir = tempfile::tempdir().unwrap();
    let text = layout(dir.path(), &[(bytes.clone(), gzip(&bytes))]);
    let length = gzip(&bytes).len() as u64;
    let surroundings =
        Surroundings { scratch: dir.path().to_owned(), docker: Default::default(), told: Default::default() };
    let mut opened = block_on(source::open_in(&text, "linux/amd64", &surroundings)).unwrap();
    let mut check = |said: u64, broken: bool| {
        opened.layers[0].size = said;
        let found = block_on(read(&opened, &Options::default(), |_| ())).unwrap();
        let layer = &found.layers[0];
        assert_eq!((layer.compressed, layer.checked, layer.broken.is_some()), (length, !broken, broken), "{layer:?}");
        assert_eq!(listing(&found), ["f a 0 600"]);
    };
    check(length, false);
    check(0, false);
    check(length + 1, true);
    check(5, true);
}

#[test]
fn what_is_behind_a_compressed_stream_is_noted() {
    let bytes = archive(&["f a 1"]);
    let zstd = zstd::encode_all(&bytes[..], 1).unwrap();
    let behind = |blob: &[u8], rest: &[u8]| inventory(&[(bytes.clone(), [blob, rest].concat())]);
    let garbage = &b"garbage and more"[..];
    let blob = gzip(&bytes);
    for (blob, rest) in [(&blob, garbage), (&blob, b"short"), (&blob, &[0; 512]), (&zstd, garbage), (&zstd, &[0; 512])]
    {
        let found = behind(blob, rest);
        assert_eq!((listing(&found), found.broken().count()), (vec!["f a 0 1".to_owned()], 0));
        assert!(
            found.layers[0].checked && found.layers[0].notes[0].contains("behind the compressed stream"),
            "{:?}",
            found.layers
        );
    }
    // Some writers leave the end of the archive out.
    let open = [gzip(&bytes[..1024]), b"short".to_vec()].concat();
    let found = inventory(&[(bytes[..1024].to_vec(), open)]);
    assert_eq!((listing(&found), found.broken().count()), (vec!["f a 0 1".to_owned()], 0));
    // In the archive itself nothing is passed over.
    let cut = [gzip(&bytes[..700]), b"garbage and more".to_vec()].concat();
    assert_eq!(inventory(&[(bytes.clone(), cut)]).broken().count(), 1);
}

#[test]
fn bombs_are_not_waited_for() {
    let common = Common::default();
    let limit = blob::Limit::at_most(1 << 20, &common);
    let mut input = blob::Input::new(std::io::repeat(0), 4096, limit);
    let error = std::io::copy(&mut input, &mut std::io::sink()).unwrap_err();
    assert!(error.to_string().contains("decompression bomb"), "{error}");
}

#[test]
fn packages_and_keys_are_found_on_the_way() {
    let (mut status, _) = member("f var/lib/dpkg/status 0");
    let text = b"Package: a\nStatus: install ok installed\nVersion: 1\n".to_vec();
    status.size = text.len() as u64;
    let (mut key, _) = member("f root/.ssh/id_rsa 0");
    let secret = b"-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n".to_vec();
    key.size = secret.len() as u64;
    let bytes = raw([(header(&status), text), (header(&key), secret)]);
    let found = inventory(&[plain(bytes)]);
    let (path, packages) = &found.layers[0].databases[0];
    assert_eq!((path.to_str().unwrap(), packages[0].name.as_str()), ("var/lib/dpkg/status", "a"));
    assert_eq!(found.layers[0].keys, ["root/.ssh/id_rsa"]);
}

#[test]
fn keys_are_known_by_their_content() {
    let check = |content: &str, expected: bool| {
        let (mut file, _) = member("f k 0");
        file.size = content.len() as u64;
        // Behind a large file it comes in pieces.
        let (mut before, _) = member("f before 0");
        before.size = (128 << 10) - 2 * 512 - 40;
        let filled = vec![b'x'; before.size as usize];
        let bytes = raw([(header(&before), filled), (header(&file), content.into())]);
        for layer in [plain(bytes.clone()), (bytes.clone(), gzip(&bytes))] {
            let found = inventory(&[layer]);
            assert_eq!(found.layers[0].keys, if expected { vec!["k"] } else { Vec::new() }, "{content}");
        }
    };
    let key = "-----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY-----\n";
    let certificate = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", "x".repeat(1000));
    check(key, true);
    check(&format!("# of the server\n{key}"), true);
    check(&certificate, false);
    check(&format!("{certificate}{key}"), true);
    check(&format!("Bag Attributes\n{}\n{key}", "x".repeat(300)), true);
    check(
        &format!("{{\"type\": \"service_account\", \"id\": \"{}\", \"private_key\": {key:?}}}", "x".repeat(200)),
        true,
    );
    check(&format!("{{\"examples\": \"{}\", \"PrivateKey\": {key:?}}}", "x".repeat(200)), false);
    check("-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nabc\n", true);
    check("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n", false);
    check(&format!("// {}\nlet key = {key:?};", "x".repeat(300)), false);
}

#[test]
fn files_can_be_looked_into() {
    let dir = tempfile::tempdir().unwrap();
    let plain_layer = archive(&["f d/a 10", "h b d/a", "l e d", "f e/c 3"]);
    let old = archive(&["f .wh..wh.plnk/1.2 4", "h x .wh..wh.plnk/1.2"]);
    let text = layout(dir.path(), &[plain(plain_layer.clone()), (plain_layer.clone(), gzip(&plain_layer)), plain(old)]);
    let found = read_text(&text, dir.path(), &Options::default());
    let check = |layer: u32, path: &str, offset: u64, limit: usize, expected: Option<&str>| {
        let content = block_on(found.content(layer, path.into(), offset, limit)).ok();
        assert_eq!(content.as_deref(), expected.map(str::as_bytes), "{layer} {path}");
    };
    for layer in [0, 1] {
        check(layer, "d/a", 0, 100, Some("xxxxxxxxxx"));
        check(layer, "d/a", 8, 100, Some("xx"));
        check(layer, "d/a", 2, 3, Some("xxx"));
        check(layer, "d/a", 20, 3, Some(""));
        check(layer, "b", 0, 4, Some("xxxx"));
        check(layer, "d/c", 0, 100, Some("xxx"));
        check(layer, "nothing", 0, 100, None);
    }
    check(2, "x", 0, 100, Some("xxxx"));
    check(3, "x", 0, 100, None);
}

#[test]
fn a_second_time_it_comes_from_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = archive(&["f a 1", "l l a", "f .wh.b 0"]);
    let text = layout(dir.path(), &[(bytes.clone(), gzip(&bytes))]);
    let options = Options { cache: Some(dir.path().join("cache")), ..Options::default() };
    let first = read_text(&text, dir.path(), &options);
    let digest = first.layers[0].digest.clone().unwrap();
    assert_eq!(std::fs::read_dir(dir.path().join("cache")).unwrap().count(), 1);
    // The blob keeps its size and loses its content: nobody looks at it again, unless that is asked for.
    let blob = dir.path().join("layout/blobs/sha256").join(digest.hex());
    std::fs::write(&blob, vec![0; blob.metadata().unwrap().len() as usize]).unwrap();
    let second = read_text(&text, dir.path(), &options);
    assert_eq!(listing(&second), listing(&first));
    assert_eq!(second.layers, first.layers);
    let verified = read_text(&text, dir.path(), &Options { verify: true, ..options.clone() });
    assert_eq!(verified.broken().count(), 1);
    let cache = options.cache.unwrap();
    let taken = std::fs::read_dir(&cache).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>();
    assert_eq!(forget_indexes(&cache).unwrap(), taken);
    assert_eq!((forget_indexes(&cache).unwrap(), forget_indexes(&cache.join("none")).unwrap()), (0, 0));
}

/// Layers that are not on this machine.
struct Elsewhere {
    from: Arc<dyn source::Blobs>,
    fetched: AtomicUsize,
}

#[async_trait::async_trait]
impl source::Blobs for Elsewhere {
    async fn fetch(
        &self,
        index: usize,
        into: &Path,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), source::SourceError> {
        self.fetched.fetch_add(1, Ordering::Relaxed);
        self.from.fetch(index, into, progress).await
    }
}

#[test]
fn what_was_fetched_once_is_not_fetched_for_a_second_look() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = archive(&["f a 1"]);
    let text = layout(dir.path(), &[plain(bytes.clone()), (bytes.clone(), gzip(&bytes))]);
    let surroundings =
        Surroundings { scratch: dir.path().to_owned(), docker: Default::default(), told: Default::default() };
    let mut opened = block_on(source::open_in(&text, "linux/amd64", &surroundings)).unwrap();
    let elsewhere = Arc::new(Elsewhere { from: opened.blobs.clone(), fetched: AtomicUsize::new(0) });
    opened.blobs = elsewhere.clone();
    let scratch = dir.path().to_owned();
    let options = Options { cache: Some(dir.path().join("cache")), scratch, ..Options::default() };
    for _ in 0..2 {
        let found = block_on(read(&opened, &options, |_| ())).unwrap();
        assert_eq!((listing(&found), elsewhere.fetched.load(Ordering::Relaxed)), (vec!["f a 1 1".to_owned()], 2));
    }
}

#[test]
fn progress_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let text = layout(dir.path(), &[plain(archive(&["f a 1"])), plain(archive(&["f b 1"]))]);
    let surroundings =
        Surroundings { scratch: dir.path().to_owned(), docker: Default::default(), told: Default::default() };
    let opened = block_on(source::open_in(&text, "linux/amd64", &surroundings)).unwrap();
    let finished = Arc::new(Mutex::new(Vec::new()));
    let told = finished.clone();
    let tell = move |progress| {
        if let Progress::Finished { layer, .. } = progress {
            told.lock().unwrap().push(layer);
        }
    };
    block_on(read(&opened, &Options::default(), tell)).unwrap();
    let mut finished = finished.lock().unwrap().clone();
    finished.sort();
    assert_eq!(finished, [0, 1]);
}

/// Expects the content of a file, and of all of them together. Members are as in [`member`], a file's last word is its
/// content.
#[track_caller]
fn check_contents(layers: &[&[&str]], expected: &[(u32, &str, &str)]) {
    let written = |line: &&str| match line.split(' ').collect::<Vec<_>>()[..] {
        ["f", path, content] => {
            let (mut entry, _) = member(&format!("f {path} 0"));
            entry.size = content.len() as u64;
            (header(&entry), content.as_bytes().to_vec())
        }
        _ => (header(&member(line).0), Vec::new()),
    };
    let layers: Vec<_> = layers.iter().map(|lines| plain(raw(lines.iter().map(written)))).collect();
    let dir = tempfile::tempdir().unwrap();
    let found = read_text(&layout(dir.path(), &layers), dir.path(), &Options::default());
    let files = expected.iter().map(|(layer, path, _)| (*layer, BString::from(*path))).collect();
    let contents = block_on(found.stretches(files, 0, 100)).unwrap();
    for ((layer, path, expected), content) in expected.iter().zip(contents) {
        assert_eq!(content.as_bstr(), expected, "{path}");
        assert_eq!(block_on(found.content(*layer, (*path).into(), 0, 100)).unwrap().as_bstr(), expected, "{path}");
    }
}

#[test]
fn a_hard_link_has_what_its_target_had_then() {
    check_contents(&[&["f a one", "h b a", "f a two"]], &[(0, "a", "two"), (0, "b", "one")]);
    check_contents(&[&["f a one"], &["h b a", "f a two"]], &[(1, "a", "two"), (1, "b", "one")]);
    check_contents(&[&["f a old", "f b new", "h a b"]], &[(0, "a", "new"), (0, "b", "new")]);
    check_contents(&[&["f a one", "h b a", "h c b", "f b two", "h d b"]], &[(0, "c", "one"), (0, "d", "two")]);
    check_contents(&[&["f a one"], &["h b a"], &["h c b", "f b two"]], &[(2, "c", "one"), (2, "b", "two")]);
    check_contents(&[&["f a 1", "h b a", "f a 2", "h c a", "f a 3"]], &[(0, "a", "3"), (0, "b", "1"), (0, "c", "2")]);
    check_contents(&[&["f a one", "f a ", "h b a"]], &[(0, "a", ""), (0, "b", "")]);
}

#[test]
fn holes_are_read_as_zeros() {
    let (mut entry, _) = member("f s 0");
    entry.size = 5;
    let mut block = header(&entry);
    block[156] = b'S';
    for (at, number) in [(386, 7), (398, 5), (483, 20)] {
        block[at..at + 12].copy_from_slice(format!("{number:011o}\0").as_bytes());
    }
    fix(&mut block);
    let layer = raw([(header(&member("f s 9").0), member("f s 9").1), (block, b"hello".to_vec())]);
    let dir = tempfile::tempdir().unwrap();
    let found = read_text(&layout(dir.path(), &[plain(layer)]), dir.path(), &Options::default());
    let whole = b"\0\0\0\0\0\0\0hello\0\0\0\0\0\0\0\0";
    assert_eq!(block_on(found.content(0, "s".into(), 0, 100)).unwrap(), whole);
    assert_eq!(block_on(found.content(0, "s".into(), 9, 7)).unwrap(), whole[9..16]);
    let hash = ContentHash(twox_hash::XxHash3_128::oneshot(whole));
    assert_eq!(block_on(found.hashes(vec![(0, "s".into())])).unwrap(), [Some(hash)]);
}

#[test]
fn what_comes_before_the_damage_can_be_looked_into() {
    let bytes = archive(&["f a 3", "f b 2", "f c 2000", "f b 2000"]);
    let dir = tempfile::tempdir().unwrap();
    let text = layout(dir.path(), &[plain(bytes.clone())]);
    let blob = dir.path().join("layout/blobs/sha256").join(Digest::of(&bytes).hex());
    std::fs::write(blob, &bytes[..bytes.len() - 2048]).unwrap();
    let found = read_text(&text, dir.path(), &Options::default());
    assert_eq!(listing(&found), ["f a 0 3", "f b 0 2", "f c 0 2000"]);
    assert_eq!(block_on(found.content(0, "a".into(), 0, 9)).unwrap(), b"xxx");
    // Of this one there is a beginning further on, which is not to be taken for the whole.
    assert!(block_on(found.content(0, "b".into(), 0, 9)).is_err());
}

#[test]
fn a_layer_that_waits_for_lower_ones_is_shown_by_itself_once() {
    let mut writer = record::Writer::default();
    writer.entry(&Entry::Whiteout { path: "gone".into() });
    writer.entry(&Entry::Put { path: "d/a".into(), meta: Meta::new(Kind::File), opaque: false });
    let index = Arc::new(Index { records: writer.finish(), ..Index::nothing(String::new()) });
    let check = |left: usize, expected: &[(usize, bool)]| {
        let told = Mutex::new(Vec::new());
        let tell = |progress: Progress| {
            let Progress::Alone { layer, tree } = progress else { panic!("{progress:?}") };
            told.lock().unwrap().push((layer, tree.lookup("d/a".into()).is_some()));
        };
        let mut alone = Alone { told: vec![false; 3], left };
        for _ in 0..2 {
            alone.tell(&[None, Some(index.clone()), None], &tell);
        }
        assert_eq!(told.into_inner().unwrap(), expected);
    };
    check(MAX_ALONE, &[(1, true)]);
    check(index.records.len() - 1, &[]);
}
