//! OCI layouts: which image of one is meant, and what is wrong with it.

use super::*;

/// A layout made by `make`, asked for by what follows its directory.
fn check(make: impl FnOnce(&mut Store) -> Vec<Descriptor>, asked: &str, expected: &str) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::default();
    let entries = make(&mut store);
    store.write_layout(&dir.path().join("layout"), entries);
    let text = format!("{}{asked}", asked_in(asked, dir.path()));
    let answer = outcome(&text, "linux/amd64", dir.path());
    assert!(answer.starts_with(expected), "{asked}: {answer}");
}

fn asked_in(asked: &str, dir: &Path) -> String {
    let transport = if asked.starts_with('@') { "oci-layout://" } else { "oci:" };
    format!("{transport}{}", dir.join("layout").display())
}

#[test]
fn alone() {
    check(|it| vec![it.image("amd64", "one two")], "", "amd64 [one two]");
    check(|it| vec![it.image("amd64", "")], "", "amd64 []");
    // What was asked for by name is taken, whatever its platform.
    check(|it| vec![it.image("arm64", "one")], "", "arm64 [one]");
    check(|it| vec![named(it.image("amd64", "one"), "v1")], "", "amd64 [one]");
    check(|it| vec![it.image("amd64", "same same")], "", "amd64 [same same]");
    check(|_| vec![], "", "Platform: oci-layout DIR/layout: no image for linux/amd64: it has no image at all");
}

#[test]
fn names() {
    let two = |it: &mut Store| vec![named(it.image("amd64", "one"), "v1"), named(it.image("amd64", "two"), "v2")];
    check(two, ":v1", "amd64 [one]");
    check(two, ":v2", "amd64 [two]");
    check(two, ":@1", "amd64 [two]");
    check(two, ":@2", "Missing: oci-layout DIR/layout: it has no image at position 2; there is v1, v2");
    check(two, ":v3", "Missing: oci-layout DIR/layout: it has no image named \"v3\"; there is v1, v2");
    check(
        two,
        "",
        "Missing: oci-layout DIR/layout: it has several images, and none is named latest: say which; there is v1, v2; say for instance oci:DIR/layout:v1",
    );
    let with_latest =
        |it: &mut Store| vec![named(it.image("amd64", "one"), "v1"), named(it.image("amd64", "two"), "latest")];
    check(with_latest, "", "amd64 [two]");
    let whole = |it: &mut Store| {
        vec![
            named(it.image("amd64", "one"), "docker.io/library/node:8"),
            named(it.image("amd64", "two"), "quay.io/node:9"),
        ]
    };
    check(whole, ":node:8", "amd64 [one]");
    check(whole, ":9", "amd64 [two]");
    check(whole, ":quay.io/node:9", "amd64 [two]");
    check(whole, ":node:9", "Missing");
    let twice = |it: &mut Store| {
        let image = it.image("amd64", "one");
        vec![named(image.clone(), "v1"), named(image, "v2")]
    };
    check(twice, "", "amd64 [one]");
    check(twice, ":v2", "amd64 [one]");
}

#[test]
fn images_that_nothing_tells_apart() {
    let which = "Missing: oci-layout DIR/layout: it has several images that nothing tells apart: say which by its \
                 position, :@0 for the first";
    let unnamed = |it: &mut Store| vec![it.image("amd64", "one"), it.image("amd64", "two")];
    check(unnamed, "", which);
    check(unnamed, ":@1", "amd64 [two]");
    check(|it| vec![it.platform_image("amd64", "one"), it.image("amd64", "two")], "", which);
    check(
        |it| vec![named(it.image("amd64", "one"), "v1"), it.image("amd64", "two")],
        "",
        &format!("{which}; there is v1"),
    );
    let same_name = |it: &mut Store| unnamed(it).into_iter().map(|it| named(it, "v1")).collect();
    check(same_name, ":v1", &format!("{which}; there is v1"));
    // Nothing has to be told apart: another platform's, a signature, and the same image stored in two ways.
    check(|it| vec![it.image("arm64", "one"), it.image("amd64", "two")], "", "amd64 [two]");
    check(|it| vec![it.attestation(), it.image("amd64", "two")], "", "amd64 [two]");
    check(
        |it| {
            let one = it.image("amd64", "one");
            vec![it.index(vec![one.clone()]), one]
        },
        "",
        "amd64 [one]",
    );
}

#[test]
fn digests() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::default();
    let (first, second) = (store.image("amd64", "one"), store.platform_image("arm64", "two"));
    let nested = store.index(vec![second.clone()]);
    store.write_layout(&dir.path().join("layout"), vec![first.clone(), nested]);
    let place = format!("oci-layout://{}", dir.path().join("layout").display());
    let at = |digest: &Digest| outcome(&format!("{place}@{digest}"), "linux/amd64", dir.path());
    assert_eq!(at(&digest_of(&first)), "amd64 [one]");
    assert_eq!(at(&digest_of(&second)), "arm64 [two]");
    assert_eq!(at(&Digest::of(b"")), "Missing: oci-layout DIR/layout: the blob sha256:HEX is not in it");
    let named = outcome(&format!("{place}:ignored@{}", first.digest()), "linux/amd64", dir.path());
    assert_eq!(named, "amd64 [one]");
}

#[test]
fn platforms() {
    let two = |it: &mut Store| vec![it.platform_image("arm64", "a"), it.platform_image("amd64", "b")];
    check(two, "", "amd64 [b]");
    check(
        |it| {
            let inner = two(it);
            vec![it.index(inner)]
        },
        "",
        "amd64 [b]",
    );
    check(
        |it| {
            let inner = two(it);
            let middle = it.index(inner);
            vec![named(it.index(vec![middle]), "v1")]
        },
        ":v1",
        "amd64 [b]",
    );
    check(
        |it| {
            let inner = vec![it.platform_image("arm64", "a"), it.platform_image("s390x", "b")];
            vec![it.index(inner)]
        },
        "",
        "Platform: oci-layout DIR/layout: no image for linux/amd64: it has linux/arm64, linux/s390x; choose one",
    );
    check(
        |it| {
            let inner = vec![it.attestation(), it.platform_image("amd64", "b")];
            vec![it.index(inner)]
        },
        "",
        "amd64 [b]",
    );
    // Without a word about it, the configuration has to be read.
    check(
        |it| {
            let inner = vec![it.image("arm64", "a"), it.image("amd64", "b")];
            vec![it.index(inner)]
        },
        "",
        "amd64 [b]",
    );
    check(
        |it| {
            let deepest = it.image("amd64", "a");
            vec![(0..6).fold(deepest, |inner, _| it.index(vec![inner]))]
        },
        "",
        "Damaged: oci-layout DIR/layout: indexes lie more than 4 deep",
    );
}

#[test]
fn blobs_that_are_not_there() {
    // Archives of one platform often keep the index of all.
    check(
        |it| {
            let (absent, present) = (it.platform_image("amd64", "a"), it.platform_image("amd64", "b"));
            it.blobs.remove(&digest_of(&absent));
            vec![it.index(vec![absent, present])]
        },
        "",
        "amd64 [b]",
    );
    check(
        |it| {
            let absent = it.platform_image("amd64", "a");
            it.blobs.remove(&digest_of(&absent));
            vec![it.index(vec![absent])]
        },
        "",
        "Missing: oci-layout DIR/layout: the blob sha256:HEX is not in it",
    );
    check(
        |it| {
            let image = it.image("amd64", "a");
            it.blobs.retain(|_, bytes| !bytes.starts_with(&[0x1f, 0x8b]));
            vec![image]
        },
        "",
        "Missing: oci-layout DIR/layout: the layer sha256:HEX is not in it",
    );
}

#[test]
fn blobs_in_their_descriptors() {
    use base64::Engine as _;
    check(
        |it| {
            let bytes = gzip(&layer("a"));
            let config = serde_json::to_vec(&config("amd64", &[Digest::of(&layer("a"))])).unwrap();
            let inline = |it: &mut Store, media_type: MediaType, bytes: Vec<u8>| {
                let mut descriptor = it.describe(media_type, bytes.clone());
                descriptor.set_data(Some(base64::engine::general_purpose::STANDARD.encode(&bytes)));
                it.blobs.remove(&Digest::of(&bytes));
                descriptor
            };
            let config = inline(it, MediaType::ImageConfig, config);
            let layers = vec![inline(it, MediaType::ImageLayerGzip, bytes)];
            vec![it.manifest(config, layers)]
        },
        "",
        "amd64 [a]",
    );
}

#[test]
fn configurations_as_go_reads_them() {
    let check = |config: &str| {
        check(
            |it| {
                let digest = Digest::of(&layer("a"));
                let config = config.replace("LAYER", &digest.to_string()).into_bytes();
                let config = it.describe(MediaType::ImageConfig, config);
                let layers = vec![it.describe(MediaType::ImageLayerGzip, gzip(&layer("a")))];
                vec![it.manifest(config, layers)]
            },
            "",
            "amd64 [a]",
        );
    };
    let root = r#""rootfs":{"type":"layers","diff_ids":["LAYER"]}"#;
    check(&format!(r#"{{"architecture":"amd64","os":null,"config":null,"history":null,{root}}}"#));
    check(&format!(r#"{{"architecture":"386","architecture":"amd64","config":{{"User":null,"Env":null}},{root}}}"#));
    let nulls = r#""Env":[null],"Volumes":{"/a":null},"ExposedPorts":{"80/tcp":null},"Labels":{"a":null}"#;
    let health = r#""Healthcheck":{"Test":null,"Interval":null,"Retries":null}"#;
    check(&format!(r#"{{"architecture":"amd64","history":[null],"config":{{{nulls},{health}}},{root}}}"#));
    check(&format!(r#"{{"architecture":"amd64","history":[{{"created_by":null,"comment":null}}],{root}}}"#));
}

#[test]
fn signatures_are_no_images() {
    check(
        |it| {
            let config = it.describe("application/vnd.oci.image.config.v1+json".into(), b"{}".to_vec());
            let layers = vec![it.describe("application/vnd.dev.cosign.simplesigning.v1+json".into(), b"{}".to_vec())];
            let signature = it.manifest(config, layers);
            vec![signature, it.image("amd64", "a")]
        },
        "",
        "amd64 [a]",
    );
}

#[test]
fn damage() {
    let spoil = |it: &mut Store, which: fn(&[u8]) -> bool| {
        let image = it.image("amd64", "a");
        it.blobs.values_mut().filter(|bytes| which(bytes)).for_each(|bytes| *bytes.last_mut().unwrap() ^= 1);
        vec![image]
    };
    check(
        |it| spoil(it, |it| it.starts_with(&[0x1f, 0x8b])),
        "",
        "Damaged: oci-layout DIR/layout: the layer sha256:HEX is damaged",
    );
    check(
        |it| spoil(it, |it| it.starts_with(b"{\"schema")),
        "",
        "Damaged: oci-layout DIR/layout: the blob sha256:HEX is damaged",
    );
    check(
        |it| spoil(it, |it| it.starts_with(b"{\"arch")),
        "",
        "Damaged: oci-layout DIR/layout: the blob sha256:HEX is damaged",
    );
    check(
        |it| {
            let mut image = it.image("amd64", "a");
            image.set_size(1 << 40);
            vec![image]
        },
        "",
        "Damaged: oci-layout DIR/layout: the blob sha256:HEX should be 1099511627776 bytes, too many for a manifest",
    );
    check(
        |it| {
            let config = serde_json::to_vec(&config("amd64", &[])).unwrap();
            let config = it.describe(MediaType::ImageConfig, config);
            let layers = vec![it.describe("".into(), gzip(&layer("a")))];
            vec![it.manifest(config, layers)]
        },
        "",
        "Damaged: oci-layout DIR/layout: its manifest has 1 layers, and its configuration 0",
    );
    check(
        |it| {
            let config = it.describe("application/vnd.example.chart".into(), b"{}".to_vec());
            let layers = vec![it.describe("".into(), b"chart".to_vec())];
            vec![it.manifest(config, layers)]
        },
        "",
        "Damaged: oci-layout DIR/layout is not a container image: its configuration is \"application/vnd.example.chart\"",
    );
    // A signature or an attestation.
    check(
        |it| {
            let config = it.describe(MediaType::ImageConfig, b"{}".to_vec());
            let layers = vec![it.describe("application/vnd.in-toto+json".into(), b"{}".to_vec())];
            vec![it.manifest(config, layers)]
        },
        "",
        "Damaged: oci-layout DIR/layout is not a container image: it holds \"application/vnd.in-toto+json\"",
    );
}

#[test]
fn no_layout() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("oci:{}/missing", dir.path().display());
    assert_eq!(
        outcome(&text, "linux/amd64", dir.path()),
        "Missing: oci-layout DIR/missing: there is no such directory"
    );
    let text = format!("oci:{}", dir.path().display());
    let answer = outcome(&text, "linux/amd64", dir.path());
    assert_eq!(answer, "Damaged: oci-layout DIR: there is no index.json in it, so it is no OCI layout");
    assert!(outcome(&text, "linux", dir.path()).starts_with("Damaged"));
    assert!(outcome(&text, "linux/a/b/c", dir.path()).starts_with("Platform: \"linux/a/b/c\" is not a platform"));
}
