use super::super::size::text::Style;
use super::*;
use crate::layers::packages::{Manager, Package};
use crate::snapshot::fixture::{self, build};
use std::path::Path;

/// Two directories, from lines as `fixture::build` takes them, with packages beside them.
fn rendered(before: &[&str], after: &[&str], packages: [&[&str]; 2]) -> (serde_json::Value, String) {
    let top = fixture::dir();
    let made = |name: &str, lines: &[&str]| {
        let path = top.path().join(name);
        std::fs::create_dir(&path).unwrap();
        build(&path, lines);
        path
    };
    let (old, new) = (made("old", before), made("new", after));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(compared(&old, &new, packages))
}

async fn compared(old: &Path, new: &Path, packages: [&[&str]; 2]) -> (serde_json::Value, String) {
    use clap::Parser;
    let args = super::super::args::Cli::parse_from(["stagedive"]).debug.build;
    let open = async |path: &Path, name: &str| {
        let mut side = side::open(Point::Directory(path.to_owned()), &args, &mut Vec::new()).await.unwrap();
        side.name = name.to_owned();
        side
    };
    let (mut before, mut after) = (open(old, "old").await, open(new, "new").await);
    side::settle(&mut before, &mut after).await.unwrap();
    let diff = Diff::between(&before.tree, &after.tree, Scope::Changed);
    let patches = patches(&diff, &before, &after).await.unwrap();
    let package = |line: &&str| {
        let (name, version) = line.split_once(' ').unwrap();
        let (name, version) = (name.to_owned(), version.to_owned());
        Package { manager: Manager::Apk, name, architecture: String::new(), version, size: 2_000_000 }
    };
    let packages = packages.map(|list| (list.iter().map(package).collect(), Vec::new()));
    let report = report::report(&diff, &before, &after, packages, &patches);
    let text = text::render(&report, Style { columns: 80, colours: false }, true);
    (serde_json::to_value(&report).unwrap(), text)
}

#[test]
fn what_differs_is_told_path_by_path() {
    let before = &[
        "dir 755 etc",
        "file 644 etc/conf one two",
        "file 644 etc/same x ~1",
        "dir 755 usr",
        "dir 755 usr/lib",
        "file 644 usr/lib/old 0123456789",
        "link 777 usr/lib/l ->old",
        "file 644 usr/mode x",
    ];
    let after = &[
        "dir 755 etc",
        "file 644 etc/conf one three",
        "file 644 etc/same x ~2",
        "dir 755 srv",
        "file 600 srv/data 12345",
        "dir 755 usr",
        "dir 755 usr/lib",
        "link 777 usr/lib/l ->new",
        "file 4755 usr/mode x",
    ];
    let (json, text) = rendered(before, after, [&["curl 1.0", "gone 3"], &["curl 1.1", "musl 1.2"]]);
    // Owners are whoever runs this.
    let owner = json["entries"][0]["before"]["uid"].to_string();
    let group = json["entries"][0]["before"]["gid"].to_string();
    insta::assert_snapshot!(text.replace(&format!("{owner}:{group}"), "ID:ID"));
    assert_eq!((&json["added"], &json["modified"], &json["removed"]), (&2.into(), &3.into(), &1.into()));
    assert_eq!(json["packages"]["added"][0]["name"], "musl");
    assert_eq!(json["entries"][0]["differences"], serde_json::json!(["content"]));
}

#[test]
fn contents_of_the_same_size_are_read() {
    let check = |before: &str, after: &str, expected: &str| {
        let (json, text) = rendered(&[before], &[after], [&[], &[]]);
        assert_eq!(json["entries"].as_array().unwrap().len(), usize::from(!expected.is_empty()), "{text}");
        assert!(text.contains(expected), "{text}");
    };
    check("file 644 a abc ~7", "file 644 a abd ~7", "content 3 B → 3 B");
    check("file 644 a abc ~7", "file 644 a abc ~9", "");
    check("file 644 a abc ~7", "file 600 a abc ~9", "mode 0644 → 0600");
}

/// An archive of an image. Each layer has one file with this content, behind a hole if that is not 0.
fn archived(path: &Path, time: u64, layers: &[(&str, u64, &str)]) {
    let mut out = tar::Builder::new(std::fs::File::create(path).unwrap());
    let mut put = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        out.append_data(&mut header, name, bytes).unwrap();
    };
    let mut diff_ids = Vec::new();
    for (number, (name, hole, content)) in layers.iter().enumerate() {
        let mut header = tar::Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_size(content.len() as u64);
        header.set_mtime(time);
        if *hole > 0 {
            header.set_entry_type(tar::EntryType::GNUSparse);
            let octal = |number: u64| format!("{number:011o}\0").into_bytes().try_into().unwrap();
            let gnu = header.as_gnu_mut().unwrap();
            gnu.sparse[0].offset = octal(*hole);
            gnu.sparse[0].numbytes = octal(content.len() as u64);
            gnu.realsize = octal(hole + content.len() as u64);
        }
        header.set_cksum();
        let mut layer = tar::Builder::new(Vec::new());
        layer.append(&header, content.as_bytes()).unwrap();
        let bytes = layer.into_inner().unwrap();
        diff_ids.push(crate::image::digest::Digest::of(&bytes));
        put(&number.to_string(), &bytes);
    }
    let config = serde_json::json!({
        "os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    put("config.json", config.to_string().as_bytes());
    let names: Vec<String> = (0..layers.len()).map(|number| number.to_string()).collect();
    put("manifest.json", serde_json::json!([{"Config": "config.json", "Layers": names}]).to_string().as_bytes());
    out.into_inner().unwrap();
}

#[test]
fn images_with_large_holes_are_compared() {
    use clap::Parser;
    const HOLE: u64 = 65 << 20;
    let dir = fixture::dir();
    let root = dir.path().join("store").display().to_string();
    let args = super::super::args::Cli::parse_from(["stagedive", "--root", &root]).debug.build;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let check = |old: &[(&str, u64, &str)], new: &[(&str, u64, &str)], expected: &[&str]| {
        let diff = runtime.block_on(async {
            let open = async |name: &str, time, layers| {
                let path = dir.path().join(name);
                archived(&path, time, layers);
                let point = Point::Image(format!("docker-archive:{}", path.display()));
                side::open(point, &args, &mut Vec::new()).await.unwrap()
            };
            let (mut before, mut after) = (open("old.tar", 1, old).await, open("new.tar", 2, new).await);
            side::settle(&mut before, &mut after).await.unwrap();
            // Contents are found all the same.
            let contents = before.contents(&["c".into()].into()).await.unwrap();
            assert_eq!(contents[bstr::BStr::new("c")], b"one");
            let diff = Diff::between(&before.tree, &after.tree, Scope::Changed);
            report::report(&diff, &before, &after, [Default::default(), Default::default()], &Default::default())
        });
        let json = serde_json::to_value(&diff).unwrap();
        let paths: Vec<&str> =
            json["entries"].as_array().unwrap().iter().map(|it| it["path"].as_str().unwrap()).collect();
        assert_eq!(paths, expected);
    };
    check(&[("s", HOLE, "ab"), ("c", 0, "one")], &[("s", HOLE, "ba"), ("c", 0, "one")], &["s"]);
    check(&[("s", HOLE, "\0a"), ("c", 0, "one")], &[("s", HOLE + 1, "a"), ("c", 0, "two")], &["c"]);
}
