//! Keys and pasted text as the bytes that a terminal would send, as xterm does.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// The bytes of a key. `application` is whether the program has switched the cursor keys to that mode. Keys that
/// no terminal sends give none.
pub fn key(event: KeyEvent, application: bool) -> Vec<u8> {
    let alt = event.modifiers.contains(KeyModifiers::ALT);
    match event.code {
        KeyCode::Char(c) => {
            let mut bytes = if alt { vec![0x1b] } else { Vec::new() };
            match event.modifiers.contains(KeyModifiers::CONTROL).then(|| control(c)).flatten() {
                Some(byte) => bytes.push(byte),
                None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
            bytes
        }
        KeyCode::Enter => with_alt(alt, b"\r"),
        KeyCode::Tab => with_alt(alt, b"\t"),
        KeyCode::BackTab => b"\x1b[Z".to_vec(),
        KeyCode::Backspace if event.modifiers.contains(KeyModifiers::CONTROL) => with_alt(alt, b"\x08"),
        KeyCode::Backspace => with_alt(alt, b"\x7f"),
        KeyCode::Esc => with_alt(alt, b"\x1b"),
        KeyCode::Up => cursor(b'A', event.modifiers, application),
        KeyCode::Down => cursor(b'B', event.modifiers, application),
        KeyCode::Right => cursor(b'C', event.modifiers, application),
        KeyCode::Left => cursor(b'D', event.modifiers, application),
        KeyCode::Home => cursor(b'H', event.modifiers, application),
        KeyCode::End => cursor(b'F', event.modifiers, application),
        KeyCode::KeypadBegin => cursor(b'E', event.modifiers, application),
        KeyCode::Insert => numbered(2, event.modifiers),
        KeyCode::Delete => numbered(3, event.modifiers),
        KeyCode::PageUp => numbered(5, event.modifiers),
        KeyCode::PageDown => numbered(6, event.modifiers),
        KeyCode::F(number @ 1..=4) => cursor(b'O' + number, event.modifiers, true),
        KeyCode::F(number) => match FUNCTION_KEYS.get(usize::from(number).wrapping_sub(5)) {
            Some(code) => numbered(*code, event.modifiers),
            None => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// The numbers of F5 to F20. Some are left out for reasons that only a VT220 knows.
const FUNCTION_KEYS: [u8; 16] = [15, 17, 18, 19, 20, 21, 23, 24, 25, 26, 28, 29, 31, 32, 33, 34];

/// Pasted text. Lines end with a carriage return, as if they were typed. Between brackets the text must not hold
/// what would end them, so escape characters are left out.
pub fn paste(text: &str, bracketed: bool) -> Vec<u8> {
    let text = text.replace("\r\n", "\r").replace('\n', "\r");
    let text: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\r' | '\t')).collect();
    match bracketed {
        true => format!("\x1b[200~{text}\x1b[201~").into_bytes(),
        false => text.into_bytes(),
    }
}

fn with_alt(alt: bool, bytes: &[u8]) -> Vec<u8> {
    let prefix: &[u8] = if alt { b"\x1b" } else { b"" };
    [prefix, bytes].concat()
}

/// The control character that a key stands for; some keys have one because nothing else was on a teletype.
fn control(c: char) -> Option<u8> {
    match c {
        'a'..='z' => Some(c as u8 - b'a' + 1),
        '@'..='_' => Some(c as u8 - b'@'),
        ' ' | '2' => Some(0),
        '3'..='7' => Some(c as u8 - b'3' + 0x1b),
        '/' => Some(0x1f),
        '8' | '?' => Some(0x7f),
        _ => None,
    }
}

fn cursor(last: u8, modifiers: KeyModifiers, application: bool) -> Vec<u8> {
    match (modifier_number(modifiers), application) {
        (1, true) => vec![0x1b, b'O', last],
        (1, false) => vec![0x1b, b'[', last],
        (number, _) => format!("\x1b[1;{number}{}", char::from(last)).into_bytes(),
    }
}

fn numbered(code: u8, modifiers: KeyModifiers) -> Vec<u8> {
    match modifier_number(modifiers) {
        1 => format!("\x1b[{code}~").into_bytes(),
        number => format!("\x1b[{code};{number}~").into_bytes(),
    }
}

fn modifier_number(modifiers: KeyModifiers) -> u8 {
    let bit = |modifier, value| if modifiers.contains(modifier) { value } else { 0 };
    1 + bit(KeyModifiers::SHIFT, 1) + bit(KeyModifiers::ALT, 2) + bit(KeyModifiers::CONTROL, 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: KeyModifiers = KeyModifiers::NONE;
    const SHIFT: KeyModifiers = KeyModifiers::SHIFT;
    const ALT: KeyModifiers = KeyModifiers::ALT;
    const CONTROL: KeyModifiers = KeyModifiers::CONTROL;

    fn check(code: KeyCode, modifiers: KeyModifiers, application: bool, expected: &str) {
        let bytes = key(KeyEvent::new(code, modifiers), application);
        assert_eq!(String::from_utf8_lossy(&bytes), expected, "{code:?} {modifiers:?}");
    }

    #[test]
    fn keys_are_what_xterm_sends() {
        check(KeyCode::Char('a'), NONE, false, "a");
        check(KeyCode::Char('A'), SHIFT, false, "A");
        check(KeyCode::Char('é'), NONE, false, "é");
        check(KeyCode::Char('é'), ALT, false, "\x1bé");
        check(KeyCode::Char('c'), CONTROL, false, "\x03");
        check(KeyCode::Char('C'), CONTROL, false, "\x03");
        check(KeyCode::Char('d'), CONTROL.union(ALT), false, "\x1b\x04");
        check(KeyCode::Char(' '), CONTROL, false, "\0");
        check(KeyCode::Char('\\'), CONTROL, false, "\x1c");
        check(KeyCode::Char('4'), CONTROL, false, "\x1c");
        check(KeyCode::Char('7'), CONTROL, false, "\x1f");
        check(KeyCode::Char('é'), CONTROL, false, "é");
        check(KeyCode::Enter, NONE, false, "\r");
        check(KeyCode::Enter, ALT, false, "\x1b\r");
        check(KeyCode::Tab, NONE, false, "\t");
        check(KeyCode::BackTab, SHIFT, false, "\x1b[Z");
        check(KeyCode::Backspace, NONE, false, "\x7f");
        check(KeyCode::Backspace, CONTROL, false, "\x08");
        check(KeyCode::Backspace, ALT, false, "\x1b\x7f");
        check(KeyCode::Esc, NONE, false, "\x1b");
    }

    #[test]
    fn cursor_keys_depend_on_the_mode_and_on_modifiers() {
        check(KeyCode::Up, NONE, false, "\x1b[A");
        check(KeyCode::Up, NONE, true, "\x1bOA");
        check(KeyCode::Left, CONTROL, true, "\x1b[1;5D");
        check(KeyCode::Right, SHIFT.union(ALT), false, "\x1b[1;4C");
        check(KeyCode::Home, NONE, false, "\x1b[H");
        check(KeyCode::End, NONE, true, "\x1bOF");
        check(KeyCode::Delete, NONE, true, "\x1b[3~");
        check(KeyCode::PageUp, CONTROL, false, "\x1b[5;5~");
        check(KeyCode::F(1), NONE, false, "\x1bOP");
        check(KeyCode::F(4), SHIFT, false, "\x1b[1;2S");
        check(KeyCode::F(5), NONE, false, "\x1b[15~");
        check(KeyCode::F(12), ALT, false, "\x1b[24;3~");
        check(KeyCode::F(20), NONE, false, "\x1b[34~");
        check(KeyCode::F(21), NONE, false, "");
        check(KeyCode::CapsLock, NONE, false, "");
    }

    #[test]
    fn pasted_text_stays_text() {
        let check = |text, bracketed, expected: &str| {
            assert_eq!(String::from_utf8(paste(text, bracketed)).unwrap(), expected);
        };
        check("ls\necho 1\r\n", false, "ls\recho 1\r");
        check("a\tb", true, "\x1b[200~a\tb\x1b[201~");
        check("x\x1b[201~rm -rf /\n", true, "\x1b[200~x[201~rm -rf /\r\x1b[201~");
        check("x\x1b[A\x03", false, "x[A");
    }
}
