//! The engine as the session sees it, and what it keeps: the link to the builder, the builds' definitions, the
//! snapshots.

use super::address::{Address, Speaks};
use super::bases::{self, Bases};
use super::bridge::{Allowed, Bridge, EVALUATE};
use super::caches;
use super::content::Stores;
use super::definition::{Definition, Edge};
use super::filesync::Sources;
use super::mapping::Mapping;
use super::receive::Uploads;
use super::session::Session;
use super::snapshots::{Made, SCRATCH, Snapshot};
use super::toolbox::Toolbox;
use super::{channel, daemon, export, failed, files, frontend, mapping, session, shells, solve};
use crate::engine::settings::Settings;
use crate::engine::{
    Capabilities, ChangeSummary, Engine, EngineError, ExportRequest, Exported, Job, Output, OutputEvent, ResolvedImage,
    Shell, ShellRequest, StepError, StepErrorKind, StepOutcome,
};
use crate::image::digest::Digest;
use crate::layers::{FileTree, Layer};
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

/// Plans whose definitions are kept: the one in force, and those that steps may still run of.
const PLANS: usize = 4;
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

/// A plan, and what the builder makes of it.
pub(super) struct Build {
    plan: Arc<Plan>,
    pub(super) options: HashMap<String, String>,
    /// The target's definition, and those of stages that it does not reach.
    parts: Mutex<Vec<(Arc<Definition>, Mapping)>>,
    adding: tokio::sync::Mutex<()>,
    /// How often its vertices have been given other names.
    renamed: std::sync::atomic::AtomicU64,
}

/// Where one step is found in the definition of its plan.
pub(super) struct Place {
    pub(super) definition: Arc<Definition>,
    /// `None` is an empty file system.
    pub(super) edge: Option<Edge>,
    /// The vertices that are this step's alone.
    own: Vec<String>,
}

impl BuildKit {
    /// Connects to the builder. `reason` says why it is this one, where nobody asked for it.
    pub async fn start(
        address: Address,
        settings: Settings,
        entitlements: Vec<String>,
        reason: Option<String>,
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
        let mut limits = Vec::from_iter(reason);
        let imports = caches::imports(&settings.cache_from, &stores, &mut limits);
        let toolbox = Toolbox::new(settings.store.join("toolbox"), sources.clone());
        let mut engine = BuildKit {
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
            capabilities: Capabilities::default(),
            dockerfiles,
        };
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

    /// Refuses at once what the builder would refuse after the last step.
    async fn check(&self) -> Result<(), EngineError> {
        let Some(cache) = self.settings.cache_to.iter().find(|it| it.kind != "inline") else { return Ok(()) };
        match self.address.speaks == Speaks::BuildKit || daemon::is_whole(&self.address).await? {
            true => Ok(()),
            false => Err(EngineError {
                message: format!("--cache-to type={}: {} writes no such cache", cache.kind, self.address),
                help: vec![
                    "a Docker Engine does with its containerd image store; with the older one, type=inline is all"
                        .to_owned(),
                ],
            }),
        }
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
                && let Ok(bridge) = Bridge::open(&link.channel, link.session.clone(), &self.allowed).await
            {
                let fresh = Link::new(link.channel.clone(), link.session.clone(), bridge);
                *slot = Some(fresh.clone());
                return Ok(fresh);
            }
        }
        *slot = None;
        let channel = channel::open(&self.address).await?;
        let session = self.session(&channel).await?;
        let bridge = Bridge::open(&channel, session.clone(), &self.allowed).await?;
        let fresh = Link::new(channel, session, bridge);
        *slot = Some(fresh.clone());
        Ok(fresh)
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
        let session = self.session(&link.channel).await?;
        let bridge = Bridge::open(&link.channel, session.clone(), &self.allowed).await?;
        let fresh = Link::new(link.channel.clone(), session, bridge);
        *slot = Some(fresh.clone());
        Ok(fresh)
    }

    pub(super) fn build(&self, plan: &Arc<Plan>) -> Result<Arc<Build>, EngineError> {
        let builds = self.builds.lock().unwrap_or_else(PoisonError::into_inner);
        let found = builds.iter().rev().find(|build| Arc::ptr_eq(&build.plan, plan)).cloned();
        found.ok_or_else(|| EngineError::new("the builder has not been given this plan"))
    }

    /// The build that was prepared last.
    pub(super) fn last_build(&self) -> Result<Arc<Build>, EngineError> {
        let builds = self.builds.lock().unwrap_or_else(PoisonError::into_inner);
        builds.last().cloned().ok_or_else(|| EngineError::new("the builder has not been given a plan"))
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
        let definition = frontend::define(&link.bridge, options).await?;
        let mapping = mapping::map(&build.plan, stage, &definition);
        let mapping = mapping.map_err(|error| EngineError::new(error.to_string()))?;
        let mut parts = build.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.push((Arc::new(definition), mapping));
        Ok(())
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

    async fn vertex(&self, job: &Job, output: &Output, cancel: &CancellationToken) -> Result<StepOutcome, StepError> {
        let start = Instant::now();
        let afresh = job.no_cache && !matches!(job.step.op, Op::From(_));
        let mut link = self.link().await?;
        let mut place = self.place(&job.plan, job.step.id).await?;
        let again =
            |place: &Place| place.edge.as_ref().is_some_and(|edge| link.bridge.progress.ended(&edge.vertex).is_some());
        if afresh && again(&place) {
            self.build(&job.plan)?.rename();
            link.spoil();
            link = self.link().await?;
            place = self.place(&job.plan, job.step.id).await?;
        }
        // The session that the definition was made in may be gone.
        if self.build(&job.plan)?.move_to(&link.session.id) {
            place = self.place(&job.plan, job.step.id).await?;
        }
        let Some(edge) = &place.edge else { return Ok(outcome(SnapshotId(SCRATCH.to_owned()), start)) };
        let solved = solve::run(&link.bridge, &place.definition, edge, &place.own, afresh, output, cancel).await;
        let parent = job.parent.clone().filter(|_| !matches!(job.step.op, Op::From(_)));
        match solved {
            Ok(solved) => {
                let id = SnapshotId(format!("{}#{}", edge.vertex, edge.output));
                let held = Some((link.bridge.clone(), solved.result));
                let made = Made::Solved { definition: place.definition.clone(), edge: edge.clone() };
                let snapshot = self.keep(id, Snapshot::new(made, parent, held));
                let mut outcome = outcome(snapshot, start);
                if let Some(ended) = copied(&place.definition, edge, &link.bridge).or(solved.ended) {
                    outcome.cached = ended.cached;
                    outcome.duration = ended.duration;
                } else {
                    outcome.cached = !afresh;
                }
                Ok(outcome)
            }
            Err(unsolved) => {
                self.build(&job.plan)?.rename();
                link.spoil();
                let mut error = unsolved.error;
                let same = unsolved.details.vertex.as_ref().is_none_or(|vertex| *vertex == edge.vertex);
                let root = root_mount(&place.definition, edge);
                let left =
                    root.and_then(|index| unsolved.details.mounts.get(index)).filter(|id| same && !id.is_empty());
                if let Some(left) = left {
                    let id = SnapshotId(format!("failed:{left}"));
                    let held = Some((link.bridge.clone(), left.clone()));
                    error.after = Some(self.keep(id, Snapshot::new(Made::Failed, parent, held)));
                } else if matches!(error.kind, StepErrorKind::Exit(_)) && !link.bridge.can(EVALUATE) {
                    error.help.push("this builder is too old to show what a command that failed has left".to_owned());
                }
                Err(error)
            }
        }
    }
}

impl Link {
    fn new(channel: Channel, session: Arc<Session>, bridge: Bridge) -> Arc<Link> {
        Arc::new(Link { channel, session, bridge: Arc::new(bridge), stale: std::sync::atomic::AtomicBool::new(false) })
    }

    /// Nothing more is to be run in this bridge; what is held there stays.
    fn spoil(&self) {
        self.stale.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Build {
    /// Gives all vertices other names, so that a builder runs again what has failed.
    fn rename(&self) {
        let number = self.renamed.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        for (definition, mapping) in parts.iter_mut() {
            let (renamed, names) = definition.renamed(number);
            *mapping = mapping.renamed(&names);
            *definition = Arc::new(renamed);
        }
    }

    /// Makes its definitions such that directories are asked of this session; says whether they were others.
    fn move_to(&self, session: &str) -> bool {
        let mut moved = false;
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        for (definition, mapping) in parts.iter_mut() {
            if let Some((within, names)) = definition.within(session) {
                *mapping = mapping.renamed(&names);
                *definition = Arc::new(within);
                moved = true;
            }
        }
        moved
    }

    fn place(&self, step: StepId) -> Option<Place> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().find_map(|(definition, mapping)| {
            let edge = mapping.after(step)?.clone();
            let own = match &edge {
                Some(edge) => definition.own(&edge.vertex, |it| it != edge.vertex && mapping.is_step(it)),
                None => Vec::new(),
            };
            Some(Place { definition: definition.clone(), edge, own })
        })
    }
}

fn outcome(snapshot: SnapshotId, start: Instant) -> StepOutcome {
    StepOutcome { snapshot, cached: false, duration: start.elapsed(), changes: None, why: Vec::new() }
}

/// How the copy of a linked COPY ended: putting it on what lies below is no work.
fn copied(definition: &Definition, edge: &Edge, bridge: &Bridge) -> Option<super::progress::Ended> {
    let op = definition.op(&edge.vertex)?;
    let Some(pb::op::Op::Merge(merge)) = &op.op else { return None };
    let copy = Definition::input(op, merge.inputs.last()?.input)?;
    bridge.progress.ended(&copy.vertex)
}

/// The place of a command's file system among its mounts.
fn root_mount(definition: &Definition, edge: &Edge) -> Option<usize> {
    match &definition.op(&edge.vertex)?.op {
        Some(pb::op::Op::Exec(exec)) => exec.mounts.iter().position(|mount| mount.dest == "/"),
        _ => None,
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
    Capabilities { engine: engine.to_owned(), mode: address.name.clone(), limits }
}

#[async_trait]
impl Engine for BuildKit {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
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
        self.sources.set(frontend::DOCKERFILE, dir);
        let images = self.bases.contexts(&self.address, &self.settings, &self.stores, output).await?;
        let options = frontend::options(&self.settings, options, plan, images, self.resolve_mode());
        let definition = frontend::define(&link.bridge, options.clone()).await;
        let definition = definition.map_err(|error| frontend::point(error, &plan.dockerfile.text))?;
        let mapping = mapping::map(plan, plan.target, &definition);
        let mapping = mapping.map_err(|error| EngineError::new(error.to_string()))?;
        let build = Build {
            plan: plan.clone(),
            options,
            parts: Mutex::new(vec![(Arc::new(definition), mapping)]),
            adding: tokio::sync::Mutex::default(),
            renamed: std::sync::atomic::AtomicU64::default(),
        };
        let mut builds = self.builds.lock().unwrap_or_else(PoisonError::into_inner);
        builds.push(Arc::new(build));
        if builds.len() > PLANS {
            builds.remove(0);
        }
        Ok(())
    }

    async fn run(&self, job: Job, output: &Output, cancel: &CancellationToken) -> Result<StepOutcome, StepError> {
        let start = Instant::now();
        match &job.step.op {
            Op::Config | Op::From(Base::Stage(_) | Base::Scratch) => {
                let snapshot = job.parent.clone().unwrap_or_else(|| SnapshotId(SCRATCH.to_owned()));
                let changes = Some(ChangeSummary::default());
                Ok(StepOutcome { duration: Duration::ZERO, changes, ..outcome(snapshot, start) })
            }
            _ => self.vertex(&job, output, cancel).await,
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

    async fn export(&self, request: ExportRequest, output: &Output) -> Result<Exported, EngineError> {
        export::export(self, request, output).await
    }

    async fn discard(&self) -> Result<(), EngineError> {
        Err(EngineError {
            message: "this engine cannot drop what one build made".to_owned(),
            help: vec!["the builder keeps it as a cache: `docker builder prune` or `buildctl prune`".to_owned()],
        })
    }

    async fn close(&self) -> Result<(), EngineError> {
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
