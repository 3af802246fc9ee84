//! Amounts of bytes as people write them.

use serde::Deserialize;

/// `200 MB`, `1.5 GiB`, or a number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Number")]
pub struct Bytes(pub u64);

/// A number in a file of settings: bare, or with its unit in words.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number, or a text with a number and its unit")]
pub enum Number {
    Whole(u64),
    Fraction(f64),
    Text(String),
}

impl Number {
    pub fn text(self) -> String {
        match self {
            Number::Whole(number) => number.to_string(),
            Number::Fraction(number) => number.to_string(),
            Number::Text(text) => text,
        }
    }
}

impl TryFrom<Number> for Bytes {
    type Error = String;

    fn try_from(number: Number) -> Result<Bytes, String> {
        number.text().parse()
    }
}

impl std::str::FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Bytes, String> {
        let wrong = || format!("{text:?} is not a size: a number of bytes, or for instance 200MB, \"1.5 GiB\"");
        let (number, unit) = split_unit(text);
        let unit: f64 = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "k" | "kb" => 1e3,
            "m" | "mb" => 1e6,
            "g" | "gb" => 1e9,
            "t" | "tb" => 1e12,
            "kib" => 1024.0,
            "mib" => 1024f64.powi(2),
            "gib" => 1024f64.powi(3),
            "tib" => 1024f64.powi(4),
            _ => return Err(wrong()),
        };
        if unit == 1.0 {
            return number.parse().map(Bytes).map_err(|_| wrong());
        }
        let number: f64 = number.parse().ok().filter(|it: &f64| *it >= 0.0 && it.is_finite()).ok_or_else(wrong)?;
        Ok(Bytes((number * unit).round() as u64))
    }
}

impl std::fmt::Display for Bytes {
    /// As it is read, in the largest unit that leaves no fraction.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let units = [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")];
        match units.into_iter().find(|(unit, _)| self.0 > 0 && self.0.is_multiple_of(*unit)) {
            Some((unit, name)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(text.parse().ok(), expected.map(Bytes), "{text}");
        check("200", Some(200));
        check("200 MB", Some(200_000_000));
        check("1.5GiB", Some(1_610_612_736));
        check("2k", Some(2000));
        check("0", Some(0));
        check("18446744073709551615", Some(u64::MAX));
        for text in ["0", "1500", "2kB", "10MB", "3TB"] {
            assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text);
        }
        ["", "MB", "-1", "1.5", "1 XB", "1e5x", "inf", "nan kB"].into_iter().for_each(|text| check(text, None));
    }
}
