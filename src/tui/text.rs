//! Text made fit for a screen: harmless, short enough, and in human units.

use std::borrow::Cow;
use std::time::Duration;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that a text takes on a terminal.
pub fn width(text: &str) -> usize {
    text.width()
}

/// Text from outside with everything spelled out that a terminal would act on or that would reorder what is
/// read: `^[` for control characters, `<U+202E>` for C1 controls and for format characters. Tabs become spaces
/// up to the next of every 8 columns.
pub fn sanitise(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    let mut column = 0;
    for c in text.chars() {
        let start = out.len();
        match c {
            '\t' => out.extend(std::iter::repeat_n(' ', 8 - column % 8)),
            '\0'..='\x1f' => out.extend(['^', char::from(c as u8 + 0x40)]),
            '\x7f' => out.push_str("^?"),
            c if is_harmful(c) => out.push_str(&format!("<U+{:04X}>", c as u32)),
            c => out.push(c),
        }
        column += width(&out[start..]);
    }
    Cow::Owned(out)
}

/// As [`sanitise`], for bytes; what is not UTF-8 is spelled `\xff`.
pub fn sanitise_bytes(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => sanitise(text),
        Err(_) => {
            let mut out = String::with_capacity(bytes.len() + 8);
            for chunk in bytes.utf8_chunks() {
                out.push_str(&sanitise(chunk.valid()));
                for byte in chunk.invalid() {
                    out.push_str(&format!("\\x{byte:02x}"));
                }
            }
            Cow::Owned(out)
        }
    }
}

/// A line of a process's output as it would be read on a terminal: escape sequences are left out, and what a
/// carriage return wrote over is gone. Still to be sanitised.
pub fn plain(line: &str) -> String {
    let line = line.trim_end_matches('\r');
    let line = line.rsplit('\r').next().unwrap_or_default();
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\x1b') {
        out.push_str(before);
        rest = after_escape(after);
    }
    out.push_str(rest);
    out
}

/// What follows an escape sequence; `text` begins after its `ESC`.
fn after_escape(text: &str) -> &str {
    let mut chars = text.chars();
    match chars.next() {
        // A control sequence ends at the first of these.
        Some('[') => chars.as_str().split_once(|c: char| ('@'..='~').contains(&c)).map_or("", |(_, rest)| rest),
        // A command to the terminal ends at a bell or at `ESC \`.
        Some(']' | 'P' | '_' | '^') => {
            let text = chars.as_str();
            let ends = [text.find('\x07').map(|at| at + 1), text.find("\x1b\\").map(|at| at + 2)];
            ends.into_iter().flatten().min().map_or("", |end| &text[end..])
        }
        // A choice of character set has one character more.
        Some('(' | ')') => {
            chars.next();
            chars.as_str()
        }
        Some(_) => chars.as_str(),
        None => "",
    }
}

/// Whether a character must never reach a terminal from outside: controls, marks that turn the reading
/// direction, line and paragraph separators, and other invisible format characters.
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200c}' | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// The text cut to `columns`, its end replaced by `ellipsis` if it is too long.
pub fn clip<'t>(text: &'t str, columns: usize, ellipsis: &str) -> Cow<'t, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let room = columns.saturating_sub(width(ellipsis));
    let kept = prefix(text, room);
    match columns < width(ellipsis) {
        true => Cow::Borrowed(prefix(text, columns)),
        false => Cow::Owned(format!("{kept}{ellipsis}")),
    }
}

/// The same at the other end: for paths, whose last part says most.
pub fn clip_start<'t>(text: &'t str, columns: usize, ellipsis: &str) -> Cow<'t, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let room = columns.saturating_sub(width(ellipsis));
    let mut used = 0;
    let mut from = text.len();
    for (at, c) in text.char_indices().rev() {
        used += c.width().unwrap_or(0);
        if used > room {
            break;
        }
        from = at;
    }
    match columns < width(ellipsis) {
        true => Cow::Borrowed(prefix(text, columns)),
        false => Cow::Owned(format!("{ellipsis}{}", &text[from..])),
    }
}

/// The longest beginning of a text that fits into `columns`.
pub fn prefix(text: &str, columns: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > columns {
            return &text[..at];
        }
    }
    text
}

/// The text without its first `columns`, for horizontal scrolling. A wide character that is cut through
/// leaves a space.
pub fn skip(text: &str, columns: usize) -> Cow<'_, str> {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        if used >= columns {
            return match used - columns {
                0 => Cow::Borrowed(&text[at..]),
                over => Cow::Owned(format!("{}{}", " ".repeat(over), &text[at..])),
            };
        }
        used += c.width().unwrap_or(0);
    }
    Cow::Borrowed("")
}

/// The text in lines of at most `columns`, broken at spaces where there are some.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = Vec::new();
    let mut rest = text;
    while width(rest) > columns {
        let fits = prefix(rest, columns);
        // A character wider than a line has one for itself.
        let fits = if fits.is_empty() { &rest[..rest.chars().next().map_or(0, char::len_utf8)] } else { fits };
        let broken = match rest[fits.len()..].starts_with(' ') {
            true => fits.len(),
            false => fits.rfind(' ').filter(|at| *at > 0).unwrap_or(fits.len()),
        };
        lines.push(rest[..broken].trim_end().to_owned());
        rest = rest[broken..].trim_start();
    }
    if !rest.is_empty() || lines.is_empty() {
        lines.push(rest.to_owned());
    }
    lines
}

/// A share with one decimal, rounded down: `12.5 %`.
pub fn percent(bytes: u64, of: u64) -> String {
    let tenths = u128::from(bytes) * 1000 / u128::from(of.max(1));
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// Bytes in decimal units, as Docker counts: `0 B`, `4.1 kB`, `812.0 MB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    // 999.95 would be rounded to 1000.0.
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A duration in at most two units: `0 ms`, `340 ms`, `6.2 s`, `1 m 04 s`, `2 h 05 m`.
pub fn duration(time: Duration) -> String {
    let millis = time.as_millis();
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{millis} ms"),
        1..=59 => format!("{}.{} s", seconds, time.subsec_millis() / 100),
        60..=3599 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A count with its noun: `1 step`, `4 steps`.
pub fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check<T: AsRef<str>>(got: T, expected: &str) {
        assert_eq!(got.as_ref(), expected);
    }

    #[test]
    fn spells_out_what_a_terminal_would_act_on() {
        check(sanitise("plain ünïcode 漢字"), "plain ünïcode 漢字");
        check(sanitise("\x1b[31mred\x07"), "^[[31mred^G");
        check(sanitise("a\tb"), "a       b");
        check(sanitise("12345678\tb"), "12345678        b");
        check(sanitise("\u{9b}2J\u{202e}x\x7f"), "<U+009B>2J<U+202E>x^?");
        check(sanitise_bytes(b"caf\xe9\n"), "caf\\xe9^J");
    }

    #[test]
    fn clips_to_columns() {
        check(clip("Dockerfile", 10, "…"), "Dockerfile");
        check(clip("Dockerfile", 6, "…"), "Docke…");
        check(clip("漢字漢字", 6, "…"), "漢字…");
        check(clip("Dockerfile", 2, "..."), "Do");
        check(clip("Dockerfile", 0, "…"), "");
        check(clip_start("/usr/local/bin", 8, "…"), "…cal/bin");
        check(clip_start("漢字漢字", 6, "…"), "…漢字");
        check(skip("Dockerfile", 6), "file");
        check(skip("漢字", 1), " 字");
        check(skip("ab", 5), "");
    }

    #[test]
    fn output_is_read_without_its_escapes() {
        check(plain("\x1b[1;31merror\x1b[0m: no"), "error: no");
        check(plain("10 %\r50 %\r100 %\r"), "100 %");
        check(plain("\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b\x1b(Bc\x1b=d"), "abcd");
        check(plain("\x1b["), "");
    }

    #[test]
    fn wraps_at_spaces() {
        let check = |text, columns, expected: &[&str]| assert_eq!(wrap(text, columns), expected);
        check("one two three", 20, &["one two three"]);
        check("one two three", 7, &["one two", "three"]);
        check("one two three", 9, &["one two", "three"]);
        check("abcdefgh", 3, &["abc", "def", "gh"]);
        check("漢字", 1, &["漢", "字"]);
        check("", 5, &[""]);
    }

    #[test]
    fn speaks_in_human_units() {
        check(size(0), "0 B");
        check(size(999), "999 B");
        check(size(4_100), "4.1 kB");
        check(size(812_000_000), "812.0 MB");
        check(size(999_960), "1.0 MB");
        check(size(u64::MAX), "18.4 EB");
        check(duration(Duration::from_micros(200)), "0 ms");
        check(duration(Duration::from_millis(6_250)), "6.2 s");
        check(duration(Duration::from_secs(64)), "1 m 04 s");
        check(duration(Duration::from_secs(7_500)), "2 h 05 m");
        check(count(1, "file"), "1 file");
        check(count(0, "file"), "0 files");
    }

    proptest! {
        #[test]
        fn nothing_harmful_is_left_and_nothing_is_too_wide(text in any::<String>(), columns in 0usize..40) {
            let safe = sanitise(&text);
            prop_assert!(!safe.chars().any(is_harmful));
            prop_assert!(width(&clip(&safe, columns, "…")) <= columns);
            prop_assert!(width(&clip_start(&safe, columns, "...")) <= columns);
        }

        #[test]
        fn bytes_are_made_harmless(bytes in any::<Vec<u8>>()) {
            prop_assert!(!sanitise_bytes(&bytes).chars().any(is_harmful));
        }
    }
}
