//! JSON documents of images, read as Go reads them, since that is what writes and checks nearly all of them.

use bstr::ByteSlice;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What lies deeper in a document is asked for by nobody, and may be as deep as it likes.
const DEEPEST: usize = 16;

/// Reads a document: a member that is `null` is not there, of two the later one holds, and what nobody asks for may
/// be any JSON.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    /// What is deeper is no member, but a key of a map.
    const DEEPEST: usize = 2;
    fn without_null(value: &mut Value, depth: usize) {
        match value {
            Value::Object(members) if depth < DEEPEST => {
                members.retain(|_, value| !value.is_null());
                members.values_mut().for_each(|value| without_null(value, depth + 1));
            }
            Value::Array(items) => items.iter_mut().for_each(|item| without_null(item, depth)),
            _ => {}
        }
    }
    let mut value = value(bytes)?;
    without_null(&mut value, 0);
    serde_json::from_value(value)
}

/// The document as it is, but for what no number can be, which is text here, for what is too deep to be asked for, which
/// is left out, and for what is no Unicode, which is U+FFFD. Whether that matters shows when somebody asks for it.
pub(super) fn value(bytes: &[u8]) -> serde_json::Result<Value> {
    shallow(serde_json::from_str(&bytes.to_str_lossy())?, DEEPEST)
}

fn shallow(raw: &RawValue, depth: usize) -> serde_json::Result<Value> {
    let text = raw.get();
    Ok(match text.as_bytes().first() {
        Some(b'{' | b'[') if depth == 0 => Value::Null,
        Some(b'{') => {
            let members: BTreeMap<ByteBuf, &RawValue> = serde_json::from_str(text)?;
            let members = members.into_iter().map(|(name, raw)| Ok((unicode(&name), shallow(raw, depth - 1)?)));
            Value::Object(members.collect::<serde_json::Result<Map<_, _>>>()?)
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text)?;
            let items = items.into_iter().map(|raw| shallow(raw, depth - 1));
            Value::Array(items.collect::<serde_json::Result<Vec<_>>>()?)
        }
        Some(b'"') => Value::String(unicode(&serde_json::from_str::<ByteBuf>(text)?)),
        _ => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
    })
}

/// Escapes may name halves of a character.
fn unicode(text: &ByteBuf) -> String {
    text.to_str_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Document {
        name: String,
        size: u64,
        inner: BTreeMap<String, String>,
    }

    #[track_caller]
    fn check(text: impl AsRef<[u8]>, expected: Option<&str>) {
        let found = read::<Document>(text.as_ref()).ok();
        let found = found.map(|it| format!("{} {} {:?}", it.name, it.size, it.inner));
        assert_eq!(found.as_deref(), expected, "{:.100}", text.as_ref().as_bstr());
    }

    #[test]
    fn what_nobody_asks_for_may_be_anything() {
        check(r#"{"name":"a","size":7,"inner":{"k":"v"}}"#, Some(r#"a 7 {"k": "v"}"#));
        check(r#"{"name":"a","x":1e999,"y":[{"z":-1E+999}]}"#, Some("a 0 {}"));
        let deep = |depth: usize| format!(r#"{{"name":"a","x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        check(deep(15), Some("a 0 {}"));
        check(deep(100_000), Some("a 0 {}"));
    }

    #[test]
    fn what_is_asked_for_is_what_it_should_be() {
        check(r#"{"size":1e999}"#, None);
        check(r#"{"size":"7"}"#, None);
        check(r#"{"name":[]}"#, None);
        for broken in ["", "{", r#"{"x":[}"#, r#"{"x":1e}"#, r#"{"x":"\q"}"#, "{} {}", "\u{feff}{}"] {
            check(broken, None);
        }
    }

    #[test]
    fn what_is_no_unicode_is_replaced() {
        check(b"{\"name\":\"a\xffb\"}", Some("a\u{fffd}b 0 {}"));
        check(r#"{"name":"a\ud800","\ud800":1}"#, Some("a\u{fffd}\u{fffd}\u{fffd} 0 {}"));
        check(r#"{"name":"\ud83d\ude00"}"#, Some("\u{1f600} 0 {}"));
    }

    #[test]
    fn null_is_nothing_and_the_later_member_holds() {
        check(r#"{"name":null,"size":1,"size":2}"#, Some(" 2 {}"));
        check(r#"{"inner":{"k":null}}"#, Some(" 0 {}"));
    }
}
