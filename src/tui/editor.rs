//! The user's editor.

use crate::system;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Opens a file in the user's editor, at a line where the editor is known to take one. Answers with whether the file is
/// another then.
pub(super) async fn edit(path: &Path, line: u32) -> Result<bool, String> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let editor = set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| system::EDITOR.to_owned());
    let program = editor.split_whitespace().next().unwrap_or_default();
    let program = Path::new(program).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let takes_line = ["vi", "vim", "nvim", "nano", "emacs", "micro", "joe"].contains(&program.as_str());
    let line = takes_line.then(|| OsString::from(format!("+{line}")));
    let words: Vec<&OsStr> = line.as_deref().into_iter().chain([path.as_os_str()]).collect();
    let before = std::fs::read(path).ok();
    let status = system::editor(&editor, &words).status().await;
    match status {
        Ok(status) if status.success() => Ok(before.is_none() || std::fs::read(path).ok() != before),
        Ok(status) => Err(format!("the editor ended with {status}; nothing was reloaded (:reload does)")),
        Err(error) => Err(format!("the editor {editor:?} cannot be started: {error}; set $EDITOR")),
    }
}
