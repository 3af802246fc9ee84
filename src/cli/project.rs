//! From arguments to what a session needs: the Dockerfile, the contexts, the engine's settings.

use super::args::{BuildArgs, NetworkMode};
use super::exit::Failure;
use super::pairs::pairs;
use super::remote::{self, Fetched};
use super::{cache, proxies, unpack};
use crate::debug::Setup;
use crate::dockerfile::fields::boolean;
use crate::engine::Engine;
use crate::engine::settings::{Context, Secret, Settings};
use crate::image::compression::{self, Format};
use crate::image::source::Source;
use crate::names::platform::Platform;
use crate::plan::options::HOST_GATEWAY;
use crate::plan::remote::Remote;
use crate::plan::{Network, Options, Ulimit};
use crate::system;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A build, ready to be given to a session.
pub struct Project {
    pub settings: Settings,
    pub options: Options,
    /// The Dockerfile's name for messages.
    pub name: String,
    pub read: Arc<dyn Fn() -> io::Result<Vec<u8>> + Send + Sync>,
    /// The file itself, where it is one.
    pub dockerfile: Option<PathBuf>,
    pub no_cache: bool,
    /// Holds what came on standard input or from elsewhere; removed at the end.
    _fetched: Option<tempfile::TempDir>,
}

impl Project {
    /// The same build for another platform.
    pub fn on(&self, platform: &Platform) -> Project {
        let settings = Settings { platform: platform.to_string(), ..self.settings.clone() };
        Project {
            options: Options { platform: Some(settings.platform.clone()), ..self.options.clone() },
            settings,
            name: self.name.clone(),
            read: self.read.clone(),
            dockerfile: self.dockerfile.clone(),
            no_cache: self.no_cache,
            _fetched: None,
        }
    }

    pub fn setup(&self, engine: Arc<dyn Engine>) -> Setup {
        Setup {
            engine,
            options: self.options.clone(),
            name: self.name.clone(),
            read: self.read.clone(),
            context: self.settings.context.clone(),
            paused: false,
            break_on_failure: true,
            no_cache: self.no_cache,
            count: false,
            shells: false,
            breakpoints: Vec::new(),
        }
    }
}

/// As much of a Dockerfile as is read.
const DOCKERFILE_LIMIT: u64 = 64 << 20;

pub fn open(args: &BuildArgs) -> Result<Project, Failure> {
    let from_stdin = args.file.as_deref() == Some(Path::new("-"));
    if from_stdin && args.context == "-" {
        return Err(Failure::Usage("the Dockerfile and the context cannot both be standard input".to_owned()));
    }
    let mut temporary_dir = None;
    let mut text = None;
    let address = match args.context.as_str() {
        "-" => None,
        context => remote::address(context)?,
    };
    let context = match (args.context.as_str(), address) {
        ("-", _) => {
            let dir = temporary()?;
            let failed = |error: io::Error| Failure::Usage(format!("standard input: {error}"));
            text = unpacked(io::stdin().lock(), dir.path()).map_err(failed)?;
            let path = dir.path().to_owned();
            temporary_dir = Some(dir);
            path
        }
        (context, Some(found)) => {
            let dir = temporary()?;
            let path = match fetched(args, found, dir.path())? {
                Fetched::Directory(path) => path,
                Fetched::File(file) => {
                    let below = dir.path().join("context");
                    let shown = remote::shown(context);
                    let failed = |error: io::Error| Failure::Usage(format!("the context {shown}: {error}"));
                    std::fs::create_dir(&below).map_err(failed)?;
                    text = unpacked(std::fs::File::open(&file).map_err(failed)?, &below).map_err(failed)?;
                    below
                }
            };
            temporary_dir = Some(dir);
            path
        }
        (path, None) => {
            let path = Path::new(path);
            let absolute = system::canonical(path)
                .map_err(|error| Failure::Usage(format!("the context {} cannot be opened: {error}", path.display())))?;
            if !absolute.is_dir() {
                return Err(Failure::Usage(format!("the context {} is not a directory", path.display())));
            }
            absolute
        }
    };
    if from_stdin {
        text = Some(read_stdin()?);
    }
    let dockerfile = match (&text, &args.file) {
        (Some(_), _) => None,
        // As docker does: a path is the caller's; a name that is not there may be the context's.
        (None, Some(file)) if temporary_dir.is_none() || file.exists() => Some(file.clone()),
        (None, file) => Some(context.join(file.as_deref().unwrap_or(Path::new("Dockerfile")))),
    };
    let name = match (&dockerfile, &args.file) {
        (None, _) if from_stdin || args.context == "-" => "standard input".to_owned(),
        (None, _) => remote::shown(&args.context),
        (Some(_), Some(file)) => file.display().to_string(),
        (Some(_), None) if args.context == "." => "Dockerfile".to_owned(),
        (Some(_), None) => Path::new(&remote::shown(&args.context)).join("Dockerfile").display().to_string(),
    };
    let read: Arc<dyn Fn() -> io::Result<Vec<u8>> + Send + Sync> = match (text, dockerfile.clone()) {
        (Some(text), _) => Arc::new(move || Ok(text.clone())),
        (None, Some(path)) => Arc::new(move || read_limited(std::fs::File::open(&path)?)),
        (None, None) => Arc::new(|| Err(io::ErrorKind::NotFound.into())),
    };
    let ignore_files = dockerfile.iter().map(|file| {
        let mut name = file.clone().into_os_string();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    let ignore_files: Vec<PathBuf> = ignore_files.chain([context.join(".dockerignore")]).collect();
    if temporary_dir.is_some() {
        let mut own = dockerfile.iter().chain(&ignore_files).filter(|file| file.starts_with(&context));
        own.try_for_each(|file| stays_inside(&context, file))?;
    }
    read().map_err(|error| {
        Failure::Dockerfile(format!("stagedive: cannot read {name}: {error}\n  help: name the Dockerfile with -f FILE"))
    })?;
    let mut settings = settings(args)?;
    settings.context = Some(Context { path: context, ignore_files });
    let options = options(args, &settings)?;
    Ok(Project { settings, options, name, read, dockerfile, no_cache: args.no_cache, _fetched: temporary_dir })
}

/// A context that was fetched may have links, and none of them is to show a file of this machine.
fn stays_inside(context: &Path, file: &Path) -> Result<(), Failure> {
    let Ok(found) = system::canonical(file) else { return Ok(()) };
    match system::canonical(context).is_ok_and(|context| found.starts_with(context)) {
        true => Ok(()),
        false => {
            let name = file.strip_prefix(context).unwrap_or(file).display();
            Err(Failure::Usage(format!("{name} of the context is a link to something outside of it")))
        }
    }
}

/// The store's directory: `--root`, or below the user's data.
pub fn store_root(root: Option<&Path>) -> Result<PathBuf, Failure> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(|error| Failure::Usage(error.to_string()));
    if let Some(root) = root {
        return absolute(root);
    }
    let set = std::env::var_os("XDG_DATA_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = set.or_else(system::data_home);
    match data {
        Some(data) => absolute(&data.join("stagedive")),
        None => Err(Failure::Usage(
            "this user has no directory for data: say where the store is with --root DIR".to_owned(),
        )),
    }
}

pub fn settings(args: &BuildArgs) -> Result<Settings, Failure> {
    let mut settings = bare_settings(args.on.store.root.as_deref(), args.platform().as_deref())?;
    settings.pull = args.pull;
    settings.no_cache = args.no_cache;
    let epoch = args.build_args.iter().rev().find_map(|text| text.strip_prefix("SOURCE_DATE_EPOCH="));
    if let Some(text) = epoch {
        settings.epoch = seconds(text)?;
    }
    for text in &args.build_contexts {
        let wrong = || Failure::Usage(format!("--build-context {text}: expected NAME=DIR or NAME=SOURCE"));
        let (name, source) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
        if is_image(source) {
            settings.images.insert(name.to_owned(), absolute_source(source));
        } else {
            let path = system::canonical(Path::new(source)).map_err(|error| {
                Failure::Usage(format!("--build-context {text}: {source} cannot be opened: {error}"))
            })?;
            let ignore_files = vec![path.join(".dockerignore")];
            settings.directories.insert(name.to_owned(), Context { path, ignore_files });
        }
    }
    settings.cache_from = cache::all("--cache-from", &args.cache_from)?;
    settings.secrets = secrets(args)?;
    for text in &args.ssh {
        let (id, socket) = match text.split_once('=') {
            Some((id, socket)) => (id, PathBuf::from(socket)),
            None => {
                let missing = || Failure::Usage(format!("--ssh {text}: SSH_AUTH_SOCK is not set: no agent runs"));
                (text.as_str(), std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from).ok_or_else(missing)?)
            }
        };
        if socket.is_file() {
            let key = socket.display();
            let message =
                format!("--ssh {text}: {key} is no agent's socket: if it is a key, load it with `ssh-add {key}`");
            return Err(Failure::Usage(format!("{message} and give --ssh {id}")));
        }
        settings.agents.insert(id.to_owned(), socket);
    }
    Ok(settings)
}

/// Settings for a command that has no build.
pub fn bare_settings(root: Option<&Path>, wanted: Option<&str>) -> Result<Settings, Failure> {
    let program =
        std::env::current_exe().map_err(|error| Failure::Other(format!("cannot find this program: {error}")))?;
    let platform = match wanted {
        Some(text) if text.contains(',') => {
            let message = format!(
                "--platform {text}: only the debugger and `stagedive build` take several platforms: choose one"
            );
            return Err(Failure::Usage(message));
        }
        Some(text) => {
            let wrong = |error| Failure::Usage(format!("--platform {text}: {error}"));
            text.parse::<Platform>().map_err(wrong)?
        }
        None => Platform::host(),
    };
    let epoch = seconds(&std::env::var(EPOCH).unwrap_or_default())?;
    Ok(Settings { program, store: store_root(root)?, platform: platform.to_string(), epoch, ..Settings::default() })
}

/// The time of everything in the result, in seconds since 1970: a variable of the environment, and an argument.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

fn seconds(text: &str) -> Result<Option<i64>, Failure> {
    let wrong = |_| Failure::Usage(format!("{EPOCH}={text:?} is not a number of seconds"));
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(wrong) }
}

/// `--add-host NAME:ADDRESS` or `NAME=ADDRESS`, of several addresses with commas; brackets around an address are left
/// out. The address may be the word host-gateway.
fn hosts(text: &str) -> Result<Vec<(String, String)>, Failure> {
    let wrong = || {
        let expected = "expected NAME:ADDRESS, for instance db:10.0.0.2 or me:host-gateway";
        Failure::Usage(format!("--add-host {text}: {expected}"))
    };
    let (name, addresses) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(wrong)?;
    if name.is_empty() || name.contains(|it: char| it == ',' || it.is_whitespace() || it.is_control()) {
        return Err(wrong());
    }
    let address = |text: &str| {
        let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(text);
        let parsed: std::net::IpAddr = bare.parse().map_err(|_| wrong())?;
        Ok((name.to_owned(), parsed.to_string()))
    };
    match addresses {
        HOST_GATEWAY => Ok(vec![(name.to_owned(), HOST_GATEWAY.to_owned())]),
        _ => addresses.split(',').map(address).collect(),
    }
}

fn options(args: &BuildArgs, settings: &Settings) -> Result<Options, Failure> {
    let mut build_args = BTreeMap::new();
    for text in &args.build_args {
        match text.split_once('=') {
            Some((name, value)) => drop(build_args.insert(name.to_owned(), value.to_owned())),
            // Without a value it is the environment's; where that has none, the flag says nothing.
            None => drop(std::env::var(text).map(|value| build_args.insert(text.clone(), value))),
        }
    }
    // As buildx does: the variable is an argument too.
    if let Ok(text) = std::env::var(EPOCH)
        && !text.is_empty()
    {
        build_args.entry(EPOCH.to_owned()).or_insert(text);
    }
    let hosts = args.add_hosts.iter().map(|text| hosts(text)).collect::<Result<Vec<_>, _>>()?.concat();
    // What is given last of a name counts.
    let ulimits: BTreeMap<&str, &Ulimit> = args.ulimits.iter().map(|it| (it.name.as_str(), it)).collect();
    let labels = args.labels.iter().map(|text| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (name.to_owned(), value.to_owned())
    });
    Ok(Options {
        target: args.target.clone(),
        build_args,
        proxies: proxies::read(),
        platform: args.platform().is_some().then(|| settings.platform.clone()),
        build_platform: Platform::host().to_string(),
        labels: labels.collect(),
        directory_contexts: settings.directories.keys().cloned().collect(),
        image_contexts: settings.images.keys().cloned().collect(),
        all_stages: args.all_stages,
        no_cache_stages: args.no_cache_filter.clone(),
        hosts,
        allow_host_network: args.network == Some(NetworkMode::Host) || allowed(args, "network.host"),
        allow_insecure: allowed(args, "security.insecure"),
        network: args.network.map(|mode| match mode {
            NetworkMode::Default => Network::Default,
            NetworkMode::None => Network::None,
            NetworkMode::Host => Network::Host,
        }),
        shm_size: args.shm_size.filter(|size| *size > 0),
        ulimits: ulimits.into_values().cloned().collect(),
        cgroup_parent: args.cgroup_parent.clone().filter(|group| !group.is_empty()),
    })
}

fn allowed(args: &BuildArgs, entitlement: &str) -> bool {
    args.allow.iter().any(|it| it == entitlement)
}

/// Whether a `--build-context` names an image; a plain word is a directory there.
fn is_image(source: &str) -> bool {
    match source.parse() {
        Ok(Source::Registry(_)) => source.starts_with("docker://") || source.starts_with("docker-image://"),
        Ok(_) => true,
        Err(_) => false,
    }
}

/// Paths in a source are the caller's: made absolute, so that they mean the same to everyone.
fn absolute_source(source: &str) -> String {
    for prefix in ["oci-layout://", "oci-archive:", "docker-archive:", "oci:"] {
        if let Some(rest) = source.strip_prefix(prefix) {
            let path = std::path::absolute(rest).map_or_else(|_| rest.to_owned(), |path| path.display().to_string());
            return format!("{prefix}{path}");
        }
    }
    source.to_owned()
}

fn secrets(args: &BuildArgs) -> Result<BTreeMap<String, Secret>, Failure> {
    args.secrets.iter().map(|text| secret(text)).collect()
}

fn secret(text: &str) -> Result<(String, Secret), Failure> {
    let wrong = |why: &str| Failure::Usage(format!("--secret {text}: {why}"));
    let pairs = pairs("--secret", text)?;
    let (mut id, mut source, mut variable, mut kind) = (None, None, None, None);
    for (name, value) in &pairs {
        let value = value.as_str();
        match name.as_str() {
            "id" => id = Some(value),
            "src" | "source" => source = Some(value),
            "env" => variable = Some(value),
            "type" => kind = Some(value),
            _ => return Err(wrong(&format!("{name:?} is not known: id, src, env, type"))),
        }
    }
    let id = id.or(source).ok_or_else(|| wrong("id=ID is missing"))?;
    let secret = match (kind, source, variable) {
        (Some("env"), Some(name), None) | (None | Some("env"), None, Some(name)) => {
            Secret::Environment(name.to_owned())
        }
        (None | Some("file"), Some(path), None) => Secret::File(PathBuf::from(path)),
        (Some("env"), None, None) => Secret::Environment(id.to_owned()),
        // As docker does: the variable of that name if it is set, else the file.
        (None, None, None) if std::env::var_os(id).is_some() => Secret::Environment(id.to_owned()),
        (_, None, None) => Secret::File(PathBuf::from(id)),
        _ => return Err(wrong("give a file with src or a variable with env, not both")),
    };
    if let Secret::File(path) = &secret {
        std::fs::metadata(path).map_err(|error| wrong(&format!("{}: {error}", path.display())))?;
    }
    Ok((id.to_owned(), secret))
}

fn read_limited(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(DOCKERFILE_LIMIT + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > DOCKERFILE_LIMIT {
        true => Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {} MB", DOCKERFILE_LIMIT >> 20))),
        false => Ok(bytes),
    }
}

fn read_stdin() -> Result<Vec<u8>, Failure> {
    read_limited(io::stdin().lock()).map_err(|error| Failure::Usage(format!("standard input: {error}")))
}

/// An archive is unpacked into `dir`; anything else is the Dockerfile itself.
fn unpacked(input: impl Read, dir: &Path) -> io::Result<Option<Vec<u8>>> {
    let stored = Cell::new(0);
    let mut input = io::BufReader::new(Counted { input, count: &stored });
    let mut head = Vec::new();
    input.by_ref().take(512).read_to_end(&mut head)?;
    let is_tar = head.get(257..262) == Some(b"ustar");
    let (format, content) = compression::decode(io::Cursor::new(head).chain(input))?;
    if format == Format::Plain && !is_tar {
        return read_limited(content).map(Some);
    }
    unpack::unpack(content, &stored, dir)?;
    Ok(None)
}

struct Counted<'c, R> {
    input: R,
    count: &'c Cell<u64>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.input.read(buffer)?;
        self.count.set(self.count.get() + got as u64);
        Ok(got)
    }
}

fn temporary() -> Result<tempfile::TempDir, Failure> {
    tempfile::tempdir().map_err(|error| Failure::Other(format!("no temporary directory: {error}")))
}

/// What the context's address leads to.
fn fetched(args: &BuildArgs, found: Remote, dir: &Path) -> Result<Fetched, Failure> {
    let keep = args.build_args.iter().rev().find_map(|text| text.strip_prefix("BUILDKIT_CONTEXT_KEEP_GIT_DIR="));
    let keep = keep.and_then(boolean).unwrap_or(false);
    let secrets = secrets(args)?;
    let work = remote::fetch(&args.context, found, dir, keep, &secrets);
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(work))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_of_a_fetched_context() {
        let top = tempfile::tempdir().unwrap();
        let context = top.path().join("context");
        std::fs::create_dir(&context).unwrap();
        std::fs::write(top.path().join("secret"), "").unwrap();
        std::fs::write(context.join("file"), "").unwrap();
        let check = |target: &str, stays: bool| {
            let link = context.join("link");
            symlink(target, &link).unwrap();
            assert_eq!(stays_inside(&context, &link).is_ok(), stays, "{target}");
            std::fs::remove_file(link).unwrap();
        };
        check("file", true);
        check("../context/file", true);
        check("none", true);
        check("../secret", false);
        check("/etc/passwd", false);
    }
}
