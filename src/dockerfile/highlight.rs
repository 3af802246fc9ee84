//! What each piece of a Dockerfile's text is, for views that colour it.

use super::{Dockerfile, Instruction};
use bstr::ByteSlice;
use std::ops::Range;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Token {
    /// Words, paths, blanks: whatever nothing better is known of.
    Text,
    /// An instruction's name, and `AS`, `CMD` and `NONE` where they are part of the grammar.
    Keyword,
    /// `--name=value` before the arguments.
    Flag,
    /// With its quotes.
    String,
    /// `$name`, `${name…}`.
    Variable,
    Comment,
    /// `# syntax=`, `# escape=` and `# check=` at the top.
    Directive,
    /// What joins: the continuation character, `=` of `NAME=value`, a shell's `&& | ; < >`, an array's `[ , ]`.
    Operator,
    /// A heredoc's `<<NAME`, its lines, and the line that ends it.
    Heredoc,
}

/// The tokens of every physical line, in the order of the text. A token is a range of bytes in its line; together
/// they cover it without its line end. Time is linear in the length of the text.
pub fn highlight(dockerfile: &Dockerfile) -> Vec<Vec<(Range<usize>, Token)>> {
    let lines: Vec<&str> = dockerfile.text.lines().collect();
    let mut out: Vec<Vec<(Range<usize>, Token)>> = Vec::with_capacity(lines.len());
    let mut at_top = true;
    let mut instructions = dockerfile.instructions.iter();
    let mut current = instructions.next();
    while let Some(&line) = lines.get(out.len()) {
        match current {
            Some(instruction) if instruction.lines.start as usize == out.len() + 1 => {
                let last = (instruction.lines.end as usize).clamp(out.len() + 1, lines.len());
                let owned = lines.get(out.len()..last).unwrap_or_default();
                paint_instruction(instruction, owned, dockerfile.escape, &mut out);
                at_top = false;
                current = instructions.next();
            }
            _ => {
                let text = line.trim_start_matches('\u{feff}').trim_start();
                at_top &= text.starts_with('#');
                let token = match text.starts_with('#') {
                    true if at_top && is_directive(text) => Token::Directive,
                    true => Token::Comment,
                    false => Token::Text,
                };
                out.push(whole(line, token));
            }
        }
    }
    out
}

fn whole(line: &str, token: Token) -> Vec<(Range<usize>, Token)> {
    if line.is_empty() { Vec::new() } else { vec![(0..line.len(), token)] }
}

fn is_directive(text: &str) -> bool {
    let name = text.trim_start_matches('#').split('=').next().unwrap_or_default().trim();
    text.contains('=') && ["syntax", "escape", "check"].iter().any(|it| name.eq_ignore_ascii_case(it))
}

/// Paints an instruction's lines: those of the command, then those of its heredocs.
fn paint_instruction(
    instruction: &Instruction,
    lines: &[&str],
    escape: char,
    out: &mut Vec<Vec<(Range<usize>, Token)>>,
) {
    let body: usize = instruction.heredocs.iter().map(|it| it.content.lines().count() + 1).sum();
    let (command, body) = lines.split_at(lines.len().saturating_sub(body).max(1));
    let mut state = State {
        expect: Expect::Keyword,
        keyword: instruction.keyword.as_str(),
        in_trigger: false,
        quote: None,
        brace: 0,
        heredocs: !instruction.heredocs.is_empty(),
        json: instruction.json || instruction.trigger.as_ref().is_some_and(|it| it.json),
        escape,
    };
    if let Some(trigger) = &instruction.trigger {
        state.in_trigger = true;
        state.keyword = trigger.keyword.as_str();
    }
    for (index, line) in command.iter().enumerate() {
        if index > 0 && line.trim_start().starts_with('#') {
            out.push(whole(line, Token::Comment));
        } else {
            out.push(state.line(line));
        }
    }
    out.extend(body.iter().map(|line| whole(line, Token::Heredoc)));
}

/// What the next word may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Keyword,
    /// The instruction after ONBUILD.
    Trigger,
    /// Flags, then arguments.
    Flags,
    Arguments,
}

/// What carries over from one physical line of an instruction to the next.
struct State<'a> {
    expect: Expect,
    keyword: &'a str,
    in_trigger: bool,
    /// The quote that is open.
    quote: Option<char>,
    /// How many `${` are open.
    brace: u32,
    heredocs: bool,
    json: bool,
    escape: char,
}

impl State<'_> {
    fn line(&mut self, line: &str) -> Vec<(Range<usize>, Token)> {
        let mut paint = Paint { tokens: Vec::new(), at: 0 };
        let (content, continued) = match line.trim_end().strip_suffix(self.escape) {
            Some(before) if !before.ends_with(self.escape) => (before, true),
            _ => (line, false),
        };
        let mut rest = content;
        while let Some(c) = rest.chars().next() {
            let (length, token) = if self.quote.is_none() && self.brace == 0 && c.is_whitespace() {
                (c.len_utf8(), Token::Text)
            } else {
                let starts_word = content.len() == rest.len() || paint.after_blank(content);
                self.piece(rest, c, starts_word)
            };
            // Never zero, so that the walk ends.
            let length = length.max(c.len_utf8());
            paint.push(length, token);
            rest = rest.get(length..).unwrap_or_default();
        }
        if continued {
            paint.push(self.escape.len_utf8(), Token::Operator);
        }
        paint.push(line.len().saturating_sub(paint.at), Token::Text);
        paint.tokens
    }

    /// The length and kind of what `rest`, which begins with `c`, begins with.
    fn piece(&mut self, rest: &str, c: char, starts_word: bool) -> (usize, Token) {
        let word = || rest.find(char::is_whitespace).unwrap_or(rest.len());
        match self.expect {
            Expect::Keyword => {
                self.expect = if self.in_trigger { Expect::Trigger } else { Expect::Flags };
                return (word(), Token::Keyword);
            }
            Expect::Trigger => {
                self.expect = Expect::Flags;
                return (word(), Token::Keyword);
            }
            Expect::Flags if starts_word && rest.starts_with("--") => return (word(), Token::Flag),
            Expect::Flags | Expect::Arguments => self.expect = Expect::Arguments,
        }
        if self.brace > 0 {
            return (self.variable(rest), Token::Variable);
        }
        if let Some(quote) = self.quote {
            return self.quoted(rest, quote);
        }
        let escape = self.escape;
        match c {
            _ if starts_word && self.is_keyword(&rest[..word()]) => (word(), Token::Keyword),
            _ if c == escape => {
                let next = rest[c.len_utf8()..].chars().next().map_or(0, char::len_utf8);
                (c.len_utf8() + next, Token::Text)
            }
            '"' | '\'' if self.keyword != "maintainer" => {
                self.quote = Some(c);
                (1, Token::String)
            }
            '$' => match dollar(rest) {
                Some(Dollar::Name(length)) => (length, Token::Variable),
                Some(Dollar::Brace) => {
                    self.brace = 1;
                    (2 + self.variable(&rest[2..]), Token::Variable)
                }
                None => (1, Token::Text),
            },
            '<' if self.heredocs && rest.starts_with("<<") => {
                let end = rest[2..].find([' ', '\t', ';', '|', '&', '>', '<', ')']).map_or(rest.len(), |at| at + 2);
                (end, Token::Heredoc)
            }
            '[' | ']' | ',' if self.json => (1, Token::Operator),
            '&' | '|' | ';' | '<' | '>' | '(' | ')' if self.is_shell() && !self.json => (1, Token::Operator),
            '=' if matches!(self.keyword, "env" | "label" | "arg") => (1, Token::Operator),
            _ => {
                let stop = |c: char| {
                    c == escape
                        || c.is_whitespace()
                        || matches!(c, '"' | '\'' | '$' | '[' | ']' | ',' | '=')
                        || matches!(c, '&' | '|' | ';' | '<' | '>' | '(' | ')')
                };
                let first = c.len_utf8();
                (rest[first..].find(stop).map_or(rest.len(), |at| at + first), Token::Text)
            }
        }
    }

    /// Inside of quotes: a variable, or the text up to one or up to the end of the quotes or the line.
    fn quoted(&mut self, rest: &str, quote: char) -> (usize, Token) {
        if quote == '"' {
            match dollar(rest) {
                Some(Dollar::Name(length)) => return (length, Token::Variable),
                Some(Dollar::Brace) => {
                    self.brace = 1;
                    return (2 + self.variable(&rest[2..]), Token::Variable);
                }
                None => {}
            }
        }
        let mut chars = rest.char_indices();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.quote = None;
                return (at + 1, Token::String);
            }
            if quote == '"' && c == self.escape {
                chars.next();
            } else if quote == '"' && c == '$' && at > 0 && dollar(&rest[at..]).is_some() {
                return (at, Token::String);
            }
        }
        (rest.len(), Token::String)
    }

    /// The length of a `${…` whose first brace is open, up to its end or the line's.
    fn variable(&mut self, rest: &str) -> usize {
        let mut before = ' ';
        for (at, c) in rest.char_indices() {
            match c {
                '{' if before == '$' => self.brace += 1,
                '}' => {
                    self.brace -= 1;
                    if self.brace == 0 {
                        return at + 1;
                    }
                }
                _ => {}
            }
            before = c;
        }
        rest.len()
    }

    fn is_keyword(&self, word: &str) -> bool {
        match self.keyword {
            "from" => word.eq_ignore_ascii_case("as"),
            "healthcheck" => word.eq_ignore_ascii_case("cmd") || word.eq_ignore_ascii_case("none"),
            _ => false,
        }
    }

    fn is_shell(&self) -> bool {
        matches!(self.keyword, "run" | "cmd" | "entrypoint" | "healthcheck")
    }
}

enum Dollar {
    /// `$name`, with its length.
    Name(usize),
    /// `${`.
    Brace,
}

fn dollar(text: &str) -> Option<Dollar> {
    let rest = text.strip_prefix('$')?;
    if rest.starts_with('{') {
        return Some(Dollar::Brace);
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    match rest.chars().next()? {
        c if c.is_ascii_digit() || matches!(c, '@' | '*' | '#' | '?' | '-' | '$' | '!') => Some(Dollar::Name(2)),
        _ if end > 0 => Some(Dollar::Name(1 + end)),
        _ => None,
    }
}

/// The tokens of one line as they grow; neighbours of one kind become one.
struct Paint {
    tokens: Vec<(Range<usize>, Token)>,
    at: usize,
}

impl Paint {
    fn push(&mut self, length: usize, token: Token) {
        if length == 0 {
            return;
        }
        let end = self.at + length;
        match self.tokens.last_mut() {
            Some((range, last)) if *last == token => range.end = end,
            _ => self.tokens.push((self.at..end, token)),
        }
        self.at = end;
    }

    fn after_blank(&self, line: &str) -> bool {
        line.get(..self.at).is_none_or(|it| it.ends_with(char::is_whitespace))
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use proptest::prelude::*;

    /// Writes a line as its tokens: a letter for the kind, then the text in angle brackets; blanks are left out.
    fn shown(text: &str) -> String {
        let dockerfile = parse(text.as_bytes());
        let mut out = String::new();
        for (line, tokens) in dockerfile.text.lines().zip(highlight(&dockerfile)) {
            for (range, token) in tokens {
                let text = line[range].trim();
                if !text.is_empty() {
                    out.push_str(&format!("{}‹{text}› ", &format!("{token:?}")[..1]));
                }
            }
            out.push('\n');
        }
        out
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let lines: String = shown(text).lines().map(|it| format!("{}\n", it.trim_end())).collect();
        assert_eq!(lines, expected, "{text}");
    }

    #[test]
    fn words() {
        check("FROM alpine:3 AS base\n", "K‹FROM› T‹alpine:3› K‹AS› T‹base›\n");
        check("FROM --platform=$X a\n", "K‹FROM› F‹--platform=$X› T‹a›\n");
        check("from a\n copy --from=0 /a b\n", "K‹from› T‹a›\nK‹copy› F‹--from=0› T‹/a b›\n");
        check("ENV A=1 B=\"x y\"\n", "K‹ENV› T‹A› O‹=› T‹1 B› O‹=› S‹\"x y\"›\n");
        check("MAINTAINER O'Neill\n", "K‹MAINTAINER› T‹O'Neill›\n");
        check("HEALTHCHECK --interval=1s CMD a | b\n", "K‹HEALTHCHECK› F‹--interval=1s› K‹CMD› T‹a› O‹|› T‹b›\n");
        check("ONBUILD COPY --chown=1 a b\n", "K‹ONBUILD› K‹COPY› F‹--chown=1› T‹a b›\n");
        check("CMD [\"a\", \"$b\"]\n", "K‹CMD› O‹[› S‹\"a\"› O‹,› S‹\"› V‹$b› S‹\"› O‹]›\n");
    }

    #[test]
    fn variables() {
        check("RUN echo $HOME/${A:-${B}c}d\n", "K‹RUN› T‹echo› V‹$HOME› T‹/› V‹${A:-${B}c}› T‹d›\n");
        check("RUN echo \"a $b\" '$c' \\$d\n", "K‹RUN› T‹echo› S‹\"a› V‹$b› S‹\"› S‹'$c'› T‹\\$d›\n");
        check("RUN echo $ ${A\n", "K‹RUN› T‹echo $› V‹${A›\n");
    }

    #[test]
    fn several_lines() {
        check("RUN a && \\\n  # why\n  b\n", "K‹RUN› T‹a› O‹&&› O‹\\›\nC‹# why›\nT‹b›\n");
        check("RUN echo \"a\\\nb\" c\n", "K‹RUN› T‹echo› S‹\"a› O‹\\›\nS‹b\"› T‹c›\n");
        check("COPY \\\n --link a b\n", "K‹COPY› O‹\\›\nF‹--link› T‹a b›\n");
        check("# escape=`\nRUN a `\n b\\\n", "D‹# escape=`›\nK‹RUN› T‹a› O‹`›\nT‹b\\›\n");
    }

    #[test]
    fn comments_and_directives() {
        check(
            "# syntax=a/b\n# x\n# check=skip=all\nFROM a\n# syntax=x\n",
            "D‹# syntax=a/b›\nC‹# x›\nD‹# check=skip=all›\nK‹FROM› T‹a›\nC‹# syntax=x›\n",
        );
    }

    #[test]
    fn heredocs() {
        check("RUN <<EOF cat\n# a $b\nEOF\nUSER a\n", "K‹RUN› H‹<<EOF› T‹cat›\nH‹# a $b›\nH‹EOF›\nK‹USER› T‹a›\n");
        check("RUN <<A <<B\nA\nx\nB\n", "K‹RUN› H‹<<A› H‹<<B›\nH‹A›\nH‹x›\nH‹B›\n");
    }

    #[test]
    fn after_an_error_there_is_text() {
        check("FROM a\nENV a\nUSER b\n", "K‹FROM› T‹a›\nT‹ENV a›\nT‹USER b›\n");
    }

    proptest! {
        #[test]
        fn tokens_cover_every_line(text in "((FROM|RUN|COPY|ENV|ONBUILD|#|)[ a\"'$\\{\\}<=\\[\\]\\\\é&A\t-]{0,12}\r?\n){0,6}") {
            let dockerfile = parse(text.as_bytes());
            let painted = highlight(&dockerfile);
            prop_assert_eq!(painted.len(), dockerfile.text.lines().count());
            for (line, tokens) in dockerfile.text.lines().zip(painted) {
                let mut at = 0;
                for (range, _) in tokens {
                    prop_assert_eq!(range.start, at);
                    prop_assert!(range.end > at && line.is_char_boundary(range.end));
                    at = range.end;
                }
                prop_assert_eq!(at, line.len());
            }
        }
    }
}
