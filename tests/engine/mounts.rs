//! RUN --mount, and mount points.

use crate::place::{in_every_mode, outcome};
use stagedive::engine::embedded::namespaces::Mode;
use stagedive::engine::embedded::task::{Input, Report, Stack, Task};
use stagedive::plan::{InlineFile, Mount, MountKind, Sharing};
use std::io::{Read, Write};

pub(crate) fn cache(target: &str) -> Mount {
    let kind = MountKind::Cache {
        id: target.into(),
        sharing: Sharing::Shared,
        input: None,
        source: "/".into(),
        mode: 0o755,
        uid: 0,
        gid: 0,
        read_only: false,
    };
    Mount { target: target.into(), kind }
}

fn bind(target: &str, source: &str, writable: bool) -> Mount {
    Mount { target: target.into(), kind: MountKind::Bind { input: 0, source: source.into(), writable } }
}

fn tmpfs(target: &str) -> Mount {
    Mount { target: target.into(), kind: MountKind::Tmpfs { size: None, read_only: false } }
}

fn secret(target: &str, required: bool) -> Mount {
    let kind = MountKind::Secret {
        id: "key".into(),
        file: true,
        env: Some("KEY".into()),
        required,
        mode: 0o440,
        uid: 5,
        gid: 6,
    };
    Mount { target: target.into(), kind }
}

#[tokio::test]
async fn mount_points_that_the_image_lacks_leave_no_trace() {
    in_every_mode(async |place, launcher| {
        std::os::unix::fs::symlink("/run", place.path("base/var-run")).unwrap();
        std::fs::create_dir(place.path("base/run")).unwrap();
        let mut task = place.sh("a", "echo x >/a/b/c/f; cat /var-run/x/secret; ls /run/x");
        let size = Some(1 << 20);
        let memory = Mount { kind: MountKind::Tmpfs { size, read_only: false }, ..tmpfs("/a/b/c") };
        task.run.mounts = vec![memory, secret("/var-run/x/secret", true)];
        task.secrets = vec![("key".into(), b"hush".to_vec())];
        let it = outcome(&launcher, task).await;
        // A link on the way: the directory that it leads to was only touched.
        assert_eq!(it.changes, [""; 0], "{it:?}");
        assert_eq!(it.output(), "hushsecret\n");
    })
    .await;
}

#[tokio::test]
async fn a_mount_point_that_an_earlier_layer_took_away_comes_and_goes() {
    in_every_mode(async |place, launcher| {
        std::fs::create_dir(place.path("base/m")).unwrap();
        let it = outcome(&launcher, place.sh("gone", "rm -r /m")).await;
        assert_eq!(it.changes, ["m"]);
        let mut task = place.sh("a", "touch /m/f; ls /m");
        task.stack.lower.push(place.path("gone/upper"));
        task.run.mounts = vec![tmpfs("/m")];
        let it = outcome(&launcher, task).await;
        assert_eq!((it.stdout.as_str(), &it.changes[..]), ("f\n", &[][..]), "{it:?}");
    })
    .await;
}

#[tokio::test]
async fn a_stage_can_be_mounted() {
    in_every_mode(async |place, launcher| {
        place.write("stage/dir/file", "from the stage");
        place.write("top/dir/other", "");
        let mut task = place.sh("a", "cat /m/file; ls /m; touch /m/new 2>/dev/null || echo read-only; cat /one");
        task.run.mounts = vec![bind("/m", "/dir", false), bind("/one", "dir/file", false)];
        task.inputs = vec![Input::Stack(Stack { lower: vec![place.path("stage"), place.path("top")] })];
        let it = outcome(&launcher, task).await;
        assert_eq!(it.changes, [""; 0]);
        assert_eq!(it.output(), "from the stagefile\nother\nread-only\nfrom the stage");
    })
    .await;
}

#[tokio::test]
async fn what_is_written_to_a_writable_stage_is_lost() {
    in_every_mode(async |place, launcher| {
        place.write("stage/dir/file", "old");
        let mut task = place.sh("a", "echo new >/m/file; cat /m/file; cat /n/file");
        task.run.mounts = vec![bind("/m", "/dir", true), bind("/n", "/dir", true)];
        task.inputs = vec![Input::Stack(Stack { lower: vec![place.path("stage")] })];
        assert_eq!(outcome(&launcher, task).await.output(), "new\nold");
        assert_eq!(std::fs::read_to_string(place.path("stage/dir/file")).unwrap(), "old");
    })
    .await;
}

#[tokio::test]
async fn a_source_that_is_not_there_is_an_error_and_no_way_out() {
    in_every_mode(async |place, launcher| {
        std::fs::create_dir(place.path("stage")).unwrap();
        std::os::unix::fs::symlink("../../../../../../etc/passwd", place.path("stage/out")).unwrap();
        for source in ["/none", "/out", "../../etc/passwd"] {
            let mut task = place.sh("a", "cat /m");
            task.run.mounts = vec![bind("/m", source, false)];
            task.inputs = vec![Input::Stack(Stack { lower: vec![place.path("stage")] })];
            let error = outcome(&launcher, task).await.error();
            assert!(error.input && error.message.contains(source), "{error:?}");
            std::fs::remove_dir_all(place.path("a")).unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_cache_is_kept_and_is_not_in_the_layer() {
    in_every_mode(async |place, launcher| {
        for expected in ["first\n", "again\n"] {
            let mut task =
                place.sh(expected.trim(), "if [ -e /c/f ]; then echo again; else echo first; fi; touch /c/f");
            task.run.mounts = vec![cache("/c")];
            task.caches = vec![place.path("cache")];
            let it = outcome(&launcher, task).await;
            assert_eq!(it.changes, [""; 0]);
            assert_eq!(it.output(), expected);
        }
    })
    .await;
}

#[tokio::test]
async fn a_secret_is_a_file_a_variable_and_nothing_else() {
    in_every_mode(async |place, launcher| {
        let mut task = place.sh("a", "cat /run/secrets/key; echo; echo $KEY; stat -c %a:%u:%g /run/secrets/key");
        task.run.mounts = vec![secret("/run/secrets/key", true)];
        task.secrets = vec![("key".into(), b"hush-hush".to_vec())];
        let it = outcome(&launcher, task).await;
        assert_eq!(it.changes, [""; 0]);
        let owner = if launcher.mode() == Mode::Single { "0:0" } else { "5:6" };
        assert_eq!(it.output(), format!("hush-hush\nhush-hush\n440:{owner}\n"));

        let mut task = place.sh("b", "[ ! -e /run/secrets/key ] && echo none");
        task.run.mounts = vec![secret("/run/secrets/key", false)];
        assert_eq!(outcome(&launcher, task).await.output(), "none\n");

        let mut task = place.sh("c", "true");
        task.run.mounts = vec![secret("/run/secrets/key", true)];
        let error = outcome(&launcher, task).await.error();
        assert!(error.input && error.message.contains("`key`"), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn an_agent_answers_through_a_socket_of_the_sandboxs_own() {
    in_every_mode(async |place, launcher| {
        let listener = std::os::unix::net::UnixListener::bind(place.path("agent")).unwrap();
        let agent = std::thread::spawn(move || {
            // The engine looks whether it is there; then come the connections proper.
            let _ = listener.accept().unwrap();
            let (mut connection, _) = listener.accept().unwrap();
            let mut question = [0; 4];
            connection.read_exact(&mut question).unwrap();
            connection.write_all(&[b"answer to ", &question[..]].concat()).unwrap();
        });
        place.add_file(&std::env::current_exe().unwrap(), "probe");
        let mut task = place.run("a", &["/probe", "--exact", "probe::probe", "--nocapture"]);
        task.run.env.push("PROBE=agent".into());
        task.run.mounts = vec![Mount {
            target: "/run/agent".into(),
            kind: MountKind::Ssh { id: "default".into(), required: true, mode: 0o600, uid: 0, gid: 0 },
        }];
        task.agents = vec![("default".into(), place.path("agent"))];
        let output = outcome(&launcher, task).await.output();
        assert!(output.contains("answer to ping"), "{output}");
        agent.join().unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_file_of_a_heredoc_can_be_run() {
    in_every_mode(async |place, launcher| {
        let mut task = place.run("a", &["/dev/pipes/EOF"]);
        let content = "#!/bin/sh\necho from $0\n".into();
        task.run.files = vec![InlineFile { path: "/dev/pipes/EOF".into(), content, mode: 0o755 }];
        let it = outcome(&launcher, task).await;
        assert_eq!(it.changes, [""; 0]);
        assert_eq!(it.output(), "from /dev/pipes/EOF\n");
    })
    .await;
}

#[tokio::test]
async fn nothing_is_mounted_inside_proc() {
    in_every_mode(async |place, launcher| {
        for (name, target) in [("a", "/proc/self"), ("b", "/link/sys/kernel")] {
            let _ = std::os::unix::fs::symlink("/proc", place.path("base/link"));
            let mut task = place.sh(name, "true");
            task.run.mounts = vec![tmpfs(target)];
            let error = outcome(&launcher, task).await.error();
            assert!(error.input && error.message.contains("inside /proc"), "{error:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_build_context_is_seen_without_what_is_ignored_and_cannot_be_changed() {
    in_every_mode(async |place, launcher| {
        place.write("context/kept/file", "from the context");
        place.write("context/kept/secret", "");
        place.write("context/ignored", "");
        let input = Input::Directory { path: place.path("context"), ignore: Some("ignored\n**/secret\n".into()) };
        let copy = async |path: &str| {
            let upper = place.upper(&format!("copy of {}", path.replace('/', "-")));
            let stack = Stack { lower: vec![upper.dir.clone()] };
            let mut handle = launcher.task(Task::Bind { input: input.clone(), path: path.into(), upper }, Vec::new());
            match handle.next().await {
                Some((Report::Done, _)) => Ok(Input::Stack(stack)),
                Some((Report::Failed(error), _)) => Err(error),
                other => panic!("{other:?}"),
            }
        };
        let script = "ls -a /m /m/kept; cat /f; stat -c %u:%g /f; touch /m/new 2>/dev/null || echo read-only; echo x >/w/kept/file && cat /w/kept/file";
        let mut task = place.sh("a", script);
        task.inputs = vec![copy("/").await.unwrap(), copy("kept/file").await.unwrap()];
        let of = |input: usize, mount: Mount| match mount.kind {
            MountKind::Bind { source, writable, .. } => {
                Mount { kind: MountKind::Bind { input, source, writable }, ..mount }
            }
            _ => mount,
        };
        task.run.mounts = vec![
            bind("/m", "/content", false),
            of(1, bind("/f", "/content", false)),
            bind("/w", "/content", true),
        ];
        let it = outcome(&launcher, task).await;
        assert_eq!(it.changes, [""; 0]);
        let expected = "/m:\n.\n..\nkept\n\n/m/kept:\n.\n..\nfile\nfrom the context0:0\nread-only\nx\n";
        assert_eq!(it.output(), expected);
        assert_eq!(std::fs::read_to_string(place.path("context/kept/file")).unwrap(), "from the context");
        place.cleared("a").await;
        let error = copy("/ignored").await.unwrap_err();
        assert!(error.input && error.message.contains("ignored"), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn a_cache_begins_with_what_it_is_given() {
    in_every_mode(async |place, launcher| {
        place.write("stage/dir/file", "first");
        for (name, expected) in [("a", "first"), ("b", "changed")] {
            let mut task = place.sh(name, "cat /c/file; echo -n changed >/c/file");
            let mut mount = cache("/c");
            if let MountKind::Cache { input, source, .. } = &mut mount.kind {
                (*input, *source) = (Some(0), "/dir".into());
            }
            task.run.mounts = vec![mount];
            task.caches = vec![place.path("cache")];
            task.inputs = vec![Input::Stack(Stack { lower: vec![place.path("stage")] })];
            assert_eq!(outcome(&launcher, task).await.output(), expected);
        }
        assert_eq!(std::fs::read_to_string(place.path("stage/dir/file")).unwrap(), "first");
    })
    .await;
}
