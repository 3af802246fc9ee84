//! `.dockerignore`, and the patterns of `COPY --exclude`, which follow the same rules but are not cleaned of a
//! leading `/`.
//!
//! The last pattern that matches a path decides, `!` takes it back in, and what holds for a directory holds below
//! it. There are two official readings of the last part. The walk that sends the context hands each directory's
//! [`Verdict`] to its entries and does not try a pattern where it could change nothing: that decides what a build
//! contains, and [`Ignore::child`] does the same. A path asked for alone is held, it and its parents, against every
//! pattern: [`Ignore::is_ignored`]. They differ where an exception names a directory that was not ignored, as with
//! `**/b` followed by `!a`: the walk drops `a/b`, the whole path is kept.

use super::pattern::Pattern;
use super::wildcard::Wildcard;

pub use super::wildcard::{BadPattern, wildcard_match};

/// The longest line that the official reader takes, in bytes.
const MAX_LINE: usize = 64 * 1024 - 1;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {pattern:?}: {problem}")]
pub struct IgnoreError {
    /// Counted from 1; for patterns that are not from a file, their position.
    pub line: u32,
    pub pattern: String,
    pub problem: String,
}

/// A list of patterns, compiled. One that makes no sense is an error only where it is tried.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    line: u32,
    /// Begins with `!`.
    exception: bool,
    /// Cleaned, and without its `!`.
    text: String,
    pattern: Result<Pattern, IgnoreError>,
}

impl Rule {
    fn matches(&self, path: &str) -> bool {
        self.pattern.as_ref().is_ok_and(|pattern| pattern.matches(path))
    }

    fn is_everything(&self) -> bool {
        !self.exception && matches!(self.text.as_str(), "*" | "**" | "**/*")
    }
}

/// What the patterns say of one path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    pub ignored: bool,
    /// The line of the pattern that decided; `None` if no pattern matched.
    pub line: Option<u32>,
    /// The rules that match the path or one of its parents, one bit each.
    matched: Vec<u64>,
}

impl Ignore {
    /// Reads the text of a `.dockerignore`.
    pub fn parse(text: &str) -> Result<Ignore, IgnoreError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut rules = Vec::new();
        for (index, written) in text.lines().enumerate() {
            let line = number(index);
            if written.len() > MAX_LINE {
                let pattern = written.chars().take(40).collect();
                return Err(IgnoreError { line, pattern, problem: format!("longer than {MAX_LINE} bytes") });
            }
            if written.starts_with('#') {
                continue;
            }
            let (exception, pattern) = match written.trim().strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, written.trim()),
            };
            if pattern.is_empty() && !exception {
                continue;
            }
            let pattern = if pattern.is_empty() { String::new() } else { clean(pattern) };
            let pattern = match pattern.strip_prefix('/') {
                Some(rest) if !rest.is_empty() => rest,
                _ => &pattern,
            };
            let pattern = if exception { format!("!{pattern}") } else { pattern.to_owned() };
            rules.extend(rule(&pattern, line, written)?);
        }
        Ok(Ignore { rules })
    }

    /// Takes patterns as `COPY --exclude` gives them.
    pub fn from_patterns<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Ignore, IgnoreError> {
        let mut rules = Vec::new();
        for (index, pattern) in patterns.into_iter().enumerate() {
            rules.extend(rule(pattern, number(index), pattern)?);
        }
        Ignore { rules }.usable()
    }

    /// The list, if every pattern that a walk may try makes sense.
    pub fn usable(self) -> Result<Ignore, IgnoreError> {
        for (index, rule) in self.rules.iter().enumerate() {
            if let Err(error) = &rule.pattern
                && !is_never_tried(rule.exception, &self.rules[..index])
            {
                return Err(error.clone());
            }
        }
        Ok(self)
    }

    /// A list that ignores all but what the pattern of `COPY --parents` matches. An empty one, which `.` is too,
    /// matches nothing.
    pub fn all_but(pattern: &str) -> Result<Ignore, IgnoreError> {
        let exception = (!pattern.is_empty()).then(|| format!("!{pattern}"));
        Ignore::from_patterns(std::iter::once("**").chain(exception.as_deref()))
    }

    /// Whether there is nothing to ignore.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a pattern takes something back in.
    pub fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|rule| rule.exception)
    }

    /// Whether one of its patterns stands for everything at the top: `*`, `**` or `**/*`.
    pub fn excludes_everything(&self) -> bool {
        self.rules.iter().any(Rule::is_everything)
    }

    /// The verdict on an entry, from its whole path (relative, `/` between names) and the verdict on its directory;
    /// `Verdict::default()` for what lies at the top.
    pub fn child(&self, parent: &Verdict, path: &str) -> Verdict {
        let mut verdict = Verdict { ignored: false, line: None, matched: vec![0; self.rules.len().div_ceil(64)] };
        for (index, rule) in self.rules.iter().enumerate() {
            let (word, bit) = (index / 64, 1u64 << (index % 64));
            let inherited = parent.matched.get(word).is_some_and(|it| it & bit != 0);
            // Where it could change nothing it is not tried, and so not inherited either.
            if !inherited && (rule.exception != verdict.ignored || !rule.matches(path)) {
                continue;
            }
            if let Some(word) = verdict.matched.get_mut(word) {
                *word |= bit;
            }
            verdict.ignored = !rule.exception;
            verdict.line = Some(rule.line);
        }
        verdict
    }

    /// The verdict on a path as a walk comes to it, by way of all its parents.
    pub fn verdict(&self, path: &str) -> Verdict {
        with_parents(path).fold(Verdict::default(), |parent, path| self.child(&parent, path))
    }

    /// Whether a path is ignored, asked for alone. The error is that of the first pattern that makes no sense and is
    /// tried.
    pub fn is_ignored(&self, path: &str) -> Result<bool, IgnoreError> {
        let mut ignored = false;
        for rule in &self.rules {
            if rule.exception != ignored {
                continue;
            }
            let pattern = rule.pattern.as_ref().map_err(IgnoreError::clone)?;
            ignored ^= with_parents(path).any(|it| pattern.matches(it));
        }
        Ok(ignored)
    }

    /// The line of the pattern that decided about this path in a walk, for or against it.
    pub fn matched_line(&self, path: &str) -> Option<u32> {
        self.verdict(path).line
    }

    /// Whether a walk must look into this directory: it is not ignored, or an exception may match below it.
    pub fn may_descend(&self, directory: &str) -> bool {
        self.descends(&self.verdict(directory), directory)
    }

    /// [`Ignore::may_descend`], where the verdict on the directory is known.
    pub fn descends(&self, verdict: &Verdict, directory: &str) -> bool {
        !verdict.ignored || self.rules.iter().any(|rule| rule.exception && reaches_below(&rule.text, directory))
    }
}

/// `a`, `a/b` and `a/b/c` of `a/b/c`. The parents of `/a` are nothing and the root.
fn with_parents(path: &str) -> impl Iterator<Item = &str> {
    let root = (path.rfind('/') == Some(0)).then_some(1);
    let ends = path.match_indices('/').map(|(at, _)| at).chain(root).chain([path.len()]);
    ends.map(move |end| path.get(..end).unwrap_or(path))
}

/// Whether a pattern may match something below a directory that it does not match itself.
fn reaches_below(pattern: &str, directory: &str) -> bool {
    let mut names = directory.split('/');
    for part in pattern.split('/') {
        let Some(name) = names.next() else { return true };
        if part.contains(['*', '?', '[', ']', '\\', '^']) {
            return true;
        }
        if part != name {
            return false;
        }
    }
    false
}

/// Reads one pattern.
fn rule(pattern: &str, line: u32, written: &str) -> Result<Option<Rule>, IgnoreError> {
    let error = |problem: String| IgnoreError { line, pattern: written.trim().to_owned(), problem };
    let pattern = pattern.trim();
    if pattern.is_empty() {
        return Ok(None);
    }
    let pattern = clean(pattern);
    let (exception, text) = match pattern.strip_prefix('!') {
        Some("") => return Err(error("an exception needs a pattern after its !".to_owned())),
        Some(rest) => (true, rest),
        None => (false, pattern.as_str()),
    };
    check_beginning(text).map_err(|it| error(it.problem.to_owned()))?;
    let pattern = Pattern::new(text).map_err(error);
    Ok(Some(Rule { line, exception, text: text.to_owned(), pattern }))
}

/// Before anything is matched, the official builder matches each pattern against `.` as a wildcard of file names, and
/// looks whether that is an error. Of the parts between stars that reads the first, and the second if the first is `.`.
fn check_beginning(pattern: &str) -> Result<(), BadPattern> {
    let (first, rest) = up_to_star(pattern.trim_start_matches('*'));
    if Wildcard::new(first.as_bytes())?.matches(b".") && !first.is_empty() {
        Wildcard::new(up_to_star(rest.trim_start_matches('*')).0.as_bytes())?;
    }
    Ok(())
}

/// Split before the first star that stands in no class.
fn up_to_star(pattern: &str) -> (&str, &str) {
    let mut in_class = false;
    let mut chars = pattern.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '[' => in_class = true,
            ']' => in_class = false,
            '*' if !in_class => return pattern.split_at(at),
            _ => {}
        }
    }
    (pattern, "")
}

/// A pattern is compiled when it is tried. An exception is not if nothing is ignored yet; another one is not if all is.
fn is_never_tried(exception: bool, before: &[Rule]) -> bool {
    match exception {
        true => before.iter().all(|rule| rule.exception),
        false => before.iter().rev().take_while(|rule| !rule.exception).any(Rule::is_everything),
    }
}

/// The shortest path that means the same: no `.`, no empty names, no `..` but at the beginning.
pub(super) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." if names.last().is_some_and(|last| *last != "..") => {
                names.pop();
            }
            ".." if rooted => {}
            _ => names.push(name),
        }
    }
    match (rooted, names.join("/")) {
        (true, path) => format!("/{path}"),
        (false, path) if path.is_empty() => ".".to_owned(),
        (false, path) => path,
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The paths of a line are ignored; those after `!` are not.
    fn check(text: &str, ignored: &[&str], kept: &[&str]) {
        let ignore = Ignore::parse(text).expect("good patterns");
        for (paths, expected) in [(ignored, true), (kept, false)] {
            for path in paths {
                assert_eq!(ignore.is_ignored(path), Ok(expected), "{text:?} {path}");
                assert_eq!(ignore.verdict(path).ignored, expected, "{text:?} {path}, walked to");
            }
        }
    }

    #[test]
    fn one_pattern() {
        check("", &[], &["a"]);
        check("target", &["target", "target/a", "target/a/b"], &["targets", "a/target"]);
        check("/target", &["target", "target/a"], &["a/target"]);
        check("./target/", &["target", "target/a"], &["a/target"]);
        check("a/../b", &["b"], &["a", "a/b"]);
        check("*.log", &["x.log", "x.log/y"], &["a/x.log"]);
        check("**/*.log", &["x.log", "a/x.log", "a/b/x.log"], &["x.logs"]);
        check("*/tmp", &["a/tmp", "a/tmp/b"], &["tmp", "a/b/tmp"]);
        check("*", &["a", "a/b", ".a"], &[]);
        check("/", &[], &["a"]);
        check(".", &[], &["a"]);
        check("..", &[], &["a"]);
        check("a b", &["a b"], &["a"]);
        check("größe?", &["größe1"], &["größe"]);
    }

    #[test]
    fn lines() {
        check("# comment\n\n  a  \nb\r\n", &["a", "b"], &["# comment", "c"]);
        check(" # not a comment", &["# not a comment"], &[" # not a comment"]);
        check("\u{feff}a", &["a"], &["\u{feff}a"]);
        check("\\#a", &["#a"], &["a"]);
    }

    #[test]
    fn exceptions() {
        check("*\n!a", &["b", "b/a"], &["a", "a/b"]);
        check("*\n! /a/", &["b"], &["a", "a/b"]);
        check("!a\n*", &["a", "b"], &[]);
        check("a\n!a/b\na/b/c", &["a", "a/x", "a/b/c", "a/b/c/d"], &["a/b", "a/b/x"]);
        check("**\n!src/**\n**/*.tmp", &["x", "src", "src/a.tmp"], &["src/a", "src/a/b"]);
        check("*.md\n!README*.md\nREADME-secret.md", &["a.md", "README-secret.md"], &["README.md", "README-x.md"]);
    }

    #[test]
    fn a_walk_does_not_inherit_what_it_did_not_try() {
        fn check(text: &str, path: &str, walked: bool, alone: bool) {
            let ignore = Ignore::parse(text).expect("good patterns");
            assert_eq!((ignore.verdict(path).ignored, ignore.is_ignored(path)), (walked, Ok(alone)), "{text:?} {path}");
        }
        check("**/b\n!a", "a/b", true, false);
        check("a\n!a/b\na", "a/b", false, true);
        check("a\n!a/b\na", "a/c", true, true);
    }

    #[test]
    fn the_deciding_line() {
        fn check(path: &str, expected: Option<u32>) {
            let ignore = Ignore::parse("# all\n*\n!src\nsrc/*.tmp\n").expect("good patterns");
            assert_eq!(ignore.matched_line(path), expected, "{path}");
        }
        check("a", Some(2));
        check("src/a", Some(3));
        check("src/a.tmp", Some(4));
        assert_eq!(Ignore::parse("b").expect("good").matched_line("a"), None);
    }

    #[test]
    fn malformed() {
        fn check(text: &str, line: u32, problem: &str) {
            let error = Ignore::parse(text).and_then(Ignore::usable).expect_err("malformed patterns");
            assert!(error.line == line && error.problem.contains(problem), "{error}");
        }
        check("a\n!", 2, "needs a pattern");
        check("!  ", 1, "needs a pattern");
        check("!/", 1, "needs a pattern");
        check("!/a/..", 1, "needs a pattern");
        check("a\nb\n[a", 3, "no ]");
        check("a\\", 1, "follows the last");
        check("[z-a]", 1, "upside down");
        check(&"x".repeat(70_000), 1, "longer than");
    }

    /// The official builder reads no further than it must.
    #[test]
    fn malformed_where_nobody_looks() {
        check("a*[-b]", &["ab", "ax-"], &["ac"]);
        check("![z-a]\nb", &["b"], &["a"]);
        check("*\nb\n[z-a]", &["a"], &[]);
        let usable = |text: &str| Ignore::parse(text).and_then(Ignore::usable).is_ok();
        assert!(usable("![z-a]\nb") && usable("*\nb\n[z-a]") && !usable("a\n[z-a]"));
        let ignore = Ignore::parse("a\n[z-a]").expect("nothing wrong at the beginning");
        assert!(ignore.is_ignored("a/b") == Ok(true) && ignore.is_ignored("b").is_err());
    }

    #[test]
    fn the_root() {
        let ignore = Ignore::parse("/").expect("a good pattern");
        assert!(ignore.is_ignored("/a") == Ok(true) && ignore.is_ignored("/a/b") == Ok(false));
    }

    #[test]
    fn directories_to_look_into() {
        fn check(text: &str, directory: &str, expected: bool) {
            let ignore = Ignore::parse(text).expect("good patterns");
            assert_eq!(ignore.may_descend(directory), expected, "{text:?} {directory}");
        }
        check("a", "b", true);
        check("a", "a", false);
        check("a", "a/b", false);
        check("*\n!a/b/c", "a", true);
        check("*\n!a/b/c", "a/b", true);
        check("*\n!a/b/c", "a/x", false);
        check("*\n!a/b/c", "x", false);
        check("*\n!**/c", "x", true);
        check("*\n!a/*/c", "a/x", true);
        check("*\n!a/*/c", "b", false);
        check("*\n!a*", "b", true);
    }

    #[test]
    fn patterns_of_exclude() {
        let exclude = Ignore::from_patterns(["*.txt", "!keep.txt"]).expect("good patterns");
        assert!(exclude.is_ignored("a.txt") == Ok(true) && exclude.is_ignored("keep.txt") == Ok(false));
        assert_eq!(Ignore::from_patterns(["/a"]).expect("good").is_ignored("a"), Ok(false));
    }

    #[test]
    fn clean_paths() {
        fn check(path: &str, expected: &str) {
            assert_eq!(clean(path), expected);
        }
        check("", ".");
        check("a//b/./c/", "a/b/c");
        check("a/../..", "..");
        check("../a", "../a");
        check("/../a", "/a");
        check("/", "/");
        check("a/..", ".");
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "([!/*?a-c.\\[\\]\\\\#^ -]{0,8}\n){0,6}", path in "[a-c./]{0,10}") {
            if let Ok(ignore) = Ignore::parse(&text) {
                ignore.verdict(&path);
                ignore.may_descend(&path);
            }
        }

        /// What a walk skips must hold nothing that is kept.
        #[test]
        fn nothing_kept_lies_where_no_walk_goes(text in "(!?[abc*?]{1,2}(/[abc*]{1,2}){0,2}\n){1,5}", path in "[abc](/[abc]){0,3}") {
            let ignore = Ignore::parse(&text).expect("good patterns");
            if !ignore.verdict(&path).ignored {
                for (at, _) in path.match_indices('/') {
                    prop_assert!(ignore.may_descend(&path[..at]), "{:?} {} {}", text, path, &path[..at]);
                }
            }
        }
    }
}
