//! `RUN --mount`: the fields as written, and what they mean once variables are expanded.
//!
//! The official parser reads the value twice: when the file is parsed only the comma-separated form and `from`
//! are looked at, the rest when the instruction is reached and its variables are known. So do we.

use super::command::Fault;
use super::fields::{boolean, bytes, csv};
use super::nearest::nearest;

/// One `--mount`, its fields split and nothing expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountFlag {
    /// As written after `--mount=`.
    pub text: String,
    fields: Vec<String>,
}

/// One `--mount`, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOptions {
    pub kind: MountType,
    pub from: Option<String>,
    pub source: String,
    pub target: String,
    pub read_only: bool,
    /// Bytes, of a tmpfs.
    pub size: Option<u64>,
    pub id: String,
    pub sharing: Option<MountSharing>,
    pub required: bool,
    /// The environment variable that a secret goes to.
    pub env: Option<String>,
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountType {
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

impl MountType {
    const ALL: [(&'static str, MountType); 5] = [
        ("bind", MountType::Bind),
        ("cache", MountType::Cache),
        ("tmpfs", MountType::Tmpfs),
        ("secret", MountType::Secret),
        ("ssh", MountType::Ssh),
    ];

    pub fn name(self) -> &'static str {
        MountType::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountSharing {
    Shared,
    Private,
    Locked,
}

const SHARING: [(&str, MountSharing); 3] =
    [("shared", MountSharing::Shared), ("private", MountSharing::Private), ("locked", MountSharing::Locked)];

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "env",
];

/// Expands the variables of one value.
pub type Expand<'a> = &'a mut dyn FnMut(&str) -> Result<String, Fault>;

impl MountFlag {
    pub(super) fn parse(text: &str) -> Result<MountFlag, Fault> {
        let fields = csv(text).ok_or_else(|| {
            let message = format!("--mount={text} is not a list of fields separated by commas");
            Fault::new("mount", message, text).help("quotes go around a whole field: \"source=a,b\"")
        })?;
        let flag = MountFlag { text: text.to_owned(), fields };
        let from = flag.fields.iter().filter_map(|field| field.split_once('='));
        for (key, value) in from.filter(|(key, _)| key.eq_ignore_ascii_case("from")) {
            let dollar = value.find('$');
            if dollar.is_some_and(|at| at + 1 != value.len()) {
                let message = format!("variables are not expanded in {key}={value}");
                return Err(Fault::new("mount", message, value)
                    .help("give the image a stage of its own, FROM … AS name, and mount from=name"));
            }
        }
        Ok(flag)
    }

    /// The stage or image of `from=`, as written; the last one counts.
    pub fn from(&self) -> Option<&str> {
        let pairs = self.fields.iter().rev().filter_map(|field| field.split_once('='));
        let mut from = pairs.filter(|(key, _)| key.eq_ignore_ascii_case("from"));
        from.next().map(|(_, value)| value).filter(|value| !value.is_empty())
    }

    /// What the fields mean. Each of them counts from where it stands: `type` goes before what depends on it.
    pub fn resolve(&self, expand: Expand) -> Result<MountOptions, Fault> {
        let mut reader = Reader::new();
        for field in &self.fields {
            match field.split_once('=') {
                Some((key, value)) => reader.pair(field, &key.to_lowercase(), &expand(value)?)?,
                None => reader.word(field)?,
            }
        }
        reader.finish(&self.text)
    }
}

struct Reader {
    out: MountOptions,
    /// Whether a field said if it is read-only.
    access_given: bool,
}

impl Reader {
    fn new() -> Reader {
        let out = MountOptions {
            kind: MountType::Bind,
            from: None,
            source: String::new(),
            target: String::new(),
            read_only: false,
            size: None,
            id: String::new(),
            sharing: None,
            required: false,
            env: None,
            mode: None,
            uid: None,
            gid: None,
        };
        Reader { out, access_given: false }
    }

    fn word(&mut self, field: &str) -> Result<(), Fault> {
        match field.to_lowercase().as_str() {
            "readonly" | "ro" => self.access(true),
            "readwrite" | "rw" => self.access(false),
            "required" if self.takes_required() => self.out.required = true,
            "required" => return Err(self.misplaced(field, "required")),
            "" => {
                let fault = Fault::new("mount", "--mount has an empty field".to_owned(), "");
                return Err(fault.help("a blank ends the list: write none after a comma, and no comma at the end"));
            }
            _ => {
                let message = format!("{field:?} in --mount has no value");
                return Err(Fault::new("mount", message, field)
                    .help("fields are name=value; only readonly, readwrite and required stand alone"));
            }
        }
        Ok(())
    }

    fn pair(&mut self, field: &str, key: &str, value: &str) -> Result<(), Fault> {
        let bad = |what: &str| Fault::new("mount", format!("--mount {key}={value}: {value:?} is not {what}"), field);
        let flag = || boolean(value).ok_or_else(|| bad("true or false"));
        match key {
            "type" => {
                self.out.kind =
                    named(&MountType::ALL, value).ok_or_else(|| choose(bad("a mount type"), value, &MountType::ALL))?
            }
            "from" => self.out.from = Some(value.to_owned()).filter(|it| !it.is_empty()),
            "source" | "src" => self.out.source = value.to_owned(),
            "target" | "dst" | "destination" => self.out.target = value.to_owned(),
            "readonly" | "ro" => self.access(flag()?),
            "readwrite" | "rw" => self.access(!flag()?),
            "required" if self.takes_required() => self.out.required = flag()?,
            "size" if self.out.kind == MountType::Tmpfs => {
                let size = bytes(value).ok_or_else(|| bad("a size").help("for instance 64m or 1g"))?;
                self.out.size = Some(size).filter(|size| *size > 0);
            }
            "required" | "size" => return Err(self.misplaced(field, key)),
            "id" => self.out.id = value.to_owned(),
            "sharing" => {
                self.out.sharing =
                    Some(named(&SHARING, value).ok_or_else(|| choose(bad("a way of sharing"), value, &SHARING))?);
            }
            "mode" => {
                self.out.mode = Some(number(value, 8).ok_or_else(|| bad("an octal mode").help("for instance 0755"))?)
            }
            "uid" => self.out.uid = Some(number(value, 10).ok_or_else(|| bad("a user number"))?),
            "gid" => self.out.gid = Some(number(value, 10).ok_or_else(|| bad("a group number"))?),
            "env" => self.out.env = Some(value.to_owned()),
            _ => {
                let fault = Fault::new("mount", format!("--mount has no field {key:?}"), field);
                return Err(match nearest(key, KEYS) {
                    Some(near) => fault.help(format!("did you mean {near}?")),
                    None => fault.help(format!("its fields are {}", KEYS.join(", "))),
                });
            }
        }
        Ok(())
    }

    fn finish(mut self, text: &str) -> Result<MountOptions, Fault> {
        let out = &mut self.out;
        let kind = out.kind;
        let fault = |message: String| Fault::new("mount", message, text);
        let files = matches!(kind, MountType::Secret | MountType::Ssh | MountType::Cache);
        let owned = [("mode", out.mode), ("uid", out.uid), ("gid", out.gid)];
        if let Some((name, _)) = owned.iter().find(|(_, value)| !files && value.is_some()) {
            return Err(fault(format!("a {} mount has no {name}", kind.name()))
                .help("cache, secret and ssh mounts take mode, uid and gid"));
        }
        if !self.access_given {
            out.read_only = !matches!(kind, MountType::Cache | MountType::Tmpfs);
        }
        if kind == MountType::Secret {
            if out.from.is_some() {
                return Err(fault("a secret mount takes no from".to_owned()));
            }
            if out.sharing.is_some() {
                return Err(fault("a secret mount takes no sharing".to_owned()));
            }
            if out.source.is_empty() && out.target.is_empty() && out.id.is_empty() {
                return Err(fault("a secret mount needs an id or a target".to_owned()).help("for instance id=token"));
            }
            if !out.source.is_empty() && !out.id.is_empty() {
                return Err(
                    fault("a secret mount has both source and id".to_owned()).help("they mean the same: keep one")
                );
            }
        }
        if out.sharing.is_some() && kind != MountType::Cache {
            return Err(fault(format!("a {} mount takes no sharing: only a cache does", kind.name())));
        }
        Ok(self.out)
    }

    fn access(&mut self, read_only: bool) {
        self.out.read_only = read_only;
        self.access_given = true;
    }

    fn takes_required(&self) -> bool {
        matches!(self.out.kind, MountType::Secret | MountType::Ssh)
    }

    fn misplaced(&self, field: &str, key: &str) -> Fault {
        let message = format!("a {} mount takes no {key}", self.out.kind.name());
        let of = if key == "size" { "type=tmpfs" } else { "type=secret or type=ssh" };
        Fault::new("mount", message, field).help(format!("it belongs to {of}, which must be written before it"))
    }
}

fn named<T: Copy>(names: &[(&str, T)], value: &str) -> Option<T> {
    let value = value.to_lowercase();
    names.iter().find(|(name, _)| *name == value).map(|(_, it)| *it)
}

fn choose<T>(fault: Fault, value: &str, names: &[(&str, T)]) -> Fault {
    let all: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    match nearest(value, all.iter().copied()) {
        Some(near) => fault.help(format!("did you mean {near}?")),
        None => fault.help(format!("it is one of {}", all.join(", "))),
    }
}

fn number(text: &str, radix: u32) -> Option<u32> {
    let plain = text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| u32::from_str_radix(text, radix).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mount in a few words, or what is wrong with it.
    fn shown(text: &str) -> String {
        let result = MountFlag::parse(text).and_then(|it| it.resolve(&mut |value| Ok(value.replace("$V", "cache"))));
        match result {
            Err(fault) => format!("error: {}", fault.message),
            Ok(it) => {
                let mut out = vec![it.kind.name().to_owned()];
                let mut put = |name: &str, value: String| out.push(format!("{name}={value}"));
                it.from.iter().for_each(|from| put("from", from.clone()));
                for (name, value) in [("source", it.source), ("target", it.target), ("id", it.id)] {
                    if !value.is_empty() {
                        put(name, value);
                    }
                }
                it.size.iter().for_each(|size| put("size", size.to_string()));
                it.sharing.iter().for_each(|sharing| put("sharing", format!("{sharing:?}")));
                it.env.iter().for_each(|env| put("env", env.clone()));
                it.mode.iter().for_each(|mode| put("mode", format!("{mode:o}")));
                it.uid.iter().for_each(|uid| put("uid", uid.to_string()));
                it.gid.iter().for_each(|gid| put("gid", gid.to_string()));
                put("ro", it.read_only.to_string());
                if it.required {
                    put("required", "true".to_owned());
                }
                out.join(" ")
            }
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(shown(text), expected, "{text}");
    }

    #[test]
    fn fields_are_understood() {
        check("target=/x", "bind target=/x ro=true");
        check("type=bind,src=a,dst=/x,rw", "bind source=a target=/x ro=false");
        check("TYPE=Cache,target=/x", "cache target=/x ro=false");
        check("type=$V,target=/x,ro", "cache target=/x ro=true");
        check(
            "type=cache,id=a,sharing=Locked,mode=0700,uid=1,gid=2",
            "cache id=a sharing=Locked mode=700 uid=1 gid=2 ro=false",
        );
        check("type=tmpfs,size=1.5k,target=/t", "tmpfs target=/t size=1536 ro=false");
        check("type=tmpfs,size=0", "tmpfs ro=false");
        check("type=secret,id=t,required,env=T", "secret id=t env=T ro=true required=true");
        check("type=ssh,required=false", "ssh ro=true");
        check("\"source=a,b\",target=/x", "bind source=a,b target=/x ro=true");
        check("from=a,from=b", "bind from=b ro=true");
        check("from=a$", "bind from=a$ ro=true");
    }

    #[test]
    fn faults_are_named() {
        check("", "error: --mount= is not a list of fields separated by commas");
        check("a\"b", "error: --mount=a\"b is not a list of fields separated by commas");
        check("from=$A", "error: variables are not expanded in from=$A");
        check("type=bin", "error: --mount type=bin: \"bin\" is not a mount type");
        check("taget=/x", "error: --mount has no field \"taget\"");
        check("target", "error: \"target\" in --mount has no value");
        check("required,type=secret", "error: a bind mount takes no required");
        check("size=1m", "error: a bind mount takes no size");
        check("type=tmpfs,size=1x", "error: --mount size=1x: \"1x\" is not a size");
        check("type=cache,sharing=x", "error: --mount sharing=x: \"x\" is not a way of sharing");
        check("type=cache,mode=9", "error: --mount mode=9: \"9\" is not an octal mode");
        check("mode=755", "error: a bind mount has no mode");
        check("type=secret", "error: a secret mount needs an id or a target");
        check("type=secret,id=a,src=b", "error: a secret mount has both source and id");
        check("type=secret,id=a,from=b", "error: a secret mount takes no from");
        check("sharing=shared", "error: a bind mount takes no sharing: only a cache does");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(text in "[a-z=,\"$/0-9 ]{0,60}") {
            shown(&text);
        }
    }
}
