//! The engine as the session sees it, and what it keeps: the link to the builder, the builds' definitions, the
//! snapshots.

use super::address::{Address, Speaks};
use super::ahead::Ahead;
use super::bases::{self, Bases};
use super::bridge::{Allowed, Bridge, EVALUATE};
use super::build::{Build, Place};
use super::caches;
use super::content::Stores;
use super::filesync::Sources;
use super::receive::Uploads;
use super::session::Session;
use super::snapshots::{SCRATCH, Snapshot};
use super::toolbox::Toolbox;
use super::{channel, daemon, export, failed, files, frontend, session, shells, steps};
use crate::engine::settings::Settings;
use crate::engine::{
    Capabilities, ChangeSummary, Engine, EngineError, ExportRequest, Exported, Job, Output, OutputEvent, ResolvedImage,
    Shell, ShellRequest, StepError, StepOutcome,
};
use crate::image::digest::Digest;
use crate::layers::{FileTree, Layer};
use crate::plan::options::HOST_GATEWAY;
use crate::plan::step::image_and_platform;
use crate::plan::{Base, Op, Options, Plan, StageId, StepId};
use crate::snapshot::SnapshotId;
use async_trait::async_trait;
use bollard_buildkit_proto::moby::buildkit::v1::frontend as gateway;
use bollard_buildkit_proto::pb;
use bstr::{BString, ByteSlice};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// Trees that are kept, the one asked for last last.
const TREES: usize = 4;

pub struct BuildKit {
    pub(super) settings: Settings,
    pub(super) address: Address,
    pub(super) allowed: Allowed,
    /// Directories that the builder may ask for.
    pub(super) sources: Arc<Sources>,
    pub(super) uploads: Arc<Uploads>,
    /// Images and caches that the builder may ask for.
    pub(super) stores: Arc<Stores>,
    bases: Bases,
    link: tokio::sync::Mutex<Option<Arc<Link>>>,
    builds: Mutex<Vec<Arc<Build>>>,
    pub(super) snapshots: Mutex<HashMap<SnapshotId, Arc<Snapshot>>>,
    images: Mutex<BTreeMap<String, ResolvedImage>>,
    trees: Mutex<Vec<(SnapshotId, Arc<FileTree>)>>,
    pub(super) toolbox: Toolbox,
    pub(super) ahead: Ahead,
    capabilities: Capabilities,
    /// Holds the Dockerfiles that the builder reads.
    dockerfiles: tempfile::TempDir,
}

/// A connection to the builder with a session and a bridge in it.
pub(super) struct Link {
    pub(super) channel: Channel,
    pub(super) session: Arc<Session>,
    pub(super) bridge: Arc<Bridge>,
    /// Whether the next step needs a bridge of its own: in one bridge a builder runs nothing twice.
    stale: std::sync::atomic::AtomicBool,
}

impl BuildKit {
    /// Connects to the builder. `reason` says why it is this one, where nobody asked for it.
    pub async fn start(
        address: Address,
        settings: Settings,
        entitlements: Vec<String>,
        reason: Option<String>,
    ) -> Result<BuildKit, EngineError> {
        let mut limits = Vec::from_iter(reason);
        let mut engine = BuildKit::new(address, settings, entitlements, &mut limits)?;
        let link = engine.link().await?;
        engine.capabilities = capabilities(&engine.address, &link.bridge);
        if engine.settings.no_cache {
            limits.push(
                "without the cache, each RUN that mounts a cache begins with it empty: docker build empties it once"
                    .to_owned(),
            );
        }
        engine.capabilities.limits.splice(0..0, limits);
        engine.check().await?;
        Ok(engine)
    }

    /// One that is not connected yet; adds to `limits` what is said of the caches.
    fn new(
        address: Address,
        settings: Settings,
        entitlements: Vec<String>,
        limits: &mut Vec<String>,
    ) -> Result<BuildKit, EngineError> {
        let dockerfiles = tempfile::tempdir();
        let dockerfiles =
            dockerfiles.map_err(|error| EngineError::new(format!("no temporary directory can be made: {error}")))?;
        let sources = Arc::new(Sources::default());
        if let Some(context) = &settings.context {
            sources.set(frontend::CONTEXT, context.path.clone());
        }
        for (name, context) in &settings.directories {
            sources.set(&frontend::local_name(name), context.path.clone());
        }
        let stores = Arc::<Stores>::default();
        let imports = caches::imports(&settings.cache_from, &stores, limits);
        let toolbox = Toolbox::new(settings.store.join("toolbox"), sources.clone());
        Ok(BuildKit {
            settings,
            address,
            allowed: Allowed { entitlements, imports },
            sources,
            uploads: Arc::new(Uploads::default()),
            stores,
            bases: Bases::default(),
            link: tokio::sync::Mutex::default(),
            builds: Mutex::default(),
            snapshots: Mutex::default(),
            images: Mutex::default(),
            trees: Mutex::default(),
            toolbox,
            ahead: Ahead::default(),
            capabilities: Capabilities::default(),
            dockerfiles,
        })
    }

    /// Refuses at once what the builder would refuse after the last step.
    async fn check(&self) -> Result<(), EngineError> {
        let cache = self.settings.cache_to.iter().find(|it| it.kind != "inline");
        let stated = self.settings.attestations.keys().next();
        if cache.is_none() && stated.is_none() {
            return Ok(());
        }
        if self.address.speaks == Speaks::BuildKit || daemon::is_whole(&self.address).await? {
            return Ok(());
        }
        if let Some(cache) = cache {
            let message = format!("--cache-to type={}: {} writes no such cache", cache.kind, self.address);
            let help = "a Docker Engine does with its containerd image store; with the older one, type=inline is all";
            return Err(EngineError::new(message).with_help(help));
        }
        let kind = stated.map_or("attest", String::as_str);
        let message = format!("--{kind}: {} keeps no attestations with its images", self.address);
        Err(EngineError::new(message)
            .with_help("a Docker Engine does with its containerd image store, and every BuildKit: see --builder"))
    }

    /// The link to the builder; a new one if the last is lost.
    pub(super) async fn link(&self) -> Result<Arc<Link>, EngineError> {
        let mut slot = self.link.lock().await;
        if let Some(link) = &*slot {
            let stale = link.stale.load(std::sync::atomic::Ordering::Relaxed);
            if !link.session.ended.is_cancelled() && link.bridge.is_open() && !stale {
                return Ok(link.clone());
            }
            // A bridge of its own, in the session that there is.
            if !link.session.ended.is_cancelled()
                && let Ok(bridge) =
                    Bridge::open(&self.address, &link.channel, link.session.clone(), &self.allowed).await
            {
                let fresh = Link::new(link.channel.clone(), link.session.clone(), bridge);
                *slot = Some(fresh.clone());
                return Ok(fresh);
            }
        }
        *slot = None;
        let fresh = self.link_through(channel::open(&self.address).await?).await?;
        *slot = Some(fresh.clone());
        Ok(fresh)
    }

    /// A link with a session of its own.
    async fn link_through(&self, channel: Channel) -> Result<Arc<Link>, EngineError> {
        let session = self.session(&channel).await?;
        let bridge = Bridge::open(&self.address, &channel, session.clone(), &self.allowed).await?;
        Ok(Link::new(channel, session, bridge))
    }

    async fn session(&self, channel: &Channel) -> Result<Arc<Session>, EngineError> {
        let (sources, uploads, stores) = (self.sources.clone(), self.uploads.clone(), self.stores.clone());
        session::open(&self.address, channel, &self.settings, sources, uploads, stores).await.map(Arc::new)
    }

    /// A link for another plan: in a session of its own, as in one that a builder knows it sees no changes of files.
    async fn fresh_link(&self) -> Result<Arc<Link>, EngineError> {
        let link = self.link().await?;
        let first = self.builds.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if first {
            return Ok(link);
        }
        let mut slot = self.link.lock().await;
        let fresh = self.link_through(link.channel.clone()).await?;
        *slot = Some(fresh.clone());
        Ok(fresh)
    }

    pub(super) fn build(&self, plan: &Arc<Plan>) -> Result<Arc<Build>, EngineError> {
        let builds = self.builds.lock().unwrap_or_else(PoisonError::into_inner);
        let found = builds.iter().rev().find(|build| Arc::ptr_eq(&build.plan, plan)).cloned();
        found.ok_or_else(|| EngineError::new("the builder has not been given this plan"))
    }

    /// Where a step is found. Stages that the target does not reach are asked for when they are needed.
    pub(super) async fn place(&self, plan: &Arc<Plan>, step: StepId) -> Result<Place, EngineError> {
        let build = self.build(plan)?;
        if let Some(place) = build.place(step) {
            return Ok(place);
        }
        let _one = build.adding.lock().await;
        if let Some(place) = build.place(step) {
            return Ok(place);
        }
        self.add_stage(&build, step.stage).await?;
        build
            .place(step)
            .ok_or_else(|| EngineError::new("the builder's definition of the build lacks this instruction"))
    }

    async fn add_stage(&self, build: &Build, stage: StageId) -> Result<(), EngineError> {
        let link = self.link().await?;
        let mut options = build.options.clone();
        frontend::set_target(&mut options, &build.plan, stage);
        self.sources.set(frontend::DOCKERFILE, build.dockerfile.clone());
        let definition = frontend::define(&link.bridge, options).await?;
        build.add(stage, definition)
    }

    /// Where images are looked for: a Docker Engine has some of its own.
    fn resolve_mode(&self) -> &'static str {
        match self.address.speaks {
            _ if self.settings.pull => "pull",
            Speaks::Docker => "local",
            Speaks::BuildKit => "default",
        }
    }

    fn remember(&self, image: ResolvedImage) -> ResolvedImage {
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        images.insert(image.name.clone(), image.clone());
        image
    }
}

impl Link {
    fn new(channel: Channel, session: Arc<Session>, bridge: Bridge) -> Arc<Link> {
        Arc::new(Link { channel, session, bridge: Arc::new(bridge), stale: std::sync::atomic::AtomicBool::new(false) })
    }

    /// Nothing more is to be run in this bridge; what is held there stays.
    pub(super) fn spoil(&self) {
        self.stale.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

fn capabilities(address: &Address, bridge: &Bridge) -> Capabilities {
    let engine = match address.speaks {
        Speaks::Docker => "docker",
        Speaks::BuildKit => "buildkit",
    };
    let mut limits = vec![
        "a file that is written again as it was is not counted as changed: the builder does not tell it".to_owned(),
    ];
    if !bridge.can(EVALUATE) {
        limits.push(
            "this builder is old (before Docker 23, BuildKit 0.11): no shell after a failure, no signals to a shell"
                .to_owned(),
        );
    }
    if !bridge.runs_our_programs() {
        limits.push(
            "the builder's machine runs no programs of this one: no shell in images that have none, and neither what a shell \
             changed nor what a failed instruction left is shown"
                .to_owned(),
        );
    }
    Capabilities { engine: engine.to_owned(), mode: address.name.clone(), limits, one_user: false }
}

#[async_trait]
impl Engine for BuildKit {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn on(&self, platform: &str) -> Result<Arc<dyn Engine>, EngineError> {
        let settings = Settings { platform: platform.to_owned(), ..self.settings.clone() };
        let entitlements = self.allowed.entitlements.clone();
        let mut engine = BuildKit::new(self.address.clone(), settings, entitlements, &mut Vec::new())?;
        engine.capabilities = self.capabilities.clone();
        // One connection does for all platforms, until it is lost.
        let channel = self.link().await?.channel.clone();
        *engine.link.lock().await = Some(engine.link_through(channel).await?);
        Ok(Arc::new(engine))
    }

    async fn resolve(&self, image: &str, output: &Output) -> Result<ResolvedImage, EngineError> {
        let known = self.images.lock().unwrap_or_else(PoisonError::into_inner).get(image).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let (name, platform) = image_and_platform(image);
        let platform = platform.unwrap_or(&self.settings.platform);
        let reference = match self.settings.images.get(name) {
            Some(source) => match bases::in_registry(source) {
                Some(reference) => reference,
                None => {
                    let opened = crate::image::source::open(source, platform).await;
                    let opened = opened.map_err(|error| bases::unusable(name, source, error))?;
                    let (digest, config, origin) = (opened.manifest, opened.config, opened.origin);
                    return Ok(self.remember(ResolvedImage { name: image.to_owned(), digest, config, origin }));
                }
            },
            None => crate::image::reference::normalized(name),
        };
        let notice = OutputEvent::Progress { what: format!("looking up {name}"), done: 0, total: 0 };
        let _ = output.0.send(notice).await;
        let link = self.link().await?;
        let request = gateway::ResolveImageConfigRequest {
            r#ref: reference.clone(),
            platform: Some(platform_message(platform)),
            resolve_mode: self.resolve_mode().to_owned(),
            log_name: format!("[internal] load metadata for {reference}"),
            ..gateway::ResolveImageConfigRequest::default()
        };
        let bridge = &link.bridge;
        let answer = bridge.answer(bridge.client().resolve_image_config(bridge.request(request))).await;
        let answer = answer.map_err(|status| bridge.lost(&format!("cannot get the image {name}"), &status))?;
        let config = serde_json::from_slice(&answer.config)
            .map_err(|error| EngineError::new(format!("the configuration of the image {name}: {error}")))?;
        let resolved = ResolvedImage {
            name: image.to_owned(),
            digest: answer.digest.parse::<Digest>().ok(),
            config,
            origin: format!("the builder at {}", self.address),
        };
        Ok(self.remember(resolved))
    }

    async fn prepare(&self, plan: &Arc<Plan>, options: &Options, output: &Output) -> Result<(), EngineError> {
        let link = self.fresh_link().await?;
        let dir = frontend::write_dockerfile(self.dockerfiles.path(), plan, self.settings.context.as_ref());
        let dir =
            dir.map_err(|error| EngineError::new(format!("the Dockerfile cannot be given to the builder: {error}")))?;
        self.sources.set(frontend::DOCKERFILE, dir.clone());
        let gateway = link.bridge.host_gateway.as_deref();
        if gateway.is_none() && options.hosts.iter().any(|(_, address)| address == HOST_GATEWAY) {
            let message = format!("--add-host NAME:{HOST_GATEWAY}: {} does not tell its host's address", self.address);
            return Err(EngineError::new(message).with_help("a Docker Engine does; elsewhere give the address itself"));
        }
        if !options.ulimits.is_empty() || options.shm_size.is_some() {
            let notice = "--ulimit and --shm-size do not hold in shells: BuildKit takes them for RUN alone";
            let _ = output.0.send(OutputEvent::Notice(notice.to_owned())).await;
        }
        let images = self.bases.contexts(&self.address, &self.settings, &self.stores, output).await?;
        let options = frontend::options(&self.settings, options, plan, images, self.resolve_mode(), gateway);
        let definition = frontend::define(&link.bridge, options.clone()).await;
        let definition = definition.map_err(|error| frontend::point(error, &plan.dockerfile.text))?;
        let build = Build::new(plan.clone(), dir, options, definition)?;
        let mut builds = self.builds.lock().unwrap_or_else(PoisonError::into_inner);
        // What was planned before is kept as long as somebody can go back to it.
        builds.retain(|build| Arc::strong_count(&build.plan) > 1);
        builds.push(Arc::new(build));
        Ok(())
    }

    async fn run(&self, job: Job, output: &Output, cancel: &CancellationToken) -> Result<StepOutcome, StepError> {
        let start = Instant::now();
        match &job.step.op {
            Op::Config | Op::From(Base::Stage(_) | Base::Scratch) => {
                let snapshot = job.parent.clone().unwrap_or_else(|| SnapshotId(SCRATCH.to_owned()));
                let changes = Some(ChangeSummary::default());
                Ok(StepOutcome { duration: Duration::ZERO, changes, ..steps::outcome(snapshot, start) })
            }
            _ => self.solve(&job, output, cancel).await,
        }
    }

    async fn tree(&self, at: &SnapshotId) -> Result<Arc<FileTree>, EngineError> {
        {
            let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(index) = trees.iter().position(|(id, _)| id == at) {
                let found = trees.remove(index);
                trees.push(found.clone());
                return Ok(found.1);
            }
        }
        let layers = self.stack(at).await?;
        let merged = tokio::task::spawn_blocking(move || FileTree::merge(&layers)).await;
        let tree = Arc::new(merged.map_err(|error| EngineError::new(error.to_string()))?);
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        if trees.len() >= TREES {
            trees.remove(0);
        }
        trees.push((at.clone(), tree.clone()));
        Ok(tree)
    }

    async fn layers(&self, at: &SnapshotId) -> Result<Vec<Arc<Layer>>, EngineError> {
        self.stack(at).await
    }

    async fn changes(&self, at: &SnapshotId) -> Result<ChangeSummary, EngineError> {
        self.count(at).await
    }

    async fn read(&self, at: &SnapshotId, path: &BString, offset: u64, limit: usize) -> Result<Vec<u8>, EngineError> {
        let (bridge, result) = self.held(at).await?;
        if result.is_empty() {
            return Err(EngineError::new(format!("/{path}: no such file")));
        }
        match self.snapshot(at)?.is_some_and(|it| it.is_failed()) {
            true => failed::read(self, &bridge, &result, path.as_bstr(), offset, limit).await,
            false => files::read(&bridge, &result, path.as_bstr(), offset, limit).await,
        }
    }

    async fn shell(&self, request: ShellRequest) -> Result<Shell, EngineError> {
        shells::start(self, request).await
    }

    async fn expect_shell(&self, request: ShellRequest) {
        shells::expect(self, request).await;
    }

    async fn export(&self, request: ExportRequest, output: &Output) -> Result<Exported, EngineError> {
        export::export(self, request, output).await
    }

    async fn discard(&self) -> Result<(), EngineError> {
        Err(EngineError::new("this engine cannot drop what one build made")
            .with_help("the builder keeps it as a cache: `docker builder prune` or `buildctl prune`"))
    }

    async fn close(&self) -> Result<(), EngineError> {
        self.ahead.clear();
        let link = self.link.lock().await.take();
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).clear();
        if let Some(link) = link {
            link.bridge.close().await;
        }
        Ok(())
    }
}

pub(super) fn platform_message(text: &str) -> pb::Platform {
    let mut parts = text.split('/').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    pb::Platform { os: next(), architecture: next(), variant: next(), ..pb::Platform::default() }
}
