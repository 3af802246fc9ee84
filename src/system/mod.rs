//! What operating systems do each in their own way: signals, sockets on one machine, what files are, where a user's
//! files go.
//!
//! `unix` and `windows` offer the same; one of them is compiled. May import nothing of this crate.
//!
//! Invariant: systems are told apart here, and where a whole module is Linux's alone (`engine::embedded`, most of
//! `snapshot`, `image::host`); everything else is the same on all of them.

#[cfg(any(windows, test))]
mod reserved;
pub mod signals;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use unix as here;
#[cfg(windows)]
use windows as here;

pub use here::{
    DOCKER_SOCKET, EDITOR, KeysAsBytes, ask_to_stop, canonical, connect, data_home, editor, extended_attributes,
    file_name, http_through, is_rich_terminal, is_terminal_gone, keep_alive, lock, make_special, ordinary_file,
    properties, set_apart, set_exact_mode, set_extended_attribute, set_mode, set_usual_umask, slashed, socket_address,
    socket_path, stop, symlink,
};

/// What a file is, beyond what its `std::fs::Metadata` says on every system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Properties {
    /// Permissions with the bits for set-user-ID, set-group-ID and sticky: as octal, up to 7777.
    pub mode: u32,
    /// User and group; 0 where there are none.
    pub owner: (u32, u32),
    pub special: Option<Special>,
    /// What all names of one file have in common, if it has several.
    pub shared: Option<(u64, u64)>,
}

/// Files that have no content of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    Fifo,
    Socket,
    /// Major and minor number.
    BlockDevice(u32, u32),
    CharDevice(u32, u32),
}
