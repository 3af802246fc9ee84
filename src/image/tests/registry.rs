//! Images from a registry: who may have them, what is checked, and what is tried again.

use super::server::{Reply, Request, Server, registry_answer, serve};
use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An image of two layers as `app:v1`, an index as `app:many`.
fn stock() -> (Store, Vec<(&'static str, Descriptor)>) {
    let mut store = Store::default();
    let one = store.image("amd64", "one two");
    let platforms =
        vec![store.attestation(), store.platform_image("arm64", "arm"), store.platform_image("amd64", "amd")];
    let many = store.index(platforms);
    (store, vec![("v1", one), ("many", many)])
}

struct Outcome {
    text: String,
    asked: Vec<Request>,
}

/// What comes of asking a server that `answer`s for `version` (`:TAG` or `@DIGEST`) of `app`; `HOST` is its address.
fn ask(
    docker_config: &str,
    version: &str,
    answer: impl Fn(&str, &Request) -> Reply + Send + Sync + 'static,
) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let Server { address, asked } = serve(answer).await;
        std::fs::create_dir(dir.path().join("docker-config")).unwrap();
        let config = docker_config.replace("HOST", &address);
        std::fs::write(dir.path().join("docker-config/config.json"), config).unwrap();
        let text = format!("docker://{address}/app{version}");
        let surroundings = surroundings(dir.path());
        let look_up = async {
            let opened = source::open_in(&text, "linux/amd64", &surroundings).await?;
            let mut texts = Vec::new();
            // Side by side, as an engine gets them.
            let fetches = (0..opened.layers.len()).map(|index| {
                let (into, blobs) = (dir.path().join(index.to_string()), &opened.blobs);
                async move { blobs.fetch(index, &into, &|_| ()).await.map(|()| into) }
            });
            for into in futures_util::future::join_all(fetches).await {
                texts.push(text_of(&std::fs::read(into?).unwrap()));
            }
            Ok::<_, SourceError>(format!("{} [{}]", opened.config.architecture, texts.join(" ")))
        };
        let text = look_up
            .await
            .unwrap_or_else(|error| format!("{:?}: {}; {}", error.kind, error.message, error.help.join("; ")));
        let text = text.replace(&address, "HOST").replace(&dir.path().display().to_string(), "DIR");
        let text = regex::Regex::new("[0-9a-f]{64}").unwrap().replace_all(&text, "HEX").into_owned();
        let asked = asked.lock().unwrap().clone();
        Outcome { text, asked }
    })
}

fn check(version: &str, answer: impl Fn(&Store, &Request, Reply) -> Reply + Send + Sync + 'static, expected: &str) {
    let (store, tags) = stock();
    let outcome =
        ask("{}", version, move |_, request| answer(&store, request, registry_answer(&store, &tags, request)));
    assert!(outcome.text.starts_with(expected), "{}", outcome.text);
}

fn as_it_is(_: &Store, _: &Request, reply: Reply) -> Reply {
    reply
}

#[test]
fn anonymous() {
    check(":v1", as_it_is, "amd64 [one two]");
    check(":many", as_it_is, "amd64 [amd]");
    let (_, tags) = stock();
    check(&format!("@{}", tags[0].1.digest()), as_it_is, "amd64 [one two]");
    check(&format!(":ignored@{}", tags[1].1.digest()), as_it_is, "amd64 [amd]");
}

#[test]
fn not_there() {
    check(":none", as_it_is, "Missing: HOST/app: the registry has no manifest none: manifest unknown");
    check(&format!("@{}", Digest::of(b"")), as_it_is, "Missing: HOST/app: the registry has no manifest sha256:HEX");
    let no_layer = |store: &Store, request: &Request, reply: Reply| {
        let is_layer =
            store.blobs.iter().any(|(digest, bytes)| request.path.ends_with(digest.hex()) && bytes[0] == 0x1f);
        if is_layer { Reply::new(404, "") } else { reply }
    };
    check(":v1", no_layer, "Missing: HOST/app: the registry has no blob sha256:HEX");
}

#[test]
fn bytes_that_are_not_what_they_should_be() {
    let spoil = |part: &'static str| {
        move |_: &Store, request: &Request, mut reply: Reply| {
            if request.path.contains(part) && reply.status == 200 {
                reply.body.iter_mut().for_each(|byte| *byte ^= 1);
            }
            reply
        }
    };
    check(
        ":v1",
        spoil("/blobs/"),
        "Damaged: HOST/app:v1: the blob sha256:HEX is damaged: its digest should be sha256:HEX, and its bytes have",
    );
    check(":v1", spoil("/manifests/"), "Damaged: HOST/app:v1: the manifest is damaged");
    let (_, tags) = stock();
    check(
        &format!("@{}", tags[0].1.digest()),
        spoil("/manifests/"),
        "Damaged: HOST/app@sha256:HEX: the manifest is damaged",
    );
    let only_layers = |store: &Store, request: &Request, mut reply: Reply| {
        if store.blobs.iter().any(|(digest, bytes)| request.path.ends_with(digest.hex()) && bytes[0] == 0x1f) {
            reply.body.push(0);
        }
        reply
    };
    check(":v1", only_layers, "Damaged: HOST/app:v1: the layer sha256:HEX has more than the");
    let page = |_: &Store, _: &Request, _: Reply| Reply::new(200, "<html>");
    check(":v1", page, "Damaged: HOST/app:v1: it is not a manifest");
    let endless = |_: &Store, _: &Request, _: Reply| Reply::new(200, vec![b' '; 9 << 20]);
    check(
        ":v1",
        endless,
        "Unreachable: HOST/app: the registry's answer to the request for manifest v1 cannot be used: it has more than \
         8388608 bytes",
    );
}

#[test]
fn platforms_there_are() {
    let mut store = Store::default();
    let only = vec![store.platform_image("arm64", "a"), store.attestation()];
    let index = store.index(only);
    let outcome = ask("{}", ":many", move |_, request| registry_answer(&store, &[("many", index.clone())], request));
    assert!(
        outcome.text.starts_with("Platform: HOST/app:many: no image for linux/amd64: it has linux/arm64; choose one"),
        "{}",
        outcome.text
    );
}

/// Fails the first requests for something.
fn flaky(
    part: &'static str,
    failures: usize,
    fail: impl Fn(Reply) -> Reply,
) -> impl Fn(&Store, &Request, Reply) -> Reply {
    let count = AtomicUsize::new(0);
    move |_, request, reply| {
        let fails = request.path.contains(part) && count.fetch_add(1, Ordering::Relaxed) < failures;
        if fails { fail(reply) } else { reply }
    }
}

#[test]
fn tried_again() {
    check(":v1", flaky("/blobs/", 2, |_| Reply::new(503, "")), "amd64 [one two]");
    check(":v1", flaky("/blobs/", 1, |_| Reply::new(429, "").with("retry-after", "0")), "amd64 [one two]");
    for part in ["/manifests/", "/blobs/"] {
        check(":many", flaky(part, 2, |reply| reply.cut(10)), "amd64 [amd]");
    }
}

/// What becomes of a layer of which `answer` gives what it likes to the request with a number, from 0 on; and the parts
/// that were asked for.
fn check_parts(answer: impl Fn(usize, &Request, Reply) -> Reply + Send + Sync + 'static, expected: &str) {
    let (store, tags) = stock();
    let count = AtomicUsize::new(0);
    let is_layer = |store: &Store, request: &Request| {
        let found = store.blobs.iter().find(|(digest, _)| request.path.ends_with(digest.hex()));
        found.is_some_and(|(_, bytes)| bytes[0] == 0x1f)
    };
    let outcome = ask("{}", ":many", {
        let store = store.clone();
        move |_, request| match registry_answer(&store, &tags, request) {
            reply if is_layer(&store, request) => answer(count.fetch_add(1, Ordering::Relaxed), request, reply),
            reply => reply,
        }
    });
    let asked = outcome.asked.iter().filter(|request| is_layer(&store, request));
    let asked: Vec<&str> = asked.map(|request| request.range.as_deref().unwrap_or("all")).collect();
    let text = outcome.text.replace(&format!("{} bytes", gzip(&layer("amd")).len()), "SIZE bytes");
    assert_eq!(format!("{} {text}", asked.join(" ")), expected);
}

#[test]
fn what_has_come_of_a_layer_is_not_asked_for_again() {
    check_parts(|_, request, reply| reply.part(request).cut(40), "all bytes=40- bytes=80- amd64 [amd]");
    // A proxy that does not say how long things are.
    let unframed = |_, request: &Request, reply: Reply| Reply { is_framed: false, ..reply.part(request).cut(40) };
    check_parts(unframed, "all bytes=40- bytes=80- amd64 [amd]");
}

#[test]
fn registries_without_ranges() {
    check_parts(|count, _, reply| if count < 2 { reply.cut(60) } else { reply }, "all bytes=60- bytes=60- amd64 [amd]");
    let first_is_cut = |answer: fn(&Request, Reply) -> Reply| {
        move |count, request: &Request, reply: Reply| match (count, &request.range) {
            (0, _) => reply.cut(60),
            (_, Some(_)) => answer(request, reply),
            _ => reply,
        }
    };
    for status in [400, 416, 501] {
        let refused = move |count, request: &Request, reply: Reply| match (count, &request.range) {
            (0, _) => reply.cut(60),
            (_, Some(_)) => Reply::new(status, ""),
            _ => reply,
        };
        check_parts(refused, "all bytes=60- all amd64 [amd]");
    }
    // Other parts than those that were asked for.
    check_parts(first_is_cut(|_, reply| Reply { status: 206, ..reply }), "all bytes=60- all amd64 [amd]");
    let earlier = first_is_cut(|_, reply| Reply { status: 206, ..reply }.with("content-range", "bytes 0-1/2"));
    check_parts(earlier, "all bytes=60- amd64 [amd]");
    let later = first_is_cut(|_, reply| Reply { status: 206, ..reply }.with("content-range", "bytes 61-62/63"));
    check_parts(later, "all bytes=60- all amd64 [amd]");
    // A part that has nothing new in it.
    let nothing = first_is_cut(|_, reply| {
        Reply { status: 206, body: reply.body[..60].to_vec(), ..reply }.with("content-range", "bytes 0-59/60")
    });
    check_parts(nothing, "all bytes=60- all amd64 [amd]");
    // Parts of something else.
    let other = first_is_cut(|request, mut reply| {
        reply.body.iter_mut().for_each(|byte| *byte ^= 1);
        reply.part(request)
    });
    check_parts(other, "all bytes=60- all amd64 [amd]");
}

#[test]
fn a_layer_that_cannot_be_had_whole() {
    check_parts(
        |count, _, reply| if count == 0 { reply.cut(60) } else { Reply::new(404, "") },
        "all bytes=60- Missing: HOST/app:many: the layer sha256:HEX: after 60 bytes: HOST/app: the registry has no blob \
         sha256:HEX; ",
    );
    check_parts(
        |_, _, reply| Reply { body: reply.body[..60].to_vec(), ..reply },
        "all Damaged: HOST/app:many: the layer sha256:HEX ends after 60 of the SIZE bytes that its manifest says; ",
    );
}

#[test]
fn not_tried_for_ever() {
    let always = |_: &Store, request: &Request, reply: Reply| {
        if request.path.contains("/manifests/") {
            Reply::new(500, r#"{"errors":[{"code":"UNKNOWN","message":"disk\u001b[31m full"}]}"#)
                .with("retry-after", "0")
        } else {
            reply
        }
    };
    check(
        ":v1",
        always,
        "Unreachable: HOST/app: the registry answered 500 Internal Server Error to the request for manifest v1: disk[31m full",
    );
}

#[test]
fn a_long_pause_is_not_waited_for() {
    let count = AtomicUsize::new(0);
    let busy = move |_: &Store, request: &Request, reply: Reply| {
        let first = request.path.contains("/manifests/") && count.fetch_add(1, Ordering::Relaxed) == 0;
        if first { Reply::new(429, "").with("retry-after", "3600") } else { reply }
    };
    check(
        ":v1",
        busy,
        "Unreachable: HOST/app: the registry does not give out manifest v1 now: it wants fewer requests from here; wait, \
         or log in: docker login; it is to be asked again in 3600 s",
    );
}

#[test]
fn nobody_listens() {
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let answer = outcome(&format!("127.0.0.1:{port}/app"), "linux/amd64", dir.path());
    let expected =
        format!("Unreachable: 127.0.0.1:{port}/app: no answer from the registry to the request for manifest latest: ");
    assert!(answer.starts_with(&expected), "{answer}");
}

const BASIC: &str = "Basic bWU6c2VjcmV0";

fn basic_answer(_: &str, request: &Request) -> Reply {
    let (store, tags) = stock();
    match request.authorization.as_deref() {
        Some(BASIC) => registry_answer(&store, &tags, request),
        _ => Reply::new(401, r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#)
            .with("www-authenticate", "Basic realm=\"here\""),
    }
}

const AUTH: &str = r#"{"auths":{"HOST":{"auth":"bWU6c2VjcmV0"}}}"#;

#[test]
fn basic_auth() {
    assert_eq!(ask(AUTH, ":v1", basic_answer).text, "amd64 [one two]");
    let refused = "Denied: HOST/app: the registry does not give out manifest v1, or there is no such image: \
        authentication required; check the name, or log in: docker login HOST";
    assert_eq!(ask("{}", ":v1", basic_answer).text, refused);
    assert_eq!(ask(r#"{"auths":{"HOST":{"auth":"bWU6d3Jvbmc="}}}"#, ":v1", basic_answer).text, refused);
    let broken = ask(r#"{"auths":{"HOST":{"auth":"%"}}}"#, ":v1", basic_answer).text;
    assert!(
        broken.contains(
            "; credentials could not be had: DIR/docker-config/config.json: the entry for HOST is not base64;"
        ),
        "{broken}"
    );
}

/// Tokens are given to those with the right password, one after the other, each good for three requests.
fn bearer_answer() -> impl Fn(&str, &Request) -> Reply {
    let given = AtomicUsize::new(0);
    let used = AtomicUsize::new(0);
    move |address, request| {
        if request.path.starts_with("/token") {
            let form = String::from_utf8_lossy(&request.body).into_owned();
            let wanted = "scope=repository%3Aapp%3Apull";
            let identified =
                form.contains("refresh_token=long+lived") && form.contains(wanted) && request.method == "POST";
            let known = request.authorization.as_deref() == Some(BASIC) && request.path.contains(wanted);
            if !(identified || known) || !(request.path.contains("service=here") || form.contains("service=here")) {
                return Reply::new(401, r#"{"details":"incorrect username or password"}"#);
            }
            used.store(0, Ordering::Relaxed);
            let token = given.fetch_add(1, Ordering::Relaxed) + 1;
            return Reply::new(200, format!(r#"{{"token":"t{token}","expires_in":60}}"#));
        }
        let (store, tags) = stock();
        let token = format!("Bearer t{}", given.load(Ordering::Relaxed));
        if request.authorization.as_ref() == Some(&token) && used.fetch_add(1, Ordering::Relaxed) < 3 {
            return registry_answer(&store, &tags, request);
        }
        Reply::new(401, "")
            .with("www-authenticate", format!("Bearer realm=\"http://{address}/token\",service=\"here\""))
    }
}

#[test]
fn bearer_tokens() {
    assert_eq!(ask(AUTH, ":v1", bearer_answer()).text, "amd64 [one two]");
    let identity = r#"{"auths":{"HOST":{"identitytoken":"long lived"}}}"#;
    assert_eq!(ask(identity, ":v1", bearer_answer()).text, "amd64 [one two]");
    let refused = ask("{}", ":v1", bearer_answer()).text;
    assert_eq!(
        refused,
        "Denied: HOST/app: the registry does not give out a token, or there is no such image: incorrect username or password; \
         check the name, or log in: docker login HOST"
    );
}

#[test]
fn a_token_is_asked_for_again() {
    for fail in [|_: Reply| Reply::new(503, ""), |reply: Reply| reply.cut(5)] {
        let (right, count) = (bearer_answer(), AtomicUsize::new(0));
        let answer = move |address: &str, request: &Request| match right(address, request) {
            reply if request.path.starts_with("/token") && count.fetch_add(1, Ordering::Relaxed) == 0 => fail(reply),
            reply => reply,
        };
        assert_eq!(ask(AUTH, ":v1", answer).text, "amd64 [one two]");
    }
}

#[test]
fn tokens_that_are_none() {
    let with = |realm: &'static str, token: &'static str| {
        move |address: &str, request: &Request| {
            let realm = realm.replace("HOST", address);
            if request.path.starts_with("/token") {
                return Reply::new(200, token);
            }
            Reply::new(401, "").with("www-authenticate", format!("Bearer realm=\"{realm}\""))
        }
    };
    let check = |realm, token, expected: &str| {
        let text = ask(AUTH, ":v1", with(realm, token)).text;
        assert!(text.starts_with(expected), "{text}");
    };
    check("http://HOST/token", "{}", "Unreachable: HOST/app: what should be a token for it is none");
    check(
        "http://HOST/token",
        r#"{"token":"a\r\nx: y"}"#,
        "Unreachable: HOST/app: what should be a token for it is none",
    );
    check("http://HOST/token", "<html>", "Unreachable: HOST/app: what should be a token for it is not JSON");
    check(
        "ftp://HOST/token",
        "",
        "Unreachable: HOST/app: the registry sends us for a token to \"ftp://HOST/token\", which is not encrypted",
    );
    check("nowhere", "", "Unreachable: HOST/app: the registry sends us for a token to \"nowhere\"");
}

#[test]
fn credentials_do_not_follow_to_another_host() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let elsewhere = serve(|_, request| {
            let (store, tags) = stock();
            registry_answer(&store, &tags, request)
        })
        .await;
        let other = elsewhere.address.clone();
        let registry = serve(move |address, request| match basic_answer(address, request) {
            reply if reply.status == 200 && request.path.contains("/blobs/") => {
                Reply::new(307, "").with("location", format!("http://{other}{}", request.path))
            }
            reply => reply,
        })
        .await;
        std::fs::create_dir(dir.path().join("docker-config")).unwrap();
        std::fs::write(dir.path().join("docker-config/config.json"), AUTH.replace("HOST", &registry.address)).unwrap();
        let text = format!("{}/app:v1", registry.address);
        let opened = source::open_in(&text, "linux/amd64", &surroundings(dir.path())).await.unwrap();
        opened.blobs.fetch(0, &dir.path().join("layer"), &|_| ()).await.unwrap();
        let asked = elsewhere.asked.lock().unwrap();
        assert_eq!(asked.iter().map(|it| it.authorization.clone()).collect::<Vec<_>>(), [None, None]);
    });
}

#[test]
fn another_host_does_not_say_where_credentials_go() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let elsewhere = serve(|address, request| match request.path.starts_with("/token") {
            true => Reply::new(200, r#"{"token":"t"}"#),
            false => Reply::new(401, "").with("www-authenticate", format!("Bearer realm=\"http://{address}/token\"")),
        })
        .await;
        let other = elsewhere.address.clone();
        let registry = serve(move |_, request| match request.path.contains("/manifests/") {
            true => Reply::new(307, "").with("location", format!("http://{other}{}", request.path)),
            false => Reply::new(200, ""),
        })
        .await;
        std::fs::create_dir(dir.path().join("docker-config")).unwrap();
        std::fs::write(dir.path().join("docker-config/config.json"), AUTH.replace("HOST", &registry.address)).unwrap();
        let text = format!("{}/app:v1", registry.address);
        let refused = source::open_in(&text, "linux/amd64", &surroundings(dir.path())).await.err().unwrap();
        assert_eq!(refused.kind, source::SourceErrorKind::Denied, "{refused}");
        let asked = elsewhere.asked.lock().unwrap();
        let asked: Vec<_> = asked.iter().map(|it| (it.path.as_str(), it.authorization.as_deref())).collect();
        assert_eq!(asked, [("/v2/app/manifests/v1", None)]);
    });
}

#[test]
fn who_does_not_answer_is_named() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let expected = |what: &str| {
        let host = format!("127.0.0.1:{port}, where the registry sends us,");
        format!("Unreachable: HOST/app: no answer from {host} to the request for {what}: ")
    };
    let on = |part: &'static str| {
        move |_: &Store, request: &Request, reply: Reply| match request.path.contains(part) {
            true => Reply::new(307, "").with("location", format!("http://127.0.0.1:{port}/")),
            false => reply,
        }
    };
    check(":v1", on("/manifests/"), &expected("manifest v1"));
    check(":v1", on("/blobs/"), &expected("blob sha256:HEX"));
    let realm = format!("Bearer realm=\"http://127.0.0.1:{port}/\"");
    let refused = move |_: &Store, _: &Request, _: Reply| Reply::new(401, "").with("www-authenticate", realm.clone());
    check(":v1", refused, &expected("a token"));
}

#[test]
fn sent_on() {
    let to = |location: &'static str| {
        move |_: &Store, request: &Request, reply: Reply| match request.path.ends_with("/v1") {
            true => Reply::new(302, "").with("location", location),
            false => reply,
        }
    };
    let (_, tags) = stock();
    let digest = tags[0].1.digest().to_string();
    check(":v1", to(format!("./{digest}").leak()), "amd64 [one two]");
    check(
        ":v1",
        to("/v2/app/manifests/v1"),
        "Unreachable: HOST/app: no answer from the registry to the request for manifest v1: it sends us on 10 times",
    );
    for location in ["file:///etc/passwd", "ftp://localhost/", "http://"] {
        check(
            ":v1",
            to(location),
            "Unreachable: HOST/app: the registry answered 302 Found to the request for manifest v1",
        );
    }
}

#[test]
fn a_token_for_tokens_is_not_sent_on() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let elsewhere = serve(|_, _| Reply::new(200, r#"{"token":"t"}"#)).await;
        let other = elsewhere.address.clone();
        let registry = serve(move |address, request| match request.path.starts_with("/token") {
            true => Reply::new(307, "").with("location", format!("http://{other}/token")),
            false => Reply::new(401, "").with("www-authenticate", format!("Bearer realm=\"http://{address}/token\"")),
        })
        .await;
        std::fs::create_dir(dir.path().join("docker-config")).unwrap();
        let config = format!(r#"{{"auths":{{"{}":{{"identitytoken":"long lived"}}}}}}"#, registry.address);
        std::fs::write(dir.path().join("docker-config/config.json"), config).unwrap();
        let text = format!("{}/app:v1", registry.address);
        let refused = source::open_in(&text, "linux/amd64", &surroundings(dir.path())).await.err().unwrap();
        assert!(refused.message.ends_with("307 Temporary Redirect to the request for a token"), "{refused}");
        assert_eq!(elsewhere.asked.lock().unwrap().len(), 0);
    });
}

#[test]
fn a_manifest_is_asked_for_once() {
    let (store, tags) = stock();
    let outcome = ask("{}", ":v1", move |_, request| registry_answer(&store, &tags, request));
    let of = |part: &str| outcome.asked.iter().filter(|it| it.path.contains(part)).count();
    assert_eq!((of("/manifests/"), of("/blobs/")), (1, 3));
}
