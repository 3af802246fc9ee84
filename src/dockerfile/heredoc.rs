//! Heredoc redirections in a line: `<<NAME`, `<<-NAME`, `3<<"NAME"`.

use super::Heredoc;
use super::expand::{ExpandError, Lex};
use bstr::BString;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeredocError {
    #[error("the name of a heredoc cannot be read: {0}")]
    Name(#[from] ExpandError),
    #[error("the name of a heredoc reads as {0} words with its quotes, and as one without")]
    Words(usize),
}

/// The heredocs a line announces, in order, their contents still empty.
pub(super) fn in_line(line: &str) -> Result<Vec<Heredoc>, HeredocError> {
    let lex = Lex { raw_quotes: true, raw_escapes: true, keep_unset: true, ..Lex::default() };
    // A line that is no proper shell has no heredocs; what is wrong with it is the shell's to say.
    let words = lex.words(line, &|_| None).unwrap_or_default();
    let mut out = Vec::new();
    for word in words {
        out.extend(parse(&word)?);
    }
    Ok(out)
}

/// One word as a heredoc, or `None` if it is another word.
pub(super) fn parse(word: &str) -> Result<Option<Heredoc>, HeredocError> {
    let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    let (fd, rest) = word.split_at(digits);
    let Some(rest) = rest.strip_prefix("<<") else { return Ok(None) };
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.trim_start_matches(['\t', '\n', '\u{c}', '\r', ' ']);
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let lex = Lex { keep_unset: true, ..Lex::default() };
    let plain = lex.words(rest, &|_| None)?;
    let [name] = plain.as_slice() else { return Ok(None) };
    let raw = Lex { raw_quotes: true, ..lex }.words(rest, &|_| None)?;
    let [raw] = raw.as_slice() else { return Err(HeredocError::Words(raw.len())) };
    // An escape in the name does not keep variables from being expanded; only quotes do.
    let quotes = |word: &str| word.matches(['\'', '"']).count();
    Ok(Some(Heredoc {
        fd: if fd.is_empty() { 0 } else { fd.parse().unwrap_or(u64::MAX) },
        expand: quotes(raw) == quotes(name),
        name: name.clone(),
        chomp,
        content: BString::default(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        fn check(word: &str, expected: Option<(&str, u64, bool, bool)>) {
            let found = parse(word).expect("readable");
            let found = found.as_ref().map(|it| (it.name.as_str(), it.fd, it.expand, it.chomp));
            assert_eq!(found, expected, "{word}");
        }
        check("<<EOF", Some(("EOF", 0, true, false)));
        check("<<-EOF", Some(("EOF", 0, true, true)));
        check("<<'EOF'", Some(("EOF", 0, false, false)));
        check("<<-\"E O F\"", Some(("E O F", 0, false, true)));
        check("<<E'O'F", Some(("EOF", 0, false, false)));
        check("<<E\\OF", Some(("EOF", 0, true, false)));
        check("<<\\'E", Some(("'E", 0, true, false)));
        check("<<  EOF", Some(("EOF", 0, true, false)));
        check("<<- EOF", Some(("EOF", 0, true, true)));
        check("3<<EOF", Some(("EOF", 3, true, false)));
        check("99999999999999999999<<E", Some(("E", u64::MAX, true, false)));
        check("<<$A${B:-c}", Some(("${B:-c}", 0, true, false)));
        check("<<größe.x/y", Some(("größe.x/y", 0, true, false)));
        check("EOF", None);
        check("<EOF", None);
        check("<<", None);
        check("<<-", None);
        check("<<<EOF", None);
        check("<<EOF<x", None);
        check("a<<EOF", None);
        check("<<A B", None);
        check("<<''", None);
    }

    #[test]
    fn lines() {
        fn check(line: &str, expected: &[&str]) {
            let found = in_line(line).expect("readable");
            assert_eq!(found.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), expected, "{line}");
        }
        check("RUN cat <<A - <<'B C' 4<<-D", &["A", "B C", "D"]);
        check("RUN cat << EOF > x", &["EOF"]);
        check("RUN echo \"<<A\" '<<B' \\<<C", &[]);
        check("RUN it's <<A", &[]);
        check("RUN x ${a:0:1} ${b:=c} <<A", &["A"]);
        check("RUN x ${a^^} <<A", &[]);
        check("RUN cat<<A", &[]);
    }

    #[test]
    fn unreadable_names() {
        assert!(parse("<<'A").is_err());
        assert!(parse("<<${").is_err());
        assert_eq!(parse("<<''A''\"\" ").map(|it| it.is_some()), Ok(true));
    }
}
