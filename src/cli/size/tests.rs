//! Reports of images made here.

use super::gate::{Gate, Limits};
use super::report::{Files, report};
use super::stages::Stage;
use super::text::{Style, render};
use super::{junit, markdown};
use crate::image::config::{History, ImageConfig};
use crate::image::digest::Digest;
use crate::image::inventory::Inventory;
use crate::layers::{Account, ContentHash, Entry, Kind, Layer, Meta};
use std::sync::Arc;

/// An entry as a line: `PATH SIZE [CONTENT]` for a file, `-PATH` for a whiteout, `PATH = TARGET` for a hard link,
/// `PATH -> TARGET` for a symbolic one, `!PATH` for an opaque directory. A file with an owner has it behind an `@`.
fn entry(line: &str) -> Entry {
    if let Some(path) = line.strip_prefix('-') {
        return Entry::Whiteout { path: path.into() };
    }
    if let Some(path) = line.strip_prefix('!') {
        return Entry::Opaque { path: path.into() };
    }
    if let Some((path, target)) = line.split_once(" = ") {
        return Entry::Link { path: path.into(), target: target.into(), own: None };
    }
    if let Some((path, target)) = line.split_once(" -> ") {
        let meta = Meta { target: target.into(), ..Meta::new(Kind::Symlink) };
        return Entry::Put { path: path.into(), meta, opaque: false };
    }
    let (line, uid) = line.split_once('@').unwrap_or((line, "0"));
    let words: Vec<&str> = line.split(' ').collect();
    let content = words.get(2).map(|it| ContentHash(it.parse().unwrap()));
    let meta = Meta { size: words[1].parse().unwrap(), uid: uid.parse().unwrap(), content, ..Meta::new(Kind::File) };
    Entry::Put { path: words[0].into(), meta, opaque: false }
}

/// Layers by their instructions.
pub(in crate::cli) fn inventory(layers: &[(&str, &[&str])]) -> Inventory {
    let entry_of = |(created_by, _): &(&str, _)| History { created_by: created_by.to_string(), ..History::default() };
    let mut config = ImageConfig {
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
        history: layers.iter().map(entry_of).collect(),
        ..ImageConfig::default()
    };
    config.rootfs.diff_ids = (0..layers.len()).map(|number| Digest::of(&[number as u8])).collect();
    let layers =
        layers.iter().map(|(_, lines)| Arc::new(Layer { entries: lines.iter().map(|line| entry(line)).collect() }));
    Inventory::of_layers("example:1", "made here", config, &layers.collect::<Vec<_>>())
}

const IMAGE: &[(&str, &[&str])] = &[
    ("/bin/sh -c #(nop) ADD file:1 in / ", &["bin/sh 800000 1", "etc/passwd 1200 2", "lib/libc.so 2000000 3"]),
    (
        "RUN /bin/sh -c apt-get update &&\n apt-get install -y make # buildkit",
        &["var/lib/apt/lists/index 40000000 4", "usr/bin/make 300000 5", "usr/share/make = usr/bin/make"],
    ),
    ("COPY . /app # buildkit", &["app/server 12000000 6", "app/copy 12000000 6", "app/\u{1b}[31mred 5 7"]),
    ("RUN /bin/sh -c chown -R app /app # buildkit", &["app/server 12000000 6@1", "app/copy 12000000 6@1"]),
    ("RUN /bin/sh -c rm -rf /var/lib/apt/lists/* # buildkit", &["-var/lib/apt/lists/index"]),
    ("RUN /bin/sh -c make install # buildkit", &["etc/passwd 1300 8"]),
];

#[test]
fn the_report_to_read() {
    let inventory = inventory(IMAGE);
    let account = Account::of(&inventory.tree);
    let report = report(&inventory, None, None, &account, Files::Listed);
    let text = render(&report, Style { columns: 80, colours: false });
    assert!(text.lines().all(|line| crate::tui::text::width(line) <= 80), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn the_report_for_programs() {
    let inventory = inventory(IMAGE);
    let account = Account::of(&inventory.tree);
    let report = report(&inventory, None, None, &account, Files::Listed);
    let json = serde_json::to_value(&report).unwrap();
    let number = |name: &str| json[name].as_u64().unwrap_or_else(|| panic!("{name} is no number"));
    assert_eq!(number("schema"), 1);
    let whole = number("live_bytes") + number("dead_bytes");
    assert_eq!((number("total_bytes"), whole), (91_102_505, 91_102_505));
    let parts = ["overwritten_bytes", "deleted_bytes", "metadata_bytes"].map(number);
    assert_eq!(parts, [1200, 40_000_000, 24_000_000]);
    assert_eq!(number("duplicate_bytes"), 12_000_000);
    let layers = json["layers"].as_array().unwrap();
    for (index, layer) in layers.iter().enumerate() {
        assert_eq!(layer["index"], index);
        assert_eq!(layer["created_by"], IMAGE[index].0);
        assert_eq!(layer["diff_id"], Digest::of(&[index as u8]).to_string());
        for name in ["bytes", "compressed_bytes", "entries", "added", "modified", "removed", "dead_bytes"] {
            assert!(layer[name].is_u64(), "{name}");
        }
    }
    let sum = |name: &str| layers.iter().map(|layer| layer[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum("bytes"), number("total_bytes"));
    assert_eq!((sum("dead_bytes"), sum("killed_bytes")), (number("dead_bytes"), number("dead_bytes")));
    let files = json["files"].as_array().unwrap();
    assert_eq!(files.iter().map(|file| file["bytes"].as_u64().unwrap()).sum::<u64>(), number("total_bytes"));
    assert_eq!(
        (&files[0]["path"], &files[0]["state"], &files[0]["killed_by"]),
        (&"var/lib/apt/lists/index".into(), &"deleted".into(), &4.into())
    );
}

#[test]
fn the_gate_to_read_and_for_ci() {
    let inventory = inventory(IMAGE);
    let account = Account::of(&inventory.tree);
    let mut report = report(&inventory, None, None, &account, Files::Counted);
    let limits = "max-total = \"100 MB\"\nmax-waste-share = 5\nmax-file = \"10 MB\"\nforbid = [\"lists/\", \"*red\"]";
    let gate = Gate::new(Limits::parse(limits).unwrap()).unwrap().unwrap();
    report.gate = Some(gate.check(&report, &inventory.tree, &account));
    let text = render(&report, Style { columns: 80, colours: false });
    let verdict = &text[text.find("The gate").unwrap()..];
    assert!(verdict.lines().all(|line| crate::tui::text::width(line) <= 80), "{verdict}");
    let stage = |name: &str, built_bytes: u64, shipped_bytes: u64| Stage {
        index: 0,
        name: name.to_owned(),
        built_bytes,
        base_bytes: 0,
        shipped_bytes,
        instructions: Vec::new(),
    };
    report.stages = Some(vec![stage("build|er", 70_000_000, 12_000_000), stage("1", 15_101_305, 15_101_305)]);
    insta::assert_snapshot!("gate-text", verdict);
    insta::assert_snapshot!("gate-junit", junit::render(&report));
    insta::assert_snapshot!("gate-markdown", markdown::render(&report));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["gate"]["passed"], false);
    assert_eq!(json["gate"]["rules"][0]["rule"], "max-total");
}

#[test]
fn names_that_are_no_text_are_told_in_full() {
    let path = super::report::Path::new(bstr::BStr::new(b"a/\xff"));
    assert_eq!(serde_json::to_value(&path).unwrap(), serde_json::json!({"path": "a/\u{fffd}", "path_base64": "YS//"}));
    let path = super::report::Path::new("a/b".into());
    assert_eq!(serde_json::to_value(&path).unwrap(), serde_json::json!({"path": "a/b"}));
}

#[test]
fn nothing_at_all_is_an_image_too() {
    let inventory = inventory(&[]);
    let account = Account::of(&inventory.tree);
    let report = report(&inventory, None, None, &account, Files::Counted);
    assert_eq!((report.total_bytes, report.dive_score), (0, 1.0));
    assert!(render(&report, Style { columns: 80, colours: false }).contains("There are no layers."));
}
