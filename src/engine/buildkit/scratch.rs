//! What a shell has changed.
//!
//! A builder throws a container's file system away when its first process ends, and tells nothing of it. So that process
//! is one of the tools: it runs the shell, says that it has ended, and waits until the file system is listed, in the same
//! container, and compared with what the shell began with.

use super::bridge::Bridge;
use super::container;
use super::failed::{self, LARGEST_LISTING, listing, mounted};
use super::files::{self, Listing};
use super::session::random_id;
use super::toolbox::{TOOLBOX, Toolbox};
use crate::engine::EngineError;
use crate::layers::{FileTree, Layer};
use bollard_buildkit_proto::pb;
use bstr::{BStr, BString, ByteSlice};
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where the file system is mounted that the shell began with.
const BEFORE: &str = "/mnt";

pub(super) struct Scratch {
    tools: Toolbox,
    /// What the shell begins with; empty for an empty file system.
    base: String,
    /// Known to the first process and to nobody else.
    word: String,
}

impl Scratch {
    pub(super) fn new(tools: &Toolbox, base: &str) -> Scratch {
        Scratch { tools: tools.clone(), base: base.to_owned(), word: random_id() }
    }

    /// The command that runs the shell, says in a sequence that terminals ignore how it ended, and stays.
    pub(super) fn around(&self, argv: &[String]) -> Vec<String> {
        let script = format!(r#""$@"; printf '\033_%s %s\033\\' "$0" "$?"; exec {TOOLBOX}/bin/sleep 600"#);
        let first = [format!("{TOOLBOX}/bin/sh"), "-c".to_owned(), script, self.word.clone()];
        first.into_iter().chain(argv.iter().cloned()).collect()
    }

    /// A command that waits, and looks after what is left behind by processes that have ended.
    pub(super) fn waiting(&self) -> Vec<String> {
        let script = format!("while {TOOLBOX}/bin/sleep 3600; do :; done");
        vec![format!("{TOOLBOX}/bin/sh"), "-c".to_owned(), script]
    }

    pub(super) fn end(&self) -> End {
        End { sequence: format!("\x1b_{} ", self.word).into_bytes(), held: Vec::new() }
    }

    /// To be asked when the shell has ended, of its container. Boxed, as it runs in a container itself.
    pub(super) fn changes<'a>(
        &'a self,
        bridge: &'a Arc<Bridge>,
        container: &'a str,
    ) -> BoxFuture<'a, Result<Layer, EngineError>> {
        Box::pin(self.listed(bridge, container))
    }

    async fn listed(&self, bridge: &Arc<Bridge>, container: &str) -> Result<Layer, EngineError> {
        let script = format!("cat /proc/self/mounts && echo {} && {}", self.word, listing("/"));
        let meta = pb::Meta {
            args: vec![format!("{TOOLBOX}/bin/sh"), "-c".to_owned(), script],
            env: vec![format!("PATH={TOOLBOX}/bin"), "LC_ALL=C".to_owned()],
            cwd: "/".to_owned(),
            ..pb::Meta::default()
        };
        let after = container::output(bridge, container, meta, LARGEST_LISTING);
        let before = async {
            match self.base.is_empty() {
                true => Ok(Vec::new()),
                false => {
                    let shown = vec![mounted(BEFORE, &self.base)];
                    failed::run(&self.tools, bridge, shown, &listing(BEFORE), LARGEST_LISTING).await
                }
            }
        };
        let (before, after) = tokio::try_join!(before, after)?;
        let word = self.word.clone();
        let compared = tokio::task::spawn_blocking(move || compare(before.as_bstr(), after.as_bstr(), &word)).await;
        compared.map_err(|error| EngineError::new(error.to_string()))?
    }
}

/// Finds the first process' word in the shell's output, wherever that is cut into pieces.
pub(super) struct End {
    sequence: Vec<u8>,
    held: Vec<u8>,
}

/// Of an exit code and what follows it.
const LONGEST_REST: usize = 8;

impl End {
    /// What is to be shown, and the shell's exit code once it has ended.
    pub(super) fn take(&mut self, bytes: Vec<u8>) -> (Vec<u8>, Option<i32>) {
        let mut bytes = match self.held.is_empty() {
            true => bytes,
            false => [std::mem::take(&mut self.held), bytes].concat(),
        };
        if let Some(at) = bytes.find(&self.sequence) {
            let rest = &bytes[at + self.sequence.len()..];
            if let Some(end) = rest.iter().position(|byte| *byte == 0x1b) {
                let code = rest[..end].to_str().ok().and_then(|it| it.parse().ok());
                bytes.truncate(at);
                return (bytes, Some(code.unwrap_or(137)));
            }
            if rest.len() < LONGEST_REST {
                self.held = bytes.split_off(at);
            }
            return (bytes, None);
        }
        let longest = bytes.len().min(self.sequence.len() - 1);
        let begun = (1..=longest).rev().find(|count| bytes.ends_with(&self.sequence[..*count])).unwrap_or(0);
        self.held = bytes.split_off(bytes.len() - begun);
        (bytes, None)
    }
}

/// What leads from the listing of what the shell began with to that of its container, which comes after its mounts and
/// the word. What is mounted is none of its files.
fn compare(before: &BStr, text: &BStr, word: &str) -> Result<Layer, EngineError> {
    let marker = format!("\n{word}\n");
    let at = text.find(&marker).ok_or_else(|| EngineError::new("the listing is not whole"))?;
    let (mounts, after) = (&text[..at], &text[at + marker.len()..]);
    let nothing = FileTree::merge(&[]);
    let (before, after) = (failed::parse(before, &nothing), failed::parse(after.as_bstr(), &nothing));
    let mounts: Vec<BString> = mounts.lines().filter_map(|line| mount_point(line.as_bstr())).collect();
    let apart = |path: &BStr| {
        let within = |mount: &BString| path == mount || crate::layers::path::is_below(path, mount.as_bstr());
        mounts.iter().any(within)
    };
    let own = after.into_iter().filter(|(path, _)| !apart(path.as_bstr()));
    let hidden =
        before.iter().filter(|(path, _)| apart(path.as_bstr())).map(|(path, meta)| (path.clone(), meta.clone()));
    let after: Listing = own.chain(hidden).collect::<BTreeMap<_, _>>();
    let before = FileTree::merge(&[Arc::new(files::layer(&nothing, &before))]);
    Ok(files::layer(&before, &after))
}

/// The second word of a line of `/proc/mounts`, in which some bytes are written as three octal digits; `None` for the
/// root.
fn mount_point(line: &BStr) -> Option<BString> {
    let word = line.split_str(" ").nth(1)?;
    let mut path = Vec::new();
    let mut rest = word.strip_prefix(b"/")?;
    while let Some((first, more)) = rest.split_first() {
        let digits = more.get(..3).filter(|_| *first == b'\\').and_then(|it| it.to_str().ok());
        match digits.and_then(|it| u8::from_str_radix(it, 8).ok()) {
            Some(byte) => {
                path.push(byte);
                rest = &more[3..];
            }
            None => {
                path.push(*first);
                rest = more;
            }
        }
    }
    (!path.is_empty()).then(|| BString::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Entry;
    use proptest::prelude::*;

    fn check(before: &str, after: &str, mounts: &str, expected: &str) {
        let lines = |files: &str| {
            let line = |file: &str| {
                let (name, size) = file.split_once('=').unwrap_or((file, ""));
                let (mode, size) = if size.is_empty() { ("41ed", "0") } else { ("81a4", size) };
                format!("{mode} 0 0 {size} 7 0 0 ./{name}\n")
            };
            format!("{}\n", files.split_whitespace().map(line).collect::<String>())
        };
        let mounts: String = mounts.split_whitespace().map(|it| format!("none {it} type rw 0 0\n")).collect();
        let text = format!("overlay / overlay rw 0 0\n{mounts}word\n{}", lines(after));
        let shown = match compare(lines(before).as_str().into(), text.as_str().into(), "word") {
            Ok(layer) => {
                let entry = |entry: &Entry| match entry {
                    Entry::Whiteout { path } => format!("-{path}"),
                    entry => format!("+{}", entry.path()),
                };
                layer.entries.iter().map(entry).collect::<Vec<_>>().join(" ")
            }
            Err(error) => error.message,
        };
        assert_eq!(shown, expected, "{before} to {after}");
    }

    #[test]
    fn changes() {
        check("a a/b=1", "a a/b=1", "", "");
        check("a a/b=1 c=2", "a a/b=2 d=3", "", "-c +a/b +d");
        check("", "a", "", "+a");
        // What is mounted hides what was there.
        check("dev dev/x=1 e=1", "dev dev/null=1 e=2 proc proc/1", "/dev /proc /e", "");
        check("", "a\\040b=1", "/a\\040b", "+a\\040b");
        assert!(compare("".into(), "41ed 0 0 0 7 0 0 ./a\n".into(), "word").is_err());
    }

    proptest! {
        #[test]
        fn the_end_is_found_however_it_is_cut(cuts in prop::collection::vec(1usize..9, 0..20), code in 0i32..256) {
            let mut end = End { sequence: b"\x1b_word ".to_vec(), held: Vec::new() };
            let text = format!("a\x1b[1m\x1b_wor\x1b_word {code}\x1b\\");
            let mut rest = text.into_bytes();
            let (mut shown, mut found) = (Vec::new(), None);
            let mut cuts = cuts.into_iter();
            while !rest.is_empty() && found.is_none() {
                let tail = rest.split_off(cuts.next().unwrap_or(rest.len()).min(rest.len()));
                let (more, code) = end.take(std::mem::replace(&mut rest, tail));
                shown.extend(more);
                found = code;
            }
            prop_assert_eq!((shown, found), (b"a\x1b[1m\x1b_wor".to_vec(), Some(code)));
        }
    }
}
