//! The bridge: a build that is kept open on the builder, through which everything else is asked.
//!
//! Source: BuildKit's gateway. `Control.Solve` without a frontend waits for one that calls from outside; calls name
//! the build in a header. What is solved in it can be looked at until `Return` ends it.

use super::address::Address;
use super::caches;
use super::channel::{failed, innermost, unreachable};
use super::progress::{Progress, follow};
use super::session::{Session, random_id};
use super::trouble;
use super::unanswered::Unanswered;
use crate::engine::EngineError;
use crate::engine::settings::CacheOption;
use crate::names::platform::Platform;
use bollard_buildkit_proto::google::rpc;
use bollard_buildkit_proto::moby::buildkit::v1 as buildkit;
use bollard_buildkit_proto::moby::buildkit::v1::frontend as gateway;
use bollard_buildkit_proto::pb;
use gateway::llb_bridge_client::LlbBridgeClient;
use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status};

/// Bytes of one answer: definitions of large builds, directories of many files.
const LARGEST_ANSWER: usize = 256 << 20;
/// A builder takes the build at once or not at all.
const PATIENCE: Duration = Duration::from_secs(30);
/// A builder that has said nothing for this long is spoken of.
const QUIET: Duration = Duration::from_secs(5);
/// Between two signs of life.
const PULSE: Duration = Duration::from_secs(10);

/// What is not ended on the builder before this program is gone mixes with the next build of the same.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A worker's label, of Docker's `builder/builder-next/worker/label`.
const HOST_GATEWAY: &str = "org.mobyproject.buildkit.worker.moby.host-gateway-ip";

pub(super) struct Bridge {
    gateway: LlbBridgeClient<Channel>,
    imports: Vec<gateway::CacheOptionsEntry>,
    build: MetadataValue<Ascii>,
    pub(super) progress: Arc<Progress>,
    /// What the builder can do, by the names it gives it.
    can: BTreeSet<String>,
    /// The platforms that it builds for by itself, the preferred one first.
    pub(super) platforms: Vec<String>,
    /// The address of its machine, for commands; only a Docker Engine tells it.
    pub(super) host_gateway: Option<String>,
    /// Cancelled when the build has ended, whoever ended it.
    pub(super) ended: CancellationToken,
    /// What is solved here may ask it for files later on.
    pub(super) session: Arc<Session>,
    /// Containers that are being made or let go of.
    pub(super) unanswered: Unanswered,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

/// What a build of its own is opened with.
#[derive(Debug, Clone, Default)]
pub(super) struct Allowed {
    /// `network.host`, `security.insecure`.
    pub(super) entitlements: Vec<String>,
    /// Caches to read.
    pub(super) imports: Vec<CacheOption>,
}

impl Bridge {
    pub(super) async fn open(
        address: &Address,
        channel: &Channel,
        session: Arc<Session>,
        allowed: &Allowed,
    ) -> Result<Bridge, EngineError> {
        let id = random_id();
        let build = id.parse().map_err(|_| EngineError::new("a build's id is wrong"))?;
        let mut control = buildkit::control_client::ControlClient::new(channel.clone());
        let request = buildkit::SolveRequest {
            r#ref: id.clone(),
            session: session.id.clone(),
            cache: Some(buildkit::CacheOptions::default()),
            entitlements: allowed.entitlements.clone(),
            // It is no build of its own, and has no place in the builder's history.
            internal: true,
            ..buildkit::SolveRequest::default()
        };
        let ended = CancellationToken::new();
        let over = ended.clone();
        let mut solver = control.clone();
        let (said, hear) = tokio::sync::oneshot::channel();
        let solving = AbortOnDropHandle::new(tokio::spawn(async move {
            let result = solver.solve(request).await;
            over.cancel();
            let _ = said.send(result);
        }));
        let gateway = LlbBridgeClient::new(channel.clone())
            .max_decoding_message_size(LARGEST_ANSWER)
            .max_encoding_message_size(LARGEST_ANSWER);
        let progress = Arc::new(Progress::default());
        let told = progress.clone();
        let following = AbortOnDropHandle::new(tokio::spawn(async move {
            if let Ok(stream) = control.status(buildkit::StatusRequest { r#ref: id }).await {
                follow(told, stream.into_inner()).await;
            }
        }));
        let mut bridge = Bridge {
            gateway,
            imports: caches::for_gateway(&allowed.imports),
            build,
            progress,
            can: BTreeSet::new(),
            platforms: Vec::new(),
            host_gateway: None,
            ended,
            session,
            unanswered: Unanswered::default(),
            _tasks: vec![solving, following],
        };
        // A connection may be made that no builder is behind; it is with the first answer that one is there.
        let refused = |status: &Status| match status.source() {
            Some(cause) => unreachable(address, &innermost(cause)),
            None => failed("the builder takes no build", status),
        };
        let mut client = bridge.client();
        let ping = tokio::time::timeout(PATIENCE, client.ping(bridge.request(gateway::PingRequest {})));
        let pong = tokio::select! {
            pong = ping => match pong {
                Ok(pong) => pong.map_err(|status| refused(&status))?.into_inner(),
                Err(_) => return Err(EngineError::new("the builder gives no answer")),
            },
            heard = hear => return Err(match heard {
                Ok(Err(status)) => refused(&status),
                _ => EngineError::new("the builder ended the build before it began"),
            }),
        };
        let enabled = pong.frontend_api_caps.into_iter().chain(pong.llb_caps).filter(|cap| cap.enabled);
        bridge.can = enabled.map(|cap| cap.id).collect();
        bridge.platforms = pong.workers.iter().flat_map(|worker| &worker.platforms).map(platform_text).collect();
        bridge.host_gateway = pong.workers.iter().find_map(|worker| worker.labels.get(HOST_GATEWAY)).cloned();
        bridge._tasks.push(AbortOnDropHandle::new(tokio::spawn(bridge.listen_for_silence())));
        Ok(bridge)
    }

    /// Asks for a sign of life again and again. A builder that gives none is as good as gone: what waits for it ends.
    fn listen_for_silence(&self) -> impl Future<Output = ()> + use<> {
        let (mut client, header) = (self.client(), self.build.clone());
        let (ended, session, progress) = (self.ended.clone(), self.session.ended.clone(), self.progress.clone());
        async move {
            loop {
                tokio::time::sleep(PULSE).await;
                let mut ping = std::pin::pin!(client.ping(headed(gateway::PingRequest {}, &header)));
                let mut answer = tokio::time::timeout(QUIET, &mut ping).await;
                if answer.is_err() {
                    let (quiet, patience) = (QUIET.as_secs(), PATIENCE.as_secs());
                    progress
                        .notice(&format!("the builder has not answered for {quiet} s; after {patience} s it is lost"));
                    answer = tokio::time::timeout(PATIENCE - QUIET, ping).await;
                    if matches!(answer, Ok(Ok(_))) {
                        progress.notice("the builder answers again");
                    }
                }
                let lost = match answer {
                    Ok(Ok(_)) => false,
                    Ok(Err(status)) => trouble::is_lost(&status),
                    Err(_) => true,
                };
                if ended.is_cancelled() {
                    return;
                }
                if lost {
                    session.cancel();
                    ended.cancel();
                    return;
                }
            }
        }
    }

    /// An answer, as long as the build is open.
    pub(super) async fn answer<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, Status> {
        tokio::select! {
            biased;
            answer = call => answer.map(tonic::Response::into_inner),
            () = self.ended.cancelled() => Err(Status::unavailable("the builder does not answer any more")),
        }
    }

    pub(super) fn can(&self, capability: &str) -> bool {
        self.can.contains(capability)
    }

    /// Whether it runs what is made for this machine; one that says nothing of itself is taken to.
    pub(super) fn runs_our_programs(&self) -> bool {
        run_on(&self.platforms, &Platform::host())
    }

    pub(super) fn is_open(&self) -> bool {
        !self.ended.is_cancelled()
    }

    pub(super) fn client(&self) -> LlbBridgeClient<Channel> {
        self.gateway.clone()
    }

    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        headed(message, &self.build)
    }

    pub(super) async fn solve(&self, request: gateway::SolveRequest) -> Result<gateway::Result, Status> {
        let request = gateway::SolveRequest { allow_result_return: true, allow_result_array_ref: true, ..request };
        Ok(self.answer(self.client().solve(self.request(request))).await?.result.unwrap_or_default())
    }

    /// Solves a definition and makes the builder run what has to be run; answers with the result's name, empty for an
    /// empty file system. Dropping the future ends what runs.
    pub(super) async fn run(&self, definition: pb::Definition) -> Result<String, Status> {
        let request = gateway::SolveRequest {
            definition: Some(definition),
            cache_imports: self.imports.clone(),
            evaluate: self.can(EVALUATE),
            ..gateway::SolveRequest::default()
        };
        let result = self.solve(request).await?;
        let id = match result.result {
            Some(gateway::result::Result::Ref(found)) => found.id,
            Some(gateway::result::Result::RefDeprecated(id)) => id,
            _ => String::new(),
        };
        if !id.is_empty() && !self.can(EVALUATE) {
            // Builders that know no other way run a build when its files are asked for.
            let stat = gateway::StatFileRequest { r#ref: id.clone(), path: ".".to_owned(), mount_index: 0 };
            self.answer(self.client().stat_file(self.request(stat))).await?;
        }
        Ok(id)
    }

    /// Ends the build on the builder.
    pub(super) async fn close(&self) {
        let error = rpc::Status {
            code: tonic::Code::Cancelled as i32,
            message: "the session is over".to_owned(),
            details: Vec::new(),
        };
        let _nothing_else = self.unanswered.end(LAST_WORDS).await;
        let request = self.request(gateway::ReturnRequest { result: None, error: Some(error) });
        let _ = tokio::time::timeout(LAST_WORDS, self.client().r#return(request)).await;
        let _ = tokio::time::timeout(LAST_WORDS, self.ended.cancelled()).await;
    }

    pub(super) fn lost(&self, what: &str, status: &Status) -> EngineError {
        match self.is_open() || !trouble::is_lost(status) {
            true => failed(what, status),
            false => trouble::gone(what),
        }
    }
}

/// Whether programs for `machine` run on a builder of these platforms.
fn run_on(platforms: &[String], machine: &Platform) -> bool {
    let alike = |it: Platform| it.os == machine.os && it.architecture == machine.architecture;
    platforms.is_empty() || platforms.iter().filter_map(|it| it.parse().ok()).any(alike)
}

fn headed<T>(message: T, build: &MetadataValue<Ascii>) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("buildkit-controlapi-buildid", build.clone());
    request
}

pub(super) const EVALUATE: &str = "gateway.evaluate";

pub(super) fn platform_text(platform: &pb::Platform) -> String {
    let mut text = format!("{}/{}", platform.os, platform.architecture);
    if !platform.variant.is_empty() {
        text.push('/');
        text.push_str(&platform.variant);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_run_on_builders_of_their_architecture() {
        let check = |platforms: &[&str], expected: bool| {
            let platforms: Vec<String> = platforms.iter().map(|it| (*it).to_owned()).collect();
            assert_eq!(run_on(&platforms, &Platform::new("linux", "amd64", "")), expected, "{platforms:?}");
        };
        check(&["linux/amd64", "linux/386"], true);
        check(&["linux/amd64/v3"], true);
        check(&["linux/arm64", "linux/arm/v7"], false);
        check(&["linux/arm64", "linux/amd64"], true);
        check(&["windows/amd64"], false);
        check(&[], true);
    }
}
