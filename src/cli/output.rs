//! `-o`: where a build's result goes.

use super::exit::Failure;
use crate::engine::{Annotations, Destination, Packing};
use crate::image::recompress::PackedAs;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    pub destination: Destination,
    pub packing: Packing,
    /// Names for the image, beside those of `-t`.
    pub names: Vec<String>,
    /// What only a builder's exporters know of.
    pub attributes: BTreeMap<String, String>,
}

/// Attributes that are a builder's, and that it checks.
const BUILDERS: [&str; 10] = [
    "buildinfo",
    "dangling-name-prefix",
    "name-canonical",
    "oci-artifact",
    "oci-mediatypes",
    "push-by-digest",
    "registry.insecure",
    "rewrite-timestamp",
    "store",
    "unpack",
];

impl Output {
    pub fn new(destination: Destination) -> Output {
        Output { destination, packing: Packing::default(), names: Vec::new(), attributes: BTreeMap::new() }
    }

    pub fn is_stdout(&self) -> bool {
        self.dest() == Path::new("-")
    }

    fn dest(&self) -> &Path {
        match &self.destination {
            Destination::Store | Destination::Registry => Path::new(""),
            Destination::Oci { dest, .. } | Destination::Docker { dest } => dest,
            Destination::Tar { dest } | Destination::Local { dest } => dest,
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.destination {
            Destination::Store => return f.write_str("the local store"),
            Destination::Registry => return f.write_str("the registry"),
            Destination::Oci { directory: true, .. } => "OCI layout",
            Destination::Oci { .. } => "OCI archive",
            Destination::Docker { .. } => "Docker archive",
            Destination::Tar { .. } => "archive",
            Destination::Local { .. } => "directory",
        };
        write!(f, "{kind} {}", self.dest().display())
    }
}

/// As buildx reads it: `type=…,dest=…`, a plain path for a directory, `-` for an archive on standard output.
pub fn parse(text: &str) -> Result<Output, Failure> {
    let wrong = |why: &str| Failure::Usage(format!("--output {text}: {why}"));
    if !text.contains('=') {
        let dest = PathBuf::from(text);
        let destination = if text == "-" { Destination::Tar { dest } } else { Destination::Local { dest } };
        return Ok(Output::new(destination));
    }
    let (mut kind, mut dest, mut tar) = (None, None, true);
    let mut packing = Packing::default();
    let (mut push, mut names, mut attributes) = (false, Vec::new(), BTreeMap::new());
    for field in fields(text) {
        match field.split_once('=') {
            Some(("type", value)) => kind = Some(value),
            Some(("dest", value)) => dest = Some(PathBuf::from(value)),
            Some(("tar", "true")) => tar = true,
            Some(("tar", "false")) => tar = false,
            Some(("compression", value)) => {
                packing.format = Some(match value {
                    "uncompressed" => PackedAs::Plain,
                    "gzip" => PackedAs::Gzip,
                    "zstd" => PackedAs::Zstd,
                    _ => {
                        return Err(wrong(&format!("compression {value:?} is not known: gzip, zstd, uncompressed")));
                    }
                });
            }
            Some(("compression-level", value)) => {
                let level = value.parse().map_err(|_| wrong(&format!("compression-level {value:?} is no number")))?;
                packing.level = Some(level);
            }
            Some(("force-compression", value @ ("true" | "false"))) => packing.force = value == "true",
            Some(("push", value @ ("true" | "false"))) => push = value == "true",
            Some(("name", value)) => names.extend(value.split(',').map(str::to_owned)),
            Some((name, value)) if BUILDERS.contains(&name) || name.starts_with("annotation") => {
                attributes.insert(name.to_owned(), value.to_owned());
            }
            Some((name, _)) => {
                return Err(wrong(&format!(
                    "{name:?} is not known: type, dest, name, push, tar, compression, compression-level, \
                     force-compression, and for a builder {}",
                    BUILDERS.join(", ")
                )));
            }
            None => return Err(wrong(&format!("{field:?} is not of the form NAME=VALUE"))),
        }
    }
    let stdout = || PathBuf::from("-");
    let needed = |dest: Option<PathBuf>| dest.ok_or_else(|| wrong("dest=PATH is missing"));
    let destination = match kind {
        Some("oci") if !tar => Destination::Oci { dest: needed(dest)?, directory: true },
        Some("oci") => Destination::Oci { dest: dest.unwrap_or_else(stdout), directory: false },
        Some("docker") => Destination::Docker { dest: dest.unwrap_or_else(stdout) },
        Some("tar") => Destination::Tar { dest: dest.unwrap_or_else(stdout) },
        Some("local") => Destination::Local { dest: needed(dest)? },
        Some("registry") => Destination::Registry,
        Some("image") if push => Destination::Registry,
        Some("image") => Destination::Store,
        Some(kind) => return Err(wrong(&format!("type {kind:?} is not known: {KINDS}"))),
        None => return Err(wrong(&format!("type=TYPE is missing: {KINDS}"))),
    };
    Ok(Output { destination, packing, names, attributes })
}

const KINDS: &str = "image, registry, oci, docker, tar, local";

/// Of `A=B,"C=D,E"`: what is in quotes may have commas.
fn fields(text: &str) -> Vec<&str> {
    let mut quoted = false;
    let parts = text.split(move |letter| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    });
    parts.map(|field| field.trim_matches('"')).collect()
}

/// What the exporters of a builder are told in addition. Of the embedded engine nothing of it may be asked that it does
/// not do anyway.
pub fn attributes(outputs: &[Output], embedded: bool) -> Result<BTreeMap<String, String>, Failure> {
    let mut out = BTreeMap::new();
    for (name, value) in outputs.iter().flat_map(|it| &it.attributes) {
        if out.insert(name.clone(), value.clone()).is_some_and(|other| other != *value) {
            let message = format!("--output: the outputs of one build cannot differ in {name}");
            return Err(Failure::Usage(message));
        }
        let anyway = matches!(name.as_str(), "oci-mediatypes" | "rewrite-timestamp") && value == "true";
        if embedded && !anyway {
            let message =
                format!("--output: {name}={value} is for a builder: give one with --engine docker or --builder");
            return Err(Failure::Usage(message));
        }
    }
    Ok(out)
}

/// How the layers are compressed: all outputs of a build have the same.
pub fn packing(outputs: &[Output]) -> Result<Packing, Failure> {
    let first = outputs.first().map_or_else(Packing::default, |output| output.packing);
    match outputs.iter().all(|output| output.packing == first) {
        true => Ok(first),
        false => Err(Failure::Usage("--output: the outputs of one build cannot differ in compression".to_owned())),
    }
}

/// `--annotation [WHERE:]NAME=VALUE`, where WHERE is one or more places, with commas. Those of an index are attributes,
/// for only a builder makes one.
pub fn annotations(texts: &[String], index: &mut BTreeMap<String, String>) -> Result<Annotations, Failure> {
    let mut out = Annotations::default();
    for text in texts {
        let wrong = |why: &str| Failure::Usage(format!("--annotation {text}: {why}"));
        let (name, value) = text.split_once('=').ok_or_else(|| wrong("it is not of the form NAME=VALUE"))?;
        let (places, name) = name.split_once(':').unwrap_or(("manifest", name));
        if name.is_empty() {
            return Err(wrong("the name is empty"));
        }
        for place in places.split(',') {
            let into = match place {
                "manifest" => &mut out.manifest,
                "manifest-descriptor" => &mut out.manifest_descriptor,
                "index" | "index-descriptor" => {
                    index.insert(format!("annotation-{place}.{name}"), value.to_owned());
                    continue;
                }
                _ => {
                    let why = format!("{place:?} is not known: manifest, manifest-descriptor, index, index-descriptor");
                    return Err(wrong(&why));
                }
            };
            into.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs() {
        let check = |text: &str, expected: Option<Destination>| {
            assert_eq!(parse(text).ok().map(|it| it.destination), expected, "{text}");
        };
        let dest = || PathBuf::from("x");
        check("x", Some(Destination::Local { dest: dest() }));
        check("-", Some(Destination::Tar { dest: "-".into() }));
        check("type=oci,dest=x", Some(Destination::Oci { dest: dest(), directory: false }));
        check("type=oci,dest=x,tar=false", Some(Destination::Oci { dest: dest(), directory: true }));
        check("type=docker", Some(Destination::Docker { dest: "-".into() }));
        check("type=local", None);
        check("type=registry", Some(Destination::Registry));
        check("type=image,push=true,\"name=a,b\"", Some(Destination::Registry));
        check("type=image,name=a", Some(Destination::Store));
        assert_eq!(parse("type=image,\"name=a,b\"").unwrap().names, ["a", "b"]);
        check("dest=x", None);
        check("type=tar,nonsense", None);
    }
}
