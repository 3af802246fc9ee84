//! Which known names are nearest to one that is not known: for instructions, flags, stages and paths.

/// The largest distance at which a name is offered; farther ones are rarely what was meant.
const FAR: usize = 2;

/// The name nearest to `word`, if one is near enough: at most two letters inserted, removed or replaced, without
/// regard to case. Among equals the first wins. A name equal to `word` means that spelling is not the trouble, and
/// nothing is offered.
pub fn nearest<'a>(word: &str, among: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    match ranked(word, among, FAR).first() {
        Some((0, _)) | None => None,
        Some((_, name)) => Some(name),
    }
}

/// Up to `count` names near to `word`, the nearest first. The longer the word, the more may be wrong in it: every
/// third letter.
pub fn nearest_few<'a>(word: &str, among: impl IntoIterator<Item = &'a str>, count: usize) -> Vec<&'a str> {
    let limit = FAR.max(word.chars().count() / 3);
    ranked(word, among, limit).into_iter().take(count).map(|(_, name)| name).collect()
}

/// How many letters must be inserted, removed or replaced to make `b` of `a`; `None` if more than `limit`.
pub fn distance(a: &str, b: &str, limit: usize) -> Option<usize> {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    if a.len().abs_diff(b.len()) > limit {
        return None;
    }
    // One row of the table: the distance of what was read of `a` to each beginning of `b`.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (read, &from) in a.iter().enumerate() {
        let mut diagonal = read;
        let mut left = read + 1;
        let mut least = left;
        for (to, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = *cell;
            left = replaced.min(left + 1).min(diagonal + 1);
            *cell = left;
            least = least.min(left);
        }
        if let Some(first) = row.first_mut() {
            *first = read + 1;
        }
        if least > limit {
            return None;
        }
    }
    row.last().copied().filter(|it| *it <= limit)
}

fn ranked<'a>(word: &str, among: impl IntoIterator<Item = &'a str>, limit: usize) -> Vec<(usize, &'a str)> {
    let word = word.to_lowercase();
    let mut found: Vec<(usize, &str)> =
        among.into_iter().filter_map(|name| Some((distance(&word, &name.to_lowercase(), limit)?, name))).collect();
    found.sort_by_key(|(distance, _)| *distance);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn distances() {
        fn check(a: &str, b: &str, expected: usize) {
            assert_eq!(distance(a, b, 10), Some(expected), "{a} {b}");
        }
        check("", "", 0);
        check("", "run", 3);
        check("copy", "copy", 0);
        check("copy", "cpy", 1);
        check("kitten", "sitting", 3);
        check("ab", "ba", 2);
        check("größe", "grösse", 2);
        assert_eq!(distance("kitten", "sitting", 2), None);
    }

    #[test]
    fn offers() {
        const KEYWORDS: [&str; 5] = ["ADD", "COPY", "ENTRYPOINT", "ENV", "RUN"];
        fn check(word: &str, expected: Option<&str>) {
            assert_eq!(nearest(word, KEYWORDS), expected, "{word}");
        }
        check("COPPY", Some("COPY"));
        check("rum", Some("RUN"));
        check("ENTRYPIONT", Some("ENTRYPOINT"));
        check("RUN", None);
        check("BOGUS", None);
        check("", None);
    }

    #[test]
    fn several_offers_come_in_order() {
        let paths = ["src/main.rs", "src/min.rs", "src/mian.rs", "docs/index.md"];
        assert_eq!(nearest_few("src/main.r", paths, 2), ["src/main.rs", "src/min.rs"]);
    }

    proptest! {
        #[test]
        fn distance_is_a_metric(a in "[a-c]{0,6}", b in "[a-c]{0,6}", c in "[a-c]{0,6}") {
            let d = |x: &str, y: &str| distance(x, y, usize::MAX).unwrap_or(usize::MAX);
            prop_assert_eq!(d(&a, &b), d(&b, &a));
            prop_assert_eq!(d(&a, &b) == 0, a == b);
            prop_assert!(d(&a, &c) <= d(&a, &b) + d(&b, &c));
        }

        #[test]
        fn the_limit_only_cuts(a in ".{0,8}", b in ".{0,8}", limit in 0usize..6) {
            let full = distance(&a, &b, usize::MAX);
            prop_assert_eq!(distance(&a, &b, limit), full.filter(|it| *it <= limit));
        }
    }
}
