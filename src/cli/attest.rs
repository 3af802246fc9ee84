//! `--attest`, and `--provenance` and `--sbom`, which are short for it: what a builder states of the image that it makes.
//!
//! Source: buildx' forms of these, and the frontend options `attest:provenance` and `attest:sbom` of BuildKit.

use super::args::BuildCommand;
use super::exit::Failure;
use crate::dockerfile::fields::{boolean, csv};
use std::collections::BTreeMap;

const KINDS: [&str; 2] = ["provenance", "sbom"];

/// What is asked for, by kind, with its attributes as BuildKit reads them. Of a kind that is given twice the last
/// counts, and the short forms come after `--attest`.
pub fn read(args: &BuildCommand) -> Result<BTreeMap<String, String>, Failure> {
    let mut out = BTreeMap::new();
    for text in &args.attest {
        put("--attest", text, text, &mut out)?;
    }
    for (kind, given) in KINDS.into_iter().zip([&args.provenance, &args.sbom]) {
        let Some(value) = given.as_deref().filter(|it| !it.is_empty()) else { continue };
        let whole = match boolean(value) {
            Some(on) => format!("type={kind},disabled={}", !on),
            None => format!("type={kind},{value}"),
        };
        put(&format!("--{kind}"), value, &whole, &mut out)?;
    }
    Ok(out)
}

fn put(option: &str, given: &str, text: &str, out: &mut BTreeMap<String, String>) -> Result<(), Failure> {
    let wrong = |why: String| Failure::Usage(format!("{option} {given}: {why}"));
    let fields = csv(text).ok_or_else(|| wrong("its quotes do not match".to_owned()))?;
    let (mut kind, mut disabled, mut attributes) = (None, false, Vec::new());
    for field in &fields {
        let (name, value) = field.split_once('=').ok_or_else(|| wrong(format!("{field:?} is not NAME=VALUE")))?;
        match name.trim().to_ascii_lowercase().as_str() {
            "type" => kind = Some(value),
            "disabled" => {
                disabled =
                    boolean(value).ok_or_else(|| wrong(format!("disabled={value} is neither true nor false")))?;
            }
            _ => attributes.push(field.as_str()),
        }
    }
    let kind =
        kind.filter(|kind| KINDS.contains(kind)).ok_or_else(|| wrong("type=provenance or type=sbom".to_owned()))?;
    match disabled {
        true => drop(out.remove(kind)),
        false => {
            let kind_field = format!("type={kind}");
            let fields = std::iter::once(kind_field.as_str()).chain(attributes).map(quoted);
            out.insert(kind.to_owned(), fields.collect::<Vec<_>>().join(","));
        }
    }
    Ok(())
}

/// A field of a line of comma-separated ones.
fn quoted(field: &str) -> String {
    match field.contains([',', '"', '\n']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::{Cli, Command};
    use super::*;
    use clap::Parser;

    #[track_caller]
    fn check(line: &str, expected: Result<&str, &str>) {
        let words = ["stagedive", "build"].into_iter().chain(line.split_whitespace());
        let Some(Command::Build(args)) = Cli::try_parse_from(words).expect(line).command else { panic!("{line}") };
        match (read(&args).map_err(|failure| failure.to_string()), expected) {
            (Ok(found), expected) => {
                let found: Vec<String> = found.iter().map(|(kind, value)| format!("{kind}: {value}")).collect();
                assert_eq!(Ok(found.join("; ").as_str()), expected, "{line}");
            }
            (Err(message), Err(part)) => assert!(message.contains(part), "{line}: {message}"),
            (Err(message), Ok(_)) => panic!("{line}: {message}"),
        }
    }

    #[test]
    fn attestations() {
        check("", Ok(""));
        check("--provenance=true", Ok("provenance: type=provenance"));
        check("--provenance false --sbom=0", Ok(""));
        check("--provenance mode=max", Ok("provenance: type=provenance,mode=max"));
        check("--sbom generator=a/b:1", Ok("sbom: type=sbom,generator=a/b:1"));
        check("--attest type=sbom,generator=a --sbom=false", Ok(""));
        check(
            "--attest mode=max,type=provenance --sbom=1",
            Ok("provenance: type=provenance,mode=max; sbom: type=sbom"),
        );
        check("--attest type=provenance,disabled=true", Ok(""));
        check("--attest type=provenance,\"a=b,c\"", Ok("provenance: type=provenance,\"a=b,c\""));
        check("--attest mode=max", Err("type=provenance or type=sbom"));
        check("--attest type=cosign", Err("type=provenance or type=sbom"));
        check("--provenance max", Err("\"max\" is not NAME=VALUE"));
        check("--attest type=sbom,disabled=perhaps", Err("neither true nor false"));
    }
}
