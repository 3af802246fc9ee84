//! A daemon's images, by its socket.

use super::server::{Reply, Request, serve_socket};
use super::*;
use crate::image::base::Candidate;
use crate::image::daemon;
use crate::image::docker_client::DockerClient;

/// With a daemon that has `app:v1`.
fn with_daemon<T>(dir: &Path, work: impl AsyncFnOnce(&Surroundings) -> T) -> T {
    let blobs = [(layer("one"), gzip(&layer("one")))];
    let archive = dir.join("saved.tar");
    export::docker_archive(&to_write(dir, &blobs, &["app:v1"]), &archive).unwrap();
    let saved = std::fs::read(archive).unwrap();
    let answer = move |request: &Request| match request.path.as_str() {
        "/images/get?names=app%3Av1" => Reply::new(200, saved.clone()),
        "/images/json" => Reply::new(
            200,
            r#"[{"Id":"sha256:1","RepoTags":["base:1"]},{"Id":"sha256:2","RepoTags":null},{"Id":"gone","RepoTags":["gone:1"]}]"#,
        ),
        "/images/sha256:1/json" => {
            let layer = Digest::of(&layer("one"));
            Reply::new(
                200,
                format!(r#"{{"RootFS":{{"Type":"layers","Layers":["{layer}"]}},"RepoDigests":["base@{layer}"]}}"#),
            )
        }
        "/images/app:v1/json" | "/images/cut/json" => {
            Reply::new(200, format!(r#"{{"Id":"1","Size":{}}}"#, saved.len()))
        }
        "/images/get?names=cut" => Reply { cut: Some(1000), ..Reply::new(200, saved.clone()) },
        "/images/load?quiet=1" if request.body == saved => {
            Reply::new(200, "{\"stream\":\"Loaded image: app:v1\\n\"}\n")
        }
        "/images/load?quiet=1" => Reply::new(200, r#"{"errorDetail":{"message":"bad"},"error":"bad\u001b[31m"}"#),
        _ => Reply::new(404, r#"{"message":"No such image"}"#),
    };
    let socket = dir.join("socket");
    let host = format!("unix://{}", socket.display());
    block_on(async {
        serve_socket(&socket, answer);
        work(&Surroundings { docker: DockerClient { host: Some(host), ..Default::default() }, ..surroundings(dir) })
            .await
    })
}

fn check(image: &str, expected: &str) {
    let dir = tempfile::tempdir().unwrap();
    let answer = with_daemon(dir.path(), async |surroundings| {
        let opened = source::open_in(&format!("docker-daemon:{image}"), "linux/amd64", surroundings).await?;
        let into = dir.path().join("fetched");
        opened.blobs.fetch(0, &into, &|_| ()).await?;
        Ok::<_, SourceError>(text_of(&std::fs::read(into).unwrap()))
    });
    let answer = answer.unwrap_or_else(|error| format!("{:?}: {}", error.kind, error.message));
    let answer = answer.replace(&dir.path().display().to_string(), "DIR");
    assert!(answer.starts_with(expected), "{answer}");
    let left = std::fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = left.filter(|name| name.starts_with("daemon-")).collect();
    assert_eq!(left, Vec::<String>::new(), "temporary files are left");
}

#[test]
fn taken() {
    check("app:v1", "one");
    check("app:v2", "Missing: unix://DIR/socket: the daemon refuses the image app:v2: No such image");
    check("cut", "Unreachable: cut from unix://DIR/socket: the connection broke after");
}

#[test]
fn listed() {
    let dir = tempfile::tempdir().unwrap();
    let images = with_daemon(dir.path(), async |surroundings| daemon::images(surroundings).await).unwrap();
    let one = Digest::of(&layer("one"));
    let expected = Candidate { name: "base:1".to_owned(), digest: Some(one.clone()), layers: vec![one] };
    assert_eq!(images, [expected]);
}

#[test]
fn given() {
    let dir = tempfile::tempdir().unwrap();
    let (good, bad, missing) = with_daemon(dir.path(), async |surroundings| {
        let other = dir.path().join("other.tar");
        std::fs::write(&other, "x").unwrap();
        let good = daemon::load(&dir.path().join("saved.tar"), surroundings).await;
        let missing = daemon::load(&dir.path().join("missing.tar"), surroundings).await;
        (good, daemon::load(&other, surroundings).await, missing)
    });
    assert_eq!(good.unwrap(), "Loaded image: app:v1");
    let message = bad.unwrap_err().message;
    assert!(message.ends_with("the image was not loaded: bad [31m"), "{message}");
    assert_eq!(missing.unwrap_err().kind, source::SourceErrorKind::Io);
}

#[test]
fn no_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let host = Some(format!("unix://{}/none", dir.path().display()));
    let docker = DockerClient { host, ..Default::default() };
    let surroundings = Surroundings { docker, ..surroundings(dir.path()) };
    let error = block_on(source::open_in("docker-daemon:app", "linux/amd64", &surroundings)).err().unwrap();
    assert_eq!(error.kind, source::SourceErrorKind::Unreachable);
    assert!(error.message.contains("no answer from a daemon"), "{error}");
}
