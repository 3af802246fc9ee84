//! `-o`: where a build's result goes.

use super::exit::Failure;
use super::pairs::pairs;
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
            Destination::Store | Destination::Registry | Destination::Daemon => Path::new(""),
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
            Destination::Daemon => return f.write_str("the Docker Engine"),
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
    let pairs = pairs("--output", text)?;
    for (name, value) in &pairs {
        match (name.as_str(), value.as_str()) {
            ("type", value) => kind = Some(value),
            ("dest", value) => dest = Some(PathBuf::from(value)),
            ("tar", "true") => tar = true,
            ("tar", "false") => tar = false,
            ("compression", value) => {
                packing.format = Some(match value {
                    "uncompressed" => PackedAs::Plain,
                    "gzip" => PackedAs::Gzip,
                    "zstd" => PackedAs::Zstd,
                    _ => {
                        return Err(wrong(&format!("compression {value:?} is not known: gzip, zstd, uncompressed")));
                    }
                });
            }
            ("compression-level", value) => {
                let level = value.parse().map_err(|_| wrong(&format!("compression-level {value:?} is no number")))?;
                packing.level = Some(level);
            }
            ("force-compression", value @ ("true" | "false")) => packing.force = value == "true",
            ("push", value @ ("true" | "false")) => push = value == "true",
            ("name", value) => names.extend(value.split(',').map(str::to_owned)),
            (name, value) if BUILDERS.contains(&name) || name.starts_with("annotation") => {
                attributes.insert(name.to_owned(), value.to_owned());
            }
            (name, _) => {
                return Err(wrong(&format!(
                    "{name:?} is not known: type, dest, name, push, tar, compression, compression-level, \
                     force-compression, and for a builder {}",
                    BUILDERS.join(", ")
                )));
            }
        }
    }
    let stdout = || PathBuf::from("-");
    let needed = |dest: Option<PathBuf>| dest.ok_or_else(|| wrong("dest=PATH is missing"));
    let destination = match kind {
        Some("oci") if !tar => Destination::Oci { dest: needed(dest)?, directory: true },
        Some("oci") => Destination::Oci { dest: dest.unwrap_or_else(stdout), directory: false },
        Some("docker") => dest.map_or(Destination::Daemon, |dest| Destination::Docker { dest }),
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

    /// The destination and the names, or a part of the error's message.
    #[track_caller]
    fn check(text: &str, expected: Result<(Destination, &[&str]), &str>) {
        match (parse(text).map_err(|failure| failure.to_string()), expected) {
            (Ok(found), Ok((destination, names))) => {
                assert_eq!(
                    (found.destination, found.names),
                    (destination, names.iter().map(|it| (*it).to_owned()).collect())
                );
            }
            (Err(message), Err(part)) => assert!(message.contains(part), "{text}: {message}"),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }

    #[test]
    fn outputs() {
        let dest = |dest: &str| PathBuf::from(dest);
        check("out", Ok((Destination::Local { dest: dest("out") }, &[])));
        check("-", Ok((Destination::Tar { dest: dest("-") }, &[])));
        check("type=oci,dest=x", Ok((Destination::Oci { dest: dest("x"), directory: false }, &[])));
        check("type=oci,dest=x,tar=false", Ok((Destination::Oci { dest: dest("x"), directory: true }, &[])));
        check("type=docker", Ok((Destination::Daemon, &[])));
        check("type=docker,dest=-", Ok((Destination::Docker { dest: dest("-") }, &[])));
        check("type=registry", Ok((Destination::Registry, &[])));
        check("TYPE=tar,dest=a.tar", Ok((Destination::Tar { dest: dest("a.tar") }, &[])));
        check("type=local,\"dest=a,b\"", Ok((Destination::Local { dest: dest("a,b") }, &[])));
        check("type=image,\"name=a,b\"", Ok((Destination::Store, &["a", "b"])));
        check("type=image,name=a,push=true", Ok((Destination::Registry, &["a"])));
        check("type=image,name=\"a,b\"", Err("its quotes do not match"));
        check("type=image,x", Err("\"x\" is not NAME=VALUE"));
        check("type=image,x=y", Err("\"x\" is not known"));
        check("dest=a", Err("type=TYPE is missing"));
        check("type=local", Err("dest=PATH is missing"));
    }
}
