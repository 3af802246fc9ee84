//! In what two paths differ, property by property.

use super::Kind;
use super::tree::MetaRef;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Differences {
    pub kind: bool,
    /// A file's content, as far as it is known: by its hash where both are known, else by size and time. A
    /// link's target, a device's numbers.
    pub content: bool,
    pub mode: bool,
    pub owner: bool,
    pub xattrs: bool,
    pub time: bool,
}

impl Differences {
    /// Whether a path counts as changed: time alone does not make it so.
    pub fn matter(self) -> bool {
        self.kind || self.content || self.mode || self.owner || self.xattrs
    }

    /// The same content under other properties: what `chmod -R` and `chown -R` do.
    pub fn only_metadata(self) -> bool {
        !self.kind && !self.content && (self.mode || self.owner || self.xattrs || self.time)
    }
}

/// Compares what two trees say of one path.
pub fn differences(before: MetaRef<'_>, after: MetaRef<'_>) -> Differences {
    let time = before.mtime != after.mtime;
    let content = match (before.kind, after.kind) {
        (Kind::File, Kind::File) => match (before.content, after.content) {
            _ if before.size != after.size => true,
            (Some(a), Some(b)) => a != b,
            _ => time,
        },
        (Kind::Symlink, Kind::Symlink) => before.target != after.target,
        (Kind::CharDevice, Kind::CharDevice) | (Kind::BlockDevice, Kind::BlockDevice) => before.device != after.device,
        _ => false,
    };
    Differences {
        kind: before.kind != after.kind,
        content,
        // A symbolic link's means nothing, and archives have any.
        mode: before.mode != after.mode && (before.kind, after.kind) != (Kind::Symlink, Kind::Symlink),
        owner: (before.uid, before.gid) != (after.uid, after.gid),
        xattrs: before.xattrs != after.xattrs,
        time,
    }
}
