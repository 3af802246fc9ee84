//! What an open file is read for beyond what is in sight: its end, and the next place that holds what is searched for.

use super::{File, Listed, Mode};
use crate::tui::widgets::hex;
use crate::tui::widgets::pager::{self, Text};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errand {
    /// To the end of the text.
    End,
    /// To the next place that holds what is searched for.
    Search(Search),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Search {
    /// The piece or block to look through, from this row or byte on or before it; `None`: all of it.
    pub(super) unit: usize,
    from: Option<u64>,
    forward: bool,
    /// How many more are looked through after it.
    left: usize,
}

impl Search {
    /// The next to look through, of so many.
    fn next(self, units: usize) -> Option<Search> {
        let left = self.left.checked_sub(1)?;
        let unit = match (self.forward, self.unit) {
            (true, unit) => unit + 1,
            (false, 0) => units.checked_sub(1)?,
            (false, unit) => unit - 1,
        };
        Some(Search { unit, from: None, left, ..self })
    }

    fn start(self) -> u64 {
        self.from.unwrap_or(if self.forward { 0 } else { u64::MAX })
    }
}

impl File {
    /// Looks for the next hit, or the one before, from the last one or what is in sight.
    pub(super) fn search(&mut self, forward: bool) {
        if self.mode == Mode::Diff {
            let Some(patch) = &self.patch else { return };
            let from = self.hit.map_or(self.pager.top(), |row| row + usize::from(forward));
            self.hit = pager::find(patch, &self.pager.needle, from, forward);
            if let Some(row) = self.hit {
                self.pager.reveal(row, patch);
            }
            return;
        }
        if self.mode == Mode::Archive {
            let Listed::Known(archive) = &self.listing else { return };
            let from = self.hit.map_or(self.pager.top(), |row| row + usize::from(forward));
            self.hit = pager::find(archive, &self.pager.needle, from, forward);
            if let Some(row) = self.hit {
                self.pager.reveal(row, archive);
            }
            return;
        }
        let past = u64::from(forward);
        let (unit, from, units) = match self.mode {
            Mode::Hex => {
                let from = self.hex.hit.map_or(self.hex.byte_of(self.pager.top()), |(byte, _)| byte + past);
                ((from / hex::BLOCK as u64) as usize, from, self.hex.blocks())
            }
            _ => {
                let row = self.hit.map_or(self.pager.top(), |row| row + usize::from(forward));
                (self.text.piece_of(row), row as u64, self.text.pieces())
            }
        };
        // Once around, and the first again for what lies on its other side.
        self.errand = Some(Errand::Search(Search { unit, from: Some(from), forward, left: units }));
        self.run_errand();
    }

    /// Goes on with what is to be done beyond what is in sight, as far as it has been read.
    pub(super) fn run_errand(&mut self) {
        match self.errand {
            Some(Errand::End) if self.mode == Mode::Text => {
                self.pager.go(self.text.len(), &self.text);
                if self.text.is_complete() {
                    self.errand = None;
                }
            }
            Some(Errand::Search(_)) if self.mode == Mode::Text => self.search_text(),
            Some(Errand::Search(_)) if self.mode == Mode::Hex => self.search_hex(),
            _ => self.errand = None,
        }
    }

    fn search_text(&mut self) {
        while let Some(Errand::Search(search)) = self.errand {
            let units = self.text.pieces();
            let is_past = search.unit >= units;
            if is_past && self.text.is_complete() {
                // Around the end, or the beginning.
                let next = match search.forward {
                    true => search.next(units).map(|next| Search { unit: 0, ..next }),
                    false => units.checked_sub(1).map(|last| Search { unit: last, from: None, left: units, ..search }),
                };
                self.errand = next.map(Errand::Search);
            } else if is_past || !self.text.has(search.unit) {
                return;
            } else {
                let start = usize::try_from(search.start()).unwrap_or(usize::MAX);
                if let Some(row) = self.text.find(search.unit, &self.pager.needle, start, search.forward) {
                    self.hit = Some(row);
                    self.pager.reveal(row, &self.text);
                    self.errand = None;
                    return;
                }
                if !search.forward && search.unit == 0 && !self.text.is_complete() {
                    // Before the beginning comes the end, which is not known yet.
                    self.errand = Some(Errand::Search(Search { unit: usize::MAX, ..search }));
                    continue;
                }
                // A text of which not all is known has more to come.
                let left = search.left + usize::from(!self.text.is_complete());
                self.errand = Search { left, ..search }.next(units).map(Errand::Search);
            }
        }
    }

    fn search_hex(&mut self) {
        let needle = hex::needle(&self.pager.needle);
        while let Some(Errand::Search(search)) = self.errand {
            let units = self.hex.blocks();
            if search.unit >= units {
                self.errand = search.next(units).map(|next| Errand::Search(Search { unit: 0, ..next }));
            } else if !self.hex.has(search.unit) {
                return;
            } else {
                if let Some(byte) = self.hex.find(search.unit, &needle, search.start(), search.forward) {
                    self.hex.hit = Some((byte, needle.len()));
                    self.pager.reveal(self.hex.row_of(byte), &self.hex);
                    self.errand = None;
                    return;
                }
                self.errand = search.next(units).map(Errand::Search);
            }
        }
    }
}
