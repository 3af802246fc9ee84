//! The tasks that read and write files and run nothing of the container's.

use super::copy::{self, on_empty_root};
use super::task::{Archive, CopyTask, Input, Report, Stack, Task, TaskError, Upper};
use super::work::Reporter;
use super::{bound, content, merged, overlay, workdir};
use crate::snapshot::pack::pack;
use crate::snapshot::remove::remove;
use crate::snapshot::unpack::unpack;
use bstr::ByteSlice;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

pub(super) fn dispatch(task: Task, reporter: &Reporter, descriptors: Vec<OwnedFd>) -> Result<(), TaskError> {
    match task {
        Task::Unpack { blob, diff_id, into } => {
            let total = std::fs::metadata(&blob).map_or(0, |it| it.len());
            let mut progress = |done: u64| reporter.send(&Report::Progress { done, total });
            let unpacked = unpack(&blob, diff_id.as_deref(), &into, &mut progress)?;
            report_notices(unpacked.notices, reporter);
            reporter.send(&Report::Layer(unpacked.layer));
            Ok(())
        }
        Task::Copy(task) => copy(&task, reporter),
        Task::Workdir { stack, upper, path, user } => {
            let root = overlay::open_root(&stack, Some(&upper))?;
            let notices = workdir::workdir(root.as_fd(), &path, &user)?;
            drop(root);
            report_notices(notices, reporter);
            report_layer(&stack, &upper, reporter)
        }
        Task::Digest { what, input } => {
            let root = input_root(Some(&input))?;
            let content = content::digest(&what, &input, root.as_ref().map(OwnedFd::as_fd))?;
            reporter.send(&Report::Text(content.digest));
            Ok(())
        }
        Task::Bind { input, path, upper } => {
            let root = overlay::open_root(&Stack::default(), Some(&upper))?;
            copy::copy_path(&input, None, &path, root.as_fd(), bound::CONTENT)
        }
        Task::Read { stack, path, offset, limit } => {
            let root = overlay::open_root(&stack, None)?;
            let bytes = merged::read(root.as_fd(), path.as_bstr(), offset, limit)?;
            reporter.send(&Report::Bytes(bytes));
            Ok(())
        }
        Task::Pack { layer, into, compression, epoch } => {
            let packed = pack(&layer, &into, compression, epoch)?;
            reporter.send(&Report::Archive(Archive::from(packed)));
            Ok(())
        }
        Task::Tar { stack, epoch } => {
            let root = overlay::open_root(&stack, None)?;
            let output = descriptors.into_iter().next().ok_or_else(|| engine_error("no file came with the task"))?;
            merged::tar(root.as_fd(), File::from(output), epoch)
        }
        Task::Local { stack, into, epoch } => {
            let root = overlay::open_root(&stack, None)?;
            report_notices(merged::local(root.as_fd(), &into, epoch)?, reporter);
            Ok(())
        }
        Task::Remove { dirs } => Ok(dirs.iter().try_for_each(|dir| remove(dir))?),
        other => Err(TaskError::engine(format!("This task is not there yet: {other:?}"))),
    }
}

fn engine_error(error: impl std::fmt::Display) -> TaskError {
    TaskError::engine(error.to_string())
}

fn copy(task: &CopyTask, reporter: &Reporter) -> Result<(), TaskError> {
    let source = input_root(task.input.as_ref())?;
    let nothing = Stack::default();
    let below = if on_empty_root(&task.copy) { &nothing } else { &task.stack };
    let root = overlay::open_root(below, Some(&task.upper))?;
    let notices = copy::copy(task, source.as_ref().map(OwnedFd::as_fd), root.as_fd())?;
    drop(root);
    report_notices(notices, reporter);
    report_layer(below, &task.upper, reporter)
}

/// The root of an input that has to be mounted.
fn input_root(input: Option<&Input>) -> Result<Option<OwnedFd>, TaskError> {
    match input {
        Some(Input::Stack(stack)) => overlay::open_root(stack, None).map(Some),
        _ => Ok(None),
    }
}

fn report_notices(notices: Vec<String>, reporter: &Reporter) {
    for notice in notices {
        reporter.send(&Report::Notice(notice));
    }
}

/// What came to be in a task's upper directory over `below`.
fn report_layer(below: &Stack, upper: &Upper, reporter: &Reporter) -> Result<(), TaskError> {
    reporter.send(&Report::Layer(overlay::changes(below, upper)?));
    Ok(())
}
