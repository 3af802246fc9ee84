//! What an instruction may copy from, as a tree: a context as its ignore file leaves it, or an image.

use super::engine::Embedded;
use super::selection::{Selection, Visit, Wanted, walk};
use super::sources::{Found, Source};
use super::steps;
use super::task::{Input, TaskError};
use crate::engine::{Engine, EngineError, Output, OutputEvent};
use crate::layers::{Entry, FileTree, Kind, Layer, Meta};
use crate::plan::FileOrigin;
use crate::snapshot::rooted::At;
use crate::snapshot::scan::read_meta;
use bstr::{BStr, BString};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

pub(super) async fn tree(engine: &Embedded, origin: &FileOrigin) -> Result<Arc<FileTree>, EngineError> {
    // Nobody is told how an image is fetched: the build has fetched it already.
    let (sender, mut told) = tokio::sync::mpsc::channel::<OutputEvent>(16);
    let output = Output(sender);
    let quiet = async move { while told.recv().await.is_some() {} };
    let find = async move {
        match origin {
            FileOrigin::Image(name) => {
                let snapshot = engine.image_snapshot(name, &output).await?;
                engine.tree(&snapshot).await
            }
            FileOrigin::Scratch => Ok(Arc::default()),
            FileOrigin::Stage(_) => Err(EngineError::new("a stage's files are in its snapshots")),
            FileOrigin::Context { .. } => {
                let inputs = steps::inputs(engine, std::slice::from_ref(origin), &[None], &output).await;
                let input = inputs?.into_iter().next().unwrap_or(Input::Scratch);
                let listed = tokio::task::spawn_blocking(move || list(&input)).await;
                let listed = listed.map_err(|error| EngineError::new(error.to_string()))?;
                Ok(Arc::new(FileTree::merge(&[Arc::new(listed?)])))
            }
        }
    };
    tokio::join!(find, quiet).0
}

/// Everything that the ignore file leaves of a directory.
pub(super) fn list(input: &Input) -> Result<Layer, TaskError> {
    let source = Source::open(Some(input), None)?;
    let mut listing = Listing { entries: Vec::new() };
    if let Some(top) = source.find(BStr::new(""))? {
        walk(&source, &top, &Selection::default(), &mut listing)?;
    }
    Ok(Layer { entries: listing.entries })
}

struct Listing {
    entries: Vec<Entry>,
}

impl Visit for Listing {
    fn directory(&mut self, found: &Found, relative: &BStr, _wanted: Wanted) -> Result<(), TaskError> {
        let meta = Meta { mode: found.stat.st_mode & 0o7777, ..Meta::new(Kind::Directory) };
        self.put(relative.to_owned(), meta);
        Ok(())
    }

    fn entry(&mut self, dir: BorrowedFd<'_>, found: &Found, relative: &BStr) -> Result<(), TaskError> {
        let meta = read_meta(dir, found.base.as_ref(), &found.stat).at("read", found.path.as_ref())?;
        self.put(relative.to_owned(), meta);
        Ok(())
    }
}

impl Listing {
    fn put(&mut self, path: BString, meta: Meta) {
        self.entries.push(Entry::Put { path, meta, opaque: false });
    }
}
