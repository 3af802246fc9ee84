use super::super::size::text::Style;
use super::*;
use crate::layers::packages::{Installed, Manager, Package};
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
    let open = async |path: &Path, name: &str| {
        let mut side = side::of_directory(path.to_owned()).await.unwrap();
        side.name = name.to_owned();
        side
    };
    let (mut before, mut after) = (open(old, "old").await, open(new, "new").await);
    side::settle(&mut before, &mut after).await.unwrap();
    let diff = Diff::between(&before.tree, &after.tree, Scope::Changed);
    let patches = patches(&diff, &mut before, &mut after, MOST_TOLD).await.unwrap();
    let package = |line: &&str| {
        let (name, version) = line.split_once(' ').unwrap();
        let (name, version) = (name.to_owned(), version.to_owned());
        Package { manager: Manager::Apk, name, architecture: String::new(), version, size: 2_000_000 }
    };
    let packages = packages.map(|list| Installed { packages: list.iter().map(package).collect(), wrong: Vec::new() });
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

#[test]
fn lines_that_end_otherwise_are_told_apart() {
    let top = fixture::dir();
    let made = |name: &str, content: &str| {
        let path = top.path().join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("f"), content).unwrap();
        path
    };
    let (old, new) = (made("old", "a\r\nb\n"), made("new", "a\nb\n"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (json, text) = runtime.block_on(compared(&old, &new, [&[], &[]]));
    assert!(text.ends_with("@@ -1,2 +1,2 @@\n-a^M\n+a\n b\n"), "{text}");
    assert!(json["entries"][0]["text"].as_str().unwrap().contains("-a\r\n+a\n"));
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_compared() {
    let top = fixture::dir();
    let (old, new) = (top.path().join("old"), top.path().join("new"));
    let same = ["dir 755 d ~1", "dir 755 d/e ~1", "file 644 d/e/x 1 ~1"];
    for (dir, lines) in [
        (&old, ["file 600 a 1 ~1", "file 644 b 12 ~1", "file 644 c 1 ~1"]),
        (&new, ["file 644 a 2 ~2", "file 644 b 1 ~2", "file 644 c 2 ~2"]),
    ] {
        std::fs::create_dir(dir).unwrap();
        build(dir, &[&same[..], &lines].concat());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (told, warnings) = runtime.block_on(async {
        let mut before = side::of_directory(old.clone()).await.unwrap();
        let mut after = side::of_directory(new.clone()).await.unwrap();
        // What is gone can be read by nobody, not even by root.
        ["a", "b"].iter().for_each(|name| std::fs::remove_file(new.join(name)).unwrap());
        side::settle(&mut before, &mut after).await.unwrap();
        let diff = Diff::between(&before.tree, &after.tree, Scope::Changed);
        let patches = patches(&diff, &mut before, &mut after, MOST_TOLD).await.unwrap();
        let report = report::report(&diff, &before, &after, Default::default(), &patches);
        let told =
            report.entries.iter().map(|it| format!("{} {:?} {}", it.path.path, it.differences, it.text.is_some()));
        (told.collect::<Vec<_>>(), report.warnings)
    });
    assert_eq!(told, [r#"a ["mode"] false"#, r#"b ["content"] false"#, r#"c ["content"] true"#]);
    let gone = |name: &str| {
        let why = "No such file or directory (os error 2); its content is not compared";
        format!("{}/{name}: {why}", new.display())
    };
    assert_eq!(warnings, [gone("a"), gone("b")]);
}

#[test]
fn lines_are_told_as_far_as_there_is_room() {
    let top = fixture::dir();
    let made = |name: &str, content: &str| {
        let path = top.path().join(name);
        std::fs::create_dir(&path).unwrap();
        build(
            &path,
            &[&format!("file 644 a {content}"), &format!("file 644 b {content}"), &format!("file 644 c {content}")],
        );
        path
    };
    let (old, new) = (made("old", "one"), made("new", "two"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let check = |most: usize, told: usize, warnings: &[&str]| {
        let report = runtime.block_on(async {
            let mut before = side::of_directory(old.clone()).await.unwrap();
            let mut after = side::of_directory(new.clone()).await.unwrap();
            side::settle(&mut before, &mut after).await.unwrap();
            let diff = Diff::between(&before.tree, &after.tree, Scope::Changed);
            let patches = patches(&diff, &mut before, &mut after, most).await.unwrap();
            report::report(&diff, &before, &after, Default::default(), &patches)
        });
        assert_eq!(report.entries.iter().filter(|entry| entry.text.is_some()).count(), told);
        assert_eq!(report.warnings, warnings);
    };
    check(MOST_TOLD, 3, &[]);
    check(1, 1, &["the lines that differ in 2 more files are left out: there are too many"]);
}

#[test]
fn each_path_counts_in_one_directory() {
    let before =
        &["file 644 top 1", "dir 755 a", "file 644 a/f 12", "dir 755 a/b", "dir 755 a/b/c", "file 644 a/b/c/f 123"];
    let after = &["file 644 top 12345", "dir 700 a", "file 644 a/b 12", "dir 755 x", "dir 755 x/y", "file 644 x/y/z 1"];
    let (json, _) = rendered(before, after, [&[], &[]]);
    let row = |it: &serde_json::Value| {
        let number = |name: &str| it[name].as_u64().unwrap();
        let bytes = format!("+{} -{}", number("added_bytes"), number("removed_bytes"));
        let counts = ["added", "modified", "removed"].map(number);
        (format!("{} {bytes}", it["path"].as_str().unwrap_or("all")), counts)
    };
    let directories: Vec<_> = json["directories"].as_array().unwrap().iter().map(row).collect();
    let expected = [("a +2 -5", [0, 2, 3]), (" +5 -1", [0, 1, 0]), ("x/y +1 -0", [2, 0, 0]), ("x +0 -0", [1, 0, 0])];
    assert_eq!(directories, expected.map(|(path, counts)| (path.to_owned(), counts)));
    assert_eq!(row(&json), ("all +8 -6".to_owned(), [3, 3, 3]));
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
                of_image(format!("docker-archive:{}", path.display()), &args).await.unwrap()
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

#[test]
fn of_databases_that_cannot_be_read_nothing_is_said() {
    use clap::Parser;
    let dir = fixture::dir();
    let root = dir.path().join("store").display().to_string();
    let args = super::super::args::Cli::parse_from(["stagedive", "--root", &root]).debug.build;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let status =
        |names: &[&str]| names.iter().map(|name| format!("Package: {name}\nVersion: 1\n\n")).collect::<String>();
    let check = |old: &str, new: &str, expected: [&[&str]; 2], warnings: usize| {
        let report = runtime.block_on(async {
            let open = async |name: &str, databases: &str| {
                let path = dir.path().join(name);
                archived(&path, 1, &[("var/lib/dpkg/status", 0, &status(&["a"])), (databases, 0, &status(&["b"]))]);
                of_image(format!("docker-archive:{}", path.display()), &args).await.unwrap()
            };
            let (before, after) = (open("old.tar", old).await, open("new.tar", new).await);
            let diff = Diff::between(&before.tree, &after.tree, Scope::Changed);
            let packages = [before.packages().await, after.packages().await];
            report::report(&diff, &before, &after, packages, &Default::default())
        });
        let names = |list: &[Package]| list.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
        assert_eq!([names(&report.packages.added), names(&report.packages.removed)], expected);
        assert_eq!(report.warnings.len(), warnings, "{:?}", report.warnings);
    };
    check("etc/other", "var/lib/dpkg/status.d/b", [&["b"], &[]], 0);
    check("var/lib/dpkg/status.d/b", "var/lib/rpm/Packages", [&[], &["b"]], 1);
    check("etc/other", "var/lib/dpkg/status", [&["b"], &["a"]], 0);
}

#[test]
fn how_it_ends_says_whether_anything_differs() {
    use clap::Parser;
    let dir = fixture::dir();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for (name, content) in [("one", "1"), ("other", "2"), ("damaged", "1")] {
        let path = dir.path().join(name);
        archived(&path, 1, &[("f", 0, content)]);
        if name == "damaged" {
            // The name in the header of the layer's only member.
            let mut bytes = std::fs::read(&path).unwrap();
            assert_eq!(std::mem::replace(&mut bytes[512], b'g'), b'f');
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let check = |sides: [&str; 2], option: &[&str], code: u8, message: &str| {
        let root = dir.path().join("store").display().to_string();
        let sides = sides.map(|name| format!("docker-archive:{}", dir.path().join(name).display()));
        let words =
            ["stagedive", "diff", "--root", &root, &sides[0], &sides[1]].into_iter().chain(option.iter().copied());
        let command = super::super::args::Cli::parse_from(words).command;
        let Some(super::super::args::Command::Diff(args)) = command else { panic!("another command") };
        let (is, said) = match runtime.block_on(run(args)) {
            Ok(()) => (0, String::new()),
            Err(failure) => (failure.code(), failure.to_string()),
        };
        assert_eq!((is, said.as_str()), (code, message), "{sides:?} {option:?}");
    };
    let unknown = "stagedive: nothing is known to differ, but not everything could be compared";
    check(["one", "one"], &["--exit-code"], 0, "");
    check(["one", "other"], &[], 0, "");
    check(["one", "other"], &["--exit-code"], 5, "");
    check(["damaged", "damaged"], &["--exit-code"], 1, unknown);
    check(["damaged", "damaged"], &[], 0, "");
    check(["damaged", "one"], &["--exit-code"], 5, "");
}
