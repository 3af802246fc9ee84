//! Values as Go prints them: the history of an image is written so, and images are compared by it.

/// `%q` of a list of strings: `["/bin/sh" "-c"]`.
pub(super) fn quoted_list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", words.join(" "))
}

/// `%v` of a list of strings: `[/bin/sh -c]`.
pub(super) fn plain_list(words: &[String]) -> String {
    format!("[{}]", words.join(" "))
}

/// `%q` of a string.
fn quoted(text: &str) -> String {
    let inner: String = text.chars().map(|c| escaped(c, '"')).collect();
    format!("\"{inner}\"")
}

/// `%q` of a character.
pub(super) fn quoted_char(c: char) -> String {
    format!("'{}'", escaped(c, '\''))
}

fn escaped(c: char, quote: char) -> String {
    match c {
        '\\' => "\\\\".to_owned(),
        c if c == quote => format!("\\{c}"),
        '\u{7}' => "\\a".to_owned(),
        '\u{8}' => "\\b".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        '\u{b}' => "\\v".to_owned(),
        ' '..='~' => c.to_string(),
        '\0'..='\u{7f}' => format!("\\x{:02x}", u32::from(c)),
        c if is_printable(c) => c.to_string(),
        c if u32::from(c) < 0x10000 => format!("\\u{:04x}", u32::from(c)),
        c => format!("\\U{:08x}", u32::from(c)),
    }
}

/// Letters, marks, numbers, punctuation and symbols. After another letter the standard library's escaping leaves
/// just these as they are.
fn is_printable(c: char) -> bool {
    format!("a{c}").escape_debug().any(|it| it == c)
}

/// A duration in nanoseconds as `1h2m3.5s`.
pub(super) fn duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let value = nanoseconds.unsigned_abs();
    let with_fraction = |unit: u64| {
        let whole = value / unit;
        let digits = unit.ilog10() as usize;
        let fraction = format!("{:0digits$}", value % unit);
        match fraction.trim_end_matches('0') {
            "" => whole.to_string(),
            fraction => format!("{whole}.{fraction}"),
        }
    };
    match value {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{value}ns"),
        1_000..1_000_000 => format!("{sign}{}\u{b5}s", with_fraction(1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", with_fraction(1_000_000)),
        _ => {
            let minutes = value / 60_000_000_000;
            let rest = value % 60_000_000_000;
            let fraction = format!("{:09}", rest % 1_000_000_000);
            let mut seconds = (rest / 1_000_000_000).to_string();
            if !fraction.trim_end_matches('0').is_empty() {
                seconds = format!("{seconds}.{}", fraction.trim_end_matches('0'));
            }
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings() {
        for (text, expected) in [
            ("plain text", r#""plain text""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("\n\t\u{1}\u{7f}", r#""\n\t\x01\x7f""#),
            ("größe 한 e\u{301}", "\"größe 한 e\u{301}\""),
            ("\u{200b}\u{e000}\u{10ffff}", r#""\u200b\ue000\U0010ffff""#),
        ] {
            assert_eq!(quoted(text), expected);
        }
        assert_eq!(quoted_list(&["a".to_owned(), "b c".to_owned()]), r#"["a" "b c"]"#);
        assert_eq!(quoted_list(&[]), "[]");
        assert_eq!(quoted_char('\0'), r"'\x00'");
        assert_eq!(quoted_char('\''), r"'\''");
        assert_eq!(quoted_char('"'), "'\"'");
        assert_eq!(plain_list(&["/a".to_owned(), "/b".to_owned()]), "[/a /b]");
    }

    #[test]
    fn durations() {
        for (value, expected) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5\u{b5}s"),
            (500_000_000, "500ms"),
            (1_500_000_000, "1.5s"),
            (30_000_000_000, "30s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (-5_000_000_000, "-5s"),
        ] {
            assert_eq!(duration(value), expected);
        }
    }
}
