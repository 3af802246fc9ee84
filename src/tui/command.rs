//! The command line's verbs, in gdb's manner: a table that parsing, completion and the help share.

use super::app::App;
use super::keymap::Action;
use crate::debug::{Location, Watch};
use crate::plan::Plan;

/// What a line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// The same as a key.
    Do(Action),
    /// `None` is the selected line.
    Break(Option<Location>),
    /// `None` is the selected path.
    Watch(Option<Watch>),
    Delete(Which),
    Enable(Which, bool),
    RunTo(Location),
    Goto(Location),
    /// Moves the selection.
    Select(Location),
    Arg(String, Option<String>),
    Shell(ShellAt),
    BreakOnFailure(bool),
    Reload,
    Cancel,
    Theme(String),
    Find(String),
    /// The list, or the branch of a number.
    Branch(Option<u32>),
    /// Compare with a branch, or no longer.
    Compare(Option<u32>),
    /// The next platform's track, or that of a name or number.
    Platform(Option<String>),
}

/// Which breakpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    All,
    Number(u32),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShellAt {
    Before,
    After,
    Place(Location),
}

/// What may stand after a verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operand {
    Nothing,
    Place,
    Breakpoint,
    Argument,
    Shell,
    Switch,
    Theme,
    Text,
    Branch,
    Platform,
}

#[derive(Debug, Clone, Copy)]
pub struct Verb {
    pub name: &'static str,
    /// Shorter names that are not a beginning of the name, or that would be ambiguous.
    pub aliases: &'static [&'static str],
    pub usage: &'static str,
    pub help: &'static str,
    operand: Operand,
    make: fn(&str) -> Result<Order, String>,
}

macro_rules! verb {
    ($name:literal $(| $alias:literal)*, $usage:literal, $operand:ident, $help:literal, $make:expr) => {
        Verb {
            name: $name,
            aliases: &[$($alias),*],
            usage: $usage,
            help: $help,
            operand: Operand::$operand,
            make: $make,
        }
    };
}

pub const VERBS: &[Verb] = &[
    verb!(
        "break" | "b",
        "[PLACE]",
        Place,
        "stop before an instruction: line `12`, or `builder:3`",
        |rest| match rest {
            "" => Ok(Order::Break(None)),
            rest => Ok(Order::Break(Some(rest.parse()?))),
        }
    ),
    verb!(
        "watch" | "w",
        "[PATTERN [created|changed|deleted] [over SIZE]]",
        Text,
        "stop after an instruction that changes a path: `/etc/passwd`, `*.a created over 10MB`",
        |rest| match rest {
            "" => Ok(Order::Watch(None)),
            rest => Ok(Order::Watch(Some(rest.parse()?))),
        }
    ),
    verb!("delete" | "d", "NUMBER|all", Breakpoint, "remove breakpoints", |rest| Ok(Order::Delete(which(rest)?))),
    verb!("enable", "NUMBER|all", Breakpoint, "enable breakpoints", |rest| Ok(Order::Enable(which(rest)?, true))),
    verb!("disable", "NUMBER|all", Breakpoint, "disable breakpoints", |rest| Ok(Order::Enable(which(rest)?, false))),
    verb!("failures", "on|off", Switch, "stop at failures", |rest| match rest {
        "on" => Ok(Order::BreakOnFailure(true)),
        "off" => Ok(Order::BreakOnFailure(false)),
        _ => Err("say `failures on` or `failures off`".to_owned()),
    }),
    verb!("next" | "n", "", Nothing, "step over", |_| Ok(Order::Do(Action::StepOver))),
    verb!("step" | "s", "", Nothing, "step into", |_| Ok(Order::Do(Action::StepIn))),
    verb!("finish" | "f" | "out", "", Nothing, "finish the stage", |_| Ok(Order::Do(Action::StepOut))),
    verb!("continue" | "c", "", Nothing, "continue", |_| Ok(Order::Do(Action::Continue))),
    verb!("reverse-next" | "rn" | "back", "", Nothing, "step over, backwards", |_| Ok(Order::Do(Action::BackOver))),
    verb!("reverse-step" | "rs", "", Nothing, "step into, backwards", |_| Ok(Order::Do(Action::BackIn))),
    verb!("reverse-finish" | "rf", "", Nothing, "out, backwards", |_| Ok(Order::Do(Action::BackOut))),
    verb!("reverse-continue" | "rc", "", Nothing, "continue, backwards", |_| Ok(Order::Do(Action::BackContinue))),
    verb!("run-to" | "u" | "until", "PLACE", Place, "run until a place is reached", |rest| Ok(Order::RunTo(
        rest.parse()?
    ))),
    verb!("goto" | "g", "PLACE", Place, "go to a place that has been reached; runs nothing", |rest| Ok(Order::Goto(
        rest.parse()?
    ))),
    verb!("line" | "l", "PLACE", Place, "select a line", |rest| Ok(Order::Select(rest.parse()?))),
    verb!(
        "arg" | "a" | "set",
        "NAME[=VALUE]",
        Argument,
        "set a build argument from here on, or take it back",
        argument
    ),
    verb!("branch" | "branches", "[NUMBER]", Branch, "list the branches, or go to one; runs nothing", |rest| {
        Ok(Order::Branch(number(rest)?))
    }),
    verb!("compare", "[NUMBER]", Branch, "compare file systems with a branch's, or no longer", |rest| {
        Ok(Order::Compare(number(rest)?))
    }),
    verb!("platform" | "track", "[NAME|NUMBER]", Platform, "show another platform's track, or the next", |rest| {
        Ok(Order::Platform(Some(rest.to_owned()).filter(|it| !it.is_empty())))
    }),
    verb!("pause" | "p", "", Nothing, "pause before the next instruction", |_| Ok(Order::Do(Action::Pause))),
    verb!("cancel", "", Nothing, "kill the instruction that runs", |_| Ok(Order::Cancel)),
    verb!("restart" | "r" | "run", "", Nothing, "back to the start", |_| Ok(Order::Do(Action::Restart))),
    verb!("retry", "", Nothing, "run the last instruction again, without the cache", |_| Ok(Order::Do(Action::Retry))),
    verb!("reload", "", Nothing, "read the Dockerfile and the context again", |_| Ok(Order::Reload)),
    verb!("edit" | "e", "", Nothing, "edit the Dockerfile", |_| Ok(Order::Do(Action::Edit))),
    verb!("shell" | "sh" | "t", "[before|after|PLACE]", Shell, "open a shell", |rest| match rest {
        "" => Ok(Order::Do(Action::ShellAfter)),
        "before" => Ok(Order::Shell(ShellAt::Before)),
        "after" => Ok(Order::Shell(ShellAt::After)),
        rest => Ok(Order::Shell(ShellAt::Place(rest.parse()?))),
    }),
    verb!("find", "TEXT", Text, "find in the pane", |rest| Ok(Order::Find(rest.to_owned()))),
    verb!("theme", "dark|light|FILE", Theme, "change the colours", |rest| match rest {
        "" => Err("say which theme: `dark`, `light` or a file".to_owned()),
        rest => Ok(Order::Theme(rest.to_owned())),
    }),
    verb!("help" | "h", "", Nothing, "all keys and commands", |_| Ok(Order::Do(Action::Help))),
    verb!("quit" | "q", "", Nothing, "leave", |_| Ok(Order::Do(Action::Quit))),
];

fn which(rest: &str) -> Result<Which, String> {
    match rest.trim_start_matches('#') {
        "all" => Ok(Which::All),
        number => number.parse().map(Which::Number).map_err(|_| {
            format!("{rest:?} is not a breakpoint's number; the Breakpoints pane shows them, and `all` means all")
        }),
    }
}

fn number(rest: &str) -> Result<Option<u32>, String> {
    match rest {
        "" => Ok(None),
        rest => rest.parse().map(Some).map_err(|_| format!("{rest:?} is not a branch's number; `branch` lists them")),
    }
}

fn argument(rest: &str) -> Result<Order, String> {
    let (name, value) = match rest.split_once('=') {
        Some((name, value)) => (name.trim(), Some(value.to_owned())),
        None => (rest, None),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match !name.is_empty() && name.chars().all(fits) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        true => Ok(Order::Arg(name.to_owned(), value)),
        false => Err(format!("{rest:?} is not an argument: give NAME=VALUE, or NAME to take it back")),
    }
}

/// Reads a line. The error says what is wrong and what would be right.
pub fn parse(line: &str) -> Result<Order, String> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let verb = find(word)?;
    let rest = rest.trim();
    if verb.operand == Operand::Nothing && !rest.is_empty() {
        return Err(format!("`{}` takes nothing after it", verb.name));
    }
    if rest.is_empty() && verb.usage.starts_with(|c: char| c.is_ascii_uppercase()) {
        return Err(format!("`{} {}`: {}", verb.name, verb.usage, verb.help));
    }
    (verb.make)(rest)
}

/// A verb by its name, an alias, or a beginning that only one has.
fn find(word: &str) -> Result<&'static Verb, String> {
    let exact = VERBS.iter().find(|verb| verb.name == word || verb.aliases.contains(&word));
    if let Some(verb) = exact {
        return Ok(verb);
    }
    let begun: Vec<&Verb> = VERBS.iter().filter(|verb| !word.is_empty() && verb.name.starts_with(word)).collect();
    match begun.as_slice() {
        [verb] => Ok(verb),
        [] => Err(format!("there is no command {word:?}; `help` lists them")),
        several => {
            let names: Vec<&str> = several.iter().map(|verb| verb.name).collect();
            Err(format!("{word:?} could be {}", names.join(", ")))
        }
    }
}

/// What a line's verb takes, and what it does: `break [PLACE]: stop before an instruction`.
pub fn usage(line: &str) -> String {
    let word = line.split_whitespace().next().unwrap_or_default();
    match find(word) {
        Ok(verb) => format!("{} {}", verb.name, verb.usage).trim_end().to_owned() + ": " + verb.help,
        Err(_) => String::new(),
    }
}

/// Whole lines that the line could become.
pub fn complete(line: &str, app: &App) -> Vec<String> {
    let plan = app.plan();
    let Some((word, rest)) = line.split_once(' ') else {
        let begun = VERBS.iter().filter(|verb| verb.name.starts_with(line));
        return begun.map(|verb| format!("{}{}", verb.name, if verb.usage.is_empty() { "" } else { " " })).collect();
    };
    let Ok(verb) = find(word) else { return Vec::new() };
    let words: Vec<String> = match verb.operand {
        Operand::Nothing | Operand::Text => Vec::new(),
        Operand::Place => plan.map(places).unwrap_or_default(),
        Operand::Shell => {
            let sides = ["before".to_owned(), "after".to_owned()];
            sides.into_iter().chain(plan.map(places).unwrap_or_default()).collect()
        }
        Operand::Breakpoint => {
            let numbers = app.build.breakpoints.iter().map(|it| it.id.0.to_string());
            std::iter::once("all".to_owned()).chain(numbers).collect()
        }
        Operand::Branch => (1..=app.build.branches.len()).map(|number| number.to_string()).collect(),
        Operand::Platform => app.tracks.iter().map(|it| it.platform.clone()).collect(),
        Operand::Argument => plan.map(arguments).unwrap_or_default(),
        Operand::Switch => vec!["on".to_owned(), "off".to_owned()],
        Operand::Theme => super::theme::THEMES.map(str::to_owned).to_vec(),
    };
    words.into_iter().filter(|it| it.starts_with(rest)).map(|it| format!("{word} {it}")).collect()
}

/// `builder:3` for each instruction that runs.
fn places(plan: &Plan) -> Vec<String> {
    let label = |step: &crate::plan::Step| format!("{}:{}", plan.stage(step.id.stage).label(), step.id.index);
    plan.steps().take(10_000).map(label).collect()
}

/// `NAME=` for each argument that the Dockerfile declares.
fn arguments(plan: &Plan) -> Vec<String> {
    let args = plan.dockerfile.instructions.iter().filter(|it| it.keyword == "arg").flat_map(|it| &it.args);
    let mut names: Vec<String> =
        args.map(|arg| format!("{}=", arg.split('=').next().unwrap_or_default().trim())).collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::{fixture, screens};
    use std::collections::HashSet;
    use std::time::Duration;

    fn check(line: &str, expected: Result<Order, &str>) {
        assert_eq!(parse(line), expected.map_err(str::to_owned), "{line}");
    }

    #[test]
    fn verbs_are_read() {
        let builder = || Location::Instruction { stage: "builder".to_owned(), index: 3 };
        check("break builder:3", Ok(Order::Break(Some(builder()))));
        check("b 12", Ok(Order::Break(Some(Location::Line(12)))));
        check("b", Ok(Order::Break(None)));
        check("watch /etc/passwd", Ok(Order::Watch(Some("/etc/passwd".parse().unwrap()))));
        check("w", Ok(Order::Watch(None)));
        check("n", Ok(Order::Do(Action::StepOver)));
        check("cont", Ok(Order::Do(Action::Continue)));
        check("arg GO=1.24 ", Ok(Order::Arg("GO".to_owned(), Some("1.24".to_owned()))));
        check("arg GO=", Ok(Order::Arg("GO".to_owned(), Some(String::new()))));
        check("arg GO", Ok(Order::Arg("GO".to_owned(), None)));
        check("shell builder:3", Ok(Order::Shell(ShellAt::Place(builder()))));
        check("delete all", Ok(Order::Delete(Which::All)));
        check("branch", Ok(Order::Branch(None)));
        check("compare 2", Ok(Order::Compare(Some(2))));
        check("disable 2", Ok(Order::Enable(Which::Number(2), false)));
        check("  theme   light ", Ok(Order::Theme("light".to_owned())));
    }

    #[test]
    fn what_is_wrong_is_said() {
        check("frobnicate", Err("there is no command \"frobnicate\"; `help` lists them"));
        check(
            "re",
            Err("\"re\" could be reverse-next, reverse-step, reverse-finish, reverse-continue, restart, retry, reload"),
        );
        check("next 3", Err("`next` takes nothing after it"));
        check("goto", Err("`goto PLACE`: go to a place that has been reached; runs nothing"));
        check("goto x", Err("\"x\" is not a place: give a line (`12`) or `stage:instruction` (`builder:3`)"));
        check("arg 1=2", Err("\"1=2\" is not an argument: give NAME=VALUE, or NAME to take it back"));
        check("branch x", Err("\"x\" is not a branch's number; `branch` lists them"));
        check("watch /", Err("\"/\" names no path to watch: for instance /etc/passwd, or *.a created over 10MB"));
        check("failures maybe", Err("say `failures on` or `failures off`"));
        check("", Err("there is no command \"\"; `help` lists them"));
    }

    #[test]
    fn completion_offers_what_fits() {
        let mut app = screens::app(&fixture::hello_started().1, 80, 24);
        app.build.apply(&fixture::branches(), Duration::ZERO);
        let offers = |line: &str| complete(line, &app);
        assert_eq!(offers("go"), ["goto "]);
        assert_eq!(offers("break final:3"), ["break final:3"]);
        assert_eq!(offers("b builder:")[..2], ["b builder:0", "b builder:1"]);
        assert_eq!(offers("arg "), ["arg GO="]);
        assert_eq!(offers("theme l"), ["theme light"]);
        assert_eq!(offers("delete "), ["delete all"]);
        assert_eq!(offers("branch "), ["branch 1", "branch 2", "branch 3"]);
        assert_eq!(offers("nonsense x"), [""; 0]);
    }

    #[test]
    fn no_name_means_two_verbs() {
        let mut seen = HashSet::new();
        for verb in VERBS {
            for name in verb.aliases.iter().chain([&verb.name]) {
                assert!(seen.insert(*name), "{name}");
            }
        }
    }
}
