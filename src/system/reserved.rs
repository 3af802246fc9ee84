//! Names that Windows gives no file.
//!
//! Source: Microsoft's "Naming Files, Paths, and Namespaces".

/// Whether a file of this name can be made, and is no device.
pub(super) fn is_allowed(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let is_device = match stem.as_str() {
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" => true,
        stem => ["COM", "LPT"].iter().any(|port| {
            stem.strip_prefix(port).is_some_and(|number| {
                let mut digits = number.chars();
                matches!((digits.next(), digits.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
            })
        }),
    };
    let is_plain = |it: char| !it.is_control() && !"<>:\"/\\|?*".contains(it);
    !name.is_empty() && !is_device && name.chars().all(is_plain) && !name.ends_with(['.', ' '])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(names: &[&str], expected: bool) {
        for name in names {
            assert_eq!(is_allowed(name), expected, "{name:?}");
        }
    }

    #[test]
    fn names() {
        check(&["a", "a.txt", ".profile", "größe", "con-fig", "console", "COM", "COM10", "nul-l", "a b"], true);
        check(&["", ".", "..", "a:b", "a\\b", "a/b", "a?", "*", "<", "a\u{1}", "a.", "a "], false);
        check(&["con", "NUL", "nul.txt", "Aux.tar.gz", "com1", "LPT9.log", "COM²", "nul .txt", "CONIN$"], false);
    }
}
