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
    pub annotations: Annotations,
    /// What only a builder's exporters know of.
    pub attributes: BTreeMap<String, String>,
}

/// Attributes that are a builder's, and that it checks.
const BUILDERS: [&str; 16] = [
    "attestation-inline",
    "attestation-prefix",
    "buildinfo",
    "dangling-name-prefix",
    "mode",
    "name-canonical",
    "oci-artifact",
    "oci-mediatypes",
    "platform-split",
    "prefer-nondist-layers",
    "push-by-digest",
    "registry.insecure",
    "rewrite-timestamp",
    "source-date-epoch",
    "store",
    "unpack",
];

impl Output {
    pub fn new(destination: Destination) -> Output {
        Output {
            destination,
            packing: Packing::default(),
            names: Vec::new(),
            annotations: Annotations::default(),
            attributes: BTreeMap::new(),
        }
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

/// Whether it says that the result goes nowhere.
pub fn is_none(text: &str) -> bool {
    let pairs = if text.contains('=') { pairs("--output", text).unwrap_or_default() } else { Vec::new() };
    pairs.iter().any(|(name, value)| name == "type" && value == "cacheonly")
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
    let mut annotations = Annotations::default();
    let pairs = pairs("--output", text)?;
    for (name, value) in &pairs {
        if let Some((place, key)) = annotation(&mut annotations, name) {
            place.insert(key.to_owned(), value.clone());
            continue;
        }
        match (name.as_str(), value.as_str()) {
            ("type", value) => kind = Some(value),
            ("dest", value) => dest = Some(PathBuf::from(value)),
            ("tar", value) if truth(value).is_some() => tar = truth(value) == Some(true),
            ("compression", "estargz") => drop(attributes.insert(name.clone(), value.clone())),
            ("compression", value) => {
                packing.format = Some(match value {
                    "uncompressed" => PackedAs::Plain,
                    "gzip" => PackedAs::Gzip,
                    "zstd" => PackedAs::Zstd,
                    _ => {
                        return Err(wrong(&format!(
                            "compression {value:?} is not known: gzip, zstd, estargz, uncompressed"
                        )));
                    }
                });
            }
            ("compression-level", value) => {
                let level = value.parse().map_err(|_| wrong(&format!("compression-level {value:?} is no number")))?;
                packing.level = Some(level);
            }
            ("force-compression", value) if truth(value).is_some() => packing.force = truth(value) == Some(true),
            ("push", value) if truth(value).is_some() => push = truth(value) == Some(true),
            ("tar" | "force-compression" | "push", value) => {
                return Err(wrong(&format!("{name} is true or false, not {value:?}")));
            }
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
    Ok(Output { destination, packing, names, annotations, attributes })
}

/// As builders read it, which are written in Go.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Where an attribute puts an annotation, and the annotation's name. Those of an index, and of one platform, are for a
/// builder.
fn annotation<'a, 'n>(
    annotations: &'a mut Annotations,
    name: &'n str,
) -> Option<(&'a mut BTreeMap<String, String>, &'n str)> {
    let (place, key) = name.split_once('.')?;
    match place {
        "annotation" | "annotation-manifest" => Some((&mut annotations.manifest, key)),
        "annotation-manifest-descriptor" => Some((&mut annotations.manifest_descriptor, key)),
        _ => None,
    }
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
        let anyway = match name.as_str() {
            "oci-mediatypes" | "rewrite-timestamp" => truth(value) == Some(true),
            "platform-split" | "prefer-nondist-layers" => truth(value) == Some(false),
            "mode" => value == "copy",
            _ => false,
        };
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

/// `--annotation [WHERE:]NAME=VALUE`, where WHERE is one or more places, with commas; beside those of the outputs. Those
/// of an index are attributes, for only a builder makes one.
pub fn annotations(
    texts: &[String],
    outputs: &[Output],
    index: &mut BTreeMap<String, String>,
) -> Result<Annotations, Failure> {
    let mut out = Annotations::default();
    for Annotations { manifest, manifest_descriptor } in outputs.iter().map(|it| it.annotations.clone()) {
        out.manifest.extend(manifest);
        out.manifest_descriptor.extend(manifest_descriptor);
    }
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
        check("type=image,push=T", Ok((Destination::Registry, &[])));
        check("type=image,push=0", Ok((Destination::Store, &[])));
        check("type=image,push=yes", Err("push is true or false, not \"yes\""));
        check("type=oci,dest=x,tar=False", Ok((Destination::Oci { dest: dest("x"), directory: true }, &[])));
        check("dest=a", Err("type=TYPE is missing"));
        check("type=local", Err("dest=PATH is missing"));
        assert!(is_none("type=cacheonly") && !is_none("cacheonly") && !is_none("type=oci,dest=cacheonly"));
    }

    /// What the embedded engine makes of the attributes: the annotations, or a part of the error's message.
    #[track_caller]
    fn check_embedded(text: &str, expected: Result<&str, &str>) {
        let output = parse(text).unwrap();
        let found = attributes(std::slice::from_ref(&output), true).and_then(|mut index| {
            let given = ["manifest-descriptor:given=1".to_owned()];
            annotations(&given, std::slice::from_ref(&output), &mut index)
        });
        match (found, expected) {
            (Ok(found), Ok(expected)) => {
                assert_eq!(format!("{:?} {:?}", found.manifest, found.manifest_descriptor), expected);
            }
            (Err(failure), Err(part)) => assert!(failure.to_string().contains(part), "{text}: {failure}"),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }

    #[test]
    fn attributes_for_the_embedded_engine() {
        let none = Ok(r#"{} {"given": "1"}"#);
        check_embedded("type=oci,oci-mediatypes=1,rewrite-timestamp=T,prefer-nondist-layers=false", none);
        check_embedded("type=local,dest=x,mode=copy,platform-split=0", none);
        let annotated = "type=oci,annotation.a.b=c,annotation-manifest.d=e,annotation-manifest-descriptor.f=g";
        check_embedded(annotated, Ok(r#"{"a.b": "c", "d": "e"} {"f": "g", "given": "1"}"#));
        check_embedded("type=oci,annotation-index.a=b", Err("annotation-index.a=b is for a builder"));
        check_embedded("type=oci,compression=estargz", Err("compression=estargz is for a builder"));
        check_embedded("type=local,dest=x,platform-split=true", Err("platform-split=true is for a builder"));
    }
}
