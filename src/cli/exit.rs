//! What can go wrong, as exit codes and as text on standard error: the one place that maps them.

use crate::debug::PlanFault;
use crate::engine::side::SideError;
use crate::engine::{EngineError, EngineErrorKind};
use std::fmt;
use std::process::ExitCode;

/// Why a command ended without doing what was asked.
#[derive(Debug)]
pub enum Failure {
    /// 2: arguments that do not fit together, or a file that they name is not there.
    Usage(String),
    /// 3: the Dockerfile is wrong; the text is already drawn.
    Dockerfile(String),
    /// 4: a step failed.
    Build { message: String, help: Vec<String> },
    /// 4: a base image cannot be had; the text is already drawn.
    Base(String),
    /// 5: a limit was exceeded; the report has been printed.
    Gate,
    /// 6: the engine cannot run here, or is lost.
    Engine(EngineError),
    /// 6: it was lost while the plan was made; the text is already drawn.
    NoEngine(String),
    /// 1: anything else.
    Other(String),
    /// 1: no plan can be made, and neither the Dockerfile nor a base is to blame; the text is already drawn.
    Internal(String),
    /// A command in a shell ended with this code.
    Command(i32),
    /// 128 + this signal.
    Signal(i32),
}

impl Failure {
    /// No plan can be made: whose fault it is decides the code.
    pub fn no_plan(fault: PlanFault, message: String, rendered: String) -> Failure {
        match fault {
            PlanFault::Unreadable => Failure::Usage(message),
            PlanFault::Dockerfile => Failure::Dockerfile(rendered),
            PlanFault::Base => Failure::Base(rendered),
            PlanFault::Engine => Failure::NoEngine(rendered),
            PlanFault::Cancelled => Failure::Other(message),
            PlanFault::Internal => Failure::Internal(rendered),
        }
    }

    pub fn code(&self) -> u8 {
        match self {
            Failure::Other(_) | Failure::Internal(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Dockerfile(_) => 3,
            Failure::Build { .. } | Failure::Base(_) => 4,
            Failure::Gate => 5,
            Failure::Engine(_) | Failure::NoEngine(_) => 6,
            Failure::Command(code) => u8::try_from(*code).unwrap_or(1),
            Failure::Signal(signal) => u8::try_from(128 + signal).unwrap_or(1),
        }
    }

    /// Says it on standard error, and gives the exit code.
    pub fn report(self) -> ExitCode {
        let text = self.to_string();
        if !text.is_empty() {
            super::print::note(super::plain::printable(&text));
        }
        ExitCode::from(self.code())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with_help = |f: &mut fmt::Formatter<'_>, message: &str, help: &[String]| {
            write!(f, "stagedive: {message}")?;
            help.iter().try_for_each(|line| write!(f, "\n  help: {line}"))
        };
        match self {
            Failure::Usage(message) | Failure::Other(message) => write!(f, "stagedive: {message}"),
            Failure::Dockerfile(drawn) | Failure::Base(drawn) | Failure::NoEngine(drawn) | Failure::Internal(drawn) => {
                f.write_str(drawn.trim_end())
            }
            Failure::Build { message, help } => with_help(f, message, help),
            Failure::Engine(error) => with_help(f, &error.message, &error.help),
            Failure::Gate | Failure::Command(_) | Failure::Signal(_) => Ok(()),
        }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Failure {
        match error.kind {
            EngineErrorKind::Lost => Failure::Engine(error),
            _ => Failure::Build { message: error.message, help: error.help },
        }
    }
}

impl From<SideError> for Failure {
    fn from(error: SideError) -> Failure {
        match error {
            SideError::Image(error) => error.into(),
            SideError::Place(error) => error.into(),
            SideError::Here(message) => Failure::Other(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(failure: Failure, code: u8, says: &str) {
        assert_eq!(failure.code(), code, "{failure}");
        assert_eq!(failure.to_string(), says);
    }

    #[test]
    fn codes() {
        let plan = |fault| Failure::no_plan(fault, "why".to_owned(), "error: why\n  = help\n".to_owned());
        check(plan(PlanFault::Unreadable), 2, "stagedive: why");
        check(plan(PlanFault::Dockerfile), 3, "error: why\n  = help");
        check(plan(PlanFault::Base), 4, "error: why\n  = help");
        check(plan(PlanFault::Engine), 6, "error: why\n  = help");
        check(plan(PlanFault::Internal), 1, "error: why\n  = help");
        check(plan(PlanFault::Cancelled), 1, "stagedive: why");
        let error = |kind| EngineError { kind, message: "why".to_owned(), help: vec!["help".to_owned()] }.into();
        check(error(EngineErrorKind::Other), 4, "stagedive: why\n  help: help");
        check(error(EngineErrorKind::Lost), 6, "stagedive: why\n  help: help");
    }
}
