//! Values of options and how they are listed, as Docker's own programs read them; in Dockerfiles and beside them.

/// One line of comma-separated fields, with `"` around a field and `""` for a quote in it.
pub fn csv(text: &str) -> Option<Vec<String>> {
    let text = text.strip_suffix('\n').map_or(text, |it| it.strip_suffix('\r').unwrap_or(it));
    if text.is_empty() {
        return None;
    }
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let (field, after) = match rest.split_once(',') {
                Some((field, after)) => (field, Some(after)),
                None => (rest, None),
            };
            if field.contains('"') {
                return None;
            }
            fields.push(field.to_owned());
            match after {
                Some(after) => rest = after,
                None => return Some(fields),
            }
            continue;
        };
        let mut field = String::new();
        let mut inside = quoted;
        loop {
            let (part, after) = inside.split_once('"')?;
            field.push_str(part);
            match after.strip_prefix('"') {
                Some(after) => {
                    field.push('"');
                    inside = after;
                }
                None => {
                    inside = after;
                    break;
                }
            }
        }
        fields.push(field);
        if inside.is_empty() {
            return Some(fields);
        }
        rest = inside.strip_prefix(',')?;
    }
}

/// As Go's `strconv.ParseBool`.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A size in bytes, as Docker reads it: a number, perhaps with a fraction, and a binary unit (`k`, `kb`, `KiB`, …, `p`).
pub fn bytes(text: &str) -> Option<u64> {
    let last = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ')?;
    let (number, unit) = text.split_at(last + 1);
    let number: f64 = number.strip_suffix(' ').unwrap_or(number).parse().ok()?;
    if number.is_nan() || number < 0.0 {
        return None;
    }
    let unit = unit.to_lowercase();
    let (letter, rest) = unit.split_at_checked(1).unwrap_or(("", unit.as_str()));
    let power = match (letter, rest) {
        ("" | "b", "") => 0,
        ("k", "" | "b" | "ib") => 1,
        ("m", "" | "b" | "ib") => 2,
        ("g", "" | "b" | "ib") => 3,
        ("t", "" | "b" | "ib") => 4,
        ("p", "" | "b" | "ib") => 5,
        _ => return None,
    };
    Some((number * 1024f64.powi(power)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&[&str]>) {
        let expected = expected.map(|fields| fields.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
        assert_eq!(csv(text), expected, "{text}");
    }

    #[test]
    fn quotes_hold_commas() {
        check("a,b", Some(&["a", "b"]));
        check("\"a,b\",c", Some(&["a,b", "c"]));
        check("\"a\"\"b\"", Some(&["a\"b"]));
        check(",", Some(&["", ""]));
        check("", None);
        check("a\"b", None);
        check("\"a", None);
        check("\"a\"b", None);
    }

    proptest::proptest! {
        #[test]
        fn quoted_fields_come_back(fields in proptest::collection::vec("[a-z,\" ]{0,6}", 1..5)) {
            let line: Vec<String> = fields.iter().map(|it| format!("\"{}\"", it.replace('"', "\"\""))).collect();
            assert_eq!(csv(&line.join(",")), Some(fields));
        }
    }
}
