//! What A and B on the command line stand for.

use super::super::args::BuildArgs;
use super::super::exit::Failure;
use super::super::{project, remote};
use crate::dockerfile::{parse, stages::outline};
use crate::image::source::Source;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Point {
    /// As [`super::super::analyse`] takes it.
    Image(String),
    Directory(PathBuf),
    /// In the build of CONTEXT: before the instruction on a line, or at a stage's end. Without a stage the line says
    /// which one.
    Place {
        stage: Option<String>,
        line: Option<u32>,
    },
}

/// The names of a context's stages and their indices in digits; none if there is no Dockerfile that can be read.
pub fn stages_of(args: &BuildArgs) -> Vec<String> {
    // Standard input can be read only once, and what is elsewhere is fetched only once; a place in their builds can be
    // told by its `@`.
    let once = args.context == "-" || args.file.as_deref() == Some(Path::new("-"));
    let once = once || !matches!(remote::address(&args.context), Ok(None));
    let Some(project) = (!once).then(|| project::open(args).ok()).flatten() else { return Vec::new() };
    let Ok(Ok(outline)) = (project.read)().map(|text| outline(&parse(&text))) else { return Vec::new() };
    let indices = (0..outline.stages.len()).map(|index| index.to_string());
    outline.stages.iter().filter_map(|stage| stage.from.name.clone()).chain(indices).collect()
}

/// `STAGE@LINE`, `STAGE@` and `@LINE` are places; what has a transport is an image; what looks like a path is one; a
/// word is a stage, if there is one of its name, else a directory or a file, else an image.
pub fn point(text: &str, stages: &[String]) -> Result<Point, Failure> {
    if let Some((stage, line)) = text.rsplit_once('@')
        && line.chars().all(|c| c.is_ascii_digit())
        && !stage.contains([':', '/'])
        && text != "@"
    {
        let line = match line {
            "" => None,
            digits => Some(digits.parse().map_err(|_| Failure::Usage(format!("{text:?}: there is no line {line}")))?),
        };
        let stage = Some(stage.to_owned()).filter(|stage| !stage.is_empty());
        return Ok(Point::Place { stage, line });
    }
    let is_path = text.starts_with(['.', '/']);
    let has_transport = !is_path && text.contains(':') && !matches!(text.parse(), Ok(Source::Registry(_)));
    if has_transport {
        return Ok(Point::Image(text.to_owned()));
    }
    if !is_path && stages.iter().any(|stage| stage.eq_ignore_ascii_case(text)) {
        return Ok(Point::Place { stage: Some(text.to_owned()), line: None });
    }
    let path = Path::new(text);
    if path.is_dir() && !path.join("oci-layout").is_file() {
        return Ok(Point::Directory(path.to_owned()));
    }
    if is_path && !path.exists() {
        return Err(Failure::Usage(format!("{text}: there is neither a directory nor an archive of this name")));
    }
    Ok(Point::Image(text.to_owned()))
}

/// The arguments for each of two things that are compared: of two platforms the first is A's, and the second B's.
pub fn of_each(args: &BuildArgs) -> Result<[BuildArgs; 2], Failure> {
    let text = args.platform().unwrap_or_default();
    let with = |platform: &str| BuildArgs { platforms: vec![platform.trim().to_owned()], ..args.clone() };
    match text.split(',').collect::<Vec<_>>()[..] {
        [a, b] => Ok([with(a), with(b)]),
        [_] => Ok([args.clone(), args.clone()]),
        _ => Err(Failure::Usage(format!("--platform {text}: one for both sides, or one for each"))),
    }
}

/// How an image is called beside another: with its platform, if each has one of its own.
pub fn called(name: &str, of: &BuildArgs, both: &BuildArgs) -> String {
    match of.platforms == both.platforms {
        true => name.to_owned(),
        false => format!("{name} ({})", of.platforms.join(",")),
    }
}

/// The arguments that find an image, for one beside another.
pub fn image_args(name: &str, args: &BuildArgs) -> BuildArgs {
    BuildArgs { context: name.to_owned(), file: None, ..args.clone() }
}

#[cfg(test)]
mod tests {
    use super::super::super::args::{Cli, Command};
    use super::*;

    #[test]
    fn a_platform_for_each() {
        let check = |platforms: &[&str], expected: Option<[&str; 2]>| {
            let options = platforms.iter().flat_map(|it| ["--platform", it]);
            let words = ["stagedive", "diff", "app:1", "app:1"].into_iter().chain(options);
            let Some(Command::Diff(args)) = <Cli as clap::Parser>::parse_from(words).command else { panic!("no diff") };
            let each = of_each(&args.build).ok();
            let called = each.map(|each| each.map(|of| called("app:1", &of, &args.build)));
            assert_eq!(called, expected.map(|it| it.map(str::to_owned)), "{platforms:?}");
        };
        check(&[], Some(["app:1", "app:1"]));
        check(&["linux/amd64"], Some(["app:1", "app:1"]));
        check(&["linux/amd64, linux/arm64"], Some(["app:1 (linux/amd64)", "app:1 (linux/arm64)"]));
        check(&["linux/arm64", "linux/amd64"], Some(["app:1 (linux/arm64)", "app:1 (linux/amd64)"]));
        check(&["linux/arm64,linux/amd64", "linux/386"], None);
    }

    #[test]
    fn what_a_word_stands_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        std::fs::create_dir_all(dir.path().join("tree")).unwrap();
        std::fs::create_dir_all(dir.path().join("layout")).unwrap();
        std::fs::write(dir.path().join("layout/oci-layout"), "{}").unwrap();
        std::fs::write(dir.path().join("image.tar"), "").unwrap();
        let stages = ["builder", "final", "0", "1"].map(str::to_owned);
        let check = |text: &str, expected: Option<Point>| assert_eq!(point(text, &stages).ok(), expected, "{text}");
        let place = |stage: Option<&str>, line| Some(Point::Place { stage: stage.map(str::to_owned), line });
        let image = |text: &str| Some(Point::Image(text.to_owned()));
        check("builder", place(Some("builder"), None));
        check("Final", place(Some("Final"), None));
        check("1", place(Some("1"), None));
        check("builder@12", place(Some("builder"), Some(12)));
        check("other@", place(Some("other"), None));
        check("@7", place(None, Some(7)));
        check("@", image("@"));
        check("x@99999999999", None);
        check("builder:latest", image("builder:latest"));
        check("docker://builder", image("docker://builder"));
        check("alpine@sha256:00", image("alpine@sha256:00"));
        check("oci:some/dir", image("oci:some/dir"));
        check("alpine", image("alpine"));
        check(&path("tree"), Some(Point::Directory(dir.path().join("tree"))));
        check(&path("layout"), image(&path("layout")));
        check(&path("image.tar"), image(&path("image.tar")));
        check(&path("nothing"), None);
    }
}
