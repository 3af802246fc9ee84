//! From a name on the command line to an image that can be analysed: one that exists, or the result of a build.

use super::args::BuildArgs;
use super::exit::Failure;
use super::follow::Followed;
use super::how_far::{self, Shown, taken};
use super::plain::printable;
use super::project;
use super::signals::Signals;
use crate::debug::{self, Session, Stop, StopReason};
use crate::engine::embedded::Embedded;
use crate::engine::{Engine, Output, OutputEvent, StepOutcome};
use crate::image::base::{self, Base, Candidate, Named as BaseNamed};
use crate::image::config::History;
use crate::image::inventory::how_far::HowFar;
use crate::image::inventory::{self, Inventory, Options, Progress};
use crate::image::source::{self, Opened, Pick, Source, SourceError, SourceErrorKind, Surroundings, Told};
use crate::names::platform::Platform;
use crate::plan::{Base as Under, Plan, StageId, StepId};
use crate::snapshot::image_records;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// An image that has been found: its configuration is here, its layers can be read.
pub struct Found {
    pub opened: Opened,
    /// Of a build context: how the image was made.
    pub build: Option<Build>,
    /// Whether it was looked up in a registry.
    from_registry: bool,
    /// Keeps what the layers lie in.
    engine: Option<Arc<dyn Engine>>,
}

/// A build that has ended well.
#[derive(Clone)]
pub struct Build {
    /// The Dockerfile's name for messages.
    pub name: String,
    pub plan: Arc<Plan>,
    /// Of every step that ran or was kept.
    pub outcomes: BTreeMap<StepId, StepOutcome>,
    /// The step that made each layer of the image, bottom first; the layers of a base image are its FROM's.
    pub layers: Vec<Option<StepId>>,
    /// Has the file system of each outcome.
    pub engine: Arc<dyn Engine>,
    /// Where the engine may have put the image.
    _dir: Arc<tempfile::TempDir>,
}

impl Build {
    /// To be called when nothing more is asked of the engine.
    pub async fn close(&self) -> Result<(), Failure> {
        Ok(self.engine.close().await?)
    }
}

/// What `--root`, `--platform` and the name say where the image is, and whether every byte is to be checked.
pub async fn open(args: &BuildArgs, verify: bool) -> Result<(Inventory, Option<Build>), Failure> {
    let found = find(args).await?;
    let inventory = found.read_shown(args, verify).await?;
    Ok((inventory, found.build))
}

/// The same, with the image that it is built on, where that is known.
pub async fn open_on_base(args: &BuildArgs, verify: bool) -> Result<(Inventory, Option<Build>, Option<Base>), Failure> {
    let found = find(args).await?;
    let (inventory, base) = tokio::join!(found.read_shown(args, verify), found.base(args));
    Ok((inventory?, found.build, base))
}

/// Finds the image that the command line names: in this machine's store, in a daemon, in a registry, in a file; or
/// builds it, if it names a build context.
pub async fn find(args: &BuildArgs) -> Result<Found, Failure> {
    let mut signals = Signals::listen();
    let shown = Shown::on_stderr();
    let tell = shown.clone();
    let told = Told::new(move |done, about| tell.say(|| taken(done, about)));
    let surroundings = Surroundings { told, ..surroundings() };
    let found = tokio::select! {
        found = look(args, &surroundings) => found,
        signal = signals.next() => Err(Failure::Signal(signal)),
    };
    shown.clear();
    found
}

impl Found {
    /// Reads all layers, and shows on a terminal how far that is.
    async fn read_shown(&self, args: &BuildArgs, verify: bool) -> Result<Inventory, Failure> {
        let shown = Shown::on_stderr();
        let sizes = self.opened.layers.iter().map(|layer| layer.size);
        let (tell, layers) = (shown.clone(), Mutex::new(HowFar::new(sizes)));
        let tell = move |progress| {
            let mut layers = layers.lock().unwrap_or_else(PoisonError::into_inner);
            layers.take(&progress);
            tell.say(|| how_far::read(&layers));
        };
        let read = self.read(args, verify, tell).await;
        shown.clear();
        read
    }

    /// Reads all layers. `progress` is called from several threads.
    pub async fn read(
        &self,
        args: &BuildArgs,
        verify: bool,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Inventory, Failure> {
        let options = reading(args, verify);
        let mut signals = Signals::listen();
        let read = tokio::select! {
            read = inventory::read(&self.opened, &options, progress) => read,
            signal = signals.next() => return Err(Failure::Signal(signal)),
        };
        // A build's engine is asked more.
        if self.build.is_none() {
            self.close().await?;
        }
        Ok(read?)
    }

    /// The image that this one is built on: of a build what its first FROM names, of an image the one that it says,
    /// or that it shares its lowest layers with, in the local store, a daemon or its registry. `None` where nothing
    /// says so.
    pub fn base(&self, args: &BuildArgs) -> impl Future<Output = Option<Base>> + Send + 'static {
        let here = match &self.build {
            Some(build) => of_build(build),
            None => self.in_store(args),
        };
        let (opened, from_registry, is_build) = (self.opened.clone(), self.from_registry, self.build.is_some());
        async move {
            match here {
                Some(base) => Some(base),
                None if is_build => None,
                None => base::elsewhere(&opened, from_registry, &surroundings()).await,
            }
        }
    }

    fn in_store(&self, args: &BuildArgs) -> Option<Base> {
        let root = project::store_root(args.on.store.root.as_deref()).ok()?;
        let layers: Vec<_> = self.opened.layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let known = image_records::known_images(&root).into_iter().map(|image| Candidate {
            name: image.name,
            digest: image.manifest,
            layers: image.layers.into_iter().map(|layer| layer.diff_id).collect(),
        });
        base::among(&layers, &BaseNamed::of(&self.opened.annotations, &self.opened.config), known)
    }

    /// To be called at the end: keeps what the store has learned meanwhile, and leaves a builder.
    pub async fn close(&self) -> Result<(), Failure> {
        match &self.engine {
            Some(engine) => Ok(engine.close().await?),
            None => Ok(()),
        }
    }
}

fn of_build(build: &Build) -> Option<Base> {
    let is_from = |step: &&Option<StepId>| step.is_some_and(|id| build.plan.step(id).keyword == "from");
    let layers = build.layers.iter().take_while(is_from).count();
    let first = build.layers.first().copied().flatten()?;
    let words = build.plan.step(first).text.split_whitespace().skip(1);
    let name = words.into_iter().find(|word| !word.starts_with("--"))?.to_owned();
    (layers > 0).then_some(Base { name, layers })
}

/// How layers are read.
pub fn reading(args: &BuildArgs, verify: bool) -> Options {
    Options { cache: cache(args.on.store.root.as_deref()), verify, trees: false, scratch: surroundings().scratch }
}

/// What a name on the command line stands for.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    Context,
    Image(String),
    /// A path of this machine, which may have colons in it: the name for it, and what it is.
    File(String, Source),
}

/// A directory is a build context, unless it is an OCI layout; a file is an archive; everything else is the name of
/// an image.
fn named(args: &BuildArgs) -> Result<Named, Failure> {
    let text = args.context.as_str();
    let path = Path::new(text);
    if text == "-" || args.file.is_some() {
        return Ok(Named::Context);
    }
    let is_path = text.starts_with(['.', '/']) || path.has_root();
    let has_transport = !matches!(text.parse(), Ok(Source::Registry(_))) && !is_path && text.contains(':');
    if has_transport {
        return Ok(Named::Image(text.to_owned()));
    }
    if path.is_dir() {
        if path.join("oci-layout").is_file() {
            return Ok(Named::File(format!("oci:{text}"), Source::OciLayout { dir: path.into(), pick: Pick::Any }));
        }
        // A directory that only happens to be called as an image is.
        let is_context = is_path || path.join("Dockerfile").exists() || !source::is_registry(text);
        return Ok(if is_context { Named::Context } else { Named::Image(text.to_owned()) });
    }
    if path.is_file() {
        let source = Source::DockerArchive { file: path.into(), pick: Pick::Any };
        return Ok(Named::File(format!("docker-archive:{text}"), source));
    }
    if is_path {
        return Err(Failure::Usage(format!("{text}: there is neither a build context nor an archive of this name")));
    }
    Ok(Named::Image(text.to_owned()))
}

async fn look(args: &BuildArgs, surroundings: &Surroundings) -> Result<Found, Failure> {
    let found = match named(args)? {
        Named::Context => return build(args).await,
        Named::Image(name) => image(&name, args, surroundings).await?,
        Named::File(name, source) => {
            let opened = source::open_source(&name, source, &platform(args)?, surroundings).await?;
            Found { opened, build: None, from_registry: false, engine: None }
        }
    };
    if let Some(wanted) = args.platform() {
        is_for(&found.opened, &platform_of(&wanted)?)?;
    }
    Ok(found)
}

/// An image that stands alone is taken whatever its platform, unless one is asked for.
fn is_for(opened: &Opened, wanted: &Platform) -> Result<(), SourceError> {
    let config = &opened.config;
    let is = config.platform();
    // Many configurations do not say the variant that their index says.
    let is_alike = (&is.os, &is.architecture) == (&wanted.os, &wanted.architecture);
    if config.architecture.is_empty() || is_alike || is.distance(wanted).is_some() {
        return Ok(());
    }
    let message = format!("{}: no image for {wanted}: it has {is}", opened.origin);
    Err(SourceError::new(SourceErrorKind::Platform, message)
        .with_help(format!("choose what is there: --platform {is}")))
}

async fn image(name: &str, args: &BuildArgs, surroundings: &Surroundings) -> Result<Found, Failure> {
    let platform = platform(args)?;
    let found = |opened: Opened, from_registry| Found { opened, build: None, from_registry, engine: None };
    let is_plain = source::is_registry(name) && !name.starts_with("docker://") && !name.starts_with("docker-image://");
    if !is_plain {
        let from_registry = source::is_registry(name);
        return Ok(found(source::open_in(name, &platform, surroundings).await?, from_registry));
    }
    // Where the embedded engine cannot run there is no store either.
    if let Some(engine) = store(args).await
        && let Some(opened) = engine.stored(name).await?
    {
        return Ok(Found { opened, build: None, from_registry: false, engine: Some(engine) });
    }
    let asked = args.platform().map(|text| platform_of(&text)).transpose()?;
    let as_asked = |opened: Opened| match &asked {
        Some(wanted) => is_for(&opened, wanted).map(|()| opened),
        None => Ok(opened),
    };
    let daemon = source::open_in(&format!("docker-daemon:{name}"), &platform, surroundings).await;
    let daemon = match daemon.and_then(as_asked) {
        Ok(opened) => return Ok(found(Opened { name: name.to_owned(), ..opened }, false)),
        Err(error) => error,
    };
    let error = match source::open_in(name, &platform, surroundings).await {
        Ok(opened) => return Ok(found(opened, true)),
        Err(error) => error,
    };
    let mut error = error.with_help(format!("it is not in the local store, and {daemon}"));
    if !name.contains(['/', ':']) {
        error = error.with_help(format!("for a build context in a directory of this name say ./{name}"));
    }
    Err(error.into())
}

/// The engine of a store that is there already.
async fn store(args: &BuildArgs) -> Option<Arc<Embedded>> {
    let settings = project::bare_settings(args.on.store.root.as_deref(), args.platform().as_deref()).ok()?;
    if !settings.store.is_dir() {
        return None;
    }
    Embedded::start(settings).await.ok().map(Arc::new)
}

fn platform(args: &BuildArgs) -> Result<String, Failure> {
    match args.platform() {
        None => Ok(Platform::host().to_string()),
        Some(text) => Ok(platform_of(&text)?.to_string()),
    }
}

fn platform_of(text: &str) -> Result<Platform, Failure> {
    if text.contains(',') {
        return Err(Failure::Usage(format!("--platform {text}: one image is of one platform: choose one")));
    }
    text.parse().map_err(|error| Failure::Usage(format!("--platform {text}: {error}")))
}

/// Whole images may have to be put down: `/tmp` is in memory on many machines.
fn surroundings() -> Surroundings {
    let usual = Surroundings::from_environment();
    let large = PathBuf::from("/var/tmp");
    match std::env::var_os("TMPDIR").is_none() && large.is_dir() {
        true => Surroundings { scratch: large, ..usual },
        false => usual,
    }
}

/// The directory of the indexes in the store's.
pub const INDEXES: &str = "indexes";

/// Where indexes of layers are kept from one time to the next.
fn cache(root: Option<&Path>) -> Option<PathBuf> {
    project::store_root(root).ok().map(|root| root.join(INDEXES))
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Failure {
        match error.kind {
            SourceErrorKind::Reference => {
                let help = error.help.iter().map(|line| format!("\n  help: {line}")).collect::<String>();
                Failure::Usage(format!("{}{help}", error.message))
            }
            _ => Failure::Build { message: error.message, help: error.help },
        }
    }
}

async fn build(args: &BuildArgs) -> Result<Found, Failure> {
    let project = project::open(args)?;
    let engine = super::engine::start(args, &project).await?;
    let mut build = Followed::plainly(project.setup(engine.clone()));
    let result = match build.stopped().await {
        Ok((Stop { reason: StopReason::End, .. }, plan)) => {
            let outcomes = std::mem::take(&mut build.outcomes);
            finish(&build.session, &engine, &project.name, plan, outcomes).await
        }
        Ok(_) => Err(Failure::Other("the build stopped before its end".to_owned())),
        Err(failure) => Err(failure),
    };
    build.end().await;
    if result.is_err() {
        engine.close().await?;
    }
    result
}

async fn finish(
    session: &Session,
    engine: &Arc<dyn Engine>,
    name: &str,
    plan: Arc<Plan>,
    outcomes: BTreeMap<StepId, StepOutcome>,
) -> Result<Found, Failure> {
    let debug::Built { at, config, .. } = session.image().await?;
    let (sender, mut events) = mpsc::channel(64);
    let drain =
        async { while let Some(OutputEvent::Progress { .. } | OutputEvent::Notice(_)) = events.recv().await {} };
    let dir = tempfile::tempdir_in(surroundings().scratch);
    let dir = Arc::new(dir.map_err(|error| Failure::Other(format!("no temporary directory: {error}")))?);
    let made = config.history.clone();
    let pack = async {
        let output = Output(sender);
        engine.open_image(name, &at, config, &plan, dir.path(), &output).await
    };
    let (opened, ()) = tokio::join!(pack, drain);
    let opened = opened?;
    let mut layers = vec![None; opened.layers.len()];
    // Instructions that make a layer make one each; what lies below is the FROM's.
    let steps = chain(&plan, plan.target);
    let own: Vec<StepId> = steps.iter().copied().filter(|step| plan.step(*step).layer).collect();
    let own = with_layers(own, &made, &opened.config.history);
    let below = layers.len().saturating_sub(own.len());
    layers[..below].fill(steps.first().copied());
    layers.iter_mut().skip(below).zip(own).for_each(|(layer, step)| *layer = Some(step));
    let build = Build { name: name.to_owned(), plan, outcomes, layers, engine: engine.clone(), _dir: dir };
    Ok(Found { opened, build: Some(build), from_registry: false, engine: Some(engine.clone()) })
}

/// Those of the steps whose layers are in the image: a builder leaves out layers with nothing in them, and says so in the
/// history. `made` is the history as if it did not.
fn with_layers(steps: Vec<StepId>, made: &[History], written: &[History]) -> Vec<StepId> {
    if made.len() != written.len() {
        return steps;
    }
    let left: Vec<bool> =
        made.iter().zip(written).filter(|(made, _)| !made.empty_layer).map(|(_, it)| !it.empty_layer).collect();
    let own = left.len().checked_sub(steps.len()).and_then(|below| left.get(below..));
    let Some(own) = own else { return steps };
    steps.into_iter().zip(own).filter_map(|(step, left)| left.then_some(step)).collect()
}

/// The steps that a stage's file system comes from, the first first: those of the stages it begins with, too.
pub fn chain(plan: &Plan, stage: StageId) -> Vec<StepId> {
    let mut stages = vec![stage];
    let mut at = stage;
    while let Under::Stage(base) = plan.stage(at).base {
        if stages.contains(&base) {
            break;
        }
        stages.push(base);
        at = base;
    }
    stages.iter().rev().flat_map(|id| plan.stage(*id).steps.iter().map(|step| step.id)).collect()
}

/// What could not be read, on standard error, one line each.
pub fn warn(inventory: &Inventory) {
    inventory.broken().for_each(|line| super::print::note(format_args!("warning: {}", printable(line))));
}

#[cfg(test)]
mod tests {
    use super::super::args::Cli;
    use super::*;
    use clap::Parser;

    fn args(words: &[&str]) -> BuildArgs {
        Cli::parse_from(["stagedive"].iter().chain(words)).debug.build
    }

    #[test]
    fn names_are_contexts_or_images() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        std::fs::create_dir_all(dir.path().join("layout")).unwrap();
        std::fs::create_dir_all(dir.path().join("project")).unwrap();
        std::fs::write(dir.path().join("layout/oci-layout"), "{}").unwrap();
        std::fs::write(dir.path().join("image.tar"), "").unwrap();
        std::fs::write(dir.path().join("app:1.2.tar"), "").unwrap();
        let check =
            |words: &[&str], expected: Option<Named>| assert_eq!(named(&args(words)).ok(), expected, "{words:?}");
        let image = |text: &str| Some(Named::Image(text.to_owned()));
        check(&[&path("project")], Some(Named::Context));
        let layout = Source::OciLayout { dir: path("layout").into(), pick: Pick::Any };
        check(&[&path("layout")], Some(Named::File(format!("oci:{}", path("layout")), layout)));
        for name in ["image.tar", "app:1.2.tar"].map(path) {
            let archive = Source::DockerArchive { file: name.clone().into(), pick: Pick::Any };
            check(&[&name], Some(Named::File(format!("docker-archive:{name}"), archive)));
        }
        check(&[&path("nothing")], None);
        check(&["."], Some(Named::Context));
        check(&["-"], Some(Named::Context));
        check(&["-f", "x", "src"], Some(Named::Context));
        check(&["alpine:3"], image("alpine:3"));
        check(&["docker-daemon:alpine"], image("docker-daemon:alpine"));
        check(&["oci:some/dir:tag"], image("oci:some/dir:tag"));
        // Called as an image is, and no project.
        check(&["src"], image("src"));
        check(&["demo/hello"], Some(Named::Context));
    }

    #[test]
    fn a_platform_that_is_asked_for_is_the_images() {
        let dir = tempfile::tempdir().unwrap();
        let image = |platform: &str| -> Opened {
            let (os, architecture) = platform.split_once('/').unwrap();
            let config = serde_json::json!({"os": os, "architecture": architecture, "rootfs": {"diff_ids": []}});
            let at = dir.path().join(architecture);
            std::fs::create_dir_all(at.join("blobs/sha256")).unwrap();
            let put = |kind: &str, content: &serde_json::Value| {
                let bytes = content.to_string().into_bytes();
                let digest = crate::image::digest::Digest::of(&bytes);
                std::fs::write(at.join("blobs/sha256").join(digest.hex()), &bytes).unwrap();
                let media_type = format!("application/vnd.oci.image.{kind}.v1+json");
                serde_json::json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
            };
            let manifest = serde_json::json!({"schemaVersion": 2, "config": put("config", &config), "layers": []});
            let index = serde_json::json!({"schemaVersion": 2, "manifests": [put("manifest", &manifest)]});
            std::fs::write(at.join("index.json"), index.to_string()).unwrap();
            let (name, surroundings) = (format!("oci:{}", at.display()), surroundings());
            let opening = source::open_in(&name, "linux/amd64", &surroundings);
            tokio::runtime::Runtime::new().unwrap().block_on(opening).unwrap()
        };
        let check = |platform: &str, wanted: &str, expected: Option<&str>| {
            let message = is_for(&image(platform), &platform_of(wanted).unwrap()).err().map(|it| it.to_string());
            assert_eq!(message.is_none(), expected.is_none(), "{message:?}");
            assert!(message.unwrap_or_default().contains(expected.unwrap_or_default()));
        };
        check("linux/amd64", "linux/amd64", None);
        check("linux/arm64", "linux/arm64", None);
        check("linux/arm", "linux/arm/v6", None);
        check("linux/arm64", "linux/amd64", Some("no image for linux/amd64: it has linux/arm64"));
        check("windows/amd64", "linux/amd64", Some("it has windows/amd64"));
    }

    #[test]
    fn steps_whose_layers_a_builder_leaves_out() {
        let history = |text: &str| -> Vec<History> {
            text.chars().map(|it| History { empty_layer: it == '-', ..History::default() }).collect()
        };
        let check = |steps: u32, made: &str, written: &str, expected: &[u32]| {
            let steps = (1..=steps).map(|index| StepId { stage: StageId(0), index }).collect();
            let left = with_layers(steps, &history(made), &history(written));
            assert_eq!(left.iter().map(|it| it.index).collect::<Vec<_>>(), expected, "{made} as {written}");
        };
        check(2, "+-+-+", "+-+-+", &[1, 2]);
        check(2, "+-+-+", "+---+", &[2]);
        check(2, "+-+-+", "+-+--", &[1]);
        check(2, "+-+", "+-+", &[1, 2]);
        check(3, "+-+", "+-+", &[1, 2, 3]);
        check(2, "++", "+", &[1, 2]);
    }
}
