//! The value of `# check=`: which rules are skipped, and whether findings are errors.

use crate::dockerfile::directives;
use crate::dockerfile::fields::boolean;

/// The rules that count only where they are asked for.
const EXPERIMENTAL: [&str; 1] = ["InvalidDefinitionDescription"];

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Options {
    skip_all: bool,
    skip: Vec<String>,
    experimental_all: bool,
    experimental: Vec<String>,
    pub(super) error: bool,
}

impl Options {
    /// Reads the value of a directive: what stands after a blank is no part of it.
    pub(super) fn directive(text: &str) -> Result<Options, String> {
        Options::parse(text.split(' ').next().unwrap_or_default())
    }

    /// Reads `skip=A,B;experimental=C;error=true`, in any order.
    pub(super) fn parse(text: &str) -> Result<Options, String> {
        let mut out = Options::default();
        let text = text.trim();
        if text.is_empty() {
            return Ok(out);
        }
        for part in text.splitn(3, ';') {
            let Some((name, value)) = part.split_once('=') else { return Err(format!("{part:?} is no check option")) };
            let value = value.trim();
            let rules = || value.split(',').map(|it| it.trim().to_owned()).collect();
            match name.trim() {
                "skip" if value == "all" => out.skip_all = true,
                "skip" => out.skip = rules(),
                "experimental" if value == "all" => out.experimental_all = true,
                "experimental" => out.experimental = rules(),
                "error" => {
                    out.error = boolean(value).ok_or_else(|| format!("error={value} is neither true nor false"))?
                }
                name => {
                    return Err(format!("there is no check option {name:?}: they are skip, experimental and error"));
                }
            }
        }
        Ok(out)
    }

    /// With what a `check=` comment before an instruction adds. Only the first one counts, and none that cannot be
    /// read.
    pub(super) fn with_comments(&self, comments: &[&str]) -> Options {
        let mut directives = comments.iter().filter_map(|comment| directives::directive(comment, ""));
        let check = directives.find(|(name, _)| name.eq_ignore_ascii_case("check"));
        let Some(Ok(mut more)) = check.map(|(_, value)| Options::directive(value)) else { return self.clone() };
        let mut out = self.clone();
        out.skip_all |= more.skip_all;
        out.skip.append(&mut more.skip);
        out.experimental_all |= more.experimental_all;
        out.experimental.append(&mut more.experimental);
        out
    }

    pub(super) fn wants(&self, rule: &str) -> bool {
        let names = |list: &[String]| list.iter().any(|it| it == rule);
        match EXPERIMENTAL.contains(&rule) {
            true => self.experimental_all || names(&self.experimental),
            false => !self.skip_all && !names(&self.skip),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        fn check(text: &str, wanted: &[&str], unwanted: &[&str], error: bool) {
            let options = Options::parse(text).expect(text);
            assert!(wanted.iter().all(|rule| options.wants(rule)), "{text}");
            assert!(!unwanted.iter().any(|rule| options.wants(rule)), "{text}");
            assert_eq!(options.error, error, "{text}");
        }
        check("", &["A", "B"], &["InvalidDefinitionDescription"], false);
        check("skip=A", &["B"], &["A"], false);
        check("skip=A,B;error=true", &["C"], &["A", "B"], true);
        check("error=1;skip=all", &[], &["A"], true);
        check("skip=all;experimental=all", &["InvalidDefinitionDescription"], &["A"], false);
        check("experimental=InvalidDefinitionDescription", &["InvalidDefinitionDescription", "A"], &[], false);
        check("skip=A, B; error=true", &["C"], &["A", "B"], true);
        check("error=false", &["A"], &[], false);
        // Only the first two semicolons divide.
        check("skip=A;error=1;skip=B;x=y", &["A", "B"], &[], true);
    }

    #[test]
    fn a_directive_ends_at_a_blank() {
        let options = Options::directive("skip=A, B; error=true").expect("good options");
        assert!(!options.wants("A") && options.wants("B") && !options.error);
    }

    #[test]
    fn bad_options() {
        fn check(text: &str, problem: &str) {
            let found = Options::parse(text).expect_err(text);
            assert!(found.contains(problem), "{text}: {found}");
        }
        check("skip", "\"skip\" is no check option");
        check("none=A", "no check option \"none\"");
        check("error=maybe", "neither true nor false");
    }

    #[test]
    fn comments_add_to_them() {
        let options = Options::parse("skip=A").expect("good options");
        let found = options.with_comments(&["a text", "check=skip=B why", "check=skip=C"]);
        assert!(!found.wants("A") && !found.wants("B") && found.wants("C"));
        assert_eq!(options.with_comments(&["check=nonsense", "check=skip=C"]), options);
        assert_eq!(options.with_comments(&[]), options);
    }
}
