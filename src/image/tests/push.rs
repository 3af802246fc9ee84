//! An image pushed to a registry is the image pulled from it.

use super::server::{Reply, Request, registry_answer, serve};
use super::*;
use crate::image::push::push;
use std::sync::Mutex;

const BASIC: &str = "Basic bWU6c2VjcmV0";

/// A registry that takes what it is given; `refuse` may answer instead.
fn taking(refuse: impl Fn(&Request) -> Option<Reply> + Send + Sync) -> impl Fn(&str, &Request) -> Reply + Send + Sync {
    let kept: Mutex<(Store, Vec<(&'static str, Descriptor)>)> = Mutex::default();
    move |_, request| {
        if let Some(reply) = refuse(request) {
            return reply;
        }
        if request.authorization.as_deref() != Some(BASIC) {
            return Reply::new(401, "").with("www-authenticate", "Basic realm=x");
        }
        let (store, tags) = &mut *kept.lock().unwrap();
        match request.method.as_str() {
            "POST" => Reply::new(202, "").with("location", "/upload/1?state=x"),
            "PUT" if request.path.starts_with("/upload/1?state=x&digest=sha256%3A") => {
                let digest = store.add(request.body.clone());
                Reply::new(if request.path.ends_with(digest.hex()) { 201 } else { 400 }, "")
            }
            "PUT" => {
                let digest = store.add(request.body.clone());
                let descriptor = descriptor(MediaType::ImageManifest, &digest, request.body.len() as u64);
                tags.push(("v1", descriptor));
                Reply::new(if request.path == "/v2/app/manifests/v1" { 201 } else { 400 }, "")
            }
            "HEAD" => Reply { body: Vec::new(), ..registry_answer(store, tags, request) },
            _ => registry_answer(store, tags, request),
        }
    }
}

fn check(refuse: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static, expected: &str) {
    let dir = tempfile::tempdir().unwrap();
    let blobs =
        [(layer("one"), gzip(&layer("one"))), (layer("two"), layer("two")), (layer("one"), gzip(&layer("one")))];
    let image = to_write(dir.path(), &blobs, &[]);
    let answer = block_on(async {
        let server = serve(taking(refuse)).await;
        std::fs::create_dir(dir.path().join("docker-config")).unwrap();
        let config = format!(r#"{{"auths":{{"{}":{{"auth":"bWU6c2VjcmV0"}}}}}}"#, server.address);
        std::fs::write(dir.path().join("docker-config/config.json"), config).unwrap();
        let text = format!("{}/app:v1", server.address);
        let surroundings = surroundings(dir.path());
        let last = Mutex::new((0, 1));
        let progress = |done, all| *last.lock().unwrap() = (done, all);
        let pushed = push(&image, &text.parse().unwrap(), &surroundings, &progress).await;
        let pushed = pushed.map_err(|error| error.message.replace(&server.address, "HOST"))?;
        let (done, all) = *last.lock().unwrap();
        assert_eq!(done, all);
        let opened = source::open_in(&text, "linux/amd64", &surroundings).await.unwrap();
        assert_eq!(opened.manifest, pushed.manifest);
        assert_eq!(Digest::of(&opened.config_bytes), pushed.image);
        let uploads = server.asked.lock().unwrap().iter().filter(|it| it.path.starts_with("/upload/")).count();
        Ok::<_, String>(format!("{} layers, {uploads} uploads", opened.layers.len()))
    });
    let answer = answer.unwrap_or_else(|message| message);
    assert!(answer.starts_with(expected), "{answer}");
}

#[test]
fn pushed_and_pulled() {
    // Two layers of three are the same, and the configuration is a blob too.
    check(|_| None, "3 layers, 3 uploads");
}

#[test]
fn refused() {
    let refuse = |request: &Request| {
        (request.method == "POST").then(|| Reply::new(403, r#"{"errors":[{"message":"read only"}]}"#))
    };
    check(refuse, "HOST/app: the registry does not give out room for the blob sha256:");
    let nowhere = |request: &Request| (request.method == "POST").then(|| Reply::new(202, ""));
    check(nowhere, "HOST/app: the registry does not say where a blob should go");
}

#[test]
fn begun_again() {
    let failures = Mutex::new(2);
    let broken = move |request: &Request| {
        let mut left = failures.lock().unwrap();
        let fails = request.path.starts_with("/upload/") && *left > 0;
        *left -= i32::from(fails);
        fails.then(|| Reply::new(500, ""))
    };
    check(broken, "3 layers, 5 uploads");
}
