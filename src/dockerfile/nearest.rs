//! What somebody may have meant: the closest of the words that would have been right.

/// How many letters may be wrong. The official parser's bound.
const MAX_DISTANCE: usize = 2;

/// The option closest to `word`, if one is close enough to be a typing error; the first among equals.
/// `None` if the word is one of them.
pub fn nearest<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut best: Option<(usize, &str)> = None;
    for option in options {
        // Words that differ in length by more than the bound need not be compared.
        if option.chars().count().abs_diff(word.chars().count()) > MAX_DISTANCE {
            continue;
        }
        let found = distance(word, option);
        if found == 0 {
            return None;
        }
        if found <= MAX_DISTANCE && best.is_none_or(|(distance, _)| found < distance) {
            best = Some((found, option));
        }
    }
    best.map(|(_, option)| option)
}

/// Letters to add, drop or change to make one word the other (Levenshtein), one row at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut before = i + 1;
        for (right, above) in b.iter().zip(row.iter_mut().skip(1)) {
            let change = diagonal + usize::from(left != *right);
            diagonal = *above;
            before = change.min(*above + 1).min(before + 1);
            *above = before;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(word: &str, expected: Option<&str>) {
        assert_eq!(nearest(word, ["builder", "runtime", "test", "tests"]), expected, "{word}");
    }

    #[test]
    fn typing_errors_are_found() {
        check("bulder", Some("builder"));
        check("buidler", Some("builder"));
        check("runtimes", Some("runtime"));
        check("tesst", Some("test"));
    }

    #[test]
    fn other_words_are_not() {
        check("node", None);
        check("", None);
        check("builder", None);
        check("BUILDER", None);
    }

    proptest::proptest! {
        #[test]
        fn distance_is_symmetric_and_bounded(a in ".{0,8}", b in ".{0,8}") {
            let (left, right) = (distance(&a, &b), distance(&b, &a));
            assert_eq!(left, right);
            assert!(left <= a.chars().count().max(b.chars().count()));
            assert_eq!(left == 0, a == b);
        }
    }
}
