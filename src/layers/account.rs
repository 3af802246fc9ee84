//! All that a tree's bytes can be asked for, found in one pass over them.

use super::duplicates::{self, Duplicate};
use super::score::{self, Score};
use super::tree::{FileTree, NodeId};
use super::waste::{Fate, How, Unit, Waste, units};

#[derive(Debug, Clone)]
pub struct Account {
    pub waste: Waste,
    pub score: Score,
    /// The most costly first.
    pub duplicates: Vec<Duplicate>,
    units: Vec<Unit>,
}

/// The content of one file or inode, live or dead. Empty ones are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// The path that it counts at.
    pub node: NodeId,
    pub bytes: u64,
    /// The layer that wrote it, from 0 at the bottom.
    pub wrote: u32,
    /// The layer that killed it, and how.
    pub dead: Option<(u32, How)>,
}

impl Account {
    pub fn of(tree: &FileTree) -> Account {
        let units = units(tree);
        Account {
            waste: Waste::of_units(tree, &units),
            score: score::of_units(&units),
            duplicates: duplicates::of_units(tree, &units),
            units,
        }
    }

    /// What the live contents take that are there more than once, beyond one copy of each.
    pub fn duplicate_bytes(&self) -> u64 {
        self.duplicates.iter().map(|it| it.extra).fold(0, u64::saturating_add)
    }

    /// In the order of their nodes.
    pub fn contents(&self) -> impl Iterator<Item = Content> + '_ {
        self.units.iter().map(|unit| Content {
            node: NodeId(unit.node),
            bytes: unit.bytes,
            wrote: unit.wrote,
            dead: match unit.fate {
                Fate::Live => None,
                Fate::Dead { killed, how } => Some((killed, how)),
            },
        })
    }
}
