//! Shells at a place of a build, and what only a command can tell of what a failed instruction left.

use super::ahead::Ready;
use super::bridge::{Bridge, EVALUATE};
use super::container::{self, Start};
use super::definition::Definition;
use super::engine::{BuildKit, platform_message};
use super::files;
use super::scratch::Scratch;
use super::toolbox::TOOLBOX;
use crate::engine::shells::{SHELLS, argv};
use crate::engine::{EngineError, Shell, ShellRequest};
use crate::plan::options::real_address;
use crate::plan::{Mount, MountKind, Network, Run, Sharing};
use bollard_buildkit_proto::pb;
use futures_util::future::{join_all, try_join_all};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What a shell finds, and where.
pub(super) struct Place {
    bridge: Arc<Bridge>,
    root: String,
    mounts: Vec<pb::Mount>,
    secrets: Vec<pb::SecretEnv>,
    security: i32,
    platform: pb::Platform,
    /// The words that start it.
    argv: Vec<String>,
    borrowed_tools: bool,
    /// The tools of this machine as the builder has them, if they are needed.
    tools: Option<String>,
}

pub(super) async fn start(engine: &BuildKit, request: ShellRequest) -> Result<Shell, EngineError> {
    if let Some(Ready { place, scratch, container, .. }) = engine.ahead.take(&request) {
        // One that has ended by itself leaves the way that there is without it.
        if let Ok(shell) = container.shell(place.watched(&request, &scratch), Some(scratch)).await {
            return Ok(shell);
        }
    }
    let place = Place::find(engine, &request).await?;
    let scratch = place.tools.as_ref().filter(|_| request.watch).map(|_| Scratch::new(&engine.toolbox, &place.root));
    let start = match &scratch {
        Some(scratch) => place.watched(&request, scratch),
        None => place.start(&request),
    };
    container::start(place.bridge, start, scratch).await
}

/// How long a shell is expected before anything is made for it: who steps on at once opens none.
const REST: Duration = Duration::from_millis(200);

/// Keeps a container ready for a shell, and another one after each that was used. Ends where there can be none.
pub(super) async fn expect(engine: &BuildKit, request: ShellRequest) {
    if !may_wait(&request.run) {
        return;
    }
    loop {
        tokio::time::sleep(REST).await;
        let Ok(place) = Place::find(engine, &request).await else { return };
        // Old builders cannot start a shell in a container that is there.
        if place.tools.is_none() || !place.bridge.can(EVALUATE) {
            return;
        }
        let scratch = Scratch::new(&engine.toolbox, &place.root);
        let (bridge, start) = (place.bridge.clone(), place.start(&request));
        // Beside this future, which may be dropped at any time: what the builder has made by then is let go of.
        let made = tokio::spawn(container::idle(bridge.clone(), start, scratch.waiting())).await;
        let Ok(Ok(mut container)) = made else { return };
        let gone = CancellationToken::new();
        container.tells(gone.clone().drop_guard());
        let _kept = engine.ahead.keep(Ready { request: request.clone(), place, scratch, container });
        tokio::select! {
            () = gone.cancelled() => {}
            () = bridge.ended.cancelled() => return,
        }
    }
}

/// Whether others do not miss what a container holds that waits: a cache that is for one at a time, a secret. What has
/// to be made first is left to the instruction.
fn may_wait(run: &Run) -> bool {
    let harmless = |mount: &Mount| {
        matches!(mount.kind, MountKind::Tmpfs { .. } | MountKind::Cache { sharing: Sharing::Shared, input: None, .. })
    };
    run.files.is_empty() && run.mounts.iter().all(harmless)
}

impl Place {
    async fn find(engine: &BuildKit, request: &ShellRequest) -> Result<Place, EngineError> {
        let (bridge, root) = engine.held(&request.at).await?;
        let mut mounts = vec![mount("/", &root)];
        let mut secrets = Vec::new();
        let mut security = 0;
        if let Some((plan, step)) = &request.instruction {
            let place = engine.place(plan, *step).await?;
            let op = place.edge.as_ref().and_then(|edge| place.definition.op(&edge.vertex));
            if let Some(pb::op::Op::Exec(exec)) = op.and_then(|op| op.op.as_ref()) {
                secrets.clone_from(&exec.secretenv);
                security = exec.security;
                let shown = exec.mounts.iter().filter(|mount| mount.dest != "/").map(async |mount| {
                    let mut mount = mount.clone();
                    if let Some(edge) = op.and_then(|op| Definition::input(op, mount.input)) {
                        mount.result_id = engine.result(&bridge, &place, &edge).await?;
                    }
                    Ok::<_, EngineError>(mount)
                });
                mounts.extend(try_join_all(shown).await?);
            }
        }
        let program = async {
            match request.run.argv.is_empty() {
                false => Some(request.run.argv.clone()),
                true => {
                    let failed = engine.snapshot(&request.at).ok()?.filter(|it| it.is_failed());
                    let (bridge, root) = match failed {
                        None => (bridge.clone(), root.clone()),
                        // What a failed instruction left cannot be asked; what it began with can.
                        Some(failed) => engine.held(failed.parent()?).await.ok()?,
                    };
                    shell_of(&bridge, &root).await.map(argv)
                }
            }
        };
        let watching = async {
            match request.watch {
                true => engine.toolbox.get(&bridge).await.ok().map(|(tools, _)| tools),
                false => None,
            }
        };
        // Both at once: a builder may be far away.
        let (found, watching) = tokio::join!(program, watching);
        let (argv, borrowed_tools, tools) = match found {
            Some(argv) => (argv, false, watching),
            None => {
                let (tools, shell) = engine.toolbox.get(&bridge).await?;
                (vec![shell], true, Some(tools))
            }
        };
        if let Some(tools) = &tools {
            mounts.push(pb::Mount { readonly: true, ..mount(TOOLBOX, tools) });
        }
        let platform = platform_message(&engine.settings.platform);
        Ok(Place { bridge, root, mounts, secrets, security, platform, argv, borrowed_tools, tools })
    }

    /// Whether the builder has it still.
    pub(super) fn is_there(&self) -> bool {
        self.bridge.is_open()
    }

    /// The shell within what tells how it has ended.
    fn watched(&self, request: &ShellRequest, scratch: &Scratch) -> Start {
        let mut start = self.start(request);
        start.meta.args = scratch.around(&start.meta.args);
        start
    }

    fn start(&self, request: &ShellRequest) -> Start {
        let network = match request.run.network {
            Network::Default => pb::NetMode::Unset,
            Network::Host => pb::NetMode::Host,
            Network::None => pb::NetMode::None,
        };
        Start {
            mounts: self.mounts.clone(),
            meta: meta(
                &request.run,
                self.argv.clone(),
                request.size.is_some(),
                self.borrowed_tools,
                self.bridge.host_gateway.as_deref(),
            ),
            secrets: self.secrets.clone(),
            network: network as i32,
            security: self.security,
            platform: Some(self.platform.clone()),
            size: request.size,
            program: self.argv.join(" "),
            borrowed_tools: self.borrowed_tools,
        }
    }
}

fn mount(dest: &str, result: &str) -> pb::Mount {
    pb::Mount { input: -1, dest: dest.to_owned(), result_id: result.to_owned(), ..pb::Mount::default() }
}

fn meta(run: &Run, args: Vec<String>, tty: bool, borrowed_tools: bool, gateway: Option<&str>) -> pb::Meta {
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
    let address = |text| real_address(text, gateway).to_owned();
    let hosts = run.hosts.iter().map(|(host, ip)| pb::HostIp { host: host.clone(), ip: address(ip) });
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

/// The best shell of an image.
async fn shell_of(bridge: &Bridge, root: &str) -> Option<&'static str> {
    if root.is_empty() {
        return None;
    }
    // All at once: a builder may be far away.
    let asked =
        SHELLS.iter().map(|shell| async move { files::is_program(bridge, root, shell).await.then_some(*shell) });
    join_all(asked).await.into_iter().flatten().next()
}
