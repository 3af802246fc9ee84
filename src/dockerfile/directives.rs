//! The `# name=value` lines at the top: `escape`, `syntax` and `check`.
//!
//! The rules are those of BuildKit's `parser/directives.go`.

/// Reads directives as the lines come, for the sake of the escape character, and refuses what is wrong with them.
pub(super) struct Directives {
    pub(super) escape: char,
    seen: Vec<String>,
    done: bool,
}

impl Default for Directives {
    fn default() -> Self {
        Directives { escape: '\\', seen: Vec::new(), done: false }
    }
}

impl Directives {
    /// Takes the next line, without blanks before it.
    pub(super) fn read(&mut self, line: &str) -> Result<(), String> {
        if self.done {
            return Ok(());
        }
        let Some((name, value)) = directive(line, "#") else {
            self.done = true;
            return Ok(());
        };
        let name = name.to_ascii_lowercase();
        if self.seen.contains(&name) {
            return Err(format!("the {name} directive can be given only once"));
        }
        match (name.as_str(), value) {
            ("escape", "\\") => self.escape = '\\',
            ("escape", "`") => self.escape = '`',
            ("escape", _) => return Err(format!("{value:?} cannot be the escape character: it is \\ or `")),
            _ => {}
        }
        self.seen.push(name);
        Ok(())
    }

    /// The line without its continuation character, and whether the instruction ends here.
    pub(super) fn strip_continuation<'a>(&self, line: &'a str) -> (&'a str, bool) {
        let rest = line.trim_end_matches([' ', '\t']);
        match rest.strip_suffix(self.escape) {
            // An escape before it makes it a character like any other.
            Some(before) if before.ends_with(self.escape) => (line, true),
            Some(before) => (before, false),
            None => (line, true),
        }
    }
}

/// The image that is to read the file instead, from `# syntax=`; also from `// syntax=`, or from a file that is a
/// JSON object, because such an image may read anything.
pub(super) fn syntax(text: &str) -> Option<String> {
    let text = after_shebang(text);
    find(text, "#", "syntax").or_else(|| find(text, "//", "syntax")).or_else(|| {
        let object = text.trim_start().starts_with('{').then(|| serde_json::from_str(text).ok());
        match object.flatten() {
            Some(serde_json::Value::Object(fields)) => fields.get("syntax")?.as_str().map(str::to_owned),
            _ => None,
        }
    })
}

/// The value of `# check=`.
pub(super) fn check(text: &str) -> Option<String> {
    find(after_shebang(text), "#", "check")
}

fn after_shebang(text: &str) -> &str {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match text.starts_with("#!") {
        true => text.split_once('\n').map_or("", |(_, rest)| rest),
        false => text,
    }
}

fn find(text: &str, comment: &str, wanted: &str) -> Option<String> {
    let directives = text.lines().map_while(|line| directive(line, comment));
    let mut seen: Vec<&str> = Vec::new();
    for (name, value) in directives {
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value.to_owned());
        }
        if seen.iter().any(|it| it.eq_ignore_ascii_case(name)) {
            return None;
        }
        seen.push(name);
    }
    None
}

/// Name and value of a directive; any other comment ends the directives.
pub(super) fn directive<'a>(line: &'a str, comment: &str) -> Option<(&'a str, &'a str)> {
    const BLANKS: [char; 5] = ['\t', '\n', '\u{c}', '\r', ' '];
    let rest = line.strip_prefix(comment)?.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    if !["escape", "syntax", "check"].iter().any(|it| name.eq_ignore_ascii_case(it)) {
        return None;
    }
    let value = rest.trim_start_matches(BLANKS).strip_prefix('=')?;
    let trimmed = value.trim_matches(BLANKS);
    // A value of blanks only is the last of them.
    let blank = value.char_indices().next_back().map(|(at, _)| &value[at..]);
    if trimmed.is_empty() { Some((name, blank?)) } else { Some((name, trimmed)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape() {
        fn check(lines: &[&str], expected: Result<char, &str>) {
            let mut directives = Directives::default();
            let result = lines.iter().try_for_each(|line| directives.read(line));
            match (result, expected) {
                (Ok(()), Ok(escape)) => assert_eq!(directives.escape, escape, "{lines:?}"),
                (Err(message), Err(part)) => assert!(message.contains(part), "{lines:?} {message}"),
                (found, _) => panic!("{lines:?} {found:?}"),
            }
        }
        check(&[], Ok('\\'));
        check(&["# escape=`"], Ok('`'));
        check(&["#EsCaPe = `  "], Ok('`'));
        check(&["# syntax=a", "# check=b", "# escape=`"], Ok('`'));
        check(&["# a comment", "# escape=`"], Ok('\\'));
        check(&["# name=value", "# escape=`"], Ok('\\'));
        check(&["", "# escape=`"], Ok('\\'));
        check(&["FROM a", "# escape=`"], Ok('\\'));
        check(&["# escape"], Ok('\\'));
        check(&["# escape="], Ok('\\'));
        check(&["# escape2=`"], Ok('\\'));
        check(&["# escape=x"], Err("cannot be the escape character"));
        check(&["# escape= "], Err("\" \" cannot be"));
        check(&["# escape=``"], Err("cannot be"));
        check(&["# escape=`", "# ESCAPE=`"], Err("only once"));
        check(&["# syntax=a", "# syntax=a"], Err("only once"));
        check(&["# syntax=a", "#", "# syntax=a"], Ok('\\'));
    }

    #[test]
    fn syntax_and_check() {
        fn check_both(text: &str, expected: (Option<&str>, Option<&str>)) {
            assert_eq!((syntax(text).as_deref(), check(text).as_deref()), expected, "{text}");
        }
        check_both("# syntax=a/b:1\n# check=skip=all\nFROM x", (Some("a/b:1"), Some("skip=all")));
        check_both("\u{feff}#syntax = a  b \r\n", (Some("a  b"), None));
        check_both("#!/bin/x\n# syntax=a\n", (Some("a"), None));
        check_both("# c\n# syntax=a\n", (None, None));
        check_both(" # syntax=a\n", (None, None));
        check_both("// syntax=a\n// check=b\n", (Some("a"), None));
        check_both("{\"syntax\": \"a\", \"check\": \"b\"}", (Some("a"), None));
        check_both("# escape=`\n# escape=`\n# syntax=a\n", (None, None));
        check_both("FROM x", (None, None));
    }
}
