//! Heredoc redirections in a line: `<<NAME`, `<<-NAME`, `3<<"NAME"`.

use super::Heredoc;
use super::expand::Lex;

/// The heredocs a line announces, in order, their contents still empty.
pub(super) fn in_line(line: &str) -> Result<Vec<Heredoc>, String> {
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
pub(super) fn parse(word: &str) -> Result<Option<Heredoc>, String> {
    let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    let (fd, rest) = word.split_at(digits);
    let Some(rest) = rest.strip_prefix("<<") else { return Ok(None) };
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let lex = Lex { keep_unset: true, ..Lex::default() };
    let plain = lex.words(rest, &|_| None).map_err(|error| error.to_string())?;
    let raw = Lex { raw_quotes: true, raw_escapes: true, ..lex };
    let raw = raw.words(rest, &|_| None).map_err(|error| error.to_string())?;
    let ([name], [raw]) = (plain.as_slice(), raw.as_slice()) else { return Ok(None) };
    Ok(Some(Heredoc {
        name: name.clone(),
        fd: fd.parse().unwrap_or(0),
        expand: raw == name,
        chomp,
        content: String::new(),
    }))
}
