use super::super::size::tests::inventory;
use super::super::size::text::Style;
use super::*;
use crate::layers::{Kind, Meta, differences};

const IMAGE: &[(&str, &[&str])] = &[
    ("/bin/sh -c #(nop) ADD file:1 in / ", &["bin/sh 800000 1", "etc/passwd 1200 2", "etc/old 9 3"]),
    ("COPY . /app # buildkit", &["app/server 12000000 6", "app/\u{1b}[31mred 5 7"]),
    ("RUN /bin/sh -c chown -R app /app # buildkit", &["app/server 12000000 6@1"]),
    (
        "RUN /bin/sh -c make install &&\n rm /etc/old # buildkit",
        &["etc/passwd 1300 8", "-etc/old", "app/server 700 9@1"],
    ),
];

fn rendered(path: &str) -> String {
    let inventory = inventory(IMAGE);
    let path = find(&inventory, path.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let report = report::report(&inventory, None, None, None, path.as_ref());
    let text = text::render(&report, Style { columns: 80, colours: false });
    assert!(text.lines().all(|line| crate::tui::text::width(line) <= 80), "{text}");
    assert!(!text.contains('\u{1b}'));
    text
}

#[test]
fn what_is_told_of_a_file() {
    insta::assert_snapshot!("file", rendered("/app/server"));
    insta::assert_snapshot!("gone", rendered("etc/old"));
}

#[test]
fn what_is_told_of_a_directory() {
    insta::assert_snapshot!("directory", rendered("app"));
    insta::assert_snapshot!("root", rendered("/"));
}

#[test]
fn who_empties_a_directory_is_told() {
    let image = inventory(&[("a", &["d/x 5 1"]), ("b", &["!d", "d/y 1 2"]), ("c", &["-d", "d/z 2 3"])]);
    let report = report::report(&image, None, None, None, "d".into());
    let text = text::render(&report, Style { columns: 80, colours: false });
    let (touches, _) = text.split_once("\n\nThe last").unwrap();
    let expected = "M #1  b\n    emptied of what lower layers have in it (opaque)\nM #2  c\n    /d is deleted; written again, the same";
    assert!(touches.ends_with(expected), "{text}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(
        json["touches"].as_array().unwrap().iter().map(|it| it["emptied"] == true).collect::<Vec<_>>(),
        [false, true, false]
    );
}

#[test]
fn links_lead_to_what_is_there() {
    let merged = ["bin -> usr/bin", "usr/bin/sh 6 3", "usr/bin/old 1 4"];
    let image = inventory(&[("a", &["bin/sh 5 1", "bin/only 1 2"]), ("b", &merged), ("c", &["-usr/bin/old"])]);
    let check = |path: &str, expected: &str| assert_eq!(find(&image, path.as_bytes()).unwrap(), expected, "{path}");
    check("/bin/sh", "usr/bin/sh");
    check("bin/old", "usr/bin/old");
    check("bin/only", "bin/only");
    check("/bin", "bin");
    check("/bin/", "usr/bin");
    check("/", "");
    check("usr/../bin/./sh", "usr/bin/sh");
}

#[test]
fn what_is_not_there_is_told_with_what_is_near() {
    let check = |path: &str, expected: &str| {
        let error = find(&inventory(IMAGE), path.as_bytes()).expect_err(path).to_string();
        assert!(error.contains(expected), "{error}");
    };
    check("/app/sever", "no layer of example:1 has or had /app/sever");
    check("/app/sever", "help: there is /app/server");
    check("/ap/server", "help: there is /app");
    check("/x/y/z", "has or had /x/y/z");
}

#[test]
fn json_has_what_the_schema_says() {
    let inventory = inventory(IMAGE);
    let report = report::report(&inventory, None, None, None, "app/server".into());
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((&json["schema"], &json["path"]), (&1.into(), &"app/server".into()));
    let touches = json["touches"].as_array().unwrap();
    let word = |at: usize, name: &str| touches[at][name].as_str().unwrap().to_owned();
    assert_eq!([0, 1, 2].map(|at| word(at, "change")), ["added", "modified", "modified"]);
    assert_eq!(touches[1]["differences"], serde_json::json!(["owner"]));
    assert_eq!(touches[2]["differences"], serde_json::json!(["content"]));
    assert_eq!(touches[0]["layer"]["index"], 1);
    assert_eq!(touches[0]["layer"]["instruction"], "COPY . /app");
    assert_eq!(touches[1]["before"]["uid"], 0);
    assert!(json.get("entries").is_none() && json.get("chain").is_none());
}

#[test]
fn the_base_is_known_by_its_layers_or_as_the_image_names_it() {
    let mut inventory = inventory(IMAGE);
    let shown = |inventory: &Inventory, known: Option<(String, usize)>| {
        let known = known.map(|(name, layers)| crate::image::base::Base { name, layers });
        let base = report::base(inventory, known);
        let report = report::report(inventory, None, base, None, "etc/passwd".into());
        let bases: Vec<Option<String>> = report.touches.iter().map(|touch| touch.layer.base.clone()).collect();
        (report.base.map(|base| (base.name, base.layers)), bases)
    };
    let name = |name: &str| Some(name.to_owned());
    assert_eq!(shown(&inventory, None), (None, vec![None, None]));
    let known = Some(("debian:12".to_owned(), 1));
    assert_eq!(
        shown(&inventory, known.clone()),
        (Some(("debian:12".to_owned(), Some(1))), vec![name("debian:12"), None])
    );
    let key = "org.opencontainers.image.base.name".to_owned();
    inventory.annotations.insert(key, "other:1".to_owned());
    assert_eq!(shown(&inventory, None), (Some(("other:1".to_owned(), None)), vec![None, None]));
    assert_eq!(shown(&inventory, known).1, vec![name("debian:12"), None]);
}

#[test]
fn attributes_that_differ_are_told_with_their_values() {
    let state = |xattrs: &[(&str, &[u8])]| {
        let xattrs = xattrs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        report::state((&Meta { xattrs, ..Meta::new(Kind::File) }).into())
    };
    let check = |before: &[(&str, &[u8])], after: &[(&str, &[u8])], expected: &str| {
        assert_eq!(text::differences(&["xattrs"], &state(before), &state(after)), [expected]);
    };
    check(&[("user.a", b"1")], &[("user.a", b"2")], "xattrs user.a=1 → 2");
    check(&[("user.a", b"1")], &[("user.b", b"1")], "xattrs -user.a, +user.b=1");
    check(&[("user.a", b"1"), ("user.c", b"x\0\xff")], &[("user.a", b"1")], "xattrs -user.c");
    check(&[], &[("security.capability", &[1, 0, 0x80])], "xattrs +security.capability=0x010080");
}

#[test]
fn what_something_was_and_is_is_told_once() {
    let file = Meta { size: 5, mode: 0o644, ..Meta::new(Kind::File) };
    let device = |minor| Meta { device: (1, minor), mode: 0o666, ..Meta::new(Kind::CharDevice) };
    let check = |before: &Meta, after: &Meta, expected: &str| {
        let names = report::differences(differences(before.into(), after.into()));
        assert_eq!(text::differences(&names, &report::state(before.into()), &report::state(after.into())), [expected]);
    };
    check(&device(3), &device(5), "device 1:3 → 1:5");
    check(&file, &device(5), "5 B, 0644, 0:0 → character device 1:5, 0666, 0:0");
    check(&file, &Meta { uid: 1, ..file.clone() }, "owner 0:0 → 1:0");
}
