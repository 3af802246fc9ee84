//! What stands under a failed instruction: the end of its output, what happened, what to do.

use crate::debug::Stop;
use crate::tui::keymap::{self, Action};
use crate::tui::text;
use crate::tui::views::signal_name;
use crate::tui::views::source::{Remark, Row};

/// Lines of output that are shown.
const TAIL: usize = 5;

/// The rows of it, in lines of `width`.
pub(super) fn remarks(stop: &Stop, output: &[String], width: usize) -> Vec<Row> {
    let Some(failure) = &stop.failure else { return Vec::new() };
    let row = |text: &str, kind| Row::Remark { step: stop.step, text: text::sanitise(text).into_owned(), kind };
    let from = output.len().saturating_sub(TAIL);
    let mut rows: Vec<Row> = output[from..].iter().map(|line| row(line, Remark::Output)).collect();
    let verdict = match failure.exit_code {
        Some(code) => exit_in_words(code),
        None => failure.message.clone(),
    };
    let wrapped = |text: &str| -> Vec<String> {
        text.lines().flat_map(|line| text::wrap(&text::sanitise(line), width.max(20))).collect()
    };
    rows.extend(wrapped(&verdict).iter().map(|line| row(line, Remark::Verdict)));
    rows.extend(failure.help.iter().flat_map(|help| wrapped(help)).map(|line| row(&line, Remark::Help)));
    let key = keymap::key_of;
    let next = [
        failure.after.as_ref().map(|_| format!("{} shell after", key(Action::ShellAfter))),
        (stop.position.done > 0).then(|| format!("{} shell before", key(Action::ShellBefore))),
        Some(format!("{} edit and retry", key(Action::Edit))),
    ];
    rows.push(row(&next.into_iter().flatten().collect::<Vec<_>>().join("   "), Remark::Help));
    rows
}

/// What an exit code says, as shells and kernels use them.
pub(super) fn exit_in_words(code: i32) -> String {
    let meaning = match code {
        1 => "the command failed".to_owned(),
        2 => "wrong usage, or the command failed".to_owned(),
        126 => "the program cannot be executed".to_owned(),
        127 => "there is no such program".to_owned(),
        137 => "killed (SIGKILL), perhaps for want of memory".to_owned(),
        129..=192 => match signal_name(code - 128) {
            Some(name) => format!("ended by {name}"),
            None => format!("ended by signal {}", code - 128),
        },
        _ => "the command failed".to_owned(),
    };
    format!("exit code {code}: {meaning}")
}
