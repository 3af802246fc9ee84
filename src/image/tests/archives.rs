//! Archives of images: the forms that programs have written over the years, and what was written here.

use super::*;
use proptest::prelude::*;

enum Entry {
    File(&'static str, Vec<u8>),
    Link(&'static str, &'static str),
    HardLink(&'static str, &'static str),
}

fn archive(entries: Vec<Entry>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(0);
        match entry {
            Entry::File(name, bytes) => {
                header.set_size(bytes.len() as u64);
                builder.append_data(&mut header, name, bytes.as_slice()).unwrap();
            }
            Entry::Link(name, target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                builder.append_link(&mut header, name, target).unwrap();
            }
            Entry::HardLink(name, target) => {
                header.set_entry_type(tar::EntryType::Link);
                builder.append_link(&mut header, name, target).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

fn check_bytes(bytes: &[u8], transport: &str, asked: &str, expected: &str) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("image.tar");
    std::fs::write(&file, bytes).unwrap();
    let answer = outcome(&format!("{transport}:{}{asked}", file.display()), "linux/amd64", dir.path());
    assert!(answer.starts_with(expected), "{asked}: {answer}");
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, ["image.tar"], "something is left");
}

fn check(entries: Vec<Entry>, asked: &str, expected: &str) {
    check_bytes(&archive(entries), "docker-archive", asked, expected);
}

/// `docker save` before version 25: a directory for each layer; of two equal ones, one is a link.
fn old_save(manifest: &str) -> Vec<Entry> {
    let (one, two) = (layer("one"), layer("two"));
    let bytes = serde_json::to_vec(&config("amd64", &[Digest::of(&one), Digest::of(&two), Digest::of(&one)])).unwrap();
    vec![
        Entry::File("config.json", bytes),
        Entry::File("aaa/layer.tar", one),
        Entry::File("aaa/VERSION", b"1.0".to_vec()),
        Entry::File("bbb/layer.tar", two),
        Entry::Link("ccc/layer.tar", "../aaa/layer.tar"),
        Entry::HardLink("ddd/layer.tar", "aaa/layer.tar"),
        Entry::Link("loop/layer.tar", "layer.tar"),
        Entry::Link("out/layer.tar", "../../../../etc/hostname"),
        Entry::File("manifest.json", manifest.as_bytes().to_vec()),
    ]
}

fn manifest_of(layers: &str) -> String {
    let layers: Vec<String> = layers.split_whitespace().map(|it| format!("\"{it}/layer.tar\"")).collect();
    format!(r#"[{{"Config":"config.json","RepoTags":["node:8","node:latest"],"Layers":[{}]}}]"#, layers.join(","))
}

#[test]
fn saved_before_version_25() {
    let check = |layers: &str, asked: &str, expected: &str| check(old_save(&manifest_of(layers)), asked, expected);
    check("aaa bbb ccc", "", "amd64 [one two one]");
    check("aaa bbb ddd", "", "amd64 [one two one]");
    check("aaa bbb ./ccc", ":node:8", "amd64 [one two one]");
    check("aaa bbb ccc", ":docker.io/library/node", "amd64 [one two one]");
    check("aaa bbb ccc", ":8", "amd64 [one two one]");
    check("aaa bbb ccc", ":@0", "amd64 [one two one]");
    check(
        "aaa bbb ccc",
        ":node:9",
        "Missing: docker-archive DIR/image.tar: it has no image named \"node:9\"; there is node:8, node:latest",
    );
    check("aaa bbb bbb", "", "Damaged: docker-archive DIR/image.tar: the layer sha256:HEX is damaged");
    check("aaa bbb", "", "Damaged: docker-archive DIR/image.tar: its manifest has 2 layers, and its configuration 3");
    check("aaa bbb xxx", "", "Missing: docker-archive DIR/image.tar: the layer sha256:HEX is not in it");
    check("aaa bbb loop", "", "Missing");
    check("aaa bbb out", "", "Missing");
    check("aaa bbb ../..", "", "Missing");
}

/// Before version 1.10: each layer names the one below it, and nothing else says what an image is made of.
fn oldest_save(repositories: Option<&str>, bottom: &str) -> Vec<Entry> {
    let json = |id: &str, parent: &str| {
        let made = format!(r#""container_config":{{"Cmd":["/bin/sh","-c","make {id}"]}},"config":null"#);
        format!(r#"{{"id":"{id}","parent":"{parent}","architecture":"amd64",{made}}}"#).into_bytes()
    };
    let mut entries = vec![
        Entry::File("aaa/json", json("aaa", bottom)),
        Entry::File("aaa/layer.tar", layer("one")),
        Entry::File("bbb/json", json("bbb", "aaa")),
        Entry::File("bbb/layer.tar", layer("two")),
        Entry::File("ccc/json", json("ccc", "aaa")),
        Entry::File("ccc/layer.tar", gzip(&layer("three"))),
    ];
    entries.extend(repositories.map(|text| Entry::File("repositories", text.as_bytes().to_vec())));
    entries
}

#[test]
fn saved_before_version_1_10() {
    let check = |repositories: Option<&str>, asked: &str, expected: &str| {
        check(oldest_save(repositories, ""), asked, expected);
    };
    let both = r#"{"node":{"8":"bbb","9":"ccc"}}"#;
    check(Some(both), ":node:8", "amd64 [one two]");
    check(Some(both), ":9", "amd64 [one three]");
    check(Some(both), "", "Missing: docker-archive DIR/image.tar: it has several images: say which; there is node:8");
    check(Some(both), ":7", "Missing: docker-archive DIR/image.tar: it has no image named \"7\"");
    check(Some(r#"{"node":{"8":"bbb","latest":"bbb"}}"#), "", "amd64 [one two]");
    check(None, ":@1", "amd64 [one three]");
    check(None, "", "Missing: docker-archive DIR/image.tar: it has several images, and no names");
    check(Some(r#"{"node":{"8":"ddd"}}"#), "", "Missing: docker-archive DIR/image.tar: ddd/json is not in it");
    let circle = oldest_save(Some(both), "bbb");
    self::check(circle, ":8", "Damaged: docker-archive DIR/image.tar: the layers below");
}

#[test]
fn an_archive_that_ends_too_early_is_read_as_far_as_it_goes() {
    let mut entries = old_save(&manifest_of("aaa bbb ccc"));
    let manifest = entries.pop().unwrap();
    entries.insert(0, manifest);
    let whole = archive(entries);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("image.tar");
    let starts = |at: &usize| whole[*at..].starts_with(b"bbb/layer.tar");
    let header = (0..whole.len()).step_by(512).find(starts).unwrap();
    std::fs::write(&file, &whole[..header + 512 + 300]).unwrap();
    let opened = open(&format!("docker-archive:{}", file.display()), "linux/amd64", dir.path()).unwrap();
    let place = |layer: usize| opened.blobs.place(layer);
    assert!(place(0).unwrap().is_some());
    assert_eq!(place(1).unwrap().unwrap().size, 300);
    let missing = place(2).unwrap_err().message;
    assert!(missing.contains("is not in it: the archive ends in the middle of bbb/layer.tar, at byte "), "{missing}");
    let fetched = fetched(&opened, dir.path()).unwrap_err().message;
    assert!(fetched.contains("bbb/layer.tar cannot be read: the archive ends in the middle"), "{fetched}");
}

#[test]
fn a_compressed_archive_that_ends_too_early_is_read_as_far_as_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("image.tar.gz");
    // Layers that do not get smaller, behind what names them.
    let mut entries = old_save(&manifest_of("aaa bbb aaa"));
    let named = entries.pop().unwrap();
    entries.insert(0, named);
    let noise = (0u32..2000).flat_map(|it| it.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    entries.insert(3, Entry::File("noise", noise));
    let packed = gzip(&archive(entries));
    std::fs::write(&file, &packed[..packed.len() / 2]).unwrap();
    let opened = open(&format!("docker-archive:{}", file.display()), "linux/amd64", dir.path()).unwrap();
    assert!(opened.blobs.place(0).unwrap().is_some());
    let missing = opened.blobs.place(1).unwrap_err().message;
    assert!(missing.contains("is not in it: it cannot be decompressed beyond byte "), "{missing}");
}

#[test]
fn several_images() {
    let several = r#"[{"Config":"config.json","RepoTags":["a:1"],"Layers":["aaa/layer.tar","bbb/layer.tar","ccc/layer.tar"]},
        {"Config":"missing.json","RepoTags":null,"Layers":[]}]"#;
    check(
        old_save(several),
        "",
        "Missing: docker-archive DIR/image.tar: it has several images: say which; there is a:1; say for instance docker-archive:DIR/image.tar:a:1",
    );
    check(old_save(several), ":a:1", "amd64 [one two one]");
    check(old_save(several), ":@1", "Missing: docker-archive DIR/image.tar: \"missing.json\" is not in it");
    let unnamed = r#"[{"Config":"config.json"},{"Config":"config.json"}]"#;
    let which = "it has several images, and no names for them: say which by its position, :@0 for the first";
    check(old_save(unnamed), "", &format!("Missing: docker-archive DIR/image.tar: {which}"));
    check(old_save("[]"), "", "Missing: docker-archive DIR/image.tar: it has no image");
    check(old_save("{"), "", "Damaged: docker-archive DIR/image.tar: its manifest.json cannot be read");
}

#[test]
fn names_that_are_digests_are_held_to() {
    let bytes = serde_json::to_vec(&config("amd64", &[])).unwrap();
    let wrong = format!("{}.json", Digest::of(b"other").hex()).leak();
    let manifest = format!(r#"[{{"Config":"{wrong}","RepoTags":null,"Layers":null}}]"#);
    let entries = vec![Entry::File(wrong, bytes), Entry::File("manifest.json", manifest.into_bytes())];
    check(entries, "", "Damaged: docker-archive DIR/image.tar: the configuration \"HEX.json\" is damaged");
}

#[test]
fn compressed_as_a_whole() {
    let plain = archive(old_save(&manifest_of("aaa bbb ccc")));
    check_bytes(&gzip(&plain), "docker-archive", "", "amd64 [one two one]");
    check_bytes(&zstd::encode_all(plain.as_slice(), 1).unwrap(), "docker-archive", "", "amd64 [one two one]");
    let behind = [&gzip(&plain)[..], b"and more"].concat();
    check_bytes(&behind, "docker-archive", "", "amd64 [one two one]");
    let garbled = |keep: usize| [&gzip(&plain)[..keep], &[0xff; 100]].concat();
    check_bytes(&garbled(10), "docker-archive", "", "Damaged: DIR/image.tar cannot be decompressed");
    let beyond = "Damaged: DIR/image.tar cannot be read as an archive: it cannot be decompressed beyond byte ";
    check_bytes(&garbled(30), "docker-archive", "", beyond);
}

#[test]
fn what_is_no_archive_of_an_image() {
    let plain = archive(old_save(&manifest_of("aaa bbb ccc")));
    let without = |why: &str| {
        format!(
            "Damaged: docker-archive DIR/image.tar: there is neither a manifest.json nor an index.json in it, and {why}"
        )
    };
    let middle = without("the archive ends in the middle of aaa/layer.tar, at byte 2000");
    check_bytes(&plain[..2000], "docker-archive", "", &middle);
    // Between two members.
    let at = plain.windows(12).position(|it| it == b"aaa/VERSION\0").unwrap();
    let no_end = without(&format!("the archive has no end at byte {at}, as if it were cut off there"));
    check_bytes(&plain[..at], "docker-archive", "", &no_end);
    let ends = format!("the archive ends in the middle of a header, at byte {}", at + 100);
    check_bytes(&plain[..at + 100], "docker-archive", "", &without(&ends));
    let mut damaged = plain.clone();
    damaged[at] = b'A';
    check_bytes(&damaged, "docker-archive", "", &without(&format!("the header at byte {at} is damaged")));
    check_bytes(
        b"",
        "docker-archive",
        "",
        "Damaged: DIR/image.tar cannot be read as an archive: there is nothing in it",
    );
    check_bytes(&[b'x'; 3000], "docker-archive", "", "Damaged: DIR/image.tar cannot be read as an archive");
    check_bytes(
        &layer("x"),
        "oci-archive",
        "",
        "Damaged: oci-archive DIR/image.tar: there is neither a manifest.json nor an index.json",
    );
    let name: &'static str = "long/".repeat(1 << 18).leak();
    check(
        vec![Entry::File("first", Vec::new()), Entry::File(name, Vec::new())],
        "",
        "Damaged: docker-archive DIR/image.tar: there is neither a manifest.json nor an index.json in it, and the \
         header at byte 512 cannot be read: it has a name or attributes of more than 1048576 bytes",
    );
    let dir = tempfile::tempdir().unwrap();
    let text = format!("oci-archive:{}/missing", dir.path().display());
    assert_eq!(outcome(&text, "linux/amd64", dir.path()), "Missing: there is no file DIR/missing");
    let text = format!("oci-archive:{}", dir.path().display());
    assert_eq!(outcome(&text, "linux/amd64", dir.path()), "Missing: DIR is not a file");
}

#[derive(Debug, Clone, Copy)]
enum Form {
    OciArchive,
    DockerArchive,
    OciLayout,
}

fn write(image: &ImageToWrite, form: Form, dest: &Path) -> export::Exported {
    match form {
        Form::OciArchive => export::oci_archive(image, dest),
        Form::DockerArchive => export::docker_archive(image, dest),
        Form::OciLayout => export::oci_layout(image, dest),
    }
    .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// What is written is what is read, and the same image gives the same bytes.
    #[test]
    fn written_and_read(
        layers in proptest::collection::vec((prop_oneof!["[a-c]{1,2}", "[a-z]{600}"], 0..3), 0..4),
        form in prop_oneof![Just(Form::OciArchive), Just(Form::DockerArchive), Just(Form::OciLayout)],
        transport in prop_oneof![Just("oci-archive"), Just("docker-archive")],
        tags in proptest::sample::subsequence(vec!["app", "quay.io/a/b:v1", "app:v2"], 0..=3),
        env in proptest::collection::vec("[A-Z]{1,3}=\\PC{0,8}", 0..3),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let blobs: Vec<(Vec<u8>, Vec<u8>)> = layers.iter().map(|(text, compression)| {
            let plain = layer(text);
            let blob = match compression { 0 => plain.clone(), 1 => gzip(&plain), _ => zstd::encode_all(plain.as_slice(), 1).unwrap() };
            (plain, blob)
        }).collect();
        let mut image = to_write(dir.path(), &blobs, &tags);
        image.config.config.env = env;
        let dest = dir.path().join("out");
        let exported = write(&image, form, &dest);
        let transport = if matches!(form, Form::OciLayout) { "oci" } else { transport };
        let mut asked = vec![format!("{transport}:{}", dest.display())];
        asked.extend(tags.iter().map(|tag| format!("{transport}:{}:{tag}", dest.display())));
        for text in asked {
            let opened = open(&text, "linux/amd64", dir.path()).unwrap();
            let mut expected = image.config.clone();
            expected.rootfs.diff_ids = blobs.iter().map(|(plain, _)| Digest::of(plain)).collect();
            prop_assert_eq!(&opened.config, &expected);
            prop_assert_eq!(Digest::of(&opened.config_bytes), exported.image.clone());
            let both: Vec<Vec<u8>> = blobs.iter().map(|(_, blob)| blob.clone()).collect();
            prop_assert_eq!(fetched(&opened, dir.path()).unwrap(), both);
            if opened.manifest.is_some() {
                prop_assert_eq!(&opened.manifest, &exported.manifest);
            }
        }
        prop_assert_eq!(export::digests(&image).unwrap(), exported);
        if !matches!(form, Form::OciLayout) {
            let again = dir.path().join("again");
            write(&image, form, &again);
            prop_assert!(std::fs::read(&dest).unwrap() == std::fs::read(&again).unwrap(), "other bytes");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever happens to an archive, what is read of it is what was written, or it is refused.
    #[test]
    fn damage_is_found_or_does_no_harm(
        form in prop_oneof![Just(Form::OciArchive), Just(Form::DockerArchive)],
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        keep in prop_oneof![Just(None), any::<proptest::sample::Index>().prop_map(Some)],
    ) {
        let dir = tempfile::tempdir().unwrap();
        let blobs = [(layer("one"), gzip(&layer("one"))), (layer("two"), layer("two"))];
        let written = dir.path().join("written.tar");
        let exported = write(&to_write(dir.path(), &blobs, &["app"]), form, &written);
        let mut bytes = std::fs::read(&written).unwrap();
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(keep) = keep {
            bytes.truncate(keep.index(bytes.len()));
        }
        let spoilt = dir.path().join("spoilt.tar");
        std::fs::write(&spoilt, bytes).unwrap();
        for transport in ["oci-archive", "docker-archive"] {
            let opened = open(&format!("{transport}:{}", spoilt.display()), "linux/amd64", dir.path());
            let layers = opened.and_then(|opened| Ok((Digest::of(&opened.config_bytes), fetched(&opened, dir.path())?)));
            if let Ok((config, layers)) = layers {
                prop_assert_eq!(&config, &exported.image);
                prop_assert!(layers == [blobs[0].1.clone(), blobs[1].1.clone()], "other layers");
            }
        }
    }
}

#[test]
fn a_layout_keeps_its_other_images() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let write = |text: &str, tag: &str| {
        let blobs = [(layer(text), layer(text))];
        export::oci_layout(&to_write(dir.path(), &blobs, &[tag]), &out).unwrap();
    };
    write("one", "app:v1");
    write("two", "app:v2");
    write("three", "app:v1");
    let at = |tag: &str| outcome(&format!("oci:{}:{tag}", out.display()), "linux/amd64", dir.path());
    assert_eq!((at("v1").as_str(), at("v2").as_str()), ("amd64 [three]", "amd64 [two]"));
}

#[test]
fn an_image_without_a_name_is_the_latest_of_a_layout() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let write = |text: &str| {
        let blobs = [(layer(text), layer(text))];
        export::oci_layout(&to_write(dir.path(), &blobs, &[]), &out).unwrap();
    };
    let at = |name: &str| outcome(&format!("oci:{}{name}", out.display()), "linux/amd64", dir.path());
    // As others leave it behind.
    write("none");
    let index = std::fs::read_to_string(out.join("index.json")).unwrap().replace("org.opencontainers", "org.example");
    std::fs::write(out.join("index.json"), index).unwrap();
    write("one");
    assert_eq!((at("").as_str(), at(":latest").as_str()), ("amd64 [one]", "amd64 [one]"));
    write("two");
    assert_eq!((at("").as_str(), at(":latest").as_str()), ("amd64 [two]", "amd64 [two]"));
    // The same of an archive whose index was put into a layout.
    let archived = serde_json::json!({"schemaVersion": 2, "manifests": [
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": Digest::of(b"x").to_string(), "size": 1}
    ]});
    export::list_as_archived(&out, archived.to_string().as_bytes()).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("index.json")).unwrap()).unwrap();
    let names: Vec<_> = index["manifests"].as_array().unwrap().iter().map(|it| &it["annotations"]).collect();
    assert_eq!(names[1]["org.opencontainers.image.ref.name"], "latest");
    assert_eq!((names.len(), names[0].get("org.opencontainers.image.ref.name")), (2, None));
}

#[test]
fn several_write_into_a_layout_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let image = |tag: &str| to_write(dir.path(), &[(layer("one"), layer("one"))], &[tag]);
    let tags: Vec<String> = (0..8).map(|number| format!("app:v{number}")).collect();
    let images: Vec<ImageToWrite> = tags.iter().map(|tag| image(tag)).collect();
    std::thread::scope(|scope| {
        for image in &images {
            scope.spawn(|| export::oci_layout(image, &out).unwrap());
        }
    });
    for tag in tags {
        assert_eq!(outcome(&format!("oci:{}:{tag}", out.display()), "linux/amd64", dir.path()), "amd64 [one]");
    }
}

#[test]
fn a_layer_that_changed_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = [(layer("one"), layer("one"))];
    let image = to_write(dir.path(), &blobs, &[]);
    for content in [layer("two"), b"short".to_vec(), [layer("one"), vec![0]].concat()] {
        std::fs::write(&image.layers[0].path, content).unwrap();
        let dest = dir.path().join("out.tar");
        let error = export::docker_archive(&image, &dest).unwrap_err();
        assert!(matches!(error, export::ExportError::Changed { .. }), "{error}");
        assert!(!dest.exists());
    }
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 1, "temporary files are left");
}

#[test]
fn where_it_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let image = to_write(dir.path(), &[], &[]);
    std::fs::write(dir.path().join("file"), "").unwrap();
    let error = export::oci_archive(&image, &dir.path().join("file/out.tar")).unwrap_err();
    assert!(error.to_string().starts_with("cannot write"), "{error}");
    let mut image = image;
    image.tags = vec!["Not:A:Name".to_owned()];
    let error = export::oci_archive(&image, &dir.path().join("out.tar")).unwrap_err();
    assert!(error.to_string().starts_with("the tag \"Not:A:Name\" is not an image reference"), "{error}");
    image.tags = vec![format!("app@{}", Digest::of(b""))];
    let error = export::oci_archive(&image, &dir.path().join("out.tar")).unwrap_err();
    assert!(matches!(error, export::ExportError::TagWithDigest(_)), "{error}");
}
