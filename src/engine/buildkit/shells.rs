//! Shells at a place of a build, and what only a command can tell of what a failed instruction left.

use super::bridge::Bridge;
use super::container::{self, Start};
use super::definition::Definition;
use super::engine::{BuildKit, platform_message};
use super::files;
use super::scratch::Scratch;
use super::toolbox::TOOLBOX;
use crate::engine::shells::{SHELLS, argv};
use crate::engine::{EngineError, Shell, ShellRequest};
use crate::plan::{Network, Run};
use bollard_buildkit_proto::pb;

pub(super) async fn start(engine: &BuildKit, request: ShellRequest) -> Result<Shell, EngineError> {
    let (bridge, root) = engine.held(&request.at).await?;
    let failed = engine.snapshot(&request.at)?.is_some_and(|it| it.is_failed());
    let run = &request.run;
    let mut mounts = vec![mount("/", &root)];
    let mut secrets = Vec::new();
    let mut security = 0;
    if let Some((plan, step)) = &request.instruction {
        let place = engine.place(plan, *step).await?;
        let op = place.edge.as_ref().and_then(|edge| place.definition.op(&edge.vertex));
        if let Some(pb::op::Op::Exec(exec)) = op.and_then(|op| op.op.as_ref()) {
            secrets.clone_from(&exec.secretenv);
            security = exec.security;
            for mount in exec.mounts.iter().filter(|mount| mount.dest != "/") {
                let mut mount = mount.clone();
                if let Some(edge) = op.and_then(|op| Definition::input(op, mount.input)) {
                    mount.result_id = engine.result(&bridge, &place, &edge).await?;
                }
                mounts.push(mount);
            }
        }
    }
    let interactive = request.run.argv.is_empty();
    let (argv, borrowed_tools) = match interactive {
        false => (run.argv.clone(), false),
        true => match shell_of(&bridge, &root, failed).await {
            Some(shell) => (argv(shell), false),
            None => {
                let (tools, shell) = engine.toolbox.get(&bridge).await?;
                mounts.push(pb::Mount { readonly: true, ..mount(TOOLBOX, &tools) });
                (vec![shell], true)
            }
        },
    };
    let program = argv.join(" ");
    let meta = meta(run, argv, request.size.is_some(), borrowed_tools);
    let platform = Some(platform_message(&engine.settings.platform));
    let network = match run.network {
        Network::Default => pb::NetMode::Unset,
        Network::Host => pb::NetMode::Host,
        Network::None => pb::NetMode::None,
    };
    let size = request.size;
    let start =
        Start { mounts, meta, secrets, network: network as i32, security, platform, size, program, borrowed_tools };
    if request.watch
        && let Ok((tools, _)) = engine.toolbox.get(&bridge).await
    {
        let scratch = Scratch::new(&engine.toolbox, &root);
        let mut watched = start.clone();
        if !watched.borrowed_tools {
            watched.mounts.push(pb::Mount { readonly: true, ..mount(TOOLBOX, &tools) });
        }
        watched.meta.args = scratch.around(&watched.meta.args);
        return container::start(bridge, watched, Some(scratch)).await;
    }
    container::start(bridge, start, None).await
}

fn mount(dest: &str, result: &str) -> pb::Mount {
    pb::Mount { input: -1, dest: dest.to_owned(), result_id: result.to_owned(), ..pb::Mount::default() }
}

fn meta(run: &Run, args: Vec<String>, tty: bool, borrowed_tools: bool) -> pb::Meta {
    let mut env = run.env.clone();
    let has = |env: &[String], name: &str| env.iter().any(|it| it.starts_with(&format!("{name}=")));
    if tty && !has(&env, "TERM") {
        env.push("TERM=xterm-256color".to_owned());
    }
    if borrowed_tools {
        let tools = format!("{}/bin", TOOLBOX);
        match env.iter_mut().find(|it| it.starts_with("PATH=")) {
            Some(path) => *path = format!("{path}:{tools}"),
            None => env.push(format!("PATH={tools}")),
        }
        env.push(format!("TERMINFO_DIRS={}/share/terminfo:", TOOLBOX));
    }
    let hosts = run.hosts.iter().map(|(host, ip)| pb::HostIp { host: host.clone(), ip: ip.clone() });
    pb::Meta {
        args,
        env,
        cwd: run.cwd.clone(),
        user: run.user.clone(),
        extra_hosts: hosts.collect(),
        hostname: "buildkitsandbox".to_owned(),
        ..pb::Meta::default()
    }
}

/// The best shell of an image. What a failed instruction left cannot be asked; there it is the usual one.
async fn shell_of(bridge: &Bridge, root: &str, failed: bool) -> Option<&'static str> {
    if failed {
        return Some("/bin/sh");
    }
    if root.is_empty() {
        return None;
    }
    // All at once: a builder may be far away.
    let asked =
        SHELLS.iter().map(|shell| async move { files::is_program(bridge, root, shell).await.then_some(*shell) });
    futures_util::future::join_all(asked).await.into_iter().flatten().next()
}
