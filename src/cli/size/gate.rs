//! Limits that an image must keep: from a TOML file, from the command line, or both.

use super::report::{Finding, Path, Report};
use super::text::percent;
use crate::cli::exit::Failure;
use crate::layers::bytes::Number;
use crate::layers::findings::{Rule as Finds, Severity};
use crate::layers::glob::Glob;
use crate::layers::{Bytes, FileTree, NodeId};
use crate::tui::text::size;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Paths that are told of what is forbidden.
const MOST_PATHS: usize = 20;

/// A report of earlier times is no larger.
const LARGEST_BASELINE: u64 = 256 << 20;

/// As the file has them; the command line has the same names. What is not set is not checked.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Limits {
    pub max_total: Option<Bytes>,
    pub max_compressed: Option<Bytes>,
    pub max_waste: Option<Bytes>,
    pub max_waste_share: Option<Percent>,
    pub max_duplicates: Option<Bytes>,
    pub max_file: Option<Bytes>,
    pub min_score: Option<Percent>,
    /// Patterns of paths that no layer may have.
    pub forbid: Vec<String>,
    /// Rules that may find nothing; hints do not count.
    #[serde(alias = "forbid-finding")]
    pub forbid_findings: Vec<Finds>,
    /// A former `--json`; a relative path in a file is relative to that file.
    pub baseline: Option<PathBuf>,
    pub max_growth: Option<Growth>,
}

/// `5`, `5 %`, `2.5%`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "Number")]
pub struct Percent(pub f64);

/// Bytes, or a share of the baseline's.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "Number")]
pub enum Growth {
    Bytes(u64),
    Percent(f64),
}

impl TryFrom<Number> for Percent {
    type Error = String;

    fn try_from(number: Number) -> Result<Percent, String> {
        number.text().parse()
    }
}

impl TryFrom<Number> for Growth {
    type Error = String;

    fn try_from(number: Number) -> Result<Growth, String> {
        number.text().parse()
    }
}

impl std::str::FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Percent, String> {
        let wrong = || format!("{text:?} is not a share: a percentage from 0 to 100, for instance 5 or \"2.5 %\"");
        let number = text.trim().trim_end_matches('%').trim_end();
        let number: f64 = number.parse().map_err(|_| wrong())?;
        if (0.0..=100.0).contains(&number) { Ok(Percent(number)) } else { Err(wrong()) }
    }
}

impl std::str::FromStr for Growth {
    type Err = String;

    fn from_str(text: &str) -> Result<Growth, String> {
        let Some(number) = text.trim().strip_suffix('%') else {
            return text.parse::<Bytes>().map(|it| Growth::Bytes(it.0));
        };
        let number: Option<f64> = number.trim_end().parse().ok().filter(|it: &f64| *it >= 0.0 && it.is_finite());
        number.map(Growth::Percent).ok_or_else(|| format!("{text:?} is not a growth: for instance 5MB or 10%"))
    }
}

impl Limits {
    pub fn parse(text: &str) -> Result<Limits, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// The limits of a file.
    pub fn read(file: &std::path::Path) -> Result<Limits, Failure> {
        let wrong = |why: String| Failure::Usage(format!("--gate {}: {}", file.display(), why.trim_end()));
        let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        let limits = Limits::parse(&text).map_err(wrong)?;
        let dir = file.parent().unwrap_or(std::path::Path::new(""));
        Ok(Limits { baseline: limits.baseline.map(|baseline| dir.join(baseline)), ..limits })
    }

    /// These, and those of `above` in their place where it has some.
    pub fn with(self, above: Limits) -> Limits {
        Limits {
            max_total: above.max_total.or(self.max_total),
            max_compressed: above.max_compressed.or(self.max_compressed),
            max_waste: above.max_waste.or(self.max_waste),
            max_waste_share: above.max_waste_share.or(self.max_waste_share),
            max_duplicates: above.max_duplicates.or(self.max_duplicates),
            max_file: above.max_file.or(self.max_file),
            min_score: above.min_score.or(self.min_score),
            forbid: [self.forbid, above.forbid].concat(),
            forbid_findings: [self.forbid_findings, above.forbid_findings].concat(),
            baseline: above.baseline.or(self.baseline),
            max_growth: above.max_growth.or(self.max_growth),
        }
    }
}

/// Limits that can be held against an image: the patterns are read, the baseline is here.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gate {
    limits: Limits,
    forbidden: Vec<Glob>,
    baseline: Option<Baseline>,
}

/// What is wanted of a former report.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Baseline {
    schema: u32,
    total_bytes: u64,
}

impl Gate {
    /// Reads what the limits name. `None` if nothing is limited.
    pub fn new(limits: Limits) -> Result<Option<Gate>, Failure> {
        if limits == Limits::default() {
            return Ok(None);
        }
        let forbidden = limits.forbid.iter().map(|text| {
            Glob::new(text).ok_or_else(|| Failure::Usage(format!("the forbidden pattern {text:?} means no path")))
        });
        let forbidden = forbidden.collect::<Result<_, _>>()?;
        let baseline = match (&limits.baseline, limits.max_growth) {
            (Some(file), Some(_)) => Some(baseline(file)?),
            (None, None) => None,
            (None, Some(_)) => {
                return Err(Failure::Usage("max-growth needs a baseline to grow from: --baseline FILE".to_owned()));
            }
            (Some(_), None) => {
                return Err(Failure::Usage(
                    "a baseline needs a limit: --max-growth, for instance 5% or 10MB".to_owned(),
                ));
            }
        };
        Ok(Some(Gate { limits, forbidden, baseline }))
    }

    pub fn check(&self, report: &Report, tree: &FileTree) -> Verdict {
        let limits = &self.limits;
        let mut rules = Vec::new();
        if !report.complete {
            rules.push(Rule {
                rule: "complete",
                limit: "every layer can be read".to_owned(),
                found: "the sums are of what could be read".to_owned(),
                passed: false,
                paths: Vec::new(),
            });
        }
        let mut at_most = |rule: &'static str, limit: Option<Bytes>, found: u64| {
            let Some(Bytes(limit)) = limit else { return };
            let (limit_text, found_text) = apart(limit, found);
            rules.push(Rule {
                rule,
                limit: format!("{limit_text} at most"),
                found: found_text,
                passed: found <= limit,
                paths: Vec::new(),
            });
        };
        at_most("max-total", limits.max_total, report.total_bytes);
        at_most("max-compressed", limits.max_compressed, report.compressed_bytes);
        at_most("max-waste", limits.max_waste, report.dead_bytes);
        at_most("max-duplicates", limits.max_duplicates, report.duplicate_bytes);
        if let Some(Bytes(limit)) = limits.max_file {
            let (bytes, paths) = match &report.largest {
                Some(file) => {
                    (file.bytes, vec![Place { path: file.path.clone(), layer: Some(file.layer), removed_by: None }])
                }
                None => (0, Vec::new()),
            };
            let (limit_text, found) = apart(limit, bytes);
            let passed = bytes <= limit;
            let paths = if passed { Vec::new() } else { paths };
            rules.push(Rule { rule: "max-file", limit: format!("{limit_text} at most"), found, passed, paths });
        }
        if let Some(Percent(limit)) = limits.max_waste_share {
            let share = if report.total_bytes == 0 { 0.0 } else { share(report.dead_bytes, report.total_bytes) };
            rules.push(Rule {
                rule: "max-waste-share",
                limit: format!("{limit} % at most"),
                found: percent(report.dead_bytes, report.total_bytes),
                passed: share <= limit,
                paths: Vec::new(),
            });
        }
        if let Some(Percent(limit)) = limits.min_score {
            let score = report.dive_score * 100.0;
            rules.push(Rule {
                rule: "min-score",
                limit: format!("{limit} % at least"),
                found: format!("{score:.1} %"),
                passed: score >= limit,
                paths: Vec::new(),
            });
        }
        if let (Some(growth), Some(baseline)) = (limits.max_growth, &self.baseline) {
            rules.push(growth_rule(growth, baseline.total_bytes, report.total_bytes));
        }
        for wanted in &limits.forbid_findings {
            let found = report.findings.iter().filter(|it| it.rule == *wanted && it.severity != Severity::Hint);
            let found: Vec<_> = found.collect();
            let places = |it: &&Finding| -> Vec<Place> {
                let place = |path: &Path| Place { path: path.clone(), layer: it.layer, removed_by: it.killed_by };
                it.examples.iter().map(place).collect()
            };
            let paths = found.iter().flat_map(places);
            rules.push(Rule {
                rule: "forbid-findings",
                limit: format!("no {}", wanted.name()),
                found: match found.iter().map(|it| it.count).sum() {
                    0 => "none".to_owned(),
                    count => format!("{count} found"),
                },
                passed: found.is_empty(),
                paths: paths.take(MOST_PATHS).collect(),
            });
        }
        if !self.forbidden.is_empty() {
            rules.extend(self.forbidden_rules(tree));
        }
        Verdict { passed: rules.iter().all(|rule| rule.passed), rules }
    }

    /// A pattern is broken by what any layer has, also if a later one takes it away: it is shipped all the same. Of
    /// a directory that is forbidden, what is in it is not told.
    fn forbidden_rules(&self, tree: &FileTree) -> Vec<Rule> {
        let mut hits: Vec<(u64, Vec<Place>)> = self.forbidden.iter().map(|_| (0, Vec::new())).collect();
        for node in tree.ever() {
            let path = tree.path(node);
            let above = path.rsplit(|byte| *byte == b'/').next().map_or(0, |name| path.len() - name.len());
            let above = bstr::BStr::new(&path[..above.saturating_sub(1)]);
            for (glob, (count, places)) in self.forbidden.iter().zip(&mut hits) {
                if glob.fits(path.as_ref()) && !glob.fits(above) {
                    *count += 1;
                    if places.len() < MOST_PATHS {
                        places.push(place_of(tree, node));
                    }
                }
            }
        }
        let rule = |(glob, (count, paths)): (&Glob, (u64, Vec<Place>))| Rule {
            rule: "forbid",
            limit: format!("no {}", glob.text()),
            found: match count {
                0 => "none".to_owned(),
                1 => "1 path".to_owned(),
                count if count > MOST_PATHS as u64 => format!("{count} paths, {MOST_PATHS} of them here"),
                count => format!("{count} paths"),
            },
            passed: count == 0,
            paths,
        };
        self.forbidden.iter().zip(hits).map(rule).collect()
    }
}

fn growth_rule(growth: Growth, before: u64, now: u64) -> Rule {
    let grown = now.saturating_sub(before);
    let limit = match growth {
        Growth::Bytes(bytes) => bytes,
        Growth::Percent(percent) => (before as f64 * percent / 100.0) as u64,
    };
    let limit_text = match growth {
        Growth::Bytes(bytes) => size(bytes),
        Growth::Percent(percent) => format!("{percent} %"),
    };
    let found = match now >= before {
        true => format!("{} more, {}", size(grown), percent(grown, before)),
        false => format!("{} less", size(before - now)),
    };
    Rule {
        rule: "max-growth",
        limit: format!("{limit_text} more than {} at most", size(before)),
        found,
        passed: grown <= limit,
        paths: Vec::new(),
    }
}

fn share(part: u64, of: u64) -> f64 {
    part as f64 * 100.0 / of as f64
}

/// Two sizes as text; in bytes where they would look the same and are not.
fn apart(limit: u64, found: u64) -> (String, String) {
    match size(limit) == size(found) && limit != found {
        true => (format!("{limit} B"), format!("{found} B")),
        false => (size(limit), size(found)),
    }
}

fn place_of(tree: &FileTree, node: NodeId) -> Place {
    let versions: Vec<_> = tree.versions(node).collect();
    let layer = versions.iter().rev().find(|it| it.meta.is_some()).map_or(0, |it| it.layer);
    let removed_by = versions.first().filter(|it| it.meta.is_none()).map(|it| it.layer);
    Place { path: Path::new(tree.path(node).as_ref()), layer: Some(layer), removed_by }
}

fn baseline(file: &std::path::Path) -> Result<Baseline, Failure> {
    let wrong = |why: String| {
        let help = "write one with: stagedive size --json IMAGE > FILE";
        Failure::Usage(format!("the baseline {}: {why}\n  help: {help}", file.display()))
    };
    let length = std::fs::metadata(file).map_err(|error| wrong(error.to_string()))?.len();
    if length > LARGEST_BASELINE {
        return Err(wrong(format!("it is larger than {}", size(LARGEST_BASELINE))));
    }
    let bytes = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    let baseline: Baseline = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    match baseline.schema == super::report::SCHEMA {
        true => Ok(baseline),
        false => Err(wrong(format!("it has schema {}, and {} is expected", baseline.schema, super::report::SCHEMA))),
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub passed: bool,
    pub rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rule {
    pub rule: &'static str,
    /// In words.
    pub limit: String,
    pub found: String,
    pub passed: bool,
    /// What breaks the rule, as far as it is paths.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<Place>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    #[serde(flatten)]
    pub path: Path,
    /// The first layer that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<u32>,
    /// The layer that took it away; it is in the image's layers all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed_by: Option<u32>,
}

impl Verdict {
    pub fn failed(&self) -> usize {
        self.rules.iter().filter(|rule| !rule.passed).count()
    }
}

impl Place {
    pub fn shown(&self) -> String {
        let path = super::text::shown(&self.path);
        let Some(layer) = self.layer else { return path };
        let removed = self.removed_by.map(|layer| format!(", removed by layer {layer}")).unwrap_or_default();
        format!("{path} (layer {layer}{removed})")
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{Files, report};
    use super::super::tests::inventory;
    use super::*;
    use crate::layers::Account;

    #[test]
    fn shares_and_growth() {
        let check = |text: &str, expected: Option<f64>| assert_eq!(text.parse().ok(), expected.map(Percent), "{text}");
        check("5", Some(5.0));
        check("2.5 %", Some(2.5));
        ["101", "-1", "nan", "x%", ""].into_iter().for_each(|text| check(text, None));
        let check = |text: &str, expected: Option<Growth>| assert_eq!(text.parse().ok(), expected, "{text}");
        check("150 %", Some(Growth::Percent(150.0)));
        check("5MB", Some(Growth::Bytes(5_000_000)));
        ["%", "-1%", "inf%", "x"].into_iter().for_each(|text| check(text, None));
    }

    #[test]
    fn the_file_says_what_the_flags_say() {
        let text = "max-total = \"200 MB\"\nmax-waste = 1000\nmax-waste-share = 2.5\nforbid = [\"*.pem\"]\n";
        let limits = Limits::parse(text).unwrap();
        assert_eq!((limits.max_total, limits.max_waste), (Some(Bytes(200_000_000)), Some(Bytes(1000))));
        let above = Limits { max_waste: Some(Bytes(7)), forbid: vec!["x".to_owned()], ..Limits::default() };
        let both = limits.with(above);
        assert_eq!((both.max_total, both.max_waste), (Some(Bytes(200_000_000)), Some(Bytes(7))));
        assert_eq!(both.forbid, ["*.pem", "x"]);
        let error = Limits::parse("max-totl = 5").unwrap_err();
        assert!(error.contains("max-totl") && error.contains("max-total"), "{error}");
        let error = Limits::parse("max-total = \"5 bananas\"").unwrap_err();
        assert!(error.contains("\"5 bananas\" is not a size"), "{error}");
    }

    /// Holds limits against an image with 100 bytes, 40 of them dead, and expects each rule's outcome.
    #[track_caller]
    fn check(limits: &str, expected: &[&str]) {
        let inventory = inventory(&[
            ("ADD a", &["a 50 1", "keys/x.pem 0", "app/.git/HEAD 10 2"]),
            ("RUN b", &["-keys/x.pem", "-app/.git", "a 20 3", "b 10 4"]),
            ("RUN c", &["b 10 4@7"]),
        ]);
        let report = report(&inventory, None, None, &Account::of(&inventory.tree), Files::Counted);
        assert_eq!((report.total_bytes, report.dead_bytes), (100, 70));
        let gate = Gate::new(Limits::parse(limits).unwrap()).unwrap().unwrap();
        let verdict = gate.check(&report, &inventory.tree);
        let shown = |rule: &Rule| {
            let outcome = if rule.passed { "pass" } else { "FAIL" };
            let paths: Vec<String> = rule.paths.iter().map(Place::shown).collect();
            let line = format!("{outcome} {}: {}, {} {}", rule.rule, rule.limit, rule.found, paths.join("; "));
            line.trim_end().to_owned()
        };
        assert_eq!(verdict.rules.iter().map(shown).collect::<Vec<_>>(), expected);
        assert_eq!(verdict.passed, expected.iter().all(|line| line.starts_with("pass")));
    }

    #[test]
    fn limits_hold_or_not() {
        check("max-total = 100", &["pass max-total: 100 B at most, 100 B"]);
        check("max-total = 99", &["FAIL max-total: 99 B at most, 100 B"]);
        check("max-waste = 69", &["FAIL max-waste: 69 B at most, 70 B"]);
        check("max-waste-share = 70", &["pass max-waste-share: 70 % at most, 70.0 %"]);
        check("max-waste-share = \"69.9 %\"", &["FAIL max-waste-share: 69.9 % at most, 70.0 %"]);
        check("max-file = 19", &["FAIL max-file: 19 B at most, 20 B a (layer 1)"]);
        check("max-file = 20", &["pass max-file: 20 B at most, 20 B"]);
        check("min-score = 99", &["FAIL min-score: 99 % at least, 30.0 %"]);
        check(
            "max-duplicates = 0\nmax-compressed = 0",
            &["pass max-compressed: 0 B at most, 0 B", "pass max-duplicates: 0 B at most, 0 B"],
        );
    }

    #[test]
    fn what_is_forbidden_is_forbidden_in_every_layer() {
        check(
            "forbid = [\"*.pem\", \".git/\", \"/b\", \"*.key\"]",
            &[
                "FAIL forbid: no *.pem, 1 path keys/x.pem (layer 0, removed by layer 1)",
                "FAIL forbid: no .git/, 1 path app/.git (layer 0, removed by layer 1)",
                "FAIL forbid: no /b, 1 path b (layer 1)",
                "pass forbid: no *.key, none",
            ],
        );
    }

    #[test]
    fn findings_can_be_forbidden() {
        let secret = ("COPY . /", &["app/.env 10 1"][..]);
        let inventory = inventory(&[secret]);
        let report = report(&inventory, None, None, &Account::of(&inventory.tree), Files::Counted);
        let limits = Limits::parse("forbid-findings = [\"secret\", \"package-lists\"]").unwrap();
        let verdict = Gate::new(limits.clone()).unwrap().unwrap().check(&report, &inventory.tree);
        let found: Vec<_> = verdict.rules.iter().map(|it| (it.limit.as_str(), it.passed)).collect();
        assert_eq!(found, [("no secret", false), ("no package-lists", true)]);
        assert_eq!(Limits::parse("forbid-finding = [\"secret\", \"package-lists\"]").unwrap(), limits);
        assert!(Limits::parse("forbid-findings = [\"nonsense\"]").unwrap_err().contains("secret"));
    }

    #[test]
    fn growth_is_measured_from_a_baseline() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("old.json");
        let limits = |growth: &str| format!("baseline = {:?}\nmax-growth = {growth}", file.display().to_string());
        std::fs::write(&file, r#"{"schema":1,"total_bytes":80,"more":[]}"#).unwrap();
        check(&limits("20"), &["pass max-growth: 20 B more than 80 B at most, 20 B more, 25.0 %"]);
        check(&limits("\"24 %\""), &["FAIL max-growth: 24 % more than 80 B at most, 20 B more, 25.0 %"]);
        std::fs::write(&file, r#"{"schema":1,"total_bytes":180}"#).unwrap();
        check(&limits("0"), &["pass max-growth: 0 B more than 180 B at most, 80 B less"]);
        let refused = |limits: &str, why: &str| match Gate::new(Limits::parse(limits).unwrap()) {
            Err(Failure::Usage(message)) => assert!(message.contains(why), "{message}"),
            other => panic!("{other:?}"),
        };
        std::fs::write(&file, r#"{"schema":9,"total_bytes":180}"#).unwrap();
        refused(&limits("0"), "it has schema 9");
        refused("baseline = \"/nowhere/x\"\nmax-growth = 1", "/nowhere/x");
        refused("max-growth = 1", "needs a baseline");
        refused("baseline = \"x\"", "needs a limit");
        refused("forbid = [\"/\"]", "means no path");
        assert_eq!(Gate::new(Limits::default()).unwrap(), None);
    }
}
