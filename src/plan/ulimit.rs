//! Limits of what a process may take: `--ulimit NAME=SOFT[:HARD]`.
//!
//! The form, the names and what is refused are Docker's; -1 is no limit.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The units are the kernel's: bytes, seconds, or a number of things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    pub name: String,
    /// `None` is no limit.
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

/// What can be limited, as Docker names it.
pub const NAMES: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

impl FromStr for Ulimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Ulimit, String> {
        let wrong = || "expected NAME=SOFT[:HARD], for instance nofile=1024:4096".to_owned();
        let (name, limits) = text.split_once('=').ok_or_else(wrong)?;
        if !NAMES.contains(&name) {
            return Err(format!("{name:?} is not known: {}", NAMES.join(", ")));
        }
        let number = |text: &str| match text {
            "-1" => Ok(None),
            text => text.parse().ok().filter(|it| i64::try_from(*it).is_ok()).map(Some).ok_or_else(wrong),
        };
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let (soft, hard) = (number(soft)?, number(hard)?);
        match hard {
            Some(most) if soft.is_none_or(|soft| soft > most) => {
                Err("the soft limit, which comes first, is above the hard one".to_owned())
            }
            _ => Ok(Ulimit { name: name.to_owned(), soft, hard }),
        }
    }
}

impl fmt::Display for Ulimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |limit: Option<u64>| limit.map_or("-1".to_owned(), |limit| limit.to_string());
        write!(f, "{}={}:{}", self.name, shown(self.soft), shown(self.hard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        match (text.parse::<Ulimit>(), expected) {
            (Ok(found), expected) => assert_eq!(Ok(found.to_string().as_str()), expected, "{text}"),
            (Err(found), Err(part)) if found.contains(part) => {}
            (found, expected) => panic!("{text}: {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn limits() {
        check("nofile=1024", Ok("nofile=1024:1024"));
        check("nofile=1024:4096", Ok("nofile=1024:4096"));
        check("core=-1", Ok("core=-1:-1"));
        check("core=0:-1", Ok("core=0:-1"));
        check("core=-1:5", Err("above the hard one"));
        check("nproc=6:5", Err("above the hard one"));
        check("nproc", Err("expected NAME=SOFT[:HARD]"));
        check("nproc=", Err("expected NAME=SOFT[:HARD]"));
        check("nproc=1:2:3", Err("expected NAME=SOFT[:HARD]"));
        check("nproc=18446744073709551615", Err("expected NAME=SOFT[:HARD]"));
        check("as=5", Err("\"as\" is not known: core, cpu"));
    }
}
