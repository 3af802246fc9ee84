use super::*;
use crate::image::tar_writer::END;
use crate::snapshot::fixture::{self, list, raw, tar};
use proptest::prelude::*;
use std::io::Write;
use std::path::PathBuf;

/// The blob in a file, and a place beside it to unpack to.
fn place(blob: &[u8]) -> (tempfile::TempDir, PathBuf, PathBuf) {
    let top = fixture::dir();
    let file = top.path().join("blob");
    std::fs::write(&file, blob).unwrap();
    let into = top.path().join("layer");
    (top, file, into)
}

fn run(blob: &[u8]) -> (tempfile::TempDir, Result<Unpacked, UnpackError>) {
    let (top, file, into) = place(blob);
    let result = unpack(&file, None, &into, &mut |_| {});
    match &result {
        Ok(unpacked) => assert_eq!(unpacked.layer, scan(&into).unwrap()),
        Err(_) => assert!(!into.exists(), "an error leaves nothing"),
    }
    let mut names: Vec<_> = std::fs::read_dir(top.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.retain(|it| it != "blob" && it != "layer");
    assert!(names.is_empty(), "written outside: {names:?}");
    (top, result)
}

#[track_caller]
fn check_blob(blob: &[u8], expected: Result<&[&str], &str>) {
    let (top, result) = run(blob);
    match (result, expected) {
        (Ok(_), Ok(lines)) => assert_eq!(list(&top.path().join("layer"), true), lines),
        (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
        (Ok(_), Err(part)) => panic!("no error, expected {part:?}"),
        (Err(error), Ok(_)) => panic!("{error}"),
    }
}

#[track_caller]
fn check(archive: &[&str], expected: &[&str]) {
    check_blob(&tar(archive), Ok(expected));
}

#[track_caller]
fn check_error(archive: &[&str], part: &str) {
    check_blob(&tar(archive), Err(part));
}

#[test]
fn every_kind() {
    check(
        &[
            "dir 755 ./ ~9",
            "dir 1777 ./a/ ~5",
            "file 4755 /a/f content ~6",
            "link 777 a/l ->f ~7",
            "hard 4755 a/h =./a/f ~6",
            "fifo 600 a/p ~8",
            "dir 500 a/locked/ ~10",
        ],
        &[
            "dir 1777 a ~5",
            "file 4755 a/f content ~6",
            "hard 0 a/h =a/f",
            "link 777 a/l ->f ~7",
            "dir 500 a/locked ~10",
            "fifo 600 a/p ~8",
        ],
    );
}

#[test]
fn directories_without_a_header_are_made() {
    check(
        &["file 644 usr/bin/tool x ~1", "dir 700 usr/bin ~2"],
        &["dir 755 usr ~0", "dir 700 usr/bin ~2", "file 644 usr/bin/tool x ~1"],
    );
}

#[test]
fn whiteouts_speak_of_lower_layers_in_any_order() {
    check(&["gone 0 a"], &["gone 0 a"]);
    check(&["gone 0 ./a", "gone 0 /b"], &["gone 0 a", "gone 0 b"]);
    check(&["gone 0 a", "file 644 a x"], &["file 644 a x ~0"]);
    check(&["file 644 a x", "gone 0 a"], &["file 644 a x ~0"]);
    check(&["gone 0 a", "dir 755 a ~1", "file 644 a/b x"], &["dir 755 a ~1 opaque", "file 644 a/b x ~0"]);
    check(&["dir 755 a ~1", "file 644 a/b x", "gone 0 a"], &["dir 755 a ~1 opaque", "file 644 a/b x ~0"]);
    check(&["gone 0 a", "file 644 a/b/c x"], &["dir 755 a ~0 opaque", "dir 755 a/b ~0", "file 644 a/b/c x ~0"]);
    check(&["gone 0 a", "file 644 a x", "dir 755 a"], &["dir 755 a ~0 opaque"]);
}

#[test]
fn opaque_marks_in_any_order() {
    check(&["dir 755 d", "file 644 d/f x", "file 0 d/.wh..wh..opq"], &["dir 755 d ~0 opaque", "file 644 d/f x ~0"]);
    check(&["file 0 d/.wh..wh..opq", "file 644 d/f x", "dir 700 d"], &["dir 700 d ~0 opaque", "file 644 d/f x ~0"]);
    check(&["dir 755 d", "file 0 d/.wh..wh..opq~"], &["dir 755 d ~0"]);
    check(&["file 0 .wh..wh..opq", "file 644 f x"], &["Opaque { path: \"\" }", "file 644 f x ~0"]);
}

#[test]
fn whiteouts_that_say_nothing_are_refused() {
    check_error(&["file 0 d/.wh."], "whiteout without a name");
    check_error(&["file 0 d/.wh.."], "whiteout without a name");
    check_error(&["file 0 d/.wh..."], "whiteout without a name");
    check_error(&["file 0 .wh.d/x"], "below a whiteout");
}

#[test]
fn files_of_the_old_aufs_driver() {
    check(
        &[
            "dir 700 .wh..wh.plnk",
            "file 644 .wh..wh.plnk/1.2 shared",
            "dir 700 .wh..wh.orph",
            "file 444 .wh..wh.aufs",
            "hard 0 a =.wh..wh.plnk/1.2",
            "hard 644 b =.wh..wh.plnk/1.2",
        ],
        &["file 644 a shared ~0", "hard 0 b =a"],
    );
}

#[test]
fn the_last_of_equal_paths_wins() {
    check(&["file 644 a 1", "file 600 a 2"], &["file 600 a 2 ~0"]);
    check(&["file 644 a 1", "dir 755 a"], &["dir 755 a ~0"]);
    check(&["dir 755 a ~1", "file 644 a/b x", "dir 700 a ~2"], &["dir 700 a ~2", "file 644 a/b x ~0"]);
    check(&["dir 755 a", "dir 755 a/b", "file 644 a/b/c x", "file 644 a y"], &["file 644 a y ~0"]);
    check(
        &["dir 755 a", "file 644 a/b 1", "link 777 a ->c", "file 644 a/d 2"],
        &["link 777 a ->c ~0", "dir 755 c ~0", "file 644 c/d 2 ~0"],
    );
    check(
        &["link 777 a ->c", "file 644 a/d 2", "dir 755 a", "file 644 a/d 3"],
        &["dir 755 a ~0", "file 644 a/d 3 ~0", "dir 755 c ~0", "file 644 c/d 2 ~0"],
    );
    check(&["file 644 a 1", "hard 644 b =a", "file 600 b 2"], &["file 644 a 1 ~0", "file 600 b 2 ~0"]);
}

#[test]
fn links_on_the_way() {
    let lib = ["link 777 lib ->usr/lib", "dir 755 lib/x86/", "file 644 lib/x86/so 1", "dir 755 usr ~3"];
    check(
        &lib,
        &[
            "link 777 lib ->usr/lib ~0",
            "dir 755 usr ~3",
            "dir 755 usr/lib ~0",
            "dir 755 usr/lib/x86 ~0",
            "file 644 usr/lib/x86/so 1 ~0",
        ],
    );
    check(&["link 777 a ->/b", "file 644 a/f x"], &["link 777 a ->/b ~0", "dir 755 b ~0", "file 644 b/f x ~0"]);
    check_error(&["link 777 a ->a", "file 644 a/f x"], "symbolic link");
    check_error(&["file 644 a x", "file 644 a/f x"], "make the directory");
}

#[test]
fn nothing_leads_out() {
    check(&["file 644 ../../x 1"], &["file 644 x 1 ~0"]);
    check(&["file 644 a/../../../x 1"], &["file 644 x 1 ~0"]);
    check(&["link 777 up ->../../..", "file 644 up/x 1"], &["link 777 up ->../../.. ~0", "file 644 x 1 ~0"]);
    check(&["link 777 e ->/etc", "file 644 e/x 1"], &["link 777 e ->/etc ~0", "dir 755 etc ~0", "file 644 etc/x 1 ~0"]);
    check_error(&["hard 0 x =../../etc/passwd"], "not in the same layer");
    check_error(&["link 777 e ->/", "hard 0 x =e/../../blob"], "not in the same layer");
}

#[test]
fn times_that_do_not_fit_are_those_of_the_beginning() {
    let (last, more) = (i64::MAX / 1_000_000_000, i64::MAX / 1_000_000_000 + 1);
    check(
        &["dir 755 a ~-1", &format!("file 644 b ~{last}"), &format!("file 644 c ~{more}"), "hard 644 d =b ~-9"],
        &["dir 755 a ~0", "file 644 b ~0", "file 644 c ~0", "hard 0 d =b"],
    );
    check(&[&format!("file 644 b ~{last}")], &[&format!("file 644 b ~{last}")]);
}

#[test]
fn hard_links_need_their_file() {
    check_error(&["hard 0 a =b"], "not in the same layer");
    check_error(&["gone 0 b", "hard 0 a =b"], "not in the same layer");
    check_error(&["dir 755 b", "hard 0 a =b"], "hard link to the directory");
    check_error(&["hard 0 a ="], "not in the same layer");
    check(&["file 644 a x", "hard 644 a =a"], &["file 644 a x ~0"]);
    check(&["link 777 a ->nowhere", "hard 0 b =a"], &["link 777 a ->nowhere ~0", "hard 0 b =a"]);
}

#[test]
fn attributes_of_overlayfs_are_not_taken_from_a_layer() {
    check(
        &["dir 755 d +user.overlay.opaque=y +user.color=red", "file 644 d/f x +user.overlay.redirect=/etc"],
        &["dir 755 d +user.color=red ~0", "file 644 d/f x ~0"],
    );
    // But for the mark that Docker and containerd unpack as it is.
    check(&["dir 755 d +trusted.overlay.opaque=y"], &["dir 755 d ~0 opaque"]);
}

#[test]
fn what_is_not_allowed_is_left_out_and_told() {
    let archive = tar(&["char 666 dev/null :1,3", "file 644 f x @4000000001:0 +user.a=b", "link 777 l ->f +user.a=b"]);
    let (top, result) = run(&archive);
    let unpacked = result.unwrap();
    let root = fixture::is_root();
    let mut expected = vec!["dir 755 dev"];
    expected.extend(root.then_some("char 666 dev/null :1,3"));
    expected.push(if root { "file 644 f x @4000000001:0 +user.a=b" } else { "file 644 f x +user.a=b" });
    expected.push("link 777 l ->f");
    let found: Vec<_> = list(&top.path().join("layer"), false)
        .into_iter()
        .map(|line| if line.starts_with("dir 755 dev") { "dir 755 dev".to_owned() } else { line })
        .collect();
    assert_eq!(found, expected);
    let notices = unpacked.notices.join("\n");
    assert!(notices.contains("attributes could not be set here and are left out: \"l\""), "{notices}");
    assert_eq!(notices.contains("device nodes"), !root, "{notices}");
    assert_eq!(notices.contains("owners"), !root, "{notices}");
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn compression_is_told_by_the_content() {
    let archive = tar(&["file 644 a content"]);
    let expected: &[&str] = &["file 644 a content ~0"];
    let (head, tail) = archive.split_at(700);
    check_blob(&gzip(&archive), Ok(expected));
    check_blob(&[gzip(head), gzip(tail)].concat(), Ok(expected));
    check_blob(&zstd::encode_all(&archive[..], 3).unwrap(), Ok(expected));
    check_blob(&[], Ok(&[]));
    check_blob(&gzip(&[]), Ok(&[]));
}

#[test]
fn damage_is_found() {
    let archive = tar(&["file 644 a content", "file 644 b content"]);
    check_blob(&archive[..512 + 3], Err("ends in the middle of a file"));
    check_blob(&archive[..1024 + 100], Err("ends in the middle of a header"));
    check_blob(&gzip(&archive)[..60], Err("the layer is damaged"));
    check_blob(&[b'x'; 2000], Err("not a tar archive"));
    let mut changed = archive.clone();
    changed[3] ^= 1;
    check_blob(&changed, Err("checksum"));
}

#[test]
fn digests_cover_every_byte() {
    let mut archive = tar(&["file 644 a content"]);
    archive.extend([0; 4096]);
    let digest = Digest::of(&archive).to_string();
    for (blob, expected, good) in [
        (gzip(&archive), &digest, true),
        (archive.clone(), &digest, true),
        (archive[..archive.len() - 512].to_vec(), &digest, false),
        (archive.clone(), &"sha256:nonsense".to_owned(), false),
    ] {
        let (_top, file, into) = place(&blob);
        let mut last = 0;
        let result = unpack(&file, Some(expected), &into, &mut |bytes| last = bytes);
        assert_eq!(last, blob.len() as u64);
        match result {
            Ok(_) => assert!(good),
            Err(UnpackError::Digest { .. }) => assert!(!good && !into.exists()),
            Err(error) => panic!("{error}"),
        }
    }
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut body = String::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (rest + 1..).find(|length| *length == rest + length.to_string().len()).unwrap();
        body += &format!("{length} {key}={value}\n");
    }
    raw("file 644 pax", body.as_bytes(), |block| {
        block[156] = b'x';
        block[124..135].copy_from_slice(format!("{:011o}", body.len()).as_bytes());
    })
}

fn sized(block: &mut [u8], size: usize) {
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
}

#[test]
fn a_pax_size_counts() {
    // The header says 0, so a reader that believes it takes the content for the next header.
    let inner = tar(&["file 644 evil x"]);
    let mut archive = pax(&[("size", &inner.len().to_string())]);
    archive.extend(raw("file 644 a", &inner, |block| sized(block, 0)));
    archive.extend(END);
    let (top, result) = run(&archive);
    assert_eq!(result.unwrap().layer.entries.len(), 1);
    assert_eq!(std::fs::read(top.path().join("layer/a")).unwrap(), inner);
}

#[test]
fn long_names_of_both_kinds() {
    let long = "n/".repeat(80) + "x";
    let gnu = |flag: u8, text: &str| {
        raw("file 644 ././@LongLink", format!("{text}\0").as_bytes(), |block| {
            block[156] = flag;
            sized(block, text.len() + 1);
        })
    };
    let mut archive = gnu(b'L', &long);
    archive.extend(gnu(b'K', &long));
    archive.extend(raw("link 777 cut ->cut", &[], |_| {}));
    archive.extend(pax(&[("path", "päx"), ("linkpath", "target"), ("mtime", "1.5"), ("comment", "")]));
    archive.extend(raw("link 777 short ->short", &[], |_| {}));
    archive.extend(END);
    let (_top, result) = run(&archive);
    let layer = result.unwrap().layer;
    let find = |path: &str| {
        layer.entries.iter().find_map(|it| match it {
            crate::layers::Entry::Put { path: at, meta, .. } if at == path => Some(meta.clone()),
            _ => None,
        })
    };
    assert_eq!(find(&long).unwrap().target, long);
    assert_eq!(find("päx").unwrap().target, "target");
    assert_eq!(find("päx").unwrap().mtime, (1, 500_000_000));
}

#[test]
fn global_headers_are_passed_over() {
    let mut archive =
        raw("file 644 pax_global_header", b"52 comment=0123456789012345678901234567890123456789\n", |block| {
            block[156] = b'g';
            sized(block, 52);
        });
    archive.extend(tar(&["file 644 a x"]));
    check_blob(&archive, Ok(&["file 644 a x ~0"]));
}

#[test]
fn fifos_without_device_numbers_and_links_with_a_size() {
    let mut archive = raw("fifo 600 p", &[], |block| block[329..345].fill(0));
    archive.extend(raw("file 644 a", b"x", |block| sized(block, 1)));
    archive.extend(raw("hard 644 b =a", &[], |block| sized(block, 1)));
    archive.extend(END);
    check_blob(&archive, Ok(&["file 644 a x ~0", "hard 0 b =a", "fifo 600 p ~0"]));
}

#[test]
fn sparse_files_of_every_format() {
    let content = |top: &tempfile::TempDir| std::fs::read(top.path().join("layer/s")).unwrap();
    let mut expected = vec![0; 20_000];
    expected[8192..8197].copy_from_slice(b"hello");
    expected[16384..16389].copy_from_slice(b"world");
    let gnu = raw("file 644 s", b"helloworld", |block| {
        block[156] = b'S';
        block[257..265].copy_from_slice(b"ustar  \0");
        sized(block, 10);
        let cells = [(8192, 5), (16384, 5), (20000, 0)];
        for (at, (offset, length)) in cells.iter().enumerate() {
            let cell = format!("{offset:011o}\0{length:011o}\0");
            block[386 + at * 24..410 + at * 24].copy_from_slice(cell.as_bytes());
        }
        block[483..494].copy_from_slice(format!("{:011o}", 20000).as_bytes());
    });
    let mut zero_one =
        pax(&[("GNU.sparse.size", "20000"), ("GNU.sparse.map", "8192,5,16384,5"), ("GNU.sparse.name", "s")]);
    zero_one.extend(raw("file 644 GNUSparseFile.0/s", b"helloworld", |block| sized(block, 10)));
    let mut one = pax(&[
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "s"),
        ("GNU.sparse.realsize", "20000"),
    ]);
    let mut stored = b"2\n8192\n5\n16384\n5\n".to_vec();
    stored.resize(512, 0);
    stored.extend(b"helloworld");
    one.extend(raw("file 644 GNUSparseFile.0/s", &stored, |block| sized(block, stored.len())));
    for mut archive in [gnu, zero_one, one] {
        archive.extend(END);
        let (top, result) = run(&archive);
        result.unwrap();
        assert_eq!(content(&top), expected);
    }
    for map in ["8192,5,16384,6", "16384,5,8192,5", "8192,5,19999,5", "8192,5,16384", "a,b"] {
        let mut bad = pax(&[("GNU.sparse.size", "20000"), ("GNU.sparse.map", map), ("GNU.sparse.name", "s")]);
        bad.extend(raw("file 644 s", b"helloworld", |block| sized(block, 10)));
        bad.extend(END);
        let (_top, result) = run(&bad);
        assert!(result.is_err(), "{map}");
    }
}

#[test]
fn zeros_take_no_room() {
    use std::os::unix::fs::MetadataExt;
    let size = 8 << 20;
    let mut archive = raw("file 644 z", &vec![0; size], |block| sized(block, size));
    archive.extend(END);
    let (top, result) = run(&gzip(&archive));
    result.unwrap();
    let meta = std::fs::metadata(top.path().join("layer/z")).unwrap();
    assert_eq!(meta.len(), size as u64);
    assert!(meta.blocks() * 512 < size as u64 / 4, "{} blocks", meta.blocks());
}

#[test]
fn the_bound_on_what_a_blob_may_write() {
    assert!(!is_bomb(3 << 30, 1000));
    assert!(is_bomb(5 << 30, 1000));
    assert!(!is_bomb(5 << 30, 100 << 20));
    assert!(is_bomb(u64::MAX, 100 << 20));
}

#[test]
fn unknown_types_are_named() {
    let mut archive = raw("file 644 v", &[], |block| block[156] = b'V');
    archive.extend(END);
    check_blob(&archive, Err("\"v\" of the archive has the type 'V'"));
    let long = "n".repeat(300);
    check_error(&[&format!("file 644 {long}")], "name too long");
    let long = "n/".repeat(2100);
    check_error(&[&format!("file 644 {long}")], "longer path");
}

/// Archives made to get out: few names, many links, every order.
fn hostile() -> impl Strategy<Value = Vec<String>> {
    let name = prop::sample::select(vec![
        "a", "b", "..", ".", "a/b", "b/a", "../b", "a/../..", "/a", "a/b/a", ".wh.a", "a/.wh.b",
    ]);
    let target =
        prop::sample::select(vec!["a", "b", "..", "/", "/..", "../..", "../../..", "/a/b", "../a", "../../beside"]);
    let line = (0..6, name, target).prop_map(|(kind, name, target)| match kind {
        0 => format!("file 644 {name} x"),
        1 => format!("dir 755 {name}"),
        2 | 3 => format!("link 777 {name} ->{target}"),
        4 => format!("hard 644 {name} ={target}"),
        _ => format!("file 0 {name}/.wh..wh..opq"),
    });
    prop::collection::vec(line, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever the entries are: nothing beside the new directory is made, changed or linked to, and what is told of
    /// the layer is what lies there (both are checked by `run`).
    #[test]
    fn no_archive_gets_out(lines in hostile()) {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let archive = tar(&lines);
        let (top, file, into) = place(&archive);
        let beside = top.path().join("beside");
        std::fs::create_dir(&beside).unwrap();
        std::fs::write(beside.join("a"), "untouched").unwrap();
        let result = unpack(&file, None, &into, &mut |_| {});
        prop_assert_eq!(std::fs::read_to_string(beside.join("a")).unwrap(), "untouched");
        prop_assert_eq!(std::fs::read_dir(&beside).unwrap().count(), 1);
        prop_assert_eq!(std::fs::read(&file).unwrap(), archive);
        prop_assert_eq!(std::fs::read_dir(top.path()).unwrap().count(), if result.is_ok() { 3 } else { 2 });
        if let Ok(unpacked) = result {
            prop_assert_eq!(unpacked.layer, scan(&into).unwrap());
        }
    }
}
