//! `-o`: where a build's result goes.

use super::exit::Failure;
use crate::engine::{Annotations, Destination, Packing};
use crate::image::recompress::PackedAs;
use std::fmt;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output(pub Destination, pub Packing);

impl Output {
    pub fn is_stdout(&self) -> bool {
        self.dest() == Path::new("-")
    }

    fn dest(&self) -> &Path {
        match &self.0 {
            Destination::Store => Path::new(""),
            Destination::Oci { dest, .. } | Destination::Docker { dest } => dest,
            Destination::Tar { dest } | Destination::Local { dest } => dest,
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Destination::Store => return f.write_str("the local store"),
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
        return Ok(Output(destination, Packing::default()));
    }
    let (mut kind, mut dest, mut tar) = (None, None, true);
    let mut packing = Packing::default();
    for field in text.split(',') {
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
            // Both are as they are asked for already.
            Some(("oci-mediatypes" | "rewrite-timestamp", "true")) => {}
            Some((name, _)) => {
                return Err(wrong(&format!(
                    "{name:?} is not known: type, dest, tar, compression, compression-level, force-compression"
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
        Some(kind) => return Err(wrong(&format!("type {kind:?} is not known: oci, docker, tar, local"))),
        None => return Err(wrong("type=TYPE is missing: oci, docker, tar, local")),
    };
    Ok(Output(destination, packing))
}

/// How the layers are compressed: all outputs of a build have the same.
pub fn packing(outputs: &[Output]) -> Result<Packing, Failure> {
    let first = outputs.first().map_or_else(Packing::default, |output| output.1);
    match outputs.iter().all(|output| output.1 == first) {
        true => Ok(first),
        false => Err(Failure::Usage("--output: the outputs of one build cannot differ in compression".to_owned())),
    }
}

/// `--annotation [WHERE:]NAME=VALUE`, where WHERE is one or more of manifest and manifest-descriptor, with commas.
pub fn annotations(texts: &[String]) -> Result<Annotations, Failure> {
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
                    return Err(wrong("an image of one platform has no index: use manifest or manifest-descriptor"));
                }
                _ => return Err(wrong(&format!("{place:?} is not known: manifest, manifest-descriptor"))),
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
            assert_eq!(parse(text).ok().map(|it| it.0), expected, "{text}");
        };
        let dest = || PathBuf::from("x");
        check("x", Some(Destination::Local { dest: dest() }));
        check("-", Some(Destination::Tar { dest: "-".into() }));
        check("type=oci,dest=x", Some(Destination::Oci { dest: dest(), directory: false }));
        check("type=oci,dest=x,tar=false", Some(Destination::Oci { dest: dest(), directory: true }));
        check("type=docker", Some(Destination::Docker { dest: "-".into() }));
        check("type=local", None);
        check("type=registry", None);
        check("dest=x", None);
        check("type=tar,nonsense", None);
    }
}
