//! What a builder's errors say.
//!
//! Source: BuildKit's `errdefs`: beside the message an error carries details, as JSON under a type's name: the vertex
//! that failed, and names under which its mounts can still be had.

use super::connection::printable;
use crate::engine::{EngineError, EngineErrorKind, StepError, StepErrorKind};
use bollard_buildkit_proto::google::rpc;
use prost::Message;
use serde::Deserialize;
use tonic::{Code, Status};

/// The details of an error that are of use here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Details {
    /// The digest of the vertex that failed.
    pub(super) vertex: Option<String>,
    /// For each mount of the command that failed, the name of what it held then. It may be shorter than the mounts.
    pub(super) mounts: Vec<String>,
    /// The command's exit code.
    pub(super) exit: Option<i32>,
}

#[derive(Deserialize)]
struct VertexDetail {
    #[serde(default)]
    digest: String,
}

#[derive(Deserialize)]
struct SolveDetail {
    #[serde(default, rename = "mountIDs")]
    mounts: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct ExitDetail {
    #[serde(default, rename = "Code", alias = "ExitCode")]
    code: Option<i64>,
}

pub(super) fn details(status: &Status) -> Details {
    let mut found = Details { exit: exit_code(status.message()), ..Details::default() };
    let Ok(whole) = rpc::Status::decode(status.details()) else { return found };
    for detail in &whole.details {
        let name = detail.type_url.rsplit(['/', '.']).next().unwrap_or_default();
        match name.strip_suffix("+json").unwrap_or(name) {
            "Vertex" => {
                let vertex = serde_json::from_slice::<VertexDetail>(&detail.value).ok();
                found.vertex = found.vertex.take().or(vertex.map(|it| it.digest).filter(|it| !it.is_empty()));
            }
            "Solve" => {
                if let Ok(solve) = serde_json::from_slice::<SolveDetail>(&detail.value)
                    && found.mounts.is_empty()
                {
                    found.mounts = solve.mounts.unwrap_or_default();
                }
            }
            "ExitMessage" | "ExitError" => {
                let code = serde_json::from_slice::<ExitDetail>(&detail.value).ok().and_then(|it| it.code);
                found.exit = code.and_then(|code| i32::try_from(code).ok()).or(found.exit);
            }
            _ => {}
        }
    }
    found
}

/// From the message: `process "…" did not complete successfully: exit code: 3`.
fn exit_code(message: &str) -> Option<i32> {
    let (_, after) = message.rsplit_once("exit code: ")?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Why a step failed; `after` is for who knows more.
pub(super) fn step_error(status: &Status, details: &Details) -> StepError {
    if is_lost(status) {
        return gone("").into();
    }
    let message = short(status.message());
    let (kind, message) = match (status.code(), details.exit) {
        (_, Some(code)) => (StepErrorKind::Exit(code), exit_message(code)),
        (Code::Cancelled, None) => (StepErrorKind::Cancelled, "cancelled".to_owned()),
        _ if is_full(&message) => (StepErrorKind::Engine, message),
        _ => (StepErrorKind::Input, message),
    };
    StepError { kind, help: help(&message), message, after: None }
}

fn exit_message(code: i32) -> String {
    match code {
        126 => "the command could not be executed: exit code 126".to_owned(),
        127 => "a command was not found: exit code 127".to_owned(),
        137 => "the command was killed: exit code 137 (SIGKILL)".to_owned(),
        _ if code > 128 => format!("the command ended with exit code {code} (signal {})", code - 128),
        _ => format!("the command failed with exit code {code}"),
    }
}

/// Without what every message of a builder begins with.
fn short(message: &str) -> String {
    let mut text = printable(message);
    for prefix in ["failed to solve: ", "rpc error: code = Unknown desc = ", "failed to compute cache key: "] {
        if let Some(rest) = text.strip_prefix(prefix) {
            text = rest.to_owned();
        }
    }
    if text.is_empty() { "the builder gives no reason".to_owned() } else { text }
}

/// Whether the builder is no longer there.
pub(super) fn is_lost(status: &Status) -> bool {
    let transport = std::error::Error::source(status).is_some();
    let text = status.message();
    matches!(status.code(), Code::Unavailable)
        || transport && matches!(status.code(), Code::Unknown | Code::Internal | Code::Cancelled)
        || text.contains("transport error")
        || text.contains("no such job")
}

/// The builder ended while it was needed.
pub(super) fn gone(what: &str) -> EngineError {
    let what = if what.is_empty() { String::new() } else { format!("{what}: ") };
    EngineError {
        message: format!("{what}the connection to the builder is lost"),
        help: vec!["run the instruction again when the builder is back: what was built is in its cache".to_owned()],
        kind: EngineErrorKind::Lost,
    }
}

fn is_full(message: &str) -> bool {
    message.to_ascii_lowercase().contains("no space left on device")
}

/// What to do about it, where the message says enough.
pub(super) fn help(message: &str) -> Vec<String> {
    let advice = |text: &str| vec![text.to_owned()];
    if is_full(message) {
        return advice("the builder's disk is full: `docker builder prune` or `buildctl prune` frees some space");
    }
    if message.contains("secret") && message.contains("not found") {
        return advice("give it: --secret id=ID,src=FILE");
    }
    if message.contains("entitlement") || message.contains("is not allowed") {
        return advice("allow it: --allow network.host or --allow security.insecure; the builder must allow it too");
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard_buildkit_proto::google::protobuf::Any;

    fn check(message: &str, details_json: &[(&str, &str)], expected: &Details) {
        let details_list = details_json.iter().map(|(name, json)| Any {
            type_url: format!("github.com/moby/buildkit/{name}"),
            value: json.as_bytes().to_vec(),
        });
        let whole = rpc::Status { code: 2, message: message.to_owned(), details: details_list.collect() };
        let status = Status::with_details(Code::Unknown, message, whole.encode_to_vec().into());
        assert_eq!(&details(&status), expected, "{message}");
    }

    #[test]
    fn what_an_error_carries() {
        check("no", &[], &Details::default());
        let exit = Details { exit: Some(3), ..Details::default() };
        check("process \"/bin/sh -c x\" did not complete successfully: exit code: 3", &[], &exit);
        check("exit code: 3: broken", &[], &exit);
        check("exit code: x", &[], &Details::default());
        let whole =
            Details { vertex: Some("sha256:1".to_owned()), mounts: vec!["a".to_owned(), String::new()], exit: Some(1) };
        check(
            "exit code: 1",
            &[
                ("errdefs.Vertex+json", r#"{"digest":"sha256:1"}"#),
                ("errdefs.Solve+json", r#"{"inputIDs":["x"],"mountIDs":["a",""]}"#),
                ("stack.Stack+json", "{}"),
            ],
            &whole,
        );
        check(
            "no",
            &[("errdefs.Solve+json", "not JSON"), ("errdefs.Solve+json", r#"{"mountIDs":null}"#)],
            &Details::default(),
        );
    }

    #[test]
    fn kinds() {
        let check = |status: Status, expected: StepErrorKind| {
            assert_eq!(step_error(&status, &details(&status)).kind, expected, "{status:?}");
        };
        check(Status::unknown("exit code: 2"), StepErrorKind::Exit(2));
        check(Status::unknown("failed to solve: /x: not found"), StepErrorKind::Input);
        check(Status::unavailable("gone"), StepErrorKind::Lost);
        check(Status::unknown("write /x: no space left on device"), StepErrorKind::Engine);
        check(Status::cancelled("context canceled"), StepErrorKind::Cancelled);
    }
}
