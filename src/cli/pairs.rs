//! Options of several `NAME=VALUE`, as buildx reads them: commas between them, quotes around what has one, names in any
//! case.

use super::exit::Failure;
use crate::dockerfile::fields::csv;

/// The names in small letters, with their values. `option` is for the message.
pub fn pairs(option: &str, text: &str) -> Result<Vec<(String, String)>, Failure> {
    let wrong = |why: String| Failure::Usage(format!("{option} {text}: {why}"));
    let fields = match csv(text) {
        Some(fields) => fields,
        None if text.is_empty() => vec![String::new()],
        None => return Err(wrong("its quotes do not match".to_owned())),
    };
    let pair = |field: &String| match field.split_once('=') {
        Some((name, value)) => Ok((name.trim().to_ascii_lowercase(), value.to_owned())),
        None => Err(wrong(format!("{field:?} is not NAME=VALUE"))),
    };
    fields.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pairs, or a part of the error's message.
    #[track_caller]
    fn check(text: &str, expected: Result<&[(&str, &str)], &str>) {
        match (pairs("--some", text).map_err(|failure| failure.to_string()), expected) {
            (Ok(found), Ok(expected)) => {
                let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                assert_eq!(found, expected, "{text}");
            }
            (Err(message), Err(part)) => assert!(message.contains(part), "{text}: {message}"),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }

    #[test]
    fn forms() {
        check("a=b,C=D=E", Ok(&[("a", "b"), ("c", "D=E")]));
        check("\"a=b,c\",d=", Ok(&[("a", "b,c"), ("d", "")]));
        check("a=b, c=d", Ok(&[("a", "b"), ("c", "d")]));
        check("a=b,", Err("--some a=b,: \"\" is not NAME=VALUE"));
        check("", Err("--some : \"\" is not NAME=VALUE"));
        check("a=\"b,c\"", Err("--some a=\"b,c\": its quotes do not match"));
    }
}
