//! Lowers RUN: what is executed, with which files and mounts.

use super::copy::heredoc_file;
use super::scope::Scope;
use super::{FileOrigin, InlineFile, Mount, MountKind, Network, Options, Run, Sharing, State, unix_path};
use crate::dockerfile::command::{CommandLine, Fault, RunCommand, RunNetwork, chomped, sole_heredoc};
use crate::dockerfile::lex::lossy;
use crate::dockerfile::mount::{MountOptions, MountSharing, MountType};
use bstr::ByteSlice;

/// Where the files of a heredoc with a `#!` line are mounted.
const PIPES: &str = "/dev/pipes";

pub(super) struct Lowered {
    pub run: Run,
    pub inputs: Vec<FileOrigin>,
    pub history: String,
    /// Variables that hold secrets.
    pub secret_names: Vec<String>,
}

/// `sources` is what `from=` of each mount names.
pub(super) fn run(
    command: &RunCommand,
    sources: &[Option<FileOrigin>],
    options: &Options,
    scope: &Scope,
) -> Result<Lowered, Fault> {
    if let Some(device) = command.devices.first() {
        let message = format!("--device={device}: devices cannot be given to a RUN here");
        return Err(Fault::new("unsupported", message, device).help("take the flag out, or build this with BuildKit"));
    }
    for (asked, given, entitlement) in [
        (command.network == Some(RunNetwork::Host), options.allow_host_network, "network.host"),
        (command.insecure, options.allow_insecure, "security.insecure"),
    ] {
        if asked && !given {
            let message = format!("{entitlement} is not allowed in this build");
            let fault = Fault::new("not-allowed", message, "").late();
            return Err(fault.help(format!("--allow {entitlement} allows it")));
        }
    }
    let (words, files) = words(&command.line)?;
    let argv = match command.line.shell {
        true => [scope.shell(), vec![words.join(" ")]].concat(),
        false => words,
    };
    if argv.is_empty() {
        let fault = Fault::new("arguments", "RUN has an empty array, and no command", "").late();
        return Err(fault.help("for instance RUN [\"program\", \"argument\"]"));
    }
    let history = history(&argv, scope);
    let mut mounts = Mounts::default();
    for (at, flag) in command.mounts.iter().enumerate() {
        let options = flag.resolve(&mut |value| scope.expand(value)).map_err(|fault| {
            // What is written in the file is the field before its variables were expanded.
            let word = if flag.text.contains(&fault.word) { fault.word.clone() } else { flag.text.clone() };
            Fault { word, ..fault }
        })?;
        let source = sources.get(at).cloned().flatten();
        mounts.add(options, source, scope).map_err(|fault| Fault { word: flag.text.clone(), ..fault })?;
    }
    let mut env = scope.environment();
    if let Some(socket) = mounts.agent_socket()
        && scope.vars.get("SSH_AUTH_SOCK").is_none()
    {
        env.push(format!("SSH_AUTH_SOCK={socket}"));
    }
    let secret_names = mounts.secret_names();
    if let Some(memory) = memory(options) {
        mounts.insert(memory);
    }
    let bare = bare(options);
    let run = Run {
        argv,
        env,
        unkeyed_env: scope.unkeyed(),
        cwd: scope.cwd.clone(),
        user: scope.image.config.user.clone(),
        mounts: mounts.sorted,
        network: match command.network {
            Some(RunNetwork::None) => Network::None,
            Some(RunNetwork::Host) => Network::Host,
            None => bare.network,
        },
        insecure: command.insecure,
        files,
        ..bare
    };
    Ok(Lowered { run, inputs: mounts.inputs, history, secret_names })
}

/// What a RUN would find that is written where `state` is in force, without a flag. It has no command.
pub fn here(state: &State, options: &Options) -> Run {
    let config = &state.image.config;
    Run {
        env: state.environment.clone(),
        cwd: if config.working_dir.is_empty() { "/".to_owned() } else { config.working_dir.clone() },
        user: config.user.clone(),
        mounts: memory(options).into_iter().collect(),
        ..bare(options)
    }
}

/// What the options of the build say of every RUN, and nothing else.
fn bare(options: &Options) -> Run {
    Run {
        argv: Vec::new(),
        env: Vec::new(),
        unkeyed_env: Vec::new(),
        cwd: String::new(),
        user: String::new(),
        mounts: Vec::new(),
        network: options.network.unwrap_or(Network::Default),
        insecure: false,
        hosts: options.hosts.clone(),
        ulimits: options.ulimits.clone(),
        files: Vec::new(),
    }
}

/// `/dev/shm`, where another size is wanted: a mount like any other, as in BuildKit.
fn memory(options: &Options) -> Option<Mount> {
    let size = options.shm_size?;
    Some(Mount { target: "/dev/shm".to_owned(), kind: MountKind::Tmpfs { size: Some(size), read_only: false } })
}

/// The words to run, with heredocs worked in. A heredoc that is the whole line is a script; others are the
/// shell's to read.
fn words(line: &CommandLine) -> Result<(Vec<String>, Vec<InlineFile>), Fault> {
    let Some(first) = line.heredocs.first() else { return Ok((line.words.clone(), Vec::new())) };
    let [text] = line.words.as_slice() else {
        return Err(Fault::new("heredoc", "a heredoc needs a shell line to go with", ""));
    };
    if sole_heredoc(text).is_none() {
        let mut script = text.clone();
        for heredoc in &line.heredocs {
            script.push('\n');
            script.push_str(&lossy(&heredoc.content));
            script.push_str(&heredoc.name);
        }
        return Ok((vec![script], Vec::new()));
    }
    let content = if first.chomp { chomped(first.content.as_bstr()) } else { first.content.clone() };
    // As it is written: what `<<-` takes away may stand before it.
    if !first.content.starts_with(b"#!") {
        return Ok((vec![lossy(&content)], Vec::new()));
    }
    let path = unix_path::join(PIPES, &heredoc_file(&first.name)?);
    let file = InlineFile { path: path.clone(), content, mode: 0o755 };
    Ok((vec![path], vec![file]))
}

/// `RUN`, the arguments in scope with their values, and the words.
fn history(argv: &[String], scope: &Scope) -> String {
    let mut out = vec!["RUN".to_owned()];
    if !scope.args.is_empty() {
        out.push(format!("|{}", scope.args.len()));
    }
    out.extend(scope.args.iter().map(|arg| {
        let value = scope.vars.get(&arg.name).or(arg.value.as_deref()).unwrap_or("");
        format!("{}={value}", arg.name)
    }));
    out.extend(argv.iter().cloned());
    format!("{} # buildkit", out.join(" "))
}

/// BuildKit takes no more of a mode.
fn permissions(mode: Option<u32>, default: u32) -> u32 {
    mode.unwrap_or(default) & 0o777
}

#[derive(Default)]
struct Mounts {
    /// Directories by their target, as BuildKit mounts them, then secrets and agents.
    sorted: Vec<Mount>,
    directories: usize,
    secrets: usize,
    agents: usize,
    inputs: Vec<FileOrigin>,
}

impl Mounts {
    fn add(&mut self, options: MountOptions, source: Option<FileOrigin>, scope: &Scope) -> Result<(), Fault> {
        match options.kind {
            MountType::Secret => self.secret(options),
            MountType::Ssh => self.agent(options),
            MountType::Bind | MountType::Cache | MountType::Tmpfs => self.directory(options, source, scope),
        }
    }

    fn directory(&mut self, options: MountOptions, source: Option<FileOrigin>, scope: &Scope) -> Result<(), Fault> {
        let target = match options.target.starts_with('/') {
            true => unix_path::clean(&options.target),
            false => unix_path::join(&unix_path::join("/", &scope.cwd), &options.target),
        };
        if target == "/" {
            return Err(Fault::new("mount", "nothing can be mounted over /", "").help("give the mount a target"));
        }
        let path = unix_path::join("/", &options.source);
        let kind = match options.kind {
            MountType::Tmpfs if path != "/" => {
                let message = "a tmpfs mount is empty at first, and takes no source";
                return Err(Fault::new("mount", message, options.source).late());
            }
            MountType::Tmpfs => MountKind::Tmpfs { size: options.size, read_only: options.read_only },
            MountType::Cache => {
                // Given an owner or a mode, the cache begins as an empty directory that has them.
                let empty = path == "/" && (options.uid.is_some() || options.gid.is_some() || options.mode.is_some());
                let input = source.filter(|it| !empty && *it != FileOrigin::Scratch).map(|it| self.input(it));
                let id = match options.id.as_str() {
                    "" => unix_path::clean(&options.target),
                    id => id.to_owned(),
                };
                MountKind::Cache {
                    id,
                    sharing: match options.sharing {
                        None | Some(MountSharing::Shared) => Sharing::Shared,
                        Some(MountSharing::Private) => Sharing::Private,
                        Some(MountSharing::Locked) => Sharing::Locked,
                    },
                    input,
                    source: path,
                    mode: permissions(options.mode, 0o755),
                    uid: options.uid.unwrap_or(0),
                    gid: options.gid.unwrap_or(0),
                    read_only: options.read_only,
                }
            }
            _ => {
                let input = self.input(source.unwrap_or(FileOrigin::Context { name: None }));
                MountKind::Bind { input, source: path, writable: !options.read_only }
            }
        };
        self.insert(Mount { target, kind });
        Ok(())
    }

    /// One more among the directories.
    fn insert(&mut self, mount: Mount) {
        let directories = &self.sorted[..self.directories];
        let at = directories.partition_point(|it| it.target <= mount.target);
        self.sorted.insert(at, mount);
        self.directories += 1;
    }

    fn secret(&mut self, options: MountOptions) -> Result<(), Fault> {
        let id = match (options.source.as_str(), options.id.as_str()) {
            ("", "") if options.target.is_empty() => {
                return Err(Fault::new("mount", "a secret mount needs an id or a target", ""));
            }
            ("", "") => unix_path::base(&options.target).to_owned(),
            ("", id) => id.to_owned(),
            (source, _) => source.to_owned(),
        };
        let file = options.env.is_none() || !options.target.is_empty();
        let target = match options.target.as_str() {
            "" => unix_path::join("/run/secrets", unix_path::base(&id)),
            target => unix_path::join("/", target),
        };
        let kind = MountKind::Secret {
            id,
            file,
            env: options.env,
            required: options.required,
            mode: permissions(options.mode, 0o400),
            uid: options.uid.unwrap_or(0),
            gid: options.gid.unwrap_or(0),
        };
        self.sorted.insert(self.directories + self.secrets, Mount { target, kind });
        self.secrets += 1;
        Ok(())
    }

    fn agent(&mut self, options: MountOptions) -> Result<(), Fault> {
        if !options.source.is_empty() {
            return Err(Fault::new("mount", "an ssh mount takes no source", "").help("id= names the agent"));
        }
        let target = match options.target.as_str() {
            "" => format!("/run/buildkit/ssh_agent.{}", self.agents),
            target => unix_path::join("/", target),
        };
        let kind = MountKind::Ssh {
            id: if options.id.is_empty() { "default".to_owned() } else { options.id },
            required: options.required,
            mode: permissions(options.mode, 0o600),
            uid: options.uid.unwrap_or(0),
            gid: options.gid.unwrap_or(0),
        };
        self.sorted.push(Mount { target, kind });
        self.agents += 1;
        Ok(())
    }

    /// The place of an origin among the step's inputs.
    fn input(&mut self, origin: FileOrigin) -> usize {
        match self.inputs.iter().position(|it| *it == origin) {
            Some(at) => at,
            None => {
                self.inputs.push(origin);
                self.inputs.len() - 1
            }
        }
    }

    fn agent_socket(&self) -> Option<String> {
        let mut agents = self.sorted.iter().filter(|mount| matches!(mount.kind, MountKind::Ssh { .. }));
        agents.next().map(|mount| mount.target.clone())
    }

    fn secret_names(&self) -> Vec<String> {
        let names = self.sorted.iter().filter_map(|mount| match &mount.kind {
            MountKind::Secret { env, .. } => env.clone(),
            _ => None,
        });
        names.collect()
    }
}
