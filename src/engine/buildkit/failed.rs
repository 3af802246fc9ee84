//! What a failed instruction left. A builder shows its files only to a container that has them mounted, so tools of
//! this machine look at them in one.

use super::bridge::Bridge;
use super::container::{self, Start};
use super::engine::BuildKit;
use super::files::Listing;
use super::toolbox::{TOOLBOX, Toolbox};
use crate::engine::{EngineError, ShellInput, ShellOutput};
use crate::layers::{FileTree, Kind, Meta};
use bollard_buildkit_proto::pb;
use bstr::{BStr, BString, ByteSlice};
use std::sync::Arc;

/// Where the files are mounted.
const PLACE: &str = "/mnt";
/// Bytes of a listing.
pub(super) const LARGEST_LISTING: usize = 512 << 20;
/// Of what a tool says about its own failure.
const LARGEST_COMPLAINT: usize = 4 << 10;

/// Lists everything that a failed instruction left. `below` is what it began with: times finer than a second, which
/// the tools do not tell, and extended attributes are taken from there where nothing else has changed.
pub(super) async fn list(
    engine: &BuildKit,
    bridge: &Arc<Bridge>,
    left: &str,
    below: &FileTree,
) -> Result<Listing, EngineError> {
    let output = run(&engine.toolbox, bridge, vec![mounted(PLACE, left)], &listing(PLACE), LARGEST_LISTING).await;
    Ok(parse(output.map_err(|why| unreadable(&why))?.as_bstr(), below))
}

/// The command that lists a directory, as [`parse`] reads it.
pub(super) fn listing(dir: &str) -> String {
    format!(
        "cd {dir} && find . -xdev -print0 | xargs -0 stat -c '%f %u %g %s %Y %t %T %n' && echo && \
         find . -xdev -type l -print0 | xargs -0 -r stat -c '%N'"
    )
}

/// A result, mounted to be read.
pub(super) fn mounted(dest: &str, result: &str) -> pb::Mount {
    pb::Mount { input: -1, dest: dest.to_owned(), result_id: result.to_owned(), readonly: true, ..pb::Mount::default() }
}

fn unreadable(why: &EngineError) -> EngineError {
    EngineError::new(format!("what the failed instruction left cannot be read: {}", why.message))
}

/// At most `limit` bytes of a file from `offset`.
pub(super) async fn read(
    engine: &BuildKit,
    bridge: &Arc<Bridge>,
    left: &str,
    path: &BStr,
    offset: u64,
    limit: usize,
) -> Result<Vec<u8>, EngineError> {
    let name = path.to_str();
    let name =
        name.map_err(|_| EngineError::new(format!("/{path}: a name that is not UTF-8 cannot be asked of a builder")))?;
    let from = offset.saturating_add(1);
    let script = format!("cd {PLACE} && tail -c +{from} -- './{}' | head -c {limit}", name.replace('\'', r"'\''"));
    let output = run(&engine.toolbox, bridge, vec![mounted(PLACE, left)], &script, limit).await;
    output.map_err(|why| unreadable(&why))
}

/// What a script of the tools' shell writes, in a container with nothing in it but these mounts.
pub(super) async fn run(
    tools: &Toolbox,
    bridge: &Arc<Bridge>,
    shown: Vec<pb::Mount>,
    script: &str,
    limit: usize,
) -> Result<Vec<u8>, EngineError> {
    let (tools, shell) = tools.get(bridge).await?;
    let root = pb::Mount { readonly: false, ..mounted("/", "") };
    let mounts = [root, mounted(TOOLBOX, &tools)].into_iter().chain(shown).collect();
    let args = vec![shell, "-c".to_owned(), script.to_owned()];
    let env = vec![format!("PATH={TOOLBOX}/bin"), "LC_ALL=C".to_owned()];
    let start = Start {
        mounts,
        program: String::new(),
        meta: pb::Meta { args, env, cwd: "/".to_owned(), ..pb::Meta::default() },
        secrets: Vec::new(),
        network: pb::NetMode::None as i32,
        security: 0,
        platform: None,
        size: None,
        borrowed_tools: true,
    };
    let mut shell = container::start(bridge.clone(), start, None).await?;
    // A builder waits for the end of an input that is open.
    let _ = shell.input.send(ShellInput::Eof).await;
    let (mut output, mut complaint) = (Vec::new(), Vec::new());
    while let Some(message) = shell.output.recv().await {
        match message {
            ShellOutput::Bytes(bytes) if output.len() + bytes.len() <= limit => output.extend(bytes),
            ShellOutput::Bytes(_) => {
                return Err(EngineError::new("it is too large to be listed"));
            }
            ShellOutput::Stderr(bytes) if complaint.len() < LARGEST_COMPLAINT => complaint.extend(bytes),
            ShellOutput::Stderr(_) => {}
            ShellOutput::Exited { code: 0, .. } => return Ok(output),
            ShellOutput::Exited { .. } => break,
            ShellOutput::Lost(error) => return Err(error),
        }
    }
    let said = super::connection::printable(&String::from_utf8_lossy(&complaint));
    Err(EngineError::new(said))
}

/// One line for each file, an empty one, and for each link a line with its target.
pub(super) fn parse(text: &BStr, below: &FileTree) -> Listing {
    let mut listing = Listing::new();
    let mut lines = text.lines();
    for line in lines.by_ref() {
        if line.is_empty() {
            break;
        }
        let mut fields = line.splitn(8, |byte| *byte == b' ');
        let mut next = || fields.next().and_then(|it| it.to_str().ok()).unwrap_or_default();
        let mode = u32::from_str_radix(next(), 16).unwrap_or(0);
        let (uid, gid) = (next().parse().unwrap_or(0), next().parse().unwrap_or(0));
        let (size, seconds) = (next().parse().unwrap_or(0), next().parse().unwrap_or(0));
        let mut device = || u32::from_str_radix(next(), 16).unwrap_or(0);
        let device = (device(), device());
        let Some(path) = fields.next().and_then(|path| path.strip_prefix(b"./")) else { continue };
        let kind = match mode & 0o170_000 {
            0o040_000 => Kind::Directory,
            0o120_000 => Kind::Symlink,
            0o020_000 => Kind::CharDevice,
            0o060_000 => Kind::BlockDevice,
            0o010_000 => Kind::Fifo,
            0o140_000 => Kind::Socket,
            0o100_000 => Kind::File,
            // Part of a name with a line's end in it.
            _ => continue,
        };
        let meta = Meta {
            mode: mode & 0o7777,
            uid,
            gid,
            size: if kind == Kind::File { size } else { 0 },
            mtime: (seconds, 0),
            device: if matches!(kind, Kind::CharDevice | Kind::BlockDevice) { device } else { (0, 0) },
            ..Meta::new(kind)
        };
        listing.insert(BString::from(path), meta);
    }
    for line in lines {
        // `'NAME' -> 'TARGET'`, the second without quotes in some tools.
        let Some(arrow) = line.find(b" -> ") else { continue };
        let (name, target) = (&line[..arrow], &line[arrow + 4..]);
        let bare = |word: &[u8]| word.trim_with(|it| it == '\'').as_bstr().to_owned();
        let name = bare(name);
        if let Some(meta) = name.strip_prefix(b"./").and_then(|path| listing.get_mut(path.as_bstr())) {
            meta.target = bare(target);
        }
    }
    for (path, meta) in &mut listing {
        let Some(id) = below.lookup(path.as_bstr()) else { continue };
        let before = Meta { content: None, hard_link: 0, ..below.meta(id).to_meta() };
        let told = Meta { mtime: (before.mtime.0, 0), xattrs: std::collections::BTreeMap::new(), ..before.clone() };
        if told == *meta {
            *meta = before;
        }
    }
    listing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings() {
        let text = "41ed 0 0 4096 7 0 0 .\n41ed 0 0 4096 7 0 0 ./d\n81a4 1 2 5 9 0 0 ./d/a b\na1ff 0 0 1 9 0 0 ./l\n\
                    21b0 0 0 0 9 1 3 ./null\nrest of a name\n\n'./l' -> 'd/a b'\n";
        let listing = parse(text.into(), &FileTree::merge(&[]));
        let shown: Vec<String> = listing
            .iter()
            .map(|(path, meta)| {
                format!("{path} {:?} {:o} {}:{} {}", meta.kind, meta.mode, meta.uid, meta.gid, meta.size)
            })
            .collect();
        assert_eq!(
            shown,
            ["d Directory 755 0:0 0", "d/a b File 644 1:2 5", "l Symlink 777 0:0 0", "null CharDevice 660 0:0 0"]
        );
        assert_eq!(listing[BStr::new("l")].target, "d/a b");
        assert_eq!(listing[BStr::new("null")].device, (1, 3));
    }
}
