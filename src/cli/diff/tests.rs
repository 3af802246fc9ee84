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
