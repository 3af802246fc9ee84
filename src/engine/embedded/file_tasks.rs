//! The tasks that read and write files and run nothing of the container's.

use super::copy::{self, on_empty_root};
use super::overlay;
use super::task::{CopyTask, Input, Report, Stack, Task, TaskError, Upper};
use super::work::Reporter;
use crate::snapshot::remove::remove;
use crate::snapshot::scan::scan;
use crate::snapshot::unpack::unpack;
use std::os::fd::{AsFd, OwnedFd};

pub(super) fn dispatch(task: Task, reporter: &Reporter, _descriptors: Vec<OwnedFd>) -> Result<(), TaskError> {
    match task {
        Task::Unpack { blob, diff_id, into } => {
            let total = std::fs::metadata(&blob).map_or(0, |it| it.len());
            let mut progress = |done: u64| reporter.send(&Report::Progress { done, total });
            let unpacked = unpack(&blob, diff_id.as_deref(), &into, &mut progress).map_err(engine_error)?;
            for notice in unpacked.notices {
                reporter.send(&Report::Notice(notice));
            }
            reporter.send(&Report::Layer(unpacked.layer));
            Ok(())
        }
        Task::Copy(task) => copy(&task, reporter),
        Task::Remove { dirs } => dirs.iter().try_for_each(|dir| remove(dir)).map_err(engine_error),
        other => Err(TaskError::engine(format!("This task is not there yet: {other:?}"))),
    }
}

fn engine_error(error: impl std::fmt::Display) -> TaskError {
    TaskError::engine(error.to_string())
}

fn copy(task: &CopyTask, reporter: &Reporter) -> Result<(), TaskError> {
    let source = match &task.input {
        Some(Input::Stack(stack)) => Some(overlay::open_root(stack, None)?),
        _ => None,
    };
    let nothing = Stack::default();
    let below = if on_empty_root(&task.copy) { &nothing } else { &task.stack };
    let root = overlay::open_root(below, Some(&task.upper))?;
    let notices = copy::copy(task, source.as_ref().map(OwnedFd::as_fd), root.as_fd())?;
    drop(root);
    for notice in notices {
        reporter.send(&Report::Notice(notice));
    }
    report_layer(&task.upper, reporter)
}

/// What came to be in a task's upper directory.
fn report_layer(upper: &Upper, reporter: &Reporter) -> Result<(), TaskError> {
    let layer = scan(&upper.dir).map_err(engine_error)?;
    reporter.send(&Report::Layer(layer));
    Ok(())
}
