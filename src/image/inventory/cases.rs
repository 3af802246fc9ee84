//! What explorers of images get wrong, case by case: bytes and changes of whole stacks, and archives of every kind.

use super::tests::{archive, check, gzip, inventory, listing, member, plain, raw, read_text};
use super::*;
use crate::image::tar_writer::header;
use crate::layers::Waste;
use bstr::BStr;

/// Expects of each layer `bytes, dead, +added ~modified -removed`.
#[track_caller]
fn check_waste(layers: &[&[&str]], expected: &[&str]) {
    let layers: Vec<_> = layers.iter().map(|lines| plain(archive(lines))).collect();
    let inventory = inventory(&layers);
    assert_eq!(inventory.broken().collect::<Vec<_>>(), Vec::<&str>::new());
    let waste = Waste::of(&inventory.tree);
    let shown = |it: &crate::layers::waste::LayerWaste| {
        format!("{}, {}, +{} ~{} -{}", it.bytes, it.dead.total(), it.added, it.modified, it.removed)
    };
    assert_eq!(waste.layers.iter().map(shown).collect::<Vec<_>>(), expected);
    assert_eq!(waste.live, inventory.tree.bytes(FileTree::ROOT));
}

#[test]
fn removed_directories_are_waste() {
    let base: &[&str] = &["d d/", "f d/a 5", "f d/b 6"];
    check_waste(&[base, &["f .wh.d 0"]], &["11, 11, +3 ~0 -0", "0, 0, +0 ~0 -3"]);
    check_waste(&[base, &["d d/", "f d/.wh..wh..opq 0"]], &["11, 11, +3 ~0 -0", "0, 0, +0 ~0 -2"]);
    check_waste(&[base, &["f d 1"]], &["11, 11, +3 ~0 -0", "1, 0, +0 ~1 -2"]);
    check_waste(&[base, &["l d x"]], &["11, 11, +3 ~0 -0", "0, 0, +0 ~1 -2"]);
}

#[test]
fn what_is_kept_is_no_waste() {
    check_waste(&[&["f a 5"], &["f a 5"]], &["5, 5, +1 ~0 -0", "5, 0, +0 ~1 -0"]);
    check_waste(&[&["f a 5"], &["f .wh.a 0", "f a 7"]], &["5, 5, +1 ~0 -0", "7, 0, +0 ~1 -0"]);
    check_waste(&[&["f a 5"]], &["5, 0, +1 ~0 -0"]);
}

#[test]
fn a_whiteout_of_nothing_changes_nothing() {
    let base: &[&str] = &["f a 5", "d d/"];
    check_waste(&[base, &["f .wh.absent 0", "f d/.wh.absent 0"]], &["5, 0, +2 ~0 -0", "0, 0, +0 ~0 -0"]);
    // But for the directory that it lies in: unpacking makes that.
    check_waste(&[&["f a 5"], &["f d/.wh.absent 0"]], &["5, 0, +1 ~0 -0", "0, 0, +1 ~0 -0"]);
}

#[test]
fn changes_that_are_no_content_are_changes() {
    check_waste(&[&["l a x"], &["l a y"]], &["0, 0, +1 ~0 -0", "0, 0, +0 ~1 -0"]);
    check_waste(&[&["d d/"], &["d d/ +700"]], &["0, 0, +1 ~0 -0", "0, 0, +0 ~1 -0"]);
    let with = |value: &str| {
        let (mut entry, content) = member("f a 5");
        entry.xattrs.insert("security.capability".into(), value.into());
        plain(raw([(header(&entry), content)]))
    };
    let inventory = inventory(&[with("old"), with("new")]);
    let node = inventory.tree.lookup("a".into()).unwrap();
    assert_eq!(inventory.tree.meta(node).xattrs[BStr::new("security.capability")], "new");
    let waste = Waste::of(&inventory.tree);
    assert_eq!((waste.layers[1].modified, waste.dead.metadata), (1, 5));
}

#[test]
fn of_two_entries_for_a_path_both_cost() {
    check_waste(&[&["f a 5", "f a 7"]], &["12, 5, +1 ~0 -0"]);
    check_waste(&[&["f d/a 5", "f d 7"]], &["12, 5, +1 ~0 -0"]);
}

#[test]
fn an_inode_costs_once_and_lives_on() {
    let linked: &[&str] = &["f a 5", "h b a", "h c a"];
    check_waste(&[linked], &["5, 0, +3 ~0 -0"]);
    check_waste(&[linked, &["f .wh.a 0"]], &["5, 0, +3 ~0 -0", "0, 0, +0 ~0 -1"]);
    check_waste(&[linked, &["f .wh.a 0", "f .wh.b 0", "f .wh.c 0"]], &["5, 5, +3 ~0 -0", "0, 0, +0 ~0 -3"]);
    check_waste(&[linked, &["h d a", "f .wh.a 0"]], &["5, 0, +3 ~0 -0", "0, 0, +1 ~0 -1"]);
}

/// A member in front of another that says something of it: PAX records.
fn pax(records: &[&str]) -> (Vec<u8>, Vec<u8>) {
    let record = |text: &&str| {
        let length = (0..).find(|length: &usize| length.to_string().len() + 1 + text.len() + 1 == *length).unwrap();
        format!("{length} {text}\n")
    };
    let content = records.iter().map(record).collect::<String>().into_bytes();
    let (mut entry, _) = member("f pax 0");
    entry.size = content.len() as u64;
    let mut block = header(&entry);
    block[156] = b'x';
    super::tests::fix(&mut block);
    (block, content)
}

#[test]
fn what_pax_records_say_holds() {
    let file = |line: &str, content: &[u8]| {
        let (mut entry, _) = member(line);
        entry.size = content.len() as u64;
        (header(&entry), content.to_vec())
    };
    let link = |line: &str| (header(&member(line).0), Vec::new());
    let check = |members: Vec<(Vec<u8>, Vec<u8>)>, expected: &[&str]| {
        let inventory = inventory(&[plain(raw(members))]);
        assert_eq!(inventory.broken().collect::<Vec<_>>(), Vec::<&str>::new());
        assert_eq!(listing(&inventory), expected);
        inventory
    };
    check(vec![pax(&["linkpath=to/a"]), link("l a short")], &["l a 0 0 to/a"]);
    check(vec![file("f a 0", b"x"), pax(&["linkpath=a", "path=b"]), link("h y z")], &["f a 0 1", "f b 0 0"]);
    // Of two names the one in GNU's form holds, as for Docker.
    let long = |kind: u8, name: &str| {
        let (mut entry, _) = member("f long 0");
        entry.size = name.len() as u64;
        let mut block = header(&entry);
        block[156] = kind;
        super::tests::fix(&mut block);
        (block, name.as_bytes().to_vec())
    };
    let both = pax(&["path=by-pax", "linkpath=to-pax"]);
    check(vec![long(b'L', "by-gnu"), long(b'K', "to-gnu"), both, link("l a short")], &["l by-gnu 0 0 to-gnu"]);
    let found = check(vec![pax(&["SCHILY.xattr.user.k=v", "mtime=7.5"]), file("f a 0", b"x")], &["f a 0 1"]);
    let meta = found.tree.meta(found.tree.lookup("a".into()).unwrap());
    assert_eq!((meta.xattrs[BStr::new("user.k")].to_string(), meta.mtime), ("v".to_owned(), (7, 500_000_000)));
    // Sparse files: the map in front of the content, and in records.
    let mut front = b"1\n1000\n5\n".to_vec();
    front.resize(512, 0);
    front.extend(b"hello");
    let whole = ["GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=s", "GNU.sparse.realsize=3000"];
    let found = check(vec![pax(&whole), file("f x 0", &front), file("f z 0", b"z")], &["f s 0 5", "f z 0 1"]);
    assert_eq!(found.tree.meta(found.tree.lookup("s".into()).unwrap()).size, 3000);
    let whole = ["GNU.sparse.size=3000", "GNU.sparse.numblocks=1", "GNU.sparse.map=1000,5", "GNU.sparse.name=s"];
    let whole = [&["GNU.sparse.major=0", "GNU.sparse.minor=1"], &whole[..]].concat();
    check(vec![pax(&whole), file("f x 0", b"hello"), file("f z 0", b"z")], &["f s 0 5", "f z 0 1"]);
}

/// An archive as `docker save` wrote it before version 25, whose layers are what they are.
fn saved(layers: &[(&[u8], Option<&[u8]>)]) -> Inventory {
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {}, "history": [],
        "rootfs": {"type": "layers", "diff_ids":
            layers.iter().map(|(unpacked, _)| Digest::of(unpacked).to_string()).collect::<Vec<_>>()},
    });
    let config = config.to_string().into_bytes();
    let named = |number: usize| format!("{number}/layer.tar");
    let manifest = serde_json::json!([{
        "Config": format!("{}.json", Digest::of(&config).hex()), "RepoTags": ["a:1"],
        "Layers": (0..layers.len()).map(named).collect::<Vec<_>>(),
        "LayerSources": layers.iter().filter(|(_, blob)| blob.is_none()).map(|(unpacked, _)| {
            (Digest::of(unpacked).to_string(), serde_json::json!({"urls": ["https://one.example/\u{1b}", "https://two.example"]}))
        }).collect::<serde_json::Map<_, _>>(),
    }]);
    let file = |path: String, content: Vec<u8>| {
        let (mut entry, _) = member("f x 0");
        (entry.path, entry.size) = (path.into(), content.len() as u64);
        (header(&entry), content)
    };
    let blobs = layers.iter().enumerate().filter_map(|(at, (_, blob))| Some(file(named(at), blob.as_ref()?.to_vec())));
    let mut members = vec![
        file("manifest.json".to_owned(), manifest.to_string().into_bytes()),
        file(format!("{}.json", Digest::of(&config).hex()), config),
    ];
    members.extend(blobs);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("image.tar"), raw(members)).unwrap();
    let name = format!("docker-archive:{}", dir.path().join("image.tar").display());
    read_text(&name, dir.path(), &Options::default())
}

#[test]
fn links_have_properties_of_their_own() {
    let base: &[&str] = &["f a 5 +600", "h b a +755"];
    let found = inventory(&[plain(archive(base)), plain(archive(&["h c a +4711"]))]);
    let mode = |path: &str| found.tree.meta(found.tree.lookup(path.into()).unwrap()).mode;
    assert_eq!(["a", "b", "c"].map(mode), [0o755; 3]);
    assert_eq!(listing(&found), ["f a 0 5", "f b 0 0", "f c 1 0"]);
}

#[test]
fn a_directory_may_carry_the_mark_of_overlayfs() {
    let marked = |line: &str, name: &str, value: &str| {
        let (mut entry, content) = member(line);
        entry.xattrs.insert(name.into(), value.into());
        plain(raw([(header(&entry), content), (header(&member("f d/new 2").0), vec![b'x'; 2])]))
    };
    let base = || plain(archive(&["f d/old 1"]));
    let check = |line: &str, name: &str, value: &str, expected: &[&str]| {
        assert_eq!(listing(&inventory(&[base(), marked(line, name, value)])), expected, "{line} {name} {value}");
    };
    let kept = ["d d 1 3", "f d/new 1 2", "f d/old 0 1"];
    check("d d/", "trusted.overlay.opaque", "y", &["d d 1 2", "f d/new 1 2"]);
    check("d d/", "trusted.overlay.opaque", "n", &kept);
    check("d d/", "user.overlay.opaque", "y", &kept);
    check("f e 0", "trusted.overlay.opaque", "y", &["d d 0 3", "f d/new 1 2", "f d/old 0 1", "f e 1 0"]);
}

#[test]
fn layers_that_are_not_what_they_are_called() {
    let (one, two) = (archive(&["f a 1"]), archive(&["f b 2"]));
    // Called archives, and compressed.
    let found = saved(&[(&one, Some(&gzip(&one))), (&two, Some(&zstd::encode_all(&two[..], 1).unwrap()))]);
    assert_eq!(listing(&found), ["f a 0 1", "f b 1 2"]);
    assert!(found.layers.iter().all(|layer| layer.checked), "{:?}", found.layers);
    // Not there: the base layers of Windows, say, that nobody may pass on.
    let found = saved(&[(&one, None), (&two, Some(&two))]);
    assert_eq!(listing(&found), ["f b 1 2"]);
    let broken: Vec<&str> = found.broken().collect();
    assert_eq!(broken.len(), 1);
    assert!(broken[0].contains("layer 0") && broken[0].contains(&Digest::of(&one).to_string()), "{broken:?}");
    let from = "get it from \"https://one.example/\\u{1b}\" or \"https://two.example\", and put it into";
    assert!(broken[0].contains(from), "{broken:?}");
}

#[test]
fn a_layer_with_a_table_of_contents_is_a_layer() {
    // As eStargz has it: each file a gzip member of its own, landmarks and the table at the end.
    let parts = [&["f a 1"][..], &["f .prefetch.landmark 1"], &["f stargz.index.json 20"]].map(archive);
    let (mut whole, mut blob) = (Vec::new(), Vec::new());
    for (number, part) in parts.iter().enumerate() {
        let end = if number == 2 { part.len() } else { part.len() - 1024 };
        whole.extend_from_slice(&part[..end]);
        blob.extend(gzip(&part[..end]));
    }
    let found = inventory(&[(whole, blob)]);
    assert_eq!(listing(&found), ["f .prefetch.landmark 0 1", "f a 0 1", "f stargz.index.json 0 20"]);
    assert_eq!(found.broken().count(), 0);
}

#[test]
fn many_entries_in_one_directory() {
    let lines: Vec<String> = (0..20_000).map(|number| format!("f d/{number} 0")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let found = inventory(&[plain(archive(&lines)), plain(archive(&["f .wh.d 0"]))]);
    assert_eq!(listing(&found), Vec::<String>::new());
    assert_eq!(Waste::of(&found.tree).layers[1].removed, 20_001);
}

#[test]
fn the_same_layer_twice() {
    check(&[&["f a 1"], &["f a 1"]], &["f a 1 1"]);
    check_waste(&[&["f a 1"], &["f b 1"], &["f a 1"]], &["1, 1, +1 ~0 -0", "1, 0, +1 ~0 -0", "1, 0, +0 ~1 -0"]);
}

/// Expects what is left of one layer of these members, and what is said of it.
#[track_caller]
fn check_notes(members: Vec<(Vec<u8>, Vec<u8>)>, expected: &[&str], notes: &[&str]) -> Inventory {
    let found = inventory(&[plain(raw(members))]);
    assert_eq!(found.broken().collect::<Vec<_>>(), Vec::<&str>::new());
    assert_eq!(listing(&found), expected);
    assert_eq!(found.layers[0].notes, notes);
    found
}

#[test]
fn one_bad_entry_costs_no_other() {
    let (f, last) = (|line: &str| (header(&member(line).0), member(line).1), ("f z 2", "f z 0 2"));
    let spoiled = |line: &str, at: usize, with: &[u8]| {
        let (mut block, content) = f(line);
        block[at..at + with.len()].copy_from_slice(with);
        super::tests::fix(&mut block);
        (block, content)
    };
    let check = |bad: (Vec<u8>, Vec<u8>), problem: &str| {
        let note = format!("entry \"x\" has {problem}, and is left out");
        let found = check_notes(vec![bad, f(last.0)], &[last.1], &[&note]);
        let there = found.tree.lookup("z".into()).unwrap();
        assert_eq!(found.layers[0].entries, 2);
        assert_eq!(found.tree.meta(there).size, 2);
    };
    // A volume's name, as GNU tar writes it, and something with content.
    for record in ["uid=-1", "mtime=abc", "SCHILY.xattr.=x"] {
        let note = "entry \"x\" has a PAX record that cannot be read, and is left out";
        check_notes(vec![pax(&[record]), f("f x 700"), f(last.0)], &[last.1], &[note]);
    }
    check(spoiled("f x 0", 156, b"V"), "the type 'V', which no layer may have");
    check(spoiled("f x 700", 156, b"Z"), "the type 'Z', which no layer may have");
    check(spoiled("f x 700", 108, &[0xff; 8]), "a user id out of range");
    check(spoiled("f x 700", 136, b"no time"), "no readable time");
    check(spoiled("f x 700", 100, b"rwxr-x"), "no readable mode");
    let root = "entry \"./\" is no directory and stands where the root is, and is left out";
    check_notes(vec![f("f ./ 700"), f("d ./"), f(last.0)], &[last.1], &[root]);
}

#[test]
fn what_nothing_reads_is_told() {
    let f = |line: &str| (header(&member(line).0), member(line).1);
    let out = "entry \"../../x\" leads out of the image; it is shown within it, where some runtimes put it and others \
               refuse it";
    check_notes(vec![f("f ../../x 3"), f("f d/../y 1")], &["f x 0 3", "f y 0 1"], &[out]);
    let mut twice = archive(&["f a 1"]);
    twice.extend(archive(&["f hidden 1"]));
    let found = inventory(&[plain(twice)]);
    assert_eq!(listing(&found), ["f a 0 1"]);
    let behind = "behind the archive's end there are more bytes, which nothing reads; they are left out";
    assert_eq!((found.broken().count(), &found.layers[0].notes[..]), (0, &[behind.to_owned()][..]));
    // Some readers stop at a single block of zeros, and others do not.
    let mut torn = archive(&["f a 1"]);
    torn.truncate(torn.len() - 512);
    torn.extend(archive(&["f b 1"]));
    let found = inventory(&[plain(torn)]);
    assert_eq!(listing(&found), ["f a 0 1"]);
    assert!(found.broken().next().unwrap().contains("a block of zeros stands alone, at byte "));
}

#[test]
fn what_is_remembered_of_a_layer_does_not_vouch_for_another_images() {
    let (bytes, other) = (archive(&["f a 1"]), archive(&["f b 1"]));
    let dir = tempfile::tempdir().unwrap();
    let options = Options { cache: Some(dir.path().join("indexes")), ..Options::default() };
    let read = |name: &str, unpacked: &[u8]| {
        let at = dir.path().join(name);
        std::fs::create_dir(&at).unwrap();
        let layer = (unpacked.to_vec(), gzip(&bytes));
        let found = read_text(&super::tests::layout(&at, &[layer.clone(), layer]), &at, &options);
        found.broken().map(|it| it.split_once(" that ").unwrap().0.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(read("one", &bytes), Vec::<String>::new());
    // Each layer is named, although both are the same.
    let told = read("two", &other);
    assert_eq!(told.len(), 2);
    for (number, told) in told.iter().enumerate() {
        let expected = format!("layer {number}, {}: the image's configuration says", Digest::of(&gzip(&bytes)));
        assert!(told.contains(&expected), "{told}");
    }
}
