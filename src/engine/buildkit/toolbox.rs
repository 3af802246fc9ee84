//! Tools for shells in images that have none: packed from this machine, and sent to the builder as a directory.

use super::bridge::Bridge;
use super::filesync::Sources;
use crate::engine::EngineError;
use crate::image::host;
use crate::names::platform::Platform;
use bollard_buildkit_proto::pb;
use prost::Message;
use std::path::PathBuf;
use std::sync::Arc;

/// Where the tools have to be mounted.
pub(super) const TOOLBOX: &str = host::TOOLBOX;

/// Under this name the builder asks for the directory.
const SOURCE: &str = "stagedive-toolbox";

/// The tools as far as this session has them. Clones are the same tools.
#[derive(Clone)]
pub(super) struct Toolbox {
    packed: Arc<tokio::sync::OnceCell<PathBuf>>,
    dir: PathBuf,
    sources: Arc<Sources>,
}

impl Toolbox {
    /// They are packed into `dir` when they are needed, and the builder may ask for them then.
    pub(super) fn new(dir: PathBuf, sources: Arc<Sources>) -> Toolbox {
        Toolbox { packed: Arc::default(), dir, sources }
    }

    /// The result with the tools on the builder, and the shell in it. The builder keeps what it was sent.
    pub(super) async fn get(&self, bridge: &Bridge) -> Result<(String, String), EngineError> {
        if !bridge.runs_our_programs() {
            let there = bridge.platforms.first().map(String::as_str).unwrap_or_default();
            let message =
                format!("the tools of this machine, for {}, do not run on the builder's, {there}", Platform::host());
            return Err(EngineError::new(message));
        }
        let packed = self.packed.get_or_try_init(|| pack(self.dir.clone())).await?;
        self.sources.set(SOURCE, packed.clone());
        let attributes = [("local.session", bridge.session.id.as_str()), ("local.sharedkeyhint", SOURCE)];
        let source = pb::SourceOp {
            identifier: format!("local://{SOURCE}"),
            attrs: attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        };
        let op = pb::Op { op: Some(pb::op::Op::Source(source)), ..pb::Op::default() };
        let definition = definition(&op);
        let result = bridge.run(definition).await;
        let result =
            result.map_err(|status| bridge.lost("the builder does not take the tools of this machine", &status))?;
        let has = |name: &str| packed.join("bin").join(name).exists();
        let shell = if has("bash") && !has("busybox") { "bash" } else { "sh" };
        Ok((result, format!("{TOOLBOX}/bin/{shell}")))
    }
}

/// A graph of one vertex.
fn definition(op: &pb::Op) -> pb::Definition {
    let bytes = op.encode_to_vec();
    let digest = crate::image::digest::Digest::of(&bytes).to_string();
    let result = pb::Op { inputs: vec![pb::Input { digest, index: 0 }], ..pb::Op::default() };
    pb::Definition { def: vec![bytes, result.encode_to_vec()], metadata: Default::default(), source: None }
}

async fn pack(dir: PathBuf) -> Result<PathBuf, EngineError> {
    let work = move || {
        if dir.join("bin").exists() {
            return Ok(dir);
        }
        let failed = |error: std::io::Error| EngineError::new(format!("{}: {error}", dir.display()));
        let parent = dir.parent().unwrap_or(&dir);
        std::fs::create_dir_all(parent).map_err(failed)?;
        let temporary = tempfile::tempdir_in(parent).map_err(failed)?;
        let inner = temporary.path().join("toolbox");
        host::pack_toolbox(&inner)?;
        // Another session may have been first; then its tools serve as well.
        let _ = std::fs::rename(&inner, &dir);
        Ok(dir)
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| EngineError::new(error.to_string()))?
}
