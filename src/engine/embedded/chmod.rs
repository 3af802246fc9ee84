//! `--chmod`: a number in octal, or what chmod(1) takes, with a umask of 0.

use super::task::TaskError;

/// What becomes of a mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chmod {
    Octal(u32),
    Symbolic(Vec<Clause>),
}

/// `u=rwX`: who, then what happens to them in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clause {
    /// Permission bits that it may change.
    who: u32,
    actions: Vec<(Op, Source)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Add,
    Remove,
    Set,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Bits for everybody; `X` where it was asked for.
    Bits { bits: u32, search: bool },
    /// The bits that user, group or others have: how far they are shifted.
    Copy(u32),
}

const SET_ID: u32 = 0o6000;
const STICKY: u32 = 0o1000;

impl Chmod {
    pub(super) fn parse(text: &str) -> Result<Chmod, TaskError> {
        let wrong = |what: &str| {
            TaskError::input(format!("invalid --chmod={text}: {what}"))
                .with_help("give an octal number from 0 to 7777, or a mode as chmod takes it, for instance u=rwX,go=rX")
        };
        if text.is_empty() {
            return Err(wrong("it is empty"));
        }
        if text.starts_with(|it: char| it.is_ascii_digit()) {
            return match u32::from_str_radix(text, 8) {
                Ok(mode) if mode <= 0o7777 => Ok(Chmod::Octal(mode)),
                _ => Err(wrong("it should be an octal number between 0 and 7777")),
            };
        }
        text.split(',')
            .map(clause)
            .collect::<Option<Vec<_>>>()
            .map(Chmod::Symbolic)
            .ok_or_else(|| wrong("it is no mode"))
    }

    pub(super) fn apply(&self, mode: u32, directory: bool) -> u32 {
        let clauses = match self {
            Chmod::Octal(mode) => return *mode,
            Chmod::Symbolic(clauses) => clauses,
        };
        let before = mode;
        let mut mode = mode;
        for clause in clauses {
            for (op, source) in &clause.actions {
                let bits = match source {
                    Source::Bits { bits, search } => {
                        let x = if *search && (directory || before & 0o111 != 0) { 0o111 } else { 0 };
                        bits | x
                    }
                    Source::Copy(shift) => {
                        let bits = mode >> shift & 0o7;
                        bits | bits << 3 | bits << 6
                    }
                };
                // Copying sets and clears permissions alone, and no bit beyond them.
                let who = if matches!(source, Source::Copy(_)) { clause.who & 0o777 } else { clause.who };
                let bits = bits & (who | STICKY);
                match op {
                    Op::Add => mode |= bits,
                    Op::Remove => mode &= !bits,
                    Op::Set => mode = mode & !who | bits,
                }
            }
        }
        mode
    }

    /// The mode of directories that are made on the way; a symbolic mode does not count for them. Docker makes them
    /// under its own umask, 022.
    pub(super) fn of_parents(&self) -> u32 {
        match self {
            Chmod::Octal(mode) => mode & 0o755,
            Chmod::Symbolic(_) => 0o755,
        }
    }
}

fn clause(text: &str) -> Option<Clause> {
    let ops = text.find(['+', '-', '='])?;
    let (names, mut rest) = text.split_at(ops);
    let mut who = 0;
    for name in names.chars() {
        who |= match name {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => 0o007,
            'a' => 0o6777,
            _ => return None,
        };
    }
    let implicit = names.is_empty();
    let others_only = !implicit && who & !0o007 == 0;
    let mut clause = Clause { who: if implicit { 0o6777 } else { who }, actions: Vec::new() };
    while let Some(op) = rest.chars().next() {
        let op = match op {
            '+' => Op::Add,
            '-' => Op::Remove,
            '=' => Op::Set,
            _ => return None,
        };
        rest = &rest[1..];
        let end = rest.find(['+', '-', '=']).unwrap_or(rest.len());
        let (letters, after) = rest.split_at(end);
        rest = after;
        let (mut bits, mut search) = (0, false);
        let mut copies = Vec::new();
        for letter in letters.chars() {
            match letter {
                'r' => bits |= 0o444,
                'w' => bits |= 0o222,
                'x' => bits |= 0o111,
                // Taking X away is taking x away.
                'X' if op == Op::Remove => bits |= 0o111,
                'X' => search = true,
                's' if !others_only => bits |= SET_ID,
                't' if !others_only => bits |= STICKY,
                's' | 't' => {}
                'u' => copies.push(6),
                'g' => copies.push(3),
                'o' => copies.push(0),
                _ => return None,
            }
        }
        let mut first = op;
        if bits != 0 || search || copies.is_empty() {
            clause.actions.push((first, Source::Bits { bits, search }));
            // Further sources of one `=` are added to what it has set.
            if op == Op::Set {
                first = Op::Add;
            }
        }
        for shift in copies {
            clause.actions.push((first, Source::Copy(shift)));
            if op == Op::Set {
                first = Op::Add;
            }
        }
    }
    Some(clause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, before: u32, expected: u32) {
        let found = Chmod::parse(text).unwrap().apply(before, false);
        assert_eq!(found, expected, "{text} on {before:o}: {found:o}, expected {expected:o}");
    }

    #[test]
    fn octal() {
        check("755", 0o4644, 0o755);
        check("0", 0o777, 0);
        check("7777", 0, 0o7777);
        assert_eq!(Chmod::parse("4711").unwrap().of_parents(), 0o711);
        assert_eq!(Chmod::parse("777").unwrap().of_parents(), 0o755);
    }

    #[test]
    fn symbolic() {
        check("u=rwx,go=rx", 0o644, 0o755);
        check("a+x", 0o644, 0o755);
        check("+x", 0o644, 0o755);
        check("go-w", 0o666, 0o644);
        check("go=", 0o777, 0o700);
        check("=r", 0o4755, 0o444);
        check("u+s", 0o755, 0o4755);
        check("g+s", 0o755, 0o2755);
        check("o+s", 0o755, 0o755);
        check("+t", 0o755, 0o1755);
        check("go=u-w", 0o640, 0o644);
        check("g=u", 0o640, 0o660);
        check("g=u", 0o2740, 0o2770);
        check("ug=o", 0o6754, 0o6444);
        check("g=r", 0o2740, 0o740);
        check("u+x,u-w", 0o644, 0o544);
        check("u-x+w", 0o555, 0o655);
    }

    #[test]
    fn search_is_for_directories_and_programs() {
        check("u=rwX,go=rX", 0o600, 0o644);
        check("u=rwX,go=rX", 0o100, 0o755);
        assert_eq!(Chmod::parse("u=rwX,go=rX").unwrap().apply(0o700, true), 0o755);
        assert_eq!(Chmod::parse("u=rwX,go=rX").unwrap().of_parents(), 0o755);
    }

    #[test]
    fn what_is_no_mode() {
        for text in ["", "888", "77777", "10000", "rw", "u", "u=q", "z=r", "u=r,", "0x1f", "7 "] {
            assert!(Chmod::parse(text).unwrap_err().input, "{text}");
        }
    }
}
