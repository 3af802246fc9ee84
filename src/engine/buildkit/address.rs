//! Where a builder is: what the command line, the environment and the client's files say.
//!
//! Source: Docker's `DOCKER_HOST` and contexts (`~/.docker/contexts`), buildctl's address schemes, and the files in
//! which buildx keeps its instances (`~/.docker/buildx`).

use crate::image::docker_client::{ContextError, DockerClient, Endpoint, Tls};
use crate::system::{self, DOCKER_SOCKET};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// A builder's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub speaks: Speaks,
    pub transport: Transport,
    /// As the user knows it, for messages.
    pub name: String,
}

/// Who listens there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// A Docker Engine: BuildKit is behind an upgrade of its HTTP API.
    Docker,
    /// A BuildKit daemon.
    BuildKit,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// A socket on this machine; on Windows a named pipe.
    Local(PathBuf),
    Tcp {
        /// `HOST:PORT`
        host: String,
        tls: Option<Tls>,
    },
    /// A program whose standard input and output are the connection.
    Program(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct AddressError {
    pub message: String,
    pub help: String,
}

impl From<ContextError> for AddressError {
    fn from(error: ContextError) -> AddressError {
        AddressError { message: error.to_string(), help: ContextError::HELP.to_owned() }
    }
}

/// What the environment says that addresses depend on.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    pub docker: DockerClient,
    pub buildkit_host: Option<String>,
}

impl Environment {
    pub fn read() -> Environment {
        let buildkit_host = std::env::var("BUILDKIT_HOST").ok().filter(|value| !value.is_empty());
        Environment { docker: DockerClient::from_environment(), buildkit_host }
    }
}

/// The Docker Engine that Docker's client would use: `DOCKER_HOST`, the context in force, the usual sockets.
pub fn docker(environment: &Environment) -> Result<Address, AddressError> {
    if let Some(endpoint) = environment.docker.named()? {
        return engine_at(endpoint);
    }
    let own = environment.docker.runtime.as_ref().map(|dir| dir.join("docker.sock")).filter(|path| path.exists());
    let path = match own {
        Some(own) if !Path::new(DOCKER_SOCKET).exists() => own,
        _ => PathBuf::from(DOCKER_SOCKET),
    };
    Ok(Address { speaks: Speaks::Docker, name: system::socket_address(&path), transport: Transport::Local(path) })
}

/// The BuildKit daemon that `BUILDKIT_HOST` names, or the one on this machine.
pub fn buildkit(environment: &Environment) -> Result<Address, AddressError> {
    if let Some(host) = &environment.buildkit_host {
        return named(host, Speaks::BuildKit, environment);
    }
    let own =
        environment.docker.runtime.as_ref().map(|dir| dir.join("buildkit/buildkitd.sock")).filter(|path| path.exists());
    let path = match own {
        Some(own) if !Path::new(BUILDKIT_SOCKET).exists() => own,
        _ => PathBuf::from(BUILDKIT_SOCKET),
    };
    Ok(Address { speaks: Speaks::BuildKit, name: system::socket_address(&path), transport: Transport::Local(path) })
}

/// What `--builder` names: an address, an instance of buildx, or a context of Docker's client. `speaks` is who listens
/// at an address that could be either's.
pub fn named(name: &str, speaks: Speaks, environment: &Environment) -> Result<Address, AddressError> {
    let Some((scheme, rest)) = name.split_once("://") else {
        return environment.instance_or_context(name);
    };
    let address = |transport| Ok(Address { speaks, transport, name: name.to_owned() });
    match (scheme, speaks) {
        (_, Speaks::Docker) => docker_host(name, environment.docker.tls(), name),
        ("unix" | "npipe", _) => {
            address(Transport::Local(system::socket_path(scheme, rest).ok_or_else(|| unknown(name))?))
        }
        ("tcp", _) => {
            address(Transport::Tcp { host: host_and_port(rest, 1234, name)?, tls: environment.buildkit_tls() })
        }
        ("docker-container", _) => {
            let (container, options) = query(rest);
            let mut argv = vec!["docker".to_owned()];
            if let Some(context) = options.get("context") {
                argv.extend(["--context".to_owned(), context.clone()]);
            }
            argv.extend(["exec", "-i", plain(container, name)?, "buildctl", "dial-stdio"].map(str::to_owned));
            address(Transport::Program(argv))
        }
        ("podman-container", _) => {
            let argv = ["podman", "exec", "-i", plain(rest, name)?, "buildctl", "dial-stdio"];
            address(Transport::Program(argv.map(str::to_owned).to_vec()))
        }
        ("kube-pod", _) => {
            let (pod, options) = query(rest);
            address(Transport::Program(kubectl(plain(pod, name)?, &options)))
        }
        ("ssh", _) => address(Transport::Program(ssh(rest, name, &["buildctl", "dial-stdio"])?)),
        _ => Err(unknown(name)),
    }
}

const BUILDKIT_SOCKET: &str = "/run/buildkit/buildkitd.sock";

fn unknown(name: &str) -> AddressError {
    AddressError {
        message: format!("{name:?} is not a builder's address"),
        help: "unix://PATH, tcp://HOST:PORT, ssh://HOST, docker-container://NAME, kube-pod://POD, or the name of an \
               instance that `docker buildx ls` shows"
            .to_owned(),
    }
}

fn engine_at(endpoint: Endpoint) -> Result<Address, AddressError> {
    docker_host(&endpoint.host, endpoint.tls, &endpoint.name)
}

/// A Docker Engine at an address as `DOCKER_HOST` has it.
fn docker_host(host: &str, tls: Option<Tls>, name: &str) -> Result<Address, AddressError> {
    let address = |transport| Ok(Address { speaks: Speaks::Docker, transport, name: name.to_owned() });
    match host.split_once("://") {
        Some((scheme @ ("unix" | "npipe"), path)) => {
            address(Transport::Local(system::socket_path(scheme, path).ok_or_else(|| unknown(host))?))
        }
        Some(("tcp" | "http" | "https", rest)) => {
            let port = if tls.is_some() { 2376 } else { 2375 };
            address(Transport::Tcp { host: host_and_port(rest, port, host)?, tls })
        }
        Some(("ssh", rest)) => address(Transport::Program(ssh(rest, host, &["docker", "system", "dial-stdio"])?)),
        _ => Err(unknown(host)),
    }
}

/// `HOST:PORT`; addresses of the sixth version stand in brackets.
fn host_and_port(rest: &str, port: u16, name: &str) -> Result<String, AddressError> {
    let rest = rest.split(['/', '?']).next().unwrap_or(rest);
    if rest.is_empty() || rest.chars().any(|it| it.is_whitespace() || it.is_control()) {
        return Err(unknown(name));
    }
    let after_brackets = rest.rsplit_once(']').map_or(rest, |(_, after)| after);
    match after_brackets.rsplit_once(':') {
        Some((_, digits)) if digits.parse::<u16>().is_ok() => Ok(rest.to_owned()),
        Some(_) => Err(unknown(name)),
        None => Ok(format!("{rest}:{port}")),
    }
}

/// A name that no program takes for an option.
fn plain<'a>(word: &'a str, name: &str) -> Result<&'a str, AddressError> {
    let fine =
        !word.is_empty() && !word.starts_with('-') && !word.contains(|it: char| it.is_whitespace() || it == '\0');
    if fine { Ok(word) } else { Err(unknown(name)) }
}

/// `NAME?KEY=VALUE&…`
fn query(rest: &str) -> (&str, BTreeMap<String, String>) {
    let (name, options) = rest.split_once('?').unwrap_or((rest, ""));
    let pairs = options.split('&').filter_map(|pair| pair.split_once('='));
    (name, pairs.map(|(key, value)| (key.to_owned(), unescaped(value))).collect())
}

/// As forms are: `+` for a space, `%` and two digits for a byte.
pub(super) fn unescaped(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                let value = std::str::from_utf8(&digits).ok().and_then(|it| u8::from_str_radix(it, 16).ok());
                out.extend(value);
            }
            byte => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn kubectl(pod: &str, options: &BTreeMap<String, String>) -> Vec<String> {
    let mut argv = vec!["kubectl".to_owned()];
    for option in ["kubeconfig", "context", "namespace"] {
        if let Some(value) = options.get(option) {
            argv.push(format!("--{option}={value}"));
        }
    }
    argv.extend(["exec", "-i"].map(str::to_owned));
    if let Some(container) = options.get("container") {
        argv.push(format!("--container={container}"));
    }
    argv.extend([pod, "--", "buildctl", "dial-stdio"].map(str::to_owned));
    argv
}

/// `[USER@]HOST[:PORT]`, and what to run there.
fn ssh(rest: &str, name: &str, command: &[&str]) -> Result<Vec<String>, AddressError> {
    let rest = rest.split(['/', '?']).next().unwrap_or(rest);
    let mut argv = vec!["ssh".to_owned()];
    let target = match rest.rsplit_once(':') {
        Some((target, port)) if port.parse::<u16>().is_ok() => {
            argv.extend(["-p".to_owned(), port.to_owned()]);
            target
        }
        _ => rest,
    };
    argv.extend(["-T", "--", plain(target, name)?].map(str::to_owned));
    argv.extend(command.iter().map(|it| (*it).to_owned()));
    Ok(argv)
}

/// An instance of buildx, from its file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Instance {
    driver: String,
    #[serde(default)]
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    #[serde(default)]
    name: String,
    #[serde(default)]
    endpoint: String,
    #[serde(default)]
    driver_opts: Option<BTreeMap<String, String>>,
}

impl Environment {
    /// buildctl takes its files from flags; here they are those of Docker's client.
    fn buildkit_tls(&self) -> Option<Tls> {
        self.docker.cert_path.as_ref().map(|dir| Tls::in_directory(dir))
    }

    fn instance_or_context(&self, name: &str) -> Result<Address, AddressError> {
        if name == "default" {
            let docker = DockerClient { context: None, config: None, ..self.docker.clone() };
            return self::docker(&Environment { docker, ..self.clone() });
        }
        let safe = !name.is_empty() && name.chars().all(|it| it.is_ascii_alphanumeric() || "-_.+".contains(it));
        if !safe || name.starts_with('.') {
            return Err(unknown(name));
        }
        let config = self.docker.config.as_deref();
        let file = config.map(|dir| dir.join("buildx/instances").join(name));
        let Some(bytes) = file.and_then(|file| std::fs::read(file).ok()) else {
            return engine_at(self.docker.of_context(name).map_err(|_| unknown(name))?);
        };
        let broken = |why: String| AddressError {
            message: format!("the buildx instance {name:?} cannot be used: {why}"),
            help: "`docker buildx inspect` shows what it is".to_owned(),
        };
        let instance: Instance = serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
        let node = instance.nodes.first().ok_or_else(|| broken("it has no node".to_owned()))?;
        self.node(name, &instance.driver, node)?.ok_or_else(|| broken(format!("its driver is {:?}", instance.driver)))
    }

    /// `None` if the driver is none that is known.
    fn node(&self, name: &str, driver: &str, node: &Node) -> Result<Option<Address>, AddressError> {
        let options = node.driver_opts.clone().unwrap_or_default();
        let buildkit = |transport| Address { speaks: Speaks::BuildKit, transport, name: name.to_owned() };
        Ok(match driver {
            "docker" => Some(match node.endpoint.contains("://") {
                true => docker_host(&node.endpoint, self.docker.tls(), name)?,
                false => self.instance_or_context(&node.endpoint)?,
            }),
            "docker-container" => {
                let mut argv = vec!["docker".to_owned()];
                match node.endpoint.as_str() {
                    "" | "default" => {}
                    host if host.contains("://") => argv.extend(["-H".to_owned(), host.to_owned()]),
                    context => argv.extend(["--context".to_owned(), context.to_owned()]),
                }
                let container = format!("buildx_buildkit_{}", plain(&node.name, name)?);
                argv.extend(["exec", "-i", &container, "buildctl", "dial-stdio"].map(str::to_owned));
                Some(buildkit(Transport::Program(argv)))
            }
            "kubernetes" => {
                let (_, given) = query(&node.endpoint);
                // The endpoint's `deployment` is a name that only makes the endpoint a new one.
                let deployment = plain(&node.name, name)?.replace('_', "-");
                let lasting = options.get("persistent-volume-claim.requests.storage").is_some_and(|it| !it.is_empty());
                let kind = if lasting { "statefulset" } else { "deployment" };
                let places = [("namespace", options.get("namespace")), ("kubeconfig", given.get("kubeconfig"))];
                let places = places.into_iter().filter_map(|(key, place)| {
                    let place = place.filter(|it| !it.is_empty())?;
                    Some((key.to_owned(), place.clone()))
                });
                let places = places.collect();
                Some(buildkit(Transport::Program(kubectl(&format!("{kind}/{deployment}"), &places))))
            }
            "remote" => {
                let mut address = named(&node.endpoint, Speaks::BuildKit, self)?;
                name.clone_into(&mut address.name);
                let file = |key: &str| options.get(key).filter(|it| !it.is_empty()).map(PathBuf::from);
                if let Transport::Tcp { tls, .. } = &mut address.transport
                    && ["cacert", "cert", "key", "servername"].iter().any(|key| options.contains_key(*key))
                {
                    let identity = file("cert").zip(file("key"));
                    let server = options.get("servername").filter(|it| !it.is_empty()).cloned();
                    *tls = Some(Tls { ca: file("cacert"), identity, server, unverified: false });
                }
                Some(address)
            }
            _ => None,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::digest::Digest;

    fn text(address: Result<Address, AddressError>) -> String {
        let Ok(address) = address else { return "no".to_owned() };
        let speaks = match address.speaks {
            Speaks::Docker => "docker",
            Speaks::BuildKit => "buildkit",
        };
        match address.transport {
            Transport::Local(path) => format!("{speaks} {}", path.display()),
            Transport::Tcp { host, tls: None } => format!("{speaks} {host}"),
            Transport::Tcp { host, tls: Some(tls) } => {
                let yes = |it: bool| if it { "+" } else { "-" };
                format!("{speaks} {host} tls {}{}", yes(tls.ca.is_some()), yes(tls.identity.is_some()))
            }
            Transport::Program(argv) => format!("{speaks} `{}`", argv.join(" ")),
        }
    }

    fn check(name: &str, speaks: Speaks, environment: &Environment, expected: &str) {
        assert_eq!(text(named(name, speaks, environment)), expected, "{name}");
    }

    #[test]
    fn addresses() {
        let bare = Environment::default();
        let buildkit = |name: &str, expected: &str| check(name, Speaks::BuildKit, &bare, expected);
        buildkit("unix:///run/b.sock", "buildkit /run/b.sock");
        buildkit("tcp://build.example:1234", "buildkit build.example:1234");
        buildkit("tcp://build.example", "buildkit build.example:1234");
        buildkit("tcp://[::1]", "buildkit [::1]:1234");
        buildkit("tcp://[::1]:99", "buildkit [::1]:99");
        buildkit("docker-container://b", "buildkit `docker exec -i b buildctl dial-stdio`");
        buildkit("docker-container://b?context=c", "buildkit `docker --context c exec -i b buildctl dial-stdio`");
        buildkit("podman-container://b", "buildkit `podman exec -i b buildctl dial-stdio`");
        buildkit("kube-pod://p", "buildkit `kubectl exec -i p -- buildctl dial-stdio`");
        buildkit(
            "kube-pod://p?namespace=n&container=c&context=x",
            "buildkit `kubectl --context=x --namespace=n exec -i --container=c p -- buildctl dial-stdio`",
        );
        buildkit(
            "kube-pod://p?context=me%40far%2Faway",
            "buildkit `kubectl --context=me@far/away exec -i p -- buildctl dial-stdio`",
        );
        buildkit("ssh://me@build.example:22", "buildkit `ssh -p 22 -T -- me@build.example buildctl dial-stdio`");
        for wrong in
            ["unix://", "tcp://", "tcp://a:b", "docker-container://-v", "ssh://-oProxyCommand=x", "x://y", "../x", ""]
        {
            buildkit(wrong, "no");
        }
        let docker = |name: &str, expected: &str| check(name, Speaks::Docker, &bare, expected);
        docker("unix:///run/d.sock", "docker /run/d.sock");
        docker("tcp://d.example", "docker d.example:2375");
        docker("ssh://d.example", "docker `ssh -T -- d.example docker system dial-stdio`");
        docker("docker-container://b", "no");
    }

    #[test]
    fn the_client_s_files() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let context = |name: &str, host: &str| {
            let id = Digest::of(name.as_bytes());
            let text =
                format!(r#"{{"Name":"{name}","Endpoints":{{"docker":{{"Host":"{host}","SkipTLSVerify":false}}}}}}"#);
            write(&format!("contexts/meta/{}/meta.json", id.hex()), &text);
            id.hex().to_owned()
        };
        write("config.json", r#"{"currentContext":"far"}"#);
        let id = context("far", "tcp://far.example:2376");
        context("near", "unix:///near.sock");
        for file in ["ca.pem", "cert.pem", "key.pem"] {
            write(&format!("contexts/tls/{id}/docker/{file}"), "");
        }
        let instance = |driver: &str, endpoint: &str, options: &str| {
            let text = format!(
                r#"{{"Name":"b","Driver":"{driver}","Nodes":[{{"Name":"b_0","Endpoint":"{endpoint}","DriverOpts":{options}}}]}}"#
            );
            write("buildx/instances/b", &text);
        };
        let with = |docker: DockerClient| Environment { docker, ..Environment::default() };
        let client = DockerClient { config: Some(dir.path().to_owned()), ..DockerClient::default() };
        let environment = with(client.clone());
        assert_eq!(text(docker(&environment)), "docker far.example:2376 tls ++");
        let near = DockerClient { context: Some("near".to_owned()), ..client };
        assert_eq!(text(docker(&with(near.clone()))), "docker /near.sock");
        let host = DockerClient { host: Some("unix:///host.sock".to_owned()), ..near };
        assert_eq!(text(docker(&with(host))), "docker /host.sock");
        let check = |expected: &str| check("b", Speaks::BuildKit, &environment, expected);
        instance("docker-container", "near", "null");
        check("buildkit `docker --context near exec -i buildx_buildkit_b_0 buildctl dial-stdio`");
        instance("docker-container", "unix:///x.sock", "{}");
        check("buildkit `docker -H unix:///x.sock exec -i buildx_buildkit_b_0 buildctl dial-stdio`");
        instance("remote", "tcp://r.example:99", r#"{"cacert":"/ca.pem"}"#);
        check("buildkit r.example:99 tls +-");
        instance("kubernetes", "kubernetes:///b?deployment=buildkit-2c1-1f&kubeconfig=", r#"{"namespace":"n"}"#);
        check("buildkit `kubectl --namespace=n exec -i deployment/b-0 -- buildctl dial-stdio`");
        instance(
            "kubernetes",
            "kubernetes:///b?deployment=&kubeconfig=%2Fhome%2Fme%2F.kube%2Fthe+config",
            r#"{"persistent-volume-claim.requests.storage":"1Gi"}"#,
        );
        check(
            "buildkit `kubectl --kubeconfig=/home/me/.kube/the config exec -i statefulset/b-0 -- buildctl dial-stdio`",
        );
        instance("docker", "near", "null");
        check("docker /near.sock");
        instance("cloud", "", "null");
        check("no");
        check_context("near", &environment);
    }

    fn check_context(name: &str, environment: &Environment) {
        check(name, Speaks::BuildKit, environment, "docker /near.sock");
        check("nowhere", Speaks::BuildKit, environment, "no");
    }
}
