//! The JSON arrays of the exec form, read as Go's `encoding/json` reads them: half a surrogate pair becomes U+FFFD,
//! and a number too large for a float makes the whole no JSON at all.

/// What a text that begins with `[` is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Array {
    Strings(Vec<String>),
    /// An array, but not of strings only.
    Mixed,
    /// No JSON.
    Other,
}

/// Arrays and objects in one another; deeper ones are refused.
const MAX_DEPTH: usize = 10_000;

pub(super) fn array(text: &str) -> Array {
    let mut reader = Reader { text: text.as_bytes(), at: 0 };
    match reader.strings() {
        Some(Some(strings)) => Array::Strings(strings),
        Some(None) => Array::Mixed,
        None => Array::Other,
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// The whole text as an array; `Some(None)` if it is one with other things than strings.
    fn strings(&mut self) -> Option<Option<Vec<String>>> {
        let mut out = Some(Vec::new());
        self.blanks();
        self.expect(b'[')?;
        self.blanks();
        if !self.eat(b']') {
            loop {
                self.blanks();
                match self.peek()? {
                    b'"' => {
                        let string = self.string()?;
                        if let Some(out) = &mut out {
                            out.push(string);
                        }
                    }
                    _ => {
                        self.skip_value()?;
                        out = None;
                    }
                }
                self.blanks();
                match self.next()? {
                    b',' => {}
                    b']' => break,
                    _ => return None,
                }
            }
        }
        self.blanks();
        (self.at == self.text.len()).then_some(out)
    }

    /// Passes over one value of any kind, without recursion, so that no depth can exhaust the stack.
    fn skip_value(&mut self) -> Option<()> {
        let mut open: Vec<u8> = Vec::new();
        loop {
            self.blanks();
            match self.peek()? {
                b'"' => drop(self.string()?),
                bracket @ (b'[' | b'{') => {
                    self.at += 1;
                    self.blanks();
                    let close = if bracket == b'[' { b']' } else { b'}' };
                    if !self.eat(close) {
                        open.push(bracket);
                        if open.len() >= MAX_DEPTH {
                            return None;
                        }
                        if bracket == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b't' => self.literal(b"true")?,
                b'f' => self.literal(b"false")?,
                b'n' => self.literal(b"null")?,
                _ => self.number()?,
            }
            loop {
                let Some(bracket) = open.last() else { return Some(()) };
                self.blanks();
                match (bracket, self.next()?) {
                    (b'[', b',') => break,
                    (b'{', b',') => {
                        self.blanks();
                        self.key()?;
                        break;
                    }
                    (b'[', b']') | (b'{', b'}') => {
                        open.pop();
                    }
                    _ => return None,
                }
            }
        }
    }

    fn key(&mut self) -> Option<()> {
        self.string()?;
        self.blanks();
        self.expect(b':')
    }

    fn literal(&mut self, word: &[u8]) -> Option<()> {
        word.iter().try_for_each(|c| self.expect(*c))
    }

    fn number(&mut self) -> Option<()> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _sign = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        let digits = std::str::from_utf8(self.text.get(start..self.at)?).ok()?;
        digits.parse::<f64>().ok().filter(|it| it.is_finite()).map(|_| ())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn string(&mut self) -> Option<String> {
        self.expect(b'"')?;
        let mut out = Vec::new();
        loop {
            match self.next()? {
                b'"' => return String::from_utf8(out).ok(),
                b'\\' => {
                    let c = self.escaped()?;
                    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                0..0x20 => return None,
                byte => out.push(byte),
            }
        }
    }

    fn escaped(&mut self) -> Option<char> {
        Some(match self.next()? {
            c @ (b'"' | b'\\' | b'/') => char::from(c),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex()?;
                if let Some(c) = char::from_u32(first) {
                    return Some(c);
                }
                let after = self.at;
                if self.eat(b'\\') && self.eat(b'u') {
                    // Digits that are missing here are found when the second escape is read for itself.
                    let pair = self.hex().map(|second| char::decode_utf16([first as u16, second as u16]).next());
                    if let Some(Some(Ok(c))) = pair {
                        return Some(c);
                    }
                }
                self.at = after;
                char::REPLACEMENT_CHARACTER
            }
            _ => return None,
        })
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        let value = digits.iter().try_fold(0, |value, c| Some(value * 16 + char::from(*c).to_digit(16)?))?;
        self.at += 4;
        Some(value)
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|c| matches!(c, b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    fn eat(&mut self, c: u8) -> bool {
        let found = self.peek() == Some(c);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, c: u8) -> Option<()> {
        self.eat(c).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn arrays_of_strings() {
        fn check(text: &str, expected: &[&str]) {
            let expected = Array::Strings(expected.iter().map(|it| it.to_string()).collect());
            assert_eq!(array(text), expected, "{text}");
        }
        check("[]", &[]);
        check("[ ]\t", &[]);
        check("[\"a\"]", &["a"]);
        check(" [ \"a\" , \"b c\",\"\" ] ", &["a", "b c", ""]);
        check(r#"["\"\\\/\b\f\n\r\t"]"#, &["\"\\/\u{8}\u{c}\n\r\t"]);
        check(r#"["\u00e4\u20AC\ud83d\ude00"]"#, &["ä€😀"]);
        check(r#"["\ud83dx", "\ude00", "\ud83d\u0041"]"#, &["\u{fffd}x", "\u{fffd}", "\u{fffd}A"]);
        check("[\"größe\u{7f}\"]", &["größe\u{7f}"]);
    }

    #[test]
    fn other_arrays() {
        fn check(text: &str) {
            assert_eq!(array(text), Array::Mixed, "{text}");
        }
        check("[1]");
        check("[\"a\", null]");
        check("[true, false, -0.5e+7, 0, \"a\"]");
        check("[[\"a\"]]");
        check("[{\"a\": [1, {}], \"b\" : {\"c\":[]}}]");
        check(&format!("{}{}", "[".repeat(9_000), "]".repeat(9_000)));
    }

    #[test]
    fn no_json() {
        fn check(text: &str) {
            assert_eq!(array(text), Array::Other, "{text:.80}");
        }
        check("[");
        check("[a]");
        check("['a']");
        check("[\"a\"");
        check("[\"a\",]");
        check("[\"a\"] x");
        check("[,]");
        check("[\"a\" \"b\"]");
        check("[\"a\tb\"]");
        check("[\"\\'\"]");
        check("[\"\\u12\"]");
        check("[\"\\ud83d\\u12\"]");
        check("[01]");
        check("[1.]");
        check("[-]");
        check("[1e999]");
        check("[nul]");
        check("[{\"a\"}]");
        check("[{a:1}]");
        check("[[}]");
        check("[ -f x ] && y");
        check(&"[".repeat(100_000));
        check(&format!("{}{}", "[".repeat(11_000), "]".repeat(11_000)));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(strings in prop::collection::vec(".{0,10}", 0..4)) {
            let text = serde_json::to_string(&strings).expect("strings are JSON");
            prop_assert_eq!(array(&text), Array::Strings(strings));
        }

        #[test]
        fn serde_agrees(text in "\\[[\\[\\]\\{\\}\"a1,:. \\\\u-]{0,14}\\]?") {
            let value: Option<Vec<serde_json::Value>> = serde_json::from_str(&text).ok();
            let expected = match value {
                None => Array::Other,
                Some(values) => match values.iter().map(|it| it.as_str().map(str::to_owned)).collect() {
                    Some(strings) => Array::Strings(strings),
                    None => Array::Mixed,
                },
            };
            prop_assert_eq!(array(&text), expected);
        }
    }
}
