//! `-o`: where a build's result goes.

use super::exit::Failure;
use crate::engine::Destination;
use std::fmt;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output(pub Destination);

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
        return Ok(Output(if text == "-" { Destination::Tar { dest } } else { Destination::Local { dest } }));
    }
    let (mut kind, mut dest, mut tar) = (None, None, true);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("type", value)) => kind = Some(value),
            Some(("dest", value)) => dest = Some(PathBuf::from(value)),
            Some(("tar", "true")) => tar = true,
            Some(("tar", "false")) => tar = false,
            Some((name, _)) => return Err(wrong(&format!("{name:?} is not known: type, dest, tar"))),
            None => return Err(wrong(&format!("{field:?} is not of the form NAME=VALUE"))),
        }
    }
    let stdout = || PathBuf::from("-");
    let needed = |dest: Option<PathBuf>| dest.ok_or_else(|| wrong("dest=PATH is missing"));
    Ok(Output(match kind {
        Some("oci") if !tar => Destination::Oci { dest: needed(dest)?, directory: true },
        Some("oci") => Destination::Oci { dest: dest.unwrap_or_else(stdout), directory: false },
        Some("docker") => Destination::Docker { dest: dest.unwrap_or_else(stdout) },
        Some("tar") => Destination::Tar { dest: dest.unwrap_or_else(stdout) },
        Some("local") => Destination::Local { dest: needed(dest)? },
        Some(kind) => return Err(wrong(&format!("type {kind:?} is not known: oci, docker, tar, local"))),
        None => return Err(wrong("type=TYPE is missing: oci, docker, tar, local")),
    }))
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
