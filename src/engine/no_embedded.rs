//! The embedded engine where there is no Linux: its name, and why it cannot be had.

use super::{
    Capabilities, Engine, EngineError, ExportRequest, Exported, Job, Output, ResolvedImage, Shell, ShellRequest,
    StepError, StepOutcome,
};
use crate::engine::settings::Settings;
use crate::image::digest::Digest;
use crate::image::source::Opened;
use crate::layers::{FileTree, Layer};
use crate::snapshot::SnapshotId;
use crate::snapshot::image_records::ImageRecord;
use async_trait::async_trait;
use bstr::BString;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// There is none.
pub enum Embedded {}

impl Embedded {
    pub async fn start(_: Settings) -> Result<Embedded, EngineError> {
        Err(EngineError::new("the embedded engine, and its store of images, need Linux")
            .with_help("build on a Docker Engine or a BuildKit: --engine docker, --engine buildkit, --builder NAME"))
    }

    pub fn images(&self) -> Vec<ImageRecord> {
        match *self {}
    }

    pub async fn save(&self) -> Result<(), EngineError> {
        match *self {}
    }

    pub async fn prune(&self, _all: bool) -> Result<Option<u64>, EngineError> {
        match *self {}
    }

    pub async fn pull(&self, _name: &str, _: &Output) -> Result<Option<Digest>, EngineError> {
        match *self {}
    }

    pub async fn stored(&self, _name: &str) -> Result<Option<Opened>, EngineError> {
        match *self {}
    }
}

#[async_trait]
impl Engine for Embedded {
    fn capabilities(&self) -> &Capabilities {
        match *self {}
    }

    async fn on(&self, _: &str) -> Result<Arc<dyn Engine>, EngineError> {
        match *self {}
    }

    async fn resolve(&self, _: &str, _: &Output) -> Result<ResolvedImage, EngineError> {
        match *self {}
    }

    async fn run(&self, _: Job, _: &Output, _: &CancellationToken) -> Result<StepOutcome, StepError> {
        match *self {}
    }

    async fn tree(&self, _: &SnapshotId) -> Result<Arc<FileTree>, EngineError> {
        match *self {}
    }

    async fn layers(&self, _: &SnapshotId) -> Result<Vec<Arc<Layer>>, EngineError> {
        match *self {}
    }

    async fn read(&self, _: &SnapshotId, _: &BString, _: u64, _: usize) -> Result<Vec<u8>, EngineError> {
        match *self {}
    }

    async fn shell(&self, _: ShellRequest) -> Result<Shell, EngineError> {
        match *self {}
    }

    async fn export(&self, _: ExportRequest, _: &Output) -> Result<Exported, EngineError> {
        match *self {}
    }

    async fn discard(&self) -> Result<(), EngineError> {
        match *self {}
    }
}

pub mod process {
    /// No process of this program is an engine.
    pub fn main_if_engine() {}
}
