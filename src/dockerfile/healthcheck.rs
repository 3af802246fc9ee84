//! HEALTHCHECK's arguments and durations.

use super::Instruction;
use super::command::Fault;
use super::flags::{Flags, Kind};

/// HEALTHCHECK, none of which is expanded. Times are nanoseconds; 0 is the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// `NONE`, or `CMD` and its words, or `CMD-SHELL` and one shell line.
    pub test: Vec<String>,
    pub interval: i64,
    pub timeout: i64,
    pub start_period: i64,
    pub start_interval: i64,
    pub retries: i64,
}

const FLAGS: &[(&str, Kind)] = &[
    ("interval", Kind::Text),
    ("timeout", Kind::Text),
    ("start-period", Kind::Text),
    ("start-interval", Kind::Text),
    ("retries", Kind::Text),
];

pub(super) fn parse(instruction: &Instruction) -> Result<Healthcheck, Fault> {
    let Some((written, args)) = instruction.args.split_first() else {
        return Err(
            Fault::new("arguments", "HEALTHCHECK has no arguments", "").help("HEALTHCHECK CMD …, or HEALTHCHECK NONE")
        );
    };
    let kind = written.to_uppercase();
    if kind == "NONE" {
        return match args.first() {
            None => Ok(Healthcheck { test: vec![kind], ..Healthcheck::default() }),
            Some(arg) => Err(Fault::new("arguments", "HEALTHCHECK NONE takes no arguments", arg)),
        };
    }
    let flags = Flags::read(&instruction.flags, FLAGS)?;
    if kind != "CMD" {
        let message = format!("HEALTHCHECK {written} is not known");
        return Err(Fault::new("arguments", message, written).help("HEALTHCHECK CMD …, or HEALTHCHECK NONE"));
    }
    if args.is_empty() {
        return Err(Fault::new("arguments", "HEALTHCHECK CMD has no command", written));
    }
    let test = match instruction.json {
        true => [vec![kind], args.to_vec()].concat(),
        false => vec!["CMD-SHELL".to_owned(), args.join(" ")],
    };
    Ok(Healthcheck {
        test,
        interval: duration_flag(&flags, "interval")?,
        timeout: duration_flag(&flags, "timeout")?,
        start_period: duration_flag(&flags, "start-period")?,
        start_interval: duration_flag(&flags, "start-interval")?,
        retries: retries(&flags)?,
    })
}

fn duration_flag(flags: &Flags, name: &str) -> Result<i64, Fault> {
    const LEAST: i64 = 1_000_000;
    let Some(text) = flags.text(name) else { return Ok(0) };
    let fault = |message: String| Fault::new("flag-value", message, &text);
    match duration(&text) {
        None => Err(fault(format!("--{name}: {text:?} is not a duration")).help("for instance 30s, 1m30s or 500ms")),
        Some(0) => Ok(0),
        Some(value) if value < LEAST => Err(fault(format!("--{name} cannot be less than 1ms, and {text} is"))),
        Some(value) => Ok(value),
    }
}

fn retries(flags: &Flags) -> Result<i64, Fault> {
    let Some(text) = flags.text("retries") else { return Ok(0) };
    match text.parse::<i32>() {
        Ok(count) if count >= 0 => Ok(count.into()),
        Ok(_) => Err(Fault::new("flag-value", format!("--retries cannot be negative, and {text} is"), &text)),
        Err(_) => Err(Fault::new("flag-value", format!("--retries: {text:?} is not a number"), &text)),
    }
}

/// A duration in nanoseconds, in the notation of Go's `time.ParseDuration`: `1h2m3.5s`. `None` if it is none.
fn duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit: u64 = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(unit)?)?.checked_add(parts(fraction, unit))?;
        rest = after;
    }
    let limit = i64::MAX as u64 + u64::from(negative);
    (total <= limit).then(|| if negative { (total as i64).wrapping_neg() } else { total as i64 })
}

/// `0.fraction` of a unit, cut off to whole nanoseconds.
fn parts(fraction: &str, unit: u64) -> u64 {
    let mut value: u64 = 0;
    let mut scale = 1.0;
    for digit in fraction.bytes() {
        let Some(next) = value.checked_mul(10).and_then(|it| it.checked_add(u64::from(digit - b'0'))) else { break };
        if next > i64::MAX as u64 {
            break;
        }
        value = next;
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as u64
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<i64>) {
        assert_eq!(duration(text), expected, "{text}");
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        check("0", Some(0));
        check("5s", Some(5_000_000_000));
        check("1m30s", Some(90_000_000_000));
        check("1.5s", Some(1_500_000_000));
        check(".5s", Some(500_000_000));
        check("5.s", Some(5_000_000_000));
        check("-1h", Some(-3_600_000_000_000));
        check("+100\u{b5}s", Some(100_000));
        check("0.9ns", Some(0));
        check("1h1ns", Some(3_600_000_000_001));
        check("9223372036854775807ns", Some(i64::MAX));
    }

    #[test]
    fn others_are_refused() {
        for text in ["", "+", "5", "s", "5x", "5 s", ".s", "1s2", "9223372036854775808ns", "3000000h", "1e3s"] {
            check(text, None);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(text in "[-+]?[0-9.a-zµ]{0,30}") {
            let _ = duration(&text);
        }

        #[test]
        fn whole_seconds_keep_their_value(seconds in 0i64..9_000_000_000) {
            assert_eq!(duration(&format!("{seconds}s")), Some(seconds * 1_000_000_000));
        }
    }
}
