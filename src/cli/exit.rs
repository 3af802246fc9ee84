//! What can go wrong, as exit codes and as text on standard error: the one place that maps them.

use crate::debug::PlanFault;
use crate::engine::EngineError;
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
    /// 6: the engine cannot run here.
    Engine(EngineError),
    /// 1: anything else.
    Other(String),
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
            PlanFault::Cancelled | PlanFault::Internal => Failure::Other(message),
        }
    }

    pub fn code(&self) -> u8 {
        match self {
            Failure::Other(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Dockerfile(_) => 3,
            Failure::Build { .. } | Failure::Base(_) => 4,
            Failure::Gate => 5,
            Failure::Engine(_) => 6,
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
            Failure::Dockerfile(drawn) | Failure::Base(drawn) => f.write_str(drawn.trim_end()),
            Failure::Build { message, help } => with_help(f, message, help),
            Failure::Engine(error) => with_help(f, &error.message, &error.help),
            Failure::Gate | Failure::Command(_) | Failure::Signal(_) => Ok(()),
        }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Failure {
        Failure::Build { message: error.message, help: error.help }
    }
}
