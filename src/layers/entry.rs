//! One layer as the list of what it puts, changes and takes away.

use bstr::BString;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
    CharDevice,
    BlockDevice,
}

/// What a file system says of one path. Sizes are content bytes of regular files, 0 for everything else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    pub kind: Kind,
    /// Permission bits, set-id bits and the sticky bit (`0o7777`).
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    /// A symbolic link's target; empty for other kinds.
    pub target: BString,
    /// Names of one inode in a layer share a number that is not 0; 0 stands for a single name.
    pub hard_link: u64,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    pub xattrs: BTreeMap<BString, BString>,
    /// What is known of a regular file's content; `None` where nobody has read it.
    pub content: Option<ContentHash>,
    /// Bytes of `size` that no archive stores, for a sparse file. Scanned directories do not say.
    #[serde(skip)]
    pub holes: u64,
}

impl Meta {
    /// Nothing but a kind: mode 0, owner 0:0, no content, the time 0.
    pub fn new(kind: Kind) -> Meta {
        Meta {
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: (0, 0),
            target: BString::default(),
            hard_link: 0,
            device: (0, 0),
            xattrs: BTreeMap::new(),
            content: None,
            holes: 0,
        }
    }

    /// What a file adds to the bytes of its layer: its content without the holes.
    pub fn bytes(&self) -> u64 {
        self.size.saturating_sub(self.holes)
    }
}

/// XXH3-128 (seed 0) of a file's content: tells whether two contents are the same. It protects from nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContentHash(pub u128);

/// One line of a layer, in the terms of the OCI layer format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// The path exists from this layer on with these properties. `opaque` hides what lower layers have in it.
    Put { path: BString, meta: Meta, opaque: bool },
    /// The path of a lower layer is gone (`.wh.NAME`).
    Whiteout { path: BString },
    /// What lower layers have in this directory is gone, and the layer says nothing of the directory itself
    /// (`.wh..wh..opq` with no header for its directory).
    Opaque { path: BString },
    /// A further name for a file of this layer, or for one that only lower layers have: a hard link. `own` is what its
    /// header says of the file, which holds for all names of a file of this layer.
    Link { path: BString, target: BString, own: Option<Box<Meta>> },
}

impl Entry {
    pub fn path(&self) -> &BString {
        match self {
            Entry::Put { path, .. } | Entry::Whiteout { path } | Entry::Opaque { path } | Entry::Link { path, .. } => {
                path
            }
        }
    }
}

/// A layer's entries, parents before children.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    pub entries: Vec<Entry>,
}

impl Layer {
    /// Content bytes of the regular files this layer writes, an inode of several names once.
    pub fn bytes(&self) -> u64 {
        let mut seen = std::collections::HashSet::new();
        self.entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Put { meta, .. } if meta.kind == Kind::File => Some(meta),
                _ => None,
            })
            .filter(|meta| meta.hard_link == 0 || seen.insert(meta.hard_link))
            .map(Meta::bytes)
            .sum()
    }
}
