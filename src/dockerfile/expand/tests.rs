use super::*;
use proptest::prelude::*;

fn environment(name: &str) -> Option<String> {
    let value = match name {
        "APP" => "/srv/app",
        "NAME" => "web",
        "EMPTY" => "",
        "LIST" => "  one two  three ",
        "FILE" => "a/b.tar.gz",
        "LINES" => "x1\nx2",
        "MONEY" => "a$0-",
        "STADT" => "Köln",
        "größe" => "7",
        _ => return None,
    };
    Some(value.to_owned())
}

/// `None` is any error.
#[track_caller]
fn check(text: &str, expected: Option<&str>) {
    let found = Lex::default().word(text, &environment);
    assert_eq!(found.as_deref().ok(), expected, "{text} {found:?}");
}

#[track_caller]
fn check_words(text: &str, expected: &[&str]) {
    assert_eq!(
        Lex::default().words(text, &environment),
        Ok(expected.iter().map(|it| it.to_string()).collect()),
        "{text}"
    );
}

#[track_caller]
fn check_error(text: &str, expected: &str) {
    let error = Lex::default().word(text, &environment).expect_err(text);
    assert!(error.to_string().contains(expected), "{text}: {error}");
}

#[test]
fn quotes() {
    check("", Some(""));
    check("plain text", Some("plain text"));
    check("it'self'", Some("itself"));
    check("a'b\"c'd", Some("ab\"cd"));
    check("a\"b'c\"d", Some("ab'cd"));
    check("''\"\"", Some(""));
    check("'open", None);
    check("\"open", None);
    check("a'b'c'd", None);
    check("'one\\' two", Some("one\\ two"));
    check("\"one\\\" two\"", Some("one\" two"));
    check("\"one\\\"", None);
    check("\u{feff}a", Some("a"));
}

#[test]
fn escapes() {
    check("a\\b", Some("ab"));
    check("a\\\\b", Some("a\\b"));
    check("a\\'b", Some("a'b"));
    check("a\\\"b", Some("a\"b"));
    check("a\\ b", Some("a b"));
    check("a\\$NAME", Some("a$NAME"));
    check("a\\\\$NAME", Some("a\\web"));
    check("end\\", Some("end"));
    check("end\\\\", Some("end\\"));
    check("\"a\\nb\\\\c\\$d\"", Some("a\\nb\\c$d"));
    check("'a\\nb\\\\c\\$d'", Some("a\\nb\\\\c\\$d"));
    check("K\\ölner", Some("Kölner"));
}

#[test]
fn another_escape_character() {
    fn check(text: &str, expected: &str) {
        let lex = Lex { escape: '`', ..Lex::default() };
        assert_eq!(lex.word(text, &environment), Ok(expected.to_owned()), "{text}");
    }
    check("C:\\dir\\$NAME", "C:\\dir\\web");
    check("`$NAME``", "$NAME`");
    check("\"`$a`b\\\"", "$a`b\\");
}

#[test]
fn plain_variables() {
    check("$NAME", Some("web"));
    check("a${NAME}b", Some("awebb"));
    check("$NAME$NAME/$APP", Some("webweb//srv/app"));
    check("$NAMES", Some(""));
    check("$name", Some(""));
    check("$NAME.x-$NAME_x", Some("web.x-"));
    check("\"$NAME'$NAME'\"", Some("web'web'"));
    check("'$NAME'", Some("$NAME"));
    check("$größe in $STADT", Some("7 in Köln"));
    check("$NAME½", Some("web½"));
    check("$", Some("$"));
    check("a$ b$/$.", Some("a$ b$/$."));
    check("$1a$23b$0", Some("ab"));
    check("$@a$*$#$?$-$$$!", Some("a"));
    check("${12}${@}${0}x", Some("x"));
}

#[test]
fn broken_braces() {
    check_error("${", "no }");
    check_error("${NAME", "no }");
    check_error("${NAME:", "no }");
    check_error("${NAME:-x", "no }");
    check_error("${NAME:-${EMPTY}", "no }");
    check_error("${}", "not followed by a name");
    check_error("${{NAME}}", "not followed by a name");
    check_error("${:-x}", "not followed by a name");
    check_error("${.}", "no operator \".\"");
    check_error("${NAME^}", "no operator \"^\"");
    check_error("${NAME:=x}", "no operator \":=\"");
    check_error("${NAME:1}", "no operator \":1\"");
    check_error("${NAME:#x}", "no operator \":#\"");
    check("${NAME}}", Some("web}"));
}

#[test]
fn defaults_and_alternatives() {
    check("${NOT:-x}${NOT-y}", Some("xy"));
    check("${NAME:-x}${NAME-y}", Some("webweb"));
    check("${EMPTY:-x}|${EMPTY-y}", Some("x|"));
    check("${NOT:+x}${NOT+y}", Some(""));
    check("${NAME:+x}${NAME+y}", Some("xy"));
    check("${EMPTY:+x}|${EMPTY+y}", Some("|y"));
    check("${NOT:-}", Some(""));
    check("${NOT:-$NAME}", Some("web"));
    check("${NOT:-${NOR:-${NAME}}}", Some("web"));
    check("${NOT:-a b}", Some("a b"));
    check("${NOT:-{a}", Some("{a"));
    check("${NOT:-'}'}", Some("}"));
    check("${NOT:-\"$NAME }\"}", Some("web }"));
    check("${NOT:-\\}}", Some("}"));
    check("${NOT:-\\$NAME}", Some("$NAME"));
    check("${1:-x}${@:-y}${-:-z}", Some("xyz"));
}

#[test]
fn required_values() {
    check("${NAME?}${NAME:?why}", Some("webweb"));
    check("${EMPTY?}", Some(""));
    check_error("${EMPTY:?}", "EMPTY: it must not be empty");
    check_error("${NOT?}", "NOT: it must be set");
    check_error("${NOT:?give $NAME}", "NOT: give web");
    check_error("${NAME:+${NOT?}}", "NOT: it must be set");
}

#[test]
fn trimmed_beginnings_and_ends() {
    check("${FILE#*/}", Some("b.tar.gz"));
    check("${FILE##*.}", Some("gz"));
    check("${FILE#*.}", Some("tar.gz"));
    check("${FILE%.*}", Some("a/b.tar"));
    check("${FILE%%.*}", Some("a/b"));
    check("${FILE#x}${FILE%x}", Some("a/b.tar.gza/b.tar.gz"));
    check("${FILE#?}", Some("/b.tar.gz"));
    check("${FILE%??}", Some("a/b.tar."));
    check("${FILE##*}|${FILE#*}", Some("|a/b.tar.gz"));
    check("${FILE#a$NOT/}", Some("b.tar.gz"));
    check("${FILE%.[a-z]z}", Some("a/b.tar.gz"));
    check("${STADT#?ö}", Some("ln"));
    check("${LINES#*2}", Some("x1\nx2"));
    check("${NOT#a}${EMPTY%a}", Some(""));
    check("${NAME#\\*}${NAME%\\?}${NAME#\\\\}", Some("webwebweb"));
    check_error("${NAME#\\w}", "\\w is no escape");
    check_error("${NOT%\\w}", "\\w is no escape");
}

#[test]
fn replacements() {
    check("${FILE/./-}", Some("a/b-tar.gz"));
    check("${FILE//./-}", Some("a/b-tar-gz"));
    check("${FILE//\\//.}", Some("a.b.tar.gz"));
    check("${FILE/.*/}", Some("a/b"));
    check("${FILE/?ar/X}", Some("a/b.X.gz"));
    check("${NAME/b/$STADT}", Some("weKöln"));
    check("${NAME/x/y}", Some("web"));
    check("${NAME//\\}/y}", Some("web"));
    check("${NAME//*/y}", Some("y"));
    check("${NAME///-}", Some("-w-e-b-"));
    check("${NOT/x/y}", Some(""));
    // In the text of a replacement of all, `$0` is what was matched.
    check("${NAME/e/$MONEY}|${NAME//e/$MONEY}", Some("wa$0-b|wae-b"));
    check_error("${NAME/x}", "two slashes");
    check_error("${NAME/x/", "no }");
    check_error("${NAME/\\x/y}", "\\x is no escape");
}

#[test]
fn splitting() {
    check_words("", &[]);
    check_words("  a b\tc  ", &["a", "b", "c"]);
    check_words("a\\ b 'c d' \"e f\"", &["a b", "c d", "e f"]);
    check_words("$LIST", &["one", "two", "three"]);
    check_words("x${LIST}x", &["x", "one", "two", "three", "x"]);
    check_words("x\"$LIST\"x y", &["x  one two  three x", "y"]);
    check_words("'' a", &["a"]);
    check_words("''a \"\"", &["a"]);
    check_words("a <<  EOF b", &["a", "<<  EOF", "b"]);
    check_words("a < b", &["a", "<", "b"]);
    // What stands before an operator in the same word is lost.
    check_words("a b${NOT:-c}d", &["a", "cd"]);
    check_words("ab${NAME}c", &["abwebc"]);
}

#[test]
fn kept_quotes_escapes_and_variables() {
    let raw = Lex { raw_quotes: true, raw_escapes: true, keep_unset: true, ..Lex::default() };
    let check = |text: &str, expected: &[&str]| {
        let expected = expected.iter().map(|it| it.to_string()).collect();
        assert_eq!(raw.words(text, &|_| None), Ok(expected), "{text}");
    };
    check("a 'b c' \"d e\"", &["a", "'b c'", "\"d e\""]);
    check("a\\ b", &["a\\ b"]);
    check("\"\\\"\"", &["\"\\\"\""]);
    check("\"a\\tb\"", &["\"a\\\\tb\""]);
    check("$A ${B}", &["$A", "${B}"]);
    check("${A:-b} ${A+b}", &["${A:-b}", "${A+b}"]);
    check("${A:1:2} ${A:=b}", &["${A:1:2}", "${A:=b}"]);
    check("${A%%b} ${A//b/c}", &["${A%%b}", "${A/b/c}"]);
    assert!(raw.words("${A^}", &|_| None).is_err());
}

#[test]
fn quotes_as_characters() {
    let lex = Lex { ignore_quotes: true, ..Lex::default() };
    assert_eq!(lex.word("it's \"$NAME\"", &environment), Ok("it's \"web\"".to_owned()));
}

#[test]
fn what_grows_has_a_bound() {
    let long = |_: &str| Some("x".repeat(1 << 20));
    assert_eq!(Lex::default().word(&"$A".repeat(100), &long), Err(ExpandError::TooLong));
    assert_eq!(Lex::default().word(&format!("\"{}\"", "$A".repeat(100)), &long), Err(ExpandError::TooLong));
    assert_eq!(Lex::default().word(&"${A:-".repeat(100_000), &|_| None), Err(ExpandError::TooDeep));
    let nested = format!("{}{}", "$A${B:-".repeat(100), "}".repeat(100));
    assert_eq!(Lex::default().word(&nested, &|name| long(name).filter(|_| name == "A")), Err(ExpandError::TooLong));
    for text in ["${A//x/$A}", "${A//*/\\$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0}"] {
        assert!(Lex::default().word(text, &long).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_answered(text in ".{0,40}|[$\\{\\}:'\"#%/?*\\\\ A<-]{0,40}") {
        for raw in [false, true] {
            let lex = Lex { raw_quotes: raw, raw_escapes: raw, keep_unset: raw, ..Lex::default() };
            let _ = lex.words(&text, &environment);
        }
    }

    #[test]
    fn text_without_special_characters_stays(text in "[a-zA-Z0-9äß/.,:=+ -]{0,40}") {
        prop_assert_eq!(Lex::default().word(&text, &environment), Ok(text.clone()));
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        prop_assert_eq!(Lex::default().words(&text, &environment), Ok(words));
    }

    #[test]
    fn single_quotes_keep_everything(text in "[^']{0,30}") {
        prop_assert_eq!(Lex::default().word(&format!("'{text}'"), &environment), Ok(text));
    }

    #[test]
    fn an_escaped_text_is_itself(text in "[^\u{feff}]{0,30}") {
        let escaped: String = text.chars().flat_map(|c| ['\\', c]).collect();
        prop_assert_eq!(Lex::default().word(&escaped, &environment), Ok(text));
    }
}
