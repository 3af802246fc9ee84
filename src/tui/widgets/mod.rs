//! Parts of the screen that hold a state of their own: they take keys and draw themselves.
//!
//! While a shell has the focus and is typed into, it gets every key but the one that leaves it (`Ctrl-]`). The
//! other panes get the keys that the table in `keymap` gives them.
//!
//! May import what `tui` may. A widget never waits and never speaks to the session: it asks, and the frame
//! hands it the answer.
//!
//! Invariant: an answer that no longer fits what the widget shows is dropped by the widget.

pub mod ansi;
pub mod archive;
pub mod browser;
pub mod encode;
pub mod hex;
pub mod packages;
pub mod paged;
pub mod pager;
pub mod patch;
pub mod ribbons;
pub(crate) mod scroll;
pub mod syntax;
pub mod terminal;
pub mod tree;
pub mod treemap;

use crate::debug::{Command, Log, ShellPlace};
use crate::engine::{EngineError, ShellInput};
use crate::image::listing::Listing;
use crate::layers::packages::PackageChanges;
use crate::layers::{Diff, DiffId, Layer, Meta, Patch, Pattern};
use crate::plan::StepId;
use crate::snapshot::SnapshotId;
use crate::tui::theme::Look;
use bstr::BString;
use crossterm::event::{KeyEvent, MouseEvent};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use syntax::Tones;

/// One pane of the lower part of the screen.
pub trait Pane {
    /// For the border, beside the tabs.
    fn title(&self) -> String;

    /// The cursor is somewhere else now, or the pane has come to be seen: the widget asks for what it lacks.
    fn show(&mut self, place: &Place) -> Vec<Request>;

    /// What it has come to want since it was asked last. Asked after everything that happens while it is seen.
    fn wants(&mut self) -> Vec<Request> {
        Vec::new()
    }

    /// A key that the table in `keymap` gives to this pane.
    fn key(&mut self, key: KeyEvent) -> Outcome;

    /// Text that was pasted while the pane has the focus.
    fn paste(&mut self, _text: &str) -> Outcome {
        Outcome::Ignored
    }

    /// The room for the content is this now. Said before the first drawing, and whenever it changes.
    fn resized(&mut self, _columns: u16, _rows: u16) -> Vec<Request> {
        Vec::new()
    }

    /// `area` is where it was drawn last, without the border.
    fn mouse(&mut self, event: MouseEvent, area: Rect) -> Outcome;

    /// The answer to a [`Request::Load`].
    fn loaded(&mut self, query: &Query, answer: Result<Answer, EngineError>) -> Vec<Request>;

    /// The path that is selected, if it is one of `place`'s file system.
    fn selected_path(&self) -> Option<BString> {
        None
    }

    /// Marks what contains `text` and goes to the first hit from the selection on. How many hits there are.
    fn find(&mut self, text: &str) -> usize;

    /// The same while the text is still being typed.
    fn seek(&mut self, text: &str) -> usize {
        self.find(text)
    }

    /// What was being typed is not searched for after all.
    fn give_up(&mut self) {
        self.find("");
    }

    /// To the next hit, or to the one before.
    fn find_next(&mut self, forward: bool);

    /// Whether it still looks for what [`Pane::find`] was asked for.
    fn is_searching(&self) -> bool {
        false
    }

    /// Draws the content; the border is the frame's.
    fn render(&mut self, area: Rect, buffer: &mut Buffer, look: &Look, focused: bool);
}

/// Where the build stands, or what the user looks at, as the panes need it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The instruction that the panes speak of: the last one done, or the one that runs or failed.
    pub step: Option<StepId>,
    /// Its text on one line; not safe to print.
    pub text: String,
    /// The file system before it; `None` before a stage's `FROM`.
    pub before: Option<SnapshotId>,
    /// The file system after it, also after it failed; `None` while it has none.
    pub after: Option<SnapshotId>,
    pub running: bool,
    pub failed: bool,
    /// `before` is another point that the user has chosen to compare with.
    pub compared: bool,
    /// Why it ran although it had run before, in sentences; not safe to print.
    pub why: Vec<String>,
    /// What to say while there is no file system, if that is not for a build to explain.
    pub instead: String,
}

/// What a widget did with a key or a click.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Ignored,
    Consumed,
    Effect(Request),
}

/// What a widget wants of the frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A question for the background; the latest of a slot wins. The answer goes to the slot's widget.
    Load(Slot, Query),
    /// Shows a file beside the pane; with `before`, as a difference to that file system.
    OpenFile {
        at: SnapshotId,
        path: BString,
        before: Option<SnapshotId>,
        /// What the tree says of it at `at`.
        meta: Box<Meta>,
    },
    CloseFile,
    /// Writes a file or a directory out; the frame asks where to.
    Extract {
        at: SnapshotId,
        path: BString,
    },
    /// To the terminal's clipboard.
    Copy(String),
    Shell(ShellInput),
    Session(Command),
    /// One line for the user, shown until the next key.
    Say(String),
    /// What came of a search that [`Pane::find`] began.
    Found {
        needle: String,
        hits: usize,
    },
}

/// Who asks. One question is open for each at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    Layer,
    /// Of the layer, besides what changed.
    Packages,
    Files,
    /// What is searched for in a tree, besides what is on show there.
    LayerHits,
    FilesHits,
    ShellHits,
    Output,
    Viewer,
    /// Of the viewer, besides what it reads.
    Tones,
    Shell,
}

impl Slot {
    /// For what is searched for in the tree of this slot.
    pub(super) fn of_hits(self) -> Slot {
        match self {
            Slot::Files => Slot::FilesHits,
            Slot::Shell => Slot::ShellHits,
            _ => Slot::LayerHits,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Query {
    /// What turned one file system into another; `None` is the empty one.
    Diff {
        before: Option<SnapshotId>,
        after: SnapshotId,
    },
    /// The same with everything that did not change: the file system with what is new marked.
    Files {
        before: Option<SnapshotId>,
        after: SnapshotId,
    },
    /// What a layer changes that is over a file system, for one that is not kept.
    Scratch {
        at: SnapshotId,
        changes: Same<Layer>,
    },
    /// The paths of a difference that a pattern finds.
    Hits {
        of: Same<Diff>,
        pattern: Pattern,
    },
    /// At most `limit` bytes from `offset`.
    File {
        at: SnapshotId,
        path: BString,
        offset: u64,
        limit: usize,
    },
    /// The lines of a file that differ in two file systems; where there is no such file it counts as empty.
    Patch {
        before: SnapshotId,
        after: SnapshotId,
        path: BString,
    },
    /// How the installed packages differ, by the databases that do.
    Packages {
        before: Option<SnapshotId>,
        after: SnapshotId,
        databases: Vec<BString>,
    },
    Log(StepId),
    /// What is in an archive of so many bytes.
    Listing {
        at: SnapshotId,
        path: BString,
        size: u64,
    },
    /// What the words of a text are, by the file's name.
    Tones {
        name: BString,
        text: Source,
    },
}

/// A text that is looked at as a whole.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Source(pub Arc<[u8]>);

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({} bytes)", self.0.len())
    }
}

/// Something large; the same only as itself.
pub struct Same<T>(pub Arc<T>);

impl<T> std::fmt::Debug for Same<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Same({:p})", self.0)
    }
}

impl<T> Clone for Same<T> {
    fn clone(&self) -> Same<T> {
        Same(self.0.clone())
    }
}

impl<T> PartialEq for Same<T> {
    fn eq(&self, other: &Same<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Eq for Same<T> {}

impl<T> Hash for Same<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

#[derive(Debug, Clone)]
pub enum Answer {
    /// To [`Query::Diff`], [`Query::Files`] and [`Query::Scratch`].
    Diff(Arc<Diff>),
    /// In the order of the difference.
    Hits(Vec<DiffId>),
    File(Vec<u8>),
    /// With what the words of both contents are.
    Patch(Arc<Patch>, Arc<[Tones; 2]>),
    Packages(Arc<PackageChanges>),
    Log(Log),
    /// `None` if it is no archive.
    Listing(Option<Arc<Listing>>),
    Tones(Arc<Tones>),
}

/// What the shell's widget hears.
#[derive(Debug, Clone)]
pub enum ShellNews {
    /// `where_` is the place in words, for the banner: `builder, after instruction 3, line 14`.
    Opening {
        place: ShellPlace,
        where_: String,
        /// The file system that it stands on.
        at: Option<SnapshotId>,
    },
    Started {
        program: String,
        borrowed_tools: bool,
        user: String,
        directory: String,
    },
    Output(Vec<u8>),
    /// What the session changed, as a layer over the snapshot; it is thrown away. `None`: it is not known.
    Exited {
        code: i32,
        changes: Option<Arc<Layer>>,
    },
    Failed(EngineError),
}
