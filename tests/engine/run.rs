//! What a command sees and what it leaves.

use crate::place::{Place, in_every_mode, outcome};
use stagedive::engine::embedded::launcher::{Launcher, Start};
use stagedive::engine::embedded::namespaces::Mode;
use stagedive::plan::Network;

/// Runs a script in every mode and holds its standard output against what is expected.
async fn check(script: &str, expected: &str) {
    in_every_mode(async |place, launcher| {
        let output = outcome(&launcher, place.sh("a", script)).await.output();
        assert_eq!(output.trim_end(), expected, "{script} in {:?}", launcher.mode());
    })
    .await;
}

#[tokio::test]
async fn a_command_has_output_an_exit_code_and_a_layer() {
    in_every_mode(async |place, launcher| {
        let it = outcome(&launcher, place.sh("a", "echo out; echo err >&2; echo x >/new; rm /etc/group; exit 7")).await;
        assert!(it.failed.is_none(), "{it:?}");
        assert_eq!((it.stdout.as_str(), it.stderr.as_str(), it.code), ("out\n", "err\n", Some(7)));
        assert_eq!(it.changes, ["etc", "etc/group", "new"]);
        place.cleared("a").await;
    })
    .await;
}

#[tokio::test]
async fn a_command_without_changes_leaves_none() {
    in_every_mode(async |place, launcher| {
        let it = outcome(&launcher, place.sh("a", "ls / /proc /sys /dev /etc; id")).await;
        assert_eq!(it.changes, [""; 0]);
        assert!(std::fs::read_dir(place.path("a/upper")).unwrap().next().is_none());
    })
    .await;
}

#[tokio::test]
async fn a_directory_that_was_only_touched_is_no_change() {
    in_every_mode(async |place, launcher| {
        let it =
            outcome(&launcher, place.sh("a", "echo >/etc/x; rm /etc/x; mkdir /bin/d; rm -r /bin/d; echo >/new")).await;
        assert_eq!(it.changes, ["new"]);
        let upper = std::fs::read_dir(place.path("a/upper")).unwrap();
        assert_eq!(upper.map(|it| it.unwrap().file_name()).collect::<Vec<_>>(), ["new"]);
        let it = outcome(&launcher, place.sh("b", "chmod 700 /etc; mkdir /made; echo >/made/x; rm /made/x")).await;
        assert_eq!(it.changes, ["etc", "made"]);
    })
    .await;
}

#[tokio::test]
async fn what_is_as_it_was_is_no_change() {
    in_every_mode(async |place, launcher| {
        place.write("base/data/a", "one");
        place.write("base/data/sub/b", "two");
        let script = "chmod -R u+rw /data; cp -a /data /t; rm -r /data; mv /t /data; ln /data/a /data/p; \
                      cp -p /bin/head /bin/tty; rm /bin/head; mv /bin/tty /bin/head";
        let it = outcome(&launcher, place.sh("a", script)).await;
        assert_eq!(it.changes, ["bin", "bin/tty", "data", "data/p"], "{it:?}");
        let found = std::fs::read_dir(place.path("a/upper/data")).unwrap();
        assert_eq!(found.map(|it| it.unwrap().file_name()).collect::<Vec<_>>(), ["p"]);
    })
    .await;
}

#[tokio::test]
async fn layers_stack() {
    in_every_mode(async |place, launcher| stack_layers(&place, &launcher).await).await;
}

#[tokio::test]
async fn layers_stack_as_older_kernels_want_them() {
    in_every_mode(async |place, launcher| {
        launcher.stop().await;
        let launcher = Launcher::start(&Start { old_overlay: true, ..place.start() }).await.unwrap();
        stack_layers(&place, &launcher).await;
    })
    .await;
}

async fn stack_layers(place: &Place, launcher: &Launcher) {
    let mut stack = vec![place.path("base")];
    for count in 0..5 {
        let name = format!("layer-{count}");
        let script = format!(
            "echo {count} >/{name}; [ ! -e /dir/gone ]; mkdir /dir; echo >/dir/gone; rm -r /dir; rm /bin/head; true"
        );
        let mut task = place.sh(&name, &script);
        task.stack.lower = stack.clone();
        let it = outcome(launcher, task).await;
        let expected = if count == 0 { vec!["bin", "bin/head", &name] } else { vec![&*name] };
        assert_eq!(it.changes, expected, "{it:?}");
        stack.push(place.path(&name).join("upper"));
    }
    let mut task = place.sh("top", "cat /layer-*; [ ! -e /bin/head ]; rm -r /bin/stat /etc");
    task.stack.lower = stack;
    assert_eq!(outcome(launcher, task).await.stdout, "0\n1\n2\n3\n4\n");
}

#[tokio::test]
async fn the_host_name_and_the_names_of_hosts_are_given() {
    check(
        "cat /proc/sys/kernel/hostname /etc/hosts /etc/resolv.conf",
        "buildkitsandbox\n127.0.0.1 localhost\nnameserver 192.0.2.1",
    )
    .await;
    check("echo x >/etc/hosts || echo read-only", "read-only").await;
}

#[tokio::test]
async fn the_command_is_the_first_process() {
    check("echo $$; cat /proc/1/comm", "1\nsh").await;
}

#[tokio::test]
async fn no_descriptor_is_passed_on() {
    check("ls /proc/1/fd", "0\n1\n2").await;
}

#[tokio::test]
async fn the_devices_are_dockers() {
    check(
        "cd /dev; for f in *; do [ $f = core ] || echo $f; done; echo x >null; head -c 3 zero | stat -c %F - >/dev/null; readlink fd ptmx",
        "fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n/proc/self/fd\npts/ptmx",
    )
    .await;
}

#[tokio::test]
async fn what_tells_of_the_machine_is_hidden() {
    check("cat /proc/kcore /proc/keys /proc/timer_list; ls /sys/firmware /proc/acpi /proc/scsi 2>&1 | head -c 0", "")
        .await;
    check("echo 1 >/proc/sys/kernel/domainname || echo no", "no").await;
    check("mkdir /sys/kernel/x 2>/dev/null || echo no", "no").await;
}

#[tokio::test]
async fn the_environment_is_the_instructions() {
    in_every_mode(async |place, launcher| {
        let mut task = place.sh("a", "env; umask");
        task.run.env = vec!["PATH=/bin".into(), "A=b c".into(), "EMPTY=".into()];
        let output = outcome(&launcher, task).await.output();
        let mut lines: Vec<&str> =
            output.lines().filter(|it| !it.starts_with("PWD=") && !it.starts_with('_')).collect();
        lines.retain(|it| !it.starts_with("APT_CONFIG=") && !it.starts_with("OLDPWD") && !it.starts_with("SHLVL"));
        lines.sort_unstable();
        assert_eq!(lines, ["0022", "A=b c", "EMPTY=", "HOME=/root", "PATH=/bin"]);
    })
    .await;
}

#[tokio::test]
async fn a_user_has_ids_groups_and_a_home() {
    in_every_mode(async |place, launcher| {
        let mut task =
            place.sh("a", "id -u; id -g; id -G; echo $HOME; touch /tmp/x && stat -c %u:%g /tmp/x; echo x >/dev/stdout");
        std::fs::create_dir_all(place.path("base/tmp")).unwrap();
        std::os::unix::fs::chown(place.path("base/tmp"), None, None).unwrap();
        std::fs::set_permissions(place.path("base/tmp"), std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
        task.run.user = "ann".into();
        let output = outcome(&launcher, task).await.output();
        let expected = match launcher.mode() {
            // Pretended: the home is hers, the rest is root's.
            Mode::Single => "0\n0\n0\n/home/ann\n0:0\nx\n",
            _ => "5\n6\n6 7\n/home/ann\n5:6\nx\n",
        };
        assert_eq!(output.replace("0 65534", "0").replace("65534 ", ""), expected);
    })
    .await;
}

#[tokio::test]
async fn an_unknown_user_is_an_error() {
    in_every_mode(async |place, launcher| {
        let mut task = place.sh("a", "true");
        task.run.user = "nobody-here".into();
        let error = outcome(&launcher, task).await.error();
        assert!(error.input && error.message.contains("nobody-here"), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn owners_can_be_given_away_or_it_is_pretended() {
    in_every_mode(async |place, launcher| {
        let output = outcome(&launcher, place.sh("a", "touch /f && chown 5:6 /f && stat -c %u:%g /f")).await.output();
        let expected = if launcher.mode() == Mode::Single { "0:0\n" } else { "5:6\n" };
        assert_eq!(output, expected);
    })
    .await;
}

#[tokio::test]
async fn a_missing_working_directory_is_made() {
    in_every_mode(async |place, launcher| {
        let mut task = place.sh("a", "pwd");
        task.run.cwd = "/new/place".into();
        let it = outcome(&launcher, task).await;
        assert_eq!(it.changes, ["new", "new/place"]);
        assert_eq!(it.output(), "/new/place\n");
    })
    .await;
}

#[tokio::test]
async fn a_link_as_working_directory_stays_within_the_image() {
    in_every_mode(async |place, launcher| {
        std::os::unix::fs::symlink("../../../../etc", place.path("base/out")).unwrap();
        let mut task = place.sh("a", "pwd -P; cat passwd | head -c 4");
        task.run.cwd = "/out".into();
        assert_eq!(outcome(&launcher, task).await.output(), "/etc\nroot");
    })
    .await;
}

async fn exec_error(prepare: impl Fn(&Place), argv: &[&str], expected: &str) {
    in_every_mode(async |place: Place, launcher: Launcher| {
        prepare(&place);
        let error = outcome(&launcher, place.run("a", argv)).await.error();
        assert!(error.input && error.message.contains(expected), "{error:?} has no {expected:?}");
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_started_is_explained() {
    exec_error(|_| (), &["nothing"], "`nothing` was not found in PATH").await;
    exec_error(|_| (), &["/bin/nothing"], "`/bin/nothing` is not in the image").await;
    exec_error(|_| (), &["/etc"], "is a directory").await;
    exec_error(|_| (), &["/etc/passwd"], "may not be executed").await;
    let script = |text: &'static str| {
        move |place: &Place| {
            place.write("base/script", text);
            std::fs::set_permissions(place.path("base/script"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .unwrap();
        }
    };
    exec_error(script("#!/bin/perl\n"), &["/script"], "script for `/bin/perl`").await;
    exec_error(script("#!/bin/sh\r\n"), &["/script"], "carriage return").await;
    exec_error(script("echo\n"), &["/script"], "neither a program nor a script").await;
}

#[tokio::test]
async fn without_a_network_there_is_loopback_alone() {
    in_every_mode(async |place, launcher| {
        let mut task = place.sh("a", "cat /proc/net/dev /sys/class/net/lo/flags 2>/dev/null || cat /proc/net/dev");
        task.run.network = Network::None;
        let output = outcome(&launcher, task).await.output();
        let interfaces: Vec<&str> =
            output.lines().filter_map(|line| line.split_once(':')).map(|it| it.0.trim()).collect();
        assert_eq!(interfaces, ["lo"], "{output}");
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_output_comes_through_whole() {
    in_every_mode(async |place, launcher| {
        let mut handle = crate::place::begin(&launcher, place.sh("a", "head -c 100000000 /dev/zero"));
        let mut bytes = 0;
        while let Some((report, _)) = handle.next().await {
            if let stagedive::engine::embedded::task::Report::Stdout(chunk) = report {
                bytes += chunk.len();
            }
        }
        assert_eq!(bytes, 100_000_000);
    })
    .await;
}

#[tokio::test]
async fn tasks_run_side_by_side() {
    in_every_mode(async |place, launcher| {
        // Each waits for a file that the other makes, in a directory that both see.
        let caches = [place.path("cache")];
        let task = |name: &str, own: &str, other: &str| {
            let script = format!("touch /c/{own}; while [ ! -e /c/{other} ]; do sleep 0.01; done");
            let mut task = place.sh(name, &script);
            task.run.mounts = vec![crate::mounts::cache("/c")];
            task.caches = caches.to_vec();
            task
        };
        let (a, b) = tokio::join!(outcome(&launcher, task("a", "1", "2")), outcome(&launcher, task("b", "2", "1")));
        assert_eq!((a.code, b.code), (Some(0), Some(0)));
    })
    .await;
}

#[tokio::test]
async fn an_insecure_command_has_every_capability() {
    in_every_mode(async |place, launcher| {
        let script = "while read name value; do [ $name = CapEff: ] && echo $value; done </proc/self/status; true";
        let all = outcome(&launcher, place.sh("a", script)).await.output();
        let mut task = place.sh("b", script);
        task.run.insecure = true;
        let insecure = outcome(&launcher, task).await.output();
        let number = |text: &str| u64::from_str_radix(text.trim(), 16).unwrap();
        assert_eq!(number(&all), 0xa80425fb);
        // As much as there is where this runs; CAP_SYS_ADMIN (21) at least.
        assert!(number(&insecure) & !number(&all) & 1 << 21 != 0, "{insecure}");
    })
    .await;
}
