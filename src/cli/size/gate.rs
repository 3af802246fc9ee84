//! Limits that an image must keep: from a TOML file, from the command line, or both.

use super::report::{Finding, Path, Report};
use super::text::percent;
use crate::cli::exit::Failure;
use crate::layers::account::Content;
use crate::layers::bytes::Number;
use crate::layers::findings::{Rule as Finds, Severity};
use crate::layers::glob::Glob;
use crate::layers::path::split;
use crate::layers::{Account, Bytes, FileTree, NodeId};
use crate::tui::text::size;
use bstr::BStr;
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
    /// Patterns of paths that no layer may have; those with a `!` before them except paths from it.
    pub forbid: Vec<String>,
    /// Rules that may find nothing.
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
    /// What the forbidden patterns do not mean.
    excepted: Vec<Glob>,
    baseline: Option<Baseline>,
}

/// What is wanted of a former report.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Baseline {
    schema: u32,
    complete: bool,
    platform: String,
    total_bytes: u64,
}

impl Gate {
    /// Reads what the limits name. `None` if nothing is limited.
    pub fn new(limits: Limits) -> Result<Option<Gate>, Failure> {
        if limits == Limits::default() {
            return Ok(None);
        }
        let (excepted, forbidden): (Vec<&String>, Vec<&String>) =
            limits.forbid.iter().partition(|text| text.starts_with('!'));
        let forbidden = forbidden.into_iter().map(|text| pattern(text)).collect::<Result<Vec<_>, _>>()?;
        let excepted = excepted.into_iter().map(|text| pattern(&text[1..])).collect::<Result<Vec<_>, _>>()?;
        if forbidden.is_empty() && !excepted.is_empty() {
            return Err(Failure::Usage(format!(
                "{:?} is an exception, and nothing is forbidden that it could be from",
                limits.forbid[0]
            )));
        }
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
        Ok(Some(Gate { limits, forbidden, excepted, baseline }))
    }

    pub fn check(&self, report: &Report, tree: &FileTree, account: &Account) -> Verdict {
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
        if let Some(limit) = limits.max_file {
            rules.push(file_rule(limit, report, tree, account));
        }
        if let Some(Percent(limit)) = limits.max_waste_share {
            let found = share(report.dead_bytes, report.total_bytes);
            rules.push(Rule {
                rule: "max-waste-share",
                limit: format!("{limit} % at most"),
                found: percent_apart(limit, found),
                passed: found <= limit,
                paths: Vec::new(),
            });
        }
        if let Some(Percent(limit)) = limits.min_score {
            let score = report.dive_score * 100.0;
            rules.push(Rule {
                rule: "min-score",
                limit: format!("{limit} % at least"),
                found: percent_apart(limit, score),
                passed: score >= limit,
                paths: Vec::new(),
            });
        }
        if let (Some(growth), Some(baseline)) = (limits.max_growth, &self.baseline) {
            rules.push(growth_rule(growth, baseline, report));
        }
        rules.extend(limits.forbid_findings.iter().map(|wanted| finding_rule(*wanted, report)));
        if !self.forbidden.is_empty() {
            rules.extend(self.forbidden_rules(tree));
        }
        Verdict { passed: rules.iter().all(|rule| rule.passed), rules }
    }

    /// A pattern is broken by what any layer has, also if a later one takes it away: it is shipped all the same. Of
    /// a directory that is forbidden, what is in it is not told.
    fn forbidden_rules(&self, tree: &FileTree) -> Vec<Rule> {
        let mut hits: Vec<(u64, Vec<Place>)> = self.forbidden.iter().map(|_| (0, Vec::new())).collect();
        let excepted = |path: &BStr| self.excepted.iter().any(|glob| glob.fits(path));
        for node in tree.ever() {
            let path = tree.path(node);
            if excepted(path.as_ref()) {
                continue;
            }
            let above = split(path.as_ref()).0;
            for (glob, (count, places)) in self.forbidden.iter().zip(&mut hits) {
                if glob.fits(path.as_ref()) && !glob.fits(above) {
                    *count += 1;
                    if places.len() < MOST_PATHS {
                        places.push(place_of(tree, node));
                    }
                }
            }
        }
        let exceptions: Vec<&str> = self.excepted.iter().map(Glob::text).collect();
        let exceptions = match exceptions.as_slice() {
            [] => String::new(),
            some => format!(", except {}", some.join(", ")),
        };
        let rule = |(glob, (count, paths)): (&Glob, (u64, Vec<Place>))| Rule {
            rule: "forbid",
            limit: format!("no {}{exceptions}", glob.text()),
            found: paths_found(count),
            passed: count == 0,
            paths,
        };
        self.forbidden.iter().zip(hits).map(rule).collect()
    }
}

/// A pattern of the gate's. One that looks like more than it is would let everything pass, and nobody would notice.
fn pattern(text: &str) -> Result<Glob, Failure> {
    let wrong = |why: &str| Failure::Usage(format!("the forbidden pattern {text:?} {why}"));
    let glob = Glob::new(text).ok_or_else(|| wrong("means no path"))?;
    if text.split('/').any(|name| name == "..") {
        return Err(wrong("means no path: there is nothing above the root, and no \"..\" in an image"));
    }
    let braces = text.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?.0)));
    if braces.is_some_and(|(before, within)| within.contains(',') && !before.ends_with('\\')) {
        return Err(wrong("has braces, which mean themselves: give one pattern for each"));
    }
    Ok(glob)
}

fn growth_rule(growth: Growth, baseline: &Baseline, report: &Report) -> Rule {
    let (before, now) = (baseline.total_bytes, report.total_bytes);
    let grown = now.saturating_sub(before);
    let by = percent(grown, before);
    let (limit, grown_text, passed) = match growth {
        Growth::Bytes(bytes) => {
            let (limit, found) = apart(bytes, grown);
            (limit, format!("{found} more, {by}"), grown <= bytes)
        }
        // Of nothing, every share is nothing.
        Growth::Percent(limit) => {
            let found = share(grown, before);
            let by = if before == 0 { by } else { percent_apart(limit, found) };
            (format!("{limit} %"), format!("{} more, {by}", size(grown)), grown == 0 || before > 0 && found <= limit)
        }
    };
    let found = if now >= before { grown_text } else { format!("{} less", size(before - now)) };
    let other = Some(&baseline.platform).filter(|platform| **platform != report.platform);
    let other = other.map(|platform| format!("; the baseline is of {platform}")).unwrap_or_default();
    Rule {
        rule: "max-growth",
        limit: format!("{limit} more than {} at most", size(before)),
        found: format!("{found}{other}"),
        passed,
        paths: Vec::new(),
    }
}

/// What a rule found. What is the base image's or may be an example does not count; what may be meant does: here it is
/// said that it is not.
fn finding_rule(wanted: Finds, report: &Report) -> Rule {
    let base = report.base.as_ref().and_then(|base| base.layers).unwrap_or(0) as u32;
    let is_own = |it: &Finding| it.layer.is_none_or(|layer| layer >= base);
    let counts = |it: &&Finding| it.severity != Severity::Hint || wanted.may_be_meant() && is_own(it);
    let found: Vec<&Finding> = report.findings.iter().filter(|it| it.rule == wanted).filter(counts).collect();
    let places = |it: &&Finding| -> Vec<Place> {
        let place = |path: &Path| Place { path: path.clone(), bytes: None, layer: it.layer, removed_by: it.killed_by };
        it.examples.iter().map(place).collect()
    };
    Rule {
        rule: "forbid-findings",
        limit: format!("no {}", wanted.name()),
        found: match found.iter().map(|it| it.count).fold(0, u64::saturating_add) {
            0 => "none".to_owned(),
            count => format!("{count} found"),
        },
        passed: found.is_empty(),
        paths: found.iter().flat_map(places).take(MOST_PATHS).collect(),
    }
}

/// The files that a container sees, the largest first as far as they are told.
fn file_rule(Bytes(limit): Bytes, report: &Report, tree: &FileTree, account: &Account) -> Rule {
    let live = account.contents().filter(|it| it.dead.is_none());
    let mut beyond: Vec<Content> = live.filter(|it| it.bytes > limit).collect();
    beyond.sort_by_key(|it| (std::cmp::Reverse(it.bytes), it.node));
    let (limit_text, found) = apart(limit, report.largest.as_ref().map_or(0, |it| it.bytes));
    let place = |it: &Content| Place {
        path: Path::new(tree.path(it.node).as_ref()),
        bytes: Some(it.bytes),
        layer: Some(it.wrote),
        removed_by: None,
    };
    Rule {
        rule: "max-file",
        limit: format!("{limit_text} at most"),
        found: match beyond.len() as u64 {
            0 | 1 => found,
            count => format!("{found}, {}", paths_found(count)),
        },
        passed: beyond.is_empty(),
        paths: beyond.iter().take(MOST_PATHS).map(place).collect(),
    }
}

fn paths_found(count: u64) -> String {
    match count {
        0 => "none".to_owned(),
        1 => "1 path".to_owned(),
        count if count > MOST_PATHS as u64 => format!("{count} paths, {MOST_PATHS} of them here"),
        count => format!("{count} paths"),
    }
}

/// In percent; of nothing it is nothing.
fn share(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 * 100.0 / of as f64 }
}

/// A share as text, with as many digits as it takes to look different from a limit that it is different from.
fn percent_apart(limit: f64, found: f64) -> String {
    let shown = (1..=6).map(|digits| format!("{found:.digits$}"));
    let is_apart = |shown: &String| limit == found || shown.parse::<f64>().is_ok_and(|it| it != limit);
    format!("{} %", shown.into_iter().find(is_apart).unwrap_or_else(|| found.to_string()))
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
    Place { path: Path::new(tree.path(node).as_ref()), bytes: None, layer: Some(layer), removed_by }
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
    if baseline.schema != super::report::SCHEMA {
        return Err(wrong(format!("it has schema {}, and {} is expected", baseline.schema, super::report::SCHEMA)));
    }
    if !baseline.complete {
        return Err(wrong("it is of an image that could not be read in full".to_owned()));
    }
    Ok(baseline)
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
    /// Of a file that is too large.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
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
        let parts = [
            self.bytes.map(size),
            self.layer.map(|layer| format!("layer {layer}")),
            self.removed_by.map(|layer| format!("removed by layer {layer}")),
        ];
        let known: Vec<String> = parts.into_iter().flatten().collect();
        if known.is_empty() { path } else { format!("{path} ({})", known.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::blame::report::BaseImage;
    use super::super::report::{Files, report};
    use super::super::tests::inventory;
    use super::*;

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
        let error = Limits::parse("max-total = true").unwrap_err();
        assert!(error.contains("expected a number, or a text"), "{error}");
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
        let account = Account::of(&inventory.tree);
        let report = report(&inventory, None, None, &account, Files::Counted);
        assert_eq!((report.total_bytes, report.dead_bytes), (100, 70));
        let gate = Gate::new(Limits::parse(limits).unwrap()).unwrap().unwrap();
        let verdict = gate.check(&report, &inventory.tree, &account);
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
        check("max-file = 19", &["FAIL max-file: 19 B at most, 20 B a (20 B, layer 1)"]);
        check("max-file = 9", &["FAIL max-file: 9 B at most, 20 B, 2 paths a (20 B, layer 1); b (10 B, layer 2)"]);
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
    fn what_is_forbidden_has_exceptions() {
        check(
            "forbid = [\"!keys/\", \"*.pem\", \"a\"]",
            &["pass forbid: no *.pem, except keys/, none", "FAIL forbid: no a, except keys/, 1 path a (layer 0)"],
        );
        // Of a directory that is forbidden itself, what is in it is not told one by one.
        check(
            "forbid = [\"app/**\", \"!app/.git/HEAD\"]",
            &["FAIL forbid: no app/**, except app/.git/HEAD, 1 path app/.git (layer 0, removed by layer 1)"],
        );
    }

    #[test]
    fn what_would_let_everything_pass_is_refused() {
        let check = |forbid: &str, why: &str| match Gate::new(Limits {
            forbid: vec![forbid.to_owned()],
            ..Limits::default()
        }) {
            Err(Failure::Usage(message)) => assert!(!why.is_empty() && message.contains(why), "{message}"),
            other => assert!(other.is_ok() && why.is_empty(), "{forbid}: {other:?}"),
        };
        check("/", "means no path");
        check("../x", "means no path");
        check("*.{pem,key}", "has braces");
        check("!*.pem", "is an exception");
        check("a{b}", "");
        check("\\{a,b}", "");
        check("[{]a,b}", "has braces");
    }

    #[test]
    fn what_differs_looks_different() {
        let check = |limit: f64, found: f64, expected: &str| assert_eq!(percent_apart(limit, found), expected);
        check(5.0, 4.96, "4.96 %");
        check(5.0, 5.0004, "5.0004 %");
        check(5.0, 5.0, "5.0 %");
        check(5.0, 70.25, "70.2 %");
        check(5.0, 5.000_000_1, "5.0000001 %");
    }

    #[test]
    fn findings_can_be_forbidden() {
        let secret = ("COPY . /", &["app/.env 10 1", "usr/local/go/bin/go 200000 2"][..]);
        let inventory = inventory(&[secret]);
        let account = Account::of(&inventory.tree);
        let report = report(&inventory, None, None, &account, Files::Counted);
        let limits = Limits::parse("forbid-findings = [\"secret\", \"package-lists\", \"build-tools\"]").unwrap();
        let verdict = Gate::new(limits.clone()).unwrap().unwrap().check(&report, &inventory.tree, &account);
        let found: Vec<_> = verdict.rules.iter().map(|it| (it.limit.as_str(), it.passed)).collect();
        assert_eq!(found, [("no secret", false), ("no package-lists", true), ("no build-tools", false)]);
        let base = Some(BaseImage { name: "golang".to_owned(), layers: Some(1) });
        let of_the_base = super::super::report::report(&inventory, None, base, &account, Files::Counted);
        let verdict = Gate::new(limits.clone()).unwrap().unwrap().check(&of_the_base, &inventory.tree, &account);
        assert_eq!(verdict.rules.iter().map(|it| it.passed).collect::<Vec<_>>(), [true, true, true]);
        let singular = Limits::parse("forbid-finding = [\"secret\", \"package-lists\", \"build-tools\"]");
        assert_eq!(singular.unwrap(), limits);
        assert!(Limits::parse("forbid-findings = [\"nonsense\"]").unwrap_err().contains("secret"));
    }

    #[test]
    fn growth_is_measured_from_a_baseline() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("old.json");
        let limits = |growth: &str| format!("baseline = {:?}\nmax-growth = {growth}", file.display().to_string());
        std::fs::write(&file, r#"{"schema":1,"complete":true,"platform":"linux/amd64","total_bytes":80,"more":[]}"#)
            .unwrap();
        check(&limits("20"), &["pass max-growth: 20 B more than 80 B at most, 20 B more, 25.0 %"]);
        check(&limits("\"24 %\""), &["FAIL max-growth: 24 % more than 80 B at most, 20 B more, 25.0 %"]);
        check(&limits("\"24.96 %\""), &["FAIL max-growth: 24.96 % more than 80 B at most, 20 B more, 25.0 %"]);
        std::fs::write(&file, r#"{"schema":1,"complete":true,"platform":"linux/amd64","total_bytes":0}"#).unwrap();
        check(&limits("\"500 %\""), &["FAIL max-growth: 500 % more than 0 B at most, 100 B more, –"]);
        std::fs::write(&file, r#"{"schema":1,"complete":true,"platform":"linux/amd64","total_bytes":180}"#).unwrap();
        check(&limits("0"), &["pass max-growth: 0 B more than 180 B at most, 80 B less"]);
        std::fs::write(&file, r#"{"schema":1,"complete":true,"platform":"linux/arm","total_bytes":180}"#).unwrap();
        let other = "80 B less; the baseline is of linux/arm";
        check(&limits("0"), &[&format!("pass max-growth: 0 B more than 180 B at most, {other}")]);
        let refused = |limits: &str, why: &str| match Gate::new(Limits::parse(limits).unwrap()) {
            Err(Failure::Usage(message)) => assert!(message.contains(why), "{message}"),
            other => panic!("{other:?}"),
        };
        std::fs::write(&file, r#"{"schema":9,"complete":true,"platform":"","total_bytes":180}"#).unwrap();
        refused(&limits("0"), "it has schema 9");
        refused("baseline = \"/nowhere/x\"\nmax-growth = 1", "/nowhere/x");
        refused("max-growth = 1", "needs a baseline");
        refused("baseline = \"x\"", "needs a limit");
        std::fs::write(&file, r#"{"schema":1,"complete":false,"platform":"","total_bytes":180}"#).unwrap();
        refused(&limits("0"), "could not be read in full");
        assert_eq!(Gate::new(Limits::default()).unwrap(), None);
    }
}
