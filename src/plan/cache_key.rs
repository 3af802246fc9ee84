//! What a step's result depends on, part by part: the parts make the key, and two keys can be told apart in words.
//!
//! What takes part is BuildKit's choice: for RUN the command, its whole environment (ARG used or not, proxies of the
//! command line never), user, directory, mounts, network and platform; for COPY and ADD the flags, the destination
//! and the content of the sources, their names only where they decide what the copies are called. A secret's id
//! takes part, its value never; nor does the id of a cache, nor the address of `--add-host`.

use super::{Copy, CopySource, Mount, MountKind, Network, Op, Run, Step, proxies, remote, unix_path};
use crate::dockerfile::lint::names_a_secret;
use crate::image::digest::Digest;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The parts of a step's key, in order: (name, value).
///
/// `parent` is the key of the step before, or what identifies the base image; `None` on scratch. `contents` are
/// content digests of what the step reads. For COPY and ADD: one for all paths, if there is a path, then one for each
/// address and repository, in order. For RUN: one for each mount that has an input, in order of `mounts`.
///
/// Empty for a step that changes the configuration only: its file system, and so its key, is the parent's.
pub fn parts(step: &Step, parent: Option<&str>, contents: &[String]) -> Vec<(String, String)> {
    let mut out = Parts::default();
    match &step.op {
        Op::Config => return Vec::new(),
        Op::From(_) => out.put("operation", "from"),
        Op::Run(_) => out.put("operation", "run"),
        Op::Copy(copy) => out.put("operation", if copy.add { "add" } else { "copy" }),
        Op::Workdir { .. } => out.put("operation", "workdir"),
    }
    out.put("parent", parent.unwrap_or("scratch"));
    match &step.op {
        Op::Run(run) => {
            let image = &step.state.image;
            let platform = [image.os.as_str(), &image.architecture, &image.variant];
            out.put("platform", platform.join("/").trim_end_matches('/'));
            out.run(run, contents);
        }
        Op::Copy(copy) => out.copy(copy, contents),
        Op::Workdir { path, user } => {
            out.put("path", path);
            out.put("user", user);
        }
        Op::From(_) | Op::Config => {}
    }
    out.0
}

/// The key. Names and values are told apart by their lengths, so that no two lists of parts read alike.
pub fn digest(parts: &[(String, String)]) -> Digest {
    let mut bytes = Vec::new();
    for (name, value) in parts {
        for text in [name, value] {
            bytes.extend((text.len() as u64).to_le_bytes());
            bytes.extend(text.as_bytes());
        }
    }
    Digest::of(&bytes)
}

/// What makes two keys of the same step different, one sentence a part, the most telling first: what the step itself
/// says, then the content it reads, then what came before it. Empty if they are equal.
pub fn difference(old: &[(String, String)], new: &[(String, String)]) -> Vec<String> {
    let (before, after) = (by_name(old), by_name(new));
    let mut names: Vec<&str> = old.iter().chain(new).map(|(name, _)| name.as_str()).collect();
    names.dedup();
    names.sort_by_key(|name| rank(name));
    let mut seen = std::collections::BTreeSet::new();
    let changed = names.into_iter().filter(|name| seen.insert(*name) && before.get(name) != after.get(name));
    changed.map(|name| sentence(name, before.get(name).copied(), after.get(name).copied())).collect()
}

fn by_name(parts: &[(String, String)]) -> BTreeMap<&str, &str> {
    parts.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn rank(name: &str) -> u8 {
    match name {
        "parent" => 2,
        name if name.starts_with(CONTENT) => 1,
        _ => 0,
    }
}

/// How the names of parts begin that are content digests.
const CONTENT: &str = "content of ";

/// And those of variables.
const VARIABLE: &str = "variable ";

/// Whether two keys are of the same instruction, whatever came before it, and what it reads.
pub fn same_statement(a: &[(String, String)], b: &[(String, String)]) -> bool {
    let statement = |parts: &[(String, String)]| {
        let own = |name: &str| matches!(name, "operation" | "command" | "sources" | "destination" | "path");
        parts.iter().filter(|(name, _)| own(name)).cloned().collect::<Vec<_>>()
    };
    statement(a) == statement(b)
}

/// Whether they begin on the same file system.
pub fn same_parent(a: &[(String, String)], b: &[(String, String)]) -> bool {
    let parent = |parts: &[(String, String)]| parts.iter().find(|(name, _)| name == "parent").cloned();
    parent(a) == parent(b)
}

fn sentence(name: &str, old: Option<&str>, new: Option<&str>) -> String {
    if name == "parent" {
        return "the step before it, or its base, is another".to_owned();
    }
    if let Some(what) = name.strip_prefix(CONTENT) {
        return match (old, new) {
            (None, _) => format!("it now reads {what}"),
            (_, None) => format!("it no longer reads {what}"),
            _ => format!("the content of {what} has changed"),
        };
    }
    if name.strip_prefix(VARIABLE).is_some_and(names_a_secret) {
        return format!("{name} has changed");
    }
    let variable = name.strip_prefix(VARIABLE).is_some_and(proxies::is_proxy);
    let harmless = |value| if variable { proxies::shown(value) } else { Cow::Borrowed(value) };
    let (old, new) = (old.map(harmless), new.map(harmless));
    match (old.as_deref(), new.as_deref()) {
        (None, Some(new)) => format!("{name} is new: {}", shown(new, 0)),
        (Some(old), None) => format!("{name} is gone: it was {}", shown(old, 0)),
        (Some(old), Some(new)) => {
            let (old, new) = (statement(old), statement(new));
            let same = old.chars().zip(new.chars()).take_while(|(a, b)| a == b).count();
            format!("{name} was {} and is {}", shown(&old, same), shown(&new, same))
        }
        (None, None) => format!("{name} has changed"),
    }
}

/// A list of words as they would be written: the shell's command without the shell, one word without the list.
fn statement(value: &str) -> Cow<'_, str> {
    let words: Vec<String> = match value.starts_with('[').then(|| serde_json::from_str(value)) {
        Some(Ok(words)) => words,
        _ => return value.into(),
    };
    match words.as_slice() {
        [only] => only.clone().into(),
        [_, flag, command] if flag == "-c" => command.clone().into(),
        _ => words.join(" ").into(),
    }
}

/// A value on one line, cut where it is long; `same` is where it begins to differ from the other, in characters.
fn shown(value: &str, same: usize) -> String {
    const MOST: usize = 60;
    const BEFORE: usize = 20;
    if value.is_empty() {
        return "empty".to_owned();
    }
    let start = if same > MOST / 2 { same - BEFORE } else { 0 };
    let mut out = if start > 0 { "…".to_owned() } else { String::new() };
    for c in value.chars().skip(start).take(MOST) {
        match c {
            '\n' => out.push(' '),
            c if c.is_control() => out.extend(c.escape_debug()),
            c => out.push(c),
        }
    }
    if value.chars().nth(start + MOST).is_some() {
        out.push('…');
    }
    out
}

#[derive(Default)]
struct Parts(Vec<(String, String)>);

impl Parts {
    fn put(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    fn run(&mut self, run: &Run, contents: &[String]) {
        self.put("command", words(&run.argv));
        self.put("directory", &run.cwd);
        self.put("user", &run.user);
        self.put(
            "network",
            match run.network {
                Network::Default => "default",
                Network::None => "none",
                Network::Host => "host",
            },
        );
        for (name, _) in &run.hosts {
            self.put("host", name);
        }
        for limit in &run.ulimits {
            self.put(format!("limit {}", limit.name), limit.to_string());
        }
        self.put("security", if run.insecure { "insecure" } else { "sandbox" });
        for entry in &run.env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            if !run.unkeyed_env.iter().any(|unkeyed| unkeyed == name) {
                // The key is kept: of a secret, no more than whether it is the same.
                match names_a_secret(name) {
                    true => self.put(format!("{VARIABLE}{name}"), Digest::of(value.as_bytes()).to_string()),
                    false => self.put(format!("{VARIABLE}{name}"), value),
                }
            }
        }
        for file in &run.files {
            self.put(format!("file {}", file.path), Digest::of(&file.content).to_string());
        }
        let mut contents = contents.iter();
        for mount in &run.mounts {
            self.put(format!("mount {}", mount.target), mount_text(mount));
            if mount.reads() {
                self.put(format!("{CONTENT}the mount {}", mount.target), contents.next().cloned().unwrap_or_default());
            }
        }
    }

    fn copy(&mut self, copy: &Copy, contents: &[String]) {
        let given = |flag: &Option<String>| flag.clone().unwrap_or_default();
        self.put("destination", &copy.dest);
        self.put("owner", given(&copy.chown));
        self.put("mode", given(&copy.chmod));
        for (name, on) in [("link", copy.link), ("parents", copy.parents), ("keep-git-dir", copy.keep_git_dir)] {
            self.put(name, on.to_string());
        }
        self.put("unpack", copy.unpack.map_or(String::new(), |unpack| unpack.to_string()));
        self.put("exclude", words(&copy.exclude));
        self.put("checksum", given(&copy.checksum));
        let mut contents = contents.iter();
        let paths = copy.sources.iter().filter_map(|source| match source {
            CopySource::Path(path) if copy.parents => Some(path.clone()),
            CopySource::Path(path) => Some(unix_path::base(path).to_owned()),
            _ => None,
        });
        let paths: Vec<String> = paths.collect();
        if !paths.is_empty() {
            self.put("sources", words(&paths));
            self.put(format!("{CONTENT}the sources"), contents.next().cloned().unwrap_or_default());
        }
        for source in &copy.sources {
            match source {
                CopySource::Path(_) => {}
                CopySource::Inline { name, content } => {
                    self.put(format!("{CONTENT}the heredoc {name}"), Digest::of(content).to_string());
                }
                CopySource::Url(address) | CopySource::Git(address) => {
                    let address = remote::without_secret(address);
                    self.put(format!("{CONTENT}{address}"), contents.next().cloned().unwrap_or_default());
                }
            }
        }
    }
}

impl Mount {
    /// Whether it shows files of one of the step's inputs.
    pub fn reads(&self) -> bool {
        matches!(self.kind, MountKind::Bind { .. } | MountKind::Cache { input: Some(_), .. })
    }
}

fn mount_text(mount: &Mount) -> String {
    match &mount.kind {
        MountKind::Bind { writable, .. } => format!("bind{}", if *writable { ",rw" } else { "" }),
        MountKind::Cache { mode, uid, gid, read_only, .. } => {
            format!("cache,mode={mode:o},uid={uid},gid={gid}{}", if *read_only { ",ro" } else { "" })
        }
        MountKind::Tmpfs { size, read_only } => {
            let size = size.map_or(String::new(), |size| format!(",size={size}"));
            format!("tmpfs{size}{}", if *read_only { ",ro" } else { "" })
        }
        MountKind::Secret { id, file, env, required, mode, uid, gid } => {
            let env = env.as_deref().map_or(String::new(), |name| format!(",env={name}"));
            format!("secret,id={id},file={file}{env},required={required},mode={mode:o},uid={uid},gid={gid}")
        }
        MountKind::Ssh { id, required, mode, uid, gid } => {
            format!("ssh,id={id},required={required},mode={mode:o},uid={uid},gid={gid}")
        }
    }
}

/// Words as a JSON array: no two lists read alike.
fn words(words: &[String]) -> String {
    serde_json::Value::from(words.to_vec()).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::{Options, lower};
    use super::*;
    use crate::dockerfile;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    /// The parts of the last step of a Dockerfile.
    fn key(text: &str, args: &[(&str, &str)], contents: &[&str]) -> Vec<(String, String)> {
        let build_args = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let options = Options { build_args, platform: Some("linux/amd64".to_owned()), ..Options::default() };
        let dockerfile = Arc::new(dockerfile::parse(format!("FROM scratch\n{text}").as_bytes()));
        let plan = lower(dockerfile, &options, &BTreeMap::new()).unwrap();
        let contents: Vec<String> = contents.iter().map(|it| (*it).to_owned()).collect();
        parts(plan.stage(plan.target).steps.last().unwrap(), Some("p"), &contents)
    }

    /// What differs between the last steps of two Dockerfiles.
    #[track_caller]
    fn check(old: &str, new: &str, expected: &[&str]) {
        let (old, new) = (key(old, &[], &["c"]), key(new, &[], &["c"]));
        assert_eq!(difference(&old, &new), expected);
        assert_eq!(digest(&old) == digest(&new), expected.is_empty());
    }

    #[test]
    fn what_a_run_depends_on() {
        check("RUN a", "RUN a", &[]);
        check("RUN a", "RUN b", &["command was a and is b"]);
        check("ARG A=1\nRUN a", "ARG A=2\nRUN a", &["variable A was 1 and is 2"]);
        check("RUN a", "ENV A=1\nRUN a", &["variable A is new: 1"]);
        check("ARG API_TOKEN=1\nRUN a", "ARG API_TOKEN=2\nRUN a", &["variable API_TOKEN has changed"]);
        let (old, new) = ("ARG HTTP_PROXY=http://me:pw@p\nRUN a", "ARG HTTP_PROXY=http://me:pw@q\nRUN a");
        check(old, new, &["variable HTTP_PROXY was http://…@p and is http://…@q"]);
        let long = "0123456789".repeat(9);
        check(
            &format!("RUN {long} a"),
            &format!("RUN {long} b {long}"),
            &[
                "command was …1234567890123456789 a and is …1234567890123456789 b 01234567890123456789012345678901234567…",
            ],
        );
        check("USER 1\nRUN a", "RUN a", &["user was 1 and is empty"]);
        check("RUN --network=none a", "RUN a", &["network was none and is default"]);
        check("RUN --mount=type=cache,target=/c,id=x a", "RUN --mount=type=cache,target=/c,id=y,sharing=locked a", &[]);
        check("RUN --mount=type=tmpfs,target=/c a", "RUN a", &["mount /c is gone: it was tmpfs"]);
        check("LABEL a=1\nRUN a", "LABEL a=2\nCMD x\nRUN a", &[]);
    }

    #[test]
    fn no_secret_is_in_a_key() {
        for text in ["ARG API_TOKEN=hunter2\nRUN a", "ADD https://me:hunter2@host/a /", "ADD https://hunter2@h/a.git /"]
        {
            assert!(!format!("{:?}", key(text, &[], &["c"])).contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn what_a_copy_depends_on() {
        check("COPY a b", "COPY a b", &[]);
        check("COPY a b", "COPY a c", &["destination was /b and is /c"]);
        check("COPY x/a b", "COPY y/a b", &[]);
        check("COPY a c", "COPY b c", &["sources was a and is b"]);
        check("COPY --chmod=1 a b", "COPY a b", &["mode was 1 and is empty"]);
        check("ENV A=1\nCOPY a b", "ENV A=2\nUSER 1\nCOPY a b", &[]);
        check("COPY <<A /x\n1\nA", "COPY <<A /x\n2\nA", &["the content of the heredoc A has changed"]);
        let (old, new) = (key("COPY a b", &[], &["c"]), key("COPY a b", &[], &["d"]));
        assert_eq!(difference(&old, &new), ["the content of the sources has changed"]);
    }

    #[test]
    fn the_surroundings_of_a_run() {
        let key = |options: Options| {
            let dockerfile = Arc::new(dockerfile::parse(b"FROM scratch\nRUN a\n"));
            let options = Options { platform: Some("linux/amd64".to_owned()), ..options };
            let plan = lower(dockerfile, &options, &BTreeMap::new()).unwrap();
            parts(plan.stage(plan.target).steps.last().unwrap(), Some("p"), &[])
        };
        let check = |options: Options, expected: &[&str]| {
            assert_eq!(difference(&key(Options::default()), &key(options)), expected);
        };
        let proxies = [("HTTP_PROXY".to_owned(), "http://p".to_owned())].into();
        check(Options { proxies, ..Options::default() }, &[]);
        check(Options { cgroup_parent: Some("g".to_owned()), ..Options::default() }, &[]);
        let size = Some(1 << 20);
        check(Options { shm_size: size, ..Options::default() }, &["mount /dev/shm is new: tmpfs,size=1048576"]);
        let ulimits = vec!["nofile=5:6".parse().unwrap()];
        check(Options { ulimits, ..Options::default() }, &["limit nofile is new: nofile=5:6"]);
        let hosts = |address: &str| vec![("one".to_owned(), address.to_owned())];
        check(Options { hosts: hosts("1.2.3.4"), ..Options::default() }, &["host is new: one"]);
        let moved = |address| key(Options { hosts: hosts(address), ..Options::default() });
        assert_eq!(moved("1.2.3.4"), moved("1.2.3.5"));
    }

    #[test]
    fn proxies_and_configuration_do_not_count() {
        assert_eq!(key("RUN a", &[], &[]), key("RUN a", &[("HTTP_PROXY", "x")], &[]));
        assert_ne!(key("ARG HTTP_PROXY\nRUN a", &[], &[]), key("ARG HTTP_PROXY\nRUN a", &[("HTTP_PROXY", "x")], &[]));
        for text in ["ENV A=1", "CMD x", "LABEL a=b", "ARG a", "EXPOSE 1", "WORKDIR /"] {
            assert_eq!(key(text, &[], &[]), [], "{text}");
        }
    }

    #[test]
    fn the_step_itself_is_named_before_what_it_stands_on() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let old = [pair("parent", "1"), pair("content of x", "1"), pair("user", "a")];
        let new = [pair("parent", "2"), pair("content of x", "2"), pair("user", "b")];
        let expected =
            ["user was a and is b", "the content of x has changed", "the step before it, or its base, is another"];
        assert_eq!(difference(&old, &new), expected);
    }

    proptest::proptest! {
        #[test]
        fn keys_are_equal_just_when_their_parts_are(
            a in proptest::collection::vec(("[ab]{0,2}", "[ab]{0,2}"), 0..4),
            b in proptest::collection::vec(("[ab]{0,2}", "[ab]{0,2}"), 0..4),
        ) {
            assert_eq!(digest(&a) == digest(&b), a == b);
        }
    }
}
