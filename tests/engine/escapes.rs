//! The known ways out of a container, tried on this engine. Each test says what it would see if the way were open. That
//! a size in a tar's PAX header counts (CVE-2025-62518) is tested where archives are read.

use crate::mounts::cache;
use crate::place::{Place, in_every_mode, outcome};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use stagedive::engine::embedded::launcher::Launcher;
use stagedive::engine::embedded::namespaces::Mode;
use stagedive::engine::embedded::task::{Compression, CopyTask, Input, Report, Stack, Task};
use stagedive::plan::{Copy, CopySource, Mount, MountKind};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn tmpfs(target: &str) -> Mount {
    Mount { target: target.into(), kind: MountKind::Tmpfs { size: None, read_only: false } }
}

/// COPY of one path to another.
fn copy(place: &Place, name: &str, input: Input, source: &str, dest: &str) -> Task {
    let copy = Copy {
        add: false,
        sources: vec![CopySource::Path(source.into())],
        dest: dest.into(),
        chown: None,
        chmod: None,
        link: false,
        parents: false,
        exclude: Vec::new(),
        unpack: None,
        checksum: None,
        keep_git_dir: false,
    };
    let stack = Stack { lower: vec![place.path("base")] };
    let upper = place.upper(name);
    Task::Copy(Box::new(CopyTask { stack, upper, copy, input: Some(input), fetched: Vec::new() }))
}

/// Runs any task; the answer is whether it succeeded.
async fn succeeds(launcher: &Launcher, task: Task) -> bool {
    let mut handle = launcher.task(task, Vec::new());
    let mut good = false;
    while let Some((report, _)) = handle.next().await {
        good |= matches!(report, Report::Done);
    }
    good
}

/// Does something over and over on a thread of its own, until it is dropped.
struct Repeating(Arc<AtomicBool>);

impl Repeating {
    fn start(what: impl Fn() + Send + 'static) -> Repeating {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                what();
            }
        });
        Repeating(stop)
    }
}

impl Drop for Repeating {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// CVE-2024-21626. With a descriptor of ours as working directory the command would be outside of its root, and print
/// this machine's host name.
#[tokio::test]
async fn a_working_directory_among_our_descriptors_is_not_entered() {
    in_every_mode(async |place, launcher| {
        for descriptor in 3..30 {
            let own = format!("/proc/self/fd/{descriptor}");
            // By way of a link in the image, too, which WORKDIR follows.
            let link = format!("link-{descriptor}");
            symlink(&own, place.path("base").join(&link)).unwrap();
            for (name, cwd) in [(descriptor.to_string(), own), (format!("l{descriptor}"), format!("/{link}"))] {
                let mut task = place.sh(&name, "pwd; cat ../../../../../etc/hostname");
                task.run.cwd = cwd;
                let it = outcome(&launcher, task).await;
                assert!(it.failed.is_some_and(|error| error.input), "{descriptor}: {}", it.stdout);
            }
        }
    })
    .await;
}

/// CVE-2024-23651. A directory of a shared cache keeps changing places with a link to a place of the machine's, while
/// commands have mounts below it. Whoever looks the path up as text makes the mount point in that place. Here luck decides
/// when they do; `embedded::mounting` and `snapshot::rooted` are tested with the change between any two of their steps.
#[tokio::test]
async fn a_link_in_a_shared_cache_is_not_followed_out() {
    in_every_mode(async |place, launcher| {
        std::fs::create_dir(place.path("victim")).unwrap();
        let with_cache = |name: &str, script: &str| {
            let mut task = place.sh(name, script);
            task.run.mounts = vec![cache("/c")];
            task.caches = vec![place.path("cache")];
            task
        };
        let script = format!("mkdir /c/dir; ln -s {} /c/link", place.path("victim").display());
        outcome(&launcher, with_cache("links", &script)).await.output();
        // As a command in the same cache can; from here it is quicker.
        let (dir, link) = (place.path("cache/dir"), place.path("cache/link"));
        let _swapping = Repeating::start(move || {
            let _ = renameat_with(CWD, &dir, CWD, &link, RenameFlags::EXCHANGE);
        });
        for count in 0..20 {
            let mut task = with_cache(&count.to_string(), "true");
            task.run.mounts.push(tmpfs("/c/dir/point"));
            // Whether it finds the directory or the link, or fails between the two, is a matter of luck.
            outcome(&launcher, task).await;
            let mut task = with_cache(&format!("link{count}"), "true");
            task.run.mounts.push(tmpfs("/c/link/point"));
            outcome(&launcher, task).await;
        }
        assert_eq!(std::fs::read_dir(place.path("victim")).unwrap().count(), 0, "a mount point was made outside");
    })
    .await;
}

/// CVE-2024-23652. The command puts a link to a place of the machine's where a mount point was made for it. Whoever
/// takes the mount point away by its path takes the file there away.
#[tokio::test]
async fn a_mount_point_is_not_looked_for_outside_when_it_is_taken_away() {
    in_every_mode(async |place, launcher| {
        place.write("victim/m", "");
        std::fs::create_dir(place.path("victim/empty")).unwrap();
        for (name, point) in [("file", "m"), ("directory", "empty")] {
            std::fs::create_dir_all(place.path("base/d").join(point)).unwrap();
            outcome(&launcher, place.sh(&format!("gone-{name}"), "rm -r /d")).await.output();
            let script = format!("mv /d /e && ln -s {} /d", place.path("victim").display());
            let mut task = place.sh(name, &script);
            task.stack.lower.push(place.path(&format!("gone-{name}")).join("upper"));
            task.run.mounts = vec![tmpfs(&format!("/d/{point}"))];
            outcome(&launcher, task).await.output();
            assert!(place.path("victim").join(point).exists(), "{point}");
        }
    })
    .await;
}

/// CVE-2019-5736. Where our program is the first process of a sandbox, a command would read it, or write to it, by
/// /proc/1/exe, and say `open`. Its executable itself is held to its read-only mount in `probe`.
#[tokio::test]
async fn the_first_process_is_closed_to_the_command() {
    in_every_mode(async |place, launcher| {
        let script = "for it in exe mem maps environ fd/0 fd/3 root/etc cwd/etc; do \
                      ( : <>/proc/1/$it ) 2>/dev/null && echo open $it; \
                      cat /proc/1/$it >/dev/null 2>&1 && echo read $it; done; \
                      readlink /proc/1/exe; cat /proc/1/comm";
        let mut task = place.sh("a", script);
        task.scratch = true;
        let output = outcome(&launcher, task).await.output();
        let name = output.trim_end();
        // It is ours, or the test would look at the wrong one.
        assert!(!name.is_empty() && name != "sh" && !name.contains('\n'), "{output}");
        // A script for it, or the command itself, is started afresh, from where nobody can write.
        place.write("base/again", "#!/proc/self/exe\n");
        std::fs::set_permissions(place.path("base/again"), PermissionsExt::from_mode(0o755)).unwrap();
        let before = std::fs::metadata(env!("CARGO_BIN_EXE_stagedive")).unwrap();
        outcome(&launcher, place.run("b", &["/again"])).await;
        outcome(&launcher, place.run("c", &["/proc/self/exe", "--version"])).await;
        let after = std::fs::metadata(env!("CARGO_BIN_EXE_stagedive")).unwrap();
        assert_eq!((before.len(), before.modified().unwrap()), (after.len(), after.modified().unwrap()));
    })
    .await;
}

/// CVE-2018-15664. A directory of the context keeps changing places with a link to one outside, while it is copied. Who
/// checks a path first and opens it then copies what is outside: half of the time the link is there. `embedded::copy` is
/// tested with the change between any two of its steps.
#[tokio::test]
async fn a_link_race_while_copying_copies_nothing_from_outside() {
    in_every_mode(async |place, launcher| {
        place.write("context/dir/file", "inside");
        place.write("outside/file", "outside");
        symlink(place.path("outside"), place.path("context/other")).unwrap();
        let (dir, other) = (place.path("context/dir"), place.path("context/other"));
        let _swapping = Repeating::start(move || {
            let _ = renameat_with(CWD, &dir, CWD, &other, RenameFlags::EXCHANGE);
        });
        for count in 0..60 {
            let source = if count % 2 == 0 { "dir/file" } else { "dir" };
            let name = format!("copy-{count}");
            let context = Input::Directory { path: place.path("context"), ignore: None };
            succeeds(&launcher, copy(&place, &name, context, source, "/into/")).await;
            let copied = std::fs::read(place.path(&name).join("upper/into/file")).unwrap_or_default();
            assert_ne!(copied, b"outside", "{source}");
        }
    })
    .await;
}

/// The same where the link is the destination: what is copied would be found in the machine's directory.
#[tokio::test]
async fn a_link_as_destination_stays_within_the_image() {
    in_every_mode(async |place, launcher| {
        place.write("context/file", "copied");
        std::fs::create_dir(place.path("victim")).unwrap();
        symlink(place.path("victim"), place.path("base/out")).unwrap();
        symlink("../".repeat(30) + place.path("victim").to_str().unwrap(), place.path("base/up")).unwrap();
        for (name, dest) in [("a", "/out/file"), ("b", "/up/"), ("c", "/up/deep/er/")] {
            let context = Input::Directory { path: place.path("context"), ignore: None };
            succeeds(&launcher, copy(&place, name, context, "file", dest)).await;
            assert_eq!(std::fs::read_dir(place.path("victim")).unwrap().count(), 0, "{dest}");
        }
    })
    .await;
}

/// CVE-2019-14271. The image says that its users are to be asked of a library of its own, and that library is a pipe
/// that nobody writes to. Whoever loads it, or asks the C library for a user, waits for ever.
#[tokio::test]
async fn no_library_and_no_name_service_of_the_image_is_used() {
    in_every_mode(async |place, launcher| {
        place.write("base/etc/nsswitch.conf", "passwd: evil\ngroup: evil\nhosts: evil\n");
        for directory in ["lib", "lib64", "usr/lib", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"] {
            let directory = place.path("base").join(directory);
            std::fs::create_dir_all(&directory).unwrap();
            let path = directory.join("libnss_evil.so.2");
            if !path.exists() {
                rustix::fs::mkfifoat(CWD, &path, rustix::fs::Mode::from(0o755)).unwrap();
            }
        }
        rustix::fs::mkfifoat(CWD, place.path("base/etc/ld.so.preload"), rustix::fs::Mode::from(0o644)).unwrap();
        let mut run = place.sh("a", "echo never");
        run.run.user = "nobody-here:extra".into();
        let context = || Input::Directory { path: place.path("context"), ignore: None };
        place.write("context/file", "");
        let mut owned = copy(&place, "b", context(), "file", "/file");
        if let Task::Copy(task) = &mut owned {
            task.copy.chown = Some("ann:extra".into());
        }
        let both = async {
            let error = outcome(&launcher, run).await.error();
            assert!(error.message.contains("nobody-here"), "{error:?}");
            assert!(succeeds(&launcher, owned).await);
        };
        tokio::time::timeout(Duration::from_secs(60), both).await.expect("nothing waits for the image's library");
        if launcher.mode() != Mode::Single {
            use std::os::unix::fs::MetadataExt;
            let owner = std::fs::metadata(place.path("b/upper/file")).unwrap().gid();
            assert_ne!(owner, std::fs::metadata(place.path("context/file")).unwrap().gid());
        }
    })
    .await;
}

/// CVE-2025-31133, CVE-2025-52565, CVE-2025-52881. The image has links where the system's directories and the devices
/// that cover what is hidden are to be. Who follows them leaves the machine's settings open, covers or changes a file of
/// the machine's, or gives a console that is one: the command says what it gets.
#[tokio::test]
async fn links_in_the_place_of_system_directories_open_nothing() {
    let script = "for dir in /proc /sys /dev /tmp /other /victim; do \
                  { echo open >$dir/sys/kernel/domainname; } 2>/dev/null && echo wrote $dir; \
                  [ -e $dir/sysrq-trigger ] && { echo 0 >$dir/sysrq-trigger; } 2>/dev/null && echo wrote $dir/sysrq-trigger; \
                  ( : >$dir/kernel/uevent_helper ) 2>/dev/null && echo wrote $dir/uevent_helper; \
                  head -c 1 $dir/kcore 2>/dev/null; \
                  done; head -c 1 /proc/keys 2>/dev/null; \
                  for it in /sys/firmware/*; do [ -e $it ] && echo $it; done; readlink /dev/console; echo end";
    in_every_mode(async |place, launcher| {
        let victim = place.path("victim");
        for (count, (name, target)) in [
            ("proc", "/tmp"),
            ("proc", "/dev"),
            ("sys", "/proc"),
            ("sys", "/proc/sys"),
            ("dev", "/proc"),
            ("dev", "/sys"),
            ("dev", "/"),
            ("proc", "../../../../../../../../victim"),
            ("dev", "VICTIM"),
        ]
        .into_iter()
        .enumerate()
        {
            place.write("victim/console", "of the machine");
            place.write("victim/null", "of the machine");
            let top = format!("top-{count}");
            std::fs::create_dir_all(place.path(&top)).unwrap();
            let target = target.replace("VICTIM", victim.to_str().unwrap());
            symlink(&target, place.path(&top).join(name)).unwrap();
            for terminal in [None, Some((80, 24))] {
                let mut task = place.sh(&format!("run-{count}-{}", terminal.is_some()), script);
                task.stack.lower.push(place.path(&top));
                // With a terminal it is a shell's: it leaves nothing, and its output is the terminal's.
                (task.terminal, task.scratch) = (terminal, terminal.is_some());
                let it = outcome(&launcher, task).await;
                assert!(it.failed.is_some() || terminal.is_some() || it.stdout == "end\n", "{name}: {it:?}");
            }
            for file in ["console", "null"] {
                let content = std::fs::read_to_string(victim.join(file)).unwrap();
                assert_eq!(content, "of the machine", "{name} -> {target}");
            }
            assert_eq!(std::fs::read_dir(&victim).unwrap().count(), 2, "{name} -> {target}");
        }
    })
    .await;
}

/// CVE-2025-52881, by way of a mount that others can write: the path of a second mount leads through it into /proc,
/// where it would cover what the engine itself writes to. It is an error, and not a mount.
#[tokio::test]
async fn a_link_in_a_cache_leads_no_mount_into_proc() {
    in_every_mode(async |place, launcher| {
        let with_cache = |name: &str, script: &str| {
            let mut task = place.sh(name, script);
            task.run.mounts = vec![cache("/c")];
            task.caches = vec![place.path("cache")];
            task
        };
        outcome(&launcher, with_cache("links", "ln -s /proc /c/proc; ln -s ../proc/self /c/self")).await.output();
        for (name, target) in [("a", "/c/proc/self/attr"), ("b", "/c/proc/sys"), ("c", "/c/self/fdinfo")] {
            let mut task = with_cache(name, "true");
            task.run.mounts.push(tmpfs(target));
            let error = outcome(&launcher, task).await.error();
            assert!(error.message.contains("inside /proc"), "{target}: {error:?}");
        }
    })
    .await;
}

/// What has the set-id bits keeps them by RUN, COPY and the way out, with one id only as with many: there the files are
/// root's in the image, whoever's they are on this disk.
#[tokio::test]
async fn set_id_bits_are_kept() {
    in_every_mode(async |place, launcher| {
        let chmod = std::env::split_paths(&std::env::var_os("PATH").unwrap())
            .map(|it| it.join("chmod"))
            .find(|it| it.is_file())
            .expect("this machine has `chmod`");
        place.add_file(&chmod, "bin/chmod");
        let script = "echo x >/s && chmod 4755 /s && echo x >/g && chmod 2711 /g && mkdir -p /d/d && chmod 3777 /d/d && stat -c %a /s /g /d/d";
        let output = outcome(&launcher, place.sh("made", script)).await.output();
        assert_eq!(output, "4755\n2711\n3777\n");
        let made = Stack { lower: vec![place.path("base"), place.path("made/upper")] };
        for path in ["s", "g", "d"] {
            let task = copy(&place, path, Input::Stack(made.clone()), path, &format!("/copied-{path}"));
            assert!(succeeds(&launcher, task).await, "{path}");
            let layer = place.path(path).join("upper");
            let packed = place.path(&format!("{path}.tar"));
            let task = Task::Pack { layer, into: packed.clone(), compression: Compression::None, epoch: None };
            assert!(succeeds(&launcher, task).await, "{path}");
            let into = place.path(&format!("unpacked-{path}"));
            assert!(succeeds(&launcher, Task::Unpack { blob: packed, diff_id: None, into }).await, "{path}");
        }
        for (path, below, mode) in [("s", "", 0o4755), ("g", "", 0o2711), ("d", "/d", 0o3777)] {
            for place in [place.path(path).join("upper"), place.path(&format!("unpacked-{path}"))] {
                let status = std::fs::metadata(place.join(format!("copied-{path}{below}"))).unwrap();
                assert_eq!(status.permissions().mode() & 0o7777, mode, "{path}");
            }
        }
    })
    .await;
}
