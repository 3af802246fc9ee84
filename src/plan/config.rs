//! Lowers the instructions that change variables and the configuration, and no file.

use super::go_format::{duration, plain_list, quoted_char, quoted_list};
use super::scope::{Scope, WORD};
use super::stages::Stages;
use super::{Options, Origin};
use crate::dockerfile::Healthcheck;
use crate::dockerfile::command::{Argument, Assignment, Command, CommandLine, Fault};
use crate::dockerfile::ports::Ports;
use crate::image::config::{self, Empty};

/// Applies an instruction to the scope and says what history has of it; empty if nothing.
pub(super) fn apply(
    command: &Command,
    line: u32,
    stages: &Stages,
    options: &Options,
    scope: &mut Scope,
) -> Result<String, Fault> {
    match command {
        Command::Env(pairs) => env(pairs, line, scope),
        Command::Arg(arguments) => arg(arguments, line, stages, options, scope),
        Command::Label(pairs) => label(pairs, scope),
        Command::User(user) => {
            let user = scope.expand(user)?;
            scope.touch();
            scope.image.config.user.clone_from(&user);
            Ok(format!("USER {user}"))
        }
        Command::Cmd(line) => {
            let words = words(line, scope);
            scope.touch();
            scope.cmd_set = true;
            scope.image.config.cmd = some(&words);
            scope.image.config.args_escaped = true;
            Ok(format!("CMD {}", quoted_list(&words)))
        }
        Command::Entrypoint(line) => {
            let words = words(line, scope);
            scope.touch();
            scope.image.config.entrypoint = some(&words);
            if !scope.cmd_set {
                scope.image.config.cmd = None;
            }
            Ok(format!("ENTRYPOINT {}", quoted_list(&words)))
        }
        Command::Shell(words) => {
            scope.touch();
            scope.image.config.shell = some(words);
            Ok(format!("SHELL {}", plain_list(words)))
        }
        Command::Expose(words) => expose(words, scope),
        Command::Volume(paths) => volume(paths, scope),
        Command::Healthcheck(check) => Ok(healthcheck(check, scope)),
        Command::Stopsignal(signal) => stopsignal(signal, scope),
        Command::Onbuild(text) => {
            scope.touch();
            scope.image.config.on_build.push(text.clone());
            Ok(String::new())
        }
        Command::Maintainer(name) => {
            scope.touch();
            scope.image.author = Some(name.clone()).filter(|it| !it.is_empty());
            Ok(format!("MAINTAINER {name}"))
        }
        // These have lowerings of their own.
        Command::From(_) | Command::Run(_) | Command::Copy(_) | Command::Add(_) | Command::Workdir(_) => {
            Ok(String::new())
        }
    }
}

/// An empty list is left out of the configuration.
fn some(words: &[String]) -> Option<Vec<String>> {
    (!words.is_empty()).then(|| words.to_vec())
}

/// The words of a CMD or ENTRYPOINT, its shell before them if it is one line.
fn words(line: &CommandLine, scope: &Scope) -> Vec<String> {
    match line.shell {
        true => [scope.shell(), vec![line.words.join(" ")]].concat(),
        false => line.words.clone(),
    }
}

/// Every value sees the variables as they are before the line.
fn expanded(pairs: &[Assignment], scope: &Scope) -> Result<Vec<(String, String)>, Fault> {
    pairs.iter().map(|pair| Ok((scope.expand(&pair.name)?, scope.expand(&pair.value)?))).collect()
}

fn text(keyword: &str, pairs: &[(String, String)]) -> String {
    let pairs: String = pairs.iter().map(|(name, value)| format!(" {name}={value}")).collect();
    format!("{keyword}{pairs}")
}

fn env(pairs: &[Assignment], line: u32, scope: &mut Scope) -> Result<String, Fault> {
    let pairs = expanded(pairs, scope)?;
    for (name, value) in &pairs {
        scope.set_env(name, value, line);
    }
    Ok(text("ENV", &pairs))
}

fn label(pairs: &[Assignment], scope: &mut Scope) -> Result<String, Fault> {
    let pairs = expanded(pairs, scope)?;
    scope.touch();
    scope.image.config.labels.extend(pairs.iter().cloned());
    Ok(text("LABEL", &pairs))
}

/// A value of `--build-arg` goes before the line's default, and that before a global argument of the same name.
/// A later name on the line sees an earlier one.
fn arg(
    arguments: &[Argument],
    line: u32,
    stages: &Stages,
    options: &Options,
    scope: &mut Scope,
) -> Result<String, Fault> {
    let mut history = String::from("ARG");
    for Argument { name, default } in arguments {
        let (value, origin) = match (options.argument(name), default) {
            (Some(value), _) => (Some(value.clone()), Origin::BuildArg(line)),
            (None, Some(default)) => (Some(scope.expand(default)?), Origin::Line(line)),
            (None, None) => {
                let origin = stages.globals.origin(name).cloned().unwrap_or(Origin::Line(line));
                (stages.globals.vars.get(name).map(str::to_owned), origin)
            }
        };
        scope.budget.take(name.len() + value.as_ref().map_or(0, String::len))?;
        scope.set_arg(name, value.as_deref(), origin);
        history.push(' ');
        history.push_str(name);
        if let Some(value) = value {
            history.push('=');
            history.push_str(&value);
        }
    }
    Ok(history)
}

fn expose(words: &[String], scope: &mut Scope) -> Result<String, Fault> {
    let mut exposed = Vec::new();
    for word in words {
        for port in &scope.words(word)? {
            let wrong = |why: String| {
                Fault::new("port", format!("EXPOSE {port}: {why}"), word).help("for instance 80, 53/udp or 8000-8010")
            };
            let ports = Ports::parse(port).map_err(wrong)?;
            let list = ports.list().map_err(wrong)?;
            scope.budget.take(list.len() * WORD)?;
            exposed.extend(list);
        }
    }
    scope.touch();
    scope.image.config.exposed_ports.extend(exposed.iter().map(|port| (port.clone(), Empty {})));
    Ok(format!("EXPOSE {}", plain_list(&exposed)))
}

fn volume(paths: &[String], scope: &mut Scope) -> Result<String, Fault> {
    let expanded = paths.iter().map(|path| match scope.expand(path)? {
        empty if empty.is_empty() => Err(Fault::new("volume", format!("VOLUME {path} is empty here"), path)),
        path => Ok(path),
    });
    let expanded = expanded.collect::<Result<Vec<String>, Fault>>()?;
    scope.touch();
    scope.image.config.volumes.extend(expanded.iter().map(|path| (path.clone(), Empty {})));
    Ok(format!("VOLUME {}", plain_list(&expanded)))
}

fn healthcheck(check: &Healthcheck, scope: &mut Scope) -> String {
    scope.touch();
    scope.image.config.healthcheck = Some(config::Healthcheck {
        test: check.test.clone(),
        interval: check.interval,
        timeout: check.timeout,
        start_period: check.start_period,
        start_interval: check.start_interval,
        retries: check.retries,
    });
    // Docker's engines print the structure in Go's quoted form, the count of retries as a character.
    let times = [check.interval, check.timeout, check.start_period, check.start_interval].map(duration);
    let times: Vec<String> = times.iter().map(|time| format!("\"{time}\"")).collect();
    let retries = u32::try_from(check.retries).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
    format!("HEALTHCHECK &{{{} {} {}}}", quoted_list(&check.test), times.join(" "), quoted_char(retries))
}

fn stopsignal(written: &str, scope: &mut Scope) -> Result<String, Fault> {
    let signal = scope.expand(written)?;
    if !is_signal(&signal) {
        let message = match signal.is_empty() {
            true => format!("STOPSIGNAL {written} is empty here"),
            false => format!("STOPSIGNAL {signal} is not a signal"),
        };
        return Err(Fault::new("signal", message, written).help("for instance SIGTERM, QUIT or 9"));
    }
    scope.touch();
    scope.image.config.stop_signal.clone_from(&signal);
    Ok(format!("STOPSIGNAL {signal}"))
}

/// Linux's signals by number, or by name with or without `SIG`.
fn is_signal(text: &str) -> bool {
    const NAMES: [&str; 34] = [
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
        "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
        "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
    ];
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |prefix: &str, most: u32| {
        let number =
            name.strip_prefix(prefix).filter(|it| !it.starts_with('0') && it.bytes().all(|b| b.is_ascii_digit()));
        number.and_then(|it| it.parse::<u32>().ok()).is_some_and(|number| number <= most)
    };
    NAMES.contains(&name) || name == "RTMIN" || name == "RTMAX" || offset("RTMIN+", 15) || offset("RTMAX-", 14)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals() {
        for good in ["9", "-1", "SIGTERM", "term", "RTMIN+15", "SIGRTMAX-1", "RTMAX"] {
            assert!(is_signal(good), "{good}");
        }
        for bad in ["", "0", "SIGFOO", "RTMIN+16", "RTMIN+", "RTMAX-15", "RTMIN+01", "SIG"] {
            assert!(!is_signal(bad), "{bad}");
        }
    }
}
